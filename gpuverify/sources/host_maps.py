"""Files mapped into our own process."""

from __future__ import annotations

import re

from gpuverify.sources.host_tree import HostTree

MAPS = "/proc/self/maps"
_LINE = re.compile(
    r"[0-9a-f]+-[0-9a-f]+ ([r-][w-][x-][ps]) [0-9a-f]+ [0-9a-f:]+ \d+\s+(/.*)", re.ASCII
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def unescape(text: str) -> str:
    """Undo the octal escapes with which procfs writes blanks in paths."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def read_maps(tree: HostTree) -> tuple[str, ...]:
    """Return the files that are mapped executable, in order of first appearance.

    Args:
        tree: Where the list of mappings is read.

    Raises:
        OSError: It cannot be read.
    """
    text = tree.read(MAPS, 8 << 20).decode("utf-8", "replace")
    found: dict[str, None] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1][2] == "x":
            found.setdefault(unescape(match[2]))
    return tuple(found)


def mapped_files(tree: HostTree) -> tuple[str, ...]:
    """Return the files that are mapped executable; none where that cannot be known.

    Args:
        tree: Where the list of mappings is read.
    """
    try:
        return read_maps(tree)
    except OSError:
        return ()
