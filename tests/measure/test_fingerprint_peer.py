"""Copies between emulated cards, and pairs that cannot, will not or do not copy."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import pytest

from gpuverify.errors import UsageError
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.fingerprint_peer import PEER_CLAIM, STEP, measure_pair, measure_pairs, run
from gpuverify.measure.fingerprint_plan import FingerprintPlan
from gpuverify.measure.fingerprint_result import FingerprintResult, StepState
from gpuverify.measure.progress import Progress
from gpuverify.measure.reference import Keys
from gpuverify.testing.cuda import CardProfile, Faults, card, fake_cuda

NONCE = secrets.token_bytes(16)
QUICK = FingerprintPlan.quick()


def cards(*presets: str, **changes: Any) -> list[CardProfile]:
    return [
        card(preset, index=index, claimed_mib=64, **changes) for index, preset in enumerate(presets)
    ]


def pair(profiles: list[CardProfile], first: int = 0, second: int = 1) -> FingerprintResult:
    print("nonce", NONCE.hex())
    with fake_cuda(profiles) as fake:
        return measure_pair(Driver.load(fake.path), first, second, NONCE, lambda _: None, QUICK)


def near(value: int, expected: int) -> bool:
    return abs(value - expected) * 100 <= expected * 5


@pytest.mark.parametrize(
    ("preset", "kb_s"),
    [
        ("a100-40", 276_000_000),
        ("a800", 184_000_000),
        ("h100-sxm", 378_000_000),
        ("h800", 160_000_000),
    ],
)
def test_links_carry_what_they_carry(preset: str, kb_s: int) -> None:
    result = pair(cards(preset, preset))
    assert near(result.values[PEER_CLAIM], kb_s)
    assert result.states == {STEP: StepState.DONE}
    assert result.details["first_to_second_direct"] == 1
    assert result.emulated


def test_without_links_the_way_through_the_host_is_measured() -> None:
    result = pair(cards("a100-pcie-40", "a100-pcie-40"))
    assert result.details["first_to_second_direct"] == 0
    assert result.values[PEER_CLAIM] < 20_000_000


def test_the_slower_end_decides() -> None:
    profiles = cards("a100-40", "a800")
    assert near(pair(profiles).values[PEER_CLAIM], 184_000_000)


@pytest.mark.parametrize("liar", [0, 1])
def test_copies_that_were_not_made_void_the_rate(liar: int) -> None:
    profiles = cards("a100-40", "a100-40")
    profiles[liar] = dataclasses.replace(profiles[liar], faults=Faults(skip_copies="peer"))
    result = pair(profiles)
    assert result.values == {}
    assert PEER_CLAIM in result.void
    assert result.states == {STEP: StepState.INVALID}


@pytest.mark.parametrize(
    "call", ["cuMemcpyPeerAsync", "cuCtxEnablePeerAccess", "cuDeviceCanAccessPeer", "cuMemAlloc_v2"]
)
def test_a_call_that_fails_is_told(call: str) -> None:
    profiles = cards("a100-40", "a100-40")
    profiles[0] = dataclasses.replace(profiles[0], faults=Faults(fail_call=call, fail_code=801))
    result = pair(profiles)
    assert result.values == {}
    assert "not-supported" in result.refused[PEER_CLAIM]
    assert result.states == {STEP: StepState.FAILED}


def test_a_card_that_is_lost_is_told() -> None:
    profiles = cards("a100-40", "a100-40")
    profiles[1] = dataclasses.replace(profiles[1], faults=Faults(lost_at_call=20))
    result = pair(profiles)
    assert result.values == {}
    assert result.lost


def test_memory_is_given_back_and_progress_told() -> None:
    said: list[Progress] = []
    with fake_cuda(cards("a100-40", "a100-40")) as fake:
        driver = Driver.load(fake.path)
        with OpenDevice.open(driver, 0) as one, OpenDevice.open(driver, 1) as two:
            before = []
            for device in (one, two):
                device.make_current()
                before.append(driver.mem_get_info()[0])
            measure_pair(driver, 0, 1, NONCE, said.append, QUICK)
            for device, free in zip((one, two), before, strict=True):
                device.make_current()
                assert driver.mem_get_info()[0] == free
        assert fake.faults() == []
    assert {p.phase for p in said} == {"peers"}


class Kept:
    """Stands for the worker's way to its parent."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    def report(self, progress: Progress) -> None:
        pass

    def keep(self, evidence: object) -> None:
        self.kept.append(evidence)


def test_all_pairs_of_a_machine() -> None:
    profiles = cards("a100-40", "a800", "a100-40", "a100-pcie-40")
    talk = Kept()
    with fake_cuda(profiles) as fake, OpenDevice.open(Driver.load(fake.path), 0) as device:
        plan: dict[str, Any] = {
            "bus_ids": [f"0000{p.pci_bus_id}" for p in profiles],
            "level": "quick",
        }
        keys = Keys.derive(NONCE, device.uuid, device.pci_bus_id, "peers")
        found = run(device, keys, plan, talk)  # type: ignore[arg-type]  # what it uses is there
    first, second, third, fourth = plan["bus_ids"]
    # The best that each reached: the A800 holds back whoever copies with it, and none besides.
    assert near(found["rates"][first], 276_000_000)
    assert near(found["rates"][second], 184_000_000)
    assert near(found["rates"][third], 276_000_000)
    assert found["rates"][fourth] < 20_000_000
    assert found["void"] == found["refused"] == {}
    assert len(found["pairs"]) == len(talk.kept) == 6


def test_a_card_that_cuda_does_not_see_is_told() -> None:
    profiles = cards("a100-40")
    with fake_cuda(profiles) as fake:
        found = measure_pairs(
            Driver.load(fake.path),
            [profiles[0].pci_bus_id, "0000:99:00.0"],
            NONCE,
            lambda _: None,
            QUICK,
        )
    assert found["rates"] == {}
    assert set(found["refused"]) == {profiles[0].pci_bus_id, "0000:99:00.0"}


@pytest.mark.parametrize("plan", [{}, {"bus_ids": "0000:01:00.0"}, {"bus_ids": [1]}])
def test_a_plan_without_cards_is_refused(plan: dict[str, object]) -> None:
    with fake_cuda(cards("a100-40")) as fake, OpenDevice.open(Driver.load(fake.path), 0) as device:
        keys = Keys.derive(NONCE, "", "", "peers")
        with pytest.raises(UsageError):
            run(device, keys, plan, Kept())  # type: ignore[arg-type]
