"""`gpuverify verify` and `gpuverify compare` as real processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_support import (
    BASE_S,
    DAY,
    ISSUED_S,
    dated,
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
)

from gpuverify.codec.evidence_json import dump_evidence
from gpuverify.model.evidence import Evidence, EvidenceClass
from gpuverify.model.report import Challenge, Previous, Relation, Role
from gpuverify.signing.challenge import dump_challenge
from gpuverify.signing.journal import Journal

pytestmark = pytest.mark.required

Done = "subprocess.CompletedProcess[str]"
CHALLENGE = Challenge(
    nonce=bytes(range(7, 39)), issuer="Intake", order="PO-17", issued_s=BASE_S - 600,
    expires_s=BASE_S + DAY,
)  # fmt: skip


class Buyer:
    """A machine of a buyer: a home of its own, and the files that came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.trust = trust_file(self.home, trusted(seller()))

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "gpuverify", *words],
            input=stdin,
            capture_output=True,
            check=False,
            env={**os.environ, "GPUVERIFY_HOME": str(self.home)},
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def document(self, *words: str, code: int) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.returncode == code, (done.stdout[-2000:], done.stderr)
        tree = json.loads(done.stdout)
        assert isinstance(tree, dict)
        assert tree.get("exit_code", tree.get("error", {}).get("exit_code")) == code
        return tree


@pytest.fixture
def buyer(tmp_path: Path) -> Buyer:
    return Buyer(tmp_path)


def later_evidence(evidence: Evidence | None = None) -> Evidence:
    found = dated(evidence or recorded(), BASE_S + 900)
    return replace(found, evidence_class=EvidenceClass.LIVE)


def good() -> bytes:
    return seller().bundle(seller_payload())


def test_a_report_is_verified_and_judged(buyer: Buyer) -> None:
    path = buyer.put("r.json", good())
    claimed = buyer.run("verify", path, "--claim", "a100-sxm4-80gb")
    assert claimed.returncode == 0, claimed.stdout + claimed.stderr
    assert "SIGNATURE VERIFIED" in claimed.stdout
    assert "does not prove" in claimed.stdout
    assert buyer.run("verify", path).returncode == 3
    assert buyer.run("verify", path, "--claim", "a100-sxm4-40gb").returncode == 2
    for word in ("genuine", "authentic", "fake"):
        assert word not in claimed.stdout.lower()


def test_json_of_one_report(buyer: Buyer) -> None:
    path = buyer.put("r.json", good())
    tree = buyer.document("verify", path, "--claim", "a100-sxm4-80gb", code=0)
    assert tree["schema"] == "gpuverify/verification/v1"
    assert tree["key"]["keyid"] == seller().keyid


def test_standard_input(buyer: Buyer) -> None:
    done = buyer.run("verify", "-", "--claim", "a100-sxm4-80gb", stdin=good())
    assert done.returncode == 0


def test_a_page_is_65_with_a_word_on_what_to_give(buyer: Buyer) -> None:
    done = buyer.run("verify", buyer.put("r.html", b"<!DOCTYPE html><p>PASSED"))
    assert done.returncode == 65
    assert "give the report file itself" in " ".join(done.stdout.split())
    assert buyer.run("verify", buyer.put("r.pdf", b"%PDF-1.4 ...")).returncode == 65


def test_a_missing_file_is_66_and_a_lone_one_says_so(buyer: Buyer) -> None:
    done = buyer.run("verify", str(buyer.folder / "nothing.json"))
    assert done.returncode == 66
    assert "nothing.json" in done.stderr


def test_a_trust_store_that_others_can_write_is_refused(buyer: Buyer) -> None:
    path = buyer.put("r.json", good())
    buyer.trust.chmod(0o666)
    done = buyer.run("verify", path)
    assert done.returncode == 65
    assert "E_TRUST" in done.stderr


