"""What the memory kernels have to yield, computed anew on the CPU.

Plain Python alone, since a server that is checked in has nothing more. One value at a time would
take seconds for a block, so the bulk functions pack 64-bit lanes side by side into one large
integer: an exclusive or, a shift or an addition then works on all lanes at once.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

WORD = (1 << 64) - 1
CELL_BYTES = 16
BATCH_CELLS = 1 << 16

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Keys:
    """Every secret of one measurement of one card, from one seed.

    Attributes:
        seed: 32 bytes that depend on the nonce, the card and the purpose.
    """

    seed: bytes = field(repr=False)

    @classmethod
    def derive(cls, nonce: bytes, uuid: str, pci_bus_id: str, label: str) -> Keys:
        """Bind a seed to a nonce, a card and a purpose.

        Args:
            nonce: Bytes that the seller could not know beforehand.
            uuid: UUID of the card as it reports it.
            pci_bus_id: Where the card sits.
            label: What the keys are for.

        Returns:
            The keys.
        """
        digest = hashlib.sha256(b"gpuverify/measure/v1")
        for part in (nonce, uuid.encode(), pci_bus_id.encode(), label.encode()):
            # The length first: no two lists of parts may give the same bytes.
            digest.update(len(part).to_bytes(8, "little") + part)
        return cls(digest.digest())

    def word(self, label: str) -> int:
        """Give one 64-bit key.

        Args:
            label: What it is for.

        Returns:
            The key.
        """
        return next(self._words(label))

    def _words(self, label: str) -> Iterator[int]:
        count = 0
        while True:
            block = hashlib.sha256(self.seed + label.encode() + b"\0" + count.to_bytes(8, "little"))
            for start in range(0, 32, 8):
                yield int.from_bytes(block.digest()[start : start + 8], "little")
            count += 1

    def integers(self, label: str, count: int, bound: int) -> tuple[int, ...]:
        """Draw integers that the nonce decides.

        Args:
            label: What they are for.
            count: How many.
            bound: Each is at least 0 and below this.

        Returns:
            The integers; they may repeat.

        Raises:
            ValueError: The bound leaves nothing to draw from.
        """
        if not 0 < bound <= WORD:
            raise ValueError(f"the bound of a draw has to be 1 to 2^64-1, not {bound}")
        # Words above the last multiple of the bound are left out, so that no value is favoured.
        limit = (1 << 64) - (1 << 64) % bound
        words = (word for word in self._words(label) if word < limit)
        return tuple(next(words) % bound for _ in range(count))

    @property
    def k0(self) -> int:
        """Key of the low half of a cell."""
        return self.word("k0")

    @property
    def k1(self) -> int:
        """Key of the high half of a cell."""
        return self.word("k1")

    @property
    def kd(self) -> int:
        """Key of the block digests."""
        return self.word("kd")


def mix_a(z: int) -> int:
    """Apply the first bijection of 64-bit words.

    Args:
        z: The word.

    Returns:
        Its image.
    """
    z ^= (z << 13) & WORD
    z ^= z >> 7
    return z ^ ((z << 17) & WORD)


def mix_b(z: int) -> int:
    """Apply the second bijection of 64-bit words.

    Args:
        z: The word.

    Returns:
        Its image.
    """
    z ^= z >> 12
    z ^= (z << 25) & WORD
    return z ^ (z >> 27)


def _undo_left(z: int, shift: int) -> int:
    result = z
    for _ in range(64 // shift):
        result = z ^ ((result << shift) & WORD)
    return result


def _undo_right(z: int, shift: int) -> int:
    result = z
    for _ in range(64 // shift):
        result = z ^ (result >> shift)
    return result


def unmix_a(z: int) -> int:
    """Invert `mix_a`.

    Args:
        z: The image.

    Returns:
        The word.
    """
    return _undo_left(_undo_right(_undo_left(z, 17), 7), 13)


def unmix_b(z: int) -> int:
    """Invert `mix_b`.

    Args:
        z: The image.

    Returns:
        The word.
    """
    return _undo_right(_undo_left(_undo_right(z, 27), 25), 12)


def cell(index: int, k0: int, k1: int) -> Cell:
    """Give the content of a cell.

    Args:
        index: Number of the cell over all chunks.
        k0: Key of the low half.
        k1: Key of the high half.

    Returns:
        The low and the high word.
    """
    lo = mix_a((index + k0) & WORD)
    return lo, mix_b((lo + k1) & WORD)


def invert(lo: int, k0: int) -> int:
    """Tell for which cell a low word was written.

    Args:
        lo: The word, with no inversion on it.
        k0: Key of the low half.

    Returns:
        The index; without meaning where the word was never written.
    """
    return (unmix_a(lo) - k0) & WORD


def invert_hi(hi: int, k1: int) -> int:
    """Tell beside which low word a high word was written.

    Args:
        hi: The word, with no inversion on it.
        k1: Key of the high half.

    Returns:
        The low word.
    """
    return (unmix_b(hi) - k1) & WORD


class _Lanes:
    """Arithmetic on `count` words of 64 bits that lie side by side in one integer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.iota = self.pack(array("Q", range(count)))
        self._top = self.spread(1 << 63)
        self._rest = self.spread((1 << 63) - 1)
        # Bits that a shift brings over from the lane beside are masked out.
        self._left = {s: self.spread(WORD ^ ((1 << s) - 1)) for s in (13, 17, 25)}
        self._right = {s: self.spread(WORD >> s) for s in (7, 12, 27)}

    def spread(self, word: int) -> int:
        return int.from_bytes(word.to_bytes(8, "little") * self.count, "little")

    def pack(self, words: array[int]) -> int:
        return int.from_bytes(words.tobytes(), "little")

    def unpack(self, lanes: int) -> array[int]:
        return array("Q", lanes.to_bytes(8 * self.count, "little"))

    def add(self, left: int, right: int) -> int:
        low = (left & self._rest) + (right & self._rest)
        return low ^ ((left ^ right) & self._top)

    def _shift_left(self, lanes: int, bits: int) -> int:
        return (lanes << bits) & self._left[bits]

    def _shift_right(self, lanes: int, bits: int) -> int:
        return (lanes >> bits) & self._right[bits]

    def mix_a(self, z: int) -> int:
        z ^= self._shift_left(z, 13)
        z ^= self._shift_right(z, 7)
        return z ^ self._shift_left(z, 17)

    def mix_b(self, z: int) -> int:
        z ^= self._shift_right(z, 12)
        z ^= self._shift_left(z, 25)
        return z ^ self._shift_right(z, 27)

    def pattern(self, base: int, k0: int, k1: int) -> Cell:
        lo = self.mix_a(self.add(self.iota, self.spread((base + k0) & WORD)))
        return lo, self.mix_b(self.add(lo, self.spread(k1)))

    def digest(self, lo: int, hi: int, base: int, kd: int) -> int:
        keyed = self.add(lo, self.add(self.iota, self.spread((base + kd) & WORD)))
        return sum(self.unpack(self.mix_b(self.mix_a(keyed) ^ hi))) & WORD


