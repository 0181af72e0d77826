"""Was it used? The InfoROM's hour meter, remaps and retired pages, serial date, counters.

With new claimed these can speak against the claim; otherwise they are remarks. A counter at zero
says nothing: it may have been cleared, or nothing may have happened yet.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import datetime, timezone

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import kept_if_short
from gpuverify.model.product import ProductKey
from gpuverify.model.sale import Condition
from gpuverify.model.subject import Subject
from gpuverify.rules.board import good_serial
from gpuverify.rules.compare import (
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    basis_of,
    cite,
    finding,
    says,
)
from gpuverify.rules.condition import count, counts, lacks_trait
from gpuverify.rules.constants import SENTINEL

HOUR_S, DAY_S = 3600, 86400
_FIRST_YEAR = 2010
_SENTINELS = frozenset({0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF})
_REMAPS = "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (row remapping is persistent)"


def sold_as_new(subject: Subject) -> bool:
    """Whether the card is sold as new."""
    return subject.sale is not None and subject.sale.condition is Condition.NEW


def launch_s(subject: Subject) -> int | None:
    """Return the product's launch in Unix seconds, None where it is not on file."""
    return _launch_s(subject.product.key) if subject.product else None


@functools.lru_cache(maxsize=1024)
def _launch_s(product: ProductKey) -> int | None:
    """Return a product's launch in Unix seconds, None where it is not on file."""
    for value in product.product.get("launch.date"):
        if isinstance(value.value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value.value):
            try:
                day = datetime.strptime(value.value, "%Y-%m-%d").replace(tzinfo=timezone.utc)
            except ValueError:
                continue
            return int(day.timestamp())
    return None


def _check_meter(subject: Subject) -> Iterator[Finding]:
    """Judge the hours with a driver loaded."""
    rule, claim = HOUR_METER, subject.read("inforom.bbx_time_run_s")
    seconds, new = count(claim), sold_as_new(subject)
    declared = subject.sale.max_hours if subject.sale is not None else None
    if seconds is None and claim.status is not SENTINEL:
        code = "absent-but-required" if new or declared is not None else "no-value"
        yield absent(rule, claim, remedy="use driver 610 or newer", code_id=code)
        return
    if seconds is None or seconds < 0 or seconds in _SENTINELS or _too_long(subject, seconds):
        yield finding(
            rule,
            "implausible-on-new" if new or declared is not None else "implausible",
            observed=says(claim) if claim.ok else "the meter holds a placeholder",
            basis=basis_of(claim),
            claims=cite(claim),
        )
        return
    hours = seconds // HOUR_S
    code, expected = _meter_code(subject, hours)
    yield finding(
        rule,
        code,
        observed=says(claim, f"{hours} hours with a driver loaded"),
        expected=expected,
        basis=basis_of(claim),
        claims=cite(claim),
    )


def _too_long(subject: Subject, seconds: int) -> bool:
    """Whether a meter runs for longer than the product exists (a day of grace)."""
    launch = launch_s(subject)
    now = subject.now_ms // 1000
    since = launch if launch is not None and launch < now else 0
    return seconds > now - since + DAY_S


def _meter_code(subject: Subject, hours: int) -> tuple[str, str]:
    """Return the code for a plausible meter, and what was expected."""
    limits, sale = subject.thresholds, subject.sale
    declared = sale.max_hours if sale is not None else None
    if declared is not None:
        bound = declared + limits.max_hours_slack
        return "within-declared" if hours <= bound else "above-declared", f"{declared} hours"
    if not sold_as_new(subject):
        return "hours" if hours > limits.new_note_hours else "few-hours", ""
    if hours <= limits.new_note_hours:
        return "burn-in", f"at most {limits.new_note_hours} hours"
    if hours <= limits.new_suspect_hours:
        return "above-burn-in", f"at most {limits.new_note_hours} hours"
    return "ran-long", f"at most {limits.new_note_hours} hours"


HOUR_METER = Rule(
    id="history.hour-meter",
    title="Hours with a driver loaded, from the InfoROM",
    axis=Axis.HISTORY,
    group=Group.HISTORY,
    codes=(
        Code(
            id="burn-in",
            outcome=Outcome.NOTE,
            text="{observed}, no more than a burn-in takes ({expected}).",
        ),
        Code(
            id="above-burn-in",
            outcome=Outcome.WARN,
            used=True,
            text="{observed}; a new card is expected to show {expected}. Ask for a burn-in record.",
        ),
        Code(
            id="ran-long",
            outcome=Outcome.WARN,
            used=True,
            text="{observed}; a new card is expected to show {expected}. Held at suspect until "
            "the meter was read on cards of known age.",
        ),
        Code(
            id="within-declared",
            outcome=Outcome.NOTE,
            text="{observed}; declared: {expected}.",
        ),
        Code(
            id="above-declared",
            outcome=Outcome.WARN,
            used=True,
            text="{observed}; declared: at most {expected}.",
        ),
        Code(
            id="hours",
            outcome=Outcome.NOTE,
            used=True,
            text="{observed}.",
        ),
        Code(id="few-hours", outcome=Outcome.NOTE, text="{observed}."),
        Code(
            id="implausible",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: longer than the product exists, or a placeholder.",
        ),
        Code(
            id="implausible-on-new",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}: longer than the product exists, or a placeholder. The claimed "
            "condition stays unproven.",
        ),
        Code(
            id="absent-but-required",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="The claimed condition stays unproven without the hour meter. {observed}.",
        ),
        NO_VALUE,
    ),
    shows="How long a driver was loaded on the board, over its life.",
    limit="Loaded is not busy, and not powered on; other systems may not count; the InfoROM can be "
    "written.",
    near_miss="A burn-in before delivery, declared as max_hours where it is long.",
    references=(
        "https://docs.nvidia.com/deploy/nvml-api/structnvmlBBXTimeData__v1__t.html",
        "docs/policies.md (thresholds are this project's choice)",
    ),
    check=_check_meter,
)