def test_one_bad_file_stops_no_other_and_the_order_is_kept(buyer: Buyer) -> None:
    paths = [
        buyer.put("a.json", good()),
        buyer.put("b.json", good()[:-40]),
        str(buyer.folder / "missing.json"),
        buyer.put("c.html", b"<html>"),
        buyer.put("d.json", good()),
    ]
    done = buyer.run("verify", *paths, "--claim", "a100-sxm4-80gb", "--jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    codes = [row.get("exit_code", row.get("error", {}).get("exit_code")) for row in rows]
    assert codes == [0, 65, 66, 65, 0]
    assert done.returncode == 65
    several = json.loads(buyer.run("verify", *paths, "--claim", "a100-sxm4-80gb", "--json").stdout)
    assert several["schema"] == "gpuverify/verifications/v1"
    assert several["exit_code"] == 65
    assert len(several["verifications"]) == 5
    text = buyer.run("verify", *paths, "--claim", "a100-sxm4-80gb")
    assert "5 documents, exit 65" in text.stdout


def test_a_set_in_one_file_and_in_many(buyer: Buyer) -> None:
    _, head, members = server_set()
    whole = buyer.put("server.jsonl", head + b"".join(members))
    done = buyer.run("verify", whole, "--claim", "a100-sxm4-80gb")
    assert done.returncode == 0, done.stdout
    assert "9 documents, exit 0" in done.stdout
    files = [buyer.put("set.json", head)]
    files += [buyer.put(f"gpu{n}.json", data) for n, data in enumerate(members)]
    other = buyer.put("other.json", good())
    done = buyer.run("verify", *files, other, "--claim", "a100-sxm4-80gb", "--count", "8")
    assert done.returncode == 3, done.stdout  # one report cannot show that 8 were delivered
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:10]] == ["0"] * 9 + ["3"]
    lost = buyer.put("lost.jsonl", head + b"".join(members[1:]))
    assert buyer.run("verify", lost, "--claim", "a100-sxm4-80gb").returncode == 4


def test_a_challenge_counts_once(buyer: Buyer) -> None:
    challenge = buyer.put("c.json", dump_challenge(CHALLENGE))
    first, second = (
        seller().bundle(payload_of(report))
        for report in (
            reports(terms(challenge=CHALLENGE))[0],
            reports(terms(challenge=CHALLENGE, remarks=("again",)))[0],
        )
    )
    one, two = buyer.put("1.json", first), buyer.put("2.json", second)
    words = ("--claim", "a100-sxm4-80gb", "--challenge", challenge)
    assert buyer.run("verify", one, *words).returncode == 0
    assert buyer.run("verify", one, *words).returncode == 0  # the same bytes again
    tree = buyer.document("verify", two, *words, code=4)
    assert tree["refusal"]["code"] == "E_REPLAY"
    journal = Journal(buyer.home / "journal.jsonl")
    assert journal.challenge_use(CHALLENGE.nonce) is not None
    assert journal.check().lines == 1


def test_a_challenge_counts_once_within_one_run(buyer: Buyer) -> None:
    challenge = buyer.put("c.json", dump_challenge(CHALLENGE))
    lines = b"".join(
        seller().bundle(payload_of(reports(terms(challenge=CHALLENGE, remarks=(word,)))[0]))
        for word in ("one", "two")
    )
    done = buyer.run("verify", buyer.put("both.jsonl", lines), "--challenge", challenge)
    codes = [line.split()[0] for line in done.stdout.splitlines()[:2]]
    assert codes == ["3", "4"]
    assert "E_REPLAY" in done.stdout
    assert done.returncode == 4


def test_a_set_answers_a_challenge_as_a_whole(buyer: Buyer) -> None:
    challenge = buyer.put("c.json", dump_challenge(CHALLENGE))
    _, head, members = server_set(made=terms(challenge=CHALLENGE))
    whole = buyer.put("server.jsonl", head + b"".join(members))
    words = ("--claim", "a100-sxm4-80gb", "--challenge", challenge)
    done = buyer.run("verify", whole, *words)
    assert done.returncode == 0, done.stdout
    assert buyer.run("verify", whole, *words).returncode == 0


def test_a_report_id_counts_once(buyer: Buyer) -> None:
    report = seller_report()
    one = buyer.put("1.json", good())
    other = replace(report, remarks=("other content",))
    two = buyer.put("2.json", seller().bundle(payload_of(other)))
    assert buyer.run("verify", one, "--record").returncode == 3
    tree = buyer.document("verify", two, code=4)
    assert tree["refusal"]["code"] == "E_REPLAY"
    assert buyer.run("verify", two, "--no-journal").returncode == 3
    both = buyer.run("verify", one, two, "--no-journal")
    assert [line.split()[0] for line in both.stdout.splitlines()[:2]] == ["3", "4"]


