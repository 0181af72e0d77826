"""The one wrapper around every command: maps each error to its documented exit code.

Python itself ends with 1 on a traceback and click with 2 on a usage error; here 1 and 2 are
verdicts. Nothing but a command's own answer may therefore leave this module with 0 to 4.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # by hand: importing `typing` would cost more than `--version` itself
    from gpuverify.cli.boundary import Failure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program name; `sys.argv` where None.

    Returns:
        The exit code, never one of 0 to 4 by accident.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--version"]:
        return _print_version()
    if arguments is None:
        import gc

        # A run is short and makes little garbage: look for it less often than servers have to.
        gc.set_threshold(20_000, 50, 100)
    try:
        from gpuverify.cli.boundary import guarded

        outcome = guarded(lambda: _run(words))
        return outcome if isinstance(outcome, int) else _report(outcome, words)
    except KeyboardInterrupt:  # a second Ctrl-C, while the first was being reported
        return 130
    except ImportError as error:
        return _incomplete(error)


def _print_version() -> int:
    """Print the version without loading the command machinery."""
    from gpuverify import __version__

    try:
        sys.stdout.write(f"gpuverify {__version__}\n")
        sys.stdout.flush()
    except (OSError, AttributeError):  # a full disk, a closed pipe; no standard output at all
        from gpuverify.cli.output import silence_stdout

        silence_stdout()
        return 73
    return 0


def _run(words: list[str]) -> int:
    """Parse the words and run one command, without click's own handling of errors."""
    import os

    from gpuverify.cli.application import GROUP

    # A shell asks without words. With words a command was meant, and a variable that somebody left
    # in the environment must not end it with 0 before it began.
    if not words and os.environ.get("_GPUVERIFY_COMPLETE"):
        from click.shell_completion import shell_complete

        instruction = os.environ["_GPUVERIFY_COMPLETE"]
        return (
            64 if shell_complete(GROUP, {}, "gpuverify", "_GPUVERIFY_COMPLETE", instruction) else 0
        )

    from click.exceptions import Exit

    from gpuverify.cli.output import flush_stdout

    try:
        with GROUP.make_context("gpuverify", list(words)) as context:
            code = GROUP.invoke(context)
    except Exit as ending:  # `--help` and `--version`, which click wrote itself
        flush_stdout(needed=True)
        if ending.exit_code == 0:
            return 0
        msg = f"a command ended by itself with {ending.exit_code}"
        raise RuntimeError(msg) from ending
    flush_stdout()
    if not isinstance(code, int):
        msg = f"a command ended without an exit code: {code!r}"
        raise TypeError(msg)
    return code


def _report(failure: Failure, words: list[str]) -> int:
    """Say in one line, or one JSON document, what went wrong."""
    from gpuverify.cli.boundary import error_document
    from gpuverify.cli.output import silence_stdout, write_stderr, write_stdout

    as_json = "--json" in words or "--jsonl" in words
    if failure.exit_code == 73:
        silence_stdout()
        as_json = False
    written = False
    if as_json:
        from gpuverify.errors import OutputError

        try:
            write_stdout(error_document(failure, compact="--jsonl" in words))
            written = True
        except OutputError:
            silence_stdout()
    if not written and not failure.quiet:
        write_stderr(f"gpuverify: {failure.message}")
    if failure.trace:
        write_stderr(failure.trace)
    return failure.exit_code


def _incomplete(error: ImportError) -> int:
    """Report an installation that lacks a part, with nothing but `sys`."""
    if sys.stderr is not None:
        sys.stderr.write(
            f"gpuverify: this installation is incomplete ({error}); install it again\n"
        )
    return 70
