"""Which chunks are mixed with which, and what a mixed cell has to hold.

After `s` stages a cell depends on up to 2**s cells that lie chunks apart, so that memory that is
made up on demand would have to be made up for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpuverify.measure.capacity_evidence import Chunk
from gpuverify.measure.reference import Cell, Keys, butterfly, cell


@dataclass(frozen=True, slots=True, kw_only=True)
class MixStage:
    """One stage: a key, and which chunks are mixed, each at most once.

    Attributes:
        key: Key of the stage.
        pairs: Positions of the chunks, first and second.
    """

    key: int
    pairs: tuple[tuple[int, int], ...]


class Mix:
    """A keyed random matching of equally large chunks, stage by stage.

    Attributes:
        chunks: The chunks that take part.
        stages: The stages in the order of their run; none where there are no two equal chunks.
    """

    def __init__(self, keys: Keys, chunks: Sequence[Chunk], stages: int) -> None:
        """Draw the matching.

        Args:
            keys: Keys of the run.
            chunks: All chunks; those of the commonest size take part.
            stages: How many stages.
        """
        sizes = [chunk.cells for chunk in chunks]
        cells = max(sizes, key=lambda size: (sizes.count(size), size), default=0)
        self.chunks = tuple(chunk for chunk in chunks if chunk.cells == cells)
        self._keys = keys
        if len(self.chunks) < 2:
            stages = 0
        self.stages = tuple(self._stage(number) for number in range(stages))

    def _stage(self, number: int) -> MixStage:
        """Draw one stage; of an odd number of chunks one rests."""
        count = len(self.chunks)
        draws = self._keys.integers(f"mix-order-{number}", count, 1 << 62)
        order = sorted(range(count), key=draws.__getitem__)
        pairs = tuple(zip(order[0::2], order[1::2], strict=False))
        return MixStage(key=self._keys.word(f"mix-{number}"), pairs=pairs)

    def launches(self) -> Iterator[tuple[Chunk, Chunk, int]]:
        """Yield the pairs of chunks to mix, with the key, in order."""
        for stage in self.stages:
            for first, second in stage.pairs:
                yield self.chunks[first], self.chunks[second], stage.key

    def samples(self, count: int) -> list[tuple[int, int]]:
        """Draw secret cells as (position of the chunk, cell inside it)."""
        positions = self._keys.integers("mix-sample-chunk", count, len(self.chunks))
        cells = self._keys.integers("mix-sample-cell", count, self.chunks[0].cells)
        return list(zip(positions, cells, strict=True))

    def expected(self, position: int, index: int, inverted: int) -> Cell:
        """Recompute what a cell holds after all stages.

        Args:
            position: Position of its chunk.
            index: Its number inside the chunk.
            inverted: What the pattern was xored with before mixing.
        """
        return self._after(self.stages, position, index, inverted)

    def _after(self, stages: Sequence[MixStage], position: int, index: int, inverted: int) -> Cell:
        """Recompute a cell after some stages, from the cells that it stands on."""
        if not stages:
            low, high = cell(self.chunks[position].base + index, self._keys.k0, self._keys.k1)
            return low ^ inverted, high ^ inverted
        *earlier, last = stages
        pair = next((pair for pair in last.pairs if position in pair), (position,))
        cells = [self._after(earlier, member, index, inverted) for member in pair]
        if len(cells) == 1:
            return cells[0]
        return butterfly(cells[0], cells[1], index, last.key)[pair.index(position)]
