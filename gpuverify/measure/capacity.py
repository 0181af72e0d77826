"""The capacity proof: writes what can be had of a card's memory and looks where it went.

The order of steps is the proof: everything is written before anything is checked (an alias shows
only then), the second pass is the complement under the same keys (a stuck bit shows in exactly one
of the two), and the check kernel's word is never taken alone: it has to find faults that the host
planted, and digests, copied pages and a mix across chunks are recomputed on the CPU. What it all
means is judged in `capacity_classify`, not here.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from gpuverify.measure.capacity_decode import damaged_chunks, differing_cells
from gpuverify.measure.capacity_evidence import (
    CELL_BYTES,
    MASK,
    BadCell,
    CapacityEvidence,
    Chunk,
    ChunkCheck,
    Diagnosis,
    Failure,
    Pass,
    Rate,
)
from gpuverify.measure.capacity_memory import HELPER_BYTES, TestedMemory
from gpuverify.measure.capacity_mix import Mix
from gpuverify.measure.capacity_plan import MIB, CapacityPlan
from gpuverify.measure.driver_api import DeviceAttribute, DriverError, OpenDevice
from gpuverify.measure.host_memory import available_bytes
from gpuverify.measure.progress import Progress
from gpuverify.measure.reference import Keys, cells_bytes, digest_pattern

Report = Callable[[Progress], None]
Gate = Callable[[str], None]
Keep = Callable[[CapacityEvidence], None]

BLOCK_CELLS = MIB // CELL_BYTES
PAGE_CELLS = 4096 // CELL_BYTES

_DIGEST_SHIFT = 4  # 16 tiles of 64 KiB, so that a digest covers 1 MiB

# Layout of the helper memory: counters, then records, then digests.
_RECORDS_AT = 64
_DIGESTS_AT = HELPER_BYTES // 2
_MOST_RECORDS = (_DIGESTS_AT - _RECORDS_AT) // 24

_COMPARED_CELLS = 16  # recorded bad cells of a chunk that the host copies itself
_PAGE_RECORDS = 8
_DWELL_STEP_S = 0.25


def prove(
    device: OpenDevice,
    keys: Keys,
    plan: CapacityPlan,
    report: Report,
    *,
    gate: Gate | None = None,
    keep: Keep | None = None,
    host_memory: Callable[[], int | None] = available_bytes,
) -> CapacityEvidence:
    """Run the capacity proof on an open device. All that was in the memory is overwritten.

    Args:
        device: The device; its context has to be current in this thread.
        keys: Keys made from the nonce and the device's identity.
        plan: What to do.
        report: Called before each step, so that a hang can be placed.
        gate: Called with "allocated" once all memory is held and with "verified" before it is let
            go; it may wait, so that several cards are held at once.
        keep: Called with what is known so far after each phase.
        host_memory: Gives the bytes that the host has left.

    Returns:
        What was seen; a device that failed on the way is in its `failure`, never raised.
    """
    proof = _Proof(device, keys, plan, report, keep)
    # An emulated card's memory is the host's by nature: its own reader has to be given.
    if device.driver.emulated and host_memory is available_bytes:
        host_memory = _nobody_says
    try:
        before = host_memory()
        proof.allocate()
        if gate is not None:
            gate("allocated")
        if proof.memory.chunks:
            proof.run_pass("a", 0, proof.memory.chunks)
            proof.compare_host(before, host_memory())
            proof.run_pass("b", MASK, proof.memory.chunks[::-1])
            proof.digest_all()
            proof.read_pages()
            proof.mix()
            proof.diagnose()
        if gate is not None:
            gate("verified")
    except DriverError as error:
        proof.fail(error)
    finally:
        proof.memory.release()
    return proof.evidence


def _nobody_says() -> int | None:
    """Stand in where the host's memory says nothing."""
    return None


