"""Registers, operands and addresses of PTX as C expressions.

Registers are kept as unsigned bit patterns of their own size, so that untyped moves between float
and integer registers need no thought; whoever reads one says as what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gpuverify.testing.cuda.ptx_parse import SIZES, Kernel, UnsupportedPtx

C_TYPES = {
    "u8": "uint8_t", "s8": "int8_t", "b8": "uint8_t", "u16": "uint16_t", "s16": "int16_t",
    "b16": "uint16_t", "f16": "uint16_t", "u32": "uint32_t", "s32": "int32_t", "b32": "uint32_t",
    "f16x2": "uint32_t", "u64": "uint64_t", "s64": "int64_t", "b64": "uint64_t",
    "f32": "float", "f64": "double", "pred": "int",
}  # fmt: skip
WORDS = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}
_SPECIAL = {
    "%tid.x": "tid", "%ctaid.x": "block_->cta", "%ntid.x": "ntid",
    "%nctaid.x": "block_->launch->ncta", "%tid.y": "0u", "%tid.z": "0u", "%ctaid.y": "0u",
    "%ctaid.z": "0u", "%ntid.y": "1u", "%ntid.z": "1u", "%nctaid.y": "1u", "%nctaid.z": "1u",
    "%laneid": "(tid & 31u)", "%warpid": "(tid >> 5)", "%smid": "block_->smid",
    "%nsmid": "block_->launch->sm_count", "WARP_SZ": "32u",
    "%clock64": "gpv_clock(block_, cost_)", "%clock": "(uint32_t)gpv_clock(block_, cost_)",
    "%globaltimer": "gpv_timer(block_, cost_)",
}  # fmt: skip
CLOCKS = frozenset({"%clock64", "%clock", "%globaltimer"})


def _immediate(text: str, kind: str) -> str:
    """Return a C expression of a constant."""
    c_type = C_TYPES[kind]
    for pattern, whole, suffix in (
        (r"0[fF]([0-9A-Fa-f]{8})", "f32", "u"),
        (r"0[dD]([0-9A-Fa-f]{16})", "f64", "ull"),
    ):
        if match := re.fullmatch(pattern, text):
            bits = f"0x{match.group(1)}{suffix}"
            return f"gpv_{kind}({bits})" if kind == whole else f"(({c_type}){bits})"
    match = re.fullmatch(r"(-?)(0[xX][0-9A-Fa-f]+|\d+)U?", text)
    if not match or kind in ("f32", "f64"):
        raise UnsupportedPtx(f"operand {text!r} as {kind}")
    return f"(({c_type}){match.group(1)}{int(match.group(2), 0) % 2**64}ull)"


@dataclass(slots=True)
class Scope:
    """What the operations of one kernel share.

    Attributes:
        kernel: The kernel.
        lanes: Whether registers are arrays of 32 lanes.
        timed: Whether loads are priced as they happen.
        offsets: Offset by parameter name.
    """

    kernel: Kernel
    lanes: bool
    timed: bool
    offsets: dict[str, int] = field(default_factory=dict)

    def register(self, text: str) -> tuple[str, str]:
        """Return C name and type of a register.

        Args:
            text: The operand, with its percent sign.
        """
        name = text.strip().removeprefix("%")
        kind = self.kernel.registers.get(name)
        if kind is None or not text.strip().startswith("%"):
            raise UnsupportedPtx(f"operand {text!r}")
        c_name = "r_" + name.replace("$", "_")
        return (c_name + "[l]" if self.lanes else c_name), kind

    def read(self, text: str, kind: str) -> str:
        """Return a C expression of an operand as a type.

        Args:
            text: The operand.
            kind: PTX type to read it as.
        """
        text = text.strip()
        c_type = C_TYPES[kind]
        if text in _SPECIAL:
            return f"(({c_type}){_SPECIAL[text]})"
        if text.startswith("%"):
            name, declared = self.register(text)
            if kind == "pred" or declared == "pred":
                if kind != declared:
                    raise UnsupportedPtx(f"operand {text!r} as {kind}")
                return name
            if kind in ("f32", "f64"):
                if SIZES[declared] != SIZES[kind]:
                    raise UnsupportedPtx(f"operand {text!r} as {kind}")
                return f"gpv_{kind}({name})"
            return f"(({c_type}){name})"
        return _immediate(text, kind)

    def write(self, text: str, kind: str, expression: str) -> str:
        """Return a C statement that sets a register; a narrower signed value is extended.

        Args:
            text: The register.
            kind: PTX type of the value.
            expression: The value.
        """
        if text.strip() == "_":
            return f"(void)({expression});"
        name, declared = self.register(text)
        if kind in ("f32", "f64"):
            if SIZES[declared] != SIZES[kind]:
                raise UnsupportedPtx(f"{text!r} for a value of type {kind}")
            return f"{name} = gpv_b{SIZES[kind] * 8}({expression});"
        if kind == "pred":
            return f"{name} = ({expression}) != 0;"
        # C extends a signed value to the wider register as PTX does.
        return f"{name} = ({C_TYPES[kind]})({expression});"

    def address(self, text: str) -> str:
        """Return a C expression of a memory operand.

        Args:
            text: The operand in its brackets.
        """
        match = re.fullmatch(r"\[\s*(%[\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]", text.strip())
        if not match:
            raise UnsupportedPtx(f"address {text!r}")
        return f"({self.read(match.group(1), 'u64')} + {int(match.group(2) or 0)}ll)"


def vector(text: str) -> list[str]:
    """Return the registers of a vector operand.

    Args:
        text: The operand, in braces.
    """
    return [item.strip() for item in text.strip().strip("{}").split(",")]
