"""Stages about what travels beside a report: earlier reports, attachments, a label."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_text
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import Stage
from gpuverify.signing.demands import SKEW_S

if TYPE_CHECKING:
    from gpuverify.model.report import Attachment, Previous, Report
    from gpuverify.signing.demands import Demands, Earlier, World
    from gpuverify.signing.stage_book import Book

LABEL_PREFIX = "GPUVERIFY1:"
"""What the text of a label's code begins with; base32 of the digest of the signed bytes follows."""

MAX_LABEL_CHARS = 4096
_CODE = re.compile(r"GPUVERIFY([0-9]+):([A-Z2-7]*)", re.IGNORECASE)
_UUID = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", re.IGNORECASE)
_SERIAL = re.compile(
    r"(?:\bS/?N\b|\bserial(?:[ _-]?(?:number|no))?)[\s.:=#]*([0-9A-Z]{6,32})\b", re.IGNORECASE
)
_BLOCK = 1 << 20


def check_previous(book: Book, demands: Demands, world: World) -> None:
    """Hold the earlier reports that are named against those that were shown or seen before.

    Args:
        book: The book.
        demands: The earlier reports at hand.
        world: What was seen before.

    Raises:
        Refused: E_CHAIN: another content than was named, a cycle, a name that stands twice.
    """
    report = book.report
    unnamed = _unnamed(book, demands)
    if report is None or not report.previous:
        if unnamed:
            book.warn(Stage.PREVIOUS, unnamed)
        else:
            book.passed_over(Stage.PREVIOUS, "no earlier report is named")
        return
    shown, missing = [], []
    names: set[str] = set()
    for entry in report.previous:
        if entry.report_id == report.report_id or entry.payload_sha256 == book.payload_sha256:
            raise Refused(Refusal.CHAIN, "the report names itself as an earlier one")
        if entry.report_id in names:
            raise Refused(
                Refusal.CHAIN, f"the earlier report {printable(entry.report_id, 60)} stands twice"
            )
        names.add(entry.report_id)
        earlier = _earlier(entry, report, demands.earlier, world)
        if earlier is None:
            missing.append(entry.report_id)
        else:
            shown.append(earlier)
    _check_cycle(report, demands.earlier)
    if missing:
        book.warn(
            Stage.PREVIOUS,
            f"{len(missing)} of {len(report.previous)} earlier reports were not shown (such as"
            f" {printable(missing[0], 60)}): give them with --previous",
        )
    elif unnamed:
        book.warn(Stage.PREVIOUS, unnamed)
    else:
        book.done(Stage.PREVIOUS, f"{len(shown)} earlier reports, as they were named")


def _unnamed(book: Book, demands: Demands) -> str:
    """Say which reports were shown that are not named as earlier ones; "" for none."""
    report = book.report
    named = {entry.payload_sha256 for entry in report.previous} if report is not None else set()
    others = [one for digest, one in demands.earlier.items() if digest not in named]
    mine = [one for one in others if report is not None and _same_card(one.report, report)]
    if not mine:
        return ""  # in a lot, what one report does not name another one does
    return (
        f"{printable(mine[0].origin, 60)} is about the same card, and is not named as an earlier"
        " report: hold the two against each other with gpuverify compare"
    )


def _same_card(one: Report, other: Report) -> bool:
    """Whether two reports are about one GPU."""
    return one.identity.gpu_uuid == other.identity.gpu_uuid


def _earlier(
    entry: Previous, report: Report, at_hand: Mapping[str, Earlier], world: World
) -> Earlier | None:
    """Find the earlier report that an entry names; None where it was not shown."""
    found = at_hand.get(entry.payload_sha256)
    name = printable(entry.report_id, 60)
    if found is None:
        if any(other.report.report_id == entry.report_id for other in at_hand.values()):
            raise Refused(
                Refusal.CHAIN, f"the earlier report {name} is another than the one that was shown"
            )
        for memory in world.memories:
            seen = memory.report_payload(entry.report_id)
            if seen is not None and seen != entry.payload_sha256:
                raise Refused(
                    Refusal.CHAIN, f"the earlier report {name} is another than was seen here before"
                )
        return None
    if found.report.report_id != entry.report_id or found.report.role is not entry.role:
        raise Refused(
            Refusal.CHAIN, f"the earlier report {name} has another id or role than is said of it"
        )
    if found.report.issued_s > report.issued_s + SKEW_S:
        raise Refused(
            Refusal.CHAIN,
            f"the earlier report {name} was issued after this one"
            f" ({utc_text(found.report.issued_s)})",
        )
    return found


def _check_cycle(report: Report, at_hand: Mapping[str, Earlier]) -> None:
    """Refuse a chain of names that comes back to the report."""
    by_id = {earlier.report.report_id: earlier.report for earlier in at_hand.values()}
    seen: set[str] = set()
    waiting = [entry.report_id for entry in report.previous]
    while waiting:
        name = waiting.pop()
        if name == report.report_id:
            raise Refused(Refusal.CHAIN, "the earlier reports name this one as earlier: a cycle")
        if name not in seen and name in by_id:
            seen.add(name)
            waiting.extend(entry.report_id for entry in by_id[name].previous)


