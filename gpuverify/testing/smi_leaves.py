"""The leaves of the nvidia-smi document that a described card gives.

Element names and order are those of the nvsmi_device DTDs v12 (drivers 525 to 570) and v13 (from
580 on), as in public dumps.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpuverify.testing.cards import SyntheticCard

Leaf = tuple[str, str]
NONE = "N/A"
DEPRECATED = "Requested functionality has been deprecated"
_BRANDS = {1: "Quadro", 2: "Tesla", 5: "GeForce", 12: "Quadro RTX", 13: "NVIDIA RTX", 14: "NVIDIA",
           15: "GeForce RTX"}  # fmt: skip
_VIRTUALIZATION = {
    "none": "None", "pass-through": "Pass-Through", "vgpu": "VGPU", "host-vgpu": "Host VGPU",
    "host-vsga": "Host VSGA",
}  # fmt: skip
_OLD_LOCATIONS = (
    "device_memory", "register_file", "l1_cache", "l2_cache", "texture_memory", "texture_shm",
    "cbu", "total",
)  # fmt: skip


def _all(front: str, names: str, value: str) -> list[Leaf]:
    """Return leaves with one value.

    Args:
        front: Path in front.
        names: Names by blank.
        value: The value.
    """
    return [(f"{front}{name}", value) for name in names.split()]


def document_leaves(cards: Sequence[SyntheticCard], driver: str, cuda: int) -> list[Leaf]:
    """Return the leaves of the whole document.

    Args:
        cards: The machine's cards in bus order.
        driver: Driver version.
        cuda: CUDA version as NVML numbers it, e.g. 13000.
    """
    branch = int(driver.partition(".")[0])
    schema = 13 if branch >= 580 else 12 if branch >= 525 else 11
    leaves: list[Leaf] = [
        ("@doctype", f"nvsmi_device_v{schema}.dtd"),
        ("timestamp", "Sat Nov 21 12:00:00 2026"),
        ("driver_version", driver),
        ("cuda_version", f"{cuda // 1000}.{cuda % 1000 // 10}"),
        ("attached_gpus", str(len(cards))),
    ]
    for index, card in enumerate(cards):
        leaves += [(f"gpu[{index}]/{path}", value) for path, value in _card(card, driver, branch)]
    return leaves


def _card(card: SyntheticCard, driver: str, branch: int) -> list[Leaf]:
    """Return the leaves of one GPU, without the path's first part."""
    return [
        *_identity(card, driver, branch),
        *_pci(card),
        *_state(),
        *_memory(card, branch),
        *_ecc(card, branch),
        *_retired(card),
        *_remapped(card),
        *_temperature_and_power(card, branch),
        *_clocks(card, branch),
    ]


def _identity(card: SyntheticCard, driver: str, branch: int) -> list[Leaf]:
    """Return names, numbers and modes."""
    mig = "Disabled" if card.mig_profiles else NONE
    leaves = [
        ("@id", card.normal_bus_id),
        ("product_name", card.name),
        ("product_brand", _BRANDS.get(card.brand, "NVIDIA")),
        ("product_architecture", card.architecture),
        ("display_mode", DEPRECATED if branch >= 580 else "Enabled"),
        *([("display_attached", "No")] if branch >= 580 else []),
        ("display_active", "Disabled"),
        ("persistence_mode", "Enabled"),
        ("addressing_mode", "HMM"),
        *_all("mig_mode/", "current_mig pending_mig", mig),
        ("mig_devices", "None"),
        ("accounting_mode", "Disabled"),
        ("accounting_mode_buffer_size", "4000"),
        *_all("driver_model/", "current_dm pending_dm", NONE),
        ("serial", card.serial or NONE),
        ("uuid", card.uuid),
        *([("pdi", f"0x{card.pdi:016x}")] if branch >= 580 else []),
        ("minor_number", str(card.minor)),
        ("vbios_version", card.vbios),
        ("multigpu_board", "Yes" if card.multi_gpu_board else "No"),
        ("board_id", hex(int(card.bus_id.split(":")[1], 16) << 8)),
    ]
    if branch >= 525:
        leaves += [
            ("board_part_number", card.board_part_number or NONE),
            ("gpu_part_number", card.gpu_part_number or NONE),
            ("gpu_fru_part_number", NONE),
        ]
    else:
        # Up to 515 this field held the board's part number, and there was no other.
        leaves.append(("gpu_part_number", card.board_part_number or NONE))
    if branch >= 570:
        front = "platformInfo/"
        leaves += _all(
            front, "chassis_serial_number slot_number tray_index host_id peer_type", NONE
        )
        leaves += [(f"{front}module_id", str(card.module_id)), (f"{front}gpu_fabric_guid", NONE)]
    leaves += [
        ("inforom_version/img_version", card.inforom_image or NONE),
        ("inforom_version/oem_object", card.inforom_oem or NONE),
        ("inforom_version/ecc_object", card.inforom_ecc or NONE),
        ("inforom_version/pwr_object", NONE),
        *_all("inforom_bbx_flush/", "latest_timestamp latest_duration", NONE),
        *_all("gpu_operation_mode/", "current_gom pending_gom", NONE),
        ("c2c_mode", NONE),
        ("gpu_virtualization_mode/virtualization_mode", _VIRTUALIZATION[card.virtualization]),
        *_all("gpu_virtualization_mode/", "host_vgpu_mode vgpu_heterogeneous_mode", NONE),
        ("gpu_recovery_action", "None"),
        ("gsp_firmware_version", driver if card.splits_sram else NONE),
        ("ibmnpu/relaxed_ordering_mode", NONE),
    ]
    return leaves


