"""Rates: what every chip of a compute capability does a clock, and what field runs showed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuverify.errors import ReferenceDataError
from gpuverify.model.product import (
    EMULATED_ONLY,
    Grade,
    Product,
    ReferenceValue,
    Validation,
)
from gpuverify.model.rates import RATES

FIELD_RUNS = "field-runs"
"""Folder of what field runs showed, one file a product, and the source key of its values."""


def validation_of(name: str, row: Mapping[str, Any]) -> Validation | None:
    """Return how far a value of a data file was tried on real cards.

    Args:
        name: Reference field.
        row: The entry as it is written.

    Raises:
        ValueError: It says more than a hand may write, or says it of what no timing is compared
            with.
    """
    said = row.get("validation")
    if name not in RATES:
        if said is not None:
            raise ValueError(f"{name}: only what a timing is compared with has a validation")
        return None
    if said != str(EMULATED_ONLY):
        raise ValueError(f'{name}: validation has to be "{EMULATED_ONLY}"; field runs say the rest')
    return EMULATED_ONLY


def field_run_files(folder: Path) -> frozenset[str]:
    """Return the ids of the products that have field runs on file."""
    try:
        names = os.listdir(folder / FIELD_RUNS)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise ReferenceDataError(f"reference data: {FIELD_RUNS}: {error.strerror}") from error
    return frozenset(name[:-5] for name in names if name.endswith(".toml"))


def with_field_runs(product: Product, folder: Path) -> Product:
    """Give a product's rates the bands and the validation that its field runs yield.

    Args:
        product: The product; there is a file of field runs for it.
        folder: Folder of the data files.
    """
    from gpuverify.refdb.field_data import read_field_data, validations

    found = validations(read_field_data(folder / FIELD_RUNS / f"{product.id}.toml", product.id))
    if not found:
        return product
    values = [
        replace(value, validation=found[value.field][0]) if value.field in found else value
        for value in product.values
    ]
    stated = {value.field for value in product.values}
    values += [
        ReferenceValue(
            field=name,
            value=median,
            grade=Grade.RECORDING,
            source=FIELD_RUNS,
            locator=f"{product.id}.toml",
            validation=validation,
        )
        for name, (validation, median) in found.items()
        if name not in stated
    ]
    return replace(product, values=tuple(values))
