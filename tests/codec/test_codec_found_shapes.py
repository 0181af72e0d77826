"""Shapes of read-outs met after the importers were written: one small own text for each."""

from __future__ import annotations

import pytest

from gpuverify.codec.nvidia_smi_text import read_nvidia_smi_text
from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import Evidence

UUID = "GPU-3b7c9d1e-2f4a-4c6b-8d0e-9a1b2c3d4e5f"
OTHER_UUID = "GPU-7e6d5c4b-3a29-4817-b605-f4e3d2c1b0a9"


def log(*fields: str, bus: str = "00000000:2B:00.0", before: str = "", host: str = "") -> str:
    """A log of one GPU, as drivers from 450 on print it."""
    body = "".join(f"    {field.split('=')[0]:<38}: {field.split('=')[1]}\n" for field in fields)
    return (
        f"{before}==============NVSMI LOG==============\n\n"
        f"Driver Version                            : 535.111.07\n{host}"
        f"\nAttached GPUs                             : 1\nGPU {bus}\n{body}"
    )


def read(text: str) -> Evidence:
    return read_nvidia_smi_text(text, "log.txt")


@pytest.mark.parametrize(
    ("label", "text", "claim_id"),
    [
        ("VBIOS Version", "00.00.00.00.00", "gpu.vbios_version"),
        ("Board Part Number", "000-00000-0000-000", "gpu.board_part_number"),
        ("GPU Part Number", "0000-000-00", "gpu.gpu_part_number"),
        ("GPU Part Number", "000-00000-0000-000", "gpu.board_part_number"),
    ],
)
def test_numbers_of_nothing_but_zeros_are_place_holders(
    label: str, text: str, claim_id: str
) -> None:
    claim = (
        read(log("Product Name=NVIDIA A10G", f"{label}={text}")).devices[0].claims.read(claim_id)
    )
    assert claim.status is ClaimStatus.SENTINEL
    assert claim.raw_text == text


def test_a_number_with_zero_groups_is_a_number() -> None:
    claims = read(log("Board Part Number=900-2G133-0000-000")).devices[0].claims
    assert claims.value("gpu.board_part_number") == "900-2G133-0000-000"


def test_xml_place_holder_under_the_gpus_name_is_the_boards() -> None:
    document = (
        '<?xml version="1.0" ?><nvidia_smi_log><gpu id="00000000:00:1E.0">'
        "<gpu_part_number>000-00000-0000-000</gpu_part_number></gpu></nvidia_smi_log>"
    )
    claims = read_nvidia_smi_xml(document.encode(), "log.xml").devices[0].claims
    assert claims.read("gpu.board_part_number").status is ClaimStatus.SENTINEL
    assert claims.read("gpu.gpu_part_number").status is ClaimStatus.NOT_ASKED


@pytest.mark.parametrize("text", ["GPU requires reset", "[GPU requires reset]"])
def test_a_card_that_waits_for_a_reset(text: str) -> None:
    claims = read(
        log(
            "Product Name=NVIDIA A30",
            f"GPU UUID={UUID}",
            f"Compute Mode={text}",
            f"Fan Speed={text}",
        )
    ).devices[0]
    assert claims.claims.value("gpu.reset_required") is True
    assert claims.claims.read("gpu.reset_required").raw_text == text
    assert claims.claims.read("gpu.fan_error").status is ClaimStatus.FAILED
    assert claims.claims.value("gpu.responding") is True


def test_a_reset_that_the_driver_denies_stays_denied() -> None:
    text = log("Product Name=NVIDIA A30", "Fan Speed=GPU requires reset")
    text += "    GPU Reset Status\n        Reset Required                    : No\n"
    assert read(text).devices[0].claims.value("gpu.reset_required") is False


def test_a_card_that_does_not_give_its_name_does_not_respond() -> None:
    claims = read(log("Product Name=Unknown Error", "GPU UUID=Unknown Error")).devices[0].claims
    assert claims.value("gpu.responding") is False
    assert claims.read("gpu.responding").raw_text == "Unknown Error"


