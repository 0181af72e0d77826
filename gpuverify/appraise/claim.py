"""The sale claim, from the words of the person who runs the command."""

from __future__ import annotations

import os
from pathlib import Path

from gpuverify.appraise import strict_toml
from gpuverify.errors import PolicyError, UsageError
from gpuverify.model.product import ProductStatus
from gpuverify.model.sale import Condition, SaleClaim, SaleItem
from gpuverify.refdb import Database

MAX_ITEMS = 256
MAX_COUNT = 100_000


def load_sale_claim(
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    database: Database,
) -> SaleClaim:
    """Build the sale claim from the options of a command.

    Args:
        claim: Product id, name as NVML prints it, or the path of a TOML file with `[[item]]`.
        memory: Memory label, where `claim` names several sizes.
        condition: new, refurbished or used.
        count: Number of boards sold.
        database: Reference data.

    Returns:
        The claim; empty if nothing was claimed.

    Raises:
        UsageError: Options without a claim, or a claim that does not name exactly one product and
            memory (the message lists the candidates).
        MissingInputError: There is no such file.
        PolicyError: The file is not a claim.
    """
    if claim is None:
        given = [
            name
            for name, value in (
                ("--memory", memory),
                ("--condition", condition),
                ("--count", count),
            )
            if value is not None
        ]
        if given:
            raise UsageError(f"{', '.join(given)} needs --claim: say what is being sold")
        return SaleClaim()
    if is_claim_file(claim):
        if memory is not None or condition is not None or count is not None:
            raise UsageError("--memory, --condition and --count stand in the claim file's items")
        return _from_file(Path(claim), database)
    item = _item(claim, memory, condition, count, None, database)
    return SaleClaim(items=(item,))


def is_claim_file(claim: str) -> bool:
    """Say whether a claim names a file, not a product.

    Args:
        claim: Value of --claim.
    """
    return claim.endswith(".toml") or os.sep in claim


def _item(
    product: str,
    memory: str | None,
    condition: str | None,
    count: int | None,
    max_hours: int | None,
    database: Database,
) -> SaleItem:
    """Resolve one item."""
    if count is not None and not 1 <= count <= MAX_COUNT:
        raise UsageError(f"a count lies between 1 and {MAX_COUNT}")
    resolved, per_board = database.resolve(product, memory)
    return SaleItem(
        product=resolved,
        per_board_label=per_board,
        condition=Condition(condition) if condition is not None else None,
        count=count,
        max_hours=max_hours,
        as_given=f"{product} {memory}" if memory else product,
    )


def _from_file(path: Path, database: Database) -> SaleClaim:
    """Read a claim file."""
    name = str(path)
    table = strict_toml.Table(name, "claim", strict_toml.parse(strict_toml.read_bytes(path), name))
    rows = table.take("item", list, needed=True)
    table.done()
    if not 1 <= len(rows) <= MAX_ITEMS:
        raise PolicyError(f"{name}: between 1 and {MAX_ITEMS} [[item]] tables are read")
    items: list[SaleItem] = []
    for number, row in enumerate(rows, 1):
        item = strict_toml.Table(name, f"item {number}", row)
        product = item.take("product", str, needed=True)
        memory = item.take("memory", str)
        condition = item.choice("condition", [condition.value for condition in Condition])
        count = item.take("count", int)
        max_hours = item.take("max_hours", int)
        modified = item.take("modified", bool)
        item.done()
        if max_hours is not None and not 0 <= max_hours < 1_000_000:
            raise PolicyError(f"{name}: item {number}: max_hours is out of range")
        try:
            sold = _item(product, memory, condition, count, max_hours, database)
        except UsageError as error:
            raise UsageError(f"{name}: item {number}: {error}") from error
        is_modified = sold.product.status is ProductStatus.MODIFIED
        if modified is not None and modified is not is_modified:
            raise PolicyError(
                f"{name}: item {number}: modified = {str(modified).lower()}, but"
                f" {sold.product.id} is {'a' if is_modified else 'no'} modified product"
            )
        if any(other.product.id == sold.product.id for other in items):
            # Which of the cards is the new one, and which the used? Nothing on a card says so.
            raise PolicyError(
                f"{name}: item {number}: {sold.product.id} stands in two items; put them into one,"
                " or check the lots apart"
            )
        items.append(sold)
    return SaleClaim(items=tuple(items))
