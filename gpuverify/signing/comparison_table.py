"""What two read-outs of one card may and may not say: a table of data, one row a fact.

Every counter of the vocabulary either stands in `FACTS` or in `IGNORED`; a test holds it so. A
relation says what the later read-out may show beside the earlier one, and a row says what it
amounts to where it does not.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuverify.model.claims import Source
from gpuverify.model.verification import Change


class Relation(enum.Enum):
    """What is expected of the later value beside the earlier one."""

    EQUAL = "equal"
    # A version: equal, or newer.
    NOT_OLDER = "not-older"
    # A counter that only ever grows over the life of the card.
    NOT_LOWER = "not-lower"
    # A part of the card that can only be used up: spare rows.
    NOT_HIGHER = "not-higher"
    # Seconds of use: they grow, and not faster than time passes.
    CLOCK = "clock"
    # A fault that does not go away by itself: false may become true, but true stays.
    STAYS_TRUE = "stays-true"
    # A measured quantity: within so many per cent either way.
    WITHIN = "within"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One row of the table.

    Attributes:
        claim_id: Id from the vocabulary.
        relation: What is expected.
        otherwise: What it amounts to where the expectation is not met.
        words: One line for people, where it is not met.
        moved: What an allowed change amounts to; None where it is not worth a word.
        moved_words: One line for people, of an allowed change.
        percent: For `Relation.WITHIN`.
        sources: Where the value is read; all, the strongest first, where none is named.
        same_driver: Whether the fact is only compared between read-outs of one driver version
            and ECC mode, on which the value depends.
    """

    claim_id: str
    relation: Relation
    otherwise: Change
    words: str
    moved: Change | None = None
    moved_words: str = ""
    percent: int = 0
    sources: tuple[Source, ...] = ()
    same_driver: bool = False


IDENTITY = ("gpu.uuid", "gpu.pdi", "gpu.serial")
"""What says which card it is, strongest first; judged together in `compare`."""

CLOCK_SLACK_S = 600
"""Seconds by which the hour meter may outrun the clock: it is written in steps, and two machines'
clocks differ by some minutes."""

RATE_PERCENT = 15
"""Rates of one card under another cooling, slot and driver: the public tables that
`rules.measured_rates` stands on scatter by some 20 per cent of the peak between machines."""

OPERATIONS_PERCENT = 15
"""As `rules.measured_silicon` allows beside the product's own number."""

_LOWER = "{what} fell from {earlier} to {later}: it was cleared, or it is another card"
_GREW = "{what} grew from {earlier} to {later} in between"


def _equal(claim_id: str, change: Change, words: str, **more: object) -> Fact:
    """Build a row for a value that has to be the same."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.EQUAL,
        otherwise=change,
        words=f"{{what}} changed from {{earlier}} to {{later}}: {words}",
        **more,  # type: ignore[arg-type]
    )


def _version(claim_id: str, words: str) -> Fact:
    """Build a row for a version that may become newer."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.NOT_OLDER,
        otherwise=Change.ALARM,
        words=f"{{what}} went back from {{earlier}} to {{later}}: {words}",
        moved=Change.WARN,
        moved_words=f"{{what}} changed from {{earlier}} to {{later}}: {words}",
    )


def _counter(claim_id: str, lower: Change, grown: Change | None) -> Fact:
    """Build a row for a counter of the card's whole life."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.NOT_LOWER,
        otherwise=lower,
        words=_LOWER,
        moved=grown,
        moved_words=_GREW,
    )


def _spare(claim_id: str) -> Fact:
    """Build a row for spare rows that are used up and never come back."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.NOT_HIGHER,
        otherwise=Change.ALARM,
        words="{what} rose from {earlier} to {later}: spare rows do not come back",
        moved=Change.WARN,
        moved_words="{what} fell from {earlier} to {later} in between",
    )


