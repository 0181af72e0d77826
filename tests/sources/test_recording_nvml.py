"""Reading and writing the ctypes objects of NVML calls, and recording a loaded library."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuverify.sources import recording_ctypes as memory
from gpuverify.sources.recording import Origin, Recording
from gpuverify.sources.recording_nvml import (
    ReplayedNvml,
    load_library,
    sort_parameters,
    swapped_library,
)
from gpuverify.sources.recording_proxy import RecordingNvml


class Inner(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint8), ("pair", ctypes.c_int16 * 2)]


class Union(ctypes.Union):
    _fields_ = [("number", ctypes.c_double), ("word", ctypes.c_uint)]


class Everything(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint),
        ("signed", ctypes.c_int64),
        ("wide", ctypes.c_ulonglong),
        ("name", ctypes.c_char * 12),
        ("letter", ctypes.c_char),
        ("inner", Inner),
        ("many", Inner * 3),
        ("union", Union),
        ("ratio", ctypes.c_double),
    ]


class Bits(ctypes.Structure):
    _fields_ = [("one", ctypes.c_uint, 1), ("rest", ctypes.c_uint, 31)]


def no_handle(_: Any) -> Any:
    return None


@given(st.binary(min_size=ctypes.sizeof(Everything), max_size=ctypes.sizeof(Everything)))
def test_what_is_read_can_be_written(data: bytes) -> None:
    """Every bit pattern survives, apart from padding and what stands behind a text's end."""
    original = Everything.from_buffer_copy(data)
    value = memory.read(Everything, ctypes.addressof(original), no_handle)
    copy = Everything()
    memory.write(Everything, ctypes.addressof(copy), value, lambda _: 0)
    assert memory.read(Everything, ctypes.addressof(copy), no_handle) == value
    for name in (field[0] for field in Everything._fields_):
        place = getattr(Everything, name)
        span = slice(place.offset, place.offset + place.size)
        if name not in ("inner", "many"):
            assert bytes(copy)[span] == data[span], name


def test_integers_beyond_63_bits_are_text() -> None:
    value = ctypes.c_ulonglong(2**64 - 1)
    assert memory.read(ctypes.c_ulonglong, ctypes.addressof(value), no_handle) == "0x" + "f" * 16
    other = ctypes.c_ulonglong()
    memory.write(ctypes.c_ulonglong, ctypes.addressof(other), "0x" + "f" * 16, lambda _: 0)
    assert other.value == 2**64 - 1


def test_bit_fields_are_kept_as_bytes() -> None:
    bits = Bits(one=1, rest=5)
    value = memory.read(Bits, ctypes.addressof(bits), no_handle)
    other = Bits()
    memory.write(Bits, ctypes.addressof(other), value, lambda _: 0)
    assert (other.one, other.rest) == (1, 5)


@pytest.mark.parametrize(
    ("ctype", "value"),
    [(ctypes.c_uint, {"a": 1}), (ctypes.c_uint, [1]), (ctypes.c_uint, "plain"), (Inner, 7)],
)
def test_values_that_do_not_fit(ctype: Any, value: Any) -> None:
    target = ctype()
    with pytest.raises((TypeError, ValueError)):
        memory.write(ctype, ctypes.addressof(target), value, lambda _: 0)


def test_fields_of_another_version_are_left_out() -> None:
    inner = Inner()
    memory.write(Inner, ctypes.addressof(inner), {"low": 3, "later": 9}, lambda _: 0)
    assert inner.low == 3


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (None, None), (7, 7), (True, 1), ("x", "x"), (b"abc", "abc"), (b"\xff", "hex:ff"),
        (ctypes.c_uint(5), 5), (ctypes.c_char_p(b"uuid"), "uuid"), (ctypes.c_void_p(None), None),
        (Inner(low=1), "hex:0100" + "00" * 4),
    ],
)  # fmt: skip
def test_parameters_passed_by_value(argument: Any, expected: Any) -> None:
    assert memory.slot(argument) == expected


def test_a_parameter_of_no_known_kind() -> None:
    with pytest.raises(TypeError, match="object"):
        memory.slot(object())


def test_handles_and_null_pointers() -> None:
    handle = pynvml.c_nvmlDevice_t()
    assert memory.slot(handle) == memory.Handle(0)
    ctypes.c_void_p.from_address(ctypes.addressof(handle)).value = 0x77
    assert memory.slot(handle) == memory.Handle(0x77)
    assert memory.slot(ctypes.POINTER(ctypes.c_uint)()) is None
    number = ctypes.c_uint(3)
    target = memory.slot(ctypes.pointer(number))
    assert isinstance(target, memory.Target)
    assert target.is_counter


def test_lengths_and_lists_are_told_from_questions() -> None:
    text = ctypes.create_string_buffer(96)
    asked = sort_parameters("nvmlDeviceGetName", (1, text, ctypes.c_uint(80)))
    assert (asked.values, len(asked.targets), asked.targets[0].capacity) == ([1], 1, 80)
    count, clocks = ctypes.c_uint(4), (ctypes.c_uint * 4)()
    for array in (None, clocks):
        asked = sort_parameters("clocks", (1, ctypes.byref(count), array))
        assert asked.values == [1]
        assert asked.counter is not None
        assert asked.targets == []
    asked = sort_parameters("placements", (1, clocks, ctypes.byref(count)))
    assert asked.counter is not None
    asked = sort_parameters("modes", (1, ctypes.byref(count), ctypes.byref(ctypes.c_uint())))
    assert asked.counter is None
    assert len(asked.targets) == 2


