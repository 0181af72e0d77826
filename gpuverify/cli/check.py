"""`gpuverify check`: ask the machine's cards, and judge."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from gpuverify.cli.attaching import attached, device_evidence_options, load_device_evidence
from gpuverify.cli.measuring import measure_options
from gpuverify.cli.options import ask, sale_options, show
from gpuverify.cli.signing_options import report_options
from gpuverify.errors import GpuverifyError, SourceError, UsageError

if TYPE_CHECKING:
    from gpuverify.cli.measuring import Wanted
    from gpuverify.cli.signing_options import ReportWords, Signing
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.verdict import Result


@click.command("check", short_help="Check this machine's GPUs against what was sold.")
@sale_options
@measure_options
@device_evidence_options
@click.option("--replay", metavar="CASE", help="Judge a recorded case instead of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option(
    "--evidence-out", metavar="FILE", help="Write the evidence to FILE, whatever the verdict."
)
@click.option(
    "--report-out", metavar="FILE", help="Write a signed report to FILE, whatever the verdict."
)
@report_options
@click.option("--force", is_flag=True, help="Replace an existing report.")
def command(
    gpus: tuple[str, ...],
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    policy: str,
    verbose: bool,  # noqa: FBT001 - click passes by name
    measure: str | None,
    nonce: str | None,
    measure_anyway: bool,  # noqa: FBT001 - click passes by name
    device_evidence: tuple[str, ...],
    device_evidence_chain: tuple[str, ...],
    replay: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    evidence_out: str | None,
    report_out: str | None,
    report: ReportWords,
    force: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Check this machine's GPUs against what was sold.

    Reads NVML, PCI configuration space, the kernel and nvidia-smi; changes nothing on the card.
    Run it as root where you can: PCI configuration space is closed to others. --measure overwrites
    the memory of every card and loads it; it says beforehand what, how long and how hot.
    """
    from gpuverify.cli.exit_codes import combine
    from gpuverify.cli.gather import gather, require_devices
    from gpuverify.cli.output import check_writable, write_file, write_stdout
    from gpuverify.cli.overwriting import (
        report_inputs,
        report_outputs,
        sale_inputs,
        spare_inputs,
    )

    spare_inputs(
        [("--evidence-out", evidence_out), *report_outputs("--report-out", report_out, report)],
        [
            ("--replay", replay),
            *sale_inputs(claim, policy),
            *report_inputs(report),
            *(("--device-evidence", path) for path in device_evidence),
            *(("--device-evidence-chain", path) for path in device_evidence_chain),
        ],
    )
    if evidence_out is not None:
        check_writable(evidence_out, replace=True)
    question = ask(claim, memory, condition, count, policy, gpus)
    signing = _signing(report_out, report, force=force, as_json=as_json)
    wanted = _wanted(measure or question.policy.measure, nonce, signing, anyway=measure_anyway)
    given = load_device_evidence(device_evidence, device_evidence_chain)
    challenge = _challenge(signing)
    evidence = attached(gather(replay, wanted, challenge=challenge), given)
    if evidence_out is not None:
        from gpuverify.codec.evidence_json import dump_evidence

        write_file(evidence_out, dump_evidence(evidence), replace=True)
    require_devices(evidence)
    result = question.put(evidence, challenge=challenge)
    written = 0 if signing is None else _report(signing, evidence, result)
    if as_json:
        from gpuverify.render.result_json import document_text, result_document

        write_stdout(document_text(result_document(result)))
    else:
        write_stdout(show(result, evidence, question, verbose=verbose))
    return result.exit_code if written == 0 else combine((result.exit_code, written))


def _signing(
    report_out: str | None, report: ReportWords, *, force: bool, as_json: bool
) -> Signing | None:
    """Open the key and read what the report names, before anything slow begins."""
    from gpuverify.cli.signing_options import prepare, refuse_stray

    if report_out is None:
        refuse_stray(report)
        return None
    if report_out == "-":
        what = "--json" if as_json else "the result"
        raise UsageError(f"--report-out -: {what} goes to standard output; name a file")
    return prepare(report, report_out, replace=force)


def _challenge(signing: Signing | None) -> bytes | None:
    """Return the nonce of the buyer's challenge, None where there is none."""
    asked = None if signing is None else signing.terms.challenge
    return None if asked is None else asked.nonce


def _wanted(
    level: str, nonce: str | None, signing: Signing | None, *, anyway: bool
) -> Wanted | None:
    """Say what is measured; a challenge keys the measurement."""
    from gpuverify.cli.measuring import Wanted

    challenge = None if signing is None else signing.terms.challenge
    if challenge is not None:
        from gpuverify.signing.challenge import measurement_nonce

        if nonce is not None:
            raise UsageError("--nonce and --challenge exclude each other: the challenge is it")
        nonce = measurement_nonce(challenge) if level != "none" else None
    return Wanted.of(level, nonce, anyway=anyway)


def _report(signing: Signing, evidence: Evidence, result: Result) -> int:
    """Sign and write the report; what prevents it must not take the verdict along.

    Returns:
        Exit code 0, or of what prevented it; what it was is said at once.
    """
    from gpuverify.cli.output import write_stderr
    from gpuverify.codec.text import printable

    code = 0
    try:
        try:
            issued = signing.issue(evidence, result)
        except SourceError as error:
            if signing.timestamp_url is None:
                raise
            # What was measured is not thrown away because an authority does not answer.
            write_stderr(f"gpuverify: no time stamp: {printable(str(error), 1000)}")
            code = error.exit_code
            issued = dataclasses.replace(signing, timestamp_url=None).issue(evidence, result)
        signing.write(issued)
    except GpuverifyError as error:
        write_stderr(f"gpuverify: no report was written: {printable(str(error), 1000)}")
        return error.exit_code
    return code
