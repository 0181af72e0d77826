"""Reports for the tests of their format: every member has a value, and one of its own."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.report_json import dump_report, dump_set, load_statement
from gpuverify.collect.replay import replay_case
from gpuverify.model.claims import Basis
from gpuverify.model.evidence import ClaimSet, Evidence
from gpuverify.model.refusal import Refused
from gpuverify.model.report import (
    Attachment,
    Challenge,
    Clock,
    Collector,
    Method,
    Previous,
    Relation,
    Report,
    ReportSet,
    Role,
    SignerInfo,
    StatedItem,
    Tool,
)
from gpuverify.model.verdict import Result, Verdict
from gpuverify.refdb import Database
from gpuverify.signing.build import Terms, build_report, build_set

CARD = "ga100/a100-sxm4-80gb"
SERVER = "ga100/a100-sxm4-80gb-x8"
READ_S = 1_760_000_000
NOW_S = READ_S + 3600

Tree = dict[str, Any]


@functools.lru_cache(maxsize=1)
def database() -> Database:
    return Database.open()


def dated(evidence: Evidence) -> Evidence:
    """Give every claim a time of its own, as a live run does."""
    count = 0

    def stamped(claims: ClaimSet) -> ClaimSet:
        nonlocal count
        made = []
        for claim in claims:
            count += 1
            made.append(replace(claim, time_ms=READ_S * 1000 + count * 7))
        return ClaimSet(tuple(made))

    return replace(
        evidence,
        collected_ms=READ_S * 1000,
        host=stamped(evidence.host),
        devices=tuple(replace(d, claims=stamped(d.claims)) for d in evidence.devices),
    )


@functools.lru_cache(maxsize=16)
def appraised(case: str = CARD, claim: str | None = "a100-sxm4-80gb") -> tuple[Evidence, Result]:
    evidence = dated(replay_case(case, measured=True))
    sale = load_sale_claim(claim, None, None, None, database())
    policy = load_policy("standard")
    return evidence, appraise(evidence, sale, policy, database(), now_ms=NOW_S * 1000)


def terms(**more: Any) -> Terms:
    signer = SignerInfo(
        name="Card Seller", principal="sales@seller.example", keyid="SHA256:" + "Ab3/" * 10 + "xyz"
    )
    return Terms(**{"signer": signer, "role": Role.SELLER, **more})


def report_of(case: str = CARD, device: int = 0, **more: Any) -> Report:
    evidence, result = appraised(case)
    return build_report(evidence, result, device, terms(**more), now_s=NOW_S)


@functools.lru_cache(maxsize=1)
def plain_report() -> Report:
    return report_of()


@functools.lru_cache(maxsize=1)
def full_report() -> Report:
    """A report in which no member has its default."""
    signer = SignerInfo(
        name="卡片 Händler",
        principal="lab@example.org",
        keyid="SHA256:" + "k" * 43,
        contact="+49 30 1234",
    )
    challenge = Challenge(
        nonce=bytes(range(32)), issuer="buyer", order="PO-17", issued_s=READ_S - 5, expires_s=NOW_S
    )
    previous = Previous(
        report_id="01234567-89ab-4cde-8f01-23456789abcd",
        role=Role.SELLER,
        payload_sha256="a1" * 32,
        relation=Relation.COMPARES_TO,
    )
    photo = Attachment(name="label.jpg", media_type="image/jpeg", size_bytes=77, sha256="b2" * 32)
    base = report_of()
    return replace(
        base,
        role=Role.LAB,
        clock=Clock.NTP,
        tool=Tool(name="tool", version="9.8", files_sha256="c3" * 32, python="3.11", platform="x"),
        method=Method(profile="full", version="0.9", sha256="d4" * 32, deviations=("left out",)),
        signer=signer,
        order="PO-18",
        location="Rotterdam",
        challenge=challenge,
        collector=Collector(
            nvml_library="/lib/a",
            nvml_sha256="e5" * 32,
            nvml_package="pkg",
            driver="580.1",
            kernel="6.8",
            virtualised="none",
            container="docker",
            privileges="root",
            sources=("nvml", "host"),
        ),
        sale=(
            StatedItem(
                product="a100-sxm4-80gb",
                memory_mib=81920,
                condition="used",
                count=3,
                max_hours=900,
                as_given="A100 80 GB",
            ),
        ),
        opinion=replace(base.opinion, would_be=Verdict.CONSISTENT, capacity_basis=Basis.MEASURED),
        attachments=(photo,),
        previous=(previous,),
        remarks=("<script>alert(1)</script>", "外观完好", 'a "quoted" word \\ and'),
    )


@functools.lru_cache(maxsize=2)
def sample_set() -> tuple[ReportSet, tuple[Report, ...]]:
    evidence, result = appraised(SERVER)
    made = terms()
    reports = tuple(
        build_report(evidence, result, device.index, made, now_s=NOW_S)
        for device in evidence.devices
    )
    pairs = [(report, dump_report(report)) for report in reports]
    return build_set(pairs, made, now_s=NOW_S), reports


def as_read(report: Report, origin: str) -> Report:
    """The report as a reader sees it: the evidence was carried, and comes from there."""
    from gpuverify.model.evidence import EvidenceClass

    evidence = replace(
        report.evidence, origin=origin, evidence_class=EvidenceClass.CARRIED, stated=()
    )
    return replace(report, evidence=evidence)


def canonical(tree: object) -> bytes:
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


@functools.lru_cache(maxsize=4)
def payload(full: bool = False) -> bytes:
    return dump_report(full_report() if full else plain_report())


def set_payload() -> bytes:
    return dump_set(sample_set()[0])


def resubject(tree: Tree) -> None:
    """Make the subject that of the identity in the tree, as a forger would."""
    identity = tree["predicate"]["identity"]
    name = identity["board_serial"] or identity["gpu_uuid"]
    digest = hashlib.sha256(canonical(identity)).hexdigest()
    tree["subject"] = [{"name": f"gpu:nvidia:{name}", "digest": {"sha256": digest}}]


def edited(change: Callable[[Tree], object], data: bytes | None = None) -> bytes:
    tree = copy.deepcopy(json.loads(data or payload()))
    change(tree)
    return canonical(tree)


def code_of(data: bytes) -> str:
    """Return the code of the refusal, "OK" if there is none."""
    try:
        load_statement(data, "x")
    except Refused as refused:
        return refused.refusal.value
    return "OK"
