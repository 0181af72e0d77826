"""The intake journal: chained, append-only, whole after a crash, one writer at a time."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec.journal_json import MAX_LINE_BYTES, BrokenLineError, read_line, write_line
from gpuverify.errors import MissingInputError, OutputError, UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.journal import RECEIVED, VERIFIED, Journal, JournalState

ONE, TWO, THREE = (hashlib.sha256(text).hexdigest() for text in (b"1", b"2", b"3"))
NONCE = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of four entries."""
    file = tmp_path / "journal.jsonl"
    book = Journal(file)
    book.append(RECEIVED, {"payload_sha256": ONE, "signature_sha256": TWO}, now_s=1000)
    book.append_all(
        [
            (VERIFIED, {"payload_sha256": ONE, "report_id": "r-1", "nonce": NONCE.hex()}),
            (VERIFIED, {"payload_sha256": TWO, "report_id": "r-2", "remark": "äé 采"}),
        ],
        now_s=2000,
    )
    book.append(VERIFIED, {"payload_sha256": THREE, "report_id": "r-1", "count": 7}, now_s=3000)
    return file


def broken(path: Path, *words: str) -> None:
    """Every way of reading refuses it, and nothing is added to it."""
    before = path.read_bytes()
    for call in (
        Journal(path).check,
        Journal(path).head,
        lambda: list(Journal(path).lines()),
        lambda: Journal(path).first_seen_s(ONE),
        lambda: Journal(path).append("note", {}),
    ):
        with pytest.raises(Refused) as caught:
            call()
        assert caught.value.refusal is Refusal.TRUST
        assert "the chain breaks behind line" in caught.value.reason
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in caught.value.reason
    assert path.read_bytes() == before


def test_look_ups(path: Path) -> None:
    book = Journal(path)
    assert [book.first_seen_s(digest) for digest in (ONE, TWO, THREE)] == [2000, 2000, 3000]
    assert book.first_seen_s(hashlib.sha256(b"4").hexdigest()) is None
    assert book.report_payload("r-1") == ONE  # the first one, whatever came later
    assert book.report_payload("r-2") == TWO
    assert book.report_payload("r-3") is None
    assert book.challenge_use(NONCE) == ONE
    assert book.challenge_use(bytes(32)) is None


def test_a_file_that_nobody_verified_counts_for_its_own_signature_alone(path: Path) -> None:
    """Else a key stolen later could sign bytes that were there before."""
    book = Journal(path)
    assert book.first_seen_s(ONE, TWO) == 1000
    assert book.first_seen_s(ONE, THREE) == 2000
    assert book.first_received_s(ONE, THREE) is None
    book.append(RECEIVED, {"payload_sha256": THREE, "report_id": "r-9", "nonce": "00" * 32})
    assert book.report_payload("r-9") is None
    assert book.challenge_use(bytes(32)) is None


def test_a_journal_that_is_not_there_knows_nothing(tmp_path: Path) -> None:
    book = Journal(tmp_path / "home" / "journal.jsonl")
    assert book.first_seen_s(ONE) is None
    assert book.challenge_use(NONCE) is None
    assert book.head() == JournalState()
    assert not (tmp_path / "home").exists()
    with pytest.raises(MissingInputError):
        book.check()
    with pytest.raises(MissingInputError):
        list(book.lines())
    book.append("note", {"text": "x"})
    assert book.check().lines == 1
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert book.path.stat().st_mode & 0o777 == 0o600


def test_lines_are_plain_json_with_digests_that_anybody_can_compute(path: Path) -> None:
    previous = "0" * 64
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        line = json.loads(raw)
        digest = line.pop("sha256")
        assert line["seq"] == number
        assert line["previous_sha256"] == previous
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == digest
        previous = digest
    assert Journal(path).check().head == f"4:{previous}"
    assert [line.time_s for line in Journal(path).lines()] == [1000, 2000, 2000, 3000]


def change(line: bytes, name: str, value: object) -> bytes:
    tree = {**json.loads(line), name: value}
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def resealed(line: bytes, name: str, value: object) -> bytes:
    """Edit a line and mend its own digest."""
    tree = json.loads(change(line, name, value))
    del tree["sha256"]
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return change(text.encode(), "sha256", hashlib.sha256(text.encode()).hexdigest())


EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "first line cut": lambda ls: ls[1:],
    "middle line cut": lambda ls: [*ls[:1], *ls[2:]],
    "two lines swapped": lambda ls: [ls[0], ls[2], ls[1], ls[3]],
    "a line twice": lambda ls: [*ls[:2], ls[1], *ls[2:]],
    "a line blanked": lambda ls: [ls[0], b"", *ls[2:]],
    "an empty line between": lambda ls: [*ls[:2], b"", *ls[2:]],
    "time edited": lambda ls: [change(ls[0], "time", "1970-01-01T00:00:01Z"), *ls[1:]],
    "time edited, digest mended": lambda ls: [
        resealed(ls[0], "time", "1970-01-01T00:00:01Z"),
        *ls[1:],
    ],
    "member added": lambda ls: [*ls[:2], change(ls[2], "extra", "x"), ls[3]],
    "chain edited": lambda ls: [*ls[:2], resealed(ls[2], "previous_sha256", "1" * 64), ls[3]],
    "number edited": lambda ls: [*ls[:2], resealed(ls[2], "seq", 9), ls[3]],
    "number as a text": lambda ls: [*ls[:2], resealed(ls[2], "seq", "3"), ls[3]],
    "number as a boolean": lambda ls: [resealed(ls[0], "seq", True), *ls[1:]],
    "last line edited": lambda ls: [*ls[:3], change(ls[3], "count", 8)],
    "last line made nonsense": lambda ls: [*ls[:3], b"nonsense"],
    "blanks between members": lambda ls: [ls[0].replace(b",", b", "), *ls[1:]],
    "member twice": lambda ls: [ls[0].replace(b"{", b'{"seq":1,', 1), *ls[1:]],
    "carriage returns": lambda ls: [line + b"\r" for line in ls],
    "byte order mark": lambda ls: [b"\xef\xbb\xbf" + ls[0], *ls[1:]],
    "not UTF-8": lambda ls: [ls[0].replace(b"received", b"rec\xff"), *ls[1:]],
    "a very long line": lambda ls: [ls[0], b'"' + b"x" * (3 * MAX_LINE_BYTES) + b'"', *ls[1:]],
    "an array": lambda ls: [b"[]", *ls[1:]],
    "a float": lambda ls: [*ls[:3], change(ls[3], "count", 7.0)],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_changed_journal_is_refused(path: Path, edit: str) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in EDITS[edit](lines)))
    broken(path)


def test_every_flipped_bit_of_a_whole_line_is_seen(path: Path) -> None:
    good = path.read_bytes()
    end = good.rindex(b"\n", 0, -1)  # in the last line, a lost line feed looks like a crash
    for position in range(0, end, 11):
        bent = bytearray(good)
        bent[position] ^= 1
        path.write_bytes(bent)
        with pytest.raises(Refused):
            Journal(path).check()


def test_what_is_cut_off_at_the_end_shows_with_a_head_alone(path: Path) -> None:
    head = Journal(path).head().head
    early = f"1:{next(Journal(path).lines()).sha256}"
    assert Journal(path).check([head, early]).lines == 4
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert Journal(path).check().lines == 2
    assert Journal(path).check([early]).lines == 2
    with pytest.raises(Refused, match="ends with line 2, but the head of line 4"):
        Journal(path).check([head])
    book = Journal(path)
    for number in range(3):
        book.append("note", {"number": number})
    with pytest.raises(Refused, match="line 4 is not the one whose head was written down"):
        Journal(path).check([early, head])
    for bad in ("", "4", "4:", f"x:{ONE}", f"4:{ONE[:-1]}", f"-4:{ONE}", f"4:{ONE.upper()}"):
        with pytest.raises(UsageError, match="is no head"):
            Journal(path).check([bad])


