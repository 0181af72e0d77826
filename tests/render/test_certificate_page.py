"""The certificate page as text: self-contained, inert, deterministic, drawn from numbers."""

from __future__ import annotations

import base64
import builtins
import hashlib
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import certificate_samples as samples

from gpuverify.errors import UsageError
from gpuverify.model.refusal import Refusal
from gpuverify.model.verification import Stage, Verification
from gpuverify.render.certificate_chart import gauge_svg, map_svg
from gpuverify.render.certificate_html import certificate_page
from gpuverify.render.measured_values import Gauge, MemoryMap
from gpuverify.render.qr import label_text, qr_svg

VOID = {"meta", "rect", "path"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "article", "section", "h1", "h2", "p",
    "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "bdi", "span", "div",
    "ul", "li", "svg", "rect", "path",
}  # fmt: skip


class Outline(HTMLParser):
    """Every element, and whether they close in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


def page_of(*verifications: Verification) -> str:
    return certificate_page(verifications)


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(samples.verified())


def test_page_is_self_contained_and_without_script(page: str) -> None:
    found = outline(page)
    assert {tag for tag, _ in found.elements} <= ALLOWED
    for tag, attributes in found.elements:
        assert not {"src", "href", "style", "srcset", "action", "data"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes)
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page


def test_policy_names_the_style_alone(page: str) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        in page
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert "url(" not in style
    assert "@import" not in style


def test_courtesy_copy_is_said_first(page: str) -> None:
    body = page[page.index("<body>") :]
    assert body.index("courtesy copy, not evidence") < body.index("<h1")
    assert body.index("courtesy copy") < body.index("SIGNATURE VERIFIED")


def test_same_input_same_bytes(page: str) -> None:
    assert page_of(samples.verified()) == page
    assert page_of(samples.verified(origin="/elsewhere/card.gpureport.json")) == page


def test_reader_keeps_his_folders_to_himself() -> None:
    made = page_of(samples.verified(origin="/home/alice/private/card.json:3"))
    assert "card.json:3" in made
    assert "/home/alice" not in made


def test_page_says_what_the_terminal_says(page: str) -> None:
    text = " ".join("".join(outline(page).text).split())
    for said in (
        "SIGNATURE VERIFIED; OWN APPRAISAL: CONSISTENT",
        "does not prove that a GPU was there",
        "The results relate only to the item tested.",
        f"As stated by key {samples.KEYID} (intake@reseller.example)",
        "1650922633008",
        "cards that are stolen or pledged",
        "not recorded by this tool",
        "identity.product/match",
        "rows remapped after correctable errors (remap.correctable_count)",
        f"End of report {samples.REPORT_ID}.",
        label_text(samples.DIGEST),
    ):
        assert said in text


@pytest.mark.parametrize("name", ["verified", "folded", "hostile", "chinese", "report_set"])
def test_structure(name: str) -> None:
    found = outline(page_of(getattr(samples, name)()))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    tags = [tag for tag, _ in found.elements]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    for tag, attributes in found.elements:
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
    assert ("html", {"lang": "en"}) in found.elements


def test_hostile_strings_are_text() -> None:
    found = outline(page_of(samples.hostile()))
    assert {tag for tag, _ in found.elements} <= ALLOWED
    text = "".join(found.text)
    for nasty in samples.HOSTILE:
        if nasty.isascii() and nasty.isprintable():
            assert nasty in text
    assert "\u202e" not in text
    assert "\u200b" not in text
    assert "\x1b" not in text
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)


def test_odd_report_id_stays_out_of_the_style() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page_of(samples.hostile()), re.S)
    assert "@bottom-left" not in style
    (style,) = re.findall(r"<style>(.*?)</style>", page_of(samples.verified()), re.S)
    assert f"Courtesy copy of report {samples.REPORT_ID}" in style


def test_no_page_of_what_is_not_relied_on() -> None:
    for verification in (
        samples.forged(),
        samples.refused(Refusal.SIGNER, Stage.SIGNER, "because"),
        Verification(origin="x", stages=()),
        samples.verified(keyid=""),
    ):
        with pytest.raises(UsageError, match="verified reports only"):
            page_of(verification)
        with pytest.raises(UsageError):
            page_of(samples.verified(), verification)
    with pytest.raises(UsageError):
        page_of()


def test_wrong_purpose_has_its_banner() -> None:
    made = page_of(samples.refused(Refusal.STALE, Stage.AGE, "41 days old"))
    assert made.index("BUT NOT FOR THIS PURPOSE") < made.index("1650922633008")
    assert 'class="banner doubt"' in made


def test_several_certificates_on_one_page() -> None:
    made = page_of(samples.report_set(), samples.verified(), samples.folded())
    found = outline(made)
    assert [tag for tag, _ in found.elements].count("article") == 3
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert "and 2 more" in made[: made.index("</title>")]


def test_gauges_are_drawn_only_where_timing_counts(page: str) -> None:
    assert page.count('class="gauge"') == 8
    odd = samples.with_claims(samples.report(), {"fingerprint.valid": False})
    assert 'class="gauge"' not in page_of(samples.verified(report=odd))


def gauge(value: int) -> Gauge:
    return Gauge(label="x", claim_id="x", value=value, text="", low=500, high=1000, band="b")


def test_gauge_geometry() -> None:
    inside, below, above = (gauge_svg(gauge(value)) for value in (750, 400, 5000))
    assert '<rect class="band" x="416" y="6" width="417"' in inside
    assert '<rect class="mark" x="621"' in inside
    assert 'class="mark off"' in below
    assert '<rect class="mark off" x="988"' in above
    assert gauge_svg(replace(gauge(1), low=None, high=None)) == ""
    assert gauge_svg(replace(gauge(1), value=None)) == ""


def memory(**changes: object) -> MemoryMap:
    made = MemoryMap(
        kind="whole", claimed=1000, tested=900, fold=None, slow=None, lost=None, bad_cells=0
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_map_geometry() -> None:
    assert '<rect class="tested" width="900"' in map_svg(memory(), "m")
    folded = map_svg(memory(kind="folded", fold=300), "m")
    assert '<rect class="tested" width="300"' in folded
    assert '<rect class="again" x="300" width="600"' in folded
    assert folded.count('class="seam"') == 2
    slow = map_svg(memory(slow=600), "m")
    assert '<rect class="slow" x="600" width="300"' in slow
    lost = map_svg(memory(lost=900), "m")
    assert '<rect class="lost" x="900"' in lost
    assert map_svg(memory(fold=1), "m").count('class="seam"') == 63
    assert 'aria-label="&quot;&lt;x&gt;"' in map_svg(memory(), '"<x>')


def test_bad_cells_and_unknown_class_are_said() -> None:
    assert "3 bad cells of 16 bytes" in memory(kind="stuck-bits", bad_cells=3).clauses()
    assert "does not know" in memory(kind="of-tomorrow").clauses()[0]


def test_label_is_the_digest() -> None:
    text = label_text("00" * 32)
    assert text == "GPUVERIFY1:" + "A" * 52
    prefix, _, encoded = label_text(samples.DIGEST).partition(":")
    assert prefix == "GPUVERIFY1"
    assert base64.b32decode(encoded + "====").hex() == samples.DIGEST
    for wrong, why in (("", "32 bytes"), ("00" * 31, "32 bytes"), ("zz" * 32, "hexadecimal")):
        with pytest.raises(ValueError, match=why):
            label_text(wrong)


def test_qr_code_holds_the_label() -> None:
    segno = pytest.importorskip("segno")
    text = label_text(samples.DIGEST)
    svg = qr_svg(text)
    rows = [list(row) for row in segno.make(text, error="m", boost_error=False).matrix]
    drawn = {
        (int(y) - 4, int(x) - 4 + step)
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1", svg)
        for step in range(int(length))
    }
    dark = {(y, x) for y, row in enumerate(rows) for x, module in enumerate(row) if module}
    assert drawn == dark
    assert len(rows) == 33  # version 4, as small as a label needs it


def test_without_segno_the_text_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "segno":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    made = page_of(samples.verified())
    assert 'class="qr"' not in made
    assert label_text(samples.DIGEST) in made
