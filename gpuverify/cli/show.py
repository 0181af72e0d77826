"""`gpuverify show`: a signed report as a certificate, on a terminal or as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpuverify.cli.verifying import Asked, trust_options
from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuverify.cli.overwriting import Named
    from gpuverify.model.verification import Verification


@click.command("show", short_help="Show a signed report as a certificate.")
@click.argument("file", required=False, metavar="FILE|-")
@click.option("--claim", metavar="PRODUCT|FILE", help="What you were sold, for your own appraisal.")
@click.option("--memory", metavar="SIZE", help="Memory label of the product, e.g. 80GB.")
@click.option(
    "--condition",
    type=click.Choice(["new", "refurbished", "used"]),
    help="Condition that you were sold.",
)
@click.option(
    "--policy",
    default="standard",
    show_default=True,
    metavar="NAME|FILE",
    help="What a verdict requires: screen, standard, intake, or a TOML file.",
)
@trust_options
@click.option("--html", metavar="FILE", help="Write one page for a browser or a printer instead.")
@click.option(
    "--identity",
    is_flag=True,
    help="Write the identity document instead, whose digest is the subject of the report.",
)
@click.option(
    "--verify-page",
    metavar="FILE",
    help="Write verify.html: a page that checks signatures offline, for who has no gpuverify.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("-v", "--verbose", is_flag=True, help="List every check, stage and reading.")
def command(
    file: str | None,
    claim: str | None,
    memory: str | None,
    condition: str | None,
    policy: str,
    trust: str | None,
    journal: str | None,
    no_journal: bool,  # noqa: FBT001 - click passes by name
    tsa_roots: tuple[str, ...],
    accept_replayed: bool,  # noqa: FBT001 - click passes by name
    html: str | None,
    identity: bool,  # noqa: FBT001 - click passes by name
    verify_page: str | None,
    force: bool,  # noqa: FBT001 - click passes by name
    verbose: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Show a signed report as a certificate.

    FILE is a report (a Sigstore bundle or DSSE envelope), or JSON Lines of them; - is standard
    input. Nothing of it is shown unless the signature of a key that you trust verified. How old
    it is, in which role it was made and what it answers are not asked here: see gpuverify verify.
    """
    if verify_page is not None:
        if file is not None or html is not None or identity:
            raise UsageError("--verify-page stands alone: it writes a page for any report")
        return _write_verify_page(verify_page, force=force)
    if file is None:
        raise UsageError("which report? name a FILE, or - for standard input")
    if html is not None and identity:
        raise UsageError("--html and --identity exclude each other")
    asked = Asked(
        trust=trust,
        journal=journal,
        use_journal=not no_journal,
        tsa_roots=tsa_roots,
        claim=claim,
        memory=memory,
        condition=condition,
        policy=policy,
        max_age="none",
        accept_replayed=accept_replayed,
    )
    if html is not None:
        from gpuverify.cli.output import check_writable
        from gpuverify.cli.overwriting import spare_inputs

        spare_inputs([("--html", html)], _inputs(file, asked))
        check_writable(html, replace=force)
    found = _verify(file, asked)
    if identity:
        return _write_identity(found)
    if html is not None:
        return _write_page(found, html, force=force)
    return _write_text(found, verbose=verbose)


def _inputs(file: str, asked: Asked) -> Iterator[Named]:
    """Yield the files that are read, your own trust store and journal among them."""
    from gpuverify.cli.overwriting import sale_inputs
    from gpuverify.signing import journal, trust
    from gpuverify.signing.home import config_dir
    from gpuverify.signing.timestamp import ROOTS_NAME

    yield "FILE", file
    store = trust.default_path() if asked.trust is None else Path(asked.trust)
    yield "--trust", str(store)
    yield "--trust", str(store.parent / trust.REVOCATIONS_NAME)
    yield "--journal", str(journal.default_path()) if asked.journal is None else asked.journal
    for path in asked.tsa_roots or (str(config_dir() / ROOTS_NAME),):
        yield "--tsa-roots", path
    yield from sale_inputs(asked.claim, asked.policy)


def _verify(file: str, asked: Asked) -> list[Verification]:
    """Verify every document of a file."""
    from gpuverify.cli.progress import Progress
    from gpuverify.cli.verifying import documents, open_bench, verify_unit
    from gpuverify.codec.report_units import iter_units

    with Progress() as progress:
        progress(f"reading {file}")
        bench = open_bench(asked)
        found = [
            verification
            for unit in iter_units(documents([file]))
            for verification in verify_unit(unit, bench)
        ]
    if not found:
        raise UsageError(f"{file}: no report stands in it")
    return found


def _exit_code(found: list[Verification]) -> int:
    """Return the exit code over all documents, as `gpuverify verify` gives it."""
    from gpuverify.cli.exit_codes import combine

    return combine(verification.exit_code for verification in found)


def _write_text(found: list[Verification], *, verbose: bool) -> int:
    """Print the certificates."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.render.certificate_text import certificate_text
    from gpuverify.render.style import standard_style

    style = standard_style(sys.stdout)
    for number, verification in enumerate(found):
        rule = f"\n{'─' * style.width}\n\n" if number else ""
        write_stdout(rule + certificate_text(verification, style, verbose=verbose))
    return _exit_code(found)


def _write_page(found: list[Verification], path: str, *, force: bool) -> int:
    """Write the page; of documents that are not relied on there is none."""
    from gpuverify.cli.output import write_file, write_stderr
    from gpuverify.render.certificate import shown

    if not all(shown(verification) for verification in found):
        from gpuverify.cli.exit_codes import combine

        _write_text([one for one in found if not shown(one)], verbose=False)
        write_stderr("gpuverify: no page was written: pages hold verified reports only")
        return combine(one.exit_code for one in found if not shown(one))
    from gpuverify.render.certificate_html import certificate_page

    write_file(path, certificate_page(found).encode(), replace=force)
    return _exit_code(found)


def _write_identity(found: list[Verification]) -> int:
    """Print the identity document of the one report."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.codec.identity_json import identity_bytes
    from gpuverify.render.certificate import shown

    if not all(shown(verification) for verification in found):
        return _write_text(found, verbose=False)
    reports = [verification.report for verification in found if verification.report is not None]
    if len(reports) != 1:
        raise UsageError(
            f"--identity takes one report, not {len(reports)}; give one line of the set"
        )
    # Without a line end: these very bytes are the ones whose digest is the subject.
    write_stdout(identity_bytes(reports[0].identity).decode())
    return _exit_code(found)


def _write_verify_page(path: str, *, force: bool) -> int:
    """Write the page that checks signatures."""
    from importlib import resources

    from gpuverify.cli.output import write_file

    page = resources.files("gpuverify.render").joinpath("data/verify.html").read_bytes()
    write_file(path, page, replace=force)
    return 0
