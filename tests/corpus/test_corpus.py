"""Every real read-out: no fault, no accusation of an honest card, nothing odd called stock.

The read-outs are other people's (GPUVERIFY_CORPUS); tests/cases runs the same checks on our own.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from appraise_corpus import NOW_MS, Row, index, judge

from gpuverify import refdb
from gpuverify.appraise import appraise
from gpuverify.appraise.policies import load_policy
from gpuverify.codec import toml
from gpuverify.codec.read import load_path
from gpuverify.model.finding import Axis, Outcome
from gpuverify.model.product import MatchState
from gpuverify.model.sale import SaleClaim, SaleItem
from gpuverify.model.verdict import Verdict
from gpuverify.refdb import Database

pytestmark = pytest.mark.required
ACCUSED = (Verdict.SUSPECT, Verdict.MISMATCH)


@pytest.fixture(scope="session")
def database() -> Database:
    return Database.open()


@pytest.fixture(scope="session")
def rows(corpus: Path, database: Database) -> list[Row]:
    return [judge(corpus, row, database) for row in index(corpus)]


def of(rows: list[Row], *labels: str) -> list[Row]:
    found = [row for row in rows if row.label in labels]
    assert found
    return found


def judged(row: Row) -> list[Verdict]:
    verdicts = []
    for result in (row.plain, row.claimed):
        if result is not None:
            verdicts.append(result.would_be or result.verdict)
            verdicts += [device.would_be or device.verdict for device in result.devices]
    return verdicts


def test_every_read_out_appraises_or_is_refused_as_truncated(rows: list[Row]) -> None:
    assert len(rows) >= 55
    refused = [row.name for row in rows if row.refused]
    assert all("excerpt" in row.kind or "xml" in row.name for row in rows if row.refused), refused


def test_no_honest_card_is_accused(rows: list[Row]) -> None:
    for row in of(rows, "genuine"):
        for result in (row.plain, row.claimed):
            assert [(f.rule, f.code, f.message) for f in row.accusations(result)] == [], row.name
        assert not set(judged(row)) & set(ACCUSED), row.name


def test_no_log_is_ever_consistent(rows: list[Row]) -> None:
    for row in rows:
        for result in (row.plain, row.claimed):
            assert result is None or result.verdict is not Verdict.CONSISTENT


def full(row: Row) -> bool:
    return row.kind in ("nvidia-smi -q text", "nvidia-smi -q -x")


# Owner-masked read-outs, or cards on which the driver answers N/A to everything.
MASKED = ("gpud-a10g", "gls-a10g", "pai-gt730")


def test_full_read_outs_are_recognised(rows: list[Row], corpus: Path) -> None:
    for row in of(rows, "genuine", "odd", "faulty"):
        if not full(row) or row.plain is None:
            continue
        for device in row.plain.devices:
            state = device.recognition.state
            if row.name.startswith(MASKED) or state is MatchState.UNREADABLE:
                text = (corpus / row.name).read_text("utf-8", "replace")
                device_line = [
                    line
                    for line in text.splitlines()
                    if "pci_device_id" in line or "Device Id " in line
                ]
                masked = not device_line or any(
                    word in line
                    for line in device_line
                    for word in ("REDACTED", "XX", "0000", "N/A")
                )
                assert masked, f"{row.name}: {device_line}"
            else:
                assert device.recognition.product is not None, row.name


def test_faulty_cards_have_a_condition_or_history_finding_and_no_accusation(
    rows: list[Row],
) -> None:
    for row in of(rows, "faulty"):
        seen = [
            finding
            for finding in row.findings(row.plain)
            if finding.axis in (Axis.CONDITION, Axis.HISTORY)
            and finding.outcome in (Outcome.NOTE, Outcome.WARN, Outcome.FAIL)
        ]
        assert seen, row.name
        assert not set(judged(row)) & set(ACCUSED), row.name


def test_odd_cards_are_what_they_are_or_unknown(rows: list[Row]) -> None:
    for row in of(rows, "odd"):
        assert not set(judged(row)) & set(ACCUSED), row.name


def _source_of(row: Row) -> list[str]:
    """Keys of the sources of the reference data that are this read-out's repository."""
    path = Path(refdb.__file__).parent / "data" / "sources.toml"
    repository = row.source.split(":")[0].strip().lower()
    return [
        key
        for key, source in toml.loads(path.read_bytes(), "sources").items()
        if repository and str(source["url"]).lower().rstrip("/").endswith("/" + repository)
    ]


def test_leave_one_source_out(rows: list[Row], corpus: Path, database: Database) -> None:
    """Without everything that was learned from its repository, no honest card is accused."""
    policy = load_policy("standard")
    smaller: dict[str, Database] = {}
    tried = 0
    for row in of(rows, "genuine", "odd"):
        keys = _source_of(row)
        if row.plain is None or not keys:
            continue
        name = "+".join(keys)
        if name not in smaller:
            reduced = database
            for key in keys:
                reduced = reduced.without_source(key)
            smaller[name] = reduced
        reduced = smaller[name]
        evidence = load_path(str(corpus / row.name))
        items = row.claimed.devices if row.claimed is not None else ()
        ids = sorted({d.sale.product.id for d in items if d.sale is not None})
        sale = SaleClaim(items=tuple(SaleItem(product=reduced.product(i)) for i in ids))
        for claim in (SaleClaim(), sale):
            result = appraise(evidence, claim, policy, reduced, now_ms=NOW_MS)
            blamed = [
                (f.rule, f.code, f.message)
                for device in result.devices
                for f in device.findings
                if f.axis is Axis.IDENTITY and f.outcome in (Outcome.WARN, Outcome.FAIL)
            ]
            assert blamed == [], f"{row.name} without {name}"
            assert (result.would_be or result.verdict) not in ACCUSED
        tried += 1
    assert tried >= 30


def test_order_of_claims_is_irrelevant(rows: list[Row], corpus: Path, database: Database) -> None:
    policy = load_policy("standard")
    for row in of(rows, "genuine")[:6]:
        evidence = load_path(str(corpus / row.name))
        turned = dataclasses.replace(
            evidence,
            devices=tuple(
                dataclasses.replace(
                    device, claims=type(device.claims)(tuple(reversed(device.claims.claims)))
                )
                for device in evidence.devices
            ),
        )
        first = appraise(evidence, SaleClaim(), policy, database, now_ms=NOW_MS)
        second = appraise(turned, SaleClaim(), policy, database, now_ms=NOW_MS)
        strip: Callable[[object], list[object]] = lambda result: [  # noqa: E731
            (device.verdict, device.findings, device.reasons)
            for device in result.devices  # type: ignore[attr-defined]
        ]
        assert strip(first) == strip(second)
