"""Reports, keys and a reader's world for the tests of verification. Every key is made here."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes
from gpuverify.codec.identity_json import identity_sha256, subject_name
from gpuverify.codec.report_json import dump_report, dump_set
from gpuverify.collect.replay import replay_case
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
from gpuverify.model.report import (
    PAYLOAD_TYPE,
    Attachment,
    Challenge,
    Identity,
    Previous,
    Report,
    ReportSet,
    Role,
    SignerInfo,
)
from gpuverify.model.verification import Verification
from gpuverify.refdb import Database
from gpuverify.signing.build import Terms, build_report, build_set
from gpuverify.signing.demands import Demands, Memory, World
from gpuverify.signing.envelope import pae
from gpuverify.signing.keys import PublicKey, load_public_key
from gpuverify.signing.trust import TrustedKey, TrustStore
from gpuverify.signing.verify import verify_envelope

DAY = 86_400
BASE_S = int(time.time()) - 3600
"""When the cards were read: time stamps of a real authority are of today."""
ISSUED_S = BASE_S + 60
NOW_S = BASE_S + 1800
CARD = "ga100/a100-sxm4-80gb"
SERVER = "ga100/a100-sxm4-80gb-x8"
CLAIM = "a100-sxm4-80gb"
SELLER = "sales@seller.example"
Tree = dict[str, Any]


@functools.lru_cache(maxsize=1)
def database() -> Database:
    return Database.open()


def dated(evidence: Evidence, start_s: int = BASE_S) -> Evidence:
    """Give every claim a time, a millisecond after the one before, as a live run does."""
    count = 0

    def stamped(claims: ClaimSet) -> ClaimSet:
        nonlocal count
        made = []
        for claim in claims:
            count += 1
            made.append(replace(claim, time_ms=start_s * 1000 + count))
        return ClaimSet(tuple(made))

    return replace(
        evidence,
        collected_ms=start_s * 1000,
        host=stamped(evidence.host),
        devices=tuple(replace(d, claims=stamped(d.claims)) for d in evidence.devices),
    )


@functools.lru_cache(maxsize=8)
def recorded(case: str = CARD) -> Evidence:
    """A replay that is stated as live, and now: only a test can say so."""
    return replace(dated(replay_case(case)), evidence_class=EvidenceClass.LIVE)


@dataclass(frozen=True)
class Key:
    """A key pair that signs for tests."""

    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    public: PublicKey

    @classmethod
    def new(cls, kind: str = "ed25519") -> Key:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
        if kind == "ed25519":
            private = ed25519.Ed25519PrivateKey.generate()
        else:
            private = ec.generate_private_key(ec.SECP256R1())
        line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(private=private, public=load_public_key(line + b"\n", "test"))

    @property
    def keyid(self) -> str:
        return self.public.keyid

    def raw(self, message: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def sign(self, payload: bytes) -> bytes:
        return self.raw(pae(PAYLOAD_TYPE, payload))

    def bundle(self, payload: bytes, **more: Any) -> bytes:
        return bundle_bytes(payload, self.sign(payload), self.keyid, **more)

    def dsse(self, payload: bytes, keyid: str | None = None) -> bytes:
        return dsse_bytes(payload, self.sign(payload), self.keyid if keyid is None else keyid)


def trusted(
    key: Key,
    *,
    principals: tuple[str, ...] = (SELLER,),
    roles: tuple[Role, ...] = (Role.SELLER,),
    test: bool = False,
    after: int | None = None,
    before: int | None = None,
    line: int = 1,
) -> TrustedKey:
    return TrustedKey(
        public=key.public,
        principals=principals,
        namespaces=("gpuverify-test" if test else "gpuverify-report",),
        roles=roles,
        valid_after_s=after,
        valid_before_s=before,
        comment="",
        line=line,
    )


def store(*keys: TrustedKey, revocations: Sequence[Any] = ()) -> TrustStore:
    return TrustStore(origin="test store", keys=tuple(keys), revocations=tuple(revocations))


@functools.lru_cache(maxsize=4)
def seller() -> Key:
    return Key.new()


@functools.lru_cache(maxsize=4)
def seller_p256() -> Key:
    return Key.new("ecdsa-p256")


def signer_info(key: Key, principal: str = SELLER) -> SignerInfo:
    return SignerInfo(name="Card Seller", principal=principal, keyid=key.keyid, contact=None)


def terms(
    key: Key | None = None,
    *,
    principal: str = SELLER,
    role: Role = Role.SELLER,
    challenge: Challenge | None = None,
    previous: tuple[Previous, ...] = (),
    attachments: tuple[Attachment, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Terms:
    return Terms(
        signer=signer_info(key or seller(), principal),
        role=role,
        challenge=challenge,
        previous=previous,
        attachments=attachments,
        remarks=remarks,
    )


def reports(
    made: Terms | None = None,
    *,
    evidence: Evidence | None = None,
    claim: str | None = CLAIM,
    issued_s: int | None = None,
    case: str = CARD,
) -> tuple[Report, ...]:
    """Build a report of each card of a recording."""
    found = evidence or recorded(case)
    sale = load_sale_claim(claim, None, None, None, database())
    now_s = issued_s or ISSUED_S
    result = appraise(found, sale, load_policy("standard"), database(), now_ms=now_s * 1000)
    return tuple(
        build_report(found, result, device.index, made or terms(), now_s=now_s)
        for device in found.devices
    )


@functools.lru_cache(maxsize=4)
def seller_report() -> Report:
    return reports()[0]


def payload_of(report: Report) -> bytes:
    return dump_report(report)


@functools.lru_cache(maxsize=4)
def seller_payload() -> bytes:
    return payload_of(seller_report())


def server_set(
    key: Key | None = None, *, made: Terms | None = None, case: str = SERVER
) -> tuple[ReportSet, bytes, list[bytes]]:
    """Return a set with its own bundle and those of its reports."""
    signing = key or seller()
    told = made or terms(signing)
    built = reports(told, case=case)
    payloads = [dump_report(report) for report in built]
    statement = build_set(list(zip(built, payloads, strict=True)), told, now_s=ISSUED_S + 1)
    return (
        statement,
        signing.bundle(dump_set(statement)),
        [signing.bundle(payload) for payload in payloads],
    )


def tree_of(payload: bytes) -> Tree:
    tree = json.loads(payload)
    assert isinstance(tree, dict)
    return tree


def canonical(tree: object) -> bytes:
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def edited(change: Callable[[Tree], object], payload: bytes | None = None) -> bytes:
    """Return the seller's payload after a change to its tree; the signature is made anew."""
    tree = copy.deepcopy(tree_of(payload or seller_payload()))
    change(tree)
    return canonical(tree)


