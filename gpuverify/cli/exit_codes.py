"""Combining the exit codes of several inputs."""

from __future__ import annotations

from collections.abc import Iterable

PRECEDENCE = (2, 65, 4, 1, 70, 69, 77, 66, 64, 73, 3, 0)
"""Strongest first. 66 and 64 (of one input among several) stand with the other codes that say
that an input was not judged."""

MEANINGS = {
    0: "consistent with the sale claim",
    1: "suspect, or a defect seen",
    2: "mismatch",
    3: "not enough evidence",
    4: "valid, but not for this purpose",
    64: "wrong usage",
    65: "input that cannot be relied on",
    66: "no such input",
    69: "no device",
    70: "a fault of gpuverify",
    73: "cannot write",
    77: "refused",
    130: "interrupted",
}
"""What each exit code says, in a few words."""


def combine(codes: Iterable[int]) -> int:
    """Return the exit code of a command over the codes of its inputs.

    Args:
        codes: Exit code of each input.

    Returns:
        The strongest by `PRECEDENCE`; 70 for a code that is not in it, or without any input.
    """
    known = list(codes)
    if not known or any(code not in PRECEDENCE for code in known):
        return 70
    return min(known, key=PRECEDENCE.index)
