"""What a rule is handed: claims, recognised product, product sold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.part_numbers import driver_branch
from gpuverify.model.policy import Thresholds
from gpuverify.model.product import (
    Product,
    ProductKey,
    Recognition,
    ReferenceIndex,
    ReferenceValue,
)
from gpuverify.model.sale import SaleItem


def accepted(product: Product, board: Product | None, name: str) -> tuple[ReferenceValue, ...]:
    """Reference values that fit a product: its own, and those of a board it is shipped as.

    Args:
        product: The product that values are compared with.
        board: The product that was recognised, if any.
        name: Reference field.

    Returns:
        The values. A board that NVIDIA ships under a board name (PG509-210) counts as the product
        that its entry names in `sold_as`.
    """
    values = product.get(name)
    if board is not None and board.id != product.id and product.id in board.sold_as:
        values += board.get(name)
    return values


ReferenceKey = tuple[ProductKey | None, ProductKey | None, int | None, bool | None]
"""The product compared with, the one recognised, the driver branch, and whether ECC is on."""


class ReadClaim(Protocol):
    """What `ClaimSet.read` does."""

    def __call__(self, claim_id: str, *sources: Source) -> Claim:
        """Return the first claim with a value among `sources`."""
        ...


class ReadValue(Protocol):
    """What `ClaimSet.value` does."""

    def __call__(self, claim_id: str, *sources: Source) -> Value | None:
        """Return the value that `read` finds, or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One device under appraisal.

    What a hundred rules ask of every device stands ready: it is looked up once, when the subject
    is made.

    Attributes:
        device: Its evidence.
        host: Claims about the host.
        evidence_class: How the evidence reached us.
        recognition: Which product its ids name.
        sale: The item it is sold as, None where nothing was claimed.
        neighbours: Confusable neighbours of the product sold (or recognised).
        reference: Reverse look-up.
        thresholds: The policy's numbers.
        now_ms: The time of appraisal, milliseconds since the Unix epoch.
        product: The product that values are compared with: the one sold, else the one recognised.
        imported: Whether the evidence is somebody's log, where accusations are held back.
        driver_branch: First number of the driver version, None where it is not known.
        ecc: Whether ECC is on, None where it is not known. A card that answers "not supported" has
            no ECC on; a read that was not made says nothing.
        reference_key: What decides which reference values hold for it.
        read: Reads a device claim, see `ClaimSet.read`.
        value: Value of a device claim or None, see `ClaimSet.value`.
        host_value: Value of a host claim or None.
    """

    device: DeviceEvidence
    host: ClaimSet
    evidence_class: EvidenceClass
    recognition: Recognition
    sale: SaleItem | None
    neighbours: tuple[Product, ...]
    reference: ReferenceIndex
    thresholds: Thresholds
    now_ms: int
    product: Product | None = field(init=False, repr=False, compare=False)
    imported: bool = field(init=False, repr=False, compare=False)
    driver_branch: int | None = field(init=False, repr=False, compare=False)
    ecc: bool | None = field(init=False, repr=False, compare=False)
    reference_key: ReferenceKey = field(init=False, repr=False, compare=False)
    read: ReadClaim = field(init=False, repr=False, compare=False)
    value: ReadValue = field(init=False, repr=False, compare=False)
    host_value: ReadValue = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look up what stands ready."""
        put, claims, host = object.__setattr__, self.device.claims, self.host
        board = self.recognition.product
        product = board if self.sale is None else self.sale.product
        version, mode = host.value("driver.version"), claims.read("ecc.mode_current")
        branch = driver_branch(version) if isinstance(version, str) else None
        ecc = bool(mode.value) if mode.ok else None
        if mode.status is ClaimStatus.NOT_SUPPORTED:
            ecc = False
        keys = product.key if product else None, board.key if board else None
        put(self, "product", product)
        put(self, "imported", self.evidence_class is EvidenceClass.IMPORTED)
        put(self, "driver_branch", branch)
        put(self, "ecc", ecc)
        put(self, "reference_key", (*keys, branch, ecc))
        put(self, "read", claims.read)
        put(self, "value", claims.value)
        put(self, "host_value", host.value)

    def accepted(self, name: str) -> tuple[ReferenceValue, ...]:
        """Reference values that fit the product, see `accepted`; none without a product."""
        product = self.product
        return () if product is None else accepted(product, self.recognition.product, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubject:
    """All devices of one read-out.

    Attributes:
        subjects: One entry a device, in order.
        host: Claims about the host.
        evidence_class: How the evidence reached us.
        items: The items of the sale.
        selected: Indexes that the user named with --gpu; None where all were taken.
        thresholds: The policy's numbers.
        cards: The subjects that are cards, each bus id once: a card read twice is one card.
    """

    subjects: tuple[Subject, ...]
    host: ClaimSet
    evidence_class: EvidenceClass
    items: tuple[SaleItem, ...]
    selected: tuple[int, ...] | None
    thresholds: Thresholds
    cards: tuple[Subject, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the cards."""
        seen: set[str] = set()
        cards = []
        for subject in self.subjects:
            bus = subject.value("pci.bus_id")
            place = normal_bus_id(bus) if isinstance(bus, str) else None
            if subject.value("mig.is_slice") is True or (place is not None and place in seen):
                continue
            if place is not None:
                seen.add(place)
            cards.append(subject)
        object.__setattr__(self, "cards", tuple(cards))
