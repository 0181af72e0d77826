"""Recording and replaying what a chip signs; redaction leaves the signed bytes out."""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shim_support import build

from gpuverify.model.claims import Claim, ClaimStatus
from gpuverify.sources.nvml import read_nvml
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording import Origin, Recording, dump_recording, load_recording
from gpuverify.sources.recording_nvml import ReplayedNvml, swapped_library
from gpuverify.sources.recording_proxy import RecordingNvml
from gpuverify.sources.recording_redact import redacted

pytestmark = pytest.mark.required

SIGNED = ("attestation.report", "attestation.certificates")
NONCE = bytes(range(101, 133))


def read(library: object) -> SourceReading:
    with swapped_library(library):
        return read_nvml(clock=lambda: 7, nonce_for=lambda _uuid: NONCE)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceReading, Recording]:
    """What a card in confidential mode said, and the recording of it."""
    folder = build(tmp_path_factory.mktemp("shim"))
    proxy = RecordingNvml(ctypes.CDLL(str(folder / "libnvidia-ml.so.1")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIM_QUIRK", "ccon")
        reading = read(proxy)
    recording = Recording(
        origin=Origin(kind="real", text="a shim", licence="Apache-2.0"),
        unlisted="error",
        calls=tuple(proxy.calls),
        missing=tuple(proxy.missing),
    )
    return reading, recording


def attestation(reading: SourceReading) -> list[Claim]:
    claims = [claim for found in reading.devices.values() for claim in found]
    return [c for c in (*reading.host, *claims) if c.id.startswith("attestation.")]


def test_what_was_recorded_is_replayed(recorded: tuple[SourceReading, Recording]) -> None:
    reading, recording = recorded
    again = load_recording(dump_recording(recording), "recording.json")
    claims = attestation(reading)
    assert len(claims) == 2 + 2 * 3
    assert all(claim.ok for claim in claims)
    assert attestation(read(ReplayedNvml(again))) == claims


def test_redaction_leaves_the_signed_bytes_out_and_says_so(
    recorded: tuple[SourceReading, Recording],
) -> None:
    reading, recording = recorded
    hidden = redacted(recording, host_name="intake-7", salt=b"a salt of a test")
    written = dump_recording(hidden)
    for claim in attestation(reading):
        if claim.id in SIGNED:
            for part in str(claim.value).split(","):
                signed = base64.b64decode(part)
                assert signed.hex().encode() not in written
                assert ",".join(map(str, signed)).encode() not in b"".join(written.split())
                assert part.encode() not in written
    assert NONCE.hex().encode() not in written
    replayed = attestation(read(ReplayedNvml(load_recording(written, "recording.json"))))
    assert [claim.id for claim in replayed] == [claim.id for claim in attestation(reading)]
    for claim in replayed:
        if claim.id in SIGNED:
            assert (claim.status, claim.raw_code) == (ClaimStatus.FAILED, 21)
            assert claim.raw_text == "NVML_ERROR_NO_DATA"
        else:
            assert claim.ok


def test_a_recording_from_before_these_calls_still_replays(
    recorded: tuple[SourceReading, Recording],
) -> None:
    reading, recording = recorded
    old = dataclasses.replace(
        recording, calls=tuple(c for c in recording.calls if "ConfCompute" not in c.symbol)
    )
    library = ReplayedNvml(old)
    again = read(library)
    assert library.unknown == []
    claims = attestation(again)
    assert {(claim.id, claim.raw_code) for claim in claims} == {
        ("attestation.mode", 13), *((name, 13) for name in SIGNED),
    }  # fmt: skip
    assert len(claims) == 1 + 2 * 2
    for key, found in reading.devices.items():
        others = [c for c in found if not c.id.startswith("attestation.")]
        assert [c for c in again.devices[key] if not c.id.startswith("attestation.")] == others


def test_a_host_in_its_ordinary_mode_costs_three_calls(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """However many cards stand in it: none of them is asked."""
    proxy = RecordingNvml(
        ctypes.CDLL(str(build(tmp_path_factory.mktemp("off")) / "libnvidia-ml.so.1"))
    )
    read(proxy)
    calls = [call.symbol for call in proxy.calls if "ConfCompute" in call.symbol]
    assert sorted(calls) == [
        f"nvmlSystemGetConfCompute{what}" for what in ("Capabilities", "Settings", "State")
    ]
