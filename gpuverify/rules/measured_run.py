"""The measurement itself: was every card held at once, do the clocks agree, did it stay cool?"""

from __future__ import annotations

from collections.abc import Iterator

from gpuverify.model.claims import Basis
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.rates import CLOCK_SPREAD_PPM, HOT
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.rules.compare import NO_VALUE, absent, basis_of, cite, finding, says
from gpuverify.rules.constants import FROM_CUDA, FROM_MEASURED, FROM_NVIDIA_SMI, FROM_NVML
from gpuverify.rules.environment import NOT_FOR_LOG
from gpuverify.rules.measured import (
    REMEDY,
    amount,
    measured,
    measured_rule,
    number,
    void_or_absent,
)

_ODD_PERCENT = 10
_HARMLESS = ("", "none", "gpu_idle")
_BRAKES = ("hw_power_brake_slowdown", "hw_slowdown")


def _detectors(subject: Subject) -> set[str]:
    """Return what fired in the capacity proof."""
    value = measured(subject, "capacity.detectors").value
    return set(value.split(",")) if isinstance(value, str) else set()


def _check_window(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Judge whether this card, and no other in its place, was measured, alone and in one window."""
    if subject.imported:
        yield finding(rule, "imported")
        return
    state = measured(subject, "measure.state")
    if not state.ok:
        yield void_or_absent(rule, state)
        return
    window = subject.host.read("measure.window", FROM_MEASURED)
    foreign = measured(subject, "measure.foreign_processes")
    attributed = measured(subject, "measure.attributed")
    cited = cite(state, window, foreign, attributed)
    problems: list[tuple[str, str]] = []
    if attributed.value is False:
        problems.append(("other-card-worked", "NVML saw the memory taken on another card"))
    if state.value != "done":
        problems.append(("not-finished", str(state.value)))
    if (amount(foreign) or 0) > 0:
        problems.append(("foreign-processes", f"{foreign.value} process(es)"))
    elif "memory-held" in _detectors(subject):
        problems.append(("foreign-processes", "they hold memory of it"))
    if window.value is not True:
        left = subject.host.read("measure.unmeasured", FROM_MEASURED)
        problems.append(("left-out", str(left.value) if left.value else "some"))
    for code, observed in problems:
        yield finding(rule, code, observed=observed, basis=Basis.MEASURED, claims=cited)
    if not problems:
        yield finding(rule, "held", basis=Basis.MEASURED, claims=cited)


WINDOW = measured_rule(
    rule_id="environment.measured-window",
    title="Every card of the host was held at once, and this one did the work",
    axis=Axis.ENVIRONMENT,
    codes=(
        Code(
            id="held",
            outcome=Outcome.PASS,
            text="All cards of the host were held in one window, and nothing else ran on this one.",
        ),
        Code(
            id="left-out",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="NVIDIA functions of the host were not measured ({observed}): one of them could "
            "have done the work of another. Bind them to the driver and measure all at once.",
        ),
        Code(
            id="foreign-processes",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Others used the card while it was measured ({observed}). End them and measure "
            "again.",
        ),
        Code(
            id="not-finished",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="The measurement did not finish: {observed}.",
        ),
        Code(
            id="other-card-worked",
            outcome=Outcome.WARN,
            text="{observed} than the one that was measured: one card was shown for two.",
        ),
        NOT_FOR_LOG,
    ),
    check=_check_window,
    shows="The memory of all cards was held at the same time, so no card stood in for another.",
    limit="A machine elsewhere can do the work; see docs/measuring.md.",
    near_miss="A card that is bound to another driver, or left out with --gpu, caps the verdict "
    "and accuses nobody.",
    references=("https://docs.nvidia.com/cuda/cuda-driver-api/ (primary context, memory)",),
)


def _check_clock(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare the clock that the kernels ran at with what the driver says is the highest."""
    if subject.imported:
        yield finding(rule, "imported")
        return
    clock = measured(subject, "fingerprint.sm_clock_khz")
    khz = number(clock)
    if khz is None:
        yield void_or_absent(rule, clock)
        return
    spread = measured(subject, "fingerprint.clock_agreement_ppm")
    ppm = amount(spread)
    if ppm is None:
        yield void_or_absent(rule, spread)
        return
    said = f"{khz / 1000:.0f} MHz under load, three clocks within {ppm / 10_000:.2f} %"
    most = subject.read("clock.sm_max_khz", FROM_NVML, FROM_NVIDIA_SMI, FROM_CUDA)
    highest = number(most)
    code = "agree"
    if ppm > CLOCK_SPREAD_PPM:
        code = "disagree"
    elif highest is not None and khz * 100 > highest * 105:
        code = "impossible"
    yield finding(
        rule,
        code,
        observed=said,
        expected=says(most, f"at most {highest // 1000} MHz") if highest else "agreeing clocks",
        basis=Basis.MEASURED,
        claims=cite(clock, spread, most),
    )


CLOCK = measured_rule(
    rule_id="environment.measured-clock",
    title="Clock under load by three clocks",
    axis=Axis.ENVIRONMENT,
    codes=(
        Code(id="agree", outcome=Outcome.PASS, text="{observed}; {expected}."),
        Code(
            id="disagree",
            outcome=Outcome.NOTE,
            text="{observed}: the clocks of chip, driver and host do not tell one time. Rates are "
            "not judged.",
        ),
        Code(
            id="impossible",
            outcome=Outcome.WARN,
            text="{observed}, but {expected}: a clock is not true.",
        ),
        NOT_FOR_LOG,
    ),
    check=_check_clock,
    shows="Cycles of the chip, its timer and the host's clock fit each other.",
    limit="A host that slows all clocks alike is not caught.",
    near_miss="A clock below the highest is normal under load.",
    references=("PTX ISA, special registers (%clock64, %globaltimer)",),
)


_DOUBTS = {
    "peak": "memory moved faster than clock and width allow",
    "events": "its clock and the host's tell different times",
    "memory-info": "free and total memory do not fit what could be held",
}


def _check_driver(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Find answers of the driver that the capacity proof contradicts."""
    if subject.imported:
        yield finding(rule, "imported")
        return
    claim = measured(subject, "capacity.detectors")
    if not claim.ok:
        yield void_or_absent(rule, claim)
        return
    fired = _detectors(subject)
    doubts = [text for name, text in _DOUBTS.items() if name in fired]
    code = "fits"
    if doubts:
        code = "impossible" if "peak" in fired else "does-not-fit"
    yield finding(rule, code, observed="; ".join(doubts), basis=Basis.MEASURED, claims=cite(claim))


DRIVER = measured_rule(
    rule_id="environment.measured-driver",
    title="The driver's answers against what the capacity proof saw",
    axis=Axis.ENVIRONMENT,
    codes=(
        Code(id="fits", outcome=Outcome.PASS, text="The driver's answers fit what was measured."),
        Code(
            id="impossible",
            outcome=Outcome.WARN,
            text="An answer of the driver is not true: {observed}.",
        ),
        Code(
            id="does-not-fit",
            outcome=Outcome.NOTE,
            text="Answers of the driver do not fit what was measured: {observed}.",
        ),
        NOT_FOR_LOG,
    ),
    check=_check_driver,
    shows="Rates, times and sizes that the driver names hold against the proof.",
    limit="A driver that lies consistently is not caught here.",
    near_miss="Another process that takes memory meanwhile moves the free size; a short run's time "
    "is not compared.",
    references=("https://docs.nvidia.com/cuda/cuda-driver-api/ (cuMemGetInfo, events)",),
)


def _check_load(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Judge heat and power under load."""
    reasons = measured(subject, "fingerprint.throttle_reasons")
    if not reasons.ok:
        yield void_or_absent(rule, reasons)
        return
    peak = measured(subject, "fingerprint.temperature_peak_celsius")
    power = measured(subject, "fingerprint.power_peak_mw")
    seen = {word for word in str(reasons.value).split(",") if word not in _HARMLESS}
    parts = []
    if (heat := amount(peak)) is not None:
        parts.append(f"{heat} °C at most")
    if (drawn := amount(power)) is not None:
        parts.append(f"{drawn / 1000:.0f} W at most")
    parts.append(f"throttled by {', '.join(sorted(seen))}" if seen else "not throttled")
    code = "cool"
    if seen & set(_BRAKES):
        code = "power-brake"
    if seen & set(HOT):
        code = "throttled-by-heat"
    yield finding(
        rule,
        code,
        observed=", ".join(parts),
        basis=basis_of(reasons),
        claims=cite(*(claim for claim in (peak, reasons, power) if claim.ok)),
    )


LOAD = measured_rule(
    rule_id="condition.measured-load",
    title="Heat and power under load",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="cool", outcome=Outcome.PASS, text="Under load: {observed}."),
        Code(
            id="throttled-by-heat",
            outcome=Outcome.WARN,
            text="Under load: {observed}. Dust, dry paste or a wrong slot looks like this.",
        ),
        Code(
            id="power-brake",
            outcome=Outcome.NOTE,
            text="Under load: {observed}. The machine's power supply slows the card.",
        ),
    ),
    check=_check_load,
    shows="A short load did not make the card slow itself down for heat.",
    limit="Seconds, not hours, in this chassis.",
    near_miss="A power cap is how a loaded card works; it is not listed here.",
    references=("nvml.h, nvmlClocksEventReasons",),
)


