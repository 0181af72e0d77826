"""The quick way through `nvidia-smi -q -x` as nvidia-smi itself prints it: a tag or leaf a line.

In a document that expat finds well-formed, and in which every line has one of those shapes, there
is nothing else to read. Where anything is otherwise (a comment, an entity, an odd attribute, great
depth) the caller takes the careful way. Both give the same evidence; a test holds them to it.
"""

from __future__ import annotations

import re

from gpuverify.codec.limits import MAX_DEPTH, MAX_DEVICES
from gpuverify.codec.nvidia_smi_build import DeviceBuilder, EvidenceBuilder
from gpuverify.codec.nvidia_smi_fields import XML_DEVICE, XML_DOCUMENT, Node

_PROLOG = re.compile(
    rb'\s*(?:<\?xml version="1\.0"\s*\?>)?\s*'
    rb'(?:<!DOCTYPE nvidia_smi_log SYSTEM "[\w.-]+">)?\s*<nvidia_smi_log>'
)
_ROOT_END = b"</nvidia_smi_log>"
LIST, LIST_END = b"<supported_clocks>", b"</supported_clocks>"
"""Tags of the longest list in a read-out, of which one number is used."""
LIST_LIMIT = 1 << 18
"""Most bytes of one such list, some tens of KiB in fact; a longer one is read with care."""
MEMORY_CLOCK = re.compile(rb"<value>(\d{1,6}) MHz</value>")
"""A memory clock in such a list."""
# Without the lists a GPU takes some 12 KiB; more than this is read with care, in little memory.
_TEXT_LIMIT = 1 << 20
_LINE = re.compile(
    r"\s*(?:<(?P<leaf>\w+)>(?P<text>[^<>]*)</(?P=leaf)>"
    r'|<(?P<group>\w+)(?: id="(?P<id>[\w:.-]*)")?>|</\w+>|(?P<words>[^<>\s][^<>]*))\s*'
)
_LEAF, _GROUP, _END, _WORDS, _ODD = range(5)
# Lines taken apart: cards, servers and read-outs repeat most of them.
_lines: dict[str, tuple[int, str, str]] = {}
_LINES, _LINE_CHARS = 8192, 120
_GPU = XML_DEVICE
_CLOCKS = XML_DEVICE.children["supported_clocks"]
_BUS_ID = XML_DEVICE.children["pci"].children["pci_bus_id"]
_UNKNOWN = Node()


def read_plain(document: bytes, origin: str) -> EvidenceBuilder | None:
    """Read a document that is nothing but tags and text.

    Args:
        document: From the prolog to the last end tag. Whether it is well-formed is for expat to
            say; if it is not, the read-out is worth nothing.
        origin: What it was read from.

    Returns:
        The read-out, None where the document is not that plain.
    """
    prolog = _PROLOG.match(document)
    if prolog is None or not document.endswith(_ROOT_END) or not document.isascii():
        return None
    if any(mark in document for mark in (b"&", b"\r")):
        return None
    if any(document.find(mark, prolog.end()) >= 0 for mark in (b"<!", b"<?")):
        return None
    cut = _without_clocks(document, prolog.end())
    if cut is None:
        return None
    text, clocks = cut
    build = EvidenceBuilder(origin)
    return build if _Walk(build, clocks).through(text) else None


def _without_clocks(document: bytes, begin: int) -> tuple[str, list[bytes]] | None:
    """Take the long lists of supported clocks out; each has to end where it seems to."""
    kept, lists, position = [], [], begin
    while (opened := document.find(LIST, position)) >= 0:
        inside = opened + len(LIST)
        end = document.find(LIST_END, inside)
        stretch = document[inside:end]
        if not 0 <= end - inside <= LIST_LIMIT or LIST in stretch:
            return None
        kept.append(document[position:inside])
        lists.append(stretch)
        position = end
    kept.append(document[position : -len(_ROOT_END)])
    text = b"".join(kept).decode("ascii")
    return (text, lists) if len(text) <= _TEXT_LIMIT else None


def _take_apart(line: str) -> tuple[int, str, str]:
    """Take a line apart: shape, tag, and the text of a leaf or the id of a group."""
    match = _LINE.fullmatch(line)
    if match is None:
        return (_ODD if line.strip() else _WORDS, "", "")
    leaf, text, group, bus_id, words = match.groups()
    if leaf is not None:
        taken = (_LEAF, leaf, text.strip())
    elif group is not None:
        taken = (_GROUP, group, bus_id or "")
    else:
        taken = (_END, "", "") if words is None else (_WORDS, "", words.strip())
    if len(line) <= _LINE_CHARS:
        if len(_lines) >= _LINES:
            _lines.clear()
        _lines[line] = taken
    return taken


class _Walk:
    """Goes through the leaves with the fields table."""

    def __init__(self, build: EvidenceBuilder, clocks: list[bytes]) -> None:
        """Walk into one read-out, with the lists of clocks in the order of the document."""
        self.build = build
        self.clocks = iter(clocks)
        self.device: DeviceBuilder | None = None
        self.node = XML_DOCUMENT
        self.stack: list[Node] = []
        self.words: str | None = None

    def through(self, text: str) -> bool:
        """Walk through the content of the root.

        Args:
            text: Content of the root element.

        Returns:
            Whether all of it was plain; if not, the read-out is of no use.
        """
        known, tag_line = _lines.get, self.tag_line
        for line in text.split("\n"):
            shape, tag, inside = known(line) or _take_apart(line)
            if shape == _LEAF:
                self.words = None
                child = self.node.children.get(tag)
                if child is None:
                    continue
                if self.device is not None and not child.children:
                    self.device.add(child, inside)
                elif not self.leaf(child, inside):
                    return False
            elif not tag_line(shape, tag, inside):
                return False
        return not self.stack and next(self.clocks, None) is None

    def tag_line(self, shape: int, tag: str, inside: str) -> bool:
        """Take a line that is no leaf; False for what only the careful way takes."""
        if shape == _GROUP:
            self.stack.append(self.node)
            self.node = node = self.node.children.get(tag, _UNKNOWN)
            self.words = ""
            return len(self.stack) < MAX_DEPTH - 4 and (not node.opens or self.enter(node, inside))
        if shape == _END and self.stack:
            node, words = self.node, self.words
            self.node, self.words = self.stack.pop(), None
            if words is not None:  # nothing but text since its start tag: a leaf over some lines
                return node is _UNKNOWN or self.leaf(node, words)
            if node is _GPU:
                self.device = None
            elif node.claims and self.device is not None:
                self.device.add(node, "")
            return True
        if shape == _WORDS and inside:
            # Text beside elements means nothing; text in two lines is rare.
            first, self.words = self.words == "", inside
            return first
        return shape == _WORDS

    def enter(self, node: Node, bus_id: str) -> bool:
        """Enter a GPU; False for what only the careful way takes."""
        build = self.build
        if node is not _GPU or len(build.devices) >= MAX_DEVICES:
            return False
        self.device = build.new_device("")
        if bus_id:
            self.device.add(_BUS_ID, bus_id, "@id")
        return True

    def leaf(self, node: Node, text: str) -> bool:
        """Take the text of an element of the table; False for what only the careful way takes."""
        device = self.device
        if device is None:
            if node.opens:
                return False
            self.build.add_host(node, text)
            return True
        if node is _CLOCKS and not text:
            for clock in MEMORY_CLOCK.findall(next(self.clocks, b"")):
                device.note_memory_clocks(int(clock))
            return True
        if node.opens:
            return False
        if node.claims:
            device.add(node, text)
        if text:
            device.add_group(node, text)
        return True
