"""`gpuverify check`: ask the machine's cards, and judge."""

from __future__ import annotations

import click

from gpuverify.cli.attaching import attached, device_evidence_options, load_device_evidence
from gpuverify.cli.measuring import measure_options
from gpuverify.cli.options import ask, sale_options, show


@click.command("check", short_help="Check this machine's GPUs against what was sold.")
@sale_options
@measure_options
@device_evidence_options
@click.option("--replay", metavar="CASE", help="Judge a recorded case instead of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option(
    "--evidence-out", metavar="FILE", help="Write the evidence to FILE, whatever the verdict."
)
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
) -> int:
    """Check this machine's GPUs against what was sold.

    Reads NVML, PCI configuration space, the kernel and nvidia-smi; changes nothing on the card.
    Run it as root where you can: PCI configuration space is closed to others. --measure overwrites
    the memory of every card and loads it; it says beforehand what, how long and how hot.
    """
    from gpuverify.cli.gather import gather, require_devices
    from gpuverify.cli.measuring import Wanted
    from gpuverify.cli.output import check_writable, write_file, write_stdout

    if evidence_out is not None:
        check_writable(evidence_out, replace=True)
    question = ask(claim, memory, condition, count, policy, gpus)
    wanted = Wanted.of(measure or question.policy.measure, nonce, anyway=measure_anyway)
    given = load_device_evidence(device_evidence, device_evidence_chain)
    evidence = attached(gather(replay, wanted), given)
    if evidence_out is not None:
        from gpuverify.codec.evidence_json import dump_evidence

        write_file(evidence_out, dump_evidence(evidence), replace=True)
    require_devices(evidence)
    result = question.put(evidence)
    if as_json:
        from gpuverify.render.result_json import document_text, result_document

        write_stdout(document_text(result_document(result)))
    else:
        write_stdout(show(result, evidence, question, verbose=verbose))
    return result.exit_code
