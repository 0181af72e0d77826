"""What the capacity proof does and how long it may take: decided before the card is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from gpuverify.errors import UsageError

MIB = 1 << 20
GIB = 1 << 30

# Times the whole memory is streamed: two writes, two checks, one digest, the butterfly.
_STREAMS_BESIDE_BUTTERFLY = 5
_DWELLS = 2
# Plain Python recomputes 1 MiB of pattern in about this time on a slow server core.
_CPU_MS_PER_MIB = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    """Parameters of one capacity proof.

    Attributes:
        chunk_bytes: First size that is allocated; halved while the driver refuses it.
        smallest_chunk_bytes: Size below which allocation stops.
        reserve_bytes: What is left free for the driver's own needs while kernels run.
        limit_bytes: Most that is tested, 0 for everything that can be had.
        dwell_ms: How long the pattern rests before it is checked, each pass.
        planted_faults: Secret faults that the check has to report.
        records: Most bad cells of one chunk that are recorded.
        digest_blocks: Blocks of 1 MiB that the CPU recomputes.
        pages: Pages of 4 KiB that are read back and compared on the CPU.
        butterfly_stages: Mixing stages across chunks.
        butterfly_samples: Cells of the mixed memory that the CPU recomputes.
        rate_chunk_bytes: Smallest chunk whose rate is judged; short runs time the launch alone.
        diagnose_chunks: Chunks with wrong bits that are written once more to tell the kind.
        stall_ms: Longest time without progress until the child is given up.
        deadline_ms: Longest time in all until the child is given up.
    """

    chunk_bytes: int = GIB
    smallest_chunk_bytes: int = 2 * MIB
    reserve_bytes: int = 64 * MIB
    limit_bytes: int = 0
    dwell_ms: int = 2000
    planted_faults: int = 7
    records: int = 256
    digest_blocks: int = 24
    pages: int = 256
    butterfly_stages: int = 3
    butterfly_samples: int = 64
    rate_chunk_bytes: int = 32 * MIB
    diagnose_chunks: int = 4
    stall_ms: int = 60_000
    deadline_ms: int = 300_000

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be carried out."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"capacity plan: {item.name} has to be a whole number, 0 or more")
        if self.smallest_chunk_bytes < MIB or self.smallest_chunk_bytes % MIB:
            raise UsageError("capacity plan: smallest_chunk_bytes has to be whole MiB, at least 1")
        if self.chunk_bytes < self.smallest_chunk_bytes or self.chunk_bytes % MIB:
            raise UsageError("capacity plan: chunk_bytes has to be whole MiB, not the smaller one")
        if not self.planted_faults or not self.records > self.planted_faults:
            raise UsageError("capacity plan: needs planted faults, and more records than those")

    @classmethod
    def quick(cls) -> CapacityPlan:
        """The plan of `--measure quick`: a short dwell, a small sample on the CPU."""
        return cls(dwell_ms=1000, digest_blocks=12, pages=128)

    @classmethod
    def full(cls) -> CapacityPlan:
        """The plan of `--measure full`."""
        return cls(dwell_ms=4000, digest_blocks=48, pages=512, butterfly_samples=128)

    def estimate_ms(self, total_bytes: int, kb_s: int) -> int:
        """Return how long the proof is expected to take beyond allocation.

        Args:
            total_bytes: Memory of the card.
            kb_s: Rate at which it is expected to be written and read.
        """
        tested = min(total_bytes, self.limit_bytes or total_bytes)
        # One butterfly stage reads and writes everything.
        streams = _STREAMS_BESIDE_BUTTERFLY + 2 * self.butterfly_stages
        stream_ms = tested * streams // max(1, kb_s)
        cpu_ms = (self.digest_blocks + self.pages // 256 + 1) * _CPU_MS_PER_MIB
        return stream_ms + _DWELLS * self.dwell_ms + cpu_ms

    def to_json(self) -> dict[str, int]:
        """Return the plan as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> CapacityPlan:
        """Build a plan from a JSON object.

        Raises:
            UsageError: It holds something else than a plan's fields.
        """
        names = {item.name for item in fields(cls)}
        if not set(data) <= names:
            raise UsageError("capacity plan: unknown field " + ", ".join(sorted(set(data) - names)))
        return cls(**data)  # type: ignore[arg-type]  # __post_init__ refuses other types
