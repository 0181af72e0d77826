"""`gpuverify refdb field-run` as it is typed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rules"))

from measured_field_runs import PRODUCT, document, encoded

from gpuverify.collect.selftest import pack_digests
from gpuverify.refdb.lint import lint
from gpuverify.refdb.loader import DATA


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpuverify", "refdb", "field-run", *words],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = []
    for number in range(5):
        path = tmp_path / f"run{number}.json"
        path.write_bytes(encoded(document(number, kernels=pack_digests())))
        names.append(str(path))
    return names


def test_files_are_shown_and_put_on_file(files: list[str], tmp_path: Path) -> None:
    shown = run(*files)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{PRODUCT}: 5 shown, 5 to count" in shown.stdout
    assert "rate.fp32_fma_per_clock_per_sm: field-run (5 cards, drivers 535.129.03" in shown.stdout
    assert "a band needs 5 different cards and 2 driver versions" in shown.stdout
    folder = tmp_path / "data"
    shutil.copytree(DATA, folder)
    done = run(*files[:2], "--into", str(folder))
    assert done.returncode == 0, done.stderr
    assert "no band yet" in done.stdout
    done = run(*files[2:], "--into", str(folder))
    assert done.returncode == 0, done.stderr
    assert "; band " in done.stdout
    assert lint(folder) == []
    again = run(files[0], "--into", str(folder))
    assert again.returncode == 65
    assert "this very card" in again.stderr


def test_a_band_that_few_cards_do_not_give(files: list[str]) -> None:
    shown = run(files[0], files[0])
    assert f"{PRODUCT}: 2 shown, 1 to count" in shown.stdout
    assert "no band yet" in shown.stdout
    assert "field-run (1 card, driver" in shown.stdout


def test_what_cannot_be_used(files: list[str], tmp_path: Path) -> None:
    assert run().returncode == 64
    assert run(str(tmp_path / "none.json")).returncode == 66
    hostile = tmp_path / "hostile\x1b[2J.json"
    hostile.write_bytes(b'{"schema": "\\u001b[2J"}')
    done = run(files[0], str(hostile))
    assert done.returncode == 65
    assert "\x1b" not in done.stderr + done.stdout
    assert run(files[0], "--into", str(tmp_path / "none")).returncode == 73
    (tmp_path / "refused.json").write_bytes(encoded({**document(7), "origin": "emulated"}))
    done = run(files[0], str(tmp_path / "refused.json"), "--into", str(tmp_path))
    assert done.returncode == 65
    assert "emulated or played back" in done.stderr
    assert not (tmp_path / "field-runs").exists()