@pytest.mark.parametrize("keep", [1, 50, 200, -1])
def test_a_torn_last_line_loses_nothing_and_blocks_nothing(path: Path, keep: int) -> None:
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    torn = last[:keep]
    before = whole.removesuffix(last)
    path.write_bytes(before + torn)
    book = Journal(path)
    state = book.check()
    assert (state.lines, state.torn_bytes, state.set_aside) == (3, len(torn), 0)
    assert book.head().torn_bytes == len(torn)
    assert book.report_payload("r-2") == TWO
    assert path.read_bytes() == before + torn  # reading mends nothing
    written = book.append("note", {"text": "after"}, now_s=4000)
    assert written.seq == 5
    state = Journal(path).check()
    assert (state.lines, state.torn_bytes, state.set_aside) == (5, 0, 1)
    assert path.read_bytes().startswith(before)
    marker = list(Journal(path).lines())[3]
    assert (marker.kind, marker.fields["bytes"]) == ("set-aside", len(torn))
    kept = path.parent / marker.text("file")
    assert kept.read_bytes() == torn
    assert kept.stat().st_mode & 0o777 == 0o600
    assert marker.text("torn_sha256") == hashlib.sha256(torn).hexdigest()
    assert book.report_payload("r-2") == TWO


def test_a_torn_end_of_zeros_or_of_any_length(path: Path) -> None:
    """What a power cut leaves on some file systems."""
    whole = path.read_bytes()
    for tail in (b"\0" * 10, b"\0" * 3 * MAX_LINE_BYTES, b"x" * (MAX_LINE_BYTES + 1)):
        path.write_bytes(whole + tail)
        assert Journal(path).check().torn_bytes == len(tail)
        Journal(path).append("note", {})
        assert Journal(path).check().lines == 6
        assert Journal(path).head().torn_bytes == 0


def test_only_a_torn_line_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind"')
    path.chmod(0o600)
    assert Journal(path).head().torn_bytes == 7
    Journal(path).append("note", {})
    assert Journal(path).check().lines == 2


def test_a_clock_that_went_back_is_said(path: Path) -> None:
    Journal(path).append("note", {}, now_s=2500)
    Journal(path).append("note", {}, now_s=2600)
    assert Journal(path).check().backwards == (5,)


def test_a_journal_that_others_may_write_is_refused(path: Path) -> None:
    for target, mode in ((path, 0o620), (path, 0o602), (path.parent, 0o770)):
        old = target.stat().st_mode & 0o777
        target.chmod(mode)
        for call in (Journal(path).check, lambda: Journal(path).first_seen_s(ONE)):
            with pytest.raises(Refused, match="others on this machine"):
                call()
        with pytest.raises((Refused, OutputError), match="others"):
            Journal(path).append("note", {})
        target.chmod(old)
    assert Journal(path).check().lines == 4


@pytest.mark.parametrize(
    ("kind", "fields", "word"),
    [
        ("Note", {}, "not a kind"),
        ("", {}, "not a kind"),
        ("note", {"seq": 1}, "every line has"),
        ("note", {"sha256": "x"}, "every line has"),
        ("note", {"Text": "x"}, "lower-case"),
        ("note", {"text": "a\nb"}, "control"),
        ("note", {"text": "\u202e"}, "invisible"),
        ("note", {"text": "\ud800"}, "invisible"),
        ("note", {"text": "x" * 2001}, "2000"),
        ("note", {"number": 2**53}, "integer"),
        ("note", {"flag": True}, "integer"),
        ("note", {f"n{number}": "x" * 2000 for number in range(9)}, "at most"),
    ],
)
def test_what_cannot_stand_in_a_line(
    path: Path, kind: str, fields: dict[str, str], word: str
) -> None:
    before = path.read_bytes()
    book = Journal(path)
    with pytest.raises(ValueError, match=word):
        book.append_all([("note", {"text": "good", "report_id": "x"}), (kind, fields)])
    assert path.read_bytes() == before
    assert book.append("note", {}).seq == 5


def test_a_batch_decides_entry_by_entry_under_the_lock(path: Path) -> None:
    book = Journal(path)

    def known(_kind: str, fields: object) -> bool:
        assert isinstance(fields, dict)
        return book.report_payload(fields["report_id"]) is not None

    entries = [
        (VERIFIED, {"payload_sha256": THREE, "report_id": report})
        for report in ("r-1", "r-8", "r-8")
    ]
    assert [line.text("report_id") for line in book.append_all(entries, unless=known)] == ["r-8"]
    assert Journal(path).check().lines == 5
    assert book.append_all([]) == ()


def test_a_failing_batch_leaves_no_trace_in_memory(path: Path) -> None:
    book = Journal(path)
    with pytest.raises(ValueError, match="not a kind"):
        book.append_all([(VERIFIED, {"payload_sha256": TWO, "report_id": "r-7"}), ("BAD", {})])
    assert book.report_payload("r-7") is None
    assert book.report_payload("r-2") == TWO


