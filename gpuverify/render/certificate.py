"""What a certificate says, apart from how it is laid out: the terminal and the page say the same.

A certificate is built from a verification alone. What the document says is shown only where the
signature of a trusted key verified and the document can be relied on; then every part names its
speaker, and the signer's words stand beside the reader's own appraisal, never in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from gpuverify.model.refusal import WRONG_PURPOSE

if TYPE_CHECKING:
    from gpuverify.model.verdict import DeviceResult
    from gpuverify.model.verification import Verification
    from gpuverify.render.measured_values import Fingerprint, MemoryMap

_LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that has four digits for its year."""

STATED_BY = "As stated by key "
"""Begins the line that names the signer as the speaker of a part."""

ONLY_THIS_ITEM = "The results relate only to the item tested."
"""ISO/IEC 17025:2017, 7.8.2.1 l, asks for this sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands in it.
        role: Colour role of `Style`, "" for none. The text alone has to say the same.
        mono: Whether it is set in a fixed width (digests, ids).
    """

    text: str
    role: str = ""
    mono: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A value behind its label.

    Attributes:
        label: The label.
        value: The value.
        long: Whether it is left out where there is little room.
    """

    label: str
    value: Cell
    long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with one header row; the first cell of a row is its header.

    Attributes:
        caption: What the table shows.
        header: Column headers.
        rows: Cells, as many a row as there are headers.
        brief: The rows that are shown where there is little room; None for all.
        left_out: What is said there of the others.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    brief: tuple[tuple[Cell, ...], ...] | None = None
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """One check, own outcome beside the signer's.

    Attributes:
        name: Rule and code.
        own: The reader's outcome in a word, "" where nothing was appraised.
        own_role: Its colour role.
        signer: The signer's outcome in a word, "" where he states none.
        signer_role: Its colour role.
        basis: How hard the observation is to forge.
        message: What was seen.
        weighty: Whether it is shown where there is little room: somebody's outcome speaks against
            the card, or both differ.
    """

    name: str
    own: str
    own_role: str
    signer: str
    signer_role: str
    basis: str
    message: str
    weighty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a certificate.

    Attributes:
        id: Short name, unique in the certificate.
        title: Heading.
        speaker: Who says so, one line; "" for what the tool itself says.
        sentences: Paragraphs.
        fields: Values behind labels.
        tables: Tables.
        checks: Checks.
        fingerprint: The performance fingerprint.
        memory: The capacity proof.
        long: Whether it is left out where there is little room.
        annex: Whether it stands behind everything else, and not on paper.
    """

    id: str
    title: str
    speaker: str = ""
    sentences: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    tables: tuple[Table, ...] = ()
    checks: tuple[CheckLine, ...] = ()
    fingerprint: Fingerprint | None = None
    memory: MemoryMap | None = None
    long: bool = False
    annex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """What has to be seen first.

    Attributes:
        role: Colour role of `Style`.
        headline: A few words.
        sentences: What they mean here.
    """

    role: str
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate.

    Attributes:
        title: Heading.
        identifier: Report or set id, "" where nothing was verified.
        banner: What has to be seen first.
        parts: In order.
        end: The end mark, "" where nothing was verified.
        payload_sha256: Digest of the signed bytes, "" where nothing was verified.
    """

    title: str
    identifier: str
    banner: Banner
    parts: tuple[Part, ...]
    end: str
    payload_sha256: str


def shown(verification: Verification) -> bool:
    """Whether what the document says may be shown.

    It may where the signature of a trusted key verified and the document was refused, if at all,
    for its purpose only.

    Args:
        verification: What came of the document.
    """
    refusal = verification.refusal
    if refusal is not None and refusal.exit_code != WRONG_PURPOSE:
        return False
    if not verification.keyid or not verification.payload_sha256:
        return False
    return verification.report is not None or verification.report_set is not None


def certificate_of(verification: Verification, *, page: bool = False) -> Certificate:
    """Build the certificate of one document.

    Args:
        verification: What came of it.
        page: Whether it is handed on: then without the reader's folders, and without what depends
            on the hour at which he looked.
    """
    from gpuverify.render.certificate_verdict import banner, proof_part, stage_part

    report, report_set = verification.report, verification.report_set
    parts: tuple[Part, ...]
    annex: tuple[Part, ...] = ()
    if shown(verification) and report is not None:
        from gpuverify.render.certificate_report import report_parts
        from gpuverify.render.certificate_results import readings_part

        annex = (readings_part(report.evidence, signer_speaks(verification)),)
        title, identifier = "GPU test report", report.report_id
        parts = report_parts(verification, report)
    elif shown(verification) and report_set is not None:
        from gpuverify.render.certificate_set import set_parts

        title, identifier = "Set of GPU test reports", report_set.set_id
        parts = set_parts(report_set, verification)
    else:
        return Certificate(
            title="Signed document, not relied on",
            identifier="",
            banner=banner(verification),
            parts=(stage_part(verification, page=page),),
            end="",
            payload_sha256="",
        )
    return Certificate(
        title=title,
        identifier=identifier,
        banner=banner(verification),
        parts=(proof_part(verification), *parts, stage_part(verification, page=page), *annex),
        end=f"{ONLY_THIS_ITEM} End of report {identifier}.",
        payload_sha256=verification.payload_sha256,
    )


def own_device(verification: Verification) -> DeviceResult | None:
    """Return the reader's own result for the card of a report.

    Args:
        verification: What came of the report; the cards of one set are appraised together.

    Returns:
        None where nothing was appraised, or nothing that is this card.
    """
    if verification.result is None or verification.report is None:
        return None
    uuid = verification.report.identity.gpu_uuid.lower()
    for device in verification.result.devices:
        if str(device.device.claims.value("gpu.uuid") or "").lower() == uuid:
            return device
    return None


def file_name(origin: str) -> str:
    """Return what was read without its folders.

    Args:
        origin: A path, with or without a line number behind it.
    """
    return origin.replace("\\", "/").rpartition("/")[2] or origin


def signer_speaks(verification: Verification) -> str:
    """Return the line that names the signer as the speaker of a part.

    Args:
        verification: A verification with a verified key.
    """
    name = f" ({verification.principal})" if verification.principal else ""
    return f"{STATED_BY}{verification.keyid}{name}"


def time_text(seconds: int | None) -> str:
    """Return a time in UTC.

    Args:
        seconds: Seconds since the Unix epoch, None where it is not known.
    """
    if seconds is None:
        return "not stated"
    if not 0 <= seconds <= _LAST_SECOND:
        return f"second {seconds} of the Unix epoch"
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
