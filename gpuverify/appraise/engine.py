"""Run every rule on every device and put the results together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from gpuverify.appraise import batch as batch_
from gpuverify.appraise.device_signed import with_signed_claims
from gpuverify.appraise.exit_codes import code_for
from gpuverify.appraise.sale_match import assign
from gpuverify.appraise.verdict import device_result
from gpuverify.model.evidence import Evidence
from gpuverify.model.finding import Finding, Rule
from gpuverify.model.policy import Policy
from gpuverify.model.sale import SaleClaim
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.model.verdict import BatchResult, DeviceResult, Result
from gpuverify.refdb import Database
from gpuverify.rules import RULES


def appraise(
    evidence: Evidence,
    sale: SaleClaim,
    policy: Policy,
    database: Database,
    *,
    selected: tuple[int, ...] | None = None,
    now_ms: int,
    rules: tuple[Rule, ...] = RULES,
    challenge: bytes | None = None,
    device_roots: frozenset[str] | None = None,
) -> Result:
    """Judge one read-out against what the caller says is being sold.

    Args:
        evidence: All claims of one run. Anything that the file says about a sale is not used.
        sale: The caller's own claim; empty if nothing is claimed.
        policy: What a verdict requires.
        database: Reference data.
        selected: Indexes of the devices to judge; None for all. Left-out devices stay known.
        now_ms: The time of appraisal, milliseconds since the Unix epoch (UTC).
        rules: The rules to run, all by default.
        challenge: The caller's challenge, which attestation reports have to answer; None where
            there was none.
        device_roots: SHA-256 of the public keys that attestation chains may end in; None for
            NVIDIA's.

    Returns:
        The result; the same arguments give an equal result.
    """
    judged = with_signed_claims(evidence, now_ms=now_ms, challenge=challenge, roots=device_roots)
    subjects = _subjects(judged, sale, policy, database, selected, now_ms)
    claimed = bool(sale.items)
    devices = tuple(
        [
            device_result(subject, _run(rules, subject), policy, rules, claimed=claimed)
            for subject in subjects
            if selected is None or subject.device.index in selected
        ]
    )
    batch = _batch(judged, sale, policy, subjects, devices, selected, rules)
    devices = batch_.carry_over(devices, batch)
    verdict, would_be = batch_.overall(devices, batch)
    return Result(
        origin=evidence.origin,
        evidence_class=evidence.evidence_class,
        evidence=evidence,
        policy_name=policy.name,
        policy_sha256=policy.sha256,
        refdb_version=database.version,
        refdb_sha256=database.sha256,
        claimed=claimed,
        verdict=verdict,
        would_be=would_be,
        exit_code=code_for(verdict, would_be, devices, policy),
        devices=devices,
        batch=batch,
    )


def _subjects(
    evidence: Evidence,
    sale: SaleClaim,
    policy: Policy,
    database: Database,
    selected: tuple[int, ...] | None,
    now_ms: int,
) -> tuple[Subject, ...]:
    """Recognise each device and give it the item of the sale that it stands for."""
    recognitions = tuple(database.recognise(device.claims) for device in evidence.devices)
    items = assign(evidence.devices, recognitions, sale, selected)
    subjects = []
    for device, recognition, item in zip(evidence.devices, recognitions, items, strict=True):
        product = item.product if item is not None else recognition.product
        subjects.append(
            Subject(
                device=device,
                host=evidence.host,
                evidence_class=evidence.evidence_class,
                recognition=recognition,
                sale=item,
                neighbours=database.neighbours(product) if product is not None else (),
                reference=database,
                thresholds=policy.thresholds,
                now_ms=now_ms,
            )
        )
    return tuple(subjects)


@functools.lru_cache(maxsize=16)
def _device_checks(rules: tuple[Rule, ...]) -> tuple[Callable[[Subject], Iterable[Finding]], ...]:
    """Return the checks of one device, in rule order."""
    return tuple(rule.check for rule in rules if rule.check is not None)


@functools.lru_cache(maxsize=16)
def _batch_checks(
    rules: tuple[Rule, ...],
) -> tuple[Callable[[BatchSubject], Iterable[Finding]], ...]:
    """Return the checks over all devices, in rule order."""
    return tuple(rule.batch_check for rule in rules if rule.batch_check is not None)


def _run(rules: tuple[Rule, ...], subject: Subject) -> tuple[Finding, ...]:
    """Run the device rules in their order."""
    findings: list[Finding] = []
    for check in _device_checks(rules):
        findings += check(subject)
    return tuple(findings)


def _batch(
    evidence: Evidence,
    sale: SaleClaim,
    policy: Policy,
    subjects: tuple[Subject, ...],
    devices: tuple[DeviceResult, ...],
    selected: tuple[int, ...] | None,
    rules: tuple[Rule, ...],
) -> BatchResult:
    """Run the batch rules and put their findings together."""
    subject = BatchSubject(
        subjects=subjects,
        host=evidence.host,
        evidence_class=evidence.evidence_class,
        items=sale.items,
        selected=selected,
        thresholds=policy.thresholds,
    )
    findings: list[Finding] = []
    for check in _batch_checks(rules):
        findings += check(subject)
    return batch_.batch_result(subject, tuple(findings), devices, policy, rules)
