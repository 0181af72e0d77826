"""What a fingerprint gives: integers by claim id, and why each of the others is missing."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuverify.errors import UsageError


class StepState(enum.Enum):
    """How one measurement ended."""

    DONE = "done"
    INVALID = "invalid"
    """A result was wrong: the timing means nothing. It accuses nobody."""
    REFUSED = "refused"
    """The card or the driver cannot be asked that."""
    FAILED = "failed"
    """The driver failed; the device still answers."""
    LOST = "lost"
    """The device was lost here or before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintResult:
    """The fingerprint of one card.

    Attributes:
        values: Integers by claim id.
        void: Why, by claim id, for those whose exact results came out wrong.
        refused: Why, by claim id, for those that could not be measured.
        states: How each measurement ended, by its name.
        seen: What was seen of the card under load, by claim id; empty where nobody looked.
        trace_khz: SM clock of each slice of the load.
        details: Further integers for whoever studies the run; never judged.
        emulated: Whether the driver is an emulation.
    """

    values: Mapping[str, int] = field(default_factory=dict)
    void: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, StepState] = field(default_factory=dict)
    seen: Mapping[str, int | str] = field(default_factory=dict)
    trace_khz: tuple[int, ...] = ()
    details: Mapping[str, int] = field(default_factory=dict)
    emulated: bool = False

    @property
    def valid(self) -> bool:
        """Whether every result that was recomputed was right."""
        return not self.void

    @property
    def lost(self) -> bool:
        """Whether the device was lost on the way."""
        return StepState.LOST in self.states.values()

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "values": dict(self.values),
            "void": dict(self.void),
            "refused": dict(self.refused),
            "states": {name: state.value for name, state in self.states.items()},
            "seen": dict(self.seen),
            "trace_khz": list(self.trace_khz),
            "details": dict(self.details),
            "emulated": self.emulated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FingerprintResult:
        """Build a result from a JSON object.

        Raises:
            UsageError: It is none.
        """
        try:
            return cls(
                values={str(k): int(v) for k, v in data["values"].items()},
                void={str(k): str(v) for k, v in data["void"].items()},
                refused={str(k): str(v) for k, v in data["refused"].items()},
                states={str(k): StepState(v) for k, v in data["states"].items()},
                seen={str(k): v for k, v in data["seen"].items()},
                trace_khz=tuple(int(khz) for khz in data["trace_khz"]),
                details={str(k): int(v) for k, v in data["details"].items()},
                emulated=bool(data["emulated"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"not a fingerprint: {error}") from None
