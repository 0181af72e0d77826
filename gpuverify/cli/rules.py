"""`gpuverify rules`: the table of rules."""

from __future__ import annotations

import sys

import click


@click.command("rules", short_help="List the rules.")
def command() -> int:
    """List the rules: id, the question each speaks to, the group a policy requires it under."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.render.catalogue import rules_text
    from gpuverify.render.style import standard_style
    from gpuverify.rules import RULES

    write_stdout(rules_text(RULES, standard_style(sys.stdout)))
    return 0
