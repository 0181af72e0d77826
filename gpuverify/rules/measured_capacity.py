"""The memory as writing and reading all of it showed: is it there, and does it hold?"""

from __future__ import annotations

from collections.abc import Iterator

from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.product import Product
from gpuverify.model.rates import COVERED_PERCENT
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import MIB, NO_PRODUCT, NO_REFERENCE, cite, finding
from gpuverify.rules.measured import (
    HIDDEN,
    amount,
    measured,
    measured_rule,
    number,
    partial_card,
    size,
    void_or_absent,
)
from gpuverify.rules.on_file import cite_reference, own_values

_LARGER_PERCENT = 105

_MISSING = ("folded", "page-permuted", "dropped-writes", "host-backed")
"""Classes in which memory that the card claims is not there."""

FAULTY = ("stuck-bits", "flipped-bits", "decaying")
"""Classes in which the memory is there and does not hold what is written."""


def _seen(subject: Subject, kind: str) -> str:
    """Say what was seen for a class."""
    fold = number(measured(subject, "capacity.fold_bytes"))
    slow = number(measured(subject, "capacity.slow_offset_bytes"))
    detectors = measured(subject, "capacity.detectors").value
    parts = {
        "folded": f"the memory repeats after {size(fold)}" if fold else "the memory repeats",
        "page-permuted": f"pages repeat, {size(fold)} hold data of their own"
        if fold
        else "pages repeat",
        "dropped-writes": "a part of the memory does not keep what is written",
        "host-backed": f"from {size(slow)} on it is memory of the host"
        if slow
        else "it is memory of the host",
        "slow-region": f"from {size(slow)} on the memory is far slower"
        if slow
        else "a part of the memory is far slower",
    }
    said = parts.get(kind, kind)
    if isinstance(detectors, str) and detectors:
        said += f" (seen by {detectors.replace(',', ', ')})"
    return said


def _cited(subject: Subject) -> tuple[str, ...]:
    """Cite every claim of the capacity proof that holds a value."""
    names = ("class", "claimed_bytes", "allocated_bytes", "tested_bytes", "fold_bytes", "digest")
    claims = [measured(subject, f"capacity.{name}") for name in names]
    return cite(*(claim for claim in claims if claim.ok))


