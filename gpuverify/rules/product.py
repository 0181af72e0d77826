"""Is it the product that it is sold as? PCI ids, and whole cards."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.product import MatchState, PciIdentity, Product, ProductKey
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_VALUE,
    SPEAKERS,
    absent,
    basis_of,
    cite,
    finding,
    name_of,
    says,
)
from gpuverify.rules.constants import (
    FROM_NVIDIA_SMI,
    FROM_NVML,
    FROM_PCI_CONFIG,
    FROM_PROCFS,
    NOT_ASKED,
)
from gpuverify.rules.on_file import some, uses_device

NVIDIA = 0x10DE
OEM_VENDORS = frozenset({0x1028, 0x103C, 0x17AA})
"""Dell, HP and Lenovo keep NVIDIA's subsystem device under their own vendor id."""

_HARD_FIRST = (FROM_PCI_CONFIG, FROM_NVML, FROM_NVIDIA_SMI, FROM_PROCFS)


def word(value: int | None) -> str:
    """Return a 16-bit id as upper-case hex, "-" where it is not known."""
    return "-" if value is None else f"{value:04X}"


@functools.lru_cache(maxsize=1024)
def identity_text(device: int, vendor: int | None = None, subsystem: int | None = None) -> str:
    """Return PCI ids as `device:subsystem-vendor:subsystem-device`."""
    return f"{word(device)}:{word(vendor)}:{word(subsystem)}"


def number(claim: Claim) -> int | None:
    """Return an integer claim's value, None for any other."""
    value = claim.value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def matched_entry(
    product: Product, device: int, vendor: int | None, subsystem: int | None
) -> PciIdentity | None:
    """Return the product's match entry that fits the ids, exact pairs before device ids."""
    return _matched_entry(product.key, device, vendor, subsystem)


@functools.lru_cache(maxsize=1024)
def _matched_entry(
    product: ProductKey, device: int, vendor: int | None, subsystem: int | None
) -> PciIdentity | None:
    """Return the match entry that fits the ids."""
    entries = [entry for entry in product.product.pci if entry.device_id == device]
    for entry in entries:
        if entry.subsystem_device_id is None or entry.subsystem_device_id != subsystem:
            continue
        if entry.subsystem_vendor_id in (None, vendor):
            return entry
        if entry.subsystem_vendor_id == NVIDIA and vendor in OEM_VENDORS:
            return entry
    return next((entry for entry in entries if entry.subsystem_device_id is None), None)


def exclusion_text(product: Product, device: int, vendor: int | None, subsystem: int | None) -> str:
    """Return the ids by which neighbours may be excluded.

    A subsystem that is not on file says nothing about which product it is, so it stands as "-":
    only products with another device id are then excluded.
    """
    return _exclusion_text(product.key, device, vendor, subsystem)


@functools.lru_cache(maxsize=1024)
def _exclusion_text(
    product: ProductKey, device: int, vendor: int | None, subsystem: int | None
) -> str:
    """Return the ids by which neighbours may be excluded."""
    entry = _matched_entry(product, device, vendor, subsystem)
    if entry is None or entry.subsystem_device_id is None:
        return identity_text(device)
    return identity_text(device, entry.subsystem_vendor_id or vendor, entry.subsystem_device_id)


def _check_product(subject: Subject) -> Iterator[Finding]:
    """Compare what the ids name with what is sold."""
    rule, recognition = PRODUCT, subject.recognition
    device_claim = subject.read("pci.device_id", *_HARD_FIRST)
    device = number(device_claim)
    if device is None or recognition.state is MatchState.UNREADABLE:
        yield absent(rule, device_claim, code_id="unreadable")
        return
    vendor_claim = subject.read("pci.subsystem_vendor_id", device_claim.source)
    subsystem_claim = subject.read("pci.subsystem_device_id", device_claim.source)
    vendor, subsystem = number(vendor_claim), number(subsystem_claim)
    observed = f"{SPEAKERS[device_claim.source]} reports {identity_text(device, vendor, subsystem)}"
    claims = cite(device_claim, vendor_claim, subsystem_claim)
    if recognition.state is MatchState.UNKNOWN:
        yield finding(
            rule, "unknown-device", observed=observed, expected=name_of(subject), claims=claims
        )
        return
    product = subject.product
    if product is None:
        names = some(p.name for p in recognition.products)
        yield finding(rule, "candidates", observed=f"{observed}: {names}", claims=claims)
        return
    yield from _judge(subject, product, observed, (device, vendor, subsystem), claims)


