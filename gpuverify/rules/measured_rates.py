"""Rates: what physics forbids, what only the product reaches, what no good card falls below."""

from __future__ import annotations

from collections.abc import Iterator

from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.peaks import (
    MARGIN_PERCENT,
    memory_peak_kb_s,
    product_link_peak_kb_s,
    product_memory_peak_kb_s,
)
from gpuverify.model.product import ReferenceValue
from gpuverify.model.rates import MEMORY_READ, MEMORY_WRITE, RATES
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import NO_PRODUCT, NO_REFERENCE, NOT_FOR_PRODUCT, cite, finding
from gpuverify.rules.constants import FROM_CUDA, FROM_NVIDIA_SMI, FROM_NVML
from gpuverify.rules.measured import (
    amount,
    doubt_text,
    measured,
    measured_rule,
    number,
    rate,
    timing_doubt,
    tried,
    void_or_absent,
)
from gpuverify.rules.on_file import cite_reference, own_values

_WEAK_PERCENT = 50
"""Below this share of its peak no healthy card was seen: DCGM, gpu-benches, FluidX3D and the
public LBM tables lie between 76 and 97 per cent."""


def _best_rate(subject: Subject) -> tuple[Claim, int | None]:
    """Return the faster of reading and writing; a copy counts both ways and is left out."""
    read = measured(subject, "fingerprint.memory_read_kb_s")
    written = measured(subject, "fingerprint.memory_write_kb_s")
    read_rate, written_rate = number(read), number(written)
    if (written_rate or 0) > (read_rate or 0):
        return written, written_rate
    return read, read_rate


