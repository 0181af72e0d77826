"""Lies that must not reach exit 0, and honest situations that are made by hand.

What a case folder can hold stands in fixtures/; here is what needs a file, a policy or a command.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from case_support import (
    NOW_MS,
    Appraisal,
    accusations,
    all_findings,
    as_live,
    database,
    evidence_of,
    expected_names,
    judge,
    judged,
    load_expected,
    policy,
)

from gpuverify.appraise import appraise
from gpuverify.appraise.claim import load_sale_claim
from gpuverify.appraise.policies import load_policy
from gpuverify.codec.evidence_json import dump_evidence, load_evidence
from gpuverify.codec.nvidia_smi_leaves import xml_from_leaves
from gpuverify.codec.read import read_evidence
from gpuverify.errors import FormatError, PolicyError, UsageError
from gpuverify.model.claims import ClaimStatus
from gpuverify.model.evidence import DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.product import MatchState
from gpuverify.model.sale import SaleClaim, SaleItem
from gpuverify.model.verdict import Result, Verdict
from gpuverify.sources.cases import load_case

pytestmark = pytest.mark.required

GOOD, LIE = "ga100/a100-sxm4-80gb", "ga100/a100-40gb-sold-as-80gb"
EIGHT = "ga100/a100-sxm4-80gb-x8"
SOLD = Appraisal(claim="a100-sxm4-80gb", verdict=Verdict.CONSISTENT, exit=0)
POLICIES = Path(__file__).parents[2] / "gpuverify" / "appraise" / "data"


def with_policy(evidence: Evidence, path: Path | str) -> Result:
    """Appraise with a policy of one's own."""
    sale = load_sale_claim("a100-sxm4-80gb", None, None, None, database())
    return appraise(evidence, sale, load_policy(str(path)), database(), now_ms=NOW_MS)


def test_the_good_card_does_reach_zero_when_live() -> None:
    """Otherwise nothing below shows anything."""
    assert judge(as_live(evidence_of(GOOD)), SOLD).exit_code == 0
    assert with_policy(as_live(evidence_of(GOOD)), "standard").exit_code == 0


# -- evidence


def test_an_edited_evidence_file() -> None:
    """The 40 GB card's evidence, edited until it says all that the 80 GB card says."""
    document = json.loads(dump_evidence(as_live(evidence_of(GOOD))))
    evidence = load_evidence(json.dumps(document, sort_keys=True).encode(), "edited.json")
    assert evidence.evidence_class is EvidenceClass.CARRIED
    result = judge(evidence, SOLD)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    assert any("unsigned file" in r for d in result.devices for r in d.reasons)


def test_a_file_cannot_call_itself_live() -> None:
    document = json.loads(dump_evidence(as_live(evidence_of(GOOD))))
    assert "live" not in {value for value in document.values() if isinstance(value, str)}
    for key in ("class", "evidence_class", "verdict"):
        evidence = load_evidence(json.dumps({**document, key: "live"}).encode(), "edited.json")
        assert evidence.evidence_class is EvidenceClass.CARRIED
        assert (key, "live") in evidence.stated
        assert judge(evidence, SOLD).exit_code == 3
    with pytest.raises(FormatError) as caught:
        load_evidence(json.dumps({**document, "schema": "live"}).encode(), "edited.json")
    assert caught.value.exit_code == 65


def test_a_claim_inside_a_file_is_the_files_words() -> None:
    """A verdict, sale or policy found inside is not used for judging."""
    stated = (("verdict", "consistent"), ("claim", "a100-sxm4-40gb"), ("policy", "screen"))
    evidence = dataclasses.replace(as_live(evidence_of(LIE)), stated=stated)
    assert judge(evidence, SOLD).exit_code == 2
    unclaimed = dataclasses.replace(as_live(evidence_of(GOOD)), stated=stated)
    result = judge(unclaimed, Appraisal(verdict=Verdict.UNVERIFIED, exit=3))
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)


@pytest.mark.parametrize("name", [name for name in expected_names() if "-x8" not in name])
def test_the_log_of_any_case_is_never_consistent(name: str) -> None:
    """Also the log of an honest card proves nothing; and an honest one is not accused."""
    case = load_expected(name)
    for wanted in case.appraisals[:1]:
        result = judge(evidence_of(name, "log"), dataclasses.replace(wanted, read="log"))
        assert result.exit_code != 0
        assert result.verdict is not Verdict.CONSISTENT
        if case.kind == "honest":
            assert accusations(result) == []
            assert judged(result) in (Verdict.CONSISTENT, Verdict.UNVERIFIED)


