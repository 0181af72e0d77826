"""A proxy over a loaded NVML library that notes every call at C-symbol level."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from gpuverify.sources import recording_ctypes as memory
from gpuverify.sources.recording import NvmlCall
from gpuverify.sources.recording_ctypes import Handle, Json, Target
from gpuverify.sources.recording_nvml import (
    FIELD_STRUCT,
    FIELD_VALUES,
    INSUFFICIENT_SIZE,
    SUCCESS,
    Asked,
    Function,
    given_fields,
    sort_parameters,
)


class RecordingNvml:
    """A proxy over a loaded library that notes every call and what it filled in.

    Attributes:
        calls: The calls so far, in order; a repeated answer is kept once.
        missing: Symbols that were looked up in vain.
    """

    def __init__(self, library: object) -> None:
        """Stand in front of `library`."""
        self.calls: list[NvmlCall] = []
        self.missing: list[str] = []
        self._library = library
        self._names: dict[int, str] = {}
        self._last: dict[object, NvmlCall] = {}
        self._lock = threading.Lock()

    def __getattr__(self, symbol: str) -> Function:
        """Hand out a function that calls the library's and notes it."""
        try:
            function: Function = getattr(self._library, symbol)
        except AttributeError:
            if symbol.startswith("nvml") and symbol not in self.missing:
                self.missing.append(symbol)
            raise
        if not symbol.startswith("nvml") or symbol == "nvmlErrorString":
            return function

        def call(*arguments: Any) -> int:
            asked = sort_parameters(symbol, arguments)
            given = given_fields(asked, self._name)
            returned = int(function(*arguments))
            with self._lock:
                self._note(symbol, asked, given, returned)
            return returned

        call.__name__ = symbol
        return call

    def _name(self, address: int) -> Json:
        """Name a handle by its address."""
        if not address:
            return None
        return self._names.setdefault(address, f"handle[{len(self._names)}]")

    def _note(self, symbol: str, asked: Asked, given: dict[str, Json], returned: int) -> None:
        """Keep one call."""
        values = tuple(
            str(self._name(value.address)) if isinstance(value, Handle) else value
            for value in asked.values
        )
        if symbol == FIELD_VALUES and asked.targets and returned == SUCCESS:
            self._note_fields(values[0], asked.targets[0])
            return
        if asked.counter is not None:
            self._note_list(symbol, values, asked, returned)
            return
        if symbol.startswith("nvmlDeviceGetHandleBy") and returned == SUCCESS:
            self._learn(symbol, values, asked.targets[-1])
        filled = asked.targets if returned == SUCCESS else []
        structures = [target for target in filled if target.is_structure]
        self._keep(
            NvmlCall(
                symbol=symbol,
                arguments=values,
                given=given,
                returns=returned,
                out=tuple(memory.read(one.ctype, one.address, self._name) for one in filled),
                raw=tuple(
                    ctypes.string_at(one.address, one.capacity).hex() if one.is_structure else ""
                    for one in filled
                )
                if structures
                else (),
            )
        )

    def _learn(self, symbol: str, values: tuple[int | str, ...], target: Target) -> None:
        """Name a device handle by its index, whichever way it was asked for."""
        address = ctypes.c_void_p.from_address(target.address).value or 0
        if symbol.startswith("nvmlDeviceGetHandleByIndex"):
            self._names.setdefault(address, f"gpu[{values[0]}]")
            return
        index = ctypes.c_uint()
        ask = getattr(self._library, "nvmlDeviceGetIndex", None)
        if ask is not None and ask(ctypes.c_void_p(address), ctypes.byref(index)) == SUCCESS:
            self._names.setdefault(address, f"gpu[{index.value}]")

    def _note_list(
        self, symbol: str, values: tuple[int | str, ...], asked: Asked, returned: int
    ) -> None:
        """Keep a call for a list, once, with its elements."""
        if returned == INSUFFICIENT_SIZE or asked.counter is None:
            return
        length = ctypes.c_uint.from_address(asked.counter.address).value
        lists: list[Json] = []
        if returned == SUCCESS:
            for array in asked.arrays:
                if array is None:
                    lists.append([])
                    continue
                element: Any = array.ctype._type_ if array.is_array else array.ctype
                step = ctypes.sizeof(element)
                lists.append(
                    [
                        memory.read(element, array.address + step * index, self._name)
                        for index in range(length)
                    ]
                )
        self._keep(
            NvmlCall(
                symbol=symbol, arguments=values, returns=returned, out=tuple(lists), is_list=True
            )
        )

    def _note_fields(self, handle: int | str, target: Target) -> None:
        """Keep a batch of field values, each by itself."""
        for offset in range(0, target.capacity - FIELD_STRUCT.size + 1, FIELD_STRUCT.size):
            data = ctypes.string_at(target.address + offset, FIELD_STRUCT.size)
            number, scope, _, _, kind, code, value = FIELD_STRUCT.unpack(data)
            out: dict[str, Json] = {"valueType": kind, "value": memory.number(value)}
            self._keep(
                NvmlCall(
                    symbol=FIELD_VALUES,
                    arguments=(handle, number, scope),
                    returns=code,
                    out=(out,) if code == SUCCESS else (),
                )
            )

    def _keep(self, call: NvmlCall) -> None:
        """Append a call unless it repeats the last answer to the same question."""
        question = (call.symbol, call.arguments, tuple(sorted(map(str, call.given.items()))))
        if self._last.get(question) != call:
            self._last[question] = call
            self.calls.append(call)
