"""Reports in our own form, read with msgspec: claims and findings of the right types, or nothing.

Of a report, claims and findings are nearly all. Here C code makes typed records of them, which
cost neither a dict each nor a look at each type. Nothing is refused here: what is not recognised is
left to the strict path, which alone refuses.

A document is recognised where writing again what was read gives equal bytes. Then it is what the
encoder wrote, whatever the decoder passed over: no member stands twice or is unknown, no number,
blank or escape is odd, and what may be left out is left out where it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import msgspec

from gpuverify.codec.fast_json import PAYLOAD_LIMITS, surely_short
from gpuverify.codec.portable_json import MAX_INTEGER
from gpuverify.codec.report_claims import PARTS, TYPES
from gpuverify.codec.report_members import are_words
from gpuverify.codec.report_text import surely_clean
from gpuverify.codec.slots import draft
from gpuverify.model.claims import Basis, Claim, ClaimStatus, Source
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.report import Check
from gpuverify.model.vocabulary import VOCABULARY

if TYPE_CHECKING:
    _Id = str
else:
    _Id = Literal[tuple(VOCABULARY)]  # the vocabulary's own string: no new one, hash and all

_Int = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
# Types without a float, and with an end to their nesting: neither has to be looked for.
_Word = None | bool | _Int | str
_Flat = _Word | list[_Word] | dict[str, _Word]
_Any = _Word | list[_Flat] | dict[str, _Flat]


class _Claim(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
    gc=False,
):  # fmt: skip
    """A claim, its members in the order in which they are written; `decimal` is too rare."""

    call: str = ""
    id: _Id
    raw_code: _Int | None = None
    raw_text: str | None = None
    source: Source
    status: ClaimStatus
    time_ms: _Int | None = None
    value: bool | _Int | str | None = None


class _Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A finding, its members in the order in which they are written."""

    axis: Axis
    basis: Basis
    code: str
    expected: str
    message: str
    observed: str
    outcome: Outcome
    rule: str


class _Evidence(TypedDict):
    """The claims in their places."""

    tool: _Any
    collectedMs: _Any
    deviceIndex: _Any
    documentSha256: _Any
    host: list[_Claim]
    device: list[_Claim]
    counters: list[_Claim]
    fingerprint: list[_Claim]


class _Predicate(TypedDict):
    """The predicate; of its other members the type is not looked at here."""

    schemaVersion: _Any
    reportId: _Any
    role: _Any
    issuedAt: _Any
    measured: _Any
    tool: _Any
    method: _Any
    referenceData: _Any
    signer: _Any
    order: _Any
    location: _Any
    challenge: _Any
    evidenceClass: _Any
    collector: _Any
    identity: _Any
    sale: _Any
    evidence: _Evidence
    checks: list[_Check]
    coverage: _Any
    verdict: _Any
    attachments: _Any
    previous: _Any
    remarks: _Any


class _Statement(TypedDict):
    """A statement of one card."""

    _type: str
    subject: list[dict[str, str | dict[str, str]]]
    predicateType: str
    predicate: _Predicate


_decode = msgspec.json.Decoder(_Statement).decode
_encode_into = msgspec.json.Encoder().encode_into
_ClaimDraft = draft(Claim)
_CheckDraft = draft(Check)
_OK = ClaimStatus.OK


@dataclass(frozen=True, slots=True)
class TypedStatement:
    """A statement whose claims and findings are read.

    Attributes:
        tree: The statement, still to be read but for the claims and findings.
        claims: The claims of each place.
        checks: The findings.
    """

    tree: Any
    claims: dict[str, list[Claim]]
    checks: tuple[Check, ...]


def read_typed(data: bytes) -> TypedStatement | None:
    """Read a report that is in our own form.

    Args:
        data: The payload of an envelope.

    Returns:
        What it says, where the strict path would say the same of its claims and findings; None for
        any other document.
    """
    if not surely_short(data, PAYLOAD_LIMITS):
        return None
    try:
        tree = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    again = bytearray(len(data))
    _encode_into(tree, again)
    if again != data or not surely_clean(data):
        return None
    predicate = tree["predicate"]
    claims = _claims(predicate["evidence"])
    checks = _checks(predicate["checks"])
    if claims is None or checks is None:
        return None
    return TypedStatement(tree, claims, checks)


def _claims(evidence: Any) -> dict[str, list[Claim]] | None:
    """Return the claims, None where one has another place or its value another type."""
    claims: dict[str, list[Claim]] = {}
    for part in PARTS:
        kinds = TYPES[part]
        claims[part] = found = []
        records: list[_Claim] = evidence[part]
        for record in records:
            kind, status, value = kinds.get(record.id), record.status, record.value
            if kind is None or type(value) is not (kind if status is _OK else NoneType):
                return None
            claim = _ClaimDraft()
            claim.id = record.id
            claim.status = status
            claim.value = value
            claim.source = record.source
            claim.call = record.call
            claim.raw_code = record.raw_code
            claim.raw_text = record.raw_text
            claim.time_ms = record.time_ms
            claim.__class__ = Claim
            found.append(claim)
    return claims


def _checks(records: list[_Check]) -> tuple[Check, ...] | None:
    """Return the findings, None where a rule or code is no id."""
    if not are_words([record.rule for record in records] + [record.code for record in records]):
        return None
    checks = []
    for record in records:
        check = _CheckDraft()
        check.rule = record.rule
        check.code = record.code
        check.axis = record.axis
        check.outcome = record.outcome
        check.basis = record.basis
        check.expected = record.expected
        check.observed = record.observed
        check.message = record.message
        check.__class__ = Check
        checks.append(check)
    return tuple(checks)
