"""The evidence writer writes, by hand, exactly the canonical JSON of what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpuverify.codec import strict_json
from gpuverify.codec.evidence_json import SCHEMA, dump_evidence
from gpuverify.codec.read import read_evidence
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_INT = st.integers(-(2**63), 2**63 - 1)


def _tree(claim: Claim) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "id": claim.id,
        "status": claim.status.value,
        "source": claim.source.value,
        "value": claim.value,
        "call": claim.call or None,
        "raw_code": claim.raw_code,
        "raw_text": claim.raw_text,
        "time_ms": claim.time_ms,
    }
    return {key: value for key, value in tree.items() if value is not None}


def _canonical(evidence: Evidence) -> bytes:
    tree = {
        "schema": SCHEMA,
        "origin": evidence.origin,
        "tool": evidence.tool,
        "collected_ms": evidence.collected_ms,
        "devices": [
            {"index": device.index, "claims": [_tree(claim) for claim in device.claims]}
            for device in evidence.devices
        ],
        "host": [_tree(claim) for claim in evidence.host],
        "stated": [list(pair) for pair in evidence.stated],
    }
    return strict_json.canonical(tree) + b"\n"


@st.composite
def _claims(draw: st.DrawFn) -> Claim:
    value = draw(st.none() | st.booleans() | _INT | _TEXT)
    absent = st.sampled_from([status for status in ClaimStatus if status is not ClaimStatus.OK])
    return Claim(
        id=draw(_TEXT),
        status=draw(absent) if value is None else ClaimStatus.OK,
        value=value,
        source=draw(st.sampled_from(list(Source))),
        call=draw(_TEXT),
        raw_code=draw(st.none() | _INT),
        raw_text=draw(st.none() | _TEXT),
        time_ms=draw(st.none() | _INT),
    )


_SETS = st.lists(_claims(), max_size=3).map(lambda claims: ClaimSet(tuple(claims)))


@given(
    st.lists(_SETS, max_size=3), _SETS, _TEXT, _TEXT, st.none() | _INT,
    st.lists(st.tuples(_TEXT, _TEXT), max_size=2),
)  # fmt: skip
def test_any_evidence_is_written_canonically(
    devices: list[ClaimSet],
    host: ClaimSet,
    origin: str,
    tool: str,
    collected_ms: int | None,
    stated: list[tuple[str, str]],
) -> None:
    evidence = Evidence(
        evidence_class=EvidenceClass.CARRIED,
        origin=origin,
        tool=tool,
        collected_ms=collected_ms,
        devices=tuple(
            DeviceEvidence(index=number * 7, claims=claims) for number, claims in enumerate(devices)
        ),
        host=host,
        stated=tuple(stated),
    )
    assert dump_evidence(evidence) == _canonical(evidence)


def test_the_corpus_is_written_canonically(corpus: Path) -> None:
    read = 0
    for path in sorted(corpus.iterdir()):
        if path.suffix in {".xml", ".txt"}:
            try:
                evidence = read_evidence(path.read_bytes(), path.name)
            except FormatError:
                continue
            assert dump_evidence(evidence) == _canonical(evidence), path.name
            read += 1
    assert read > 50
