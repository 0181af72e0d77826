"""`check --measure`: defaults, replays, exit codes, and what is shown while it runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from gpuverify.cli.measuring import MeasureDisplay, Wanted, described
from gpuverify.errors import UsageError
from gpuverify.measure.progress import Progress

Run = Callable[..., Any]
BUS = "00000000:07:00.0"
CLAIM = ("--claim", "a100-sxm4-80gb")


def step(phase: str, done: int = 0, total: int = 0, rate: int = 0, heat: int | None = None) -> Any:
    return Progress(
        phase=phase,
        done_bytes=done,
        total_bytes=total,
        rate_kb_s=rate,
        temperature_celsius=heat,
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_measuring_decides_a_replay(run: Run) -> None:
    case = ("check", "--replay", "ga100/a100-patched-to-80gb", *CLAIM)
    none = run(*case, "--measure", "none", "--json")
    quick = run(*case, "--measure", "quick", "--json")
    assert (none.returncode, json.loads(none.stdout)["would_be"]) == (3, "consistent")
    assert (quick.returncode, json.loads(quick.stdout)["would_be"]) == (2, "mismatch")
    found = json.loads(quick.stdout)["devices"][0]["findings"]
    folded = next(f for f in found if f["rule"] == "capacity.measured")
    assert (folded["code"], folded["basis"]) == ("folded", "measured")
    assert "40 GiB" in folded["message"]


def test_intake_measures_unless_told_otherwise(run: Run) -> None:
    case = ("check", "--replay", "ga100/a100-sxm4-80gb-measured", *CLAIM, "--policy", "intake")
    default = json.loads(run(*case, "--json").stdout)
    turned_off = json.loads(run(*case, "--measure", "none", "--json").stdout)
    assert default["would_be"] == "consistent"
    assert default["devices"][0]["capacity_basis"] == "measured"
    assert turned_off["would_be"] is None
    assert turned_off["verdict"] == "unverified"


def test_standard_measures_nothing_by_itself(run: Run) -> None:
    done = run("check", "--replay", "ga100/a100-patched-to-80gb", *CLAIM, "--json")
    assert json.loads(done.stdout)["devices"][0]["capacity_basis"] != "measured"


def test_options_of_a_measurement_need_one() -> None:
    assert Wanted.of("none", None, anyway=False) is None
    with pytest.raises(UsageError, match="--nonce needs"):
        Wanted.of("none", "0a1b2c3d4e5f6071", anyway=False)
    with pytest.raises(UsageError, match="--measure-anyway needs"):
        Wanted.of("none", None, anyway=True)
    wanted = Wanted.of("full", "0a1b2c3d4e5f6071", anyway=True)
    assert wanted is not None
    assert wanted.request.plan.level == "full"
    assert wanted.request.anyway


def test_a_terminal_shows_a_moving_line_a_card() -> None:
    stream = Terminal()
    now = [0.0]
    display = MeasureDisplay(stream, clock=lambda: now[0])
    display.announce(["measuring 2 cards at once (quick): about 9 s after allocation"])
    now[0] = 1.0
    display.update(BUS, step("write-a", 3 << 30, 80 << 30, 1_771_000_000, 57))
    now[0] = 2.0
    display.update("00000000:0B:00.0", step("allocate"))
    display.ended(BUS, "done")
    display.close()
    text = stream.getvalue()
    assert "gpuverify: measuring 2 cards" in text
    assert f"{BUS}  writing 1/2   [..........]    3.0/80.0 GiB  1771 GB/s  57 °C" in text
    assert "\x1b[2A" in text
    assert f"{BUS}  done" in text


def test_moving_lines_are_not_drawn_for_every_step() -> None:
    stream = Terminal()
    display = MeasureDisplay(stream, clock=lambda: 50.0)
    for done in range(100):
        display.update(BUS, step("write-a", done << 30, 100 << 30))
    assert stream.getvalue().count(BUS) == 1


def test_lines_fit_the_terminal_and_what_is_done_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpuverify.cli.progress.Console.size", lambda console: (40, 5))
    stream = Terminal()
    now = [0.0]
    display = MeasureDisplay(stream, clock=lambda: now[0])
    buses = [f"00000000:{number:02X}:00.0" for number in range(1, 9)]
    for bus in buses:
        now[0] += 1
        display.update(bus, step("write-a", 3 << 30, 80 << 30, 1_771_000_000, 57))
    display.ended(buses[0], "done")
    frame = stream.getvalue().rpartition("\x1b[4A")[2]
    lines = frame.replace("\x1b[K", "").replace("\x1b[J", "").strip().splitlines()
    assert len(lines) == 4
    assert all(len(line) < 40 for line in lines)
    assert lines[-1] == "and 5 more; 1 of 8 done"
    assert buses[0] not in frame
    display.close()
    last = stream.getvalue()
    assert all(bus in last.rpartition("\x1b[4A")[2] for bus in buses)


def test_a_load_is_told_in_seconds_and_nothing_wraps_at_80_columns() -> None:
    stream = Terminal()
    display = MeasureDisplay(stream)
    display.update(BUS, step("load", 2500, 6000, heat=71))
    assert f"{BUS}  load          [####......]    2.5/6.0 s  71 °C" in stream.getvalue()
    text = described(step("check-a", 141 << 30, 141 << 30, 4_800_000_000, 87))
    assert len(f"{BUS}  {text}") < 80


def test_elsewhere_a_line_is_written_from_time_to_time() -> None:
    stream = io.StringIO()
    now = [100.0]
    display = MeasureDisplay(stream, clock=lambda: now[0])
    for second in range(13):
        now[0] = 100.0 + second
        display.update(BUS, step("check-b", second << 30, 80 << 30))
    display.ended(BUS, "stopped at 91 °C")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "\x1b" not in stream.getvalue()
    assert lines[-1] == f"gpuverify: {BUS}  stopped at 91 °C (12 s)"


def test_the_line_of_steps_gives_way_once() -> None:
    called: list[bool] = []
    display = MeasureDisplay(io.StringIO(), before=lambda: called.append(True))
    display.announce(["one"])
    assert called == [True]


def test_a_closed_stream_stops_the_display_and_nothing_else() -> None:
    stream = io.StringIO()
    display = MeasureDisplay(stream)
    stream.close()
    display.announce(["nobody reads this"])
    display.ended(BUS, "done")
    display.close()


def test_text_of_a_library_cannot_move_the_cursor() -> None:
    stream = Terminal()
    MeasureDisplay(stream).ended(BUS, "died: \x1b[2J\u202e")
    assert "\x1b[2J" not in stream.getvalue()


def test_a_selftest_needs_a_card(run: Run) -> None:
    done = run("selftest", "--gpu", "GPU-00000000-1111-2222-3333-444444444444")
    assert done.returncode in (64, 69)
    assert "Traceback" not in done.stderr
