"""The opaque data of the response: type, length, value, in NVIDIA's own numbering.

The numbers are those of NVIDIA's attestation tools (NVIDIA/nvtrust, spdm_msrt_resp_msg.py;
NVIDIA/attestation-sdk, gpu opaque data types).
"""

from __future__ import annotations

from gpuverify.model.attestation import (
    AttestationError,
    AttestationRefusal,
    SignedIdentity,
)

DRIVER_VERSION, VBIOS_VERSION, BOARD_ID = 3, 6, 14
CHIP_SKU, CHIP_SKU_MODIFIER, PROJECT, PROJECT_SKU, PROJECT_SKU_MODIFIER = 15, 16, 17, 18, 19
FIRMWARE_ID, PROTECTED_PCIE = 20, 21

FIELD_NAMES = {
    1: "certificate issuer name", 2: "authority key identifier", 3: "driver version",
    4: "GPU info", 5: "SKU", 6: "VBIOS version", 7: "manufacturer id", 8: "tamper detection",
    9: "SMC", 10: "VPR", 11: "NVDEC0 status", 12: "measurement counts", 13: "CPR info",
    14: "board id", 15: "chip SKU", 16: "chip SKU modifier", 17: "project", 18: "project SKU",
    19: "project SKU modifier", 20: "firmware id", 21: "protected PCIe status",
    22: "switch PDIs", 23: "floor-swept ports", 24: "position id", 25: "switch lock status",
    32: "GPU link connections", 33: "system enable status", 34: "opaque data version",
    35: "chip info", 36: "feature flag",
}  # fmt: skip
"""Names for people. A number that is not here is listed as unknown and never refused."""

_ON, _OFF = 0xAA, 0x55


def read_opaque(data: bytes) -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Take the opaque data apart.

    Args:
        data: The opaque data.

    Returns:
        Values by number, and the numbers that have no name here.

    Raises:
        AttestationError: A field stands twice or reaches past the end.
    """
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise AttestationError(
                AttestationRefusal.REPORT_OPAQUE, f"{len(data) - at} bytes left over at byte {at}"
            )
        number = int.from_bytes(data[at : at + 2], "little")
        length = int.from_bytes(data[at + 2 : at + 4], "little")
        at += 4
        if at + length > len(data):
            raise AttestationError(
                AttestationRefusal.REPORT_OPAQUE,
                f"field {number} says {length} bytes, {len(data) - at} are left",
            )
        if number in fields:
            raise AttestationError(AttestationRefusal.REPORT_OPAQUE, f"field {number} stands twice")
        fields[number] = data[at : at + length]
        at += length
    return fields, tuple(number for number in fields if number not in FIELD_NAMES)


def signed_identity(fields: dict[int, bytes]) -> SignedIdentity:
    """Read the fields that name chip, board and firmware.

    Args:
        fields: Values by number.

    Raises:
        AttestationError: One is missing, or not in its shape.
    """
    firmware = fields.get(FIRMWARE_ID, b"")
    if len(firmware) not in (0, 48):
        raise AttestationError(
            AttestationRefusal.REPORT_FIELD, f"a firmware id of {len(firmware)} bytes, not 48"
        )
    return SignedIdentity(
        chip_sku=_text(fields, CHIP_SKU),
        chip_sku_modifier=_text(fields, CHIP_SKU_MODIFIER, needed=False),
        project=_text(fields, PROJECT).upper(),
        project_sku=_text(fields, PROJECT_SKU).upper(),
        project_sku_modifier=_text(fields, PROJECT_SKU_MODIFIER, needed=False),
        vbios_version=_vbios_version(_field(fields, VBIOS_VERSION)),
        board_id=_board_id(_field(fields, BOARD_ID)),
        driver_version=_text(fields, DRIVER_VERSION),
        firmware_id=firmware.hex(),
    )


def protected_pcie(fields: dict[int, bytes]) -> bool | None:
    """Say whether protected PCIe mode was on; None where that is not signed, or in another word."""
    value = fields.get(PROTECTED_PCIE)
    return {bytes([_ON]): True, bytes([_OFF]): False}.get(value) if value is not None else None


def _field(fields: dict[int, bytes], number: int) -> bytes:
    """Return a field that has to be there."""
    value = fields.get(number)
    if value is None:
        raise AttestationError(
            AttestationRefusal.REPORT_FIELD, f"the {FIELD_NAMES[number]} is not among the fields"
        )
    return value


def _text(fields: dict[int, bytes], number: int, *, needed: bool = True) -> str:
    """Return a text that ends at its first NUL, with nothing but NULs after it."""
    raw = _field(fields, number) if needed else fields.get(number, b"")
    text, _, rest = raw.partition(b"\0")
    if rest.strip(b"\0") or not text.isascii() or not text.decode("ascii").isprintable():
        raise AttestationError(
            AttestationRefusal.REPORT_TEXT, f"the {FIELD_NAMES[number]} is not plain text"
        )
    if needed and not text:
        raise AttestationError(
            AttestationRefusal.REPORT_FIELD, f"the {FIELD_NAMES[number]} is empty"
        )
    return text.decode("ascii")


def _vbios_version(raw: bytes) -> str:
    """Write the version as NVML does: four bytes from the high end, then the fifth."""
    if len(raw) != 8:
        raise AttestationError(
            AttestationRefusal.REPORT_FIELD, f"a VBIOS version of {len(raw)} bytes, not 8"
        )
    return ".".join(f"{byte:02X}" for byte in (raw[3], raw[2], raw[1], raw[0], raw[4]))


def _board_id(raw: bytes) -> str:
    """Write the board id as hex."""
    if len(raw) != 4:
        raise AttestationError(
            AttestationRefusal.REPORT_FIELD, f"a board id of {len(raw)} bytes, not 4"
        )
    return f"0x{int.from_bytes(raw, 'little'):08x}"
