"""The closed vocabulary of claim ids: type, unit, scope and whether a value identifies a card.

A source can only emit ids that stand here, the strict codec refuses others, and rules read by
these names. A new id is one line here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Scope(enum.Enum):
    """What a claim is about."""

    DEVICE = "device"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSpec:
    """Meaning of one claim id.

    Attributes:
        id: Dotted name; a unit stands at its end where there is one.
        type: `int`, `str` or `bool`.
        scope: Device or host.
        unit: Unit of an integer, "" for a plain count, id or text.
        identifying: Whether the value names one card or one owner (redacted in recordings).
        text: One line for people.
    """

    id: str
    type: type
    scope: Scope
    unit: str
    identifying: bool
    text: str


_INT, _STR, _BOOL = int, str, bool

# id | type | text; "!" before the text marks an identifying value.
_DEVICE: tuple[tuple[str, type, str], ...] = (
    ("gpu.name", _STR, "product name"),
    ("gpu.brand", _STR, "brand"),
    ("gpu.architecture", _STR, "architecture name, e.g. Ampere"),
    ("gpu.compute_capability", _STR, "CUDA compute capability, e.g. 8.0"),
    ("gpu.serial", _STR, "!board serial number (InfoROM)"),
    ("gpu.uuid", _STR, "!GPU UUID"),
    ("gpu.pdi", _STR, "!per-device identifier, 0x and 16 hex digits"),
    ("attestation.report", _STR, "!SPDM report that the chip signed, base64"),
    ("attestation.certificates", _STR, "!its certificates, leaf first, base64 DER by comma"),
    ("attestation.nonce", _STR, "nonce that we asked the chip to sign, hex"),
    ("signed.state", _STR, "verified, or the check that attestation evidence failed"),
    ("signed.detail", _STR, "what was wrong with it"),
    ("signed.inforom_sku", _STR, "board project and SKU that the chip signed, e.g. G520.0200"),
    ("signed.chip_sku", _STR, "chip SKU that the chip signed, e.g. 885"),
    ("signed.vbios_version", _STR, "VBIOS version that the chip signed"),
    ("signed.driver_version", _STR, "driver version in the signed report"),
    ("signed.board_id", _STR, "board id in the signed report, hex"),
    ("signed.device_identifier", _STR, "!identifier in the leaf certificate, 0x and 16 hex digits"),
    ("signed.device_serial", _STR, "!serial number of the chip's certificate, hex"),
    ("signed.device_key_sha256", _STR, "!SHA-256 of the chip's certified key, hex"),
    ("signed.model_name", _STR, "common name of the chip's certificate"),
    ("signed.nonce_bound", _BOOL, "the report answers a nonce of ours"),
    ("gpu.minor_number", _INT, "N of /dev/nvidiaN"),
    ("gpu.board_id", _STR, "board id of this boot, hex"),
    ("gpu.multi_gpu_board", _BOOL, "several GPUs share the board"),
    ("gpu.board_part_number", _STR, "board part number, e.g. 692-2G506-0210-002"),
    ("gpu.gpu_part_number", _STR, "GPU part number, e.g. 20B2-895-A1"),
    ("gpu.fru_part_number", _STR, "FRU part number"),
    ("gpu.vbios_version", _STR, "VBIOS version"),
    ("gpu.module_id", _INT, "slot on the baseboard"),
    ("gpu.core_count", _INT, "FP32 lanes as the driver counts them"),
    ("gpu.persistence_mode", _BOOL, "persistence mode on"),
    ("gpu.display_active", _BOOL, "a display is driven"),
    ("gpu.driver_model", _STR, "Windows driver model"),
    ("gpu.recovery_action", _STR, "recovery action that the driver asks for"),
    ("gpu.reset_required", _BOOL, "driver asks for a reset"),
    ("gpu.gsp_firmware_version", _STR, "GSP firmware version"),
    ("gpu.power_source", _STR, "AC or battery"),
    ("gpu.virtualization_mode", _STR, "none, pass-through, vgpu, host-vgpu or host-vsga"),
    ("gpu.process_count", _INT, "compute processes on the GPU"),
    ("gpu.responding", _BOOL, "the device answered when it was asked"),
    ("gpu.listed_by_nvml", _BOOL, "NVML listed this PCI function"),
    ("gpu.excluded", _BOOL, "the driver was told to leave the GPU out"),
    ("gpu.fan_error", _BOOL, "the fan field reads ERR!"),
    ("platform.chassis_serial", _STR, "!chassis serial number"),
    ("platform.slot_number", _INT, "slot number"),
    ("platform.tray_index", _INT, "tray index"),
    ("platform.host_id", _INT, "host id"),
    ("platform.peer_type", _STR, "peer type"),
    ("platform.gpu_fabric_guid", _STR, "!GPU fabric GUID, hex"),
    ("inforom.image_version", _STR, "InfoROM image version, e.g. G506.0210.00.03"),
    ("inforom.oem_object", _STR, "InfoROM OEM object version"),
    ("inforom.ecc_object", _STR, "InfoROM ECC object version"),
    ("inforom.power_object", _STR, "InfoROM power object version"),
    ("inforom.config_checksum", _INT, "InfoROM configuration checksum"),
    ("inforom.valid", _BOOL, "InfoROM checksums hold"),
    ("inforom.bbx_flush_time", _STR, "last black-box flush"),
    ("inforom.bbx_time_run_s", _INT, "seconds with a driver loaded, over the board's life"),
    ("pci.bus_id", _STR, "bus id DDDDDDDD:BB:DD.F, upper-case hex"),
    ("pci.vendor_id", _INT, "PCI vendor id"),
    ("pci.device_id", _INT, "PCI device id"),
    ("pci.subsystem_vendor_id", _INT, "PCI subsystem vendor id"),
    ("pci.subsystem_device_id", _INT, "PCI subsystem device id"),
    ("pci.revision_id", _INT, "PCI revision id"),
    ("pci.class_code", _INT, "PCI class code, 24 bits"),
    ("pci.link_generation_max", _INT, "PCIe generation the device and slot can reach"),
    ("pci.link_generation_device_max", _INT, "PCIe generation the device can reach"),
    ("pci.link_generation_current", _INT, "PCIe generation now"),
    ("pci.link_width_max", _INT, "PCIe lanes possible"),
    ("pci.link_width_current", _INT, "PCIe lanes now"),
    ("pci.replay_count", _INT, "PCIe replay counter"),
    ("pci.bar0_bytes", _INT, "BAR0 size in bytes"),
    ("pci.bar1_bytes", _INT, "BAR1 size now in bytes"),
    ("pci.bar1_max_bytes", _INT, "largest BAR1 in the Resizable BAR capability, in bytes"),
    ("pci.driver", _STR, "kernel driver bound to the function"),
    ("pci.attribute.vendor_id", _INT, "vendor id by the kernel's attribute file"),
    ("pci.attribute.device_id", _INT, "device id by the kernel's attribute file"),
    ("pci.attribute.subsystem_vendor_id", _INT, "subsystem vendor id by attribute file"),
    ("pci.attribute.subsystem_device_id", _INT, "subsystem device id by attribute file"),
    ("pci.attribute.modalias", _STR, "modalias attribute file"),
    ("device_node.present", _BOOL, "/dev/nvidiaN exists and is a character device"),
    ("device_node.foreign_mount", _BOOL, "something is mounted over the card's own node"),
    ("memory.total_bytes", _INT, "frame buffer total in bytes"),
    ("memory.reserved_bytes", _INT, "frame buffer reserved by driver and firmware, in bytes"),
    ("memory.used_bytes", _INT, "frame buffer used in bytes"),
    ("memory.usable_bytes", _INT, "total by the older call, which leaves the reserve out"),
    ("memory.bus_width_bits", _INT, "memory bus width in bits"),
    ("clock.graphics_max_khz", _INT, "highest graphics clock in kHz"),
    ("clock.sm_max_khz", _INT, "highest SM clock in kHz"),
    ("clock.memory_max_khz", _INT, "highest memory clock in kHz"),
    ("clock.video_max_khz", _INT, "highest video clock in kHz"),
    ("clock.memory_supported_max_khz", _INT, "highest supported memory clock in kHz"),
    ("clock.event_reasons", _STR, "active clock event reasons, comma separated"),
    ("power.limit_default_mw", _INT, "default power limit in mW"),
    ("power.limit_min_mw", _INT, "lowest settable power limit in mW"),
    ("power.limit_max_mw", _INT, "highest settable power limit in mW"),
    ("power.limit_enforced_mw", _INT, "power limit in force, in mW"),
    ("power.draw_mw", _INT, "power drawn in mW"),
    ("temperature.gpu_celsius", _INT, "GPU temperature in degrees Celsius"),
    ("temperature.memory_celsius", _INT, "memory temperature in degrees Celsius"),
    ("ecc.mode_current", _BOOL, "ECC on"),
    ("ecc.mode_pending", _BOOL, "ECC on after the next reset"),
    ("ecc.mode_default", _BOOL, "ECC on by default"),
    ("ecc.sram_threshold_exceeded", _BOOL, "NVIDIA's SRAM error threshold exceeded"),
    ("remap.correctable_count", _INT, "rows remapped after correctable errors"),
    ("remap.uncorrectable_count", _INT, "rows remapped after uncorrectable errors"),
    ("remap.correctable_inactive_count", _INT, "such remaps that are not in force (R580)"),
    ("remap.uncorrectable_inactive_count", _INT, "such remaps that are not in force (R580)"),
    ("remap.pending", _BOOL, "a remap waits for a reset"),
    ("remap.failure", _BOOL, "a row remap failed"),
    ("remap.histogram_max", _INT, "memory banks with all spare rows left"),
    ("remap.histogram_high", _INT, "memory banks with most spare rows left"),
    ("remap.histogram_partial", _INT, "memory banks with some spare rows left"),
    ("remap.histogram_low", _INT, "memory banks with few spare rows left"),
    ("remap.histogram_none", _INT, "memory banks with no spare row left"),
    ("repair.channel_pending", _BOOL, "a memory channel repair waits for a reset"),
    ("repair.tpc_pending", _BOOL, "a TPC repair waits for a reset"),
    ("repair.unrepairable_memory", _BOOL, "memory that can no longer be repaired"),
    ("repair.bank_remap_pending", _BOOL, "a bank remap waits for a reset"),
    ("repair.bank_remap_failure", _BOOL, "a bank remap failed"),
    ("retired.single_bit_count", _INT, "pages retired after single-bit errors"),
    ("retired.double_bit_count", _INT, "pages retired after double-bit errors"),
    ("retired.pending", _BOOL, "a page retirement waits for a reset"),
    ("retired.first_time_s", _INT, "time of the earliest retired page, Unix seconds"),
    ("retired.last_time_s", _INT, "time of the latest retired page, Unix seconds"),
    ("mig.mode_current", _BOOL, "MIG on"),
    ("mig.mode_pending", _BOOL, "MIG on after the next reset"),
    ("mig.device_count", _INT, "MIG devices that exist"),
    ("mig.is_slice", _BOOL, "the block describes a MIG slice, not a card"),
    (
        "mig.profiles",
        _STR,
        "MIG profiles by comma, e.g. 1g.5gb:4864:14:7 (name:MiB:SMs:instances)",
    ),
    ("cuda.driver_version", _INT, "CUDA version of the driver by cuDriverGetVersion, e.g. 12040"),
    ("cuda.status", _STR, "how CUDA answered about the card: ok or a reason"),
    ("gpu.sm_count", _INT, "streaming multiprocessors"),
    ("l2.size_bytes", _INT, "L2 cache in bytes"),
    ("measure.state", _STR, "how the measurement of the card ended: done or a reason"),
    ("measure.foreign_processes", _INT, "processes of others on the card while it was measured"),
    ("measure.attributed", _BOOL, "NVML showed the memory taken on this card and on no other"),
    ("capacity.class", _STR, "what writing and reading back the memory showed"),
    ("capacity.claimed_bytes", _INT, "memory that CUDA said the card has, in bytes"),
    ("capacity.allocated_bytes", _INT, "memory held at once, in bytes"),
    ("capacity.tested_bytes", _INT, "memory written and read back, in bytes"),
    ("capacity.fold_bytes", _INT, "distance after which the memory repeats, in bytes"),
    ("capacity.lost_offset_bytes", _INT, "bytes that were tested before the card was lost"),
    ("capacity.slow_offset_bytes", _INT, "bytes from which the memory is far slower"),
    ("capacity.bad_cell_count", _INT, "cells of 16 bytes that did not hold what was written"),
    ("capacity.digest", _STR, "SHA-256 over the digests of all blocks"),
    ("capacity.detectors", _STR, "independent checks that failed, by comma"),
    ("fingerprint.valid", _BOOL, "every exact result that was recomputed was right"),
    ("fingerprint.sm_count", _INT, "streaming multiprocessors that did work"),
    ("fingerprint.sm_clock_khz", _INT, "SM clock under load in kHz"),
    ("fingerprint.clock_agreement_ppm", _INT, "spread of three clocks, parts per million"),
    *(
        (f"fingerprint.{name}_milliops", _INT, f"{text} a clock and SM, in thousandths")
        for name, text in (
            ("fp32_fma", "FP32 multiply-adds"),
            ("fp32_mul_add", "FP32 multiplications with a separate addition"),
            ("fp64_fma", "FP64 multiply-adds"),
            ("fp16_fma", "FP16 multiply-adds"),
            ("int_mad", "integer multiply-adds"),
            ("tensor_f16", "FP16 tensor multiply-adds"),
            ("tensor_bf16", "BF16 tensor multiply-adds"),
            ("tensor_tf32", "TF32 tensor multiply-adds"),
            ("tensor_f64", "FP64 tensor multiply-adds"),
            ("tensor_s8", "8-bit integer tensor multiply-adds"),
            ("tensor_fp8", "FP8 tensor multiply-adds"),
        )
    ),
    ("fingerprint.memory_read_kb_s", _INT, "memory read rate in kB/s"),
    ("fingerprint.memory_write_kb_s", _INT, "memory write rate in kB/s"),
    ("fingerprint.memory_copy_kb_s", _INT, "memory copy rate, both ways counted, in kB/s"),
    ("fingerprint.l2_step_bytes", _INT, "size at which reads leave the L2 cache, in bytes"),
    ("fingerprint.l2_read_kb_s", _INT, "L2 read rate in kB/s"),
    ("fingerprint.latency_l1_millicycles", _INT, "L1 latency in thousandths of a clock"),
    ("fingerprint.latency_l2_millicycles", _INT, "L2 latency in thousandths of a clock"),
    ("fingerprint.latency_memory_millicycles", _INT, "memory latency, thousandths of a clock"),
    ("fingerprint.pcie_h2d_kb_s", _INT, "PCIe rate to the card in kB/s"),
    ("fingerprint.pcie_d2h_kb_s", _INT, "PCIe rate from the card in kB/s"),
    ("pcie.loaded_generation", _INT, "PCIe generation while the link was loaded"),
    ("pcie.loaded_width", _INT, "PCIe lanes while the link was loaded"),
    ("fingerprint.peer_kb_s", _INT, "best verified copy rate to another card, one way, in kB/s"),
    ("fingerprint.power_peak_mw", _INT, "highest power drawn under load in mW"),
    ("fingerprint.temperature_peak_celsius", _INT, "highest temperature under load"),
    ("fingerprint.throttle_reasons", _STR, "clock event reasons seen under load, by comma"),
    ("nvlink.link_count", _INT, "NVLinks that exist: up, down or disabled"),
    ("nvlink.active_count", _INT, "NVLinks that are up"),
    ("nvlink.link_speed_kb_s", _INT, "speed of one NVLink and direction in kB/s"),
    ("nvlink.version", _INT, "NVLink version as NVML numbers it"),
    ("nvlink.replay_error_count", _INT, "NVLink replay errors over all links"),
    ("nvlink.recovery_error_count", _INT, "NVLink recovery errors over all links"),
    ("nvlink.crc_error_count", _INT, "NVLink CRC errors over all links"),
    ("fabric.state", _STR, "fabric registration state"),
    ("fabric.status", _STR, "fabric registration status"),
    ("fabric.cluster_uuid", _STR, "!fabric cluster UUID"),
    ("c2c.mode", _BOOL, "chip-to-chip link on"),
    *(
        (f"ecc.{span}.{what}", _INT, f"{text} errors, {span}")
        for span in ("aggregate", "volatile")
        for what, text in (
            ("sram_correctable", "SRAM correctable"),
            ("sram_uncorrectable", "SRAM uncorrectable"),
            ("sram_uncorrectable_parity", "SRAM uncorrectable parity"),
            ("sram_uncorrectable_secded", "SRAM uncorrectable SEC-DED"),
            ("dram_correctable", "DRAM correctable"),
            ("dram_uncorrectable", "DRAM uncorrectable"),
            ("single_bit_total", "single-bit (all locations)"),
            ("double_bit_total", "double-bit (all locations)"),
        )
    ),
)

_HOST: tuple[tuple[str, type, str], ...] = (
    ("driver.version", _STR, "driver version"),
    ("driver.kernel_version", _STR, "version of the loaded kernel module"),
    ("driver.flavour", _STR, "open or proprietary kernel module"),
    ("driver.branch", _STR, "driver branch"),
    ("driver.cuda_version", _STR, "CUDA version of the driver"),
    ("nvml.version", _STR, "NVML library version"),
    ("nvml.session", _STR, "how NVML answered when it was opened"),
    ("attestation.mode", _STR, "confidential computing: off, on, devtools or protected-pcie"),
    ("attestation.gpu_capable", _BOOL, "the driver calls the GPUs capable of it"),
    ("binding.distribution", _STR, "Python distribution that provides the pynvml module"),
    ("binding.version", _STR, "version of that distribution"),
    ("binding.shadowed", _BOOL, "an old pynvml distribution stands in front of nvidia-ml-py"),
    ("binding.sha256", _STR, "SHA-256 of the pynvml module's file"),
    ("library.path", _STR, "file that the NVML library was mapped from"),
    ("library.sha256", _STR, "SHA-256 of that file"),
    ("library.package", _STR, "package that owns that file"),
    ("library.package_match", _BOOL, "the package manager's digest fits the file"),
    ("library.mapped_sha256", _STR, "SHA-256 over every executable mapping's path and digest"),
    ("nvidia_smi.path", _STR, "nvidia-smi that was run"),
    ("nvidia_smi.sha256", _STR, "SHA-256 of it"),
    ("nvidia_smi.is_elf", _BOOL, "it is an ELF file"),
    ("nvidia_smi.package", _STR, "package that owns it"),
    ("nvidia_smi.package_match", _BOOL, "the package manager's digest fits the program"),
    ("nvidia_smi.exit_code", _INT, "exit code of nvidia-smi"),
    ("tool.sha256", _STR, "SHA-256 over gpuverify's own files"),
    ("measure.level", _STR, "how much was measured: quick or full"),
    ("measure.nonce", _STR, "nonce that the test patterns are keyed with, hex"),
    ("measure.window", _BOOL, "all NVIDIA functions of the host were held at once"),
    ("measure.unmeasured", _STR, "bus ids of NVIDIA functions that were not measured"),
    ("host.attached_gpu_count", _INT, "GPUs that the driver counts"),
    ("host.pci_gpu_count", _INT, "NVIDIA display-class PCI functions"),
    ("host.operating_system", _STR, "linux or windows"),
    ("host.kernel_release", _STR, "kernel release"),
    ("host.hypervisor_cpuid", _BOOL, "CPUID shows a hypervisor"),
    ("host.virtual_machine", _STR, "virtual machine vendor, none or unknown"),
    ("host.container", _STR, "container kind or none"),
    ("host.wsl", _BOOL, "Windows Subsystem for Linux"),
    ("host.secure_boot", _BOOL, "Secure Boot on"),
    ("host.lockdown", _STR, "kernel lockdown mode"),
    ("host.taint", _INT, "kernel taint flags"),
    ("host.module_signer", _STR, "signer of the nvidia module or none"),
    ("host.module_taint", _STR, "taint letters of the nvidia module"),
    ("host.module_path", _STR, "path of the nvidia module file"),
    ("host.module_srcversion", _STR, "source version of the loaded module"),
    ("host.unlock_module", _BOOL, "a module of a known memory-unlock project is installed"),
    ("host.preload", _STR, "LD_PRELOAD and /etc/ld.so.preload"),
    ("host.preload_provides_driver_api", _BOOL, "a preloaded object provides nvml* or cu*"),
    ("host.preload_intercepts_files", _BOOL, "a preloaded object provides open, read or the like"),
    ("host.audit", _STR, "LD_AUDIT"),
    ("host.library_path", _STR, "LD_LIBRARY_PATH"),
    ("host.python_hooks", _STR, "sitecustomize, .pth with code, PYTHONPATH in effect"),
    ("host.tracer_pid", _INT, "process that traces us, 0 if none"),
    ("host.foreign_mounts", _STR, "mounts over the driver's files, device nodes or sysfs"),
    ("host.kernel_log_readable", _BOOL, "the kernel log could be read"),
    ("host.kernel_log_unlock", _BOOL, "the kernel log shows a debug-unlock marker"),
    ("host.kernel_log_xids", _STR, "Xid numbers with counts, e.g. 63:1,79:2"),
    ("host.inforom_warnings", _STR, "bus ids that nvidia-smi's plain table calls corrupted"),
    ("host.lost_devices", _STR, "bus ids that nvidia-smi calls lost"),
    ("host.vgpu_guest", _BOOL, "the log is of a vGPU guest"),
    ("host.sharing_layer", _STR, "library under nvidia-smi that shows a share of the card"),
    *(
        (f"source.{name}", _STR, f"how the {name} source ended: ok or a reason")
        for name in ("nvml", "pci-config", "procfs", "host", "nvidia-smi", "cuda", "measured")
    ),
)

_UNITS = (
    ("_bytes", "B"), ("_kb_s", "kB/s"), ("_khz", "kHz"), ("_mw", "mW"), ("_bits", "bit"),
    ("_celsius", "°C"), ("_ppm", "ppm"), ("_s", "s"), ("_ms", "ms"),
)  # fmt: skip


def _spec(row: tuple[str, type, str], scope: Scope) -> ClaimSpec:
    """Build one entry; the unit follows from the end of an integer's name."""
    claim_id, kind, text = row
    unit = next((u for end, u in _UNITS if claim_id.endswith(end)), "") if kind is int else ""
    return ClaimSpec(
        id=claim_id,
        type=kind,
        scope=scope,
        unit=unit,
        identifying=text.startswith("!"),
        text=text.lstrip("!"),
    )


VOCABULARY: dict[str, ClaimSpec] = {
    row[0]: _spec(row, scope)
    for rows, scope in ((_DEVICE, Scope.DEVICE), (_HOST, Scope.HOST))
    for row in rows
}
"""Every claim id there is, in the order in which reports list them."""
