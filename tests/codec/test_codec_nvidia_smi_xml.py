"""`nvidia-smi -q -x`: every field from its place, every trap around it."""

from __future__ import annotations

import re

import pytest

from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml
from gpuverify.errors import FormatError
from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass

MIB = 2**20

AMPERE = {
    "gpu.name": "NVIDIA A100-SXM4-80GB",
    "gpu.brand": "NVIDIA",
    "gpu.architecture": "Ampere",
    "gpu.display_active": False,
    "gpu.persistence_mode": True,
    "mig.mode_current": True,
    "mig.mode_pending": False,
    "mig.device_count": 2,
    "gpu.serial": "1324021033417",
    "gpu.uuid": "GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4",
    "gpu.pdi": "0x9f3c21d47a6b5e08",
    "gpu.minor_number": 3,
    "gpu.vbios_version": "92.00.9E.00.02",
    "gpu.multi_gpu_board": False,
    "gpu.board_id": "0x1a00",
    "gpu.board_part_number": "692-2G506-0212-002",
    "gpu.gpu_part_number": "20B2-895-A1",
    "platform.slot_number": 5,
    "platform.tray_index": 6,
    "platform.host_id": 7,
    "platform.peer_type": "none",
    "gpu.module_id": 4,
    "inforom.image_version": "G506.0212.00.01",
    "inforom.oem_object": "2.1",
    "inforom.ecc_object": "6.16",
    "inforom.bbx_flush_time": "2031/02/03 04:05:06.789",
    "gpu.virtualization_mode": "pass-through",
    "gpu.reset_required": True,
    "gpu.recovery_action": "none",
    "gpu.gsp_firmware_version": "550.54.15",
    "gpu.responding": True,
    "gpu.process_count": 2,
    "pci.bus_id": "00000000:1A:00.0",
    "pci.class_code": 0x030200,
    "pci.device_id": 0x20B2,
    "pci.vendor_id": 0x10DE,
    "pci.subsystem_device_id": 0x147F,
    "pci.subsystem_vendor_id": 0x10DE,
    "pci.link_generation_max": 4,
    "pci.link_generation_current": 3,
    "pci.link_generation_device_max": 5,
    "pci.link_width_max": 16,
    "pci.link_width_current": 8,
    "pci.replay_count": 11,
    "pci.bar1_bytes": 131072 * MIB,
    "clock.event_reasons": "gpu_idle,hw_slowdown",
    "clock.graphics_max_khz": 1_411_000,
    "clock.sm_max_khz": 1_410_000,
    "clock.memory_max_khz": 1_593_000,
    "clock.memory_supported_max_khz": 1_594_000,
    "clock.video_max_khz": 1_290_000,
    "memory.total_bytes": 81920 * MIB,
    "memory.reserved_bytes": 869 * MIB,
    "memory.used_bytes": 42 * MIB,
    "ecc.mode_current": True,
    "ecc.mode_pending": False,
    "ecc.volatile.sram_correctable": 12,
    "ecc.volatile.sram_uncorrectable_parity": 13,
    "ecc.volatile.sram_uncorrectable_secded": 14,
    "ecc.volatile.dram_correctable": 15,
    "ecc.volatile.dram_uncorrectable": 16,
    "ecc.aggregate.sram_correctable": 17,
    "ecc.aggregate.sram_uncorrectable": 18,
    "ecc.aggregate.dram_correctable": 19,
    "ecc.aggregate.dram_uncorrectable": 20,
    "ecc.sram_threshold_exceeded": False,
    "repair.channel_pending": True,
    "repair.tpc_pending": False,
    "remap.correctable_count": 21,
    "remap.uncorrectable_count": 22,
    "remap.pending": True,
    "remap.failure": False,
    "remap.histogram_max": 630,
    "remap.histogram_high": 4,
    "remap.histogram_partial": 3,
    "remap.histogram_low": 2,
    "remap.histogram_none": 1,
    "temperature.gpu_celsius": 31,
    "temperature.memory_celsius": -2,
    "power.draw_mw": 61_070,
    "power.limit_enforced_mw": 410_000,
    "power.limit_default_mw": 400_500,
    "power.limit_min_mw": 100_000,
    "power.limit_max_mw": 420_000,
}

