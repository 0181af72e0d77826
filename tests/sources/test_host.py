"""Kernel, environment, mounts, kernel log and process state, under roots made of real files."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from host_support import KEY, LOG, MODINFO, RELEASE, Commands, host, root, write

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host import read_host
from gpuverify.sources.host_process import process_claims
from gpuverify.sources.host_tree import MachineTree

__all__ = ["root"]  # a fixture


def test_an_honest_server(root: Path) -> None:
    claims = host(root)
    expected = {
        "host.operating_system": "linux",
        "host.kernel_release": RELEASE,
        "host.taint": 12289,
        "driver.kernel_version": "550.54.14",
        "host.module_srcversion": "5D4F2A8E1B3C6D7E8F90A1B",
        "host.module_taint": "POE",
        "host.module_path": f"/lib/modules/{RELEASE}/updates/dkms/nvidia.ko",
        "host.module_signer": "DKMS module signing key",
        "host.secure_boot": True,
        "host.lockdown": "integrity",
        "host.unlock_module": False,
        "host.hypervisor_cpuid": False,
        "host.virtual_machine": "none",
        "host.container": "none",
        "host.wsl": False,
        "host.preload": "",
        "host.preload_provides_driver_api": False,
        "host.preload_intercepts_files": False,
        "host.audit": "",
        "host.library_path": "",
        "host.python_hooks": "",
        "host.tracer_pid": 0,
        "host.foreign_mounts": "",
        "host.kernel_log_readable": True,
        "host.kernel_log_unlock": False,
        "host.kernel_log_xids": "63:2,79:1",
        "source.host": "ok",
    }
    assert {claim.id: claim.value for claim in claims if claim.ok} == expected
    assert all(claim.source is Source.HOST for claim in claims)
    assert all(VOCABULARY[claim.id].scope is Scope.HOST for claim in claims)


def test_nothing_is_readable(tmp_path: Path) -> None:
    claims = host(tmp_path)
    readable = {claim.id: claim.value for claim in claims if claim.ok}
    assert readable == {
        "host.container": "none",
        "host.kernel_log_readable": False,
        "source.host": "ok",
    }
    assert claims.read("host.secure_boot").status is ClaimStatus.NOT_SUPPORTED
    assert claims.read("host.preload").status is ClaimStatus.NOT_FOUND
    assert claims.read("tool.sha256").status is ClaimStatus.NOT_ASKED


class Refusing(MachineTree):
    """Refuses everything, as for a user without rights."""

    def read(self, path: str, limit: int = 0) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    def names(self, path: str) -> tuple[str, ...]:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)


def test_refusals_say_so(root: Path) -> None:
    claims = ClaimSet(tuple(read_host(Refusing(root), Commands()).host))
    for claim_id in (
        "host.taint", "host.secure_boot", "host.preload", "host.audit", "host.foreign_mounts",
        "library.mapped_sha256", "host.kernel_log_xids", "host.python_hooks", "host.tracer_pid",
    ):  # fmt: skip
        assert claims.read(claim_id).status is ClaimStatus.NO_PERMISSION, claim_id
    assert claims.value("host.kernel_log_readable") is False


def test_time_out_and_failure_of_modinfo(root: Path) -> None:
    slow = host(root, modinfo=CommandOutput(exit_code=None, timed_out=True))
    assert slow.read("host.module_signer").status is ClaimStatus.TIMED_OUT
    bad = host(root, modinfo=CommandOutput(exit_code=1, stderr=b"not found\n")).read(
        "host.module_signer"
    )
    assert (bad.status, bad.raw_code, bad.raw_text) == (ClaimStatus.FAILED, 1, "not found")
    unsigned = host(root, modinfo=CommandOutput(exit_code=0))
    assert unsigned.value("host.module_signer") == "none"


@pytest.mark.parametrize(
    ("data", "value", "status"),
    [
        (b"\6\0\0\0\0", False, ClaimStatus.OK),
        (b"\6\0\0\0\2", None, ClaimStatus.MALFORMED),
        (b"\6\0", None, ClaimStatus.MALFORMED),
    ],
)
def test_secure_boot(root: Path, data: bytes, value: bool | None, status: ClaimStatus) -> None:
    (variable,) = (root / "sys/firmware/efi/efivars").iterdir()
    variable.write_bytes(data)
    claim = host(root).read("host.secure_boot")
    assert (claim.value, claim.status) == (value, status)
    variable.unlink()
    assert host(root).read("host.secure_boot").status is ClaimStatus.NOT_FOUND
    shutil.rmtree(root / "sys/firmware")
    assert host(root).read("host.secure_boot").status is ClaimStatus.NOT_SUPPORTED


@pytest.mark.parametrize(
    "path",
    [
        "updates/cmpunlocker/nvidia.ko",
        "updates/dkms/cmp-unlock.ko",
        "extra/cmp_unlocker/nvidia.ko.zst",
    ],
)
def test_unlock_module_is_found(root: Path, path: str) -> None:
    write(root, f"lib/modules/{RELEASE}/{path}")
    claim = host(root).read("host.unlock_module")
    assert claim.value is True
    assert path.split("/")[1] in claim.call


def test_unlock_module_near_misses(root: Path) -> None:
    for name in ("updates/cmp_utils.ko", "kernel/crypto/cmp.ko", "updates/unlock.ko"):
        write(root, f"lib/modules/{RELEASE}/{name}")
    assert host(root).value("host.unlock_module") is False
    write(root, "proc/modules", "cmpunlocker 16384 0 - Live 0x0\n")
    assert host(root).value("host.unlock_module") is True


@pytest.mark.parametrize(
    "path", ["kernel/nvidia-550/nvidia.ko", "extra/nvidia.ko.xz", "kernel/drivers/video/nvidia.ko"]
)
def test_module_path_of_distributions(root: Path, path: str) -> None:
    shutil.rmtree(root / "lib/modules" / RELEASE / "updates")
    write(root, f"lib/modules/{RELEASE}/{path}")
    assert host(root).value("host.module_path") == f"/lib/modules/{RELEASE}/{path}"


def test_a_release_that_is_a_path_is_not_followed(root: Path) -> None:
    write(root, "proc/sys/kernel/osrelease", "../../etc\n")
    claims = host(root)
    assert claims.read("host.module_path").status is ClaimStatus.NOT_FOUND
    assert claims.read("host.unlock_module").status is ClaimStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("vendor", "product", "hypervisor", "kind"),
    [
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", True, "kvm"),
        ("QEMU", "Standard PC", False, "kvm"),
        ("VMware, Inc.", "VMware Virtual Platform", True, "vmware"),
        ("Microsoft Corporation", "Virtual Machine", True, "hyper-v"),
        ("Amazon EC2", "p4d.24xlarge", True, "amazon"),
        ("Amazon EC2", "p4d.metal", False, "none"),
        ("Google", "Google Compute Engine", True, "google"),
        ("Microsoft Corporation", "Surface Book", False, "none"),
        ("Dell Inc.", "PowerEdge XE8545", True, "unknown"),
        ("Xenon Systems", "NITRO", False, "none"),
    ],
)
def test_virtual_machine(
    root: Path, vendor: str, product: str, hypervisor: bool, kind: str
) -> None:
    write(root, "sys/class/dmi/id/sys_vendor", vendor + "\n")
    write(root, "sys/class/dmi/id/product_name", product + "\n")
    write(root, "proc/cpuinfo", f"flags\t\t: fpu {'hypervisor' if hypervisor else 'sse2'} vme\n")
    claims = host(root)
    assert claims.value("host.hypervisor_cpuid") is hypervisor
    assert claims.value("host.virtual_machine") == kind


def test_processor_without_flags(root: Path) -> None:
    write(root, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n")
    claims = host(root)
    assert claims.read("host.hypervisor_cpuid").status is ClaimStatus.NOT_SUPPORTED
    assert claims.value("host.virtual_machine") == "none"


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "engine", "podman"),
        (".singularity.d/runscript", "", "singularity"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "a=b\0container=lxc\0", "lxc"),
        ("proc/1/cgroup", "12:devices:/kubepods/burstable/pod1/2\n", "kubernetes"),
        ("proc/self/cgroup", "0::/system.slice/docker-5af.scope\n", "docker"),
        ("proc/self/cgroup", "0::/machine.slice/libpod-77.scope\n", "podman"),
        ("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n", "kubernetes"),
        ("proc/self/cgroup", "0::/lxc.payload.web/user\n", "lxc"),
        ("proc/self/cgroup", "0::/lxc.monitor.web\n", "none"),
        ("proc/self/cgroup", "0::/system.slice/docker.service\n", "none"),
        ("proc/self/cgroup", "0::/system.slice/containerd.service\n", "none"),
        ("proc/self/cgroup", "1:name=systemd:/docker/5af0\n", "docker"),
    ],
)
def test_container(root: Path, path: str, content: str, kind: str) -> None:
    write(root, path, content)
    assert host(root).value("host.container") == kind


def test_xen_guest_and_dom0(root: Path) -> None:
    write(root, "sys/hypervisor/type", "xen\n")
    write(root, "proc/cpuinfo", "flags\t\t: fpu hypervisor\n")
    assert host(root).value("host.virtual_machine") == "xen"
    write(root, "proc/xen/capabilities", "control_d\n")
    assert host(root).value("host.virtual_machine") == "none"


def test_wsl(root: Path) -> None:
    write(root, "proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")
    assert host(root).value("host.wsl") is True


NODE = "30 24 0:6 /{root} /dev/nvidia3 rw,nosuid - {kind} udev rw\n"


@pytest.mark.parametrize(
    ("line", "container", "foreign"),
    [
        ("", False, False),
        (NODE.format(root="nvidia3", kind="devtmpfs"), False, False),
        (NODE.format(root="nvidia3", kind="devtmpfs"), True, False),
        (NODE.format(root="nvidia3", kind="tmpfs"), True, False),
        (NODE.format(root="nvidia3", kind="tmpfs"), False, True),
        (NODE.format(root="nvidia0", kind="devtmpfs"), True, True),
        (NODE.format(root="tmp/nvidia3", kind="ext4"), True, True),
        (NODE.format(root="nvidia3", kind="fuse"), False, True),
        ("30 24 0:6 /nvidia0 /dev/nvidia33 rw - ext4 /dev/sda1 rw\n", False, False),
    ],
)
def test_mount_over_the_cards_node(root: Path, line: str, container: bool, foreign: bool) -> None:
    with (root / "proc/self/mountinfo").open("a") as file:
        file.write(line)
    if container:
        write(root, ".dockerenv")
    reading = read_host(MachineTree(root), Commands(modinfo=MODINFO))
    (claim,) = reading.devices[KEY]
    assert (claim.id, claim.value) == ("device_node.foreign_mount", foreign)
    listed = str(ClaimSet(tuple(reading.host)).value("host.foreign_mounts"))
    assert ("/dev/nvidia3" in listed) == bool(line)


def test_mounts_of_a_container_runtime_are_listed(root: Path) -> None:
    with (root / "proc/self/mountinfo").open("a") as file:
        file.write(
            "40 27 0:9 / /proc/driver/nvidia rw - tmpfs tmpfs rw\n"
            "41 27 8:1 /usr/lib/libnvidia-ml.so.550.54.14 "
            "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.14 ro - ext4 /dev/sda1 rw\n"
            "42 27 8:1 /x /sys/bus/pci rw - ext4 /dev/sda1 rw\n"
            "43 27 8:1 /x /home/some\\040body rw - ext4 /dev/sda1 rw\n"
            "44 27 0:99 / /sys rw - fuse.evil evil rw\n"
            "broken line\n"
        )
    listed = str(host(root).value("host.foreign_mounts"))
    assert [part.split(" (")[0] for part in listed.split(", ")] == [
        "/proc/driver/nvidia",
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.14",
        "/sys/bus/pci",
        "/sys",
    ]


def test_unlock_marker_in_the_log(root: Path) -> None:
    write(root, "dev/kmsg", LOG + b"4,200,9,-;NVRM: SEC2_DEBUG fuse override 0x1\n")
    assert host(root).value("host.kernel_log_unlock") is True


@pytest.mark.parametrize("program", ["dmesg", "journalctl"])
def test_kernel_log_by_a_program(root: Path, program: str) -> None:
    (root / "dev/kmsg").unlink()
    write(root, "usr/bin/dmesg")
    write(root, "usr/bin/journalctl")
    claims = host(root, **{program: CommandOutput(exit_code=0, stdout=LOG)})
    assert claims.value("host.kernel_log_xids") == "63:2,79:1"
    assert program in claims.read("host.kernel_log_xids").call


def test_log_refused_by_all(root: Path) -> None:
    (root / "dev/kmsg").unlink()
    write(root, "usr/bin/dmesg")
    write(root, "usr/bin/journalctl")
    claims = host(
        root,
        dmesg=CommandOutput(exit_code=1, stderr=b"Operation not permitted"),
        journalctl=CommandOutput(exit_code=0),
    )
    assert claims.value("host.kernel_log_readable") is False
    assert claims.read("host.kernel_log_xids").status is ClaimStatus.NO_PERMISSION


def test_process_variables(root: Path) -> None:
    write(
        root,
        "proc/self/environ",
        b"LD_AUDIT=/a/audit.so\0LD_LIBRARY_PATH=/b:/c\0LD_AUDIT=second\0PYTHONPATH=/d\0X\0",
    )
    write(root, "proc/self/status", "Name:\tx\nTracerPid:\t4711\n")
    claims = host(root)
    assert claims.value("host.audit") == "/a/audit.so"
    assert claims.value("host.library_path") == "/b:/c"
    assert claims.value("host.python_hooks") == "PYTHONPATH=/d"
    assert claims.value("host.tracer_pid") == 4711


def test_python_hooks(root: Path) -> None:
    write(root, "site/site-packages/sitecustomize.py", "")
    write(root, "site/site-packages/hook.pth", "import os; os.getpid()\n")
    write(root, "site/site-packages/plain.pth", "/some/folder\nimportant\n# import x\n")
    write(root, "other/usercustomize.py", "")
    write(root, "other/hook.pth", "import os\n")
    claims = ClaimSet(
        tuple(process_claims(MachineTree(root), ("/site/site-packages", "/other", "/none")))
    )
    assert str(claims.value("host.python_hooks")).split(", ") == [
        "/site/site-packages/sitecustomize",
        "/site/site-packages/hook.pth",
        "/other/usercustomize",
    ]


def test_hostile_text_is_escaped_and_bounded(root: Path) -> None:
    write(root, "sys/class/dmi/id/sys_vendor", "Evil\x1b[31m\u202e" + "x" * 900 + "\n")
    write(root, "proc/self/environ", b"LD_AUDIT=" + b"\xff\x07" * 5000 + b"\0")
    for claim in host(root):
        for text in (claim.value, claim.raw_text, claim.call):
            if isinstance(text, str):
                assert text.isprintable()
                assert len(text) <= 2000
