"""Verification as a whole: own appraisal, sets, test keys, a false NVML, and what is remembered."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_support import (
    CARD,
    ISSUED_S,
    NOW_S,
    SERVER,
    Key,
    dated,
    demands,
    edited,
    payload_of,
    recorded,
    reports,
    seller,
    seller_payload,
    seller_report,
    server_set,
    terms,
    trusted,
    verify,
    world,
)

from gpuverify.codec.report_json import dump_report, dump_set
from gpuverify.collect.replay import replay_case
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import Previous, Relation, Role
from gpuverify.model.verdict import Verdict
from gpuverify.model.verification import Sameness, Stage, StageState, TimeSource, Verification
from gpuverify.render.verification_json import verification_document
from gpuverify.rules import RULES
from gpuverify.signing.build import build_set
from gpuverify.signing.demands import Earlier
from gpuverify.signing.mandatory_checks import MANDATORY_CHECKS
from gpuverify.signing.verify import verify_set

pytestmark = pytest.mark.required


def whole(documents: list[bytes], **more: object) -> tuple[Verification, ...]:
    named = [(f"set.jsonl:{n}", data) for n, data in enumerate(documents, 1)]
    return verify_set(named, demands(**more), world())  # type: ignore[arg-type]


def test_exit_0_needs_the_readers_own_claim() -> None:
    bundle = seller().bundle(seller_payload())
    own = verify(bundle)
    assert (own.exit_code, own.refusal) == (0, None)
    assert own.result is not None
    assert own.result.evidence_class is EvidenceClass.SIGNED
    assert own.result.verdict is Verdict.CONSISTENT
    nothing = verify(bundle, demands(None))
    assert nothing.exit_code == 3
    assert nothing.result is not None
    assert not nothing.result.claimed
    assert nothing.report is not None
    assert nothing.report.opinion.verdict is Verdict.CONSISTENT  # the signer's words, not used
    assert any("nothing was claimed" in reason for reason in nothing.result.devices[0].reasons)


def test_the_readers_claim_decides_and_differences_are_told() -> None:
    bundle = seller().bundle(seller_payload())
    other = verify(bundle, demands("a100-sxm4-40gb"))
    assert other.exit_code == 2
    assert "verdict: the signer says consistent, own appraisal says mismatch" in other.differences
    assert any(line.startswith("product: the signer sells") for line in other.differences)


def test_a_lie_in_the_opinion_shows_as_a_difference() -> None:
    evidence = recorded("ga100/a100-40gb-sold-as-80gb")
    told = reports(evidence=evidence, claim="a100-sxm4-40gb")[0]
    found = verify(seller().bundle(payload_of(told)), demands("a100-sxm4-80gb"))
    assert found.refusal is None
    assert found.exit_code == 2
    assert any("verdict: the signer says" in line for line in found.differences)


def test_stages_stand_in_their_order_each_once() -> None:
    found = verify(seller().bundle(seller_payload()))
    assert [one.stage for one in found.stages] == list(Stage)
    assert found.stage(Stage.SIGNATURE).state is StageState.DONE
    assert found.stage(Stage.AGE).state is StageState.DONE
    assert found.stage(Stage.TIMESTAMP).state is StageState.NOT_PERFORMED
    assert found.trusted_time_source is TimeSource.NOW
    assert found.trusted_time_s == NOW_S


def test_nothing_after_a_refusal_is_performed() -> None:
    found = verify(seller().bundle(seller_payload()), demands(role="lab"))
    states = {one.stage: one.state for one in found.stages}
    assert states[Stage.ROLE] is StageState.REFUSED
    later = list(Stage)[list(Stage).index(Stage.ROLE) + 1 :]
    assert {states[stage] for stage in later} == {StageState.NOT_PERFORMED}
    assert found.result is None
    assert found.report is not None  # the signature verified: renderers may show it, as refused


def test_the_mandatory_checks_are_those_of_this_format() -> None:
    rules = {rule.id for rule in RULES if rule.check is not None}
    assert rules >= MANDATORY_CHECKS


def test_a_refusal_crosses_processes_whole() -> None:
    import copy

    refused = copy.copy(Refused(Refusal.NONCE, "another challenge"))
    assert refused.refusal is Refusal.NONCE
    assert str(refused) == "E_NONCE: another challenge"
    assert refused.exit_code == 4
    assert all(one.exit_code in (4, 65) and one.meaning.endswith(".") for one in Refusal)


# Keys of tests


def replayed_report(verdict: str = "live") -> bytes:
    kind = EvidenceClass(verdict)
    evidence = replace(recorded(), evidence_class=kind)
    return seller().bundle(payload_of(reports(evidence=evidence)[0]))


@pytest.mark.parametrize("stated", ["live", "replayed", "carried", "imported"])
def test_a_test_key_never_ends_in_0(stated: str) -> None:
    tests = world(trusted(seller(), test=True))
    refused = verify(replayed_report(stated), demands(), tests)
    assert refused.refusal is Refusal.UNKNOWN_KEY
    assert refused.report is None
    found = verify(replayed_report(stated), demands(accept_replayed=True), tests)
    assert found.refusal is None
    assert found.exit_code == 3
    assert found.namespace == "gpuverify-test"
    assert found.result is not None
    assert found.result.evidence_class is EvidenceClass.REPLAYED
    assert found.result.would_be is Verdict.CONSISTENT


def test_a_replay_that_contradicts_keeps_its_code() -> None:
    tests = world(trusted(seller(), test=True))
    wanted = demands("a100-sxm4-40gb", accept_replayed=True)
    assert verify(replayed_report("replayed"), wanted, tests).exit_code == 2


def test_accept_replayed_is_for_test_keys_alone() -> None:
    found = verify(replayed_report("replayed"), demands(accept_replayed=True))
    assert found.refusal is Refusal.SIMULATED
    assert found.exit_code == 4


# A false NVML at the seller's


def without_package(evidence: Evidence, digest: str) -> Evidence:
    """The seller's library is a file that no package and no list knows."""

    def changed(claims: ClaimSet) -> ClaimSet:
        made = []
        for claim in claims:
            if claim.id == "library.sha256":
                made.append(replace(claim, value=digest))
            elif not claim.id.startswith("library.package"):
                made.append(claim)
        return ClaimSet(tuple(made))

    return replace(evidence, host=changed(evidence.host))