VOLTA = {
    "gpu.name": "Tesla V100-SXM2-32GB",
    "pci.bus_id": "00000000:3B:00.0",
    "mig.device_count": 0,
    "gpu.process_count": 0,
    "gpu.serial": "0323418005519",
    "gpu.uuid": "GPU-1b7e44c2-90a3-4d5f-8e61-c03a5d2f7b98",
    "gpu.board_part_number": "900-2G503-0010-000",
    "pci.device_id": 0x1DB5,
    "pci.vendor_id": 0x10DE,
    "pci.subsystem_device_id": 0x1249,
    "pci.subsystem_vendor_id": 0x10DE,
    "memory.total_bytes": 32510 * MIB,
    "ecc.aggregate.dram_correctable": 31,
    "ecc.aggregate.single_bit_total": 32,
    "ecc.aggregate.dram_uncorrectable": 33,
    "ecc.aggregate.double_bit_total": 34,
    "retired.single_bit_count": 2,
    "retired.double_bit_count": 3,
    "retired.pending": True,
    "retired.first_time_s": 1_893_632_523,
    "retired.last_time_s": 1_913_988_763,
    "power.draw_mw": 41_500,
    "power.limit_default_mw": 300_000,
    "power.limit_enforced_mw": 289_000,
    "gpu.responding": True,
}


def read(text: str | bytes) -> Evidence:
    return read_nvidia_smi_xml(text.encode() if isinstance(text, str) else text, "log.xml")


def first(text: str) -> ClaimSet:
    return read(text).devices[0].claims


def ok_values(claims: ClaimSet) -> dict[str, object]:
    return {claim.id: claim.value for claim in claims if claim.ok}


def one_gpu(body: str, head: str = "") -> str:
    return f"<nvidia_smi_log>{head}<gpu id='00000000:01:00.0'>{body}</gpu></nvidia_smi_log>"


def test_every_field_of_both_generations(sample_xml: str) -> None:
    evidence = read(sample_xml)
    assert evidence.evidence_class is EvidenceClass.IMPORTED
    assert evidence.tool == "nvidia-smi 550.54.15"
    assert evidence.collected_ms == 1_927_707_072_000
    assert ok_values(evidence.devices[0].claims) == AMPERE
    assert ok_values(evidence.devices[1].claims) == VOLTA
    assert ok_values(evidence.host) == {
        "driver.version": "550.54.15",
        "driver.cuda_version": "12.4",
        "host.attached_gpu_count": 2,
    }
    assert all(
        claim.source is Source.NVIDIA_SMI and claim.call
        for device in evidence.devices
        for claim in device.claims
    )


def test_call_is_the_path_in_the_document(sample_xml: str) -> None:
    claims = read(sample_xml).devices[1].claims
    call = claims.read("ecc.aggregate.dram_correctable").call
    assert call == "gpu[1]/ecc_errors/aggregate/single_bit/device_memory"


def test_reading_twice_gives_the_same(sample_xml: str) -> None:
    assert read(sample_xml) == read(sample_xml)


@pytest.mark.parametrize("tag", ["</supported_clocks>", "<processes>"])
def test_truncated_says_the_line(sample_xml: str, tag: str) -> None:
    with pytest.raises(FormatError, match=r"line \d+: truncated XML") as caught:
        read(sample_xml[: sample_xml.index(tag)])
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


def test_prompt_and_warning_around_the_document(sample_xml: str) -> None:
    evidence = read(
        "root@host:~# nvidia-smi -q -x\n"
        + sample_xml
        + "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\nroot@host:~#\n"
    )
    assert evidence.host.value("host.inforom_warnings") == "00000000:3B:00.0"
    assert evidence.devices[1].claims.value("inforom.valid") is False
    assert not evidence.devices[0].claims.read("inforom.valid").ok


def test_utf16_as_powershell_writes_it(sample_xml: str) -> None:
    wide = sample_xml.replace("\n", "\r\n").encode("utf-16")
    assert read(wide) == read(sample_xml)
    assert read(b"\xef\xbb\xbf" + sample_xml.encode()) == read(sample_xml)


def test_several_documents_are_refused(sample_xml: str) -> None:
    with pytest.raises(FormatError, match="several"):
        read(sample_xml + sample_xml)


def test_internal_subset_without_entities_is_honest(sample_xml: str) -> None:
    subset = "<!DOCTYPE nvidia_smi_log [<!ELEMENT nvidia_smi_log (gpu*)>]>"
    changed = re.sub("<!DOCTYPE[^>]*>", subset, sample_xml)
    assert read(changed) == read(sample_xml)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE nvidia_smi_log [<!ENTITY a "b">]>',
        '<!DOCTYPE nvidia_smi_log [<!ENTITY % a SYSTEM "x">]>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "http://example.org/a.dtd">',
        '<!DOCTYPE nvidia_smi_log SYSTEM "../a.dtd">',
        '<!DOCTYPE nvidia_smi_log PUBLIC "p" "a.dtd">',
        '<!DOCTYPE html SYSTEM "a.dtd">',
    ],
)
def test_entities_and_foreign_document_types_are_refused(sample_xml: str, doctype: str) -> None:
    with pytest.raises(FormatError):
        read(re.sub("<!DOCTYPE[^>]*>", doctype, sample_xml))


