"""NVIDIA's PCI functions by their configuration bytes.

Ids come from the `config` file and not from the attribute files beside it: those show what the
kernel keeps in memory, which a patched driver can set. The attribute files are read as well, as
claims of their own, so that a difference can be seen.
"""

from __future__ import annotations

import re

from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.host_claims import ClaimMaker, read_text
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.pci_space import SPACE_BYTES, ConfigSpace
from gpuverify.sources.reading import SourceReading

DEVICES = "/sys/bus/pci/devices"
NVIDIA = 0x10DE
_DISPLAY_CLASS = 0x03
_IORESOURCE_MEM = 0x200
_HEX = re.compile(r"0x[0-9A-Fa-f]{1,16}")
_MAX_FUNCTIONS = 65536

_MAKE = ClaimMaker(Source.PCI_CONFIG)

_HEADER_CLAIMS = (
    ("pci.vendor_id", "vendor_id"),
    ("pci.device_id", "device_id"),
    ("pci.subsystem_vendor_id", "subsystem_vendor_id"),
    ("pci.subsystem_device_id", "subsystem_device_id"),
    ("pci.revision_id", "revision_id"),
    ("pci.class_code", "class_code"),
)
_ATTRIBUTES = (
    ("pci.attribute.vendor_id", "vendor"),
    ("pci.attribute.device_id", "device"),
    ("pci.attribute.subsystem_vendor_id", "subsystem_vendor"),
    ("pci.attribute.subsystem_device_id", "subsystem_device"),
)
_LINK_CLAIMS = (
    ("pci.link_generation_device_max", "generation_max"),
    ("pci.link_generation_current", "generation_current"),
    ("pci.link_width_max", "width_max"),
    ("pci.link_width_current", "width_current"),
)


def read_pci_config(tree: HostTree) -> SourceReading:
    """Read every display-class function with NVIDIA's vendor id, bound to a driver or not.

    Args:
        tree: Where the files are read.

    Returns:
        Claims a function, and how many functions there are.
    """
    reading = SourceReading()
    try:
        names = tree.names(DEVICES)[:_MAX_FUNCTIONS]
    except OSError as error:
        reading.host.append(_MAKE.refused("host.pci_gpu_count", error, DEVICES))
        reading.host.append(_MAKE.ended("pci-config", error, DEVICES))
        return reading
    refusal: OSError | None = None
    for name in names:
        bus_id = normal_bus_id(name)
        if bus_id is None:
            continue
        try:
            ours = _is_nvidia_display(tree, f"{DEVICES}/{name}")
        except PermissionError as error:
            refusal = refusal or error
            continue
        if ours:
            for claim in _function_claims(tree, name, bus_id):
                reading.add(bus_id, claim)
    if refusal is not None:
        # Whose function it is was not shown to us: it may be the very one that is looked for.
        reading.host.append(_MAKE.refused("host.pci_gpu_count", refusal, DEVICES))
    else:
        reading.host.append(_MAKE.ok("host.pci_gpu_count", len(reading.devices), DEVICES))
    reading.host.append(_MAKE.ended("pci-config", refusal, DEVICES))
    return reading


def _is_nvidia_display(tree: HostTree, folder: str) -> bool:
    """Whether a function is NVIDIA's display class by its bytes or by the kernel's files.

    Either is enough: a function that only one of the two calls NVIDIA's is just what has to be
    looked at, and one that fell off the bus shows no bytes any more.

    Raises:
        PermissionError: Neither its bytes nor its vendor are shown to us.
    """
    refusal: PermissionError | None = None
    try:
        space = ConfigSpace(tree.read(f"{folder}/config", 64))
    except OSError as error:
        space = ConfigSpace(b"")
        refusal = error if isinstance(error, PermissionError) else None
    by_bytes = space.vendor_id == NVIDIA and (space.class_code or 0) >> 16 == _DISPLAY_CLASS
    if not by_bytes:
        vendor = read_text(tree, f"{folder}/vendor", 64)
        if refusal is not None and vendor is None:
            raise refusal
        if _hex_attribute(vendor) != NVIDIA:
            return False
        if (_hex_attribute(read_text(tree, f"{folder}/class", 64)) or 0) >> 16 != _DISPLAY_CLASS:
            return False
    # A virtual function (SR-IOV under a vGPU host) has no ids of its own and is not a card.
    return tree.kind(f"{folder}/physfn") != "directory"


