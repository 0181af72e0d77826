"""What must not happen: a busy card disturbed, a hot card driven on, a slice taken for a card."""

from __future__ import annotations

from dataclasses import dataclass

from gpuverify.model.telemetry import Sample

STOP_CELSIUS = 87
"""At this temperature the run of a card is stopped: the lowest slowdown temperature that
data-centre boards print (V100, nvidia-smi -q, "GPU Slowdown Temp")."""
STOP_MEMORY_CELSIUS = 103
START_CELSIUS = 75
"""A card this hot before anything ran is not cooled; loading it would only prove that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that may be measured, as the sources that were asked before know it.

    Attributes:
        bus_id: PCI bus id.
        uuid: UUID, "" where it is not known.
        name: Name, for people.
        total_bytes: Memory, 0 where it is not known.
        peak_kb_s: Highest memory rate by reported clock and width, 0 where it is not known.
        processes: Compute processes on it, None where nobody could tell.
        display: Whether it drives a display.
        mig: Whether MIG is on.
        virtual: Whether it is a virtual GPU.
        usable: Whether the NVIDIA driver has it: bound, and listed.
    """

    bus_id: str
    uuid: str = ""
    name: str = ""
    total_bytes: int = 0
    peak_kb_s: int = 0
    processes: int | None = None
    display: bool = False
    mig: bool = False
    virtual: bool = False
    usable: bool = True


def refusal(card: Card, sample: Sample, *, anyway: bool) -> str:
    """Say why a card is not measured, "" if nothing speaks against it.

    Args:
        card: The card.
        sample: How it is now.
        anyway: Whether the user said to disturb what runs on it.
    """
    if not card.usable:
        return "the NVIDIA driver does not have it; bind it to the driver"
    if card.mig:
        return (
            "MIG is on, so a program sees a slice and never the whole card; with nothing running on"
            f" it turn MIG off as root (nvidia-smi -i {card.bus_id} -mig 0) and measure again"
        )
    if card.virtual:
        return (
            "it is a virtual GPU, so a program sees a share and not the card; measure on the host"
            " that has the card"
        )
    busy = max(card.processes or 0, sample.processes or 0)
    if busy and not anyway:
        return (
            f"{busy} process{'es' if busy != 1 else ''} of others use it; end them, or add"
            " --measure-anyway to disturb them"
        )
    if card.display and not anyway:
        return "it drives a display; turn that off, or add --measure-anyway"
    heat = sample.temperature_celsius
    if heat is not None and heat >= START_CELSIUS:
        return f"it has {heat} °C before anything ran; look at its cooling"
    return ""


def too_hot(sample: Sample) -> str:
    """Say that a card has to be stopped for heat, "" if it is cool enough or nobody can tell.

    Args:
        sample: How it is now.
    """
    heat, memory = sample.temperature_celsius, sample.memory_celsius
    if heat is not None and heat >= STOP_CELSIUS:
        return f"stopped at {heat} °C"
    if memory is not None and memory >= STOP_MEMORY_CELSIUS:
        return f"stopped, memory at {memory} °C"
    return ""
