"""The envelope: what is signed, what is read, and the code of each refusal."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec.envelope_json import (
    MAX_FILE_BYTES,
    MAX_PAYLOAD_BYTES,
    bundle_bytes,
    dsse_bytes,
    read_envelope,
)
from gpuverify.codec.report_lines import iter_envelopes
from gpuverify.errors import MissingInputError
from gpuverify.model.envelope import EnvelopeForm
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import BUNDLE_TYPE, PAYLOAD_TYPE
from gpuverify.signing.envelope import pae

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"n":17}}'
SIGNATURE = bytes(range(1, 65))
KEYID = "SHA256:b2xkZXIgdGhhbiB0aGUgaGlsbHMgYW5kIHRoZSBzZWE"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def dsse(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "payload": b64(PAYLOAD),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": KEYID, "sig": b64(SIGNATURE)}],
    }
    tree.update(changes)
    return {name: value for name, value in tree.items() if value is not ...}


def bundle(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": KEYID}, "tlogEntries": []},
        "dsseEnvelope": dsse(),
    }
    tree.update(changes)
    return {name: value for name, value in tree.items() if value is not ...}


def test_pae_is_that_of_the_specification() -> None:
    # The example of https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ü", b"") == "DSSEv1 2 ü 0 ".encode()  # lengths are bytes


def test_what_is_written_is_read_back() -> None:
    tokens = (b"token one", b"another token")
    one = read_envelope(bundle_bytes(PAYLOAD, SIGNATURE, KEYID, tokens), "r.json")
    assert (one.payload, one.signature, one.keyid) == (PAYLOAD, SIGNATURE, KEYID)
    assert (one.form, one.timestamps) == (EnvelopeForm.BUNDLE, tokens)
    assert one.payload_type == PAYLOAD_TYPE
    two = read_envelope(dsse_bytes(PAYLOAD, SIGNATURE, KEYID), "r.json")
    assert (two.form, two.timestamps, two.payload) == (EnvelopeForm.DSSE, (), PAYLOAD)
    assert bundle_bytes(PAYLOAD, SIGNATURE, KEYID).count(b"\n") == 1  # one line of JSON Lines


URL_SAFE = base64.urlsafe_b64encode(b"\xfb\xff\xfe\x01\x02\x03").decode()

ACCEPTED = {
    "bare": dsse(),
    "bundle": bundle(),
    "no keyid": dsse(signatures=[{"sig": b64(SIGNATURE)}]),
    "keyid null": dsse(signatures=[{"sig": b64(SIGNATURE), "keyid": None}]),
    "keyid empty": dsse(signatures=[{"sig": b64(SIGNATURE), "keyid": ""}]),
    "unknown member": dsse(note="for the archive", number=3),
    "alg member": dsse(signatures=[{"sig": b64(SIGNATURE), "keyid": KEYID, "alg": "none"}]),
    "url-safe base64": dsse(payload=URL_SAFE),
    "hint replaced": bundle(verificationMaterial={"publicKey": {"hint": "somebody else"}}),
    "certificate beside": bundle(verificationMaterial={"certificate": {"rawBytes": "AAAA"}}),
    "no material": bundle(verificationMaterial=...),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_harmless_variants_are_read(name: str) -> None:
    read = read_envelope(json.dumps(ACCEPTED[name], indent=2).encode(), "r.json")
    assert read.signature == SIGNATURE
    assert read.payload == (b"\xfb\xff\xfe\x01\x02\x03" if name.startswith("url") else PAYLOAD)
    assert read.keyid == ("" if name.startswith(("no keyid", "keyid")) else KEYID)


def deep(levels: int) -> bytes:
    text = json.dumps(dsse(extra=0))
    return text.replace('"extra": 0', '"extra": ' + "[" * levels + "]" * levels).encode()


GOOD = json.dumps(dsse())
REFUSED: dict[str, tuple[bytes | dict[str, Any], Refusal]] = {
    "no signatures": (dsse(signatures=[]), Refusal.UNSIGNED),
    "signatures missing": (dsse(signatures=...), Refusal.UNSIGNED),
    "sig empty": (dsse(signatures=[{"keyid": KEYID, "sig": ""}]), Refusal.UNSIGNED),
    "sig missing": (dsse(signatures=[{"keyid": KEYID}]), Refusal.UNSIGNED),
    "bare report": (PAYLOAD, Refusal.TYPE),
    "empty object": (b"{}", Refusal.TYPE),
    "two signatures": (dsse(signatures=dsse()["signatures"] * 2), Refusal.ENVELOPE),
    "extra signature": (
        dsse(signatures=[*dsse()["signatures"], {"sig": "AAAA"}]),
        Refusal.ENVELOPE,
    ),
    "signatures a string": (dsse(signatures="AAAA"), Refusal.ENVELOPE),
    "signature a string": (dsse(signatures=["AAAA"]), Refusal.ENVELOPE),
    "keyid a number": (dsse(signatures=[{"sig": "AAAA", "keyid": 7}]), Refusal.ENVELOPE),
    "keyid with bidi": (dsse(signatures=[{"sig": "AAAA", "keyid": "a\u202eb"}]), Refusal.TEXT),
    "keyid a surrogate": (dsse(signatures=[{"sig": "AAAA", "keyid": "\ud800"}]), Refusal.TEXT),
    "keyid long": (dsse(signatures=[{"sig": "AAAA", "keyid": "k" * 513}]), Refusal.LIMIT),
    "sig long": (dsse(signatures=[{"sig": "A" * 2000}]), Refusal.LIMIT),
    "other payloadType": (dsse(payloadType="application/json"), Refusal.TYPE),
    "payloadType with a blank": (dsse(payloadType=PAYLOAD_TYPE + " "), Refusal.TYPE),
    "payloadType missing": (dsse(payloadType=...), Refusal.ENVELOPE),
    "payload missing": (dsse(payload=...), Refusal.ENVELOPE),
    "payload not base64": (dsse(payload="!!!!"), Refusal.ENVELOPE),
    "payload with spare bits": (dsse(payload="QR=="), Refusal.ENVELOPE),
    "payload with a line break": (dsse(payload="QUFB\nQUFB"), Refusal.ENVELOPE),
    "payload without padding": (dsse(payload="QQ"), Refusal.ENVELOPE),
    "payload padded twice": (dsse(payload="QUFB===="), Refusal.ENVELOPE),
    "payload of two alphabets": (dsse(payload="+_+_"), Refusal.ENVELOPE),
    "payload of full-width digits": (dsse(payload="QUF\uff11"), Refusal.ENVELOPE),
    "duplicate payload": (
        GOOD.replace("{", '{"payload":"QUFB",', 1).encode(),
        Refusal.DUPKEY,
    ),
    "duplicate by escape": (
        GOOD.replace("{", '{"\\u0070ayload":"QUFB",', 1).encode(),
        Refusal.DUPKEY,
    ),
    "duplicate sig": (GOOD.replace('"sig"', '"sig":"AAAA","sig"').encode(), Refusal.DUPKEY),
    "trailing bytes": ((GOOD + "x").encode(), Refusal.JSON),
    "two documents": ((GOOD + GOOD).encode(), Refusal.JSON),
    "truncated": (GOOD[:-9].encode(), Refusal.JSON),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), Refusal.JSON),
    "UTF-16": (GOOD.encode("utf-16"), Refusal.JSON),
    "not UTF-8": (GOOD.replace("payloadType", "payload\xff").encode("latin-1"), Refusal.JSON),
    "empty": (b"", Refusal.JSON),
    "blank": (b" \n\t\n", Refusal.JSON),
    "array": (b"[]", Refusal.JSON),
    "string": (b'"report"', Refusal.JSON),
    "NaN": (GOOD.replace("{", '{"n":NaN,', 1).encode(), Refusal.JSON),
    "float": (GOOD.replace("{", '{"n":1.5,', 1).encode(), Refusal.JSON),
    "5000 digits": (GOOD.replace("{", '{"n":' + "7" * 5000 + ",", 1).encode(), Refusal.JSON),
    "2^53": (GOOD.replace("{", '{"n":9007199254740992,', 1).encode(), Refusal.JSON),
    "nested 17": (deep(17), Refusal.LIMIT),
    "nested 100000": (deep(100_000), Refusal.LIMIT),
    "3 MB": (b" " * 3_000_000, Refusal.LIMIT),
    "1.2 MB payload": (dsse(payload=b64(b"x" * 1_200_000)), Refusal.LIMIT),
    "gzip": (gzip.compress(b"0" * 5_000_000), Refusal.FORMAT),
    "zip": (b"PK\x03\x04" + bytes(40), Refusal.FORMAT),
    "page": (b"\n<!DOCTYPE html><html>", Refusal.FORMAT),
    "pdf": (b"%PDF-1.7", Refusal.FORMAT),
    "pem": (b"-----BEGIN PUBLIC KEY-----", Refusal.FORMAT),
    "bundle v0.1": (
        bundle(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
        Refusal.FORMAT,
    ),
    "bundle without type": (bundle(mediaType=...), Refusal.FORMAT),
    "bundle of a message": (
        bundle(dsseEnvelope=..., messageSignature={"signature": "AAAA"}),
        Refusal.FORMAT,
    ),
    "bundle with odd material": (bundle(verificationMaterial=[]), Refusal.ENVELOPE),
    "bundle with odd tokens": (
        bundle(verificationMaterial={"timestampVerificationData": []}),
        Refusal.ENVELOPE,
    ),
    "bundle with an odd token": (
        bundle(
            verificationMaterial={
                "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": 5}]}
            }
        ),
        Refusal.ENVELOPE,
    ),
    "bundle with too many tokens": (
        bundle(
            verificationMaterial={
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": "AAAA"}] * 9
                }
            }
        ),
        Refusal.LIMIT,
    ),
    "bundle with two signatures": (
        bundle(dsseEnvelope=dsse(signatures=dsse()["signatures"] * 2)),
        Refusal.ENVELOPE,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_has_its_code_and_names_the_file(name: str) -> None:
    given_, refusal = REFUSED[name]
    data = given_ if isinstance(given_, bytes) else json.dumps(given_).encode()
    with pytest.raises(Refused) as caught:
        read_envelope(data, "seller.json")
    assert caught.value.refusal is refusal, str(caught.value)
    assert caught.value.exit_code == 65
    assert "seller.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_payload_at_the_limit_is_read() -> None:
    payload = b"x" * MAX_PAYLOAD_BYTES
    assert read_envelope(dsse_bytes(payload, SIGNATURE, ""), "r.json").payload == payload


@given(
    position=st.integers(0, 400),
    value=st.integers(0, 255),
    kind=st.sampled_from(("set", "cut", "put")),
)
def test_no_mutation_crashes_or_passes_for_another_payload(
    position: int, value: int, kind: str
) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    good = bundle_bytes(PAYLOAD, key.sign(pae(PAYLOAD_TYPE, PAYLOAD)), KEYID)
    at = position % len(good)
    byte = bytes((value,))
    keep = at if kind == "put" else at + 1
    mutated = good[:at] + (b"" if kind == "cut" else byte) + good[keep:]
    try:
        read = read_envelope(mutated, "r.json")
        key.public_key().verify(read.signature, pae(read.payload_type, read.payload))
    except (Refused, InvalidSignature):
        return
    assert read.payload == PAYLOAD


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(Refused):
        read_envelope(data, "r.json")


def cut(path: Path) -> list[tuple[str, bytes]]:
    return [(origin.replace(str(path), "F"), data) for origin, data in iter_envelopes(str(path))]


def test_one_document_is_one_envelope_however_it_is_laid_out(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text in (GOOD, GOOD + "\n", json.dumps(bundle(), indent=2), "\n\n" + GOOD + "\n\n"):
        path.write_text(text)
        ((origin, data),) = cut(path)
        assert origin == "F"
        assert read_envelope(data, origin).payload == PAYLOAD
    path.write_bytes(b"")
    assert cut(path) == [("F", b"")]
    path.write_bytes(GOOD.encode("utf-16"))
    assert len(cut(path)) == 1


def test_json_lines_are_cut_and_one_bad_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    line = dsse_bytes(PAYLOAD, SIGNATURE, KEYID)
    path.write_bytes(line + b"\n" + b"{broken}\n" + line + b"garbage\r\n" + line)
    found = cut(path)
    assert [origin for origin, _ in found] == ["F:1", "F:3", "F:4", "F:5", "F:6"]
    assert [data[:1] for _, data in found] == [b"{", b"{", b"{", b"g", b"{"]
    path.write_bytes(b'{"damaged":"first}\n' + line + line)
    assert [origin for origin, _ in cut(path)] == ["F:1", "F:2", "F:3"]
    named = tmp_path / "many.jsonl"
    named.write_bytes(b"garbage\n" + line)
    assert [origin for origin, _ in cut(named)] == ["F:1", "F:2"]
    named.write_bytes(line)
    assert [origin for origin, _ in cut(named)] == ["F:1"]


def test_an_endless_line_is_cut_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    line = dsse_bytes(PAYLOAD, SIGNATURE, KEYID)
    path.write_bytes(line + b"[" * (MAX_FILE_BYTES * 3) + b"\n" + line)
    found = cut(path)
    assert [len(data) for _, data in found] == [len(line) - 1, MAX_FILE_BYTES + 1, len(line) - 1]
    single = tmp_path / "one.json"
    single.write_bytes((b"[" * 99 + b"\n") * 100_000)
    ((_, data),) = cut(single)
    assert len(data) == MAX_FILE_BYTES + 1


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path, Path("nul\0byte")):
        with pytest.raises(MissingInputError):
            list(iter_envelopes(str(path)))


def test_standard_input_is_read_like_a_file() -> None:
    script = (
        "from gpuverify.codec.report_lines import iter_envelopes\n"
        "print([(origin, len(data)) for origin, data in iter_envelopes('-')])"
    )
    line = dsse_bytes(PAYLOAD, SIGNATURE, KEYID)
    done = subprocess.run(
        [sys.executable, "-c", script], input=line + line, capture_output=True, check=True
    )
    size = len(line) - 1
    assert done.stdout.decode().strip() == repr(
        [("standard input:1", size), ("standard input:2", size)]
    )
