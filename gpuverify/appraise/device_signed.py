"""Attestation evidence, verified before the rules look at it.

The evidence itself stands in the claims as it came. What it proves becomes claims of its own,
`signed.*`, made here and nowhere else: a file that brings some of its own loses them.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from gpuverify.model.attestation import (
    AttestationError,
    AttestationEvidence,
    AttestationRefusal,
    AttestedDevice,
    attestation_nonce,
)
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass

PREFIX = "signed."
_CALL = "attestation report"


def attestation_of(device: DeviceEvidence) -> AttestationEvidence | None:
    """Return a device's attestation evidence, None where it has none.

    Args:
        device: One device.

    Raises:
        AttestationError: It is there and not base64.
    """
    report = device.claims.get("attestation.report", Source.DEVICE_CERTIFICATE)
    chain = device.claims.get("attestation.certificates", Source.DEVICE_CERTIFICATE)
    if not isinstance(report.value, str):
        return None
    try:
        return AttestationEvidence(
            origin="",
            chain=tuple(
                base64.b64decode(one, validate=True)
                for one in str(chain.value or "").split(",")
                if one
            ),
            report=base64.b64decode(report.value, validate=True),
        )
    except (binascii.Error, ValueError):
        raise AttestationError(
            AttestationRefusal.FORMAT, "the report or its certificates are not base64"
        ) from None


def expected_nonce(
    device: DeviceEvidence, evidence_class: EvidenceClass, challenge: bytes | None
) -> bytes | None:
    """Return the nonce that a device's report has to answer, None where nobody of ours asked.

    Args:
        device: One device.
        evidence_class: How the evidence reached us.
        challenge: The challenge of the person who runs the command.
    """
    if challenge is not None:
        return attestation_nonce(challenge, str(device.claims.value("gpu.uuid") or ""))
    if evidence_class is not EvidenceClass.LIVE:
        # Whoever wrote the file chose the nonce in it, and a replay asks nobody.
        return None
    asked = device.claims.get("attestation.nonce", Source.DEVICE_CERTIFICATE).value
    try:
        return bytes.fromhex(asked) if isinstance(asked, str) else None
    except ValueError:
        return None


def check_carried(
    evidence: Evidence,
    challenge: bytes | None,
    now_ms: int,
    *,
    roots: frozenset[str] | None = None,
) -> None:
    """Check the attestation evidence that a report carries; cards without any are passed over.

    Args:
        evidence: The evidence of the report.
        challenge: The challenge that the report answers, None for none.
        now_ms: Time at which certificates have to be valid, milliseconds since the Unix epoch.
        roots: SHA-256 of the public keys that count as roots; None for NVIDIA's.

    Raises:
        AttestationError: Evidence of one card does not stand, or answers another nonce than the
            one that follows from the challenge and the card's UUID.
    """
    for device in evidence.devices:
        _check_device(device, challenge, now_ms // 1000, roots)


def _check_device(
    device: DeviceEvidence, challenge: bytes | None, now_s: int, roots: frozenset[str] | None
) -> None:
    """Check the attestation evidence of one card, if it has any."""
    try:
        raw = attestation_of(device)
        if raw is not None:
            nonce = expected_nonce(device, EvidenceClass.CARRIED, challenge)
            _verified(raw, now_s, nonce, roots)
    except AttestationError as error:
        raise AttestationError(error.refusal, error.detail, f"GPU {device.index}") from None


def with_signed_claims(
    evidence: Evidence,
    *,
    now_ms: int,
    challenge: bytes | None = None,
    roots: frozenset[str] | None = None,
) -> Evidence:
    """Verify each device's attestation evidence and put what it proves beside it.

    Args:
        evidence: All claims of one run.
        now_ms: Time at which certificates have to be valid, milliseconds since the Unix epoch.
        challenge: The challenge of the person who runs the command, None for none.
        roots: SHA-256 of the public keys that count as roots; None for NVIDIA's.

    Returns:
        The evidence with `signed.*` claims where there is something to verify; the very same
        object where there is nothing.
    """
    devices = tuple(
        _with_claims(device, evidence.evidence_class, now_ms, challenge, roots)
        for device in evidence.devices
    )
    if all(new is old for new, old in zip(devices, evidence.devices, strict=True)):
        return evidence
    return replace(evidence, devices=devices)


def _with_claims(
    device: DeviceEvidence,
    evidence_class: EvidenceClass,
    now_ms: int,
    challenge: bytes | None,
    roots: frozenset[str] | None,
) -> DeviceEvidence:
    """Return one device with its `signed.*` claims and without others' of that name."""
    claims = device.claims.claims
    kept = tuple([claim for claim in claims if not claim.id.startswith(PREFIX)])
    try:
        raw = attestation_of(device)
        if raw is None:
            if len(kept) == len(claims):
                return device
            return DeviceEvidence(index=device.index, claims=ClaimSet(kept))
        nonce = expected_nonce(device, evidence_class, challenge)
        made = _verified(raw, now_ms // 1000, nonce, roots)
    except AttestationError as error:
        made = (_claim("state", error.refusal.value), _claim("detail", error.detail))
    return DeviceEvidence(index=device.index, claims=ClaimSet(kept + made))


def _verified(
    raw: AttestationEvidence, now_s: int, nonce: bytes | None, roots: frozenset[str] | None
) -> tuple[Claim, ...]:
    """Verify and return the claims that follow."""
    from gpuverify.device_evidence.chain import NVIDIA_DEVICE_ROOTS
    from gpuverify.device_evidence.verify import verify_attestation

    device = verify_attestation(
        raw, now_s=now_s, nonce=nonce, roots=NVIDIA_DEVICE_ROOTS if roots is None else roots
    )
    return _claims(device)


def _claims(device: AttestedDevice) -> tuple[Claim, ...]:
    """Return what verified evidence proves, as claims."""
    identity = device.identity
    texts = {
        "inforom_sku": identity.inforom_sku,
        "chip_sku": identity.chip_sku,
        "vbios_version": identity.vbios_version,
        "driver_version": identity.driver_version,
        "board_id": identity.board_id,
        "device_identifier": device.device_identifier,
        "device_serial": device.device_serial,
        "device_key_sha256": device.device_key_sha256,
        "model_name": device.model_name,
    }
    return (
        _claim("state", "verified"),
        *(_claim(name, text) for name, text in texts.items() if text),
        _claim("nonce_bound", device.nonce_bound),
    )


def _claim(name: str, value: Value) -> Claim:
    """Return one claim of the device certificate."""
    return Claim(
        id=PREFIX + name,
        status=ClaimStatus.OK,
        value=value,
        source=Source.DEVICE_CERTIFICATE,
        call=_CALL,
    )
