"""What was seen of a card from outside while it was measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpuverify.measure.capacity_classify import CapacityResult
from gpuverify.measure.results import claim
from gpuverify.model.claims import Claim
from gpuverify.model.telemetry import Sample

_HELD_PERCENT = 90
_PCIE_PHASES = ("pcie", "pcie-h2d", "pcie-d2h")


@dataclass(slots=True, kw_only=True)
class Watched:
    """What was seen of one card.

    Attributes:
        before: Before anything ran.
        held: While all memory was held.
        last: At last.
        power_mw: Highest power.
        temperature_celsius: Highest temperature.
        processes: Most processes at once.
        reasons: All clock event reasons.
        link: Highest PCIe generation and most lanes while the link was loaded.
    """

    before: Sample
    held: Sample | None = None
    last: Sample = field(default_factory=Sample)
    power_mw: int | None = None
    temperature_celsius: int | None = None
    processes: int = 0
    reasons: set[str] = field(default_factory=set)
    link: tuple[int, int] | None = None

    def take(self, sample: Sample, phase: str) -> None:
        """Take in one look.

        Args:
            sample: What was seen.
            phase: What the card was doing.
        """
        self.last = sample
        self.power_mw = _higher(self.power_mw, sample.power_mw)
        self.temperature_celsius = _higher(self.temperature_celsius, sample.temperature_celsius)
        self.processes = max(self.processes, sample.processes or 0)
        if sample.reasons is not None:
            self.reasons.update(sample.reasons.split(","))
        if phase in _PCIE_PHASES and sample.link_generation and sample.link_width:
            found = (sample.link_generation, sample.link_width)
            self.link = max(self.link or found, found)


def _higher(known: int | None, seen: int | None) -> int | None:
    """Return the higher of two, where there are two."""
    if known is None or seen is None:
        return seen if known is None else known
    return max(known, seen)


def window_claims(watched: Watched, result: CapacityResult | None) -> list[Claim]:
    """Return the claims of who looked on.

    Args:
        watched: What was seen.
        result: What the capacity proof held, None where it did not run.
    """
    call = "nvml while measuring"
    found: list[Claim] = []
    before, held = watched.before, watched.held
    if before.processes is not None:
        # One of them is our own.
        others = max(before.processes, watched.processes - 1)
        found.append(claim("measure.foreign_processes", max(0, others), call))
    if (
        held is not None
        and held.used_bytes is not None
        and before.used_bytes is not None
        and result is not None
        and result.allocated_bytes
    ):
        risen = held.used_bytes - before.used_bytes
        enough = risen * 100 >= result.allocated_bytes * _HELD_PERCENT
        found.append(claim("measure.attributed", enough, call, f"{risen} bytes more in use"))
    if watched.power_mw is not None:
        found.append(claim("fingerprint.power_peak_mw", watched.power_mw, call))
    if watched.temperature_celsius is not None:
        heat = watched.temperature_celsius
        found.append(claim("fingerprint.temperature_peak_celsius", heat, call))
    if watched.reasons:
        words = sorted(watched.reasons - {"", "none"})
        found.append(claim("fingerprint.throttle_reasons", ",".join(words) or "none", call))
    if watched.link is not None:
        found.append(claim("pcie.loaded_generation", watched.link[0], call))
        found.append(claim("pcie.loaded_width", watched.link[1], call))
    return found
