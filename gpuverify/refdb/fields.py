"""The reference fields: type, range, and how hard a difference in each is to forge.

The one table that the lint, the index and docs/reference-fields.md are made from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuverify.model.claims import Basis, Value
from gpuverify.model.rates import OPERATIONS, operation_field


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """Meaning of one reference field.

    Attributes:
        name: Dotted name; a unit stands at its end where there is one.
        type: `int`, `str` or `bool`.
        text: One line for people.
        low: Smallest sane number.
        high: Largest sane number.
        pattern: What a text has to look like, as a regular expression over the whole value.
        derived: Whether it is computed from another field (it may be stated as well, where a
            source names only that part).
        basis: The strongest basis at which a difference in it can be seen: "reported" for what a
            driver or an InfoROM only says, "cross-checked" for PCI config space, "measured" where
            a measurement by doing would show it.
        separates: Whether a difference in it tells two products apart (what a host or an owner
            can set does not).
    """

    name: str
    type: type
    text: str
    low: int = 0
    high: int = 0
    pattern: str = ""
    derived: bool = False
    basis: Basis = Basis.REPORTED
    separates: bool = True


_HEX4 = r"[0-9A-F]{4}"
_REPORTED, _CROSS, _MEASURED = Basis.REPORTED, Basis.CROSS_CHECKED, Basis.MEASURED


def _number(
    name: str, low: int, high: int, text: str, *, basis: Basis = _REPORTED, separates: bool = True
) -> FieldSpec:
    """One field that holds an integer."""
    return FieldSpec(
        name=name, type=int, text=text, low=low, high=high, basis=basis, separates=separates
    )


def _text(name: str, pattern: str, text: str, *, derived: bool = False) -> FieldSpec:
    """One field that holds a text."""
    return FieldSpec(name=name, type=str, text=text, pattern=pattern, derived=derived)


def _rate(name: str, low: int, high: int, text: str) -> FieldSpec:
    """One field that a timing is compared with: it tells no products apart by itself."""
    return _number(name, low, high, text, basis=_MEASURED, separates=False)


_TABLE: tuple[FieldSpec, ...] = (
    FieldSpec(
        name="pci.identity",
        type=str,
        text="PCI ids as DEVICE:SUBVENDOR:SUBDEVICE, DEVICE:- where any subsystem goes with it",
        pattern=rf"{_HEX4}:(-|{_HEX4}:{_HEX4})",
        derived=True,
        basis=_CROSS,
    ),
    _text("gpu.name", r"[A-Z][A-Za-z0-9 ./-]+", "product name as the driver prints it"),
    _number(
        "memory.nominal_mib", 512, 524288, "memory size it is sold with, in MiB", basis=_MEASURED
    ),
    _number(
        "memory.total_mib", 512, 524288, "frame buffer total in MiB, by driver era and ECC mode",
        basis=_MEASURED,
    ),
    _number(
        "memory.reserved_mib", 1, 4096, "frame buffer held back by driver and firmware in MiB",
        separates=False,
    ),
    _number("memory.bus_width_bits", 64, 16384, "memory bus width in bits", basis=_MEASURED),
    _number("clock.memory_max_mhz", 300, 20000, "highest memory clock in MHz", basis=_MEASURED),
    _number("clock.sm_max_mhz", 300, 4000, "highest SM clock in MHz"),
    _number("gpu.core_count", 64, 65536, "FP32 lanes as the driver counts them", basis=_MEASURED),
    _number("gpu.sm_count", 1, 512, "streaming multiprocessors", basis=_MEASURED),
    _text("gpu.compute_capability", r"\d{1,2}\.\d", "CUDA compute capability"),
    _number("l2.size_bytes", 65536, 1 << 30, "L2 cache in bytes", basis=_MEASURED),
    _number("cuda.total_bytes", 1 << 28, 1 << 40, "memory as CUDA sees it", separates=False),
    _number("pci.bar1_mib", 16, 1048576, "BAR1 now, in MiB (the host can make it smaller)"),
    _number("pci.bar1_max_mib", 16, 1048576, "largest BAR1 that the card offers", basis=_CROSS),
    _number(
        "pci.link_generation_max", 1, 7, "PCIe generation of the device", separates=False
    ),
    _number("pci.link_width_max", 1, 16, "PCIe lanes, where the slot has them", separates=False),
    _number("power.limit_default_w", 10, 3000, "default power limit in W"),
    _number("power.limit_min_w", 5, 3000, "lowest settable power limit in W", separates=False),
    _number("power.limit_max_w", 10, 3000, "highest settable power limit in W", separates=False),
    _text("gpu.vbios_version", r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}", "VBIOS version, upper case"),
    _text("inforom.image_version", r"[0-9A-Z]{4}(\.[0-9A-Z]{2,4}){3}", "InfoROM image version"),
    _text("inforom.sku", r"[0-9A-Z]{4}\.[0-9A-Z]{4}", "project and SKU in it", derived=True),
    _text("inforom.oem_object", r"\d{1,2}\.\d{1,2}", "InfoROM OEM object version"),
    _text("inforom.ecc_object", r"\d{1,2}\.\d{1,2}", "InfoROM ECC object version"),
    _text("gpu.board_part_number", r"\d{3}-[0-9A-Z]{5}-[0-9A-Z]{4}-[0-9A-Z]{3}", "board part"),
    _text("board.sku", r"\d{3}-[0-9A-Z]{5}-[0-9A-Z]{4}", "it without its revision", derived=True),
    _text("board.project", r"[0-9A-Z]{4}", "board project in it", derived=True),
    _text("gpu.gpu_part_number", rf"{_HEX4}-[0-9A-Z]{{3}}-[0-9A-Z]{{2}}", "GPU part number"),
    _text("gpu.chip_sku", rf"{_HEX4}-[0-9A-Z]{{3}}", "it without its stepping", derived=True),
    _number("remap.bank_count", 1, 65536, "memory banks in the row-remap histogram"),
    _number("nvlink.link_count", 0, 64, "NVLinks that exist, up or down", basis=_MEASURED),
    _number("nvlink.link_speed_kb_s", 1000000, 500000000, "one NVLink and direction in kB/s"),
    FieldSpec(name="ecc.supported", type=bool, text="whether it has ECC memory to switch on"),
    _text("mig.profile", r"\d+g\.\d+gb(\+me)?", "one MIG profile that it offers"),
    _text("launch.date", r"20\d\d-[01]\d-[0-3]\d", "day of its launch"),
    _text("sold_as.source", r"[a-z0-9-]+", "where it is known from that it is shipped as another"),
    FieldSpec(
        name="rate.compute_capability",
        type=str,
        text="compute capability of the chip that the rates are for",
        pattern=r"\d{1,2}\.\d",
        separates=False,
    ),
    _rate("rate.fp32_lanes_per_sm", 8, 1024, "FP32 lanes of one multiprocessor"),
    *(
        _rate(
            operation_field(name),
            1,
            65536,
            f"{name.replace('_', ' ')} a clock and multiprocessor",
        )
        for name in OPERATIONS
    ),
    _rate("rate.memory_read_kb_s", 10**6, 10**11, "memory read by the measurement, in kB/s"),
    _rate("rate.memory_write_kb_s", 10**6, 10**11, "memory written by the measurement, in kB/s"),
    _rate("rate.memory_copy_kb_s", 10**6, 10**11, "memory copied, both ways counted, in kB/s"),
    _rate("rate.l2_read_kb_s", 10**6, 10**12, "L2 cache read by the measurement, in kB/s"),
    _rate("rate.l2_step_bytes", 65536, 1 << 30, "size at which reads leave the L2 cache"),
    _rate("rate.latency_l1_millicycles", 1000, 10**7, "L1 latency in thousandths of a clock"),
    _rate("rate.latency_l2_millicycles", 1000, 10**7, "L2 latency in thousandths of a clock"),
    _rate("rate.latency_memory_millicycles", 1000, 10**8, "memory latency in such thousandths"),
)  # fmt: skip

FIELDS: dict[str, FieldSpec] = {spec.name: spec for spec in _TABLE}
"""Every reference field by name, in the order of the page."""

NO_DISCRIMINATOR = frozenset(
    ("launch.date", "sold_as.source", "inforom.oem_object", "inforom.ecc_object", "board.project")
)
"""Fields that say nothing about which of two sisters a card is, though they separate families."""


def problem(name: str, value: object) -> str:
    """Say what is wrong with a value for a field, "" if nothing is.

    Args:
        name: Field name.
        value: The value as the data file holds it.

    Returns:
        A sentence, or "".
    """
    spec = FIELDS.get(name)
    if spec is None:
        return f"unknown field {name}"
    if type(value) is not spec.type:
        return f"{name} holds {spec.type.__name__}, not {type(value).__name__}: {value!r}"
    if isinstance(value, str) and not re.fullmatch(spec.pattern, value):
        return f"{name} is not one atomic value of its shape: {value!r}"
    if spec.type is int and isinstance(value, int) and not spec.low <= value <= spec.high:
        return f"{name} is out of range {spec.low} to {spec.high}: {value}"
    return ""


def key(name: str, value: Value) -> str:
    """Return a value as the reverse index writes it.

    Args:
        name: Field name.
        value: The value; names are compared without a leading "NVIDIA ", texts in upper case.

    Returns:
        The text under which the index holds it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if name == "gpu.name":
        return value.strip().upper().removeprefix("NVIDIA ")
    return value if name in ("mig.profile", "launch.date", "sold_as.source") else value.upper()
