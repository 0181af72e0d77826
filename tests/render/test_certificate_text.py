"""The certificate on a terminal: who speaks, what is shown, and what never is."""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import certificate_samples as samples

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Outcome
from gpuverify.model.refusal import Refusal
from gpuverify.model.verification import (
    Change,
    Comparison,
    Difference,
    Sameness,
    Stage,
    TimeSource,
    Verification,
)
from gpuverify.render.certificate import file_name, time_text
from gpuverify.render.certificate_text import certificate_text
from gpuverify.render.style import Style, for_console, visible_length

NEVER_SAID = re.compile(r"(?i:\b(genuine|fake|authentic|counterfeit|passed)\b)|\bNone\b|\bN/A\b")
SGR = re.compile(r"\x1b\[[0-9;]*m")


def text_of(verification: Verification, width: int = 80, **options: bool) -> str:
    return certificate_text(verification, Style(width=width), **options)


def flat(verification: Verification, **options: bool) -> str:
    """The text without its line breaks."""
    return " ".join(text_of(verification, **options).split())


def test_own_word_first_then_the_signer_by_key() -> None:
    text = flat(samples.verified())
    assert "SIGNATURE VERIFIED; OWN APPRAISAL: CONSISTENT" in text
    assert "consistent with the sale claim, as stated by intake@reseller.example (exit 0)" in text
    assert f"As stated by key {samples.KEYID} (intake@reseller.example)" in text
    assert "the signer's opinion stands beside it and was not used" in text


def test_a_challenge_without_an_issuer_says_so() -> None:
    challenge = samples.report().challenge
    assert challenge is not None
    bare = replace(challenge, issuer="")
    text = flat(samples.verified(report=samples.report(challenge=bare)), verbose=True)
    assert f"Challenge of an unnamed issuer, order {challenge.order}" in text


def test_what_a_signature_proves_and_what_not() -> None:
    text = flat(samples.verified())
    assert "stated exactly these bytes, not later than 2026-11-21" in text
    assert "by a time-stamp authority that you trust" in text
    assert "They answer your challenge" in text
    assert "does not prove that a GPU was there" in text
    assert "compare (gpuverify compare)" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TimeSource.RFC3161, "by a time-stamp authority that you trust"),
        (TimeSource.JOURNAL, "by your own journal"),
        (TimeSource.NOW, "; when, only the signer says"),
    ],
)
def test_time_has_a_witness(source: TimeSource, said: str) -> None:
    assert said in flat(samples.verified(trusted_time_source=source))


def test_fields_of_a_test_report() -> None:
    """ISO/IEC 17025:2017, 7.8.2.1: each field is there, or said to be missing."""
    text = flat(samples.verified())
    for said in (
        "GPU test report",
        f"Report id {samples.REPORT_ID}",
        "Tested by Example Resale Ltd",
        "Authorised by intake@reseller.example, as seller",
        "Contact +44 20 7946 0000",
        "Place Rotterdam",
        "Customer, order PO-17",
        "Received on not recorded by this tool",
        "Tested from 2026-11-21 21:40:00 UTC",
        "Tested until 2026-11-21 22:00:00 UTC",
        "Issued 2026-11-21 22:01:00 UTC, clock: ntp",
        "Method measurement full, rules 0.1.0",
        "Deviations the link to a second card was not measured",
        "Sampling this card",
        "Board serial 1650922633008",
        "Sold as a100-sxm4-80gb, 81920 MiB, used",
        "The results relate only to the item tested.",
        f"End of report {samples.REPORT_ID}.",
        "received-with",
        "label.jpg",
    ):
        assert said in text
    bare = flat(samples.verified(report=samples.report(location=None, order=None, challenge=None)))
    assert "Place not stated" in bare
    assert "Customer, order not stated" in bare
    assert "Challenge none" in bare


def test_coverage_says_what_was_not_covered() -> None:
    text = flat(samples.verified())
    assert "2 kinds of fraud covered, 2 in part, 3 not" in text
    assert "covered in part a mining card with its limits patched away" in text
    assert "not covered cards that are stolen or pledged" in text
    unknown = samples.report()
    unknown = replace(unknown, coverage=replace(unknown.coverage, covered=("kind-of-tomorrow",)))
    assert "kind-of-tomorrow" in flat(samples.verified(report=unknown))


def test_results_have_units_bands_and_limits() -> None:
    text = text_of(samples.verified())
    assert re.search(r"Memory read +1764\.0 GB/s +1631\.2 to 2140\.9 GB/s +in band", text)
    assert re.search(r"FP32 multiply-adds +63\.6 a clock and SM +54\.4 to 73\.6 +in band", text)
    assert re.search(r"PCIe to the card +25\.9 GB/s +no band on file", text)
    assert "A value outside accuses nobody by itself" in " ".join(text.split())
    assert "78.500 GiB of 79.186 GiB tested (99.1 %)" in " ".join(text.split())


