"""A headless Chromium that lets nothing out and notes whatever wants to leave."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[1] / "foreign/node/node_modules/axe-core/axe.min.js"


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's own Chromium through playwright; skip where one of both is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass(slots=True)
class Tab:
    """A page that is open.

    Attributes:
        page: Playwright's page.
        requests: Addresses that anything on it asked for, the page itself left out.
        noise: Console messages, errors, dialogs.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)

    def axe(self, **rules: bool) -> list[str]:
        """Return what axe-core finds wrong. It is run past the page's policy, from the outside."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed (tests/foreign/node)")
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate(
            "async (options) => await axe.run(document, options)",
            {"rules": {name: {"enabled": on} for name, on in rules.items()}},
        )
        return [
            f"{one['id']}: {node['html'][:120]}"
            for one in found["violations"]
            for node in one["nodes"]
        ]


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Tab]:
    """Open a file and watch what it does."""
    context = browser.new_context(**options)
    page = context.new_page()
    tab = Tab(page)
    page.on("console", lambda message: tab.noise.append(message.text))
    page.on("pageerror", lambda error: tab.noise.append(str(error)))

    def dismiss(dialog: Any) -> None:
        tab.noise.append("dialog")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on(
        "request",
        lambda request: None if request.url == path.as_uri() else tab.requests.append(request.url),
    )
    page.goto(path.as_uri())
    yield tab
    context.close()
