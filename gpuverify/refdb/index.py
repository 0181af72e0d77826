"""The generated index: what a look-up has to know before it opens a family file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuverify.errors import ReferenceDataError
from gpuverify.model.product import Product, ProductStatus
from gpuverify.refdb.fields import key
from gpuverify.refdb.loader import DATA, family_files, load_family, load_sources, read_table
from gpuverify.refdb.rates import FIELD_RUNS
from gpuverify.refdb.resolve import Entry, words

SCHEMA = "gpuverify/refdb-index/v1"
_NOT_REVERSED = frozenset(("launch.date", "sold_as.source", "memory.reserved_mib"))


@dataclass(slots=True, kw_only=True)
class Index:
    """Look-up tables.

    Attributes:
        version: Version of the data.
        sha256: Digest over the data files.
        kinds: Grade of each source key.
        families: Family of each product id.
        entries: What resolving needs of each product.
        names: Product ids by look-up key.
        devices: Product ids by PCI device id.
        values: Product ids by field and value.
    """

    version: str
    sha256: str
    kinds: dict[str, str] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    devices: dict[int, tuple[str, ...]] = field(default_factory=dict)
    values: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)


def file_digests(folder: Path = DATA) -> dict[str, str]:
    """Return the SHA-256 of every TOML file of the data, by path in its folder."""
    paths = (*folder.glob("*.toml"), *folder.glob(f"{FIELD_RUNS}/*.toml"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
    }


def data_digest(digests: Mapping[str, str]) -> str:
    """Return one digest over all files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _name_keys(product: Product) -> set[str]:
    """Return every look-up key of a product."""
    texts = (product.id, *product.aliases)
    if product.status is not ProductStatus.MODIFIED:
        texts = (*texts, product.name)
    return {words(text) for text in texts}


def index_of(products: Iterable[Product], version: str, sha256: str) -> Index:
    """Build the look-up tables of some products.

    Args:
        products: The products.
        version: Version of the data.
        sha256: Digest over the data files.

    Returns:
        The tables; `kinds` is left empty.
    """
    index = Index(version=version, sha256=sha256)
    names: dict[str, set[str]] = {}
    devices: dict[int, set[str]] = {}
    values: dict[str, dict[str, set[str]]] = {}
    for product in products:
        index.families[product.id] = product.family
        printed = next((str(one.value) for one in product.get("gpu.name")), product.name)
        index.entries[product.id] = Entry(
            id=product.id,
            labels=product.memory_labels,
            board_labels=product.board_memory_labels,
            modified=product.status is ProductStatus.MODIFIED,
            name_key=words(printed),
        )
        for name in _name_keys(product):
            names.setdefault(name, set()).add(product.id)
        for identity in product.pci:
            devices.setdefault(identity.device_id, set()).add(product.id)
        for one in product.values:
            if one.field not in _NOT_REVERSED and not one.field.startswith("rate."):
                held = values.setdefault(one.field, {}).setdefault(key(one.field, one.value), set())
                held.add(product.id)
    index.names = {name: tuple(sorted(ids)) for name, ids in names.items()}
    index.devices = {device: tuple(sorted(ids)) for device, ids in devices.items()}
    index.values = {
        name: {value: tuple(sorted(ids)) for value, ids in held.items()}
        for name, held in values.items()
    }
    return index


def build_index(folder: Path = DATA) -> str:
    """Build index.json from the data files.

    Args:
        folder: Folder of the data files.

    Returns:
        The text of the file.
    """
    sources = load_sources(folder)
    kinds = {name: source.kind for name, source in sources.items()}
    products = [one for path in family_files(folder) for one in load_family(path, kinds)]
    digests = file_digests(folder)
    version = str(read_table(folder / "refdb.toml")["version"])
    index = index_of(products, version, data_digest(digests))
    document = {
        "schema": SCHEMA,
        "version": index.version,
        "sha256": index.sha256,
        "files": digests,
        "kinds": {name: kind.value for name, kind in kinds.items()},
        "products": {
            one.id: [
                index.families[one.id], list(one.labels), list(one.board_labels),
                one.modified, one.name_key,
            ]
            for one in index.entries.values()
        },
        "names": index.names,
        "devices": {f"{device:04X}": ids for device, ids in index.devices.items()},
        "values": index.values,
    }  # fmt: skip
    sections = (
        f"{json.dumps(name)}: {_section(value)}" for name, value in sorted(document.items())
    )
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _section(value: Any) -> str:
    """Write one section, one line an entry, so that a change shows as a change."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = (f" {json.dumps(name)}: {json.dumps(value[name], sort_keys=True)}" for name in
             sorted(value))  # fmt: skip
    return "{\n" + ",\n".join(lines) + "\n}"


def read_index(folder: Path = DATA) -> Index:
    """Read index.json.

    Args:
        folder: Folder of the data files.

    Returns:
        The look-up tables.

    Raises:
        ReferenceDataError: It is missing or is not what it has to be.
    """
    try:
        document = json.loads((folder / "index.json").read_bytes())
        if document["schema"] != SCHEMA:
            raise ReferenceDataError(f"reference data: index.json is {document['schema']!r}")
        index = Index(version=document["version"], sha256=document["sha256"])
        index.kinds = document["kinds"]
        for product, (family, labels, board_labels, modified, name) in sorted(
            document["products"].items()
        ):
            index.families[product] = family
            index.entries[product] = Entry(
                id=product,
                labels=tuple(labels),
                board_labels=tuple(board_labels),
                modified=modified,
                name_key=name,
            )
        index.names = {name: tuple(ids) for name, ids in document["names"].items()}
        index.devices = {int(one, 16): tuple(ids) for one, ids in document["devices"].items()}
        index.values = document["values"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReferenceDataError(f"reference data: index.json: {error!r}") from error
    return index
