"""`gpuverify trust`: whose reports count, as whom, and in which role."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpuverify.model.report import Role
    from gpuverify.signing.keys import PublicKey
    from gpuverify.signing.trust import TrustedKey, TrustStore

ROLES = ("seller", "carrier", "intake", "lab", "owner")
"""The roles; a test holds them against gpuverify.model.report."""

REASONS = ("superseded", "compromised")
"""The reasons of a revocation; a test holds them against gpuverify.signing.trust."""

_STORE = click.option(
    "--trust", "store", metavar="FILE", help="Another trust file than your own (allowed_signers)."
)


@click.group("trust", short_help="Say whose reports count, and in which role.")
def command() -> None:
    """Say whose reports count, as whom and in which role.

    A key counts only after you compared its fingerprint with what its owner told you on another
    way than the one the key came by. Nothing is ever trusted because it came with a report.
    """


@command.command("add", short_help="Trust a key, after comparing its fingerprint.")
@click.argument("file", metavar="FILE")
@click.option(
    "--principal",
    "principals",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Who signs with it, e.g. sales@reseller.example. Repeatable.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    help="In which role; seller by default. Repeatable.",
)
@click.option("--test", is_flag=True, help="A key of exercises: its reports never count.")
@click.option("--valid-after", metavar="DATE", help="Not before this day or moment (UTC).")
@click.option(
    "--valid-before",
    metavar="DATE",
    help="Not after this moment (UTC); a day counts to its end.",
)
@click.option(
    "--fingerprint",
    metavar="SHA256:…",
    help="What the owner told you: compares without asking. Needed without a terminal.",
)
@_STORE
def add(
    file: str,
    principals: tuple[str, ...],
    roles: tuple[str, ...],
    test: bool,  # noqa: FBT001 - click passes by name
    valid_after: str | None,
    valid_before: str | None,
    fingerprint: str | None,
    store: str | None,
) -> int:
    """Trust the public key in FILE: an OpenSSH line, a PEM file or an allowed_signers line.

    Names, roles and dates come from your options alone, never from the file.
    """
    from gpuverify.cli.moments import moment
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.codec.utc_time import utc_text
    from gpuverify.model.report import Role
    from gpuverify.signing.trust import TrustStore, add_key

    granted = tuple(Role(role) for role in dict.fromkeys(roles or ("seller",)))
    after = moment(valid_after, "--valid-after") if valid_after is not None else None
    before = _end(valid_before) if valid_before is not None else None
    path = _path(store)
    standing = TrustStore.load(str(path)) if path.exists() else None
    public = _read_key(file)
    write_stderr(f"key          {public.kind}")
    write_stderr(f"fingerprint  {public.keyid}")
    write_stderr(f"signs as     {_clean(', '.join(principals))}")
    write_stderr(f"in the role  {_words(granted)}{' (test key: nothing counts)' if test else ''}")
    write_stderr(
        f"valid        {'from ' + utc_text(after) if after is not None else 'from any time'}"
        f" {'until ' + utc_text(before) if before is not None else 'without end'}"
    )
    _compare(public, fingerprint)
    add_key(
        path,
        public,
        principals=principals,
        roles=granted,
        test=test,
        valid_after_s=after,
        valid_before_s=before,
    )
    write_stdout(f"{public.keyid}  {_clean(', '.join(principals))}  {_words(granted)}\n")
    gone = None if standing is None else standing.revocation(public.keyid)
    if gone is None:
        write_stderr(f"gpuverify: {_since(after, before)}, in {_clean(str(path))}")
    else:
        write_stderr(
            f"gpuverify: written to {_clean(str(path))}; but this key is revoked ({gone.reason}"
            f" since {utc_text(gone.at_s)}), and stays so"
        )
    return 0


def _end(text: str) -> int:
    """Read --valid-before: an end that is still to come.

    Raises:
        UsageError: Not a moment, or one that is over.
    """
    from gpuverify.cli.moments import moment
    from gpuverify.codec.utc_time import utc_text

    end = moment(text, "--valid-before", last=True)
    if end < time.time():
        raise UsageError(
            f"--valid-before: {utc_text(end)} is over, so the key would count for nothing new; to"
            " keep its earlier reports alone, trust it without an end and say gpuverify trust"
            " revoke KEYID --reason superseded --at DATE"
        )
    return end


def _since(after: int | None, before: int | None) -> str:
    """Say from when to when a key counts that was just added."""
    from gpuverify.codec.utc_time import utc_text

    late = after is not None and after > time.time()
    begin = f"not trusted before {utc_text(after or 0)}" if late else "trusted from now on"
    if before is None:
        return begin
    return f"{begin}{', then' if late else ''} until {utc_text(before)}"


@command.command("list", short_help="List the keys that count, and those that were revoked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@_STORE
def list_command(
    as_json: bool,  # noqa: FBT001 - click passes by name
    store: str | None,
) -> int:
    """List the keys that count, and those that were revoked."""
    from gpuverify.cli.output import write_stderr, write_stdout
    from gpuverify.signing.trust import TrustStore

    loaded = TrustStore.load(store)
    if as_json:
        from gpuverify.render.result_json import document_text

        write_stdout(document_text(_document(loaded)))
        return 0
    now_s = int(time.time())
    for key in loaded.keys:
        write_stdout(_key_text(key, loaded, now_s))
    known = {key.public.keyid for key in loaded.keys}
    for entry in loaded.revocations:
        if entry.keyid not in known:
            write_stdout(f"{entry.keyid}\n  {_revoked_text(entry.reason, entry.at_s)}\n")
    if not loaded.keys:
        write_stderr(f"gpuverify: no key is trusted ({loaded.origin}); gpuverify trust add FILE")
    return 0


@command.command("remove", short_help="Forget a key.")
@click.argument("keyid", metavar="KEYID")
@_STORE
def remove(keyid: str, store: str | None) -> int:
    """Forget a key: all its reports are then of an unknown key, old ones too.

    To keep the reports that it signed before a date, revoke it as superseded instead.
    """
    from gpuverify.cli.output import write_stderr
    from gpuverify.signing.trust import remove_key

    path = _path(store)
    key = remove_key(path, keyid)
    write_stderr(
        f"gpuverify: {key.public.keyid} ({_clean(', '.join(key.principals))}) is trusted no longer"
    )
    return 0


@command.command("revoke", short_help="Let a key count no longer, from a date on.")
@click.argument("keyid", metavar="KEYID")
@click.option(
    "--reason",
    type=click.Choice(REASONS),
    required=True,
    help="superseded: earlier reports stay valid. compromised: all fall, except those that a time"
    " stamp or your own journal proves to be earlier.",
)
@click.option("--at", "at", metavar="DATE", help="Since when (UTC); now by default.")
@_STORE
def revoke(keyid: str, reason: str, at: str | None, store: str | None) -> int:
    """Let a key count no longer. It need not be in the trust file."""
    from gpuverify.cli.moments import moment
    from gpuverify.cli.output import write_stderr
    from gpuverify.signing.trust import revoke_key

    at_s = moment(at, "--at") if at is not None else int(time.time())
    entry = revoke_key(_path(store), keyid, reason=reason, at_s=at_s)
    write_stderr(f"gpuverify: {entry.keyid}: {_revoked_text(entry.reason, entry.at_s)}")
    return 0


def _path(store: str | None) -> Path:
    """Return the trust file that is meant."""
    from pathlib import Path

    from gpuverify.signing.trust import default_path

    return default_path() if store is None else Path(store)


def _read_key(file: str) -> PublicKey:
    """Read the one key of a file; of an allowed_signers line nothing but the key is taken."""
    from gpuverify.codec.allowed_signers import read_allowed_signers
    from gpuverify.codec.files import read_bounded
    from gpuverify.errors import MissingInputError
    from gpuverify.signing.keys import MAX_KEY_BYTES, load_public_key

    shown = _clean(file)
    if file == "-" and sys.stdin is None:
        raise MissingInputError("standard input is closed; name a FILE")
    try:
        data = sys.stdin.buffer.read(MAX_KEY_BYTES + 1) if file == "-" else None
        data = read_bounded(file, MAX_KEY_BYTES) if data is None else data
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MissingInputError(f"{shown}: {reason}") from None
    if len(data) <= MAX_KEY_BYTES and b" namespaces=" in data and b"PRIVATE KEY" not in data:
        lines = read_allowed_signers(data, shown)
        data = "".join(f"{line.key_type} {line.key}\n" for line in lines).encode()
    return load_public_key(data, shown)


def _compare(public: PublicKey, fingerprint: str | None) -> None:
    """Have the fingerprint compared; without a comparison nothing is trusted.

    Raises:
        Refused: E_TRUST: it is another one than the owner told.
        UsageError: Nobody compared it.
    """
    from gpuverify.cli.output import write_stderr
    from gpuverify.model.refusal import Refusal, Refused

    if fingerprint is not None:
        if fingerprint.strip() != public.keyid:
            raise Refused(
                Refusal.TRUST,
                f"the key in the file has fingerprint {public.keyid}, not"
                f" {_clean(fingerprint.strip())}; nothing was trusted, ask its owner again",
            )
        return
    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "there is no terminal to ask at; give --fingerprint SHA256:… as the owner of the key"
            " told it to you, not as read from the file"
        )
    write_stderr("")
    write_stderr(
        "Compare the fingerprint with what the owner told you on another way: by telephone,"
    )
    write_stderr("on an invoice, in person. Whoever sent the file could have sent another key.")
    sys.stderr.write("Is it the same? Type yes to trust this key: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("not confirmed; nothing was trusted")


def _key_text(key: TrustedKey, store: TrustStore, now_s: int) -> str:
    """Lay out one key."""
    from gpuverify.codec.utc_time import utc_text

    lines = [f"{key.public.keyid}  {_clean(', '.join(key.principals))}"]
    roles = _words(key.roles) or "no role: none of its reports is accepted"
    lines.append(f"  {key.public.kind}, {'TEST KEY, ' if key.is_test else ''}{roles}")
    if key.valid_after_s is not None and now_s < key.valid_after_s:
        lines.append(f"  not valid before {utc_text(key.valid_after_s)}")
    if key.valid_before_s is not None:
        word = "expired" if now_s > key.valid_before_s else "valid until"
        lines.append(f"  {word} {utc_text(key.valid_before_s)}")
    if key.comment:
        lines.append(f"  {_clean(key.comment)}")
    if (gone := store.revocation(key.public.keyid)) is not None:
        lines.append(f"  {_revoked_text(gone.reason, gone.at_s)}")
    return "\n".join(lines) + "\n"


def _revoked_text(reason: str, at_s: int) -> str:
    """Say what a revocation does."""
    from gpuverify.codec.utc_time import utc_text

    when = utc_text(at_s)
    if reason == "superseded":
        return f"REVOKED, superseded since {when}: earlier reports stay valid"
    return f"REVOKED, compromised since {when}: only what is proven to be earlier stays valid"


def _document(store: TrustStore) -> dict[str, object]:
    """Return the store as a document for scripts."""
    from gpuverify.codec.utc_time import utc_text

    def when(seconds: int | None) -> str | None:
        return None if seconds is None else utc_text(seconds)

    return {
        "schema": "gpuverify/trust/v1",
        "file": store.origin,
        "keys": [
            {
                "keyid": key.public.keyid,
                "kind": key.public.kind,
                "principals": list(key.principals),
                "roles": [role.value for role in key.roles],
                "test": key.is_test,
                "valid_after": when(key.valid_after_s),
                "valid_before": when(key.valid_before_s),
                "comment": key.comment,
                "line": key.line,
            }
            for key in store.keys
        ],
        "revocations": [
            {"keyid": entry.keyid, "at": utc_text(entry.at_s), "reason": entry.reason}
            for entry in store.revocations
        ],
    }


def _words(roles: tuple[Role, ...]) -> str:
    """Return roles as a list in words."""
    return ", ".join(role.value for role in roles)


def _clean(text: str) -> str:
    """Return text that a terminal shows as itself."""
    from gpuverify.codec.text import printable

    return printable(text, 300)
