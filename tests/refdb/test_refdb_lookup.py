"""Resolving claims, reverse look-ups, leaving a source out, and laziness."""

from __future__ import annotations

import pytest

from gpuverify.errors import ReferenceDataError, UsageError
from gpuverify.refdb import Database
from gpuverify.refdb.index import read_index
from gpuverify.refdb.loader import load_family


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


@pytest.mark.parametrize(
    ("text", "memory", "expected", "per_board"),
    [
        ("a100-sxm4-80gb", None, "a100-sxm4-80gb", False),
        ("A100-SXM4-80GB", None, "a100-sxm4-80gb", False),
        ("NVIDIA A100-SXM4-80GB", "80 GB", "a100-sxm4-80gb", False),
        ("nvidia a100 80gb pcie", None, "a100-pcie-80gb", False),
        ("a100-pcie", "40GB", "a100-pcie-40gb", False),
        ("NVIDIA H200", None, "h200-sxm5-141gb", False),
        ("NVIDIA H800", None, "h800-sxm5-80gb", False),
        ("H100 PCIe", "80", "h100-pcie-80gb", False),
        ("h100", "64GB", "h100-sxm5-64gb", False),
        ("Tesla K80", "24GB", "k80-pcie-12gb", True),
        ("Tesla K80", "12GB", "k80-pcie-12gb", False),
        ("A16", "64GB", "a16-pcie-16gb", True),
        ("A16", "16GB", "a16-pcie-16gb", False),
        ("Tesla M40", "24gb", "m40-pcie-24gb", False),
        ("NVIDIA GH200 480GB", "480GB", "gh200-480gb", False),
        ("NVIDIA GeForce RTX 4090", "24GB", "rtx-4090-24gb", False),
        ("rtx 4090", None, "rtx-4090-24gb", False),
        ("rtx-4090-48gb", "48GB", "rtx-4090-48gb", False),
        ("GeForce RTX 2080 Ti", None, "rtx-2080-ti-11gb", False),
        ("PG509-210", None, "pg509-210", False),
        ("L40", None, "l40-pcie-48gb", False),
        ("CMP 170HX", "10GB", "cmp-170hx-10gb", False),
    ],
)
def test_resolves(
    database: Database, text: str, memory: str | None, expected: str, per_board: bool
) -> None:
    product, board = database.resolve(text, memory)
    assert (product.id, board) == (expected, per_board)


@pytest.mark.parametrize(
    ("text", "memory", "mentions"),
    [
        ("a100", None, "a100-pcie-40gb"),
        ("a100", "80GB", "a100-sxm4-80gb"),
        ("H100", None, "h100-nvl-94gb"),
        ("NVIDIA H100", None, "h100-sxm5-80gb"),
        ("h200", None, "h200-nvl-141gb"),
        ("h20", None, "h20-3e-sxm5-141gb"),
        ("Tesla M40", None, "m40-pcie-12gb"),
        ("CMP 170HX", None, "cmp-170hx-8gb"),
        ("NVIDIA A100-SXM4-80GB", "40GB", "80GB"),
        ("Tesla K80", "48GB", "24GB a board"),
        ("GeForce RTX 4090", "48GB", "rtx-4090-48gb"),
        ("voodoo 2", None, "gpuverify products"),
        ("", None, "gpuverify products"),
        ("a100-sxm4-99gb", None, "near"),
    ],
)
def test_does_not_guess(database: Database, text: str, memory: str | None, mentions: str) -> None:
    with pytest.raises(UsageError) as caught:
        database.resolve(text, memory)
    assert mentions in str(caught.value)
    assert caught.value.exit_code == 64


def test_unknown_product_id(database: Database) -> None:
    with pytest.raises(UsageError, match="no product has the id"):
        database.product("a100")