# -- claim and policy


@pytest.mark.parametrize("words", ["a100", "A100 80GB", "h100", "tesla", "gpu", "", "80GB"])
def test_a_vague_claim_is_wrong_usage(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_sale_claim(words, None, None, None, database())
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    ("memory", "condition", "count"), [("80GB", None, None), (None, "new", None), (None, None, 8)]
)
def test_promises_without_a_product_are_wrong_usage(
    memory: str | None, condition: str | None, count: int | None
) -> None:
    with pytest.raises(UsageError):
        load_sale_claim(None, memory, condition, count, database())


def test_without_a_claim_nothing_is_consistent() -> None:
    for name in (GOOD, EIGHT, "gh100/h100-sxm5-80gb"):
        result = judge(as_live(evidence_of(name)), Appraisal(verdict=Verdict.UNVERIFIED, exit=3))
        assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
        assert any("nothing was claimed" in r for d in result.devices for r in d.reasons)


def test_an_empty_policy_is_refused_or_never_consistent(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("")
    with pytest.raises(PolicyError):
        load_policy(str(path))
    path.write_text('schema = 1\nname = "mine"\ntext = "nothing is required"\n')
    result = with_policy(as_live(evidence_of(GOOD)), path)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    assert result.policy_name.startswith("custom:")


@pytest.mark.parametrize("builtin", ["standard", "intake", "screen"])
def test_a_renamed_policy_is_custom_and_a_borrowed_name_refused(
    tmp_path: Path, builtin: str
) -> None:
    text = (POLICIES / f"{builtin}.toml").read_text("utf-8")
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError):
        load_policy(str(path))
    path.write_text(text.replace(f'name = "{builtin}"', 'name = "house"'))
    assert load_policy(str(path)).name == f"custom:{load_policy(str(path)).sha256}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('neighbours = "cross-checked"', 'neighbours = "none"'),
        ('neighbours = "cross-checked"', 'neighbours = "reported"'),
        ('product = "cross-checked"', 'product = "reported"'),
        ('capacity = "reported"\n', ""),
        ('environment = "cross-checked"\n', ""),
        ('lattice = "reported"\n', ""),
        ('batch = "reported"\n', ""),
        ("optional_rules = [", 'optional_rules = [\n  "capacity.total",'),
        ("optional_rules = [", 'optional_rules = [\n  "environment.kernel-behind-nvml",'),
    ],
)
def test_a_weakened_policy_never_ends_in_consistent(tmp_path: Path, old: str, new: str) -> None:
    text = (POLICIES / "standard.toml").read_text("utf-8").replace('"standard"', '"house"')
    assert old in text
    path = tmp_path / "weak.toml"
    path.write_text(text.replace(old, new, 1))
    result = with_policy(as_live(evidence_of(GOOD)), path)
    assert result.verdict is Verdict.UNVERIFIED
    assert result.exit_code == 3


# -- cards left out


@pytest.mark.parametrize("gpus", [(0,), (0, 1, 2, 3, 4, 5, 6), (7,)])
def test_cards_left_out_by_selection(gpus: tuple[int, ...]) -> None:
    """The bad card is not named with --gpu: the batch is incomplete."""
    name = "ga100/seven-good-and-one-40gb"
    chosen = dataclasses.replace(SOLD, gpus=gpus)
    result = judge(as_live(evidence_of(name)), chosen)
    assert result.exit_code != 0
    assert result.verdict is (Verdict.MISMATCH if gpus == (7,) else Verdict.UNVERIFIED)


def test_the_bad_card_counts_where_seven_of_eight_were_sold() -> None:
    """Seven good cards were sold, the eighth is not part of the sale: that is said, and it is."""
    result = judge(
        as_live(evidence_of("ga100/seven-good-and-one-40gb")), dataclasses.replace(SOLD, count=7)
    )
    assert (result.verdict, result.exit_code) == (Verdict.CONSISTENT, 0)
    (left,) = [device for device in result.devices if not device.in_sale]
    assert left.recognition.product is not None
    assert left.recognition.product.id == "a100-sxm4-40gb"
    assert "not part of the sale" in left.reasons


