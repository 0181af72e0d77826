"""What a wrong cell holds: another cell's pattern, flipped bits, a constant, an old write."""

from __future__ import annotations

import bisect
import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gpuverify.measure.capacity_evidence import (
    CELL_BYTES,
    MASK,
    BadCell,
    CapacityEvidence,
    Chunk,
)
from gpuverify.measure.reference import cell, invert, invert_hi

FEW_BITS = 4
"""Up to this many wrong bits of 128 are damage to the cell; content from elsewhere has about 64."""


class Kind(enum.Enum):
    """What a wrong cell holds."""

    ALIAS = "alias"
    BITS = "bits"
    STALE = "stale"
    CONSTANT = "constant"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A wrong cell, understood.

    Attributes:
        cell: Its global number.
        kind: What it holds.
        written_for: For which cell its content was written, for an alias.
        wrong_bits: Bits that differ, low word in the lower half, for `BITS`.
    """

    cell: int
    kind: Kind
    written_for: int = 0
    wrong_bits: int = 0


def decode_cell(seen: BadCell, k0: int, k1: int, tested_cells: int) -> Decoded:
    """Say what a wrong cell holds.

    Args:
        seen: The cell, the pass's complement undone.
        k0: First key of the pattern.
        k1: Second key of the pattern.
        tested_cells: How many cells there are; a number beyond was never written.
    """
    number = seen.cell
    right = cell(number, k0, k1)
    wrong = (seen.low ^ right[0]) | (seen.high ^ right[1]) << 64
    if bin(wrong).count("1") <= FEW_BITS:
        return Decoded(cell=number, kind=Kind.BITS, wrong_bits=wrong)
    for flip in (0, MASK):
        # A cell that kept the other pass's content decodes once complemented.
        low, high = seen.low ^ flip, seen.high ^ flip
        # Either half tells for which cell it was written, so that a bad bit hides no alias.
        for other in (invert(low, k0), invert(invert_hi(high, k1), k0)):
            if other >= tested_cells:
                continue
            known = cell(other, k0, k1)
            apart = (low ^ known[0]) | (high ^ known[1]) << 64
            if bin(apart).count("1") > FEW_BITS:
                continue
            if other == number:
                return Decoded(cell=number, kind=Kind.STALE)
            return Decoded(cell=number, kind=Kind.ALIAS, written_for=other)
    if _is_constant(seen.low) and _is_constant(seen.high):
        return Decoded(cell=number, kind=Kind.CONSTANT)
    return Decoded(cell=number, kind=Kind.GARBAGE)


def _is_constant(word: int) -> bool:
    """Whether all eight bytes of a word are one value."""
    return word == (word & 0xFF) * 0x0101010101010101


def differing_cells(seen: bytes, right: bytes, base: int, inverted: int) -> list[BadCell]:
    """Return the cells in which two images differ.

    Args:
        seen: Bytes that were read.
        right: Bytes that belong there.
        base: Global number of the first cell.
        inverted: What the pattern was xored with.
    """
    out = []
    for at in range(0, len(seen), CELL_BYTES):
        if seen[at : at + CELL_BYTES] != right[at : at + CELL_BYTES]:
            low, high = struct.unpack_from("<QQ", seen, at)
            out.append(
                BadCell(cell=base + at // CELL_BYTES, low=low ^ inverted, high=high ^ inverted)
            )
    return out


def chunk_of(chunks: Sequence[Chunk], number: int) -> Chunk:
    """Return the chunk that holds a global cell; chunks are in ascending order."""
    at = bisect.bisect_right([chunk.base for chunk in chunks], number) - 1
    return chunks[at]


def damaged_chunks(evidence: CapacityEvidence) -> list[tuple[int, bool]]:
    """Return the chunks, with the pass's polarity, in which cells have a few wrong bits."""
    total = evidence.tested_cells
    out = []
    for item in evidence.passes:
        planted = set(item.planted)
        for check in item.checks:
            kinds = [
                decode_cell(seen, evidence.k0, evidence.k1, total).kind
                for seen in check.cells
                if seen.cell not in planted
            ]
            if Kind.BITS in kinds and Kind.ALIAS not in kinds:
                out.append((check.chunk, item.inverted))
    return out
