"""The links: PCI Express between host and card, both ways, with every content compared."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from gpuverify.measure.fingerprint_analysis import median, rate_kb_s
from gpuverify.measure.fingerprint_bench import Bench, NotMeasurableError, WrongResultError
from gpuverify.measure.reference import CELL_BYTES, Keys, cells_bytes

PAGE_BYTES = 4096
PAGES = 16
_PAGE_CELLS = PAGE_BYTES // CELL_BYTES
_SMALL_COPIES = 200
_SMALL_BYTES = 4


def compare_pages(keys: Keys, size: int, read: Callable[[int, int], bytes], where: str) -> None:
    """Compare pages that the nonce chooses with the pattern of the capacity kernels.

    Args:
        keys: Keys of the pattern.
        size: Bytes that hold it.
        read: Gives bytes from an offset on.
        where: What was copied, for people.

    Raises:
        WrongResultError: A page differs.
    """
    chosen = set(keys.integers("pages", PAGES, size // PAGE_BYTES))
    # The last page too: a copy that ends early is the simplest lie.
    for page in sorted(chosen | {size // PAGE_BYTES - 1}):
        expected = cells_bytes(page * _PAGE_CELLS, _PAGE_CELLS, keys.k0, keys.k1)
        if read(page * PAGE_BYTES, PAGE_BYTES) != expected:
            raise WrongResultError(f"what arrived {where} is not what was sent")


def write_pattern(bench: Bench, address: int, size: int, keys: Keys) -> None:
    """Fill device memory with a pattern that `compare_pages` knows.

    Args:
        bench: The bench.
        address: Where.
        size: How many bytes.
        keys: Keys of the pattern.
    """
    cells = size // CELL_BYTES
    bench.tiled("cap_write", cells, address, cells, 0, keys.k0, keys.k1, 0)


def _both_ways(bench: Bench, device: int, host: int, size: int) -> tuple[int, int]:
    """Copy to the host and back, compare both and return the times."""
    driver = bench.driver
    keys = bench.fresh_keys("pcie")
    write_pattern(bench, device, size, keys)
    started = driver.host_clock_ns()
    driver.memcpy_dtoh_into(host, device, size)
    down = driver.host_clock_ns() - started
    compare_pages(keys, size, lambda at, n: ctypes.string_at(host + at, n), "at the host")
    write_pattern(bench, device, size, bench.fresh_keys("pcie"))
    started = driver.host_clock_ns()
    driver.memcpy_htod(device, host, size)
    # The call may return before the last bytes have arrived.
    driver.ctx_synchronize()
    up = driver.host_clock_ns() - started
    compare_pages(keys, size, lambda at, n: driver.memcpy_dtoh(device + at, n), "at the card")
    return down, up


def measure_pcie(bench: Bench) -> dict[str, int]:
    """Measure copies between pinned host memory and the card, both ways.

    Args:
        bench: The bench; who looks on sees the link under load.

    Returns:
        The claims.

    Raises:
        NotMeasurableError: The host's clock stood still.
    """
    size = bench.affordable(bench.plan.pcie_bytes)
    driver = bench.driver
    with bench.memory(size) as (device,), bench.pinned(size) as host:
        with bench.sampled("pcie"):
            # The link sleeps at a low generation when idle; these copies wake it.
            done = 0
            began = driver.host_clock_ns()
            while not done or driver.host_clock_ns() - began < bench.plan.pcie_hold_ms * 1_000_000:
                driver.memcpy_htod(device, host, size)
                driver.ctx_synchronize()
                done += size
                elapsed = driver.host_clock_ns() - began
                bench.tell("pcie", done, 0, rate_kb_s(done, elapsed))
            times = [_both_ways(bench, device, host, size) for _ in range(bench.plan.pcie_passes)]
        started = driver.host_clock_ns()
        for _ in range(_SMALL_COPIES):
            driver.memcpy_htod(device, host, _SMALL_BYTES)
        took = driver.host_clock_ns() - started
    bench.details["pcie_small_copy_ns"] = took // _SMALL_COPIES
    down, up = (median(rate_kb_s(size, pair[way]) for pair in times) for way in (0, 1))
    if not down or not up:
        raise NotMeasurableError("the host's clock stood still")
    return {"fingerprint.pcie_h2d_kb_s": up, "fingerprint.pcie_d2h_kb_s": down}
