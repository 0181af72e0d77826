"""Our own evidence file: exact round trip, strict reading, no borrowed trust."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec.evidence_json import dump_evidence, evidence_sha256, load_evidence
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.vocabulary import VOCABULARY, Scope

_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp")), max_size=30)
_INT = st.integers(-(2**63), 2**63 - 1)


def _claim(spec_id: str, draw: st.DrawFn) -> Claim:
    spec = VOCABULARY[spec_id]
    status = draw(st.sampled_from(list(ClaimStatus)))
    value: Any = None
    if status is ClaimStatus.OK:
        value = draw({int: _INT, str: _TEXT, bool: st.booleans()}[spec.type])
    return Claim(
        id=spec_id,
        status=status,
        value=value,
        source=draw(st.sampled_from(list(Source))),
        call=draw(_TEXT),
        raw_code=draw(st.none() | _INT),
        raw_text=draw(st.none() | _TEXT),
        time_ms=draw(st.none() | _INT),
    )


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    def claims(scope: Scope) -> ClaimSet:
        ids = [spec.id for spec in VOCABULARY.values() if spec.scope is scope]
        chosen = draw(st.lists(st.sampled_from(ids), max_size=5))
        return ClaimSet(tuple(_claim(one, draw) for one in chosen))

    indices = draw(st.lists(st.integers(0, 300), unique=True, max_size=3))
    return Evidence(
        evidence_class=draw(st.sampled_from(list(EvidenceClass))),
        origin=draw(_TEXT),
        tool=draw(_TEXT),
        collected_ms=draw(st.none() | _INT),
        devices=tuple(DeviceEvidence(index=i, claims=claims(Scope.DEVICE)) for i in indices),
        host=claims(Scope.HOST),
        stated=tuple(draw(st.lists(st.tuples(_TEXT, _TEXT), max_size=2))),
    )


@given(evidences())
def test_round_trip_is_exact_but_for_the_class(evidence: Evidence) -> None:
    data = dump_evidence(evidence)
    loaded = load_evidence(data, "e.json")
    assert loaded == replace(evidence, evidence_class=EvidenceClass.CARRIED)
    assert dump_evidence(loaded) == data
    assert evidence_sha256(loaded) == evidence_sha256(evidence)


@given(evidences(), st.data())
def test_damaged_files_are_refused_or_read(evidence: Evidence, data: st.DataObject) -> None:
    raw = bytearray(dump_evidence(evidence))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        loaded = load_evidence(bytes(raw), "e.json")
    except FormatError as error:
        message = str(error)
    else:
        message = ""
        assert loaded.evidence_class is EvidenceClass.CARRIED
    assert message.isprintable()


def sample(sample_xml: str) -> dict[str, Any]:
    evidence = read_nvidia_smi_xml(sample_xml.encode(), "x")
    tree: dict[str, Any] = json.loads(dump_evidence(evidence))
    return tree


def load(tree: object) -> Evidence:
    return load_evidence(json.dumps(tree).encode(), "e.json")


def test_imported_evidence_round_trips(sample_xml: str) -> None:
    evidence = read_nvidia_smi_xml(sample_xml.encode(), "x")
    data = dump_evidence(evidence)
    assert data.endswith(b"}\n")
    assert b'"class"' not in data
    assert load_evidence(data, "y") == replace(evidence, evidence_class=EvidenceClass.CARRIED)


def test_words_of_the_file_are_shown_and_never_used(sample_xml: str) -> None:
    tree = sample(sample_xml)
    tree |= {
        "sale_claim": {"product": "h100-sxm5-80gb"},
        "verdict": "consistent",
        "policy": "mine\u202e",
        "class": "live",
    }
    evidence = load(tree)
    assert evidence.evidence_class is EvidenceClass.CARRIED
    assert evidence.stated == (
        ("class", "live"),
        ("policy", "mine\\u202e"),
        ("sale_claim", '{"product":"h100-sxm5-80gb"}'),
        ("verdict", "consistent"),
    )
    assert load_evidence(dump_evidence(evidence), "z") == evidence


def _edit(tree: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split("/")
    node: Any = tree
    for step in parents:
        node = node[int(step) if isinstance(node, list) else step]
    node[int(last) if isinstance(node, list) else last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "gpuverify/evidence/v2"),
        ("schema", None),
        ("extra", 1),
        ("origin", 5),
        ("tool", None),
        ("collected_ms", "1"),
        ("collected_ms", True),
        ("devices", {}),
        ("devices/0", []),
        ("devices/0/index", -1),
        ("devices/0/index", True),
        ("devices/0/index", 1),
        ("devices/0/more", 1),
        ("devices/0/claims", None),
        ("devices/0/claims/0", 7),
        ("devices/0/claims/0/id", "gpu.soul"),
        ("devices/0/claims/0/id", "driver.version"),
        ("devices/0/claims/0/id", ["gpu.name"]),
        ("devices/0/claims/0/status", "great"),
        ("devices/0/claims/0/status", "not-found"),
        ("devices/0/claims/0/source", "hearsay"),
        ("devices/0/claims/0/value", 7),
        ("devices/0/claims/0/value", None),
        ("devices/0/claims/0/value", {"a": 1}),
        ("devices/0/claims/0/value", "a\u202eb"),
        ("devices/0/claims/0/value", "a\nb"),
        ("devices/0/claims/0/call", 1),
        ("devices/0/claims/0/raw_code", "1"),
        ("devices/0/claims/0/raw_text", 1),
        ("devices/0/claims/0/time_ms", False),
        ("devices/0/claims/0/weight", 1),
        ("devices/0/claims/1", {"id": "pci.bus_id", "status": "not-asked", "source": "nvidia-smi"}),
        ("host", None),
        ("host/0/id", "gpu.name"),
        ("stated", [["a"]]),
        ("stated", [["a", 1]]),
        ("stated", "a"),
    ],
)
def test_strict(sample_xml: str, path: str, value: object) -> None:
    tree = sample(sample_xml)
    _edit(tree, path, value)
    with pytest.raises(FormatError) as caught:
        load(tree)
    assert caught.value.exit_code == 65
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["origin", "tool", "devices", "host"])
def test_missing_keys(sample_xml: str, key: str) -> None:
    tree = sample(sample_xml)
    del tree[key]
    with pytest.raises(FormatError, match=key):
        load(tree)


def test_too_many_devices(sample_xml: str) -> None:
    tree = sample(sample_xml)
    tree["devices"] = [{"index": n, "claims": []} for n in range(257)]
    with pytest.raises(FormatError, match="256"):
        load(tree)


def test_a_flag_is_no_number(sample_xml: str) -> None:
    tree = sample(sample_xml)
    claims = tree["devices"][0]["claims"]
    number = next(n for n, claim in enumerate(claims) if claim["id"] == "pci.device_id")
    claims[number]["value"] = True
    with pytest.raises(FormatError, match="int"):
        load(tree)
