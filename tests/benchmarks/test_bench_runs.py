"""The benchmark runs and prints ratios; what they are is not tested."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


def test_the_appraisal_part_prints_its_ratios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPUVERIFY_CORPUS", raising=False)
    spec = importlib.util.spec_from_file_location("gpuverify_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--appraisal-only", "--copies", "2", "--rounds", "1", "--rules"])
    printed = capsys.readouterr().out
    assert re.search(r"appraising 8-GPU XML +\d+\.\d\d x handler-less expat pass +budget", printed)
    assert re.search(r"reading 8-GPU XML +\d+\.\d\d x", printed)
    assert "peak memory after 20 more files" in printed
    assert "dearest rules" in printed
    first, second = (module.another_server(module.eight_gpu_xml()[0], n) for n in (1, 2))
    assert first != second
    assert len(first) == len(second)
