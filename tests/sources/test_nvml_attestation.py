"""NVML's calls for what a chip signs, over the C library: modes, refusals, sizes, garbage."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shim_support import build, read

pytestmark = pytest.mark.required


@pytest.fixture(scope="session")
def new_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("new_driver"))


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old_driver"), "-DOLD_DRIVER")


ATTESTATION = ("attestation.report", "attestation.certificates")


@pytest.mark.parametrize(
    ("quirk", "mode"),
    [("ccon", "on"), ("ccdevtools", "devtools"), ("ccppcie", "protected-pcie")],
)
def test_a_card_that_signs_is_asked_with_the_nonce_of_its_uuid(
    new_driver: Path, quirk: str, mode: str
) -> None:
    result = read(new_driver, quirk=quirk)
    assert result.host["attestation.mode"].value == mode
    assert result.host["attestation.gpu_capable"].value is True
    for number, card in enumerate(result.devices.values()):
        assert {card[name].source for name in ATTESTATION} == {"device-certificate"}
        nonce = str(number).encode() * 32
        assert card["attestation.nonce"].value == nonce.hex()
        report = base64.b64decode(card["attestation.report"].value)
        assert report == bytes([0x11, 0xE0, 1 + number, 0xFF]) + nonce + b"\xc3" * 200
        chain = card["attestation.certificates"].value.split(",")
        assert [base64.b64decode(one) for one in chain] == [f"leaf{number}".encode()] * 5


@pytest.mark.parametrize(
    ("quirk", "fail", "mode", "said"),
    [
        ("", "", "off", "confidential computing is off, and protected PCIe mode too"),
        ("ccppcie", "nvmlSystemGetConfComputeSettings=999", "off",
         "confidential computing is off; protected PCIe mode is not known (NVML_ERROR_UNKNOWN)"),
    ],
)  # fmt: skip
def test_a_card_in_its_ordinary_mode_is_not_asked(
    new_driver: Path, quirk: str, fail: str, mode: str, said: str
) -> None:
    result = read(new_driver, quirk=quirk, fail=fail)
    assert result.host["attestation.mode"].value == mode
    for card in result.devices.values():
        assert "attestation.nonce" not in card
        for name in ATTESTATION:
            assert (card[name].status, card[name].text) == ("not-supported", said)


@pytest.mark.parametrize(
    ("code", "status"), [(3, "not-supported"), (4, "no-permission"), (999, "failed")]
)
def test_a_refused_mode_is_the_reason_for_everything(
    new_driver: Path, code: int, status: str
) -> None:
    result = read(new_driver, quirk="ccon", fail=f"nvmlSystemGetConfComputeState={code}")
    assert "attestation.gpu_capable" not in result.host
    for row in (result.host["attestation.mode"], *(result.card[name] for name in ATTESTATION)):
        assert (row.status, row.code, row.call) == (status, code, "nvmlSystemGetConfComputeState")
    odd = read(new_driver, quirk="ccodd")
    for row in (odd.host["attestation.mode"], *(odd.card[name] for name in ATTESTATION)):
        assert (row.status, row.text) == ("malformed", "ccFeature 7")


def test_a_driver_without_the_calls_says_so(old_driver: Path) -> None:
    result = read(old_driver, quirk="ccon")
    for row in (result.host["attestation.mode"], *(result.card[name] for name in ATTESTATION)):
        assert (row.status, row.code) == ("not-found", 13)


def test_each_call_of_a_card_has_its_own_refusal(new_driver: Path) -> None:
    for call, refused, kept in (
        ("nvmlDeviceGetConfComputeGpuAttestationReport", *ATTESTATION),
        ("nvmlDeviceGetConfComputeGpuCertificate", *ATTESTATION[::-1]),
    ):
        result = read(new_driver, quirk="ccon", fail=f"{call}@1=4")
        card = result.devices["00000001:08:00.0"]
        assert (card[refused].status, card[refused].call) == ("no-permission", call)
        assert card[kept].status == "ok"
        assert result.card[refused].status == "ok"
    fail = "nvmlSystemGetConfComputeCapabilities=3"
    assert read(new_driver, quirk="ccon", fail=fail).host["attestation.gpu_capable"].code == 3
    incapable = read(new_driver, quirk="ccincapable").host["attestation.gpu_capable"]
    assert incapable.value is False


@pytest.mark.parametrize("quirk", ["ccoversize", "ccempty", "ccgarbage"])
def test_sizes_and_bytes_that_cannot_be(new_driver: Path, quirk: str) -> None:
    card = read(new_driver, quirk=f"ccon {quirk}").card
    assert card["attestation.certificates"].status == "malformed"
    assert card["attestation.report"].status == ("ok" if quirk == "ccgarbage" else "malformed")
