"""A driver that fails in every call in turn: the card vanishes, hangs, has no memory, or errs.

The shipped worker runs in this process over an emulated card; between it and the library stands
a layer that fails the call that is due. Real processes with real hangs are in
`test_every_call_live.py`.
"""

from __future__ import annotations

import ctypes
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.collect.measure import Measured, _split
from gpuverify.collect.replay import replay_case, replay_recording
from gpuverify.measure import (
    endings,
    fingerprint,
    fingerprint_link,
    fingerprint_peer,
    run,
    worker,
)
from gpuverify.measure.capacity_plan import MIB, CapacityPlan
from gpuverify.measure.driver_api import Driver, DriverError, DriverUnavailable
from gpuverify.measure.fingerprint import STEPS
from gpuverify.measure.fingerprint_compute import CHAINS, TENSOR
from gpuverify.measure.fingerprint_peer import PEER_CLAIM as PEER
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.plan import MeasurePlan, MeasureRequest
from gpuverify.measure.run import MeasureOutcome, measure_cards
from gpuverify.measure.safety import Card
from gpuverify.measure.watchdog import ChildOutcome, Ending, StateFile
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.finding import Outcome
from gpuverify.model.telemetry import NoTelemetry
from gpuverify.model.verdict import Verdict
from gpuverify.refdb import Database
from gpuverify.sources.cases import load_case
from gpuverify.testing.cuda import NoCompilerError, card, fake_cuda

KINDS = ("vanish", "hang", "memory", "error")
CASE = "ga100/a100-sxm4-80gb"
CLAIMED_MIB = 81_086
BUSES = ("00000000:07:00.0", "00000000:0F:00.0")
GIVING_BACK = ("cuMemFree_v2", "cuModuleUnload", "cuDevicePrimaryCtxRelease_v2")
BAD = (Outcome.WARN, Outcome.FAIL)
TOLD = ("capacity.class", "capacity.detectors", "fingerprint.valid")
CAPACITY = CapacityPlan(
    dwell_ms=0,
    reserve_bytes=2 * MIB,
    chunk_bytes=2 * MIB,
    limit_bytes=8 * MIB,
    digest_blocks=0,
    pages=2,
    butterfly_samples=2,
    planted_faults=2,
    records=8,
)
TINY = FingerprintPlan(
    threads=32,
    sms=1,
    blocks_per_sm=1,
    repeats=1,
    iterations=8,
    census_iterations=2,
    memory_bytes=MIB,
    memory_passes=1,
    latency_hops=64,
    latency_warm_hops=64,
    latency_largest_bytes=4 * MIB,
    latency_steps=False,
    l2_periods=(2,),
    l2_loads=64,
    pcie_bytes=MIB,
    pcie_passes=1,
    pcie_hold_ms=0,
    peer_bytes=MIB,
    load_ms=0,
)
VANISHED = (46, 214, 700, 719, 999)
NONCE = secrets.token_bytes(16)


class HungError(BaseException):
    """Stands for a call that never returns: nothing after it is ever reached."""


@dataclass
class Layer:
    """Stands before a library: counts the calls of the card under test and fails the one due.

    Attributes:
        kind: vanish, hang, memory, error; "" for none.
        at: Which call.
        code: What fails a call.
        made: Calls so far.
        names: The calls, in order.
        armed: Whether calls are counted: those of the sister are not.
    """

    library: Any
    kind: str = ""
    at: int = 0
    code: int = 999
    made: int = 0
    names: list[str] = field(default_factory=list)
    armed: bool = True

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name)
        # Asking for the name of an error is no call about the card.
        return (
            function
            if name in ("cuGetErrorName", "gpuverifyEmulatorClockNs")
            else _Between(self, name, function)
        )

    def due(self, name: str) -> int:
        """Return what the call has to answer, 0 to let it through."""
        if not self.armed:
            return 0
        self.made += 1
        self.names.append(name)
        if self.kind == "vanish" and self.at <= self.made:
            return self.code
        if self.made != self.at or not self.kind:
            return 0
        if self.kind == "hang":
            raise HungError(name)
        return self.code


class _Between:
    """One function of the layer, with the types that the driver gives it."""

    argtypes: Any = None
    restype: Any = None

    def __init__(self, layer: Layer, name: str, function: Any) -> None:
        self._layer, self._name, self._function = layer, name, function

    def __call__(self, *arguments: Any) -> int:
        code = self._layer.due(self._name)
        if code:
            return code
        self._function.argtypes, self._function.restype = self.argtypes, ctypes.c_int
        return int(self._function(*arguments))


