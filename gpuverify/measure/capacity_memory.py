"""The memory under test: as many bytes as can be had, held at once, in numbered cells."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from gpuverify.measure.capacity_decode import chunk_of
from gpuverify.measure.capacity_evidence import CELL_BYTES, Chunk
from gpuverify.measure.capacity_plan import MIB, CapacityPlan
from gpuverify.measure.driver_api import (
    MEMORY_TYPE_DEVICE,
    Driver,
    DriverError,
    DriverStatus,
    OpenDevice,
    PointerAttribute,
)
from gpuverify.measure.packs import PACKS, TILE_THREADS, pack_text

HELPER_BYTES = 2 * MIB
"""Size of the one allocation beside the tested ones: counters, records, digests."""

_KERNELS = ("cap_write", "cap_check", "cap_digest", "butterfly")
_WANTED_CHUNKS = 8  # fewer, and a mix across chunks means little
_UNDERSTATED_BYTES = 256 * MIB


class TestedMemory:
    """The compiled kernels and the chunks they work on.

    Attributes:
        chunks: The chunks under test, in ascending order of their cells.
        helper: Address of the helper allocation.
        refused: Whether the driver refused bytes that it had called free.
        offset: Offset in the tested bytes that is being touched, None while none is.
    """

    # pytest would take the name for a test.
    __test__ = False

    def __init__(self, device: OpenDevice, plan: CapacityPlan) -> None:
        """Hold nothing yet."""
        self.chunks: list[Chunk] = []
        self.helper = 0
        self.refused = False
        self.offset: int | None = None
        self._driver: Driver = device.driver
        self._claimed_bytes = device.total_bytes
        self._plan = plan
        self._module = 0
        self._functions: dict[str, int] = {}
        self._believed = True

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return self.chunks[-1].base + self.chunks[-1].cells if self.chunks else 0

    # Taking and giving back

    def prepare(self) -> None:
        """Compile the kernels, take the helper memory and start each kernel once on nothing."""
        self._module = self._driver.module_load_data_ex(pack_text("base"))
        for name in _KERNELS:
            self._functions[name] = self._driver.module_get_function(self._module, name)
        self.helper = self._driver.mem_alloc(HELPER_BYTES)
        # The first launch pays for loading the code; one cell of the helper is all it touches.
        for name in _KERNELS:
            kernel = PACKS["base"].kernels[name]
            given = dict.fromkeys(kernel.pointers, self.helper) | {"ncell": 1}
            self.launch(name, 1, *(given.get(argument, 0) for argument in kernel.arguments))

    def allocate(self, told: Callable[[int], None]) -> None:
        """Take chunks, large ones first, until no more can be had.

        Args:
            told: Called with the bytes held after each.
        """
        self._fill(told)
        if self._believed and self._understated():
            self._believed = False
            self._fill(told)
        freed = 0
        while not self._believed and len(self.chunks) > 1 and freed < self._plan.reserve_bytes:
            chunk = self.chunks.pop()
            self._driver.mem_free(chunk.address)
            freed += chunk.size_bytes

    def _fill(self, told: Callable[[int], None]) -> None:
        """Take chunks of falling size."""
        size = self._first_size()
        while size >= self._plan.smallest_chunk_bytes:
            free = self._driver.mem_get_info()[0]
            address = self._take(size, free)
            if address is None:
                size = size // 2 // MIB * MIB
                continue
            self.chunks.append(Chunk(address=address, base=self.cells, cells=size // CELL_BYTES))
            told(self.cells * CELL_BYTES)
            # Free memory that does not fall when memory is taken is not worth being obeyed.
            if free - self._driver.mem_get_info()[0] < size // 2:
                self._believed = False

    def _take(self, size: int, free: int) -> int | None:
        """Allocate a chunk; None where the plan, the driver's word or the driver is against it."""
        limit = self._plan.limit_bytes
        if limit and self.cells * CELL_BYTES + size > limit:
            return None
        if self._believed and free < size + self._plan.reserve_bytes:
            return None
        try:
            return self._driver.mem_alloc(size)
        except DriverError as error:
            if error.status is not DriverStatus.OUT_OF_MEMORY:
                raise
            self.refused = self.refused or self._believed
            return None

    def _first_size(self) -> int:
        """Return the size of the first chunk: the plan's, or less on a card so small."""
        size = self._plan.chunk_bytes
        limit = self._plan.limit_bytes
        wanted = min(self._claimed_bytes, limit or self._claimed_bytes)
        while size // 2 >= self._plan.smallest_chunk_bytes and wanted // size < _WANTED_CHUNKS:
            size = size // 2 // MIB * MIB
        return size

    def _understated(self) -> bool:
        """Whether the driver gives more than it calls free, where it calls little so."""
        held = self.cells * CELL_BYTES
        if self._plan.limit_bytes or held * 2 >= self._claimed_bytes:
            return False
        more = self._driver.mem_get_info()[0] + min(_UNDERSTATED_BYTES, self._claimed_bytes // 4)
        try:
            self._driver.mem_free(self._driver.mem_alloc(more))
        except DriverError as error:
            if error.status is not DriverStatus.OUT_OF_MEMORY:
                raise
            return False
        return True

    def release(self) -> None:
        """Free everything; a device that is gone cannot and need not."""
        for address in [*(chunk.address for chunk in self.chunks), self.helper]:
            if address:
                with contextlib.suppress(DriverError):
                    self._driver.mem_free(address)
        if self._module:
            with contextlib.suppress(DriverError):
                self._driver.module_unload(self._module)
        self.chunks, self.helper, self._module = [], 0, 0

    def foreign(self) -> tuple[str, ...]:
        """Return which chunks are not plain device memory; no answer is no accusation."""
        return tuple(
            f"{attribute.name.lower()}={value} at {chunk.offset_bytes}"
            for chunk in self.chunks
            for attribute, right in (
                (PointerAttribute.MEMORY_TYPE, MEMORY_TYPE_DEVICE),
                (PointerAttribute.IS_MANAGED, 0),
            )
            if (value := self._pointer_attribute(attribute, chunk.address)) not in (None, right)
        )

    def _pointer_attribute(self, attribute: PointerAttribute, address: int) -> int | None:
        """Ask for an attribute; None where the driver does not know it."""
        try:
            return self._driver.pointer_get_attribute(attribute, address)
        except DriverError as error:
            if error.status.ends_device:
                raise
            return None

    # Using

    def stream(self, kernel: str, chunk: Chunk, *arguments: int) -> int:
        """Run a kernel over a whole chunk and wait for it.

        Args:
            kernel: Name of the kernel.
            chunk: The chunk.
            arguments: All of the kernel's arguments.

        Returns:
            The rate in kB/s by the host's clock.
        """
        self.offset = chunk.offset_bytes
        started = self._driver.host_clock_ns()
        self.launch(kernel, chunk.cells, *arguments)
        elapsed = max(1, self._driver.host_clock_ns() - started)
        self.offset = None
        return chunk.size_bytes * 1_000_000 // elapsed

    def launch(self, kernel: str, cells: int, *arguments: int) -> None:
        """Start a kernel on `cells` cells and wait until it is done."""
        grid = PACKS["base"].kernels[kernel].blocks(cells)
        self._driver.launch_kernel(self._functions[kernel], grid, TILE_THREADS, arguments)
        self._driver.ctx_synchronize()

    def peek(self, cell: int, size: int) -> bytes:
        """Copy bytes from a global cell on."""
        address = self._touch(cell)
        content = self._driver.memcpy_dtoh(address, size)
        self.offset = None
        return content

    def poke(self, cell: int, content: bytes) -> None:
        """Write bytes to a global cell."""
        self._driver.memcpy_htod(self._touch(cell), content)
        self.offset = None

    def _touch(self, cell: int) -> int:
        """Return the address of a global cell and note that it is being touched."""
        chunk = chunk_of(self.chunks, cell)
        self.offset = cell * CELL_BYTES
        return chunk.address + (cell - chunk.base) * CELL_BYTES
