"""Verifications and comparisons as JSON: `gpuverify/verification/v1`, `gpuverify/comparison/v1`.

Each stage stands by itself: one boolean would hide too much. What the signer says stands under
`signer_says`, and nothing of the document stands anywhere unless a trusted key's signature
verified. As in `result_json`, keys may be added to v1 and none is renamed or taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify import __version__
from gpuverify.codec.utc_time import utc_text
from gpuverify.render.result_json import Document, document_text, result_document

if TYPE_CHECKING:
    from gpuverify.model.claims import Claim
    from gpuverify.model.report import Report, ReportSet
    from gpuverify.model.verification import Comparison, Verification

VERIFICATION_SCHEMA = "gpuverify/verification/v1"
VERIFICATIONS_SCHEMA = "gpuverify/verifications/v1"
COMPARISON_SCHEMA = "gpuverify/comparison/v1"
COMPARISONS_SCHEMA = "gpuverify/comparisons/v1"


def verification_document(verification: Verification) -> Document:
    """Return one verification as a JSON object.

    Args:
        verification: What came of one signed document.
    """
    v = verification
    refusal = v.refusal
    return {
        "schema": VERIFICATION_SCHEMA,
        "tool": {"name": "gpuverify", "version": __version__},
        "origin": v.origin,
        "exit_code": v.exit_code,
        "refusal": None
        if refusal is None
        else {"code": refusal.value, "meaning": refusal.meaning, "message": v.message},
        "stages": [
            {"stage": one.stage.value, "state": one.state.value, "note": one.note}
            for one in v.stages
        ],
        "payload_sha256": v.payload_sha256 or None,
        "key": None
        if not v.keyid
        else {
            "keyid": v.keyid,
            "namespace": v.namespace,
            "principal": v.principal or None,
            "trusted_time": None if v.trusted_time_s is None else utc_text(v.trusted_time_s),
            "trusted_time_source": None
            if v.trusted_time_source is None
            else v.trusted_time_source.value,
        },
        "challenge_answered": v.challenge_answered,
        "warnings": list(v.warnings),
        "ignored_members": list(v.ignored),
        "report": None if v.report is None else _report(v.report),
        "set": None if v.report_set is None else _set(v.report_set),
        "appraisal": None if v.result is None else result_document(v.result),
        "differences": list(v.differences),
        "comparisons": [comparison_document(one) for one in v.comparisons],
    }


def list_head() -> str:
    """Return the beginning of a `gpuverify/verifications/v1` document, up to its first entry.

    A stream of many reports is written as it comes; entries are parted by commas.
    """
    tool = document_text({"name": "gpuverify", "version": __version__}, compact=True).rstrip()
    return f'{{"schema": "{VERIFICATIONS_SCHEMA}", "tool": {tool}, "verifications": [\n'


def list_tail(exit_code: int) -> str:
    """Return the end of a `gpuverify/verifications/v1` document, after its last entry.

    Args:
        exit_code: Exit code over all entries.
    """
    return f'], "exit_code": {exit_code:d}}}\n'


def _report(report: Report) -> Document:
    """Return what a verified report is about, and what its signer says."""
    identity, opinion = report.identity, report.opinion
    return {
        "report_id": report.report_id,
        "schema_version": report.schema_version,
        "role": report.role.value,
        "issued": utc_text(report.issued_s),
        "measured": {
            "start": None if report.measured_start_s is None else utc_text(report.measured_start_s),
            "end": None if report.measured_end_s is None else utc_text(report.measured_end_s),
        },
        "gpu_uuid": identity.gpu_uuid,
        "board_serial": identity.board_serial,
        "board_part_number": identity.board_part_number,
        "pci_device_id": identity.pci_device_id,
        "pci_subsystem_id": identity.pci_subsystem_id,
        "previous": [
            {
                "report_id": one.report_id,
                "role": one.role.value,
                "payload_sha256": one.payload_sha256,
                "relation": one.relation.value,
            }
            for one in report.previous
        ],
        "attachments": [
            {"name": one.name, "size_bytes": one.size_bytes, "sha256": one.sha256}
            for one in report.attachments
        ],
        "signer_says": {
            "name": report.signer.name,
            "evidence_class": report.evidence_class.value,
            "verdict": opinion.verdict.value,
            "would_be": None if opinion.would_be is None else opinion.would_be.value,
            "reasons": list(opinion.reasons),
            "policy": opinion.policy_name,
            "sale": [
                {"product": one.product, "condition": one.condition, "count": one.count}
                for one in report.sale
            ],
            "remarks": list(report.remarks),
        },
    }


def _set(report_set: ReportSet) -> Document:
    """Return what a verified set statement says."""
    return {
        "set_id": report_set.set_id,
        "role": report_set.role.value,
        "issued": utc_text(report_set.issued_s),
        "chassis_serial": report_set.chassis_serial,
        "count": report_set.count,
        "members": [
            {
                "slot": one.slot,
                "report_id": one.report_id,
                "payload_sha256": one.payload_sha256,
                "gpu_uuid": one.gpu_uuid,
            }
            for one in report_set.members
        ],
    }


def comparison_document(comparison: Comparison) -> Document:
    """Return a comparison as a JSON object.

    Args:
        comparison: What came of it.
    """
    return {
        "schema": COMPARISON_SCHEMA,
        "earlier": comparison.earlier,
        "later": comparison.later,
        "answer": comparison.sameness.value,
        "exit_code": comparison.exit_code,
        "reasons": list(comparison.reasons),
        "differences": [
            {
                "claim": one.claim_id,
                "change": one.change.value,
                "message": one.words,
                "earlier": _value(one.earlier),
                "later": _value(one.later),
            }
            for one in comparison.differences
        ],
        "compared": list(comparison.compared),
        "not_compared": list(comparison.not_compared),
    }


def comparisons_document(found: Sequence[Comparison], exit_code: int) -> Document:
    """Return the comparisons of several cards as one JSON object.

    Args:
        found: One a card.
        exit_code: Exit code over all of them.
    """
    return {
        "schema": COMPARISONS_SCHEMA,
        "tool": {"name": "gpuverify", "version": __version__},
        "exit_code": exit_code,
        "comparisons": [comparison_document(one) for one in found],
    }


def _value(claim: Claim | None) -> object:
    """Return the value of a claim, None where there is none."""
    return None if claim is None else claim.value
