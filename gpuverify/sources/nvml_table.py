"""The reads of NVML that are one call each: a new one is one row.

Rows name the claims, the wrapper (or several, the newest first), its arguments after the handle,
and the adapter that turns the result into one value a claim. What needs several calls or a
structure that the caller fills stands in the other `nvml_*` modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpuverify.sources import nvml_values as v

_NO_ARGUMENTS: Callable[[], tuple[Any, ...]] = tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One row.

    Attributes:
        ids: Claims that the call answers, in the adapter's order.
        names: Wrappers, the newest first.
        adapter: From the result to one item a claim.
        arguments: Gives the arguments after the handle, fresh for each call.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    adapter: v.Adapter
    arguments: Callable[[], tuple[Any, ...]] = _NO_ARGUMENTS


def _read(claim: str, names: str, adapter: v.One, *arguments: int) -> Read:
    """Write a row of one claim.

    Args:
        claim: Claim id.
        names: Wrappers by blank, the newest first.
        adapter: Value adapter.
        *arguments: Constant arguments after the handle.
    """
    return Read(
        ids=(claim,),
        names=tuple(names.split()),
        adapter=v.one(adapter),
        arguments=lambda: arguments,
    )


def _reads(claims: str, names: str, adapter: v.Adapter, *arguments: int) -> Read:
    """Write a row of several claims.

    Args:
        claims: Claim ids by blank.
        names: Wrappers by blank, the newest first.
        adapter: Adapter with one item a claim.
        *arguments: Constant arguments after the handle.
    """
    return Read(
        ids=tuple(claims.split()),
        names=tuple(names.split()),
        adapter=adapter,
        arguments=lambda: arguments,
    )


def _fresh_uint() -> tuple[Any, ...]:
    """Give a new c_uint: the binding's own default is one object for all calls and cards."""
    from ctypes import c_uint

    return (c_uint(),)


_BRANDS = {
    1: "Quadro", 2: "Tesla", 3: "NVS", 4: "GRID", 5: "GeForce", 6: "Titan",
    7: "NVIDIA Virtual Applications", 8: "NVIDIA Virtual PC",
    9: "NVIDIA Virtual Compute Server", 10: "NVIDIA RTX Virtual Workstation",
    11: "NVIDIA Cloud Gaming", 12: "Quadro RTX", 13: "NVIDIA RTX", 14: "NVIDIA",
    15: "GeForce RTX", 16: "Titan RTX",
}  # fmt: skip
_ARCHITECTURES = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere",
    8: "Ada Lovelace", 9: "Hopper", 10: "Blackwell", 13: "Rubin",
}  # fmt: skip
_VIRTUALIZATION = {0: "none", 1: "pass-through", 2: "vgpu", 3: "host-vgpu", 4: "host-vsga"}
_POWER_SOURCES = {0: "AC", 1: "battery", 2: "undersized"}
_DRIVER_MODELS = {0: "WDDM", 1: "TCC", 2: "MCDM"}

_CORRECTED, _UNCORRECTED = 0, 1
_DRAM, _SRAM = 2, 7
_SPANS = (("volatile", 0), ("aggregate", 1))

_ECC_COUNTERS = tuple(
    _read(f"ecc.{span}.{what}", function, v.number, *arguments)
    for span, counter in _SPANS
    for what, function, arguments in (
        ("sram_correctable", "nvmlDeviceGetMemoryErrorCounter", (_CORRECTED, counter, _SRAM)),
        ("sram_uncorrectable", "nvmlDeviceGetMemoryErrorCounter", (_UNCORRECTED, counter, _SRAM)),
        ("dram_correctable", "nvmlDeviceGetMemoryErrorCounter", (_CORRECTED, counter, _DRAM)),
        ("dram_uncorrectable", "nvmlDeviceGetMemoryErrorCounter", (_UNCORRECTED, counter, _DRAM)),
        ("single_bit_total", "nvmlDeviceGetTotalEccErrors", (_CORRECTED, counter)),
        ("double_bit_total", "nvmlDeviceGetTotalEccErrors", (_UNCORRECTED, counter)),
    )
)

