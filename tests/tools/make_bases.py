"""Make the synthetic bases under fixtures/: `python tests/tools/make_bases.py`.

What is known of a product (names, ids, sizes, clocks, part numbers) stands here as public sources
have it (see the reference data for source and locator of each value); serial numbers, UUIDs,
per-device ids and what no source tells are invented. No card produced these recordings, and they
are no source of reference values. A test holds that the committed files are what this makes.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuverify.sources.recording import dump_recording
from gpuverify.testing import MigProfile, SyntheticCard, synthetic_recording

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def mig(*rows: tuple[int, int, str, int, int, int]) -> tuple[MigProfile, ...]:
    """Write profiles as (index, id, name, instances, SMs, MiB)."""
    return tuple(
        MigProfile(
            index=index, id=number, name=name, slices=int(name[0]), instances=instances,
            multiprocessors=sms, memory_mib=mib,
        )
        for index, number, name, instances, sms, mib in rows
    )  # fmt: skip


A100_40 = mig(
    (0, 19, "1g.5gb", 7, 14, 4864), (1, 14, "2g.10gb", 3, 28, 9856),
    (2, 9, "3g.20gb", 2, 42, 19968), (3, 5, "4g.20gb", 1, 56, 19968),
    (4, 0, "7g.40gb", 1, 98, 40192), (7, 20, "1g.5gb+me", 1, 14, 4864),
    (9, 15, "1g.10gb", 4, 14, 9856),
)  # fmt: skip
A100_80 = mig(
    (0, 19, "1g.10gb", 7, 14, 9856), (1, 14, "2g.20gb", 3, 28, 19968),
    (2, 9, "3g.40gb", 2, 42, 40192), (3, 5, "4g.40gb", 1, 56, 40192),
    (4, 0, "7g.80gb", 1, 98, 80896), (7, 20, "1g.10gb+me", 1, 14, 9856),
    (9, 15, "1g.20gb", 4, 14, 19968),
)  # fmt: skip
A30 = mig(
    (0, 14, "1g.6gb", 4, 14, 5952), (1, 5, "2g.12gb", 2, 28, 11968),
    (3, 0, "4g.24gb", 1, 56, 24384), (7, 21, "1g.6gb+me", 1, 14, 5952),
    (8, 6, "2g.12gb+me", 1, 28, 11968),
)  # fmt: skip
H100_80 = mig(
    (0, 19, "1g.10gb", 7, 16, 9984), (1, 14, "2g.20gb", 3, 32, 20096),
    (2, 9, "3g.40gb", 2, 60, 40448), (3, 5, "4g.40gb", 1, 64, 40448),
    (4, 0, "7g.80gb", 1, 132, 81152), (7, 20, "1g.10gb+me", 1, 16, 9984),
    (9, 15, "1g.20gb", 4, 26, 20096),
)  # fmt: skip
H100_PCIE = mig(
    (0, 19, "1g.10gb", 7, 14, 9984), (1, 14, "2g.20gb", 3, 30, 20096),
    (2, 9, "3g.40gb", 2, 46, 40448), (3, 5, "4g.40gb", 1, 62, 40448),
    (4, 0, "7g.80gb", 1, 114, 81152), (7, 20, "1g.10gb+me", 1, 14, 9984),
    (9, 15, "1g.20gb", 4, 26, 20096),
)  # fmt: skip
H20 = mig(
    (0, 19, "1g.12gb", 7, 8, 12032), (1, 14, "2g.24gb", 3, 18, 24192),
    (2, 9, "3g.48gb", 2, 32, 48512), (3, 5, "4g.48gb", 1, 36, 48512),
    (4, 0, "7g.96gb", 1, 78, 97408), (7, 20, "1g.12gb+me", 1, 8, 12032),
    (9, 15, "1g.24gb", 4, 16, 24192),
)  # fmt: skip
GB200 = mig(
    (0, 19, "1g.23gb", 7, 18, 23552), (1, 14, "2g.47gb", 3, 38, 47616),
    (2, 9, "3g.93gb", 2, 70, 95232), (3, 5, "4g.93gb", 1, 76, 95232),
    (4, 0, "7g.186gb", 1, 152, 189440), (9, 15, "1g.47gb", 4, 28, 47616),
)  # fmt: skip
GB300 = mig(
    (0, 19, "1g.35gb", 7, 18, 35840), (1, 14, "2g.70gb", 3, 38, 71168),
    (2, 9, "3g.139gb", 2, 70, 142080), (3, 5, "4g.139gb", 1, 76, 142080),
    (4, 0, "7g.278gb", 1, 152, 284160), (9, 15, "1g.70gb", 4, 28, 71168),
)  # fmt: skip

_GA100: dict[str, Any] = {
    "bus_width_bits": 5120, "core_count": 6912, "graphics_mhz": 1410, "inforom_oem": "2.0",
    "inforom_ecc": "6.16", "ecc": True, "remap_banks": 640,
}  # fmt: skip
_GH100: dict[str, Any] = {
    "architecture": "Hopper", "compute_capability": (9, 0), "bus_width_bits": 5120,
    "graphics_mhz": 1980, "memory_mhz": 2619, "video_mhz": 1545, "bar1_mib": 131072,
    "bar1_max_mib": 131072, "wide_bar0": True, "pcie_generation": 5, "power_default_w": 700,
    "power_min_w": 200, "power_max_w": 700, "inforom_oem": "2.1", "inforom_ecc": "7.16",
    "ecc": True, "remap_banks": 2560, "nvlink_version": 6, "nvlink_mbps": 26562,
}  # fmt: skip
_GB100: dict[str, Any] = {
    "architecture": "Blackwell", "compute_capability": (10, 0), "bus_width_bits": 8192,
    "core_count": 19456, "memory_mhz": 3996, "video_mhz": 1965, "wide_bar0": True,
    "pcie_generation": 6, "power_min_w": 200, "inforom_oem": "2.1", "inforom_ecc": "7.16",
    "ecc": True, "nvlinks": 18, "nvlink_version": 7, "nvlink_mbps": 53125,
}  # fmt: skip
_GEFORCE: dict[str, Any] = {"class_code": 0x030000, "brand": 5, "bar1_mib": 256}

CARDS: dict[str, SyntheticCard] = {
    "ga100/a100-sxm4-40gb": SyntheticCard(
        **_GA100, name="NVIDIA A100-SXM4-40GB", device_id=0x20B0, subsystem_device_id=0x134F,
        memory_mib=40960, reserved_mib=518, memory_mhz=1215, bar1_mib=65536, bar1_max_mib=65536,
        power_default_w=400, power_max_w=400, vbios="92.00.45.00.03",
        board_part_number="692-2G506-0200-003", gpu_part_number="20B0-884-A1",
        inforom_image="G506.0200.00.04", nvlinks=12, mig_profiles=A100_40, module_id=1,
    ),
    "ga100/a100-sxm4-80gb": SyntheticCard(
        **_GA100, name="NVIDIA A100-SXM4-80GB", device_id=0x20B2, subsystem_device_id=0x1463,
        memory_mib=81920, reserved_mib=834, memory_mhz=1593, bar1_mib=131072, bar1_max_mib=131072,
        power_default_w=400, power_max_w=400, vbios="92.00.45.00.05",
        board_part_number="692-2G506-0210-002", gpu_part_number="20B2-895-A1",
        inforom_image="G506.0210.00.03", nvlinks=12, mig_profiles=A100_80, module_id=1,
    ),
    "ga100/a100-pcie-40gb": SyntheticCard(
        **_GA100, name="NVIDIA A100-PCIE-40GB", device_id=0x20F1, subsystem_device_id=0x145F,
        memory_mib=40960, reserved_mib=523, memory_mhz=1215, bar1_mib=65536, bar1_max_mib=65536,
        power_default_w=250, power_min_w=150, power_max_w=250, vbios="92.00.25.00.08",
        board_part_number="900-21001-0000-000", gpu_part_number="20F1-883-A1",
        inforom_image="1001.0200.00.04", nvlinks=12, nvlinks_active=0, mig_profiles=A100_40,
    ),
    "ga100/a100-pcie-80gb": SyntheticCard(
        **_GA100, name="NVIDIA A100 80GB PCIe", device_id=0x20B5, subsystem_device_id=0x1533,
        memory_mib=81920, reserved_mib=811, memory_mhz=1512, bar1_mib=131072, bar1_max_mib=131072,
        video_mhz=1275, power_default_w=300, power_min_w=150, power_max_w=300,
        vbios="92.00.A0.00.05", board_part_number="900-21001-0020-000",
        gpu_part_number="20B5-895-A1", inforom_image="1001.0230.00.03", nvlinks=12,
        nvlinks_active=0, mig_profiles=A100_80,
    ),
    "ga100/a800-sxm4-80gb": SyntheticCard(
        **_GA100, name="NVIDIA A800-SXM4-80GB", device_id=0x20F3, subsystem_device_id=0x179B,
        memory_mib=81920, reserved_mib=829, memory_mhz=1593, bar1_mib=131072, bar1_max_mib=131072,
        power_default_w=400, power_max_w=400, vbios="92.00.81.00.01",
        board_part_number="692-2G506-0215-002", gpu_part_number="20F3-865-A1",
        inforom_image="G506.0215.00.02", nvlinks=8, mig_profiles=A100_80, module_id=1,
    ),
    "ga100/a30": SyntheticCard(
        **{**_GA100, "bus_width_bits": 3072, "core_count": 3584, "graphics_mhz": 1440,
           "remap_banks": 384},
        name="NVIDIA A30", device_id=0x20B7, subsystem_device_id=0x1532, memory_mib=24576,
        reserved_mib=412, memory_mhz=1215, bar1_mib=32768, bar1_max_mib=32768,
        power_default_w=165, power_max_w=165, vbios="92.00.66.00.05",
        board_part_number="900-21001-0040-000", gpu_part_number="20B7-870-A1",
        inforom_image="1001.0205.00.03", nvlinks=4, nvlinks_active=0, mig_profiles=A30,
    ),
    "ga100/cmp-170hx-8gb": SyntheticCard(
        name="NVIDIA Graphics Device", device_id=0x20C2, subsystem_device_id=0x1585,
        memory_mib=8192, reserved_mib=381, bus_width_bits=4096, core_count=4480,
        graphics_mhz=1410, memory_mhz=1458, bar1_mib=64, pcie_generation=1, pcie_width=4,
        power_default_w=250, power_max_w=250, vbios="92.00.6D.00.0A",
        board_part_number="900-11001-0108-000", gpu_part_number="20C2-105-A1",
        inforom_image="1001.0108.01.02", inforom_oem="2.0",
    ),
    "ga100/cmp-170hx-10gb": SyntheticCard(
        name="NVIDIA Graphics Device", device_id=0x2082, subsystem_device_id=0x1557,
        memory_mib=10240, reserved_mib=402, bus_width_bits=5120, core_count=4480,
        graphics_mhz=1410, memory_mhz=1215, bar1_mib=64, pcie_generation=1, pcie_width=4,
        power_default_w=250, power_max_w=250, vbios="92.00.66.00.02",
        board_part_number="900-11001-0105-000", gpu_part_number="2082-105-A1",
        inforom_image="1001.0105.01.02", inforom_oem="2.0",
    ),
    "ga100/drive-pg199": SyntheticCard(
        **{**_GA100, "bus_width_bits": 4096, "core_count": 6144, "graphics_mhz": 1260,
           "remap_banks": 512},
        name="NVIDIA DRIVE-PG199-PROD", device_id=0x20BB, subsystem_device_id=0x14A1,
        memory_mib=32768, reserved_mib=447, memory_mhz=1188, bar1_mib=32768, bar1_max_mib=32768,
        pcie_generation=3, power_default_w=400, power_max_w=400, vbios="92.00.A0.00.01",
        board_part_number="692-2G199-0202-000", gpu_part_number="20BB-550-A1",
        inforom_image="G199.0202.00.01",
    ),
    "gh100/h100-sxm5-80gb": SyntheticCard(
        **_GH100, core_count=16896, name="NVIDIA H100 80GB HBM3", device_id=0x2330,
        subsystem_device_id=0x16C1, memory_mib=81559, reserved_mib=551, vbios="96.00.74.00.01",
        board_part_number="692-2G520-0200-000", gpu_part_number="2330-885-A1",
        inforom_image="G520.0200.00.05", nvlinks=18, mig_profiles=H100_80, module_id=1,
    ),
    "gh100/h100-pcie-80gb": SyntheticCard(
        **{**_GH100, "graphics_mhz": 1755, "memory_mhz": 1593, "power_default_w": 350,
           "power_max_w": 350},
        core_count=14592, name="NVIDIA H100 PCIe", device_id=0x2331, subsystem_device_id=0x1626,
        memory_mib=81559, reserved_mib=548, vbios="96.00.5E.00.01",
        board_part_number="900-21010-0000-000", gpu_part_number="2331-882-A1",
        inforom_image="1010.0200.00.02", nvlinks=18, nvlinks_active=0, mig_profiles=H100_PCIE,
    ),
    "gh100/h800-sxm5-80gb": SyntheticCard(
        **_GH100, core_count=16896, name="NVIDIA H800", device_id=0x2324,
        subsystem_device_id=0x17A6, memory_mib=81559, reserved_mib=516, vbios="96.00.51.00.0E",
        board_part_number="692-2G520-0205-000", gpu_part_number="2324-865-A1",
        inforom_image="G520.0205.00.02", nvlinks=8, mig_profiles=H100_80, module_id=1,
    ),
    "gh100/h20-sxm5-96gb": SyntheticCard(
        **{**_GH100, "bus_width_bits": 6144, "remap_banks": 3072, "power_default_w": 500,
           "power_max_w": 500},
        core_count=9984, name="NVIDIA H20", device_id=0x2329, subsystem_device_id=0x198B,
        memory_mib=97871, reserved_mib=607, vbios="96.00.9F.00.01",
        board_part_number="692-2G520-0225-000", gpu_part_number="2329-850-A1",
        inforom_image="G520.0225.00.01", nvlinks=18, mig_profiles=H20, module_id=1,
    ),
    "gv100/v100-sxm2-16gb": SyntheticCard(
        name="Tesla V100-SXM2-16GB", device_id=0x1DB1, subsystem_device_id=0x1212, brand=2,
        architecture="Volta", compute_capability=(7, 0), memory_mib=16384, reserved_mib=240,
        bus_width_bits=4096, core_count=5120, graphics_mhz=1530, memory_mhz=877, video_mhz=1372,
        bar1_mib=16384, pcie_generation=3, power_default_w=300, power_min_w=150, power_max_w=300,
        vbios="88.00.4F.00.09", board_part_number="900-2G503-0300-000",
        gpu_part_number="1DB1-895-A1", inforom_image="G503.0201.00.03", inforom_oem="1.1",
        inforom_ecc="5.0", ecc=True, page_retirement=True, nvlinks=6, nvlink_version=2,
        nvlink_mbps=25781, module_id=1,
    ),
    "gv100/v100-sxm2-32gb": SyntheticCard(
        name="Tesla V100-SXM2-32GB", device_id=0x1DB5, subsystem_device_id=0x1249, brand=2,
        architecture="Volta", compute_capability=(7, 0), memory_mib=32768, reserved_mib=257,
        bus_width_bits=4096, core_count=5120, graphics_mhz=1530, memory_mhz=877, video_mhz=1372,
        bar1_mib=32768, pcie_generation=3, power_default_w=300, power_min_w=150, power_max_w=300,
        vbios="88.00.80.00.04", board_part_number="900-2G503-0310-000",
        gpu_part_number="1DB5-897-A1", inforom_image="G503.0203.00.04", inforom_oem="1.1",
        inforom_ecc="5.0", ecc=True, page_retirement=True, nvlinks=6, nvlink_version=2,
        nvlink_mbps=25781, module_id=1,
    ),
    "gp100/p100-pcie-12gb": SyntheticCard(
        name="Tesla P100-PCIE-12GB", device_id=0x15F7, subsystem_device_id=0x11DA, brand=2,
        architecture="Pascal", compute_capability=(6, 0), memory_mib=12288, reserved_mib=89,
        bus_width_bits=3072, core_count=3584, graphics_mhz=1328, memory_mhz=715, video_mhz=1189,
        bar1_mib=16384, pcie_generation=3, power_default_w=250, power_min_w=125, power_max_w=250,
        vbios="86.00.3A.00.01", board_part_number="900-2H400-0010-000",
        inforom_image="H400.0202.00.01", inforom_oem="1.1", inforom_ecc="4.1", ecc=True,
        page_retirement=True,
    ),
    "gp100/p100-pcie-16gb": SyntheticCard(
        name="Tesla P100-PCIE-16GB", device_id=0x15F8, subsystem_device_id=0x118F, brand=2,
        architecture="Pascal", compute_capability=(6, 0), memory_mib=16384, reserved_mib=103,
        bus_width_bits=4096, core_count=3584, graphics_mhz=1328, memory_mhz=715, video_mhz=1189,
        bar1_mib=16384, pcie_generation=3, power_default_w=250, power_min_w=125, power_max_w=250,
        vbios="86.00.52.00.02", board_part_number="900-2H400-6300-031",
        inforom_image="H400.0201.00.08", inforom_oem="1.1", inforom_ecc="4.1", ecc=True,
        page_retirement=True,
    ),
    "turing/rtx-2080-ti-11gb": SyntheticCard(
        **_GEFORCE, name="NVIDIA GeForce RTX 2080 Ti", device_id=0x1E04,
        subsystem_device_id=0x37A9, subsystem_vendor_id=0x1458, architecture="Turing",
        compute_capability=(7, 5), memory_mib=11264, reserved_mib=251, bus_width_bits=352,
        core_count=4352, graphics_mhz=2100, memory_mhz=7000, video_mhz=1950, pcie_generation=3,
        power_default_w=250, power_max_w=280, vbios="90.02.17.00.AD",
        inforom_image="G001.0000.02.04", inforom_oem="1.1", serial="",
    ),
    "turing/t4": SyntheticCard(
        name="Tesla T4", device_id=0x1EB8, subsystem_device_id=0x12A2, brand=2,
        architecture="Turing", compute_capability=(7, 5), memory_mib=15360, reserved_mib=448,
        bus_width_bits=256, core_count=2560, graphics_mhz=1590, memory_mhz=5001, video_mhz=1470,
        bar1_mib=256, pcie_generation=3, power_default_w=70, power_min_w=60, power_max_w=70,
        vbios="90.04.96.00.02", board_part_number="900-2G183-0000-001",
        gpu_part_number="1EB8-895-A1", inforom_image="G183.0200.00.02", inforom_oem="1.1",
        inforom_ecc="5.0", ecc=True, page_retirement=True,
    ),
    "ga10x/rtx-3090": SyntheticCard(
        **_GEFORCE, name="NVIDIA GeForce RTX 3090", device_id=0x2204, subsystem_device_id=0x403B,
        subsystem_vendor_id=0x1458, compute_capability=(8, 6), memory_mib=24576,
        reserved_mib=422, bus_width_bits=384, core_count=10496, graphics_mhz=2100,
        memory_mhz=9751, video_mhz=1950, power_default_w=350, power_max_w=350,
        vbios="94.02.42.40.34", gpu_part_number="2204-300-A1", inforom_image="G001.0000.03.03",
        inforom_oem="2.0", serial="",
    ),
    "ga10x/rtx-a6000": SyntheticCard(
        name="NVIDIA RTX A6000", device_id=0x2230, subsystem_device_id=0x1459,
        class_code=0x030000, brand=13, compute_capability=(8, 6), memory_mib=46068,
        reserved_mib=450, bus_width_bits=384, core_count=10752, graphics_mhz=2100,
        memory_mhz=8001, video_mhz=1950, bar1_mib=65536, bar1_max_mib=65536, power_default_w=300,
        power_max_w=300, vbios="94.02.5C.00.02", board_part_number="900-5G133-1700-000",
        gpu_part_number="2230-875-A1", inforom_image="G133.0500.00.05", inforom_oem="2.0",
        inforom_ecc="6.16", ecc=True, remap_banks=192,
    ),
    "ada/rtx-4090": SyntheticCard(
        **_GEFORCE, name="NVIDIA GeForce RTX 4090", device_id=0x2684, subsystem_device_id=0x16F3,
        architecture="Ada Lovelace", compute_capability=(8, 9), memory_mib=24564,
        reserved_mib=354, bus_width_bits=384, core_count=16384, graphics_mhz=3105,
        memory_mhz=10501, video_mhz=2415, power_default_w=450, power_min_w=150, power_max_w=450,
        vbios="95.02.3C.00.EB", gpu_part_number="2684-301-A1", inforom_image="G002.0000.00.03",
        inforom_oem="2.0", inforom_ecc="6.16", ecc=False, remap_banks=192, serial="",
    ),
    "ada/rtx-4090-d": SyntheticCard(
        **_GEFORCE, name="NVIDIA GeForce RTX 4090 D", device_id=0x2685,
        subsystem_device_id=0x4103, subsystem_vendor_id=0x1458, architecture="Ada Lovelace",
        compute_capability=(8, 9), memory_mib=24564, reserved_mib=361, bus_width_bits=384,
        core_count=14592, graphics_mhz=3105, memory_mhz=10501, video_mhz=2415,
        power_default_w=425, power_min_w=150, power_max_w=425, vbios="95.02.71.00.1C",
        gpu_part_number="2685-250-A1", inforom_image="G002.0000.00.03", inforom_oem="2.0",
        inforom_ecc="6.16", ecc=False, remap_banks=192, serial="",
    ),
    "ada/l40s": SyntheticCard(
        name="NVIDIA L40S", device_id=0x26B9, subsystem_device_id=0x1851,
        architecture="Ada Lovelace", compute_capability=(8, 9), memory_mib=46068,
        reserved_mib=609, bus_width_bits=384, core_count=18176, graphics_mhz=2520,
        memory_mhz=9001, video_mhz=1965, bar1_mib=65536, bar1_max_mib=65536, power_default_w=350,
        power_max_w=350, vbios="95.02.66.00.02", board_part_number="900-2G133-0080-000",
        gpu_part_number="26B9-896-A1", inforom_image="G133.0242.00.03", inforom_oem="2.1",
        inforom_ecc="6.16", ecc=True, remap_banks=192,
    ),
    "ga10x/a16": SyntheticCard(
        name="NVIDIA A16", device_id=0x25B6, subsystem_device_id=0x14A9,
        compute_capability=(8, 6), memory_mib=15356, reserved_mib=263, bus_width_bits=128,
        core_count=1280, graphics_mhz=1755, memory_mhz=6251, video_mhz=1635, bar1_mib=16384,
        bar1_max_mib=16384, pcie_width=8, power_default_w=62, power_min_w=60, power_max_w=62,
        vbios="94.07.54.00.2C", board_part_number="900-2G171-0000-000",
        gpu_part_number="25B6-890-A1", inforom_image="G171.0200.00.04", inforom_oem="2.0",
        inforom_ecc="6.16", ecc=True, remap_banks=64, multi_gpu_board=True,
    ),
    "gb100/gb200": SyntheticCard(
        **_GB100, name="NVIDIA GB200", device_id=0x2941, subsystem_device_id=0x2046,
        memory_mib=189471, reserved_mib=742, graphics_mhz=2062, bar1_mib=262144,
        bar1_max_mib=262144, power_default_w=1200, power_max_w=1200, vbios="97.00.B9.00.69",
        board_part_number="900-2G548-A801-000", gpu_part_number="2941-892-A1",
        inforom_image="G548.0201.00.06", remap_banks=3968, mig_profiles=GB200, module_id=1,
    ),
    "gb100/gb300": SyntheticCard(
        **_GB100, name="NVIDIA GB300", device_id=0x31C2, subsystem_device_id=0x21F1,
        memory_mib=284208, reserved_mib=947, graphics_mhz=2070, bar1_mib=524288,
        bar1_max_mib=524288, power_default_w=1400, power_max_w=1400, vbios="97.10.4A.00.1A",
        board_part_number="900-2G548-0081-000", gpu_part_number="31C2-893-A1",
        inforom_image="G548.0301.00.03", remap_banks=5952, mig_profiles=GB300, module_id=1,
    ),
}  # fmt: skip

K80 = SyntheticCard(
    name="Tesla K80", device_id=0x102D, subsystem_device_id=0x106C, brand=2,
    architecture="Kepler", compute_capability=(3, 7), memory_mib=11441, bus_width_bits=384,
    core_count=2496, graphics_mhz=875, memory_mhz=2505, video_mhz=540, bar1_mib=16384,
    pcie_generation=3, power_default_w=149, power_max_w=175, vbios="80.21.1F.00.05",
    board_part_number="900-22080-0300-000", inforom_image="2080.0200.00.04", inforom_oem="1.1",
    inforom_ecc="3.0", ecc=True, page_retirement=True, multi_gpu_board=True,
)  # fmt: skip


def own(card: SyntheticCard, name: str) -> SyntheticCard:
    """Give a card identities of its own, from its name."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    number = int(digits[:8], 16) % 10**6
    return replace(
        card,
        uuid=f"GPU-{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}",
        serial=f"1650922{number:06d}" if card.serial else "",
        pdi=int(digits[32:48], 16),
    )


def bases() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every base."""
    for name, card in CARDS.items():
        yield name, dump_recording(synthetic_recording([own(card, name)], text=f"{card.name}."))
    first = own(K80, "kepler/k80")
    second = replace(
        own(K80, "kepler/k80 second"), serial=first.serial, bus_id="0000:08:00.0", minor=1,
        vbios="80.21.1F.00.06",
    )  # fmt: skip
    text = "Tesla K80, one board with two GPUs and one serial number."
    made = synthetic_recording([first, second], driver="470.256.02", text=text)
    yield "kepler/k80", dump_recording(made)


def main() -> int:
    """Write every base that differs from what is there."""
    for name, data in bases():
        path = FIXTURES / name / "recording.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)
            sys.stdout.write(f"{name}: {len(data)} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