def test_an_expired_key_counts_where_the_journal_saw_the_report_in_time(buyer: Buyer) -> None:
    path = buyer.put("r.json", good())
    assert buyer.run("verify", path, "--record").returncode == 3
    line = buyer.trust.read_text().replace(
        'namespaces="', f'valid-before="{_compact(ISSUED_S + 1)}",namespaces="'
    )
    buyer.trust.write_text(line)
    done = buyer.document("verify", path, code=65)
    assert done["refusal"]["code"] == "E_KEY_EXPIRED"  # seen after it had expired
    journal = Journal(buyer.folder / "early" / "journal.jsonl")
    from gpuverify.codec.envelope_json import read_envelope

    envelope = read_envelope(good(), "x")
    fields = {
        "payload_sha256": hashlib.sha256(envelope.payload).hexdigest(),
        "signature_sha256": hashlib.sha256(envelope.signature).hexdigest(),
    }
    journal.append("received", fields, now_s=ISSUED_S)
    words = ("verify", path, "--journal", str(journal.path))
    tree = buyer.document(*words, code=3)
    assert tree["key"]["trusted_time_source"] == "journal"


def _compact(seconds: int) -> str:
    from gpuverify.codec.utc_time import compact_text

    return compact_text(seconds)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--json", "--jsonl"), 64),
        (("--no-journal", "--record"), 64),
        (("--max-age", "soon"), 64),
        (("--min-refdb", "new"), 64),
        (("--attachments", "/nowhere/at/all"), 66),
        (("--challenge", "/nowhere/c.json"), 66),
        (("--claim", "no-such-product"), 64),
        (("--role", "king"), 64),
        (("--max-age", "1m"), 4),
        (("--expect-serial", "1650900000000"), 4),
        (("--label", "S/N 1650900000000"), 65),
        (("--accept-replayed",), 3),
    ],
    ids=str,
)
def test_options_end_in_their_code(buyer: Buyer, words: tuple[str, ...], code: int) -> None:
    done = buyer.run("verify", buyer.put("r.json", good()), *words)
    assert done.returncode == code, (done.stdout[-1500:], done.stderr)
    assert "Traceback" not in done.stderr


