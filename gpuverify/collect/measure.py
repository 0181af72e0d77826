"""Measuring as a part of collecting: which cards there are, who looks on, what comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gpuverify.collect.join import select_devices
from gpuverify.errors import UsageError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import DeviceEvidence
from gpuverify.model.peaks import memory_peak_kb_s
from gpuverify.sources.reading import SourceReading

if TYPE_CHECKING:
    from gpuverify.measure.plan import MeasureRequest
    from gpuverify.measure.run import Display
    from gpuverify.measure.safety import Card
    from gpuverify.model.telemetry import Telemetry

NAMES = {Source.CUDA: "cuda", Source.MEASURED: "measured"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What measuring gave.

    Attributes:
        readings: Reading of each of the sources `cuda` and `measured`.
        live: Whether real cards were measured through the machine's own driver.
    """

    readings: Mapping[str, SourceReading]
    live: bool = False


class Measurer(Protocol):
    """Measures cards, or plays back what was measured."""

    def __call__(
        self, devices: tuple[DeviceEvidence, ...], progress: Callable[[str], None] | None
    ) -> Measured:
        """Measure.

        Args:
            devices: What the other sources say of each card.
            progress: Called with a line where something takes more than a second.
        """
        ...


class LiveMeasurer:
    """Measures this machine's cards."""

    def __init__(
        self,
        request: MeasureRequest,
        display: Display | None = None,
        telemetry: Callable[[], contextlib.AbstractContextManager[Telemetry]] | None = None,
    ) -> None:
        """Prepare; nothing is touched before the call.

        Args:
            request: What the user asked for.
            display: Shows how far each card is.
            telemetry: Opens what looks on, NVML where None.
        """
        self._request = request
        self._display = display
        self._telemetry = telemetry or _nvml

    @property
    def own_driver(self) -> bool:
        """Whether the machine's own driver and NVML are used."""
        return self._request.library is None and self._telemetry is _nvml

    def __call__(
        self,
        devices: tuple[DeviceEvidence, ...],
        progress: Callable[[str], None] | None,  # noqa: ARG002 - the display says more
    ) -> Measured:
        """Measure every card of the machine in one window.

        Args:
            devices: What the other sources say of each card.
            progress: Not used: the display shows more.
        """
        from gpuverify.measure.run import measure_cards

        with self._telemetry() as telemetry:
            outcome = measure_cards(cards_of(devices), self._request, telemetry, self._display)
        return Measured(
            readings=_split(outcome.host, outcome.devices),
            live=self.own_driver and not outcome.emulated,
        )


class ReplayedMeasurer:
    """Plays back what a recording says was measured."""

    def __init__(self, readings: Mapping[str, SourceReading]) -> None:
        """Keep the readings."""
        self._readings = readings

    def __call__(
        self,
        devices: tuple[DeviceEvidence, ...],  # noqa: ARG002 - the protocol's signature
        progress: Callable[[str], None] | None,  # noqa: ARG002 - the protocol's signature
    ) -> Measured:
        """Return the recorded readings.

        Args:
            devices: Not looked at.
            progress: Not called.
        """
        return Measured(readings=self._readings)


@contextlib.contextmanager
def _nvml() -> Iterator[Telemetry]:
    """Look on through NVML."""
    from gpuverify.sources.nvml_watch import NvmlWatch

    with NvmlWatch() as watch:
        yield watch


def cards_of(devices: tuple[DeviceEvidence, ...]) -> tuple[Card, ...]:
    """Return the cards that may be measured, from what is known of them.

    Args:
        devices: Every NVIDIA function of the host.
    """
    from gpuverify.measure.safety import Card

    cards = []
    for device in devices:
        claims = device.claims
        bus_id = claims.value("pci.bus_id")
        if not isinstance(bus_id, str):
            continue
        clock = _number(device, "clock.memory_max_khz")
        width = _number(device, "memory.bus_width_bits")
        processes = claims.read("gpu.process_count")
        cards.append(
            Card(
                bus_id=bus_id,
                uuid=str(claims.value("gpu.uuid") or ""),
                name=str(claims.value("gpu.name") or ""),
                total_bytes=_number(device, "memory.total_bytes"),
                peak_kb_s=memory_peak_kb_s(clock // 1000, width),
                processes=processes.value if isinstance(processes.value, int) else None,
                display=claims.value("gpu.display_active") is True,
                mig=claims.value("mig.mode_current") is True,
                virtual=claims.value("gpu.virtualization_mode") == "vgpu",
                usable=claims.value("gpu.listed_by_nvml") is not False
                and claims.value("pci.driver", Source.PCI_CONFIG) in (None, "nvidia"),
            )
        )
    return tuple(cards)


def _number(device: DeviceEvidence, claim_id: str) -> int:
    """Return a device's integer, 0 where there is none."""
    value = device.claims.value(claim_id)
    return value if isinstance(value, int) else 0


def _split(host: list[Claim], devices: Mapping[str, list[Claim]]) -> dict[str, SourceReading]:
    """Sort claims by the source that speaks."""
    readings = {name: SourceReading() for name in NAMES.values()}
    for claim in host:
        readings[NAMES[claim.source]].host.append(claim)
    for bus_id, claims in devices.items():
        for claim in claims:
            readings[NAMES[claim.source]].add(bus_id, claim)
    for source, name in NAMES.items():
        told = any(claim.id == f"source.{name}" for claim in readings[name].host)
        if not told:
            readings[name].host.append(
                Claim(id=f"source.{name}", status=ClaimStatus.OK, value="ok", source=source)
            )
    return readings


class ChosenMeasurer:
    """Measures one card of this machine; the others are left alone."""

    def __init__(
        self,
        request: MeasureRequest,
        gpu: str,
        display: Display | None = None,
        telemetry: Callable[[], contextlib.AbstractContextManager[Telemetry]] | None = None,
    ) -> None:
        """Prepare; nothing is touched before the call.

        Args:
            request: What is done.
            gpu: The card: index, UUID or PCI bus id.
            display: Shows how far it is.
            telemetry: Opens what looks on, NVML where None.
        """
        self._request = request
        self._gpu = gpu
        self._display = display
        self._telemetry = telemetry

    def __call__(
        self, devices: tuple[DeviceEvidence, ...], progress: Callable[[str], None] | None
    ) -> Measured:
        """Measure the card.

        Args:
            devices: What the other sources say of each card.
            progress: Called with a line where something takes more than a second.

        Raises:
            UsageError: There is no such card, or more than one.
        """
        (index,) = select_devices(devices, (self._gpu,))
        bus_id = devices[index].claims.value("pci.bus_id")
        if not isinstance(bus_id, str):
            raise UsageError(f"--gpu {self._gpu}: nobody knows the bus id of this card")
        chosen = replace(self._request, selected=(bus_id,))
        return LiveMeasurer(chosen, self._display, self._telemetry)(devices, progress)
