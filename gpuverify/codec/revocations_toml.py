"""`revocations.toml`: which keys count no longer, since when, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gpuverify.codec import toml
from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_seconds, utc_text
from gpuverify.errors import FormatError
from gpuverify.model.refusal import Refusal, Refused

MAX_FILE_BYTES = 4 * 2**20
"""Largest revocation file; one entry has some 120 bytes."""

REASONS = ("superseded", "compromised")
"""superseded: replaced in good order. compromised: somebody else may hold the private key."""

_KEYID = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_MEMBERS = {"keyid", "at", "reason"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A key that counts no longer.

    Attributes:
        keyid: OpenSSH fingerprint of the key, "SHA256:…".
        at_s: Since when, seconds since 1970.
        reason: One of `REASONS`.
    """

    keyid: str
    at_s: int
    reason: str

    def covers(self, time_s: int, *, proven: bool) -> bool:
        """Say whether a report falls under this revocation.

        A superseded key keeps the reports that it signed before the date. Whoever stole a key can
        write any date into a report: under a compromised key everything falls, unless a time stamp
        or one's own journal proves that the signature was there before the date.

        Args:
            time_s: The trusted time of the report, seconds since 1970.
            proven: Whether that time comes from a time stamp or from one's own journal; False
                where it is only the time of verification.
        """
        if self.reason == "superseded":
            return time_s >= self.at_s
        return not proven or time_s >= self.at_s


def is_keyid(text: str) -> bool:
    """Say whether a text has the form of an OpenSSH SHA-256 fingerprint.

    Args:
        text: The text.
    """
    return _KEYID.fullmatch(text) is not None


def read_revocations(data: bytes, origin: str) -> tuple[Revocation, ...]:
    """Read a revocation file.

    Args:
        data: TOML with [[revocation]] tables of keyid, at and reason.
        origin: What was read, for the message.

    Raises:
        Refused: E_TRUST; a file that is misread would let a revoked key count.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Refused(Refusal.TRUST, f"{origin}: larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        document = toml.loads(data, origin)
    except FormatError as error:
        raise Refused(Refusal.TRUST, str(error)) from None
    tables = document.pop("revocation", [])
    if document or not isinstance(tables, list):
        raise Refused(
            Refusal.TRUST, f"{origin}: holds other things than [[revocation]] tables; remove them"
        )
    found: dict[str, Revocation] = {}
    for number, table in enumerate(tables, 1):
        entry = _read_table(table, f"{origin}: revocation {number}")
        if entry.keyid in found:
            raise Refused(
                Refusal.TRUST, f"{origin}: {entry.keyid} stands twice; keep the stricter entry"
            )
        found[entry.keyid] = entry
    return tuple(found.values())


def write_revocations(revocations: Iterable[Revocation]) -> bytes:
    """Write a revocation file that `read_revocations` reads.

    Args:
        revocations: The entries; every member is of a form that needs no escape.
    """
    head = (
        "# Keys that count no longer. superseded: reports before the date stay valid.\n"
        "# compromised: all fall, unless a time stamp or the own journal proves an earlier time.\n"
    )
    tables = "".join(
        f'\n[[revocation]]\nkeyid = "{entry.keyid}"\nat = "{utc_text(entry.at_s)}"\n'
        f'reason = "{entry.reason}"\n'
        for entry in revocations
    )
    return (head + tables).encode("utf-8")


def _read_table(table: object, where: str) -> Revocation:
    """Read one [[revocation]] table."""
    if not isinstance(table, dict) or set(table) != _MEMBERS:
        raise Refused(Refusal.TRUST, f"{where}: has to hold keyid, at and reason, nothing else")
    keyid, moment, reason = table["keyid"], table["at"], table["reason"]
    if not isinstance(keyid, str) or not is_keyid(keyid):
        raise Refused(
            Refusal.TRUST, f"{where}: keyid has to be SHA256: and 43 characters, as ssh-keygen -lf"
        )
    at_s = utc_seconds(moment) if isinstance(moment, str) else None
    if at_s is None:
        raise Refused(Refusal.TRUST, f'{where}: at has to be "YYYY-MM-DDThh:mm:ssZ", in quotes')
    if not isinstance(reason, str) or reason not in REASONS:
        shown = printable(str(reason), 40)
        raise Refused(
            Refusal.TRUST, f"{where}: reason {shown!r} has to be one of {', '.join(REASONS)}"
        )
    return Revocation(keyid=keyid, at_s=at_s, reason=reason)
