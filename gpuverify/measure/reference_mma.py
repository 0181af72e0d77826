"""What the tensor kernels have to yield: products of matrices of small integers.

The layout of operands over the lanes of a warp is that of the PTX ISA, section "Matrix Fragments
for mma" of each shape; here it is written as functions from lane and element to row and column.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from gpuverify.measure.reference import Keys
from gpuverify.measure.reference_chain import LANES, fold

TILES = 4
MMA_PER_ITERATION = 2 * TILES

Matrix = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of tensor instruction.

    Attributes:
        rows: Rows of A and of the accumulators.
        columns: Columns of B and of the accumulators.
        depth: Columns of A, rows of B.
        element_bytes: Size of an operand's element.
        word_bytes: Size of an operand's register.
        encode: Bytes of a small integer in the operand's format.
        accumulator: Code of `struct` for an accumulator.
        limit: Largest integer that an accumulator surely holds.
    """

    rows: int
    columns: int
    depth: int
    element_bytes: int
    word_bytes: int
    encode: Callable[[int], bytes]
    accumulator: str
    limit: int

    @property
    def operations(self) -> int:
        """Multiplications with addition that one instruction does."""
        return self.rows * self.columns * self.depth


def _bf16(value: int) -> bytes:
    return struct.pack("<f", value)[2:]


def _e4m3(value: int) -> bytes:
    # OCP 8-bit Floating Point Specification 1.0: bias 7, three bits of mantissa.
    magnitude = {0: 0x00, 1: 0x38, 2: 0x40, 3: 0x44, 4: 0x48}[abs(value)]
    return bytes([magnitude | (0x80 if value < 0 else 0)])


def _shape(
    rows: int,
    depth: int,
    element_bytes: int,
    encode: Callable[[int], bytes],
    accumulator: str = "<f",
    limit: int = 1 << 23,
) -> Shape:
    return Shape(
        rows=rows,
        columns=8,
        depth=depth,
        element_bytes=element_bytes,
        word_bytes=max(4, element_bytes),
        encode=encode,
        accumulator=accumulator,
        limit=limit,
    )


SHAPES: dict[str, Shape] = {
    "mma_f16": _shape(16, 16, 2, lambda value: struct.pack("<e", value)),
    "mma_bf16": _shape(16, 16, 2, _bf16),
    "mma_tf32": _shape(16, 8, 4, lambda value: struct.pack("<f", value)),
    "mma_s8": _shape(16, 32, 1, lambda value: struct.pack("<b", value), "<i", 1 << 30),
    "mma_f64": _shape(8, 4, 8, lambda value: struct.pack("<d", value), "<d", 1 << 52),
    # Hopper adds FP8 products with about 14 bits (DeepSeek-V3 Technical Report, arXiv 2412.19437,
    # section 3.3.2), whatever the accumulator's format.
    "mma_e4m3": _shape(16, 32, 1, _e4m3, "<f", 1 << 13),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """Operands of one tensor kernel and what they give.

    Attributes:
        kernel: Name of the kernel.
        a_bytes: Content of its first argument, one operand for each of four tiles.
        b_bytes: Content of its second argument, two operands in turn.
        max_iters: Iterations over which every sum stays exact.
        drifts: Of each tile, what one iteration adds to each element.
    """

    kernel: str
    a_bytes: bytes
    b_bytes: bytes
    max_iters: int
    drifts: tuple[tuple[tuple[int, ...], ...], ...]

    def expected(self, iters: int) -> tuple[int, ...]:
        """Compute what each lane has to yield.

        Args:
            iters: Iterations that were run.

        Returns:
            32 words; every warp gives the same.

        Raises:
            ValueError: So many iterations do not stay exact.
        """
        if iters > self.max_iters:
            raise ValueError(f"{self.kernel} is exact for {self.max_iters} iterations, not {iters}")
        code = SHAPES[self.kernel].accumulator
        results = []
        for lane in range(LANES):
            places = accumulator_places(self.kernel, lane)
            bits = [
                int.from_bytes(struct.pack(code, drift[row][column] * iters), "little")
                for drift in self.drifts
                for row, column in places
            ]
            results.append(fold(0, bits))
        return tuple(results)


def accumulator_places(kernel: str, lane: int) -> list[tuple[int, int]]:
    """Tell which elements of a tile a lane holds.

    Args:
        kernel: Name of the kernel.
        lane: Number of the thread in its warp.

    Returns:
        Row and column of each accumulator in order.
    """
    group, member = divmod(lane, 4)
    halves = range(0, SHAPES[kernel].rows, 8)
    return [(group + half, 2 * member + odd) for half in halves for odd in (0, 1)]


def a_places(kernel: str, lane: int) -> list[tuple[int, int]]:
    """Tell which elements of A a lane holds.

    Args:
        kernel: Name of the kernel.
        lane: Number of the thread in its warp.

    Returns:
        Row and column of each element, in the order of the registers and within them.
    """
    shape = SHAPES[kernel]
    group, member = divmod(lane, 4)
    packed = shape.word_bytes // shape.element_bytes
    return [
        (group + half, packed * member + inside + far)
        for far in range(0, shape.depth, 4 * packed)
        for half in range(0, shape.rows, 8)
        for inside in range(packed)
    ]


def b_places(kernel: str, lane: int) -> list[tuple[int, int]]:
    """Tell which elements of B a lane holds.

    Args:
        kernel: Name of the kernel.
        lane: Number of the thread in its warp.

    Returns:
        Row and column of each element, in the order of the registers and within them.
    """
    shape = SHAPES[kernel]
    group, member = divmod(lane, 4)
    packed = shape.word_bytes // shape.element_bytes
    return [
        (packed * member + inside + far, group)
        for far in range(0, shape.depth, 4 * packed)
        for inside in range(packed)
    ]


def multiply(left: Matrix, right: Matrix) -> Matrix:
    """Multiply two matrices of integers.

    Args:
        left: The first.
        right: The second.

    Returns:
        The product.
    """
    columns = list(zip(*right, strict=True))
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in left
    ]


