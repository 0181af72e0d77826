"""Which product a device's PCI ids name, and what decides where several share them.

An exact pair of device and subsystem ids names a product; so does NVIDIA's subsystem device id
under the vendor id of one of the three makers that put their own there (Dell, HP, Lenovo, as
NVIDIA's own table lists them for its workstation boards). A device id that one product alone uses
names it as well. Where products share a device id and the subsystem is not on file, the part
numbers decide, then the memory size; else the candidates stay.
"""

from __future__ import annotations

from collections.abc import Callable

from gpuverify.model.claims import Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.product import MatchState, Product, ProductStatus, Recognition
from gpuverify.refdb.fields import key
from gpuverify.refdb.loader import derive

NVIDIA = 0x10DE
OEM_VENDORS = frozenset((0x1028, 0x103C, 0x17AA))
"""Dell, HP and Lenovo: https://github.com/NVIDIA/open-gpu-kernel-modules, Compatible GPUs."""

_ORDER = (Source.PCI_CONFIG, Source.NVML, Source.NVIDIA_SMI)
_LATTICE = ("gpu.gpu_part_number", "gpu.board_part_number", "inforom.image_version")
_ALL_ONES = 0xFFFF
_MIB = 1 << 20


def recognise(
    claims: ClaimSet,
    device_holders: Callable[[int], tuple[str, ...]],
    product: Callable[[str], Product],
) -> Recognition:
    """Return which product the claims name.

    Args:
        claims: Claims about one device. Ids are read from PCI config space, else NVML, else
            nvidia-smi; that they agree is a rule's business.
        device_holders: Ids of the products that use a device id.
        product: A product by id.

    Returns:
        The recognition; its candidates are in id order.
    """
    device_id = _id(claims, "pci.device_id")
    if device_id is None:
        return Recognition(state=MatchState.UNREADABLE)
    vendor = claims.value("pci.vendor_id", *_ORDER)
    if isinstance(vendor, int) and vendor != NVIDIA:
        return Recognition(state=MatchState.UNKNOWN)
    sharing = tuple(product(product_id) for product_id in device_holders(device_id))
    if not sharing:
        return Recognition(state=MatchState.UNKNOWN)
    exact = _by_pair(sharing, device_id, claims)
    if exact:
        return _settle_pair(exact, sharing, claims)
    if len(sharing) == 1:
        return Recognition(state=MatchState.SUBSYSTEM_UNKNOWN, products=sharing, by="pci-device")
    return _narrow(sharing, claims)


def _id(claims: ClaimSet, name: str) -> int | None:
    """Return a 16-bit id, None if it is masked or missing."""
    value = claims.value(name, *_ORDER)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _ALL_ONES:
        return None
    return value


def _by_pair(sharing: tuple[Product, ...], device_id: int, claims: ClaimSet) -> tuple[Product, ...]:
    """Return the products that have the device and subsystem pair on file."""
    vendor = claims.value("pci.subsystem_vendor_id", *_ORDER)
    sub_device = claims.value("pci.subsystem_device_id", *_ORDER)
    if not isinstance(vendor, int) or not isinstance(sub_device, int):
        return ()
    vendors = (vendor, NVIDIA) if vendor in OEM_VENDORS else (vendor,)
    for wanted in vendors:
        found = tuple(
            product
            for product in sharing
            if any(
                identity.device_id == device_id
                and identity.subsystem_vendor_id == wanted
                and identity.subsystem_device_id == sub_device
                for identity in product.pci
            )
        )
        if found:
            return found
    return ()


def _settle_pair(
    exact: tuple[Product, ...], sharing: tuple[Product, ...], claims: ClaimSet
) -> Recognition:
    """Settle an exact pair, minding that a modified card keeps the ids of the stock card."""
    modified = tuple(
        product
        for product in sharing
        if product.status is ProductStatus.MODIFIED and product not in exact
    )
    mib = _total_mib(claims)
    if mib is not None and modified and not any(fits_memory(one, mib) for one in exact):
        fitting = tuple(product for product in modified if fits_memory(product, mib))
        if len(fitting) == 1:
            return Recognition(state=MatchState.SUBSYSTEM_UNKNOWN, products=fitting, by="memory")
    if len(exact) == 1:
        return Recognition(state=MatchState.EXACT, products=exact, by="pci-pair")
    return _narrow(exact, claims)


def _narrow(candidates: tuple[Product, ...], claims: ClaimSet) -> Recognition:
    """Narrow products that share a device id by part numbers, then by memory size."""
    by = ""
    for name in _LATTICE:
        observed = claims.value(name)
        for field, value in derive(name, observed):
            holding = tuple(
                product
                for product in candidates
                if any(key(field, one.value) == key(field, value) for one in product.get(field))
            )
            if holding and len(holding) < len(candidates):
                candidates, by = holding, "lattice"
    mib = _total_mib(claims)
    if len(candidates) > 1 and mib is not None:
        fitting = tuple(
            product for product in candidates if fits_memory(product, mib) or not _has_size(product)
        )
        if any(_has_size(product) for product in fitting) and len(fitting) < len(candidates):
            candidates, by = fitting, "memory"
    state = MatchState.SUBSYSTEM_UNKNOWN if len(candidates) == 1 else MatchState.CANDIDATES
    return Recognition(state=state, products=candidates, by=by)


def _total_mib(claims: ClaimSet) -> int | None:
    """Return the frame buffer total in MiB."""
    total = claims.value("memory.total_bytes")
    return total // _MIB if isinstance(total, int) and total > 0 else None


def _has_size(product: Product) -> bool:
    """Whether a memory size is on file."""
    return bool(product.get("memory.total_mib") or product.get("memory.nominal_mib"))


def fits_memory(product: Product, mib: int) -> bool:
    """Whether a frame buffer total is of the product's memory class.

    Args:
        product: A product.
        mib: A total in MiB, of any driver era and ECC mode.

    Returns:
        True where it is within 1 % of a total on file, or 84 to 100 % of the nominal size: old
        drivers show 90 to 100 %, and ECC on GDDR takes a sixteenth of that.
    """
    totals = (one.value for one in product.get("memory.total_mib"))
    if any(isinstance(total, int) and abs(total - mib) * 100 <= total for total in totals):
        return True
    sizes = (one.value for one in product.get("memory.nominal_mib"))
    return any(isinstance(size, int) and 84 * size <= 100 * mib <= 100 * size for size in sizes)
