"""A folder with a libcuda.so.1 in it that behaves as the given cards would."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import gpuverify
from gpuverify.testing.cuda.profile import CardProfile, settings_text
from gpuverify.testing.cuda.toolchain import library, translator_key

LIBRARY = "libcuda.so.1"


class FakeCuda:
    """An emulated driver that is ready to be loaded.

    Attributes:
        folder: Its folder.
        path: The library; loading it needs no environment.
        environment: What another process needs to load it as plain "libcuda.so.1".
    """

    def __init__(self, folder: Path) -> None:
        """Stand on a folder that holds the library and its cards.

        Args:
            folder: The folder.
        """
        self.folder = folder
        self.path = str(folder / LIBRARY)
        searched = os.environ.get("LD_LIBRARY_PATH", "")
        self.environment = {
            "LD_LIBRARY_PATH": f"{folder}{':' + searched if searched else ''}",
            "GPUVERIFY_FAKE_CUDA": str(folder / "cards.ini"),
        }

    def faults(self) -> list[str]:
        """Return what went wrong inside: bad accesses, refused kernels, failed translations."""
        log = self.folder / "faults.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def clock_ns(self) -> int:
        """Return the host clock of this thread as it would be beside a real card."""
        clock = ctypes.CDLL(self.path).gpuverifyEmulatorClockNs
        clock.restype = ctypes.c_uint64
        return int(clock())

    def release(self) -> None:
        """Give back the memory that this process holds, and let hanging calls go."""
        ctypes.CDLL(self.path).gpuverifyEmulatorRelease()


def default_cache() -> Path:
    """Return the folder of built files: GPUVERIFY_EMULATOR_CACHE, else a temporary one."""
    named = os.environ.get("GPUVERIFY_EMULATOR_CACHE", "")
    return Path(named or Path(tempfile.gettempdir()) / f"gpuverify-emulator-{os.getuid()}")


def _without_symbols(image: bytes, symbols: Sequence[str]) -> bytes:
    """Rename functions in a library's string table, so that looking them up finds nothing."""
    for symbol in symbols:
        name = b"\0" + symbol.encode("ascii") + b"\0"
        if name not in image:
            raise ValueError(f"{symbol} is no function of the emulated driver")
        image = image.replace(name, b"\0~" + name[2:])
    return image


def prepare(
    folder: Path,
    profiles: Sequence[CardProfile],
    *,
    cache: Path | None = None,
    checked: bool = False,
    threads: int = 0,
    driver_version: int = 12040,
    init_code: int = 0,
    fail_any_at: int = 0,
    fail_code: int = 999,
) -> FakeCuda:
    """Put an emulated driver into a folder and leave it there.

    Args:
        folder: An existing folder.
        profiles: The cards, in the order in which CUDA numbers them.
        cache: Folder of built files; None for `default_cache()`.
        checked: Whether each memory access of a kernel is compared with the live allocations;
            one outside is recorded in `FakeCuda.faults()` and loses the device with error 700.
        threads: Threads that run blocks; 0 for as many as the machine has, at most 8.
        driver_version: CUDA version of the driver.
        init_code: What cuInit answers.
        fail_any_at: The n-th call of a process fails, whatever it is about; 0 for none.
        fail_code: With what.

    Raises:
        NoCompilerError: There is no C compiler.
        PermissionError: The cache is another user's.
    """
    built = cache or default_cache()
    built.mkdir(parents=True, exist_ok=True, mode=0o700)
    if built.stat().st_uid != os.getuid():
        # What lies there is loaded into this process.
        raise PermissionError(f"{built} belongs to somebody else; set GPUVERIFY_EMULATOR_CACHE")
    image = library(built).read_bytes()
    missing = {symbol for profile in profiles for symbol in profile.faults.missing_symbols}
    # A file of its own: the loader takes two paths to one file for one library.
    (folder / LIBRARY).write_bytes(_without_symbols(image, sorted(missing)))
    lines = [
        "[driver]",
        f"cache={built}",
        f"translator={translator_key()}",
        f"python={sys.executable}",
        f"python_path={Path(gpuverify.__file__).resolve().parent.parent}",
        f"checked={int(checked)}",
        f"threads={threads}",
        f"driver_version={driver_version}",
        f"init_code={init_code}",
        f"fail_any_at={fail_any_at}",
        f"fail_code={fail_code}",
    ]
    text = "\n".join(lines) + "\n" + "".join(settings_text(profile) for profile in profiles)
    (folder / "cards.ini").write_text(text, encoding="utf-8")
    return FakeCuda(folder)


@contextlib.contextmanager
def fake_cuda(profiles: Sequence[CardProfile], **options: object) -> Iterator[FakeCuda]:
    """Have an emulated driver for the time of a `with` block.

    Args:
        profiles: The cards.
        options: As `prepare` takes them: cache, checked, threads, driver_version, init_code,
            fail_any_at, fail_code.

    Yields:
        The driver; `path` is what to load, `environment` what to give to another process.
    """
    folder = Path(tempfile.mkdtemp(prefix="gpuverify-cuda-"))
    try:
        fake = prepare(folder, profiles, **options)  # type: ignore[arg-type]
        try:
            yield fake
        finally:
            fake.release()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
