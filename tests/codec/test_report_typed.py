"""The typed reading of reports says what the strict one says, or nothing at all."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_samples import Tree, canonical, payload, set_payload

from gpuverify.codec import fast_json, report_json
from gpuverify.codec.report_json import load_statement
from gpuverify.model.refusal import Refused
from gpuverify.model.report import Report

pytest.importorskip("msgspec")
pytest.importorskip("orjson")

pytestmark = pytest.mark.required


def read_typed(data: bytes) -> Any:
    """Read by the typed path alone, None where it does not take the document."""
    from gpuverify.codec import report_typed  # where the fast extra is installed

    return report_typed.read_typed(data)


@functools.lru_cache(maxsize=1)
def base() -> bytes:
    """Return a report in which every member says something, and no text needs an escape."""
    return payload(full=True).replace(b"\\\\", b"/").replace(b'\\"', b"'")


CLAIM_MEMBERS = (
    "call", "decimal", "id", "raw_code", "raw_text", "source", "status", "time_ms", "value",
)  # fmt: skip
CHECK_MEMBERS = (
    "axis", "basis", "code", "expected", "message", "observed", "outcome", "rule",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53 - 1, -(2**53) + 1, 2**53, -(2**53), 2**63, 2**64, 2**70,
    1.0, 1.5, 1e300, "", "x", "ok", "a b", "9007199254740993", "e\u0301", "\u202e", "é", '"', "\n",
    [], {}, ["x"], {"x": 1}, "x" * 20_001,
)  # fmt: skip


@contextmanager
def without(*, untyped: bool) -> Iterator[None]:
    """Read without the typed path, and without the other fast one too where `untyped` is off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_json, "_typed_reader", lambda: None)
        if not untyped:
            patch.setattr(fast_json, "_fast_path", lambda _limits: None)
        yield


def outcome(data: bytes) -> object:
    """Return what was read, or the code and the words of the refusal."""
    try:
        return repr(load_statement(data, "x"))  # which tells True from 1, unlike equality
    except Refused as refused:
        return (refused.refusal.value, refused.reason)


def three(data: bytes) -> object:
    """Read in all three ways; they have to agree."""
    typed = outcome(data)
    with without(untyped=True):
        assert typed == outcome(data)
    with without(untyped=False):
        assert typed == outcome(data)
    return typed


def claims_of(tree: Tree) -> list[Tree]:
    """Return the claims about the device."""
    found: list[Tree] = tree["predicate"]["evidence"]["device"]
    return found


def checks_of(tree: Tree) -> list[Tree]:
    """Return the findings."""
    found: list[Tree] = tree["predicate"]["checks"]
    return found


Place = Callable[[Tree], list[Tree]]
MEMBERS: list[tuple[Place, str]] = [
    *((claims_of, name) for name in CLAIM_MEMBERS),
    *((checks_of, name) for name in CHECK_MEMBERS),
]


def holders(tree: Tree, place: Place) -> list[Tree]:
    """Return a few entries of each sort: a number, a text, a truth, one without a value."""
    sorts: dict[str, Tree] = {}
    for entry in place(tree):
        sorts.setdefault(f"{type(entry.get('value'))}{entry.get('status')}", entry)
    return list(sorts.values())


@pytest.mark.parametrize("data", [payload(), base()], ids=["plain", "full"])
def test_our_own_reports_are_read_typed(data: bytes) -> None:
    read = read_typed(data)
    assert read is not None
    assert len(read.checks) == len(json.loads(data)["predicate"]["checks"]) > 10
    assert isinstance(load_statement(data, "x"), Report)
    three(data)


def test_a_set_is_left_to_the_other_path() -> None:
    assert read_typed(set_payload()) is None
    three(set_payload())


@pytest.mark.parametrize(("place", "name"), MEMBERS)
def test_each_member_missing_or_odd_has_one_answer(place: Place, name: str) -> None:
    for number in range(len(holders(json.loads(base()), place))):
        tree = json.loads(base())
        holders(tree, place)[number].pop(name, None)
        three(canonical(tree))
        for odd in ODD:
            tree = json.loads(base())
            holders(tree, place)[number][name] = odd
            three(canonical(tree))


