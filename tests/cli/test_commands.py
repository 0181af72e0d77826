"""The commands from end to end, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CASE = "ga100/a100-sxm4-40gb"

LOG = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<timestamp>Tue Mar  5 10:11:12 2024</timestamp>
	<driver_version>550.54.14</driver_version>
	<cuda_version>12.4</cuda_version>
	<attached_gpus>1</attached_gpus>
	<gpu id="00000000:07:00.0">
		<product_name>{name}</product_name>
		<product_brand>NVIDIA</product_brand>
		<product_architecture>Ampere</product_architecture>
		<serial>1324221071234</serial>
		<uuid>GPU-5d2d1a4c-1111-4222-8333-444455556666</uuid>
		<vbios_version>92.00.45.00.03</vbios_version>
		<board_part_number>692-2G506-0200-002</board_part_number>
		<gpu_part_number>20B0-884-A1</gpu_part_number>
		<inforom_version><img_version>G506.0200.00.04</img_version></inforom_version>
		<pci>
			<pci_bus>07</pci_bus><pci_device>00</pci_device><pci_domain>0000</pci_domain>
			<pci_device_id>20B010DE</pci_device_id>
			<pci_bus_id>00000000:07:00.0</pci_bus_id>
			<pci_sub_system_id>134F10DE</pci_sub_system_id>
		</pci>
		<fb_memory_usage>
			<total>40960 MiB</total><reserved>571 MiB</reserved>
			<used>3 MiB</used><free>40386 MiB</free>
		</fb_memory_usage>
		<mig_mode><current_mig>Disabled</current_mig></mig_mode>
		<ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>
	</gpu>
</nvidia_smi_log>
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A short log of an A100 40 GB, written for these tests."""
    path = tmp_path / "seller.xml"
    path.write_text(LOG.format(name="NVIDIA A100-SXM4-40GB"))
    return path


def test_a_log_that_contradicts_the_claim_is_2(run: Run, log: Path) -> None:
    done = run("appraise", str(log), "--claim", "a100-sxm4-80gb")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "MISMATCH: this file contradicts the sale claim (exit 2)" in done.stdout
    assert done.stderr == ""


def test_a_log_that_contradicts_nothing_is_3(run: Run, log: Path) -> None:
    done = run("appraise", str(log), "--claim", "a100-sxm4-40gb")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "somebody's log" in done.stdout


def test_nothing_claimed_is_3_and_says_what_it_reads_as(run: Run, log: Path) -> None:
    done = run("appraise", str(log))
    assert done.returncode == 3
    assert "nothing was claimed" in done.stdout
    assert "a100-sxm4-40gb" in done.stdout


def test_one_document_for_one_file(run: Run, log: Path) -> None:
    done = run("appraise", "--json", str(log), "--claim", "a100-sxm4-80gb")
    document = json.loads(done.stdout)
    assert document["schema"] == "gpuverify/result/v1"
    assert document["exit_code"] == done.returncode == 2
    assert document["evidence"]["class"] == "imported"
    assert document["devices"][0]["product"]["id"] == "a100-sxm4-40gb"
    assert document["devices"][0]["serial"] == "1324221071234"


def test_standard_input(run: Run, log: Path) -> None:
    done = run("appraise", "-", "--json", stdin=log.read_bytes())
    assert done.returncode == 3
    assert json.loads(done.stdout)["devices"][0]["pci_bus_id"] == "00000000:07:00.0"


def test_a_bad_file_stops_no_other(run: Run, log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"\x00\x01\x02" * 100)
    missing = tmp_path / "missing.xml"
    words = ("appraise", str(bad), str(missing), str(log), "--claim", "a100-sxm4-80gb")
    done = run(*words)
    assert done.returncode == 2
    for path in (bad, missing, log):
        assert str(path) in "".join(done.stdout.split())
    assert "3 inputs, exit 2" in done.stdout

    document = json.loads(run(*words, "--json").stdout)
    assert document["schema"] == "gpuverify/results/v1"
    assert document["exit_code"] == 2
    assert [error["exit_code"] for error in document["errors"]] == [65, 66]
    assert [error["input"] for error in document["errors"]] == [str(bad), str(missing)]
    assert len(document["results"]) == 1

    lines = run(*words, "--jsonl").stdout.splitlines()
    assert [json.loads(line)["schema"].split("/")[1] for line in lines] == [
        "error",
        "error",
        "result",
    ]


