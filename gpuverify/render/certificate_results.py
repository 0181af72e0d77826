"""The results of a certificate, with units: what was measured, the counters, every reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.model.claims import ClaimStatus
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.render.certificate import Cell, Part, Table
from gpuverify.render.measured_values import fingerprint, memory_map

if TYPE_CHECKING:
    from gpuverify.model.claims import Claim
    from gpuverify.model.evidence import ClaimSet, Evidence
    from gpuverify.model.product import Product

_COUNTERS = ("ecc.aggregate.", "remap.", "retired.", "repair.", "inforom.bbx_", "pci.replay_count")


def measured_part(claims: ClaimSet, product: Product | None, speaker: str) -> Part:
    """Show the measurement beside what is on file.

    Args:
        claims: The card's claims.
        product: The product whose bands are shown, None for no band.
        speaker: Who states the numbers.
    """
    found, memory = fingerprint(claims, product), memory_map(claims)
    sentences = []
    if found is None and memory is None:
        state = claims.read("measure.state")
        told = f" ({state.value})" if state.ok else ""
        sentences.append(
            f"Nothing was measured{told}: size, speed and work of the card are the driver's word."
        )
    if found is not None and found.doubt:
        sentences.append(f"No timing counts here: {found.doubt}.")
    if found is not None and not found.doubt and any(gauge.band for gauge in found.gauges):
        sentences.append(
            f"Bands are those on file for {found.reference or 'chips of this generation'}. They "
            f"rest on documents and public tables, and on real cards as far as said here: "
            f"{found.tried}. A value outside accuses nobody by itself."
        )
    return Part(
        id="measured",
        title="Measured",
        speaker=speaker,
        sentences=tuple(sentences),
        fingerprint=found,
        memory=memory,
    )


def counters_part(claims: ClaimSet, speaker: str) -> Part:
    """Show what the card counted; counters can be cleared.

    Args:
        claims: The card's claims.
        speaker: Who states the numbers.
    """
    rows = tuple(
        row for claim in claims if claim.id.startswith(_COUNTERS) for row in (_reading(claim),)
    )
    return Part(
        id="counters",
        title="Counters",
        speaker=speaker,
        sentences=("Root can clear most of them: a zero shows nothing.",)
        if rows
        else ("No counter was read.",),
        tables=(Table(caption="Counters of the card", header=_HEADER, rows=rows),) if rows else (),
        long=True,
    )


_HEADER = ("Quantity", "Value", "Source")


def readings_part(evidence: Evidence, speaker: str) -> Part:
    """List every reading, also those without a value: nothing is left out silently.

    Args:
        evidence: The evidence of one card.
        speaker: Who states the readings.
    """
    card = tuple(_reading(claim) for device in evidence.devices for claim in device.claims)
    host = tuple(_reading(claim) for claim in evidence.host)
    tables = []
    if card:
        tables.append(Table(caption="Readings of the card", header=_HEADER, rows=card))
    if host:
        tables.append(Table(caption="Readings of the host", header=_HEADER, rows=host))
    return Part(
        id="readings",
        title="Annex: all readings",
        speaker=speaker,
        tables=tuple(tables),
        long=True,
        annex=True,
    )


def _reading(claim: Claim) -> tuple[Cell, Cell, Cell]:
    """Return a claim as quantity, value with its unit or the reason for none, and source."""
    spec = VOCABULARY.get(claim.id)
    name = Cell(text=claim.id if spec is None else f"{spec.text} ({claim.id})")
    if claim.status is not ClaimStatus.OK:
        value = Cell(text=claim.status.value, role="faint")
    elif isinstance(claim.value, bool):
        value = Cell(text="yes" if claim.value else "no")
    else:
        unit = "" if spec is None or not spec.unit else f" {spec.unit}"
        value = Cell(text=f"{claim.value}{unit}" if claim.value != "" else "empty text")
    return name, value, Cell(text=claim.source.value)
