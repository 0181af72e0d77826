"""Collecting from a recording instead of from the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpuverify.collect.run import CollectOptions, collect
from gpuverify.model.evidence import Evidence
from gpuverify.sources.cases import load_case
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording import Recording
from gpuverify.sources.recording_host import ReplayedCommands, ReplayedTree, raise_unknown
from gpuverify.sources.recording_nvml import ReplayedNvml, swapped_library

Progress = Callable[[str], None]


def replay_recording(
    recording: Recording,
    *,
    origin: str,
    progress: Progress | None = None,
    fail: Mapping[str, int] | None = None,
    missing: tuple[str, ...] = (),
) -> Evidence:
    """Run the sources, unchanged, over a recording.

    Args:
        recording: What to ask.
        origin: Name of it, for people.
        progress: Called with a line where something takes more than a second.
        fail: NVML return codes to force, see `ReplayedNvml`.
        missing: NVML symbols to be without.

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
            clock=lambda: recorded_ms,
        )
    )
    raise_unknown(tree, commands, nvml=library.unknown)
    return evidence


def replay_case(name_or_path: str, progress: Progress | None = None) -> Evidence:
    """Run the sources, unchanged, over a case.

    Args:
        name_or_path: A case's name ("ga100/a100-40gb-sold-as-80gb") or the path of its folder.
        progress: Called with a line where something takes more than a second.

    Returns:
        Evidence of class REPLAYED.

    Raises:
        MissingInputError: There is no such case.
        FormatError: The case is malformed, or its recording does not hold what was asked.
    """
    case = load_case(name_or_path)
    return replay_recording(case.recording, origin=f"recording {case.name}", progress=progress)
