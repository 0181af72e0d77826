"""A field run: a redacted case that replays, and values without identities."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuverify.collect.measure import ChosenMeasurer, ReplayedMeasurer
from gpuverify.collect.record import record_machine
from gpuverify.collect.replay import recorded_measurement, replay_case, replay_recording
from gpuverify.collect.selftest import FILE, field_run, run_selftest
from gpuverify.errors import OutputError, SourceError, UsageError
from gpuverify.measure.plan import request
from gpuverify.sources.cases import load_case
from gpuverify.sources.recording import Recording
from gpuverify.sources.recording_host import ReplayedCommands, ReplayedTree
from gpuverify.sources.recording_measured import readings_of
from gpuverify.sources.recording_nvml import ReplayedNvml

CASE = "ga100/a100-sxm4-80gb-measured"


def record(**options: Any) -> Recording:
    recording = load_case(CASE).recording
    return record_machine(
        tree=ReplayedTree(recording),
        commands=ReplayedCommands(recording),
        library=ReplayedNvml(recording, raise_unknown=False),
        host_name="",
        **options,
    )


def played() -> ReplayedMeasurer:
    return ReplayedMeasurer(readings_of(load_case(CASE).recording.measured))


def test_a_field_run_holds_values_and_no_identity(tmp_path: Path) -> None:
    done = run_selftest(tmp_path / "run", played(), record=record)
    assert done.well
    text = (done.folder / FILE).read_text(encoding="utf-8")
    uuid = str(replay_case(CASE).devices[0].claims.value("gpu.uuid"))
    assert uuid not in text
    assert uuid not in (done.folder / "recording.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["schema"] == "gpuverify/field-run/v1"
    assert document["level"] == "full"
    (card,) = document["cards"]
    assert card["measured"]["fingerprint.sm_count"] == 108
    assert card["cuda"]["gpu.name"] == "NVIDIA A100-SXM4-80GB"
    assert set(document["kernels"]) == {"base", "tensor", "fp8"}


def test_the_case_of_a_field_run_replays(tmp_path: Path) -> None:
    done = run_selftest(tmp_path / "run", played(), record=record)
    # What a synthetic machine does not hold was not recorded as missing.
    recording = replace(load_case(str(done.folder)).recording, unlisted="absent")
    evidence = replay_recording(recording, origin="x", measure=recorded_measurement(recording))
    assert evidence.devices[0].claims.all("capacity.class")[0].value == "whole"


def test_an_existing_folder_is_refused_before_anything_runs(tmp_path: Path) -> None:
    def never(**_options: Any) -> Recording:
        pytest.fail("nothing may be measured")

    with pytest.raises(OutputError, match="exists already"):
        run_selftest(tmp_path, played(), record=never)


def test_without_a_measured_card_there_is_no_field_run(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no card"):
        run_selftest(tmp_path / "run", ReplayedMeasurer({}), record=record)
    assert not (tmp_path / "run").exists()


def test_a_wrong_result_is_told() -> None:
    recording = load_case(CASE).recording
    document = field_run(recording)
    assert document["cards"][0]["absent"] == {}


def test_a_card_that_is_not_there_is_wrong_usage() -> None:
    devices = replay_case(CASE).devices
    chosen = ChosenMeasurer(request("full"), "GPU-00000000-1111-2222-3333-444444444444")
    with pytest.raises(UsageError, match="no GPU has this index, UUID or bus id in this machine"):
        chosen(devices, None)
