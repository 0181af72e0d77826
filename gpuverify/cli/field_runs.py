"""What `gpuverify refdb field-run` does: show field runs, and put them on file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gpuverify.cli.output import write_file
from gpuverify.codec.read import load_bytes
from gpuverify.codec.text import printable
from gpuverify.errors import FormatError, OutputError
from gpuverify.model.product import EMULATED_ONLY
from gpuverify.model.rates import RATES
from gpuverify.refdb import Database
from gpuverify.refdb.field_data import (
    MIN_CARDS,
    MIN_DRIVERS,
    CardRun,
    FieldData,
    read_field_data,
    validation,
    write_field_data,
)
from gpuverify.refdb.field_run import FieldCard, merged, read_field_run
from gpuverify.refdb.index import build_index
from gpuverify.refdb.rates import FIELD_RUNS


def read_files(files: Sequence[str], kernels: Mapping[str, str]) -> list[FieldCard]:
    """Read field-run files.

    Args:
        files: Their names; "-" for standard input.
        kernels: Digest of each pack of kernels that this version ships.

    Returns:
        Their cards, in order.

    Raises:
        FormatError: One of them is no field-run file.
        MissingInputError: One of them cannot be read.
    """
    database = Database.open()
    return [
        card
        for file in files
        for card in read_field_run(load_bytes(file), printable(file), database.recognise, kernels)
    ]


def cards_text(cards: Iterable[FieldCard]) -> str:
    """Lay out which cards there are, and what stands against taking each in."""
    lines = []
    for card in cards:
        said = f"{card.file}: {card.product or 'unknown product'}, card {card.card[:12] or '?'}"
        lines.append(f"{said}, driver {card.driver or '?'}, {card.day}")
        lines += [f"  not taken in: {reason}" for reason in card.refused]
    return "\n".join([*lines, ""])


def rates_text(product: str, shown: Sequence[CardRun], counted: Sequence[CardRun]) -> str:
    """Lay out what a product's cards showed, rate by rate.

    Args:
        product: Product id.
        shown: One entry a card, refused ones as well.
        counted: Those of them that count.
    """
    lines = [f"{product}: {len(shown)} shown, {len(counted)} to count"]
    for name, rate in RATES.items():
        values = sorted(run.values[name] for run in shown if name in run.values)
        if not values:
            continue
        found = validation(name, counted)
        tried = found[0] if found is not None else EMULATED_ONLY
        low, middle, high = (
            _shown(value, rate.scale)
            for value in (values[0], statistics.median_low(values), values[-1])
        )
        band = "no band yet"
        if tried.band is not None:
            band = "band " + " to ".join(_shown(value, rate.scale) for value in tried.band)
        lines.append(f"  {name}: {tried}; lowest {low}, median {middle}, highest {high}; {band}")
    lines.append(f"  a band needs {MIN_CARDS} different cards and {MIN_DRIVERS} driver versions")
    return "\n".join([*lines, ""])


def _shown(value: int, scale: int) -> str:
    """Return a value of a claim in the unit of its field."""
    return str(value) if scale == 1 else f"{value / scale:.1f}"


def by_product(cards: Iterable[FieldCard]) -> dict[str, list[FieldCard]]:
    """Sort cards by product, those of no product left out."""
    found: dict[str, list[FieldCard]] = {}
    for card in cards:
        if card.product:
            found.setdefault(card.product, []).append(card)
    return dict(sorted(found.items()))


def shown_text(cards: Iterable[FieldCard]) -> str:
    """Lay out what files say of each product; a card that stands in several counts once."""
    parts = []
    for product, found in by_product(cards).items():
        counted = {card.card: card.run for card in found if not card.refused}
        parts.append(rates_text(product, [card.run for card in found], list(counted.values())))
    return "".join(parts)


def take_in(cards: Sequence[FieldCard], folder: Path) -> dict[Path, FieldData]:
    """Put cards on file, all or none.

    Args:
        cards: The cards.
        folder: Folder of reference data; its index is written anew where it has one.

    Returns:
        The files written, with what they hold.

    Raises:
        FormatError: One of the cards is refused.
        OutputError: Something cannot be written.
    """
    if not folder.is_dir():
        raise OutputError(f"{printable(str(folder))}: no such folder")
    for card in cards:
        if card.refused:
            raise FormatError(card.file, f"not taken in: {'; '.join(card.refused)}")
    written: dict[Path, FieldData] = {}
    for product, found in by_product(cards).items():
        path = folder / FIELD_RUNS / f"{product}.toml"
        known = read_field_data(path, product) if path.exists() else None
        written[path] = merged(known, product, found)
    try:
        (folder / FIELD_RUNS).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{printable(str(folder))}: {error.strerror}") from error
    for path, data in written.items():
        write_file(str(path), write_field_data(data).encode(), replace=True)
    if (folder / "index.json").exists():
        write_file(str(folder / "index.json"), build_index(folder).encode(), replace=True)
    return written
