"""What a measurement will do, how long it takes and how hot it gets: said before it begins."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gpuverify.errors import UsageError
from gpuverify.measure.capacity_plan import GIB, CapacityPlan
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

# What is given up first on a card whose memory is slow for its size, until the plan keeps to its
# budget: at most so much of each. What a verdict stands on comes last, and all memory is always
# tested, however long that takes.
_ECONOMIES: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("chip", {"memory_passes": 4, "memory_bytes": 2 * GIB}),
    ("chip", {"load_ms": 3000}),
    ("chip", {"memory_passes": 2, "memory_bytes": GIB // 2}),
    ("capacity", {"digest_blocks": 12, "pages": 128}),
    ("capacity", {"dwell_ms": 1000}),
    ("chip", {"pcie_hold_ms": 300}),
    ("capacity", {"butterfly_stages": 2}),
    ("capacity", {"dwell_ms": 500, "digest_blocks": 6}),
    ("capacity", {"butterfly_stages": 1}),
)
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
        shortened: What the fingerprint does where that is less than its level does.
    """

    level: str
    capacity: CapacityPlan
    fingerprint: bool = True
    load_s: int = 0
    peers: bool = True
    shortened: FingerprintPlan | None = None

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
            took += self.chip.estimate_ms(card.total_bytes, rate)
        return took

    @property
    def chip(self) -> FingerprintPlan:
        """What the fingerprint does."""
        return self.shortened or FingerprintPlan.of(self.level, self.load_s * 1000)

    @property
    def budget_ms(self) -> int:
        """How long a card may take beyond allocation."""
        return BUDGET_S[self.level] * 1000

    def fitted(self, card: Card) -> MeasurePlan:
        """Return the plan with as little given up as keeps it within its budget on a card.

        Where even the least is more, for much memory that is slow, it stays more: a part of the
        memory would prove nothing.

        Args:
            card: The card.
        """
        plan = self
        for part, most in _ECONOMIES:
            if plan.estimate_ms(card) <= plan.budget_ms:
                break
            if part == "capacity":
                plan = replace(plan, capacity=_at_most(plan.capacity, most))
            else:
                plan = replace(plan, shortened=_at_most(plan.chip, most))
        return plan


_Plan = TypeVar("_Plan", CapacityPlan, FingerprintPlan)


def _at_most(plan: _Plan, most: Mapping[str, int]) -> _Plan:
    """Return a plan with some of its numbers lowered."""
    return replace(plan, **{name: min(getattr(plan, name), top) for name, top in most.items()})


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
        longest = max(plan.fitted(card).estimate_ms(card) for card in cards)
        pairs = len(cards) * (len(cards) - 1) // 2 if plan.peers and plan.fingerprint else 0
        budget = f"; {BUDGET_S[plan.level]} s a card are the most it plans with"
        if longest > plan.budget_ms:
            budget = f", not {BUDGET_S[plan.level]} s: there is much memory for its speed"
        copies = f"; then copies between cards, about {_seconds(pairs * _PAIR_MS)} s"
        lines.append(
            f"measuring {len(cards)} card{'s' if len(cards) != 1 else ''} at once ({plan.level}):"
            f" about {_seconds(longest)} s after allocation{budget}{copies if pairs else ''}"
        )
        lines.append("all free memory of each is overwritten and read back, and the chip is loaded")
        heats = [s.temperature_celsius for s in samples.values() if s.temperature_celsius]
        now = f"now {min(heats)} to {max(heats)} °C; " if heats else ""
        watched = f"a card is stopped at {STOP_CELSIUS} °C" if heats else "nobody watches the heat"
        lines.append(f"{now}power rises to the card's limit; {watched}")
        lines.append("clocks, ECC, MIG and persistence stay as they are; Ctrl-C stops at once")
    lines += [f"{bus_id} is not measured: {why}" for bus_id, why in sorted(refused.items())]
    return tuple(lines)


def _seconds(milliseconds: int) -> int:
    """Return whole seconds, rounded up."""
    return -(-milliseconds // 1000)
