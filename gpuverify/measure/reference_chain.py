"""What the timed kernels have to yield: arithmetic chains, the pointer chase, bandwidth sums.

The operands are chosen so that each result is an exact number in closed form. A card whose
result differs did not do the work that was timed.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gpuverify.measure.reference import WORD, Cell, Keys

LANES = 32
CHAINS = 8
STEP_PAIRS = 8
CHAIN_OPERATIONS = 2 * STEP_PAIRS * CHAINS
CENSUS_STEPS = 64
_FOLD = 0x9E3779B97F4A7C15
_U32 = 0xFFFFFFFF
_HALF_START = 0x6400
_HALF_MINUS_ONE = 0xBC00

# Largest integers that a format holds without a gap.
_EXACT: Final = {"chain_fma_f32": 1 << 24, "chain_mul_add_f32": 1 << 24, "chain_fma_f64": 1 << 53}
CHAIN_KERNELS: Final = (*_EXACT, "chain_fma_f16x2", "chain_imad_u32")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOperands:
    """Arguments of a chain kernel, as the bits that are passed.

    Attributes:
        a: The factor.
        b: The addend of odd steps.
        c: The addend of even steps.
        seed: Decides where each chain of each lane starts.
    """

    a: int
    b: int
    c: int
    seed: int


def fold(start: int, values: Sequence[int]) -> int:
    """Fold the bits of results into one word, as the kernels do.

    Args:
        start: Where the fold starts.
        values: Bits of the results in order.

    Returns:
        The word.
    """
    for value in values:
        start = ((start ^ value) * _FOLD) & WORD
    return start


def sink_bytes(words: Sequence[int], threads: int) -> bytes:
    """Give the whole output of a timed kernel whose results depend on the lane alone.

    Args:
        words: The 32 words.
        threads: Number of threads; a multiple of 32.

    Returns:
        Eight bytes a thread.
    """
    return array("Q", words).tobytes() * (threads // LANES)


def start_value(seed: int, lane: int, chain: int) -> int:
    """Tell where a chain starts.

    Args:
        seed: The kernel's seed.
        lane: Number of the thread in its warp.
        chain: Number of the chain.

    Returns:
        An integer below 1024.
    """
    return (((seed + 8 * lane + chain) * 2654435761) & _U32) >> 22


def max_iterations(kernel: str) -> int:
    """Tell how many iterations of a chain stay exact.

    Args:
        kernel: Name of the chain kernel.

    Returns:
        The largest number that `chain_operands` takes.
    """
    return (_EXACT.get(kernel, 1 << 53) - (1 << 12)) // STEP_PAIRS


def chain_operands(kernel: str, keys: Keys, iters: int) -> ChainOperands:
    """Draw the arguments of a chain kernel.

    Args:
        kernel: Name of the chain kernel.
        keys: Keys of the measurement.
        iters: Iterations that are to be run.

    Returns:
        Arguments with which every step is exact.

    Raises:
        ValueError: So many iterations cannot stay exact.
    """
    limit = max_iterations(kernel)
    if iters > limit:
        raise ValueError(f"{kernel} is exact for {limit} iterations, not for {iters}")
    first, second, seed = keys.integers(f"{kernel}/operands", 3, 1 << 32)
    if kernel == "chain_imad_u32":
        # An odd factor keeps the map a bijection: no start is forgotten on the way.
        return ChainOperands(a=first | 1, b=second, c=first ^ second, seed=seed)
    if kernel == "chain_fma_f16x2":
        halves = struct.pack("<2e", float(first % 2048), float(second % 2048))
        addend = int.from_bytes(halves, "little")
        return ChainOperands(a=_HALF_MINUS_ONE * 0x10001, b=addend, c=addend, seed=seed)
    drift = 1 + first % min(15, max(1, limit // max(1, iters)))
    addend = 1 + second % 255
    code = "<d" if kernel == "chain_fma_f64" else "<f"
    a, b, c = (
        int.from_bytes(struct.pack(code, float(value)), "little")
        for value in (-1, addend, addend - drift if seed & 1 else addend + drift)
    )
    return ChainOperands(a=a, b=b, c=c, seed=seed)


def _affine_power(a: int, c: int, times: int, modulus: int) -> tuple[int, int]:
    """Compose x -> a*x + c with itself."""
    factor, addend = 1, 0
    while times:
        if times & 1:
            factor, addend = factor * a % modulus, (addend * a + c) % modulus
        a, c = a * a % modulus, (a * c + c) % modulus
        times >>= 1
    return factor, addend


def _float_results(kernel: str, operands: ChainOperands, iters: int, lane: int) -> list[int]:
    code, size = ("<d", 8) if kernel == "chain_fma_f64" else ("<f", 4)
    a, b, c = (
        struct.unpack(code, value.to_bytes(size, "little"))[0]
        for value in (operands.a, operands.b, operands.c)
    )
    drift = iters * STEP_PAIRS * (int(c) - int(b))
    if a != -1.0 or int(b) != b or int(c) != c:
        raise ValueError(f"{kernel} has a closed form for a = -1 and whole addends alone")
    if abs(drift) + abs(int(b)) + abs(int(c)) + 1024 > _EXACT[kernel]:
        raise ValueError(f"{kernel} is not exact over {iters} iterations with these operands")
    return [
        int.from_bytes(
            struct.pack(code, float(start_value(operands.seed, lane, j) + drift)), "little"
        )
        for j in range(CHAINS)
    ]


def _half_results(operands: ChainOperands, iters: int, lane: int) -> list[int]:
    if operands.a != _HALF_MINUS_ONE * 0x10001 or operands.b != operands.c:
        raise ValueError("chain_fma_f16x2 has a closed form for a = -1 and b = c alone")
    bits = [(_HALF_START | start_value(operands.seed, lane, j)) * 0x10001 for j in range(CHAINS)]
    return [*bits, bits[0] * iters & _U32]


def chain_expected(kernel: str, operands: ChainOperands, iters: int) -> tuple[int, ...]:
    """Compute what each lane of a chain kernel has to yield.

    Args:
        kernel: Name of the chain kernel.
        operands: Its arguments.
        iters: Iterations that were run.

    Returns:
        32 words; every warp gives the same.

    Raises:
        ValueError: These arguments have no exact result.
    """
    results = []
    for lane in range(LANES):
        if kernel == "chain_imad_u32":
            # One pair of steps is x -> a*(a*x + b) + c.
            pair = (operands.a * operands.a, operands.a * operands.b + operands.c)
            factor, addend = _affine_power(*pair, STEP_PAIRS * iters, 1 << 32)
            values = [
                (factor * start_value(operands.seed, lane, j) + addend) & _U32
                for j in range(CHAINS)
            ]
        elif kernel == "chain_fma_f16x2":
            values = _half_results(operands, iters, lane)
        else:
            values = _float_results(kernel, operands, iters, lane)
        results.append(fold(operands.seed, values))
    return tuple(results)


def census_expected(a: int, c: int, seed: int, iters: int) -> tuple[int, ...]:
    """Compute what each lane of the census has to yield.

    Args:
        a: The factor.
        c: The addend.
        seed: The kernel's seed.
        iters: Iterations that were run.

    Returns:
        32 words.
    """
    factor, addend = _affine_power(a & _U32, c & _U32, CENSUS_STEPS * iters, 1 << 32)
    return tuple(
        fold(seed, [(factor * start_value(seed, lane, 0) + addend) & _U32]) for lane in range(LANES)
    )


def _ones_below(count: int, bit: int) -> int:
    """Count the integers below `count` that have a bit set."""
    full, rest = divmod(count, 2 << bit)
    return (full << bit) + max(0, rest - (1 << bit))


def bw_sum(ncell: int, val: int) -> int:
    """Compute the sum that `bw_read` has to give after `bw_write`.

    Args:
        ncell: Number of cells.
        val: The argument of `bw_write`.

    Returns:
        The sum of all words, modulo 2^64.
    """
    low = ncell * val + ncell * (ncell - 1) // 2
    high = 0
    for bit in range(64):
        ones = _ones_below(ncell, bit)
        high += (ncell - ones if val >> bit & 1 else ones) << bit
    return (low + high) & WORD


def bw_cell(index: int, val: int) -> Cell:
    """Give the cell that `bw_write` stores.

    Args:
        index: Number of the cell.
        val: The argument of `bw_write`.

    Returns:
        The low and the high word.
    """
    return (val + index) & WORD, val ^ index


def l2_expected(
    thread: int, ncell: int, step: int, loads: int, cell_of: Callable[[int], Cell]
) -> int:
    """Compute what one thread of `l2_read` has to yield.

    Args:
        thread: Number of the thread in the grid.
        ncell: Cells of the set.
        step: The kernel's step; below `ncell`.
        loads: Number of loads.
        cell_of: Gives the content of a cell.

    Returns:
        The word.
    """
    index = thread % ncell
    total = 0
    for _ in range(loads):
        total += sum(cell_of(index))
        index += step
        if index >= ncell:
            index -= ncell
    return total & WORD


def chase_cycle(slots: int, keys: Keys, label: str = "chase") -> tuple[int, int]:
    """Draw a step that visits every slot once before it returns.

    Args:
        slots: Number of slots, at least 8.
        keys: Keys of the measurement.
        label: What the cycle is for.

    Returns:
        Factor and addend of slot -> (a*slot + c) mod slots.
    """
    # Hull and Dobell, "Random Number Generators", SIAM Review 4 (1962): the period is full just
    # where c is coprime to the modulus and a-1 is a multiple of its primes, and of 4 if it is.
    primes = [p for p in range(2, math.isqrt(slots) + 1) if slots % p == 0 and _is_prime(p)]
    rest = slots
    for prime in primes:
        while rest % prime == 0:
            rest //= prime
    step = math.prod(primes) * rest * (2 if slots % 4 == 0 else 1)
    choices = max(1, slots // step - 1)
    a = (1 + step * (1 + keys.integers(f"{label}/a", 1, choices)[0])) % slots
    c = keys.integers(f"{label}/c", 1, slots)[0] | 1
    while math.gcd(c, slots) != 1:
        c += 2
    return a, c % slots


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def chase_after(slots: int, a: int, c: int, slot: int, hops: int) -> int:
    """Tell where a chase ends.

    Args:
        slots: Number of slots.
        a: Factor of the step.
        c: Addend of the step.
        slot: Slot where it starts.
        hops: Number of hops.

    Returns:
        The slot.
    """
    factor, addend = _affine_power(a, c, hops, slots)
    return (factor * slot + addend) % slots
