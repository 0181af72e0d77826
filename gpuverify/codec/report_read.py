"""The predicates of a report and of a set, from their JSON trees to the model."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

from gpuverify.codec.identity_json import (
    PATTERNS,
    VENDOR,
    identity_of,
    identity_sha256,
    subject_name,
)
from gpuverify.codec.report_claims import PARTS, read_claims
from gpuverify.codec.report_common import (
    ROLES,
    read_challenge,
    read_signer,
    read_subjects,
    read_version,
)
from gpuverify.codec.report_members import (
    REFDB_VERSION,
    SHA256,
    UUID,
    Book,
    Node,
    are_words,
)
from gpuverify.codec.slots import maker
from gpuverify.codec.text import printable
from gpuverify.model.claims import Basis, Claim
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import (
    IDENTITY_SCHEMA,
    Attachment,
    Check,
    Clock,
    Collector,
    Coverage,
    Identity,
    Method,
    Opinion,
    Previous,
    ReferenceData,
    Relation,
    Report,
    StatedItem,
    Tool,
)
from gpuverify.model.verdict import ConditionState, HistoryState, Verdict

if TYPE_CHECKING:
    from gpuverify.codec.report_typed import TypedStatement

PROFILES = ("none", "quick", "full")
"""How much was measured."""

CONDITIONS = ("new", "refurbished", "used")
"""Conditions that a card is sold in."""

PRIVILEGES = ("root", "user")
"""What the collecting process might do."""

STATED_CLASSES = ("live", "replayed", "carried", "imported")
"""Classes of evidence that a signer can state; "signed" is the reader's word alone."""

ATTACHMENT_NAME = re.compile(r"(?!\.)[^/\\:]{1,255}")
"""A file name that is no path on any system, and no hidden file."""

MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
"""RFC 6838 section 4.2, in lower case and without parameters."""

_REPORT = frozenset(
    {
        "schemaVersion", "reportId", "role", "issuedAt", "measured", "tool", "method",
        "referenceData", "signer", "order", "location", "challenge", "evidenceClass", "collector",
        "identity", "sale", "evidence", "checks", "coverage", "verdict", "attachments", "previous",
        "remarks",
    }
)  # fmt: skip
_MEASURED = frozenset({"start", "end", "clock"})
_TOOL = frozenset({"name", "version", "filesSha256", "python", "platform"})
_METHOD = frozenset({"profile", "version", "sha256", "deviations"})
_NAMED = frozenset({"name", "version", "sha256"})
_COLLECTOR = frozenset(
    {
        "nvmlLibrary", "nvmlSha256", "nvmlPackage", "driver", "kernel", "virtualised", "container",
        "privileges", "sources",
    }
)  # fmt: skip
_IDENTITY = frozenset({"schema", "vendor", *PATTERNS})
_SALE = frozenset({"product", "memoryMib", "condition", "count", "maxHours", "asGiven"})
_EVIDENCE = frozenset({"tool", "collectedMs", "deviceIndex", "documentSha256", *PARTS})
_CHECK_NAMES = (
    "rule", "code", "axis", "outcome", "basis", "expected", "observed", "message",
)  # fmt: skip
_CHECK = frozenset(_CHECK_NAMES)
_check_words = operator.itemgetter(*_CHECK_NAMES)
_make_check = maker(Check)
_COVERAGE = frozenset({"covered", "underCovered", "notCovered"})
_OPINION = frozenset(
    {
        "result", "wouldBe", "reasons", "policy", "assurance", "capacityBasis", "condition",
        "history",
    }
)  # fmt: skip
_POLICY = frozenset({"name", "sha256"})
_ATTACHMENT = frozenset({"name", "mediaType", "size", "sha256"})
_PREVIOUS = frozenset({"reportId", "role", "payloadSha256", "relation"})

_CLOCKS = {clock.value: clock for clock in Clock}
_RELATIONS = {relation.value: relation for relation in Relation}
_AXES = {axis.value: axis for axis in Axis}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_BASES = {basis.value: basis for basis in Basis}
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_CONDITION_STATES = {state.value: state for state in ConditionState}
_HISTORY_STATES = {state.value: state for state in HistoryState}
_CLASSES = {word: EvidenceClass(word) for word in STATED_CLASSES}
_FORMS = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_PROFILES = {word: word for word in PROFILES}
_CONDITIONS = {word: word for word in CONDITIONS}
_PRIVILEGES = {word: word for word in PRIVILEGES}


