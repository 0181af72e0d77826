"""Rows of the tamper table about what stands in the signed bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from report_support import (
    BASE_S,
    DAY,
    ISSUED_S,
    NOW_S,
    Tree,
    canonical,
    demands,
    edited,
    identity_subject,
    payload_of,
    recorded,
    reports,
    resubject,
    seller,
    seller_p256,
    seller_payload,
    seller_report,
    terms,
    tree_of,
    trusted,
    world,
)
from tamper_envelope import Make, Row, Try, bundle, good

from gpuverify.codec.revocations_toml import Revocation
from gpuverify.codec.utc_time import utc_text
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.report import Challenge, Role
from gpuverify.signing.challenge import measurement_nonce
from gpuverify.signing.journal import RECEIVED, VERIFIED, Journal


def change(make: Callable[[Tree], object]) -> Make:
    """A change to the signed tree, signed anew by the seller's own key."""
    return lambda _: bundle(edited(make))


def in_predicate(make: Callable[[Tree], object]) -> Make:
    return change(lambda tree: make(tree["predicate"]))


def text(before: bytes, after: bytes) -> Make:
    """A change to the signed bytes, which a tree could not hold."""

    def make(_: Path) -> bytes:
        payload = seller_payload()
        assert payload.count(before) >= 1, before
        return bundle(payload.replace(before, after, 1))

    return make


def number(value: bytes) -> Make:
    return text(b'"collectedMs":', b'"collectedMs":' + value + b',"x":')


def identity(**more: Any) -> Make:
    def make(tree: Tree) -> None:
        tree["predicate"]["identity"].update(more)
        resubject(tree)

    return change(make)


CHALLENGE = Challenge(
    nonce=bytes(range(32)), issuer="Intake", order="PO-17", issued_s=BASE_S - 600,
    expires_s=BASE_S + DAY,
)  # fmt: skip
OTHER = replace(CHALLENGE, nonce=bytes(32))


def challenged(answered: Challenge | None, asked: Challenge | None = CHALLENGE) -> Make:
    def make(_: Path) -> Try:
        payload = payload_of(reports(terms(challenge=answered))[0])
        return Try(bundle(payload), demands=demands(challenge=asked))

    return make


def measured_under(nonce: str) -> Make:
    def make(_: Path) -> Try:
        payload = payload_of(reports(terms(challenge=CHALLENGE))[0])

        def measured(tree: Tree) -> None:
            host = tree["predicate"]["evidence"]["host"]
            host.append(
                {"id": "measure.nonce", "source": "measured", "status": "ok", "value": nonce}
            )

        return Try(bundle(edited(measured, payload)), demands=demands(challenge=CHALLENGE))

    return make


def key_time(
    now_s: int = NOW_S, *, journal_s: int | None = None, kind: str = VERIFIED, **more: Any
) -> Make:
    """The seller's key with a validity or a revocation; the report may stand in a journal."""

    def make(folder: Path) -> Try:
        revoked = [Revocation(keyid=seller().keyid, **more["revoked"])] if "revoked" in more else []
        memories = ()  # type: tuple[Journal, ...]
        data = more.get("data", good())
        if journal_s is not None:
            import hashlib

            from gpuverify.codec.envelope_json import read_envelope

            envelope = read_envelope(data, "x")
            entry = {
                "payload_sha256": hashlib.sha256(envelope.payload).hexdigest(),
                "signature_sha256": hashlib.sha256(envelope.signature).hexdigest(),
            }
            if kind == VERIFIED:
                entry |= {"report_id": seller_report().report_id, "keyid": seller().keyid}
            journal = Journal(folder / "journal.jsonl")
            journal.append(kind, entry, now_s=journal_s)
            memories = (journal,)
        key = trusted(seller(), after=more.get("after"), before=more.get("before"))
        return Try(data, world=world(key, now_s=now_s, revocations=revoked, memories=memories))

    return make


def reused_id(folder: Path) -> Try:
    journal = Journal(folder / "journal.jsonl")
    journal.append(
        VERIFIED,
        {
            "payload_sha256": "ab" * 32,
            "signature_sha256": "cd" * 32,
            "report_id": seller_report().report_id,
            "keyid": seller().keyid,
        },
        now_s=BASE_S,
    )
    return Try(good(), world=world(memories=(journal,)))


