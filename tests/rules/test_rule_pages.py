"""The generated pages are current and complete."""

from __future__ import annotations

from pathlib import Path

from gpuverify.rules import RULES
from gpuverify.rules.pages import index, page, pages

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "rules"


def test_pages_are_current() -> None:
    wanted = pages()
    assert {path.name for path in FOLDER.glob("*.md")} == set(wanted)
    stale = [name for name, text in wanted.items() if (FOLDER / name).read_text("utf-8") != text]
    assert stale == [], "run tests/tools/generate_rules.py"


def test_a_page_names_every_code() -> None:
    for rule in RULES:
        text = page(rule)
        assert rule.title in text
        for code in rule.codes:
            assert f"`{code.id}`" in text
        assert "{observed}" not in text


def test_the_index_lists_every_rule() -> None:
    text = index()
    for rule in RULES:
        assert f"({rule.id}.md)" in text
