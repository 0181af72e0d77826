"""Copies from card to card, one pair at a time, with the content compared where it arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from gpuverify.errors import UsageError
from gpuverify.measure.driver_api import Driver, DriverError, OpenDevice
from gpuverify.measure.fingerprint_analysis import median, rate_kb_s
from gpuverify.measure.fingerprint_bench import (
    Bench,
    NotMeasurableError,
    Report,
    WrongResultError,
)
from gpuverify.measure.fingerprint_link import compare_pages, write_pattern
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.reference import Keys
from gpuverify.measure.worker import Talk, find_device

PEER_CLAIM = "fingerprint.peer_kb_s"
STEP = "peers"
_PASSES = 3


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a pair."""

    device: OpenDevice
    bench: Bench

    def use(self) -> None:
        """Make its context current."""
        self.device.make_current()


def measure_pair(
    driver: Driver,
    first: int,
    second: int,
    nonce: bytes,
    report: Report,
    plan: FingerprintPlan | None = None,
) -> FingerprintResult:
    """Measure copies between two devices both ways; the better way counts.

    Args:
        driver: The driver.
        first: Ordinal of one device.
        second: Ordinal of the other.
        nonce: What the content is keyed with.
        report: Called before each way.
        plan: How much is copied, that of the level full where None.

    Returns:
        The rate one way; a driver that failed is in it, never raised.
    """
    plan = plan or FingerprintPlan.full()
    try:
        with OpenDevice.open(driver, first) as one, OpenDevice.open(driver, second) as two:
            ends = [_End(device, _bench(device, nonce, plan, report)) for device in (one, two)]
            try:
                return _pair(ends[0], ends[1])
            finally:
                for end in ends:
                    _leave(end)
    except WrongResultError as error:
        return _without(StepState.INVALID, void={PEER_CLAIM: str(error)})
    except NotMeasurableError as error:
        return _without(StepState.REFUSED, refused={PEER_CLAIM: str(error)})
    except DriverError as error:
        state = StepState.LOST if error.status.ends_device else StepState.FAILED
        return _without(state, refused={PEER_CLAIM: str(error)})


def _bench(device: OpenDevice, nonce: bytes, plan: FingerprintPlan, report: Report) -> Bench:
    keys = Keys.derive(nonce, device.uuid, device.pci_bus_id, STEP)
    return Bench(device, keys, plan, report)


def _without(
    state: StepState, void: dict[str, str] | None = None, refused: dict[str, str] | None = None
) -> FingerprintResult:
    return FingerprintResult(void=void or {}, refused=refused or {}, states={STEP: state})


def _leave(end: _End) -> None:
    """Unload what was loaded into one end's context, if it is still there."""
    try:
        end.use()
    except DriverError:
        return
    end.bench.release()


def _pair(one: _End, two: _End) -> FingerprintResult:
    """Copy both ways and return the better."""
    details = {}
    for end, other, way in ((one, two, "first_to_second"), (two, one, "second_to_first")):
        end.use()
        direct = end.device.driver.device_can_access_peer(end.device.handle, other.device.handle)
        if direct:
            end.device.driver.ctx_enable_peer_access(other.device.context)
        details[f"{way}_direct"] = int(direct)
    for end, other, way in ((one, two, "first_to_second"), (two, one, "second_to_first")):
        details[f"{way}_kb_s"] = _one_way(end, other)
    best = max(details["first_to_second_kb_s"], details["second_to_first_kb_s"])
    if not best:
        raise NotMeasurableError("the host's clock stood still")
    return FingerprintResult(
        values={PEER_CLAIM: best},
        states={STEP: StepState.DONE},
        details=details,
        emulated=one.device.driver.emulated,
    )


def _one_way(origin: _End, target: _End) -> int:
    """Return the median rate of copies, each with fresh content that is compared afterwards."""
    driver = origin.device.driver
    origin.use()
    size = origin.bench.affordable(origin.bench.plan.peer_bytes)
    target.use()
    size = min(size, target.bench.affordable(size))
    rates = []
    with target.bench.memory(size) as (arrives,):
        origin.use()
        with origin.bench.memory(size) as (source,):
            for _ in range(_PASSES + 1):
                origin.use()
                origin.bench.tell("peers", 0, size)
                keys = origin.bench.fresh_keys("peer")
                write_pattern(origin.bench, source, size, keys)
                started = driver.host_clock_ns()
                driver.memcpy_peer_async(
                    arrives, target.device.context, source, origin.device.context, size
                )
                driver.ctx_synchronize()
                took = driver.host_clock_ns() - started
                target.use()
                _compare(target, arrives, size, keys)
                rates.append(rate_kb_s(size, took))
            origin.use()
        target.use()
    # The first copy also sets up the path.
    return median(rates[1:])


def _compare(target: _End, arrives: int, size: int, keys: Keys) -> None:
    """Compare what arrived."""

    def read(offset: int, count: int) -> bytes:
        return target.device.driver.memcpy_dtoh(arrives + offset, count)

    compare_pages(keys, size, read, "at the other card")


def measure_pairs(
    driver: Driver,
    bus_ids: Sequence[str],
    nonce: bytes,
    report: Report,
    plan: FingerprintPlan,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure every pair of cards, one after the other.

    Args:
        driver: The driver.
        bus_ids: PCI bus ids of the cards.
        nonce: What the content is keyed with.
        report: Called before each way.
        plan: How much is copied.
        keep: Called with what is known so far after each pair.

    Returns:
        `rates`: best rate in kB/s that each card reached with any other; `void`: why, for a card
        whose copies arrived wrong; `refused`: why, for one that reached none; `pairs`: each pair.
    """
    best: dict[str, int] = {}
    void: dict[str, str] = {}
    refused: dict[str, str] = {}
    pairs: list[dict[str, Any]] = []
    for pair in combinations(bus_ids, 2):
        try:
            ordinals = [find_device(driver, "", bus_id) for bus_id in pair]
        except DriverError as error:
            refused.update(dict.fromkeys(pair, str(error)))
            continue
        result = measure_pair(driver, ordinals[0], ordinals[1], nonce, report, plan)
        for bus_id in pair:
            found = result.values.get(PEER_CLAIM)
            if found is not None:
                best[bus_id] = max(found, best.get(bus_id, 0))
            if PEER_CLAIM in result.void:
                void[bus_id] = result.void[PEER_CLAIM]
            if PEER_CLAIM in result.refused:
                refused[bus_id] = result.refused[PEER_CLAIM]
        pairs.append({"first": pair[0], "second": pair[1], **result.to_json()})
        if keep is not None:
            keep({"rates": best, "void": void, "refused": refused, "pairs": pairs})
    refused = {bus_id: why for bus_id, why in refused.items() if bus_id not in best}
    return {"rates": best, "void": void, "refused": refused, "pairs": pairs}


def run(device: OpenDevice, keys: Keys, plan: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
    """Measure all pairs as a task of the worker.

    Args:
        device: An open device, for its driver.
        keys: Keys made from the nonce.
        plan: {"bus_ids": [...], "level": ...}.
        talk: How to speak to the parent.

    Returns:
        As `measure_pairs`.

    Raises:
        UsageError: The plan names no cards.
    """
    bus_ids = plan.get("bus_ids")
    if not isinstance(bus_ids, list) or not all(isinstance(item, str) for item in bus_ids):
        raise UsageError("peer plan: bus_ids has to be a list of PCI bus ids")
    level = FingerprintPlan.of(str(plan.get("level", "full")))
    return measure_pairs(device.driver, bus_ids, keys.seed, talk.report, level, talk.keep)
