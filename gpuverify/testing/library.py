"""The context manager that puts a recorded machine under the binding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from gpuverify.sources.recording import Recording
from gpuverify.sources.recording_nvml import ReplayedNvml, swapped_library
from gpuverify.testing.nvml_calls import SINCE


def symbols_after(branch: int) -> frozenset[str]:
    """Return the NVML symbols that came later than a driver branch.

    Args:
        branch: Driver branch, e.g. 535.
    """
    return frozenset(symbol for symbol, since in SINCE.items() if since > branch)


@contextlib.contextmanager
def replayed_nvml(
    case: str | Recording,
    *,
    fail: Mapping[str, int] | None = None,
    missing: Iterable[str] = (),
    branch: int | None = None,
) -> Iterator[ReplayedNvml]:
    """Let `pynvml` answer from a case for the time of a `with` block.

    The functions of `pynvml` are the real ones; only the library below them is replaced. Blocks
    may be nested or follow each other. `nvmlInit` has to be called inside the block, as always.

    Args:
        case: Name of a bundled case ("ga100/a100-sxm4-80gb"), path of a case's folder, or a
            recording.
        fail: Return codes to force: by symbol ("nvmlDeviceGetSerial"), by symbol and card
            ("nvmlDeviceGetSerial(gpu[1])"), or by card ("gpu[1]": every call about it).
        missing: C symbols to be without ("Function Not Found").
        branch: Be without everything that came later than this driver branch, e.g. 535.

    Yields:
        The library object.
    """
    from gpuverify.sources.cases import load_case

    recording = load_case(case).recording if isinstance(case, str) else case
    gone = {*missing, *(symbols_after(branch) if branch is not None else ())}
    library = ReplayedNvml(recording, fail=fail, missing=gone)
    with swapped_library(library):
        yield library