def test_a_bad_file_outranks_one_that_contradicts_nothing(
    run: Run, log: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text("<nvidia_smi_log><gpu>")
    assert run("appraise", str(log), str(bad)).returncode == 65
    assert run("appraise", str(bad)).returncode == 65
    assert run("appraise", str(log), str(tmp_path / "no")).returncode == 66
    assert run("appraise", str(tmp_path / "no")).returncode == 66


def test_a_fault_on_one_of_two_files_is_70(run: Run, log: Path) -> None:
    patch = (
        "import gpuverify.cli.options as m\nreal = m.Question.put\n"
        "def put(self, evidence):\n"
        "    if 'two' in evidence.origin: raise ValueError('odd')\n"
        "    return real(self, evidence)\n"
        "m.Question.put = put"
    )
    two = log.with_name("two.xml")
    two.write_bytes(log.read_bytes())
    done = run("appraise", str(two), str(log), patch=patch)
    assert done.returncode == 70
    assert "a fault of gpuverify" in done.stderr
    assert "2 inputs, exit 70" in done.stdout


def test_an_interrupt_between_files_is_130(run: Run, log: Path) -> None:
    patch = (
        "import gpuverify.cli.options as m\n"
        "def put(self, evidence): raise KeyboardInterrupt\nm.Question.put = put"
    )
    assert run("appraise", str(log), str(log), patch=patch).returncode == 130
    assert run("appraise", str(log), patch=patch).returncode == 130


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--claim", "no-such-product"), 64),
        (("--claim", "A100"), 64),
        (("--memory", "80GB"), 64),
        (("--gpu", "7"), 64),
        (("--policy", "no-such-policy.toml"), 66),
        (("--claim", "no-such-claim.toml"), 66),
    ],
)
def test_claims_and_policies_that_do_not_resolve(
    run: Run, log: Path, words: tuple[str, ...], code: int
) -> None:
    done = run("appraise", str(log), *words)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_bad_policy_and_claim_files_are_65(run: Run, log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("item = 3\n")
    assert run("appraise", str(log), "--policy", str(bad)).returncode == 65
    assert run("appraise", str(log), "--claim", str(bad)).returncode == 65


def test_hostile_names_do_no_harm(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil\x1b[31m\n.xml"
    for name, code in (("NVIDIA \u202eA100\u009b2J", 65), ("NVIDIA \u78c1 A100 &lt;b&gt;", 1)):
        path.write_text(LOG.format(name=name), encoding="utf-8")
        done = run("appraise", str(path), "-v", "--claim", "a100-sxm4-40gb")
        assert done.returncode in (code, 3), done.stdout + done.stderr
        for sign in ("\x1b", "\u202e", "\u009b"):
            assert sign not in done.stdout + done.stderr
        assert "[31m\n" not in done.stdout


def test_a_story_that_does_not_fit_itself_is_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "renamed.xml"
    path.write_text(LOG.format(name="NVIDIA A100-SXM4-80GB"))
    done = run("appraise", str(path), "--claim", "a100-sxm4-40gb")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SUSPECT: this file does not fit together" in done.stdout


LIVE = """
import dataclasses
import gpuverify.cli.gather as g
from gpuverify.collect.replay import replay_case
from gpuverify.model.evidence import EvidenceClass
g.gather = lambda replay, wanted=None, **_more: dataclasses.replace(
    replay_case("ga100/a100-sxm4-80gb"), evidence_class=EvidenceClass.LIVE, origin="this machine")
"""


def test_a_live_machine_in_order_is_0(run: Run) -> None:
    done = run("check", "--claim", "a100-sxm4-80gb", patch=LIVE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CONSISTENT: the evidence is consistent with the sale claim (exit 0)" in done.stdout
    unclaimed = run("check", "--json", patch=LIVE)
    assert unclaimed.returncode == 3
    assert json.loads(unclaimed.stdout)["verdict"] == "unverified"


def test_one_gpu_of_a_machine_is_not_the_machine(run: Run) -> None:
    assert run("check", "--gpu", "0", "--claim", "a100-sxm4-80gb", patch=LIVE).returncode in (0, 3)
    assert run("check", "--gpu", "1", "--claim", "a100-sxm4-80gb", patch=LIVE).returncode == 64


def test_a_console_without_utf_8(run: Run, log: Path) -> None:
    for encoding in ("gbk", "ascii"):
        done = run(
            "appraise", str(log), env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"}, text=False
        )
        assert done.returncode == 3, done.stderr
        assert done.stdout.isascii()


def test_the_exit_code_outlives_the_reader(log: Path) -> None:
    command = f'"{sys.executable}" -m gpuverify appraise {log} --claim a100-sxm4-80gb'
    done = subprocess.run(
        ["/bin/sh", "-c", f"( {command} >/dev/full; echo $? ); ( {command} >&-; echo $? )"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == [b"73", b"73"]


def test_check_replays_a_case(run: Run) -> None:
    done = run("check", "--replay", CASE, "--claim", "a100-sxm4-80gb")
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"Replay of case {CASE}: not a live card" in done.stdout
    assert "on live evidence it would be MISMATCH" in done.stdout


def test_check_json_of_a_replay(run: Run) -> None:
    done = run("check", "--replay", CASE, "--claim", "a100-sxm4-80gb", "--json")
    document = json.loads(done.stdout)
    assert document["verdict"] == "unverified"
    assert document["would_be"] == "mismatch"
    assert document["exit_code"] == done.returncode == 2
    assert done.stderr == ""


def test_check_without_a_case_of_that_name_is_66(run: Run) -> None:
    assert run("check", "--replay", "no/such-case").returncode == 66


def test_evidence_is_written_whatever_the_verdict(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "evidence.json"
    words = ("check", "--replay", CASE, "--claim", "a100-sxm4-80gb", "--evidence-out", str(out))
    assert run(*words).returncode == 2
    first = out.read_bytes()
    assert json.loads(first)["schema"] == "gpuverify/evidence/v1"
    assert run(*words).returncode == 2
    assert out.read_bytes() == first
    carried = run("appraise", str(out), "--claim", "a100-sxm4-80gb", "--json")
    assert carried.returncode == 2
    assert json.loads(carried.stdout)["evidence"]["class"] == "carried"


@pytest.mark.parametrize("path", ["/dev/full", "no/such/folder/e.json", "."])
def test_evidence_that_cannot_be_written_is_73(run: Run, path: str) -> None:
    done = run("check", "--replay", CASE, "--evidence-out", path)
    assert done.returncode == 73
    assert done.stdout == ""


def test_collect_writes_once(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "evidence.json"
    assert run("collect", "--replay", CASE, "-o", str(out)).returncode == 0
    again = run("collect", "--replay", CASE, "-o", str(out))
    assert again.returncode == 73
    assert "--force" in again.stderr
    assert run("collect", "--replay", CASE, "-o", str(out), "--force").returncode == 0
    piped = run("collect", "--replay", CASE, "-o", "-")
    assert piped.stdout.encode() == out.read_bytes()


NO_DEVICE = """
import gpuverify.cli.gather as g
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
claim = Claim(id="nvml.session", status=ClaimStatus.{}, source=Source.NVML, raw_text="said so")
g.gather = lambda replay, wanted=None, **_more: Evidence(
    evidence_class=EvidenceClass.LIVE, origin="this machine", tool="t", host=ClaimSet((claim,)))
"""


@pytest.mark.parametrize(("status", "code"), [("NOT_FOUND", 69), ("NO_PERMISSION", 77)])
def test_no_device(run: Run, tmp_path: Path, status: str, code: int) -> None:
    patch = NO_DEVICE.format(status)
    done = run("check", patch=patch)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert "said so" in done.stderr
    as_json = run("check", "--json", patch=patch)
    assert json.loads(as_json.stdout)["error"]["exit_code"] == code == as_json.returncode
    # What was found out is worth keeping all the same.
    for words in (("check", "--evidence-out", "e.json"), ("collect", "-o", "c.json")):
        assert run(*words, patch=patch).returncode == code
        assert json.loads((tmp_path / words[-1]).read_text())["schema"] == "gpuverify/evidence/v1"


def test_a_device_fault_in_check_is_70(run: Run) -> None:
    patch = (
        "import gpuverify.cli.gather as g\n"
        "def gather(replay): raise RuntimeError('unexpected')\ng.gather = gather"
    )
    done = run("check", "--json", patch=patch)
    assert done.returncode == 70
    assert json.loads(done.stdout)["error"]["code"] == "fault"


def test_rules_and_explain(run: Run) -> None:
    from gpuverify.rules import RULES

    listed = run("rules").stdout
    for rule in RULES:
        assert f"  {rule.id} " in listed
    first = RULES[0]
    whole = run("explain", first.id)
    assert whole.returncode == 0
    assert first.id in whole.stdout
    assert f"{first.codes[0].id}: " in run("explain", f"{first.id}/{first.codes[0].id}").stdout
    for words in ("no.such.rule", f"{first.id}/no-such-code"):
        assert run("explain", words).returncode == 64
    near = run("explain", first.id[:-1])
    assert near.returncode == 64
    assert first.id in near.stderr


def test_products(run: Run) -> None:
    assert "h100-sxm5-80gb" in run("products").stdout
    found = run("products", "A100", "80gb")
    assert found.returncode == 0
    assert "a100-sxm4-80gb" in found.stdout
    assert "h100" not in found.stdout
    assert "a100-sxm4-80gb" in run("products", "20b2").stdout
    assert run("products", "no such thing").returncode == 64


def test_refdb(run: Run) -> None:
    shown = run("refdb", "show", "a100-sxm4-80gb")
    assert shown.returncode == 0
    assert "memory.total_mib" in shown.stdout
    apart = run("refdb", "diff", "a100-sxm4-40gb", "a100-sxm4-80gb")
    assert apart.returncode == 0
    assert "memory.total_mib" in apart.stdout
    assert run("refdb", "show", "no-such").returncode == 64
    assert run("refdb", "lint").returncode == 0


def test_record_refuses_a_folder_with_something_in_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "x").touch()
    assert run("record", "-o", "case").returncode == 73


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_a_terminal_only(log: Path, extra: dict[str, str], coloured: bool) -> None:
    import os
    import pty

    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env |= {"TERM": "xterm", "COLUMNS": "100", "PYTHONUTF8": "1", **extra}
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gpuverify", "appraise", str(log)], stdout=terminal, env=env
    ) as process:
        os.close(terminal)
        parts = []
        try:
            while part := os.read(main, 65536):
                parts.append(part)
        except OSError:  # Linux says so when the other side is closed
            pass
    os.close(main)
    assert process.returncode == 3
    assert (b"\x1b[" in b"".join(parts)) is coloured


def test_the_corpus_appraises_without_a_fault(run: Run, corpus: Path) -> None:
    files = sorted(str(path) for path in corpus.iterdir() if path.suffix in (".xml", ".txt"))
    done = run("appraise", "--jsonl", *files)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(files)
    codes = [line.get("exit_code", line.get("error", {}).get("exit_code")) for line in lines]
    assert set(codes) <= {1, 2, 3, 65}
    assert done.returncode in codes
