"""Progress is silent for what is quick, moves on a terminal, and is plain elsewhere."""

from __future__ import annotations

import io
import time

from gpuverify.cli.progress import Progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Console(io.StringIO):
    encoding = "ascii"


def wait_for(stream: io.StringIO, text: str) -> None:
    until = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < until:
        time.sleep(0.005)
    assert text in stream.getvalue()


def test_quick_steps_say_nothing() -> None:
    stream = Console()
    with Progress(stream) as progress:
        progress("asking NVML")
        progress("asking the kernel")
    assert stream.getvalue() == ""


def test_slow_steps_are_plain_lines_in_a_file() -> None:
    stream = Console()
    with Progress(stream, patience_s=0.01) as progress:
        progress("asking NVML")
        wait_for(stream, "asking NVML")
        progress("asking nvidia-smi \x1b[2J")
        wait_for(stream, "nvidia-smi")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "gpuverify: asking NVML ... (0 s)",
        "gpuverify: asking nvidia-smi \\x1b[2J ... (0 s)",
    ]


def test_a_terminal_has_one_moving_line_that_goes_away() -> None:
    stream = Terminal()
    with Progress(stream, patience_s=0.01) as progress:
        progress("first")
        wait_for(stream, "first")
        progress("second")  # at once, for the line is there already
        assert "second" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_nothing_is_written_after_the_end() -> None:
    stream = Console()
    with Progress(stream, patience_s=0.02) as progress:
        progress("late")
    progress("later")
    time.sleep(0.06)
    assert stream.getvalue() == ""


def test_a_stream_that_fails_is_left_alone() -> None:
    stream = Console()
    with Progress(stream, patience_s=0.005) as progress:
        stream.close()
        progress("x")
        time.sleep(0.03)
        progress("y")
