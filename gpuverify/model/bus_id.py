"""PCI bus ids in one shape."""

from __future__ import annotations

import functools
import re

_BUS = re.compile(r"(?:(?:0x)?([0-9A-Fa-f]{4,8}):)?([0-9A-Fa-f]{2}):([0-9A-Fa-f]{2})\.([0-7])")


@functools.lru_cache(maxsize=1024)
def normal_bus_id(text: str) -> str | None:
    """Return a PCI bus id as `DDDDDDDD:BB:DD.F` in upper case; None if it is not one."""
    match = _BUS.fullmatch(text.strip())
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):08X}:{bus}:{device}.{function}".upper()
