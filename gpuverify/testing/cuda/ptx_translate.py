"""A PTX module to one C file.

A kernel is a C function that runs one thread block. Threads of a block run one after the other,
which is right as long as they do not wait for each other: barriers, shuffles, votes and shared
memory are refused. Kernels with `mma.sync` run warp by warp, each register an array of 32 lanes;
lanes that branch apart meet again at the lowest program counter.
"""

from __future__ import annotations

import re

from gpuverify.testing.cuda.ptx_convoy import convoy
from gpuverify.testing.cuda.ptx_cost import segment_cost
from gpuverify.testing.cuda.ptx_operations import operation
from gpuverify.testing.cuda.ptx_parse import (
    SIZES,
    Instruction,
    Kernel,
    Module,
    UnsupportedPtx,
    parse_ptx,
)
from gpuverify.testing.cuda.ptx_scope import CLOCKS, WORDS, Scope, vector

MMA = {
    "m16n8k16.row.col.f32.f16.f16.f32": ("gpv_mma_f16_k16", "float", "uint32_t", (4, 4, 2)),
    "m16n8k8.row.col.f32.f16.f16.f32": ("gpv_mma_f16_k8", "float", "uint32_t", (4, 2, 1)),
    "m16n8k16.row.col.f32.bf16.bf16.f32": ("gpv_mma_bf16_k16", "float", "uint32_t", (4, 4, 2)),
    "m16n8k8.row.col.f32.tf32.tf32.f32": ("gpv_mma_tf32_k8", "float", "uint32_t", (4, 4, 2)),
    "m16n8k32.row.col.s32.s8.s8.s32": ("gpv_mma_s8_k32", "int32_t", "uint32_t", (4, 4, 2)),
    "m16n8k32.row.col.f32.e4m3.e4m3.f32": ("gpv_mma_e4m3_k32", "float", "uint32_t", (4, 4, 2)),
    "m16n8k32.row.col.f32.e5m2.e5m2.f32": ("gpv_mma_e5m2_k32", "float", "uint32_t", (4, 4, 2)),
    "m8n8k4.row.col.f64.f64.f64.f64": ("gpv_mma_f64_k4", "double", "double", (2, 1, 1)),
}
_MMA_PREFIX = "mma.sync.aligned."
_HEAD = '#include "gpv_device.h"\n#include "gpv_mma.h"\n'


def _is_branch(item: Instruction) -> bool:
    """Whether an instruction ends a basic block."""
    return item.opcode in ("bra", "bra.uni", "ret", "exit")


def _reads_clock(item: Instruction) -> bool:
    """Whether an instruction reads a clock."""
    return any(operand in CLOCKS for operand in item.operands)


def _cost_statement(items: list[Instruction], *, timed: bool) -> str:
    """C that adds a segment's cost."""
    parts = [f"cost_[GPV_{name}] += {count};" for name, count in segment_cost(items).items()]
    if not parts:
        return ""
    return " ".join(parts) if timed else f"if (timed_) {{ {' '.join(parts)} }}"


def _segments(kernel: Kernel) -> list[list[Instruction]]:
    """Cut a body at labels, after branches and before clock reads."""
    out: list[list[Instruction]] = [[]]
    for item in kernel.body:
        if item.label or _reads_clock(item):
            out.append([])
        out[-1].append(item)
        if _is_branch(item):
            out.append([])
    return [segment for segment in out if segment]


def _label(name: str) -> str:
    """C name of a label."""
    return "L_" + name.replace("$", "_")


def _target(scope: Scope, item: Instruction) -> str:
    """Name of the label that a branch goes to."""
    name = item.operands[0]
    if not any(other.label == name for other in scope.kernel.body):
        raise UnsupportedPtx(f"{item.opcode} {name}")
    return name


def _guard(scope: Scope, item: Instruction) -> str:
    """C condition of a guarded instruction, "" for none."""
    if not item.guard:
        return ""
    name, kind = scope.register("%" + item.guard)
    if kind != "pred":
        raise UnsupportedPtx(f"guard {item.guard}")
    return f"if ({'!' if item.negated else ''}{name}) "


def _declarations(kernel: Kernel, *, lanes: bool) -> str:
    """C declarations of the registers that occur."""
    used = set(re.findall(r"%([\w$]+)", " ".join(" ".join(i.operands) for i in kernel.body)))
    used |= {item.guard for item in kernel.body if item.guard}
    out = []
    for name in sorted(used & kernel.registers.keys()):
        suffix = "[32] = {0}" if lanes else " = 0"
        out.append(f"{WORDS[SIZES[kernel.registers[name]]]} r_{name.replace('$', '_')}{suffix};")
    return " ".join(out)


