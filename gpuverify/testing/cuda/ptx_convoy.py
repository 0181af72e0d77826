"""Threads of a block side by side, so that the compiler can use the vector unit.

A kernel that walks over memory does the same for every thread but in the last block, where some
threads are beyond the end. What is straight up to the kernel's end, or up to a branch that most
threads leave by, becomes one loop over 64 threads, as a convoy. It is entered only where every
predicate that the straight way depends on has been computed for every thread of the block and
found as assumed; else, and for the threads that do not leave by that branch, the plain translation
runs. What cannot be shown to be the same thing is not tried: then there is no convoy.

Threads of one launch are not ordered against each other by the ISA, so their loads and stores may
be interleaved in any way; those of one thread stay in their order.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from gpuverify.testing.cuda.ptx_cost import segment_cost
from gpuverify.testing.cuda.ptx_operations import operation
from gpuverify.testing.cuda.ptx_parse import SIZES, Instruction, Kernel
from gpuverify.testing.cuda.ptx_scope import C_TYPES, CLOCKS, WORDS, Scope, vector

LANES = 64
_REGISTER = re.compile(r"%[\w$]+")
_OWN = frozenset({"%tid.x", "%tid", "%laneid", "%warpid"})
_EXPECTED = {
    "lt": True, "le": True, "lo": True, "ls": True, "gt": False, "ge": False, "hi": False,
    "hs": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """An instruction on the straight way.

    Attributes:
        item: The instruction.
        condition: Predicate and value under which it runs; None where it always does.
    """

    item: Instruction
    condition: tuple[str, bool] | None = None


@dataclass(slots=True, kw_only=True)
class _Way:
    """The straight way through a kernel from its start.

    Attributes:
        steps: Its instructions.
        end: Position in the body at which it stops.
        leave: The branch by which threads are done, None where the way ends with the kernel.
        assumed: The value that each predicate must have for every thread.
    """

    steps: list[_Step] = field(default_factory=list)
    end: int = 0
    leave: Instruction | None = None
    assumed: dict[str, bool] = field(default_factory=dict)


def _is_store(item: Instruction) -> bool:
    """Whether an instruction has no result."""
    return item.opcode.startswith(("st.", "red."))


def _written(item: Instruction) -> list[str]:
    """Registers that an instruction sets."""
    if _is_store(item) or not item.operands:
        return []
    return [name for name in vector(item.operands[0]) if name.startswith("%")]


def _needed(step: _Step) -> set[str]:
    """Registers that a step depends on."""
    sources = step.item.operands if _is_store(step.item) else step.item.operands[1:]
    found = {name for text in sources for name in _REGISTER.findall(text)}
    return found | ({"%" + step.condition[0]} if step.condition else set())


def _is_memory(item: Instruction) -> bool:
    """Whether an instruction reads or changes memory other than parameters."""
    return item.opcode.startswith(("st.", "red.", "atom.")) or (
        item.opcode.startswith("ld.") and ".param." not in item.opcode
    )


def _slice(steps: list[_Step], wanted: set[str]) -> list[_Step] | None:
    """Steps that registers depend on, in order; None where memory is among them."""
    needed, out = set(wanted), []
    for step in reversed(steps):
        if needed.intersection(_written(step.item)):
            if _is_memory(step.item):
                return None
            needed |= _needed(step)
            out.append(step)
    return out[::-1]


def _region(body: list[Instruction], start: int) -> int | None:
    """Position of the label to which a branch jumps over plain instructions, else None."""
    target = body[start].operands[0]
    for place in range(start + 1, len(body)):
        item = body[place]
        if item.label:
            return place if item.label == target else None
        if item.guard or item.opcode in ("bra", "bra.uni", "ret", "exit"):
            return None
    return None


def _walk(body: list[Instruction]) -> _Way | None:
    """Follow a body from its start as far as it is straight."""
    jumps = Counter(
        item.operands[0] for item in body if item.opcode in ("bra", "bra.uni") and item.operands
    )
    way, place = _Way(), 0
    while place < len(body):
        item = body[place]
        way.end = place
        if item.label:
            if jumps[item.label]:
                return None  # reached from elsewhere too
        elif item.opcode in ("ret", "exit") and not item.guard:
            return way
        elif item.opcode in ("bra", "bra.uni"):
            beyond = _region(body, place) if item.guard else None
            known = _slice(way.steps, {"%" + item.guard}) is not None
            if beyond is None or (not known and _leads_out(body, item)):
                way.leave = item
                return way if item.guard and _leads_out(body, item) else None
            condition = (item.guard, item.negated)
            way.steps += [
                _Step(item=inner, condition=condition) for inner in body[place + 1 : beyond]
            ]
            jumps[item.operands[0]] -= 1
            place = beyond
            continue
        elif item.guard:
            way.steps.append(_Step(item=item, condition=(item.guard, not item.negated)))
        else:
            way.steps.append(_Step(item=item))
        place += 1
    return None


def _leads_out(body: list[Instruction], branch: Instruction) -> bool:
    """Whether a branch goes to the kernel's end."""
    for place, item in enumerate(body):
        if item.label == branch.operands[0]:
            after = next((other for other in body[place:] if not other.label), None)
            return after is not None and after.opcode in ("ret", "exit") and not after.guard
    return False


