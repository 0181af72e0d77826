"""The recomputation on the CPU: bulk against single, closed forms against walking."""

from __future__ import annotations

import math
import secrets
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.measure import reference as ref
from gpuverify.measure import reference_chain as chain

WORDS = st.integers(0, ref.WORD)
KEYS = ref.Keys.derive(b"nonce", "GPU-1", "00000000:01:00.0", "test")


def bits(code: str, value: float) -> int:
    return int.from_bytes(struct.pack(code, value), "little")


@given(WORDS)
def test_the_bijections_have_inverses(word: int) -> None:
    assert ref.unmix_a(ref.mix_a(word)) == word
    assert ref.unmix_b(ref.mix_b(word)) == word


def test_the_bijections_by_hand() -> None:
    # 1: 1^2^13 = 0x2001; >>7 gives 0x40; 0x2041; <<17 gives 0x40820000.
    assert ref.mix_a(1) == 0x40822041
    # 2^12: ^1 = 0x1001; <<25 gives 0x2002000000; >>27 of 0x2002001001 is 0x400.
    assert ref.mix_b(1 << 12) == 0x2002001001 ^ 0x400
    assert ref.mix_a(0) == ref.mix_b(0) == 0


@given(WORDS, WORDS, WORDS)
def test_a_word_tells_which_cell_it_was_written_for(index: int, k0: int, k1: int) -> None:
    lo, hi = ref.cell(index, k0, k1)
    assert ref.invert(lo, k0) == index
    assert ref.invert_hi(hi, k1) == lo


@given(WORDS, st.integers(1, 9), WORDS, WORDS, st.sampled_from([0, ref.WORD]), WORDS)
def test_bulk_equals_one_at_a_time(
    base: int, count: int, k0: int, k1: int, inv: int, kd: int
) -> None:
    image = b""
    total = 0
    for index in range(base, base + count):
        lo, hi = (word ^ inv for word in ref.cell(index, k0, k1))
        image += struct.pack("<2Q", lo, hi)
        total += ref.mix_b(ref.mix_a((lo + index + kd) & ref.WORD) ^ hi)
    assert ref.cells_bytes(base, count, k0, k1, inv) == image
    assert ref.digest_bytes(image, base, kd) == total & ref.WORD
    assert ref.digest_pattern(base, count, k0, k1, kd, inv) == total & ref.WORD


def test_bulk_goes_on_over_the_end_of_a_batch() -> None:
    base, count = (1 << 40) - 5, ref.BATCH_CELLS + 3
    image = ref.cells_bytes(base, count, KEYS.k0, KEYS.k1)
    for index in (0, 1, ref.BATCH_CELLS - 1, ref.BATCH_CELLS, count - 1):
        want = struct.pack("<2Q", *ref.cell(base + index, KEYS.k0, KEYS.k1))
        assert image[16 * index : 16 * index + 16] == want
    digest = ref.digest_bytes(image, base, KEYS.kd)
    assert digest == ref.digest_pattern(base, count, KEYS.k0, KEYS.k1, KEYS.kd)
    parts = [(0, 1000), (1000, ref.BATCH_CELLS), (ref.BATCH_CELLS, count)]
    summed = sum(ref.digest_bytes(image[16 * a : 16 * b], base + a, KEYS.kd) for a, b in parts)
    assert summed & ref.WORD == digest


def test_a_digest_sees_a_bit_a_swap_and_a_shift() -> None:
    image = bytearray(ref.cells_bytes(77, 64, KEYS.k0, KEYS.k1))
    good = ref.digest_bytes(bytes(image), 77, KEYS.kd)
    flipped = bytearray(image)
    flipped[secrets.randbelow(len(image))] ^= 1 << secrets.randbelow(8)
    swapped = image[16:32] + image[:16] + image[32:]
    for other in (flipped, swapped):
        assert ref.digest_bytes(bytes(other), 77, KEYS.kd) != good
    assert ref.digest_bytes(bytes(image), 78, KEYS.kd) != good


def test_half_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="whole cells"):
        ref.digest_bytes(bytes(24), 0, 1)


