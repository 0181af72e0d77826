"""Turning what NVML returned into claim values, or into the reason why it is none.

An adapter takes what the binding returned and gives one item for each claim id of its table row.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from gpuverify.model.claims import ClaimStatus, Value

MAX_INTEGER = 2**63 - 1
ALL_ONES = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""What NVML leaves or writes where it has no number (NVML_VALUE_NOT_AVAILABLE)."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_TEXT = frozenset({"", "n/a", "[n/a]", "none", "unknown", "unknown error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """No value although the call succeeded.

    Attributes:
        status: MALFORMED, SENTINEL or another reason.
        text: What stood there, printable.
    """

    status: ClaimStatus
    text: str


Item = Union[Value, Odd]
OneText = Union[str, Odd]
One = Callable[[Any], Item]
Adapter = Callable[[Any], tuple[Item, ...]]


def _sentinel(text: str) -> Odd:
    """Say that a stand-in for "no value" stood there."""
    return Odd(status=ClaimStatus.SENTINEL, text=text)


def malformed(text: str) -> Odd:
    """Say that something stood there that cannot be right."""
    return Odd(status=ClaimStatus.MALFORMED, text=text)


def number(value: Any) -> Item:
    """Take a count as it stands; all-ones is a stand-in."""
    result = int(value)
    if result in ALL_ONES:
        return _sentinel(f"0x{result:x}")
    if not 0 <= result <= MAX_INTEGER:
        return malformed(str(result))
    return result


def byte(value: Any) -> Item:
    """Take an 8-bit number; 0xff is a stand-in."""
    return _sentinel("0xff") if int(value) == 0xFF else number(value)


def times(factor: int) -> One:
    """Make an adapter that scales a count to the vocabulary's unit.

    Args:
        factor: What to multiply with, e.g. 1000 for MHz to kHz.
    """

    def scaled(value: Any) -> Item:
        item = number(value)
        return item if isinstance(item, Odd) else int(item) * factor

    return scaled


def flag(value: Any) -> Item:
    """Take NVML's 0 or 1 for off and on; anything else is not a flag.

    Some wrappers (nvmlDeviceIsMigDeviceHandle) hand out the ctypes object instead of its number.
    """
    item = number(getattr(value, "value", value))
    if isinstance(item, Odd):
        return item
    return malformed(str(item)) if item not in (0, 1) else bool(item)


def text(value: Any) -> Item:
    """Take a string; hidden characters make it malformed, a word for "nothing" is a stand-in."""
    result = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if any(unicodedata.category(character) in _HIDDEN for character in result):
        from gpuverify.codec.text import printable

        return malformed(printable(result))
    result = result.strip()
    return _sentinel(result) if result.lower() in _NO_TEXT else result


def upper(value: Any) -> Item:
    """Take a string in upper case (Windows drivers print VBIOS versions in lower case)."""
    item = text(value)
    return item if isinstance(item, Odd) else str(item).upper()


def hexadecimal(digits: int) -> One:
    """Make an adapter that writes an id as `0x…`; zero and all-ones identify nothing.

    Args:
        digits: Digits to pad to.
    """

    def shown(value: Any) -> Item:
        result = int(value)
        if result in ALL_ONES or (digits and result == 0):
            return _sentinel(f"0x{result:0{digits}x}")
        return f"0x{result:0{digits}x}"

    return shown


def choice(names: Mapping[int, str]) -> One:
    """Make an adapter for an enumeration; a member without a name is shown as its number.

    Args:
        names: Number to name.
    """

    def named(value: Any) -> Item:
        item = number(value)
        return item if isinstance(item, Odd) else names.get(int(item), f"unknown ({item})")

    return named


def dotted_version(value: Any) -> Item:
    """Write CUDA's 12040 as 12.4."""
    item = number(value)
    return item if isinstance(item, Odd) else f"{int(item) // 1000}.{int(item) % 1000 // 10}"


def compute_capability(value: Any) -> Item:
    """Write a (major, minor) pair as 8.0."""
    major, minor = value
    return f"{int(major)}.{int(minor)}"


def highest_mhz(value: Any) -> Item:
    """Take the highest of a list of clocks in MHz, in kHz."""
    known = [int(clock) for clock in value if int(clock) not in ALL_ONES]
    return max(known) * 1000 if known else _sentinel("empty list")


def length(value: Any) -> Item:
    """Count the entries of a list."""
    return len(value)


_REASONS = (
    "gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_slowdown", "sync_boost",
    "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown",
    "display_clocks_setting",
)  # fmt: skip


def event_reasons(value: Any) -> Item:
    """Name the set bits of the clock event mask, as nvidia-smi's XML names them."""
    mask = int(value)
    if mask in ALL_ONES:
        return _sentinel(f"0x{mask:x}")
    names = [
        _REASONS[bit] if bit < len(_REASONS) else f"bit_{bit}"
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    ]
    return ",".join(names) if names else "none"


def unix_seconds(stamp: int) -> int:
    """Bring a time stamp to seconds: NVML's header names no unit, the magnitude tells it."""
    if stamp > 10**14:
        return stamp // 10**6
    return stamp // 10**3 if stamp > 10**11 else stamp


def flush_time(value: Any) -> Item:
    """Show the time of the last black-box flush as UTC; zero and all-ones are no times."""
    stamp = int(value[0])
    if stamp in ALL_ONES or stamp == 0:
        return _sentinel(str(stamp))
    seconds = unix_seconds(stamp)
    if seconds > 253_402_300_799:  # the end of year 9999
        return malformed(str(stamp))
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def one(adapter: One) -> Adapter:
    """Make a one-claim adapter out of a value adapter.

    Args:
        adapter: Applied to the whole of what was returned.
    """
    return lambda value: (adapter(value),)


def each(adapter: One) -> Adapter:
    """Make an adapter for a tuple or list, one claim an entry.

    Args:
        adapter: Applied to each entry.
    """
    return lambda value: tuple(adapter(entry) for entry in value)


def attributes(*parts: tuple[str, One]) -> Adapter:
    """Make an adapter for a structure, one claim a field.

    Args:
        *parts: Field names with their adapters.
    """
    return lambda value: tuple(adapter(getattr(value, name)) for name, adapter in parts)


def pci_ids(value: Any) -> tuple[Item, ...]:
    """Take vendor, device, subsystem vendor and subsystem device ids out of a PCI structure."""
    items: list[Item] = []
    for packed in (int(value.pciDeviceId), int(value.pciSubSystemId)):
        if packed == 0xFFFFFFFF:
            items += [_sentinel("0xffffffff")] * 2
        else:
            items += [packed & 0xFFFF, packed >> 16]
    return tuple(items)
