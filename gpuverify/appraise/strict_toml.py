"""Small TOML files that people write (policies, sale claims), read strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpuverify.codec import toml
from gpuverify.codec.files import read_bounded
from gpuverify.errors import FormatError, MissingInputError, PolicyError

MAX_FILE_BYTES = 64 * 1024


def read_bytes(path: Path) -> bytes:
    """Read a small file.

    Raises:
        MissingInputError: There is no such file, or it may not be read.
        PolicyError: It is larger than 64 KiB.
    """
    try:
        data = read_bounded(str(path), MAX_FILE_BYTES)
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; give a smaller file")
    return data


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        PolicyError: It is not UTF-8 TOML, or nested too deeply.
    """
    try:
        return toml.loads(data, name)
    except FormatError as error:
        raise PolicyError(str(error)) from error


class Table:
    """A table whose every key has to be asked for, with its type."""

    def __init__(self, name: str, where: str, table: object) -> None:
        """Take a parsed table; `name` and `where` are for messages."""
        if not isinstance(table, Mapping):
            raise PolicyError(f"{name}: {where} has to be a table")
        self._name, self._where, self._table = name, where, dict(table)

    def take(self, key: str, kind: type, default: Any = None, *, needed: bool = False) -> Any:
        """Take a key out.

        Args:
            key: Name.
            kind: The exact type; a bool is no int.
            default: What stands for an absent key.
            needed: Whether absence is an error.

        Raises:
            PolicyError: Absent although needed, or of another type.
        """
        if key not in self._table:
            if needed:
                raise PolicyError(f"{self._name}: {self._where}: {key} is missing")
            return default
        value = self._table.pop(key)
        if type(value) is not kind:
            kind_name = {str: "text", int: "a whole number", bool: "true or false"}.get(
                kind, kind.__name__
            )
            raise PolicyError(f"{self._name}: {self._where}: {key} has to be {kind_name}")
        return value

    def choice(self, key: str, choices: Iterable[str], default: str | None = None) -> str | None:
        """Take a text that has to be one of `choices`."""
        value = self.take(key, str, default)
        known = tuple(choices)
        if value is not None and value not in known:
            raise PolicyError(
                f"{self._name}: {self._where}: {key} = {value!r} has to be one of"
                f" {', '.join(known)}"
            )
        return str(value) if value is not None else None

    def done(self) -> None:
        """Refuse what nobody asked for."""
        if self._table:
            keys = ", ".join(sorted(str(key) for key in self._table))
            raise PolicyError(f"{self._name}: {self._where}: unknown key(s): {keys}")