def _hex_attribute(text: str | None) -> int | None:
    """Return the number that a sysfs attribute shows as 0x…; None if it is not one."""
    return int(text, 16) if text is not None and _HEX.fullmatch(text) else None


def _function_claims(tree: HostTree, name: str, bus_id: str) -> list[Claim]:
    """Return all claims about one function."""
    folder = f"{DEVICES}/{name}"
    path = f"{folder}/config"
    claims = [_MAKE.ok("pci.bus_id", bus_id, folder)]
    try:
        space = ConfigSpace(tree.read(path, SPACE_BYTES))
    except OSError as error:
        space = ConfigSpace(b"")
        claims += [_MAKE.refused(claim_id, error, path) for claim_id, _ in _HEADER_CLAIMS]
        claims += [_MAKE.refused(claim_id, error, path) for claim_id, _ in _LINK_CLAIMS]
    else:
        claims += _header_claims(space, path)
        claims += _link_claims(tree, space, name, path)
        claims += _bar_claims(tree, space, folder)
    claims.append(_driver_claim(tree, folder))
    for claim_id, attribute in _ATTRIBUTES:
        claims.append(_MAKE.from_file(tree, claim_id, f"{folder}/{attribute}", _hex_attribute))
    claims.append(_MAKE.from_file(tree, "pci.attribute.modalias", f"{folder}/modalias", _modalias))
    return claims


def _modalias(text: str) -> str | None:
    """Return a modalias if it has the bus prefix that the kernel writes."""
    return text if text.startswith("pci:") and len(text) <= 200 else None


def _header_claims(space: ConfigSpace, path: str) -> list[Claim]:
    """Return the ids."""
    if space.gone:
        return [
            _MAKE.missing(claim_id, ClaimStatus.DEVICE_LOST, path, "all bytes are 0xff")
            for claim_id, _ in _HEADER_CLAIMS
        ]
    if not space.complete_header:
        return [
            _MAKE.missing(claim_id, ClaimStatus.MALFORMED, path, "shorter than a PCI header")
            for claim_id, _ in _HEADER_CLAIMS
        ]
    return [_MAKE.ok(claim_id, getattr(space, field), path) for claim_id, field in _HEADER_CLAIMS]


def _why_no_capability(space: ConfigSpace, *, extended: bool = False) -> tuple[ClaimStatus, str]:
    """Return why a capability was not found."""
    if space.gone:
        return ClaimStatus.DEVICE_LOST, "all bytes are 0xff"
    if space.header_only:
        return ClaimStatus.NO_PERMISSION, "only root is shown more than the first 64 bytes"
    if extended and not space.has_extended_space:
        return ClaimStatus.NOT_SUPPORTED, "no extended configuration space on this host"
    return ClaimStatus.NOT_FOUND, "no such capability, or a malformed list"


