"""Recording a machine and replaying the recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuverify.collect.record import record_case, record_machine, write_case
from gpuverify.collect.replay import replay_case, replay_recording
from gpuverify.errors import OutputError, SourceError
from gpuverify.model.evidence import EvidenceClass
from gpuverify.sources.cases import case_names, load_case
from gpuverify.sources.recording import FileEntry, RecordingError, dump_recording, load_recording
from gpuverify.sources.recording_host import ReplayedCommands, ReplayedTree
from gpuverify.sources.recording_nvml import ReplayedNvml
from gpuverify.sources.recording_redact import placeholder, redacted
from gpuverify.testing import SyntheticHost, synthetic_recording
from gpuverify.testing.host_files import packed


def claims_of(evidence: Any) -> Any:
    """Everything that a rule sees, without origin and times."""
    return (
        [(c.id, c.source, c.status, c.value, c.raw_code, c.raw_text) for c in evidence.host],
        [
            [(c.id, c.source, c.status, c.value, c.raw_code, c.raw_text) for c in device.claims]
            for device in evidence.devices
        ],
    )


def record(recording: Any, **options: Any) -> Any:
    return record_machine(
        tree=ReplayedTree(recording),
        commands=ReplayedCommands(recording),
        library=ReplayedNvml(recording),
        host_name="intake-host-17",
        **options,
    )


@pytest.mark.required
@pytest.mark.parametrize(
    "name",
    ["ga100/a100-sxm4-80gb-x8", "gh100/h100-pcie-80gb", "gv100/v100-sxm2-16gb", "kepler/k80",
     "ada/rtx-4090"],
)  # fmt: skip
def test_a_recording_replays_to_the_same_evidence(name: str, tmp_path: Path) -> None:
    base = load_case(name).recording
    made = record(base, redact=False, text="a test", licence="Apache-2.0")
    assert made.unlisted == "error"
    path = write_case(made, tmp_path / "case")
    first = replay_recording(base, origin="base")
    second = replay_case(str(path.parent))
    assert claims_of(first) == claims_of(second)
    assert first.evidence_class is second.evidence_class is EvidenceClass.REPLAYED


@pytest.mark.required
def test_redaction_keeps_everything_but_identities(tmp_path: Path) -> None:
    host = SyntheticHost(environ={"SECRET_TOKEN": "hunter2", "LD_LIBRARY_PATH": "/opt/x"})
    base = load_case("ga100/a100-sxm4-80gb-x8").recording
    log = b"6,1,0,-;intake-host-17 booted\n4,2,0,-;NVRM: Xid (PCI:0000:07:00): 63, pid=1\n"
    environ = b"".join(f"{name}={value}".encode() + b"\0" for name, value in host.environ.items())
    files = {
        **base.files,
        "/dev/kmsg": packed(log),
        "/proc/self/environ": packed(environ),
        "/proc/sys/kernel/hostname": FileEntry.text("intake-host-17\n"),
    }
    base = replace(base, files=files)
    plain = record(base, redact=False)
    made = record(base, redact=True)
    text = dump_recording(made).decode()
    evidence = replay_recording(base, origin="x")
    identities = {
        str(claim.value)
        for device in evidence.devices
        for claim in device.claims
        if claim.id in ("gpu.uuid", "gpu.serial", "gpu.pdi") and claim.ok
    }
    assert len(identities) == 24
    for identity in identities:
        assert identity not in text
        assert identity.removeprefix("0x") not in text
        if identity.startswith("0x"):
            assert bytes.fromhex(identity[2:])[::-1].hex() not in text
    for secret in ("hunter2", "SECRET", "intake-host-17"):
        assert secret not in text
        assert secret.encode().hex() not in text
    assert b"LD_LIBRARY_PATH=/opt/x" in made.files["/proc/self/environ"].data
    assert "Xid" in text
    before, after = (replay_recording(one, origin="x") for one in (plain, made))
    for old, new in zip(before.devices, after.devices, strict=True):
        for claim_id in ("gpu.uuid", "gpu.serial", "gpu.pdi"):
            values = {str(c.value) for c in new.claims.all(claim_id) if c.ok}
            assert len(values) == 1, claim_id
            (was,) = {str(c.value) for c in old.claims.all(claim_id) if c.ok}
            (now,) = values
            assert len(now) == len(was)
            assert now != was
        hidden = ("gpu.uuid", "gpu.serial", "gpu.pdi")
        assert [
            (c.id, c.source, c.status, None if c.id in hidden else c.value) for c in old.claims
        ] == [(c.id, c.source, c.status, None if c.id in hidden else c.value) for c in new.claims]
    assert len({d.claims.value("gpu.uuid") for d in after.devices}) == 8
    assert before.host.value("host.kernel_log_xids") == after.host.value("host.kernel_log_xids")


def test_a_clone_stays_a_clone_and_a_placeholder_a_placeholder() -> None:
    card = load_case("ga100/a30").recording
    made = redacted(card, salt=b"salt")
    assert made == redacted(card, salt=b"salt")
    assert made != redacted(card, salt=b"pepper")
    for text in (
        "0",
        "N/A",
        "0000000000000",
        "1234567890123",
        "GPU-00000000-0000-0000-0000-000000000000",
    ):
        assert placeholder(text)
    assert not placeholder("1560222000101")


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        record_case(tmp_path)
    target = tmp_path / "case"
    made = synthetic_recording([])
    write_case(made, target)
    with pytest.raises(OutputError, match="exists already"):
        write_case(made, target)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_case(made, tmp_path / "file" / "case")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "file"]


def test_a_machine_without_a_card_is_no_recording() -> None:
    empty = synthetic_recording([])
    with pytest.raises(SourceError, match="nothing to record"):
        record(empty)


def test_an_incomplete_recording_says_what_is_missing() -> None:
    made = record(load_case("ga100/a30").recording, redact=False)
    calls = tuple(call for call in made.calls if call.symbol != "nvmlDeviceGetName")
    with pytest.raises(RecordingError, match="nvmlDeviceGetName"):
        replay_recording(replace(made, calls=calls), origin="x")
    files = {path: entry for path, entry in made.files.items() if not path.endswith("/config")}
    with pytest.raises(RecordingError, match="config"):
        replay_recording(replace(made, files=files), origin="x")
    commands = tuple(entry for entry in made.commands if "--verify" not in entry.argv)
    with pytest.raises(RecordingError, match="dpkg --verify"):
        replay_recording(replace(made, commands=commands), origin="x")


def test_recordings_survive_their_file_format() -> None:
    for name in case_names():
        if (load_case(name).folder / "recording.json").is_file():
            recording = load_case(name).recording
            assert load_recording(dump_recording(recording), name) == recording


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": "gpuverify/recording/v2"}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"unlisted": "maybe"}, "unlisted"),
        ({"origin": {"kind": "genuine", "text": "", "licence": ""}}, "kind"),
        ({"nvml": [{"symbol": 7}]}, "symbol"),
        ({"nvml": [{"symbol": "x", "arguments": [[]]}]}, "arguments"),
        ({"nvml": [{"symbol": "x", "extra": 1}]}, "extra"),
        ({"nvidia_smi": {"argv": [], "leaves": [["a"]]}}, "leaf"),
        ({"files": {"/x": {"hex": "zz"}}}, "hex"),
        ({"files": {"/x": {"text": "a", "size": 0}}}, "size"),
        ({"files": {"/x": {"node": "pipe"}}}, "node"),
        ({"commands": [{"argv": "ls"}]}, "argv"),
    ],
)
def test_a_malformed_recording_is_refused_with_its_place(change: Any, complaint: str) -> None:
    document = json.loads(dump_recording(load_case("ga100/a30").recording))
    document.update(change)
    with pytest.raises(RecordingError, match=complaint):
        load_recording(json.dumps(document).encode(), "here")
