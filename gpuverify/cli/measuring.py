"""The options of a measurement, and what is seen of it while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpuverify.cli.progress import Console
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


_PHASES = {
    "prepare": "compiling",
    "allocate": "allocating",
    "write-a": "writing 1/2",
    "dwell-a": "holding 1/2",
    "check-a": "checking 1/2",
    "write-b": "writing 2/2",
    "dwell-b": "holding 2/2",
    "check-b": "checking 2/2",
    "digest": "digesting",
    "digest-cpu": "recomputing",
    "pages": "reading back",
    "mix": "mixing",
    "mix-cpu": "recomputing",
    "diagnose": "diagnosing",
}
"""What the phases of the capacity proof are to people; the others bear names of their own."""

_BAR = 10
_GIB = 1 << 30


def described(progress: Progress) -> str:
    """Return how far a card is, in columns that stay where they are.

    Args:
        progress: How far.
    """
    done, total = progress.done_bytes, progress.total_bytes
    parts = [f"{_PHASES.get(progress.phase, progress.phase):<12}"]
    if total:
        filled = _BAR * min(done, total) // total
        parts.append(f"[{'#' * filled}{'.' * (_BAR - filled)}]")
    if progress.phase == "load":  # it goes on for a time, told in milliseconds
        parts.append(f"{done / 1000:5.1f}/{total / 1000:.1f} s")
    elif total:
        parts.append(f"{done / _GIB:5.1f}/{total / _GIB:.1f} GiB")
    if progress.rate_kb_s:
        parts.append(f"{progress.rate_kb_s / 1_000_000:4.0f} GB/s")
    if progress.temperature_celsius is not None:
        parts.append(f"{progress.temperature_celsius} °C")
    return "  ".join(parts).rstrip()


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
        self._console = Console(stream)
        self._before = before
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._done: set[str] = set()
        self._begun: dict[str, float] = {}
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
                self._console.write(f"gpuverify: {line}\n")

    def update(self, bus_id: str, progress: Progress) -> None:
        """Show how far a card is.

        Args:
            bus_id: The card.
            progress: How far.
        """
        with self._lock:
            self._done.discard(bus_id)  # a finding is repeated, copies come last
            self._put(bus_id, described(progress), last=False)

    def ended(self, bus_id: str, text: str) -> None:
        """Show how a card ended.

        Args:
            bus_id: The card.
            text: A few words.
        """
        with self._lock:
            self._done.add(bus_id)
            took = self._clock() - self._begun.get(bus_id, self._clock())
            self._put(bus_id, f"{text} ({took:.0f} s)", last=True)

    def close(self) -> None:
        """Leave the last state of the moving lines standing."""
        with self._lock:
            if self._console.moving and self._lines:
                self._draw(everything=True)
            self._height = 0
            self._lines.clear()

    def _put(self, bus_id: str, text: str, *, last: bool) -> None:
        """Keep a line, and show it where it is due."""
        from gpuverify.codec.text import printable

        line = f"{bus_id}  {printable(text, 200)}"
        now = self._clock()
        self._begun.setdefault(bus_id, now)
        if self._console.moving:
            self._lines[bus_id] = line
            if last or now - self._drawn >= _FRAME_S:
                self._drawn = now
                self._draw()
            return
        begun = self._written.setdefault(bus_id, now)
        if last or now - begun >= _LINE_S:
            self._written[bus_id] = now
            self._console.write(f"gpuverify: {line}\n")

    def _draw(self, *, everything: bool = False) -> None:
        """Draw all lines over those of before.

        A line that wraps, or more lines than the terminal has rows, would make the cursor miss
        the place where they began: lines are cut, and cards that are done make room for others.
        """
        columns, rows = self._console.size()
        shown = sorted(self._lines)
        hidden = 0 if everything else max(0, len(shown) - max(1, rows - 2))
        if hidden:
            first = sorted(shown, key=lambda bus_id: bus_id in self._done)
            shown = sorted(first[: len(shown) - hidden])
        lines = [self._lines[bus_id] for bus_id in shown]
        if hidden:
            lines.append(f"and {hidden} more; {len(self._done)} of {len(self._lines)} done")
        if not everything:
            lines = [line if len(line) < columns else line[: columns - 1] for line in lines]
        up = f"\x1b[{self._height}A" if self._height else ""
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        self._console.write(f"{up}\r{body}\x1b[J")
        self._height = len(lines)
