"""Signed statements: a report or a set of reports, as the bytes that are signed, and back.

What is read here is form alone: that a member is there and of its type, that the subject is the
card that the claims describe. Whether the signer may say so is asked in `gpuverify.signing`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpuverify.codec import strict_json
from gpuverify.codec.challenge_json import nonce_text
from gpuverify.codec.fast_json import loads
from gpuverify.codec.identity_json import identity_sha256, identity_tree, subject_name
from gpuverify.codec.report_claims import PART_OF, PARTS, claim_tree
from gpuverify.codec.report_members import Book, Node
from gpuverify.codec.report_read import read_report
from gpuverify.codec.report_set_read import read_set
from gpuverify.codec.utc_time import utc_text
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import (
    PREDICATE_REPORT,
    PREDICATE_SET,
    STATEMENT_TYPE,
    Challenge,
    Report,
    ReportSet,
    SignerInfo,
)

if TYPE_CHECKING:
    from gpuverify.codec.report_typed import TypedStatement

_STATEMENT = frozenset({"_type", "subject", "predicateType", "predicate"})


def dump_report(report: Report) -> bytes:
    """Write the statement of one card: the payload bytes that are signed.

    Args:
        report: The report. `ignored` is not written.

    Returns:
        Canonical JSON; the same report always gives the same bytes.

    Raises:
        FormatError: A text in it can't stand in a signed document (invisible characters, not in
            Unicode's normal form C), or it is longer than a report may be.
    """
    identity = report.identity
    subject = [{"name": subject_name(identity), "digest": {"sha256": identity_sha256(identity)}}]
    return _statement(PREDICATE_REPORT, subject, _report_tree(report))


def dump_set(report_set: ReportSet) -> bytes:
    """Write the statement that joins the reports of one server.

    Args:
        report_set: The set. Its subjects are the payloads of its members.

    Returns:
        Canonical JSON.

    Raises:
        FormatError: As `dump_report`.
    """
    subject = [
        {"name": f"gpu-report:{member.report_id}", "digest": {"sha256": member.payload_sha256}}
        for member in report_set.members
    ]
    return _statement(PREDICATE_SET, subject, _set_tree(report_set))


def load_statement(payload: bytes, origin: str) -> Report | ReportSet:
    """Read the payload of an envelope strictly. Verify its signature first.

    Args:
        payload: The signed bytes themselves.
        origin: What they were read from, for people.

    Returns:
        A report, its evidence of class CARRIED; or a set.

    Raises:
        Refused: E_JSON, E_DUPKEY, E_TEXT or E_LIMIT by `fast_json`; E_TYPE: no statement of ours;
            E_VERSION: another major version; E_SCHEMA: a member is missing or wrong; E_SIMULATED:
            a class of evidence that does not exist; E_ATTACHMENT: a name that is a path;
            E_SUBJECT: the subject is not the card of the report; E_SET: a set that contradicts
            itself.
    """
    reader = _typed_reader()
    typed = None if reader is None else reader(payload)
    tree = loads(payload, origin) if typed is None else typed.tree
    book = Book(origin)
    if not isinstance(tree, dict) or tree.get("_type") != STATEMENT_TYPE:
        raise book.fail("_type", f"not an in-toto statement ({STATEMENT_TYPE})", Refusal.TYPE)
    kind = tree.get("predicateType")
    if kind not in (PREDICATE_REPORT, PREDICATE_SET):
        raise book.fail("predicateType", f"is none of ours ({PREDICATE_REPORT})", Refusal.TYPE)
    statement = Node(tree, "", book, _STATEMENT)
    if kind == PREDICATE_REPORT:
        return read_report(statement, book, typed)
    return read_set(statement, book)


@functools.lru_cache(maxsize=1)
def _typed_reader() -> Callable[[bytes], TypedStatement | None] | None:
    """Return what reads a report in our own form fast; None without the extra."""
    try:
        from gpuverify.codec.report_typed import read_typed
    except ImportError:
        return None
    return read_typed


def _statement(kind: str, subject: list[dict[str, Any]], predicate: dict[str, Any]) -> bytes:
    """Write a statement, and read its JSON as a stranger will."""
    data = strict_json.canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": kind,
            "predicate": predicate,
        }
    )
    try:
        loads(data, "this report")
    except Refused as refused:
        reason = refused.reason.removeprefix("this report: ").partition(";")[0]
        raise FormatError(
            "this report", f"cannot be signed: {reason}; mend what was given, or collect again"
        ) from refused
    return data


def _report_tree(report: Report) -> dict[str, Any]:
    """Return the predicate of a report."""
    tool, method, data = report.tool, report.method, report.reference_data
    return {
        "schemaVersion": report.schema_version,
        "reportId": report.report_id,
        "role": report.role.value,
        "issuedAt": utc_text(report.issued_s),
        "measured": {
            "start": _time(report.measured_start_s),
            "end": _time(report.measured_end_s),
            "clock": report.clock.value,
        },
        "tool": {
            "name": tool.name,
            "version": tool.version,
            "filesSha256": tool.files_sha256,
            "python": tool.python,
            "platform": tool.platform,
        },
        "method": {
            "profile": method.profile,
            "version": method.version,
            "sha256": method.sha256,
            "deviations": list(method.deviations),
        },
        "referenceData": {"name": data.name, "version": data.version, "sha256": data.sha256},
        "signer": _signer(report.signer),
        "order": report.order,
        "location": report.location,
        "challenge": _challenge(report.challenge),
        "evidenceClass": report.evidence_class.value,
        "collector": _collector(report),
        "identity": identity_tree(report.identity),
        "sale": _sale(report),
        "evidence": _evidence(report),
        "checks": _checks(report),
        "coverage": {
            "covered": list(report.coverage.covered),
            "underCovered": list(report.coverage.under_covered),
            "notCovered": list(report.coverage.not_covered),
        },
        "verdict": _opinion(report),
        "attachments": [
            {
                "name": item.name,
                "mediaType": item.media_type,
                "size": item.size_bytes,
                "sha256": item.sha256,
            }
            for item in report.attachments
        ],
        "previous": [
            {
                "reportId": item.report_id,
                "role": item.role.value,
                "payloadSha256": item.payload_sha256,
                "relation": item.relation.value,
            }
            for item in report.previous
        ],
        "remarks": list(report.remarks),
    }


def _time(seconds: int | None) -> str | None:
    """Write a time that may not be known."""
    return None if seconds is None else utc_text(seconds)


def _signer(signer: SignerInfo) -> dict[str, Any]:
    """Return who signs."""
    return {
        "name": signer.name,
        "principal": signer.principal,
        "keyid": signer.keyid,
        "contact": signer.contact,
    }


def _challenge(challenge: Challenge | None) -> dict[str, Any] | None:
    """Return the challenge that is answered."""
    if challenge is None:
        return None
    return {
        "nonce": nonce_text(challenge.nonce),
        "issuer": challenge.issuer,
        "order": challenge.order,
        "issuedAt": utc_text(challenge.issued_s),
        "expiresAt": utc_text(challenge.expires_s),
    }


def _collector(report: Report) -> dict[str, Any]:
    """Return what stood between the card and the claims."""
    seen = report.collector
    return {
        "nvmlLibrary": seen.nvml_library,
        "nvmlSha256": seen.nvml_sha256,
        "nvmlPackage": seen.nvml_package,
        "driver": seen.driver,
        "kernel": seen.kernel,
        "virtualised": seen.virtualised,
        "container": seen.container,
        "privileges": seen.privileges,
        "sources": list(seen.sources),
    }


def _sale(report: Report) -> list[dict[str, Any]]:
    """Return what is sold, in the signer's words."""
    return [
        {
            "product": item.product,
            "memoryMib": item.memory_mib,
            "condition": item.condition,
            "count": item.count,
            "maxHours": item.max_hours,
            "asGiven": item.as_given,
        }
        for item in report.sale
    ]


