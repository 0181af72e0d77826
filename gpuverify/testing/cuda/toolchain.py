"""Finding a C compiler and building with it, once for each content."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NATIVE = Path(__file__).resolve().parent / "native"
_TIMEOUT_S = 300
_LIBRARY_FLAGS = (
    "-std=c++17", "-O1", "-fno-sanitize=undefined",
    "-fPIC", "-shared", "-fvisibility=hidden", "-fvisibility-inlines-hidden",
)  # fmt: skip
_KERNEL_FLAGS = (
    "-std=gnu11", "-march=native", "-fno-sanitize=undefined",
    "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv",
    "-fPIC", "-shared", "-fvisibility=hidden", "-w",
)  # fmt: skip
# At this level a compiler vectorises loops over threads; below it is timid about that.
_FAST = "-O3"


class NoCompilerError(RuntimeError):
    """There is no C compiler, or it does not compile what it is given."""


@functools.cache
def compiler(*, plus_plus: bool) -> tuple[str, ...]:
    """Return the command of a compiler.

    The system's own is preferred; the `ziglang` wheel serves where there is none.

    Args:
        plus_plus: For C++, else for C.

    Raises:
        NoCompilerError: There is none; says what to install.
    """
    for name in ("g++", "clang++", "c++") if plus_plus else ("gcc", "clang", "cc"):
        if found := shutil.which(name):
            return (found,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++" if plus_plus else "cc")
    raise NoCompilerError(
        "no C compiler: install gcc (Debian: apt install g++) or the wheel ziglang"
    )


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    """First line of what a compiler says of itself."""
    run = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    return run.stdout.partition("\n")[0]


def _machine() -> str:
    """What `-march=native` depends on: the processor's flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return os.uname().machine
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def build(command: list[str], out: Path) -> None:
    """Run a compiler and put its result in place in one step.

    Args:
        command: Compiler and arguments, without the output.
        out: Where the result belongs.

    Raises:
        NoCompilerError: It does not compile.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder) / out.name
        run = subprocess.run(
            [*command, "-o", str(made)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if run.returncode:
            raise NoCompilerError(f"{command[0]} failed:\n{run.stderr[:4000]}")
        made.replace(out)


def _digest(parts: list[str], files: list[Path]) -> str:
    """Hash of texts and files."""
    state = hashlib.sha256("\0".join(parts).encode())
    for path in files:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()[:24]


def library(cache: Path) -> Path:
    """Return the emulated driver, built where it is not in the cache.

    Args:
        cache: Folder of built files.

    Raises:
        NoCompilerError: There is no compiler.
    """
    command = compiler(plus_plus=True)
    sources = sorted(NATIVE.glob("emulator_*.cpp"))
    key = _digest([*_LIBRARY_FLAGS, _version(command)], [*sources, *sorted(NATIVE.glob("*.h*"))])
    out = cache / f"libcuda-{key}.so"
    if not out.exists():
        build([*command, *_LIBRARY_FLAGS, *map(str, sources), "-ldl", "-lpthread"], out)
    return out


def translator_key() -> str:
    """Return a hash of all that a translated kernel depends on beside its PTX."""
    here = Path(__file__).resolve().parent
    command = compiler(plus_plus=False)
    return _digest(
        [*_KERNEL_FLAGS, _FAST, _version(command), _machine()],
        [*sorted(here.glob("ptx_*.py")), *sorted(NATIVE.glob("gpv_*.h"))],
    )


def compile_kernels(source: Path, out: Path, *, checked: bool, fast: bool) -> None:
    """Compile a translated module.

    Args:
        source: The C source.
        out: The shared object.
        fast: Whether to optimise well; kernels that run warp by warp gain little by it and take
            three times as long to compile.
        checked: Whether each access is compared with the live allocations.

    Raises:
        NoCompilerError: There is no compiler, or it does not compile.
    """
    level = _FAST if fast else "-O1"
    command = [*compiler(plus_plus=False), *_KERNEL_FLAGS, level, f"-I{NATIVE}"]
    if checked:
        command.append("-DGPV_CHECK=1")
    build([*command, str(source), "-lm"], out)
