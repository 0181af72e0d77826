"""The options of a measurement, and what is seen of it while it runs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.cli.progress import Progress as Steps
    from gpuverify.collect.measure import LiveMeasurer
    from gpuverify.measure.plan import MeasureRequest
    from gpuverify.measure.progress import Progress

Function = Callable[..., Any]

_LINE_S = 5.0
"""Where the error channel is no terminal, a card's line is written this often at most."""
_FRAME_S = 0.1

_OPTIONS = (
    click.option(
        "--measure",
        type=click.Choice(["none", "quick", "full"]),
        default=None,
        help="Write and read back all memory and load the chip; the policy says by default.",
    ),
    click.option(
        "--nonce",
        metavar="HEX",
        help="Key the test patterns with this, so that no answer can be prepared; else drawn.",
    ),
    click.option(
        "--measure-anyway",
        is_flag=True,
        help="Measure cards that others use too, which disturbs them.",
    ),
)


def measure_options(function: Function) -> Function:
    """Add the options of a measurement to a command.

    Args:
        function: The command's function.
    """
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user wants measured.

    Attributes:
        request: The request.
    """

    request: MeasureRequest

    @classmethod
    def of(cls, level: str, nonce: str | None, *, anyway: bool) -> Wanted | None:
        """Build it from the options.

        Args:
            level: none, quick or full.
            nonce: Hex digits, None to draw them.
            anyway: Whether cards that others use are measured too.

        Returns:
            What is wanted; None for nothing.

        Raises:
            UsageError: An option belongs to a measurement, and none is wanted.
        """
        if level == "none":
            if nonce is not None or anyway:
                option = "--nonce" if nonce is not None else "--measure-anyway"
                raise UsageError(f"{option} needs --measure quick or --measure full")
            return None
        from gpuverify.measure.plan import request

        return cls(request=request(level, nonce, anyway=anyway))

    def measurer(self, steps: Steps) -> LiveMeasurer:
        """Return what measures this machine's cards.

        Args:
            steps: The line of steps, which gives way to the display.
        """
        from gpuverify.collect.measure import LiveMeasurer

        return LiveMeasurer(self.request, MeasureDisplay(before=steps.clear))


class MeasureDisplay:
    """A line a card: moving on a terminal, written from time to time elsewhere."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        before: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is shown yet.

        Args:
            stream: Where to write, standard error where None.
            before: Called once before the first line.
            clock: Gives seconds.
        """
        self._stream = stream if stream is not None else sys.stderr
        self._moving = self._stream is not None and self._stream.isatty()
        self._before = before
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._written: dict[str, float] = {}
        self._height = 0
        self._drawn = 0.0

    def announce(self, lines: Sequence[str]) -> None:
        """Say what is about to happen.

        Args:
            lines: A sentence each.
        """
        with self._lock:
            if self._before is not None:
                self._before()
            for line in lines:
                self._write(f"gpuverify: {line}\n")

    def update(self, bus_id: str, progress: Progress) -> None:
        """Show how far a card is.

        Args:
            bus_id: The card.
            progress: How far.
        """
        parts = [progress.phase]
        if progress.total_bytes:
            done, total = progress.done_bytes / (1 << 30), progress.total_bytes / (1 << 30)
            parts.append(f"{done:.1f} of {total:.1f} GiB")
        if progress.rate_kb_s:
            parts.append(f"{progress.rate_kb_s / 1_000_000:.0f} GB/s")
        if progress.temperature_celsius is not None:
            parts.append(f"{progress.temperature_celsius} °C")
        with self._lock:
            self._put(bus_id, "  ".join(parts), last=False)

    def ended(self, bus_id: str, text: str) -> None:
        """Show how a card ended.

        Args:
            bus_id: The card.
            text: A few words.
        """
        with self._lock:
            self._put(bus_id, text, last=True)

    def close(self) -> None:
        """Leave the last state of the moving lines standing."""
        with self._lock:
            if self._moving and self._lines:
                self._draw()
            self._height = 0
            self._lines.clear()

    def _put(self, bus_id: str, text: str, *, last: bool) -> None:
        """Keep a line, and show it where it is due."""
        from gpuverify.codec.text import printable

        line = f"{bus_id}  {printable(text, 120)}"
        now = self._clock()
        if self._moving:
            self._lines[bus_id] = line
            if last or now - self._drawn >= _FRAME_S:
                self._drawn = now
                self._draw()
            return
        begun = self._written.setdefault(bus_id, now)
        if last or now - begun >= _LINE_S:
            self._written[bus_id] = now
            self._write(f"gpuverify: {line}\n")

    def _draw(self) -> None:
        """Draw all lines over those of before."""
        up = f"\x1b[{self._height}A" if self._height else ""
        self._write(up + "".join(f"\r\x1b[K{line}\n" for _, line in sorted(self._lines.items())))
        self._height = len(self._lines)

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
