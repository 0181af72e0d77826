"""The commands for resellers and buyers in the README, run in the order of a sale.

Every command is the README's own; a replayed card stands for the real one, so keys are trusted for
tests, and what a person would type at a prompt comes from options.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CASE = "ga100/a100-sxm4-80gb"


def section(title: str) -> list[str]:
    start = README.index(f"## {title}\n")
    text = README[start : README.index("\n## ", start)]
    return re.findall(r"^    (gpuverify .+)$", text, re.MULTILINE)


def fingerprint(file: Path) -> str:
    words = file.read_text(encoding="utf-8").split()
    at = next(n for n, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-")))
    told = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=" ".join(words[at:]), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return told.stdout.split()[1]


def run(command: str, folder: Path, replay: str) -> tuple[int, str]:
    words, _, target = command.partition(" > ")
    arguments = shlex.split(words)[1:]
    if arguments[:2] == ["key", "new"]:
        arguments.append("--no-passphrase")
    elif arguments[0] == "check":
        arguments += ["--replay", replay]
    elif arguments[:2] == ["trust", "add"]:
        arguments += ["--test", "--fingerprint", fingerprint(folder / arguments[2])]
    elif arguments[0] in ("verify", "show", "compare"):
        arguments.append("--accept-replayed")
    done = subprocess.run(
        [sys.executable, "-m", "gpuverify", *arguments],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GPUVERIFY_HOME": str(folder / "home"),
             "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    if target:
        (folder / target).write_text(done.stdout, encoding="utf-8")
    return done.returncode, done.stdout + done.stderr


def changed(folder: Path) -> str:
    """The same card, read on another day."""
    case = folder / "later"
    case.mkdir()
    (case / "case.toml").write_text(
        f'base = "{CASE}"\ntext = "The same card at intake."\n\n'
        '[[edit]]\nclaim = "temperature.gpu_celsius"\nvalue = 47\n',
        encoding="utf-8",
    )
    return str(case)


def test_the_commands_for_resellers_and_buyers_work_in_the_order_of_a_sale(tmp_path: Path) -> None:
    seller, buyer = section("For resellers"), section("For buyers")
    assert len(seller) == 3
    assert len(buyer) == 9
    codes: dict[str, int] = {}
    for command in (buyer[0], *seller, *buyer[1:4]):
        codes[command], said = run(command, tmp_path, CASE)
        assert codes[command] in (0, 3), (command, said)
    later = changed(tmp_path)
    for command in buyer[4:]:
        codes[command], said = run(command, tmp_path, later)
        assert codes[command] in (0, 3), (command, said)
    # On a replay the best there is: nothing contradicts, nothing is confirmed.
    assert codes[buyer[2]] == 3
    assert codes[buyer[-1]] == 3
    page = (tmp_path / "certificate.html").read_text(encoding="utf-8")
    assert "sales@shop.example" in page
