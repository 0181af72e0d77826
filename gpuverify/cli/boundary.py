"""The one named boundary where any exception becomes an exit code and a sentence."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gpuverify.errors import GpuverifyError, OutputError

T = TypeVar("T")

WRONG_PURPOSE = 4
USAGE, UNRELIABLE, MISSING, UNAVAILABLE, FAULT = 64, 65, 66, 69, 70
CANNOT_WRITE, REFUSED, INTERRUPTED = 73, 77, 130

ERROR_CODES = {
    WRONG_PURPOSE: "wrong-purpose",
    USAGE: "usage",
    UNRELIABLE: "unreliable-input",
    MISSING: "missing-input",
    UNAVAILABLE: "no-device",
    FAULT: "fault",
    CANNOT_WRITE: "cannot-write",
    REFUSED: "permission-refused",
    INTERRUPTED: "interrupted",
}
"""Word in an error document for each exit code that is not a verdict."""

_WRITE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EPIPE)

REPORT_TO = "please report it with the command and GPUVERIFY_DEBUG=1 set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a command (or one input of it) gave no result.

    Attributes:
        exit_code: One of `ERROR_CODES`.
        message: One line for people.
        trace: Traceback, only where GPUVERIFY_DEBUG=1 asks for it.
        quiet: Whether nobody is left to read the message (the reader of a pipe went away).
    """

    exit_code: int
    message: str
    trace: str = ""
    quiet: bool = False

    @property
    def code(self) -> str:
        """The word for it in JSON."""
        return ERROR_CODES[self.exit_code]


def guarded(call: Callable[[], T]) -> T | Failure:
    """Run `call` and turn whatever it raises into a `Failure`.

    Args:
        call: What to run.

    Returns:
        Its result, or why there is none.
    """
    try:
        return call()
    except KeyboardInterrupt:
        return Failure(exit_code=INTERRUPTED, message="interrupted")
    except SystemExit as error:  # no part of ours ends the process; a library that does is a fault
        return _fault(error)
    except Exception as error:  # noqa: BLE001 - the one boundary: no accident may look like a verdict
        return _describe(error)


def error_document(failure: Failure, *, compact: bool = False) -> str:
    """Return the `gpuverify/error/v1` document of a failure.

    Args:
        failure: What went wrong.
        compact: On one line.
    """
    from gpuverify.render.result_json import document_text

    body: dict[str, object] = {
        "code": failure.code,
        "message": failure.message,
        "exit_code": failure.exit_code,
    }
    return document_text({"schema": "gpuverify/error/v1", "error": body}, compact=compact)


def _describe(error: Exception) -> Failure:
    """Map an exception to its exit code and sentence."""
    if isinstance(error, GpuverifyError):
        code = error.exit_code if error.exit_code in ERROR_CODES else FAULT
        quiet = isinstance(error, OutputError) and isinstance(error.__cause__, BrokenPipeError)
        return Failure(
            exit_code=code, message=_one_line(str(error)), trace=_trace(error), quiet=quiet
        )
    if "click" in sys.modules:
        import click

        if isinstance(error, click.Abort):
            return Failure(exit_code=INTERRUPTED, message="interrupted")
        if isinstance(error, click.ClickException):  # click's own usage errors would exit with 2
            return Failure(exit_code=USAGE, message=_usage_message(error), trace=_trace(error))
    if isinstance(error, OSError) and error.errno in _WRITE_ERRNOS:  # click, printing its help
        return Failure(
            exit_code=CANNOT_WRITE,
            message=f"cannot write: {error.strerror}",
            quiet=isinstance(error, BrokenPipeError),
        )
    if isinstance(error, ImportError):
        return Failure(
            exit_code=FAULT,
            message=f"this installation is incomplete ({_one_line(str(error))}); install it again",
            trace=_trace(error),
        )
    return _fault(error)


def _usage_message(error: Exception) -> str:
    """Return click's sentence with a pointer to the help of the command."""
    import click

    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "gpuverify"
    return f"{_one_line(text).rstrip('.')}; see `{path} --help`"


def _fault(error: BaseException) -> Failure:
    """Describe an exception that nobody expected."""
    kind = type(error).__name__
    detail = _one_line(str(error))
    return Failure(
        exit_code=FAULT,
        message=f"this is a fault of gpuverify, not of the card: {kind}"
        f"{': ' + detail if detail else ''}; {REPORT_TO}",
        trace=_trace(error),
    )


def _trace(error: BaseException) -> str:
    """Return the traceback where it is asked for."""
    if os.environ.get("GPUVERIFY_DEBUG") != "1":
        return ""
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def _one_line(text: str) -> str:
    """Fold a message into one bounded, harmless line (file names and values stand in it)."""
    from gpuverify.codec.text import printable

    return printable(" ".join(text.split()), 1000)
