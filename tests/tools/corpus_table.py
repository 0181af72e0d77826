"""Print what came out of each read-out of the corpus: `python tests/tools/corpus_table.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "corpus"))

from appraise_corpus import Row, index, judge

from gpuverify.model.verdict import Result
from gpuverify.refdb import Database


def words(result: Result | None) -> str:
    """Sum one result up."""
    if result is None:
        return "-"
    would = f" (would be {result.would_be.value})" if result.would_be else ""
    return f"{result.exit_code} {result.verdict.value}{would}"


def products(row: Row) -> str:
    """Name what was recognised."""
    if row.plain is None:
        return "-"
    found = []
    for device in row.plain.devices:
        ids = [product.id for product in device.recognition.products]
        found.append(" or ".join(ids) or device.recognition.state.value)
    return ", ".join(f"{found.count(name)} x {name}" for name in dict.fromkeys(found))


def main() -> int:
    """Print the table."""
    folder = os.environ.get("GPUVERIFY_CORPUS", "")
    if not folder:
        print("set GPUVERIFY_CORPUS to the folder of read-outs", file=sys.stderr)
        return 66
    database = Database.open()
    for entry in index(Path(folder)):
        row = judge(Path(folder), entry, database)
        condition = sorted({d.condition.value for d in row.plain.devices}) if row.plain else []
        print(
            f"{row.label:8} {row.name:44} {row.refused or products(row):40}"
            f" | none: {words(row.plain):14} | claimed: {words(row.claimed):14}"
            f" | {', '.join(condition)} | accusations: {len(row.accusations(row.claimed))}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
