"""What a run covered, from what its rules could decide and on what basis."""

from __future__ import annotations

from collections.abc import Iterable

from gpuverify.model.finding import Finding, Outcome
from gpuverify.model.fraud import FRAUDS, Fraud
from gpuverify.model.report import Coverage


def coverage(findings: Iterable[Finding]) -> Coverage:
    """Sort every kind of fraud by what the run did about it.

    Args:
        findings: Findings about one device, and those about the batch.

    Returns:
        Covered: each rule that applies was conclusive, one of them at the basis that it takes.
        Under-covered: some was conclusive. Not covered: none was, or there is no such rule.
    """
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    covered: list[str] = []
    under: list[str] = []
    none: list[str] = []
    for fraud in FRAUDS:
        where = _state(fraud, by_rule)
        (covered if where == 2 else under if where == 1 else none).append(fraud.id)
    return Coverage(covered=tuple(covered), under_covered=tuple(under), not_covered=tuple(none))


def _state(fraud: Fraud, by_rule: dict[str, list[Finding]]) -> int:
    """Return 2 for covered, 1 for covered in part, 0 for not covered."""
    conclusive: list[Finding] = []
    is_open = False
    for rule in fraud.rules:
        found = by_rule.get(rule, [])
        decided = [finding for finding in found if finding.outcome.conclusive]
        conclusive += decided
        # A rule that was not run leaves the kind open, as one does that could not be decided.
        if (not decided and any(f.outcome is Outcome.INCONCLUSIVE for f in found)) or not found:
            is_open = True
    if not conclusive:
        return 0
    strong = any(finding.basis.at_least(fraud.basis) for finding in conclusive)
    return 2 if strong and not is_open else 1
