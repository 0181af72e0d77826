"""The identity document: which card, in bytes that seller and buyer build alike."""

from __future__ import annotations

import hashlib
import re
from typing import NoReturn

from gpuverify.codec import strict_json
from gpuverify.codec.text import printable
from gpuverify.model.claims import Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import IDENTITY_SCHEMA, Identity

NVIDIA = 0x10DE
"""PCI vendor id (pcisig.com, member 4318)."""

VENDOR = "nvidia"

# re's character classes are spelt out: \d and \w know the digits and letters of other scripts.
PATTERNS = {
    "gpu_uuid": r"GPU-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "board_serial": r"[0-9A-Z]{1,32}",
    "board_part_number": r"[!-~](?:[ -~]{0,62}[!-~])?",
    "pci_device_id": r"[0-9a-f]{4}:[0-9a-f]{4}",
    "pci_subsystem_id": r"[0-9a-f]{4}:[0-9a-f]{4}",
}
"""Form of each member, as a regular expression over the whole text."""

_COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_DRIVER = (Source.NVML, Source.NVIDIA_SMI)


def member_fits(name: str, value: str) -> bool:
    """Whether a member of the identity document has its form.

    Args:
        name: One of `PATTERNS`.
        value: Its value.
    """
    return _COMPILED[name].fullmatch(value) is not None


def identity_bytes(identity: Identity) -> bytes:
    """Write the identity document in its one canonical form.

    Args:
        identity: Which card.

    Returns:
        UTF-8 JSON with sorted members and no blanks; RFC 8785 gives the same bytes.
    """
    return strict_json.canonical(identity_tree(identity))


def identity_tree(identity: Identity) -> dict[str, str | None]:
    """Return the identity document as a tree.

    Args:
        identity: Which card.
    """
    return {
        "schema": IDENTITY_SCHEMA,
        "vendor": identity.vendor,
        "gpu_uuid": identity.gpu_uuid,
        "board_serial": identity.board_serial,
        "board_part_number": identity.board_part_number,
        "pci_device_id": identity.pci_device_id,
        "pci_subsystem_id": identity.pci_subsystem_id,
    }


def identity_sha256(identity: Identity) -> str:
    """Return the digest that is the subject of a report: hex SHA-256 of `identity_bytes`."""
    return hashlib.sha256(identity_bytes(identity)).hexdigest()


def subject_name(identity: Identity) -> str:
    """Return the name of the subject: the board's serial number, else the GPU's UUID."""
    return f"gpu:{identity.vendor}:{identity.board_serial or identity.gpu_uuid}"


def identity_of(device: DeviceEvidence) -> Identity:
    """Say which card a device is.

    Args:
        device: Claims of one device.

    Returns:
        The identity by what NVML (or nvidia-smi) and PCI configuration space say alike.

    Raises:
        Refused: E_SUBJECT: no UUID or PCI ids, sources that disagree, not an NVIDIA GPU, a MIG
            slice, a serial number of another form.
    """
    claims = device.claims
    where = f"GPU {device.index}"
    vendor, product = (
        _agreed(claims, "pci.vendor_id", where),
        _agreed(claims, "pci.device_id", where),
    )
    board_vendor = _agreed(claims, "pci.subsystem_vendor_id", where)
    board = _agreed(claims, "pci.subsystem_device_id", where)
    if vendor != NVIDIA:
        _refuse(where, "the PCI vendor is not NVIDIA")
    uuid = _agreed_value(claims, "gpu.uuid", where)
    if not isinstance(uuid, str) or not member_fits("gpu_uuid", uuid):
        _refuse(where, f"{printable(str(uuid), 60)!r} is not the UUID of a whole GPU")
    return Identity(
        vendor=VENDOR,
        gpu_uuid=uuid,
        board_serial=_text(claims, "gpu.serial", "board_serial", where),
        board_part_number=_text(claims, "gpu.board_part_number", "board_part_number", where),
        pci_device_id=f"{vendor:04x}:{product:04x}",
        pci_subsystem_id=f"{board_vendor:04x}:{board:04x}",
    )


def _agreed_value(claims: ClaimSet, claim_id: str, where: str) -> Value:
    """Return a value that every source which has one gives alike."""
    found: Value | None = None
    speaker = ""
    for claim in claims.all(claim_id):
        if claim.value is None:
            continue
        if found is not None and claim.value != found:
            _refuse(where, f"{speaker} and {claim.source.value} disagree about {claim_id}")
        found, speaker = claim.value, claim.source.value
    if found is None:
        status = claims.read(claim_id).status.value
        _refuse(where, f"{claim_id} is not known ({status})")
    return found


def _agreed(claims: ClaimSet, claim_id: str, where: str) -> int:
    """Return a PCI id of 16 bits."""
    value = _agreed_value(claims, claim_id, where)
    if type(value) is not int or not 0 <= value <= 0xFFFF:
        _refuse(where, f"{claim_id} is not a number of 16 bits")
    return value


def _text(claims: ClaimSet, claim_id: str, member: str, where: str) -> str | None:
    """Return a text by the driver, None where it has none."""
    value = claims.value(claim_id, *_DRIVER)
    if value is None:
        return None
    if not isinstance(value, str) or not member_fits(member, value):
        _refuse(where, f"{claim_id} {printable(str(value), 60)!r} is not of the form that it has")
    return value


def _refuse(where: str, reason: str) -> NoReturn:
    """Refuse to name a card."""
    raise Refused(
        Refusal.SUBJECT,
        f"{where}: {reason}; a report needs one card that its sources name alike",
    )
