"""Drawings of the certificate page: inline SVG from numbers, no text that a table lacks.

Everything is integer arithmetic, so that one report gives one page, byte for byte.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuverify.render.measured_values import Gauge, MemoryMap

_WIDTH = 1000
"""Units of the drawings' width; the page scales them."""

_BAR_HEIGHT = 40
_MAP_HEIGHT = 120
_MOST_FOLDS = 64


def gauge_svg(gauge: Gauge) -> str:
    """Draw one value against its band: track, band, and a marker at the value.

    Args:
        gauge: What was measured.

    Returns:
        An `svg` element that is hidden from screen readers, for the row beside it says the same;
        "" where there is no band.
    """
    if gauge.value is None or gauge.low is None or gauge.high is None or gauge.high <= 0:
        return ""
    full = gauge.high + gauge.high // 5
    left, right = (end * _WIDTH // full for end in (gauge.low, gauge.high))
    place = min(gauge.value * _WIDTH // full, _WIDTH - 8)
    name = "mark" if gauge.place == "in band" else "mark off"
    return (
        f'<svg class="gauge" aria-hidden="true" viewBox="0 0 {_WIDTH} {_BAR_HEIGHT}" '
        f'preserveAspectRatio="none"><rect class="track" y="14" width="{_WIDTH}" height="12"/>'
        f'<rect class="band" x="{left}" y="6" width="{max(right - left, 4)}" height="28"/>'
        f'<rect class="{name}" x="{max(place - 4, 0)}" width="12" height="{_BAR_HEIGHT}"/></svg>'
    )


def map_svg(memory: MemoryMap, label: str) -> str:
    """Draw the memory: what is claimed, what was tested, where it repeats, slows down or was lost.

    Args:
        memory: What was seen.
        label: The drawing in words, for screen readers.
    """

    def at(offset: int) -> int:
        """Return where a byte lies on the drawing."""
        return max(0, min(offset, memory.claimed)) * _WIDTH // memory.claimed

    tested = at(memory.tested)
    parts = [f'<rect class="untested" width="{_WIDTH}" height="{_MAP_HEIGHT}"/>']
    if memory.fold:
        parts += _folds(memory.fold, memory.tested, tested, at(memory.fold))
    else:
        parts.append(f'<rect class="tested" width="{tested}" height="{_MAP_HEIGHT}"/>')
    if memory.slow is not None and memory.slow < memory.tested:
        start = at(memory.slow)
        parts.append(
            f'<rect class="slow" x="{start}" width="{max(tested - start, 4)}" '
            f'height="{_MAP_HEIGHT}"/>'
        )
    if memory.lost is not None:
        parts.append(
            f'<rect class="lost" x="{min(at(memory.lost), _WIDTH - 8)}" width="8" '
            f'height="{_MAP_HEIGHT}"/>'
        )
    return (
        f'<svg class="map" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {_WIDTH} {_MAP_HEIGHT}" preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _folds(fold: int, extent: int, tested: int, width: int) -> list[str]:
    """Draw memory of its own, then the same again and again."""
    parts = [f'<rect class="tested" width="{min(width, tested)}" height="{_MAP_HEIGHT}"/>']
    repeats = min(-(-extent // fold), _MOST_FOLDS)
    if width < tested:
        parts.append(
            f'<rect class="again" x="{width}" width="{tested - width}" height="{_MAP_HEIGHT}"/>'
        )
    for number in range(1, repeats):
        x = min(number * fold * tested // extent, _WIDTH - 4) if extent else 0
        parts.append(f'<rect class="seam" x="{x}" width="4" height="{_MAP_HEIGHT}"/>')
    return parts
