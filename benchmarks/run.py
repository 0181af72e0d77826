"""Measure gpuverify against things that the same machine does, in the same minute.

    python benchmarks/run.py [--rules] [--appraisal-only] [--copies N] [--rounds N]

Prints one line a budget: the ratio, what it is a ratio to, and the budget of the design. Nothing
is asserted: absolute times belong to the machine, and a loaded machine moves even ratios. Each
thing is measured many times in turn with what it is compared to, and the least CPU time counts
(wall time has the neighbours of a shared machine in it). The read-outs that are appraised differ
from each other as those of different servers do: serial numbers, UUIDs, temperatures and power are
changed in each, so that nothing kept from one file answers for the next.

GPUVERIFY_CORPUS may name a folder of real read-outs; without it our own recording is used.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

if TYPE_CHECKING:
    from gpuverify.model.finding import Finding
    from gpuverify.model.policy import Policy
    from gpuverify.model.sale import SaleClaim
    from gpuverify.model.subject import Subject
    from gpuverify.refdb import Database

CASE = "ga100/a100-sxm4-80gb-x8"
CASE_CLAIM, CORPUS_CLAIM = "a100-sxm4-80gb", "h100-sxm5-80gb"
BASE, PASS = "python -c pass", "handler-less expat pass"
_CHANGING = re.compile(
    rb"GPU-[0-9a-f]{8}(?=-)|(?<=<serial>)\d{8,}|\b\d\d(?= C<)|\b\d\d\.\d\d(?= W<)"
)


def line(what: str, ratio: float, base: str, budget: float | None = None) -> None:
    """Print one ratio, beside its budget where the design has one."""
    told = "" if budget is None else f"budget {budget:>4g} x  "
    word = "" if budget is None else ("within" if ratio <= budget else "OVER")
    print(f"{what:<46} {ratio:6.2f} x {base:<26} {told}{word}".rstrip())


def least(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run jobs in turn and return the least that each reports."""
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, job in jobs.items():
            best[name] = min(best[name], job())
    return best


def process(command: Sequence[str]) -> Callable[[], float]:
    """Return a job that runs a command and reports its CPU seconds, the kernel's included."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return run


def call(work: Callable[[], object]) -> Callable[[], float]:
    """Return a job that reports the CPU seconds of a call."""

    def run() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return run


def start_up(rounds: int) -> None:
    """Whole processes against an interpreter that does nothing."""
    python = sys.executable
    program = [python, "-m", "gpuverify"]
    script = Path(python).parent / "gpuverify"
    if script.exists():
        program = [str(script)]
    check = [*program, "check", "--replay", CASE, "--claim", CASE_CLAIM, "--json"]
    best = least(
        {
            "bare": process([python, "-c", "pass"]),
            "version": process([*program, "--version"]),
            "help": process([*program, "--help"]),
            "check": process(check),
        },
        rounds,
    )
    bare = best["bare"]
    print(f"{BASE}: {bare * 1000:.1f} ms of CPU")
    line("gpuverify --version", best["version"] / bare, BASE, 2)
    line("gpuverify --help", best["help"] / bare, BASE, 5.5)
    line("8-GPU check on the replayed library", best["check"] / bare, BASE, 16)


def eight_gpu_xml() -> tuple[bytes, str]:
    """Return an 8-GPU read-out, a real one where the corpus is at hand, and what to claim of it."""
    folder = os.environ.get("GPUVERIFY_CORPUS")
    if folder:
        for path in sorted(Path(folder).glob("*h100*.xml")):
            data = path.read_bytes()
            if data.count(b"<gpu id=") == 8:
                return data, CORPUS_CLAIM
    from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
    from gpuverify.sources.cases import load_case

    smi = load_case(CASE).recording.nvidia_smi
    return xml_from_leaves(smi.leaves if smi is not None else ()), CASE_CLAIM


def another_server(data: bytes, number: int) -> bytes:
    """Return the read-out with other serial numbers, UUIDs, temperatures and power draws."""
    count = 0

    def change(match: re.Match[bytes]) -> bytes:
        nonlocal count
        count += 1
        old, new = match.group(), number * 7919 + count * 104729
        if old.startswith(b"GPU-"):
            return b"GPU-%08x" % (new * 2654435761 % 2**32)
        if old.isdigit() and len(old) > 2:
            return b"%0*d" % (len(old), (int(old) + new) % 10 ** len(old))
        return b"%02d" % (20 + new % 60) + old[2:]

    return _CHANGING.sub(change, data)


def appraisal(copies: int, rounds: int, *, rules: bool, whole_process: bool) -> None:
    """Appraise many XML read-outs against a handler-less expat pass over the same bytes."""
    from gpuverify.appraise import appraise
    from gpuverify.appraise.claim import load_sale_claim
    from gpuverify.appraise.policies import load_policy
    from gpuverify.codec.read import read_evidence
    from gpuverify.refdb import Database

    original, product = eight_gpu_xml()
    files = [another_server(original, number) for number in range(copies)]
    database = Database.open()
    policy = load_policy("standard")
    claim = load_sale_claim(product, None, None, None, database)

    def bare() -> None:
        for data in files:
            expat.ParserCreate().Parse(data, True)

    def read() -> None:
        for data in files:
            read_evidence(data, "bench")

    def whole() -> None:
        for data in files:
            appraise(read_evidence(data, "bench"), claim, policy, database, now_ms=1)

    whole()
    print(f"{copies} 8-GPU XML files of {len(original) // 1024} KiB, no two alike")
    best = least({"bare": call(bare), "read": call(read), "whole": call(whole)}, rounds)
    line("reading 8-GPU XML", best["read"] / best["bare"], PASS)
    line("appraising 8-GPU XML", best["whole"] / best["bare"], PASS, 10)
    if whole_process:
        _many_files(files, product, best["bare"], max(2, rounds // 5))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        whole()
    gc.collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"peak memory after {10 * copies} more files: +{grown} KiB")
    if rules:
        _rule_costs(files, claim, policy, database, best["bare"] / copies, rounds)


def _many_files(files: list[bytes], product: str, bare: float, rounds: int) -> None:
    """Appraise the files by the command, less what one file alone costs to start with."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, data in enumerate(files):
            path = Path(folder) / f"{number}.xml"
            path.write_bytes(data)
            names.append(str(path))
        command = [sys.executable, "-m", "gpuverify", "appraise", "--claim", product, "--jsonl"]
        best = least(
            {"one": process([*command, names[0]]), "all": process([*command, *names])}, rounds
        )
    more = (best["all"] - best["one"]) / max(1, len(files) - 1)
    line("  each further file of appraise --jsonl", more / (bare / len(files)), PASS)


