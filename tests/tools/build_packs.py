"""Generates the PTX of the kernel packs from their CUDA C, with a pinned NVRTC.

    python tests/tools/build_packs.py            write gpuverify/measure/kernels/*.ptx
    python tests/tools/build_packs.py --check    compare only; exit 1 where a file is not current
    python tests/tools/build_packs.py --fetch    install the one wheel that has to lie aside

The compilers come in wheels from PyPI (extra `kernels`); nothing else of CUDA is needed. The
assemblers for CUDA 11 and CUDA 12 lie at the same path in their wheels, so that the one for
CUDA 11 cannot stand in the environment: --fetch puts it under <environment>/toolchain.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import locale
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "gpuverify" / "measure" / "kernels"

NVRTC_LIBRARIES = {"11.8": "libnvrtc.so.11.2", "12.4": "libnvrtc.so.12"}
# These four are the extra `kernels` of pyproject.toml; the last line lies aside.
NVRTC_PINS = {
    "11.8": "nvidia-cuda-nvrtc-cu11==11.8.89",
    "12.4": "nvidia-cuda-nvrtc-cu12==12.4.127",
}
PTXAS_PINS = {"12.9": "nvidia-cuda-nvcc-cu12==12.9.86", "13.0": "nvidia-cuda-nvcc==13.0.88"}
ASIDE_PINS = {"11.8": "nvidia-cuda-nvcc-cu11==11.8.89"}


@dataclass(frozen=True)
class Recipe:
    """How one pack is made.

    Attributes:
        nvrtc: The release of NVRTC.
        architecture: The virtual architecture to compile for.
        version: The `.version` that the header is lowered to.
    """

    nvrtc: str
    architecture: str
    version: str


# NVRTC 11.8 still knows sm_70; 12.4 is the first that knows the FP8 mma of sm_89 (PTX ISA 8.4).
RECIPES = {
    "base": Recipe("11.8", "compute_70", "6.4"),
    "tensor": Recipe("11.8", "compute_80", "7.0"),
    "fp8": Recipe("12.4", "compute_89", "8.4"),
}


class CompileError(Exception):
    """NVRTC is missing, or refused the source; the message says which and why."""


def _roots() -> list[Path]:
    """Folders named `nvidia` that wheels of CUDA were installed to."""
    spec = importlib.util.find_spec("nvidia")
    found = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    return [*found, *sorted((Path(sys.prefix) / "toolchain").glob("*/nvidia"))]


def find_nvrtc(version: str) -> Path | None:
    """Find the run-time compiler of one CUDA release.

    Args:
        version: Key of `NVRTC_PINS`.

    Returns:
        The library, or None where its wheel is not installed.
    """
    for root in _roots():
        library = root / "cuda_nvrtc" / "lib" / NVRTC_LIBRARIES[version]
        # The soname does not tell 12.4 from 12.9; the library of built-ins does.
        if library.is_file() and list(library.parent.glob(f"libnvrtc-builtins.so.{version}*")):
            return library
    return None


def find_ptxas() -> dict[str, Path]:
    """Find every assembler that is installed.

    Returns:
        The programs by the release that each says it is, such as "12.9".
    """
    found: dict[str, Path] = {}
    for root in _roots():
        for program in sorted(root.glob("*/bin/ptxas")):
            said = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            ).stdout
            match = re.search(r"release (\d+\.\d+)", said)
            if match:
                found.setdefault(match.group(1), program)
    return found


def fetch() -> None:
    """Install the wheels that cannot stand in the environment itself."""
    for version, pin in ASIDE_PINS.items():
        target = Path(sys.prefix) / "toolchain" / f"nvcc-{version}"
        if not (target / "nvidia").is_dir():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*command, "--target", str(target), pin], check=True)


def sources() -> dict[str, str]:
    """Read the CUDA C of all packs.

    Returns:
        The texts by file name.
    """
    return {path.name: path.read_text("utf-8") for path in sorted(KERNELS.glob("*.cu*"))}


def _texts(texts: list[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def compile_source(nvrtc: Path, texts: Mapping[str, str], name: str, architecture: str) -> str:
    """Compile CUDA C into PTX.

    The headers are handed over as text, so that no path of this machine reaches the output.

    Args:
        nvrtc: The library.
        texts: All sources by file name.
        name: The one to compile.
        architecture: Virtual architecture such as "compute_70".

    Returns:
        The PTX as the compiler wrote it.

    Raises:
        CompileError: The source was refused.
    """
    library = ctypes.CDLL(str(nvrtc))
    headers = sorted(file for file in texts if file.endswith(".cuh"))
    program = ctypes.c_void_p()
    size = ctypes.c_size_t()
    library.nvrtcCreateProgram(
        ctypes.byref(program),
        texts[name].encode(),
        name.encode(),
        len(headers),
        _texts([texts[file] for file in headers]),
        _texts(headers),
    )
    options = [f"--gpu-architecture={architecture}", "--std=c++14", "--fmad=false"]
    # The compiler sets the process's locale to "C" and leaves it there.
    spoken = locale.setlocale(locale.LC_ALL)
    try:
        if library.nvrtcCompileProgram(program, len(options), _texts(options)) != 0:
            library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            library.nvrtcGetProgramLog(program, log)
            raise CompileError(log.value.decode(errors="replace"))
        library.nvrtcGetPTXSize(program, ctypes.byref(size))
        ptx = ctypes.create_string_buffer(size.value)
        library.nvrtcGetPTX(program, ptx)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
        locale.setlocale(locale.LC_ALL, spoken)
    return ptx.value.decode("ascii")


def lower_header(ptx: str, version: str) -> str:
    """Write an older PTX version into the header; the assemblers tell whether it is true.

    Args:
        ptx: The text as the compiler wrote it.
        version: The version to write, such as "6.4".

    Returns:
        The text with that one line changed and one newline at its end.

    Raises:
        CompileError: The text has no header.
    """
    lowered, count = re.subn(r"^\.version .*$", f".version {version}", ptx, flags=re.MULTILINE)
    if count != 1:
        raise CompileError(f"the compiler wrote {count} .version lines")
    return lowered.strip() + "\n"


def build(pack: str, changed: Mapping[str, str] | None = None) -> bytes:
    """Generate one pack.

    Args:
        pack: Key of `RECIPES`.
        changed: Sources to take instead of the project's own, by file name; for tests.

    Returns:
        The content of its PTX file.

    Raises:
        CompileError: NVRTC is not installed, or refused the source.
    """
    recipe = RECIPES[pack]
    nvrtc = find_nvrtc(recipe.nvrtc)
    if nvrtc is None:
        pin = NVRTC_PINS[recipe.nvrtc]
        raise CompileError(f"NVRTC {recipe.nvrtc} is missing: pip install {pin}")
    texts = {**sources(), **(changed or {})}
    ptx = compile_source(nvrtc, texts, f"{pack}.cu", recipe.architecture)
    return lower_header(ptx, recipe.version).encode()


def main(arguments: list[str] | None = None) -> int:
    """Write the packs, or compare them.

    Args:
        arguments: Command line without the program; sys.argv where None.

    Returns:
        0, or 1 where a pack is not current.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--fetch", action="store_true", help="install what lies aside, no more")
    options = parser.parse_args(arguments)
    if options.fetch:
        fetch()
        return 0
    stale = 0
    for pack in RECIPES:
        path = KERNELS / f"{pack}.ptx"
        text = build(pack)
        if not path.is_file() or path.read_bytes() != text:
            stale += 1
            if not options.check:
                path.write_bytes(text)
            sys.stderr.write(f"{path.name}: {'not current' if options.check else 'written'}\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
