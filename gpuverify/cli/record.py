"""`gpuverify record`: a new test case from this machine."""

from __future__ import annotations

import click


@click.command("record", short_help="Record every raw call as a redacted test case.")
@click.option(
    "-o", "--output", required=True, metavar="DIR", help="Folder to write; it must be new."
)
def command(output: str) -> int:
    """Record every raw call as a redacted test case.

    Writes each NVML call with its return code, and the files and commands that were read. Serial
    numbers, UUIDs and other identifying values are replaced; look through it before you share it.
    """
    from gpuverify.cli.output import write_stderr
    from gpuverify.cli.progress import Progress
    from gpuverify.codec.text import printable
    from gpuverify.collect.record import record_case

    with Progress() as progress:
        written = record_case(output, progress=progress)
    write_stderr(f"gpuverify: case written to {printable(str(written), 200)}")
    return 0
