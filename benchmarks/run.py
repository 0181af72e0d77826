"""Measure gpuverify against things that the same machine does, in the same minute.

Prints one line a budget: the ratio, what it is a ratio to, and the budget of the design. Nothing
is asserted: absolute times belong to the machine, and a loaded machine moves even ratios.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

ROOT = Path(__file__).resolve().parent.parent
CASE = "ga100/a100-sxm4-80gb-x8"
RUNS = 15


def seconds(command: list[str]) -> float:
    """Return the shortest wall time of a command over several runs."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        best = min(best, time.perf_counter() - start)
    return best


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of a call over a few runs."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def line(what: str, ratio: float, base: str, budget: float) -> None:
    """Print one ratio beside its budget."""
    word = "within" if ratio <= budget else "OVER"
    print(f"{what:<46} {ratio:6.2f} x {base:<28} budget {budget:>4g} x  {word}")


def start_up() -> None:
    """Whole processes against an interpreter that does nothing."""
    python = sys.executable
    script = str(Path(python).parent / "gpuverify")
    bare = seconds([python, "-c", "pass"])
    print(f"python -c pass: {bare * 1000:.1f} ms")
    base = "python -c pass"
    line("gpuverify --version", seconds([script, "--version"]) / bare, base, 2)
    line("gpuverify --help", seconds([script, "--help"]) / bare, base, 5.5)
    check = [script, "check", "--replay", CASE, "--claim", "a100-sxm4-80gb", "--json"]
    line("8-GPU check on the replayed library", seconds(check) / bare, base, 16)


def eight_gpu_xml() -> bytes:
    """Return an 8-GPU read-out: a real one where the corpus is at hand, else our own case."""
    folder = os.environ.get("GPUVERIFY_CORPUS")
    if folder:
        for path in sorted(Path(folder).glob("*h100*.xml")):
            data = path.read_bytes()
            if data.count(b"<gpu id=") == 8:
                return data
    from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
    from gpuverify.sources.cases import load_case

    entry = load_case(CASE).recording.nvidia_smi
    if entry is None:
        sys.exit(f"{CASE} holds no read-out of nvidia-smi")
    return with_supported_clocks(xml_from_leaves(entry.leaves))


def with_supported_clocks(data: bytes) -> bytes:
    """Add the list of supported clocks that nvidia-smi prints of a real card, 81 steps a GPU.

    Our cases leave it out; without it a read-out is a third of its usual size.
    """
    steps = b"".join(
        b"\t\t\t\t<supported_graphics_clock>%d MHz</supported_graphics_clock>\n" % clock
        for clock in range(1410, 195, -15)
    )
    block = b"\t\t<supported_clocks>\n\t\t\t<supported_mem_clock>\n%s\t\t\t</supported_mem_clock>\n"
    return data.replace(b"</gpu>", block % steps + b"\t\t</supported_clocks>\n\t</gpu>")


def appraisal() -> None:
    """Appraise many XML read-outs against a handler-less expat pass over the same bytes."""
    from gpuverify.appraise import appraise
    from gpuverify.appraise.claim import load_sale_claim
    from gpuverify.appraise.policies import load_policy
    from gpuverify.codec.read import read_evidence
    from gpuverify.refdb import Database

    data = eight_gpu_xml()
    copies = 20

    def bare() -> None:
        for _ in range(copies):
            expat.ParserCreate().Parse(data, True)

    database = Database.open()
    policy = load_policy("screen")
    claim = load_sale_claim("a100-sxm4-80gb", None, None, None, database)

    def whole() -> None:
        for _ in range(copies):
            appraise(read_evidence(data, "bench"), claim, policy, database, now_ms=1)

    whole()
    print(f"8-GPU XML of {len(data) // 1024} KiB, {copies} files")
    ratio = cpu_seconds(whole) / cpu_seconds(bare)
    line("appraising 8-GPU XML", ratio, "handler-less expat pass", 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        whole()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory after {10 * copies} more files: +{grown} KiB")


if __name__ == "__main__":
    start_up()
    appraisal()
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "kernels.py")], check=False)
