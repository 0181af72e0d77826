"""Checks over the reference data: an empty list means that nothing is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpuverify.errors import ReferenceDataError
from gpuverify.model.product import Grade, PciIdentity, Product, ProductStatus
from gpuverify.refdb.confusables import discriminators
from gpuverify.refdb.fields import problem
from gpuverify.refdb.index import build_index
from gpuverify.refdb.lint_rates import capability_problems, field_run_problems, row_problem
from gpuverify.refdb.loader import (
    COOLING,
    DATA,
    ENTRY_KEYS,
    FORMS,
    PRODUCT_KEYS,
    TRAITS,
    family_files,
    load_family,
    load_sources,
    parse_identity,
    read_table,
)

_DRIVERS = range(300, 1000)
_FAMILY_KEYS = ("family", "capability", "product")
_REQUIRED = ("id", "name", "architecture", "chip", "form", "status", "cite", "pci", "values")


def only_measured(folder: Path = DATA) -> dict[tuple[str, str], str]:
    """Return the pairs that no value on file separates, with the reason.

    Args:
        folder: Folder of the data files.

    Returns:
        Reasons by sold product and neighbour.

    Raises:
        ReferenceDataError: The list is not what it has to be.
    """
    table = read_table(folder / "refdb.toml")
    try:
        return {
            (str(entry["sold"]), str(entry["neighbour"])): str(entry["reason"])
            for entry in table.get("only_measured", [])
        }
    except (KeyError, TypeError) as error:
        raise ReferenceDataError(f"refdb.toml: only_measured: {error!r}") from error


def lint(folder: Path = DATA) -> list[str]:
    """Check the reference data.

    Args:
        folder: Folder of the data files; the shipped one where none is named.

    Returns:
        One sentence a problem, in file order.
    """
    try:
        sources = load_sources(folder)
        tables = {path.name: read_table(path) for path in family_files(folder)}
        problems = list(_source_problems(folder, tables))
        for name, table in tables.items():
            problems += [f"{name}: {text}" for text in _family_problems(name, table, sources)]
        if problems:
            return problems
        kinds = {name: source.kind for name, source in sources.items()}
        products = [one for path in family_files(folder) for one in load_family(path, kinds)]
        problems += _product_problems(products)
        ids = frozenset(product.id for product in products)
        # Clocks of two machines may stand on two sides of midnight.
        tomorrow = dt.datetime.now(dt.timezone.utc).date() + dt.timedelta(days=1)
        problems += field_run_problems(folder, ids, tomorrow)
        if problems:
            return problems
        problems += _pair_problems(products, only_measured(folder))
        problems += _index_problems(folder)
    except ReferenceDataError as error:
        return [str(error)]
    return problems


def _source_problems(folder: Path, tables: Mapping[str, Any]) -> Iterator[str]:
    """Check that sources are dated, reachable and used."""
    used = {
        cite[0]
        for table in tables.values()
        for product in (*table.get("capability", []), *table.get("product", []))
        for cite in product.get("cite", {}).values()
        if isinstance(cite, list) and cite
    }
    for name, source in load_sources(folder).items():
        if name not in used:
            yield f"sources.toml: {name} is not used"
        try:
            dt.date.fromisoformat(source.date)
        except ValueError:
            yield f"sources.toml: {name}: date {source.date!r} is not a day"
        if not source.title or not source.publisher:
            yield f"sources.toml: {name}: title and publisher are needed"
        if not source.url.startswith("https://") and source.kind is not Grade.COMMUNITY:
            yield f"sources.toml: {name}: a {source.kind.value} source needs an https address"


def _family_problems(name: str, table: Mapping[str, Any], sources: Mapping[str, Any]) -> list[str]:
    """Check one family file as it is written."""
    problems = [f"unknown key {key}" for key in table if key not in _FAMILY_KEYS]
    if table.get("family") != name.removesuffix(".toml"):
        problems.append(f"family is {table.get('family')!r}")
    problems += capability_problems(table, sources, _cited_problems)
    for entry in table.get("product", []):
        product = entry.get("id", "?")
        problems += [f"{product}: {text}" for text in _entry_problems(entry, sources)]
    return problems


def _entry_problems(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[str]:
    """Check one product as it is written."""
    yield from (f"unknown key {key}" for key in entry if key not in PRODUCT_KEYS)
    missing = [key for key in _REQUIRED if key not in entry]
    if missing:
        yield f"lacks {', '.join(missing)}"
        return
    yield from _word_problems(entry)
    yield from (wrong for text in entry["pci"] if (wrong := _identity_problem(text)))
    yield from _cited_problems(entry, sources)


def _identity_problem(text: str) -> str:
    """Say what is wrong with PCI ids, "" if nothing is."""
    try:
        parse_identity(text)
    except ValueError as error:
        return str(error)
    return ""


def _cited_problems(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[str]:
    """Check the values of an entry, and that each of its citations is sound and used."""
    cites = entry["cite"]
    for letter, cite in cites.items():
        if not isinstance(cite, list) or len(cite) != 2 or not all(cite):
            yield f"citation {letter} is not [source, locator]"
        elif cite[0] not in sources:
            yield f"citation {letter}: no source {cite[0]!r} in sources.toml"
    if len({repr(cite) for cite in cites.values()}) != len(cites):
        yield "two citations are the same"
    cited: set[str] = set()
    for letters in entry.get("pci", {}).values():
        cited |= set(letters.split())
    for name, rows in entry["values"].items():
        yield from _value_problems(name, rows)
        cited |= {letter for row in rows for letter in str(row.get("by", "")).split()}
    yield from (
        f"citation {letter} is not in the cite table" for letter in sorted(cited - set(cites))
    )
    yield from (f"citation {letter} is not used" for letter in cites if letter not in cited)


def _word_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    """Check the words of a product that come from closed lists."""
    if entry["form"] not in FORMS:
        yield f"unknown form {entry['form']!r}"
    if entry["status"] not in {status.value for status in ProductStatus}:
        yield f"unknown status {entry['status']!r}"
    if entry.get("cooling", "") not in COOLING:
        yield f"unknown cooling {entry['cooling']!r}"
    yield from (f"unknown trait {word!r}" for word in entry.get("traits", ()) if word not in TRAITS)
    boards, labels = entry.get("gpus_per_board", 1), entry.get("board_memory_labels", [])
    if (boards > 1) != bool(labels):
        yield "board_memory_labels and gpus_per_board do not go together"
    if entry["id"] in entry.get("neighbours", ()):
        yield "is its own neighbour"
    if bool(entry.get("sold_as")) != ("sold_as.source" in entry["values"]):
        yield "sold_as needs its source in sold_as.source, and the other way round"


def _value_problems(name: str, rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """Check the values of one field."""
    seen = set()
    for row in rows:
        if set(row) - ENTRY_KEYS or "v" not in row or not str(row.get("by", "")).split():
            yield f"{name}: an entry has v, by and perhaps min, max, ecc, validation: {row!r}"
            continue
        wrong = problem(name, row["v"]) or row_problem(name, row)
        if wrong:
            yield wrong
        low, high = row.get("min"), row.get("max")
        bounds = [bound for bound in (low, high) if bound is not None]
        if any(bound not in _DRIVERS for bound in bounds) or bounds != sorted(bounds):
            yield f"{name}: driver range {low} to {high} makes no sense"
        mark = (row["v"], low, high, row.get("ecc"))
        if mark in seen:
            yield f"{name}: {row['v']!r} stands twice; put the citations into one entry"
        seen.add(mark)


def _product_problems(products: list[Product]) -> Iterator[str]:
    """Check the products against each other."""
    by_id: dict[str, Product] = {}
    for product in products:
        if product.id in by_id:
            yield f"{product.id} stands twice"
        by_id[product.id] = product
    for product in products:
        for other in (*product.neighbours, *product.sold_as):
            if other not in by_id:
                yield f"{product.id}: there is no product {other}"
        if not product.pci:
            yield f"{product.id} has no match entry"
        yield from _lattice_problems(product)
        for other in product.neighbours:
            peer = by_id.get(other)
            if peer and _peers(product, peer) and product.id not in peer.neighbours:
                yield f"{product.id} has neighbour {other}, which does not have it"
    yield from _match_problems(products)


def _peers(product: Product, other: Product) -> bool:
    """Whether two products are sold alike, so that each could be passed off as the other."""
    return (
        product.status is other.status is ProductStatus.RETAIL
        and product.chip == other.chip
        and product.memory_labels == other.memory_labels
    )


def _lattice_problems(product: Product) -> Iterator[str]:
    """Check that part numbers name the product's own device ids."""
    devices = {f"{identity.device_id:04X}" for identity in product.pci}
    for one in product.get("gpu.chip_sku"):
        if str(one.value)[:4] not in devices:
            yield f"{product.id}: GPU part {one.value} names a device id that is not its own"


