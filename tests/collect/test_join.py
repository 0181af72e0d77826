"""Joining claims by bus id, and choosing cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuverify.collect.join import join_devices, select_devices
from gpuverify.errors import UsageError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import DeviceEvidence, Evidence, EvidenceClass
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.reading import SourceReading

A, B, C = "00000000:07:00.0", "00000000:0F:00.0", "00010000:01:00.0"
ENDED = dict.fromkeys(("nvml", "nvidia-smi", "procfs", "pci-config", "host"), True)


def ok(claim_id: str, value: int | str | bool, source: Source) -> Claim:
    return Claim(id=claim_id, status=ClaimStatus.OK, value=value, source=source)


def cards(source: Source, *items: tuple[str, str]) -> SourceReading:
    """Readings of (key, uuid) pairs."""
    found = SourceReading()
    for key, uuid in items:
        found.add(key, ok("gpu.uuid", uuid, source))
        if not key.startswith("?"):
            found.add(key, ok("pci.bus_id", key, source))
    return found


def pci(*keys: str) -> SourceReading:
    found = SourceReading()
    for key in keys:
        found.add(key, ok("pci.bus_id", key, Source.PCI_CONFIG))
        found.add(key, ok("pci.device_id", 0x20B2, Source.PCI_CONFIG))
    return found


def join(
    root: Path, ended: dict[str, bool] | None = None, **named: SourceReading
) -> tuple[DeviceEvidence, ...]:
    readings = {name: named.get(name.replace("-", "_"), SourceReading()) for name in ENDED}
    return join_devices(readings, {**ENDED, **(ended or {})}, MachineTree(root))


def test_bus_order_and_index(tmp_path: Path) -> None:
    devices = join(
        tmp_path,
        nvml=cards(Source.NVML, (C, "u3"), (A, "u1"), ("?2", "u9")),
        pci_config=pci(B, A, C),
    )
    assert [device.claims.value("pci.bus_id") for device in devices] == [A, B, C, None]
    assert [device.index for device in devices] == [0, 1, 2, 3]
    assert devices[0].claims.value("pci.device_id") == 0x20B2


def test_functions_that_nvml_does_not_list(tmp_path: Path) -> None:
    devices = join(tmp_path, nvml=cards(Source.NVML, (A, "u1")), pci_config=pci(A, B))
    assert [device.claims.value("gpu.listed_by_nvml") for device in devices] == [True, False]


def test_a_dead_nvml_says_nothing_by_its_silence(tmp_path: Path) -> None:
    (device,) = join(tmp_path, {"nvml": False}, pci_config=pci(A))
    claim = device.claims.read("gpu.listed_by_nvml")
    assert claim.status is ClaimStatus.NOT_ASKED
    assert claim.raw_text == "NVML could not be asked"


def test_nothing_behind_nvmls_card(tmp_path: Path) -> None:
    nvml = cards(Source.NVML, (A, "u1"))
    nvml.add(A, ok("gpu.minor_number", 5, Source.NVML))
    (device,) = join(tmp_path, nvml=nvml)
    assert device.claims.get("pci.device_id", Source.PCI_CONFIG).status is ClaimStatus.NOT_FOUND
    assert device.claims.get("gpu.uuid", Source.PROCFS).status is ClaimStatus.NOT_FOUND
    assert device.claims.value("device_node.present") is False


def test_a_dead_source_is_not_an_empty_one(tmp_path: Path) -> None:
    ended = {"pci-config": False, "procfs": False}
    (device,) = join(tmp_path, ended, nvml=cards(Source.NVML, (A, "u1")))
    assert device.claims.get("pci.device_id", Source.PCI_CONFIG).status is ClaimStatus.NOT_ASKED
    assert device.claims.get("gpu.uuid", Source.PROCFS).status is ClaimStatus.NOT_ASKED


def test_uuid_joins_a_card_without_a_bus_id(tmp_path: Path) -> None:
    devices = join(
        tmp_path,
        nvml=cards(Source.NVML, (A, "u1"), (B, "u2")),
        nvidia_smi=cards(Source.NVIDIA_SMI, (A, "u1"), ("?nvidia-smi:1", "u2")),
    )
    assert len(devices) == 2
    assert devices[1].claims.value("gpu.uuid", Source.NVIDIA_SMI) == "u2"


@pytest.mark.parametrize(
    "smi",
    [
        [("?0", "u7")],  # nobody else has it
        [(A, "u1"), ("?1", "u1")],  # the source already speaks about that card: a clone
        [("?0", "u2"), ("?1", "u2")],  # only one of two can be it
    ],
)
def test_doubtful_cards_stay_apart(tmp_path: Path, smi: list[tuple[str, str]]) -> None:
    devices = join(
        tmp_path,
        nvml=cards(Source.NVML, (A, "u1"), (B, "u2")),
        nvidia_smi=cards(Source.NVIDIA_SMI, *smi),
    )
    assert len(devices) == 3


def test_nameless_cards_of_two_sources_are_two(tmp_path: Path) -> None:
    devices = join(
        tmp_path,
        nvml=cards(Source.NVML, ("?0", "u1")),
        procfs=cards(Source.PROCFS, ("?0", "u2")),
    )
    assert len(devices) == 2


def test_same_uuid_on_two_bus_ids_is_two_cards(tmp_path: Path) -> None:
    assert len(join(tmp_path, nvml=cards(Source.NVML, (A, "u1"), (B, "u1")))) == 2


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    devices = join(tmp_path, nvml=cards(Source.NVML, (A, "GPU-aa"), (B, "GPU-bb"), (C, "GPU-bb")))
    return Evidence(
        evidence_class=EvidenceClass.REPLAYED, origin="test", tool="test", devices=devices
    )


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        ((), ()),
        (("1",), (1,)),
        (("gpu-AA",), (0,)),
        (("0000:0f:00.0", "0"), (0, 1)),
        (("0f:00.0", "1", " 1 "), (1,)),
        (("10000:01:00.0",), (2,)),
    ],
)
def test_select(evidence: Evidence, names: tuple[str, ...], indices: tuple[int, ...]) -> None:
    assert select_devices(evidence.devices, names) == indices


def test_a_card_is_found_by_what_any_source_says_of_it(tmp_path: Path) -> None:
    """NVML and the kernel may tell two UUIDs of one card: either names it, and it alone."""
    devices = join(
        tmp_path,
        nvml=cards(Source.NVML, (A, "GPU-patched"), (B, "GPU-bb")),
        procfs=cards(Source.PROCFS, (A, "GPU-own"), (B, "GPU-bb")),
        pci_config=pci(A, B, C),
    )
    assert select_devices(devices, ("GPU-own",)) == (0,)
    assert select_devices(devices, ("gpu-PATCHED", "10000:01:00.0")) == (0, 2)


@pytest.mark.parametrize("name", ["3", "-1", "", "GPU-cc", "GPU-bb", "00:00.0", "9" * 5000, "²"])
def test_select_what_is_not_there(evidence: Evidence, name: str) -> None:
    with pytest.raises(UsageError, match="counted from 0"):
        select_devices(evidence.devices, (name,))


def test_the_refusal_says_where_and_what_there_is(evidence: Evidence) -> None:
    with pytest.raises(UsageError, match=r"several GPUs have .* in a\.log; indexes there: 0, 1, 2"):
        select_devices(evidence.devices, ("GPU-bb",), "a.log")
    with pytest.raises(UsageError, match=r"\\x1b.*: no GPU has .*there: none"):
        select_devices((), ("\x1b[2J",))
