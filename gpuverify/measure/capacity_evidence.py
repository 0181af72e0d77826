"""What a capacity proof saw, unjudged: whole numbers and words that survive a trip through JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CELL_BYTES = 16
MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One allocation under test.

    Attributes:
        address: Its device address.
        base: Global number of its first cell.
        cells: Its cells of 16 bytes.
    """

    address: int
    base: int
    cells: int

    @property
    def offset_bytes(self) -> int:
        """Where it begins in the tested bytes."""
        return self.base * CELL_BYTES

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return self.cells * CELL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCell:
    """A cell that holds something else than its own pattern.

    Attributes:
        cell: Its global number.
        low: Lower word seen, the pass's complement undone.
        high: Upper word seen, the pass's complement undone.
    """

    cell: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCheck:
    """What the check kernel said of one chunk.

    Attributes:
        chunk: Position of the chunk.
        bad: Bad cells counted.
        wanted: Records that the kernel wanted to write.
        cells: The records that fit.
        compared: Recorded cells that the host copied and compared itself.
        confirmed: Those in which it saw the same wrong content.
    """

    chunk: int
    bad: int
    wanted: int
    cells: tuple[BadCell, ...] = ()
    compared: int = 0
    confirmed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One write and check of everything.

    Attributes:
        label: "a" or "b".
        inverted: Whether the bitwise complement was written.
        planted: Cells in which the host planted a fault before the check.
        checks: One of each chunk.
    """

    label: str
    inverted: bool
    planted: tuple[int, ...]
    checks: tuple[ChunkCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A damaged chunk written once more.

    Attributes:
        chunk: Position of the chunk.
        inverted: Whether the complement was written, as in the pass that failed.
        at_once: Bad cells right after writing.
        rested: Bad cells after the dwell.
    """

    chunk: int
    inverted: bool
    at_once: tuple[BadCell, ...]
    rested: tuple[BadCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one chunk went through one phase.

    Attributes:
        phase: The phase.
        chunk: Position of the chunk.
        kb_s: Rate in kB/s by the host's clock.
    """

    phase: str
    chunk: int
    kb_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What ended the proof early.

    Attributes:
        phase: Where it was.
        kind: "call" for a failed driver call, "stalled", "overdue", "died", "stopped".
        call: The C symbol, "" where none failed.
        status: The driver's typed status, "" where no call failed.
        code: Its result code.
        offset_bytes: Offset in the tested bytes that was being touched, None outside of such work.
        gone: Whether the device answered nothing afterwards either.
    """

    phase: str
    kind: str
    call: str = ""
    status: str = ""
    code: int = 0
    offset_bytes: int | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityEvidence:
    """Everything that one capacity proof saw.

    Attributes:
        uuid: UUID of the device, as CUDA says.
        pci_bus_id: Its PCI bus id, as CUDA says.
        k0: First key of the pattern.
        k1: Second key of the pattern.
        claimed_bytes: Memory that the driver says the device has.
        l2_bytes: L2 cache that the driver tells of, 0 where not known.
        peak_kb_s: Highest rate that memory clock and bus width allow, 0 where not known.
        limit_bytes: Limit of the plan, 0 for none.
        info_before: Free and total bytes before allocating, as the driver says.
        info_after: The same with everything allocated.
        helper_bytes: Bytes allocated beside the tested ones.
        refused: Whether the driver refused bytes that it had called free.
        foreign_memory: What the driver says of chunks that are not plain device memory.
        rate_chunk_bytes: Smallest chunk whose rate counts.
        host_taken_bytes: Bytes that the host had less after all was allocated and written, None
            where nobody says.
        chunks: The tested allocations.
        passes: Both passes.
        digest: SHA-256 over the digests of all blocks, "" where not reached.
        digest_samples: Block, digest of the device and of the CPU.
        pages_read: Pages read back.
        pages_wrong: Pages that differ.
        page_cells: Some wrong cells of them.
        mixed_samples: Cells of the mixed memory that the CPU recomputed.
        mixed_wrong: Those that differ.
        diagnoses: Damaged chunks, written again.
        rates: By phase and chunk.
        timings: Duration of each check by the driver's events and by the host's clock, in ns.
        failure: What ended it early.
    """

    uuid: str
    pci_bus_id: str
    k0: int
    k1: int
    claimed_bytes: int
    l2_bytes: int = 0
    peak_kb_s: int = 0
    limit_bytes: int = 0
    info_before: tuple[int, int] = (0, 0)
    info_after: tuple[int, int] = (0, 0)
    helper_bytes: int = 0
    refused: bool = False
    foreign_memory: tuple[str, ...] = ()
    rate_chunk_bytes: int = 0
    host_taken_bytes: int | None = None
    chunks: tuple[Chunk, ...] = ()
    passes: tuple[Pass, ...] = ()
    digest: str = ""
    digest_samples: tuple[tuple[int, int, int], ...] = ()
    pages_read: int = 0
    pages_wrong: int = 0
    page_cells: tuple[BadCell, ...] = ()
    mixed_samples: int = 0
    mixed_wrong: int = 0
    diagnoses: tuple[Diagnosis, ...] = ()
    rates: tuple[Rate, ...] = ()
    timings: tuple[tuple[int, int], ...] = ()
    failure: Failure | None = None

    @property
    def allocated_bytes(self) -> int:
        """Bytes that were held at once."""
        return sum(chunk.size_bytes for chunk in self.chunks)

    @property
    def tested_cells(self) -> int:
        """Cells that at least one whole pass covered."""
        return sum(chunk.cells for chunk in self.chunks) if self.passes else 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; words of 64 bits are hexadecimal text."""
        out: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        out["k0"], out["k1"] = f"{self.k0:x}", f"{self.k1:x}"
        out["chunks"] = [[c.address, c.base, c.cells] for c in self.chunks]
        out["passes"] = [
            {
                "label": item.label,
                "inverted": item.inverted,
                "planted": list(item.planted),
                "checks": [
                    [c.chunk, c.bad, c.wanted, _cells_out(c.cells), c.compared, c.confirmed]
                    for c in item.checks
                ],
            }
            for item in self.passes
        ]
        out["digest_samples"] = [[b, f"{d:x}", f"{c:x}"] for b, d, c in self.digest_samples]
        out["page_cells"] = _cells_out(self.page_cells)
        out["diagnoses"] = [
            [d.chunk, d.inverted, _cells_out(d.at_once), _cells_out(d.rested)]
            for d in self.diagnoses
        ]
        out["timings"] = [list(pair) for pair in self.timings]
        out["rates"] = [[r.phase, r.chunk, r.kb_s] for r in self.rates]
        fail = self.failure
        out["failure"] = None if fail is None else {n: getattr(fail, n) for n in Failure.__slots__}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CapacityEvidence:
        """Build evidence from what `to_json` returned."""
        plain = {name: _tuple(data[name]) for name in _PLAIN}
        return cls(
            **plain,
            k0=int(data["k0"], 16),
            k1=int(data["k1"], 16),
            chunks=tuple(Chunk(address=a, base=b, cells=c) for a, b, c in data["chunks"]),
            passes=tuple(
                Pass(
                    label=item["label"],
                    inverted=item["inverted"],
                    planted=tuple(item["planted"]),
                    checks=tuple(
                        ChunkCheck(
                            chunk=chunk,
                            bad=bad,
                            wanted=wanted,
                            cells=_cells_in(cells),
                            compared=compared,
                            confirmed=confirmed,
                        )
                        for chunk, bad, wanted, cells, compared, confirmed in item["checks"]
                    ),
                )
                for item in data["passes"]
            ),
            digest_samples=tuple(
                (block, int(seen, 16), int(right, 16))
                for block, seen, right in data["digest_samples"]
            ),
            page_cells=_cells_in(data["page_cells"]),
            diagnoses=tuple(
                Diagnosis(
                    chunk=chunk,
                    inverted=inverted,
                    at_once=_cells_in(at_once),
                    rested=_cells_in(rested),
                )
                for chunk, inverted, at_once, rested in data["diagnoses"]
            ),
            timings=tuple((event, host) for event, host in data["timings"]),
            rates=tuple(Rate(phase=p, chunk=c, kb_s=k) for p, c, k in data["rates"]),
            failure=None if data["failure"] is None else Failure(**data["failure"]),
        )


_PLAIN = (
    "uuid", "pci_bus_id", "claimed_bytes", "l2_bytes", "peak_kb_s", "limit_bytes", "info_before",
    "info_after", "helper_bytes", "refused", "foreign_memory", "rate_chunk_bytes",
    "host_taken_bytes", "digest",
    "pages_read", "pages_wrong", "mixed_samples", "mixed_wrong",
)  # fmt: skip


def _tuple(value: Any) -> Any:
    """Turn JSON's lists back into tuples."""
    return tuple(value) if isinstance(value, list) else value


def _cells_out(cells: Sequence[BadCell]) -> list[list[int | str]]:
    """Write bad cells for JSON."""
    return [[c.cell, f"{c.low:x}", f"{c.high:x}"] for c in cells]


def _cells_in(cells: Sequence[Sequence[Any]]) -> tuple[BadCell, ...]:
    """Read bad cells from JSON."""
    return tuple(BadCell(cell=c, low=int(low, 16), high=int(high, 16)) for c, low, high in cells)