def _check_remaps(subject: Subject) -> Iterator[Finding]:
    """Judge remapped rows on a card that is sold as new."""
    rule, new = REMAPS, sold_as_new(subject)
    soft, hard = (
        subject.read("remap.correctable_count"),
        subject.read("remap.uncorrectable_count"),
    )
    if not_for := lacks_trait(rule, subject, "row-remap", (soft, hard)):
        yield not_for
        return
    corrected, failed = count(soft), count(hard)
    total = (corrected or 0) + (failed or 0)
    if not total:
        missing = [c for c, n in ((soft, corrected), (hard, failed)) if n is None]
        if missing:
            yield absent(rule, missing[0])
        else:
            yield finding(rule, "no-record", basis=basis_of(soft, hard), claims=cite(soft, hard))
        return
    held = [claim for claim in (soft, hard) if count(claim)]
    many = bool(failed) or total >= subject.thresholds.new_remap_suspect_count
    code = "recorded" if many else "few"
    if new:
        code = "many-on-new" if many else "few-on-new"
    yield finding(
        rule,
        code,
        observed="; ".join(says(c, f"{c.value} {c.id.split('.')[1].split('_')[0]}") for c in held),
        expected=f"fewer than {subject.thresholds.new_remap_suspect_count}, all correctable",
        basis=basis_of(*held),
        claims=cite(*held),
    )


