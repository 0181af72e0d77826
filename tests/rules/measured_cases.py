"""Evidence for the measured rules: what triggers each accusing or capping code, and what must not."""

from __future__ import annotations

from typing import Any

MIB = 1024 * 1024
GIB = 1024 * MIB

VALID = {
    "measured:fingerprint.valid": True,
    "measured:fingerprint.clock_agreement_ppm": 1300,
}
MEMORY_80 = {"nvml:clock.memory_max_khz": 1_593_000, "nvml:memory.bus_width_bits": 5120}


def capacity(kind: str, tested_mib: int = 80_512, **more: Any) -> dict[str, Any]:
    """Claims of a capacity proof of a card that says 80 GiB."""
    return {
        "measured:capacity.class": kind,
        "measured:capacity.claimed_bytes": 81_119 * MIB,
        "measured:capacity.allocated_bytes": 80_640 * MIB,
        "measured:capacity.tested_bytes": tested_mib * MIB,
        **{f"measured:capacity.{name}": value for name, value in more.items()},
    }


def ended(**changes: Any) -> dict[str, Any]:
    """Claims about how a measurement ended."""
    state: dict[str, Any] = {"state": "done", "foreign_processes": 0, "attributed": True}
    return {f"measured:measure.{name}": value for name, value in (state | changes).items()}


WHOLE = capacity("whole")
WINDOW = {"measured:measure.window": True}

# rule, code, lie, near miss, host, near miss's host
ROWS: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "capacity.measured",
        "folded",
        capacity("folded", fold_bytes=40 * GIB, detectors="alias,digest"),
        WHOLE,
        {},
        {},
    ),
    ("capacity.measured", "page-permuted", capacity("page-permuted"), WHOLE, {}, {}),
    (
        "capacity.measured",
        "dropped-writes",
        capacity("dropped-writes"),
        capacity("stuck-bits", bad_cell_count=3),
        {},
        {},
    ),
    (
        "capacity.measured",
        "host-backed",
        capacity("host-backed", slow_offset_bytes=40 * GIB),
        WHOLE,
        {},
        {},
    ),
    (
        "capacity.measured",
        "larger",
        capacity("whole", tested_mib=90_000),
        capacity("whole", tested_mib=81_100),
        {},
        {},
    ),
    (
        "capacity.measured",
        "too-little",
        capacity("short", tested_mib=70_000),
        capacity("whole", tested_mib=76_190),
        {},
        {},
    ),
    (
        "capacity.measured",
        "lost",
        capacity("lost", lost_offset_bytes=41 * GIB),
        capacity("decaying", bad_cell_count=9),
        {},
        {},
    ),
    ("capacity.measured", "invalid", capacity("invalid"), WHOLE, {}, {}),
    (
        "condition.memory-cells",
        "stuck-bits",
        capacity("stuck-bits", bad_cell_count=2),
        WHOLE,
        {},
        {},
    ),
    (
        "condition.memory-cells",
        "flipped-bits",
        capacity("flipped-bits", bad_cell_count=1),
        capacity("folded", fold_bytes=40 * GIB),
        {},
        {},
    ),
    ("condition.memory-cells", "decaying", capacity("decaying", bad_cell_count=7), WHOLE, {}, {}),
    (
        "condition.memory-cells",
        "lost",
        capacity("lost", lost_offset_bytes=41 * GIB),
        capacity("invalid"),
        {},
        {},
    ),
    (
        "identity.cuda-cross-check",
        "differs",
        {"cuda:gpu.name": "NVIDIA A100-SXM4-40GB", "nvml:gpu.name": "NVIDIA A100-SXM4-80GB"},
        {"cuda:gpu.name": "A100-SXM4-80GB", "nvml:gpu.name": "NVIDIA A100-SXM4-80GB"},
        {},
        {},
    ),
    (
        "identity.cuda-cross-check",
        "differs",
        {"cuda:memory.total_bytes": 40_442 * MIB, "nvml:memory.total_bytes": 81_920 * MIB},
        {
            "cuda:memory.total_bytes": 81_119 * MIB,
            "nvml:memory.total_bytes": 81_920 * MIB,
            "nvml:memory.reserved_bytes": 801 * MIB,
        },
        {},
        {},
    ),
    (
        "identity.cuda-cross-check",
        "differs",
        {"cuda:clock.memory_max_khz": 1_215_000, "nvml:clock.memory_max_khz": 1_593_000},
        {"cuda:clock.memory_max_khz": 1_597_000, "nvml:clock.memory_max_khz": 1_593_000},
        {},
        {},
    ),
    (
        "identity.measured-sm-count",
        "fewer",
        {"measured:fingerprint.sm_count": 70},
        {"measured:fingerprint.sm_count": 56, "nvml:mig.mode_current": True},
        {},
        {},
    ),
    (
        "identity.measured-sm-count",
        "cuda-differs",
        {"measured:fingerprint.sm_count": 78, "cuda:gpu.sm_count": 108},
        {"measured:fingerprint.sm_count": 108, "cuda:gpu.sm_count": 108},
        {},
        {},
    ),
    (
        "identity.measured-bandwidth",
        "impossible",
        {"measured:fingerprint.memory_read_kb_s": 4_600_000_000, **MEMORY_80, **VALID},
        {"measured:fingerprint.memory_read_kb_s": 2_100_000_000, **MEMORY_80, **VALID},
        {},
        {},
    ),
    (
        "condition.measured-bandwidth",
        "below-field",
        {"measured:fingerprint.memory_write_kb_s": 1_489_000_000, **MEMORY_80, **VALID},
        {"measured:fingerprint.memory_write_kb_s": 1_490_000_000, **MEMORY_80, **VALID},
        {},
        {},
    ),
    (
        "environment.measured-clock",
        "impossible",
        {
            "measured:fingerprint.sm_clock_khz": 2_100_000,
            "nvml:clock.sm_max_khz": 1_410_000,
            **VALID,
        },
        {
            "measured:fingerprint.sm_clock_khz": 1_095_000,
            "nvml:clock.sm_max_khz": 1_410_000,
            **VALID,
        },
        {},
        {},
    ),
    (
        "condition.measured-load",
        "throttled-by-heat",
        {
            "measured:fingerprint.throttle_reasons": "sw_power_cap,hw_thermal_slowdown",
            "measured:fingerprint.temperature_peak_celsius": 92,
        },
        {"measured:fingerprint.throttle_reasons": "sw_power_cap"},
        {},
        {},
    ),
    (
        "environment.measured-window",
        "other-card-worked",
        ended(attributed=False),
        ended(),
        WINDOW,
        WINDOW,
    ),
    (
        "environment.measured-window",
        "not-finished",
        ended(state="timed-out"),
        ended(),
        WINDOW,
        WINDOW,
    ),
    (
        "environment.measured-window",
        "foreign-processes",
        ended(foreign_processes=2),
        ended(),
        WINDOW,
        WINDOW,
    ),
    (
        "environment.measured-window",
        "left-out",
        ended(),
        ended(),
        {"measured:measure.window": False, "measured:measure.unmeasured": "00000000:41:00.0"},
        WINDOW,
    ),
    (
        "environment.measured-driver",
        "impossible",
        {"measured:capacity.detectors": "peak"},
        {"measured:capacity.detectors": "events,memory-info"},
        {},
        {},
    ),
    (
        "environment.measured-window",
        "foreign-processes",
        ended() | {"measured:capacity.detectors": "memory-held"},
        ended() | {"measured:capacity.detectors": ""},
        WINDOW,
        WINDOW,
    ),
]