def _scalar_kernel(scope: Scope) -> str:
    """C of a kernel whose threads run one after the other."""
    lines: list[str] = []
    for segment in _segments(scope.kernel):
        lines.extend(f"{_label(item.label)}:;" for item in segment if item.label)
        lines.append(_cost_statement([i for i in segment if i.opcode], timed=scope.timed))
        for item in segment:
            if not item.opcode:
                continue
            guard = _guard(scope, item)
            if item.opcode in ("bra", "bra.uni"):
                lines.append(f"{guard}goto {_label(_target(scope, item))};")
            elif item.opcode in ("ret", "exit"):
                lines.append(f"{guard}goto L_end_;")
            else:
                lines.append(f"{guard}{{ {operation(scope, item)} }}")
    name = scope.kernel.name
    body = "\n".join(filter(None, lines))
    finish = "gpv_finish(block_, cost_);" if scope.timed else ""
    # Where a kernel reads no clock, its first thread alone is priced: the others stay fast.
    each = f"thread_{name}(block_, params_, tid, ntid, "
    together = convoy(scope)
    if scope.timed:
        calls = f"for (uint32_t tid = ntid; tid-- > 0;) {each}1);"
    elif together:
        calls = f"for (uint32_t tid = 0; tid < ntid; tid++) alone_{name}(block_, tid, tid == 0);"
    else:
        calls = (
            f"for (uint32_t tid = 0; tid < 1; tid++) {each}1); "
            f"for (uint32_t tid = 1; tid < ntid; tid++) {each}0);"
        )
    return f"""
GPV_THREAD(thread_{name})
{{
uint64_t cost_[GPV_COSTS] = {{0}}; {_declarations(scope.kernel, lanes=False)}
{body}
GPV_END_SCALAR {finish} (void)params_; (void)ntid;
}}
{_alone(name) + together if together else ""}
static void kernel_{name}(gpv_block *block_)
{{
{f"GPV_CONVOY(convoy_{name});" if together else ""}
const char *params_ = block_->launch->params; uint32_t ntid = block_->launch->ntid;
(void)params_; {calls}
}}
"""


def _alone(name: str) -> str:
    """C of a function that runs one thread where most run side by side: not inlined, it is rare."""
    return f"""
static __attribute__((noinline)) void alone_{name}(gpv_block *block_, uint32_t tid, int timed_)
{{
thread_{name}(block_, block_->launch->params, tid, block_->launch->ntid, timed_);
}}
"""


def _mma(scope: Scope, item: Instruction) -> str:
    """C of an mma over all lanes."""
    form = MMA.get(item.opcode.removeprefix(_MMA_PREFIX))
    if form is None or item.guard or len(item.operands) != 4:
        raise UnsupportedPtx(item.opcode)
    function, result, source, counts = form
    groups = [vector(operand) for operand in item.operands]
    # out, A, B, C: out and C have the same number of registers
    if [len(group) for group in groups] != [*counts, counts[0]]:
        raise UnsupportedPtx(f"{item.opcode}: fragment sizes")
    copies = []
    for array, names in (("c_", groups[3]), ("a_", groups[1]), ("b_", groups[2])):
        for number, name in enumerate(names):
            register = scope.register(name)[0].removesuffix("[l]")
            copies.append(f"memcpy({array}[{number}], {register}, sizeof {array}[0]);")
    back = [
        f"memcpy({scope.register(name)[0].removesuffix('[l]')}, c_[{number}], sizeof c_[0]);"
        for number, name in enumerate(groups[0])
    ]
    return (
        f"if (mask_ != 0xffffffffu) block_->launch->fault(block_->launch->card, GPV_NAME, 0, 0, "
        f'"mma under divergence"); {{ {result} c_[{counts[0]}][32]; {source} a_[{counts[1]}][32], '
        f"b_[{counts[2]}][32]; {' '.join(copies)} {function}(c_, a_, b_); {' '.join(back)} }}"
    )