def _reported_peak(subject: Subject) -> tuple[int, tuple[Claim, ...]]:
    """Return the highest peak that any interface's clock and width give, 0 where none does."""
    best, cited = 0, ()  # type: tuple[int, tuple[Claim, ...]]
    for sources in ((FROM_NVML, FROM_NVIDIA_SMI), (FROM_CUDA,)):
        clock = subject.read("clock.memory_max_khz", *sources)
        width = subject.read("memory.bus_width_bits", *sources)
        khz, bits = number(clock), number(width)
        if khz is not None and bits is not None:
            peak = memory_peak_kb_s(khz // 1000, bits)
            if peak > best:
                best, cited = peak, (clock, width)
    return best, cited


def _peak_references(subject: Subject) -> tuple[ReferenceValue, ...]:
    """Return the reference values that the product's peak follows from."""
    return own_values(subject, "clock.memory_max_mhz") + own_values(
        subject, "memory.bus_width_bits"
    )


def _too_fast(seen: int, peak: int) -> bool:
    """Whether a rate lies above a peak by more than rounding explains."""
    return seen * 100 > peak * (100 + MARGIN_PERCENT)


def _check_memory(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Find a rate that the clock and the width do not allow."""
    product = subject.product
    claim, seen = _best_rate(subject)
    if seen is None:
        yield void_or_absent(rule, claim)
        return
    doubt = timing_doubt(subject)
    if doubt is not None:
        yield finding(rule, "void", observed=doubt_text(doubt), claims=cite(doubt))
        return
    said = f"memory moved {rate(seen)}"
    reported, cited = _reported_peak(subject)
    if reported and _too_fast(seen, reported):
        yield finding(
            rule,
            "impossible",
            observed=said,
            expected=f"at most {rate(reported)}, by the clock and width that the driver names",
            basis=Basis.MEASURED,
            claims=cite(claim, *cited),
        )
        return
    if product is None:
        yield finding(rule, "no-product")
        return
    peak = product_memory_peak_kb_s(product)
    if not peak:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, claims=cite(claim)
        )
        return
    code = "above-product" if _too_fast(seen, peak) else "possible"
    yield finding(
        rule,
        code,
        observed=said,
        expected=f"at most {rate(peak)}",
        basis=Basis.MEASURED,
        claims=cite(claim),
        reference=cite_reference(_peak_references(subject)),
        field="memory.peak_kb_s" if code == "possible" else "",
        value=seen if code == "possible" else None,
    )


MEMORY = measured_rule(
    rule_id="identity.measured-bandwidth",
    title="Memory rate against what clock and bus width allow",
    axis=Axis.IDENTITY,
    codes=(
        Code(
            id="possible",
            outcome=Outcome.PASS,
            text="{observed}; the product's memory allows {expected}.",
        ),
        Code(
            id="impossible",
            outcome=Outcome.WARN,
            text="{observed}; physics allows {expected}: clock, width or the driver's answers are "
            "not true.",
        ),
        Code(
            id="above-product",
            outcome=Outcome.NOTE,
            text="{observed}; the product's memory allows {expected}. By itself it accuses nobody: "
            "the driver's own clock and width allow it.",
        ),
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    check=_check_memory,
    shows="The rate does not exceed what the memory can do. It rules out every product whose "
    "memory cannot do as much.",
    limit="A rate below what the product reaches says nothing here: that is condition.",
    near_miss="Peaks are rounded: 5 % above still passes.",
    references=(
        "https://github.com/te42kyfo/gpu-benches (gpu-stream: 2016 GB/s on a card sold as 2000)",
        "https://developer.nvidia.com/blog/how-implement-performance-metrics-cuda-cc/ (peak rate)",
    ),
)


def _check_weak(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Find a rate below that of good cards, or where none was measured below any good card's."""
    product = subject.product
    claim, seen = _best_rate(subject)
    if seen is None:
        yield void_or_absent(rule, claim)
        return
    doubt = timing_doubt(subject)
    if doubt is not None:
        yield finding(rule, "void", observed=doubt_text(doubt), claims=cite(doubt))
        return
    fielded = list(_against_field(subject, rule))
    if fielded:
        yield from fielded
        return
    said = f"memory moved {rate(seen)}"
    peak = product_memory_peak_kb_s(product) if product is not None else 0
    if not peak:
        yield finding(rule, "no-reference", observed=said, expected="this card", claims=cite(claim))
        return
    runs = own_values(subject, claim.id.replace("fingerprint.", "rate."))
    yield finding(
        rule,
        "weak" if seen * 100 < peak * _WEAK_PERCENT else "usual",
        observed=said,
        expected=f"more than half of {rate(peak)} ({tried(runs)})",
        basis=Basis.MEASURED,
        claims=cite(claim),
        reference=cite_reference(_peak_references(subject)),
    )


def _against_field(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare reading and writing with what enough cards of the product showed in the field."""
    for field in (MEMORY_READ, MEMORY_WRITE):
        claim = measured(subject, RATES[field].claim)
        seen, own = number(claim), own_values(subject, field)
        bands = [v.validation.band for v in own if v.validation and v.validation.band]
        if seen is None or not bands:
            continue
        low = min(band[0] for band in bands)
        yield finding(
            rule,
            "below-field" if seen < low else "usual",
            observed=f"memory {'read' if field == MEMORY_READ else 'written'} at {rate(seen)}",
            expected=f"at least {rate(low)} ({tried(own)})",
            basis=Basis.MEASURED,
            claims=cite(claim),
            reference=cite_reference(own),
        )


WEAK = measured_rule(
    rule_id="condition.measured-bandwidth",
    title="Memory rate against what good cards reach",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="usual", outcome=Outcome.PASS, text="{observed}; good cards move {expected}."),
        Code(
            id="weak",
            outcome=Outcome.NOTE,
            text="{observed}; good cards move {expected}. A locked clock, heat or a weak stack of "
            "memory looks like this. A note at most until enough cards were measured in the field.",
        ),
        Code(
            id="below-field",
            outcome=Outcome.WARN,
            text="{observed}; cards of the product that were measured in the field move "
            "{expected}. A locked clock, heat or a weak stack of memory looks like this.",
        ),
        NO_REFERENCE,
    ),
    check=_check_weak,
    shows="The memory is not far slower than that of good cards.",
    limit="A low rate is condition and never tells what a card is. Without field runs of the "
    "product it is a note at most.",
    near_miss="Cards of one product differ by 8 % in the mean and by 22 % at most in public "
    "studies of large installations.",
    references=("https://arxiv.org/abs/2208.11035 (spread between cards of one product)",),
)


def _check_peer(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare the rate to another card with what the product's links can carry."""
    product = subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    if not product.has("nvlink") and not product.has("nvlink-bridge"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    claim = measured(subject, "fingerprint.peer_kb_s")
    seen = number(claim)
    if seen is None:
        yield void_or_absent(rule, claim, remedy="it needs two cards in one machine, and --measure")
        return
    doubt = timing_doubt(subject)
    if doubt is not None:
        yield finding(rule, "void", observed=doubt_text(doubt), claims=cite(doubt))
        return
    said = f"{rate(seen)} to another card, one way"
    peak = product_link_peak_kb_s(product)
    if not peak:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, claims=cite(claim)
        )
        return
    own = own_values(subject, "nvlink.link_count") + own_values(subject, "nvlink.link_speed_kb_s")
    code = "impossible" if _too_fast(seen, peak) else "possible"
    yield finding(
        rule,
        code,
        observed=said,
        expected=f"at most {rate(peak)}",
        basis=Basis.MEASURED,
        claims=cite(claim),
        reference=cite_reference(own),
        field="nvlink.peak_kb_s" if code == "possible" else "",
        value=seen if code == "possible" else None,
    )


PEER = measured_rule(
    rule_id="link.measured-peer",
    title="Rate to another card against what the product's links carry",
    axis=Axis.IDENTITY,
    codes=(
        Code(
            id="possible",
            outcome=Outcome.PASS,
            text="{observed}; the product's links carry {expected}. What has too few links for "
            "that rate is ruled out.",
        ),
        Code(
            id="impossible",
            outcome=Outcome.NOTE,
            text="{observed}; the product's links carry {expected}. It accuses nobody: the rate "
            "between two cards is never compared with field runs.",
        ),
        NO_REFERENCE,
        NO_PRODUCT,
        NOT_FOR_PRODUCT,
    ),
    check=_check_peer,
    shows="A copy whose content was compared afterwards took this rate: an export version with "
    "fewer links cannot carry more than they do.",
    limit="A low rate says nothing about identity: links may be down, the topology may share them.",
    near_miss="Cards without a bridge copy over PCI Express.",
    references=(
        "https://github.com/NVIDIA/nvbandwidth (276 GB/s between cards with 12 links of 25 GB/s)",
        "https://github.com/deepseek-ai/DeepSeek-V3/issues/28 (160 GB/s with 8 links)",
    ),
)


def _check_pcie(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Say what the PCI Express link ran at while it was loaded."""
    generation = measured(subject, "pcie.loaded_generation")
    now = number(generation)
    if now is None:
        yield void_or_absent(rule, generation)
        return
    width = measured(subject, "pcie.loaded_width")
    lanes = number(width)
    if lanes is None:
        yield void_or_absent(rule, width)
        return
    most = amount(subject.read("pci.link_generation_max", FROM_NVML, FROM_NVIDIA_SMI)) or now
    widest = amount(subject.read("pci.link_width_max", FROM_NVML, FROM_NVIDIA_SMI)) or lanes
    moved = number(measured(subject, "fingerprint.pcie_h2d_kb_s"))
    said = f"generation {now}, {lanes} lanes" + (f", {rate(moved)} to the card" if moved else "")
    yield finding(
        rule,
        "below" if now < most or lanes < widest else "full",
        observed=said,
        expected=f"generation {most}, {widest} lanes",
        basis=Basis.MEASURED,
        claims=cite(generation, width),
    )


PCIE = measured_rule(
    rule_id="link.measured-pcie",
    title="PCI Express link under load",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="full", outcome=Outcome.PASS, text="Under load: {observed}."),
        Code(
            id="below",
            outcome=Outcome.NOTE,
            text="Under load: {observed}; card and slot could do {expected}. A riser or a bad "
            "contact looks like this.",
        ),
    ),
    check=_check_pcie,
    shows="The link trains to what card and slot offer.",
    limit="The state is the driver's word; the rate beside it is a measurement.",
    near_miss="An idle link falls to a lower generation: it is read under load.",
    references=("nvml.h, nvmlDeviceGetCurrPcieLinkGeneration",),
)

RULES = (MEMORY, WEAK, PEER, PCIE)
