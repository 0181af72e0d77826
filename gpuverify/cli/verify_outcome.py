"""What came of one document, laid out for a list or alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuverify.cli.boundary import INTERRUPTED, Failure, guarded
from gpuverify.cli.verifying import Bench, verify_unit
from gpuverify.codec.report_units import Document
from gpuverify.codec.text import printable
from gpuverify.errors import GpuverifyError

if TYPE_CHECKING:
    from gpuverify.model.verdict import BatchResult, DeviceResult
    from gpuverify.model.verification import Verification

Unit = tuple[Document, ...]
"""Documents that are verified together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What of an accepted document is remembered.

    Attributes:
        name: Report id or set id.
        payload_sha256: Digest of the signed bytes.
        signature_sha256: Digest of the signature.
        keyid: The key.
        nonce: Nonce of the challenge that it answered, hex; "" for none.
        origin: What was read.
    """

    name: str
    payload_sha256: str
    signature_sha256: str
    keyid: str
    nonce: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one document, laid out.

    Attributes:
        origin: What was read.
        exit_code: By the table of exit codes.
        text: For a list of many: a line, a certificate, or a JSON document.
        whole: For a lone document on a terminal: the certificate.
        sighting: What is remembered of it, None where it was refused.
        error: Why it could not be read at all, in the process that read it.
    """

    origin: str
    exit_code: int
    text: str
    whole: str = ""
    sighting: Sighting | None = None
    error: GpuverifyError | None = None


def verify_and_lay_out(
    unit: Unit, bench: Bench, form: str, *, whole: bool = False
) -> list[Outcome]:
    """Verify one unit and lay it out; whatever goes wrong is an outcome too.

    Args:
        unit: One document, or a set with its reports.
        bench: What is asked and known.
        form: text, verbose, json or jsonl.
        whole: Whether it may be the only document, and is wanted as a certificate too.
    """
    whole = whole and len(unit) == 1 and form in ("text", "verbose")
    found = guarded(lambda: _lay_out(unit, verify_unit(unit, bench), form, whole=whole))
    if isinstance(found, Failure):
        if found.exit_code == INTERRUPTED:
            raise KeyboardInterrupt
        return [failed(origin, found, form) for origin, _ in unit]
    return found


def _lay_out(
    unit: Unit, verifications: tuple[Verification, ...], form: str, *, whole: bool
) -> list[Outcome]:
    """Lay out the verifications of one unit."""
    return [
        Outcome(
            origin=one.origin,
            exit_code=one.exit_code,
            text=_text(one, form),
            whole=_certificate(one, verbose=form == "verbose") if whole else "",
            sighting=_sighting(one, data),
        )
        for one, (_, data) in zip(verifications, unit, strict=False)
    ]


def _text(verification: Verification, form: str) -> str:
    """Lay out one verification for a list."""
    if form == "verbose":
        return _certificate(verification, verbose=True) + "\n"
    if form == "text":
        return _line(verification)
    from gpuverify.render.result_json import document_text
    from gpuverify.render.verification_json import verification_document

    return document_text(verification_document(verification), compact=form == "jsonl")


def _certificate(verification: Verification, *, verbose: bool) -> str:
    """Lay out a certificate for the terminal."""
    import sys

    from gpuverify.render.certificate_text import certificate_text
    from gpuverify.render.style import standard_style

    return certificate_text(verification, standard_style(sys.stdout), verbose=verbose, answer=True)


def _line(verification: Verification) -> str:
    """Tell one verification in one line."""
    from gpuverify.render.words import verdict_cell

    if verification.refusal is not None:
        said = verification.message
    else:
        who = verification.principal or verification.keyid
        result = verification.result
        what = "not appraised" if result is None else verdict_cell(result.verdict, result.would_be)
        said = f"signed by {printable(who, 60)}{_small(verification)}: {what}{_why(verification)}"
    return f"{verification.exit_code:>4}  {printable(verification.origin, 100)}: {said}\n"


def _small(verification: Verification) -> str:
    """Say what makes a document worth less than it looks, in a word or two."""
    from gpuverify.model.evidence import EvidenceClass
    from gpuverify.signing.trust import NAMESPACE_TEST

    report = verification.report
    replayed = report is not None and report.evidence_class is EvidenceClass.REPLAYED
    words = ["a test key"] if verification.namespace == NAMESPACE_TEST else []
    words += ["a replay"] if replayed else []
    return f" ({', '.join(words)})" if words else ""


def _why(verification: Verification) -> str:
    """Return the first reason of a verdict, or why there is none, for a line."""
    from gpuverify.model.verification import Stage, StageState

    result = verification.result
    if result is None:
        appraisal = verification.stage(Stage.APPRAISAL)
        skipped = appraisal.state is StageState.NOT_PERFORMED
        first = appraisal.note if skipped else next(iter(verification.warnings), "")
    else:
        judged = result.would_be or result.verdict
        parts: tuple[DeviceResult | BatchResult, ...] = (*result.devices, result.batch)
        told = [part for part in parts if (part.would_be or part.verdict) is judged]
        reasons = [reason for part in (*told, *parts) for reason in part.reasons]
        first = next(iter((*reasons, *verification.warnings)), "")
    return f"; {printable(first, 160)}" if first else ""


def _sighting(verification: Verification, data: bytes) -> Sighting | None:
    """Return what is remembered of an accepted document."""
    if verification.refusal is not None or not verification.keyid:
        return None
    from gpuverify.codec.envelope_json import read_envelope

    report, report_set = verification.report, verification.report_set
    name = report.report_id if report is not None else report_set.set_id if report_set else ""
    challenge = report.challenge if report is not None else report_set and report_set.challenge
    answered = verification.challenge_answered and not _in_set(verification)
    signature = read_envelope(data, verification.origin).signature
    return Sighting(
        name=name,
        payload_sha256=verification.payload_sha256,
        signature_sha256=hashlib.sha256(signature).hexdigest(),
        keyid=verification.keyid,
        nonce=challenge.nonce.hex() if challenge and answered else "",
        origin=verification.origin,
    )


def _in_set(verification: Verification) -> bool:
    """Whether a report answers a challenge through its set."""
    from gpuverify.model.verification import Stage, StageState

    alone = verification.stage(Stage.SET).state is StageState.NOT_PERFORMED
    return verification.report is not None and not alone


def unread(error: GpuverifyError, form: str) -> Outcome:
    """Tell that an input could not be read at all."""
    failure = Failure(exit_code=error.exit_code, message=str(error))
    path = str(error).partition(":")[0]
    told = failed(path, failure, form)
    return Outcome(origin=path, exit_code=told.exit_code, text=told.text, error=error)


def failed(origin: str, failure: Failure, form: str) -> Outcome:
    """Tell that a document gave no verification."""
    origin = printable(origin, 300)
    if form in ("text", "verbose"):
        text = f"{failure.exit_code:>4}  {failure.message}\n"
        return Outcome(origin=origin, exit_code=failure.exit_code, text=text, whole=text)
    from gpuverify.render.result_json import document_text

    error: dict[str, object] = {
        "input": origin,
        "code": failure.code,
        "message": failure.message,
        "exit_code": failure.exit_code,
    }
    document = {"schema": "gpuverify/error/v1", "error": error}
    return Outcome(
        origin=origin,
        exit_code=failure.exit_code,
        text=document_text(document, compact=form == "jsonl"),
    )
