"""The measured part of a recording: what CUDA said and what was measured, as claims.

A measurement cannot be played back call by call, for nothing would be measured. A recording holds
what came of it; a replay hands that out where measuring was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording_ctypes import Json

SOURCES = {"cuda": Source.CUDA, "measured": Source.MEASURED}
_BUS = re.compile(r"[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.[0-7]")
_KEYS = frozenset({"gpu", "source", "id", "status", "value", "call", "raw_text"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One claim of CUDA or of the measurement.

    Attributes:
        bus_id: Bus id of the card that it is about; "" for the host.
        claim: The claim.
    """

    bus_id: str = ""
    claim: Claim


def rows_of(readings: Mapping[str, SourceReading]) -> tuple[MeasuredRow, ...]:
    """Return the rows of what was measured.

    Args:
        readings: Reading of each of the two sources, by name.
    """
    rows: list[MeasuredRow] = []
    for name in SOURCES:
        reading = readings.get(name)
        if reading is None:
            continue
        rows += [MeasuredRow(claim=claim) for claim in reading.host]
        for bus_id, claims in sorted(reading.devices.items()):
            rows += [MeasuredRow(bus_id=bus_id, claim=claim) for claim in claims]
    return tuple(rows)


def readings_of(rows: Iterable[MeasuredRow]) -> dict[str, SourceReading]:
    """Return what was measured as each source would have given it.

    Args:
        rows: The rows of a recording.
    """
    names = {source: name for name, source in SOURCES.items()}
    readings = {name: SourceReading() for name in SOURCES}
    for row in rows:
        reading = readings[names[row.claim.source]]
        if row.bus_id:
            reading.add(row.bus_id, row.claim)
        else:
            reading.host.append(row.claim)
    return readings


def row_json(row: MeasuredRow) -> dict[str, Json]:
    """Turn a row into JSON.

    Args:
        row: The row.
    """
    claim = row.claim
    made: dict[str, Json] = {}
    if row.bus_id:
        made["gpu"] = row.bus_id
    if claim.source is Source.CUDA:
        made["source"] = "cuda"
    made["id"] = claim.id
    if claim.ok:
        made["value"] = claim.value
    else:
        made["status"] = claim.status.value
    if claim.call:
        made["call"] = claim.call
    if claim.raw_text is not None:
        made["raw_text"] = claim.raw_text
    return made


def read_rows(items: Iterable[Json], origin: str) -> tuple[MeasuredRow, ...]:
    """Check and build the rows of a recording.

    Args:
        items: The objects of its list.
        origin: What they were read from, for messages.

    Raises:
        FormatError: One of them is no such row.
    """
    rows = []
    for index, item in enumerate(items):
        where = f"measured[{index}]"
        if not isinstance(item, dict) or set(item) - _KEYS:
            raise FormatError(origin, f"a row has keys of {', '.join(sorted(_KEYS))}", where)
        bus_id = item.get("gpu", "")
        if not isinstance(bus_id, str) or not (bus_id == "" or _BUS.fullmatch(bus_id)):
            raise FormatError(origin, "'gpu' has to be a bus id DDDDDDDD:BB:DD.F", where)
        try:
            rows.append(MeasuredRow(bus_id=bus_id, claim=_claim(item, bus_id)))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(origin, f"no claim: {error}", where) from error
    return tuple(rows)


def _claim(item: Mapping[str, Json], bus_id: str) -> Claim:
    """Build the claim of a row."""
    spec = VOCABULARY[str(item["id"])]
    if spec.scope is not (Scope.DEVICE if bus_id else Scope.HOST):
        raise ValueError(f"{spec.id} is a {spec.scope.value} claim")
    value = item.get("value")
    if value is not None and type(value) is not spec.type:
        raise TypeError(f"{spec.id} has to be of type {spec.type.__name__}")
    usual = "ok" if value is not None else "not-asked"
    raw_text = item.get("raw_text")
    return Claim(
        id=spec.id,
        status=ClaimStatus(item.get("status", usual)),
        value=cast("int | str | bool | None", value),
        source=SOURCES[str(item.get("source", "measured"))],
        call=str(item.get("call", "")),
        raw_text=None if raw_text is None else str(raw_text),
    )
