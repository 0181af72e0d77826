"""Adapters, tables and collecting, on a namespace that stands for the binding module."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.model.claims import ClaimStatus
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.sources import nvml_links, nvml_mig, nvml_structs
from gpuverify.sources import nvml_values as v
from gpuverify.sources.nvml import NvmlSession, read_nvml
from gpuverify.sources.nvml_answers import Answer, NvmlBinding, code_name, status_of
from gpuverify.sources.nvml_claims import Collector, adapted
from gpuverify.sources.nvml_table import DEVICE_FIELDS, DEVICE_READS, HOST_READS, Read


class FakeError(Exception):
    """Stands for pynvml.NVMLError."""

    def __init__(self, value: int) -> None:
        self.value = value
        super().__init__(value)


class FakeMismatchError(Exception):
    """Stands for pynvml.NVMLLibraryMismatchError."""


def collector(**functions: Any) -> Collector:
    module = SimpleNamespace(
        NVMLError=FakeError, NVMLLibraryMismatchError=FakeMismatchError, **functions
    )
    return Collector(NvmlBinding(module), "handle", 42)


def raising(error: Exception) -> Any:
    def call(*arguments: Any, **keywords: Any) -> Any:
        raise error

    return call


def by_id(out: Collector) -> dict[str, Any]:
    return {claim.id: claim for claim in out.claims()}


def status(item: v.Item) -> ClaimStatus:
    assert isinstance(item, v.Odd)
    return item.status


def test_tables_name_claims_of_the_vocabulary() -> None:
    for scope, reads in ((Scope.DEVICE, DEVICE_READS), (Scope.HOST, HOST_READS)):
        for read in reads:
            assert read.names
            for claim in read.ids:
                assert VOCABULARY[claim].scope is scope
    assert all(VOCABULARY[row.claim].scope is Scope.DEVICE for row in DEVICE_FIELDS)
    assert len({row.field for row in DEVICE_FIELDS}) == len(DEVICE_FIELDS)


def test_every_wrapper_stands_in_the_installed_binding() -> None:
    pynvml = pytest.importorskip("pynvml")
    newest = {read.names[0] for read in (*DEVICE_READS, *HOST_READS)}
    assert {name for name in newest if not hasattr(pynvml, name)} == set()


def test_field_numbers_are_those_of_the_installed_binding() -> None:
    pynvml = pytest.importorskip("pynvml")
    for row in DEVICE_FIELDS:
        assert getattr(pynvml, row.name) == row.field, row.name
    assert pynvml.NVML_FI_DEV_NVLINK_GET_SPEED == 164
    assert pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON == 90
    assert pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY == 161
    assert pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY == 162
    assert pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_CRC == 163
    assert pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL == 52
    assert pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL == 59
    assert pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL == 38
    assert pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL == 45
    assert pynvml.NVML_NVLINK_MAX_LINKS <= 36


# Sizes by NVIDIA's nvml.h (nvidia-nvml-dev 13.5.37); the version word holds the same number.
STRUCTURES = {
    "nvmlPciInfo_t": 68,
    "nvmlPciInfoExt_v1_t": 64,
    "c_nvmlMemory_t": 24,
    "c_nvmlMemory_v2_t": 40,
    "c_nvmlBAR1Memory_t": 24,
    "c_nvmlPdi_t": 16,
    "c_nvmlBBXTimeData_v1_t": 4,
    "c_nvmlEccSramErrorStatus_v1_t": 104,
    "c_nvmlEccBankRemapperStatus_v1_t": 20,
    "c_nvmlRowRemapperHistogramValues": 20,
    "c_nvmlRepairStatus_t": 12,
    "c_nvmlPlatformInfo_v1_t": 44,
    "c_nvmlPlatformInfo_v2_t": 44,
    "c_nvmlGpuFabricInfo_t": 28,
    "c_nvmlGpuFabricInfo_v2_t": 36,
    "c_nvmlGpuFabricInfo_v3_t": 40,
    "c_nvmlGpuInstanceProfileInfo_t": 48,
    "c_nvmlGpuInstanceProfileInfo_v2_t": 152,
    "c_nvmlFieldValue_t": 40,
    "c_nvmlC2cModeInfo_v1_t": 4,
    "c_nvmlSystemDriverBranchInfo_v1_t": 84,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_has_the_size_of_the_header(name: str) -> None:
    pynvml = pytest.importorskip("pynvml")
    assert ctypes.sizeof(getattr(pynvml, name)) == STRUCTURES[name]


def test_the_one_structure_that_differs_from_the_header() -> None:
    # 8 bytes against 4 in nvml.h: the reason why both words are read. If this fails, the binding
    # was mended; look at `read_unrepairable` again.
    pynvml = pytest.importorskip("pynvml")
    assert ctypes.sizeof(pynvml.c_nvmlUnrepairableMemory_v1_t) == 8
    structure = pynvml.c_nvmlUnrepairableMemory_v1_t()
    assert bytes(structure)[:4] == (0x1000008).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "size", "version"),
    [
        ("nvmlPciInfoExt_v1", 64, 1), ("nvmlMemory_v2", 40, 2), ("nvmlPdi_v1", 16, 1),
        ("nvmlEccSramErrorStatus_v1", 104, 1), ("nvmlPlatformInfo_v2", 44, 2),
        ("nvmlGpuFabricInfo_v3", 40, 3), ("nvmlGpuInstanceProfileInfo_v2", 152, 2),
        ("nvmlRepairStatus_v1", 12, 1),
    ],
)  # fmt: skip
def test_version_words(name: str, size: int, version: int) -> None:
    pynvml = pytest.importorskip("pynvml")
    assert getattr(pynvml, name) == size | version << 24


def test_platform_offsets_are_those_that_are_read_by_bytes() -> None:
    pynvml = pytest.importorskip("pynvml")
    kind = pynvml.c_nvmlPlatformInfo_v2_t
    names = ("ibGuid", "chassisSerialNumber", "slotNumber", "trayIndex", "hostId", "peerType",
             "moduleId")  # fmt: skip
    assert [getattr(kind, name).offset for name in names] == [4, 20, 36, 37, 38, 39, 40]


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_numbers_are_values_or_reasons(value: int) -> None:
    item = v.number(value)
    if isinstance(item, v.Odd):
        assert value in v.ALL_ONES or not 0 <= value < 2**63
    else:
        assert item == value


@given(st.text(max_size=300))
def test_text_is_printable_whatever_comes(value: str) -> None:
    item = v.text(value)
    shown = item.text if isinstance(item, v.Odd) else str(item)
    assert len(shown) <= max(200, len(value))
    assert not any(character in shown for character in "\n\r\x1b\x00\u202e\u200b")


def test_value_adapters() -> None:
    assert [v.flag(value) for value in (0, 1)] == [False, True]
    assert v.flag(ctypes.c_uint(1)) is True
    assert status(v.flag(2)) is ClaimStatus.MALFORMED
    assert status(v.flag(0xFFFFFFFF)) is ClaimStatus.SENTINEL
    assert status(v.byte(0xFF)) is ClaimStatus.SENTINEL
    assert v.times(1000)(1593) == 1593000
    assert status(v.times(1000)(0xFFFFFFFF)) is ClaimStatus.SENTINEL
    assert status(v.text(" N/A ")) is ClaimStatus.SENTINEL
    assert v.text(b" NVIDIA H100 ") == "NVIDIA H100"
    assert v.upper("96.00.9e.00.01") == "96.00.9E.00.01"
    assert status(v.upper("")) is ClaimStatus.SENTINEL
    assert v.hexadecimal(16)(0x1F) == "0x000000000000001f"
    assert status(v.hexadecimal(16)(0)) is ClaimStatus.SENTINEL
    assert v.hexadecimal(0)(0) == "0x0"
    assert v.choice({3: "three"})(3) == "three"
    assert v.choice({3: "three"})(4) == "unknown (4)"
    assert status(v.choice({})(0xFFFFFFFF)) is ClaimStatus.SENTINEL
    assert v.dotted_version(11040) == "11.4"
    assert status(v.dotted_version(-1)) is ClaimStatus.MALFORMED
    assert v.highest_mhz([405, 2619, 0xFFFFFFFF]) == 2619000
    assert status(v.highest_mhz([])) is ClaimStatus.SENTINEL
    assert v.event_reasons(0) == "none"
    assert v.event_reasons(0x180) == "hw_power_brake_slowdown,display_clocks_setting"
    assert status(v.event_reasons(2**64 - 1)) is ClaimStatus.SENTINEL
    assert v.length([5, 6]) == 2


@pytest.mark.parametrize("stamp", [1700000000, 1700000000123, 1700000000123456])
def test_time_stamps_of_any_unit(stamp: int) -> None:
    assert v.unix_seconds(stamp) == 1700000000
    assert v.flush_time([stamp, 5]) == "2023-11-14T22:13:20Z"


def test_flush_times_that_are_none() -> None:
    assert status(v.flush_time([0, 1])) is ClaimStatus.SENTINEL
    assert status(v.flush_time([2**64 - 1, 1])) is ClaimStatus.SENTINEL
    assert status(v.flush_time([2**63, 1])) is ClaimStatus.MALFORMED


def test_return_codes_have_names() -> None:
    assert code_name(15) == "NVML_ERROR_GPU_IS_LOST"
    assert code_name(999) == "NVML_ERROR_UNKNOWN"
    assert code_name(77) == "NVML return code 77"
    assert status_of(14) is ClaimStatus.FAILED
    pynvml = pytest.importorskip("pynvml")
    for code in (*range(1, 31), 999):
        assert getattr(pynvml, code_name(code)) == code


def test_asking_never_raises() -> None:
    out = collector(
        lost=raising(FakeError(15)),
        mismatch=raising(FakeMismatchError()),
        old=raising(TypeError("takes 1 argument")),
        good=lambda handle: 7,
    )
    assert out.ask("lost").status is ClaimStatus.DEVICE_LOST
    assert out.ask("mismatch").missing
    assert out.ask("old").missing
    assert out.ask("absent").missing
    assert out.ask("good").value == 7
    assert out.codes == {15: "lost", 13: "mismatch"}
    assert out.binding.raw("symbol").missing
    assert out.binding.ask_first(("absent", "mismatch", "good"), "handle").value == 7
    assert out.binding.ask_first(("absent", "mismatch"), "handle").call == "absent"


def test_raw_calls_go_through_the_bindings_look_up() -> None:
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        if name == "gone":
            raise FakeError(13)
        return lambda *arguments: 3

    assert collector(_nvmlGetFunctionPointer=find).binding.raw("one").code == 3
    packaged = collector(nvml=SimpleNamespace(_nvmlGetFunctionPointer=find)).binding
    assert packaged.raw("gone").missing
    assert asked == ["one", "gone"]


def test_unforeseen_shapes_are_malformed() -> None:
    two = Read(ids=("ecc.mode_current", "ecc.mode_pending"), names=("x",), adapter=v.each(v.flag))
    assert [status(item) for item in adapted(two, [1])] == [ClaimStatus.MALFORMED] * 2
    assert [status(item) for item in adapted(two, 5)] == [ClaimStatus.MALFORMED] * 2
    assert adapted(two, (1, 0)) == (True, False)
    damaged = UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid")
    broken = Read(ids=("driver.branch",), names=("x",), adapter=v.one(raising(damaged)))
    assert adapted(broken, None) == (v.malformed(r"a\xff"),)


def test_first_value_stands_and_a_value_replaces_a_reason() -> None:
    out = collector()
    failed = Answer(call="a", status=ClaimStatus.FAILED, code=999, text="x")
    good = Answer(call="b", status=ClaimStatus.OK, code=0)
    out.refuse("gpu.name", failed)
    out.refuse("gpu.name", Answer(call="c", status=ClaimStatus.NOT_FOUND))
    assert by_id(out)["gpu.name"].call == "a"
    out.put("gpu.name", "first", good)
    out.put("gpu.name", "second", good)
    out.refuse("gpu.name", failed)
    claim = by_id(out)["gpu.name"]
    assert (claim.value, claim.call, claim.raw_code, claim.time_ms) == ("first", "b", None, 42)


def _field(number: int, scope: int, value: int | None, code: int = 0, kind: int = 3) -> Any:
    return SimpleNamespace(
        fieldId=number, scopeId=scope, nvmlReturn=code, valueType=kind,
        value=SimpleNamespace(uiVal=value, ulVal=value, ullVal=value, sllVal=value, siVal=value,
                              usVal=value),
    )  # fmt: skip


def test_field_values_are_asked_in_batches_of_bounded_size() -> None:
    sizes: list[int] = []

    def fields(handle: str, wanted: list[tuple[int, int]]) -> list[Any]:
        sizes.append(len(wanted))
        return [_field(number, scope, number * 10 + scope) for number, scope in wanted]

    answers = nvml_links.field_values(
        collector(nvmlDeviceGetFieldValues=fields), [(7, link) for link in range(100)]
    )
    assert sizes == [64, 36]
    assert answers[(7, 99)].value == 169
    assert answers[(7, 3)].call == "nvmlDeviceGetFieldValues(7,3)"


@pytest.mark.parametrize(("kind", "ok"), [(0, False), (1, True), (5, True), (6, True), (9, False)])
def test_field_value_types(kind: int, ok: bool) -> None:
    out = collector(nvmlDeviceGetFieldValues=lambda h, w: [_field(1, 0, 8, kind=kind)])
    answer = nvml_links.field_values(out, [(1, 0)])[(1, 0)]
    assert answer.ok is ok
    assert answer.value == 8 if ok else answer.status is ClaimStatus.MALFORMED


def _links(states: list[int | None], fields: dict[tuple[int, int], int]) -> dict[str, Any]:
    def state(handle: str, link: int) -> int:
        if link >= len(states):
            raise FakeError(2)
        found = states[link]
        if found is None:
            raise FakeError(3)
        return found

    def values(handle: str, wanted: list[tuple[int, int]]) -> list[Any]:
        return [
            _field(*key, fields[key]) if key in fields else _field(*key, 0, code=3)
            for key in wanted
        ]

    out = collector(
        nvmlDeviceGetNvLinkState=state,
        nvmlDeviceGetFieldValues=values,
        nvmlDeviceGetNvLinkVersion=lambda handle, link: 6,
    )
    nvml_links.read_links(out)
    return by_id(out)


def test_links_left_out_by_fuses_do_not_exist() -> None:
    # Eight of eighteen, not in a row, one of them down: as an H800's read-out shows them.
    states: list[int | None] = [1, 1, None, 1, 0, 1, 1, 1, 1] + [None] * 9
    claims = _links(states, {(164, 0): 26562, (52, 0): 4, (59, 0): 5, (38, 0): 6, (45, 0): 7})
    assert claims["nvlink.link_count"].value == 8
    assert claims["nvlink.active_count"].value == 7
    assert claims["nvlink.link_speed_kb_s"].value == 26562000
    assert claims["nvlink.version"].value == 6
    # NVML's own totals win where they are there; CRC is flits and data together.
    assert claims["nvlink.replay_error_count"].value == 4
    assert claims["nvlink.recovery_error_count"].value == 5
    assert claims["nvlink.crc_error_count"].value == 13


def test_links_that_are_all_down_have_no_speed() -> None:
    claims = _links([0, 0], {(164, 0): 0, (164, 1): 0})
    assert claims["nvlink.link_count"].value == 2
    assert claims["nvlink.active_count"].value == 0
    assert claims["nvlink.link_speed_kb_s"].status is ClaimStatus.NOT_FOUND
    assert claims["nvlink.replay_error_count"].status is not ClaimStatus.OK


def test_half_a_crc_total_is_no_total() -> None:
    claims = _links([1, 1], {(38, 0): 6, (163, 0): 20, (163, 1): 21})
    assert claims["nvlink.crc_error_count"].value == 41


def test_no_link_at_all_is_a_reason() -> None:
    for states in ([None, None], []):
        claims = _links(list(states), {})
        assert claims["nvlink.link_count"].status is ClaimStatus.NOT_SUPPORTED


def _profile(slices: int, mib: int, name: str | None = None) -> Any:
    extra = {} if name is None else {"name": name}
    return SimpleNamespace(
        sliceCount=slices, memorySizeMB=mib, multiprocessorCount=14, instanceCount=7, **extra
    )


@pytest.mark.parametrize(
    ("slices", "mib", "total_mib", "name"),
    [
        (1, 4864, 40960, "1g.5gb"), (3, 19968, 40960, "3g.20gb"), (7, 40192, 40960, "7g.40gb"),
        (1, 9728, 81920, "1g.10gb"), (2, 19968, 81920, "2g.20gb"), (7, 80896, 81920, "7g.80gb"),
        (1, 5836, 24576, "1g.6gb"), (1, 4864, 0, "1g.5gb"),
    ],
)  # fmt: skip
def test_profiles_without_a_name_are_named(
    slices: int, mib: int, total_mib: int, name: str
) -> None:
    assert nvml_mig._profile_name(_profile(slices, mib), total_mib << 20) == name


def test_profile_names_cannot_break_the_list() -> None:
    out = collector(
        nvmlDeviceGetGpuInstanceProfileInfo=lambda h, p, version: _profile(1, 4864, "MIG 1g,5:gb")
    )
    nvml_mig.read_mig_profiles(out)
    assert by_id(out)["mig.profiles"].status is ClaimStatus.MALFORMED


def test_card_without_mig_says_so() -> None:
    out = collector(nvmlDeviceGetGpuInstanceProfileInfo=raising(FakeError(2)))
    nvml_mig.read_mig_profiles(out)
    assert by_id(out)["mig.profiles"].status is ClaimStatus.NOT_SUPPORTED


def test_retired_pages_keep_what_one_cause_says() -> None:
    def pages(handle: str, cause: int) -> list[dict[str, int]]:
        if cause == 0:
            raise FakeError(3)
        return [{"address": 1, "timestamp": 1566430001}, {"address": 2, "timestamp": 0}]

    out = collector(nvmlDeviceGetRetiredPages_v2=pages)
    nvml_structs.read_retired(out)
    claims = by_id(out)
    assert claims["retired.single_bit_count"].status is ClaimStatus.NOT_SUPPORTED
    assert claims["retired.double_bit_count"].value == 2
    assert claims["retired.first_time_s"].value == claims["retired.last_time_s"].value == 1566430001
    none = collector()
    nvml_structs.read_retired(none)
    assert by_id(none)["retired.first_time_s"].status is ClaimStatus.NOT_FOUND


def test_nothing_is_read_before_the_session_is_open() -> None:
    with pytest.raises(RuntimeError):
        NvmlSession().device_claims(0)


def test_machine_without_a_driver_is_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("pynvml")

    def refuse() -> None:
        raise pynvml.NVMLError(12)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    lines: list[str] = []
    reading = read_nvml(lines.append)
    assert reading.devices == {}
    host = {claim.id: claim for claim in reading.host}
    assert host["source.nvml"].status is ClaimStatus.NOT_FOUND
    assert host["nvml.session"].raw_code == 12
    assert len(lines) == 1
