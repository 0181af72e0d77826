"""Mounts that stand over the driver's files, device nodes or sysfs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, Source
from gpuverify.sources.host_claims import ClaimMaker, joined, names_in, read_text
from gpuverify.sources.host_maps import unescape
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.procfs import GPUS

MOUNTS = "/proc/self/mountinfo"

_MAKE = ClaimMaker(Source.HOST)
_WATCHED = re.compile(
    r"/dev/nvidia.*|/proc/driver(?:/nvidia.*)?|/sys/(?:bus|devices|module)(?:/(?:pci|nvidia).*)?"
    r"|/proc/(?:cpuinfo|modules|sys/kernel(?:/.*)?)|/sys/(?:class(?:/dmi.*)?|devices/virtual(?:/dmi.*)?)"
    r"|.*/(?:libnvidia-ml|libcuda)\.so[^/]*|/(?:usr/)?s?bin/nvidia-smi"
)
_USUAL = {"/proc": "proc", "/sys": "sysfs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo.

    Attributes:
        root: What of its file system is mounted.
        point: Where it is mounted.
        kind: Type of the file system.
    """

    root: str
    point: str
    kind: str


def read_mounts(tree: HostTree) -> tuple[Mount, ...]:
    """Return the mounts that our process sees.

    Args:
        tree: Where the list is read.

    Raises:
        OSError: It cannot be read.
    """
    mounts: list[Mount] = []
    for line in tree.read(MOUNTS, 4 << 20).decode("utf-8", "replace").splitlines():
        left, dash, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if dash and len(fields) >= 6:
            mounts.append(Mount(root=unescape(fields[3]), point=unescape(fields[4]), kind=kinds[0]))
    return tuple(mounts)


def _itself(mount: Mount) -> bool:
    """Whether a part of procfs or sysfs stands on its own place (made read-only by a service)."""
    return any(
        mount.kind == kind and mount.point == f"{top}{mount.root}" for top, kind in _USUAL.items()
    )


def mount_claims(tree: HostTree) -> tuple[Claim, tuple[Mount, ...] | OSError]:
    """Return the mounts of interest as a claim, and all mounts for `node_claims`.

    A container runtime puts the driver's files and nodes into a container by mounting them: a
    mount is listed and does not accuse.

    Args:
        tree: Where the list is read.
    """
    try:
        mounts = read_mounts(tree)
    except OSError as error:
        return _MAKE.refused("host.foreign_mounts", error, MOUNTS), error
    found = [
        f"{mount.point} ({mount.kind} {mount.root})"
        for mount in mounts
        if (_WATCHED.fullmatch(mount.point) and not _itself(mount))
        or (mount.point in _USUAL and mount.kind != _USUAL[mount.point])
    ]
    return _MAKE.ok("host.foreign_mounts", joined(found), MOUNTS), mounts


def node_claims(
    tree: HostTree, mounts: tuple[Mount, ...] | OSError, *, in_container: bool
) -> dict[str, Claim]:
    """Return, by bus id, whether something stands over a card's own device node.

    The same node bound onto its own name from the kernel's devtmpfs is how container runtimes
    and sandboxes pass a card on. Another node, or a file of another file system, is foreign; in a
    container nested in another the outer one's /dev is a tmpfs.

    Args:
        tree: Where the kernel module's list of cards is read.
        mounts: What `mount_claims` gave.
        in_container: Whether we run in a container.
    """
    claims: dict[str, Claim] = {}
    for folder in names_in(tree, GPUS):
        bus_id = normal_bus_id(folder)
        text = read_text(tree, f"{GPUS}/{folder}/information", 1 << 14) or ""
        minor = re.search(r"^Device Minor:\s*(\d{1,5})\s*$", text, re.MULTILINE)
        if bus_id is None or minor is None:
            continue
        if isinstance(mounts, OSError):
            claims[bus_id] = _MAKE.refused("device_node.foreign_mount", mounts, MOUNTS)
            continue
        node = f"nvidia{minor[1]}"
        over = [mount for mount in mounts if mount.point == f"/dev/{node}"]
        foreign = any(
            mount.root.rsplit("/", 1)[-1] != node
            or not (mount.kind == "devtmpfs" or (in_container and mount.kind == "tmpfs"))
            for mount in over
        )
        claims[bus_id] = _MAKE.ok("device_node.foreign_mount", foreign, MOUNTS)
    return claims