def _pci(card: SyntheticCard) -> list[Leaf]:
    """Return PCI identity and link."""
    domain, bus, rest = card.bus_id.split(":")
    generation = str(card.pcie_generation)
    sub = f"{card.subsystem_device_id:04X}{card.subsystem_vendor_id:04X}"
    link = "pci_gpu_link_info/"
    leaves = [
        ("pci_bus", bus.upper()),
        ("pci_device", rest.partition(".")[0]),
        ("pci_domain", domain),
        ("pci_base_class", f"{card.class_code >> 16:x}"),
        ("pci_sub_class", f"{(card.class_code >> 8) & 0xFF:x}"),
        ("pci_device_id", f"{card.device_id:04X}10DE"),
        ("pci_bus_id", card.normal_bus_id),
        ("pci_sub_system_id", sub),
        *_all(
            f"{link}pcie_gen/",
            "max_link_gen current_link_gen device_current_link_gen max_device_link_gen",
            generation,
        ),
        (f"{link}pcie_gen/max_host_link_gen", NONE),
        *_all(f"{link}link_widths/", "max_link_width current_link_width", f"{card.pcie_width}x"),
        *_all("pci_bridge_chip/", "bridge_chip_type bridge_chip_fw", NONE),
        *_all("", "replay_counter replay_rollover_counter", "0"),
        ("tx_util", "350 KB/s"),
        ("rx_util", "300 KB/s"),
        *_all("", "atomic_caps_outbound atomic_caps_inbound", NONE),
    ]
    return [(f"pci/{path}", value) for path, value in leaves]


def _state() -> list[Leaf]:
    """Return what changes all the time."""
    front = "clocks_event_reasons/clocks_event_reason_"
    rest = (
        "applications_clocks_setting sw_power_cap hw_slowdown hw_thermal_slowdown "
        "hw_power_brake_slowdown sync_boost sw_thermal_slowdown display_clocks_setting"
    )
    return [
        ("fan_speed", NONE),
        ("performance_state", "P0"),
        (f"{front}gpu_idle", "Active"),
        *_all(front, rest, "Not Active"),
        ("sparse_operation_mode", NONE),
    ]


def _memory(card: SyntheticCard, branch: int) -> list[Leaf]:
    """Return memory sizes."""
    free = card.memory_mib - card.reserved_mib
    return [
        ("fb_memory_usage/total", f"{card.memory_mib} MiB"),
        *([("fb_memory_usage/reserved", f"{card.reserved_mib} MiB")] if branch >= 510 else []),
        ("fb_memory_usage/used", "0 MiB"),
        ("fb_memory_usage/free", f"{free} MiB"),
        ("bar1_memory_usage/total", f"{card.bar1_mib} MiB"),
        ("bar1_memory_usage/used", "1 MiB"),
        ("bar1_memory_usage/free", f"{card.bar1_mib - 1} MiB"),
        *_all("cc_protected_memory_usage/", "total used free", "0 MiB"),
        ("compute_mode", "Default"),
        *_all(
            "utilization/",
            "gpu_util memory_util encoder_util decoder_util jpeg_util ofa_util",
            "0 %",
        ),
        *_all("encoder_stats/", "session_count average_fps average_latency", "0"),
        *_all("fbc_stats/", "session_count average_fps average_latency", "0"),
        *_all("dram_encryption_mode/", "current_dram_encryption pending_dram_encryption", NONE),
    ]


def _ecc(card: SyntheticCard, branch: int) -> list[Leaf]:
    """Return ECC mode and counters in the layout of architecture and driver."""
    mode = NONE if card.ecc is None else ("Enabled" if card.ecc else "Disabled")
    zero = "0" if card.ecc else NONE
    leaves = _all("ecc_mode/", "current_ecc pending_ecc", mode)
    for span in ("volatile", "aggregate"):
        front = f"ecc_errors/{span}/"
        if not card.splits_sram:
            for bit in ("single_bit", "double_bit"):
                leaves += _all(f"{front}{bit}/", " ".join(_OLD_LOCATIONS), zero)
            continue
        if card.architecture == "Turing":
            names = "sram_correctable sram_uncorrectable dram_correctable dram_uncorrectable"
        else:
            names = (
                "sram_correctable sram_uncorrectable_parity sram_uncorrectable_secded "
                "dram_correctable dram_uncorrectable"
            )
        leaves += _all(front, names, zero)
        if span == "aggregate" and card.architecture != "Turing":
            leaves.append((f"{front}sram_threshold_exceeded", "No" if card.ecc else NONE))
    if card.splits_sram and card.architecture != "Turing":
        sources = "sram_l2 sram_sm sram_microcontroller sram_pcie sram_other"
        leaves += _all("ecc_errors/aggregate_uncorrectable_sram_sources/", sources, zero)
    if branch >= 580:
        pending = "No" if card.remap_banks else NONE
        leaves += _all("ecc_errors/", "channel_repair_pending tpc_repair_pending", pending)
    return leaves


