"""The QR code of a report's digest, where the extra is installed."""

from __future__ import annotations

import base64

QR_PREFIX = "GPUVERIFY1:"
_QUIET = 4
"""Light modules around the symbol: ISO/IEC 18004 asks for four."""


def label_text(payload_sha256: str) -> str:
    """Return the text of the code: upper case and digits only, so that the symbol stays small.

    Args:
        payload_sha256: Digest of the signed bytes, 64 hex digits.

    Raises:
        ValueError: It is no such digest.
    """
    digest = bytes.fromhex(payload_sha256)
    if len(digest) != 32:
        msg = f"a SHA-256 digest has 32 bytes, not {len(digest)}"
        raise ValueError(msg)
    return QR_PREFIX + base64.b32encode(digest).decode().rstrip("=")


def qr_svg(text: str) -> str:
    """Draw a text as a QR code.

    Args:
        text: What the code says, in the alphanumeric set of QR codes.

    Returns:
        An `svg` element, dark on light whatever the page's colours are; "" where segno, the extra
        `qr`, is not installed.
    """
    try:
        import segno
    except ImportError:
        return ""
    symbol = segno.make(text, error="m", boost_error=False, micro=False)
    rows = [[bool(module) for module in row] for row in symbol.matrix]
    side = len(rows) + 2 * _QUIET
    path = "".join(
        f"M{start + _QUIET} {y + _QUIET}h{length}v1h-{length}z"
        for y, row in enumerate(rows)
        for start, length in _runs(row)
    )
    return (
        f'<svg class="qr" role="img" aria-label="QR code of the report\'s digest" '
        f'viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<rect width="{side}" height="{side}" fill="#fff"/>'
        f'<path fill="#000" d="{path}"/></svg>'
    )


def _runs(row: list[bool]) -> list[tuple[int, int]]:
    """Return start and length of each run of dark modules."""
    runs: list[tuple[int, int]] = []
    for x, dark in enumerate(row):
        if not dark:
            continue
        if runs and runs[-1][0] + runs[-1][1] == x:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((x, 1))
    return runs
