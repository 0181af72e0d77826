"""The plugin, in a foreign project and here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from gpuverify.testing import synthetic_recording
from gpuverify.testing.pytest_plugin import NvmlCase

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nvml-in-your-ci"


@pytest.mark.required
def test_the_example_project_runs() -> None:
    """A foreign project, in its own process, with the plugin found by its entry point."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "COV_", "COVERAGE"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b5 passed", done.stdout)


@pytest.mark.nvml_case("ga100/a30")
def test_the_marker_puts_a_case_in_place(nvml_case: NvmlCase) -> None:
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)) == "NVIDIA A30"
    assert nvml_case.library is not None


def test_the_fixture_can_be_called_again(nvml_case: NvmlCase) -> None:
    assert nvml_case.library is None
    for name, shown in (("turing/t4", "Tesla T4"), ("ada/l40s", "NVIDIA L40S")):
        library = nvml_case(name)
        pynvml.nvmlInit()
        assert pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)) == shown
        assert pynvml.nvmlLib is library
    nvml_case(synthetic_recording([]))
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 0


def test_nothing_heavy_is_loaded_with_the_plugin() -> None:
    code = (
        "import sys, gpuverify.testing.pytest_plugin\n"
        "print([n for n in sys.modules if n.startswith(('gpuverify.', 'pynvml', 'xml'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pynvml" not in done.stdout
    assert "gpuverify.sources" not in done.stdout
