"""Appraise other people's read-outs and say what came out of each; used by a test and a table."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gpuverify.appraise import appraise
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.read import load_path
from gpuverify.errors import FormatError
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.sale import SaleClaim, SaleItem
from gpuverify.model.verdict import Result
from gpuverify.refdb import Database

NOW_MS = 1_800_000_000_000
ACCUSING = (Outcome.WARN, Outcome.FAIL)


@dataclasses.dataclass(frozen=True)
class Row:
    """One read-out of the corpus.

    Attributes:
        name: File name.
        kind: What INDEX.csv calls it.
        label: genuine, odd, faulty or unknown, by INDEX.csv.
        source: Repository and path, by INDEX.csv.
        refused: The error, where the file could not be read.
        plain: Result without a claim.
        claimed: Result with the recognised product claimed, None where none was recognised.
    """

    name: str
    kind: str
    label: str
    source: str
    refused: str
    plain: Result | None
    claimed: Result | None

    def findings(self, result: Result | None) -> Iterator[Finding]:
        """All findings of a result."""
        if result is not None:
            for device in result.devices:
                yield from device.findings
            yield from result.batch.findings

    def accusations(self, result: Result | None) -> list[Finding]:
        """Findings of warn or fail on the identity axis."""
        return [
            finding
            for finding in self.findings(result)
            if finding.axis is Axis.IDENTITY and finding.outcome in ACCUSING
        ]


def index(corpus: Path) -> list[dict[str, str]]:
    """The rows of INDEX.csv that are read-outs of nvidia-smi -q."""
    with (corpus / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["kind"].startswith("nvidia-smi -q")]


def claim_of(result: Result) -> SaleClaim:
    """Claim what was recognised: one item a product."""
    products = {
        device.recognition.product.id: device.recognition.product
        for device in result.devices
        if device.recognition.product is not None
    }
    return SaleClaim(items=tuple(SaleItem(product=products[key]) for key in sorted(products)))


def judge(corpus: Path, row: dict[str, str], database: Database) -> Row:
    """Appraise one file, without a claim and with the recognised product claimed."""
    policy = load_policy("standard")
    plain = claimed = None
    refused = ""
    try:
        evidence = load_path(str(corpus / row["file"]))
    except FormatError as error:
        refused = str(error)
    else:
        plain = appraise(evidence, SaleClaim(), policy, database, now_ms=NOW_MS)
        sale = claim_of(plain)
        if sale.items:
            claimed = appraise(evidence, sale, policy, database, now_ms=NOW_MS)
    return Row(
        name=row["file"],
        kind=row["kind"],
        label=row["class"],
        source=row["source"],
        refused=refused,
        plain=plain,
        claimed=claimed,
    )
