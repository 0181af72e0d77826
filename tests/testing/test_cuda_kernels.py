"""The shipped kernels on the emulator: exact results, and times that are the profile's."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gpuverify.measure.packs import PACKS, pack_text
from gpuverify.measure.reference import Keys
from gpuverify.measure.reference_mma import fragments
from gpuverify.testing.cuda import Faults, card, preset_names
from gpuverify.testing.cuda.ptx_translate import refusals

KEYS = Keys.derive(b"0123456789abcdef", "GPU-5a11ed00", "0000:07:00.0", "emulator")
SMALL = {"claimed_mib": 64}


def bits(value: float, code: str = "<f") -> int:
    return int.from_bytes(struct.pack(code, value), "little")


def records(machine: Any, place: int, warps: int) -> list[tuple[int, ...]]:
    words = machine.words(place, 5 * warps)
    return [words[5 * number : 5 * number + 5] for number in range(warps)]


def by_sm(rows: list[tuple[int, ...]]) -> dict[int, tuple[int, int, int]]:
    """Warps, cycles and nanoseconds of each SM."""
    out = {}
    for sm in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == sm]
        cycles = max(row[2] for row in mine) - min(row[1] for row in mine)
        out[sm] = (len(mine), cycles, max(row[4] for row in mine) - min(row[3] for row in mine))
    return out


@pytest.mark.required
@pytest.mark.parametrize("pack", sorted(PACKS))
def test_every_shipped_kernel_is_translated(pack: str) -> None:
    assert refusals(pack_text(pack).decode()) == {}


@pytest.mark.required
@pytest.mark.parametrize("kernel", [*PACKS["tensor"].kernels, *PACKS["fp8"].kernels])
def test_tensor_kernels_give_an_integer_matrix_product(bench: Any, kernel: str) -> None:
    machine = bench(card("h100-sxm", **SMALL))
    module = machine.load("fp8" if kernel == "mma_e4m3" else "tensor")
    operands = fragments(kernel, KEYS)
    a, b, rec, sink = (machine.driver.mem_alloc(1 << 20) for _ in range(4))
    machine.driver.memcpy_htod(a, operands.a_bytes)
    machine.driver.memcpy_htod(b, operands.b_bytes)
    iters = min(7, operands.max_iters)
    machine.run(module, kernel, 3, 64, a, b, iters, rec, sink)
    assert machine.words(sink, 192) == operands.expected(iters) * 6


@pytest.mark.parametrize(
    ("kernel", "rate", "arguments", "per_iteration"),
    [
        ("chain_fma_f32", "fp32_fma", (bits(-1.0), bits(3.0), bits(5.0)), 128),
        ("chain_mul_add_f32", "fp32_mul_add", (bits(-1.0), bits(3.0), bits(5.0)), 256),
        ("chain_fma_f64", "fp64_fma", (bits(-1.0, "<d"), bits(3.0, "<d"), bits(5.0, "<d")), 128),
        ("chain_fma_f16x2", "fp16_fma", (0xBC00BC00, 0x68006800, 0x68006800), 256),
        ("chain_imad_u32", "int_mad", (5, 7, 9), 128),
    ],
)
@pytest.mark.parametrize("preset", ["a100-80", "cmp-170hx-unlocked", "rtx-4090"])
def test_rates_per_clock_and_sm_are_the_profiles(
    bench: Any,
    preset: str,
    kernel: str,
    rate: str,
    arguments: tuple[int, ...],
    per_iteration: int,
) -> None:
    profile = card(preset, **SMALL)
    machine = bench(profile)
    module, iters = machine.load("base"), 8
    rec, sink = machine.driver.mem_alloc(4 << 20), machine.driver.mem_alloc(4 << 20)
    grid = 4 * profile.sm_count
    before = machine.fake.clock_ns()
    machine.run(module, kernel, grid, 256, *arguments, 77, iters, rec, sink)
    host = machine.fake.clock_ns() - before
    seen = by_sm(records(machine, rec, grid * 8))
    assert len(seen) == profile.sm_count
    for warps, cycles, _ in seen.values():
        done = warps * 32 * iters * per_iteration / cycles
        assert done == pytest.approx(getattr(profile.rates, rate), rel=0.08)
    longest = max(ns for _, _, ns in seen.values())
    assert longest <= host + 64 < 3 * longest + 5000  # the rest is what comes before and after


def test_the_clock_is_the_same_by_three_clocks(bench: Any) -> None:
    machine = bench()
    module = machine.load("base")
    rec, sink = machine.driver.mem_alloc(1 << 20), machine.driver.mem_alloc(1 << 20)
    events = [machine.driver.event_create() for _ in range(2)]
    before = machine.fake.clock_ns()
    machine.driver.event_record(events[0])
    machine.run(module, "census", 1, 32, 3, 5, 1, 2000, rec, sink)
    machine.driver.event_record(events[1])
    host = machine.fake.clock_ns() - before
    _, cycles, ns = by_sm(records(machine, rec, 1))[0]
    assert cycles / ns == pytest.approx(1.410, rel=1e-3)
    assert cycles / host == pytest.approx(1.410, rel=5e-3)
    assert machine.driver.event_elapsed_ns(*events) == pytest.approx(ns, rel=5e-3)


@pytest.mark.parametrize(
    ("faults", "against_timer", "against_host"),
    [
        (Faults(clock_factor=1.5), 1.5, 1.5),
        (Faults(globaltimer_factor=2.0), 0.5, 1.0),
        (Faults(event_factor=3.0), 1.0, 1.0),
    ],
)
def test_a_lying_clock_disagrees_with_the_others(
    bench: Any, faults: Faults, against_timer: float, against_host: float
) -> None:
    machine = bench(faults=faults)
    module = machine.load("base")
    rec, sink = machine.driver.mem_alloc(1 << 20), machine.driver.mem_alloc(1 << 20)
    events = [machine.driver.event_create() for _ in range(2)]
    machine.driver.event_record(events[0])
    before = machine.fake.clock_ns()
    machine.run(module, "census", 1, 32, 3, 5, 1, 2000, rec, sink)
    host = machine.fake.clock_ns() - before
    machine.driver.event_record(events[1])
    _, cycles, ns = by_sm(records(machine, rec, 1))[0]
    assert cycles / ns == pytest.approx(1.410 * against_timer, rel=1e-2)
    assert cycles / host == pytest.approx(1.410 * against_host, rel=1e-2)
    told = machine.driver.event_elapsed_ns(*events)
    assert told == pytest.approx(host * faults.event_factor, rel=1e-2)


def test_rates_of_memory_are_the_profiles(bench: Any) -> None:
    machine = bench(claimed_mib=256)
    module = machine.load("base")
    cells = 4 << 20
    first, second = machine.driver.mem_alloc(64 << 20), machine.driver.mem_alloc(64 << 20)
    out = machine.driver.mem_alloc(1 << 20)
    machine.driver.memset_d8(out, 0, 4096)

    def rate(kernel: str, grid: int, moved: int, *arguments: int) -> float:
        before = machine.fake.clock_ns()
        machine.run(module, kernel, grid, 256, *arguments)
        return moved / float(machine.fake.clock_ns() - before)

    assert rate("bw_write", cells // 1024, 64 << 20, first, cells, 3) == pytest.approx(
        1880, rel=0.02
    )
    assert rate("bw_read", cells // 4096, 64 << 20, first, cells, out) == pytest.approx(
        1769, rel=0.05
    )
    assert rate("bw_copy", cells // 1024, 128 << 20, second, first, cells) == pytest.approx(
        1732, rel=0.02
    )


def test_copies_over_the_link_take_their_time(bench: Any) -> None:
    machine = bench()
    place, size = machine.driver.mem_alloc(32 << 20), 32 << 20
    pinned = machine.driver.mem_host_alloc(size)
    before = machine.fake.clock_ns()
    machine.driver.memcpy_htod(place, pinned, size)
    up = machine.fake.clock_ns() - before
    machine.driver.memcpy_dtoh_into(pinned, place, size)
    down = machine.fake.clock_ns() - before - up
    assert size / up == pytest.approx(26.0, rel=0.02)
    assert size / down == pytest.approx(26.4, rel=0.02)
    machine.driver.memcpy_htod(place, bytes(size))
    slow = machine.fake.clock_ns() - before - up - down
    assert slow > 1.8 * up
    machine.driver.mem_free_host(pinned)


def chase(machine: Any, module: int, place: int, rec: int, size: int) -> float:
    slots = size // 64
    grid = -(-slots // 256)
    machine.run(module, "chase_fill", grid, 256, place, slots, 64, 4 * 12345 + 1, 7919)
    hops = min(slots, 1 << 14)
    machine.run(module, "chase", 1, 1, place, slots // 8 * 8, hops, rec)
    words = machine.words(rec, 6)
    return float(words[2] - words[1]) / hops


def test_latency_steps_where_the_caches_end(bench: Any) -> None:
    profile = card("v100-16", claimed_mib=64)
    machine = bench(profile)
    module = machine.load("base")
    place, rec = machine.driver.mem_alloc(32 << 20), machine.driver.mem_alloc(1 << 20)
    seen = {
        kib: chase(machine, module, place, rec, kib << 10) for kib in (64, 1024, 5120, 8192, 16384)
    }
    assert seen[64] == pytest.approx(profile.l1_latency_cycles, abs=3)
    assert seen[1024] == pytest.approx(profile.l2_latency_cycles, abs=5)
    assert seen[5120] == pytest.approx(profile.l2_latency_cycles, rel=0.1)
    assert seen[8192] == pytest.approx(profile.memory_latency_cycles, rel=0.1)
    assert seen[16384] == pytest.approx(profile.memory_latency_cycles, abs=5)


def test_l2_is_faster_until_it_ends(bench: Any) -> None:
    profile = card("v100-16", claimed_mib=128)
    machine = bench(profile)
    module = machine.load("base")
    place = machine.driver.mem_alloc(64 << 20)
    rec, sink = machine.driver.mem_alloc(8 << 20), machine.driver.mem_alloc(8 << 20)
    grid, loads, rates = 2 * profile.sm_count, 64, {}
    threads = grid * 256
    for mib in (1, 4, 16):
        cells = (mib << 20) // 16
        machine.run(module, "l2_read", grid, 256, place, cells, threads % cells, loads, rec, sink)
        rows = records(machine, rec, threads // 32)
        span = max(row[4] for row in rows) - min(row[3] for row in rows)
        rates[mib] = threads * loads * 16 / span
    assert rates[1] == pytest.approx(2500, rel=0.1)
    assert rates[4] == pytest.approx(2500, rel=0.1)
    assert rates[16] == pytest.approx(866, rel=0.1)


@pytest.mark.parametrize("preset", preset_names())
def test_presets_tell_of_themselves(bench: Any, preset: str) -> None:
    profile = card(preset, **SMALL)
    machine = bench(profile)
    device = machine.devices[0]
    told = {attribute.name: value for attribute, value in device.attributes.items()}
    assert (device.name, device.uuid, device.total_bytes) == (profile.name, profile.uuid, 64 << 20)
    assert told["MULTIPROCESSOR_COUNT"] == (profile.reported_sm_count or profile.sm_count)
    assert told["MEMORY_BUS_WIDTH_BITS"] == profile.bus_width_bits
    assert told["MEMORY_CLOCK_RATE_KHZ"] == profile.memory_clock_khz
    assert told["CLOCK_RATE_KHZ"] == profile.sm_clock_khz
    assert told["L2_CACHE_BYTES"] == (profile.reported_l2_bytes or profile.l2_bytes)
    major, minor = profile.compute_capability
    assert (told["COMPUTE_CAPABILITY_MAJOR"], told["COMPUTE_CAPABILITY_MINOR"]) == (major, minor)
