"""Edits by claim id: one name that changes what NVML answers and what nvidia-smi prints.

A row says where NVML keeps the value and at which leaf nvidia-smi prints it. A spot is written
`symbol(arguments)#field`, the arguments after the handle, the field by name or by place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gpuverify.model.claims import Value
from gpuverify.sources.case_draft import FIELD_VALUES, Draft, EditError
from gpuverify.sources.recording_ctypes import Json, number

_SPOT = re.compile(r"(\w+)(?:\(([\d,]*)\))?(?:#(\w+))?")

Form = Callable[[Value], str]

_ABSENT: dict[str, tuple[int, str | None]] = {
    "not-supported": (3, "N/A"),
    "no-permission": (4, "Insufficient Permissions"),
    "device-lost": (15, "GPU is lost"),
    "not-found": (13, None),
    "failed": (999, "Unknown Error"),
}
"""How NVML and nvidia-smi say that there is no value; None drops the leaf."""


def _yes(value: Value) -> str:
    """Write a flag as Yes or No."""
    return "Yes" if value else "No"


def _enabled(value: Value) -> str:
    """Write a flag as Enabled or Disabled."""
    return "Enabled" if value else "Disabled"


def _mib(value: Value) -> str:
    """Write bytes in MiB."""
    return f"{int(value) >> 20} MiB"


def _mhz(value: Value) -> str:
    """Write kHz in MHz."""
    return f"{int(value) // 1000} MHz"


def _watts(value: Value) -> str:
    """Write mW in W."""
    return f"{int(value) // 1000}.{int(value) % 1000 // 10:02d} W"


def _banks(value: Value) -> str:
    """Write a number of banks."""
    return f"{value} bank(s)"


def _celsius(value: Value) -> str:
    """Write a temperature."""
    return f"{value} C"


def _lanes(value: Value) -> str:
    """Write a link width."""
    return f"{value}x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where a claim's value stands in a recording.

    Attributes:
        spots: Spots in NVML.
        leaf: Path below the GPU in nvidia-smi's document, "" where it does not print it.
        form: How nvidia-smi writes it.
        divide: Vocabulary units in one of NVML's.
    """

    spots: tuple[str, ...]
    leaf: str = ""
    form: Form = str
    divide: int = 1


def _row(spots: str, leaf: str = "", form: Form = str, divide: int = 1) -> Row:
    """Write a row, with its spots by blank."""
    return Row(spots=tuple(spots.split()), leaf=leaf, form=form, divide=divide)


_ECC = {
    f"ecc.{span}.{what}": _row(spot.format(number), f"ecc_errors/{span}/{leaf}")
    for number, span in ((0, "volatile"), (1, "aggregate"))
    for what, spot, leaf in (
        ("sram_correctable", "nvmlDeviceGetMemoryErrorCounter(0,{0},7)", "sram_correctable"),
        ("sram_uncorrectable", "nvmlDeviceGetMemoryErrorCounter(1,{0},7)", "sram_uncorrectable"),
        ("dram_correctable", "nvmlDeviceGetMemoryErrorCounter(0,{0},2)", "dram_correctable"),
        ("dram_uncorrectable", "nvmlDeviceGetMemoryErrorCounter(1,{0},2)", "dram_uncorrectable"),
        ("single_bit_total", "nvmlDeviceGetTotalEccErrors(0,{0})", "single_bit/total"),
        ("double_bit_total", "nvmlDeviceGetTotalEccErrors(1,{0})", "double_bit/total"),
    )
} | {
    f"ecc.{span}.sram_uncorrectable_{what}": _row(
        f"nvmlDeviceGetSramEccErrorStatus#{span}Unc{field}",
        f"ecc_errors/{span}/sram_uncorrectable_{what}",
    )
    for span in ("volatile", "aggregate")
    for what, field in (("parity", "Parity"), ("secded", "SecDed"))
}  # fmt: skip

