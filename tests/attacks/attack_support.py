"""Machines with a lie in them, or with an honest oddity, marked live inside a test alone."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.collect.replay import replay_case, replay_recording
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.sale import SaleClaim
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.sources.recording import FileEntry, Recording

NOW_MS = 1_795_262_400_000
"""The time of every appraisal here: 2026-11-21."""

A100 = "ga100/a100-sxm4-80gb"
ACCUSING = (Axis.IDENTITY, Axis.HISTORY, Axis.ENVIRONMENT)
Change = Union[Value, ClaimStatus, None]


@functools.cache
def database() -> Database:
    """The shipped reference data."""
    return Database.open()


@functools.cache
def recorded(base: str, edits: str = "", copies: int = 1) -> Evidence:
    """Collect from a case with edits, by the real sources.

    Args:
        base: Name of a bundled case.
        edits: `[[edit]]` tables of a case.toml.
        copies: How many cards like the base's.
    """
    with tempfile.TemporaryDirectory() as folder:
        head = f'base = "{base}"\ntext = "attack"\ncopies = {copies}\n'
        (Path(folder) / "case.toml").write_text(head + edits, encoding="utf-8")
        return replay_case(folder)


def live(base: str, edits: str = "", copies: int = 1) -> Evidence:
    """Return such evidence marked live. Only a test can: no option, file or variable does."""
    return dataclasses.replace(recorded(base, edits, copies), evidence_class=EvidenceClass.LIVE)


def _changed(claims: ClaimSet, changes: Mapping[str, Change]) -> ClaimSet:
    """Replace, add and drop claims by `source:claim-id`."""
    kept = []
    left = dict(changes)
    for claim in claims:
        key = f"{claim.source.value}:{claim.id}"
        if key not in left:
            kept.append(claim)
            continue
        wanted = left.pop(key)
        if isinstance(wanted, ClaimStatus):
            kept.append(dataclasses.replace(claim, status=wanted, value=None))
        elif wanted is not None:
            kept.append(dataclasses.replace(claim, status=ClaimStatus.OK, value=wanted))
    for key, wanted in left.items():
        source, _, claim_id = key.partition(":")
        if isinstance(wanted, ClaimStatus):
            kept.append(Claim(id=claim_id, status=wanted, source=Source(source)))
        elif wanted is not None:
            kept.append(
                Claim(id=claim_id, status=ClaimStatus.OK, value=wanted, source=Source(source))
            )
    return ClaimSet(tuple(kept))


def tampered(
    evidence: Evidence,
    device: Mapping[str, Any] | None = None,
    host: Mapping[str, Any] | None = None,
    index: int = 0,
) -> Evidence:
    """Change claims after they were collected: a value, a status, or None to drop one."""
    devices = tuple(
        dataclasses.replace(one, claims=_changed(one.claims, device or {}))
        if one.index == index
        else one
        for one in evidence.devices
    )
    return dataclasses.replace(evidence, devices=devices, host=_changed(evidence.host, host or {}))


def judge(
    evidence: Evidence,
    claim: str | None = "a100-sxm4-80gb",
    *,
    policy: str = "standard",
    sale: SaleClaim | None = None,
    selected: tuple[int, ...] | None = None,
    **claimed: Any,
) -> Result:
    """Appraise evidence against a claim in words."""
    words = {"memory": None, "condition": None, "count": None, **claimed}
    return appraise(
        evidence,
        sale or load_sale_claim(claim, **words, database=database()),
        load_policy(policy),
        database(),
        selected=selected,
        now_ms=NOW_MS,
    )


def findings(result: Result) -> list[Finding]:
    """All findings, of the cards and of the batch."""
    return [f for device in result.devices for f in device.findings] + list(result.batch.findings)


def codes(result: Result) -> set[str]:
    """All `rule/code`."""
    return {f"{finding.rule}/{finding.code}" for finding in findings(result)}


def accusations(result: Result) -> list[str]:
    """Findings that could change a verdict to suspect or mismatch, as text."""
    return [
        f"{finding.rule}/{finding.code}: {finding.message}"
        for finding in findings(result)
        if finding.axis in ACCUSING and finding.outcome in (Outcome.WARN, Outcome.FAIL)
    ]


def reasons(result: Result) -> list[str]:
    """Every reason that is printed."""
    return [r for device in result.devices for r in device.reasons] + list(result.batch.reasons)


def held_back(result: Result) -> bool:
    """Whether nothing in the result says consistent, and the exit code is not 0."""
    verdicts = {result.verdict, result.would_be}
    return Verdict.CONSISTENT not in verdicts and result.exit_code != 0


def live_recording(recording: Recording) -> Evidence:
    """Collect from a recording and mark it live."""
    evidence = replay_recording(recording, origin="test")
    return dataclasses.replace(evidence, evidence_class=EvidenceClass.LIVE)


def with_files(recording: Recording, files: Mapping[str, FileEntry | None]) -> Recording:
    """Replace or (None) take away files of a recording."""
    kept = {path: entry for path, entry in recording.files.items() if path not in files}
    kept.update({path: entry for path, entry in files.items() if entry is not None})
    return dataclasses.replace(recording, files=kept)
