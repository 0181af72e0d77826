"""The report: SPDM 1.1 GET_MEASUREMENTS and MEASUREMENTS (DMTF DSP0274), read within bounds.

The request stands before the response because the signature covers both.
"""

from __future__ import annotations

from gpuverify.device_evidence.opaque import read_opaque
from gpuverify.model.attestation import (
    AttestationError,
    AttestationRefusal,
    Measurement,
    SignedReport,
)

SPDM_VERSION = 0x11
GET_MEASUREMENTS = 0xE0
MEASUREMENTS = 0x60
NONCE_BYTES = 32
SIGNATURE_BYTES = 96
REQUEST_BYTES = 37
MAX_REPORT_BYTES = 0x2000
"""NVML_CC_GPU_ATTESTATION_REPORT_SIZE of nvml.h: the driver's own buffer."""

_SIGNATURE_REQUESTED = 0x01
_ALL_MEASUREMENTS = 0xFF
_DMTF = 1


class _Bytes:
    """A cursor that never reads past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int, what: str) -> bytes:
        """Return the next bytes.

        Args:
            count: How many.
            what: What they are, for the error.
        """
        left = len(self.data) - self.at
        if count > left:
            raise AttestationError(
                AttestationRefusal.REPORT_LENGTH,
                f"{what} needs {count} bytes at byte {self.at}, {left} are left",
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int, what: str) -> int:
        """Return the next bytes as a little-endian number."""
        return int.from_bytes(self.take(count, what), "little")


def read_report(data: bytes) -> SignedReport:
    """Take a report apart.

    Args:
        data: Request and response, as NVML's call and NVIDIA's tools give them.

    Returns:
        Its parts; nothing is verified.

    Raises:
        AttestationError: A length, code or version is not what it has to be.
    """
    if not REQUEST_BYTES < len(data) <= MAX_REPORT_BYTES:
        raise AttestationError(
            AttestationRefusal.REPORT_LENGTH,
            f"a report of {len(data)} bytes; it has {REQUEST_BYTES + 1} to {MAX_REPORT_BYTES}",
        )
    reader = _Bytes(data)
    nonce, slot = _request(reader)
    blocks = _response_head(reader)
    length = reader.number(3, "the length of the measurement record")
    measurements = _measurements(reader.take(length, "the measurement record"), blocks)
    response_nonce = reader.take(NONCE_BYTES, "the nonce of the response")
    opaque = reader.take(reader.number(2, "the length of the opaque data"), "the opaque data")
    signed = data[: reader.at]
    signature = reader.take(SIGNATURE_BYTES, "the signature")
    if reader.at != len(data):
        raise AttestationError(
            AttestationRefusal.REPORT_LENGTH, f"{len(data) - reader.at} bytes follow the signature"
        )
    fields, unknown = read_opaque(opaque)
    return SignedReport(
        requested_nonce=nonce,
        response_nonce=response_nonce,
        slot=slot,
        measurements=measurements,
        fields=fields,
        unknown_fields=unknown,
        signed=signed,
        signature=signature,
    )


def _request(reader: _Bytes) -> tuple[bytes, int]:
    """Read the request and return its nonce and slot."""
    version, code, attributes, operation = reader.take(4, "the request")
    if (version, code) != (SPDM_VERSION, GET_MEASUREMENTS):
        raise AttestationError(
            AttestationRefusal.REPORT_REQUEST,
            f"begins with version {version:#04x} and code {code:#04x}, not with an SPDM 1.1"
            " GET_MEASUREMENTS request",
        )
    if attributes & _SIGNATURE_REQUESTED == 0 or operation != _ALL_MEASUREMENTS:
        raise AttestationError(
            AttestationRefusal.REPORT_REQUEST, "the request asks for no signature, or not for all"
        )
    return reader.take(NONCE_BYTES, "the nonce of the request"), reader.number(1, "the slot")


def _response_head(reader: _Bytes) -> int:
    """Read the head of the response and return the number of blocks."""
    version, code, _, _ = reader.take(4, "the response")
    if (version, code) != (SPDM_VERSION, MEASUREMENTS):
        raise AttestationError(
            AttestationRefusal.REPORT_RESPONSE,
            f"the response has version {version:#04x} and code {code:#04x}, not SPDM 1.1"
            " MEASUREMENTS",
        )
    blocks = reader.number(1, "the number of blocks")
    if blocks == 0:
        raise AttestationError(AttestationRefusal.REPORT_RESPONSE, "it holds no measurement")
    return blocks


def _measurements(record: bytes, blocks: int) -> tuple[Measurement, ...]:
    """Read the measurement blocks, which have to fill the record exactly."""
    reader = _Bytes(record)
    found: dict[int, Measurement] = {}
    for _ in range(blocks):
        index = reader.number(1, "the index of a measurement")
        specification = reader.number(1, "the specification of a measurement")
        body = _Bytes(reader.take(reader.number(2, "the size of a measurement"), "a measurement"))
        kind = body.number(1, "the type of a measurement value")
        value = body.take(body.number(2, "the size of a measurement value"), "a measurement value")
        if specification != _DMTF or index in found or not index or body.at != len(body.data):
            raise AttestationError(
                AttestationRefusal.REPORT_MEASUREMENT,
                f"measurement {index} stands twice, is not in DMTF's form, or has bytes left over",
            )
        found[index] = Measurement(index=index, kind=kind, value=value)
    if reader.at != len(record):
        raise AttestationError(
            AttestationRefusal.REPORT_MEASUREMENT,
            f"{len(record) - reader.at} bytes follow the last measurement",
        )
    return tuple(found.values())
