"""What a rule is handed: claims, recognised product, product sold."""

from __future__ import annotations

from dataclasses import dataclass

from gpuverify.model.claims import Claim, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.policy import Thresholds
from gpuverify.model.product import Product, Recognition, ReferenceIndex, ReferenceValue
from gpuverify.model.sale import SaleItem


def accepted(product: Product, board: Product | None, field: str) -> tuple[ReferenceValue, ...]:
    """Reference values that fit a product: its own, and those of a board it is shipped as.

    Args:
        product: The product that values are compared with.
        board: The product that was recognised, if any.
        field: Reference field.

    Returns:
        The values. A board that NVIDIA ships under a board name (PG509-210) counts as the product
        that its entry names in `sold_as`.
    """
    values = product.get(field)
    if board is not None and board.id != product.id and product.id in board.sold_as:
        values += board.get(field)
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One device under appraisal.

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

    @property
    def product(self) -> Product | None:
        """The product that values are compared with: the one sold, else the one recognised."""
        return self.sale.product if self.sale is not None else self.recognition.product

    def accepted(self, field: str) -> tuple[ReferenceValue, ...]:
        """Reference values that fit the product, see `accepted`; none without a product."""
        product = self.product
        return () if product is None else accepted(product, self.recognition.product, field)

    @property
    def imported(self) -> bool:
        """Whether the evidence is somebody's log, where accusations are held back."""
        return self.evidence_class is EvidenceClass.IMPORTED

    def read(self, claim_id: str, *sources: Source) -> Claim:
        """Read a device claim, see `ClaimSet.read`."""
        return self.device.claims.read(claim_id, *sources)

    def value(self, claim_id: str, *sources: Source) -> Value | None:
        """Value of a device claim, or None."""
        return self.device.claims.value(claim_id, *sources)

    def host_value(self, claim_id: str, *sources: Source) -> Value | None:
        """Value of a host claim, or None."""
        return self.host.value(claim_id, *sources)


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
    """

    subjects: tuple[Subject, ...]
    host: ClaimSet
    evidence_class: EvidenceClass
    items: tuple[SaleItem, ...]
    selected: tuple[int, ...] | None
    thresholds: Thresholds
