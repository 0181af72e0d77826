"""Write docs/commands.md: the help text of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "docs" / "commands.md"
COMMANDS = (
    "",
    "check",
    "collect",
    "appraise",
    "record",
    "selftest",
    "sign",
    "verify",
    "show",
    "compare",
    "key",
    "key new",
    "key list",
    "key export",
    "trust",
    "trust add",
    "trust list",
    "trust remove",
    "trust revoke",
    "challenge",
    "challenge new",
    "challenge show",
    "journal",
    "journal show",
    "journal check",
    "journal head",
    "journal record",
    "device-evidence",
    "device-evidence show",
    "device-evidence verify",
    "rules",
    "explain",
    "products",
)
REFDB = ("refdb", "refdb show", "refdb diff", "refdb lint", "refdb field-run")


def help_text(command: str) -> str:
    """Return what `gpuverify COMMAND --help` prints."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    arguments = [sys.executable, "-m", "gpuverify", *command.split(), "--help"]
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env=environment,
        cwd=ROOT,
    )
    return done.stdout.replace("python -m gpuverify", "gpuverify")


def page() -> str:
    """Return the whole page."""
    parts = ["# Commands", "", "Generated from the help texts; `make generate` writes it anew.", ""]
    for command in (*COMMANDS, *REFDB):
        name = f"gpuverify {command}".strip()
        parts += [f"## {name}", "", "```", help_text(command).rstrip(), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
