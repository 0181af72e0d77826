"""What a report's measurement says, beside what is on file: numbers for tables and drawings.

The bands are those that the rules compare with. They rest on documents and on what good cards
reached in public tables; the timing kernels were never compared with real cards so far, and every
caption says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.peaks import (
    MARGIN_PERCENT,
    REACHED_PERCENT,
    product_link_peak_kb_s,
    product_memory_peak_kb_s,
)
from gpuverify.model.product import EMULATED_ONLY
from gpuverify.model.rates import CLOCK_SPREAD_PPM, RATES, operation_field
from gpuverify.rules.measured import size
from gpuverify.rules.measured_silicon import bands

if TYPE_CHECKING:
    from gpuverify.model.claims import Claim
    from gpuverify.model.evidence import ClaimSet
    from gpuverify.model.product import Product

_OPERATIONS = {
    "fp32_fma": "FP32 multiply-adds",
    "fp32_mul_add": "FP32 mul, then add",
    "fp64_fma": "FP64 multiply-adds",
    "fp16_fma": "FP16 multiply-adds",
    "int_mad": "Integer multiply-adds",
    "tensor_f16": "FP16 tensor",
    "tensor_bf16": "BF16 tensor",
    "tensor_tf32": "TF32 tensor",
    "tensor_f64": "FP64 tensor",
    "tensor_s8": "INT8 tensor",
    "tensor_fp8": "FP8 tensor",
}

_RATES = {
    "fingerprint.memory_read_kb_s": "Memory read",
    "fingerprint.memory_write_kb_s": "Memory write",
    "fingerprint.memory_copy_kb_s": "Memory copy, both ways",
    "fingerprint.l2_read_kb_s": "L2 read",
    "fingerprint.peer_kb_s": "Card to card, one way",
    "fingerprint.pcie_h2d_kb_s": "PCIe to the card",
    "fingerprint.pcie_d2h_kb_s": "PCIe from the card",
}

_LATENCIES = {
    "fingerprint.latency_l1_millicycles": "Latency of L1",
    "fingerprint.latency_l2_millicycles": "Latency of L2",
    "fingerprint.latency_memory_millicycles": "Latency of memory",
}

_FOLDING = ("folded", "page-permuted")

CLASS_WORDS = {
    "whole": "all that was tested is there, each byte its own",
    "folded": "the memory repeats: less is there than is claimed",
    "page-permuted": "pages repeat: less is there than is claimed",
    "dropped-writes": "a part of the memory does not keep what is written",
    "stuck-bits": "the memory is there; bits are stuck",
    "flipped-bits": "the memory is there; bits flipped",
    "decaying": "the memory is there; bits decay",
    "slow-region": "what was tested is there; a part of it is far slower",
    "host-backed": "a part is far slower, as memory of the host is",
    "short": "what was tested is there; less than usual could be had",
    "lost": "the card went away during the test",
    "invalid": "the measurement is invalid and says nothing about the card",
}
"""What each class of the capacity proof means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One measured quantity and its reference band.

    Attributes:
        label: What was measured, for people.
        claim_id: Id from the vocabulary.
        value: What was measured, in the claim's own unit; None where there is no value.
        text: The value with its unit, or why there is none.
        low: Lower end of the band in the same unit, None where nothing is on file.
        high: Upper end.
        band: The band in words, "" where nothing is on file.
    """

    label: str
    claim_id: str
    value: int | None
    text: str
    low: int | None = None
    high: int | None = None
    band: str = ""

    @property
    def place(self) -> str:
        """Where the value lies: "in band", "below band", "above band" or ""."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        if self.value < self.low:
            return "below band"
        return "above band" if self.value > self.high else "in band"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The performance fingerprint.

    Attributes:
        gauges: What was measured, in a fixed order.
        doubt: Why no timing counts, "" if all do.
        reference: The product whose bands are shown, for people; "" if none is known.
        tried: How far the bands were tried on real cards, e.g. "emulated-only".
    """

    gauges: tuple[Gauge, ...]
    doubt: str
    reference: str
    tried: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMap:
    """What writing and reading back the memory showed.

    Attributes:
        kind: Class of the proof.
        claimed: Bytes that the driver says the card has.
        tested: Bytes written and read back.
        fold: Bytes after which the memory repeats, None if it does not.
        slow: Byte from which it is far slower, None if nowhere.
        lost: Byte at which the card went away, None if it did not.
        bad_cells: Cells of 16 bytes that did not hold what was written.
    """

    kind: str
    claimed: int
    tested: int
    fold: int | None
    slow: int | None
    lost: int | None
    bad_cells: int | None

    def clauses(self) -> list[str]:
        """Say what it shows, a clause an item."""
        share = self.tested * 1000 // self.claimed
        meaning = CLASS_WORDS.get(self.kind, "a class that this version does not know")
        clauses = [
            f"{printable(self.kind, 40)}: {meaning}",
            f"{size(self.tested)} of {size(self.claimed)} tested ({share // 10}.{share % 10} %)",
        ]
        if self.fold:
            clauses.append(f"it repeats after {size(self.fold)}")
        if self.slow is not None:
            clauses.append(f"far slower from {size(self.slow)} on")
        if self.lost is not None:
            clauses.append(f"the card went away at {size(self.lost)}")
        if self.bad_cells:
            clauses.append(f"{self.bad_cells} bad cells of 16 bytes")
        return clauses


def rate(kb_s: int) -> str:
    """Return a rate for people.

    Args:
        kb_s: Kilobytes (1000 bytes) a second.
    """
    return f"{kb_s // 1_000_000}.{kb_s // 100_000 % 10} GB/s"


def thousandths(value: int) -> str:
    """Return thousandths with one digit.

    Args:
        value: Thousandths of a unit, not negative.
    """
    return f"{value // 1000}.{value // 100 % 10}"


def fingerprint(claims: ClaimSet, product: Product | None) -> Fingerprint | None:
    """Read the performance fingerprint out of a card's claims.

    Args:
        claims: The card's claims.
        product: The product whose bands are to be shown, None for no band.

    Returns:
        None where nothing was measured.
    """
    gauges = [*_counts(claims, product), *_work(claims, product), *_moved(claims, product)]
    gauges += _steps(claims, product)
    if not gauges:
        return None
    return Fingerprint(
        gauges=tuple(gauges),
        doubt=_doubt(claims),
        reference="" if product is None else product.name,
        tried=_tried(product),
    )


def _tried(product: Product | None) -> str:
    """Say how far the bands were tried on real cards: the best-tried of them."""
    known = [
        value.validation
        for field in RATES
        for value in (() if product is None else product.get(field))
        if value.validation is not None
    ]
    return str(max(known, key=lambda validation: validation.cards, default=EMULATED_ONLY))


def memory_map(claims: ClaimSet) -> MemoryMap | None:
    """Read the capacity proof out of a card's claims.

    Args:
        claims: The card's claims.

    Returns:
        None where there is none, or where it has no extent to draw.
    """
    kind = claims.value("capacity.class", Source.MEASURED)
    tested = _amount(claims, "capacity.tested_bytes")
    if not isinstance(kind, str) or tested is None:
        return None
    claimed = _amount(claims, "capacity.claimed_bytes") or tested
    if claimed <= 0:
        return None
    return MemoryMap(
        kind=kind,
        claimed=max(claimed, tested),
        tested=tested,
        fold=_amount(claims, "capacity.fold_bytes") if kind in _FOLDING else None,
        slow=_amount(claims, "capacity.slow_offset_bytes"),
        lost=_amount(claims, "capacity.lost_offset_bytes"),
        bad_cells=_amount(claims, "capacity.bad_cell_count"),
    )


def _amount(claims: ClaimSet, claim_id: str) -> int | None:
    """Return a measured count, None where there is none."""
    value = claims.value(claim_id, Source.MEASURED)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def _doubt(claims: ClaimSet) -> str:
    """Say why timings do not count, as the rules decide it."""
    if claims.value("fingerprint.valid", Source.MEASURED) is not True:
        return "results that were recomputed exactly came out wrong, or none was"
    spread = _amount(claims, "fingerprint.clock_agreement_ppm")
    if spread is None:
        return "the clocks under the load were not compared"
    if spread > CLOCK_SPREAD_PPM:
        return f"clocks that timed one kernel differ by {spread} ppm"
    return ""


def _absent(claim: Claim) -> str:
    """Say why a measurement has no value."""
    why = f": {printable(claim.raw_text, 80)}" if claim.raw_text else ""
    return f"{claim.status.value}{why}"


def _asked(claims: ClaimSet, claim_id: str) -> Claim | None:
    """Return the measurement's claim, None where it was never asked for."""
    claim = claims.get(claim_id, Source.MEASURED)
    return None if claim.status is ClaimStatus.NOT_ASKED else claim


