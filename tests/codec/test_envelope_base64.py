"""Base64 in envelopes: with and without the fast extra, one answer."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec import envelope_json
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import PAYLOAD_TYPE


@pytest.fixture(params=["with", "without"])
def extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "without":
        monkeypatch.setitem(sys.modules, "msgspec", None)
    envelope_json._base64_decoder.cache_clear()
    envelope_json._typed_reader.cache_clear()
    yield request.param
    envelope_json._base64_decoder.cache_clear()
    envelope_json._typed_reader.cache_clear()


def _payload(text: str) -> bytes:
    tree = {
        "payload": text,
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": "AAAA"}],
    }
    return envelope_json.read_envelope(json.dumps(tree).encode(), "x").payload


def test_without_the_extra_the_standard_library_decodes(extra: str) -> None:
    if extra == "without":
        assert envelope_json._base64_decoder() is binascii.a2b_base64


@pytest.mark.parametrize(
    "text",
    ["A", "AA", "AAA", "AA=", "A===", "AB==", "AAB=", "AAAA====", "==", "AA==AA==", "AAAA\n",
     "AA AA", "AA\x00A", "AA.A", "A-+A", "A_/A", "é", "\uff21AAA"],
)  # fmt: skip
def test_loose_base64_is_refused(extra: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        _payload(text)
    assert refused.value.refusal is Refusal.ENVELOPE


@pytest.mark.parametrize("data", [b"\x01", b"\x02\x03", b"\x04\x05\x06", bytes(range(256)) * 40])
def test_both_alphabets_are_read(extra: str, data: bytes) -> None:
    assert _payload(base64.b64encode(data).decode()) == data
    assert _payload(base64.urlsafe_b64encode(data).decode()) == data


def _accepted(decode: Callable[[bytes], bytes], text: bytes) -> bytes | None:
    """Decode, and write again as the reader does."""
    try:
        data = decode(text)
    except binascii.Error:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None


@given(st.text(st.sampled_from("AQgwZz09+/=- \n\x00"), max_size=12))
def test_the_decoders_differ_in_nothing_that_is_accepted(text: str) -> None:
    data = text.encode()
    fast = _accepted(envelope_json._base64_decoder(), data)
    assert fast == _accepted(binascii.a2b_base64, data)