DEVICE_READS: tuple[Read, ...] = (
    _read("gpu.name", "nvmlDeviceGetName", v.text),
    _read("gpu.brand", "nvmlDeviceGetBrand", v.choice(_BRANDS)),
    _read("gpu.architecture", "nvmlDeviceGetArchitecture", v.choice(_ARCHITECTURES)),
    _read("gpu.compute_capability", "nvmlDeviceGetCudaComputeCapability", v.compute_capability),
    _read("gpu.serial", "nvmlDeviceGetSerial", v.text),
    _read("gpu.uuid", "nvmlDeviceGetUUID", v.text),
    _read("gpu.pdi", "nvmlDeviceGetPdi", v.hexadecimal(16)),
    _read("gpu.minor_number", "nvmlDeviceGetMinorNumber", v.number),
    _read("gpu.board_id", "nvmlDeviceGetBoardId", v.hexadecimal(0)),
    _read("gpu.multi_gpu_board", "nvmlDeviceGetMultiGpuBoard", v.flag),
    _read("gpu.board_part_number", "nvmlDeviceGetBoardPartNumber", v.text),
    _read("gpu.vbios_version", "nvmlDeviceGetVbiosVersion", v.upper),
    Read(
        ids=("gpu.module_id",),
        names=("nvmlDeviceGetModuleId",),
        adapter=v.one(v.number),
        arguments=_fresh_uint,
    ),
    _read("gpu.core_count", "nvmlDeviceGetNumGpuCores", v.number),
    _read("gpu.persistence_mode", "nvmlDeviceGetPersistenceMode", v.flag),
    _read("gpu.display_active", "nvmlDeviceGetDisplayActive", v.flag),
    _read(
        "gpu.driver_model",
        "nvmlDeviceGetCurrentDriverModel nvmlDeviceGetDriverModel",
        v.choice(_DRIVER_MODELS),
    ),
    _read("gpu.gsp_firmware_version", "nvmlDeviceGetGspFirmwareVersion", v.text),
    _read("gpu.power_source", "nvmlDeviceGetPowerSource", v.choice(_POWER_SOURCES)),
    _read("gpu.virtualization_mode", "nvmlDeviceGetVirtualizationMode", v.choice(_VIRTUALIZATION)),
    _read(
        "gpu.process_count",
        "nvmlDeviceGetComputeRunningProcesses nvmlDeviceGetComputeRunningProcesses_v2",
        v.length,
    ),
    _read("inforom.image_version", "nvmlDeviceGetInforomImageVersion", v.text),
    _read("inforom.oem_object", "nvmlDeviceGetInforomVersion", v.text, 0),
    _read("inforom.ecc_object", "nvmlDeviceGetInforomVersion", v.text, 1),
    _read("inforom.power_object", "nvmlDeviceGetInforomVersion", v.text, 2),
    _read("inforom.config_checksum", "nvmlDeviceGetInforomConfigurationChecksum", v.number),
    _read("inforom.bbx_flush_time", "nvmlDeviceGetLastBBXFlushTime", v.flush_time),
    _reads(
        "inforom.bbx_time_run_s",
        "nvmlDeviceGetBBXTimeData_v1",
        v.attributes(("timeRun", v.number)),
    ),
    _read("pci.link_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration", v.number),
    _read("pci.link_generation_device_max", "nvmlDeviceGetGpuMaxPcieLinkGeneration", v.number),
    _read("pci.link_generation_current", "nvmlDeviceGetCurrPcieLinkGeneration", v.number),
    _read("pci.link_width_max", "nvmlDeviceGetMaxPcieLinkWidth", v.number),
    _read("pci.link_width_current", "nvmlDeviceGetCurrPcieLinkWidth", v.number),
    _read("pci.replay_count", "nvmlDeviceGetPcieReplayCounter", v.number),
    _reads("pci.bar1_bytes", "nvmlDeviceGetBAR1MemoryInfo", v.attributes(("bar1Total", v.number))),
    _read("memory.bus_width_bits", "nvmlDeviceGetMemoryBusWidth", v.number),
    _read("clock.graphics_max_khz", "nvmlDeviceGetMaxClockInfo", v.times(1000), 0),
    _read("clock.sm_max_khz", "nvmlDeviceGetMaxClockInfo", v.times(1000), 1),
    _read("clock.memory_max_khz", "nvmlDeviceGetMaxClockInfo", v.times(1000), 2),
    _read("clock.video_max_khz", "nvmlDeviceGetMaxClockInfo", v.times(1000), 3),
    _read("clock.memory_supported_max_khz", "nvmlDeviceGetSupportedMemoryClocks", v.highest_mhz),
    _read(
        "clock.event_reasons",
        "nvmlDeviceGetCurrentClocksEventReasons nvmlDeviceGetCurrentClocksThrottleReasons",
        v.event_reasons,
    ),
    _read("power.limit_default_mw", "nvmlDeviceGetPowerManagementDefaultLimit", v.number),
    _reads(
        "power.limit_min_mw power.limit_max_mw",
        "nvmlDeviceGetPowerManagementLimitConstraints",
        v.each(v.number),
    ),
    _read("power.limit_enforced_mw", "nvmlDeviceGetEnforcedPowerLimit", v.number),
    _read("power.draw_mw", "nvmlDeviceGetPowerUsage", v.number),
    _read(
        "temperature.gpu_celsius", "nvmlDeviceGetTemperature nvmlDeviceGetTemperatureV", v.number, 0
    ),
    _reads("ecc.mode_current ecc.mode_pending", "nvmlDeviceGetEccMode", v.each(v.flag)),
    _reads("ecc.mode_default", "nvmlDeviceGetDefaultEccMode", v.each(v.flag)),
    *_ECC_COUNTERS,
    _reads(
        "remap.correctable_count remap.uncorrectable_count remap.pending remap.failure",
        "nvmlDeviceGetRemappedRows",
        lambda rows: (v.number(rows[0]), v.number(rows[1]), v.flag(rows[2]), v.flag(rows[3])),
    ),
    _reads(
        "remap.histogram_max remap.histogram_high remap.histogram_partial remap.histogram_low "
        "remap.histogram_none",
        "nvmlDeviceGetRowRemapperHistogram",
        v.attributes(
            ("max", v.number),
            ("high", v.number),
            ("partial", v.number),
            ("low", v.number),
            ("none", v.number),
        ),
    ),
    _read("retired.pending", "nvmlDeviceGetRetiredPagesPendingStatus", v.flag),
    _reads(
        "repair.channel_pending repair.tpc_pending", "nvmlDeviceGetRepairStatus", v.each(v.flag)
    ),
    _reads("mig.mode_current mig.mode_pending", "nvmlDeviceGetMigMode", v.each(v.flag)),
    _read("mig.is_slice", "nvmlDeviceIsMigDeviceHandle", v.flag),
    _reads("c2c.mode", "nvmlDeviceGetC2cModeInfoV", v.attributes(("isC2cEnabled", v.flag))),
)

