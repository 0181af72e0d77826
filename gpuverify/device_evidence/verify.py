"""Attestation evidence of one GPU, verified as far as that goes without a network."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from gpuverify.device_evidence.chain import NVIDIA_DEVICE_ROOTS, verify_chain
from gpuverify.device_evidence.opaque import protected_pcie, signed_identity
from gpuverify.device_evidence.spdm import read_report
from gpuverify.model.attestation import (
    AttestationError,
    AttestationEvidence,
    AttestationRefusal,
    AttestedDevice,
)

NOT_CHECKED = (
    "revocation of the certificates (needs NVIDIA's OCSP service)",
    "the measurements against NVIDIA's reference manifests (need its RIM service)",
)
"""What NVIDIA's own verifier asks a network for."""


def verify_attestation(
    evidence: AttestationEvidence,
    *,
    now_s: int,
    nonce: bytes | None = None,
    roots: frozenset[str] = NVIDIA_DEVICE_ROOTS,
) -> AttestedDevice:
    """Verify chain, signature, nonce and firmware id.

    Args:
        evidence: What the card or NVIDIA's tools gave.
        now_s: Time at which the certificates have to be valid, seconds since the Unix epoch.
        nonce: The caller's own 32 bytes; None where nobody asked, and then the report's age is
            not known.
        roots: SHA-256 of the public keys that count as roots, hex.

    Returns:
        What was signed.

    Raises:
        AttestationError: Any check that fails.
    """
    chain = verify_chain(evidence.chain, now_s=now_s, roots=roots)
    report = read_report(evidence.report)
    half = len(report.signature) // 2
    r, s = (
        int.from_bytes(part, "big") for part in (report.signature[:half], report.signature[half:])
    )
    try:
        chain.leaf_key.verify(encode_dss_signature(r, s), report.signed, ECDSA(SHA384()))
    except InvalidSignature:
        raise AttestationError(
            AttestationRefusal.REPORT_SIGNATURE, "the report is not signed by the leaf's key"
        ) from None
    if nonce is not None and not hmac.compare_digest(nonce, report.requested_nonce):
        raise AttestationError(
            AttestationRefusal.REPORT_NONCE, "the report answers another nonce than the one given"
        )
    identity = signed_identity(report.fields)
    if identity.firmware_id and identity.firmware_id != chain.firmware_id:
        raise AttestationError(
            AttestationRefusal.FIRMWARE_ID, "the signed firmware id is not the leaf certificate's"
        )
    return AttestedDevice(
        identity=identity,
        model_name=chain.model_name,
        device_serial=chain.device_serial,
        device_key_sha256=chain.device_key_sha256,
        leaf_serial=chain.leaf_serial,
        device_identifier=chain.device_identifier,
        nonce=report.requested_nonce,
        nonce_bound=nonce is not None,
        measurement_count=len(report.measurements),
        unknown_fields=report.unknown_fields,
        protected_pcie=protected_pcie(report.fields),
        not_checked=NOT_CHECKED,
    )
