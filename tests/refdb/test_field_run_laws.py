"""What field runs may change in a verdict, and what a selftest on a real card hands over."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "rules"))

from measured_field_runs import KERNELS, PRODUCT, VALUES, document, encoded

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.cli.field_runs import shown_text, take_in
from gpuverify.collect.measure import Measured
from gpuverify.collect.record import record_machine
from gpuverify.collect.replay import recorded_measurement, replay_case, replay_recording
from gpuverify.collect.selftest import FILE, pack_digests, run_selftest
from gpuverify.model.claims import Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.refdb.field_data import card_digest
from gpuverify.refdb.field_run import FieldCard, read_field_run
from gpuverify.refdb.loader import DATA
from gpuverify.sources.cases import load_case
from gpuverify.sources.recording import Recording
from gpuverify.sources.recording_host import ReplayedCommands, ReplayedTree
from gpuverify.sources.recording_measured import readings_of
from gpuverify.sources.recording_nvml import ReplayedNvml

CASE = "ga100/a100-sxm4-80gb-measured"
MOST = 7
NOW_MS = 1_795_262_400_000
RULES = ("identity.measured-operations", "condition.measured-bandwidth", "identity.measured-l2")
ORDER = [Outcome.PASS, Outcome.NOTE, Outcome.WARN, Outcome.FAIL]


def taken(database: Database, count: int) -> list[FieldCard]:
    return [
        card
        for number in range(count)
        for card in read_field_run(
            encoded(document(number)), str(number), database.recognise, KERNELS
        )
    ]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> list[Database]:
    """The reference data with 0, 1, ... field runs of the product."""
    made = [Database.open()]
    for count in range(1, MOST + 1):
        folder = tmp_path_factory.mktemp("refdb") / "data"
        shutil.copytree(DATA, folder)
        take_in(taken(made[0], count), folder)
        made.append(Database.open(folder))
    return made


@pytest.fixture(scope="module")
def live() -> Evidence:
    recording = load_case(CASE).recording
    evidence = replay_recording(recording, origin="x", measure=recorded_measurement(recording))
    return dataclasses.replace(evidence, evidence_class=EvidenceClass.LIVE)


def with_values(evidence: Evidence, values: dict[str, int]) -> Evidence:
    """Return evidence in which something else was measured."""
    (device,) = evidence.devices
    claims = [
        dataclasses.replace(claim, value=values[claim.id])
        if claim.source is Source.MEASURED and claim.id in values
        else claim
        for claim in device.claims
    ]
    assert {claim.id for claim in claims} >= set(values)
    changed = dataclasses.replace(device, claims=ClaimSet(tuple(claims)))
    return dataclasses.replace(evidence, devices=(changed,))


def judged(evidence: Evidence, database: Database, policy: str = "intake") -> Result:
    sale = load_sale_claim(PRODUCT, None, None, None, database)
    return appraise(evidence, sale, load_policy(policy), database, now_ms=NOW_MS)


def timed(result: Result) -> list[Finding]:
    return [one for one in result.devices[0].findings if one.rule in RULES]


def worst(result: Result, rule: str) -> int:
    """How bad the worst finding of a rule is; what is open counts as no fault."""
    found = [ORDER.index(one.outcome) for one in timed(result) if one.rule == rule
             and one.outcome in ORDER]  # fmt: skip
    return max(found, default=0)


MEASURABLE = [
    "fingerprint.fp32_fma_milliops",
    "fingerprint.fp64_fma_milliops",
    "fingerprint.memory_read_kb_s",
    "fingerprint.memory_write_kb_s",
    "fingerprint.l2_step_bytes",
]


def test_no_field_run_changes_the_verdict_of_the_honest_card(
    databases: list[Database], live: Evidence
) -> None:
    verdicts = {judged(live, database).verdict for database in databases}
    assert verdicts == {Verdict.CONSISTENT}
    for database in databases:
        assert {one.outcome for one in timed(judged(live, database))} <= {
            Outcome.PASS,
            Outcome.INCONCLUSIVE,
        }


def test_what_the_message_says_of_the_field(databases: list[Database], live: Evidence) -> None:
    def said(count: int) -> str:
        return " ".join(one.message for one in timed(judged(live, databases[count])))

    assert "emulated-only" in said(0)
    assert "field-run (4 cards, drivers 535.129.03 to 570.86.15)" in said(4)
    assert "field-run (5 cards, drivers 535.129.03 to 570.86.15)" in said(5)


def test_every_value_that_a_card_showed_passes(databases: list[Database], live: Evidence) -> None:
    """What was taken in is within the range of good cards, whoever shows it."""
    for count in range(5, MOST + 1):
        for number in range(count):
            shown = document(number)["cards"][0]["measured"]
            values = {name: shown[name] for name in MEASURABLE}
            result = judged(with_values(live, values), databases[count])
            assert [one.code for one in timed(result) if one.outcome is not Outcome.PASS] == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_field_run_neither_accuses_an_identity_nor_buys_a_verdict(
    databases: list[Database], live: Evidence, data: st.DataObject
) -> None:
    """Whatever is measured: the verdict does not hang on how many field runs there are.

    From the fifth card on, a run that is dropped never makes a finding better.
    """
    values = {
        name: max(1, VALUES[name] * data.draw(st.integers(1, 250), label=name) // 100)
        for name in MEASURABLE
    }
    evidence = with_values(live, values)
    results = [judged(evidence, database) for database in databases]
    assert len({result.verdict for result in results}) == 1
    assert len({result.devices[0].assurance for result in results}) == 1
    for result in results:
        bad = [one for one in timed(result) if one.outcome in (Outcome.WARN, Outcome.FAIL)]
        assert all(one.axis is Axis.CONDITION for one in bad)
    for count in range(6, MOST + 1):
        for rule in RULES:
            assert worst(results[count - 1], rule) >= worst(results[count], rule)
    for count in range(5):
        assert all(ORDER.index(one.outcome) <= 1 for one in timed(results[count])
                   if one.outcome in ORDER)  # fmt: skip


def test_a_slow_card_is_odd_in_its_condition_alone(
    databases: list[Database], live: Evidence
) -> None:
    slow = with_values(
        live,
        {"fingerprint.memory_read_kb_s": 1_100_000_000, "fingerprint.memory_write_kb_s": 1_120_000_000},
    )  # fmt: skip
    codes = [
        [one.code for one in timed(judged(slow, databases[count])) if one.rule == RULES[1]]
        for count in (0, 4, 5)
    ]
    assert codes == [["usual"], ["usual"], ["below-field", "below-field"]]
    assert {judged(slow, database).verdict for database in databases} == {Verdict.CONSISTENT}


# -- what selftest hands over


def selftest(folder: Path, *, real: bool) -> dict[str, Any]:
    """Run the selftest on the bundled machine, played back as if it were, or were not, real."""
    recording = load_case(CASE).recording

    def record(**options: Any) -> Recording:
        return record_machine(
            tree=ReplayedTree(recording),
            commands=ReplayedCommands(recording),
            library=ReplayedNvml(recording, raise_unknown=False),
            host_name="",
            **options,
        )

    def measure(
        devices: tuple[DeviceEvidence, ...], progress: Callable[[str], None] | None
    ) -> Measured:
        assert devices
        assert progress is None
        return Measured(readings=readings_of(recording.measured), live=real)

    done = run_selftest(folder, measure, record=record)
    found: dict[str, Any] = json.loads((done.folder / FILE).read_text(encoding="utf-8"))
    return found


def test_selftest_says_which_card_and_that_it_was_real(tmp_path: Path) -> None:
    database = Database.open()
    made = selftest(tmp_path / "one", real=True)
    uuid = str(replay_case(CASE).devices[0].claims.value("gpu.uuid"))
    assert made["cards"][0]["card"] == card_digest(uuid)
    assert uuid not in json.dumps(made)
    (card,) = read_field_run(encoded(made), "one", database.recognise, pack_digests())
    assert card.refused == ()
    assert (card.product, card.driver) == (PRODUCT, made["driver"])
    again = selftest(tmp_path / "two", real=True)
    assert again["cards"][0]["card"] == made["cards"][0]["card"]


def test_what_was_played_back_or_emulated_is_shown_and_never_taken_in(tmp_path: Path) -> None:
    made = selftest(tmp_path / "run", real=False)
    database = Database.open()
    (card,) = read_field_run(encoded(made), "run", database.recognise, pack_digests())
    assert card.refused == ("it was emulated or played back, not measured on a real card",)
    text = shown_text([card])
    assert "1 shown, 0 to count" in text
    assert "rate.memory_read_kb_s: emulated-only; lowest" in text
    assert "field-run" not in text


def test_a_card_without_any_uuid_cannot_be_counted(tmp_path: Path) -> None:
    made = selftest(tmp_path / "run", real=True)
    made["cards"][0]["card"] = None
    database = Database.open()
    (card,) = read_field_run(encoded(made), "run", database.recognise, pack_digests())
    assert card.refused == ("nothing tells which card it is",)
