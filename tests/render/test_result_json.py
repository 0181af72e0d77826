"""The JSON contract."""

from __future__ import annotations

import json
from dataclasses import replace

from gpuverify import __version__
from gpuverify.render.result_json import document_text, result_document, results_document
from gpuverify.render.text import Screen

TOP = [
    "schema", "tool", "refdb", "policy", "evidence", "verdict", "would_be", "exit_code",
    "devices", "batch", "errors",
]  # fmt: skip
DEVICE = {
    "index", "name", "uuid", "serial", "pci_bus_id", "product", "sale_claim", "verdict",
    "would_be", "assurance", "capacity_basis", "condition", "history", "neighbours", "findings",
}  # fmt: skip
FINDING = [
    "rule", "code", "axis", "outcome", "basis", "message", "expected", "observed", "claims",
    "reference",
]  # fmt: skip


def numbers(node: object) -> list[object]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in numbers(value)]
    if isinstance(node, list):
        return [found for value in node for found in numbers(value)]
    return [node] if isinstance(node, (int, float)) else []


def test_the_documented_keys_are_there(sample: tuple[str, Screen]) -> None:
    document = json.loads(document_text(result_document(sample[1].result)))
    assert list(document) == TOP
    assert document["schema"] == "gpuverify/result/v1"
    assert document["tool"] == {"name": "gpuverify", "version": __version__}
    assert set(document["evidence"]) >= {"class", "sha256"}
    assert set(document["batch"]) >= {"verdict", "findings"}
    assert document["errors"] == []
    for device in document["devices"]:
        assert set(device) >= DEVICE
        assert set(device["condition"]) == {"state", "checks_done", "checks_known"}
        assert set(device["product"]) == {"id", "candidates"}
        for neighbour in device["neighbours"]:
            assert set(neighbour) >= {"product", "excluded_by", "basis"}
        for finding in device["findings"]:
            assert list(finding) == FINDING
    assert all(not isinstance(number, float) for number in numbers(document))


def test_values_arrive(samples: dict[str, Screen]) -> None:
    document = json.loads(document_text(result_document(samples["replayed-mismatch"].result)))
    assert document["verdict"] == "unverified"
    assert document["would_be"] == "mismatch"
    assert document["exit_code"] == 2
    assert document["evidence"]["class"] == "replayed"
    device = document["devices"][0]
    assert device["index"] == 0
    assert device["serial"] == "1324221070000"
    assert device["pci_bus_id"] == "00000000:07:00.0"
    assert device["product"] == {"id": "a100-sxm4-40gb", "candidates": ["a100-sxm4-40gb"]}
    assert device["sale_claim"]["product"] == "a100-sxm4-80gb"
    assert device["sale_claim"]["condition"] == "used"
    assert device["condition"] == {"state": "no-fault-seen", "checks_done": 9, "checks_known": 12}
    assert device["neighbours"][1] == {
        "product": "a800-sxm4-80gb",
        "excluded_by": "link.exists",
        "basis": "cross-checked",
        "needs": None,
    }
    assert device["findings"][0]["claims"] == ["nvml:product.match"]


def test_no_sale_is_null(samples: dict[str, Screen]) -> None:
    document = json.loads(document_text(result_document(samples["nothing-claimed"].result)))
    assert document["devices"][0]["sale_claim"] is None
    assert document["would_be"] is None


def test_same_result_same_bytes(sample: tuple[str, Screen]) -> None:
    result = sample[1].result
    assert document_text(result_document(result)) == document_text(result_document(replace(result)))


def test_everything_is_ascii_and_ends_with_a_newline(samples: dict[str, Screen]) -> None:
    result = replace(samples["consistent"].result, origin="磁\u202e\udcff")
    for compact in (True, False):
        text = document_text(result_document(result), compact=compact)
        assert text.isascii()
        assert text.endswith("\n")
        assert (text.count("\n") == 1) is compact


def test_several_inputs() -> None:
    document = results_document([{"schema": "x"}], [{"input": "y", "exit_code": 66}], 66)
    assert document["schema"] == "gpuverify/results/v1"
    assert document["exit_code"] == 66
    assert document["results"] == [{"schema": "x"}]
    assert document["errors"] == [{"input": "y", "exit_code": 66}]
