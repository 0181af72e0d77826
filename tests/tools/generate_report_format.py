"""Write docs/report-format.md from the JSON Schemas that ship with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "gpuverify" / "codec" / "data"
TARGET = ROOT / "docs" / "report-format.md"

INTRODUCTION = """# Report format

Generated from the JSON Schemas in `gpuverify/codec/data/`; `make generate` writes it anew.

A report file is a Sigstore bundle v0.3 with a public key (a bare DSSE envelope is read too) around
an in-toto Statement v1. One card makes one file of one line. Several cards make JSON Lines: the
statement of the set first, then the report of each card.

What every statement keeps to, and a reader refuses otherwise:

- JSON in UTF-8, no byte order mark, no member twice, at most 1 MiB, 16 levels, and 20,000
  characters a string; the file has at most 2 MiB.
- Numbers are integers of at most 2^53 - 1. There are no floats: every quantity is in its smallest
  unit.
- Member names are printable ASCII. Text is in Unicode's normal form C, without control, format,
  zero-width and bidi characters and without line ends.
- Times are `YYYY-MM-DDThh:mm:ssZ`, in UTC.
- A member that is not known is ignored and listed, and its value never shown.

Writers put out canonical JSON: sorted members, no blanks. Readers don't ask for it. The digest of a
report is the SHA-256 of its payload bytes, never of the envelope around them, which is not signed.

What a schema cannot say, a reader holds all the same: the subject is the digest of the identity
document, the identity document is what the claims say, a claim stands once for an id and source in
the place of its id, and a set names each of its cards once.
"""

FILES = ("report", "report-set", "challenge")


def kind(schema: dict[str, Any]) -> str:
    """Name the type of a member in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join("null" if word is None else f"`{word}`" for word in schema["enum"])
    if "oneOf" in schema:
        return "object or null"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = " or ".join(types)
    if schema["type"] == "array":
        inner = schema["items"]
        words = f"array of {'objects' if inner.get('type') == 'object' else kind(inner)}"
    if "pattern" in schema:
        words += f", `{schema['pattern']}`".replace("|", "\\|")
    return words


def rows(schema: dict[str, Any], prefix: str = "") -> list[str]:
    """Return a table row for each member, those of inner objects below their own."""
    found = []
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        path = f"{prefix}{name}"
        needed = "yes" if name in required else "no"
        found.append(f"| `{path}` | {needed} | {kind(member)} | {member.get('description', '')} |")
        inner, mark = member, "."
        if "oneOf" in member:
            inner = member["oneOf"][1]
        elif member.get("type") == "array":
            inner, mark = member["items"], "[]."
        if inner.get("type") == "object":
            found += rows(inner, path + mark)
    return found


def section(name: str) -> list[str]:
    """Return one schema as a section."""
    schema = json.loads((DATA / f"{name}-v1.schema.json").read_text(encoding="utf-8"))
    head = ["| Member | Needed | Type | Meaning |", "|---|---|---|---|"]
    parts = [f"## {schema['title']}", "", schema["description"], ""]
    parts += [f"Schema: `gpuverify/codec/data/{name}-v1.schema.json`", "", *head, *rows(schema), ""]
    for inner, definition in schema.get("$defs", {}).items():
        parts += [f"### {inner.capitalize()}", "", definition["description"], ""]
        parts += [*head, *rows(definition), ""]
    return parts


def frauds() -> list[str]:
    """Return the kinds of fraud that a report states its coverage of."""
    from gpuverify.model.fraud import FRAUDS

    parts = ["## Kinds of fraud", ""]
    parts += ["What `coverage` sorts, and what a run has to have done about it.", ""]
    parts += ["| Kind | Meaning | Rules | Covered from basis |", "|---|---|---|---|"]
    for fraud in FRAUDS:
        rules = ", ".join(f"`{rule}`" for rule in fraud.rules) or "none: no card shows it"
        basis = fraud.basis.value if fraud.rules else ""
        parts.append(f"| `{fraud.id}` | {fraud.text} | {rules} | {basis} |")
    return [*parts, ""]


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for name in FILES:
        parts += section(name)
    return "\n".join([*parts, *frauds()])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
