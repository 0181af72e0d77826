"""What the fingerprint measures and how long it may take: decided before the card is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from gpuverify.errors import UsageError

MIB = 1 << 20
GIB = 1 << 30

# Timed kernels: the census, the clock pair, five chains and six tensor kernels.
_TIMED_KERNELS = 13
# Compiling, allocating, copying results: generous.
_OVERHEAD_MS = 1200
# Times that a pass of the memory rates goes through its memory: reading once; writing and checking;
# filling, copying (which counts twice) and checking both.
_STREAMS = 8
_HOP_NS = 400
_PCIE_KB_S = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintPlan:
    """Parameters of one fingerprint.

    Attributes:
        threads: Threads of a block of the timed kernels.
        blocks_per_sm: Blocks for each SM in the timed kernels.
        sms: SMs that arithmetic is put on, 0 for all.
        repeats: Runs of each timed kernel; the median counts.
        target_ms: How long one run of a timed kernel shall take.
        iterations: Iterations of the timed kernels; 0 to find out how many fill the target.
        census_iterations: Iterations of the census.
        memory_bytes: Most that the memory rates are measured over.
        memory_passes: Runs of each memory kernel; the median counts.
        latency_hops: Loads of each timed walk.
        latency_warm_hops: Most loads of the walk that fills the caches before; where they are
            fewer than a lap, the stores that built the walk have filled the L2 cache.
        latency_largest_bytes: Largest memory of a walk; has to exceed every L2 cache.
        latency_steps: Whether to look for the size at which the L2 cache ends.
        latency_refinements: Further walks between the sizes where it seems to end.
        l2_periods: Sizes of the sets for the L2 rate, in cells a thread.
        l2_loads: Loads of a thread for the L2 rate; a multiple of 16.
        pcie_bytes: Size of one copy between host and card.
        pcie_passes: Copies each way; the median counts.
        pcie_hold_ms: How long copies go on, so that others can see the link awake.
        peer_bytes: Size of one copy between two cards.
        load_ms: How long the card is kept busy for heat and power, 0 for not at all.
    """

    threads: int = 256
    blocks_per_sm: int = 4
    sms: int = 0
    repeats: int = 3
    target_ms: int = 50
    iterations: int = 0
    census_iterations: int = 512
    memory_bytes: int = 8 * GIB
    memory_passes: int = 10
    latency_hops: int = 1 << 16
    latency_warm_hops: int = 1 << 20
    latency_largest_bytes: int = 256 * MIB
    latency_steps: bool = True
    latency_refinements: int = 3
    l2_periods: tuple[int, ...] = (2, 4, 8)
    l2_loads: int = 8192
    pcie_bytes: int = 256 * MIB
    pcie_passes: int = 5
    pcie_hold_ms: int = 1000
    peer_bytes: int = 512 * MIB
    load_ms: int = 8000

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be carried out."""
        for item in fields(self):
            value = getattr(self, item.name)
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, int) or number < 0:
                    raise UsageError(f"fingerprint plan: {item.name} has to be whole, 0 or more")
        if not 32 <= self.threads <= 1024 or self.threads % 32:
            raise UsageError("fingerprint plan: threads has to be a multiple of 32 up to 1024")
        wanted = (
            "blocks_per_sm",
            "repeats",
            "target_ms",
            "census_iterations",
            "memory_passes",
            "pcie_passes",
            "l2_periods",
        )
        for name in wanted:
            if not getattr(self, name):
                raise UsageError(f"fingerprint plan: {name} has to be more than 0")
        if self.latency_hops % 8 or not self.latency_hops or self.latency_warm_hops % 8:
            raise UsageError("fingerprint plan: the hops have to be multiples of 8")
        turns = max(8, *self.l2_periods)
        if not self.l2_loads or any(self.l2_loads % count for count in (turns, *self.l2_periods)):
            raise UsageError("fingerprint plan: l2_loads has to be a multiple of 8 and the periods")

    @classmethod
    def quick(cls) -> FingerprintPlan:
        """The plan of `--measure quick`: short runs, no search for the end of the L2 cache."""
        return cls(
            repeats=2,
            target_ms=25,
            memory_bytes=2 * GIB,
            memory_passes=4,
            latency_steps=False,
            l2_periods=(2,),
            pcie_bytes=64 * MIB,
            pcie_passes=3,
            pcie_hold_ms=600,
            peer_bytes=128 * MIB,
            load_ms=0,
        )

    @classmethod
    def full(cls) -> FingerprintPlan:
        """The plan of `--measure full`."""
        return cls()

    @classmethod
    def of(cls, level: str, load_ms: int | None = None) -> FingerprintPlan:
        """Return the plan of a level.

        Args:
            level: quick or full.
            load_ms: How long the card is kept busy; the level's own where None.

        Raises:
            UsageError: There is no such level.
        """
        plans = {"quick": cls.quick, "full": cls.full}
        if level not in plans:
            raise UsageError(f"fingerprint plan: no level {level}, quick and full")
        plan = plans[level]()
        return plan if load_ms is None else replace(plan, load_ms=load_ms)

    def emulated(self) -> FingerprintPlan:
        """Return the same plan with work that a CPU can do.

        An emulated card's clocks are a model without noise, so that little work shows as much.
        """
        return replace(
            self,
            blocks_per_sm=1,
            sms=2,
            repeats=1,
            iterations=400,
            census_iterations=8,
            memory_bytes=min(self.memory_bytes, 64 * MIB),
            memory_passes=2,
            latency_hops=1 << 14,
            latency_warm_hops=1 << 22,
            latency_refinements=min(self.latency_refinements, 1),
            latency_largest_bytes=min(self.latency_largest_bytes, 160 * MIB),
            l2_periods=self.l2_periods[:1],
            l2_loads=64,
            pcie_bytes=min(self.pcie_bytes, 16 * MIB),
            pcie_passes=2,
            pcie_hold_ms=min(self.pcie_hold_ms, 100),
            peer_bytes=min(self.peer_bytes, 16 * MIB),
            load_ms=min(self.load_ms, 300),
        )

    def estimate_ms(self, total_bytes: int, kb_s: int) -> int:
        """Return how long the fingerprint is expected to take.

        Args:
            total_bytes: Memory of the card.
            kb_s: Rate at which its memory is expected to be written and read.
        """
        timed = _TIMED_KERNELS * (self.repeats + 1) * self.target_ms
        streamed = _STREAMS * (self.memory_passes + 1) * min(self.memory_bytes, total_bytes // 4)
        laps = 8 if self.latency_steps else 1
        hops = laps * (self.latency_warm_hops + 2 * self.latency_hops)
        copied = 2 * (self.pcie_passes + 1) * self.pcie_bytes
        return (
            _OVERHEAD_MS
            + timed
            + streamed // max(1, kb_s)
            + hops * _HOP_NS // 1_000_000
            + copied // _PCIE_KB_S
            + self.pcie_hold_ms
            + self.load_ms
        )

    def to_json(self) -> dict[str, object]:
        """Return the plan as a JSON object."""
        return {**asdict(self), "l2_periods": list(self.l2_periods)}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> FingerprintPlan:
        """Build a plan from a JSON object.

        Raises:
            UsageError: It holds something else than a plan's fields.
        """
        names = {item.name for item in fields(cls)}
        if not set(data) <= names:
            raise UsageError("fingerprint plan: unknown " + ", ".join(sorted(set(data) - names)))
        values = dict(data)
        periods = values.get("l2_periods")
        if isinstance(periods, list):
            values["l2_periods"] = tuple(periods)
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ refuses other types