def read_report(statement: Node, book: Book, typed: TypedStatement | None = None) -> Report:
    """Read the statement of one card.

    Args:
        statement: The statement.
        book: What is being read.
        typed: The claims and findings, where they are read already.

    Raises:
        Refused: As `report_json.load_statement`.
    """
    node = statement.node("predicate", _REPORT)
    version = read_version(node)
    identity = _identity(node)
    measured = node.node("measured", _MEASURED)
    report_id = node.text("reportId", UUID)
    place = node.node("evidence", _EVIDENCE)
    report = Report(
        schema_version=version,
        report_id=report_id,
        role=node.choice("role", ROLES),
        issued_s=node.time("issuedAt"),
        measured_start_s=measured.time_or_none("start"),
        measured_end_s=measured.time_or_none("end"),
        clock=measured.choice("clock", _CLOCKS),
        tool=_tool(node),
        method=_method(node),
        reference_data=_reference_data(node),
        signer=read_signer(node),
        order=node.text_or_none("order"),
        location=node.text_or_none("location"),
        challenge=read_challenge(node),
        evidence_class=_stated_class(node),
        collector=_collector(node),
        identity=identity,
        sale=tuple(_item(item) for item in node.nodes("sale", _SALE)),
        evidence=_evidence(place, book, typed),
        document_sha256=place.text("documentSha256", SHA256),
        checks=_checks(node, book) if typed is None else typed.checks,
        coverage=_coverage(node),
        opinion=_opinion(node),
        attachments=_attachments(node),
        previous=tuple(_previous(item) for item in node.nodes("previous", _PREVIOUS)),
        remarks=node.texts("remarks", needed=False),
    )
    _check_subject(statement, report, book)
    if not book.ignored:
        return report
    from dataclasses import replace

    return replace(report, ignored=book.ignored)


def _identity(node: Node) -> Identity:
    """Read the identity document; inside its version it has these members and no other."""
    inner = node.node("identity", _IDENTITY)
    if inner.text("schema") != IDENTITY_SCHEMA or inner.text("vendor") != VENDOR:
        raise inner.fail("schema", f"has to be {IDENTITY_SCHEMA!r}, of vendor {VENDOR!r}")
    if set(node.raw("identity")) != _IDENTITY:
        raise node.fail("identity", "has a member too many or too few")
    return Identity(
        vendor=VENDOR,
        gpu_uuid=inner.text("gpu_uuid", _FORMS["gpu_uuid"]),
        board_serial=inner.text_or_none("board_serial", _FORMS["board_serial"]),
        board_part_number=inner.text_or_none("board_part_number", _FORMS["board_part_number"]),
        pci_device_id=inner.text("pci_device_id", _FORMS["pci_device_id"]),
        pci_subsystem_id=inner.text("pci_subsystem_id", _FORMS["pci_subsystem_id"]),
    )


def _stated_class(node: Node) -> EvidenceClass:
    """Read the class that the signer states; a word that is none is no live evidence."""
    word = node.text("evidenceClass", empty=True)
    found = _CLASSES.get(word)
    if found is None:
        raise node.fail(
            "evidenceClass", f"has to be one of {', '.join(STATED_CLASSES)}", Refusal.SIMULATED
        )
    return found


def _tool(node: Node) -> Tool:
    """Read what collected."""
    tool = node.node("tool", _TOOL)
    return Tool(
        name=tool.text("name"),
        version=tool.text("version", empty=True),
        files_sha256=tool.text_or_none("filesSha256", SHA256),
        python=tool.text_or_none("python"),
        platform=tool.text_or_none("platform"),
    )


def _method(node: Node) -> Method:
    """Read what was done."""
    method = node.node("method", _METHOD)
    return Method(
        profile=method.choice("profile", _PROFILES),
        version=method.text("version"),
        sha256=method.text("sha256", SHA256),
        deviations=method.texts("deviations"),
    )


def _reference_data(node: Node) -> ReferenceData:
    """Read what it was compared with."""
    data = node.node("referenceData", _NAMED)
    return ReferenceData(
        name=data.text("name"),
        version=data.text("version", REFDB_VERSION),
        sha256=data.text("sha256", SHA256),
    )


def _collector(node: Node) -> Collector:
    """Read what stood between the card and the claims."""
    inner = node.node("collector", _COLLECTOR)
    return Collector(
        nvml_library=inner.text_or_none("nvmlLibrary"),
        nvml_sha256=inner.text_or_none("nvmlSha256", SHA256),
        nvml_package=inner.text_or_none("nvmlPackage"),
        driver=inner.text_or_none("driver"),
        kernel=inner.text_or_none("kernel"),
        virtualised=inner.text_or_none("virtualised"),
        container=inner.text_or_none("container"),
        privileges=inner.choice_or_none("privileges", _PRIVILEGES),
        sources=inner.texts("sources"),
    )


def _item(item: Node) -> StatedItem:
    """Read one line of what is sold."""
    return StatedItem(
        product=item.text("product"),
        memory_mib=item.integer_or_none("memoryMib", 1),
        condition=item.choice_or_none("condition", _CONDITIONS),
        count=item.integer_or_none("count", 1),
        max_hours=item.integer_or_none("maxHours"),
        as_given=item.text("asGiven", empty=True),
    )


def _evidence(place: Node, book: Book, typed: TypedStatement | None) -> Evidence:
    """Read the claims; a claim belongs to one place and stands there once."""
    parts = {part: _part(place, part, book) for part in PARTS} if typed is None else typed.claims
    device = [*parts["device"], *parts["counters"], *parts["fingerprint"]]
    claims, host = ClaimSet(tuple(device)), ClaimSet(tuple(parts["host"]))
    if len(claims) != len(device) or len(host) != len(parts["host"]):
        raise book.fail(place.path, "two claims have one id and source")
    index = place.integer("deviceIndex")
    return Evidence(
        evidence_class=EvidenceClass.CARRIED,
        origin=book.origin,
        tool=place.text("tool"),
        collected_ms=place.integer_or_none("collectedMs"),
        devices=(DeviceEvidence(index=index, claims=claims),),
        host=host,
    )


