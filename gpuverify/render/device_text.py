"""The devices of a result: a table of all, then one block for those that agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.sale import Condition
from gpuverify.model.verdict import ConditionState, Verdict
from gpuverify.render import words

if TYPE_CHECKING:
    from gpuverify.model.claims import Claim
    from gpuverify.model.finding import Finding
    from gpuverify.model.verdict import DeviceResult, Result
    from gpuverify.render.style import Style

_LABEL = 10
_MOST_ROWS = 16
_MOST_REASONS = 3
_MOST_NOTES = 2
_MOST_NAMES = 4

_ABSENT = {
    "not-supported": "not supported",
    "not-found": "not found",
    "no-permission": "refused",
    "device-lost": "lost",
    "timed-out": "timed out",
    "not-asked": "not asked",
    "sentinel": "masked",
    "malformed": "damaged",
}

# As the verdict arithmetic words it; a reason of another wording is shown as it stands.
_CANNOT_TELL = re.compile(
    r"cannot tell (\S+) from (\S+) by what was seen(?: at the basis (\S+))?; needs (.+)"
)

_CONDITION_ROLE = {ConditionState.DEFECTIVE: "bad", ConditionState.ATTENTION: "doubt"}

Group = tuple["DeviceResult", ...]


def device_table(devices: Sequence[DeviceResult], style: Style, *, verbose: bool) -> list[str]:
    """Return one line a device: index, name, end of the serial, bus, verdict, condition.

    Args:
        devices: The devices.
        style: Colour and width.
        verbose: Whether all are listed, however many.
    """
    rows = devices if verbose or len(devices) <= _MOST_ROWS else devices[: _MOST_ROWS - 1]
    verdicts = [words.verdict_cell(d.verdict, d.would_be) for d in rows]
    wide = max(len("Verdict"), *(len(verdict) for verdict in verdicts))
    # index 3, serial 9, bus 12, condition 12 and five gaps of 2 stand beside name and verdict
    name_width = max(12, min(34, style.width - wide - 3 - 9 - 12 - 12 - 10))
    head = (
        f"{'GPU':>3}  {'Name':<{name_width}}  {'Serial':<9}  {'Bus':<12}  {'Verdict':<{wide}}"
        "  Condition"
    )
    lines = [style.paint(head, "strong")]
    for device, verdict in zip(rows, verdicts, strict=True):
        claims = device.device.claims
        role = words.VERDICT_ROLE[device.would_be or device.verdict]
        lines.append(
            f"{device.device.index:>3}"
            f"  {_cell(claims.read('gpu.name'), name_width)}"
            f"  {_cell(claims.read('gpu.serial'), 9, tail=True)}"
            f"  {_bus(claims.read('pci.bus_id'))}"
            f"  {style.paint(f'{verdict:<{wide}}', role)}"
            f"  {_condition_cell(device, style)}"
        )
    hidden = devices[len(rows) :]
    if hidden:
        counts = Counter(words.verdict_cell(d.verdict, d.would_be) for d in hidden)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        lines.append(f"     and {len(hidden)} more ({told}); -v lists them")
    return lines


def groups_of(result: Result) -> list[Group]:
    """Put devices together that have the same verdict for the same reasons.

    Args:
        result: The result.

    Returns:
        Groups in the order of their first device, worst verdict first.
    """
    order = (Verdict.MISMATCH, Verdict.SUSPECT, Verdict.UNVERIFIED, Verdict.CONSISTENT)
    groups: dict[object, list[DeviceResult]] = {}
    for device in result.devices:
        groups.setdefault(_likeness(device), []).append(device)
    ranked = sorted(
        groups.values(),
        key=lambda group: (
            not group[0].in_sale,
            order.index(group[0].would_be or group[0].verdict),
        ),
    )
    return [tuple(group) for group in ranked]


def _likeness(device: DeviceResult) -> object:
    """Return what has to be equal for two devices to be told in one block."""
    by_message = {finding.message: finding for finding in device.findings}
    reasons = tuple(
        (by_message[r].rule, by_message[r].code) if r in by_message else r for r in device.reasons
    )
    weighty = tuple(
        sorted(
            (finding.rule, finding.code)
            for finding in device.findings
            if finding.outcome in (Outcome.NOTE, Outcome.WARN, Outcome.FAIL)
        )
    )
    sale = device.sale
    return (
        device.verdict,
        device.would_be,
        device.in_sale,
        device.recognition.state,
        tuple(product.id for product in device.recognition.products),
        None if sale is None else (sale.product.id, sale.condition),
        reasons,
        weighty,
        device.assurance,
        device.capacity_basis,
        device.condition,
        device.history,
        device.neighbours,
    )


def group_block(group: Group, result: Result, style: Style, *, verbose: bool) -> list[str]:
    """Tell what was found of devices that agree.

    Args:
        group: The devices.
        result: The result that they belong to.
        style: Colour and width.
        verbose: Whether every finding is listed.
    """
    first = group[0]
    lines = [style.paint(line, "strong") for line in _title(group, result, style)]
    lines += _reasons(group, style, verbose=verbose)
    lines += _alikes(first, style)
    lines += _condition(first, style, verbose=verbose)
    lines += _history(first, style, verbose=verbose)
    lines += _others(first, style, verbose=verbose)
    if first.not_examined and (verbose or Verdict.CONSISTENT in (first.verdict, first.would_be)):
        lines += _paragraph("Left out", f"not examined: {', '.join(first.not_examined)}", style)
    if verbose:
        for device in group:
            lines += _all_findings(device, style, named=len(group) > 1)
    return lines


def _title(group: Group, result: Result, style: Style) -> list[str]:
    """Name the devices and say what they read as."""
    whole = len(group) == len(result.devices)
    indexes = words.index_ranges(device.device.index for device in group)
    every = "Both GPUs" if len(group) == 2 else f"All {len(group)} GPUs"
    who = every if whole and len(group) > 1 else f"GPU {indexes}"
    role = "" if group[0].in_sale else ", not part of the sale"
    reads = words.recognition_words(group[0].recognition)
    return style.wrap(f"{who}{role}: reads as {reads}", rest="  ")


def _reasons(group: Group, style: Style, *, verbose: bool) -> list[str]:
    """Give the reasons, strongest first, then how many checks stand on either side."""
    first = group[0]
    by_message = {finding.message: finding for finding in reversed(first.findings)}
    reasons = first.reasons if verbose else _merged(first.reasons)
    shown = reasons if verbose else reasons[:_MOST_REASONS]
    lines: list[str] = []
    for reason in shown:
        finding = by_message.get(reason)
        text = printable(reason, 400)
        if finding is None:
            lines += style.wrap(text, first="  - ")
            continue
        word = style.paint(words.OUTCOME_WORD[finding.outcome], words.OUTCOME_ROLE[finding.outcome])
        differs = any(other.reasons != first.reasons for other in group)
        alike = f", GPU {first.device.index}; alike on the others" if differs else ""
        lines += style.wrap(
            f"{word}: {text} [{finding.rule}/{finding.code}, {finding.basis.value}{alike}]",
            first="  - ",
        )
    if len(shown) < len(reasons):
        more = words.plural(len(reasons) - len(shown), "more reason")
        lines.append(f"  - and {more}; -v lists them")
    return lines + _checks(first, style)


def _merged(reasons: Sequence[str]) -> list[str]:
    """Put the neighbours that cannot be told from the product sold into one reason."""
    merged: list[str] = []
    names: list[str] = []
    ways: list[list[str]] = []
    place = 0
    sold = ""
    for reason in reasons:
        match = _CANNOT_TELL.fullmatch(reason)
        if match is None:
            merged.append(reason)
            continue
        if not names:
            place = len(merged)
        sold = match.group(1)
        names.append(match.group(2))
        ways.append(match.group(4).split(" or "))
    if names:
        common = [way for way in ways[0] if all(way in other for other in ways)]
        every = list(dict.fromkeys(way for one in ways for way in one))
        needs = " or ".join(common) or ", ".join(every)
        merged.insert(
            place, f"cannot tell {sold} from {_few(names)} by what was seen; needs {needs}"
        )
    return merged


def _few(names: Sequence[str]) -> str:
    """List names, not too many."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _checks(device: DeviceResult, style: Style) -> list[str]:
    """Count the checks by what came of them."""
    counts = Counter(finding.outcome for finding in device.findings)
    against = counts[Outcome.FAIL] + counts[Outcome.WARN]
    text = (
        f"{counts[Outcome.PASS]} agree, {against} do not,"
        f" {counts[Outcome.INCONCLUSIVE]} could not be decided,"
        f" {words.plural(counts[Outcome.NOTE], 'note')}"
    )
    return _paragraph("Checks", text, style)


