"""Which functions a shared object offers to others.

Field positions follow the System V ABI's ELF chapters 4 and 5 (64-bit, little-endian only: there
is no NVIDIA driver for anything else).
"""

from __future__ import annotations

import re
import struct

_MAGIC = b"\x7fELF\x02\x01"
_DYNSYM = 11
_SYMBOL_BYTES = 24
_MAX_SECTIONS = 4096
_MAX_SYMBOLS = 200_000
_DRIVER_NAME = re.compile(
    rb"(?:nvml(?:Init|Shutdown|Device|System|Unit)|cu(?:Init|Device|Mem|Ctx|Launch|GetProc))\w*"
)


_FILE_NAMES = frozenset(
    b"open open64 openat openat64 __open_2 __open64_2 __openat_2 __openat64_2 fopen fopen64 read "
    b"__read_chk pread pread64 readv ioctl syscall stat stat64 lstat lstat64 fstatat fstatat64 "
    b"__xstat __lxstat statx readlink readlinkat opendir readdir readdir64 dlopen dlmopen dlsym "
    b"execve posix_spawn posix_spawnp".split()
)
"""Functions of the C library through which files are read, libraries found, programs started."""


def intercepts_files(data: bytes) -> bool:
    """Whether a shared object defines functions of the C library that read files.

    Preloaded, it can show our process other files than there are.

    Args:
        data: The object's bytes.

    Returns:
        True if it defines one; where its symbol table cannot be read, true if the name of one
        stands in it as a string of its own.
    """
    names = _defined(data)
    if names is None:
        return any(b"\0" + name + b"\0" in data for name in _FILE_NAMES)
    return any(name in _FILE_NAMES for name in names)


def provides_driver_api(data: bytes) -> bool:
    """Whether a shared object defines functions of NVML or of the CUDA driver.

    An object that merely calls them (a profiler, a library built on NVML) has the same names, but
    as undefined symbols, and is not meant.

    Args:
        data: The object's bytes.

    Returns:
        True if it defines one; where its symbol table cannot be read, true if one of the two
        entry names stands anywhere in it.
    """
    if not _DRIVER_NAME.search(data):
        return False
    names = _defined(data)
    if names is None:
        return b"nvmlInit" in data or b"cuInit" in data
    return any(_DRIVER_NAME.fullmatch(name) for name in names)


def _defined(data: bytes) -> list[bytes] | None:
    """Return the names that the dynamic symbol table defines; None if it cannot be read."""
    if not data.startswith(_MAGIC) or len(data) < 64:
        return None
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    if size < 64 or count == 0 or count > _MAX_SECTIONS or table + size * count > len(data):
        return None
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
    for section in sections:
        if section[1] != _DYNSYM:
            continue
        offset, length, link = section[4], section[5], section[6]
        if link >= count or offset + length > len(data) or length > _MAX_SYMBOLS * _SYMBOL_BYTES:
            return None
        strings = data[sections[link][4] : sections[link][4] + sections[link][5]]
        names: list[bytes] = []
        for at in range(offset, offset + length - _SYMBOL_BYTES + 1, _SYMBOL_BYTES):
            name, _, _, index = struct.unpack_from("<IBBH", data, at)
            if index != 0 and name < len(strings):
                end = strings.find(b"\0", name)
                names.append(strings[name : end if end >= 0 else len(strings)])
        return names
    return None
