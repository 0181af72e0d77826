"""The CUDA driver API through ctypes: the calls that measuring needs, nothing else.

Nothing has to be installed beside the driver. Each method is named after its CUDA call, returns
plain values and raises `DriverError` with a typed status; a symbol that an old driver lacks fails
when it is used, not before.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from gpuverify.measure.driver_status import (
    CODE_NOT_ASKED,
    DriverError,
    DriverStatus,
    DriverUnavailable,
    status_of,
)
from gpuverify.measure.driver_symbols import (
    MEMORY_TYPE_DEVICE,
    SIGNATURES,
    DeviceAttribute,
    PointerAttribute,
)

__all__ = [
    "MEMORY_TYPE_DEVICE",
    "DeviceAttribute",
    "Driver",
    "DriverError",
    "DriverStatus",
    "DriverUnavailable",
    "OpenDevice",
    "PointerAttribute",
    "read_attributes",
]

LIBRARY_NAME = "libcuda.so.1"
EMULATOR_CLOCK = "gpuverifyEmulatorClockNs"
"""Symbol of an emulated driver: the host's clock as it would be beside the card it emulates."""

_POINTER = ctypes.c_void_p
_U64 = ctypes.c_uint64
_SIZE = ctypes.c_size_t
_INT = ctypes.c_int
_UINT = ctypes.c_uint
_TEXT = ctypes.c_char_p

_NAME_BYTES = 256
_BUS_ID_BYTES = 32
_LOG_BYTES = 4096
_JIT_ERROR_LOG = 5
_JIT_ERROR_LOG_SIZE = 6


def uuid_text(raw: bytes, prefix: str = "GPU-") -> str:
    """Format 16 raw bytes as NVML prints a UUID."""
    text = raw.hex()
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return prefix + "-".join(parts)


