"""`gpuverify challenge` in processes of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.signing.challenge import dump_challenge, measurement_nonce, read_challenge
from gpuverify.signing.journal import VERIFIED, Journal

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_new_challenge(run: Run, tmp_path: Path) -> None:
    before = int(time.time())
    done = run(
        "challenge",
        "new",
        "-o",
        "c.json",
        "--order",
        "PO-17",
        "--issuer",
        "intake@b",
        "--expires",
        "90m",
    )
    assert done.returncode == 0, done.stderr
    assert "to be answered until" in done.stderr
    challenge = read_challenge(tmp_path / "c.json")
    assert (challenge.order, challenge.issuer) == ("PO-17", "intake@b")
    assert before <= challenge.issued_s <= time.time()
    assert challenge.expires_s - challenge.issued_s == 5400
    assert run("challenge", "new", "-o", "c.json").returncode == 73
    assert read_challenge(tmp_path / "c.json") == challenge
    assert run("challenge", "new", "-o", "c.json", "--force").returncode == 0
    again = read_challenge(tmp_path / "c.json")
    assert again.nonce != challenge.nonce
    assert again.expires_s - again.issued_s == 72 * 3600
    done = run("challenge", "new", "-o", "-")
    assert json.loads(done.stdout)["schema"] == "gpuverify/challenge/v1"


@pytest.mark.parametrize("words", [("--expires", "0h"), ("--expires", "72"), ("--expires", "400d"), ("--expires", "-1h"), ("--order", "a\nb"), ("--issuer", "x" * 201)])  # fmt: skip
def test_wrong_words(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run("challenge", "new", "-o", "c.json", *words)
    assert done.returncode == 64, done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.json").exists()


def test_show(run: Run, tmp_path: Path, home: Path) -> None:
    run("challenge", "new", "-o", "c.json", "--order", "PO-17")
    challenge = read_challenge(tmp_path / "c.json")
    done = run("challenge", "show", "c.json")
    assert done.returncode == 0, done.stderr
    assert "PO-17" in done.stdout
    assert "by no report in the journal" in done.stdout
    assert "which is over" not in done.stdout
    assert measurement_nonce(challenge) in done.stdout
    assert not home.exists()
    fields = {"payload_sha256": "ab" * 32, "report_id": "r", "nonce": challenge.nonce.hex()}
    Journal(home / "journal.jsonl").append(VERIFIED, fields)
    assert f"by the report {'ab' * 32}" in run("challenge", "show", "c.json").stdout
    document = json.loads(run("challenge", "show", "c.json", "--json").stdout)
    assert document["schema"] == "gpuverify/challenge-state/v1"
    assert (document["expired"], document["answered_by"]) == (False, "ab" * 32)
    done = run("challenge", "show", "c.json", "--journal", "none")
    assert (done.returncode, done.stdout) == (66, "")
    assert "none: no such journal" in done.stderr


def test_standard_streams(run: Run, tmp_path: Path) -> None:
    made = run("challenge", "new", "-o", "-", "--order", "PO-3")
    assert "send what was written to the seller" in made.stderr
    done = run("challenge", "show", "-", stdin=made.stdout.encode())
    assert done.returncode == 0, done.stderr
    assert "PO-3" in done.stdout
    done = run("challenge", "show", "-", stdin=b"{}")
    assert (done.returncode, "standard input" in done.stderr) == (65, True)
    done = run("challenge", "show", "-", patch="import sys; sys.stdin = None")
    assert (done.returncode, "standard input is closed" in done.stderr) == (66, True)


def test_one_that_is_over(run: Run, tmp_path: Path) -> None:
    from gpuverify.model.report import Challenge

    old = Challenge(nonce=bytes(range(32)), issuer="i", order="o", issued_s=1000, expires_s=2000)
    (tmp_path / "c.json").write_bytes(dump_challenge(old))
    assert "until 1970-01-01T00:33:20Z, which is over" in run("challenge", "show", "c.json").stdout


def test_what_is_no_challenge(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    done = run("challenge", "show", "c.json")
    assert done.returncode == 65
    assert "gpuverify challenge new" in done.stderr
    assert run("challenge", "show", "absent.json").returncode == 66


def test_the_nonce_that_one_gpu_signs(run: Run, tmp_path: Path) -> None:
    from gpuverify.model.attestation import attestation_nonce

    assert run("challenge", "new", "-o", "c.json").returncode == 0
    uuid = "GPU-67275d30-83aa-4965-8d1f-a0fe9a2dcfef"
    wanted = attestation_nonce(read_challenge(tmp_path / "c.json").nonce, uuid).hex()
    told = json.loads(run("challenge", "show", "c.json", "--gpu-uuid", uuid, "--json").stdout)
    assert told["attestation_nonce"] == wanted
    assert wanted in run("challenge", "show", "c.json", "--gpu-uuid", uuid).stdout
    assert (
        json.loads(run("challenge", "show", "c.json", "--json").stdout)["attestation_nonce"] is None
    )
    for wrong in (uuid.upper(), uuid[4:], uuid + "0"):
        done = run("challenge", "show", "c.json", "--gpu-uuid", wrong)
        assert done.returncode == 64
        assert "nvidia-smi -L" in done.stderr
