"""Running kernels for the fingerprint: packs, memory that is given back, clocks, exact results."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuverify.measure.driver_api import DeviceAttribute, DriverError, DriverStatus, OpenDevice
from gpuverify.measure.fingerprint_analysis import Duration, Record, parse_records, span_cycles
from gpuverify.measure.fingerprint_analysis import span_ns as device_span_ns
from gpuverify.measure.fingerprint_plan import MIB, FingerprintPlan
from gpuverify.measure.packs import PACKS, RECORD_WORDS, TILE_THREADS, pack_text
from gpuverify.measure.progress import Progress
from gpuverify.measure.reference import Keys
from gpuverify.measure.reference_chain import LANES, sink_bytes
from gpuverify.model.telemetry import Sample, Telemetry

Report = Callable[[Progress], None]

_DEFAULT_CLOCK_KHZ = 1_400_000
_DEFAULT_SMS = 128
_SAMPLE_S = 0.1
_JOIN_S = 5.0
_WORD_BYTES = 8
_STALE = 0xA5
_RESERVED_BYTES = 256 * MIB
# A driver that will refuse a pack the next time too; anything else may pass.
_FOR_GOOD = (
    DriverStatus.JIT_COMPILER_MISSING,
    DriverStatus.NOT_SUPPORTED,
    DriverStatus.PTX_REFUSED,
    DriverStatus.PTX_TOO_NEW,
    DriverStatus.SYMBOL_MISSING,
)


class WrongResultError(Exception):
    """A result that was recomputed on the CPU is another: its timing means nothing."""


class NotMeasurableError(Exception):
    """This card or driver cannot be asked that."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of a timed kernel whose results were right.

    Attributes:
        records: The clocks of each warp.
        duration: How long it took.
        iterations: What it was asked to do.
    """

    records: tuple[Record, ...]
    duration: Duration
    iterations: int


class Sampler:
    """Looks at the card ten times a second while a call of the driver blocks."""

    def __init__(self, telemetry: Telemetry | None, bus_id: str) -> None:
        """Look through `telemetry`, or not at all."""
        self.samples: list[Sample] = []
        self._telemetry = telemetry
        self._bus_id = bus_id
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Sampler:  # noqa: PYI034 - Self came with Python 3.11
        """Begin to look."""
        if self._telemetry is not None:
            self._thread = threading.Thread(target=self._run, args=(self._telemetry,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop looking; one that hangs is left behind."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self, telemetry: Telemetry) -> None:
        while True:
            self.samples.append(telemetry.sample(self._bus_id))
            if self._stop.wait(_SAMPLE_S):
                return


class Bench:
    """An open device with what every measurement needs.

    Attributes:
        device: The device.
        plan: What to do.
        sm_count: SMs that take part: what the driver says until they were counted.
        clock_khz: SM clock that targets are reckoned with.
        details: Further integers for whoever studies the run; never judged.
    """

    def __init__(
        self,
        device: OpenDevice,
        keys: Keys,
        plan: FingerprintPlan,
        report: Report,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Prepare; the device is not touched yet.

        Args:
            device: The device; its context has to be current in this thread.
            keys: Keys made from the nonce and the device's identity.
            plan: What to do.
            report: Called before each measurement.
            telemetry: Looks at the card meanwhile, None where nobody can.
        """
        self.device = device
        self.driver = device.driver
        self.plan = plan.emulated() if device.driver.emulated else plan
        attributes = device.attributes
        self.sm_count = attributes.get(DeviceAttribute.MULTIPROCESSOR_COUNT, 0) or _DEFAULT_SMS
        self.clock_khz = attributes.get(DeviceAttribute.CLOCK_RATE_KHZ, 0) or _DEFAULT_CLOCK_KHZ
        self.details: dict[str, int] = {}
        self.samples: dict[str, list[Sample]] = {}
        self._keys = keys
        self._report = report
        self._telemetry = telemetry
        self._modules: dict[str, int] = {}
        self._refused: dict[str, DriverError] = {}
        self._functions: dict[str, int] = {}
        self._drawn = 0

    @property
    def blocks(self) -> int:
        """Blocks of a timed kernel of arithmetic."""
        return self.plan.blocks_per_sm * min(self.sm_count, self.plan.sms or self.sm_count)

    # Keys, progress, samples

    def fresh_keys(self, label: str) -> Keys:
        """Return keys that no run before had, so that no old result fits.

        Args:
            label: What they are for.
        """
        self._drawn += 1
        return Keys.derive(self._keys.seed, "", "", f"{label}/{self._drawn}")

    def tell(self, phase: str, done: int = 0, total: int = 0, rate_kb_s: int = 0) -> None:
        """Report what comes next."""
        self._report(Progress(phase=phase, done_bytes=done, total_bytes=total, rate_kb_s=rate_kb_s))

    @contextlib.contextmanager
    def sampled(self, phase: str) -> Iterator[None]:
        """Look at the card while the block runs; the samples are kept under the phase."""
        with Sampler(self._telemetry, self.device.pci_bus_id) as sampler:
            yield
        self.samples.setdefault(phase, []).extend(sampler.samples)

    # Packs

    def capability(self) -> tuple[int, int] | None:
        """Return the compute capability, None where the driver does not say."""
        attributes = self.device.attributes
        major = attributes.get(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR, 0)
        minor = attributes.get(DeviceAttribute.COMPUTE_CAPABILITY_MINOR, 0)
        return (major, minor) if major else None

    def function(self, pack: str, kernel: str) -> int:
        """Return the handle of a kernel, its pack compiled at first use.

        Args:
            pack: Key of `PACKS`.
            kernel: Name of the kernel.

        Raises:
            NotMeasurableError: The card cannot run the pack.
            DriverError: The driver refused it.
        """
        name = f"{pack}/{kernel}"
        if name not in self._functions:
            needed, present = PACKS[pack].minimum_capability, self.capability()
            if present is not None and present < needed:
                raise NotMeasurableError(
                    f"needs compute capability {needed[0]}.{needed[1]},"
                    f" this is {present[0]}.{present[1]}"
                )
            if pack in self._refused:
                raise self._refused[pack]
            if pack not in self._modules:
                self._modules[pack] = self._load(pack)
            self._functions[name] = self.driver.module_get_function(self._modules[pack], kernel)
        return self._functions[name]

    def _load(self, pack: str) -> int:
        started = self.driver.host_clock_ns()
        try:
            module = self.driver.module_load_data_ex(pack_text(pack))
        except DriverError as error:
            if error.status in _FOR_GOOD:
                self._refused[pack] = error
            raise
        self.details[f"load_{pack}_us"] = (self.driver.host_clock_ns() - started) // 1000
        return module

    def release(self) -> None:
        """Unload the packs; a device that is gone cannot and need not."""
        for module in self._modules.values():
            with contextlib.suppress(DriverError):
                self.driver.module_unload(module)
        self._modules, self._functions = {}, {}

    # Memory

    @contextlib.contextmanager
    def memory(self, *sizes: int) -> Iterator[tuple[int, ...]]:
        """Hold device memory for the time of a block.

        Args:
            sizes: Bytes of each piece.

        Yields:
            Their addresses.
        """
        held: list[int] = []
        try:
            # One at a time: what was had is given back when the next is refused.
            held.extend(map(self.driver.mem_alloc, sizes))
            yield tuple(held)
        finally:
            for address in held:
                with contextlib.suppress(DriverError):
                    self.driver.mem_free(address)

    @contextlib.contextmanager
    def pinned(self, size: int) -> Iterator[int]:
        """Hold pinned host memory for the time of a block.

        Args:
            size: Bytes.

        Yields:
            Its address.
        """
        address = self.driver.mem_host_alloc(size)
        try:
            yield address
        finally:
            with contextlib.suppress(DriverError):
                self.driver.mem_free_host(address)

    def affordable(self, wanted: int, pieces: int = 1) -> int:
        """Return how large each of several pieces may be without taking what others need.

        Args:
            wanted: Bytes that would be best for each.
            pieces: How many there are.

        Raises:
            NotMeasurableError: There is too little free memory.
        """
        free = self.driver.mem_get_info()[0]
        room = max(free - _RESERVED_BYTES, free * 3 // 4) // pieces
        size = min(wanted, room) // MIB * MIB
        if size < MIB:
            raise NotMeasurableError(f"too little memory is free: {free // MIB} MiB")
        return size

    # Launching

    def launch(self, function: int, grid: int, threads: int, arguments: Sequence[int]) -> int:
        """Run a kernel and wait for it.

        Args:
            function: Handle of the kernel.
            grid: Blocks.
            threads: Threads of a block.
            arguments: Its arguments.

        Returns:
            Nanoseconds by the host's clock.
        """
        started = self.driver.host_clock_ns()
        self.driver.launch_kernel(function, grid, threads, arguments)
        self.driver.ctx_synchronize()
        return self.driver.host_clock_ns() - started

    def tiled(self, kernel: str, cells: int, *arguments: int) -> int:
        """Run a memory kernel over its cells and wait for it.

        Args:
            kernel: Name of the kernel in the base pack.
            cells: Cells to work on.
            arguments: All of its arguments.

        Returns:
            Nanoseconds by the host's clock.
        """
        grid = PACKS["base"].kernels[kernel].blocks(cells)
        return self.launch(self.function("base", kernel), grid, TILE_THREADS, arguments)

    def timed(
        self,
        pack: str,
        kernel: str,
        arguments: Mapping[str, int],
        check: Callable[[bytes, int], None],
        *,
        grid: int = 0,
    ) -> Timed:
        """Run a timed kernel once, check its results and return its clocks.

        Args:
            pack: Key of `PACKS`.
            kernel: Name of the kernel.
            arguments: Its arguments by name, but for `rec` and `sink`.
            check: Raises `WrongResultError` for the content of the sink and the number of threads.
            grid: Blocks; the plan's for each SM where 0.

        Raises:
            WrongResultError: A result is not what the CPU computes.
        """
        threads = self.plan.threads
        blocks = grid or self.blocks
        total = blocks * threads
        sizes = (total // LANES * RECORD_WORDS * _WORD_BYTES, total * _WORD_BYTES)
        function = self.function(pack, kernel)
        with self.memory(*sizes) as (rec, sink), self._events() as (start, end):
            # What a kernel that never ran leaves behind must not look like a result.
            self.driver.memset_d8(rec, 0, sizes[0])
            self.driver.memset_d8(sink, _STALE, sizes[1])
            self.driver.ctx_synchronize()
            given = {**arguments, "rec": rec, "sink": sink}
            ordered = [given[name] for name in PACKS[pack].kernels[kernel].arguments]
            began = self.driver.host_clock_ns()
            self._mark(start)
            self.driver.launch_kernel(function, blocks, threads, ordered)
            self._mark(end)
            self.driver.ctx_synchronize()
            host_ns = self.driver.host_clock_ns() - began
            records = parse_records(self.driver.memcpy_dtoh(rec, sizes[0]))
            check(self.driver.memcpy_dtoh(sink, sizes[1]), total)
            event_ns = self._between(start, end)
        return Timed(
            records=tuple(records),
            duration=Duration(
                cycles=span_cycles(records),
                device_ns=device_span_ns(records),
                event_ns=event_ns,
                host_ns=host_ns,
            ),
            iterations=arguments.get("iters", arguments.get("loads", 0)),
        )

    @contextlib.contextmanager
    def _events(self) -> Iterator[tuple[int, int]]:
        """Two events, 0 for one that the driver does not give: they are a third opinion only."""
        made: list[int] = []
        try:
            made += [self._event(), self._event()]
            yield made[0], made[1]
        finally:
            for event in made:
                if event:
                    with contextlib.suppress(DriverError):
                        self.driver.event_destroy(event)

    def _event(self) -> int:
        try:
            return self.driver.event_create()
        except DriverError as error:
            if error.status.ends_device:
                raise
            return 0

    def _mark(self, event: int) -> None:
        if event:
            self.driver.event_record(event)

    def _between(self, start: int, end: int) -> int | None:
        if not start or not end:
            return None
        try:
            return self.driver.event_elapsed_ns(start, end)
        except DriverError as error:
            if error.status.ends_device:
                raise
            return None


def check_lanes(words: Sequence[int]) -> Callable[[bytes, int], None]:
    """Return a check of a sink whose words depend on the lane alone.

    Args:
        words: The 32 words that every warp has to give.
    """

    def check(content: bytes, threads: int) -> None:
        if content != sink_bytes(words, threads):
            raise WrongResultError("results that were recomputed exactly came out wrong")

    return check
