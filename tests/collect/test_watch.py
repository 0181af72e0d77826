"""Sources in threads: results, refusals, faults of ours, and those that hang."""

from __future__ import annotations

import threading
import time

import pytest

from gpuverify.collect import watch
from gpuverify.collect.watch import Watched
from gpuverify.errors import FormatError


def test_result() -> None:
    watched = Watched("pci-config", lambda: 42, 10)
    assert watched.wait()
    assert watched.result == 42
    assert watched.refusal is None


@pytest.mark.parametrize(
    "error", [FormatError("file", "truncated"), PermissionError(13, "no"), ValueError("bad")]
)
def test_expected_refusals_are_kept(error: Exception) -> None:
    def fail() -> int:
        raise error

    watched = Watched("procfs", fail, 10)
    assert watched.wait()
    assert watched.refusal is error
    assert watched.result is None


@pytest.mark.parametrize(
    "error", [KeyError("x"), ZeroDivisionError(), AssertionError(), SystemExit(0)]
)
def test_faults_of_ours_go_on(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    watched = Watched("host", fail, 10)
    assert watched.wait()
    with pytest.raises(type(error)):
        _ = watched.refusal
    assert capfd.readouterr().err == ""


def test_hanging_call_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_FIRST_BEAT_S", 0.05)
    monkeypatch.setattr(watch, "_BEAT_S", 0.05)
    release = threading.Event()
    lines: list[str] = []
    watched = Watched("nvml", lambda: release.wait(60), 0.4)
    started = time.monotonic()
    assert not watched.wait(lines.append)
    assert time.monotonic() - started < 10
    assert lines
    assert all(line.startswith("nvml: still waiting (") for line in lines)
    assert watched.result is None
    threads = [t for t in threading.enumerate() if t.name == "gpuverify-nvml"]
    assert all(thread.daemon for thread in threads)
    release.set()
    for thread in threads:
        thread.join(10)


def test_quick_calls_say_nothing() -> None:
    lines: list[str] = []
    assert Watched("nvml", lambda: 1, 10).wait(lines.append)
    assert lines == []
