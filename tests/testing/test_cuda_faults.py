"""Each fault and each lie of an emulated card does what it says."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from gpuverify.measure.driver_api import Driver, DriverError, OpenDevice
from gpuverify.measure.driver_status import DriverStatus, DriverUnavailable
from gpuverify.measure.reference import cell
from gpuverify.testing.cuda import Faults, card

MIB = 1 << 20


def filled(machine: Any, mib: int = 32) -> tuple[int, int]:
    module, place = machine.load("base"), machine.driver.mem_alloc(mib * MIB)
    machine.run(module, "cap_write", mib * 64, 256, place, mib * 65536, 0, 5, 7, 0)
    return module, place


def test_an_honest_card_keeps_what_it_is_given(bench: Any) -> None:
    machine = bench()
    module, place = filled(machine)
    out = machine.driver.mem_alloc(2 * MIB)
    machine.put(out, 0, 2**64 - 1, 0, 0)
    machine.run(module, "cap_check", 2048, 256, place, 2 << 20, 0, 5, 7, 0, out, out + 64, 16)
    assert machine.words(out, 4) == (0, 2**64 - 1, 0, 0)


@pytest.mark.parametrize(("at_one", "value"), [(True, 0xFF), (False, 0x00)])
def test_a_stuck_bit_is_stuck(bench: Any, at_one: bool, value: int) -> None:
    machine = bench(faults=Faults(stuck_bytes=(4096, 8192), stuck_mask=8, stuck_at_one=at_one))
    place = machine.driver.mem_alloc(2 * MIB)
    machine.driver.memset_d8(place, 0xFF ^ value, 16384)
    for offset in (4096, 8192):
        assert machine.driver.memcpy_dtoh(place + offset, 1)[0] == (0xFF ^ value) ^ 8
    machine.driver.memset_d8(place, value, 16384)
    assert machine.driver.memcpy_dtoh(place, 16384) == bytes([value]) * 16384


def test_a_bit_flips_once_and_is_right_again_when_written(bench: Any) -> None:
    machine = bench(faults=Faults(flip_byte=1600, flip_mask=16, flip_at_write=2))
    module, place = filled(machine)
    good = cell(100, 5, 7)
    assert machine.words(place + 1600, 2) == good
    machine.run(module, "cap_write", 2048, 256, place, 2 << 20, 0, 5, 7, 0)
    assert machine.words(place + 1600, 2) == (good[0] ^ 16, good[1])
    machine.run(module, "cap_write", 2048, 256, place, 2 << 20, 0, 5, 7, 0)
    assert machine.words(place + 1600, 2) == good


def test_decay_comes_with_time_and_goes_with_writing(bench: Any) -> None:
    machine = bench(faults=Faults(decay_after_s=0.3, decay_from_mib=8, decay_step_mib=8))
    _, place = filled(machine)
    assert machine.words(place + 8 * MIB, 1)[0] == cell(8 * 65536, 5, 7)[0]
    time.sleep(0.4)
    assert machine.words(place + 8 * MIB, 1)[0] == cell(8 * 65536, 5, 7)[0] ^ 1
    assert machine.words(place, 1)[0] == cell(0, 5, 7)[0]
    machine.put(place + 8 * MIB, 1)
    assert machine.words(place + 8 * MIB, 1) == (1,)


def test_swapped_memory_is_slow_by_both_clocks(bench: Any) -> None:
    machine = bench(faults=Faults(slow_from_mib=32, slow_factor=20), claimed_mib=80)
    module = machine.load("base")
    places = [machine.driver.mem_alloc(32 * MIB) for _ in range(2)]
    clocks: list[list[int]] = [[], []]
    walls: list[list[float]] = [[], []]
    for _ in range(4):
        for number, place in enumerate(places):
            clock, wall = machine.fake.clock_ns(), time.perf_counter()
            machine.run(module, "bw_write", 2048, 256, place, 2 << 20, 3)
            clocks[number].append(machine.fake.clock_ns() - clock)
            walls[number].append(time.perf_counter() - wall)
    assert min(clocks[1]) == pytest.approx(20 * min(clocks[0]), rel=0.1)
    assert min(walls[1]) > 2 * min(walls[0])  # wall time is this machine's, which others use too


@pytest.mark.parametrize("code", [999, 719, 46])
def test_a_device_is_lost_where_it_is_said(bench: Any, code: int) -> None:
    machine = bench(faults=Faults(lost_from_mib=32, lost_code=code), context_mib=0)
    module = machine.load("base")
    low, high = machine.driver.mem_alloc(32 * MIB), machine.driver.mem_alloc(16 * MIB)
    machine.run(module, "bw_write", 2048, 256, low, 2 << 20, 3)
    for _ in range(2):
        with pytest.raises(DriverError) as caught:
            machine.run(module, "bw_write", 1024, 256, high, 1 << 20, 3)
        assert caught.value.code == code
    with pytest.raises(DriverError):
        machine.driver.memcpy_dtoh(low, 16)


def codes_of_asking(machine: Any, times: int) -> set[int]:
    try:
        for _ in range(times):
            machine.driver.mem_get_info()
    except DriverError as error:
        return {error.code}
    return set()


def test_a_device_is_lost_at_a_call_and_the_other_goes_on(bench: Any) -> None:
    lost = card("a100-80", claimed_mib=64, faults=Faults(lost_at_call=40, lost_code=999))
    machine = bench(lost, card("a100-80", index=1, claimed_mib=64))
    codes = []
    for device in machine.devices:
        device.make_current()
        seen = codes_of_asking(machine, 40)
        codes.append(seen)
        if seen:
            machine.devices[1].make_current()
    assert codes == [{999}, set()]


@pytest.mark.parametrize("kernel", ["cap_write", "*"])
def test_a_driver_that_skips_a_kernel_says_it_ran(bench: Any, kernel: str) -> None:
    machine = bench(faults=Faults(skip_kernels=kernel))
    _, place = filled(machine)
    assert machine.words(place, 2) == (0, 0)


@pytest.mark.parametrize("what", ["h2d", "d2h", "memset", "*"])
def test_a_driver_that_skips_copies_says_it_made_them(bench: Any, what: str) -> None:
    machine = bench(faults=Faults(skip_copies=what))
    place = machine.driver.mem_alloc(2 * MIB)
    machine.driver.memset_d8(place, 7, 8)
    after_set = machine.driver.memcpy_dtoh(place, 8)
    machine.put(place, 99)
    after_put = machine.driver.memcpy_dtoh(place, 8)
    none, set_, put = bytes(8), bytes([7]) * 8, (99).to_bytes(8, "little")
    assert (after_set, after_put) == {
        "h2d": (set_, set_),
        "d2h": (none, none),
        "memset": (none, put),
        "*": (none, none),
    }[what]


@pytest.mark.parametrize(
    ("faults", "free", "total"),
    [
        (Faults(told_total_mib=4096), 4096, 4096),
        (Faults(told_free_mib=4000), 4000, 64),
        (Faults(told_total_mib=4096, told_free_mib=4000), 4000, 4096),
    ],
)
def test_told_memory_need_not_be_true(bench: Any, faults: Faults, free: int, total: int) -> None:
    machine = bench(faults=faults, context_mib=0)
    assert machine.driver.mem_get_info() == (free * MIB, total * MIB)
    assert machine.devices[0].total_bytes == total * MIB
    with pytest.raises(DriverError):
        machine.driver.mem_alloc(66 * MIB)


@pytest.mark.parametrize("managed", [False, True])
def test_pointers_tell_whether_they_are_managed(bench: Any, managed: bool) -> None:
    machine = bench(faults=Faults(managed=managed))
    place = machine.driver.mem_alloc(2 * MIB)
    assert machine.driver.pointer_get_attribute(8, place) == int(managed)
    assert machine.driver.pointer_get_attribute(2, place) == 2
    with pytest.raises(DriverError):
        machine.driver.pointer_get_attribute(8, place + 64 * MIB)


@pytest.mark.parametrize("code", [1, 2, 700, 999])
def test_a_named_call_fails_when_it_is_told_to(bench: Any, code: int) -> None:
    machine = bench(faults=Faults(fail_call="cuMemAlloc_v2", fail_at=2, fail_code=code))
    machine.driver.mem_alloc(2 * MIB)
    with pytest.raises(DriverError) as caught:
        machine.driver.mem_alloc(2 * MIB)
    assert (caught.value.code, caught.value.call) == (code, "cuMemAlloc_v2")
    machine.driver.mem_alloc(2 * MIB)


def story(path: str) -> str:
    """A short life of a card; which call failed, or "done"."""
    try:
        driver = Driver.load(path)
        with OpenDevice.open(driver, 0):
            place = driver.mem_alloc(2 * MIB)
            driver.memset_d8(place, 3, 64)
            driver.memcpy_dtoh(place, 64)
            driver.mem_free(place)
    except DriverError as error:
        return f"{error.call} {error.code}"
    return "done"


def test_every_call_can_be_made_to_fail_in_turn(bench: Any) -> None:
    seen = []
    for number in range(1, 60):
        machine = bench(options={"fail_any_at": number}, opened=False) if number > 1 else None
        if machine is None:
            with pytest.raises(DriverUnavailable):
                bench(options={"fail_any_at": 1}, opened=False)
            continue
        # Loading it was the first call already; this process goes on counting.
        seen.append(story(machine.fake.path))
        if seen[-1] == "done" and number > 40:
            break
    assert set(seen) > {
        f"{call} 999"
        for call in (
            "cuDeviceGet",
            "cuMemAlloc_v2",
            "cuMemsetD8_v2",
            "cuMemcpyDtoH_v2",
            "cuMemFree_v2",
        )
    }
    assert {name.rpartition(" ")[2] for name in seen} == {"999", "done"}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"init_code": 100}, DriverStatus.NO_DEVICE),
        ({"init_code": 999}, DriverStatus.UNKNOWN),
        ({"init_code": 803}, DriverStatus.VERSION_MISMATCH),
    ],
)
def test_a_driver_that_does_not_start(bench: Any, options: Any, status: DriverStatus) -> None:
    with pytest.raises(DriverUnavailable) as caught:
        bench(options=options)
    assert caught.value.status is status


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        (card("a100-80", claimed_mib=64, ptx_max=63), 222),
        (card("a100-80", claimed_mib=64, faults=Faults(no_jit=True)), 221),
        (card("a100-80", claimed_mib=64, compute_capability=(6, 0)), 218),
    ],
)
def test_kernels_that_the_driver_cannot_compile(bench: Any, profile: Any, code: int) -> None:
    machine = bench(profile)
    with pytest.raises(DriverError) as caught:
        machine.load("base")
    assert caught.value.code == code


def test_an_old_driver_lacks_functions(bench: Any) -> None:
    profile = card(
        "a100-80", claimed_mib=64, faults=Faults(missing_symbols=("cuDeviceGetUuid_v2",))
    )
    machine = bench(profile)
    library = ctypes.CDLL(machine.fake.path)
    assert not hasattr(library, "cuDeviceGetUuid_v2")
    assert machine.devices[0].uuid == profile.uuid
    with pytest.raises(ValueError, match="cuFrobnicate"):
        bench(card("a100-80", claimed_mib=64, faults=Faults(missing_symbols=("cuFrobnicate",))))


HANG = """
import sys
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import pack_text
driver = Driver.load(sys.argv[1])
device = OpenDevice.open(driver, 0)
place = driver.mem_alloc(2 << 20)
module = driver.module_load_data_ex(pack_text("base"))
driver.launch_kernel(driver.module_get_function(module, "bw_write"), 1, 256, (place, 1024, 3))
print("launched", flush=True)
driver.ctx_synchronize()
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("faults", "lines"),
    [
        (Faults(), ["launched\n", "done\n"]),
        (Faults(hang_kernel="bw_write"), ["launched\n"]),
        (Faults(hang_call="cuMemAlloc_v2"), []),
    ],
)
def test_what_hangs_can_only_be_killed(bench: Any, faults: Faults, lines: list[str]) -> None:
    machine = bench(faults=faults, opened=False)
    child = subprocess.Popen(
        [sys.executable, "-c", HANG, machine.fake.path], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    seen = [child.stdout.readline() for _ in lines]
    assert seen == lines
    if len(lines) == 2:
        assert child.wait(60) == 0
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.0)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    child.stdout.close()


def test_the_emulator_tells_that_it_is_one(bench: Any) -> None:
    machine = bench()
    assert ctypes.CDLL(machine.fake.path).gpuverifyEmulator() == 1
    first = machine.fake.clock_ns()
    time.sleep(0.01)
    assert machine.fake.clock_ns() - first < 1000  # modelled: sleeping is not part of it


def test_no_second_process_is_needed_for_a_module_seen_before(bench: Any, tmp_path: Any) -> None:
    times = []
    for _ in range(2):
        machine = bench(options={"cache": tmp_path})
        began = time.perf_counter()
        machine.load("base")
        times.append(time.perf_counter() - began)
    assert times[1] < times[0] / 3
    assert sum(path.name.startswith("ptx-") for path in tmp_path.iterdir()) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith("tmp")]