def _peak_kb_s(device: OpenDevice) -> int:
    """Return the highest rate that the reported memory clock and bus allow, 0 where not known."""
    clock_khz = device.attributes.get(DeviceAttribute.MEMORY_CLOCK_RATE_KHZ, 0)
    bus_bits = device.attributes.get(DeviceAttribute.MEMORY_BUS_WIDTH_BITS, 0)
    return 2 * clock_khz * bus_bits // 8  # two transfers a clock


class _Proof:
    """One run; every step adds to `evidence`."""

    def __init__(
        self,
        device: OpenDevice,
        keys: Keys,
        plan: CapacityPlan,
        report: Report,
        keep: Keep | None,
    ) -> None:
        self.driver = device.driver
        self.keys = keys
        self.plan = plan
        self.memory = TestedMemory(device, plan)
        self.evidence = CapacityEvidence(
            uuid=device.uuid,
            pci_bus_id=device.pci_bus_id,
            k0=keys.k0,
            k1=keys.k1,
            claimed_bytes=device.total_bytes,
            l2_bytes=device.attributes.get(DeviceAttribute.L2_CACHE_BYTES, 0),
            peak_kb_s=_peak_kb_s(device),
            limit_bytes=plan.limit_bytes,
            rate_chunk_bytes=plan.rate_chunk_bytes,
        )
        self._pattern_keys = (keys.k0, keys.k1)
        self._report = report
        self._keep = keep
        self._rates: list[Rate] = []
        self._phase = "prepare"
        self._done = 0
        self._last_rate = 0

    # Bookkeeping

    def _know(self, **changes: object) -> None:
        """Add to the evidence and hand it on."""
        self.evidence = replace(self.evidence, rates=tuple(self._rates), **changes)  # type: ignore[arg-type]
        if self._keep is not None:
            self._keep(self.evidence)

    def _begin(self, phase: str) -> None:
        """Enter a phase."""
        self._phase, self._done, self._last_rate = phase, 0, 0
        self._tell()

    def _tell(self, offset: int | None = None) -> None:
        """Report where the proof is and what it touches next."""
        allocating = self._phase in ("prepare", "allocate")
        self._report(
            Progress(
                phase=self._phase,
                done_bytes=self._done,
                total_bytes=(
                    self.evidence.claimed_bytes if allocating else self.memory.cells * CELL_BYTES
                ),
                rate_kb_s=self._last_rate,
                offset_bytes=offset,
            )
        )

    def fail(self, error: DriverError) -> None:
        """Keep what the driver said, and whether the device still answers."""
        gone = error.status.ends_device
        if gone:
            try:
                self.driver.ctx_synchronize()
                self.driver.mem_get_info()
            except DriverError as second:
                gone = second.status.ends_device
            else:
                gone = False
        failure = Failure(
            phase=self._phase,
            kind="call",
            call=error.call,
            status=error.status.value,
            code=error.code,
            offset_bytes=self.memory.offset,
            gone=gone,
        )
        self._know(failure=failure)

    # Steps

    def allocate(self) -> None:
        """Compile the kernels and take all the memory that can be had."""
        self._begin("prepare")
        self._know(info_before=self.driver.mem_get_info())
        self.memory.prepare()
        self._begin("allocate")
        self.memory.allocate(self._allocated)
        self._know(
            helper_bytes=HELPER_BYTES,
            chunks=tuple(self.memory.chunks),
            refused=self.memory.refused,
            info_after=self.driver.mem_get_info(),
            foreign_memory=self.memory.foreign(),
        )

    def _allocated(self, held: int) -> None:
        """Report a step of the allocation."""
        self._done = held
        self._tell()

    def run_pass(self, label: str, invert: int, order: Sequence[Chunk]) -> None:
        """Write everything, let it rest, plant faults, check everything."""
        self._begin(f"write-{label}")
        for chunk in order:
            self._stream("cap_write", chunk, chunk.base, *self._pattern_keys, invert)
        self._begin(f"dwell-{label}")
        self._dwell()
        planted = self._plant(label)
        self._begin(f"check-{label}")
        events = [self.driver.event_create(), self.driver.event_create()]
        started = self.driver.host_clock_ns()
        self.driver.event_record(events[0])
        checks = [self._check(chunk, invert, planted) for chunk in order]
        self.driver.event_record(events[1])
        self.driver.event_synchronize(events[1])
        host_ns = self.driver.host_clock_ns() - started
        event_ns = self.driver.event_elapsed_ns(events[0], events[1])
        for event in events:
            self.driver.event_destroy(event)
        for cell, content in planted.items():
            self.memory.poke(cell, content)
        done = Pass(
            label=label,
            inverted=bool(invert),
            planted=tuple(sorted(planted)),
            checks=tuple(sorted(checks, key=lambda check: check.chunk)),
        )
        self._know(
            passes=(*self.evidence.passes, done),
            timings=(*self.evidence.timings, (event_ns, host_ns)),
        )

    def compare_host(self, before: int | None, after: int | None) -> None:
        """Note what the host lost while the memory was taken and written for the first time."""
        if before is not None and after is not None:
            self._know(host_taken_bytes=max(0, before - after))

    def _dwell(self) -> None:
        """Let the pattern rest, with a sign of life now and then."""
        end = time.monotonic() + self.plan.dwell_ms / 1000
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _DWELL_STEP_S))
            self._tell()

    def _plant(self, label: str) -> dict[int, bytes]:
        """Flip one bit in each of some secret cells; returns what they held."""
        count = self.plan.planted_faults
        cells = self.keys.integers(f"planted-{label}", count, self.memory.cells)
        bits = self.keys.integers(f"planted-bit-{label}", count, 8 * CELL_BYTES)
        held: dict[int, bytes] = {}
        for cell, bit in zip(cells, bits, strict=True):
            if cell in held:
                continue
            held[cell] = content = self.memory.peek(cell, CELL_BYTES)
            wrong = int.from_bytes(content, "little") ^ (1 << bit)
            self.memory.poke(cell, wrong.to_bytes(CELL_BYTES, "little"))
        return held

    def _check(self, chunk: Chunk, invert: int, planted: dict[int, bytes]) -> ChunkCheck:
        """Run the check kernel on one chunk and copy some of what it calls bad."""
        bad, wanted, cells = self._bad_cells(chunk, invert)
        asked = [cell for cell in cells if cell.cell not in planted][:_COMPARED_CELLS]
        confirmed = sum(
            self.memory.peek(cell.cell, CELL_BYTES)
            == struct.pack("<QQ", cell.low ^ invert, cell.high ^ invert)
            for cell in asked
        )
        return ChunkCheck(
            chunk=self.memory.chunks.index(chunk),
            bad=bad,
            wanted=wanted,
            cells=cells,
            compared=len(asked),
            confirmed=confirmed,
        )

    def _bad_cells(self, chunk: Chunk, invert: int) -> tuple[int, int, tuple[BadCell, ...]]:
        """Run the check kernel: bad cells, records wanted, and the records that fit."""
        helper, limit = self.memory.helper, min(self.plan.records, _MOST_RECORDS)
        out, rec = helper, helper + _RECORDS_AT
        self.driver.memcpy_htod(out, struct.pack("<4Q", 0, MASK, 0, 0))
        self._stream("cap_check", chunk, chunk.base, *self._pattern_keys, invert, out, rec, limit)
        bad, _, _, wanted = struct.unpack("<4Q", self.driver.memcpy_dtoh(out, 32))
        count = min(wanted, limit)
        if not count:
            return bad, wanted, ()
        raw = self.driver.memcpy_dtoh(rec, 24 * count)
        cells = (BadCell(cell=i, low=x, high=y) for i, x, y in struct.iter_unpack("<3Q", raw))
        return bad, wanted, tuple(sorted(cells, key=lambda item: item.cell))

    def digest_all(self) -> None:
        """Digest every block on the device and recompute a secret sample on the CPU."""
        self._begin("digest")
        words: list[int] = []
        at = self.memory.helper + _DIGESTS_AT
        for chunk in self.memory.chunks:
            size = chunk.cells // BLOCK_CELLS * 8
            self.driver.memset_d8(at, 0, size)
            self._stream("cap_digest", chunk, chunk.base, self.keys.kd, _DIGEST_SHIFT, at)
            words.extend(struct.unpack(f"<{size // 8}Q", self.driver.memcpy_dtoh(at, size)))
        self._begin("digest-cpu")
        samples = []
        for block in self._sample("digest-blocks", self.plan.digest_blocks, len(words)):
            self._tell()
            base = block * BLOCK_CELLS
            right = digest_pattern(base, BLOCK_CELLS, *self._pattern_keys, self.keys.kd, MASK)
            samples.append((block, words[block], right))
        whole = hashlib.sha256(struct.pack(f"<{len(words)}Q", *words)).hexdigest()
        self._know(digest=whole, digest_samples=tuple(samples))

    def read_pages(self) -> None:
        """Copy secret pages and compare them on the CPU."""
        self._begin("pages")
        pages = self._sample("pages", self.plan.pages, self.memory.cells // PAGE_CELLS)
        wrong = 0
        cells: list[BadCell] = []
        for page in pages:
            base = page * PAGE_CELLS
            seen = self.memory.peek(base, PAGE_CELLS * CELL_BYTES)
            right = cells_bytes(base, PAGE_CELLS, *self._pattern_keys, MASK)
            if seen != right:
                wrong += 1
                cells.extend(differing_cells(seen, right, base, MASK)[:_PAGE_RECORDS])
        self._know(pages_read=len(pages), pages_wrong=wrong, page_cells=tuple(cells))

    def mix(self) -> None:
        """Mix chunks with one another and recompute secret cells from all that they stand on."""
        self._begin("mix")
        mix = Mix(self.keys, self.memory.chunks, self.plan.butterfly_stages)
        if not mix.stages:
            return
        for first, second, key in mix.launches():
            self._tell(first.offset_bytes)
            self._last_rate = self.memory.stream(
                "butterfly", first, first.address, second.address, first.cells, key
            )
            self._done += first.size_bytes
        self._begin("mix-cpu")
        samples = mix.samples(self.plan.butterfly_samples)
        wrong = 0
        for position, cell in samples:
            seen = self.memory.peek(mix.chunks[position].base + cell, CELL_BYTES)
            wrong += struct.unpack("<QQ", seen) != mix.expected(position, cell, MASK)
        self._know(mixed_samples=len(samples), mixed_wrong=wrong)

    def diagnose(self) -> None:
        """Write chunks with wrong bits once more: stuck, decaying, or flipped once?"""
        self._begin("diagnose")
        found = []
        for number, inverted in damaged_chunks(self.evidence)[: self.plan.diagnose_chunks]:
            chunk, invert = self.memory.chunks[number], MASK if inverted else 0
            self._stream("cap_write", chunk, chunk.base, *self._pattern_keys, invert)
            at_once = self._bad_cells(chunk, invert)[2]
            self._dwell()
            # A copy comes first, so that nothing is written between the rest and the first look.
            self.memory.peek(chunk.base, CELL_BYTES)
            rested = self._bad_cells(chunk, invert)[2]
            found.append(Diagnosis(chunk=number, inverted=inverted, at_once=at_once, rested=rested))
        self._know(diagnoses=tuple(found))

    def _sample(self, label: str, count: int, bound: int) -> list[int]:
        """Draw up to `count` different secret numbers below `bound`, ascending."""
        if count >= bound:
            return list(range(bound))
        return sorted(set(self.keys.integers(label, count, bound)))

    def _stream(self, kernel: str, chunk: Chunk, *rest: int) -> None:
        """Run a kernel over a whole chunk and note its rate."""
        self._tell(chunk.offset_bytes)
        self._last_rate = self.memory.stream(kernel, chunk, chunk.address, chunk.cells, *rest)
        self._done += chunk.size_bytes
        if self._phase != "diagnose":
            number = self.memory.chunks.index(chunk)
            self._rates.append(Rate(phase=self._phase, chunk=number, kb_s=self._last_rate))
