"""Attestation evidence in verdicts: whole machines, own chains, and NVIDIA's public samples."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "cases"))

import attestation_support as made
from case_support import NOW_MS, all_findings, database, policy
from live_machines import live_evidence, machine_of

from gpuverify.appraise import appraise
from gpuverify.appraise.device_signed import check_carried
from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.device_evidence.attach import attach
from gpuverify.device_evidence.files import read_attestation_json, read_attestation_pair
from gpuverify.errors import UsageError
from gpuverify.model.attestation import AttestationError, AttestationEvidence, attestation_nonce
from gpuverify.model.claims import Basis, Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, Evidence, EvidenceClass
from gpuverify.model.finding import Finding
from gpuverify.model.sale import SaleClaim, SaleItem
from gpuverify.model.verdict import Result, Verdict

pytestmark = pytest.mark.required

CHALLENGE = bytes(range(200, 232))
SIGNED_RULES = (
    "environment.device-evidence", "identity.device-signed-product", "lattice.device-signed",
    "identity.device-signed-vbios", "identity.device-identifier",
)  # fmt: skip
REPORT, CHAIN = "attestation.report", "attestation.certificates"


@functools.cache
def machine(product_id: str) -> Evidence:
    """An honest live machine with one board of a product, nothing attached.

    Part numbers that are invented, because none is on file, are left out: a chip would not sign
    them.
    """
    made_up = re.compile(r"-7E7-|-0700-")
    evidence = live_evidence(machine_of(database().product(product_id)))
    device = evidence.devices[0]
    kept = tuple(claim for claim in device.claims if not made_up.search(str(claim.value)))
    return dataclasses.replace(
        evidence, devices=(dataclasses.replace(device, claims=ClaimSet(kept)),)
    )


def value(evidence: Evidence, claim_id: str, index: int = 0) -> str:
    return str(evidence.devices[index].claims.value(claim_id))


def told(evidence: Evidence, chip: str, **changes: str) -> list[tuple[int, bytes]]:
    """The fields that a good chip of this very card would sign."""
    project, sku, _, _ = value(evidence, "inforom.image_version").split(".")
    project, sku = changes.get("project", project), changes.get("sku", sku)
    own = [bytes([int(part, 16)]) for part in value(evidence, "gpu.vbios_version").split(".")]
    vbios = b"".join((*own[3::-1], own[4], bytes(3)))
    signed = {6: vbios, 15: chip.encode(), 17: project.encode() + b"\0", 18: sku.encode() + b"\0"}
    return [(number, signed.get(number, old)) for number, old in made.fields()]


def chip_of(product_id: str) -> str:
    return str(database().product(product_id).get("gpu.chip_sku")[0].value).partition("-")[2]


def signed_by(
    evidence: Evidence,
    chip: str,
    *,
    index: int = 0,
    pdi: str = "",
    nonce: bytes | None = None,
    **changes: str,
) -> AttestationEvidence:
    """Evidence that the card at an index would give to our challenge."""
    identifier = (pdi or value(evidence, "gpu.pdi", index)).removeprefix("0x").upper()
    answer = attestation_nonce(CHALLENGE, value(evidence, "gpu.uuid", index))
    report = made.Report(
        nonce=answer if nonce is None else nonce,
        opaque=made.opaque_of(told(evidence, chip, **changes)),
    )
    return made.evidence(made.chain_of(made.links(identifier)), made.report_of(report))


def judge(
    evidence: Evidence,
    product_id: str,
    *,
    challenge: bytes | None = CHALLENGE,
    roots: frozenset[str] | None = made.ROOTS,
) -> Result:
    item = SaleItem(product=database().product(product_id))
    return appraise(
        evidence, SaleClaim(items=(item,)), policy("standard"), database(),
        now_ms=NOW_MS, challenge=challenge, device_roots=roots,
    )  # fmt: skip


def by_rule(result: Result) -> dict[str, Finding]:
    return {finding.rule: finding for finding in all_findings(result)}


def codes(result: Result) -> list[str]:
    found = by_rule(result)
    return [found[rule].code for rule in SIGNED_RULES]


def with_claims(evidence: Evidence, *claims: Claim, index: int = 0) -> Evidence:
    devices = list(evidence.devices)
    ids = {claim.id for claim in claims}
    kept = tuple(claim for claim in devices[index].claims if claim.id not in ids)
    devices[index] = dataclasses.replace(devices[index], claims=ClaimSet((*kept, *claims)))
    return dataclasses.replace(evidence, devices=tuple(devices))


def certificate_claim(name: str, content: str | bool) -> Claim:
    return Claim(id=name, status=ClaimStatus.OK, value=content, source=Source.DEVICE_CERTIFICATE)


# -- the card itself


@pytest.mark.parametrize("product_id", ["h800-nvl-94gb", "h100-sxm5-80gb"])
def test_a_card_that_signs_our_nonce_is_excluded_from_its_neighbours_by_signature(
    product_id: str,
) -> None:
    evidence = machine(product_id)
    before = judge(evidence, product_id)
    result = judge(attach(evidence, [signed_by(evidence, chip_of(product_id))]), product_id)
    assert codes(result)[0:3] == ["signed", "own-product", "agrees"]
    assert codes(result)[4] == "equal"
    assert all(by_rule(result)[rule].basis is Basis.DEVICE_SIGNED for rule in SIGNED_RULES)
    assert (result.verdict, result.exit_code) == (before.verdict, before.exit_code)
    bases = {n.product: n.basis for n in result.devices[0].neighbours}
    other = {"h800-nvl-94gb": "h100-nvl-94gb", "h100-sxm5-80gb": "h800-sxm5-80gb"}[product_id]
    assert bases[other] is Basis.DEVICE_SIGNED
    # A neighbour whose board SKU nobody has published holds the assurance where it is.
    unknown = [p for p in bases if not database().product(p).get("inforom.sku")]
    assert (result.devices[0].assurance is Basis.DEVICE_SIGNED) == (not unknown)
    assert bool(unknown) == (product_id == "h100-sxm5-80gb")
    assert not set(SIGNED_RULES) & set(result.devices[0].not_examined)


def test_a_live_card_without_a_challenge_answers_the_nonce_of_the_run() -> None:
    evidence = machine("h800-nvl-94gb")
    nonce = bytes(range(50, 82))
    signed = attach(evidence, [signed_by(evidence, "866", nonce=nonce)])
    asked = with_claims(signed, certificate_claim("attestation.nonce", nonce.hex()))
    assert codes(judge(asked, "h800-nvl-94gb", challenge=None))[0] == "signed"
    assert codes(judge(signed, "h800-nvl-94gb", challenge=None))[0] == "age-unknown"
    for kind in (EvidenceClass.CARRIED, EvidenceClass.SIGNED, EvidenceClass.REPLAYED):
        carried = dataclasses.replace(asked, evidence_class=kind)
        result = judge(carried, "h800-nvl-94gb", challenge=None)
        assert codes(result)[0] == "age-unknown"
        assert result.devices[0].assurance is not Basis.DEVICE_SIGNED


def test_another_chip_s_signature_binds_nothing() -> None:
    """The relay: a good card elsewhere answers for the one in the slot."""
    evidence = machine("h800-nvl-94gb")
    plain = judge(evidence, "h800-nvl-94gb")
    other = signed_by(evidence, "866", pdi="0x48b02d0099887766")
    result = judge(attach(evidence, [other]), "h800-nvl-94gb")
    assert codes(result) == ["some-card", "some-own-product", "agrees", "on-file", "different"]
    assert result.devices[0].assurance is plain.devices[0].assurance
    assert result.verdict is plain.verdict
    assert by_rule(result)["identity.device-signed-product"].basis is Basis.REPORTED


def test_either_byte_order_of_the_identifier_binds() -> None:
    evidence = machine("h800-nvl-94gb")
    turned = "0x" + bytes.fromhex(value(evidence, "gpu.pdi")[2:])[::-1].hex()
    result = judge(attach(evidence, [signed_by(evidence, "866", pdi=turned)]), "h800-nvl-94gb")
    assert codes(result)[0] == "signed"


def test_the_pdi_of_a_log_binds_nothing() -> None:
    evidence = dataclasses.replace(machine("h800-nvl-94gb"), evidence_class=EvidenceClass.IMPORTED)
    result = judge(attach(evidence, [signed_by(evidence, "866")]), "h800-nvl-94gb")
    assert codes(result)[:2] == ["some-card", "some-own-product"]
    assert result.devices[0].assurance is not Basis.DEVICE_SIGNED
    assert codes(judge(evidence, "h800-nvl-94gb"))[0] == "imported"
    broken = judge(attach(evidence, [signed_by(evidence, "866")]), "h800-nvl-94gb", roots=None)
    assert (codes(broken)[0], broken.exit_code) == ("does-not-stand", 1)


# -- what contradicts


@pytest.mark.parametrize("kind", [EvidenceClass.LIVE, EvidenceClass.SIGNED, EvidenceClass.CARRIED])
@pytest.mark.parametrize("bound", [True, False])
def test_the_evidence_of_an_h800_and_a_claim_of_an_h100(kind: EvidenceClass, bound: bool) -> None:
    evidence = dataclasses.replace(machine("h100-sxm5-80gb"), evidence_class=kind)
    brought = signed_by(evidence, "865", sku="0205", pdi="" if bound else "0x48b02d0099887766")
    result = judge(attach(evidence, [brought]), "h100-sxm5-80gb")
    assert (result.verdict, result.exit_code) == (Verdict.MISMATCH, 2)
    finding = by_rule(result)["identity.device-signed-product"]
    assert finding.code == "other-product"
    assert "h800-sxm5-80gb" in finding.message
    assert finding.basis is (Basis.DEVICE_SIGNED if bound else Basis.REPORTED)
    assert codes(result)[2] == ("differs" if bound else "another-card")


def test_a_chip_that_does_not_belong_to_the_board_is_not_on_file() -> None:
    evidence = machine("h100-sxm5-80gb")
    result = judge(attach(evidence, [signed_by(evidence, "865")]), "h100-sxm5-80gb")
    assert codes(result)[1] == "not-on-file"


@pytest.mark.parametrize(
    ("product_id", "wanted"),
    [("a100-sxm4-80gb", "not-for-product"), ("cmp-170hx-8gb", "not-for-product"),
     ("h100-sxm5-80gb", "no-value")],
)  # fmt: skip
def test_without_evidence_it_is_said_why(product_id: str, wanted: str) -> None:
    result = judge(machine(product_id), product_id)
    assert set(codes(result)) == {wanted}


def test_with_cc_off_it_says_what_could_not_be_had_and_how() -> None:
    off = Claim(
        id=REPORT, status=ClaimStatus.NOT_SUPPORTED, source=Source.DEVICE_CERTIFICATE,
        call="nvmlSystemGetConfComputeState",
        raw_text="confidential computing is off, and protected PCIe mode too",
    )  # fmt: skip
    evidence = with_claims(machine("h100-sxm5-80gb"), off)
    result = judge(evidence, "h100-sxm5-80gb")
    assert result.verdict is judge(machine("h100-sxm5-80gb"), "h100-sxm5-80gb").verdict
    for rule in SIGNED_RULES:
        message = by_rule(result)[rule].message
        assert "not supported" in message
        assert "confidential-computing or protected PCIe mode" in message
        assert "takes a reset" in message
        assert "never does it" in message
    optional = {rule for rule in SIGNED_RULES if rule in policy("standard").optional_rules}
    assert optional
    assert optional <= set(result.devices[0].not_examined)


def test_evidence_that_does_not_stand_is_suspect() -> None:
    evidence = machine("h100-sxm5-80gb")
    brought = attach(evidence, [signed_by(evidence, "885")])
    result = judge(brought, "h100-sxm5-80gb", roots=None)
    assert (result.verdict, result.exit_code) == (Verdict.SUSPECT, 1)
    assert "chain-root" in by_rule(result)["environment.device-evidence"].message
    result = judge(brought, "h100-sxm5-80gb", challenge=bytes(32))
    assert "report-nonce" in by_rule(result)["environment.device-evidence"].message
    broken = with_claims(brought, certificate_claim(REPORT, "no base64!"))
    assert "(format)" in by_rule(judge(broken, "h100-sxm5-80gb"))[SIGNED_RULES[0]].message


# -- what a file says about itself


def test_signed_claims_that_a_file_brings_are_dropped() -> None:
    evidence = machine("h100-sxm5-80gb")
    forged = with_claims(
        evidence,
        certificate_claim("signed.state", "verified"),
        certificate_claim("signed.inforom_sku", "G520.0200"),
        certificate_claim("signed.chip_sku", "885"),
        certificate_claim("signed.device_identifier", value(evidence, "gpu.pdi")),
        certificate_claim("signed.nonce_bound", True),
        certificate_claim("signed.vbios_version", value(evidence, "gpu.vbios_version")),
    )
    carried = load_evidence(dump_evidence(forged), "seller.json")
    assert value(carried, "signed.state") != "verified"  # of no source that is read by default
    plain = dataclasses.replace(evidence, evidence_class=EvidenceClass.CARRIED)
    for one in (forged, carried):
        result = judge(one, "h100-sxm5-80gb")
        assert set(codes(result)) == {"no-value"}
        assert not any(c.id.startswith("signed.") for c in result.devices[0].device.claims)
    before, after = judge(plain, "h100-sxm5-80gb"), judge(carried, "h100-sxm5-80gb")
    assert before.devices[0].findings == after.devices[0].findings
    both = attach(forged, [signed_by(evidence, "865", sku="0205")])
    assert judge(both, "h100-sxm5-80gb").exit_code == 2


def test_evidence_that_was_written_down_is_verified_again() -> None:
    evidence = machine("h100-sxm5-80gb")
    brought = attach(evidence, [signed_by(evidence, "885")])
    carried = load_evidence(dump_evidence(brought), "evidence.json")
    assert carried.devices[0].claims == brought.devices[0].claims
    assert codes(judge(carried, "h100-sxm5-80gb"))[:2] == ["signed", "own-product"]


# -- laws


@pytest.mark.parametrize(
    ("chip", "sku", "pdi"),
    [("885", "0200", ""), ("865", "0205", ""), ("885", "0200", "0x48b02d0099887766"),
     ("865", "0205", "0x48b02d0099887766")],
)  # fmt: skip
@pytest.mark.parametrize("dropped", [{REPORT}, {CHAIN}, {REPORT, CHAIN}, {"gpu.pdi"}])
def test_dropping_attestation_claims_buys_nothing(
    chip: str, sku: str, pdi: str, dropped: set[str]
) -> None:
    evidence = machine("h100-sxm5-80gb")
    full = attach(evidence, [signed_by(evidence, chip, pdi=pdi, sku=sku)])
    before = judge(full, "h100-sxm5-80gb")
    device = full.devices[0]
    kept = ClaimSet(tuple(claim for claim in device.claims if claim.id not in dropped))
    thinned = dataclasses.replace(full, devices=(dataclasses.replace(device, claims=kept),))
    after = judge(thinned, "h100-sxm5-80gb")
    assert after.devices[0].assurance.rank <= before.devices[0].assurance.rank
    if after.verdict is Verdict.CONSISTENT and before.verdict is not Verdict.CONSISTENT:
        printed = set(after.devices[0].not_examined)
        lost = {f.rule for f in all_findings(before) if f.outcome.value in ("warn", "fail")}
        assert lost <= set(policy("standard").optional_rules)
        assert lost <= printed


def two_cards(product_id: str) -> Evidence:
    """Two live cards of a product, apart in all that names a card."""
    one = machine(product_id)
    first = one.devices[0]
    others = {
        "gpu.uuid": "GPU-77777777-0000-4e7a-8c3d-7e57ca5e0001",
        "gpu.pdi": "0x48b02d0011112222",
        "pci.bus_id": "00000000:45:00.0",
        "gpu.serial": "1650922317499",
    }
    claims = tuple(
        dataclasses.replace(c, value=others[c.id]) if c.id in others and c.ok else c
        for c in first.claims
    )
    second = dataclasses.replace(first, index=1, claims=ClaimSet(claims))
    return dataclasses.replace(one, devices=(first, second))


def test_one_certificate_under_two_uuids_is_a_clone() -> None:
    evidence = two_cards("h100-sxm5-80gb")
    both = [signed_by(evidence, "885", index=n) for n in (0, 1)]
    twin = signed_by(evidence, "885", index=1, pdi=value(evidence, "gpu.pdi", 0))
    # The keys of these tests are one device key whatever the identifier: a clone in any case.
    for given in (both, [both[0], twin]):
        found = by_rule(judge(attach(evidence, given), "h100-sxm5-80gb"))
        assert found["batch.device-certificate"].code == "cloned"
        assert "GPU-77777777" in found["batch.device-certificate"].message
    alone = with_claims(attach(evidence, both), index=1)
    chosen = dataclasses.replace(
        alone, devices=(alone.devices[0], two_cards("h100-sxm5-80gb").devices[1])
    )
    assert by_rule(judge(chosen, "h100-sxm5-80gb"))["batch.device-certificate"].code == "distinct"


# -- attaching


def test_evidence_goes_to_the_card_that_it_names() -> None:
    evidence = two_cards("h100-sxm5-80gb")
    one, two = (signed_by(evidence, "885", index=n) for n in (0, 1))
    for given in ([one, two], [two, one]):
        placed = attach(evidence, given)
        for index, mine in enumerate((one, two)):
            assert signed_report(placed, index) == mine.report
    alone = attach(evidence, [two])
    assert signed_report(alone, 1) == two.report
    assert signed_report(alone, 0) is None
    assert attach(evidence, []) is evidence


def signed_report(evidence: Evidence, index: int) -> bytes | None:
    from gpuverify.appraise.device_signed import attestation_of

    found = attestation_of(evidence.devices[index])
    return None if found is None else found.report


def test_what_names_no_card_goes_by_order_or_not_at_all() -> None:
    evidence = two_cards("h100-sxm5-80gb")
    pdis = ("0x48b02d0099887766", "0x48b02d0099887755", "0x48b02d0099887744")
    strange = [signed_by(evidence, "885", pdi=pdi) for pdi in pdis]
    own = signed_by(evidence, "885", index=1)
    placed = attach(evidence, strange[:2])
    assert [signed_report(placed, n) for n in (0, 1)] == [s.report for s in strange[:2]]
    placed = attach(evidence, [strange[0], own])
    assert [signed_report(placed, n) for n in (0, 1)] == [strange[0].report, own.report]
    for given in (strange[:1], strange, [own, *strange[:2]]):
        with pytest.raises(UsageError, match="which is whose cannot be told") as caught:
            attach(evidence, given)
        assert caught.value.exit_code == 64
    unreadable = AttestationEvidence(origin="x", chain=(b"no certificate",), report=b"\x11\xe0")
    placed = attach(machine("h100-sxm5-80gb"), [unreadable])
    assert codes(judge(placed, "h100-sxm5-80gb"))[0] == "does-not-stand"
    with pytest.raises(UsageError, match="of its own already"):
        attach(placed, [unreadable])
    huge = AttestationEvidence(origin="x", chain=(), report=bytes(9000))
    with pytest.raises(UsageError, match="larger than it can be"):
        attach(machine("h100-sxm5-80gb"), [huge])


def test_attaching_takes_the_card_s_own_nonce_and_refusals_away() -> None:
    refused = Claim(id=REPORT, status=ClaimStatus.FAILED, source=Source.DEVICE_CERTIFICATE)
    evidence = with_claims(
        machine("h100-sxm5-80gb"), refused, certificate_claim("attestation.nonce", "11" * 32)
    )
    placed = attach(evidence, [signed_by(evidence, "885")])
    claims = placed.devices[0].claims
    assert claims.get("attestation.nonce", Source.DEVICE_CERTIFICATE).status is (
        ClaimStatus.NOT_ASKED
    )
    assert codes(judge(placed, "h100-sxm5-80gb", challenge=None))[0] == "age-unknown"


# -- what a report carries


def test_carried_evidence_has_to_stand_and_to_answer_the_challenge() -> None:
    evidence = machine("h100-sxm5-80gb")
    check_carried(evidence, CHALLENGE, NOW_MS, roots=made.ROOTS)
    good = attach(evidence, [signed_by(evidence, "885")])
    for challenge in (CHALLENGE, None):
        check_carried(good, challenge, NOW_MS, roots=made.ROOTS)
    for challenge, roots, word in (
        (bytes(32), made.ROOTS, "report-nonce"),
        (CHALLENGE, None, "chain-root"),
        (None, frozenset[str](), "chain-root"),
    ):
        with pytest.raises(AttestationError) as caught:
            check_carried(good, challenge, NOW_MS, roots=roots)
        assert str(caught.value).startswith(f"GPU 0: E_HWATT ({word})")
        assert caught.value.exit_code == 65
    with pytest.raises(AttestationError, match="chain-time"):
        check_carried(good, CHALLENGE, 1_000, roots=made.ROOTS)
    for name, content, word in (
        (REPORT, "%%%", "format"), (CHAIN, "AAAA", "chain-length"), (CHAIN, "*", "format"),
        (REPORT, "AAAA", "report-length"),
    ):  # fmt: skip
        with pytest.raises(AttestationError, match=word):
            check_carried(
                with_claims(good, certificate_claim(name, content)), None, NOW_MS, roots=made.ROOTS
            )


def test_the_evidence_of_the_second_card_counts_too() -> None:
    evidence = two_cards("h100-sxm5-80gb")
    given = [signed_by(evidence, "885", index=0), signed_by(evidence, "885", index=1)]
    check_carried(attach(evidence, given), CHALLENGE, NOW_MS, roots=made.ROOTS)
    stale = signed_by(evidence, "885", index=1, nonce=bytes(32))
    with pytest.raises(AttestationError, match=r"GPU 1: E_HWATT \(report-nonce\)"):
        check_carried(attach(evidence, [given[0], stale]), CHALLENGE, NOW_MS, roots=made.ROOTS)


# -- NVIDIA's public samples, with NVIDIA's root


def test_the_public_samples_from_end_to_end(samples: Path) -> None:
    (sxm,) = read_attestation_json(
        (samples / "hopper_evidence.json").read_bytes(), "hopper_evidence.json"
    )
    pcie = read_attestation_pair(
        (samples / "hopperAttestationReport.txt").read_bytes(), "report",
        (samples / "hopperCertChain.txt").read_bytes(), "chain",
    )  # fmt: skip
    for brought, sold, wrong in (
        (sxm, "h100-sxm5-80gb", "h800-sxm5-80gb"), (pcie, "h100-pcie-80gb", "h800-pcie-80gb"),
    ):  # fmt: skip
        result = judge(attach(machine(sold), [brought]), sold, challenge=None, roots=None)
        assert codes(result)[:2] == ["age-unknown", "some-own-product"]
        assert result.devices[0].assurance is not Basis.DEVICE_SIGNED
        result = judge(attach(machine(wrong), [brought]), wrong, challenge=None, roots=None)
        assert (result.verdict, result.exit_code) == (Verdict.MISMATCH, 2)
        assert sold in by_rule(result)["identity.device-signed-product"].message
    check_carried(attach(machine("h100-sxm5-80gb"), [sxm]), None, NOW_MS)
    with pytest.raises(AttestationError, match="report-nonce"):
        check_carried(attach(machine("h100-sxm5-80gb"), [sxm]), CHALLENGE, NOW_MS)


def test_a_public_sample_bound_to_a_card_is_device_signed(samples: Path) -> None:
    """The card in the test has the sample's identifier, board and VBIOS; the nonce is the run's."""
    (sxm,) = read_attestation_json(
        (samples / "hopper_evidence.json").read_bytes(), "hopper_evidence.json"
    )
    assert sxm.stated_nonce is not None
    card = with_claims(
        machine("h100-sxm5-80gb"),
        Claim(id="gpu.pdi", status=ClaimStatus.OK, value="0x48b02df44660da06", source=Source.NVML),
        Claim(id="gpu.vbios_version", status=ClaimStatus.OK, value="96.00.A5.00.01", source=Source.NVML),
    )  # fmt: skip
    live = with_claims(
        attach(card, [sxm]), certificate_claim("attestation.nonce", sxm.stated_nonce.hex())
    )
    result = judge(live, "h100-sxm5-80gb", challenge=None, roots=None)
    assert codes(result)[:3] == ["signed", "own-product", "agrees"]
    bases = {n.product: n.basis for n in result.devices[0].neighbours}
    assert bases["h800-sxm5-80gb"] is Basis.DEVICE_SIGNED
