"""Verdicts and the result of an appraisal."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuverify.model.claims import Basis
from gpuverify.model.evidence import DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Finding
from gpuverify.model.product import Recognition
from gpuverify.model.sale import SaleItem


class Verdict(enum.Enum):
    """What the evidence says about the sale claim."""

    CONSISTENT = "consistent"
    SUSPECT = "suspect"
    MISMATCH = "mismatch"
    UNVERIFIED = "unverified"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__


class ConditionState(enum.Enum):
    """What was seen of the card's condition; silence is not soundness."""

    NO_FAULT_SEEN = "no-fault-seen"
    ATTENTION = "attention"
    DEFECTIVE = "defective"
    UNKNOWN = "unknown"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__


class HistoryState(enum.Enum):
    """What was seen of the card's history."""

    NO_RECORD = "no-record"
    USED = "used"
    UNKNOWN = "unknown"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Whether a confusable neighbour was excluded, and by what.

    Attributes:
        product: Id of the neighbour.
        excluded_by: Rule that excluded it at the strongest basis, "" if none did.
        basis: That basis, None if none did.
        needs: What would exclude it, for people, where nothing did.
    """

    product: str
    excluded_by: str = ""
    basis: Basis | None = None
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResult:
    """The appraisal of one device.

    Attributes:
        device: Its evidence.
        recognition: Which product its ids name.
        sale: The item it was judged against, None where nothing was claimed or it is not part of
            the sale.
        in_sale: False for a device beyond a satisfied count.
        verdict: What counts.
        would_be: What it would be on live evidence with everything else equal; None where it is
            the verdict itself.
        reasons: Why the verdict is what it is, strongest first; each one line.
        assurance: Weakest, over the neighbours, of the strongest basis that excluded each.
        capacity_basis: Strongest basis of a passed capacity rule, None if none passed.
        condition: What was seen of the condition.
        condition_checks_done: Condition rules that could be decided.
        condition_checks_known: Condition rules that apply.
        history: What was seen of the history.
        neighbours: Confusable neighbours of the product sold.
        findings: In rule order.
        not_examined: Optional rules that could not be decided.
    """

    device: DeviceEvidence
    recognition: Recognition
    sale: SaleItem | None
    in_sale: bool
    verdict: Verdict
    would_be: Verdict | None
    reasons: tuple[str, ...]
    assurance: Basis
    capacity_basis: Basis | None
    condition: ConditionState
    condition_checks_done: int
    condition_checks_known: int
    history: HistoryState
    neighbours: tuple[Neighbour, ...]
    findings: tuple[Finding, ...]
    not_examined: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The appraisal of all devices of one read-out together."""

    verdict: Verdict
    would_be: Verdict | None
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of appraising one read-out.

    Attributes:
        origin: What was read.
        evidence_class: How it reached us.
        evidence: What was judged, as it reached us. Whoever prints its digest computes it then.
        policy_name: Policy.
        policy_sha256: Its digest.
        refdb_version: Version of the reference data.
        refdb_sha256: Its digest.
        claimed: Whether anything was claimed.
        verdict: Worst over devices and batch.
        would_be: As `DeviceResult.would_be`.
        exit_code: By the table of exit codes.
        devices: One entry a device.
        batch: Findings over all devices.
    """

    origin: str
    evidence_class: EvidenceClass
    evidence: Evidence
    policy_name: str
    policy_sha256: str
    refdb_version: str
    refdb_sha256: str
    claimed: bool
    verdict: Verdict
    would_be: Verdict | None
    exit_code: int
    devices: tuple[DeviceResult, ...]
    batch: BatchResult
