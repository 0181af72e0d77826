"""`nvidia-smi -q -x`, schemas v6 to v13 and later ones by their leaves.

The document is streamed through expat and only the leaves in the fields table are kept. Entities,
and document types that lie anywhere but beside the file, are refused; the DTD is never loaded.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from xml.parsers import expat

from gpuverify.codec.limits import MAX_DEPTH, MAX_INPUT_BYTES
from gpuverify.codec.nvidia_smi_build import DeviceBuilder, EvidenceBuilder
from gpuverify.codec.nvidia_smi_fields import XML_DEVICE, XML_DOCUMENT, Node
from gpuverify.codec.nvidia_smi_messages import add_messages
from gpuverify.codec.nvidia_smi_plain import LIST, LIST_END, LIST_LIMIT, MEMORY_CLOCK, read_plain
from gpuverify.codec.text import decode_text, hostile, printable
from gpuverify.errors import FormatError
from gpuverify.model.evidence import Evidence

_ROOT = "nvidia_smi_log"
_END = b"</nvidia_smi_log>"
_TOP = Node(children={_ROOT: XML_DOCUMENT})
_GPU = XML_DEVICE
_CLOCKS = XML_DEVICE.children["supported_clocks"]
_BUS_ID = XML_DEVICE.children["pci"].children["pci_bus_id"]
_Start = Callable[[str, dict[str, str]], None]
_End = Callable[[str], None]
_Text = Callable[[str], None]
_DTD = re.compile(r"[\w.-]{1,80}\.dtd")


def guard(parser: expat.XMLParserType, origin: str, seen: list[str] | None = None) -> None:
    """Make a parser refuse entities and foreign document types.

    Args:
        parser: Parser before its first byte.
        origin: What is being read, for the error message.
        seen: Receives the name of the DTD, which is never loaded.
    """

    def line() -> str:
        return f"line {parser.CurrentLineNumber}"

    def doctype(name: str, system: str | None, public: str | None, internal: object) -> None:
        del internal  # An internal subset without entities is honest.
        if name != _ROOT or public or (system is not None and not _DTD.fullmatch(system)):
            raise FormatError(origin, "not the document type of nvidia-smi", line())
        if seen is not None and system:
            seen.append(system)

    def entity(*declaration: object) -> int:
        del declaration
        raise FormatError(
            origin, "declares or uses an entity, which nvidia-smi never does; refused", line()
        )

    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = entity
    parser.SkippedEntityHandler = entity
    parser.ExternalEntityRefHandler = entity


def document_bytes(data: bytes, origin: str) -> tuple[bytes, int, bytes]:
    """Cut the one XML document out of a log, as UTF-8.

    Args:
        data: The file; a shell prompt may stand around the document.
        origin: What it was read from, for the error message.

    Returns:
        The document, the number of lines in front of it, and what stands behind it.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise FormatError(origin, f"larger than {MAX_INPUT_BYTES // 2**20} MiB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = decode_text(data, origin).encode("utf-8")
    elif data.startswith(codecs.BOM_UTF8):
        data = data[3:]
    if (zero := data.find(0)) >= 0:
        raise FormatError(origin, "binary data (a NUL byte), not XML", f"byte {zero}")
    starts = [at for at in map(data.find, (b"<?xml", b"<!DOCTYPE", b"<nvidia_smi_log")) if at >= 0]
    if not starts:
        raise FormatError(origin, f"no <{_ROOT}> element: not from `nvidia-smi -q -x`")
    start = min(starts)
    end = data.rfind(_END)
    end = len(data) if end < 0 else end + len(_END)
    if data.count(_END, start, end) > 1:
        raise FormatError(origin, "several read-outs in one file; give them one by one")
    return data[start:end], data.count(b"\n", 0, start), data[end:]


class _Handler:
    """Follows the elements through the fields table."""

    def __init__(self, origin: str, *, careful: bool) -> None:
        self.build = EvidenceBuilder(origin)
        self.device: DeviceBuilder | None = None
        self.careful = careful
        self.in_clocks = False
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        guard(self.parser, origin)
        self.handlers = self._make_handlers()
        self.attach()

    def attach(self) -> None:
        """Listen to elements and text."""
        parser = self.parser
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = (
            self.handlers
        )

    def detach(self) -> None:
        """Let expat check well-formedness alone."""
        self.parser.StartElementHandler = None
        self.parser.EndElementHandler = None
        self.parser.CharacterDataHandler = None

    def error(self, message: str) -> FormatError:
        """Build an error for the current line."""
        return FormatError(self.build.origin, message, f"line {self.parser.CurrentLineNumber}")

    def _make_handlers(self) -> tuple[_Start, _End, _Text]:
        """Make the three handlers as closures: they run once an element, so every look-up counts.

        Only an element without children has text; `leaf` is set at each start tag and cleared at
        each end tag.
        """
        parts: list[str] = []
        stack: list[Node | None] = []
        node: Node | None = _TOP
        leaf = False
        plain = not self.careful
        clear, push, pop, join = parts.clear, stack.append, stack.pop, "".join

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal node, leaf
            clear()
            push(node)
            leaf = True
            if node is not None:
                node = node.children.get(tag)
            if node is None:
                if not 1 < len(stack) <= MAX_DEPTH:
                    raise self.misplaced(tag, len(stack))
            elif node.opens:
                self.enter(node, attributes)

        def end(_tag: str) -> None:
            nonlocal node, leaf
            current = node
            node = pop()
            if current is not None:
                if not leaf:
                    self.close(current)
                elif plain and self.device is not None and not current.children:
                    self.device.add(current, join(parts).strip())
                else:
                    self.leave(current, join(parts).strip())
            leaf = False

        return start, end, parts.append

    def close(self, node: Node) -> None:
        """Leave an element that had children."""
        if node is _GPU:
            self.device = None
        elif node.claims and self.device is not None:
            self.device.add(node, "")

    def misplaced(self, tag: str, depth: int) -> FormatError:
        """Build the error for another root or too deep an element."""
        if depth == 1:
            return self.error(f"the root is <{printable(tag, 40)}>, not <{_ROOT}>")
        return self.error(f"nested deeper than {MAX_DEPTH}; nvidia-smi nests at most 8")

    def enter(self, node: Node, attributes: dict[str, str]) -> None:
        """Enter a GPU or its list of supported clocks."""
        if node is _CLOCKS:
            self.in_clocks = True
            return
        self.device = self.build.new_device(f"line {self.parser.CurrentLineNumber}")
        bus_id = attributes.get("id")
        if bus_id is not None:
            self.check(bus_id)
            self.device.add(_BUS_ID, bus_id, "@id")

    def leave(self, node: Node, text: str) -> None:
        """Take the text of an element of the table."""
        if self.careful:
            self.check(text)
        device = self.device
        if device is None:
            self.build.add_host(node, text)
            return
        if node.claims:
            device.add(node, text)
        if text and node.children:
            device.add_group(node, text)

    def check(self, text: str) -> None:
        """Refuse control and bidi characters in a value."""
        if hostile(text):
            raise self.error(
                f"control or bidi characters in a value ({printable(text, 60)}); take the log "
                "again straight from nvidia-smi"
            )

    def feed(self, data: bytes) -> None:
        """Parse the document; long lists of supported clocks pass with the handlers off.

        A stretch is left to expat alone only where its first end tag must be the list's own:
        no comment, section, instruction or second list in it, and the list element is open.
        """
        parse = self.parser.Parse
        position = 0
        while (begin := data.find(LIST, position)) >= 0:
            inside = begin + len(LIST)
            parse(data[position:inside], False)
            position = inside
            end = data.find(LIST_END, inside)
            in_clocks, self.in_clocks = self.in_clocks, False
            if not in_clocks or not 0 <= end - inside <= LIST_LIMIT:
                continue
            stretch = data[inside:end]
            if b"<!" in stretch or b"<?" in stretch or LIST in stretch:
                continue
            self.detach()
            parse(stretch, False)
            self.attach()
            position = end
            if self.device is not None:
                for clock in MEMORY_CLOCK.findall(stretch):
                    self.device.note_memory_clocks(int(clock))
        parse(data[position:], True)


def read_nvidia_smi_xml(data: bytes, origin: str) -> Evidence:
    """Read `nvidia-smi -q -x`.

    Args:
        data: The document, UTF-8 or UTF-16 with byte order mark; prompts around it are ignored.
        origin: What it was read from, for people.

    Returns:
        Evidence of class IMPORTED, one device a `<gpu>` element.

    Raises:
        FormatError: Truncated, malformed, too deep, too large, with entities, or other XML.
    """
    document, lines_before, behind = document_bytes(data, origin)
    build = read_plain(document, origin)
    try:
        if build is None:
            build = _read_carefully(document, origin)
        else:
            parser = expat.ParserCreate("utf-8")
            guard(parser, origin)
            parser.Parse(document, True)
    except expat.ExpatError as error:
        what = "truncated"
        if error.code not in _TRUNCATED:
            what = f"malformed ({expat.ErrorString(error.code)})"
        raise FormatError(
            origin,
            f"{what} XML; save the whole output of `nvidia-smi -q -x`",
            f"line {error.lineno + lines_before}",
        ) from None
    if behind.strip():
        add_messages(build, decode_text(behind, origin))
    return build.finish()


def _read_carefully(document: bytes, origin: str) -> EvidenceBuilder:
    """Read a document element by element."""
    handler = _Handler(origin, careful=not document.isascii() or b"&#" in document)
    handler.feed(document)
    return handler.build


_TRUNCATED = frozenset(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
