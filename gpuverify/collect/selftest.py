"""A field run: everything is measured on a real card, and what came of it is kept to be shared.

It writes a redacted case, and a file of the measured values with the digests of the kernels that
made them: enough to narrow the bands of a product, and nothing that names a card or an owner.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuverify import __version__
from gpuverify.collect.record import record_machine, write_case
from gpuverify.errors import OutputError, SourceError
from gpuverify.model.claims import Source
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.sources.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuverify.collect.measure import Measurer

SCHEMA = "gpuverify/field-run/v1"
FILE = "field-run.json"


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


def field_run(recording: Recording) -> dict[str, Any]:
    """Return the values of a recording that narrow what is known of a product.

    Args:
        recording: A recording with a measured part.
    """
    host = {row.claim.id: row.claim.value for row in recording.measured if not row.bus_id}
    cards: dict[str, dict[str, Any]] = {}
    for row in recording.measured:
        claim = row.claim
        if not row.bus_id or VOCABULARY[claim.id].identifying or claim.id == "pci.bus_id":
            continue
        part = cards.setdefault(row.bus_id, {"cuda": {}, "measured": {}, "absent": {}})
        if claim.ok:
            part["cuda" if claim.source is Source.CUDA else "measured"][claim.id] = claim.value
        else:
            part["absent"][claim.id] = f"{claim.status.value}: {claim.raw_text or ''}"
    return {
        "schema": SCHEMA,
        "tool": f"gpuverify {__version__}",
        "recorded_ms": recording.recorded_ms,
        "level": host.get("measure.level"),
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
    recording = record(text=text, measure=measure, progress=progress)
    states = _values(recording, "measure.state")
    measured = {bus: s for bus, s in states.items() if s != "refused: it was left out"}
    if not measured:
        raise SourceError("no card could be measured")
    written = write_case(recording, folder)
    try:
        with (written.parent / FILE).open("x", encoding="utf-8") as file:
            json.dump(field_run(recording), file, indent=1, sort_keys=True)
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
