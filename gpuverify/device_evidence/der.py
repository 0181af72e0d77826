"""The one structure that no library reads: the composite device id in the leaf certificate.

SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid SEQUENCE { hashAlg OBJECT
IDENTIFIER, fwid OCTET STRING } }, by the TCG's DICE work (OID 2.23.133.5.4.1).
"""

from __future__ import annotations

from gpuverify.model.attestation import AttestationError, AttestationRefusal

_INTEGER, _OCTETS, _OID, _SEQUENCE = 0x02, 0x04, 0x06, 0x30
_SHA384 = bytes.fromhex("608648016503040202")


def firmware_id_of(data: bytes, device_key: bytes) -> bytes:
    """Return the firmware digest.

    Args:
        data: Value of the extension.
        device_key: SubjectPublicKeyInfo of the device certificate, which has to stand in it.

    Raises:
        AttestationError: It has another shape, another digest algorithm or another device key.
    """
    body, rest = _take(data, _SEQUENCE)
    _, after = _take(body, _INTEGER)
    key, firmware = after[: len(device_key)], after[len(device_key) :]
    if rest or key != device_key:
        raise AttestationError(
            AttestationRefusal.FIRMWARE_ID, "the leaf's device key is not the device certificate's"
        )
    inner, rest = _take(firmware, _SEQUENCE)
    algorithm, after = _take(inner, _OID)
    digest, tail = _take(after, _OCTETS)
    if rest or tail or algorithm != _SHA384 or len(digest) != 48:
        raise AttestationError(
            AttestationRefusal.FIRMWARE_ID, "the leaf's firmware id is no SHA-384 digest"
        )
    return digest


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the value of the first element, which has to have a tag, and what follows it."""
    head, length = 2, data[1] if len(data) > 1 else 0
    if length == 0x81 and len(data) > 2 and data[2] >= 0x80:
        head, length = 3, data[2]
    if len(data) < 2 or data[0] != tag or length >= 0x100 or (head == 2 and length >= 0x80):
        raise AttestationError(
            AttestationRefusal.FIRMWARE_ID, "the leaf's firmware id has another shape"
        )
    if head + length > len(data):
        raise AttestationError(
            AttestationRefusal.FIRMWARE_ID, "the leaf's firmware id reaches past its end"
        )
    return data[head : head + length], data[head + length :]
