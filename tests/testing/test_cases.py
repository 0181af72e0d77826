"""Cases: bases, edits and what they change."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from gpuverify.collect.replay import replay_case
from gpuverify.errors import FormatError, MissingInputError
from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.sources.cases import case_names, fixtures_folder, load_case
from gpuverify.sources.recording import RecordingError

BASE = "ga100/a100-sxm4-40gb"


def derived(tmp_path: Path, edits: str, base: str = BASE, head: str = "") -> Any:
    folder = tmp_path / "case"
    folder.mkdir(exist_ok=True)
    (folder / "case.toml").write_text(f'base = "{base}"\ntext = "a lie"\n{head}\n{edits}\n')
    return str(folder)


def edited(tmp_path: Path, edits: str, **options: Any) -> Any:
    return replay_case(derived(tmp_path, edits, **options))


def both(evidence: Any, claim: str, gpu: Any = 0) -> Any:
    claims = evidence.devices[gpu].claims
    return claims.value(claim, Source.NVML), claims.value(claim, Source.NVIDIA_SMI)


@pytest.mark.required
def test_the_bases_are_what_their_maker_makes() -> None:
    path = Path(__file__).resolve().parents[1] / "tools" / "make_bases.py"
    spec = importlib.util.spec_from_file_location("make_bases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = []
    for name, data in module.bases():
        names.append(name)
        assert (fixtures_folder() / name / "recording.json").read_bytes() == data, name
    assert len(set(names)) == len(names) >= 24


@pytest.mark.required
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in case_names()
        if (fixtures_folder() / name / "recording.json").is_file() or name.endswith("-x8")
    ],
)
def test_every_base_is_coherent(name: str) -> None:
    """All sources of an honest machine agree, and none of them is dead."""
    evidence = replay_case(name)
    assert {c.value for c in evidence.host if c.id.startswith("source.")} == {"ok"}
    assert len(evidence.devices) == evidence.host.value("host.pci_gpu_count")
    assert evidence.host.value("driver.version") == evidence.host.value("driver.kernel_version")
    for device in evidence.devices:
        for claim_id in (
            "gpu.name", "gpu.uuid", "gpu.vbios_version", "pci.bus_id", "pci.device_id",
            "pci.subsystem_device_id", "pci.subsystem_vendor_id", "memory.total_bytes",
            "pci.bar1_bytes", "clock.memory_max_khz", "gpu.board_part_number", "gpu.serial",
            "inforom.image_version", "ecc.mode_current", "remap.histogram_max", "gpu.minor_number",
            "power.limit_max_mw", "pci.link_width_max", "pci.class_code", "gpu.pdi",
        ):  # fmt: skip
            values = {c.value for c in device.claims.all(claim_id) if c.ok}
            assert len(values) <= 1, (claim_id, values)
        assert len(device.claims.all("pci.device_id")) == 3
        assert device.claims.value("device_node.present") is True
        assert device.claims.value("pci.driver") == "nvidia"


def test_copies_have_identities_of_their_own() -> None:
    evidence = replay_case("ga100/a100-sxm4-80gb-x8")
    assert len(evidence.devices) == 8
    for claim_id in ("gpu.uuid", "gpu.serial", "gpu.pdi", "pci.bus_id", "gpu.minor_number",
                     "gpu.module_id", "gpu.board_id"):  # fmt: skip
        for source in (Source.NVML, Source.NVIDIA_SMI):
            values = {device.claims.value(claim_id, source) for device in evidence.devices}
            assert len(values) == 8, (claim_id, source)
            assert None not in values
    assert evidence.host.value("host.attached_gpu_count", Source.NVIDIA_SMI) == 8


@pytest.mark.required
@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("gpu.name", "NVIDIA A100-SXM4-80GB"),
        ("gpu.serial", "1650922111222"),
        ("gpu.uuid", "GPU-0a0b0c0d-1111-2222-3333-444455556666"),
        ("gpu.pdi", "0xfedcba9876543210"),
        ("gpu.board_part_number", "692-2G506-0210-002"),
        ("gpu.vbios_version", "92.00.45.00.05"),
        ("gpu.virtualization_mode", "pass-through"),
        ("inforom.image_version", "G506.0210.00.03"),
        ("inforom.ecc_object", "7.16"),
        ("pci.device_id", 0x20B2),
        ("pci.subsystem_device_id", 0x1463),
        ("pci.subsystem_vendor_id", 0x1028),
        ("pci.link_width_max", 8),
        ("pci.link_generation_max", 3),
        ("pci.bar1_bytes", 131072 << 20),
        ("memory.total_bytes", 81920 << 20),
        ("memory.reserved_bytes", 839 << 20),
        ("clock.memory_max_khz", 1593000),
        ("clock.sm_max_khz", 1395000),
        ("power.limit_default_mw", 499000),
        ("power.limit_min_mw", 101000),
        ("power.limit_max_mw", 501000),
        ("power.draw_mw", 61730),
        ("temperature.gpu_celsius", 47),
        ("temperature.memory_celsius", 53),
        ("ecc.mode_current", False),
        ("ecc.aggregate.dram_uncorrectable", 5),
        ("ecc.volatile.sram_correctable", 7),
        ("ecc.aggregate.sram_uncorrectable_parity", 3),
        ("ecc.sram_threshold_exceeded", True),
        ("remap.correctable_count", 2),
        ("remap.uncorrectable_count", 4),
        ("remap.pending", True),
        ("remap.failure", True),
        ("remap.histogram_max", 638),
        ("remap.histogram_none", 2),
        ("repair.channel_pending", True),
        ("mig.mode_current", True),
        ("gpu.module_id", 5),
    ],
)
def test_one_edit_changes_both_views(tmp_path: Path, claim: str, value: Any) -> None:
    text = (
        {True: "true", False: "false"}.get(value, repr(value))
        if isinstance(value, bool)
        else (f'"{value}"' if isinstance(value, str) else str(value))
    )
    evidence = edited(tmp_path, f'[[edit]]\nclaim = "{claim}"\ngpu = 0\nvalue = {text}')
    assert both(evidence, claim) == (value, value)
    untouched = replay_case(BASE)
    assert both(untouched, claim) != (value, value)
    # PCI configuration is only changed by its own edit.
    for claim_id in ("pci.device_id", "pci.subsystem_device_id"):
        devices = (evidence.devices[0], untouched.devices[0])
        assert len({d.claims.value(claim_id, Source.PCI_CONFIG) for d in devices}) == 1


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("gpu.core_count", 4480),
        ("memory.bus_width_bits", 3072),
        ("inforom.bbx_time_run_s", 5400000),
        ("inforom.valid", False),
        ("nvlink.link_count", 8),
        ("nvlink.active_count", 3),
        ("nvlink.link_speed_kb_s", 26562000),
        ("mig.profiles", "1g.10gb:9856:14:7,7g.80gb:80896:98:1"),
        ("retired.double_bit_count", 3),
        ("repair.unrepairable_memory", True),
        ("gpu.reset_required", True),
        ("nvlink.replay_error_count", 9),
    ],
)
def test_edits_of_what_only_nvml_says(tmp_path: Path, claim: str, value: Any) -> None:
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else (f'"{value}"' if isinstance(value, str) else str(value))
    )
    evidence = edited(tmp_path, f'[[edit]]\nclaim = "{claim}"\nvalue = {text}')
    assert evidence.devices[0].claims.value(claim, Source.NVML) == value
    assert replay_case(BASE).devices[0].claims.value(claim, Source.NVML) != value


def test_all_and_single_gpus(tmp_path: Path) -> None:
    name = "ga100/a100-sxm4-80gb-x8"
    evidence = edited(
        tmp_path,
        '[[edit]]\nclaim = "gpu.name"\ngpu = 3\nvalue = "Odd One"\n'
        '[[edit]]\nclaim = "gpu.core_count"\ngpu = "all"\nvalue = 4480\n',
        base=name,
    )
    names = [device.claims.value("gpu.name", Source.NVML) for device in evidence.devices]
    assert names.count("Odd One") == 1
    assert names[3] == "Odd One"
    assert {d.claims.value("gpu.core_count", Source.NVML) for d in evidence.devices} == {4480}


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("not-supported", ClaimStatus.NOT_SUPPORTED),
        ("no-permission", ClaimStatus.NO_PERMISSION),
        ("device-lost", ClaimStatus.DEVICE_LOST),
        ("not-found", ClaimStatus.NOT_FOUND),
        ("failed", ClaimStatus.FAILED),
    ],
)
def test_values_can_be_taken_away_with_a_reason(tmp_path: Path, reason: str, status: Any) -> None:
    evidence = edited(tmp_path, f'[[edit]]\nclaim = "gpu.serial"\nabsent = "{reason}"')
    claim = evidence.devices[0].claims.get("gpu.serial", Source.NVML)
    assert (claim.status, claim.value) == (status, None)
    assert not evidence.devices[0].claims.get("gpu.serial", Source.NVIDIA_SMI).ok


def test_raw_edits(tmp_path: Path) -> None:
    evidence = edited(
        tmp_path,
        """
        [[edit]]
        nvml = "nvmlDeviceGetMemoryInfo_v2"
        field = "total"
        value = 85899345920
        [[edit]]
        leaf = "product_name"
        gpu = 0
        value = "Printed Name"
        [[edit]]
        leaf = "driver_version"
        value = "555.42.06"
        [[edit]]
        pci_config = "device_id"
        value = 0x20C2
        [[edit]]
        pci_config = "link_width_max"
        value = 4
        [[edit]]
        procfs = "Model"
        value = "Kernel Name"
        [[edit]]
        pci_file = "device"
        text = "0x20b2\\n"
        [[edit]]
        file = "/proc/sys/kernel/tainted"
        text = "4609\\n"
        [[edit]]
        file = "/proc/driver/nvidia/version"
        error = 13
        [[edit]]
        fail = "nvmlDeviceGetSerial"
        code = 999
        [[edit]]
        fail = "nvmlDeviceGetMaxClockInfo"
        arguments = [2]
        code = 4
        [[edit]]
        missing = ["nvmlDeviceGetPdi"]
        [[edit]]
        command = ["/usr/bin/nvidia-smi"]
        timed_out = true
        """,
    )
    claims = evidence.devices[0].claims
    assert both(evidence, "memory.total_bytes") == (85899345920, 42949672960)
    assert both(evidence, "gpu.name") == ("NVIDIA A100-SXM4-40GB", "Printed Name")
    assert claims.value("gpu.name", Source.PROCFS) == "Kernel Name"
    assert evidence.host.value("driver.version", Source.NVIDIA_SMI) == "555.42.06"
    assert claims.value("pci.device_id", Source.PCI_CONFIG) == 0x20C2
    assert claims.value("pci.link_width_max", Source.PCI_CONFIG) == 4
    assert claims.value("pci.attribute.device_id") == 0x20B2
    assert evidence.host.value("host.taint") == 4609
    refused = evidence.host.get("driver.kernel_version", Source.PROCFS)
    assert refused.status is ClaimStatus.NO_PERMISSION
    assert claims.get("gpu.serial", Source.NVML).raw_code == 999
    assert claims.get("clock.memory_max_khz", Source.NVML).status is ClaimStatus.NO_PERMISSION
    assert claims.get("clock.sm_max_khz", Source.NVML).ok
    assert claims.get("gpu.pdi", Source.NVML).status is ClaimStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("part", "devices", "nvml"),
    [("nvml", 8, 7), ("nvidia-smi", 8, 8), ("pci", 8, 8), ("gpu", 7, 7), ("node", 8, 8)],
)
def test_dropping(tmp_path: Path, part: str, devices: int, nvml: int) -> None:
    base = "ga100/a100-sxm4-80gb-x8"
    evidence = edited(tmp_path, f'[[edit]]\ndrop = "{part}"\ngpu = 2', base=base)
    assert len(evidence.devices) == devices
    assert evidence.host.value("host.attached_gpu_count", Source.NVML) == nvml
    listed = [d.claims.get("gpu.name", Source.NVML).ok for d in evidence.devices]
    assert sum(listed) == nvml
    if part == "nvml":
        assert evidence.devices[2].claims.value("gpu.listed_by_nvml") is False


def test_a_clone_shares_its_identity(tmp_path: Path) -> None:
    evidence = edited(tmp_path, '[[edit]]\ncopy_gpu = 0\nkeep = ["gpu.uuid", "gpu.pdi"]')
    first, second = evidence.devices
    for claim_id, same in (("gpu.uuid", True), ("gpu.pdi", True), ("gpu.serial", False)):
        for source in (Source.NVML, Source.NVIDIA_SMI):
            equal = first.claims.value(claim_id, source) == second.claims.value(claim_id, source)
            assert equal is same, (claim_id, source)


def test_a_lost_card(tmp_path: Path) -> None:
    evidence = edited(tmp_path, '[[edit]]\nclaim = "gpu.responding"\nvalue = false')
    assert evidence.devices[0].claims.value("gpu.responding", Source.NVML) is False


def test_bases_stand_behind_each_other(tmp_path: Path) -> None:
    first = tmp_path / "family" / "first"
    second = tmp_path / "family" / "second"
    for folder, base, name in ((first, BASE, "One"), (second, "./first", "Two")):
        folder.mkdir(parents=True)
        (folder / "case.toml").write_text(
            f'base = "{base}"\n[[edit]]\nclaim = "gpu.{"name" if name == "One" else "serial"}"\n'
            f'value = "{name}"\n'
        )
    evidence = replay_case(str(second))
    assert both(evidence, "gpu.name") == ("One", "One")
    assert both(evidence, "gpu.serial") == ("Two", "Two")
    (first / "case.toml").write_text('base = "./first"\n')
    with pytest.raises(FormatError, match="bases"):
        load_case(str(first))


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ('[[edit]]\nclaim = "gpu.name"\nvalue = "x"\nsurprise = 1', "surprise"),
        ('[[edit]]\nclaim = "gpu.nam"\nvalue = "x"', "gpu.nam"),
        ('[[edit]]\nclaim = "gpu.name"', "value"),
        ('[[edit]]\nclaim = "gpu.name"\nvalue = "x"\ngpu = "first"', "gpu"),
        ('[[edit]]\nclaim = "gpu.name"\nabsent = "away"', "away"),
        ("[[edit]]\nvalue = 3", "exactly one"),
        ('[[edit]]\nclaim = "gpu.name"\nleaf = "x"\nvalue = "x"', "exactly one"),
        ('[[edit]]\nfile = "relative"\ntext = ""', "absolute"),
        ('[[edit]]\nfile = "/x"\ntext = ""\nhex = ""', "one of"),
        ('[[edit]]\nfile = "/x"\nhex = "zz"', "hex"),
        ('[[edit]]\npci_config = "nothing"\nvalue = 3', "nothing"),
        ('[[edit]]\npci_config = "device_id"\nvalue = 1048576', "fit"),
        ('[[edit]]\nprocfs = "Nothing"\nvalue = "x"', "Nothing"),
        ('[[edit]]\ndrop = "all"\ngpu = 0', "drop"),
        ('[[edit]]\ncopy_gpu = 0\nkeep = ["gpu.name"]', "keep"),
        ('[[edit]]\nclaim = "mig.profiles"\nvalue = "1g"', "1g"),
        ('[[edit]]\nclaim = "nvlink.link_count"\nvalue = 99', "99"),
        ("copies = 0", "copies"),
        ("surprise = 1", "surprise"),
        ('edit = "x"', "edit"),
    ],
)
def test_a_wrong_edit_is_refused_with_its_place(tmp_path: Path, toml: str, complaint: str) -> None:
    head, edits = (toml, "") if not toml.startswith("[") else ("", toml)
    with pytest.raises(RecordingError, match=complaint):
        load_case(derived(tmp_path, edits, head=head))


def test_names_that_are_no_case(tmp_path: Path) -> None:
    for name in ("ga100/a100", "../secrets", str(tmp_path), "", "ga100"):
        with pytest.raises(MissingInputError, match="no such case"):
            load_case(name)
    with pytest.raises(MissingInputError, match="did you mean ga100/a100-sxm4-40gb"):
        load_case("a100-sxm4-40gb")
