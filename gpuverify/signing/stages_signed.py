"""Stages up to the signed statement: bytes, envelope, key, signature, then those same bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gpuverify.codec.envelope_json import read_envelope
from gpuverify.codec.report_json import load_statement
from gpuverify.codec.text import printable
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import Report
from gpuverify.model.verification import Stage
from gpuverify.signing.envelope import pae

if TYPE_CHECKING:
    from gpuverify.signing.stage_book import Book
    from gpuverify.signing.trust import TrustedKey, TrustStore

_FORM = (Refusal.LIMIT, Refusal.FORMAT)
_STAGE_OF = {
    Refusal.JSON: Stage.PAYLOAD,
    Refusal.DUPKEY: Stage.PAYLOAD,
    Refusal.TEXT: Stage.PAYLOAD,
    Refusal.LIMIT: Stage.PAYLOAD,
    Refusal.SUBJECT: Stage.SUBJECT,
    Refusal.SIMULATED: Stage.EVIDENCE_CLASS,
    Refusal.ATTACHMENT: Stage.ATTACHMENTS,
    Refusal.SET: Stage.SET,
}
"""The stage that a refusal of the statement belongs to; the form of its members for all others."""


def open_envelope(book: Book, data: bytes) -> bool:
    """Read the envelope. The payload is decoded once, and nothing else is used afterwards.

    Args:
        book: The book of this document.
        data: The bytes of the file or line.

    Returns:
        Whether the verification goes on.
    """
    try:
        envelope = read_envelope(data, book.origin)
    except Refused as refused:
        book.refuse(Stage.FORM if refused.refusal in _FORM else Stage.ENVELOPE, refused)
        if refused.refusal not in _FORM:
            book.done(Stage.FORM)
        return False
    book.envelope = envelope
    book.payload_sha256 = hashlib.sha256(envelope.payload).hexdigest()
    book.done(Stage.FORM, f"{len(data)} bytes")
    book.done(Stage.ENVELOPE, f"{envelope.form.value}, payload of {len(envelope.payload)} bytes")
    return True


def check_signature(book: Book, trust: TrustStore, *, accept_test_keys: bool) -> bool:
    """Find the key in the reader's own store, and verify the signature with it.

    Args:
        book: The book; its envelope is read.
        trust: The reader's trust store. A key that came with the document counts for nothing.
        accept_test_keys: Whether keys of the test namespace are tried.

    Returns:
        Whether the verification goes on; `book.key` is set then.
    """
    envelope = book.envelope
    if envelope is None:
        return False
    candidates = trust.candidates(envelope.keyid)
    usable = [key for key in candidates if accept_test_keys or not key.is_test]
    if not usable:
        book.refuse(
            Stage.KEY, Refused(Refusal.UNKNOWN_KEY, _why_unknown(envelope.keyid, candidates, trust))
        )
        return False
    book.done(Stage.KEY, "named by the envelope" if envelope.keyid else "all trusted keys tried")
    message = pae(envelope.payload_type, envelope.payload)
    for key in usable:
        if key.public.verify(envelope.signature, message):
            book.key = key
            book.done(Stage.SIGNATURE, key.public.keyid)
            return True
    if envelope.keyid:
        why = (
            f"the signature is not one by {printable(envelope.keyid, 80)} over these bytes: the"
            " report was altered, or somebody else signed it; ask the signer for the file again"
        )
        book.refuse(Stage.SIGNATURE, Refused(Refusal.SIGNATURE, why))
        return False
    why = (
        "the envelope names no key, and the signature fits none of the"
        f" {len(usable)} trusted keys: it was altered, or the signer is not trusted here"
    )
    book.refuse(Stage.SIGNATURE, Refused(Refusal.SIGNATURE, why))
    return False


def _why_unknown(keyid: str, candidates: tuple[TrustedKey, ...], trust: TrustStore) -> str:
    """Say why no key of the store can be tried, and what to do."""
    if candidates:
        return (
            f"{printable(keyid, 80) or 'every key here'} is trusted for tests only (namespace"
            " gpuverify-test); reports that count are signed with a key added without --test"
        )
    if not trust.keys:
        return (
            f"no key is trusted yet ({trust.origin}); get the signer's public key from the signer,"
            " compare its fingerprint by another way, and add it with gpuverify trust add"
        )
    return (
        f"{printable(keyid, 80)} is not in {trust.origin}; if you know the signer, compare the"
        " fingerprint by another way and add the key with gpuverify trust add"
    )


def read_statement(book: Book) -> bool:
    """Read the very bytes that were verified: JSON, text, type, version, form, subject.

    Args:
        book: The book; `report` or `report_set` is set afterwards.

    Returns:
        Whether the verification goes on.
    """
    envelope = book.envelope
    if envelope is None or book.key is None:
        return False
    try:
        statement = load_statement(envelope.payload, book.origin)
    except Refused as refused:
        stage = _STAGE_OF.get(refused.refusal, Stage.SCHEMA)
        if stage is not Stage.PAYLOAD:
            book.done(Stage.PAYLOAD)
        book.refuse(stage, refused)
        return False
    book.done(Stage.PAYLOAD)
    if isinstance(statement, Report):
        book.report = statement
        book.done(Stage.SUBJECT, "the digest of the identity document")
    else:
        book.report_set = statement
        book.done(Stage.SUBJECT, "the set")
    if statement.ignored:
        names = ", ".join(printable(name, 60) for name in statement.ignored[:8])
        more = " and more" if len(statement.ignored) > 8 else ""
        book.done(
            Stage.SCHEMA, f"{statement.schema_version}; not known here, ignored: {names}{more}"
        )
    else:
        book.done(Stage.SCHEMA, statement.schema_version)
    return True
