"""The capacity proof on emulated cards: honest ones, every kind of fraud and damage, lying drivers.

Nonces and places are drawn anew each run; the seed is printed with every failure and can be set
with GPUVERIFY_SEED.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from typing import Any

import pytest

from gpuverify.measure.capacity import prove
from gpuverify.measure.capacity_classify import CapacityClass, CapacityResult, classify
from gpuverify.measure.capacity_confirm import confirm
from gpuverify.measure.capacity_evidence import CapacityEvidence
from gpuverify.measure.capacity_plan import MIB, CapacityPlan
from gpuverify.measure.driver_api import Driver, DriverError, DriverStatus, OpenDevice
from gpuverify.measure.driver_symbols import SIGNATURES
from gpuverify.measure.reference import Keys
from gpuverify.testing.cuda import Faults, NoCompilerError, card, fake_cuda

SEED = int(os.environ.get("GPUVERIFY_SEED") or secrets.randbits(48))
CARD_MIB = 128
SMALL_MIB = 48


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> random.Random:
    print(f"GPUVERIFY_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def small_plan(**changes: int) -> CapacityPlan:
    values = {
        "dwell_ms": 0,
        "reserve_bytes": 2 * MIB,
        "digest_blocks": 4,
        "pages": 48,
        "butterfly_samples": 24,
        "rate_chunk_bytes": 4 * MIB,
    }
    return CapacityPlan(**(values | changes))


def evidence_for(
    rng: random.Random,
    plan: CapacityPlan | None = None,
    driver: dict[str, Any] | None = None,
    **profile: Any,
) -> CapacityEvidence:
    """Prove the capacity of one emulated card, through JSON as the worker's parent sees it."""
    nonce = rng.randbytes(16)
    print(f"nonce {nonce.hex()} profile {profile}")
    values = {"claimed_mib": CARD_MIB, "context_mib": 2} | profile
    try:
        with fake_cuda([card("a100-80", **values)], **(driver or {})) as fake:
            with OpenDevice.open(Driver.load(fake.path), 0) as device:
                keys = Keys.derive(nonce, device.uuid, device.pci_bus_id, "capacity")
                evidence = prove(device, keys, plan or small_plan(), lambda progress: None)
            assert not fake.faults()
    except NoCompilerError as error:
        pytest.skip(str(error))
    assert CapacityEvidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence
    return evidence


def result_for(rng: random.Random, **arguments: Any) -> CapacityResult:
    result = classify(evidence_for(rng, **arguments))
    print(result)
    return result


# Honest cards


@pytest.mark.parametrize("nonce", range(10))
def test_an_honest_card_is_whole(seed: random.Random, nonce: int) -> None:
    result = result_for(seed, claimed_mib=2 * seed.randrange(40, 80))
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == ()
    assert result.bad_cells == 0
    assert result.fold_bytes is None
    assert result.tested_bytes == result.allocated_bytes
    assert result.coverage_ppm > 900_000
    assert not result.repeat


@pytest.mark.parametrize("size", [20, 62, 250, 384])
def test_sizes_that_are_no_power_of_two(seed: random.Random, size: int) -> None:
    result = result_for(seed, claimed_mib=size, plan=small_plan(smallest_chunk_bytes=MIB))
    assert result.detectors == ()
    assert result.claimed_bytes == size * MIB
    assert result.tested_bytes >= (size - 8) * MIB


def test_more_than_four_gib_is_counted_right(seed: random.Random) -> None:
    plan = small_plan(butterfly_stages=0, chunk_bytes=512 * MIB)
    result = result_for(seed, claimed_mib=4200, plan=plan)
    assert result.kind is CapacityClass.WHOLE
    assert result.tested_bytes > 1 << 32


def test_a_nonce_decides_the_digest_and_the_card_decides_too(seed: random.Random) -> None:
    rng = seed.getstate()
    first = result_for(seed)
    seed.setstate(rng)
    again = result_for(seed)
    seed.setstate(rng)
    other = result_for(seed, uuid="GPU-00000000-1111-2222-3333-444444444444")
    assert first.digest == again.digest != other.digest
    assert result_for(seed).digest != first.digest


def test_a_limit_is_kept(seed: random.Random) -> None:
    result = result_for(seed, plan=small_plan(limit_bytes=32 * MIB))
    assert result.tested_bytes == 32 * MIB
    assert result.kind is CapacityClass.WHOLE


# Memory that is not there


@pytest.mark.parametrize("real", ["half", "eighty-percent", "third", "any"])
def test_a_fold_is_found_at_its_exact_distance(seed: random.Random, real: str) -> None:
    size = {
        "half": CARD_MIB // 2,
        "eighty-percent": CARD_MIB * 8 // 10,
        "third": CARD_MIB // 3,
        "any": seed.randrange(20, CARD_MIB - 8),
    }[real]
    result = result_for(seed, real_mib=size)
    assert result.kind is CapacityClass.FOLDED
    assert result.fold_bytes == size * MIB
    assert {"check-a", "check-b", "copy"} <= set(result.detectors)
    assert len(set(result.detectors) & {"copy", "pages", "digest", "mix"}) >= 2
    assert result.repeat


