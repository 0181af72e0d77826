"""Recorded files and commands, and the proxies over a tree and a runner."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.recording import CommandEntry, FileEntry, Origin, Recording, RecordingError
from gpuverify.sources.recording_host import (
    RecordingCommands,
    RecordingTree,
    ReplayedCommands,
    ReplayedTree,
    raise_unknown,
)

ORIGIN = Origin(kind="real", text="a test", licence="Apache-2.0")


def recording(files: Any = (), commands: Any = (), unlisted: str = "absent") -> Recording:
    return Recording(origin=ORIGIN, unlisted=unlisted, files=dict(files), commands=tuple(commands))


@pytest.fixture
def root(tmp_path: Path) -> Any:
    """A small root with a link in the middle of a path, a FIFO and an unreadable name."""
    (tmp_path / "sys/devices/bridge/card").mkdir(parents=True)
    (tmp_path / "sys/devices/bridge/card/config").write_bytes(b"\xde\x10" + bytes(4094))
    (tmp_path / "sys/devices/bridge/card/vendor").write_text("0x10de\n")
    (tmp_path / "sys/bus").mkdir()
    (tmp_path / "sys/bus/card").symlink_to("../devices/bridge/card")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/real.so.7").write_bytes(b"\x7fELF" + b"x" * 100)
    (tmp_path / "lib/real.so").symlink_to("real.so.7")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def visit(tree: Any) -> Any:
    """Do every kind of access; what comes back, errors by number."""
    seen = []

    def ask(call: Any, *arguments: Any) -> None:
        try:
            seen.append(call(*arguments))
        except OSError as error:
            seen.append(errno.errorcode[error.errno or 0])

    for path in ("/sys/bus/card/config", "/sys/bus/card/vendor", "/lib/real.so", "/empty", "/none",
                 "/lib/none/deeper", "/sys/bus/card", "/pipe"):  # fmt: skip
        ask(tree.kind, path)
        ask(tree.link, path)
        if path != "/pipe":
            ask(tree.read, path, 8)
            ask(tree.read, path, 5000)
            ask(tree.sha256, path)
        ask(tree.names, path)
    return seen


@pytest.mark.required
def test_a_recorded_tree_answers_like_the_tree(root: Path) -> None:
    proxy = RecordingTree(MachineTree(root))
    first = visit(proxy)
    assert first == visit(MachineTree(root))
    replayed = ReplayedTree(recording(proxy.files, unlisted="error"))
    assert visit(replayed) == first
    assert replayed.unknown == []
    assert not replayed.is_machine
    assert not proxy.is_machine


def test_what_was_not_recorded_is_absent_or_an_error() -> None:
    for unlisted, unknown in (("absent", []), ("error", ["/y", "/y", "/y", "/y", "/y"])):
        tree = ReplayedTree(recording({"/x": FileEntry.text("x")}, unlisted=unlisted))
        assert tree.read("/x") == b"x"
        assert tree.kind("/y") == "absent"
        for ask in (tree.read, tree.names, tree.link, tree.sha256):
            with pytest.raises(FileNotFoundError):
                ask("/y")
        assert tree.unknown == unknown
        if unknown:
            with pytest.raises(RecordingError, match="/y"):
                raise_unknown(tree, nvml=[])
    raise_unknown(None, nvml=[])


def test_folders_follow_from_paths_and_links_from_links() -> None:
    tree = ReplayedTree(
        recording(
            {
                "/real/a/b": FileEntry.text("deep"),
                "/link": FileEntry(kind="link", target="real/a"),
                "/loop": FileEntry(kind="link", target="/loop"),
                "/denied": FileEntry(kind="file", errno=13),
                "/gone": FileEntry(kind="absent"),
                "/node": FileEntry(kind="character-device"),
                "/digest": FileEntry(kind="file", sha256="ab" * 32),
                "/padded": FileEntry(data=b"x", size=4096),
            }
        )
    )
    assert tree.names("/real") == ("a",)
    assert tree.read("/link/b") == b"deep"
    assert tree.names("/link") == ("b",)
    assert tree.link("/link") == "real/a"
    assert tree.kind("/link") == "directory"
    assert tree.kind("/real/a") == "directory"
    assert tree.kind("/node") == "character-device"
    assert tree.kind("/loop") == tree.kind("/gone") == "absent"
    assert tree.sha256("/digest") == "ab" * 32
    assert tree.sha256("/padded") == hashlib.sha256(b"x" + bytes(4095)).hexdigest()
    assert len(tree.read("/padded")) == 4096
    assert tree.read("/padded", 3) == b"x\0\0"
    for path, error in (("/denied", PermissionError), ("/gone", FileNotFoundError),
                        ("/real", IsADirectoryError)):  # fmt: skip
        with pytest.raises(error):
            tree.read(path)
    with pytest.raises(NotADirectoryError):
        tree.names("/padded")


class Runner:
    """Gives one output whatever is asked."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def run(self, argv: Any, timeout_s: Any, limit: Any) -> Any:
        return self.output


@pytest.mark.parametrize(
    "output",
    [
        CommandOutput(exit_code=3, stdout=b"out\xff", stderr=b"err"),
        CommandOutput(exit_code=None, timed_out=True, stdout=b"half"),
        CommandOutput(exit_code=None, error=errno.ENOENT),
        CommandOutput(exit_code=0, stdout=b"Unable to talk to the driver"),
    ],
)
@pytest.mark.parametrize("argv", [("/bin/x", "-a"), ("/usr/bin/nvidia-smi", "-q", "-x")])
def test_commands_come_back_as_they_were(output: Any, argv: Any) -> None:
    proxy = RecordingCommands(Runner(output))
    assert proxy.run(argv, 1.0, 99) is output
    assert proxy.nvidia_smi is None
    replayed = ReplayedCommands(recording(commands=proxy.commands, unlisted="error"))
    assert replayed.run(argv, 1.0, 99) == output
    assert replayed.unknown == []


def test_an_unknown_command() -> None:
    for unlisted, unknown in (("absent", []), ("error", ["/bin/y -z"])):
        commands = ReplayedCommands(
            recording(commands=[CommandEntry(argv=("/bin/x",))], unlisted=unlisted)
        )
        assert commands.run(("/bin/y", "-z"), 1.0, 9).exit_code is None
        assert commands.unknown == unknown
