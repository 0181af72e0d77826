"""The user's own folder: keys, trust store, revocations, journal."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gpuverify.codec.files import read_bounded
from gpuverify.errors import FormatError, MissingInputError, OutputError

MAX_SECRET_BYTES = 4096
"""Largest file that a passphrase or PIN is read from."""


def config_dir() -> Path:
    """Return the folder of the user's settings; it need not exist.

    $GPUVERIFY_HOME, else $XDG_CONFIG_HOME/gpuverify, else ~/.config/gpuverify (XDG Base Directory
    Specification: a relative path in the variable is ignored).

    Raises:
        MissingInputError: There is no home folder.
    """
    if own := os.environ.get("GPUVERIFY_HOME"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "gpuverify"
    try:
        return Path.home() / ".config" / "gpuverify"
    except RuntimeError:
        raise MissingInputError("there is no home folder; set GPUVERIFY_HOME") from None


def ensure_private_dir(folder: Path) -> Path:
    """Make a folder that only its owner may enter, where it is not there yet.

    Args:
        folder: Which; missing parents are made too.

    Returns:
        The folder.

    Raises:
        OutputError: It cannot be made, or it is no folder, or others may write into it.
    """
    try:
        missing = [part for part in (folder, *folder.parents) if not part.exists()]
        for part in reversed(missing):  # mkdir(parents=True) would leave the parents to the umask
            part.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            raise OutputError(f"{folder} is in the way: not a folder")
        mode = folder.stat().st_mode
    except OSError as error:
        raise OutputError(_why(folder, error)) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OutputError(f"{folder}: others may write into this folder; chmod go-w it")
    return folder


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that is not there yet: whole, or not at all, and never over another.

    Args:
        path: Where.
        data: The content.
        mode: Permissions from the first byte on, whatever the umask says.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    try:
        beside = _write_beside(path, data, mode)
        try:
            _link_or_rename(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{path} exists and is never overwritten; choose another name") from error
    except OSError as error:
        raise OutputError(_why(path, error)) from error


def write_over(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file in place of what stands there: the old content or the new one, never a part.

    Args:
        path: Where.
        data: The content.
        mode: Permissions of the new file.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        beside = _write_beside(path, data, mode)
        try:
            beside.replace(path)
            _sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(_why(path, error)) from error


def read_secret(path: str) -> str:
    """Return the first line of a file that holds a passphrase or PIN.

    Args:
        path: Which; only its owner may read it. A pipe is taken as it is.

    Raises:
        MissingInputError: No such file, or it cannot be read.
        FormatError: Others may read it, or it holds no line of text.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a descriptor path keeps its meaning
        if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise FormatError(path, "others may read this secret; chmod 600 it")
        data = read_bounded(path, MAX_SECRET_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MissingInputError(f"{path}: {reason}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise FormatError(path, f"a passphrase file has at most {MAX_SECRET_BYTES} bytes")
    try:
        line = data.decode("utf-8").split("\n", 1)[0].removesuffix("\r")
    except UnicodeDecodeError:
        raise FormatError(path, "the passphrase has to be UTF-8") from None
    if not line:
        raise FormatError(path, "the first line is empty; it has to be the passphrase")
    return line


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    """Write the content to a new file in the same folder."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(beside, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return beside


def _link_or_rename(beside: Path, path: Path) -> None:
    """Give a finished file its name, where nothing has that name."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network folders have no links: take the name, then fill it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        beside.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _why(path: Path, error: OSError) -> str:
    """Say in words why a path could not be written."""
    return f"cannot write {path}: {error.strerror or type(error).__name__}"
