"""The `[[edit]]` tables of case.toml: what each may hold, and applying it to a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Value
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.sources.case_claims import DEVICE_ROWS, HOST_ROWS, clear_row, set_row
from gpuverify.sources.case_draft import Draft, EditError
from gpuverify.sources.case_gpus import copy_gpu, drop_part
from gpuverify.sources.case_special import SPECIAL
from gpuverify.sources.recording import CommandEntry, FileEntry
from gpuverify.sources.recording_ctypes import Json
from gpuverify.sources.recording_measured import SOURCES, read_rows

Edit = Mapping[str, Any]

_MAX_COPIES = 256


def _gpus(draft: Draft, edit: Edit) -> list[int]:
    """Return the GPUs that an edit concerns; all where it names none."""
    gpu = edit.get("gpu", "all")
    if gpu == "all":
        return list(range(draft.gpu_count))
    if isinstance(gpu, bool) or not isinstance(gpu, int):
        raise EditError(f'gpu = {gpu!r}; it has to be an index or "all"')
    return [gpu]


def _need(edit: Edit, name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a key that an edit must have, with its type."""
    value = edit.get(name)
    if value is None or not isinstance(value, kind):
        raise EditError(f"{name!r} is missing or of the wrong type")
    return value


def _arguments(edit: Edit) -> tuple[int | str, ...]:
    """Return the arguments after the handle."""
    items = edit.get("arguments", [])
    if not isinstance(items, list) or not all(isinstance(item, (int, str)) for item in items):
        raise EditError("'arguments' have to be integers or texts")
    return tuple(items)


def _claim(draft: Draft, edit: Edit) -> None:
    """Set a claim's value, or take it away with `absent`."""
    claim = _need(edit, "claim", str)
    absent = edit.get("absent")
    value: Value | None = None if absent else _need(edit, "value", (str, int, bool))
    host = HOST_ROWS.get(claim)
    if host is not None:
        if value is None:
            clear_row(draft, host, None, str(absent))
        else:
            set_row(draft, host, None, value)
        return
    row, special = DEVICE_ROWS.get(claim), SPECIAL.get(claim)
    if row is None and special is None:
        raise EditError(f"{claim!r} cannot be edited by its name; use nvml, leaf, file or procfs")
    for gpu in _gpus(draft, edit):
        if row is not None and value is None:
            clear_row(draft, row, gpu, str(absent))
        elif row is not None and value is not None:
            set_row(draft, row, gpu, value)
        elif special is not None and value is not None:
            special(draft, gpu, value)
        else:
            raise EditError(f"{claim!r} has no 'absent'; use fail")


def _nvml(draft: Draft, edit: Edit) -> None:
    """Set what one NVML call fills in, and nothing else."""
    symbol = _need(edit, "nvml", str)
    value: Json = _need(edit, "value", (str, int, bool, list))
    for handle in _handles(draft, edit, symbol):
        arguments = (*handle, *_arguments(edit))
        if isinstance(value, list):
            draft.set_lists(symbol, arguments, tuple(value))
        else:
            draft.set_value(symbol, arguments, str(edit.get("field", "")), value)


def _handles(draft: Draft, edit: Edit, symbol: str) -> list[tuple[str, ...]]:
    """Return the first arguments of a symbol's calls: a handle each, or nothing."""
    if symbol.startswith("nvmlDeviceGetHandleBy") or not symbol.startswith("nvmlDevice"):
        return [()]
    if symbol in ("nvmlDeviceGetCount", "nvmlDeviceGetCount_v2"):
        return [()]
    return [(f"gpu[{gpu}]",) for gpu in _gpus(draft, edit)]


def _fail(draft: Draft, edit: Edit) -> None:
    """Let an NVML function fail."""
    symbol, code = _need(edit, "fail", str), _need(edit, "code", int)
    for handle in _handles(draft, edit, "nvmlDevice" if symbol == "*" else symbol):
        if "arguments" in edit or not handle:
            draft.fail_call(symbol, (*handle, *_arguments(edit)), code)
        else:
            draft.fail_symbol(symbol, int(handle[0][4:-1]), code)