def used_challenge(folder: Path) -> Try:
    journal = Journal(folder / "journal.jsonl")
    journal.append(
        VERIFIED,
        {
            "payload_sha256": "ab" * 32,
            "signature_sha256": "cd" * 32,
            "report_id": "00000000-0000-4000-8000-000000000001",
            "keyid": seller().keyid,
            "nonce": CHALLENGE.nonce.hex(),
        },
        now_s=BASE_S,
    )
    made = challenged(CHALLENGE)(folder)
    assert isinstance(made, Try)
    return Try(made.data, demands=made.demands, world=world(memories=(journal,)))


def seen_again(folder: Path) -> Try:
    journal = Journal(folder / "journal.jsonl")
    made = challenged(CHALLENGE)(folder)
    assert isinstance(made, Try)
    import hashlib

    from gpuverify.codec.envelope_json import read_envelope

    envelope = read_envelope(made.data, "x")
    tree = tree_of(envelope.payload)
    journal.append(
        VERIFIED,
        {
            "payload_sha256": hashlib.sha256(envelope.payload).hexdigest(),
            "signature_sha256": hashlib.sha256(envelope.signature).hexdigest(),
            "report_id": tree["predicate"]["reportId"],
            "keyid": seller().keyid,
            "nonce": CHALLENGE.nonce.hex(),
        },
        now_s=BASE_S + 90,
    )
    return Try(made.data, demands=made.demands, world=world(memories=(journal,)))


def failed_check(tree: Tree, outcome: str = "fail") -> Tree:
    check = next(c for c in tree["checks"] if c["rule"] == "identity.pci-cross-check")
    assert isinstance(check, dict)
    check["outcome"] = outcome
    return check


def drop_failed(tree: Tree) -> None:
    failed_check(tree)
    tree["checks"] = [c for c in tree["checks"] if c["outcome"] != "fail"]


def twice(tree: Tree) -> None:
    check = next(c for c in tree["checks"] if c["rule"] == "identity.name")
    tree["checks"].append({**check, "outcome": "fail", "code": "other"})


def same_check_twice(tree: Tree) -> None:
    tree["checks"].append(dict(tree["checks"][3]))


def role_asked(_: Path) -> Try:
    return Try(good(), demands=demands(role="intake"))


def other_card(**more: Any) -> Make:
    return lambda _: Try(good(), demands=demands(**more))


def stated(kind: EvidenceClass) -> Make:
    def make(_: Path) -> Try:
        evidence = replace(recorded(), evidence_class=kind)
        return Try(bundle(payload_of(reports(evidence=evidence)[0])), demands=demands())

    return make


def serial() -> str:
    found = seller_report().identity.board_serial
    assert found is not None
    return found


def uuid() -> str:
    return seller_report().identity.gpu_uuid


def foreign_subject(tree: Tree) -> None:
    other = replace(seller_report().identity, board_serial="1650900000000")
    tree["subject"] = [identity_subject(other)]


def subject_name(tree: Tree) -> None:
    tree["subject"][0]["name"] = "gpu:nvidia:1650900000000"


def two_subjects(tree: Tree) -> None:
    tree["subject"].append(dict(tree["subject"][0]))


def greek_member(tree: Tree) -> None:
    tree["predicate"]["r\u043ele"] = "lab"


