"""`nvidia-smi -q -x` as path and value pairs, and back: how recordings keep it.

A path names an element from the root's children on, e.g. `gpu[0]/pci/pci_device_id`. A `gpu`
always has its number; another element has one from its second occurrence on. An attribute stands
as `gpu[0]/@id`, the document type as `@doctype`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from xml.parsers import expat

from gpuverify.codec.limits import MAX_DEPTH, MAX_DEVICES
from gpuverify.codec.nvidia_smi_xml import document_bytes, guard
from gpuverify.errors import FormatError

_ROOT = "nvidia_smi_log"
_STEP = re.compile(r"([A-Za-z_][\w.-]{0,120})(?:\[(\d{1,5})\])?")
_DTD = re.compile(r"[\w.-]{1,80}\.dtd")

Leaves = list[tuple[str, str]]


# By hand: `xml.sax.saxutils` brings urllib, http and ssl along.
def escape(text: str) -> str:
    """Write text as the content of an element."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoteattr(text: str) -> str:
    """Write text as the value of an attribute, with its quotes."""
    text = escape(text).replace('"', "&quot;")
    return '"' + text.replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;") + '"'


class _Collector:
    """Turns expat's events into leaves."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.leaves: Leaves = []
        self.paths: list[str] = []
        self.seen: list[dict[str, int]] = [{}]
        self.parts: list[str] = []
        self.leaf = False
        self.gpus = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Enter an element."""
        if len(self.seen) > MAX_DEPTH:
            raise FormatError(self.origin, f"nested deeper than {MAX_DEPTH}")
        number = self.seen[-1].get(tag, 0)
        self.seen[-1][tag] = number + 1
        self.seen.append({})
        self.parts.clear()
        self.leaf = True
        if not self.paths:
            if tag != _ROOT:
                raise FormatError(self.origin, f"the root is not <{_ROOT}>")
            self.paths.append("")
        else:
            step = f"{tag}[{number}]" if number or tag == "gpu" else tag
            self.paths.append(f"{self.paths[-1]}/{step}" if self.paths[-1] else step)
            if tag == "gpu" and len(self.paths) == 2:
                self.gpus += 1
                if self.gpus > MAX_DEVICES:
                    raise FormatError(self.origin, f"more than {MAX_DEVICES} GPUs")
        for name, value in attributes.items():
            path = self.paths[-1]
            self.leaves.append((f"{path}/@{name}" if path else f"@{name}", value))

    def end(self, _tag: str) -> None:
        """Leave an element."""
        path = self.paths.pop()
        self.seen.pop()
        if self.leaf and path:
            self.leaves.append((path, "".join(self.parts).strip()))
        self.leaf = False
        self.parts.clear()


def leaves_from_xml(data: bytes, origin: str) -> Leaves:
    """Take a document apart into its leaves, in their order.

    Args:
        data: Output of `nvidia-smi -q -x`.
        origin: What it was read from, for people.

    Returns:
        Pairs of path and text.

    Raises:
        FormatError: As `read_nvidia_smi_xml`.
    """
    document, lines_before, _ = document_bytes(data, origin)
    collector = _Collector(origin)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    doctypes: list[str] = []
    guard(parser, origin, doctypes)
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.parts.append
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise FormatError(
            origin,
            f"truncated or malformed XML ({expat.ErrorString(error.code)})",
            f"line {error.lineno + lines_before}",
        ) from None
    return [("@doctype", system) for system in doctypes] + collector.leaves


def xml_from_leaves(leaves: Iterable[tuple[str, str]]) -> bytes:
    """Put a document together again; the inverse of `leaves_from_xml` but for blanks.

    Args:
        leaves: Pairs of path and text; those of one element have to stand together.

    Returns:
        A document as nvidia-smi writes it, tab-indented.

    Raises:
        FormatError: A path that names no element.
    """
    lines = ['<?xml version="1.0" ?>']
    pending = list(leaves)
    if pending and pending[0][0] == "@doctype":
        system = pending.pop(0)[1]
        if not _DTD.fullmatch(system):
            raise FormatError("leaves", "not the document type of nvidia-smi", "@doctype")
        lines.append(f'<!DOCTYPE {_ROOT} SYSTEM "{system}">')
    root_attributes = ""
    while pending and pending[0][0].startswith("@"):
        path, value = pending.pop(0)
        root_attributes += f" {_step(path[1:], path)}={quoteattr(value)}"
    lines.append(f"<{_ROOT}{root_attributes}>")
    _Writer(lines).write(pending)
    lines.append(f"</{_ROOT}>")
    return ("\n".join(lines) + "\n").encode("utf-8")


def _step(step: str, path: str) -> str:
    """Return the element name of one step."""
    tag = _tag(step)
    if tag is None:
        raise FormatError("leaves", f"no element name: {step[:40]!r}", path[:80])
    return tag


@functools.lru_cache(maxsize=2048)
def _tag(step: str) -> str | None:
    """Return the element name of one step, None if there is none in it."""
    match = _STEP.fullmatch(step)
    return None if match is None else match[1]


class _Writer:
    """Opens and closes elements between one leaf and the next."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.open: list[str] = []

    def write(self, leaves: Leaves) -> None:
        """Write all leaves."""
        number = 0
        while number < len(leaves):
            path, value = leaves[number]
            *parents, last = path.split("/")
            number += 1
            if last.startswith("@"):
                attributes = f" {_step(last[1:], path)}={quoteattr(value)}"
                while number < len(leaves) and leaves[number][0].startswith(
                    "/".join(parents) + "/@"
                ):
                    name = leaves[number][0].rsplit("@", 1)[1]
                    attributes += f" {_step(name, path)}={quoteattr(leaves[number][1])}"
                    number += 1
                if number < len(leaves) and leaves[number][0] == "/".join(parents):
                    self.move(parents[:-1], path)
                    self.element(parents[-1], attributes, leaves[number][1], path)
                    number += 1
                else:
                    self.move(parents, path, attributes)
            else:
                self.move(parents, path)
                self.element(last, "", value, path)
        self.move([], "")

    def element(self, step: str, attributes: str, value: str, path: str) -> None:
        """Write one element with text."""
        tag = _step(step, path)
        indent = "\t" * (len(self.open) + 1)
        self.lines.append(f"{indent}<{tag}{attributes}>{escape(value)}</{tag}>")

    def move(self, target: list[str], path: str, attributes: str = "") -> None:
        """Close and open elements until `target` is open."""
        if target == self.open:
            return
        common = 0
        while common < min(len(self.open), len(target)) and self.open[common] == target[common]:
            common += 1
        while len(self.open) > common:
            step = self.open.pop()
            self.lines.append("\t" * (len(self.open) + 1) + f"</{_step(step, path)}>")
        for position, step in enumerate(target[common:], start=common):
            extra = attributes if position == len(target) - 1 else ""
            self.lines.append("\t" * (len(self.open) + 1) + f"<{_step(step, path)}{extra}>")
            self.open.append(step)
            if len(self.open) > MAX_DEPTH:
                raise FormatError("leaves", f"nested deeper than {MAX_DEPTH}", path[:80])
