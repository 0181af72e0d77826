"""What a measurement will do, how long it takes and how hot it gets: said before it begins."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuverify.errors import UsageError
from gpuverify.measure.capacity_plan import CapacityPlan
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.safety import STOP_CELSIUS, Card
from gpuverify.model.telemetry import Sample

LEVELS = ("quick", "full")
BUDGET_S = {"quick": 10, "full": 30}
"""Seconds a card beyond allocation that a level may plan with."""

_SLOW_KB_S = 300_000_000
"""Memory rate that is assumed where clock and width are not known: an old mid-range card."""
_REACHED_PERCENT = 75
_LOAD_S = {"quick": 0, "full": 6}
_PAIR_MS = 400

_NONCE = re.compile(r"(?:[0-9a-fA-F]{2}){8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """What is done to each card.

    Attributes:
        level: quick or full.
        capacity: The capacity proof.
        fingerprint: Whether the chip is measured too.
        load_s: Seconds of full load for heat and power.
        peers: Whether pairs of cards copy to each other.
    """

    level: str
    capacity: CapacityPlan
    fingerprint: bool = True
    load_s: int = 0
    peers: bool = True

    @classmethod
    def of(cls, level: str) -> MeasurePlan:
        """Return the plan of a level.

        Args:
            level: quick or full.
        """
        capacity = CapacityPlan.quick()
        if level == "full":
            # The budget of the level is shared with the fingerprint and the load.
            capacity = replace(CapacityPlan.full(), dwell_ms=2500, digest_blocks=24)
        return cls(level=level, capacity=capacity, load_s=_LOAD_S[level])

    def estimate_ms(self, card: Card) -> int:
        """Return how long a card is expected to take beyond allocation.

        Args:
            card: The card.
        """
        rate = card.peak_kb_s * _REACHED_PERCENT // 100 or _SLOW_KB_S
        took = self.capacity.estimate_ms(card.total_bytes, rate)
        if self.fingerprint:
            finger = FingerprintPlan.of(self.level, self.load_s * 1000)
            took += finger.estimate_ms(card.total_bytes, rate)
        return took


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """What the user asked for.

    Attributes:
        plan: What is done.
        nonce: Bytes that every test pattern is keyed with.
        anyway: Whether cards that others use are measured too.
        selected: Bus ids to measure; empty for all. What is left out stays unmeasured.
        library: CUDA library to load, None for the driver's own; anything else is never live.
        environment: Further environment of the processes that measure.
    """

    plan: MeasurePlan
    nonce: bytes
    anyway: bool = False
    selected: tuple[str, ...] = ()
    library: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def request(
    level: str, nonce: str | None = None, *, anyway: bool = False, selected: Sequence[str] = ()
) -> MeasureRequest:
    """Build a request from what stands on a command line.

    Args:
        level: quick or full.
        nonce: Hex digits; drawn where None.
        anyway: Whether cards that others use are measured too.
        selected: Bus ids to measure; none for all.

    Raises:
        UsageError: There is no such level, or the nonce is none.
    """
    if level not in LEVELS:
        raise UsageError(f"--measure {level}: there is none, quick and full")
    if nonce is None:
        drawn = secrets.token_bytes(16)
    elif _NONCE.fullmatch(nonce):
        drawn = bytes.fromhex(nonce)
    else:
        raise UsageError("--nonce takes 16 to 128 hex digits, an even number of them")
    return MeasureRequest(
        plan=MeasurePlan.of(level), nonce=drawn, anyway=anyway, selected=tuple(selected)
    )


def announcement(
    plan: MeasurePlan,
    cards: Sequence[Card],
    refused: Mapping[str, str],
    samples: Mapping[str, Sample],
) -> tuple[str, ...]:
    """Say what is about to happen, a sentence a line.

    Args:
        plan: What is done.
        cards: The cards that are measured.
        refused: Why, by bus id, for those that are not.
        samples: How each card is now.
    """
    lines = []
    if cards:
        longest = max(plan.estimate_ms(card) for card in cards)
        pairs = len(cards) * (len(cards) - 1) // 2 if plan.peers else 0
        seconds = -(-(longest + pairs * _PAIR_MS) // 1000)
        lines.append(
            f"measuring {len(cards)} card{'s' if len(cards) != 1 else ''} at once ({plan.level}):"
            f" about {seconds} s after allocation"
        )
        lines.append("all free memory of each is overwritten and read back, and the chip is loaded")
        heats = [s.temperature_celsius for s in samples.values() if s.temperature_celsius]
        now = f"now {min(heats)} to {max(heats)} °C; " if heats else ""
        watched = f"a card is stopped at {STOP_CELSIUS} °C" if heats else "nobody watches the heat"
        lines.append(f"{now}power rises to the card's limit; {watched}")
        lines.append("clocks, ECC, MIG and persistence stay as they are; Ctrl-C stops at once")
    lines += [f"{bus_id} is not measured: {why}" for bus_id, why in sorted(refused.items())]
    return tuple(lines)
