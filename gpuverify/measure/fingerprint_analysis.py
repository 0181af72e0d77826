"""What the records of timed kernels mean: arithmetic on integers, no device.

Work is counted by the SM's own clock wherever that is possible, since a ratio per clock depends
neither on boost, nor on a power limit, nor on the host.
"""

from __future__ import annotations

import itertools
import statistics
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpuverify.measure.packs import RECORD_WORDS
from gpuverify.model.telemetry import Sample

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """The clocks of one warp.

    Attributes:
        sm: Number that the SM gives of itself.
        cycles_before: SM clock before the work.
        cycles_after: SM clock after it.
        ns_before: Global timer before the work.
        ns_after: Global timer after it.
    """

    sm: int
    cycles_before: int
    cycles_after: int
    ns_before: int
    ns_after: int


@dataclass(frozen=True, slots=True)
class Duration:
    """How long one kernel took, by several clocks.

    Attributes:
        cycles: By the SM's clock.
        device_ns: By the device's global timer.
        event_ns: By the driver's events, None where it gave no answer.
        host_ns: By the host's clock.
    """

    cycles: int
    device_ns: int
    event_ns: int | None
    host_ns: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of the SMs and how far the clocks agree about it.

    Attributes:
        khz: Clock of the SMs in kHz.
        spread_ppm: Largest difference between the time keepers.
    """

    khz: int
    spread_ppm: int


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """A walk through memory.

    Attributes:
        size_bytes: Memory that it went through.
        millicycles: Thousandths of a clock that each load took.
    """

    size_bytes: int
    millicycles: int


def median(values: Iterable[int]) -> int:
    """Return the median, rounded to an integer; 0 of nothing."""
    found = list(values)
    return round(statistics.median(found)) if found else 0


def parse_records(data: bytes) -> list[Record]:
    """Read what the timed kernels recorded.

    Args:
        data: Five words of 64 bits a warp.

    Returns:
        A record a warp.
    """
    words = array("Q", data)
    return [
        Record(*words[start : start + RECORD_WORDS]) for start in range(0, len(words), RECORD_WORDS)
    ]


def sm_numbers(records: Iterable[Record]) -> frozenset[int]:
    """Return the SMs that did work. Numbers may have gaps: the set counts, not its maximum."""
    return frozenset(record.sm for record in records)


def _by_sm(records: Iterable[Record]) -> dict[int, list[Record]]:
    groups: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.sm].append(record)
    return groups


def milliops_by_sm(records: Iterable[Record], work_per_warp: int) -> dict[int, int]:
    """Return the work a clock that each SM did, in thousandths.

    Args:
        records: Records of one launch.
        work_per_warp: Operations that each warp did.
    """
    found = {}
    for sm, warps in _by_sm(records).items():
        cycles = max(w.cycles_after for w in warps) - min(w.cycles_before for w in warps)
        if cycles > 0:
            found[sm] = len(warps) * work_per_warp * 1000 // cycles
    return found


def milliops(records: Iterable[Record], work_per_warp: int) -> int:
    """Return the work a clock and SM in thousandths, median over the SMs; 0 if no clock ran.

    Args:
        records: Records of one launch.
        work_per_warp: Operations that each warp did.
    """
    return median(milliops_by_sm(records, work_per_warp).values())


def spread_ppm(values: Iterable[int]) -> int:
    """Return the difference between the largest and the smallest, relative to the median."""
    found = list(values)
    middle = median(found)
    return (max(found) - min(found)) * PPM // middle if middle > 0 else 0


def span_cycles(records: Sequence[Record]) -> int:
    """Return the clocks from first to last, of the SM that took longest."""
    groups = _by_sm(records).values()
    return max(
        (max(w.cycles_after for w in g) - min(w.cycles_before for w in g) for g in groups),
        default=0,
    )


def span_ns(records: Sequence[Record]) -> int:
    """Return the time from the first to the last by the device's global timer."""
    if not records:
        return 0
    return max(r.ns_after for r in records) - min(r.ns_before for r in records)


def clock_khz(records: Sequence[Record]) -> int:
    """Return the SM clock while the kernel ran, median over the warps; 0 if a clock stood."""
    return median(
        (r.cycles_after - r.cycles_before) * PPM // (r.ns_after - r.ns_before)
        for r in records
        if r.ns_after > r.ns_before and r.cycles_after > r.cycles_before
    )


