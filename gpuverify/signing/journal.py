"""The intake journal: what was seen when, each line chained to the one before.

It answers three questions for a verification: since when is this report known here, was this
report id seen with other content, was this challenge used. Whoever may write the file can write it
anew from the start; the head, written down elsewhere, is what shows that (`journal check --head`).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from gpuverify.codec.journal_json import (
    SET_ASIDE,
    JournalLine,
    is_digest,
    write_line,
)
from gpuverify.codec.text import printable
from gpuverify.errors import MissingInputError, OutputError, UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.home import config_dir, ensure_private_dir
from gpuverify.signing.journal_walk import JournalState, Walk
from gpuverify.signing.trust_store_file import (
    replace_file,
    require_private,
    sync_folder,
    take_lock,
)

__all__ = [
    "RECEIVED",
    "VERIFIED",
    "Entry",
    "Fields",
    "Journal",
    "JournalLine",
    "JournalState",
    "default_path",
]

FILE_NAME = "journal.jsonl"

RECEIVED = "received"
"""Kind: a file came in, nothing verified. Members: payload_sha256, signature_sha256."""

VERIFIED = "verified"
"""Kind: a signature verified. Members: payload_sha256, signature_sha256, report_id, keyid, and
nonce (hexadecimal) where a challenge was answered; others for people."""

Fields = Mapping[str, "str | int"]
Entry = tuple[str, Fields]


def default_path() -> Path:
    """Return where the user's own journal is, whether it exists or not."""
    return config_dir() / FILE_NAME


