"""The typed reading of bundles says what the other one says, or nothing at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuverify.codec import envelope_json
from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes, read_envelope
from gpuverify.model.refusal import Refused

pytest.importorskip("msgspec")

pytestmark = pytest.mark.required

PAYLOAD = bytes(range(256)) * 3
KEYID = "SHA256:" + "A" * 43
OURS = bundle_bytes(PAYLOAD, b"s" * 64, KEYID)
ODD: tuple[Any, ...] = (
    None, True, 0, 1.5, "", "x", "AA==", "AB==", "QQ", "QQ=", "Q Q=", "QQ==\n", "-_-_", "+/+/", "é",
    "a\u202e", "\x7f", "k" * 513, "A" * 1368, "A" * 1372, [], {}, ["x"], [{}], {"x": 1},
    [{"keyid": "k", "sig": "AAAA"}, {"keyid": "k", "sig": "AAAA"}],
)  # fmt: skip


def read_typed(data: bytes) -> Any:
    """Read by the typed path alone, None where it does not take the document."""
    from gpuverify.codec import envelope_typed  # where the fast extra is installed

    return envelope_typed.read_bundle(data)


def outcome(data: bytes) -> object:
    """Return what was read, or the code and the words of the refusal."""
    try:
        return repr(read_envelope(data, "x"))
    except Refused as refused:
        return (refused.refusal.value, refused.reason)


def both(data: bytes) -> object:
    """Read with and without the typed path; they have to agree."""
    typed = outcome(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope_json, "_typed_reader", lambda: None)
        assert typed == outcome(data)
    return typed


def written(tree: Any) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Collect each container with each of its keys or indexes."""
    found: list[tuple[Any, Any]] = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            found.extend(places(tree[key]))
    return found


COUNT = len(places(json.loads(OURS)))


def test_our_own_bundles_are_read_typed() -> None:
    for data in (OURS, OURS[:-1], bundle_bytes(b"", b"s", "")):
        assert read_typed(data) is not None
        both(data)
    assert read_typed(OURS).payload == PAYLOAD


def test_others_are_left_to_the_other_path() -> None:
    for data in (dsse_bytes(PAYLOAD, b"s", "k"), bundle_bytes(PAYLOAD, b"s", "k", (b"t",))):
        assert read_typed(data) is None
        both(data)


@pytest.mark.parametrize("number", range(COUNT))
def test_each_member_missing_odd_or_joined_has_one_answer(number: int) -> None:
    for odd in ODD:
        tree = json.loads(OURS)
        holder, key = places(tree)[number]
        holder[key] = odd
        both(written(tree))
        tree = json.loads(OURS)
        holder, key = places(tree)[number]
        if isinstance(holder, dict):
            holder["newer"] = odd
            assert read_typed(written(tree)) is None
            both(written(tree))
    tree = json.loads(OURS)
    holder, key = places(tree)[number]
    del holder[key]
    both(written(tree))


@pytest.mark.parametrize(
    "name",
    ["payload", "payloadType", "signatures", "keyid", "sig", "hint", "mediaType", "publicKey"],
)
def test_a_member_that_stands_twice_is_refused(name: str) -> None:
    mark = f'"{name}":'.encode()
    for other in (b'"x"', b'"AAAA"', b"null", b"[]", b"1.5"):
        found = both(OURS.replace(mark, mark + other + b"," + mark, 1))
        assert isinstance(found, tuple)
        assert found[0] == ("E_JSON" if other == b"1.5" else "E_DUPKEY")


@pytest.mark.parametrize("size", [1, 2, 3, 2**20 - 1, 2**20, 2**20 + 1, 2**20 + 2, 2**20 + 3])
def test_payloads_of_each_length_have_one_answer(size: int) -> None:
    both(bundle_bytes(b"x" * size, b"s" * 64, KEYID))


@pytest.mark.parametrize("size", [0, 1, 2, 1023, 1024, 1025, 1026, 1027])
def test_signatures_and_keyids_of_each_length_have_one_answer(size: int) -> None:
    both(bundle_bytes(PAYLOAD, b"s" * size, KEYID))
    both(bundle_bytes(PAYLOAD, b"s", "k" * (size // 2)))


def test_base64_with_spare_bits_is_refused() -> None:
    tree = json.loads(bundle_bytes(b"x", b"s", KEYID))
    tree["dsseEnvelope"]["payload"] = "eB=="
    assert base64.b64decode("eB==") == b"x"
    found = both(written(tree))
    assert isinstance(found, tuple)
    assert found[0] == "E_ENVELOPE"


def test_what_surrounds_the_document_has_one_answer() -> None:
    for data in (OURS + b"\n", b" " + OURS, b"\xef\xbb\xbf" + OURS, OURS * 2, OURS[:-2], b"", b"\n",
                 OURS[:-1] + b"\r\n", b"[" * 100_000, b'{"a":' * 100_000):  # fmt: skip
        assert read_typed(data) is None
        both(data)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_mutant_has_one_answer(data: st.DataObject) -> None:
    mutant = bytearray(OURS)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(mutant) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            mutant[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del mutant[place : place + data.draw(st.integers(1, 9))]
        else:
            mutant[place:place] = data.draw(st.sampled_from([b'"', b"=", b"\\u0041", b",", b"\n"]))
    both(bytes(mutant))
