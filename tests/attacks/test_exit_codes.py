"""Every exit code of the contract is reached by a process, and no other is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import A100

from gpuverify.cli.exit_codes import MEANINGS
from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.sources.cases import load_case

pytestmark = pytest.mark.required

MAIN = "\nimport sys\nfrom gpuverify.cli.entry import main\nsys.exit(main())\n"
LIVE = (
    "import dataclasses, gpuverify.cli.gather as gather\n"
    "from gpuverify.collect.replay import replay_case\n"
    "from gpuverify.model.evidence import EvidenceClass\n"
    "gather.gather = lambda replay, wanted=None, **_more: dataclasses.replace(\n"
    f"    replay_case({A100!r}), evidence_class=EvidenceClass.LIVE)\n"
)
NOTHING = (
    "import gpuverify.cli.gather as gather\n"
    "from gpuverify.model.claims import Claim, ClaimStatus, Source\n"
    "from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass\n"
    "told = Claim(id='nvml.session', status=ClaimStatus.{status}, source=Source.NVML)\n"
    "gather.gather = lambda replay, wanted=None, **_more: Evidence(evidence_class=EvidenceClass.LIVE, origin='x',\n"
    "    tool='x', host=ClaimSet((told,)))\n"
)
BROKEN = "import gpuverify.cli.gather as gather\ndef boom(replay, wanted=None, **_more):\n    {}\ngather.gather = boom\n"
CHECK = ("check", "--claim", "a100-sxm4-80gb")
WAYS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "a live card in order": (0, LIVE, CHECK),
    "a live card of another kind": (2, LIVE, ("check", "--claim", "h100-sxm5-80gb")),
    "a live card and no claim": (3, LIVE, ("check",)),
    "a live card and a policy that only screens": (3, LIVE, (*CHECK, "--policy", "screen")),
    "a lie about the machine": (
        1, "", (*CHECK, "--replay", "ga100/a100-nvml-without-a-pci-function")),
    "a lie about the card": (2, "", (*CHECK, "--replay", "ga100/a100-40gb-sold-as-80gb")),
    "a replay in order": (3, "", (*CHECK, "--replay", A100)),
    "wrong words": (64, "", ("check", "--count", "2")),
    "a claim of nothing": (64, "", ("check", "--claim", "a200")),
    "a file that is no read-out": (65, "", ("appraise", sys.executable)),
    "no such file": (66, "", ("appraise", "/nonexistent")),
    "no device": (69, NOTHING.format(status="NOT_FOUND"), CHECK),
    "a refusal": (77, NOTHING.format(status="NO_PERMISSION"), CHECK),
    "a fault": (70, BROKEN.format("raise KeyError('x')"), CHECK),
    "a missing module": (70, "import sys; sys.modules['gpuverify.appraise'] = None", CHECK),
    "an exit inside": (70, BROKEN.format("import sys; sys.exit(0)"), CHECK),
    "a full disk": (73, "", ("collect", "--replay", A100, "-o", "/dev/full")),
    "a folder that is not there": (73, "", ("collect", "--replay", A100, "-o", "/nonexistent/x")),
    "an interrupt": (130, BROKEN.format("raise KeyboardInterrupt"), CHECK),
}  # fmt: skip


def run(before: str, words: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process, some code before it."""
    return subprocess.run(
        [sys.executable, "-c", before + MAIN, *words],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("way", WAYS)
def test_each_code_is_reached(way: str) -> None:
    code, before, words = WAYS[way]
    done = run(before, words)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert b"Traceback" not in done.stderr
    if code >= 64:
        assert done.stderr.decode().count("\n") == 1
        assert done.stdout == b""


@pytest.mark.parametrize(
    "way", [way for way, entry in WAYS.items() if entry[0] >= 64 and entry[2][0] != "collect"]
)
def test_each_error_is_one_document(way: str) -> None:
    code, before, words = WAYS[way]
    done = run(before, (*words, "--json"))
    assert (done.returncode, done.stderr) == (code, b"")
    assert json.loads(done.stdout)["error"]["exit_code"] == code


def test_every_code_of_the_contract_is_there() -> None:
    assert {entry[0] for entry in WAYS.values()} | {4} == set(MEANINGS)  # 4 comes with `verify`


def test_the_reader_went_away(tmp_path: Path) -> None:
    """A pipe that is closed does not turn a mismatch into anything milder."""
    smi = load_case("ga100/a100-40gb-sold-as-80gb").recording.nvidia_smi
    assert smi is not None
    path = tmp_path / "log.xml"
    path.write_bytes(xml_from_leaves(list(smi.leaves)))
    shell = f'"{sys.executable}" -m gpuverify appraise "{path}" --claim a100-sxm4-80gb; echo $? >&2'
    done = subprocess.run(
        ["/bin/sh", "-c", f"( sleep 0.5; {shell} ) | :"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert int(done.stderr.split()[-1]) not in (0, 1, 3)
    assert b"Traceback" not in done.stderr
