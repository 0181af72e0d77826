"""Drivers that lie, fail or vanish: what that costs is one measurement, never a wrong value."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from gpuverify.measure import fingerprint_bench
from gpuverify.measure.driver_api import Driver, DriverError, DriverStatus, OpenDevice
from gpuverify.measure.fingerprint import STEPS, measure
from gpuverify.measure.fingerprint_plan import MIB, FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.packs import PACKS
from gpuverify.measure.reference import Keys
from gpuverify.testing.cuda import CardProfile, Faults, card, fake_cuda

NONCE = secrets.token_bytes(16)
PROFILE = card("h100-sxm", claimed_mib=64, l2_bytes=MIB, sm_count=6)
CLAIMS = {step.name: step.claims for step in STEPS}


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    """Least work: what is tested here is not time."""
    print("nonce", NONCE.hex())
    emulated = FingerprintPlan.emulated

    def least(plan: FingerprintPlan) -> FingerprintPlan:
        return dataclasses.replace(
            emulated(plan),
            iterations=16,
            memory_bytes=4 * MIB,
            memory_passes=1,
            pcie_bytes=MIB,
            pcie_passes=1,
            pcie_hold_ms=0,
            latency_hops=1024,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FingerprintPlan, "emulated", least)
        yield


def finger(profile: CardProfile = PROFILE, **options: Any) -> FingerprintResult:
    with fake_cuda([profile], **options) as fake:
        driver = Driver.load(fake.path)
        with OpenDevice.open(driver, 0) as device:
            return measure_on(device)


def measure_on(device: OpenDevice) -> FingerprintResult:
    keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "fingerprint")
    return measure(device, keys, FingerprintPlan.of("full", 1), lambda _: None)


def faulty(**faults: Any) -> CardProfile:
    return dataclasses.replace(PROFILE, faults=Faults(**faults))


def assert_whole(result: FingerprintResult) -> None:
    """Each claim has exactly one end, and each measurement one state."""
    assert set(result.states) == {*CLAIMS, "load"}
    for name, claims in CLAIMS.items():
        state = result.states[name]
        for claim in claims:
            ends = [claim in part for part in (result.values, result.void, result.refused)]
            if state is StepState.DONE:
                assert sum(ends) <= 1
                assert ends[0] or claim.endswith("l2_step_bytes")
            else:
                assert sum(ends) == 1
                assert ends[1] == (state is StepState.INVALID)


def test_an_honest_card_gives_everything() -> None:
    result = finger()
    assert_whole(result)
    assert set(result.states.values()) == {StepState.DONE}


SKIPPED = {
    "census": {"census", "clock"},
    "chain_fma_f32": {"fp32_fma"},
    "chain_mul_add_f32": {"fp32_mul_add"},
    "chain_fma_f64": {"fp64_fma"},
    "chain_fma_f16x2": {"fp16_fma"},
    "chain_imad_u32": {"int_mad"},
    "mma_f16": {"tensor_f16"},
    "mma_bf16": {"tensor_bf16"},
    "mma_tf32": {"tensor_tf32"},
    "mma_f64": {"tensor_f64"},
    "mma_s8": {"tensor_s8"},
    "mma_e4m3": {"tensor_fp8"},
    # The sum of the addresses is compared before anybody follows them.
    "bw_read": {"memory-read", "memory-write", "memory-copy", "latency"},
    "bw_write": {"memory-read", "memory-write", "memory-copy", "l2-read"},
    "bw_copy": {"memory-copy"},
    "l2_read": {"l2-read"},
    "chase": {"latency"},
    "chase_fill": {"latency"},
    "cap_write": {"pcie"},
}


@pytest.mark.required
@pytest.mark.parametrize("kernel", SKIPPED)
def test_a_kernel_that_the_driver_did_not_run(kernel: str) -> None:
    result = finger(faulty(skip_kernels=kernel))
    assert_whole(result)
    invalid = {name for name, state in result.states.items() if state is StepState.INVALID}
    assert invalid == SKIPPED[kernel]
    assert not result.valid
    for name in invalid:
        for claim in CLAIMS[name]:
            assert claim not in result.values


def test_every_kernel_of_the_fingerprint_was_skipped_once() -> None:
    kernels = {name for pack in PACKS.values() for name in pack.kernels}
    assert kernels - set(SKIPPED) == {"cap_check", "cap_digest", "butterfly"}


@pytest.mark.parametrize(
    ("copies", "states"),
    [
        ("d2h", {"census", "fp32_fma", "memory-read", "pcie"}),
        ("h2d", {"tensor_f16", "tensor_s8", "pcie"}),
    ],
)
def test_copies_that_the_driver_did_not_make(copies: str, states: set[str]) -> None:
    result = finger(faulty(skip_copies=copies))
    assert_whole(result)
    assert states <= {name for name, state in result.states.items() if state is StepState.INVALID}


def test_a_driver_that_does_nothing_at_all() -> None:
    result = finger(faulty(skip_kernels="*", skip_copies="*"))
    assert result.values == {}
    assert StepState.DONE not in {result.states[name] for name in CLAIMS}


@pytest.mark.parametrize("fault", [{"globaltimer_factor": 0.9}, {"event_factor": 1.1}])
def test_a_time_keeper_that_lies(fault: dict[str, Any]) -> None:
    result = finger(faulty(**fault))
    assert result.values["fingerprint.clock_agreement_ppm"] > 90_000


def test_an_sm_clock_that_lies_shows_as_a_clock_that_no_card_has() -> None:
    result = finger(faulty(clock_factor=1.5))
    assert result.values["fingerprint.sm_clock_khz"] > 1_755_000 * 14 // 10
    assert result.values["fingerprint.clock_agreement_ppm"] < 20_000


def test_events_that_do_not_exist_are_no_loss() -> None:
    result = finger(faulty(missing_symbols=("cuEventCreate",)))
    assert result.states["clock"] is StepState.DONE
    assert set(result.states.values()) == {StepState.DONE}


@pytest.mark.parametrize(
    ("symbol", "step"),
    [("cuMemHostAlloc", "pcie"), ("cuMemGetInfo_v2", "memory-read"), ("cuMemcpyHtoD_v2", "pcie")],
)
def test_a_call_that_an_old_driver_lacks(symbol: str, step: str) -> None:
    result = finger(faulty(missing_symbols=(symbol,)))
    assert_whole(result)
    assert result.states[step] is StepState.FAILED
    assert symbol in next(result.refused[claim] for claim in CLAIMS[step])
    assert result.states["fp32_fma"] is StepState.DONE


def test_a_driver_too_old_for_some_packs() -> None:
    result = finger(dataclasses.replace(PROFILE, ptx_max=70))
    assert result.states["tensor_f16"] is StepState.DONE
    assert result.states["tensor_fp8"] is StepState.FAILED
    assert "ptx-too-new" in result.refused["fingerprint.tensor_fp8_milliops"]
    result = finger(dataclasses.replace(PROFILE, ptx_max=65))
    assert result.states["tensor_f16"] is StepState.FAILED
    # The load falls back on plain arithmetic.
    assert result.states["load"] is StepState.DONE


@pytest.mark.parametrize("change", [{"ptx_max": 60}, {"faults": Faults(no_jit=True)}])
def test_a_driver_that_compiles_nothing(change: dict[str, Any]) -> None:
    result = finger(dataclasses.replace(PROFILE, **change))
    assert_whole(result)
    assert result.values == {}
    assert set(result.states.values()) == {StepState.FAILED}
    assert (
        "update it" in result.refused["fingerprint.sm_count"]
        or "install" in result.refused["fingerprint.sm_count"]
    )


def test_no_memory_left() -> None:
    with fake_cuda([PROFILE]) as fake:
        driver = Driver.load(fake.path)
        with OpenDevice.open(driver, 0) as device:
            free, _ = driver.mem_get_info()
            held = driver.mem_alloc(free // (2 * MIB) * 2 * MIB)
            result = measure_on(device)
            driver.mem_free(held)
    assert_whole(result)
    assert result.values == {}
    assert not result.lost
    assert any("out-of-memory" in why for why in result.refused.values())


@pytest.mark.parametrize("layout", ["fold", "permuted", "drop"])
def test_memory_that_is_not_there_gives_no_rate(layout: str) -> None:
    # The rates' buffer is larger than what is there beside the context.
    profile = dataclasses.replace(
        PROFILE, claimed_mib=256, real_mib=20, layout=layout, l2_bytes=16 * MIB
    )
    result = finger(profile)
    assert_whole(result)
    assert not result.lost
    assert result.values["fingerprint.sm_count"] == 6
    for name in ("memory-read", "memory-write", "memory-copy", "latency"):
        assert result.states[name] is StepState.INVALID, name


class Failing:
    """Stands before a driver and fails one call, for once or from then on."""

    def __init__(self, driver: Driver, at: int, error: DriverError, *, forever: bool) -> None:
        self.made = 0
        self._driver = driver
        self._at, self._error, self._forever = at, error, forever

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if not callable(found) or name == "host_clock_ns":
            return found

        def call(*arguments: Any) -> Any:
            self.made += 1
            if self.made == self._at or (self._forever and self.made > self._at):
                raise self._error
            return found(*arguments)

        return call


def error_of(status: DriverStatus, code: int) -> DriverError:
    return DriverError(status, code, "cuSomething")


def _failing(at: int, error: DriverError, *, forever: bool) -> tuple[FingerprintResult, int]:
    with fake_cuda([PROFILE]) as fake, OpenDevice.open(Driver.load(fake.path), 0) as device:
        driver = Failing(device.driver, at, error, forever=forever)
        standing_in: Any = driver
        result = measure_on(dataclasses.replace(device, driver=standing_in))
        return result, driver.made


@pytest.fixture(scope="module")
def places() -> list[int]:
    """Calls to fail: one of every stretch, another one in each run of the tests."""
    _, made = _failing(0, error_of(DriverStatus.UNKNOWN, 999), forever=False)
    stretch = 23
    return [start + secrets.randbelow(stretch) for start in range(1, made, stretch)]


@pytest.mark.required
def test_a_call_that_fails_once_costs_one_measurement(places: list[int]) -> None:
    for at in places:
        result, _ = _failing(at, error_of(DriverStatus.UNKNOWN, 999), forever=False)
        assert_whole(result)
        failed = [n for n, state in result.states.items() if state is not StepState.DONE]
        # A pack that was refused once is not asked for again.
        assert len(failed) <= 1 or all("tensor" in n for n in failed) or at < 4, (at, failed)
        assert not result.lost, at
        assert result.valid, at


@pytest.mark.required
def test_a_device_that_vanishes_ends_the_fingerprint_and_keeps_what_was(places: list[int]) -> None:
    for at in places:
        result, made = _failing(at, error_of(DriverStatus.DEVICE_FAULT, 719), forever=True)
        assert_whole(result)
        states = list(result.states.values())
        lost = [state is StepState.LOST for state in states]
        # Failing to give memory back at the very end is no loss of a measurement.
        assert lost == sorted(lost), at
        if any(lost):
            where = lost.index(True)
            assert all(state is StepState.DONE for state in states[:where]), at
            assert made < at + 40, at


def test_a_card_lost_in_the_emulator() -> None:
    result = finger(faulty(lost_at_call=120))
    assert_whole(result)
    assert result.lost


def test_what_is_no_failure_of_the_driver_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(fingerprint_bench, "parse_records", broken)
    with pytest.raises(ZeroDivisionError):
        finger()
