"""Comparisons of cards on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.verification import Change, Sameness

if TYPE_CHECKING:
    from gpuverify.model.verification import Comparison
    from gpuverify.render.style import Style

_ROLES = {
    Sameness.SAME: "good",
    Sameness.CHANGED: "doubt",
    Sameness.NOT_THE_CARD: "bad",
    Sameness.NOT_COMPARABLE: "unknown",
}
_WORDS = {
    Change.OTHER_CARD: "other card",
    Change.ALARM: "alarm",
    Change.WARN: "changed",
    Change.NOTE: "note",
}
_INDENT = 12
_LIMIT = (
    "The same identity is what a driver reads out of the card; a measured rate can say that a card"
    " changed, never that it is the same."
)


def comparison_text(
    found: Sequence[Comparison], exit_code: int, style: Style, *, verbose: bool = False
) -> str:
    """Lay comparisons out.

    Args:
        found: One a card.
        exit_code: Over all of them.
        style: Colour and width.
        verbose: Whether what was compared is listed too.

    Returns:
        Lines with a newline at the end of each.
    """
    lines: list[str] = []
    for one in found:
        lines += [*_one(one, style, verbose=verbose), ""]
    if len(found) > 1:
        lines += [style.paint(f"{len(found)} cards, exit {exit_code}", "strong"), ""]
    lines += style.wrap(_LIMIT)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _one(one: Comparison, style: Style, *, verbose: bool) -> list[str]:
    """Lay one comparison out."""
    head = one.sameness.value.upper()
    lines = [style.paint(head, _ROLES[one.sameness])]
    lines += style.wrap(printable(one.earlier, 200), first="earlier     ")
    lines += style.wrap(printable(one.later, 200), first="later       ")
    for difference in one.differences:
        word = _WORDS[difference.change]
        lines += style.wrap(printable(difference.words, 500), first=f"{word:<{_INDENT}}")
    for reason in one.reasons:
        lines += style.wrap(printable(reason, 500), first=f"{'but':<{_INDENT}}")
    count = f"{len(one.compared)} facts; {len(one.not_compared)} stand in one of both only"
    lines += style.wrap(count, first=f"{'compared':<{_INDENT}}")
    if verbose:
        listed = ", ".join(one.compared) or "nothing"
        lines += style.wrap(listed, first=f"{'in both':<{_INDENT}}")
        listed = ", ".join(one.not_compared) or "nothing"
        lines += style.wrap(listed, first=f"{'in one only':<{_INDENT}}")
    return lines