def _gather(
    kernel: str, matrix: Matrix, places: Callable[[str, int], list[tuple[int, int]]]
) -> bytes:
    encode = SHAPES[kernel].encode
    return b"".join(
        encode(matrix[row][column]) for lane in range(LANES) for row, column in places(kernel, lane)
    )


def fragments(kernel: str, keys: Keys) -> Fragments:
    """Draw the operands of a tensor kernel.

    The second B is the negative of the first but for one element a column. So each instruction
    multiplies full matrices while the sums grow slowly, and no accumulator stays as it began.

    Args:
        kernel: Name of the kernel.
        keys: Keys of the measurement.

    Returns:
        The operands.
    """
    shape = SHAPES[kernel]
    count = (TILES * shape.rows + shape.columns) * shape.depth
    drawn = iter(keys.integers(f"{kernel}/elements", count, 4))

    def draw(rows: int, columns: int) -> Matrix:
        return [[(-2, -1, 1, 2)[next(drawn)] for _ in range(columns)] for _ in range(rows)]

    factors = [draw(shape.rows, shape.depth) for _ in range(TILES)]
    first = draw(shape.depth, shape.columns)
    second = [[-value for value in row] for row in first]
    rest = [[0] * shape.columns for _ in range(shape.depth)]
    for column, move in enumerate(keys.integers(f"{kernel}/moves", shape.columns, 2 * shape.depth)):
        rest[move >> 1][column] = 1 if move & 1 else -1
        second[move >> 1][column] += rest[move >> 1][column]
    drifts = [multiply(a, rest) for a in factors]
    # In the middle of an iteration a sum is one product away from where it began.
    room = shape.limit - max(_largest(multiply(a, first)) for a in factors)
    return Fragments(
        kernel=kernel,
        a_bytes=b"".join(_gather(kernel, a, a_places) for a in factors),
        b_bytes=_gather(kernel, first, b_places) + _gather(kernel, second, b_places),
        max_iters=room // max(map(_largest, drifts)) - 1,
        drifts=tuple(tuple(map(tuple, drift)) for drift in drifts),
    )


def _largest(matrix: Matrix) -> int:
    return max(abs(value) for row in matrix for value in row)
