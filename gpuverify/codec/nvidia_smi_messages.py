"""Sentences that nvidia-smi prints beside its data: a corrupted InfoROM, a lost GPU."""

from __future__ import annotations

import re

from gpuverify.codec.nvidia_smi_build import EvidenceBuilder
from gpuverify.model.bus_id import normal_bus_id

_BUS = r"([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])"
# As in microsoft/pai issue 3756: the table's last line, with exit code 14.
_INFOROM = re.compile(r"(?i)infoROM is corrupted at gpu ?" + _BUS)
# Seen with and without a space, an ordinal and a bus id after "GPU" (public bug reports).
_HANDLE = re.compile(
    r"(?i)unable to determine the device handle for gpu ?(\d{1,3}(?=:? |:?$))?:? ?(?:" + _BUS + ")?"
)
_GONE = re.compile(r"(?i)gpu ?" + _BUS + r"[^\n]{0,80}?(?:is lost|fallen off the bus)")
_GONE_XID = re.compile(r"(?i)gpu (?:at )?(?:pci:)?" + _BUS + r"[^\n]{0,40}fallen off the bus")

# A library under nvidia-smi that shows a container its share of the memory as the total
# (Project-HAMi/HAMi issue 347).
_SHARED = re.compile(r"\[(HAMI-core) \w{1,8}\(")


def add_message(build: EvidenceBuilder, line: str) -> bool:
    """Take one line if it is a sentence about a GPU.

    Args:
        build: The read-out.
        line: One line.

    Returns:
        Whether it was such a sentence.
    """
    if match := _INFOROM.search(line):
        build.note_warning(normal_bus_id(match[1]) or match[1])
        return True
    if match := _HANDLE.search(line):
        build.note_lost((normal_bus_id(match[2]) if match[2] else None) or f"GPU{match[1] or '?'}")
        return True
    if match := _GONE.search(line) or _GONE_XID.search(line):
        build.note_lost(normal_bus_id(match[1]) or match[1])
        return True
    if match := _SHARED.search(line):
        build.sharing_layer = match[1]
        return True
    return False


def add_messages(build: EvidenceBuilder, text: str) -> None:
    """Take every such sentence out of a text."""
    for match in re.finditer(r"[^\n]+", text):
        add_message(build, match.group())