def _gauge(
    claim: Claim, label: str, text: str, low: int | None, high: int | None, band: str
) -> Gauge:
    """Build a gauge; a claim without a value has no band."""
    value = claim.value
    if isinstance(value, bool) or not isinstance(value, int):
        return Gauge(label=label, claim_id=claim.id, value=None, text=_absent(claim))
    return Gauge(
        label=label, claim_id=claim.id, value=value, text=text, low=low, high=high, band=band
    )


def _numbers(product: Product | None, field: str) -> list[int]:
    """Return a product's integers of a field."""
    if product is None:
        return []
    return [one.value for one in product.get(field) if isinstance(one.value, int)]


def _counts(claims: ClaimSet, product: Product | None) -> list[Gauge]:
    """Count the multiprocessors (SMs) that did work."""
    claim = _asked(claims, "fingerprint.sm_count")
    if claim is None:
        return []
    own = sorted(set(_numbers(product, "gpu.sm_count")))
    band = " or ".join(str(count) for count in own)
    low, high = (own[0], own[-1]) if own else (None, None)
    text = f"{claim.value}"
    return [_gauge(claim, "SMs that did work", text, low, high, band)]


def _work(claims: ClaimSet, product: Product | None) -> list[Gauge]:
    """Compare work a clock with what the product's chip does."""
    gauges = []
    for name, label in _OPERATIONS.items():
        claim = _asked(claims, f"fingerprint.{name}_milliops")
        if claim is None:
            continue
        known = bands(() if product is None else product.get(operation_field(name)))
        low = min((low for low, _ in known), default=None)
        high = max((high for _, high in known), default=None)
        band = ""
        if low is not None and high is not None:
            band = f"{thousandths(low)} to {thousandths(high)}"
        value = claim.value if isinstance(claim.value, int) else 0
        text = f"{thousandths(value)} a clock and SM"
        gauges.append(_gauge(claim, label, text, low, high, band))
    return gauges


