"""Progress on standard error: one moving line on a terminal, plain lines elsewhere.

A step is shown only once it has taken longer than a second, so that a quick check says nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

PATIENCE_S = 1.0
"""How long a step may take in silence."""


class Progress:
    """Shows the step that is under way; used as a context manager and called with each step."""

    def __init__(self, stream: TextIO | None = None, *, patience_s: float = PATIENCE_S) -> None:
        """Write to `stream`, standard error where None.

        Args:
            stream: Where to write.
            patience_s: How long a step may take in silence.
        """
        self._stream = stream if stream is not None else sys.stderr
        self._patience_s = patience_s
        self._moving = self._stream is not None and self._stream.isatty()
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
            if self._shown and self._moving:
                self._write("\r\x1b[K")
            self._stream = None

    def __call__(self, step: str) -> None:
        """Name the step that begins now; any thread may call.

        Args:
            step: A few words, e.g. "asking nvidia-smi".
        """
        with self._lock:
            self._cancel()
            if self._stream is None:
                return
            if self._shown and self._moving:  # the line is there already: keep it true
                self._show(step)
            timer = threading.Timer(self._patience_s, self._due, (step,))
            timer.daemon = True
            self._timer = timer
            timer.start()

    def clear(self) -> None:
        """Take the moving line away: somebody else writes now."""
        with self._lock:
            self._cancel()
            if self._shown and self._moving:
                self._write("\r\x1b[K")
            self._shown = False

    def _cancel(self) -> None:
        """Forget the step that waits to be shown."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, step: str) -> None:
        """Show a step that has taken too long."""
        with self._lock:
            if self._timer is not None and self._stream is not None:
                self._show(step)

    def _show(self, step: str) -> None:
        """Write the step."""
        from gpuverify.codec.text import printable

        self._shown = True
        if self._moving:
            self._write(f"\r\x1b[K{printable(step, 70)} …")
        else:
            elapsed = time.monotonic() - self._begun
            self._write(f"gpuverify: {printable(step, 200)} … ({elapsed:.0f} s)\n")

    def _write(self, text: str) -> None:
        """Write, as well as it can be done."""
        from gpuverify.render.style import for_console

        stream = self._stream
        if stream is None:
            return
        try:
            stream.write(for_console(text, stream.encoding))
            stream.flush()
        except (OSError, ValueError):
            self._stream = None
