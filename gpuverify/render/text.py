"""A result as text for people: reasons first, then condition and history, limits last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuverify import __version__
from gpuverify.codec.text import printable
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.verdict import Verdict
from gpuverify.render import words
from gpuverify.render.device_text import device_table, finding_lines, group_block, groups_of

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.sale import SaleClaim
    from gpuverify.model.verdict import Result
    from gpuverify.render.style import Style

LABEL = 10
"""Columns of the label that stands before each paragraph."""

_MOST_GROUPS = 8
_MOST_STATED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is to be shown.

    Attributes:
        result: The result.
        evidence: What it was judged on.
        sale: What was claimed.
        style: Colour and width.
        verbose: Whether every finding is listed.
    """

    result: Result
    evidence: Evidence
    sale: SaleClaim
    style: Style
    verbose: bool = False


def result_text(screen: Screen) -> str:
    """Lay out one result.

    Args:
        screen: What is to be shown.

    Returns:
        Lines with a newline at the end of each.
    """
    lines = [*_header(screen), "", *_verdict(screen), *_batch(screen)]
    groups = groups_of(screen.result)
    shown = groups if screen.verbose else groups[:_MOST_GROUPS]
    for group in shown:
        lines += ["", *group_block(group, screen.result, screen.style, verbose=screen.verbose)]
    if len(shown) < len(groups):
        left = sum(len(group) for group in groups[len(shown) :])
        lines += ["", f"{words.plural(left, 'more GPU')} with other findings; -v shows them"]
    if screen.result.devices:
        lines += ["", *device_table(screen.result.devices, screen.style, verbose=screen.verbose)]
    lines += ["", *_next(screen), *_limits(screen)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def labelled(label: str, text: str, style: Style) -> list[str]:
    """Return a paragraph behind a label.

    Args:
        label: A word.
        text: The paragraph, without line ends.
        style: Width.
    """
    return style.wrap(text, first=f"{label:<{LABEL}}")


def _header(screen: Screen) -> list[str]:
    """Say who judged what by which policy, and what was claimed."""
    result, style = screen.result, screen.style
    policy = printable(result.policy_name, 80)
    if not policy.startswith("custom:"):
        policy = f"{policy} ({result.policy_sha256[:8]})"
    lines = style.wrap(
        f"gpuverify {__version__} · policy {policy} ·"
        f" refdb {result.refdb_version} ({result.refdb_sha256[:8]})",
        rest=" " * LABEL,
    )
    replay = screen.evidence.evidence_class is EvidenceClass.REPLAYED
    seen = labelled("Evidence", words.evidence_words(screen.evidence), style)
    lines += [style.paint(line, "strong") for line in seen] if replay else seen
    claimed = words.sale_words(screen.sale.items) or ["nothing was claimed"]
    for number, sentence in enumerate(claimed):
        lines += labelled("Claimed" if number == 0 else "", sentence, style)
    lines += _stated(screen)
    return lines


def _stated(screen: Screen) -> list[str]:
    """Show a claim, policy or verdict that stands in the file as the file's own words."""
    stated = screen.evidence.stated
    if not stated:
        return []
    said = "; ".join(
        f"{printable(name, 40)}: {printable(value, 80)}" for name, value in stated[:_MOST_STATED]
    )
    more = f"; and {len(stated) - _MOST_STATED} more" if len(stated) > _MOST_STATED else ""
    return labelled("Stated", f"the file's own words, not used here: {said}{more}", screen.style)


def _verdict(screen: Screen) -> list[str]:
    """Say the verdict, and what it would be on live evidence."""
    result, style = screen.result, screen.style
    judged = result.would_be or result.verdict
    name = style.paint(judged.value.upper(), words.VERDICT_ROLE[judged])
    if result.would_be is not None:
        unverified = result.verdict.value.upper()
        name = f"{unverified}, on live evidence it would be {name}"
    defect = result.exit_code == 1 and judged is not Verdict.SUSPECT
    note = "; the condition of a card raises the exit code" if defect else ""
    text = f"{name}: {words.headline(result)} (exit {result.exit_code}{note})"
    return style.wrap(text, rest="  ")


def _batch(screen: Screen) -> list[str]:
    """Say what holds for all devices together, where it says more than the devices do."""
    result, style = screen.result, screen.style
    batch = result.batch
    known = {reason for device in result.devices for reason in device.reasons}
    # A batch that is merely undecided adds nothing where cards contradict their claim.
    decides = (batch.would_be or batch.verdict) is (result.would_be or result.verdict)
    lines: list[str] = []
    for reason in batch.reasons if decides or screen.verbose else ():
        if reason not in known:
            lines += style.wrap(f"Together: {printable(reason, 400)}", first="  - ")
    if screen.verbose and batch.findings:
        lines += ["", style.paint("Findings of all together", "strong")]
        for finding in batch.findings:
            lines += finding_lines(finding, style)
    return lines


def _next(screen: Screen) -> list[str]:
    """Say what to do next."""
    result = screen.result
    judged = result.would_be or result.verdict
    steps: list[str] = []
    if not result.claimed:
        steps.append("say what was sold with --claim PRODUCT (gpuverify products lists them)")
    code = _first_code(result)
    if code and judged in (Verdict.MISMATCH, Verdict.SUSPECT):
        steps.append(f"gpuverify explain {code}")
    if result.evidence_class in (EvidenceClass.IMPORTED, EvidenceClass.CARRIED):
        steps.append("run gpuverify check on the machine itself: a file can be edited")
    if not screen.verbose and result.devices:
        steps.append("-v lists every finding")
    return labelled("Next", "; ".join(steps), screen.style) if steps else []


def _first_code(result: Result) -> str:
    """Return rule and code of the first reason that is a finding, "" if none is."""
    for reasons, findings in (
        *((device.reasons, device.findings) for device in result.devices),
        (result.batch.reasons, result.batch.findings),
    ):
        by_message = {finding.message: finding for finding in reversed(findings)}
        for reason in reasons:
            if reason in by_message:
                return f"{by_message[reason].rule}/{by_message[reason].code}"
    return ""


def _limits(screen: Screen) -> list[str]:
    """Say what no run of this tool can show."""
    text = "past owners, hours at load, clean repairs and a lying host stay unseen"
    if screen.result.evidence_class is EvidenceClass.IMPORTED:
        text = "a text proves little; owners, load hours and clean repairs stay unseen"
    lines = labelled("Limits", text, screen.style)
    return [screen.style.paint(line, "faint") for line in lines]


def summary_text(rows: Sequence[tuple[str, str, int]], exit_code: int, style: Style) -> str:
    """Lay out the list of several inputs.

    Args:
        rows: Input, verdict or error, and exit code of each.
        exit_code: Over all of them.
        style: Colour and width.
    """
    lines = [style.paint(f"{words.plural(len(rows), 'input')}, exit {exit_code}", "strong")]
    for name, said, code in rows:
        lines += style.wrap(f"{printable(name, 100)}: {said}", first=f"{code:>4}  ")
    return "\n".join(lines) + "\n"
