"""Fast and strict reading give one answer, whatever is read; text rules; time stays linear."""

from __future__ import annotations

import copy
import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_samples import canonical, payload, set_payload

from gpuverify.codec import fast_json, report_json, report_text
from gpuverify.codec.report_json import load_statement
from gpuverify.codec.report_text import surely_clean, text_fault, tree_fault
from gpuverify.model.refusal import Refused

pytest.importorskip("msgspec")
pytest.importorskip("orjson")

pytestmark = pytest.mark.required


def outcome(call: Callable[[], object]) -> object:
    """Return what came, or the code and the words of the refusal."""
    try:
        return call()
    except Refused as refused:
        return (refused.refusal.value, refused.reason)


def both(data: bytes) -> object:
    """Read by both paths; they have to agree."""
    fast = outcome(lambda: fast_json.loads(data, "x"))
    strict = outcome(lambda: fast_json.strict_loads(data, "x"))
    assert repr(fast) == repr(strict)
    return strict


@contextmanager
def only_strict() -> Iterator[None]:
    """Read as where the fast extra is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_json, "_fast_path", lambda _limits: None)
        patch.setattr(report_json, "_typed_reader", lambda: None)
        yield


def statement_both(data: bytes) -> object:
    """Read a statement by both paths; they have to agree."""
    fast = outcome(lambda: load_statement(data, "x"))
    with only_strict():
        strict = outcome(lambda: load_statement(data, "x"))
    assert fast == strict
    return strict


def test_our_own_reports_take_the_fast_path() -> None:
    fast = fast_json._fast_path(fast_json.PAYLOAD_LIMITS)
    assert fast is not None
    for data in (payload(), set_payload()):
        assert fast(data) == (json.loads(data),)
        assert fast_json._surely_within(data, fast_json.PAYLOAD_LIMITS)
        assert surely_clean(data)


def test_the_strict_path_reads_our_reports() -> None:
    with only_strict():
        assert fast_json.loads(payload(full=True), "x") == json.loads(payload(full=True))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1.0}',
        b'{"a":-0}',
        b'{"a":1e2}',
        b'{"a":9007199254740991}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":123456789012345678901234567890}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\n"}',
        b'{"a":"\x7f"}',
        b'{"a":"\xc3\xa9"}',
        b'{"\xc3\xa9":1}',
        b'{"\xc3\xa9:b":1}',
        b'{"a":["\xc3\xa9",":x"]}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\\ud83d"}',
        b'{"a":"\xed\xa0\x80"}',
        b"[" * 16 + b"]" * 16,
        b"[" * 17 + b"]" * 17,
        b"[" * 15 + b'{"a":1}' + b"]" * 15,
        b"[" * 16 + b'{"a":1}' + b"]" * 16,
        b'["' + b"[" * 30 + b'"]',
        b'["' + b"]" * 30 + b'",' + b"[" * 16 + b"]" * 16 + b"]",
        b'{"a[":{"b]":["]","[","}{"]}}',
        b'["","[","",""]',
        b'{"a":' * 16 + b"1" + b"}" * 16,
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b'[{"a":' * 8 + b"1" + b"}]" * 8,
        b'[[[[{"a":' * 4 + b"1" + b"}]]]]" * 4,
        b'{"a":"1234567890123456"}',
        b'{"a":1000000000000000}',
        b'{"a":[' + b'"' + b"a" * 19_999 + b'"' + b"]}",
        b'["' + b"a" * 20_000 + b'","' + b"a" * 20_001 + b'"]',
        b'"' + b"a" * 20_000 + b'"',
        b'"' + b"a" * 20_001 + b'"',
        b'"' + "é".encode() * 20_000 + b'"',
        b'{"' + b"a" * 20_001 + b'":1}',
        b"NaN",
        b"Infinity",
        b"true",
        b" true",
        b"true\n",
        b"",
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b",
        b"{" * 100_000,
        b'"' * 3,
        b"0" * (2**20 + 1),
    ],
)
def test_each_oddity_has_one_answer(data: bytes) -> None:
    both(data)


BRACKETS = st.recursive(
    st.sampled_from(["", "[", "]", "}{", '[]"', "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["", "[", "]", "{"]), inner, max_size=2)
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(tree=BRACKETS, depth=st.integers(1, 8))
def test_depth_is_seen_exactly(tree: Any, depth: int) -> None:
    """What the fast path lets through is never deeper; what has no backslash is found exactly."""

    def height(item: Any) -> int:
        if not isinstance(item, (dict, list)):
            return 0
        inner = item.values() if isinstance(item, dict) else item
        return 1 + max((height(one) for one in inner), default=0)

    data = canonical(tree)
    limits = fast_json.JsonLimits(1000, depth, 100)
    fits = fast_json._surely_within(data, limits)
    if len(data) <= 1000 and b"\\" not in data:
        assert fits is (height(tree) <= depth)
    elif fits:
        assert height(tree) <= depth


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(tree=JSON, sort=st.booleans(), ascii_only=st.booleans())
def test_any_document_has_one_answer(tree: Any, sort: bool, ascii_only: bool) -> None:
    text = json.dumps(tree, sort_keys=sort, ensure_ascii=ascii_only, separators=(",", ":"))
    both(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(data=st.data())
def test_any_mutant_of_a_report_has_one_answer(data: st.DataObject) -> None:
    base = bytearray(data.draw(st.sampled_from([payload(full=True), set_payload()])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(base) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "double"]))
        if kind == "flip":
            base[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del base[place : place + data.draw(st.integers(1, 9))]
        elif kind == "insert":
            base[place:place] = data.draw(
                st.sampled_from([b'"', b"1.5,", b"{", b"\\u0301", b",", b"\xcc\x81", b"0"])
            )
        else:
            base[place:place] = base[place : place + data.draw(st.integers(1, 40))]
    statement_both(bytes(base))


def _leaves(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Collect each container with each of its keys or indexes."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            _leaves(tree[key], found)
    return found


@settings(max_examples=300)
@given(data=st.data())
def test_any_tree_mutant_of_a_report_has_one_answer(data: st.DataObject) -> None:
    tree = copy.deepcopy(json.loads(payload(full=True)))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(_leaves(tree, [])))
        value: Any = data.draw(
            st.sampled_from([None, 0, -1, 2**53, 1.5, "", "x", "\u202e", "e\u0301", [], {}, True])
        )
        if isinstance(holder, dict) and data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = value
    statement_both(canonical(tree))


@settings(max_examples=400)
@given(
    texts=st.lists(st.text(max_size=6), max_size=6), names=st.lists(st.text(max_size=4), max_size=3)
)
def test_the_whole_is_clean_only_where_each_part_is(texts: list[str], names: list[str]) -> None:
    tree = {"t": texts, "n": dict.fromkeys(names, 1)}
    try:
        data = canonical(tree).decode("utf-8").encode("utf-8")
    except UnicodeDecodeError:  # half a surrogate pair
        return
    if surely_clean(data):
        assert tree_fault(tree, 100) is None


@settings(max_examples=200)
@given(
    texts=st.lists(
        st.sampled_from(["a" * 30, ",", "\u2026", "e\u0301", "\u0301", ",\u0301", "\u202e", "x"]),
        max_size=12,
    ),
    name=st.sampled_from(["n", "\u00e9", ",", ",\u00e9"]),
    window=st.integers(1, 60),
)
def test_the_whole_is_clean_wherever_it_is_parted(texts: list[str], name: str, window: int) -> None:
    tree = {"m": texts, name: texts}
    data = canonical(tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_text, "_PART_BYTES", window)
        assert surely_clean(data) is (tree_fault(tree, 100) is None)


@settings(max_examples=300)
@given(text=st.text(max_size=8))
def test_texts_without_fault_are_normalised_and_visible(text: str) -> None:
    hidden = any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)
    if text_fault(text) is None:
        assert unicodedata.is_normalized("NFC", text)
        assert not hidden
    elif not hidden and unicodedata.is_normalized("NFC", text):
        assert any(ord(c) >= 0x34F for c in text)  # an ignorable letter or mark


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("plain words, 100 %", True),
        ("电池 \u3000 完好", True),
        ("50 °C · é ß Ω", True),
        ("각", True),
        ("각".encode().decode(), True),
        ("\u1100\u1161", False),
        ("e\u0301", False),
        ("\u212b", False),
        ("q\u0301", True),
        ("\u0301", True),
        ("a\u200d", False),
        ("a\ufeff", False),
        ("a\u2066", False),
        ("a\u061c", False),
        ("a\u00ad", False),
        ("a\u3164", False),
        ("a\ufe0f", False),
        ("a\U000e0101", False),
        ("a\U000e0041", False),
        ("\u2028", False),
        ("tab\there", False),
        ("\x7f", False),
        ("\x85", False),
        ("\U0001f600", True),
    ],
)
def test_text_rules(text: str, fits: bool) -> None:
    assert (text_fault(text) is None) is fits
    assert (both(canonical([text])) == [text]) is fits


@pytest.mark.parametrize(
    "data",
    [
        b'"\\' * 500_000,
        b'"' * 1_000_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'[""' * 300_000,
        b'{"a":' * 200_000,
        b"\\" * 1_000_000,
        "é".encode() * 500_000,
    ],
)
def test_hostile_documents_take_little_time(data: bytes) -> None:
    began = time.process_time()
    both(data)
    assert time.process_time() - began < 5
