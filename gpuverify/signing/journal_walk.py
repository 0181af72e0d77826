"""Going through a journal from line to line, and where it then stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gpuverify.codec.journal_json import (
    FIRST_PREVIOUS,
    MAX_LINE_BYTES,
    SET_ASIDE,
    BrokenLineError,
    JournalLine,
    read_line,
)
from gpuverify.model.refusal import Refusal, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """Where a journal stands.

    Attributes:
        lines: Whole lines.
        head_sha256: Digest of the last one; 64 zeros in an empty journal.
        time_s: Time of the last one, seconds since 1970; None in an empty journal.
        torn_bytes: Length of a last line that a crash cut short, 0 where there is none. No
            command reported it as written.
        set_aside: How many such lines were set aside before.
        backwards: Numbers of the first few lines with an earlier time than the line before.
    """

    lines: int = 0
    head_sha256: str = FIRST_PREVIOUS
    time_s: int | None = None
    torn_bytes: int = 0
    set_aside: int = 0
    backwards: tuple[int, ...] = ()

    @property
    def head(self) -> str:
        """Number and digest of the last line, for writing down."""
        return f"{self.lines}:{self.head_sha256}"


class Walk:
    """One pass over the lines of a journal: the chain is checked as they come by.

    Attributes:
        lines: Whole lines so far.
        head: Digest of the last of them.
        time_s: Its time, seconds since 1970; None before the first.
        offset: Bytes so far.
        set_aside: Lines so far that stand for a torn one.
        backwards: Numbers of the first few lines with an earlier time than the line before.
    """

    def __init__(self, origin: str) -> None:
        """Begin before the first line; `origin` is for messages."""
        self.origin = origin
        self.lines = 0
        self.head = FIRST_PREVIOUS
        self.time_s: int | None = None
        self.offset = 0
        self.set_aside = 0
        self.backwards: tuple[int, ...] = ()

    def over(self, file: BinaryIO, end: int) -> Iterator[JournalLine]:
        """Yield the whole lines from `offset` on; a torn last one stays unread.

        Args:
            file: The journal.
            end: Where it ended while nobody wrote, in bytes.

        Raises:
            Refused: E_TRUST, where the chain breaks.
        """
        file.seek(self.offset)
        while raw := file.readline(MAX_LINE_BYTES + 1):
            if self.offset + len(raw) > end:
                return
            if not raw.endswith(b"\n"):
                while len(raw) > MAX_LINE_BYTES:
                    raw = file.readline(MAX_LINE_BYTES + 1)
                    if raw.endswith(b"\n"):
                        raise self._refuse(f"a line longer than {MAX_LINE_BYTES} bytes")
                return
            yield self._take(raw)

    def _take(self, raw: bytes) -> JournalLine:
        """Check one line, with its line feed, against the chain."""
        try:
            line = read_line(raw[:-1])
        except BrokenLineError as error:
            raise self._refuse(str(error)) from None
        if line.seq != self.lines + 1 or line.previous_sha256 != self.head:
            raise self._refuse(
                f"what stands there (line {line.seq} by its own words) does not follow it; lines"
                " were taken out, put in or moved"
            )
        if self.time_s is not None and line.time_s < self.time_s and len(self.backwards) < 10:
            self.backwards += (line.seq,)
        self.lines, self.head, self.time_s = line.seq, line.sha256, line.time_s
        self.offset += len(raw)
        self.set_aside += line.kind == SET_ASIDE
        return line

    def state(self, end: int) -> JournalState:
        """Say where the journal stands after a pass.

        Args:
            end: Its length in bytes.
        """
        return JournalState(
            lines=self.lines,
            head_sha256=self.head,
            time_s=self.time_s,
            torn_bytes=end - self.offset,
            set_aside=self.set_aside,
            backwards=self.backwards,
        )

    def _refuse(self, why: str) -> Refused:
        """Build the refusal of a broken chain."""
        return Refused(
            Refusal.TRUST,
            f"{self.origin}: the chain breaks behind line {self.lines}: {why}; take the file from a"
            " copy, and find out who wrote to it",
        )
