"""The benchmark of attestation evidence runs and prints ratios; what they are is not tested."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "device_evidence.py"


def test_it_prints_its_rates(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("gpuverify_bench_device_evidence", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--cards", "3", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    for what in ("chains never seen", "a lot"):
        assert re.search(rf"evidence, {what} +\d+ /s and core +\d+\.\d\d x a bare", printed)
    first, second = module.cards(2)
    assert first.chain[2:] == second.chain[2:]
    assert first.chain[0] != second.chain[0]
    assert first.report != second.report
