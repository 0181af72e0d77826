"""Does the memory work? NVIDIA's own flags and thresholds for remaps, pages and errors.

Condition never touches the verdict: damaged is not another product. A code is marked defective by
the maker's criterion alone; a pending repair asks for attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    basis_of,
    cite,
    finding,
    says,
)

_MEMORY_ERRORS = (
    "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (NVIDIA, memory error management)"
)
_RETIREMENT = (
    "https://docs.nvidia.com/deploy/dynamic-page-retirement/ (NVIDIA, dynamic page retirement)"
)
RETIRED_PAGES_MAX = 64
"""Most pages that the InfoROM can retire: NVIDIA, dynamic page retirement."""


def count(claim: Claim) -> int | None:
    """Return a count, None where there is none."""
    value = claim.value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def counts(claims: Iterable[Claim]) -> tuple[list[Claim], list[Claim]]:
    """Return the claims that hold a count, and those of them whose count is not zero."""
    held: list[Claim] = []
    raised: list[Claim] = []
    for claim in claims:
        value = claim.value
        if isinstance(value, int) and not isinstance(value, bool):
            held.append(claim)
            if value:
                raised.append(claim)
    return held, raised


def lacks_trait(
    rule: Rule, subject: Subject, trait: str, claims: Iterable[Claim]
) -> Finding | None:
    """Return the not-applicable finding where the product lacks the trait and nothing is read."""
    product = subject.product
    if product is None or product.has(trait):
        return None
    if any(claim.value is not None for claim in claims):
        return None
    return finding(rule, "not-for-product", expected=product.name)


def _flag_findings(
    rule: Rule, claims: tuple[Claim, ...], clear: str, codes: dict[str, str]
) -> Iterator[Finding]:
    """Judge flags: each raised one by its code, all clear only where all were read."""
    raised = [claim for claim in claims if claim.value is True]
    for claim in raised:
        yield finding(
            rule,
            codes[claim.id],
            observed=says(claim),
            basis=basis_of(claim),
            claims=cite(claim),
        )
    if raised:
        return
    missing = [claim for claim in claims if claim.value is None]
    if missing:
        yield absent(rule, *missing)
    else:
        yield finding(rule, clear, basis=basis_of(*claims), claims=cite(*claims))


def _check_remap(subject: Subject) -> Iterator[Finding]:
    """Judge row remapping by its flags, then by its counts."""
    rule = ROW_REMAP
    failure, pending = subject.read("remap.failure"), subject.read("remap.pending")
    hard, soft = (
        subject.read("remap.uncorrectable_count"),
        subject.read("remap.correctable_count"),
    )
    claims = (failure, pending, hard, soft)
    if not_for := lacks_trait(rule, subject, "row-remap", claims):
        yield not_for
        return
    stated = False
    for claim, code in ((failure, "failure"), (pending, "pending")):
        if claim.value is True:
            stated = True
            yield finding(
                rule, code, observed=says(claim), basis=basis_of(claim), claims=cite(claim)
            )
    for claim, code in ((hard, "uncorrectable"), (soft, "correctable")):
        if number := count(claim):
            stated = True
            yield finding(
                rule,
                code,
                observed=says(claim, f"{number} remapped rows"),
                basis=basis_of(claim),
                claims=cite(claim),
            )
    if stated:
        return
    missing = [claim for claim in claims if claim.value is None]
    if missing:
        yield absent(rule, missing[0], remedy="with MIG on the driver does not tell; turn it off")
    else:
        yield finding(rule, "none", basis=basis_of(*claims), claims=cite(*claims))


ROW_REMAP = Rule(
    id="condition.row-remap",
    title="Row remapping: failures, pending remaps, remapped rows",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No row was remapped."),
        Code(
            id="failure",
            outcome=Outcome.FAIL,
            defective=True,
            used=True,
            text="A row remap failed ({observed}): NVIDIA's criterion for replacing the card.",
        ),
        Code(
            id="pending",
            outcome=Outcome.WARN,
            text="A row remap waits for a reset ({observed}). Reset and read again.",
        ),
        Code(
            id="uncorrectable",
            outcome=Outcome.WARN,
            used=True,
            text="{observed} after uncorrectable errors.",
        ),
        Code(
            id="correctable",
            outcome=Outcome.NOTE,
            text="{observed} after correctable errors: ordinary in healthy fleets.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="No memory row was given up.",
    limit="The record can be cleared with root rights: no record is no proof of no errors.",
    near_miss="One or two rows remapped after correctable errors.",
    references=(_MEMORY_ERRORS, "nvml.h, nvmlDeviceGetRemappedRows"),
    check=_check_remap,
)


_HISTOGRAM = tuple(f"remap.histogram_{part}" for part in ("max", "high", "partial", "low", "none"))


def _check_spares(subject: Subject) -> Iterator[Finding]:
    """Judge how many banks ran out of spare rows."""
    rule = SPARE_ROWS
    parts = [subject.read(name) for name in _HISTOGRAM]
    if not_for := lacks_trait(rule, subject, "row-remap", parts):
        yield not_for
        return
    *_, low, none = parts
    for claim, code in ((none, "exhausted"), (low, "low")):
        if number := count(claim):
            yield finding(
                rule,
                code,
                observed=says(claim, f"{number} banks"),
                basis=basis_of(claim),
                claims=cite(claim),
            )
            return
    missing = [claim for claim in parts if count(claim) is None]
    if missing:
        yield absent(rule, missing[0])
    else:
        yield finding(rule, "enough", basis=basis_of(*parts), claims=cite(*parts))


SPARE_ROWS = Rule(
    id="condition.spare-rows",
    title="Spare rows left in the memory banks",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="enough", outcome=Outcome.PASS, text="Every bank has spare rows left."),
        Code(
            id="low",
            outcome=Outcome.WARN,
            used=True,
            text="{observed} with few spare rows left.",
        ),
        Code(
            id="exhausted",
            outcome=Outcome.WARN,
            used=True,
            text="{observed} with no spare row left: the next uncorrectable error there fails.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The memory can still repair itself.",
    limit="It says nothing about errors that were never logged.",
    near_miss="Banks that lost one spare row of many.",
    references=(_MEMORY_ERRORS, "nvml.h, nvmlDeviceGetRowRemapperHistogram"),
    check=_check_spares,
)


def _check_retired(subject: Subject) -> Iterator[Finding]:
    """Judge retired pages by NVIDIA's limit, and pending ones."""
    rule = RETIRED_PAGES
    single, double = (
        subject.read("retired.single_bit_count"),
        subject.read("retired.double_bit_count"),
    )
    pending = subject.read("retired.pending")
    if not_for := lacks_trait(rule, subject, "page-retirement", (single, double, pending)):
        yield not_for
        return
    total = (count(single) or 0) + (count(double) or 0)
    if pending.value is True:
        yield finding(
            rule, "pending", observed=says(pending), basis=basis_of(pending), claims=cite(pending)
        )
    if total:
        held = [claim for claim in (single, double) if count(claim)]
        yield finding(
            rule,
            "limit-reached" if total >= RETIRED_PAGES_MAX else "retired",
            observed=says(held[0], f"{total} retired pages"),
            expected=f"fewer than {RETIRED_PAGES_MAX}",
            basis=basis_of(*held),
            claims=cite(*held),
        )
    elif pending.value is not True:
        missing = [claim for claim in (single, double) if count(claim) is None]
        if missing:
            yield absent(rule, missing[0])
        else:
            yield finding(rule, "none", basis=basis_of(single, double), claims=cite(single, double))


