"""What somebody beside the measurement sees of a card while it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at one card; None for what did not answer.

    Attributes:
        power_mw: Power drawn in mW.
        temperature_celsius: Temperature of the GPU.
        memory_celsius: Temperature of the memory.
        used_bytes: Memory in use.
        processes: Compute processes on the card.
        reasons: Clock event reasons by comma, "none" for none.
        link_generation: PCIe generation now.
        link_width: PCIe lanes now.
    """

    power_mw: int | None = None
    temperature_celsius: int | None = None
    memory_celsius: int | None = None
    used_bytes: int | None = None
    processes: int | None = None
    reasons: str | None = None
    link_generation: int | None = None
    link_width: int | None = None


class Telemetry(Protocol):
    """Looks at cards from outside of the measurement."""

    def sample(self, bus_id: str) -> Sample:
        """Look at a card once.

        Args:
            bus_id: Its PCI bus id.
        """
        ...


class NoTelemetry:
    """Stands where nobody can look: every answer is missing."""

    def sample(self, bus_id: str) -> Sample:  # noqa: ARG002 - the protocol's signature
        """Return a sample without answers.

        Args:
            bus_id: The card's PCI bus id.
        """
        return Sample()
