"""All sources together: order, class, time-outs, and evidence whatever dies."""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.collect import run as run_module
from gpuverify.collect.run import CollectOptions, collect, evidence_class
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import EvidenceClass
from gpuverify.sources.commands import CommandOutput, SystemCommands
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.reading import SourceReading

BUS = "0000:07:00.0"
KEY = "00000000:07:00.0"
OTHER = "0000:0f:00.0"


class NoCommands:
    """A machine without programs."""

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        return CommandOutput(exit_code=None, error=errno.ENOENT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two cards, of which NVML will list the first."""
    for name, device in ((BUS, 0x20B2), (OTHER, 0x2330)):
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        data = bytearray(64)
        struct.pack_into("<HH", data, 0, 0x10DE, device)
        data[9:12] = b"\x00\x02\x03"
        (folder / "config").write_bytes(data)
    gpu = tmp_path / "proc/driver/nvidia/gpus" / BUS
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: NVIDIA A100-SXM4-80GB\nDevice Minor: 2\n")
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 2024\n"
    )
    return tmp_path


def nvml(progress: Callable[[str], None] | None = None) -> SourceReading:
    """Stand in for NVML, with one card."""
    found = SourceReading()
    found.host.append(
        Claim(id="driver.version", status=ClaimStatus.OK, value="550.54.14", source=Source.NVML)
    )
    found.add(
        KEY,
        Claim(
            id="gpu.name", status=ClaimStatus.OK, value="NVIDIA A100-SXM4-80GB", source=Source.NVML
        ),
    )
    return found


def options(root: Path, **changes: object) -> CollectOptions:
    values: dict[str, object] = {
        "tree": MachineTree(root), "commands": NoCommands(), "nvml": nvml, "clock": lambda: 1234567,
    }  # fmt: skip
    values.update(changes)
    return CollectOptions(**values)  # type: ignore[arg-type]


def test_everything_is_joined(root: Path) -> None:
    evidence = collect(options(root, origin="a test"))
    assert evidence.evidence_class is EvidenceClass.REPLAYED
    assert evidence.origin == "a test"
    assert evidence.tool.startswith("gpuverify ")
    assert evidence.collected_ms == 1234567
    first, second = (device.claims for device in evidence.devices)
    assert first.value("gpu.name", Source.NVML) == first.value("gpu.name", Source.PROCFS)
    assert first.value("pci.device_id", Source.PCI_CONFIG) == 0x20B2
    assert first.value("device_node.present") is False
    assert (first.value("gpu.listed_by_nvml"), second.value("gpu.listed_by_nvml")) == (True, False)
    assert evidence.host.value("driver.kernel_version") == "550.54.14"
    assert evidence.host.value("host.pci_gpu_count") == 2
    for name in ("nvml", "procfs", "pci-config", "host"):
        assert evidence.host.value(f"source.{name}") == "ok"
    assert evidence.host.read("source.nvidia-smi").status is ClaimStatus.NOT_FOUND


def test_evidence_of_a_run_can_be_written_and_read(root: Path) -> None:
    evidence = collect(options(root))
    again = load_evidence(dump_evidence(evidence), "test")
    assert again.devices == evidence.devices
    assert again.host == evidence.host


def test_same_machine_same_bytes(root: Path) -> None:
    wall = CollectOptions().clock
    first, second = (collect(options(root, replayed=True, clock=wall)) for _ in range(2))
    assert first.collected_ms is None
    assert dump_evidence(first) == dump_evidence(second)
    assert collect(options(root, replayed=True)).collected_ms == 1234567
    assert collect(options(root, replayed=True, clock=lambda: 0)).collected_ms is None


def test_no_card_anywhere(tmp_path: Path) -> None:
    evidence = collect(options(tmp_path, nvml=lambda progress=None: SourceReading()))
    assert evidence.devices == ()
    assert evidence.host.read("source.procfs").status is ClaimStatus.NOT_FOUND


class Liar(MachineTree):
    """Says of itself that it is the machine."""

    @property
    def is_machine(self) -> bool:
        return True


class OwnCommands(SystemCommands):
    """Not the machine's runner any more."""


def test_class_cannot_be_raised(tmp_path: Path) -> None:
    assert evidence_class(CollectOptions()) is EvidenceClass.LIVE
    for changed in (
        CollectOptions(tree=MachineTree(tmp_path)),
        CollectOptions(tree=Liar(tmp_path)),
        CollectOptions(commands=NoCommands()),
        CollectOptions(commands=OwnCommands()),
        CollectOptions(nvml=nvml),
        CollectOptions(replayed=True),
    ):
        assert evidence_class(changed) is EvidenceClass.REPLAYED


def test_live_claims_carry_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "evidence_class", lambda _: EvidenceClass.LIVE)
    evidence = collect(options(root))
    assert {claim.time_ms for claim in evidence.host} == {1234567}
    assert {claim.time_ms for device in evidence.devices for claim in device.claims} == {1234567}


