"""The real ctypes path: a C library built here stands in for libnvidia-ml.so.1."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shim_support import HERE, build, read

from gpuverify.model.vocabulary import VOCABULARY, Scope

pytestmark = pytest.mark.required

# What the library answers for its first card. Some sums: the replay counters are 1 to 12 without
# link 5's 6, which it refuses; CRC has no field, so the old counters 2 and 3 of twelve links stand
# in: 2 * 66 + 12 * (200 + 300).
HEALTHY: dict[str, Any] = json.loads((HERE / "nvml_shim_values.json").read_text())


@pytest.fixture(scope="session")
def new_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("new_driver"))


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old_driver"), "-DOLD_DRIVER")


def test_every_value_of_a_new_driver_is_read(new_driver: Path) -> None:
    result = read(new_driver)
    card = result.devices["00000001:07:00.0"]
    assert {key: card[key].value for key in HEALTHY} == HEALTHY
    assert set(card) - set(HEALTHY) == {
        "gpu.driver_model", "gpu.reset_required", "attestation.report", "attestation.certificates",
    }  # fmt: skip
    assert card["gpu.driver_model"].status == "not-found"
    assert (card["gpu.reset_required"].status, card["gpu.reset_required"].code) == ("failed", 26)
    second = result.devices["00000001:08:00.0"]
    assert second["gpu.module_id"].value == 6
    assert second["gpu.pdi"].value == "0x9abcdef012345671"
    assert {row.ms for row in result.rows} == {1700000000123}
    sources = {row.source for row in result.rows if not row.id.startswith("attestation.")}
    assert sources == {"nvml"}
    assert result.progress[0].startswith("opening NVML")
    assert "reading GPU 2 of 2" in result.progress[-1]


def test_host_claims(new_driver: Path) -> None:
    host = read(new_driver).host
    assert {key: row.value for key, row in host.items() if not key.startswith("binding.")} == {
        "source.nvml": "ok",
        "nvml.session": "ok",
        "driver.version": "610.57.04",
        "driver.branch": "r610_57",
        "driver.cuda_version": "13.2",
        "nvml.version": "13.610.57.04",
        "host.attached_gpu_count": 2,
        "attestation.mode": "off",
        "attestation.gpu_capable": True,
    }
    assert host["binding.distribution"].value == "nvidia-ml-py"
    assert host["binding.shadowed"].value is False


def test_claims_are_of_the_vocabulary_and_have_its_types(new_driver: Path) -> None:
    result = read(new_driver, quirk="mig")
    for scope, rows in ((Scope.DEVICE, result.rows), (Scope.HOST, result.host.values())):
        for row in rows:
            spec = VOCABULARY[row.id]
            assert spec.scope is scope
            assert row.value is None or type(row.value) is spec.type, row.id
            assert (row.status == "ok") == (row.value is not None)
            assert row.call


def test_old_driver_lacks_symbols_and_says_so(old_driver: Path) -> None:
    result = read(old_driver)
    card = result.card
    assert card["gpu.name"].value == "NVIDIA A100-SXM4-40GB"
    for claim in ("gpu.pdi", "gpu.core_count", "inforom.bbx_time_run_s", "memory.reserved_bytes",
                  "platform.slot_number", "fabric.state", "repair.channel_pending",
                  "repair.unrepairable_memory", "ecc.sram_threshold_exceeded", "gpu.module_id",
                  "gpu.process_count", "pci.class_code"):  # fmt: skip
        assert (card[claim].status, card[claim].code) == ("not-found", 13), claim
        assert card[claim].text == "NVML_ERROR_FUNCTION_NOT_FOUND"
    # The older call's total leaves the reserve out; it is kept under both names.
    assert card["memory.total_bytes"].value == 42505076736
    assert card["memory.usable_bytes"].value == 42505076736
    assert card["memory.used_bytes"].value == 777
    assert card["clock.event_reasons"].value == "hw_slowdown,hw_thermal_slowdown"
    assert card["clock.event_reasons"].call == "nvmlDeviceGetCurrentClocksThrottleReasons"
    assert card["retired.single_bit_count"].value == 2
    assert card["retired.first_time_s"].status == "not-found"
    # Without names the profiles are named by slices and eighths of the memory.
    assert card["mig.profiles"].value == HEALTHY["mig.profiles"]
    assert result.host["driver.cuda_version"].value == "12.8"
    assert result.host["driver.branch"].status == "not-found"


def test_two_totals_of_one_era_are_both_kept(new_driver: Path) -> None:
    card = read(new_driver, quirk="era").card
    assert card["memory.total_bytes"].value == 42949672960
    assert card["memory.usable_bytes"].value == 42505076736
    assert "memory.usable_bytes" not in read(new_driver).card


@pytest.mark.parametrize(
    ("code", "status"),
    [(3, "not-supported"), (25, "not-supported"), (4, "no-permission"), (6, "not-found"),
     (10, "timed-out"), (999, "failed"), (1234, "failed")],
)  # fmt: skip
def test_return_codes_become_statuses(new_driver: Path, code: int, status: str) -> None:
    row = read(new_driver, fail=f"nvmlDeviceGetSerial@1={code}").devices["00000001:08:00.0"][
        "gpu.serial"
    ]
    assert (row.status, row.code, row.value) == (status, code, None)
    assert row.text


def test_text_that_is_no_utf8_is_malformed_with_its_bytes(new_driver: Path) -> None:
    row = read(new_driver, quirk="badname").card["gpu.name"]
    assert row.status == "malformed"
    assert row.text == r"NVIDIA \xff\xfe\x5cA100"


def test_hidden_characters_are_malformed_and_escaped(new_driver: Path) -> None:
    row = read(new_driver, quirk="bidiname").card["gpu.name"]
    assert row.status == "malformed"
    assert row.text is not None
    assert "\u202e" not in row.text
    assert row.text.isprintable()


def test_corrupted_inforom_is_a_value(new_driver: Path) -> None:
    row = read(new_driver, fail="nvmlDeviceValidateInforom@0=14").card["inforom.valid"]
    assert (row.status, row.value, row.code) == ("ok", False, 14)
    # Another call that trips over it says as much, whatever the validation answered.
    card = read(new_driver, fail="nvmlDeviceGetInforomConfigurationChecksum=14").card
    assert card["inforom.valid"].value is False
    assert card["inforom.config_checksum"].status == "failed"


def test_lost_card_with_a_handle(new_driver: Path) -> None:
    fail = "nvmlDeviceGetSerial@0=15,nvmlDeviceGetNvLinkState@0=15,nvmlDeviceGetFieldValues@0=15"
    result = read(new_driver, fail=fail)
    card = result.card
    assert (card["gpu.responding"].value, card["gpu.responding"].code) == (False, 15)
    assert card["gpu.serial"].status == "device-lost"
    assert card["nvlink.link_count"].status == "device-lost"
    assert card["temperature.memory_celsius"].status == "device-lost"
    assert result.devices["00000001:08:00.0"]["gpu.responding"].value is True


@pytest.mark.parametrize(
    ("code", "value", "status"), [(15, False, "device-lost"), (4, None, "no-permission")]
)
def test_card_without_a_handle_is_still_a_device(
    new_driver: Path, code: int, value: bool | None, status: str
) -> None:
    result = read(new_driver, fail=f"nvmlDeviceGetHandleByIndex_v2@1={code}")
    assert list(result.devices) == ["00000001:07:00.0", "?1"]
    card = result.devices["?1"]
    assert card["gpu.listed_by_nvml"].value is True
    assert card["gpu.responding"].value is value
    assert card["gpu.name"].status == status
    assert card["gpu.name"].code == code


def test_unreadable_bus_id_still_yields_a_device(new_driver: Path) -> None:
    fail = "nvmlDeviceGetPciInfo_v3@0=999,nvmlDeviceGetPciInfoExt@0=999"
    result = read(new_driver, fail=fail)
    assert list(result.devices) == ["?0", "00000001:08:00.0"]
    assert result.devices["?0"]["gpu.name"].value == "NVIDIA A100-SXM4-40GB"
    assert result.devices["?0"]["pci.bus_id"].status == "failed"
    # The extended call alone is enough.
    result = read(new_driver, fail="nvmlDeviceGetPciInfo_v3@0=999")
    assert result.devices["00000001:07:00.0"]["pci.device_id"].call == "nvmlDeviceGetPciInfoExt"


def test_two_cards_at_one_address_stay_two(new_driver: Path) -> None:
    result = read(new_driver, quirk="samebus")
    assert list(result.devices) == ["00000001:07:00.0", "?1"]
    assert result.devices["?1"]["pci.bus_id"].value == "00000001:07:00.0"


@pytest.mark.parametrize(
    ("quirk", "value", "text"),
    [
        ("headerset", True, "0x1 0x0"),
        ("headerclear", False, "0x0 0x0"),
        ("bindingclear", False, "0x1000008 0x0"),
        ("garbage", None, "0xabcd 0x0"),
    ],
)
def test_unrepairable_flag_in_both_layouts(
    new_driver: Path, quirk: str, value: bool | None, text: str
) -> None:
    row = read(new_driver, quirk=quirk).card["repair.unrepairable_memory"]
    assert (row.value, row.text) == (value, text)
    assert row.status == ("ok" if value is not None else "malformed")


def test_guid_with_zero_bytes_is_not_cut(new_driver: Path) -> None:
    card = read(new_driver, quirk="truncatedguid").card
    assert card["platform.gpu_fabric_guid"].value == "0x8000828384858687"


def test_chassis_serial_that_is_no_utf8(new_driver: Path) -> None:
    row = read(new_driver, quirk="badchassis").card["platform.chassis_serial"]
    assert (row.status, row.text) == ("malformed", r"\xff\xfe82")


def test_all_ones_are_no_values(new_driver: Path) -> None:
    card = read(new_driver, quirk="ones", fail="nvmlDeviceGetPciInfoExt=3").card
    for claim in ("clock.sm_max_khz", "gpu.pdi", "pci.device_id", "pci.vendor_id"):
        assert card[claim].status == "sentinel", claim
        assert card[claim].text.startswith("0xffffffff")
    assert card["pci.subsystem_device_id"].value == 0x134F


def test_mig_devices_are_counted_when_mig_is_on(new_driver: Path) -> None:
    card = read(new_driver, quirk="mig").card
    assert card["mig.mode_current"].value is True
    assert card["mig.device_count"].value == 3
    assert "mig.device_count" not in read(new_driver).card
    refused = read(new_driver, quirk="mig", fail="nvmlDeviceGetMigDeviceHandleByIndex=4").card
    assert refused["mig.device_count"].status == "no-permission"


def test_mig_profiles_that_cannot_be_read(new_driver: Path) -> None:
    card = read(new_driver, fail="nvmlDeviceGetGpuInstanceProfileInfoV=3").card
    assert card["mig.profiles"].status == "not-supported"
    card = read(new_driver, fail="nvmlDeviceGetGpuInstanceProfileInfoV=4").card
    assert card["mig.profiles"].status == "no-permission"
    card = read(new_driver, quirk="badprofile").card
    assert (card["mig.profiles"].status, card["mig.profiles"].text) == ("malformed", r"MIG \xff")


def test_card_without_nvlink_is_not_supported_and_never_zero(new_driver: Path) -> None:
    card = read(new_driver, fail="nvmlDeviceGetNvLinkState=3").card
    for claim in ("nvlink.link_count", "nvlink.active_count", "nvlink.link_speed_kb_s",
                  "nvlink.version", "nvlink.replay_error_count"):  # fmt: skip
        assert card[claim].status == "not-supported", claim


def test_reset_required_is_read_off_a_return_code(new_driver: Path) -> None:
    row = read(new_driver, fail="nvmlDeviceGetSerial@0=16").card["gpu.reset_required"]
    assert (row.value, row.code, row.call) == (True, 16, "nvmlDeviceGetSerial")


def test_fabric_falls_back_to_the_older_structure(new_driver: Path) -> None:
    card = read(new_driver, quirk="v2refused,fabricfailed").card
    assert card["fabric.cluster_uuid"].value == HEALTHY["fabric.cluster_uuid"]
    assert card["fabric.status"].value == "NVML_ERROR_INVALID_STATE"
    assert read(new_driver, quirk="nofabric").card["fabric.state"].status == "not-supported"


def test_forged_count_is_kept_but_not_followed(new_driver: Path) -> None:
    result = read(new_driver, count="4000000000")
    assert result.host["host.attached_gpu_count"].value == 4000000000
    assert len(result.devices) == 256
    assert result.devices["?255"]["gpu.name"].code == 2


def test_no_library(tmp_path: Path) -> None:
    result = read(tmp_path)
    assert result.devices == {}
    for claim in ("nvml.session", "source.nvml"):
        row = result.host[claim]
        assert (row.status, row.value, row.code) == ("not-found", None, 12)
        assert "libnvidia-ml.so.1" in row.text
    assert result.host["binding.version"].value


def test_library_without_its_driver(new_driver: Path) -> None:
    result = read(new_driver, fail="nvmlInitWithFlags=9")
    assert result.devices == {}
    assert result.host["nvml.session"].status == "failed"
    assert result.host["nvml.session"].text == "NVML_ERROR_DRIVER_NOT_LOADED"
    assert read(new_driver, fail="nvmlInitWithFlags=4").host["source.nvml"].status == (
        "no-permission"
    )
    refused = read(new_driver, fail="nvmlDeviceGetCount_v2=999")
    assert refused.host["host.attached_gpu_count"].status == "failed"


OLD_BINDING = """
from ctypes import *
lib = CDLL("libnvidia-ml.so.1")
class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value
def _check(code):
    if code:
        raise NVMLError(code)
