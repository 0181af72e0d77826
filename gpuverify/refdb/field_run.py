"""Field-run files: read strictly, judged, and merged into the reference data.

A field run is somebody's word about somebody's card. What is taken in has been measured on a real
card, in full, without a wrong result, by the kernels that this version ships, once a card; all else
is shown with the reason why it is left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpuverify.codec.limits import MAX_DEVICES, MAX_VALUE_CHARS
from gpuverify.codec.strict_json import loads
from gpuverify.codec.text import hostile, printable
from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.peaks import MARGIN_PERCENT, product_memory_peak_kb_s
from gpuverify.model.product import Product, Recognition
from gpuverify.model.rates import CLOCK_SPREAD_PPM, COVERED_PERCENT, HOT, RATES
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.refdb.field_data import (
    DIGEST,
    DRIVER,
    MAX_BYTES,
    MAX_CARDS,
    CardRun,
    FieldData,
    value_problem,
)

SCHEMA = "gpuverify/field-run/v1"
REAL = "real"
"""Origin of a run in which this machine's own driver measured a card. Anything else was emulated
or played back."""

_TOP = ("schema", "tool", "recorded_ms", "origin", "level", "driver", "kernels", "cards")
_CARD = ("card", "seen", "cuda", "measured", "absent")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCard:
    """One card of a field-run file.

    Attributes:
        file: The file.
        product: Id of its product, "" where no single one was recognised.
        card: Digest of its UUID, "" where none was known.
        driver: Driver version, "" where it is not known.
        day: Day of the measurement.
        kernels: Digest of each pack of kernels that measured.
        values: Rates by reference field, in the unit of the measured claim.
        refused: Why it is not taken in; empty where it can be.
    """

    file: str
    product: str
    card: str
    driver: str
    day: str
    kernels: Mapping[str, str]
    values: Mapping[str, int]
    refused: tuple[str, ...]

    @property
    def run(self) -> CardRun:
        """What goes on file."""
        return CardRun(card=self.card, driver=self.driver, day=self.day, values=self.values)


def read_field_run(
    data: bytes,
    origin: str,
    recognise: Callable[[ClaimSet], Recognition],
    kernels: Mapping[str, str],
) -> tuple[FieldCard, ...]:
    """Read a field-run file.

    Args:
        data: The file, at most 1 MiB.
        origin: What it was read from, for messages.
        recognise: Tells the product by the claims about a device.
        kernels: Digest of each pack of kernels that this version ships.

    Returns:
        Its cards, each with what stands against taking it in.

    Raises:
        FormatError: It is no field-run file.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(origin, f"larger than {MAX_BYTES // _MIB} MiB")
    document = loads(data, origin)
    _want(document, _TOP, "a field run", origin)
    if document["schema"] != SCHEMA:
        raise FormatError(origin, f"schema is {_said(document['schema'])}, not {SCHEMA}")
    cards = document["cards"]
    if not isinstance(cards, list) or not 0 < len(cards) <= MAX_DEVICES:
        raise FormatError(origin, f"cards has to list 1 to {MAX_DEVICES} cards")
    _check_head(document, origin)
    against = tuple(_against_file(document, kernels))
    return tuple(_card(card, document, origin, recognise, against) for card in cards)


def _want(table: object, keys: tuple[str, ...], what: str, origin: str) -> None:
    """Want an object with exactly these keys."""
    if not isinstance(table, dict):
        raise FormatError(origin, f"{what} has to be an object")
    missing = [key for key in keys if key not in table]
    unknown = [key for key in table if key not in keys]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"holds {_said(unknown[0])}"
        raise FormatError(origin, f"{what} {wrong}; was it written by another version?")


def _said(value: object) -> str:
    """Return a value of an untrusted file for a message."""
    return printable(repr(value), 80)


