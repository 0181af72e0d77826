"""NVML calls that a described card answers."""

from __future__ import annotations

from collections.abc import Sequence

from gpuverify.sources.recording import NvmlCall
from gpuverify.sources.recording_ctypes import Json, number
from gpuverify.testing.cards import MIB, VIRTUALIZATION, SyntheticCard

NOT_SUPPORTED, CORRUPTED_INFOROM = 3, 14

# First driver branch whose library has the symbol, by the first release of nvidia-ml-py that
# knows it (pypi.org/project/nvidia-ml-py); symbols without an entry are older than branch 450.
SINCE: dict[str, int] = {
    "nvmlDeviceGetMemoryInfo_v2": 510,
    "nvmlDeviceGetNumGpuCores": 510,
    "nvmlDeviceGetMemoryBusWidth": 510,
    "nvmlDeviceGetGspFirmwareVersion": 510,
    "nvmlDeviceGetPowerSource": 510,
    "nvmlDeviceGetGpuInstanceProfileInfoV": 510,
    "nvmlDeviceGetGpuMaxPcieLinkGeneration": 525,
    "nvmlDeviceGetModuleId": 535,
    "nvmlDeviceGetLastBBXFlushTime": 535,
    "nvmlDeviceGetSramEccErrorStatus": 535,
    "nvmlDeviceGetCurrentClocksEventReasons": 535,
    "nvmlDeviceGetC2cModeInfoV": 535,
    "nvmlDeviceGetPciInfoExt": 550,
    "nvmlDeviceGetGpuFabricInfoV": 550,
    "nvmlSystemGetDriverBranch": 560,
    "nvmlDeviceGetPlatformInfo": 570,
    "nvmlDeviceGetTemperatureV": 570,
    "nvmlDeviceGetPdi": 580,
    "nvmlDeviceGetRepairStatus": 580,
    "nvmlDeviceGetNvLinkInfo": 580,
    "nvmlDeviceGetUnrepairableMemoryFlag_v1": 590,
    "nvmlDeviceGetDriverModel_v2": 595,
    "nvmlDeviceGetBBXTimeData_v1": 610,
    "nvmlDeviceGetBankRemapperStatus_v1": 615,
}


class Calls:
    """Builds the calls about one handle, leaving out what a driver branch does not have.

    Attributes:
        made: The calls so far.
        branch: Driver branch.
    """

    def __init__(self, branch: int, handle: str = "") -> None:
        """Build for a driver branch and a handle ("" for the system)."""
        self.made: list[NvmlCall] = []
        self.branch = branch
        self._handle = (handle,) if handle else ()

    def add(
        self, symbol: str, *arguments: int | str, out: Sequence[Json] = (), version: int = 0
    ) -> None:
        """Add a call that succeeds.

        Args:
            symbol: C symbol.
            *arguments: Arguments after the handle.
            out: What it fills in.
            version: Version word of its structure, 0 for none.
        """
        if SINCE.get(symbol, 0) > self.branch:
            return
        self.made.append(
            NvmlCall(
                symbol=symbol,
                arguments=(*self._handle, *arguments),
                given={"version": version} if version else {},
                out=tuple(out),
            )
        )

    def lists(self, symbol: str, *arguments: int | str, out: Sequence[Json]) -> None:
        """Add a call for lists.

        Args:
            symbol: C symbol.
            *arguments: Arguments after the handle.
            out: The lists.
        """
        if SINCE.get(symbol, 0) <= self.branch:
            self.made.append(
                NvmlCall(
                    symbol=symbol,
                    arguments=(*self._handle, *arguments),
                    out=tuple(out),
                    is_list=True,
                )
            )

    def fail(self, symbol: str, *arguments: int | str, code: int = NOT_SUPPORTED) -> None:
        """Add a call that fails.

        Args:
            symbol: C symbol.
            *arguments: Arguments after the handle.
            code: Its return code.
        """
        if SINCE.get(symbol, 0) <= self.branch:
            self.made.append(
                NvmlCall(symbol=symbol, arguments=(*self._handle, *arguments), returns=code)
            )

    def maybe(self, symbol: str, *arguments: int | str, text: str) -> None:
        """Add a call that gives a text, or is not supported where the text is empty.

        Args:
            symbol: C symbol.
            *arguments: Arguments after the handle.
            text: The text.
        """
        if text:
            self.add(symbol, *arguments, out=[text])
        else:
            self.fail(symbol, *arguments)

    def field(self, field_id: int, value: int, scope: int = 0, kind: int = 1) -> None:
        """Add a field value.

        Args:
            field_id: NVML_FI_* number.
            value: Its value.
            scope: Its scope, e.g. a link.
            kind: nvmlValueType_t; 1 is an unsigned int.
        """
        self.add(
            "nvmlDeviceGetFieldValues",
            field_id,
            scope,
            out=[{"valueType": kind, "value": number(value)}],
        )


