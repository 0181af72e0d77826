"""Verdict arithmetic on made-up findings: no rule, no reference data, only what follows."""

from __future__ import annotations

import dataclasses

import pytest

from gpuverify.appraise.batch import batch_result, carry_over, overall, worst
from gpuverify.appraise.verdict import device_result
from gpuverify.model.claims import Basis
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.policy import Policy, Thresholds
from gpuverify.model.product import (
    Grade,
    MatchState,
    PciIdentity,
    Product,
    ProductStatus,
    Recognition,
    ReferenceValue,
)
from gpuverify.model.sale import Condition, SaleItem
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.model.verdict import ConditionState, HistoryState, Verdict


def product(name: str, device: int, mib: int, **more: object) -> Product:
    return Product(
        id=name,
        name=name,
        aliases=(),
        family="t",
        architecture="A",
        chip="C1",
        form="sxm",
        status=ProductStatus.RETAIL,
        pci=(PciIdentity(device_id=device),),
        values=(
            ReferenceValue(
                field="memory.total_mib",
                value=mib,
                grade=Grade.RECORDING,
                source="s",
                locator="l",
            ),
        ),
        **more,  # type: ignore[arg-type]
    )


SOLD = product("big", 0x1001, 81920, neighbours=("small", "twin"))
SMALL = product("small", 0x1002, 40960)
TWIN = product("twin", 0x1003, 81920)

RULES = tuple(
    Rule(
        id=f"{group.value}.rule",
        title="t",
        axis=axis,
        group=group,
        codes=(Code(id="c", outcome=Outcome.PASS, text="t"),),
        shows="s",
        limit="l",
        near_miss="n",
        check=lambda subject: (),
    )
    for group, axis in (
        (Group.PRODUCT, Axis.IDENTITY),
        (Group.CAPACITY, Axis.IDENTITY),
        (Group.HISTORY, Axis.HISTORY),
        (Group.ENVIRONMENT, Axis.ENVIRONMENT),
        (Group.CONDITION, Axis.CONDITION),
        (Group.BATCH, Axis.IDENTITY),
    )
)
POLICY = Policy(
    name="p",
    sha256="0" * 64,
    text="t",
    required={
        "product": Basis.CROSS_CHECKED,
        "capacity": Basis.REPORTED,
        "batch": Basis.REPORTED,
    },
    neighbours=Basis.CROSS_CHECKED,
)


class NoReference:
    def holders(self, field: str, value: object) -> tuple[str, ...]:
        return ()

    def device_holders(self, device_id: int) -> tuple[str, ...]:
        return ()

    def library_version(self, sha256: str) -> str | None:
        return {"a" * 64: "580.105.08"}.get(sha256)


def subject(
    sale: SaleItem | None = None, evidence_class: EvidenceClass = EvidenceClass.LIVE
) -> Subject:
    return Subject(
        device=DeviceEvidence(index=0, claims=ClaimSet()),
        host=ClaimSet(),
        evidence_class=evidence_class,
        recognition=Recognition(state=MatchState.EXACT, products=(SOLD,)),
        sale=sale,
        neighbours=(SMALL, TWIN),
        reference=NoReference(),
        thresholds=Thresholds(),
        now_ms=1,
    )


def finding(rule: str, outcome: Outcome, **more: object) -> Finding:
    axis = next((r.axis for r in RULES if r.id == rule), Axis.IDENTITY)
    values: dict[str, object] = {
        "rule": rule,
        "code": "c",
        "axis": axis,
        "outcome": outcome,
        "basis": Basis.CROSS_CHECKED,
        "message": f"{rule} {outcome.value}",
        **more,
    }
    return Finding(**values)  # type: ignore[arg-type]


