"""The words for people: one place, so that no screen calls a card more than the evidence does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Outcome
from gpuverify.model.product import MatchState
from gpuverify.model.verdict import ConditionState, HistoryState, Verdict

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.product import Recognition
    from gpuverify.model.sale import SaleItem
    from gpuverify.model.verdict import Result

VERDICT_ROLE = {
    Verdict.CONSISTENT: "good",
    Verdict.SUSPECT: "doubt",
    Verdict.MISMATCH: "bad",
    Verdict.UNVERIFIED: "unknown",
}

OUTCOME_WORD = {
    Outcome.PASS: "agrees",
    Outcome.NOTE: "note",
    Outcome.WARN: "does not fit",
    Outcome.FAIL: "contradicts",
    Outcome.INCONCLUSIVE: "undecided",
    Outcome.NOT_APPLICABLE: "n/a here",
}

OUTCOME_ROLE = {
    Outcome.PASS: "good",
    Outcome.NOTE: "faint",
    Outcome.WARN: "doubt",
    Outcome.FAIL: "bad",
    Outcome.INCONCLUSIVE: "unknown",
    Outcome.NOT_APPLICABLE: "faint",
}

CONDITION_WORDS = {
    ConditionState.NO_FAULT_SEEN: "no fault seen",
    ConditionState.ATTENTION: "needs attention",
    ConditionState.DEFECTIVE: "defective by the maker's own criterion",
    ConditionState.UNKNOWN: "unknown",
}

HISTORY_WORDS = {
    HistoryState.NO_RECORD: "no record of use seen",
    HistoryState.USED: "the card was in use",
    HistoryState.UNKNOWN: "unknown",
}

_MATCH_WORDS = {
    MatchState.EXACT: "",
    MatchState.SUBSYSTEM_UNKNOWN: "its subsystem id is not on file",
    MatchState.CANDIDATES: "the ids fit several products",
    MatchState.UNKNOWN: "the device id is not on file",
    MatchState.UNREADABLE: "the PCI ids could not be read",
}

_SPEAKER = {
    EvidenceClass.LIVE: "the evidence",
    EvidenceClass.SIGNED: "this report",
    EvidenceClass.CARRIED: "this file",
    EvidenceClass.IMPORTED: "this file",
    EvidenceClass.REPLAYED: "this recording",
}


def evidence_words(evidence: Evidence) -> str:
    """Say where the evidence came from and how much that is worth.

    Args:
        evidence: The evidence.
    """
    origin = printable(evidence.origin, 120)
    tool = printable(evidence.tool, 60)
    kind = evidence.evidence_class
    if kind is EvidenceClass.LIVE:
        return f"live, collected by this run on {origin}"
    if kind is EvidenceClass.SIGNED:
        return f"signed: collected live by its signer's word, written by {tool}"
    if kind is EvidenceClass.CARRIED:
        # Where it is from and what wrote it stand in the file: its words, not ours.
        return f'carried: an unsigned file, by its own words of "{origin}", written by "{tool}"'
    if kind is EvidenceClass.IMPORTED:
        return f"imported: somebody's log, {origin} ({tool})"
    case = origin.removeprefix("recording ").removeprefix("case ")
    return f"Replay of case {case}: not a live card"


def headline(result: Result) -> str:
    """Say the verdict in one sentence.

    Args:
        result: The result.
    """
    speaker = _SPEAKER[result.evidence_class]
    judged = result.would_be or result.verdict
    if not result.claimed and judged is Verdict.UNVERIFIED:
        return "not enough evidence to compare with a sale: nothing was claimed"
    if not result.claimed:
        return {
            Verdict.MISMATCH: f"{speaker} contradicts itself; nothing was claimed",
            Verdict.SUSPECT: f"{speaker} does not fit together; nothing was claimed",
        }.get(judged, "nothing was claimed")
    return {
        Verdict.CONSISTENT: f"{speaker} is consistent with the sale claim",
        Verdict.SUSPECT: f"{speaker} does not fit together, or not with the sale claim",
        Verdict.MISMATCH: f"{speaker} contradicts the sale claim",
        Verdict.UNVERIFIED: "not enough evidence for the sale claim",
    }[judged]


def sale_words(items: Iterable[SaleItem]) -> list[str]:
    """Say what was claimed, a sentence an item.

    Args:
        items: The items that devices were judged against.
    """
    lines = []
    for item in items:
        parts = [f"{item.product.name} ({item.product.id})"]
        if item.per_board_label:
            parts.append(f"memory label per board, {item.product.gpus_per_board} GPUs on one")
        parts.append(item.condition.value if item.condition else "condition not claimed")
        if item.count is not None:
            parts.append(f"{item.count} board{'s' if item.count != 1 else ''}")
        if item.max_hours is not None:
            parts.append(f"at most {item.max_hours} h")
        lines.append(", ".join(parts))
    return lines


def recognition_words(recognition: Recognition) -> str:
    """Say what a device reads as.

    Args:
        recognition: What its ids named.
    """
    remark = _MATCH_WORDS[recognition.state]
    product = recognition.product
    if product is not None:
        return f"{product.name} ({product.id}){'; ' + remark if remark else ''}"
    if recognition.products:
        names = [candidate.id for candidate in recognition.products]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return f"not one product: {remark or 'several fit'} ({shown})"
    return f"no product on file: {remark or 'nothing fits'}"


def verdict_cell(verdict: Verdict, would_be: Verdict | None) -> str:
    """Return the verdict for a table's cell.

    Args:
        verdict: What counts.
        would_be: What it would be on live evidence, None where it is the same.
    """
    return verdict.value if would_be is None else f"would be {would_be.value}"


def index_ranges(indexes: Iterable[int]) -> str:
    """Write indexes in short, e.g. `0-3, 5`.

    Args:
        indexes: Device indexes in any order.
    """
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun.

    Args:
        count: How many.
        one: The noun for one.
        many: The noun for several; `one` with an s where empty.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
