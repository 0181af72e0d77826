"""A replayed NVML library that stands under the real binding.

`nvidia-ml-py` looks every function up on one loaded-library object and keeps the pointers. Whatever
is put in that object's place therefore sees the C calls themselves, and the binding's own struct
versions, error mapping and fallbacks run unchanged.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuverify.sources import recording_ctypes as memory
from gpuverify.sources.recording import NvmlCall, Recording, RecordingError
from gpuverify.sources.recording_ctypes import Handle, Json, Slot, Target

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, INSUFFICIENT_SIZE = 0, 2, 3, 7
VERSION_MISMATCH, UNKNOWN = 25, 999
FIELD_VALUES = "nvmlDeviceGetFieldValues"
FIELD_STRUCT = struct.Struct("=IIqqIIQ")
_LIFE_CYCLE = ("nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown")
# Asked first only after recordings were made and published: where one of these has no such call, it
# is as if the driver had no such function, and what hangs on the answer is not asked.
_ASKED_LATER = frozenset({"nvmlSystemGetConfComputeState"})
# A structure followed by a length that says nothing about the question.
_LENGTH_AFTER_STRUCTURE = frozenset({"nvmlSystemGetDriverBranch"})
_FIRST_ADDRESS, _ADDRESS_STEP = 0x5EED0000, 0x40

Function = Callable[..., Any]


@dataclass(slots=True)
class Asked:
    """The parameters of one call, sorted.

    Attributes:
        values: What was passed in by value.
        targets: Places to fill, without those of a list.
        counter: Where a list's length stands, None if the call is not asked for a list.
        arrays: A list's arrays; None where the caller asks for the length only.
    """

    values: list[int | str | Handle] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    counter: Target | None = None
    arrays: list[Target | None] = field(default_factory=list)


def _holds_list(slot: Slot) -> bool:
    """Whether a parameter beside a counter is the list that is counted."""
    if slot is None:
        return True
    if not isinstance(slot, Target):
        return False
    return slot.is_array or (slot.is_structure and not isinstance(slot.keep, ctypes.Structure))


def _list_span(slots: list[Slot]) -> tuple[int, list[int]] | None:
    """Find a counter with arrays (or nulls for them) behind it, or one array in front of it."""
    for index, slot in enumerate(slots):
        if not (isinstance(slot, Target) and slot.is_counter):
            continue
        behind = []
        for other in range(index + 1, len(slots)):
            if not _holds_list(slots[other]):
                break
            behind.append(other)
        if behind:
            return index, behind
        if index and _holds_list(slots[index - 1]):
            return index, [index - 1]
    return None


def sort_parameters(symbol: str, arguments: tuple[Any, ...]) -> Asked:
    """Sort the parameters of a call into values, places to fill, and a list.

    Args:
        symbol: The C symbol that is called.
        arguments: What the binding passed.
    """
    slots = [memory.slot(argument) for argument in arguments]
    asked = Asked()
    span = _list_span(slots)
    taken: set[int] = set()
    if span is not None:
        counter, arrays = span
        taken = {counter, *arrays}
        found = slots[counter]
        asked.counter = found if isinstance(found, Target) else None
        for index in arrays:
            array = slots[index]
            asked.arrays.append(array if isinstance(array, Target) else None)
    for index, slot in enumerate(slots):
        if index in taken or slot is None:
            continue
        if isinstance(slot, Target):
            asked.targets.append(slot)
            continue
        before = slots[index - 1] if index else None
        is_length = isinstance(slot, int) and isinstance(before, Target)
        if is_length and isinstance(before, Target) and isinstance(slot, int):
            if before.is_text:
                shorter = min(before.capacity, slot)
                asked.targets[-1] = Target(before.ctype, before.address, before.keep, shorter)
                continue
            if symbol in _LENGTH_AFTER_STRUCTURE:
                continue
        asked.values.append(slot)
    return asked


def given_fields(asked: Asked, handle_name: Callable[[int], Json]) -> dict[str, Json]:
    """Return the fields of structures that were set before the call.

    Args:
        asked: The sorted parameters.
        handle_name: Names a handle by its address.
    """
    given: dict[str, Json] = {}
    for target in asked.targets:
        if target.is_structure:
            fields = memory.read(target.ctype, target.address, handle_name)
            if isinstance(fields, dict):
                given.update(
                    (name, value)
                    for name, value in fields.items()
                    if value not in (0, "", None, [], {}) and not isinstance(value, (dict, list))
                )
    return given


class ReplayedNvml:
    """A library object that answers from a recording.

    Attributes:
        unknown: What was asked for and is not in the recording, where that is an error.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        fail: Mapping[str, int] | None = None,
        missing: Iterable[str] = (),
        raise_unknown: bool = True,
    ) -> None:
        """Prepare the answers.

        Args:
            recording: What to answer.
            fail: Return codes by symbol ("nvmlDeviceGetSerial"), by symbol and handle
                ("nvmlDeviceGetSerial(gpu[1])") or by handle ("gpu[1]": every call about it).
            missing: Symbols to be without, as an older driver is.
            raise_unknown: Raise RecordingError at an unknown call; otherwise remember it in
                `unknown`, and answer "Unknown Error".
        """
        self.unknown: list[str] = []
        self._recording = recording
        self._fail = dict(fail or {})
        self._missing = {*missing, *recording.missing}
        self._raise_unknown = raise_unknown
        self._functions: dict[str, Function] = {}
        self._addresses: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._turns: dict[int, int] = {}
        self._lock = threading.Lock()
        self._calls: dict[str, dict[tuple[int | str, ...], list[NvmlCall]]] = {}
        for call in recording.calls:
            self._calls.setdefault(call.symbol, {}).setdefault(call.arguments, []).append(call)

    def __getattr__(self, symbol: str) -> Function:
        """Hand out the function of a symbol, as a loaded library does."""
        if symbol.startswith("_") or symbol in self._missing:
            raise AttributeError(symbol)
        function = self._functions.get(symbol)
        if function is None:
            function = self._functions[symbol] = self._build(symbol)
        return function

    def _build(self, symbol: str) -> Function:
        """Make the function for a symbol: a plain function, on which a restype can be set."""
        if symbol == "nvmlErrorString":
            return lambda code: f"NVML error {getattr(code, 'value', code)}".encode()
        if symbol not in self._calls and symbol not in self._fail:
            if symbol in _LIFE_CYCLE:
                return lambda *_arguments: SUCCESS
            if self._recording.unlisted != "absent" and symbol not in _ASKED_LATER:
                self._complain(symbol)
            raise AttributeError(symbol)

        def call(*arguments: Any) -> int:
            return self._answer(symbol, arguments)

        call.__name__ = symbol
        return call

    def _complain(self, what: str) -> None:
        """Raise or remember an unknown call."""
        self.unknown.append(what)
        if self._raise_unknown:
            raise RecordingError("recording", f"an NVML call that was not recorded: {what}")

    def address_of(self, name: str) -> int:
        """Return the address that stands for a handle of the recording.

        Args:
            name: The handle's name, e.g. "gpu[0]".
        """
        with self._lock:
            if name not in self._addresses:
                address = _FIRST_ADDRESS + _ADDRESS_STEP * len(self._addresses)
                self._addresses[name] = address
                self._names[address] = name
            return self._addresses[name]

    def _named(self, values: list[int | str | Handle]) -> tuple[int | str, ...] | None:
        """Put names for handles; None where a handle is not ours."""
        named: list[int | str] = []
        for value in values:
            if isinstance(value, Handle):
                name = self._names.get(value.address)
                if name is None:
                    return None
                named.append(name)
            else:
                named.append(value)
        return tuple(named)

    def _forced(self, symbol: str, arguments: tuple[int | str, ...]) -> int | None:
        """Return the code that a call is made to fail with."""
        if not self._fail:
            return None
        first = arguments[0] if arguments else ""
        for key in (f"{symbol}({first})", symbol, first):
            if isinstance(key, str) and key in self._fail:
                return self._fail[key]
        return None

    def _answer(self, symbol: str, arguments: tuple[Any, ...]) -> int:
        """Answer one call."""
        asked = sort_parameters(symbol, arguments)
        named = self._named(asked.values)
        if named is None:
            return INVALID_ARGUMENT
        code = self._forced(symbol, named)
        if code is not None:
            return code
        if symbol == FIELD_VALUES and asked.targets:
            return self._answer_fields(named[0], asked.targets[0])
        found = self._calls.get(symbol, {}).get(named, [])
        call = self._choose(symbol, named, found, asked)
        if isinstance(call, int):
            return call
        return self._fill(call, asked)

    def _choose(
        self, symbol: str, named: tuple[int | str, ...], found: list[NvmlCall], asked: Asked
    ) -> NvmlCall | int:
        """Choose the recorded call by the structures' fields, or say what to return instead."""
        # What the caller set is looked at only where a recorded call depends on it.
        matters = any(call.given for call in found)
        if len(found) == 1 and not matters:
            return found[0]
        given = given_fields(asked, self._names.get) if matters else {}
        version = given.pop("version", None)

        def inputs(call: NvmlCall) -> dict[str, Json]:
            return {name: value for name, value in call.given.items() if name != "version"}

        if any(inputs(call) for call in found):
            found = [call for call in found if inputs(call) == given]
        if not found:
            if self._recording.unlisted != "absent":
                self._complain(f"{symbol}{named}")
                return UNKNOWN
            by_index = symbol.startswith("nvmlDeviceGetHandleBy")
            return INVALID_ARGUMENT if by_index else NOT_SUPPORTED
        same = [call for call in found if call.given.get("version") in (None, version)]
        if not same:
            return VERSION_MISMATCH
        key = id(same[0])
        with self._lock:
            turn = self._turns.get(key, 0)
            self._turns[key] = turn + 1
        return same[min(turn, len(same) - 1)]

    def _fill(self, call: NvmlCall, asked: Asked) -> int:
        """Write a recorded answer into the caller's memory."""
        if call.is_list and asked.counter is not None:
            return self._fill_list(call, asked)
        for index, (target, value) in enumerate(zip(asked.targets, call.out, strict=False)):
            raw = call.raw[index] if index < len(call.raw) else ""
            if raw and len(raw) == 2 * target.capacity:
                data = bytes.fromhex(raw)
                ctypes.memmove(target.address, data, len(data))
            if target.is_text and isinstance(value, str):
                data = memory.bytes_of(value) + b"\0"
                if len(data) > target.capacity:
                    return INSUFFICIENT_SIZE
                ctypes.memmove(target.address, data, len(data))
                continue
            memory.write(target.ctype, target.address, value, self.address_of)
        return call.returns

    def _fill_list(self, call: NvmlCall, asked: Asked) -> int:
        """Answer a call for a list: its length first, then its elements."""
        if call.returns != SUCCESS or asked.counter is None:
            return call.returns
        length = max((len(items) for items in call.out if isinstance(items, list)), default=0)
        counter = ctypes.c_uint.from_address(asked.counter.address)
        room, counter.value = counter.value, length
        arrays = [array for array in asked.arrays if array is not None]
        if length == 0:
            return SUCCESS
        if len(arrays) < len(asked.arrays) or room < length:
            return INSUFFICIENT_SIZE
        for array, items in zip(arrays, call.out, strict=False):
            element: Any = array.ctype._type_ if array.is_array else array.ctype
            step = ctypes.sizeof(element)
            for index, item in enumerate(items if isinstance(items, list) else []):
                memory.write(element, array.address + step * index, item, self.address_of)
        return SUCCESS

    def _answer_fields(self, handle: int | str, target: Target) -> int:
        """Answer a batch of field values, each by itself."""
        recorded = self._calls.get(FIELD_VALUES, {})
        whole = recorded.get((handle,))
        if whole:
            return whole[0].returns
        for offset in range(0, target.capacity - FIELD_STRUCT.size + 1, FIELD_STRUCT.size):
            place = target.address + offset
            number, scope = FIELD_STRUCT.unpack(ctypes.string_at(place, FIELD_STRUCT.size))[:2]
            found = recorded.get((handle, number, scope))
            if not found and self._recording.unlisted != "absent":
                self._complain(f"{FIELD_VALUES}({handle}, {number}, {scope})")
            code = found[0].returns if found else NOT_SUPPORTED
            value = found[0].out[0] if found and found[0].out else {}
            fields = value if isinstance(value, dict) else {}
            data = FIELD_STRUCT.pack(
                number, scope, 0, 0,
                memory.integer_of(fields.get("valueType", 0)), code,
                memory.integer_of(fields.get("value", 0)) % (1 << 64),
            )  # fmt: skip
            ctypes.memmove(place, data, len(data))
        return SUCCESS


