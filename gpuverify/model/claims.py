"""Claims: one value that one source reported, and why a value is missing."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Union

Value = Union[int, str, bool]
"""What a claim can hold. Never a float: rates and powers are integers in their smallest unit."""


class ClaimStatus(enum.Enum):
    """Whether a claim holds a value and, if not, why (absence is a value with a reason)."""

    OK = "ok"
    NOT_SUPPORTED = "not-supported"
    NOT_FOUND = "not-found"
    NO_PERMISSION = "no-permission"
    DEVICE_LOST = "device-lost"
    TIMED_OUT = "timed-out"
    FAILED = "failed"
    MALFORMED = "malformed"
    SENTINEL = "sentinel"
    NOT_ASKED = "not-asked"

    # Members are singletons; the inherited hash is Python code and shows in every look-up.
    __hash__ = object.__hash__


class Source(enum.Enum):
    """The interface that spoke a claim."""

    NVML = "nvml"
    PCI_CONFIG = "pci-config"
    PROCFS = "procfs"
    HOST = "host"
    CUDA = "cuda"
    MEASURED = "measured"
    NVIDIA_SMI = "nvidia-smi"
    DEVICE_CERTIFICATE = "device-certificate"

    # As for ClaimStatus.
    __hash__ = object.__hash__


class Basis(enum.Enum):
    """How hard it is to forge what a statement stands on, weakest first."""

    REPORTED = "reported"
    CROSS_CHECKED = "cross-checked"
    MEASURED = "measured"
    DEVICE_SIGNED = "device-signed"

    rank: int
    """Position in the order of strength, 0 for the weakest."""

    def __init__(self, _word: str) -> None:
        """Number the members in their order; a plain attribute, for it is read very often."""
        self.rank = len(type(self).__members__)

    # As for ClaimStatus.
    __hash__ = object.__hash__

    def at_least(self, other: Basis) -> bool:
        """Whether this basis is as strong as `other` or stronger."""
        return self.rank >= other.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One value, or the reason for its absence, as one source reported it.

    Attributes:
        id: Name from `gpuverify.model.vocabulary`, which fixes type and unit.
        status: Whether `value` is there, and if not, why.
        value: The value where status is OK, else None. Integers are in the unit of the vocabulary.
        source: The interface that said it.
        call: The function, file or path inside a document that was read, e.g. `nvmlDeviceGetName`.
        raw_code: The interface's own return code (NVML's nvmlReturn_t, an errno), if it has one.
        raw_text: The text as it stood, where it was not turned into `value` one to one
            (control characters escaped, at most 200 characters).
        time_ms: When it was read, milliseconds since the Unix epoch (UTC); None for a document.
    """

    id: str
    status: ClaimStatus
    value: Value | None = None
    source: Source
    call: str = ""
    raw_code: int | None = None
    raw_text: str | None = None
    time_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse a value without OK, an OK without a value, and floats."""
        if (self.status is ClaimStatus.OK) != (self.value is not None):
            msg = f"claim {self.id}: status {self.status.value} with value {self.value!r}"
            raise ValueError(msg)
        if self.value is not None and not isinstance(self.value, (bool, int, str)):
            msg = f"claim {self.id}: a value is an int, a str or a bool, not {type(self.value)}"
            raise TypeError(msg)

    @property
    def ok(self) -> bool:
        """Whether the claim holds a value."""
        return self.value is not None  # which `__post_init__` ties to the status
