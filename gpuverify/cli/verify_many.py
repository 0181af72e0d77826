"""Many signed documents: streamed in their order, on all cores, in flat memory.

What one document does, up to the death of the process that looks at it, stops no other. Ids that
come twice in one run are found here, with an index on the disk.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Generator, Iterator

from gpuverify.cli.verify_outcome import Outcome, Sighting, Unit, verify_and_lay_out
from gpuverify.cli.verify_pool import cores, laid_out
from gpuverify.cli.verifying import Asked, Bench, documents
from gpuverify.codec.report_units import Document, iter_units
from gpuverify.errors import GpuverifyError

RECORD_AT = 512
"""Accepted reports that are written into the journal at once."""


class RunMemory:
    """What this run has seen, on the disk, so that memory stays flat."""

    def __init__(self) -> None:
        """Open an index in a file without a name."""
        self._folder = tempfile.TemporaryDirectory(prefix="gpuverify-")
        self._index = sqlite3.connect(f"{self._folder.name}/seen")
        for line in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "PRAGMA cache_size=-2048",
            "CREATE TABLE seen (name TEXT PRIMARY KEY, payload TEXT) WITHOUT ROWID",
        ):
            self._index.execute(line)

    def close(self) -> None:
        """Take the index away."""
        self._index.close()
        self._folder.cleanup()

    def _get(self, name: str) -> str | None:
        """Look one name up."""
        row = self._index.execute("SELECT payload FROM seen WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def first_seen_s(self, payload_sha256: str, signature_sha256: str = "") -> int | None:  # noqa: ARG002
        """Return None: a run is no witness of time.

        Args:
            payload_sha256: Not used.
            signature_sha256: Not used.
        """
        return None

    def report_payload(self, report_id: str) -> str | None:
        """Return the payload digest seen under an id in this run.

        Args:
            report_id: The id.
        """
        return self._get(f"id:{report_id}")

    def challenge_use(self, nonce: bytes) -> str | None:
        """Return the payload digest that answered a challenge in this run.

        Args:
            nonce: Of the challenge.
        """
        return self._get(f"nonce:{nonce.hex()}")

    def note(self, sighting: Sighting) -> bool:
        """Remember a document. Returns whether it fits what was seen before.

        Args:
            sighting: What is remembered of it.
        """
        names = [f"id:{sighting.name}"]
        if sighting.nonce:
            names.append(f"nonce:{sighting.nonce}")
        fits = all(self._get(name) in (None, sighting.payload_sha256) for name in names)
        if fits:
            for name in names:
                self._index.execute(
                    "INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, sighting.payload_sha256)
                )
        return fits


def outcomes(
    files: tuple[str, ...], asked: Asked, bench: Bench, *, form: str, workers: int | None
) -> Generator[Outcome, None, None]:
    """Verify files and yield what came of each document, in their order.

    Args:
        files: File names; "-" for standard input.
        asked: What is asked, for other processes.
        bench: The same, opened.
        form: text, verbose, json or jsonl.
        workers: Processes, None for all cores.
    """
    processes = workers if workers is not None else cores()
    memory = RunMemory()
    try:
        known = bench.with_memory(memory)
        pending: list[Sighting] = []
        for unit, found in laid_out(_units(files), asked, bench, form, processes):
            settled = [_settle(o, unit, memory, known, form) for o in found]
            if asked.record and bench.journal is not None:
                settled = _record(settled, unit, known, form, pending)
            yield from settled
    finally:
        # Also where the reader of the answers went away or pressed Ctrl-C: what was said to be
        # accepted is written down.
        try:
            _write(pending, bench)
        finally:
            memory.close()


def _units(files: tuple[str, ...]) -> Iterator[Unit | GpuverifyError]:
    """Read the files; one that is missing is an entry of its own."""

    def read() -> Iterator[tuple[str, Document]]:
        for path in files:
            try:
                yield from documents((path,))
            except GpuverifyError as error:  # noqa: PERF203 - one bad file stops no other
                failed.append(error)

    failed: list[GpuverifyError] = []
    for unit in iter_units(read()):
        while failed:
            yield failed.pop(0)
        yield unit
    yield from failed


def _settle(outcome: Outcome, unit: Unit, memory: RunMemory, known: Bench, form: str) -> Outcome:
    """Hold an accepted document against what this run has seen before it."""
    if outcome.sighting is None or memory.note(outcome.sighting):
        return outcome
    return _again(outcome, unit, known, form)


def _again(outcome: Outcome, unit: Unit, known: Bench, form: str) -> Outcome:
    """Verify a document once more, now that it is known to contradict an earlier one."""
    found = verify_and_lay_out(unit, known, form, whole=bool(outcome.whole))
    return next((one for one in found if one.origin == outcome.origin), outcome)


def _record(
    settled: list[Outcome], unit: Unit, known: Bench, form: str, pending: list[Sighting]
) -> list[Outcome]:
    """Write accepted documents into the journal: at once where a challenge was answered."""
    accepted = [one.sighting for one in settled if one.sighting is not None]
    pending.extend(accepted)
    if len(pending) < RECORD_AT and not any(one.nonce for one in accepted):
        return settled
    clashing = _write(pending, known)
    return [
        _again(one, unit, known, form)
        if one.sighting is not None and one.sighting.payload_sha256 in clashing
        else one
        for one in settled
    ]


def _write(pending: list[Sighting], known: Bench) -> set[str]:
    """Write into the journal what fits it.

    Returns:
        Digests of what another process has contradicted in the meantime.
    """
    from gpuverify.signing.journal import VERIFIED

    journal = known.journal
    clashing: set[str] = set()
    if journal is None or not pending:
        return clashing

    def unless(_kind: str, fields: object) -> bool:
        entry = dict(fields)  # type: ignore[call-overload]
        payload, nonce = str(entry["payload_sha256"]), str(entry.get("nonce", ""))
        before = {journal.report_payload(str(entry["report_id"]))}
        if nonce:
            before.add(journal.challenge_use(bytes.fromhex(nonce)))
        if before - {None, payload}:
            clashing.add(payload)
            return True
        return before == {payload}

    entries = [
        (
            VERIFIED,
            {
                "payload_sha256": one.payload_sha256,
                "signature_sha256": one.signature_sha256,
                "report_id": one.name,
                "keyid": one.keyid,
                "origin": one.origin,
                **({"nonce": one.nonce} if one.nonce else {}),
            },
        )
        for one in pending
    ]
    journal.append_all(entries, now_s=known.world.now_s, unless=unless)
    pending.clear()
    return clashing