def _alikes(device: DeviceResult, style: Style) -> list[str]:
    """Say which confusable neighbours were excluded, which were not, and how sure that is."""
    capacity = "not shown" if device.capacity_basis is None else device.capacity_basis.value
    sure = f"assurance {device.assurance.value}, capacity {capacity}"
    total = len(device.neighbours)
    if not total:
        return _paragraph("Neighbours", f"none on file; {sure}", style)
    enough = sum(
        neighbour.basis is not None and not neighbour.needs for neighbour in device.neighbours
    )
    weaker = sum(
        neighbour.basis is not None and bool(neighbour.needs) for neighbour in device.neighbours
    )
    text = f"{enough} of {total} excluded"
    if weaker:
        text += f", {weaker} at less than the policy's basis"
    return _paragraph("Neighbours", f"{text}; {sure}", style)


def _condition(device: DeviceResult, style: Style, *, verbose: bool) -> list[str]:
    """Say what was seen of the condition; silence is not soundness."""
    role = _CONDITION_ROLE.get(device.condition)
    state = words.CONDITION_WORDS[device.condition]
    text = (
        f"{style.paint(state, role) if role else state}"
        f" ({device.condition_checks_done} of {device.condition_checks_known} checks could be done)"
    )
    return _paragraph("Condition", text + _told(device, (Axis.CONDITION,), verbose=verbose), style)


