"""What stands between us and the hardware: virtual machine, container, Windows subsystem."""

from __future__ import annotations

import re

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.host_claims import ClaimMaker, read_text
from gpuverify.sources.host_tree import HostTree

CPUINFO = "/proc/cpuinfo"
MOUNTS = "/proc/self/mountinfo"
DMI = "/sys/class/dmi/id"

_MAKE = ClaimMaker(Source.HOST)

# How hypervisors name themselves in the firmware's tables; the names are those that systemd's
# virt.c and virt-what look for.
_MACHINES = (
    (re.compile(r"QEMU|KVM|Bochs|SeaBIOS|oVirt|RHEV|OpenStack|Proxmox", re.IGNORECASE), "kvm"),
    (re.compile(r"VMware|VMW", re.IGNORECASE), "vmware"),
    (re.compile(r"VirtualBox|innotek", re.IGNORECASE), "virtualbox"),
    (re.compile(r"\bXen\b", re.IGNORECASE), "xen"),
    (re.compile(r"Microsoft Corporation.*Virtual Machine", re.IGNORECASE), "hyper-v"),
    (re.compile(r"Google Compute Engine", re.IGNORECASE), "google"),
    (re.compile(r"Amazon EC2", re.IGNORECASE), "amazon"),
    (re.compile(r"Alibaba Cloud", re.IGNORECASE), "alibaba"),
    (re.compile(r"DigitalOcean|Parallels|Apple Virtualization|bhyve", re.IGNORECASE), "other"),
)
# Clouds rent whole machines under the names of their virtual ones.
_BARE_METAL = re.compile(r"\.metal|\bebm|bare[ -]?metal", re.IGNORECASE)
# Not the service of the container daemon itself ("docker.service", "lxc.monitor.…").
_CONTAINER_GROUP = re.compile(
    r"/(?:(docker|containerd|libpod)[-/]|(kubepods)[-./]|(lxc)(?:/|\.payload)|(garden)/)"
)
_CONTAINER_NAMES = {
    "docker": "docker",
    "kubepods": "kubernetes",
    "containerd": "containerd",
    "lxc": "lxc",
    "libpod": "podman",
    "garden": "garden",
}


# What a container's own file system and its host name file are made of, as runtimes name it:
# /var/lib/docker/overlay2, /var/lib/containerd/io.containerd.snapshotter…, /var/lib/kubelet/pods,
# /var/lib/containers/storage. With cgroup v2 and a namespace of its own no group tells any more.
_CONTAINER_STORE = re.compile(
    r"/(?:(docker)/(?:overlay2|containers)|(containerd)/io\.containerd|(kubelet)/pods"
    r"|containers/(storage))/"
)
_STORES = {
    "docker": "docker", "containerd": "containerd", "kubelet": "kubernetes", "storage": "podman",
}  # fmt: skip


def environment_claims(tree: HostTree) -> list[Claim]:
    """Return what kind of machine this is.

    Args:
        tree: Where the files are read.
    """
    hypervisor = _hypervisor(tree)
    return [hypervisor, _virtual_machine(tree, hypervisor), container_claim(tree), _wsl(tree)]


def _hypervisor(tree: HostTree) -> Claim:
    """Return CPUID's hypervisor bit as the kernel lists it among the first CPU's flags."""
    try:
        text = tree.read(CPUINFO, 1 << 16).decode("ascii", "replace")
    except OSError as error:
        return _MAKE.refused("host.hypervisor_cpuid", error, CPUINFO)
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    if flags is None:
        reason = "this processor shows no such flag"
        return _MAKE.missing("host.hypervisor_cpuid", ClaimStatus.NOT_SUPPORTED, CPUINFO, reason)
    return _MAKE.ok("host.hypervisor_cpuid", "hypervisor" in flags[1].split(), CPUINFO)


def _virtual_machine(tree: HostTree, hypervisor: Claim) -> Claim:
    """Return the kind of virtual machine, "none", or "unknown" where a hypervisor hides."""
    if (kind := read_text(tree, "/sys/hypervisor/type", 64)) == "xen":
        # Dom0 of Xen drives the hardware itself.
        features = read_text(tree, "/proc/xen/capabilities", 256) or ""
        if "control_d" not in features:
            return _MAKE.ok("host.virtual_machine", "xen", "/sys/hypervisor/type")
    names = [read_text(tree, f"{DMI}/{name}", 1024) for name in ("sys_vendor", "product_name")]
    shown = " ".join(name for name in names if name)
    if _BARE_METAL.search(shown):
        return _MAKE.ok("host.virtual_machine", "none", DMI, shown or None)
    for pattern, machine in _MACHINES:
        if pattern.search(shown):
            return _MAKE.ok("host.virtual_machine", machine, DMI, shown)
    if hypervisor.value is True and kind != "xen":
        return _MAKE.ok("host.virtual_machine", "unknown", CPUINFO, shown or None)
    if hypervisor.value is None and not shown:
        reason = "neither CPU flags nor firmware tables say"
        return _MAKE.missing("host.virtual_machine", ClaimStatus.NOT_FOUND, DMI, reason)
    return _MAKE.ok("host.virtual_machine", "none", DMI, shown or None)


def _container_store(tree: HostTree) -> str | None:
    """Return the runtime in whose store our root or host name file lies, None if in none."""
    for line in (read_text(tree, MOUNTS) or "").splitlines():
        fields = line.split(" ")
        # Only what makes up our own system: a server that runs containers has theirs mounted too.
        if len(fields) > 4 and fields[4] in ("/", "/etc/hostname", "/etc/hosts"):
            found = _CONTAINER_STORE.search(line)
            if found:
                return _STORES[found[found.lastindex or 0]]
    return None


def container_claim(tree: HostTree) -> Claim:
    """Return the kind of container we run in, or "none".

    Args:
        tree: Where the files are read.
    """
    for path, kind in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if tree.kind(path) == "file":
            return _MAKE.ok("host.container", kind, path)
    if tree.kind("/.singularity.d") == "directory":
        return _MAKE.ok("host.container", "singularity", "/.singularity.d")
    said = read_text(tree, "/run/systemd/container", 256)
    if said:
        return _MAKE.ok("host.container", said.splitlines()[0][:60], "/run/systemd/container")
    variables = (read_text(tree, "/proc/1/environ") or "").split("\0")
    for variable in variables:
        if variable.startswith("container=") and len(variable) > len("container="):
            return _MAKE.ok("host.container", variable[10:70], "/proc/1/environ")
    for path in ("/proc/1/cgroup", "/proc/self/cgroup"):
        groups = read_text(tree, path)
        found = _CONTAINER_GROUP.search(groups or "")
        if found:
            return _MAKE.ok("host.container", _CONTAINER_NAMES[found[found.lastindex or 0]], path)
    store = _container_store(tree)
    if store is not None:
        return _MAKE.ok("host.container", store, MOUNTS)
    return _MAKE.ok("host.container", "none", "/.dockerenv, /proc/1/cgroup, our mounts")


def _wsl(tree: HostTree) -> Claim:
    """Return whether this is the Windows Subsystem for Linux."""
    if tree.kind("/dev/dxg") == "character-device":
        return _MAKE.ok("host.wsl", True, "/dev/dxg")
    # "5.15.90.1-microsoft-standard-WSL2", "4.4.0-19041-Microsoft"
    return _MAKE.from_file(
        tree, "host.wsl", "/proc/sys/kernel/osrelease", lambda text: "microsoft" in text.lower()
    )