def test_folded_memory() -> None:
    text = flat(samples.folded())
    assert "[############============] folded" in text
    assert "it repeats after 40 GiB" in text


def test_timings_that_do_not_count_are_not_placed() -> None:
    odd = samples.with_claims(samples.report(), {"fingerprint.clock_agreement_ppm": 90_000})
    text = flat(samples.verified(report=odd))
    assert "No timing counts here: clocks that timed one kernel differ by 90000 ppm" in text
    assert "in band" not in text


def test_value_outside_its_band() -> None:
    slow = samples.with_claims(
        samples.report(),
        {"fingerprint.memory_read_kb_s": 900_000_000, "fingerprint.fp32_fma_milliops": 90_000},
    )
    text = text_of(samples.verified(report=slow))
    assert re.search(r"Memory read +900\.0 GB/s .*below band", text)
    assert re.search(r"FP32 multiply-adds +90\.0 .*above band", text)


def test_nothing_measured_is_said() -> None:
    case = "ga100/a100-sxm4-80gb"
    text = flat(samples.verified(case))
    assert "Nothing was measured" in text
    assert "are the driver's word" in text


def test_nothing_claimed_confirms_nothing() -> None:
    text = flat(samples.verified(claim=None))
    assert "Nothing was claimed by you, so nothing can be confirmed" in text
    assert "(exit 3)" in text


def test_difference_of_opinion_is_told() -> None:
    """The signer calls an 80 GB card what the evidence contradicts."""
    case = "ga100/a100-40gb-sold-as-80gb"
    lying = samples.report(case)
    checks = tuple(replace(one, outcome=Outcome.PASS) for one in lying.checks)
    told = "verdict: the signer says consistent, own appraisal mismatch"
    text = flat(samples.verified(case, report=replace(lying, checks=checks), differences=(told,)))
    assert "OWN APPRAISAL: MISMATCH" in text
    assert f"Difference: {told}" in text
    assert re.search(r"contradicts identity\.product/other-product .*signer: agrees", text)


@pytest.mark.parametrize(
    ("refusal", "stage"),
    [
        (Refusal.SIGNER, Stage.SIGNER),
        (Refusal.SUBJECT, Stage.SUBJECT),
        (Refusal.KEY_REVOKED, Stage.KEY_VALIDITY),
        (Refusal.KEY_EXPIRED, Stage.KEY_VALIDITY),
        (Refusal.CHECKS, Stage.CHECKS),
    ],
)
def test_what_cannot_be_relied_on_shows_nothing(refusal: Refusal, stage: Stage) -> None:
    refused = samples.refused(refusal, stage, "because")
    for verification in (samples.forged(), refused):
        text = text_of(verification, verbose=True)
        assert "NOT RELIED ON" in text
        assert "Nothing of what the document says is shown." in text
        for said in ("1650922633008", "Example Resale", "Rotterdam", samples.REPORT_ID, "A100"):
            assert said not in text
    assert f"{refusal.value}: {refusal.meaning}" in flat(refused)


@pytest.mark.parametrize(
    ("refusal", "stage"),
    [
        (Refusal.STALE, Stage.AGE),
        (Refusal.NONCE, Stage.CHALLENGE),
        (Refusal.WRONG_CARD, Stage.CARD),
        (Refusal.SIMULATED, Stage.EVIDENCE_CLASS),
    ],
)
def test_wrong_purpose_is_shown_under_a_banner(refusal: Refusal, stage: Stage) -> None:
    text = flat(samples.refused(refusal, stage, "because of this"))
    assert text.index("SIGNATURE VERIFIED, BUT NOT FOR THIS PURPOSE") < text.index("1650922633008")
    assert refusal.value in text
    assert "because of this" in text
    assert "There is no own appraisal: the report was refused before" in text
    assert "Verdict not performed consistent" in text


def test_no_refusal_without_a_report_is_not_verified() -> None:
    empty = Verification(origin="x", stages=())
    assert "NOT VERIFIED" in text_of(empty)
    # A report without a verified key is no report.
    loose = samples.verified(keyid="", principal="")
    text = text_of(loose)
    assert "NOT VERIFIED" in text
    assert "1650922633008" not in text


def test_test_key_and_replay_are_named() -> None:
    replayed = samples.report(evidence_class=EvidenceClass.REPLAYED)
    text = flat(samples.verified(namespace="gpuverify-test", report=replayed, exit_code=3))
    assert "Signed by a test key: nothing here speaks for a real card." in text
    assert "The evidence is a replayed recording, not a live card." in text
    assert "Trusted as intake@reseller.example (test key)" in text


