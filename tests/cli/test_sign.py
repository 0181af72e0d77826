"""`gpuverify sign`: real processes, real keys; what is read from a file stays what it is."""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuverify.codec.envelope_json import read_envelope
from gpuverify.codec.report_json import load_statement
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.report import PAYLOAD_TYPE, Relation, Report, ReportSet, Role
from gpuverify.signing.envelope import pae
from gpuverify.signing.keys import load_public_key

ONE, EIGHT = "ga100/a100-sxm4-80gb", "ga100/a100-sxm4-80gb-x8"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    """`run` with a home of its own, in which the key "shop" signs as sales@shop.example."""
    env = {"GPUVERIFY_HOME": str(tmp_path / "home")}

    def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(*words, env={**env, **more.pop("env", {})}, **more)

    made = call("key", "new", "shop", "--no-passphrase", "--comment", "sales@shop.example")
    assert made.returncode == 0, made.stderr
    return call


@pytest.fixture
def evidence(shop: Run, tmp_path: Path) -> Path:
    done = shop("collect", "--replay", ONE, "-o", "evidence.json")
    assert done.returncode == 0, done.stderr
    return tmp_path / "evidence.json"


def opened(data: bytes, home: Path) -> Report | ReportSet:
    """Verify one envelope with the public key beside the private one, and read it."""
    envelope = read_envelope(data, "x")
    public = load_public_key((home / "keys" / "shop.pub").read_bytes(), "shop.pub")
    assert envelope.keyid == public.keyid
    assert public.verify(envelope.signature, pae(PAYLOAD_TYPE, envelope.payload))
    return load_statement(envelope.payload, "x")


