"""What a capacity proof means. Pure: evidence in, one typed class with its numbers out.

A fold is called one only where two independent detectors agree: cells that decode to another
cell's pattern, and something that does not stand on the same kernel's word. Where the device and
the CPU disagree in a way that memory cannot explain, the measurement is invalid, never the card.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpuverify.measure.capacity_decode import Decoded, Kind, decode_cell
from gpuverify.measure.capacity_evidence import CELL_BYTES, BadCell, CapacityEvidence, Pass
from gpuverify.measure.driver_status import DriverStatus


class CapacityClass(enum.Enum):
    """What the tested memory is."""

    WHOLE = "whole"
    FOLDED = "folded"
    PAGE_PERMUTED = "page-permuted"
    DROPPED_WRITES = "dropped-writes"
    STUCK_BITS = "stuck-bits"
    FLIPPED_BITS = "flipped-bits"
    DECAYING = "decaying"
    HOST_BACKED = "host-backed"
    SLOW_REGION = "slow-region"
    SHORT = "short"
    LOST = "lost"
    INVALID = "invalid"


# Short: less than this could be had. The driver's own reserve is 3 % on the worst card on file.
_SHORT_PPM = 900_000
# Chunks this much slower than the fast ones do not lie in the same memory. Memory behind PCIe is
# over 100 times slower (gpu-benches um-stream, V100: 822 against 5 GB/s).
_SLOW_FACTOR = 6
_SLOW_PHASES = 3
_SLOW_CHUNKS = 3
# The host lost about as much as is slow: what it lost is then what is shown as the card's. Less
# than the first is what any program takes.
_HOST_LEAST_BYTES = 256 << 20
_HOST_PERCENT = (75, 150)
# Distances seen in fewer than one of so many aliases are no distance of the fold.
_RARE = 50
# Chunks of so many times the cache run at the memory's rate, never above what its clock allows.
_CACHES = 4
_PEAK_PERCENT = 110
# Differences in memory info that several processes or rounding explain.
_INFO_PPM = 50_000
# Host and event clocks are compared over at least the first, and differ by more than the others.
_EVENT_NS = 100_000
_EVENT_PERCENT = 25
_EVENT_SLACK_NS = 50_000
# Phases in which only the CPU works.
_CPU_PHASES = ("digest-cpu",)
# Cells that the helper allocation and the planted faults may damage where memory folds.
_DISTURBED_CELLS = (2 << 20) // CELL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityResult:
    """The judgement over one proof.

    Attributes:
        kind: The class.
        claimed_bytes: Memory that the driver says the device has.
        allocated_bytes: Bytes that were held at once.
        tested_bytes: Bytes written and checked.
        coverage_ppm: Tested of claimed, in millionths.
        fold_bytes: For a fold: the distance at which it repeats; for a permuted one: the bytes
            that hold data of their own. None for other classes.
        bad_cells: Cells of 16 bytes that were wrong, planted faults not counted.
        lost_offset_bytes: Where the device stopped answering.
        slow_offset_bytes: Where memory begins that is not the card's.
        digest: SHA-256 over the digests of all blocks, "" where not reached.
        detectors: What fired, sorted; also doubts about the driver that leave the class alone.
        reason: One line on the class.
        repeat: Whether to measure once more in a fresh process before this is relied on.
    """

    kind: CapacityClass
    claimed_bytes: int
    allocated_bytes: int
    tested_bytes: int
    coverage_ppm: int
    fold_bytes: int | None = None
    bad_cells: int = 0
    lost_offset_bytes: int | None = None
    slow_offset_bytes: int | None = None
    digest: str = ""
    detectors: tuple[str, ...] = ()
    reason: str = ""
    repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """A class with its line and numbers."""

    kind: CapacityClass
    reason: str
    fold_bytes: int | None = None
    slow_offset_bytes: int | None = None


def classify(evidence: CapacityEvidence) -> CapacityResult:
    """Judge the evidence of one proof."""
    reader = _Reader(evidence)
    verdict = reader.judge()
    failure = evidence.failure
    tested = evidence.tested_cells * CELL_BYTES
    claimed = evidence.claimed_bytes
    return CapacityResult(
        kind=verdict.kind,
        claimed_bytes=claimed,
        allocated_bytes=evidence.allocated_bytes,
        tested_bytes=tested,
        coverage_ppm=tested * 1_000_000 // claimed if claimed else 0,
        fold_bytes=verdict.fold_bytes,
        bad_cells=reader.bad_cells,
        lost_offset_bytes=failure.offset_bytes if failure is not None else None,
        slow_offset_bytes=verdict.slow_offset_bytes,
        digest=evidence.digest,
        detectors=tuple(sorted(reader.detectors)),
        reason=verdict.reason,
        repeat=verdict.kind is not CapacityClass.WHOLE,
    )


class _Reader:
    """Evidence, read once."""

    def __init__(self, evidence: CapacityEvidence) -> None:
        self.evidence = evidence
        self.detectors: set[str] = set()
        self.bad = {item.label: _bad_cells(item) for item in evidence.passes}
        self.bad_cells = max(self.bad.values(), default=0)
        self.decoded = {item.label: self._decode(item) for item in evidence.passes}
        self.pages = tuple(self._one(seen) for seen in evidence.page_cells)
        self.compared = sum(c.compared for item in evidence.passes for c in item.checks)
        self.confirmed = sum(c.confirmed for item in evidence.passes for c in item.checks)
        self.slow = _slow_offset(evidence)
        self._detect()
        self._doubt_driver()

    def _one(self, seen: BadCell) -> Decoded:
        """Decode one cell."""
        evidence = self.evidence
        return decode_cell(seen, evidence.k0, evidence.k1, evidence.tested_cells)

    def _decode(self, item: Pass) -> tuple[Decoded, ...]:
        """Decode the recorded cells of a pass, planted faults left out."""
        planted = set(item.planted)
        return tuple(
            self._one(seen)
            for check in item.checks
            for seen in check.cells
            if seen.cell not in planted
        )

    def _detect(self) -> None:
        """Note which independent detectors fired."""
        evidence = self.evidence
        failure = evidence.failure
        fired = {f"check-{label}": bad > 0 for label, bad in self.bad.items()} | {
            "copy": self.confirmed > 0,
            "planted": any(_planted_missed(item) for item in evidence.passes),
            "digest": any(seen != right for _, seen, right in evidence.digest_samples),
            "pages": evidence.pages_wrong > 0,
            "mix": evidence.mixed_wrong > 0,
            "rate": self.slow is not None,
            "host-memory": _host_paid(evidence, self.slow),
            "memory-type": bool(evidence.foreign_memory),
            "refused": evidence.refused,
            "device-error": failure is not None and failure.kind == "call",
        }
        self.detectors.update(name for name, on in fired.items() if on)
        if failure is not None and failure.kind != "call":
            self.detectors.add(failure.kind)

    def _doubt_driver(self) -> None:
        """Note where the driver's own words do not fit together."""
        evidence = self.evidence
        (free, total), (free_after, _) = evidence.info_before, evidence.info_after
        taken = evidence.allocated_bytes + evidence.helper_bytes
        if total and evidence.chunks:
            room = max(32 << 20, taken * _INFO_PPM // 1_000_000)
            off = abs(total - evidence.claimed_bytes) * 1_000_000 > total * _INFO_PPM
            if free > total or off or abs(free - free_after - taken) > room:
                self.detectors.add("memory-info")
        # A busy host disturbs one pass; a clock that lies is wrong in each.
        if evidence.timings and all(_apart(event, host) for event, host in evidence.timings):
            self.detectors.add("events")
        peak, cached = evidence.peak_kb_s, _CACHES * evidence.l2_bytes
        if peak and any(
            rate.kb_s * 100 > peak * _PEAK_PERCENT
            and evidence.chunks[rate.chunk].size_bytes >= cached
            for rate in evidence.rates
        ):
            self.detectors.add("peak")

    def judge(self) -> _Verdict:
        """Return the class: contents first, then the device, then rates and sizes."""
        for step in (self._fold, self._failure, self._contents, self._contradiction):
            verdict = step()
            if verdict is not None:
                return verdict
        return self._placement()

    def _aliases(self) -> dict[str, list[Decoded]]:
        """Cells that hold another cell's pattern, by who saw them."""
        seen = {f"check-{label}": cells for label, cells in self.decoded.items()}
        seen["pages"] = self.pages
        found = {
            name: [item for item in cells if item.kind is Kind.ALIAS]
            for name, cells in seen.items()
        }
        return {name: cells for name, cells in found.items() if cells}

    def _fold(self) -> _Verdict | None:
        """Recognise memory that appears more than once."""
        aliases = self._aliases()
        if not aliases:
            return None
        # The two passes share a kernel; the copies, the digests and the mix do not.
        other = self.detectors & {"copy", "pages", "digest", "mix"}
        if "pages" in aliases and len(aliases) == 1:
            other -= {"pages"}
        if not other and self.evidence.failure is not None:
            return None  # it ended before anything beside the kernel could agree
        if not other:
            return _Verdict(
                kind=CapacityClass.INVALID,
                reason="cells decode to other addresses, but nothing beside the kernel agrees",
            )
        items = [item for cells in aliases.values() for item in cells]
        step = _fold_step(items)
        tested = self.evidence.tested_cells
        own = [tested - bad for bad in self.bad.values() if bad > 0]
        if not own or any(abs(cells - step) <= _DISTURBED_CELLS for cells in own):
            size = step * CELL_BYTES
            return _Verdict(
                kind=CapacityClass.FOLDED,
                fold_bytes=size,
                reason=f"memory repeats every {size} bytes",
            )
        size = max(own) * CELL_BYTES
        return _Verdict(
            kind=CapacityClass.PAGE_PERMUTED,
            fold_bytes=size,
            reason=f"only {size} bytes hold data of their own; the rest shows pages of these",
        )

    def _failure(self) -> _Verdict | None:
        """Recognise a device that stopped answering."""
        failure = self.evidence.failure
        if failure is None:
            return None
        where = f"in {failure.phase}"
        if failure.offset_bytes is not None:
            where += f" at offset {failure.offset_bytes}"
        said = f"{failure.call}: {failure.status} ({failure.code})" if failure.call else ""
        starved = failure.status == DriverStatus.OUT_OF_MEMORY.value
        if starved and failure.phase in ("prepare", "allocate"):
            return _Verdict(kind=CapacityClass.SHORT, reason=f"no memory to be had: {said}")
        if failure.kind == "call" and failure.gone:
            return _Verdict(kind=CapacityClass.LOST, reason=f"the device was lost {where}: {said}")
        if failure.kind == "stalled" and failure.phase not in _CPU_PHASES:
            return _Verdict(kind=CapacityClass.LOST, reason=f"the device stopped answering {where}")
        return _Verdict(
            kind=CapacityClass.INVALID,
            reason=f"the proof ended {where}: {said or failure.kind}",
        )

    def _contents(self) -> _Verdict | None:
        """Recognise memory that loses or changes what is written."""
        items = [item for cells in self.decoded.values() for item in cells]
        if not items and all(item.kind is Kind.BITS for item in self.pages):
            # Bits may flip after the last check; anything more the check would have seen.
            items = list(self.pages)
        if not items:
            return None
        evidence = self.evidence
        whole = [
            sum(check.bad for check in item.checks) + len(item.planted) >= evidence.tested_cells
            for item in evidence.passes
        ]
        if len(whole) > 1 and all(whole):
            return _Verdict(
                kind=CapacityClass.INVALID,
                reason="no cell anywhere holds its pattern: the kernels did not run as asked",
            )
        if not self.detectors & {"copy", "pages", "digest"}:
            return _Verdict(
                kind=CapacityClass.INVALID,
                reason="the check kernel reports cells that a copy does not confirm",
            )
        kinds = Counter(item.kind for item in items)
        if kinds[Kind.BITS] * 2 >= len(items):
            return self._bits(items)
        return _Verdict(
            kind=CapacityClass.DROPPED_WRITES,
            reason=f"{self.bad_cells} cells do not keep what is written",
        )

    def _bits(self, items: list[Decoded]) -> _Verdict:
        """Tell stuck, decaying and once flipped bits apart."""
        seen = {item.cell: item.wrong_bits for item in items if item.kind is Kind.BITS}
        stuck = decaying = 0
        for diagnosis in self.evidence.diagnoses:
            at_once = {self._one(cell).cell for cell in diagnosis.at_once}
            rested = {self._one(cell).cell for cell in diagnosis.rested}
            stuck += len(at_once & set(seen))
            decaying += len(rested - at_once)
        number = (
            f"{len(seen)} cells or more" if self.bad_cells > len(seen) else f"{len(seen)} cells"
        )
        if stuck:
            return _Verdict(
                kind=CapacityClass.STUCK_BITS,
                reason=f"wrong bits in {number} come back at once when written again",
            )
        if decaying:
            return _Verdict(
                kind=CapacityClass.DECAYING,
                reason=f"wrong bits in {number}; more appear while the pattern rests",
            )
        return _Verdict(
            kind=CapacityClass.FLIPPED_BITS,
            reason=f"wrong bits in {number} that did not come back when written again",
        )

    def _contradiction(self) -> _Verdict | None:
        """Recognise a driver or device that did not do what it was told."""
        words = {
            "planted": "planted faults were not reported: the check did not run as asked",
            "check-a": "the check counts bad cells that it does not record",
            "check-b": "the check counts bad cells that it does not record",
            "pages": "copied pages differ, but cannot be read",
            "digest": "digests differ from the CPU's where the contents do not",
            "mix": "mixed cells differ from the CPU's where the contents do not",
        }
        for name, reason in words.items():
            if name in self.detectors:
                return _Verdict(kind=CapacityClass.INVALID, reason=reason)
        if self.evidence.chunks and len(self.bad) < 2:
            return _Verdict(kind=CapacityClass.INVALID, reason="the proof did not reach its end")
        return None

    def _placement(self) -> _Verdict:
        """Judge where the bytes lie and how many there are."""
        evidence = self.evidence
        if evidence.foreign_memory:
            return _Verdict(
                kind=CapacityClass.HOST_BACKED,
                reason=f"not plain device memory: {evidence.foreign_memory[0]}",
            )
        if self.slow is not None:
            # A timing alone accuses nobody: it was never seen on real cards. Bytes that the host
            # misses are no timing.
            paid = "host-memory" in self.detectors
            reason = f"far slower from offset {self.slow} on"
            if paid:
                reason += f", and the host has {evidence.host_taken_bytes} bytes less"
            return _Verdict(
                kind=CapacityClass.HOST_BACKED if paid else CapacityClass.SLOW_REGION,
                slow_offset_bytes=self.slow,
                reason=reason,
            )
        goal = min(evidence.claimed_bytes, evidence.limit_bytes or evidence.claimed_bytes)
        held = evidence.allocated_bytes
        if held * 1_000_000 < goal * _SHORT_PPM:
            told = "memory-info" not in self.detectors
            if told and evidence.info_before[0] * 1_000_000 < goal * _SHORT_PPM:
                self.detectors.add("memory-held")
            return _Verdict(
                kind=CapacityClass.SHORT, reason=f"only {held} of {goal} bytes could be had"
            )
        return _Verdict(kind=CapacityClass.WHOLE, reason="every tested byte is its own")


def _bad_cells(item: Pass) -> int:
    """Bad cells of a pass, the planted ones that were found not counted."""
    planted = set(item.planted)
    found = sum(cell.cell in planted for check in item.checks for cell in check.cells)
    return sum(check.bad for check in item.checks) - found


def _apart(event_ns: int, host_ns: int) -> bool:
    """Whether the two clocks differ by more than a host's hiccup."""
    apart = abs(host_ns - event_ns)
    return (
        host_ns >= _EVENT_NS and apart * 100 > host_ns * _EVENT_PERCENT and apart > _EVENT_SLACK_NS
    )


def _planted_missed(item: Pass) -> bool:
    """Whether a planted fault is missing from records that were not cut off."""
    found = {cell.cell for check in item.checks for cell in check.cells}
    whole = all(check.wanted <= len(check.cells) for check in item.checks)
    return whole and not set(item.planted) <= found


def _slow_chunks(evidence: CapacityEvidence) -> list[int]:
    """Return the chunks that are always slow.

    A chunk counts by its best rate over all phases: a busy host slows one launch, not all of
    them, and memory that is moved in on demand is moved out again before the next phase.
    """
    best: dict[int, int] = {}
    seen: Counter[int] = Counter()
    for rate in evidence.rates:
        if evidence.chunks[rate.chunk].size_bytes >= evidence.rate_chunk_bytes:
            best[rate.chunk] = max(best.get(rate.chunk, 0), rate.kb_s)
            seen[rate.chunk] += 1
    if len(best) < _SLOW_CHUNKS:
        return []
    fast = sorted(best.values())[len(best) * 9 // 10]
    return [
        chunk
        for chunk, rate in best.items()
        if rate * _SLOW_FACTOR < fast and seen[chunk] >= _SLOW_PHASES
    ]


def _slow_offset(evidence: CapacityEvidence) -> int | None:
    """Return the first offset of memory that is always slow, None if there is none."""
    slow = _slow_chunks(evidence)
    return min((evidence.chunks[chunk].offset_bytes for chunk in slow), default=None)


def _host_paid(evidence: CapacityEvidence, slow_from: int | None) -> bool:
    """Whether the host misses about as many bytes as are slow."""
    taken = evidence.host_taken_bytes or 0
    if slow_from is None or taken < _HOST_LEAST_BYTES:
        return False
    slow = sum(evidence.chunks[chunk].size_bytes for chunk in _slow_chunks(evidence))
    least, most = _HOST_PERCENT
    return slow * least <= taken * 100 <= slow * most


def _fold_step(aliases: Sequence[Decoded]) -> int:
    """Return the distance in cells at which contents repeat.

    The device's own notes about bad cells lie in folded memory too and decode to distances of
    their own, a different one each; a real distance is seen over and over.
    """
    counts = Counter(abs(item.written_for - item.cell) for item in aliases)
    often = [step for step, count in counts.items() if count * _RARE >= len(aliases)]
    return math.gcd(*(often or counts))
