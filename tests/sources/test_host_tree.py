"""Bounded reads, and the ways in which the kernel log ends one."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuverify.sources.host_tree import MachineTree


class Log(io.RawIOBase):
    """Gives one record a read, or raises what stands in its place."""

    def __init__(self, answers: Iterator[bytes | int | None]) -> None:
        super().__init__()
        self._answers = answers

    def read(self, size: int = -1) -> bytes | None:
        answer = next(self._answers)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer


def read_log(monkeypatch: pytest.MonkeyPatch, path: Path, *answers: bytes | int | None) -> bytes:
    path.touch()

    def opened(descriptor: int, *_: object, **__: object) -> Log:
        os.close(descriptor)
        return Log(iter(answers))

    monkeypatch.setattr(os, "fdopen", opened)
    return MachineTree(path.parent).read("/" + path.name)


def test_overwritten_records_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = read_log(monkeypatch, tmp_path / "kmsg", b"one", errno.EPIPE, b"two", None)
    assert data == b"onetwo"


def test_record_that_does_not_fit_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_log(monkeypatch, tmp_path / "kmsg", b"one", errno.EINVAL) == b"one"


@pytest.mark.parametrize("answers", [(errno.EINVAL,), (b"one", errno.EIO), (errno.EPIPE,) * 200])
def test_other_errors_are_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: tuple[bytes | int, ...]
) -> None:
    with pytest.raises(OSError, match=r"Errno"):
        read_log(monkeypatch, tmp_path / "kmsg", *answers)


def test_limit_kinds_and_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    tree = MachineTree(tmp_path)
    assert len(tree.read("/file", 100_001)) == 100_001
    assert len(tree.read("/file")) == 200_000
    assert tree.link("/link") == "file"
    assert tree.names("/") == ("fifo", "file", "folder", "link")
    kinds = {name: tree.kind(f"/{name}") for name in (*tree.names("/"), "none")}
    assert kinds == {
        "fifo": "other", "file": "file", "folder": "directory", "link": "file", "none": "absent",
    }  # fmt: skip
    assert tree.kind("/dev/null") == "absent"
    assert MachineTree().kind("/dev/null") == "character-device"
    assert tree.sha256("/link") == hashlib.sha256(b"x" * 200_000).hexdigest()
    assert tree.read("/fifo") == b""
    assert not tree.is_machine
    assert MachineTree().is_machine
