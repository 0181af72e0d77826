"""Emulated cards for the tests of the emulator."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import pack_text
from gpuverify.testing.cuda import CardProfile, NoCompilerError, card, fake_cuda
from gpuverify.testing.cuda.toolchain import compiler


class Bench:
    """An emulated machine with its cards open, and short names for what tests do to them."""

    def __init__(self, fake: Any, opened: bool = True) -> None:
        self.fake = fake
        self.driver = Driver.load(fake.path)
        count = self.driver.device_get_count() if opened else 0
        self.devices = [OpenDevice.open(self.driver, number) for number in range(count)]
        if self.devices:
            self.devices[0].make_current()

    def load(self, pack: str | bytes) -> int:
        text = pack_text(pack) if isinstance(pack, str) else pack
        return self.driver.module_load_data_ex(text)

    def run(self, module: int, kernel: str, grid: int, block: int, *arguments: int) -> None:
        function = self.driver.module_get_function(module, kernel)
        self.driver.launch_kernel(function, grid, block, arguments)
        self.driver.ctx_synchronize()

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self.driver.memcpy_dtoh(address, 8 * count))

    def put(self, address: int, *words: int) -> None:
        self.driver.memcpy_htod(address, struct.pack(f"<{len(words)}Q", *words))


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Open machines; each takes profiles (or fields of one A100) and the options of fake_cuda."""
    try:
        compiler(plus_plus=True)
        compiler(plus_plus=False)
    except NoCompilerError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:

        def make(
            *profiles: CardProfile,
            options: dict[str, Any] | None = None,
            opened: bool = True,
            **fields: Any,
        ) -> Bench:
            cards = profiles or (card("a100-80", **{"claimed_mib": 64, **fields}),)
            return Bench(stack.enter_context(fake_cuda(cards, **(options or {}))), opened)

        yield make
