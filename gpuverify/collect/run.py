"""Running all sources once; a dead source becomes claims that say why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gpuverify import __version__
from gpuverify.collect.join import ORDER, join_devices
from gpuverify.collect.measure import LiveMeasurer, Measurer
from gpuverify.collect.watch import Progress, Watched
from gpuverify.model.attestation import attestation_nonce
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.sources.commands import CommandRunner, SystemCommands
from gpuverify.sources.host_claims import RAW_CHARS, status_of
from gpuverify.sources.host_tree import HostTree, MachineTree
from gpuverify.sources.reading import SourceReading

NVML_S = 60.0
NVIDIA_SMI_S = 30.0
OTHER_S = 10.0
_MARGIN_S = 5.0
"""nvidia-smi is stopped by its runner; its thread gets this much longer to say so."""

_SOURCES = {
    "nvml": Source.NVML,
    "nvidia-smi": Source.NVIDIA_SMI,
    "procfs": Source.PROCFS,
    "pci-config": Source.PCI_CONFIG,
    "host": Source.HOST,
}


class NvmlReader(Protocol):
    """Reads NVML, or stands in for it."""

    def __call__(self, progress: Progress | None = None) -> SourceReading:
        """Read everything.

        Args:
            progress: Called with one line where the next step may take long.
        """
        ...


def _wall_clock_ms() -> int:
    """Return the time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions:
    """What to collect from, and how long to wait.

    Attributes:
        tree: Files of the machine.
        commands: Programs of the machine.
        nvml: Reads NVML; None for the machine's own.
        replayed: Whether any of these plays back a recording.
        origin: What is collected from, for people.
        progress: Called with a line where something takes more than a second.
        timeouts_s: Seconds a source, where they differ from the usual ones.
        measure: Measures the cards, or plays back what was measured; None to measure nothing.
        challenge: The buyer's challenge, from which the nonce is derived that each card signs;
            None for random nonces.
        clock: Gives the time in milliseconds. A replay has no time of its own: only a clock that
            was given for it counts, and there 0 stands for "not known".
    """

    tree: HostTree = field(default_factory=MachineTree)
    commands: CommandRunner = field(default_factory=SystemCommands)
    nvml: NvmlReader | None = None
    replayed: bool = False
    origin: str = "this machine"
    progress: Progress | None = None
    timeouts_s: tuple[tuple[str, float], ...] = ()
    measure: Measurer | None = None
    challenge: bytes | None = None
    clock: Callable[[], int] = _wall_clock_ms

    def timeout_s(self, name: str) -> float:
        """Return how long a source may take.

        Args:
            name: Name of the source.
        """
        usual = {"nvml": NVML_S, "nvidia-smi": NVIDIA_SMI_S}.get(name, OTHER_S)
        return dict(self.timeouts_s).get(name, usual)


def evidence_class(options: CollectOptions) -> EvidenceClass:
    """Return the class that collecting with these options gives.

    Live needs the machine's own root, programs and library. The types are compared exactly: an
    object that merely says of itself that it is the machine does not count.

    Args:
        options: What was collected from.
    """
    own = (
        type(options.tree) is MachineTree
        and options.tree.is_machine
        and type(options.commands) is SystemCommands
        and options.nvml is None
        and not options.replayed
        and (options.measure is None or type(options.measure) is LiveMeasurer)
    )
    return EvidenceClass.LIVE if own else EvidenceClass.REPLAYED


def collect(options: CollectOptions | None = None) -> Evidence:
    """Run every source once and join what they say.

    Args:
        options: What to collect from; this machine where it is not given.

    Returns:
        Evidence of all cards, whatever was selected; without devices where no source has one.
    """
    options = options or CollectOptions()
    started = options.clock()
    readings, ended = _read_all(options)
    devices = join_devices(readings, ended, options.tree)
    live = evidence_class(options)
    if options.measure is not None and devices:
        measured = options.measure(devices, options.progress)
        readings.update(measured.readings)
        devices = join_devices(readings, ended, options.tree)
        if not measured.live:
            live = EvidenceClass.REPLAYED
    host = [claim for name in ORDER if name in readings for claim in readings[name].host]
    if live is EvidenceClass.LIVE:
        host = _timed(host, started)
        devices = tuple(
            DeviceEvidence(
                index=device.index, claims=ClaimSet(tuple(_timed(device.claims, started)))
            )
            for device in devices
        )
    return Evidence(
        evidence_class=live,
        origin=options.origin,
        tool=f"gpuverify {__version__}",
        collected_ms=_collected_ms(options, started),
        devices=devices,
        host=ClaimSet(tuple(host)),
    )


