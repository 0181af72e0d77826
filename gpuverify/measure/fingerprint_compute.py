"""The chip: which SMs there are, how fast their clock runs, how much they do in a clock."""

from __future__ import annotations

from collections.abc import Callable

from gpuverify.measure.fingerprint_analysis import (
    clock_khz,
    clock_of,
    median,
    milliops,
    milliops_by_sm,
    scaled_iterations,
    sm_numbers,
    span_cycles,
    spread_ppm,
)
from gpuverify.measure.fingerprint_bench import Bench, NotMeasurableError, Timed, check_lanes
from gpuverify.measure.reference_chain import (
    CHAIN_OPERATIONS,
    LANES,
    census_expected,
    chain_expected,
    chain_operands,
    max_iterations,
)
from gpuverify.measure.reference_mma import MMA_PER_ITERATION, SHAPES, Fragments, fragments

Run = Callable[[int], Timed]

# Blocks that each SM gets in the census: as many as fit on it beside each other at 256 threads.
_CENSUS_BLOCKS = 8
_CENSUS_LEAST = 1024
_CENSUS_LARGEST = 1 << 32
_PROBE = 64
_SHORT_PART = 4

# Operations of a step, as NVIDIA's table of throughput counts them: a packed half instruction
# does two, an unfused multiplication and addition are two.
CHAINS = {
    "fp32_fma": ("chain_fma_f32", 1),
    "fp32_mul_add": ("chain_mul_add_f32", 2),
    "fp64_fma": ("chain_fma_f64", 1),
    "fp16_fma": ("chain_fma_f16x2", 2),
    "int_mad": ("chain_imad_u32", 1),
}
TENSOR = {
    "tensor_f16": ("tensor", "mma_f16"),
    "tensor_bf16": ("tensor", "mma_bf16"),
    "tensor_tf32": ("tensor", "mma_tf32"),
    "tensor_f64": ("tensor", "mma_f64"),
    "tensor_s8": ("tensor", "mma_s8"),
    "tensor_fp8": ("fp8", "mma_e4m3"),
}


def _census(bench: Bench, iterations: int, grid: int = 0) -> Timed:
    """Run the census kernel once."""
    a, c, seed = bench.fresh_keys("census").integers("operands", 3, 1 << 32)
    arguments = {"a": a | 1, "c": c, "seed": seed, "iters": iterations}
    expected = census_expected(a | 1, c, seed, iterations)
    return bench.timed("base", "census", arguments, check_lanes(expected), grid=grid)


def measure_census(bench: Bench) -> dict[str, int]:
    """Count the SMs that do work, whatever the driver says their number is.

    Args:
        bench: The bench; its SM count is set to what was counted.

    Returns:
        The claims.

    Raises:
        NotMeasurableError: The clock stood still, so that the records were never written.
    """
    grid = _CENSUS_BLOCKS * bench.sm_count
    if not bench.driver.emulated:
        grid = max(grid, _CENSUS_LEAST)
    found: set[int] = set()
    for _ in range(bench.plan.repeats):
        run = _census(bench, bench.plan.census_iterations, grid)
        if not span_cycles(run.records):
            raise NotMeasurableError("the SM clock stood still")
        found |= sm_numbers(run.records)
    bench.sm_count = len(found)
    bench.details["sm_highest_number"] = max(found)
    return {"fingerprint.sm_count": len(found)}