def test_fewer_blocks_than_the_driver_counts() -> None:
    evidence = as_live(evidence_of(EIGHT))
    short = dataclasses.replace(evidence, devices=evidence.devices[:7])
    result = judge(short, SOLD)
    assert (result.verdict, result.exit_code) == (Verdict.UNVERIFIED, 3)
    counted = judge(short, dataclasses.replace(SOLD, count=8))
    assert counted.exit_code != 0


@pytest.mark.parametrize("policy_name", ["standard", "intake"])
def test_a_perfect_twin_is_told_by_measurement_alone(policy_name: str) -> None:
    """With every value forged that a host can forge, `intake` names the measurement it wants."""
    wanted = dataclasses.replace(SOLD, policy=policy_name)
    result = judge(as_live(evidence_of(GOOD)), wanted)
    if policy_name == "standard":
        assert result.exit_code == 0
        return
    assert result.exit_code == 3
    reasons = "\n".join(reason for device in result.devices for reason in device.reasons)
    for neighbour in ("a100-sxm4-40gb", "a800-sxm4-80gb", "cmp-170hx-8gb"):
        assert f"from {neighbour} by what was seen" in reasons
    assert "measured" in reasons


# -- honest situations that no case folder can hold


def test_the_same_card_read_twice_is_one_card() -> None:
    """One bus id twice in one read-out is no clone."""
    evidence = evidence_of(GOOD)
    first = evidence.devices[0]
    twice = dataclasses.replace(
        evidence, devices=(first, DeviceEvidence(index=1, claims=first.claims))
    )
    result = judge(twice, SOLD)
    assert accusations(result) == []
    assert judged(result) in (Verdict.CONSISTENT, Verdict.UNVERIFIED)


def test_two_files_of_one_card_do_not_accuse_it() -> None:
    for read in ("machine", "log", "machine"):
        evidence = evidence_of(GOOD, "log" if read == "log" else "machine")
        result = judge(evidence, SOLD)
        assert accusations(result) == []


def test_seven_masked_blocks_with_one_blank_uuid() -> None:
    """An owner who blanked every UUID the same way cloned nothing."""
    evidence = evidence_of(EIGHT)

    def masked(device: DeviceEvidence) -> DeviceEvidence:
        claims = tuple(
            dataclasses.replace(claim, value="GPU-00000000-0000-0000-0000-000000000000")
            if claim.id == "gpu.uuid" and claim.ok
            else dataclasses.replace(claim, value=None, status=ClaimStatus.MALFORMED)
            if claim.id in ("gpu.serial", "gpu.pdi") and claim.ok
            else claim
            for claim in device.claims
        )
        return dataclasses.replace(device, claims=type(device.claims)(claims))

    blank = dataclasses.replace(evidence, devices=tuple(map(masked, evidence.devices[:7])))
    result = judge(blank, SOLD)
    assert accusations(result) == []
    assert not any(f.code == "cloned" for f in all_findings(result))
    assert judged(result) is Verdict.UNVERIFIED


def test_an_internal_dtd_without_entities_is_read() -> None:
    smi = load_case(GOOD).recording.nvidia_smi
    assert smi is not None
    document = xml_from_leaves(list(smi.leaves)).decode()
    head, _, body = document.partition("<nvidia_smi_log")
    head = head.partition("<!DOCTYPE")[0]
    dtd = "<!DOCTYPE nvidia_smi_log [\n<!ELEMENT nvidia_smi_log ANY>\n<!ELEMENT gpu ANY>\n]>\n"
    evidence = read_evidence(f"{head}{dtd}<nvidia_smi_log{body}".encode(), "dtd.xml")
    result = judge(evidence, SOLD)
    assert accusations(result) == []
    assert result.devices[0].recognition.state is MatchState.EXACT


def test_a_declared_modification_is_a_claim() -> None:
    for words in ("rtx-2080-ti-22gb", "rtx-4090-48gb"):
        sale = load_sale_claim(words, None, None, None, database())
        assert sale.items[0].product.status.value == "modified"


def test_each_item_of_a_mixed_sale_finds_its_cards() -> None:
    items = tuple(
        SaleItem(product=database().product(name)) for name in ("a100-sxm4-80gb", "a100-sxm4-40gb")
    )
    result = appraise(
        as_live(evidence_of("ga100/seven-good-and-one-40gb")),
        SaleClaim(items=items),
        policy("standard"),
        database(),
        now_ms=NOW_MS,
    )
    assert (result.verdict, result.exit_code) == (Verdict.CONSISTENT, 0)
