"""Challenges: made, written, read strictly, derived from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.errors import FormatError, MissingInputError, UsageError
from gpuverify.model.report import Challenge
from gpuverify.signing.challenge import (
    answers,
    dump_challenge,
    load_challenge,
    measurement_nonce,
    new_challenge,
    read_challenge,
)

NOW = 1_795_000_000
ONE = Challenge(
    nonce=bytes(range(32)),
    issuer="intake@b.example",
    order="PO-17",
    issued_s=NOW,
    expires_s=NOW + 60,
)


def edited(**changes: object) -> bytes:
    tree = {**json.loads(dump_challenge(ONE)), **changes}
    return json.dumps({name: value for name, value in tree.items() if value is not ...}).encode()


def test_a_new_one_is_random_and_says_what_was_asked() -> None:
    made = [new_challenge(issuer="i", order="o", expires_s=NOW + 9, now_s=NOW) for _ in range(20)]
    assert len({challenge.nonce for challenge in made}) == 20
    assert {len(challenge.nonce) for challenge in made} == {32}
    assert {(c.issuer, c.order, c.issued_s, c.expires_s) for c in made} == {
        ("i", "o", NOW, NOW + 9)
    }


@pytest.mark.parametrize("expires_s", [NOW, NOW - 1, NOW + 367 * 86400])
def test_an_end_in_the_past_or_too_far_off(expires_s: int) -> None:
    with pytest.raises(UsageError, match="within 366 days"):
        new_challenge(issuer="", order="", expires_s=expires_s, now_s=NOW)


@pytest.mark.parametrize("text", ["a\nb", "\u202e", "e\u0301", "x" * 201, "\ud800", "\x1b[2J"])
@pytest.mark.parametrize("name", ["issuer", "order"])
def test_texts_that_cannot_be_signed(name: str, text: str) -> None:
    texts = {"issuer": "", "order": "", name: text}
    with pytest.raises(UsageError, match=f"the {name} of a challenge"):
        new_challenge(**texts, expires_s=NOW + 9, now_s=NOW)
    with pytest.raises(FormatError):
        load_challenge(edited(**{name: text}), "c.json")


def test_the_file() -> None:
    data = dump_challenge(ONE)
    assert json.loads(data) == {
        "schema": "gpuverify/challenge/v1",
        "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "issuer": "intake@b.example",
        "order": "PO-17",
        "issuedAt": "2026-11-18T11:06:40Z",
        "expiresAt": "2026-11-18T11:07:40Z",
    }
    assert load_challenge(data, "c.json") == ONE


@given(
    st.binary(min_size=32, max_size=32),
    st.text("aZ0 -_äé采", max_size=20),
    st.integers(0, 10**10),
    st.integers(1, 10**7),
)
def test_what_is_written_is_read(nonce: bytes, name: str, issued_s: int, length_s: int) -> None:
    challenge = Challenge(
        nonce=nonce, issuer=name, order=name[::-1], issued_s=issued_s, expires_s=issued_s + length_s
    )
    assert load_challenge(dump_challenge(challenge), "c.json") == challenge


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'"gpuverify/challenge/v1"',
        b"\xef\xbb\xbf" + dump_challenge(ONE),
        dump_challenge(ONE)[:-10],
        dump_challenge(ONE) + b"{}",
        dump_challenge(ONE).decode().encode("utf-16"),
        dump_challenge(ONE).replace(b'"order"', b'"issuer"'),
        dump_challenge(ONE) + b" " * 20_000,
        edited(schema="gpuverify/challenge/v2"),
        edited(schema=...),
        edited(nonce=...),
        edited(order=None),
        edited(extra="x"),
        edited(issuedAt=NOW),
        edited(nonce="A" * 42),
        edited(nonce="A" * 44),
        edited(nonce="A" * 42 + "B"),
        edited(nonce="A" * 42 + "="),
        edited(nonce="A" * 42 + "+"),
        edited(nonce="A" * 42 + "\uff21"),
        edited(nonce="A" * 42 + "\n"),
        edited(issuedAt="2026-11-18T11:07:40Z"),
        edited(issuedAt="2026-11-18T12:06:40+01:00"),
        edited(expiresAt="2026-02-30T11:07:40Z"),
        edited(expiresAt="2026-11-18"),
    ],
)
def test_files_that_are_no_challenge(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        load_challenge(data, "c.json")
    assert str(caught.value).startswith("c.json: ")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=400))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        load_challenge(data, "c.json")


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(MissingInputError):
        read_challenge(path)
    with pytest.raises(MissingInputError):
        read_challenge(tmp_path)
    path.write_bytes(dump_challenge(ONE))
    assert read_challenge(path) == ONE


def test_what_follows_from_a_nonce() -> None:
    assert answers(ONE, bytes(range(32)))
    assert not answers(ONE, bytes(32))
    assert not answers(ONE, bytes(range(31)))
    assert not answers(ONE, b"")
    expected = hashlib.sha256(b"gpuverify-measure-v1\0" + bytes(range(32))).hexdigest()
    assert measurement_nonce(ONE) == expected


def test_the_shipped_schema_takes_what_is_written_and_nothing_else() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from importlib.resources import files

    text = files("gpuverify.codec") / "data" / "challenge-v1.schema.json"
    validator = jsonschema.Draft202012Validator(json.loads(text.read_text("utf-8")))
    validator.validate(json.loads(dump_challenge(ONE)))
    for data in (
        edited(nonce="A" * 42),
        edited(extra="x"),
        edited(order=...),
        edited(issuedAt=NOW),
    ):
        assert not validator.is_valid(json.loads(data))
