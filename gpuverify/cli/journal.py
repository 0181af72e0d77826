"""`gpuverify journal`: what was seen here, and when."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gpuverify.codec.journal_json import JournalLine
    from gpuverify.signing.journal import Entry, JournalState

_JOURNAL = click.option("--journal", metavar="FILE", help="Another journal than your own.")


@click.group("journal", short_help="Read and check the intake journal.")
def command() -> None:
    """Read and check the intake journal: what was verified here, and when.

    It proves to you, and to nobody else, that a report was here at a time, and that a challenge was
    answered. Each line holds the digest of the one before. Lines cut off at the end leave no trace
    in the file: write the head down elsewhere now and then.
    """


@command.command("show", short_help="List what was recorded.")
@click.option(
    "--last", type=click.IntRange(min=1, max=100_000), metavar="N", help="The last N entries only."
)
@_JOURNAL
def show(last: int | None, journal: str | None) -> int:
    """List what was recorded, oldest first. The file itself is JSON Lines, for other programs."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.signing.journal import Journal

    lines = Journal(journal).lines()
    for line in lines if last is None else deque(lines, maxlen=last):
        write_stdout(_line_text(line))
    return 0


@command.command("check", short_help="Check that no line was changed, taken out or moved.")
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="N:SHA256",
    help="A head that you wrote down: it has to stand in the journal. Repeatable.",
)
@_JOURNAL
def check(heads: tuple[str, ...], journal: str | None) -> int:
    """Check that no line was changed, taken out or moved, and print the head.

    Ends with 65 where the chain is broken, and where the last line is torn.
    """
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.signing.journal import Journal

    book = Journal(journal)
    state = book.check(heads)
    write_stdout(f"{state.head}\n")
    entries = "1 entry" if state.lines == 1 else f"{state.lines} entries"
    write_stderr(f"gpuverify: {book.origin}: the chain holds over {entries}")
    if state.set_aside:
        write_stderr(
            f"gpuverify: {state.set_aside} torn line(s) were set aside in files beside the journal"
        )
    if state.backwards:
        numbers = ", ".join(str(number) for number in state.backwards)
        write_stderr(
            f"gpuverify: the clock went backwards before line {numbers}; times up to there may be"
            " wrong"
        )
    if not heads:
        write_stderr(
            "gpuverify: whether lines were cut off at the end shows only with --head, a head that"
            " was written down"
        )
    return _torn(book.origin, state)


@command.command("head", short_help="Print number and digest of the last entry.")
@_JOURNAL
def head(journal: str | None) -> int:
    """Print number and digest of the last entry, for writing down elsewhere."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.signing.journal import Journal

    book = Journal(journal)
    if journal is not None:
        book.require_there()
    state = book.head()
    write_stdout(f"{state.head}\n")
    return _torn(book.origin, state)


@command.command("record", short_help="Record that report files came in.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_JOURNAL
def record(files: tuple[str, ...], journal: str | None) -> int:
    """Record that report files came in, before anybody looked into them.

    Nothing is verified. The entry shows later that these very bytes and signatures were here at
    this time, even if the key expires or is revoked afterwards.
    """
    from gpuverify.cli.boundary import Failure, guarded
    from gpuverify.cli.exit_codes import combine
    from gpuverify.cli.output import write_stderr
    from gpuverify.codec.text import printable
    from gpuverify.signing.journal import RECEIVED, Journal

    codes: list[int] = []
    entries: dict[str, Entry] = {}
    for path in files:
        outcome = guarded(partial(_read, path, entries))
        if isinstance(outcome, Failure):
            if outcome.exit_code == 130:
                raise KeyboardInterrupt
            shown = printable(path, 200)
            write_stderr(f"gpuverify: {shown}: {outcome.message.removeprefix(f'{shown}: ')}")
            codes.append(outcome.exit_code)
        else:
            codes.append(outcome)
    if not entries:
        return combine(codes)
    book = Journal(journal)
    written = book.append_all(
        entries.values(),
        unless=lambda _kind, fields: (
            book.first_received_s(str(fields["payload_sha256"]), str(fields["signature_sha256"]))
            is not None
        ),
    )
    for line in written:
        write_stderr(
            f"gpuverify: {RECEIVED}: {line.text('file')}, payload {line.text('payload_sha256')}"
        )
    if known := len(entries) - len(written):
        write_stderr(f"gpuverify: {known} recorded before")
    return combine(codes)


def _read(path: str, entries: dict[str, Entry]) -> int:
    """Note the envelopes of a file; 65 where one of them is none."""
    import hashlib

    from gpuverify.cli.output import write_stderr
    from gpuverify.codec.envelope_json import read_envelope
    from gpuverify.codec.report_lines import iter_envelopes
    from gpuverify.codec.text import printable
    from gpuverify.model.refusal import Refused
    from gpuverify.signing.journal import RECEIVED

    code = 0
    for origin, data in iter_envelopes(path):
        try:
            envelope = read_envelope(data, origin)
        except Refused as error:
            write_stderr(f"gpuverify: {printable(str(error), 400)}")
            code = 65
            continue
        payload = hashlib.sha256(envelope.payload).hexdigest()
        signature = hashlib.sha256(envelope.signature).hexdigest()
        entries.setdefault(
            payload + signature,
            (
                RECEIVED,
                {
                    "payload_sha256": payload,
                    "signature_sha256": signature,
                    "file": printable(origin, 200),
                },
            ),
        )
    return code


def _torn(origin: str, state: JournalState) -> int:
    """Say that the last line is torn; 65 if it is, else 0."""
    from gpuverify.cli.output import write_stderr

    if not state.torn_bytes:
        return 0
    write_stderr(
        f"gpuverify: {origin}: {state.torn_bytes} bytes behind line {state.lines} are no whole"
        " line: a crash cut it short, and no command reported it as written; the next entry sets"
        " them aside in a file of their own"
    )
    return 65


def _line_text(line: JournalLine) -> str:
    """Lay out one entry: number, time and kind, then what was recorded."""
    from gpuverify.codec.utc_time import utc_text

    fields = "".join(f"    {name} {value}\n" for name, value in sorted(line.fields.items()))
    return f"{line.seq}  {utc_text(line.time_s)}  {line.kind}\n{fields}"
