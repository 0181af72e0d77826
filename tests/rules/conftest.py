"""A bench for rules: a handful of products, and subjects made from dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.finding import Finding, Rule
from gpuverify.model.policy import Thresholds
from gpuverify.model.product import (
    Grade,
    MatchState,
    PciIdentity,
    Product,
    ProductStatus,
    Recognition,
    ReferenceValue,
)
from gpuverify.model.sale import Condition, SaleItem
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.rules import RULES

MIB = 1024 * 1024
NOW_MS = 1_790_000_000_000  # September 2026
DATACENTER = frozenset({"datacenter", "ecc", "inforom", "gpu-part-number", "row-remap", "mig"})


def value(field: str, content: Value, **bounds: Any) -> ReferenceValue:
    return ReferenceValue(
        field=field,
        value=content,
        grade=Grade.RECORDING,
        source="bench",
        locator=f"row {field}",
        **bounds,
    )


def product(identity: str, pci: list[tuple[int, int | None]], **options: Any) -> Product:
    values = [
        content if isinstance(content, ReferenceValue) else value(field, content)
        for field, contents in options.pop("values", {}).items()
        for content in (contents if isinstance(contents, list) else [contents])
    ]
    base: dict[str, Any] = {
        "id": identity,
        "name": f"Card {identity}",
        "aliases": (),
        "family": "bench",
        "architecture": "Ampere",
        "chip": "GA100",
        "form": "sxm",
        "status": ProductStatus.RETAIL,
        "traits": DATACENTER | {"nvlink"},
        "memory_labels": ("80GB",),
    }
    base.update(options)
    return Product(
        pci=tuple(
            PciIdentity(
                device_id=device,
                subsystem_vendor_id=None if sub is None else 0x10DE,
                subsystem_device_id=sub,
            )
            for device, sub in pci
        ),
        values=tuple(values),
        **base,
    )


SXM80 = {
    "gpu.name": "NVIDIA A100-SXM4-80GB",
    "gpu.core_count": 6912,
    "gpu.sm_count": 108,
    "l2.size_bytes": 40 * MIB,
    "gpu.compute_capability": "8.0",
    "memory.total_mib": value("memory.total_mib", 81920, driver_min=510),
    "memory.nominal_mib": 81920,
    "memory.reserved_mib": [763, 869],
    "memory.bus_width_bits": 5120,
    "clock.memory_max_mhz": 1593,
    "clock.sm_max_mhz": 1410,
    "pci.bar1_mib": 131072,
    "pci.bar1_max_mib": 131072,
    "pci.link_generation_max": 4,
    "pci.link_width_max": 16,
    "power.limit_default_w": [400, 500],
    "gpu.vbios_version": "92.00.45.00.05",
    "gpu.board_part_number": "692-2G506-0210-002",
    "board.sku": "692-2G506-0210",
    "inforom.sku": "G506.0210",
    "gpu.chip_sku": "20B2-895",
    "remap.bank_count": 640,
    "nvlink.link_count": 12,
    "nvlink.link_speed_kb_s": 25_000_000,
    "mig.profile": ["1g.10gb", "7g.80gb"],
    "launch.date": "2020-11-16",
}
SXM40 = {
    **SXM80,
    "gpu.name": "NVIDIA A100-SXM4-40GB",
    "memory.total_mib": value("memory.total_mib", 40960, driver_min=510),
    "memory.nominal_mib": 40960,
    "clock.memory_max_mhz": 1215,
    "pci.bar1_mib": 65536,
    "pci.bar1_max_mib": 65536,
    "gpu.board_part_number": "692-2G506-0200-003",
    "board.sku": "692-2G506-0200",
    "inforom.sku": "G506.0200",
    "gpu.chip_sku": "20B0-884",
    "mig.profile": ["1g.5gb", "1g.10gb", "7g.40gb"],
}
PRODUCTS = {
    p.id: p
    for p in (
        product("a100-80", [(0x20B2, 0x147F)], values=SXM80, neighbours=("a100-40", "a800", "cmp")),
        product("a100-40", [(0x20B0, 0x134F)], values=SXM40, memory_labels=("40GB",)),
        product(
            "a800",
            [(0x20F3, 0x179B)],
            values={**SXM80, "gpu.name": "NVIDIA A800-SXM4-80GB", "nvlink.link_count": 8},
        ),
        product(
            "pg509",
            [(0x20B2, 0x1625)],
            values={"gpu.name": "NVIDIA PG509-210", "sold_as.source": "a100-80"},
            sold_as=("a100-80",),
            status=ProductStatus.HYPERSCALER,
        ),
        product(
            "cmp",
            [(0x20C2, 0x1585)],
            traits=frozenset(),
            form="pcie",
            status=ProductStatus.MINING,
            values={
                "gpu.name": "NVIDIA Graphics Device",
                "gpu.core_count": 4480,
                "gpu.sm_count": 70,
                "memory.bus_width_bits": 4096,
                "memory.nominal_mib": 8192,
                "inforom.sku": "1001.0105",
                "gpu.chip_sku": "20C2-105",
                "remap.bank_count": 512,
                "gpu.compute_capability": "8.9",
                "clock.sm_max_mhz": 1605,
                "nvlink.link_speed_kb_s": 19_000_000,
            },
        ),
        product(
            "h94",
            [(0x2339, 0x17D9)],
            chip="GH100",
            architecture="Hopper",
            values={
                "memory.total_mib": value("memory.total_mib", 95830, driver_min=510),
                "memory.nominal_mib": 96256,
            },
        ),
        product(
            "h96",
            [(0x2338, 0x16F6)],
            chip="GH100",
            architecture="Hopper",
            values={
                "memory.total_mib": value("memory.total_mib", 97871, driver_min=510),
                "memory.nominal_mib": 98304,
            },
        ),
        product(
            "k80",
            [(0x102D, 0x106C)],
            architecture="Kepler",
            chip="GK210",
            form="pcie",
            gpus_per_board=2,
            memory_labels=("12GB",),
            board_memory_labels=("24GB",),
            traits=frozenset({"datacenter", "ecc", "page-retirement", "shared-serial"}),
            values={"memory.nominal_mib": 12288, "launch.date": "2014-11-17"},
        ),
        product(
            "rtx",
            [(0x2684, None)],
            architecture="Ada Lovelace",
            chip="AD102",
            form="consumer",
            traits=frozenset(),
            values={
                "memory.total_mib": [
                    value("memory.total_mib", 24564, driver_min=510, ecc=False),
                    value("memory.total_mib", 23028, driver_min=510, ecc=True),
                ],
                "memory.nominal_mib": 24576,
                "clock.memory_max_mhz": 10501,
                "gpu.core_count": 16384,
            },
        ),
        product(
            "rtx-d",
            [(0x2685, None)],
            architecture="Ada Lovelace",
            chip="AD102",
            form="consumer",
            traits=frozenset(),
            values={"clock.memory_max_mhz": 10251, "gpu.core_count": 14592},
        ),
        product(
            "work",
            [(0x2230, 0x1459)],
            chip="GA102",
            form="workstation",
            traits=frozenset({"ecc", "row-remap", "nvlink-bridge"}),
            cooling="active",
            values={"memory.nominal_mib": 49152},
        ),
    )
}

MEASURED: dict[str, Any] = {
    "cuda:gpu.name": "NVIDIA A100-SXM4-80GB",
    "cuda:gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52",
    "cuda:pci.bus_id": "00000000:07:00.0",
    "cuda:gpu.compute_capability": "8.0",
    "cuda:gpu.sm_count": 108,
    "cuda:l2.size_bytes": 40 * MIB,
    "cuda:memory.total_bytes": (81920 - 801) * MIB,
    "cuda:memory.bus_width_bits": 5120,
    "cuda:clock.memory_max_khz": 1_593_000,
    "cuda:clock.sm_max_khz": 1_410_000,
    "cuda:cuda.driver_version": 12040,
    "cuda:cuda.status": "ok",
    "measured:measure.state": "done",
    "measured:measure.foreign_processes": 0,
    "measured:measure.attributed": True,
    "measured:capacity.class": "whole",
    "measured:capacity.claimed_bytes": (81920 - 801) * MIB,
    "measured:capacity.allocated_bytes": 80640 * MIB,
    "measured:capacity.tested_bytes": 80512 * MIB,
    "measured:capacity.bad_cell_count": 0,
    "measured:capacity.digest": "c5" * 32,
    "measured:capacity.detectors": "",
    "measured:fingerprint.valid": True,
    "measured:fingerprint.sm_count": 108,
    "measured:fingerprint.sm_clock_khz": 1_403_000,
    "measured:fingerprint.clock_agreement_ppm": 1200,
    "measured:fingerprint.fp32_fma_milliops": 63_700,
    "measured:fingerprint.fp64_fma_milliops": 31_900,
    "measured:fingerprint.int_mad_milliops": 63_100,
    "measured:fingerprint.memory_read_kb_s": 1_771_000_000,
    "measured:fingerprint.memory_write_kb_s": 1_869_000_000,
    "measured:fingerprint.l2_step_bytes": 24 * MIB,
    "measured:fingerprint.peer_kb_s": 274_000_000,
    "measured:fingerprint.pcie_h2d_kb_s": 25_700_000,
    "measured:pcie.loaded_generation": 4,
    "measured:pcie.loaded_width": 16,
    "measured:fingerprint.power_peak_mw": 391_000,
    "measured:fingerprint.temperature_peak_celsius": 67,
    "measured:fingerprint.throttle_reasons": "sw_power_cap",
}
HONEST: dict[str, Any] = {
    "nvml:gpu.name": "NVIDIA A100-SXM4-80GB",
    "nvml:gpu.architecture": "Ampere",
    "nvml:gpu.compute_capability": "8.0",
    "nvml:gpu.serial": "1652823055647",
    "nvml:gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52",
    "nvml:gpu.pdi": "0x1A2B3C4D5E6F7081",
    "nvml:gpu.vbios_version": "92.00.45.00.05",
    "nvml:gpu.board_part_number": "692-2G506-0210-002",
    "smi:gpu.gpu_part_number": "20B2-895-A1",
    "smi:gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52",
    "smi:gpu.name": "NVIDIA A100-SXM4-80GB",
    "smi:gpu.serial": "1652823055647",
    "smi:gpu.vbios_version": "92.00.45.00.05",
    "smi:inforom.image_version": "G506.0210.00.03",
    "smi:pci.device_id": 0x20B2,
    "smi:pci.subsystem_vendor_id": 0x10DE,
    "smi:pci.subsystem_device_id": 0x147F,
    "smi:memory.total_bytes": 81920 * MIB,
    "smi:clock.memory_max_khz": 1_593_000,
    "smi:gpu.fan_error": False,
    "nvml:inforom.image_version": "G506.0210.00.03",
    "nvml:inforom.oem_object": "2.0",
    "nvml:inforom.ecc_object": "6.16",
    "nvml:inforom.valid": True,
    "nvml:inforom.bbx_time_run_s": 93 * 3600,
    "nvml:gpu.core_count": 6912,
    "nvml:gpu.virtualization_mode": "none",
    "nvml:gpu.recovery_action": "none",
    "nvml:gpu.responding": True,
    "nvml:gpu.listed_by_nvml": True,
    "nvml:pci.bus_id": "00000000:07:00.0",
    "nvml:pci.device_id": 0x20B2,
    "nvml:pci.subsystem_vendor_id": 0x10DE,
    "nvml:pci.subsystem_device_id": 0x147F,
    "pci:pci.bus_id": "00000000:07:00.0",
    "pci:pci.device_id": 0x20B2,
    "pci:pci.subsystem_vendor_id": 0x10DE,
    "pci:pci.subsystem_device_id": 0x147F,
    "pci:pci.attribute.device_id": 0x20B2,
    "pci:pci.attribute.subsystem_vendor_id": 0x10DE,
    "pci:pci.attribute.subsystem_device_id": 0x147F,
    "pci:pci.attribute.modalias": "pci:v000010DEd000020B2sv000010DEsd0000147Fbc03sc02i00",
    "pci:pci.driver": "nvidia",
    "pci:pci.bar1_max_bytes": 131072 * MIB,
    "pci:pci.link_generation_device_max": 4,
    "pci:pci.link_generation_max": 3,
    "pci:pci.link_width_max": 16,
    "nvml:pci.link_width_max": 16,
    "nvml:pci.link_width_current": 16,
    "nvml:pci.bar1_bytes": 131072 * MIB,
    "nvml:pci.replay_count": 0,
    "procfs:gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52",
    "procfs:gpu.name": "A100-SXM4-80GB",
    "procfs:device_node.present": True,
    "host:device_node.foreign_mount": False,
    "nvml:memory.total_bytes": 81920 * MIB,
    "nvml:memory.reserved_bytes": 801 * MIB,
    "nvml:memory.bus_width_bits": 5120,
    "nvml:clock.memory_max_khz": 1_593_000,
    "nvml:clock.sm_max_khz": 1_410_000,
    "nvml:power.limit_default_mw": 400_000,
    "nvml:ecc.mode_current": True,
    "nvml:ecc.sram_threshold_exceeded": False,
    "nvml:ecc.aggregate.sram_correctable": 0,
    "nvml:ecc.aggregate.sram_uncorrectable": 0,
    "nvml:ecc.aggregate.dram_correctable": 0,
    "nvml:ecc.aggregate.dram_uncorrectable": 0,
    "nvml:remap.correctable_count": 0,
    "nvml:remap.uncorrectable_count": 0,
    "nvml:remap.pending": False,
    "nvml:remap.failure": False,
    "nvml:remap.histogram_max": 637,
    "nvml:remap.histogram_high": 2,
    "nvml:remap.histogram_partial": 1,
    "nvml:remap.histogram_low": 0,
    "nvml:remap.histogram_none": 0,
    **{
        f"nvml:repair.{name}": False
        for name in (
            "channel_pending",
            "tpc_pending",
            "unrepairable_memory",
            "bank_remap_pending",
            "bank_remap_failure",
        )
    },
    "nvml:mig.mode_current": False,
    "nvml:mig.is_slice": False,
    "nvml:mig.profiles": "1g.10gb:9856:14:7,7g.80gb:80896:98:1",
    "nvml:nvlink.link_count": 12,
    "nvml:nvlink.active_count": 12,
    "nvml:nvlink.link_speed_kb_s": 25_000_000,
    **MEASURED,
}
HONEST_HOST: dict[str, Any] = {
    "nvml:driver.version": "550.54.14",
    "procfs:driver.kernel_version": "550.54.14",
    "nvml:host.attached_gpu_count": 1,
    "pci:host.pci_gpu_count": 1,
    "host:host.hypervisor_cpuid": False,
    "host:host.virtual_machine": "none",
    "host:host.container": "none",
    "host:host.wsl": False,
    "host:host.secure_boot": True,
    "host:host.taint": 0,
    "host:host.module_signer": "NVIDIA",
    "host:host.unlock_module": False,
    "host:host.preload": "",
    "host:host.preload_provides_driver_api": False,
    "host:host.preload_intercepts_files": False,
    "host:host.audit": "",
    "host:host.python_hooks": "",
    "host:host.tracer_pid": 0,
    "host:host.foreign_mounts": "",
    "host:host.kernel_log_readable": True,
    "host:host.kernel_log_unlock": False,
    "host:host.kernel_log_xids": "",
    "host:library.package_match": True,
    "host:library.path": "/usr/lib/libnvidia-ml.so.550.54.14",
    "host:nvidia_smi.is_elf": True,
    "host:nvidia_smi.package": "nvidia-utils-550",
    "host:nvidia_smi.package_match": True,
    "host:binding.shadowed": False,
    "nvml:source.nvml": "ok",
    "pci:source.pci-config": "ok",
    "procfs:source.procfs": "ok",
    "host:source.host": "ok",
    "smi:source.nvidia-smi": "ok",
    "measured:measure.level": "full",
    "measured:measure.nonce": "0b" * 16,
    "measured:measure.window": True,
    "measured:measure.unmeasured": "",
}
_SOURCES = {
    "nvml": Source.NVML,
    "smi": Source.NVIDIA_SMI,
    "pci": Source.PCI_CONFIG,
    "procfs": Source.PROCFS,
    "host": Source.HOST,
    "cuda": Source.CUDA,
    "measured": Source.MEASURED,
}


def claim_set(content: dict[str, Any], scope: Scope) -> ClaimSet:
    """Make claims; None stands for not supported, a status for itself."""
    claims = []
    for key, entry in content.items():
        speaker, _, name = key.partition(":")
        assert VOCABULARY[name].scope is scope, name
        status = ClaimStatus.NOT_SUPPORTED if entry is None else ClaimStatus.OK
        held = entry
        if isinstance(entry, ClaimStatus):
            status, held = entry, None
        claims.append(Claim(id=name, status=status, value=held, source=_SOURCES[speaker]))
    return ClaimSet(tuple(claims))


class Index:
    """Reverse look-up over the bench's products."""

    def holders(self, field: str, content: Value) -> tuple[str, ...]:
        return tuple(p.id for p in PRODUCTS.values() if content in [v.value for v in p.get(field)])

    def device_holders(self, device_id: int) -> tuple[str, ...]:
        return tuple(
            p.id for p in PRODUCTS.values() if any(e.device_id == device_id for e in p.pci)
        )

    def library_version(self, sha256: str) -> str | None:
        return {"a" * 64: "580.105.08"}.get(sha256)


