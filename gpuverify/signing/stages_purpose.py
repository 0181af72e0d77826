"""Stages about the purpose: is this the report that was asked for, of this card, for this time."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_text
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verdict import Verdict
from gpuverify.model.verification import Stage, TimeSource
from gpuverify.signing.challenge import measurement_nonce
from gpuverify.signing.demands import DAY_S, SKEW_S
from gpuverify.signing.mandatory_checks import MANDATORY_CHECKS
from gpuverify.signing.stages_signer import key_of, statement_of

if TYPE_CHECKING:
    from gpuverify.model.report import Check, Report
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.stage_book import Book

_ACCUSING = (Outcome.WARN, Outcome.FAIL)


def check_age(book: Book, demands: Demands, world: World) -> None:
    """Ask how long ago the card was measured.

    Args:
        book: The book.
        demands: The longest time that is accepted.
        world: For now.

    Raises:
        Refused: E_STALE.
    """
    if demands.max_age_s is None:
        book.passed_over(Stage.AGE, "no limit was asked for")
        return
    statement = statement_of(book)
    moment, what = statement.issued_s, "issued"
    if book.report is not None and book.report.measured_end_s is not None:
        moment, what = book.report.measured_end_s, "measured"
    age = world.now_s - moment
    if age > demands.max_age_s:
        raise Refused(
            Refusal.STALE,
            f"{what} {utc_text(moment)}, {age // DAY_S} days ago; at most"
            f" {demands.max_age_s // DAY_S} were asked for; ask for a fresh report with a"
            " challenge, or give --max-age",
        )
    book.done(Stage.AGE, f"{what} {max(0, age) // DAY_S} days ago")


def check_role(book: Book, demands: Demands) -> None:
    """Ask whether the report was made in the role that is wanted.

    Args:
        book: The book.
        demands: The role.

    Raises:
        Refused: E_ROLE.
    """
    if demands.role is None:
        book.passed_over(Stage.ROLE, "no role was asked for")
        return
    role = statement_of(book).role
    if role.value != demands.role:
        raise Refused(Refusal.ROLE, f"made in the role {role.value}; {demands.role} was asked for")
    book.done(Stage.ROLE, role.value)


def check_challenge(book: Book, demands: Demands) -> None:
    """Ask whether the report answers the challenge, and whether the measurement was keyed with it.

    Args:
        book: The book.
        demands: The challenge that was set.

    Raises:
        Refused: E_NONCE.
    """
    carried = statement_of(book).challenge
    measured: list[str] = []
    if book.report is not None:
        claims = book.report.evidence.host.all("measure.nonce")
        measured = [str(claim.value).lower() for claim in claims if claim.ok]
    if carried is not None and measured:
        wanted = measurement_nonce(carried).encode()
        if not all(hmac.compare_digest(nonce.encode(), wanted) for nonce in measured):
            raise Refused(
                Refusal.NONCE,
                "the card was not measured under the challenge that the report names: the"
                " measurement's own nonce does not follow from it",
            )
    if demands.challenge is None:
        note = "none was set" if carried is None else "the report answers one that was not set here"
        book.passed_over(Stage.CHALLENGE, note)
        return
    if carried is None:
        raise Refused(
            Refusal.NONCE,
            "the report answers no challenge: it may be of any day; send the challenge file to the"
            " signer and ask for a report made with it",
        )
    if not hmac.compare_digest(carried.nonce, demands.challenge.nonce):
        raise Refused(Refusal.NONCE, "the report answers another challenge")
    _check_challenge_times(book, demands)
    book.challenge_answered = True
    if book.report is not None and not measured:
        book.warn(
            Stage.CHALLENGE,
            "the challenge is answered, but nothing was measured under it: the values are read out,"
            " and only the signature is known to be fresh",
        )
    else:
        book.done(Stage.CHALLENGE, "answered")


def _check_challenge_times(book: Book, demands: Demands) -> None:
    """Hold the times of measurement and signature against those of the challenge."""
    challenge = demands.challenge
    if challenge is None:
        return
    statement, moment = statement_of(book), book.trusted_time_s
    start = book.report.measured_start_s if book.report is not None else None
    begun = statement.issued_s if start is None else start
    if begun < challenge.issued_s - SKEW_S:
        done = "the report was issued" if start is None else "the card was measured"
        raise Refused(
            Refusal.NONCE,
            f"{done} {utc_text(begun)}, before the challenge was made"
            f" ({utc_text(challenge.issued_s)})",
        )
    # The signer's own date says nothing here; a stamp, the journal or now does.
    if moment is not None and moment > challenge.expires_s:
        at = "" if book.trusted_time_source is TimeSource.NOW else " by the trusted time"
        raise Refused(
            Refusal.NONCE,
            f"the challenge expired {utc_text(challenge.expires_s)}, and it is {utc_text(moment)}"
            f"{at}; make a new one with gpuverify challenge new",
        )


def check_card(book: Book, demands: Demands) -> None:
    """Ask whether the report is about the card that is expected.

    Args:
        book: The book.
        demands: Serial number and UUID.

    Raises:
        Refused: E_WRONG_CARD.
    """
    if demands.serial is None and demands.uuid is None:
        book.passed_over(Stage.CARD, "no serial number or UUID was given: compare the label")
        return
    report = _report(book)
    serial, uuid = report.identity.board_serial, report.identity.gpu_uuid
    if demands.uuid is not None and uuid.lower() != demands.uuid.strip().lower():
        same = demands.serial is not None and serial == demands.serial.strip()
        raise Refused(
            Refusal.WRONG_CARD,
            f"the report is about {printable(uuid, 60)}"
            + (
                ", another GPU under the same serial number: a cloned serial number, or a board"
                " that was repaired with another GPU"
                if same
                else f"; {printable(demands.uuid, 60)} was expected"
            ),
        )
    if demands.serial is not None and serial != demands.serial.strip():
        said = "no serial number" if serial is None else f"serial number {printable(serial, 40)}"
        raise Refused(
            Refusal.WRONG_CARD,
            f"the report is about a card with {said}; {printable(demands.serial, 40)} was expected",
        )
    book.done(Stage.CARD, f"{serial or 'no serial number'}, {uuid}")


def check_class(book: Book, demands: Demands) -> None:
    """Ask how the signer says that the evidence was collected; test keys count for nothing.

    Args:
        book: The book; the class that this verification gives stands in `evidence` afterwards.
        demands: Whether a test key may show a replay.

    Raises:
        Refused: E_SIMULATED.
    """
    from dataclasses import replace

    report = _report(book)
    stated = report.evidence_class
    if key_of(book).is_test:
        given = EvidenceClass.REPLAYED
        book.warn(
            Stage.EVIDENCE_CLASS,
            f"a key of the test namespace: the evidence ({stated.value}) counts as a replay",
        )
    elif stated is not EvidenceClass.LIVE:
        accept = " (--accept-replayed is for keys of the test namespace)"
        raise Refused(
            Refusal.SIMULATED,
            f"the signer states that the evidence is {stated.value}, not collected live on a card"
            f"{accept if demands.accept_replayed else ''}",
        )
    else:
        given = EvidenceClass.SIGNED
        book.done(Stage.EVIDENCE_CLASS, "live, as the signer states it")
    book.evidence = replace(report.evidence, evidence_class=given, origin=book.origin)


def _report(book: Book) -> Report:
    """Return the report of a book past the statement stages."""
    if book.report is None:
        msg = "a stage for reports ran on a set"
        raise RuntimeError(msg)
    return book.report


def version_parts(version: str) -> tuple[int, ...] | None:
    """Read a version of reference data.

    Args:
        version: "YYYY.MM.DD".

    Returns:
        Its parts, comparable; None where it is none.
    """
    parts = version.split(".")
    if not 1 <= len(parts) <= 4 or not all(
        p.isascii() and p.isdigit() and len(p) < 6 for p in parts
    ):
        return None
    return tuple(int(part) for part in parts)


def check_reference_data(book: Book, demands: Demands) -> None:
    """Ask whether the signer's reference data were new enough.

    Args:
        book: The book.
        demands: The lowest version.

    Raises:
        Refused: E_REFDB.
    """
    used = _report(book).reference_data.version
    if demands.minimum_reference_version is None:
        book.passed_over(Stage.REFERENCE_DATA, f"no version was asked for; the signer used {used}")
        return
    wanted, there = version_parts(demands.minimum_reference_version), version_parts(used)
    if wanted is None or there is None or there < wanted:
        raise Refused(
            Refusal.REFDB,
            f"made with reference data {printable(used, 40)};"
            f" {demands.minimum_reference_version} or newer was asked for",
        )
    book.done(Stage.REFERENCE_DATA, used)


def check_checks(book: Book) -> None:
    """Ask whether every check is there, and none in two versions.

    Args:
        book: The book.

    Raises:
        Refused: E_CHECKS.
    """
    checks = _report(book).checks
    outcomes: dict[str, set[Outcome]] = {}
    seen: set[tuple[str, str, str, str]] = set()
    times = Counter([check.rule for check in checks])
    if not times.keys() >= MANDATORY_CHECKS:
        missing = sorted(MANDATORY_CHECKS - times.keys())
        raise Refused(
            Refusal.CHECKS,
            f"{len(missing)} checks are left out, such as {missing[0]}; a check that could not be"
            " done is listed with its reason",
        )
    several = {rule for rule, count in times.items() if count > 1}
    for check in [one for one in checks if one.rule in several]:
        outcomes.setdefault(check.rule, set()).add(check.outcome)
        key = (check.rule, check.code, check.expected, check.observed)
        if key in seen:
            raise Refused(Refusal.CHECKS, f"the check {printable(check.rule, 60)} stands twice")
        seen.add(key)
    for rule, found in outcomes.items():
        if Outcome.PASS in found and found & {Outcome.WARN, Outcome.FAIL}:
            raise Refused(
                Refusal.CHECKS, f"the check {printable(rule, 60)} stands as passed and as not"
            )
    book.done(Stage.CHECKS, f"{len(checks)} checks, none left out")


def check_opinion(book: Book) -> None:
    """Hold the signer's verdict against the signer's own checks.

    It is never used; but a report that contradicts itself was edited, or made by no honest tool.

    Args:
        book: The book.

    Raises:
        Refused: E_VERDICT.
    """
    report = _report(book)
    opinion = report.opinion
    said = opinion.would_be or opinion.verdict
    accusing = [check for check in report.checks if check.outcome in _ACCUSING]
    failed = _first(accusing, Outcome.FAIL, (Axis.IDENTITY,))
    warned = _first(accusing, Outcome.WARN, (Axis.IDENTITY, Axis.ENVIRONMENT))
    against = failed or warned
    if against is not None and (
        said is Verdict.CONSISTENT or (failed is not None and said is Verdict.SUSPECT)
    ):
        raise Refused(
            Refusal.VERDICT,
            f"the signer's verdict is {said.value}, but the signer's own check"
            f" {printable(against.rule, 60)} ended in {against.outcome.value}",
        )
    if opinion.verdict is Verdict.CONSISTENT and (
        opinion.would_be is not None or report.evidence_class is not EvidenceClass.LIVE
    ):
        raise Refused(
            Refusal.VERDICT,
            f"the signer's verdict is consistent on evidence that is {report.evidence_class.value}",
        )
    book.done(Stage.OPINION, f"{opinion.verdict.value}, as the signer says; not used")


def _first(checks: Sequence[Check], outcome: Outcome, axes: tuple[Axis, ...]) -> Check | None:
    """Return the first check with an outcome on one of some axes."""
    return next((c for c in checks if c.outcome is outcome and c.axis in axes), None)


def check_replay(book: Book, demands: Demands, world: World, *, member: bool = False) -> None:
    """Ask whether the report's id or the challenge was used for something else before.

    Args:
        book: The book.
        demands: The challenge that was set.
        world: What was seen before.
        member: Whether the report is one of a set, which answers the challenge for all of them.

    Raises:
        Refused: E_REPLAY.
    """
    if not world.memories:
        book.passed_over(Stage.REPLAY, "there is no journal to look into")
        return
    statement = statement_of(book)
    name = book.report.report_id if book.report is not None else getattr(statement, "set_id", "")
    for memory in world.memories:
        before = memory.report_payload(name)
        if before is not None and before != book.payload_sha256:
            raise Refused(
                Refusal.REPLAY,
                f"the id {printable(name, 60)} was seen before with other content"
                f" (sha256 {before[:16]}…)",
            )
        if demands.challenge is None or member:
            continue
        used = memory.challenge_use(demands.challenge.nonce)
        if used is not None and used != book.payload_sha256:
            raise Refused(
                Refusal.REPLAY,
                "the challenge was answered before, by another report"
                f" (sha256 {used[:16]}…); a challenge is used once",
            )
    book.done(Stage.REPLAY, "nothing seen before that speaks against it")
