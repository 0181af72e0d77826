"""What the chip signs about itself, asked for on the one NVML session; nothing is switched.

The driver answers where confidential computing or protected PCIe mode is on: SPDM, which carries
the report, is started with them (NVIDIA/open-gpu-kernel-modules, spdm.c). A card in its ordinary
mode refuses, and that refusal is a claim with its reason.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.nvml_answers import Answer, NvmlBinding, answer_of_code
from gpuverify.sources.nvml_claims import Collector
from gpuverify.sources.nvml_values import malformed

OFF = "off"
_PROTECTED_PCIE = 1  # NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE, nvml.h
_CAPABLE = 1  # NVML_CC_SYSTEM_GPUS_CC_CAPABLE, nvml.h
_ENABLED, _DISABLED = 1, 0  # NVML_CC_SYSTEM_FEATURE_*, _DEVTOOLS_MODE_*, nvml.h

_STATE = "nvmlSystemGetConfComputeState"
_SETTINGS = "nvmlSystemGetConfComputeSettings"
_CAPABILITIES = "nvmlSystemGetConfComputeCapabilities"
_CERTIFICATE = "nvmlDeviceGetConfComputeGpuCertificate"
_REPORT = "nvmlDeviceGetConfComputeGpuAttestationReport"

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationMode:
    """What the driver says about confidential computing on this host.

    Attributes:
        word: "off", "on", "devtools" or "protected-pcie"; "" where the driver does not say.
        answer: The answer that it comes from; where the cards are not asked, why.
    """

    word: str
    answer: Answer


def read_mode(out: Collector) -> AttestationMode:
    """Read the mode and add it to the host's claims.

    Args:
        out: Collector of the host.

    Returns:
        The mode, which decides whether the cards are asked at all.
    """
    state = out.note(out.binding.ask(_STATE))
    if not state.ok:
        out.refuse("attestation.mode", state)
        return AttestationMode(word="", answer=state)
    capabilities = out.note(out.binding.ask(_CAPABILITIES))
    if capabilities.ok:
        out.put(
            "attestation.gpu_capable", int(capabilities.value.gpusCaps) == _CAPABLE, capabilities
        )
    else:
        out.refuse("attestation.gpu_capable", capabilities)
    feature = int(state.value.ccFeature)
    if feature == _ENABLED:
        word = "devtools" if int(state.value.devToolsMode) == _ENABLED else "on"
    elif feature == _DISABLED:
        word, state = _multi_gpu_mode(out, state)
    else:
        word, state = "", _changed(state, ClaimStatus.MALFORMED, f"ccFeature {feature}")
    out.put("attestation.mode", word or malformed(state.text or ""), state)
    return AttestationMode(word=word, answer=state)


def _multi_gpu_mode(out: Collector, state: Answer) -> tuple[str, Answer]:
    """Tell off from the protected PCIe mode, which stands in the newer settings structure."""
    off = "confidential computing is off"
    settings = out.binding.structure("c_nvmlSystemConfComputeSettings_v1_t")
    if settings is None:
        return OFF, _changed(state, ClaimStatus.NOT_SUPPORTED, off)
    from ctypes import byref

    settings.version = out.binding.constant("nvmlSystemConfComputeSettings_v1", 0)
    asked = out.binding.ask(_SETTINGS, byref(settings))
    if asked.ok:
        # This wrapper hands the return code on without looking at it.
        asked = answer_of_code(_SETTINGS, int(asked.value or 0))
    if not asked.ok:
        why = f"{off}; protected PCIe mode is not known ({asked.text})"
        return OFF, _changed(state, ClaimStatus.NOT_SUPPORTED, why)
    if int(settings.multiGpuMode) == _PROTECTED_PCIE:
        return "protected-pcie", state
    return OFF, _changed(state, ClaimStatus.NOT_SUPPORTED, f"{off}, and protected PCIe mode too")


def _changed(answer: Answer, status: ClaimStatus, text: str) -> Answer:
    """Return an answer that says why the cards are not asked."""
    return Answer(call=answer.call, status=status, text=text)


def read_attestation(
    binding: NvmlBinding,
    handle: Any,
    mode: AttestationMode,
    *,
    uuid: str,
    nonce_for: Callable[[str], bytes] | None,
    time_ms: int,
) -> list[Claim]:
    """Ask one card for its certificates and a report over a nonce.

    Args:
        binding: The binding to ask.
        handle: Device handle.
        mode: What the driver said about the host.
        uuid: UUID of the card, "" where it is not known.
        nonce_for: Gives the nonce for a UUID; None for a random one.
        time_ms: Time that the claims carry.

    Returns:
        Claims of the source `device-certificate`; each refusal with its reason.
    """

    def claim(name: str, answer: Answer, value: str | None) -> Claim:
        ok = answer.ok and value is not None
        status = ClaimStatus.OK if ok else answer.status
        if answer.ok and value is None:
            status = ClaimStatus.MALFORMED
        return Claim(
            id=f"attestation.{name}",
            status=status,
            value=value if ok else None,
            source=Source.DEVICE_CERTIFICATE,
            call=answer.call,
            raw_code=answer.code or None,
            raw_text=None if ok else answer.text,
            time_ms=time_ms,
        )

    if mode.word in ("", OFF):
        return [claim("report", mode.answer, None), claim("certificates", mode.answer, None)]
    nonce = os.urandom(32) if nonce_for is None else nonce_for(uuid)
    certificate = binding.ask(_CERTIFICATE, handle)
    report = binding.ask(_REPORT, handle, nonce)
    claims = [
        claim("report", report, _report_text(report.value) if report.ok else None),
        claim(
            "certificates", certificate, _chain_text(certificate.value) if certificate.ok else None
        ),
    ]
    asked = Answer(call=_REPORT, status=ClaimStatus.OK, code=0)
    return [*claims, claim("nonce", asked, nonce.hex())]


def _report_text(structure: Any) -> str | None:
    """Return the report of NVML's structure in base64; None where its size cannot be."""
    size = int(structure.attestationReportSize)
    whole = bytes(structure.attestationReport)
    return base64.b64encode(whole[:size]).decode() if 0 < size <= len(whole) else None


def _chain_text(structure: Any) -> str | None:
    """Return the attestation chain of NVML's structure as base64 DER by comma."""
    size = int(structure.attestationCertChainSize)
    whole = bytes(structure.attestationCertChain)
    found = _PEM.findall(whole[:size]) if 0 < size <= len(whole) else []
    return ",".join(b"".join(body.split()).decode() for body in found) or None