def load_library() -> object | None:
    """Load the machine's NVML library the way the binding does; None where that fails."""
    import pynvml as binding

    try:
        binding._LoadNvmlLibrary()  # noqa: SLF001 - the binding has no public way
    except binding.NVMLError:
        return None
    library: object | None = binding.nvmlLib
    return library


@contextlib.contextmanager
def swapped_library(library: object) -> Iterator[None]:
    """Put a library object under the binding for the time of a `with` block.

    The binding keeps function pointers by name, so its store is emptied at each swap. One swap at a
    time is possible in a process; what stood there before comes back, in nested blocks too.

    Args:
        library: `ReplayedNvml`, `RecordingNvml` or anything with NVML's functions as attributes.
    """
    import pynvml as binding

    store: dict[str, Any] = binding._nvmlGetFunctionPointer_cache  # noqa: SLF001
    kept_library, kept_count = binding.nvmlLib, binding._nvmlLib_refcount  # noqa: SLF001
    kept_store = dict(store)
    store.clear()
    binding.nvmlLib = library
    binding._nvmlLib_refcount = 0  # noqa: SLF001
    try:
        yield
    finally:
        store.clear()
        store.update(kept_store)
        binding.nvmlLib = kept_library
        binding._nvmlLib_refcount = kept_count  # noqa: SLF001
