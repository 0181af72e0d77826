"""Bytes to text, and text that is safe to print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec.text import decode_text, hostile, printable
from gpuverify.errors import FormatError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    assert decode_text("Größe\r\né\rü\n".encode(encoding), "x") == "Größe\né\nü\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00\x00a\x00\x00\x00",
        b"abc\x00def",
        b"caf\xe9",
        b"\x7fELF\x02\x01",
        b"\xff\xfea",
        "a\u202eb".encode(),
        "a\u2066b".encode("utf-16"),
        b"a\x08b",
        b"a\x1bb",
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        decode_text(data, "in.txt")
    assert str(caught.value).startswith("in.txt: ")
    assert str(caught.value).isprintable()


def test_line_of_a_control_character() -> None:
    with pytest.raises(FormatError, match=r"line 3: control or bidi character U\+202E"):
        decode_text("a\nb\nc\u202e\n".encode(), "x")


def test_terminal_sequences_are_stripped() -> None:
    assert decode_text(b"\x1b[4mGPU0\x1b[0m\x1b]0;t\x07 x\x1b(B", "x") == "GPU0 x"
    assert decode_text(b"\x1b[1;31mA\x1b[0m B\x1b[K", "x") == "A B"


def test_printable_escapes() -> None:
    escaped = "a\\x09b\\u202e\\x00\\ud800\\U000e0001"
    assert printable("a\tb\u202e\x00\ud800\U000e0001") == escaped
    assert printable("x" * 300) == "x" * 199 + "…"
    assert printable("ab", 2) == "ab"


@given(st.text(st.characters(), max_size=400), st.integers(1, 250))
def test_printable_is_printable_and_short(text: str, limit: int) -> None:
    result = printable(text, limit)
    assert result.isprintable()
    assert len(result) <= limit


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    try:
        text = decode_text(data, "x")
    except FormatError as error:
        text = str(error)
        printed = text.isprintable()
    else:
        printed = True
    assert printed
    assert hostile(text) is None