class Driver:
    """One loaded and initialised libcuda.

    Attributes:
        path: What it was loaded as.
        emulated: Whether it says of itself that it is an emulation; what it measures is never
            live evidence, so that nothing is gained by saying so.
    """

    def __init__(self, library: Any, path: str) -> None:
        """Stand on a loaded library; `load` is the usual way.

        Args:
            library: What ctypes loaded, or anything that answers `getattr` with such functions.
            path: What it was loaded as, for people.
        """
        self.path = path
        self._functions: dict[str, Callable[..., int]] = {}
        for name, types in SIGNATURES.items():
            function = getattr(library, name, None)
            if function is None:
                continue
            function.argtypes = types
            function.restype = _INT
            self._functions[name] = function
        clock = getattr(library, EMULATOR_CLOCK, None)
        self.emulated = clock is not None
        if clock is not None:
            clock.argtypes, clock.restype = (), _U64
        self._clock: Callable[[], int] = clock or time.perf_counter_ns

    @classmethod
    def load(cls, path: str | None = None) -> Driver:
        """Load libcuda and initialise it.

        Args:
            path: Library to load; None for the driver's own, by the loader's search.

        Raises:
            DriverUnavailable: There is no library, no device, or it refuses to start.
        """
        name = path or LIBRARY_NAME
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            raise DriverUnavailable(
                DriverStatus.NO_LIBRARY, CODE_NOT_ASKED, "dlopen", str(error)
            ) from None
        driver = cls(library, name)
        try:
            driver.init()
        except DriverError as error:
            raise DriverUnavailable(error.status, error.code, error.call, error.detail) from None
        return driver

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a symbol and raise what its result code means."""
        function = self._functions.get(name)
        if function is None:
            raise DriverError(DriverStatus.SYMBOL_MISSING, CODE_NOT_ASKED, name)
        code = function(*arguments)
        if code:
            raise DriverError(status_of(code), code, name, self.get_error_name(code))

    def _value(self, name: str, kind: Any, *arguments: Any) -> Any:
        """Call a symbol whose first argument receives one value."""
        out = kind()
        self._call(name, ctypes.byref(out), *arguments)
        return out.value

    def _handle(self, name: str, *arguments: Any) -> int:
        """Call a symbol whose first argument receives a handle; a null handle becomes 0."""
        return int(self._value(name, _POINTER, *arguments) or 0)

    def host_clock_ns(self) -> int:
        """Return the host's clock, against which the device's work is timed."""
        return self._clock()

    def get_error_name(self, code: int) -> str:
        """Return the driver's own name of a result code, "" where it has none."""
        function = self._functions.get("cuGetErrorName")
        if function is None:
            return ""
        text = _TEXT()
        if function(code, ctypes.byref(text)) or not text.value:
            return ""
        return text.value.decode("ascii", "replace")

    def init(self) -> None:
        """Initialise the driver."""
        self._call("cuInit", 0)

    def driver_get_version(self) -> int:
        """Return the driver's CUDA version: 12040 for 12.4."""
        return int(self._value("cuDriverGetVersion", _INT))

    def device_get_count(self) -> int:
        """Return how many devices this process sees."""
        return int(self._value("cuDeviceGetCount", _INT))

    def device_get(self, ordinal: int) -> int:
        """Return the device handle of an ordinal."""
        return int(self._value("cuDeviceGet", _INT, ordinal))

    def device_get_name(self, device: int) -> str:
        """Return the device's name."""
        buffer = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", buffer, _NAME_BYTES, device)
        return buffer.value.decode("utf-8", "replace")

    def device_get_uuid(self, device: int) -> str:
        """Return the UUID as NVML prints it; a MIG instance's own where the driver gives it."""
        raw = (ctypes.c_ubyte * 16)()
        name = "cuDeviceGetUuid_v2"
        if name not in self._functions:
            name = "cuDeviceGetUuid"
        self._call(name, raw, device)
        return uuid_text(bytes(raw))

    def device_get_pci_bus_id(self, device: int) -> str:
        """Return the PCI bus id as the driver prints it."""
        buffer = ctypes.create_string_buffer(_BUS_ID_BYTES)
        self._call("cuDeviceGetPCIBusId", buffer, _BUS_ID_BYTES, device)
        return buffer.value.decode("ascii", "replace")

    def device_total_mem(self, device: int) -> int:
        """Return the bytes of memory that the driver says the device has."""
        return int(self._value("cuDeviceTotalMem_v2", _SIZE, device))

    def device_get_attribute(self, attribute: int, device: int) -> int:
        """Return one attribute; numbers are in `DeviceAttribute`."""
        return int(self._value("cuDeviceGetAttribute", _INT, int(attribute), device))

    def device_primary_ctx_retain(self, device: int) -> int:
        """Return the device's primary context, made where there is none."""
        return self._handle("cuDevicePrimaryCtxRetain", device)

    def device_primary_ctx_release(self, device: int) -> None:
        """Let the primary context go."""
        self._call("cuDevicePrimaryCtxRelease_v2", device)

    def ctx_set_current(self, context: int) -> None:
        """Bind a context to this thread."""
        self._call("cuCtxSetCurrent", context)

    def ctx_synchronize(self) -> None:
        """Wait until all work of the current context is done."""
        self._call("cuCtxSynchronize")

    def mem_get_info(self) -> tuple[int, int]:
        """Return free and total bytes of the current context's device."""
        free, total = _SIZE(), _SIZE()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def mem_alloc(self, size: int) -> int:
        """Allocate device memory and return its address."""
        return int(self._value("cuMemAlloc_v2", _U64, size))

    def mem_free(self, address: int) -> None:
        """Free device memory."""
        self._call("cuMemFree_v2", address)

    def memcpy_htod(self, address: int, data: bytes | int, size: int | None = None) -> None:
        """Copy to the device.

        Args:
            address: Where to, on the device.
            data: The bytes, or the address of host memory (then `size` is needed).
            size: How many bytes; all of `data` by default.
        """
        if isinstance(data, bytes):
            size = len(data) if size is None else size
        self._call("cuMemcpyHtoD_v2", address, data, size)

    def memcpy_dtoh(self, address: int, size: int) -> bytes:
        """Copy bytes from the device."""
        buffer = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", buffer, address, size)
        return buffer.raw

    def memcpy_dtoh_into(self, host: int, address: int, size: int) -> None:
        """Copy from the device into host memory, e.g. pinned memory, by its address."""
        self._call("cuMemcpyDtoH_v2", host, address, size)

    def memset_d8(self, address: int, value: int, size: int) -> None:
        """Fill device memory with one byte value."""
        self._call("cuMemsetD8_v2", address, value, size)

    def mem_host_alloc(self, size: int) -> int:
        """Allocate pinned host memory and return its address."""
        return self._handle("cuMemHostAlloc", size, 0)

    def mem_free_host(self, address: int) -> None:
        """Free pinned host memory."""
        self._call("cuMemFreeHost", address)

    def pointer_get_attribute(self, attribute: int, address: int) -> int:
        """Return one attribute of a device address; numbers are in `PointerAttribute`."""
        return int(self._value("cuPointerGetAttribute", _UINT, int(attribute), address))

    def module_load_data_ex(self, image: bytes) -> int:
        """Compile PTX and load it.

        Raises:
            DriverError: With the first line of the compiler's log in `detail`.
        """
        log = ctypes.create_string_buffer(_LOG_BYTES)
        options = (_INT * 2)(_JIT_ERROR_LOG, _JIT_ERROR_LOG_SIZE)
        # Each option value is passed in the space of a pointer, the size as its own value.
        values = (_POINTER * 2)(ctypes.addressof(log), _LOG_BYTES)
        text = ctypes.create_string_buffer(image)
        try:
            return self._handle("cuModuleLoadDataEx", text, 2, options, values)
        except DriverError as error:
            said = log.value.decode("utf-8", "replace").strip().splitlines()
            detail = "; ".join(filter(None, (error.detail, said[0] if said else "")))
            raise DriverError(error.status, error.code, error.call, detail) from None

    def module_unload(self, module: int) -> None:
        """Unload a module."""
        self._call("cuModuleUnload", module)

    def module_get_function(self, module: int, name: str) -> int:
        """Return the handle of a kernel."""
        return self._handle("cuModuleGetFunction", module, name.encode("ascii"))

    def launch_kernel(self, function: int, grid: int, block: int, arguments: Sequence[Any]) -> None:
        """Start a one-dimensional grid on the default stream.

        Args:
            function: Handle of the kernel.
            grid: Blocks.
            block: Threads of a block.
            arguments: A ctypes value each, or an int for an unsigned 64-bit one.
        """
        held = [_U64(item) if isinstance(item, int) else item for item in arguments]
        pointers = (_POINTER * max(1, len(held)))(*(ctypes.addressof(item) for item in held))
        self._call("cuLaunchKernel", function, grid, 1, 1, block, 1, 1, 0, None, pointers, None)

    def event_create(self) -> int:
        """Make an event that records time."""
        return self._handle("cuEventCreate", 0)

    def event_record(self, event: int) -> None:
        """Record an event on the default stream."""
        self._call("cuEventRecord", event, None)

    def event_synchronize(self, event: int) -> None:
        """Wait for an event."""
        self._call("cuEventSynchronize", event)

    def event_elapsed_ns(self, start: int, end: int) -> int:
        """Return the time between two events in nanoseconds (the driver's, never a verdict's)."""
        return round(
            1_000_000 * float(self._value("cuEventElapsedTime", ctypes.c_float, start, end))
        )

    def event_destroy(self, event: int) -> None:
        """Destroy an event."""
        self._call("cuEventDestroy_v2", event)

    def device_can_access_peer(self, device: int, peer: int) -> bool:
        """Return whether a device can reach another's memory directly."""
        return bool(self._value("cuDeviceCanAccessPeer", _INT, device, peer))

    def ctx_enable_peer_access(self, peer_context: int) -> None:
        """Let the current context reach a peer's memory; already enabled is not an error."""
        try:
            self._call("cuCtxEnablePeerAccess", peer_context, 0)
        except DriverError as error:
            if error.code != 704:
                raise

    def memcpy_peer_async(
        self, target: int, target_context: int, origin: int, origin_context: int, size: int
    ) -> None:
        """Start a copy between two devices on the default stream."""
        self._call("cuMemcpyPeerAsync", target, target_context, origin, origin_context, size, None)


