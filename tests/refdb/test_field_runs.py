"""Field runs: taken in strictly, merged the same in any order, and lawful in what they change."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "rules"))

from measured_field_runs import DRIVERS, KERNELS, PRODUCT, VALUES, document, encoded

from gpuverify.cli.field_runs import cards_text, shown_text, take_in
from gpuverify.collect.selftest import SCHEMA as WRITTEN_SCHEMA
from gpuverify.collect.selftest import pack_digests
from gpuverify.errors import FormatError, OutputError, ReferenceDataError
from gpuverify.model.product import EMULATED_ONLY, Validation
from gpuverify.model.rates import RATES
from gpuverify.refdb import Database
from gpuverify.refdb.field_data import (
    MIN_CARDS,
    CardRun,
    band,
    card_digest,
    read_field_data,
    validation,
    write_field_data,
)
from gpuverify.refdb.field_run import SCHEMA, FieldCard, merged, read_field_run
from gpuverify.refdb.index import build_index
from gpuverify.refdb.lint import lint
from gpuverify.refdb.loader import DATA

READ = "rate.memory_read_kb_s"
FMA = "rate.fp32_fma_per_clock_per_sm"


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def cards(database: Database, *documents: Mapping[str, Any]) -> list[FieldCard]:
    return [
        card
        for number, one in enumerate(documents)
        for card in read_field_run(encoded(one), f"{number}.json", database.recognise, KERNELS)
    ]


def five(database: Database) -> list[FieldCard]:
    return cards(database, *(document(number) for number in range(5)))


def tried(folder: Path, field: str = READ, product: str = PRODUCT) -> Validation:
    (value, *_) = Database.open(folder).product(product).get(field)
    assert value.validation is not None
    return value.validation


def test_the_writer_and_the_reader_mean_one_schema() -> None:
    assert WRITTEN_SCHEMA == SCHEMA


def test_the_loop(database: Database, folder: Path) -> None:
    """Five cards narrow the bands; the data stays sound; the index knows the file."""
    before = Database.open(folder)
    assert before.product(PRODUCT).get(READ) == ()
    assert tried(folder, FMA) == EMULATED_ONLY
    take_in(five(database), folder)
    assert lint(folder) == []
    assert (folder / "index.json").read_text(encoding="utf-8") == build_index(folder)
    found = tried(folder)
    assert str(found) == "field-run (5 cards, drivers 535.129.03 to 570.86.15)"
    rates = [document(number)["cards"][0]["measured"][RATES[READ].claim] for number in range(5)]
    assert found.band is not None
    assert found.band[0] < min(rates) < max(rates) < found.band[1]
    (fma, *_) = Database.open(folder).product(PRODUCT).get(FMA)
    assert (fma.value, fma.source) == (64, "nvidia-cuda-guide")
    assert fma.validation is not None
    assert fma.validation.band is not None
    assert fma.validation.band[0] > 64_000 * 85 // 100
    after = Database.open(folder)
    assert after.sha256 != before.sha256
    others = [one for one in after.products() if one.id != PRODUCT]
    assert others == [one for one in before.products() if one.id != PRODUCT]


def test_leaving_field_runs_out(database: Database, folder: Path) -> None:
    take_in(five(database), folder)
    for part in ("", f"{PRODUCT}.toml"):
        smaller = Database.open(folder).without_source("field-runs", part)
        assert smaller.products() == database.products()
    kept = Database.open(folder).without_source("nvidia-cuda-guide").product(PRODUCT).get(FMA)
    assert [(one.value, one.source) for one in kept] == [(64, "field-runs")]


def test_four_cards_or_one_driver_narrow_nothing(database: Database, folder: Path) -> None:
    take_in(five(database)[:4], folder)
    assert tried(folder).band is None
    assert str(tried(folder)) == "field-run (4 cards, drivers 535.129.03 to 570.86.15)"
    shutil.rmtree(folder / "field-runs")
    same = [document(number, driver="550.54.14") for number in range(7)]
    take_in(cards(database, *same), folder)
    assert tried(folder).band is None
    assert str(tried(folder)) == "field-run (7 cards, driver 550.54.14)"
    assert lint(folder) == []


def test_the_same_files_in_any_order_give_the_same_bytes(database: Database, folder: Path) -> None:
    found = five(database)
    take_in(found, folder)
    path = folder / "field-runs" / f"{PRODUCT}.toml"
    text = path.read_bytes()
    for seed in range(5):
        shutil.rmtree(folder / "field-runs")
        shuffled = random.Random(seed).sample(found, 5)
        take_in(shuffled[:2], folder)
        take_in(shuffled[2:], folder)
        assert path.read_bytes() == text
    data = read_field_data(path, PRODUCT)
    assert write_field_data(data).encode() == text


def test_a_card_counts_once(database: Database, folder: Path) -> None:
    found = five(database)
    take_in(found[:2], folder)
    before = (folder / "field-runs" / f"{PRODUCT}.toml").read_bytes()
    again = cards(database, document(1, driver="580.65.06"))
    with pytest.raises(FormatError, match="this very card"):
        take_in([found[3], *again], folder)
    with pytest.raises(FormatError, match="this very card"):
        take_in([found[2], found[2]], folder)
    assert (folder / "field-runs" / f"{PRODUCT}.toml").read_bytes() == before


Change = Callable[[dict[str, Any]], None]


def put(*path: Any) -> Change:
    """Change one value of a document; the last word is the value, ... to take it out."""

    def changed(tree: dict[str, Any]) -> None:
        *keys, last, value = path
        part: Any = tree
        for key in keys:
            part = part[key]
        if value is ...:
            del part[last]
        else:
            part[last] = value

    return changed


YES, NO = (True, False)


def measured(name: str, value: Any) -> Change:
    return put("cards", 0, "measured", name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("origin", "emulated-or-played-back"), "emulated or played back"),
        (put("origin", "Real"), "emulated or played back"),
        (put("level", "quick"), "not measured in full"),
        (put("level", None), "not measured in full"),
        (put("driver", None), "driver version is not known"),
        (put("driver", "five"), "driver version is not known"),
        (put("kernels", "base", "ab" * 32), "other kernels"),
        (put("cards", 0, "card", None), "which card it is"),
        (put("cards", 0, "seen", "pci.device_id", 0x1234), "no single product"),
        (put("cards", 0, "seen", {}), "no single product"),
        (measured("measure.state", "timed-out"), "did not finish"),
        (measured("measure.foreign_processes", 1), "others used"),
        (measured("measure.foreign_processes", ...), "others used"),
        (measured("measure.attributed", NO), "did the work"),
        (measured("fingerprint.valid", NO), "came out wrong"),
        (measured("fingerprint.valid", ...), "came out wrong"),
        (measured("fingerprint.clock_agreement_ppm", 20_001), "clocks do not agree"),
        (measured("fingerprint.clock_agreement_ppm", ...), "clocks do not agree"),
        (measured("capacity.class", "folded"), "memory was not shown"),
        (measured("capacity.tested_bytes", 40 << 30), "less memory was tested"),
        (measured("fingerprint.sm_count", 70), "70 multiprocessors"),
        (measured("fingerprint.sm_count", ...), "no multiprocessors"),
        (measured("fingerprint.throttle_reasons", "none,hw_thermal_slowdown"), "for heat"),
        (measured("fingerprint.memory_read_kb_s", 2_150_000_000), "faster than"),
        (measured("fingerprint.memory_read_kb_s", 17), "out of range"),
        (measured("fingerprint.fp32_fma_milliops", -1), "out of range"),
    ],
)
def test_near_misses_are_shown_and_not_taken_in(
    database: Database, folder: Path, change: Change, said: str
) -> None:
    tree = document(3)
    change(tree)
    found = cards(database, tree)
    assert any(said in reason for reason in found[0].refused), found[0].refused
    assert said in cards_text(found)
    shown_text(found)
    with pytest.raises(FormatError, match="not taken in"):
        take_in([*five(database)[:2], *found], folder)
    assert not (folder / "field-runs").exists()
    with pytest.raises(FormatError, match="not taken in"):
        merged(None, PRODUCT, found)


def test_a_file_without_faults_is_taken_in(database: Database) -> None:
    (card,) = cards(database, document(3))
    assert card.refused == ()
    assert (card.product, card.driver) == (PRODUCT, DRIVERS[0])
    assert set(card.values) == {name for name in RATES if RATES[name].claim in VALUES}


@pytest.mark.parametrize(
    "change",
    [
        put("schema", "gpuverify/field-run/v2"),
        put("schema", 1),
        put("origin", ...),
        put("tool", "x" * 201),
        put("tool", "gpuverify \u202e"),
        put("more", 1),
        put("recorded_ms", "now"),
        put("recorded_ms", YES),
        put("recorded_ms", 12),
        put("kernels", {}),
        put("kernels", {"base": "short"}),
        put("kernels", []),
        put("cards", []),
        put("cards", [1]),
        put("cards", {}),
        put("cards", 0, "card", "AB" * 32),
        put("cards", 0, "card", 7),
        put("cards", 0, "name", "x"),
        put("cards", 0, "absent", {"gpu.uuid": 3}),
        put("cards", 0, "absent", {"no.such": "x"}),
        put("cards", 0, "seen", {"gpu.uuid": "GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b52"}),
        put("cards", 0, "seen", {"gpu.serial": "1652823055647"}),
        put("cards", 0, "cuda", {"driver.version": "550.54.14"}),
        put("cards", 0, "cuda", {"no.such.claim": 1}),
        measured("fingerprint.sm_count", "108"),
        measured("fingerprint.sm_count", YES),
        measured("measure.state", "done\x1b[2J"),
        measured("measure.state", ["done"]),
    ],
)
def test_hostile_files_are_refused(database: Database, change: Change) -> None:
    tree = document(3)
    change(tree)
    with pytest.raises(FormatError):
        cards(database, tree)


def test_hostile_bytes_are_refused(database: Database) -> None:
    good = encoded(document(3))
    for data in (
        b"",
        b"null",
        b"[]",
        good[:-9],
        good + b"{}",
        good.replace(b'"level"', b'"level": "full", "level"'),
        good.replace(b"108", b"108.5"),
        b"[" * 100_000,
        b" " * ((1 << 20) + 1),
    ):
        with pytest.raises(FormatError):
            read_field_run(data, "x", database.recognise, KERNELS)


def test_no_folder_is_no_place_to_write_to(database: Database, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        take_in(five(database), tmp_path / "none")


def test_other_kernels_cannot_be_compared(database: Database, folder: Path) -> None:
    take_in(five(database)[:2], folder)
    other = document(3)
    other["kernels"] = {**KERNELS, "base": "cd" * 32}
    found = read_field_run(encoded(other), "new", database.recognise, other["kernels"])
    with pytest.raises(FormatError, match="cannot be compared"):
        take_in(found, folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f'product = "{PRODUCT}"', 'product = "a100-pcie-40gb"', "is of product"),
        ('driver = "', 'driver = "x', "another shape"),
        ('card = "', 'card = "0', "another shape"),
        (f'"{READ}" = ', f'"{READ}" = -', "out of range"),
        (f'"{READ}"', '"memory.total_mib"', "no rate"),
        ('day = "2026', 'day = "2096', "a day to come"),
        ("[run.values]", "[run.valeus]", "keys have to be"),
        ("# What real", "# what real", "is not as gpuverify"),
        ("[kernels]\n", '[kernels]\nmore = "1"\n', "SHA-256"),
    ],
)
def test_lint_finds_planted_faults(
    database: Database, folder: Path, old: str, new: str, said: str
) -> None:
    take_in(five(database), folder)
    path = folder / "field-runs" / f"{PRODUCT}.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    problems = lint(folder)
    assert any(said in problem for problem in problems), problems
    if said in ("another shape", "out of range", "is of product"):
        with pytest.raises(ReferenceDataError):
            Database.open(folder).product(PRODUCT)


def test_lint_knows_the_products_and_the_index(database: Database, folder: Path) -> None:
    take_in(five(database), folder)
    runs = folder / "field-runs"
    shutil.copy(runs / f"{PRODUCT}.toml", runs / "voodoo-2.toml")
    assert any("no product voodoo-2" in problem for problem in lint(folder))
    (runs / "voodoo-2.toml").unlink()
    (runs / f"{PRODUCT}.toml").unlink()
    assert any("index.json is not current" in problem for problem in lint(folder))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('validation = "emulated-only"', 'validation = "field-run (9 cards)"', "field runs say"),
        (', validation = "emulated-only"', "", "validation has to be"),
        ("{ v = 1593,", '{ validation = "emulated-only", v = 1593,', "only what a timing"),
        ('chips = ["GA100"]', 'chips = ["GA100", "GA100"]', "as well"),
        ('id = "8.0"', 'id = "8.1"', "has to say so"),
        ('rates_apart = ["rate.fp64', 'rates_apart = ["rate.fp46', "is no rate"),
        ('rates_apart = ["rate.fp64', 'rates_apart = ["rate.fp32', "is stated too"),
        ('"rate.fp32_lanes_per_sm" =', '"gpu.core_count" =', "is no rate"),
        ('chips = ["GA100"]', 'chips = ["GA100"]\nmore = 1', "keys have to be"),
        ("[capability.values]", "more = 1\n[capability.values]", "is not [source, locator]"),
        ('b = ["nvidia-a100-whitepaper"', 'c = ["nvidia-a100-whitepaper"', "not in the cite"),
    ],
)
def test_lint_covers_the_rates_of_a_capability(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "ga100.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    problems = lint(folder)
    assert any(said in problem for problem in problems), problems


def test_what_ships_was_measured_by_what_ships() -> None:
    """Field runs of other kernels would be compared with values that they cannot be."""
    for path in (DATA / "field-runs").glob("*.toml"):
        assert dict(read_field_data(path, path.stem).kernels) == pack_digests()


def test_every_chip_of_a_family_has_its_rates(database: Database) -> None:
    """What the packs can measure (7.0 and later) has a reference, or is named as apart."""
    for product in database.products():
        stated = {value.field for value in product.values}
        if product.architecture in ("Kepler", "Maxwell"):
            assert "rate.compute_capability" not in stated
            continue
        (capability, *_) = product.get("rate.compute_capability")
        assert product.get("rate.fp32_lanes_per_sm"), product.id
        known = {value.value for value in product.get("gpu.compute_capability")}
        assert not known or known == {capability.value}, product.id
    h20 = database.product("h20-sxm5-96gb")
    assert not h20.get("rate.fp64_fma_per_clock_per_sm")
    cmp = database.product("cmp-170hx-8gb")
    assert [one.value for one in cmp.get(FMA)] == [2, 64]
    for one in database.products():
        counts, each, cores = (
            {value.value for value in one.get(field) if isinstance(value.value, int)}
            for field in ("gpu.sm_count", "rate.fp32_lanes_per_sm", "gpu.core_count")
        )
        assert (
            not (counts and each and cores)
            or {count * lanes for count in counts for lanes in each} & cores
        ), one.id


rates = st.lists(st.integers(1, 10**12), min_size=1, max_size=12)


@given(values=rates, more=st.integers(1, 10**12), spread=st.sampled_from([5, 22, 100]))
def test_a_further_card_never_makes_a_band_smaller(
    values: list[int], more: int, spread: int
) -> None:
    low, high = band(values, spread)
    assert low <= min(values) <= max(values) <= high
    wider = band([*values, more], spread)
    assert wider[0] <= low
    assert high <= wider[1]


@given(values=st.lists(st.integers(10**6, 10**11), min_size=1, max_size=9), seed=st.integers())
def test_every_card_taken_in_lies_inside(values: list[int], seed: int) -> None:
    """Adding a field run makes no fault of a value that a good card showed, nor hides one."""
    runs = [
        CardRun(
            card=card_digest(str(number)),
            driver=DRIVERS[number % 2],
            day="2026-11-20",
            values={READ: value},
        )
        for number, value in enumerate(values)
    ]
    random.Random(seed).shuffle(runs)
    before: tuple[int, int] | None = None
    for count in range(1, len(runs) + 1):
        found = validation(READ, runs[:count])
        assert found is not None
        now = found[0].band
        if count < MIN_CARDS:
            assert now is None
        elif now is not None:
            assert all(now[0] <= run.values[READ] <= now[1] for run in runs[:count])
            if before is not None:
                assert now[0] <= before[0]
                assert before[1] <= now[1]
            before = now


def test_the_document_of_these_tests_is_what_selftest_writes() -> None:
    tree = copy.deepcopy(document(1))
    assert json.loads(encoded(tree)) == tree
