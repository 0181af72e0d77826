"""Rules and products as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuverify.render import words

if TYPE_CHECKING:
    from gpuverify.model.claims import Value
    from gpuverify.model.finding import Rule
    from gpuverify.model.product import Product, ReferenceValue
    from gpuverify.render.style import Style

_LABEL = 11


def rules_text(rules: Sequence[Rule], style: Style) -> str:
    """Lay out the table of rules.

    Args:
        rules: The rules in their order.
        style: Colour and width.
    """
    id_width = max(len(rule.id) for rule in rules)
    lines: list[str] = []
    axis = None
    for rule in sorted(rules, key=lambda rule: rule.axis.value):
        if rule.axis is not axis:
            axis = rule.axis
            lines += ["", style.paint(axis.value, "strong")]
        group = "" if rule.group.value == axis.value else f" [{rule.group.value}]"
        lines += style.wrap(f"{rule.title}{group}", first=f"  {rule.id:<{id_width}}  ")
    lines += [
        "",
        f"{words.plural(len(rules), 'rule')}; gpuverify explain RULE tells what one shows",
    ]
    return "\n".join(lines[1:]) + "\n"


def rule_text(rule: Rule, code_id: str, style: Style) -> str:
    """Lay out one rule.

    Args:
        rule: The rule.
        code_id: A code of it to tell alone, "" for all.
        style: Colour and width.
    """
    lines = [style.paint(rule.id, "strong")]
    lines += style.wrap(rule.title, first="  ")
    lines.append("")
    rows = [
        ("Question", rule.axis.value),
        ("Group", rule.group.value),
        ("Shows", rule.shows),
        ("Limit", rule.limit),
        ("Near miss", rule.near_miss),
    ]
    for label, text in rows:
        lines += style.wrap(text, first=f"  {label:<{_LABEL}}")
    for number, reference in enumerate(rule.references):
        lines += style.wrap(reference, first=f"  {'Source' if number == 0 else '':<{_LABEL}}")
    lines += ["", style.paint("  Codes", "strong")]
    for code in rule.codes:
        if code_id and code.id != code_id:
            continue
        word = style.paint(words.OUTCOME_WORD[code.outcome], words.OUTCOME_ROLE[code.outcome])
        marks = [
            text
            for flag, text in (
                (code.caps, "holds the verdict at unverified"),
                (code.defective, "a defect by the maker's own criterion"),
                (code.used, "shows use"),
            )
            if flag
        ]
        marked = f" ({', '.join(marks)})" if marks else ""
        lines += style.wrap(f"{code.id}: {word}{marked}: {code.text}", first="  ", rest="      ")
    return "\n".join(lines) + "\n"


def products_text(products: Sequence[Product], style: Style) -> str:
    """Lay out the table of products.

    Args:
        products: The products.
        style: Colour and width.
    """
    id_width = max(len(product.id) for product in products)
    lines = []
    for product in products:
        ids = ", ".join(sorted({f"{identity.device_id:04X}" for identity in product.pci}))
        labels = "/".join(product.memory_labels)
        about = [
            product.name,
            labels,
            product.form,
            product.status.value,
            f"PCI {ids or 'unknown'}",
        ]
        lines += style.wrap(
            ", ".join(part for part in about if part), first=f"{product.id:<{id_width}}  "
        )
    lines.append(words.plural(len(products), "product"))
    return "\n".join(lines) + "\n"


def product_text(product: Product, style: Style) -> str:
    """Lay out everything that is on file for a product.

    Args:
        product: The product.
        style: Colour and width.
    """
    lines = [style.paint(f"{product.id}: {product.name}", "strong")]
    identities = [
        f"{identity.device_id:04X}"
        + (
            f" ({_hex(identity.subsystem_vendor_id)}:{_hex(identity.subsystem_device_id)})"
            if identity.subsystem_device_id is not None
            else ""
        )
        for identity in product.pci
    ]
    rows = [
        ("Aliases", ", ".join(product.aliases)),
        ("Chip", f"{product.chip}, {product.architecture}, {product.form}, {product.cooling}"),
        ("Status", product.status.value),
        ("Memory", ", ".join(product.memory_labels)),
        ("Per board", str(product.gpus_per_board)),
        ("PCI", ", ".join(identities)),
        ("Sold as", ", ".join(product.sold_as)),
        ("Neighbours", ", ".join(product.neighbours)),
        ("Traits", ", ".join(sorted(product.traits))),
    ]
    for label, text in rows:
        if text.strip(", "):
            lines += style.wrap(text.rstrip(", "), first=f"  {label:<{_LABEL}}")
    lines += ["", style.paint("  Reference values", "strong")]
    said: dict[str, list[str]] = {}
    for value in product.values:
        told = f"{value.field} = {_value(value.value)}{_bounds(value)}"
        if value.validation is not None:
            told += f", {value.validation}"
        said.setdefault(told, []).append(f"{value.grade.value}: {value.source} {value.locator}")
    for told, sources in said.items():
        lines += style.wrap(f"{told} [{'; '.join(sources)}]", first="  ", rest="      ")
    return "\n".join(lines) + "\n"


def difference_text(left: Product, right: Product, style: Style) -> str:
    """Lay out the reference values in which two products differ.

    Args:
        left: One product.
        right: The other.
        style: Colour and width.
    """
    from gpuverify.refdb.confusables import discriminators

    lines = [style.paint(f"{left.id} against {right.id}", "strong")]
    found = discriminators(left, right)
    for one in found:
        lines += style.wrap(
            f"{one.field}: {_few(one.ours)} against {_few(one.theirs)} [at best {one.basis.value}]",
            first="  ",
            rest="      ",
        )
    if not found:
        lines.append("  no value on file tells them apart")
    told = {one.field for one in found}
    ours, theirs = ({value.field: None for value in product.values} for product in (left, right))
    for label, fields in (
        (
            "alike, or too easily forged",
            [field for field in ours if field in theirs and field not in told],
        ),
        (f"on file for {left.id} only", [field for field in ours if field not in theirs]),
        (f"on file for {right.id} only", [field for field in theirs if field not in ours]),
    ):
        if fields:
            lines += style.wrap(f"{label}: {', '.join(fields)}", first="  ", rest="      ")
    return "\n".join(lines) + "\n"


def matrix_text(products: Sequence[Product]) -> str:
    """Lay out what tells each product from each of its confusable neighbours.

    Args:
        products: All products.
    """
    from gpuverify.refdb.confusables import discriminators

    by_id = {product.id: product for product in products}
    pairs = [(one, by_id[name]) for one in products for name in one.neighbours if name in by_id]
    if not pairs:
        return ""
    wide = [max(len(pair[side].id) for pair in pairs) for side in (0, 1)]
    lines = []
    for product, neighbour in pairs:
        found = discriminators(product, neighbour)
        what = ", ".join(f"{one.field} ({one.basis.value})" for one in found[:3])
        lines.append(
            f"{product.id:<{wide[0]}}  {neighbour.id:<{wide[1]}}  {what or 'nothing on file'}"
        )
    return "\n".join(lines) + "\n"


def _few(values: Sequence[str]) -> str:
    """List values, not too many."""
    more = f" and {len(values) - 4} more" if len(values) > 4 else ""
    return ", ".join(values[:4]) + more if values else "none"


def _value(value: Value) -> str:
    """Write a value."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _hex(number: int | None) -> str:
    """Write a PCI id."""
    return "any" if number is None else f"{number:04X}"


def _bounds(value: ReferenceValue) -> str:
    """Write the conditions under which a value holds."""
    parts = []
    if value.driver_min is not None:
        parts.append(f"driver {value.driver_min} and newer")
    if value.driver_max is not None:
        parts.append(f"driver up to {value.driver_max}")
    if value.ecc is not None:
        parts.append(f"ECC {'on' if value.ecc else 'off'}")
    return f" ({', '.join(parts)})" if parts else ""
