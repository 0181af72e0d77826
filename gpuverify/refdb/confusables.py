"""What tells a product from what could be passed off as it, and how hard that is to forge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuverify.model.claims import Basis
from gpuverify.model.product import Product, ReferenceValue
from gpuverify.refdb.fields import FIELDS, NO_DISCRIMINATOR, key

_TOLERANCE_PERCENT = {"clock.memory_max_mhz": 1, "clock.sm_max_mhz": 1, "memory.nominal_mib": 8}
"""Numbers nearer than this do not tell products apart: bins of a clock, labels of a size."""

_SKIPPED = NO_DISCRIMINATOR | {"gpu.board_part_number", "gpu.gpu_part_number", "mig.profile",
                               "inforom.image_version", "board.sku", "gpu.vbios_version",
                               "memory.total_mib", "gpu.name", "power.limit_default_w"}  # fmt: skip

_IDS = frozenset(("pci.identity", "gpu.chip_sku"))
"""Ids that name the product; the chip SKU repeats the device id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminator:
    """A field whose values on file differ between two products.

    Attributes:
        field: The field.
        basis: The strongest basis at which the difference can be seen.
        ours: Values of the product sold.
        theirs: Values of the neighbour.
    """

    field: str
    basis: Basis
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def _near(field: str, left: ReferenceValue, right: ReferenceValue) -> bool:
    """Whether two values are not told apart."""
    one, other = left.value, right.value
    percent = _TOLERANCE_PERCENT.get(field, 0)
    if isinstance(one, str) or isinstance(other, str) or not percent:
        return key(field, one) == key(field, other)
    return abs(one - other) * 100 <= percent * max(one, other)


def _pci(product: Product) -> set[tuple[int, int | None]]:
    """Return device and subsystem device; the subsystem vendor tells no products apart."""
    return {(identity.device_id, identity.subsystem_device_id) for identity in product.pci}


def _pci_differs(product: Product, neighbour: Product) -> bool:
    """Whether no PCI ids of the one fit the other."""
    ours, theirs = _pci(product), _pci(neighbour)
    if not ours or not theirs:
        return False
    return not any(
        device == other and (sub is None or other_sub is None or sub == other_sub)
        for device, sub in ours
        for other, other_sub in theirs
    )


def _shown(values: Iterable[ReferenceValue]) -> tuple[str, ...]:
    """Return distinct values in file order, as text."""
    return tuple(dict.fromkeys(str(value.value) for value in values))


def discriminators(product: Product, neighbour: Product) -> tuple[Discriminator, ...]:
    """Return what separates a neighbour from a product, by values on file.

    Args:
        product: The product sold.
        neighbour: What could be passed off as it.

    Returns:
        Discriminators, strongest basis first.
    """
    found = []
    if _pci_differs(product, neighbour):
        found.append(
            Discriminator(
                field="pci.identity",
                basis=Basis.CROSS_CHECKED,
                ours=_shown(product.get("pci.identity")),
                theirs=_shown(neighbour.get("pci.identity")),
            )
        )
    for name, spec in FIELDS.items():
        if name in _SKIPPED or name == "pci.identity" or not spec.separates:
            continue
        ours, theirs = product.get(name), neighbour.get(name)
        if ours and theirs and not any(_near(name, a, b) for a in ours for b in theirs):
            found.append(
                Discriminator(
                    field=name, basis=spec.basis, ours=_shown(ours), theirs=_shown(theirs)
                )
            )
    found += _mig(product, neighbour)
    return tuple(sorted(found, key=lambda one: (-one.basis.rank, one.field)))


def _mig(product: Product, neighbour: Product) -> list[Discriminator]:
    """Return the MIG profiles that only one of the two offers."""
    ours = {str(one.value) for one in product.get("mig.profile")}
    theirs = {str(one.value) for one in neighbour.get("mig.profile")}
    if not ours or not theirs or ours == theirs:
        return []
    return [
        Discriminator(
            field="mig.profile",
            basis=Basis.REPORTED,
            ours=tuple(sorted(ours - theirs)),
            theirs=tuple(sorted(theirs - ours)),
        )
    ]


def _cell(values: tuple[str, ...]) -> str:
    """Write values into a table cell."""
    return ", ".join(values[:2]) + (", …" if len(values) > 2 else "") if values else "none"


def _row(product: Product, neighbour: Product, reasons: Mapping[tuple[str, str], str]) -> str:
    """One row: the neighbour, the best basis, and what separates the two."""
    found = discriminators(product, neighbour)
    reason = reasons.get((product.id, neighbour.id))
    if not found:
        return f"| {neighbour.id} | no | none | {reason or ''} |"
    beyond = [one for one in found if one.field not in _IDS]
    what = "; ".join(
        f"{one.field} {_cell(one.ours)} / {_cell(one.theirs)}"
        for one in found
        if one.field != "pci.identity"
    )
    ids = "yes" if any(one.field == "pci.identity" for one in found) else "no"
    left = max((one.basis for one in beyond), key=lambda one: one.rank).value if beyond else "none"
    return f"| {neighbour.id} | {ids} | {left} | {what or 'none'} |"


def confusables_markdown(
    products: Iterable[Product], reasons: Mapping[tuple[str, str], str] | None = None
) -> str:
    """Write docs/confusables.md.

    Args:
        products: All products.
        reasons: Reasons of the pairs that no value on file separates.

    Returns:
        The page.
    """
    by_id = {product.id: product for product in products}
    lines = [
        "# What could be passed off as what",
        "",
        "Generated from the reference data; do not edit. One table a product that has neighbours.",
        "",
        "- *PCI ids*: whether the ids in config space separate the two (cross-checked).",
        "- *With ids forged*: the strongest basis of what is left on file when the ids are not",
        "  believed. *measured* needs a measurement of the card; *reported* is what a driver or an",
        "  InfoROM says; *none* means that only rates that are not on file could help.",
        "- *Values*: sold product / neighbour.",
        "",
    ]
    for product in sorted(by_id.values(), key=lambda one: one.id):
        if not product.neighbours:
            continue
        lines += [
            f"## {product.id}",
            "",
            "| neighbour | PCI ids | with ids forged | values |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_row(product, by_id[name], reasons or {}) for name in product.neighbours]
        lines.append("")
    return "\n".join(lines)
