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


@command.command("field-run", short_help="Show what field runs say, or put them on file.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--into",
    metavar="FOLDER",
    help="Put them on file in this folder of reference data.",
)
def field_run(files: tuple[str, ...], into: str | None) -> int:
    """Show what the field-run.json of real cards say of a product, or put them on file.

    Shown per rate: how many cards and drivers, lowest, median and highest, and the band that
    results. Put on file are whole files alone: real cards, measured in full by the kernels of
    this version, without a wrong result, each card once. Nothing tells whether a file was made
    up: take in what comes from people you know.
    """
    from pathlib import Path

    from gpuverify.cli import field_runs
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.collect.selftest import pack_digests

    cards = field_runs.read_files(files, pack_digests())
    write_stdout(field_runs.cards_text(cards))
    if into is None:
        write_stdout(field_runs.shown_text(cards))
        return 0
    for path, data in field_runs.take_in(cards, Path(into)).items():
        write_stdout(field_runs.rates_text(data.product, data.runs, data.runs))
        write_stderr(f"gpuverify: written to {path}")
    return 0
