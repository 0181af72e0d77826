"""`gpuverify challenge`: a nonce that a fresh report has to answer."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gpuverify.model.report import Challenge


@click.group("challenge", short_help="Make a nonce that a fresh report has to answer.")
def command() -> None:
    """Make a nonce that a fresh report has to answer.

    Send the file to the seller, keep it, and give it to gpuverify verify --challenge. Without one,
    an honest old report looks like a new one.
    """


@command.command("new", short_help="Make a challenge.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; - for stdout.")
@click.option("--order", default="", metavar="TEXT", help="The purchase it belongs to.")
@click.option("--issuer", default="", metavar="NAME", help="Who asks; the seller reads it.")
@click.option(
    "--expires",
    default="72h",
    show_default=True,
    metavar="SPAN",
    help="How long it may be answered: 90m, 72h, 7d.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def new(
    output: str,
    order: str,
    issuer: str,
    expires: str,
    force: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Make a challenge: 32 random bytes, with an order and an end. It counts once."""
    from gpuverify.cli.moments import span
    from gpuverify.cli.output import check_writable, write_file, write_stderr
    from gpuverify.codec.text import printable
    from gpuverify.codec.utc_time import utc_text
    from gpuverify.signing.challenge import dump_challenge, new_challenge

    check_writable(output, replace=force)
    now_s = int(time.time())
    challenge = new_challenge(
        issuer=issuer, order=order, expires_s=now_s + span(expires, "--expires"), now_s=now_s
    )
    write_file(output, dump_challenge(challenge), replace=force)
    what = "what was written" if output == "-" else printable(output, 200)
    write_stderr(
        f"gpuverify: to be answered until {utc_text(challenge.expires_s)}; send {what} to the"
        " seller, and keep it for gpuverify verify --challenge"
    )
    return 0


@command.command("show", short_help="Show a challenge, and whether it was answered.")
@click.argument("file", metavar="FILE|-")
@click.option("--journal", metavar="FILE", help="Another journal than your own.")
@click.option(
    "--gpu-uuid",
    metavar="UUID",
    help="Also print the nonce that this GPU is asked to sign, for NVIDIA's attestation tools.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(
    file: str,
    journal: str | None,
    gpu_uuid: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Show a challenge, whether it has ended, and whether a report here has answered it.

    FILE is what gpuverify challenge new wrote; - is standard input.
    """
    from gpuverify.cli.output import write_stdout
    from gpuverify.codec.challenge_json import nonce_text
    from gpuverify.codec.utc_time import utc_text
    from gpuverify.signing.challenge import measurement_nonce, read_challenge
    from gpuverify.signing.journal import Journal

    challenge = _from_stdin() if file == "-" else read_challenge(file)
    book = Journal(journal)
    if journal is not None:
        book.require_there()
    answered = book.challenge_use(challenge.nonce)
    over = time.time() > challenge.expires_s
    attested = None if gpu_uuid is None else _attestation_nonce(challenge.nonce, gpu_uuid)
    document = {
        "schema": "gpuverify/challenge-state/v1",
        "nonce": nonce_text(challenge.nonce),
        "measurement_nonce": measurement_nonce(challenge),
        "attestation_nonce": attested,
        "issuer": challenge.issuer,
        "order": challenge.order,
        "issued": utc_text(challenge.issued_s),
        "expires": utc_text(challenge.expires_s),
        "expired": over,
        "answered_by": answered,
    }
    if as_json:
        from gpuverify.render.result_json import document_text

        write_stdout(document_text(document))
        return 0
    rows = (
        ("nonce", document["nonce"]),
        ("of measurements", document["measurement_nonce"]),
        *((("for that GPU", attested),) if attested is not None else ()),
        ("issuer", challenge.issuer or "not said"),
        ("order", challenge.order or "not said"),
        ("made", document["issued"]),
        ("to be answered", f"until {document['expires']}{', which is over' if over else ''}"),
        ("answered", f"by the report {answered}" if answered else "by no report in the journal"),
    )
    write_stdout("".join(f"{name:<15}  {value}\n" for name, value in rows))
    return 0


def _from_stdin() -> Challenge:
    """Read a challenge from standard input.

    Raises:
        MissingInputError: It is closed.
        FormatError: It is no challenge.
    """
    from gpuverify.codec.challenge_json import MAX_FILE_BYTES, load_challenge
    from gpuverify.errors import MissingInputError

    if sys.stdin is None:
        raise MissingInputError("standard input is closed; name a FILE")
    return load_challenge(sys.stdin.buffer.read(MAX_FILE_BYTES + 1), "standard input")


def _attestation_nonce(nonce: bytes, gpu_uuid: str) -> str:
    """Return the nonce that one GPU is asked to sign, hex.

    Raises:
        UsageError: The UUID is none; a nonce over a mistyped one would bind nothing.
    """
    from gpuverify.codec.identity_json import member_fits
    from gpuverify.codec.text import printable
    from gpuverify.errors import UsageError
    from gpuverify.model.attestation import attestation_nonce

    if not member_fits("gpu_uuid", gpu_uuid):
        raise UsageError(
            f"--gpu-uuid {printable(gpu_uuid, 60)}: give it as nvidia-smi -L prints it, GPU-… in"
            " lower case"
        )
    return attestation_nonce(nonce, gpu_uuid).hex()