def system_calls(cards: Sequence[SyntheticCard], driver: str, cuda: int) -> list[NvmlCall]:
    """Return the calls that concern no device, and those that find one.

    Args:
        cards: The machine's cards in index order.
        driver: Driver version.
        cuda: CUDA version as NVML numbers it, e.g. 13000.
    """
    branch = int(driver.split(".", maxsplit=1)[0])
    calls = Calls(branch)
    calls.add("nvmlInitWithFlags", 0)
    calls.add("nvmlInit_v2")
    calls.add("nvmlShutdown")
    calls.add("nvmlSystemGetDriverVersion", out=[driver])
    calls.add("nvmlSystemGetNVMLVersion", out=[f"{cuda // 1000}.{driver}"])
    calls.add("nvmlSystemGetCudaDriverVersion", out=[cuda])
    calls.add("nvmlSystemGetCudaDriverVersion_v2", out=[cuda])
    calls.add("nvmlSystemGetDriverBranch", out=[{"branch": f"r{branch}_00"}], version=0x1000054)
    calls.add("nvmlDeviceGetCount_v2", out=[len(cards)])
    for index, card in enumerate(cards):
        handle = f"gpu[{index}]"
        calls.add("nvmlDeviceGetHandleByIndex_v2", index, out=[handle])
        calls.add("nvmlDeviceGetHandleByUUID", card.uuid, out=[handle])
        calls.add("nvmlDeviceGetHandleByPciBusId_v2", card.normal_bus_id, out=[handle])
        if card.serial:
            calls.add("nvmlDeviceGetHandleBySerial", card.serial, out=[handle])
    return calls.made


def device_calls(card: SyntheticCard, index: int, driver: str) -> list[NvmlCall]:
    """Return the calls about one card.

    Args:
        card: Its description.
        index: Its NVML index.
        driver: Driver version.
    """
    calls = Calls(int(driver.split(".", maxsplit=1)[0]), f"gpu[{index}]")
    _identity(calls, card, index, driver)
    _inforom(calls, card)
    _pci(calls, card)
    _memory_and_clocks(calls, card)
    _power(calls, card)
    _errors(calls, card)
    _bad_memory(calls, card)
    _links(calls, card)
    _mig(calls, card)
    return calls.made


def _identity(calls: Calls, card: SyntheticCard, index: int, driver: str) -> None:
    """Add names, numbers and modes."""
    calls.add("nvmlDeviceGetIndex", out=[index])
    calls.add("nvmlDeviceGetName", out=[card.name])
    calls.add("nvmlDeviceGetBrand", out=[card.brand])
    calls.add("nvmlDeviceGetArchitecture", out=[card.generation])
    calls.add("nvmlDeviceGetCudaComputeCapability", out=list(card.compute_capability))
    calls.add("nvmlDeviceGetUUID", out=[card.uuid])
    calls.maybe("nvmlDeviceGetSerial", text=card.serial)
    calls.add("nvmlDeviceGetPdi", out=[{"value": number(card.pdi)}], version=0x1000010)
    calls.add("nvmlDeviceGetMinorNumber", out=[card.minor])
    calls.add("nvmlDeviceGetBoardId", out=[int(card.bus_id.split(":")[1], 16) << 8])
    calls.add("nvmlDeviceGetMultiGpuBoard", out=[int(card.multi_gpu_board)])
    calls.maybe("nvmlDeviceGetBoardPartNumber", text=card.board_part_number)
    calls.add("nvmlDeviceGetVbiosVersion", out=[card.vbios])
    calls.add("nvmlDeviceGetModuleId", out=[card.module_id])
    calls.add("nvmlDeviceGetNumGpuCores", out=[card.core_count])
    calls.add("nvmlDeviceGetPersistenceMode", out=[1])
    calls.add("nvmlDeviceGetDisplayMode", out=[0])
    calls.add("nvmlDeviceGetDisplayActive", out=[0])
    calls.fail("nvmlDeviceGetDriverModel")
    calls.fail("nvmlDeviceGetDriverModel_v2")
    if card.splits_sram:
        calls.add("nvmlDeviceGetGspFirmwareVersion", out=[driver])
    else:
        calls.fail("nvmlDeviceGetGspFirmwareVersion")
    calls.add("nvmlDeviceGetPowerSource", out=[0])
    mode = VIRTUALIZATION[card.virtualization]
    calls.add("nvmlDeviceGetVirtualizationMode", out=[mode])
    for kind in ("Compute", "Graphics"):
        for end in ("_v2", "_v3"):
            calls.lists(f"nvmlDeviceGet{kind}RunningProcesses{end}", out=[[]])
    calls.fail("nvmlDeviceGetPlatformInfo")
    calls.fail("nvmlDeviceGetC2cModeInfoV")
    calls.fail("nvmlDeviceGetGpuFabricInfo")
    calls.fail("nvmlDeviceGetGpuFabricInfoV")
    if calls.branch >= 570:
        calls.field(226, 0)
        calls.field(230, 0)


