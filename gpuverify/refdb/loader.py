"""Family files to products: strict, with every value's provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuverify.codec.toml import loads
from gpuverify.errors import FormatError, ReferenceDataError
from gpuverify.model.part_numbers import (
    parse_board_part_number,
    parse_gpu_part_number,
    parse_inforom_image,
)
from gpuverify.model.product import (
    Grade,
    PciIdentity,
    Product,
    ProductStatus,
    ReferenceValue,
)
from gpuverify.refdb.fields import problem
from gpuverify.refdb.rates import (
    FIELD_RUNS,
    field_run_files,
    validation_of,
    with_field_runs,
)

DATA = Path(__file__).parent / "data"
"""Folder of the shipped reference data."""

FORMS = frozenset(
    ("sxm", "pcie", "superchip", "mezzanine", "workstation", "consumer", "mobile", "automotive")
)
TRAITS = frozenset(
    (
        "datacenter", "ecc", "inforom", "gpu-part-number", "row-remap", "page-retirement", "mig",
        "nvlink", "nvlink-bridge", "shared-serial", "coherent", "device-certificate",
    )
)  # fmt: skip
COOLING = frozenset(("", "passive", "active", "liquid"))
PRODUCT_KEYS = frozenset(
    (
        "id", "name", "aliases", "architecture", "chip", "form", "status", "gpus_per_board",
        "memory_labels", "board_memory_labels", "cooling", "sold_as", "neighbours", "traits",
        "rates_apart", "cite", "pci", "values",
    )
)  # fmt: skip
CAPABILITY_KEYS = frozenset(("id", "chips", "cite", "values"))
ENTRY_KEYS = frozenset(("v", "by", "min", "max", "ecc", "validation"))
_PCI = re.compile(r"([0-9A-F]{4})(?::([0-9A-F]{4}):([0-9A-F]{4}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A source key and where in that source.

    Attributes:
        source: Key in sources.toml.
        locator: Where in it.
        grade: Grade of what it states.
    """

    source: str
    locator: str
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One source of reference values.

    Attributes:
        key: Key in sources.toml.
        title: What it is.
        publisher: Who publishes it.
        kind: Grade of its values.
        url: Where it is, "" for several places that were not noted down.
        date: Day it was last looked at.
    """

    key: str
    title: str
    publisher: str
    kind: Grade
    url: str
    date: str


def read_table(path: Path) -> dict[str, Any]:
    """Read one TOML file of the reference data.

    Args:
        path: The file.

    Returns:
        Its table.

    Raises:
        ReferenceDataError: It cannot be read or is not TOML.
    """
    try:
        return loads(path.read_bytes(), path.name)
    except OSError as error:
        raise ReferenceDataError(f"reference data: cannot read {path.name}: {error}") from error
    except FormatError as error:
        raise ReferenceDataError(f"reference data: {error}") from error


def load_sources(folder: Path = DATA) -> dict[str, SourceEntry]:
    """Read sources.toml.

    Args:
        folder: Folder of the data files.

    Returns:
        Sources by key.

    Raises:
        ReferenceDataError: An entry is not what it has to be.
    """
    table = read_table(folder / "sources.toml")
    try:
        return {
            source: SourceEntry(
                key=source,
                title=entry["title"],
                publisher=entry["publisher"],
                kind=Grade(entry["kind"]),
                url=entry["url"],
                date=entry["date"],
            )
            for source, entry in table.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ReferenceDataError(f"sources.toml: {error!r}") from error


def family_files(folder: Path = DATA) -> tuple[Path, ...]:
    """Return the family files, in name order."""
    return tuple(
        path
        for path in sorted(folder.glob("*.toml"))
        if path.name not in ("sources.toml", "refdb.toml", "libraries.toml")
    )


def load_family(
    path: Path, kinds: Mapping[str, Grade], dropped: tuple[tuple[str, str], ...] = ()
) -> tuple[Product, ...]:
    """Read one family file.

    Args:
        path: The file.
        kinds: Grade of each source key.
        dropped: Pairs of source key and a part of the locator, "" for any: what rests only on
            such a citation is left out.

    Returns:
        Its products, in file order.

    Raises:
        ReferenceDataError: The file is not what it has to be.
    """
    table = read_table(path)
    run_on = {
        product
        for product in field_run_files(path.parent)
        if not any(one == FIELD_RUNS and part in f"{product}.toml" for one, part in dropped)
    }
    try:
        rates = _capabilities(table.get("capability", ()), kinds, dropped)
        products = []
        for entry in table["product"]:
            product = _product(str(table["family"]), entry, kinds, dropped, rates)
            if product.id in run_on:
                product = with_field_runs(product, path.parent)
            products.append(product)
        return tuple(products)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReferenceDataError(f"reference data: {path.name}: {error!r}") from error


def _kept(
    table: Mapping[str, Any],
    kinds: Mapping[str, Grade],
    dropped: tuple[tuple[str, str], ...],
) -> tuple[dict[str, Citation], dict[str, Citation]]:
    """Read a cite table: all of its citations, and those that are not left out."""
    cites = {
        letter: Citation(source=source, locator=locator, grade=kinds[source])
        for letter, (source, locator) in table.items()
    }
    kept = {
        letter: cite
        for letter, cite in cites.items()
        if not any(cite.source == source and part in cite.locator for source, part in dropped)
    }
    return cites, kept


def _capabilities(
    entries: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Grade],
    dropped: tuple[tuple[str, str], ...],
) -> dict[str, tuple[ReferenceValue, ...]]:
    """Read what every chip of a compute capability does, by chip."""
    rates: dict[str, tuple[ReferenceValue, ...]] = {}
    for entry in entries:
        cites, kept = _kept(entry["cite"], kinds, dropped)
        values = tuple(
            value
            for name, rows in entry["values"].items()
            for row in rows
            for value in _stated(name, row, cites, kept)
        )
        for chip in entry["chips"]:
            rates[chip] = values
    return rates


def _product(
    family: str,
    entry: Mapping[str, Any],
    kinds: Mapping[str, Grade],
    dropped: tuple[tuple[str, str], ...],
    rates: Mapping[str, tuple[ReferenceValue, ...]],
) -> Product:
    """Turn one table into a product."""
    cites, kept = _kept(entry["cite"], kinds, dropped)
    identities, values = _identities(entry["pci"], cites, kept)
    for name, rows in entry["values"].items():
        for row in rows:
            values += _stated(name, row, cites, kept)
    values += _derived(values)
    stated = {value.field for value in values}.union(entry.get("rates_apart", ()))
    values += [value for value in rates.get(entry["chip"], ()) if value.field not in stated]
    sold_as = tuple(entry.get("sold_as", ()))
    shipped = {value.value for value in values if value.field == "sold_as.source"}
    return Product(
        id=entry["id"],
        name=entry["name"],
        aliases=tuple(entry.get("aliases", ())),
        family=family,
        architecture=entry["architecture"],
        chip=entry["chip"],
        form=entry["form"],
        status=ProductStatus(entry["status"]),
        gpus_per_board=entry.get("gpus_per_board", 1),
        memory_labels=tuple(entry.get("memory_labels", ())),
        board_memory_labels=tuple(entry.get("board_memory_labels", ())),
        cooling=entry.get("cooling", ""),
        sold_as=tuple(product for product in sold_as if product in shipped),
        neighbours=tuple(entry.get("neighbours", ())),
        pci=tuple(sorted(identities, key=_identity_key)),
        values=tuple(values),
        traits=frozenset(entry.get("traits", ())),
    )


def _identity_key(identity: PciIdentity) -> tuple[int, int, int]:
    """Order identities, device-only entries first."""
    return (
        identity.device_id,
        -1 if identity.subsystem_vendor_id is None else identity.subsystem_vendor_id,
        -1 if identity.subsystem_device_id is None else identity.subsystem_device_id,
    )


def parse_identity(text: str) -> PciIdentity:
    """Parse `20B2:10DE:147F` or `2684`.

    Args:
        text: The ids in upper-case hex.

    Returns:
        The identity.

    Raises:
        ValueError: The text has another shape.
    """
    match = _PCI.fullmatch(text)
    if match is None:
        msg = f"PCI ids {text!r} are not DEVICE or DEVICE:SUBVENDOR:SUBDEVICE in upper-case hex"
        raise ValueError(msg)
    device, vendor, sub_device = match.groups()
    return PciIdentity(
        device_id=int(device, 16),
        subsystem_vendor_id=None if vendor is None else int(vendor, 16),
        subsystem_device_id=None if sub_device is None else int(sub_device, 16),
    )


def _identities(
    table: Mapping[str, str], cites: Mapping[str, Citation], kept: Mapping[str, Citation]
) -> tuple[list[PciIdentity], list[ReferenceValue]]:
    """Read the match entries, and state each as a value so that its provenance is not lost."""
    identities: list[PciIdentity] = []
    values: list[ReferenceValue] = []
    for text, letters in table.items():
        identity = parse_identity(text)
        spelled = text if ":" in text else f"{text}:-"
        stated = _stated("pci.identity", {"v": spelled, "by": letters}, cites, kept)
        if stated:
            identities.append(identity)
            values += stated
    return identities, values


def _stated(
    name: str,
    row: Mapping[str, Any],
    cites: Mapping[str, Citation],
    kept: Mapping[str, Citation],
) -> list[ReferenceValue]:
    """One entry a citation that states the value."""
    wrong = problem(name, row["v"])
    unknown = set(row) - ENTRY_KEYS
    letters = str(row["by"]).split()
    if not letters or any(letter not in cites for letter in letters):
        wrong = wrong or f"{name}: citation {row['by']!r} is not in the product's cite table"
    if wrong or unknown:
        raise ValueError(wrong or f"{name}: unknown key {sorted(unknown)[0]}")
    tried = validation_of(name, row)
    return [
        ReferenceValue(
            field=name,
            value=row["v"],
            grade=kept[letter].grade,
            source=kept[letter].source,
            locator=kept[letter].locator,
            driver_min=row.get("min"),
            driver_max=row.get("max"),
            ecc=row.get("ecc"),
            validation=tried,
        )
        for letter in letters
        if letter in kept
    ]


def derive(name: str, value: object) -> tuple[tuple[str, str], ...]:
    """Return the fields that follow from a value.

    Args:
        name: Field of the value.
        value: The value.

    Returns:
        Pairs of field and value: chip SKU, board SKU and project, InfoROM project and SKU. A
        generic InfoROM image (G001 and its like) names no board and yields nothing.
    """
    if not isinstance(value, str):
        return ()
    if name == "gpu.gpu_part_number":
        chip = parse_gpu_part_number(value)
        return (("gpu.chip_sku", chip.without_stepping),) if chip else ()
    if name == "gpu.board_part_number":
        board = parse_board_part_number(value)
        if board is None:
            return ()
        return (("board.sku", board.without_revision), ("board.project", board.project))
    if name == "inforom.image_version":
        image = parse_inforom_image(value)
        return (("inforom.sku", image.project_and_sku),) if image and not image.generic else ()
    return ()


def _derived(values: list[ReferenceValue]) -> list[ReferenceValue]:
    """State the derived fields with the provenance of what they follow from."""
    seen = {(value.field, value.value, value.source, value.locator) for value in values}
    derived = []
    for value in values:
        for name, result in derive(value.field, value.value):
            mark = (name, result, value.source, value.locator)
            if mark in seen:
                continue
            seen.add(mark)
            derived.append(
                ReferenceValue(
                    field=name,
                    value=result,
                    grade=value.grade,
                    source=value.source,
                    locator=value.locator,
                )
            )
    return derived
