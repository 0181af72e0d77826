"""Write the digests of verify.html's script and style into its content security policy.

Run after the page was edited: python tests/tools/hash_verify_page.py
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "gpuverify/render/data/verify.html"


def digest(text: str) -> str:
    """Return a digest as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def policy_in_place(page: str) -> str:
    """Return the page with the digests of its own script and style."""
    for name in ("script", "style"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.S)
        page = re.sub(rf"{name}-src 'sha256-[^']*'", f"{name}-src '{digest(content)}'", page)
    return page


if __name__ == "__main__":
    PAGE.write_text(policy_in_place(PAGE.read_text("utf-8")), encoding="utf-8")