def _warp_kernel(scope: Scope) -> str:
    """C of a kernel that runs warp by warp."""
    segments = _segments(scope.kernel)
    places = {
        item.label: number for number, seg in enumerate(segments) for item in seg if item.label
    }
    cases = []
    for number, segment in enumerate(segments):
        lines = [_cost_statement([i for i in segment if i.opcode], timed=True)]
        jumped = False
        for item in segment:
            if not item.opcode:
                continue
            if _is_branch(item):
                away = (
                    "GPV_DONE"
                    if item.opcode in ("ret", "exit")
                    else str(places[_target(scope, item)])
                )
                where = f"{{ pc_[l] = {number + 1}; {_guard(scope, item)}pc_[l] = {away}; }}"
                lines.append(f"GPV_LANES {where}")
                jumped = True
            elif item.opcode.startswith(_MMA_PREFIX):
                lines.append(_mma(scope, item))
            else:
                body = f"{_guard(scope, item)}{{ {operation(scope, item)} }}"
                lines.append(f"GPV_LANES {{ uint32_t tid = warp_ + l; (void)tid; {body} }}")
        if not jumped:
            lines.append(f"GPV_LANES pc_[l] = {number + 1};")
        cases.append(f"case {number}: {{ {chr(10).join(filter(None, lines))} break; }}")
    name = scope.kernel.name
    return f"""
static void kernel_{name}(gpv_block *block_)
{{
const char *params_ = block_->launch->params; uint32_t ntid = block_->launch->ntid; (void)params_;
for (uint32_t warp_ = 0; warp_ < ntid; warp_ += 32) {{
uint32_t pc_[32]; for (uint32_t l = 0; l < 32; l++) pc_[l] = warp_ + l < ntid ? 0 : GPV_DONE;
uint64_t cost_[GPV_COSTS] = {{0}}; {_declarations(scope.kernel, lanes=True)}
for (;;) {{
uint32_t at_ = GPV_DONE, mask_ = 0;
for (int l = 0; l < 32; l++) if (pc_[l] < at_) at_ = pc_[l];
for (int l = 0; l < 32; l++) mask_ |= (uint32_t)(pc_[l] == at_) << l;
if (at_ >= {len(segments)}) break;
switch (at_) {{
{chr(10).join(cases)}
}} }}
if (!warp_) for (int i_ = 0; i_ < GPV_COSTS; i_++) block_->cost[i_] = cost_[i_];
gpv_finish(block_, cost_);
}} }}
"""


def _kernel(kernel: Kernel) -> tuple[str, bool]:
    """C of a kernel and whether it reads a clock."""
    if kernel.refused:
        raise UnsupportedPtx(kernel.refused)
    if len(kernel.parameters) > 32:
        raise UnsupportedPtx("more than 32 parameters")
    lanes = any(item.opcode.startswith(_MMA_PREFIX) for item in kernel.body)
    timed = lanes or any(_reads_clock(item) for item in kernel.body)
    offsets = {parameter.name: parameter.offset for parameter in kernel.parameters}
    scope = Scope(kernel, lanes, timed, offsets)
    body = _warp_kernel(scope) if lanes else _scalar_kernel(scope)
    named = f'#undef GPV_NAME\n#define GPV_NAME "{kernel.name}"\n'
    return named + body, timed


def _row(kernel: Kernel, refused: str, *, timed: bool) -> str:
    """The kernel's row in the table that the driver reads."""
    parameters = kernel.parameters
    offsets = ", ".join(str(parameter.offset) for parameter in parameters) or "0"
    sizes = ", ".join(str(parameter.size) for parameter in parameters) or "0"
    stores = any(item.opcode.startswith(("st.global", "atom.", "red.")) for item in kernel.body)
    words = refused.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")
    function, why = ("0", f'"{words}"') if refused else (f"kernel_{kernel.name}", "0")
    return (
        f'{{"{kernel.name}", {function}, {why}, {int(timed)}, {int(stores)}, {len(parameters)}, '
        f"{{{offsets}}}, {{{sizes}}}}}"
    )


def translate(text: str) -> str:
    """Translate a PTX module to C.

    Args:
        text: The PTX.

    Returns:
        C source that includes `gpv_device.h`. Kernels that cannot be emulated are in its table
        with the reason; the emulated driver refuses to hand them out.

    Raises:
        UnsupportedPtx: The module as a whole is not one that can be read.
    """
    module: Module = parse_ptx(text)
    done = [_translated(kernel) for kernel in module.kernels]
    rows = [row for _, row, _ in done]
    table = ",\n".join([*rows, "{0, 0, 0, 0, 0, 0, {0}, {0}}"])
    sources = "\n".join(source for source, _, _ in done)
    return (
        f"{_HEAD}{sources}\nstatic const gpv_kernel kernels_[] = {{\n{table}\n}};\n"
        f"GPV_MODULE {{{module.version}, {module.target}, kernels_}};\n"
    )


def _translated(kernel: Kernel) -> tuple[str, str, str]:
    """C of a kernel, its row in the table, and why it was refused ("" where it was not)."""
    try:
        source, timed = _kernel(kernel)
    except UnsupportedPtx as refusal:
        why = str(refusal) or "not known"
        return "", _row(kernel, why, timed=False), why
    return source, _row(kernel, "", timed=timed), ""


def refusals(text: str) -> dict[str, str]:
    """Return the kernels of a module that cannot be emulated, with the reason of each.

    Args:
        text: The PTX.
    """
    found = {kernel.name: _translated(kernel)[2] for kernel in parse_ptx(text).kernels}
    return {name: why for name, why in found.items() if why}
