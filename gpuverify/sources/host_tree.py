"""The one door to the machine's files: bounded reads under an injectable root.

Every source that reads procfs, sysfs, configuration or library files does it through a `HostTree`,
so that a recording can stand in for the machine (and a proxy can record it) without any source
knowing.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Protocol

DEFAULT_LIMIT_BYTES = 1 << 20
"""Most that `read` returns unless told otherwise; procfs and sysfs files are far smaller."""

_MAX_OVERRUNS = 100


class HostTree(Protocol):
    """File access by absolute path, as on the machine itself ("/proc/…")."""

    @property
    def is_machine(self) -> bool:
        """Whether this is the running machine's own root."""
        ...

    def read(self, path: str, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """Return at most `limit` bytes of a file.

        Raises:
            OSError: As the system gives it, with its errno.
        """
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory.

        Raises:
            OSError: As the system gives it.
        """
        ...

    def link(self, path: str) -> str:
        """Return the target of a symbolic link.

        Raises:
            OSError: As the system gives it.
        """
        ...

    def kind(self, path: str) -> str:
        """Return what stands at a path, links followed.

        Returns:
            "file", "directory", "character-device", "other", "absent", or "refused" where we are
            not allowed to know.
        """
        ...

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a whole file, in hex.

        Raises:
            OSError: As the system gives it.
        """
        ...


class MachineTree:
    """The file tree of the machine, or of a root made for a test."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Stand at `root`; only "/" is the machine itself."""
        self._root = root

    @property
    def is_machine(self) -> bool:
        """Whether the root is "/"."""
        return self._root == Path("/")

    def _at(self, path: str) -> Path:
        """Map an absolute path of the machine under the root."""
        return self._root / path.lstrip("/")

    def read(self, path: str, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """Return at most `limit` bytes of a file; never blocks on a FIFO or device."""
        descriptor = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            parts: list[bytes] = []
            left, overruns = limit, 0
            while left > 0:
                try:
                    part = file.read(min(left, 1 << 16))
                except OSError as error:
                    # The kernel log gives one record a read: EPIPE says that older ones were
                    # overwritten meanwhile, EINVAL that the next does not fit what is left.
                    overruns += 1
                    if error.errno == errno.EPIPE and overruns < _MAX_OVERRUNS:
                        continue
                    if error.errno == errno.EINVAL and parts:
                        break
                    raise
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        return tuple(sorted(os.listdir(self._at(path))))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return str(self._at(path).readlink())

    def kind(self, path: str) -> str:
        """Return what stands at a path, links followed."""
        try:
            mode = self._at(path).stat().st_mode
        except OSError as error:
            return "refused" if error.errno in (errno.EACCES, errno.EPERM) else "absent"
        if stat.S_ISREG(mode):
            return "file"
        if stat.S_ISDIR(mode):
            return "directory"
        return "character-device" if stat.S_ISCHR(mode) else "other"

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a whole file, in hex, read in pieces."""
        import hashlib

        digest = hashlib.sha256()
        with self._at(path).open("rb") as file:
            while block := file.read(1 << 18):
                digest.update(block)
        return digest.hexdigest()
