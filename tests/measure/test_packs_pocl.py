"""The source of the memory kernels under PoCL: a third compiler, and a third idea of a thread.

`capacity.cuh` is taken as it is; a preamble gives its macros an OpenCL meaning, and pointers get
the address space that CUDA has no word for. Memory images, digests and records are compared with
plain Python by the same comparisons as those of the PTX and of the C++ compiler, and directly
with what the PTX leaves behind. Optional: needs the extra `pocl`; where the PoCL of its wheel is
too old for the processor, Debian's `pocl-opencl-icd` beside it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gpuverify.measure import reference as ref
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import PACKS, TILE_THREADS, pack_text
from gpuverify.testing.cuda import NoCompilerError, card, fake_cuda

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "gpuverify" / "measure" / "kernels" / "capacity.cuh"
PREAMBLE = """
#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable
#pragma OPENCL EXTENSION cl_khr_int64_extended_atomics : enable
typedef ulong u64;
typedef ulong2 cell_t;
#define KERNEL __kernel void
#define INLINE static inline
#define RESTRICT restrict
#define GROUP ((u64)get_group_id(0))
#define FOR_CELLS(per_thread, i)                                         \\
    {                                                                    \\
        u64 first_ = GROUP * (256 * (per_thread)) + get_local_id(0);     \\
        for (int turn_ = 0; turn_ < (per_thread); turn_++) {             \\
            u64 i = first_ + (u64)turn_ * 256;
#define END_CELLS }}
#define READ(buf, i) ((buf)[(i) < ncell ? (i) : ncell - 1])
#define WITHIN(i, value) ((i) < ncell ? (value) : (u64)0)
#define WRITE(buf, i, value) if ((i) < ncell) (buf)[i] = (value)
#define ADD64(where, value) atom_add((where), (value))
#define MIN64(where, value) atom_min((where), (value))
#define MAX64(where, value) atom_max((where), (value))
#define CELL(lo, hi) (ulong2)((lo), (hi))
"""


def comparisons() -> ModuleType:
    """The comparisons with plain Python that every compiler's kernels have to pass."""
    name = "kernel_comparisons_for_pocl"
    spec = importlib.util.spec_from_file_location(name, HERE / "test_kernels_memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


COMPARE = comparisons()


def opencl_source(text: str) -> str:
    """The source with its macros and address spaces as OpenCL C wants them."""
    body, count = re.subn(r"\b((?:const )?(?:cell_t|u64))\*", r"__global \1*", text)
    assert count > 10
    return PREAMBLE + body.replace("#pragma once", "")


class PoclKernels:
    """The kernels as PoCL makes them."""

    def __init__(self, text: str) -> None:
        self._cl = pytest.importorskip("pyopencl", reason="no pyopencl: pip install -e '.[pocl]'")
        self._numpy = pytest.importorskip("numpy")
        self._context = self._open()
        self._queue = self._cl.CommandQueue(self._context)
        self._program = self._cl.Program(self._context, opencl_source(text)).build()

    def _open(self) -> Any:
        """A context on the first PoCL that compiles anything; an old one knows no new processor."""
        try:
            platforms = self._cl.get_platforms()
        except self._cl.LogicError:  # no platform at all
            platforms = []
        said = []
        for platform in platforms:
            if "Portable Computing Language" in platform.name:
                context = self._cl.Context([platform.get_devices()[0]])
                try:
                    self._cl.Program(context, "__kernel void k(__global int* a) {*a = 1;}").build()
                except self._cl.RuntimeError as error:
                    words = [line for line in str(error).splitlines() if "error:" in line]
                    said.append(f"{platform.version}: {words[0] if words else error}")
                else:
                    return context
        why = "; ".join(said) or "no PoCL platform"
        return pytest.skip(f"{why} (apt install pocl-opencl-icd)")

    def launch(self, kernel: str, cells: int, *arguments: array[int] | int) -> None:
        shape = PACKS["base"].kernels[kernel]
        assert len(arguments) == len(shape.arguments)
        flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.COPY_HOST_PTR
        words, held = [], []
        for part in arguments:
            if isinstance(part, int):
                words.append(self._numpy.uint64(part))
            else:
                words.append(self._cl.Buffer(self._context, flags, hostbuf=part))
                held.append((part, words[-1]))
        size = shape.blocks(cells) * TILE_THREADS
        run = self._cl.Kernel(self._program, kernel)
        run(self._queue, (size,), (TILE_THREADS,), *words)
        for part, buffer in held:
            self._cl.enqueue_copy(self._queue, part, buffer)
        self._queue.finish()


@pytest.fixture(scope="module")
def pocl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoclKernels]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCL_CACHE_DIR", str(tmp_path_factory.mktemp("pocl")))
        patch.setenv("PYOPENCL_NO_CACHE", "1")
        yield PoclKernels(SOURCE.read_text())


@pytest.fixture(scope="module")
def emulated() -> Iterator[Any]:
    try:
        with fake_cuda([card("h100-sxm", claimed_mib=256)]) as fake:
            driver = Driver.load(fake.path)
            driver.init()
            with OpenDevice.open(driver, 0):
                yield COMPARE.EmulatedKernels(driver, pack_text("base"))
    except NoCompilerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("check", COMPARE.CHECKS)
def test_a_kernel_under_pocl_equals_python(check: Any, pocl: PoclKernels) -> None:
    for _ in range(3):
        check(pocl, COMPARE.Case())


def test_pocl_and_the_ptx_leave_the_same_memory(pocl: PoclKernels, emulated: Any) -> None:
    case = COMPARE.Case()
    left = []
    for machine in (pocl, emulated):
        first, second = COMPARE.zeros(2 * case.ncell), COMPARE.zeros(2 * case.ncell)
        pattern = (case.ncell, case.base, case.k0, case.k1)
        machine.launch("cap_write", case.ncell, first, *pattern, 0)
        machine.launch("cap_write", case.ncell, second, *pattern, ref.WORD)
        machine.launch("butterfly", case.ncell, first, second, case.ncell, case.kd)
        out, rec = array("Q", [0, ref.WORD, 0, 0]), COMPARE.zeros(3 * case.ncell)
        machine.launch("cap_check", case.ncell, first, *pattern, 0, out, rec, case.ncell)
        records = sorted(zip(*(rec[part::3] for part in range(3)), strict=True))
        digests = COMPARE.zeros(64)
        machine.launch("cap_digest", case.ncell, first, case.ncell, case.base, case.kd, 0, digests)
        sums = COMPARE.zeros(256)
        machine.launch("bw_read", case.ncell, second, case.ncell, sums)
        left.append((first, second, out, records, digests, sums))
    assert left[0] == left[1], case
    assert left[0][2][0] == case.ncell, case


@pytest.mark.parametrize(
    "name", ["dropped-xor-a", "swapped-keys", "wrong-base", "missing-complement"]
)
def test_a_changed_kernel_under_pocl_fails_a_comparison(name: str, pocl: PoclKernels) -> None:
    assert pocl is not None  # skips with it
    old, new = COMPARE.MUTATIONS[name]
    text = SOURCE.read_text()
    assert old in text
    mutant, case = PoclKernels(text.replace(old, new)), COMPARE.Case()
    assert any(COMPARE.fails(check, mutant, case) for check in COMPARE.CHECKS), f"{name}, {case}"