def nvmlInit():
    _check(lib.nvmlInitWithFlags(0))
def nvmlShutdown():
    _check(lib.nvmlShutdown())
def nvmlDeviceGetCount():
    count = c_uint()
    _check(lib.nvmlDeviceGetCount_v2(byref(count)))
    return count.value
def nvmlDeviceGetHandleByIndex(index):
    handle = c_void_p()
    _check(lib.nvmlDeviceGetHandleByIndex_v2(c_uint(index), byref(handle)))
    return handle
def nvmlDeviceGetName(handle):
    name = create_string_buffer(96)
    _check(lib.nvmlDeviceGetName(handle, name, c_uint(96)))
    return name.value
def nvmlDeviceGetMemoryInfo(handle):
    class Memory(Structure):
        _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]
    memory = Memory()
    _check(lib.nvmlDeviceGetMemoryInfo(handle, byref(memory)))
    return memory
"""


def test_shadowing_old_binding_is_reported_and_used(new_driver: Path, tmp_path: Path) -> None:
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml" / "__init__.py").write_text(OLD_BINDING)
    (tmp_path / "pynvml-8.0.4.dist-info").mkdir()
    (tmp_path / "pynvml-8.0.4.dist-info" / "RECORD").write_text("pynvml/__init__.py,,\n")
    result = read(new_driver, python_path=str(tmp_path))
    assert result.host["binding.distribution"].value == "pynvml"
    assert result.host["binding.version"].value == "8.0.4"
    assert result.host["binding.shadowed"].value is True
    card = result.devices["?0"]
    assert card["gpu.name"].value == "NVIDIA A100-SXM4-40GB"
    assert card["memory.total_bytes"].value == 42505076736
    for claim in ("gpu.pdi", "repair.unrepairable_memory", "memory.reserved_bytes", "c2c.mode"):
        assert card[claim].status == "not-found"
        assert card[claim].code is None
        assert "binding" in card[claim].text


def test_broken_binding_is_a_reason(new_driver: Path, tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("raise ImportError('broken')\n")
    result = read(new_driver, python_path=str(tmp_path))
    assert result.host["source.nvml"].status == "not-found"
    assert "nvidia-ml-py" in result.host["source.nvml"].text
    assert result.host["binding.distribution"].status == "not-found"
