"""Own appraisal of the evidence in verified reports. The signer's verdict and claim are words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gpuverify.appraise import appraise
from gpuverify.appraise.exit_codes import SUSPECT, UNVERIFIED, exit_code
from gpuverify.codec.text import printable
from gpuverify.model.evidence import DeviceEvidence, Evidence
from gpuverify.model.finding import Finding, Outcome
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verdict import DeviceResult, Result, Verdict
from gpuverify.model.verification import Comparison, Sameness, Stage
from gpuverify.signing.compare import Card, compare_cards

if TYPE_CHECKING:
    from gpuverify.model.report import Check, Report
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.stage_book import Book

MAX_RULE_DIFFERENCES = 20
_ACCUSING = (Outcome.WARN, Outcome.FAIL)


def judge(
    evidence: Evidence, demands: Demands, world: World, selected: tuple[int, ...] | None = None
) -> Result:
    """Appraise evidence with the reader's own claim, policy and reference data.

    Args:
        evidence: With the class that its verification gave it.
        demands: Claim and policy.
        world: Reference data and now.
        selected: Devices to judge, None for all.
    """
    return appraise(
        evidence,
        demands.sale,
        demands.policy,
        world.database,
        selected=selected,
        now_ms=world.now_s * 1000,
        challenge=None if demands.challenge is None else demands.challenge.nonce,
        device_roots=world.device_roots,
    )


def appraise_report(book: Book, demands: Demands, world: World) -> None:
    """Judge the evidence of one report that stands alone.

    Args:
        book: The book; its evidence has its class.
        demands: Claim and policy.
        world: Reference data and now.
    """
    if book.evidence is None or not demands.appraise:
        book.passed_over(Stage.APPRAISAL, "not asked for")
        return
    counted = [item for item in demands.sale.items if item.count is not None and item.count > 1]
    if not counted:
        take_result(book, judge(book.evidence, demands, world), demands)
        return
    # One report says nothing of the others: that is no contradiction, and no confirmation.
    items = tuple(replace(item, count=None) for item in demands.sale.items)
    alone = replace(demands, sale=replace(demands.sale, items=items))
    take_result(book, _held(judge(book.evidence, alone, world), UNCOUNTED), demands)


UNCOUNTED = (
    "several boards were sold, and one report cannot show that all came: verify them with the"
    " statement of their set, or each without --count"
)


def _held(result: Result, reason: str) -> Result:
    """Hold a consistent result at unverified, for a reason that no rule knows."""
    if (result.would_be or result.verdict) is not Verdict.CONSISTENT:
        return result
    devices = tuple(
        replace(one, verdict=Verdict.UNVERIFIED, would_be=None, reasons=(*one.reasons, reason))
        for one in result.devices
    )
    code = UNVERIFIED if result.exit_code == 0 else result.exit_code
    return replace(
        result, verdict=Verdict.UNVERIFIED, would_be=None, devices=devices, exit_code=code
    )


def take_result(book: Book, result: Result, demands: Demands) -> None:
    """Note own appraisal of a report, and where the signer's opinion differs from it.

    Args:
        book: The book.
        result: The appraisal of the report's device, alone or cut out of that of its set.
        demands: The reader's own claim.
    """
    book.result = result
    book.exit_code = result.exit_code
    if book.report is not None and len(result.devices) == 1:
        book.differences = tuple(_differences(book.report, result.devices[0], demands))
    word = (result.would_be or result.verdict).value
    would = "would be " if result.would_be is not None else ""
    note = f"{would}{word}, by policy {result.policy_name}"
    if not result.claimed:
        note += "; nothing was claimed here: say what you bought with --claim"
    book.done(Stage.APPRAISAL, note)


def hold_back(book: Book) -> None:
    """Never let a key of tests, or a missing appraisal, end in consistent.

    Args:
        book: A book at its end.
    """
    if book.exit_code == 0 and (book.result is None or book.key is None or book.key.is_test):
        book.exit_code = UNVERIFIED


def only_device(result: Result, index: int, demands: Demands) -> Result:
    """Cut the result of one device out of that of its set.

    Args:
        result: Over all devices.
        index: The device's index.
        demands: For the policy, which decides the exit code.
    """
    devices = tuple(d for d in result.devices if d.device.index == index)
    mine = devices[0] if devices else None
    cut = replace(
        result,
        devices=devices,
        verdict=mine.verdict if mine is not None else Verdict.UNVERIFIED,
        would_be=mine.would_be if mine is not None else None,
    )
    return replace(cut, exit_code=exit_code(cut, demands.policy))


def join(
    reports: Sequence[tuple[Report, Evidence]], origin: str
) -> tuple[Evidence, tuple[int, ...]]:
    """Join the evidence of the reports of one read-out into one.

    Args:
        reports: Verified members in the order of their set, each with its evidence.
        origin: What the set was read from.

    Returns:
        The evidence, and the index that each report's device has in it.

    Raises:
        Refused: E_SET: they were not read in one run on one host.
    """
    first_report, first = reports[0]
    for report, evidence in reports[1:]:
        if evidence.host.claims != first.host.claims or (
            report.document_sha256 != first_report.document_sha256
        ):
            raise Refused(
                Refusal.SET,
                f"the reports of {printable(first_report.identity.gpu_uuid, 60)} and"
                f" {printable(report.identity.gpu_uuid, 60)} do not come from one run on one"
                " machine; the cards of a set are read together",
            )
    given = [evidence.devices[0].index for _, evidence in reports]
    kept = len(set(given)) == len(given)
    devices = tuple(
        DeviceEvidence(index=given[n] if kept else n, claims=evidence.devices[0].claims)
        for n, (_, evidence) in enumerate(reports)
    )
    return (
        replace(first, origin=origin, devices=devices),
        tuple(device.index for device in devices),
    )


def _differences(report: Report, own: DeviceResult, demands: Demands) -> Iterator[str]:
    """Say where the signer's opinion is another than own appraisal."""
    opinion = report.opinion
    theirs, ours = opinion.would_be or opinion.verdict, own.would_be or own.verdict
    if theirs is not ours:
        yield f"verdict: the signer says {theirs.value}, own appraisal says {ours.value}"
    claimed = {item.product.id for item in demands.sale.items}
    sold = {item.product for item in report.sale}
    if claimed and sold and claimed != sold:
        yield (f"product: the signer sells {_list(sold)}, you were sold {_list(claimed)}")
    mine = {item.condition.value for item in demands.sale.items if item.condition is not None}
    said = {item.condition for item in report.sale if item.condition is not None}
    if mine and said and mine != said:
        yield f"condition sold: the signer says {_list(said)}, you were sold {_list(mine)}"
    if opinion.condition is not own.condition:
        yield (
            f"condition seen: the signer says {opinion.condition.value}, own appraisal says"
            f" {own.condition.value}"
        )
    if opinion.history is not own.history:
        yield (
            f"history seen: the signer says {opinion.history.value}, own appraisal says"
            f" {own.history.value}"
        )
    yield from _rule_differences(report, own)


