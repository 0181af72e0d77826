"""What the loaded NVIDIA kernel module says of itself and its GPUs under /proc/driver/nvidia."""

from __future__ import annotations

import re
from collections.abc import Callable

from gpuverify.codec.text import printable
from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.sources.host_claims import ClaimMaker, text_of
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.reading import SourceReading

VERSION = "/proc/driver/nvidia/version"
GPUS = "/proc/driver/nvidia/gpus"
_MAX_GPUS = 256

_MAKE = ClaimMaker(Source.PROCFS)
_VERSION_LINE = re.compile(r"^NVRM version:\s*(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\d.])\d{3}\.\d{1,3}(?:\.\d{1,3})?(?![\d.])")


def _yes(text: str) -> bool | None:
    """Return the meaning of Yes or No."""
    return {"yes": True, "no": False}.get(text.lower())


def _minor(text: str) -> int | None:
    """Return a device minor number."""
    return int(text) if re.fullmatch(r"\d{1,5}", text) else None


_FIELDS: tuple[tuple[str, str, Callable[[str], Value | None]], ...] = (
    ("Model", "gpu.name", lambda text: text or None),
    ("GPU UUID", "gpu.uuid", lambda text: text or None),
    ("Video BIOS", "gpu.vbios_version", lambda text: text.upper() or None),
    ("Bus Location", "pci.bus_id", normal_bus_id),
    ("Device Minor", "gpu.minor_number", _minor),
    ("GPU Firmware", "gpu.gsp_firmware_version", lambda text: text or None),
    ("GPU Excluded", "gpu.excluded", _yes),
)
# Not printed by every driver: their absence says nothing.
_OPTIONAL = ("gpu.gsp_firmware_version", "gpu.excluded")


def read_procfs(tree: HostTree) -> SourceReading:
    """Read the kernel module's version and what it says about each GPU.

    Args:
        tree: Where the files are read.

    Returns:
        Claims a GPU by its folder's bus id, and about the driver.
    """
    reading = SourceReading()
    reading.host += _version_claims(tree)
    try:
        folders = tree.names(GPUS)[:_MAX_GPUS]
    except OSError as error:
        reading.host.append(_MAKE.ended("procfs", error, GPUS))
        return reading
    for folder in folders:
        bus_id = normal_bus_id(folder)
        key = bus_id or f"?procfs:{printable(folder, 40)}"
        for claim in _gpu_claims(tree, f"{GPUS}/{folder}/information"):
            reading.add(key, claim)
    reading.host.append(_MAKE.ended("procfs", call=GPUS))
    return reading


def _version_claims(tree: HostTree) -> list[Claim]:
    """Return version and flavour of the loaded module."""
    try:
        text = text_of(tree.read(VERSION, 1 << 14))
    except OSError as error:
        return [
            _MAKE.refused("driver.kernel_version", error, VERSION),
            _MAKE.refused("driver.flavour", error, VERSION),
        ]
    line = _VERSION_LINE.search(text)
    number = _NUMBER.search(line[1]) if line else None
    if line is None or number is None:
        return [
            _MAKE.missing("driver.kernel_version", ClaimStatus.MALFORMED, VERSION, text),
            _MAKE.missing("driver.flavour", ClaimStatus.MALFORMED, VERSION, text),
        ]
    flavour = "open" if "Open Kernel Module" in line[1] else "proprietary"
    return [
        _MAKE.ok("driver.kernel_version", number[0], VERSION, line[0]),
        _MAKE.ok("driver.flavour", flavour, VERSION),
    ]


def _gpu_claims(tree: HostTree, path: str) -> list[Claim]:
    """Return the claims of one `information` file, and of the device node it names."""
    try:
        text = text_of(tree.read(path, 1 << 14))
    except OSError as error:
        return [_MAKE.refused(claim_id, error, path) for _, claim_id, _ in _FIELDS[:5]]
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    claims: list[Claim] = []
    for name, claim_id, convert in _FIELDS:
        shown = values.get(name)
        if shown is None:
            if claim_id not in _OPTIONAL:
                claims.append(
                    _MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, path, f"no line {name!r}")
                )
            continue
        claims.append(_field_claim(claim_id, shown, convert, path))
    minor = _minor(values.get("Device Minor", ""))
    if minor is not None:
        claims.append(device_node_claim(tree, minor))
    return claims


def _field_claim(
    claim_id: str, shown: str, convert: Callable[[str], Value | None], path: str
) -> Claim:
    """Return the claim for one line; question marks stand for a GPU that was never started."""
    if "?" in shown:
        return _MAKE.missing(claim_id, ClaimStatus.SENTINEL, path, shown)
    if shown in ("N/A", ""):
        return _MAKE.missing(claim_id, ClaimStatus.NOT_SUPPORTED, path, shown)
    value = convert(shown)
    if value is None:
        return _MAKE.missing(claim_id, ClaimStatus.MALFORMED, path, shown)
    return _MAKE.ok(claim_id, value, path)


def device_node_claim(tree: HostTree, minor: int) -> Claim:
    """Return whether /dev/nvidiaN is a character device.

    Args:
        tree: Where to look.
        minor: N, as the kernel module or NVML names it.
    """
    path = f"/dev/nvidia{minor}"
    kind = tree.kind(path)
    if kind == "refused":
        reason = "we are not allowed to see what stands there"
        return _MAKE.missing("device_node.present", ClaimStatus.NO_PERMISSION, path, reason)
    return _MAKE.ok("device_node.present", kind == "character-device", path)
