"""Mutated read-outs from end to end: load, appraise, render, for a bounded time.

`GPUVERIFY_FUZZ_SECONDS` says how long, `GPUVERIFY_FUZZ_SEED` with what; a failure prints both the
seed and the mutant's number, so that it can be had again.
"""

from __future__ import annotations

import functools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import NOW_MS, database, recorded

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.evidence_json import dump_evidence
from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.codec.read import read_evidence
from gpuverify.errors import GpuverifyError
from gpuverify.model.evidence import Evidence
from gpuverify.model.sale import SaleClaim
from gpuverify.model.verdict import Verdict
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.render.result_json import document_text, result_document
from gpuverify.render.style import Style
from gpuverify.render.text import Screen, result_text
from gpuverify.sources.cases import load_case

pytestmark = pytest.mark.required

SECONDS = float(os.environ.get("GPUVERIFY_FUZZ_SECONDS", "5"))
SEED = os.environ.get("GPUVERIFY_FUZZ_SEED", "gpuverify")
LARGEST = 300_000
CASES = ("ga100/a100-sxm4-80gb", "ga100/two-cards-with-one-serial", "kepler/k80", "ada/rtx-4090",
         "gh100/h800-sold-as-h100", "turing/rtx-2080-ti-22gb-undeclared")  # fmt: skip
CLAIMS = (
    (None, None, None),
    ("a100-sxm4-80gb", "new", 1),
    ("h100-sxm5-80gb", "used", None),
    ("k80", None, 2),
    ("rtx-4090-24gb", "refurbished", 1),
    ("rtx-2080-ti-22gb", "new", None),
)

LOG = b"""
==============NVSMI LOG==============

Timestamp                                 : Sat Nov 21 12:00:00 2026
Driver Version                            : 550.54.14
CUDA Version                              : 12.4

Attached GPUs                             : 1
GPU 00000000:07:00.0
    Product Name                          : NVIDIA A100-SXM4-80GB
    Product Architecture                  : Ampere
    MIG Mode
        Current                           : Disabled
    Serial Number                         : 1650922633008
    GPU UUID                              : GPU-67275d30-83aa-4965-8d1f-a0fe9a2dcfef
    VBIOS Version                         : 92.00.45.00.05
    Board Part Number                     : 692-2G506-0210-002
    GPU Part Number                       : 20B2-895-A1
    Inforom Version
        Image Version                     : G506.0210.00.03
        OEM Object                        : 2.0
        ECC Object                        : 6.16
    GPU Virtualization Mode
        Virtualization Mode               : None
    PCI
        Bus                               : 0x07
        Device Id                         : 0x20B210DE
        Bus Id                            : 00000000:07:00.0
        Sub System Id                     : 0x146310DE
    FB Memory Usage
        Total                             : 81920 MiB
        Reserved                          : 834 MiB
    BAR1 Memory Usage
        Total                             : 131072 MiB
    ECC Mode
        Current                           : Enabled
    ECC Errors
        Aggregate
            SRAM Correctable              : 11
            DRAM Uncorrectable            : 13
    Retired Pages
        Single Bit ECC                    : N/A
    Remapped Rows
        Correctable Error                 : 5
        Uncorrectable Error               : 7
        Pending                           : No
        Remapping Failure Occurred        : No
    Max Clocks
        SM                                : 1410 MHz
        Memory                            : 1593 MHz
"""

SNIPPETS = [
    b"<", b">", b"&", b"</gpu>", b"<gpu>", b"<!--", b"]]>", b"&#0;", b"&#x202e;", b"&lt;script&gt;",
    b"N/A", b"GPU is lost", b"ERR!", b"Unknown Error", b" : ", b"\n", b"    ", b"-1", b"0", b" MiB",
    b"GPU 00000000:FF:00.7\n", b"9" * 40, b"18446744073709551615", b"\x00", b"\xff", b"\x1b[31m",
    b"\xe2\x80\xae", b"\xc2\x9b", b"\xf3\xa0\x80\x81", b"{", b'"', b"\\u202e", b"\\ud800", b"[...]",
    b"nan", b"1e999", b"\xe2\x80\xa8", b"\xc2\xad", b"{observed}", b"{0.__class__}", b"%s%n",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 40960 << 20, 81920 << 20, 0xFFFF, 0xFFFFFFFF, 2**53, 2**63 - 1, -(2**63)]
TEXTS = ["", " ", "N/A", "0", "none", "pass-through", "vgpu", "{observed}", "{", "%", "A" * 5000,
         "GPU-0", "0000", "9999.1", "580.105.08", "20B0-884-A1", "692-2G506-0200-003", "🂡" * 90,
         "G506.0200.00.04", "NVIDIA A100-SXM4-40GB", "1g.5gb:1:1:1", "7g.80gb", "63:1,79:2", "63:",
         "<b>x</b>", "|", "a\\b", "00000000:07:00.0", "2026-02-30", "x, y, z"]  # fmt: skip


def hostile_characters(text: str) -> list[str]:
    """Characters that a terminal or report would not show as themselves."""
    odd = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return [repr(c) for c in text if c != "\n" and category(c) in odd]


@functools.cache
def claims() -> tuple[SaleClaim, ...]:
    """Sale claims to judge against."""
    return tuple(load_sale_claim(c, None, new, n, database()) for c, new, n in CLAIMS)