def _inforom(calls: Calls, card: SyntheticCard) -> None:
    """Add the InfoROM."""
    calls.maybe("nvmlDeviceGetInforomImageVersion", text=card.inforom_image)
    for number_, text in enumerate((card.inforom_oem, card.inforom_ecc, "")):
        calls.maybe("nvmlDeviceGetInforomVersion", number_, text=text)
    if not card.inforom_image:
        calls.fail("nvmlDeviceValidateInforom")
        calls.fail("nvmlDeviceGetInforomConfigurationChecksum")
    else:
        calls.add("nvmlDeviceGetInforomConfigurationChecksum", out=[0x5C0FFEE5])
        if card.inforom_valid:
            calls.add("nvmlDeviceValidateInforom")
        else:
            calls.fail("nvmlDeviceValidateInforom", code=CORRUPTED_INFOROM)
    calls.fail("nvmlDeviceGetLastBBXFlushTime")
    if card.bbx_hours is None:
        calls.fail("nvmlDeviceGetBBXTimeData_v1")
    else:
        calls.add("nvmlDeviceGetBBXTimeData_v1", out=[{"timeRun": card.bbx_hours * 3600}])


def _pci(calls: Calls, card: SyntheticCard) -> None:
    """Add PCI identity and link."""
    domain, bus, rest = card.bus_id.split(":")
    fields: dict[str, Json] = {
        "domain": int(domain, 16),
        "bus": int(bus, 16),
        "device": int(rest.split(".")[0], 16),
        "pciDeviceId": card.device_id << 16 | 0x10DE,
        "pciSubSystemId": card.subsystem_device_id << 16 | card.subsystem_vendor_id,
        "busId": card.normal_bus_id,
    }
    calls.add("nvmlDeviceGetPciInfo_v3", out=[{"busIdLegacy": card.bus_id.upper(), **fields}])
    base, sub = card.class_code >> 16, (card.class_code >> 8) & 0xFF
    calls.add(
        "nvmlDeviceGetPciInfoExt",
        out=[{**fields, "baseClass": base, "subClass": sub}],
        version=0x1000040,
    )
    calls.add("nvmlDeviceGetMaxPcieLinkGeneration", out=[card.pcie_generation])
    calls.add("nvmlDeviceGetGpuMaxPcieLinkGeneration", out=[card.pcie_generation])
    calls.add("nvmlDeviceGetCurrPcieLinkGeneration", out=[card.pcie_generation])
    calls.add("nvmlDeviceGetMaxPcieLinkWidth", out=[card.pcie_width])
    calls.add("nvmlDeviceGetCurrPcieLinkWidth", out=[card.pcie_width])
    calls.add("nvmlDeviceGetPcieReplayCounter", out=[0])
    calls.field(94, 0)


