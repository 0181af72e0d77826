"""The checks of a certificate, own outcome beside the signer's, and what changed since earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.model.finding import Outcome
from gpuverify.model.verification import Change
from gpuverify.render import words
from gpuverify.render.certificate import Cell, CheckLine, Part, Table, file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuverify.model.claims import Claim
    from gpuverify.model.finding import Finding
    from gpuverify.model.report import Check, Report
    from gpuverify.model.verdict import DeviceResult
    from gpuverify.model.verification import Comparison

_ORDER = {
    outcome: place
    for place, outcome in enumerate(
        (
            Outcome.FAIL,
            Outcome.WARN,
            Outcome.NOTE,
            Outcome.INCONCLUSIVE,
            Outcome.PASS,
            Outcome.NOT_APPLICABLE,
        )
    )
}
_AGAINST = (Outcome.FAIL, Outcome.WARN)


_CHANGE = {
    Change.NOTE: Cell(text="note", role="faint"),
    Change.WARN: Cell(text="warning", role="doubt"),
    Change.ALARM: Cell(text="alarm", role="bad"),
    Change.OTHER_CARD: Cell(text="another card", role="bad"),
}


def checks_part(report: Report, own: DeviceResult | None) -> Part:
    """List the checks, what speaks against the card first.

    Args:
        report: The report.
        own: The reader's own result, None where there is none.
    """
    sentence = "The signer's outcomes are his; no own appraisal stands beside them."
    if own is not None:
        sentence = "Own outcome first, the signer's after it. Only the own one counts here."
    return Part(
        id="checks",
        title="Checks",
        sentences=(sentence,),
        checks=check_lines(report.checks, () if own is None else own.findings),
    )


def check_lines(stated: Sequence[Check], found: Sequence[Finding]) -> tuple[CheckLine, ...]:
    """Join the signer's checks and own findings.

    Args:
        stated: The signer's checks.
        found: Own findings; none where nothing was appraised.

    Returns:
        One line an own finding, then one for each check of a rule that was not applied here.
    """
    by_rule: dict[str, list[Check]] = {}
    for check in stated:
        by_rule.setdefault(check.rule, []).append(check)
    lines: list[tuple[int, CheckLine]] = []
    known = set()
    for finding in found:
        known.add(finding.rule)
        lines.append(_joined(finding, by_rule.get(finding.rule, [])))
    lines += [_alone(check, judged=bool(found)) for check in stated if check.rule not in known]
    lines.sort(key=lambda pair: pair[0])  # stable: the order of the rules stays inside
    return tuple(line for _, line in lines)


def _joined(finding: Finding, stated: list[Check]) -> tuple[int, CheckLine]:
    """Put the signer's outcome of the same rule beside an own finding."""
    same = [check for check in stated if check.code == finding.code]
    outcomes = [check.outcome for check in same or stated]
    outcome = min(outcomes, key=_ORDER.__getitem__) if outcomes else None
    differs = outcome is not finding.outcome and (
        finding.outcome in _AGAINST or outcome in _AGAINST
    )
    return _ORDER[finding.outcome], CheckLine(
        name=f"{finding.rule}/{finding.code}",
        own=words.OUTCOME_WORD[finding.outcome],
        own_role=words.OUTCOME_ROLE[finding.outcome],
        signer="" if outcome is None else words.OUTCOME_WORD[outcome],
        signer_role="" if outcome is None else words.OUTCOME_ROLE[outcome],
        basis=finding.basis.value,
        message=finding.message,
        weighty=finding.outcome in _AGAINST or differs,
    )


def _alone(check: Check, *, judged: bool) -> tuple[int, CheckLine]:
    """Show a check of the signer that has no own finding beside it."""
    return _ORDER[check.outcome], CheckLine(
        name=f"{check.rule}/{check.code}",
        own="not here" if judged else "",
        own_role="unknown",
        signer=words.OUTCOME_WORD[check.outcome],
        signer_role=words.OUTCOME_ROLE[check.outcome],
        basis=check.basis.value,
        message=check.message,
        weighty=check.outcome in _AGAINST or judged,
    )


def comparison_parts(comparisons: Sequence[Comparison]) -> tuple[Part, ...]:
    """Say what changed since each earlier report of the card.

    Args:
        comparisons: The card beside earlier reports.
    """
    return tuple(_comparison(one, number) for number, one in enumerate(comparisons, 1))


def _comparison(comparison: Comparison, number: int) -> Part:
    """Lay out one comparison."""
    rows = tuple(
        (Cell(text=one.words), _CHANGE[one.change], _value(one.earlier), _value(one.later))
        for one in comparison.differences
    )
    table = Table(caption="What differs", header=("What", "Weight", "Earlier", "Now"), rows=rows)
    lacking = ", ".join(comparison.not_compared)
    return Part(
        id=f"compared-{number}",
        title=f"Beside {file_name(comparison.earlier)}",
        speaker="By this tool, from what both reports state",
        sentences=(
            f"{comparison.sameness.value.capitalize()}.",
            *comparison.reasons,
            f"{len(comparison.compared)} facts compared"
            + (f"; not in both reports: {lacking}." if lacking else "."),
        ),
        tables=(table,) if rows else (),
    )


def _value(claim: Claim | None) -> Cell:
    """Return what a report says of a fact."""
    if claim is None:
        return Cell(text="not stated", role="faint")
    return Cell(text=str(claim.value) if claim.ok else claim.status.value)
