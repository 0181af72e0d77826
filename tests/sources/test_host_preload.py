"""Preloaded objects: what they provide, and what cannot be known."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from host_support import host, root, write

from gpuverify.model.claims import ClaimStatus
from gpuverify.sources.host_elf import intercepts_files, provides_driver_api

__all__ = ["root"]  # a fixture


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Compile C to a shared object."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("objects")

    def build(source: str) -> bytes:
        code, out = folder / "a.c", folder / "a.so"
        code.write_text(source)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(out), str(code)], check=True, timeout=60
        )
        return out.read_bytes()

    return build


def test_object_that_provides_and_one_that_calls(objects: Callable[[str], bytes]) -> None:
    provides = objects("int nvmlInit_v2(void) { return 0; }")
    calls = objects("int nvmlInit_v2(void); int cuInit(unsigned); int f(void)"
                    "{ return nvmlInit_v2() + cuInit(0); }")  # fmt: skip
    names = objects('const char *f(void) { return "nvmlInit_v2 cuInit"; }')
    assert provides_driver_api(provides)
    assert provides_driver_api(objects("int cuDeviceTotalMem_v2(void) { return 0; }"))
    assert not provides_driver_api(calls)
    assert not provides_driver_api(names)
    assert provides_driver_api(provides[: len(provides) // 2])  # no symbol table: by the names


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"#!/bin/sh\nnvmlInit", True),
        (b"\x7fELF\x02\x01" + b"\xff" * 100 + b"cuInit", True),
        (b"\x7fELF\x02\x01" + b"\0" * 34 + struct.pack("<Q", 2**63) + b"\0" * 40 + b"cuInit", True),
        (b"cuInitialise_the_printer is cursed", True),
        (b"cut nvme cube", False),
    ],
)
def test_objects_without_a_readable_table(data: bytes, expected: bool) -> None:
    assert provides_driver_api(data) is expected


def test_preload(root: Path, objects: Callable[[str], bytes]) -> None:
    write(root, "opt/fake.so", objects("int nvmlInit_v2(void) { return 0; }"))
    write(root, "usr/lib64/libjemalloc.so.2", objects("int malloc_stats(void) { return 0; }"))
    write(root, "proc/self/environ", b"LD_PRELOAD=libjemalloc.so.2\0")
    claims = host(root)
    assert claims.value("host.preload") == "libjemalloc.so.2"
    assert claims.value("host.preload_provides_driver_api") is False
    write(root, "etc/ld.so.preload", "/opt/fake.so\n")
    claims = host(root)
    assert claims.value("host.preload") == "libjemalloc.so.2, /opt/fake.so"
    assert claims.value("host.preload_provides_driver_api") is True
    assert claims.read("host.preload_provides_driver_api").call == "/opt/fake.so"
    assert claims.value("host.preload_intercepts_files") is False


def test_preload_that_stands_before_the_files(root: Path, objects: Callable[[str], bytes]) -> None:
    shim = objects("int openat(int d, const char *p, int f) { return -1; }")
    user = objects(
        "int openat(int d, const char *p, int f); int g(void) { return openat(0, 0, 0); }"
    )
    write(root, "opt/shim.so", shim)
    write(root, "opt/user.so", user)
    write(root, "proc/self/environ", b"LD_PRELOAD=/opt/user.so\0")
    assert host(root).value("host.preload_intercepts_files") is False
    write(root, "proc/self/environ", b"LD_PRELOAD=/opt/user.so:/opt/shim.so\0")
    claims = host(root)
    assert claims.value("host.preload_intercepts_files") is True
    assert claims.read("host.preload_intercepts_files").call == "/opt/shim.so"
    assert claims.value("host.preload_provides_driver_api") is False
    assert intercepts_files(b"\x7fELF, cut off\0openat\0malloc\0")
    assert not intercepts_files(b"\x7fELF, cut off\0reopenat\0malloc\0")


def test_preload_that_cannot_be_known(root: Path) -> None:
    write(root, "proc/self/environ", b"LD_PRELOAD=./here.so:/gone.so\0")
    claims = host(root)
    assert claims.value("host.preload") == "./here.so, /gone.so"
    assert claims.read("host.preload_provides_driver_api").status is ClaimStatus.FAILED
    write(root, "proc/self/environ", b"LD_PRELOAD=/gone.so\0")
    assert host(root).value("host.preload_provides_driver_api") is False


def test_preload_known_only_by_its_mapping(root: Path, objects: Callable[[str], bytes]) -> None:
    write(root, "strange/place/fake.so", objects("int cuInit(unsigned a) { return 0; }"))
    write(root, "proc/self/environ", b"LD_PRELOAD=fake.so\0")
    write(root, "proc/self/maps", "7f00-7f01 r-xp 00000000 08:01 42       /strange/place/fake.so\n")
    assert host(root).value("host.preload_provides_driver_api") is True


def test_preload_removed_after_it_was_mapped(root: Path) -> None:
    write(root, "proc/self/environ", b"LD_PRELOAD=/tmp/shim.so\0")
    write(root, "proc/self/maps", "7f00-7f01 r-xp 00000000 08:01 42       /tmp/shim.so (deleted)\n")
    assert host(root).read("host.preload_provides_driver_api").status is ClaimStatus.FAILED
