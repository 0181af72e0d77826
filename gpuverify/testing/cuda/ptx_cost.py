"""What an instruction costs: which unit of the SM it occupies, and how long its result takes.

Units and their rates are a profile's; here is only which instruction goes where. The latencies
are the usual dependent-issue distances of Volta and later (4 cycles for most arithmetic; public
microbenchmarks), good to tell "bound by its own chain" from "bound by the unit", nothing finer.
"""

from __future__ import annotations

from collections import Counter

from gpuverify.testing.cuda.ptx_parse import SIZES, Instruction

_ALU = frozenset({
    "add", "sub", "xor", "or", "and", "not", "neg", "abs", "min", "max", "shl", "shr", "setp",
    "selp", "lop3", "shf", "bfe", "prmt", "popc", "clz", "div", "rem",
})  # fmt: skip
_TENSOR = {
    "f16": "T_F16", "bf16": "T_BF16", "tf32": "T_TF32", "f64": "T_F64",
    "s8": "T_S8", "e4m3": "T_F8", "e5m2": "T_F8",
}  # fmt: skip
_MMA_LATENCY = 33
_DEFAULT_LATENCY = 4
_F64_LATENCY = 8


def _tensor(opcode: str) -> tuple[str, int]:
    """Unit and multiply-adds per thread of an mma."""
    parts = opcode.split(".")
    shape = next(part for part in parts if part.startswith("m") and part[1:2].isdigit())
    rows, rest = shape[1:].split("n")
    columns, depth = rest.split("k")
    unit = _TENSOR[parts[-3]]
    return unit, int(rows) * int(columns) * int(depth) // 32


def price(item: Instruction) -> dict[str, int]:
    """Return what an instruction adds to a thread's costs, by the names of the C header.

    Args:
        item: The instruction.
    """
    parts = item.opcode.split(".")
    name, kind = parts[0], parts[-1]
    if name == "mma":
        unit, count = _tensor(item.opcode)
        return {unit: count}
    if name in ("ld", "st", "atom", "red"):
        if "param" in parts:
            return {}
        count = next((int(part[1]) for part in parts if part in ("v2", "v4")), 1)
        size = SIZES.get(kind, 4) * count
        return {"READ" if name == "ld" else "WRITE": size}
    if kind == "f64":
        return {"F64": 1}
    if kind == "f32" and name != "cvt":
        return (
            {"FMA32": 1}
            if name == "fma"
            else {"MULADD32": 1}
            if name in ("mul", "add", "sub")
            else {"ALU": 1}
        )
    if kind in ("f16", "f16x2"):
        return {"F16": 2 if kind == "f16x2" else 1}
    if name in ("mul", "mad"):
        return {"IMAD": 4 if SIZES.get(kind, 4) == 8 else 1}
    if name in _ALU:
        return {"ALU": 2 if SIZES.get(kind, 4) == 8 else 1}
    return {}


def latency(item: Instruction) -> int:
    """Return after how many cycles an instruction's result may be used; loads are priced apart.

    Args:
        item: The instruction.
    """
    parts = item.opcode.split(".")
    if parts[0] == "mma":
        return _MMA_LATENCY
    if parts[0] in ("ld", "st", "atom", "red", "mov", "cvta"):
        return 0
    return _F64_LATENCY if parts[-1] == "f64" else _DEFAULT_LATENCY


def segment_cost(items: list[Instruction]) -> dict[str, int]:
    """Return the cost of instructions that are always executed together.

    Args:
        items: Instructions without a branch or clock between them.
    """
    total: Counter[str] = Counter()
    ready: dict[str, int] = {}
    for item in items:
        total.update(price(item))
        names = [
            word.strip("{}[] ").split("+")[0]
            for operand in item.operands
            for word in operand.split(",")
        ]
        store = item.opcode.startswith(("st.", "red."))
        outputs = [] if store else [
            word.strip("{}[] ") for word in (item.operands[0].split(",") if item.operands else [])
        ]  # fmt: skip
        inputs = names if store else names[len(outputs) :]
        start = max((ready.get(name, 0) for name in inputs), default=0)
        done = start + latency(item)
        for name in outputs:
            ready[name] = done
    total["LATENCY"] = max(ready.values(), default=0)
    return {name: count for name, count in total.items() if count}
