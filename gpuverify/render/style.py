"""Colour, width and the ASCII fallback."""

from __future__ import annotations

import codecs
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

PLAIN_WIDTH = 80
_NARROWEST, _WIDEST = 76, 110  # narrower, the table of GPUs would break
_NARROWEST_TEXT = 8  # behind an indent as wide as the line

_SGR = {
    "strong": "1",
    "faint": "2",
    "good": "32",
    "bad": "1;31",
    "doubt": "33",
    "unknown": "36",
}
_SGR_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")

# By code point, for several of these look like ASCII in an editor: ellipsis, dashes, middle dot,
# multiplication sign, comparisons, degree, micro, arrow, quotation marks, plus-minus, blanks.
_ASCII = {
    0x2026: "...", 0x2013: "-", 0x2014: "-", 0x2011: "-", 0x00B7: "-", 0x00D7: "x", 0x2265: ">=",
    0x2264: "<=", 0x2260: "!=", 0x00B0: " deg ", 0x00B5: "u", 0x2192: "->", 0x201C: '"',
    0x201D: '"', 0x2018: "'", 0x2019: "'", 0x00B1: "+/-", 0x00A0: " ",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How text is laid out.

    Attributes:
        colour: Whether escape sequences for colour may be written.
        width: Columns to fill.
    """

    colour: bool = False
    width: int = PLAIN_WIDTH

    def paint(self, text: str, role: str) -> str:
        """Return text in the colour of a role; unchanged where there is no colour.

        Args:
            text: The text.
            role: "strong", "faint", "good", "bad", "doubt" or "unknown".
        """
        return f"\x1b[{_SGR[role]}m{text}\x1b[0m" if self.colour and text else text

    def wrap(self, text: str, *, first: str = "", rest: str | None = None) -> list[str]:
        """Break text into lines of at most `width` columns.

        Args:
            text: Text without line ends.
            first: What stands before the first line.
            rest: What stands before the other lines; as many blanks as `first` has where None.

        Returns:
            At least one line.
        """
        indent = " " * visible_length(first) if rest is None else rest
        lines: list[str] = []
        line, empty = first, True
        for word in _pieces(text, max(self.width - visible_length(indent), _NARROWEST_TEXT)):
            gap = 0 if empty else 1
            if not empty and visible_length(line) + gap + visible_length(word) > self.width:
                lines.append(line)
                line, gap = indent, 0
            line += " " * gap + word
            empty = False
        return [*lines, line]


def _pieces(text: str, most: int) -> list[str]:
    """Split text into words, and words that fit no line into pieces."""
    pieces: list[str] = []
    for word in text.split():
        if visible_length(word) <= most or "\x1b" in word:
            pieces.append(word)
        else:
            pieces += _cut(word, most)
    return pieces


def _cut(word: str, most: int) -> list[str]:
    """Cut a word into pieces of at most `most` columns."""
    if word.isascii():
        return [word[start : start + most] for start in range(0, len(word), most)]
    pieces, piece, columns = [], "", 0
    for sign in word:
        wide = visible_length(sign)
        if piece and columns + wide > most:
            pieces.append(piece)
            piece, columns = "", 0
        piece += sign
        columns += wide
    return [*pieces, piece]


def visible_length(text: str) -> int:
    """Count columns, leaving out colour sequences; Chinese signs and their like take two."""
    plain = _SGR_SEQUENCE.sub("", text)
    if plain.isascii():
        return len(plain)
    import unicodedata  # not above: few texts need it

    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in plain
    )


def style_for(stream: TextIO | None, environ: Mapping[str, str]) -> Style:
    """Choose a style for a stream.

    Args:
        stream: Where the text goes.
        environ: Environment; NO_COLOR (any value but the empty one) and TERM=dumb are honoured.

    Returns:
        Colour and the terminal's width for a terminal; plain text of 80 columns elsewhere, so that
        what lands in a file does not depend on the window.
    """
    if stream is None or not stream.isatty():
        return Style()
    columns = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
    colour = not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("dumb", "")
    return Style(colour=colour, width=max(_NARROWEST, min(columns, _WIDEST)))


def standard_style(stream: TextIO | None) -> Style:
    """Choose a style for a stream by the environment of this process."""
    return style_for(stream, os.environ)


def for_console(text: str, encoding: str | None) -> str:
    """Return text that a console of this encoding can show.

    A UTF-8 console gets it as it is (lone surrogates escaped). Any other gets ASCII, also where its
    own encoding might know a sign: a GBK console knows some of ours and fails on the next.

    Args:
        text: The text.
        encoding: The stream's encoding; None counts as UTF-8.
    """
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except LookupError:
        name = "ascii"
    if name.startswith("utf"):
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
