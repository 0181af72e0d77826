"""The parts of a certificate in which the reader's own tool speaks: banner, proof, stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.refusal import WRONG_PURPOSE
from gpuverify.model.verification import StageState, TimeSource
from gpuverify.render import words
from gpuverify.render.certificate import (
    Banner,
    Cell,
    Field,
    Part,
    Table,
    file_name,
    shown,
    time_text,
)
from gpuverify.render.qr import label_text

if TYPE_CHECKING:
    from gpuverify.model.verdict import Result
    from gpuverify.model.verification import Verification

TEST_NAMESPACE = "gpuverify-test"
"""Namespace of keys that prove nothing about a real card."""

NOT_PROVEN = (
    "It does not prove that a GPU was there, that the driver told the truth, or that the card in "
    "the parcel is this one. Measure the card on a machine of your own and compare (gpuverify "
    "compare)."
)
"""What no signature proves, said wherever one is shown."""

_STATE = {
    StageState.DONE: Cell(text="done", role="good"),
    StageState.REFUSED: Cell(text="refused", role="bad"),
    StageState.WARNING: Cell(text="warning", role="doubt"),
    StageState.NOT_PERFORMED: Cell(text="not performed", role="unknown"),
}

_ROLES = {0: "good", 1: "doubt", 2: "bad"}
"""Colour of the banner by the exit code, which knows the verdict and more."""

_STATED_CLASS = {
    EvidenceClass.REPLAYED: "The evidence is a replayed recording, not a live card.",
    EvidenceClass.CARRIED: "The evidence was read from a file by the signer, not collected live.",
    EvidenceClass.IMPORTED: "The evidence is somebody's log, not collected live.",
}


def banner(verification: Verification) -> Banner:
    """Say what has to be seen first.

    Args:
        verification: What came of the document.
    """
    refusal = verification.refusal
    if refusal is None and shown(verification):
        return _accepted(verification)
    if refusal is None:
        return Banner(
            role="unknown",
            headline="NOT VERIFIED",
            sentences=(verification.message or "The document was not verified.",),
        )
    sentences = [f"{refusal.value}: {refusal.meaning}"]
    reason = verification.message.removeprefix(f"{refusal.value}: ")
    if reason and reason != refusal.meaning:
        sentences.append(reason)
    if refusal.exit_code != WRONG_PURPOSE:
        sentences.append("Nothing of what the document says is shown.")
        return Banner(role="bad", headline="NOT RELIED ON", sentences=tuple(sentences))
    if not shown(verification):
        return Banner(role="bad", headline="REFUSED", sentences=tuple(sentences))
    return Banner(
        role="doubt",
        headline="SIGNATURE VERIFIED, BUT NOT FOR THIS PURPOSE",
        sentences=(*sentences, *_cautions(verification)),
    )


def _accepted(verification: Verification) -> Banner:
    """Say what own appraisal of a verified document found."""
    result = verification.result
    if result is None:
        return Banner(
            role="strong",
            headline="SIGNATURE VERIFIED",
            sentences=("The evidence was not appraised here.", *_cautions(verification)),
        )
    compared = [
        f"Beside {file_name(one.earlier)}: {one.sameness.value}."
        for one in verification.comparisons
    ]
    return Banner(
        role=_ROLES.get(verification.exit_code, "unknown"),
        headline=f"SIGNATURE VERIFIED; OWN APPRAISAL: {result.verdict.value.upper()}",
        sentences=(_judged(result, verification), *compared, *_cautions(verification)),
    )


def _judged(result: Result, verification: Verification) -> str:
    """Say the own verdict in a sentence, with the signer as the source of the evidence."""
    text = words.headline(result)
    if result.would_be is not None:
        text = f"on live evidence it would be {result.would_be.value}: {text}"
    who = verification.principal or verification.keyid
    return f"{text[0].upper()}{text[1:]}, as stated by {who} (exit {verification.exit_code})."


def _cautions(verification: Verification) -> list[str]:
    """Say what lowers the worth of the whole document."""
    cautions = []
    if verification.namespace == TEST_NAMESPACE:
        cautions.append("Signed by a test key: nothing here speaks for a real card.")
    report = verification.report
    if report is not None and report.evidence_class in _STATED_CLASS:
        cautions.append(_STATED_CLASS[report.evidence_class])
    return cautions


def proof_part(verification: Verification) -> Part:
    """Say what the signature proves, what it does not, and what was found odd.

    Args:
        verification: A verification whose document may be shown.
    """
    who = f"the holder of key {verification.keyid}"
    if verification.principal:
        who += f", known here as {verification.principal},"
    proves = f"The signature proves that {who} stated exactly these bytes{_until(verification)}."
    if verification.challenge_answered:
        proves += " They answer your challenge, so they are no older than it."
    return Part(
        id="proof",
        title="What the signature proves",
        sentences=(
            proves,
            NOT_PROVEN,
            *(f"Warning: {text}" for text in verification.warnings),
        ),
    )


def _until(verification: Verification) -> str:
    """Say not later than when the bytes were signed, and by whose word."""
    when = time_text(verification.trusted_time_s)
    if verification.trusted_time_source is TimeSource.RFC3161:
        return f", not later than {when} by a time-stamp authority that you trust"
    if verification.trusted_time_source is TimeSource.JOURNAL:
        return f", not later than {when} by your own journal"
    return "; when, only the signer says"


def stage_part(verification: Verification, *, page: bool) -> Part:
    """List every stage, for a single yes hides too much.

    Args:
        verification: What came of the document.
        page: Whether it is handed on, see `certificate_of`.
    """
    origin = verification.origin
    fields = [Field(label="Read from", value=Cell(text=file_name(origin) if page else origin))]
    digest = verification.payload_sha256
    if digest and not shown(verification):
        fields.append(Field(label="Bytes inside", value=Cell(text=digest, mono=True)))
    if shown(verification):
        fields += [
            Field(label="Key", value=Cell(text=verification.keyid, mono=True)),
            Field(label="Trusted as", value=Cell(text=_trusted_as(verification))),
            Field(label="Report SHA-256", value=Cell(text=digest, mono=True)),
            Field(label="Label", value=Cell(text=label_text(digest), mono=True)),
        ]
        if verification.ignored:
            listed = ", ".join(verification.ignored)
            fields.append(
                Field(label="Not understood", value=Cell(text=f"members ignored: {listed}"))
            )
    return Part(
        id="verification",
        title="Verification",
        speaker="By this tool, stage by stage",
        fields=tuple(fields),
        tables=(_stage_table(verification, page=page),),
    )


def _stage_table(verification: Verification, *, page: bool) -> Table:
    """List the stages; in short, those up to a refusal that were not simply done."""
    rows, brief = [], []
    ended = False
    done = 0
    for entry in verification.stages:
        # The note of a success tells the hour; that of the refusal stands in the banner.
        quiet = page and entry.state is StageState.DONE
        told = "" if quiet or (entry.note and entry.note in verification.message) else entry.note
        row = (Cell(text=entry.stage.meaning), _STATE[entry.state], Cell(text=told))
        rows.append(row)
        done += entry.state is StageState.DONE
        if not ended and entry.state is not StageState.DONE:
            brief.append(row)
        ended = ended or entry.state is StageState.REFUSED
    after = ", those after the refusal were not reached" if ended else ""
    return Table(
        caption="Stages",
        header=("Looks at", "State", "Note"),
        rows=tuple(rows),
        brief=tuple(brief),
        left_out=f"{done} of {len(rows)} stages done{after}",
    )


def _trusted_as(verification: Verification) -> str:
    """Say what the trust store grants."""
    if verification.namespace == TEST_NAMESPACE:
        return f"{verification.principal or 'nobody'} (test key)"
    return verification.principal or "no name"