def _evidence(report: Report) -> dict[str, Any]:
    """Return the claims, each in its one place."""
    evidence = report.evidence
    (device,) = evidence.devices
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    claims: tuple[Claim, ...] = (*evidence.host, *device.claims)
    for claim in claims:
        parts[PART_OF[claim.id]].append(claim_tree(claim))
    return {
        "tool": evidence.tool,
        "collectedMs": evidence.collected_ms,
        "deviceIndex": device.index,
        "documentSha256": report.document_sha256,
        **parts,
    }


def _checks(report: Report) -> list[dict[str, Any]]:
    """Return the signer's findings."""
    return [
        {
            "rule": check.rule,
            "code": check.code,
            "axis": check.axis.value,
            "outcome": check.outcome.value,
            "basis": check.basis.value,
            "expected": check.expected,
            "observed": check.observed,
            "message": check.message,
        }
        for check in report.checks
    ]


def _opinion(report: Report) -> dict[str, Any]:
    """Return the signer's verdict."""
    opinion = report.opinion
    return {
        "result": opinion.verdict.value,
        "wouldBe": None if opinion.would_be is None else opinion.would_be.value,
        "reasons": list(opinion.reasons),
        "policy": {"name": opinion.policy_name, "sha256": opinion.policy_sha256},
        "assurance": opinion.assurance.value,
        "capacityBasis": None if opinion.capacity_basis is None else opinion.capacity_basis.value,
        "condition": opinion.condition.value,
        "history": opinion.history.value,
    }


def _set_tree(report_set: ReportSet) -> dict[str, Any]:
    """Return the predicate of a set."""
    return {
        "schemaVersion": report_set.schema_version,
        "setId": report_set.set_id,
        "issuedAt": utc_text(report_set.issued_s),
        "signer": _signer(report_set.signer),
        "role": report_set.role.value,
        "chassisSerial": report_set.chassis_serial,
        "count": report_set.count,
        "topology": list(report_set.topology),
        "members": [
            {
                "slot": member.slot,
                "reportId": member.report_id,
                "payloadSha256": member.payload_sha256,
                "gpuUuid": member.gpu_uuid,
            }
            for member in report_set.members
        ],
        "challenge": _challenge(report_set.challenge),
    }
