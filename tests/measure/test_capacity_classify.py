"""Classification on evidence made by hand: what each detector needs and what outranks what."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.errors import UsageError
from gpuverify.measure.capacity_classify import CapacityClass, classify
from gpuverify.measure.capacity_confirm import confirm
from gpuverify.measure.capacity_decode import Kind, chunk_of, decode_cell, differing_cells
from gpuverify.measure.capacity_evidence import (
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
from gpuverify.measure.capacity_mix import Mix
from gpuverify.measure.capacity_plan import GIB, MIB, CapacityPlan
from gpuverify.measure.reference import Keys, butterfly, cell

K0, K1 = 0x1234_5678_9ABC_DEF1, 0xFEDC_BA98_7654_3217
CHUNK_CELLS = 64 * MIB // 16
CHUNKS = tuple(
    Chunk(address=0x7000_0000_0000 + n * 64 * MIB, base=n * CHUNK_CELLS, cells=CHUNK_CELLS)
    for n in range(8)
)
TOTAL = 8 * CHUNK_CELLS
PLANTED = (5, 77_777, TOTAL - 3)


def written(number: int, flip: int = 0) -> tuple[int, int]:
    low, high = cell(number, K0, K1)
    return low ^ flip, high ^ flip


def holds(number: int, other: int) -> BadCell:
    """A cell with another's content."""
    low, high = written(other)
    return BadCell(cell=number, low=low, high=high)


def flipped(number: int, bit: int = 3) -> BadCell:
    low, high = written(number)
    return BadCell(cell=number, low=low ^ (1 << bit), high=high)


def one_pass(
    label: str, bad: list[BadCell], *, count: int | None = None, confirmed: int = 1
) -> Pass:
    """A pass whose check reports the planted faults and the given cells."""
    checks = []
    for number, chunk in enumerate(CHUNKS):
        inside = [b for b in bad if chunk.base <= b.cell < chunk.base + chunk.cells]
        plants = [flipped(p, 9) for p in PLANTED if chunk.base <= p < chunk.base + chunk.cells]
        total = len(inside) + len(plants)
        if inside and count is not None:
            total, count = count + len(plants), 0
        checks.append(
            ChunkCheck(
                chunk=number,
                bad=total,
                wanted=len(inside) + len(plants),
                cells=tuple(inside + plants),
                compared=len(inside),
                confirmed=len(inside) * confirmed,
            )
        )
    return Pass(label=label, inverted=label == "b", planted=PLANTED, checks=tuple(checks))


def evidence(
    bad_a: list[BadCell] | None = None, bad_b: list[BadCell] | None = None, **changes: Any
) -> CapacityEvidence:
    rates = tuple(
        Rate(phase=phase, chunk=number, kb_s=1_000_000_000 + number)
        for phase in ("write-a", "check-a", "write-b", "check-b", "digest")
        for number in range(8)
    )
    base = CapacityEvidence(
        uuid="GPU-1",
        pci_bus_id="0000:07:00.0",
        k0=K0,
        k1=K1,
        claimed_bytes=520 * MIB,
        l2_bytes=16 * MIB,
        peak_kb_s=1_500_000_000,
        info_before=(518 * MIB, 520 * MIB),
        info_after=(4 * MIB, 520 * MIB),
        helper_bytes=2 * MIB,
        rate_chunk_bytes=32 * MIB,
        chunks=CHUNKS,
        passes=(one_pass("a", bad_a or []), one_pass("b", bad_b or [])),
        digest="d",
        digest_samples=((3, 7, 7),),
        pages_read=16,
        mixed_samples=8,
        rates=rates,
        timings=((40_000_000, 41_000_000), (40_000_000, 40_500_000)),
    )
    return replace(base, **changes)


def test_an_honest_card() -> None:
    result = classify(evidence())
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == ()
    assert result.coverage_ppm == 512 * 1_000_000 // 520
    assert result.reason == "every tested byte is its own"


def folded(step: int, **changes: Any) -> CapacityEvidence:
    """A card that repeats every `step` cells: in each pass all but `step` cells are bad."""
    low = [holds(n, n + step) for n in range(100, 140)]
    high = [holds(n, n - step) for n in range(TOTAL - 300, TOTAL - 260)]
    passes = (one_pass("a", low, count=TOTAL - step), one_pass("b", high, count=TOTAL - step))
    return evidence(passes=passes, **changes)