def test_many_reports_over_several_processes(buyer: Buyer) -> None:
    lines = b"".join(
        seller().bundle(payload_of(replace(seller_report(), report_id=_uuid(n))))
        if n % 10
        else b"{broken\n"
        for n in range(60)
    )
    path = buyer.put("many.jsonl", lines)
    done = buyer.run("verify", path, "--workers", "2", "--claim", "a100-sxm4-80gb", "--jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["exit_code"] for row in rows] == [0 if n % 10 else 65 for n in range(60)]
    assert [row["origin"] for row in rows] == [f"{path}:{n + 1}" for n in range(60)]
    serial = buyer.run("verify", path, "--workers", "1", "--claim", "a100-sxm4-80gb", "--jsonl")
    assert _timeless(serial.stdout) == _timeless(done.stdout)
    assert done.returncode == 65


def test_an_id_that_comes_twice_is_found_across_processes(buyer: Buyer) -> None:
    ids = [_uuid(n) for n in range(70)]
    ids[65] = ids[2]
    lines = b"".join(
        seller().bundle(
            payload_of(replace(seller_report(), report_id=name, remarks=(f"number {n}",)))
        )
        for n, name in enumerate(ids)
    )
    done = buyer.run("verify", buyer.put("many.jsonl", lines), "--workers", "2", "--record")
    codes = [line.split()[0] for line in done.stdout.splitlines()[:70]]
    assert codes == ["3"] * 65 + ["4"] + ["3"] * 4
    assert Journal(buyer.home / "journal.jsonl").check().lines == 69


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _timeless(text: str) -> list[Any]:
    rows = [json.loads(line) for line in text.splitlines()]
    for row in rows:
        row.pop("stages")
        if row["key"]:
            row["key"].pop("trusted_time")
    return rows


def test_an_earlier_report_is_compared_with(buyer: Buyer) -> None:
    first = buyer.put("1.json", good())
    named = Previous(
        report_id=seller_report().report_id,
        role=Role.SELLER,
        payload_sha256=hashlib.sha256(seller_payload()).hexdigest(),
        relation=Relation.COMPARES_TO,
    )
    told = terms(previous=(named,))
    second = reports(told, evidence=later_evidence(), issued_s=BASE_S + 960)[0]
    two = buyer.put("2.json", seller().bundle(payload_of(second)))
    words = ("verify", two, "--claim", "a100-sxm4-80gb")
    shown = buyer.document(*words, "--previous", first, code=0)
    assert [one["answer"] for one in shown["comparisons"]] == ["same card, same state"]
    alone = buyer.document(*words, code=0)
    assert any("--previous" in warning for warning in alone["warnings"])
    other = seller().bundle(payload_of(replace(seller_report(), remarks=("edited",))))
    tree = buyer.document(*words, "--previous", buyer.put("3.json", other), code=4)
    assert tree["refusal"]["code"] == "E_CHAIN"
    broken = buyer.run(*words, "--previous", buyer.put("4.json", good()[:-9]))
    assert broken.returncode == 65


def test_a_set_that_is_refused_says_so_in_its_reports(buyer: Buyer) -> None:
    _, head, members = server_set()
    lost = buyer.put("lost.jsonl", head + b"".join(members[1:]))
    done = buyer.run("verify", lost, "--claim", "a100-sxm4-80gb", "--record")
    assert done.stdout.count("the set that it came with is refused (E_SET)") == 7


# compare


def test_compare_two_reports(buyer: Buyer) -> None:
    first = buyer.put("1.json", good())
    second = reports(evidence=later_evidence(), issued_s=BASE_S + 960)[0]
    two = buyer.put("2.json", seller().bundle(payload_of(second)))
    tree = buyer.document("compare", first, two, code=0)
    assert tree["answer"] == "same card, same state"
    assert "SAME CARD, SAME STATE" in buyer.run("compare", first, two).stdout
    assert buyer.run("compare", two, first).returncode == 3
    assert buyer.run("compare", first, first).returncode == 3


def test_compare_with_evidence_that_nobody_signed(buyer: Buyer) -> None:
    first = buyer.put("1.json", good())
    evidence = buyer.put("e.json", dump_evidence(later_evidence()))
    tree = buyer.document("compare", first, evidence, code=3)
    assert tree["answer"] == "same card, same state"
    assert any("unsigned" in reason for reason in tree["reasons"])
    other = buyer.put("o.json", dump_evidence(later_evidence(recorded("ga100/a100-sxm4-40gb"))))
    assert buyer.run("compare", first, other).returncode == 2


@pytest.mark.parametrize("padding", [0, 3 << 20])
def test_compare_with_standard_input(buyer: Buyer, padding: int) -> None:
    first = buyer.put("1.json", good())
    log = dump_evidence(later_evidence()) + b"\n" * padding
    tree = json.loads(buyer.run("compare", first, "-", "--json", stdin=log).stdout)
    assert tree["answer"] == "same card, same state"
    second = reports(evidence=later_evidence(), issued_s=BASE_S + 960)[0]
    signed = seller().bundle(payload_of(second))
    assert buyer.run("compare", first, "-", stdin=signed).returncode == 0
    assert buyer.run("compare", first, "-").returncode == 65


def test_a_text_log_keeps_its_blank_lines_on_standard_input(buyer: Buyer) -> None:
    log = b"""==============NVSMI LOG==============

Driver Version : 550.54.14

Attached GPUs : 1
GPU 00000000:07:00.0
    Product Name : NVIDIA A100-SXM4-80GB

    GPU UUID : GPU-12345678-1234-1234-1234-123456789012
"""
    first, path = buyer.put("1.json", good()), buyer.put("log.txt", log)
    told = buyer.run("compare", first, path, "--json").stdout
    heard = buyer.run("compare", first, "-", "--json", stdin=log).stdout
    assert "another GPU" in told
    assert heard.replace('"-"', f'"{path}"').replace("standard input", path) == told


def test_compare_sets_and_refusals(buyer: Buyer) -> None:
    _, head, members = server_set()
    whole = buyer.put("server.jsonl", head + b"".join(members))
    evidence = buyer.put(
        "e.json", dump_evidence(later_evidence(recorded("ga100/a100-sxm4-80gb-x8")))
    )
    tree = buyer.document("compare", whole, evidence, code=3)
    assert len(tree["comparisons"]) == 8
    bad = buyer.put("bad.json", good().replace(b"A", b"B", 1))
    assert buyer.run("compare", bad, evidence).returncode == 65
    assert buyer.run("compare", str(buyer.folder / "no.json"), evidence).returncode == 66
    buyer.trust.write_text("")
    assert buyer.run("compare", whole, evidence).returncode == 65