def _collected_ms(options: CollectOptions, started: int) -> int | None:
    """Return when the evidence was collected; the same replay gives the same evidence."""
    if options.replayed and options.clock is _wall_clock_ms:
        return None
    return started or None


def _timed(claims: Iterable[Claim], time_ms: int) -> list[Claim]:
    """Give the run's time to claims that carry none of their own."""
    return [
        claim if claim.time_ms is not None else replace(claim, time_ms=time_ms) for claim in claims
    ]


def _read_all(options: CollectOptions) -> tuple[dict[str, SourceReading], dict[str, bool]]:
    """Run the sources in their order and return what they gave and whether they ended well."""
    from gpuverify.sources.host import read_host
    from gpuverify.sources.nvidia_smi import run_nvidia_smi
    from gpuverify.sources.pci_config import read_pci_config
    from gpuverify.sources.procfs import read_procfs

    tree, commands, say = options.tree, options.commands, options.progress
    partial = SourceReading()
    smi_s = options.timeout_s("nvidia-smi")
    calls: dict[str, Callable[[], SourceReading]] = {
        "nvml": lambda: _nvml_reader(options)(say),
        "pci-config": lambda: read_pci_config(tree),
        "procfs": lambda: read_procfs(tree),
        "nvidia-smi": lambda: run_nvidia_smi(tree, commands, smi_s, say),
        "host": lambda: read_host(tree, commands, partial),
    }
    readings: dict[str, SourceReading] = {}
    ended: dict[str, bool] = {}
    # NVML goes before nvidia-smi and host: the cards are awake then, and the library is mapped.
    # Files of the kernel need neither.
    for group in (("nvml", "pci-config", "procfs"), ("nvidia-smi", "host")):
        watched = []
        for name in group:
            margin = _MARGIN_S if name == "nvidia-smi" else 0.0
            watched.append(Watched(name, calls[name], options.timeout_s(name) + margin))
        for source in watched:
            reading = _outcome(source, say)
            if source.name == "host" and source.result is None:
                # What it found until it hung or failed is worth having.
                reading.host = list(partial.host) + reading.host
                reading.devices = {key: list(found) for key, found in list(partial.devices.items())}
            readings[source.name] = reading
            ended[source.name] = _well(source.name, reading)
    return readings, ended


def _nvml_reader(options: CollectOptions) -> NvmlReader:
    """Return what reads NVML."""
    if options.nvml is not None:
        return options.nvml
    from gpuverify.sources.nvml import read_nvml

    challenge = options.challenge
    if challenge is None:
        return read_nvml

    def read_challenged(progress: Progress | None = None) -> SourceReading:
        return read_nvml(progress, nonce_for=lambda uuid: attestation_nonce(challenge, uuid))

    return read_challenged


def _outcome(source: Watched[SourceReading], say: Progress | None) -> SourceReading:
    """Wait for a source and return its reading, or one that says why there is none."""
    name = source.name
    if not source.wait(say):
        reason = f"no answer within {source.timeout_s:g} s; left behind"
        if say is not None:
            say(f"{name}: {reason}")
        return _dead(name, ClaimStatus.TIMED_OUT, reason)
    error = source.refusal
    if error is not None:
        status = status_of(error) if isinstance(error, OSError) else ClaimStatus.FAILED
        return _dead(name, status, f"{type(error).__name__}: {error}")
    reading = source.result or SourceReading()
    claim_id = f"source.{name}"
    if not any(claim.id == claim_id for claim in reading.host):
        reading.host.append(
            Claim(id=claim_id, status=ClaimStatus.OK, value="ok", source=_SOURCES[name])
        )
    return reading


def _dead(name: str, status: ClaimStatus, reason: str) -> SourceReading:
    """Return the reading of a source that gave nothing."""
    from gpuverify.codec.text import printable

    said = printable(reason, RAW_CHARS)
    claim_ids = (f"source.{name}", *(("nvml.session",) if name == "nvml" else ()))
    return SourceReading(
        host=[
            Claim(id=claim_id, status=status, source=_SOURCES[name], raw_text=said)
            for claim_id in claim_ids
        ]
    )


def _well(name: str, reading: SourceReading) -> bool:
    """Whether a source's own claim says that it ended well."""
    return any(claim.id == f"source.{name}" and claim.value == "ok" for claim in reading.host)
