"""Recordings: what one machine answered, call by call, so that it can be asked again.

The recording holds NVML at C-symbol level (symbol, arguments, return code, what was filled in),
nvidia-smi as path and value leaves, files, and commands; failures like successes. The format is
described in fixtures/README.md; replaying and recording live in `recording_nvml` and
`recording_host` and are handed out here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from gpuverify.errors import FormatError
from gpuverify.sources.recording_ctypes import Json
from gpuverify.sources.recording_measured import MeasuredRow, read_rows, row_json

SCHEMA = "gpuverify/recording/v1"
UNLISTED = ("error", "absent")
NODES = ("file", "character-device", "other", "absent", "refused")


class RecordingError(FormatError):
    """A recording is malformed, or was asked for something that it does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a recording is from.

    Attributes:
        kind: "real" (recorded from a machine), "derived" (a base with edits) or "synthetic"
            (made from parameters: no card produced it, and it is no source of reference values).
        text: Who, when, on what; for people.
        licence: Under what terms it may be passed on.
    """

    kind: str
    text: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlCall:
    """One call of one NVML function.

    Attributes:
        symbol: C symbol, e.g. `nvmlDeviceGetMemoryInfo_v2`.
        arguments: What was passed in by value, in order, without null pointers and buffer lengths;
            handles as "gpu[0]".
        given: Fields of structures that were not zero before the call (`version` among them).
        returns: The nvmlReturn_t.
        out: What the function filled in, in order: text, integers, mappings by field name.
        raw: The bytes of each structure filled in, in hex, "" where `out` says it all.
        is_list: Whether `out` holds the lists of a call that is first asked for a length.
    """

    symbol: str
    arguments: tuple[int | str, ...] = ()
    given: Mapping[str, Json] = field(default_factory=dict)
    returns: int = 0
    out: tuple[Json, ...] = ()
    raw: tuple[str, ...] = ()
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What stands at one path.

    Attributes:
        kind: What it is with links followed: "file", "directory", "character-device", "other",
            "absent" or "refused"; "link" where only the link itself was read.
        data: Content of a file, without the zeros at its end where `size` is larger.
        size: Length of the content in bytes; None where the content was not read.
        names: Names in a directory; None where they follow from the other paths.
        target: Target, where the path is a link.
        errno: Error that reading gives, 0 for none.
        sha256: SHA-256 of the whole file where it is known beside or instead of the content.
    """

    kind: str = "file"
    data: bytes = b""
    size: int | None = None
    names: tuple[str, ...] | None = None
    target: str = ""
    errno: int = 0
    sha256: str = ""

    @classmethod
    def text(cls, content: str) -> FileEntry:
        """Return a file with this text."""
        return cls.bytes(content.encode("utf-8"))

    @classmethod
    def bytes(cls, content: bytes) -> FileEntry:
        """Return a file with this content."""
        return cls(data=content, size=len(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """What one command printed.

    Attributes:
        argv: The command line.
        exit_code: Its exit code, None if it could not be run or was stopped.
        stdout: What it printed.
        stderr: What it printed to the error channel.
        timed_out: Whether it was stopped for taking too long.
    """

    argv: tuple[str, ...]
    exit_code: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiEntry:
    """What `nvidia-smi -q -x` said.

    Attributes:
        argv: The command line it answered; any `nvidia-smi -q -x` matches.
        exit_code: Its exit code.
        leaves: Path and value of every leaf of the document, in order.
    """

    argv: tuple[str, ...] = ("/usr/bin/nvidia-smi", "-q", "-x")
    exit_code: int = 0
    leaves: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Everything that was recorded of one machine.

    Attributes:
        origin: Where it is from.
        tool: Name and version of what recorded or made it.
        recorded_ms: When, in milliseconds since the Unix epoch; None if not known or not real.
        unlisted: What something asked for, but not recorded, means: "error" (a fault of the
            recording) or "absent" (NVML says "Function Not Found", or "Not Supported" for
            arguments that are not there; a file does not exist; a command cannot be run).
        calls: NVML calls in order.
        missing: Symbols that the library did not have.
        nvidia_smi: The nvidia-smi document, None if it was not asked.
        files: Files by absolute path.
        commands: Commands other than nvidia-smi's document.
        measured: What CUDA said and what was measured; empty where nothing was.
    """

    origin: Origin
    tool: str = ""
    recorded_ms: int | None = None
    unlisted: str = "error"
    calls: tuple[NvmlCall, ...] = ()
    missing: tuple[str, ...] = ()
    nvidia_smi: SmiEntry | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    commands: tuple[CommandEntry, ...] = ()
    measured: tuple[MeasuredRow, ...] = ()


def _text_or_hex(data: bytes) -> dict[str, Json]:
    """Return bytes as `{"text": …}` where that is lossless, else as `{"hex": …}`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": data.hex()}
    return {"hex": data.hex()} if "\0" in text else {"text": text}


def _call_json(call: NvmlCall) -> dict[str, Json]:
    """Turn a call into JSON."""
    made: dict[str, Json] = {"symbol": call.symbol}
    if call.arguments:
        made["arguments"] = list(call.arguments)
    if call.given:
        made["in"] = dict(call.given)
    made["return"] = call.returns
    if call.out:
        made["lists" if call.is_list else "out"] = list(call.out)
    if any(call.raw):
        made["raw"] = list(call.raw)
    return made


def _file_json(entry: FileEntry) -> dict[str, Json]:
    """Turn a file entry into JSON."""
    made: dict[str, Json] = {}
    if entry.target:
        made["link"] = entry.target
    if entry.kind == "directory":
        made["directory"] = None if entry.names is None else list(entry.names)
    elif entry.kind != "link" and entry.size is None:
        made["node"] = entry.kind
    if entry.size is not None:
        made.update(_text_or_hex(entry.data))
        if entry.size != len(entry.data):
            made["size"] = entry.size
    if entry.errno:
        made["error"] = entry.errno
    if entry.sha256:
        made["sha256"] = entry.sha256
    return made


def _command_json(entry: CommandEntry) -> dict[str, Json]:
    """Turn a command into JSON."""
    made: dict[str, Json] = {"argv": list(entry.argv), "exit": entry.exit_code}
    if entry.stdout:
        made["stdout"] = _text_or_hex(entry.stdout)
    if entry.stderr:
        made["stderr"] = _text_or_hex(entry.stderr)
    if entry.timed_out:
        made["timed_out"] = True
    return made


def _line(value: Json) -> str:
    """Return one compact line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _lines(items: Iterable[Json]) -> str:
    """Return a JSON list with one item a line, so that a change is a line in a diff."""
    return "[\n" + ",\n".join(_line(item) for item in items) + "\n]"


def dump_recording(recording: Recording) -> bytes:
    """Return the bytes of recording.json: one call, leaf or file a line."""
    origin = recording.origin
    header: dict[str, Json] = {
        "kind": origin.kind, "text": origin.text, "licence": origin.licence,
    }  # fmt: skip
    smi = recording.nvidia_smi
    parts = [
        f'"schema":{_line(SCHEMA)}',
        f'"origin":{_line(header)}',
        f'"tool":{_line(recording.tool)}',
        f'"recorded_ms":{_line(recording.recorded_ms)}',
        f'"unlisted":{_line(recording.unlisted)}',
        f'"missing":{_line(list(recording.missing))}',
        f'"nvml":{_lines(_call_json(call) for call in recording.calls)}',
    ]
    if smi is not None:
        head: dict[str, Json] = {"argv": list(smi.argv), "exit": smi.exit_code}
        leaves = _lines([path, value] for path, value in smi.leaves)
        parts.append(f'"nvidia_smi":{{{_line(head)[1:-1]},"leaves":{leaves}}}')
    files = ",\n".join(
        f"{_line(path)}:{_line(_file_json(entry))}"
        for path, entry in sorted(recording.files.items())
    )
    parts.append(f'"files":{{\n{files}\n}}')
    parts.append(f'"commands":{_lines(_command_json(entry) for entry in recording.commands)}')
    if recording.measured:
        parts.append(f'"measured":{_lines(row_json(row) for row in recording.measured)}')
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


class _Reader:
    """Typed access to the parsed document, with the place in every complaint."""

    def __init__(self, origin: str, value: Json, where: str) -> None:
        self._origin = origin
        self._where = where
        if not isinstance(value, dict):
            raise self.error("an object has to stand here")
        self._value = value

    def error(self, message: str) -> RecordingError:
        """Return a complaint about this place."""
        return RecordingError(self._origin, message, self._where)

    def only(self, *names: str) -> None:
        """Refuse keys that the format does not have."""
        for name in self._value:
            if name not in names:
                raise self.error(f"the recording format has no key {name!r} here")

    def get(self, name: str) -> Json:
        """Return a value or None."""
        return self._value.get(name)

    def has(self, name: str) -> bool:
        """Whether there is a value."""
        return name in self._value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        value = self._value.get(name, default)
        if not isinstance(value, str):
            raise self.error(f"{name!r} has to be text")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer."""
        value = self._value.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"{name!r} has to be an integer")
        return value

    def items(self, name: str) -> list[Json]:
        """Return a list, empty where there is none."""
        value = self._value.get(name, [])
        if not isinstance(value, list):
            raise self.error(f"{name!r} has to be a list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        items = self.items(name)
        if not all(isinstance(item, str) for item in items):
            raise self.error(f"{name!r} has to be a list of texts")
        return tuple(cast("list[str]", items))

    def data(self, name: str) -> bytes:
        """Return bytes that stand as `{"text": …}` or `{"hex": …}`."""
        if name not in self._value:
            return b""
        inner = _Reader(self._origin, self._value[name], f"{self._where}.{name}")
        inner.only("text", "hex")
        return inner.content()

    def content(self) -> bytes:
        """Return the bytes that "text" or "hex" of this object stand for."""
        if "hex" not in self._value:
            return self.text("text", "").encode("utf-8")
        try:
            return bytes.fromhex(self.text("hex"))
        except ValueError:
            raise self.error("'hex' has to be pairs of hex digits") from None


def _read_call(origin: str, value: Json, where: str) -> NvmlCall:
    """Check and build one call."""
    reader = _Reader(origin, value, where)
    reader.only("symbol", "arguments", "in", "return", "out", "lists", "raw")
    arguments = reader.items("arguments")
    if not all(isinstance(item, (int, str)) for item in arguments):
        raise reader.error("'arguments' have to be integers or texts")
    given = reader.get("in") or {}
    if not isinstance(given, dict):
        raise reader.error("'in' has to be an object")
    is_list = reader.has("lists")
    return NvmlCall(
        symbol=reader.text("symbol"),
        arguments=tuple(cast("list[int | str]", arguments)),
        given=given,
        returns=reader.integer("return", 0),
        out=tuple(reader.items("lists" if is_list else "out")),
        raw=reader.texts("raw"),
        is_list=is_list,
    )


def _read_file(origin: str, value: Json, where: str) -> FileEntry:
    """Check and build one file entry."""
    reader = _Reader(origin, value, where)
    reader.only("text", "hex", "size", "sha256", "directory", "link", "node", "error")
    kind = "link" if reader.has("link") else "absent"
    data, size, names = b"", None, None
    if reader.has("directory"):
        kind = "directory"
        names = reader.texts("directory") if reader.get("directory") is not None else None
    elif reader.has("text") or reader.has("hex"):
        kind = "file"
        data = reader.content()
        size = reader.integer("size", len(data))
        if not len(data) <= size <= 1 << 24:
            raise reader.error("'size' has to be at least the content and at most 16 MiB")
    elif reader.has("node"):
        kind = reader.text("node")
        if kind not in NODES:
            raise reader.error(f"'node' has to be one of {', '.join(NODES)}")
    elif reader.has("sha256"):
        kind = "file"
    return FileEntry(
        kind=kind,
        data=data,
        size=size,
        names=names,
        target=reader.text("link", ""),
        errno=reader.integer("error", 0),
        sha256=reader.text("sha256", ""),
    )


def _read_command(origin: str, value: Json, where: str) -> CommandEntry:
    """Check and build one command."""
    reader = _Reader(origin, value, where)
    reader.only("argv", "exit", "stdout", "stderr", "timed_out")
    return CommandEntry(
        argv=reader.texts("argv"),
        exit_code=None if reader.get("exit") is None else reader.integer("exit"),
        stdout=reader.data("stdout"),
        stderr=reader.data("stderr"),
        timed_out=reader.get("timed_out") is True,
    )


def _read_smi(origin: str, value: Json) -> SmiEntry:
    """Check and build the nvidia-smi document."""
    reader = _Reader(origin, value, "nvidia_smi")
    reader.only("argv", "exit", "leaves")
    leaves: list[tuple[str, str]] = []
    for item in reader.items("leaves"):
        if not (isinstance(item, list) and len(item) == 2):
            raise reader.error("a leaf is a list of path and value")
        path, text = item
        if not (isinstance(path, str) and isinstance(text, str)):
            raise reader.error("path and value of a leaf are texts")
        leaves.append((path, text))
    return SmiEntry(
        argv=reader.texts("argv"), exit_code=reader.integer("exit", 0), leaves=tuple(leaves)
    )


def load_recording(data: bytes, origin: str) -> Recording:
    """Read recording.json.

    Args:
        data: Its bytes.
        origin: What it was read from, for messages.

    Raises:
        RecordingError: It is not a recording of this format.
        FormatError: It is not even strict JSON.
    """
    from gpuverify.codec import strict_json

    top = _Reader(origin, cast("Json", strict_json.loads(data, origin)), "")
    top.only(
        "schema", "origin", "tool", "recorded_ms", "unlisted", "missing", "nvml", "nvidia_smi",
        "files", "commands", "measured",
    )  # fmt: skip
    if top.text("schema", "") != SCHEMA:
        raise top.error(f"a recording says schema {SCHEMA!r} first")
    if top.text("unlisted", "error") not in UNLISTED:
        raise top.error("'unlisted' has to be error or absent")
    head = _Reader(origin, top.get("origin"), "origin")
    head.only("kind", "text", "licence")
    if head.text("kind") not in ("real", "synthetic", "derived"):
        raise head.error("'kind' has to be real, derived or synthetic")
    files = top.get("files") or {}
    if not isinstance(files, dict):
        raise top.error("'files' has to be an object")
    recorded = top.get("recorded_ms")
    return Recording(
        origin=Origin(kind=head.text("kind"), text=head.text("text"), licence=head.text("licence")),
        tool=top.text("tool", ""),
        recorded_ms=None if recorded is None else top.integer("recorded_ms"),
        unlisted=top.text("unlisted", "error"),
        calls=tuple(
            _read_call(origin, item, f"nvml[{index}]")
            for index, item in enumerate(top.items("nvml"))
        ),
        missing=top.texts("missing"),
        nvidia_smi=_read_smi(origin, top.get("nvidia_smi")) if top.has("nvidia_smi") else None,
        files={path: _read_file(origin, item, f"files[{path}]") for path, item in files.items()},
        commands=tuple(
            _read_command(origin, item, f"commands[{index}]")
            for index, item in enumerate(top.items("commands"))
        ),
        measured=read_rows(top.items("measured"), origin),
    )
