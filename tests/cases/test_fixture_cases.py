"""Every bundled case with an `expected.toml` gives what stands there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from case_support import (
    Appraisal,
    Expected,
    accusations,
    all_findings,
    expected_names,
    judged,
    load_expected,
    parse_expected,
    result_of,
)

from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.verdict import ConditionState, Verdict
from gpuverify.sources.cases import case_names, fixtures_folder

pytestmark = pytest.mark.required

CASES = {name: load_expected(name) for name in expected_names()}
ROWS = [
    pytest.param(case, wanted, id=f"{name}#{number}-{wanted.claim or 'unclaimed'}")
    for name, case in CASES.items()
    for number, wanted in enumerate(case.appraisals, 1)
]
EXITS = {Verdict.MISMATCH: 2, Verdict.SUSPECT: 1, Verdict.UNVERIFIED: 3, Verdict.CONSISTENT: 3}
_STATES = (
    ConditionState.DEFECTIVE,
    ConditionState.ATTENTION,
    ConditionState.NO_FAULT_SEEN,
    ConditionState.UNKNOWN,
)


@pytest.mark.parametrize(("case", "wanted"), ROWS)
def test_case(case: Expected, wanted: Appraisal) -> None:
    result = result_of(case.name, wanted)
    seen = {f"{finding.rule}/{finding.code}" for finding in all_findings(result)}
    said = [r for d in result.devices for r in d.reasons] + list(result.batch.reasons)
    told = "\n".join((*said, *accusations(result)))
    assert judged(result) is wanted.verdict, told
    assert result.exit_code == wanted.exit, told
    assert not (set(wanted.findings) - seen), told
    rules = {finding.partition("/")[0] for finding in seen}
    assert not (set(wanted.absent) & (seen | rules)), told
    for text in wanted.reasons:
        assert any(text in reason for reason in said), f"{text!r} not in {said}"
    if wanted.state:
        worst = min((device.condition for device in result.devices), key=_STATES.index)
        assert worst.value == wanted.state


@pytest.mark.parametrize(("case", "wanted"), ROWS)
def test_the_kind_holds_whatever_the_row_says(case: Expected, wanted: Appraisal) -> None:
    """A lie is a contradiction, an honest situation is never worse than a note."""
    result = result_of(case.name, wanted)
    if case.kind == "lie":
        assert judged(result) in (Verdict.MISMATCH, Verdict.UNVERIFIED), accusations(result)
    elif case.kind == "suspect":
        assert judged(result) in (Verdict.SUSPECT, Verdict.UNVERIFIED), accusations(result)
    else:
        assert judged(result) in (Verdict.CONSISTENT, Verdict.UNVERIFIED)
        assert accusations(result) == []


@pytest.mark.parametrize(("case", "wanted"), ROWS)
def test_what_would_be_is_what_is_on_a_live_machine(case: Expected, wanted: Appraisal) -> None:
    replayed = result_of(case.name, wanted)
    live = result_of(case.name, wanted, live=True)
    if wanted.read == "log":
        # A log that is passed off as live lacks everything that a machine would show.
        assert live.verdict is not Verdict.CONSISTENT
        return
    assert live.verdict is judged(replayed)
    assert live.would_be is None
    if case.kind != "honest":
        assert live.exit_code != 0
        assert live.verdict is not Verdict.CONSISTENT


@pytest.mark.parametrize(("case", "wanted"), ROWS)
def test_no_recording_or_log_ever_ends_in_zero(case: Expected, wanted: Appraisal) -> None:
    result = result_of(case.name, wanted)
    assert result.exit_code != 0
    assert result.verdict is not Verdict.CONSISTENT
    assert result.evidence_class in (EvidenceClass.REPLAYED, EvidenceClass.IMPORTED)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_near_miss_exists_on_the_other_side(case: Expected) -> None:
    assert case.near_miss or case.kind == "honest", "every lie has an honest near miss"
    if case.near_miss:
        other = CASES[case.near_miss]
        assert (other.kind == "honest") is not (case.kind == "honest")


def test_every_case_says_what_must_come_of_it() -> None:
    assert set(case_names()) == set(CASES)
    assert len([case for case in CASES.values() if case.kind == "lie"]) >= 35
    assert len([case for case in CASES.values() if case.kind == "honest"]) >= 35
    assert len([case for case in CASES.values() if case.kind == "suspect"]) >= 8


def test_bases_are_honest() -> None:
    for name, case in CASES.items():
        if (fixtures_folder() / name / "recording.json").is_file():
            assert case.kind == "honest", name


_HEAD = b'kind = "honest"\norigin = "synthetic"\nshows = "it"\nnear_miss = ""\n'


@pytest.mark.parametrize(
    "text",
    [
        b'[[appraisal]]\nverdict = "consistent"\nexit = 3\nsurprise = 1\n',
        b'extra = 1\n[[appraisal]]\nverdict = "consistent"\nexit = 3\n',
        b'[[appraisal]]\nverdict = "genuine"\nexit = 3\n',
        b'[[appraisal]]\nverdict = "consistent"\nexit = "3"\n',
        b'[[appraisal]]\nverdict = "consistent"\nexit = 3\nread = "rumour"\n',
        b"[[appraisal]]\nexit = 3\n",
    ],
)
def test_expected_files_are_read_strictly(text: bytes) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_expected(_HEAD + text, "a/case")


def test_a_plain_expected_file_is_read() -> None:
    text = b'[[appraisal]]\nverdict = "consistent"\nexit = 3\nfindings = ["a/b"]\n'
    case = parse_expected(_HEAD + text, "a/case")
    assert case.appraisals[0].findings == ("a/b",)
    assert EXITS[case.appraisals[0].verdict] == case.appraisals[0].exit