class InProcess:
    """Does what a child does, at once and in this process; nothing of it outlives a hang."""

    layer: Layer
    sisters: dict[str, str]  # what an honest card's child wrote, by request

    def __init__(self, request: worker.Request, state_path: Path, **_: Any) -> None:
        self.waiting_at = ""
        self.outcome = ChildOutcome()
        tested = request.pci_bus_id == BUSES[0]
        key = request.to_json()
        if tested or key not in self.sisters:
            self.layer.armed = tested
            ending = self._work(request, state_path)
            self.layer.armed = True
            if not tested:
                self.sisters[key] = state_path.read_text(encoding="ascii")
        else:
            state_path.write_text(self.sisters[key], encoding="ascii")
            ending = Ending.DONE
        reader = StateFile(state_path, self.outcome)
        reader.read()
        self.outcome.ending = ending
        self.outcome.reason = "no progress for 60 s" if ending is Ending.STALLED else ""

    def _work(self, request: worker.Request, state_path: Path) -> Ending:
        with state_path.open("w", encoding="ascii") as stream:
            try:
                code = worker.run(request, worker.State(stream), None)
            except HungError:
                return Ending.STALLED
            finally:
                self._end()
        return Ending.DONE if code == 0 else Ending.FAILED

    def _end(self) -> None:
        """Let the contexts go, as the kernel does where a process ends."""
        for device in range(len(BUSES)):
            while not self.layer.library.cuDevicePrimaryCtxRelease_v2(ctypes.c_int(device)):
                pass

    def poll(self) -> bool:
        return True

    def open_gate(self) -> None:
        raise AssertionError

    def stop(self, reason: str) -> None:
        raise AssertionError(reason)


def loaded(_: str | None = None) -> Driver:
    """Stand in for loading a library: the layer over the one that is loaded."""
    driver = Driver(InProcess.layer, "layer")
    try:
        driver.init()
    except DriverError as error:
        raise DriverUnavailable(error.status, error.code, error.call, error.detail) from None
    return driver


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    uuid = str(replay_case(CASE).devices[0].claims.value("gpu.uuid"))
    first = card(
        "a100-80", uuid=uuid, claimed_mib=CLAIMED_MIB, l2_bytes=MIB, pci_bus_id=BUSES[0][4:]
    )
    second = card("a100-80", index=1, claimed_mib=64, l2_bytes=MIB, pci_bus_id=BUSES[1][4:])
    try:
        with fake_cuda([first, second], threads=1) as made, pytest.MonkeyPatch.context() as patch:
            InProcess.sisters = {}
            patch.setattr(Driver, "load", staticmethod(loaded))
            patch.setattr(run, "Child", InProcess)
            patch.setattr(run, "_TICK_S", 0)
            patch.setattr(FingerprintPlan, "emulated", lambda plan: plan)
            patch.setattr(fingerprint_link, "_SMALL_COPIES", 2)
            patch.setattr(fingerprint_peer, "_PASSES", 1)
            patch.setattr(os, "fsync", lambda number: None)
            yield ctypes.CDLL(made.path)
    except NoCompilerError as error:
        pytest.skip(str(error))


def measured(library: Any, kind: str = "", at: int = 0, **plan: Any) -> MeasureOutcome:
    """Measure two cards, of which the first fails at a call."""
    code = {"memory": 2, "vanish": VANISHED[at % len(VANISHED)]}.get(kind, 999)
    InProcess.layer = Layer(library, kind, at, code)
    values: dict[str, Any] = {
        "level": "full",
        "capacity": CAPACITY,
        "shortened": TINY,
        "peers": False,
    }
    request = MeasureRequest(plan=MeasurePlan(**values | plan), nonce=NONCE, library="layer")
    cards = [Card(bus_id=bus, total_bytes=64 * MIB) for bus in BUSES]
    return measure_cards(cards, request, NoTelemetry())


def said(outcome: MeasureOutcome, bus: int, claim_id: str) -> Claim:
    (found,) = [
        c for c in outcome.devices[BUSES[bus]] if (c.id, c.source) == (claim_id, Source.MEASURED)
    ]
    return found


def state(outcome: MeasureOutcome, bus: int = 0) -> str:
    return str(said(outcome, bus, "measure.state").value)