def _memory_and_clocks(calls: Calls, card: SyntheticCard) -> None:
    """Add sizes, clocks and temperatures."""
    total, reserved = card.memory_mib * MIB, card.reserved_mib * MIB
    bar1 = card.bar1_mib * MIB
    calls.add(
        "nvmlDeviceGetMemoryInfo",
        out=[{"total": total, "free": total - reserved, "used": reserved}],
    )
    calls.add(
        "nvmlDeviceGetMemoryInfo_v2",
        out=[{"total": total, "reserved": reserved, "free": total - reserved, "used": 0}],
        version=0x02000028,
    )
    calls.add(
        "nvmlDeviceGetBAR1MemoryInfo",
        out=[{"bar1Total": bar1, "bar1Free": bar1 - MIB, "bar1Used": MIB}],
    )
    calls.add("nvmlDeviceGetMemoryBusWidth", out=[card.bus_width_bits])
    highest = (card.graphics_mhz, card.graphics_mhz, card.memory_mhz, card.video_mhz)
    for kind, mhz in enumerate(highest):
        calls.add("nvmlDeviceGetMaxClockInfo", kind, out=[mhz])
    calls.lists("nvmlDeviceGetSupportedMemoryClocks", out=[[card.memory_mhz]])
    calls.lists(
        "nvmlDeviceGetSupportedGraphicsClocks",
        card.memory_mhz,
        out=[[card.graphics_mhz, card.graphics_mhz - 15]],
    )
    calls.add("nvmlDeviceGetCurrentClocksEventReasons", out=[1])
    calls.add("nvmlDeviceGetCurrentClocksThrottleReasons", out=[1])
    calls.add("nvmlDeviceGetTemperature", 0, out=[33])
    calls.add("nvmlDeviceGetTemperatureV", out=[{"temperature": 33}], version=0x100000C)
    if card.remap_banks >= 192:
        calls.field(82, 36)


def _power(calls: Calls, card: SyntheticCard) -> None:
    """Add power limits."""
    if not card.power_default_w:
        calls.fail("nvmlDeviceGetPowerManagementDefaultLimit")
        calls.fail("nvmlDeviceGetPowerManagementLimitConstraints")
        calls.fail("nvmlDeviceGetPowerManagementLimit")
        calls.fail("nvmlDeviceGetEnforcedPowerLimit")
        return
    default, low, high = card.power_default_w, card.power_min_w, card.power_max_w
    calls.add("nvmlDeviceGetPowerManagementDefaultLimit", out=[default * 1000])
    calls.add("nvmlDeviceGetPowerManagementLimitConstraints", out=[low * 1000, high * 1000])
    calls.add("nvmlDeviceGetPowerManagementLimit", out=[default * 1000])
    calls.add("nvmlDeviceGetEnforcedPowerLimit", out=[default * 1000])
    calls.add("nvmlDeviceGetPowerUsage", out=[default * 130 + 7])


def _errors(calls: Calls, card: SyntheticCard) -> None:
    """Add ECC mode and counters."""
    if card.ecc is None:
        for symbol in ("nvmlDeviceGetEccMode", "nvmlDeviceGetDefaultEccMode"):
            calls.fail(symbol)
    else:
        calls.add("nvmlDeviceGetEccMode", out=[int(card.ecc), int(card.ecc)])
        calls.add("nvmlDeviceGetDefaultEccMode", out=[1])
    counted = bool(card.ecc)
    locations = (2, 7) if card.splits_sram else (0, 1, 2, 3, 4)
    for kind in (0, 1):
        for span in (0, 1):
            if not counted:
                calls.fail("nvmlDeviceGetTotalEccErrors", kind, span)
            else:
                calls.add("nvmlDeviceGetTotalEccErrors", kind, span, out=[0])
            for location in locations:
                if counted:
                    calls.add("nvmlDeviceGetMemoryErrorCounter", kind, span, location, out=[0])
                else:
                    calls.fail("nvmlDeviceGetMemoryErrorCounter", kind, span, location)
    if counted and card.remap_banks:
        calls.add(
            "nvmlDeviceGetSramEccErrorStatus",
            out=[{"aggregateUncParity": 0, "aggregateUncSecDed": 0, "bThresholdExceeded": 0}],
            version=0x1000068,
        )
    else:
        calls.fail("nvmlDeviceGetSramEccErrorStatus")


