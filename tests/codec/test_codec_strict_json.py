"""JSON with one reading or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec import strict_json
from gpuverify.errors import FormatError

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(_TREES)
def test_round_trip(tree: object) -> None:
    data = strict_json.canonical(tree)
    assert strict_json.loads(data, "x") == tree
    assert strict_json.loads(data.decode(), "x") == tree
    assert strict_json.canonical(strict_json.loads(data, "x")) == data


def test_canonical_is_one_way() -> None:
    assert (
        strict_json.canonical({"b": [1, True, None], "a": "ü"})
        == '{"a":"ü","b":[1,true,null]}'.encode()
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "{'a': 1}",
        '{"a": 1, "a": 2}',
        '[{"x": {"b": 1, "b": 1}}]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1.0",
        "1e3",
        str(2**63),
        str(-(2**63) - 1),
        "9" * 10_000,
        '"\\ud800"',
        '{"\\udfff": 1}',
        '"a\nb"',
        "\ufeff{}",
        "[" * 33 + "]" * 33,
        "[" * 100_000,
        '{"a":' * 50 + "1" + "}" * 50,
        "[" + "[]," * 600_000 + "[]]",
        "1 2",
    ],
)
def test_refused(text: str) -> None:
    for given_as in (text, text.encode("utf-8", "surrogatepass")):
        with pytest.raises(FormatError) as caught:
            strict_json.loads(given_as, "in.json")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data", [b"\xff", b'"\xc3"', '"é"'.encode("latin-1"), "{}".encode("utf-16")]
)
def test_other_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        strict_json.loads(data, "in.json")


def test_limits_are_inclusive() -> None:
    assert strict_json.loads("[" * 32 + "]" * 32, "x")
    assert strict_json.loads(str(2**63 - 1), "x") == 2**63 - 1
    assert strict_json.loads(str(-(2**63)), "x") == -(2**63)


def test_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_INPUT_BYTES", 10)
    with pytest.raises(FormatError, match="larger"):
        strict_json.loads(b'"01234567890"', "x")
