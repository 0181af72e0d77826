"""Digests of NVML libraries by driver version."""

from __future__ import annotations

import re

from gpuverify.refdb import Database
from gpuverify.refdb.loader import DATA, read_table


def test_digests_are_whole_and_distinct() -> None:
    table = read_table(DATA / "libraries.toml")["sha256"]
    assert len(table) >= 70
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in table.values())
    assert all(re.fullmatch(r"\d{3}\.\d+(\.\d+)?", version) for version in table)
    assert len(set(table.values())) == len(table)


def test_a_digest_names_its_version() -> None:
    database = Database.open()
    # Computed from Debian's package libnvidia-ml1 535.261.03-1.
    digest = "bff3d13ebff1ac22b8a1f5d2c0c05910564ec868c2e70bc5f971dcaf82a36765"
    assert database.library_version(digest) == "535.261.03"
    assert database.library_version("0" * 64) is None
