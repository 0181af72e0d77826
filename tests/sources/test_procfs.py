"""What the kernel module prints, in the layouts of several driver branches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.procfs import read_procfs

KEY = "00000000:07:00.0"
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n"
    "GCC version:  gcc version 9.3.0 (Ubuntu 9.3.0-17ubuntu1~20.04)\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  "
    "(dvs-builder@U16-I1-N08-05-1)  Thu Feb 22 01:25:25 UTC 2024\nGCC version:  gcc 13.2.0\n"
)
INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-80GB
IRQ:   \t\t 266
GPU UUID: \t GPU-5c35fd20-a86f-4b11-93a3-0c4e1f6a7b21
Video BIOS: \t 92.00.45.00.0a
Bus Type: \t PCIe
DMA Size: \t 47 bits
Bus Location: \t 0000:07:00.0
Device Minor: \t 3
GPU Firmware: \t 550.54.14
GPU Excluded:\t No
"""


class Nodes(MachineTree):
    """A root in which chosen paths are character devices (making one needs root)."""

    nodes: tuple[str, ...] = ()

    def kind(self, path: str) -> str:
        return "character-device" if path in self.nodes else super().kind(path)


def make(root: Path, information: str | None = INFORMATION, version: str = CLOSED) -> None:
    folder = root / "proc/driver/nvidia"
    (folder / "gpus").mkdir(parents=True)
    (folder / "version").write_text(version)
    if information is not None:
        card = folder / "gpus/0000:07:00.0"
        card.mkdir()
        (card / "information").write_text(information)


def card(tree: MachineTree, key: str = KEY) -> ClaimSet:
    return ClaimSet(tuple(read_procfs(tree).devices[key]))


@pytest.mark.parametrize(
    ("text", "number", "flavour"),
    [(CLOSED, "470.57.02", "proprietary"), (OPEN, "550.54.14", "open")],
)
def test_version_and_flavour(tmp_path: Path, text: str, number: str, flavour: str) -> None:
    make(tmp_path, version=text)
    host = ClaimSet(tuple(read_procfs(MachineTree(tmp_path)).host))
    assert host.value("driver.kernel_version", Source.PROCFS) == number
    assert host.value("driver.flavour") == flavour
    assert host.value("source.procfs") == "ok"


def test_card(tmp_path: Path) -> None:
    make(tmp_path)
    tree = Nodes(tmp_path)
    tree.nodes = ("/dev/nvidia3",)
    claims = card(tree)
    assert {claim.id: claim.value for claim in claims} == {
        "gpu.name": "NVIDIA A100-SXM4-80GB",
        "gpu.uuid": "GPU-5c35fd20-a86f-4b11-93a3-0c4e1f6a7b21",
        "gpu.vbios_version": "92.00.45.00.0A",
        "pci.bus_id": KEY,
        "gpu.minor_number": 3,
        "gpu.gsp_firmware_version": "550.54.14",
        "gpu.excluded": False,
        "device_node.present": True,
    }


def test_real_node(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a device node needs root")
    make(tmp_path)
    (tmp_path / "dev").mkdir()
    try:
        os.mknod(tmp_path / "dev/nvidia3", 0o20666, os.makedev(195, 3))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")
    assert card(MachineTree(tmp_path)).value("device_node.present") is True


@pytest.mark.parametrize("kind", ["nothing", "file", "directory", "fifo"])
def test_what_is_no_node(tmp_path: Path, kind: str) -> None:
    make(tmp_path)
    node = tmp_path / "dev/nvidia3"
    node.parent.mkdir()
    if kind == "file":
        node.touch()
    elif kind == "directory":
        node.mkdir()
    elif kind == "fifo":
        os.mkfifo(node)
    assert card(MachineTree(tmp_path)).value("device_node.present") is False


def test_card_that_was_never_started(tmp_path: Path) -> None:
    text = INFORMATION.replace("92.00.45.00.0a", "??.??.??.??.??").replace(
        "GPU-5c35fd20-a86f-4b11-93a3-0c4e1f6a7b21", "GPU-????????-????-????-????-????????????"
    )
    make(tmp_path, text.replace("550.54.14", "N/A").replace("No\n", "Yes\n"))
    claims = card(MachineTree(tmp_path))
    assert claims.read("gpu.vbios_version").status is ClaimStatus.SENTINEL
    assert claims.read("gpu.uuid").status is ClaimStatus.SENTINEL
    assert claims.read("gpu.gsp_firmware_version").status is ClaimStatus.NOT_SUPPORTED
    assert claims.value("gpu.excluded") is True


def test_old_driver_leaves_lines_out(tmp_path: Path) -> None:
    make(tmp_path, "Model: \t\t Tesla K80\nBus Location: \t 0000:07:00.0\nDevice Minor: x\n")
    claims = card(MachineTree(tmp_path))
    assert claims.value("gpu.name") == "Tesla K80"
    assert claims.read("gpu.uuid").status is ClaimStatus.NOT_FOUND
    assert claims.read("gpu.minor_number").status is ClaimStatus.MALFORMED
    assert claims.read("gpu.excluded").status is ClaimStatus.NOT_ASKED
    assert claims.read("device_node.present").status is ClaimStatus.NOT_ASKED


def test_unreadable_card(tmp_path: Path) -> None:
    make(tmp_path, None)
    (tmp_path / "proc/driver/nvidia/gpus/0000:07:00.0/information").mkdir(parents=True)
    claims = card(MachineTree(tmp_path))
    assert claims.read("gpu.name").status is ClaimStatus.FAILED


def test_strange_folder_is_kept_apart(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "proc/driver/nvidia/gpus/odd\x1b").mkdir()
    keys = list(read_procfs(MachineTree(tmp_path)).devices)
    assert keys == [KEY, "?procfs:odd\\x1b"]


@pytest.mark.parametrize("text", ["", "NVRM version: none\n", "\x00\xff\n", "Kernel 550.54.14\n"])
def test_version_that_is_none(tmp_path: Path, text: str) -> None:
    make(tmp_path, version=text)
    host = ClaimSet(tuple(read_procfs(MachineTree(tmp_path)).host))
    assert host.read("driver.kernel_version").status is ClaimStatus.MALFORMED


def test_no_driver(tmp_path: Path) -> None:
    reading = read_procfs(MachineTree(tmp_path))
    host = ClaimSet(tuple(reading.host))
    assert not reading.devices
    for claim_id in ("driver.kernel_version", "driver.flavour", "source.procfs"):
        assert host.read(claim_id).status is ClaimStatus.NOT_FOUND
