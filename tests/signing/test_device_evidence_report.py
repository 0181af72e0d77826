"""Attestation evidence inside signed reports: carried verbatim, verified again, refused by E_HWATT."""

from __future__ import annotations

import base64
import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "device_evidence"))

import attestation_support as made
from report_support import BASE_S, dated, demands, payload_of, reports, seller, terms, world
from test_attestation_appraisal import (
    CHAIN,
    CHALLENGE,
    REPORT,
    certificate_claim,
    machine,
    signed_by,
    with_claims,
)

from gpuverify.codec.report_json import load_statement
from gpuverify.device_evidence.attach import attach
from gpuverify.model.claims import Basis
from gpuverify.model.evidence import Evidence
from gpuverify.model.refusal import Refusal
from gpuverify.model.report import Challenge, Report
from gpuverify.model.verdict import Verdict
from gpuverify.model.verification import Stage, Verification
from gpuverify.signing.verify import verify_envelope

ASKED = Challenge(
    nonce=CHALLENGE, issuer="", order="PO-17", issued_s=BASE_S - 60, expires_s=BASE_S + 86_400
)
PRODUCT = "h100-sxm5-80gb"


def verified(evidence: Evidence, claim: str = PRODUCT, *, own_roots: bool = True) -> Verification:
    """Sign the report of one live card as a seller, and verify it as the buyer who asked."""
    report = reports(terms(challenge=ASKED), evidence=dated(evidence), claim=claim)[0]
    seen = dataclasses.replace(world(), device_roots=made.ROOTS if own_roots else None)
    data = seller().bundle(payload_of(report))
    return verify_envelope(data, "report.json", demands(claim, challenge=ASKED), seen)


def text(evidence: Evidence, name: str) -> str:
    return str(evidence.devices[0].claims.all(name)[0].value)


def stage(found: Verification, wanted: Stage) -> tuple[str, str]:
    one = next(one for one in found.stages if one.stage is wanted)
    return one.state.value, one.note


def test_what_the_chip_signed_is_carried_verbatim_and_verified_again() -> None:
    evidence = attach(machine(PRODUCT), [signed_by(machine(PRODUCT), "885")])
    read = load_statement(
        payload_of(reports(terms(challenge=ASKED), evidence=dated(evidence), claim=PRODUCT)[0]),
        "report.json",
    )
    assert isinstance(read, Report)
    for name in (REPORT, CHAIN):
        assert text(read.evidence, name) == text(evidence, name)
    found = verified(evidence)
    assert found.refusal is None
    assert stage(found, Stage.DEVICE_EVIDENCE)[0] == "done"
    assert found.result is not None
    bases = {n.product: n.basis for n in found.result.devices[0].neighbours}
    assert bases["h800-sxm5-80gb"] is Basis.DEVICE_SIGNED


def test_a_card_that_signed_nothing_is_passed_over() -> None:
    found = verified(machine(PRODUCT))
    assert found.refusal is None
    assert stage(found, Stage.DEVICE_EVIDENCE) == (
        "not-performed",
        "the card signed nothing itself",
    )


def test_an_h800_s_signature_under_an_h100_claim_is_a_mismatch() -> None:
    brought = signed_by(machine(PRODUCT), "865", sku="0205")
    found = verified(attach(machine(PRODUCT), [brought]))
    assert found.refusal is None
    assert found.result is not None
    assert found.result.verdict is Verdict.MISMATCH
    assert found.exit_code == 2


def cut_chain() -> Evidence:
    evidence = attach(machine(PRODUCT), [signed_by(machine(PRODUCT), "885")])
    chain = text(evidence, CHAIN).split(",")
    return with_claims(evidence, certificate_claim(CHAIN, ",".join(chain[:-1])))


def flipped() -> Evidence:
    evidence = attach(machine(PRODUCT), [signed_by(machine(PRODUCT), "885")])
    raw = bytearray(base64.b64decode(text(evidence, REPORT)))
    raw[80] ^= 1
    return with_claims(evidence, certificate_claim(REPORT, base64.b64encode(bytes(raw)).decode()))


def other_nonce() -> Evidence:
    return attach(machine(PRODUCT), [signed_by(machine(PRODUCT), "885", nonce=bytes(32))])


def another_card() -> Evidence:
    """The answer of a card with another UUID: the nonce follows from that UUID."""
    uuid = certificate_claim("gpu.uuid", "GPU-0d0c0b0a-1111-4222-8333-444455556666")
    other = with_claims(machine(PRODUCT), uuid)
    return attach(machine(PRODUCT), [signed_by(other, "885")])


def no_base64() -> Evidence:
    return with_claims(cut_chain(), certificate_claim(REPORT, "no base64!"))


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (cut_chain, "chain-length"),
        (flipped, "report-signature"),
        (other_nonce, "report-nonce"),
        (another_card, "report-nonce"),
        (no_base64, "format"),
    ],
)
def test_evidence_that_does_not_hold_refuses_the_report(evidence: object, word: str) -> None:
    assert callable(evidence)
    found = verified(evidence())
    assert found.refusal is Refusal.HWATT
    assert word in found.message
    assert found.exit_code == 65
    assert stage(found, Stage.DEVICE_EVIDENCE)[0] == "refused"


def test_a_chain_of_the_tests_own_does_not_end_in_nvidia_s_root() -> None:
    found = verified(
        attach(machine(PRODUCT), [signed_by(machine(PRODUCT), "885")]), own_roots=False
    )
    assert found.refusal is Refusal.HWATT
    assert "chain-root" in found.message
