"""Attestation evidence as text and as JSON: what stands in it, and what of it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.attestation import AttestationError, AttestedDevice
from gpuverify.render.words import plural

if TYPE_CHECKING:
    from gpuverify.device_evidence.describe import Description
    from gpuverify.model.attestation import AttestationEvidence, SignedIdentity
    from gpuverify.render.style import Style

SCHEMA = "gpuverify/device-evidence/v1"

_LABEL = 20
_VALUE_CHARS = 64
_CHECKED = (
    "chain of five up to NVIDIA's device root, with its constraints and dates",
    "signature over request and response (P-384, SHA-384)",
    "firmware id in the report against the certificate",
    "your nonce, where you give it",
)

Outcome = tuple["AttestationEvidence", "AttestedDevice | AttestationError"]


def _rows(rows: Iterable[tuple[str, str]], style: Style) -> list[str]:
    """Lay out labelled values."""
    lines: list[str] = []
    for label, value in rows:
        lines += style.wrap(value, first=f"  {label:<{_LABEL}}")
    return lines


def _title(number: int, origin: str, style: Style) -> list[str]:
    """Name one GPU and the file that its evidence stands in."""
    return style.wrap(printable(origin, 200), first=style.paint(f"GPU {number}: ", "strong"))


def products_of(identity: SignedIdentity) -> tuple[str, ...]:
    """Return the products on file with this board project and SKU, and this chip SKU.

    Args:
        identity: What was signed.

    Returns:
        Product ids; empty where the two together are not on file.
    """
    from gpuverify.refdb import Database

    database = Database.open()
    found = []
    for name in database.holders("inforom.sku", identity.inforom_sku):
        chips = {str(one.value) for one in database.product(name).get("gpu.chip_sku")}
        if not chips or any(chip.endswith(f"-{identity.chip_sku}") for chip in chips):
            found.append(name)
    return tuple(found)


def _identity_rows(identity: SignedIdentity) -> list[tuple[str, str]]:
    """Label what was signed about chip and board."""
    products = ", ".join(products_of(identity))
    return [
        ("product", products or "not on file for this board and chip SKU"),
        ("board", f"{identity.inforom_sku}{_modifier(identity.project_sku_modifier)}"),
        ("chip SKU", f"{identity.chip_sku}{_modifier(identity.chip_sku_modifier)}"),
        ("VBIOS", f"{identity.vbios_version} (manifest {identity.manifest})"),
        ("board id", identity.board_id),
        ("driver", identity.driver_version),
        ("firmware id", identity.firmware_id or "not signed"),
    ]


def _modifier(text: str) -> str:
    """Show a modifier, if there is one."""
    return f", modifier {text}" if text else ""


def _mode(mode: object) -> str:
    """Say whether protected PCIe mode was on."""
    return "not said" if mode is None else "on" if mode else "off"


def _unknown(numbers: tuple[int, ...]) -> str:
    """List the numbers of fields without a name here."""
    return ", ".join(str(number) for number in numbers)


def show_text(described: Sequence[Description], style: Style) -> str:
    """Lay out everything that stands in attestation evidence.

    Args:
        described: One entry a GPU.
        style: Colour and width.
    """
    from gpuverify.device_evidence.verify import NOT_CHECKED

    lines: list[str] = []
    for number, one in enumerate(described):
        lines += _title(number, one.evidence.origin, style)
        lines.append("  Said by the report; nothing is verified here:")
        report = one.report
        stated = one.evidence.stated_nonce
        lines += _rows(
            [
                *_identity_rows(one.identity),
                ("identifier", one.identifier or "none in the leaf certificate"),
                ("protected PCIe", _mode(one.protected_pcie)),
                ("nonce asked", report.requested_nonce.hex()),
                ("nonce of the GPU", report.response_nonce.hex()),
                ("nonce in the file", "none" if stated is None else stated.hex()),
                ("measurements", str(len(report.measurements))),
                ("report", f"{len(one.evidence.report)} bytes, slot {report.slot}"),
            ],
            style,
        )
        lines.append("  Certificates, as they stand:")
        for certificate in one.certificates:
            said = certificate.fault or (
                f"{certificate.subject}, serial {certificate.serial}, {certificate.valid},"
                f" issued by {certificate.issuer}"
            )
            lines += _rows([(certificate.place, said)], style)
        lines.append("  Signed fields:")
        for field, name, value in one.fields:
            shown = value if len(value) <= _VALUE_CHARS else f"{value[:_VALUE_CHARS]}..."
            size = f"{len(value) // 2} bytes"
            lines += style.wrap(f"{name}, {size}: {shown or '-'}", first=f"    {field:>5}  ")
        lines.append("")
    lines += style.wrap(f"gpuverify device-evidence verify checks: {'; '.join(_CHECKED)}.")
    lines += style.wrap(f"Not checked offline: {'; '.join(NOT_CHECKED)}.")
    return "\n".join(lines) + "\n"


def verify_text(rows: Sequence[Outcome], exit_code: int, style: Style) -> str:
    """Lay out what was verified.

    Args:
        rows: Evidence of each GPU, with what came of it.
        exit_code: Over all.
        style: Colour and width.
    """
    from gpuverify.device_evidence.verify import NOT_CHECKED

    lines: list[str] = []
    for number, (one, outcome) in enumerate(rows):
        lines += _title(number, one.origin, style)
        if isinstance(outcome, AttestationError):
            word = style.paint(f"E_HWATT ({outcome.refusal.value})", "bad")
            lines += style.wrap(f"{word}: {outcome.detail}", first="  ")
            continue
        lines += _rows(_verified_rows(outcome), style)
        word, role = ("stands, and answers your nonce", "good")
        if not outcome.nonce_bound:
            word, role = "stands; its age is not known, for no --nonce was given", "doubt"
        lines += style.wrap(style.paint(word, role), first="  ")
    lines.append("")
    lines += style.wrap(f"Not checked offline: {'; '.join(NOT_CHECKED)}.")
    lines += style.wrap(
        "That a GPU here is the one in front of you is not shown by this: gpuverify check compares"
        " the identifier with NVML's PDI."
    )
    lines.append(f"{plural(len(rows), 'GPU')}, exit {exit_code}")
    return "\n".join(lines) + "\n"


def _verified_rows(device: AttestedDevice) -> list[tuple[str, str]]:
    """Label what verified evidence proves."""
    rows = [
        ("chip", f"{printable(device.model_name, 80)}, certificate {device.device_serial}"),
        *_identity_rows(device.identity),
        ("identifier", device.device_identifier or "none in the leaf certificate"),
        ("key", device.device_key_sha256),
        ("leaf", device.leaf_serial),
        ("nonce", device.nonce.hex()),
        ("measurements", f"{device.measurement_count}, not compared with NVIDIA's manifests"),
        ("protected PCIe", _mode(device.protected_pcie)),
    ]
    if device.unknown_fields:
        rows.append(("unknown fields", _unknown(device.unknown_fields)))
    return rows


def _identity_document(identity: SignedIdentity) -> dict[str, object]:
    """Return what was signed about chip and board."""
    return {
        "project": identity.project,
        "project_sku": identity.project_sku,
        "project_sku_modifier": identity.project_sku_modifier,
        "chip_sku": identity.chip_sku,
        "chip_sku_modifier": identity.chip_sku_modifier,
        "vbios_version": identity.vbios_version,
        "board_id": identity.board_id,
        "driver_version": identity.driver_version,
        "firmware_id": identity.firmware_id or None,
        "manifest": identity.manifest,
        "products": list(products_of(identity)),
    }


def show_document(described: Sequence[Description]) -> dict[str, object]:
    """Return everything that stands in attestation evidence.

    Args:
        described: One entry a GPU.
    """
    from gpuverify.device_evidence.verify import NOT_CHECKED

    return {
        "schema": SCHEMA,
        "command": "show",
        "devices": [
            {
                "index": number,
                "origin": printable(one.evidence.origin, 1000),
                "verified": None,
                "said": _identity_document(one.identity),
                "identifier": one.identifier or None,
                "protected_pcie": one.protected_pcie,
                "nonce": one.report.requested_nonce.hex(),
                "nonce_of_gpu": one.report.response_nonce.hex(),
                "nonce_in_file": (
                    None
                    if one.evidence.stated_nonce is None
                    else one.evidence.stated_nonce.hex()
                ),
                "measurements": [
                    {"index": m.index, "kind": m.kind, "value": m.value.hex()}
                    for m in one.report.measurements
                ],
                "certificates": [
                    {
                        "place": c.place, "subject": c.subject, "issuer": c.issuer,
                        "serial": c.serial, "valid": c.valid, "fault": c.fault or None,
                    }
                    for c in one.certificates
                ],
                "fields": [
                    {"number": field, "name": name, "value": value}
                    for field, name, value in one.fields
                ],
            }
            for number, one in enumerate(described)
        ],
        "not_checked": list(NOT_CHECKED),
    }  # fmt: skip


def verify_document(rows: Sequence[Outcome], exit_code: int) -> dict[str, object]:
    """Return what was verified.

    Args:
        rows: Evidence of each GPU, with what came of it.
        exit_code: Over all.
    """
    from gpuverify.device_evidence.verify import NOT_CHECKED

    return {
        "schema": SCHEMA,
        "command": "verify",
        "devices": [
            {"index": number, "origin": printable(one.origin, 1000), **_outcome(outcome)}
            for number, (one, outcome) in enumerate(rows)
        ],
        "not_checked": list(NOT_CHECKED),
        "exit_code": exit_code,
    }


def _outcome(outcome: AttestedDevice | AttestationError) -> dict[str, object]:
    """Return what came of one GPU's evidence."""
    if isinstance(outcome, AttestationError):
        return {
            "verified": False,
            "error": {
                "code": "E_HWATT",
                "check": outcome.refusal.value,
                "message": printable(outcome.detail, 1000),
            },
        }
    return {
        "verified": True,
        "error": None,
        "signed": _identity_document(outcome.identity),
        "model_name": printable(outcome.model_name, 200),
        "identifier": outcome.device_identifier or None,
        "device_serial": outcome.device_serial,
        "device_key_sha256": outcome.device_key_sha256,
        "leaf_serial": outcome.leaf_serial,
        "nonce": outcome.nonce.hex(),
        "nonce_bound": outcome.nonce_bound,
        "measurement_count": outcome.measurement_count,
        "protected_pcie": outcome.protected_pcie,
        "unknown_fields": list(outcome.unknown_fields),
    }
