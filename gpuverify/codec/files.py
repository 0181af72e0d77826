"""Reading a named input, bounded in size, and without waiting for ever."""

from __future__ import annotations

import errno
import os
import stat
import time

PATIENCE_S = 5.0
"""How long a named pipe that nobody writes to is waited for."""

_STEP_S = 0.05
_BLOCK = 1 << 20


def _unblocked(path: str, flags: int) -> int:
    """Open without waiting for the other end of a named pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bounded(path: str, limit: int) -> bytes:
    """Read a file, device or named pipe up to a limit.

    A pipe whose writer takes its time (`<(ssh host nvidia-smi -q -x)`) is waited for; one without
    any writer is given up.

    Args:
        path: File name.
        limit: Most bytes wanted.

    Returns:
        At most `limit` + 1 bytes: one more than wanted says that there is more.

    Raises:
        OSError: As the system gives it; ETIMEDOUT for a pipe that nobody writes to.
    """
    parts: list[bytes] = []
    left = limit + 1
    with open(path, "rb", buffering=0, opener=_unblocked) as file:
        descriptor = file.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            deadline = time.monotonic() + PATIENCE_S
            # No data reads as empty where there is no writer, as None where there is one.
            while (first := file.read(min(left, _BLOCK))) == b"":
                if time.monotonic() >= deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "a pipe that nobody writes to", path)
                time.sleep(_STEP_S)
            if first is not None:
                parts.append(first)
                left -= len(first)
        if hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
        while left > 0 and (part := file.read(min(left, _BLOCK))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)
