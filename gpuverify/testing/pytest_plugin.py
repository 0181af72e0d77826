"""The pytest plugin: one line puts a recorded machine under `pynvml`.

It is loaded in every pytest run of an environment in which gpuverify is installed, so everything
beyond registering the marker is imported when the fixture is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gpuverify.sources.recording import Recording
    from gpuverify.sources.recording_nvml import ReplayedNvml

_MARKER = (
    "nvml_case(case, *, fail=None, missing=(), branch=None): "
    "let pynvml answer from a case of gpuverify"
)


class NvmlCase:
    """What the fixture `nvml_case` gives: call it with a case to have it under `pynvml`.

    Attributes:
        library: The library object in place, None before a case was chosen.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Put cases in place until `stack` is closed."""
        self.library: ReplayedNvml | None = None
        self._stack = stack

    def __call__(
        self,
        case: str | Recording,
        *,
        fail: Mapping[str, int] | None = None,
        missing: Iterable[str] = (),
        branch: int | None = None,
    ) -> ReplayedNvml:
        """Put a case under `pynvml`, in place of an earlier one.

        Args:
            case: Name of a bundled case, path of a folder, or a recording.
            fail: NVML return codes to force, see `gpuverify.testing.replayed_nvml`.
            missing: C symbols to be without.
            branch: Be without everything that came later than this driver branch.
        """
        from gpuverify.testing import replayed_nvml

        self._stack.close()
        self.library = self._stack.enter_context(
            replayed_nvml(case, fail=fail, missing=missing, branch=branch)
        )
        return self.library


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def nvml_case(request: pytest.FixtureRequest) -> Iterator[NvmlCase]:
    """Give a recorded machine to code that uses `pynvml`.

    With `@pytest.mark.nvml_case("ga100/a100-sxm4-80gb")` the case is in place when the test
    starts; without the marker the test calls the fixture with a case.
    """
    with contextlib.ExitStack() as stack:
        chosen = NvmlCase(stack)
        marker = request.node.get_closest_marker("nvml_case")
        if marker is not None:
            chosen(*marker.args, **marker.kwargs)
        yield chosen
