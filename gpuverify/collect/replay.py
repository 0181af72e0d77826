"""Collecting from a recording instead of from the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpuverify.collect.measure import Measurer, ReplayedMeasurer
from gpuverify.collect.run import CollectOptions, collect
from gpuverify.model.evidence import Evidence
from gpuverify.sources.cases import load_case
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording import Recording
from gpuverify.sources.recording_host import ReplayedCommands, ReplayedTree, raise_unknown
from gpuverify.sources.recording_measured import readings_of
from gpuverify.sources.recording_nvml import ReplayedNvml, swapped_library

Progress = Callable[[str], None]


def replay_recording(
    recording: Recording,
    *,
    origin: str,
    progress: Progress | None = None,
    fail: Mapping[str, int] | None = None,
    missing: tuple[str, ...] = (),
    measure: Measurer | None = None,
) -> Evidence:
    """Run the sources, unchanged, over a recording.

    Args:
        recording: What to ask.
        origin: Name of it, for people.
        progress: Called with a line where something takes more than a second.
        fail: NVML return codes to force, see `ReplayedNvml`.
        missing: NVML symbols to be without.
        measure: Plays back or makes the measurement; None for none.

    Returns:
        Evidence of class REPLAYED.

    Raises:
        RecordingError: The recording was asked for something that it does not hold.
    """
    # A replay has no time of its own: the same recording gives the same evidence.
    recorded_ms = recording.recorded_ms or 0
    tree, commands = ReplayedTree(recording), ReplayedCommands(recording)
    library = ReplayedNvml(recording, fail=fail, missing=missing, raise_unknown=False)

    def read_replayed(progress: Progress | None = None) -> SourceReading:
        from gpuverify.sources.nvml import read_nvml

        with swapped_library(library):
            return read_nvml(progress, clock=lambda: recorded_ms)

    evidence = collect(
        CollectOptions(
            tree=tree,
            commands=commands,
            nvml=read_replayed,
            replayed=True,
            origin=origin,
            progress=progress,
            measure=measure,
            clock=lambda: recorded_ms,
        )
    )
    raise_unknown(tree, commands, nvml=library.unknown)
    return evidence


def recorded_measurement(recording: Recording) -> Measurer | None:
    """Return what plays back the measured part of a recording, None where nothing was measured.

    Args:
        recording: The recording.
    """
    return ReplayedMeasurer(readings_of(recording.measured)) if recording.measured else None


def replay_case(
    name_or_path: str, progress: Progress | None = None, *, measured: bool = False
) -> Evidence:
    """Run the sources, unchanged, over a case.

    Args:
        name_or_path: A case's name ("ga100/a100-40gb-sold-as-80gb") or the path of its folder.
        progress: Called with a line where something takes more than a second.
        measured: Whether what was measured is played back too.

    Returns:
        Evidence of class REPLAYED.

    Raises:
        MissingInputError: There is no such case.
        FormatError: The case is malformed, or its recording does not hold what was asked.
    """
    case = load_case(name_or_path)
    return replay_recording(
        case.recording,
        origin=f"recording {case.name}",
        progress=progress,
        measure=recorded_measurement(case.recording) if measured else None,
    )