def _missing(draft: Draft, edit: Edit) -> None:
    """Let the library be without symbols."""
    wanted = _need(edit, "missing", (str, list))
    for symbol in [wanted] if isinstance(wanted, str) else wanted:
        draft.remove_symbol(str(symbol))


def _leaf(draft: Draft, edit: Edit) -> None:
    """Set or drop a leaf of nvidia-smi's document, and nothing else."""
    path = _need(edit, "leaf", str)
    whole = path.startswith("gpu[") or "gpu" not in edit
    paths = [path] if whole else [f"gpu[{gpu}]/{path}" for gpu in _gpus(draft, edit)]
    for one in paths:
        if edit.get("absent"):
            draft.drop_leaf(one)
        else:
            draft.set_leaf(one, _need(edit, "value", str))


def _procfs(draft: Draft, edit: Edit) -> None:
    """Set a line of /proc/driver/nvidia/gpus/…/information."""
    for gpu in _gpus(draft, edit):
        draft.set_information(gpu, _need(edit, "procfs", str), _need(edit, "value", str))


def _config(draft: Draft, edit: Edit) -> None:
    """Set a number in PCI configuration, in the bytes alone."""
    for gpu in _gpus(draft, edit):
        draft.set_config(gpu, _need(edit, "pci_config", str), _need(edit, "value", int))


def _pci_file(draft: Draft, edit: Edit) -> None:
    """Set a file in a GPU's sysfs folder."""
    name = _need(edit, "pci_file", str)
    for gpu in _gpus(draft, edit):
        _set_file(draft, f"/sys/bus/pci/devices/{draft.bus_id(gpu)}/{name}", edit)


def _file(draft: Draft, edit: Edit) -> None:
    """Set a file."""
    _set_file(draft, _need(edit, "file", str), edit)


def _set_file(draft: Draft, path: str, edit: Edit) -> None:
    """Put what an edit says at a path."""
    if not path.startswith("/"):
        raise EditError(f"{path!r} has to be an absolute path")
    given = [name for name in ("text", "hex", "link", "node", "error", "absent") if name in edit]
    if len(given) != 1:
        raise EditError("a file edit has one of text, hex, link, node, error, absent")
    kind = given[0]
    if kind == "text":
        entry = FileEntry.text(_need(edit, "text", str))
    elif kind == "hex":
        try:
            entry = FileEntry.bytes(bytes.fromhex(_need(edit, "hex", str)))
        except ValueError:
            raise EditError("'hex' has to be pairs of hex digits") from None
    elif kind == "link":
        entry = FileEntry(kind="link", target=_need(edit, "link", str))
    elif kind == "node":
        entry = FileEntry(kind=_need(edit, "node", str))
    elif kind == "error":
        entry = FileEntry(kind="file", errno=_need(edit, "error", int))
    else:
        front = path + "/"
        draft.files = {old: kept for old, kept in draft.files.items() if not old.startswith(front)}
        entry = FileEntry(kind="absent")
    digest = edit.get("sha256")
    draft.files[path] = replace(entry, sha256=digest) if isinstance(digest, str) else entry


def _command(draft: Draft, edit: Edit) -> None:
    """Set what a command gives; `absent` takes it away."""
    argv = tuple(str(part) for part in _need(edit, "command", list))
    draft.commands = [entry for entry in draft.commands if entry.argv != argv]
    if edit.get("absent"):
        return
    timed_out = bool(edit.get("timed_out"))
    draft.commands.append(
        CommandEntry(
            argv=argv,
            exit_code=None if timed_out else int(edit.get("exit", 0)),
            stdout=str(edit.get("stdout", "")).encode(),
            stderr=str(edit.get("stderr", "")).encode(),
            timed_out=timed_out,
        )
    )


