"""`gpuverify selftest`: a field run on a real card."""

from __future__ import annotations

import click


@click.command("selftest", short_help="Measure a real card in full and keep the result.")
@click.option("--gpu", required=True, metavar="UUID", help="The card: UUID or PCI bus id.")
@click.option(
    "-o",
    "--output",
    default="gpuverify-selftest",
    show_default=True,
    metavar="DIR",
    help="Folder to write; it must be new.",
)
@click.option("--nonce", metavar="HEX", help="Key the test patterns with this; else drawn.")
def command(gpu: str, output: str, nonce: str | None) -> int:
    """Measure a real card in full, and keep what came of it.

    The kernels were made and tested without a GPU. What this writes, a redacted case and
    field-run.json with the measured values, tells how they do on a real one: look through it, then
    share it. It names the card by a digest of its UUID alone, so that no card counts twice; see
    gpuverify refdb field-run. All memory of the card is overwritten.
    """
    from gpuverify.cli.measuring import MeasureDisplay
    from gpuverify.cli.output import write_stderr
    from gpuverify.cli.progress import Progress
    from gpuverify.codec.text import printable
    from gpuverify.collect.measure import ChosenMeasurer
    from gpuverify.collect.selftest import run_selftest
    from gpuverify.measure.plan import request

    wanted = request("full", nonce)
    with Progress() as progress:
        measure = ChosenMeasurer(wanted, gpu, MeasureDisplay(before=progress.clear))
        done = run_selftest(output, measure, progress=progress)
    for bus_id, state in sorted(done.states.items()):
        write_stderr(f"gpuverify: {bus_id}: {printable(state, 200)}")
    if done.void:
        write_stderr(f"gpuverify: wrong results in {', '.join(done.void)}: report this, please")
    write_stderr(f"gpuverify: written to {printable(str(done.folder), 200)}")
    return 0 if done.well else 69
