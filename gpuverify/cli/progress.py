"""Progress on standard error: one moving line on a terminal, plain lines elsewhere.

A step is shown only once it has taken longer than a second, so that a quick check says nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

PATIENCE_S = 1.0
"""How long a step may take in silence."""


class Console:
    """Standard error, or what stands in for it: written to as long as somebody reads.

    Attributes:
        moving: Whether it is a terminal, on which lines may move.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, standard error where None.

        Args:
            stream: Where to write.
        """
        self._stream = stream if stream is not None else sys.stderr
        self.moving = self._stream is not None and self._stream.isatty()

    @property
    def open(self) -> bool:
        """Whether anything can still be written."""
        return self._stream is not None

    def close(self) -> None:
        """Write nothing more; the stream itself stays open."""
        self._stream = None

    def size(self) -> tuple[int, int]:
        """Return columns and rows of the terminal, 80 and 24 where it does not say."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno() if self._stream else -1)
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def write(self, text: str) -> None:
        """Write, as well as it can be done.

        Args:
            text: What to write; signs that the console does not know are replaced.
        """
        from gpuverify.render.style import for_console

        stream = self._stream
        if stream is None:
            return
        try:
            stream.write(for_console(text, stream.encoding))
            stream.flush()
        except (OSError, ValueError):
            self._stream = None


class Progress:
    """Shows the step that is under way; used as a context manager and called with each step."""

    def __init__(self, stream: TextIO | None = None, *, patience_s: float = PATIENCE_S) -> None:
        """Write to `stream`, standard error where None.

        Args:
            stream: Where to write.
            patience_s: How long a step may take in silence.
        """
        self._console = Console(stream)
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._shown = False
        self._begun = time.monotonic()

    def __enter__(self) -> Progress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        """Start; nothing is shown yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and clear the moving line."""
        with self._lock:
            self._cancel()
            if self._shown and self._console.moving:
                self._console.write("\r\x1b[K")
            self._console.close()

    def __call__(self, step: str) -> None:
        """Name the step that begins now; any thread may call.

        Args:
            step: A few words, e.g. "asking nvidia-smi".
        """
        with self._lock:
            self._cancel()
            if not self._console.open:
                return
            if self._shown and self._console.moving:  # the line is there already: keep it true
                self._show(step)
            timer = threading.Timer(self._patience_s, self._due, (step,))
            timer.daemon = True
            self._timer = timer
            timer.start()

    def clear(self) -> None:
        """Take the moving line away: somebody else writes now."""
        with self._lock:
            self._cancel()
            if self._shown and self._console.moving:
                self._console.write("\r\x1b[K")
            self._shown = False

    def _cancel(self) -> None:
        """Forget the step that waits to be shown."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, step: str) -> None:
        """Show a step that has taken too long."""
        with self._lock:
            if self._timer is not None and self._console.open:
                self._show(step)

    def _show(self, step: str) -> None:
        """Write the step."""
        from gpuverify.codec.text import printable

        self._shown = True
        if self._console.moving:
            self._console.write(f"\r\x1b[K{printable(step, 70)} …")
        else:
            elapsed = time.monotonic() - self._begun
            self._console.write(f"gpuverify: {printable(step, 200)} … ({elapsed:.0f} s)\n")
