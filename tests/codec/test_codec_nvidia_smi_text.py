"""`nvidia-smi -q` text, sections, excerpts, link lists and sentences."""

from __future__ import annotations

import re

import pytest

from gpuverify.codec.nvidia_smi_text import read_nvidia_smi_text
from gpuverify.codec.text import decode_text
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import ClaimSet, Evidence

MIB = 2**20

AMPERE = {
    "pci.bus_id": "00000000:1A:00.0",
    "gpu.name": "NVIDIA A100-SXM4-80GB",
    "gpu.architecture": "Ampere",
    "gpu.persistence_mode": True,
    "mig.mode_current": True,
    "mig.mode_pending": False,
    "mig.device_count": 2,
    "gpu.serial": "1324021033417",
    "gpu.uuid": "GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4",
    "gpu.vbios_version": "92.00.9E.00.02",
    "gpu.board_part_number": "692-2G506-0212-002",
    "gpu.gpu_part_number": "20B2-895-A1",
    "inforom.image_version": "G506.0212.00.01",
    "gpu.virtualization_mode": "none",
    "gpu.recovery_action": "Drain and Reset",
    "gpu.fan_error": False,
    "gpu.process_count": 1,
    "gpu.responding": True,
    "pci.class_code": 0x030200,
    "pci.device_id": 0x20B2,
    "pci.vendor_id": 0x10DE,
    "pci.subsystem_device_id": 0x147F,
    "pci.subsystem_vendor_id": 0x10DE,
    "pci.link_generation_max": 4,
    "pci.link_generation_current": 3,
    "pci.link_generation_device_max": 5,
    "pci.link_width_max": 16,
    "pci.link_width_current": 8,
    "pci.replay_count": 11,
    "pci.bar1_bytes": 131072 * MIB,
    "clock.event_reasons": "sw_power_cap",
    "clock.graphics_max_khz": 1_411_000,
    "clock.memory_max_khz": 1_593_000,
    "memory.total_bytes": 81920 * MIB,
    "memory.reserved_bytes": 869 * MIB,
    "memory.used_bytes": 42 * MIB,
    "ecc.mode_current": True,
    "ecc.mode_pending": False,
    "ecc.volatile.sram_uncorrectable_secded": 14,
    "ecc.volatile.dram_correctable": 15,
    "ecc.aggregate.dram_uncorrectable": 20,
    "ecc.sram_threshold_exceeded": True,
    "retired.double_bit_count": 5,
    "retired.pending": False,
    "remap.correctable_count": 21,
    "remap.uncorrectable_count": 22,
    "remap.pending": True,
    "remap.failure": False,
    "remap.histogram_max": 630,
    "remap.histogram_none": 1,
    "power.draw_mw": 61_070,
    "power.limit_enforced_mw": 410_000,
    "power.limit_default_mw": 400_500,
}


def read(text: str) -> Evidence:
    return read_nvidia_smi_text(decode_text(text.encode(), "log.txt"), "log.txt")


def ok_values(claims: ClaimSet) -> dict[str, object]:
    return {claim.id: claim.value for claim in claims if claim.ok}


def column(text: str, width: int) -> str:
    """Print the values at another column, as other drivers do."""
    return re.sub(r"(?m)^(.*?) +: ", lambda m: f"{m[1]:<{width}}: ", text)


@pytest.mark.parametrize("width", [1, 36, 42, 55])
def test_every_field_at_every_column(sample_text: str, width: int) -> None:
    evidence = read(column(sample_text, width))
    assert ok_values(evidence.devices[0].claims) == AMPERE
    assert ok_values(evidence.devices[1].claims) == {
        "pci.bus_id": "00000000:3B:00.0",
        "gpu.name": "Tesla V100-SXM2-32GB",
        "gpu.process_count": 0,
        "gpu.responding": True,
    }
    assert ok_values(evidence.host) == {
        "driver.version": "550.54.15",
        "driver.cuda_version": "12.4",
        "host.attached_gpu_count": 2,
    }
    assert evidence.tool == "nvidia-smi 550.54.15"
    assert evidence.collected_ms == 1_927_707_072_000


def test_call_is_the_path_as_printed(sample_text: str) -> None:
    claim = read(sample_text).devices[0].claims.read("ecc.aggregate.dram_uncorrectable")
    assert claim.call == "gpu[0]/ECC Errors/Aggregate/DRAM Uncorrectable"


