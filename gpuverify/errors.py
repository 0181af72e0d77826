"""The exception tree. Knowledge about a card is a finding; these are failures to work at all."""

from __future__ import annotations


class GpuverifyError(Exception):
    """Base of all errors that gpuverify raises on purpose.

    Attributes:
        exit_code: The documented exit code that the command line gives for it.
    """

    exit_code = 70


class UsageError(GpuverifyError):
    """The command was called wrongly, or a claim does not resolve to one product."""

    exit_code = 64


class FormatError(GpuverifyError):
    """Input that cannot be relied on: malformed, truncated, over a limit.

    Attributes:
        path: What was read, for people ("-" for standard input).
        where: Line, byte or element, "" if it does not apply.
    """

    exit_code = 65

    def __init__(self, path: str, message: str, where: str = "") -> None:
        """Keep what was read, where it went wrong, and what to do next (in `message`)."""
        self.path = path
        self.where = where
        super().__init__(f"{path}{': ' + where if where else ''}: {message}")


class MissingInputError(GpuverifyError):
    """There is no such input."""

    exit_code = 66


class SourceError(GpuverifyError):
    """No source yields a device."""

    exit_code = 69


class OutputError(GpuverifyError):
    """A result could not be written."""

    exit_code = 73


class PermissionRefusedError(GpuverifyError):
    """NVML or a device refused us."""

    exit_code = 77


class ReferenceDataError(GpuverifyError):
    """The reference data is damaged or contradicts itself."""

    exit_code = 70


class PolicyError(GpuverifyError):
    """A policy or claim file is not what it has to be."""

    exit_code = 65


class VerificationError(GpuverifyError):
    """A signature or envelope does not verify."""

    exit_code = 65
