"""Fixtures and gates that every area shares."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dev", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci",
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

NO_CORPUS = "GPUVERIFY_CORPUS is not set"
NO_SAMPLES = "GPUVERIFY_ATTESTATION is not set"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of other people's read-outs; tests that need it have a twin on our own fixtures."""
    folder = os.environ.get("GPUVERIFY_CORPUS", "")
    if not folder:
        pytest.skip(NO_CORPUS)
    return Path(folder)


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of NVIDIA's public attestation samples; each such test has a twin on own chains."""
    folder = os.environ.get("GPUVERIFY_ATTESTATION", "")
    if not folder:
        pytest.skip(NO_SAMPLES)
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip of a required test into a failure where the build says so.

    Other people's read-outs are not in the repository: a machine without them is no fault.
    """
    report = yield
    if (
        report.skipped
        and not any(why in str(report.longrepr) for why in (NO_CORPUS, NO_SAMPLES))
        and os.environ.get("GPUVERIFY_NO_SKIP") == "1"
        and item.get_closest_marker("required") is not None
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is required and was skipped"
    return report
