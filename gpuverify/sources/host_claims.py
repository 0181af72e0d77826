"""Making claims from files and commands, so that every absence carries its reason."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from gpuverify.codec.text import printable
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host_tree import HostTree

VALUE_CHARS = 2000
"""Longest text value a host claim holds; lists of mounts or hooks end with "…" beyond it."""
RAW_CHARS = 200
"""Longest raw text and call."""

_STATUS_BY_ERRNO = {
    errno.ENOENT: ClaimStatus.NOT_FOUND,
    errno.ENOTDIR: ClaimStatus.NOT_FOUND,
    errno.EACCES: ClaimStatus.NO_PERMISSION,
    errno.EPERM: ClaimStatus.NO_PERMISSION,
    errno.ENODEV: ClaimStatus.DEVICE_LOST,
    errno.ETIMEDOUT: ClaimStatus.TIMED_OUT,
    errno.EOPNOTSUPP: ClaimStatus.NOT_SUPPORTED,
}


def status_of(error: OSError) -> ClaimStatus:
    """Return the claim status that fits a refused file access."""
    return _STATUS_BY_ERRNO.get(error.errno or 0, ClaimStatus.FAILED)


def text_of(data: bytes) -> str:
    """Decode what the kernel wrote; undecodable bytes become U+FFFD, NUL and white space go."""
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def joined(items: list[str]) -> str:
    """Join listed things with commas, each of them bounded."""
    return ", ".join(printable(item, RAW_CHARS) for item in items)


@dataclass(frozen=True, slots=True)
class ClaimMaker:
    """Makes the claims of one source.

    Attributes:
        source: Source that every claim names.
    """

    source: Source

    def ok(self, claim_id: str, value: Value, call: str, raw_text: str | None = None) -> Claim:
        """Return a claim that holds `value`.

        Args:
            claim_id: Id from the vocabulary.
            value: The value; a text is bounded and its control characters are escaped.
            call: File or command it came from.
            raw_text: The text as it stood, where `value` is not that text.
        """
        return Claim(
            id=claim_id,
            status=ClaimStatus.OK,
            value=printable(value, VALUE_CHARS) if isinstance(value, str) else value,
            source=self.source,
            call=printable(call, RAW_CHARS),
            raw_text=None if raw_text is None else printable(raw_text, RAW_CHARS),
        )

    def missing(
        self,
        claim_id: str,
        status: ClaimStatus,
        call: str,
        reason: str | None = None,
        raw_code: int | None = None,
    ) -> Claim:
        """Return a claim without a value.

        Args:
            claim_id: Id from the vocabulary.
            status: Why there is no value.
            call: File or command that was asked.
            reason: The reason in words, or the text that could not be used.
            raw_code: An errno or exit code.
        """
        return Claim(
            id=claim_id,
            status=status,
            source=self.source,
            call=printable(call, RAW_CHARS),
            raw_code=raw_code,
            raw_text=None if reason is None else printable(reason, RAW_CHARS),
        )

    def refused(self, claim_id: str, error: OSError, call: str) -> Claim:
        """Return a claim whose file access failed with `error`."""
        reason = error.strerror or str(error) or type(error).__name__
        return self.missing(claim_id, status_of(error), call, reason, error.errno)

    def ended(self, name: str, error: OSError | None = None, call: str = "") -> Claim:
        """Return the claim that says how a source ended.

        Args:
            name: Name of the source, as in the vocabulary.
            error: What kept it from reading anything, None if nothing did.
            call: What was read.
        """
        claim_id = f"source.{name}"
        return (
            self.ok(claim_id, "ok", call) if error is None else self.refused(claim_id, error, call)
        )

    def from_file(
        self, tree: HostTree, claim_id: str, path: str, convert: Callable[[str], Value | None]
    ) -> Claim:
        """Return a claim made from a small text file.

        Args:
            tree: Where the file is read.
            claim_id: Id from the vocabulary.
            path: Path of the file.
            convert: Gives the value, or None (or a ValueError) where the text is not one.
        """
        try:
            text = text_of(tree.read(path, 1 << 16))
        except OSError as error:
            return self.refused(claim_id, error, path)
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None:
            return self.missing(claim_id, ClaimStatus.MALFORMED, path, text)
        return self.ok(claim_id, value, path)

    def from_command(self, claim_id: str, output: CommandOutput, call: str) -> Claim:
        """Return the claim for a command that gave no usable answer."""
        if output.timed_out:
            return self.missing(claim_id, ClaimStatus.TIMED_OUT, call, "no answer in time")
        if output.exit_code is None:
            absent = output.error in (None, errno.ENOENT)
            status = ClaimStatus.NOT_FOUND if absent else ClaimStatus.FAILED
            return self.missing(claim_id, status, call, "could not be started", output.error)
        reason = text_of(output.stderr or output.stdout).split("\n")[0]
        return self.missing(claim_id, ClaimStatus.FAILED, call, reason, output.exit_code)


def read_text(tree: HostTree, path: str, limit: int = 1 << 20) -> str | None:
    """Return a file's text, or None where it cannot be read for any reason."""
    try:
        return text_of(tree.read(path, limit))
    except OSError:
        return None


def names_in(tree: HostTree, path: str) -> tuple[str, ...]:
    """Return the names in a directory, none where it cannot be read."""
    try:
        return tree.names(path)
    except OSError:
        return ()
