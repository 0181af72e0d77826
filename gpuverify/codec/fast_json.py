"""Strict JSON for signed documents: one reading with one code for each way to be refused.

Two paths, one answer. Where msgspec and orjson are installed, a document that is in canonical form
(as ours are) is recognised by writing it again: equal bytes prove that no member stands twice and
that no number, escape or blank is odd. Whatever is not recognised takes the strict path, which
alone refuses; the fast path accepts only what the strict one would, with the same tree.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from gpuverify.codec.portable_json import DECODER, OddError
from gpuverify.codec.report_text import surely_clean, tree_fault
from gpuverify.codec.text import printable
from gpuverify.model.refusal import Refusal, Refused


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much is read at most.

    Attributes:
        size_bytes: Longest document.
        depth: Deepest nesting of objects and arrays.
        string_chars: Longest string.
    """

    size_bytes: int
    depth: int
    string_chars: int


PAYLOAD_LIMITS = JsonLimits(2**20, 16, 20_000)
"""Limits of a statement: a report has some 50 kB, 6 levels and no text over 500 characters."""

# A string, or what is left of one that does not end; always matches, so that time stays linear.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = {code: None for code in range(128) if chr(code) not in "[]{}"}


def loads(data: bytes, origin: str, limits: JsonLimits = PAYLOAD_LIMITS) -> Any:
    """Read one document, by the fast path where it can be taken.

    Args:
        data: The document.
        origin: What it was read from, for people.
        limits: How much is read at most.

    Returns:
        The tree of dicts, lists, strings, integers, booleans and None.

    Raises:
        Refused: As `strict_loads`.
    """
    fast = _fast_path(limits)
    if fast is not None:
        found = fast(data)
        if found is not None and surely_clean(data):
            return found[0]
    return strict_loads(data, origin, limits)


def strict_loads(data: bytes, origin: str, limits: JsonLimits = PAYLOAD_LIMITS) -> Any:
    """Read one document with nothing but the standard library.

    Args:
        data: The document.
        origin: What it was read from, for people.
        limits: How much is read at most.

    Returns:
        As `loads`.

    Raises:
        Refused: E_LIMIT: too long, too deep, a string too long. E_JSON: not UTF-8, a byte order
            mark, malformed, a float, NaN, an integer beyond 2^53 - 1. E_DUPKEY: a member stands
            twice. E_TEXT: by `report_text`.
    """
    if len(data) > limits.size_bytes:
        _refuse(Refusal.LIMIT, origin, f"longer than {limits.size_bytes} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(Refusal.JSON, origin, f"not UTF-8 at byte {error.start}")
    if text.startswith("\ufeff"):
        _refuse(Refusal.JSON, origin, "starts with a byte order mark")
    if _deeper_than(text, limits.depth):
        _refuse(Refusal.LIMIT, origin, f"nested deeper than {limits.depth}")
    try:
        tree = DECODER.decode(text)
    except json.JSONDecodeError as error:
        _refuse(
            Refusal.JSON,
            origin,
            f"malformed, truncated or followed by other text ({error.msg}, byte {error.pos})",
        )
    except OddError as error:
        _refuse(error.refusal, origin, str(error))
    fault = tree_fault(tree, limits.string_chars)
    if fault is not None:
        words, length = fault
        _refuse(Refusal.LIMIT if length else Refusal.TEXT, origin, f"it holds {words}")
    return tree


def _refuse(refusal: Refusal, origin: str, reason: str) -> NoReturn:
    """Refuse with a code, naming the input and what to do."""
    raise Refused(refusal, f"{printable(origin)}: {reason}; ask the signer for a new one")


def _deeper_than(text: str, depth: int) -> bool:
    """Whether brackets nest deeper, seen before the parser (which recurses) is let at them."""
    if text.count("[") + text.count("{") <= depth:
        return False
    level = 0
    for bracket in _STRING.sub("", text).translate(_NO_BRACKETS):
        if bracket in "[{":
            level += 1
            if level > depth:
                return True
        elif bracket in "]}":
            level -= 1
    return False


# Ways to see at C speed that a document without a backslash keeps the limits. Where one of them
# is in doubt, the strict path looks closely.
_PAIRS = bytes.maketrans(b"[]{}", b"()()")
_ALL_BUT_PAIRS = bytes(code for code in range(256) if chr(code) not in '[]{}"')


def surely_short(data: bytes, limits: JsonLimits) -> bool:
    """Whether document and strings are surely not too long, if it is JSON at all.

    Args:
        data: The document.
        limits: How much is read at most.

    Returns:
        False where it is in doubt, and for each document with a backslash.
    """
    if len(data) > limits.size_bytes or b"\\" in data:
        return False
    start, window = 0, limits.string_chars + 1
    while len(data) - start > window:  # a string ends in every window
        quote = data.rfind(b'"', start, start + window)
        if quote < 0:
            return False
        start = quote + 1
    return True


def _surely_within(data: bytes, limits: JsonLimits) -> bool:
    """Whether a document surely keeps the limits, if it is JSON at all."""
    if not surely_short(data, limits):
        return False
    # Two quotation marks that nothing separates leave in or out of strings what was there.
    pairs = data.translate(_PAIRS, _ALL_BUT_PAIRS).replace(b'""', b"")
    if b'"' in pairs:
        pairs = b"".join(pairs.split(b'"')[::2])
    for _ in range(limits.depth):  # each turn takes the innermost containers away
        pairs = pairs.replace(b"()", b"")
    return not pairs


_Fast = Callable[[bytes], "tuple[Any] | None"]


@functools.lru_cache(maxsize=8)
def _fast_path(limits: JsonLimits) -> _Fast | None:
    """Return what reads a canonical document fast (None for any other); None without the extra."""
    try:
        import msgspec
        import orjson
    except ImportError:
        return None

    def no_float(text: str) -> float:
        """End the decoding; the strict path says why."""
        raise ValueError(text)

    decode = msgspec.json.Decoder(float_hook=no_float).decode
    option = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER  # beyond 2^53 - 1 it raises

    def fast(data: bytes) -> tuple[Any] | None:
        """Decode, and write again to see whether the document is the canonical one."""
        if not _surely_within(data, limits):
            return None
        try:
            tree = decode(data)
            same = orjson.dumps(tree, option=option) == data
        except (msgspec.DecodeError, orjson.JSONEncodeError, ValueError, RecursionError):
            return None
        return (tree,) if same else None

    return fast
