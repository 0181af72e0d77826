"""`gpuverify key`: make, list and export signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.signing.keys import PublicKey

TYPES = ("ed25519", "ecdsa-p256")
"""The kinds of key; a test holds them against gpuverify.signing.keys."""


@click.group("key", short_help="Make, list and export signing keys.")
def command() -> None:
    """Make, list and export the keys that sign reports.

    Private keys stay in the key folder ($GPUVERIFY_HOME/keys, ~/.config/gpuverify/keys), encrypted.
    A key in ssh-agent, in a token or in a TPM needs none of this: name it where you sign.
    """


@command.command("new", short_help="Make a key pair.")
@click.argument("name", metavar="NAME")
@click.option(
    "--type",
    "kind",
    type=click.Choice(TYPES),
    default="ed25519",
    show_default=True,
    help="What signs.",
)
@click.option("--comment", metavar="TEXT", help="Stands behind the public key; NAME by default.")
@click.option("--no-passphrase", is_flag=True, help="Write the private key in the clear, 0600.")
@click.option(
    "--passphrase-file", metavar="FILE", help="Take the passphrase from the first line of FILE."
)
def new(
    name: str,
    kind: str,
    comment: str | None,
    no_passphrase: bool,  # noqa: FBT001 - click passes by name
    passphrase_file: str | None,
) -> int:
    """Make a key pair named NAME in the key folder, and print its public half.

    The private key is an encrypted PKCS8 file that only you can read. Nothing is overwritten.
    """
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.signing.key_files import key_path, new_key, require_free

    if no_passphrase and passphrase_file is not None:
        raise UsageError("--no-passphrase and --passphrase-file contradict each other")
    require_free(name)
    line = _comment(name if comment is None else comment)
    passphrase = None if no_passphrase else _new_passphrase(passphrase_file)
    public = new_key(name, kind, passphrase, line)
    write_stdout(f"{public.openssh_line(line)}\n")
    write_stderr(f"gpuverify: private key in {key_path(name)}")
    write_stderr(f"gpuverify: fingerprint {public.keyid}")
    write_stderr("gpuverify: publish it where buyers can compare: your web site and your invoices")
    if no_passphrase:
        write_stderr("gpuverify: the private key is not encrypted: who copies the file can sign")
    return 0


def _comment(text: str) -> str:
    """Return a comment that fits on one line of a key file."""
    if len(text) > 200 or not text.isprintable():
        raise UsageError("a comment has at most 200 characters, none of them invisible")
    return text.strip()


def _new_passphrase(path: str | None) -> str:
    """Ask for a new passphrase, twice where a person types it."""
    from gpuverify.cli.passphrase import passphrase_from

    ask = passphrase_from(path)
    passphrase = ask("New passphrase")
    if not passphrase:
        raise UsageError("an empty passphrase; type one, or say --no-passphrase")
    if path is None and ask("The same passphrase again") != passphrase:
        raise UsageError("the two passphrases differ; nothing was written")
    return passphrase


@command.command("list", short_help="List the keys of the key folder and of ssh-agent.")
@click.option("--agent", is_flag=True, help="List what ssh-agent offers instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_command(
    agent: bool,  # noqa: FBT001 - click passes by name
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """List the keys of the key folder, or those that ssh-agent offers. No private key is opened."""
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.codec.text import printable

    keys = _agent_rows() if agent else _file_rows()
    if as_json:
        from gpuverify.render.result_json import document_text

        write_stdout(document_text({"schema": "gpuverify/keys/v1", "keys": keys}))
        return 0
    for key in keys:
        if key["problem"]:
            write_stderr(f"gpuverify: {printable(str(key['name']))}: {key['problem']}")
            continue
        write_stdout(f"{key['keyid']}  {key['kind']:<10}  {printable(str(key['name']))}\n")
    if not keys:
        hint = "ssh-add FILE adds one" if agent else "gpuverify key new NAME makes one"
        write_stderr(f"gpuverify: no key; {hint}")
    return 0


def _file_rows() -> list[dict[str, object]]:
    """Return the keys of the key folder as rows."""
    from gpuverify.signing.key_files import list_keys

    return [
        {
            "name": key.name,
            "kind": key.public.kind if key.public else None,
            "keyid": key.public.keyid if key.public else None,
            "problem": key.problem,
        }
        for key in list_keys()
    ]


def _agent_rows() -> list[dict[str, object]]:
    """Return the keys of ssh-agent as rows."""
    from gpuverify.signing.agent import agent_keys

    return [
        {
            "name": f"agent:{key.comment}",
            "kind": key.public.kind,
            "keyid": key.public.keyid,
            "problem": "",
        }
        for key in agent_keys()
    ]


@command.command("export", short_help="Print the public half of a key.")
@click.argument("name", metavar="NAME|FILE|agent:…")
@click.option("--ssh", "form", flag_value="ssh", help="One OpenSSH line (default).")
@click.option("--pem", "form", flag_value="pem", help="PEM, for openssl.")
@click.option(
    "--allowed-signers",
    "principal",
    metavar="PRINCIPAL",
    help="The line of a trust store or of ssh-keygen -Y, for this name.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["seller", "carrier", "intake", "lab", "owner"]),
    help="With --allowed-signers: in which role; seller by default. Repeatable.",
)
def export(name: str, form: str | None, principal: str | None, roles: tuple[str, ...]) -> int:
    """Print the public half of a key: what a buyer is given.

    NAME is a name of the key folder, a file with a public key, or agent: with a comment.
    """
    from gpuverify.cli.output import write_stdout

    if roles and principal is None:
        raise UsageError("--role goes with --allowed-signers: a bare key has no role")
    if form == "pem" and principal is not None:
        raise UsageError("--pem and --allowed-signers exclude each other: such a line holds no PEM")
    public = _public(name)
    if principal is not None:
        from gpuverify.signing.sshsig import NAMESPACE

        spaces = [NAMESPACE, *(f"gpuverify-role-{role}" for role in roles or ("seller",))]
        line = f'{_principal(principal)} namespaces="{",".join(spaces)}" {public.openssh_line()}'
        write_stdout(line + "\n")
    elif form == "pem":
        write_stdout(public.pem())
    else:
        write_stdout(public.openssh_line(_comment(name.removeprefix("agent:"))) + "\n")
    return 0


def _principal(text: str) -> str:
    """Return a principal that stands in an allowed_signers line as itself."""
    from gpuverify.codec.allowed_signers import name_fault
    from gpuverify.codec.text import printable

    if fault := name_fault(text):
        raise UsageError(
            f"'{printable(text, 80)}' is no principal ({fault}); give one like"
            " sales@reseller.example"
        )
    return text


def _public(name: str) -> PublicKey:
    """Find a public key by name, file or agent comment."""
    if name.startswith("agent:"):
        from gpuverify.signing.agent import open_agent_signer

        return open_agent_signer(name.removeprefix("agent:")).public
    from pathlib import Path

    from gpuverify.signing.key_files import public_half
    from gpuverify.signing.keys import MAX_KEY_BYTES, load_public_key

    if "/" not in name and not Path(name).is_file():
        return public_half(name)
    from gpuverify.codec.files import read_bounded
    from gpuverify.errors import MissingInputError

    try:
        return load_public_key(read_bounded(name, MAX_KEY_BYTES), name)
    except OSError as error:
        raise MissingInputError(f"{name}: {error.strerror}") from None
