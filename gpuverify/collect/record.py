"""Recording a machine: every raw call with its return code, redacted, as a new fixture."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gpuverify import __version__
from gpuverify.collect.measure import Measured, Measurer
from gpuverify.collect.run import CollectOptions, collect
from gpuverify.errors import OutputError, SourceError
from gpuverify.model.evidence import DeviceEvidence
from gpuverify.sources.commands import CommandRunner, SystemCommands
from gpuverify.sources.host_tree import HostTree, MachineTree
from gpuverify.sources.reading import SourceReading
from gpuverify.sources.recording import NvmlCall, Origin, Recording, dump_recording
from gpuverify.sources.recording_host import RecordingCommands, RecordingTree
from gpuverify.sources.recording_measured import rows_of
from gpuverify.sources.recording_nvml import load_library, swapped_library
from gpuverify.sources.recording_proxy import RecordingNvml

Progress = Callable[[str], None]

_LIBRARY_NOT_FOUND = 12


class _Kept:
    """Measures, and keeps what came of it for the recording."""

    def __init__(self, measure: Measurer) -> None:
        self._measure = measure
        self.readings: Mapping[str, SourceReading] = {}

    def __call__(self, devices: tuple[DeviceEvidence, ...], progress: Progress | None) -> Measured:
        measured = self._measure(devices, progress)
        self.readings = measured.readings
        return measured


def record_machine(
    *,
    text: str = "",
    licence: str = "",
    redact: bool = True,
    tree: HostTree | None = None,
    commands: CommandRunner | None = None,
    library: object | None = None,
    host_name: str | None = None,
    progress: Progress | None = None,
    measure: Measurer | None = None,
) -> Recording:
    """Run all sources once over proxies and return what was asked and answered.

    Args:
        text: What the recording is of, for people.
        licence: Under what terms it may be passed on.
        redact: Whether identities become pseudonyms; leave it on for anything that is passed on.
        tree: Files; the machine's own where it is not given.
        commands: Programs; the machine's own where they are not given.
        library: A loaded NVML library; the machine's own where it is not given.
        host_name: Name to redact; the machine's own where it is not given.
        progress: Called with a line where something takes more than a second.
        measure: Measures the cards; None to measure nothing.

    Raises:
        SourceError: No source yields a device.
    """
    files = RecordingTree(tree or MachineTree())
    programs = RecordingCommands(commands or SystemCommands())
    real = load_library() if library is None else library
    proxy = RecordingNvml(real) if real is not None else None

    def read_recorded(progress: Progress | None = None) -> SourceReading:
        from gpuverify.sources.nvml import read_nvml

        with swapped_library(proxy) if proxy is not None else contextlib.nullcontext():
            return read_nvml(progress)

    kept = None if measure is None else _Kept(measure)
    evidence = collect(
        CollectOptions(
            tree=files,
            commands=programs,
            nvml=read_recorded,
            replayed=True,
            progress=progress,
            measure=kept,
        )
    )
    if not evidence.devices:
        raise SourceError("nothing to record: no source yields an NVIDIA device on this machine")
    absent = NvmlCall(symbol="nvmlInitWithFlags", arguments=(0,), returns=_LIBRARY_NOT_FOUND)
    recording = Recording(
        origin=Origin(kind="real", text=text, licence=licence),
        tool=f"gpuverify {__version__}",
        recorded_ms=time.time_ns() // 1_000_000,
        unlisted="error",
        calls=(absent,) if proxy is None else tuple(proxy.calls),
        missing=() if proxy is None else tuple(sorted(proxy.missing)),
        nvidia_smi=programs.nvidia_smi,
        files=dict(sorted(files.files.items())),
        commands=tuple(programs.commands),
        measured=() if kept is None else rows_of(kept.readings),
    )
    if not redact:
        return recording
    from gpuverify.sources.recording_redact import redacted

    return redacted(recording, host_name=socket.gethostname() if host_name is None else host_name)


def _new_folder(out_dir: str | Path) -> Path:
    """Return the folder to make, which must not exist yet."""
    folder = Path(out_dir)
    try:
        taken = folder.exists() or folder.is_symlink()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OutputError(f"{folder}: {reason}") from error
    if taken:
        raise OutputError(f"{folder}: exists already; name a new folder")
    return folder


def write_case(recording: Recording, out_dir: str | Path) -> Path:
    """Write a recording as a new case folder, whole or not at all.

    Args:
        recording: The recording.
        out_dir: Folder to make; it must not exist yet.

    Returns:
        The file written.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    folder = _new_folder(out_dir)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".gpuverify-", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror}") from error
    try:
        with (draft / "recording.json").open("xb") as file:
            file.write(dump_recording(recording))
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o755)
        # A folder that appeared meanwhile makes this fail, unless it is empty.
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise OutputError(f"{folder}: {error.strerror}") from error
    return folder / "recording.json"


def record_case(
    out_dir: str | Path,
    *,
    redact: bool = True,
    text: str = "",
    licence: str = "",
    progress: Progress | None = None,
) -> Path:
    """Record this machine as a new case folder.

    Args:
        out_dir: Folder to make; it must not exist yet.
        redact: Whether identities become pseudonyms.
        text: What the recording is of, for people.
        licence: Under what terms it may be passed on.
        progress: Called with a line where something takes more than a second.

    Returns:
        The file written.

    Raises:
        OutputError: The folder exists, or cannot be written.
        SourceError: No source yields a device.
    """
    folder = _new_folder(out_dir)  # said before the cards are asked, which can take a minute
    recording = record_machine(text=text, licence=licence, redact=redact, progress=progress)
    return write_case(recording, folder)
