"""The door: what is it, is it small enough, is it there?"""

from __future__ import annotations

import contextlib
import io
import resource
import sys
from pathlib import Path

import pytest

from gpuverify.codec.evidence_json import dump_evidence
from gpuverify.codec.limits import MAX_INPUT_BYTES
from gpuverify.codec.read import load_path, read_evidence
from gpuverify.errors import FormatError, MissingInputError
from gpuverify.model.evidence import EvidenceClass


class _Endless(io.RawIOBase):
    """A stream of 500 MB that counts what is taken from it."""

    def __init__(self, size: int, pattern: bytes) -> None:
        super().__init__()
        self.left = size
        self.pattern = pattern
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self.left)
        buffer[:count] = (self.pattern * (count // len(self.pattern) + 1))[:count]
        self.left -= count
        self.taken += count
        return count


class _Stdin:
    def __init__(self, stream: io.RawIOBase) -> None:
        self.buffer = io.BufferedReader(stream, 1 << 16)


def test_kinds(sample_xml: str, sample_text: str) -> None:
    xml = read_evidence(sample_xml.encode(), "a")
    assert xml.evidence_class is EvidenceClass.IMPORTED
    assert read_evidence(sample_text.encode(), "a").devices[0].claims.value("gpu.name")
    carried = read_evidence(dump_evidence(xml), "a")
    assert carried.evidence_class is EvidenceClass.CARRIED
    assert read_evidence(sample_text.encode("utf-16"), "a").devices
    assert read_evidence(("$ nvidia-smi -q -x\r\n" + sample_xml).encode("utf-16"), "a").devices


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"\xef\xbb\xbf",
        b"{}",
        b"[]",
        b"[CUDA Bandwidth Test]\n",
        b'{"schema": "gpuverify/result/v1"}',
        b"\x00" * 100,
        b"\x89PNG\r\n\x1a\n\x00",
        b"GPU\x00",
        "GPU 0: \u202e (UUID: x)".encode(),
        b"<?xml version='1.0' encoding='utf-7'?><nvidia_smi_log/>" + b"\xff",
        b"\xff\xfe<",
    ],
)
def test_one_line_for_everything_else(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        read_evidence(data, "in")
    assert str(caught.value).startswith("in: ")
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    "pattern", [b"A", b"GPU 00000000:01:00.0\n", b"<gpu>", b"[", b"\n", b"\x00"]
)
def test_500_megabytes_are_not_read(monkeypatch: pytest.MonkeyPatch, pattern: bytes) -> None:
    stream = _Endless(500 * 10**6, pattern)
    monkeypatch.setattr(sys, "stdin", _Stdin(stream))
    with pytest.raises(FormatError, match="larger than 32 MiB"):
        load_path("-")
    assert stream.taken < MAX_INPUT_BYTES + (2 << 20)


@pytest.mark.parametrize(
    "pattern",
    [
        b"\n",
        b"a\n",
        b" x : y\n",
        b"GPU Part Number : 20B2-895-A1\n",
        b"<nvidia_smi_log>",
        b"<nvidia_smi_log>" + b"<!-- -->" * 1000,
        b"{",
        b'{"a":1},',
    ],
)
def test_memory_is_bounded_at_the_limit(pattern: bytes) -> None:
    size = 8 * 2**20
    data = (pattern * (size // len(pattern) + 1))[:size]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(FormatError):
        read_evidence(data, "in")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300 * 1024


@pytest.mark.parametrize("line", [b"a" + b" " * 1900, b"\t" * 1990, b"| " + b" " * 1900])
def test_blanks_cost_no_more_than_their_length(line: bytes) -> None:
    data = b"| NVIDIA-SMI 1\n" + (line + b"\n") * 1000
    assert not read_evidence(data, "in").devices
    with pytest.raises(FormatError):
        read_evidence(data[15:], "in")


def test_too_large_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError, match="larger"):
        read_evidence(b"x" * (MAX_INPUT_BYTES + 1), "in")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, sample_xml: str) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(io.BytesIO(sample_xml.encode())))  # type: ignore[arg-type]
    evidence = load_path("-")
    assert evidence.origin == "standard input"
    assert len(evidence.devices) == 2


def test_files(tmp_path: Path, sample_xml: str) -> None:
    path = tmp_path / "log.xml"
    path.write_text(sample_xml)
    assert load_path(str(path)).origin == str(path)
    for missing in (str(tmp_path / "nothing"), str(tmp_path), "a\x00b"):
        with pytest.raises(MissingInputError) as caught:
            load_path(missing)
        assert caught.value.exit_code == 66