def test_a_fold_needs_two_detectors() -> None:
    step = TOTAL // 2
    result = classify(folded(step))
    assert result.kind is CapacityClass.FOLDED
    assert result.fold_bytes == step * 16
    alone = folded(step)
    alone = replace(
        alone,
        passes=tuple(
            replace(p, checks=tuple(replace(c, confirmed=0) for c in p.checks))
            for p in alone.passes
        ),
    )
    assert classify(alone).kind is CapacityClass.INVALID
    for other in (
        {"digest_samples": ((1, 2, 3),)},
        {"mixed_wrong": 2},
        {"pages_wrong": 1, "page_cells": (holds(500, 500 + step),)},
    ):
        assert classify(replace(alone, **other)).kind is CapacityClass.FOLDED


def test_distances_that_share_a_divisor_give_the_fold() -> None:
    step = TOTAL // 8
    cells = [holds(n, n + 3 * step) for n in range(50)]
    cells += [holds(n, n + 2 * step) for n in range(2 * CHUNK_CELLS, 2 * CHUNK_CELLS + 50)]
    passes = (one_pass("a", cells, count=TOTAL - step), one_pass("b", []))
    assert classify(evidence(passes=passes)).fold_bytes == step * 16


def test_the_devices_own_notes_in_folded_memory_do_not_spoil_the_distance() -> None:
    step = TOTAL // 2
    noisy = folded(step)
    notes = [holds(9000 + n, 20_001 + 3 * n) for n in range(5)]
    cells = [holds(n, n + step) for n in range(100, 400)] + notes
    passes = (one_pass("a", cells, count=TOTAL - step), noisy.passes[1])
    assert classify(replace(noisy, passes=passes)).fold_bytes == step * 16


