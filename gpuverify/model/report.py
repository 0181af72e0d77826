"""The signed report: one card as its signer states it, and the set that a server's cards form.

Nothing here is believed because it was signed. A report carries the claims that a verifier judges
anew, and the signer's opinion beside them as his words.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuverify.model.claims import Basis
from gpuverify.model.evidence import Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.verdict import ConditionState, HistoryState, Verdict

PREDICATE_REPORT = "urn:gpuverify:report:v1"
"""The `predicateType` of a report. Never changes inside major version 1."""

PREDICATE_SET = "urn:gpuverify:report-set:v1"
"""The `predicateType` of the statement that joins the reports of one server."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""The `_type` of an in-toto Statement."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The DSSE `payloadType` of an in-toto Statement."""

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The `mediaType` of the file that a report travels in."""

IDENTITY_SCHEMA = "gpuverify/identity/v1"
"""The schema of the identity document; its members never change inside v1."""

CHALLENGE_SCHEMA = "gpuverify/challenge/v1"
"""The schema of a challenge file."""

SCHEMA_VERSION = "1.0.0"
"""The version of the predicate that this tool writes; another major version is not read."""

NONCE_BYTES = 32
"""Length of a challenge's nonce."""


class Role(enum.Enum):
    """In which capacity a signer speaks. It has to be granted to the key by the reader."""

    SELLER = "seller"
    CARRIER = "carrier"
    INTAKE = "intake"
    LAB = "lab"
    OWNER = "owner"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__


class Clock(enum.Enum):
    """How far the clock that the times were read from can be trusted, as the signer states it."""

    NTP = "ntp"
    MANUAL = "manual"
    UNKNOWN = "unknown"