def _part(place: Node, part: str, book: Book) -> list[Claim]:
    """Read the claims of one place."""
    path = place.where(part)

    def fail(number: int, reason: str) -> Refused:
        return book.fail(f"{path}[{number}]", reason)

    def unknown(name: str) -> None:
        book.ignore(path, name)

    return read_claims(place.items(part), part, fail, unknown)


def _checks(node: Node, book: Book) -> tuple[Check, ...]:
    """Read the signer's findings; there are many, so that each is taken apart by hand."""
    checks: list[Check] = []
    items: list[Any] = node.items("checks")
    for number, tree in enumerate(items):
        if type(tree) is not dict:
            raise node.fail(f"checks[{number}]", "has to be an object")
        try:
            rule, code, axis, outcome, basis, expected, observed, message = _check_words(tree)
            check = _make_check(
                rule, code, _AXES[axis], _OUTCOMES[outcome], _BASES[basis],
                expected, observed, message,
            )  # fmt: skip
            fits = are_words((rule, code))
        except KeyError as error:
            reason = f"missing member or unknown word {printable(str(error), 80)}"
            raise node.fail(f"checks[{number}]", reason) from None
        except TypeError:  # an array or object, or a number, where a word has to be
            raise node.fail(f"checks[{number}]", "all its members have to be strings") from None
        if not fits or not type(expected) is type(observed) is type(message) is str:
            raise node.fail(f"checks[{number}]", "rule and code have to be ids, the rest strings")
        checks.append(check)
        if len(tree) != len(_CHECK):
            for name in sorted(tree.keys() - _CHECK):
                book.ignore("predicate.checks", name)
    return tuple(checks)


def _coverage(node: Node) -> Coverage:
    """Read what the run spoke to; a kind of fraud stands once."""
    inner = node.node("coverage", _COVERAGE)
    coverage = Coverage(
        covered=inner.texts("covered"),
        under_covered=inner.texts("underCovered"),
        not_covered=inner.texts("notCovered"),
    )
    kinds = [*coverage.covered, *coverage.under_covered, *coverage.not_covered]
    if len(set(kinds)) != len(kinds) or not are_words(kinds):
        raise node.fail("coverage", "each kind of fraud has an id and stands once")
    return coverage


def _opinion(node: Node) -> Opinion:
    """Read the signer's verdict."""
    inner = node.node("verdict", _OPINION)
    policy = inner.node("policy", _POLICY)
    return Opinion(
        verdict=inner.choice("result", _VERDICTS),
        would_be=inner.choice_or_none("wouldBe", _VERDICTS),
        reasons=inner.texts("reasons"),
        policy_name=policy.text("name"),
        policy_sha256=policy.text("sha256", SHA256),
        assurance=inner.choice("assurance", _BASES),
        capacity_basis=inner.choice_or_none("capacityBasis", _BASES),
        condition=inner.choice("condition", _CONDITION_STATES),
        history=inner.choice("history", _HISTORY_STATES),
    )


def _attachments(node: Node) -> tuple[Attachment, ...]:
    """Read the files that travel beside the report; none has a path for a name."""
    found: list[Attachment] = []
    for item in node.nodes("attachments", _ATTACHMENT, needed=False):
        name = item.text("name")
        if ATTACHMENT_NAME.fullmatch(name) is None:
            raise item.fail("name", "has to be a file name without a folder", Refusal.ATTACHMENT)
        if any(name == other.name for other in found):
            raise item.fail("name", "stands twice", Refusal.ATTACHMENT)
        found.append(
            Attachment(
                name=name,
                media_type=item.text("mediaType", MEDIA_TYPE),
                size_bytes=item.integer("size"),
                sha256=item.text("sha256", SHA256),
            )
        )
    return tuple(found)


def _previous(item: Node) -> Previous:
    """Read an earlier report of the chain."""
    return Previous(
        report_id=item.text("reportId", UUID),
        role=item.choice("role", ROLES),
        payload_sha256=item.text("payloadSha256", SHA256),
        relation=item.choice("relation", _RELATIONS),
    )


def _check_subject(statement: Node, report: Report, book: Book) -> None:
    """Hold subject, identity document and claims against each other."""
    identity = report.identity
    named = read_subjects(statement)
    if named != [(subject_name(identity), identity_sha256(identity))]:
        raise book.fail("subject", "is not the one card of the identity document", Refusal.SUBJECT)
    try:
        described = identity_of(report.evidence.devices[0])
    except Refused as refused:
        reason = refused.reason.partition(";")[0]
        raise book.fail("predicate.evidence", reason, Refusal.SUBJECT) from None
    if described != identity:
        raise book.fail(
            "predicate.identity", "is not the card that the claims describe", Refusal.SUBJECT
        )
