"""Each opcode of the translator against plain Python, on random and on awkward operands."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from gpuverify.testing.cuda.ptx_parse import UnsupportedPtx, parse_ptx, split_operands
from gpuverify.testing.cuda.ptx_translate import refusals, translate

M32, M64 = 2**32 - 1, 2**64 - 1
HEADER = ".version 6.4\n.target sm_70\n.address_size 64\n"


def signed(value: int, bits: int) -> int:
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def f32(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits & M32))[0])


def b32(value: float) -> int:
    try:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def f64(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits & M64))[0])


def b64(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def f16(bits: int) -> float:
    return float(struct.unpack("<e", struct.pack("<H", bits & 0xFFFF))[0])


def b16(value: float) -> int:
    try:
        return int(struct.unpack("<H", struct.pack("<e", value))[0])
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


def nearest(exact: Fraction, mantissa: int, lowest: int) -> float:
    """Round an exact value to a binary format, ties to even (overflow is not needed here)."""
    if exact == 0:
        return 0.0
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    place = max(exponent, lowest) - mantissa
    scaled = size / Fraction(2) ** place
    whole = scaled.numerator // scaled.denominator
    rest = scaled - whole
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2):
        whole += 1
    return math.copysign(float(whole * Fraction(2) ** place), exact)


def fused(a: float, b: float, c: float, mantissa: int, lowest: int) -> float:
    return nearest(Fraction(a) * Fraction(b) + Fraction(c), mantissa, lowest)


def half_fused(a: int, b: int, c: int) -> int:
    value = fused(f16(a), f16(b), f16(c), 10, -14)
    return b16(value) if abs(value) < 65520 else b16(math.copysign(math.inf, value))


def compared(test: Callable[[int, int], bool]) -> Callable[[int, int, int], int]:
    return lambda a, b, c: 1 if test(a, b) else 2


COMPARISONS: tuple[tuple[str, str, Callable[[int, int], bool]], ...] = (
    ("eq", "s64", lambda a, b: a == b),
    ("ne", "b64", lambda a, b: a != b),
    ("le", "u64", lambda a, b: a <= b),
    ("gt", "s64", lambda a, b: signed(a, 64) > signed(b, 64)),
    ("ge", "s64", lambda a, b: signed(a, 64) >= signed(b, 64)),
    ("lo", "u64", lambda a, b: a < b),
    ("ls", "u64", lambda a, b: a <= b),
    ("hi", "u64", lambda a, b: a > b),
    ("hs", "u64", lambda a, b: a >= b),
)
# name: (registers of the operands and result, PTX, Python); %a %b %c in, %d out, 64-bit or 32-bit
Case = tuple[str, str, Callable[[int, int, int], int]]
INTEGER: dict[str, Case] = {
    "add.s64": ("b64", "add.s64 %d, %a, %b", lambda a, b, c: a + b),
    "add.u32": ("b32", "add.u32 %d, %a, %b", lambda a, b, c: a + b),
    "sub.s64": ("b64", "sub.s64 %d, %a, %b", lambda a, b, c: a - b),
    "sub.s32": ("b32", "sub.s32 %d, %a, -77", lambda a, b, c: a + 77),
    "xor.b64": ("b64", "xor.b64 %d, %a, %b", lambda a, b, c: a ^ b),
    "or.b32": ("b32", "or.b32 %d, %a, %b", lambda a, b, c: a | b),
    "and.b64": ("b64", "and.b64 %d, %a, 0x00ff00ff00ff00ff", lambda a, b, c: a & 0xFF00FF00FF00FF),
    "not.b64": ("b64", "not.b64 %d, %a", lambda a, b, c: ~a),
    "neg.s64": ("b64", "neg.s64 %d, %a", lambda a, b, c: -a),
    "neg.s32": ("b32", "neg.s32 %d, %a", lambda a, b, c: -a),
    "abs.s32": ("b32", "abs.s32 %d, %a", lambda a, b, c: abs(signed(a, 32))),
    "shl.b64": ("b64", "shl.b64 %d, %a, 13", lambda a, b, c: a << 13),
    "shl.b32 32": ("b32", "shl.b32 %d, %a, 32", lambda a, b, c: 0),
    "shr.u64": ("b64", "shr.u64 %d, %a, 7", lambda a, b, c: a >> 7),
    "shr.s64": ("b64", "shr.s64 %d, %a, 63", lambda a, b, c: signed(a, 64) >> 63),
    "shr.s32 40": ("b32", "shr.s32 %d, %a, 40", lambda a, b, c: signed(a, 32) >> 31),
    "shr.u32 reg": (
        "b32",
        "and.b32 %d, %b, 63; shr.u32 %d, %a, %d",
        lambda a, b, c: a >> (b & 63) if b & 63 < 32 else 0,
    ),
    "mul.lo.s32": ("b32", "mul.lo.s32 %d, %a, %b", lambda a, b, c: a * b),
    "mul.lo.s64": ("b64", "mul.lo.s64 %d, %a, %b", lambda a, b, c: a * b),
    "mul.hi.u64": ("b64", "mul.hi.u64 %d, %a, %b", lambda a, b, c: a * b >> 64),
    "mul.hi.s32": (
        "b32",
        "mul.hi.s32 %d, %a, %b",
        lambda a, b, c: signed(a, 32) * signed(b, 32) >> 32,
    ),
    "mad.lo.s32": ("b32", "mad.lo.s32 %d, %a, %b, %c", lambda a, b, c: a * b + c),
    "mad.lo.u64": ("b64", "mad.lo.u64 %d, %a, %b, %c", lambda a, b, c: a * b + c),
    "mad.hi.u32": ("b32", "mad.hi.u32 %d, %a, %b, %c", lambda a, b, c: (a * b >> 32) + c),
    "min.u64": ("b64", "min.u64 %d, %a, %b", lambda a, b, c: min(a, b)),
    "max.s32": ("b32", "max.s32 %d, %a, %b", lambda a, b, c: max(signed(a, 32), signed(b, 32))),
    "div.u64": ("b64", "or.b64 %d, %b, 1; div.u64 %d, %a, %d", lambda a, b, c: a // (b | 1)),
    "rem.u32": ("b32", "or.b32 %d, %b, 1; rem.u32 %d, %a, %d", lambda a, b, c: a % (b | 1)),
    "popc.b32": ("b32", "popc.b32 %d, %a", lambda a, b, c: bin(a).count("1")),
    "clz.b32": ("b32", "clz.b32 %d, %a", lambda a, b, c: 32 - a.bit_length()),
    "lop3.b32": (
        "b32",
        "lop3.b32 %d, %a, %b, %c, 0x96",
        lambda a, b, c: a ^ b ^ c,
    ),
    "lop3.b32 mux": (
        "b32",
        "lop3.b32 %d, %a, %b, %c, 202",
        lambda a, b, c: (a & b) | (~a & c),
    ),
    "shf.l.wrap": (
        "b32",
        "shf.l.wrap.b32 %d, %a, %b, %c",
        lambda a, b, c: ((b << 32 | a) << (c & 31)) >> 32,
    ),
    "shf.r.clamp": (
        "b32",
        "shf.r.clamp.b32 %d, %a, %b, %c",
        lambda a, b, c: (b << 32 | a) >> min(c, 32),
    ),
    "bfe.u32": ("b32", "bfe.u32 %d, %a, 5, 9", lambda a, b, c: a >> 5 & 511),
    "prmt.b32": (
        "b32",
        "prmt.b32 %d, %a, %b, 0x6240",
        lambda a, b, c: (a & 255) | (b & 255) << 8 | (a >> 16 & 255) << 16 | (b >> 16 & 255) << 24,
    ),
    "setp.lt.s64": (
        "b64",
        "setp.lt.s64 %p, %a, %b; selp.b64 %d, %a, %c, %p",
        lambda a, b, c: a if signed(a, 64) < signed(b, 64) else c,
    ),
    **{
        f"setp.{name}": (
            "b64",
            f"setp.{name}.{kind} %p, %a, %b; selp.u64 %d, 1, 2, %p",
            compared(test),
        )
        for name, kind, test in COMPARISONS
    },
    "setp.hs and guard": (
        "b32",
        "mov.u32 %d, 5; setp.ge.u32 %p, %a, %b; @!%p mov.u32 %d, 9",
        lambda a, b, c: 5 if a >= b else 9,
    ),
    "and.pred": (
        "b32",
        (
            "setp.lt.u32 %p, %a, %b; setp.lt.u32 %q, %b, %c; and.pred %p, %p, %q;"
            " selp.u32 %d, 1, 0, %p"
        ),
        lambda a, b, c: int(a < b < c),
    ),
    "mov pair": (
        "b64",
        "mov.b64 {%x, %y}, %a; mov.b64 %d, {%y, %x}",
        lambda a, b, c: a >> 32 | (a & M32) << 32,
    ),
    "cvt narrow": ("b64", "cvt.u32.u64 %x, %a; cvt.u64.u32 %d, %x", lambda a, b, c: a & M32),
    "cvt sign": (
        "b64",
        "cvt.u32.u64 %x, %a; cvt.s64.s32 %d, %x",
        lambda a, b, c: signed(a, 32),
    ),
    "cvt.s8": ("b32", "cvt.s32.s8 %d, %a", lambda a, b, c: signed(a, 8)),
    "mul.wide": (
        "b64",
        "cvt.u32.u64 %x, %a; cvt.u32.u64 %y, %b; mul.wide.u32 %d, %x, %y",
        lambda a, b, c: (a & M32) * (b & M32),
    ),
    "mad.wide": (
        "b64",
        "cvt.u32.u64 %x, %a; cvt.u32.u64 %y, %b; mad.wide.s32 %d, %x, %y, %c",
        lambda a, b, c: signed(a, 32) * signed(b, 32) + c,
    ),
    "ld.s8": ("b64", "ld.global.s8 %d, [%base+1]", lambda a, b, c: signed(a >> 8, 8)),
    "ld.u16": ("b64", "ld.global.nc.u16 %d, [%base+2]", lambda a, b, c: a >> 16 & 0xFFFF),
    "ld.s32": ("b64", "ld.global.s32 %d, [%base+4]", lambda a, b, c: signed(a >> 32, 32)),
    "ld.v2": (
        "b64",
        "ld.volatile.global.v2.u32 {%x, %y}, [%base+8]; mov.b64 %d, {%y, %x}",
        lambda a, b, c: b >> 32 | (b & M32) << 32,
    ),
    "st.u8": (
        "b64",
        "st.global.u8 [%base+3], %a; ld.global.u32 %d, [%base]",
        lambda a, b, c: (a & 0xFFFFFF) | (a & 255) << 24,
    ),
    "bra": (
        "b64",
        (
            "mov.u64 %d, 0; mov.u64 %e, 0; LOOP: add.s64 %d, %d, %a; add.s64 %e, %e, 1;"
            " setp.lt.u64 %p, %e, 5; @%p bra LOOP"
        ),
        lambda a, b, c: a * 5,
    ),
}
FLOAT: dict[str, Case] = {
    "fma.rn.f64": (
        "f64",
        "fma.rn.f64 %d, %a, %b, %c",
        lambda a, b, c: b64(fused(f64(a), f64(b), f64(c), 52, -1022)),
    ),
    "add.f64": ("f64", "add.f64 %d, %a, %b", lambda a, b, c: b64(f64(a) + f64(b))),
    "mul.rn.f64": ("f64", "mul.rn.f64 %d, %a, %b", lambda a, b, c: b64(f64(a) * f64(b))),
    "fma.rn.f32": (
        "f32",
        "fma.rn.f32 %d, %a, %b, %c",
        lambda a, b, c: b32(fused(f32(a), f32(b), f32(c), 23, -126)),
    ),
    "add.rn.f32": ("f32", "add.rn.f32 %d, %a, %b", lambda a, b, c: b32(f32(a) + f32(b))),
    "sub.f32": ("f32", "sub.f32 %d, %a, 0f3FC00000", lambda a, b, c: b32(f32(a) - 1.5)),
    "mul.rn.f32": ("f32", "mul.rn.f32 %d, %a, %b", lambda a, b, c: b32(f32(a) * f32(b))),
    "neg.f32": ("f32", "neg.f32 %d, %a", lambda a, b, c: a ^ 0x80000000),
    "cvt.rn.f32.u32": ("f32", "cvt.rn.f32.u32 %d, %x", lambda a, b, c: b32(float(a))),
    "cvt.rzi.s32.f32": (
        "f32",
        "cvt.rzi.s32.f32 %y, %a; mov.b32 %d, %y",
        lambda a, b, c: max(-(2**31), min(2**31 - 1, int(f32(a)))),
    ),
    "cvt.rzi.u32.f32": (
        "f32",
        "cvt.rzi.u32.f32 %y, %a; mov.b32 %d, %y",
        lambda a, b, c: max(0, min(2**32 - 1, int(f32(a)))),
    ),
    "fma.rn.f16": (
        "f16",
        "fma.rn.f16 %h, %i, %j, %k",
        half_fused,
    ),
    "fma.rn.f16x2": (
        "f16x2",
        "fma.rn.f16x2 %d, %a, %b, %c",
        lambda a, b, c: half_fused(a, b, c) | half_fused(a >> 16, b >> 16, c >> 16) << 16,
    ),
    "cvt f16": (
        "f32",
        "cvt.rn.f16.f32 %h, %a; cvt.f32.f16 %d, %h",
        lambda a, b, c: b32(
            f16(b16(f32(a)) if abs(f32(a)) < 65520 else b16(math.copysign(math.inf, f32(a))))
        ),
    ),
}
KEEP_32 = ("b32", "f32", "f16", "f16x2")


def kernel_text(number: int, registers: str, code: str) -> str:
    wide = registers not in KEEP_32
    kind = {"b64": "b64", "f64": "f64", "f32": "f32"}.get(registers, "b32")
    load = [f"ld.global.u64 %w{i}, [%base+{8 * i}];" for i in range(3)]
    for i, name in enumerate("abc"):
        load.append(
            f"mov.b64 %{name}, %w{i};"
            if wide
            else f"cvt.u32.u64 %n{i}, %w{i}; mov.b32 %{name}, %n{i};"
        )
    if not wide:
        load.append("mov.u32 %x, %n0;")
    if registers == "f16":
        load += [f"cvt.u16.u32 %{name}, %n{i};" for i, name in enumerate("ijk")]
        code += "; cvt.u32.u16 %d, %h"
    store = "mov.b64 %out, %d;" if wide else "mov.b32 %n3, %d; cvt.u64.u32 %out, %n3;"
    return (
        f".visible .entry k{number}(.param .u64 p0, .param .u64 p1)\n{{\n"
        ".reg .pred %p, %q; .reg .b64 %w<4>, %base, %to, %t64, %out, %e; .reg .b32 %n<5>, %x, %y, %t;"
        f" .reg .b16 %h, %i, %j, %k; .reg .{kind} %a, %b, %c, %d;\n"
        "ld.param.u64 %base, [p0]; ld.param.u64 %to, [p1]; cvta.to.global.u64 %base, %base;\n"
        "mov.u32 %t, %tid.x; mad.wide.u32 %base, %t, 24, %base; mul.wide.u32 %t64, %t, 8;\n"
        f"add.s64 %to, %to, %t64;\n{' '.join(load)}\n{code};\n{store}\n"
        "st.global.u64 [%to], %out;\nret;\n}\n"
    )


def inputs(registers: str, seed: int, count: int) -> list[tuple[int, int, int]]:
    draw = random.Random(seed)
    odd = [0, 1, 2, 31, 32, 33, 2**31 - 1, 2**31, M32, 2**63, 2**63 - 1, M64]

    def one() -> int:
        if registers == "f64":
            return b64(math.ldexp(draw.uniform(-2, 2), draw.randint(-40, 40)))
        if registers == "f32":
            return b32(math.ldexp(draw.uniform(-2, 2), draw.randint(-20, 34)))
        if registers.startswith("f16"):
            halves = []
            for _ in range(2):
                bits = draw.getrandbits(16)
                halves.append(bits if bits >> 10 & 31 not in (31,) else bits & 0xBFFF)
            return halves[0] | halves[1] << 16
        return draw.choice(odd) if draw.random() < 0.4 else draw.getrandbits(64)

    mask = M32 if registers in KEEP_32 else M64
    rows = [(one() & mask, one() & mask, one() & mask) for _ in range(count)]
    if registers.startswith("f16"):
        # 1.5 * (1 + 2^-10) and 1.5 * (1 + 3 * 2^-10) lie half way between two numbers; 2^-24 more
        # or less decides, and is lost where the sum is rounded to single precision first.
        halves = [
            (a, b, c)
            for a in (0x3E00, 0xBE00)
            for b in (0x3C01, 0x3C03)
            for c in (1, 0x8001, 0, 0x8000)
        ]
        rows[: len(halves)] = [(a | a << 16, b | b << 16, c | c << 16) for a, b, c in halves]
    elif registers == "b64":
        rows[:3] = [(5, 5, 6), (2**63, 2**63, 1), (7, 6, 5)]
    return rows


@pytest.mark.required
def test_each_opcode_gives_what_python_gives(bench: Any) -> None:
    cases = {**INTEGER, **FLOAT}
    text = HEADER + "".join(
        kernel_text(number, registers, code)
        for number, (registers, code, _) in enumerate(cases.values())
    )
    assert refusals(text) == {}
    machine = bench(options={"checked": True})
    module = machine.load(text.encode() + b"\0")
    source, target, count = (
        machine.driver.mem_alloc(1 << 20),
        machine.driver.mem_alloc(1 << 20),
        512,
    )
    wrong = []
    for number, (name, (registers, _, python)) in enumerate(cases.items()):
        rows = inputs(registers, number, count)
        machine.put(source, *(word for row in rows for word in row))
        machine.run(module, f"k{number}", 1, count, source, target)
        mask = M64 if registers not in KEEP_32 else 0xFFFF if registers == "f16" else M32
        for row, seen in zip(rows, machine.words(target, count), strict=True):
            want = python(*row) & mask
            if seen != want:
                wrong.append(f"{name} {[hex(x) for x in row]}: {seen:#x}, not {want:#x}")
                break
    assert wrong == []
    assert machine.fake.faults() == []


def entry(
    code: str, declarations: str = ".reg .b32 %a<9>; .reg .b64 %d<9>; .reg .f32 %f<9>;"
) -> str:
    return f"{HEADER}.visible .entry k(.param .u64 p)\n{{\n{declarations}\n{code}\nret;\n}}\n"


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("bar.sync 0;", "bar.sync"),
        ("shfl.sync.bfly.b32 %a1, %a2, 1, 31, -1;", "shfl"),
        ("vote.sync.ballot.b32 %a1, %a2, -1;", "vote"),
        (".shared .align 4 .b8 s[64];", ".shared"),
        (".local .align 4 .b8 s[64];", ".local"),
        ("ld.shared.u32 %a1, [%d1];", "global"),
        ("ld.global.frob.u32 %a1, [%d1];", ".frob"),
        ("add.sat.s32 %a1, %a2, %a3;", "add.sat.s32"),
        ("add.rz.f32 %f1, %f2, %f3;", "add.rz.f32"),
        ("fma.rn.ftz.f32 %f1, %f2, %f3, %f4;", "fma.rn.ftz.f32"),
        ("fma.rn.f32 %f1, %f2, %f3, 1;", "1"),
        ("ex2.approx.f32 %f1, %f2;", "ex2"),
        ("mov.u32 %a1, %envreg3;", "envreg3"),
        ("mov.u32 %a1, %zz1;", "zz1"),
        ("bra NOWHERE;", "NOWHERE"),
        ("frobnicate.u32 %a1, %a2;", "frobnicate"),
        ("add.u32 %a1;", "add.u32"),
        ("atom.global.cas.b32 %a1, [%d1], %a2, %a3;", "cas"),
        ("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1}, {%a1}, {%a2}, {%f1};", "mma"),
    ],
)
def test_what_is_not_known_refuses_the_kernel_by_name(code: str, named: str) -> None:
    found = refusals(entry(code))
    assert list(found) == ["k"]
    assert named in found["k"]
    assert '"k", 0,' in translate(entry(code))


def test_a_refused_kernel_is_refused_loudly(bench: Any) -> None:
    from gpuverify.measure.driver_api import DriverError

    machine = bench()
    good = entry("").replace(HEADER, "").replace(" k(", " good(")
    module = machine.load((entry("bar.sync 0;") + good).encode() + b"\0")
    machine.run(module, "good", 1, 32, 0)
    with pytest.raises(DriverError) as caught:
        machine.driver.module_get_function(module, "k")
    assert caught.value.code == 801
    assert "bar.sync" in machine.fake.faults()[0]


@pytest.mark.parametrize("text", ["", "hello", ".version 6.4\n", HEADER + ".func f() { ret; }"])
def test_what_is_no_module_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(UnsupportedPtx):
        parse_ptx(text)


def test_operands_are_split_outside_braces() -> None:
    assert split_operands("{%a, %b}, [%c+8], 5") == ("{%a, %b}", "[%c+8]", "5")


def test_parameters_are_laid_out_by_alignment() -> None:
    text = HEADER + ".visible .entry k(.param .u32 a, .param .u64 b, .param .u8 c)\n{\nret;\n}\n"
    kernel = parse_ptx(text).kernels[0]
    assert [(item.name, item.offset, item.size) for item in kernel.parameters] == [
        ("a", 0, 4),
        ("b", 8, 8),
        ("c", 16, 1),
    ]


ATOMS = """.visible .entry atoms(.param .u64 p)
{
.reg .b64 %d<9>; .reg .b32 %r<3>;
ld.param.u64 %d1, [p]; mov.u32 %r1, %tid.x; cvt.u64.u32 %d2, %r1;
atom.global.add.u64 %d3, [%d1], 3;
red.global.max.u64 [%d1+8], %d2; red.global.min.u64 [%d1+16], %d2;
red.global.or.b32 [%d1+24], %r1; red.global.add.u32 [%d1+28], 1;
red.global.xor.b64 [%d1+32], %d2; red.global.and.b64 [%d1+40], %d2;
ret;
}
"""


def test_atomics_lose_nothing_between_threads(bench: Any) -> None:
    machine = bench()
    module = machine.load((HEADER + ATOMS).encode() + b"\0")
    place = machine.driver.mem_alloc(4096)
    machine.put(place, 0, 0, M64, 0, 0, M64)
    machine.run(module, "atoms", 513, 128, place)
    total = 513 * 128
    assert machine.words(place, 6) == (3 * total, 127, 0, total << 32 | 127, 0, 0)
