"""Kernel, environment, mounts, kernel log and process state, under roots made of real files."""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.sources.commands import CommandOutput
from gpuverify.sources.host import read_host
from gpuverify.sources.host_elf import intercepts_files, provides_driver_api
from gpuverify.sources.host_process import process_claims
from gpuverify.sources.host_tree import MachineTree

RELEASE = "5.15.0-113-generic"
KEY = "00000000:07:00.0"
LOG = (
    b"6,100,5,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.14\n"
    b"3,101,6,-;NVRM: Xid (PCI:0000:3b:00): 63, pid=1234, name=python\n"
    b"3,102,7,-;NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n"
    b"3,103,8,-;NVRM: Xid (PCI:0000:af:00.0): 63, pid='<unknown>'\n"
)


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


MODINFO = CommandOutput(exit_code=0, stdout=b"DKMS module signing key\n")


def host(root: Path, **answers: CommandOutput) -> ClaimSet:
    """Read the root and return its host claims."""
    answers.setdefault("modinfo", MODINFO)
    return ClaimSet(tuple(read_host(MachineTree(root), Commands(**answers)).host))


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


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Compile C to a shared object."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("objects")

    def build(source: str) -> bytes:
        code, out = folder / "a.c", folder / "a.so"
        code.write_text(source)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(out), str(code)], check=True, timeout=60
        )
        return out.read_bytes()

    return build


def test_object_that_provides_and_one_that_calls(objects: Callable[[str], bytes]) -> None:
    provides = objects("int nvmlInit_v2(void) { return 0; }")
    calls = objects("int nvmlInit_v2(void); int cuInit(unsigned); int f(void)"
                    "{ return nvmlInit_v2() + cuInit(0); }")  # fmt: skip
    names = objects('const char *f(void) { return "nvmlInit_v2 cuInit"; }')
    assert provides_driver_api(provides)
    assert provides_driver_api(objects("int cuDeviceTotalMem_v2(void) { return 0; }"))
    assert not provides_driver_api(calls)
    assert not provides_driver_api(names)
    assert provides_driver_api(provides[: len(provides) // 2])  # no symbol table: by the names


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"#!/bin/sh\nnvmlInit", True),
        (b"\x7fELF\x02\x01" + b"\xff" * 100 + b"cuInit", True),
        (b"\x7fELF\x02\x01" + b"\0" * 34 + struct.pack("<Q", 2**63) + b"\0" * 40 + b"cuInit", True),
        (b"cuInitialise_the_printer is cursed", True),
        (b"cut nvme cube", False),
    ],
)
def test_objects_without_a_readable_table(data: bytes, expected: bool) -> None:
    assert provides_driver_api(data) is expected


def test_preload(root: Path, objects: Callable[[str], bytes]) -> None:
    write(root, "opt/fake.so", objects("int nvmlInit_v2(void) { return 0; }"))
    write(root, "usr/lib64/libjemalloc.so.2", objects("int malloc_stats(void) { return 0; }"))
    write(root, "proc/self/environ", b"LD_PRELOAD=libjemalloc.so.2\0")
    claims = host(root)
    assert claims.value("host.preload") == "libjemalloc.so.2"
    assert claims.value("host.preload_provides_driver_api") is False
    write(root, "etc/ld.so.preload", "/opt/fake.so\n")
    claims = host(root)
    assert claims.value("host.preload") == "libjemalloc.so.2, /opt/fake.so"
    assert claims.value("host.preload_provides_driver_api") is True
    assert claims.read("host.preload_provides_driver_api").call == "/opt/fake.so"
    assert claims.value("host.preload_intercepts_files") is False


def test_preload_that_stands_before_the_files(root: Path, objects: Callable[[str], bytes]) -> None:
    shim = objects("int openat(int d, const char *p, int f) { return -1; }")
    user = objects(
        "int openat(int d, const char *p, int f); int g(void) { return openat(0, 0, 0); }"
    )
    write(root, "opt/shim.so", shim)
    write(root, "opt/user.so", user)
    write(root, "proc/self/environ", b"LD_PRELOAD=/opt/user.so\0")
    assert host(root).value("host.preload_intercepts_files") is False
    write(root, "proc/self/environ", b"LD_PRELOAD=/opt/user.so:/opt/shim.so\0")
    claims = host(root)
    assert claims.value("host.preload_intercepts_files") is True
    assert claims.read("host.preload_intercepts_files").call == "/opt/shim.so"
    assert claims.value("host.preload_provides_driver_api") is False
    assert intercepts_files(b"\x7fELF, cut off\0openat\0malloc\0")
    assert not intercepts_files(b"\x7fELF, cut off\0reopenat\0malloc\0")


def test_preload_that_cannot_be_known(root: Path) -> None:
    write(root, "proc/self/environ", b"LD_PRELOAD=./here.so:/gone.so\0")
    claims = host(root)
    assert claims.value("host.preload") == "./here.so, /gone.so"
    assert claims.read("host.preload_provides_driver_api").status is ClaimStatus.FAILED
    write(root, "proc/self/environ", b"LD_PRELOAD=/gone.so\0")
    assert host(root).value("host.preload_provides_driver_api") is False


def test_preload_known_only_by_its_mapping(root: Path, objects: Callable[[str], bytes]) -> None:
    write(root, "strange/place/fake.so", objects("int cuInit(unsigned a) { return 0; }"))
    write(root, "proc/self/environ", b"LD_PRELOAD=fake.so\0")
    write(root, "proc/self/maps", "7f00-7f01 r-xp 00000000 08:01 42       /strange/place/fake.so\n")
    assert host(root).value("host.preload_provides_driver_api") is True


def test_preload_removed_after_it_was_mapped(root: Path) -> None:
    write(root, "proc/self/environ", b"LD_PRELOAD=/tmp/shim.so\0")
    write(root, "proc/self/maps", "7f00-7f01 r-xp 00000000 08:01 42       /tmp/shim.so (deleted)\n")
    assert host(root).read("host.preload_provides_driver_api").status is ClaimStatus.FAILED


def test_hostile_text_is_escaped_and_bounded(root: Path) -> None:
    write(root, "sys/class/dmi/id/sys_vendor", "Evil\x1b[31m\u202e" + "x" * 900 + "\n")
    write(root, "proc/self/environ", b"LD_AUDIT=" + b"\xff\x07" * 5000 + b"\0")
    for claim in host(root):
        for text in (claim.value, claim.raw_text, claim.call):
            if isinstance(text, str):
                assert text.isprintable()
                assert len(text) <= 2000
