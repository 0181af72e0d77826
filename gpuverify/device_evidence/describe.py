"""Attestation evidence in words: what stands in it, whether or not any of it holds."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from gpuverify.codec.text import printable
from gpuverify.device_evidence.chain import PLACES, identifier_of, load_certificate
from gpuverify.device_evidence.opaque import FIELD_NAMES, protected_pcie, signed_identity
from gpuverify.device_evidence.spdm import read_report
from gpuverify.model.attestation import (
    AttestationError,
    AttestationEvidence,
    SignedIdentity,
    SignedReport,
)

_NAME_CHARS = 80
_DATE = "%Y-%m-%d"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateWords:
    """One certificate of a chain, in words.

    Attributes:
        place: What it is in the chain: "leaf", "root".
        subject: Whose it is.
        issuer: Who issued it, by its own word.
        serial: Serial number, hex.
        valid: First and last day.
        fault: Why it cannot be read; "" where it can.
    """

    place: str
    subject: str = ""
    issuer: str = ""
    serial: str = ""
    valid: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Attestation evidence of one GPU, taken apart; nothing of it is verified.

    Attributes:
        evidence: The evidence as it came.
        certificates: The chain, leaf first.
        identifier: Identifier that the leaf names; it looks like NVML's PDI. "" for none.
        report: The report taken apart.
        identity: What it says about chip and board.
        protected_pcie: Whether protected PCIe mode was on, None if not said.
    """

    evidence: AttestationEvidence
    certificates: tuple[CertificateWords, ...]
    identifier: str
    report: SignedReport
    identity: SignedIdentity
    protected_pcie: bool | None

    @property
    def fields(self) -> tuple[tuple[int, str, str], ...]:
        """Number, name and value of each opaque field, in the report's order."""
        return tuple(
            (number, FIELD_NAMES.get(number, "unknown"), value.hex())
            for number, value in self.report.fields.items()
        )


def describe(evidence: AttestationEvidence) -> Description:
    """Take attestation evidence apart for people.

    Args:
        evidence: What the card or NVIDIA's tools gave.

    Raises:
        AttestationError: The report cannot be read. A certificate that cannot is described so.
    """
    report = read_report(evidence.report)
    return Description(
        evidence=evidence,
        certificates=tuple(
            _certificate(der, number, len(evidence.chain))
            for number, der in enumerate(evidence.chain)
        ),
        identifier=identifier_of(evidence.chain[0]) if evidence.chain else "",
        report=report,
        identity=signed_identity(report.fields),
        protected_pcie=protected_pcie(report.fields),
    )


def _certificate(der: bytes, number: int, count: int) -> CertificateWords:
    """Describe one certificate."""
    place = PLACES[number] if count == len(PLACES) else f"certificate {number}"
    try:
        certificate = load_certificate(der, place)
    except AttestationError as error:
        return CertificateWords(place=place, fault=error.detail)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return CertificateWords(
        place=place,
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        serial=f"{certificate.serial_number:X}",
        valid=f"{begin:{_DATE}} to {end:{_DATE}}",
    )


def _name(name: x509.Name) -> str:
    """Return the common name, or the whole name where there is none."""
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    text = str(common[0].value) if common else name.rfc4514_string()
    return printable(text, _NAME_CHARS)