def _link_claims(tree: HostTree, space: ConfigSpace, name: str, path: str) -> list[Claim]:
    """Return what the PCI Express capability says, of the function and with its slot."""
    link = space.link()
    if link is None:
        status, reason = _why_no_capability(space)
        ids = [claim_id for claim_id, _ in _LINK_CLAIMS] + ["pci.link_generation_max"]
        return [_MAKE.missing(claim_id, status, path, reason) for claim_id in ids]
    claims = [
        _MAKE.ok(claim_id, value, path)
        if (value := getattr(link, field)) > 0
        else _MAKE.missing(claim_id, ClaimStatus.SENTINEL, path, "0")
        for claim_id, field in _LINK_CLAIMS
    ]
    slot = _upstream_generation(tree, name)
    if slot is None or link.generation_max == 0:
        claims.append(
            _MAKE.missing(
                "pci.link_generation_max", ClaimStatus.NOT_FOUND, path, "no bridge above is shown"
            )
        )
    else:
        both = min(slot, link.generation_max)
        claims.append(_MAKE.ok("pci.link_generation_max", both, f"{path} and the bridge above"))
    return claims


def _upstream_generation(tree: HostTree, name: str) -> int | None:
    """Return the highest generation of the bridge above a function, None if not readable."""
    try:
        parts = tree.link(f"{DEVICES}/{name}").rstrip("/").split("/")
        if len(parts) < 2 or normal_bus_id(parts[-2]) is None:
            return None
        link = ConfigSpace(tree.read(f"{DEVICES}/{parts[-2]}/config", SPACE_BYTES)).link()
    except OSError:
        return None
    return link.generation_max or None if link else None


def _bar_claims(tree: HostTree, space: ConfigSpace, folder: str) -> list[Claim]:
    """Return sizes now (from `resource`) and the largest that BAR1 can be given."""
    path = f"{folder}/resource"
    claims: list[Claim] = []
    wanted = (("pci.bar0_bytes", 0), ("pci.bar1_bytes", space.bar1_register))
    try:
        sizes = _resource_sizes(tree.read(path, 1 << 14).decode("ascii", "replace"))
    except OSError as error:
        claims += [_MAKE.refused(claim_id, error, path) for claim_id, _ in wanted]
    else:
        for claim_id, register in wanted:
            size = sizes[register] if register < len(sizes) else None
            if size is None:
                claims.append(_MAKE.missing(claim_id, ClaimStatus.MALFORMED, path, "no such line"))
            elif size == 0:
                reason = "the host gave it no address range"
                claims.append(_MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, path, reason))
            else:
                claims.append(_MAKE.ok(claim_id, size, path))
    claims.append(_bar1_max_claim(space, f"{folder}/config"))
    return claims


def _bar1_max_claim(space: ConfigSpace, path: str) -> Claim:
    """Return the largest size of BAR1 by the Resizable BAR capability."""
    entries = space.resizable_bars()
    if entries is None:
        status, reason = _why_no_capability(space, extended=True)
        return _MAKE.missing("pci.bar1_max_bytes", status, path, reason)
    for entry in entries:
        if entry.index == space.bar1_register and entry.max_bytes:
            return _MAKE.ok("pci.bar1_max_bytes", entry.max_bytes, path)
    return _MAKE.missing(
        "pci.bar1_max_bytes", ClaimStatus.NOT_FOUND, path, "the capability does not list BAR1"
    )


def _resource_sizes(text: str) -> list[int | None]:
    """Return the sizes of the six base address registers from a `resource` file."""
    sizes: list[int | None] = []
    for line in text.splitlines()[:6]:
        words = line.split()
        if len(words) != 3 or not all(_HEX.fullmatch(word) for word in words):
            sizes.append(None)
            continue
        start, end, flags = (int(word, 16) for word in words)
        if not flags & _IORESOURCE_MEM:
            sizes.append(0)
        else:
            sizes.append(end - start + 1 if end >= start else None)
    return sizes


def _driver_claim(tree: HostTree, folder: str) -> Claim:
    """Return the kernel driver that is bound, "none" where none is."""
    path = f"{folder}/driver"
    try:
        target = tree.link(path)
    except FileNotFoundError:
        return _MAKE.ok("pci.driver", "none", path)
    except OSError as error:
        return _MAKE.refused("pci.driver", error, path)
    return _MAKE.ok("pci.driver", target.rstrip("/").rsplit("/", 1)[-1], path)
