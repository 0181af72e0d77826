"""What of JSON every reader reads alike: each member once, whole numbers below 2^53.

The decoder behind the strict reading of envelopes and of what they carry.
"""

from __future__ import annotations

import json
from typing import Any

from gpuverify.codec.text import printable
from gpuverify.model.refusal import Refusal

MAX_INTEGER = 2**53 - 1
"""Largest magnitude of a number: what every JSON reader reads exactly (RFC 8259, section 6)."""


class OddError(ValueError):
    """Something that plain JSON allows and we do not.

    Attributes:
        refusal: Its code.
    """

    def __init__(self, refusal: Refusal, reason: str) -> None:
        """Keep the code beside the reason."""
        self.refusal = refusal
        super().__init__(reason)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a member that stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise OddError(Refusal.DUPKEY, f"member {printable(twice, 60)!r} stands twice")
    return result


def _integer(text: str) -> int:
    """Read an integer that every reader reads alike."""
    if len(text) > 17 or not -MAX_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        raise OddError(Refusal.JSON, f"the number {text[:30]} is beyond 2^53 - 1")
    return value


def _no_float(text: str) -> float:
    """Refuse a float: every quantity is an integer in its smallest unit."""
    raise OddError(Refusal.JSON, f"the number {text[:30]} is not an integer")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_no_float,
    parse_constant=_no_float,
    strict=True,
)
"""Reads a text; what is odd about it is an OddError."""
