"""The files of the trust store: who may write them, one writer at a time, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuverify.codec.text import printable
from gpuverify.errors import MissingInputError, OutputError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.home import write_over

PATIENCE_S = 30.0
"""How long another writer is waited for; a write takes milliseconds."""

_STEP_S = 0.02
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def require_private(path: Path) -> None:
    """Refuse a file that other people of this machine could have written.

    Args:
        path: A file, a device or a pipe that exists.

    Raises:
        Refused: E_TRUST: the file or its folder is writable for its group or for everybody. A
            folder with the sticky bit (/tmp) is no danger: only the owner replaces a file there.
        OSError: It cannot be looked at.
    """
    real = Path(os.path.realpath(path))
    mode = real.stat().st_mode
    shown = printable(str(path), 200)
    if stat.S_ISREG(mode) and mode & _OTHERS_WRITE:
        raise Refused(
            Refusal.TRUST,
            f"{shown}: others on this machine may write it (mode {stat.S_IMODE(mode):04o}), so it"
            f" vouches for nothing; look through it, then: chmod go-w {shown}",
        )
    folder = real.parent.stat().st_mode
    if stat.S_ISREG(mode) and folder & _OTHERS_WRITE and not folder & stat.S_ISVTX:
        raise Refused(
            Refusal.TRUST,
            f"{shown}: others on this machine may replace it (its folder has mode"
            f" {stat.S_IMODE(folder):04o}); look through it, then: chmod go-w"
            f" {printable(str(real.parent), 200)}",
        )


def read_private(path: Path, limit: int, *, missing_ok: bool) -> bytes | None:
    """Read a file that only its owner may write.

    Args:
        path: The file.
        limit: Most bytes wanted; one more may be returned, which says that there is more.
        missing_ok: Whether None stands for a file that is not there.

    Returns:
        The content; None where there is no such file and that is all right.

    Raises:
        Refused: E_TRUST; see `require_private`.
        MissingInputError: It is not there, or cannot be read.
    """
    from gpuverify.codec.files import read_bounded

    try:
        require_private(path)
        return read_bounded(str(path), limit)
    except FileNotFoundError:
        if missing_ok:
            return None
        raise MissingInputError(f"{printable(str(path), 200)}: no such file") from None
    except OSError as error:
        raise MissingInputError(
            f"{printable(str(path), 200)}: {error.strerror or type(error).__name__}"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only writer of a file that is replaced as a whole.

    The lock is a file beside it, which stays: one that is removed can be held twice.

    Args:
        path: The file to be written; its folder exists.

    Raises:
        OutputError: Another process keeps it for too long, or the lock cannot be made.
    """
    real = Path(os.path.realpath(path))
    beside = real.with_name(f".{real.name}.lock")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OutputError(_why(beside, error)) from error
    try:
        take_lock(descriptor, fcntl.LOCK_EX, path)
        yield
    finally:
        os.close(descriptor)  # closing gives the lock back


def take_lock(descriptor: int, kind: int, path: Path) -> None:
    """Take a lock on an open file, and give up after a while.

    Args:
        descriptor: The open file.
        kind: fcntl.LOCK_EX or fcntl.LOCK_SH.
        path: Its name, for the message.

    Raises:
        OutputError: Another process keeps it, or the file system knows no locks.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not _lock_now(descriptor, kind, path):
        if time.monotonic() >= deadline:
            raise OutputError(
                f"{printable(str(path), 200)}: another process holds it for more than"
                f" {PATIENCE_S:.0f} s; let it end, then run this again"
            )
        time.sleep(_STEP_S)


def _lock_now(descriptor: int, kind: int, path: Path) -> bool:
    """Take a lock if it is free."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EINTR):
            return False
        raise OutputError(_why(path, error)) from error
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Write a file anew: mode 0600, atomically, on the disk when this returns.

    Args:
        path: The file; a link is followed, so that the link itself stays.
        data: The content.

    Raises:
        OutputError: It cannot be written; the old content then stands.
    """
    write_over(Path(os.path.realpath(path)), data)


def sync_folder(folder: Path) -> None:
    """Bring a new name in a folder to the disk.

    Args:
        folder: The folder.

    Raises:
        OSError: As the system gives it; a file system that cannot is passed over.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _why(path: Path, error: OSError) -> str:
    """Say in words why a path could not be written."""
    return f"cannot write {printable(str(path), 200)}: {error.strerror or type(error).__name__}"
