"""Runs the command line as its users do: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment without what would change the output."""
    dropped = ("NO_COLOR", "GPUVERIFY_DEBUG", "PYTHONIOENCODING", "COLUMNS", "FORCE_COLOR")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**env, "PYTHONUTF8": "1", **extra}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("check", "--json", env={...}, patch="code run beforehand", stdin=b"...")`."""

    def call(
        *words: str,
        env: dict[str, str] | None = None,
        patch: str = "",
        stdin: bytes = b"",
        stdout: int = subprocess.PIPE,
        text: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gpuverify", *words]
        if patch:
            script = f"{patch}\nimport sys\nfrom gpuverify.cli.entry import main\nsys.exit(main())"
            command = [sys.executable, "-c", script, *words]
        done = subprocess.run(
            command,
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=clean_environment(**(env or {})),
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        out = (done.stdout or b"").decode("utf-8" if text else "latin-1")
        return subprocess.CompletedProcess(command, done.returncode, out, done.stderr.decode())

    return call