def _assume(way: _Way) -> bool:
    """Settle what is assumed of the predicates; False where that cannot be checked beforehand."""
    for step in way.steps:
        if step.condition:
            name, value = step.condition
            if way.assumed.setdefault("%" + name, value) != value:
                return False
    for step in way.steps:
        if step.item.opcode.startswith("selp."):
            name = step.item.operands[3]
            makers = [other.item for other in way.steps if name in _written(other.item)]
            compare = makers[0].opcode.split(".") if len(makers) == 1 else [""]
            if (
                name not in way.assumed
                and compare[0] == "setp"
                and compare[1] in _EXPECTED
                and _slice(way.steps, {name}) is not None
            ):
                way.assumed[name] = _EXPECTED[compare[1]]
    return all(
        sum(name in _written(step.item) for step in way.steps) == 1
        and _slice(way.steps, {name}) is not None
        for name in way.assumed
    )


def _own(steps: list[_Step]) -> bool:
    """Whether one of the steps depends on which thread it is."""
    return any(_OWN & _needed(step) for step in steps)


def _sums(way: _Way) -> list[_Step] | None:
    """The atomics of a way, if all may be done once for all threads; else None."""
    found: list[_Step] = []
    for step in way.steps:
        item = step.item
        if not _is_memory(item):
            continue
        if not item.opcode.startswith(("atom.", "red.")):
            if found:
                return None  # it could be meant to see what the atomic did
            continue
        place = item.operands[0] if _is_store(item) else item.operands[1]
        above = _slice(way.steps, set(_REGISTER.findall(place)))
        results = set(_written(item)) - {"_"}
        used = any(results & _needed(other) for other in way.steps)
        parts = item.opcode.split(".")
        foldable = "add" in parts and parts[-1] in ("u32", "u64")
        if step.condition or used or not foldable or above is None or _own(above):
            return None
        found.append(step)
    return found


def _usable(way: _Way) -> bool:
    """Whether a way may be run side by side."""
    for step in way.steps:
        opcode = step.item.opcode.split(".")
        if opcode[0] in ("membar", "fence", "nanosleep", "bar", "mma") or "volatile" in opcode:
            return False
        if any(operand in CLOCKS for operand in step.item.operands):
            return False
    writes = any(_is_memory(step.item) and not step.item.opcode.startswith("ld.")
                 for step in way.steps)  # fmt: skip
    # Threads that do not leave begin anew, which must not do anything twice.
    return not (way.leave and writes)


def _declare(kernel: Kernel, steps: list[_Step], but: set[str]) -> str:
    """C declarations of the registers of some steps."""
    names: set[str] = set()
    for step in steps:
        names.update(_written(step.item), _needed(step))
    out = []
    for name in sorted(names - but):
        kind = kernel.registers.get(name.removeprefix("%"))
        if kind:
            c_name = "r_" + name.removeprefix("%").replace("$", "_")
            # A predicate is as wide as an address: the narrowest type of a loop is what decides
            # how many threads one turn of it holds, and too many do not fit into registers.
            word = "uint64_t" if kind == "pred" else WORDS[SIZES[kind]]
            out.append(f"{word} {c_name} = 0;")
    return " ".join(out)