def measure_clock(bench: Bench) -> dict[str, int]:
    """Time one kernel by the SM clock, the global timer, events and the host's clock.

    Args:
        bench: The bench; its clock is set to what was measured.

    Returns:
        The claims.

    Raises:
        NotMeasurableError: A clock stood still.
    """
    # The host's clock needs something to measure: at least twice the target of the others.
    if bench.plan.iterations:
        long = bench.plan.iterations * 4
    else:
        probe = _census(bench, _PROBE)
        target = 2 * bench.plan.target_ms * bench.clock_khz
        long = scaled_iterations(_PROBE, span_cycles(probe.records), target, _CENSUS_LARGEST)
    pairs = []
    speeds = []
    for _ in range(bench.plan.repeats + 1):
        first = _census(bench, max(1, long // _SHORT_PART))
        second = _census(bench, long)
        pairs.append((first.duration, second.duration))
        speeds.append(clock_khz(second.records))
    clock = clock_of(pairs)
    if clock is None or not median(speeds):
        raise NotMeasurableError("a clock stood still under load")
    bench.clock_khz = median(speeds)
    return {
        "fingerprint.sm_clock_khz": median(speeds),
        "fingerprint.clock_agreement_ppm": clock.spread_ppm,
    }


def _rate(bench: Bench, name: str, run: Run, largest: int, work: int) -> int:
    """Run a kernel as long as planned and return its work a clock and SM in thousandths.

    Args:
        bench: The bench.
        name: What is measured, for the details.
        run: Runs the kernel over so many iterations.
        largest: Most iterations whose result is exact.
        work: Operations of a warp in one iteration.

    Raises:
        NotMeasurableError: The clock stood still.
    """
    iterations = min(bench.plan.iterations, largest)
    if not iterations:
        probe = run(min(_PROBE, largest))
        cycles = span_cycles(probe.records)
        target = bench.plan.target_ms * bench.clock_khz
        iterations = scaled_iterations(probe.iterations, cycles, target, largest)
    found = []
    for _ in range(bench.plan.repeats):
        done = run(iterations)
        found.append(milliops(done.records, work * iterations))
        by_sm = milliops_by_sm(done.records, work * iterations).values()
        bench.details[f"{name}_spread_ppm"] = spread_ppm(by_sm)
    if not median(found):
        raise NotMeasurableError("the SM clock stood still")
    return median(found)


def measure_chain(bench: Bench, name: str) -> dict[str, int]:
    """Measure how much arithmetic of one kind the SMs do in a clock.

    Args:
        bench: The bench.
        name: Key of `CHAINS`.

    Returns:
        The claims.
    """
    kernel, operations = CHAINS[name]

    def run(iterations: int) -> Timed:
        operands = chain_operands(kernel, bench.fresh_keys(kernel), iterations)
        arguments = {
            "a": operands.a,
            "b": operands.b,
            "c": operands.c,
            "seed": operands.seed,
            "iters": iterations,
        }
        expected = chain_expected(kernel, operands, iterations)
        return bench.timed("base", kernel, arguments, check_lanes(expected))

    work = CHAIN_OPERATIONS * LANES * operations
    found = _rate(bench, name, run, max_iterations(kernel), work)
    return {f"fingerprint.{name}_milliops": found}


def measure_tensor(bench: Bench, name: str) -> dict[str, int]:
    """Measure how much the tensor cores do in a clock with one type.

    Args:
        bench: The bench.
        name: Key of `TENSOR`.

    Returns:
        The claims.
    """
    pack, kernel = TENSOR[name]
    bench.function(pack, kernel)
    drawn = fragments(kernel, bench.fresh_keys(kernel))

    def run(iterations: int) -> Timed:
        return run_mma(bench, pack, drawn, iterations)

    work = MMA_PER_ITERATION * SHAPES[kernel].operations
    return {f"fingerprint.{name}_milliops": _rate(bench, name, run, drawn.max_iters, work)}


def run_mma(bench: Bench, pack: str, drawn: Fragments, iterations: int) -> Timed:
    """Run a tensor kernel once and check its results.

    Args:
        bench: The bench.
        pack: The kernel's pack.
        drawn: Its operands.
        iterations: Iterations.
    """
    with bench.memory(len(drawn.a_bytes), len(drawn.b_bytes)) as (a, b):
        bench.driver.memcpy_htod(a, drawn.a_bytes)
        bench.driver.memcpy_htod(b, drawn.b_bytes)
        arguments = {"afrag": a, "bfrag": b, "iters": iterations}
        expected = drawn.expected(iterations)
        return bench.timed(pack, drawn.kernel, arguments, check_lanes(expected))
