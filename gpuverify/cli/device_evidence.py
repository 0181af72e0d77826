"""`gpuverify device-evidence`: what GPUs signed about themselves."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.model.attestation import AttestationError, AttestationEvidence, AttestedDevice


@click.group("device-evidence", short_help="Show and verify what GPUs signed about themselves.")
def command() -> None:
    """Show and verify what GPUs signed about themselves (Hopper and later).

    FILE is the JSON that NVIDIA's attestation tools write, or a report in hex; then --chain names
    its certificates. Everything is done offline. The cards are not asked: gpuverify check does.
    """


_CHAIN = click.option("--chain", metavar="PEM", help="Certificates of a report in hex.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")


@command.command("show", short_help="Show everything that stands in a file.")
@click.argument("file", metavar="FILE")
@_CHAIN
@_JSON
def show(
    file: str,
    chain: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Show everything that stands in a file, without verifying any of it."""
    from gpuverify.cli.attaching import load_device_evidence
    from gpuverify.cli.output import write_stdout
    from gpuverify.device_evidence.describe import describe
    from gpuverify.render import device_evidence_text as render
    from gpuverify.render.result_json import document_text
    from gpuverify.render.style import standard_style

    given = load_device_evidence((file,), () if chain is None else (chain,))
    described = [describe(one) for one in given]
    if as_json:
        write_stdout(document_text(render.show_document(described)))
    else:
        write_stdout(render.show_text(described, standard_style(sys.stdout)))
    return 0


@command.command("verify", short_help="Verify chain, signature, nonce and firmware id.")
@click.argument("file", metavar="FILE")
@_CHAIN
@click.option("--nonce", metavar="HEX", help="The 32 bytes that you asked the GPUs to sign.")
@_JSON
def verify(
    file: str,
    chain: str | None,
    nonce: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Verify chain, signature, nonce and firmware id, offline.

    Exit 0: it stands and answers your nonce. 3: it stands, but without --nonce its age is not
    known. 65: it does not stand (E_HWATT, and which check it failed). That the GPU is the one in
    front of you is not shown here: gpuverify check compares the identifier.
    """
    from gpuverify.cli.attaching import load_device_evidence
    from gpuverify.cli.exit_codes import combine
    from gpuverify.cli.output import write_stdout
    from gpuverify.render import device_evidence_text as render
    from gpuverify.render.result_json import document_text
    from gpuverify.render.style import standard_style

    wanted = None if nonce is None else nonce_of(nonce)
    given = load_device_evidence((file,), () if chain is None else (chain,))
    now_s = int(time.time())
    rows = [(one, _verified(one, now_s, wanted)) for one in given]
    code = combine(_code(outcome) for _, outcome in rows)
    if as_json:
        write_stdout(document_text(render.verify_document(rows, code)))
    else:
        write_stdout(render.verify_text(rows, code, standard_style(sys.stdout)))
    return code


def _verified(
    one: AttestationEvidence, now_s: int, nonce: bytes | None
) -> AttestedDevice | AttestationError:
    """Verify one GPU's evidence and return what stands, or why it does not."""
    from gpuverify.device_evidence import chain
    from gpuverify.device_evidence.verify import verify_attestation
    from gpuverify.model.attestation import AttestationError

    try:
        return verify_attestation(one, now_s=now_s, nonce=nonce, roots=chain.NVIDIA_DEVICE_ROOTS)
    except AttestationError as error:
        return error


def _code(outcome: AttestedDevice | AttestationError) -> int:
    """Return the exit code of one GPU's evidence."""
    from gpuverify.model.attestation import AttestedDevice

    if not isinstance(outcome, AttestedDevice):
        return 65
    return 0 if outcome.nonce_bound else 3


def nonce_of(text: str) -> bytes:
    """Return the 32 bytes that --nonce names.

    Args:
        text: 64 hex digits, with or without 0x.

    Raises:
        UsageError: It is something else.
    """
    digits = text.strip().removeprefix("0x")
    try:
        nonce = bytes.fromhex(digits) if digits.isalnum() else b""
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        raise UsageError("--nonce has to be 64 hex digits: the 32 bytes that the GPUs signed")
    return nonce