def _check_capacity(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Judge the class, then how much of the size sold was covered."""
    claim = measured(subject, "capacity.class")
    kind = claim.value
    if not isinstance(kind, str):
        yield void_or_absent(rule, claim)
        return
    claimed = number(measured(subject, "capacity.claimed_bytes"))
    expected = f"{size(claimed)}, as the driver says" if claimed else "distinct memory"
    if kind in _MISSING:
        yield finding(
            rule,
            kind,
            observed=_seen(subject, kind),
            expected=expected,
            basis=Basis.MEASURED,
            claims=_cited(subject),
        )
    elif kind in ("whole", "short", *FAULTY):
        yield _covered(subject, rule, kind)
    elif kind == "slow-region":
        yield finding(
            rule,
            kind,
            observed=_seen(subject, kind),
            expected=expected,
            basis=Basis.MEASURED,
            claims=_cited(subject),
        )
    elif kind == "lost":
        yield finding(
            rule,
            "lost",
            observed=_lost(subject),
            expected=expected,
            basis=Basis.MEASURED,
            claims=_cited(subject),
        )
    else:
        yield finding(
            rule,
            "invalid",
            observed=claim.raw_text or "a check of the measurement upon itself failed",
            basis=Basis.MEASURED,
            claims=_cited(subject),
        )


def _lost(subject: Subject) -> str:
    """Say where the card went away."""
    offset = amount(measured(subject, "capacity.lost_offset_bytes"))
    return f"after {size(offset)}" if offset is not None else "during the test"


def _sizes(product: Product) -> tuple[int, ...]:
    """Return the product's nominal sizes in MiB."""
    return tuple(
        value.value
        for value in product.get("memory.nominal_mib")
        if isinstance(value.value, int) and value.value > 0
    )


def _covered(subject: Subject, rule: Rule, kind: str) -> Finding:
    """Judge how much of the size sold was written and read back."""
    product = subject.product
    tested_claim = measured(subject, "capacity.tested_bytes")
    tested = number(tested_claim)
    if product is None:
        return finding(rule, "no-product")
    if tested is None:
        return void_or_absent(rule, tested_claim)
    own = own_values(subject, "memory.nominal_mib")
    sizes = _sizes(product)
    said = f"{size(tested)} written and read back{_share(subject, tested)}"
    if not sizes:
        return finding(rule, "no-reference", observed=said, expected=product.name)
    fitting = [mib for mib in sizes if tested * 100 >= mib * MIB * COVERED_PERCENT]
    nominal = max(fitting, default=min(sizes))
    # A MIG slice or a virtual GPU is less than the card by design.
    code = "hidden" if partial_card(subject) else "too-little"
    if fitting:
        code = "whole" if kind in ("whole", "short") else "whole-but-faulty"
        if tested * 100 > nominal * MIB * _LARGER_PERCENT:
            code = "larger"
    passed = code in ("whole", "whole-but-faulty")
    return finding(
        rule,
        code,
        observed=said,
        expected=f"at least {COVERED_PERCENT} % of {size(nominal * MIB)}",
        basis=Basis.MEASURED,
        claims=_cited(subject),
        reference=cite_reference(own),
        field="memory.nominal_mib" if passed else "",
        value=nominal if passed else None,
    )


def _share(subject: Subject, tested: int) -> str:
    """Say which share of what a program can have was tested."""
    total = number(subject.read("memory.total_bytes"))
    reserved = amount(subject.read("memory.reserved_bytes"))
    if total is None or reserved is None or total <= reserved:
        return ""
    return f", {tested * 1000 // (total - reserved) / 10:.1f} % of what is not reserved"


CAPACITY = measured_rule(
    rule_id="capacity.measured",
    title="Memory written and read back, against reported and sold",
    axis=Axis.IDENTITY,
    group=Group.CAPACITY,
    codes=(
        Code(id="whole", outcome=Outcome.PASS, text="{observed}; expected {expected}."),
        Code(
            id="whole-but-faulty",
            outcome=Outcome.PASS,
            text="{observed}; expected {expected}. Cells of it do not hold what is written, see "
            "condition.memory-cells.",
        ),
        Code(
            id="folded",
            outcome=Outcome.FAIL,
            text="The card has less memory than it claims: {observed}; expected {expected}.",
        ),
        Code(
            id="page-permuted",
            outcome=Outcome.FAIL,
            text="The card has less memory than it claims: {observed}; expected {expected}.",
        ),
        Code(
            id="dropped-writes",
            outcome=Outcome.FAIL,
            text="The card has less memory than it claims: {observed}; expected {expected}.",
        ),
        Code(
            id="host-backed",
            outcome=Outcome.FAIL,
            text="The card has less memory than it claims: {observed}; expected {expected}.",
        ),
        Code(
            id="slow-region",
            outcome=Outcome.INCONCLUSIVE,
            text="All bytes of {expected} are there, but {observed}. Memory of the host would look "
            "so, and so may a card that is hot or that others use: let it cool, end what uses it "
            "and measure again.",
        ),
        Code(
            id="larger",
            outcome=Outcome.FAIL,
            text="{observed}, more than the product has; expected {expected}.",
        ),
        Code(
            id="too-little",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}; a verdict needs {expected}. End what else holds memory of the card "
            "and measure again.",
        ),
        Code(
            id="lost",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="The card went away {observed}, so the rest of {expected} is not proven.",
        ),
        Code(
            id="invalid",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="The measurement is invalid and says nothing about the card: {observed}.",
        ),
        HIDDEN,
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    check=_check_capacity,
    shows="So many bytes are there, each its own: all were written under keys drawn for this run "
    "before any was read back, and a sample was recomputed on the processor.",
    limit="It proves the bytes that were tested and no others, through this host's driver. "
    "A driver written to deceive this very test is not excluded.",
    near_miss="A context and the driver keep a few per cent; a MIG slice is not the card; a bit "
    "that flips is a defect, not missing memory.",
    references=(
        "https://github.com/GypsumLabs/cmp170hx-zh (memory that folds behind a patched driver)",
        "https://github.com/NVIDIA/DCGM (memory and memtest plugins, patterns and access order)",
    ),
)


def _check_cells(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Judge whether the memory held what was written."""
    claim = measured(subject, "capacity.class")
    kind = claim.value
    if not isinstance(kind, str):
        yield void_or_absent(rule, claim)
        return
    bad = measured(subject, "capacity.bad_cell_count")
    cells = amount(bad)
    shown = f"{cells} cells of 16 bytes" if cells else "cells"
    if kind in FAULTY:
        code, observed = kind, shown
    elif kind == "lost":
        code, observed = "lost", _lost(subject)
    elif kind in ("whole", "short", "slow-region"):
        code, observed = "held", _tested(measured(subject, "capacity.tested_bytes"))
    else:
        code, observed = "void", "the capacity proof ended otherwise, see capacity.measured"
    yield finding(
        rule,
        code,
        observed=observed,
        basis=Basis.MEASURED,
        claims=cite(claim, *([bad] if bad.ok else [])),
    )


def _tested(claim: Claim) -> str:
    """Say how much was tested."""
    tested = number(claim)
    return size(tested) if tested else "what was tested"


CELLS = measured_rule(
    rule_id="condition.memory-cells",
    title="Memory cells hold what is written",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="held", outcome=Outcome.PASS, text="All of {observed} held what was written."),
        Code(
            id="stuck-bits",
            outcome=Outcome.FAIL,
            defective=True,
            text="Bits are stuck: {observed} read wrongly under one of two opposite patterns.",
        ),
        Code(
            id="flipped-bits",
            outcome=Outcome.FAIL,
            defective=True,
            text="Bits flipped: {observed} did not hold what was written.",
        ),
        Code(
            id="decaying",
            outcome=Outcome.FAIL,
            defective=True,
            text="Bits decay: {observed} lost what was written after a while.",
        ),
        Code(
            id="lost",
            outcome=Outcome.FAIL,
            defective=True,
            text="The card went away {observed}; the driver answers no more.",
        ),
    ),
    check=_check_cells,
    shows="Two opposite patterns were held by all memory that was tested, for the time of the run.",
    limit="A weak cell may hold for seconds and fail in an hour; ECC hides single bits.",
    near_miss="Memory that is missing is a matter of capacity.measured, not of condition.",
    references=(
        "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (NVIDIA, memory error management)",
        "https://github.com/ComputationalRadiationPhysics/cuda_memtest (patterns of memory tests)",
    ),
)

RULES = (CAPACITY, CELLS)