REJECTED: tuple[Row, ...] = (
    ("another predicateType by the same key", "E_TYPE", change(lambda t: t.update(predicateType="https://slsa.dev/provenance/v1"))),
    ("Statement v0.1", "E_TYPE", change(lambda t: t.update(_type="https://in-toto.io/Statement/v0.1"))),
    ("schemaVersion 2.0.0", "E_VERSION", in_predicate(lambda p: p.update(schemaVersion="2.0.0"))),
    ("a member is missing", "E_SCHEMA", in_predicate(lambda p: p.pop("coverage"))),
    ("a member of another type", "E_SCHEMA", in_predicate(lambda p: p.update(checks={}))),
    ("evidenceClass is missing", "E_SCHEMA", in_predicate(lambda p: p.pop("evidenceClass"))),
    ("a member twice", "E_DUPKEY", text(b'"role":"seller"', b'"role":"seller","role":"lab"')),
    ("a member twice, once by an escape", "E_DUPKEY", text(b'"role":"seller"', b'"role":"seller","\\u0072ole":"lab"')),
    ("NaN", "E_JSON", number(b"NaN")),
    ("Infinity", "E_JSON", number(b"Infinity")),
    ("1e400", "E_JSON", number(b"1e400")),
    ("a float", "E_JSON", number(b"1.5")),
    ("an integer of 5,000 digits", "E_JSON", number(b"9" * 5000)),
    ("2^53", "E_JSON", number(b"9007199254740992")),
    ("a byte that is no UTF-8", "E_JSON", text(b'"remarks":[]', b'"remarks":["\xff"]')),
    ("half a surrogate pair", "E_TEXT", text(b'"remarks":[]', b'"remarks":["\\ud800"]')),
    ("nested 1,000 deep", "E_LIMIT", text(b'"remarks":[]', b'"remarks":[],"x":' + b"[" * 1000 + b"]" * 1000)),
    ("the subject of another identity", "E_SUBJECT", change(foreign_subject)),
    ("the identity edited", "E_SUBJECT", in_predicate(lambda p: p["identity"].update(board_serial="1650900000000"))),
    ("two subjects", "E_SUBJECT", change(two_subjects)),
    ("the subject's name is another card's", "E_SUBJECT", change(subject_name)),
    ("identity and subject edited, the claims not", "E_SUBJECT", identity(board_serial="1650900000000")),
    ("a report for another serial number", "E_WRONG_CARD", other_card(serial="1650900000000")),
    ("the same serial number, another UUID", "E_WRONG_CARD", lambda _: Try(good(), demands=demands(serial=serial(), uuid="GPU-00000000-0000-4000-8000-000000000000"))),
    ("a serial number with a Cyrillic letter", "E_SCHEMA", identity(board_serial="165\u041e900000000")),
    ("a serial number in full-width digits", "E_SCHEMA", identity(board_serial="\uff11\uff16\uff15\uff10\uff19\uff12\uff12")),
    ("a UUID in upper case", "E_SCHEMA", identity(gpu_uuid=seller_report().identity.gpu_uuid.upper())),
    ("a bidi override in the name", "E_TEXT", in_predicate(lambda p: p["signer"].update(name="Seller \u202e elleS"))),
    ("a zero-width space in the principal", "E_TEXT", in_predicate(lambda p: p["signer"].update(principal="sales\u200b@seller.example"))),
    ("a member name that only looks alike", "E_TEXT", change(greek_member)),
    ("text that is not in normal form", "E_TEXT", in_predicate(lambda p: p.update(location="Mu\u0308nchen"))),
    ("terminal escapes in a remark", "E_TEXT", in_predicate(lambda p: p.update(remarks=["\x1b[2Jall well"]))),
    ("a challenge was set, none is answered", "E_NONCE", challenged(None)),
    ("another challenge is answered", "E_NONCE", challenged(OTHER)),
    ("the challenge is older than it says", "E_NONCE", challenged(CHALLENGE, replace(CHALLENGE, issued_s=ISSUED_S + 900))),
    ("the challenge has expired", "E_NONCE", challenged(CHALLENGE, replace(CHALLENGE, expires_s=NOW_S - 1))),
    ("measured under another nonce than the challenge's", "E_NONCE", measured_under("ab" * 32)),
    ("older than was asked for", "E_STALE", lambda _: Try(good(), world=world(now_s=NOW_S + 31 * DAY))),
    ("issued in the future", "E_TIME", lambda _: Try(good(), world=world(now_s=ISSUED_S - 301))),
    ("this machine's clock stands in 2001", "E_TIME", lambda _: Try(good(), world=world(now_s=1_000_000_000))),
    ("measured after it was issued", "E_TIME", in_predicate(lambda p: p["measured"].update(end=utc_text(ISSUED_S + 1)))),
    ("measured backwards", "E_TIME", in_predicate(lambda p: p["measured"].update(start=utc_text(ISSUED_S - 1), end=utc_text(BASE_S)))),
    ("a claim from outside the measurement", "E_TIME", in_predicate(lambda p: p["evidence"]["device"][0].update(time_ms=(BASE_S - 9999) * 1000))),
    ("a time with an offset", "E_SCHEMA", in_predicate(lambda p: p.update(issuedAt="2026-11-22T02:00:00+00:00"))),
    ("30 February", "E_SCHEMA", in_predicate(lambda p: p.update(issuedAt="2026-02-30T02:00:00Z"))),
    ("the key has expired", "E_KEY_EXPIRED", key_time(before=NOW_S - 1)),
    ("the key is not yet valid", "E_KEY_EXPIRED", key_time(after=NOW_S + 1)),
    ("the key expired, and issuedAt lies before", "E_KEY_EXPIRED", key_time(before=ISSUED_S + 10)),
    ("the key expired before the journal saw the report", "E_KEY_EXPIRED", key_time(before=ISSUED_S + 10, journal_s=ISSUED_S + 20)),
    ("superseded before now", "E_KEY_REVOKED", key_time(revoked={"at_s": NOW_S - 1, "reason": "superseded"})),
    ("superseded before the journal saw it", "E_KEY_REVOKED", key_time(revoked={"at_s": BASE_S, "reason": "superseded"}, journal_s=NOW_S - 5)),
    ("compromised, and no time is proven", "E_KEY_REVOKED", key_time(revoked={"at_s": NOW_S + 60, "reason": "compromised"})),
    ("a replay", "E_SIMULATED", stated(EvidenceClass.REPLAYED)),
    ("evidence from a file", "E_SIMULATED", stated(EvidenceClass.CARRIED)),
    ("somebody's log", "E_SIMULATED", stated(EvidenceClass.IMPORTED)),
    ("a class that only looks alike", "E_SIMULATED", in_predicate(lambda p: p.update(evidenceClass="Live "))),
    ("a class that is the reader's to give", "E_SIMULATED", in_predicate(lambda p: p.update(evidenceClass="signed"))),
    ("a seller's report where an intake's is asked for", "E_ROLE", role_asked),
    ("consistent beside a failed check", "E_VERDICT", in_predicate(failed_check)),
    ("consistent beside a warning about identity", "E_VERDICT", in_predicate(lambda p: failed_check(p, "warn"))),
    ("consistent on a replay", "E_SIMULATED", in_predicate(lambda p: p.update(evidenceClass="replayed"))),
    ("the failed check left out", "E_CHECKS", in_predicate(drop_failed)),
    ("a check as passed and as failed", "E_CHECKS", in_predicate(twice)),
    ("a check twice", "E_CHECKS", in_predicate(same_check_twice)),
    ("reference data too old", "E_REFDB", lambda _: Try(good(), demands=demands(minimum_reference_version="2099.1.1"))),
    ("a report id used for other content", "E_REPLAY", reused_id),
    ("a challenge that another report answered", "E_REPLAY", used_challenge),
)  # fmt: skip