@lru_cache(maxsize=4)
def _lanes(count: int) -> _Lanes:
    return _Lanes(count)


def _batches(base: int, count: int) -> Iterator[tuple[int, _Lanes]]:
    for start in range(0, count, BATCH_CELLS):
        yield base + start, _lanes(min(BATCH_CELLS, count - start))


def cells_bytes(base: int, count: int, k0: int, k1: int, inv: int = 0) -> bytes:
    """Give the memory image of cells.

    Args:
        base: Number of the first cell.
        count: How many cells.
        k0: Key of the low half.
        k1: Key of the high half.
        inv: 0, or all ones for the complement.

    Returns:
        16 bytes a cell, as a GPU stores them.
    """
    parts = []
    for first, lanes in _batches(base, count):
        lo, hi = lanes.pattern(first, k0, k1)
        flip = lanes.spread(inv)
        words = array("Q", bytes(CELL_BYTES * lanes.count))
        words[0::2] = lanes.unpack(lo ^ flip)
        words[1::2] = lanes.unpack(hi ^ flip)
        parts.append(words.tobytes())
    return b"".join(parts)


def digest_bytes(data: bytes, base: int, kd: int) -> int:
    """Compute the digest of memory that was read back.

    Args:
        data: Whole cells.
        base: Number of the first cell.
        kd: Key of the digests.

    Returns:
        The 64-bit sum.

    Raises:
        ValueError: The data is not whole cells.
    """
    if len(data) % CELL_BYTES:
        raise ValueError(f"{len(data)} bytes are not whole cells of {CELL_BYTES}")
    words = array("Q", data)
    lo, hi = words[0::2], words[1::2]
    total = 0
    for first, lanes in _batches(base, len(lo)):
        part = slice(first - base, first - base + lanes.count)
        total += lanes.digest(lanes.pack(lo[part]), lanes.pack(hi[part]), first, kd)
    return total & WORD


def digest_pattern(base: int, count: int, k0: int, k1: int, kd: int, inv: int = 0) -> int:
    """Compute the digest that memory has to have.

    Args:
        base: Number of the first cell.
        count: How many cells.
        k0: Key of the low half.
        k1: Key of the high half.
        kd: Key of the digests.
        inv: 0, or all ones for the complement.

    Returns:
        The 64-bit sum.
    """
    total = 0
    for first, lanes in _batches(base, count):
        lo, hi = lanes.pattern(first, k0, k1)
        flip = lanes.spread(inv)
        total += lanes.digest(lo ^ flip, hi ^ flip, first, kd)
    return total & WORD


def butterfly(x: Cell, y: Cell, index: int, key: int) -> tuple[Cell, Cell]:
    """Mix one cell of each of two chunks.

    Args:
        x: The cell of the first chunk.
        y: The cell of the second chunk.
        index: Number of the cell inside its chunk.
        key: Key of the stage.

    Returns:
        Both cells afterwards.
    """
    m0 = mix_a((x[0] + y[1] + key) & WORD)
    m1 = mix_b(((x[1] ^ y[0]) + index + key) & WORD)
    return ((x[0] + m1) & WORD, x[1] ^ m0), (y[0] ^ m0, (y[1] + m1) & WORD)
