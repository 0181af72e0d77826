"""A certificate on a terminal: tables where they fit, colour only beside a word that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.render import words
from gpuverify.render.certificate import STATED_BY, Cell, Table, certificate_of
from gpuverify.render.style import Style, visible_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuverify.model.verification import Verification
    from gpuverify.render.certificate import Certificate, CheckLine, Field, Part
    from gpuverify.render.measured_values import Fingerprint, MemoryMap

_SAME_KEY = "As stated by the same key"
_LABEL = 16
_SHORT, _LONGEST = 600, 20_000
"""Characters of one text that are shown in short, and with -v (as many as a report may hold)."""

_MOST_CHECKS = 12
_MOST_ROWS = 16
_GAP = 2
_NARROWEST_COLUMN = 12
_BAR = 24


_WHOLE_ONLY = frozenset({"coverage", "test", "counters", "verification"})
"""Parts that an answer leaves out, and the certificate holds. A refusal keeps its stages."""


def certificate_text(
    verification: Verification, style: Style, *, verbose: bool = False, answer: bool = False
) -> str:
    """Lay out what came of one signed document.

    Args:
        verification: What came of it.
        style: Colour and width.
        verbose: Whether every check, row and reading is shown.
        answer: Whether only what answers the reader's question is shown, for `verify`.

    Returns:
        Lines with a newline at the end of each.
    """
    certificate = certificate_of(verification)
    lines = _head(certificate, style)
    named: set[str] = set()
    brief = answer and not verbose and verification.refusal is None
    for part in certificate.parts:
        if brief and part.id in _WHOLE_ONLY:
            continue
        if verbose or not part.long:
            speaker = _SAME_KEY if part.speaker in named else part.speaker
            if part.speaker.startswith(STATED_BY):
                named.add(part.speaker)
            lines += ["", *_part(part, speaker, style, verbose=verbose)]
    if brief:
        lines += ["", *style.wrap("gpuverify show prints the whole certificate, -v all of it here")]
    elif not verbose and any(part.long for part in certificate.parts):
        lines += ["", *style.wrap("-v lists every check and every reading")]
    if certificate.end:
        lines += ["", *style.wrap(certificate.end)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(certificate: Certificate, style: Style) -> list[str]:
    """Write title and banner."""
    title = f"{certificate.title} {certificate.identifier}".rstrip()
    lines = [style.paint(line, "strong") for line in style.wrap(printable(title, 200))]
    banner = certificate.banner
    lines += [
        "",
        *(style.paint(line, banner.role) for line in style.wrap(banner.headline)),
    ]
    for sentence in banner.sentences:
        lines += style.wrap(printable(sentence, 1000), first="  ")
    return lines


def _part(part: Part, speaker: str, style: Style, *, verbose: bool) -> list[str]:
    """Write one part."""
    lines = [style.paint(part.title.upper(), "strong")]
    said = style.wrap(printable(speaker, 400), first="  ") if speaker else []
    lines += [style.paint(line, "faint") for line in said]
    for sentence in part.sentences:
        lines += style.wrap(_shown(sentence, verbose=verbose), first="  ")
    for field in part.fields:
        if verbose or not field.long:
            lines += _field(field, style, verbose=verbose)
    if part.checks:
        lines += _checks(part.checks, style, verbose=verbose)
    if part.fingerprint is not None:
        lines += _fingerprint(part.fingerprint, style)
    if part.memory is not None:
        lines += _memory(part.memory, style)
    for table in part.tables:
        lines += _table(table, style, verbose=verbose)
    return lines


def _shown(text: str, *, verbose: bool) -> str:
    """Return a text made safe for a terminal, cut where it is very long."""
    return printable(text, _LONGEST if verbose else _SHORT)


def _field(field: Field, style: Style, *, verbose: bool) -> list[str]:
    """Write a value behind its label."""
    first = f"  {field.label:<{_LABEL}} "
    text = _shown(field.value.text, verbose=verbose)
    if field.value.mono and len(first) + visible_length(text) > style.width:
        # A digest is compared at a glance where it stands on a line of its own.
        return [first, *style.wrap(text, first="    ")]
    lines = style.wrap(text, first=first)
    if not field.value.role:
        return lines
    return [
        line[: len(first)] + style.paint(line[len(first) :], field.value.role) for line in lines
    ]


def _checks(checks: Sequence[CheckLine], style: Style, *, verbose: bool) -> list[str]:
    """List checks; in short only those that speak against the card, or on which both differ."""
    shown = list(checks) if verbose else [check for check in checks if check.weighty]
    left = len(checks) - len(shown)
    more = 0 if verbose else max(len(shown) - _MOST_CHECKS, 0)
    lines = []
    for check in shown[: len(shown) - more]:
        word = style.paint(f"{check.own or check.signer:<12}", check.own_role or check.signer_role)
        beside = f"; signer: {check.signer or 'not stated'}" if check.own else " (signer)"
        name = printable(check.name, 120)
        text = f"{name} ({check.basis}): {_shown(check.message, verbose=verbose)}"
        lines += style.wrap(f"{text.rstrip('.')}{beside}", first=f"  {word} ", rest=" " * 15)
    if more:
        lines += style.wrap(f"and {words.plural(more, 'more check')} like these", first="  ")
    if left:
        quiet = words.plural(left, "more check holds", "more checks hold")
        lines += style.wrap(f"{quiet} nothing against the card", first="  ")
    return lines


def _fingerprint(found: Fingerprint, style: Style) -> list[str]:
    """Write what was measured, each value beside its band."""
    rows = []
    for gauge in found.gauges:
        place = "" if found.doubt else gauge.place
        role = "good" if place == "in band" else "doubt"
        rows.append(
            (
                Cell(text=gauge.label),
                Cell(text=gauge.text),
                Cell(text=gauge.band or "no band on file"),
                Cell(text=place, role=role),
            )
        )
    header = ("Quantity", "Measured", "Reference band", "")
    table = Table(caption="Performance fingerprint", header=header, rows=tuple(rows))
    return _table(table, style, verbose=True)


def _memory(memory: MemoryMap, style: Style) -> list[str]:
    """Write the memory map as a bar and in words."""
    cells = []
    for number in range(_BAR):
        offset = (2 * number + 1) * memory.claimed // (2 * _BAR)
        if offset >= memory.tested:
            cells.append(".")
        elif memory.slow is not None and offset >= memory.slow:
            cells.append("s")
        elif memory.fold and offset >= memory.fold:
            cells.append("=")
        else:
            cells.append("#")
    told = "; ".join(memory.clauses())
    return style.wrap(told, first=f"  Memory [{''.join(cells)}] ", rest=" " * 4)


def _table(table: Table, style: Style, *, verbose: bool) -> list[str]:
    """Write a table; rows that are too many are counted."""
    every = table.rows if verbose or table.brief is None else table.brief
    rows = every if verbose else every[:_MOST_ROWS]
    lines: list[str] = []
    if rows:
        texts = [[_shown(cell.text, verbose=verbose) for cell in row] for row in rows]
        widths = _widths([table.header, *texts], style.width - 2)
        lines += style.wrap(table.caption, first="  ")
        lines += [style.paint(line, "faint") for line in _row(table.header, widths, (), style)]
        for row, cells in zip(texts, rows, strict=True):
            lines += _row(row, widths, cells, style)
    if table.left_out and not verbose:
        lines += style.wrap(table.left_out, first="  ")
    if len(rows) < len(every):
        more = words.plural(len(every) - len(rows), "more row")
        lines += style.wrap(f"and {more}; -v shows them", first="  ")
    return lines


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Share the columns out: each what it needs, and what is left evenly among those that want."""
    wanted = [
        max(1, *(visible_length(text) for text in column)) for column in zip(*rows, strict=True)
    ]
    room -= _GAP * (len(wanted) - 1)
    widths = [min(want, _NARROWEST_COLUMN) for want in wanted]
    while sum(widths) < room and widths != wanted:
        for column, want in enumerate(wanted):
            if widths[column] < want and sum(widths) < room:
                widths[column] += 1
    return widths


def _row(
    texts: Sequence[str], widths: Sequence[int], cells: Sequence[Cell], style: Style
) -> list[str]:
    """Write one row, its cells broken into lines."""
    columns = [
        Style(width=width).wrap(text) if text else [""]
        for text, width in zip(texts, widths, strict=True)
    ]
    roles = [cell.role for cell in cells] or [""] * len(columns)
    height = max(len(column) for column in columns)
    lines = []
    for number in range(height):
        line = []
        for column, width, role in zip(columns, widths, roles, strict=True):
            text = column[number] if number < len(column) else ""
            padding = " " * max(width - visible_length(text), 0)
            line.append((style.paint(text, role) if role and text else text) + padding)
        lines.append("  " + (" " * _GAP).join(line).rstrip())
    return lines