def test_use_of_an_unknown_entity_is_refused(sample_xml: str) -> None:
    with pytest.raises(FormatError):
        read(sample_xml.replace("Ampere", "&ampere;"))


def test_entity_bomb_is_refused_at_once() -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    with pytest.raises(FormatError, match="entity"):
        read(f"<!DOCTYPE nvidia_smi_log [{levels}]><nvidia_smi_log>&l11;</nvidia_smi_log>")


@pytest.mark.parametrize("depth", [40, 200_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(FormatError, match="nested deeper"):
        read(one_gpu("<a>" * depth + "</a>" * depth))


def test_deep_nesting_inside_supported_clocks_is_refused() -> None:
    inner = "<a>" * 100_000 + "</a>" * 100_000
    with pytest.raises(FormatError, match="nested deeper"):
        read(one_gpu(f"<supported_clocks>{inner}</supported_clocks>"))


def test_a_million_gpus_are_refused() -> None:
    many = "<gpu></gpu>" * 1_000_000
    with pytest.raises(FormatError, match="more than 256 GPUs"):
        read(f"<nvidia_smi_log>{many}</nvidia_smi_log>")


@pytest.mark.parametrize(
    "hidden",
    [
        "<!-- <supported_clocks> -->{0}<!-- </supported_clocks> -->",
        "<supported_clocks><!-- </supported_clocks> --></supported_clocks>{0}",
        "<supported_clocks><supported_clocks></supported_clocks></supported_clocks>{0}",
        "<x><supported_clocks></supported_clocks></x>{0}",
        "<supported_clocks><?a </supported_clocks>?></supported_clocks>{0}",
        "<supported_clocks/>{0}<supported_clocks></supported_clocks>",
        "<supported_clocks a='1'></supported_clocks>{0}",
        "<supported_clocks><x/><![CDATA[</supported_clocks>]]></supported_clocks>{0}",
    ],
)
def test_nothing_hides_behind_the_clock_list(hidden: str) -> None:
    body = hidden.format("<serial>1320000001234</serial>")
    assert first(one_gpu(body)).value("gpu.serial") == "1320000001234"


def test_malformed_clock_list_is_refused() -> None:
    with pytest.raises(FormatError):
        read(one_gpu("<supported_clocks><a></b></supported_clocks>"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("N/A", ClaimStatus.NOT_SUPPORTED),
        ("[N/A]", ClaimStatus.NOT_SUPPORTED),
        ("", ClaimStatus.NOT_SUPPORTED),
        ("None", ClaimStatus.NOT_SUPPORTED),
        ("Requested functionality has been deprecated", ClaimStatus.NOT_SUPPORTED),
        ("Unknown Error", ClaimStatus.FAILED),
        ("Insufficient Permissions", ClaimStatus.NO_PERMISSION),
        ("[Function Not Found]", ClaimStatus.NOT_FOUND),
        ("Not Found", ClaimStatus.NOT_FOUND),
        ("GPU is lost", ClaimStatus.DEVICE_LOST),
        ("[REDACTED]", ClaimStatus.SENTINEL),
        ("XXXX", ClaimStatus.SENTINEL),
        ("81920 GiB", ClaimStatus.MALFORMED),
        ("81920", ClaimStatus.MALFORMED),
        ("-1 MiB", ClaimStatus.MALFORMED),
        ("17592186044415 MiB", ClaimStatus.SENTINEL),
    ],
)
def test_absent_values_keep_their_reason(text: str, status: ClaimStatus) -> None:
    body = f"<fb_memory_usage><total>{text}</total></fb_memory_usage>"
    claim = first(one_gpu(body)).read("memory.total_bytes")
    assert (claim.status, claim.value, claim.raw_text) == (status, None, text)


@pytest.mark.parametrize(
    ("tag", "text", "claim_id"),
    [
        ("serial", "0", "gpu.serial"),
        ("serial", "1650000000001", "gpu.serial"),
        ("uuid", "GPU-00000000-0000-0000-0000-000000000000", "gpu.uuid"),
        ("uuid", "GPU-00000003-0000-0000-0000-000000000003", "gpu.uuid"),
        ("pdi", "0x0000000000000001", "gpu.pdi"),
        ("pdi", "0xffffffffffffffff", "gpu.pdi"),
    ],
)
def test_place_holders_are_no_identity(tag: str, text: str, claim_id: str) -> None:
    claim = first(one_gpu(f"<{tag}>{text}</{tag}>")).read(claim_id)
    assert claim.status is ClaimStatus.SENTINEL
    assert claim.raw_text == text


def test_masked_device_id() -> None:
    claims = first(one_gpu("<pci><pci_device_id>000000DE</pci_device_id></pci>"))
    assert claims.read("pci.device_id").status is ClaimStatus.SENTINEL
    assert claims.read("pci.vendor_id").status is ClaimStatus.SENTINEL
    odd = first(one_gpu("<pci><pci_sub_system_id>00007377</pci_sub_system_id></pci>"))
    assert odd.value("pci.subsystem_vendor_id") == 0x7377
    assert odd.value("pci.subsystem_device_id") == 0


def test_bare_group_gives_every_field_the_reason(sample_xml: str) -> None:
    claims = read(sample_xml).devices[1].claims
    for claim_id in ("remap.correctable_count", "remap.failure", "remap.histogram_none"):
        assert claims.read(claim_id).status is ClaimStatus.NOT_SUPPORTED
    lost = first(
        one_gpu("<product_name>X</product_name><remapped_rows>GPU is lost</remapped_rows>")
    )
    assert lost.read("remap.pending").status is ClaimStatus.DEVICE_LOST


def test_lost_gpu_is_named() -> None:
    evidence = read(one_gpu("<temperature><gpu_temp>GPU is lost</gpu_temp></temperature>"))
    assert evidence.devices[0].claims.value("gpu.responding") is False
    assert evidence.host.value("host.lost_devices") == "00000000:01:00.0"


def test_power_nested_under_the_ceiling_since_610() -> None:
    nested = (
        "<gpu_power_readings><gpu_ceiling_power_limit><default_power_limit>250.00 W"
        "</default_power_limit></gpu_ceiling_power_limit></gpu_power_readings>"
    )
    assert first(one_gpu(nested)).value("power.limit_default_mw") == 250_000


def test_versions_with_remarks() -> None:
    head = "<driver_version>610.57.04 [Deprecated; will be removed]</driver_version>"
    evidence = read(one_gpu("", head))
    assert evidence.host.value("driver.version") == "610.57.04"
    assert evidence.tool == "nvidia-smi 610.57.04"


def test_windows_and_vgpu_guest() -> None:
    evidence = read(
        one_gpu(
            "<driver_model><current_dm>WDDM</current_dm></driver_model><gpu_virtualization_mode>"
            "<virtualization_mode>VGPU</virtualization_mode></gpu_virtualization_mode>"
        )
    )
    assert evidence.host.value("host.operating_system") == "windows"
    assert evidence.host.value("host.vgpu_guest") is True


def test_a_slice_named_as_a_card() -> None:
    claims = first(one_gpu("<product_name>NVIDIA A100-SXM4-40GB MIG 1g.5gb</product_name>"))
    assert claims.value("mig.is_slice") is True


def test_unknown_schema_is_read_by_its_leaves(sample_xml: str) -> None:
    future = sample_xml.replace("nvsmi_device_v12.dtd", "nvsmi_device_v99.dtd").replace(
        "<serial>", "<quantum_state><serial>7</serial></quantum_state><serial>"
    )
    assert ok_values(first(future)) == AMPERE


@pytest.mark.parametrize("text", ["\u202eGB08-0001A", "&#x202e;GB08", "a&#x9;\u2066b"])
def test_bidi_characters_in_a_value_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"line 1: control or bidi") as caught:
        read(one_gpu(f"<product_name>{text}</product_name>"))
    assert str(caught.value).isprintable()


def test_other_invisible_characters_are_no_value() -> None:
    claim = first(one_gpu("<product_name>NVIDIA\u200bA100</product_name>")).read("gpu.name")
    assert claim.status is ClaimStatus.MALFORMED
    assert claim.raw_text == "NVIDIA\\u200bA100"


def test_long_value_is_cut() -> None:
    claim = first(one_gpu(f"<product_name>{'A' * 5000}</product_name>")).read("gpu.name")
    assert claim.status is ClaimStatus.MALFORMED
    assert claim.raw_text is not None
    assert len(claim.raw_text) == 200


@pytest.mark.parametrize(
    "data",
    [b"<html><body>no</body></html>", b"<?xml version='1.0'?><a/>", b"\x00<nvidia_smi_log/>", b"<"],
)
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data)
