"""Field-run files as a selftest on real cards would write them: made up, for tests alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpuverify.refdb.field_data import card_digest

PRODUCT = "a100-sxm4-80gb"
DRIVERS = ("570.86.15", "535.129.03")
KERNELS = {"base": "1a" * 32, "tensor": "2b" * 32, "fp8": "3c" * 32}

VALUES: dict[str, int] = {
    "fingerprint.fp32_fma_milliops": 63_610,
    "fingerprint.fp64_fma_milliops": 31_880,
    "fingerprint.tensor_f16_milliops": 961_000,
    "fingerprint.memory_read_kb_s": 1_769_000_000,
    "fingerprint.memory_write_kb_s": 1_861_000_000,
    "fingerprint.l2_step_bytes": 25_165_824,
    "fingerprint.latency_l2_millicycles": 211_400,
}


def document(number: int, *, driver: str = "", kernels: Mapping[str, str] = KERNELS) -> Any:
    """Return the field run of one card; each has values and a UUID of its own."""
    step = number * 7 % 11
    return {
        "schema": "gpuverify/field-run/v1",
        "tool": "gpuverify 0.1",
        "recorded_ms": 1_790_000_000_000 + number * 86_400_000,
        "origin": "real",
        "level": "full",
        "driver": driver or DRIVERS[(number + 1) % 2],
        "kernels": dict(kernels),
        "cards": [
            {
                "card": card_digest(f"GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b{number:02x}"),
                "seen": {
                    "pci.device_id": 0x20B2,
                    "pci.subsystem_vendor_id": 0x10DE,
                    "pci.subsystem_device_id": 0x147F,
                    "memory.total_bytes": 81_920 << 20,
                },
                "cuda": {"gpu.name": "NVIDIA A100-SXM4-80GB", "gpu.sm_count": 108},
                "measured": {
                    "measure.state": "done",
                    "measure.foreign_processes": 0,
                    "measure.attributed": True,
                    "capacity.class": "whole",
                    "capacity.tested_bytes": 80_512 << 20,
                    "fingerprint.valid": True,
                    "fingerprint.sm_count": 108,
                    "fingerprint.clock_agreement_ppm": 900 + number,
                    "fingerprint.throttle_reasons": "sw_power_cap",
                    **{
                        name: value if "l2_step" in name else value + value * step // 1000
                        for name, value in VALUES.items()
                    },
                },
                "absent": {"fingerprint.peer_kb_s": "not-found: one card"},
            }
        ],
    }


def encoded(tree: Any) -> bytes:
    """Return the bytes of a file."""
    return json.dumps(tree, indent=1, sort_keys=True).encode()
