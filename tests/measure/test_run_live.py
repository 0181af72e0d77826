"""The joint run over emulated cards: real processes, real gates, the shipped kernels."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gpuverify.measure.capacity_plan import CapacityPlan
from gpuverify.measure.plan import MeasurePlan, MeasureRequest
from gpuverify.measure.progress import Progress
from gpuverify.measure.run import MeasureOutcome, measure_cards
from gpuverify.measure.safety import Card
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.telemetry import NoTelemetry, Sample, Telemetry
from gpuverify.testing.cuda import CardProfile, Faults, card, fake_cuda

MIB = 1 << 20
BUSES = ("00000000:07:00.0", "00000000:0B:00.0", "00000000:48:00.0")
CAPACITY = CapacityPlan(
    chunk_bytes=64 * MIB,
    dwell_ms=20,
    digest_blocks=4,
    pages=32,
    stall_ms=20_000,
    deadline_ms=60_000,
)
PLAN = MeasurePlan(level="quick", capacity=CAPACITY, fingerprint=False, peers=False)


def profiles(*changes: dict[str, Any]) -> list[CardProfile]:
    made = []
    for number, change in enumerate(changes):
        made.append(
            card(
                "a100-80",
                **{
                    "claimed_mib": 1024,
                    "uuid": f"GPU-5a11ed00-0001-4e7a-8c3d-7e57ca5e000{number + 1}",
                    "pci_bus_id": BUSES[number][4:],
                    **change,
                },
            )
        )
    return made


@dataclass
class Shown:
    """Keeps what a display was told."""

    lines: list[str] = field(default_factory=list)
    phases: list[tuple[str, str]] = field(default_factory=list)
    endings: dict[str, str] = field(default_factory=dict)
    closed: bool = False

    def announce(self, lines: Sequence[str]) -> None:
        self.lines += lines

    def update(self, bus_id: str, progress: Progress) -> None:
        self.phases.append((bus_id, progress.phase))

    def ended(self, bus_id: str, text: str) -> None:
        self.endings[bus_id] = text

    def close(self) -> None:
        self.closed = True


class Onlooker:
    """Sees a card's memory taken once, and heat from a certain look on."""

    def __init__(self, hot: str = "", hot_after: int = 3, taken: dict[str, int] | None = None):
        self.looks: dict[str, int] = {}
        self.hot, self.hot_after = hot, hot_after
        self.taken = taken or {}

    def sample(self, bus_id: str) -> Sample:
        looks = self.looks[bus_id] = self.looks.get(bus_id, 0) + 1
        heat = 91 if bus_id == self.hot and looks > self.hot_after else 41
        used = 500 * MIB + (self.taken.get(bus_id, 0) if looks > 1 else 0)
        return Sample(temperature_celsius=heat, power_mw=70_000 + looks, used_bytes=used)


def run(
    library: str,
    count: int,
    *,
    telemetry: Telemetry | None = None,
    display: Shown | None = None,
    plan: MeasurePlan = PLAN,
    **options: Any,
) -> MeasureOutcome:
    cards = [Card(bus_id=bus, total_bytes=1024 * MIB) for bus in BUSES[:count]]
    request = MeasureRequest(plan=plan, nonce=b"nonce of this test", library=library, **options)
    return measure_cards(cards, request, telemetry or NoTelemetry(), display)


def said(outcome: MeasureOutcome, bus: int | None, claim_id: str, source: Source) -> Claim | None:
    claims = outcome.host if bus is None else outcome.devices[BUSES[bus]]
    return next((c for c in claims if c.id == claim_id and c.source is source), None)


def value(outcome: MeasureOutcome, bus: int | None, claim_id: str) -> object:
    found = said(outcome, bus, claim_id, Source.MEASURED)
    return None if found is None else found.value


@pytest.fixture(scope="module")
def mixed() -> Iterator[tuple[MeasureOutcome, Shown]]:
    """An honest card, a folded one, and one that goes away in the middle, in one run."""
    shown = Shown()
    cards = profiles({}, {"real_mib": 600}, {"faults": Faults(lost_from_mib=500)})
    with fake_cuda(cards) as fake:
        yield run(fake.path, 3, display=shown), shown


def test_each_card_gets_its_own_class(mixed: tuple[MeasureOutcome, Shown]) -> None:
    outcome, _ = mixed
    assert str(value(outcome, 2, "measure.state")).startswith("lost: ")
    assert [value(outcome, bus, "capacity.class") for bus in range(3)] == [
        "whole",
        "folded",
        "lost",
    ]
    assert value(outcome, 1, "capacity.fold_bytes") == 600 * MIB
    assert isinstance(value(outcome, 2, "capacity.lost_offset_bytes"), int)


