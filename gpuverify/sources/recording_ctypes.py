"""Read and write the ctypes objects that a binding hands to an NVML function.

Recording and replay both work on the arguments of the C call itself, without knowing the binding's
own classes: what a parameter is follows from its ctypes type alone. Structures are read from their
memory, field by field, because the binding's attribute access decodes text and cuts it at NUL.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

Json = Union[None, bool, int, str, list["Json"], dict[str, "Json"]]
"""What a recording can hold: no floats, and integers beyond 63 bits as "0x…" text."""

_LARGEST = 2**63 - 1
_SimpleData: Any = ctypes.c_uint.__mro__[1]
_PointerData: Any = ctypes.POINTER(ctypes.c_uint).__mro__[1]
_Reference: Any = type(ctypes.byref(ctypes.c_uint()))


@dataclass(frozen=True, slots=True)
class Target:
    """A place that the called function fills in.

    Attributes:
        ctype: Type of what stands there.
        address: Where.
        keep: The object that owns the memory.
        capacity: Bytes that may be written, from the type or a length parameter.
    """

    ctype: Any
    address: int
    keep: object
    capacity: int

    @property
    def is_text(self) -> bool:
        """Whether it is a character buffer."""
        return _is_array(self.ctype) and self.ctype._type_ is ctypes.c_char

    @property
    def is_structure(self) -> bool:
        """Whether it is a structure with fields."""
        return _is_structure(self.ctype)

    @property
    def is_array(self) -> bool:
        """Whether it is an array of something other than characters."""
        return _is_array(self.ctype) and not self.is_text

    @property
    def is_counter(self) -> bool:
        """Whether it is an unsigned 32-bit integer, which is how NVML passes counts."""
        return bool(self.ctype is ctypes.c_uint or self.ctype is ctypes.c_uint32)


@dataclass(frozen=True, slots=True)
class Handle:
    """A pointer to something opaque, by its address (0 for a null pointer)."""

    address: int


Slot = Union[None, int, str, Handle, Target]
"""One parameter: null, a value passed in, a handle passed in, or a place to fill."""


# What a type is never changes, and a binding has few types: the answers are kept.
@functools.lru_cache(maxsize=1024)
def _is_array(ctype: Any) -> bool:
    """Whether a ctypes type is an array."""
    return isinstance(ctype, type) and issubclass(ctype, ctypes.Array)


@functools.lru_cache(maxsize=1024)
def _is_structure(ctype: Any) -> bool:
    """Whether a ctypes type is a structure."""
    return isinstance(ctype, type) and issubclass(ctype, ctypes.Structure)


@functools.lru_cache(maxsize=1024)
def is_opaque(ctype: Any) -> bool:
    """Whether a pointer type points to a structure without fields: a handle."""
    if not (isinstance(ctype, type) and issubclass(ctype, _PointerData)):
        return False
    pointed: Any = getattr(ctype, "_type_", None)
    if not (isinstance(pointed, type) and issubclass(pointed, ctypes.Structure)):
        return False
    return not getattr(pointed, "_fields_", ())


def slot(argument: Any) -> Slot:
    """Say what one argument of a call is.

    Args:
        argument: What the binding passed: a number, text, a ctypes value, `byref(…)` or a pointer.

    Returns:
        The parameter as a recording sees it.

    Raises:
        TypeError: It is nothing that an NVML function takes.
    """
    if argument is None or isinstance(argument, (int, str)):
        return argument
    if isinstance(argument, _Reference):
        inner = argument._obj  # noqa: SLF001 - `byref` has no public way to what it stands for
        return Target(type(inner), ctypes.addressof(inner), inner, ctypes.sizeof(inner))
    if isinstance(argument, bytes):
        return text_of(argument)
    if isinstance(argument, _SimpleData):
        return slot(argument.value)
    if isinstance(argument, _PointerData):
        return _pointer(argument)
    if isinstance(argument, ctypes.Array):
        return Target(type(argument), ctypes.addressof(argument), argument, ctypes.sizeof(argument))
    if isinstance(argument, ctypes.Structure):
        return "hex:" + bytes(argument).hex()
    raise TypeError(f"an NVML call with a parameter of type {type(argument).__name__}")


def _pointer(argument: Any) -> Slot:
    """Say what a pointer instance is: a handle, null, or a place to fill."""
    address = ctypes.c_void_p.from_address(ctypes.addressof(argument)).value or 0
    kind: Any = type(argument)
    if is_opaque(kind):
        return Handle(address)
    if not address:
        return None
    inner = argument.contents
    return Target(type(inner), address, argument, ctypes.sizeof(inner))


def text_of(data: bytes) -> str:
    """Return bytes as text where that loses nothing, else as "hex:…"."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "hex:" + data.hex()
    return "hex:" + data.hex() if text.startswith("hex:") or "\0" in text else text


def bytes_of(text: str) -> bytes:
    """Undo `text_of`."""
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode("utf-8")


