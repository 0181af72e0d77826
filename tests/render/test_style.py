"""Colour, width and the ASCII fallback."""

from __future__ import annotations

import io

import pytest

from gpuverify.render.style import Style, for_console, style_for, visible_length


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_that_wants_it() -> None:
    assert style_for(Terminal(), {"TERM": "xterm"}).colour
    assert not style_for(io.StringIO(), {"TERM": "xterm"}).colour
    assert not style_for(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}).colour
    assert style_for(Terminal(), {"TERM": "xterm", "NO_COLOR": ""}).colour
    assert not style_for(Terminal(), {"TERM": "dumb"}).colour
    assert not style_for(Terminal(), {}).colour
    assert not style_for(None, {"TERM": "xterm"}).colour


def test_what_lands_in_a_file_does_not_depend_on_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    assert style_for(io.StringIO(), {"TERM": "xterm"}).width == 80
    assert style_for(Terminal(), {"TERM": "xterm"}).width == 76
    monkeypatch.setenv("COLUMNS", "300")
    assert style_for(Terminal(), {"TERM": "xterm"}).width == 110


def test_ascii_for_every_console_without_utf_8() -> None:
    text = "8 \u00d7 \u2026 \u2265 90 \u00b0C \u00b7 \u201cx\u201d \u2013 \u78c1"
    assert for_console(text, "utf-8") == text
    assert for_console(text, "UTF8") == text
    assert for_console(text, None) == text
    for encoding in ("gbk", "ascii", "cp1252", "no-such-encoding"):
        assert for_console(text, encoding) == '8 x ... >= 90  deg C - "x" - \\u78c1'


def test_lone_surrogates_are_written_out() -> None:
    assert for_console("a\udcffb", "utf-8") == "a\\udcffb"


def test_wrapping_counts_what_is_seen() -> None:
    style = Style(colour=True, width=60)
    red = style.paint("contradicts", "bad")
    lines = style.wrap(f"{red}: " + "word " * 40, first="  - ")
    assert all(visible_length(line) <= 60 for line in lines)
    assert max(visible_length(line) for line in lines) > 55
    assert lines[0].startswith("  - ")
    assert lines[1].startswith("    word")


def test_wrapping_breaks_words_that_fit_no_line() -> None:
    lines = Style(width=60).wrap("a" * 500, first="x ")
    assert all(len(line) <= 60 for line in lines)
    assert "".join(lines).count("a") == 500


def test_wrapping_nothing_keeps_the_label() -> None:
    assert Style().wrap("", first="Label ") == ["Label "]


def test_paint_without_colour_is_plain() -> None:
    assert Style().paint("x", "bad") == "x"
    assert Style(colour=True).paint("", "bad") == ""
