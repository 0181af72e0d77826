"""Write docs/rules from the rules themselves: `python tests/tools/generate_rules.py`."""

from __future__ import annotations

from pathlib import Path

from gpuverify.rules.pages import pages

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "rules"


def main() -> None:
    """Write every page and remove those of rules that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
