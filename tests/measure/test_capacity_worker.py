"""The child and its watchdog: honest runs, gates, hangs, deaths, several cards at once."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuverify.errors import UsageError
from gpuverify.measure import worker
from gpuverify.measure.capacity_classify import CapacityClass, classify
from gpuverify.measure.capacity_plan import MIB, CapacityPlan
from gpuverify.measure.capacity_task import evidence_of
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import pack_text
from gpuverify.measure.progress import Progress
from gpuverify.measure.watchdog import Child, Ending
from gpuverify.measure.worker import Request, State, Talk, bus_id_key
from gpuverify.testing.cuda import FakeCuda, Faults, NoCompilerError, card, fake_cuda

PLAN = CapacityPlan(
    dwell_ms=0,
    reserve_bytes=2 * MIB,
    digest_blocks=2,
    pages=8,
    butterfly_samples=4,
    rate_chunk_bytes=8 * MIB,
)
CARDS = (
    card("a100-80", claimed_mib=64, context_mib=2),
    card("a100-80", index=1, claimed_mib=64, context_mib=2, real_mib=40),
    card(
        "a100-80",
        index=2,
        claimed_mib=64,
        context_mib=2,
        faults=Faults(hang_call="cuLaunchKernel", hang_at=8),
    ),
    card("a100-80", index=3, claimed_mib=64, context_mib=2, faults=Faults(lost_from_mib=30)),
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeCuda]:
    try:
        with fake_cuda(CARDS) as made:
            # Compiles the kernels, which the short limits below leave no time for.
            with OpenDevice.open(Driver.load(made.path), 0) as device:
                device.driver.module_load_data_ex(pack_text("base"))
            yield made
    except NoCompilerError as error:
        pytest.skip(str(error))


def request_for(fake: FakeCuda, number: int, plan: CapacityPlan = PLAN, **values: Any) -> Request:
    nonce = secrets.token_hex(16)
    print(f"nonce {nonce}")
    return Request(
        uuid=CARDS[number].uuid,
        nonce=nonce,
        tasks=(("capacity", plan.to_json()),),
        library=fake.path,
        **values,
    )


def start(
    request: Request, folder: Path, stall_ms: int = 60_000, deadline_ms: int = 120_000
) -> Child:
    path = folder / f"{secrets.token_hex(4)}.jsonl"
    return Child(request, path, stall_ms=stall_ms, deadline_ms=deadline_ms)


def finish(*children: Child, seconds: float = 90) -> None:
    """Poll children until all have ended, opening gates."""
    end = time.monotonic() + seconds
    left = list(children)
    while left := [child for child in left if not child.poll()]:
        assert time.monotonic() < end
        for child in left:
            child.open_gate()
        time.sleep(0.01)


def test_four_cards_at_once_each_get_their_own_answer(fake: FakeCuda, tmp_path: Path) -> None:
    children = [
        start(request_for(fake, n), tmp_path, stall_ms=5000 if n == 2 else 60_000) for n in range(4)
    ]
    finish(*children)
    honest, folded, hung, lost = (classify(evidence_of(child.outcome)) for child in children)
    assert honest.kind is CapacityClass.WHOLE
    assert honest.detectors == ()
    assert folded.kind is CapacityClass.FOLDED
    assert folded.fold_bytes == 40 * MIB
    assert hung.kind is CapacityClass.LOST
    assert hung.detectors == ("stalled",)
    assert hung.lost_offset_bytes is not None
    assert hung.allocated_bytes > 50 * MIB
    assert lost.kind is CapacityClass.LOST
    assert lost.detectors == ("device-error",)
    assert [child.outcome.ending for child in children] == [
        Ending.DONE, Ending.DONE, Ending.STALLED, Ending.DONE,
    ]  # fmt: skip
    assert children[2].outcome.exit_code == -signal.SIGKILL
    for child in children:
        assert child.outcome.complaint == ""


def test_the_state_file_tells_the_whole_story(fake: FakeCuda, tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    request = request_for(fake, 0)
    child = Child(request, path, stall_ms=60_000, deadline_ms=60_000)
    outcome = child.wait()
    assert outcome.ending is Ending.DONE
    lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    events = [line["event"] for line in lines]
    assert events[:3] == ["started", "opened", "task"]
    assert events[-2:] == ["evidence", "done"]
    phases = list(dict.fromkeys(line["phase"] for line in lines if line["event"] == "progress"))
    assert phases[:6] == ["prepare", "allocate", "write-a", "dwell-a", "check-a", "write-b"]
    # Each chunk is announced before it is touched.
    offsets = [line["offset_bytes"] for line in lines if line.get("phase") == "write-a"]
    assert [o for o in offsets if o is not None] == sorted({o for o in offsets if o is not None})
    assert len(offsets) > 5
    assert request.nonce not in path.read_text(encoding="ascii")


def test_a_child_waits_at_its_gates(fake: FakeCuda, tmp_path: Path) -> None:
    child = start(request_for(fake, 0, gated=True), tmp_path, stall_ms=30_000)
    seen = []
    end = time.monotonic() + 60
    while not child.poll():
        assert time.monotonic() < end
        if child.waiting_at:
            seen.append(child.waiting_at)
            time.sleep(0.05)
            assert not child.poll()
            child.open_gate()
        time.sleep(0.01)
    assert seen == ["allocated", "verified"]
    assert child.outcome.ending is Ending.DONE


def test_a_child_can_be_stopped_and_keeps_what_it_knows(fake: FakeCuda, tmp_path: Path) -> None:
    child = start(request_for(fake, 0, gated=True), tmp_path)
    end = time.monotonic() + 60
    while not child.waiting_at:
        assert not child.poll()
        assert time.monotonic() < end
        time.sleep(0.01)
    child.stop("95 degrees Celsius")
    assert child.poll()
    assert child.outcome.ending is Ending.STOPPED
    assert child.outcome.reason == "95 degrees Celsius"
    result = classify(evidence_of(child.outcome))
    assert result.kind is CapacityClass.INVALID
    assert result.detectors == ("stopped",)
    assert result.allocated_bytes > 50 * MIB


def test_a_child_that_is_killed_has_died(fake: FakeCuda, tmp_path: Path) -> None:
    child = start(
        request_for(fake, 0, CapacityPlan(reserve_bytes=2 * MIB, dwell_ms=60_000)), tmp_path
    )
    end = time.monotonic() + 60
    while not (child.poll() or "capacity" in child.outcome.partial):
        assert time.monotonic() < end
        time.sleep(0.01)
    path = next(tmp_path.glob("*.jsonl"))
    pid = json.loads(path.read_text(encoding="ascii").splitlines()[0])["pid"]
    os.kill(pid, signal.SIGSEGV)
    finish(child)
    assert child.outcome.ending is Ending.DIED
    result = classify(evidence_of(child.outcome))
    assert result.kind is CapacityClass.INVALID
    assert result.detectors == ("died",)


def test_a_child_whose_time_is_over(fake: FakeCuda, tmp_path: Path) -> None:
    plan = CapacityPlan(reserve_bytes=2 * MIB, dwell_ms=60_000)
    child = start(request_for(fake, 0, plan), tmp_path, deadline_ms=1500)
    finish(child)
    assert child.outcome.ending is Ending.OVERDUE
    assert classify(evidence_of(child.outcome)).kind is CapacityClass.INVALID


@pytest.mark.parametrize("what", ["library", "uuid", "bus"])
def test_a_child_that_cannot_open_its_card_says_why(
    fake: FakeCuda, tmp_path: Path, what: str
) -> None:
    values: dict[str, Any] = {
        "library": {"library": str(tmp_path / "none.so")},
        "uuid": {"uuid": "GPU-ffffffff-0000-0000-0000-000000000000"},
        "bus": {"pci_bus_id": "0000:FF:00.0"},
    }[what]
    values = {"nonce": "00", "tasks": (), "library": fake.path} | values
    request = Request(**values)
    child = start(request, tmp_path)
    finish(child)
    assert child.outcome.ending is Ending.FAILED
    assert child.outcome.failed["status"] == ("no-library" if what == "library" else "bad-device")
    assert child.outcome.complaint == ""
    evidence = evidence_of(child.outcome)
    assert evidence.failure is not None
    assert classify(evidence).kind is CapacityClass.INVALID


def run_here(
    request: Request, monkeypatch: pytest.MonkeyPatch, path: Path
) -> tuple[int, list[Any]]:
    """Run the child's main in this process."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(request.to_json() + "\n"))
    code = worker.main([str(path)])
    return code, [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_main_finds_a_card_by_either_form_of_its_bus_id(
    fake: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        pci_bus_id="00000000:0f:00.0", nonce="ab", tasks=(("capacity", PLAN.to_json()),),
        library=fake.path,
    )  # fmt: skip
    code, lines = run_here(request, monkeypatch, tmp_path / "state")
    assert code == 0
    assert lines[1]["uuid"] == CARDS[1].uuid
    assert lines[-1]["event"] == "done"


def test_main_refuses_an_unknown_task(
    fake: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(nonce="ab", tasks=(("soldering", {}),), library=fake.path)
    code, lines = run_here(request, monkeypatch, tmp_path / "state")
    assert code == 1
    assert lines[-1]["message"] == "no such measurement: soldering"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"nonce": "xyz", "tasks": []}', '{"nonce": 1, "tasks": 3}'],
)
def test_main_refuses_what_is_no_request(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text + "\n"))
    assert worker.main([str(tmp_path / "state")]) == 1
    line = json.loads((tmp_path / "state").read_text(encoding="ascii"))
    assert line["status"] == "refused"
    with pytest.raises(UsageError):
        Request.from_json(text)


