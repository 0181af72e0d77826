"""What became of a card's measurement, in words and as the reason of what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpuverify.measure.attributes import claim_status
from gpuverify.measure.driver_status import DriverStatus
from gpuverify.measure.fingerprint import STEPS
from gpuverify.measure.fingerprint_result import StepState
from gpuverify.measure.watchdog import ChildOutcome, Ending
from gpuverify.model.claims import ClaimStatus

_STEP_STATUS = {
    StepState.FAILED.value: ClaimStatus.FAILED,
    StepState.LOST.value: ClaimStatus.DEVICE_LOST,
    StepState.REFUSED.value: ClaimStatus.NOT_SUPPORTED,
}


def kept(outcome: ChildOutcome, task: str) -> Mapping[str, Any]:
    """Return what is known of a task, also where the child did not live to finish it.

    Args:
        outcome: What the child left behind.
        task: Name of the task.
    """
    return outcome.evidence.get(task) or outcome.partial.get(task) or {}


def lost_in(outcome: ChildOutcome) -> str:
    """Return where the device was lost, "" if it was not.

    Args:
        outcome: What the child left behind.
    """
    failure = kept(outcome, "capacity").get("failure")
    if failure is not None and failure["gone"]:
        return str(failure["phase"])
    states = kept(outcome, "fingerprint").get("states", {})
    return next((name for name, state in states.items() if state == StepState.LOST.value), "")


def state_of(outcome: ChildOutcome) -> str:
    """Say how a card's measurement ended.

    Args:
        outcome: What its child left behind.
    """
    if outcome.ending in (Ending.STALLED, Ending.OVERDUE):
        return f"timed-out: {outcome.reason}"
    if outcome.ending is Ending.STOPPED:
        return outcome.reason if outcome.reason.startswith("stopped") else "stopped"
    if outcome.ending is Ending.FAILED:
        return f"failed: {outcome.failed.get('message', 'no reason given')}"
    if outcome.ending is Ending.DONE:
        # The child did its work to the end: that the card went away meanwhile is what it found.
        where = lost_in(outcome)
        return f"lost: the device stopped answering in {where}" if where else "done"
    last = outcome.complaint.strip().splitlines()[-1:] or [f"exit code {outcome.exit_code}"]
    return f"died: {last[0]}"


def status_of(outcome: ChildOutcome) -> ClaimStatus:
    """Return why a value is missing that the child did not come to.

    Args:
        outcome: What the child left behind.
    """
    if outcome.ending in (Ending.STALLED, Ending.OVERDUE):
        return ClaimStatus.TIMED_OUT
    if lost_in(outcome):
        return ClaimStatus.DEVICE_LOST
    said = outcome.failed.get("status", "")
    known = {status.value: status for status in DriverStatus}
    return claim_status(known[said]) if said in known else ClaimStatus.FAILED


def unfinished(outcome: ChildOutcome) -> Iterator[tuple[str, ClaimStatus, str]]:
    """Yield each claim of a fingerprint without a value: its id, why, and the same in words.

    Args:
        outcome: What the child left behind; one that was never asked for a fingerprint gives none.
    """
    finger = kept(outcome, "fingerprint")
    states, refused = finger.get("states", {}), finger.get("refused", {})
    for step in STEPS:
        state = states.get(step.name)
        for claim_id in step.claims:
            if state is not None and claim_id in refused:
                yield claim_id, _STEP_STATUS.get(state, ClaimStatus.FAILED), refused[claim_id]
            elif state is None and outcome.ending is not Ending.DONE:
                yield claim_id, status_of(outcome), state_of(outcome)
