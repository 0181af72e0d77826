"""Moments and spans as people type them."""

from __future__ import annotations

import re

from gpuverify.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,6})([mhd])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


def moment(text: str, option: str, *, last: bool = False) -> int:
    """Read a day or a moment in UTC.

    Args:
        text: "YYYY-MM-DD", a whole day, or "YYYY-MM-DDThh:mm:ssZ".
        option: The option that it was given with, for the message.
        last: Whether a day stands for its last second, instead of its first.

    Returns:
        Seconds since 1970.

    Raises:
        UsageError: Another form, or a day that does not exist.
    """
    from gpuverify.codec.text import printable
    from gpuverify.codec.utc_time import utc_seconds

    time_of_day = "T23:59:59Z" if last else "T00:00:00Z"
    found = utc_seconds(f"{text}{time_of_day}" if _DAY.fullmatch(text) else text)
    if found is None:
        raise UsageError(
            f"{option} {printable(text, 40)!r}: give a day, 2027-01-31, or a moment in UTC,"
            " 2027-01-31T12:00:00Z"
        )
    return found


def span(text: str, option: str) -> int:
    """Read a length of time.

    Args:
        text: A number and m, h or d: minutes, hours, days.
        option: The option that it was given with, for the message.

    Returns:
        Seconds, at least one minute.

    Raises:
        UsageError: Another form, or nothing at all.
    """
    from gpuverify.codec.text import printable

    found = _SPAN.fullmatch(text)
    seconds = int(found.group(1)) * _UNITS_S[found.group(2)] if found else 0
    if not seconds:
        raise UsageError(
            f"{option} {printable(text, 40)!r}: give a number of minutes, hours or days: 30m, 72h,"
            " 7d"
        )
    return seconds
