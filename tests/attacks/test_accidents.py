"""Accidents end in their own code: a variable left behind, Ctrl-C, a rule that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import A100

from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.sources.cases import load_case

pytestmark = pytest.mark.required

XML = xml_from_leaves(list(load_case(A100).recording.nvidia_smi.leaves))  # type: ignore[union-attr]


def test_a_variable_for_completion_ends_no_command(tmp_path: Path) -> None:
    """Left in the environment by the seller, it must not answer 0 for a check."""
    path = tmp_path / "log.xml"
    path.write_bytes(XML)
    for instruction in ("bash_source", "zsh_source", "bash_complete", "nonsense"):
        done = subprocess.run(
            [sys.executable, "-m", "gpuverify", "appraise", str(path), "--claim", "h100-sxm5-80gb"],
            env={
                **os.environ,
                "_GPUVERIFY_COMPLETE": instruction,
                "COMP_WORDS": "x",
                "COMP_CWORD": "0",
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr


def test_an_interrupt_while_a_source_hangs() -> None:
    """NVML hangs where no signal reaches it: Ctrl-C still ends the command with 130."""
    script = (
        "import sys, time\n"
        "import gpuverify.sources.nvml as nvml\n"
        "def hang(*a, **k):\n    print('hanging', flush=True)\n    time.sleep(60)\n"
        "nvml.read_nvml = hang\n"
        "from gpuverify.cli.entry import main\nsys.exit(main(['check']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hanging\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode().splitlines()[-1] == "gpuverify: interrupted"
    assert b"Traceback" not in errors


def test_a_rule_that_fails_is_70_and_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "log.xml"
    path.write_bytes(XML)
    script = (
        "import dataclasses, sys\n"
        "import gpuverify.rules as rules\n"
        "def boom(subject):\n    raise ZeroDivisionError('x')\n"
        "rules.RULES = (dataclasses.replace(rules.RULES[0], check=boom), *rules.RULES[1:])\n"
        "from gpuverify.cli.entry import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "appraise", str(path), "--claim", "a100-sxm4-80gb"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70
    assert done.stdout == b""
    assert b"a fault of gpuverify, not of the card" in done.stderr
    assert done.stderr.count(b"\n") == 1
