"""Every accusing or capping code has evidence that triggers it, and an honest near miss."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from measured_cases import ROWS
from signed_cases import SIGNED_ROWS
from trigger_cases import CASES as FIRST_CASES
from trigger_cases import (
    Case,
)
from trigger_cases_more import MORE_CASES

from gpuverify.model.finding import Outcome
from gpuverify.rules import RULES

CASES: list[Case] = [*FIRST_CASES, *MORE_CASES]


CASES += [
    Case(rule, code, lie, honest, host=host, honest_host=honest_host)
    for rule, code, lie, honest, host, honest_host in ROWS
]
CASES += [Case(rule, code, lie, honest) for rule, code, lie, honest in SIGNED_ROWS]
CASES.append(
    Case(
        "identity.measured-sm-count",
        "other-product",
        {"measured:fingerprint.sm_count": 108},
        {"measured:fingerprint.sm_count": 71},
        options={"sold": "cmp"},
    )
)


def decides(outcome: Outcome, *, caps: bool) -> bool:
    return outcome in (Outcome.WARN, Outcome.FAIL) or caps


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}/{case.code}")
def test_lie_triggers_the_code(bench: Any, case: Case) -> None:
    findings = bench.run(case.rule, case.lie, case.host, **case.options)
    hit = [finding for finding in findings if finding.code == case.code]
    assert hit, [finding.code for finding in findings]
    assert hit[0].claims
    assert "{" not in hit[0].message


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}/{case.code}")
def test_near_miss_does_not(bench: Any, case: Case) -> None:
    host = case.host if case.honest_host is None else case.honest_host
    options = case.options if case.honest_options is None else case.honest_options
    for finding in bench.run(case.rule, case.honest, host, **options):
        assert finding.code != case.code
        if (case.rule, finding.code) != ("condition.retired-pages", "retired"):
            assert not decides(finding.outcome, caps=False), finding.message


BATCH_CODES = {
    ("batch.unique-identity", "cloned"),
    ("batch.serials", "cloned"),
    ("batch.serials", "cloned-in-log"),
    ("batch.count", "fewer"),
    ("batch.count", "fewer-in-log"),
    ("batch.count", "fewer-in-selection"),
    ("batch.count", "part-of-a-board"),
    ("batch.count", "none-seen"),
    ("batch.complete", "counts-differ"),
    ("batch.complete", "fewer-blocks"),
    ("batch.complete", "more-blocks"),
    ("batch.complete", "unlisted"),
    ("batch.complete", "left-out"),
    ("condition.kernel-log", "serious"),
    ("batch.device-certificate", "cloned"),
}
"""Triggered in test_batch_rules.py."""


def test_every_accusing_code_is_triggered() -> None:
    covered = {(case.rule, case.code) for case in CASES} | BATCH_CODES
    wanted = {
        (rule.id, code.id)
        for rule in RULES
        for code in rule.codes
        if decides(code.outcome, caps=code.caps)
    }
    assert sorted(wanted - covered) == []
