"""Recognition over other people's read-outs, also with the source of each left out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gpuverify.codec.read import load_path
from gpuverify.model.product import MatchState, Product
from gpuverify.refdb import Database
from gpuverify.refdb.fields import key
from gpuverify.refdb.loader import load_sources

_WHOLE = ("nvidia-smi -q text", "nvidia-smi -q -x")


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


def _rows(corpus: Path) -> list[dict[str, str]]:
    with (corpus / "INDEX.csv").open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["kind"] in _WHOLE]


def _citation(row: dict[str, str]) -> tuple[str, str]:
    """Return source key and path of a read-out, ("", "") where its place is not known."""
    repository, _, rest = row["source"].partition(": ")
    for name, source in load_sources().items():
        if source.url == f"https://github.com/{repository}":
            return name, rest.split(" (")[0].strip()
    return "", ""


def _names(product: Product) -> set[str]:
    return {key("gpu.name", value.value) for value in product.get("gpu.name")}


def test_every_readable_card_is_recognised(database: Database, corpus: Path) -> None:
    count = 0
    for row in _rows(corpus):
        if row["class"] == "unknown":
            continue
        for device in load_path(str(corpus / row["file"])).devices:
            found = database.recognise(device.claims)
            if found.state is MatchState.UNREADABLE:
                continue
            name = device.claims.value("gpu.name")
            assert found.product is not None, row["file"]
            assert key("gpu.name", str(name)) in _names(found.product), row["file"]
            count += 1
    assert count > 100


def test_nothing_turns_into_another_product_without_its_source(
    database: Database, corpus: Path
) -> None:
    for row in _rows(corpus):
        source, path = _citation(row)
        if not source or row["class"] == "unknown":
            continue
        smaller = database.without_source(source, path)
        for device in load_path(str(corpus / row["file"])).devices:
            before = database.recognise(device.claims)
            after = smaller.recognise(device.claims)
            assert before.product is not None or not before.products
            if after.product is not None:
                assert after.product.id == getattr(before.product, "id", None), row["file"]
