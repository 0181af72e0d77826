"""Which text a signed document may hold: what every reader sees alike, and nothing unseen."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from gpuverify.codec.text import printable

# Control, format (bidi and zero-width among them), surrogate, line and paragraph separator.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# Characters that show nothing although their category is a letter or mark: Unicode's
# Default_Ignorable_Code_Point (DerivedCoreProperties.txt) beside category Cf.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
_FOREIGN = re.compile("[^ -~]")
_ASCII = bytes(range(128))
# Of canonical JSON without a backslash, where no quotation mark stands inside a string, all ASCII
# but these two is taken away: a name is then what a quotation mark and a colon end.
_ASCII_REST = bytes(code for code in range(128) if chr(code) not in '":')
_PART_BYTES = 4096
_FOREIGN_NAME = re.compile(rb'[\x80-\xff]:*":')


def text_fault(text: str) -> str | None:
    """Say what is wrong with a text.

    Args:
        text: A member name or value.

    Returns:
        None for normalised text (NFC) without control, format, zero-width or bidi characters and
        without half surrogate pairs; else a few words.
    """
    if text.isascii() and text.isprintable():
        return None
    return _characters_fault(set(_FOREIGN.findall(text)), text)


def _characters_fault(characters: set[str], text: str) -> str | None:
    """Say what is wrong with a text, given the characters in it that are not printable ASCII."""
    composing = False
    for character in sorted(characters):
        category = unicodedata.category(character)
        if category in _UNSEEN or _IGNORABLE.match(character):
            return f"the invisible character U+{ord(character):04X}"
        # Marks, conjoining jamo and a few letters beyond U+FFFF alone can make a text of normalised
        # characters one that is not normalised (UAX #15, NFC_Quick_Check=Maybe).
        if category[0] == "M" or "\u1100" <= character <= "\u11ff" or character > "\uffff":
            composing = True
    whole = text if composing else "".join(characters)
    if not unicodedata.is_normalized("NFC", whole):
        return "text that is not in Unicode's normal form C"
    return None


def name_fault(name: str) -> str | None:
    """Say what is wrong with a member name: it has to be printable ASCII.

    Args:
        name: The member name.
    """
    if name.isascii() and name.isprintable():
        return None
    return f"the member name {printable(name, 60)!r}, which is not plain ASCII"


def tree_fault(tree: Any, string_chars: int) -> tuple[str, bool] | None:
    """Look at every name and value of a JSON tree.

    Args:
        tree: Dicts, lists, strings, integers, booleans and None.
        string_chars: Longest string allowed.

    Returns:
        None where all is well; else a few words, and whether it is only the length.
    """
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for name in item:
                if len(name) > string_chars:
                    return _too_long(string_chars)
                if fault := name_fault(name):
                    return fault, False
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            if len(item) > string_chars:
                return _too_long(string_chars)
            if fault := text_fault(item):
                return fault, False
    return None


def _too_long(string_chars: int) -> tuple[str, bool]:
    """Build the fault of a string over the limit."""
    return f"a string longer than {string_chars} characters", True


def surely_clean(canonical: bytes) -> bool:
    """Whether a canonical JSON document shows, as a whole, that `tree_fault` would find nothing.

    Looking at the whole is several times as fast as at each string. Lengths are not looked at.

    Args:
        canonical: A document in canonical form (sorted, no blanks, nothing escaped needlessly).

    Returns:
        True where all texts are clean; False where each has to be looked at.
    """
    if b"\\" in canonical or b"\x7f" in canonical:
        return False
    if canonical.isascii():
        return True
    parts = _foreign_parts(canonical)
    if _FOREIGN_NAME.search(parts.translate(None, _ASCII_REST)):
        return False
    # Quotation marks or commas stand on both sides of what was a string; they compose with nothing,
    # so that the whole is normalised exactly where each string is.
    foreign = set(parts.translate(None, _ASCII).decode("utf-8"))
    return _characters_fault(foreign, parts.decode("utf-8")) is None


def _foreign_parts(canonical: bytes) -> bytes:
    """Return the parts that are not ASCII, for a report has two or three such letters in all.

    A part ends behind a quotation mark and a comma. That is between two members, or behind the
    comma that a string begins with: each letter keeps the end of its string.
    """
    parts: list[bytes] = []
    start = 0
    while start < len(canonical):
        end = canonical.find(b'",', start + _PART_BYTES) + 2
        part = canonical[start : end if end > 1 else None]
        if not part.isascii():
            parts.append(part)
        start += len(part)
    return b"".join(parts)
