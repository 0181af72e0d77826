"""The joint run: all cards of the host in one window, each in a process of its own, watched.

All cards hold their memory before any is written, and hold it until all were verified, so that one
good card cannot stand in for two. Copies between cards come last, one pair at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from gpuverify.measure import safety
from gpuverify.measure.attributes import read_claim
from gpuverify.measure.capacity_classify import CapacityResult, classify
from gpuverify.measure.capacity_confirm import SETTLED, confirm
from gpuverify.measure.capacity_task import evidence_of
from gpuverify.measure.endings import kept, state_of, status_of, unfinished
from gpuverify.measure.plan import MeasureRequest, announcement
from gpuverify.measure.progress import Progress
from gpuverify.measure.results import capacity_claims, claim, fingerprint_claims, missing
from gpuverify.measure.safety import Card
from gpuverify.measure.watchdog import Child, ChildOutcome, Ending
from gpuverify.measure.watched import Watched, window_claims
from gpuverify.measure.worker import Request
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.telemetry import Telemetry

_TICK_S = 0.02
_SAMPLE_S = 0.25
_SPARE_MS = 120_000
_PEER_CLAIM = "fingerprint.peer_kb_s"
ENVIRONMENT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_CACHE_DISABLE": "1"}
"""Nothing is left behind in the user's cache of compiled kernels."""


class Display(Protocol):
    """Shows what is about to happen, and how far each card is."""

    def announce(self, lines: Sequence[str]) -> None:
        """Say what is about to happen.

        Args:
            lines: A sentence each.
        """
        ...

    def update(self, bus_id: str, progress: Progress) -> None:
        """Show how far a card is.

        Args:
            bus_id: The card.
            progress: How far.
        """
        ...

    def ended(self, bus_id: str, text: str) -> None:
        """Show how a card ended.

        Args:
            bus_id: The card.
            text: A few words.
        """
        ...

    def close(self) -> None:
        """End the display."""
        ...


@dataclass(slots=True, kw_only=True)
class MeasureOutcome:
    """What came of a run.

    Attributes:
        host: Claims about the host.
        devices: Claims of CUDA and of the measurement by bus id.
        emulated: Whether anything was measured through an emulated driver.
    """

    host: list[Claim] = field(default_factory=list)
    devices: dict[str, list[Claim]] = field(default_factory=dict)
    emulated: bool = False


def measure_cards(
    cards: Sequence[Card],
    request: MeasureRequest,
    telemetry: Telemetry,
    display: Display | None = None,
) -> MeasureOutcome:
    """Measure all cards of a host.

    Args:
        cards: Every NVIDIA function of the host.
        request: What the user asked for.
        telemetry: Looks on.
        display: Shows how far it is, None to show nothing.

    Returns:
        Claims; whatever went wrong with a card is among them.
    """
    with tempfile.TemporaryDirectory(prefix="gpuverify-measure-") as folder:
        run = _Run(cards, request, telemetry, display, Path(folder))
        try:
            return run.run()
        finally:
            run.stop_all()
            if display is not None:
                display.close()