def _moved(claims: ClaimSet, product: Product | None) -> list[Gauge]:
    """Compare rates with what clock and width, or the links, allow."""
    memory = 0 if product is None else product_memory_peak_kb_s(product)
    links = 0 if product is None else product_link_peak_kb_s(product) or 0
    gauges = []
    for claim_id, label in _RATES.items():
        claim = _asked(claims, claim_id)
        if claim is None:
            continue
        low = high = None
        band = ""
        # A copy counts both ways and is left out, as the rules do.
        if memory and claim_id in ("fingerprint.memory_read_kb_s", "fingerprint.memory_write_kb_s"):
            low, high = memory * REACHED_PERCENT // 100, memory * (100 + MARGIN_PERCENT) // 100
            band = f"{rate(low).removesuffix(' GB/s')} to {rate(high)}"
        elif links and claim_id == "fingerprint.peer_kb_s":
            low, high = 0, links * (100 + MARGIN_PERCENT) // 100
            band = f"at most {rate(high)}"
        value = claim.value if isinstance(claim.value, int) else 0
        gauges.append(_gauge(claim, label, rate(value), low, high, band))
    return gauges


def _steps(claims: ClaimSet, product: Product | None) -> list[Gauge]:
    """Show the L2 cache's end and the latencies."""
    gauges = []
    claim = _asked(claims, "fingerprint.l2_step_bytes")
    if claim is not None:
        own = _numbers(product, "l2.size_bytes")
        low, high = (min(own) * 4 // 10, max(own) * 2) if own else (None, None)
        band = f"{size(low)} to {size(high)}" if low is not None and high is not None else ""
        value = claim.value if isinstance(claim.value, int) else 0
        gauges.append(_gauge(claim, "Reads leave L2 at", size(value), low, high, band))
    for claim_id, label in _LATENCIES.items():
        claim = _asked(claims, claim_id)
        if claim is not None:
            value = claim.value if isinstance(claim.value, int) else 0
            gauges.append(_gauge(claim, label, f"{thousandths(value)} clocks", None, None, ""))
    return gauges
