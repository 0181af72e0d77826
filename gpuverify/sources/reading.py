"""What a source returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpuverify.model.claims import Claim


@dataclass(slots=True, kw_only=True)
class SourceReading:
    """Claims of one source: about the host, and about devices by normalised PCI bus id.

    Attributes:
        host: Host claims.
        devices: Device claims by bus id; a device without a readable bus id has a key that starts
            with "?".
    """

    host: list[Claim] = field(default_factory=list)
    devices: dict[str, list[Claim]] = field(default_factory=dict)

    def add(self, bus_id: str, claim: Claim) -> None:
        """Add a claim about the device at `bus_id`."""
        self.devices.setdefault(bus_id, []).append(claim)