def _retired(card: SyntheticCard) -> list[Leaf]:
    """Return retired pages."""
    count = "0" if card.page_retirement else NONE
    pages = "" if card.page_retirement else NONE
    leaves: list[Leaf] = []
    for kind in ("multiple_single_bit_retirement", "double_bit_retirement"):
        leaves += [
            (f"retired_pages/{kind}/retired_count", count),
            (f"retired_pages/{kind}/retired_pagelist", pages),
        ]
    pending = "No" if card.page_retirement else NONE
    return leaves + _all("retired_pages/", "pending_blacklist pending_retirement", pending)


def _remapped(card: SyntheticCard) -> list[Leaf]:
    """Return remapped rows."""
    if not card.remap_banks:
        return [("remapped_rows", NONE)]
    spent = 1 if any(card.remapped) else 0
    front = "remapped_rows/row_remapper_histogram/row_remapper_histogram_"
    return [
        ("remapped_rows/remapped_row_corr", str(card.remapped[0])),
        ("remapped_rows/remapped_row_unc", str(card.remapped[1])),
        ("remapped_rows/remapped_row_pending", "No"),
        ("remapped_rows/remapped_row_failure", "No"),
        (f"{front}max", f"{card.remap_banks - spent} bank(s)"),
        (f"{front}high", f"{spent} bank(s)"),
        *_all(front, "partial low none", "0 bank(s)"),
    ]


def _watts(watts: int) -> str:
    """Write a power limit; 0 is a card without one."""
    return f"{watts}.00 W" if watts else NONE


def _temperature_and_power(card: SyntheticCard, branch: int) -> list[Leaf]:
    """Return temperatures and power."""
    draw = card.power_default_w * 130 + 7
    shown = f"{draw / 1000:.2f} W" if card.power_default_w else NONE
    limit = _watts(card.power_default_w)
    low, high = _watts(card.power_min_w if card.power_default_w else 0), _watts(card.power_max_w)
    leaves = [
        ("temperature/gpu_temp", "33 C"),
        ("temperature/gpu_temp_tlimit", NONE),
        ("temperature/memory_temp", "36 C" if card.remap_banks >= 192 else NONE),
    ]
    if branch < 535:
        front = "power_readings/"
        now = "power_limit default_power_limit enforced_power_limit"
        leaves += [(f"{front}power_state", "P0"), (f"{front}power_draw", shown)]
    else:
        front = "gpu_power_readings/"
        now = "current_power_limit requested_power_limit default_power_limit"
        leaves += [
            (f"{front}{'power_state' if branch < 590 else 'performance_state'}", "P0"),
            (f"{front}average_power_draw", NONE),
            (f"{front}instant_power_draw", shown),
        ]
    leaves += _all(front, now, limit)
    leaves += [(f"{front}min_power_limit", low), (f"{front}max_power_limit", high)]
    if branch < 535:
        return leaves
    module = (
        "average_power_draw instant_power_draw current_power_limit requested_power_limit "
        "default_power_limit min_power_limit max_power_limit"
    )
    return leaves + _all("module_power_readings/", module, NONE)


def _clocks(card: SyntheticCard, branch: int) -> list[Leaf]:
    """Return clocks and what stands behind them."""
    highest, memory = f"{card.graphics_mhz} MHz", f"{card.memory_mhz} MHz"
    applications = DEPRECATED if branch >= 590 else None
    leaves = [
        *_all("clocks/", "graphics_clock sm_clock", "210 MHz"),
        ("clocks/mem_clock", memory),
        ("clocks/video_clock", "585 MHz"),
    ]
    for group in ("applications_clocks", "default_applications_clocks"):
        leaves += [
            (f"{group}/graphics_clock", applications or highest),
            (f"{group}/mem_clock", applications or memory),
        ]
    leaves += [
        ("deferred_clocks/mem_clock", NONE),
        *_all("max_clocks/", "graphics_clock sm_clock", highest),
        ("max_clocks/mem_clock", memory),
        ("max_clocks/video_clock", f"{card.video_mhz} MHz"),
        ("max_customer_boost_clocks/graphics_clock", highest),
        *_all("clock_policy/", "auto_boost auto_boost_default", NONE),
        *_all("fabric/", "state status cliqueId clusterUuid", NONE),
        ("processes", ""),
        ("accounted_processes", ""),
    ]
    return leaves
