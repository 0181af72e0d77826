"""The capacity proof as a task of the worker, and its evidence as the parent reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpuverify.measure.capacity import prove
from gpuverify.measure.capacity_evidence import CapacityEvidence, Failure
from gpuverify.measure.capacity_plan import CapacityPlan
from gpuverify.measure.driver_api import OpenDevice
from gpuverify.measure.reference import Keys
from gpuverify.measure.watchdog import ChildOutcome, Ending
from gpuverify.measure.worker import Talk

TASK = "capacity"


def run(device: OpenDevice, keys: Keys, plan: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
    """Run the proof in the child."""
    evidence = prove(
        device,
        keys,
        CapacityPlan.from_json(plan),
        talk.report,
        gate=talk.gate,
        keep=lambda known: talk.keep(known.to_json()),
    )
    return evidence.to_json()


_KINDS = {
    Ending.STALLED: "stalled",
    Ending.OVERDUE: "overdue",
    Ending.STOPPED: "stopped",
    Ending.DIED: "died",
}


def evidence_of(outcome: ChildOutcome) -> CapacityEvidence:
    """Return what a child found out, also where it did not live to say so.

    Args:
        outcome: How the child ended.
    """
    data = outcome.evidence.get(TASK)
    if data is not None:
        return CapacityEvidence.from_json(data)
    partial = outcome.partial.get(TASK)
    known = (
        CapacityEvidence(
            uuid=outcome.opened.get("uuid", ""),
            pci_bus_id=outcome.opened.get("pci_bus_id", ""),
            k0=0,
            k1=0,
            claimed_bytes=outcome.opened.get("total_bytes", 0),
        )
        if partial is None
        else CapacityEvidence.from_json(partial)
    )
    last, said = outcome.last_progress, outcome.failed
    failure = Failure(
        phase=last.phase if last is not None else "open",
        kind="call" if said else _KINDS.get(outcome.ending, "died"),
        call=said.get("call", ""),
        status=said.get("status", ""),
        code=said.get("code", 0),
        offset_bytes=last.offset_bytes if last is not None else None,
    )
    return replace(known, failure=failure)
