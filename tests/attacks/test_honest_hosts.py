"""Honest machines that look odd: never accused, and told what is missing where something is."""

from __future__ import annotations

import dataclasses
import errno
import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_support import (
    A100,
    accusations,
    codes,
    database,
    judge,
    live,
    live_recording,
    reasons,
    tampered,
    with_files,
)

from gpuverify.codec import toml
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.verdict import Result, Verdict
from gpuverify.sources.cases import load_case
from gpuverify.sources.recording import CommandEntry, FileEntry, Recording

pytestmark = pytest.mark.required

MOUNTS = "/proc/self/mountinfo"
SYSFS = "/sys/bus/pci/devices"
NOTHING = FileEntry(kind="absent")
USUAL = """24 31 0:22 / /proc rw,nosuid - proc proc rw
25 31 0:23 / /sys rw,nosuid - sysfs sysfs rw
26 31 0:5 / /dev rw,nosuid - devtmpfs udev rw
31 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw
"""
DOCKER = """612 455 0:58 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B
613 612 0:61 / /proc rw,nosuid - proc proc rw
614 612 0:62 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k
618 612 0:23 / /sys ro,nosuid - sysfs sysfs ro
701 612 8:2 /usr/bin/nvidia-smi /usr/bin/nvidia-smi ro,nosuid - ext4 /dev/sda2 rw
702 612 8:2 /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.105.08 /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.105.08 ro - ext4 /dev/sda2 rw
703 614 0:5 /nvidia0 /dev/nvidia0 ro,nosuid - devtmpfs udev rw
704 614 0:5 /nvidiactl /dev/nvidiactl ro,nosuid - devtmpfs udev rw
705 613 0:64 / /proc/driver/nvidia rw - tmpfs tmpfs rw
706 705 0:22 /driver/nvidia/gpus/0000:07:00.0 /proc/driver/nvidia/gpus/0000:07:00.0 ro - proc proc rw
707 612 8:2 /var/lib/docker/containers/4b3a/hostname /etc/hostname rw - ext4 /dev/sda2 rw
"""
LXC = """31 1 0:40 / / rw - zfs rpool/lxd rw
24 31 0:22 / /proc rw - proc proc rw
25 31 0:23 / /sys rw - sysfs sysfs rw
26 31 0:6 / /dev rw - tmpfs none rw
90 24 0:60 /proc/cpuinfo /proc/cpuinfo rw - fuse.lxcfs lxcfs rw
91 26 0:5 /nvidia0 /dev/nvidia0 rw - devtmpfs udev rw
"""
# What systemd makes of ProtectKernelTunables=: parts of procfs and sysfs on their own places.
SERVICE = (
    USUAL
    + """70 24 0:22 /sys /proc/sys ro - proc proc rw
71 24 0:22 /driver/nvidia /proc/driver/nvidia ro - proc proc rw
72 25 0:23 /bus/pci /sys/bus/pci ro - sysfs sysfs rw
"""
)


@functools.cache
def base(case: str = A100) -> Recording:
    """The recording of an honest machine."""
    return load_case(case).recording


def text(content: str) -> FileEntry:
    """A file with this text."""
    return FileEntry.text(content)


def without(prefixes: tuple[str, ...]) -> dict[str, FileEntry | None]:
    """Take away everything below some folders."""
    return {path: None for path in base().files if path.startswith(prefixes)}


def refused(prefixes: tuple[str, ...]) -> dict[str, FileEntry | None]:
    """Refuse everything below some folders, as SELinux does."""
    wanted: dict[str, FileEntry | None] = {}
    for path, entry in base().files.items():
        if path.startswith(prefixes):
            node = entry.kind == "character-device"
            wanted[path] = (
                FileEntry(kind="refused")
                if node
                else dataclasses.replace(entry, errno=errno.EACCES, target="")
            )
    return wanted


def header_only() -> dict[str, FileEntry | None]:
    """Show what a user without root is shown of the PCI configuration space."""
    return {
        path: FileEntry.bytes(entry.data[:64].ljust(64, b"\0"))
        for path, entry in base().files.items()
        if path.endswith("/config")
    }


def commands(
    recording: Recording, *dropped: str, further: tuple[CommandEntry, ...] = ()
) -> Recording:
    """Take away programs, and add answers of others."""
    kept = tuple(c for c in recording.commands if c.argv[0] not in dropped)
    return dataclasses.replace(
        with_files(recording, dict.fromkeys(dropped)), commands=(*kept, *further)
    )


