"""The measured rules: what passes and at which basis, what voids, what is capped at a note."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from measured_cases import GIB, MEMORY_80, MIB, VALID, WINDOW, capacity, ended

from gpuverify.model.claims import Basis, ClaimStatus
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.product import Grade, ReferenceValue, Validation
from gpuverify.rules import RULES

MEASURED = [rule for rule in RULES if "measured" in rule.id or rule.id == "condition.memory-cells"]


def only(findings: list[Any]) -> Any:
    (finding,) = findings
    return finding


def test_whole_memory_passes_measured_and_names_the_size(bench: Any) -> None:
    finding = only(bench.run("capacity.measured", capacity("whole")))
    assert (finding.code, finding.outcome, finding.basis) == (
        "whole",
        Outcome.PASS,
        Basis.MEASURED,
    )
    assert (finding.field, finding.observed_value) == ("memory.nominal_mib", 81_920)


@pytest.mark.parametrize("tested", [76_186, 76_185])
def test_coverage_is_counted_against_the_size_sold(bench: Any, tested: int) -> None:
    """93 % of 81920 MiB is 76185.6 MiB."""
    code = only(bench.codes("capacity.measured", capacity("whole", tested)))
    assert code == ("whole" if tested == 76_186 else "too-little")


def test_the_share_of_what_is_not_reserved_is_told(bench: Any) -> None:
    claims = capacity("whole", 78_000) | {
        "nvml:memory.total_bytes": 81_920 * MIB,
        "nvml:memory.reserved_bytes": 820 * MIB,
    }
    assert "96.1 % of what is not reserved" in only(bench.run("capacity.measured", claims)).message


def test_a_fold_tells_its_distance_without_any_product(bench: Any) -> None:
    claims = capacity("folded", fold_bytes=40 * GIB, detectors="alias,digest,pages")
    finding = only(bench.run("capacity.measured", claims, sold=None))
    assert finding.code == "folded"
    assert "after 40 GiB" in finding.message
    assert "alias, digest, pages" in finding.message


def test_a_slice_is_not_the_card(bench: Any) -> None:
    claims = capacity("whole", 9_700) | {"nvml:mig.mode_current": True}
    assert bench.codes("capacity.measured", claims) == ["hidden"]


def test_faulty_memory_is_there_and_defective(bench: Any) -> None:
    claims = capacity("stuck-bits", bad_cell_count=5)
    assert bench.codes("capacity.measured", claims) == ["whole-but-faulty"]
    finding = only(bench.run("condition.memory-cells", claims))
    assert (finding.axis, finding.defective) == (Axis.CONDITION, True)
    assert "5 cells" in finding.message


def test_a_lost_card_is_condition_and_never_identity(bench: Any) -> None:
    claims = capacity("lost", lost_offset_bytes=41 * GIB)
    assert only(bench.run("capacity.measured", claims)).outcome is Outcome.INCONCLUSIVE
    assert only(bench.run("condition.memory-cells", claims)).outcome is Outcome.FAIL


def test_invalid_measurement_accuses_nobody(bench: Any) -> None:
    for rule in ("capacity.measured", "condition.memory-cells"):
        assert only(bench.run(rule, capacity("invalid"))).outcome is Outcome.INCONCLUSIVE


def test_the_census_passes_with_count_and_lanes(bench: Any) -> None:
    claims = {"measured:fingerprint.sm_count": 108, "cuda:gpu.compute_capability": "8.0"}
    found = [(f.code, f.field, f.observed_value) for f in
             bench.run("identity.measured-sm-count", claims)]  # fmt: skip
    assert found == [
        ("own-value", "gpu.sm_count", 108),
        ("own-lanes", "gpu.core_count", 6912),
    ]


def test_a_count_of_another_product_contradicts(bench: Any) -> None:
    found = bench.run(
        "identity.measured-sm-count", {"measured:fingerprint.sm_count": 108}, sold="cmp"
    )
    assert [f.code for f in found] == ["other-product"]
    assert "as a100-80" in found[0].message


def test_more_than_anybody_has_is_left_open(bench: Any) -> None:
    claims = {"measured:fingerprint.sm_count": 131}
    assert bench.codes("identity.measured-sm-count", claims) == ["never-seen"]


def test_a_void_census_says_why(bench: Any) -> None:
    found = bench.run(
        "identity.measured-sm-count", {"measured:fingerprint.sm_count": ClaimStatus.FAILED}
    )
    assert only(found).code == "void"


@pytest.mark.parametrize(
    ("rule", "claims"),
    [
        ("identity.measured-bandwidth", {"measured:fingerprint.memory_read_kb_s": 9_000_000_000}),
        ("condition.measured-bandwidth", {"measured:fingerprint.memory_read_kb_s": 9_000_000}),
        ("link.measured-peer", {"measured:fingerprint.peer_kb_s": 271_000_000}),
        ("identity.measured-l2", {"measured:fingerprint.l2_step_bytes": 6 * MIB}),
        ("identity.measured-operations", {"measured:fingerprint.fp32_fma_milliops": 2_000}),
    ],
)
@pytest.mark.parametrize(
    "doubt",
    [
        {},
        {"measured:fingerprint.valid": True},
        VALID | {"measured:fingerprint.valid": False},
        VALID | {"measured:fingerprint.clock_agreement_ppm": 20_001},
    ],
)
def test_timing_needs_exact_results_and_clocks_that_agree(
    bench: Any, rule: str, claims: dict[str, Any], doubt: dict[str, Any]
) -> None:
    assert bench.codes(rule, claims | MEMORY_80 | doubt) == ["void"]


def test_a_rate_rules_out_what_cannot_reach_it(bench: Any) -> None:
    claims = {"measured:fingerprint.memory_write_kb_s": 1_869_000_000, **MEMORY_80, **VALID}
    finding = only(bench.run("identity.measured-bandwidth", claims))
    assert (finding.code, finding.field, finding.observed_value) == (
        "possible",
        "memory.peak_kb_s",
        1_869_000_000,
    )
    assert finding.basis is Basis.MEASURED


def test_timing_alone_is_a_note_at_most(bench: Any) -> None:
    """What accuses stands on a bound of physics, not on a timing that was never field-run."""
    for rule, claims in (
        ("condition.measured-bandwidth", {"measured:fingerprint.memory_read_kb_s": 611_000_000}),
        ("identity.measured-l2", {"measured:fingerprint.l2_step_bytes": 3 * MIB}),
        (
            "identity.measured-operations",
            {"measured:fingerprint.fp32_fma_milliops": 2_100},
        ),
        ("link.measured-peer", {"measured:fingerprint.peer_kb_s": 399_000_000}),
    ):
        assert only(bench.run(rule, claims | VALID)).outcome is Outcome.NOTE, rule


def test_work_that_nothing_is_on_file_for_is_left_open(bench: Any) -> None:
    claims = {"measured:fingerprint.tensor_f64_milliops": 63_000, **VALID}
    assert bench.codes("identity.measured-operations", claims) == ["no-reference"]
    claims = {"measured:fingerprint.fp32_fma_milliops": 63_000, **VALID}
    for sold in ("h94", None):
        assert bench.codes("identity.measured-operations", claims, sold=sold) == ["no-reference"]


def fielded(bench: Any, field: str, value: int, **changes: Any) -> Any:
    """The A100 80 GB with a value that was tried in the field."""
    tried = {"cards": 5, "drivers": ("535.54.03", "580.65.06"), "low": None, "high": None}
    product = bench.products["a100-80"]
    kept = tuple(one for one in product.values if one.field != field)
    more = ReferenceValue(
        field=field,
        value=value,
        grade=Grade.RECORDING,
        source="field-runs",
        locator="a100-80.toml",
        validation=Validation(**{**tried, **changes}),
    )
    return bench.with_product("a100-80", values=(*kept, more))


@pytest.mark.parametrize(
    ("seen", "code"),
    [(60_799, "unusual"), (60_800, "usual"), (67_100, "usual"), (67_101, "unusual")],
)
def test_a_field_run_narrows_the_band_of_an_operation(bench: Any, seen: int, code: str) -> None:
    field = "rate.fp32_fma_per_clock_per_sm"
    claims = {"measured:fingerprint.fp32_fma_milliops": seen, **VALID}
    sold = fielded(bench, field, 64, low=60_800, high=67_100)
    finding = only(bench.run("identity.measured-operations", claims, sold=sold))
    assert finding.code == code
    assert finding.outcome in (Outcome.PASS, Outcome.NOTE)
    assert "field-run (5 cards, drivers 535.54.03 to 580.65.06)" in finding.message
    few = fielded(bench, field, 64, cards=4)
    finding = only(bench.run("identity.measured-operations", claims, sold=few))
    assert finding.code == "usual"
    assert "field-run (4 cards" in finding.message
    finding = only(bench.run("identity.measured-operations", claims))
    assert "fp32 fma 64 (emulated-only)" in finding.message


def test_a_low_rate_is_condition_and_needs_enough_cards(bench: Any) -> None:
    rule, field = "condition.measured-bandwidth", "rate.memory_read_kb_s"
    claims = {"measured:fingerprint.memory_read_kb_s": 700_000_000, **VALID}
    band = {"low": 1_430_000_000, "high": 2_190_000_000}
    sold = fielded(bench, field, 1_769_000_000, **band)
    finding = only(bench.run(rule, claims, sold=sold))
    assert (finding.code, finding.outcome, finding.axis) == (
        "below-field",
        Outcome.WARN,
        Axis.CONDITION,
    )
    few = fielded(bench, field, 1_769_000_000, cards=4)
    finding = only(bench.run(rule, claims, sold=few))
    assert (finding.code, finding.outcome) == ("weak", Outcome.NOTE)
    assert "field-run (4 cards, drivers 535.54.03 to 580.65.06)" in finding.message
    assert "emulated-only" in only(bench.run(rule, claims)).message


def test_the_l2_step_of_the_field_counts(bench: Any) -> None:
    claims = {"measured:fingerprint.l2_step_bytes": 9 * MIB, **VALID}
    rule, field = "identity.measured-l2", "rate.l2_step_bytes"
    assert bench.codes(rule, claims) == ["unusual"]
    sold = fielded(bench, field, 16 * MIB, low=8 * MIB, high=48 * MIB)
    finding = only(bench.run(rule, claims, sold=sold))
    assert finding.code == "usual"
    assert "8 MiB to 48 MiB" in finding.message or "8.000 MiB" in finding.message
    assert bench.codes(rule, claims, sold=fielded(bench, field, 16 * MIB)) == ["unusual"]


def test_lanes_need_the_chip_that_they_are_of(bench: Any) -> None:
    claims = {"measured:fingerprint.sm_count": 108, "cuda:gpu.compute_capability": "8.6"}
    found = bench.run("identity.measured-sm-count", claims)
    assert [f.code for f in found] == ["own-value"]


def test_a_driver_whose_answers_do_not_fit(bench: Any) -> None:
    rule = "environment.measured-driver"
    assert bench.codes(rule, {"measured:capacity.detectors": "check-a,copy"}) == ["fits"]
    found = only(bench.run(rule, {"measured:capacity.detectors": "events"}))
    assert (found.code, found.outcome) == ("does-not-fit", Outcome.NOTE)


def test_a_low_peer_rate_is_no_identity(bench: Any) -> None:
    claims = {"measured:fingerprint.peer_kb_s": 21_000_000, **VALID}
    finding = only(bench.run("link.measured-peer", claims))
    assert (finding.code, finding.outcome) == ("possible", Outcome.PASS)


def test_l2_may_step_at_half_of_it(bench: Any) -> None:
    for step, code in ((18, "usual"), (20, "usual"), (40, "usual"), (80, "usual"), (6, "unusual")):
        claims = {"measured:fingerprint.l2_step_bytes": step * MIB, **VALID}
        assert bench.codes("identity.measured-l2", claims) == [code], step


def test_clocks_that_disagree_void_and_accuse_nobody(bench: Any) -> None:
    claims = {
        "measured:fingerprint.sm_clock_khz": 1_400_000,
        "measured:fingerprint.clock_agreement_ppm": 400_000,
    }
    assert only(bench.run("environment.measured-clock", claims)).outcome is Outcome.NOTE


def test_several_things_wrong_with_a_run_are_all_told(bench: Any) -> None:
    found = bench.codes(
        "environment.measured-window",
        ended(state="stopped: 91 °C", foreign_processes=1),
        {"measured:measure.window": False, "measured:measure.unmeasured": "00000000:41:00.0"},
    )
    assert found == ["not-finished", "foreign-processes", "left-out"]
    assert bench.codes("environment.measured-window", ended(), WINDOW) == ["held"]


def test_nothing_measured_is_open_with_the_remedy(bench: Any) -> None:
    for rule in MEASURED:
        if rule.check is None:
            continue
        for finding in bench.run(rule.id, {}):
            assert finding.outcome in (Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE), rule.id
            assert not finding.caps, rule.id


def sisters(*rates: int) -> list[dict[str, Any]]:
    return [
        {"measured:fingerprint.memory_read_kb_s": rate, "nvml:pci.bus_id": f"00000000:{n:02X}:00.0"}
        for n, rate in enumerate(rates, 7)
    ]


def test_the_odd_one_among_sisters(bench: Any) -> None:
    rule = "batch.measured-sisters"
    assert bench.batch_codes(rule, sisters(1_760_000, 1_771_000, 1_690_000)) == ["alike"]
    found = only(bench.run_batch(rule, sisters(1_760_000, 1_771_000, 1_255_000, 1_768_000)))
    assert (found.code, found.outcome, found.axis) == ("odd", Outcome.NOTE, Axis.CONDITION)
    assert "00000000:09:00.0" in found.message
    assert bench.batch_codes(rule, sisters(1_760_000, 1_771_000)) == ["too-few"]
    assert bench.batch_codes(rule, [{}, {}, {}]) == ["no-value"]