@dataclass(slots=True, kw_only=True)
class OpenDevice:
    """A device with its primary context current in this thread.

    Attributes:
        driver: The driver.
        ordinal: CUDA's number of the device.
        handle: The driver's handle of it.
        context: Its primary context.
        name: Its name.
        uuid: Its UUID as NVML prints it.
        pci_bus_id: Its PCI bus id as the driver prints it.
        total_bytes: Memory that the driver says it has.
        attributes: What it answered.
        refusals: Status of each attribute that it did not answer.
    """

    driver: Driver
    ordinal: int
    handle: int
    context: int
    name: str
    uuid: str
    pci_bus_id: str
    total_bytes: int
    attributes: Mapping[DeviceAttribute, int] = field(default_factory=dict)
    refusals: Mapping[DeviceAttribute, DriverStatus] = field(default_factory=dict)

    @classmethod
    def open(cls, driver: Driver, ordinal: int) -> OpenDevice:
        """Open a device by its ordinal and make its primary context current.

        Raises:
            DriverError: The device does not answer.
        """
        handle = driver.device_get(ordinal)
        name = driver.device_get_name(handle)
        uuid = driver.device_get_uuid(handle)
        if " MIG " in name:
            uuid = uuid.replace("GPU-", "MIG-", 1)
        pci_bus_id = driver.device_get_pci_bus_id(handle)
        total_bytes = driver.device_total_mem(handle)
        attributes, refusals = read_attributes(driver, handle)
        context = driver.device_primary_ctx_retain(handle)
        driver.ctx_set_current(context)
        return cls(
            driver=driver,
            ordinal=ordinal,
            handle=handle,
            context=context,
            name=name,
            uuid=uuid,
            pci_bus_id=pci_bus_id,
            total_bytes=total_bytes,
            attributes=attributes,
            refusals=refusals,
        )

    def make_current(self) -> None:
        """Bind the context to the calling thread."""
        self.driver.ctx_set_current(self.context)

    def close(self) -> None:
        """Let the context go; one that the driver has already lost is gone anyway."""
        with contextlib.suppress(DriverError):
            self.driver.device_primary_ctx_release(self.handle)

    def __enter__(self) -> OpenDevice:  # noqa: PYI034 - Self came with Python 3.11
        """Use the device in a with statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the device."""
        self.close()


def read_attributes(
    driver: Driver, handle: int
) -> tuple[dict[DeviceAttribute, int], dict[DeviceAttribute, DriverStatus]]:
    """Read every attribute of a device; what is refused comes back with its status."""
    values: dict[DeviceAttribute, int] = {}
    refusals: dict[DeviceAttribute, DriverStatus] = {}
    for attribute in DeviceAttribute:
        try:
            values[attribute] = driver.device_get_attribute(attribute, handle)
        except DriverError as error:  # noqa: PERF203 - each may be refused by itself
            refusals[attribute] = error.status
    return values, refusals
