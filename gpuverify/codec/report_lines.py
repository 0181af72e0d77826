"""Many reports in one stream: JSON Lines, one envelope a line, in flat memory."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import BinaryIO

from gpuverify.codec.envelope_json import MAX_FILE_BYTES
from gpuverify.errors import FormatError, MissingInputError

_LINES_NAMES = (".jsonl", ".ndjson")
_BLOCK = 1 << 20
MAX_LINE_BYTES = 1 << 28
"""Longest line that is read over; a device that never ends has none."""


def iter_envelopes(path: str) -> Iterator[tuple[str, bytes]]:
    """Cut a file into envelopes: one JSON document, or JSON Lines.

    A file holds JSON Lines where it is called so, where its first line is a whole JSON object and
    others follow, or where its first two lines both look like one (the first may be damaged).

    Args:
        path: File name, "-" for standard input.

    Yields:
        Where it was read from, "FILE" or "FILE:LINE", and the bytes. At most one byte more than
        an envelope may have is kept of anything; `read_envelope` then says that it is too large.

    Raises:
        MissingInputError: No such file, or it cannot be read.
        FormatError: A line that does not end.
    """
    origin = "standard input" if path == "-" else path
    try:
        if path == "-":
            if sys.stdin is None:
                raise MissingInputError("standard input is closed")
            yield from _cut(sys.stdin.buffer, origin, named_lines=False)
            return
        with open(path, "rb") as file:  # noqa: PTH123 - a descriptor path keeps its meaning
            yield from _cut(file, origin, named_lines=path.lower().endswith(_LINES_NAMES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MissingInputError(f"{path}: {reason}") from None


def cut_envelopes(data: bytes, origin: str) -> Iterator[tuple[str, bytes]]:
    """Cut bytes that were read already into envelopes; see `iter_envelopes`.

    Args:
        data: The whole input.
        origin: What it was read from, for people.

    Yields:
        As `iter_envelopes`.
    """
    yield from _cut(io.BytesIO(data), origin, named_lines=False)


def _cut(file: BinaryIO, origin: str, *, named_lines: bool) -> Iterator[tuple[str, bytes]]:
    """Decide by the first lines, then cut."""
    lines = _lines(file, origin)
    first_number, first = next(lines, (1, b""))
    second_number, second = next(lines, (0, b""))
    if second_number == 0:
        yield (f"{origin}:{first_number}" if named_lines else origin), first
        return
    if named_lines or _whole_object(first) or (_looks_whole(first) and _looks_whole(second)):
        yield f"{origin}:{first_number}", first
        yield f"{origin}:{second_number}", second
        for number, line in lines:
            yield f"{origin}:{number}", line
        return
    whole = bytearray(first + b"\n" + second)
    for _, line in lines:
        whole += b"\n" + line
        if len(whole) > MAX_FILE_BYTES:
            break
    yield origin, bytes(whole[: MAX_FILE_BYTES + 1])


def _lines(file: BinaryIO, origin: str) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line that is not blank; an overlong one is cut."""
    number = 0
    while line := file.readline(MAX_FILE_BYTES + 1):
        number += 1
        if len(line) > MAX_FILE_BYTES and not line.endswith(b"\n"):
            _skip_line(file, number, origin)
            yield number, line  # whatever stands in it: it is too long for a report
        elif line.strip():
            yield number, line.rstrip(b"\r\n")


def _skip_line(file: BinaryIO, number: int, origin: str) -> None:
    """Read to the end of an overlong line; give up on one that does not seem to end."""
    left = MAX_LINE_BYTES
    while (rest := file.readline(_BLOCK)) and not rest.endswith(b"\n"):
        left -= len(rest)
        if left < 0:
            raise FormatError(
                origin,
                f"a line of more than {MAX_LINE_BYTES >> 20} MiB; give reports, one a line or file",
                f"line {number}",
            )


def _looks_whole(line: bytes) -> bool:
    """Say whether a line could be one JSON object."""
    line = line.strip()
    return line.startswith(b"{") and line.endswith(b"}")


def _whole_object(line: bytes) -> bool:
    """Say whether a line is one JSON object."""
    if not _looks_whole(line):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
