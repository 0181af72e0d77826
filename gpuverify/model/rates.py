"""Which measured claim each rate field of the reference data is compared with, and in what unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One quantity that is measured by timing.

    Attributes:
        field: Reference field.
        claim: The measured claim.
        scale: How many of the claim's units make one of the field's.
        spread_percent: How far good cards may lie beyond those that were measured, at least. A
            count a clock and the latency of a cache go with the clock alone, whose three readings
            agree within 2 %, and a tensor rate moves by 1 to 3 %: 5. Rates of one product differ
            by 22 % at most in a study of five large installations
            (https://arxiv.org/abs/2208.11035). The sizes tried for the L2 step double: 100.
    """

    field: str
    claim: str
    scale: int = 1
    spread_percent: int = 22


CLOCK_SPREAD_PPM = 20_000
"""Three clocks that time one kernel must agree within 2 %; a GPU's global timer has a step of
about a microsecond, far below the 50 ms that a kernel is timed over."""

COVERED_PERCENT = 93
"""Share of the size sold that has to be written and read back: public read-outs of T4, L4, A10
and RTX 3070 show 2.3 to 2.9 % reserved before any program runs, and a context takes some more."""

HOT = ("hw_thermal_slowdown", "sw_thermal_slowdown")
"""Clock event reasons of a card that slows down for heat."""

OPERATIONS = (
    "fp32_fma", "fp32_mul_add", "fp64_fma", "fp16_fma", "int_mad", "tensor_f16", "tensor_bf16",
    "tensor_tf32", "tensor_f64", "tensor_s8", "tensor_fp8",
)  # fmt: skip
"""Operations that are counted a clock and multiprocessor."""


def operation_field(name: str) -> str:
    """Return the reference field of an operation."""
    return f"rate.{name}_per_clock_per_sm"


MEMORY_READ, MEMORY_WRITE, L2_STEP = (
    "rate.memory_read_kb_s", "rate.memory_write_kb_s", "rate.l2_step_bytes",
)  # fmt: skip

_MEASURED = (
    *(
        Rate(
            field=operation_field(name),
            claim=f"fingerprint.{name}_milliops",
            scale=1000,
            spread_percent=5,
        )
        for name in OPERATIONS
    ),
    Rate(field=MEMORY_READ, claim="fingerprint.memory_read_kb_s"),
    Rate(field=MEMORY_WRITE, claim="fingerprint.memory_write_kb_s"),
    Rate(field="rate.memory_copy_kb_s", claim="fingerprint.memory_copy_kb_s"),
    Rate(field="rate.l2_read_kb_s", claim="fingerprint.l2_read_kb_s"),
    Rate(field=L2_STEP, claim="fingerprint.l2_step_bytes", spread_percent=100),
    Rate(
        field="rate.latency_l1_millicycles",
        claim="fingerprint.latency_l1_millicycles",
        spread_percent=5,
    ),
    Rate(
        field="rate.latency_l2_millicycles",
        claim="fingerprint.latency_l2_millicycles",
        spread_percent=5,
    ),
    Rate(
        field="rate.latency_memory_millicycles",
        claim="fingerprint.latency_memory_millicycles",
    ),
)

RATES: dict[str, Rate] = {rate.field: rate for rate in _MEASURED}
"""Every such quantity by its reference field. Rates over PCI Express or to another card, power and
heat are the host's as much as the card's: they are in no reference data."""
