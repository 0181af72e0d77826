"""The command that the emulated driver runs for a module that it has not seen yet.

`python -m gpuverify.testing.cuda.compile_ptx PTX OBJECT CHECKED`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from gpuverify.testing.cuda.ptx_parse import UnsupportedPtx
from gpuverify.testing.cuda.ptx_translate import translate
from gpuverify.testing.cuda.toolchain import NoCompilerError, compile_kernels


def compile_ptx(source: Path, out: Path, *, checked: bool) -> None:
    """Translate PTX to C and compile it.

    Args:
        source: The PTX file.
        out: The shared object to make.
        checked: Whether each memory access is checked.

    Raises:
        UnsupportedPtx: It is not PTX that can be read.
        NoCompilerError: There is no compiler, or it does not compile.
    """
    ptx = source.read_text(encoding="ascii")
    text = translate(ptx)
    with tempfile.TemporaryDirectory() as folder:
        c_source = Path(folder) / "kernels.c"
        c_source.write_text(text, encoding="ascii")
        compile_kernels(c_source, out, checked=checked, fast="mma.sync" not in ptx)


def main(arguments: list[str]) -> int:
    """Run as a command.

    Args:
        arguments: PTX file, object file, "1" for a checked build.
    """
    try:
        compile_ptx(Path(arguments[0]), Path(arguments[1]), checked=arguments[2] == "1")
    except (UnsupportedPtx, NoCompilerError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
