"""Finding, checking and running the machine's nvidia-smi."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.nvidia_smi import run_nvidia_smi
from gpuverify.sources.reading import SourceReading

CARD = """
<gpu id="{bus}">
  <product_name>NVIDIA A100-SXM4-80GB</product_name>
  <uuid>{uuid}</uuid>
  <gpu_part_number>20B2-895-A1</gpu_part_number>
  <pci><pci_bus_id>{bus}</pci_bus_id><pci_device_id>20B210DE</pci_device_id></pci>
</gpu>"""
UUIDS = (
    "GPU-5c35fd20-a86f-4b11-93a3-0c4e1f6a7b21",
    "GPU-6d46fe31-b970-4c22-a4b4-1d5f2a7b8c32",
)


def document(*buses: str) -> bytes:
    """Write a small `nvidia-smi -q -x` document."""
    cards = "".join(
        CARD.format(bus=bus, uuid=uuid) for bus, uuid in zip(buses, UUIDS, strict=False)
    )
    return (
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
        "<nvidia_smi_log><timestamp>Thu May  2 10:11:12 2024</timestamp>"
        "<driver_version>550.54.14</driver_version><cuda_version>12.4</cuda_version>"
        f"<attached_gpus>{len(buses)}</attached_gpus>{cards}\n</nvidia_smi_log>\n"
    ).encode()


class Commands:
    """Plays nvidia-smi and a package manager, and notes what was asked."""

    def __init__(self, query: CommandOutput, table: CommandOutput | None = None) -> None:
        self.query = query
        self.table = table or CommandOutput(exit_code=0, stdout=b"")
        self.asked: list[tuple[str, ...]] = []

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        self.asked.append(argv)
        assert timeout_s > 0
        if argv[0].endswith("dpkg-query"):
            return CommandOutput(exit_code=0, stdout=f"nvidia-utils-550: {argv[-1]}\n".encode())
        if argv[1:] == ("-q", "-x"):
            return self.query
        return self.table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/nvidia-smi").write_bytes(b"\x7fELF\x02\x01")
    (tmp_path / "usr/bin/dpkg-query").touch()
    return tmp_path


def host(reading: SourceReading) -> ClaimSet:
    return ClaimSet(tuple(reading.host))


def test_document_becomes_device_claims(root: Path) -> None:
    commands = Commands(
        CommandOutput(exit_code=0, stdout=document("00000000:07:00.0", "00000000:0F:00.0"))
    )
    lines: list[str] = []
    reading = run_nvidia_smi(MachineTree(root), commands, progress=lines.append)
    assert sorted(reading.devices) == ["00000000:07:00.0", "00000000:0F:00.0"]
    claims = ClaimSet(tuple(reading.devices["00000000:0F:00.0"]))
    assert claims.value("gpu.uuid", Source.NVIDIA_SMI) == UUIDS[1]
    assert claims.value("gpu.gpu_part_number") == "20B2-895-A1"
    found = host(reading)
    assert found.value("source.nvidia-smi") == "ok"
    assert found.value("nvidia_smi.path") == "/usr/bin/nvidia-smi"
    assert found.value("nvidia_smi.is_elf") is True
    assert found.value("nvidia_smi.exit_code") == 0
    assert found.value("nvidia_smi.package") == "nvidia-utils-550"
    assert len(str(found.value("nvidia_smi.sha256"))) == 64
    assert found.value("driver.version", Source.NVIDIA_SMI) == "550.54.14"
    assert lines == ["asking nvidia-smi; up to 30 s without persistence mode"]
    assert ("/usr/bin/nvidia-smi",) in commands.asked


def test_corrupted_inforom_still_prints_a_document(root: Path) -> None:
    table = b"Thu May  2 10:11:12 2024\n+---+\nWARNING: infoROM is corrupted at gpu 0000:07:00.0\n"
    commands = Commands(
        CommandOutput(exit_code=14, stdout=document("00000000:07:00.0")),
        CommandOutput(
            exit_code=14,
            stdout=b"+---+\n| NVIDIA-SMI 550.54.14  Driver Version: 550.54.14 |\n" + table,
        ),
    )
    found = host(run_nvidia_smi(MachineTree(root), commands))
    assert found.value("nvidia_smi.exit_code") == 14
    assert found.value("source.nvidia-smi") == "ok"
    assert "07:00.0" in str(found.value("host.inforom_warnings")).lower()


def test_table_that_nobody_can_read(root: Path) -> None:
    commands = Commands(
        CommandOutput(exit_code=0, stdout=document("00000000:07:00.0")),
        CommandOutput(exit_code=0, stdout=b"\0\1\2"),
    )
    found = host(run_nvidia_smi(MachineTree(root), commands))
    assert found.read("host.inforom_warnings").status is ClaimStatus.MALFORMED


def test_no_program(tmp_path: Path) -> None:
    commands = Commands(CommandOutput(exit_code=0))
    found = host(run_nvidia_smi(MachineTree(tmp_path), commands))
    assert found.read("source.nvidia-smi").status is ClaimStatus.NOT_FOUND
    assert found.read("nvidia_smi.path").status is ClaimStatus.NOT_FOUND
    assert commands.asked == []


def test_a_script_is_not_run(root: Path) -> None:
    (root / "usr/bin/nvidia-smi").write_text("#!/bin/sh\ncat fake.xml\n")
    commands = Commands(CommandOutput(exit_code=0, stdout=document("00000000:07:00.0")))
    reading = run_nvidia_smi(MachineTree(root), commands)
    assert not reading.devices
    assert host(reading).value("nvidia_smi.is_elf") is False
    assert host(reading).read("source.nvidia-smi").status is ClaimStatus.FAILED
    assert not any(argv[0].endswith("nvidia-smi") for argv in commands.asked)


@pytest.mark.parametrize(
    ("output", "status"),
    [
        (CommandOutput(exit_code=None, timed_out=True), ClaimStatus.TIMED_OUT),
        (CommandOutput(exit_code=None, error=errno.EACCES), ClaimStatus.FAILED),
        (CommandOutput(exit_code=0), ClaimStatus.FAILED),
        (
            CommandOutput(exit_code=9, stdout=b"NVIDIA-SMI has failed because it couldn't ...\n"),
            ClaimStatus.FAILED,
        ),
        (CommandOutput(exit_code=0, stdout=document("x")[:-40]), ClaimStatus.MALFORMED),
        (CommandOutput(exit_code=-11, stdout=b"<nvidia_smi_log><gpu>"), ClaimStatus.MALFORMED),
    ],
)
def test_no_document(root: Path, output: CommandOutput, status: ClaimStatus) -> None:
    commands = Commands(output)
    reading = run_nvidia_smi(MachineTree(root), commands)
    claim = host(reading).read("source.nvidia-smi")
    assert claim.status is status
    assert claim.raw_text
    assert not reading.devices
    assert ("/usr/bin/nvidia-smi",) not in commands.asked


def test_one_bus_id_twice_keeps_both(root: Path) -> None:
    commands = Commands(
        CommandOutput(exit_code=0, stdout=document("00000000:07:00.0", "00000000:07:00.0"))
    )
    reading = run_nvidia_smi(MachineTree(root), commands)
    assert list(reading.devices) == ["00000000:07:00.0", "?nvidia-smi:1"]
