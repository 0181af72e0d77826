"""The one door to other programs: absolute path, no shell, clean environment, bounded."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO, Protocol

from gpuverify.sources.host_tree import HostTree

_CHUNK = 1 << 16
_GRACE_S = 1.0
"""How long a killed program may take to be gone; one that hangs in a driver call never is."""

_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
"""All that a program gets: no LD_*, no Python variables, no user configuration, no pager."""

_FOLDERS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutput:
    """What a program gave.

    Attributes:
        exit_code: Its exit code (negative: the signal that ended it); None if it was not started,
            or did not end in time.
        stdout: What it wrote, cut at the limit.
        stderr: What it wrote to standard error, cut at the limit.
        timed_out: Whether it was stopped because its time was over.
        error: errno where it could not be started.
    """

    exit_code: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    error: int | None = None


class CommandRunner(Protocol):
    """Runs programs of the machine, or plays back what they once gave."""

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        """Run a program.

        Args:
            argv: Absolute path and arguments.
            timeout_s: Time it may take.
            limit: Most bytes kept of each of its outputs.

        Returns:
            Its output; a program that is absent or hangs is a result too.
        """
        ...


class SystemCommands:
    """Runs the machine's own programs."""

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        """Run a program in its own process group and take that group down when time is over.

        Args:
            argv: Absolute path and arguments; a relative path is a programming error.
            timeout_s: Time it may take.
            limit: Most bytes kept of each of its outputs; the rest is read and dropped, so that
                the program is not blocked.

        Returns:
            Its output. Absence, a refusal to start and a time-out are results, not exceptions.
        """
        if not argv or not argv[0].startswith("/"):
            msg = f"a program is run by its absolute path, not {argv[:1]!r}"
            raise ValueError(msg)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
        except OSError as error:
            return CommandOutput(exit_code=None, error=error.errno)
        deadline = time.monotonic() + timeout_s
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        try:
            kept, drained = _drain(pipes, deadline, limit)
            ended = drained and _wait(process, max(0.0, deadline - time.monotonic()))
            if not ended:
                _kill(process)
        finally:
            for pipe in pipes:
                pipe.close()
        return CommandOutput(
            exit_code=process.returncode if ended else None,
            stdout=kept[0],
            stderr=kept[1],
            timed_out=not ended,
        )


def _drain(pipes: list[IO[bytes]], deadline: float, limit: int) -> tuple[list[bytes], bool]:
    """Read all pipes until they end or time is over.

    Args:
        pipes: Standard output and standard error.
        deadline: On the monotonic clock.
        limit: Most bytes kept of each.

    Returns:
        What was kept of each, and whether both ended.
    """
    kept = [bytearray() for _ in pipes]
    with selectors.DefaultSelector() as selector:
        for number, pipe in enumerate(pipes):
            selector.register(pipe, selectors.EVENT_READ, number)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                block = os.read(key.fd, _CHUNK)
                if not block:
                    selector.unregister(key.fileobj)
                    continue
                room = limit - len(kept[key.data])
                kept[key.data] += block[: max(0, room)]
        drained = not selector.get_map()
    return [bytes(part) for part in kept], drained


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a program's end; False if it did not come."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program's whole group, and leave behind what even that does not end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if not _wait(process, _GRACE_S):
        # Uninterruptible in the driver: nothing more can be done. Popen would warn about a child
        # that still runs when it is collected; it is meant to be left behind.
        process.returncode = -signal.SIGKILL


def find_program(tree: HostTree, name: str, *folders: str) -> str | None:
    """Return the absolute path of a program in the system's own folders.

    The user's PATH plays no part: whoever controls it would choose the program.

    Args:
        tree: Where to look.
        name: Name of the program.
        *folders: Folders beside the usual four.

    Returns:
        The first path at which a file stands, or None.
    """
    for folder in (*_FOLDERS, *folders):
        path = f"{folder}/{name}"
        if tree.kind(path) == "file":
            return path
    return None