def _run(scope: Scope, steps: list[_Step], assumed: dict[str, bool]) -> str:
    """C of steps; a predicate that is assumed becomes a constant."""
    lines = []
    for step in steps:
        condition = ""
        if step.condition and "%" + step.condition[0] not in assumed:
            name = scope.register("%" + step.condition[0])[0]
            condition = f"if ({'' if step.condition[1] else '!'}{name}) "
        lines.append(f"{condition}{{ {operation(scope, step.item)} }}")
        lines += [
            f"{scope.register(name)[0]} = {int(assumed[name])};"
            for name in _written(step.item)
            if name in assumed
        ]
    return "\n".join(lines)


def _check(scope: Scope, way: _Way, outer: set[str]) -> str:
    """C that computes the predicates for every thread and gives up where one is not as assumed."""
    if not way.assumed:
        return ""
    steps = [step for step in _slice(way.steps, set(way.assumed)) or [] if not _is_outer(step)]
    tests = " & ".join(
        f"({scope.register(name)[0]} == {int(value)}u)" for name, value in way.assumed.items()
    )
    return (
        f"uint64_t agreed_ = 1;\nfor (uint64_t tid = 0; tid < ntid; tid++) {{\n"
        f"{_declare(scope.kernel, steps, outer)}\n{_run(scope, steps, {})}\n"
        f"agreed_ &= {tests};\n}}\nif (!agreed_) return 0;"
    )


def _is_outer(step: _Step) -> bool:
    """Whether a step is a parameter read, which is done once before the loops."""
    return step.item.opcode.startswith("ld.param.") and step.condition is None


def _price(scope: Scope, way: _Way, costs: dict[str, int], outer: set[str]) -> str:
    """C that prices the first thread as the plain translation does: costs and addresses."""
    lines = ["for (int i_ = 0; i_ < GPV_COSTS; i_++) whole_->cost[i_] = 0;"]
    lines += [f"whole_->cost[GPV_{name}] = {count};" for name, count in costs.items()]
    places: list[tuple[str, int]] = []
    for step in way.steps:
        opcode = step.item.opcode
        if _is_memory(step.item) and opcode.startswith(("ld.", "st.")):
            parts = opcode.split(".")
            count = next((int(part[1]) for part in parts if part in ("v2", "v4")), 1)
            place = step.item.operands[0 if _is_store(step.item) else 1]
            places.append((place, SIZES[parts[-1]] * count))
    wanted = {name for place, _ in places for name in _REGISTER.findall(place)}
    steps = [step for step in _slice(way.steps, wanted) or [] if not _is_outer(step)]
    ranged = "\n".join(
        f"gpv_range_of(whole_, {scope.address(place)}, {size});" for place, size in places
    )
    body = f"{_declare(scope.kernel, steps, outer)}\n{_run(scope, steps, way.assumed)}\n{ranged}"
    return "\n".join(lines) + f"\n{{ const uint64_t tid = 0; (void)tid;\n{body}\n}}"


def _addresses_known(way: _Way) -> bool:
    """Whether every address can be told at the end, without reading memory."""
    names = {
        name
        for step in way.steps
        if _is_memory(step.item)
        for place in step.item.operands
        if place.startswith("[")
        for name in _REGISTER.findall(place)
    }
    return all(
        sum(name in _written(step.item) for step in way.steps) <= 1
        and _slice(way.steps, {name}) is not None
        for name in names
    )


def _costs(body: list[Instruction], end: int) -> dict[str, int]:
    """Cost of a way, segment by segment as the plain translation counts it."""
    total: Counter[str] = Counter()
    segment: list[Instruction] = []
    for item in body[: end + 1]:
        if item.label:
            total.update(segment_cost(segment))
            segment = []
        else:
            segment.append(item)
            if item.opcode in ("bra", "bra.uni", "ret", "exit"):
                total.update(segment_cost(segment))
                segment = []
    total.update(segment_cost(segment))
    return {name: count for name, count in total.items() if count}