def _bad_memory(calls: Calls, card: SyntheticCard) -> None:
    """Add row remapping, page retirement and repair."""
    if card.remap_banks:
        correctable, uncorrectable = card.remapped
        calls.add("nvmlDeviceGetRemappedRows", out=[correctable, uncorrectable, 0, 0])
        for field_id, value in ((142, correctable), (143, uncorrectable), (144, 0), (145, 0)):
            calls.field(field_id, value)
        if calls.branch >= 580:
            calls.field(301, 0)
            calls.field(302, 0)
        spent = 1 if correctable or uncorrectable else 0
        calls.add(
            "nvmlDeviceGetRowRemapperHistogram",
            out=[
                {"max": card.remap_banks - spent, "high": spent, "partial": 0, "low": 0, "none": 0}
            ],
        )
        calls.add(
            "nvmlDeviceGetRepairStatus",
            out=[{"bChannelRepairPending": 0, "bTpcRepairPending": 0}],
            version=0x100000C,
        )
    else:
        calls.fail("nvmlDeviceGetRemappedRows")
        calls.fail("nvmlDeviceGetRowRemapperHistogram")
        calls.fail("nvmlDeviceGetRepairStatus")
    # NVIDIA's nvml.h has the flag alone; the binding's structure has a version in front of it.
    calls.add("nvmlDeviceGetUnrepairableMemoryFlag_v1", out=[{"version": 0}])
    for cause in (0, 1):
        if card.page_retirement:
            calls.lists("nvmlDeviceGetRetiredPages", cause, out=[[]])
            calls.lists("nvmlDeviceGetRetiredPages_v2", cause, out=[[], []])
        else:
            calls.fail("nvmlDeviceGetRetiredPages", cause)
            calls.fail("nvmlDeviceGetRetiredPages_v2", cause)
    if card.page_retirement:
        calls.add("nvmlDeviceGetRetiredPagesPendingStatus", out=[0])
        for field_id in (29, 30, 31):
            calls.field(field_id, 0)
    else:
        calls.fail("nvmlDeviceGetRetiredPagesPendingStatus")


def link_calls(calls: Calls, count: int, active: int, version: int, mbps: int) -> None:
    """Add NVLinks: `count` that exist, the first `active` of them up.

    Args:
        calls: Where to add.
        count: Links that exist.
        active: Links that are up.
        version: Version as NVML numbers it.
        mbps: Speed in MB/s of one link and direction.
    """
    for link in range(18):
        if link >= count:
            calls.fail("nvmlDeviceGetNvLinkState", link)
            continue
        up = int(link < active)
        calls.add("nvmlDeviceGetNvLinkState", link, out=[up])
        calls.add("nvmlDeviceGetNvLinkVersion", link, out=[version])
        calls.field(164, mbps if up else 0, scope=link)
    if count:
        calls.field(91, count)
        # Sums over all links: CRC flits and data, replay, recovery.
        for field_id in (38, 45, 52, 59):
            calls.field(field_id, 0, kind=3)


def _links(calls: Calls, card: SyntheticCard) -> None:
    """Add NVLinks."""
    link_calls(calls, card.nvlinks, card.active_links, card.nvlink_version, card.nvlink_mbps)


def profile_fields(profile: tuple[int, str, int, int, int, int]) -> dict[str, Json]:
    """Return the structure of a GPU instance profile.

    Args:
        profile: Id, name, slices, instances, SMs and memory in MiB.
    """
    number_, name, slices, instances, multiprocessors, memory = profile
    return {
        "id": number_, "isP2pSupported": 0, "sliceCount": slices, "instanceCount": instances,
        "multiprocessorCount": multiprocessors, "copyEngineCount": slices,
        "memorySizeMB": memory, "name": f"MIG {name}",
    }  # fmt: skip


def _mig(calls: Calls, card: SyntheticCard) -> None:
    """Add MIG mode and profiles."""
    calls.add("nvmlDeviceIsMigDeviceHandle", out=[0])
    if not card.mig_profiles:
        calls.fail("nvmlDeviceGetMigMode")
        calls.fail("nvmlDeviceGetMaxMigDeviceCount")
        calls.fail("nvmlDeviceGetGpuInstanceProfileInfoV", 0)
        calls.fail("nvmlDeviceGetGpuInstanceProfileInfo", 0)
        return
    calls.add("nvmlDeviceGetMigMode", out=[0, 0])
    most = max(profile.instances for profile in card.mig_profiles)
    calls.add("nvmlDeviceGetMaxMigDeviceCount", out=[most])
    for one in card.mig_profiles:
        fields = profile_fields(
            (one.id, one.name, one.slices, one.instances, one.multiprocessors, one.memory_mib)
        )
        calls.add(
            "nvmlDeviceGetGpuInstanceProfileInfoV", one.index, out=[fields], version=0x02000098
        )
        plain = {name: value for name, value in fields.items() if name != "name"}
        calls.add("nvmlDeviceGetGpuInstanceProfileInfo", one.index, out=[plain])