def check_attachments(book: Book, demands: Demands) -> None:
    """Hold the attachments in a folder against those that are named.

    Args:
        book: The book.
        demands: The folder.

    Raises:
        Refused: E_ATTACHMENT.
    """
    report = book.report
    if report is None or not report.attachments:
        book.passed_over(Stage.ATTACHMENTS, "none is named")
        return
    names = [attachment.name for attachment in report.attachments]
    for name in names:
        if not plain_name(name):
            raise Refused(
                Refusal.ATTACHMENT,
                f"{printable(name, 80)!r} is no plain file name without a folder",
            )
    if len(set(names)) != len(names):
        raise Refused(Refusal.ATTACHMENT, "two attachments have one name")
    if demands.attachments is None:
        book.warn(
            Stage.ATTACHMENTS,
            f"{len(names)} attachments are named and were not looked at: give their folder with"
            " --attachments",
        )
        return
    for attachment in report.attachments:
        _check_file(demands.attachments, attachment)
    book.done(Stage.ATTACHMENTS, f"{len(names)}, size and digest as named")


def plain_name(name: str) -> bool:
    """Whether a name is that of a file without any folder, on every system.

    Args:
        name: As it stands in a report.
    """
    return (
        0 < len(name) <= 200
        and name.isprintable()
        and not any(c in name for c in '/\\:*?"<>|')
        and name.strip(" .") != ""
        and not name.startswith(("-", "."))
        and not name.endswith((" ", "."))
    )


def _check_file(folder: Path, attachment: Attachment) -> None:
    """Hold one file against what is said of it."""
    shown = printable(attachment.name, 80)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(folder / attachment.name, flags)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Refused(
            Refusal.ATTACHMENT,
            f"{shown} cannot be read in {printable(str(folder), 200)} ({why});"
            " ask the signer for it",
        ) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refused(Refusal.ATTACHMENT, f"{shown} is not a plain file")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if status.st_size != attachment.size_bytes:
            raise Refused(
                Refusal.ATTACHMENT,
                f"{shown} has {status.st_size} bytes; the report names {attachment.size_bytes}",
            )
        digest, left = hashlib.sha256(), attachment.size_bytes + 1
        try:
            while left > 0 and (part := file.read(min(left, _BLOCK))):
                digest.update(part)
                left -= len(part)
        except OSError as error:
            raise Refused(
                Refusal.ATTACHMENT, f"{shown} cannot be read ({error.strerror or error})"
            ) from None
    if digest.hexdigest() != attachment.sha256:
        raise Refused(Refusal.ATTACHMENT, f"{shown} is another file than the one that was named")


def check_label(book: Book, demands: Demands) -> None:
    """Hold what was read from a label against what was signed.

    A label is recognised by a digest (`GPUVERIFY1:` with base32, or 64 hex digits), a UUID or a
    serial number in it; a text that is nothing but a serial number is one.

    Args:
        book: The book.
        demands: The text.

    Raises:
        Refused: E_RENDERING.
    """
    text = demands.label_text
    if text is None:
        book.passed_over(Stage.LABEL, "no label was read")
        return
    if len(text) > MAX_LABEL_CHARS:
        raise Refused(Refusal.RENDERING, "the label's text is longer than any label")
    said = [*_digests(text), *((value.lower(), "digest") for value in _SHA256.findall(text))]
    wrong = [what for digest, what in said if digest != book.payload_sha256]
    if wrong:
        raise Refused(
            Refusal.RENDERING,
            f"the label's {wrong[0]} is not that of this report: it belongs to another report, or"
            " was made up",
        )
    known = len(said)
    if book.report is not None:
        known += _check_names(book.report, text)
    if not known:
        raise Refused(
            Refusal.RENDERING,
            "the label names no report, serial number or UUID: it cannot vouch for this report",
        )
    book.done(Stage.LABEL, "says what was signed")


def _digests(text: str) -> list[tuple[str, str]]:
    """Return the digests that codes in a label name."""
    found = []
    for version, code in _CODE.findall(text):
        if version != "1":
            raise Refused(
                Refusal.RENDERING, f"a label of version {version[:6]}, which is not known here"
            )
        try:
            raw = base64.b32decode(code.upper() + "=" * (-len(code) % 8))
        except binascii.Error:
            raise Refused(Refusal.RENDERING, "the label's code is damaged; scan it again") from None
        if len(raw) != 32:
            raise Refused(Refusal.RENDERING, "the label's code is damaged; scan it again")
        found.append((raw.hex(), "code"))
    return found


def _check_names(report: Report, text: str) -> int:
    """Hold serial numbers and UUIDs in a label against the report; return how many there are."""
    uuids = _UUID.findall(text)
    serials = _SERIAL.findall(text)
    if not uuids and not serials and re.fullmatch(r"[0-9A-Z]{6,32}", text.strip()):
        serials = [text.strip()]
    if any(uuid.lower() != report.identity.gpu_uuid.lower() for uuid in uuids):
        raise Refused(Refusal.RENDERING, "the label's UUID is not that of the card in this report")
    if any(serial.upper() != report.identity.board_serial for serial in serials):
        raise Refused(
            Refusal.RENDERING, "the label's serial number is not that of the card in this report"
        )
    return len(uuids) + len(serials)
