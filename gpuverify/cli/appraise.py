"""`gpuverify appraise`: judge files, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from gpuverify.cli.attaching import attached, device_evidence_options, load_device_evidence
from gpuverify.cli.boundary import INTERRUPTED, Failure, guarded
from gpuverify.cli.options import Question, ask, sale_options, show
from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.model.attestation import AttestationEvidence


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of the inputs; results are kept only where one document holds them all.

    Attributes:
        rows: Input, verdict or error, and exit code of each input.
        results: JSON objects, for --json.
        errors: JSON objects, for --json.
    """

    rows: list[tuple[str, str, int]] = field(default_factory=list)
    results: list[dict[str, object]] = field(default_factory=list)
    errors: list[dict[str, object]] = field(default_factory=list)


@click.command("appraise", short_help="Judge evidence files and nvidia-smi logs.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@sale_options
@device_evidence_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Write one JSON document a line and input.")
def command(
    files: tuple[str, ...],
    gpus: tuple[str, ...],
    claim: str | None,
    memory: str | None,
    condition: str | None,
    count: int | None,
    policy: str,
    verbose: bool,  # noqa: FBT001 - click passes by name
    device_evidence: tuple[str, ...],
    device_evidence_chain: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click passes by name
    as_lines: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Judge evidence files and nvidia-smi logs.

    FILE is evidence of gpuverify collect, the XML of nvidia-smi -q -x or the text of nvidia-smi -q;
    - is standard input. A file that cannot be read is listed and stops no other. What is read from
    a file is never consistent by itself (exit 3 at best): anyone can edit it.
    """
    if as_json and as_lines:
        raise UsageError("--json and --jsonl exclude each other")
    if files.count("-") > 1:
        raise UsageError("standard input (-) can be read once")
    question = ask(claim, memory, condition, count, policy, gpus)
    if len(files) == 1 and not as_lines:
        given = load_device_evidence(device_evidence, device_evidence_chain)
        return _one(files[0], question, given, as_json=as_json, verbose=verbose)
    if device_evidence or device_evidence_chain:
        raise UsageError("--device-evidence goes with one FILE and without --jsonl")
    return _several(files, question, as_json=as_json, as_lines=as_lines, verbose=verbose)


def _one(
    name: str,
    question: Question,
    given: tuple[AttestationEvidence, ...],
    *,
    as_json: bool,
    verbose: bool,
) -> int:
    """Judge one file; what goes wrong goes to the entry."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.cli.progress import Progress
    from gpuverify.codec.read import load_path
    from gpuverify.render.result_json import document_text, result_document

    with Progress() as progress:
        progress(f"reading {name}")
        evidence = attached(load_path(name), given)
        result = question.put(evidence)
    if as_json:
        write_stdout(document_text(result_document(result)))
    else:
        write_stdout(show(result, evidence, question, verbose=verbose))
    return result.exit_code


def _several(
    files: tuple[str, ...], question: Question, *, as_json: bool, as_lines: bool, verbose: bool
) -> int:
    """Judge several files, each on its own."""
    from gpuverify.cli.exit_codes import combine
    from gpuverify.cli.output import write_stdout

    tally = Tally()
    for name in files:
        _input(name, question, tally, as_json=as_json, as_lines=as_lines, verbose=verbose)
    code = combine(row[2] for row in tally.rows)
    if as_json:
        from gpuverify.render.result_json import document_text, results_document

        write_stdout(document_text(results_document(tally.results, tally.errors, code)))
    elif not as_lines:
        import sys

        from gpuverify.render.style import standard_style
        from gpuverify.render.text import summary_text

        write_stdout(summary_text(tally.rows, code, standard_style(sys.stdout)))
    return code


def _input(
    name: str, question: Question, tally: Tally, *, as_json: bool, as_lines: bool, verbose: bool
) -> None:
    """Judge one of several files and write or keep what came of it."""
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.cli.progress import Progress
    from gpuverify.codec.read import load_path
    from gpuverify.render.result_json import document_text, result_document
    from gpuverify.render.words import verdict_cell

    def judge() -> tuple[str, str, int, dict[str, object]]:
        """Read, judge and lay out."""
        with Progress() as progress:
            progress(f"reading {name}")
            evidence = load_path(name)
            result = question.put(evidence)
        told = verdict_cell(result.verdict, result.would_be)
        if as_json or as_lines:
            document = result_document(result)
            text = document_text(document, compact=True) if as_lines else ""
            return text, told, result.exit_code, document
        return show(result, evidence, question, verbose=verbose), told, result.exit_code, {}

    outcome = guarded(judge)
    if isinstance(outcome, Failure):
        if outcome.exit_code == INTERRUPTED:
            raise KeyboardInterrupt
        _failed(name, outcome, tally, as_lines=as_lines)
        if not as_json and not as_lines:
            write_stderr(f"gpuverify: {outcome.message}")
        if outcome.trace:
            write_stderr(outcome.trace)
        return
    text, told, code, document = outcome
    tally.rows.append((name, told, code))
    if as_json:
        tally.results.append(document)
    else:
        write_stdout(text if as_lines else text + "\n")


def _failed(name: str, failure: Failure, tally: Tally, *, as_lines: bool) -> None:
    """List an input that gave no result."""
    from gpuverify.cli.output import write_stdout
    from gpuverify.codec.text import printable
    from gpuverify.render.result_json import document_text

    tally.rows.append((name, failure.message.removeprefix(f"{name}: "), failure.exit_code))
    error: dict[str, object] = {
        "input": printable(name, 1000),
        "code": failure.code,
        "message": failure.message,
        "exit_code": failure.exit_code,
    }
    tally.errors.append(error)
    if as_lines:
        document = {"schema": "gpuverify/error/v1", "error": error}
        write_stdout(document_text(document, compact=True))
