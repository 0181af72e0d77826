"""Path and value pairs of a document, and back."""

from __future__ import annotations

import pytest

from gpuverify.codec.nvidia_smi_leaves import leaves_from_xml, xml_from_leaves
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.errors import FormatError


def test_paths(sample_xml: str) -> None:
    leaves = leaves_from_xml(sample_xml.encode(), "x")
    found = dict(leaves)
    assert len(found) == len(leaves)
    assert leaves[0] == ("@doctype", "nvsmi_device_v12.dtd")
    assert found["driver_version"] == "550.54.15"
    assert found["gpu[0]/@id"] == "00000000:1A:00.0"
    assert found["gpu[1]/@id"] == "0000:3B:00.0"
    assert found["gpu[0]/pci/pci_device_id"] == "20B210DE"
    assert found["gpu[0]/mig_devices/mig_device/fb_memory_usage/total"] == "19968 MiB"
    assert found["gpu[0]/mig_devices/mig_device[1]/index"] == "1"
    assert found["gpu[0]/supported_clocks/supported_mem_clock[1]/value"] == "1594 MHz"
    assert found["gpu[1]/mig_devices"] == "None"
    assert found["gpu[1]/processes"] == ""


def test_round_trip(sample_xml: str) -> None:
    leaves = leaves_from_xml(sample_xml.encode(), "x")
    document = xml_from_leaves(leaves)
    assert leaves_from_xml(document, "x") == leaves
    assert read_nvidia_smi_xml(document, "x") == read_nvidia_smi_xml(sample_xml.encode(), "x")
    assert xml_from_leaves(leaves_from_xml(document, "x")) == document


def test_one_edit_changes_one_claim(sample_xml: str) -> None:
    leaves = dict(leaves_from_xml(sample_xml.encode(), "x"))
    leaves["gpu[0]/product_name"] = 'A < & "B"'
    claims = read_nvidia_smi_xml(xml_from_leaves(leaves.items()), "x").devices[0].claims
    assert claims.value("gpu.name") == 'A < & "B"'


def test_attributes_of_a_leaf_and_of_the_root() -> None:
    document = b"<nvidia_smi_log v='1'><gpu id='2' x='3'><a y='4'>5</a></gpu></nvidia_smi_log>"
    leaves = leaves_from_xml(document, "x")
    assert leaves == [
        ("@v", "1"),
        ("gpu[0]/@id", "2"),
        ("gpu[0]/@x", "3"),
        ("gpu[0]/a/@y", "4"),
        ("gpu[0]/a", "5"),
    ]
    assert leaves_from_xml(xml_from_leaves(leaves), "x") == leaves


@pytest.mark.parametrize(
    "path", ["a b", "a>b/c", "", "a//b", "a[x]", "gpu[0]/@", "/".join("a" * 50)]
)
def test_paths_that_name_no_element(path: str) -> None:
    with pytest.raises(FormatError):
        xml_from_leaves([(path, "1")])


def test_foreign_document_type_cannot_be_written() -> None:
    with pytest.raises(FormatError):
        xml_from_leaves([("@doctype", 'a.dtd" [<!ENTITY b "c">')])


@pytest.mark.parametrize(
    "document",
    [
        b"<nvidia_smi_log><gpu>",
        b"<!DOCTYPE nvidia_smi_log [<!ENTITY a 'b'>]><nvidia_smi_log/>",
        b"<nvidia_smi_log>" + b"<a>" * 50 + b"</a>" * 50 + b"</nvidia_smi_log>",
        b"<?xml version='1.0'?><other/>",
        b"<nvidia_smi_log>" + b"<gpu/>" * 300 + b"</nvidia_smi_log>",
    ],
)
def test_hostile_documents_are_refused(document: bytes) -> None:
    with pytest.raises(FormatError):
        leaves_from_xml(document, "x")