def _rule_differences(report: Report, own: DeviceResult) -> Iterator[str]:
    """Say which checks accuse here and not there, or the reverse."""
    accusing = {check.rule for check in report.checks if check.outcome in _ACCUSING}
    accusing.update([found.rule for found in own.findings if found.outcome in _ACCUSING])
    if not accusing:
        return
    theirs, ours = _outcomes(report.checks, accusing), _outcomes(own.findings, accusing)
    told = 0
    for rule, found in ours.items():
        said = theirs.get(rule)
        if said is None or said == found:
            continue
        told += 1
        if told > MAX_RULE_DIFFERENCES:
            yield "and more checks"
            return
        yield (f"check {rule}: the signer says {_words(said)}, own appraisal says {_words(found)}")


def _outcomes(found: Iterable[Check | Finding], rules: set[str]) -> dict[str, set[Outcome]]:
    """Return the outcomes of some rules, by rule."""
    outcomes: dict[str, set[Outcome]] = {}
    for one in found:
        if one.rule in rules:
            outcomes.setdefault(one.rule, set()).add(one.outcome)
    return outcomes


def _words(outcomes: set[Outcome]) -> str:
    """List outcomes in a fixed order."""
    return " and ".join(outcome.value for outcome in Outcome if outcome in outcomes)


def _list(names: set[str]) -> str:
    """List names, harmless to print."""
    return ", ".join(printable(name, 60) for name in sorted(names)[:4])


def card_of(report: Report, evidence: Evidence, origin: str, doubts: tuple[str, ...] = ()) -> Card:
    """Return the card of a report, for a comparison.

    Args:
        report: The report.
        evidence: Its evidence.
        origin: What it was read from.
        doubts: Why a comparison with it is never sure.
    """
    return Card(
        origin=origin,
        device=evidence.devices[0],
        host=evidence.host,
        start_s=report.measured_start_s,
        end_s=report.measured_end_s,
        digest=f"{report.document_sha256}:{report.identity.gpu_uuid}",
        doubts=doubts,
    )


def compare_with_earlier(book: Book, demands: Demands) -> None:
    """Hold the card beside the earlier reports about it that were shown.

    Args:
        book: The book.
        demands: The earlier reports at hand.
    """
    from gpuverify.model.report import Relation

    report, evidence = book.report, book.evidence
    shown = []
    if report is not None and evidence is not None:
        shown = [
            demands.earlier[entry.payload_sha256]
            for entry in report.previous
            if entry.payload_sha256 in demands.earlier and entry.relation is not Relation.CHILD_OF
        ]
    if report is None or evidence is None or not shown:
        book.passed_over(Stage.COMPARISON, "no earlier report to compare with")
        return
    later = card_of(report, evidence, book.origin)
    comparisons = tuple(
        compare_cards(card_of(e.report, e.report.evidence, e.origin), later) for e in shown
    )
    book.comparisons = comparisons
    worst = max(comparisons, key=lambda one: _RANK[one.sameness])
    note = "; ".join(_told(one) for one in comparisons)
    if worst.sameness in (Sameness.SAME, Sameness.NOT_COMPARABLE):
        book.done(Stage.COMPARISON, note)
        return
    book.warn(Stage.COMPARISON, note)
    if worst.exit_code in (SUSPECT, 2) and book.exit_code in (0, SUSPECT, UNVERIFIED):
        book.exit_code = worst.exit_code if worst.exit_code == 2 else SUSPECT


_RANK = {
    Sameness.SAME: 0,
    Sameness.NOT_COMPARABLE: 1,
    Sameness.CHANGED: 2,
    Sameness.NOT_THE_CARD: 3,
}


def _told(comparison: Comparison) -> str:
    """Tell a comparison in one line."""
    found = [one.words for one in comparison.differences if one.change.value != "note"]
    words = f"beside {printable(comparison.earlier, 80)}: {comparison.sameness.value}"
    return f"{words}: {'; '.join(found[:3])}" if found else words