@pytest.mark.parametrize(("place", "name"), MEMBERS)
def test_a_member_that_stands_twice_is_refused(place: Place, name: str) -> None:
    """Also where both say one thing, and where the first or the last is right."""
    tree = json.loads(base())
    entry = next((item for item in place(tree) if name in item), None)
    if entry is None:
        return
    whole, member = canonical(entry), canonical({name: entry[name]})[1:-1]
    for other in (member, canonical({name: "x"})[1:-1], canonical({name: 1})[1:-1]):
        for doubled in (whole.replace(member, member + b"," + other, 1),
                        whole.replace(member, other + b"," + member, 1)):  # fmt: skip
            found = three(canonical(tree).replace(whole, doubled, 1))
            assert isinstance(found, tuple)
            assert found[0] == "E_DUPKEY"


@pytest.mark.parametrize("place", [claims_of, checks_of])
def test_an_unknown_member_is_noted(place: Place) -> None:
    tree = json.loads(base())
    place(tree)[0]["newer"] = "x"
    data = canonical(tree)
    assert read_typed(data) is None
    three(data)
    read = load_statement(data, "x")
    assert isinstance(read, Report)
    assert [name.rpartition(".")[2] for name in read.ignored] == ["newer"]


@pytest.mark.parametrize("claim_id", ["newer.claim", "newer", "GPU.Name", "", "gpu.name.x.y.z"])
def test_an_unknown_claim_has_one_answer(claim_id: str) -> None:
    tree = json.loads(base())
    claims_of(tree)[0] = {"id": claim_id, "source": "nvml", "status": "ok", "value": 1}
    assert read_typed(canonical(tree)) is None
    three(canonical(tree))


def test_a_claim_in_the_wrong_place_or_twice_is_refused() -> None:
    tree = json.loads(base())
    for part in ("host", "counters", "fingerprint", "device"):
        for claim in holders(tree, claims_of):  # one without a value is among them
            moved = json.loads(canonical(tree))
            moved["predicate"]["evidence"][part].append(claim)
            found = three(canonical(moved))
            assert isinstance(found, tuple)
            assert found[0] == "E_SCHEMA"


def test_a_member_in_another_order_has_one_answer() -> None:
    for place in (claims_of, checks_of):
        tree = json.loads(base())
        entries = place(tree)
        entries[0] = dict(reversed(list(entries[0].items())))
        data = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
        assert read_typed(data) is None
        three(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"time_ms":', b'"time_ms": '),
        (b'"time_ms":1', b'"time_ms":01'),
        (b'"deviceIndex":0', b'"deviceIndex":-0'),
        (b'"deviceIndex":0', b'"deviceIndex":0.0'),
        (b'"deviceIndex":0', b'"deviceIndex":0e0'),
        (b'"deviceIndex":0', b'"deviceIndex":9007199254740992'),
        (b'"deviceIndex":0', b'"deviceIndex":18446744073709551616'),
        (b'"rule":"', b'"rule":"\\u0061'),
        (b'"message":"', b'"message":"\xff'),
        (b'"message":"', b'"message":"\xed\xa0\x80'),
        (b'"message":"', b'"message":"\x00'),
        (b'"message":"', b'"message":"\x7f'),
        (b'"message":"', b'"message":"\xe2\x80\xa6'),
        (b'"message":"', b'"message":"q\xcc\x81'),
        (b'"predicate":', b'"predicate":{"a":1.5},"predicate":'),
        (b'"remarks":[', b'"remarks":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]],'),
        (b'"remarks":[', b'"remarks":[' + b"[" * 100_000),
        (b'"_type":', b'"_Type":{"a":' * 50_000 + b'"_type":'),
        (b'"subject":[{', b'"subject":[{"newer":"x",'),
        (b'"identity":{', b'"identity":{"\xc3\xa9":1,'),
        (b'"sha256":', b'"sha256":null,"sha256":'),
    ],
)
def test_each_oddity_of_the_text_has_one_answer(old: bytes, new: bytes) -> None:
    assert old in base()
    three(base().replace(old, new, 1))
    three(new.join(base().rsplit(old, 1)))


def test_what_surrounds_the_document_has_one_answer() -> None:
    for data in (
        base() + b"\n",
        b" " + base(),
        b"\xef\xbb\xbf" + base(),
        base() * 2,
        base()[:-1],
        b"",
    ):
        assert read_typed(data) is None
        three(data)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Collect each container with each of its keys or indexes."""
    found: list[tuple[Any, Any]] = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            found.extend(_places(tree[key]))
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_tree_mutant_has_one_answer(data: st.DataObject) -> None:
    tree = json.loads(base())
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(_places(tree)))
        if isinstance(holder, dict) and data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = data.draw(st.sampled_from(ODD[:-1]))
    three(canonical(tree))