GOOD = (
    finding("product.rule", Outcome.PASS, field="pci.identity", observed_value="1001:10DE:AAAA"),
    finding(
        "capacity.rule",
        Outcome.PASS,
        basis=Basis.REPORTED,
        field="memory.total_mib",
        observed_value=81920,
    ),
    finding("condition.rule", Outcome.PASS),
)
SALE = SaleItem(product=SOLD)
NEW = SaleItem(product=SOLD, condition=Condition.NEW)
WHOLE = (finding("batch.rule", Outcome.PASS),)


def judge(findings: tuple[Finding, ...], **more: object):  # type: ignore[no-untyped-def]
    options: dict[str, object] = {"sale": SALE, **more}
    return device_result(subject(**options), findings, POLICY, RULES, claimed=True)  # type: ignore[arg-type]


def test_everything_in_order_is_consistent() -> None:
    result = judge(GOOD)
    assert result.verdict is Verdict.CONSISTENT
    assert result.reasons == ()
    assert result.assurance is Basis.CROSS_CHECKED
    assert result.capacity_basis is Basis.REPORTED
    assert {n.product: n.excluded_by for n in result.neighbours} == {
        "small": "product.rule",
        "twin": "product.rule",
    }


def test_no_findings_at_all_is_unverified() -> None:
    result = judge(())
    assert result.verdict is Verdict.UNVERIFIED
    assert result.condition is ConditionState.UNKNOWN
    assert result.history is HistoryState.UNKNOWN


@pytest.mark.parametrize(
    ("rule", "outcome", "sale", "verdict"),
    [
        ("product.rule", Outcome.FAIL, SALE, Verdict.MISMATCH),
        ("product.rule", Outcome.WARN, SALE, Verdict.SUSPECT),
        ("environment.rule", Outcome.WARN, SALE, Verdict.SUSPECT),
        ("history.rule", Outcome.FAIL, SALE, Verdict.CONSISTENT),
        ("history.rule", Outcome.FAIL, NEW, Verdict.MISMATCH),
        ("history.rule", Outcome.WARN, NEW, Verdict.SUSPECT),
        ("history.rule", Outcome.NOTE, NEW, Verdict.CONSISTENT),
        ("condition.rule", Outcome.FAIL, SALE, Verdict.CONSISTENT),
        ("condition.rule", Outcome.WARN, NEW, Verdict.UNVERIFIED),
    ],
)
def test_axes_decide_as_designed(
    rule: str, outcome: Outcome, sale: SaleItem, verdict: Verdict
) -> None:
    assert judge((*GOOD, finding(rule, outcome)), sale=sale).verdict is verdict


def test_declared_hours_make_history_count() -> None:
    item = SaleItem(product=SOLD, condition=Condition.USED, max_hours=100)
    assert judge((*GOOD, finding("history.rule", Outcome.FAIL)), sale=item).verdict is (
        Verdict.MISMATCH
    )


def test_a_neighbour_at_a_weaker_basis_holds_the_verdict_back() -> None:
    weak = dataclasses.replace(GOOD[0], basis=Basis.REPORTED)
    cross = finding("product.rule", Outcome.PASS)
    result = judge((weak, cross, *GOOD[1:]))
    assert result.verdict is Verdict.UNVERIFIED
    assert result.assurance is Basis.REPORTED
    assert any("cannot tell big from small" in reason for reason in result.reasons)


def test_a_neighbour_without_values_is_not_excluded_by_the_field() -> None:
    blank = dataclasses.replace(SMALL, pci=(), values=())
    result = device_result(
        dataclasses.replace(subject(SALE), neighbours=(blank,)),
        GOOD,
        POLICY,
        RULES,
        claimed=True,
    )
    assert result.verdict is Verdict.UNVERIFIED


def test_a_board_shipped_as_the_product_is_no_neighbour() -> None:
    board = dataclasses.replace(SMALL, sold_as=("big",))
    result = device_result(
        dataclasses.replace(subject(SALE), neighbours=(board, TWIN)),
        GOOD,
        POLICY,
        RULES,
        claimed=True,
    )
    assert [n.product for n in result.neighbours] == ["twin"]