HOST_READS: tuple[Read, ...] = (
    _read("driver.version", "nvmlSystemGetDriverVersion", v.text),
    _reads("driver.branch", "nvmlSystemGetDriverBranch", v.attributes(("branch", v.text))),
    _read(
        "driver.cuda_version",
        "nvmlSystemGetCudaDriverVersion_v2 nvmlSystemGetCudaDriverVersion",
        v.dotted_version,
    ),
    _read("nvml.version", "nvmlSystemGetNVMLVersion", v.text),
)

_RECOVERY = {
    0: "None", 1: "Reset", 2: "Reboot", 3: "Drain P2P", 4: "Drain and Reset",
    5: "Recover IMEX Domain", 6: "Bus Reset", 7: "System Reboot",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRead:
    """One field value of the batch call.

    Attributes:
        claim: Claim id that it answers.
        field: NVML_FI_* number.
        name: Its name, for `Claim.call`.
        adapter: Value adapter.
    """

    claim: str
    field: int
    name: str
    adapter: v.One


DEVICE_FIELDS: tuple[FieldRead, ...] = tuple(
    FieldRead(claim=claim, field=field, name=f"NVML_FI_DEV_{name}", adapter=adapter)
    for claim, field, name, adapter in (
        ("temperature.memory_celsius", 82, "MEMORY_TEMP", v.number),
        ("gpu.reset_required", 226, "RESET_STATUS", v.flag),
        ("gpu.recovery_action", 230, "GET_GPU_RECOVERY_ACTION", v.choice(_RECOVERY)),
        ("remap.correctable_inactive_count", 301, "REMAPPED_ROWS_COR_INACTIVE", v.number),
        ("remap.uncorrectable_inactive_count", 302, "REMAPPED_ROWS_UNC_INACTIVE", v.number),
        # Second ways to values that the functions above may not yield; the first answer stands.
        ("remap.correctable_count", 142, "REMAPPED_COR", v.number),
        ("remap.uncorrectable_count", 143, "REMAPPED_UNC", v.number),
        ("remap.pending", 144, "REMAPPED_PENDING", v.flag),
        ("remap.failure", 145, "REMAPPED_FAILURE", v.flag),
        ("pci.replay_count", 94, "PCIE_REPLAY_COUNTER", v.number),
        ("retired.single_bit_count", 29, "RETIRED_SBE", v.number),
        ("retired.double_bit_count", 30, "RETIRED_DBE", v.number),
        ("retired.pending", 31, "RETIRED_PENDING", v.flag),
        ("ecc.volatile.single_bit_total", 3, "ECC_SBE_VOL_TOTAL", v.number),
        ("ecc.volatile.double_bit_total", 4, "ECC_DBE_VOL_TOTAL", v.number),
        ("ecc.aggregate.single_bit_total", 5, "ECC_SBE_AGG_TOTAL", v.number),
        ("ecc.aggregate.double_bit_total", 6, "ECC_DBE_AGG_TOTAL", v.number),
        ("repair.bank_remap_pending", 307, "PENDING_BANK_REMAPPING", v.flag),
    )
)