_CLOCKS = {
    f"clock.{name}_max_khz": _row(
        f"nvmlDeviceGetMaxClockInfo({kind})", f"max_clocks/{leaf}_clock", _mhz, 1000
    )
    for kind, name, leaf in (
        (0, "graphics", "graphics"), (1, "sm", "sm"), (2, "memory", "mem"), (3, "video", "video"),
    )
}  # fmt: skip

_LINK = "pci/pci_gpu_link_info/"
_REMAP = "remapped_rows/remapped_row_"
_POWER = "gpu_power_readings/"

DEVICE_ROWS: dict[str, Row] = {
    "gpu.name": _row("nvmlDeviceGetName", "product_name"),
    "gpu.serial": _row("nvmlDeviceGetSerial", "serial"),
    "gpu.uuid": _row("nvmlDeviceGetUUID", "uuid"),
    "gpu.pdi": _row("nvmlDeviceGetPdi#value", "pdi"),
    "gpu.minor_number": _row("nvmlDeviceGetMinorNumber", "minor_number"),
    "gpu.multi_gpu_board": _row("nvmlDeviceGetMultiGpuBoard", "multigpu_board", _yes),
    "gpu.board_part_number": _row("nvmlDeviceGetBoardPartNumber", "board_part_number"),
    "gpu.gpu_part_number": _row("", "gpu_part_number"),
    "gpu.vbios_version": _row("nvmlDeviceGetVbiosVersion", "vbios_version"),
    "gpu.module_id": _row("nvmlDeviceGetModuleId", "platformInfo/module_id"),
    "gpu.core_count": _row("nvmlDeviceGetNumGpuCores"),
    "gpu.persistence_mode": _row("nvmlDeviceGetPersistenceMode", "persistence_mode", _enabled),
    "gpu.display_active": _row("nvmlDeviceGetDisplayActive", "display_active", _enabled),
    "gpu.gsp_firmware_version": _row("nvmlDeviceGetGspFirmwareVersion", "gsp_firmware_version"),
    "gpu.reset_required": _row(f"{FIELD_VALUES}(226,0)#value"),
    "inforom.image_version": _row(
        "nvmlDeviceGetInforomImageVersion", "inforom_version/img_version"
    ),
    "inforom.oem_object": _row("nvmlDeviceGetInforomVersion(0)", "inforom_version/oem_object"),
    "inforom.ecc_object": _row("nvmlDeviceGetInforomVersion(1)", "inforom_version/ecc_object"),
    "inforom.power_object": _row("nvmlDeviceGetInforomVersion(2)", "inforom_version/pwr_object"),
    "inforom.config_checksum": _row("nvmlDeviceGetInforomConfigurationChecksum"),
    "inforom.bbx_time_run_s": _row("nvmlDeviceGetBBXTimeData_v1#timeRun"),
    "pci.link_generation_max": _row(
        "nvmlDeviceGetMaxPcieLinkGeneration", f"{_LINK}pcie_gen/max_link_gen"
    ),
    "pci.link_generation_device_max": _row(
        "nvmlDeviceGetGpuMaxPcieLinkGeneration", f"{_LINK}pcie_gen/max_device_link_gen"
    ),
    "pci.link_generation_current": _row(
        "nvmlDeviceGetCurrPcieLinkGeneration", f"{_LINK}pcie_gen/current_link_gen"
    ),
    "pci.link_width_max": _row(
        "nvmlDeviceGetMaxPcieLinkWidth", f"{_LINK}link_widths/max_link_width", _lanes
    ),
    "pci.link_width_current": _row(
        "nvmlDeviceGetCurrPcieLinkWidth", f"{_LINK}link_widths/current_link_width", _lanes
    ),
    "pci.replay_count": _row(
        f"nvmlDeviceGetPcieReplayCounter {FIELD_VALUES}(94,0)#value", "pci/replay_counter"
    ),
    "pci.bar1_bytes": _row(
        "nvmlDeviceGetBAR1MemoryInfo#bar1Total", "bar1_memory_usage/total", _mib
    ),
    "memory.total_bytes": _row(
        "nvmlDeviceGetMemoryInfo#total nvmlDeviceGetMemoryInfo_v2#total",
        "fb_memory_usage/total", _mib,
    ),
    "memory.reserved_bytes": _row(
        "nvmlDeviceGetMemoryInfo_v2#reserved", "fb_memory_usage/reserved", _mib
    ),
    "memory.used_bytes": _row("nvmlDeviceGetMemoryInfo_v2#used", "fb_memory_usage/used", _mib),
    "memory.usable_bytes": _row("nvmlDeviceGetMemoryInfo#total"),
    "memory.bus_width_bits": _row("nvmlDeviceGetMemoryBusWidth"),
    "power.limit_default_mw": _row(
        "nvmlDeviceGetPowerManagementDefaultLimit", f"{_POWER}default_power_limit", _watts
    ),
    "power.limit_min_mw": _row(
        "nvmlDeviceGetPowerManagementLimitConstraints#0", f"{_POWER}min_power_limit", _watts
    ),
    "power.limit_max_mw": _row(
        "nvmlDeviceGetPowerManagementLimitConstraints#1", f"{_POWER}max_power_limit", _watts
    ),
    "power.limit_enforced_mw": _row(
        "nvmlDeviceGetEnforcedPowerLimit", f"{_POWER}current_power_limit", _watts
    ),
    "power.draw_mw": _row("nvmlDeviceGetPowerUsage", f"{_POWER}instant_power_draw", _watts),
    "temperature.gpu_celsius": _row(
        "nvmlDeviceGetTemperature(0) nvmlDeviceGetTemperatureV#temperature",
        "temperature/gpu_temp", _celsius,
    ),
    "temperature.memory_celsius": _row(
        f"{FIELD_VALUES}(82,0)#value", "temperature/memory_temp", _celsius
    ),
    "ecc.mode_current": _row("nvmlDeviceGetEccMode#0", "ecc_mode/current_ecc", _enabled),
    "ecc.mode_pending": _row("nvmlDeviceGetEccMode#1", "ecc_mode/pending_ecc", _enabled),
    "ecc.mode_default": _row("nvmlDeviceGetDefaultEccMode"),
    "ecc.sram_threshold_exceeded": _row(
        "nvmlDeviceGetSramEccErrorStatus#bThresholdExceeded",
        "ecc_errors/aggregate/sram_threshold_exceeded", _yes,
    ),
    "remap.correctable_count": _row(
        f"nvmlDeviceGetRemappedRows#0 {FIELD_VALUES}(142,0)#value", f"{_REMAP}corr"
    ),
    "remap.uncorrectable_count": _row(
        f"nvmlDeviceGetRemappedRows#1 {FIELD_VALUES}(143,0)#value", f"{_REMAP}unc"
    ),
    "remap.pending": _row(
        f"nvmlDeviceGetRemappedRows#2 {FIELD_VALUES}(144,0)#value", f"{_REMAP}pending", _yes
    ),
    "remap.failure": _row(
        f"nvmlDeviceGetRemappedRows#3 {FIELD_VALUES}(145,0)#value", f"{_REMAP}failure", _yes
    ),
    "remap.correctable_inactive_count": _row(f"{FIELD_VALUES}(301,0)#value"),
    "remap.uncorrectable_inactive_count": _row(f"{FIELD_VALUES}(302,0)#value"),
    "repair.channel_pending": _row(
        "nvmlDeviceGetRepairStatus#bChannelRepairPending",
        "ecc_errors/channel_repair_pending", _yes,
    ),
    "repair.tpc_pending": _row(
        "nvmlDeviceGetRepairStatus#bTpcRepairPending", "ecc_errors/tpc_repair_pending", _yes
    ),
    # By NVIDIA's header: the flag stands where the binding has a version word.
    "repair.unrepairable_memory": _row("nvmlDeviceGetUnrepairableMemoryFlag_v1#version"),
    "retired.pending": _row(
        f"nvmlDeviceGetRetiredPagesPendingStatus {FIELD_VALUES}(31,0)#value",
        "retired_pages/pending_retirement", _yes,
    ),
    "mig.mode_current": _row("nvmlDeviceGetMigMode#0", "mig_mode/current_mig", _enabled),
    "mig.mode_pending": _row("nvmlDeviceGetMigMode#1", "mig_mode/pending_mig", _enabled),
    "mig.is_slice": _row("nvmlDeviceIsMigDeviceHandle"),
    "nvlink.replay_error_count": _row(f"{FIELD_VALUES}(52,0)#value"),
    "nvlink.recovery_error_count": _row(f"{FIELD_VALUES}(59,0)#value"),
    "nvlink.crc_error_count": _row(f"{FIELD_VALUES}(38,0)#value"),
    **{
        f"remap.histogram_{part}": _row(
            f"nvmlDeviceGetRowRemapperHistogram#{part}",
            f"remapped_rows/row_remapper_histogram/row_remapper_histogram_{part}", _banks,
        )
        for part in ("max", "high", "partial", "low", "none")
    },
    **_CLOCKS,
    **_ECC,
}  # fmt: skip

