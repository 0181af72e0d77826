"""Rows of the tamper table about bytes, envelope, key and signature."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report_support import (
    SELLER,
    Key,
    Tree,
    b64,
    canonical,
    demands,
    edited,
    payload_of,
    reports,
    reshaped,
    seller,
    seller_p256,
    seller_payload,
    terms,
    tree_of,
    trusted,
    world,
)

from gpuverify.codec.envelope_json import bundle_bytes
from gpuverify.model.report import PAYLOAD_TYPE, Role
from gpuverify.signing.demands import Demands, World
from gpuverify.signing.envelope import pae


@dataclass(frozen=True)
class Try:
    """What is verified, by whom."""

    data: bytes
    demands: Demands | None = None
    world: World | None = None


Make = Callable[[Path], "Try | bytes"]
Row = tuple[str, str, Make]
"""What was done, the code expected ("" where it has to be accepted), and how."""


def bundle(payload: bytes) -> bytes:
    return seller().bundle(payload)


def good() -> bytes:
    return bundle(seller_payload())


def envelope(tree: Tree) -> Tree:
    inner = tree["dsseEnvelope"]
    assert isinstance(inner, dict)
    return inner


def in_envelope(change: Callable[[Tree], object]) -> bytes:
    return reshaped(good(), lambda tree: change(envelope(tree)))


def in_signature(change: Callable[[Tree], object]) -> bytes:
    return in_envelope(lambda inner: change(inner["signatures"][0]))


def flipped(data: bytes, place: int) -> bytes:
    out = bytearray(data)
    out[place] ^= 0x04
    return bytes(out)


def flip_payload(place: int) -> Make:
    return lambda _: in_envelope(
        lambda inner: inner.update(payload=b64(flipped(seller_payload(), place)))
    )


def signature(change: Callable[[bytes], bytes], key: Callable[[], Key] = seller) -> Make:
    def make(_: Path) -> bytes:
        payload = seller_payload() if key is seller else p256_payload()
        return bundle_bytes(payload, change(key().sign(payload)), key().keyid)

    return make


def p256_payload() -> bytes:
    return payload_of(reports(terms(seller_p256()))[0])


def add_signature(entry: Callable[[Tree], Tree], *, first: bool = False) -> Make:
    def change(inner: Tree) -> None:
        known = inner["signatures"]
        inner["signatures"] = [entry(inner), *known] if first else [*known, entry(inner)]

    return lambda _: in_envelope(change)


def stranger_entry(inner: Tree) -> Tree:
    stranger = Key.new()
    return {"keyid": stranger.keyid, "sig": b64(stranger.sign(seller_payload()))}


def own_key_inside(tree: Tree) -> None:
    tree["verificationMaterial"]["publicKey"] = {
        "hint": "me",
        "rawBytes": b64(stranger_of(tree).public.point),
    }


_STRANGER = Key.new()


def stranger_of(_: Any) -> Key:
    return _STRANGER


def with_own_key(_: Path) -> bytes:
    return reshaped(_STRANGER.bundle(seller_payload()), own_key_inside)


def other_trusted(_: Path) -> Try:
    other = Key.new()
    told = (
        trusted(seller()),
        trusted(other, principals=("other@dealer.example",), line=2),
    )
    return Try(other.bundle(seller_payload()), world=world(*told))


def foreign_principal(_: Path) -> Try:
    payload = payload_of(reports(terms(principal="ceo@nvidia.example"))[0])
    return Try(bundle(payload))


def other_type(_: Path) -> bytes:
    made = seller().raw(pae("application/vnd.other+json", seller_payload()))
    return bundle_bytes(seller_payload(), made, seller().keyid)


def raw_signed(_: Path) -> bytes:
    return bundle_bytes(seller_payload(), seller().raw(seller_payload()), seller().keyid)


def mac(_: Path) -> bytes:
    made = hmac.new(
        seller().public.point, pae(PAYLOAD_TYPE, seller_payload()), hashlib.sha512
    ).digest()
    return bundle_bytes(seller_payload(), made, seller().keyid)


def malleable(signature_: bytes) -> bytes:
    """Add the group order to S: the same equation holds where a verifier does not look."""
    order = 2**252 + 27742317777372353535851937790883648493
    value = int.from_bytes(signature_[32:], "little") + order
    return signature_[:32] + value.to_bytes(32, "little")


def zipped(_: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("report.json", good())
    return out.getvalue()


def page(_: Path) -> bytes:
    text = f'<!DOCTYPE html><script id="envelope" type="application/json">{good().decode()}'
    return f"{text}</script><p>PASSED</p>".encode()


def two_envelopes(_: Path) -> bytes:
    inner = good().decode()
    return f'<html><!-- <pre id="envelope">{inner}</pre> --><pre id="envelope">{inner}'.encode()


def duplicate_payload(_: Path) -> bytes:
    inner = json.dumps(envelope(json.loads(good())))
    return ('{"payload":"AAAA",' + inner[1:]).encode()


def spare_bits(inner: Tree) -> None:
    texts = [b64(seller_payload() + b" " * extra) for extra in range(3)]
    text = next(one for one in texts if one.endswith("="))
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text.rstrip("=")) - 1
    inner["payload"] = text[:last] + digits[digits.index(text[last]) + 1] + text[last + 1 :]


def lined(inner: Tree) -> None:
    text = inner["payload"]
    inner["payload"] = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))


def low_order(_: Path) -> Try:
    """A signature whose R is the identity and S zero: it fits where the key is of low order."""
    return Try(bundle_bytes(seller_payload(), b"\x01" + bytes(63), seller().keyid))


def key_of_tests(_: Path) -> Try:
    return Try(good(), world=world(trusted(seller(), test=True)))


REJECTED: tuple[Row, ...] = (
    ("payload: first byte flipped", "E_SIGNATURE", flip_payload(0)),
    ("payload: middle byte flipped", "E_SIGNATURE", flip_payload(20_000)),
    ("payload: last byte flipped", "E_SIGNATURE", flip_payload(-1)),
    ("signature: bit flipped", "E_SIGNATURE", signature(lambda s: flipped(s, 5))),
    ("signature: cut short", "E_SIGNATURE", signature(lambda s: s[:-1])),
    ("P-256 signature: bit flipped", "E_SIGNATURE", signature(lambda s: flipped(s, -3), seller_p256)),
    ("P-256 signature: cut short", "E_SIGNATURE", signature(lambda s: s[:-1], seller_p256)),
    ("P-256 signature: bytes behind", "E_SIGNATURE", signature(lambda s: s + b"\0", seller_p256)),
    ("signature empty", "E_UNSIGNED", lambda _: in_signature(lambda s: s.update(sig=""))),
    ("no signature in the list", "E_UNSIGNED", lambda _: in_envelope(lambda e: e.update(signatures=[]))),
    ("no list of signatures", "E_UNSIGNED", lambda _: in_envelope(lambda e: e.pop("signatures"))),
    ("the bare unsigned report", "E_TYPE", lambda _: seller_payload()),
    ("a second signature, by a stranger", "E_ENVELOPE", add_signature(stranger_entry)),
    ("a bad signature before the good one", "E_ENVELOPE", add_signature(lambda _: {"sig": "AAAA"}, first=True)),
    ("the same signature twice", "E_ENVELOPE", add_signature(lambda e: dict(e["signatures"][0]))),
    ("a key that is not in the store", "E_UNKNOWN_KEY", lambda _: Key.new().bundle(seller_payload())),
    ("no key in the store at all", "E_UNKNOWN_KEY", lambda _: Try(Key.new().bundle(seller_payload()), world=world(trusted(seller())))),
    ("a stranger's signature under the seller's key id", "E_SIGNATURE", lambda _: bundle_bytes(seller_payload(), Key.new().sign(seller_payload()), seller().keyid)),
    ("a stranger's signature without a key id", "E_SIGNATURE", lambda _: Key.new().dsse(seller_payload(), keyid="")),
    ("signed anew by another trusted key", "E_SIGNER", other_trusted),
    ("a trusted key under somebody else's name", "E_SIGNER", foreign_principal),
    ("the key comes with the envelope", "E_UNKNOWN_KEY", with_own_key),
    ("an Ed25519 signature under a P-256 key id", "E_SIGNATURE", lambda _: bundle_bytes(seller_payload(), seller().sign(seller_payload()), seller_p256().keyid)),
    ("an HMAC with the public key as its secret", "E_SIGNATURE", mac),
    ("payloadType changed", "E_TYPE", lambda _: in_envelope(lambda e: e.update(payloadType="application/json"))),
    ("payloadType with a blank behind", "E_TYPE", lambda _: in_envelope(lambda e: e.update(payloadType=PAYLOAD_TYPE + " "))),
    ("signed under another payloadType, then relabelled", "E_SIGNATURE", other_type),
    ("the payload signed without its encoding", "E_SIGNATURE", raw_signed),
    ("S of the signature raised by the group order", "E_SIGNATURE", signature(malleable)),
    ("a signature that fits keys of low order", "E_SIGNATURE", low_order),
    ("member payload twice in the envelope", "E_DUPKEY", duplicate_payload),
    ("bytes behind the envelope", "E_JSON", lambda _: good().rstrip() + b"{}"),
    ("a byte order mark", "E_JSON", lambda _: b"\xef\xbb\xbf" + good()),
    ("UTF-16", "E_JSON", lambda _: good().decode().encode("utf-16")),
    ("nested 100,000 deep", "E_LIMIT", lambda _: b'{"dsseEnvelope":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ("a file of 3 MB", "E_LIMIT", lambda _: good() + b" " * 3_000_000),
    ("a payload of 1.2 MB", "E_LIMIT", lambda _: bundle(canonical(tree_of(seller_payload())) + b" " * 1_150_000)),
    ("gzip of 50 MB of zeros", "E_FORMAT", lambda _: gzip.compress(bytes(50_000_000))),
    ("a zip archive", "E_FORMAT", zipped),
    ("an empty file", "E_JSON", lambda _: b""),
    ("a JSON array", "E_JSON", lambda _: b"[" + good().strip() + b"]"),
    ("the payload is no base64", "E_ENVELOPE", lambda _: in_envelope(lambda e: e.update(payload="%%%"))),
    ("base64 with spare bits set", "E_ENVELOPE", lambda _: in_envelope(spare_bits)),
    ("base64 with line breaks", "E_ENVELOPE", lambda _: in_envelope(lined)),
    ("bundle of media type v0.1", "E_FORMAT", lambda _: reshaped(good(), lambda t: t.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"))),
    ("another media type", "E_FORMAT", lambda _: reshaped(good(), lambda t: t.update(mediaType="text/plain"))),
    ("a page with the envelope inside", "E_FORMAT", page),
    ("a page with two envelopes, one in a comment", "E_FORMAT", two_envelopes),
    ("a PDF", "E_FORMAT", lambda _: b"%PDF-1.7\n" + good()),
    ("a key of tests, without being asked for", "E_UNKNOWN_KEY", key_of_tests),
    ("a role that the key was not given", "E_SIGNER", lambda _: Try(bundle(payload_of(reports(terms(role=Role.INTAKE))[0])))),
    ("a principal that only looks alike", "E_SIGNER", lambda _: bundle(edited(lambda t: t["predicate"]["signer"].update(principal=SELLER.replace("a", "\u0430"))))),
)  # fmt: skip


def no_hint(tree: Tree) -> None:
    tree["verificationMaterial"]["publicKey"]["hint"] = "something else"


ACCEPTED: tuple[Row, ...] = (
    ("Ed25519 in a bundle", "", lambda _: good()),
    ("P-256 in a bundle", "", lambda _: seller_p256().bundle(p256_payload())),
    ("bare DSSE", "", lambda _: seller().dsse(seller_payload())),
    ("no key id", "", lambda _: seller().dsse(seller_payload(), keyid="")),
    ("a key id member that is missing", "", lambda _: in_signature(lambda s: s.pop("keyid"))),
    ("an unknown member in the envelope", "", lambda _: in_envelope(lambda e: e.update(other={"a": 1}))),
    ("URL-safe base64", "", lambda _: in_envelope(lambda e: e.update(payload=e["payload"].replace("+", "-").replace("/", "_")))),
    ("a member alg: none beside the signature", "", lambda _: in_signature(lambda s: s.update(alg="none"))),
    ("another hint in the bundle", "", lambda _: reshaped(good(), no_hint)),
    ("indented JSON around the envelope", "", lambda _: json.dumps(json.loads(good()), indent=2).encode()),
    ("the sale claim is not needed to be verified", "", lambda _: Try(good(), demands=demands(None))),
)  # fmt: skip
