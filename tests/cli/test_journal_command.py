"""`gpuverify journal` in processes of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes
from gpuverify.signing.journal import VERIFIED, Journal

Run = Callable[..., "subprocess.CompletedProcess[str]"]

KEYID = "SHA256:" + "A" * 43
SIGNATURES = bytes(range(64)), bytes(range(1, 65))


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """The journal of a home of its own, with two entries."""
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    journal = Journal(tmp_path / "home" / "journal.jsonl")
    for number in (1, 2):
        fields = {"payload_sha256": f"{number}" * 64, "report_id": f"r-{number}"}
        journal.append(VERIFIED, fields, now_s=number * 1000)
    return journal


def test_head_and_check(run: Run, book: Journal) -> None:
    head = book.head().head
    done = run("journal", "head")
    assert (done.returncode, done.stdout, done.stderr) == (0, head + "\n", "")
    done = run("journal", "check")
    assert (done.returncode, done.stdout) == (0, head + "\n")
    assert "the chain holds over 2 entries" in done.stderr
    assert "only with --head" in done.stderr
    book.append("note", {"text": "x"}, now_s=500)
    done = run("journal", "check", "--head", head)
    assert done.returncode == 0
    assert "only with --head" not in done.stderr
    assert "the clock went backwards before line 3" in done.stderr


def test_a_broken_chain_is_65(run: Run, book: Journal) -> None:
    head = book.head().head
    content = book.path.read_bytes()
    book.path.write_bytes(content.splitlines(keepends=True)[0])
    assert run("journal", "check").returncode == 0
    done = run("journal", "check", "--head", head)
    assert done.returncode == 65
    assert "lines were cut off" in done.stderr
    book.path.write_bytes(content.replace(b"r-1", b"r-9"))
    for words in (("check",), ("head",), ("show",)):
        done = run("journal", *words)
        assert done.returncode == 65, words
        assert "E_TRUST" in done.stderr
        assert "Traceback" not in done.stderr
    assert run("journal", "check", "--head", "nonsense").returncode == 64


def test_a_torn_line_is_said_and_set_aside_by_the_next_entry(
    run: Run, book: Journal, tmp_path: Path
) -> None:
    with book.path.open("ab") as file:
        file.write(b'{"kind":"ver')
    for words in (("check",), ("head",)):
        done = run("journal", *words)
        assert done.returncode == 65
        assert "12 bytes behind line 2 are no whole line" in done.stderr
    assert run("journal", "show").returncode == 0
    (tmp_path / "report.json").write_bytes(bundle_bytes(b"{}", SIGNATURES[0], KEYID))
    assert run("journal", "record", "report.json").returncode == 0
    done = run("journal", "check")
    assert done.returncode == 0
    assert "1 torn line(s) were set aside" in done.stderr


def test_show(run: Run, book: Journal) -> None:
    done = run("journal", "show")
    assert done.returncode == 0
    assert done.stdout == (
        f"1  1970-01-01T00:16:40Z  verified\n    payload_sha256 {'1' * 64}\n    report_id r-1\n"
        f"2  1970-01-01T00:33:20Z  verified\n    payload_sha256 {'2' * 64}\n    report_id r-2\n"
    )
    assert run("journal", "show", "--last", "1").stdout.startswith("2  ")


def test_record(run: Run, book: Journal, tmp_path: Path) -> None:
    payloads = [json.dumps({"number": number}).encode() for number in range(3)]
    (tmp_path / "one.json").write_bytes(bundle_bytes(payloads[0], SIGNATURES[0], KEYID))
    (tmp_path / "two.jsonl").write_bytes(
        dsse_bytes(payloads[1], SIGNATURES[0], KEYID) + dsse_bytes(payloads[2], SIGNATURES[1], "")
    )
    done = run("journal", "record", "one.json", "two.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("received: ") == 3
    digests = [hashlib.sha256(payload).hexdigest() for payload in payloads]
    signatures = [hashlib.sha256(signature).hexdigest() for signature in SIGNATURES]
    for digest, signature in zip(
        digests, (signatures[0], signatures[0], signatures[1]), strict=True
    ):
        assert book.first_received_s(digest, signature) is not None
        assert book.first_seen_s(digest) is None
    done = run("journal", "record", "two.jsonl", "one.json")
    assert done.returncode == 0
    assert "3 recorded before" in done.stderr
    assert book.check().lines == 5


def test_a_bad_file_stops_no_other(run: Run, book: Journal, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "one.json").write_bytes(bundle_bytes(b"{}", SIGNATURES[0], KEYID))
    done = run("journal", "record", "bad.json", "absent.json", "one.json")
    assert done.returncode == 65
    assert "E_" in done.stderr
    assert "absent.json" in done.stderr
    assert book.check().lines == 3
    done = run("journal", "record", "bad.json")
    assert done.returncode == 65
    assert book.check().lines == 3


def test_a_missing_file_is_named_once(run: Run) -> None:
    done = run("journal", "record", "missing.json", "--journal", "j.jsonl")
    assert done.returncode == 66
    assert done.stderr.count("missing.json") == 1


def test_no_journal(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    assert run("journal", "check").returncode == 66
    assert run("journal", "show").returncode == 66
    done = run("journal", "head")
    assert (done.returncode, done.stdout) == (0, f"0:{'0' * 64}\n")
    done = run("journal", "head", "--journal", "other.jsonl")
    assert (done.returncode, done.stdout) == (66, "")
    assert "other.jsonl: no such journal; check the name" in done.stderr
    assert run("journal").returncode == 64
