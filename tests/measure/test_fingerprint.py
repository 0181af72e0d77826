"""The fingerprint of emulated cards: what they are shows, whatever they say they are.

The emulated driver runs the shipped PTX; its clocks are a model of the card's profile. So these
tests show that the profile is read back right, never how fast a real card is.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
from typing import Any

import pytest

from gpuverify.measure import fingerprint
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.fingerprint import STEPS, load, measure
from gpuverify.measure.fingerprint_plan import MIB, FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.progress import Progress
from gpuverify.measure.reference import Keys
from gpuverify.model.telemetry import Sample
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.testing.cuda import CardProfile, card, fake_cuda

NONCE = secrets.token_bytes(16)
# What of a card the tests read back; the emulator's own overheads lie below this.
NEAR_PERCENT = 4
RATES = {
    "fp32_fma": "fp32_fma",
    "fp32_mul_add": "fp32_mul_add",
    "fp64_fma": "fp64_fma",
    "fp16_fma": "fp16_fma",
    "int_mad": "int_mad",
    "tensor_f16": "tensor_f16",
    "tensor_bf16": "tensor_bf16",
    "tensor_tf32": "tensor_tf32",
    "tensor_f64": "tensor_f64",
    "tensor_s8": "tensor_s8",
    "tensor_fp8": "tensor_f8",
}
TENSOR = {name for name in RATES if name.startswith("tensor")}


def small(preset: str, **changes: Any) -> CardProfile:
    """A card with a small memory and L2 cache: quick to walk through."""
    changes.setdefault("claimed_mib", 128)
    changes.setdefault("l2_bytes", 4 * MIB)
    return card(preset, **changes)


def finger(
    profile: CardProfile, plan: FingerprintPlan | None = None, **options: Any
) -> FingerprintResult:
    with fake_cuda([profile], **options) as fake:
        driver = Driver.load(fake.path)
        with OpenDevice.open(driver, 0) as device:
            keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "fingerprint")
            free = driver.mem_get_info()[0]
            result = measure(device, keys, plan or FingerprintPlan.of("full", 0), lambda _: None)
            assert driver.mem_get_info()[0] == free
        assert fake.faults() == []
    return result


def near(value: int, expected: float) -> bool:
    return abs(value - expected) * 100 <= expected * NEAR_PERCENT


@pytest.fixture(scope="module", autouse=True)
def _print_nonce() -> None:
    print("nonce", NONCE.hex())


@pytest.mark.required
@pytest.mark.parametrize(
    "preset", ["a100-80", "h100-sxm", "h20", "cmp-170hx", "rtx-4090", "v100-16"]
)
def test_a_card_is_read_back(preset: str) -> None:
    profile = small(preset)
    result = finger(profile)
    values = {name.partition(".")[2]: value for name, value in result.values.items()}
    assert result.emulated
    assert result.valid
    assert values["sm_count"] == profile.sm_count
    assert near(values["sm_clock_khz"], profile.sm_clock_khz)
    assert values["clock_agreement_ppm"] < 5_000
    left_out = set()
    if profile.compute_capability < (8, 0):
        left_out = TENSOR
    elif profile.compute_capability < (8, 9):
        left_out = {"tensor_fp8"}
    for name, field in RATES.items():
        if name in left_out:
            assert "compute capability" in result.refused[f"fingerprint.{name}_milliops"]
            assert result.states[name] is StepState.REFUSED
        else:
            assert near(values[f"{name}_milliops"], getattr(profile.rates, field) * 1000), name
    assert near(values["memory_read_kb_s"], profile.memory_read_kb_s)
    assert near(values["memory_write_kb_s"], profile.memory_write_kb_s)
    assert near(values["memory_copy_kb_s"], profile.memory_copy_kb_s)
    assert near(values["l2_read_kb_s"], profile.l2_read_kb_s)
    assert near(values["latency_l1_millicycles"], profile.l1_latency_cycles * 1000)
    assert near(values["latency_l2_millicycles"], profile.l2_latency_cycles * 1000)
    assert near(values["latency_memory_millicycles"], profile.memory_latency_cycles * 1000)
    assert near(values["pcie_h2d_kb_s"], profile.pcie_h2d_kb_s)
    assert near(values["pcie_d2h_kb_s"], profile.pcie_d2h_kb_s)
    assert 3 * MIB <= values["l2_step_bytes"] <= 6 * MIB


def test_every_claim_is_in_the_vocabulary_and_has_an_end() -> None:
    result = finger(small("a100-80"))
    claims = {claim for step in STEPS for claim in step.claims}
    assert claims <= set(VOCABULARY)
    assert claims == set(result.values) | set(result.refused) | set(result.void)
    assert set(result.states) == {step.name for step in STEPS}


def test_an_unlocked_mining_card_is_counted_and_clocked() -> None:
    # Its driver says that it is an A100 with 108 SMs and 40 MiB of L2 cache.
    profile = small("cmp-170hx-unlocked", real_mib=128, reported_l2_bytes=8 * MIB)
    result = finger(profile)
    assert result.values["fingerprint.sm_count"] == 70
    assert result.values["fingerprint.fp32_fma_milliops"] < 3_000
    assert result.values["fingerprint.fp32_mul_add_milliops"] > 60_000
    assert result.values["fingerprint.l2_step_bytes"] <= 6 * MIB


@pytest.mark.parametrize("reported", [78, 132, 200])
def test_the_census_does_not_believe_the_driver(reported: int) -> None:
    profile = small("h100-sxm", sm_count=120, reported_sm_count=reported)
    assert finger(profile).values["fingerprint.sm_count"] == 120


def test_the_step_of_a_large_cache() -> None:
    profile = card("a100-80", claimed_mib=256)
    step = finger(profile).values["fingerprint.l2_step_bytes"]
    assert 32 * MIB <= step <= 52 * MIB


def test_a_rate_is_the_memorys_and_not_the_caches() -> None:
    profile = small("rtx-4090", claimed_mib=64, l2_bytes=24 * MIB)
    result = finger(profile, FingerprintPlan.quick())
    assert "fingerprint.memory_copy_kb_s" not in result.values
    assert "L2 cache" in result.refused["fingerprint.memory_copy_kb_s"]


def test_quick_gives_latencies_without_the_step() -> None:
    profile = small("h100-sxm")
    result = finger(profile, FingerprintPlan.quick())
    assert near(result.values["fingerprint.latency_l2_millicycles"], 265_000)
    assert "fingerprint.l2_step_bytes" not in result.values
    assert "load" not in result.states


def test_two_runs_of_one_card_differ_in_no_result() -> None:
    profile = small("a100-40")
    plan = FingerprintPlan.quick()
    first, second = finger(profile, plan), finger(profile, plan)
    for name, value in first.values.items():
        if name != "fingerprint.clock_agreement_ppm":
            assert near(second.values[name], value), name


def test_no_kernel_leaves_its_memory() -> None:
    assert finger(small("h100-sxm"), FingerprintPlan.quick(), checked=True).valid


class Watching:
    """Counts how often it was asked and says what a loaded card would say."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[str] = set()

    def sample(self, bus_id: str) -> Sample:
        self.asked.append(bus_id)
        self.threads.add(threading.current_thread().name)
        return Sample(
            power_mw=300_000 + len(self.asked),
            temperature_celsius=60,
            reasons="sw-power-cap",
            link_generation=4,
            link_width=16,
        )