@given(st.tuples(WORDS, WORDS), st.tuples(WORDS, WORDS), WORDS, WORDS)
def test_the_butterfly_loses_nothing(x: ref.Cell, y: ref.Cell, index: int, key: int) -> None:
    (a0, a1), (b0, b1) = ref.butterfly(x, y, index, key)
    # The two masks cancel out of one sum each, so the inputs can be had back.
    m1 = ref.mix_b(((a1 ^ b0) + index + key) & ref.WORD)
    x0, y1 = (a0 - m1) & ref.WORD, (b1 - m1) & ref.WORD
    m0 = ref.mix_a((x0 + y1 + key) & ref.WORD)
    assert ((x0, a1 ^ m0), (b0 ^ m0, y1)) == (x, y)


def test_keys_depend_on_every_part() -> None:
    seeds = {ref.Keys.derive(b"n", "u", "p", "l").seed}
    for u, p, label in (("uu", "p", "l"), ("u", "pp", "l"), ("u", "p", "ll")):
        seeds.add(ref.Keys.derive(b"n", u, p, label).seed)
    seeds.add(ref.Keys.derive(b"nn", "u", "p", "l").seed)
    # Moving a letter from one part to the next has to change the seed as well.
    seeds.add(ref.Keys.derive(b"n", "up", "", "l").seed)
    assert len(seeds) == 6
    assert len({KEYS.k0, KEYS.k1, KEYS.kd, KEYS.word("other")}) == 4


def test_keys_do_not_show_their_seed() -> None:
    assert KEYS.seed.hex() not in repr(KEYS)
    assert "seed" not in repr(KEYS)


def test_drawn_integers_are_even_and_steady() -> None:
    drawn = KEYS.integers("draw", 3000, 3)
    assert drawn == KEYS.integers("draw", 3000, 3)
    assert drawn[:7] == KEYS.integers("draw", 7, 3)
    assert all(900 < times < 1100 for times in Counter(drawn).values())
    assert set(drawn) == {0, 1, 2}
    with pytest.raises(ValueError, match="bound"):
        KEYS.integers("draw", 1, 0)


def walk(kernel: str, operands: chain.ChainOperands, iters: int, lane: int) -> int:
    """A chain kernel step by step, in the format's own rounding."""
    code = {"chain_fma_f64": "<d", "chain_fma_f16x2": "<e"}.get(kernel, "<f")
    size = struct.calcsize(code)

    def rounded(value: float) -> float:
        return float(struct.unpack(code, struct.pack(code, value))[0])

    def halves(word: int) -> list[float]:
        return list(struct.unpack("<2e", word.to_bytes(4, "little")))

    starts = [chain.start_value(operands.seed, lane, j) for j in range(8)]
    results = []
    if kernel == "chain_imad_u32":
        for start in starts:
            word = start
            for _ in range(iters * 8):
                word = (word * operands.a + operands.b) & 0xFFFFFFFF
                word = (word * operands.a + operands.c) & 0xFFFFFFFF
            results.append(word)
        return chain.fold(operands.seed, results)
    if kernel == "chain_fma_f16x2":
        tally = 0
        a, b, c = halves(operands.a), halves(operands.b), halves(operands.c)
        values = [[1024.0 + start] * 2 for start in starts]
        for _ in range(iters):
            for _ in range(8):
                for pair in values:
                    for k in (0, 1):
                        pair[k] = rounded(pair[k] * a[k] + b[k])
                        pair[k] = rounded(pair[k] * a[k] + c[k])
            tally += int.from_bytes(struct.pack("<2e", *values[0]), "little")
        words = [int.from_bytes(struct.pack("<2e", *pair), "little") for pair in values]
        return chain.fold(operands.seed, [*words, tally & 0xFFFFFFFF])
    fa, fb, fc = (
        struct.unpack(code, word.to_bytes(size, "little"))[0]
        for word in (operands.a, operands.b, operands.c)
    )
    for start in starts:
        x = float(start)
        for _ in range(iters * 8):
            x = rounded(rounded(x * fa) + fb)
            x = rounded(rounded(x * fa) + fc)
        results.append(bits(code, x))
    return chain.fold(operands.seed, results)


@pytest.mark.parametrize("kernel", chain.CHAIN_KERNELS)
@given(st.binary(min_size=1, max_size=8), st.integers(0, 40), st.integers(0, 31))
def test_a_chain_has_its_closed_form(kernel: str, nonce: bytes, iters: int, lane: int) -> None:
    keys = ref.Keys.derive(nonce, "GPU-2", "00000000:02:00.0", "chain")
    operands = chain.chain_operands(kernel, keys, iters)
    assert chain.chain_expected(kernel, operands, iters)[lane] == walk(
        kernel, operands, iters, lane
    )