def test_a_request_survives_its_line() -> None:
    request = Request(
        uuid="GPU-1", pci_bus_id="0000:07:00.0", nonce="00ff", tasks=(("capacity", {"pages": 3}),),
        library="/x", gated=True,
    )  # fmt: skip
    assert Request.from_json(request.to_json()) == request
    assert "\n" not in request.to_json()


def test_a_gate_opens_when_the_parent_is_gone(tmp_path: Path) -> None:
    with (tmp_path / "s").open("w", encoding="ascii") as stream:
        Talk(State(stream), "capacity", io.StringIO("")).gate("allocated")
    assert json.loads((tmp_path / "s").read_text(encoding="ascii"))["gate"] == "allocated"


def test_progress_is_one_line_each(tmp_path: Path) -> None:
    with (tmp_path / "s").open("w", encoding="ascii") as stream:
        progress = Progress(
            phase="write-a", done_bytes=1, total_bytes=2, rate_kb_s=3, offset_bytes=4
        )
        Talk(State(stream), "capacity", None).report(progress)
    line = json.loads((tmp_path / "s").read_text(encoding="ascii"))
    assert line["phase"] == "write-a"
    assert line["offset_bytes"] == 4
    assert line["task"] == "capacity"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("0000:17:00.0", "00000000:17:00.0", True),
        ("0000:07:00.0", "0000:7:0.0", True),
        ("0000:17:00.0", "0000:18:00.0", False),
        ("x", "0000:17:00.0", False),
    ],
)
def test_bus_ids_compare_by_number(first: str, second: str, same: bool) -> None:
    assert (bus_id_key(first) == bus_id_key(second)) is same
