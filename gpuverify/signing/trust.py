"""The trust store: which keys count, as whom, in which role, and from when to when.

A key that came with a report counts for nothing; only lines that the owner of the store wrote do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpuverify.codec.allowed_signers import (
    MAX_FILE_BYTES,
    SignerLine,
    name_fault,
    read_allowed_signers,
    write_line,
)
from gpuverify.codec.revocations_toml import (
    REASONS,
    Revocation,
    is_keyid,
    read_revocations,
    write_revocations,
)
from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_text
from gpuverify.errors import UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.home import config_dir, ensure_private_dir
from gpuverify.signing.trust_store_file import (
    locked,
    read_private,
    replace_file,
)

if TYPE_CHECKING:
    from gpuverify.model.report import Role
    from gpuverify.signing.keys import PublicKey

__all__ = [
    "NAMESPACE_REPORT",
    "NAMESPACE_TEST",
    "REASONS",
    "Revocation",
    "TrustStore",
    "TrustedKey",
    "add_key",
    "default_path",
    "remove_key",
    "revoke_key",
]

NAMESPACE_REPORT = "gpuverify-report"
"""What a key has to be vouched for to sign reports that count."""

NAMESPACE_TEST = "gpuverify-test"
"""Namespace of keys of tests and exercises: never beside `NAMESPACE_REPORT`."""

_ROLE = "gpuverify-role-"
_OURS = "gpuverify-"
_RESERVED = ("gpuverify-refdb", "gpuverify-rotation")  # keys of other documents, kept apart
FILE_NAME = "allowed_signers"
REVOCATIONS_NAME = "revocations.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """One key of the store.

    Attributes:
        public: The key.
        principals: Names that it may sign as.
        namespaces: What it may sign; one of `NAMESPACE_REPORT` and `NAMESPACE_TEST` among them.
        roles: Roles that it may sign in.
        valid_after_s: First second of validity, seconds since 1970; None without a limit.
        valid_before_s: Last second of validity; None without a limit.
        comment: Free text of its line.
        line: Number of its line in the file, from 1.
    """

    public: PublicKey
    principals: tuple[str, ...]
    namespaces: tuple[str, ...]
    roles: tuple[Role, ...]
    valid_after_s: int | None
    valid_before_s: int | None
    comment: str
    line: int

    @property
    def is_test(self) -> bool:
        """Whether this is a key of tests, whose reports count for nothing."""
        return NAMESPACE_TEST in self.namespaces

    def valid_at(self, time_s: int) -> bool:
        """Say whether the key was valid at a moment, as OpenSSH judges it: both ends included.

        Args:
            time_s: The moment, seconds since 1970.
        """
        return (self.valid_after_s is None or time_s >= self.valid_after_s) and (
            self.valid_before_s is None or time_s <= self.valid_before_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStore:
    """The keys that count, and those that count no longer.

    Attributes:
        origin: The file, for people.
        keys: The keys in the order of the file; no key stands twice.
        revocations: The revocations.
    """

    origin: str
    keys: tuple[TrustedKey, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    _by_keyid: dict[str, TrustedKey] = field(init=False, repr=False, compare=False)
    _revoked: dict[str, Revocation] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the keys: a report is looked up by its keyid."""
        object.__setattr__(self, "_by_keyid", {key.public.keyid: key for key in self.keys})
        object.__setattr__(self, "_revoked", {entry.keyid: entry for entry in self.revocations})

    @classmethod
    def load(cls, path: str | None = None) -> TrustStore:
        """Read the store, and `revocations.toml` in the same folder where there is one.

        Args:
            path: The file; the user's own where None, and then it may be missing: nobody is
                trusted.

        Raises:
            Refused: E_TRUST: the file or its folder is writable for others, or a line vouches for
                more than is meant or for a key of a kind that is not supported.
            MissingInputError: The named file is not there.
        """
        file = default_path() if path is None else Path(path)
        data = read_private(file, MAX_FILE_BYTES, missing_ok=path is None)
        beside = file.parent / REVOCATIONS_NAME
        revoked = read_private(beside, MAX_FILE_BYTES, missing_ok=True)
        origin = printable(str(file), 200)
        return cls(
            origin=origin,
            keys=parse_keys(data, origin) if data is not None else (),
            revocations=()
            if revoked is None
            else read_revocations(revoked, printable(str(beside), 200)),
        )

    def candidates(self, keyid: str) -> tuple[TrustedKey, ...]:
        """Return the keys that a signature may be tried with.

        Args:
            keyid: What the envelope names; only a hint, for it is not signed.

        Returns:
            The key of that id, or none; all keys where the envelope names none.
        """
        if not keyid:
            return self.keys
        found = self._by_keyid.get(keyid)
        return () if found is None else (found,)

    def revocation(self, keyid: str) -> Revocation | None:
        """Return the revocation of a key; None where it has none.

        Args:
            keyid: OpenSSH fingerprint of the key.
        """
        return self._revoked.get(keyid)