def test_a_false_nvml_at_the_sellers_ends_unverified_at_best() -> None:
    evidence = without_package(recorded(), "ab" * 32)
    told = reports(evidence=evidence)[0]
    found = verify(seller().bundle(payload_of(told)))
    assert found.refusal is None
    assert found.exit_code == 3
    assert found.result is not None
    assert found.result.verdict is Verdict.UNVERIFIED
    assert any("NVML library" in reason for reason in found.result.devices[0].reasons)


def test_the_signer_cannot_say_that_a_false_nvml_is_well() -> None:
    evidence = without_package(recorded(), "ab" * 32)
    payload = payload_of(reports(evidence=evidence)[0])

    def lie(tree: dict[str, object]) -> None:
        predicate = tree["predicate"]
        assert isinstance(predicate, dict)
        predicate["verdict"].update(result="consistent", reasons=[])
        for check in predicate["checks"]:
            if check["outcome"] == "inconclusive":
                check["outcome"] = "pass"

    found = verify(seller().bundle(edited(lie, payload)))
    assert found.refusal is None
    assert found.exit_code == 3
    assert "verdict: the signer says consistent, own appraisal says unverified" in found.differences


# Sets


def test_a_whole_set_is_judged_together() -> None:
    _, head, members = server_set()
    found = whole([head, *members])
    assert [one.exit_code for one in found] == [0] * 9
    assert found[0].result is not None
    assert len(found[0].result.devices) == 8
    for one in found[1:]:
        assert one.result is not None
        assert len(one.result.devices) == 1
        assert one.stage(Stage.SET).state is StageState.DONE
    assert found[0].result.batch.verdict is Verdict.CONSISTENT


def test_the_order_of_the_members_does_not_matter() -> None:
    _, head, members = server_set()
    assert [one.exit_code for one in whole([head, *members[::-1]])] == [0] * 9


def test_count_is_the_readers_own() -> None:
    from gpuverify.appraise.claim import load_sale_claim

    _, head, members = server_set()
    wanted = demands()
    from report_support import database

    sale = load_sale_claim("a100-sxm4-80gb", None, None, 9, database())
    found = verify_set(
        [("a", head), *(("b", data) for data in members)], replace(wanted, sale=sale), world()
    )
    assert found[0].exit_code != 0


@pytest.mark.parametrize("case", ["dropped", "doubled", "foreign", "none", "other-set", "altered"])
def test_a_set_that_is_not_whole_is_refused(case: str) -> None:
    _, head, members = server_set()
    _, _, others = server_set(made=terms(remarks=("another server",)))
    given = {
        "dropped": members[:7],
        "doubled": [*members, members[3]],
        "foreign": [*members, others[0]],
        "none": [],
        "other-set": others,
        "altered": [*members[:3], members[3][:5000] + b"A" + members[3][5001:], *members[4:]],
    }[case]
    found = whole([head, *given])
    assert found[0].refusal is Refusal.SET, found[0].message
    assert found[0].exit_code == 4
    assert found[0].result is None
    assert all(one.exit_code != 0 for one in found)


def test_a_set_statement_alone_is_refused() -> None:
    _, head, _ = server_set()
    found = verify(head)
    assert found.refusal is Refusal.SET
    assert "give the file that holds them all" in found.message


def test_a_report_of_eight_alone_is_unverified() -> None:
    _, _, members = server_set()
    found = verify(members[0])
    assert found.refusal is None
    assert found.exit_code == 3  # seven of eight cards were left out


