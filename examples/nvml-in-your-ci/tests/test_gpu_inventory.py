"""Tests that need no GPU."""

import gpu_inventory
import pytest

from gpuverify.testing import SyntheticCard, replayed_nvml, synthetic_recording
from gpuverify.testing.pytest_plugin import NvmlCase


@pytest.mark.nvml_case("ga100/a100-sxm4-80gb-x8")
@pytest.mark.usefixtures("nvml_case")
def test_eight_cards() -> None:
    lines = gpu_inventory.inventory()
    assert len(lines) == 8
    assert lines[0].startswith("NVIDIA A100-SXM4-80GB, 80 GiB, 1650922")
    assert len(set(lines)) == 8


def test_a_card_without_a_serial_number(nvml_case: NvmlCase) -> None:
    nvml_case("ga10x/rtx-3090")
    assert gpu_inventory.inventory() == ["NVIDIA GeForce RTX 3090, 24 GiB, no serial number"]


def test_one_function_fails(nvml_case: NvmlCase) -> None:
    nvml_case("ada/l40s", fail={"nvmlDeviceGetSerial": 999})
    assert "unreadable (999)" in gpu_inventory.inventory()[0]


@pytest.mark.nvml_case("gh100/h100-sxm5-80gb", branch=450)
@pytest.mark.usefixtures("nvml_case")
def test_an_old_driver() -> None:
    assert gpu_inventory.inventory()[0].startswith("NVIDIA H100 80GB HBM3, 79 GiB")


def test_a_card_of_my_own() -> None:
    card = SyntheticCard(
        name="My Card", device_id=0x2ABC, subsystem_device_id=0x1234, memory_mib=11264,
        bus_width_bits=352, core_count=4352, graphics_mhz=1545, memory_mhz=7000, bar1_mib=256,
        power_default_w=250, power_max_w=280, vbios="90.02.17.00.AD",
    )  # fmt: skip
    with replayed_nvml(synthetic_recording([card], driver="550.54.14")):
        assert gpu_inventory.inventory() == ["My Card, 11 GiB, 1560222000101"]
        assert not gpu_inventory.needs_service(0)