def newer_minor(tree: Tree) -> None:
    tree["predicate"].update(schemaVersion="1.7.3", warranty={"months": 3})


def scripted(_: Path) -> Try:
    told = terms(remarks=("<script>alert(1)</script>",))
    return Try(bundle(payload_of(reports(told)[0])))


def replay_asked_for(_: Path) -> Try:
    evidence = replace(recorded(), evidence_class=EvidenceClass.REPLAYED)
    return Try(
        bundle(payload_of(reports(evidence=evidence)[0])),
        demands=demands(accept_replayed=True),
        world=world(trusted(seller(), test=True)),
    )


def p256_intake(_: Path) -> Try:
    told = terms(seller_p256(), role=Role.INTAKE, principal="intake@buyer.example")
    key = trusted(seller_p256(), principals=("intake@buyer.example",), roles=(Role.INTAKE,))
    return Try(
        seller_p256().bundle(payload_of(reports(told)[0])),
        demands=demands(role="intake"),
        world=world(key),
    )


ACCEPTED: tuple[Row, ...] = (
    ("the challenge is answered", "", challenged(CHALLENGE)),
    ("measured under the challenge", "", measured_under(measurement_nonce(CHALLENGE))),
    ("a challenge that nobody asked for here", "", challenged(OTHER, None)),
    ("three minutes ahead of this clock", "", lambda _: Try(good(), world=world(now_s=ISSUED_S - 180))),
    ("a replay that is asked for, under a key of tests", "", replay_asked_for),
    ("a script in the remarks", "", scripted),
    ("the same bytes again, challenge and all", "", seen_again),
    ("superseded after the journal saw it", "", key_time(revoked={"at_s": NOW_S - 1, "reason": "superseded"}, journal_s=ISSUED_S + 5)),
    ("compromised after the journal saw it", "", key_time(revoked={"at_s": NOW_S - 1, "reason": "compromised"}, journal_s=ISSUED_S + 5)),
    ("expired, but the journal saw it in time", "", key_time(before=NOW_S - 1, journal_s=ISSUED_S + 5)),
    ("expired, but the journal received it in time", "", key_time(before=NOW_S - 1, journal_s=ISSUED_S + 5, kind=RECEIVED)),
    ("a newer minor version with unknown members", "", change(newer_minor)),
    ("not canonical JSON", "", lambda _: bundle(canonical(tree_of(seller_payload())).replace(b'","', b'", "', 40))),
    ("a report in the role that is asked for", "", p256_intake),
    ("serial number and UUID as expected", "", lambda _: Try(good(), demands=demands(serial=serial(), uuid=uuid()))),
    ("reference data new enough", "", lambda _: Try(good(), demands=demands(minimum_reference_version=seller_report().reference_data.version))),
)  # fmt: skip