def _check_head(document: Mapping[str, Any], origin: str) -> None:
    """Refuse a head that is not of its types."""
    kernels = document["kernels"]
    for name in ("tool", "origin"):
        if not _plain(document[name]):
            raise FormatError(origin, f"{name} has to be a short text")
    for name in ("level", "driver"):
        if document[name] is not None and not _plain(document[name]):
            raise FormatError(origin, f"{name} has to be a short text or null")
    if not isinstance(kernels, dict) or not 0 < len(kernels) <= 16:
        raise FormatError(origin, "kernels has to hold a SHA-256 a pack")
    for digest in kernels.values():
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise FormatError(origin, "kernels has to hold a SHA-256 a pack")
    _day(document["recorded_ms"], origin)


def _plain(value: object) -> bool:
    """Whether a value is a short text without control characters."""
    return isinstance(value, str) and len(value) <= MAX_VALUE_CHARS and hostile(value) is None


def _day(recorded_ms: object, origin: str) -> str:
    """Return the day of a time in milliseconds since the Unix epoch."""
    if type(recorded_ms) is not int or not 1_700_000_000_000 <= recorded_ms < 4_000_000_000_000:
        raise FormatError(origin, "recorded_ms is no time of a field run")
    return dt.datetime.fromtimestamp(recorded_ms // 1000, dt.timezone.utc).date().isoformat()


def _against_file(document: Mapping[str, Any], kernels: Mapping[str, str]) -> Iterator[str]:
    """Say what stands against every card of a file."""
    if document["origin"] != REAL:
        yield "it was emulated or played back, not measured on a real card"
    if document["level"] != "full":
        yield "it was not measured in full"
    if document["driver"] is None or not DRIVER.fullmatch(document["driver"]):
        yield "the driver version is not known"
    if document["kernels"] != dict(kernels):
        yield "other kernels than this version's measured it"


def _claims(table: object, what: str, origin: str) -> dict[str, Value]:
    """Read claims by id: known ones about a device that identify nobody, of the right type."""
    if not isinstance(table, dict):
        raise FormatError(origin, f"{what} has to be an object")
    for name, value in table.items():
        spec = VOCABULARY.get(name)
        if spec is None or spec.scope is not Scope.DEVICE:
            raise FormatError(origin, f"{what}: {_said(name)} is no claim about a device")
        if spec.identifying:
            raise FormatError(origin, f"{what}: {name} names a card; it must not be in a field run")
        if type(value) is not spec.type or (isinstance(value, str) and not _plain(value)):
            raise FormatError(origin, f"{what}: {name} is {_said(value)}")
    return dict(table)


def _card(
    card: object,
    document: Mapping[str, Any],
    origin: str,
    recognise: Callable[[ClaimSet], Recognition],
    against: tuple[str, ...],
) -> FieldCard:
    """Read one card and judge it."""
    _want(card, _CARD, "a card", origin)
    assert isinstance(card, dict)  # noqa: S101 - `_want` refused all else
    digest = card["card"]
    if digest is not None and not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise FormatError(origin, "card has to be a SHA-256 or null")
    seen = _claims(card["seen"], "seen", origin)
    _claims(card["cuda"], "cuda", origin)
    measured = _claims(card["measured"], "measured", origin)
    absent = card["absent"]
    if not isinstance(absent, dict) or not all(
        name in VOCABULARY and isinstance(why, str) for name, why in absent.items()
    ):
        raise FormatError(origin, "absent has to hold a reason a claim")
    found = recognise(
        ClaimSet(
            tuple(
                Claim(id=name, status=ClaimStatus.OK, value=value, source=Source.NVML)
                for name, value in seen.items()
            )
        )
    )
    refused = [*against, *_against_card(digest, measured, found.product)]
    values = {}
    for name, rate in RATES.items():
        if rate.claim in measured:
            wrong = value_problem(name, measured[rate.claim])
            if wrong:
                refused.append(wrong)
            else:
                values[name] = int(measured[rate.claim])
    if not values:
        refused.append("no rate was measured")
    return FieldCard(
        file=origin,
        product=found.product.id if found.product is not None else "",
        card=digest or "",
        driver=document["driver"] or "",
        day=_day(document["recorded_ms"], origin),
        kernels=dict(document["kernels"]),
        values=values,
        refused=tuple(refused),
    )


def _number(measured: Mapping[str, Value], claim: str) -> int | None:
    """Return a measured integer."""
    value = measured.get(claim)
    return value if type(value) is int else None


def _against_card(
    digest: str | None, measured: Mapping[str, Value], product: Product | None
) -> Iterator[str]:
    """Say what stands against taking one card in."""
    if digest is None:
        yield "nothing tells which card it is"
    if measured.get("measure.state") != "done":
        yield "the measurement did not finish"
    if _number(measured, "measure.foreign_processes") != 0:
        yield "others used the card"
    if measured.get("measure.attributed") is not True:
        yield "nothing shows that this card did the work"
    if measured.get("fingerprint.valid") is not True:
        yield "exact results came out wrong, or were not recomputed"
    spread = _number(measured, "fingerprint.clock_agreement_ppm")
    if spread is None or not 0 <= spread <= CLOCK_SPREAD_PPM:
        yield "the clocks do not agree, or were not compared"
    if measured.get("capacity.class") != "whole":
        yield "the memory was not shown to be whole"
    reasons = str(measured.get("fingerprint.throttle_reasons", "")).split(",")
    if any(reason.strip() in HOT for reason in reasons):
        yield "it slowed down for heat"
    if product is None:
        yield "no single product was recognised"
    else:
        yield from _against_product(measured, product)


def _numbers(product: Product, field: str) -> list[int]:
    """Return a product's integers of a field."""
    return [value.value for value in product.get(field) if type(value.value) is int]


def _against_product(measured: Mapping[str, Value], product: Product) -> Iterator[str]:
    """Say what shows that a card is not the product that its ids name."""
    counts, sizes = _numbers(product, "gpu.sm_count"), _numbers(product, "memory.nominal_mib")
    seen = _number(measured, "fingerprint.sm_count")
    if seen is None or (counts and seen not in counts):
        yield f"{seen or 'no'} multiprocessors did work, which is not {product.id}'s number"
    tested = _number(measured, "capacity.tested_bytes") or 0
    if sizes and tested * 100 < min(sizes) * _MIB * COVERED_PERCENT:
        yield f"less memory was tested than {product.id} has"
    peak = product_memory_peak_kb_s(product)
    for way in ("read", "write"):
        rate = _number(measured, f"fingerprint.memory_{way}_kb_s") or 0
        if peak and rate * 100 > peak * (100 + MARGIN_PERCENT):
            yield f"its memory is faster than {product.id}'s can be"


def merged(data: FieldData | None, product: str, cards: Iterable[FieldCard]) -> FieldData:
    """Put cards of one product on file.

    Args:
        data: What is on file, None where nothing is.
        product: Product id.
        cards: Cards of it.

    Returns:
        What is to be on file: the same whatever the order.

    Raises:
        FormatError: One of the cards is refused.
    """
    runs = {run.card: run for run in data.runs} if data is not None else {}
    kernels = dict(data.kernels) if data is not None else {}
    for card in cards:
        if card.refused:
            raise FormatError(card.file, f"not taken in: {card.refused[0]}")
        if card.product != product:
            raise FormatError(card.file, f"not taken in: it is no {product}")
        if card.card in runs:
            raise FormatError(card.file, "not taken in: a run of this very card is there already")
        if kernels and kernels != dict(card.kernels):
            raise FormatError(
                card.file,
                f"not taken in: other kernels measured the cards in field-runs/{product}.toml; "
                "values cannot be compared, so remove that file first",
            )
        kernels = dict(card.kernels)
        runs[card.card] = card.run
    if len(runs) > MAX_CARDS:
        raise FormatError(f"field-runs/{product}.toml", f"more than {MAX_CARDS} cards")
    return FieldData(
        product=product, kernels=kernels, runs=tuple(runs[name] for name in sorted(runs))
    )
