"""From what was measured to claims: every absence with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from gpuverify.measure.capacity_classify import CapacityResult
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.vocabulary import VOCABULARY

RAW_CHARS = 200


def claim(
    claim_id: str,
    value: Value,
    call: str = "",
    raw_text: str | None = None,
    source: Source = Source.MEASURED,
) -> Claim:
    """Return a claim with a value.

    Args:
        claim_id: Id from the vocabulary.
        value: Its value.
        call: What was measured or called.
        raw_text: What else is known of it, for people.
        source: Who says it.
    """
    return Claim(
        id=claim_id,
        status=ClaimStatus.OK,
        value=value,
        source=source,
        call=call,
        raw_text=_short(raw_text) if raw_text else None,
    )


def missing(
    claim_id: str,
    status: ClaimStatus,
    reason: str,
    call: str = "",
    source: Source = Source.MEASURED,
    raw_code: int | None = None,
) -> Claim:
    """Return a claim that says why there is no value.

    Args:
        claim_id: Id from the vocabulary.
        status: Why.
        reason: The same for people.
        call: What was measured or called.
        source: Who would have said it.
        raw_code: The interface's own code.
    """
    return Claim(
        id=claim_id,
        status=status,
        source=source,
        call=call,
        raw_text=_short(reason),
        raw_code=raw_code,
    )


def _short(text: str) -> str:
    """Return one harmless line."""
    from gpuverify.codec.text import printable

    return printable(" ".join(text.split()), RAW_CHARS)


def capacity_claims(result: CapacityResult) -> list[Claim]:
    """Return the claims of a capacity proof.

    Args:
        result: Its judgement.
    """
    call = "capacity proof"
    found = [
        claim("capacity.class", result.kind.value, call, result.reason),
        claim("capacity.claimed_bytes", result.claimed_bytes, call),
        claim("capacity.allocated_bytes", result.allocated_bytes, call),
        claim("capacity.tested_bytes", result.tested_bytes, call),
        claim("capacity.bad_cell_count", result.bad_cells, call),
        claim("capacity.detectors", ",".join(result.detectors), call),
    ]
    for claim_id, value in (
        ("capacity.fold_bytes", result.fold_bytes),
        ("capacity.lost_offset_bytes", result.lost_offset_bytes),
        ("capacity.slow_offset_bytes", result.slow_offset_bytes),
    ):
        if value is not None:
            found.append(claim(claim_id, value, call))
    if result.digest:
        found.append(claim("capacity.digest", result.digest, call))
    return found


def fingerprint_claims(
    values: Mapping[str, int],
    void: Mapping[str, str],
    absent: Mapping[str, tuple[ClaimStatus, str]],
) -> list[Claim]:
    """Return the claims of a fingerprint.

    Args:
        values: Integers by claim id.
        void: Why, by claim id, for those whose exact results came out wrong.
        absent: Why and in which words, by claim id, for those that were not measured.
    """
    call = "fingerprint"
    found = [
        claim(name, value, call)
        for name, value in values.items()
        if name in VOCABULARY and name not in void
    ]
    found += [missing(name, ClaimStatus.FAILED, why, call) for name, why in void.items()]
    found += [
        missing(name, status, why, call)
        for name, (status, why) in absent.items()
        if name not in values and name not in void
    ]
    if values or void:
        found.append(
            claim("fingerprint.valid", not void, call, ", ".join(sorted(void)) if void else None)
        )
    return found
