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
from gpuverify.model.report import ReportSet
from gpuverify.model.verification import Stage, Verification
from gpuverify.signing import reappraise, stages_beside, stages_purpose, stages_signer
from gpuverify.signing.stage_book import Book
from gpuverify.signing.stages_device import check_device_evidence
from gpuverify.signing.stages_signed import check_signature, open_envelope, read_statement

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.report import Report, SetMember
    from gpuverify.model.verdict import Result
    from gpuverify.signing.demands import Demands, World

MAX_SET = 256
"""Most reports of one set, as `codec.limits.MAX_DEVICES`."""

_UNVERIFIED = 3


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
            wanted = _wanted(book, demands)
            _for_report(book, demands, world, member=True, wanted=wanted)
        members.append(book)
    if _for_set(head, demands, world, complete=True):
        _join(head, head.report_set, members, demands, world)
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


def _wanted(book: Book, demands: Demands) -> bool:
    """Whether a member of a set is the card that is expected, where one is named."""
    if book.report is None:
        return False
    identity = book.report.identity
    if demands.uuid is not None and identity.gpu_uuid != demands.uuid.strip().lower().replace(
        "gpu-", "GPU-", 1
    ):
        return False
    return demands.serial is None or identity.board_serial == demands.serial.strip()


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
    Stage.CARD, Stage.EVIDENCE_CLASS, Stage.DEVICE_EVIDENCE, Stage.REFERENCE_DATA, Stage.CHECKS, Stage.OPINION,
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
    _hold_back(book)


def _hold_back(book: Book) -> None:
    """Never let a test key, or a missing appraisal, end in consistent."""
    if book.exit_code == 0 and (book.result is None or book.key is None or book.key.is_test):
        book.exit_code = _UNVERIFIED


def _join(
    head: Book, statement: ReportSet, members: list[Book], demands: Demands, world: World
) -> None:
    """Hold the reports against their set, and judge all cards together."""
    joined: list[Book] = []

    def complete() -> None:
        joined.extend(_matched(statement, head, members))
        head.done(Stage.SET, f"{statement.count} reports, each once")

    if not head.run(Stage.SET, complete):
        for book in members:
            if book.refusal is None:
                book.passed_over(Stage.APPRAISAL, "the set that it came with is refused")
        return
    for book in joined:
        book.done(Stage.SET, "a member of the set that stands before it")
    found: list[tuple[Evidence, tuple[int, ...]]] = []

    def one_run() -> None:
        pairs = [(b.report, b.evidence) for b in joined if b.report and b.evidence]
        found.append(reappraise.join(pairs, head.origin))
        _check_label(joined, demands)

    if not head.run(Stage.LABEL if demands.label_text else Stage.SET, one_run):
        return
    evidence, indexes = found[0]
    head.evidence = evidence

    def expected() -> None:
        if demands.serial is None and demands.uuid is None:
            head.passed_over(Stage.CARD, "no serial number or UUID was given: compare the labels")
        elif not any(_wanted(book, demands) for book in joined):
            raise Refused(
                Refusal.WRONG_CARD,
                f"none of the {len(joined)} cards of the set has the serial number and UUID that"
                " were expected",
            )
        else:
            head.done(Stage.CARD, "one of the cards of the set")

    if not head.run(Stage.CARD, expected):
        return
    if not demands.appraise:
        head.passed_over(Stage.APPRAISAL, "not asked for")
        return
    selected = _selected(joined, indexes, demands)
    result = reappraise.judge(evidence, demands, world, selected)
    _share(head, joined, indexes, result, demands)


def _selected(
    joined: list[Book], indexes: tuple[int, ...], demands: Demands
) -> tuple[int, ...] | None:
    """Return the devices to judge: the one that is expected, or all."""
    if demands.serial is None and demands.uuid is None:
        return None
    return tuple(
        index for book, index in zip(joined, indexes, strict=True) if _wanted(book, demands)
    )


