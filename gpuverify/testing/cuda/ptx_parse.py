"""PTX text to kernels and instructions: the shape of the language, not its meaning.

What is read is the text that the driver would get, nothing is taken from the CUDA source. Statement
forms that no kernel of a data-parallel kind needs (device functions, shared memory, textures) are
refused by name. Reference: "Parallel Thread Execution ISA", NVIDIA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SIZES = {
    "pred": 1, "u8": 1, "s8": 1, "b8": 1, "u16": 2, "s16": 2, "b16": 2, "f16": 2,
    "u32": 4, "s32": 4, "b32": 4, "f32": 4, "f16x2": 4, "u64": 8, "s64": 8, "b64": 8, "f64": 8,
}  # fmt: skip


class UnsupportedPtx(Exception):  # noqa: N818  a refusal, in the words that the log shows
    """Something that the emulator does not know; it is never skipped in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction.

    Attributes:
        opcode: E.g. "ld.global.v2.u64".
        operands: Operands in order, vectors still in their braces.
        guard: Predicate register, "" for none.
        negated: Whether the guard is negated.
        label: For a label alone: its name; then the other fields are empty.
    """

    opcode: str = ""
    operands: tuple[str, ...] = ()
    guard: str = ""
    negated: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One kernel parameter.

    Attributes:
        name: Its name.
        offset: Its offset in the parameter space.
        size: Its size in bytes.
    """

    name: str
    offset: int
    size: int


@dataclass(slots=True, kw_only=True)
class Kernel:
    """One `.entry`.

    Attributes:
        name: Its name.
        parameters: Its parameters.
        registers: Type by register, without the percent sign.
        body: Labels and instructions in order.
        refused: Why it cannot be emulated, "" where it can.
    """

    name: str
    parameters: tuple[Parameter, ...]
    registers: dict[str, str] = field(default_factory=dict)
    body: list[Instruction] = field(default_factory=list)
    refused: str = ""

    def opcodes(self) -> set[str]:
        """Return every opcode that occurs."""
        return {item.opcode for item in self.body if item.opcode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One PTX file.

    Attributes:
        version: PTX version times 10, e.g. 64.
        target: Compute capability times 10 that it asks for, e.g. 70.
        kernels: Its kernels.
    """

    version: int
    target: int
    kernels: tuple[Kernel, ...]


_ENTRY = re.compile(
    r"(?:\.visible\s+|\.weak\s+)?\.entry\s+([\w$]+)\s*(?:\((.*?)\))?\s*((?:\.\w+[^{;]*)?)\{",
    re.DOTALL,
)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+"
    r"(?:\.ptr\s*(?:\.\w+\s+)*(?:\.align\s+\d+\s+)?)?([\w$]+)"
)
_STATEMENT = re.compile(r"(?:@(!?)%([\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)


def split_operands(text: str) -> tuple[str, ...]:
    """Split operands at the commas outside braces and brackets."""
    out: list[str] = []
    depth = 0
    current = ""
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            out.append(current.strip())
            current = ""
        else:
            current += character
    if current.strip():
        out.append(current.strip())
    return tuple(out)


def _matching_brace(text: str, start: int) -> int:
    """Return the position after the brace that closes the one before `start`."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    raise UnsupportedPtx("a kernel's body does not end")


def _parameters(text: str) -> tuple[Parameter, ...]:
    """Read a parameter list and lay it out by natural alignment."""
    out: list[Parameter] = []
    offset = 0
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _PARAMETER.fullmatch(item)
        if not match or match.group(1) not in SIZES:
            raise UnsupportedPtx(f"parameter {item!r}")
        size = SIZES[match.group(1)]
        offset = -(-offset // size) * size
        out.append(Parameter(name=match.group(2), offset=offset, size=size))
        offset += size
    return tuple(out)


def _declare(kernel: Kernel, statement: str) -> None:
    """Take a `.reg` declaration."""
    match = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.DOTALL)
    if not match or match.group(1) not in SIZES:
        raise UnsupportedPtx(f"declaration {statement!r}")
    kind = match.group(1)
    for item in (part.strip() for part in match.group(2).split(",")):
        ranged = re.fullmatch(r"%([\w$]+)<(\d+)>", item)
        plain = re.fullmatch(r"%([\w$]+)", item)
        if ranged:
            names = [f"{ranged.group(1)}{number}" for number in range(int(ranged.group(2)))]
        elif plain:
            names = [plain.group(1)]
        else:
            raise UnsupportedPtx(f"declaration {statement!r}")
        for name in names:
            if kernel.registers.setdefault(name, kind) != kind:
                raise UnsupportedPtx(f"register {name} declared twice with different types")


def _statements(body: str) -> list[str]:
    """Split a body into statements; a label is one that ends with a colon."""
    out: list[str] = []
    for piece in body.split(";"):
        text = piece.strip()
        while True:
            # A scope (inline assembly) opens or closes; what it declares lives in the kernel.
            if text.startswith("}") or (text.startswith("{") and not text.startswith("{%")):
                text = text[1:].strip()
                continue
            label = re.match(r"([\w$]+):(?!:)\s*", text)
            if not label:
                break
            out.append(label.group(1) + ":")
            text = text[label.end() :].strip()
        if re.match(r"\.loc\s", text):
            # The one statement that ends with its line instead of a semicolon.
            text = text.partition("\n")[2].strip()
        if text:
            out.append(text)
    return out


def _body(kernel: Kernel, text: str) -> None:
    """Read the statements of a kernel."""
    for statement in _statements(text):
        if statement.endswith(":"):
            kernel.body.append(Instruction(label=statement[:-1]))
        elif statement.startswith(".reg"):
            _declare(kernel, statement)
        elif statement.startswith(".pragma"):
            continue
        elif statement.startswith("."):
            raise UnsupportedPtx(f"declaration {statement.split()[0]} ({statement[:60]!r})")
        else:
            match = _STATEMENT.fullmatch(statement)
            if not match:
                raise UnsupportedPtx(f"statement {statement[:60]!r}")
            kernel.body.append(
                Instruction(
                    opcode=match.group(3),
                    operands=split_operands(match.group(4)),
                    guard=match.group(2) or "",
                    negated=bool(match.group(1)),
                )
            )


def parse_ptx(text: str) -> Module:
    """Read a PTX module.

    Args:
        text: The PTX.

    Raises:
        UnsupportedPtx: The module as a whole is not one (no version, device functions). What is
            wrong with one kernel alone is kept in that kernel's `refused`.
    """
    text = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.DOTALL)
    version = re.search(r"\.version\s+(\d+)\.(\d+)", text)
    target = re.search(r"\.target\s+sm_(\d+)", text)
    if not version or not target:
        raise UnsupportedPtx("no .version or .target")
    if re.search(r"\.func\b", text):
        raise UnsupportedPtx(".func: device functions")
    kernels: list[Kernel] = []
    for match in _ENTRY.finditer(text):
        body = text[match.end() : _matching_brace(text, match.end())]
        kernel = Kernel(name=match.group(1), parameters=_parameters(match.group(2) or ""))
        try:
            _body(kernel, body)
        except UnsupportedPtx as refusal:
            kernel.refused = str(refusal)
        kernels.append(kernel)
    return Module(
        version=int(version.group(1)) * 10 + int(version.group(2)),
        target=int(target.group(1)),
        kernels=tuple(kernels),
    )