def test_reverse_lookups(database: Database) -> None:
    assert database.holders("gpu.name", "A100-SXM4-80GB") == ("a100-sxm4-80gb",)
    assert database.holders("gpu.name", "NVIDIA A100-SXM4-80GB") == ("a100-sxm4-80gb",)
    assert database.holders("inforom.sku", "G506.0210") == ("a100-sxm4-80gb",)
    assert database.holders("gpu.chip_sku", "2324-865") == ("h800-sxm5-80gb",)
    assert database.holders("board.sku", "692-2G520-0205") == ("h800-sxm5-80gb",)
    assert "a100-sxm4-40gb" in database.holders("board.project", "G506")
    assert database.holders("pci.identity", "20B2:10DE:1625") == ("pg509-210",)
    assert database.holders("gpu.vbios_version", "92.00.9e.00.02") == ("a100-sxm4-80gb",)
    assert "cmp-170hx-8gb" in database.holders("ecc.supported", value=False)
    assert database.holders("memory.total_mib", 97871) == ("gh200-480gb", "h20-sxm5-96gb")
    assert database.holders("gpu.name", "no such card") == ()
    assert database.holders("no.such_field", 1) == ()
    assert database.device_holders(0x20B2) == ("a100-sxm4-80gb", "pg509-210")
    assert database.device_holders(0x25B6) == ("a16-pcie-16gb", "a2-pcie-16gb")
    assert database.device_holders(0x1234) == ()


def test_generic_inforom_images_are_no_identity(database: Database) -> None:
    assert database.holders("inforom.image_version", "G001.0000.03.03")
    assert database.holders("inforom.sku", "G001.0000") == ()


def test_derived_fields_carry_provenance(database: Database) -> None:
    (chip,) = (
        one
        for one in database.product("h800-sxm5-80gb").get("gpu.chip_sku")
        if one.source == "llm-action"
    )
    (part,) = database.product("h800-sxm5-80gb").get("gpu.gpu_part_number")
    assert (chip.value, chip.locator) == ("2324-865", part.locator)


def test_leaving_a_source_out(database: Database) -> None:
    smaller = database.without_source("llm-action", "nvidia-smi.md")
    h800 = smaller.product("h800-sxm5-80gb")
    assert h800.get("gpu.gpu_part_number") == ()
    assert h800.get("gpu.chip_sku") == ()
    assert {one.value for one in h800.get("gpu.name")} == {"NVIDIA H800"}
    assert smaller.holders("gpu.gpu_part_number", "2324-865-A1") == ()
    assert smaller.device_holders(0x2324) == ("h800-sxm5-80gb",)
    assert smaller.product("a800-pcie-80gb").get("memory.total_mib")
    assert database.holders("gpu.gpu_part_number", "2324-865-A1") == ("h800-sxm5-80gb",)
    assert smaller.sha256 == database.sha256


def test_leaving_a_match_entry_out(database: Database) -> None:
    assert database.device_holders(0x20BB) == ("drive-pg199-32gb",)
    smaller = database.without_source("pci-ids").without_source("unnamed-readouts")
    assert smaller.device_holders(0x20BB) == ()
    assert smaller.product("drive-pg199-32gb").pci == ()
    assert smaller.resolve("drive-pg199-32gb")[0].id == "drive-pg199-32gb"


def test_leaving_the_source_of_sold_as_out(database: Database) -> None:
    assert database.without_source("aitemplate").product("pg509-210").sold_as == ()


def test_leaving_nothing_out_changes_nothing(database: Database) -> None:
    same = database.without_source("no-such-source")
    assert same.products() == database.products()


def test_a_lookup_reads_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path, kinds, dropped=()):  # type: ignore[no-untyped-def]
        read.append(path.name)
        return load_family(path, kinds, dropped)

    monkeypatch.setattr("gpuverify.refdb.database.load_family", counted)
    fresh = Database.open()
    assert fresh.version
    assert fresh.holders("gpu.sm_count", 108)
    assert fresh.device_holders(0x20B0)
    assert read == []
    product, _ = fresh.resolve("a100-sxm4-80gb")
    fresh.product("a100-sxm4-40gb")
    fresh.neighbours(product)
    assert read == ["ga100.toml"]


def test_damaged_index_is_said(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ReferenceDataError):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ReferenceDataError):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text('{"schema": "other"}', encoding="utf-8")
    with pytest.raises(ReferenceDataError, match="other"):
        read_index(tmp_path)