def test_look_ups_see_what_other_processes_added_and_read_it_once(path: Path) -> None:
    book = Journal(path)
    assert book.report_payload("r-5") is None
    Journal(path).append(VERIFIED, {"payload_sha256": TWO, "report_id": "r-5"})
    assert book.report_payload("r-5") == TWO
    other = pickle.loads(pickle.dumps(book))  # noqa: S301 - to other processes of ours
    assert other.report_payload("r-5") == TWO


def test_a_journal_that_is_exchanged_while_in_use_is_refused(path: Path) -> None:
    book = Journal(path)
    assert book.report_payload("r-2") == TWO
    content = path.read_bytes()
    path.write_bytes(content.splitlines(keepends=True)[0])
    with pytest.raises(Refused, match="replaced or cut short"):
        book.report_payload("r-2")
    path.rename(path.with_name("old"))
    path.write_bytes(content)
    with pytest.raises(Refused, match="replaced or cut short"):
        book.report_payload("r-2")


WRITER = """
import sys
from gpuverify.signing.journal import Journal
path, name, count = sys.argv[1:]
book = Journal(path)
for number in range(int(count)):
    book.append("note", {"writer": name, "number": number})
    print(number, flush=True)
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writers = [start(path, f"w{number}", 25) for number in range(4)]
    reader = Journal(path)
    while any(writer.poll() is None for writer in writers):
        assert reader.head().torn_bytes == 0  # no reader sees half a line
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    lines = list(Journal(path).lines())
    assert Journal(path).check().lines == 100
    for number in range(4):
        own = [line.fields["number"] for line in lines if line.text("writer") == f"w{number}"]
        assert own == list(range(25))


def test_what_a_killed_writer_reported_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for _ in range(3):
        writer = start(path, "w", 100_000)
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        writer.kill()
        told = 20 + len(writer.communicate()[0].splitlines())
        lines = [line for line in Journal(path).lines() if line.kind == "note"]
        assert len(lines) - told in (0, 1)  # one may be written that was not reported yet
        path.unlink()


def test_every_entry_is_on_the_disk_before_it_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    Journal(path).append_all([("note", {"number": number}) for number in range(50)])
    assert synced == [path.stat().st_size]  # once for them all, and of the whole


def test_a_full_disk_leaves_the_journal_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    script = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100},) * 2)\n{WRITER}"
    )
    words = [sys.executable, "-c", script, str(path), "w", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "OutputError" in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == before
    assert Journal(path).append("note", {}).seq == 5


def test_a_writer_that_holds_on_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("gpuverify.signing.trust_store_file.PATIENCE_S", 0.1)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for call in (lambda: Journal(path).append("note", {}), Journal(path).check):
            with pytest.raises(OutputError, match="another process holds it"):
                call()
    assert Journal(path).check().lines == 4


def test_a_slow_reader_stops_no_writer(path: Path) -> None:
    lines = Journal(path).lines()
    next(lines)
    start = time.monotonic()
    Journal(path).append("note", {})
    assert time.monotonic() - start < 5
    assert len(list(lines)) == 3  # up to where it ended when the reader began


def test_checking_takes_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    fields = {"payload_sha256": ONE, "text": "x" * 1500}
    Journal(path).append_all((VERIFIED, {**fields, "number": number}) for number in range(3000))
    assert path.stat().st_size > 5_000_000
    tracemalloc.start()
    try:
        assert Journal(path).check().lines == 3000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


FIELDS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True).filter(
        lambda name: name not in ("seq", "time", "kind", "sha256", "previous_sha256")
    ),
    st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=40).filter(str.isprintable),
    max_size=5,
)


@given(FIELDS, st.integers(1, 10**9), st.integers(0, 253_402_300_799))
def test_what_is_written_is_read(fields: dict[str, str | int], seq: int, time_s: int) -> None:
    try:
        raw, digest = write_line(
            seq=seq, time_s=time_s, kind="note", previous_sha256=ONE, fields=fields
        )
    except ValueError:
        return  # half a surrogate pair, for instance
    line = read_line(raw[:-1])
    assert (line.seq, line.time_s, line.kind) == (seq, time_s, "note")
    assert (line.previous_sha256, line.fields, line.sha256) == (ONE, fields, digest)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    with pytest.raises(BrokenLineError):
        read_line(data)
