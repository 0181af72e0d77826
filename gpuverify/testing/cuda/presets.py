"""Card profiles by name. Rates and bandwidths are what such cards were published to do.

They serve to test that measuring code reads a card right; they are never reference values.
Sources: NVIDIA's architecture whitepapers and its throughput table (CUDA C++ Programming Guide,
"Arithmetic Instructions") for SM counts and rates per clock; te42kyfo/gpu-benches (2024) for
bandwidths, latencies and caches of V100, A100, H100 PCIe and the like; NVIDIA/nvbandwidth and
NVIDIA/nccl#1264 for links; niconiconi's review of the CMP 170HX. What nobody published is
interpolated and no better than plausible.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gpuverify.testing.cuda.profile import CardProfile, Rates

_MB = 1 << 20
_AMPERE = Rates(fp64_fma=32)
_HOPPER = Rates(
    fp32_fma=128, fp32_mul_add=128, fp64_fma=64, fp16_fma=256, tensor_f16=1280, tensor_bf16=1280,
    tensor_tf32=640, tensor_f64=128, tensor_s8=2560, tensor_f8=2560,
)  # fmt: skip
_VOLTA = Rates(
    fp16_fma=128, tensor_f16=512, tensor_bf16=0, tensor_tf32=0, tensor_f64=0, tensor_s8=0
)
_ADA = Rates(
    fp32_fma=128, fp32_mul_add=128, fp64_fma=2, fp16_fma=128, tensor_f16=512, tensor_bf16=512,
    tensor_tf32=256, tensor_f64=2, tensor_s8=1024, tensor_f8=1024,
)  # fmt: skip

_A100_40 = CardProfile(
    name="NVIDIA A100-SXM4-40GB", claimed_mib=40442, sm_count=108, sm_clock_khz=1_410_000,
    memory_clock_khz=1_215_000, bus_width_bits=5120, l1_bytes=192 << 10, l2_bytes=40 * _MB,
    l1_latency_cycles=36, l2_latency_cycles=213, memory_latency_cycles=574, rates=_AMPERE,
    memory_read_kb_s=1_490_000_000, memory_write_kb_s=1_503_000_000,
    memory_copy_kb_s=1_381_000_000, l2_read_kb_s=5_400_000_000, peer_kb_s=276_000_000, ecc=True,
)  # fmt: skip
_A100_80 = dataclasses.replace(
    _A100_40, name="NVIDIA A100-SXM4-80GB", claimed_mib=81050, memory_clock_khz=1_593_000,
    memory_latency_cycles=570, memory_read_kb_s=1_769_000_000, memory_write_kb_s=1_880_000_000,
    memory_copy_kb_s=1_732_000_000,
)  # fmt: skip
_H100_SXM = CardProfile(
    name="NVIDIA H100 80GB HBM3", compute_capability=(9, 0), claimed_mib=81090, sm_count=132,
    sm_clock_khz=1_755_000, memory_clock_khz=2_619_000, bus_width_bits=5120, l1_bytes=256 << 10,
    l2_bytes=50 * _MB, l1_latency_cycles=34, l2_latency_cycles=265, memory_latency_cycles=657,
    rates=_HOPPER, memory_read_kb_s=2_650_000_000, memory_write_kb_s=2_900_000_000,
    memory_copy_kb_s=2_600_000_000, l2_read_kb_s=8_500_000_000, pcie_h2d_kb_s=53_000_000,
    pcie_d2h_kb_s=54_000_000, peer_kb_s=378_000_000, ecc=True,
)  # fmt: skip
_V100_16 = CardProfile(
    name="Tesla V100-SXM2-16GB", compute_capability=(7, 0), claimed_mib=16160, sm_count=80,
    sm_clock_khz=1_380_000, memory_clock_khz=877_000, bus_width_bits=4096, l1_bytes=128 << 10,
    l2_bytes=6 * _MB, l1_latency_cycles=30, l2_latency_cycles=215, memory_latency_cycles=437,
    rates=_VOLTA, memory_read_kb_s=866_000_000, memory_write_kb_s=895_000_000,
    memory_copy_kb_s=802_000_000, l2_read_kb_s=2_500_000_000, pcie_h2d_kb_s=12_300_000,
    pcie_d2h_kb_s=12_600_000, peer_kb_s=140_000_000, ecc=True,
)  # fmt: skip

PRESETS: dict[str, CardProfile] = {
    "a100-40": _A100_40,
    "a100-80": _A100_80,
    "a100-pcie-40": dataclasses.replace(_A100_40, name="NVIDIA A100-PCIE-40GB", peer_kb_s=0),
    "a100-pcie-80": dataclasses.replace(
        _A100_80, name="NVIDIA A100 80GB PCIe", memory_clock_khz=1_512_000, peer_kb_s=0,
        memory_read_kb_s=1_680_000_000, memory_write_kb_s=1_790_000_000,
        memory_copy_kb_s=1_640_000_000,
    ),
    "a800": dataclasses.replace(_A100_80, name="NVIDIA A800-SXM4-80GB", peer_kb_s=184_000_000),
    "a30": dataclasses.replace(
        _A100_40, name="NVIDIA A30", claimed_mib=24062, sm_count=56, sm_clock_khz=1_440_000,
        bus_width_bits=3072, l2_bytes=24 * _MB, peer_kb_s=0, memory_read_kb_s=830_000_000,
        memory_write_kb_s=860_000_000, memory_copy_kb_s=800_000_000, l2_read_kb_s=2_800_000_000,
    ),
    "h100-sxm": _H100_SXM,
    "h100-pcie": dataclasses.replace(
        _H100_SXM, name="NVIDIA H100 PCIe", sm_count=114, memory_clock_khz=1_593_000, peer_kb_s=0,
        memory_read_kb_s=1_942_000_000, memory_write_kb_s=2_016_000_000,
        memory_copy_kb_s=1_704_000_000, l2_read_kb_s=7_000_000_000,
    ),
    "h800": dataclasses.replace(_H100_SXM, name="NVIDIA H800", peer_kb_s=160_000_000),
    "h200": dataclasses.replace(
        _H100_SXM, name="NVIDIA H200", claimed_mib=143156, sm_clock_khz=1_830_000,
        memory_clock_khz=3_201_000, bus_width_bits=6144, memory_read_kb_s=3_884_000_000,
        memory_write_kb_s=3_900_000_000, memory_copy_kb_s=3_165_000_000,
        l2_read_kb_s=10_300_000_000,
    ),
    "h20": dataclasses.replace(
        _H100_SXM, name="NVIDIA H20", claimed_mib=97280, sm_count=78, sm_clock_khz=1_830_000,
        bus_width_bits=6144, l2_bytes=60 * _MB, memory_read_kb_s=3_300_000_000,
        memory_write_kb_s=3_400_000_000, memory_copy_kb_s=3_100_000_000,
        rates=dataclasses.replace(
            _HOPPER, fp64_fma=3, tensor_f16=512, tensor_bf16=512, tensor_tf32=256, tensor_f64=3,
            tensor_s8=1024, tensor_f8=1024,
        ),
    ),
    "cmp-170hx": dataclasses.replace(
        _A100_40, name="NVIDIA CMP 170HX", claimed_mib=8000, sm_count=70, bus_width_bits=4096,
        memory_clock_khz=1_458_000, l2_bytes=32 * _MB, memory_read_kb_s=1_355_000_000,
        memory_write_kb_s=1_370_000_000, memory_copy_kb_s=1_280_000_000, peer_kb_s=0,
        pcie_h2d_kb_s=800_000, pcie_d2h_kb_s=820_000, ecc=False,
        rates=dataclasses.replace(
            _AMPERE, fp32_fma=2, fp64_fma=1, tensor_f16=64, tensor_bf16=64, tensor_tf32=32,
            tensor_f64=4, tensor_s8=128,
        ),
    ),
    "v100-16": _V100_16,
    "v100-32": dataclasses.replace(_V100_16, name="Tesla V100-SXM2-32GB", claimed_mib=32510),
    "rtx-4090": CardProfile(
        name="NVIDIA GeForce RTX 4090", compute_capability=(8, 9), claimed_mib=24082, sm_count=128,
        sm_clock_khz=2_520_000, memory_clock_khz=10_501_000, bus_width_bits=384,
        l1_bytes=128 << 10, l2_bytes=72 * _MB, l1_latency_cycles=36, l2_latency_cycles=277,
        memory_latency_cycles=632, rates=_ADA, memory_read_kb_s=930_000_000,
        memory_write_kb_s=945_000_000, memory_copy_kb_s=910_000_000, l2_read_kb_s=5_000_000_000,
    ),
}  # fmt: skip
# Mining silicon under a patched driver: 64 GB of memory, the name, and what the die cannot hide.
PRESETS["cmp-170hx-unlocked"] = dataclasses.replace(
    PRESETS["cmp-170hx"], name="NVIDIA A100-SXM4-80GB", claimed_mib=81050, real_mib=65536,
    reported_sm_count=108, memory_clock_khz=1_593_000, bus_width_bits=5120,
    reported_l2_bytes=40 * _MB,
)  # fmt: skip


def preset_names() -> tuple[str, ...]:
    """Return the names that `card` takes."""
    return tuple(PRESETS)


def card(preset: str, *, index: int = 0, **changes: Any) -> CardProfile:
    """Return a preset with changes.

    Args:
        preset: A name of `preset_names`.
        index: Number of the card in its machine: gives it a UUID and a PCI address of its own.
        changes: Fields of `CardProfile`. With a smaller `claimed_mib` and no `real_mib` the card
            is whole; a full-size honest card needs that much memory of this machine.
    """
    base = PRESETS[preset]
    if "claimed_mib" in changes:
        changes.setdefault("real_mib", None)
    changes.setdefault("uuid", f"GPU-5a11ed00-{index + 1:04x}-4e7a-8c3d-7e57ca5e{index + 1:04x}")
    changes.setdefault("pci_bus_id", f"0000:{7 + 8 * index:02X}:00.0")
    return dataclasses.replace(base, **changes)
