"""Building a report from evidence and its appraisal: nothing is stated that they do not hold."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpuverify import __version__
from gpuverify.codec import strict_json
from gpuverify.codec.evidence_json import evidence_sha256
from gpuverify.codec.identity_json import identity_of
from gpuverify.codec.report_claims import ordered
from gpuverify.codec.utc_time import utc_text
from gpuverify.errors import UsageError
from gpuverify.model.claims import Claim, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Finding
from gpuverify.model.report import (
    SCHEMA_VERSION,
    Attachment,
    Challenge,
    Check,
    Clock,
    Collector,
    Method,
    Opinion,
    Previous,
    ReferenceData,
    Report,
    ReportSet,
    Role,
    SetMember,
    SignerInfo,
    StatedItem,
    Tool,
)
from gpuverify.model.sale import SaleItem
from gpuverify.model.verdict import DeviceResult, Result
from gpuverify.rules import RULES
from gpuverify.signing.challenge import measurement_nonce
from gpuverify.signing.coverage import coverage

NAME = "gpuverify"

_MIB_PER_GB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the signer adds to the evidence; the same for all cards of a run.

    Attributes:
        signer: Who says so.
        role: In which capacity.
        challenge: The challenge that is answered, None for none.
        order: Reference of the purchase, None if not given.
        location: Where it was done, None if not given.
        clock: How this machine's clock is kept.
        attachments: Files that travel beside the report.
        previous: Earlier reports.
        remarks: Free text.
    """

    signer: SignerInfo
    role: Role
    challenge: Challenge | None = None
    order: str | None = None
    location: str | None = None
    clock: Clock = Clock.UNKNOWN
    attachments: tuple[Attachment, ...] = ()
    previous: tuple[Previous, ...] = ()
    remarks: tuple[str, ...] = ()


def build_report(
    evidence: Evidence,
    result: Result,
    device_index: int,
    terms: Terms,
    *,
    now_s: int,
    report_id: str | None = None,
) -> Report:
    """Build the report of one card.

    The class of evidence is the one that the reader of the evidence set; no argument changes it.

    Args:
        evidence: All claims of the run.
        result: Its appraisal.
        device_index: Index of the card.
        terms: What the signer adds.
        now_s: The time, Unix seconds (UTC).
        report_id: UUID, drawn where None.

    Returns:
        The report, unsigned.

    Raises:
        Refused: E_SUBJECT, the card cannot be named (see `identity_of`).
        UsageError: The evidence was collected after `now_s`, or does not answer the challenge.
    """
    device = next(item for item in evidence.devices if item.index == device_index)
    judged = next(item for item in result.devices if item.device.index == device_index)
    own = replace(
        evidence,
        devices=(DeviceEvidence(index=device.index, claims=ClaimSet(ordered(device.claims))),),
        stated=(),
    )
    stated = evidence.evidence_class
    if stated is EvidenceClass.SIGNED:  # somebody else's statement, read from a file
        stated = EvidenceClass.CARRIED
    start, end = _measured(own, now_s)
    if evidence.evidence_class is not EvidenceClass.REPLAYED:  # a recording answers nobody
        _check_challenge(evidence.host, terms.challenge)
    findings = (*judged.findings, *result.batch.findings)
    return Report(
        schema_version=SCHEMA_VERSION,
        report_id=report_id or str(uuid.uuid4()),
        role=terms.role,
        issued_s=now_s,
        measured_start_s=start,
        measured_end_s=end,
        clock=terms.clock,
        tool=_tool(evidence),
        method=_method(evidence, device),
        reference_data=ReferenceData(
            name=NAME, version=result.refdb_version, sha256=result.refdb_sha256
        ),
        signer=terms.signer,
        order=terms.order,
        location=terms.location,
        challenge=terms.challenge,
        evidence_class=stated,
        collector=_collector(evidence),
        identity=identity_of(device),
        sale=() if judged.sale is None else (_stated(judged.sale),),
        evidence=own,
        document_sha256=evidence_sha256(evidence),
        checks=tuple(_check(finding) for finding in judged.findings),
        coverage=coverage(findings),
        opinion=_opinion(judged, result),
        attachments=terms.attachments,
        previous=terms.previous,
        remarks=terms.remarks,
    )