def _folded(scope: Scope, sums: list[_Step], number: int) -> tuple[str, str, str]:
    """C for one atomic: the sum's declaration, a thread's addition, and the operation itself."""
    item = sums[number].item
    kind = item.opcode.rpartition(".")[2]
    place, value = item.operands if _is_store(item) else item.operands[1:]
    return (
        f"{C_TYPES[kind]} sum_{number} = 0;",
        f"sum_{number} += {scope.read(value, kind)};",
        f"gpv_add_{kind}(({C_TYPES[kind]} *){scope.address(place)}, sum_{number});",
    )


def convoy(scope: Scope) -> str | None:
    """C of a function that runs a block's threads side by side.

    Args:
        scope: The kernel's scope; its threads must not need each other.

    Returns:
        The function `convoy_NAME`, which returns 0 where it did nothing; None where the kernel
        has no form that allows it.
    """
    if scope.lanes or scope.timed:
        return None
    body = scope.kernel.body
    way = _walk(body)
    if way is None or not _usable(way) or not _assume(way) or not _addresses_known(way):
        return None
    sums = _sums(way)
    if sums is None or not any(_is_memory(step.item) for step in way.steps):
        return None
    return _function(scope, way, sums)


def _function(scope: Scope, way: _Way, sums: list[_Step]) -> str:
    """C of the function."""
    kernel, name = scope.kernel, scope.kernel.name
    parameters = [step for step in way.steps if _is_outer(step)]
    outer = {register for step in parameters for register in _written(step.item)}
    work = [step for step in way.steps if not _is_outer(step) and step not in sums]
    folded = [_folded(scope, sums, number) for number in range(len(sums))]
    ends = {
        register
        for step in sums
        for register in _REGISTER.findall(step.item.operands[0 if _is_store(step.item) else 1])
    }
    last = [step for step in _slice(way.steps, ends) or [] if not _is_outer(step)]
    stays = after = ""
    if way.leave:
        guard = scope.register("%" + way.leave.guard)[0]
        stays = f"uint64_t stays_ = {'' if way.leave.negated else '1 ^ '}{guard}; any_ |= stays_;"
        stays += " stay_[l_] = stays_;"
        after = (
            f"if (any_) for (uint64_t l_ = 0; l_ < {LANES}; l_++)\n"
            f"if (stay_[l_]) alone_{name}(whole_, (uint32_t)(from_ + l_), from_ + l_ == 0);"
        )
    return f"""
#ifndef GPV_CHECK
static __attribute__((noinline)) int convoy_{name}(gpv_block *whole_)
{{
const gpv_block copy_ = *whole_, *const block_ = &copy_;
const char *const params_ = block_->launch->params; const uint32_t ntid = block_->launch->ntid;
enum {{ timed_ = 0 }};
if (!ntid || ntid % {LANES} || ntid > 1024) return 0;
{_declare(kernel, parameters, set())}
{_run(scope, parameters, {})}
{_check(scope, way, outer)}
{_price(scope, way, _costs(kernel.body, way.end), outer)}
{" ".join(item[0] for item in folded)}
for (uint64_t from_ = 0; from_ < ntid; from_ += {LANES}) {{
uint64_t stay_[{LANES}], any_ = 0; (void)stay_; (void)any_;
GPV_UNORDERED
for (uint64_t l_ = 0; l_ < {LANES}; l_++) {{
const uint64_t tid = from_ + l_; (void)tid;
{_declare(kernel, work, outer)}
{_run(scope, work, way.assumed)}
{" ".join(item[1] for item in folded)} {stays}
}}
{after}
}}
{{ const uint64_t tid = 0; (void)tid;
{_declare(kernel, last, outer)}
{_run(scope, last, way.assumed)}
{" ".join(item[2] for item in folded)}
}}
return 1;
}}
#endif
"""