def number(value: int) -> Json:
    """Return an integer as a recording holds it."""
    return value if -_LARGEST <= value <= _LARGEST else hex(value)


def integer_of(value: Json) -> int:
    """Undo `number`."""
    if isinstance(value, str):
        return int(value, 16)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"a recording holds {value!r} where an integer has to stand")


def _simple(ctype: Any, address: int) -> Json:
    """Read a scalar."""
    if ctype in (ctypes.c_float, ctypes.c_double, ctypes.c_char_p, ctypes.c_char):
        return "hex:" + ctypes.string_at(address, ctypes.sizeof(ctype)).hex()
    value = ctype.from_address(address).value
    return None if value is None else number(int(value))


@functools.lru_cache(maxsize=1024)
def layout(ctype: Any) -> tuple[tuple[str, Any, int], ...] | None:
    """Return name, type and offset of a structure's fields.

    Args:
        ctype: A type.

    Returns:
        The fields; None where it is no structure, or packs several fields into one word.
    """
    if not _is_structure(ctype):
        return None
    if any(len(entry) > 2 for entry in ctype._fields_):
        return None
    return tuple(
        (str(name), kind, int(getattr(ctype, name).offset)) for name, kind in ctype._fields_
    )


def read(ctype: Any, address: int, handle_name: Callable[[int], Json]) -> Json:
    """Read what stands at an address.

    Args:
        ctype: The type it has.
        address: Where it stands.
        handle_name: Names a handle by its address.

    Returns:
        Text, an integer, a list (without the zeros at its end) or a mapping by field name.
    """
    if is_opaque(ctype):
        return handle_name(ctypes.c_void_p.from_address(address).value or 0)
    size = ctypes.sizeof(ctype)
    if _is_array(ctype):
        element: Any = ctype._type_
        if element is ctypes.c_char:
            return text_of(ctypes.string_at(address, size).rstrip(b"\0"))
        step = ctypes.sizeof(element)
        length: int = ctype._length_
        items = [read(element, address + step * index, handle_name) for index in range(length)]
        while items and items[-1] == 0:
            items.pop()
        return items
    if isinstance(ctype, type) and issubclass(ctype, _SimpleData):
        return _simple(ctype, address)
    fields = layout(ctype)
    if fields is not None:
        return {name: read(kind, address + at, handle_name) for name, kind, at in fields}
    return "hex:" + ctypes.string_at(address, size).hex()


def _put(address: int, data: bytes, size: int) -> None:
    """Write bytes over the first `size` bytes at an address, zeros behind them."""
    ctypes.memmove(address, data[:size] + bytes(max(0, size - len(data))), size)


def write(ctype: Any, address: int, value: Json, handle_address: Callable[[str], int]) -> None:
    """Write a recorded value to an address; the inverse of `read`.

    Args:
        ctype: Type of what stands at the address.
        address: Where to write.
        value: What `read` returned. Fields that the structure does not have are left out: the
            recording may be of another version of the binding.
        handle_address: Gives the address of a named handle.

    Raises:
        TypeError: The value does not fit the type.
    """
    size = ctypes.sizeof(ctype)
    if is_opaque(ctype):
        target = handle_address(value) if isinstance(value, str) else 0
        ctypes.c_void_p.from_address(address).value = target or None
    elif isinstance(value, dict):
        _write_fields(ctype, address, value, handle_address)
    elif isinstance(value, list):
        _write_items(ctype, address, value, handle_address)
    elif isinstance(value, str) and (value.startswith("hex:") or _is_array(ctype)):
        _put(address, bytes_of(value), size)
    elif issubclass(ctype, _SimpleData):
        whole = 0 if value is None else integer_of(value)
        _put(address, (whole % (1 << (8 * size))).to_bytes(size, sys.byteorder), size)
    else:
        raise TypeError(f"{value!r} does not fit a {ctype.__name__}")


def _write_fields(
    ctype: Any, address: int, fields: dict[str, Json], handle_address: Callable[[str], int]
) -> None:
    """Write the fields of a structure."""
    if not issubclass(ctype, ctypes.Structure):
        raise TypeError(f"fields for a {ctype.__name__}, which has none")
    kinds = {entry[0]: entry[1] for entry in ctype._fields_}
    for name, inner in fields.items():
        if name in kinds:
            write(kinds[name], address + getattr(ctype, name).offset, inner, handle_address)


def _write_items(
    ctype: Any, address: int, items: list[Json], handle_address: Callable[[str], int]
) -> None:
    """Write the elements of an array, zeros behind the last."""
    if not _is_array(ctype):
        raise TypeError(f"a list for a {ctype.__name__}, which is no array")
    step = ctypes.sizeof(ctype._type_)
    _put(address, b"", ctypes.sizeof(ctype))
    for index, inner in enumerate(items[: ctype._length_]):
        write(ctype._type_, address + step * index, inner, handle_address)
