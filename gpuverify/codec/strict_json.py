"""JSON as data that is signed and compared needs it: one reading, or a refusal."""

from __future__ import annotations

import json
import re
from typing import Any

from gpuverify.codec.limits import (
    MAX_DEPTH,
    MAX_INPUT_BYTES,
    MAX_JSON_COMMAS,
    MAX_JSON_CONTAINERS,
)
from gpuverify.errors import FormatError

_MAX_INT = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")


class _RefusedError(ValueError):
    """Something that plain JSON allows and we do not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedError(f"key {twice[:60]!r} stands twice in one object")
    return result


def _integer(text: str) -> int:
    """Read an integer of at most 64 bits (others read it as a float and lose digits)."""
    value = int(text) if len(text) <= 20 else _MAX_INT
    if not -_MAX_INT <= value < _MAX_INT:
        raise _RefusedError(f"number {text[:30]} does not fit in 64 bits")
    return value


def _no_float(text: str) -> float:
    """Refuse a float: every quantity of ours is an integer in its smallest unit."""
    raise _RefusedError(f"number {text[:30]} is not an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_no_float,
    parse_constant=_no_float,
    strict=True,
)


def _check_tree(tree: object) -> None:
    """Refuse nesting over the limit and lone surrogates, without recursion."""
    level: list[object] = [tree]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.keys())
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and _SURROGATE.search(item):
                raise _RefusedError("a string holds half a surrogate pair")
        if not below:
            return
        level = below
    if any(isinstance(item, (dict, list)) for item in level):
        raise _RefusedError(f"nested deeper than {MAX_DEPTH}")
    for item in level:
        if isinstance(item, str) and _SURROGATE.search(item):
            raise _RefusedError("a string holds half a surrogate pair")


def loads(data: bytes | str, origin: str) -> Any:
    """Read one JSON document strictly.

    Refused beyond malformed JSON: a byte order mark, another encoding than UTF-8, keys that stand
    twice, floats, NaN, integers over 64 bits, lone surrogates, nesting over the limit.

    Args:
        data: The document.
        origin: What it was read from, for the error message.

    Returns:
        The tree of dicts, lists, strings, integers, booleans and None.

    Raises:
        FormatError: For everything that is refused.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise FormatError(origin, f"larger than {MAX_INPUT_BYTES // 2**20} MiB")
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(origin, "JSON has to be UTF-8", f"byte {error.start}") from None
    else:
        text = data
    if text.startswith("\ufeff"):
        raise FormatError(origin, "JSON must not start with a byte order mark; save it without")
    if text.count("{") + text.count("[") > MAX_JSON_CONTAINERS:
        raise FormatError(origin, f"more than {MAX_JSON_CONTAINERS} objects and arrays")
    if text.count(",") > MAX_JSON_COMMAS:
        raise FormatError(origin, f"more than {MAX_JSON_COMMAS} values")
    try:
        tree = _DECODER.decode(text)
        _check_tree(tree)
    except json.JSONDecodeError as error:
        raise FormatError(
            origin, f"malformed or truncated JSON ({error.msg})", f"line {error.lineno}"
        ) from None
    except _RefusedError as error:
        raise FormatError(origin, f"JSON refused: {error}") from None
    except RecursionError:
        raise FormatError(origin, f"JSON refused: nested deeper than {MAX_DEPTH}") from None
    return tree


_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)


def canonical(tree: object) -> bytes:
    """Write a tree in one way only: sorted keys, no blanks, UTF-8, no line end.

    Args:
        tree: Dicts with string keys, lists, tuples, strings, integers, booleans and None.

    Returns:
        The bytes to digest, sign or store.
    """
    return _CANONICAL.encode(tree).encode("utf-8")
