"""Verdict arithmetic for one device."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from gpuverify.appraise.neighbours import assurance, exclusions, required_basis
from gpuverify.model.claims import Basis
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Axis, Finding, Group, Outcome, Rule
from gpuverify.model.policy import Policy
from gpuverify.model.sale import Condition, SaleItem
from gpuverify.model.subject import Subject
from gpuverify.model.verdict import (
    ConditionState,
    DeviceResult,
    HistoryState,
    Neighbour,
    Verdict,
)

CLASS_REASONS = {
    EvidenceClass.CARRIED: "the evidence was read from an unsigned file",
    EvidenceClass.IMPORTED: "the evidence is somebody's log, which anyone can edit",
    EvidenceClass.REPLAYED: "the evidence is a replay of a recording, not a live card",
}
_MAY_BE_CONSISTENT = (EvidenceClass.LIVE, EvidenceClass.SIGNED)
# Until Python 3.12 a member that is looked up on its class costs ten times as much as a plain name,
# and here it is done for each of a hundred findings, several times.
_PASS, _INCONCLUSIVE, _NOT_APPLICABLE = Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE
_ACCUSING = (Outcome.WARN, Outcome.FAIL)
_CONDITION_AXIS, _HISTORY_AXIS = Axis.CONDITION, Axis.HISTORY
NOTHING_CLAIMED = "nothing was claimed: say what was sold with --claim"


@functools.lru_cache(maxsize=16)
def _groups(rules: tuple[Rule, ...]) -> Mapping[str, Group]:
    """Return what a policy can require each rule under, by its id."""
    return {rule.id: rule.group for rule in rules}


def _history_counts(sale: SaleItem | None) -> bool:
    """Whether history can decide: something was promised about it."""
    return sale is not None and (sale.condition is Condition.NEW or sale.max_hours is not None)


def contradictions(
    findings: Iterable[Finding], sale: SaleItem | None
) -> tuple[list[Finding], list[Finding]]:
    """Sort out the findings that make a mismatch, and those that make a suspect.

    Condition and configuration never do: damaged is not counterfeit.
    """
    mismatch, suspect = [], []
    for finding in [one for one in findings if one.outcome in _ACCUSING]:
        axis = finding.axis
        if axis is Axis.HISTORY and not _history_counts(sale):
            continue
        if axis not in (Axis.IDENTITY, Axis.HISTORY, Axis.ENVIRONMENT):
            continue
        if finding.outcome is Outcome.FAIL and axis is not Axis.ENVIRONMENT:
            mismatch.append(finding)
        else:
            suspect.append(finding)
    return mismatch, suspect


def first_that_applies(
    mismatch: Sequence[Finding],
    suspect: Sequence[Finding],
    caps: Sequence[str],
    evidence_class: EvidenceClass,
) -> tuple[Verdict, Verdict, list[str]]:
    """Return the first verdict that applies.

    Args:
        mismatch: Findings that contradict.
        suspect: Findings that do not fit.
        caps: What holds the verdict at unverified.
        evidence_class: Only live or signed evidence ends in consistent, and a replay only in
            unverified.

    Returns:
        The verdict that live evidence would have, the verdict, and the reasons for the former.
    """
    if mismatch:
        would_be, reasons = Verdict.MISMATCH, [finding.message for finding in mismatch]
    elif suspect:
        would_be, reasons = Verdict.SUSPECT, [finding.message for finding in suspect]
    elif caps:
        would_be, reasons = Verdict.UNVERIFIED, list(caps)
    else:
        would_be, reasons = Verdict.CONSISTENT, []
    verdict = would_be
    if evidence_class is EvidenceClass.REPLAYED or (
        evidence_class not in _MAY_BE_CONSISTENT and would_be is Verdict.CONSISTENT
    ):
        verdict = Verdict.UNVERIFIED
    return would_be, verdict, reasons


def required_groups(policy: Policy, sale: SaleItem | None) -> dict[Group, Basis]:
    """Return the groups that a device's verdict of consistent needs, with the weakest basis.

    The batch group is settled over all devices, see `gpuverify.appraise.batch`.
    """
    groups = {Group(name): basis for name, basis in policy.required.items()}
    groups.pop(Group.BATCH, None)
    new = sale is not None and sale.condition is Condition.NEW
    if new and policy.history_if_new:
        groups.setdefault(Group.HISTORY, Basis.REPORTED)
    elif not new:
        groups.pop(Group.HISTORY, None)
    return groups


@functools.lru_cache(maxsize=64)
def _asked(
    rules: tuple[Rule, ...], groups: tuple[Group, ...], optional: tuple[str, ...]
) -> Mapping[str, Group]:
    """Return the group of each rule that settles a required one, by the rule's id."""
    return {
        rule: group
        for rule, group in _groups(rules).items()
        if group in groups and rule not in optional
    }


