"""`gpuverify sign`: evidence becomes a signed report, as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuverify.cli.options import ask, sale_options, show
from gpuverify.cli.signing_options import prepare, report_options
from gpuverify.errors import SourceError, UsageError

if TYPE_CHECKING:
    from gpuverify.cli.signing_options import ReportWords


@click.command("sign", short_help="Sign evidence as a report, as what it is.")
@click.argument("evidence_file", metavar="EVIDENCE")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; - for stdout.")
@report_options
@sale_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(
    evidence_file: str,
    output: str,
    report: ReportWords,
    gpus: tuple[str, ...],
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    policy: str,
    verbose: bool,  # noqa: FBT001 - click passes by name
    force: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Sign evidence as a report, as what it is.

    EVIDENCE is a file of gpuverify collect or check --evidence-out, or an nvidia-smi log. What is
    read from a file was not collected live, and the report says so; to sign a live reading, use
    check --report-out. The report holds the evidence, and your verdict by --claim and --policy as
    your opinion. Several GPUs give a set statement and one report a GPU, a line each.

    Ends with 0 once the report is written, whatever the verdict.
    """
    from gpuverify.cli.output import write_stdout
    from gpuverify.cli.overwriting import (
        report_inputs,
        report_outputs,
        sale_inputs,
        spare_inputs,
    )
    from gpuverify.codec.read import load_path

    if verbose and output == "-":
        raise UsageError("-v and -o - both write to standard output; name a file")
    spare_inputs(
        report_outputs("-o", output, report),
        [("EVIDENCE", evidence_file), *sale_inputs(claim, policy), *report_inputs(report)],
    )
    signing = prepare(report, output, replace=force)
    question = ask(claim, memory, condition, count, policy, gpus)
    evidence = load_path(evidence_file)
    result = question.put(evidence)
    try:
        issued = signing.issue(evidence, result)
    except SourceError as error:
        if report.timestamp_url is None:
            raise
        raise SourceError(
            f"no report was written: {error}; or sign without --timestamp-url"
        ) from error
    signing.write(issued)
    if verbose:
        write_stdout(show(result, evidence, question, verbose=True))
    return 0
