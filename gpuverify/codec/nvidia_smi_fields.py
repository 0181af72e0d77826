"""One table for what nvidia-smi calls things: XML path and text labels to claim id and parser.

The XML element names and the text labels are nvidia-smi's own (drivers 340 to 610; public dumps
and the nvsmi_device DTDs). A line reads: claim | parser | XML paths | text paths; alternatives are
divided by commas; paths are relative to the GPU. Only direct paths count: the frame buffer of a
MIG slice, a vGPU guest's licensed product name and the module's power stand elsewhere and are
never taken for the card's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gpuverify.codec import nvidia_smi_values as v
from gpuverify.codec.nvidia_smi_values import Parser
from gpuverify.model.claims import Claim

# A name with "*" is no claim: `nvidia_smi_build` counts it, or puts it together with others.
_Row = tuple[str, "Parser | None", str, str]

_IDENTITY: tuple[_Row, ...] = (
    ("gpu.name", v.name, "product_name", "product name"),
    ("gpu.brand", v.words, "product_brand", "product brand"),
    ("gpu.architecture", v.words, "product_architecture", "product architecture"),
    ("gpu.serial", v.serial, "serial", "serial number"),
    ("gpu.uuid", v.uuid, "uuid", "gpu uuid"),
    ("gpu.pdi", v.hex64, "pdi", "gpu pdi, pdi"),
    ("gpu.minor_number", v.count, "minor_number", "minor number"),
    ("gpu.board_id", v.hex_text, "board_id", "board id"),
    ("gpu.multi_gpu_board", v.flag, "multigpu_board", "multigpu board"),
    ("*part.board", None, "board_part_number", "board part number"),
    ("*part.gpu", None, "gpu_part_number", "gpu part number"),
    ("gpu.fru_part_number", v.words, "gpu_fru_part_number, fru_part_number", "fru part number"),
    ("gpu.vbios_version", v.upper, "vbios_version", "vbios version"),
    ("gpu.module_id", v.count,
     "platformInfo/module_id, gpu_module_id, module_id", "platform info/module id, module id"),
    ("gpu.persistence_mode", v.flag, "persistence_mode", "persistence mode"),
    ("gpu.display_active", v.flag, "display_active", "display active"),
    ("gpu.driver_model", v.words, "driver_model/current_dm", "driver model/current"),
    ("gpu.recovery_action", v.word_none, "gpu_recovery_action", "gpu recovery action"),
    ("gpu.reset_required", v.flag,
     "gpu_reset_status/reset_required", "gpu reset status/reset required"),
    ("gpu.gsp_firmware_version", v.words, "gsp_firmware_version", "gsp firmware version"),
    ("gpu.virtualization_mode", v.virtualization,
     "gpu_virtualization_mode/virtualization_mode",
     "gpu virtualization mode/virtualization mode"),
    ("gpu.fan_error", v.fan, "fan_speed", "fan speed"),
    ("platform.chassis_serial", v.serial, "platformInfo/chassis_serial_number",
     "platform info/chassis serial number, platform info/rack serial number"),
    ("platform.slot_number", v.count, "platformInfo/slot_number",
     "platform info/slot number, platform info/chassis physical slot number"),
    ("platform.tray_index", v.count, "platformInfo/tray_index",
     "platform info/tray index, platform info/compute slot index"),
    ("platform.host_id", v.count, "platformInfo/host_id",
     "platform info/host id, platform info/node index"),
    ("platform.peer_type", v.word_none, "platformInfo/peer_type", "platform info/peer type"),
    ("platform.gpu_fabric_guid", v.hex64,
     "platformInfo/gpu_fabric_guid", "platform info/gpu fabric guid"),
    ("inforom.image_version", v.upper,
     "inforom_version/img_version", "inforom version/image version"),
    ("inforom.oem_object", v.words, "inforom_version/oem_object", "inforom version/oem object"),
    ("inforom.ecc_object", v.words, "inforom_version/ecc_object", "inforom version/ecc object"),
    ("inforom.power_object", v.words, "inforom_version/pwr_object",
     "inforom version/power management object, inforom version/power object"),
    ("inforom.bbx_flush_time", v.words, "inforom_bbx_flush/latest_timestamp",
     "inforom bbx object flush/latest timestamp"),
    ("c2c.mode", v.flag, "c2c_mode", "gpu c2c mode"),
    ("fabric.state", v.words, "fabric/state", "fabric/state"),
    ("fabric.status", v.words, "fabric/status", "fabric/status"),
    ("fabric.cluster_uuid", v.uuid, "fabric/clusterUuid", "fabric/clusteruuid"),
)  # fmt: skip

_PCI: tuple[_Row, ...] = (
    ("pci.bus_id", v.bus_id, "pci/pci_bus_id", "pci/bus id"),
    ("*class", None, "pci/pci_base_class", "pci/base classcode"),
    ("*subclass", None, "pci/pci_sub_class", "pci/sub classcode"),
    ("pci.device_id", v.pci_device, "pci/pci_device_id", "pci/device id"),
    ("pci.vendor_id", v.pci_vendor, "pci/pci_device_id", "pci/device id"),
    ("pci.subsystem_device_id", v.pci_device, "pci/pci_sub_system_id", "pci/sub system id"),
    ("pci.subsystem_vendor_id", v.pci_vendor, "pci/pci_sub_system_id", "pci/sub system id"),
    ("pci.link_generation_max", v.small, "pci/pci_gpu_link_info/pcie_gen/max_link_gen",
     "pci/gpu link info/pcie generation/max"),
    ("pci.link_generation_device_max", v.small,
     "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen",
     "pci/gpu link info/pcie generation/device max"),
    ("pci.link_generation_current", v.small, "pci/pci_gpu_link_info/pcie_gen/current_link_gen",
     "pci/gpu link info/pcie generation/current"),
    ("pci.link_width_max", v.lanes, "pci/pci_gpu_link_info/link_widths/max_link_width",
     "pci/gpu link info/link width/max"),
    ("pci.link_width_current", v.lanes, "pci/pci_gpu_link_info/link_widths/current_link_width",
     "pci/gpu link info/link width/current"),
    ("pci.replay_count", v.count, "pci/replay_counter", "pci/replays since reset"),
)  # fmt: skip

_POWER_XML = "gpu_power_readings/{0}, gpu_power_readings/gpu_ceiling_power_limit/{0}"
_POWER_TEXT = "gpu power readings/{0}, gpu power readings/gpu ceiling power limit/{0}"


def _power(claim: str, xml: str, text: str, *, xml_now: str = "", text_now: str = "") -> _Row:
    """Build a power row: before 535 one section, then a GPU section, nested since 610."""
    return (
        claim,
        v.watt,
        f"power_readings/{xml}, " + _POWER_XML.format(xml_now or xml),
        f"power readings/{text}, " + _POWER_TEXT.format(text_now or text),
    )


_QUANTITIES: tuple[_Row, ...] = (
    ("memory.total_bytes", v.mebibytes, "fb_memory_usage/total", "fb memory usage/total"),
    ("memory.reserved_bytes", v.mebibytes,
     "fb_memory_usage/reserved", "fb memory usage/reserved"),
    ("memory.used_bytes", v.mebibytes, "fb_memory_usage/used", "fb memory usage/used"),
    ("pci.bar1_bytes", v.mebibytes, "bar1_memory_usage/total", "bar1 memory usage/total"),
    ("clock.graphics_max_khz", v.megahertz,
     "max_clocks/graphics_clock", "max clocks/graphics"),
    ("clock.sm_max_khz", v.megahertz, "max_clocks/sm_clock", "max clocks/sm"),
    ("clock.memory_max_khz", v.megahertz, "max_clocks/mem_clock", "max clocks/memory"),
    ("clock.video_max_khz", v.megahertz, "max_clocks/video_clock", "max clocks/video"),
    ("*memory-clock", None,
     "supported_clocks/supported_mem_clock/value", "supported clocks/memory"),
    _power("power.limit_default_mw", "default_power_limit", "default power limit"),
    _power("power.limit_min_mw", "min_power_limit", "min power limit"),
    _power("power.limit_max_mw", "max_power_limit", "max power limit"),
    _power("power.limit_enforced_mw", "enforced_power_limit", "enforced power limit",
           xml_now="current_power_limit", text_now="current power limit"),
    _power("power.draw_mw", "power_draw", "power draw"),
    _power("power.draw_mw", "power_draw", "power draw",
           xml_now="instant_power_draw", text_now="instantaneous power draw"),
    _power("power.draw_mw", "power_draw", "power draw",
           xml_now="average_power_draw", text_now="average power draw"),
    ("temperature.gpu_celsius", v.celsius, "temperature/gpu_temp",
     "temperature/gpu current temp, temperature/gpu"),
    ("temperature.memory_celsius", v.celsius, "temperature/memory_temp",
     "temperature/memory current temp"),
)  # fmt: skip

_HEALTH: tuple[_Row, ...] = (
    ("ecc.mode_current", v.flag, "ecc_mode/current_ecc", "ecc mode/current"),
    ("ecc.mode_pending", v.flag, "ecc_mode/pending_ecc", "ecc mode/pending"),
    ("ecc.sram_threshold_exceeded", v.flag, "ecc_errors/aggregate/sram_threshold_exceeded",
     "ecc errors/aggregate/sram threshold exceeded"),
    ("repair.channel_pending", v.flag, "ecc_errors/channel_repair_pending",
     "ecc errors/channel repair pending"),
    ("repair.tpc_pending", v.flag, "ecc_errors/tpc_repair_pending",
     "ecc errors/tpc repair pending"),
    ("repair.unrepairable_memory", v.flag, "ecc_errors/unrepairable_memory",
     "ecc errors/unrepairable memory"),
    ("remap.correctable_count", v.count, "remapped_rows/remapped_row_corr",
     "remapped rows/correctable error"),
    ("remap.uncorrectable_count", v.count, "remapped_rows/remapped_row_unc",
     "remapped rows/uncorrectable error"),
    ("remap.pending", v.flag, "remapped_rows/remapped_row_pending", "remapped rows/pending"),
    ("remap.failure", v.flag, "remapped_rows/remapped_row_failure",
     "remapped rows/remapping failure occurred"),
    *(
        (f"remap.histogram_{part}", v.count,
         f"remapped_rows/row_remapper_histogram/row_remapper_histogram_{part}",
         f"remapped rows/bank remap availability histogram/{part}")
        for part in ("max", "high", "partial", "low", "none")
    ),
    ("retired.single_bit_count", v.count,
     "retired_pages/multiple_single_bit_retirement/retired_count",
     "retired pages/single bit ecc"),
    ("retired.double_bit_count", v.count,
     "retired_pages/double_bit_retirement/retired_count", "retired pages/double bit ecc"),
    ("retired.pending", v.flag, "retired_pages/pending_retirement, retired_pages/pending_blacklist",
     "retired pages/pending page blacklist, retired pages/pending page retirement"),
    *(
        ("*retired-time", None,
         f"retired_pages/{kind}/retired_pagelist/retired_page/retired_page_timestamp", "")
        for kind in ("multiple_single_bit_retirement", "double_bit_retirement")
    ),
    ("mig.mode_current", v.flag, "mig_mode/current_mig", "mig mode/current"),
    ("mig.mode_pending", v.flag, "mig_mode/pending_mig", "mig mode/pending"),
    ("*list.mig-device", None, "mig_devices", "mig devices"),
    ("*item.mig-device", None, "mig_devices/mig_device", "mig device, mig devices/mig device"),
    ("*list.process", None, "processes, compute_processes", "processes, compute processes"),
    ("*item.process", None, "processes/process_info, compute_processes/process_info",
     "processes/process id, compute processes/process id"),
    ("*process-type", None, "processes/process_info/type", "processes/process id/type"),
)  # fmt: skip

# Drivers name the same counters by SRAM/DRAM (Turing and later) or by bit and location; NVML's
# location DRAM is an alias of DEVICE_MEMORY (nvml.h, nvmlMemoryLocation_t).
_ECC: tuple[_Row, ...] = tuple(
    (f"ecc.{span}.{claim}", v.big_count, f"ecc_errors/{span}/{xml}", f"ecc errors/{span}/{text}")
    for span in ("volatile", "aggregate")
    for claim, xml, text in (
        ("sram_correctable", "sram_correctable", "sram correctable"),
        ("sram_uncorrectable", "sram_uncorrectable", "sram uncorrectable"),
        ("sram_uncorrectable_parity", "sram_uncorrectable_parity", "sram uncorrectable parity"),
        ("sram_uncorrectable_secded", "sram_uncorrectable_secded", "sram uncorrectable sec-ded"),
        ("dram_correctable", "dram_correctable", "dram correctable"),
        ("dram_uncorrectable", "dram_uncorrectable", "dram uncorrectable"),
        ("dram_correctable", "single_bit/device_memory", "single bit/device memory"),
        ("dram_uncorrectable", "double_bit/device_memory", "double bit/device memory"),
        ("single_bit_total", "single_bit/total", "single bit/total"),
        ("double_bit_total", "double_bit/total", "double bit/total"),
    )
)

# Renamed from "throttle" to "event" with driver 535.
_REASON_WORDS = ("event", "throttle")
_REASONS = (
    ("gpu_idle", "idle"),
    ("applications_clocks_setting", "applications clocks setting"),
    ("sw_power_cap", "sw power cap"),
    ("hw_slowdown", "hw slowdown"),
    ("hw_thermal_slowdown", "hw thermal slowdown"),
    ("hw_power_brake_slowdown", "hw power brake slowdown"),
    ("sync_boost", "sync boost"),
    ("sw_thermal_slowdown", "sw thermal slowdown"),
    ("display_clocks_setting", "display clock setting"),
)

_REASON_ROWS: tuple[_Row, ...] = tuple(
    (
        f"*reason.{reason}",
        None,
        ", ".join(f"clocks_{word}_reasons/clocks_{word}_reason_{reason}" for word in _REASON_WORDS),
        ", ".join(f"clocks {word} reasons/{text}" for word in _REASON_WORDS),
    )
    for reason, text in _REASONS
)

_HOST: tuple[_Row, ...] = (
    ("*timestamp", None, "timestamp", "timestamp"),
    ("driver.version", v.version, "driver_version", "driver version"),
    ("driver.kernel_version", v.version, "kmd_version", "kmd version"),
    ("driver.cuda_version", v.version, "cuda_version, cuda_umd_version",
     "cuda version, cuda umd version"),
    ("host.attached_gpu_count", v.count, "attached_gpus", "attached gpus"),
)  # fmt: skip

_DEVICE = (*_IDENTITY, *_PCI, *_QUANTITIES, *_ECC, *_HEALTH, *_REASON_ROWS)


@dataclass(slots=True)
class Node:
    """What one element or label holds.

    Attributes:
        path: XML path relative to the GPU (or document), for `Claim.call`.
        children: Nodes by element name.
        claims: Claim id (or special name) with its parser, for the text of this element.
        opens: Whether the element means something as soon as it begins.
        cache: Claims by GPU and text: equal cards in equal servers print equal values, and making
            claims is the dearest part of an import. None where a special name stands in `claims`.
    """

    path: str = ""
    children: dict[str, Node] = field(default_factory=dict)
    claims: list[tuple[str, Parser | None]] = field(default_factory=list)
    opens: bool = False
    cache: dict[tuple[int, str], tuple[Claim, ...]] | None = field(default_factory=dict)

    def below(self) -> Iterator[tuple[str, Parser | None]]:
        """Iterate over the claims of all nodes under this one."""
        for child in self.children.values():
            yield from child.claims
            yield from child.below()


def _tree(rows: tuple[_Row, ...]) -> Node:
    """Build the tree of XML elements."""
    root = Node()
    for claim, parser, paths, _ in rows:
        for path in filter(None, paths.split(", ")):
            node = root
            for tag in path.split("/"):
                node = node.children.setdefault(
                    tag, Node(path=f"{node.path}/{tag}" if node.path else tag)
                )
            if (claim, parser) not in node.claims:
                node.claims.append((claim, parser))
            if parser is None:
                node.cache = None
    return root


def _labels(rows: tuple[_Row, ...]) -> dict[str, Node]:
    """Build the table of text paths; groups stand in it too, without claims of their own."""
    table: dict[str, Node] = {}
    for claim, parser, _, paths in rows:
        for path in filter(None, paths.split(", ")):
            labels = path.split("/")
            for depth in range(1, len(labels) + 1):
                part = "/".join(labels[:depth])
                node = table.setdefault(part, Node(path=part))
                if depth > 1:
                    table["/".join(labels[: depth - 1])].children[labels[depth - 1]] = node
            if (claim, parser) not in table[path].claims:
                table[path].claims.append((claim, parser))
    return table


XML_DEVICE = _tree(_DEVICE)
XML_DOCUMENT = _tree(_HOST)
XML_DOCUMENT.children["gpu"] = XML_DEVICE
XML_DEVICE.opens = True
XML_DEVICE.children["supported_clocks"].opens = True
TEXT_DEVICE = _labels(_DEVICE)
TEXT_HOST = _labels(_HOST)
