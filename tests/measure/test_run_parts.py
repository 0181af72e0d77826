"""The joint run's parts: the plan that is printed, refusals, what is seen from outside, claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpuverify.errors import UsageError
from gpuverify.measure.capacity_classify import CapacityClass, CapacityResult
from gpuverify.measure.endings import kept, lost_in, state_of, status_of, unfinished
from gpuverify.measure.host_memory import available_bytes
from gpuverify.measure.plan import BUDGET_S, MeasurePlan, announcement, request
from gpuverify.measure.results import capacity_claims, fingerprint_claims
from gpuverify.measure.safety import Card, refusal, too_hot
from gpuverify.measure.watchdog import ChildOutcome, Ending
from gpuverify.measure.watched import Watched, window_claims
from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.telemetry import Sample
from gpuverify.model.vocabulary import VOCABULARY, Scope

GIB = 1 << 30
A100 = Card(
    bus_id="00000000:07:00.0", name="A100", total_bytes=80 * GIB, peak_kb_s=2_039_000_000
)  # fmt: skip
IDLE = Sample(temperature_celsius=31, memory_celsius=37, processes=0, used_bytes=601 << 20)


# -- plan


SIZES_GIB = (4, 8, 16, 24, 48, 80, 96, 141, 192, 288)
GB_S = (0, 80, 200, 320, 600, 900, 2039, 4800, 8000)


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("gib", SIZES_GIB)
@pytest.mark.parametrize("gb_s", GB_S)
def test_a_level_keeps_its_budget_on_every_card(level: str, gib: int, gb_s: int) -> None:
    """0 GB/s is a card whose rate nobody knows; it is taken for a slow one."""
    card = dataclasses.replace(A100, total_bytes=gib * GIB, peak_kb_s=gb_s * 1_000_000)
    plan = MeasurePlan.of(level).fitted(card)
    assert not plan.capacity.limit_bytes  # all memory is tested, however slow it is
    assert plan.capacity.butterfly_stages >= 1
    assert plan.capacity.dwell_ms >= 500
    assert plan.capacity.digest_blocks >= 6
    line = announcement(MeasurePlan.of(level), [card], {}, {})[0]
    if 8 * gib * GIB // ((gb_s or 400) * 750_000) < BUDGET_S[level] * 400:
        assert plan.estimate_ms(card) <= plan.budget_ms == BUDGET_S[level] * 1000
        assert f"{BUDGET_S[level]} s a card are the most" in line
    elif plan.estimate_ms(card) > plan.budget_ms:
        assert f"not {BUDGET_S[level]} s: there is much memory for its speed" in line


def test_a_card_of_the_usual_speed_is_spared_nothing() -> None:
    for level in ("quick", "full"):
        assert MeasurePlan.of(level).fitted(A100) == MeasurePlan.of(level)


def test_what_a_slow_card_is_spared_reaches_its_child() -> None:
    slow = dataclasses.replace(A100, total_bytes=16 * GIB, peak_kb_s=80_000_000)
    plan = MeasurePlan.of("full")
    assert plan.estimate_ms(slow) > 30_000
    fitted = plan.fitted(slow)
    assert fitted.chip.memory_passes < plan.chip.memory_passes
    assert fitted.load_s == 6
    assert fitted.chip.load_ms <= 6000


def test_a_slow_card_is_expected_to_take_longer() -> None:
    plan = MeasurePlan.of("quick")
    slow = dataclasses.replace(A100, peak_kb_s=320_000_000)
    assert plan.estimate_ms(slow) > plan.estimate_ms(A100)


def test_the_announcement_says_what_how_long_and_how_hot() -> None:
    plan = MeasurePlan.of("full")
    second = dataclasses.replace(A100, bus_id="00000000:0B:00.0")
    lines = "\n".join(
        announcement(
            plan,
            [A100, second],
            {"00000000:41:00.0": "it drives a display"},
            {A100.bus_id: IDLE, second.bus_id: Sample(temperature_celsius=44)},
        )
    )
    assert "2 cards at once (full): about" in lines
    assert "overwritten" in lines
    assert "31 to 44 °C" in lines
    assert "87 °C" in lines
    assert "00000000:41:00.0 is not measured: it drives a display" in lines


def test_nothing_is_promised_where_nothing_is_measured() -> None:
    lines = announcement(MeasurePlan.of("quick"), [], {"00000000:07:00.0": "MIG is on"}, {})
    assert lines == ("00000000:07:00.0 is not measured: MIG is on",)


def test_a_nonce_is_drawn_or_taken() -> None:
    assert request("quick").nonce != request("quick").nonce
    assert request("full", "0A1b2c3d4e5f6071").nonce == bytes.fromhex("0a1b2c3d4e5f6071")


@pytest.mark.parametrize("nonce", ["", "0a1b", "0a1b2c3d4e5f607", "g" * 16, "00" * 65])
def test_a_bad_nonce_is_refused(nonce: str) -> None:
    with pytest.raises(UsageError, match="--nonce"):
        request("quick", nonce)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="quick and full"):
        request("thorough")


# -- safety


@pytest.mark.parametrize(
    ("change", "sample", "word"),
    [
        ({"usable": False}, IDLE, "driver does not have it"),
        ({"mig": True}, IDLE, "MIG is on"),
        ({"virtual": True}, IDLE, "virtual GPU"),
        ({"processes": 2}, IDLE, "2 processes"),
        ({}, dataclasses.replace(IDLE, processes=1), "1 process "),
        ({"display": True}, IDLE, "display"),
        ({}, dataclasses.replace(IDLE, temperature_celsius=76), "76 °C"),
    ],
)
def test_a_card_is_refused_with_the_reason(
    change: dict[str, object], sample: Sample, word: str
) -> None:
    card = dataclasses.replace(A100, **change)  # type: ignore[arg-type]
    assert word in refusal(card, sample, anyway=False)


def test_mig_says_why_not_and_what_to_do() -> None:
    said = refusal(dataclasses.replace(A100, mig=True), IDLE, anyway=True)
    assert "a program sees a slice and never the whole card" in said
    assert "nvidia-smi -i 00000000:07:00.0 -mig 0" in said
    assert "as root" in said


def test_anyway_disturbs_others_and_nothing_else() -> None:
    busy = dataclasses.replace(A100, processes=3, display=True)
    assert refusal(busy, IDLE, anyway=True) == ""
    assert refusal(dataclasses.replace(busy, mig=True), IDLE, anyway=True)
    assert refusal(A100, dataclasses.replace(IDLE, temperature_celsius=90), anyway=True)


def test_an_idle_card_is_measured_also_where_nobody_looks_on() -> None:
    assert refusal(A100, Sample(), anyway=False) == ""
    assert too_hot(Sample()) == ""


def test_a_hot_card_is_stopped() -> None:
    assert too_hot(Sample(temperature_celsius=86)) == ""
    assert too_hot(Sample(temperature_celsius=87)) == "stopped at 87 °C"
    assert "memory" in too_hot(Sample(temperature_celsius=60, memory_celsius=104))


# -- what is seen from outside


def held(mib: int) -> CapacityResult:
    return CapacityResult(
        kind=CapacityClass.WHOLE,
        claimed_bytes=80 * GIB,
        allocated_bytes=mib << 20,
        tested_bytes=mib << 20,
        coverage_ppm=990_000,
    )


def values(watched: Watched, result: CapacityResult | None) -> dict[str, object]:
    return {claim.id: claim.value for claim in window_claims(watched, result)}


def test_peaks_and_reasons_of_a_run_are_kept() -> None:
    watched = Watched(before=IDLE)
    watched.take(Sample(power_mw=71_000, temperature_celsius=35, reasons="gpu_idle"), "write-a")
    watched.take(
        Sample(
            power_mw=393_000,
            temperature_celsius=66,
            processes=1,
            reasons="sw_power_cap,hw_slowdown",
            link_generation=4,
            link_width=16,
        ),
        "pcie",
    )
    watched.take(Sample(power_mw=120_000, temperature_celsius=61, link_generation=1), "load")
    found = values(watched, held(1000))
    assert found["fingerprint.power_peak_mw"] == 393_000
    assert found["fingerprint.temperature_peak_celsius"] == 66
    assert found["fingerprint.throttle_reasons"] == "gpu_idle,hw_slowdown,sw_power_cap"
    assert (found["pcie.loaded_generation"], found["pcie.loaded_width"]) == (4, 16)
    assert found["measure.foreign_processes"] == 0


def test_a_second_process_is_foreign() -> None:
    watched = Watched(before=IDLE)
    watched.take(Sample(processes=3), "write-a")
    assert values(watched, None)["measure.foreign_processes"] == 2


@pytest.mark.parametrize(("risen", "right"), [(70_000, True), (900, False)])
def test_memory_has_to_be_taken_on_this_card(risen: int, right: bool) -> None:
    watched = Watched(before=IDLE, held=Sample(used_bytes=(601 + risen) << 20))
    assert values(watched, held(70_100))["measure.attributed"] is right


def test_where_nobody_looks_on_nothing_is_said() -> None:
    assert window_claims(Watched(before=Sample()), held(100)) == []


# -- claims


def test_a_fold_becomes_claims_of_the_vocabulary() -> None:
    result = CapacityResult(
        kind=CapacityClass.FOLDED,
        claimed_bytes=81_119 << 20,
        allocated_bytes=80_512 << 20,
        tested_bytes=80_512 << 20,
        coverage_ppm=992_000,
        fold_bytes=40 * GIB,
        bad_cells=12_345,
        digest="ab" * 32,
        detectors=("digest", "pages"),
        reason="memory repeats",
    )
    claims = {claim.id: claim for claim in capacity_claims(result)}
    assert claims["capacity.class"].value == "folded"
    assert claims["capacity.class"].raw_text == "memory repeats"
    assert claims["capacity.fold_bytes"].value == 40 * GIB
    assert claims["capacity.detectors"].value == "digest,pages"
    assert "capacity.lost_offset_bytes" not in claims
    for claim in claims.values():
        spec = VOCABULARY[claim.id]
        assert spec.scope is Scope.DEVICE
        assert type(claim.value) is spec.type
        assert claim.source is Source.MEASURED


def test_a_wrong_result_voids_its_value_and_says_so() -> None:
    claims = {
        claim.id: claim
        for claim in fingerprint_claims(
            {"fingerprint.sm_count": 108, "fingerprint.fp32_fma_milliops": 63_700},
            {"fingerprint.fp32_fma_milliops": "sum differs"},
            {"fingerprint.tensor_fp8_milliops": (ClaimStatus.NOT_SUPPORTED, "needs 8.9")},
        )
    }
    assert claims["fingerprint.sm_count"].value == 108
    assert claims["fingerprint.fp32_fma_milliops"].status is ClaimStatus.FAILED
    assert claims["fingerprint.tensor_fp8_milliops"].status is ClaimStatus.NOT_SUPPORTED
    assert claims["fingerprint.valid"].value is False
    assert fingerprint_claims({}, {}, {}) == []


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (ChildOutcome(ending=Ending.DONE), "done"),
        (
            ChildOutcome(ending=Ending.FAILED, failed={"message": "cuInit: no-device"}),
            "failed: cuInit: no-device",
        ),
        (
            ChildOutcome(ending=Ending.STALLED, reason="no progress for 60 s"),
            "timed-out: no progress for 60 s",
        ),
        (ChildOutcome(ending=Ending.STOPPED, reason="stopped at 91 °C"), "stopped at 91 °C"),
        (ChildOutcome(ending=Ending.STOPPED, reason="the run was ended"), "stopped"),
        (ChildOutcome(ending=Ending.DIED, exit_code=-11), "died: exit code -11"),
        (
            ChildOutcome(ending=Ending.DIED, exit_code=1, complaint="x\nKeyError: 'y'\n"),
            "died: KeyError: 'y'",
        ),
    ],
)
def test_every_ending_has_words(outcome: ChildOutcome, state: str) -> None:
    assert state_of(outcome) == state


def lost_at(step: str) -> ChildOutcome:
    finger = {"states": {"census": "done", step: "lost"}, "refused": {}}
    return ChildOutcome(ending=Ending.DONE, evidence={"fingerprint": finger})


def test_a_child_that_did_its_work_on_a_lost_card_says_so() -> None:
    assert state_of(lost_at("clock")) == "lost: the device stopped answering in clock"
    assert status_of(lost_at("clock")) is ClaimStatus.DEVICE_LOST
    failure = {"gone": True, "phase": "check-b"}
    outcome = ChildOutcome(evidence={"capacity": {"failure": failure}})
    assert lost_in(outcome) == "check-b"


def test_what_was_known_of_a_card_that_hung_is_kept_and_the_rest_says_why() -> None:
    partial = {"states": {"census": "done", "clock": "failed"}, "refused": {}, "values": {"x": 1}}
    partial["refused"] = dict.fromkeys(
        ("fingerprint.sm_clock_khz", "fingerprint.clock_agreement_ppm"), "cuX: out-of-memory"
    )
    outcome = ChildOutcome(
        ending=Ending.STALLED, reason="no progress for 60 s", partial={"fingerprint": partial}
    )
    assert kept(outcome, "fingerprint")["values"] == {"x": 1}
    found = {claim_id: status for claim_id, status, _ in unfinished(outcome)}
    assert "fingerprint.sm_count" not in found
    assert found["fingerprint.sm_clock_khz"] is ClaimStatus.FAILED
    assert found["fingerprint.pcie_h2d_kb_s"] is ClaimStatus.TIMED_OUT


@pytest.mark.parametrize(
    ("text", "bytes_left"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   123 kB\n", 123 * 1024),
        ("MemTotal: 9 kB\n", None),
        ("MemAvailable: many\n", None),
        (None, None),
    ],
)
def test_what_the_host_has_left(tmp_path: Path, text: str | None, bytes_left: int | None) -> None:
    path = tmp_path / "meminfo"
    if text is not None:
        path.write_text(text, encoding="ascii")
    assert available_bytes(str(path)) == bytes_left
