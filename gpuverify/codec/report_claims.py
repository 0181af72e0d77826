"""Claims inside a report: the shape of `gpuverify/evidence/v1`, parted by what they speak of.

Each id of the vocabulary has one place, so that no claim can stand twice and contradict itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gpuverify.codec.portable_json import MAX_INTEGER
from gpuverify.codec.slots import maker
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.vocabulary import VOCABULARY, Scope

PARTS = ("host", "device", "counters", "fingerprint")
"""The four places, in the order in which claims of a device stand."""

CLAIM_KEYS = frozenset(
    {"id", "status", "value", "decimal", "source", "call", "raw_code", "raw_text", "time_ms"}
)
"""Members of a claim. `decimal` holds, as text, an integer that JSON cannot carry exactly."""

CLAIM_ID = re.compile(r"[a-z0-9_-]{1,40}(?:\.[a-z0-9_-]{1,60}){1,3}")
"""Form of a claim id, of one that this version does not know too."""

_COUNTERS = ("ecc.aggregate.", "ecc.volatile.", "remap.", "retired.", "repair.", "inforom.bbx_")
_FINGERPRINT = ("fingerprint.", "capacity.", "measure.", "pcie.loaded_")


def _part(claim_id: str, scope: Scope) -> str:
    """Return the place of an id."""
    if scope is Scope.HOST:
        return "host"
    if claim_id.startswith(_COUNTERS) or claim_id.endswith(("_error_count", ".replay_count")):
        return "counters"
    return "fingerprint" if claim_id.startswith(_FINGERPRINT) else "device"


PART_OF = {spec.id: _part(spec.id, spec.scope) for spec in VOCABULARY.values()}
"""The place of each id of the vocabulary."""

TYPES: dict[str, dict[object, type]] = {
    part: {spec.id: spec.type for spec in VOCABULARY.values() if PART_OF[spec.id] == part}
    for part in PARTS
}
"""The type of the value of each id, by place."""

_STATUS: dict[object, ClaimStatus] = {status.value: status for status in ClaimStatus}
_SOURCE: dict[object, Source] = {source.value: source for source in Source}

_DECIMAL = re.compile(r"-?[1-9][0-9]{15,18}")
_MAX_INT64 = 2**63

_make_claim = maker(Claim)


def ordered(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Put claims into the order in which a report holds them; their order in a place is kept.

    Args:
        claims: Claims of one device, or of the host.
    """
    return tuple(sorted(claims, key=lambda claim: PARTS.index(PART_OF[claim.id])))


def claim_tree(claim: Claim) -> dict[str, Any]:
    """Return a claim as a tree, leaving out what has its default.

    Args:
        claim: The claim.
    """
    tree: dict[str, Any] = {
        "id": claim.id,
        "status": claim.status.value,
        "source": claim.source.value,
    }
    if type(claim.value) is int and not -MAX_INTEGER <= claim.value <= MAX_INTEGER:
        tree["decimal"] = str(claim.value)
    elif claim.value is not None:
        tree["value"] = claim.value
    if claim.call:
        tree["call"] = claim.call
    for name in ("raw_code", "raw_text", "time_ms"):
        if (extra := getattr(claim, name)) is not None:
            tree[name] = extra
    return tree


def read_claims(
    items: list[Any],
    part: str,
    fail: Callable[[int, str], Exception],
    unknown: Callable[[str], None],
) -> list[Claim]:
    """Read the claims of one place.

    Args:
        items: The array.
        part: One of `PARTS`.
        fail: Builds the refusal of an entry.
        unknown: Takes note of a member or claim id that this version does not know.

    Returns:
        The claims that this version knows, in their order.

    Raises:
        Exception: What `fail` builds, for a claim that is not of the form it has to be.
    """
    types = TYPES[part]
    found: list[Claim] = []
    add = found.append
    for number, tree in enumerate(items):
        if type(tree) is not dict:
            raise fail(number, "a claim has to be an object")
        get = tree.get
        try:
            claim_id = get("id")
            kind = types.get(claim_id)
            status, source = _STATUS.get(get("status")), _SOURCE.get(get("source"))
        except TypeError:  # an array or object where a word has to be
            raise fail(number, "id, status and source have to be strings") from None
        if kind is None:
            _note_unknown(number, claim_id, part, fail, unknown)
            continue
        if status is None or source is None:
            raise fail(number, "unknown status or source")
        value = get("value")
        if value is None:
            value = _absent(tree, status, kind, number, fail)
        elif status is not ClaimStatus.OK or type(value) is not kind or "decimal" in tree:
            raise fail(number, f"{claim_id}: the value does not go with the id or the status")
        call, code, text, time = get("call", ""), get("raw_code"), get("raw_text"), get("time_ms")
        if (
            type(call) is not str
            or (code is not None and type(code) is not int)
            or (text is not None and type(text) is not str)
            or (time is not None and type(time) is not int)
        ):
            raise fail(number, f"{claim_id}: call, raw_code, raw_text or time_ms of a wrong type")
        add(_make_claim(claim_id, status, value, source, call, code, text, time))
    for name in sorted(set().union(*items) - CLAIM_KEYS):
        unknown(name)
    return found


def _note_unknown(
    number: int,
    claim_id: object,
    part: str,
    fail: Callable[[int, str], Exception],
    unknown: Callable[[str], None],
) -> None:
    """Pass over a claim of a newer version; refuse one that stands in the wrong place."""
    if not isinstance(claim_id, str) or not CLAIM_ID.fullmatch(claim_id):
        raise fail(number, "a claim without a proper id")
    if claim_id in PART_OF:
        raise fail(number, f"{claim_id} belongs into {PART_OF[claim_id]}, not into {part}")
    unknown(claim_id)


def _absent(
    tree: dict[str, Any],
    status: ClaimStatus,
    kind: type,
    number: int,
    fail: Callable[[int, str], Exception],
) -> int | None:
    """Return what stands for a value that is not there: None, or an integer beyond 2^53 - 1."""
    if status is not ClaimStatus.OK and "decimal" not in tree and "value" not in tree:
        return None
    text = tree.get("decimal")
    if (
        status is ClaimStatus.OK
        and kind is int
        and "value" not in tree
        and isinstance(text, str)
        and _DECIMAL.fullmatch(text)
    ):
        value = int(text)
        if -_MAX_INT64 <= value < _MAX_INT64 and not -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
    raise fail(number, "status and value do not go together")
