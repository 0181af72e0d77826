"""Threads side by side against threads one by one: the same memory, records and modelled time.

The checked build of the emulator runs every thread alone, so that it is the one to compare with.
"""

from __future__ import annotations

import importlib.util
import random
import secrets
import sys
from array import array
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gpuverify.measure.packs import PACKS, pack_text
from gpuverify.testing.cuda import card
from gpuverify.testing.cuda.ptx_translate import refusals, translate

HEADER = ".version 6.4\n.target sm_70\n.address_size 64\n"
ALL = (1 << 64) - 1


def comparisons() -> ModuleType:
    """The comparisons of the memory kernels with plain Python."""
    name = "kernel_comparisons_for_convoys"
    place = Path(__file__).parents[1] / "measure" / "test_kernels_memory.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


COMPARE = comparisons()


def kernel(body: str, *, name: str = "k") -> str:
    """A kernel (buf, ncell, out): %rd4 is the thread's cell, %rd6 its address, %p1 "beyond"."""
    return f"""
.visible .entry {name}(.param .u64 {name}_0, .param .u64 {name}_1, .param .u64 {name}_2)
{{
.reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %rd<40>;
ld.param.u64 %rd1, [{name}_0];
ld.param.u64 %rd2, [{name}_1];
ld.param.u64 %rd3, [{name}_2];
mov.u32 %r1, %ctaid.x;
mul.wide.u32 %rd5, %r1, 256;
mov.u32 %r2, %tid.x;
cvt.u64.u32 %rd4, %r2;
add.s64 %rd4, %rd5, %rd4;
shl.b64 %rd5, %rd4, 3;
add.s64 %rd6, %rd1, %rd5;
setp.ge.u64 %p1, %rd4, %rd2;
{body}
}}
"""


STRAIGHT = {
    "guarded store": "@!%p1 st.global.u64 [%rd6], %rd4; ret;",
    "skipped store": "@%p1 bra $L1; st.global.u64 [%rd6], %rd4; $L1: ret;",
    "choice": """
        setp.lt.u64 %p2, %rd4, %rd2; selp.b64 %rd7, %rd4, 0, %p2; shl.b64 %rd8, %rd7, 3;
        add.s64 %rd9, %rd1, %rd8; ld.global.u64 %rd10, [%rd9]; selp.b64 %rd11, %rd10, 0, %p2;
        atom.global.add.u64 %rd12, [%rd3], %rd11; ret;""",
    "sum": "red.global.add.u64 [%rd3+8], %rd4; ret;",
    "32-bit sum": "cvt.u32.u64 %r3, %rd4; red.global.add.u32 [%rd3+4], %r3; ret;",
    "every second thread": """
        and.b64 %rd7, %rd4, 1; setp.eq.s64 %p2, %rd7, 0; @%p2 bra $L1;
        st.global.u64 [%rd6], %rd4; $L1: ret;""",
    "value from a skipped stretch": """
        mov.u64 %rd7, 5; @%p1 bra $L1; ld.global.u64 %rd8, [%rd6]; add.s64 %rd7, %rd8, %rd4; $L1:
        atom.global.add.u64 %rd12, [%rd3], %rd7; ret;""",
    "most leave": """
        @%p1 bra $L1; ld.global.u64 %rd7, [%rd6]; mov.u64 %rd9, %rd7; $L1:
        and.b64 %rd8, %rd9, 7; setp.ne.s64 %p2, %rd8, 3; @%p2 bra $L9;
        atom.global.add.u64 %rd10, [%rd3], 1; atom.global.min.u64 %rd11, [%rd3+8], %rd4;
        $L9: ret;""",
}
CROOKED = {
    "loop": "$L1: add.s64 %rd7, %rd7, 1; setp.lt.u64 %p2, %rd7, %rd4; @%p2 bra $L1; "
    "st.global.u64 [%rd6], %rd7; ret;",
    "early end": "@%p1 bra $L1; st.global.u64 [%rd6], %rd4; ret; $L1: ret;",
    "result of an atomic": "atom.global.add.u64 %rd7, [%rd3], 1; st.global.u64 [%rd6], %rd7; ret;",
    "load after an atomic": "red.global.add.u64 [%rd3], 1; ld.global.u64 %rd7, [%rd3]; ret;",
    "minimum": "red.global.min.u64 [%rd3], %rd4; ret;",
    "atomic of its own place": "red.global.add.u64 [%rd6], 1; ret;",
    "address from memory": "ld.global.u64 %rd7, [%rd6]; st.global.u64 [%rd7], %rd4; ret;",
    "condition from memory": """
        ld.global.u64 %rd7, [%rd6]; setp.eq.s64 %p2, %rd7, 3; @%p2 st.global.u64 [%rd6], 9; ret;""",
    "volatile": "ld.volatile.global.u64 %rd7, [%rd6]; st.global.u64 [%rd6], %rd7; ret;",
    "fence": "st.global.u64 [%rd6], %rd4; membar.gl; ret;",
    "address changed later": "st.global.u64 [%rd6], %rd4; add.s64 %rd6, %rd6, 8; ret;",
    "predicate set again": """
        @%p1 bra $L1; st.global.u64 [%rd6], %rd4; $L1: setp.ne.s64 %p1, %rd4, 7;
        selp.b64 %rd7, 1, 0, %p1; ret;""",
    "work before it leaves": """
        st.global.u64 [%rd6], %rd4; setp.ne.s64 %p2, %rd4, 3; @%p2 bra $L9;
        red.global.add.u64 [%rd3], 1; $L9: ret;""",
    "opposite conditions": """
        @%p1 st.global.u64 [%rd3], %rd4; @!%p1 st.global.u64 [%rd6], %rd4; ret;""",
    "nothing": "ret;",
}
NAMES = tuple(STRAIGHT)