HOST_ROWS: dict[str, Row] = {
    "driver.version": _row("nvmlSystemGetDriverVersion", "driver_version"),
    "driver.branch": _row("nvmlSystemGetDriverBranch#branch"),
    "nvml.version": _row("nvmlSystemGetNVMLVersion"),
    "host.attached_gpu_count": _row("nvmlDeviceGetCount_v2", "attached_gpus"),
}


def split_spot(spot: str) -> tuple[str, tuple[int, ...], str]:
    """Take a spot apart into symbol, arguments after the handle, and field.

    Args:
        spot: `symbol(arguments)#field`.
    """
    match = _SPOT.fullmatch(spot)
    if match is None:
        raise EditError(f"{spot!r} is no symbol(arguments)#field")
    arguments = tuple(int(part) for part in (match[2] or "").split(",") if part)
    return match[1], arguments, match[3] or ""


def _nvml_value(value: Value, divide: int) -> Json:
    """Return a claim's value in NVML's unit."""
    return value if isinstance(value, str) else number(int(value) // divide)


def set_row(draft: Draft, row: Row, gpu: int | None, value: Value) -> None:
    """Set one value at every place where it stands.

    Args:
        draft: The recording.
        row: Its places.
        gpu: NVML index, None for the host.
        value: The value in the vocabulary's unit.
    """
    handle: tuple[int | str, ...] = () if gpu is None else (f"gpu[{gpu}]",)
    front = "" if gpu is None else f"gpu[{gpu}]/"
    for spot in row.spots:
        symbol, arguments, field = split_spot(spot)
        draft.set_value(symbol, (*handle, *arguments), field, _nvml_value(value, row.divide))
    if row.leaf:
        draft.set_leaf(front + row.leaf, row.form(value))


def clear_row(draft: Draft, row: Row, gpu: int | None, reason: str) -> None:
    """Take one value away, with the reason that NVML and nvidia-smi give.

    Args:
        draft: The recording.
        row: Where the value stands.
        gpu: NVML index, None for the host.
        reason: A claim status.
    """
    if reason not in _ABSENT:
        raise EditError(f"absent = {reason!r}; known are {', '.join(_ABSENT)}")
    code, text = _ABSENT[reason]
    handle: tuple[int | str, ...] = () if gpu is None else (f"gpu[{gpu}]",)
    for spot in row.spots:
        symbol, arguments, _ = split_spot(spot)
        draft.fail_call(symbol, (*handle, *arguments), code)
    if row.leaf:
        path = ("" if gpu is None else f"gpu[{gpu}]/") + row.leaf
        if text is None:
            draft.drop_leaf(path)
        else:
            draft.set_leaf(path, text)