def test_a_finding_is_repeated_before_it_is_told(mixed: tuple[MeasureOutcome, Shown]) -> None:
    claim = said(mixed[0], 1, "capacity.class", Source.MEASURED)
    assert claim is not None
    assert "second run" in str(claim.raw_text)


def test_the_good_card_finishes_beside_a_lost_one(mixed: tuple[MeasureOutcome, Shown]) -> None:
    outcome, shown = mixed
    assert value(outcome, 0, "measure.state") == "done"
    assert value(outcome, 0, "capacity.bad_cell_count") == 0
    assert shown.endings[BUSES[0]] == "done"
    assert shown.closed


def test_all_were_held_in_one_window(mixed: tuple[MeasureOutcome, Shown]) -> None:
    outcome, _ = mixed
    assert value(outcome, None, "measure.window") is True
    assert value(outcome, None, "measure.unmeasured") == ""
    assert value(outcome, None, "measure.nonce") == b"nonce of this test".hex()


def test_cuda_speaks_for_itself_and_the_emulator_is_told(
    mixed: tuple[MeasureOutcome, Shown],
) -> None:
    outcome, _ = mixed
    count = said(outcome, 0, "gpu.sm_count", Source.CUDA)
    assert count is not None
    assert count.value == 108
    bus_id = said(outcome, 1, "pci.bus_id", Source.CUDA)
    assert bus_id is not None
    assert bus_id.value == BUSES[1]
    assert outcome.emulated


def test_the_plan_is_told_first(mixed: tuple[MeasureOutcome, Shown]) -> None:
    _, shown = mixed
    assert shown.lines[0].startswith("measuring 3 cards at once (quick)")
    assert {bus for bus, _ in shown.phases} == set(BUSES)


def test_a_hanging_card_is_given_up_and_the_other_finishes() -> None:
    plan = replace(PLAN, capacity=replace(CAPACITY, stall_ms=3000))
    cards = profiles({}, {"faults": Faults(hang_kernel="cap_check")})
    with fake_cuda(cards) as fake:
        outcome = run(fake.path, 2, plan=plan)
    assert value(outcome, 0, "capacity.class") == "whole"
    assert value(outcome, 1, "capacity.class") == "lost"
    assert str(value(outcome, 1, "measure.state")).startswith("timed-out")


def test_a_hot_card_is_stopped_and_the_other_finishes() -> None:
    with fake_cuda(profiles({}, {})) as fake:
        outcome = run(fake.path, 2, telemetry=Onlooker(hot=BUSES[1]))
    assert value(outcome, 0, "measure.state") == "done"
    assert value(outcome, 1, "measure.state") == "stopped at 91 °C"
    assert value(outcome, 1, "capacity.class") == "invalid"
    assert value(outcome, 1, "fingerprint.temperature_peak_celsius") == 91


def test_one_card_behind_two_bus_ids_is_never_whole_twice() -> None:
    """Both are held at once, under different keys: one overwrites the other, or gets nothing."""
    for counts in (False, True):
        shared = {"pool": "one", "pool_counts": counts}
        with fake_cuda(profiles(shared, shared)) as fake:
            outcome = run(fake.path, 2)
        classes = [value(outcome, bus, "capacity.class") for bus in range(2)]
        tested = [value(outcome, bus, "capacity.tested_bytes") for bus in range(2)]
        assert classes != ["whole", "whole"], (counts, classes, tested)


def test_nvml_has_to_see_the_memory_taken() -> None:
    with fake_cuda(profiles({}, {})) as fake:
        outcome = run(fake.path, 2, telemetry=Onlooker(taken={BUSES[0]: 1000 * MIB}))
    assert value(outcome, 0, "measure.attributed") is True
    assert value(outcome, 1, "measure.attributed") is False


def test_what_is_left_out_is_told() -> None:
    with fake_cuda(profiles({}, {})) as fake:
        outcome = run(fake.path, 2, selected=(BUSES[0],))
    assert value(outcome, None, "measure.window") is False
    assert value(outcome, None, "measure.unmeasured") == BUSES[1]
    assert value(outcome, 1, "measure.state") == "refused: it was left out"
    assert value(outcome, 0, "capacity.class") == "whole"


def test_a_card_that_cuda_does_not_see_says_so() -> None:
    with fake_cuda(profiles({})) as fake:
        outcome = run(fake.path, 2)
    assert value(outcome, 0, "measure.state") == "done"
    assert str(value(outcome, 1, "measure.state")).startswith("failed: cuDeviceGet")
    assert value(outcome, None, "measure.window") is False


def test_without_a_driver_everything_says_why() -> None:
    outcome = run("/nowhere/libcuda.so.1", 2)
    source = said(outcome, None, "source.cuda", Source.CUDA)
    assert source is not None
    assert source.status is ClaimStatus.NOT_FOUND
    assert "install the NVIDIA driver" in str(value(outcome, 0, "measure.state"))
    assert not outcome.emulated


