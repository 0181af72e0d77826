"""The measured part of a recording: kept, edited, copied, redacted and read strictly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.cases import load_case
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording import Origin, Recording, dump_recording, load_recording
from gpuverify.sources.recording_measured import (
    MeasuredRow,
    read_rows,
    readings_of,
    rows_of,
)
from gpuverify.sources.recording_redact import redacted

BUS = "00000000:07:00.0"
UUID = "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52"
ROWS = (
    MeasuredRow(
        claim=Claim(id="measure.window", status=ClaimStatus.OK, value=True, source=Source.MEASURED)
    ),
    MeasuredRow(
        bus_id=BUS,
        claim=Claim(id="gpu.uuid", status=ClaimStatus.OK, value=UUID, source=Source.CUDA),
    ),
    MeasuredRow(
        bus_id=BUS,
        claim=Claim(
            id="capacity.class",
            status=ClaimStatus.OK,
            value="folded",
            source=Source.MEASURED,
            call="capacity proof",
            raw_text=f"seen on {UUID}",
        ),
    ),
    MeasuredRow(
        bus_id=BUS,
        claim=Claim(
            id="fingerprint.fp32_fma_milliops",
            status=ClaimStatus.FAILED,
            source=Source.MEASURED,
            raw_text="sum differs",
        ),
    ),
)


def recording() -> Recording:
    return Recording(origin=Origin(kind="real", text="it", licence="any"), measured=ROWS)


def test_what_was_measured_survives_the_file() -> None:
    assert load_recording(dump_recording(recording()), "x").measured == ROWS


def test_a_recording_without_it_has_no_such_key() -> None:
    plain = replace(recording(), measured=())
    assert b"measured" not in dump_recording(plain)


def test_rows_become_readings_and_back() -> None:
    readings = readings_of(ROWS)
    assert [c.id for c in readings["measured"].host] == ["measure.window"]
    assert [c.id for c in readings["cuda"].devices[BUS]] == ["gpu.uuid"]
    assert set(rows_of(readings)) == set(ROWS)
    assert rows_of({"cuda": SourceReading()}) == ()


def test_a_uuid_is_redacted_wherever_it_stands() -> None:
    text = dump_recording(redacted(recording())).decode()
    assert UUID not in text
    assert "seen on GPU-" in text


@pytest.mark.parametrize(
    "row",
    [
        {"id": "gpu.colour", "gpu": BUS, "value": 1},
        {"id": "capacity.class", "value": "whole"},
        {"id": "measure.window", "gpu": BUS, "value": True},
        {"id": "capacity.class", "gpu": BUS, "value": 3},
        {"id": "capacity.class", "gpu": "0000:07:00.0", "value": "whole"},
        {"id": "capacity.class", "gpu": BUS, "value": "whole", "source": "nvml"},
        {"id": "capacity.class", "gpu": BUS, "value": "whole", "colour": "red"},
        {"id": "capacity.class", "gpu": BUS, "status": "ok"},
        {"id": "capacity.class", "gpu": BUS, "value": "whole", "status": "failed"},
        "capacity.class",
    ],
)
def test_rows_are_read_strictly(row: object) -> None:
    with pytest.raises(FormatError):
        read_rows([row], "x")  # type: ignore[list-item]


def test_an_edit_changes_what_was_measured() -> None:
    rows = load_case("ga100/a100-patched-to-80gb").recording.measured
    classes = [row.claim.value for row in rows if row.claim.id == "capacity.class"]
    assert classes == ["folded"]


def test_a_copied_gpu_was_measured_too() -> None:
    from gpuverify.sources.case_draft import Draft
    from gpuverify.sources.case_gpus import copy_gpu

    base = load_case("ga100/a100-sxm4-80gb-measured").recording
    draft = Draft(base)
    copy_gpu(draft, 0)
    rows = draft.finish("copied").measured
    buses = {row.bus_id for row in rows if row.bus_id}
    uuids = {row.claim.value for row in rows if row.claim.id == "gpu.uuid"}
    assert len(buses) == 2
    assert len(uuids) == 2