REMAPS = Rule(
    id="history.remaps",
    title="Remapped rows as a trace of use",
    axis=Axis.HISTORY,
    group=Group.HISTORY,
    codes=(
        Code(
            id="no-record",
            outcome=Outcome.NOTE,
            text="No remapped row is on record: that speaks neither for nor against use.",
        ),
        Code(
            id="few-on-new",
            outcome=Outcome.WARN,
            text="Sold as new, yet remapped rows: {observed}. Not proof of use.",
        ),
        Code(
            id="many-on-new",
            outcome=Outcome.WARN,
            used=True,
            text="Sold as new, yet remapped rows: {observed}; expected {expected}.",
        ),
        Code(id="few", outcome=Outcome.NOTE, text="Remapped rows: {observed}."),
        Code(id="recorded", outcome=Outcome.NOTE, used=True, text="Remapped rows: {observed}."),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="Memory rows were given up at some time.",
    limit="The record can be cleared; zero is what nearly every card shows.",
    near_miss="One or two corrected rows, ordinary in healthy fleets.",
    references=(_REMAPS, "docs/policies.md (thresholds are this project's choice)"),
    check=_check_remaps,
)


def _check_retired(subject: Subject) -> Iterator[Finding]:
    """Judge retired pages, and their dates, on a card that is sold as new."""
    rule, new = RETIRED, sold_as_new(subject)
    single, double = (
        subject.read("retired.single_bit_count"),
        subject.read("retired.double_bit_count"),
    )
    if not_for := lacks_trait(rule, subject, "page-retirement", (single, double)):
        yield not_for
        return
    total = (count(single) or 0) + (count(double) or 0)
    if not total:
        missing = [c for c in (single, double) if count(c) is None]
        if missing:
            yield absent(rule, missing[0])
        else:
            yield finding(
                rule, "no-record", basis=basis_of(single, double), claims=cite(single, double)
            )
        return
    first = subject.read("retired.first_time_s")
    held = [claim for claim in (single, double) if count(claim)]
    observed, stand = says(held[0], f"{total} retired pages"), list(held)
    when = count(first)
    earliest = launch_s(subject) or 0
    if when is not None and max(earliest, 1) <= when <= subject.now_ms // 1000:
        day = datetime.fromtimestamp(when, tz=timezone.utc).strftime("%Y-%m-%d")
        observed += f", the earliest on {day}"
        stand.append(first)
    yield finding(
        rule,
        "on-new" if new else "recorded",
        observed=observed,
        basis=basis_of(*stand),
        claims=cite(*stand),
    )


RETIRED = Rule(
    id="history.retired-pages",
    title="Retired pages as a trace of use",
    axis=Axis.HISTORY,
    group=Group.HISTORY,
    codes=(
        Code(
            id="no-record",
            outcome=Outcome.NOTE,
            text="No retired page is on record: that speaks neither for nor against use.",
        ),
        Code(
            id="on-new",
            outcome=Outcome.WARN,
            used=True,
            text="Sold as new, yet {observed}.",
        ),
        Code(id="recorded", outcome=Outcome.NOTE, used=True, text="{observed}."),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="Memory pages were given up at some time, in part with the date.",
    limit="The host's clock set the date: it counts only between launch and now.",
    near_miss="A date before the product's launch is ignored.",
    references=(
        "https://docs.nvidia.com/deploy/dynamic-page-retirement/ (retirement is persistent)",
        "nvml.h, nvmlDeviceGetRetiredPages_v2 (time stamps)",
    ),
    check=_check_retired,
)


@functools.lru_cache(maxsize=16)
def _year(day: int) -> int:
    """Return the year of a day that is counted from the Unix epoch."""
    return datetime.fromtimestamp(day * DAY_S, tz=timezone.utc).year


@kept_if_short(1024)
def _serial_date(text: str, now_year: int) -> str | None:
    """Return week and year of a 13-digit serial number, None where they are implausible."""
    if not re.fullmatch(r"\d{13}", text):
        return None
    week, year = int(text[3:5]), 2000 + int(text[5:7])
    if 1 <= week <= 53 and _FIRST_YEAR <= year <= now_year:
        return f"week {week} of {year}"
    return None


def _check_serial(subject: Subject) -> Iterator[Finding]:
    """Remark on the date that seems to stand in the serial number."""
    rule, claim = SERIAL_DATE, subject.read("gpu.serial")
    serial = good_serial(claim)
    if serial is None:
        yield absent(rule, _placeholder(claim))
        return
    date = _serial_date(serial, _year(subject.now_ms // (DAY_S * 1000)))
    yield finding(
        rule,
        "dated" if date else "undated",
        observed=date or says(claim),
        basis=basis_of(claim),
        claims=cite(claim),
    )


def _placeholder(claim: Claim) -> Claim:
    """Return the claim as absent: a placeholder is no serial number."""
    if not claim.ok:
        return claim
    return Claim(id=claim.id, status=SENTINEL, source=claim.source, call=claim.call)


SERIAL_DATE = Rule(
    id="history.serial-date",
    title="Date in the serial number",
    axis=Axis.HISTORY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="dated",
            outcome=Outcome.NOTE,
            text="The serial number reads as {observed}, by a layout inferred from public "
            "read-outs.",
        ),
        Code(
            id="undated",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed} as serial number, without a date in the known layout.",
        ),
        NO_VALUE,
    ),
    shows="When the board may have been made.",
    limit="The layout is inferred; the serial number can be written.",
    near_miss="Serial numbers in other layouts.",
    references=("Public nvidia-smi outputs of data-centre boards (layout inferred)",),
    check=_check_serial,
)

_AGGREGATE = ("ecc.aggregate.sram_correctable", "ecc.aggregate.sram_uncorrectable",
              "ecc.aggregate.dram_correctable", "ecc.aggregate.dram_uncorrectable",
              "ecc.aggregate.single_bit_total", "ecc.aggregate.double_bit_total")  # fmt: skip


def _check_counters(subject: Subject) -> Iterator[Finding]:
    """Remark on lifetime error counters."""
    rule = COUNTERS
    claims = [subject.read(name) for name in _AGGREGATE]
    if not_for := lacks_trait(rule, subject, "ecc", claims):
        yield not_for
        return
    read, raised = counts(claims)
    if raised:
        yield finding(
            rule,
            "counted",
            observed="; ".join(f"{says(c)} {c.id.replace('ecc.', '')}" for c in raised),
            basis=basis_of(*raised),
            claims=cite(*raised),
        )
    elif read:
        yield finding(rule, "zero", basis=basis_of(*read), claims=cite(*read))
    else:
        yield absent(rule, claims[2])


COUNTERS = Rule(
    id="history.counters",
    title="Lifetime error counters as a trace of use",
    axis=Axis.HISTORY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="counted",
            outcome=Outcome.NOTE,
            text="{observed} over the board's life: it ran at some time.",
        ),
        Code(
            id="zero",
            outcome=Outcome.NOTE,
            text="Lifetime error counters stand at zero: that speaks neither for nor against use.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="Errors were counted while the board ran.",
    limit="Counters can be cleared with root rights.",
    near_miss="Zero, which nearly every healthy card shows after years.",
    references=("nvml.h, nvmlDeviceGetMemoryErrorCounter, nvmlDeviceClearEccErrorCounts",),
    check=_check_counters,
)

RULES = (HOUR_METER, REMAPS, RETIRED, SERIAL_DATE, COUNTERS)
