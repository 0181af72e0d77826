"""The shipped kernels on the emulated driver against STREAM, in the same minute.

It says nothing about a GPU; it keeps silly kernels out. Rounds are interleaved, since the memory
rate of a shared machine swings; the median of the rounds counts.
"""

from __future__ import annotations

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

ROUNDS = 5
MIB = 1 << 20
SIZE = 256 * MIB
CELLS = SIZE // 16
BARS = {
    "bw_read": 0.6, "bw_write": 0.6, "bw_copy": 0.6, "cap_write": 0.25, "cap_check": 0.25,
    "cap_digest": 0.25,
}  # fmt: skip
STREAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9; }
int main(void) {
  const long n = 1L << 25; double *a = malloc(n * 8), *b = malloc(n * 8);
  #pragma omp parallel for
  for (long i = 0; i < n; i++) { a[i] = i; b[i] = 0; }
  double best = 1e9;
  for (int k = 0; k < 5; k++) {
    double t = now();
    #pragma omp parallel for
    for (long i = 0; i < n; i++) b[i] = 3.0 * a[i];
    t = now() - t; if (t < best) best = t;
  }
  printf("%.0f %f\n", 16.0 * n / best / 1000, b[7]);
  return 0;
}
"""


def build_stream(folder: Path) -> Path | None:
    """Compile STREAM's scale loop; None without a compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, program = folder / "stream.c", folder / "stream"
    source.write_text(STREAM, encoding="utf-8")
    command = [compiler, "-O3", "-fopenmp", str(source), "-o", str(program)]
    done = subprocess.run(command, check=False, capture_output=True)
    return program if done.returncode == 0 else None


def stream_kb_s(program: Path) -> float:
    """Run STREAM once, in kB/s."""
    return float(subprocess.check_output([str(program)], text=True).split()[0])


def kernel_calls(device: OpenDevice) -> dict[str, tuple[Callable[[], None], int]]:
    """Return a call of each kernel with the bytes that it moves."""
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

    def call(name: str) -> Callable[[], None]:
        function = driver.module_get_function(module, name)
        tile = TILE_THREADS * PACKS["base"].kernels[name].cells_per_thread
        grid = -(-CELLS // tile)

        def run() -> None:
            driver.launch_kernel(function, grid, TILE_THREADS, arguments[name])
            driver.ctx_synchronize()

        return run

    return {name: (call(name), 2 * SIZE if name == "bw_copy" else SIZE) for name in arguments}


def main() -> None:
    """Print the ratio of each kernel to STREAM."""
    with tempfile.TemporaryDirectory() as folder:
        program = build_stream(Path(folder))
        if program is None:
            print("kernels against STREAM: no C compiler with OpenMP, not measured")
            return
        try:
            with fake_cuda([card("a100-80", claimed_mib=1024)]) as fake:
                _measure(Driver.load(fake.path), program)
        except NoCompilerError as error:
            print(f"kernels against STREAM: {error}")


def _measure(driver: Driver, program: Path) -> None:
    """Interleave rounds of STREAM and of every kernel."""
    ratios: dict[str, list[float]] = {name: [] for name in BARS}
    with OpenDevice.open(driver, 0) as device:
        calls = kernel_calls(device)
        for run, _ in calls.values():
            run()
        for _ in range(ROUNDS):
            base = stream_kb_s(program)
            for name, (run, size) in calls.items():
                start = time.perf_counter()
                run()
                ratios[name].append(size / 1000 / (time.perf_counter() - start) / base)
    for name, found in ratios.items():
        middle, bar = statistics.median(found), BARS[name]
        word = "within" if middle >= bar else "BELOW"
        print(
            f"kernel {name:<12} {middle:6.2f} x STREAM (lowest {min(found):.2f})"
            f"   bar {bar:g} x  {word}"
        )


if __name__ == "__main__":
    main()
