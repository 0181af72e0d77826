"""A finding against a card together with its repetition in a fresh process."""

from __future__ import annotations

from dataclasses import replace

from gpuverify.measure.capacity_classify import CapacityClass, CapacityResult

SETTLED = (CapacityClass.LOST, CapacityClass.SHORT, CapacityClass.INVALID)
"""Classes that a repetition could not make surer."""

_DAMAGE = (CapacityClass.FLIPPED_BITS, CapacityClass.STUCK_BITS, CapacityClass.DECAYING)
_SLOW = (CapacityClass.HOST_BACKED, CapacityClass.SLOW_REGION)


def confirm(first: CapacityResult, second: CapacityResult) -> CapacityResult:
    """Judge a finding together with its repetition in a fresh process.

    Args:
        first: The finding.
        second: The repetition.

    Returns:
        The first where both say the same; for damage that comes and goes the one that saw it; for
        memory that was slow the milder; `LOST` where the repetition lost the device; otherwise
        `INVALID`, for then it is the measurement that is unsteady.
    """
    both = replace(
        first, detectors=tuple(sorted({*first.detectors, *second.detectors})), repeat=False
    )
    if second.kind is CapacityClass.LOST:
        # What the first finding was worth is open now; that the card went away is certain.
        return replace(
            second,
            detectors=both.detectors,
            reason=f"one run says {first.kind.value}, and in a second {second.reason}",
            repeat=False,
        )
    same = first.kind is second.kind
    if same and first.kind is CapacityClass.FOLDED:
        same = first.fold_bytes == second.fold_bytes
    if same and first.kind in _SLOW:
        same = first.slow_offset_bytes == second.slow_offset_bytes
    if same:
        return replace(both, reason=f"{first.reason}; the same in a second run")
    if first.kind in _DAMAGE and second.kind in (*_DAMAGE, CapacityClass.WHOLE):
        return replace(both, reason=f"{first.reason}; a second run says {second.kind.value}")
    if (
        first.kind in _SLOW
        and second.kind in (*_SLOW, CapacityClass.WHOLE)
        and "memory-type" not in both.detectors
    ):
        return _slow_in_one(both, first, second)
    return replace(
        both,
        kind=CapacityClass.INVALID,
        reason=f"one run says {first.kind.value}, a second {second.kind.value}: unsteady",
        fold_bytes=None,
        slow_offset_bytes=None,
    )


def _slow_in_one(
    both: CapacityResult, first: CapacityResult, second: CapacityResult
) -> CapacityResult:
    """Judge two runs that were not slow in the same way: the milder of them counts.

    Heat and other work slow a card now here, now there; memory that lies elsewhere is slow at the
    same place each time.
    """
    if first.slow_offset_bytes == second.slow_offset_bytes:
        return replace(
            both,
            kind=CapacityClass.SLOW_REGION,
            reason=f"far slower from offset {first.slow_offset_bytes} on, in two runs",
        )
    return replace(
        both,
        kind=CapacityClass.WHOLE,
        slow_offset_bytes=None,
        reason=f"every tested byte is its own; {first.reason} in one run, elsewhere in another",
    )
