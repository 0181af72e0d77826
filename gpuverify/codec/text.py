"""Untrusted bytes to text, and text to something that is safe to print."""

from __future__ import annotations

import codecs
import re

from gpuverify.codec.limits import MAX_LINES, MAX_TEXT_CHARS, MAX_VALUE_CHARS
from gpuverify.errors import FormatError

# Terminal sequences: CSI (colours, cursor), OSC (window titles), two-character escapes.
_TERMINAL = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,1000}(?:\x07|\x1b\\)"
    r"|[()][0-9A-Za-z]|[@-Z\\^_=>])"
)
# Controls other than tab and line feed, and the bidi controls (Unicode UAX #9): a read-out never
# holds them, and they make a terminal or a report show another text than the one that was judged.
_HOSTILE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)


def hostile(text: str) -> re.Match[str] | None:
    """Return the first control or bidi character (tab and line feed excepted), None if clean."""
    return _HOSTILE.search(text)


def printable(text: str, limit: int = MAX_VALUE_CHARS) -> str:
    """Escape everything that a terminal or report would not show as itself.

    Args:
        text: Any text, lone surrogates included.
        limit: Longest result; a longer one is cut and ends in "…".

    Returns:
        Text without control, format, bidi or unassigned characters.
    """
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escape(c) for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escape(character: str) -> str:
    """Write one character as a Python escape."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _decode(data: bytes, origin: str) -> str:
    """Decode by byte order mark, UTF-8 without one."""
    try:
        if data.startswith(codecs.BOM_UTF8):
            return data[3:].decode("utf-8")
        if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            raise FormatError(origin, "UTF-32 is not read; save the log as UTF-8")
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        if (zero := data.find(0)) >= 0:
            raise FormatError(
                origin,
                "binary data (a NUL byte), not a read-out; give the text, XML or JSON itself",
                f"byte {zero}",
            )
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            origin,
            f"not {error.encoding.upper()} text; save the log as UTF-8 (or UTF-16 with a byte "
            "order mark)",
            f"byte {error.start}",
        ) from None


def decode_text(data: bytes, origin: str) -> str:
    """Decode a log: UTF-8 with or without BOM, UTF-16 with BOM; LF line ends, no terminal colours.

    Args:
        data: The file as it is.
        origin: What it was read from, for the error message.

    Returns:
        The text with line feeds as line ends.

    Raises:
        FormatError: Another encoding, binary data, control or bidi characters, too long.
    """
    text = _decode(data, origin)
    if len(text) > MAX_TEXT_CHARS:
        raise FormatError(origin, f"longer than {MAX_TEXT_CHARS} characters")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if found := hostile(text):
        raise FormatError(
            origin,
            f"control or bidi character U+{ord(found.group()):04X}; a read-out holds none, take "
            "the log again straight from nvidia-smi",
            f"line {text.count(chr(10), 0, found.start()) + 1}",
        )
    return text


def check_lines(text: str, origin: str) -> None:
    """Refuse a text with more lines than any log has.

    Args:
        text: The decoded text.
        origin: What it was read from, for the error message.

    Raises:
        FormatError: More lines than the limit.
    """
    if text.count("\n") > MAX_LINES:
        raise FormatError(origin, f"more than {MAX_LINES} lines; give one machine's read-out")