def test_a_folded_card_may_claim_more_than_this_machine_has(seed: random.Random) -> None:
    plan = small_plan(limit_bytes=256 * MIB, butterfly_stages=1)
    result = result_for(seed, claimed_mib=1 << 20, real_mib=96, plan=plan)
    assert result.kind is CapacityClass.FOLDED
    assert result.fold_bytes == 96 * MIB
    assert result.claimed_bytes == 1 << 40


@pytest.mark.parametrize("real", [CARD_MIB // 2, CARD_MIB * 9 // 10])
def test_a_permuted_fold_is_named_with_what_is_there(seed: random.Random, real: int) -> None:
    result = result_for(seed, real_mib=real, layout="permuted")
    assert result.kind is CapacityClass.PAGE_PERMUTED
    assert result.fold_bytes is not None
    # The context and the helper take some of what is real; what is left has data of its own.
    assert (real - 4) * MIB <= result.fold_bytes <= real * MIB


@pytest.mark.parametrize("value", [0xFF, 0x00, 0x5A])
def test_dropped_writes(seed: random.Random, value: int) -> None:
    result = result_for(seed, real_mib=80, layout="drop", drop_value=value)
    assert result.kind is CapacityClass.DROPPED_WRITES
    assert result.fold_bytes is None
    assert result.bad_cells > 40 * MIB // 16


def test_short_memory_is_short_and_says_that_it_was_refused(seed: random.Random) -> None:
    result = result_for(seed, allocatable_mib=70)
    assert result.kind is CapacityClass.SHORT
    assert result.detectors == ("refused",)
    assert 60 * MIB < result.tested_bytes < 70 * MIB


# Memory that is damaged


@pytest.mark.parametrize("at_one", [True, False])
def test_one_stuck_bit(seed: random.Random, at_one: bool) -> None:
    where = seed.randrange(8 * MIB, 110 * MIB)
    faults = Faults(stuck_bytes=(where,), stuck_mask=1 << seed.randrange(8), stuck_at_one=at_one)
    result = result_for(seed, faults=faults)
    assert result.kind is CapacityClass.STUCK_BITS
    assert result.bad_cells == 1
    # Under complementary patterns it shows in exactly one of the passes.
    assert len(set(result.detectors) & {"check-a", "check-b"}) == 1


@pytest.mark.parametrize("write", [1, 3])
def test_one_flipped_bit(seed: random.Random, write: int) -> None:
    where = seed.randrange(8 * MIB, 110 * MIB)
    result = result_for(seed, faults=Faults(flip_byte=where, flip_mask=8, flip_at_write=write))
    assert result.kind is CapacityClass.FLIPPED_BITS
    assert result.bad_cells == 1


def test_decay_shows_with_a_dwell_only(seed: random.Random) -> None:
    faults = Faults(decay_after_s=0.25, decay_from_mib=40, decay_step_mib=16)
    result = result_for(seed, faults=faults, plan=small_plan(dwell_ms=350))
    assert result.kind is CapacityClass.DECAYING
    assert result.bad_cells > 2


def test_memory_behind_a_bus_is_slow(seed: random.Random) -> None:
    result = result_for(seed, faults=Faults(slow_from_mib=96, slow_factor=12))
    # A timing alone accuses nobody: a card that is throttled there would look the same.
    assert result.kind is CapacityClass.SLOW_REGION
    assert result.detectors == ("rate",)
    assert result.slow_offset_bytes is not None
    assert 64 * MIB <= result.slow_offset_bytes <= 96 * MIB


def test_managed_memory_is_not_the_cards(seed: random.Random) -> None:
    result = result_for(seed, faults=Faults(managed=True))
    assert result.kind is CapacityClass.HOST_BACKED
    assert "memory-type" in result.detectors


# Drivers that lie


@pytest.mark.parametrize(
    ("skipped", "fired"),
    [
        ("cap_write", "check-a"),
        ("cap_check", "planted"),
        ("cap_digest", "digest"),
        ("butterfly", "mix"),
        ("*", "planted"),
    ],
)
def test_a_skipped_kernel_makes_the_proof_invalid(
    seed: random.Random, skipped: str, fired: str
) -> None:
    result = result_for(seed, faults=Faults(skip_kernels=skipped))
    assert result.kind is CapacityClass.INVALID
    assert fired in result.detectors
    if skipped not in ("cap_write", "*"):
        assert result.detectors == (fired,)


@pytest.mark.parametrize("copies", ["h2d", "d2h", "memset", "*"])
def test_a_skipped_copy_makes_the_proof_invalid(seed: random.Random, copies: str) -> None:
    result = result_for(seed, faults=Faults(skip_copies=copies))
    assert result.kind is CapacityClass.INVALID


def test_a_folded_card_is_not_saved_by_a_blind_check(seed: random.Random) -> None:
    result = result_for(seed, real_mib=64, faults=Faults(skip_kernels="cap_check"))
    assert result.kind is CapacityClass.FOLDED
    assert result.fold_bytes == 64 * MIB
    assert {"planted", "pages"} <= set(result.detectors)


def test_false_events_are_noticed_and_change_nothing(seed: random.Random) -> None:
    for factor in (0.5, 3):
        result = result_for(seed, faults=Faults(event_factor=factor))
        assert result.kind is CapacityClass.WHOLE
        assert result.detectors == ("events",)


def test_a_false_memory_clock_is_noticed(seed: random.Random) -> None:
    profile = {"l2_bytes": 1 * MIB, "memory_clock_khz": 500_000}
    result = result_for(seed, **profile)
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == ("peak",)


@pytest.mark.parametrize(
    "faults",
    [Faults(told_free_mib=0), Faults(told_free_mib=CARD_MIB - 2)],
    ids=["too-little", "never-less"],
)
def test_false_free_memory_is_noticed_and_not_obeyed(seed: random.Random, faults: Faults) -> None:
    result = result_for(seed, faults=faults)
    assert result.kind is CapacityClass.WHOLE
    assert result.detectors == ("memory-info",)


def test_a_false_total_is_short(seed: random.Random) -> None:
    result = result_for(seed, faults=Faults(told_total_mib=4 * CARD_MIB))
    assert result.kind is CapacityClass.SHORT
    assert result.detectors == ("refused",)
    assert result.claimed_bytes == 4 * CARD_MIB * MIB


# Devices that go away


@pytest.mark.parametrize("code", [999, 700, 719, 46])
def test_a_device_lost_at_an_offset(seed: random.Random, code: int) -> None:
    result = result_for(seed, faults=Faults(lost_from_mib=90, lost_code=code))
    assert result.kind is CapacityClass.LOST
    assert result.lost_offset_bytes is not None
    assert 64 * MIB <= result.lost_offset_bytes <= 90 * MIB
    assert result.detectors == ("device-error",)


def outcome_of(rng: random.Random, **arguments: Any) -> CapacityResult | DriverStatus:
    plan = small_plan(chunk_bytes=8 * MIB, pages=2, digest_blocks=1, butterfly_samples=2)
    try:
        return result_for(rng, claimed_mib=SMALL_MIB, context_mib=0, plan=plan, **arguments)
    except DriverError as error:
        # Only opening may raise: there is no evidence to keep yet.
        return error.status


HARMLESS = {CapacityClass.INVALID, CapacityClass.WHOLE, CapacityClass.SHORT, CapacityClass.LOST}


@pytest.mark.parametrize("call", sorted(SIGNATURES))
def test_an_unknown_error_in_every_call_is_no_finding_about_memory(
    seed: random.Random, call: str
) -> None:
    result = outcome_of(seed, faults=Faults(fail_call=call, fail_code=999))
    if isinstance(result, CapacityResult):
        # The device answered again right after: an unsteady measurement, not a lost card.
        assert result.kind in (CapacityClass.INVALID, CapacityClass.WHOLE)


def test_a_device_lost_at_any_call_is_lost_or_was_never_opened(seed: random.Random) -> None:
    kinds = set()
    for number in range(1, 340, seed.randrange(9, 14)):
        result = outcome_of(seed, faults=Faults(lost_at_call=number))
        if isinstance(result, DriverStatus):
            assert result is DriverStatus.UNKNOWN
            continue
        kinds.add(result.kind)
        assert result.kind in (CapacityClass.LOST, CapacityClass.WHOLE), (number, result)
    assert CapacityClass.LOST in kinds


@pytest.mark.parametrize("code", [1, 2, 100, 201, 700, 802, 12345])
def test_any_error_at_any_time_accuses_no_card(seed: random.Random, code: int) -> None:
    for _ in range(4):
        number = seed.randrange(1, 300)
        result = outcome_of(seed, driver={"fail_any_at": number, "fail_code": code})
        if isinstance(result, CapacityResult):
            assert result.kind in HARMLESS, (number, result)


def test_out_of_memory_from_the_start_is_short(seed: random.Random) -> None:
    result = outcome_of(seed, allocatable_mib=2)
    assert isinstance(result, CapacityResult)
    assert result.kind is CapacityClass.SHORT
    assert result.tested_bytes == 0


def test_a_repetition_confirms_a_fold_and_unmasks_unsteadiness(seed: random.Random) -> None:
    first, second = result_for(seed, real_mib=64), result_for(seed, real_mib=64)
    assert confirm(first, second).kind is CapacityClass.FOLDED
    assert confirm(first, second).fold_bytes == 64 * MIB
    third = result_for(seed)
    unsteady = confirm(first, third)
    assert unsteady.kind is CapacityClass.INVALID
    assert unsteady.fold_bytes is None
    assert not unsteady.repeat


def test_accesses_stay_inside_the_allocations(seed: random.Random) -> None:
    result = result_for(seed, claimed_mib=SMALL_MIB, driver={"checked": True})
    assert result.bad_cells == 0
