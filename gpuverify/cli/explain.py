"""`gpuverify explain`: one rule in words."""

from __future__ import annotations

import sys

import click

from gpuverify.errors import UsageError


@click.command("explain", short_help="Say what a rule shows, and what it does not.")
@click.argument("name", metavar="RULE[/CODE]")
def command(name: str) -> int:
    """Say what a rule shows, what it does not show, and which honest card comes near it."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.codec.text import printable
    from gpuverify.render.catalogue import rule_text
    from gpuverify.render.style import standard_style
    from gpuverify.rules import RULES

    rule_id, slash, code_id = name.strip().partition("/")
    rules = {rule.id: rule for rule in RULES}
    rule = rules.get(rule_id)
    if rule is None:
        raise UsageError(
            f"there is no rule {printable(rule_id, 60)}{_near(rule_id, list(rules))};"
            " gpuverify rules lists them"
        )
    codes = [code.id for code in rule.codes]
    if slash and code_id not in codes:
        raise UsageError(
            f"the rule {rule.id} has no code {printable(code_id, 60)}; it has {', '.join(codes)}"
        )
    write_stdout(rule_text(rule, code_id, standard_style(sys.stdout)))
    return 0


def _near(word: str, known: list[str]) -> str:
    """Offer the names that come near a word."""
    import difflib

    near = difflib.get_close_matches(word[:80], known, n=3)
    near += [name for name in known if word and word in name and name not in near][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
