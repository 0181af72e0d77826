"""The driver layer on a library made of Python functions: every call, every result code."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuverify.measure import driver_api
from gpuverify.measure.driver_api import (
    DeviceAttribute,
    Driver,
    DriverError,
    DriverStatus,
    DriverUnavailable,
    OpenDevice,
)
from gpuverify.measure.driver_status import CODE_NOT_ASKED, status_of
from gpuverify.measure.driver_symbols import SIGNATURES

RAW_UUID = bytes(range(16, 32))
UUID = "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f"


class Function:
    """A stand-in for a ctypes function: takes argtypes and restype, runs Python."""

    def __init__(self, run: Callable[..., int]) -> None:
        self.run = run
        self.argtypes: tuple[Any, ...] = ()
        self.restype: Any = None

    def __call__(self, *arguments: Any) -> int:
        return self.run(*arguments)


def put(value: Any) -> Callable[..., int]:
    """A call that puts a value where its first argument points."""

    def run(out: Any, *rest: Any) -> int:
        out._obj.value = value
        return 0

    return run


def put_text(text: bytes) -> Callable[..., int]:
    def run(buffer: Any, size: int, device: int) -> int:
        assert len(text) < size
        buffer.value = text
        return 0

    return run


class Library:
    """A CUDA library of Python functions; any symbol can be made to fail or be missing."""

    def __init__(self, **codes: int) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.codes = codes
        self.missing: set[str] = set()
        self.memory = bytearray(64)
        self.answers: dict[str, Callable[..., int]] = {
            "cuDriverGetVersion": put(12040),
            "cuDeviceGetCount": put(2),
            "cuDeviceGet": put(7),
            "cuDeviceGetName": put_text(b"NVIDIA A100-SXM4-80GB"),
            "cuDeviceGetPCIBusId": put_text(b"0000:17:00.0"),
            "cuDeviceGetUuid_v2": self._uuid,
            "cuDeviceGetUuid": self._uuid,
            "cuDeviceTotalMem_v2": put(85_899_345_920),
            "cuDeviceGetAttribute": self._attribute,
            "cuDevicePrimaryCtxRetain": put(0x55),
            "cuMemGetInfo_v2": self._info,
            "cuMemAlloc_v2": put(0x7F0000000000),
            "cuMemHostAlloc": put(0x1234),
            "cuMemcpyHtoD_v2": self._htod,
            "cuMemcpyDtoH_v2": self._dtoh,
            "cuPointerGetAttribute": put(2),
            "cuModuleLoadDataEx": put(0x66),
            "cuModuleGetFunction": put(0x77),
            "cuEventCreate": put(0x88),
            "cuEventElapsedTime": put(1.5),
            "cuDeviceCanAccessPeer": put(1),
            "cuGetErrorName": self._error_name,
        }

    def __getattr__(self, name: str) -> Function:
        if name not in SIGNATURES or name in self.missing:
            raise AttributeError(name)

        def run(*arguments: Any) -> int:
            if name != "cuGetErrorName":
                self.calls.append((name, arguments))
            if name in self.codes:
                return self.codes[name]
            answer = self.answers.get(name)
            return answer(*arguments) if answer else 0

        return Function(run)

    def _uuid(self, out: Any, device: int) -> int:
        out[:] = list(RAW_UUID)
        return 0

    def _attribute(self, out: Any, attribute: int, device: int) -> int:
        if attribute == DeviceAttribute.L2_CACHE_BYTES:
            return 801
        out._obj.value = 1000 + attribute
        return 0

    def _info(self, free: Any, total: Any) -> int:
        free._obj.value, total._obj.value = 11, 22
        return 0

    def _htod(self, address: int, data: bytes, size: int) -> int:
        self.memory[address : address + size] = data[:size]
        return 0

    def _dtoh(self, buffer: Any, address: int, size: int) -> int:
        if size:
            buffer.raw = bytes(self.memory[address : address + size])
        return 0

    def _error_name(self, code: int, out: Any) -> int:
        out._obj.value = f"CUDA_ERROR_{code}".encode()
        return 0


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def driver(library: Library) -> Driver:
    return Driver(library, "a library")


def test_values_come_back(driver: Driver) -> None:
    assert driver.driver_get_version() == 12040
    assert driver.device_get_count() == 2
    assert driver.device_get(0) == 7
    assert driver.device_get_name(7) == "NVIDIA A100-SXM4-80GB"
    assert driver.device_get_uuid(7) == UUID
    assert driver.device_get_pci_bus_id(7) == "0000:17:00.0"
    assert driver.device_total_mem(7) == 80 << 30
    assert driver.device_primary_ctx_retain(7) == 0x55
    assert driver.mem_get_info() == (11, 22)
    assert driver.mem_alloc(1) == 0x7F0000000000
    assert driver.mem_host_alloc(1) == 0x1234
    assert driver.pointer_get_attribute(2, 0x10) == 2
    assert driver.module_load_data_ex(b".version 6.4") == 0x66
    assert driver.module_get_function(0x66, "cap_write") == 0x77
    assert driver.event_create() == 0x88
    assert driver.event_elapsed_ns(1, 2) == 1_500_000
    assert driver.device_can_access_peer(0, 1) is True


def test_copies_carry_the_bytes(driver: Driver, library: Library) -> None:
    driver.memcpy_htod(8, b"abcd")
    assert driver.memcpy_dtoh(7, 6) == b"\0abcd\0"
    driver.memcpy_htod(8, b"xyz", 2)
    assert driver.memcpy_dtoh(8, 4) == b"xycd"
    assert library.calls[-2] == ("cuMemcpyHtoD_v2", (8, b"xyz", 2))


def test_calls_without_a_value_reach_the_library(driver: Driver, library: Library) -> None:
    driver.ctx_set_current(3)
    driver.ctx_synchronize()
    driver.mem_free(4)
    driver.memset_d8(5, 6, 7)
    driver.mem_free_host(8)
    driver.module_unload(9)
    driver.event_record(10)
    driver.event_synchronize(11)
    driver.event_destroy(12)
    driver.ctx_enable_peer_access(13)
    driver.memcpy_peer_async(14, 15, 16, 17, 18)
    driver.memcpy_dtoh_into(0, 19, 0)
    driver.device_primary_ctx_release(20)
    assert [call for call, _ in library.calls] == [
        "cuCtxSetCurrent", "cuCtxSynchronize", "cuMemFree_v2", "cuMemsetD8_v2", "cuMemFreeHost",
        "cuModuleUnload", "cuEventRecord", "cuEventSynchronize", "cuEventDestroy_v2",
        "cuCtxEnablePeerAccess", "cuMemcpyPeerAsync", "cuMemcpyDtoH_v2",
        "cuDevicePrimaryCtxRelease_v2",
    ]  # fmt: skip
    assert library.calls[3][1] == (5, 6, 7)
    assert library.calls[10][1] == (14, 15, 16, 17, 18, None)


def test_a_launch_passes_geometry_and_arguments(library: Library) -> None:
    seen: list[Any] = []

    def launch(function: int, *rest: Any) -> int:
        *geometry, shared, stream, pointers, extra = rest
        assert (shared, stream, extra) == (0, None, None)
        words = [ctypes.cast(p, ctypes.POINTER(ctypes.c_uint64))[0] for p in pointers[:2]]
        single = ctypes.cast(pointers[2], ctypes.POINTER(ctypes.c_float))[0]
        seen.append((function, geometry, words, single))
        return 0

    library.answers["cuLaunchKernel"] = launch
    word = (1 << 64) - 3
    Driver(library, "x").launch_kernel(5, 100, 256, [word, 42, ctypes.c_float(0.5)])
    assert seen == [(5, [100, 1, 1, 256, 1, 1], [word, 42], 0.5)]


def test_a_launch_without_arguments(driver: Driver, library: Library) -> None:
    driver.launch_kernel(1, 1, 1, [])
    assert library.calls[-1][0] == "cuLaunchKernel"


def test_every_code_has_a_status_with_one_line_of_advice() -> None:
    for code in [*range(1, 1000), 4242]:
        status = status_of(code)
        assert status.advice
        assert "\n" not in status.advice


def test_codes_that_tell_people_what_to_do() -> None:
    assert status_of(100) is DriverStatus.NO_DEVICE
    assert status_of(221) is DriverStatus.JIT_COMPILER_MISSING
    assert "libnvidia-ptxjitcompiler" in status_of(221).advice
    assert status_of(222) is DriverStatus.PTX_TOO_NEW
    assert status_of(2) is DriverStatus.OUT_OF_MEMORY
    assert status_of(802) is DriverStatus.SYSTEM_NOT_READY
    assert status_of(803) is DriverStatus.VERSION_MISMATCH
    for code in (46, 700, 719, 999, 214):
        assert status_of(code).ends_device
    for code in (1, 2, 222, 500):
        assert not status_of(code).ends_device
    assert {status_of(code) for code in range(1, 1000)} >= set(DriverStatus) - {
        DriverStatus.SYMBOL_MISSING
    }


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - {"cuGetErrorName"}))
def test_a_failing_call_is_typed(name: str) -> None:
    codes = {name: 719}
    if name == "cuDeviceGetUuid":
        library = Library(**codes)
        library.missing.add("cuDeviceGetUuid_v2")
    else:
        library = Library(**codes)
    driver = Driver(library, "x")
    calls: dict[str, Callable[[], object]] = {
        "cuInit": driver.init,
        "cuDriverGetVersion": driver.driver_get_version,
        "cuDeviceGetCount": driver.device_get_count,
        "cuDeviceGet": lambda: driver.device_get(0),
        "cuDeviceGetName": lambda: driver.device_get_name(0),
        "cuDeviceGetUuid_v2": lambda: driver.device_get_uuid(0),
        "cuDeviceGetUuid": lambda: driver.device_get_uuid(0),
        "cuDeviceGetPCIBusId": lambda: driver.device_get_pci_bus_id(0),
        "cuDeviceTotalMem_v2": lambda: driver.device_total_mem(0),
        "cuDeviceGetAttribute": lambda: driver.device_get_attribute(16, 0),
        "cuDevicePrimaryCtxRetain": lambda: driver.device_primary_ctx_retain(0),
        "cuDevicePrimaryCtxRelease_v2": lambda: driver.device_primary_ctx_release(0),
        "cuCtxSetCurrent": lambda: driver.ctx_set_current(1),
        "cuCtxSynchronize": driver.ctx_synchronize,
        "cuMemGetInfo_v2": driver.mem_get_info,
        "cuMemAlloc_v2": lambda: driver.mem_alloc(1),
        "cuMemFree_v2": lambda: driver.mem_free(1),
        "cuMemcpyHtoD_v2": lambda: driver.memcpy_htod(1, b"a"),
        "cuMemcpyDtoH_v2": lambda: driver.memcpy_dtoh(1, 1),
        "cuMemsetD8_v2": lambda: driver.memset_d8(1, 1, 1),
        "cuMemHostAlloc": lambda: driver.mem_host_alloc(1),
        "cuMemFreeHost": lambda: driver.mem_free_host(1),
        "cuPointerGetAttribute": lambda: driver.pointer_get_attribute(2, 1),
        "cuModuleLoadDataEx": lambda: driver.module_load_data_ex(b"x"),
        "cuModuleUnload": lambda: driver.module_unload(1),
        "cuModuleGetFunction": lambda: driver.module_get_function(1, "f"),
        "cuLaunchKernel": lambda: driver.launch_kernel(1, 1, 1, []),
        "cuEventCreate": driver.event_create,
        "cuEventRecord": lambda: driver.event_record(1),
        "cuEventSynchronize": lambda: driver.event_synchronize(1),
        "cuEventElapsedTime": lambda: driver.event_elapsed_ns(1, 2),
        "cuEventDestroy_v2": lambda: driver.event_destroy(1),
        "cuDeviceCanAccessPeer": lambda: driver.device_can_access_peer(0, 1),
        "cuCtxEnablePeerAccess": lambda: driver.ctx_enable_peer_access(1),
        "cuMemcpyPeerAsync": lambda: driver.memcpy_peer_async(1, 2, 3, 4, 5),
    }
    assert set(calls) == set(SIGNATURES) - {"cuGetErrorName"}
    with pytest.raises(DriverError) as caught:
        calls[name]()
    error = caught.value
    assert (error.status, error.code, error.call) == (DriverStatus.DEVICE_FAULT, 719, name)
    assert "CUDA_ERROR_719" in str(error)
    assert error.status.advice in str(error)
    assert "\n" not in str(error)


def test_a_symbol_that_an_old_driver_lacks_fails_when_used(library: Library) -> None:
    library.missing.add("cuMemcpyPeerAsync")
    driver = Driver(library, "x")
    with pytest.raises(DriverError) as caught:
        driver.memcpy_peer_async(1, 2, 3, 4, 5)
    assert caught.value.status is DriverStatus.SYMBOL_MISSING
    assert caught.value.code == CODE_NOT_ASKED


def test_the_older_uuid_call_serves_where_the_newer_is_missing(library: Library) -> None:
    library.missing.add("cuDeviceGetUuid_v2")
    assert Driver(library, "x").device_get_uuid(0) == UUID
    assert library.calls[-1][0] == "cuDeviceGetUuid"


def test_a_name_is_not_needed_for_an_error(library: Library) -> None:
    library.missing.add("cuGetErrorName")
    library.codes["cuCtxSynchronize"] = 999
    with pytest.raises(DriverError, match=r"^cuCtxSynchronize: unknown, code 999: "):
        Driver(library, "x").ctx_synchronize()


def test_the_compilers_first_line_is_kept(library: Library) -> None:
    def load(out: Any, image: Any, count: int, options: Any, values: Any) -> int:
        assert (count, list(options)) == (2, [5, 6])
        assert values[1] == 4096
        ctypes.memmove(values[0], b"ptxas fatal: line 3\nmore\0", 25)
        return 218

    library.answers["cuModuleLoadDataEx"] = load
    with pytest.raises(DriverError) as caught:
        Driver(library, "x").module_load_data_ex(b"nonsense")
    assert caught.value.status is DriverStatus.PTX_REFUSED
    assert caught.value.detail == "CUDA_ERROR_218; ptxas fatal: line 3"


def test_peer_access_that_is_already_there_is_no_error(library: Library) -> None:
    library.codes["cuCtxEnablePeerAccess"] = 704
    Driver(library, "x").ctx_enable_peer_access(1)


def test_no_library_is_unavailable_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable) as caught:
        Driver.load(str(tmp_path / "libcuda.so.1"))
    assert caught.value.status is DriverStatus.NO_LIBRARY
    assert "install the NVIDIA driver" in str(caught.value)
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (100, DriverStatus.NO_DEVICE),
        (803, DriverStatus.VERSION_MISMATCH),
        (34, DriverStatus.STUB_LIBRARY),
    ],
)
def test_a_driver_that_does_not_start_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, code: int, status: DriverStatus
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(cuInit=code))
    with pytest.raises(DriverUnavailable) as caught:
        Driver.load()
    assert caught.value.status is status


def test_a_library_without_anything_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    library.missing = set(SIGNATURES)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    with pytest.raises(DriverUnavailable, match="cuInit: symbol-missing"):
        Driver.load()


def test_a_device_opens_with_what_it_answers(driver: Driver, library: Library) -> None:
    with OpenDevice.open(driver, 1) as device:
        assert device.uuid == UUID
        assert device.context == 0x55
        assert device.total_bytes == 80 << 30
        assert device.attributes[DeviceAttribute.MULTIPROCESSOR_COUNT] == 1016
        assert device.refusals == {DeviceAttribute.L2_CACHE_BYTES: DriverStatus.NOT_SUPPORTED}
        assert set(device.attributes) | set(device.refusals) == set(DeviceAttribute)
        device.make_current()
    assert library.calls[-1] == ("cuDevicePrimaryCtxRelease_v2", (7,))


def test_a_mig_instance_has_a_uuid_of_its_kind(driver: Driver, library: Library) -> None:
    library.answers["cuDeviceGetName"] = put_text(b"NVIDIA A100-SXM4-80GB MIG 1g.10gb")
    assert OpenDevice.open(driver, 0).uuid == UUID.replace("GPU", "MIG")


def test_closing_a_lost_device_says_nothing(driver: Driver, library: Library) -> None:
    device = OpenDevice.open(driver, 0)
    library.codes["cuDevicePrimaryCtxRelease_v2"] = 999
    device.close()


def test_the_clock_is_the_hosts_unless_the_library_is_an_emulation(driver: Driver) -> None:
    assert not driver.emulated
    before = driver.host_clock_ns()
    assert driver.host_clock_ns() >= before

    class Emulation:
        def __getattr__(self, name: str) -> Function:
            if name == driver_api.EMULATOR_CLOCK:
                return Function(lambda: 42)
            raise AttributeError(name)

    emulated = Driver(Emulation(), "x")
    assert emulated.emulated
    assert emulated.host_clock_ns() == 42


def test_signatures_are_the_headers() -> None:
    """Numbers of arguments of cuda.h: a wrong one crashes on a real driver only."""
    counts = {name: len(types) for name, types in SIGNATURES.items()}
    assert counts["cuLaunchKernel"] == 11
    assert counts["cuModuleLoadDataEx"] == 5
    assert counts["cuMemcpyPeerAsync"] == 6
    assert counts["cuMemcpyHtoD_v2"] == counts["cuMemcpyDtoH_v2"] == 3
    assert counts["cuPointerGetAttribute"] == 3
    assert all(re.fullmatch(r"cu[A-Z]\w+", name) for name in SIGNATURES)
