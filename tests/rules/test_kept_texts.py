"""What is kept between cards is bounded in size, and says the same as what is built anew."""

from __future__ import annotations

import pytest

from gpuverify.model.claims import Basis, Claim, ClaimStatus, Source
from gpuverify.model.keeping import LONGEST_KEPT, kept_if_short
from gpuverify.rules.compare import _kept_said as kept_said
from gpuverify.rules.compare import finding, says
from gpuverify.rules.kept import build_finding, kept_finding
from gpuverify.rules.product import PRODUCT


def claim(text: str) -> Claim:
    return Claim(id="gpu.name", status=ClaimStatus.OK, value=text, source=Source.NVML)


@pytest.mark.parametrize("length", [LONGEST_KEPT, LONGEST_KEPT + 1])
def test_only_short_texts_are_kept(length: int) -> None:
    text = f"A name of {length} characters ".ljust(length, ".")
    kept = length <= LONGEST_KEPT
    findings, sayings = kept_finding.cache_info().misses, kept_said.cache_info().misses
    found = finding(PRODUCT, PRODUCT.codes[0].id, observed=text)
    said = says(claim(text))
    assert (kept_finding.cache_info().misses > findings) is kept
    assert (kept_said.cache_info().misses > sayings) is kept
    assert text in found.message
    assert said == f"NVML reports {text}"


def test_what_is_kept_equals_what_is_built() -> None:
    words = ("seen", "wanted", Basis.REPORTED, ("nvml:gpu.name",), (), "gpu.name", 1)
    for code in PRODUCT.codes:
        assert kept_finding(PRODUCT, code.id, *words) == build_finding(PRODUCT, code.id, *words)


def test_true_is_not_one() -> None:
    code, basis = PRODUCT.codes[0].id, Basis.REPORTED
    values = [
        kept_finding(PRODUCT, code, "", "", basis, (), (), "", value).observed_value
        for value in (1, True)
    ]
    assert [type(value) for value in values] == [int, bool]


def test_a_kept_answer_is_asked_for_once_and_a_long_text_each_time() -> None:
    asked: list[object] = []

    @kept_if_short(8)
    def answer(word: object, other: str = "") -> str:
        asked.append(word)
        return f"{word}{other}"

    long = "x" * (LONGEST_KEPT + 1)
    for word in ("a", "a", 1, True, 1, long, long):
        assert answer(word) == str(word)
    assert [str(word)[:4] for word in asked] == ["a", "1", "True", "xxxx", "xxxx"]
    assert answer.__name__ == "answer"