def _share(
    head: Book, joined: list[Book], indexes: tuple[int, ...], result: Result, demands: Demands
) -> None:
    """Give the set its result, and each report the part that is about its card."""
    reappraise.take_result(head, result, demands)
    _hold_back(head)
    judged = {device.device.index for device in result.devices}
    for book, index in zip(joined, indexes, strict=True):
        if index not in judged:
            book.passed_over(Stage.APPRAISAL, "another card of the set is expected")
            continue
        reappraise.take_result(book, reappraise.only_device(result, index, demands), demands)
        reappraise.compare_with_earlier(book, demands)
        _hold_back(book)


def _matched(statement: ReportSet, head: Book, members: list[Book]) -> list[Book]:
    """Return the reports in the order of the set, each member exactly once.

    Raises:
        Refused: E_SET.
    """
    _check_statement(statement)
    by_digest: dict[str, Book] = {}
    listed = {member.payload_sha256: member for member in statement.members}
    for book in members:
        entry = listed.get(book.payload_sha256)
        if entry is None:
            why = (
                f" ({book.message})" if book.refusal is not None and not book.payload_sha256 else ""
            )
            raise Refused(
                Refusal.SET,
                f"{book.origin} is not a report of this set{why}: from another set, or altered",
            )
        if book.payload_sha256 in by_digest:
            raise Refused(
                Refusal.SET,
                f"the report of slot {printable(entry.slot, 60)} stands twice ({book.origin})",
            )
        if book.refusal is not None:
            raise Refused(
                Refusal.SET,
                f"the report of slot {printable(entry.slot, 60)} is refused ({book.message})",
            )
        by_digest[book.payload_sha256] = book
        _check_member(statement, head, entry, book)
    missing = [m for m in statement.members if m.payload_sha256 not in by_digest]
    if missing:
        raise Refused(
            Refusal.SET,
            f"{len(missing)} of {statement.count} reports are missing, such as that of slot"
            f" {printable(missing[0].slot, 60)}",
        )
    return [by_digest[member.payload_sha256] for member in statement.members]


def _check_statement(statement: ReportSet) -> None:
    """Hold a set statement against itself."""
    members = statement.members
    if not members or statement.count != len(members):
        raise Refused(
            Refusal.SET, f"the set counts {statement.count} cards and lists {len(members)}"
        )
    for what, values in (
        ("digest", [m.payload_sha256 for m in members]),
        ("report id", [m.report_id for m in members]),
        ("card", [m.gpu_uuid.lower() for m in members]),
        ("slot", [m.slot for m in members]),
    ):
        if len(set(values)) != len(values):
            raise Refused(Refusal.SET, f"the set lists one {what} twice")


def _check_member(statement: ReportSet, head: Book, entry: SetMember, book: Book) -> None:
    """Hold one report against what the set says of it."""
    report = book.report
    slot = printable(entry.slot, 60)
    if report is None or report.report_id != entry.report_id:
        raise Refused(Refusal.SET, f"the report of slot {slot} has another id than the set says")
    if report.identity.gpu_uuid.lower() != entry.gpu_uuid.lower():
        raise Refused(Refusal.SET, f"the report of slot {slot} is about another card")
    if book.key is None or head.key is None or book.key.public.keyid != head.key.public.keyid:
        raise Refused(Refusal.SET, f"the report of slot {slot} is signed by another key")
    if report.role is not statement.role:
        raise Refused(Refusal.SET, f"the report of slot {slot} is made in another role")
    theirs, ours = report.challenge, statement.challenge
    if (theirs is None) != (ours is None) or (theirs and ours and theirs.nonce != ours.nonce):
        raise Refused(Refusal.SET, f"the report of slot {slot} answers another challenge")
    chassis = report.evidence.devices[0].claims.value("platform.chassis_serial")
    if chassis is not None and statement.chassis_serial is not None:
        if str(chassis) != statement.chassis_serial:
            raise Refused(Refusal.SET, f"the report of slot {slot} was made in another chassis")


def _check_label(joined: list[Book], demands: Demands) -> None:
    """Ask that a label fits one of the reports of a set."""
    if demands.label_text is None:
        return
    refused: Refused | None = None
    for book in joined:
        try:
            stages_beside.check_label(book, demands)
        except Refused as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def report_of(verification: Verification) -> Report | None:
    """Return the verified report, None where it is none or was refused.

    Args:
        verification: What came of a document.
    """
    return verification.report if verification.refusal is None else None