def default_path() -> Path:
    """Return where the user's own store is, whether it exists or not."""
    return config_dir() / FILE_NAME


def parse_keys(data: bytes, origin: str) -> tuple[TrustedKey, ...]:
    """Read the keys of a trust file.

    Args:
        data: allowed_signers lines.
        origin: What was read, for the message.

    Raises:
        Refused: E_TRUST, with the line and what to write instead.
    """
    keys: list[TrustedKey] = []
    lines: dict[str, int] = {}
    for line in read_allowed_signers(data, origin):
        key = _trusted_key(line, f"{origin}: line {line.number}")
        first = lines.setdefault(key.public.keyid, line.number)
        if first != line.number:
            raise Refused(
                Refusal.TRUST,
                f"{origin}: line {line.number}: the same key stands in line {first}; a key has one"
                " line, with all its names in it",
            )
        keys.append(key)
    return tuple(keys)


def _trusted_key(line: SignerLine, where: str) -> TrustedKey:
    """Judge one line: the namespaces and roles that we know, a key of a kind that we verify."""
    from gpuverify.model.report import Role
    from gpuverify.signing.keys import load_public_key

    known = {_ROLE + role.value: role for role in Role}
    for name in line.namespaces:
        if name.startswith(_OURS) and name not in (
            NAMESPACE_REPORT,
            NAMESPACE_TEST,
            *_RESERVED,
            *known,
        ):
            raise Refused(
                Refusal.TRUST,
                f"{where}: unknown namespace {name!r}; known are {NAMESPACE_REPORT},"
                f" {NAMESPACE_TEST} and {', '.join(known)}",
            )
    counted = NAMESPACE_REPORT in line.namespaces
    tests = NAMESPACE_TEST in line.namespaces
    if counted == tests:
        raise Refused(
            Refusal.TRUST,
            f"{where}: "
            + (
                f"a key of {NAMESPACE_TEST} never signs in {NAMESPACE_REPORT} too; remove one"
                if counted
                else f"names neither {NAMESPACE_REPORT} nor {NAMESPACE_TEST}, so it vouches for no"
                " report; add one, or move the line to another file"
            ),
        )
    return TrustedKey(
        public=load_public_key(f"{line.key_type} {line.key}\n".encode(), where),
        principals=line.principals,
        namespaces=line.namespaces,
        roles=tuple(known[name] for name in line.namespaces if name in known),
        valid_after_s=line.valid_after_s,
        valid_before_s=line.valid_before_s,
        comment=line.comment,
        line=line.number,
    )


def add_key(
    path: Path,
    public: PublicKey,
    *,
    principals: tuple[str, ...],
    roles: tuple[Role, ...],
    test: bool = False,
    valid_after_s: int | None = None,
    valid_before_s: int | None = None,
    comment: str = "",
) -> TrustedKey:
    """Add a key that a person has compared with its owner's words.

    Args:
        path: The trust file; it is made where there is none.
        public: The key.
        principals: Names that it may sign as.
        roles: Roles that it may sign in.
        test: Whether it is a key of tests.
        valid_after_s: First second of validity, seconds since 1970.
        valid_before_s: Last second of validity.
        comment: Free text for the line.

    Returns:
        The key as it now stands in the store.

    Raises:
        UsageError: A name cannot be a principal, the validity is empty, or the key is there.
        Refused: E_TRUST: the store as it stands cannot be relied on.
        OutputError: The file cannot be written.
    """
    if not principals or not roles:
        raise UsageError("a key needs at least one principal and one role")
    for name in principals:
        if fault := name_fault(name):
            raise UsageError(f"principal {printable(name, 60)!r}: {fault}")
    if not comment.isprintable():
        raise UsageError("a comment has no control or invisible characters")
    if valid_after_s is not None and valid_before_s is not None and valid_after_s >= valid_before_s:
        raise UsageError("the key would never be valid: its first moment is not before its last")
    line = write_line(
        principals=tuple(dict.fromkeys(principals)),
        namespaces=(
            NAMESPACE_TEST if test else NAMESPACE_REPORT,
            *(_ROLE + role.value for role in dict.fromkeys(roles)),
        ),
        public_key=public.openssh_line(comment),
        valid_after_s=valid_after_s,
        valid_before_s=valid_before_s,
    )

    def edit(text: str) -> str:
        origin = printable(str(path), 200)
        for key in parse_keys(text.encode("utf-8"), origin):
            if key.public.keyid == public.keyid:
                raise UsageError(
                    f"{origin}: {public.keyid} is there already, in line {key.line}, as"
                    f" {', '.join(key.principals)}; to change it, remove it and add it again"
                )
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"

    after = _edit(path, edit)
    return next(key for key in after if key.public.keyid == public.keyid)


