"""The timed kernels as shipped, on the emulated driver, against their closed forms."""

from __future__ import annotations

import dataclasses
import secrets
from array import array
from collections.abc import Iterator

import pytest

from gpuverify.measure import reference_chain as chain
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import PACKS, RECORD_WORDS, pack_text
from gpuverify.measure.reference import Keys, cell, cells_bytes
from gpuverify.measure.reference_mma import SHAPES, fragments
from gpuverify.testing.cuda import NoCompilerError, card, fake_cuda

SMS = 6
GRID, THREADS = 13, 64
TOTAL = GRID * THREADS
WARPS = TOTAL // 32


class Device:
    """An emulated card with all packs loaded."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.modules = {name: driver.module_load_data_ex(pack_text(name)) for name in PACKS}

    def put(self, data: bytes) -> int:
        address = self.driver.mem_alloc(len(data))
        self.driver.memcpy_htod(address, data)
        return address

    def words(self, address: int, count: int) -> array[int]:
        return array("Q", self.driver.memcpy_dtoh(address, 8 * count))

    def launch(self, kernel: str, grid: int, threads: int, *arguments: int) -> None:
        pack = next(name for name in PACKS if kernel in PACKS[name].kernels)
        assert len(arguments) == len(PACKS[pack].kernels[kernel].arguments)
        function = self.driver.module_get_function(self.modules[pack], kernel)
        self.driver.launch_kernel(function, grid, threads, list(arguments))
        self.driver.ctx_synchronize()

    def timed(self, kernel: str, *arguments: int) -> array[int]:
        """Run a timed kernel, look at its records and return its sink."""
        rec = self.put(bytes(8 * RECORD_WORDS * WARPS))
        sink = self.put(b"\xee" * 8 * TOTAL)
        self.launch(kernel, GRID, THREADS, *arguments, rec, sink)
        records = self.words(rec, RECORD_WORDS * WARPS)
        smids = {records[RECORD_WORDS * warp] for warp in range(WARPS)}
        assert smids == set(range(SMS))
        for warp in range(WARPS):
            _, before, after, early, late = records[RECORD_WORDS * warp :][:RECORD_WORDS]
            assert after > before
            assert late >= early > 0
        return self.words(sink, TOTAL)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    profile = dataclasses.replace(card("h100-sxm"), claimed_mib=256, sm_count=SMS)
    try:
        with fake_cuda([profile], checked=True) as fake:
            driver = Driver.load(fake.path)
            driver.init()
            with OpenDevice.open(driver, 0):
                yield Device(driver)
            assert fake.faults() == []
    except NoCompilerError as error:
        pytest.skip(str(error))


def fresh() -> tuple[Keys, str]:
    nonce = secrets.token_bytes(8)
    return Keys.derive(nonce, "GPU-t", "00000000:0b:00.0", "timed"), f"nonce {nonce.hex()}"


@pytest.mark.parametrize("kernel", chain.CHAIN_KERNELS)
def test_a_chain_gives_its_closed_form(kernel: str, device: Device) -> None:
    keys, said = fresh()
    for iters in (0, 1, 2, 37):
        operands = chain.chain_operands(kernel, keys, 40)
        arguments = (operands.a, operands.b, operands.c, operands.seed, iters)
        sink = device.timed(kernel, *arguments)
        want = chain.chain_expected(kernel, operands, iters)
        assert sink.tobytes() == chain.sink_bytes(want, TOTAL), said


def test_the_census_gives_its_closed_form(device: Device) -> None:
    keys, said = fresh()
    a, c, seed = keys.integers("census", 3, 1 << 32)
    sink = device.timed("census", a, c, seed, 5)
    want = chain.sink_bytes(chain.census_expected(a, c, seed, 5), TOTAL)
    assert sink.tobytes() == want, said


@pytest.mark.parametrize("kernel", SHAPES)
def test_a_tensor_kernel_gives_the_integer_product(kernel: str, device: Device) -> None:
    keys, said = fresh()
    made = fragments(kernel, keys)
    a, b = device.put(made.a_bytes), device.put(made.b_bytes)
    for iters in (0, 1, 2, 29):
        sink = device.timed(kernel, a, b, iters)
        assert sink.tobytes() == chain.sink_bytes(made.expected(iters), TOTAL), (said, iters)


def test_l2_reads_every_cell_of_its_turn(device: Device) -> None:
    keys, said = fresh()
    for ncell in (1 << 12, 5 << 9, 300):
        step, loads = TOTAL % ncell, 24
        buffer = device.put(cells_bytes(0, ncell, keys.k0, keys.k1))
        sink = device.timed("l2_read", buffer, ncell, step, loads)

        def cell_of(index: int) -> tuple[int, int]:
            return cell(index, keys.k0, keys.k1)

        for thread in (0, 1, 31, 32, TOTAL - 1, secrets.randbelow(TOTAL)):
            want = chain.l2_expected(thread, ncell, step, loads, cell_of)
            assert sink[thread] == want, (said, ncell, thread)


@pytest.mark.parametrize(("slots", "stride"), [(1024, 32), (5 << 8, 128), (1000, 8)])
def test_a_chase_ends_where_the_cycle_says(slots: int, stride: int, device: Device) -> None:
    keys, said = fresh()
    a, c = chain.chase_cycle(slots, keys)
    base = device.put(bytes(slots * stride + 8))
    device.launch("chase_fill", PACKS["base"].kernels["chase_fill"].blocks(slots), 256,
                  base, slots, stride, a, c)  # fmt: skip
    held = device.words(base, slots * stride // 8 + 1)
    following = [(held[slot * stride // 8] - base) // stride for slot in range(slots)]
    assert sorted(following) == list(range(slots)), said
    assert held[-1] == 0
    rec = device.put(bytes(56))
    start, warm, hops = keys.integers("start", 1, slots)[0], 64, 8 * 41
    device.launch("chase", 1, 1, base + start * stride, warm, hops, rec)
    smid, before, after, early, late, last, beyond = device.words(rec, 7)
    want = chain.chase_after(slots, a, c, start, warm + hops)
    assert last == base + want * stride, said
    assert smid < SMS
    assert after - before >= hops
    assert late >= early
    assert beyond == 0
