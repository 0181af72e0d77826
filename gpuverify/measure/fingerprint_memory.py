"""The memory: rates of reading, writing and copying, the L2 cache's rate, latencies."""

from __future__ import annotations

from collections.abc import Callable

from gpuverify.measure.driver_api import DeviceAttribute
from gpuverify.measure.fingerprint_analysis import (
    LatencyPoint,
    l1_latency,
    l2_bracket,
    l2_latency,
    l2_step_bytes,
    median,
    memory_latency,
    parse_records,
    rate_kb_s,
    span_ns,
)
from gpuverify.measure.fingerprint_bench import Bench, NotMeasurableError, WrongResultError
from gpuverify.measure.fingerprint_plan import MIB
from gpuverify.measure.packs import PACKS, RECORD_WORDS, TILE_THREADS
from gpuverify.measure.reference import CELL_BYTES, WORD, Keys
from gpuverify.measure.reference_chain import (
    bw_cell,
    bw_sum,
    chase_after,
    chase_cycle,
    l2_expected,
)

_SUMS = 256
_CACHES = 4
_SUMS_BYTES = _SUMS * 8

# A sector, the smallest piece that caches hold: the set is as large as the memory it lies in.
_STRIDE = 32
_CHASE_BYTES = (RECORD_WORDS + 1) * 8
_L1_SIZES = (16 << 10, 512 << 10)
_FIRST_L2_SIZE = MIB
_QUICK_SIZES = (16 << 10, 2 * MIB)
_L2_SAMPLES = 128


def _value(bench: Bench) -> int:
    """Return a value that no run before had."""
    return bench.fresh_keys("memory").word("value")


def _cache_bytes(bench: Bench) -> int:
    """Return the size of the L2 cache as the driver tells it, 0 where it does not."""
    return bench.device.attributes.get(DeviceAttribute.L2_CACHE_BYTES, 0)


def _beyond_cache(bench: Bench, wanted: int, pieces: int = 1) -> int:
    """Return how large a piece of memory is whose rate is not the L2 cache's."""
    cache = _cache_bytes(bench)
    size = bench.affordable(max(wanted, _CACHES * cache), pieces)
    if size < 2 * cache:
        raise NotMeasurableError("too little memory is free to see more than the L2 cache")
    return size


def _read_all(bench: Bench, address: int, sums: int, cells: int, expected: int) -> int:
    """Read memory, compare the sum of its words and return the time."""
    driver = bench.driver
    driver.memset_d8(sums, 0, _SUMS_BYTES)
    driver.ctx_synchronize()
    took = bench.tiled("bw_read", cells, address, cells, sums)
    words = memoryview(driver.memcpy_dtoh(sums, _SUMS_BYTES)).cast("Q")
    if sum(words) & WORD != expected & WORD:
        raise WrongResultError("what was read is not what was written")
    return took


class _Area:
    """A piece of device memory under the bandwidth kernels, and 256 sums beside it."""

    def __init__(self, bench: Bench, address: int, sums: int, cells: int) -> None:
        self.bench, self.address, self.sums, self.cells = bench, address, sums, cells

    def write(self, value: int) -> int:
        """Fill the memory and return the time."""
        return self.bench.tiled("bw_write", self.cells, self.address, self.cells, value)

    def read(self, value: int) -> int:
        """Read the memory, compare the sum with the CPU's and return the time."""
        expected = bw_sum(self.cells, value)
        return _read_all(self.bench, self.address, self.sums, self.cells, expected)


def _passes(bench: Bench, phase: str, size: int, once: Callable[[], int]) -> int:
    """Return the median rate in kB/s of passes over `size` bytes, the first one not counted."""
    rates = [rate_kb_s(size, once()) for _ in range(bench.plan.memory_passes + 1)][1:]
    bench.details[f"{phase}_best_kb_s"] = max(rates)
    bench.details[f"{phase}_bytes"] = size
    if not median(rates):
        raise NotMeasurableError("the host's clock stood still")
    return median(rates)