class Journal:
    """An append-only file of chained lines.

    Look-ups read what was added since the last one, and check the chain on the way.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Name the journal; nothing is opened or made yet.

        Args:
            path: The file; the user's own where None.
        """
        self.path = default_path() if path is None else Path(path)
        self.origin = printable(str(self.path), 200)
        self._walk = Walk(self.origin)
        self._inode: tuple[int, int] | None = None
        self._held = False
        self._seen: dict[bytes, int] = {}  # payload digest of a verified report -> time
        self._files: dict[bytes, int] = {}  # digest of payload and signature digests -> time
        self._reports: dict[str, str] = {}
        self._nonces: dict[str, str] = {}

    def require_there(self) -> None:
        """Refuse a journal that is not there: of a named one that is a slip, not an empty journal.

        Raises:
            MissingInputError: There is no such file.
        """
        if not self.path.exists():
            raise MissingInputError(f"{self.origin}: no such journal; check the name")

    def first_seen_s(self, payload_sha256: str, signature_sha256: str = "") -> int | None:
        """Say since when a signed report is known here.

        A line of a file that nobody verified counts only for the same signature: otherwise a key
        that is stolen later could sign bytes that were there before.

        Args:
            payload_sha256: Digest of the payload bytes.
            signature_sha256: Digest of the raw signature bytes; "" where only lines of verified
                reports are to count.

        Returns:
            Time of the first line, seconds since 1970; None where there is none.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on.
        """
        self._refresh()
        times = [self._seen.get(_key(payload_sha256))]
        if signature_sha256:
            times.append(self._files.get(_key(payload_sha256, signature_sha256)))
        return min((moment for moment in times if moment is not None), default=None)

    def first_received_s(self, payload_sha256: str, signature_sha256: str) -> int | None:
        """Say since when an unverified file of this payload and signature is known here.

        Args:
            payload_sha256: Digest of the payload bytes.
            signature_sha256: Digest of the raw signature bytes.

        Returns:
            Time of the first line, seconds since 1970; None where there is none.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on.
        """
        self._refresh()
        return self._files.get(_key(payload_sha256, signature_sha256))

    def report_payload(self, report_id: str) -> str | None:
        """Return the payload digest under which a report id was verified first; None if never.

        Args:
            report_id: The id.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on.
        """
        self._refresh()
        return self._reports.get(report_id)

    def challenge_use(self, nonce: bytes) -> str | None:
        """Return the payload digest of the report that answered a challenge; None if none did.

        Args:
            nonce: The nonce of the challenge.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on.
        """
        self._refresh()
        return self._nonces.get(nonce.hex())

    def lines(self) -> Iterator[JournalLine]:
        """Yield all lines from the first on, in flat memory.

        Raises:
            Refused: E_TRUST, where the chain breaks.
            MissingInputError: There is no journal.
        """
        with self._reading(missing_ok=False) as file:
            if file is not None:
                yield from Walk(self.origin).over(*file)

    def check(self, heads: Sequence[str] = ()) -> JournalState:
        """Check the whole chain in one pass and flat memory.

        Lines cut off at the end leave no trace in the file itself: only a head that was written
        down shows them.

        Args:
            heads: Heads that were written down, "NUMBER:SHA256"; each has to stand in the journal.

        Returns:
            Where it stands.

        Raises:
            Refused: E_TRUST: edited, cut in the middle, reordered, or without one of the heads.
            MissingInputError: There is no journal.
            UsageError: A head is not written like one.
        """
        wanted = dict(_read_head(head) for head in heads)
        with self._reading(missing_ok=False) as file:
            walk = Walk(self.origin)
            if file is None:
                return JournalState()
            for line in walk.over(*file):
                if wanted.get(line.seq, line.sha256) != line.sha256:
                    raise Refused(
                        Refusal.TRUST,
                        f"{self.origin}: line {line.seq} is not the one whose head was written"
                        " down; the journal was written anew",
                    )
            state = walk.state(file[1])
        missing = [number for number in wanted if number > state.lines]
        if missing:
            raise Refused(
                Refusal.TRUST,
                f"{self.origin}: ends with line {state.lines}, but the head of line {max(missing)}"
                " was written down; lines were cut off",
            )
        return state

    def head(self) -> JournalState:
        """Return where the journal stands; an absent one is empty.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on.
        """
        with self._reading(missing_ok=True) as file:
            if file is None:
                return JournalState()
            self._catch_up(*file)
            return self._walk.state(file[1])

    def append(self, kind: str, fields: Fields, *, now_s: int | None = None) -> JournalLine:
        """Add one line; it is on the disk when this returns.

        Args:
            kind: What it records.
            fields: Texts and integers.
            now_s: Seconds since 1970; the clock of the machine where None.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on, so nothing is added to it.
            OutputError: It cannot be written.
            ValueError: A kind or member that cannot stand in a line.
        """
        return self.append_all([(kind, fields)], now_s=now_s)[0]

    def append_all(
        self,
        entries: Iterable[Entry],
        *,
        now_s: int | None = None,
        unless: Callable[[str, Fields], bool] | None = None,
    ) -> tuple[JournalLine, ...]:
        """Add many lines with one lock and one write to the disk.

        Args:
            entries: Kind and members of each.
            now_s: Seconds since 1970; the clock of the machine where None.
            unless: Asked before each line, while no other process can write: True leaves it out.
                It may look things up here; lines of this call count already.

        Returns:
            The lines as written.

        Raises:
            Refused: E_TRUST: the journal cannot be relied on, so nothing is added to it.
            OutputError: It cannot be written.
            ValueError: A kind or member that cannot stand in a line.
        """
        moment = int(time.time()) if now_s is None else now_s
        ensure_private_dir(self.path.parent)
        with self._writing() as file:
            self._catch_up(file, _size(file))
            written: list[JournalLine] = []
            parts: list[bytes] = []
            done = False
            try:
                for kind, fields in chain(self._set_aside(file), entries):
                    if unless is not None and kind != SET_ASIDE and unless(kind, fields):
                        continue
                    parts.append(self._next(kind, fields, moment, written))
                    self._note(written[-1])
                self._write(file, b"".join(parts))
                done = True
            finally:
                if not done:
                    self._forget()  # what was noted never reached the file
            self._catch_up(file, _size(file))
        return tuple(line for line in written if line.kind != SET_ASIDE)

    def _next(self, kind: str, fields: Fields, time_s: int, written: list[JournalLine]) -> bytes:
        """Write the line that follows those written, or else the last one of the file."""
        last = written[-1] if written else None
        seq = (last.seq if last else self._walk.lines) + 1
        previous = last.sha256 if last else self._walk.head
        raw, digest = write_line(
            seq=seq, time_s=time_s, kind=kind, previous_sha256=previous, fields=fields
        )
        line = JournalLine(
            seq=seq,
            time_s=time_s,
            kind=kind,
            previous_sha256=previous,
            fields=dict(fields),
            sha256=digest,
        )
        written.append(line)
        return raw

    def _set_aside(self, file: BinaryIO) -> list[Entry]:
        """Take the torn end of a line away, keeping it in a file of its own.

        Only the holder of the lock comes here, so nobody is still writing that line; and its
        writer died before it said that it was written.
        """
        torn = _size(file) - self._walk.offset
        if not torn:
            return []
        file.seek(self._walk.offset)
        content = file.read(torn)
        digest = hashlib.sha256(content).hexdigest()
        beside = self.path.with_name(f"{self.path.name}.torn-{digest[:16]}")
        replace_file(beside, content)
        try:
            os.ftruncate(file.fileno(), self._walk.offset)
        except OSError as error:
            raise self._unwritable(error) from error
        return [(SET_ASIDE, {"bytes": torn, "torn_sha256": digest, "file": beside.name})]

    def _write(self, file: BinaryIO, data: bytes) -> None:
        """Append and bring to the disk; what could not be written whole is taken back."""
        descriptor = file.fileno()
        try:
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._walk.offset)
                raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        """Say that nothing was added, and why."""
        return OutputError(f"cannot write {self.origin}: {error.strerror or error}")

    @contextmanager
    def _writing(self) -> Iterator[BinaryIO]:
        """Open for appending, made where there is none, as the only one who reads or writes."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        with os.fdopen(descriptor, "r+b", buffering=0) as raw, io.BufferedReader(raw) as file:
            take_lock(descriptor, fcntl.LOCK_EX, self.path)
            try:
                require_private(self.path)
                if not _size(file):
                    sync_folder(self.path.parent)
            except OSError as error:
                raise self._unwritable(error) from error
            self._held = True
            try:
                yield file
            finally:
                self._held = False

    @contextmanager
    def _reading(self, *, missing_ok: bool) -> Iterator[tuple[BinaryIO, int] | None]:
        """Open for reading, up to where it ended while nobody wrote; None without a journal.

        What stands before that end never changes, so the lock is given back at once: a reader that
        takes its time stops no writer.
        """
        try:
            require_private(self.path)
            file = self.path.open("rb")
        except FileNotFoundError:
            if not missing_ok:
                raise MissingInputError(f"{self.origin}: no such journal") from None
            yield None
            return
        except OSError as error:
            raise MissingInputError(f"{self.origin}: {error.strerror or error}") from error
        with file:
            take_lock(file.fileno(), fcntl.LOCK_SH, self.path)
            end = _size(file)
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
            yield file, end

    def _refresh(self) -> None:
        """Read what was added since the last look-up."""
        if self._held:
            return  # everything was read when the lock was taken
        with self._reading(missing_ok=True) as file:
            if file is not None:
                self._catch_up(*file)

    def _catch_up(self, file: BinaryIO, end: int) -> None:
        """Read and note the lines that were added, the chain checked on the way."""
        status = os.fstat(file.fileno())
        inode = (status.st_dev, status.st_ino)
        if self._walk.lines and (inode != self._inode or end < self._walk.offset):
            raise Refused(
                Refusal.TRUST,
                f"{self.origin}: was replaced or cut short while it was in use; check it with"
                " `gpuverify journal check --head`",
            )
        self._inode = inode
        if end > self._walk.offset:
            for line in self._walk.over(file, end):
                self._note(line)

    def _note(self, line: JournalLine) -> None:
        """Keep what look-ups ask for; the first line of a kind counts."""
        payload = line.text("payload_sha256")
        if line.kind == RECEIVED:
            self._files.setdefault(_key(payload, line.text("signature_sha256")), line.time_s)
        elif line.kind == VERIFIED:
            self._seen.setdefault(_key(payload), line.time_s)
            if report_id := line.text("report_id"):
                self._reports.setdefault(report_id, payload)
            if nonce := line.text("nonce"):
                self._nonces.setdefault(nonce, payload)

    def _forget(self) -> None:
        """Begin anew with the next look-up."""
        self._walk = Walk(self.origin)
        self._inode = None
        for index in (self._seen, self._files, self._reports, self._nonces):
            index.clear()


def _size(file: BinaryIO) -> int:
    """Return how long a file is now."""
    return os.fstat(file.fileno()).st_size


def _key(*digests: str) -> bytes:
    """Fold digests into one short key."""
    return hashlib.sha256(" ".join(digests).encode()).digest()


def _read_head(text: str) -> tuple[int, str]:
    """Read a head as `JournalState.head` writes it."""
    number, _, digest = text.strip().partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 16) or not is_digest(digest):
        raise UsageError(
            f"{printable(text, 100)!r} is no head; give NUMBER:SHA256 as `gpuverify journal head`"
            " prints it"
        )
    return int(number), digest