def test_somebody_looks_on_while_link_and_chip_are_loaded() -> None:
    watching = Watching()
    phases: list[Progress] = []
    with (
        fake_cuda([small("a100-40")]) as fake,
        OpenDevice.open(Driver.load(fake.path), 0) as device,
    ):
        keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "fingerprint")
        plan = FingerprintPlan.of("quick", 200)
        result = measure(device, keys, plan, phases.append, telemetry=watching)
    assert set(watching.asked) == {device.pci_bus_id}
    assert threading.current_thread().name not in watching.threads
    assert result.seen["pcie.loaded_generation"] == 4
    assert result.seen["pcie.loaded_width"] == 16
    assert int(result.seen["fingerprint.power_peak_mw"]) >= 300_001
    assert result.seen["fingerprint.throttle_reasons"] == "sw-power-cap"
    assert result.states["load"] is StepState.DONE
    assert all(near(khz, 1_410_000) for khz in result.trace_khz)
    assert len(result.trace_khz) == result.details["load_slices"] > 0
    assert {p.phase for p in phases} == {step.name for step in STEPS} | {"load"}


@pytest.mark.parametrize("preset", ["a100-40", "v100-16"])
def test_load_alone(preset: str) -> None:
    # Volta has no tensor pack: plain arithmetic keeps it busy.
    with fake_cuda([small(preset)]) as fake, OpenDevice.open(Driver.load(fake.path), 0) as device:
        keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "load")
        result = load(device, keys, 1, lambda _: None)
    assert result.states == {"load": StepState.DONE}
    assert result.trace_khz


class NotEmulated:
    """Hides that a driver is an emulation, so that work is sized as for a real card."""

    emulated = False

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def test_work_is_sized_by_what_a_short_run_took(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = small("a100-80", sm_count=1, l2_bytes=MIB)
    plan = dataclasses.replace(
        FingerprintPlan.quick(),
        threads=256,
        blocks_per_sm=1,
        target_ms=1,
        census_iterations=1,
        latency_largest_bytes=8 * MIB,
        latency_steps=True,
    )
    chosen = {"census", "clock", "fp32_fma", "tensor_f16", "latency"}
    monkeypatch.setattr(fingerprint, "STEPS", tuple(s for s in STEPS if s.name in chosen))
    with fake_cuda([profile]) as fake, OpenDevice.open(Driver.load(fake.path), 0) as device:
        keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "fingerprint")
        hidden: Any = NotEmulated(device.driver)
        shown = dataclasses.replace(device, driver=hidden)
        result = measure(shown, keys, plan, lambda _: None)
    values = result.values
    assert result.valid
    assert not result.emulated
    assert values["fingerprint.sm_count"] == 1
    assert near(values["fingerprint.fp32_fma_milliops"], 64_000)
    assert near(values["fingerprint.tensor_f16_milliops"], 1_024_000)
    assert near(values["fingerprint.sm_clock_khz"], 1_410_000)
    assert values["fingerprint.clock_agreement_ppm"] < 1_000
    assert MIB * 3 // 4 <= values["fingerprint.l2_step_bytes"] <= MIB * 3 // 2


def test_a_full_card_is_measured_in_what_is_left() -> None:
    profile = dataclasses.replace(small("a100-80"), allocatable_mib=24)
    result = finger(profile)
    assert result.values["fingerprint.sm_count"] == 108
    assert result.lost is False
