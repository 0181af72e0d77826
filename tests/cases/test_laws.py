"""The laws of the verdict, over the bundled cases made live and over evidence made from them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from case_support import (
    NOW_MS,
    Appraisal,
    all_findings,
    as_live,
    database,
    evidence_of,
    expected_names,
    judge,
    load_expected,
    policy,
    result_of,
)
from live_machines import live_evidence, machine_of

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.verdict import contradictions, required_groups
from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.collect.replay import replay_recording
from gpuverify.model.claims import Claim, ClaimStatus, Value
from gpuverify.model.evidence import ClaimSet, Evidence
from gpuverify.model.finding import Finding, Group, Outcome
from gpuverify.model.product import Product
from gpuverify.model.sale import SaleClaim, SaleItem
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.rules import RULES
from gpuverify.sources.cases import load_case
from gpuverify.sources.recording_redact import redacted

pytestmark = pytest.mark.required

OPTIONAL = frozenset(policy("standard").optional_rules)
CASES = [(name, load_expected(name)) for name in expected_names()]
ROWS: list[tuple[str, Appraisal]] = [
    (name, wanted)
    for name, case in CASES
    for wanted in case.appraisals
    if wanted.read == "machine" and wanted.policy == "standard" and wanted.claim
]
ACCUSED = [
    (name, wanted) for name, wanted in ROWS if wanted.verdict in (Verdict.MISMATCH, Verdict.SUSPECT)
]
SMALL = [(name, wanted) for name, wanted in ROWS if len(evidence_of(name).devices) <= 2]


def label(row: tuple[str, Appraisal]) -> str:
    return f"{row[0]}-{row[1].claim}"


def contradicting(result: Result) -> list[Finding]:
    """The findings that make a result suspect or a mismatch."""
    found: list[Finding] = []
    for device in result.devices:
        if device.sale is not None:
            for group in contradictions(device.findings, device.sale):
                found += group
    first = next((device.sale for device in result.devices if device.sale is not None), None)
    for group in contradictions(result.batch.findings, first):
        found += group
    return found


def place(claim: Claim) -> str:
    """How a finding cites a claim."""
    return f"{claim.source.value}:{claim.id}"


def less(evidence: Evidence, places: set[str]) -> Evidence:
    """Return evidence without the claims at some places, on every device and the host."""

    def kept(claims: ClaimSet) -> ClaimSet:
        return ClaimSet(tuple(claim for claim in claims if place(claim) not in places))

    return dataclasses.replace(
        evidence,
        host=kept(evidence.host),
        devices=tuple(
            dataclasses.replace(device, claims=kept(device.claims)) for device in evidence.devices
        ),
    )


def places_of(evidence: Evidence) -> list[str]:
    """Every place at which evidence holds a claim."""
    claims = [*evidence.host, *(claim for device in evidence.devices for claim in device.claims)]
    return sorted({place(claim) for claim in claims})


def holds_the_law(full: Result, thinned: Result) -> None:
    """Less evidence, or less reference data: no more assurance, no verdict bought."""
    for before, after in zip(full.devices, thinned.devices, strict=True):
        assert after.assurance.rank <= before.assurance.rank
    if thinned.verdict is not Verdict.CONSISTENT or full.verdict is Verdict.CONSISTENT:
        return
    lost = {f.rule for f in contradicting(full)} - {f.rule for f in contradicting(thinned)}
    assert lost <= OPTIONAL, sorted(lost - OPTIONAL)
    printed = {rule for device in thinned.devices for rule in device.not_examined}
    assert lost <= printed, sorted(lost - printed)


# -- dropping claims


@pytest.mark.parametrize("row", ACCUSED, ids=label)
def test_dropping_what_contradicts_buys_nothing(row: tuple[str, Appraisal]) -> None:
    """Each claim that an accusation stands on, alone and all together."""
    name, wanted = row
    evidence = as_live(evidence_of(name))
    full = result_of(name, wanted, live=True)
    cited = sorted({place for finding in contradicting(full) for place in finding.claims})
    assert cited
    for dropped in (*({one} for one in cited), set(cited)):
        holds_the_law(full, judge(less(evidence, dropped), wanted))


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_dropping_any_claims_buys_nothing(data: st.DataObject) -> None:
    name, wanted = data.draw(st.sampled_from(SMALL))
    evidence = as_live(evidence_of(name))
    full = result_of(name, wanted, live=True)
    cited = sorted({place for finding in contradicting(full) for place in finding.claims})
    pool = data.draw(st.sampled_from([pool for pool in (cited, places_of(evidence)) if pool]))
    dropped = set(data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=12)))
    holds_the_law(full, judge(less(evidence, dropped), wanted))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_making_claims_unreadable_buys_nothing(data: st.DataObject) -> None:
    """A source that failed is as silent as one that was not asked."""
    name, wanted = data.draw(st.sampled_from(SMALL))
    evidence = as_live(evidence_of(name))
    full = result_of(name, wanted, live=True)
    if full.verdict is Verdict.CONSISTENT:
        return
    cited = sorted({place for finding in contradicting(full) for place in finding.claims})
    pool = data.draw(st.sampled_from([pool for pool in (cited, places_of(evidence)) if pool]))
    broken = set(data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8)))
    status = data.draw(
        st.sampled_from([ClaimStatus.FAILED, ClaimStatus.NO_PERMISSION, ClaimStatus.TIMED_OUT])
    )

    def changed(claims: ClaimSet) -> ClaimSet:
        return ClaimSet(
            tuple(
                Claim(id=claim.id, status=status, source=claim.source, call=claim.call)
                if place(claim) in broken
                else claim
                for claim in claims
            )
        )

    poorer = dataclasses.replace(
        evidence,
        host=changed(evidence.host),
        devices=tuple(dataclasses.replace(d, claims=changed(d.claims)) for d in evidence.devices),
    )
    holds_the_law(full, judge(poorer, wanted))


# -- dropping reference values


class Thinned(Database):
    """A database that has forgotten one field of one product."""

    def __init__(self, inner: Database, product_id: str, field: str) -> None:
        super().__init__(inner._index, inner._folder)
        self._inner, self._product_id, self._field = inner, product_id, field

    def product(self, product_id: str) -> Product:
        product = self._inner.product(product_id)
        if product_id != self._product_id:
            return product
        kept = tuple(value for value in product.values if value.field != self._field)
        return dataclasses.replace(product, values=kept)

    def holders(self, field: str, value: Value) -> tuple[str, ...]:
        found = self._inner.holders(field, value)
        if field != self._field:
            return found
        return tuple(holder for holder in found if holder != self._product_id)


def judge_with(reference: Database, evidence: Evidence, wanted: Appraisal) -> Result:
    """Appraise with another database, from which the sold product comes too."""
    sale = load_sale_claim(wanted.claim, wanted.memory, wanted.condition, wanted.count, reference)
    items = tuple(dataclasses.replace(i, max_hours=wanted.max_hours) for i in sale.items)
    return appraise(
        evidence,
        SaleClaim(items=items),
        policy(wanted.policy),
        reference,
        selected=wanted.gpus or None,
        now_ms=NOW_MS,
    )


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_forgetting_reference_values_buys_nothing(data: st.DataObject) -> None:
    name, wanted = data.draw(st.sampled_from(SMALL))
    full = result_of(name, wanted, live=True)
    sold = load_sale_claim(wanted.claim, wanted.memory, None, None, database()).items[0].product
    recognised = [p.id for device in full.devices for p in device.recognition.products]
    product_id = data.draw(st.sampled_from(sorted({sold.id, *recognised, *sold.neighbours})))
    fields = sorted({value.field for value in database().product(product_id).values})
    if not fields:
        return
    reference = Thinned(database(), product_id, data.draw(st.sampled_from(fields)))
    holds_the_law(full, judge_with(reference, as_live(evidence_of(name)), wanted))


@pytest.mark.parametrize(
    "name",
    [
        "ga100/a100-40gb-sold-as-80gb", "ga100/a100-40gb-pci-rewritten",
        "ga100/a800-ids-patched", "gh100/h20-ids-patched", "ada/rtx-4090-d-ids-patched",
        "ga100/a100-board-project-does-not-fit",
    ],
)  # fmt: skip
def test_no_field_of_the_sold_product_is_worth_a_verdict(name: str) -> None:
    wanted = load_expected(name).appraisals[0]
    full = result_of(name, wanted, live=True)
    evidence = as_live(evidence_of(name))
    for field in sorted({value.field for value in database().product(wanted.claim).values}):
        reference = Thinned(database(), wanted.claim, field)
        holds_the_law(full, judge_with(reference, evidence, wanted))


# -- required groups


def open_groups(result: Result, name: str) -> set[Group]:
    """Required groups with a rule that is neither optional nor decided."""
    groups = {rule.id: rule.group for rule in RULES}
    found: set[Group] = set()
    for device in result.devices:
        if not device.in_sale:
            continue
        required = required_groups(policy(name), device.sale)
        for finding in device.findings:
            if finding.outcome is Outcome.INCONCLUSIVE and finding.rule not in OPTIONAL:
                found |= {groups[finding.rule]} & set(required)
    return found


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_an_open_required_group_is_never_consistent(data: st.DataObject) -> None:
    honest = [row for row in SMALL if row[1].verdict is Verdict.CONSISTENT]
    name, wanted = data.draw(st.sampled_from(honest))
    evidence = as_live(evidence_of(name))
    dropped = set(data.draw(st.lists(st.sampled_from(places_of(evidence)), max_size=20)))
    result = judge(less(evidence, dropped), wanted)
    if open_groups(result, wanted.policy):
        assert result.verdict is not Verdict.CONSISTENT
        assert result.exit_code != 0
    if result.verdict is Verdict.CONSISTENT:
        for device in result.devices:
            assert all(not neighbour.needs for neighbour in device.neighbours)


@pytest.mark.parametrize("row", [r for r in ROWS if r[1].verdict is Verdict.CONSISTENT], ids=label)
def test_what_is_consistent_is_decided_in_every_required_group(row: tuple[str, Appraisal]) -> None:
    result = result_of(row[0], row[1], live=True)
    assert open_groups(result, row[1].policy) == set()


# -- order and repetition


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_order_of_claims_is_irrelevant(data: st.DataObject) -> None:
    name, wanted = data.draw(st.sampled_from(SMALL))
    evidence = as_live(evidence_of(name))
    chance = data.draw(st.randoms(use_true_random=False))

    def shuffled(claims: ClaimSet) -> ClaimSet:
        mixed = list(claims)
        chance.shuffle(mixed)
        return ClaimSet(tuple(mixed))

    mixed = dataclasses.replace(
        evidence,
        host=shuffled(evidence.host),
        devices=tuple(dataclasses.replace(d, claims=shuffled(d.claims)) for d in evidence.devices),
    )
    before, after = judge(evidence, wanted), judge(mixed, wanted)
    assert (before.verdict, before.exit_code) == (after.verdict, after.exit_code)
    for one, other in zip(before.devices, after.devices, strict=True):
        assert dataclasses.replace(one, device=other.device) == other
    assert before.batch == after.batch


@pytest.mark.parametrize("row", SMALL[::3], ids=label)
def test_the_same_input_gives_the_same_result(row: tuple[str, Appraisal]) -> None:
    evidence = evidence_of(row[0])
    assert judge(evidence, row[1]) == judge(evidence, row[1])
    again = replay_recording(load_case(row[0]).recording, origin=evidence.origin)
    assert dump_evidence(again) == dump_evidence(evidence)


def test_items_of_a_sale_may_stand_in_any_order() -> None:
    """Two products in one machine, each claimed: the order of the items decides nothing."""
    name = "ga100/seven-good-and-one-40gb"
    evidence = as_live(evidence_of(name))
    items = [
        SaleItem(product=database().product(product_id), count=count)
        for product_id, count in (("a100-sxm4-80gb", 7), ("a100-sxm4-40gb", 1))
    ]
    for sale in (items, items[::-1]):
        result = appraise(
            evidence, SaleClaim(items=tuple(sale)), policy("standard"), database(), now_ms=NOW_MS
        )
        assert (result.verdict, result.exit_code) == (Verdict.CONSISTENT, 0)
        assert [d.sale.product.id for d in result.devices if d.sale is not None] == [
            *["a100-sxm4-80gb"] * 7, "a100-sxm4-40gb",
        ]  # fmt: skip


# -- redaction


@pytest.mark.parametrize("row", ROWS[::2], ids=label)
def test_redaction_preserves_every_finding(row: tuple[str, Appraisal]) -> None:
    name, wanted = row
    recording = load_case(name).recording
    hidden = redacted(recording, host_name="intake-7", salt=b"a salt of a test")
    before = judge(evidence_of(name), wanted)
    after = judge(replay_recording(hidden, origin="redacted"), wanted)
    seen = [(f.rule, f.code, f.outcome, f.basis) for f in all_findings(before)]
    assert [(f.rule, f.code, f.outcome, f.basis) for f in all_findings(after)] == seen
    assert (after.would_be, after.exit_code) == (before.would_be, before.exit_code)


# -- evidence that was written down


@pytest.mark.parametrize("row", [r for r in SMALL if r[1].verdict is Verdict.CONSISTENT][::3], ids=label)  # fmt: skip
def test_carried_evidence_says_the_same_and_is_never_consistent(
    row: tuple[str, Appraisal],
) -> None:
    live = as_live(evidence_of(row[0]))
    carried = load_evidence(dump_evidence(live), "evidence.json")
    result = judge(carried, row[1])
    assert (result.verdict, result.would_be) == (Verdict.UNVERIFIED, Verdict.CONSISTENT)
    assert result.exit_code != 0
    assert [f.code for f in all_findings(result)] == [
        f.code for f in all_findings(judge(live, row[1]))
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_machine_made_from_any_product_obeys_too(data: st.DataObject) -> None:
    products = [product for product in database().products() if product.pci]
    product = data.draw(st.sampled_from(products))
    evidence = live_evidence(machine_of(product))
    wanted = Appraisal(claim=product.id, verdict=Verdict.CONSISTENT, exit=0)
    full = judge(evidence, wanted)
    dropped = set(data.draw(st.lists(st.sampled_from(places_of(evidence)), max_size=15)))
    holds_the_law(full, judge(less(evidence, dropped), wanted))
