"""Statements: written in one way, read strictly, refused with a stable code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_samples import (
    Tree,
    as_read,
    canonical,
    code_of,
    edited,
    full_report,
    payload,
    plain_report,
    resubject,
    sample_set,
    set_payload,
)

from gpuverify.codec.report_claims import CLAIM_ID, PART_OF, PARTS, ordered
from gpuverify.codec.report_json import dump_report, dump_set, load_statement
from gpuverify.codec.slots import maker
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.report import Report, ReportSet
from gpuverify.model.vocabulary import VOCABULARY


@pytest.mark.parametrize("report", [plain_report(), full_report()], ids=["plain", "full"])
def test_a_report_is_read_as_it_was_written(report: Report) -> None:
    data = dump_report(report)
    read = load_statement(data, "r.json")
    assert isinstance(read, Report)
    assert read == as_read(report, "r.json")
    assert dump_report(read) == data


def test_every_member_of_the_full_report_says_something() -> None:
    tree = json.loads(payload(full=True))["predicate"]
    empty = [name for name, value in tree.items() if value in (None, [], "")]
    assert empty == []


def test_a_set_is_read_as_it_was_written() -> None:
    report_set, reports = sample_set()
    read = load_statement(dump_set(report_set), "s.json")
    assert isinstance(read, ReportSet)
    assert read == report_set
    assert [member.gpu_uuid for member in read.members] == [
        report.identity.gpu_uuid for report in reports
    ]
    assert read.count == 8


def test_what_is_written_is_canonical() -> None:
    for data in (payload(), payload(full=True), set_payload()):
        assert canonical(json.loads(data)) == data
        assert b"\n" not in data


def test_numbers_beyond_2_53_travel_as_text() -> None:
    big = 2**63 - 1
    report = plain_report()
    (device,) = report.evidence.devices
    claims = [
        replace(claim, value=big) if claim.id == "memory.used_bytes" else claim
        for claim in device.claims
    ]
    evidence = replace(
        report.evidence, devices=(DeviceEvidence(index=0, claims=ClaimSet(tuple(claims))),)
    )
    data = dump_report(replace(report, evidence=evidence))
    assert f'"decimal":"{big}"'.encode() in data
    read = load_statement(data, "x")
    assert isinstance(read, Report)
    assert read.evidence.devices[0].claims.value("memory.used_bytes") == big


def test_what_is_read_was_carried_whatever_the_signer_states() -> None:
    data = edited(lambda t: t["predicate"].update(evidenceClass="live"))
    read = load_statement(data, "x")
    assert isinstance(read, Report)
    assert read.evidence_class is EvidenceClass.LIVE
    assert read.evidence.evidence_class is EvidenceClass.CARRIED


def test_unknown_members_are_ignored_and_listed() -> None:
    def add(tree: Tree) -> None:
        tree["extra"] = {"deep": [1, {"a": None}]}
        predicate = tree["predicate"]
        predicate["newMember"] = "x"
        predicate["signer"]["nickname"] = "y"
        predicate["evidence"]["device"][0]["confidence"] = 3
        predicate["checks"][2]["weight"] = 1
        predicate["evidence"]["device"].append(
            {"id": "gpu.something_new", "status": "brand-new", "source": "tea-leaves", "value": 1}
        )
        predicate["schemaVersion"] = "1.7.0"

    read = load_statement(edited(add), "x")
    assert isinstance(read, Report)
    assert set(read.ignored) == {
        "extra",
        "predicate.newMember",
        "predicate.signer.nickname",
        "predicate.evidence.device.confidence",
        "predicate.checks.weight",
        "predicate.evidence.device.gpu.something_new",
    }
    assert replace(read, ignored=(), schema_version="1.0.0") == as_read(plain_report(), "x")


def _claim(tree: Tree, claim_id: str) -> dict[str, Any]:
    for part in PARTS:
        for claim in tree["predicate"]["evidence"][part]:
            if claim["id"] == claim_id and "value" in claim:
                assert isinstance(claim, dict)
                return claim
    raise AssertionError(claim_id)


def _move(tree: Tree) -> None:
    evidence = tree["predicate"]["evidence"]
    evidence["device"].append(evidence["counters"].pop())


def _set_identity(member: str, value: str | None) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree["predicate"]["identity"][member] = value
        resubject(tree)

    return change


def _predicate(**members: Any) -> Callable[[Tree], None]:
    return lambda tree: tree["predicate"].update(members)


REFUSED: dict[str, tuple[str, Callable[[Tree], object]]] = {
    "no statement": ("E_TYPE", lambda t: t.update(_type="https://in-toto.io/Statement/v0.1")),
    "other predicate": ("E_TYPE", lambda t: t.update(predicateType="https://slsa.dev/x")),
    "no predicate type": ("E_TYPE", lambda t: t.pop("predicateType")),
    "array for a type": ("E_TYPE", lambda t: t.update(predicateType=[1])),
    "major version": ("E_VERSION", _predicate(schemaVersion="2.0.0")),
    "version of two parts": ("E_SCHEMA", _predicate(schemaVersion="1.0")),
    "member missing": ("E_SCHEMA", lambda t: t["predicate"].pop("role")),
    "wrong type": ("E_SCHEMA", _predicate(role=7)),
    "unknown role": ("E_SCHEMA", _predicate(role="king")),
    "no class": ("E_SCHEMA", lambda t: t["predicate"].pop("evidenceClass")),
    "near class": ("E_SIMULATED", _predicate(evidenceClass="Live ")),
    "the reader's own class": ("E_SIMULATED", _predicate(evidenceClass="signed")),
    "offset instead of Z": ("E_SCHEMA", _predicate(issuedAt="2026-10-09T10:00:00+00:00")),
    "30 February": ("E_SCHEMA", _predicate(issuedAt="2026-02-30T10:00:00Z")),
    "upper-case UUID": ("E_SCHEMA", _predicate(reportId="0" * 8 + "-ABCD-0000-0000-" + "0" * 12)),
    "predicate is an array": ("E_SCHEMA", lambda t: t.update(predicate=[])),
    "serial with Cyrillic O": ("E_SCHEMA", _set_identity("board_serial", "165092263300\u041e")),
    "full-width serial": ("E_SCHEMA", _set_identity("board_serial", "\uff11\uff16\uff15")),
    "identity with a member more": ("E_SCHEMA", _set_identity("colour", "green")),
    "other serial, subject made anew": (
        "E_SUBJECT",
        _set_identity("board_serial", "1650922633009"),
    ),
    "no serial, subject made anew": ("E_SUBJECT", _set_identity("board_serial", None)),
    "other UUID, subject made anew": (
        "E_SUBJECT",
        _set_identity("gpu_uuid", "GPU-00000000-1111-2222-3333-444444444444"),
    ),
    "subject of another identity": (
        "E_SUBJECT",
        lambda t: t["subject"][0]["digest"].update(sha256="0" * 64),
    ),
    "two subjects": ("E_SUBJECT", lambda t: t["subject"].append(t["subject"][0])),
    "no subject": ("E_SUBJECT", lambda t: t.update(subject=[])),
    "subject named otherwise": (
        "E_SUBJECT",
        lambda t: t["subject"][0].update(name="gpu:nvidia:1650922633009"),
    ),
    "claims of another card": (
        "E_SUBJECT",
        lambda t: _claim(t, "gpu.serial").update(value="1650922639999"),
    ),
    "claims without a UUID": (
        "E_SUBJECT",
        lambda t: t["predicate"]["evidence"].update(
            device=[c for c in t["predicate"]["evidence"]["device"] if c["id"] != "gpu.uuid"]
        ),
    ),
    "claim in another place": ("E_SCHEMA", _move),
    "claim twice": (
        "E_SCHEMA",
        lambda t: t["predicate"]["evidence"]["host"].append(t["predicate"]["evidence"]["host"][0]),
    ),
    "claim of another type": ("E_SCHEMA", lambda t: _claim(t, "gpu.name").update(value=3)),
    "true for a number": ("E_SCHEMA", lambda t: _claim(t, "pci.device_id").update(value=True)),
    "value without ok": ("E_SCHEMA", lambda t: _claim(t, "gpu.name").update(status="failed")),
    "ok without value": ("E_SCHEMA", lambda t: _claim(t, "gpu.name").pop("value")),
    "value and decimal": (
        "E_SCHEMA",
        lambda t: _claim(t, "gpu.core_count").update(decimal="9007199254740993"),
    ),
    "small decimal": (
        "E_SCHEMA",
        lambda t: (
            _claim(t, "gpu.core_count").update(decimal="6912"),
            _claim(t, "gpu.core_count").pop("value"),
        ),
    ),
    "unknown status": ("E_SCHEMA", lambda t: _claim(t, "gpu.name").update(status="fine")),
    "array for a status": ("E_SCHEMA", lambda t: _claim(t, "gpu.name").update(status=[])),
    "claim is a string": ("E_SCHEMA", lambda t: t["predicate"]["evidence"]["host"].append("x")),
    "check without a member": ("E_SCHEMA", lambda t: t["predicate"]["checks"][0].pop("axis")),
    "check of another axis": (
        "E_SCHEMA",
        lambda t: t["predicate"]["checks"][0].update(axis="luck"),
    ),
    "array for an axis": ("E_SCHEMA", lambda t: t["predicate"]["checks"][0].update(axis=[])),
    "rule that is none": (
        "E_SCHEMA",
        lambda t: t["predicate"]["checks"][0].update(rule="Not A Rule"),
    ),
    "rule that is a number": ("E_SCHEMA", lambda t: t["predicate"]["checks"][0].update(rule=5)),
    "observed is a number": ("E_SCHEMA", lambda t: t["predicate"]["checks"][0].update(observed=5)),
    "fraud twice": (
        "E_SCHEMA",
        lambda t: t["predicate"]["coverage"]["covered"].append(
            t["predicate"]["coverage"]["notCovered"][0]
        ),
    ),
    "short nonce": (
        "E_SCHEMA",
        _predicate(
            challenge={
                "nonce": "AAAA",
                "issuer": "",
                "order": "",
                "issuedAt": "2026-10-09T10:00:00Z",
                "expiresAt": "2026-10-09T11:00:00Z",
            }
        ),
    ),
    "remarks null": ("E_SCHEMA", _predicate(remarks=None)),
    "remark is a number": ("E_SCHEMA", _predicate(remarks=[1])),
    "attachment with a path": (
        "E_ATTACHMENT",
        _predicate(
            attachments=[{"name": "../x", "mediaType": "a/b", "size": 1, "sha256": "0" * 64}]
        ),
    ),
    "attachment twice": (
        "E_ATTACHMENT",
        _predicate(
            attachments=[
                {"name": "x", "mediaType": "a/b", "size": size, "sha256": "0" * 64}
                for size in (1, 2)
            ]
        ),
    ),
    "zero-width space": ("E_TEXT", _predicate(remarks=["a\u200bb"])),
    "bidi override": ("E_TEXT", _predicate(remarks=["a\u202eb"])),
    "terminal escape": ("E_TEXT", _predicate(remarks=["a\x1b[31mb"])),
    "line feed": ("E_TEXT", _predicate(remarks=["a\nb"])),
    "not normalised": ("E_TEXT", _predicate(remarks=["e\u0301"])),
    "homoglyph member name": ("E_TEXT", lambda t: t["predicate"].update({"r\u043ele": "x"})),
    "float": ("E_JSON", _predicate(extra=1.5)),
    "2^53": ("E_JSON", _predicate(extra=2**53)),
    "NaN": ("E_JSON", _predicate(extra=float("nan"))),
    "long text": ("E_LIMIT", _predicate(remarks=["x" * 20_001])),
    "long payload": ("E_LIMIT", _predicate(remarks=["x" * 19_000] * 60)),
    "deep": ("E_LIMIT", _predicate(extra=json.loads("[" * 20 + "]" * 20))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_fault_has_its_code(name: str) -> None:
    code, change = REFUSED[name]
    assert code_of(edited(change)) == code


def test_half_a_pair_by_escape() -> None:
    data = payload()
    assert b'"remarks":[]' in data
    assert code_of(data.replace(b'"remarks":[]', b'"remarks":["\\ud800"]')) == "E_TEXT"


def test_members_that_stand_twice() -> None:
    data = payload()
    role = b'"role":"seller"'
    assert role in data
    assert code_of(data.replace(role, role + b"," + role)) == "E_DUPKEY"
    assert code_of(data.replace(role, role + b',"\\u0072ole":"lab"')) == "E_DUPKEY"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "E_JSON"),
        (b"[]", "E_TYPE"),
        (b"{", "E_JSON"),
        (b"\xff\xfe{\x00}\x00", "E_JSON"),
        (b"\xef\xbb\xbf" + payload(), "E_JSON"),
        (payload() + b"x", "E_JSON"),
        (b"[" * 100_000, "E_LIMIT"),
        (payload().decode().encode("utf-16"), "E_JSON"),
    ],
)
def test_what_is_no_statement(data: bytes, code: str) -> None:
    assert code_of(data) == code


SET_REFUSED: dict[str, tuple[str, Callable[[Tree], object]]] = {
    "count": ("E_SET", _predicate(count=9)),
    "dropped": (
        "E_SET",
        lambda t: (t["predicate"]["members"].pop(), t["subject"].pop()),
    ),
    "dropped, subjects kept": ("E_SUBJECT", lambda t: t["predicate"]["members"].pop()),
    "one slot twice": (
        "E_SET",
        lambda t: t["predicate"]["members"][0].update(slot=t["predicate"]["members"][1]["slot"]),
    ),
    "one card twice": (
        "E_SET",
        lambda t: t["predicate"]["members"][0].update(
            gpuUuid=t["predicate"]["members"][1]["gpuUuid"]
        ),
    ),
    "other digest": (
        "E_SUBJECT",
        lambda t: t["predicate"]["members"][0].update(payloadSha256="0" * 64),
    ),
    "no cards": ("E_SCHEMA", _predicate(count=0)),
    "version": ("E_VERSION", _predicate(schemaVersion="3.0.0")),
    "no signer": ("E_SCHEMA", lambda t: t["predicate"].pop("signer")),
    "too many": (
        "E_LIMIT",
        lambda t: t["predicate"].update(members=t["predicate"]["members"] * 129),
    ),
}


@pytest.mark.parametrize("name", SET_REFUSED)
def test_each_fault_of_a_set_has_its_code(name: str) -> None:
    code, change = SET_REFUSED[name]
    assert code_of(edited(change, set_payload())) == code


@pytest.mark.parametrize("text", ["a\u200bb", "a\nb", "e\u0301", "\u202e", "a\x00", "x" * 20_001])
def test_a_text_that_no_reader_takes_is_not_signed(text: str) -> None:
    with pytest.raises(FormatError, match="cannot be signed"):
        dump_report(replace(plain_report(), remarks=(text,)))


def test_every_id_has_one_place_and_its_form() -> None:
    assert set(PART_OF) == set(VOCABULARY)
    assert set(PART_OF.values()) == set(PARTS)
    assert all(CLAIM_ID.fullmatch(claim_id) for claim_id in VOCABULARY)
    assert PART_OF["remap.correctable_count"] == "counters"
    assert PART_OF["ecc.mode_current"] == "device"
    assert PART_OF["capacity.class"] == "fingerprint"
    assert PART_OF["measure.nonce"] == "host"


def test_the_order_inside_a_place_is_kept() -> None:
    (device,) = plain_report().evidence.devices
    shuffled = list(device.claims)[::-1]
    for part in PARTS:
        mine = [claim for claim in ordered(shuffled) if PART_OF[claim.id] == part]
        assert mine == [claim for claim in shuffled if PART_OF[claim.id] == part]


def test_objects_that_are_made_quickly_are_like_others() -> None:
    made = maker(Claim)("gpu.name", ClaimStatus.OK, "A", Source.NVML, "call", 1, "raw", 5)
    other = Claim(
        id="gpu.name",
        status=ClaimStatus.OK,
        value="A",
        source=Source.NVML,
        call="call",
        raw_code=1,
        raw_text="raw",
        time_ms=5,
    )
    assert made == other
    assert hash(made) == hash(other)
    assert repr(made) == repr(other)
    with pytest.raises(AttributeError):
        made.value = "B"  # type: ignore[misc]
