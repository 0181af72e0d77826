"""From a result to the exit code of the command-line contract."""

from __future__ import annotations

from collections.abc import Iterable

from gpuverify.model.policy import Policy
from gpuverify.model.verdict import ConditionState, DeviceResult, Result, Verdict

CONSISTENT = 0
SUSPECT = 1
MISMATCH = 2
UNVERIFIED = 3

_CONDITION_RANK = {
    ConditionState.UNKNOWN: 0,
    ConditionState.NO_FAULT_SEEN: 0,
    ConditionState.ATTENTION: 1,
    ConditionState.DEFECTIVE: 2,
}
_THRESHOLD_RANK = {"attention": 1, "defective": 2, "never": 3}


def exit_code(result: Result, policy: Policy) -> int:
    """Return the exit code for one result.

    Args:
        result: The result; its own `exit_code` is not read.
        policy: For the condition from which exit 1 is given.
    """
    return code_for(result.verdict, result.would_be, result.devices, policy)


def code_for(
    verdict: Verdict, would_be: Verdict | None, devices: Iterable[DeviceResult], policy: Policy
) -> int:
    """Return the exit code for the verdict over some devices.

    A would-be 1 or 2 of a replay keeps its code; everything else that is not live ends in 3.

    Args:
        verdict: Over all of them.
        would_be: What it would be on live evidence, None where that is the verdict.
        devices: For their condition.
        policy: For the condition from which exit 1 is given.
    """
    judged = would_be or verdict
    if judged is Verdict.MISMATCH:
        return MISMATCH
    if judged is Verdict.SUSPECT:
        return SUSPECT
    threshold = _THRESHOLD_RANK[policy.condition_exit]
    worst = max([_CONDITION_RANK[device.condition] for device in devices if device.in_sale] or [0])
    if worst >= threshold:
        return SUSPECT
    return CONSISTENT if verdict is Verdict.CONSISTENT else UNVERIFIED