class Judge:
    """Judges each distinct outcome once, as `check` would for a card sold as what it is."""

    def __init__(self) -> None:
        self.seen: dict[object, int] = {}
        self._database = Database.open()
        self._sale = load_sale_claim("a100-sxm4-80gb", None, None, None, self._database)

    def __call__(self, outcome: MeasureOutcome) -> int:
        claims = outcome.devices[BUSES[0]]
        shape = frozenset(
            (c.id, c.source, c.status, c.value if c.id in TOLD else "") for c in claims
        ) | {(state(outcome).partition(":")[0],)}
        if shape not in self.seen:
            self.seen[shape] = self._exit_code(outcome, claims)
        return self.seen[shape]

    def _exit_code(self, outcome: MeasureOutcome, claims: list[Claim]) -> int:
        def measurer(devices: object, progress: object) -> Measured:
            return Measured(readings=_split(outcome.host, {BUSES[0]: claims}))

        recording = load_case(CASE).recording
        evidence = replay_recording(recording, origin="every call", measure=measurer)
        policy = load_policy("standard")
        result = appraise(evidence, self._sale, policy, self._database, now_ms=1_795_262_400_000)
        worst = [
            f"{f.rule}/{f.code}" for d in result.devices for f in d.findings if f.outcome in BAD
        ]
        assert set(worst) <= {"condition.memory-cells/lost", "condition.device-lost/lost"}, worst
        assert result.would_be not in (Verdict.CONSISTENT, Verdict.MISMATCH, Verdict.SUSPECT)
        return result.exit_code


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def check_common(outcome: MeasureOutcome, judge: Judge) -> None:
    """What holds whatever went wrong: the sister is well, each claim has one end, exit 1 or 3.

    A card that went away is a defect (1); one that could not be measured is unverified (3).
    """
    assert state(outcome, 1) == "done"
    assert said(outcome, 1, "capacity.class").value == "whole"
    claims = outcome.devices[BUSES[0]]
    assert len({(c.id, c.source) for c in claims}) == len(claims)
    for claim in claims:
        assert claim.ok or claim.raw_text, claim
        assert "Traceback" not in str(claim.raw_text)
    away = any(c.status is ClaimStatus.DEVICE_LOST or c.value == "lost" for c in claims)
    assert judge(outcome) == (1 if away else 3)


# Until the memory is proven


def check_capacity(outcome: MeasureOutcome, kind: str, name: str) -> None:
    """The class that a failure in opening, asking or proving the memory has to have."""
    ending, _, why = state(outcome).partition(":")
    found = said(outcome, 0, "capacity.class")
    if not found.ok:
        # It never came to be opened.
        wanted = {"hang": (ClaimStatus.TIMED_OUT,)}.get(
            kind, (ClaimStatus.FAILED, ClaimStatus.DEVICE_LOST)
        )
        assert found.status in wanted
        assert ending == ("timed-out" if kind == "hang" else "failed")
        assert kind == "hang" or why.strip()
        return
    if kind == "vanish":
        assert (ending, found.value) in {("lost", "lost"), ("done", "whole")}
        assert found.value == "lost" or name in GIVING_BACK
    elif kind == "hang":
        assert ending == "timed-out"
        assert found.value == "lost" or name == "cuDevicePrimaryCtxRelease_v2"
    else:
        assert ending == "done"
        kinds = {"memory": ("invalid", "short", "whole"), "error": ("invalid", "whole")}
        assert found.value in kinds[kind]
        if kind == "memory" and found.value == "invalid":
            assert "out-of-memory" in str(found.raw_text)


@pytest.mark.required
@pytest.mark.parametrize("kind", KINDS)
def test_until_the_memory_is_proven(library: Any, judge: Judge, kind: str) -> None:
    whole = measured(library, fingerprint=False)
    names = list(InProcess.layer.names)
    assert state(whole) == "done"
    assert said(whole, 0, "capacity.class").value == "whole"
    assert len(names) > 150
    for at, name in enumerate(names, 1):
        outcome = measured(library, kind, at, fingerprint=False)
        try:
            check_capacity(outcome, kind, name)
            check_common(outcome, judge)
        except AssertionError as error:
            raise AssertionError(f"{kind} at call {at} of {len(names)}, {name}") from error


# The fingerprint, one measurement and the next


