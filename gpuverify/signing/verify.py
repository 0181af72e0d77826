"""Verification of one signed document, or of a set with its reports: every stage in its order.

What a signature proves: that the holder of a key stated these bytes before the trusted time. Not
that a GPU was there, nor that the card at hand is the one; hence challenge, identity, own
appraisal and a second run at intake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import Stage, Verification
from gpuverify.signing import (
    reappraise,
    report_sets,
    stages_beside,
    stages_purpose,
    stages_signer,
)
from gpuverify.signing.stage_book import Book
from gpuverify.signing.stages_device import check_device_evidence
from gpuverify.signing.stages_signed import check_signature, open_envelope, read_statement

if TYPE_CHECKING:
    from gpuverify.signing.demands import Demands, World

MAX_SET = 256
"""Most reports of one set, as `codec.limits.MAX_DEVICES`."""


def verify_envelope(data: bytes, origin: str, demands: Demands, world: World) -> Verification:
    """Verify one signed document and judge its evidence anew.

    Args:
        data: The bytes of a file, or of one line of JSON Lines.
        origin: What was read, for people.
        demands: What is asked of it.
        world: Trust store, journal, reference data, now.

    Returns:
        Each stage's result apart. A refusal is in it; nothing is raised for bad input.

    Raises:
        GpuverifyError: The reader's own files (journal, reference data) cannot be relied on.
    """
    book = Book(origin=printable(origin, 300))
    if _signed(book, data, demands, world) and _signer_and_time(book, demands, world):
        if book.report_set is not None:
            _for_set(book, demands, world)
        elif _for_report(book, demands, world):
            _judge_alone(book, demands, world)
    return book.verification()


def verify_set(
    documents: Sequence[tuple[str, bytes]], demands: Demands, world: World
) -> tuple[Verification, ...]:
    """Verify a set statement together with its reports.

    Args:
        documents: Origin and bytes; the set statement first, then what came with it.
        demands: What is asked. A serial number or UUID selects one card of the set.
        world: As for `verify_envelope`.

    Returns:
        One verification a document, in their order; that of the set holds the appraisal of all
        cards together. A report that is lost, doubled or foreign refuses the set.

    Raises:
        GpuverifyError: As for `verify_envelope`.
    """
    first_origin, first_data = documents[0]
    head = Book(origin=printable(first_origin, 300))
    going = _signed(head, first_data, demands, world) and _signer_and_time(head, demands, world)
    if not going or head.report_set is None:
        rest = [verify_envelope(data, origin, demands, world) for origin, data in documents[1:]]
        alone = head.verification()
        if going and head.report_set is None:
            alone = verify_envelope(first_data, first_origin, demands, world)
        return (alone, *rest)
    members = []
    for origin, data in documents[1 : MAX_SET + 2]:
        book = Book(origin=printable(origin, 300))
        if _signed(book, data, demands, world) and _signer_and_time(book, demands, world):
            wanted = report_sets.wanted(book, demands)
            _for_report(book, demands, world, member=True, wanted=wanted)
        members.append(book)
    if _for_set(head, demands, world, complete=True):
        report_sets.join(head, head.report_set, members, demands, world)
    for book in members:
        if head.refusal is not None and book.refusal is None:
            why = f"the set that it came with is refused ({head.refusal.value})"
            book.warn(Stage.SET, why)
            book.passed_over(Stage.APPRAISAL, why)
    return (head.verification(), *(book.verification() for book in members))


def verify_signature_only(data: bytes, origin: str, demands: Demands, world: World) -> Verification:
    """Verify up to the trusted time of the key, and judge nothing: for reports named as earlier.

    Args:
        data: The bytes.
        origin: What was read, for people.
        demands: Whether keys of the test namespace are tried.
        world: As for `verify_envelope`.
    """
    book = Book(origin=printable(origin, 300))
    if _signed(book, data, demands, world):
        _signer_and_time(book, demands, world)
    return book.verification()


def _signed(book: Book, data: bytes, demands: Demands, world: World) -> bool:
    """Run the stages up to the statement."""
    return (
        open_envelope(book, data)
        and check_signature(book, world.trust, accept_test_keys=demands.accept_replayed)
        and read_statement(book)
    )


def _signer_and_time(book: Book, demands: Demands, world: World) -> bool:
    """Run the stages about the signer and the time."""
    return (
        book.run(Stage.SIGNER, lambda: stages_signer.check_signer(book))
        and book.run(Stage.TIMES, lambda: stages_signer.check_times(book, world))
        and book.run(Stage.TIMESTAMP, lambda: stages_signer.check_timestamp(book, demands, world))
        and book.run(Stage.KEY_VALIDITY, lambda: stages_signer.check_key_validity(book, world))
    )


def _for_report(
    book: Book, demands: Demands, world: World, *, member: bool = False, wanted: bool = True
) -> bool:
    """Run the stages about the purpose of a report, and what travels beside it."""
    if book.report is None:
        book.refuse(Stage.SET, Refused(Refusal.SET, "a set statement stands among the reports"))
        return False
    purpose, beside = stages_purpose, stages_beside

    def card() -> None:
        if wanted:
            purpose.check_card(book, demands)
        else:
            book.passed_over(Stage.CARD, "another card of the set is expected")

    def no_set() -> None:
        if not member:
            book.passed_over(Stage.SET, "the report stands alone")

    def label() -> None:
        if member:
            book.passed_over(Stage.LABEL, "held against the set")
        else:
            beside.check_label(book, demands)

    return (
        book.run(Stage.AGE, lambda: purpose.check_age(book, demands, world))
        and book.run(Stage.ROLE, lambda: purpose.check_role(book, demands))
        and book.run(Stage.CHALLENGE, lambda: purpose.check_challenge(book, demands))
        and book.run(Stage.CARD, card)
        and book.run(Stage.EVIDENCE_CLASS, lambda: purpose.check_class(book, demands))
        and book.run(Stage.DEVICE_EVIDENCE, lambda: check_device_evidence(book, world))
        and book.run(Stage.REFERENCE_DATA, lambda: purpose.check_reference_data(book, demands))
        and book.run(Stage.CHECKS, lambda: purpose.check_checks(book))
        and book.run(Stage.OPINION, lambda: purpose.check_opinion(book))
        and book.run(
            Stage.REPLAY, lambda: purpose.check_replay(book, demands, world, member=member)
        )
        and book.run(Stage.SET, no_set)
        and book.run(Stage.PREVIOUS, lambda: beside.check_previous(book, demands, world))
        and book.run(Stage.ATTACHMENTS, lambda: beside.check_attachments(book, demands))
        and book.run(Stage.LABEL, label)
    )


_NOT_FOR_SETS = (
    Stage.CARD, Stage.EVIDENCE_CLASS, Stage.DEVICE_EVIDENCE, Stage.REFERENCE_DATA, Stage.CHECKS,
    Stage.OPINION,
    Stage.PREVIOUS, Stage.ATTACHMENTS, Stage.COMPARISON,
)  # fmt: skip


def _for_set(book: Book, demands: Demands, world: World, *, complete: bool = False) -> bool:
    """Run the stages about the purpose of a set statement; alone, it lacks its reports."""
    purpose = stages_purpose
    for stage in _NOT_FOR_SETS:
        book.passed_over(stage, "looked at in each report of the set")

    def alone() -> None:
        if not complete and book.report_set is not None:
            raise Refused(
                Refusal.SET,
                f"a set statement without its {book.report_set.count} reports: give the file that"
                " holds them all, or the set statement first and its reports after it",
            )

    return (
        book.run(Stage.AGE, lambda: purpose.check_age(book, demands, world))
        and book.run(Stage.ROLE, lambda: purpose.check_role(book, demands))
        and book.run(Stage.CHALLENGE, lambda: purpose.check_challenge(book, demands))
        and book.run(Stage.REPLAY, lambda: purpose.check_replay(book, demands, world))
        and book.run(Stage.SET, alone)
        and book.run(Stage.LABEL, lambda: book.passed_over(Stage.LABEL, "held against the reports"))
    )


def _judge_alone(book: Book, demands: Demands, world: World) -> None:
    """Appraise a report that stands alone, and compare it with earlier ones."""
    reappraise.appraise_report(book, demands, world)
    reappraise.compare_with_earlier(book, demands)
    reappraise.hold_back(book)
