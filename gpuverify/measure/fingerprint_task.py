"""The fingerprint as a task of the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuverify.errors import UsageError
from gpuverify.measure.driver_api import OpenDevice
from gpuverify.measure.fingerprint import measure
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.reference import Keys
from gpuverify.measure.worker import Talk

TASK = "fingerprint"


def plan_of(data: Mapping[str, Any]) -> FingerprintPlan:
    """Read a plan: either its fields, or a level with the seconds of load.

    Args:
        data: JSON object.

    Raises:
        UsageError: It is neither.
    """
    if "level" not in data:
        return FingerprintPlan.from_json(data)
    seconds = data.get("load_s")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int)):
        raise UsageError("fingerprint plan: load_s has to be whole seconds")
    return FingerprintPlan.of(str(data["level"]), None if seconds is None else seconds * 1000)


def run(device: OpenDevice, keys: Keys, plan: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
    """Take the fingerprint in the child.

    Args:
        device: The open device.
        keys: Keys made from the nonce and the device's identity.
        plan: A plan's fields, or {"level": ..., "load_s": ...}.
        talk: How to speak to the parent.

    Returns:
        The result as JSON.
    """
    result = measure(
        device,
        keys,
        plan_of(plan),
        talk.report,
        keep=lambda known: talk.keep(known.to_json()),
    )
    return result.to_json()