def build_set(
    reports: Sequence[tuple[Report, bytes]],
    terms: Terms,
    *,
    now_s: int,
    set_id: str | None = None,
) -> ReportSet:
    """Build the statement that joins the reports of one machine.

    Args:
        reports: Each report with its payload bytes, in the order of the cards.
        terms: What the signer adds; attachments, earlier reports and remarks stand in the reports.
        now_s: The time, Unix seconds (UTC).
        set_id: UUID, drawn where None.

    Returns:
        The set, unsigned.

    Raises:
        UsageError: Two cards have one UUID, or the cards name more than one chassis.
    """
    uuids = [report.identity.gpu_uuid for report, _ in reports]
    if len(set(uuids)) != len(uuids):
        twice = next(item for item in uuids if uuids.count(item) > 1)
        raise UsageError(
            f"two cards have the UUID {twice}: no set can tell them apart; sign them one by one"
            " with --gpu"
        )
    claims = [report.evidence.devices[0].claims for report, _ in reports]
    chassis = {value for item in claims if (value := item.value("platform.chassis_serial"))}
    if len(chassis) > 1:
        raise UsageError("the cards name more than one chassis; sign each chassis with --gpu")
    slots = _slots(claims)
    return ReportSet(
        schema_version=SCHEMA_VERSION,
        set_id=set_id or str(uuid.uuid4()),
        issued_s=now_s,
        signer=terms.signer,
        role=terms.role,
        chassis_serial=str(chassis.pop()) if chassis else None,
        count=len(reports),
        topology=tuple(_links(slot, item) for slot, item in zip(slots, claims, strict=True)),
        members=tuple(
            SetMember(
                slot=slot,
                report_id=report.report_id,
                payload_sha256=hashlib.sha256(payload).hexdigest(),
                gpu_uuid=report.identity.gpu_uuid,
            )
            for slot, (report, payload) in zip(slots, reports, strict=True)
        ),
        challenge=terms.challenge,
    )


def _measured(evidence: Evidence, now_s: int) -> tuple[int | None, int | None]:
    """Return the seconds of the first and the last claim; None where nothing has a time."""
    claims: tuple[Claim, ...] = (*evidence.host, *evidence.devices[0].claims)
    # A replay's claims stand at 0: no time, rather than 1970.
    times = [claim.time_ms for claim in claims if claim.time_ms is not None and claim.time_ms > 0]
    if evidence.collected_ms is not None and evidence.collected_ms > 0:
        times.append(evidence.collected_ms)
    if not times:
        return None, None
    start, end = min(times) // 1000, max(times) // 1000
    if end > now_s:
        raise UsageError(
            f"the evidence was collected until {utc_text(end)}, after this machine's time"
            f" {utc_text(now_s)}; set the clock, then sign"
        )
    return start, end


def _check_challenge(host: ClaimSet, challenge: Challenge | None) -> None:
    """Refuse a measurement that was keyed with something else than the challenge."""
    used = host.value("measure.nonce", Source.MEASURED)
    if challenge is None or used is None or used == measurement_nonce(challenge):
        return
    raise UsageError(
        "the cards were measured with another nonce than this challenge gives; measure anew with"
        " gpuverify check --measure … --challenge FILE"
    )


def _own_process(evidence: Evidence) -> bool:
    """Whether this very process collected the evidence."""
    return evidence.evidence_class is EvidenceClass.LIVE


def _tool(evidence: Evidence) -> Tool:
    """Say what collected the claims."""
    name, _, version = evidence.tool.rpartition(" ")
    digest = evidence.host.value("tool.sha256")
    live = _own_process(evidence)
    return Tool(
        name=name or version or "unknown",
        version=version if name else "",
        files_sha256=str(digest) if digest is not None else None,
        python=platform.python_version() if live else None,
        platform=f"{sys.platform} {platform.machine()}" if live else None,
    )


@functools.lru_cache(maxsize=1)
def rules_sha256() -> str:
    """Return the digest over the ids of all rules and their codes, in hex."""
    table = [[rule.id, sorted(code.id for code in rule.codes)] for rule in RULES]
    return hashlib.sha256(strict_json.canonical(table)).hexdigest()


