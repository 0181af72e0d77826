"""Other people's read-outs (GPUVERIFY_CORPUS): each is read or refused, never a fault."""

from __future__ import annotations

import csv
from pathlib import Path

from gpuverify.codec.nvidia_smi_leaves import leaves_from_xml, xml_from_leaves
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.codec.read import load_path
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus

FULL = {"nvidia-smi -q text", "nvidia-smi -q -x", "nvidia-smi -q -x (synthetic)"}


def rows(corpus: Path) -> list[dict[str, str]]:
    with (corpus / "INDEX.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refusal(path: Path) -> str:
    """Return "" where the file was read, else the error ("truncated" for a cut document)."""
    try:
        load_path(str(path))
    except FormatError as error:
        return "truncated" if "truncated" in str(error) else str(error)
    return ""


def test_every_file_is_read_or_refused(corpus: Path) -> None:
    refused = {row["file"]: refusal(corpus / row["file"]) for row in rows(corpus)}
    assert sum(not message for message in refused.values()) > 60
    assert all(message.isprintable() for message in refused.values())
    for row in rows(corpus):
        message = refused[row["file"]]
        # An XML excerpt may be cut; any other "-q" log has to be read.
        assert not row["kind"].startswith("nvidia-smi -q") or message in {"", "truncated"}, message


def test_counts_versions_and_names(corpus: Path) -> None:
    for row in rows(corpus):
        if row["kind"] not in FULL:
            continue
        evidence = load_path(str(corpus / row["file"]))
        assert len(evidence.devices) == int(row["n_gpus"]), row["file"]
        assert evidence.host.value("driver.version") == row["driver_version"], row["file"]
        for device in evidence.devices:
            assert device.claims.value("gpu.name") == row["sku"], row["file"]
            assert device.claims.read("pci.bus_id").ok, row["file"]


def test_nothing_in_full_logs_is_malformed(corpus: Path) -> None:
    for row in rows(corpus):
        if row["kind"] not in FULL:
            continue
        for device in load_path(str(corpus / row["file"])).devices:
            wrong = [c for c in device.claims if c.status is ClaimStatus.MALFORMED]
            assert not wrong, (row["file"], wrong)


def test_leaves_lose_nothing(corpus: Path) -> None:
    for path in sorted(corpus.glob("*.xml")):
        data = path.read_bytes()
        try:
            expected = read_nvidia_smi_xml(data, "x")
        except FormatError:
            continue
        leaves = leaves_from_xml(data, "x")
        document = xml_from_leaves(leaves)
        assert leaves_from_xml(document, "x") == leaves
        assert read_nvidia_smi_xml(document, "x") == expected
