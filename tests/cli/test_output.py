"""Files are written whole or not at all, and what cannot be written is said."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from gpuverify.cli import output
from gpuverify.errors import OutputError

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def test_a_new_file_is_written(tmp_path: Path) -> None:
    output.write_file(str(tmp_path / "a.json"), b"one\n", replace=False)
    assert (tmp_path / "a.json").read_bytes() == b"one\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_existing_file_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"):
        output.write_file(str(path), b"new", replace=False)
    with pytest.raises(OutputError, match="--force"):
        output.check_writable(str(path), replace=False)
    assert path.read_bytes() == b"old"
    output.check_writable(str(path), replace=True)
    output.write_file(str(path), b"new", replace=True)
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    output.write_file(str(tmp_path / "link"), b"new", replace=True)
    assert target.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        output.write_file(str(tmp_path / "a"), b"x", replace=False)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_and_folder_in_place(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "a folder"), (tmp_path / "no" / "a", "does not exist")):
        with pytest.raises(OutputError, match=words):
            output.check_writable(str(path), replace=True)
    with pytest.raises(OutputError):
        output.write_file(str(tmp_path / "no" / "a"), b"x", replace=True)


@needs_full
def test_a_full_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="No space left"):
        output.write_file("/dev/full", b"x", replace=False)
    assert Path("/dev/full").is_char_device()
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="No space left"):
            output.write_stdout("x")
        monkeypatch.setattr(sys, "stderr", full)
        output.write_stderr("nobody reads this")
        monkeypatch.undo()
        full_fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(full_fd, full.fileno())
        os.close(full_fd)


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError):
        output.write_stdout("x")
    output.flush_stdout()
    with pytest.raises(OutputError):
        output.flush_stdout(needed=True)
    monkeypatch.setattr(sys, "stderr", None)
    output.write_stderr("x")


def test_a_closed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(OutputError, match="closed"):
        output.write_stdout("x")


def test_a_console_without_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="gbk", newline=""))
    output.write_stdout("a \u2026 \u2713 \udcff\n")
    assert raw.getvalue() == b"a ... \\u2713 \\udcff\n"


def test_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    output.check_writable("-", replace=False)
    output.write_file("-", b"{}\n", replace=False)
    assert capsys.readouterr().out == "{}\n"
