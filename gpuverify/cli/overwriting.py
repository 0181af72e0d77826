"""Outputs that would destroy what the same command reads: refused, --force or not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.cli.signing_options import ReportWords

Named = tuple[str, str | None]
"""An option or argument, and the file that it names; None or "-" where it names none."""


def spare_inputs(outputs: Sequence[Named], inputs: Iterable[Named]) -> None:
    """Refuse outputs that are one file with an input or with each other, through links too.

    Args:
        outputs: What is going to be written.
        inputs: What is read; a folder stands for every file in it.

    Raises:
        UsageError: An output is one of them.
    """
    from gpuverify.codec.text import printable

    wanted = [(option, path) for option, path in outputs if path is not None and path != "-"]
    for number, (option, path) in enumerate(wanted):
        for other, second in wanted[number + 1 :]:
            if _one_file(path, second):
                raise UsageError(f"{option} and {other} name one file; name two")
    read = [(option, path) for option, path in inputs if path is not None and path != "-"]
    for option, path in wanted:
        for other, source in read:
            if _one_file(path, source) or _inside(path, source):
                raise UsageError(
                    f"{option} {printable(path, 200)} would overwrite what {other} reads; name"
                    " another file"
                )


def sale_inputs(claim: str | None, policy: str) -> Iterator[Named]:
    """Yield the files of a sale claim and a policy; a built-in policy is none.

    Args:
        claim: Value of --claim.
        policy: Value of --policy.
    """
    from gpuverify.appraise.claim import is_claim_file
    from gpuverify.appraise.policies import BUILT_IN

    if claim is not None and is_claim_file(claim):
        yield "--claim", claim
    if policy not in BUILT_IN:
        yield "--policy", policy


def report_outputs(option: str, target: str | None, words: ReportWords) -> list[Named]:
    """Return what is written for a report.

    Args:
        option: The option that names the report.
        target: Its value.
        words: The options of the report.
    """
    if target is None or target == "-":
        return []
    beside = [("--sshsig", f"{target}.sig")] if words.sshsig else []
    return [(option, target), *beside]


def report_inputs(words: ReportWords) -> Iterator[Named]:
    """Yield the files that the options of a report read, both halves of the key among them.

    Args:
        words: The options.
    """
    key = words.key
    if key and key.startswith("tpm:"):
        from gpuverify.signing.tpm import context_file

        yield "--key", context_file(key.removeprefix("tpm:"))
    elif key and not key.startswith(("agent:", "pkcs11:")):
        from gpuverify.signing.key_files import key_file

        private = key_file(key)
        yield "--key", str(private)
        yield "--key", f"{private}.pub"
        yield "--key", str(private.parent / f"{private.stem}.pub")
    yield "--passphrase-file", words.passphrase_file
    yield "--challenge", words.challenge
    for path in words.previous:
        yield "--previous", path
    for path in words.attach:
        yield "--attach", path


def _one_file(path: str, other: str) -> bool:
    """Whether two names are of one file on disk, or would be once it is written."""
    try:
        if Path(path).exists() and Path(other).exists():
            return Path(path).is_file() and Path(path).samefile(other)
        return os.path.realpath(path) == os.path.realpath(other)
    except (OSError, ValueError):
        return False  # a name that no file can have: whoever opens it says so


def _inside(path: str, folder: str) -> bool:
    """Whether a file that exists stands in a folder that is read."""
    try:
        if not Path(folder).is_dir() or not Path(path).is_file():
            return False
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):
        return False
