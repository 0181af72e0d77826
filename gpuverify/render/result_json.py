"""Results as JSON, schema `gpuverify/result/v1`.

Keys stand in a fixed order, numbers are integers, everything outside ASCII is escaped (so no
console encoding can spoil it), and a document ends with a newline. Keys may be added to v1; none
is renamed or taken away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from gpuverify import __version__
from gpuverify.codec.evidence_json import evidence_sha256

if TYPE_CHECKING:
    from gpuverify.model.finding import Finding
    from gpuverify.model.sale import SaleItem
    from gpuverify.model.verdict import DeviceResult, Result, Verdict

RESULT_SCHEMA = "gpuverify/result/v1"
RESULTS_SCHEMA = "gpuverify/results/v1"

Document = dict[str, object]


def document_text(document: Mapping[str, object], *, compact: bool = False) -> str:
    """Serialise a document.

    Args:
        document: The object.
        compact: On one line (JSON Lines) instead of indented.

    Returns:
        JSON with a newline at its end.
    """
    if compact:
        return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"
    return _indented(dict(document), "\n") + "\n"


def _indented(tree: object, line: str) -> str:
    """Lay out a tree of objects as `json.dumps` does with an indent of 2, in a third of the time.

    Args:
        tree: Mappings with string keys, sequences, strings, integers, booleans and None.
        line: Newline with the indent of the current depth.
    """
    if isinstance(tree, str):
        return encode_basestring_ascii(tree)
    if tree is None or isinstance(tree, int) or not tree:
        return json.dumps(tree)
    inner = line + "  "
    if isinstance(tree, dict):
        rows = [
            f"{encode_basestring_ascii(key)}: "
            f"{encode_basestring_ascii(item) if isinstance(item, str) else _indented(item, inner)}"
            for key, item in tree.items()
        ]
        return f"{{{inner}{f',{inner}'.join(rows)}{line}}}"
    if isinstance(tree, (list, tuple)):
        return f"[{inner}{f',{inner}'.join([_indented(item, inner) for item in tree])}{line}]"
    return json.dumps(tree, allow_nan=False)


def result_document(result: Result) -> Document:
    """Return one result as a JSON object.

    Args:
        result: What the appraisal found.
    """
    made: dict[int, Document] = {}
    return {
        "schema": RESULT_SCHEMA,
        "tool": {"name": "gpuverify", "version": __version__},
        "refdb": {"version": result.refdb_version, "sha256": result.refdb_sha256},
        "policy": {"name": result.policy_name, "sha256": result.policy_sha256},
        "evidence": {
            "class": result.evidence_class.value,
            "sha256": evidence_sha256(result.evidence),
            "origin": result.origin,
        },
        "verdict": result.verdict.value,
        "would_be": _verdict(result.would_be),
        "exit_code": result.exit_code,
        "devices": [_device(device, made) for device in result.devices],
        "batch": {
            "verdict": result.batch.verdict.value,
            "would_be": _verdict(result.batch.would_be),
            "reasons": list(result.batch.reasons),
            "findings": _findings(result.batch.findings, made),
        },
        "errors": [],
    }


def results_document(
    results: Sequence[Document], errors: Sequence[Document], exit_code: int
) -> Document:
    """Return the results of several inputs as one JSON object.

    Args:
        results: Documents of `result_document`, in the order of the inputs.
        errors: One object for each input without a result.
        exit_code: Exit code over all of them.
    """
    return {
        "schema": RESULTS_SCHEMA,
        "tool": {"name": "gpuverify", "version": __version__},
        "exit_code": exit_code,
        "results": list(results),
        "errors": list(errors),
    }


def _verdict(verdict: Verdict | None) -> str | None:
    """Return a verdict's word."""
    return None if verdict is None else verdict.value


def _findings(findings: Sequence[Finding], made: dict[int, Document]) -> list[Document]:
    """Return findings; cards share most of theirs, and each is laid out once.

    Args:
        findings: In rule order.
        made: What was laid out so far, by the identity of findings of one result.
    """
    return [made.get(id(one)) or made.setdefault(id(one), _finding(one)) for one in findings]


def _device(result: DeviceResult, made: dict[int, Document]) -> Document:
    """Return one device."""
    claims = result.device.claims
    product = result.recognition.product
    return {
        "index": result.device.index,
        "name": claims.value("gpu.name"),
        "uuid": claims.value("gpu.uuid"),
        "serial": claims.value("gpu.serial"),
        "pci_bus_id": claims.value("pci.bus_id"),
        "product": {
            "id": None if product is None else product.id,
            "candidates": [candidate.id for candidate in result.recognition.products],
        },
        "sale_claim": _sale(result.sale),
        "in_sale": result.in_sale,
        "verdict": result.verdict.value,
        "would_be": _verdict(result.would_be),
        "reasons": list(result.reasons),
        "assurance": result.assurance.value,
        "capacity_basis": None if result.capacity_basis is None else result.capacity_basis.value,
        "condition": {
            "state": result.condition.value,
            "checks_done": result.condition_checks_done,
            "checks_known": result.condition_checks_known,
        },
        "history": result.history.value,
        "neighbours": [
            {
                "product": neighbour.product,
                "excluded_by": neighbour.excluded_by or None,
                "basis": None if neighbour.basis is None else neighbour.basis.value,
                "needs": neighbour.needs or None,
            }
            for neighbour in result.neighbours
        ],
        "findings": _findings(result.findings, made),
        "not_examined": list(result.not_examined),
    }


def _sale(item: SaleItem | None) -> Document | None:
    """Return the item that a device was judged against."""
    if item is None:
        return None
    return {
        "product": item.product.id,
        "per_board_label": item.per_board_label,
        "condition": None if item.condition is None else item.condition.value,
        "count": item.count,
        "max_hours": item.max_hours,
        "as_given": item.as_given,
    }


def _finding(finding: Finding) -> Document:
    """Return one finding."""
    return {
        "rule": finding.rule,
        "code": finding.code,
        "axis": finding.axis.value,
        "outcome": finding.outcome.value,
        "basis": finding.basis.value,
        "message": finding.message,
        "expected": finding.expected,
        "observed": finding.observed,
        "claims": list(finding.claims),
        "reference": list(finding.reference),
    }