@pytest.mark.parametrize(
    "fields",
    [
        ("Product Name=Unknown Error", f"GPU UUID={UUID}"),
        ("Product Name=NVIDIA A30", "GPU UUID=Unknown Error"),
        ("Product Name=N/A", "GPU UUID=N/A"),
    ],
)
def test_one_failed_read_is_no_lost_card(fields: tuple[str, ...]) -> None:
    assert read(log(*fields)).devices[0].claims.value("gpu.responding") is True


def test_messages_of_a_sharing_layer_are_no_fields() -> None:
    line = "[HAMI-core Msg(571:140025334466368:libvgpu.c:836)]: Initializing.....\n"
    evidence = read(log("Product Name=Tesla V100-PCIE-16GB", host=line))
    assert evidence.host.value("host.sharing_layer") == "HAMI-core"
    assert evidence.host.value("driver.version") == "535.111.07"
    assert evidence.devices[0].claims.value("gpu.name") == "Tesla V100-PCIE-16GB"


def test_no_sharing_layer_is_no_claim() -> None:
    evidence = read(log("Product Name=Tesla V100-PCIE-16GB"))
    assert evidence.host.read("host.sharing_layer").status is ClaimStatus.NOT_ASKED


def test_a_list_of_gpus_before_the_log_is_the_same_gpus() -> None:
    listed = (
        f"GPU 0: NVIDIA A30 (UUID: {UUID})\n    Link 0: 26.562 GB/s\n    Link 1: <inactive>\n\n"
    )
    evidence = read(log("Product Name=NVIDIA A30", f"GPU UUID={UUID}", before=listed))
    assert [device.index for device in evidence.devices] == [0]
    claims = evidence.devices[0].claims
    assert claims.value("pci.bus_id") == "00000000:2B:00.0"
    assert claims.value("nvlink.link_count") == 2
    assert claims.value("nvlink.active_count") == 1


def test_a_listed_gpu_that_the_log_does_not_show_stays() -> None:
    listed = f"GPU 0: NVIDIA A30 (UUID: {OTHER_UUID})\n"
    evidence = read(log("Product Name=NVIDIA A30", f"GPU UUID={UUID}", before=listed))
    assert [device.index for device in evidence.devices] == [0, 1]


def test_one_uuid_on_two_bus_ids_stays_two_gpus() -> None:
    second = log("Product Name=NVIDIA A30", f"GPU UUID={UUID}", bus="00000000:5C:00.0")
    evidence = read(log("Product Name=NVIDIA A30", f"GPU UUID={UUID}") + second)
    assert [device.claims.value("gpu.uuid") for device in evidence.devices] == [UUID, UUID]


@pytest.mark.parametrize("quote", ["> ", ">", "> > ", ">> "])
def test_a_quoted_log(quote: str) -> None:
    text = log("Product Name=NVIDIA A30", f"GPU UUID={UUID}")
    text += "    FB Memory Usage\n        Total                             : 24577 MiB\n"
    quoted = "".join(quote + line + "\n" for line in text.splitlines())
    assert read(quoted).devices[0].claims.claims == read(text).devices[0].claims.claims


def test_lines_with_a_time_stamp_before_them_are_refused() -> None:
    stamped = "".join(
        f"2031-02-01T10:11:12Z stdout F {line}\n"
        for line in log("Product Name=NVIDIA A30", f"GPU UUID={UUID}").splitlines()
    )
    with pytest.raises(FormatError, match="no GPU in it"):
        read(stamped)


def test_a_count_of_virtual_gpus() -> None:
    text = log("Product Name=GRID V100D-8C").replace("Attached GPUs ", "Attached vGPUs")
    assert read(text).devices[0].claims.value("gpu.name") == "GRID V100D-8C"
