"""NVML without a GPU, for everybody's CI.

`replayed_nvml` puts a recorded machine under the real, unmodified nvidia-ml-py for the time of a
`with` block; `SyntheticCard` and `synthetic_recording` make machines from a description; the pytest
plugin offers both as the fixture `nvml_case`. See docs/testing-without-a-gpu.md.
"""

from __future__ import annotations

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
