"""Reports are built from what was seen, and state no more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "codec"))

from report_samples import NOW_S, READ_S, SERVER, appraised, payload, report_of, terms

from gpuverify.codec.evidence_json import evidence_sha256
from gpuverify.codec.identity_json import identity_bytes, identity_of, identity_sha256
from gpuverify.codec.report_json import dump_report
from gpuverify.errors import UsageError
from gpuverify.model.claims import Basis, Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.fraud import FRAUDS
from gpuverify.model.refusal import Refused
from gpuverify.model.report import Challenge, Identity, Relation, Role
from gpuverify.rules import RULES
from gpuverify.signing.build import Terms, build_report, build_set
from gpuverify.signing.challenge import measurement_nonce
from gpuverify.signing.coverage import coverage
from gpuverify.signing.issue import (
    EarlierReport,
    assign_earlier,
    earlier_reports,
    usual_relation,
)

MEASURED = "ga100/a100-sxm4-80gb-measured"


def as_class(evidence_class: EvidenceClass, case: str = MEASURED) -> Evidence:
    return replace(appraised(case)[0], evidence_class=evidence_class)


@pytest.mark.parametrize("evidence_class", EvidenceClass)
def test_the_class_that_is_stated_is_that_of_the_evidence(evidence_class: EvidenceClass) -> None:
    report = build_report(as_class(evidence_class), appraised(MEASURED)[1], 0, terms(), now_s=NOW_S)
    stated = report.evidence_class
    if evidence_class is EvidenceClass.SIGNED:  # somebody else's word, read from a file
        assert stated is EvidenceClass.CARRIED
    else:
        assert stated is evidence_class
    own = stated is EvidenceClass.LIVE
    assert (report.tool.python is not None) is own
    assert (report.collector.privileges is not None) is own


def test_what_the_report_says_comes_from_the_run() -> None:
    evidence, result = appraised(MEASURED)
    report = report_of(MEASURED)
    (judged,) = result.devices
    assert len(report.checks) == len(judged.findings)
    assert report.opinion.verdict is judged.verdict
    assert report.opinion.would_be is judged.would_be
    assert report.reference_data.version == result.refdb_version
    assert report.document_sha256 == evidence_sha256(evidence)
    assert report.method.profile == "full"
    assert report.collector.driver == evidence.host.value("driver.version")
    assert report.collector.nvml_sha256 == evidence.host.value("library.sha256")
    assert (report.sale[0].product, report.sale[0].memory_mib) == ("a100-sxm4-80gb", 81920)
    assert set(report.evidence.devices[0].claims) == set(evidence.devices[0].claims)
    assert report.issued_s == NOW_S


def test_what_ended_otherwise_or_was_disturbed_is_a_deviation() -> None:
    for case, words in (
        ("ga100/a100-lost-while-measured", "measurement: "),
        ("ga100/a100-measured-while-others-worked", "measured beside "),
    ):
        deviations = report_of(case).method.deviations
        assert any(line.startswith(words) for line in deviations), deviations


def test_the_times_are_those_of_the_claims() -> None:
    report = report_of()
    claims = [*report.evidence.host, *report.evidence.devices[0].claims]
    times = [claim.time_ms or 0 for claim in claims]
    assert report.measured_start_s == READ_S
    assert report.measured_end_s == max(times) // 1000
    assert report.measured_end_s is not None
    assert report.measured_end_s <= report.issued_s


def test_a_replay_without_times_states_none() -> None:
    evidence, result = appraised()

    def timeless(claims: ClaimSet) -> ClaimSet:
        return ClaimSet(tuple(replace(claim, time_ms=0) for claim in claims))

    bare = replace(
        evidence,
        collected_ms=None,
        host=timeless(evidence.host),
        devices=tuple(replace(d, claims=timeless(d.claims)) for d in evidence.devices),
    )
    report = build_report(bare, result, 0, terms(), now_s=NOW_S)
    assert (report.measured_start_s, report.measured_end_s) == (None, None)


def test_evidence_from_the_future_is_not_signed() -> None:
    evidence, result = appraised()
    with pytest.raises(UsageError, match="after this machine's time"):
        build_report(evidence, result, 0, terms(), now_s=READ_S - 1)


def test_a_measurement_has_to_answer_the_challenge() -> None:
    asked = Challenge(
        nonce=b"\x07" * 32, issuer="", order="", issued_s=READ_S, expires_s=READ_S + 9000
    )
    evidence, result = appraised(MEASURED)
    live = as_class(EvidenceClass.LIVE)
    with pytest.raises(UsageError, match="another nonce"):
        build_report(live, result, 0, terms(challenge=asked), now_s=NOW_S)
    host = tuple(
        replace(claim, value=measurement_nonce(asked)) if claim.id == "measure.nonce" else claim
        for claim in evidence.host
    )
    answered = replace(live, host=ClaimSet(host))
    report = build_report(answered, result, 0, terms(challenge=asked), now_s=NOW_S)
    assert report.challenge == asked


def test_sources_that_did_not_answer_are_deviations() -> None:
    evidence, result = appraised()
    silent = tuple(
        replace(claim, value="no-permission") if claim.id == "source.pci-config" else claim
        for claim in evidence.host
    )
    report = build_report(replace(evidence, host=ClaimSet(silent)), result, 0, terms(), now_s=NOW_S)
    assert "source pci-config: no-permission" in report.method.deviations
    assert "pci-config" not in report.collector.sources


def device(**values: object) -> DeviceEvidence:
    """A device that says what an identity is made of."""
    said: dict[str, object] = {
        "gpu.uuid": "GPU-01234567-89ab-cdef-0123-456789abcdef",
        "gpu.serial": "1650922633008",
        "gpu.board_part_number": "692-2G506-0210-002",
        "pci.vendor_id": 0x10DE,
        "pci.device_id": 0x20B2,
        "pci.subsystem_vendor_id": 0x10DE,
        "pci.subsystem_device_id": 0x1463,
    }
    said.update({name.replace("__", "."): value for name, value in values.items()})
    claims = [
        Claim(id=name, status=ClaimStatus.OK, value=value, source=Source.NVML)  # type: ignore[arg-type]
        if value is not None
        else Claim(id=name, status=ClaimStatus.NOT_SUPPORTED, source=Source.NVML)
        for name, value in said.items()
    ]
    return DeviceEvidence(index=3, claims=ClaimSet(tuple(claims)))


def test_the_identity_document_by_hand() -> None:
    identity = identity_of(device())
    assert identity == Identity(
        vendor="nvidia",
        gpu_uuid="GPU-01234567-89ab-cdef-0123-456789abcdef",
        board_serial="1650922633008",
        board_part_number="692-2G506-0210-002",
        pci_device_id="10de:20b2",
        pci_subsystem_id="10de:1463",
    )
    assert identity_bytes(identity) == (
        b'{"board_part_number":"692-2G506-0210-002","board_serial":"1650922633008",'
        b'"gpu_uuid":"GPU-01234567-89ab-cdef-0123-456789abcdef","pci_device_id":"10de:20b2",'
        b'"pci_subsystem_id":"10de:1463","schema":"gpuverify/identity/v1","vendor":"nvidia"}'
    )
    # printf '%s' '…' | sha256sum
    assert identity_sha256(identity) == (
        "26cacbb051727987d8ce849f23ce5eb913600ba9f2f1fad83be908c1f7a28bef"
    )


def test_a_card_without_a_serial_number_has_an_identity() -> None:
    identity = identity_of(device(gpu__serial=None, gpu__board_part_number=None))
    assert (identity.board_serial, identity.board_part_number) == (None, None)


@pytest.mark.parametrize(
    "values",
    [
        {"gpu__uuid": None},
        {"gpu__uuid": "MIG-01234567-89ab-cdef-0123-456789abcdef"},
        {"gpu__uuid": "GPU-01234567-89AB-cdef-0123-456789abcdef"},
        {"gpu__serial": "16509\u0660"},
        {"gpu__serial": "a b"},
        {"gpu__serial": "1" * 33},
        {"pci__device_id": None},
        {"pci__subsystem_device_id": None},
        {"pci__vendor_id": 0x1002},
        {"pci__device_id": 0x120B2},
        {"pci__device_id": -1},
    ],
)
def test_what_cannot_be_named_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(Refused, match="E_SUBJECT: GPU 3"):
        identity_of(device(**values))


def test_sources_that_disagree_name_no_card() -> None:
    for case in ("ga100/a100-nvml-forged", "ga100/a100-attribute-files-patched"):
        evidence, _ = appraised(case)
        with pytest.raises(Refused, match="disagree about"):
            identity_of(evidence.devices[0])


def finding(rule: str, outcome: Outcome, basis: Basis) -> Finding:
    return Finding(
        rule=rule, code="x", axis=Axis.IDENTITY, outcome=outcome, basis=basis, message="m"
    )


def test_every_kind_of_fraud_names_rules_that_exist() -> None:
    known = {rule.id for rule in RULES}
    for fraud in FRAUDS:
        assert set(fraud.rules) <= known, fraud.id
    assert len({fraud.id for fraud in FRAUDS}) == len(FRAUDS)


def test_nothing_is_covered_by_default() -> None:
    seen = coverage(())
    assert (seen.covered, seen.under_covered) == ((), ())
    assert seen.not_covered == tuple(fraud.id for fraud in FRAUDS)
    for outcome in (Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE):
        undecided = [finding(rule.id, outcome, Basis.DEVICE_SIGNED) for rule in RULES]
        assert coverage(undecided) == seen


def test_reading_alone_covers_no_forged_driver() -> None:
    read, measured = report_of("ga100/a100-sxm4-80gb"), report_of(MEASURED)
    for kind in ("patched-ids", "aliased-memory", "forged-driver"):
        assert kind not in read.coverage.covered
        assert kind in measured.coverage.covered
    assert "wiped-history" in measured.coverage.not_covered


FINDINGS = st.lists(
    st.builds(
        finding,
        st.sampled_from(sorted({rule for fraud in FRAUDS for rule in fraud.rules})),
        st.sampled_from(list(Outcome)),
        st.sampled_from(list(Basis)),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(findings=FINDINGS, data=st.data())
def test_laws_of_coverage(findings: list[Finding], data: st.DataObject) -> None:
    seen = coverage(findings)
    kinds = [*seen.covered, *seen.under_covered, *seen.not_covered]
    assert sorted(kinds) == sorted(fraud.id for fraud in FRAUDS)
    for fraud in FRAUDS:
        decided = [f for f in findings if f.rule in fraud.rules and f.outcome.conclusive]
        if fraud.id in seen.covered:
            assert any(f.basis.at_least(fraud.basis) for f in decided)
        assert (fraud.id in seen.not_covered) is (not decided)
    if findings:  # to decide less never covers more
        place = data.draw(st.integers(0, len(findings) - 1))
        less = coverage(
            [
                replace(f, outcome=Outcome.INCONCLUSIVE) if number == place else f
                for number, f in enumerate(findings)
            ]
        )
        assert set(less.covered) <= set(seen.covered)


def test_a_set_names_each_card_once() -> None:
    evidence, result = appraised(SERVER)
    reports = [
        build_report(evidence, result, device.index, terms(), now_s=NOW_S)
        for device in evidence.devices
    ]
    pairs = [(report, dump_report(report)) for report in reports]
    made = build_set(pairs, terms(), now_s=NOW_S)
    assert made.count == 8
    assert len({member.slot for member in made.members}) == 8
    assert len(made.topology) == 8
    assert all("NVLinks" in line for line in made.topology)
    with pytest.raises(UsageError, match="two cards have the UUID"):
        build_set([*pairs, pairs[0]], terms(), now_s=NOW_S)


def test_cards_that_share_a_slot_number_are_named_by_their_bus() -> None:
    evidence, result = appraised("gb100/gb200")
    reports = [
        build_report(evidence, result, device.index, terms(), now_s=NOW_S)
        for device in evidence.devices
    ]
    made = build_set([(r, dump_report(r)) for r in reports], terms(), now_s=NOW_S)
    slots = [member.slot for member in made.members]
    assert len(set(slots)) == len(slots)


def earlier(uuid: str, number: int = 1) -> EarlierReport:
    from gpuverify.model.report import Previous

    return EarlierReport(
        origin=f"{number}.json",
        gpu_uuid=uuid,
        previous=Previous(
            report_id=f"0000000{number}-0000-4000-8000-000000000000",
            role=Role.SELLER,
            payload_sha256=str(number) * 64,
            relation=Relation.RECEIVED_WITH,
        ),
    )


def test_earlier_reports_go_to_their_cards() -> None:
    one, two, three = earlier("A", 1), earlier("B", 2), earlier("C", 3)
    named, notes = assign_earlier(["A", "B"], [two, one, three])
    assert named == [(one.previous,), (two.previous,)]
    assert len(notes) == 1
    assert "3.json is about another card, C" in notes[0]


def test_the_report_of_another_card_is_named_where_it_came_with_this_one() -> None:
    named, notes = assign_earlier(["A"], [earlier("B")])
    assert named == [(earlier("B").previous,)]
    assert "another card" in notes[0]


def test_what_an_earlier_report_usually_is() -> None:
    assert usual_relation(Role.INTAKE) is Relation.COMPARES_TO
    assert usual_relation(Role.CARRIER) is Relation.RECEIVED_WITH


def test_an_unsigned_file_is_no_earlier_report(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(payload())
    with pytest.raises(Refused, match="E_TYPE"):
        earlier_reports(str(file), Relation.RECEIVED_WITH)


def test_terms_say_nothing_of_the_class() -> None:
    assert not any("class" in name for name in Terms.__dataclass_fields__)