@pytest.mark.parametrize("kernel", chain.CHAIN_KERNELS)
def test_a_chain_tells_its_iterations_and_its_nonce(kernel: str) -> None:
    operands = chain.chain_operands(kernel, KEYS, 1000)
    full = chain.chain_expected(kernel, operands, 1000)
    assert len(full) == 32
    for other in (0, 1, 500, 999):
        assert set(full).isdisjoint(chain.chain_expected(kernel, operands, other))
    second = ref.Keys.derive(b"other", "GPU-1", "00000000:01:00.0", "test")
    changed = chain.chain_operands(kernel, second, 1000)
    assert set(full).isdisjoint(chain.chain_expected(kernel, changed, 1000))


@pytest.mark.parametrize("kernel", chain.CHAIN_KERNELS)
def test_the_longest_chain_is_still_exact(kernel: str) -> None:
    limit = chain.max_iterations(kernel)
    operands = chain.chain_operands(kernel, KEYS, limit)
    assert len(set(chain.chain_expected(kernel, operands, limit))) > 16
    with pytest.raises(ValueError, match="exact"):
        chain.chain_operands(kernel, KEYS, limit + 1)


def test_operands_without_a_closed_form_are_refused() -> None:
    good = chain.chain_operands("chain_fma_f32", KEYS, 10)
    twice = chain.ChainOperands(a=bits("<f", 2.0), b=good.b, c=good.c, seed=1)
    with pytest.raises(ValueError, match="closed form"):
        chain.chain_expected("chain_fma_f32", twice, 10)
    wide = chain.ChainOperands(a=good.a, b=bits("<f", 1.0), c=bits("<f", 9.0), seed=1)
    with pytest.raises(ValueError, match="not exact"):
        chain.chain_expected("chain_fma_f32", wide, 1 << 20)
    half = chain.chain_operands("chain_fma_f16x2", KEYS, 10)
    drifting = chain.ChainOperands(a=half.a, b=half.b, c=half.b ^ 1, seed=1)
    with pytest.raises(ValueError, match="closed form"):
        chain.chain_expected("chain_fma_f16x2", drifting, 10)


def test_the_census_has_its_closed_form() -> None:
    a, c, seed, iters = 0x12345, 0x777, 0xABCDEF, 3
    for lane, word in enumerate(chain.census_expected(a, c, seed, iters)):
        x = chain.start_value(seed, lane, 0)
        for _ in range(64 * iters):
            x = (x * a + c) & 0xFFFFFFFF
        assert word == chain.fold(seed, [x])


@given(st.integers(0, 300), WORDS)
def test_the_bandwidth_sum_has_its_closed_form(ncell: int, val: int) -> None:
    walked = sum(sum(chain.bw_cell(index, val)) for index in range(ncell))
    assert chain.bw_sum(ncell, val) == walked & ref.WORD


@given(st.integers(8, 400), st.binary(max_size=4), st.integers(0, 1000))
def test_a_chase_visits_every_slot_once(slots: int, nonce: bytes, hops: int) -> None:
    keys = ref.Keys.derive(nonce, "GPU-3", "00000000:03:00.0", "chase")
    a, c = chain.chase_cycle(slots, keys)
    seen = [0]
    while len(seen) <= slots:
        seen.append((a * seen[-1] + c) % slots)
    assert seen[slots] == 0
    assert sorted(seen[:slots]) == list(range(slots))
    assert chain.chase_after(slots, a, c, 0, hops) == seen[hops % slots]


@pytest.mark.parametrize("slots", [1 << 21, 5 << 18, 7 << 19, 3 << 20])
def test_a_chase_leaves_its_line_at_nearly_every_hop(slots: int) -> None:
    a, c = chain.chase_cycle(slots, KEYS)
    assert math.gcd(c, slots) == 1
    slot, near = 0, 0
    for _ in range(4000):
        after = (a * slot + c) % slots
        near += abs(after - slot) < 64
        slot = after
    assert near < 40


def test_l2_reads_wrap_round() -> None:
    cells = [(3 * index, 5 * index) for index in range(10)]
    # From 13 % 10: 3, 7, 1, 5 are read.
    total = sum(8 * index for index in (3, 7, 1, 5))
    assert chain.l2_expected(13, 10, 4, 4, lambda index: cells[index]) == total


def test_a_sink_repeats_its_warp() -> None:
    words = tuple(range(100, 132))
    sink = chain.sink_bytes(words, 64)
    assert struct.unpack("<64Q", sink) == words * 2
