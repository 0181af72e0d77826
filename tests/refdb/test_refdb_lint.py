"""The lint finds what is planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuverify.errors import ReferenceDataError
from gpuverify.refdb.fields import FIELDS, problem
from gpuverify.refdb.index import build_index
from gpuverify.refdb.lint import lint
from gpuverify.refdb.loader import DATA, load_family, load_sources, parse_identity

SPARE = """[spare]
title = "t"
publisher = "p"
kind = "community"
url = ""
date = "2026-11-21"

[gls]"""

Plant = Callable[[str, str, str], list[str]]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    folder = tmp_path / "data"
    shutil.copytree(DATA, folder)

    def planted(name: str, old: str, new: str) -> list[str]:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return lint(folder)

    return planted


def test_copy_is_clean(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    assert lint(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"92.00.9E.00.02"', '"92.00.9E.00.02(SXM)"', "atomic"),
        ('"92.00.9E.00.02"', '"not found (92.00)"', "atomic"),
        ('"92.00.9E.00.02"', '"92.00.9E.00.02, 92.00.9E.00.03"', "atomic"),
        ('"692-2G506-0212-005"', '"692-2G506-0212-0xx"', "atomic"),
        ("{ v = 1593,", "{ v = 15930000,", "out of range"),
        ("{ v = 1593,", '{ v = "1593",', "holds int"),
        ("{ v = true,", "{ v = 1,", "holds bool"),
        ("min = 510", "min = 51", "driver range"),
        ("max = 509", "max = 509, min = 600", "driver range"),
        ('"remap.bank_count"', '"remap.banks"', "unknown field"),
        ('chip = "GA100"', 'chip = "GA100"\ncolour = "black"', "unknown key colour"),
        ('form = "sxm"', 'form = "brick"', "unknown form"),
        ('status = "retail"', 'status = "stolen"', "unknown status"),
        ('cooling = "passive"', 'cooling = "hope"', "unknown cooling"),
        ('"row-remap"]', '"row-remap", "gold"]', "unknown trait"),
        ('id = "ax800"', 'id = "pg506-232"', "stands twice"),
        ('"a800-sxm4-40gb", "cmp', '"a900-sxm4-40gb", "cmp', "no product a900"),
        ('by = "a b" }', 'by = "a zz" }', "not in the cite table"),
        ('by = "a b" }', 'by = "" }', "v, by and perhaps"),
        ('a = ["azhpc-diagnostics"', 'a = ["nobody"', "no source 'nobody'"),
        ('a = ["azhpc-diagnostics", "', 'a = ["azhpc-diagnostics"]\n#', "not [source, locator]"),
        ('"20B0:10DE:134F" =', '"20b0:10de:134f" =', "PCI ids"),
        ('"20B0-884-A1"', '"20B9-884-A1"', "not its own"),
        ('sold_as = ["a100-sxm4-80gb"]\n', "", "sold_as"),
        ('family = "ga100"', 'family = "other"', "family is"),
        (
            'memory_labels = ["40GB"]',
            'memory_labels = ["40GB"]\ngpus_per_board = 2',
            "board_memory",
        ),
        ('"20B0:10DE:1450" = "a"', '"20B6:10DE:1492" = "a"', "share"),
        ('name = "NVIDIA A100-SXM4-40GB"', 'name = "Something"', "index.json is not current"),
    ],
)
def test_planted_fault_is_found(plant: Plant, old: str, new: str, said: str) -> None:
    problems = plant("ga100.toml", old, new)
    assert any(said in problem for problem in problems), problems


def test_twice_the_same_value(plant: Plant) -> None:
    row = '{ v = 1410, by = "a b" }'
    problems = plant("ga100.toml", row, f"{row}, {row}")
    assert any("stands twice" in problem for problem in problems)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('date = "2026-11-21"', 'date = "yesterday"', "is not a day"),
        ('kind = "vendor-document"', 'kind = "rumour"', "sources.toml"),
        ('url = "https://github.com/thamada/gls"', 'url = "disk"', "needs an https address"),
        ("[gls]", SPARE, "spare is not used"),
    ],
)  # fmt: skip
def test_planted_source_fault(plant: Plant, old: str, new: str, said: str) -> None:
    problems = plant("sources.toml", old, new)
    assert any(said in problem for problem in problems), problems


def test_a_pair_without_discriminator_needs_a_reason(plant: Plant) -> None:
    problems = plant("refdb.toml", 'neighbour = "titan-v-ceo-32gb"', 'neighbour = "t4-pcie-16gb"')
    assert any("nothing on file separates quadro-gv100" in problem for problem in problems)
    assert any("has no neighbour t4-pcie-16gb" in problem for problem in problems)


def test_broken_files_are_said(plant: Plant) -> None:
    assert "refdb.toml" in plant("refdb.toml", "version =", "version ==")[0]


def test_loading_refuses_what_lint_would(tmp_path: Path) -> None:
    kinds = {name: source.kind for name, source in load_sources().items()}
    path = tmp_path / "ga100.toml"
    text = (DATA / "ga100.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("{ v = 1593,", "{ v = 1,", 1), encoding="utf-8")
    with pytest.raises(ReferenceDataError, match="out of range"):
        load_family(path, kinds)
    path.write_text("not toml", encoding="utf-8")
    with pytest.raises(ReferenceDataError, match="not valid TOML"):
        load_family(path, kinds)
    with pytest.raises(ReferenceDataError, match="cannot read"):
        load_family(tmp_path / "none.toml", kinds)


def test_index_does_not_depend_on_the_day_or_the_order() -> None:
    assert build_index() == build_index()


def test_identity_shapes() -> None:
    assert parse_identity("20B2:10DE:147F").subsystem_device_id == 0x147F
    assert parse_identity("2684").subsystem_vendor_id is None
    for text in ("20B2:10DE", "20b2", "20B2:10DE:147F:0", ""):
        with pytest.raises(ValueError, match="PCI ids"):
            parse_identity(text)


def test_every_field_has_a_shape() -> None:
    for name, spec in FIELDS.items():
        assert spec.text
        if spec.type is str:
            assert spec.pattern, name
        if spec.type is int:
            assert spec.high > spec.low, name
    assert problem("gpu.sm_count", 108) == ""
    assert "out of range" in problem("gpu.sm_count", 0)
    assert "holds int" in problem("gpu.sm_count", True)
