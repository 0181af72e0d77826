"""Parsers for single values that nvidia-smi prints: text in; status, value and raw text out.

No floats: MiB become bytes, MHz kHz, W mW. Text that is no value keeps its reason. A number with
another unit than the field has is malformed, not guessed.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from typing import Union

from gpuverify.codec.limits import MAX_VALUE_CHARS
from gpuverify.codec.text import printable
from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import ClaimStatus, Value

Parsed = tuple[ClaimStatus, Union[Value, None], Union[str, None]]
"""Status, value where the status is OK, and the text where it is not."""

Parser = Callable[[str], Parsed]

OK = ClaimStatus.OK
_NOT_SUPPORTED = ClaimStatus.NOT_SUPPORTED
_MALFORMED = ClaimStatus.MALFORMED
_SENTINEL = ClaimStatus.SENTINEL

RESET_REQUIRED = "gpu requires reset"
"""What stands in lower case in place of each value of a card that waits for a reset."""

# The sentences are nvmlErrorString's, as nvidia-smi prints them in place of a value.
_ABSENT_WORDS: dict[str, ClaimStatus] = {
    "": _NOT_SUPPORTED,
    "n/a": _NOT_SUPPORTED,
    "none": _NOT_SUPPORTED,
    "not supported": _NOT_SUPPORTED,
    "not available": _NOT_SUPPORTED,
    "requested functionality has been deprecated": _NOT_SUPPORTED,
    "not found": ClaimStatus.NOT_FOUND,
    "function not found": ClaimStatus.NOT_FOUND,
    "insufficient permissions": ClaimStatus.NO_PERMISSION,
    "gpu is lost": ClaimStatus.DEVICE_LOST,
    RESET_REQUIRED: ClaimStatus.FAILED,
    "timeout": ClaimStatus.TIMED_OUT,
    "unknown error": ClaimStatus.FAILED,
    "unknown": ClaimStatus.FAILED,
    "err!": ClaimStatus.FAILED,
    "error": ClaimStatus.FAILED,
}
# Owners mask with these; a masked value is not readable, which is not the same as wrong.
_MASK = re.compile(r"(?i)redacted|masked|hidden|removed|x{4}|\*{3}|\.{3}|…|<[^>]*>")
_ZEROS = re.compile("0{8}")
_NOTHING = re.compile(r"0+(?:[-.]0+)+")

_absent_cache: dict[str, Parsed] = {}


def absent(text: str) -> Parsed | None:
    """Return the reason where the text says that there is no value; None if it is a value."""
    known = _absent_cache.get(text)
    if known is not None:
        return known
    status = _ABSENT_WORDS.get(text.strip("[]").lower())
    if status is None:
        return None
    parsed: Parsed = (status, None, printable(text))
    if len(_absent_cache) < 256:
        _absent_cache[text] = parsed
    return parsed


def malformed(text: str) -> Parsed:
    """Keep a text that has not the shape of its field."""
    status = _SENTINEL if _MASK.search(text) else _MALFORMED
    return (status, None, printable(text))


def words(text: str) -> Parsed:
    """Read free text: a name, a version, a state."""
    if (reason := absent(text)) is not None:
        return reason
    if len(text) > MAX_VALUE_CHARS or not text.isprintable() or _MASK.search(text):
        return malformed(text)
    return (OK, text, None)


def name(text: str) -> Parsed:
    """Read a product name; "ERR!" and cut names ("NVIDIA A800 80G...") are no names."""
    return words(text)


def upper(text: str) -> Parsed:
    """Read an identifier that Windows prints in lower case (VBIOS versions).

    One of nothing but zeros is a place holder: virtual GPUs print a VBIOS of 00.00.00.00.00, owners
    who mask their read-outs a part number of 000-00000-0000-000.
    """
    status, value, raw = words(text)
    if status is OK and _NOTHING.fullmatch(text):
        return (_SENTINEL, None, printable(text))
    return (status, value.upper() if isinstance(value, str) else value, raw)


def word_none(text: str) -> Parsed:
    """Read a state where "None" is one of the states (recovery action, peer type)."""
    return (OK, "none", None) if text.lower() == "none" else words(text)


def serial(text: str) -> Parsed:
    """Read a serial number; "0" and runs of zeros are place holders."""
    status, value, raw = words(text)
    if status is OK and (text == "0" or _ZEROS.search(text)):
        return (_SENTINEL, None, printable(text))
    return (status, value, raw)


_UUID = re.compile(r"(?:GPU-)?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def uuid(text: str) -> Parsed:
    """Read a UUID; one with 20 zeros or more is a place holder (all-zero, counted up)."""
    if (reason := absent(text)) is not None:
        return reason
    if not _UUID.fullmatch(text):
        return malformed(text)
    if text.count("0") >= 20:
        return (_SENTINEL, None, text)
    return (OK, text, None)


_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}")


def hex_text(text: str) -> Parsed:
    """Read a hexadecimal id and keep it as text, in lower case."""
    if (reason := absent(text)) is not None:
        return reason
    return (OK, text.lower(), None) if _HEX.fullmatch(text) else malformed(text)


def hex64(text: str) -> Parsed:
    """Read a 64-bit id (PDI, GUID); a small number is a place holder."""
    status, value, raw = hex_text(text)
    if isinstance(value, str):
        number = int(value, 16)
        if number < 2**24 or number == 2**64 - 1:
            return (_SENTINEL, None, printable(text))
        return (OK, f"0x{number:016x}", None)
    return (status, value, raw)


def _number(pattern: str, factor: int, ceiling: int = 2**63 - 1) -> Parser:
    """Make a parser for an integer with a unit; `ceiling` and above are all-ones values."""
    fullmatch = re.compile(pattern).fullmatch

    def parse(text: str) -> Parsed:
        match = fullmatch(text)
        if match is None:
            return absent(text) or malformed(text)
        value = int(match[1]) * factor
        if value >= ceiling:
            return (_SENTINEL, None, printable(text))
        return (OK, value, None)

    return parse


_ALL_ONES = 2**32 - 1

count = _number(r"(\d{1,20})(?: bank\(s\))?", 1, _ALL_ONES)
big_count = _number(r"(\d{1,20})", 1)
mebibytes = _number(r"(\d{1,20}) MiB", 2**20)
megahertz = _number(r"(\d{1,9}) MHz", 1000)
celsius = _number(r"(-?\d{1,4}) C", 1)
lanes = _number(r"(\d{1,3})x", 1)
small = _number(r"(\d{1,3})", 1)

_WATT = re.compile(r"(\d{1,7})(?:\.(\d{1,3}))? W")


def watt(text: str) -> Parsed:
    """Read a power in W with up to three decimals, as mW."""
    match = _WATT.fullmatch(text)
    if match is None:
        return absent(text) or malformed(text)
    return (OK, int(match[1]) * 1000 + int((match[2] or "0").ljust(3, "0")), None)


_FLAGS = {
    "yes": True, "no": False, "enabled": True, "disabled": False, "on": True, "off": False,
    "active": True, "not active": False, "true": True, "false": False, "required": True,
    "not required": False,
}  # fmt: skip


def flag(text: str) -> Parsed:
    """Read yes or no, enabled or disabled, on or off."""
    value = _FLAGS.get(text.lower())
    if value is None:
        return absent(text) or malformed(text)
    return (OK, value, None)


_VIRTUALIZATION = {
    "none": "none",
    "pass-through": "pass-through",
    "passthrough": "pass-through",
    "vgpu": "vgpu",
    "host vgpu": "host-vgpu",
    "host-vgpu": "host-vgpu",
    "host vsga": "host-vsga",
    "host-vsga": "host-vsga",
}


def virtualization(text: str) -> Parsed:
    """Read the virtualization mode in one spelling; "None" is a mode."""
    mode = _VIRTUALIZATION.get(text.lower())
    return (OK, mode, None) if mode else absent(text) or malformed(text)


_PCI_PAIR = re.compile(r"(?:0x)?([0-9a-fA-F]{4})([0-9a-fA-F]{4})")


def _pci_half(group: int) -> Parser:
    """Make a parser for one half of "device then vendor" as nvidia-smi prints it."""

    def parse(text: str) -> Parsed:
        match = _PCI_PAIR.fullmatch(text)
        if match is None:
            return absent(text) or malformed(text)
        # A vendor of 0000 or 00DE is nobody's: masked ("000000DE") or not read.
        if int(match[2], 16) in {0, 0xDE}:
            return (_SENTINEL, None, text)
        return (OK, int(match[group], 16), None)

    return parse


pci_device = _pci_half(1)
pci_vendor = _pci_half(2)


def bus_id(text: str) -> Parsed:
    """Read a PCI bus id in our one shape."""
    normal = normal_bus_id(text)
    return (OK, normal, None) if normal else absent(text) or malformed(text)


_VERSION = re.compile(r"(\d{1,4}(?:\.\d{1,5}){1,3})(?:\s.*)?")


def version(text: str) -> Parsed:
    """Read a version; remarks after it ("610.57.04 [Deprecated; ...]") are left out."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return absent(text) or malformed(text)
    return (OK, match[1], None if match[1] == text else printable(text))


def fan(text: str) -> Parsed:
    """Read whether the fan field is an error."""
    if text == "ERR!":
        return (OK, True, text)
    if re.fullmatch(r"\d{1,3} ?%", text):
        return (OK, False, None)
    return absent(text) or malformed(text)


_DATE = re.compile(
    r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})"
)
_ENGLISH = dict(
    zip(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
        range(1, 13),
        strict=True,
    )
)


def unix_time(text: str) -> int | None:
    """Read C's asctime form as Unix seconds.

    nvidia-smi prints the host's local time without a zone: the result is right to 14 hours.

    Args:
        text: Such as `Fri Aug 21 08:54:01 2026`.

    Returns:
        Seconds since 1970 as if the zone were UTC, None if the text is no such date.
    """
    match = _DATE.fullmatch(text)
    if match is None or match[1] not in _ENGLISH:
        return None
    day, hour, minute, second, year = (int(match[group]) for group in range(2, 7))
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60 and year >= 1970):
        return None
    return calendar.timegm((year, _ENGLISH[match[1]], day, hour, minute, second))