def _history(device: DeviceResult, style: Style, *, verbose: bool) -> list[str]:
    """Say what was seen of the history, and whether it was judged."""
    text = words.HISTORY_WORDS[device.history]
    sale = device.sale
    if sale is None or (sale.condition is not Condition.NEW and sale.max_hours is None):
        text += " (not claimed, not judged)"
    return _paragraph("History", text + _told(device, (Axis.HISTORY,), verbose=verbose), style)


def _told(device: DeviceResult, axes: Sequence[Axis], *, verbose: bool) -> str:
    """Return the findings of some axes that say something, without those among the reasons.

    A note on the history (a counter at zero, the date in a serial number) is left to -v unless it
    shows use: it speaks neither way.
    """
    told = [
        finding.message
        for finding in sorted(device.findings, key=lambda one: one.outcome is Outcome.NOTE)
        if finding.axis in axes
        and finding.outcome in (Outcome.NOTE, Outcome.WARN, Outcome.FAIL)
        and finding.message not in device.reasons
        and (
            verbose
            or finding.used
            or finding.axis is not Axis.HISTORY
            or finding.outcome is not Outcome.NOTE
        )
    ]
    told = list(dict.fromkeys(told))
    if not told:
        return ""
    shown = told if verbose else told[:_MOST_NOTES]
    more = f"; and {len(told) - len(shown)} more" if len(shown) < len(told) else ""
    return ": " + "; ".join(printable(message, 300).rstrip(".") for message in shown) + more


def _others(device: DeviceResult, style: Style, *, verbose: bool) -> list[str]:
    """Say what was noted of identity, configuration and host."""
    axes = (Axis.CONFIGURATION, Axis.ENVIRONMENT, Axis.IDENTITY)
    told = _told(device, axes, verbose=verbose)
    return _paragraph("Noted", told[2:], style) if told else []


def _all_findings(device: DeviceResult, style: Style, *, named: bool) -> list[str]:
    """List every finding of one device."""
    title = f"Findings of GPU {device.device.index}" if named else "Findings"
    lines = [style.paint(f"  {title}", "strong")]
    for finding in device.findings:
        lines += finding_lines(finding, style)
    return lines


def finding_lines(finding: Finding, style: Style) -> list[str]:
    """Tell one finding.

    Args:
        finding: The finding.
        style: Colour and width.
    """
    word = style.paint(
        f"{words.OUTCOME_WORD[finding.outcome]:<12}", words.OUTCOME_ROLE[finding.outcome]
    )
    name = f"{finding.rule}/{finding.code} ({finding.basis.value})"
    text = f"{name}: {printable(finding.message, 400)}"
    return style.wrap(text, first=f"  {word} ")


def _paragraph(label: str, text: str, style: Style) -> list[str]:
    """Return a paragraph behind a label, set in below a block's title."""
    return style.wrap(text, first=f"  {label:<{_LABEL}} ")


def _cell(claim: Claim, width: int, *, tail: bool = False) -> str:
    """Return a value cut to a width, or why it is absent."""
    if not claim.ok:
        return f"{'(' + _ABSENT.get(claim.status.value, claim.status.value) + ')':<{width}.{width}}"
    text = printable(str(claim.value), 200)
    if len(text) > width:
        # The end of a serial tells cards apart, the beginning of a name tells models apart.
        text = f"…{text[-(width - 1) :]}" if tail else f"{text[: width - 1]}…"
    return f"{text:<{width}}"


def _bus(claim: Claim) -> str:
    """Return a bus id without the half of its domain that is almost always zero."""
    if claim.ok and isinstance(claim.value, str) and len(claim.value) == 16:
        return f"{printable(claim.value.removeprefix('0000'), 16):<12}"
    return _cell(claim, 12)


def _condition_cell(device: DeviceResult, style: Style) -> str:
    """Return the condition in a word or two."""
    state = device.condition
    role = _CONDITION_ROLE.get(state)
    text = {ConditionState.NO_FAULT_SEEN: "no fault"}.get(state, state.value)
    return style.paint(text, role) if role else text