def _method(evidence: Evidence, device: DeviceEvidence) -> Method:
    """Say what was done, and what was left out."""
    level = evidence.host.value("measure.level", Source.MEASURED)
    deviations = [
        f"source {claim.id.removeprefix('source.')}: {claim.value or claim.status.value}"
        for claim in evidence.host
        if claim.id.startswith("source.") and claim.value != "ok"
    ]
    state = device.claims.value("measure.state", Source.MEASURED)
    if state not in (None, "done"):
        deviations.append(f"measurement: {state}")
    if others := device.claims.value("measure.foreign_processes", Source.MEASURED):
        deviations.append(f"measured beside {others} processes of others")
    return Method(
        profile=str(level) if level in ("quick", "full") else "none",
        version=__version__,
        sha256=rules_sha256(),
        deviations=tuple(deviations),
    )


def _collector(evidence: Evidence) -> Collector:
    """Repeat for people what stood between the card and the claims."""

    def said(claim_id: str) -> str | None:
        value = evidence.host.value(claim_id)
        return None if value is None else str(value)

    privileges = None
    if _own_process(evidence) and hasattr(os, "geteuid"):
        privileges = "root" if os.geteuid() == 0 else "user"
    return Collector(
        nvml_library=said("library.path"),
        nvml_sha256=said("library.sha256"),
        nvml_package=said("library.package"),
        driver=said("driver.version"),
        kernel=said("host.kernel_release"),
        virtualised=said("host.virtual_machine"),
        container=said("host.container"),
        privileges=privileges,
        sources=tuple(
            claim.id.removeprefix("source.")
            for claim in evidence.host
            if claim.id.startswith("source.") and claim.value == "ok"
        ),
    )


def _stated(item: SaleItem) -> StatedItem:
    """Put what is sold into the signer's words."""
    return StatedItem(
        product=item.product.id,
        memory_mib=_memory_mib(item),
        condition=None if item.condition is None else item.condition.value,
        count=item.count,
        max_hours=item.max_hours,
        as_given=item.as_given,
    )


def _memory_mib(item: SaleItem) -> int | None:
    """Return the memory label as a number, where the product has exactly one."""
    labels = item.product.memory_labels
    number = labels[0].upper().removesuffix("GB") if len(labels) == 1 else ""
    return int(number) * _MIB_PER_GB if number.isdigit() and int(number) else None


def _check(finding: Finding) -> Check:
    """Turn a finding into what the signer states of it."""
    return Check(
        rule=finding.rule,
        code=finding.code,
        axis=finding.axis,
        outcome=finding.outcome,
        basis=finding.basis,
        expected=finding.expected,
        observed=finding.observed,
        message=finding.message,
    )


def _opinion(judged: DeviceResult, result: Result) -> Opinion:
    """Return the verdict over one card, as it was reached."""
    return Opinion(
        verdict=judged.verdict,
        would_be=judged.would_be,
        reasons=judged.reasons,
        policy_name=result.policy_name,
        policy_sha256=result.policy_sha256,
        assurance=judged.assurance,
        capacity_basis=judged.capacity_basis,
        condition=judged.condition,
        history=judged.history,
    )


def _slots(claims: Sequence[ClaimSet]) -> list[str]:
    """Name the place of each card: by the first of slot, module or bus id that tells all apart."""
    namings: tuple[tuple[str, Callable[[ClaimSet], object]], ...] = (
        ("slot ", lambda item: item.value("platform.slot_number")),
        ("module ", lambda item: item.value("gpu.module_id")),
        ("", lambda item: item.value("pci.bus_id")),
    )
    for prefix, naming in namings:
        found = [naming(item) for item in claims]
        if None not in found and len(set(found)) == len(found):
            return [f"{prefix}{value}" for value in found]
    return [f"card {number}" for number in range(len(claims))]


def _links(slot: str, claims: ClaimSet) -> str:
    """Say in one line how a card is linked."""
    bus = claims.value("pci.bus_id")
    exist, up = claims.value("nvlink.link_count"), claims.value("nvlink.active_count")
    speed = claims.value("nvlink.link_speed_kb_s")
    words = [f"bus {bus}" if bus is not None else "bus not known"]
    if exist is None:
        words.append("NVLinks not known")
    else:
        words.append(f"{exist} NVLinks, {up if up is not None else 'unknown'} up")
    if speed is not None:
        words.append(f"{speed} kB/s a link and direction")
    return f"{slot}: {', '.join(words)}"