def test_a_busy_card_is_refused_and_the_others_are_measured() -> None:
    class Busy(NoTelemetry):
        def sample(self, bus_id: str) -> Sample:
            return Sample(processes=1 if bus_id == BUSES[1] else 0)

    with fake_cuda(profiles({}, {})) as fake:
        outcome = run(fake.path, 2, telemetry=Busy())
    assert "1 process of others" in str(value(outcome, 1, "measure.state"))
    assert value(outcome, 0, "capacity.class") == "whole"
    assert value(outcome, None, "measure.window") is False


def test_copies_between_cards_come_last_and_their_rate_is_told() -> None:
    plan = replace(
        PLAN,
        capacity=replace(CAPACITY, limit_bytes=64 * MIB),
        fingerprint=True,
        peers=True,
    )
    shown = Shown()
    rates = []
    for peer_kb_s in (276_000_000, 184_000_000):
        change = {"peer_kb_s": peer_kb_s}
        with fake_cuda(profiles(change, change)) as fake:
            outcome = run(fake.path, 2, plan=plan, display=shown)
        assert value(outcome, 0, "fingerprint.sm_count") == 108
        assert value(outcome, 0, "fingerprint.valid") is True
        rates.append(value(outcome, 1, "fingerprint.peer_kb_s"))
        assert rates[-1] == value(outcome, 0, "fingerprint.peer_kb_s")
    a100, a800 = rates
    assert isinstance(a100, int)
    assert isinstance(a800, int)
    # Eight links of an A800 carry 212 GB/s at most: the A100 rules them out, the A800 does not.
    assert a100 > 223_000_000
    assert a800 < 212_000_000


@pytest.mark.parametrize("call", [1, 4, 12, 30, 44, 60, 90, 140])
def test_an_unknown_error_in_any_call_is_told_and_never_a_fault_of_ours(call: int) -> None:
    plan = replace(PLAN, capacity=replace(CAPACITY, limit_bytes=128 * MIB))
    with fake_cuda(profiles({}), fail_any_at=call) as fake:
        outcome = run(fake.path, 1, plan=plan)
    state = str(value(outcome, 0, "measure.state"))
    assert not state.startswith("died"), state
    assert value(outcome, 0, "capacity.class") in (None, "invalid", "lost", "whole", "short")


def test_each_card_fails_in_its_own_way_and_the_good_one_finishes() -> None:
    """Real processes, a place drawn for each; every place in turn is in test_every_call.py."""
    at = {name: secrets.randbelow(most) + 1 for name, most in PLACES.items()}
    print(at)
    faults = [
        Faults(),
        Faults(lost_at_call=60 + at["lost"], lost_code=secrets.choice((46, 700, 719, 999))),
        Faults(hang_call="cuCtxSynchronize", hang_at=at["hang"]),
        Faults(fail_call="cuLaunchKernel", fail_at=at["fail"], fail_code=2),
        Faults(fail_call="cuMemcpyDtoH_v2", fail_at=at["copy"], fail_code=999),
    ]
    buses = [*BUSES, "00000000:4C:00.0", "00000000:88:00.0"]
    cards = [
        card(
            "a100-80",
            index=number,
            claimed_mib=256,
            uuid=f"GPU-5a11ed00-0002-4e7a-8c3d-7e57ca5e000{number + 1}",
            pci_bus_id=buses[number][4:],
            faults=fault,
        )
        for number, fault in enumerate(faults)
    ]
    capacity = replace(CAPACITY, chunk_bytes=32 * MIB, limit_bytes=128 * MIB, stall_ms=8000)
    with fake_cuda(cards) as fake:
        request = MeasureRequest(
            plan=replace(PLAN, capacity=capacity), nonce=b"five at once", library=fake.path
        )
        found = measure_cards([Card(bus_id=bus) for bus in buses], request, NoTelemetry())

    def end(number: int) -> tuple[str, object]:
        claims = {c.id: c for c in found.devices[buses[number]] if c.source is Source.MEASURED}
        state = str(claims["measure.state"].value).partition(":")[0]
        assert claims["capacity.claimed_bytes"].ok
        assert claims["capacity.allocated_bytes"].ok
        return state, claims["capacity.class"].value

    ends = [end(number) for number in range(5)]
    assert ends[0] == ("done", "whole")
    assert ends[1] == ("lost", "lost")
    assert ends[2][0] in ("timed-out", "lost")
    assert ends[2][1] == "lost"
    # Out of memory at the very first launch is less memory than usual; later, it voids the proof.
    assert ends[3] in (("done", "invalid"), ("done", "short"))
    assert ends[4] == ("done", "invalid")


PLACES = {"lost": 40, "hang": 20, "fail": 20, "copy": 10}