def test_a_library_that_is_not_there() -> None:
    """Without a driver the binding finds no library, and says so instead of raising."""
    with swapped_library(None):
        assert load_library() is None or pynvml.nvmlLib is not None


SHIM = r"""
#include <string.h>
typedef struct { int secret; } *device;
static struct { int secret; } cards[2] = {{11}, {22}};
int nvmlInitWithFlags(unsigned flags) { return flags ? 2 : 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 3 ? "Not Supported" : "Other"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) {
  if (index > 1) return 2;
  *out = (device)&cards[index];
  return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, device *out) {
  *out = (device)&cards[uuid[4] == 'b'];
  return 0;
}
int nvmlDeviceGetIndex(device d, unsigned *index) { *index = d->secret == 22; return 0; }
int nvmlDeviceGetName(device d, char *name, unsigned length) {
  strncpy(name, d->secret == 11 ? "First Card" : "Second Card", length);
  return 0;
}
int nvmlDeviceGetSerial(device d, char *serial, unsigned length) {
  if (d->secret == 11) return 3;
  memcpy(serial, "12\xff", 4);
  return 0;
}
int nvmlDeviceGetMemoryInfo_v2(device d, unsigned long long *out) {
  unsigned version = *(unsigned *)out;
  if (version != 0x02000028u) return 25;
  out[1] = d->secret * 1000ull; out[2] = 7; out[3] = 13; out[4] = 17;
  return 0;
}
int nvmlDeviceGetSupportedMemoryClocks(device d, unsigned *count, unsigned *clocks) {
  if (!clocks || *count < 2) { *count = 2; return 7; }
  *count = 2; clocks[0] = d->secret; clocks[1] = 405;
  return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *count, void *list) {
  *count = 0; return 0;
}
int nvmlDeviceGetRetiredPages_v2(device d, int cause, unsigned *count, unsigned long long *pages,
                                 unsigned long long *times) {
  if (!pages || *count < 1) { *count = 1; return 7; }
  *count = 1; pages[0] = 4096 + d->secret; times[0] = 1566430446000000ull;
  return 0;
}
typedef struct { unsigned id, scope; long long time, latency; unsigned type; int code;
                 unsigned long long value; } field;
int nvmlDeviceGetFieldValues(device d, int count, field *fields) {
  for (int i = 0; i < count; i++) {
    fields[i].code = fields[i].id == 142 ? 0 : 3;
    fields[i].type = 1;
    fields[i].value = d->secret;
  }
  return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real shared library with a few of NVML's functions."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    target = folder / "libshim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(target), str(folder / "shim.c")], check=True
    )
    return ctypes.CDLL(str(target))


def ask_everything() -> Any:
    """Ask through the real binding; what comes back, errors included."""
    said = []

    def ask(call: Any, *arguments: Any, **keywords: Any) -> None:
        try:
            said.append(call(*arguments, **keywords))
        except pynvml.NVMLError as error:
            said.append(error.value)
        except UnicodeDecodeError as error:
            said.append(bytes(error.object))

    pynvml.nvmlInit()
    ask(pynvml.nvmlDeviceGetCount)
    ask(pynvml.nvmlDeviceGetHandleByIndex, 2)
    ask(pynvml.nvmlErrorString, 3)
    for handle in (
        pynvml.nvmlDeviceGetHandleByUUID("GPU-b"),
        pynvml.nvmlDeviceGetHandleByIndex(0),
        pynvml.nvmlDeviceGetHandleByIndex(1),
    ):
        ask(pynvml.nvmlDeviceGetName, handle)
        ask(pynvml.nvmlDeviceGetSerial, handle)
        ask(pynvml.nvmlDeviceGetUUID, handle)
        ask(lambda h: [getattr(pynvml.nvmlDeviceGetMemoryInfo(h, version=0x02000028), f)
                       for f in ("total", "reserved", "free", "used")], handle)  # fmt: skip
        ask(pynvml.nvmlDeviceGetMemoryInfo, handle, version=0x03000028)
        ask(pynvml.nvmlDeviceGetSupportedMemoryClocks, handle)
        ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        ask(pynvml.nvmlDeviceGetRetiredPages_v2, handle, 1)
        ask(lambda h: [(v.nvmlReturn, v.value.uiVal) for v in
                       pynvml.nvmlDeviceGetFieldValues(h, [142, (143, 5)])][:1], handle)  # fmt: skip
    pynvml.nvmlShutdown()
    return said


@pytest.mark.required
def test_a_real_library_is_recorded_and_replayed(library: Any) -> None:
    proxy = RecordingNvml(library)
    with swapped_library(proxy):
        first = ask_everything()
    assert first[:3] == [2, 2, "Not Supported"]
    assert "Second Card" in first
    assert b"12\xff" in first
    recording = Recording(
        origin=Origin(kind="real", text="a shim", licence="Apache-2.0"),
        calls=tuple(proxy.calls),
        missing=tuple(proxy.missing),
    )
    assert recording.missing == ("nvmlDeviceGetUUID",)
    replayed = ReplayedNvml(recording)
    with swapped_library(replayed):
        second = ask_everything()
    assert [one for one in second if one != "Not Supported"][:2] == first[:2]
    assert second[3:] == first[3:]
    assert replayed.unknown == []
    names = {call.arguments[0] for call in proxy.calls if call.symbol == "nvmlDeviceGetName"}
    assert names == {"gpu[0]", "gpu[1]"}
    mismatch = [call for call in proxy.calls if call.returns == 25]
    assert mismatch[0].given == {"version": 0x03000028}
