"""The benchmark of verification runs and prints its figures; what they are is not tested."""

from __future__ import annotations

import gc
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "signing.py"


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_prints_its_ratios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("gpuverify_signing_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    module.main(["--rounds", "1", "--reports", "2", "--many", "60", "--workers", "2"])
    printed = capsys.readouterr().out
    assert len(re.findall(r"whole, to the signature alone +\d+\.\d x +budget", printed)) == 2
    assert re.search(r"all stages but the appraisal +\d+/s +goal 1000/s", printed)
    assert re.search(r"rows that came back +60", printed)
    assert re.search(r"peak memory, second half +\d+ KiB", printed)