def remove_key(path: Path, keyid: str) -> TrustedKey:
    """Take a key out of the store; comments and all other lines stay as they are.

    Args:
        path: The trust file.
        keyid: OpenSSH fingerprint of the key.

    Returns:
        The key that stood there.

    Raises:
        UsageError: There is no such key.
        Refused: E_TRUST: the store as it stands cannot be relied on.
        OutputError: The file cannot be written.
    """
    removed: list[TrustedKey] = []

    def edit(text: str) -> str:
        origin = printable(str(path), 200)
        for key in parse_keys(text.encode("utf-8"), origin):
            if key.public.keyid == keyid:
                removed.append(key)
                lines = text.split("\n")
                del lines[key.line - 1]
                return "\n".join(lines)
        raise UsageError(
            f"{origin}: no key {printable(keyid, 80)}; `gpuverify trust list` shows what is there"
        )

    _edit(path, edit)
    return removed[0]


def _edit(path: Path, change: Callable[[str], str]) -> tuple[TrustedKey, ...]:
    """Read, change, check and write a trust file, as its only writer."""
    ensure_private_dir(path.parent)
    with locked(path):
        data = read_private(path, MAX_FILE_BYTES, missing_ok=True) or b""
        parse_keys(data, printable(str(path), 200))  # nothing is built on a file that is not read
        changed = change(data.decode("utf-8")).encode("utf-8")
        after = parse_keys(changed, printable(str(path), 200))
        replace_file(path, changed)
    return after


def revoke_key(path: Path, keyid: str, *, reason: str, at_s: int) -> Revocation:
    """Let a key count no longer; it need not stand in the store.

    Args:
        path: The trust file; `revocations.toml` beside it is written.
        keyid: OpenSSH fingerprint of the key.
        reason: One of `REASONS`.
        at_s: Since when, seconds since 1970.

    Returns:
        The revocation as it now stands.

    Raises:
        UsageError: Not a fingerprint, an unknown reason, or it would weaken what stands there.
        Refused: E_TRUST: the revocations as they stand cannot be relied on.
        OutputError: The file cannot be written.
    """
    if not is_keyid(keyid):
        raise UsageError(
            f"{printable(keyid, 80)!r} is no fingerprint; give SHA256: and 43 characters, as"
            " `gpuverify trust list` shows them"
        )
    if reason not in REASONS:
        raise UsageError(f"reason {printable(reason, 40)!r} has to be one of {', '.join(REASONS)}")
    entry = Revocation(keyid=keyid, at_s=at_s, reason=reason)
    beside = path.parent / REVOCATIONS_NAME
    ensure_private_dir(path.parent)
    with locked(beside):
        data = read_private(beside, MAX_FILE_BYTES, missing_ok=True)
        standing = {} if data is None else _by_keyid(data, beside)
        before = standing.get(keyid)
        if before is not None and (
            at_s > before.at_s or REASONS.index(reason) < REASONS.index(before.reason)
        ):
            raise _weaker(before, entry, printable(str(beside), 200))
        standing[keyid] = entry
        replace_file(beside, write_revocations(standing.values()))
    return entry


def _weaker(before: Revocation, entry: Revocation, origin: str) -> UsageError:
    """Say why a revocation does not take the place of the one that stands, and what would."""
    since = utc_text(before.at_s)
    told = f"{before.keyid} is revoked already, as {before.reason} since {since}"
    if REASONS.index(entry.reason) < REASONS.index(before.reason):
        return UsageError(
            f"{told}, and {entry.reason} would weaken that; to do so, edit {origin} by hand"
        )
    return UsageError(
        f"{told}, and a later date would weaken that; give --at {since} or an earlier moment;"
        f" to weaken it, edit {origin} by hand"
    )


def _by_keyid(data: bytes, path: Path) -> dict[str, Revocation]:
    """Read revocations by keyid."""
    return {entry.keyid: entry for entry in read_revocations(data, printable(str(path), 200))}