def test_a_card_can_be_asked_for_in_a_set() -> None:
    statement, head, members = server_set()
    uuid = statement.members[2].gpu_uuid
    found = whole([head, *members], uuid=uuid)
    assert found[0].result is not None
    assert [d.device.claims.value("gpu.uuid") for d in found[0].result.devices] == [uuid]
    missing = whole([head, *members], uuid="GPU-00000000-0000-4000-8000-000000000000")
    assert missing[0].exit_code != 0
    assert missing[0].refusal is Refusal.WRONG_CARD


def test_the_members_of_a_set_come_from_one_run() -> None:
    evidence = recorded(SERVER)
    again = replace(dated(replay_case(SERVER), ISSUED_S - 2000), evidence_class=EvidenceClass.LIVE)
    told = terms()
    mixed = [*reports(told, evidence=evidence)[:4], *reports(told, evidence=again)[4:]]
    payloads = [dump_report(one) for one in mixed]
    statement = build_set(list(zip(mixed, payloads, strict=True)), told, now_s=ISSUED_S + 1)
    found = whole(
        [seller().bundle(dump_set(statement)), *(seller().bundle(one) for one in payloads)]
    )
    assert found[0].refusal is Refusal.SET
    assert "one run" in found[0].message


def test_the_members_of_a_set_are_signed_by_its_signer() -> None:
    other = Key.new()
    built = reports(terms(), case=SERVER)
    told = [*(dump_report(one) for one in built[:7])]
    foreign = dump_report(replace(built[7], signer=replace(built[7].signer, keyid=other.keyid)))
    pairs = list(zip(built, [*told, foreign], strict=True))
    statement = build_set(pairs, terms(), now_s=ISSUED_S + 1)
    documents = [
        seller().bundle(dump_set(statement)),
        *(seller().bundle(one) for one in told),
        other.bundle(foreign),
    ]
    named = [("x", data) for data in documents]
    found = verify_set(named, demands(), world(trusted(seller()), trusted(other, line=2)))
    assert found[0].refusal is Refusal.SET
    assert "another key" in found[0].message


# Earlier reports


def test_an_earlier_report_is_compared_with() -> None:
    first, payload = seller_report(), seller_payload()
    import hashlib

    digest = hashlib.sha256(payload).hexdigest()
    named = Previous(
        report_id=first.report_id,
        role=Role.SELLER,
        payload_sha256=digest,
        relation=Relation.COMPARES_TO,
    )
    swapped = {
        "gpu.uuid": "GPU-11111111-2222-4333-8444-555555555555",
        "gpu.serial": "1650900000077",
    }

    def swap(claims: ClaimSet) -> ClaimSet:
        return ClaimSet(
            tuple(
                replace(c, value=swapped[c.id]) if c.id in swapped and c.ok else c for c in claims
            )
        )

    evidence = dated(replay_case(CARD), ISSUED_S + 100)
    other = replace(
        evidence,
        evidence_class=EvidenceClass.LIVE,
        devices=(replace(evidence.devices[0], claims=swap(evidence.devices[0].claims)),),
    )
    told = terms(previous=(named,))
    shown = {digest: Earlier(report=first, payload_sha256=digest, origin="seller.json")}
    later = reports(told, evidence=other, issued_s=ISSUED_S + 200)[0]
    found = verify(seller().bundle(payload_of(later)), demands(earlier=shown))
    assert found.refusal is None, found.message
    assert [one.sameness for one in found.comparisons] == [Sameness.NOT_THE_CARD]
    assert found.exit_code == 2
    same = reports(
        told,
        evidence=replace(evidence, evidence_class=EvidenceClass.LIVE),
        issued_s=ISSUED_S + 200,
    )[0]
    again = verify(seller().bundle(payload_of(same)), demands(earlier=shown))
    assert [one.sameness for one in again.comparisons] == [Sameness.SAME]
    assert again.exit_code == 0


# JSON


def test_the_document_shows_nothing_of_what_is_not_trusted() -> None:
    bundle = Key.new().bundle(seller_payload())
    document = verification_document(verify(bundle))
    text = json.dumps(document)
    assert document["exit_code"] == 65
    assert document["report"] is None
    identity = seller_report().identity
    assert identity.gpu_uuid not in text
    assert identity.board_serial is not None
    assert identity.board_serial not in text


def test_the_document_holds_every_stage_and_both_opinions() -> None:
    document = verification_document(verify(seller().bundle(seller_payload())))
    assert document["schema"] == "gpuverify/verification/v1"
    stages = document["stages"]
    assert isinstance(stages, list)
    assert [one["stage"] for one in stages] == [stage.value for stage in Stage]
    report, appraisal = document["report"], document["appraisal"]
    assert isinstance(report, dict)
    assert isinstance(appraisal, dict)
    assert report["signer_says"]["verdict"] == "consistent"
    assert appraisal["verdict"] == "consistent"
    assert appraisal["evidence"]["class"] == "signed"
    json.dumps(document)
