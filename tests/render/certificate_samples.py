"""Verifications made by hand around replayed cases, for the certificate. No card produced them."""
# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

import functools
from dataclasses import replace

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.identity_json import identity_of
from gpuverify.collect.replay import replay_case
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.refusal import Refusal
from gpuverify.model.report import (
    Attachment,
    Challenge,
    Check,
    Clock,
    Collector,
    Coverage,
    Method,
    Opinion,
    Previous,
    ReferenceData,
    Relation,
    Report,
    ReportSet,
    Role,
    SetMember,
    SignerInfo,
    StatedItem,
    Tool,
)
from gpuverify.model.verdict import Result
from gpuverify.model.verification import (
    Stage,
    StageResult,
    StageState,
    TimeSource,
    Verification,
)
from gpuverify.refdb import Database

MEASURED = "ga100/a100-sxm4-80gb-measured"
KEYID = "SHA256:Zm9yIHRoZSB0ZXN0cyBvZiBncHV2ZXJpZnkgb25seSE"
DIGEST = "5e" * 16 + "a7" * 16
REPORT_ID = "8d3c6c56-0f5c-4a7e-9a58-0c4a1f2b3d4e"
NOW_MS = 1_795_305_600_000

CHINESE = "上海超算服务器有限公司（浦东验货中心）"
HOSTILE = (
    "<script>document.body.textContent='owned'</script>",
    '"><img src=http://192.0.2.1/x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "]]></svg><svg onload=alert(1)>",
    "&lt;b&gt; &#x3c;i&#x3e;",
    "\u202egenuine si drac siht\u202c",
    "zero\u200bwidth\x07bell\x1b[31mred",
    "W" * 3000,
    "' onmouseover='alert(1)",
    "שלום عليكم",
)


@functools.lru_cache(maxsize=8)
def evidence(case: str = MEASURED) -> Evidence:
    found = replay_case(case, measured=True)
    device = DeviceEvidence(index=0, claims=found.devices[0].claims)
    return replace(found, evidence_class=EvidenceClass.SIGNED, devices=(device,))


@functools.lru_cache(maxsize=8)
def result(case: str = MEASURED, claim: str | None = "a100-sxm4-80gb") -> Result:
    database = Database.open()
    sale = load_sale_claim(claim, None, "used" if claim else None, None, database)
    return appraise(evidence(case), sale, load_policy("standard"), database, now_ms=NOW_MS)