def test_pages_in_another_order_are_no_fold() -> None:
    cells = [holds(n * 4096, (n * 4096 * 7 + 4096) % TOTAL) for n in range(1, 60)]
    passes = (one_pass("a", cells, count=TOTAL // 4), one_pass("b", []))
    result = classify(evidence(passes=passes))
    assert result.kind is CapacityClass.PAGE_PERMUTED
    assert result.fold_bytes == TOTAL * 3 // 4 * 16


@pytest.mark.parametrize(
    ("at_once", "rested", "kind"),
    [
        ((), (), CapacityClass.FLIPPED_BITS),
        ((flipped(999),), (flipped(999),), CapacityClass.STUCK_BITS),
        ((), (flipped(999), flipped(1044)), CapacityClass.DECAYING),
        ((), (flipped(4321),), CapacityClass.DECAYING),
    ],
)
def test_the_second_look_tells_kinds_of_damage_apart(
    at_once: tuple[BadCell, ...], rested: tuple[BadCell, ...], kind: CapacityClass
) -> None:
    again = (Diagnosis(chunk=0, inverted=False, at_once=at_once, rested=rested),)
    result = classify(evidence([flipped(999)], diagnoses=again))
    assert result.kind is kind
    assert result.bad_cells == 1
    assert result.repeat


def test_a_bit_that_flips_after_the_last_check_is_damage_not_a_lie() -> None:
    seen = evidence(pages_wrong=1, page_cells=(flipped(321),))
    assert classify(seen).kind is CapacityClass.FLIPPED_BITS


def test_contents_that_only_a_page_shows_are_a_contradiction() -> None:
    zero = BadCell(cell=321, low=MASK, high=MASK)
    assert classify(evidence(pages_wrong=1, page_cells=(zero,))).kind is CapacityClass.INVALID


def test_a_check_that_copies_do_not_confirm_is_invalid() -> None:
    passes = (one_pass("a", [flipped(999)], confirmed=0), one_pass("b", []))
    assert classify(evidence(passes=passes)).kind is CapacityClass.INVALID


def test_old_content_is_a_dropped_write() -> None:
    low, high = written(999, MASK)
    stale = [BadCell(cell=999, low=low, high=high)]
    assert classify(evidence(stale, stale)).kind is CapacityClass.DROPPED_WRITES


def test_missing_planted_faults_outrank_silence_not_records_cut_off() -> None:
    blind = tuple(
        replace(p, checks=tuple(replace(c, bad=0, wanted=0, cells=()) for c in p.checks))
        for p in evidence().passes
    )
    assert classify(evidence(passes=blind)).kind is CapacityClass.INVALID
    full = folded(TOTAL // 2)
    cut = tuple(
        replace(
            p,
            checks=tuple(
                replace(c, wanted=10**6, cells=tuple(b for b in c.cells if b.cell not in PLANTED))
                for c in p.checks
            ),
        )
        for p in full.passes
    )
    assert "planted" not in classify(replace(full, passes=cut)).detectors


def rates_with(slow: dict[int, int], phases: int = 5) -> tuple[Rate, ...]:
    names = ("write-a", "check-a", "write-b", "check-b", "digest")
    return tuple(
        Rate(phase=name, chunk=n, kb_s=slow.get(n, 10**9) if at < phases else 10**9)
        for at, name in enumerate(names)
        for n in range(8)
    )


def test_a_chunk_is_slow_only_if_it_always_is() -> None:
    slow = {6: 10**8, 7: 10**8}
    result = classify(evidence(rates=rates_with(slow)))
    assert result.kind is CapacityClass.SLOW_REGION
    assert result.slow_offset_bytes == 6 * 64 * MIB
    assert classify(evidence(rates=rates_with(slow, phases=4))).kind is CapacityClass.WHOLE
    assert classify(evidence(rates=rates_with({6: 3 * 10**8}))).kind is CapacityClass.WHOLE
    small = evidence(rates=rates_with(slow), rate_chunk_bytes=128 * MIB)
    assert classify(small).kind is CapacityClass.WHOLE


def slow_card(taken: int | None, first: int = 2, **changes: Any) -> CapacityEvidence:
    """A card of which the chunks from `first` on are slow while the host misses some bytes."""
    slow = dict.fromkeys(range(first, 8), 10**8)
    return evidence(rates=rates_with(slow), host_taken_bytes=taken, **changes)


@pytest.mark.parametrize(
    ("taken_mib", "kind"),
    [
        (384, CapacityClass.HOST_BACKED),  # six chunks of 64 MiB are slow
        (300, CapacityClass.HOST_BACKED),
        (None, CapacityClass.SLOW_REGION),
        (0, CapacityClass.SLOW_REGION),
        (200, CapacityClass.SLOW_REGION),  # what any program takes
        (1000, CapacityClass.SLOW_REGION),  # somebody else's
    ],
)
def test_slow_memory_is_the_hosts_only_where_the_host_misses_as_much(
    taken_mib: int | None, kind: CapacityClass
) -> None:
    result = classify(slow_card(None if taken_mib is None else taken_mib * MIB))
    assert result.kind is kind
    assert ("host-memory" in result.detectors) is (kind is CapacityClass.HOST_BACKED)
    assert result.slow_offset_bytes == 2 * 64 * MIB
    assert result.repeat


def test_a_host_that_misses_memory_says_nothing_of_a_card_that_is_fast() -> None:
    result = classify(evidence(host_taken_bytes=384 * MIB))
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == ()


def test_of_two_runs_with_slow_memory_the_milder_counts() -> None:
    paid = classify(slow_card(384 * MIB))
    alone = classify(slow_card(None))
    elsewhere = classify(slow_card(None, first=5))
    fast = classify(evidence())
    assert confirm(paid, paid).kind is CapacityClass.HOST_BACKED
    for first, second in ((paid, alone), (alone, paid), (alone, alone)):
        assert confirm(first, second).kind is CapacityClass.SLOW_REGION
        assert confirm(first, second).slow_offset_bytes == 2 * 64 * MIB
    # Heat and others' work come and go: that is no finding about the memory.
    for first, second in ((paid, fast), (alone, fast), (alone, elsewhere)):
        result = confirm(first, second)
        assert result.kind is CapacityClass.WHOLE
        assert result.slow_offset_bytes is None
        assert not result.repeat
    managed = classify(evidence(foreign_memory=("is_managed=1 at 0",)))
    assert confirm(managed, managed).kind is CapacityClass.HOST_BACKED
    assert confirm(managed, fast).kind is CapacityClass.INVALID


def test_a_card_that_goes_away_while_a_finding_is_repeated_is_lost() -> None:
    failure = Failure(phase="check-a", kind="stalled", offset_bytes=64 * MIB)
    gone = classify(evidence(failure=failure))
    result = confirm(classify(folded(TOTAL // 2)), gone)
    assert result.kind is CapacityClass.LOST
    assert result.lost_offset_bytes == 64 * MIB
    assert result.fold_bytes is None
    assert result.reason.startswith("one run says folded, and in a second the device stopped")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(phase="check-a", kind="call", call="cuCtxSynchronize", status="device-fault", code=719, offset_bytes=7, gone=True), CapacityClass.LOST),
        (Failure(phase="check-a", kind="call", call="cuCtxSynchronize", status="unknown", code=999, offset_bytes=7), CapacityClass.INVALID),
        (Failure(phase="prepare", kind="call", call="cuModuleLoadDataEx", status="ptx-too-new", code=222), CapacityClass.INVALID),
        (Failure(phase="prepare", kind="call", call="cuMemAlloc_v2", status="out-of-memory", code=2), CapacityClass.SHORT),
        (Failure(phase="mix", kind="stalled", offset_bytes=7), CapacityClass.LOST),
        (Failure(phase="digest-cpu", kind="stalled"), CapacityClass.INVALID),
        (Failure(phase="mix", kind="overdue", offset_bytes=7), CapacityClass.INVALID),
        (Failure(phase="mix", kind="stopped", offset_bytes=7), CapacityClass.INVALID),
        (Failure(phase="mix", kind="died", offset_bytes=7), CapacityClass.INVALID),
    ],
)  # fmt: skip
def test_ways_to_fail(failure: Failure, kind: CapacityClass) -> None:
    result = classify(evidence(passes=(), failure=failure))
    assert result.kind is kind
    assert result.tested_bytes == 0
    assert result.lost_offset_bytes == failure.offset_bytes
    assert failure.phase in result.reason or kind is CapacityClass.SHORT


def test_a_fold_that_was_proven_outranks_the_loss_that_followed() -> None:
    failure = Failure(
        phase="mix", kind="call", status="unknown", code=999, offset_bytes=5, gone=True
    )
    result = classify(folded(TOTAL // 2, failure=failure))
    assert result.kind is CapacityClass.FOLDED
    assert result.lost_offset_bytes == 5
    assert "device-error" in result.detectors


def test_others_that_hold_memory_are_named() -> None:
    held = evidence(claimed_bytes=GIB, info_before=(518 * MIB, GIB), info_after=(4 * MIB, GIB))
    result = classify(held)
    assert result.kind is CapacityClass.SHORT
    assert result.detectors == ("memory-held",)


@pytest.mark.parametrize(
    ("changes", "fired"),
    [
        ({"info_after": (518 * MIB, 520 * MIB)}, "memory-info"),
        ({"info_before": (700 * MIB, 520 * MIB)}, "memory-info"),
        ({"timings": ((20_000_000, 40_000_000),) * 2}, "events"),
        ({"timings": ((90_000_000, 40_000_000),) * 2}, "events"),
        ({"peak_kb_s": 800_000_000}, "peak"),
    ],
)
def test_doubts_about_the_driver_leave_the_class_alone(changes: dict[str, Any], fired: str) -> None:
    result = classify(evidence(**changes))
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == (fired,)


def test_one_disturbed_pass_is_no_false_clock_and_cached_chunks_no_false_peak() -> None:
    once = ((20_000_000, 40_000_000), (40_000_000, 40_000_000))
    assert classify(evidence(timings=once)).detectors == ()
    assert classify(evidence(peak_kb_s=800_000_000, l2_bytes=32 * MIB)).detectors == ()


def test_a_repetition_decides() -> None:
    fold, whole = classify(folded(TOTAL // 2)), classify(evidence())
    flip = classify(evidence([flipped(999)]))
    assert confirm(fold, fold).kind is CapacityClass.FOLDED
    assert confirm(fold, whole).kind is CapacityClass.INVALID
    assert confirm(fold, classify(folded(TOTAL // 4))).kind is CapacityClass.INVALID
    # Damage that does not come back was still seen.
    assert confirm(flip, whole).kind is CapacityClass.FLIPPED_BITS
    assert confirm(flip, fold).kind is CapacityClass.INVALID
    assert not confirm(flip, whole).repeat


# Decoding


@given(
    number=st.integers(0, TOTAL - 1),
    other=st.integers(0, TOTAL - 1),
    flip=st.sampled_from([0, MASK]),
)
def test_content_names_the_cell_it_was_written_for(number: int, other: int, flip: int) -> None:
    low, high = written(other, flip)
    decoded = decode_cell(BadCell(cell=number, low=low, high=high), K0, K1, TOTAL)
    if other != number:
        assert (decoded.kind, decoded.written_for) == (Kind.ALIAS, other)
    else:
        assert decoded.kind is (Kind.STALE if flip else Kind.BITS)


@given(number=st.integers(0, TOTAL - 1), bits=st.sets(st.integers(0, 127), min_size=1, max_size=4))
def test_few_wrong_bits_are_named(number: int, bits: set[int]) -> None:
    wrong = sum(1 << bit for bit in bits)
    low, high = written(number)
    seen = BadCell(cell=number, low=low ^ (wrong & MASK), high=high ^ (wrong >> 64))
    decoded = decode_cell(seen, K0, K1, TOTAL)
    assert (decoded.kind, decoded.wrong_bits) == (Kind.BITS, wrong)


def test_constants_garbage_and_cells_beyond_the_end() -> None:
    assert decode_cell(BadCell(cell=1, low=0, high=MASK), K0, K1, TOTAL).kind is Kind.CONSTANT
    aa = 0xAAAA_AAAA_AAAA_AAAA
    assert decode_cell(BadCell(cell=1, low=aa, high=aa), K0, K1, TOTAL).kind is Kind.CONSTANT
    noise = BadCell(cell=1, low=0x1122_3344_5566_7788, high=0x99AA_BBCC_DDEE_FF01)
    assert decode_cell(noise, K0, K1, TOTAL).kind is Kind.GARBAGE
    assert decode_cell(holds(1, TOTAL + 5), K0, K1, TOTAL).kind is Kind.GARBAGE


def test_differing_cells_are_listed_with_the_complement_undone() -> None:
    right = struct.pack("<6Q", 1, 2, 3, 4, 5, 6)
    seen = struct.pack("<6Q", 1, 2, 3, 9, 5, 6)
    assert differing_cells(seen, right, 100, MASK) == [
        BadCell(cell=101, low=3 ^ MASK, high=9 ^ MASK)
    ]


def test_a_cell_finds_its_chunk() -> None:
    assert chunk_of(CHUNKS, 0) is CHUNKS[0]
    assert chunk_of(CHUNKS, CHUNK_CELLS - 1) is CHUNKS[0]
    assert chunk_of(CHUNKS, CHUNK_CELLS) is CHUNKS[1]
    assert chunk_of(CHUNKS, TOTAL - 1) is CHUNKS[7]


# The mix and the plan


def test_a_mixed_cell_equals_mixing_step_by_step() -> None:
    keys = Keys.derive(b"nonce", "GPU-1", "0000:07:00.0", "capacity")
    chunks = tuple(Chunk(address=n, base=n * 4, cells=4) for n in range(5))
    mix = Mix(keys, (*chunks, Chunk(address=9, base=20, cells=2)), 3)
    assert mix.chunks == chunks
    memory = [
        [tuple(w ^ MASK for w in cell(c.base + i, keys.k0, keys.k1)) for i in range(4)]
        for c in chunks
    ]
    for first, second, key in mix.launches():
        a, b = chunks.index(first), chunks.index(second)
        for i in range(4):
            x, y = memory[a][i], memory[b][i]
            memory[a][i], memory[b][i] = butterfly((x[0], x[1]), (y[0], y[1]), i, key)
    for position in range(5):
        for i in range(4):
            assert mix.expected(position, i, MASK) == memory[position][i]
    assert len(set(mix.samples(40))) > 5
    assert len({stage.key for stage in mix.stages}) == 3


def test_one_chunk_is_not_mixed() -> None:
    keys = Keys.derive(b"nonce", "GPU-1", "0000:07:00.0", "capacity")
    assert Mix(keys, CHUNKS[:1], 3).stages == ()
    assert Mix(keys, (), 3).stages == ()


def test_plans() -> None:
    for plan in (CapacityPlan(), CapacityPlan.quick(), CapacityPlan.full()):
        assert CapacityPlan.from_json(plan.to_json()) == plan
    # The budgets of the levels, on the slowest card in the data centre and on a large one.
    assert CapacityPlan.quick().estimate_ms(16 * GIB, 300_000_000) < 10_000
    assert CapacityPlan.full().estimate_ms(80 * GIB, 1_500_000_000) < 30_000
    limited = CapacityPlan(limit_bytes=GIB)
    assert limited.estimate_ms(80 * GIB, 10**9) < CapacityPlan().estimate_ms(80 * GIB, 10**9)


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_bytes": MIB + 1},
        {"chunk_bytes": MIB},
        {"smallest_chunk_bytes": 1000},
        {"planted_faults": 0},
        {"records": 7},
        {"dwell_ms": -1},
        {"pages": True},
        {"pages": "9"},
        {"colour": 3},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^capacity plan: "):
        CapacityPlan.from_json(changes)
