"""verify.html as text: small, its policy fits its content, no way to anything but text."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from hash_verify_page import PAGE, policy_in_place

SOURCE = PAGE.read_text("utf-8")


def test_page_is_small() -> None:
    assert len(PAGE.read_bytes()) <= 10 * 1024


def test_policy_is_that_of_the_content() -> None:
    """Run tests/tools/hash_verify_page.py after an edit."""
    assert policy_in_place(SOURCE) == SOURCE
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', SOURCE)
    assert len(policy) == 1
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'",
        policy[0],
    )
    assert SOURCE.index("Content-Security-Policy") < SOURCE.index("<style>")


def test_nothing_but_text_is_written() -> None:
    for way in (
        "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(",
        "setAttribute", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "localStorage",
        "http:", "src=", "href=", "setTimeout", "postMessage", "location",
    ):  # fmt: skip
        assert way not in SOURCE.replace("https://in-toto.io/Statement/v1", ""), way


def test_it_says_what_it_does_not_do() -> None:
    said = " ".join(SOURCE.split())
    for word in ("does not appraise", "revocation", "time stamp", "challenge", "age limit"):
        assert word in said
    assert "never from the seller" in said