class _Run:
    """One run."""

    def __init__(
        self,
        cards: Sequence[Card],
        request: MeasureRequest,
        telemetry: Telemetry,
        display: Display | None,
        folder: Path,
    ) -> None:
        self.request = request
        self.telemetry = telemetry
        self.display = display
        self.folder = folder
        self.cards = {card.bus_id: card for card in cards}
        self.plans = {card.bus_id: request.plan.fitted(card) for card in cards}
        self.refused: dict[str, str] = {}
        self.watched: dict[str, Watched] = {}
        self.outcomes: dict[str, ChildOutcome] = {}
        self.results: dict[str, CapacityResult] = {}
        self.peers: dict[str, int] = {}
        self.peer_void: dict[str, str] = {}
        self.peer_missing: dict[str, tuple[ClaimStatus, str]] = {}
        self.held_at_once = False
        self._children: dict[str, Child] = {}
        self._sampled = 0.0
        self._number = 0

    def run(self) -> MeasureOutcome:
        """Do everything, in order."""
        samples = {bus_id: self.telemetry.sample(bus_id) for bus_id in self.cards}
        for bus_id, card in self.cards.items():
            why = safety.refusal(card, samples[bus_id], anyway=self.request.anyway)
            if self.request.selected and bus_id not in self.request.selected:
                why = "it was left out"
            if why:
                self.refused[bus_id] = why
            else:
                self.watched[bus_id] = Watched(before=samples[bus_id])
        chosen = [card for bus_id, card in self.cards.items() if bus_id in self.watched]
        if self.display is not None:
            self.display.announce(
                announcement(
                    self.request.plan,
                    chosen,
                    self.refused,
                    {card.bus_id: samples[card.bus_id] for card in chosen},
                )
            )
        if chosen:
            self._window(chosen)
            self._judge()
            self._repeat()
            self._copy_between()
        return self._outcome()

    def stop_all(self) -> None:
        """End every child that still runs."""
        for child in self._children.values():
            child.stop("the run was ended")

    # The joint window

    def _window(self, chosen: Sequence[Card]) -> None:
        """Run all cards between common gates."""
        for card in chosen:
            plan = self.plans[card.bus_id]
            tasks: list[tuple[str, Mapping[str, Any]]] = [
                ("attributes", {}),
                ("capacity", plan.capacity.to_json()),
            ]
            if plan.fingerprint:
                tasks.append(("fingerprint", plan.chip.to_json()))
            self._children[card.bus_id] = self._start(card.bus_id, tuple(tasks), gated=True)
        for gate in ("allocated", "verified"):
            held = self._until(gate)
            if gate == "allocated":
                self._look_at_held()
                self.held_at_once = len(held) == len(self.cards)
            for bus_id in held:
                self._children[bus_id].open_gate()
        self._until("")

    def _start(
        self,
        bus_id: str,
        tasks: tuple[tuple[str, Mapping[str, Any]], ...],
        *,
        gated: bool = False,
        nonce: bytes | None = None,
    ) -> Child:
        """Start the child of a card."""
        plan = self.plans[bus_id]
        self._number += 1
        spare_ms = _SPARE_MS + plan.chip.load_ms
        return Child(
            Request(
                pci_bus_id=bus_id,
                nonce=(nonce or self.request.nonce).hex(),
                tasks=tasks,
                library=self.request.library or "",
                gated=gated,
            ),
            self.folder / f"{self._number}.jsonl",
            stall_ms=plan.capacity.stall_ms,
            deadline_ms=plan.capacity.deadline_ms + spare_ms,
            environment={**ENVIRONMENT, **self.request.environment},
        )

    def _until(self, gate: str) -> list[str]:
        """Watch all children until each waits at a gate or has ended; return those that wait.

        Any other gate is opened; without one, all are watched to their end.
        """
        while True:
            self._sample()
            waiting = []
            busy = False
            for bus_id, child in list(self._children.items()):
                if child.poll():
                    self._ended(bus_id, child)
                elif gate and child.waiting_at == gate:
                    waiting.append(bus_id)
                else:
                    busy = True
                    self._show(bus_id, child)
                    if child.waiting_at:
                        child.open_gate()
            if not busy:
                return waiting
            time.sleep(_TICK_S)

    def _ended(self, bus_id: str, child: Child) -> None:
        """Keep what a child left behind."""
        del self._children[bus_id]
        self.outcomes[bus_id] = child.outcome
        if self.display is not None:
            self.display.ended(bus_id, state_of(child.outcome))

    def _show(self, bus_id: str, child: Child) -> None:
        """Show how far a card is."""
        last = child.outcome.last_progress
        if self.display is not None and last is not None:
            heat = self.watched[bus_id].last.temperature_celsius
            self.display.update(bus_id, replace(last, temperature_celsius=heat))

    def _sample(self) -> None:
        """Look at the cards from outside, and stop one that is too hot."""
        now = time.monotonic()
        if now - self._sampled < _SAMPLE_S:
            return
        self._sampled = now
        for bus_id, child in self._children.items():
            sample = self.telemetry.sample(bus_id)
            last = child.outcome.last_progress
            watched = self.watched.get(bus_id)
            if watched is not None:
                watched.take(sample, last.phase if last is not None else "")
            heat = safety.too_hot(sample)
            if heat:
                child.stop(heat)

    def _look_at_held(self) -> None:
        """Note which cards hold memory while all of it is held."""
        for bus_id, watched in self.watched.items():
            watched.held = self.telemetry.sample(bus_id)

    # What follows

    def _judge(self) -> None:
        """Judge each capacity proof."""
        for bus_id, outcome in self.outcomes.items():
            if outcome.opened:
                self.results[bus_id] = classify(evidence_of(outcome))

    def _repeat(self) -> None:
        """Run once more, in a fresh process, what would speak against a card."""
        again = [
            bus_id
            for bus_id, result in self.results.items()
            if result.repeat and result.kind not in SETTLED
        ]
        first = {bus_id: self.outcomes[bus_id] for bus_id in again}
        # Other keys, that follow from the nonce: what was remembered of the first run is no use.
        nonce = hashlib.sha256(self.request.nonce + b"again").digest()
        for bus_id in again:
            task = ("capacity", self.plans[bus_id].capacity.to_json())
            self._children[bus_id] = self._start(bus_id, (task,), nonce=nonce)
        self._until("")
        for bus_id in again:
            second = classify(evidence_of(self.outcomes[bus_id]))
            self.results[bus_id] = confirm(self.results[bus_id], second)
        self.outcomes.update(first)

    def _copy_between(self) -> None:
        """Copy between the cards that are well, one pair at a time."""
        good = [b for b, o in self.outcomes.items() if state_of(o) == "done"]
        if not self.request.plan.peers or not self.request.plan.fingerprint or len(good) < 2:
            return
        plan = {"bus_ids": good, "level": self.request.plan.level}
        self._children[good[0]] = self._start(good[0], (("peers", plan),))
        first = self.outcomes[good[0]]
        self._until("")
        copied, self.outcomes[good[0]] = self.outcomes[good[0]], first
        found = kept(copied, "peers")
        self.peers = {str(bus_id): int(rate) for bus_id, rate in found.get("rates", {}).items()}
        self.peer_void = {str(b): str(why) for b, why in found.get("void", {}).items()}
        refused = found.get("refused", {})
        for bus_id in good:
            if bus_id in refused:
                self.peer_missing[bus_id] = (ClaimStatus.FAILED, str(refused[bus_id]))
            elif copied.ending is not Ending.DONE:
                self.peer_missing[bus_id] = (status_of(copied), state_of(copied))

    # Claims

    def _outcome(self) -> MeasureOutcome:
        """Turn everything into claims."""
        left = sorted(set(self.cards) - set(self.outcomes))
        made = MeasureOutcome(
            host=[
                claim("measure.level", self.request.plan.level),
                claim("measure.nonce", self.request.nonce.hex()),
                claim("measure.window", self.held_at_once),
                claim("measure.unmeasured", ",".join(left)),
            ]
        )
        for bus_id in self.cards:
            claims = made.devices.setdefault(bus_id, [])
            if bus_id in self.refused:
                claims.append(claim("measure.state", f"refused: {self.refused[bus_id]}"))
                continue
            outcome = self.outcomes[bus_id]
            claims.append(claim("measure.state", state_of(outcome)))
            self._card(bus_id, outcome, claims)
            made.emulated |= bool(outcome.evidence.get("attributes", {}).get("emulated"))
        made.host += _sources(self.outcomes)
        return made

    def _card(self, bus_id: str, outcome: ChildOutcome, claims: list[Claim]) -> None:
        """Add the claims of one card that was measured."""
        status, state = status_of(outcome), state_of(outcome)
        attributes = outcome.evidence.get("attributes")
        if attributes is not None:
            claims += [read_claim(row) for row in attributes["claims"]]
        else:
            claims.append(missing("cuda.status", status, state, source=Source.CUDA))
        result = self.results.get(bus_id)
        if result is not None:
            claims += capacity_claims(result)
        else:
            claims.append(missing("capacity.class", status, state, "capacity proof"))
        finger = kept(outcome, "fingerprint")
        values, void = {**finger.get("values", {})}, {**finger.get("void", {})}
        absent = {}
        if self.request.plan.fingerprint:
            absent = {claim_id: (why, text) for claim_id, why, text in unfinished(outcome)}
        if bus_id in self.peer_void:
            void[_PEER_CLAIM] = self.peer_void[bus_id]
        elif bus_id in self.peers:
            values[_PEER_CLAIM] = self.peers[bus_id]
        elif bus_id in self.peer_missing:
            absent[_PEER_CLAIM] = self.peer_missing[bus_id]
        claims += fingerprint_claims(values, void, absent)
        claims += window_claims(self.watched[bus_id], result)


def _sources(outcomes: Mapping[str, ChildOutcome]) -> list[Claim]:
    """Say how CUDA answered as a whole."""
    if not outcomes or any(outcome.opened for outcome in outcomes.values()):
        return []
    said = next(iter(outcomes.values()))
    absent = said.failed.get("status") in ("no-library", "no-device")
    status = ClaimStatus.NOT_FOUND if absent else status_of(said)
    return [
        missing("source.cuda", status, state_of(said), source=Source.CUDA),
        missing("source.measured", status, state_of(said)),
    ]
