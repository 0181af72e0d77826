"""The two spellings of a moment that signed documents and trust files know, both in UTC."""

from __future__ import annotations

import calendar
import re
import time

_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?Z")
LAST_S = 253_402_300_799
"""The last second that has a year of four digits: 9999-12-31T23:59:59Z."""


def utc_text(seconds: int) -> str:
    """Write a moment as "YYYY-MM-DDThh:mm:ssZ".

    Args:
        seconds: Seconds since 1970, from 0 to `LAST_S`.
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def utc_seconds(text: str) -> int | None:
    """Read "YYYY-MM-DDThh:mm:ssZ" and nothing else.

    Args:
        text: The text.

    Returns:
        Seconds since 1970; None for another form, a day that does not exist, or before 1970.
    """
    found = _ISO.fullmatch(text)
    return _seconds([int(part) for part in found.groups()]) if found else None


def compact_text(seconds: int) -> str:
    """Write a moment as OpenSSH does in an allowed_signers line: "YYYYMMDDhhmmssZ".

    Args:
        seconds: Seconds since 1970, from 0 to `LAST_S`.
    """
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def compact_seconds(text: str) -> int | None:
    """Read "YYYYMMDDZ", "YYYYMMDDhhmmZ" or "YYYYMMDDhhmmssZ" (ssh-keygen(1), ALLOWED SIGNERS).

    Args:
        text: The text; without the Z, OpenSSH would take it as local time, and we refuse it.

    Returns:
        Seconds since 1970; None for another form or a day that does not exist.
    """
    found = _COMPACT.fullmatch(text)
    return _seconds([int(part or 0) for part in found.groups()]) if found else None


def _seconds(parts: list[int]) -> int | None:
    """Return seconds since 1970 of year to second; None for a day that does not exist."""
    year, month, day, hour, minute, second = parts
    if not (year >= 1970 and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
