"""The certificate page in a real browser: inert, accessible, readable, printable."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import certificate_samples as samples
from browsers import chromium, opened

from gpuverify.model.refusal import Refusal
from gpuverify.model.verification import Stage, Verification
from gpuverify.render.certificate_html import certificate_page
from gpuverify.render.qr import label_text

pytestmark = pytest.mark.required


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def sample(name: str) -> Verification:
    if name == "stale":
        return samples.refused(Refusal.STALE, Stage.AGE, "41 days old; ask for a fresh report")
    made = getattr(samples, name)()
    assert isinstance(made, Verification)
    return made


def write(folder: Path, *names: str) -> Path:
    path = folder / f"{names[0]}.html"
    path.write_text(certificate_page([sample(name) for name in names]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("verified", "light", 1100),
        ("verified", "dark", 360),
        ("folded", "dark", 1100),
        ("hostile", "light", 360),
        ("chinese", "light", 360),
        ("stale", "dark", 700),
        ("report_set", "light", 360),
    ],
)
def test_accessible_and_silent(
    browser: Any, tmp_path: Path, name: str, scheme: str, width: int
) -> None:
    page = write(tmp_path, name)
    with opened(
        browser, page, color_scheme=scheme, viewport={"width": width, "height": 900}
    ) as tab:
        assert tab.axe() == []
        assert tab.requests == []
        assert tab.noise == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        tab.page.screenshot(path=str(tmp_path / f"{name}-{scheme}.png"), full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_strangers_reader_reads_the_code(browser: Any, tmp_path: Path, scheme: str) -> None:
    zxing = pytest.importorskip("zxingcpp")
    image = pytest.importorskip("PIL.Image")
    made = sample("verified")
    with opened(browser, write(tmp_path, "verified"), color_scheme=scheme) as tab:
        picture = tab.page.locator("svg.qr").screenshot()
    (code,) = zxing.read_barcodes(image.open(io.BytesIO(picture)))
    assert code.text == label_text(made.payload_sha256)


def test_several_certificates_are_accessible(browser: Any, tmp_path: Path) -> None:
    with opened(browser, write(tmp_path, "report_set", "verified", "folded")) as tab:
        assert tab.axe() == []
        assert tab.page.locator("article").count() == 3


def test_hostile_strings_are_inert(browser: Any, tmp_path: Path) -> None:
    with opened(browser, write(tmp_path, "hostile")) as tab:
        shown = tab.page.inner_text("body")
        for text in samples.HOSTILE:
            if text.isascii() and text.isprintable():
                assert text in shown
        assert tab.page.locator(":is(script, img, iframe, a, object)").count() == 0
        assert tab.page.locator("style").count() == 1
        assert tab.requests == []
        assert tab.noise == []


def test_chinese_text_has_glyphs(browser: Any, tmp_path: Path) -> None:
    """Two different signs differ on the screen, which boxes for a missing font would not."""
    with opened(browser, write(tmp_path, "chinese")) as tab:
        assert samples.CHINESE in tab.page.inner_text("body")
        drawn = tab.page.evaluate(
            """() => ["上", "海"].map((sign) => {
                const canvas = document.createElement("canvas");
                const pen = canvas.getContext("2d");
                pen.font = "40px " + getComputedStyle(document.body).fontFamily;
                pen.fillText(sign, 5, 45);
                return pen.getImageData(0, 0, 60, 60).data.join();
            })"""
        )
        assert drawn[0] != drawn[1]


def test_an_edited_style_is_blocked_and_words_stay(browser: Any, tmp_path: Path) -> None:
    page = write(tmp_path, "verified")
    text = page.read_text("utf-8")
    page.write_text(text.replace(".courtesy {", ".courtesy { display: none;"), encoding="utf-8")
    with opened(browser, page) as tab:
        assert tab.page.locator(".courtesy").first.is_visible()
        assert any("Content Security Policy" in line for line in tab.noise)


def test_prints_on_paper(browser: Any, tmp_path: Path) -> None:
    """Black on white whatever the screen has, with numbered pages."""
    with opened(browser, write(tmp_path, "verified"), color_scheme="dark") as tab:
        tab.page.emulate_media(media="print")
        colours = tab.page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        pdf = tab.page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        assert 5 <= pages <= 12
        sizes = {tuple(box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", pdf)}
        assert {(box[2][:3], box[3][:3]) for box in sizes} == {(b"594", b"841")}  # A4 in points
