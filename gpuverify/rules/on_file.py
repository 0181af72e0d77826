"""What is on file of one field for the card in front of us, sorted out once for all its like.

Kept here is what follows from the product, the board that was recognised, the driver branch and
the ECC mode alone: every one of them is in the key. Nothing that a card says is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from gpuverify.model.claims import Value
from gpuverify.model.product import Product, ProductKey, ReferenceValue
from gpuverify.model.subject import ReferenceKey, Subject, accepted


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
        The product's values that hold for this driver and ECC mode, with what rules make of them.
    """
    return kept_on_file(subject.reference_key, field, unit)


def own_values(subject: Subject, field: str) -> tuple[ReferenceValue, ...]:
    """Return the product's values of a field that hold for this driver and ECC mode."""
    return kept_on_file(subject.reference_key, field, "").values


@functools.lru_cache(maxsize=4096)
def kept_on_file(key: ReferenceKey, field: str, unit: str) -> OnFile:
    """Sort out the values that hold for a product, a board, a driver branch and an ECC mode.

    Args:
        key: These four.
        field: Reference field.
        unit: Unit in which the values are shown.
    """
    sold, board, driver, ecc = key
    every = accepted(sold.product, board.product if board else None, field) if sold else ()
    values = tuple(value for value in every if fits(value, driver=driver, ecc=ecc))
    return OnFile(
        values=values,
        numbers=tuple(value.value for value in values if isinstance(value.value, int)),
        shown=values_text(values, unit),
        cited=cite_reference(values),
    )


def fits(value: ReferenceValue, *, driver: int | None, ecc: bool | None) -> bool:
    """Whether a reference value holds for this driver and ECC mode; unknown ones do not fit."""
    if value.driver_min is not None and (driver is None or driver < value.driver_min):
        return False
    if value.driver_max is not None and (driver is None or driver > value.driver_max):
        return False
    return value.ecc is None or value.ecc is ecc


def cite_reference(values: Iterable[ReferenceValue]) -> tuple[str, ...]:
    """Return `source locator` of each reference value, without repetition."""
    return _cited_values(tuple(values))


@functools.lru_cache(maxsize=1024)
def _cited_values(values: tuple[ReferenceValue, ...]) -> tuple[str, ...]:
    """Return `source locator` of each reference value, without repetition."""
    return tuple(dict.fromkeys(f"{value.source} {value.locator}".strip() for value in values))


def values_text(values: Iterable[ReferenceValue], unit: str = "") -> str:
    """Return reference values for people."""
    return some(dict.fromkeys(show(value.value, unit) for value in values))


def show(value: Value | None, unit: str = "") -> str:
    """Return a value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value} {unit}".rstrip()


def some(names: Iterable[str], limit: int = 6) -> str:
    """Return a list for people, shortened."""
    items = list(names)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def uses_device(product: Product, device: int) -> bool:
    """Whether a PCI device id is one of the product's."""
    return device in _devices(product.key)


@functools.lru_cache(maxsize=1024)
def _devices(product: ProductKey) -> frozenset[int]:
    """Return the PCI device ids of a product."""
    return frozenset(entry.device_id for entry in product.product.pci)
