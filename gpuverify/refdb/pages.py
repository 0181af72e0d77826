"""The generated pages on products and reference fields."""

from __future__ import annotations

from collections.abc import Iterable

from gpuverify.model.product import Product
from gpuverify.refdb.fields import FIELDS


def products_markdown(products: Iterable[Product]) -> str:
    """Write docs/products.md.

    Args:
        products: All products.

    Returns:
        The page.
    """
    lines = [
        "# Products",
        "",
        "Generated from the reference data; do not edit. `--claim` takes an id, an alias or a",
        "name as the driver prints it. Labels of a whole board stand in brackets. *Values* counts",
        "the different values on file: few values mean that few checks can be made.",
        "",
    ]
    families: dict[str, list[Product]] = {}
    for product in sorted(products, key=lambda one: one.id):
        families.setdefault(product.family, []).append(product)
    for family in sorted(families):
        lines += [
            f"## {family}",
            "",
            "| id | name | chip | form | status | memory | device ids | values |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_product_row(product) for product in families[family]]
        lines.append("")
    return "\n".join(lines)


def _product_row(product: Product) -> str:
    """One row of the products page."""
    memory = ", ".join(product.memory_labels)
    if product.board_memory_labels:
        memory += f" [{', '.join(product.board_memory_labels)}]"
    devices = ", ".join(sorted({f"{identity.device_id:04X}" for identity in product.pci}))
    stated = (value for value in product.values if not value.field.startswith("rate."))
    count = len({(value.field, value.value) for value in stated})
    status = product.status.value
    if product.sold_as:
        status += f", shipped as {', '.join(product.sold_as)}"
    return (
        f"| {product.id} | {product.name} | {product.chip} | {product.form} | {status}"
        f" | {memory or 'not on file'} | {devices} | {count} |"
    )


def fields_markdown() -> str:
    """Write docs/reference-fields.md.

    Returns:
        The page.
    """
    lines = [
        "# Reference fields",
        "",
        "Generated from one table in the code; do not edit. A value has a source, a locator in it",
        "and a grade; where it depends on the driver branch or on ECC, it says so. *Basis* is the",
        "strongest one at which a difference can be seen; fields marked *host* do not tell",
        "products apart, because the host, the slot or the owner sets them. Fields marked *rate*",
        "are what a timing is compared with: a property of the chip's generation, or of the cards",
        "of a product that were measured. Each says how far it was tried on real cards, see",
        "[measuring.md](measuring.md).",
        "",
        "| field | type | meaning | basis |",
        "| --- | --- | --- | --- |",
    ]
    for spec in FIELDS.values():
        basis = spec.basis.value if spec.separates else "host"
        basis = "rate" if spec.name.startswith("rate.") else basis
        derived = " (computed where it is not stated)" if spec.derived else ""
        lines.append(f"| `{spec.name}` | {spec.type.__name__} | {spec.text}{derived} | {basis} |")
    return "\n".join([*lines, ""])