@pytest.fixture
def stuck() -> object:
    """A source that waits until the test is over."""
    release = threading.Event()
    yield lambda *_, **__: release.wait(60)
    release.set()


def test_hanging_nvml_is_left_behind(root: Path, stuck: Callable[..., object]) -> None:
    lines: list[str] = []
    started = time.monotonic()
    evidence = collect(
        options(root, nvml=stuck, timeouts_s=(("nvml", 0.3),), progress=lines.append)
    )
    assert time.monotonic() - started < 20
    claim = evidence.host.read("source.nvml")
    assert claim.status is ClaimStatus.TIMED_OUT
    assert "left behind" in str(claim.raw_text)
    assert evidence.host.read("nvml.session").status is ClaimStatus.TIMED_OUT
    assert "nvml: no answer within 0.3 s; left behind" in lines
    assert len(evidence.devices) == 2
    assert evidence.devices[0].claims.read("gpu.listed_by_nvml").status is ClaimStatus.NOT_ASKED
    assert evidence.host.value("source.host") == "ok"


class StuckLog(MachineTree):
    """A machine whose kernel log never answers."""

    stuck: Callable[..., object]

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        if path == "/dev/kmsg":
            self.stuck()
        return super().read(path, limit)


def test_what_the_host_said_before_it_hung_is_kept(
    root: Path, stuck: Callable[..., object]
) -> None:
    tree = StuckLog(root)
    tree.stuck = stuck
    evidence = collect(options(root, tree=tree, timeouts_s=(("host", 0.5),)))
    assert evidence.host.read("source.host").status is ClaimStatus.TIMED_OUT
    assert evidence.host.value("host.container") == "none"
    assert evidence.host.read("host.kernel_log_xids").status is ClaimStatus.NOT_ASKED
    assert evidence.host.value("source.pci-config") == "ok"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FormatError("x", "bad\x1b"), ClaimStatus.FAILED),
        (PermissionError(errno.EACCES, "no"), ClaimStatus.NO_PERMISSION),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ClaimStatus.FAILED),
    ],
)
def test_dead_source_says_why(root: Path, error: Exception, status: ClaimStatus) -> None:
    def dead(progress: object = None) -> SourceReading:
        raise error

    evidence = collect(options(root, nvml=dead))
    claim = evidence.host.read("source.nvml")
    assert claim.status is status
    assert str(claim.raw_text).startswith(type(error).__name__)
    assert str(claim.raw_text).isprintable()
    assert len(evidence.devices) == 2


def test_a_fault_of_ours_is_not_hidden(root: Path) -> None:
    def broken(progress: object = None) -> SourceReading:
        raise KeyError("gpu.nmae")

    with pytest.raises(KeyError):
        collect(options(root, nvml=broken))


def test_nvml_comes_before_nvidia_smi_and_host(root: Path) -> None:
    order: list[str] = []
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/nvidia-smi").write_bytes(b"\x7fELF")

    class Noting(NoCommands):
        def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
            order.append(argv[0])
            return super().run(argv, timeout_s, limit)

    class Tree(MachineTree):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            if path == "/proc/self/maps":
                order.append(path)
            return super().read(path, limit)

    def slow(progress: object = None) -> SourceReading:
        time.sleep(0.2)
        order.append("nvml")
        return nvml()

    collect(options(root, tree=Tree(root), commands=Noting(), nvml=slow))
    assert order[0] == "nvml"
    assert {"/usr/bin/nvidia-smi", "/proc/self/maps"} <= set(order)


def test_this_machine() -> None:
    evidence = collect()
    assert evidence.evidence_class is EvidenceClass.LIVE
    assert evidence.origin == "this machine"
    for name in ("nvml", "nvidia-smi", "procfs", "pci-config", "host"):
        assert evidence.host.read(f"source.{name}").status is not ClaimStatus.NOT_ASKED
    load_evidence(dump_evidence(evidence), "test")