def _rule_costs(
    files: list[bytes],
    claim: SaleClaim,
    policy: Policy,
    database: Database,
    bare: float,
    rounds: int,
) -> None:
    """Print the dearest rules, as shares of the expat pass over one file."""
    from gpuverify.appraise import engine
    from gpuverify.codec.read import read_evidence
    from gpuverify.rules import RULES

    subjects = [
        subject
        for data in files[:4]
        for subject in engine._subjects(  # noqa: SLF001 - measured from within
            read_evidence(data, "bench"), claim, policy, database, None, 1
        )
    ]

    def checked(check: Callable[[Subject], Iterable[Finding]]) -> Callable[[], None]:
        def run() -> None:
            for subject in subjects:
                list(check(subject))

        return run

    jobs = {rule.id: call(checked(rule.check)) for rule in RULES if rule.check is not None}
    best = least(jobs, rounds)
    per_file = len(files[:4])
    print("dearest rules, eight devices each:")
    for rule_id, seconds in sorted(best.items(), key=lambda item: -item[1])[:12]:
        line(f"  {rule_id}", seconds / per_file / bare, PASS)


def main(words: Sequence[str] | None = None) -> None:
    """Read the options and measure."""
    options = argparse.ArgumentParser(description="Measure gpuverify against its budgets.")
    options.add_argument("--rules", action="store_true", help="list the dearest rules")
    options.add_argument("--appraisal-only", action="store_true", help="start no processes")
    options.add_argument("--copies", type=int, default=20, help="read-outs to appraise")
    options.add_argument("--rounds", type=int, default=15, help="times that all is measured")
    chosen = options.parse_args(words)
    print(f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}")
    if sys.dont_write_bytecode:
        print("PYTHONDONTWRITEBYTECODE is set: without compiled files all start-up ratios are off")
    if not chosen.appraisal_only:
        start_up(chosen.rounds)
    appraisal(
        max(1, chosen.copies),
        max(1, chosen.rounds),
        rules=chosen.rules,
        whole_process=not chosen.appraisal_only,
    )


if __name__ == "__main__":
    main()
