"""Keeping a card busy for heat and power, and what its clock does meanwhile."""

from __future__ import annotations

import time

from gpuverify.measure.driver_api import DriverError
from gpuverify.measure.fingerprint_analysis import (
    clock_khz,
    parse_records,
    scaled_iterations,
    span_cycles,
)
from gpuverify.measure.fingerprint_bench import Bench, NotMeasurableError
from gpuverify.measure.packs import PACKS, RECORD_WORDS
from gpuverify.measure.reference_chain import LANES, chain_operands

_SLICE_MS = 100
_PROBE = 64
_LARGEST = 1 << 30
_MOST_SLICES = 1000
_FRAGMENT_BYTES = 16 * LANES


def random_halves(data: bytes) -> bytes:
    """Return random half-precision numbers between 1 and 4 in magnitude.

    How much power a chip draws depends on the data; random signs and mantissas draw most, while
    raw random bits would soon give infinities, whose products draw little.

    Args:
        data: Random bytes, two a number.
    """
    out = bytearray(data)
    for high in range(1, len(out), 2):
        # Little-endian: the second byte holds sign, exponent and two bits of mantissa. Exponents
        # 15 and 16 are 1 to 2 and 2 to 4.
        exponent = 15 + (out[high] >> 2 & 1)
        out[high] = out[high] & 0x83 | exponent << 2
    return bytes(out)


class _Load:
    """One kernel in a loop; the tensor cores where they can be had."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.warps = bench.blocks * bench.plan.threads // LANES
        self.kernel = "mma_f16"
        self.pack = "tensor"
        try:
            self.function = bench.function(self.pack, self.kernel)
        except (NotMeasurableError, DriverError) as error:
            if isinstance(error, DriverError) and error.status.ends_device:
                raise
            self.pack, self.kernel = "base", "chain_fma_f32"
            self.function = bench.function(self.pack, self.kernel)
        self.rec_bytes = self.warps * RECORD_WORDS * 8
        self.sink_bytes = self.warps * LANES * 8
        self.operands: dict[str, int] = {}

    def sizes(self) -> tuple[int, ...]:
        """Return the sizes of the memory it needs."""
        return (self.rec_bytes, self.sink_bytes, _FRAGMENT_BYTES, _FRAGMENT_BYTES)

    def fill(self, a: int, b: int) -> None:
        """Choose the operands."""
        keys = self.bench.fresh_keys("load")
        if self.pack == "base":
            drawn = chain_operands(self.kernel, keys, 1)
            self.operands = {"a": drawn.a, "b": drawn.b, "c": drawn.c, "seed": drawn.seed}
            return
        for address, label in ((a, "a"), (b, "b")):
            words = keys.integers(label, _FRAGMENT_BYTES // 8, 1 << 63)
            raw = b"".join(word.to_bytes(8, "little") for word in words)
            self.bench.driver.memcpy_htod(address, random_halves(raw))
        self.operands = {"afrag": a, "bfrag": b}

    def run(self, iterations: int, rec: int, sink: int) -> tuple[int, int]:
        """Run one slice and return the SM clock in kHz and the clocks that it took."""
        given = {**self.operands, "iters": iterations, "rec": rec, "sink": sink}
        names = PACKS[self.pack].kernels[self.kernel].arguments
        self.bench.launch(
            self.function,
            self.bench.blocks,
            self.bench.plan.threads,
            [given[name] for name in names],
        )
        records = parse_records(self.bench.driver.memcpy_dtoh(rec, self.rec_bytes))
        return clock_khz(records), span_cycles(records)


def run_load(bench: Bench) -> tuple[int, ...]:
    """Keep the card busy as long as the plan says.

    The time is the wall clock's, since heat is real: an emulated card's own time would be no use.

    Args:
        bench: The bench; who looks on sees power, heat and what holds the clock back.

    Returns:
        The SM clock in kHz of each slice.
    """
    load = _Load(bench)
    total_ms = bench.plan.load_ms
    trace: list[int] = []
    with bench.memory(*load.sizes()) as (rec, sink, a, b), bench.sampled("load"):
        load.fill(a, b)
        iterations = bench.plan.iterations
        if not iterations:
            _, cycles = load.run(_PROBE, rec, sink)
            target = _SLICE_MS * bench.clock_khz
            iterations = scaled_iterations(_PROBE, cycles, target, _LARGEST)
        began = time.monotonic()
        while len(trace) < _MOST_SLICES:
            spent_ms = round((time.monotonic() - began) * 1000)
            if spent_ms >= total_ms:
                break
            bench.tell("load", spent_ms, total_ms)
            khz, _ = load.run(iterations, rec, sink)
            trace.append(khz)
    if trace:
        bench.details["load_clock_lowest_khz"] = min(trace)
        bench.details["load_clock_highest_khz"] = max(trace)
        bench.details["load_slices"] = len(trace)
    return tuple(trace)