def _fault(claim_id: str) -> Fact:
    """Build a row for a lasting fault."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.STAYS_TRUE,
        otherwise=Change.ALARM,
        words="{what}: gone, though the card does not mend that by itself; it was cleared, or it"
        " is another card",
        moved=Change.WARN,
        moved_words="{what}: new since the earlier read-out",
    )


def _rate(claim_id: str, percent: int, change: Change) -> Fact:
    """Build a row for a measured quantity."""
    return Fact(
        claim_id=claim_id,
        relation=Relation.WITHIN,
        otherwise=change,
        words=f"{{what}} changed from {{earlier}} to {{later}}, by more than {percent} %:"
        " another slot or cooling, or damage in between",
        percent=percent,
    )


_RELABEL = "relabelled, or a fault"
_STRAPS = "the straps or the VBIOS were changed, or it is another card"
_ELSEWHERE = "the machine or slot can explain it"

FACTS: tuple[Fact, ...] = (
    # What the card is.
    _equal("pci.vendor_id", Change.ALARM, _STRAPS),
    _equal("pci.device_id", Change.ALARM, _STRAPS),
    _equal("pci.subsystem_vendor_id", Change.ALARM, _STRAPS),
    _equal("pci.subsystem_device_id", Change.ALARM, _STRAPS),
    _equal("pci.revision_id", Change.ALARM, _STRAPS),
    _equal("gpu.name", Change.ALARM, _RELABEL),
    _equal("gpu.architecture", Change.ALARM, _RELABEL),
    _equal("gpu.compute_capability", Change.ALARM, _RELABEL),
    _equal("gpu.board_part_number", Change.ALARM, "the InfoROM was rewritten, or another board"),
    _equal("gpu.gpu_part_number", Change.ALARM, "the InfoROM was rewritten, or another board"),
    _equal("gpu.core_count", Change.ALARM, _RELABEL),
    _equal("gpu.sm_count", Change.ALARM, _RELABEL),
    _equal("l2.size_bytes", Change.ALARM, _RELABEL),
    _equal("memory.bus_width_bits", Change.ALARM, _RELABEL),
    _equal("memory.total_bytes", Change.ALARM, _RELABEL, same_driver=True),
    _equal("clock.memory_max_khz", Change.WARN, _RELABEL, same_driver=True),
    _equal("clock.sm_max_khz", Change.WARN, _RELABEL, same_driver=True),
    _equal("power.limit_default_mw", Change.WARN, "another VBIOS", same_driver=True),
    _equal("power.limit_max_mw", Change.WARN, "another VBIOS", same_driver=True),
    _equal("ecc.mode_default", Change.WARN, "another VBIOS or InfoROM"),
    # What is written on it.
    _version("gpu.vbios_version", "flashed in between; ask who did it and why"),
    _version("inforom.image_version", "the InfoROM was written in between; ask who did it and why"),
    _version("inforom.oem_object", "the InfoROM was written in between"),
    _version("inforom.ecc_object", "the InfoROM was written in between"),
    _version("inforom.power_object", "the InfoROM was written in between"),
    _equal("inforom.config_checksum", Change.NOTE, "settings in the InfoROM changed"),
    _equal("inforom.valid", Change.WARN, "the InfoROM's checksums"),
    # How long it ran, and what it went through.
    Fact(
        claim_id="inforom.bbx_time_run_s",
        relation=Relation.CLOCK,
        otherwise=Change.ALARM,
        words="{what} fell from {earlier} to {later}: it was reset, or it is another card",
        moved=Change.NOTE,
        moved_words="it ran {grown} in between",
    ),
    _counter("remap.correctable_count", Change.ALARM, Change.WARN),
    _counter("remap.uncorrectable_count", Change.ALARM, Change.WARN),
    _counter("retired.single_bit_count", Change.ALARM, Change.WARN),
    _counter("retired.double_bit_count", Change.ALARM, Change.WARN),
    _counter("retired.last_time_s", Change.ALARM, None),
    _equal("retired.first_time_s", Change.ALARM, "the list of retired pages was purged"),
    _spare("remap.histogram_max"),
    _fault("remap.failure"),
    _fault("repair.unrepairable_memory"),
    _fault("repair.bank_remap_failure"),
    _fault("ecc.sram_threshold_exceeded"),
    _counter("ecc.aggregate.sram_correctable", Change.WARN, Change.NOTE),
    _counter("ecc.aggregate.dram_correctable", Change.WARN, Change.NOTE),
    _counter("ecc.aggregate.single_bit_total", Change.WARN, Change.NOTE),
    _counter("ecc.aggregate.sram_uncorrectable", Change.WARN, Change.WARN),
    _counter("ecc.aggregate.sram_uncorrectable_parity", Change.WARN, Change.WARN),
    _counter("ecc.aggregate.sram_uncorrectable_secded", Change.WARN, Change.WARN),
    _counter("ecc.aggregate.dram_uncorrectable", Change.WARN, Change.WARN),
    _counter("ecc.aggregate.double_bit_total", Change.WARN, Change.WARN),
    # What the machine can explain.
    _equal("pci.link_generation_device_max", Change.WARN, _ELSEWHERE),
    _equal("pci.link_width_max", Change.WARN, f"{_ELSEWHERE}, and so can a fault"),
    _equal("nvlink.link_count", Change.WARN, f"{_ELSEWHERE}, and so can a fault"),
    _equal("pci.bar1_max_bytes", Change.NOTE, _ELSEWHERE),
    _equal("ecc.mode_current", Change.NOTE, "a setting"),
    _equal("mig.mode_current", Change.NOTE, "a setting"),
    _equal("platform.chassis_serial", Change.NOTE, "another chassis"),
    # What was measured. It says "consistent" or "changed", never "is the same card".
    _equal("capacity.class", Change.ALARM, "memory that was there before is not, or the reverse"),
    _equal("fingerprint.sm_count", Change.ALARM, _RELABEL),
    *(
        _rate(f"fingerprint.{name}_milliops", OPERATIONS_PERCENT, Change.WARN)
        for name in (
            "fp32_fma", "fp32_mul_add", "fp64_fma", "fp16_fma", "int_mad", "tensor_f16",
            "tensor_bf16", "tensor_tf32", "tensor_f64", "tensor_s8", "tensor_fp8",
        )
    ),
    _rate("fingerprint.memory_read_kb_s", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.memory_write_kb_s", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.memory_copy_kb_s", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.l2_read_kb_s", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.latency_l1_millicycles", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.latency_l2_millicycles", RATE_PERCENT, Change.NOTE),
    _rate("fingerprint.latency_memory_millicycles", RATE_PERCENT, Change.NOTE),
)  # fmt: skip
"""The table, in the order in which differences of one strength are listed."""

IGNORED: dict[str, str] = {
    "ecc.volatile.*": "since the last reset of the driver",
    "pci.replay_count": "since the last reset of the driver",
    "nvlink.replay_error_count": "since the last reset of the driver",
    "nvlink.recovery_error_count": "since the last reset of the driver",
    "nvlink.crc_error_count": "since the last reset of the driver",
    "remap.correctable_inactive_count": "a part of the remaps, by the driver's age",
    "remap.uncorrectable_inactive_count": "a part of the remaps, by the driver's age",
    "capacity.bad_cell_count": "judged by the appraisal of each read-out",
    "gpu.process_count": "what ran at that moment",
    "nvlink.active_count": "what was connected at that moment",
    "mig.device_count": "a setting",
}
"""Counters without a relation between two read-outs, and why."""
