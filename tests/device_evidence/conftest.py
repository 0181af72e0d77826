"""Makes the helper beside these tests importable, and names the folder of public samples."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of NVIDIA's public attestation samples; each such test has a twin on own chains."""
    folder = os.environ.get("GPUVERIFY_ATTESTATION", "")
    if not folder:
        pytest.skip("GPUVERIFY_ATTESTATION is not set")
    return Path(folder)
