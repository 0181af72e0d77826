"""TOML from bytes, with one error class."""

from __future__ import annotations

import sys
from typing import Any

from gpuverify.errors import FormatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def loads(data: bytes, origin: str) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        data: UTF-8 with or without a byte order mark. The caller bounds its size.
        origin: What was read, for the message.

    Returns:
        The tables, as tomllib gives them.

    Raises:
        FormatError: It is not UTF-8, not TOML, or nested too deeply.
    """
    try:
        document: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(origin, f"not valid TOML: {error}; correct the file") from error
    return document
