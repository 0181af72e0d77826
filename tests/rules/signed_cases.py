"""What a chip signed: evidence that triggers each accusing code, and its near miss."""

from __future__ import annotations

from typing import Any

PDI = "0x9abcdef012345671"


def signed(**changes: Any) -> dict[str, Any]:
    """Claims of verified attestation evidence of the board sold here, bound to the card."""
    claims: dict[str, Any] = {
        "state": "verified",
        "inforom_sku": "G506.0210",
        "chip_sku": "895",
        "vbios_version": "92.00.45.00.03",
        "driver_version": "550.54.14",
        "device_identifier": PDI,
        "device_serial": "412921CE551E4EED",
        "device_key_sha256": "ab" * 32,
        "model_name": "GH100 A01 GSP BROM",
        "nonce_bound": True,
    }
    claims.update(changes)
    return {"nvml:gpu.pdi": PDI, "nvml:inforom.image_version": "G506.0210.00.03"} | {
        f"chip:signed.{name}": value for name, value in claims.items() if value is not None
    }


UNBOUND = {"nonce_bound": False}

# rule, code, lie, near miss
SIGNED_ROWS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "environment.device-evidence",
        "does-not-stand",
        {"chip:signed.state": "chain-root", "chip:signed.detail": "another root"},
        signed(),
    ),
    (
        "identity.device-signed-product",
        "other-product",
        signed(inforom_sku="G506.0200", chip_sku="884"),
        signed(inforom_sku="G506.0999"),
    ),
    (
        "lattice.device-signed",
        "differs",
        signed(inforom_sku="G506.0200"),
        signed(vbios_version="92.00.45.00.05") | {"nvml:gpu.board_part_number": "-"},
    ),
    (
        "lattice.device-signed",
        "another-card",
        signed(inforom_sku="G506.0200", **UNBOUND),
        signed(**UNBOUND),
    ),
]
