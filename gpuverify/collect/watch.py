"""Running sources in threads that are left behind when they hang.

A read of a lost GPU can block in the driver for ever, where no signal reaches it. Such a thread
is a daemon: the process ends without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from gpuverify.errors import GpuverifyError

T = TypeVar("T")

Progress = Callable[[str], None]

_FIRST_BEAT_S = 1.0
_BEAT_S = 3.0

EXPECTED = (GpuverifyError, OSError, ValueError)
"""What a source may raise about its input. Anything else is a fault of ours and goes on."""


class _Carrier:
    """Takes an exception out of a thread, so that the thread that waits can judge it."""

    def __init__(self) -> None:
        """Carry nothing yet."""
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keep what was raised."""
        self.error = error
        return True


class Watched(Generic[T]):
    """One call in a daemon thread with a deadline."""

    def __init__(self, name: str, call: Callable[[], T], timeout_s: float) -> None:
        """Start the call.

        Args:
            name: Name of the source, for messages.
            call: What to run.
            timeout_s: Seconds until it is left behind.
        """
        self.name = name
        self.timeout_s = timeout_s
        self._call = call
        self._results: list[T] = []
        self._carrier = _Carrier()
        self._done = threading.Event()
        self._started = time.monotonic()
        threading.Thread(target=self._run, name=f"gpuverify-{name}", daemon=True).start()

    def _run(self) -> None:
        """Run the call in the thread."""
        with self._carrier:
            self._results.append(self._call())
        self._done.set()

    def wait(self, progress: Progress | None = None) -> bool:
        """Wait until the call ends or its time is over.

        Args:
            progress: Called with a line from time to time while the wait is longer than a second.

        Returns:
            Whether it ended. One that did not is left behind.
        """
        deadline = self._started + self.timeout_s
        beat = self._started + _FIRST_BEAT_S
        while True:
            now = time.monotonic()
            if self._done.wait(max(0.0, min(deadline, beat) - now)):
                return True
            now = time.monotonic()
            if now >= deadline:
                return self._done.is_set()
            if now >= beat:
                beat = now + _BEAT_S
                if progress is not None:
                    waited = now - self._started
                    progress(f"{self.name}: still waiting ({waited:.0f} s)")

    @property
    def refusal(self) -> Exception | None:
        """What the call raised about its input, None if nothing.

        Raises:
            BaseException: The call raised something else, which is a fault of ours.
        """
        error = self._carrier.error
        if error is None or isinstance(error, EXPECTED):
            return error
        raise error

    @property
    def result(self) -> T | None:
        """What the call returned; None while it runs and where it raised."""
        return self._results[0] if self._results else None
