"""An honest host made of files, for the tests of the host source."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gpuverify.model.evidence import ClaimSet
from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host import read_host
from gpuverify.sources.host_tree import MachineTree

RELEASE = "5.15.0-113-generic"
KEY = "00000000:07:00.0"
LOG = (
    b"6,100,5,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.14\n"
    b"3,101,6,-;NVRM: Xid (PCI:0000:3b:00): 63, pid=1234, name=python\n"
    b"3,102,7,-;NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n"
    b"3,103,8,-;NVRM: Xid (PCI:0000:af:00.0): 63, pid='<unknown>'\n"
)


MODINFO = CommandOutput(exit_code=0, stdout=b"DKMS module signing key\n")


class Commands:
    """Answers by the end of the command line; absent where nothing fits."""

    def __init__(self, **answers: CommandOutput) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        self.asked.append(argv)
        name = argv[0].rsplit("/", 1)[-1].replace("-", "_")
        return self.answers.get(name, CommandOutput(exit_code=None, error=errno.ENOENT))


def write(root: Path, path: str, content: str | bytes = "") -> Path:
    """Write one file below a root."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An honest bare-metal server with a DKMS driver."""
    files: dict[str, str | bytes] = {
        "/proc/sys/kernel/ostype": "Linux\n",
        "/proc/sys/kernel/osrelease": RELEASE + "\n",
        "/proc/sys/kernel/tainted": "12289\n",
        "/sys/module/nvidia/version": "550.54.14\n",
        "/sys/module/nvidia/srcversion": "5D4F2A8E1B3C6D7E8F90A1B\n",
        "/sys/module/nvidia/taint": "POE\n",
        "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\6\0\0\0\1",
        "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
        f"/lib/modules/{RELEASE}/updates/dkms/nvidia.ko": b"\x7fELF",
        "/proc/modules": "nvidia 54000000 0 - Live 0x0000000000000000 (POE)\n",
        "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vme sse2\n\nprocessor\t: 1\n",
        "/sys/class/dmi/id/sys_vendor": "Supermicro\n",
        "/sys/class/dmi/id/product_name": "SYS-420GP-TNAR\n",
        "/proc/1/environ": b"HOME=/\0TERM=linux\0",
        "/proc/1/cgroup": "0::/init.scope\n",
        "/proc/self/cgroup": "0::/user.slice\n",
        "/proc/self/environ": b"HOME=/root\0PATH=/usr/bin\0",
        "/proc/self/status": "Name:\tpython3\nTracerPid:\t0\n",
        "/proc/self/mountinfo": (
            "22 27 0:21 / /proc rw - proc proc rw\n23 27 0:22 / /sys rw - sysfs sysfs rw\n"
            "24 27 0:6 / /dev rw shared:2 - devtmpfs udev rw\n27 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        ),
        "/proc/driver/nvidia/gpus/0000:07:00.0/information": "Device Minor: \t 3\n",
        "/dev/kmsg": LOG,
        "/usr/sbin/modinfo": b"\x7fELF",
    }
    for path, content in files.items():
        write(tmp_path, path, content)
    return tmp_path


def host(root: Path, **answers: CommandOutput) -> ClaimSet:
    """Read the root and return its host claims."""
    answers.setdefault("modinfo", MODINFO)
    return ClaimSet(tuple(read_host(MachineTree(root), Commands(**answers)).host))
