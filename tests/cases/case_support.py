"""Reads `expected.toml` strictly, and appraises a case as it says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec import toml
from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.collect.replay import replay_case
from gpuverify.model.evidence import Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.policy import Policy
from gpuverify.model.sale import SaleClaim
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.sources.cases import case_names, fixtures_folder, load_case

NOW_MS = 1_795_262_400_000
"""The time of every appraisal here: 2026-11-21."""

Kind = Literal["lie", "suspect", "honest"]
Read = Literal["machine", "measured", "log"]

ACCUSING_AXES = (Axis.IDENTITY, Axis.HISTORY, Axis.ENVIRONMENT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Appraisal:
    """One `[[appraisal]]`: what is said to be sold, and what must come of it.

    Attributes:
        read: "machine": NVML, PCI, kernel and nvidia-smi of the recording. "measured": that and
            what was measured. "log": its
            `nvidia-smi -q -x` document alone, as somebody would send it.
        claim: Product id or name, "" for no claim.
        memory: Memory label.
        condition: new, refurbished or used.
        count: Boards sold.
        max_hours: Declared hours.
        gpus: Indexes named with --gpu; empty for all.
        policy: Built-in policy.
        verdict: What it is, on a replay what it would be on a live machine.
        exit: Exit code.
        findings: `rule/code` that must occur.
        absent: `rule` or `rule/code` that must not occur.
        reasons: Texts that must stand in the reasons of the cards or of the batch.
        state: Condition of the worst card, "" where it does not matter.
    """

    read: Read = "machine"
    claim: str = ""
    memory: str | None = None
    condition: str | None = None
    count: int | None = None
    max_hours: int | None = None
    gpus: tuple[int, ...] = ()
    policy: str = "standard"
    verdict: Verdict
    exit: int
    findings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    state: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """A case's `expected.toml`.

    Attributes:
        name: Name of the case.
        kind: "lie" (a mismatch), "suspect", or "honest" (never worse than a note).
        origin: "synthetic": no card produced it. "derived": a real recording with edits.
        shows: What the case shows, one sentence.
        near_miss: The case nearest to it on the other side; "" where there is none.
        appraisals: What must come of it.
    """

    name: str
    kind: Kind
    origin: str
    shows: str
    near_miss: str
    appraisals: tuple[Appraisal, ...]


def _typed(value: Any, kind: str, where: str) -> Any:
    """Refuse a value of another type than the field's annotation."""
    wanted: dict[str, tuple[type, ...]] = {"int": (int,), "tuple": (list,)}
    first = kind.partition(" ")[0].partition("[")[0]
    if isinstance(value, bool) or not isinstance(value, wanted.get(first, (str,))):
        raise TypeError(f"{where}: {value!r} is no {kind}")
    return tuple(value) if isinstance(value, list) else value


def _read_table(table: dict[str, Any], kind: type, where: str) -> dict[str, Any]:
    """Check the keys of a table against a class's fields."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise KeyError(f"{where}: unknown keys {unknown}; known are {sorted(fields)}")
    return {key: _typed(value, fields[key], f"{where}: {key}") for key, value in table.items()}


def load_expected(name: str) -> Expected:
    """Read a case's `expected.toml`; unknown keys and wrong types are refused."""
    path = fixtures_folder() / name / "expected.toml"
    return parse_expected(path.read_bytes(), name)


def parse_expected(data: bytes, name: str) -> Expected:
    """Read the bytes of an `expected.toml`."""
    document = toml.loads(data, f"{name}/expected.toml")
    rows = document.pop("appraisal")
    head = _read_table(document, Expected, name)
    if head["kind"] not in ("lie", "suspect", "honest"):
        raise ValueError(f"{name}: kind = {head['kind']!r}")
    if head["origin"] not in ("synthetic", "derived"):
        raise ValueError(f"{name}: origin = {head['origin']!r}")
    appraisals = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: appraisal {number}"
        table = _read_table(dict(row), Appraisal, where)
        if table.get("read", "machine") not in ("machine", "measured", "log"):
            raise ValueError(f"{where}: read = {table['read']!r}")
        table["verdict"] = Verdict(table["verdict"])
        appraisals.append(Appraisal(**table))
    if not appraisals:
        raise ValueError(f"{name}: no [[appraisal]]")
    return Expected(name=name, appraisals=tuple(appraisals), **head)


def expected_names() -> tuple[str, ...]:
    """Names of all cases with an `expected.toml`."""
    return tuple(n for n in case_names() if (fixtures_folder() / n / "expected.toml").is_file())


@functools.cache
def database() -> Database:
    """The shipped reference data."""
    return Database.open()


@functools.cache
def policy(name: str) -> Policy:
    """A built-in policy."""
    return load_policy(name)


@functools.cache
def evidence_of(name: str, read: Read = "machine") -> Evidence:
    """Evidence of a case, collected by the real sources or read from its log alone."""
    if read != "log":
        return replay_case(name, measured=read == "measured")
    smi = load_case(name).recording.nvidia_smi
    assert smi is not None
    return read_nvidia_smi_xml(xml_from_leaves(list(smi.leaves)), f"{name} (log)")


def as_live(evidence: Evidence) -> Evidence:
    """Mark evidence live. Only a test can: no option, file or variable does."""
    return dataclasses.replace(evidence, evidence_class=EvidenceClass.LIVE)


def sale_of(wanted: Appraisal) -> SaleClaim:
    """Build the sale claim of an appraisal from its words."""
    sale = load_sale_claim(
        wanted.claim or None, wanted.memory, wanted.condition, wanted.count, database()
    )
    if wanted.max_hours is None:
        return sale
    return SaleClaim(
        items=tuple(dataclasses.replace(i, max_hours=wanted.max_hours) for i in sale.items)
    )


def judge(evidence: Evidence, wanted: Appraisal) -> Result:
    """Appraise evidence as an appraisal says."""
    return appraise(
        evidence,
        sale_of(wanted),
        policy(wanted.policy),
        database(),
        selected=wanted.gpus or None,
        now_ms=NOW_MS,
    )


@functools.cache
def result_of(name: str, wanted: Appraisal, *, live: bool = False) -> Result:
    """Appraise a case as an appraisal says; once, however many tests look at it."""
    evidence = evidence_of(name, wanted.read)
    return judge(as_live(evidence) if live else evidence, wanted)


def all_findings(result: Result) -> Iterator[Finding]:
    """All findings of a result, of the cards and of the batch."""
    for device in result.devices:
        yield from device.findings
    yield from result.batch.findings


def accusations(result: Result) -> list[str]:
    """Findings of warn or fail that can change a verdict, as text."""
    return [
        f"{finding.rule}/{finding.code}: {finding.message}"
        for finding in all_findings(result)
        if finding.axis in ACCUSING_AXES and finding.outcome in (Outcome.WARN, Outcome.FAIL)
    ]


def judged(result: Result) -> Verdict:
    """What the verdict is, or would be on live evidence."""
    return result.would_be or result.verdict
