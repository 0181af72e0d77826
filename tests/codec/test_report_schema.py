"""The JSON Schemas say what the writer writes and what the reader reads."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_samples import (
    Tree,
    appraised,
    canonical,
    code_of,
    payload,
    report_of,
    resubject,
    set_payload,
    terms,
)

from gpuverify.codec.challenge_json import dump_challenge, load_challenge
from gpuverify.codec.report_json import dump_report
from gpuverify.errors import FormatError
from gpuverify.model.report import PREDICATE_REPORT, PREDICATE_SET, Challenge
from gpuverify.signing.build import build_report

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "gpuverify" / "codec" / "data"

pytestmark = pytest.mark.required


def schema(name: str) -> Tree:
    tree = json.loads((DATA / f"{name}-v1.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(tree)
    assert isinstance(tree, dict)
    return tree


REPORT = jsonschema.Draft202012Validator(schema("report"))
SET = jsonschema.Draft202012Validator(schema("report-set"))
CHALLENGE = jsonschema.Draft202012Validator(schema("challenge"))


def fits(validator: Any, tree: object) -> bool:
    return bool(validator.is_valid(tree))


@pytest.mark.parametrize(
    "case",
    [
        "ga100/a100-sxm4-80gb-measured",
        "ga100/a100-with-mig-on",
        "ga100/a100-nvml-without-a-device-node",
        "gh100/h100-sxm5-80gb-measured",
        "kepler/k80",
        "ada/rtx-4090",
        "gb100/gb200",
    ],
)
def test_what_is_written_fits(case: str) -> None:
    REPORT.validate(json.loads(dump_report(report_of(case))))


def test_full_and_set_fit() -> None:
    REPORT.validate(json.loads(payload(full=True)))
    SET.validate(json.loads(set_payload()))


def test_a_report_without_a_claim_fits() -> None:
    evidence, result = appraised("ga100/a100-sxm4-80gb", None)
    report = build_report(evidence, result, 0, terms(), now_s=1_760_003_600)
    assert report.sale == ()
    REPORT.validate(json.loads(dump_report(report)))


def test_the_schemas_name_the_types() -> None:
    assert schema("report")["properties"]["predicateType"]["const"] == PREDICATE_REPORT
    assert schema("report-set")["properties"]["predicateType"]["const"] == PREDICATE_SET


def objects(tree: object, schema_tree: Tree, defs: Tree) -> Iterator[tuple[Tree, Tree]]:
    """Yield each object of a document with its part of the schema."""
    if "$ref" in schema_tree:
        schema_tree = defs[schema_tree["$ref"].rpartition("/")[2]]
    if "oneOf" in schema_tree:
        schema_tree = schema_tree["oneOf"][1]
    if isinstance(tree, dict) and "properties" in schema_tree:
        yield tree, schema_tree
        for name, value in tree.items():
            yield from objects(value, schema_tree["properties"].get(name, {}), defs)
    elif isinstance(tree, list):
        for item in tree:
            yield from objects(item, schema_tree.get("items", {}), defs)


def test_the_schemas_describe_every_member_that_is_written() -> None:
    for name, data in (("report", payload(full=True)), ("report-set", set_payload())):
        whole = schema(name)
        for tree, part in objects(json.loads(data), whole, whole.get("$defs", {})):
            assert set(tree) <= set(part["properties"])
            assert all(member.get("description") for member in part["properties"].values())


# Values that fit hardly anywhere, and that no text rule refuses.
ODD: tuple[Any, ...] = (
    None,
    7,
    -1,
    True,
    "",
    "Odd",
    [],
    {},
    ["x"],
    [7],
    {"a": 1},
    "2026-10-09T10:00:00Z",
)
# Refusals that look beyond form.
BEYOND = {"E_SUBJECT", "E_SET"}


@settings(max_examples=300)
@given(data=st.data())
def test_reader_and_schema_refuse_the_same(data: st.DataObject) -> None:
    is_set = data.draw(st.booleans())
    name, base = ("report-set", set_payload()) if is_set else ("report", payload(full=True))
    whole = schema(name)
    tree = copy.deepcopy(json.loads(base))
    places = list(objects(tree, whole, whole.get("$defs", {})))
    # Claims are most of the objects; let the others come up as often.
    places = places[:30] + places[30::9]
    place, part = data.draw(st.sampled_from(places))
    member = data.draw(st.sampled_from(sorted(part["properties"])))
    if data.draw(st.booleans()):
        place.pop(member, None)
    else:
        place[member] = data.draw(st.sampled_from(ODD))
    is_claim = "status" in place or "status" in part["properties"]
    if is_claim and member in ("value", "id", "source", "decimal", "status"):
        return  # the type of a value follows its id, and an unknown id ends the look at a claim
    if "gpu_uuid" in place:
        resubject(tree)
    accepted = fits(SET if is_set else REPORT, tree)
    code = code_of(canonical(tree))
    if code == "OK":
        assert accepted
    elif accepted:
        # A form that fits, and still not what the rest of the document says.
        assert code in BEYOND or _twice(part, code)


def _twice(part: Tree, code: str) -> bool:
    """Whether a refusal is one of what a schema cannot say: each kind of fraud stands once."""
    return code == "E_SCHEMA" and "covered" in part["properties"]


@settings(max_examples=100)
@given(
    member=st.sampled_from(["schema", "nonce", "issuer", "order", "issuedAt", "expiresAt", "more"]),
    value=st.sampled_from((*ODD, "A" * 43, "A" * 42 + "B", "2026-02-30T10:00:00Z")),
)
def test_challenge_reader_and_schema_refuse_the_same(member: str, value: object) -> None:
    challenge = Challenge(
        nonce=bytes(range(32)), issuer="buyer", order="PO-17", issued_s=1000, expires_s=2**31
    )
    tree = json.loads(dump_challenge(challenge))
    CHALLENGE.validate(tree)
    tree[member] = value
    try:
        load_challenge(json.dumps(tree).encode(), "x")
    except FormatError:
        # A schema knows neither the calendar nor which of two times is the later one.
        assert not fits(CHALLENGE, tree) or member in ("issuedAt", "expiresAt")
    else:
        assert fits(CHALLENGE, tree)


def test_the_page_is_that_of_the_schemas() -> None:
    path = ROOT / "tests" / "tools" / "generate_report_format.py"
    spec = importlib.util.spec_from_file_location("generate_report_format", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "report-format.md").read_text(encoding="utf-8") == module.page()
