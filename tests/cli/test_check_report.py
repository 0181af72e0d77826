"""`gpuverify check --report-out`: the verdict and the report of one run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gpuverify.cli.signing_options import RELATIONS, ROLES, ReportWords, clock_of
from gpuverify.codec.envelope_json import read_envelope
from gpuverify.codec.report_json import load_statement
from gpuverify.model.evidence import Evidence, EvidenceClass
from gpuverify.model.report import Clock, Relation, Report, ReportSet, Role

ONE, EIGHT = "ga100/a100-sxm4-80gb", "ga100/a100-sxm4-80gb-x8"
MEASURED = "ga100/a100-sxm4-80gb-measured"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    env = {"GPUVERIFY_HOME": str(tmp_path / "home")}

    def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(*words, env={**env, **more.pop("env", {})}, **more)

    made = call("key", "new", "shop", "--no-passphrase", "--comment", "sales@shop.example")
    assert made.returncode == 0, made.stderr
    return call


def reports_in(path: Path) -> list[Report | ReportSet]:
    return [
        load_statement(read_envelope(line, "x").payload, "x")
        for line in path.read_bytes().splitlines()
    ]


def test_one_card(shop: Run, tmp_path: Path) -> None:
    words = ("check", "--replay", ONE, "--claim", "a100-sxm4-80gb")
    plain = shop(*words)
    done = shop(*words, "--report-out", "r.json", "--key", "shop", "--evidence-out", "e.json")
    assert done.returncode == plain.returncode == 3
    assert done.stdout == plain.stdout
    assert "1 report of replayed evidence" in done.stderr
    assert "a replay of a recording: signed as that" in done.stderr
    (report,) = reports_in(tmp_path / "r.json")
    assert isinstance(report, Report)
    assert report.evidence_class is EvidenceClass.REPLAYED
    assert (report.measured_start_s, report.clock) == (None, Clock.UNKNOWN)
    assert report.opinion.would_be is not None
    assert report.opinion.would_be.value == "consistent"
    import hashlib

    assert report.document_sha256 == hashlib.sha256((tmp_path / "e.json").read_bytes()).hexdigest()


def test_eight_cards(shop: Run, tmp_path: Path) -> None:
    done = shop(
        "check", "--replay", EIGHT, "--claim", "a100-sxm4-80gb", "--count", "8", "--json",
        "--report-out", "r.jsonl", "--key", "shop",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert len(json.loads(done.stdout)["devices"]) == 8
    first, *rest = reports_in(tmp_path / "r.jsonl")
    assert isinstance(first, ReportSet)
    assert first.count == len(rest) == 8
    assert all("missing-cards" in r.coverage.covered for r in rest if isinstance(r, Report))


def test_a_bad_card_is_reported_too(shop: Run, tmp_path: Path) -> None:
    done = shop(
        "check", "--replay", "ga100/a100-40gb-sold-as-80gb", "--claim", "a100-sxm4-80gb",
        "--report-out", "r.json", "--key", "shop",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (report,) = reports_in(tmp_path / "r.json")
    assert isinstance(report, Report)
    assert report.opinion.would_be is not None
    assert report.opinion.would_be.value == "mismatch"
    assert any(check.outcome.value == "fail" for check in report.checks)


def test_a_card_that_cannot_be_named_keeps_its_verdict(shop: Run, tmp_path: Path) -> None:
    done = shop(
        "check", "--replay", "ga100/a100-nvml-forged", "--claim", "a100-sxm4-80gb",
        "--report-out", "r.json", "--key", "shop",
    )  # fmt: skip
    assert "MISMATCH" in done.stdout
    assert done.returncode == 2  # stronger than the 65 of the report
    assert "no report was written: E_SUBJECT" in done.stderr
    assert not (tmp_path / "r.json").exists()
    lesser = shop(
        "check", "--replay", "ga100/one-of-eight-bound-to-vfio", "--report-out", "r.json",
        "--key", "shop",
    )  # fmt: skip
    assert lesser.returncode == 65
    assert "UNVERIFIED" in lesser.stdout


def test_a_challenge_is_answered(shop: Run, tmp_path: Path) -> None:
    assert shop("challenge", "new", "-o", "c.json", "--order", "PO-9").returncode == 0
    done = shop(
        "check", "--replay", MEASURED, "--measure", "full", "--report-out", "r.json", "--key",
        "shop", "--challenge", "c.json",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    (report,) = reports_in(tmp_path / "r.json")
    assert isinstance(report, Report)
    assert report.challenge is not None
    assert report.challenge.order == "PO-9"
    assert report.method.profile == "full"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--key", "shop"), "--key needs --report-out"),
        (("--role", "lab"), "--role needs --report-out"),
        (("--challenge", "c.json"), "--challenge needs --report-out"),
        (("--sshsig",), "--sshsig needs --report-out"),
        (("--report-out", "r.json"), "--key"),
        (("--report-out", "-", "--key", "shop"), "standard output"),
        (("--report-out", "x.json", "--evidence-out", "x.json", "--key", "shop"), "name two"),
    ],
)
def test_options_that_do_not_go_together(
    shop: Run, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    done = shop("check", "--replay", ONE, *words)
    assert done.returncode == 64
    assert says in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_nonce_of_ones_own_and_a_challenge_exclude_each_other(shop: Run) -> None:
    assert shop("challenge", "new", "-o", "c.json").returncode == 0
    done = shop(
        "check", "--replay", MEASURED, "--measure", "quick", "--nonce", "ab" * 16,
        "--report-out", "r.json", "--key", "shop", "--challenge", "c.json",
    )  # fmt: skip
    assert done.returncode == 64
    assert "exclude each other" in done.stderr


def test_an_existing_report_is_refused_before_anything_is_asked(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b"mine")
    words = ("check", "--replay", ONE, "--report-out", "r.json", "--key", "shop")
    done = shop(*words)
    assert done.returncode == 73
    assert done.stdout == ""
    assert (tmp_path / "r.json").read_bytes() == b"mine"
    assert shop(*words, "--force").returncode == 3
    assert (tmp_path / "r.json").read_bytes() != b"mine"


def test_an_authority_that_does_not_answer_costs_no_measurement(shop: Run, tmp_path: Path) -> None:
    pytest.importorskip("rfc3161_client")
    words = ("--report-out", "r.json", "--key", "shop", "--timestamp-url", "http://127.0.0.1:9/")
    done = shop("check", "--replay", ONE, *words)
    assert done.returncode == 69, done.stderr
    assert "no time stamp" in done.stderr
    assert read_envelope((tmp_path / "r.json").read_bytes(), "x").timestamps == ()
    assert shop("collect", "--replay", ONE, "-o", "e.json").returncode == 0
    stamped = ("-o", "s.json", "--key", "shop", "--timestamp-url", "http://127.0.0.1:9/")
    refused = shop("sign", "e.json", *stamped)
    assert refused.returncode == 69
    assert not (tmp_path / "s.json").exists()


def test_a_closed_standard_output_loses_no_report(shop: Run, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = shop(
            "check", "--replay", ONE, "--report-out", "r.json", "--key", "shop",
            stdout=full.fileno(),
        )  # fmt: skip
    assert done.returncode == 73
    assert isinstance(reports_in(tmp_path / "r.json")[0], Report)


def test_the_words_of_the_options_are_those_of_the_model() -> None:
    assert tuple(role.value for role in Role) == ROLES
    assert tuple(relation.value for relation in Relation) == RELATIONS
    assert ReportWords().given() == ()
    assert ReportWords(sshsig=True, remark=("x",)).given() == ("--remark", "--sshsig")


def test_nothing_is_said_of_the_clock_of_other_evidence() -> None:
    for evidence_class in EvidenceClass:
        clock = clock_of(Evidence(evidence_class=evidence_class, origin="x", tool="t 1"))
        if evidence_class is not EvidenceClass.LIVE:
            assert clock is Clock.UNKNOWN


def test_help_names_the_options_once() -> None:
    from gpuverify.cli.check import command

    text = CliRunner().invoke(command, ["--help"]).output
    for option in ("--report-out", "--key", "--challenge", "--previous", "--timestamp-url"):
        assert text.count(f"  {option} ") == 1