def recognise(claims: ClaimSet) -> Recognition:
    """Recognise by exact pair, then by a device id that one product uses."""
    device = claims.value("pci.device_id", Source.PCI_CONFIG, Source.NVML, Source.NVIDIA_SMI)
    sub = claims.value("pci.subsystem_device_id", Source.PCI_CONFIG, Source.NVML, Source.NVIDIA_SMI)
    if device is None:
        return Recognition(state=MatchState.UNREADABLE)
    using = tuple(p for p in PRODUCTS.values() if any(entry.device_id == device for entry in p.pci))
    exact = tuple(
        p
        for p in using
        if any(e.device_id == device and e.subsystem_device_id == sub for e in p.pci)
    )
    if len(exact) == 1:
        return Recognition(state=MatchState.EXACT, products=exact, by="pci-pair")
    if not using:
        return Recognition(state=MatchState.UNKNOWN)
    state = MatchState.SUBSYSTEM_UNKNOWN if len(using) == 1 else MatchState.CANDIDATES
    return Recognition(state=state, products=using, by="pci-device")


@dataclass(frozen=True)
class Bench:
    """Runs one rule, or all, over evidence made from dictionaries."""

    honest = HONEST
    honest_host = HONEST_HOST
    products = PRODUCTS
    now_ms = NOW_MS
    mib = MIB

    def rule(self, rule_id: str) -> Rule:
        return next(rule for rule in RULES if rule.id == rule_id)

    def subject(
        self,
        device: dict[str, Any] | None = None,
        host: dict[str, Any] | None = None,
        *,
        sold: str | Product | None = "a100-80",
        imported: bool = False,
        condition: Condition | None = None,
        max_hours: int | None = None,
        per_board: bool = False,
        count: int | None = None,
        thresholds: Thresholds | None = None,
        neighbours: tuple[str, ...] = (),
        index: int = 0,
        item: SaleItem | None = None,
        recognition: Recognition | None = None,
    ) -> Subject:
        """Make a subject; only what is given is claimed."""
        claims = claim_set(device or {}, Scope.DEVICE)
        if item is None and sold is not None:
            item = SaleItem(
                product=PRODUCTS[sold] if isinstance(sold, str) else sold,
                condition=condition,
                max_hours=max_hours,
                per_board_label=per_board,
                count=count,
            )
        return Subject(
            device=DeviceEvidence(index=index, claims=claims),
            host=claim_set(host or {}, Scope.HOST),
            evidence_class=EvidenceClass.IMPORTED if imported else EvidenceClass.LIVE,
            recognition=recognition or recognise(claims),
            sale=item,
            neighbours=tuple(PRODUCTS[name] for name in neighbours),
            reference=Index(),
            thresholds=thresholds or Thresholds(),
            now_ms=NOW_MS,
        )

    def run(self, rule_id: str, *args: Any, **options: Any) -> list[Finding]:
        """Return what one device rule finds."""
        rule = self.rule(rule_id)
        assert rule.check is not None
        return list(rule.check(self.subject(*args, **options)))

    def codes(self, rule_id: str, *args: Any, **options: Any) -> list[str]:
        """Return the codes that one device rule finds."""
        return [finding.code for finding in self.run(rule_id, *args, **options)]

    def batch(
        self,
        devices: list[dict[str, Any]],
        host: dict[str, Any] | None = None,
        *,
        sold: str | None = "a100-80",
        count: int | None = None,
        imported: bool = False,
        selected: tuple[int, ...] | None = None,
    ) -> BatchSubject:
        """Make a batch of devices sold together."""
        item = SaleItem(product=PRODUCTS[sold], count=count) if sold is not None else None
        subjects = tuple(
            self.subject(device, host, sold=sold, item=item, imported=imported, index=number)
            for number, device in enumerate(devices)
        )
        return BatchSubject(
            subjects=subjects,
            host=claim_set(host or {}, Scope.HOST),
            evidence_class=EvidenceClass.IMPORTED if imported else EvidenceClass.LIVE,
            items=(item,) if item is not None else (),
            selected=selected,
            thresholds=Thresholds(),
        )

    def run_batch(self, rule_id: str, *args: Any, **options: Any) -> list[Finding]:
        """Return what one batch rule finds."""
        rule = self.rule(rule_id)
        assert rule.batch_check is not None
        return list(rule.batch_check(self.batch(*args, **options)))

    def batch_codes(self, rule_id: str, *args: Any, **options: Any) -> list[str]:
        """Return the codes that one batch rule finds."""
        return [finding.code for finding in self.run_batch(rule_id, *args, **options)]

    def all_findings(self, subject: Subject) -> list[Finding]:
        """Return what every device rule finds."""
        return [f for rule in RULES if rule.check is not None for f in rule.check(subject)]

    def with_product(self, name: str, **changes: Any) -> Product:
        """Return a product of the bench, changed."""
        return replace(PRODUCTS[name], **changes)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
