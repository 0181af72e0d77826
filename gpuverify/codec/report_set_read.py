"""The predicate of a set of reports, from its JSON tree to the model."""

from __future__ import annotations

import re

from gpuverify.codec.identity_json import PATTERNS
from gpuverify.codec.report_common import (
    ROLES,
    read_challenge,
    read_signer,
    read_subjects,
    read_version,
)
from gpuverify.codec.report_members import SHA256, UUID, Book, Node
from gpuverify.model.refusal import Refusal
from gpuverify.model.report import ReportSet, SetMember

MAX_SET = 1024
"""Most cards in one set; a rack has 72."""

_SET = frozenset(
    {
        "schemaVersion", "setId", "issuedAt", "signer", "role", "chassisSerial", "count",
        "topology", "members", "challenge",
    }
)  # fmt: skip
_MEMBER = frozenset({"slot", "reportId", "payloadSha256", "gpuUuid"})
_UUID = re.compile(PATTERNS["gpu_uuid"])


def read_set(statement: Node, book: Book) -> ReportSet:
    """Read the statement that joins the reports of one server.

    Args:
        statement: The statement.
        book: What is being read.

    Raises:
        Refused: As `report_json.load_statement`.
    """
    node = statement.node("predicate", _SET)
    version = read_version(node)
    members = tuple(
        SetMember(
            slot=item.text("slot"),
            report_id=item.text("reportId", UUID),
            payload_sha256=item.text("payloadSha256", SHA256),
            gpu_uuid=item.text("gpuUuid", _UUID),
        )
        for item in node.nodes("members", _MEMBER)
    )
    count = node.integer("count", 1)
    if len(members) > MAX_SET:
        raise node.fail("members", f"more than {MAX_SET} cards", Refusal.LIMIT)
    report_set = ReportSet(
        schema_version=version,
        set_id=node.text("setId", UUID),
        issued_s=node.time("issuedAt"),
        signer=read_signer(node),
        role=node.choice("role", ROLES),
        chassis_serial=node.text_or_none("chassisSerial"),
        count=count,
        topology=node.texts("topology"),
        members=members,
        challenge=read_challenge(node),
        ignored=book.ignored,
    )
    named = read_subjects(statement)
    meant = [(f"gpu-report:{member.report_id}", member.payload_sha256) for member in members]
    if named != meant:
        raise book.fail(
            "subject", "the subjects are not the reports of the members", Refusal.SUBJECT
        )
    if count != len(members):
        raise node.fail("count", f"{count} cards are said, {len(members)} listed", Refusal.SET)
    for part in ("slot", "report_id", "payload_sha256", "gpu_uuid"):
        if len({getattr(member, part) for member in members}) != count:
            raise node.fail("members", f"two members have one {part}", Refusal.SET)
    return report_set
