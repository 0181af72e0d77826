"""Signing what was built: the bytes of a report file, and the earlier reports that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpuverify.codec.envelope_json import bundle_bytes, read_envelope
from gpuverify.codec.report_json import dump_report, dump_set, load_statement
from gpuverify.codec.report_lines import iter_envelopes
from gpuverify.codec.text import printable
from gpuverify.errors import UsageError
from gpuverify.model.evidence import Evidence
from gpuverify.model.report import PAYLOAD_TYPE, Previous, Relation, Report, ReportSet, Role
from gpuverify.model.verdict import Result
from gpuverify.signing.build import Terms, build_report, build_set
from gpuverify.signing.envelope import pae
from gpuverify.signing.keys import Signer

MAX_PREVIOUS = 1024
"""Most earlier reports that are named at once."""

Stamp = Callable[[bytes], bytes]
"""Gets a time stamp (TimeStampResp, DER) over the bytes of a signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierReport:
    """A report that was handed over earlier. Its signature is not looked at here.

    Attributes:
        origin: Where it was read from.
        gpu_uuid: Which card it is about.
        previous: How it is named in a later one.
    """

    origin: str
    gpu_uuid: str
    previous: Previous


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A signed file.

    Attributes:
        data: One envelope; or, for several cards, the set and then one envelope a card, each on a
            line of its own.
        reports: What it holds.
        report_set: The set, None for one card.
        payload_sha256: Digest of the payload of each report.
    """

    data: bytes
    reports: tuple[Report, ...]
    report_set: ReportSet | None
    payload_sha256: tuple[str, ...]


def earlier_reports(path: str, relation: Relation) -> tuple[EarlierReport, ...]:
    """Read the reports of a file, to name them in a later one.

    Args:
        path: A report file, "-" for standard input.
        relation: What they are to the later one.

    Raises:
        MissingInputError: There is no such file.
        Refused: It is no report; its signature is not verified here.
        UsageError: It holds a set without its reports, or too many.
    """
    found: list[EarlierReport] = []
    for origin, data in iter_envelopes(path):
        payload = read_envelope(data, origin).payload
        report = load_statement(payload, origin)
        if isinstance(report, ReportSet):
            continue
        if len(found) == MAX_PREVIOUS:
            raise UsageError(f"{printable(path)}: more than {MAX_PREVIOUS} reports")
        previous = Previous(
            report_id=report.report_id,
            role=report.role,
            payload_sha256=hashlib.sha256(payload).hexdigest(),
            relation=relation,
        )
        found.append(
            EarlierReport(origin=origin, gpu_uuid=report.identity.gpu_uuid, previous=previous)
        )
    if not found:
        raise UsageError(f"{printable(path)}: no report of a card in it")
    return tuple(found)


def usual_relation(role: Role) -> Relation:
    """Return what an earlier report usually is to one made in a role."""
    return Relation.COMPARES_TO if role in (Role.INTAKE, Role.LAB) else Relation.RECEIVED_WITH


def assign_earlier(
    uuids: Sequence[str], earlier: Sequence[EarlierReport]
) -> tuple[list[tuple[Previous, ...]], list[str]]:
    """Give each card the earlier reports that are about it.

    Where one card was received with one report, and the report is about another card, it is named
    all the same: that is what the reader has to be told.

    Args:
        uuids: UUID of each card.
        earlier: The earlier reports.

    Returns:
        The earlier reports of each card, and a line for each that is about none of them.
    """
    own = [tuple(item.previous for item in earlier if item.gpu_uuid == uuid) for uuid in uuids]
    strange = [item for item in earlier if item.gpu_uuid not in uuids]
    if len(uuids) == len(earlier) == len(strange) == 1:
        where, uuid = printable(strange[0].origin), strange[0].gpu_uuid
        note = f"{where} is about another card, {uuid}; it is named all the same"
        return [(strange[0].previous,)], [note]
    return own, [
        f"{printable(item.origin)} is about another card, {item.gpu_uuid}; it is not named"
        for item in strange
    ]


def issue(
    evidence: Evidence,
    result: Result,
    terms: Terms,
    signer: Signer,
    *,
    now_s: int,
    earlier: Sequence[EarlierReport] = (),
    stamp: Stamp | None = None,
) -> tuple[Issued, list[str]]:
    """Build and sign the reports of a run.

    Args:
        evidence: All claims of the run.
        result: Its appraisal; each card in it gets a report.
        terms: What the signer adds.
        signer: Who signs.
        now_s: The time, Unix seconds (UTC).
        earlier: Earlier reports to be named.
        stamp: Gets a time stamp, None for none.

    Returns:
        The signed file, and what is to be said about the earlier reports.

    Raises:
        GpuverifyError: A card cannot be named, a text cannot be signed, the holder of the key or
            the authority of the time stamp refuses.
    """
    built = [
        build_report(evidence, result, judged.device.index, terms, now_s=now_s)
        for judged in result.devices
    ]
    if not built:
        raise UsageError("there is no card to report on")
    named, notes = assign_earlier([report.identity.gpu_uuid for report in built], earlier)
    reports = [
        replace(report, previous=(*report.previous, *previous))
        for report, previous in zip(built, named, strict=True)
    ]
    payloads = [dump_report(report) for report in reports]
    report_set = None
    statements = payloads
    if len(reports) > 1:
        pairs = list(zip(reports, payloads, strict=True))
        report_set = build_set(pairs, terms, now_s=now_s)
        statements = [dump_set(report_set), *payloads]
    return (
        Issued(
            data=b"".join(_signed(payload, signer, stamp) for payload in statements),
            reports=tuple(reports),
            report_set=report_set,
            payload_sha256=tuple(hashlib.sha256(payload).hexdigest() for payload in payloads),
        ),
        notes,
    )


def _signed(payload: bytes, signer: Signer, stamp: Stamp | None) -> bytes:
    """Sign one payload, and have the signature stamped."""
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    tokens = () if stamp is None else (stamp(signature),)
    return bundle_bytes(payload, signature, signer.public.keyid, tokens)
