"""The options that put attestation evidence of NVIDIA's tools beside what is read of the cards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gpuverify.errors import FormatError, GpuverifyError, UsageError

if TYPE_CHECKING:
    from gpuverify.model.attestation import AttestationEvidence
    from gpuverify.model.evidence import Evidence

Function = Callable[..., Any]

_OPTIONS = (
    click.option(
        "--device-evidence",
        multiple=True,
        metavar="FILE",
        help="Attestation evidence that NVIDIA's tools wrote for these cards. Repeatable.",
    ),
    click.option(
        "--device-evidence-chain",
        multiple=True,
        metavar="PEM",
        help="Its certificates, where FILE is a report in hex; one for each such FILE.",
    ),
)


def device_evidence_options(function: Function) -> Function:
    """Add the options that attach attestation evidence to a command.

    Args:
        function: The command's function.
    """
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def load_device_evidence(
    files: tuple[str, ...], chains: tuple[str, ...]
) -> tuple[AttestationEvidence, ...]:
    """Read the files that the options name, before anything slow begins.

    Args:
        files: JSON of NVIDIA's attestation tools, or reports in hex.
        chains: Certificate chains in PEM, one for each report in hex, in their order.

    Raises:
        UsageError: There is not one chain for each report in hex.
        MissingInputError: There is no such file.
        FormatError: It is not such a file.
    """
    if not files and not chains:
        return ()
    from gpuverify.codec.limits import MAX_DEVICES
    from gpuverify.codec.read import load_bytes
    from gpuverify.device_evidence.files import (
        is_attestation_json,
        read_attestation_json,
        read_attestation_pair,
    )

    found: list[AttestationEvidence] = []
    left = list(chains)
    for name in files:
        data = load_bytes(name)
        if is_attestation_json(data):
            found += read_attestation_json(data, name)
            continue
        if not left:
            raise _without_chain(name, data)
        chain = left.pop(0)
        found.append(read_attestation_pair(data, name, load_bytes(chain), chain))
    if left:
        raise UsageError(f"{left[0]}: a certificate chain without a report in hex to go with it")
    if len(found) > MAX_DEVICES:
        raise UsageError(f"attestation evidence of more than {MAX_DEVICES} GPUs")
    return tuple(found)


def _without_chain(name: str, data: bytes) -> GpuverifyError:
    """Say what a file without a chain beside it is: no evidence, or half of it."""
    from gpuverify.codec.envelope_json import handed_over_instead

    text = data.strip()
    other = text[:1] in (b"<", b"{", b"[") or handed_over_instead(data)
    if not text or other or (text.isascii() and not re.fullmatch(rb"[0-9A-Fa-fx,\s]+", text)):
        return FormatError(
            name, "neither JSON of NVIDIA's attestation tools nor a report that a GPU signed"
        )
    return UsageError(
        f"{name} is no JSON of NVIDIA's attestation tools; a report in hex needs its certificates"
        " beside it: name their file in PEM with --chain (--device-evidence-chain)"
    )


def attached(evidence: Evidence, given: tuple[AttestationEvidence, ...]) -> Evidence:
    """Put attestation evidence beside the cards that it is of.

    Args:
        evidence: All claims of one run.
        given: What `load_device_evidence` read.

    Raises:
        UsageError: It cannot be said which card something is of.
    """
    if not given or not evidence.devices:
        return evidence
    from gpuverify.device_evidence.attach import attach

    return attach(evidence, given)
