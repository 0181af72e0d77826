"""The memory kernels against plain Python: their source under a C++ compiler, their PTX emulated.

Changed kernels are compared too. The changes are those that a careless edit would make. Each has to make at least one comparison
fail; otherwise the comparisons would not guard the kernels.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import secrets
import shutil
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from gpuverify.measure import reference as ref
from gpuverify.measure.driver_api import Driver, OpenDevice
from gpuverify.measure.packs import PACKS, TILE_THREADS, pack_text
from gpuverify.measure.reference_chain import bw_cell, bw_sum
from gpuverify.testing.cuda import NoCompilerError, card, fake_cuda

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "gpuverify" / "measure" / "kernels"
ORDER = ("cap_write", "cap_check", "cap_digest", "butterfly", "bw_write", "bw_read", "bw_copy")


class Machine(Protocol):
    """Something that runs the memory kernels on plain arrays of 64-bit words."""

    def launch(self, kernel: str, cells: int, *arguments: array[int] | int) -> None: ...


class HostKernels:
    """The kernels as a C++ compiler makes them."""

    def __init__(self, library: Path) -> None:
        self._run = ctypes.CDLL(str(library)).run_kernel

    def launch(self, kernel: str, cells: int, *arguments: array[int] | int) -> None:
        words = [part if isinstance(part, int) else part.buffer_info()[0] for part in arguments]
        blocks = ctypes.c_uint64(PACKS["base"].kernels[kernel].blocks(cells))
        assert len(words) == len(PACKS["base"].kernels[kernel].arguments)
        packed = (ctypes.c_uint64 * len(words))(*words)
        assert self._run(ORDER.index(kernel), blocks, packed) == 0


class EmulatedKernels:
    """The shipped PTX, or a changed one, on the emulated driver."""

    def __init__(self, driver: Driver, text: bytes) -> None:
        self._driver = driver
        self._module = driver.module_load_data_ex(text)

    def launch(self, kernel: str, cells: int, *arguments: array[int] | int) -> None:
        shape = PACKS["base"].kernels[kernel]
        words, held = [], []
        for part in arguments:
            if not isinstance(part, int):
                held.append((part, self._driver.mem_alloc(8 * len(part))))
                self._driver.memcpy_htod(held[-1][1], part.tobytes())
            words.append(part if isinstance(part, int) else held[-1][1])
        function = self._driver.module_get_function(self._module, kernel)
        self._driver.launch_kernel(function, shape.blocks(cells), TILE_THREADS, words)
        self._driver.ctx_synchronize()
        for part, address in held:
            part[:] = array("Q", self._driver.memcpy_dtoh(address, 8 * len(part)))
            self._driver.mem_free(address)


def build(folder: Path, capacity: str) -> HostKernels:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++")
    folder.mkdir(exist_ok=True)
    (folder / "capacity.cuh").write_text(capacity)
    library = folder / "kernels.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-std=c++17"]
    include = [f"-I{folder}", f"-I{HERE}"]
    source = [str(HERE / "host_kernels.cpp"), "-o", str(library)]
    subprocess.run([*command, *include, *source], check=True)
    return HostKernels(library)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    return build(tmp_path_factory.mktemp("host"), (KERNELS / "capacity.cuh").read_text())


@pytest.fixture(scope="module")
def emulated() -> Iterator[Driver]:
    profile = dataclasses.replace(card("h100-sxm"), claimed_mib=256)
    try:
        with fake_cuda([profile], checked=True) as fake:
            driver = Driver.load(fake.path)
            driver.init()
            with OpenDevice.open(driver, 0):
                yield driver
            assert fake.faults() == []
    except NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["source", "ptx"])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "source":
        host: HostKernels = request.getfixturevalue("host")
        return host
    return EmulatedKernels(request.getfixturevalue("emulated"), pack_text("base"))


def zeros(words: int) -> array[int]:
    return array("Q", bytes(8 * words))


class Case:
    """A run with a fresh nonce; the nonce is in the message of every failure."""

    def __init__(self) -> None:
        self.nonce = secrets.token_bytes(16)
        keys = ref.Keys.derive(self.nonce, "GPU-h", "00000000:0a:00.0", "host")
        self.k0, self.k1, self.kd = keys.k0, keys.k1, keys.kd
        # Neither a whole number of tiles nor of blocks, and beyond 2^32 cells.
        self.ncell = 3 * 4096 + 5 + keys.integers("size", 1, 4000)[0]
        self.base = (1 << 34) + keys.integers("base", 1, 1 << 20)[0]
        self.val = keys.word("val")

    def image(self, inv: int = 0) -> array[int]:
        return array("Q", ref.cells_bytes(self.base, self.ncell, self.k0, self.k1, inv))

    def __repr__(self) -> str:
        return f"nonce {self.nonce.hex()}"


def check_write(machine: Machine, case: Case) -> None:
    for inv in (0, ref.WORD):
        # Two cells more than are to be written, so that a step too far shows.
        memory = zeros(2 * case.ncell + 4)
        machine.launch(
            "cap_write", case.ncell, memory, case.ncell, case.base, case.k0, case.k1, inv
        )
        assert memory[: 2 * case.ncell] == case.image(inv), case
        assert memory[2 * case.ncell :] == zeros(4), case


def run_check(
    machine: Machine, case: Case, memory: array[int], inv: int, room: int
) -> tuple[list[int], list[tuple[int, int, int]]]:
    out, rec = array("Q", [0, ref.WORD, 0, 0]), zeros(3 * room + 3)
    pattern = (case.ncell, case.base, case.k0, case.k1, inv)
    machine.launch("cap_check", case.ncell, memory, *pattern, out, rec, room)
    assert rec[3 * room :] == zeros(3), case
    count = min(room, out[3])
    return list(out), [(rec[3 * s], rec[3 * s + 1], rec[3 * s + 2]) for s in range(count)]


def check_check(machine: Machine, case: Case) -> None:
    for inv in (0, ref.WORD):
        memory = case.image(inv)
        assert run_check(machine, case, memory, inv, 8) == ([0, ref.WORD, 0, 0], []), case
        bad = {0: 0, 4095: 1, 4096: 0, case.ncell - 1: 1}
        for index, half in bad.items():
            memory[2 * index + half] ^= 1 << secrets.randbelow(64)
        out, records = run_check(machine, case, memory, inv, 8)
        assert out == [4, case.base, case.base + case.ncell - 1, 4], case
        seen = {case.base + i: (memory[2 * i] ^ inv, memory[2 * i + 1] ^ inv) for i in bad}
        assert {index: (lo, hi) for index, lo, hi in records} == seen, case
        out, records = run_check(machine, case, memory, inv, 3)
        assert out == [4, case.base, case.base + case.ncell - 1, 4], case
        assert len(records) == 3, case


def check_digest(machine: Machine, case: Case) -> None:
    memory = case.image()
    blocks = PACKS["base"].kernels["cap_digest"].blocks(case.ncell)
    for shift in (0, 1):
        out = zeros((blocks >> shift) + 2)
        machine.launch("cap_digest", case.ncell, memory, case.ncell, case.base, case.kd, shift, out)
        data, size = memory.tobytes(), 16 * (4096 << shift)
        want = [
            ref.digest_bytes(data[at : at + size], case.base + at // 16, case.kd)
            for at in range(0, len(data), size)
        ]
        assert list(out) == want + [0] * (len(out) - len(want)), case


def check_butterfly(machine: Machine, case: Case) -> None:
    first, second = case.image(), case.image(ref.WORD)
    a, b = first[:], second[:]
    machine.launch("butterfly", case.ncell, a, b, case.ncell, case.kd)
    for i in {0, 1, 1023, 1024, case.ncell - 1, *(secrets.randbelow(case.ncell) for _ in "...")}:
        cells = [(part[2 * i], part[2 * i + 1]) for part in (first, second, a, b)]
        assert (cells[2], cells[3]) == ref.butterfly(cells[0], cells[1], i, case.kd), case


def check_bandwidth(machine: Machine, case: Case) -> None:
    memory, copy, out = zeros(2 * case.ncell + 2), zeros(2 * case.ncell + 2), zeros(257)
    machine.launch("bw_write", case.ncell, memory, case.ncell, case.val)
    for i in (0, 1, case.ncell - 1):
        assert (memory[2 * i], memory[2 * i + 1]) == bw_cell(i, case.val), case
    machine.launch("bw_copy", case.ncell, copy, memory, case.ncell)
    assert copy == memory, case
    assert copy[-2:] == zeros(2), case
    machine.launch("bw_read", case.ncell, copy, case.ncell, out)
    assert sum(out) & ref.WORD == bw_sum(case.ncell, case.val), case
    assert sum(1 for word in out if word) == PACKS["base"].kernels["bw_read"].blocks(case.ncell)


Check = Callable[[Machine, Case], None]
CHECKS: tuple[Check, ...] = (
    check_write,
    check_check,
    check_digest,
    check_butterfly,
    check_bandwidth,
)


@pytest.mark.parametrize("check", CHECKS)
def test_a_kernel_equals_python(check: Check, machine: Machine) -> None:
    for _ in range(3):
        check(machine, Case())


def test_memory_that_aliases_shows_for_which_cell_it_was_written(machine: Machine) -> None:
    case = Case()
    half = 4096
    memory = array("Q", bytes(16 * half))
    # A fold in the small: two stretches of the index space on one piece of memory.
    for turn in range(2):
        base = case.base + turn * half
        machine.launch("cap_write", half, memory, half, base, case.k0, case.k1, 0)
    out, rec = array("Q", [0, ref.WORD, 0, 0]), zeros(3 * half)
    machine.launch("cap_check", half, memory, half, case.base, case.k0, case.k1, 0, out, rec, half)
    assert list(out) == [half, case.base, case.base + half - 1, half], case
    found = {ref.invert(rec[3 * s + 1], case.k0) - rec[3 * s] for s in range(half)}
    assert found == {half}, case


MUTATIONS = {
    "dropped-xor-a": ("z ^= z >> 7;", ""),
    "dropped-xor-b": ("z ^= z << 25;", ""),
    "other-shift": ("z ^= z << 17;", "z ^= z << 18;"),
    "swapped-keys": ("u64 lo = cell_lo(base + i, k0);", "u64 lo = cell_lo(base + i, k1);"),
    "wrong-base": ("cell_lo(base + i, k0)", "cell_lo(i, k0)"),
    "base-by-one": ("cell_lo(base + i, k0)", "cell_lo(base + i + 1, k0)"),
    "32-bit-index": ("cell_lo(base + i, k0)", "cell_lo((unsigned)(base + i), k0)"),
    "missing-complement": ("CELL(lo ^ inv, hi ^ inv)", "CELL(lo, hi)"),
    "half-complement": ("CELL(lo ^ inv, hi ^ inv)", "CELL(lo ^ inv, hi)"),
    "high-half-unchecked": ("(seen.x ^ inv ^ lo) | (seen.y ^ inv ^ hi)", "(seen.x ^ inv ^ lo)"),
    "low-half-unchecked": ("(seen.x ^ inv ^ lo) | (seen.y ^ inv ^ hi)", "(seen.y ^ inv ^ hi)"),
    "check-returns-early": ("if (wrong == 0) return;", "return;"),
    "record-keeps-inversion": ("= seen.y ^ inv;", "= seen.y;"),
    "record-overrun": ("if (slot < recmax)", "if (slot <= recmax)"),
    "maximum-lost": ("MAX64(&out[2], base + i);", ""),
    "minimum-lost": ("MIN64(&out[1], base + i);", ""),
    "digest-unkeyed": ("(base + i) + kd", "(base + i)"),
    "digest-without-place": ("(base + i) + kd", "base + kd"),
    "digest-half": ("^ seen.y));", "));"),
    "digest-in-one": ("dig[GROUP >> shift]", "dig[0]"),
    "digest-overwrites": ("ADD64(&dig[GROUP >> shift], sum);", "dig[GROUP >> shift] = sum;"),
    "butterfly-one-way": ("WRITE(b, i, CELL(y.x ^ m0, y.y + m1));", "WRITE(b, i, y);"),
    "butterfly-without-place": ("+ (i + k));", "+ k);"),
    "copy-of-itself": ("WRITE(dst, i, READ(src, i));", "WRITE(dst, i, READ(dst, i));"),
    "read-skips": ("sum += WITHIN(i, seen.x + seen.y);", "sum += WITHIN(i, seen.x);"),
    "read-in-one": ("ADD64(&out[GROUP & 255], sum);", "ADD64(&out[0], sum);"),
    "write-constant": ("CELL(val + i, val ^ i)", "CELL(val + i, val)"),
}


def fails(check: Check, mutant: Machine, case: Case) -> bool:
    try:
        check(mutant, case)
    except AssertionError:
        return True
    return False


def test_a_cell_that_is_wrong_at_the_first_look_alone_counts(tmp_path: Path) -> None:
    text = (KERNELS / "capacity.cuh").read_text()
    look = "wrong |= WITHIN(i,"
    assert text.count(look) == 1
    flickering = build(tmp_path, text.replace(look, "wrong |= (i == 7) | WITHIN(i,"))
    case = Case()
    out, records = run_check(flickering, case, case.image(), 0, 8)
    assert out == [1, ref.WORD, 0, 0], case
    assert records == [], case


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_kernel_fails_a_comparison(name: str, tmp_path: Path) -> None:
    old, new = MUTATIONS[name]
    text = (KERNELS / "capacity.cuh").read_text()
    assert old in text
    # Everywhere for the shared parts; that write and check then agree must not help it.
    mutant = build(tmp_path, text.replace(old, new))
    case = Case()
    assert any(fails(check, mutant, case) for check in CHECKS), f"{name} went unseen, {case}"


def test_the_bytes_of_a_cell_stand_low_word_first(machine: Machine) -> None:
    memory = zeros(2)
    machine.launch("cap_write", 1, memory, 1, 9, 4, 6, 0)
    assert memory.tobytes() == struct.pack("<2Q", *ref.cell(9, 4, 6))


PTX_MUTATIONS = ("dropped-xor-a", "swapped-keys", "wrong-base", "missing-complement")


@pytest.mark.required
@pytest.mark.parametrize("name", PTX_MUTATIONS)
def test_changed_ptx_fails_a_comparison(name: str, emulated: Driver) -> None:
    spec = importlib.util.spec_from_file_location(
        "build_packs_again", HERE.parent / "tools" / "build_packs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tool
    spec.loader.exec_module(tool)
    if tool.find_nvrtc("11.8") is None:
        pytest.skip("NVRTC 11.8 is not installed: pip install -e '.[kernels]'")
    old, new = MUTATIONS[name]
    changed = tool.sources()["capacity.cuh"].replace(old, new)
    # Without the timed kernels, which take most of the time to translate.
    text = tool.build("base", {"base.cu": '#include "capacity.cuh"\n', "capacity.cuh": changed})
    mutant, case = EmulatedKernels(emulated, text), Case()
    assert any(fails(check, mutant, case) for check in CHECKS), f"{name} went unseen, {case}"
