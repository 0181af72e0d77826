"""`gpuverify verify`: check signed reports, and judge their evidence anew."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING

import click

from gpuverify.cli.verifying import Asked, trust_options
from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.cli.verify_outcome import Outcome

_SALE_OPTIONS = (
    click.option(
        "--claim",
        metavar="PRODUCT|FILE",
        help="What you were sold: product id, name, or a TOML file of [[item]]. Exit 0 needs it.",
    ),
    click.option("--memory", metavar="SIZE", help="Memory label of the product, e.g. 80GB."),
    click.option(
        "--condition",
        type=click.Choice(["new", "refurbished", "used"]),
        help="Condition that you were sold.",
    ),
    click.option(
        "--count", type=click.IntRange(min=1), metavar="N", help="How many boards you were sold."
    ),
    click.option(
        "--policy",
        default="standard",
        show_default=True,
        metavar="NAME|FILE",
        help="What a verdict requires: screen, standard, intake, or a TOML file.",
    ),
)
_PURPOSE_OPTIONS = (
    click.option("--challenge", metavar="FILE", help="The challenge that you set; it counts once."),
    click.option("--expect-serial", metavar="S", help="Serial number on the card's label."),
    click.option("--expect-uuid", metavar="UUID", help="UUID of the card."),
    click.option(
        "--max-age",
        default="30d",
        show_default=True,
        metavar="SPAN",
        help="How long ago the card may have been measured: 12h, 30d, none.",
    ),
    click.option(
        "--role",
        type=click.Choice(["seller", "carrier", "intake", "lab", "owner"]),
        help="Role in which the report has to be made.",
    ),
    click.option(
        "--min-refdb",
        metavar="VERSION",
        help="Oldest reference data that the signer may have used.",
    ),
    click.option(
        "--require-timestamp",
        is_flag=True,
        help="Refuse a report without a time stamp that counts.",
    ),
    click.option("--attachments", metavar="DIR", help="Folder with the report's attachments."),
    click.option(
        "--previous",
        multiple=True,
        metavar="FILE",
        help="An earlier report that this one names: looked at, and compared with. Repeatable.",
    ),
    click.option("--label", metavar="TEXT", help="What you scanned from the label's code."),
    click.option(
        "--record",
        is_flag=True,
        help="Write accepted reports into the journal (as --challenge does).",
    ),
)


def _options(function: click.decorators.FC) -> click.decorators.FC:
    """Add the options of a sale claim and of the purpose."""
    for option in reversed((*_SALE_OPTIONS, *_PURPOSE_OPTIONS)):
        function = option(function)
    return function


@click.command("verify", short_help="Check signed reports and judge their evidence anew.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@_options
@trust_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Write one JSON document a line and input.")
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=256),
    metavar="N",
    help="Processes for many reports; all cores where not given.",
)
@click.option("-v", "--verbose", is_flag=True, help="List every check and stage.")
def command(
    files: tuple[str, ...],
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    policy: str,
    challenge: str | None,
    expect_serial: str | None,
    expect_uuid: str | None,
    max_age: str,
    role: str | None,
    min_refdb: str | None,
    require_timestamp: bool,  # noqa: FBT001 - click passes by name
    attachments: str | None,
    previous: tuple[str, ...],
    label: str | None,
    record: bool,  # noqa: FBT001 - click passes by name
    trust: str | None,
    journal: str | None,
    no_journal: bool,  # noqa: FBT001 - click passes by name
    tsa_roots: tuple[str, ...],
    accept_replayed: bool,  # noqa: FBT001 - click passes by name
    as_json: bool,  # noqa: FBT001 - click passes by name
    as_lines: bool,  # noqa: FBT001 - click passes by name
    workers: int | None,
    verbose: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Check signed reports and judge their evidence anew.

    FILE is a report (a Sigstore bundle or DSSE envelope), or JSON Lines of them; - is standard
    input. The signature says who stated what; the verdict is your own: evidence is judged by your
    --claim, --policy and reference data, and what the signer concluded is shown as the signer's
    words. A report that is refused is listed with its code and stops no other.
    """
    if as_json and as_lines:
        raise UsageError("--json and --jsonl exclude each other")
    if files.count("-") > 1:
        raise UsageError("standard input (-) can be read once")
    if no_journal and (journal is not None or record or challenge is not None):
        what = "--challenge" if challenge is not None else "--journal and --record"
        raise UsageError(f"{what} needs the journal, which --no-journal leaves aside")
    asked = Asked(
        trust=trust,
        journal=journal,
        use_journal=not no_journal,
        record=record or challenge is not None,
        tsa_roots=tsa_roots,
        claim=claim,
        memory=memory,
        condition=condition,
        count=count,
        policy=policy,
        challenge=challenge,
        serial=expect_serial,
        uuid=expect_uuid,
        max_age=max_age,
        role=role,
        attachments=attachments,
        previous=previous,
        label=label,
        minimum_reference_version=min_refdb,
        require_timestamp=require_timestamp,
        accept_replayed=accept_replayed,
    )
    form = "json" if as_json else "jsonl" if as_lines else "verbose" if verbose else "text"
    return run(files, asked, form=form, workers=workers)


def run(files: tuple[str, ...], asked: Asked, *, form: str, workers: int | None) -> int:
    """Verify the files and write what came of them.

    Args:
        files: File names; "-" for standard input.
        asked: What is asked.
        form: text, verbose, json or jsonl.
        workers: Processes, None for all cores.

    Returns:
        The exit code over all documents.

    Raises:
        GpuverifyError: A lone file is missing; the reader's own files cannot be relied on.
    """
    from gpuverify.cli.verify_many import outcomes
    from gpuverify.cli.verifying import open_bench

    bench = open_bench(asked)
    with closing(outcomes(files, asked, bench, form=form, workers=workers)) as found:
        first = list(itertools.islice(found, 2))
        if len(first) == 1 and len(files) == 1:
            _lone(first[0], form)
            return first[0].exit_code
        return _listed(itertools.chain(first, found), form)


def _lone(outcome: Outcome, form: str) -> None:
    """Write the only outcome there is; a file that could not be read ends the command."""
    from gpuverify.cli.output import write_stdout

    if outcome.error is not None:
        raise outcome.error
    write_stdout(outcome.whole if form in ("text", "verbose") else outcome.text)


def _listed(found: itertools.chain[Outcome], form: str) -> int:
    """Write many outcomes as they come, then their sum."""
    from gpuverify.cli.exit_codes import PRECEDENCE
    from gpuverify.cli.output import write_stdout
    from gpuverify.render.verification_json import list_head, list_tail

    code, counts = 0, dict.fromkeys(PRECEDENCE, 0)
    begun = False
    for outcome in found:
        counts[outcome.exit_code] = counts.get(outcome.exit_code, 0) + 1
        code = min((code, outcome.exit_code), key=PRECEDENCE.index)
        if form == "json":
            write_stdout("," if begun else list_head())
        write_stdout(outcome.text)
        begun = True
    if not begun:
        raise UsageError("no report stands in what was given")
    if form == "json":
        write_stdout(list_tail(code))
    elif form != "jsonl":
        write_stdout(_sum(counts, code))
    return code


def _sum(counts: dict[int, int], code: int) -> str:
    """Lay out how many documents ended in which exit code."""
    from gpuverify.cli.exit_codes import MEANINGS

    total = sum(counts.values())
    rows = [f"{number:>8}  exit {c}: {MEANINGS[c]}" for c, number in counts.items() if number]
    return "\n".join(["", f"{total} documents, exit {code}", *rows, ""])
