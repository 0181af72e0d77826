"""Policies: what a verdict of consistent requires, and the numbers that rules compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuverify.model.claims import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Numbers that a policy can set. Sources stand in docs/policies.md.

    Attributes:
        new_note_hours: With new claimed, hours up to which the meter is a note (burn-in).
        new_suspect_hours: Above this the meter contradicts "new"; between, it is suspect.
        max_hours_slack: Hours above a declared max_hours that are still accepted.
        new_remap_suspect_count: Correctable row remaps from which "new" is suspect.
        capacity_slack_percent: Percent by which a total may miss its value and be inconclusive.
        reserved_suspect_bytes: Reserved memory above which (and above twice the largest on file)
            the total is suspect.
        require_signed_module: Whether an unsigned kernel module holds the verdict at unverified.
        driver_min: Lowest driver branch accepted, 0 for none.
    """

    new_note_hours: int = 200
    new_suspect_hours: int = 1500
    max_hours_slack: int = 72
    new_remap_suspect_count: int = 3
    capacity_slack_percent: int = 1
    reserved_suspect_bytes: int = 3 * 512 * 1024 * 1024
    require_signed_module: bool = False
    driver_min: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a verdict requires.

    Attributes:
        name: Built-in name, or `custom:<sha256>`.
        sha256: Digest of the file it was read from.
        text: One line for people.
        required: Group name to the weakest basis that counts for it.
        neighbours: Weakest basis at which each confusable neighbour must be excluded; None where
            the policy asks for no exclusion (such a policy never yields consistent).
        measured_neighbours: Whether neighbours need a measured exclusion wherever a measured
            discriminator exists.
        optional_rules: Rules whose absence does not hold back consistent; printed as not examined.
        history_if_new: Whether the history group is required when new is claimed.
        driver_min: Lowest driver branch accepted, 0 for none.
        signed_module: Whether an unsigned module caps the verdict.
        condition_exit: Condition state from which exit 1 is given: "attention", "defective" or
            "never".
        measure: How much is measured where the command does not say: none, quick or full.
        may_be_consistent: False for policies that never exit 0.
        thresholds: Numbers for the rules.
    """

    name: str
    sha256: str
    text: str
    required: Mapping[str, Basis]
    neighbours: Basis | None
    measured_neighbours: bool = False
    optional_rules: tuple[str, ...] = ()
    history_if_new: bool = True
    driver_min: int = 0
    signed_module: bool = False
    condition_exit: str = "defective"
    measure: str = "none"
    may_be_consistent: bool = True
    thresholds: Thresholds = Thresholds()
