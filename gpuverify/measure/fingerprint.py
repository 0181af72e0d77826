"""The fingerprint: what the chip, its memory and its links do, whatever the driver says they are.

Each measurement stands alone: one that the driver refuses, or whose results are wrong, leaves its
reason behind and the others go on. Every timed result is an exact number that depends on the nonce
and is computed anew on the CPU; where it differs the timing is void, which accuses nobody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gpuverify.measure.driver_api import DriverError, OpenDevice
from gpuverify.measure.fingerprint_analysis import heat_under_load, link_under_load
from gpuverify.measure.fingerprint_bench import (
    Bench,
    NotMeasurableError,
    Report,
    WrongResultError,
)
from gpuverify.measure.fingerprint_compute import (
    CHAINS,
    TENSOR,
    measure_census,
    measure_chain,
    measure_clock,
    measure_tensor,
)
from gpuverify.measure.fingerprint_link import measure_pcie
from gpuverify.measure.fingerprint_load import run_load
from gpuverify.measure.fingerprint_memory import (
    measure_copy,
    measure_l2_rate,
    measure_latency,
    measure_read,
    measure_write,
)
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.reference import Keys
from gpuverify.model.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One measurement.

    Attributes:
        name: Its name, also that of the phase in progress reports.
        claims: Ids of the claims that it gives.
        run: Measures and returns claims.
    """

    name: str
    claims: tuple[str, ...]
    run: Callable[[Bench], Mapping[str, int]]


def _step(name: str, run: Callable[[Bench], Mapping[str, int]], *claims: str) -> Step:
    return Step(name=name, claims=tuple(f"fingerprint.{claim}" for claim in claims), run=run)


# The census first: all others put their work on as many SMs as it counts.
STEPS = (
    _step("census", measure_census, "sm_count"),
    _step("clock", measure_clock, "sm_clock_khz", "clock_agreement_ppm"),
    *(
        _step(name, functools.partial(measure_chain, name=name), f"{name}_milliops")
        for name in CHAINS
    ),
    *(
        _step(name, functools.partial(measure_tensor, name=name), f"{name}_milliops")
        for name in TENSOR
    ),
    _step("memory-read", measure_read, "memory_read_kb_s"),
    _step("memory-write", measure_write, "memory_write_kb_s"),
    _step("memory-copy", measure_copy, "memory_copy_kb_s"),
    _step(
        "latency",
        measure_latency,
        "latency_l1_millicycles",
        "latency_l2_millicycles",
        "latency_memory_millicycles",
        "l2_step_bytes",
    ),
    _step("l2-read", measure_l2_rate, "l2_read_kb_s"),
    _step("pcie", measure_pcie, "pcie_h2d_kb_s", "pcie_d2h_kb_s"),
)
LOAD = "load"


class _Run:
    """One fingerprint as it grows."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.values: dict[str, int] = {}
        self.void: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.states: dict[str, StepState] = {}
        self.lost = ""

    def attempt(
        self, name: str, claims: tuple[str, ...], run: Callable[[Bench], Mapping[str, int]]
    ) -> None:
        """Run a measurement and keep what comes of it, whatever that is."""
        if self.lost:
            self._without(StepState.LOST, name, claims, f"the device was lost in {self.lost}")
            return
        try:
            self.bench.tell(name)
            found = run(self.bench)
        except WrongResultError as error:
            self.states[name] = StepState.INVALID
            self.void.update(dict.fromkeys(claims, str(error)))
        except NotMeasurableError as error:
            self._without(StepState.REFUSED, name, claims, str(error))
        except DriverError as error:
            state = StepState.FAILED
            if error.status.ends_device and not self._answers():
                state, self.lost = StepState.LOST, name
            self._without(state, name, claims, str(error))
        else:
            self.states[name] = StepState.DONE
            self.values.update(found)

    def _without(self, state: StepState, name: str, claims: tuple[str, ...], reason: str) -> None:
        """Note why a measurement gave nothing."""
        self.states[name] = state
        self.refused.update(dict.fromkeys(claims, reason))

    def _answers(self) -> bool:
        """Whether the device still answers after a call failed as if it did not."""
        try:
            self.bench.driver.ctx_synchronize()
            self.bench.driver.mem_get_info()
        except DriverError as error:
            return not error.status.ends_device
        return True

    def result(self, trace: tuple[int, ...]) -> FingerprintResult:
        """Return what is known so far."""
        samples = self.bench.samples
        return FingerprintResult(
            values=dict(self.values),
            void=dict(self.void),
            refused=dict(self.refused),
            states=dict(self.states),
            seen={
                **link_under_load(samples.get("pcie", [])),
                **heat_under_load(samples.get(LOAD, [])),
            },
            trace_khz=trace,
            details=dict(self.bench.details),
            emulated=self.bench.driver.emulated,
        )


def measure(
    device: OpenDevice,
    keys: Keys,
    plan: FingerprintPlan,
    report: Report,
    *,
    telemetry: Telemetry | None = None,
    keep: Callable[[FingerprintResult], None] | None = None,
) -> FingerprintResult:
    """Take the fingerprint of an open device.

    Args:
        device: The device; its context has to be current in this thread.
        keys: Keys made from the nonce and the device's identity.
        plan: What to do.
        report: Called before each measurement.
        telemetry: Looks at the card while links and chip are loaded, None where nobody can.
        keep: Called with what is known so far after each measurement.

    Returns:
        What was measured; a driver that failed on the way is in it, never raised.
    """
    bench = Bench(device, keys, plan, report, telemetry)
    run = _Run(bench)
    trace: tuple[int, ...] = ()

    def load(loaded: Bench) -> Mapping[str, int]:
        nonlocal trace
        trace = run_load(loaded)
        return {}

    try:
        for step in STEPS:
            run.attempt(step.name, step.claims, step.run)
            if keep is not None:
                keep(run.result(trace))
        if bench.plan.load_ms:
            run.attempt(LOAD, (), load)
    finally:
        bench.release()
    return run.result(trace)


def load(
    device: OpenDevice,
    keys: Keys,
    seconds: int,
    report: Report,
    *,
    telemetry: Telemetry | None = None,
) -> FingerprintResult:
    """Keep a card busy, and nothing else.

    Args:
        device: The device; its context has to be current in this thread.
        keys: Keys made from the nonce and the device's identity.
        seconds: How long.
        report: Called again and again meanwhile, with milliseconds for bytes.
        telemetry: Looks at the card meanwhile, None where nobody can.

    Returns:
        The clock's trace and what was seen.
    """
    bench = Bench(device, keys, FingerprintPlan.quick(), report, telemetry)
    bench.plan = replace(bench.plan, load_ms=seconds * 1000)
    run = _Run(bench)
    trace: tuple[int, ...] = ()

    def busy(loaded: Bench) -> Mapping[str, int]:
        nonlocal trace
        trace = run_load(loaded)
        return {}

    try:
        run.attempt(LOAD, (), busy)
    finally:
        bench.release()
    return run.result(trace)
