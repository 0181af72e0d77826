"""Collecting with a measurement: classes of evidence, joining, and whole cards end to end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.collect.measure import LiveMeasurer, Measured, ReplayedMeasurer, cards_of
from gpuverify.collect.replay import replay_case, replay_recording
from gpuverify.collect.run import CollectOptions, evidence_class
from gpuverify.measure.capacity_plan import CapacityPlan
from gpuverify.measure.plan import MeasurePlan, MeasureRequest
from gpuverify.model.claims import Basis, Source
from gpuverify.model.evidence import Evidence, EvidenceClass
from gpuverify.model.telemetry import NoTelemetry, Telemetry
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.sources.cases import load_case
from gpuverify.testing.cuda import CardProfile, card, fake_cuda

MIB = 1 << 20
NOW_MS = 1_795_262_400_000
CAPACITY = CapacityPlan(chunk_bytes=64 * MIB, dwell_ms=20, digest_blocks=4, pages=32)
CASE = "ga100/a100-sxm4-80gb"


@contextlib.contextmanager
def nobody() -> Iterator[Telemetry]:
    yield NoTelemetry()


def request(library: str | None, **changes: Any) -> MeasureRequest:
    plan = MeasurePlan(level="quick", capacity=CAPACITY, fingerprint=False, peers=False)
    return MeasureRequest(plan=replace(plan, **changes), nonce=b"end to end", library=library)


def whole_card(
    profile: CardProfile, *, limit_mib: int = 0, case: str = CASE, fingerprint: bool = False
) -> Evidence:
    """Collect from a replayed NVML and an emulated CUDA that stand for one card."""
    capacity = replace(CAPACITY, limit_bytes=limit_mib * MIB)
    with fake_cuda([profile]) as fake:
        wanted = request(fake.path, capacity=capacity, fingerprint=fingerprint)
        measure = LiveMeasurer(wanted, telemetry=nobody)
        return replay_recording(load_case(case).recording, origin="whole card", measure=measure)


def judge(evidence: Evidence, claim: str = "a100-sxm4-80gb") -> Result:
    database = Database.open()
    sale = load_sale_claim(claim, None, None, None, database)
    return appraise(evidence, sale, load_policy("standard"), database, now_ms=NOW_MS)


def codes(result: Result) -> set[str]:
    return {f"{f.rule}/{f.code}" for device in result.devices for f in device.findings}


def uuid_of(case: str) -> str:
    return str(replay_case(case).devices[0].claims.value("gpu.uuid"))


def test_only_this_machine_s_own_driver_can_be_live() -> None:
    live = CollectOptions(measure=LiveMeasurer(request(None)))
    assert evidence_class(live) is EvidenceClass.LIVE
    assert LiveMeasurer(request(None)).own_driver
    assert not LiveMeasurer(request("/some/libcuda.so.1")).own_driver
    assert not LiveMeasurer(request(None), telemetry=nobody).own_driver
    played = CollectOptions(measure=ReplayedMeasurer({}))
    assert evidence_class(played) is EvidenceClass.REPLAYED


def test_a_measurer_that_only_says_it_is_live_is_not() -> None:
    class Liar:
        def __call__(self, devices: object, progress: object) -> Measured:
            return Measured(readings={}, live=True)

    assert evidence_class(CollectOptions(measure=Liar())) is EvidenceClass.REPLAYED


def test_a_replay_measures_only_where_it_is_asked_to() -> None:
    plain = replay_case("ga100/a100-patched-to-80gb")
    assert not [c for c in plain.devices[0].claims if c.source is Source.MEASURED]
    measured = replay_case("ga100/a100-patched-to-80gb", measured=True)
    assert measured.devices[0].claims.value("capacity.class", Source.MEASURED) == "folded"
    assert measured.evidence_class is EvidenceClass.REPLAYED


def test_a_patched_card_passes_as_far_as_reports_go_and_no_further() -> None:
    """Issue: NVML, name, PCI and CUDA all say 80 GB; none passes, quick is a mismatch."""
    case = "ga100/a100-patched-to-80gb"
    reported = judge(replay_case(case))
    assert (reported.would_be or reported.verdict) is Verdict.CONSISTENT
    measured = judge(replay_case(case, measured=True))
    assert (measured.would_be or measured.verdict) is Verdict.MISMATCH
    assert measured.exit_code == 2


def test_a_folded_card_behind_a_lying_nvml_is_a_mismatch() -> None:
    profile = card("a100-80", real_mib=512, uuid=uuid_of(CASE), claimed_mib=81_086)
    evidence = whole_card(profile, limit_mib=1024)
    claims = evidence.devices[0].claims
    assert evidence.evidence_class is EvidenceClass.REPLAYED
    assert claims.value("capacity.fold_bytes", Source.MEASURED) == 512 * MIB
    result = judge(evidence)
    assert (result.would_be, result.exit_code) == (Verdict.MISMATCH, 2)
    assert "capacity.measured/folded" in codes(result)
    assert "identity.cuda-cross-check/agree" in codes(result)


def test_a_test_of_a_part_proves_no_capacity() -> None:
    profile = card("a100-80", uuid=uuid_of(CASE), claimed_mib=81_086)
    result = judge(whole_card(profile, limit_mib=256))
    assert result.would_be is None
    assert result.verdict is Verdict.UNVERIFIED
    assert "capacity.measured/too-little" in codes(result)


def test_a_smaller_card_that_cuda_does_not_hide_is_a_mismatch() -> None:
    profile = card("a100-40", uuid=uuid_of(CASE), claimed_mib=512)
    result = judge(whole_card(profile))
    assert result.would_be is Verdict.MISMATCH
    assert "identity.cuda-cross-check/differs" in codes(result)


def test_an_h20_behind_reports_of_an_h100_is_a_mismatch_by_its_census() -> None:
    case = "gh100/h100-sxm5-80gb"
    profile = card(
        "h20",
        name="NVIDIA H100 80GB HBM3",
        uuid=uuid_of(case),
        claimed_mib=81_008,
        reported_sm_count=132,
        reported_sm_clock_khz=1_980_000,
        bus_width_bits=5120,
    )
    evidence = whole_card(profile, limit_mib=128, case=case, fingerprint=True)
    claims = evidence.devices[0].claims
    assert claims.value("fingerprint.sm_count", Source.MEASURED) == 78
    assert claims.value("fingerprint.valid", Source.MEASURED) is True
    result = judge(evidence, "h100-sxm5-80gb")
    assert result.would_be is Verdict.MISMATCH
    found = codes(result)
    assert {
        "identity.measured-sm-count/fewer",
        "identity.measured-sm-count/cuda-differs",
        "identity.measured-operations/unusual",
        "identity.cuda-cross-check/agree",
    } <= found


def test_an_unlocked_cmp_behind_reports_of_an_a100_is_a_mismatch_by_its_census() -> None:
    profile = card(
        "cmp-170hx-unlocked",
        uuid=uuid_of(CASE),
        claimed_mib=81_086,
        real_mib=None,
        reported_sm_count=108,
    )
    evidence = whole_card(profile, limit_mib=128, fingerprint=True)
    result = judge(evidence)
    assert result.would_be is Verdict.MISMATCH
    assert "identity.measured-sm-count/fewer" in codes(result)
    assert "identity.measured-operations/unusual" in codes(result)


def test_an_honest_card_measured_in_part_is_accused_of_nothing() -> None:
    profile = card("a100-80", uuid=uuid_of(CASE), claimed_mib=81_086)
    evidence = whole_card(profile, limit_mib=128, fingerprint=True)
    result = judge(evidence)
    assert result.verdict is Verdict.UNVERIFIED
    found = codes(result)
    assert {
        "identity.measured-sm-count/own-value",
        "identity.measured-sm-count/own-lanes",
        "identity.measured-operations/usual",
        "identity.measured-bandwidth/possible",
        "condition.measured-bandwidth/usual",
        "environment.measured-clock/agree",
        "condition.memory-cells/held",
    } <= found
    excluded = {n.product: n.basis for n in result.devices[0].neighbours}
    assert excluded["cmp-170hx-8gb"] is Basis.MEASURED
    assert excluded["a100-sxm4-40gb"] is Basis.MEASURED  # too slow for what was seen


def test_cards_are_made_from_what_is_known_of_them() -> None:
    (one,) = cards_of(replay_case(CASE).devices)
    assert (one.total_bytes, one.mig, one.virtual, one.usable) == (81_920 * MIB, False, False, True)
    assert one.peak_kb_s == 1_593_000 * 2 * 5120 // 8


@pytest.mark.parametrize("case", ["ga100/one-of-eight-bound-to-vfio"])
def test_a_function_that_the_driver_does_not_have_is_not_usable(case: str) -> None:
    cards = cards_of(replay_case(case).devices)
    assert [one.usable for one in cards].count(False) == 1
