"""One PTX instruction to one C statement.

A modifier that is not listed here (saturation, flush to zero, another rounding) refuses the kernel.
"""

from __future__ import annotations

import re

from gpuverify.testing.cuda.ptx_parse import SIZES, Instruction, UnsupportedPtx
from gpuverify.testing.cuda.ptx_scope import C_TYPES, WORDS, Scope, vector

_WIDE = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
_COMPARE = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "lo": "<", "ls": "<=", "hi": ">", "hs": ">=",
}  # fmt: skip
_CACHE_HINTS = frozenset(
    {"global", "nc", "ca", "cg", "cs", "cv", "lu", "wb", "wt", "volatile", "relaxed", "weak"}
)
_SCOPES = frozenset({"gpu", "sys", "cta"})
INFIX = {"add": "+", "sub": "-", "xor": "^", "or": "|", "and": "&"}


def _only(parts: list[str], allowed: frozenset[str], opcode: str) -> None:
    """Refuse modifiers that are not known."""
    unknown = [item for item in parts if item not in allowed and not item.startswith("L2")]
    if unknown:
        raise UnsupportedPtx(f"{opcode}: modifier .{unknown[0]}")


def _memory(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Load from or store to global memory; parameters are read from their own space."""
    load = parts[0] == "ld"
    kind = parts[-1]
    if kind not in SIZES or kind == "pred":
        raise UnsupportedPtx(item.opcode)
    size = SIZES[kind]
    if load and parts[1] == "param":
        match = re.fullmatch(r"\[\s*([\w$]+)\s*(?:\+\s*(\d+))?\s*\]", item.operands[1])
        if len(parts) != 3 or not match or match.group(1) not in scope.offsets:
            raise UnsupportedPtx(f"{item.opcode} {item.operands[1]}")
        offset = scope.offsets[match.group(1)] + int(match.group(2) or 0)
        return scope.write(
            item.operands[0], kind, f"*(const {C_TYPES[kind]} *)(params_ + {offset})"
        )
    middle = [part for part in parts[1:-1] if not re.fullmatch(r"v[24]", part)]
    if "global" not in middle:
        raise UnsupportedPtx(f"{item.opcode}: not global memory")
    _only(middle, _CACHE_HINTS | _SCOPES, item.opcode)
    count = next((int(part[1]) for part in parts[1:-1] if re.fullmatch(r"v[24]", part)), 1)
    registers, place = item.operands if load else (item.operands[1], item.operands[0])
    names = vector(registers) if count > 1 else [registers]
    if len(names) != count:
        raise UnsupportedPtx(f"{item.opcode}: {len(names)} registers")
    typed = (
        f"((volatile {C_TYPES[kind]} *)a_)" if "volatile" in parts else f"(({C_TYPES[kind]} *)a_)"
    )
    body = " ".join(
        scope.write(name, kind, f"{typed}[{number}]")
        if load
        else f"{typed}[{number}] = {scope.read(name, kind)};"
        for number, name in enumerate(names)
    )
    priced = (
        f"GPV_{'LOADED' if load else 'STORED'}(a_, {size * count}); "
        if scope.timed
        else (f"if (timed_) gpv_range_of(block_, a_, {size * count}); ")
    )
    return (
        f"{{ uint64_t a_ = {scope.address(place)}; "
        f"if (GPV_ALLOWED(a_, {size * count})) {{ {priced}{body} }} }}"
    )


def _atomic(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Translate atom and red: an operation on memory that nothing comes between."""
    kind = parts[-1]
    names = [
        part for part in parts[1:-1] if part in {"add", "min", "max", "exch", "or", "and", "xor"}
    ]
    rest = [part for part in parts[1:-1] if part not in names]
    _only(rest, frozenset({"global", "relaxed"}) | _SCOPES, item.opcode)
    if (
        len(names) != 1
        or kind not in {"u32", "s32", "b32", "u64", "s64", "b64"}
        or "global" not in rest
    ):
        raise UnsupportedPtx(item.opcode)
    returns = parts[0] == "atom"
    place, value = item.operands[1:] if returns else item.operands
    call = f"gpv_{names[0]}_{kind}(({C_TYPES[kind]} *)a_, {scope.read(value, kind)})"
    done = scope.write(item.operands[0], kind, call) if returns else f"{call};"
    size = SIZES[kind]
    return f"{{ uint64_t a_ = {scope.address(place)}; if (GPV_ALLOWED(a_, {size})) {{ {done} }} }}"


def _convert(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Convert between types whose rounding C does the same way."""
    target, origin = parts[-2], parts[-1]
    rounding = parts[1:-2]
    if target not in C_TYPES or origin not in C_TYPES or len(item.operands) != 2:
        raise UnsupportedPtx(item.opcode)
    is_float = [kind in ("f16", "f32", "f64") for kind in (target, origin)]
    value = scope.read(item.operands[1], origin)
    if not any(is_float) and not rounding:
        return scope.write(item.operands[0], target, f"({C_TYPES[target]}){value}")
    if is_float == [True, False] and rounding == ["rn"] and target != "f16":
        return scope.write(item.operands[0], target, f"({C_TYPES[target]}){value}")
    if is_float == [True, False] and rounding == ["rn"]:
        return scope.write(item.operands[0], target, f"gpv_to_half(gpv_odd((double){value}))")
    if is_float == [False, True] and rounding == ["rzi"] and origin != "f16":
        # Out of range saturates on a GPU and is undefined in C.
        low, high = _limits(target)
        return (
            f"{{ double v_ = {value}; "
            + scope.write(
                item.operands[0],
                target,
                f"v_ != v_ ? 0 : v_ <= {low} ? ({C_TYPES[target]}){low} : "
                f"v_ >= {high} ? ({C_TYPES[target]})~({C_TYPES[target]})({C_TYPES[target]}){low}"
                f" : ({C_TYPES[target]})v_",
            )
            + " }"
        )
    forms: dict[tuple[str, str], tuple[str, str]] = {
        ("f64", "f32"): ("", value),
        ("f32", "f64"): ("rn", f"(float){value}"),
        ("f32", "f16"): ("", f"gpv_half({value})"),
        ("f16", "f32"): ("rn", f"gpv_to_half({value})"),
        ("f16", "f64"): ("rn", f"gpv_to_half(gpv_odd({value}))"),
    }
    wanted = forms.get((target, origin))
    if wanted is None or rounding != ([wanted[0]] if wanted[0] else []):
        raise UnsupportedPtx(item.opcode)
    return scope.write(item.operands[0], target, wanted[1])


def _limits(kind: str) -> tuple[str, str]:
    """Lowest value and the first value above the highest of an integer type, as C doubles."""
    bits = SIZES[kind] * 8
    if kind.startswith("s"):
        return f"-0x1p{bits - 1}", f"0x1p{bits - 1}"
    return "0.0", f"0x1p{bits}"


def _float_arithmetic(scope: Scope, item: Instruction, parts: list[str]) -> str | None:
    """Operations on f32, f64, f16 and f16x2, rounded to nearest."""
    name, kind = parts[0], parts[-1]
    out, *inputs = item.operands
    rounding = parts[1:-1]
    if kind in ("f16", "f16x2"):
        if name != "fma" or rounding != ["rn"]:
            raise UnsupportedPtx(item.opcode)
        call = "gpv_fma_half2" if kind == "f16x2" else "gpv_fma_half"
        return scope.write(out, kind, f"{call}({', '.join(scope.read(x, kind) for x in inputs)})")
    if kind not in ("f32", "f64"):
        return None
    single = kind == "f32"
    values = [scope.read(text, kind) for text in inputs]
    if name in ("add", "sub", "mul", "div", "fma", "sqrt", "rcp"):
        if rounding not in (["rn"], []) or (not rounding and name in ("div", "fma", "sqrt", "rcp")):
            raise UnsupportedPtx(item.opcode)
    elif rounding and name in ("neg", "abs", "min", "max"):
        raise UnsupportedPtx(item.opcode)
    suffix = "f" if single else ""
    forms = {
        "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
        "neg": "-{0}", "abs": f"__builtin_fabs{suffix}({{0}})",
        "fma": f"__builtin_fma{suffix}({{0}}, {{1}}, {{2}})",
        "sqrt": f"__builtin_sqrt{suffix}({{0}})", "rcp": "1 / {0}",
        "min": f"__builtin_fmin{suffix}({{0}}, {{1}})",
        "max": f"__builtin_fmax{suffix}({{0}}, {{1}})",
    }  # fmt: skip
    form = forms.get(name)
    return None if form is None else scope.write(out, kind, form.format(*values))


def _multiply(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Multiply integers, and add (mul, mad)."""
    kind = parts[-1]
    out, *inputs = item.operands
    if len(parts) != 3 or kind not in C_TYPES or kind.startswith(("b", "f", "p")):
        raise UnsupportedPtx(item.opcode)
    left, right = (scope.read(text, kind) for text in inputs[:2])
    third = parts[0] == "mad"
    if parts[1] == "lo":
        unsigned = WORDS[SIZES[kind]]
        value = f"({unsigned})((uint64_t){left} * (uint64_t){right})"
        added = f" + ({unsigned}){scope.read(inputs[2], kind)}" if third else ""
        return scope.write(out, kind, f"({C_TYPES[kind]})({value}{added})")
    if parts[1] == "wide" and kind in _WIDE:
        wide = _WIDE[kind]
        added = f" + {scope.read(inputs[2], wide)}" if third else ""
        return scope.write(out, wide, f"({C_TYPES[wide]}){left} * ({C_TYPES[wide]}){right}{added}")
    if parts[1] == "hi":
        whole = "unsigned __int128" if kind.startswith("u") else "__int128"
        added = f" + {scope.read(inputs[2], kind)}" if third else ""
        shift = SIZES[kind] * 8
        return scope.write(
            out, kind, f"({C_TYPES[kind]})((({whole}){left} * ({whole}){right}) >> {shift}){added}"
        )
    raise UnsupportedPtx(item.opcode)


def _shift(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Shift (shl, shr), which gives zeros or signs from the width on."""
    kind = parts[-1]
    out, value, amount = item.operands
    if len(parts) != 2 or kind not in C_TYPES or kind.startswith(("f", "p")):
        raise UnsupportedPtx(item.opcode)
    bits = SIZES[kind] * 8
    by, what = scope.read(amount, "u32"), scope.read(value, kind)
    beyond = f"({what} < 0 ? -1 : 0)" if kind.startswith("s") and parts[0] == "shr" else "0"
    operator = "<<" if parts[0] == "shl" else ">>"
    if operator == "<<":
        what = scope.read(value, "u" + str(bits))
    c_type = C_TYPES[kind]
    shifted = f"({c_type})({what} {operator} {by})"
    return scope.write(out, kind, f"{by} > {bits - 1}u ? ({c_type}){beyond} : {shifted}")


def _logic_table(scope: Scope, inputs: list[str]) -> str:
    """lop3: bit by bit, the row of the table that the three inputs name."""
    table = int(inputs[3], 0)
    values = [scope.read(text, "u32") for text in inputs[:3]]
    rows = [
        " & ".join(
            ("" if row >> (2 - place) & 1 else "~") + value for place, value in enumerate(values)
        )
        for row in range(8)
        if table >> row & 1
    ]
    return " | ".join(f"({row})" for row in rows) or "0"


def _funnel(scope: Scope, inputs: list[str], parts: list[str]) -> str:
    """shf: a window of 32 bits over two words."""
    low, high, by = (scope.read(text, "u32") for text in inputs)
    amount = f"({by} & 31u)" if parts[2] == "wrap" else f"({by} > 32u ? 32u : {by})"
    both = f"((uint64_t){high} << 32 | {low})"
    return (
        f"(uint32_t)({both} << {amount} >> 32)"
        if parts[1] == "l"
        else f"(uint32_t)({both} >> {amount})"
    )


def _field(scope: Scope, inputs: list[str], kind: str) -> str:
    """Take a bit field out of an unsigned value (bfe)."""
    value = scope.read(inputs[0], kind)
    start, length = (f"({scope.read(text, 'u32')} & 255u)" for text in inputs[1:])
    bits, shifted = SIZES[kind] * 8, f"{value} >> {start}"
    mask = f"((({C_TYPES[kind]})1 << {length}) - 1)"
    whole = f"{length} >= {bits}u ? {shifted} : {shifted} & {mask}"
    return f"{start} >= {bits}u || !{length} ? 0 : {whole}"


def _permute(scope: Scope, inputs: list[str]) -> str:
    """Choose bytes by a constant selector (prmt)."""
    selector = int(inputs[2], 0)
    if selector & 0x8888:
        raise UnsupportedPtx("prmt.b32: sign replication")
    low, high = (scope.read(text, "u32") for text in inputs[:2])
    both = f"((uint64_t){high} << 32 | {low})"
    return " | ".join(
        f"(uint32_t)(uint8_t)({both} >> {8 * (selector >> 4 * byte & 7)}) << {8 * byte}"
        for byte in range(4)
    )


def _bits(scope: Scope, item: Instruction, parts: list[str]) -> str | None:
    """Logic with three inputs, funnel shift, bit fields, permutation, counting."""
    out, *inputs = item.operands
    opcode = item.opcode
    if opcode == "lop3.b32":
        return scope.write(out, "u32", _logic_table(scope, inputs))
    if parts[0] == "shf" and len(parts) == 4 and parts[1] in ("l", "r") and parts[3] == "b32":
        return scope.write(out, "u32", _funnel(scope, inputs, parts))
    if opcode in ("bfe.u32", "bfe.u64"):
        return scope.write(out, parts[1], _field(scope, inputs, parts[1]))
    if opcode == "prmt.b32":
        return scope.write(out, "u32", _permute(scope, inputs))
    if opcode in ("popc.b32", "popc.b64"):
        return scope.write(out, "u32", f"__builtin_popcountll({scope.read(inputs[0], parts[1])})")
    if opcode in ("clz.b32", "clz.b64"):
        value, bits = scope.read(inputs[0], parts[1]), SIZES[parts[1]] * 8
        counted = f"__builtin_clzll({value}) - {64 - bits}"
        return scope.write(out, "u32", f"{value} ? {counted} : {bits}")
    return None


def _moves(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """mov, also to and from pairs."""
    kind = parts[-1]
    out, source = item.operands
    if len(parts) != 2 or kind not in C_TYPES:
        raise UnsupportedPtx(item.opcode)
    if source.startswith("{"):
        names = vector(source)
        part = SIZES[kind] * 8 // len(names)
        value = " | ".join(
            f"({WORDS[SIZES[kind]]}){scope.read(name, f'u{part}')} << {part * number}"
            for number, name in enumerate(names)
        )
        return scope.write(out, kind, value)
    if out.startswith("{"):
        names = vector(out)
        part = SIZES[kind] * 8 // len(names)
        value = scope.read(source, kind)
        return " ".join(
            scope.write(name, f"u{part}", f"{value} >> {part * number}")
            for number, name in enumerate(names)
        )
    return scope.write(out, kind, scope.read(source, kind))


def _integers(scope: Scope, item: Instruction, parts: list[str]) -> str | None:
    """Plain integer and predicate operations."""
    name, kind = parts[0], parts[-1]
    if len(parts) != 2 or kind not in C_TYPES:
        return None
    out, *inputs = item.operands
    values = [scope.read(text, kind) for text in inputs]
    if name in INFIX:
        if kind == "pred" and name in ("add", "sub"):
            return None
        if kind.startswith("s"):
            values = [scope.read(text, "u" + kind[1:]) for text in inputs]
        return scope.write(out, kind, f"{values[0]} {INFIX[name]} {values[1]}")
    if name == "not":
        return scope.write(out, kind, f"!{values[0]}" if kind == "pred" else f"~{values[0]}")
    if name == "neg" and kind.startswith("s"):
        return scope.write(out, kind, f"0 - ({WORDS[SIZES[kind]]}){values[0]}")
    if name == "abs" and kind.startswith("s"):
        return scope.write(
            out, kind, f"{values[0]} < 0 ? 0 - (uint64_t){values[0]} : (uint64_t){values[0]}"
        )
    if name in ("min", "max") and kind[0] in "us":
        sign = "<" if name == "min" else ">"
        return scope.write(out, kind, f"{values[0]} {sign} {values[1]} ? {values[0]} : {values[1]}")
    if name in ("div", "rem") and kind[0] in "us":
        # By zero the ISA leaves the result open; all ones is what cards are known to give.
        sign = "/" if name == "div" else "%"
        return scope.write(
            out, kind, f"{values[1]} ? {values[0]} {sign} {values[1]} : ~({C_TYPES[kind]})0"
        )
    return None


def _choose(scope: Scope, item: Instruction, parts: list[str]) -> str:
    """Compare (setp) and choose (selp)."""
    kind = parts[-1]
    if parts[0] == "setp" and len(parts) == 3:
        left, right = (scope.read(text, kind) for text in item.operands[1:])
        return scope.write(item.operands[0], "pred", f"{left} {_COMPARE[parts[1]]} {right}")
    if parts[0] == "selp" and len(parts) == 2:
        chosen = scope.read(item.operands[3], "pred")
        left, right = (scope.read(text, kind) for text in item.operands[1:3])
        return scope.write(item.operands[0], kind, f"{chosen} ? {left} : {right}")
    raise UnsupportedPtx(item.opcode)


_FORMS = {
    "ld": _memory, "st": _memory, "atom": _atomic, "red": _atomic, "mov": _moves, "cvt": _convert,
    "shl": _shift, "shr": _shift, "setp": _choose, "selp": _choose,
}  # fmt: skip
# Threads run one after the other and see each other's writes at once.
_NOTHING = frozenset({"membar", "fence", "nanosleep", "prefetch"})


def _by_name(scope: Scope, item: Instruction, parts: list[str]) -> str | None:
    """Translate by the first part of the opcode."""
    if parts[0] in _FORMS:
        return _FORMS[parts[0]](scope, item, parts)
    if item.opcode in ("cvta.to.global.u64", "cvta.global.u64"):
        return scope.write(item.operands[0], "u64", scope.read(item.operands[1], "u64"))
    if parts[0] in _NOTHING:
        return ";"
    found = _float_arithmetic(scope, item, parts)
    if found is None and parts[0] in ("mul", "mad"):
        found = _multiply(scope, item, parts)
    return found or _integers(scope, item, parts) or _bits(scope, item, parts)


def operation(scope: Scope, item: Instruction) -> str:
    """Translate an instruction that neither branches nor needs the whole warp.

    Args:
        scope: The kernel's scope.
        item: The instruction.

    Raises:
        UnsupportedPtx: It is not known.
    """
    parts = item.opcode.replace("::", "-").split(".")
    try:
        found = _by_name(scope, item, parts)
    except (ValueError, IndexError, KeyError):
        raise UnsupportedPtx(f"{item.opcode} {', '.join(item.operands)}") from None
    if found is None:
        raise UnsupportedPtx(item.opcode)
    return found