def test_prompt_colours_and_windows_line_ends(sample_text: str) -> None:
    noisy = "\x1b]0;title\x07\x1b[1;32mPS C:\\> \x1b[0mnvidia-smi -q\r\n" + sample_text.replace(
        "\n", "\r\n"
    )
    noisy = noisy.replace("Ampere", "\x1b[31mAmpere\x1b[0m") + "PS C:\\>"
    assert read(noisy) == read(sample_text)


def test_bare_group(sample_text: str) -> None:
    claims = read(sample_text).devices[1].claims
    assert claims.read("remap.failure").status is ClaimStatus.NOT_SUPPORTED
    assert claims.read("remap.histogram_low").status is ClaimStatus.NOT_SUPPORTED


def test_driver_610() -> None:
    evidence = read(
        """\
==============NVSMI LOG==============
Timestamp                                              : Sat Feb  1 10:11:12 2031
Driver Version                                         : 610.57.04 [Deprecated; will be removed]
KMD Version                                            : 610.57.05
CUDA UMD Version                                       : 13.3
Attached GPUs                                          : 1
GPU 00000000:01:00.0
    Product Name                                       : NVIDIA GeForce RTX 2080 SUPER
    Driver Model
        Current                                        : WDDM
    Display Mode                                       : Requested functionality has been deprecated
    GPU Power Readings
        Average Power Draw                             : N/A
        Instantaneous Power Draw                       : 17.25 W
        GPU Ceiling Power Limit
            Current Power Limit                        : 251.00 W
            Default Power Limit                        : 250.00 W
        Min Power Limit                                : 105.00 W
    Module Power Readings
        GPU Ceiling Power Limit
            Default Power Limit                        : 666.00 W
    Platform Info
        Chassis Serial Number                          :\x20
        Slot Number                                    : 8
"""
    )
    assert ok_values(evidence.host) == {
        "driver.version": "610.57.04",
        "driver.kernel_version": "610.57.05",
        "driver.cuda_version": "13.3",
        "host.attached_gpu_count": 1,
        "host.operating_system": "windows",
    }
    claims = evidence.devices[0].claims
    assert claims.value("power.draw_mw") == 17_250
    assert claims.value("power.limit_enforced_mw") == 251_000
    assert claims.value("power.limit_default_mw") == 250_000
    assert claims.value("power.limit_min_mw") == 105_000
    assert claims.value("platform.slot_number") == 8
    assert claims.read("platform.chassis_serial").status is ClaimStatus.NOT_SUPPORTED


def test_old_driver_prints_the_board_under_the_gpus_name() -> None:
    claims = (
        read(
            "GPU 00000000:07:00.0\n    GPU Part Number                       : 692-2G506-0200-003\n"
        )
        .devices[0]
        .claims
    )
    assert claims.value("gpu.board_part_number") == "692-2G506-0200-003"
    assert not claims.read("gpu.gpu_part_number").ok


def test_excerpt_without_a_heading_is_one_gpu() -> None:
    evidence = read(
        "    VBIOS Version       : 92.00.6D.00.0A\n    GPU Part Number     : 20C2-105-A1\n"
    )
    assert len(evidence.devices) == 1
    assert evidence.devices[0].claims.value("gpu.gpu_part_number") == "20C2-105-A1"


def test_cut_places_and_unknown_groups_hold_no_field() -> None:
    claims = (
        read(
            """\
GPU 00000000:07:00.0
    [...]
    Some Future Section
        Product Name                      : NVIDIA H100 80GB HBM3
        FB Memory Usage
            Total                         : 1 MiB
    ECC Errors
        [...]
        Aggregate
            DRAM Correctable              : 9
"""
        )
        .devices[0]
        .claims
    )
    assert ok_values(claims) == {
        "pci.bus_id": "00000000:07:00.0",
        "ecc.aggregate.dram_correctable": 9,
        "gpu.responding": True,
    }


def test_sections_of_one_machine_are_joined() -> None:
    evidence = read(
        "==NVSMI LOG==\nGPU 00000000:07:00.0\n    GPU UUID : GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4\n"
        "==NVSMI LOG==\nGPU 00000000:07:00.0\n    Retired Pages\n        Double Bit ECC : 6\n"
    )
    assert len(evidence.devices) == 1
    assert evidence.devices[0].claims.value("retired.double_bit_count") == 6


