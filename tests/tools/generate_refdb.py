"""Rewrite what is generated from the reference data; with --check, say what is not current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def generated() -> dict[Path, str]:
    """Return every generated file with its text, the index first."""
    from gpuverify.model.product import Product
    from gpuverify.refdb.confusables import confusables_markdown
    from gpuverify.refdb.index import build_index
    from gpuverify.refdb.lint import only_measured
    from gpuverify.refdb.loader import DATA, family_files, load_family, load_sources
    from gpuverify.refdb.pages import fields_markdown, products_markdown

    kinds = {name: source.kind for name, source in load_sources().items()}
    products: list[Product] = [one for path in family_files() for one in load_family(path, kinds)]
    return {
        DATA / "index.json": build_index(),
        ROOT / "docs" / "confusables.md": confusables_markdown(products, only_measured()),
        ROOT / "docs" / "products.md": products_markdown(products),
        ROOT / "docs" / "reference-fields.md": fields_markdown(),
    }


def main() -> int:
    """Write, or with --check compare; return 1 where something was not current."""
    stale = [
        path
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if "--check" in sys.argv[1:]:
            sys.stdout.write(f"not current: {path.relative_to(ROOT)}\n")
        else:
            path.write_text(generated()[path], encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
