"""Laws that hold for every rule."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuverify.model.claims import ClaimStatus
from gpuverify.model.finding import Axis, Group, Outcome
from gpuverify.rules import RULES

_UNDECIDED = {Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE}
_FORBIDDEN = re.compile(r"genuine|authentic|fake|counterfeit|\bPASSED\b", re.IGNORECASE)


def test_ids_are_unique_and_stable_in_shape() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9-]+\.[a-z0-9.-]+", rule.id), rule.id
        assert len({code.id for code in rule.codes}) == len(rule.codes), rule.id
        for code in rule.codes:
            assert re.fullmatch(r"[a-z0-9.-]+", code.id), code.id


def test_every_rule_says_what_it_shows_and_what_not() -> None:
    for rule in RULES:
        assert rule.shows, rule.id
        assert rule.limit, rule.id
        assert rule.near_miss, rule.id
        assert rule.references, rule.id
        assert (rule.check is None) != (rule.batch_check is None), rule.id


def test_no_code_calls_a_card_names() -> None:
    for rule in RULES:
        for code in rule.codes:
            assert not _FORBIDDEN.search(code.text), (rule.id, code.id)


def test_condition_is_never_identity_and_defects_are_condition() -> None:
    for rule in RULES:
        if rule.group is Group.CONDITION:
            assert rule.axis is Axis.CONDITION, rule.id
        for code in rule.codes:
            assert not code.defective or rule.axis is Axis.CONDITION, rule.id
            assert not code.used or rule.axis in (Axis.CONDITION, Axis.HISTORY), rule.id
            if rule.axis is Axis.CONFIGURATION:
                assert code.outcome not in (Outcome.WARN, Outcome.FAIL), rule.id
            if rule.axis is Axis.HISTORY:
                assert code.outcome is not Outcome.FAIL, rule.id


def test_code_texts_use_the_two_placeholders_only() -> None:
    for rule in RULES:
        for code in rule.codes:
            code.text.format(observed="", expected="")


@pytest.mark.parametrize("sold", ["a100-80", "a800", "k80", "rtx", "work", "cmp", None])
@pytest.mark.parametrize("imported", [False, True])
def test_empty_evidence_decides_nothing(bench: Any, sold: str | None, imported: bool) -> None:
    subject = bench.subject(sold=sold, imported=imported)
    for finding in bench.all_findings(subject):
        if finding.rule != "capacity.label":
            assert finding.outcome in _UNDECIDED, (finding.rule, finding.code)
    for rule in RULES:
        if rule.batch_check is not None:
            for finding in rule.batch_check(bench.batch([], sold=sold, imported=imported)):
                assert finding.outcome in _UNDECIDED, (finding.rule, finding.code)


def test_an_honest_live_card_passes_everything(bench: Any) -> None:
    subject = bench.subject(bench.honest, bench.honest_host, neighbours=("a100-40", "a800", "cmp"))
    findings = bench.all_findings(subject)
    odd = [
        (f.rule, f.code, f.message)
        for f in findings
        if f.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)
    ]
    allowed = {
        "history.hour-meter",
        "history.remaps",
        "history.counters",
        "history.serial-date",
    }
    assert [entry for entry in odd if entry[0] not in allowed] == []
    assert {finding.rule for finding in findings} == {r.id for r in RULES if r.check is not None}


def test_on_a_log_the_environment_does_not_apply(bench: Any) -> None:
    subject = bench.subject(bench.honest, bench.honest_host, imported=True)
    for finding in bench.all_findings(subject):
        if finding.axis is Axis.ENVIRONMENT:
            assert finding.code == "imported"


def test_a_log_is_called_a_mismatch_for_ids_and_capacity_alone() -> None:
    """Codes that fail on imported text are the two that rule on ids and capacity, and clones."""
    silent_in_logs = {
        "differs",  # needs a second interface
        "other-product",  # has a twin for logs
        "other-chip",
        "fewer",
        "cloned",
        "cuda-differs",  # these need a measurement, which no log holds
        "folded",
        "page-permuted",
        "dropped-writes",
        "host-backed",
        "larger",
    }
    for rule in RULES:
        if rule.axis is not Axis.IDENTITY:
            continue
        failing = {code.id for code in rule.codes if code.outcome is Outcome.FAIL}
        if rule.id in ("identity.product", "batch.unique-identity"):
            continue
        assert failing - silent_in_logs <= {"slice", "wrong-class"}, rule.id


def test_findings_do_not_depend_on_the_order_of_claims(bench: Any) -> None:
    entries = list(bench.honest.items())
    hosts = list(bench.honest_host.items())
    first = bench.all_findings(bench.subject(dict(entries), dict(hosts)))
    for seed in range(5):
        mixer = random.Random(seed)
        mixer.shuffle(entries)
        mixer.shuffle(hosts)
        again = bench.all_findings(bench.subject(dict(entries), dict(hosts)))
        assert [(f.rule, f.code, f.observed_value) for f in again] == [
            (f.rule, f.code, f.observed_value) for f in first
        ]


def _passed(findings: list[Any]) -> dict[str, bool]:
    """Say for each rule whether it was decided with a pass and nothing was left open."""
    rules: dict[str, list[Outcome]] = {}
    for finding in findings:
        rules.setdefault(finding.rule, []).append(finding.outcome)
    return {
        rule: Outcome.PASS in outcomes and Outcome.INCONCLUSIVE not in outcomes
        for rule, outcomes in rules.items()
    }


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_dropping_a_claim_never_decides_an_open_rule(bench: Any, data: st.DataObject) -> None:
    device, host = dict(bench.honest), dict(bench.honest_host)
    for content in (device, host):
        keys = sorted(content)
        for key in data.draw(st.lists(st.sampled_from(keys), max_size=6, unique=True)):
            if data.draw(st.booleans()):
                del content[key]
            else:
                content[key] = data.draw(
                    st.sampled_from([ClaimStatus.NOT_SUPPORTED, ClaimStatus.FAILED])
                )
    sold = data.draw(st.sampled_from(["a100-80", "a100-40", "rtx", "work"]))
    before = bench.all_findings(bench.subject(device, host, sold=sold))
    full = _passed(before)
    opened = {f.rule for f in before if f.outcome is Outcome.INCONCLUSIVE}
    content = data.draw(st.sampled_from([c for c in (device, host) if c]))
    content.pop(data.draw(st.sampled_from(sorted(content))))
    after = _passed(bench.all_findings(bench.subject(device, host, sold=sold)))
    for rule in opened:
        assert full[rule] or not after[rule], rule


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_dropping_a_reference_value_never_adds_a_pass(bench: Any, data: st.DataObject) -> None:
    product = bench.products["a100-80"]
    keep = [v for v in product.values if data.draw(st.booleans())]
    smaller = bench.with_product("a100-80", values=tuple(keep))
    full = _passed(bench.all_findings(bench.subject(bench.honest, bench.honest_host)))
    less = _passed(bench.all_findings(bench.subject(bench.honest, bench.honest_host, sold=smaller)))
    for rule, passed in less.items():
        assert full[rule] or not passed, rule


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_values_give_declared_codes(bench: Any, data: st.DataObject) -> None:
    """Whatever a source says, each rule answers with one of its own codes and never falls over."""
    device: dict[str, Any] = {}
    for key, honest in bench.honest.items():
        kind = type(honest)
        choices: list[Any] = [honest, None, ClaimStatus.MALFORMED]
        if kind is bool:
            choices.append(not honest)
        elif kind is int:
            choices += [0, -1, honest + 1, 2**63]
        else:
            choices += ["", "{observed}", "\u202e?", "X" * 200]
        device[key] = data.draw(st.sampled_from(choices))
    sold = data.draw(st.sampled_from([None, "a100-80", "k80", "rtx", "work"]))
    imported = data.draw(st.booleans())
    subject = bench.subject(device, bench.honest_host, sold=sold, imported=imported)
    for rule in RULES:
        if rule.check is None:
            continue
        findings = list(rule.check(subject))
        assert findings, rule.id
        for finding in findings:
            assert rule.code(finding.code).outcome is finding.outcome
            assert (finding.field == "") == (finding.observed_value is None)
            assert finding.field == "" or finding.outcome is Outcome.PASS