def test_logs_of_two_machines_are_refused() -> None:
    block = "GPU 00000000:07:00.0\n    Serial Number : 13240210334{0}\n"
    with pytest.raises(FormatError, match="two machines"):
        read(block.format(17) + block.format(18))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "Unable to determine the device handle for GPU 0000:C1:00.0: GPU is lost.  Reboot",
            "00000000:C1:00.0",
        ),
        (
            "Unable to determine the device handle for GPU0000:C1:00.0: Unknown Error",
            "00000000:C1:00.0",
        ),
        (
            "Unable to determine the device handle for GPU3: 0000:C1:00.0: Unknown Error",
            "00000000:C1:00.0",
        ),
        ("Unable to determine the device handle for GPU2: Unknown Error", "GPU2"),
        ("GPU 0000:C1:00.0: GPU is lost", "00000000:C1:00.0"),
        ("NVRM: GPU at PCI:0000:C1:00.0 has fallen off the bus.", "00000000:C1:00.0"),
    ],
)
def test_lost_sentences(line: str, found: str) -> None:
    evidence = read(line + "\n")
    assert evidence.host.value("host.lost_devices") == found
    assert len(evidence.devices) == 1
    assert evidence.devices[0].claims.value("gpu.responding") is False


def test_lost_sentence_beside_a_log(sample_text: str) -> None:
    evidence = read(
        sample_text + "Unable to determine the device handle for GPU 0000:3B:00.0: Unknown Error\n"
    )
    assert len(evidence.devices) == 2
    assert evidence.devices[1].claims.value("gpu.responding") is False
    assert evidence.devices[0].claims.value("gpu.responding") is True


def test_link_list() -> None:
    evidence = read(
        "$ nvidia-smi nvlink -s\n"
        "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4)\n"
        "\t Link 0: 25 GB/s\n\t Link 1: <inactive>\n\t Link 2: 25.5 GB/s\n"
        "GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-abcdefab-cdef-abdc-abcd-abababababab)\n"
        "\t Link 0: 26.562 GB/s\n\t [...]\n\t Link 11: 26.562 GB/s\n"
        "GPU 2: NVIDIA A100-SXM4-80GB (UUID: [REDACTED])\n"
        "NVML: Unable to retrieve NVLink information as all links are inactive\n"
        "GPU 3: NVIDIA A100-SXM4-80GB (UUID: GPU-1b7e44c2-90a3-4d5f-8e61-c03a5d2f7b98)\n"
        "\t Link 0: Replay Errors: 1\n\t Link 0: Recovery Errors: 2\n\t Link 0: CRC Errors: 3\n"
        "\t Link 1: Replay Errors: 10\n\t Link 1: Recovery Errors: 20\n\t Link 1: CRC Errors: 30\n"
    )
    whole, cut, down, errors = (device.claims for device in evidence.devices)
    assert whole.value("nvlink.link_count") == 3
    assert whole.value("nvlink.active_count") == 2
    assert whole.value("nvlink.link_speed_kb_s") == 25_500_000
    assert cut.read("nvlink.link_count").status is ClaimStatus.MALFORMED
    assert cut.value("nvlink.link_speed_kb_s") == 26_562_000
    assert down.value("nvlink.active_count") == 0
    assert down.read("nvlink.link_count").status is ClaimStatus.FAILED
    assert down.read("gpu.uuid").status is ClaimStatus.SENTINEL
    assert [
        errors.value(f"nvlink.{what}_error_count") for what in ("replay", "recovery", "crc")
    ] == [11, 22, 33]


def test_link_list_after_a_log_joins_by_uuid(sample_text: str) -> None:
    evidence = read(
        sample_text
        + "GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4)\n"
        + "".join(f"\t Link {n}: 25 GB/s\n" for n in range(12))
    )
    assert len(evidence.devices) == 2
    assert evidence.devices[0].claims.value("nvlink.link_count") == 12


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "Driver Version : 390.77 (Linux x64)\n  Compute units : 80\n",
        "GPU\nTotal : 5 MiB\n",
        "a : b\n" * 100,
        " : \n : :\n",
    ],
)
def test_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert "nvidia-smi -q" in str(caught.value)


def test_a_million_gpus_are_refused() -> None:
    many = "".join(f"GPU {n:08X}:01:00.0\n" for n in range(1_000_000))
    with pytest.raises(FormatError, match="more than 256 GPUs"):
        read_nvidia_smi_text(many, "log.txt")


def test_deep_indentation_is_bounded() -> None:
    deep = "GPU 00000000:07:00.0\n" + "".join(" " * n + "x\n" for n in range(1, 3000))
    assert len(read(deep).devices) == 1
