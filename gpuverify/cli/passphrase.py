"""Passphrases and PINs: from the terminal or from a file, never from an argument or a variable."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpuverify.errors import UsageError


def passphrase_from(path: str | None) -> Callable[[str], str]:
    """Return what asks for a passphrase.

    Args:
        path: File whose first line is the passphrase, for jobs without a terminal; None asks the
            person at the terminal.

    Returns:
        A function that takes a prompt and returns the passphrase. It raises UsageError where there
        is no terminal, MissingInputError or FormatError where the file cannot be used.
    """
    if path is None:
        return _ask
    from gpuverify.signing.home import read_secret

    return lambda _prompt: read_secret(path)


def _ask(prompt: str) -> str:
    """Ask at the terminal, without echo."""
    import getpass

    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"{prompt}: there is no terminal to ask at; give --passphrase-file FILE, or use a key "
            "in ssh-agent"
        )
    try:
        return getpass.getpass(f"{prompt}: ", stream=sys.stderr)
    except EOFError:
        raise UsageError("no passphrase given") from None