def _judge(
    subject: Subject,
    product: Product,
    observed: str,
    ids: tuple[int, int | None, int | None],
    claims: tuple[str, ...],
) -> Iterator[Finding]:
    """Decide where the device id is on file and one product is sold (or recognised)."""
    rule, recognition = PRODUCT, subject.recognition
    board = recognition.product
    names = some([p.name for p in recognition.products])
    seen = f"{observed}: {names}" if names else observed
    entry = matched_entry(product, *ids)
    exact_other = (
        board is not None
        and board.id != product.id
        and recognition.state is MatchState.EXACT
        and (entry is None or entry.subsystem_device_id is None)
        and recognition.by in ("pci-pair", "")
    )
    if board is not None and board.id != product.id and product.id in board.sold_as:
        yield finding(rule, "board-name", observed=seen, expected=product.name, claims=claims)
        yield finding(
            rule,
            "sold-as",
            observed=seen,
            expected=product.name,
            claims=claims,
            reference=tuple(f"{v.source} {v.locator}" for v in board.get("sold_as.source")),
            field="pci.identity",
            value=exclusion_text(board, *ids),
        )
        return
    fitting = uses_device(product, ids[0]) or product.id in [p.id for p in recognition.products]
    if exact_other or not fitting:
        yield finding(rule, "other-product", observed=seen, expected=product.name, claims=claims)
        return
    if len(recognition.products) > 1 and entry is None:
        yield finding(rule, "candidates", observed=seen, expected=product.name, claims=claims)
        return
    exact = entry is not None and entry.subsystem_device_id is not None
    if not exact:
        yield finding(
            rule, "subsystem-unknown", observed=seen, expected=product.name, claims=claims
        )
        holders = set(subject.reference.device_holders(ids[0])) - {product.id}
        if holders and not (board is not None and board.id == product.id):
            yield finding(
                rule,
                "candidates",
                observed=f"{observed}, which {some(sorted(holders))} also use",
                expected=product.name,
                claims=claims,
            )
            return
    yield finding(
        rule,
        "match" if exact else "device-match",
        observed=seen,
        expected=product.name,
        claims=claims,
        field="pci.identity",
        value=exclusion_text(product, *ids),
    )


PRODUCT = Rule(
    id="identity.product",
    title="PCI device and subsystem ids against the product sold",
    axis=Axis.IDENTITY,
    group=Group.PRODUCT,
    codes=(
        Code(id="match", outcome=Outcome.PASS, text="{observed}; on file for {expected}."),
        Code(
            id="device-match",
            outcome=Outcome.PASS,
            text="{observed}; the device id is one of {expected}'s.",
        ),
        Code(
            id="sold-as",
            outcome=Outcome.PASS,
            text="{observed}, a board that NVIDIA ships as {expected}.",
        ),
        Code(
            id="board-name",
            outcome=Outcome.NOTE,
            text="{observed}: the card shows its board's name, not {expected}. That is how it "
            "left the maker.",
        ),
        Code(
            id="subsystem-unknown",
            outcome=Outcome.NOTE,
            text="{observed}; this subsystem is not on file, the device id is.",
        ),
        Code(
            id="other-product",
            outcome=Outcome.FAIL,
            text="{observed}, not {expected}.",
        ),
        Code(
            id="candidates",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: several products fit these ids.",
        ),
        Code(
            id="unknown-device",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, a device id that is not on file.",
        ),
        Code(
            id="unreadable",
            outcome=Outcome.INCONCLUSIVE,
            text="The PCI ids are not readable. {observed}.",
        ),
    ),
    shows="The PCI ids are those of the product sold (or of a board that NVIDIA ships as it).",
    limit="A patched driver, a hypervisor or solder can change PCI ids. Some products share them.",
    near_miss="An unknown subsystem or device id, a board name such as PG509-210, an OEM's "
    "subsystem vendor: none of these contradicts a claim.",
    references=(
        "PCI Local Bus Specification 3.0, section 6.2 (configuration header)",
        "NVIDIA/open-gpu-kernel-modules README, table of compatible GPUs",
        "https://pci-ids.ucw.cz/",
    ),
    check=_check_product,
)


def _check_whole(subject: Subject) -> Iterator[Finding]:
    """Find statements that the block is a MIG slice or a vGPU, not a card."""
    rule = WHOLE_CARD
    mode = subject.read("gpu.virtualization_mode")
    is_slice = subject.read("mig.is_slice")
    guest = subject.host.read("host.vgpu_guest")
    stated = []
    if mode.value == "vgpu":
        stated.append(mode)
    if is_slice.value is True:
        stated.append(is_slice)
    if guest.value is True:
        stated.append(guest)
    if stated:
        yield finding(
            rule,
            "slice" if subject.sale is not None else "slice-unclaimed",
            observed=" and ".join(says(claim, _part(claim)) for claim in stated),
            expected=name_of(subject),
            basis=basis_of(*stated),
            claims=cite(*stated),
        )
    elif mode.ok and (is_slice.status is not NOT_ASKED or subject.imported):
        yield finding(rule, "whole", observed=says(mode), basis=basis_of(mode), claims=cite(mode))
    else:
        yield absent(rule, is_slice if mode.ok else mode)


def _part(claim: Claim) -> str:
    """Say which part of a card a claim speaks of."""
    return "a MIG slice" if claim.id == "mig.is_slice" else "a virtual GPU"


WHOLE_CARD = Rule(
    id="identity.whole-card",
    title="A whole card, not a MIG slice or a virtual GPU",
    axis=Axis.IDENTITY,
    group=Group.PRODUCT,
    codes=(
        Code(
            id="whole",
            outcome=Outcome.PASS,
            text="The driver speaks of a physical GPU: {observed}.",
        ),
        Code(
            id="slice",
            outcome=Outcome.FAIL,
            text="{observed}: a part of a card, not {expected}.",
        ),
        Code(
            id="slice-unclaimed",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: what is seen is a part of a card.",
        ),
        NO_VALUE,
    ),
    shows="The read-out does not describe a slice or a virtual GPU.",
    limit="A hypervisor can hide that a GPU is virtual.",
    near_miss="A card with MIG on is a whole card; so is one passed through to a virtual machine.",
    references=(
        "NVIDIA Multi-Instance GPU User Guide, https://docs.nvidia.com/datacenter/tesla/mig-user-guide/",
        "nvml.h, nvmlGpuVirtualizationMode_t",
    ),
    check=_check_whole,
)

RULES = (PRODUCT, WHOLE_CARD)
