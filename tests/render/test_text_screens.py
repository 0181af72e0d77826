"""The screens: golden texts, one screen for eight cards, and words that are never said."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.sale import SaleClaim
from gpuverify.model.verdict import BatchResult, Verdict
from gpuverify.render.style import Style, for_console, visible_length
from gpuverify.render.text import Screen, result_text, summary_text

GOLDEN = Path(__file__).parent / "golden"
NEVER_SAID = re.compile(r"\b(genuine|fake|authentic|counterfeit|PASSED)\b|\bNone\b|\bN/A\b", re.I)


def test_golden(sample: tuple[str, Screen]) -> None:
    name, screen = sample
    path = GOLDEN / f"{name}.txt"
    text = result_text(screen)
    if os.environ.get("GPUVERIFY_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [76, 80, 110])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_console(
    sample: tuple[str, Screen], width: int, verbose: bool
) -> None:
    screen = replace(sample[1], style=Style(width=width), verbose=verbose)
    for line in result_text(screen).splitlines():
        assert len(line) <= width, line
        assert line == line.rstrip()


def test_eight_agreeing_cards_fit_one_screen(samples: dict[str, Screen]) -> None:
    text = result_text(samples["eight-mismatches"])
    assert text.count("\n") <= 32
    assert text.count("other-product") == 2  # told once for all eight, then in the next step


def test_some_words_are_never_said(sample: tuple[str, Screen]) -> None:
    text = result_text(replace(sample[1], verbose=True))
    assert not NEVER_SAID.search(text)


def test_reasons_stand_before_condition_and_limits_stand_last(
    samples: dict[str, Screen],
) -> None:
    text = result_text(samples["eight-mismatches"])
    order = [
        text.index(word)
        for word in (
            "Claimed",
            "MISMATCH:",
            "contradicts: PCI",
            "  Condition  no",
            "  History",
            "\nGPU  Name",
            "\nNext",
        )
    ]
    assert order == sorted(order)
    assert text.splitlines()[-1].startswith(("Limits", "          "))


def test_a_replay_says_so_on_every_screen(samples: dict[str, Screen]) -> None:
    text = result_text(samples["replayed-mismatch"])
    assert "Replay of case ga100/a100-40gb-sold-as-80gb: not a live card" in text
    assert "UNVERIFIED, on live evidence it would be MISMATCH" in text


def test_words_of_the_file_are_shown_as_its_own(samples: dict[str, Screen]) -> None:
    text = result_text(samples["nothing-claimed"])
    assert "the file's own words, not used here" in text
    assert "\u202e" not in text
    assert "nothing was claimed" in text


def test_many_stated_words_are_cut(samples: dict[str, Screen]) -> None:
    screen = samples["nothing-claimed"]
    evidence = replace(screen.evidence, stated=tuple((f"word-{n}", "x" * 500) for n in range(40)))
    text = result_text(replace(screen, evidence=evidence))
    assert "and 34 more" in text
    assert "word-7" not in text


def test_colour_changes_nothing_but_colour(sample: tuple[str, Screen]) -> None:
    plain = result_text(sample[1])
    coloured = result_text(replace(sample[1], style=Style(colour=True)))
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert all(visible_length(line) <= 80 for line in coloured.splitlines())


def test_hostile_names_do_no_harm(samples: dict[str, Screen]) -> None:
    screen = samples["eight-mismatches"]
    evil = "\x1b[2J\x9b31m\u202eNVIDIA\r\nVERDICT consistent\x00" + "A" * 5000
    first = screen.result.devices[0]
    claims = ClaimSet(
        tuple(
            Claim(id=name, status=ClaimStatus.OK, value=evil, source=Source.NVML)
            for name in ("gpu.name", "gpu.serial", "gpu.uuid", "pci.bus_id")
        )
    )
    bad = replace(
        first, device=DeviceEvidence(index=0, claims=claims), reasons=(evil, *first.reasons)
    )
    evidence = replace(screen.evidence, origin=evil, tool=evil, stated=((evil, evil),))
    result = replace(screen.result, devices=(bad,), policy_name=f"custom:{evil}", origin=evil)
    text = result_text(replace(screen, result=result, evidence=evidence, verbose=True))
    for sign in ("\x1b", "\x9b", "\u202e", "\r", "\x00"):
        assert sign not in text
    assert "\nVERDICT consistent" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert len(text) < 20_000


def test_an_absent_value_says_why(samples: dict[str, Screen]) -> None:
    screen = samples["eight-mismatches"]
    first = screen.result.devices[0]
    claims = ClaimSet(
        (
            Claim(id="gpu.name", status=ClaimStatus.NO_PERMISSION, source=Source.NVML),
            Claim(id="gpu.serial", status=ClaimStatus.NOT_SUPPORTED, source=Source.NVML),
        )
    )
    bare = replace(first, device=DeviceEvidence(index=0, claims=claims))
    text = result_text(replace(screen, result=replace(screen.result, devices=(bare,))))
    assert "(refused)" in text
    assert "(not supp" in text
    assert "(not asked)" in text


def test_two_hundred_cards_stay_readable(make_screen: Callable[..., Screen]) -> None:
    text = result_text(make_screen(200, {}))
    assert "and 185 more (185 mismatch); -v lists them" in text
    assert text.count("\n") < 45
    assert result_text(make_screen(200, {}, verbose=True)).count("\n") > 400


def test_groups_with_other_findings_are_told_apart(make_screen: Callable[..., Screen]) -> None:
    screen = make_screen(12, {})
    devices = tuple(
        replace(one, reasons=(f"reason of its own {number}",))
        for number, one in enumerate(screen.result.devices)
    )
    text = result_text(replace(screen, result=replace(screen.result, devices=devices)))
    assert "4 more GPUs with other findings; -v shows them" in text


def test_reasons_beyond_three_are_counted(make_screen: Callable[..., Screen]) -> None:
    reasons = tuple(f"reason number {number}" for number in range(10))
    text = result_text(make_screen(1, {"reasons": reasons}))
    assert "and 7 more reasons" in text
    assert "reason number 3" not in text


def test_a_card_beside_the_sale_is_named_as_such(make_screen: Callable[..., Screen]) -> None:
    text = result_text(make_screen(1, {"in_sale": False}))
    assert "not part of the sale" in text


def test_batch_reasons_are_told_once(make_screen: Callable[..., Screen]) -> None:
    batch = BatchResult(
        verdict=Verdict.MISMATCH,
        would_be=None,
        reasons=("7 boards seen where 8 were sold",),
        findings=(),
    )
    text = result_text(make_screen(1, {}, batch=batch))
    assert text.count("  - Together: 7 boards seen where 8 were sold") == 1


def test_an_undecided_batch_is_silent_beside_a_contradiction(
    make_screen: Callable[..., Screen],
) -> None:
    batch = BatchResult(
        verdict=Verdict.UNVERIFIED, would_be=None, reasons=("the set is incomplete",), findings=()
    )
    assert "incomplete" not in result_text(make_screen(1, {}, batch=batch))
    assert "incomplete" in result_text(make_screen(1, {}, batch=batch, verbose=True))


def test_neighbours_not_told_apart_are_one_reason(make_screen: Callable[..., Screen]) -> None:
    reasons = tuple(
        f"cannot tell sold from other-{number} by what was seen at the basis cross-checked;"
        f" needs a measured capacity{' or the NVLinks that exist' if number else ''}"
        for number in range(6)
    )
    text = " ".join(result_text(make_screen(1, {"reasons": ("first", *reasons)})).split())
    assert (
        "- first - cannot tell sold from other-0, other-1, other-2, other-3 and 2 more by what was"
        " seen; needs a measured capacity Checks" in text
    )
    verbose = result_text(make_screen(1, {"reasons": reasons}, verbose=True))
    assert verbose.count("cannot tell sold from") == 6


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("kind", list(EvidenceClass))
@pytest.mark.parametrize("claimed", [True, False])
def test_every_verdict_has_a_headline(
    make_screen: Callable[..., Screen], verdict: Verdict, kind: EvidenceClass, claimed: bool
) -> None:
    screen = make_screen(1, {"verdict": verdict}, evidence_class=kind, claimed=claimed)
    text = result_text(screen)
    assert verdict.value.upper() in text
    assert not NEVER_SAID.search(text)


def test_no_device_at_all(make_screen: Callable[..., Screen]) -> None:
    screen = make_screen(0, {})
    text = result_text(replace(screen, sale=SaleClaim()))
    assert "UNVERIFIED" in text


def test_summary_lists_each_input() -> None:
    rows = [("a.xml", "mismatch", 2), ("b\x1b.txt", "no such file", 66)]
    text = summary_text(rows, 2, Style())
    assert text.splitlines() == [
        "2 inputs, exit 2",
        "   2  a.xml: mismatch",
        "  66  b\\x1b.txt: no such file",
    ]


def test_the_screens_survive_consoles_without_utf_8(sample: tuple[str, Screen]) -> None:
    for encoding in ("ascii", "gbk", "cp1252", "latin-1"):
        for_console(result_text(sample[1]), encoding).encode("ascii")
