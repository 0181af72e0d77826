"""What the lines and pages of `gpuverify verify` say, and what wrong words on its command line do."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_support import (
    BASE_S,
    DAY,
    dated,
    demands,
    payload_of,
    recorded,
    reports,
    seller,
    seller_payload,
    seller_report,
    server_set,
    terms,
    trust_file,
    trusted,
    verify,
)

from gpuverify.codec.envelope_json import MAX_FILE_BYTES
from gpuverify.codec.report_lines import MAX_LINE_BYTES, iter_envelopes
from gpuverify.errors import FormatError
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.report import Challenge
from gpuverify.signing.demands import Earlier
from gpuverify.signing.verify import verify_set

CLAIM = ("--claim", "a100-sxm4-80gb")


class Buyer:
    """A home with one trusted seller."""

    def __init__(self, folder: Path, *, test: bool = False) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(mode=0o700)
        trust_file(self.home, trusted(seller(), test=test))

    def put(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def run(self, *words: str, code: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gpuverify", *words],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GPUVERIFY_HOME": str(self.home), "COLUMNS": "400"},
        )
        told = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == code, told[-2000:]
        return told


@pytest.fixture
def buyer(tmp_path: Path) -> Buyer:
    return Buyer(tmp_path)


def bundle() -> bytes:
    return seller().bundle(seller_payload())


def test_a_set_says_what_holds_of_its_cards_together(buyer: Buyer) -> None:
    _, head, members = server_set()
    path = buyer.put("set.jsonl", head + b"".join(members))
    line = buyer.run("verify", path, *CLAIM, "--count", "9", code=2).splitlines()[0]
    assert "mismatch; 8 boards of NVIDIA A100-SXM4-80GB; sold: 9." in line
    shown = buyer.run("show", path, *CLAIM, code=0)
    assert "sold: 9" not in shown
    claim = buyer.put("nine.toml", b'[[item]]\nproduct = "a100-sxm4-80gb"\ncount = 9\n')
    page = buyer.folder / "set.html"
    told = buyer.run("show", path, "--claim", claim, "--html", str(page), code=2)
    assert "sold: 9" in page.read_text("utf-8")
    assert told == ""
    assert "sold: 9" in buyer.run("show", path, "--claim", claim, code=2)


def test_why_a_card_of_a_set_is_not_appraised() -> None:
    _, head, members = server_set()
    wanted = replace(demands(), serial="1650922633008")
    documents = [("s", head), *((str(n), data) for n, data in enumerate(members))]
    from report_support import world

    from gpuverify.cli.verify_outcome import _line

    lines = [_line(one) for one in verify_set(documents, wanted, world(trusted(seller())))]
    skipped = [line for line in lines if ": not appraised; " in line]
    assert len(skipped) == 7
    assert all("another card of the set is expected" in line for line in skipped)


def test_a_line_says_that_it_is_a_replay_by_a_test_key(tmp_path: Path) -> None:
    told = terms()
    replayed = replace(recorded(), evidence_class=EvidenceClass.REPLAYED)
    two = [seller().bundle(payload_of(reports(told, evidence=replayed)[0])) for _ in range(2)]
    buyer = Buyer(tmp_path, test=True)
    paths = [buyer.put(f"{n}.json", data) for n, data in enumerate(two)]
    lines = buyer.run("verify", *paths, "--accept-replayed", *CLAIM, code=3).splitlines()
    assert all("(a test key, a replay): " in line for line in lines[:2])


def test_a_report_of_the_same_card_that_is_not_named_is_pointed_at() -> None:
    later = replace(dated(recorded(), BASE_S + 900), evidence_class=EvidenceClass.LIVE)
    second = reports(evidence=later, issued_s=BASE_S + 960)[0]
    digest = hashlib.sha256(seller_payload()).hexdigest()
    same = Earlier(report=seller_report(), payload_sha256=digest, origin="old.json")
    other = replace(
        same,
        report=replace(
            seller_report(),
            identity=replace(seller_report().identity, gpu_uuid="GPU-" + "0" * 8 + "-0" * 3),
        ),
    )
    data = seller().bundle(payload_of(second))
    warned = verify(data, replace(demands(), earlier={digest: same})).warnings
    assert any("old.json is about the same card" in text for text in warned)
    assert verify(data, replace(demands(), earlier={digest: other})).warnings == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--expect-serial", ""), "--expect-serial is empty"),
        (("--expect-serial", "  "), "--expect-serial is empty"),
        (("--expect-uuid", "x"), "--expect-uuid 'x': give it as nvidia-smi -L prints it"),
        (("--expect-uuid", ""), "--expect-uuid"),
        (("--expect-uuid", "67275d30-83aa-4965-8d1f-a0fe9a2dcfef"), "GPU-… in full"),
    ],
)
def test_an_expected_card_that_is_none(buyer: Buyer, words: tuple[str, ...], says: str) -> None:
    assert says in buyer.run("verify", buyer.put("r.json", bundle()), *words, code=64)


def test_a_serial_number_in_groups_as_on_a_label(buyer: Buyer) -> None:
    serial = seller_report().identity.board_serial
    assert serial is not None
    spaced = f" {serial[:4]} {serial[4:]} "
    buyer.run("verify", buyer.put("r.json", bundle()), *CLAIM, "--expect-serial", spaced, code=0)


def test_a_report_that_is_older_than_the_challenge_says_what_it_knows() -> None:
    challenge = Challenge(
        nonce=bytes(range(32)), issuer="B", order="1", issued_s=BASE_S + DAY,
        expires_s=BASE_S + 2 * DAY,
    )  # fmt: skip
    undated = replace(recorded(), collected_ms=None)
    for evidence, words in ((recorded(), "the card was measured"), (undated, "the report was")):
        made = reports(terms(challenge=challenge), evidence=evidence)[0]
        if evidence is undated:
            made = replace(made, measured_start_s=None, measured_end_s=None)
        found = verify(seller().bundle(payload_of(made)), replace(demands(), challenge=challenge))
        assert words in found.message
        assert "before the challenge was made" in found.message


def test_an_overlong_line_of_blanks_is_listed(buyer: Buyer, tmp_path: Path) -> None:
    blanks = b" " * (MAX_FILE_BYTES + 9)
    path = buyer.put("r.jsonl", bundle() + blanks + b"\n" + bundle())
    told = buyer.run("verify", path, *CLAIM, code=65)
    assert "r.jsonl:2" in told
    assert "E_LIMIT" in told
    assert "3 documents" in told
    lone = buyer.put("lone.json", blanks + bundle())
    assert "E_LIMIT" in buyer.run("verify", lone, code=65)


def test_a_device_that_never_ends_is_given_up(tmp_path: Path) -> None:
    endless = tmp_path / "zero"
    with endless.open("wb") as file:
        file.truncate(MAX_LINE_BYTES + MAX_FILE_BYTES + (4 << 20))  # sparse
    with pytest.raises(FormatError, match="a line of more than 256 MiB"):
        list(iter_envelopes(str(endless)))


def test_compare_knows_a_page_and_packed_data(buyer: Buyer) -> None:
    good = buyer.put("r.json", bundle())
    page = buyer.put("r.html", b"<!DOCTYPE html><html lang=en></html>")
    assert "courtesy copy" in buyer.run("compare", good, page, code=65)
    packed = buyer.put("r.json.gz", b"\x1f\x8b\x08\x00\x00\x00")
    assert "unpack it first" in buyer.run("compare", packed, good, code=65)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", 65, "neither JSON"),
        (b"<!doctype html>", 65, "neither JSON"),
        (b"\x1f\x8b\x08\x00", 65, "neither JSON"),
        (b"some words", 65, "neither JSON"),
        (b"0123456789abcdef\n", 64, "--chain"),
        (bytes(range(200, 256)), 64, "--chain"),
    ],
)
def test_what_is_no_device_evidence(buyer: Buyer, data: bytes, code: int, says: str) -> None:
    assert says in buyer.run("device-evidence", "verify", buyer.put("e", data), code=code)


def test_the_json_tells_the_same(buyer: Buyer) -> None:
    told = buyer.run("verify", buyer.put("r.json", bundle()), *CLAIM, "--json", code=0)
    assert json.loads(told)["warnings"] == []
