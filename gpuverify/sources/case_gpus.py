"""Edits that concern a whole GPU of a recording: copying it, taking it away, and its identity."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from gpuverify.sources.case_draft import DEVICES, Draft, EditError
from gpuverify.sources.recording import FileEntry, NvmlCall
from gpuverify.sources.recording_ctypes import Json, integer_of, number

_PARTS = ("nvml", "nvidia-smi", "pci", "procfs", "node", "gpu")
# Buses of the eight cards in a common HGX server; further cards follow behind them.
_BUSES = (0x07, 0x0A, 0x47, 0x4D, 0x87, 0x8D, 0xB7, 0xBD)
_IDENTITY = ("gpu.uuid", "gpu.serial", "gpu.pdi")


def _handle_calls(draft: Draft) -> list[NvmlCall]:
    """Return the calls that give a handle by index, in index order."""
    calls = [
        call
        for call in draft.calls
        if call.symbol == "nvmlDeviceGetHandleByIndex_v2" and call.returns == 0
    ]
    return sorted(calls, key=lambda call: str(call.arguments[0]).zfill(4))


def _set_count(draft: Draft) -> None:
    """Let NVML and nvidia-smi count the GPUs that are there."""
    count = len(_handle_calls(draft))
    draft.set_value("nvmlDeviceGetCount_v2", (), "", count)
    if any(path == "attached_gpus" for path, _ in draft.leaves):
        shown = {path.split("/", 1)[0] for path, _ in draft.leaves if path.startswith("gpu[")}
        draft.set_leaf("attached_gpus", str(len(shown)))


def drop_part(draft: Draft, gpu: int, part: str) -> None:
    """Let one source, or all, know nothing of a GPU; the others keep their numbers in edits.

    Args:
        draft: The recording.
        gpu: NVML index in the base.
        part: "nvml", "nvidia-smi", "pci", "procfs", "node", or "gpu" for all of them.
    """
    if part not in _PARTS:
        raise EditError(f"drop = {part!r}; known are {', '.join(_PARTS)}")
    bus = draft.bus_id(gpu)
    minor = _minor(draft, gpu)
    if part in ("nvidia-smi", "gpu"):
        draft.drop_leaf(f"gpu[{gpu}]")
    gone = {
        "pci": (f"{DEVICES}/{bus}",),
        "procfs": (f"/proc/driver/nvidia/gpus/{bus}",),
        "node": (f"/dev/nvidia{minor}",),
    }
    fronts = (
        gone.get(part, ())
        if part != "gpu"
        else tuple(front for group in gone.values() for front in group)
    )
    draft.files = {
        path: entry
        for path, entry in draft.files.items()
        if not any(path == front or path.startswith(front + "/") for front in fronts)
    }
    if part in ("nvml", "gpu"):
        left = [call for call in _handle_calls(draft) if call.out != (f"gpu[{gpu}]",)]
        draft.calls = [
            call
            for call in draft.calls
            if call.symbol != "nvmlDeviceGetHandleByIndex_v2" and call.out != (f"gpu[{gpu}]",)
        ]
        draft.calls += [replace(call, arguments=(index,)) for index, call in enumerate(left)]
    _set_count(draft)


def _minor(draft: Draft, gpu: int) -> int:
    """Return N of a GPU's /dev/nvidiaN."""
    for call in draft.calls:
        if call.symbol == "nvmlDeviceGetMinorNumber" and call.arguments == (f"gpu[{gpu}]",):
            return integer_of(call.out[0]) if call.out else gpu
    return gpu


def _identity(draft: Draft, gpu: int) -> dict[str, str]:
    """Return UUID, serial and PDI of a GPU as NVML gives them."""
    found: dict[str, str] = {}
    symbols = {
        "nvmlDeviceGetUUID": "gpu.uuid", "nvmlDeviceGetSerial": "gpu.serial",
        "nvmlDeviceGetPdi": "gpu.pdi",
    }  # fmt: skip
    for call in draft.calls:
        claim = symbols.get(call.symbol)
        if claim and call.arguments == (f"gpu[{gpu}]",) and call.out:
            value = call.out[0]
            if isinstance(value, dict):
                found[claim] = f"0x{integer_of(value.get('value', 0)):016x}"
            elif isinstance(value, str):
                found[claim] = value
    return found


def _fresh(claim: str, old: str, new: int) -> str:
    """Return an invented identity for a copy, the same for the same base each time."""
    if claim == "gpu.serial" and old.isdigit():
        return str(int(old) + 13 * new).zfill(len(old))
    digits = hashlib.sha256(f"{old} copy {new}".encode()).hexdigest()
    if claim == "gpu.pdi":
        return f"0x{digits[:16]}"
    return "GPU-" + "-".join(
        (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32])
    )


def _replaced(value: Json, swaps: dict[str, str]) -> Json:
    """Replace texts inside a JSON value."""
    if isinstance(value, str):
        for old, new in swaps.items():
            if old in value:
                value = value.replace(old, new)
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return [_replaced(item, swaps) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item, swaps) for name, item in value.items()}
    return value


def _like(call: NvmlCall, arguments: tuple[int | str, ...], out: tuple[Json, ...]) -> NvmlCall:
    """Return a call as it is, about another GPU; raw bytes are of the first one alone."""
    return NvmlCall(
        symbol=call.symbol, arguments=arguments, given=call.given, returns=call.returns,
        out=out, is_list=call.is_list,
    )  # fmt: skip