class Relation(enum.Enum):
    """What an earlier report is to this one."""

    RECEIVED_WITH = "received-with"
    COMPARES_TO = "compares-to"
    SUPERSEDES = "supersedes"
    CHILD_OF = "child-of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which card it is, by what every driver generation gives, so that two readers agree.

    Attributes:
        vendor: "nvidia" (PCI vendor 10de).
        gpu_uuid: `GPU-` and a lower-case UUID.
        board_serial: Board serial number, upper-case letters and digits; None on GeForce boards.
        board_part_number: Board part number; None where the InfoROM has none.
        pci_device_id: `vvvv:dddd`, lower-case hex.
        pci_subsystem_id: `vvvv:dddd`, lower-case hex.
    """

    vendor: str
    gpu_uuid: str
    board_serial: str | None
    board_part_number: str | None
    pci_device_id: str
    pci_subsystem_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """The program that collected the claims.

    Attributes:
        name: e.g. "gpuverify".
        version: Its version, "" where it did not say.
        files_sha256: SHA-256 over its own files as it saw them, None where not known.
        python: Python version it ran on, None where not known.
        platform: Operating system and machine type, None where not known.
    """

    name: str
    version: str
    files_sha256: str | None = None
    python: str | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What was done to the card (ISO/IEC 17025 7.8.2.1 f and n).

    Attributes:
        profile: How much was measured: none, quick or full.
        version: Version of the rules, which is that of the tool that applied them.
        sha256: SHA-256 over the list of rules and codes that were applied.
        deviations: What was left out or went otherwise than the profile says, one line each.
    """

    profile: str
    version: str
    sha256: str
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceData:
    """The reference values that the signer compared with.

    Attributes:
        name: "gpuverify".
        version: `YYYY.MM.DD`, comparable by its parts.
        sha256: Digest over the data.
    """

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerInfo:
    """Who says so. Bound into the signed bytes, so that a report cannot change hands.

    Attributes:
        name: Name for people.
        principal: The name that the reader's trust store knows the key by, e.g. an e-mail address.
        keyid: `SHA256:…`, the OpenSSH fingerprint of the signing key.
        contact: How to reach the signer, None if not given.
    """

    name: str
    principal: str
    keyid: str
    contact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A nonce that a fresh report has to carry.

    Attributes:
        nonce: 32 random bytes.
        issuer: Who made it, for people.
        order: The purchase it belongs to, "" for none.
        issued_s: When it was made, Unix seconds (UTC).
        expires_s: Until when it may be answered, Unix seconds (UTC).
    """

    nonce: bytes
    issuer: str
    order: str
    issued_s: int
    expires_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """What stood between the card and the claims, for the question of a false NVML library.

    All values repeat host claims for people; a verifier judges by the claims.

    Attributes:
        nvml_library: File that the NVML library was mapped from.
        nvml_sha256: SHA-256 of that file.
        nvml_package: Package that owns it.
        driver: Driver version.
        kernel: Kernel release.
        virtualised: Virtual machine vendor or "none".
        container: Container kind or "none".
        privileges: "root" or "user".
        sources: Sources that answered.
    """

    nvml_library: str | None = None
    nvml_sha256: str | None = None
    nvml_package: str | None = None
    driver: str | None = None
    kernel: str | None = None
    virtualised: str | None = None
    container: str | None = None
    privileges: str | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedItem:
    """One line of what is sold, in the signer's words. Shown, never used for judging.

    Attributes:
        product: Product id or name.
        memory_mib: Memory of one board by its label, in MiB; None if not said.
        condition: new, refurbished or used; None if not said.
        count: Boards sold; None if not said.
        max_hours: Declared upper bound of driver-loaded hours; None if not said.
        as_given: The words of the claim.
    """

    product: str
    memory_mib: int | None = None
    condition: str | None = None
    count: int | None = None
    max_hours: int | None = None
    as_given: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding of the signer.

    Attributes:
        rule: Rule id.
        code: Code id of that rule.
        axis: The question it speaks to.
        outcome: What it found.
        basis: How hard the observation is to forge.
        expected: What was expected, "" if nothing was.
        observed: What was seen.
        message: One sentence.
    """

    rule: str
    code: str
    axis: Axis
    outcome: Outcome
    basis: Basis
    expected: str
    observed: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Which kinds of fraud the run spoke to (the idea of SAE AS6171/1). Each kind stands once.

    Attributes:
        covered: Every rule that speaks to it was conclusive, at the basis it takes.
        under_covered: Some was, or at a weaker basis.
        not_covered: None was, or no rule exists.
    """

    covered: tuple[str, ...]
    under_covered: tuple[str, ...]
    not_covered: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the signer makes of it: his words, never used by a verifier.

    Attributes:
        verdict: The verdict.
        would_be: What it would be on live evidence; None where it is the verdict itself.
        reasons: Why, strongest first.
        policy_name: Policy.
        policy_sha256: Its digest.
        assurance: Weakest, over the neighbours, of the strongest basis that excluded each.
        capacity_basis: Strongest basis of a passed capacity rule, None if none passed.
        condition: What was seen of the condition.
        history: What was seen of the history.
    """

    verdict: Verdict
    would_be: Verdict | None
    reasons: tuple[str, ...]
    policy_name: str
    policy_sha256: str
    assurance: Basis
    capacity_basis: Basis | None
    condition: ConditionState
    history: HistoryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that travels beside the report: named and digested, never inside.

    Attributes:
        name: File name without any folder.
        media_type: e.g. "image/jpeg".
        size_bytes: Its size.
        sha256: Its digest.
    """

    name: str
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """An earlier report in the chain of custody.

    Attributes:
        report_id: Its id.
        role: The role of its signer.
        payload_sha256: Digest of its payload bytes.
        relation: What it is to this one.
    """

    report_id: str
    role: Role
    payload_sha256: str
    relation: Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One card, as its signer states it.

    Attributes:
        schema_version: `1.x.y`.
        report_id: UUID, lower case.
        role: In which capacity the signer speaks.
        issued_s: When it was signed, Unix seconds (UTC), by the signer's clock.
        measured_start_s: Time of the first claim, Unix seconds; None where no claim has a time.
        measured_end_s: Time of the last claim, Unix seconds; None where no claim has a time.
        clock: How the signer's clock was kept.
        tool: What collected the claims.
        method: What was done.
        reference_data: What it was compared with.
        signer: Who says so.
        order: Reference of the purchase, None if not given.
        location: Where it was done, None if not given.
        challenge: The challenge that it answers, None for none.
        evidence_class: The class as the signer STATES it: live, replayed, carried or imported.
            The class that counts is `evidence.evidence_class`.
        collector: What stood between the card and the claims.
        identity: Which card.
        sale: What is sold, in the signer's words.
        evidence: The claims of this ONE device and of its host; CARRIED where a report was read.
            Claims of the device stand in the order device, counters, fingerprint.
        document_sha256: SHA-256 of the canonical evidence document (`gpuverify/evidence/v1`) of
            the whole read-out that the claims were taken from: what `--evidence-out` writes.
        checks: The signer's findings.
        coverage: What the run spoke to.
        opinion: The signer's verdict.
        attachments: Files that travel beside it.
        previous: Earlier reports.
        remarks: Free text, untrusted.
        ignored: Paths of members that this version does not know; their values are never shown.
    """

    schema_version: str
    report_id: str
    role: Role
    issued_s: int
    measured_start_s: int | None
    measured_end_s: int | None
    clock: Clock
    tool: Tool
    method: Method
    reference_data: ReferenceData
    signer: SignerInfo
    order: str | None
    location: str | None
    challenge: Challenge | None
    evidence_class: EvidenceClass
    collector: Collector
    identity: Identity
    sale: tuple[StatedItem, ...]
    evidence: Evidence
    document_sha256: str
    checks: tuple[Check, ...]
    coverage: Coverage
    opinion: Opinion
    attachments: tuple[Attachment, ...] = ()
    previous: tuple[Previous, ...] = ()
    remarks: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMember:
    """One card of a server.

    Attributes:
        slot: Where it sits: slot, module or bus id.
        report_id: Its report.
        payload_sha256: Digest of that report's payload bytes.
        gpu_uuid: The card.
    """

    slot: str
    report_id: str
    payload_sha256: str
    gpu_uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSet:
    """The statement that makes the reports of one server complete: none may be lost or doubled.

    Attributes:
        schema_version: `1.x.y`.
        set_id: UUID, lower case.
        issued_s: When it was signed, Unix seconds (UTC), by the signer's clock.
        signer: Who says so.
        role: In which capacity.
        chassis_serial: Serial number of the chassis, None where no card knows it.
        count: Number of cards.
        topology: What the cards say of their links, one line each.
        members: The cards.
        challenge: The challenge that the set answers, None for none.
        ignored: As in `Report`.
    """

    schema_version: str
    set_id: str
    issued_s: int
    signer: SignerInfo
    role: Role
    chassis_serial: str | None
    count: int
    topology: tuple[str, ...]
    members: tuple[SetMember, ...]
    challenge: Challenge | None
    ignored: tuple[str, ...] = ()
