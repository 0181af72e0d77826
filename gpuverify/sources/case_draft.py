"""A recording that is being changed, and the plain edits of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gpuverify.sources.recording import CommandEntry, FileEntry, NvmlCall, Recording
from gpuverify.sources.recording_ctypes import Json
from gpuverify.sources.recording_measured import MeasuredRow

DEVICES = "/sys/bus/pci/devices"
FIELD_VALUES = "nvmlDeviceGetFieldValues"
# Version words of NVML's structures (version << 24 | size), needed where an edit adds a call.
VERSIONS = {
    "nvmlDeviceGetMemoryInfo_v2": 0x02000028,
    "nvmlDeviceGetPciInfoExt": 0x01000040,
    "nvmlDeviceGetPdi": 0x01000010,
    "nvmlDeviceGetRepairStatus": 0x0100000C,
    "nvmlDeviceGetSramEccErrorStatus": 0x01000068,
    "nvmlDeviceGetGpuInstanceProfileInfoV": 0x02000098,
    "nvmlDeviceGetTemperatureV": 0x0100000C,
}
# Byte offset and size of what an edit may name in PCI configuration (type 0 header).
CONFIG_FIELDS = {
    "vendor_id": (0x00, 2),
    "device_id": (0x02, 2),
    "revision_id": (0x08, 1),
    "class_code": (0x09, 3),
    "subsystem_vendor_id": (0x2C, 2),
    "subsystem_device_id": (0x2E, 2),
}
_EXPRESS_MASKS = {
    "link_generation_max": (0x0C, 0xF, 0),
    "link_width_max": (0x0C, 0x3F, 4),
    "link_generation_current": (0x12, 0xF, 0),
    "link_width_current": (0x12, 0x3F, 4),
}


class EditError(ValueError):
    """An edit does not fit the recording that it is applied to."""


class Draft:
    """A recording taken apart, so that edits can change it.

    Attributes:
        recording: What it was made from.
        calls: NVML calls.
        leaves: Path and value of nvidia-smi's leaves.
        files: Files by path.
        commands: Commands.
        missing: Symbols that the library lacks.
        measured: Rows of what was measured.
    """

    def __init__(self, recording: Recording) -> None:
        """Take `recording` apart; it is not changed itself."""
        self.recording = recording
        self.calls = list(recording.calls)
        smi = recording.nvidia_smi
        self.leaves = list(smi.leaves) if smi else []
        self.files: dict[str, FileEntry] = dict(recording.files)
        self.commands: list[CommandEntry] = list(recording.commands)
        self.measured: list[MeasuredRow] = list(recording.measured)
        self.missing = set(recording.missing)

    def finish(self, origin_text: str) -> Recording:
        """Return the changed recording.

        Args:
            origin_text: What was changed, for people.
        """
        smi = self.recording.nvidia_smi
        return replace(
            self.recording,
            origin=replace(
                self.recording.origin,
                kind="derived" if self.recording.origin.kind == "real" else "synthetic",
                text=f"{self.recording.origin.text} {origin_text}".strip(),
            ),
            calls=tuple(self.calls),
            missing=tuple(sorted(self.missing)),
            nvidia_smi=None if smi is None else replace(smi, leaves=self._numbered()),
            files=self.files,
            commands=tuple(self.commands),
            measured=tuple(self.measured),
        )

    def _numbered(self) -> tuple[tuple[str, str], ...]:
        """Return the leaves with the GPUs that are left numbered from 0 again."""
        numbers: dict[str, int] = {}
        for path, _ in self.leaves:
            if path.startswith("gpu["):
                numbers.setdefault(path.partition("/")[0], len(numbers))
        if all(front == f"gpu[{number}]" for front, number in numbers.items()):
            return tuple(self.leaves)
        made: list[tuple[str, str]] = []
        for path, value in self.leaves:
            front, slash, rest = path.partition("/")
            known = numbers.get(front)
            made.append((path if known is None else f"gpu[{known}]{slash}{rest}", value))
        return tuple(made)

    @property
    def gpu_count(self) -> int:
        """GPUs to which NVML gives a handle."""
        return len({call.arguments for call in self.calls if _is_handle(call)})

    def bus_id(self, gpu: int) -> str:
        """Return the Linux name of a GPU's PCI function, e.g. "0000:07:00.0".

        Args:
            gpu: NVML index.
        """
        for call in self.calls:
            if call.symbol == "nvmlDeviceGetPciInfo_v3" and call.arguments == (f"gpu[{gpu}]",):
                out = call.out[0] if call.out else None
                text = out.get("busId") if isinstance(out, dict) else None
                if isinstance(text, str):
                    domain, _, rest = text.partition(":")
                    return f"{int(domain, 16):04x}:{rest.lower()}"
        raise EditError(f"the recording gives no bus id for gpu {gpu}")

    def _place(self, symbol: str, arguments: tuple[int | str, ...]) -> int | None:
        """Return where a call stands."""
        for index, call in enumerate(self.calls):
            if call.symbol == symbol and call.arguments == arguments:
                return index
        return None

    def change_call(
        self,
        symbol: str,
        arguments: tuple[int | str, ...],
        change: Callable[[NvmlCall], NvmlCall],
    ) -> None:
        """Change every answer to one question, or add the question with its changed answer.

        Args:
            symbol: C symbol.
            arguments: All arguments, the handle first.
            change: Gives the new call.
        """
        self.missing.discard(symbol)
        if self._place(symbol, arguments) is None:
            version = VERSIONS.get(symbol)
            given: dict[str, Json] = {"version": version} if version else {}
            self.calls.append(NvmlCall(symbol=symbol, arguments=arguments, given=given))
        self.calls = [
            change(call) if call.symbol == symbol and call.arguments == arguments else call
            for call in self.calls
        ]

    def set_value(
        self, symbol: str, arguments: tuple[int | str, ...], field: str, value: Json
    ) -> None:
        """Set one value that a call fills in; the call succeeds from then on.

        Args:
            symbol: C symbol.
            arguments: All arguments, the handle first.
            field: Field of the (first) structure; a number for the place among several scalars;
                "" for the only one.
            value: The value, in NVML's unit.
        """

        def change(call: NvmlCall) -> NvmlCall:
            out = list(call.out)
            if not field or field.isdigit():
                place = int(field or "0")
                out += [0] * (place + 1 - len(out))
                out[place] = value
                return replace(call, returns=0, out=tuple(out))
            structure = out[0] if out and isinstance(out[0], dict) else {}
            changed: dict[str, Json] = {**structure, field: value}
            if symbol == FIELD_VALUES:
                changed.setdefault("valueType", 3)
            return replace(call, returns=0, out=(changed, *out[1:]))

        self.change_call(symbol, arguments, change)

    def set_lists(
        self, symbol: str, arguments: tuple[int | str, ...], lists: tuple[Json, ...]
    ) -> None:
        """Set the lists of a call.

        Args:
            symbol: C symbol.
            arguments: All arguments, the handle first.
            lists: The lists.
        """
        self.change_call(
            symbol,
            arguments,
            lambda old: replace(old, returns=0, out=lists, is_list=True, raw=()),
        )

    def fail_call(self, symbol: str, arguments: tuple[int | str, ...], code: int) -> None:
        """Let a call fail.

        Args:
            symbol: C symbol.
            arguments: All arguments, the handle first.
            code: Its return code.
        """
        self.change_call(
            symbol, arguments, lambda call: replace(call, returns=code, out=(), raw=())
        )

    def fail_symbol(self, symbol: str, gpu: int, code: int) -> None:
        """Let every recorded call of a function about one GPU fail.

        Args:
            symbol: C symbol, "*" for all of them.
            gpu: NVML index.
            code: The return code.
        """
        handle = f"gpu[{gpu}]"
        found = False
        for index, call in enumerate(self.calls):
            if call.arguments[:1] == (handle,) and symbol in ("*", call.symbol):
                found = True
                self.calls[index] = replace(call, returns=code, out=(), raw=())
        if not found:
            self.fail_call(symbol, (handle,), code)

    def remove_symbol(self, symbol: str) -> None:
        """Let the library be without a symbol.

        Args:
            symbol: C symbol.
        """
        self.calls = [call for call in self.calls if call.symbol != symbol]
        self.missing.add(symbol)

    def set_leaf(self, path: str, value: str) -> None:
        """Set a leaf of nvidia-smi's document, or add it behind what stands nearest.

        Args:
            path: Whole path, e.g. "gpu[0]/product_name".
            value: Its text.
        """
        for index, (other, _) in enumerate(self.leaves):
            if other == path:
                self.leaves[index] = (path, value)
                return
        # Bare text where a subtree has to stand ("remapped_rows" is "N/A") gives way to it.
        parents = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        place = len(self.leaves)
        for front in reversed(parents):
            known = [
                index
                for index, (other, _) in enumerate(self.leaves)
                if other == front or other.startswith(front + "/")
            ]
            if known:
                place = known[-1] + 1
                break
        self.leaves.insert(place, (path, value))
        self.leaves = [leaf for leaf in self.leaves if leaf[0] not in parents]

    def drop_leaf(self, path: str) -> None:
        """Remove a leaf, or a whole subtree.

        Args:
            path: Whole path.
        """
        self.leaves = [
            leaf for leaf in self.leaves if leaf[0] != path and not leaf[0].startswith(path + "/")
        ]

    def set_config(self, gpu: int, field: str, value: int) -> None:
        """Change a number in a GPU's PCI configuration, in the bytes alone.

        Args:
            gpu: NVML index.
            field: A key of `CONFIG_FIELDS`, or a link field.
            value: The number.
        """
        path = f"{DEVICES}/{self.bus_id(gpu)}/config"
        entry = self.files.get(path)
        if entry is None or entry.size is None:
            raise EditError(f"the recording has no {path}")
        space = bytearray(entry.data.ljust(entry.size, b"\0"))
        if field in CONFIG_FIELDS:
            offset, size = CONFIG_FIELDS[field]
        elif field in _EXPRESS_MASKS:
            at, mask, shift = _EXPRESS_MASKS[field]
            start = _express_offset(space)
            if start is None:
                raise EditError(f"{path} has no PCI Express capability")
            offset, size = start + at, 2
            now = int.from_bytes(space[offset : offset + 2], "little")
            value = now & ~(mask << shift) | (value & mask) << shift
        else:
            known = ", ".join((*CONFIG_FIELDS, *_EXPRESS_MASKS))
            raise EditError(f"PCI configuration has no {field!r}; known are {known}")
        space[offset : offset + size] = value.to_bytes(size, "little")
        self.files[path] = replace(entry, data=bytes(space).rstrip(b"\0"))

    def set_information(self, gpu: int, name: str, value: str) -> None:
        """Change a line of what the kernel module says about a GPU in procfs.

        Args:
            gpu: NVML index.
            name: The line's name, e.g. "Model".
            value: Its text.
        """
        path = f"/proc/driver/nvidia/gpus/{self.bus_id(gpu)}/information"
        entry = self.files.get(path)
        if entry is None:
            raise EditError(f"the recording has no {path}")
        lines = entry.data.decode("utf-8").splitlines()
        for index, line in enumerate(lines):
            if line.partition(":")[0].strip() == name:
                lines[index] = f"{name}: \t {value}"
                break
        else:
            raise EditError(f"{path} has no line {name!r}")
        self.files[path] = FileEntry.text("\n".join(lines) + "\n")


def _is_handle(call: NvmlCall) -> bool:
    """Whether a call gave a device handle by index."""
    return call.symbol.startswith("nvmlDeviceGetHandleByIndex") and call.returns == 0


def _express_offset(space: bytearray) -> int | None:
    """Return where the PCI Express capability (id 0x10) of a well-formed configuration stands."""
    pointer = space[0x34] & 0xFC
    for _ in range(48):
        if pointer < 0x40:
            return None
        if space[pointer] == 0x10:
            return pointer
        pointer = space[pointer + 1] & 0xFC
    return None
