"""What physics allows: the rate that a memory clock and a bus, or a number of links, can carry."""

from __future__ import annotations

from gpuverify.model.product import Product

MARGIN_PERCENT = 5
"""How far above its nominal peak a rate may come out: peaks are rounded (public tables of
gpu-benches show 2016 GB/s on a card that is sold as 2000)."""

REACHED_PERCENT = 80
"""Share of its peak that a good card reaches with plain reads or writes: public runs of
gpu-benches, DCGM and FluidX3D on data-centre cards lie between 76 and 97 per cent."""


_LINK_KB_S = {
    "Pascal": 20_625_000, "Volta": 25_781_250, "Ampere": 26_562_500, "Hopper": 26_562_500,
    "Blackwell": 53_125_000,
}  # fmt: skip
"""What one NVLink of a generation carries one way at most, where a product's own is not on file
(nvml.h, NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON; read-outs show 25 781 and 26 562 MB/s)."""


def memory_peak_kb_s(clock_mhz: int, width_bits: int) -> int:
    """Return the highest rate of a memory, which moves two words a clock.

    Args:
        clock_mhz: Memory clock as the driver counts it.
        width_bits: Bus width.
    """
    return clock_mhz * 1000 * 2 * width_bits // 8


def product_memory_peak_kb_s(product: Product) -> int:
    """Return the highest memory rate of a product, 0 where it is not on file.

    Args:
        product: The product.
    """
    clocks = _numbers(product, "clock.memory_max_mhz")
    widths = _numbers(product, "memory.bus_width_bits")
    if not clocks or not widths:
        return 0
    return memory_peak_kb_s(max(clocks), max(widths))


def product_link_peak_kb_s(product: Product) -> int | None:
    """Return what all NVLinks of a product carry one way, None where it is not on file.

    Args:
        product: The product.
    """
    counts = _numbers(product, "nvlink.link_count")
    speeds = _numbers(product, "nvlink.link_speed_kb_s")
    if not counts:
        return None
    if max(counts) == 0:
        return 0
    speed = max(speeds, default=_LINK_KB_S.get(product.architecture, 0))
    return max(counts) * speed or None


def _numbers(product: Product, field: str) -> list[int]:
    """Return a product's integers of a field."""
    return [value.value for value in product.get(field) if isinstance(value.value, int)]
