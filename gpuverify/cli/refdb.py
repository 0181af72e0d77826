"""`gpuverify refdb`: look into the reference data."""

from __future__ import annotations

import sys

import click


@click.group("refdb", short_help="Look into the reference data: show, diff, lint.")
def command() -> None:
    """Look into the reference data."""


@command.command("show", short_help="Show what is on file for a product.")
@click.argument("product", metavar="PRODUCT")
def show(product: str) -> int:
    """Show what is on file for a product, each value with its source."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.refdb import Database
    from gpuverify.render.catalogue import product_text
    from gpuverify.render.style import standard_style

    found, _ = Database.open().resolve(product)
    write_stdout(product_text(found, standard_style(sys.stdout)))
    return 0


@command.command("diff", short_help="Show what tells two products apart.")
@click.argument("left", metavar="PRODUCT")
@click.argument("right", metavar="PRODUCT")
def diff(left: str, right: str) -> int:
    """Show the reference values in which two products differ."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.refdb import Database
    from gpuverify.render.catalogue import difference_text
    from gpuverify.render.style import standard_style

    database = Database.open()
    (one, _), (other, _) = database.resolve(left), database.resolve(right)
    write_stdout(difference_text(one, other, standard_style(sys.stdout)))
    return 0


@command.command("lint", short_help="Check the reference data against its own laws.")
def lint() -> int:
    """Check the reference data against its own laws.

    Prints what tells each product from its confusable neighbours, then what is wrong, if anything.
    """
    from gpuverify.cli.output import write_stdout
    from gpuverify.errors import ReferenceDataError
    from gpuverify.refdb import Database
    from gpuverify.refdb.lint import lint as find_problems
    from gpuverify.render.catalogue import matrix_text

    problems = find_problems()
    write_stdout(matrix_text(Database.open().products()))
    if problems:
        write_stdout("".join(f"problem: {problem}\n" for problem in problems))
        raise ReferenceDataError(f"the reference data breaks its laws in {len(problems)} places")
    write_stdout("the reference data keeps its laws\n")
    return 0
