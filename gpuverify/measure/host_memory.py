"""How much memory the host has left: bytes that a card borrows there are missing here."""

from __future__ import annotations

from pathlib import Path

MEMINFO = "/proc/meminfo"
_KIB = 1024


def available_bytes(path: str = MEMINFO) -> int | None:
    """Return the bytes that programs of the host could still have, None where nobody says.

    Args:
        path: The kernel's file.
    """
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "MemAvailable" and words and words[0].isdigit():
            return int(words[0]) * _KIB
    return None
