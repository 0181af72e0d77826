"""The reports of one machine: held against the statement of their set, and judged together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import Stage
from gpuverify.signing import reappraise, stages_beside

if TYPE_CHECKING:
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.report import ReportSet, SetMember
    from gpuverify.model.verdict import Result
    from gpuverify.signing.demands import Demands, World
    from gpuverify.signing.stage_book import Book


def wanted(book: Book, demands: Demands) -> bool:
    """Whether a report is about the card that is expected, where one is named.

    Args:
        book: The book of the report.
        demands: Serial number and UUID.
    """
    if book.report is None:
        return False
    identity = book.report.identity
    if demands.uuid is not None and identity.gpu_uuid.lower() != demands.uuid.strip().lower():
        return False
    return demands.serial is None or identity.board_serial == demands.serial.strip()


def join(
    head: Book, statement: ReportSet, members: list[Book], demands: Demands, world: World
) -> None:
    """Hold reports against their set, and judge all cards together.

    Args:
        head: The book of the set statement.
        statement: The statement.
        members: The books of what came with it.
        demands: What is asked.
        world: Reference data and now.
    """
    joined: list[Book] = []
    found: list[tuple[Evidence, tuple[int, ...]]] = []

    def complete() -> None:
        joined.extend(_matched(statement, head, members))
        pairs = [(b.report, b.evidence) for b in joined if b.report and b.evidence]
        found.append(reappraise.join(pairs, head.origin))
        head.done(Stage.SET, f"{statement.count} reports, each once")

    going = (
        head.run(Stage.SET, complete)
        and head.run(Stage.CARD, lambda: _check_card(head, joined, demands))
        and head.run(Stage.LABEL, lambda: _check_label(head, joined, demands))
    )
    if not going:
        return
    for book in joined:
        book.done(Stage.SET, "a member of the set that stands before it")
    evidence, indexes = found[0]
    head.evidence = evidence
    if not demands.appraise:
        head.passed_over(Stage.APPRAISAL, "not asked for")
        return
    selected = None
    if demands.serial is not None or demands.uuid is not None:
        pairs = zip(joined, indexes, strict=True)
        selected = tuple(index for book, index in pairs if wanted(book, demands))
    result = reappraise.judge(evidence, demands, world, selected)
    _share(head, joined, indexes, result, demands)


def _share(
    head: Book, joined: list[Book], indexes: tuple[int, ...], result: Result, demands: Demands
) -> None:
    """Give the set its result, and each report the part that is about its card."""
    reappraise.take_result(head, result, demands)
    reappraise.hold_back(head)
    judged = {device.device.index for device in result.devices}
    for book, index in zip(joined, indexes, strict=True):
        if index not in judged:
            book.passed_over(Stage.APPRAISAL, "another card of the set is expected")
            continue
        reappraise.take_result(book, reappraise.only_device(result, index, demands), demands)
        reappraise.compare_with_earlier(book, demands)
        reappraise.hold_back(book)


def _check_card(head: Book, joined: list[Book], demands: Demands) -> None:
    """Ask that the card that is expected is one of the set."""
    if demands.serial is None and demands.uuid is None:
        head.passed_over(Stage.CARD, "no serial number or UUID was given: compare the labels")
    elif any(wanted(book, demands) for book in joined):
        head.done(Stage.CARD, "one of the cards of the set")
    else:
        raise Refused(
            Refusal.WRONG_CARD,
            f"none of the {len(joined)} cards of the set has the serial number and UUID that were"
            " expected",
        )


def _check_label(head: Book, joined: list[Book], demands: Demands) -> None:
    """Ask that a label fits the report of the card that is expected, or of one of the cards."""
    if demands.label_text is None:
        head.passed_over(Stage.LABEL, "no label was read")
        return
    refusals = [_label_refusal(b, demands) for b in joined if wanted(b, demands)]
    if None not in refusals and refusals:
        raise refusals[0] or Refused(Refusal.RENDERING, "the label fits no report of the set")
    head.done(Stage.LABEL, "says what was signed in one of the reports")


def _label_refusal(book: Book, demands: Demands) -> Refused | None:
    """Return why a label does not fit a report; None where it fits."""
    try:
        stages_beside.check_label(book, demands)
    except Refused as refused:
        book.passed_over(Stage.LABEL, "the label is that of another card")
        return refused
    return None


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
    if chassis is not None and str(chassis) != (statement.chassis_serial or chassis):
        raise Refused(Refusal.SET, f"the report of slot {slot} was made in another chassis")
