"""What an emulated card is, what it says it is, and what is wrong with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

MIB = 1 << 20
_BYTES_FROM_MIB = {
    "claimed_mib": "claimed_bytes", "real_mib": "real_bytes",
    "allocatable_mib": "allocatable_bytes", "context_mib": "context_bytes",
    "slow_from_mib": "slow_from_bytes", "lost_from_mib": "lost_from_bytes",
    "decay_from_mib": "decay_from_bytes", "decay_step_mib": "decay_step_bytes",
    "told_total_mib": "told_total_bytes", "told_free_mib": "told_free_bytes",
    "page_kib": "page_bytes",
}  # fmt: skip
LAYOUTS = ("fold", "permuted", "drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Operations per clock and SM; a fused multiply-add is one operation.

    Attributes:
        fp32_fma: Fused multiply-adds in single precision.
        fp32_mul_add: Separate multiplications and additions in single precision.
        fp64_fma: Fused multiply-adds in double precision.
        fp16_fma: Fused multiply-adds in half precision (two in one packed instruction).
        int_mad: 32-bit integer multiply-adds.
        alu: 32-bit integer logic, shifts, additions, comparisons.
        tensor_f16: Multiply-adds of `mma` on f16.
        tensor_bf16: The same on bf16.
        tensor_tf32: The same on tf32.
        tensor_f64: The same on f64.
        tensor_s8: The same on 8-bit integers.
        tensor_f8: The same on 8-bit floats.
    """

    fp32_fma: float = 64
    fp32_mul_add: float = 64
    fp64_fma: float = 32
    fp16_fma: float = 256
    int_mad: float = 64
    alu: float = 64
    tensor_f16: float = 1024
    tensor_bf16: float = 1024
    tensor_tf32: float = 512
    tensor_f64: float = 64
    tensor_s8: float = 2048
    tensor_f8: float = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with a card, or with the driver above it. Nothing by default.

    Attributes:
        stuck_bytes: Offsets of bytes with a bit that cannot be changed.
        stuck_mask: Which bit of them.
        stuck_at_one: Whether it reads one, else zero.
        flip_byte: Offset of a byte of which a bit flips once.
        flip_mask: Which bit.
        flip_at_write: After how many writes that cover it.
        decay_after_s: Seconds after the last write when bits flip in held memory.
        decay_from_mib: Where the bytes that decay begin.
        decay_step_mib: How far apart they are.
        slow_from_mib: Memory from here on is somebody else's (swap): slower.
        slow_factor: How much slower.
        lost_from_mib: The device is lost when memory from here on is used.
        lost_at_call: The device is lost at this call, counted over all calls about the card.
        lost_code: What a lost device answers from then on.
        hang_kernel: Kernels (comma list) that never finish.
        hang_call: A call that never returns.
        hang_at: Which one of these calls.
        fail_call: A call that fails.
        fail_at: Which one of these calls.
        fail_any_at: The n-th of all calls fails, whichever it is; 0 for none.
        fail_code: With what.
        skip_kernels: Kernels that the driver says it ran and did not (comma list, "*" for all).
        skip_copies: Copies that it says it made: h2d, d2h, d2d, memset, peer, or "*".
        clock_factor: %clock64 runs this much faster than the SM does.
        globaltimer_factor: %globaltimer runs this much faster than time.
        event_factor: Event times are multiplied by this.
        told_total_mib: Total memory that the driver tells of, where that is another.
        told_free_mib: Free memory that it tells of.
        managed: Whether pointers are said to be managed memory.
        no_jit: Whether the JIT compiler's library is missing.
        missing_symbols: Functions that this driver is too old to have (of the whole library).
    """

    stuck_bytes: tuple[int, ...] = ()
    stuck_mask: int = 4
    stuck_at_one: bool = True
    flip_byte: int | None = None
    flip_mask: int = 16
    flip_at_write: int = 1
    decay_after_s: float = 0
    decay_from_mib: int = 0
    decay_step_mib: int = 32
    slow_from_mib: int | None = None
    slow_factor: float = 20
    lost_from_mib: int | None = None
    lost_at_call: int = 0
    lost_code: int = 999
    hang_kernel: str = ""
    hang_call: str = ""
    hang_at: int = 1
    fail_call: str = ""
    fail_at: int = 1
    fail_any_at: int = 0
    fail_code: int = 999
    skip_kernels: str = ""
    skip_copies: str = ""
    clock_factor: float = 1
    globaltimer_factor: float = 1
    event_factor: float = 1
    told_total_mib: int | None = None
    told_free_mib: int | None = None
    managed: bool = False
    no_jit: bool = False
    missing_symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardProfile:
    """One emulated card. Start from a preset (`card`) and change what the test is about.

    Attributes:
        name: What CUDA calls it.
        uuid: As NVML prints it, "GPU-" and the rest.
        pci_bus_id: As the driver prints it.
        compute_capability: Major and minor.
        claimed_mib: Memory that the card says it has, and that can be addressed.
        real_mib: Memory that exists; None for all that it claims.
        layout: What lies beyond the real memory: "fold" (it begins again), "permuted" (pages of
            it in another order), "drop" (writes are lost and reads give `drop_value`).
        drop_value: Byte that dropped memory reads as.
        page_kib: Page of the permuted fold.
        allocatable_mib: How much can be allocated; None for all.
        context_mib: What a context takes.
        pool: Cards of one pool have one memory between them, in whatever process they are:
            one card that is shown twice.
        pool_counts: Whether what one of the pool allocates is missing for the others; else they
            overwrite each other.
        sm_count: SMs that run.
        reported_sm_count: SMs that the driver tells of; None for the same.
        sm_clock_khz: Clock under load.
        reported_sm_clock_khz: Clock that the driver tells of; None for the same.
        memory_clock_khz: Memory clock that the driver tells of.
        bus_width_bits: Memory bus width that the driver tells of.
        l1_bytes: L1 data cache of an SM.
        l2_bytes: L2 cache.
        reported_l2_bytes: L2 that the driver tells of; None for the same.
        l1_latency_cycles: Cycles of a load that hits L1.
        l2_latency_cycles: Cycles of a load that hits L2.
        memory_latency_cycles: Cycles of a load from memory.
        rates: Operations per clock and SM.
        memory_read_kb_s: Rate of reading memory.
        memory_write_kb_s: Rate of writing memory.
        memory_copy_kb_s: Rate of copying, read and written bytes counted.
        l2_read_kb_s: Rate of reading L2.
        pcie_h2d_kb_s: Rate of copies from pinned host memory.
        pcie_d2h_kb_s: Rate of copies to pinned host memory.
        pcie_latency_ns: What each copy takes beside its bytes.
        peer_kb_s: Rate of direct copies to a peer; 0 for none.
        globaltimer_step_ns: Granularity of %globaltimer.
        ptx_max: Newest PTX that the driver compiles, times 10.
        ecc: Whether ECC is on.
        faults: What is wrong.
    """

    name: str
    uuid: str = "GPU-5a11ed00-0001-4e7a-8c3d-7e57ca5e0001"
    pci_bus_id: str = "0000:07:00.0"
    compute_capability: tuple[int, int] = (8, 0)
    claimed_mib: int
    real_mib: int | None = None
    layout: str = "fold"
    drop_value: int = 255
    page_kib: int = 64
    allocatable_mib: int | None = None
    context_mib: int = 16
    pool: str = ""
    pool_counts: bool = True
    sm_count: int
    reported_sm_count: int | None = None
    sm_clock_khz: int
    reported_sm_clock_khz: int | None = None
    memory_clock_khz: int
    bus_width_bits: int
    l1_bytes: int = 128 << 10
    l2_bytes: int
    reported_l2_bytes: int | None = None
    l1_latency_cycles: int = 33
    l2_latency_cycles: int = 213
    memory_latency_cycles: int = 573
    rates: Rates = field(default_factory=Rates)
    memory_read_kb_s: int
    memory_write_kb_s: int
    memory_copy_kb_s: int
    l2_read_kb_s: int
    pcie_h2d_kb_s: int = 26_000_000
    pcie_d2h_kb_s: int = 26_400_000
    pcie_latency_ns: int = 1500
    peer_kb_s: int = 0
    globaltimer_step_ns: int = 32
    ptx_max: int = 84
    ecc: bool = False
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        """Refuse what no memory can be made of."""
        real = self.claimed_mib if self.real_mib is None else self.real_mib
        if not 0 < real <= self.claimed_mib:
            raise ValueError(f"real_mib {real} is not within 1..{self.claimed_mib}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is none of {', '.join(LAYOUTS)}")
        if self.claimed_mib % 2:
            raise ValueError("claimed_mib has to be even: memory is handed out by 2 MiB")


def _items(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Fields of a dataclass as settings; what is None stays out and so takes its default."""
    out: list[tuple[str, str]] = []
    for item in dataclasses.fields(value):  # type: ignore[arg-type]
        content = getattr(value, item.name)
        name = prefix + item.name
        if content is None or name in ("missing_symbols", "compute_capability"):
            continue
        if isinstance(content, (Rates, Faults)):
            out += _items(content, "rate_" if isinstance(content, Rates) else "")
        elif name in _BYTES_FROM_MIB:
            unit = 1024 if name.endswith("_kib") else MIB
            out.append((_BYTES_FROM_MIB[name], str(content * unit)))
        elif isinstance(content, tuple):
            out.append((name, ",".join(str(part) for part in content)))
        elif isinstance(content, bool):
            out.append((name, str(int(content))))
        else:
            out.append((name, str(content)))
    return out


def settings_text(profile: CardProfile) -> str:
    """Return a card's section of the file that the emulated driver reads.

    Args:
        profile: The card.
    """
    major, minor = profile.compute_capability
    lines = ["[card]", f"compute_major={major}", f"compute_minor={minor}"]
    lines += [f"{name}={value}" for name, value in _items(profile) if "\n" not in value]
    return "\n".join(lines) + "\n"
