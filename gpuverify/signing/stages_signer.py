"""Stages about the signer and the time: who signed, when, and did the key count then."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_text
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import Stage, TimeSource
from gpuverify.signing.demands import SKEW_S

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.report import Report, ReportSet
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.stage_book import Book
    from gpuverify.signing.trust import TrustedKey


def statement_of(book: Book) -> Report | ReportSet:
    """Return the verified statement.

    Args:
        book: A book past the statement stages.
    """
    statement = book.report or book.report_set
    if statement is None:
        msg = "a stage ran before the statement was read"
        raise RuntimeError(msg)
    return statement


def key_of(book: Book) -> TrustedKey:
    """Return the key that verified the signature.

    Args:
        book: A book past the signature stage.
    """
    if book.key is None:
        msg = "a stage ran before the signature was verified"
        raise RuntimeError(msg)
    return book.key


def check_signer(book: Book) -> None:
    """Hold the signer named in the signed bytes against what the key was given.

    Args:
        book: The book.

    Raises:
        Refused: E_SIGNER.
    """
    key, statement = key_of(book), statement_of(book)
    said = statement.signer
    if said.keyid != key.public.keyid:
        raise Refused(
            Refusal.SIGNER,
            f"the report names the key {printable(said.keyid, 80)}, but {key.public.keyid} signed"
            " it: it was signed anew by somebody else",
        )
    if said.principal not in key.principals:
        raise Refused(
            Refusal.SIGNER,
            f"the report is signed as {printable(said.principal, 80)!r}, but the key was given to"
            f" {', '.join(key.principals)}",
        )
    if statement.role not in key.roles:
        given = ", ".join(role.value for role in key.roles) or "none"
        raise Refused(
            Refusal.SIGNER,
            f"the report is made in the role {statement.role.value}; the key was given: {given}",
        )
    book.principal = said.principal
    book.done(Stage.SIGNER, f"{said.principal}, {statement.role.value}")


def check_times(book: Book, world: World) -> None:
    """Hold the times of the statement against each other and against now.

    Args:
        book: The book.
        world: For now.

    Raises:
        Refused: E_TIME.
    """
    statement = statement_of(book)
    if statement.issued_s > world.now_s + SKEW_S:
        raise Refused(
            Refusal.TIME,
            f"issued {utc_text(statement.issued_s)}, which is in the future: either the signer's"
            f" clock or this machine's ({utc_text(world.now_s)}) is wrong",
        )
    report = book.report
    if report is None:
        book.done(Stage.TIMES, f"issued {utc_text(statement.issued_s)}")
        return
    start, end = report.measured_start_s, report.measured_end_s
    if (start is None) != (end is None) or (start is not None and end is not None and start > end):
        raise Refused(Refusal.TIME, "the measurement ends before it starts")
    if end is not None and end > report.issued_s:
        raise Refused(
            Refusal.TIME,
            f"measured until {utc_text(end)}, after it was issued ({utc_text(report.issued_s)})",
        )
    if start is None or end is None:
        book.warn(Stage.TIMES, "the report does not say when the card was measured")
        return
    moments = _claim_times(report.evidence)
    for ms in (min(moments), max(moments)) if moments else ():
        if not start <= ms // 1000 <= end:
            raise Refused(
                Refusal.TIME,
                f"a claim is dated {utc_text(max(0, ms // 1000))}, outside the measurement"
                f" ({utc_text(start)} to {utc_text(end)})",
            )
    book.done(Stage.TIMES, f"measured {utc_text(end)}, issued {utc_text(report.issued_s)}")


def _claim_times(evidence: Evidence) -> list[int]:
    """Return the times of all claims, in milliseconds."""
    times = {claim.time_ms for claim in evidence.host.claims}
    for device in evidence.devices:
        times.update([claim.time_ms for claim in device.claims.claims])
    return [ms for ms in times if ms is not None]


def check_timestamp(book: Book, demands: Demands, world: World) -> None:
    """Verify the time stamps of an authority, and settle the trusted time.

    Args:
        book: The book; the trusted time is set afterwards.
        demands: Whether a time stamp has to be there.
        world: Authorities, journal and now.

    Raises:
        Refused: E_TIMESTAMP.
    """
    envelope = book.envelope
    if envelope is None:
        return
    stamps = envelope.timestamps
    if stamps and world.tsa_roots:
        moment = _stamped(book, world)
        book.trusted_time_s, book.trusted_time_source = moment, TimeSource.RFC3161
        book.done(Stage.TIMESTAMP, f"signed before {utc_text(moment)}, by an authority")
        return
    if demands.require_timestamp:
        raise Refused(
            Refusal.TIMESTAMP,
            "a time stamp is demanded, but no authority is trusted: name its certificate with"
            " --tsa-root"
            if stamps
            else "a time stamp is demanded, and the report has none",
        )
    digest = hashlib.sha256(envelope.signature).hexdigest()
    seen = [memory.first_seen_s(book.payload_sha256, digest) for memory in world.memories]
    first = min((at for at in seen if at is not None), default=None)
    if first is not None and first <= world.now_s:
        book.trusted_time_s, book.trusted_time_source = first, TimeSource.JOURNAL
    else:
        book.trusted_time_s, book.trusted_time_source = world.now_s, TimeSource.NOW
    if stamps:
        book.warn(
            Stage.TIMESTAMP,
            "the report carries a time stamp, but no authority is trusted here (--tsa-root)",
        )
    else:
        book.passed_over(Stage.TIMESTAMP, "the report has none")


def _stamped(book: Book, world: World) -> int:
    """Return the earliest time that a trusted authority vouches for."""
    from gpuverify.signing.timestamp import verify_timestamp

    envelope = book.envelope
    if envelope is None:
        return world.now_s
    moments = []
    refused: Refused | None = None
    for token in envelope.timestamps:
        try:
            moments.append(verify_timestamp(token, envelope.signature, world.tsa_roots))
        except Refused as error:  # noqa: PERF203 - at most eight, and one that holds is enough
            refused = error
    if refused is not None and not moments:
        raise refused
    moment = min(moments)
    issued = statement_of(book).issued_s
    if moment < issued - SKEW_S:
        raise Refused(
            Refusal.TIMESTAMP,
            f"stamped {utc_text(moment)}, before it was issued by its own words"
            f" ({utc_text(issued)})",
        )
    if moment > world.now_s + SKEW_S:
        raise Refused(Refusal.TIMESTAMP, f"stamped {utc_text(moment)}, which is in the future")
    return moment


def check_key_validity(book: Book, world: World) -> None:
    """Ask whether the key counted at the trusted time; what the signer dates it is no matter.

    Args:
        book: The book; the trusted time is settled.
        world: For revocations.

    Raises:
        Refused: E_KEY_EXPIRED or E_KEY_REVOKED.
    """
    key, moment, source = key_of(book), book.trusted_time_s, book.trusted_time_source
    if moment is None or source is None:
        msg = "the key's validity was asked for before the trusted time was settled"
        raise RuntimeError(msg)
    at = f"{utc_text(moment)} ({_SOURCE_WORDS[source]})"
    if not key.valid_at(moment):
        since, until = key.valid_after_s, key.valid_before_s
        if since is not None and moment < since:
            raise Refused(
                Refusal.KEY_EXPIRED,
                f"the key is valid from {utc_text(since)}, and the trusted time is {at}",
            )
        raise Refused(
            Refusal.KEY_EXPIRED,
            f"the key was valid until {utc_text(until or 0)}, and the trusted time is {at}; only a"
            " time stamp, or a journal that saw the report before, shows that it was signed in"
            " time",
        )
    revocation = world.trust.revocation(key.public.keyid)
    if revocation is None:
        book.done(Stage.KEY_VALIDITY, f"valid at {at}")
        return
    if revocation.covers(moment, proven=source is not TimeSource.NOW):
        raise Refused(
            Refusal.KEY_REVOKED,
            f"the key was revoked ({revocation.reason}) as of {utc_text(revocation.at_s)}, and the"
            f" trusted time is {at}; ask the signer for a report with the new key",
        )
    book.warn(
        Stage.KEY_VALIDITY,
        f"the key was revoked later ({revocation.reason}, {utc_text(revocation.at_s)}); it counted"
        f" at {at}",
    )


_SOURCE_WORDS = {
    TimeSource.RFC3161: "time stamp",
    TimeSource.JOURNAL: "own journal",
    TimeSource.NOW: "now",
}