def clock_of(pairs: Sequence[tuple[Duration, Duration]]) -> Clock | None:
    """Return the SM clock and how far the time keepers agree.

    Each pair is a short and a long run of one kernel. The difference is free of what starting and
    waiting cost the host; a host that was busy with something else spoils one pair, so that the
    pair with the best agreement counts. A clock that runs wrong does so in every pair.

    Args:
        pairs: Short and long run.

    Returns:
        The clock, None if a clock stood still.
    """
    found = []
    for short, long in pairs:
        cycles = long.cycles - short.cycles
        times = [long.device_ns - short.device_ns, long.host_ns - short.host_ns]
        if long.event_ns is not None and short.event_ns is not None:
            times.append(long.event_ns - short.event_ns)
        if cycles <= 0 or min(times) <= 0:
            continue
        apart = (max(times) - min(times)) * PPM // min(times)
        found.append(Clock(cycles * PPM // times[0], apart))
    return min(found, key=lambda clock: clock.spread_ppm, default=None)


def rate_kb_s(size_bytes: int, ns: int) -> int:
    """Return a rate in kB/s (1000 bytes), 0 if the clock stood.

    Args:
        size_bytes: Bytes that were moved.
        ns: Nanoseconds that it took.
    """
    return size_bytes * 1_000_000 // ns if ns > 0 else 0


def scaled_iterations(probe: int, probe_cycles: int, target_cycles: int, largest: int) -> int:
    """Return how many iterations fill a target.

    Args:
        probe: Iterations of a short run.
        probe_cycles: Clocks that it took.
        target_cycles: Clocks that the long one shall take.
        largest: Most iterations whose result is exact.
    """
    # A clock that hardly runs must not make the long run endless.
    factor = min(4096, target_cycles // max(1, probe_cycles))
    return max(1, min(largest, probe * max(1, factor)))


# Latency


def l1_latency(points: Sequence[LatencyPoint]) -> int:
    """Return the latency of the smallest walk."""
    return min(points, key=lambda p: p.size_bytes).millicycles if points else 0


def memory_latency(points: Sequence[LatencyPoint]) -> int:
    """Return the latency of the largest walk."""
    return max(points, key=lambda p: p.size_bytes).millicycles if points else 0


def l2_latency(points: Sequence[LatencyPoint]) -> int:
    """Return the first level of latency between L1 cache and memory, 0 if there is none.

    A chip with two partitions shows two levels; the first is that of the near one.

    Args:
        points: Walks of growing size.
    """
    ordered = sorted(points, key=lambda p: p.size_bytes)
    low, high = l1_latency(points), memory_latency(points)
    between = [
        p for p in ordered if p.millicycles * 10 > low * 15 and p.millicycles * 100 < high * 85
    ]
    for point, following in itertools.pairwise(between):
        if following.millicycles * 100 <= point.millicycles * 108:
            return point.millicycles
    return between[0].millicycles if between else 0


def l2_bracket(points: Sequence[LatencyPoint]) -> tuple[int, int] | None:
    """Return the sizes between which walks leave the L2 cache.

    Args:
        points: Walks of growing size.

    Returns:
        The largest size below and the smallest above, None if there is no such step.
    """
    near, far = l2_latency(points), memory_latency(points)
    if near <= 0 or far <= near:
        return None
    ordered = sorted(points, key=lambda p: p.size_bytes)
    below = 0
    for point in ordered:
        if 2 * point.millicycles > near + far:
            return (below, point.size_bytes) if below else None
        if point.millicycles * 2 > near:
            below = point.size_bytes
    return None


def l2_step_bytes(points: Sequence[LatencyPoint]) -> int:
    """Return the size at which walks leave the L2 cache, 0 if there is no such step.

    Args:
        points: Walks of growing size.
    """
    bracket = l2_bracket(points)
    return sum(bracket) // 2 if bracket is not None else 0


# What others saw meanwhile


def link_under_load(samples: Sequence[Sample]) -> dict[str, int]:
    """Return the PCIe link while it was busy, as claims; the fastest that was seen.

    An idle link sleeps at a low generation and wakes within milliseconds.

    Args:
        samples: Looks at the card while copies ran.
    """
    found = {
        "pcie.loaded_generation": [s.link_generation for s in samples if s.link_generation],
        "pcie.loaded_width": [s.link_width for s in samples if s.link_width],
    }
    return {name: max(values) for name, values in found.items() if values}


def heat_under_load(samples: Sequence[Sample]) -> dict[str, int | str]:
    """Return the peaks of power and temperature and what held the clock back, as claims.

    Args:
        samples: Looks at the card while it was loaded.
    """
    out: dict[str, int | str] = {}
    power = [s.power_mw for s in samples if s.power_mw is not None]
    heat = [s.temperature_celsius for s in samples if s.temperature_celsius is not None]
    reasons = {r for s in samples if s.reasons for r in s.reasons.split(",") if r != "none"}
    if power:
        out["fingerprint.power_peak_mw"] = max(power)
    if heat:
        out["fingerprint.temperature_peak_celsius"] = max(heat)
    if any(s.reasons is not None for s in samples):
        out["fingerprint.throttle_reasons"] = ",".join(sorted(reasons)) or "none"
    return out