def straight_module() -> str:
    return HEADER + "".join(
        kernel(STRAIGHT[name].replace("$L", f"$L{number}_"), name=f"k{number}")
        for number, name in enumerate(NAMES)
    )


def test_the_memory_kernels_run_side_by_side() -> None:
    text = translate(pack_text("base").decode())
    tiled = {name for name, shape in PACKS["base"].kernels.items() if shape.geometry == "tiled"}
    assert {name for name in PACKS["base"].kernels if f" convoy_{name}(" in text} == tiled
    assert "convoy_" not in translate(pack_text("tensor").decode())


@pytest.mark.parametrize("name", STRAIGHT)
def test_what_is_straight_runs_side_by_side(name: str) -> None:
    text = HEADER + kernel(STRAIGHT[name])
    assert refusals(text) == {}
    assert " convoy_k(" in translate(text)


@pytest.mark.parametrize("name", CROOKED)
def test_what_cannot_be_shown_to_be_the_same_is_left_alone(name: str) -> None:
    text = HEADER + kernel(CROOKED[name])
    assert refusals(text) == {}
    assert " convoy_k(" not in translate(text)


@pytest.fixture
def both(bench: Any) -> tuple[Any, Any]:
    """A machine whose threads run side by side, and one whose threads run alone."""
    fast, alone = (bench(options={"checked": checked}) for checked in (False, True))
    return fast, alone


def outcome(
    machine: Any, module: int, name: str, grid: int, block: int, ncell: int, start: bytes
) -> tuple[bytes, int]:
    """What a kernel of this file leaves in memory, and the nanoseconds that it is said to take."""
    place = machine.driver.mem_alloc(1 << 20)
    machine.driver.memcpy_htod(place, start)
    function = machine.driver.module_get_function(module, name)
    before = machine.fake.clock_ns()
    machine.driver.launch_kernel(function, grid, block, (place, ncell, place + (1 << 19)))
    machine.driver.ctx_synchronize()
    took = machine.fake.clock_ns() - before
    left = machine.driver.memcpy_dtoh(place, 1 << 20)
    machine.driver.mem_free(place)
    return left, took


@pytest.mark.parametrize("block", [1, 32, 64, 96, 256])
def test_side_by_side_is_the_same_as_one_by_one(both: tuple[Any, Any], block: int) -> None:
    modules = [machine.load(straight_module().encode()) for machine in both]
    seed = secrets.randbits(32)
    start = random.Random(seed).randbytes(1 << 20)
    for number, name in enumerate(NAMES):
        for grid, ncell in ((1, 0), (1, 1), (3, 600), (3, 513), (4, 1024), (5, 1100)):
            fast, alone = (
                outcome(machine, module, f"k{number}", grid, block, ncell, start)
                for machine, module in zip(both, modules, strict=True)
            )
            where = (name, grid, block, ncell, seed)
            assert fast[0] == alone[0], where
            assert abs(fast[1] - alone[1]) <= 2, where
    assert both[1].fake.faults() == []