def check_fingerprint(
    outcome: MeasureOutcome, kind: str, steps: tuple[Any, ...], given: set[str]
) -> None:
    """The measurement that fails says why; what was known before is kept, the next goes on."""
    assert said(outcome, 0, "capacity.class").value == "whole"
    first, second = steps
    ending = state(outcome).partition(":")[0]
    assert ending in {"vanish": ("lost", "done"), "hang": ("timed-out",)}.get(kind, ("done",))
    known = {c.id: c for c in outcome.devices[BUSES[0]] if c.source is Source.MEASURED}
    for step in steps:
        statuses = {known[name].status for name in step.claims if name in known}
        # Work as little as here gives some values in no run at all.
        assert given & set(step.claims) <= set(known)
        if ending == "done":
            allowed = {ClaimStatus.OK} if step is second else {ClaimStatus.OK, ClaimStatus.FAILED}
        else:
            lost = ClaimStatus.DEVICE_LOST if ending == "lost" else ClaimStatus.TIMED_OUT
            allowed = {ClaimStatus.OK, lost}
        assert statuses <= allowed, (step.name, statuses)
        assert len(statuses) == 1
    if kind == "memory":
        failed = [known[name] for name in first.claims if name in known and not known[name].ok]
        assert all("out-of-memory" in str(claim.raw_text) for claim in failed)


@pytest.mark.required
@pytest.mark.parametrize("kind", KINDS)
def test_in_each_measurement_of_the_chip(
    library: Any, judge: Judge, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = replace(CAPACITY, limit_bytes=2 * MIB)
    measured(library, fingerprint=False, capacity=least)
    # What follows the last task, giving the context back, is no call of a measurement.
    before = len(InProcess.layer.names) - 1
    tried = 0
    census, clock = STEPS[:2]
    # The chains make the same calls one as another, and so do the tensor kernels: one of each.
    alike = [
        secrets.choice(tuple(CHAINS)),
        secrets.choice([n for n in TENSOR if n != "tensor_fp8"]),
    ]
    for step in STEPS:
        if step.name not in alike and step.name in (*CHAINS, *TENSOR):
            continue
        steps = (step, clock if step is census else census)
        for module in (fingerprint, endings):
            monkeypatch.setattr(module, "STEPS", steps[:1])
        measured(library, capacity=least)
        names = list(InProcess.layer.names)
        for module in (fingerprint, endings):
            monkeypatch.setattr(module, "STEPS", steps)
        given = {claim.id for claim in measured(library, capacity=least).devices[BUSES[0]]}
        while names[-1] in GIVING_BACK:
            names.pop()
        for at in range(before + 1, len(names) + 1):
            outcome = measured(library, kind, at, capacity=least)
            tried += 1
            try:
                check_fingerprint(outcome, kind, steps, given)
                check_common(outcome, judge)
            except AssertionError as error:
                where = f"{kind} at call {at} of {len(names)}, {step.name}, {names[at - 1]}"
                raise AssertionError(where) from error
    assert tried > 250


# Copies between cards


@pytest.mark.required
def test_while_cards_copy_to_each_other(
    library: Any, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fingerprint, endings):
        monkeypatch.setattr(module, "STEPS", STEPS[:1])
    least = replace(CAPACITY, limit_bytes=2 * MIB)
    measured(library, capacity=least)
    before = len(InProcess.layer.names)
    whole = measured(library, capacity=least, peers=True)
    names = list(InProcess.layer.names)
    assert said(whole, 0, PEER).ok
    assert len(names) > before + 60
    # The calls are many and much alike: each fails in one way, another one in each run.
    turn = secrets.randbelow(len(KINDS))
    for at in range(before + 1, len(names) + 1):
        kind = KINDS[(at + turn) % len(KINDS)]
        outcome = measured(library, kind, at, capacity=least, peers=True)
        try:
            assert state(outcome) == "done"
            assert said(outcome, 0, "capacity.class").value == "whole"
            assert said(outcome, 0, "fingerprint.sm_count").value == 108
            rates = [said(outcome, bus, PEER) for bus in (0, 1)]
            assert rates[0] == rates[1]
            wanted = {
                "hang": {ClaimStatus.TIMED_OUT},
                "vanish": {ClaimStatus.FAILED, ClaimStatus.DEVICE_LOST},
            }.get(kind, {ClaimStatus.FAILED})
            assert rates[0].status in {ClaimStatus.OK, *wanted}
            check_common(outcome, judge)
        except AssertionError as error:
            where = f"{kind} at call {at} of {len(names)}, {names[at - 1]}"
            raise AssertionError(where) from error