def resubject(tree: Tree) -> None:
    """Make the subject that of the identity in the tree, as a forger would."""
    identity = tree["predicate"]["identity"]
    digest = hashlib.sha256(canonical(identity)).hexdigest()
    name = f"gpu:nvidia:{identity['board_serial'] or identity['gpu_uuid']}"
    tree["subject"] = [{"name": name, "digest": {"sha256": digest}}]


def identity_subject(identity: Identity) -> Tree:
    return {"name": subject_name(identity), "digest": {"sha256": identity_sha256(identity)}}


def world(
    *keys: TrustedKey,
    now_s: int | None = None,
    memories: tuple[Memory, ...] = (),
    revocations: Sequence[Any] = (),
    tsa_roots: tuple[bytes, ...] = (),
) -> World:
    known = keys or (trusted(seller()), trusted(seller_p256(), line=2))
    return World(
        trust=store(*known, revocations=revocations),
        database=database(),
        now_s=now_s or NOW_S,
        memories=memories,
        tsa_roots=tsa_roots,
    )


def demands(claim: str | None = CLAIM, policy: str = "standard", **more: Any) -> Demands:
    return Demands(
        policy=load_policy(policy),
        sale=load_sale_claim(claim, None, None, None, database()),
        **more,
    )


def verify(data: bytes, wanted: Demands | None = None, seen: World | None = None) -> Verification:
    return verify_envelope(data, "report.json", wanted or demands(), seen or world())


def reshaped(bundle: bytes, change: Callable[[Tree], object]) -> bytes:
    """Return a bundle after a change to its own JSON."""
    tree = json.loads(bundle)
    change(tree)
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def trust_file(folder: Path, *keys: TrustedKey) -> Path:
    """Write a trust file that the command line reads."""
    lines = []
    for key in keys:
        spaces = [*key.namespaces, *(f"gpuverify-role-{role.value}" for role in key.roles)]
        lines.append(
            f'{",".join(key.principals)} namespaces="{",".join(spaces)}" {key.public.openssh_line()}'
        )
    path = folder / "allowed_signers"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
