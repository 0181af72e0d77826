"""Verdict arithmetic over all devices of one read-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpuverify.appraise.verdict import (
    NOTHING_CLAIMED,
    contradictions,
    first_that_applies,
    group_gaps,
)
from gpuverify.model.finding import Finding, Group, Rule
from gpuverify.model.policy import Policy
from gpuverify.model.subject import BatchSubject
from gpuverify.model.verdict import BatchResult, DeviceResult, Verdict

_WORST_FIRST = (Verdict.MISMATCH, Verdict.SUSPECT, Verdict.UNVERIFIED, Verdict.CONSISTENT)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst verdict; UNVERIFIED where there is none, for nothing passes by default."""
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.UNVERIFIED)


def batch_result(
    subject: BatchSubject,
    findings: tuple[Finding, ...],
    devices: tuple[DeviceResult, ...],
    policy: Policy,
    rules: Sequence[Rule],
) -> BatchResult:
    """Put the findings over all devices together.

    Args:
        subject: All devices.
        findings: What the batch rules found.
        devices: The devices' own results.
        policy: What a verdict requires.
        rules: The rules that were run.

    Returns:
        The verdict of the batch rules alone; `overall` adds the devices.
    """
    sale = subject.items[0] if subject.items else None
    mismatch, suspect = contradictions(findings, sale)
    caps = [finding.message for finding in findings if finding.caps]
    if Group.BATCH.value in policy.required:
        wanted = {Group.BATCH: policy.required[Group.BATCH.value]}
        caps += group_gaps(wanted, findings, rules, policy.optional_rules)
    left_out = [result for result in devices if not result.in_sale]
    if left_out and any(item.count is None for item in subject.items):
        caps.append(
            f"{len(left_out)} device(s) of another kind stand beside those sold:"
            " say with --count how many were sold"
        )
    if not devices:
        caps.append("no device was seen")
    if not subject.items:
        caps.append(NOTHING_CLAIMED)
    would_be, verdict, reasons = first_that_applies(mismatch, suspect, caps, subject.evidence_class)
    return BatchResult(
        verdict=verdict,
        would_be=would_be if would_be is not verdict else None,
        reasons=tuple(dict.fromkeys(reasons)),
        findings=findings,
    )


def carry_over(devices: tuple[DeviceResult, ...], batch: BatchResult) -> tuple[DeviceResult, ...]:
    """Hold consistent devices at unverified while their batch is incomplete.

    A device of an incomplete read-out may be one of several that share an identity, so nothing
    consistent can be said of it alone.
    """
    judged = batch.would_be or batch.verdict
    if judged is not Verdict.UNVERIFIED:
        return devices
    result = []
    for device in devices:
        if device.verdict is Verdict.CONSISTENT:
            changed = replace(
                device, verdict=Verdict.UNVERIFIED, would_be=None, reasons=batch.reasons
            )
        elif device.would_be is Verdict.CONSISTENT:
            changed = replace(device, would_be=None, reasons=device.reasons + batch.reasons)
        else:
            changed = device
        result.append(changed)
    return tuple(result)


def overall(
    devices: tuple[DeviceResult, ...], batch: BatchResult
) -> tuple[Verdict, Verdict | None]:
    """Return the verdict over everything, and what it would be on live evidence if that differs."""
    sold = [device for device in devices if device.in_sale]
    verdict = worst([*[device.verdict for device in sold], batch.verdict])
    would_be = worst(
        [
            *[device.would_be or device.verdict for device in sold],
            batch.would_be or batch.verdict,
        ]
    )
    if not sold:
        verdict = would_be = worst([Verdict.UNVERIFIED, batch.verdict])
    return verdict, would_be if would_be is not verdict else None