def group_gaps(
    groups: dict[Group, Basis],
    findings: Sequence[Finding],
    rules: Sequence[Rule],
    optional: Sequence[str],
) -> list[str]:
    """Say which required groups are not settled, and by what.

    A group is settled when each of its rules that is not optional and applies could be decided,
    and one of them at the basis wanted. A rule that was not run, or a group of which nothing
    applies although nothing was decided, settles nothing.
    """
    asked = _asked(tuple(rules), tuple(groups), tuple(optional))
    by_group: dict[Group, list[Finding]] = {group: [] for group in groups}
    for finding in findings:
        asking = asked.get(finding.rule)
        if asking is not None:
            by_group[asking].append(finding)
    gaps = []
    for group, basis in groups.items():
        found = by_group[group]
        applying = [f for f in found if f.outcome is not _NOT_APPLICABLE]
        open_ = [f for f in applying if f.outcome is _INCONCLUSIVE]
        if open_:
            gaps.append(f"{group.value}: {open_[0].message}")
        elif applying and max([f.basis.rank for f in applying]) < basis.rank:
            gaps.append(f"{group.value}: nothing was seen at the basis {basis.value}")
        elif not found:
            gaps.append(f"{group.value}: nothing was examined")
    return gaps


def _caps(
    subject: Subject,
    findings: Sequence[Finding],
    neighbours: Sequence[Neighbour],
    policy: Policy,
    rules: Sequence[Rule],
    *,
    claimed: bool,
) -> list[str]:
    """Say everything, apart from the evidence's class, that holds a verdict at unverified."""
    reasons: list[str] = []
    sold = subject.product
    if subject.sale is None:
        reasons.append("not part of the sale" if claimed else NOTHING_CLAIMED)
    if subject.recognition.product is None:
        reasons.append(_no_product(subject))
    if sold is not None:
        by_id = {product.id: product for product in subject.neighbours}
        for neighbour in neighbours:
            if not neighbour.needs:  # ruled out, as surely as the policy wants
                continue
            wanted = required_basis(sold, by_id[neighbour.product], policy)
            reasons.append(
                f"cannot tell {sold.id} from {neighbour.product} by what was seen"
                f"{f' at the basis {wanted.value}' if neighbour.basis else ''};"
                f" needs {neighbour.needs}"
            )
    groups = required_groups(policy, subject.sale)
    gaps = group_gaps(groups, findings, rules, policy.optional_rules)
    reasons += gaps
    reasons += [
        finding.message
        for finding in findings
        if finding.caps and not any(gap.endswith(finding.message) for gap in gaps)
    ]
    if not policy.may_be_consistent:
        reasons.append(f"the policy {policy.name} never ends in consistent")
    return reasons


def _no_product(subject: Subject) -> str:
    """Say why no single product was recognised."""
    names = [product.id for product in subject.recognition.products]
    if names:
        return f"the ids fit several products: {', '.join(names)}"
    if subject.recognition.state.value == "unreadable":
        return "the PCI ids are not readable, so no product was recognised"
    return "the PCI ids are not on file, so no product was recognised"