def report(case: str = MEASURED, **changes: object) -> Report:
    found = evidence(case)
    own = result(case)
    device = own.devices[0]
    made = Report(
        schema_version="1.0.0",
        report_id=REPORT_ID,
        role=Role.SELLER,
        issued_s=1_795_298_460,
        measured_start_s=1_795_297_200,
        measured_end_s=1_795_298_400,
        clock=Clock.NTP,
        tool=Tool(
            name="gpuverify",
            version="0.1.0",
            files_sha256="c1" * 32,
            python="3.11.7",
            platform="Linux x86_64",
        ),
        method=Method(
            profile="full",
            version="0.1.0",
            sha256="b2" * 32,
            deviations=("the link to a second card was not measured",),
        ),
        reference_data=ReferenceData(name="gpuverify", version="2026.11.21", sha256="d4" * 32),
        signer=SignerInfo(
            name="Example Resale Ltd",
            principal="intake@reseller.example",
            keyid=KEYID,
            contact="+44 20 7946 0000",
        ),
        order="PO-17",
        location="Rotterdam",
        challenge=Challenge(
            nonce=bytes(range(32)),
            issuer="buyer@example.net",
            order="PO-17",
            issued_s=1_795_200_000,
            expires_s=1_795_459_200,
        ),
        evidence_class=EvidenceClass.LIVE,
        collector=Collector(
            nvml_library="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.14",
            nvml_sha256="e5" * 32,
            nvml_package="libnvidia-ml1 550.54.14",
            driver="550.54.14",
            kernel="6.1.0-18-amd64",
            virtualised="none",
            container="none",
            privileges="root",
            sources=("nvml", "pci-config", "procfs", "host", "cuda"),
        ),
        identity=identity_of(found.devices[0]),
        sale=(
            StatedItem(
                product="a100-sxm4-80gb",
                memory_mib=81920,
                condition="used",
                count=1,
                as_given="NVIDIA A100 80GB SXM",
            ),
        ),
        evidence=replace(found, evidence_class=EvidenceClass.CARRIED),
        document_sha256="f6" * 32,
        checks=tuple(
            Check(
                rule=one.rule,
                code=one.code,
                axis=one.axis,
                outcome=one.outcome,
                basis=one.basis,
                expected=one.expected,
                observed=one.observed,
                message=one.message,
            )
            for one in device.findings
        ),
        coverage=Coverage(
            covered=("other-product", "aliased-memory"),
            under_covered=("unlocked-mining-card", "reduced-links"),
            not_covered=("stolen-card", "repaired-board", "swapped-afterwards"),
        ),
        opinion=Opinion(
            verdict=device.verdict,
            would_be=device.would_be,
            reasons=device.reasons,
            policy_name=own.policy_name,
            policy_sha256=own.policy_sha256,
            assurance=device.assurance,
            capacity_basis=device.capacity_basis,
            condition=device.condition,
            history=device.history,
        ),
        attachments=(
            Attachment(
                name="label.jpg", media_type="image/jpeg", size_bytes=48_213, sha256="97" * 32
            ),
        ),
        previous=(
            Previous(
                report_id="0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0",
                role=Role.CARRIER,
                payload_sha256="18" * 32,
                relation=Relation.RECEIVED_WITH,
            ),
        ),
        remarks=("Two scratches on the cold plate.",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def stages(refused: Stage | None = None, note: str = "") -> tuple[StageResult, ...]:
    entries = []
    ended = False
    for stage in Stage:
        if ended:
            state, said = StageState.NOT_PERFORMED, "not reached"
        elif stage is refused:
            state, said, ended = StageState.REFUSED, note, True
        elif stage in (Stage.TIMESTAMP, Stage.LABEL):
            state, said = StageState.NOT_PERFORMED, "nothing asked for it"
        elif stage is Stage.PREVIOUS:
            state, said = StageState.WARNING, "the earlier report was not given"
        else:
            state, said = StageState.DONE, ""
        entries.append(StageResult(stage=stage, state=state, note=said))
    return tuple(entries)


def verified(
    case: str = MEASURED, claim: str | None = "a100-sxm4-80gb", **changes: object
) -> Verification:
    found = result(case, claim)
    made = Verification(
        origin="card.gpureport.json",
        stages=stages(),
        report=report(case),
        evidence=evidence(case),
        payload_sha256=DIGEST,
        keyid=KEYID,
        principal="intake@reseller.example",
        namespace="gpuverify-report",
        trusted_time_s=1_795_298_470,
        trusted_time_source=TimeSource.RFC3161,
        warnings=("the earlier report was not given",),
        result=found,
        differences=(),
        challenge_answered=True,
        exit_code=found.exit_code,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def refused(refusal: Refusal, stage: Stage, message: str) -> Verification:
    """A refusal after the signature verified."""
    return verified(
        stages=stages(stage, message),
        refusal=refusal,
        message=message,
        result=None,
        differences=(),
        challenge_answered=False,
        exit_code=refusal.exit_code,
    )


def forged() -> Verification:
    """A refusal before anything was vouched for."""
    message = "card.gpureport.json: the signature does not belong to these bytes; ask again"
    return Verification(
        origin="card.gpureport.json",
        stages=stages(Stage.SIGNATURE, message),
        refusal=Refusal.SIGNATURE,
        message=message,
        payload_sha256=DIGEST,
        exit_code=65,
    )


def with_claims(base: Report, values: dict[str, Value]) -> Report:
    """Replace what was measured."""
    claims = [claim for claim in base.evidence.devices[0].claims if claim.id not in values] + [
        Claim(id=claim_id, status=ClaimStatus.OK, value=value, source=Source.MEASURED)
        for claim_id, value in values.items()
    ]
    device = DeviceEvidence(index=0, claims=ClaimSet(tuple(claims)))
    return replace(base, evidence=replace(base.evidence, devices=(device,)))


def folded() -> Verification:
    """A card whose memory repeats after 40 GiB."""
    changed = with_claims(report(), {"capacity.class": "folded", "capacity.fold_bytes": 40 * 2**30})
    return verified(report=changed)


def hostile() -> Verification:
    """A signed report whose signer fills every text with something nasty."""
    base = report()
    nasty = "".join(HOSTILE[:7])
    changed = replace(
        base,
        signer=replace(base.signer, name=nasty, principal=HOSTILE[0], contact=HOSTILE[1]),
        order=HOSTILE[2],
        location=HOSTILE[3],
        identity=replace(base.identity, board_serial=HOSTILE[8], board_part_number=HOSTILE[7]),
        sale=(StatedItem(product=HOSTILE[1], as_given=HOSTILE[0]),),
        checks=tuple(replace(one, message=HOSTILE[0], rule=HOSTILE[1]) for one in base.checks[:3]),
        coverage=Coverage(covered=(HOSTILE[0],), under_covered=HOSTILE[1:3], not_covered=()),
        opinion=replace(base.opinion, reasons=HOSTILE),
        attachments=(replace(base.attachments[0], name=HOSTILE[0]),),
        remarks=HOSTILE,
        report_id=HOSTILE[2],
    )
    return verified(
        report=changed,
        origin=HOSTILE[1],
        principal=HOSTILE[0],
        warnings=HOSTILE[:3],
        differences=HOSTILE[:3],
        ignored=HOSTILE[:2],
    )


def chinese() -> Verification:
    base = report()
    changed = replace(
        base,
        signer=replace(base.signer, name=CHINESE, contact="客服电话：400-000-0000"),
        location="上海市浦东新区张江高科技园区",
        order="采购单 2026-117",
        sale=(
            StatedItem(product="a100-sxm4-80gb", as_given="英伟达 A100 80GB 拆机卡，成色九五新"),
        ),
        remarks=("外观：散热板有两道划痕，金手指无磨损。" * 6, "未拆封条。"),
    )
    return verified(report=changed, principal="yanhuo@示例.example")


def report_set() -> Verification:
    members = tuple(
        SetMember(
            slot=f"SXM{number}",
            report_id=f"8d3c6c56-0f5c-4a7e-9a58-0c4a1f2b3d{number:02x}",
            payload_sha256=f"{number:02x}" * 32,
            gpu_uuid=f"GPU-5d2d1a4c-0000-4000-8000-0000000010{number:02x}",
        )
        for number in range(8)
    )
    made = ReportSet(
        schema_version="1.0.0",
        set_id="2b3d4e8d-0f5c-4a7e-9a58-3c6c560c4a1f",
        issued_s=1_795_298_460,
        signer=report().signer,
        role=Role.SELLER,
        chassis_serial="CN7792194A0123",
        count=8,
        topology=("every card has 12 links of NVLink",),
        members=members,
        challenge=None,
    )
    return verified(report=None, report_set=made, result=None, exit_code=3)
