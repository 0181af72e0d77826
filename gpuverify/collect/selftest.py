"""A field run: everything is measured on a real card, and what came of it is kept to be shared.

It writes a redacted case, and a file of the measured values with the digests of the kernels that
made them: enough to narrow the bands of a product (`gpuverify refdb field-run`). A card stands in
it as a digest of its UUID, so that it is not counted twice; nothing else names a card or an owner.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuverify import __version__
from gpuverify.collect.measure import Measured, Measurer
from gpuverify.collect.record import record_machine, write_case
from gpuverify.errors import OutputError, SourceError
from gpuverify.model.claims import Source, Value
from gpuverify.model.evidence import DeviceEvidence
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.refdb.field_data import card_digest
from gpuverify.refdb.field_run import REAL
from gpuverify.sources.recording import Recording

SCHEMA = "gpuverify/field-run/v1"
FILE = "field-run.json"
NOT_REAL = "emulated-or-played-back"
LEFT_OUT = "refused: it was left out"

_SEEN = (
    "pci.vendor_id", "pci.device_id", "pci.subsystem_vendor_id", "pci.subsystem_device_id",
    "memory.total_bytes", "gpu.gpu_part_number", "gpu.board_part_number",
    "inforom.image_version", "ecc.mode_current",
)  # fmt: skip
"""Claims that tell which product a card is, and name no card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCard:
    """What is known of a card beside what was measured.

    Attributes:
        card: Digest of its UUID, None where it has none.
        seen: Claims that tell which product it is.
    """

    card: str | None
    seen: Mapping[str, Value]


class Witness:
    """Measures, and notes what a redacted recording no longer tells.

    Attributes:
        live: Whether this machine's own driver measured real cards.
        cards: What is known of each card, by bus id.
    """

    def __init__(self, measure: Measurer) -> None:
        """Stand before a measurer."""
        self._measure = measure
        self.live = False
        self.cards: dict[str, SeenCard] = {}

    def __call__(
        self, devices: tuple[DeviceEvidence, ...], progress: Callable[[str], None] | None
    ) -> Measured:
        """Measure.

        Args:
            devices: What the other sources say of each card.
            progress: Called with a line where something takes more than a second.
        """
        done = self._measure(devices, progress)
        self.live = done.live
        for device in devices:
            bus_id = device.claims.value("pci.bus_id")
            if isinstance(bus_id, str):
                self.cards[bus_id] = self._card(device, bus_id, done)
        return done

    @staticmethod
    def _card(device: DeviceEvidence, bus_id: str, done: Measured) -> SeenCard:
        """Note one card; CUDA, through which it was measured, says which it is."""
        reading = done.readings.get("cuda")
        said = [
            claim.value
            for claim in (reading.devices.get(bus_id, ()) if reading else ())
            if claim.id == "gpu.uuid" and claim.ok
        ]
        uuid = said[0] if said else device.claims.value("gpu.uuid")
        known = {name: device.claims.value(name) for name in _SEEN}
        return SeenCard(
            card=card_digest(uuid) if isinstance(uuid, str) and uuid else None,
            seen={name: value for name, value in known.items() if value is not None},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What a field run gave.

    Attributes:
        folder: Where it was written.
        states: How each measured card ended, by bus id.
        void: Measured values whose exact results came out wrong.
    """

    folder: Path
    states: dict[str, str]
    void: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether every card was measured to the end and no result was wrong."""
        return all(state == "done" for state in self.states.values()) and not self.void


def pack_digests() -> dict[str, str]:
    """Return the SHA-256 of each pack of kernels."""
    from gpuverify.measure.packs import PACKS, pack_text

    return {name: hashlib.sha256(pack_text(name)).hexdigest() for name in sorted(PACKS)}


def _driver(recording: Recording) -> str | None:
    """Return the driver version that NVML told."""
    for call in recording.calls:
        if call.symbol == "nvmlSystemGetDriverVersion" and call.returns == 0 and call.out:
            return call.out[0] if isinstance(call.out[0], str) else None
    return None


def field_run(recording: Recording, witness: Witness | None = None) -> dict[str, Any]:
    """Return the values of a recording that narrow what is known of a product.

    Args:
        recording: A recording with a measured part.
        witness: What was noted while it was made; without it the run counts as not real.
    """
    cards_seen = witness.cards if witness is not None else {}
    left_out = {bus for bus, state in _values(recording, "measure.state").items()
                if state == LEFT_OUT}  # fmt: skip
    host = {row.claim.id: row.claim.value for row in recording.measured if not row.bus_id}
    cards: dict[str, dict[str, Any]] = {}
    for row in recording.measured:
        claim = row.claim
        if not row.bus_id or VOCABULARY[claim.id].identifying or claim.id == "pci.bus_id":
            continue
        if row.bus_id in left_out:
            continue
        known = cards_seen.get(row.bus_id)
        part = cards.setdefault(
            row.bus_id,
            {
                "card": known.card if known else None,
                "seen": dict(known.seen) if known else {},
                "cuda": {},
                "measured": {},
                "absent": {},
            },
        )
        if claim.ok:
            part["cuda" if claim.source is Source.CUDA else "measured"][claim.id] = claim.value
        else:
            part["absent"][claim.id] = f"{claim.status.value}: {claim.raw_text or ''}"
    return {
        "schema": SCHEMA,
        "tool": f"gpuverify {__version__}",
        "recorded_ms": recording.recorded_ms,
        "origin": REAL if witness is not None and witness.live else NOT_REAL,
        "level": host.get("measure.level"),
        "driver": _driver(recording),
        "kernels": pack_digests(),
        "cards": [cards[bus_id] for bus_id in sorted(cards)],
    }


def run_selftest(
    out_dir: str | Path,
    measure: Measurer,
    *,
    text: str = "",
    progress: Callable[[str], None] | None = None,
    record: Callable[..., Recording] = record_machine,
) -> SelfTest:
    """Measure, and write the case and the field run.

    Args:
        out_dir: Folder to make; it must not exist yet.
        measure: Measures the cards.
        text: What the recording is of, for people.
        progress: Called with a line where something takes more than a second.
        record: Records the machine.

    Raises:
        OutputError: The folder exists, or cannot be written.
        SourceError: No card could be measured.
    """
    folder = Path(out_dir)
    if folder.exists() or folder.is_symlink():
        raise OutputError(f"{folder}: exists already; name a new folder")
    witness = Witness(measure)
    recording = record(text=text, measure=witness, progress=progress)
    states = _values(recording, "measure.state")
    measured = {bus: s for bus, s in states.items() if s != LEFT_OUT}
    if not measured:
        raise SourceError("no card could be measured")
    written = write_case(recording, folder)
    try:
        with (written.parent / FILE).open("x", encoding="utf-8") as file:
            json.dump(field_run(recording, witness), file, indent=1, sort_keys=True)
            file.write("\n")
    except OSError as error:
        raise OutputError(f"{written.parent / FILE}: {error.strerror}") from error
    void = [
        row.claim.id
        for row in recording.measured
        if row.claim.status.value == "failed" and row.claim.id.startswith("fingerprint.")
    ]
    return SelfTest(folder=written.parent, states=measured, void=_once(void))


def _values(recording: Recording, claim_id: str) -> dict[str, str]:
    """Return a text claim of each card."""
    return {
        row.bus_id: str(row.claim.value)
        for row in recording.measured
        if row.claim.id == claim_id and row.bus_id
    }


def _once(names: Sequence[str]) -> tuple[str, ...]:
    """Return names without repetition, in order."""
    return tuple(dict.fromkeys(names))