def _condition(
    findings: Sequence[Finding], rules: Sequence[Rule]
) -> tuple[ConditionState, int, int]:
    """Sum up the condition axis: state, rules decided, rules that apply."""
    counted = _asked(tuple(rules), (Group.CONDITION,), ())
    mine = [f for f in findings if f.axis is _CONDITION_AXIS]
    applying = [f for f in mine if f.outcome is not _NOT_APPLICABLE and f.rule in counted]
    known = {f.rule for f in applying}
    done = {f.rule for f in applying if f.outcome.conclusive}
    if [f for f in mine if f.defective]:
        state = ConditionState.DEFECTIVE
    elif [f for f in mine if f.outcome in _ACCUSING]:
        state = ConditionState.ATTENTION
    else:
        state = ConditionState.NO_FAULT_SEEN if done else ConditionState.UNKNOWN
    return state, len(done), len(known)


def _history(findings: Sequence[Finding]) -> HistoryState:
    """Sum up the history axis."""
    telling = [
        finding.used
        for finding in findings
        if finding.used or (finding.axis is _HISTORY_AXIS and finding.outcome.conclusive)
    ]
    if not telling:
        return HistoryState.UNKNOWN
    return HistoryState.USED if any(telling) else HistoryState.NO_RECORD


def device_result(
    subject: Subject,
    findings: tuple[Finding, ...],
    policy: Policy,
    rules: Sequence[Rule],
    *,
    claimed: bool,
) -> DeviceResult:
    """Put the findings about one device together.

    Args:
        subject: The device under appraisal.
        findings: What all device rules found, in rule order.
        policy: What a verdict requires.
        rules: The rules that were run.
        claimed: Whether anything was claimed at all.

    Returns:
        The first verdict that applies, with every reason for it.
    """
    sold = subject.product
    neighbours = exclusions(sold, subject.neighbours, findings, policy) if sold is not None else ()
    mismatch, suspect = contradictions(findings, subject.sale)
    caps = _caps(subject, findings, neighbours, policy, rules, claimed=claimed)
    if claimed and subject.sale is None:
        # A card that is not sold is not judged; what it shows is listed all the same.
        mismatch, suspect = [], []
    would_be, verdict, reasons = first_that_applies(mismatch, suspect, caps, subject.evidence_class)
    class_reason = CLASS_REASONS.get(subject.evidence_class)
    accused = would_be in (Verdict.MISMATCH, Verdict.SUSPECT)
    if class_reason is not None and not (accused and verdict is would_be):
        reasons = [*reasons, class_reason]
    if mismatch and suspect:
        reasons += [finding.message for finding in suspect]
    state, done, known = _condition(findings, rules)
    of_capacity = _asked(tuple(rules), (Group.CAPACITY,), ())
    capacity = [
        finding.basis
        for finding in findings
        if finding.outcome is _PASS and finding.rule in of_capacity
    ]
    return DeviceResult(
        device=subject.device,
        recognition=subject.recognition,
        sale=subject.sale,
        in_sale=subject.sale is not None or not claimed,
        verdict=verdict,
        would_be=would_be if would_be is not verdict else None,
        reasons=tuple(dict.fromkeys(reasons)),
        assurance=assurance(neighbours, findings),
        capacity_basis=max(capacity, key=lambda basis: basis.rank, default=None),
        condition=state,
        condition_checks_done=done,
        condition_checks_known=known,
        history=_history(findings),
        neighbours=neighbours,
        findings=findings,
        not_examined=_not_examined(findings, policy),
    )


def _not_examined(findings: Sequence[Finding], policy: Policy) -> tuple[str, ...]:
    """List the optional rules that could not be decided."""
    undecided = {f.rule: None for f in findings if f.outcome is _INCONCLUSIVE}
    optional = set(undecided).intersection(policy.optional_rules)
    if not optional:
        return ()
    decided = {f.rule for f in findings if f.rule in optional and f.outcome.conclusive}
    return tuple([rule for rule in undecided if rule in optional and rule not in decided])
