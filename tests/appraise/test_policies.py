"""Policies and sale claims from files: strict, bounded, without a way below the floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import BUILT_IN, load_policy
from gpuverify.errors import MissingInputError, PolicyError, UsageError
from gpuverify.model.claims import Basis
from gpuverify.model.sale import Condition
from gpuverify.refdb import Database

OWN = """
schema = 1
name = "house"
text = "Our own."
neighbours = "cross-checked"
driver_min = 550

[required]
product = "cross-checked"
capacity = "reported"
lattice = "reported"
environment = "cross-checked"
batch = "reported"

[thresholds]
new_note_hours = 150
"""


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_policies_load(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert len(policy.sha256) == 64


def test_screen_never_ends_in_consistent_and_the_others_exclude_neighbours() -> None:
    assert not load_policy("screen").may_be_consistent
    for name in ("standard", "intake"):
        policy = load_policy(name)
        assert policy.may_be_consistent
        assert policy.neighbours is Basis.CROSS_CHECKED
    assert load_policy("intake").required["capacity"] is Basis.MEASURED
    assert load_policy("intake").driver_min == 535


def test_an_own_policy_is_named_by_its_digest(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, OWN))
    assert policy.name == f"custom:{policy.sha256}"
    assert policy.may_be_consistent
    assert policy.thresholds.new_note_hours == 150
    assert policy.thresholds.driver_min == 550


@pytest.mark.parametrize(
    "edit",
    [
        ('neighbours = "cross-checked"', 'neighbours = "none"'),
        ('neighbours = "cross-checked"', 'neighbours = "reported"'),
        ('product = "cross-checked"', 'product = "reported"'),
        ('batch = "reported"\n', ""),
        ('environment = "cross-checked"\n', ""),
        ('environment = "cross-checked"', 'environment = "reported"'),
        ("driver_min = 550", "history_if_new = false"),
        *(
            ("new_note_hours = 150", f"{name} = {number}")
            for name, number in (
                ("new_note_hours", 201),
                ("new_suspect_hours", 10**12),
                ("max_hours_slack", 73),
                ("new_remap_suspect_count", 4),
                ("capacity_slack_percent", 100),
                ("reserved_suspect_bytes", 2**40),
            )
        ),
        ("driver_min = 550", 'optional_rules = ["identity.product"]'),
    ],
)
def test_an_own_policy_below_the_floor_is_never_consistent(
    tmp_path: Path, edit: tuple[str, str]
) -> None:
    assert edit[0] in OWN
    assert not load_policy(write(tmp_path, OWN.replace(*edit))).may_be_consistent


@pytest.mark.parametrize(
    "text",
    [
        OWN.replace('"house"', '"standard"'),
        OWN.replace("schema = 1", "schema = 2"),
        OWN.replace("schema = 1", ""),
        OWN.replace("driver_min = 550", "driver_min = true"),
        OWN.replace("driver_min = 550", 'driver_min = "550"'),
        OWN.replace("driver_min = 550", "surprise = 1"),
        OWN.replace("new_note_hours = 150", "new_note_hours = -1"),
        OWN.replace("new_note_hours = 150", "nonsense = 1"),
        OWN.replace("new_note_hours = 150", "require_signed_module = false"),
        OWN.replace('product = "cross-checked"', 'product = "sure"'),
        OWN.replace('product = "cross-checked"', 'colour = "reported"'),
        OWN.replace("driver_min = 550", 'optional_rules = ["no.such-rule"]'),
        OWN.replace("driver_min = 550", "optional_rules = [1]"),
        OWN.replace("driver_min = 550", 'condition_exit = "sometimes"'),
        "schema = ",
        "\x00",
        "a." * 4000 + "b = 1",
        "x = 1\n" + "#" * 70_000,
    ],
)
def test_bad_policy_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, text))
    assert "own.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_policy_file_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        load_policy(str(tmp_path / "none.toml"))


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


def test_nothing_claimed_is_an_empty_claim(database: Database) -> None:
    assert load_sale_claim(None, None, None, None, database).items == ()


@pytest.mark.parametrize(
    ("memory", "condition", "count"), [("80GB", None, None), (None, "new", None), (None, None, 8)]
)
def test_details_without_a_claim_are_wrong_usage(
    database: Database, memory: str | None, condition: str | None, count: int | None
) -> None:
    with pytest.raises(UsageError, match="--claim"):
        load_sale_claim(None, memory, condition, count, database)


def test_a_claim_names_one_product(database: Database) -> None:
    claim = load_sale_claim("NVIDIA A100-SXM4-80GB", None, "new", 8, database)
    (item,) = claim.items
    assert item.product.id == "a100-sxm4-80gb"
    assert item.condition is Condition.NEW
    assert item.count == 8


def test_a_vague_claim_lists_the_candidates(database: Database) -> None:
    with pytest.raises(UsageError) as caught:
        load_sale_claim("a100", None, None, None, database)
    assert "a100-sxm4-40gb" in str(caught.value)
    assert "a100-sxm4-80gb" in str(caught.value)


@pytest.mark.parametrize("count", [0, -1, 10**9])
def test_a_count_is_bounded(database: Database, count: int) -> None:
    with pytest.raises(UsageError, match="count"):
        load_sale_claim("a100-sxm4-80gb", None, None, count, database)


CLAIM = """
[[item]]
product = "a100-sxm4-80gb"
condition = "used"
count = 2
max_hours = 900

[[item]]
product = "rtx-4090-48gb"
modified = true
"""


def test_a_claim_file(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "sale.toml"
    path.write_text(CLAIM, encoding="utf-8")
    first, second = load_sale_claim(str(path), None, None, None, database).items
    assert (first.product.id, first.count, first.max_hours) == ("a100-sxm4-80gb", 2, 900)
    assert second.product.status.value == "modified"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("modified = true", "modified = false", PolicyError),
        ("count = 2", "count = 0", UsageError),
        ("count = 2", 'count = "2"', PolicyError),
        ("max_hours = 900", "max_hours = -1", PolicyError),
        ('condition = "used"', 'condition = "mint"', PolicyError),
        ("count = 2", "price = 2", PolicyError),
        ('product = "a100-sxm4-80gb"', "", PolicyError),
        ('product = "a100-sxm4-80gb"', 'product = "a100"', UsageError),
    ],
)
def test_bad_claim_files(
    tmp_path: Path, database: Database, old: str, new: str, error: type[Exception]
) -> None:
    path = tmp_path / "sale.toml"
    assert old in CLAIM
    path.write_text(CLAIM.replace(old, new), encoding="utf-8")
    with pytest.raises(error) as caught:
        load_sale_claim(str(path), None, None, None, database)
    assert "sale.toml" in str(caught.value)


def test_a_claim_file_takes_no_further_options(tmp_path: Path, database: Database) -> None:
    with pytest.raises(UsageError, match="claim file"):
        load_sale_claim(str(tmp_path / "sale.toml"), None, "new", None, database)
    with pytest.raises(MissingInputError):
        load_sale_claim(str(tmp_path / "sale.toml"), None, None, None, database)
