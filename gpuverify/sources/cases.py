"""Cases: folders with a recording, or with a base and the edits that make the lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuverify.errors import FormatError, MissingInputError
from gpuverify.sources.recording import Recording, RecordingError, load_recording

_MAX_BASES = 8
_MAX_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        name: "family/case", or the folder's path where it is not one of ours.
        folder: Where it stands; `expected.toml` may stand beside the recording.
        recording: The recording, edits applied.
        text: What the case shows.
    """

    name: str
    folder: Path
    recording: Recording
    text: str = ""


def fixtures_folder() -> Path:
    """Return the folder of the bundled cases: inside the wheel, or beside an editable install."""
    package = Path(__file__).resolve().parent.parent
    bundled = package / "fixtures"
    return bundled if bundled.is_dir() else package.parent / "fixtures"


def _some() -> str:
    """Name a few bundled cases, one a family."""
    first: dict[str, str] = {}
    for name in case_names():
        first.setdefault(name.split("/", 1)[0], name)
    return ", ".join(list(first.values())[:4])


def case_names() -> tuple[str, ...]:
    """Return the names of all bundled cases."""
    root = fixtures_folder()
    found = {
        path.parent.relative_to(root).as_posix()
        for pattern in ("*/*/recording.json", "*/*/case.toml")
        for path in root.glob(pattern)
    }
    return tuple(sorted(found))


def _find(name_or_path: str) -> tuple[str, Path]:
    """Return name and folder of a case."""
    bundled = fixtures_folder() / name_or_path
    plain = not name_or_path.startswith(("/", ".")) and ".." not in name_or_path
    for name, folder in ((name_or_path, bundled), (name_or_path, Path(name_or_path))):
        if folder is bundled and not plain:
            continue
        try:
            if folder.is_file() and folder.name in ("recording.json", "case.toml"):
                return name, folder.parent
            if (folder / "recording.json").is_file() or (folder / "case.toml").is_file():
                return name, folder
        except (OSError, ValueError):
            continue  # too long for a name, or closed to us: then it is no case
    near = [name for name in case_names() if name_or_path.rsplit("/", 1)[-1] in name][:5]
    hint = f"did you mean {', '.join(near)}" if near else f"give a folder, or one such as {_some()}"
    raise MissingInputError(f"{name_or_path}: no such case; {hint}")


def _read(path: Path) -> bytes:
    """Read a file of a case, bounded."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise FormatError(str(path), "larger than 32 MiB")
    return data


def load_case(name_or_path: str) -> Case:
    """Load a case.

    Args:
        name_or_path: Name of a bundled case ("ga100/a100-40gb-sold-as-80gb"), or a folder.

    Raises:
        MissingInputError: There is no such case.
        FormatError: It is malformed.
    """
    return _load(name_or_path, _MAX_BASES)


def _load(name_or_path: str, depth: int) -> Case:
    """Load a case and, before it, its base."""
    name, folder = _find(name_or_path)
    edits = folder / "case.toml"
    if not edits.is_file():
        path = folder / "recording.json"
        recording = load_recording(_read(path), str(path))
        return Case(name=name, folder=folder, recording=recording, text=recording.origin.text)
    if depth == 0:
        raise FormatError(str(edits), f"more than {_MAX_BASES} bases stand behind each other")
    from gpuverify.codec import toml

    document = toml.loads(_read(edits), str(edits))
    return _derive(name, folder, document, depth)


def _derive(name: str, folder: Path, document: dict[str, Any], depth: int) -> Case:
    """Apply the edits of case.toml to its base."""
    from gpuverify.sources.case_draft import Draft, EditError
    from gpuverify.sources.case_edits import apply_edit
    from gpuverify.sources.case_gpus import copy_gpu

    origin = str(folder / "case.toml")
    for key in document:
        if key not in ("base", "text", "copies", "edit"):
            raise RecordingError(origin, f"a case has no key {key!r}")
    base, text, copies = document.get("base"), document.get("text", ""), document.get("copies", 1)
    edits = document.get("edit", [])
    if not isinstance(base, str) or not isinstance(text, str) or not isinstance(edits, list):
        raise RecordingError(origin, "'base' and 'text' are texts, 'edit' is a list of tables")
    if isinstance(copies, bool) or not isinstance(copies, int) or not 1 <= copies <= 64:
        raise RecordingError(origin, "'copies' is how many GPUs like the base's first, 1 to 64")
    inside = folder.parent / base if base.startswith(".") else None
    draft = Draft(_load(str(inside or base), depth - 1).recording)
    where = "copies"
    try:
        for _ in range(copies - 1):
            copy_gpu(draft, 0)
        for index, edit in enumerate(edits):
            where = f"edit {index + 1}"
            if not isinstance(edit, dict):
                raise EditError("an edit is a table")
            apply_edit(draft, edit)
    except EditError as error:
        raise RecordingError(origin, str(error), where) from error
    return Case(name=name, folder=folder, recording=draft.finish(text), text=text)
