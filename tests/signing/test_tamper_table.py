"""The tamper table: what is done to a report, and the exact code that it is refused with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tamper_beside
import tamper_envelope
import tamper_statement
from report_support import demands, world
from tamper_envelope import Row, Try

from gpuverify.codec import fast_json, report_json
from gpuverify.model.refusal import Refusal
from gpuverify.model.verification import StageState, Verification
from gpuverify.signing.verify import verify_envelope

pytestmark = pytest.mark.required

MODULES = (tamper_envelope, tamper_statement, tamper_beside)
REJECTED: tuple[Row, ...] = tuple(row for module in MODULES for row in module.REJECTED)
ACCEPTED: tuple[Row, ...] = tuple(row for module in MODULES for row in module.ACCEPTED)
BEFORE_THE_KEY = {
    "E_SIGNATURE", "E_UNKNOWN_KEY", "E_UNSIGNED", "E_ENVELOPE", "E_FORMAT",
}  # fmt: skip


def done(made: Try | bytes) -> Verification:
    case = Try(made) if isinstance(made, bytes) else made
    return verify_envelope(
        case.data, "report.json", case.demands or demands(), case.world or world()
    )


@pytest.fixture(params=["fast", "strict"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read with the fast extra, and as if it were not installed."""
    if request.param == "strict":
        monkeypatch.setattr(report_json, "loads", fast_json.strict_loads)
    return str(request.param)


@pytest.mark.parametrize("row", REJECTED, ids=[row[0] for row in REJECTED])
@pytest.mark.usefixtures("path")
def test_is_refused_with_its_code(row: Row, tmp_path: Path) -> None:
    name, expected, make = row
    found = done(make(tmp_path))
    assert found.refusal is not None, name
    assert (found.refusal.value, name) == (expected, name), found.message
    assert found.exit_code == found.refusal.exit_code
    assert found.exit_code in (4, 65)
    assert found.message.startswith(f"{expected}: ")
    assert "\n" not in found.message
    refused = [one for one in found.stages if one.state is StageState.REFUSED]
    assert len(refused) == 1
    assert refused[0].note
    assert found.result is None
    if expected in BEFORE_THE_KEY:
        assert found.report is None
        assert found.keyid == ""


@pytest.mark.parametrize("row", ACCEPTED, ids=[row[0] for row in ACCEPTED])
@pytest.mark.usefixtures("path")
def test_is_accepted(row: Row, tmp_path: Path) -> None:
    name, _, make = row
    found = done(make(tmp_path))
    assert found.refusal is None, f"{name}: {found.message}"
    assert found.report is not None
    assert found.result is not None
    assert found.payload_sha256
    assert found.keyid.startswith("SHA256:")
    assert not any(one.state is StageState.REFUSED for one in found.stages)


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    assert len(REJECTED) >= 130
    assert len(ACCEPTED) >= 30
    names = [row[0] for row in (*REJECTED, *ACCEPTED)]
    assert len(set(names)) == len(names)


def test_every_code_that_a_document_can_earn_stands_in_the_table() -> None:
    elsewhere = {"E_TRUST", "E_SET", "E_HWATT"}  # the store; sets; device-signed evidence
    told = {row[1] for row in REJECTED}
    assert told == {refusal.value for refusal in Refusal} - elsewhere