def check(evidence: Evidence, rng: random.Random) -> None:
    """Judge and lay out; whatever the evidence says, an unsigned file never ends in 0."""
    sale = rng.choice(claims())
    policy = load_policy(rng.choice(("standard", "standard", "intake", "screen")))
    result = appraise(evidence, sale, policy, database(), now_ms=NOW_MS)
    assert result.exit_code in (1, 2, 3)
    assert result.verdict is not Verdict.CONSISTENT
    assert all(device.verdict is not Verdict.CONSISTENT for device in result.devices)
    style = Style(colour=False, width=rng.choice((76, 80, 110)))
    for verbose in (False, True):
        screen = Screen(result=result, evidence=evidence, sale=sale, style=style, verbose=verbose)
        assert hostile_characters(result_text(screen)) == []
    document = document_text(result_document(result))
    assert document.isascii()
    assert hostile_characters(document) == []
    assert json.loads(document)["exit_code"] == result.exit_code


def one(data: bytes, rng: random.Random) -> bool:
    """Run one mutant from end to end; say whether it was read at all."""
    try:
        evidence = read_evidence(data, "fuzz")
    except GpuverifyError as error:
        refusal = error
    else:
        check(evidence, rng)
        return True
    assert refusal.exit_code == 65
    assert hostile_characters(str(refusal)) == []
    assert "\n" not in str(refusal)
    return False


def corpus_samples() -> Iterator[tuple[str, bytes]]:
    """Other people's read-outs, where the machine has them."""
    folder = os.environ.get("GPUVERIFY_CORPUS", "")
    paths = sorted(Path(folder).iterdir()) if folder else []
    for path in paths:
        if path.suffix in (".xml", ".txt", ".log") and path.stat().st_size < LARGEST:
            yield path.name, path.read_bytes()


@functools.cache
def samples() -> tuple[tuple[str, bytes], ...]:
    """What is mutated: our own cases as XML and as evidence, a text log, and the corpus."""
    found: list[tuple[str, bytes]] = [("text", LOG)]
    for name in CASES:
        smi = load_case(name).recording.nvidia_smi
        assert smi is not None
        found.append((f"{name} as XML", xml_from_leaves(list(smi.leaves))))
        found.append((f"{name} as evidence", dump_evidence(recorded(name))))
    return (*found, *corpus_samples())


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Cut, copy, insert and overwrite."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(result) + 1)
        kind = rng.randrange(6)
        if kind < 2:
            result[at : at + rng.randint(0, 12)] = rng.choice(SNIPPETS)
        elif kind == 2:
            del result[at : at + rng.randint(1, 300)]
        elif kind == 3:
            result[at:at] = result[rng.randrange(len(result) + 1) :][: rng.randint(1, 600)]
        elif kind == 4 and at < len(result):
            result[at] = rng.randrange(256)
        elif rng.random() < 0.2:
            del result[at:]
    return bytes(result)


def mutated_values(data: bytes, rng: random.Random) -> bytes:
    """Change values of our evidence within their types: what the strict reader lets through."""
    tree = json.loads(data)
    everywhere = [tree["host"], *(device["claims"] for device in tree["devices"])]
    for _ in range(rng.randint(1, 12)):
        claim_list = rng.choice(everywhere)
        if not claim_list:
            continue
        claim = rng.choice(claim_list)
        kind = rng.randrange(5)
        if kind == 0:
            claim_list.remove(claim)
            continue
        if kind == 1:
            claim.pop("value", None)
            claim["status"] = rng.choice(("not-supported", "sentinel", "malformed", "timed-out"))
            continue
        claim["status"] = "ok"
        wanted = VOCABULARY[claim["id"]].type
        values: dict[type, list[Any]] = {bool: [True, False], int: NUMBERS, str: TEXTS}
        claim["value"] = rng.choice(values[wanted])
    if rng.random() < 0.1 and tree["devices"]:
        twin = json.loads(json.dumps(tree["devices"][0]))
        twin["index"] = 1 + max(device["index"] for device in tree["devices"])
        tree["devices"].append(twin)
    if rng.random() < 0.05:
        tree["devices"] = []
    return json.dumps(tree).encode()


def test_samples_as_they_are() -> None:
    rng = random.Random(SEED)
    for name, data in samples():
        assert one(data, rng) or name.endswith((".txt", ".log", ".xml")), name


def run(kind: str, chosen: list[tuple[str, bytes]], seconds: float) -> int:
    """Mutate until the time is over; return how many mutants were judged."""
    end = time.monotonic() + seconds
    number = judged = 0
    change = mutated_values if kind == "values" else mutated
    while time.monotonic() < end:
        rng = random.Random(f"{SEED} {kind} {number}")
        name, data = rng.choice(chosen)
        mutant = change(data, rng)
        try:
            judged += one(mutant, rng)
        except Exception as error:
            error.args = (f"seed {SEED!r}, {kind} mutant {number} of {name}: {error}",)
            raise
        number += 1
    return judged


def test_fuzz_bytes() -> None:
    assert run("bytes", list(samples()), SECONDS / 2) >= 3


def test_fuzz_values() -> None:
    evidence = [entry for entry in samples() if entry[0].endswith("as evidence")]
    assert run("values", evidence, SECONDS / 2) >= 10
