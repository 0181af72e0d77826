"""Builds the C library that stands in for libnvidia-ml.so.1, and reads it in a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DUMP = """
import json, sys
from gpuverify.sources.nvml import read_nvml
lines = []
reading = read_nvml(lines.append, clock=lambda: 1700000000123,
                    nonce_for=lambda uuid: uuid[-1].encode() * 32)
def rows(claims):
    return [[c.id, c.status.value, c.value, c.call, c.raw_code, c.raw_text, c.time_ms, c.source.value]
            for c in claims]
json.dump({"host": rows(reading.host), "progress": lines,
           "devices": {k: rows(v) for k, v in reading.devices.items()}}, sys.stdout)
"""


class Row:
    """One claim as the subprocess printed it."""

    def __init__(self, fields: list[Any]) -> None:
        (
            self.id,
            self.status,
            self.value,
            self.call,
            self.code,
            self.text,
            self.ms,
            self.source,
        ) = fields


class Result:
    """A reading as the subprocess printed it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.host = {row[0]: Row(row) for row in data["host"]}
        self.devices = {
            key: {row[0]: Row(row) for row in rows} for key, rows in data["devices"].items()
        }
        self.rows = [Row(row) for rows in data["devices"].values() for row in rows]
        self.progress: list[str] = data["progress"]

    @property
    def card(self) -> dict[str, Row]:
        return next(iter(self.devices.values()))


def build(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *flags,
         "-o", str(library), str(HERE / "nvml_shim.c")],
        check=True,
    )  # fmt: skip
    return folder


def read(
    library: Path, *, fail: str = "", quirk: str = "", count: str = "", python_path: str = ""
) -> Result:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LD_LIBRARY_PATH": str(library),
        "SHIM_FAIL": fail,
        "SHIM_QUIRK": quirk,
        **({"SHIM_COUNT": count} if count else {}),
        **({"PYTHONPATH": python_path} if python_path else {}),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DUMP],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Result(json.loads(done.stdout))
