"""The real nvidia-ml-py over replayed libraries."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pynvml
import pytest

from gpuverify.sources.recording import NvmlCall, Origin, Recording, RecordingError
from gpuverify.sources.recording_ctypes import Json
from gpuverify.testing import MigProfile, SyntheticCard, replayed_nvml, synthetic_recording

# Distinct and non-zero per field, so that a mix-up cannot pass.
CARD = SyntheticCard(
    name="Example X1 40GB",
    device_id=0x2AB1,
    subsystem_device_id=0x1C2D,
    subsystem_vendor_id=0x1458,
    memory_mib=40963,
    reserved_mib=517,
    bus_width_bits=5123,
    core_count=6917,
    graphics_mhz=1413,
    memory_mhz=1217,
    video_mhz=1291,
    bar1_mib=65536,
    bar1_max_mib=131072,
    pcie_generation=4,
    pcie_width=8,
    power_default_w=401,
    power_min_w=103,
    power_max_w=407,
    vbios="92.00.45.00.03",
    board_part_number="692-2G506-0200-003",
    gpu_part_number="2AB1-884-A1",
    inforom_image="G506.0200.00.04",
    inforom_oem="2.0",
    inforom_ecc="6.16",
    ecc=True,
    remap_banks=641,
    remapped=(2, 1),
    nvlinks=11,
    nvlinks_active=9,
    nvlink_mbps=25013,
    mig_profiles=(
        MigProfile(
            index=0,
            id=19,
            name="1g.5gb",
            slices=1,
            instances=7,
            multiprocessors=14,
            memory_mib=4864,
        ),
    ),
    module_id=6,
    bbx_hours=37,
)
OTHER = replace(
    CARD, uuid="GPU-0e0e0e0e-1111-2222-3333-444444444444", serial="1560222000909",
    pdi=0xFEDCBA9876543210, bus_id="0000:8a:00.0", minor=1, name="Example X1 other",
)  # fmt: skip


def machine(driver: Any = "610.57.04", *cards: Any) -> Any:
    return synthetic_recording(cards or (CARD, OTHER), driver=driver)


@pytest.fixture
def handle() -> Any:
    with replayed_nvml(machine()):
        pynvml.nvmlInit()
        yield pynvml.nvmlDeviceGetHandleByIndex(0)


SCALARS = [
    ("nvmlDeviceGetName", (), "Example X1 40GB"),
    ("nvmlDeviceGetUUID", (), CARD.uuid),
    ("nvmlDeviceGetSerial", (), "1560222000101"),
    ("nvmlDeviceGetPdi", (), CARD.pdi),
    ("nvmlDeviceGetVbiosVersion", (), "92.00.45.00.03"),
    ("nvmlDeviceGetBoardPartNumber", (), "692-2G506-0200-003"),
    ("nvmlDeviceGetInforomImageVersion", (), "G506.0200.00.04"),
    ("nvmlDeviceGetInforomVersion", (0,), "2.0"),
    ("nvmlDeviceGetInforomVersion", (1,), "6.16"),
    ("nvmlDeviceGetNumGpuCores", (), 6917),
    ("nvmlDeviceGetMemoryBusWidth", (), 5123),
    ("nvmlDeviceGetMaxClockInfo", (0,), 1413),
    ("nvmlDeviceGetMaxClockInfo", (2,), 1217),
    ("nvmlDeviceGetMaxClockInfo", (3,), 1291),
    ("nvmlDeviceGetPowerManagementDefaultLimit", (), 401000),
    ("nvmlDeviceGetPowerManagementLimitConstraints", (), [103000, 407000]),
    ("nvmlDeviceGetRemappedRows", (), (2, 1, 0, 0)),
    ("nvmlDeviceGetEccMode", (), [1, 1]),
    ("nvmlDeviceGetMigMode", (), [0, 0]),
    ("nvmlDeviceGetSupportedMemoryClocks", (), [1217]),
    ("nvmlDeviceGetSupportedGraphicsClocks", (1217,), [1413, 1398]),
    ("nvmlDeviceGetComputeRunningProcesses", (), []),
    ("nvmlDeviceGetNvLinkState", (8,), 1),
    ("nvmlDeviceGetNvLinkState", (9,), 0),
    ("nvmlDeviceGetMaxPcieLinkWidth", (), 8),
    ("nvmlDeviceGetModuleId", (), 6),
    ("nvmlDeviceGetGspFirmwareVersion", (), b"610.57.04"),
    ("nvmlDeviceGetRepairStatus", (), [0, 0]),
    ("nvmlDeviceGetTemperature", (0,), 33),
    ("nvmlDeviceGetTemperatureV", (0,), 33),
]


@pytest.mark.required
@pytest.mark.parametrize(("name", "arguments", "expected"), SCALARS)
def test_wrappers_read_the_described_value(
    handle: Any, name: str, arguments: Any, expected: Any
) -> None:
    assert getattr(pynvml, name)(handle, *arguments) == expected


def test_system_reads() -> None:
    with replayed_nvml(machine()):
        pynvml.nvmlInit()
        assert pynvml.nvmlSystemGetDriverVersion() == "610.57.04"
        assert pynvml.nvmlSystemGetCudaDriverVersion_v2() == 13030
        assert pynvml.nvmlSystemGetDriverBranch().branch == "r610_00"
        assert pynvml.nvmlDeviceGetCount() == 2
        pynvml.nvmlShutdown()


def test_structures_by_field(handle: Any) -> None:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    assert (memory.total >> 20, memory.reserved >> 20) == (40963, 517)
    assert pynvml.nvmlDeviceGetMemoryInfo(handle).total == memory.total
    pci = pynvml.nvmlDeviceGetPciInfo(handle)
    assert (pci.pciDeviceId, pci.pciSubSystemId) == (0x2AB110DE, 0x1C2D1458)
    assert (pci.busId, pci.bus) == ("00000000:07:00.0", 7)
    extended = pynvml.nvmlPciInfoExt_v1_t()
    extended.version = pynvml.nvmlPciInfoExt_v1
    pynvml.nvmlDeviceGetPciInfoExt(handle, ctypes.byref(extended))
    assert (extended.baseClass, extended.subClass) == (3, 2)
    histogram = pynvml.nvmlDeviceGetRowRemapperHistogram(handle)
    assert (histogram.max, histogram.high) == (640, 1)
    assert pynvml.nvmlDeviceGetBBXTimeData_v1(handle).timeRun == 37 * 3600
    profile = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, 0, version=2)
    assert (profile.name, profile.memorySizeMB, profile.instanceCount) == ("MIG 1g.5gb", 4864, 7)
    assert profile.multiprocessorCount == 14


def test_field_values_in_any_batch(handle: Any) -> None:
    values = pynvml.nvmlDeviceGetFieldValues(handle, [142, (164, 3), 9999, 143])
    assert [value.nvmlReturn for value in values] == [0, 0, 3, 0]
    assert [value.value.uiVal for value in values][:2] == [2, 25013]
    assert values[3].value.uiVal == 1
    assert [value.fieldId for value in values] == [142, 164, 9999, 143]


def test_handles_by_every_way() -> None:
    with replayed_nvml(machine()):
        pynvml.nvmlInit()
        by_index = pynvml.nvmlDeviceGetHandleByIndex(1)
        for other in (
            pynvml.nvmlDeviceGetHandleByUUID(OTHER.uuid),
            pynvml.nvmlDeviceGetHandleByPciBusId("00000000:8A:00.0"),
        ):
            assert ctypes.addressof(by_index.contents) == ctypes.addressof(other.contents)
            assert pynvml.nvmlDeviceGetName(other) == "Example X1 other"
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            pynvml.nvmlDeviceGetHandleByIndex(2)


def test_a_foreign_handle_is_refused(handle: Any) -> None:
    foreign = pynvml.c_nvmlDevice_t()
    ctypes.c_void_p.from_address(ctypes.addressof(foreign)).value = 0x1234
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(foreign)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(pynvml.c_nvmlDevice_t())
    assert pynvml.nvmlDeviceGetName(handle) == CARD.name


@pytest.mark.parametrize(
    ("fail", "first", "second"),
    [
        ({"nvmlDeviceGetSerial": 999}, 999, 999),
        ({"nvmlDeviceGetSerial(gpu[1])": 15}, None, 15),
        ({"gpu[0]": 15}, 15, None),
    ],
)
def test_functions_fail_one_by_one(fail: Any, first: Any, second: Any) -> None:
    with replayed_nvml(machine(), fail=fail):
        pynvml.nvmlInit()
        for index, code in enumerate((first, second)):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            if code is None:
                assert pynvml.nvmlDeviceGetSerial(device).startswith("1560222")
            else:
                with pytest.raises(pynvml.NVMLError) as caught:
                    pynvml.nvmlDeviceGetSerial(device)
                assert caught.value.value == code


def test_a_failing_initialisation() -> None:
    with (
        replayed_nvml(machine(), fail={"nvmlInitWithFlags": 9}),
        pytest.raises(pynvml.NVMLError_DriverNotLoaded),
    ):
        pynvml.nvmlInit()


def test_an_old_driver_lacks_functions() -> None:
    with replayed_nvml(machine("535.183.01")):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        assert pynvml.nvmlDeviceGetName(device) == CARD.name
        for name in (
            "nvmlDeviceGetPdi",
            "nvmlDeviceGetBBXTimeData_v1",
            "nvmlDeviceGetRepairStatus",
        ):
            with pytest.raises(pynvml.NVMLError_FunctionNotFound):
                getattr(pynvml, name)(device)
        with pytest.raises(pynvml.NVMLError_FunctionNotFound):
            pynvml.nvmlSystemGetDriverBranch()


def test_a_branch_takes_functions_away_from_any_case() -> None:
    with replayed_nvml("gh100/h100-sxm5-80gb", branch=550):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        with pytest.raises(pynvml.NVMLError_FunctionNotFound):
            pynvml.nvmlDeviceGetPdi(device)
    with replayed_nvml("gh100/h100-sxm5-80gb", missing=["nvmlDeviceGetName"]):
        pynvml.nvmlInit()
        with pytest.raises(pynvml.NVMLError_FunctionNotFound):
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))


def test_an_unknown_structure_version_is_a_mismatch(handle: Any) -> None:
    with pytest.raises(pynvml.NVMLError_ArgumentVersionMismatch):
        pynvml.nvmlDeviceGetMemoryInfo(handle, version=0x03000028)


def test_two_swaps_in_a_row_and_nested() -> None:
    names = []
    for name in ("ga100/a100-sxm4-40gb", "ga100/a30"):
        with replayed_nvml(name):
            pynvml.nvmlInit()
            names.append(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
            with replayed_nvml("ada/l40s"):
                pynvml.nvmlInit()
                inner = pynvml.nvmlDeviceGetHandleByIndex(0)
                assert pynvml.nvmlDeviceGetName(inner) == "NVIDIA L40S"
            again = pynvml.nvmlDeviceGetHandleByIndex(0)
            assert pynvml.nvmlDeviceGetName(again) == names[-1]
    assert names == ["NVIDIA A100-SXM4-40GB", "NVIDIA A30"]


def test_nothing_is_left_behind() -> None:
    before = (pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache))
    with pytest.raises(pynvml.NVMLError_InvalidArgument), replayed_nvml("ga100/a30"):
        pynvml.nvmlDeviceGetHandleByIndex(9)
    assert (pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)) == before


def recorded(*calls: Any, unlisted: str = "error") -> Any:
    origin = Origin(kind="real", text="a test", licence="Apache-2.0")
    head = (
        NvmlCall(symbol="nvmlDeviceGetHandleByIndex_v2", arguments=(0,), out=("gpu[0]",)),
        *calls,
    )
    return Recording(origin=origin, unlisted=unlisted, calls=head)


def test_an_unknown_call_is_an_error() -> None:
    call = NvmlCall(symbol="nvmlDeviceGetMaxClockInfo", arguments=("gpu[0]", 0), out=(1413,))
    with replayed_nvml(recorded(call)):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        assert pynvml.nvmlDeviceGetMaxClockInfo(device, 0) == 1413
        with pytest.raises(RecordingError, match="nvmlDeviceGetMaxClockInfo"):
            pynvml.nvmlDeviceGetMaxClockInfo(device, 1)
        with pytest.raises(RecordingError, match="nvmlDeviceGetName"):
            pynvml.nvmlDeviceGetName(device)


def test_a_repeated_call_follows_the_recorded_order() -> None:
    calls = [
        NvmlCall(symbol="nvmlDeviceGetPowerUsage", arguments=("gpu[0]",), out=(mw,))
        for mw in (51007, 52013, 53017)
    ]
    with replayed_nvml(recorded(*calls)):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        seen = [pynvml.nvmlDeviceGetPowerUsage(device) for _ in range(4)]
    assert seen == [51007, 52013, 53017, 53017]


def test_bytes_that_are_no_utf8_reach_the_binding() -> None:
    call = NvmlCall(symbol="nvmlDeviceGetSerial", arguments=("gpu[0]",), out=("hex:31ff32",))
    with replayed_nvml(recorded(call)):
        pynvml.nvmlInit()
        with pytest.raises(UnicodeDecodeError):
            pynvml.nvmlDeviceGetSerial(pynvml.nvmlDeviceGetHandleByIndex(0))


def test_a_text_that_does_not_fit_its_buffer() -> None:
    call = NvmlCall(symbol="nvmlDeviceGetSerial", arguments=("gpu[0]",), out=("7" * 99,))
    with replayed_nvml(recorded(call)):
        pynvml.nvmlInit()
        with pytest.raises(pynvml.NVMLError_InsufficientSize):
            pynvml.nvmlDeviceGetSerial(pynvml.nvmlDeviceGetHandleByIndex(0))


def test_the_unrepairable_flag_as_the_header_has_it() -> None:
    """The header's structure is the flag alone, where the binding's has its version word."""
    symbol = "nvmlDeviceGetUnrepairableMemoryFlag_v1"
    call = NvmlCall(symbol=symbol, arguments=("gpu[0]",), out=({"version": 1},))
    with replayed_nvml(recorded(call)):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        words = (ctypes.c_uint * 2)(0x1000008, 0)
        structure = pynvml.c_nvmlUnrepairableMemory_v1_t()
        assert pynvml._nvmlGetFunctionPointer(symbol)(device, ctypes.byref(structure)) == 0
        ctypes.memmove(words, ctypes.byref(structure), 8)
        assert list(words) == [1, 0]


def test_platform_bytes_are_written_whole() -> None:
    out: dict[str, Json] = {
        "ibGuid": "hex:00112233",
        "chassisSerialNumber": "hex:41004200",
        "slotNumber": "hex:07",
    }
    call = NvmlCall(
        symbol="nvmlDeviceGetPlatformInfo", arguments=("gpu[0]",), out=(out,),
        given={"version": 0x200002C},
    )  # fmt: skip
    with replayed_nvml(recorded(call)):
        pynvml.nvmlInit()
        info = pynvml.c_nvmlPlatformInfo_v2_t()
        info.version = pynvml.nvmlPlatformInfo_v2
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetPlatformInfo(device, ctypes.byref(info))
    assert bytes(info)[4:8].hex() == "00112233"
    assert bytes(info)[20:24] == b"A\0B\0"
    assert bytes(info)[36] == 7


def test_retired_pages_with_their_times() -> None:
    calls = (
        NvmlCall(
            symbol="nvmlDeviceGetRetiredPages_v2", arguments=("gpu[0]", 0), is_list=True,
            out=([0x44E99D, 0x1D9963], [1566430446, 1566833563]),
        ),
        NvmlCall(symbol="nvmlDeviceGetRetiredPages", arguments=("gpu[0]", 0), returns=3, is_list=True),
    )  # fmt: skip
    with replayed_nvml(recorded(*calls)):
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pages = pynvml.nvmlDeviceGetRetiredPages_v2(device, 0)
        assert pages[1] == {"address": 0x1D9963, "timestamp": 1566833563}
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetRetiredPages(device, 0)
