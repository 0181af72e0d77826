"""Operands of the tensor kernels: layout, encoding and the exactness of what they give."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from gpuverify.measure.packs import PACKS
from gpuverify.measure.reference import Keys
from gpuverify.measure.reference_chain import fold
from gpuverify.measure.reference_mma import (
    SHAPES,
    Fragments,
    a_places,
    accumulator_places,
    b_places,
    fragments,
    multiply,
)

KERNELS = tuple(SHAPES)


def drawn(kernel: str, nonce: bytes = b"n") -> Fragments:
    return fragments(kernel, Keys.derive(nonce, "GPU-1", "00000000:01:00.0", "mma"))


def decode(kernel: str, data: bytes) -> list[float]:
    """Elements of an operand, decoded by other means than they were encoded."""
    if kernel == "mma_bf16":
        words = struct.unpack(f"<{len(data) // 2}H", data)
        return [struct.unpack("<f", struct.pack("<I", word << 16))[0] for word in words]
    if kernel == "mma_e4m3":
        return [
            (-1) ** (byte >> 7) * (8 + (byte & 7)) / 8 * 2.0 ** ((byte >> 3 & 15) - 7)
            if byte & 0x7F
            else 0.0
            for byte in data
        ]
    code = {"mma_f16": "e", "mma_tf32": "f", "mma_s8": "b", "mma_f64": "d"}[kernel]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))


def scatter(
    kernel: str,
    data: bytes,
    places: Callable[[str, int], list[tuple[int, int]]],
    size: tuple[int, int, int],
) -> list[list[list[int]]]:
    """Matrices from what the lanes hold."""
    flat = iter(decode(kernel, data))
    matrices = []
    for _ in range(size[0]):
        matrix = [[0] * size[2] for _ in range(size[1])]
        for lane in range(32):
            for row, column in places(kernel, lane):
                matrix[row][column] = int(next(flat))
        matrices.append(matrix)
    assert next(flat, None) is None
    return matrices


def test_there_is_a_shape_for_every_tensor_kernel() -> None:
    assert set(KERNELS) == {*PACKS["tensor"].kernels, *PACKS["fp8"].kernels}


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_element_has_one_place(kernel: str) -> None:
    shape = SHAPES[kernel]
    for places, rows, columns in (
        (a_places, shape.rows, shape.depth),
        (b_places, shape.depth, shape.columns),
        (accumulator_places, shape.rows, shape.columns),
    ):
        spots = sorted(spot for lane in range(32) for spot in places(kernel, lane))
        assert spots == [(row, column) for row in range(rows) for column in range(columns)]


def test_places_as_the_isa_draws_them() -> None:
    # PTX ISA 7.0, figures of m16n8k16 (16-bit), m16n8k8 (tf32), m16n8k32 (8-bit), m8n8k4 (f64).
    assert a_places("mma_f16", 5) == [(1, 2), (1, 3), (9, 2), (9, 3), (1, 10), (1, 11), (9, 10), (9, 11)]  # fmt: skip
    assert b_places("mma_f16", 5) == [(2, 1), (3, 1), (10, 1), (11, 1)]
    assert accumulator_places("mma_f16", 5) == [(1, 2), (1, 3), (9, 2), (9, 3)]
    assert a_places("mma_tf32", 6) == [(1, 2), (9, 2), (1, 6), (9, 6)]
    assert b_places("mma_tf32", 6) == [(2, 1), (6, 1)]
    assert a_places("mma_s8", 31)[:5] == [(7, 12), (7, 13), (7, 14), (7, 15), (15, 12)]
    assert a_places("mma_s8", 31)[8] == (7, 28)
    assert b_places("mma_e4m3", 31) == [(k, 7) for k in (12, 13, 14, 15, 28, 29, 30, 31)]
    assert a_places("mma_f64", 13) == [(3, 1)]
    assert b_places("mma_f64", 13) == [(1, 3)]
    assert accumulator_places("mma_f64", 13) == [(3, 2), (3, 3)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_operands_multiply_to_what_is_expected(kernel: str) -> None:
    shape, made = SHAPES[kernel], drawn(kernel)
    factors = scatter(kernel, made.a_bytes, a_places, (4, shape.rows, shape.depth))
    first, second = scatter(kernel, made.b_bytes, b_places, (2, shape.depth, shape.columns))
    iters = 7
    sums = [
        [[iters * (x + y) for x, y in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in ((multiply(a, first), multiply(a, second)) for a in factors)
    ]
    for lane, word in enumerate(made.expected(iters)):
        bits = [
            int.from_bytes(struct.pack(shape.accumulator, tile[row][column]), "little")
            for tile in sums
            for row, column in accumulator_places(kernel, lane)
        ]
        assert word == fold(0, bits)
    assert all(value for a in factors for row in a for value in row)
    assert all(value for tile in sums for row in tile for value in row)
    assert factors[0] != factors[1] != factors[2] != factors[3]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_result_tells_the_nonce_and_the_iterations(kernel: str) -> None:
    made = drawn(kernel)
    words = made.expected(100)
    assert len(words) == 32
    # Few small numbers in a tile: some lanes may agree by chance, all of them never.
    assert words != made.expected(99)
    assert words != drawn(kernel, b"m").expected(100)
    assert made.max_iters > 1000
    with pytest.raises(ValueError, match="exact"):
        made.expected(made.max_iters + 1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_operands_are_as_long_as_the_kernel_reads(kernel: str) -> None:
    words = {"mma_f64": (1, 1, 8)}.get(kernel, (4, 2, 4))
    made = drawn(kernel)
    assert len(made.a_bytes) == 4 * 32 * words[0] * words[2]
    assert len(made.b_bytes) == 2 * 32 * words[1] * words[2]
    assert SHAPES[kernel].operations in {2048, 1024, 4096, 256}