def wild(choose: random.Random, name: str) -> str:
    """A straight kernel of random arithmetic with stretches that are skipped and guarded loads."""
    lines, known, labels = [], ["%rd2", "%rd4", "%rd5"], 0

    def value() -> str:
        return choose.choice([*known, *known, str(choose.randrange(1, 1 << 31))])

    def arithmetic(out: str) -> str:
        form = choose.choice(["add.s64", "sub.s64", "xor.b64", "or.b64", "and.b64", "shift", "mul"])
        if form == "shift":
            side = choose.choice(["shl.b64", "shr.u64", "shr.s64"])
            return f"{side} {out}, {choose.choice(known)}, {choose.randrange(70)};"
        if form == "mul":
            return f"mul.lo.s64 {out}, {choose.choice(known)}, {value()};"
        return f"{form} {out}, {choose.choice(known)}, {value()};"

    for number in range(10, 34):
        out = f"%rd{number}"
        turn = choose.randrange(8)
        if turn == 0:
            labels += 1
            label = f"$W{name}_{labels}"
            lines += [f"mov.u64 {out}, {value()};", f"@%p1 bra {label};", arithmetic(out)]
            lines += [f"st.global.u64 [%rd6+{8 * 4096 * labels}], {out};", f"{label}:"]
        elif turn == 1:
            lines += [f"selp.b64 {out}, {value()}, {value()}, %p1;"]
        elif turn == 2 and labels:
            lines += [f"ld.global.u64 {out}, [%rd6];"]
        else:
            lines += [arithmetic(out)]
        known.append(out)
    ends = "st.global.u64 [%rd6], %rd33; " if choose.randrange(2) else ""
    lines += [f"{ends}red.global.add.u64 [%rd3], %rd32;", "ret;"]
    return kernel("\n".join(lines), name=name)


def test_random_kernels_do_the_same_side_by_side(both: tuple[Any, Any]) -> None:
    seed = secrets.randbits(32)
    choose = random.Random(seed)
    names = [f"w{number}" for number in range(16)]
    text = HEADER + "".join(wild(choose, name) for name in names)
    done = translate(text)
    assert all(f" convoy_{name}(" in done for name in names), seed
    modules = [machine.load(text.encode()) for machine in both]
    start = choose.randbytes(1 << 20)
    for name in names:
        for grid, ncell in ((2, 300), (2, 512)):
            fast, alone = (
                outcome(machine, module, name, grid, 256, ncell, start)
                for machine, module in zip(both, modules, strict=True)
            )
            assert fast[0] == alone[0], (name, ncell, seed)
            assert abs(fast[1] - alone[1]) <= 2, (name, ncell, seed)
    assert both[1].fake.faults() == []


@pytest.mark.parametrize("check", COMPARE.CHECKS)
def test_a_memory_kernel_side_by_side_equals_python(bench: Any, check: Any) -> None:
    machine = bench(card("h100-sxm", claimed_mib=256))
    kernels = COMPARE.EmulatedKernels(machine.driver, pack_text("base"))
    for _ in range(3):
        check(kernels, COMPARE.Case())


@pytest.mark.parametrize("cells", [1, 255, 256, 1023, 1024, 1025, 4096, 5 * 4096 + 7])
def test_memory_kernels_take_the_same_modelled_time(both: tuple[Any, Any], cells: int) -> None:
    left = []
    for machine in both:
        module = machine.load("base")
        first, second, out, rec = (machine.driver.mem_alloc(1 << 20) for _ in range(4))
        for place in (first, second, out, rec):
            machine.driver.memset_d8(place, 0, 1 << 20)
        machine.put(out, 0, ALL, 0, 0)
        took = []
        for name, arguments in (
            ("cap_write", (first, cells, 77, 3, 5, ALL)),
            ("bw_copy", (second, first, cells)),
            ("cap_check", (second, cells, 78, 3, 5, ALL, out, rec, cells)),
            ("butterfly", (first, second, cells, 9)),
            ("cap_digest", (second, cells, 77, 11, 0, out + 64)),
            ("bw_read", (first, cells, out + 1024)),
            ("bw_write", (second, cells, 13)),
        ):
            before = machine.fake.clock_ns()
            grid = PACKS["base"].kernels[name].blocks(cells)
            machine.run(module, name, grid, 256, *arguments)
            took.append(machine.fake.clock_ns() - before)
        sums = machine.words(out, 4096)
        assert sums[:2] == (cells, 78)
        found = array("Q", machine.driver.memcpy_dtoh(rec, 24 * cells))
        records = sorted(zip(*(found[part::3] for part in range(3)), strict=True))
        images = [machine.driver.memcpy_dtoh(place, 1 << 20) for place in (first, second)]
        left.append((images, sums, records, took))
    assert left[0][:3] == left[1][:3]
    assert all(abs(a - b) <= 2 for a, b in zip(left[0][3], left[1][3], strict=True)), left