def _drop(draft: Draft, edit: Edit) -> None:
    """Let one source, or all, know nothing of a GPU."""
    for gpu in reversed(_gpus(draft, edit)):
        drop_part(draft, gpu, _need(edit, "drop", str))


def _copy(draft: Draft, edit: Edit) -> None:
    """Add copies of a GPU."""
    gpu = _need(edit, "copy_gpu", int)
    keep = edit.get("keep", [])
    times = edit.get("times", 1)
    if not isinstance(keep, list) or not isinstance(times, int) or not 0 < times < _MAX_COPIES:
        raise EditError("'keep' has to be a list of claims, 'times' a small positive number")
    for _ in range(times):
        copy_gpu(draft, gpu, tuple(str(claim) for claim in keep))


def _measured(draft: Draft, edit: Edit) -> None:
    """Set what CUDA said or what was measured, or take it away."""
    claim_id = _need(edit, "measured", str)
    spec = VOCABULARY.get(claim_id)
    speaker = str(edit.get("source", "measured"))
    if spec is None or speaker not in SOURCES:
        raise EditError(f"{claim_id!r} by {speaker!r} is no claim; a source is cuda or measured")
    host = spec.scope is Scope.HOST
    places = [""] if host else [normal_bus_id(draft.bus_id(gpu)) for gpu in _gpus(draft, edit)]
    absent = edit.get("absent")
    given = {"status": absent} if absent else {"value": _need(edit, "value", (str, int, bool))}
    for place in places:
        draft.measured = [
            row
            for row in draft.measured
            if (row.bus_id, row.claim.id, row.claim.source) != (place, claim_id, SOURCES[speaker])
        ]
        made: dict[str, Json] = {"id": claim_id, "source": speaker, **given}
        if place:
            made["gpu"] = place
        draft.measured += read_rows([made], "case.toml")


_KINDS: dict[str, tuple[Callable[[Draft, Edit], None], frozenset[str]]] = {
    "claim": (_claim, frozenset({"gpu", "value", "absent"})),
    "nvml": (_nvml, frozenset({"gpu", "arguments", "field", "value"})),
    "fail": (_fail, frozenset({"gpu", "arguments", "code"})),
    "missing": (_missing, frozenset()),
    "leaf": (_leaf, frozenset({"gpu", "value", "absent"})),
    "procfs": (_procfs, frozenset({"gpu", "value"})),
    "pci_config": (_config, frozenset({"gpu", "value"})),
    "pci_file": (
        _pci_file, frozenset({"gpu", "text", "hex", "link", "node", "error", "absent", "sha256"})
    ),
    "file": (_file, frozenset({"text", "hex", "link", "node", "error", "absent", "sha256"})),
    "command": (_command, frozenset({"exit", "stdout", "stderr", "timed_out", "absent"})),
    "drop": (_drop, frozenset({"gpu"})),
    "measured": (_measured, frozenset({"gpu", "source", "value", "absent"})),
    "copy_gpu": (_copy, frozenset({"keep", "times"})),
}  # fmt: skip


def apply_edit(draft: Draft, edit: Edit) -> None:
    """Apply one `[[edit]]`.

    Args:
        draft: The recording.
        edit: The table.

    Raises:
        EditError: It is not a known edit, or does not fit the recording.
    """
    kinds = [kind for kind in _KINDS if kind in edit]
    if len(kinds) != 1:
        raise EditError(f"an edit has exactly one of {', '.join(_KINDS)}; this has {len(kinds)}")
    do, allowed = _KINDS[kinds[0]]
    for name in edit:
        if name != kinds[0] and name not in allowed:
            known = ", ".join(sorted(allowed)) or "nothing else"
            raise EditError(f"{name!r} does not belong to {kinds[0]!r} (known: {known})")
    try:
        do(draft, edit)
    except (OverflowError, TypeError) as error:
        raise EditError(f"the value does not fit: {error}") from error
