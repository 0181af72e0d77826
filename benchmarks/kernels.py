"""The shipped kernels on the emulated driver against STREAM-like loops, in the same minute.

It says nothing about a GPU; it keeps silly kernels, and a silly emulator, out.

What makes the two comparable: one process, as many threads on both sides, arrays of one size on
pages of one kind that have been touched before, and the best of a few calls that take turns, since
the memory rate of a shared machine swings within a second. The median of the rounds counts.
Each kernel is compared with the loop that moves what it moves: reading with a sum, writing with a
fill, copying with STREAM's own scale loop. On both sides the bytes that the program asks for are
counted; a processor reads a line before it writes to it, so that a fill and a scale move up to
twice and one and a half times as much, and a rate of one kind says little about another kind.
For those who want one number for all, the ratio to the scale loop stands beside.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import PACKS, TILE_THREADS, pack_text
from gpuverify.testing.cuda import NoCompilerError, card, fake_cuda

ROUNDS = 7
CALLS = 3
MIB = 1 << 20
SIZE = 256 * MIB
CELLS = SIZE // 16
BARS = {
    "bw_read": 0.6, "bw_write": 0.6, "bw_copy": 0.6, "cap_write": 0.25, "cap_check": 0.25,
    "cap_digest": 0.25,
}  # fmt: skip
LIKE = {
    "bw_read": "sum", "bw_write": "fill", "bw_copy": "scale", "cap_write": "fill",
    "cap_check": "sum", "cap_digest": "sum",
}  # fmt: skip
COUNTED = {"sum": SIZE, "fill": SIZE, "scale": 2 * SIZE}
STREAM = r"""
#include <stdint.h>
#include <stdlib.h>
static double *a, *b;
static long n;
void stream_sum(double value) {
  uint64_t total = 0; const uint64_t *words = (const uint64_t *)a; (void)value;
  #pragma omp parallel for reduction(+ : total)
  for (long i = 0; i < n; i++) total += words[i];
  *(volatile uint64_t *)b = total;
}
void stream_fill(double value) {
  #pragma omp parallel for
  for (long i = 0; i < n; i++) a[i] = value;
}
void stream_scale(double value) {
  #pragma omp parallel for
  for (long i = 0; i < n; i++) b[i] = value * a[i];
}
int stream_open(long bytes) {
  n = bytes / 8; a = malloc(bytes); b = malloc(bytes);
  if (!a || !b) return 1;
  stream_fill(1); stream_scale(3);
  return 0;
}
"""

Call = Callable[[], None]


def build_stream(folder: Path) -> dict[str, Call] | None:
    """Compile and load the loops; None without a compiler that knows OpenMP."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, made = folder / "stream.c", folder / "stream.so"
    source.write_text(STREAM, encoding="utf-8")
    flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
    command = [compiler, *flags, str(source), "-o", str(made)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        return None
    # A waiting thread that spins would take the processor from the kernel that runs next.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["OMP_NUM_THREADS"] = str(thread_count())
    library = ctypes.CDLL(str(made))
    if library.stream_open(ctypes.c_long(SIZE)):
        return None

    def call(name: str) -> Call:
        function = getattr(library, f"stream_{name}")

        def run() -> None:
            function(ctypes.c_double(3.0))

        return run

    return {name: call(name) for name in COUNTED}


def thread_count() -> int:
    """Return how many threads both sides get."""
    return min(8, len(os.sched_getaffinity(0)))


def kernel_calls(device: OpenDevice) -> dict[str, Call]:
    """Return a call of each kernel; what cap_check finds is what cap_write wrote before it."""
    driver = device.driver
    module = driver.module_load_data_ex(pack_text("base"))
    first, second, helper = (driver.mem_alloc(size) for size in (SIZE, SIZE, 4 * MIB))
    arguments = {
        "bw_write": (first, CELLS, 5),
        "bw_read": (first, CELLS, helper),
        "bw_copy": (second, first, CELLS),
        "cap_write": (first, CELLS, 0, 11, 13, 0),
        "cap_check": (first, CELLS, 0, 11, 13, 0, helper, helper + 64, 256),
        "cap_digest": (first, CELLS, 0, 17, 4, helper + MIB),
    }

    def call(name: str) -> Call:
        function = driver.module_get_function(module, name)
        tile = TILE_THREADS * PACKS["base"].kernels[name].cells_per_thread
        grid = -(-CELLS // tile)

        def run() -> None:
            driver.launch_kernel(function, grid, TILE_THREADS, arguments[name])
            driver.ctx_synchronize()

        return run

    return {name: call(name) for name in arguments}


def kb_s(run: Call, size: int) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return size / 1000 / (time.perf_counter() - start)


def main() -> None:
    """Print the ratio of each kernel to the loop like it."""
    with tempfile.TemporaryDirectory() as folder:
        loops = build_stream(Path(folder))
        if loops is None:
            print("kernels against STREAM: no C compiler with OpenMP, not measured")
            return
        try:
            profile = card("a100-80", claimed_mib=1024)
            with fake_cuda([profile], threads=thread_count()) as fake:
                _measure(Driver.load(fake.path), loops)
        except NoCompilerError as error:
            print(f"kernels against STREAM: {error}")


def _measure(driver: Driver, loops: dict[str, Call]) -> None:
    """Let kernels and loops take turns."""
    ratios: dict[str, list[float]] = {name: [] for name in BARS}
    scaled: dict[str, list[float]] = {name: [] for name in BARS}
    with OpenDevice.open(driver, 0) as device:
        calls = kernel_calls(device)
        for run in (*calls.values(), *loops.values()):
            run()
        for _ in range(ROUNDS):
            for name, run in calls.items():
                best = {"kernel": 0.0, **dict.fromkeys(COUNTED, 0.0)}
                size = 2 * SIZE if name == "bw_copy" else SIZE
                for _ in range(CALLS):
                    best["kernel"] = max(best["kernel"], kb_s(run, size))
                    for loop in {LIKE[name], "scale"}:
                        best[loop] = max(best[loop], kb_s(loops[loop], COUNTED[loop]))
                ratios[name].append(best["kernel"] / best[LIKE[name]])
                scaled[name].append(best["kernel"] / best["scale"])
    for name, found in ratios.items():
        middle, bar = statistics.median(found), BARS[name]
        word = "within" if middle >= bar else "BELOW"
        print(
            f"kernel {name:<12} {middle:6.2f} x {LIKE[name]:<5} (lowest {min(found):.2f};"
            f" {statistics.median(scaled[name]):.2f} x scale)   bar {bar:g} x  {word}"
        )


if __name__ == "__main__":
    main()
