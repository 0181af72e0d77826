"""The kernel packs: PTX text that the driver compiles, and how each kernel is called.

The text is generated from the CUDA C beside it (kernels/README.md says how) with a PTX version
and a target that are old on purpose: a driver refuses PTX newer than itself, and PTX for an old
base target runs on every later GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Literal

TILE_THREADS = 256
RECORD_WORDS = 5

Geometry = Literal["tiled", "timed", "slots", "single"]

_CELLS = ("buf", "ncell")
_PATTERN = (*_CELLS, "base", "k0", "k1", "inv")
_CHAIN = ("a", "b", "c", "seed", "iters", "rec", "sink")
_MMA = ("afrag", "bfrag", "iters", "rec", "sink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """How one kernel is called.

    Attributes:
        arguments: Names of the arguments in order; each is one 64-bit unsigned integer.
        geometry: What a thread works on: cells of a tile, a timed loop, one slot, or everything.
        cells_per_thread: Cells that one thread of a tiled kernel takes, 0 for the others.
    """

    arguments: tuple[str, ...]
    geometry: Geometry
    cells_per_thread: int = 0

    @property
    def pointers(self) -> tuple[str, ...]:
        """The arguments that are addresses of device memory, in order."""
        return tuple(name for name in self.arguments if name in _POINTER_NAMES[self.geometry])

    def blocks(self, count: int) -> int:
        """The blocks of 256 threads that a tiled or slot kernel needs.

        Args:
            count: Cells or slots to work on; at least 1.

        Returns:
            The grid size.

        Raises:
            ValueError: There is nothing to work on. A grid of none is an error to the driver, and
                a thread without a cell of its own reads the last one, which there must then be.
        """
        if count < 1:
            raise ValueError(f"a kernel needs at least one cell or slot, not {count}")
        return -(-count // (TILE_THREADS * max(1, self.cells_per_thread)))


_POINTER_NAMES: dict[Geometry, frozenset[str]] = {
    "tiled": frozenset({"buf", "out", "rec", "dig", "a", "b", "dst", "src"}),
    "timed": frozenset({"buf", "rec", "sink", "afrag", "bfrag"}),
    "slots": frozenset({"base"}),
    "single": frozenset({"start", "rec"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One file of PTX.

    Attributes:
        file: Name of the file in the folder of the kernels.
        ptx_version: The `.version` of its header, as (major, minor).
        target: The `.target` of its header.
        minimum_capability: Compute capability that a GPU needs to run it.
        kernels: Its kernels by name.
    """

    file: str
    ptx_version: tuple[int, int]
    target: str
    minimum_capability: tuple[int, int]
    kernels: dict[str, Kernel]


def _tiled(cells: int, *arguments: str) -> Kernel:
    return Kernel(arguments=arguments, geometry="tiled", cells_per_thread=cells)


def _timed(*arguments: str) -> Kernel:
    return Kernel(arguments=arguments, geometry="timed")


PACKS: dict[str, Pack] = {
    "base": Pack(
        file="base.ptx",
        ptx_version=(6, 4),
        target="sm_70",
        minimum_capability=(7, 0),
        kernels={
            "cap_write": _tiled(4, *_PATTERN),
            "cap_check": _tiled(4, *_PATTERN, "out", "rec", "recmax"),
            "cap_digest": _tiled(16, *_CELLS, "base", "kd", "shift", "dig"),
            "butterfly": _tiled(4, "a", "b", "ncell", "k"),
            "bw_write": _tiled(4, *_CELLS, "val"),
            "bw_read": _tiled(16, *_CELLS, "out"),
            "bw_copy": _tiled(4, "dst", "src", "ncell"),
            "census": _timed("a", "c", "seed", "iters", "rec", "sink"),
            "chain_fma_f32": _timed(*_CHAIN),
            "chain_mul_add_f32": _timed(*_CHAIN),
            "chain_fma_f64": _timed(*_CHAIN),
            "chain_fma_f16x2": _timed(*_CHAIN),
            "chain_imad_u32": _timed(*_CHAIN),
            "l2_read": _timed(*_CELLS, "step", "loads", "rec", "sink"),
            "chase_fill": Kernel(arguments=("base", "slots", "stride", "a", "c"), geometry="slots"),
            "chase": Kernel(arguments=("start", "warm", "hops", "rec"), geometry="single"),
        },
    ),
    "tensor": Pack(
        file="tensor.ptx",
        ptx_version=(7, 0),
        target="sm_80",
        minimum_capability=(8, 0),
        kernels={
            name: _timed(*_MMA) for name in ("mma_f16", "mma_bf16", "mma_tf32", "mma_s8", "mma_f64")
        },
    ),
    "fp8": Pack(
        file="fp8.ptx",
        ptx_version=(8, 4),
        target="sm_89",
        minimum_capability=(8, 9),
        kernels={"mma_e4m3": _timed(*_MMA)},
    ),
}


def pack_text(name: str) -> bytes:
    """Read the PTX of a pack.

    Args:
        name: Key of `PACKS`.

    Returns:
        The text; the driver wants a NUL after it, which is not part of it.
    """
    path = resources.files("gpuverify.measure").joinpath("kernels").joinpath(PACKS[name].file)
    return path.read_bytes()