def test_a_file_of_evidence_becomes_a_carried_report(
    shop: Run, evidence: Path, tmp_path: Path
) -> None:
    (tmp_path / "label.jpg").write_bytes(b"photo")
    done = shop(
        "sign", "evidence.json", "-o", "r.json", "--key", "shop", "--claim", "a100-sxm4-80gb",
        "--condition", "used", "--role", "lab", "--order", "PO-17", "--location", "Utrecht",
        "--contact", "+31 30 123", "--signer-name", "Kaarten BV 卡", "--attach", "label.jpg",
        "--remark", "外观完好", "--remark", "<b>second</b>",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "of carried evidence" in done.stderr
    assert "read from a file: signed as that and as nothing else" in done.stderr
    report = opened((tmp_path / "r.json").read_bytes(), tmp_path / "home")
    assert isinstance(report, Report)
    assert report.evidence_class is EvidenceClass.CARRIED
    assert report.role is Role.LAB
    assert (report.order, report.location) == ("PO-17", "Utrecht")
    assert (report.signer.name, report.signer.principal) == ("Kaarten BV 卡", "sales@shop.example")
    assert report.signer.contact == "+31 30 123"
    assert report.remarks == ("外观完好", "<b>second</b>")
    assert (report.attachments[0].name, report.attachments[0].size_bytes) == ("label.jpg", 5)
    assert report.attachments[0].media_type == "image/jpeg"
    assert report.sale[0].condition == "used"
    assert report.opinion.verdict.value == "unverified"


def test_an_nvidia_smi_log_becomes_an_imported_report(shop: Run, tmp_path: Path) -> None:
    from gpuverify.sources.cases import load_case
    from gpuverify.sources.recording_host import ReplayedCommands

    commands = ReplayedCommands(load_case(ONE).recording)
    log = commands.run(("nvidia-smi", "-q", "-x"), 10.0, 1 << 24).stdout
    (tmp_path / "smi.xml").write_bytes(log)
    done = shop("sign", "smi.xml", "-o", "r.json", "--key", "shop")
    assert done.returncode == 0, done.stderr
    assert "somebody's log" in done.stderr
    report = opened((tmp_path / "r.json").read_bytes(), tmp_path / "home")
    assert isinstance(report, Report)
    assert report.evidence_class is EvidenceClass.IMPORTED
    assert report.tool.name == "nvidia-smi"
    assert report.sale == ()


def test_nothing_makes_a_file_live(shop: Run, evidence: Path, tmp_path: Path) -> None:
    tree = json.loads(evidence.read_bytes())
    tree.update(evidence_class="live", verdict="consistent")
    (tmp_path / "lie.json").write_text(json.dumps(tree), encoding="utf-8")
    marks = dict.fromkeys(("EVIDENCE_CLASS", "GPUVERIFY_CLASS", "GPUVERIFY_LIVE"), "live")
    done = shop("sign", "lie.json", "-o", "r.json", "--key", "shop", env=marks)
    assert done.returncode == 0, done.stderr
    report = opened((tmp_path / "r.json").read_bytes(), tmp_path / "home")
    assert isinstance(report, Report)
    assert report.evidence_class is EvidenceClass.CARRIED
    help_text = shop("sign", "--help").stdout
    assert "--live" not in help_text
    assert "--class" not in help_text


def test_eight_cards_become_a_set_and_eight_reports(shop: Run, tmp_path: Path) -> None:
    assert shop("collect", "--replay", EIGHT, "-o", "e.json").returncode == 0
    done = shop("sign", "e.json", "-o", "r.jsonl", "--key", "shop", "--claim", "a100-sxm4-80gb")
    assert done.returncode == 0, done.stderr
    assert "8 reports of carried evidence" in done.stderr
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines()
    assert len(lines) == 9
    first, *rest = (opened(line, tmp_path / "home") for line in lines)
    assert isinstance(first, ReportSet)
    assert first.count == 8
    reports = [report for report in rest if isinstance(report, Report)]
    assert [member.report_id for member in first.members] == [r.report_id for r in reports]
    assert len({report.document_sha256 for report in reports}) == 1
    one = shop("sign", "e.json", "-o", "one.json", "--key", "shop", "--gpu", "3")
    assert one.returncode == 0, one.stderr
    assert isinstance(opened((tmp_path / "one.json").read_bytes(), tmp_path / "home"), Report)


def test_earlier_reports_are_named_by_their_digest(
    shop: Run, evidence: Path, tmp_path: Path
) -> None:
    assert shop("sign", "evidence.json", "-o", "r1.json", "--key", "shop").returncode == 0
    done = shop(
        "sign", "evidence.json", "-o", "r2.json", "--key", "shop", "--role", "intake",
        "--previous", "r1.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = read_envelope((tmp_path / "r1.json").read_bytes(), "x")
    second = opened((tmp_path / "r2.json").read_bytes(), tmp_path / "home")
    assert isinstance(second, Report)
    (previous,) = second.previous
    import hashlib

    assert previous.payload_sha256 == hashlib.sha256(first.payload).hexdigest()
    assert previous.relation is Relation.COMPARES_TO
    assert previous.role is Role.SELLER


def test_an_encrypted_key_and_the_second_signature(
    shop: Run, evidence: Path, tmp_path: Path
) -> None:
    (tmp_path / "pass").write_text("correct horse battery staple\n", encoding="utf-8")
    (tmp_path / "pass").chmod(0o600)
    made = shop("key", "new", "safe", "--passphrase-file", "pass", "--type", "ecdsa-p256")
    assert made.returncode == 0, made.stderr
    words = ("sign", "evidence.json", "-o", "r.json", "--key", "safe", "--sshsig")
    done = shop(*words, "--passphrase-file", "pass", "--principal", "a@b.example")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.json.sig").read_text().startswith("-----BEGIN SSH SIGNATURE-----")
    (tmp_path / "pass").write_text("wrong\n", encoding="utf-8")
    wrong = shop(*words, "--force", "--passphrase-file", "pass", "--principal", "a@b.example")
    assert wrong.returncode == 77
    assert "battery" not in wrong.stderr


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no ssh-agent here")
def test_a_key_in_the_agent_gives_its_comment(shop: Run, evidence: Path, tmp_path: Path) -> None:
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a@b.example", "-f", "id"]
    subprocess.run(keygen, cwd=tmp_path, check=True)
    where = {"SSH_AUTH_SOCK": str(tmp_path / "agent")}
    with subprocess.Popen(["ssh-agent", "-D", "-a", where["SSH_AUTH_SOCK"]]) as agent:
        try:
            for _ in range(100):
                if Path(where["SSH_AUTH_SOCK"]).exists():
                    break
                time.sleep(0.05)
            add = ["ssh-add", "-q", "id"]
            subprocess.run(add, cwd=tmp_path, env={**os.environ, **where}, check=True)
            words = ("sign", "evidence.json", "-o", "r.json", "--key", "agent:a@b.example")
            done = shop(*words, env=where)
        finally:
            agent.terminate()
    assert done.returncode == 0, done.stderr
    payload = read_envelope((tmp_path / "r.json").read_bytes(), "x").payload
    report = load_statement(payload, "x")
    assert isinstance(report, Report)
    assert report.signer.principal == "a@b.example"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 64, "--key"),
        (("--key", "nobody"), 66, "nobody"),
        (("--key", "shop", "--role", "king"), 64, "king"),
        (("--key", "shop", "--remark", "a\u202eb"), 64, "invisible"),
        (("--key", "shop", "--remark", ""), 64, "between 1 and"),
        (("--key", "shop", "--order", "line\nfeed"), 64, "invisible"),
        (("--key", "shop", "--principal", "a b"), 64, "principal"),
        (("--key", "shop", "--principal", ""), 64, "principal"),
        (("--key", "shop", "--attach", "missing.jpg"), 66, "missing.jpg"),
        (("--key", "shop", "--attach", "evidence.json", "--attach", "./evidence.json"), 64, "name"),
        (("--key", "shop", "--challenge", "evidence.json"), 65, "challenge"),
        (("--key", "shop", "--previous", "evidence.json"), 65, "E_TYPE"),
        (("--key", "shop", "--relation", "child-of"), 64, "--previous"),
        (("--key", "shop", "--sshsig", "-o", "-"), 64, "--sshsig"),
        (("--key", "shop", "-v", "-o", "-"), 64, "standard output"),
        (("--key", "shop", "--gpu", "9"), 64, "no GPU"),
        (("--key", "shop", "-o", "no/such/folder"), 73, "folder"),
        (("--key", "shop", "--claim", "no-such-product"), 64, "no-such-product"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(
    shop: Run, evidence: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    before = sorted(tmp_path.iterdir())
    target = () if "-o" in words else ("-o", "r.json")
    done = shop("sign", "evidence.json", *target, *words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_an_answered_challenge_has_to_be_open(shop: Run, evidence: Path, tmp_path: Path) -> None:
    made = shop("challenge", "new", "-o", "c.json", "--order", "PO-9")
    assert made.returncode == 0, made.stderr
    done = shop("sign", "evidence.json", "-o", "r.json", "--key", "shop", "--challenge", "c.json")
    assert done.returncode == 0, done.stderr
    report = opened((tmp_path / "r.json").read_bytes(), tmp_path / "home")
    assert isinstance(report, Report)
    assert report.challenge is not None
    assert report.order == "PO-9"
    tree = json.loads((tmp_path / "c.json").read_text())
    tree.update(issuedAt="2020-01-01T00:00:00Z", expiresAt="2020-01-02T00:00:00Z")
    (tmp_path / "old.json").write_text(json.dumps(tree), encoding="utf-8")
    late = shop("sign", "evidence.json", "-o", "l.json", "--key", "shop", "--challenge", "old.json")
    assert late.returncode == 64
    assert "ended at 2020-01-02T00:00:00Z" in late.stderr


def test_a_report_is_not_replaced_unasked(shop: Run, evidence: Path, tmp_path: Path) -> None:
    words = ("sign", "evidence.json", "-o", "r.json", "--key", "shop")
    assert shop(*words).returncode == 0
    kept = (tmp_path / "r.json").read_bytes()
    again = shop(*words)
    assert again.returncode == 73
    assert "exists" in again.stderr
    assert (tmp_path / "r.json").read_bytes() == kept
    assert shop(*words, "--force").returncode == 0
    assert (tmp_path / "r.json").read_bytes() != kept


def test_standard_output_takes_a_report(shop: Run, evidence: Path, tmp_path: Path) -> None:
    done = shop("sign", "evidence.json", "-o", "-", "--key", "shop")
    assert done.returncode == 0, done.stderr
    assert isinstance(opened(done.stdout.encode(), tmp_path / "home"), Report)


def test_verbose_shows_what_is_signed(shop: Run, evidence: Path) -> None:
    done = shop("sign", "evidence.json", "-o", "r.json", "--key", "shop", "-v")
    assert done.returncode == 0, done.stderr
    assert "identity.product" in done.stdout


def test_a_card_that_cannot_be_named_is_refused(shop: Run, tmp_path: Path) -> None:
    case = "ga100/one-of-eight-bound-to-vfio"
    assert shop("collect", "--replay", case, "-o", "e.json").returncode == 0
    done = shop("sign", "e.json", "-o", "r.json", "--key", "shop")
    assert done.returncode == 65
    assert "E_SUBJECT" in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_the_private_key_is_in_no_report_and_no_message(
    shop: Run, evidence: Path, tmp_path: Path
) -> None:
    done = shop(
        "sign", "evidence.json", "-o", "r.json", "--key", "shop", env={"GPUVERIFY_DEBUG": "1"}
    )
    pem = (tmp_path / "home" / "keys" / "shop.key").read_text()
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    raw = base64.b64decode(body)[-32:]
    said = (done.stdout + done.stderr).encode() + (tmp_path / "r.json").read_bytes()
    payload = read_envelope((tmp_path / "r.json").read_bytes(), "x").payload
    for secret in (raw, raw.hex().encode(), base64.b64encode(raw), body.encode()):
        assert secret not in said + payload


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE as Linux has it")
def test_a_full_disk_leaves_no_report(shop: Run, evidence: Path, tmp_path: Path) -> None:
    """The file system takes 10,000 bytes of a file and no more; a report has some 80,000."""
    patch = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))"
    )
    before = sorted(tmp_path.iterdir())
    done = shop("sign", "evidence.json", "-o", "r.json", "--key", "shop", patch=patch)
    assert done.returncode == 73, done.stderr
    assert "cannot write r.json" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10000


@pytest.mark.parametrize("force", [False, True])
def test_a_killed_process_leaves_the_whole_or_nothing(
    shop: Run, evidence: Path, tmp_path: Path, force: bool
) -> None:
    """Killed at each step of the writing: the name holds nothing, the old, or the whole new."""
    words = ["sign", "evidence.json", "-o", "r.json", "--key", "shop", *(["--force"] * force)]
    target = tmp_path / "r.json"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    steps = (("replace", 0), ("replace", 1)) if force else (("fsync", 0), ("link", 0), ("link", 1))
    for name, when in steps:
        if force:
            target.write_bytes(b"old")
        else:
            target.unlink(missing_ok=True)
        patch = (
            "import functools, os, signal\n"
            f"kept = os.{name}\n"
            "def dying(*a, **k):\n"
            f"    {kill if when == 0 else 'kept(*a, **k)'}\n"
            f"    {kill}\n"
            # Not a plain function: pathlib of Python 3.10 would bind it as a method.
            f"os.{name} = functools.partial(dying)"
        )
        done = shop(*words, patch=patch)
        assert done.returncode in (0, -signal.SIGKILL)
        if target.exists() and target.read_bytes() != b"old":
            assert isinstance(opened(target.read_bytes(), tmp_path / "home"), Report)
        seen = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
        assert seen <= {"evidence.json", "home", "r.json"}
        for left in tmp_path.glob(".r.json.*.part"):  # what was being written, hidden
            left.unlink()


def test_killed_at_any_time(shop: Run, evidence: Path, tmp_path: Path) -> None:
    """Killed from outside, at odd moments of a real run."""
    command = [sys.executable, "-m", "gpuverify", "sign", "evidence.json", "-o", "r.json"]
    environment = {**os.environ, "GPUVERIFY_HOME": str(tmp_path / "home")}
    for delay in (0.15, 0.3, 0.5):
        target = tmp_path / "r.json"
        target.unlink(missing_ok=True)
        with subprocess.Popen(
            [*command, "--key", "shop"],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(delay)
            process.kill()
        if target.exists():
            assert isinstance(opened(target.read_bytes(), tmp_path / "home"), Report)
