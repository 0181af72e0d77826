"""Generated pages: one for each rule, and an index. Pure text; a script writes the files."""

from __future__ import annotations

import re

from gpuverify.model.finding import Code, Rule
from gpuverify.rules import RULES

GENERATED = "<!-- Generated from gpuverify/rules by tests/tools/generate_rules.py. Do not edit. -->"

_OUTCOMES = {
    "pass": "pass",
    "note": "note",
    "warn": "**warn**",
    "fail": "**fail**",
    "inconclusive": "inconclusive",
    "not-applicable": "not applicable",
}


def _cell(text: str) -> str:
    """Return a text for a table cell; placeholders stand in italics."""
    return re.sub(r"\{(\w+)\}", r"*\1*", text).replace("|", "\\|")


def _marks(code: Code) -> str:
    """Return what a code does beside its outcome."""
    marks = (
        (code.caps, "holds the verdict at unverified"),
        (code.defective, "a defect by the maker's criterion"),
        (code.used, "shows use"),
    )
    return ", ".join(text for held, text in marks if held)


def page(rule: Rule) -> str:
    """Return the page of one rule in Markdown."""
    over = "all cards of a read-out together" if rule.batch_check is not None else "each card"
    lines = [
        GENERATED,
        f"# {rule.id}",
        "",
        f"{rule.title}.",
        "",
        f"Axis: {rule.axis.value}. Group: {rule.group.value}. Judges {over}.",
        "",
        f"**A pass shows.** {rule.shows}",
        "",
        f"**It does not show.** {rule.limit}",
        "",
        f"**Must not trigger it.** {rule.near_miss}",
        "",
        "| code | outcome | says | beside that |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{code.id}` | {_OUTCOMES[code.outcome.value]} | {_cell(code.text)} | {_marks(code)} |"
        for code in rule.codes
    ]
    if rule.references:
        lines += ["", "Sources:", ""]
        lines += [f"- {reference}" for reference in rule.references]
    return "\n".join(lines) + "\n"


def index() -> str:
    """Return the list of all rules in Markdown, in the order in which findings are listed."""
    codes = sum(len(rule.codes) for rule in RULES)
    lines = [
        GENERATED,
        "# Rules",
        "",
        f"{len(RULES)} rules, {codes} codes. `gpuverify explain RULE` prints the same.",
        "",
        "| rule | axis | group | asks |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [{rule.id}]({rule.id}.md) | {rule.axis.value} | {rule.group.value} "
        f"| {_cell(rule.title)} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return every generated file of `docs/rules` by name."""
    return {"index.md": index(), **{f"{rule.id}.md": page(rule) for rule in RULES}}