def measure_read(bench: Bench) -> dict[str, int]:
    """Measure the rate of reading memory; each pass's sum is compared with the CPU's."""
    size = _beyond_cache(bench, bench.plan.memory_bytes)
    with bench.memory(size, _SUMS_BYTES) as (address, sums):
        area = _Area(bench, address, sums, size // CELL_BYTES)
        value = _value(bench)
        area.write(value)
        found = _passes(bench, "memory_read", size, lambda: area.read(value))
    return {"fingerprint.memory_read_kb_s": found}


def measure_write(bench: Bench) -> dict[str, int]:
    """Measure the rate of writing memory; what each pass wrote is read and compared."""
    size = _beyond_cache(bench, bench.plan.memory_bytes)
    with bench.memory(size, _SUMS_BYTES) as (address, sums):
        area = _Area(bench, address, sums, size // CELL_BYTES)

        def once() -> int:
            value = _value(bench)
            took = area.write(value)
            area.read(value)
            return took

        found = _passes(bench, "memory_write", size, once)
    return {"fingerprint.memory_write_kb_s": found}


def measure_copy(bench: Bench) -> dict[str, int]:
    """Measure the rate of copying inside the memory, bytes read and written both counted."""
    size = _beyond_cache(bench, bench.plan.memory_bytes // 2, pieces=2)
    with bench.memory(size, size, _SUMS_BYTES) as (source, target, sums):
        cells = size // CELL_BYTES
        origin, copied = (_Area(bench, where, sums, cells) for where in (source, target))

        def once() -> int:
            value = _value(bench)
            origin.write(value)
            took = bench.tiled("bw_copy", cells, target, source, cells)
            copied.read(value)
            return took

        found = _passes(bench, "memory_copy", 2 * size, once)
    return {"fingerprint.memory_copy_kb_s": found}


def measure_l2_rate(bench: Bench) -> dict[str, int]:
    """Measure how fast all SMs together read sets that fit the L2 cache; the best counts."""
    threads = bench.plan.blocks_per_sm * bench.sm_count * bench.plan.threads
    found = []
    for period in bench.plan.l2_periods:
        found.append(_l2_rate(bench, threads, period))
        bench.details[f"l2_read_{threads * period * CELL_BYTES >> 10}_kib_kb_s"] = found[-1]
    if not max(found):
        raise NotMeasurableError("the global timer stood still")
    return {"fingerprint.l2_read_kb_s": max(found)}


def _l2_rate(bench: Bench, threads: int, period: int) -> int:
    """Return the rate over a set in which each thread returns to its cell after `period` loads."""
    # The step is the number of threads and the set a multiple of it: so each thread stays among
    # few cells of its own and its sum is known without a walk.
    cells, loads = threads * period, bench.plan.l2_loads
    value = _value(bench)
    samples = bench.fresh_keys("l2").integers("threads", _L2_SAMPLES, threads)
    with bench.memory(cells * CELL_BYTES) as (address,):
        bench.tiled("bw_write", cells, address, cells, value)

        def check(content: bytes, _threads: int) -> None:
            words = memoryview(content).cast("Q")
            for thread in samples:
                lap = l2_expected(
                    thread, cells, threads % cells, period, lambda i: bw_cell(i, value)
                )
                if words[thread] != lap * (loads // period) & WORD:
                    raise WrongResultError("what was read from the L2 cache is not what is there")

        arguments = {"buf": address, "ncell": cells, "step": threads % cells, "loads": loads}
        grid = threads // bench.plan.threads
        runs = [
            bench.timed("base", "l2_read", arguments, check, grid=grid)
            for _ in range(bench.plan.repeats + 1)
        ][1:]
    return median(rate_kb_s(threads * loads * CELL_BYTES, span_ns(r.records)) for r in runs)


# Latency


def _build(bench: Bench, base: int, size: int, cycle: tuple[int, int]) -> None:
    """Build the cycle of a walk and make sure of it.

    A walk through memory that does not hold what was written would leave it, and the device would
    be lost. The addresses are those of all slots in another order, so their sum is known.
    """
    slots = size // _STRIDE
    driver = bench.driver
    driver.memset_d8(base, 0, size)
    blocks = PACKS["base"].kernels["chase_fill"].blocks(slots)
    fill = bench.function("base", "chase_fill")
    bench.launch(fill, blocks, TILE_THREADS, (base, slots, _STRIDE, *cycle))
    expected = slots * base + _STRIDE * (slots * (slots - 1) // 2)
    with bench.memory(_SUMS_BYTES) as (sums,):
        _read_all(bench, base, sums, size // CELL_BYTES, expected)


def _walk(bench: Bench, base: int, size: int, keys: Keys) -> LatencyPoint:
    """Follow a random cycle through `size` bytes and return what a hop took."""
    driver, plan = bench.driver, bench.plan
    bench.tell("latency", 0, size)
    slots = size // _STRIDE
    a, c = chase_cycle(slots, keys)
    _build(bench, base, size, (a, c))
    warm = min(max(8, slots // 8 * 8), plan.latency_warm_hops)
    if driver.emulated and size >= 2 * _cache_bytes(bench):
        warm = 8  # an emulated cache is empty before the first walk, and the largest comes first
    (start,) = keys.integers("start", 1, slots)
    with bench.memory(_CHASE_BYTES) as (rec,):
        driver.memset_d8(rec, 0, _CHASE_BYTES)
        arguments = (base + start * _STRIDE, warm, plan.latency_hops, rec)
        bench.launch(bench.function("base", "chase"), 1, 1, arguments)
        content = driver.memcpy_dtoh(rec, _CHASE_BYTES)
    last = chase_after(slots, a, c, start, warm + plan.latency_hops)
    if int.from_bytes(content[-8:], "little") != base + last * _STRIDE:
        raise WrongResultError("a walk through memory ended elsewhere")
    (record,) = parse_records(content[:-8])
    cycles = record.cycles_after - record.cycles_before
    return LatencyPoint(size, max(0, cycles) * 1000 // plan.latency_hops)


def _sizes(bench: Bench, largest: int) -> list[int]:
    """Return the sizes of the first walks, the largest first."""
    if not bench.plan.latency_steps:
        return [largest, *_QUICK_SIZES]
    sizes = list(_L1_SIZES)
    size = _FIRST_L2_SIZE
    while size * 3 <= largest * 2:
        sizes.append(size)
        size *= 2
    return [largest, *reversed(sizes)]


def measure_latency(bench: Bench) -> dict[str, int]:
    """Walk through memory of growing size: L1 cache, L2 cache, memory.

    Args:
        bench: The bench.

    Returns:
        The claims; without the step where the plan does not ask for it or it lies outside.

    Raises:
        NotMeasurableError: The clock stood still, or there is too little memory.
    """
    cache = max(_FIRST_L2_SIZE, _cache_bytes(bench))
    largest = bench.plan.latency_largest_bytes
    if bench.driver.emulated:
        largest = min(largest, 2 * cache)
    largest = bench.affordable(largest)
    if largest < 2 * cache:
        raise NotMeasurableError("too little memory is free to walk beyond the L2 cache")
    with bench.memory(largest) as (base,):
        points = [
            _walk(bench, base, size, bench.fresh_keys("chase")) for size in _sizes(bench, largest)
        ]
        for _ in range(bench.plan.latency_refinements if bench.plan.latency_steps else 0):
            bracket = l2_bracket(points)
            if bracket is None:
                break
            # A whole number of sectors of a kind whose cycle is easily drawn.
            middle = sum(bracket) // 2 // 4096 * 4096
            points.append(_walk(bench, base, middle, bench.fresh_keys("chase")))
    for point in points:
        bench.details[f"latency_{point.size_bytes >> 10}_kib_millicycles"] = point.millicycles
    if not l1_latency(points):
        raise NotMeasurableError("the SM clock stood still")
    found = {
        "fingerprint.latency_l1_millicycles": l1_latency(points),
        "fingerprint.latency_l2_millicycles": l2_latency(points),
        "fingerprint.latency_memory_millicycles": memory_latency(points),
    }
    if bench.plan.latency_steps:
        found["fingerprint.l2_step_bytes"] = l2_step_bytes(points)
    return {name: value for name, value in found.items() if value}