def _match_problems(products: list[Product]) -> Iterator[str]:
    """Check that two products share a match only where they are neighbours."""
    holders: dict[PciIdentity, list[Product]] = {}
    for product in products:
        for identity in product.pci:
            holders.setdefault(identity, []).append(product)
    for identity, sharing in holders.items():
        for product in sharing:
            for other in sharing:
                if product.id < other.id and not (
                    other.id in product.neighbours or product.id in other.neighbours
                ):
                    yield f"{product.id} and {other.id} share {identity} and are no neighbours"


def _pair_problems(
    products: list[Product], reasons: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    """Check that a value separates each confusable pair, or that a reason says why none does."""
    by_id = {product.id: product for product in products}
    pairs = set()
    for product in products:
        for other in product.neighbours:
            pairs.add((product.id, other))
            separated = bool(discriminators(product, by_id[other]))
            listed = (product.id, other) in reasons
            if not separated and not listed:
                yield f"nothing on file separates {product.id} from its neighbour {other}"
            if separated and listed:
                yield f"only_measured: {product.id} and {other} are separable; take the pair out"
    for pair in reasons:
        if pair not in pairs:
            yield f"only_measured: {pair[0]} has no neighbour {pair[1]}"


def _index_problems(folder: Path) -> Iterator[str]:
    """Check that index.json is what the data files yield."""
    try:
        current = (folder / "index.json").read_text(encoding="utf-8")
    except OSError as error:
        yield f"index.json cannot be read: {error}"
        return
    if current != build_index(folder):
        yield "index.json is not current; run tests/tools/generate_refdb.py"
