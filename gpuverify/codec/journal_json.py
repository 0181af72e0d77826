"""The lines of the intake journal: canonical JSON, each with the digest of the line before.

A line is written in one way only, so that what was read is compared with it byte by byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpuverify.codec import strict_json
from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_seconds, utc_text
from gpuverify.errors import FormatError

MAX_LINE_BYTES = 16 * 1024
"""Longest line; a report leaves one of some 600 bytes."""

FIRST_PREVIOUS = "0" * 64
"""What the first line names as the digest of the line before it."""

SET_ASIDE = "set-aside"
"""Kind of the line that stands in the place of one which a crash cut short."""

_MAX_TEXT_CHARS = 2_000
_KIND = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FRAME = frozenset({"seq", "time", "kind", "previous_sha256", "sha256"})


class BrokenLineError(ValueError):
    """A line that is not one of the journal's; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One entry.

    Attributes:
        seq: Its number, from 1 without gaps.
        time_s: When it was written, seconds since 1970, by the clock of the machine.
        kind: What it records.
        previous_sha256: Digest of the line before.
        fields: What is recorded: texts and integers.
        sha256: Digest of this line.
    """

    seq: int
    time_s: int
    kind: str
    previous_sha256: str
    fields: Mapping[str, str | int]
    sha256: str

    def text(self, name: str) -> str:
        """Return a text member; "" where the line has none.

        Args:
            name: The member.
        """
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""


def is_digest(text: str) -> bool:
    """Say whether a text is a SHA-256 digest in lower-case hexadecimal.

    Args:
        text: The text.
    """
    return _DIGEST.fullmatch(text) is not None


def write_line(
    *,
    seq: int,
    time_s: int,
    kind: str,
    previous_sha256: str,
    fields: Mapping[str, str | int],
) -> tuple[bytes, str]:
    """Write one line.

    Args:
        seq: Its number.
        time_s: Seconds since 1970.
        kind: Lower-case word.
        previous_sha256: Digest of the line before.
        fields: Members with lower-case names; texts without control characters, and integers.

    Returns:
        The line with its line feed, and its digest.

    Raises:
        ValueError: A kind, name or value that cannot stand in a line.
    """
    body: dict[str, str | int] = {
        **fields,
        "seq": seq,
        "time": utc_text(time_s),
        "kind": kind,
        "previous_sha256": previous_sha256,
    }
    if not _KIND.fullmatch(kind) or _FRAME & set(fields):
        msg = f"not a kind of journal line, or a member that every line has: {kind!r}"
        raise ValueError(msg)
    for name, value in fields.items():
        if fault := _fault(name, value):
            msg = f"journal member {name!r}: {fault}"
            raise ValueError(msg)
    digest = _digest(body)
    line = strict_json.canonical({**body, "sha256": digest}) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        msg = f"a journal line has at most {MAX_LINE_BYTES} bytes"
        raise ValueError(msg)
    return line, digest


def read_line(line: bytes) -> JournalLine:
    """Read one line and check it against its own digest.

    Args:
        line: The line without its line feed.

    Raises:
        BrokenLineError: It is not written as `write_line` writes, or was changed since.
    """
    if len(line) >= MAX_LINE_BYTES:
        raise BrokenLineError(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        tree = strict_json.loads(line, "line")
    except FormatError as error:
        raise BrokenLineError(str(error).removeprefix("line: ")) from None
    if not isinstance(tree, dict) or not tree.keys() >= _FRAME:
        raise BrokenLineError("not an entry of a journal")
    if strict_json.canonical(tree) != line:
        raise BrokenLineError("not written as gpuverify writes; it was edited")
    digest = tree.pop("sha256")
    if _digest(tree) != digest:
        raise BrokenLineError("its digest is not that of its content; it was edited")
    seq, time, kind = tree.pop("seq"), tree.pop("time"), tree.pop("kind")
    previous = tree.pop("previous_sha256")
    time_s = utc_seconds(time) if isinstance(time, str) else None
    if (
        type(seq) is not int
        or time_s is None
        or not (isinstance(kind, str) and _KIND.fullmatch(kind))
        or not (isinstance(previous, str) and _DIGEST.fullmatch(previous))
    ):
        raise BrokenLineError("its number, time, kind or chain is of another form")
    for name, value in tree.items():
        if fault := _fault(name, value):
            raise BrokenLineError(f"member {printable(name, 40)!r}: {fault}")
    return JournalLine(
        seq=seq, time_s=time_s, kind=kind, previous_sha256=previous, fields=tree, sha256=digest
    )


def _digest(body: Mapping[str, object]) -> str:
    """Return the digest of a line: of its canonical form without the digest itself."""
    return hashlib.sha256(strict_json.canonical(body)).hexdigest()


def _fault(name: str, value: object) -> str:
    """Say why a member cannot stand in a line; "" if it can."""
    if not _NAME.fullmatch(name):
        return "the name has to be lower-case letters, digits and underscores"
    if isinstance(value, str):
        if len(value) > _MAX_TEXT_CHARS:
            return f"longer than {_MAX_TEXT_CHARS} characters"
        return "" if value.isprintable() else "a control or invisible character"
    if type(value) is int and -(2**53) < value < 2**53:
        return ""
    return "neither a text nor an integer below 2^53"