RETIRED_PAGES = Rule(
    id="condition.retired-pages",
    title="Retired memory pages",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No page was retired."),
        Code(
            id="retired",
            outcome=Outcome.WARN,
            used=True,
            text="{observed}; the InfoROM holds {expected} before it is full.",
        ),
        Code(
            id="limit-reached",
            outcome=Outcome.FAIL,
            defective=True,
            used=True,
            text="{observed}; expected {expected}: no further page can be retired.",
        ),
        Code(
            id="pending",
            outcome=Outcome.WARN,
            text="A page retirement waits for a reset ({observed}). Reset and read again.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="No memory page was given up.",
    limit="Only boards of the Kepler to Turing generations retire pages.",
    near_miss="A newer board answers that it does not retire pages.",
    references=(_RETIREMENT, "nvml.h, nvmlDeviceGetRetiredPages_v2"),
    check=_check_retired,
)


def _check_sram(subject: Subject) -> Iterator[Finding]:
    """Read NVIDIA's own SRAM threshold flag."""
    rule, claim = SRAM_THRESHOLD, subject.read("ecc.sram_threshold_exceeded")
    if not_for := lacks_trait(rule, subject, "row-remap", (claim,)):
        yield not_for
        return
    yield from _flag_findings(rule, (claim,), "below", {claim.id: "exceeded"})


SRAM_THRESHOLD = Rule(
    id="condition.sram-threshold",
    title="NVIDIA's threshold for SRAM errors",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="below", outcome=Outcome.PASS, text="SRAM errors are below NVIDIA's threshold."),
        Code(
            id="exceeded",
            outcome=Outcome.FAIL,
            defective=True,
            used=True,
            text="SRAM errors exceed NVIDIA's threshold ({observed}): its criterion for "
            "replacing the card.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The chip's own memories are sound by the maker's count.",
    limit="Not printed by old drivers, nor with ECC off.",
    near_miss="A single upset in an SRAM stays below the threshold.",
    references=(_MEMORY_ERRORS,),
    check=_check_sram,
)

_UNCORRECTABLE = tuple(
    f"ecc.{span}.{what}"
    for span in ("aggregate", "volatile")
    for what in (
        "sram_uncorrectable",
        "sram_uncorrectable_parity",
        "sram_uncorrectable_secded",
        "dram_uncorrectable",
        "double_bit_total",
    )
)
_CORRECTABLE = tuple(
    f"ecc.{span}.{what}"
    for span in ("aggregate", "volatile")
    for what in ("sram_correctable", "dram_correctable", "single_bit_total")
)


def _check_errors(subject: Subject) -> Iterator[Finding]:
    """Judge error counters: uncorrectable ones ask for attention, corrected ones are a remark."""
    rule = ECC_ERRORS
    read_claim = subject.device.claims.read
    hard = [read_claim(name) for name in _UNCORRECTABLE]
    soft = [read_claim(name) for name in _CORRECTABLE]
    if not_for := lacks_trait(rule, subject, "ecc", (*hard, *soft)):
        yield not_for
        return
    hard_read, hard_raised = counts(hard)
    soft_read, soft_raised = counts(soft)
    if counted := hard_raised or soft_raised:
        yield finding(
            rule,
            "uncorrectable" if hard_raised else "correctable",
            observed="; ".join(f"{says(c)} {c.id.replace('ecc.', '')}" for c in counted),
            basis=basis_of(*counted),
            claims=cite(*counted),
        )
    elif _over_life(hard_read) and _over_life(soft_read):
        read = hard_read + soft_read
        yield finding(rule, "none", basis=basis_of(*read), claims=cite(*read))
    else:
        yield absent(rule, subject.read("ecc.aggregate.dram_uncorrectable"))


def _over_life(read: list[Claim]) -> bool:
    """Whether a counter over the board's life was read: those stand before the volatile ones."""
    return bool(read) and read[0].id.startswith("ecc.aggregate.")


ECC_ERRORS = Rule(
    id="condition.ecc-errors",
    title="ECC error counters",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No memory error is on record."),
        Code(
            id="uncorrectable",
            outcome=Outcome.WARN,
            text="Uncorrectable memory errors are on record: {observed}.",
        ),
        Code(
            id="correctable",
            outcome=Outcome.NOTE,
            text="Corrected memory errors are on record: {observed}.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="No memory error was counted.",
    limit="Counters can be cleared: zero is no proof.",
    near_miss="Corrected errors, also many from one weak row.",
    references=(_MEMORY_ERRORS, "nvml.h, nvmlDeviceGetMemoryErrorCounter"),
    check=_check_errors,
)

RULES = (ROW_REMAP, SPARE_ROWS, RETIRED_PAGES, SRAM_THRESHOLD, ECC_ERRORS)