def copy_gpu(draft: Draft, gpu: int, keep: tuple[str, ...] = ()) -> int:
    """Add a copy of a GPU with its own bus id, minor, UUID, serial and PDI.

    Args:
        draft: The recording.
        gpu: NVML index of the one to copy.
        keep: Claims that the copy shares with it, e.g. "gpu.serial" for two GPUs of one board.

    Returns:
        NVML index of the copy.
    """
    for claim in keep:
        if claim not in _IDENTITY:
            raise EditError(f"keep = {claim!r}; known are {', '.join(_IDENTITY)}")
    new = draft.gpu_count
    bus, minor = draft.bus_id(gpu), _minor(draft, gpu)
    taken = {draft.bus_id(other) for other in range(new)}
    free = [
        number for number in (*_BUSES, *range(0xC1, 0xFF)) if f"0000:{number:02x}:00.0" not in taken
    ]
    if not free:
        raise EditError("no PCI bus is left for another copy")
    new_bus = f"0000:{free[0]:02x}:00.0"
    swaps = {
        old: _fresh(claim, old, new)
        for claim, old in _identity(draft, gpu).items()
        if claim not in keep
    }
    long_old, long_new = f"{bus.upper():0>16}", f"{new_bus.upper():0>16}"
    swaps |= {long_old: long_new, bus.upper(): new_bus.upper(), bus: new_bus}
    _copy_calls(draft, gpu, new, swaps, free[0], keep=keep)
    _copy_leaves(draft, gpu, new, swaps, free[0])
    _copy_files(draft, (bus, minor), (new_bus, new), swaps)
    _copy_measured(draft, (long_old, long_new), swaps)
    _set_count(draft)
    return new


def _copy_measured(draft: Draft, bus: tuple[str, str], swaps: dict[str, str]) -> None:
    """Add what was measured of the old GPU for the new one."""
    old, new = bus
    for row in [row for row in draft.measured if row.bus_id == old]:
        value = row.claim.value
        if isinstance(value, str):
            value = swaps.get(value, value)
        draft.measured.append(replace(row, bus_id=new, claim=replace(row.claim, value=value)))


def _copy_calls(
    draft: Draft, gpu: int, new: int, swaps: dict[str, str], bus: int, *, keep: tuple[str, ...]
) -> None:
    """Copy the calls about a GPU, and those that find it."""
    handle, name = f"gpu[{gpu}]", f"gpu[{new}]"
    values: dict[str, Json] = {
        "nvmlDeviceGetIndex": new,
        "nvmlDeviceGetMinorNumber": new,
        "nvmlDeviceGetBoardId": bus << 8,
    }
    added: list[NvmlCall] = []
    pdi = next((swap for old, swap in swaps.items() if old.startswith("0x")), None)
    for call in draft.calls:
        if call.out == (handle,):
            first = new if "ByIndex" in call.symbol else _replaced(call.arguments[0], swaps)
            if first != call.arguments[0] and isinstance(first, (int, str)):
                added.append(replace(call, arguments=(first,), out=(name,)))
            continue
        if call.arguments[:1] != (handle,):
            continue
        out = tuple(_replaced(item, swaps) for item in call.out)
        if call.symbol in values and call.out:
            out = (values[call.symbol],)
        elif call.symbol == "nvmlDeviceGetModuleId" and call.out and call.out[0]:
            out = (integer_of(call.out[0]) + new,)
        elif call.symbol.startswith("nvmlDeviceGetPciInfo"):
            out = tuple({**item, "bus": bus} if isinstance(item, dict) else item for item in out)
        elif call.symbol == "nvmlDeviceGetPdi" and pdi and "gpu.pdi" not in keep and call.out:
            out = ({"value": number(int(pdi, 16))},)
        added.append(_like(call, (name, *call.arguments[1:]), out))
    draft.calls += added


def _copy_leaves(draft: Draft, gpu: int, new: int, swaps: dict[str, str], bus: int) -> None:
    """Copy nvidia-smi's leaves of a GPU."""
    own = {
        "minor_number": str(new), "board_id": hex(bus << 8), "pci/pci_bus": f"{bus:02X}",
    }  # fmt: skip
    front = f"gpu[{gpu}]/"
    for path, value in list(draft.leaves):
        if not path.startswith(front):
            continue
        rest = path[len(front) :]
        text = own.get(rest) or str(_replaced(value, swaps))
        if rest == "platformInfo/module_id" and value.isdigit() and value != "0":
            text = str(int(value) + new)
        draft.leaves.append((f"gpu[{new}]/{rest}", text))


def _copy_files(
    draft: Draft, old: tuple[str, int], new: tuple[str, int], swaps: dict[str, str]
) -> None:
    """Copy a GPU's files."""
    (bus, minor), (_, new_minor) = old, new
    bridge = ""
    link = draft.files.get(f"{DEVICES}/{bus}")
    if link is not None and link.target.count("/") > 2:
        bridge = link.target.split("/")[-2]
    new_bridge = f"0000:00:{new_minor + 1:02x}.0"
    names = {**swaps, **({bridge: new_bridge} if re.match(r"\d{4}:", bridge) else {})}
    fronts = [f"{DEVICES}/{bus}", f"/proc/driver/nvidia/gpus/{bus}"]
    if bridge in names:
        fronts.append(f"{DEVICES}/{bridge}")
    inside = tuple(front + "/" for front in fronts)
    for path, entry in list(draft.files.items()):
        if path not in fronts and not path.startswith(inside):
            continue
        copied = replace(entry, target=str(_replaced(entry.target, names)))
        if path.endswith("/information"):
            text = str(_replaced(entry.data.decode("utf-8"), names))
            text = re.sub(r"(Device Minor:\s*)\d+", rf"\g<1>{new_minor}", text)
            copied = FileEntry.text(text)
        draft.files[str(_replaced(path, names))] = copied
    if f"/dev/nvidia{minor}" in draft.files:
        draft.files[f"/dev/nvidia{new_minor}"] = draft.files[f"/dev/nvidia{minor}"]
