"""Checks over the rates in the reference data: capability tables and field runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpuverify.model.rates import RATES
from gpuverify.refdb.field_data import read_field_data, write_field_data
from gpuverify.refdb.fields import FIELDS
from gpuverify.refdb.loader import CAPABILITY_KEYS
from gpuverify.refdb.rates import FIELD_RUNS, field_run_files, validation_of

Cited = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[str]]


def capability_problems(
    table: Mapping[str, Any], sources: Mapping[str, Any], cited: Cited
) -> Iterator[str]:
    """Check the capability tables of a family file as they are written.

    Args:
        table: The file.
        sources: Sources by key.
        cited: Checks the citations and the values of one entry.
    """
    owners: dict[str, str] = {}
    for entry in table.get("capability", []):
        name = f"capability {entry.get('id', '?')}"
        if set(entry) != CAPABILITY_KEYS:
            yield f"{name}: keys have to be {', '.join(sorted(CAPABILITY_KEYS))}"
            continue
        for chip in entry["chips"]:
            if chip in owners:
                yield f"{name}: {chip} stands in {owners[chip]} as well"
            owners[chip] = name
        yield from (f"{name}: {text}" for text in cited(entry, sources))
        yield from (
            f"{name}: {field} is no rate"
            for field in entry["values"]
            if not field.startswith("rate.")
        )
        stated = {row.get("v") for row in entry["values"].get("rate.compute_capability", [])}
        if stated != {entry["id"]}:
            yield f"{name}: rate.compute_capability has to say so"
    for product in table.get("product", []):
        yield from _product_problems(product, owners)


def _product_problems(product: Mapping[str, Any], owners: Mapping[str, str]) -> Iterator[str]:
    """Check what a product says of rates."""
    name = product.get("id", "?")
    for field in product.get("rates_apart", ()):
        if field not in FIELDS or not field.startswith("rate."):
            yield f"{name}: rates_apart: {field} is no rate"
        elif field in product.get("values", {}):
            yield f"{name}: rates_apart: {field} is stated too"
    said = {row.get("v") for row in product.get("values", {}).get("gpu.compute_capability", [])}
    owner = owners.get(product.get("chip", ""), "")
    if said and owner and owner.removeprefix("capability ") not in said:
        yield f"{name}: its chip stands in {owner}, and it says otherwise"


def row_problem(name: str, row: Mapping[str, Any]) -> str:
    """Say what is wrong with the validation of an entry, "" if nothing is."""
    try:
        validation_of(name, row)
    except ValueError as error:
        return str(error)
    return ""


def field_run_problems(folder: Path, products: frozenset[str], today: dt.date) -> Iterator[str]:
    """Check the field runs on file.

    Args:
        folder: Folder of the data files.
        products: Ids of all products.
        today: No run is of a later day.

    Raises:
        ReferenceDataError: One of the files is not what it has to be.
    """
    kernels: dict[str, Mapping[str, str]] = {}
    for product in sorted(field_run_files(folder)):
        where = f"{FIELD_RUNS}/{product}.toml"
        if product not in products:
            yield f"{where}: there is no product {product}"
            continue
        path = folder / FIELD_RUNS / f"{product}.toml"
        data = read_field_data(path, product)
        kernels[where] = data.kernels
        if path.read_text(encoding="utf-8") != write_field_data(data):
            yield f"{where} is not as gpuverify refdb field-run writes it"
        for run in data.runs:
            if run.day > today.isoformat():
                yield f"{where}: card {run.card[:12]} was measured on a day to come"
            if not set(run.values) & set(RATES):
                yield f"{where}: card {run.card[:12]} showed no rate"
    if len({tuple(sorted(one.items())) for one in kernels.values()}) > 1:
        yield f"{FIELD_RUNS}: different kernels measured {', '.join(kernels)}"