def rpm_host() -> Recording:
    """A machine of the Red Hat family: no dpkg, and a package with other files changed."""
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.105.08"
    answers = []
    for path, name in ((library, "nvidia-driver-libs"), ("/usr/bin/nvidia-smi", "nvidia-driver")):
        package = f"{name}-580.105.08-1.el9.x86_64"
        ask = ("/usr/bin/rpm", "-qf", "--queryformat", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n")
        answers.append(CommandEntry(argv=(*ask, path), stdout=f"{package}\n".encode()))
        changed = b"S.5....T.  c /etc/nvidia/nvidia-application-profiles-rc\n"
        verify = ("/usr/bin/rpm", "-V", "--nodeps", "--noscripts", package)
        answers.append(CommandEntry(argv=verify, exit_code=1, stdout=changed))
    files = with_files(base(), {"/usr/bin/rpm": FileEntry(data=b"\x7fELF", size=4)})
    return commands(files, "/usr/bin/dpkg", "/usr/bin/dpkg-query", further=tuple(answers))


def preloaded() -> Recording:
    """A memory allocator in front."""
    return with_files(
        base(),
        {
            "/proc/self/environ": FileEntry.bytes(b"PATH=/usr/bin\0LD_PRELOAD=libjemalloc.so.2\0"),
            "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2": FileEntry.bytes(b"\x7fELF\0mallctl\0"),
        },
    )


ARM = {"/proc/cpuinfo": text("processor\t: 0\nCPU implementer\t: 0x41\nFeatures\t: fp asimd sve\n")}
DMI = "/sys/class/dmi/id"
SANDBOX = without(("/sys/", "/proc/driver", "/proc/modules", "/lib/modules", "/dev/kmsg"))
CONSISTENT, UNVERIFIED = Verdict.CONSISTENT, Verdict.UNVERIFIED

HOSTS: list[tuple[str, Recording, Verdict, str]] = [
    ("the base itself", base(), CONSISTENT, "environment.container/none"),
    ("a service with read-only tunables", with_files(base(), {MOUNTS: text(SERVICE)}), CONSISTENT,
     "environment.foreign-mounts/none"),
    ("docker with cgroup v2 and the toolkit's mounts", with_files(base(), {
        MOUNTS: text(DOCKER), "/proc/1/cgroup": text("0::/\n"), "/proc/self/cgroup": text("0::/\n"),
        "/.dockerenv": FileEntry.bytes(b"")}), CONSISTENT, "environment.foreign-mounts/container"),
    ("a container that only its mounts show", with_files(base(), {
        MOUNTS: text(DOCKER), "/proc/1/cgroup": text("0::/\n"), "/proc/self/cgroup": text("0::/\n"),
        }), CONSISTENT, "environment.container/container"),
    ("a container without package managers", commands(with_files(base(), {
        MOUNTS: text(DOCKER)}), "/usr/bin/dpkg", "/usr/bin/dpkg-query"), UNVERIFIED,
     "environment.library/unknown"),
    ("lxc with lxcfs", with_files(base(), {MOUNTS: text(LXC), "/proc/1/environ":
        FileEntry.bytes(b"container=lxc\0")}), CONSISTENT, "environment.foreign-mounts/container"),
    ("a sandbox without sysfs and procfs", with_files(base(), {
        **SANDBOX, MOUNTS: text("1 0 0:1 / / rw - 9p none rw\n"),
        "/.dockerenv": FileEntry.bytes(b"")}), UNVERIFIED, "environment.kernel-behind-nvml/sandbox"),
    ("another user than root", with_files(base(), {
        **header_only(), "/dev/kmsg": FileEntry(kind="character-device", errno=errno.EPERM),
        "/proc/1/environ": FileEntry(size=0, errno=errno.EACCES)}), UNVERIFIED,
     "environment.unlock-traces/no-value"),
    ("no nvidia-smi", with_files(base(), {"/usr/bin/nvidia-smi": None}), UNVERIFIED,
     "environment.nvidia-smi-program/no-value"),
    ("no package manager", commands(base(), "/usr/bin/dpkg", "/usr/bin/dpkg-query"), UNVERIFIED,
     "environment.library/unknown"),
    ("packages of rpm", rpm_host(), CONSISTENT, "environment.nvidia-smi-program/program"),
    ("no modinfo", commands(base(), "/usr/bin/modinfo"), UNVERIFIED,
     "environment.module-signature/no-value"),
    ("the Windows subsystem", with_files(base(), {
        **without((f"{SYSFS}/", "/proc/driver", "/sys/module", "/dev/nvidia")),
        "/dev/dxg": FileEntry(kind="character-device"),
        "/proc/sys/kernel/osrelease": text("5.15.153.1-microsoft-standard-WSL2\n")}), UNVERIFIED,
     "environment.wsl/wsl"),
    ("SELinux refuses sysfs", with_files(base(), refused(("/sys/",))), UNVERIFIED, ""),
    ("SELinux refuses procfs", with_files(base(), refused(("/proc/",))), UNVERIFIED, ""),
    ("SELinux refuses the driver's files", with_files(base(), refused(("/proc/driver", "/usr/"))),
     UNVERIFIED, ""),
    ("SELinux refuses everything", with_files(base(), refused(("/",))), UNVERIFIED, ""),
    ("SELinux hides the node", with_files(base(), refused(("/dev/",))), UNVERIFIED,
     "environment.kernel-behind-nvml/no-value"),
    ("an old kernel without lockdown", with_files(base(), {
        "/sys/kernel/security/lockdown": None}), CONSISTENT, ""),
    ("no UEFI", with_files(base(), without(("/sys/firmware/efi",))), CONSISTENT,
     "environment.secure-boot/off"),
    ("Arm with firmware tables", with_files(base(), ARM), CONSISTENT,
     "environment.hypervisor-story/no-flag"),
    ("Arm without firmware tables", with_files(base(), {**ARM, f"{DMI}/sys_vendor": None,
        f"{DMI}/product_name": None}), UNVERIFIED, "environment.virtual-machine/no-value"),
    ("Arm in a virtual machine", with_files(base(), {**ARM, f"{DMI}/sys_vendor": text("QEMU\n")}),
     UNVERIFIED, "environment.virtual-machine/virtual"),
    ("a preloaded allocator", preloaded(), CONSISTENT, "environment.preload/other"),
    ("eight dead links", load_case("ga100/a100-dead-links").recording, CONSISTENT, ""),
    ("pass-through", load_case("ga100/a100-in-a-pass-through-machine").recording, UNVERIFIED,
     "environment.virtual-machine/virtual"),
    ("MIG on", load_case("ga100/a100-with-mig-on").recording, CONSISTENT, ""),
    ("one of eight on vfio", load_case("ga100/one-of-eight-bound-to-vfio").recording, UNVERIFIED,
     "batch.complete/unlisted"),
]  # fmt: skip


def accused(result: Result) -> str:
    """What an honest owner would have to read, for the failure message."""
    return "\n".join([*accusations(result), *reasons(result)])


@pytest.mark.parametrize(
    ("recording", "verdict", "code"),
    [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in HOSTS],
)
def test_an_honest_host_is_not_accused(recording: Recording, verdict: Verdict, code: str) -> None:
    result = judge(live_recording(recording))
    assert accusations(result) == []
    assert result.verdict is verdict, accused(result)
    assert result.exit_code == (0 if verdict is CONSISTENT else 3)
    assert not code or code in codes(result), sorted(codes(result))


@pytest.mark.parametrize("claim", [None, "a100-sxm4-80gb"])
@pytest.mark.parametrize("policy", ["standard", "intake", "screen"])
def test_no_policy_accuses_an_honest_host(claim: str | None, policy: str) -> None:
    for name, recording, _, _ in HOSTS:
        result = judge(live_recording(recording), claim, policy=policy)
        assert result.verdict in (CONSISTENT, UNVERIFIED), (name, accused(result))
        assert accusations(result) == [], name


def test_a_sandbox_excuse_needs_a_container() -> None:
    """Without a sign of a container, a library that nothing stands behind is just that."""
    mounts = {MOUNTS: text("1 0 0:1 / / rw - 9p none rw\n")}
    result = judge(live_recording(with_files(base(), {**SANDBOX, **mounts})))
    assert "environment.kernel-behind-nvml/nothing-behind" in codes(result)
    assert result.verdict is Verdict.SUSPECT


def test_a_sandbox_excuse_needs_a_hidden_bus() -> None:
    """A container that shows PCI functions, but not this one, is no sandbox."""
    files = without((f"{SYSFS}/0000:07:00.0", "/proc/driver", "/sys/module"))
    result = judge(live_recording(with_files(base(), {**files, "/.dockerenv": text("")})))
    assert "environment.kernel-behind-nvml/nothing-behind" in codes(result)
    assert result.verdict is Verdict.SUSPECT


def test_an_installer_without_packages() -> None:
    """NVIDIA's own installer leaves no package; the library's digest is on file all the same."""
    import gpuverify.refdb.database as module

    table = toml.loads((Path(module.__file__).parent / "data/libraries.toml").read_bytes(), "x")
    version, digest = next((v, d) for v, d in table["sha256"].items() if v.startswith("550."))
    host = {
        "nvml:driver.version": version,
        "nvidia-smi:driver.version": version,
        "procfs:driver.kernel_version": version,
        "host:driver.kernel_version": version,
        "host:library.sha256": digest,
        "host:library.package": ClaimStatus.NOT_FOUND,
        "host:library.package_match": ClaimStatus.NOT_FOUND,
        "host:nvidia_smi.package": ClaimStatus.NOT_FOUND,
        "host:nvidia_smi.package_match": ClaimStatus.NOT_FOUND,
    }
    assert database().library_version(digest) == version
    result = judge(tampered(live(A100), None, host))
    assert result.verdict is CONSISTENT, accused(result)
    assert "environment.nvidia-smi-program/unpackaged" in codes(result)


def test_a_fast_card_in_a_slow_slot() -> None:
    """A Gen4 card in a Gen3 slot offers Gen4; only the link is slower."""
    device = {
        "pci-config:pci.link_generation_max": 3,
        "nvml:pci.link_generation_max": 3,
        "nvidia-smi:pci.link_generation_max": 3,
        "pci-config:pci.link_generation_current": 3,
    }
    result = judge(tampered(live(A100), device))
    assert "link.pcie-capability/below" not in codes(result)
    assert "link.pcie-capability/reaches" in codes(result)
    slow = {"pci-config:pci.link_generation_device_max": 1}
    assert "link.pcie-capability/below" in codes(judge(tampered(live(A100), slow)))


def test_two_spellings_of_one_card() -> None:
    """nvidia-smi rounds to MiB, drops the prefix and writes digests in its own case."""
    honest = live(A100)
    pdi = str(honest.devices[0].claims.value("gpu.pdi"))
    device = {
        "nvidia-smi:gpu.name": "A100-SXM4-80GB",
        "nvml:memory.total_bytes": (81920 << 20) + 300_000,
        "nvidia-smi:gpu.pdi": pdi.upper().replace("0X", "0x"),
        "nvidia-smi:gpu.vbios_version": "92.00.45.00.05".lower(),
    }
    result = judge(tampered(honest, device))
    assert accusations(result) == []
    assert result.verdict is CONSISTENT, accused(result)


@pytest.mark.parametrize(
    "driver", ["470.256.02", "510.108.03", "535.183.01", "550.54.14", "610.11"]
)
def test_every_driver_era(driver: str) -> None:
    """An honest card on an old driver shows less, and is not accused for it."""
    from gpuverify.testing import SyntheticCard, synthetic_recording

    card = SyntheticCard(
        name="NVIDIA H100 80GB HBM3", device_id=0x2330, subsystem_device_id=0x16C1,
        architecture="Hopper", compute_capability=(9, 0), memory_mib=81559, bus_width_bits=5120,
        core_count=16896, graphics_mhz=1980, memory_mhz=2619, bar1_mib=65536, bar1_max_mib=131072,
        wide_bar0=True, pcie_generation=5, power_default_w=700, power_max_w=700,
        vbios="96.00.74.00.01", board_part_number="692-2G520-0200-000",
        gpu_part_number="2330-885-A1", inforom_image="G520.0200.00.05", inforom_oem="2.1",
        inforom_ecc="7.16", ecc=True, remap_banks=2560, nvlinks=18, nvlink_version=6,
        nvlink_mbps=26562,
    )  # fmt: skip
    result = judge(live_recording(synthetic_recording([card], driver=driver)), "h100-sxm5-80gb")
    assert accusations(result) == []
    assert result.exit_code in (0, 3)