def test_an_inconclusive_required_rule_is_never_consistent() -> None:
    result = judge((*GOOD, finding("capacity.rule", Outcome.INCONCLUSIVE)))
    assert result.verdict is Verdict.UNVERIFIED


def test_an_environment_cap_is_no_accusation() -> None:
    result = judge((*GOOD, finding("environment.rule", Outcome.NOTE, caps=True)))
    assert result.verdict is Verdict.UNVERIFIED


@pytest.mark.parametrize("evidence_class", list(EvidenceClass))
@pytest.mark.parametrize(
    ("outcome", "would"),
    [
        (Outcome.PASS, Verdict.CONSISTENT),
        (Outcome.WARN, Verdict.SUSPECT),
        (Outcome.FAIL, Verdict.MISMATCH),
    ],
)
def test_only_live_or_signed_evidence_is_consistent(
    evidence_class: EvidenceClass, outcome: Outcome, would: Verdict
) -> None:
    result = judge((*GOOD, finding("product.rule", outcome)), evidence_class=evidence_class)
    assert (result.would_be or result.verdict) is would
    if evidence_class is EvidenceClass.REPLAYED or (
        evidence_class not in (EvidenceClass.LIVE, EvidenceClass.SIGNED)
        and would is Verdict.CONSISTENT
    ):
        assert result.verdict is Verdict.UNVERIFIED
    else:
        assert result.verdict is would


def test_nothing_claimed_is_unverified() -> None:
    result = device_result(subject(None), GOOD, POLICY, RULES, claimed=False)
    assert result.verdict is Verdict.UNVERIFIED
    assert result.in_sale


def test_a_card_that_is_not_sold_is_not_judged() -> None:
    bad = finding("product.rule", Outcome.FAIL)
    result = device_result(subject(None), (*GOOD, bad), POLICY, RULES, claimed=True)
    assert not result.in_sale
    assert result.verdict is Verdict.UNVERIFIED


def test_condition_is_summed_up_apart() -> None:
    broken = finding("condition.rule", Outcome.WARN, defective=True)
    result = judge((*GOOD, broken))
    assert result.verdict is Verdict.CONSISTENT
    assert result.condition is ConditionState.DEFECTIVE
    assert (result.condition_checks_done, result.condition_checks_known) == (1, 1)


def batch_of(*results, findings: tuple[Finding, ...] = WHOLE, items=(SALE,)):  # type: ignore[no-untyped-def]
    batch_subject = BatchSubject(
        subjects=tuple(subject(SALE) for _ in results),
        host=ClaimSet(),
        evidence_class=EvidenceClass.LIVE,
        items=items,
        selected=None,
        thresholds=Thresholds(),
    )
    return batch_result(batch_subject, findings, results, POLICY, RULES)


def test_a_batch_rule_decides_over_good_devices() -> None:
    good = judge(GOOD)
    clone = finding("batch.rule", Outcome.FAIL)
    batch = batch_of(good, good, findings=(clone,))
    assert overall((good, good), batch) == (Verdict.MISMATCH, None)


def test_an_incomplete_batch_holds_every_device_back() -> None:
    good = judge(GOOD)
    gap = finding("batch.rule", Outcome.INCONCLUSIVE)
    batch = batch_of(good, findings=(gap,))
    devices = carry_over((good,), batch)
    assert devices[0].verdict is Verdict.UNVERIFIED
    assert overall(devices, batch)[0] is Verdict.UNVERIFIED


def test_other_cards_beside_the_sale_need_a_count() -> None:
    good = judge(GOOD)
    other = device_result(subject(None), GOOD, POLICY, RULES, claimed=True)
    assert batch_of(good, other).verdict is Verdict.UNVERIFIED
    counted = dataclasses.replace(SALE, count=1)
    assert batch_of(good, other, items=(counted,)).verdict is Verdict.CONSISTENT


def test_no_device_is_never_consistent() -> None:
    assert overall((), batch_of())[0] is Verdict.UNVERIFIED
    assert worst([]) is Verdict.UNVERIFIED
