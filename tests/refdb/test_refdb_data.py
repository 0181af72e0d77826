"""The shipped reference data: sound, current, complete, and honest about where it is from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpuverify.model.product import Grade, ProductStatus
from gpuverify.refdb import Database
from gpuverify.refdb.confusables import confusables_markdown, discriminators
from gpuverify.refdb.fields import FIELDS
from gpuverify.refdb.index import build_index, data_digest, file_digests
from gpuverify.refdb.lint import lint, only_measured
from gpuverify.refdb.loader import DATA, load_sources
from gpuverify.refdb.pages import fields_markdown, products_markdown
from gpuverify.refdb.rates import FIELD_RUNS

ROOT = Path(__file__).resolve().parents[2]

# What issue and design demand.
DEMANDED = [
    "a100-sxm4-40gb",
    "a100-sxm4-80gb",
    "a100-sxm-64gb",
    "a100-pcie-40gb",
    "a100-pcie-80gb",
    "a800-sxm4-40gb",
    "a800-sxm4-80gb",
    "a800-pcie-80gb",
    "a800-pcie-40gb-active",
    "a100x-80gb",
    "a30-pcie-24gb",
    "a30x-24gb",
    "a10-pcie-24gb",
    "a10g-pcie-24gb",
    "a40-pcie-48gb",
    "a16-pcie-16gb",
    "a2-pcie-16gb",
    "h100-sxm5-80gb",
    "h100-pcie-80gb",
    "h100-nvl-94gb",
    "h100-sxm5-64gb",
    "h100-sxm5-94gb",
    "h100-sxm5-96gb",
    "h100-pcie-96gb",
    "h100-cnx-80gb",
    "h800-sxm5-80gb",
    "h800-pcie-80gb",
    "h800-nvl-94gb",
    "h20-sxm5-96gb",
    "h20-3e-sxm5-141gb",
    "h200-sxm5-141gb",
    "h200-nvl-141gb",
    "gh200-480gb",
    "gh200-120gb",
    "gh200-144gb",
    "b200-sxm6-180gb",
    "gb200-superchip-186gb",
    "gb300-superchip-288gb",
    "b300-sxm6-270gb",
    "v100-sxm2-16gb",
    "v100-sxm2-32gb",
    "v100-sxm3-32gb",
    "v100-sxm3-32gb-h",
    "v100-pcie-16gb",
    "v100-pcie-32gb",
    "v100s-pcie-32gb",
    "v100-fhhl-16gb",
    "v100-dgxs-16gb",
    "v100-dgxs-32gb",
    "p100-pcie-12gb",
    "p100-pcie-16gb",
    "p100-sxm2-16gb",
    "p40-pcie-24gb",
    "p4-pcie-8gb",
    "m40-pcie-12gb",
    "m40-pcie-24gb",
    "k80-pcie-12gb",
    "t4-pcie-16gb",
    "l2-pcie-24gb",
    "l4-pcie-24gb",
    "l20-pcie-48gb",
    "l40-pcie-48gb",
    "l40s-pcie-48gb",
    "rtx-a6000-48gb",
    "rtx-6000-ada-48gb",
    "rtx-2080-ti-11gb",
    "rtx-3080-10gb",
    "rtx-3090-24gb",
    "rtx-4090-24gb",
    "rtx-4090-d-24gb",
    "rtx-5090-32gb",
    "cmp-170hx-8gb",
    "cmp-170hx-10gb",
    "cmp-30hx-6gb",
    "cmp-40hx-8gb",
    "cmp-50hx-10gb",
    "cmp-70hx-8gb",
    "cmp-90hx-10gb",
    "cmp-100-200",
    "cmp-100-210",
    "drive-pg199-32gb",
    "pg509-210",
    "pg506-232",
    "a100-pg509-200",
    "rtx-2080-ti-22gb",
    "rtx-4090-48gb",
    "rtx-3080-20gb",
]


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


@pytest.mark.required
def test_lint_is_clean() -> None:
    assert lint() == []


def test_generated_files_are_current(database: Database) -> None:
    products = database.products()
    assert (DATA / "index.json").read_text(encoding="utf-8") == build_index()
    assert database.sha256 == data_digest(file_digests())
    docs = ROOT / "docs"
    texts = {
        "confusables.md": confusables_markdown(products, only_measured()),
        "products.md": products_markdown(products),
        "reference-fields.md": fields_markdown(),
    }
    for name, text in texts.items():
        assert (docs / name).read_text(encoding="utf-8") == text, name


def test_writer_finds_everything_current() -> None:
    script = ROOT / "tests" / "tools" / "generate_refdb.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.parametrize("product_id", DEMANDED)
def test_demanded_product_exists(database: Database, product_id: str) -> None:
    product = database.product(product_id)
    assert product.pci
    assert product.name


def test_every_product_resolves_by_its_own_id_and_unique_aliases(database: Database) -> None:
    for product in database.products():
        assert database.resolve(product.id)[0].id == product.id


def test_families_hold_neighbours_or_reach_them(database: Database) -> None:
    for product in database.products():
        assert [one.id for one in database.neighbours(product)] == list(product.neighbours)


def test_every_value_has_a_dated_public_source(database: Database) -> None:
    sources = load_sources()
    for product in database.products():
        for value in product.values:
            if value.source == FIELD_RUNS:  # each entry of its file is dated
                continue
            source = sources[value.source]
            assert source.date >= "2026-01-01"
            assert value.locator
            assert value.field in FIELDS
            assert source.url.startswith("https://") or value.grade is Grade.COMMUNITY


def test_no_local_names_in_the_data() -> None:
    for path in DATA.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/work|shared/|corpus|gls-|gpud-|nvk8s-|-01\.(txt|xml)", text), path


def test_totals_follow_the_driver_era(database: Database) -> None:
    totals = {
        (value.value, value.driver_min, value.driver_max)
        for value in database.product("a100-sxm4-40gb").get("memory.total_mib")
    }
    assert totals == {(40536, None, 509), (40960, 510, None)}
    ecc = {
        (value.value, value.ecc)
        for value in database.product("l4-pcie-24gb").get("memory.total_mib")
    }
    assert ecc == {(23034, True)}


@pytest.mark.parametrize(
    ("product_id", "field", "expected"),
    [
        ("a100-sxm4-80gb", "clock.memory_max_mhz", {1593}),
        ("a100-sxm4-80gb", "power.limit_default_w", {400, 500}),
        ("a100-sxm4-80gb", "nvlink.link_count", {12}),
        ("a100-sxm4-40gb", "nvlink.link_count", {12}),
        ("a800-sxm4-80gb", "nvlink.link_count", {8}),
        ("h100-sxm5-80gb", "nvlink.link_count", {18}),
        ("h800-sxm5-80gb", "nvlink.link_count", {8}),
        ("h20-sxm5-96gb", "nvlink.link_count", {18}),
        ("h200-sxm5-141gb", "nvlink.link_count", {18}),
        ("v100-sxm2-16gb", "nvlink.link_count", {6}),
        ("b200-sxm6-180gb", "remap.bank_count", {3840}),
        ("gb200-superchip-186gb", "remap.bank_count", {3968}),
        ("gb300-superchip-288gb", "remap.bank_count", {5952}),
        ("rtx-4000-ada-20gb", "remap.bank_count", {96}),
        ("rtx-pro-6000-blackwell-max-q-96gb", "remap.bank_count", {512}),
        ("h100-sxm5-80gb", "remap.bank_count", {2560}),
        ("a100-sxm4-40gb", "remap.bank_count", {640}),
        ("h100-nvl-94gb", "memory.bus_width_bits", {6144}),
        ("p100-pcie-12gb", "memory.bus_width_bits", {3072}),
        ("p100-pcie-16gb", "memory.bus_width_bits", {4096}),
        ("cmp-170hx-8gb", "pci.bar1_mib", {64}),
        ("cmp-170hx-8gb", "gpu.sm_count", {70}),
        ("v100-pcie-16gb", "inforom.image_version", {"G500.0200.00.03"}),
        ("v100-sxm3-32gb", "clock.memory_max_mhz", {958}),
        ("rtx-2080-ti-22gb", "memory.total_mib", {22528}),
    ],
)
def test_values_that_decide_frauds(
    database: Database, product_id: str, field: str, expected: set[object]
) -> None:
    assert {value.value for value in database.product(product_id).get(field)} == expected


def test_h100_sxm_vbios_list_lacks_the_nvl_one(database: Database) -> None:
    assert database.holders("gpu.vbios_version", "96.00.74.00.11") == ("h100-nvl-94gb",)


def test_boards_with_several_gpus(database: Database) -> None:
    assert database.product("k80-pcie-12gb").gpus_per_board == 2
    assert database.product("a16-pcie-16gb").gpus_per_board == 4
    for name in (
        "k80-pcie-12gb",
        "a16-pcie-16gb",
        "gb200-superchip-186gb",
        "gb300-superchip-288gb",
    ):
        assert database.product(name).has("shared-serial")


def test_boards_that_are_shipped_as_another_product(database: Database) -> None:
    assert database.product("pg509-210").sold_as == ("a100-sxm4-80gb",)
    assert database.product("a100-pg509-200").sold_as == ("a100-sxm4-40gb",)
    assert database.product("pg506-232").sold_as == ()


def test_modified_products_are_marked(database: Database) -> None:
    modified = {one.id for one in database.products() if one.status is ProductStatus.MODIFIED}
    assert modified == {"rtx-2080-ti-22gb", "rtx-3080-20gb", "rtx-4090-48gb", "rtx-4090-d-48gb"}


def test_frauds_have_a_discriminator(database: Database) -> None:
    pairs = [
        ("a100-sxm4-80gb", "a100-sxm4-40gb", "clock.memory_max_mhz"),
        ("a100-sxm4-80gb", "a800-sxm4-80gb", "nvlink.link_count"),
        ("a100-sxm4-40gb", "cmp-170hx-10gb", "gpu.sm_count"),
        ("a100-pcie-40gb", "a30-pcie-24gb", "memory.bus_width_bits"),
        ("h100-sxm5-80gb", "h800-sxm5-80gb", "nvlink.link_count"),
        ("h100-sxm5-80gb", "h100-pcie-80gb", "gpu.sm_count"),
        ("v100-pcie-32gb", "v100-pcie-16gb", "memory.nominal_mib"),
        ("rtx-4090-24gb", "rtx-4090-d-24gb", "gpu.sm_count"),
        ("rtx-4090-48gb", "rtx-4090-24gb", "memory.nominal_mib"),
        ("rtx-a6000-48gb", "rtx-3090-24gb", "memory.nominal_mib"),
    ]
    for sold, neighbour, field in pairs:
        assert neighbour in database.product(sold).neighbours
        found = discriminators(database.product(sold), database.product(neighbour))
        assert field in {one.field for one in found}, (sold, neighbour)


def test_labels_are_not_told_apart_by_a_share_of_gibibytes(database: Database) -> None:
    h200, h20 = database.product("h200-sxm5-141gb"), database.product("h20-3e-sxm5-141gb")
    assert "memory.nominal_mib" not in {one.field for one in discriminators(h200, h20)}
