"""Rows of the tamper table about what travels beside a report, and about time stamps."""

from __future__ import annotations

import base64
import functools
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from report_support import (
    ISSUED_S,
    demands,
    payload_of,
    reports,
    seller,
    seller_payload,
    seller_report,
    terms,
    trusted,
    world,
)
from tamper_envelope import Make, Row, Try, bundle, good
from tamper_statement import serial, uuid
from tsa_support import Authority

from gpuverify.codec.revocations_toml import Revocation
from gpuverify.model.report import Attachment, Previous, Relation, Report, Role
from gpuverify.signing.demands import Earlier
from gpuverify.signing.journal import VERIFIED, Journal

PHOTO = b"\xff\xd8\xff" + bytes(range(200)) * 7


def code(digest: str) -> str:
    return "GPUVERIFY1:" + base64.b32encode(bytes.fromhex(digest)).decode().rstrip("=")


def digest_of(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def label(text: Callable[[], str]) -> Make:
    return lambda _: Try(good(), demands=demands(label_text=text()))


def attached(name: str = "label.jpg", **more: object) -> Attachment:
    told = {"size_bytes": len(PHOTO), "sha256": hashlib.sha256(PHOTO).hexdigest(), **more}
    return Attachment(name=name, media_type="image/jpeg", **told)  # type: ignore[arg-type]


def attachment(entry: Attachment, put: Callable[[Path], object] | None = None) -> Make:
    def make(folder: Path) -> Try:
        beside = folder / "attachments"
        beside.mkdir()
        (beside / "label.jpg").write_bytes(PHOTO)
        if put is not None:
            put(beside)
        payload = payload_of(reports(terms(attachments=(entry,)))[0])
        return Try(bundle(payload), demands=demands(attachments=beside))

    return make


def climbing(_: Path) -> bytes:
    payload = payload_of(reports(terms(attachments=(attached("label.jpg"),)))[0])
    return bundle(payload.replace(b'"label.jpg"', b'"../../x.jpg"'))


def no_folder(_: Path) -> bytes:
    return bundle(payload_of(reports(terms(attachments=(attached(),)))[0]))


def link(folder: Path) -> None:
    (folder / "label.jpg").unlink()
    (folder / "elsewhere").write_bytes(PHOTO)
    (folder / "label.jpg").symlink_to(folder / "elsewhere")


def pipe(folder: Path) -> None:
    import os

    (folder / "label.jpg").unlink()
    os.mkfifo(folder / "label.jpg")


def entry(report: Report, payload: bytes, more: dict[str, object] | None = None) -> Previous:
    told: dict[str, object] = {
        "report_id": report.report_id,
        "role": report.role,
        "payload_sha256": digest_of(payload),
        "relation": Relation.COMPARES_TO,
        **(more or {}),
    }
    return Previous(**told)  # type: ignore[arg-type]


def known(report: Report, payload: bytes) -> dict[str, Earlier]:
    digest = digest_of(payload)
    return {digest: Earlier(report=report, payload_sha256=digest, origin="earlier.json")}


def chain(
    previous: Callable[[], tuple[Previous, ...]],
    shown: Callable[[], dict[str, Earlier]] = dict,
    *,
    issued_s: int = ISSUED_S + 120,
) -> Make:
    def make(_: Path) -> Try:
        report = reports(terms(previous=previous()), issued_s=issued_s)[0]
        return Try(bundle(payload_of(report)), demands=demands(earlier=shown()))

    return make


def first() -> tuple[Report, bytes]:
    return seller_report(), seller_payload()


def one_named(**more: object) -> Callable[[], tuple[Previous, ...]]:
    def make() -> tuple[Previous, ...]:
        report, payload = first()
        return (entry(report, payload, more),)

    return make


def cycle(_: Path) -> Try:
    """Two reports that name each other by id; one of the digests has to be made up."""
    here = reports(terms(), issued_s=ISSUED_S + 120)[0]
    back = entry(here, b"made up")
    other = replace(seller_report(), previous=(back,))
    payload = payload_of(other)
    mine = replace(here, previous=(entry(other, payload),))
    return Try(bundle(payload_of(mine)), demands=demands(earlier=known(other, payload)))


def itself(_: Path) -> bytes:
    here = seller_report()
    return bundle(payload_of(replace(here, previous=(entry(here, b"x"),))))


def seen_otherwise(folder: Path) -> Try:
    journal = Journal(folder / "journal.jsonl")
    fields = {
        "payload_sha256": "ab" * 32, "signature_sha256": "cd" * 32,
        "report_id": seller_report().report_id, "keyid": seller().keyid,
    }  # fmt: skip
    journal.append(VERIFIED, fields, now_s=ISSUED_S)
    report = replace(
        reports(terms(previous=one_named()()), issued_s=ISSUED_S + 120)[0],
        report_id="11111111-1111-4111-8111-111111111111",
    )
    return Try(bundle(payload_of(report)), world=world(memories=(journal,)))


@functools.lru_cache(maxsize=4)
def authority(name: str) -> Authority:
    return Authority(Path(tempfile.mkdtemp(prefix="gpuverify-tsa-")) / name, name)


def stamped(
    token: Callable[[bytes], bytes] | None = None,
    *,
    roots: tuple[str, ...] = ("one",),
    issued_s: int = ISSUED_S,
    ahead_s: int = 60,
    required: bool = False,
    before: int | None = None,
    revoked: Revocation | None = None,
) -> Make:
    def make(_: Path) -> Try:
        payload = payload_of(reports(issued_s=issued_s)[0])
        signature = seller().sign(payload)
        tokens = () if token is None else (token(signature),)
        from gpuverify.codec.envelope_json import bundle_bytes

        return Try(
            bundle_bytes(payload, signature, seller().keyid, tokens),
            demands=demands(require_timestamp=required),
            world=world(
                trusted(seller(), before=before),
                now_s=int(time.time()) + ahead_s,
                tsa_roots=tuple(authority(name).root for name in roots),
                revocations=() if revoked is None else (revoked,),
            ),
        )

    return make


def by(name: str) -> Callable[[bytes], bytes]:
    return lambda signature: authority(name).stamp(signature)


NOW = int(time.time())

REJECTED: tuple[Row, ...] = (
    ("a label of another report", "E_RENDERING", label(lambda: code("ab" * 32))),
    ("a label with another serial number", "E_RENDERING", label(lambda: f"{code(digest_of(seller_payload()))} S/N 1650900000000")),
    ("a label that is another serial number", "E_RENDERING", label(lambda: "1650900000000")),
    ("a label with another UUID", "E_RENDERING", label(lambda: "GPU-00000000-0000-4000-8000-000000000000")),
    ("a label with another digest in hex", "E_RENDERING", label(lambda: "cd" * 32)),
    ("a label that names nothing", "E_RENDERING", label(lambda: "certified by Card Seller")),
    ("a damaged label", "E_RENDERING", label(lambda: code(digest_of(seller_payload()))[:-5])),
    ("a label of another version", "E_RENDERING", label(lambda: "GPUVERIFY2:ABCDEF")),
    ("an attachment is missing", "E_ATTACHMENT", attachment(attached("seal.jpg"))),
    ("an attachment of another size", "E_ATTACHMENT", attachment(attached(size_bytes=len(PHOTO) + 1))),
    ("an attachment with other content", "E_ATTACHMENT", attachment(attached(), lambda f: (f / "label.jpg").write_bytes(PHOTO[::-1]))),
    ("an attachment with ../ in its name", "E_ATTACHMENT", climbing),
    ("a link in the place of an attachment", "E_ATTACHMENT", attachment(attached(), link)),
    ("a pipe in the place of an attachment", "E_ATTACHMENT", attachment(attached(), pipe)),
    ("a folder in the place of an attachment", "E_ATTACHMENT", attachment(attached("sub"), lambda f: (f / "sub").mkdir())),
    ("the earlier report is another than was named", "E_CHAIN", chain(one_named(payload_sha256="ab" * 32), lambda: known(*first()))),
    ("the earlier report was seen here with other content", "E_CHAIN", seen_otherwise),
    ("the earlier report has another role", "E_CHAIN", chain(one_named(role=Role.LAB), lambda: known(*first()))),
    ("the earlier report has another id", "E_CHAIN", chain(one_named(report_id="22222222-2222-4222-8222-222222222222"), lambda: known(*first()))),
    ("the earlier report is a later one", "E_CHAIN", chain(one_named(), lambda: known(replace(first()[0], issued_s=ISSUED_S + 9999), first()[1]))),
    ("an earlier report named twice", "E_CHAIN", chain(lambda: (*one_named()(), *one_named()()))),
    ("a cycle of earlier reports", "E_CHAIN", cycle),
    ("a report that names itself", "E_CHAIN", itself),
    ("a time stamp over other bytes", "E_TIMESTAMP", stamped(lambda s: authority("one").stamp(s[::-1]))),
    ("a time stamp of an authority that is not trusted", "E_TIMESTAMP", stamped(by("two"))),
    ("a time stamp cut short", "E_TIMESTAMP", stamped(lambda s: authority("one").stamp(s)[:-20])),
    ("a time stamp is demanded and absent", "E_TIMESTAMP", stamped(None, required=True)),
    ("a time stamp is demanded, no authority trusted", "E_TIMESTAMP", stamped(by("one"), roots=(), required=True)),
    ("stamped before it was issued", "E_TIMESTAMP", stamped(by("one"), issued_s=NOW + 3600, ahead_s=4000)),
    ("stamped in the future", "E_TIMESTAMP", stamped(by("one"), ahead_s=-900)),
    ("the key expired before it was stamped", "E_KEY_EXPIRED", stamped(by("one"), before=NOW - 30)),
    ("compromised before it was stamped", "E_KEY_REVOKED", stamped(by("one"), revoked=Revocation(keyid=seller().keyid, at_s=NOW - 30, reason="compromised"))),
)  # fmt: skip

ACCEPTED: tuple[Row, ...] = (
    ("a label with the report's digest", "", label(lambda: code(digest_of(seller_payload())))),
    ("a label with serial number and UUID", "", label(lambda: f"S/N: {serial()}\n{uuid().upper()}")),
    ("a label that is the serial number", "", label(serial)),
    ("attachments as named", "", attachment(attached())),
    ("attachments that were not looked at", "", no_folder),
    ("an earlier report as named", "", chain(one_named(), lambda: known(*first()))),
    ("an earlier report that was never shown", "", chain(one_named())),
    ("a bundle with a time stamp", "", stamped(by("one"), required=True)),
    ("a time stamp, and no authority trusted", "", stamped(by("one"), roots=())),
    ("compromised, but stamped before", "", stamped(by("one"), ahead_s=4000, revoked=Revocation(keyid=seller().keyid, at_s=NOW + 3600, reason="compromised"))),
    ("expired, but stamped before", "", stamped(by("one"), ahead_s=4000, before=NOW + 3600)),
)  # fmt: skip
