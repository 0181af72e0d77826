"""Writing: standard output, standard error, files. What cannot be written is an OutputError."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gpuverify.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 64 * 1024
_PRIVATE_KEY = rb"^\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----"


def write_stdout(text: str) -> None:
    """Write text to standard output, in ASCII where the console has no UTF-8, and flush it.

    Args:
        text: What to write, with its own newline at the end.

    Raises:
        OutputError: It cannot be written.
    """
    from gpuverify.render.style import for_console

    stream = sys.stdout
    if stream is None:
        raise OutputError("cannot write: there is no standard output")
    try:
        stream.write(for_console(text, stream.encoding))
        stream.flush()
    except OSError as error:
        raise OutputError(_why("standard output", error)) from error
    except ValueError as error:  # the stream was closed
        raise OutputError("cannot write: standard output is closed") from error


def flush_stdout(*, needed: bool = False) -> None:
    """Flush what a library wrote (click's help).

    Args:
        needed: Whether something was to be written, so that there has to be a standard output.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        elif needed:
            raise OutputError("cannot write: there is no standard output")
    except OSError as error:
        raise OutputError(_why("standard output", error)) from error


def write_stderr(line: str) -> None:
    """Write a line to standard error, as well as it can be done."""
    from gpuverify.render.style import for_console

    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(for_console(line + "\n", stream.encoding))
        stream.flush()
    except (OSError, ValueError):
        return  # nobody reads it; the exit code says the same


def silence_stdout() -> None:
    """Turn standard output away after it failed, so that Python does not fail on it at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 1)
        finally:
            os.close(null)
    except OSError:
        return


def write_file(path: str, data: bytes, *, replace: bool) -> None:
    """Write a file atomically: it is there whole or not at all.

    Args:
        path: Where; "-" for standard output.
        data: The content.
        replace: Whether an existing file may be replaced; one with a private key never is.

    Raises:
        OutputError: It cannot be written, or it exists and may not be replaced.
    """
    if path == "-":
        write_stdout(data.decode())
        return
    target = _target(path)
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as device:  # /dev/stdout, a pipe: nothing to rename over
                device.write(data)
            return
        if replace:
            _keep_private_key(path, target)
        _write_beside(target, data, replace=replace)
    except FileExistsError as error:
        raise OutputError(f"{path} exists; name another file or add --force") from error
    except OSError as error:
        raise OutputError(_why(path, error)) from error


def check_writable(path: str, *, replace: bool) -> None:
    """Refuse, before minutes of work, a file that could not be written afterwards.

    Args:
        path: Where the file is to stand; "-" for standard output.
        replace: Whether an existing file may be replaced.

    Raises:
        OutputError: The folder is missing or closed to us, the file exists, or it holds a private
            key.
    """
    if path == "-":
        return
    try:
        _check_target(path, replace=replace)
    except (OSError, ValueError) as error:  # a name too long, a folder closed to us
        why = _why(path, error) if isinstance(error, OSError) else f"cannot write {path}: {error}"
        raise OutputError(why) from error


def _check_target(path: str, *, replace: bool) -> None:
    """Look at what stands at a path and around it; see `check_writable`."""
    target = _target(path)
    if target.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder")
    if target.exists():
        if not replace and target.is_file():
            raise OutputError(f"{path} exists; name another file or add --force")
        _keep_private_key(path, target)
        return
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder does not exist")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in the folder")


def _keep_private_key(path: str, target: Path) -> None:
    """Refuse to replace a private key: nothing brings it back."""
    import re

    if not target.is_file():
        return
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: what stands there cannot be read ({error.strerror}), so it may"
            " be a private key; name another file"
        ) from error
    if re.search(_PRIVATE_KEY, head, re.MULTILINE):
        raise OutputError(
            f"{path} holds a private key, which is never overwritten; name another file"
        )


def _target(path: str) -> Path:
    """Return the file behind a path, links followed."""
    from pathlib import Path  # not above: `--help` comes by here and writes no file

    return Path(os.path.realpath(path))


def _write_beside(target: Path, data: bytes, *, replace: bool) -> None:
    """Write to a new file in the same folder, then move it into place."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not replace and _linked(beside, target):
            return
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _linked(beside: Path, target: Path) -> bool:
    """Give a finished file its name where nothing has it: in one step, if the system can."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network folders have no links: take the name, then fill it
        target.open("xb").close()
        return False
    return True


def _why(path: str, error: OSError) -> str:
    """Say in words why a path could not be written."""
    return f"cannot write {path}: {error.strerror or type(error).__name__}"
