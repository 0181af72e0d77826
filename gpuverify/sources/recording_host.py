"""The file tree and the commands of a recording, and proxies that record those of a machine."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from gpuverify.sources.commands import CommandOutput, CommandRunner
from gpuverify.sources.host_tree import DEFAULT_LIMIT_BYTES, HostTree
from gpuverify.sources.recording import (
    CommandEntry,
    FileEntry,
    Recording,
    RecordingError,
    SmiEntry,
)

_MAX_LINKS = 40


def is_smi_document(argv: tuple[str, ...]) -> bool:
    """Whether a command line asks nvidia-smi for its document."""
    return bool(argv) and argv[0].rsplit("/", 1)[-1] == "nvidia-smi" and argv[1:] == ("-q", "-x")


class ReplayedTree:
    """The files of a recording.

    Attributes:
        unknown: Paths that were asked for and are not in the recording, where that is an error.
    """

    def __init__(self, recording: Recording) -> None:
        """Stand over the files of `recording`."""
        self.unknown: list[str] = []
        self._files = recording.files
        self._strict = recording.unlisted != "absent"
        self._children: dict[str, set[str]] = {}
        for path in recording.files:
            while path not in ("", "/"):
                path, _, name = path.rpartition("/")  # noqa: PLW2901 - walking up to the root
                self._children.setdefault(path or "/", set()).add(name)

    @property
    def is_machine(self) -> bool:
        """A recording is never the machine itself."""
        return False

    def _resolve(self, path: str, *, last: bool) -> str:
        """Follow recorded links in a path's folders, and at its end if `last`."""
        for _ in range(_MAX_LINKS):
            parts = path.split("/")
            for count in range(2, len(parts) + (1 if last else 0)):
                front = "/".join(parts[:count])
                entry = self._files.get(front)
                if entry is not None and entry.target:
                    rest = "/".join(parts[count:])
                    folder = front.rpartition("/")[0] or "/"
                    joined = os.path.normpath(os.path.join(folder, entry.target, rest))  # noqa: PTH118
                    break
            else:
                return path
            path = joined
        return path

    def _find(self, path: str) -> FileEntry | None:
        """Return the entry for a path, links followed."""
        path = os.path.normpath(path)
        entry = self._files.get(path)
        if entry is not None and entry.kind != "link":
            return entry
        return self._files.get(self._resolve(path, last=True))

    def _folder(self, path: str) -> set[str] | None:
        """Return the names under a path, from the other paths."""
        path = os.path.normpath(path)
        found = self._children.get(path)
        return found if found is not None else self._children.get(self._resolve(path, last=True))

    def _absent(self, path: str) -> OSError:
        """Return the error for something that is not there; note what was never recorded."""
        if self._strict:
            self.unknown.append(path)
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _checked(self, path: str) -> FileEntry:
        """Return an entry that can be read."""
        entry = self._find(path)
        if entry is None:
            if self._folder(path) is not None:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise self._absent(path)
        if entry.errno:
            raise OSError(entry.errno, os.strerror(entry.errno), path)
        if entry.kind == "absent":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entry

    def read(self, path: str, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """Return at most `limit` bytes of a file."""
        entry = self._checked(path)
        if entry.kind == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if entry.size is None:
            raise self._absent(path)
        return entry.data.ljust(min(entry.size, limit), b"\0")[:limit]

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        entry = self._find(path)
        if entry is not None and entry.errno:
            raise OSError(entry.errno, os.strerror(entry.errno), path)
        if entry is not None and entry.names is not None:
            return tuple(sorted(entry.names))
        children = self._folder(path)
        if children is not None:
            return tuple(sorted(children))
        if entry is not None and entry.kind == "directory":
            return ()
        if entry is not None and entry.kind != "absent":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        raise self._absent(path) if entry is None else self._gone(path)

    def _gone(self, path: str) -> OSError:
        """Return the error for a path that was recorded as absent."""
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        path = os.path.normpath(path)
        entry = self._files.get(path) or self._files.get(self._resolve(path, last=False))
        if entry is None:
            if self._folder(path) is None:
                raise self._absent(path)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        if entry.target:
            return entry.target
        if entry.errno:
            raise OSError(entry.errno, os.strerror(entry.errno), path)
        if entry.kind == "absent":
            raise self._gone(path)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    def kind(self, path: str) -> str:
        """Return what stands at a path, links followed."""
        entry = self._find(path)
        if entry is not None and entry.kind != "link":
            return entry.kind
        if self._folder(path) is not None:
            return "directory"
        if entry is None and self._strict:
            self.unknown.append(path)
        return "absent"

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a whole file, in hex."""
        entry = self._checked(path)
        if entry.sha256:
            return entry.sha256
        import hashlib

        return hashlib.sha256(self.read(path, max(entry.size or 0, 1))).hexdigest()


class ReplayedCommands:
    """The commands of a recording.

    Attributes:
        unknown: Command lines that are not in the recording, where that is an error.
    """

    def __init__(self, recording: Recording) -> None:
        """Stand over the commands of `recording`."""
        self.unknown: list[str] = []
        self._strict = recording.unlisted != "absent"
        self._smi = recording.nvidia_smi
        self._commands = {entry.argv: entry for entry in recording.commands}

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        """Return what a command gave when it was recorded.

        Args:
            argv: The command line; any path of nvidia-smi gives the recorded document.
            timeout_s: Not needed here.
            limit: Most bytes kept of each output.
        """
        del timeout_s
        entry = self._commands.get(argv)
        if entry is not None:
            return CommandOutput(
                exit_code=entry.exit_code,
                stdout=entry.stdout[:limit],
                stderr=entry.stderr[:limit],
                timed_out=entry.timed_out,
                error=None if entry.exit_code is not None or entry.timed_out else errno.ENOENT,
            )
        if self._smi is not None and is_smi_document(argv):
            from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves

            document = xml_from_leaves(list(self._smi.leaves))
            return CommandOutput(exit_code=self._smi.exit_code, stdout=document[:limit])
        if self._strict:
            self.unknown.append(" ".join(argv))
        return CommandOutput(exit_code=None, error=errno.ENOENT)


def raise_unknown(*players: ReplayedTree | ReplayedCommands | None, nvml: list[str]) -> None:
    """Raise for whatever a finished replay was asked and could not answer.

    Args:
        *players: The tree and the commands that were replayed.
        nvml: Unknown NVML calls.

    Raises:
        RecordingError: There was something.
    """
    unknown = [*nvml, *(what for player in players if player for what in player.unknown)]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise RecordingError(
            "recording",
            f"it was asked for what it does not hold: {', '.join(unknown[:3])}{more}; "
            'record it again, or say unlisted = "absent"',
        )


class RecordingTree:
    """A proxy that notes every file access of another tree.

    Attributes:
        files: What was seen so far, by path.
    """

    def __init__(self, tree: HostTree) -> None:
        """Stand in front of `tree`."""
        self.files: dict[str, FileEntry] = {}
        self._tree = tree

    @property
    def is_machine(self) -> bool:
        """Never: a source that asks its own process would be told what no replay can give."""
        return False

    def _entry(self, path: str) -> FileEntry:
        """Return what is known of a path so far."""
        return self.files.get(path) or FileEntry(kind="link")

    def _failed(self, path: str, error: OSError) -> None:
        """Keep a refusal, unless it follows from what stands there."""
        entry = self._entry(path)
        kind = self._tree.kind(path) if entry.kind == "link" else entry.kind
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR) and kind == "absent"
        follows = absent or error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
        number = entry.errno if follows else (error.errno or errno.EIO)
        self.files[path] = replace(entry, kind=kind, errno=number)

    def read(self, path: str, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """Return at most `limit` bytes of a file, and keep them."""
        try:
            data = self._tree.read(path, limit)
        except OSError as error:
            self._failed(path, error)
            raise
        entry = self._entry(path)
        if entry.size is None or len(data) >= entry.size:
            kept = data.rstrip(b"\0") if data.count(0) > 64 else data
            self.files[path] = replace(entry, kind="file", data=kept, size=len(data))
        return data

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, and keep them."""
        try:
            found = self._tree.names(path)
        except OSError as error:
            self._failed(path, error)
            raise
        self.files[path] = replace(self._entry(path), kind="directory", names=found)
        return found

    def link(self, path: str) -> str:
        """Return the target of a symbolic link, and keep it."""
        try:
            target = self._tree.link(path)
        except OSError as error:
            self._failed(path, error)
            raise
        self.files[path] = replace(self._entry(path), target=target)
        return target

    def kind(self, path: str) -> str:
        """Return what stands at a path, and keep it."""
        found = self._tree.kind(path)
        self.files[path] = replace(self._entry(path), kind=found)
        return found

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a whole file, and keep it."""
        try:
            digest = self._tree.sha256(path)
        except OSError as error:
            self._failed(path, error)
            raise
        self.files[path] = replace(self._entry(path), kind="file", sha256=digest)
        return digest


class RecordingCommands:
    """A proxy that notes what commands gave.

    Attributes:
        commands: The commands so far, without nvidia-smi's document.
        nvidia_smi: The document, taken apart; None if it was not asked or could not be read.
    """

    def __init__(self, commands: CommandRunner) -> None:
        """Stand in front of `commands`."""
        self.commands: list[CommandEntry] = []
        self.nvidia_smi: SmiEntry | None = None
        self._commands = commands

    def run(self, argv: tuple[str, ...], timeout_s: float, limit: int) -> CommandOutput:
        """Run a command and keep its output.

        Args:
            argv: The command line.
            timeout_s: Time it may take.
            limit: Most bytes kept of each output.
        """
        output = self._commands.run(argv, timeout_s, limit)
        if (
            is_smi_document(argv)
            and output.exit_code is not None
            and self._take_apart(argv, output)
        ):
            return output
        self.commands.append(
            CommandEntry(
                argv=argv,
                exit_code=output.exit_code,
                stdout=output.stdout,
                stderr=output.stderr,
                timed_out=output.timed_out,
            )
        )
        return output

    def _take_apart(self, argv: tuple[str, ...], output: CommandOutput) -> bool:
        """Keep nvidia-smi's document as leaves; False if it is none."""
        from gpuverify.codec.nvidia_smi_leaves import leaves_from_xml
        from gpuverify.errors import FormatError

        try:
            leaves = tuple(leaves_from_xml(output.stdout, "nvidia-smi"))
        except FormatError:
            return False
        self.nvidia_smi = SmiEntry(argv=argv, exit_code=output.exit_code or 0, leaves=leaves)
        return True
