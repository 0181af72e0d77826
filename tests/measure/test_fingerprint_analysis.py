"""What records of timed kernels mean, without any device."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.errors import UsageError
from gpuverify.measure.fingerprint_analysis import (
    Duration,
    LatencyPoint,
    Record,
    clock_khz,
    clock_of,
    heat_under_load,
    l1_latency,
    l2_latency,
    l2_step_bytes,
    link_under_load,
    median,
    memory_latency,
    milliops,
    parse_records,
    rate_kb_s,
    scaled_iterations,
    sm_numbers,
    span_cycles,
    span_ns,
    spread_ppm,
)
from gpuverify.measure.fingerprint_load import random_halves
from gpuverify.measure.fingerprint_plan import MIB, FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.fingerprint_task import plan_of
from gpuverify.model.telemetry import Sample


def test_records_are_read_warp_by_warp() -> None:
    data = array("Q", [7, 100, 300, 1000, 1100, 9, 5000, 5200, 1001, 1101]).tobytes()
    assert parse_records(data) == [
        Record(7, 100, 300, 1000, 1100),
        Record(9, 5000, 5200, 1001, 1101),
    ]


def test_sm_numbers_are_a_set_with_gaps() -> None:
    records = [Record(sm, 0, 1, 0, 1) for sm in (0, 2, 2, 141, 0)]
    assert sm_numbers(records) == {0, 2, 141}


def test_work_a_clock_counts_all_warps_of_an_sm_from_first_to_last() -> None:
    # SM 3: two warps, staggered, 1000 clocks in all; SM 5: its counter starts elsewhere.
    records = [
        Record(3, 1000, 1900, 0, 1),
        Record(3, 1100, 2000, 0, 1),
        Record(5, 9_000_000, 9_001_000, 0, 1),
        Record(5, 9_000_000, 9_000_500, 0, 1),
    ]
    assert milliops(records, work_per_warp=32_000) == 64_000
    assert span_cycles(records) == 1000


def test_one_slow_sm_does_not_move_the_median_but_shows_in_the_spread() -> None:
    records = [Record(sm, 0, 1000 if sm else 2000, 0, 1) for sm in range(9)]
    assert milliops(records, 64_000) == 64_000
    assert spread_ppm([64_000] * 8 + [32_000]) == 500_000


def test_a_clock_that_stands_gives_nothing() -> None:
    still = [Record(0, 5, 5, 7, 7)]
    assert milliops(still, 1000) == 0
    assert clock_khz(still) == 0
    assert span_ns([]) == span_cycles([]) == median([]) == 0
    assert rate_kb_s(1000, 0) == 0


def test_clock_is_cycles_a_device_nanosecond() -> None:
    records = [Record(0, 0, 1_410_000, 500, 1_000_500), Record(1, 9, 2_820_009, 0, 2_000_000)]
    assert clock_khz(records) == 1_410_000
    assert span_ns(records) == 2_000_000


def _pair(device: int = 40, event: int | None = 40, host: int = 40) -> tuple[Duration, Duration]:
    short = Duration(14_100_000, 10_000_000, 10_000_000 if event else None, 10_030_000)
    long = Duration(
        14_100_000 + 56_400_000,
        10_000_000 + device * 1_000_000,
        10_000_000 + event * 1_000_000 if event else None,
        10_030_000 + host * 1_000_000,
    )
    return short, long


def test_what_starting_costs_the_host_falls_out() -> None:
    clock = clock_of([_pair()])
    assert clock is not None
    assert (clock.khz, clock.spread_ppm) == (1_410_000, 0)


@pytest.mark.parametrize("wrong", [{"device": 50}, {"event": 20}, {"host": 80}])
def test_each_clock_that_lies_is_seen(wrong: dict[str, int]) -> None:
    clock = clock_of([_pair(**wrong)] * 3)
    assert clock is not None
    assert clock.spread_ppm > 20_000


def test_a_busy_host_spoils_one_pair_and_not_the_others() -> None:
    clock = clock_of([_pair(host=55), _pair(), _pair(host=47)])
    assert clock is not None
    assert clock.spread_ppm == 0


def test_without_events_two_clocks_remain() -> None:
    clock = clock_of([_pair(event=None, host=60)])
    assert clock is not None
    assert clock.spread_ppm == 500_000


def test_no_clock_from_one_that_stands() -> None:
    short, _ = _pair()
    assert clock_of([(short, short)]) is None


@given(
    st.integers(1, 1 << 20),
    st.integers(0, 1 << 40),
    st.integers(1, 1 << 40),
    st.integers(1, 1 << 30),
)
def test_scaling_stays_exact_and_bounded(
    probe: int, cycles: int, target: int, largest: int
) -> None:
    found = scaled_iterations(probe, cycles, target, largest)
    assert 1 <= found <= largest
    assert found <= probe * 4096


def test_scaling_fills_the_target() -> None:
    assert scaled_iterations(64, 10_000, 1_000_000, 1 << 30) == 6400


def _walks(*points: tuple[int, int]) -> list[LatencyPoint]:
    return [LatencyPoint(kib << 10, cycles * 1000) for kib, cycles in points]


# te42kyfo/gpu-benches, gpu-latency: an A100 has a near and a far part of its L2 cache.
A100 = _walks(
    (16, 36), (512, 213), (1024, 213), (4096, 214), (8192, 213), (16384, 216),
    (32768, 330), (65536, 500), (131072, 565), (262144, 574),
)  # fmt: skip
PLAIN = _walks(
    (16, 34), (512, 265), (1024, 265), (16384, 265), (32768, 266), (65536, 640), (262144, 657)
)


def test_latencies_of_a_chip_with_two_partitions() -> None:
    assert l1_latency(A100) == 36_000
    assert l2_latency(A100) == 213_000
    assert memory_latency(A100) == 574_000
    assert l2_step_bytes(A100) == 48 * MIB


def test_latencies_do_not_depend_on_the_order_of_walks() -> None:
    assert l2_latency(PLAIN[::-1]) == l2_latency(PLAIN) == 265_000
    assert l2_step_bytes(PLAIN[::-1]) == l2_step_bytes(PLAIN) == 48 * MIB


def test_a_walk_between_narrows_the_step() -> None:
    assert l2_step_bytes([*PLAIN, *_walks((49152, 300))]) == 56 * MIB


@pytest.mark.parametrize("points", [[], A100[:1], _walks((16, 34), (512, 34), (1024, 34))])
def test_no_step_where_there_is_none(points: list[LatencyPoint]) -> None:
    assert l2_step_bytes(points) == 0


@given(
    st.lists(st.builds(LatencyPoint, st.integers(1, 1 << 30), st.integers(0, 1 << 30)), max_size=12)
)
def test_any_walks_give_a_step_within_the_sizes_or_none(points: list[LatencyPoint]) -> None:
    step = l2_step_bytes(points)
    assert step == 0 or step <= max(p.size_bytes for p in points)


def test_link_is_the_best_that_was_seen_under_load() -> None:
    samples = [
        Sample(link_generation=1, link_width=16),
        Sample(),
        Sample(link_generation=4, link_width=8),
    ]
    assert link_under_load(samples) == {"pcie.loaded_generation": 4, "pcie.loaded_width": 16}
    assert link_under_load([Sample()]) == {}


def test_heat_is_peaks_and_all_reasons() -> None:
    samples = [
        Sample(power_mw=380_000, temperature_celsius=61, reasons="none"),
        Sample(power_mw=401_000, temperature_celsius=66, reasons="sw-power-cap,hw-slowdown"),
        Sample(temperature_celsius=64, reasons="sw-power-cap"),
    ]
    assert heat_under_load(samples) == {
        "fingerprint.power_peak_mw": 401_000,
        "fingerprint.temperature_peak_celsius": 66,
        "fingerprint.throttle_reasons": "hw-slowdown,sw-power-cap",
    }
    assert heat_under_load([]) == {}
    assert heat_under_load([Sample(reasons="none")]) == {"fingerprint.throttle_reasons": "none"}


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_random_halves_are_numbers_of_moderate_size(data: bytes) -> None:
    numbers = struct.unpack(f"<{len(data) // 2}e", random_halves(data))
    assert all(1 <= abs(number) < 4 for number in numbers)


@pytest.mark.parametrize("plan", [FingerprintPlan.quick(), FingerprintPlan.full()])
def test_plans_survive_json(plan: FingerprintPlan) -> None:
    assert FingerprintPlan.from_json(plan.to_json()) == plan
    assert plan.emulated().emulated() == plan.emulated()


def test_plans_keep_their_budgets() -> None:
    # 24 GB at 300 GB/s is the slowest card in mind, 80 GB at 1.5 TB/s the usual one.
    for total, rate in ((24 << 30, 300_000_000), (80 << 30, 1_500_000_000)):
        quick = FingerprintPlan.quick().estimate_ms(total, rate)
        full = FingerprintPlan.full().estimate_ms(total, rate)
        assert quick < 5_000
        assert full - FingerprintPlan.full().load_ms < 11_000


def test_plan_of_a_level_with_its_load() -> None:
    assert plan_of({"level": "quick", "load_s": 3}).load_ms == 3000
    assert plan_of({"level": "full", "load_s": None}) == FingerprintPlan.full()
    assert plan_of(FingerprintPlan.quick().to_json()) == FingerprintPlan.quick()


@pytest.mark.parametrize(
    "data",
    [
        {"level": "slow"},
        {"level": "quick", "load_s": "3"},
        {"threads": 33},
        {"threads": "256"},
        {"repeats": 0},
        {"latency_hops": 9},
        {"l2_loads": 12},
        {"load_ms": -1},
        {"more": 1},
    ],
)
def test_a_plan_that_is_none_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        plan_of(data)


def test_result_survives_json() -> None:
    result = FingerprintResult(
        values={"fingerprint.sm_count": 108},
        void={"fingerprint.int_mad_milliops": "wrong"},
        refused={"fingerprint.tensor_fp8_milliops": "old"},
        states={"census": StepState.DONE, "int_mad": StepState.INVALID},
        seen={"fingerprint.throttle_reasons": "none"},
        trace_khz=(1_410_000, 1_395_000),
        details={"sm_highest_number": 127},
        emulated=True,
    )
    assert FingerprintResult.from_json(result.to_json()) == result
    assert not result.valid
    with pytest.raises(UsageError):
        FingerprintResult.from_json({"values": 3})