def test_comparison_with_an_earlier_report() -> None:
    earlier = Claim(
        id="gpu.vbios_version", status=ClaimStatus.OK, value="92.00.36.00.01", source=Source.NVML
    )
    comparison = Comparison(
        earlier="/home/buyer/seller.json",
        later="intake.json",
        sameness=Sameness.CHANGED,
        differences=(
            Difference(
                claim_id="gpu.vbios_version",
                change=Change.WARN,
                words="the VBIOS changed",
                earlier=earlier,
                later=replace(earlier, value="92.00.9E.00.10"),
            ),
            Difference(claim_id="time", change=Change.ALARM, words="time runs backwards"),
        ),
        compared=("gpu.uuid", "gpu.serial"),
        not_compared=("gpu.pdi",),
        reasons=("held down by this",),
        exit_code=1,
    )
    text = flat(samples.verified(comparisons=(comparison,), exit_code=1))
    assert "Beside seller.json: same card, changed." in text
    assert "the VBIOS changed warning 92.00.36.00.01 92.00.9E.00.10" in text
    assert "time runs backwards alarm not stated not stated" in text
    assert "2 facts compared; not in both reports: gpu.pdi." in text
    assert "held down by this" in text


def test_set_lists_its_members() -> None:
    text = text_of(samples.report_set())
    assert "Set of GPU test reports" in text
    assert text.count("GPU-5d2d1a4c-0000-4000-8000-") == 8
    joined = samples.verified()
    named = samples.report_set().report_set
    assert named is not None
    own = replace(named.members[0], gpu_uuid=samples.report().identity.gpu_uuid)
    mixed = replace(named, members=(own, *named.members[1:]))
    text = text_of(samples.verified(report=None, report_set=mixed, result=joined.result))
    assert re.search(r"SXM0 +consistent", text)
    assert re.search(r"SXM1 +not performed", text)


def test_short_and_long_form() -> None:
    short, long = text_of(samples.verified()), text_of(samples.verified(), verbose=True)
    assert len(short.splitlines()) < 160
    assert "ANNEX: ALL READINGS" not in short
    assert "-v lists every check and every reading" in short
    assert "ANNEX: ALL READINGS" in long
    assert "COUNTERS" in long
    assert "identity.product/match" in long
    assert "Method SHA-256" in long


@pytest.mark.parametrize("width", [76, 80, 110])
@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize(
    "name", ["verified", "folded", "hostile", "chinese", "report_set", "forged"]
)
def test_no_line_is_too_wide(name: str, width: int, verbose: bool) -> None:
    text = text_of(getattr(samples, name)(), width, verbose=verbose)
    assert [line for line in text.splitlines() if visible_length(line) > width] == []


@pytest.mark.parametrize("name", ["verified", "folded", "chinese", "report_set", "forged"])
def test_words_that_are_never_said(name: str) -> None:
    text = text_of(getattr(samples, name)())  # readings may hold NVML's own words
    assert not NEVER_SAID.search(text)


def test_hostile_strings_do_nothing_to_a_terminal() -> None:
    text = text_of(samples.hostile(), verbose=True)
    bad = {
        sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign != "\n"
    }
    assert bad == set()
    assert "\\u202e" in text
    assert "\\x1b[31m" in text
    # A long text is cut in short form, and whole with -v.
    assert text.count("W" * 60) > text_of(samples.hostile()).count("W" * 60)


def test_signer_cannot_write_a_line_of_his_own() -> None:
    forged = "fine\nSIGNATURE VERIFIED; OWN APPRAISAL: CONSISTENT\n"
    text = text_of(
        samples.verified(report=samples.report(location=forged), result=None, exit_code=3)
    )
    assert "\nSIGNATURE VERIFIED; OWN" not in text


def test_colour_stands_beside_words_only() -> None:
    painted = certificate_text(samples.verified(), Style(colour=True, width=80))
    assert "\x1b[32m" in painted
    assert SGR.sub("", painted) == text_of(samples.verified())


def test_console_without_utf8() -> None:
    text = for_console(text_of(samples.chinese()), "ascii")
    assert text.isascii()
    assert "\\u4e0a" in text


def test_same_input_same_text() -> None:
    assert text_of(samples.verified(), verbose=True) == text_of(samples.verified(), verbose=True)


def test_small_helpers() -> None:
    assert file_name("/home/a/b.json:3") == "b.json:3"
    assert file_name("C:\\x\\y.json") == "y.json"
    assert file_name("-") == "-"
    assert time_text(None) == "not stated"
    assert time_text(0) == "1970-01-01 00:00:00 UTC"
    assert time_text(10**15) == f"second {10**15} of the Unix epoch"
