"""What is being sold, in the words of the person who runs the command."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuverify.model.product import Product


class Condition(enum.Enum):
    """The condition that a card is sold in."""

    NEW = "new"
    REFURBISHED = "refurbished"
    USED = "used"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleItem:
    """One line of a sale: a product, resolved to exactly one, and what was promised of it.

    Attributes:
        product: The product sold.
        per_board_label: The memory label given was one per board (a K80 "24 GB").
        condition: Condition claimed, None if nothing was claimed.
        count: Number of boards, None if nothing was claimed.
        max_hours: Declared upper bound of driver-loaded hours, None if nothing was declared.
        as_given: The words of the claim, for people.
    """

    product: Product
    per_board_label: bool = False
    condition: Condition | None = None
    count: int | None = None
    max_hours: int | None = None
    as_given: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleClaim:
    """Everything that is sold together. Empty means that nothing was claimed."""

    items: tuple[SaleItem, ...] = ()
