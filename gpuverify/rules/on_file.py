"""What is on file of one field for the card in front of us, sorted out once for all its like.

Kept here is what follows from the product, the board that was recognised, the driver branch and
the ECC mode alone: every one of them is an argument. Nothing that a card says is kept.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gpuverify.model.product import Product, ProductKey, ReferenceValue
from gpuverify.model.subject import Subject, accepted
from gpuverify.rules.compare import cite_reference, driver_of, ecc_of, fits, values_text


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFile:
    """The values of a field that hold for a product, a driver and an ECC mode.

    Attributes:
        values: The values, in file order.
        numbers: Those of them that are numbers.
        shown: All of them for people, with their unit.
        cited: Where they are known from.
    """

    values: tuple[ReferenceValue, ...]
    numbers: tuple[int, ...]
    shown: str
    cited: tuple[str, ...]


def on_file(subject: Subject, field: str, unit: str = "") -> OnFile:
    """Return what is on file of a field for the product sold (or recognised).

    Args:
        subject: The card; without a product nothing is on file.
        field: Reference field.
        unit: Unit in which the values are shown.

    Returns:
        The values that `own_values` gives, with what rules make of them.
    """
    sold, board = subject.product, subject.recognition.product
    return _on_file(
        sold.key if sold else None,
        board.key if board else None,
        field,
        unit,
        (driver_of(subject), ecc_of(subject)),
    )


@functools.lru_cache(maxsize=4096)
def _on_file(
    sold: ProductKey | None,
    board: ProductKey | None,
    field: str,
    unit: str,
    setting: tuple[int | None, bool | None],
) -> OnFile:
    """Sort out the values that hold for this driver and this ECC mode."""
    driver, ecc = setting
    every = accepted(sold.product, board.product if board else None, field) if sold else ()
    values = tuple(value for value in every if fits(value, driver=driver, ecc=ecc))
    return OnFile(
        values=values,
        numbers=tuple(value.value for value in values if isinstance(value.value, int)),
        shown=values_text(values, unit),
        cited=cite_reference(values),
    )


def uses_device(product: Product, device: int) -> bool:
    """Whether a PCI device id is one of the product's."""
    return device in _devices(product.key)


@functools.lru_cache(maxsize=1024)
def _devices(product: ProductKey) -> frozenset[int]:
    """Return the PCI device ids of a product."""
    return frozenset(entry.device_id for entry in product.product.pci)
