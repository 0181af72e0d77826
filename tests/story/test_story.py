"""The whole story with real processes: a sale, and six ways in which it goes wrong.

Keys are in the test namespace and the cards are replays, so nothing here can end in exit 0 of
`verify`: that a live report can is shown where evidence is made in the process (tests/signing).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASE = "ga100/a100-sxm4-80gb"
USED = "ga100/a100-two-remaps"
UUID = "GPU-0d0c0b0a-1111-4222-8333-444455556666"
OTHER_CHIP = (
    f'claim = "gpu.uuid"\nvalue = "{UUID}"',
    f'procfs = "GPU UUID"\nvalue = "{UUID}"',
    'claim = "gpu.pdi"\nvalue = "0x1122334455667788"',
)
WARMER = 'claim = "temperature.gpu_celsius"\nvalue = 47'
CLAIM = ("--claim", "a100-sxm4-80gb", "--condition", "used")
SELLER, BUYER = "sales@shop.example", "intake@buyer.example"

CLOCK = """import time
_now, _now_ns = time.time, time.time_ns
time.time = lambda: _now() - {0}
time.time_ns = lambda: _now_ns() - {0} * 10**9
"""
"""A machine whose clock is behind: put in front of everything that its processes import."""


@dataclass
class Machine:
    """One machine: a home of its own, and a folder in which its user works."""

    folder: Path
    clock_behind_s: int = 0

    def run(self, *words: str, code: int | None = None) -> subprocess.CompletedProcess[str]:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        paths = [str(ROOT)]
        if self.clock_behind_s:
            (home / "sitecustomize.py").write_text(CLOCK.format(self.clock_behind_s))
            paths.insert(0, str(home))
        done = subprocess.run(
            [sys.executable, "-m", "gpuverify", *words],
            cwd=self.folder, capture_output=True, text=True, encoding="utf-8", timeout=120,
            check=False,
            env={
                "PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONUTF8": "1", "NO_COLOR": "1", "COLUMNS": "100",
            },
        )  # fmt: skip
        if code is not None:
            assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, code: int) -> dict[str, Any]:
        tree = json.loads(self.run(*words, "--json", code=code).stdout)
        assert isinstance(tree, dict)
        return tree

    def take(self, other: Machine, *names: str) -> None:
        """Carry files from another machine."""
        for name in names:
            shutil.copy(other.folder / name, self.folder / name)

    def key(self, name: str, principal: str) -> None:
        self.run("key", "new", name, "--no-passphrase", "--comment", principal, code=0)
        line = self.run("key", "export", name, "--allowed-signers", principal, code=0).stdout
        (self.folder / f"{name}.txt").write_text(line, encoding="utf-8")

    def report(self, replay: str, name: str, key: str, principal: str, *more: str) -> None:
        """Check a card and write a signed report; the verdict of a replay is 3."""
        words = ("check", "--replay", replay, *CLAIM, "--report-out", name, "--key", key,
                 "--principal", principal, *more)  # fmt: skip
        self.run(*words, code=3)

    def verify(self, *words: str, code: int) -> dict[str, Any]:
        tree = self.json("verify", *words, "--accept-replayed", code=code)
        return dict(tree.get("reports", tree.get("verifications", [tree]))[0])

    def trust(self, file: str, principal: str, role: str, *more: str) -> None:
        fields = (self.folder / file).read_text(encoding="utf-8").split()
        place = next(n for n, word in enumerate(fields) if word.startswith(("ssh-", "ecdsa-")))
        bare = self.folder / f"{file}.pub"
        bare.write_text(" ".join(fields[place:]) + "\n", encoding="utf-8")
        known = subprocess.run(
            ["ssh-keygen", "-lf", str(bare)], capture_output=True, text=True, check=True
        ).stdout.split()[1]
        self.run(
            "trust", "add", file, "--principal", principal, "--role", role, "--test",
            "--fingerprint", known, *more, code=0,
        )  # fmt: skip


@dataclass
class Sale:
    """A buyer with a challenge, and a seller with a key that the buyer confirmed."""

    buyer: Machine
    seller: Machine

    def sell(self, replay: str = CASE, name: str = "seller.json") -> None:
        self.seller.report(replay, name, "shop", SELLER, "--challenge", "challenge.json")
        self.buyer.take(self.seller, name)

    def receive(self, replay: str, name: str = "intake.json") -> None:
        self.buyer.report(replay, name, "mine", BUYER, "--role", "intake")

    def compare(self, code: int) -> str:
        done = self.buyer.run(
            "compare", "seller.json", "intake.json", "--accept-replayed", code=code
        )
        return done.stdout


@pytest.fixture
def sale(tmp_path: Path) -> Sale:
    buyer, seller = Machine(tmp_path / "buyer"), Machine(tmp_path / "seller")
    buyer.run("challenge", "new", "-o", "challenge.json", "--order", "PO-17", code=0)
    seller.run("--version", code=0)
    seller.take(buyer, "challenge.json")
    seller.key("shop", SELLER)
    buyer.take(seller, "shop.txt")
    buyer.trust("shop.txt", SELLER, "seller")
    buyer.key("mine", BUYER)
    buyer.trust("mine.txt", BUYER, "intake")
    return Sale(buyer, seller)


def changed_case(folder: Path, *edits: str, base: str = USED) -> str:
    """Write a case of our own: the card of another case, with some edits."""
    case = folder / "changed"
    case.mkdir()
    text = "\n".join(f"[[edit]]\n{edit}\n" for edit in edits)
    (case / "case.toml").write_text(
        f'base = "{base}"\ntext = "The same card, changed on the way."\n\n{text}', encoding="utf-8"
    )
    return str(case)


def refusal(tree: dict[str, Any]) -> str:
    return str(tree["refusal"]["code"] if isinstance(tree["refusal"], dict) else tree["refusal"])


def test_a_sale_that_goes_well(sale: Sale) -> None:
    sale.sell()
    told = sale.buyer.verify("seller.json", "--challenge", "challenge.json", *CLAIM, code=3)
    assert told["refusal"] is None
    appraisal = told["appraisal"]
    assert (appraisal["verdict"], appraisal["would_be"]) == ("unverified", "consistent")
    words = sale.buyer.run("show", "seller.json", "--accept-replayed").stdout
    assert SELLER in words
    sale.receive(changed_case(sale.buyer.folder, WARMER, base=CASE))
    assert "same card, same state" in sale.compare(3).lower()
    journal = sale.buyer.run("journal", "show", code=0).stdout
    assert "verified" in journal
    sale.buyer.run("journal", "check", code=0)
    # The challenge counted once: another report cannot answer it too.
    sale.sell(name="again.json")
    again = sale.buyer.verify("again.json", "--challenge", "challenge.json", *CLAIM, code=4)
    assert refusal(again) == "E_REPLAY"


def test_without_the_word_for_exercises_a_replay_is_refused(sale: Sale) -> None:
    sale.sell()
    done = sale.buyer.run("verify", "seller.json", *CLAIM)
    assert done.returncode in (4, 65)
    assert "E_" in done.stdout + done.stderr


def test_a_swapped_card(sale: Sale) -> None:
    sale.sell()
    serial = 'claim = "gpu.serial"\nvalue = "1650922511111"'
    sale.receive(changed_case(sale.buyer.folder, *OTHER_CHIP, serial, base=CASE))
    assert "not the card" in sale.compare(2).lower()
    told = sale.buyer.verify("seller.json", "--expect-serial", "1650922511111", *CLAIM, code=4)
    assert refusal(told) == "E_WRONG_CARD"


def test_a_report_that_is_too_old(sale: Sale) -> None:
    sale.seller.clock_behind_s = 45 * 24 * 3600
    sale.seller.report(CASE, "seller.json", "shop", SELLER)
    sale.buyer.take(sale.seller, "seller.json")
    told = sale.buyer.verify("seller.json", *CLAIM, code=4)
    assert refusal(told) == "E_STALE"


def test_a_report_for_another_challenge(sale: Sale) -> None:
    sale.sell()
    sale.buyer.run("challenge", "new", "-o", "other.json", "--order", "PO-18", code=0)
    told = sale.buyer.verify("seller.json", "--challenge", "other.json", *CLAIM, code=4)
    assert refusal(told) == "E_NONCE"


def test_a_cloned_serial(sale: Sale) -> None:
    sale.sell()
    sale.receive(changed_case(sale.buyer.folder, *OTHER_CHIP, base=CASE))
    said = sale.compare(2).lower()
    assert "not the card" in said
    assert "serial" in said


def test_a_changed_vbios(sale: Sale) -> None:
    sale.sell()
    sale.receive(changed_case(sale.buyer.folder, 'claim = "gpu.vbios_version"\nvalue = "92.00.36.00.02"',
                              'procfs = "Video BIOS"\nvalue = "92.00.36.00.02"', base=CASE))  # fmt: skip
    said = sale.compare(1).lower()
    assert "changed" in said
    assert "vbios" in said


def test_purged_counters(sale: Sale) -> None:
    sale.sell(USED)
    sale.receive(changed_case(sale.buyer.folder, WARMER, base=CASE))
    said = sale.compare(1).lower()
    assert "remap" in said
    assert "changed" in said


def test_an_expired_key(sale: Sale) -> None:
    sale.sell()
    known = sale.buyer.run("trust", "list", code=0).stdout
    keyid = next(word for word in known.split() if word.startswith("SHA256:"))
    sale.buyer.run("trust", "remove", keyid)
    for other in known.split():
        if other.startswith("SHA256:") and other != keyid:
            sale.buyer.run("trust", "remove", other)
    sale.buyer.trust(
        "shop.txt", SELLER, "seller", "--valid-after", "2024-01-01", "--valid-before", "2995-01-01"
    )
    store = next(sale.buyer.folder.rglob("allowed_signers"))
    store.write_text(store.read_text(encoding="utf-8").replace('"2995', '"2025'), encoding="utf-8")
    told = sale.buyer.verify("seller.json", *CLAIM, code=65)
    assert refusal(told) == "E_KEY_EXPIRED"


def test_an_edited_report(sale: Sale) -> None:
    sale.sell()
    path = sale.buyer.folder / "seller.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    payload = tree["dsseEnvelope"]["payload"]
    tree["dsseEnvelope"]["payload"] = (
        payload[:100] + ("A" if payload[100] != "A" else "B") + payload[101:]
    )
    path.write_text(json.dumps(tree), encoding="utf-8")
    told = sale.buyer.verify("seller.json", *CLAIM, code=65)
    assert refusal(told) == "E_SIGNATURE"


def test_a_server_of_eight_with_one_report_dropped(sale: Sale) -> None:
    sale.seller.report("ga100/a100-sxm4-80gb-x8", "eight.json", "shop", SELLER, "--count", "8")
    sale.buyer.take(sale.seller, "eight.json")
    sale.buyer.run("verify", "eight.json", *CLAIM, "--count", "8", "--accept-replayed", code=3)
    path = sale.buyer.folder / "eight.json"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 9
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    done = sale.buyer.run("verify", "eight.json", *CLAIM, "--count", "8", "--accept-replayed")
    assert done.returncode == 4
    assert "E_SET" in done.stdout + done.stderr
