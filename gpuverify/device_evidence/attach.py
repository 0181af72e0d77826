"""Attestation evidence that NVIDIA's tools wrote, put beside what was read of the cards.

What is attached is evidence like any other: it is verified when it is judged. The nonce in such a
file was chosen by whoever asked for it, so none is taken over: only the reader's own counts.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

from gpuverify.codec.text import printable
from gpuverify.device_evidence.chain import identifier_of
from gpuverify.device_evidence.files import MAX_CERTIFICATES
from gpuverify.device_evidence.spdm import MAX_REPORT_BYTES
from gpuverify.errors import UsageError
from gpuverify.model.attestation import AttestationEvidence, same_identifier
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence

_REPORT, _CERTIFICATES = "attestation.report", "attestation.certificates"
_REPLACED = frozenset({_REPORT, _CERTIFICATES, "attestation.nonce"})
_CALL = "a file of NVIDIA's attestation tools"


def attach(evidence: Evidence, given: Sequence[AttestationEvidence]) -> Evidence:
    """Put attestation evidence beside the cards that it is of.

    A card gets what names its identifier (NVML's PDI). What is left goes to the only card that is
    left, or to the cards in their order where there are as many.

    Args:
        evidence: All claims of one run.
        given: Evidence of one or several GPUs.

    Returns:
        The evidence with the claims `attestation.report` and `attestation.certificates`.

    Raises:
        UsageError: It cannot be said which card something is of, or the card has signed itself.
    """
    if not given:
        return evidence
    placed = _by_identifier(evidence.devices, given)
    left = [one for number, one in enumerate(given) if number not in placed.values()]
    free = [device.index for device in evidence.devices if device.index not in placed]
    if left and len(left) != len(free):
        raise UsageError(
            f"--device-evidence: {len(left)} of {len(given)} pieces name no card of"
            f" {printable(evidence.origin, 80)} by its PDI, and {len(free)} cards are without:"
            " which is whose cannot be told; give the evidence of these cards, one for each"
        )
    chosen = {index: given[number] for index, number in placed.items()}
    chosen.update(zip(free, left, strict=False))
    return replace(
        evidence,
        devices=tuple(
            _with(device, chosen[device.index]) if device.index in chosen else device
            for device in evidence.devices
        ),
    )


def _by_identifier(
    devices: Sequence[DeviceEvidence], given: Sequence[AttestationEvidence]
) -> dict[int, int]:
    """Return the number of the evidence by index of the card whose PDI it names."""
    placed: dict[int, int] = {}
    for number, one in enumerate(given):
        own = identifier_of(one.chain[0]) if one.chain else ""
        for device in devices:
            pdi = device.claims.value("gpu.pdi")
            if device.index in placed or not isinstance(pdi, str) or not own:
                continue
            if same_identifier(pdi, own):
                placed[device.index] = number
                break
    return placed


def _with(device: DeviceEvidence, one: AttestationEvidence) -> DeviceEvidence:
    """Return a device with attestation evidence that was brought."""
    if device.claims.get(_REPORT, Source.DEVICE_CERTIFICATE).ok:
        raise UsageError(
            f"--device-evidence: GPU {device.index} has attestation evidence of its own already;"
            " leave the option out"
        )
    if len(one.report) > MAX_REPORT_BYTES or len(one.chain) > MAX_CERTIFICATES:
        raise UsageError(f"--device-evidence: {printable(one.origin, 80)} is larger than it can be")
    # The card's own refusals go with the nonce that it was asked with: the nonce is not this one's.
    kept = tuple(claim for claim in device.claims if claim.id not in _REPLACED)
    return DeviceEvidence(
        index=device.index,
        claims=ClaimSet(
            (
                *kept,
                _claim(_REPORT, _base64(one.report)),
                _claim(_CERTIFICATES, ",".join(_base64(der) for der in one.chain)),
            )
        ),
    )


def _base64(data: bytes) -> str:
    """Write bytes as a claim holds them."""
    return base64.b64encode(data).decode()


def _claim(name: str, value: str) -> Claim:
    """Return one claim that was brought."""
    return Claim(
        id=name,
        status=ClaimStatus.OK,
        value=value,
        source=Source.DEVICE_CERTIFICATE,
        call=_CALL,
    )
