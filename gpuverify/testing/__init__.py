"""NVML without a GPU, for everybody's CI.

`replayed_nvml` puts a recorded machine under the real, unmodified nvidia-ml-py for the time of a
`with` block; `SyntheticCard` and `synthetic_recording` make machines from a description; the pytest
plugin offers both as the fixture `nvml_case`. See docs/testing-without-a-gpu.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuverify.sources.recording import Recording, RecordingError
    from gpuverify.testing.cards import MigProfile, SyntheticCard
    from gpuverify.testing.host_files import SyntheticHost
    from gpuverify.testing.library import replayed_nvml
    from gpuverify.testing.machine import synthetic_recording

__all__ = [
    "MigProfile",
    "Recording",
    "RecordingError",
    "SyntheticCard",
    "SyntheticHost",
    "replayed_nvml",
    "synthetic_recording",
]

_PLACES = {
    "MigProfile": "gpuverify.testing.cards",
    "Recording": "gpuverify.sources.recording",
    "RecordingError": "gpuverify.sources.recording",
    "SyntheticCard": "gpuverify.testing.cards",
    "SyntheticHost": "gpuverify.testing.host_files",
    "replayed_nvml": "gpuverify.testing.library",
    "synthetic_recording": "gpuverify.testing.machine",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: the plugin beside it is loaded in every pytest run."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(place), name)
