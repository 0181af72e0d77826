"""`nvidia-smi -q` text of any column layout: whole logs, `-d` sections, excerpts, link lists.

Labels and values are divided at the first colon, nesting follows the indentation, and a path is
looked up in the fields table. What stands under an unknown label is never taken for a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuverify.codec import nvidia_smi_values as values
from gpuverify.codec.limits import MAX_DEPTH, MAX_LINE_CHARS, MAX_VALUE_CHARS
from gpuverify.codec.nvidia_smi_build import DeviceBuilder, EvidenceBuilder
from gpuverify.codec.nvidia_smi_fields import TEXT_DEVICE, TEXT_HOST
from gpuverify.codec.nvidia_smi_links import LinkReader
from gpuverify.codec.nvidia_smi_messages import add_message
from gpuverify.codec.text import check_lines, hostile, printable
from gpuverify.errors import FormatError
from gpuverify.model.evidence import Evidence

_BUS = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_GPU = re.compile(rf"GPU ({_BUS}):?")
_LINE = re.compile(r"[^\n]+")
# Mail and issue threads quote a log with "> " before each line.
_QUOTE = re.compile(r"(?:> ?)+")
# A label that reaches the column has no blank before its colon; no label holds a colon.
_VALUE = re.compile(r":(?:\s|$)")
_LOG = "NVSMI LOG"
_MIN_EXCERPT_FIELDS = 2


class _TextReader:
    """Follows labels and indentation."""

    def __init__(self, text: str, origin: str) -> None:
        self.text = text
        self.build = EvidenceBuilder(origin)
        self.links = LinkReader(self.build)
        self.device: DeviceBuilder | None = None
        self.stack: list[tuple[int, str, str]] = []
        self.headed = False
        self.fields = 0

    def lines(self) -> Iterator[tuple[int, str]]:
        """Iterate over lines that are not empty, with their position."""
        for match in _LINE.finditer(self.text):
            if match.end() - match.start() > MAX_LINE_CHARS:
                continue
            line = match.group().expandtabs(8).rstrip()
            if line.startswith(">"):
                line = _QUOTE.sub("", line, count=1)
            if line:
                yield match.start(), line

    def error(self, position: int, message: str) -> FormatError:
        """Build an error for the line at a position."""
        number = self.text.count("\n", 0, position) + 1
        return FormatError(self.build.origin, message, f"line {number}")

    def read(self) -> Evidence:
        """Read all lines."""
        for position, line in self.lines():
            body = line.strip()
            indent = len(line) - len(line.lstrip())
            if (heading := _GPU.fullmatch(body)) is not None:
                self.open_gpu(heading[1], position)
            elif self.links.line(body) or add_message(self.build, body):
                self.stack.clear()
            else:
                self.field(body, indent, position)
        self.links.finish()
        known = self.headed or self.links.found or self.build.lost_devices
        if not known and self.fields < _MIN_EXCERPT_FIELDS:
            raise FormatError(
                self.build.origin,
                "not a read-out of nvidia-smi; give the whole output of `nvidia-smi -q -x` "
                "or `nvidia-smi -q`",
            )
        if not self.build.devices and not self.build.lost_devices:
            raise FormatError(
                self.build.origin,
                "no GPU in it: each line has to begin as nvidia-smi printed it",
            )
        return self.build.finish()

    def open_gpu(self, bus_id: str, position: int) -> None:
        """Start a GPU, or go on with one whose other sections came before."""
        self.headed = True
        self.stack.clear()
        parsed = values.bus_id(bus_id)
        known = self.build.by_bus_id(str(parsed[1]))
        if known is None:
            where = f"line {self.text.count(chr(10), 0, position) + 1}"
            known = self.build.new_device(where)
            known.put("pci.bus_id", parsed, known.prefix + "GPU")
        self.device = known

    def field(self, body: str, indent: int, position: int) -> None:
        """Take a label with or without a value."""
        split = _VALUE.search(body)
        label = (body if split is None else body[: split.start()]).strip()
        if _LOG in body:
            self.headed = True
            self.device = None
            self.stack.clear()
            return
        while self.stack and self.stack[-1][0] >= indent:
            self.stack.pop()
        if len(label) > 80 or len(self.stack) >= MAX_DEPTH:
            return
        above = self.stack[-1] if self.stack else (0, "", "")
        key = (above[1] + "/" if above[1] else "") + " ".join(label.lower().split())
        shown = (above[2] + "/" if above[2] else "") + printable(label, 80)
        if split is None:
            self.heading(key, shown, indent)
            return
        host = TEXT_HOST.get(key) if not self.stack else None
        if indent or key in TEXT_DEVICE:
            self.stack.append((indent, key, shown))
        text = body[split.end() :].strip()
        if host is not None:
            self.build.add_host(host, text[:MAX_VALUE_CHARS], shown)
        elif key in TEXT_DEVICE:
            self.value(key, text, shown, position)

    def heading(self, key: str, shown: str, indent: int) -> None:
        """Open a group; a line without indentation is one only if the table knows it."""
        node = TEXT_DEVICE.get(key)
        if indent == 0 and node is None:
            self.stack.clear()
            return
        self.stack.append((indent, key, shown))
        if node is not None and self.device is not None:
            for claim_id, parser in node.claims:
                if parser is None:
                    self.device.special(claim_id, "", self.device.prefix + shown)

    def value(self, key: str, text: str, shown: str, position: int) -> None:
        """Take the value of a known label."""
        if hostile(text):
            raise self.error(
                position, f"control or bidi characters in a value ({printable(text, 60)})"
            )
        if self.device is None:
            self.device = self.build.new_device("")
        self.clash(key, text, position)
        node = TEXT_DEVICE[key]
        self.fields += 1
        if node.claims:
            self.device.add(node, text, shown)
        if node.children and text:
            self.device.add_group(node, text, shown)

    def clash(self, key: str, text: str, position: int) -> None:
        """Refuse logs of two machines in one file: one bus id with two identities."""
        if key not in {"gpu uuid", "serial number"} or self.device is None:
            return
        claim_id = "gpu.uuid" if key == "gpu uuid" else "gpu.serial"
        before = self.device.value(claim_id)
        if isinstance(before, str) and values.absent(text) is None and before != text:
            raise self.error(
                position, "a second identity for one bus id: logs of two machines in one file"
            )


def read_nvidia_smi_text(text: str, origin: str) -> Evidence:
    """Read `nvidia-smi -q` text.

    Args:
        text: The log as `decode_text` gives it; shell prompts and cut parts are passed over.
        origin: What it was read from, for people.

    Returns:
        Evidence of class IMPORTED; an excerpt without a GPU heading is one GPU.

    Raises:
        FormatError: Not a read-out, two machines in one, or too many GPUs.
    """
    check_lines(text, origin)
    return _TextReader(text, origin).read()
