"""`gpuverify collect`: evidence only."""

from __future__ import annotations

import click

from gpuverify.cli.attaching import attached, device_evidence_options, load_device_evidence


@click.command("collect", short_help="Write down what this machine says, without judging.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; - for stdout.")
@click.option("--replay", metavar="CASE", help="Take a recorded case instead of this machine.")
@device_evidence_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(
    output: str,
    replay: str | None,
    device_evidence: tuple[str, ...],
    device_evidence_chain: tuple[str, ...],
    force: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Write down what this machine says, without judging.

    The file can be judged anywhere with gpuverify appraise; being unsigned, it proves nothing of
    itself. It is written even where no device answered (the command then ends with 69 or 77).
    """
    from gpuverify.cli.gather import gather, require_devices
    from gpuverify.cli.output import check_writable, write_file, write_stderr
    from gpuverify.cli.overwriting import spare_inputs
    from gpuverify.codec.evidence_json import dump_evidence
    from gpuverify.codec.text import printable
    from gpuverify.render.words import plural

    spare_inputs(
        [("-o", output)],
        [
            ("--replay", replay),
            *(("--device-evidence", path) for path in device_evidence),
            *(("--device-evidence-chain", path) for path in device_evidence_chain),
        ],
    )
    check_writable(output, replace=force)
    given = load_device_evidence(device_evidence, device_evidence_chain)
    evidence = attached(gather(replay), given)
    write_file(output, dump_evidence(evidence), replace=force)
    require_devices(evidence)
    write_stderr(
        f"gpuverify: {plural(len(evidence.devices), 'device')} written to {printable(output, 200)}"
    )
    return 0
