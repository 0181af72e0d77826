"""Field runs on file: one file a product, what each real card showed, and the bands they yield.

A band reaches from the lowest to the highest value that a card showed, and beyond on each side by
the distance between the two, or by a share of the value where that is more (`Rate.spread_percent`).
Nothing is averaged and no card is thrown out as an outlier. So every card that was taken in lies
inside, and each further card widens the band or leaves it: five cards leave a third of all others
outside of their own range (Wilks, Annals of Mathematical Statistics 12, 1941: the range of n
values covers (n - 1) / (n + 1) of a population on average), which is why it is doubled and more.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuverify.errors import ReferenceDataError
from gpuverify.model.product import Validation
from gpuverify.model.rates import RATES
from gpuverify.refdb.fields import problem
from gpuverify.refdb.loader import read_table

MIN_CARDS = 5
"""Cards of a product before a band narrows: with fewer, the range covers less than two thirds of
all cards on average."""

MIN_DRIVERS = 2
"""Driver versions among them: the driver compiles the kernels, so one alone may be peculiar."""

MAX_CARDS = 1000
MAX_BYTES = 1 << 20
DRIVER = re.compile(r"\d{3,4}(\.\d{1,4}){1,3}")
DIGEST = re.compile(r"[0-9a-f]{64}")
_DAY = re.compile(r"20\d\d-[01]\d-[0-3]\d")
_HEAD = """# What real cards of this product showed, one entry a card. Written by
# `gpuverify refdb field-run --into`; the card is a digest of its UUID.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRun:
    """What one real card showed.

    Attributes:
        card: Digest of its UUID.
        driver: Driver version.
        day: Day of the measurement, YYYY-MM-DD.
        values: Rates by reference field, in the unit of the measured claim.
    """

    card: str
    driver: str
    day: str
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldData:
    """What is on file of one product.

    Attributes:
        product: Product id.
        kernels: Digest of each pack of kernels that measured; values of others cannot be compared.
        runs: One entry a card, in the order of their digests.
    """

    product: str
    kernels: Mapping[str, str]
    runs: tuple[CardRun, ...]


def card_digest(uuid: str) -> str:
    """Return what stands for a card: the same for the same card, and not its UUID.

    Args:
        uuid: The card's UUID as CUDA or NVML gives it.
    """
    return hashlib.sha256(b"gpuverify field run\0" + uuid.strip().lower().encode()).hexdigest()


