"""Evidence that triggers a code and its near miss: identity, capacity, part numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpuverify.model.claims import ClaimStatus
from gpuverify.model.sale import Condition

MIB = 1024 * 1024
HOUR = 3600
R550 = {"nvml:driver.version": "550.54.14"}
NEW = {"condition": Condition.NEW}
LOG = {"imported": True}


NOTHING: dict[str, Any] = {}


class Case(NamedTuple):
    """What triggers a code, and what resembles it and must not."""

    rule: str
    code: str
    lie: dict[str, Any]
    honest: dict[str, Any]
    host: dict[str, Any] = NOTHING
    honest_host: dict[str, Any] | None = None
    options: dict[str, Any] = NOTHING
    honest_options: dict[str, Any] | None = None


def ids(device: int, sub: int, speaker: str = "nvml", vendor: int = 0x10DE) -> dict[str, Any]:
    return {
        f"{speaker}:pci.device_id": device,
        f"{speaker}:pci.subsystem_vendor_id": vendor,
        f"{speaker}:pci.subsystem_device_id": sub,
    }


def listed(rule: str, claim: str, wrong: Any, unseen: Any) -> list[Case]:
    """A value of another product contradicts live, warns in a log; one never seen does neither."""
    speaker = "smi:" if claim == "gpu.gpu_part_number" else "nvml:"
    return [
        Case(rule, "other-product", {speaker + claim: wrong}, {speaker + claim: unseen}),
        Case(
            rule,
            "other-product-in-log",
            {"smi:" + claim: wrong},
            {"smi:" + claim: unseen},
            options=LOG,
        ),
    ]


def histogram(high: int) -> dict[str, Any]:
    names = ("max", "high", "partial", "low", "none")
    return {f"nvml:remap.histogram_{n}": v for n, v in zip(names, (high, 7, 5, 0, 0), strict=True)}


VIRTUAL = {"nvml:gpu.virtualization_mode": "pass-through"}
ANSWERS = {"nvml:gpu.uuid": "GPU-1"}
BEHIND = {"pci:pci.device_id": 0x20B2, "pci:pci.driver": "nvidia",
          "procfs:device_node.present": True}  # fmt: skip
SEEN = {"procfs:driver.kernel_version": "550.54.14", "pci:host.pci_gpu_count": 1}

CASES: list[Case] = [
    # -- product
    Case("identity.product", "other-product", ids(0x20B0, 0x134F), ids(0x20B2, 0x9999)),
    Case(
        "identity.product", "other-product", ids(0x20F3, 0x1111), ids(0x20B2, 0x147F, vendor=0x1028)
    ),
    Case(
        "identity.product", "other-product", ids(0x20C2, 0x1585), ids(0x20B2, 0x1625), options=LOG
    ),
    Case("identity.product", "other-product", ids(0x20B0, 0x134F), ids(0x2FFF, 0x134F)),
    Case(
        "identity.whole-card",
        "slice",
        {"smi:gpu.virtualization_mode": "vgpu"},
        {"smi:gpu.virtualization_mode": "pass-through", "smi:mig.mode_current": True},
    ),
    Case(
        "identity.whole-card",
        "slice",
        {"smi:mig.is_slice": True},
        {"smi:mig.is_slice": False, "smi:gpu.virtualization_mode": "none"},
        options=LOG,
    ),
    Case(
        "identity.pci-cross-check",
        "differs",
        ids(0x20B2, 0x147F) | ids(0x20B0, 0x134F, "pci"),
        ids(0x20B2, 0x147F) | ids(0x20B2, 0x147F, "pci"),
    ),
    Case(
        "identity.pci-cross-check",
        "differs",
        ids(0x20B2, 0x147F) | ids(0x20B2, 0x147F, "pci") | {"pci:pci.attribute.device_id": 0x20B0},
        ids(0x20B2, 0x147F) | {"pci:pci.attribute.device_id": 0x20B0},
    ),
    Case(
        "identity.kernel-cross-check",
        "differs",
        {"nvml:gpu.vbios_version": "92.00.45.00.05", "procfs:gpu.vbios_version": "92.00.19.00.10"},
        {
            "nvml:gpu.name": "NVIDIA A100-X",
            "procfs:gpu.name": "A100-X",
            "nvml:gpu.vbios_version": "92.00.45.00.05",
            "procfs:gpu.vbios_version": "??.??.??.??.??",
        },
    ),
    Case(
        "identity.name",
        "other-product",
        ids(0x20B0, 0x134F) | {"nvml:gpu.name": "NVIDIA A100-SXM4-40GB"},
        ids(0x20B0, 0x134F) | {"nvml:gpu.name": "NVIDIA Odd Name"},
    ),
    Case(
        "identity.name",
        "other-name",
        ids(0x20B2, 0x147F) | {"nvml:gpu.name": "NVIDIA A800-SXM4-80GB"},
        ids(0x20B2, 0x147F) | {"nvml:gpu.name": "NVIDIA Graphics Device"},
    ),
    # -- lists of values
    *listed("identity.core-count", "gpu.core_count", 4480, 6911),
    *listed("identity.bus-width", "memory.bus_width_bits", 4096, 5119),
    *listed("identity.memory-clock", "clock.memory_max_khz", 1_215_000, 1_597_000),
    *listed("identity.sm-clock", "clock.sm_max_khz", 1_605_000, 1_400_000),
    *listed("identity.compute-capability", "gpu.compute_capability", "8.9", "9.9"),
    *listed(
        "identity.mig-profiles", "mig.profiles", "1g.10gb:9856:14:4,7g.40gb:40192:98:1", "7g.79gb"
    ),
    *listed("lattice.inforom-sku", "inforom.image_version", "G506.0200.00.04", "G506.0299.00.04"),
    *listed("lattice.chip-sku", "gpu.gpu_part_number", "20B0-884-A1", "20B2-899-A1"),
    Case("identity.bank-histogram", "other-product", histogram(500), histogram(501)),
    Case(
        "identity.bank-histogram",
        "other-product-in-log",
        histogram(500),
        histogram(501),
        options=LOG,
    ),
    Case(
        "identity.bar1",
        "other-product",
        {"pci:pci.bar1_max_bytes": 65536 * MIB},
        {"nvml:pci.bar1_bytes": 256 * MIB},
    ),
    Case(
        "identity.bar1",
        "other-product-in-log",
        {"smi:pci.bar1_bytes": 262144 * MIB},
        {"smi:pci.bar1_bytes": 65536 * MIB},
        options=LOG,
    ),
    *[
        Case(
            "identity.vbios-family",
            code,
            {"smi:gpu.vbios_version": wrong},
            {"smi:gpu.vbios_version": "92.99.99.99.99"},
            options=options,
        )
        for code, options in (("other-chip", {}), ("other-chip-in-log", LOG))
        for wrong in ("94.02.5C.00.03", "96.00.74.00.01", "88.00.4F.00.09")
    ],
    *[
        Case(
            "identity.architecture",
            code,
            {"smi:gpu.architecture": "Hopper"},
            {"smi:gpu.architecture": unknown},
            options=options,
        )
        for code, options in (("other-chip", {}), ("other-chip-in-log", LOG))
        for unknown in ("Ampere", "Rubin")
    ],
    Case(
        "ecc.capability",
        "lacking",
        {"nvml:ecc.mode_current": None},
        {"nvml:ecc.mode_current": False, "nvml:inforom.ecc_object": "6.16"},
    ),
    Case(
        "ecc.capability",
        "lacking",
        {"nvml:ecc.mode_current": True, "nvml:inforom.ecc_object": None},
        {"nvml:ecc.mode_current": None, "nvml:gpu.virtualization_mode": "vgpu"},
    ),
    # -- capacity
    Case(
        "capacity.total",
        "wrong-class",
        {"nvml:memory.total_bytes": 40960 * MIB},
        {"nvml:memory.total_bytes": 81559 * MIB},
        host=R550,
    ),
    Case(
        "capacity.total",
        "wrong-class",
        {"smi:memory.total_bytes": 40536 * MIB, "smi:mig.mode_current": False},
        {"smi:memory.total_bytes": 81252 * MIB, "smi:mig.mode_current": False},
        host={"smi:driver.version": "460.32.03"},
        options=LOG,
    ),
    Case(
        "capacity.total",
        "wrong-class",
        {"smi:memory.total_bytes": 40960 * MIB, "smi:mig.mode_current": False},
        {"smi:memory.total_bytes": 40960 * MIB, "smi:mig.mode_current": True},
        host={"smi:driver.version": "550.54"},
        options=LOG,
    ),
    Case(
        "capacity.total",
        "wrong-class",
        {"nvml:memory.total_bytes": 40960 * MIB},
        {"nvml:memory.total_bytes": 40960 * MIB},
        host=R550,
        honest_host={},
    ),
    Case(
        "capacity.reserved",
        "inflated",
        {"nvml:memory.reserved_bytes": 9000 * MIB},
        {"nvml:memory.reserved_bytes": 1536 * MIB},
    ),
    *[
        Case(
            "capacity.total",
            code,
            {"smi:memory.total_bytes": 95830 * MIB},
            {"smi:memory.total_bytes": 97500 * MIB},
            host=R550,
            options={**options, "sold": "h96"},
        )
        for code, options in (("other-product", {}), ("other-product-in-log", LOG))
    ],
    # -- lattice
    Case(
        "lattice.gpu-part-number-device",
        "differs",
        {"smi:gpu.gpu_part_number": "20B2-895-A1", "nvml:pci.device_id": 0x20B0},
        {"smi:gpu.gpu_part_number": "692-2G506-0210-002", "nvml:pci.device_id": 0x20B0},
    ),
    Case(
        "lattice.board-project",
        "differs",
        {
            "nvml:gpu.board_part_number": "692-2G506-0210-002",
            "nvml:inforom.image_version": "G520.0210.00.01",
        },
        {
            "nvml:gpu.board_part_number": "900-1G136-2530-000",
            "nvml:inforom.image_version": "G001.0000.03.03",
        },
    ),
    Case(
        "lattice.board-sku",
        "differs",
        {
            "nvml:gpu.board_part_number": "692-2G506-0210-002",
            "nvml:inforom.image_version": "G506.0200.00.01",
        },
        {
            "nvml:gpu.board_part_number": "900-2G506-0210-002",
            "nvml:inforom.image_version": "G506.0200.00.01",
        },
    ),
    Case(
        "lattice.segment",
        "differs",
        {"nvml:gpu.board_part_number": "900-11001-0108-000"},
        {"nvml:gpu.board_part_number": "965-2G506-A800-000"},
    ),
    Case(
        "identity.core-count",
        "needed",
        {"nvml:gpu.core_count": None},
        {"nvml:gpu.core_count": 16384},
        host=R550,
        options={"sold": "rtx", "neighbours": ("rtx-d",)},
    ),
    # -- links
    Case(
        "link.count",
        "fewer",
        {"nvml:nvlink.link_count": 8},
        {"nvml:nvlink.link_count": 12, "nvml:nvlink.active_count": 0},
    ),
    Case(
        "link.count",
        "fewer",
        {"nvml:nvlink.link_count": 8},
        {"nvml:nvlink.link_count": 8, **VIRTUAL},
    ),
    Case(
        "link.count",
        "fewer-but-hidden",
        {"nvml:nvlink.link_count": 8, "nvml:mig.mode_current": True},
        {"nvml:nvlink.link_count": 12, "nvml:mig.mode_current": True},
    ),
    Case(
        "link.count",
        "needed",
        {"nvml:nvlink.link_count": None},
        {"nvml:nvlink.link_count": 12},
        options={"neighbours": ("a100-40", "a800", "cmp")},
    ),
    Case(
        "link.count",
        "fewer-in-log",
        {"smi:nvlink.link_count": 8},
        {"smi:nvlink.link_count": 13},
        options=LOG,
    ),
    # -- condition
    Case(
        "condition.row-remap",
        "failure",
        {"nvml:remap.failure": True},
        {"nvml:remap.failure": False, "nvml:remap.correctable_count": 2},
    ),
    Case(
        "condition.row-remap",
        "pending",
        {"nvml:remap.pending": True},
        {"nvml:remap.pending": False, "nvml:remap.correctable_count": 1},
    ),
    Case(
        "condition.row-remap",
        "uncorrectable",
        {"nvml:remap.uncorrectable_count": 4},
        {"nvml:remap.uncorrectable_count": 0},
    ),
    Case("condition.spare-rows", "low", {"nvml:remap.histogram_low": 3}, histogram(628)),
    Case("condition.spare-rows", "exhausted", {"nvml:remap.histogram_none": 1}, histogram(628)),
    Case(
        "condition.retired-pages",
        "retired",
        {"nvml:retired.double_bit_count": 2},
        {"nvml:retired.single_bit_count": 0, "nvml:retired.double_bit_count": 0},
        options={"sold": "k80"},
    ),
    Case(
        "condition.retired-pages",
        "limit-reached",
        {"nvml:retired.single_bit_count": 61, "nvml:retired.double_bit_count": 3},
        {"nvml:retired.single_bit_count": 60, "nvml:retired.double_bit_count": 3},
        options={"sold": "k80"},
    ),
    Case(
        "condition.retired-pages",
        "pending",
        {"nvml:retired.pending": True},
        {"nvml:retired.pending": False},
        options={"sold": "k80"},
    ),
    Case(
        "condition.sram-threshold",
        "exceeded",
        {"nvml:ecc.sram_threshold_exceeded": True},
        {"nvml:ecc.sram_threshold_exceeded": False},
    ),
    Case(
        "condition.ecc-errors",
        "uncorrectable",
        {"nvml:ecc.aggregate.dram_uncorrectable": 5},
        {"nvml:ecc.aggregate.dram_correctable": 177},
    ),
    Case(
        "condition.inforom",
        "corrupted",
        {"nvml:inforom.valid": False},
        {"nvml:inforom.valid": True},
    ),
    Case(
        "condition.inforom",
        "corrupted",
        {"smi:pci.bus_id": "00000008:00:00.0"},
        {"smi:pci.bus_id": "00000007:00:00.0"},
        host={"smi:host.inforom_warnings": "0008:00:00.0"},
        options=LOG,
    ),
    Case(
        "condition.device-lost",
        "lost",
        {"nvml:gpu.serial": ClaimStatus.DEVICE_LOST},
        {"nvml:gpu.serial": None, "nvml:gpu.name": "X"},
    ),
    Case(
        "condition.device-lost",
        "lost",
        {"nvml:gpu.responding": False},
        {"nvml:gpu.responding": True},
    ),
    Case(
        "condition.device-lost",
        "lost",
        {"smi:pci.bus_id": "00000000:05:00.0"},
        {"smi:pci.bus_id": "00000000:06:00.0"},
        host={"smi:host.lost_devices": "00000000:05:00.0"},
        options=LOG,
    ),
    Case(
        "condition.repairs",
        "pending",
        {"nvml:repair.channel_pending": True},
        {"nvml:repair.channel_pending": False},
    ),
    Case(
        "condition.repairs",
        "unrepairable",
        {"nvml:repair.unrepairable_memory": True},
        {"nvml:repair.unrepairable_memory": False},
    ),
    Case(
        "condition.repairs",
        "bank-remap-failure",
        {"nvml:repair.bank_remap_failure": True},
        {"nvml:repair.bank_remap_pending": False},
    ),
    Case(
        "condition.recovery",
        "asked",
        {"nvml:gpu.recovery_action": "gpu-reset"},
        {"nvml:gpu.recovery_action": "None"},
    ),
    Case(
        "condition.recovery",
        "asked",
        {"nvml:gpu.reset_required": True},
        {"nvml:gpu.reset_required": False},
    ),
    Case("condition.fan", "error", {"smi:gpu.fan_error": True}, {"smi:gpu.fan_error": False}),
    # -- history
]