def _check_sisters(batch: BatchSubject) -> Iterator[Finding]:
    """Find the card that is slower than its sisters, or has other counts."""
    rule = SISTERS
    groups: dict[str, list[tuple[Subject, int]]] = {}
    for subject in batch.subjects:
        product = subject.product
        seen = number(measured(subject, "fingerprint.memory_read_kb_s"))
        if product is not None and seen is not None:
            groups.setdefault(product.id, []).append((subject, seen))
    judged = False
    for product_id, members in groups.items():
        if len(members) < 3:
            continue
        import statistics  # it brings as many modules as all rules together

        judged = True
        middle = int(statistics.median(rate for _, rate in members))
        odd = [
            subject for subject, rate in members if abs(rate - middle) * 100 > middle * _ODD_PERCENT
        ]
        claims = [measured(subject, "fingerprint.memory_read_kb_s") for subject, _ in members]
        yield finding(
            rule,
            "odd" if odd else "alike",
            observed=", ".join(
                str(subject.value("pci.bus_id") or f"device {subject.device.index}")
                for subject in odd
            )
            or f"{len(members)} cards of {product_id}",
            basis=Basis.MEASURED,
            claims=cite(*claims),
        )
    if not judged:
        first = batch.subjects[0] if batch.subjects else None
        if first is None or any(groups.values()):
            yield finding(rule, "too-few")
        else:
            yield absent(rule, measured(first, "fingerprint.memory_read_kb_s"), remedy=REMEDY)


SISTERS = Rule(
    id="batch.measured-sisters",
    title="The odd one among cards of one product",
    axis=Axis.CONDITION,
    group=Group.DETAIL,
    codes=(
        Code(id="alike", outcome=Outcome.PASS, text="{observed} move memory alike."),
        Code(
            id="odd",
            outcome=Outcome.NOTE,
            text="Memory of {observed} moves more than 10 % faster or slower than its sisters'.",
        ),
        Code(
            id="too-few",
            outcome=Outcome.INCONCLUSIVE,
            text="Fewer than three cards of one product were measured.",
        ),
        NO_VALUE,
    ),
    shows="No card is much slower than its sisters under the same load.",
    limit="All of them may be slow alike.",
    near_miss="Public studies show 8 % between good cards of one product.",
    references=("https://arxiv.org/abs/2208.11035 (spread between cards of one product)",),
    batch_check=_check_sisters,
)

RULES = (WINDOW, CLOCK, DRIVER, LOAD, SISTERS)