def value_problem(name: str, value: object) -> str:
    """Say what is wrong with a measured value for a rate field, "" if nothing is."""
    rate = RATES.get(name)
    if rate is None:
        return f"{name} is no rate that a field run can tell"
    if type(value) is not int:
        return f"{name} holds int, not {type(value).__name__}"
    if not 0 < value < 1 << 63:
        return f"{name} is out of range: {value}"
    # A throttled chip does less than one operation a clock: only the upper bound is the field's.
    return problem(name, max(1, value // rate.scale)) if rate.scale > 1 else problem(name, value)


def read_field_data(path: Path, product: str) -> FieldData:
    """Read a product's file of field runs.

    Args:
        path: The file.
        product: Product id that it has to name.

    Raises:
        ReferenceDataError: It is not what it has to be.
    """
    where = f"reference data: field-runs/{path.name}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReferenceDataError(f"{where}: larger than {MAX_BYTES >> 20} MiB")
    except OSError as error:
        raise ReferenceDataError(f"{where}: {error.strerror}") from error
    table = read_table(path)
    try:
        data = _data(table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReferenceDataError(f"{where}: {error}") from error
    if data.product != product:
        raise ReferenceDataError(f"{where}: it is of product {data.product!r}")
    return data


def _keys(table: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    """Want exactly these keys."""
    if set(table) != set(wanted):
        raise ValueError(f"keys have to be {', '.join(wanted)}, not {', '.join(sorted(table))}")


def _data(table: Mapping[str, Any]) -> FieldData:
    """Turn a table into field data."""
    _keys(table, ("product", "kernels", "run"))
    kernels = table["kernels"]
    if not kernels or not all(
        isinstance(digest, str) and DIGEST.fullmatch(digest) for digest in kernels.values()
    ):
        raise ValueError("kernels has to hold a SHA-256 a pack")
    runs = [_run(entry) for entry in table["run"]]
    cards = [run.card for run in runs]
    if cards != sorted(set(cards)) or not 0 < len(cards) <= MAX_CARDS:
        raise ValueError("cards stand once each, in the order of their digests")
    return FieldData(product=table["product"], kernels=dict(kernels), runs=tuple(runs))


def _run(entry: Mapping[str, Any]) -> CardRun:
    """Turn one entry into a run."""
    _keys(entry, ("card", "driver", "day", "values"))
    for name, shape in (("card", DIGEST), ("driver", DRIVER), ("day", _DAY)):
        if not isinstance(entry[name], str) or not shape.fullmatch(entry[name]):
            raise ValueError(f"{name} has another shape")
    values = entry["values"]
    for name, value in values.items():
        wrong = value_problem(name, value)
        if wrong:
            raise ValueError(wrong)
    return CardRun(
        card=entry["card"], driver=entry["driver"], day=entry["day"], values=dict(values)
    )


def write_field_data(data: FieldData) -> str:
    """Return the text of a product's file: the same for the same runs.

    Args:
        data: What is to be on file.
    """
    lines = [_HEAD, f'product = "{data.product}"', "", "[kernels]"]
    lines += [f'{name} = "{digest}"' for name, digest in sorted(data.kernels.items())]
    for run in sorted(data.runs, key=lambda one: one.card):
        lines += [
            "",
            "[[run]]",
            f'card = "{run.card}"',
            f'driver = "{run.driver}"',
            f'day = "{run.day}"',
            "[run.values]",
            *(f'"{name}" = {value}' for name, value in sorted(run.values.items())),
        ]
    return "\n".join([*lines, ""])


def driver_key(version: str) -> tuple[int, ...]:
    """Return a driver version as it is ordered."""
    return tuple(int(part) for part in version.split("."))


def validation(name: str, runs: Iterable[CardRun]) -> tuple[Validation, int] | None:
    """Return what cards show of one rate, and their median in the field's unit.

    Args:
        name: Reference field.
        runs: One entry a card.

    Returns:
        The validation, with a band where enough cards and drivers are among them; None where no
        card showed the rate.
    """
    showing = [run for run in runs if name in run.values]
    if not showing:
        return None
    rate = RATES[name]
    values = [run.values[name] for run in showing]
    drivers = tuple(sorted({run.driver for run in showing}, key=driver_key))
    low: int | None = None
    high: int | None = None
    if len(showing) >= MIN_CARDS and len(drivers) >= MIN_DRIVERS:
        low, high = band(values, rate.spread_percent)
    median = statistics.median_low(values)
    return (
        Validation(cards=len(showing), drivers=drivers, low=low, high=high),
        max(1, (median + rate.scale // 2) // rate.scale),
    )


def band(values: Iterable[int], spread_percent: int) -> tuple[int, int]:
    """Return what good cards show, from what some of them showed.

    Args:
        values: One value a card.
        spread_percent: How far others may lie beyond, at least.

    Returns:
        Lowest and highest. A further value never makes the band smaller.
    """
    found = sorted(values)
    least, most = found[0], found[-1]
    spread = most - least
    # The share is one of the ratio: what is half of the lowest is as far as twice the highest.
    low = min(least - spread, least * 100 // (100 + spread_percent))
    high = max(most + spread, most * (100 + spread_percent) // 100)
    return max(0, low), high


def validations(data: FieldData) -> dict[str, tuple[Validation, int]]:
    """Return validation and median of every rate that a product's cards showed."""
    return {name: found for name in RATES if (found := validation(name, data.runs)) is not None}
