"""OpenSSH `allowed_signers` lines (ssh-keygen(1), ALLOWED SIGNERS), read more strictly.

What OpenSSH allows and we refuse, because a reader would be vouched for more than is meant: a
line without namespaces, patterns (`*`, `?`, `!`) in principals and namespaces, certificate
authorities, and times without Z, which OpenSSH takes as local time.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import LAST_S, compact_seconds, compact_text
from gpuverify.model.refusal import Refusal, Refused

MAX_FILE_BYTES = 4 * 2**20
"""Largest trust file; one line has some 200 bytes."""

MAX_LINES = 10_000
"""Most lines in a trust file."""

_MAX_NAME_CHARS = 200
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PATTERN = frozenset("*?!")
_BREAKING = frozenset(' \t",#')


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerLine:
    """One line of a trust file.

    Attributes:
        principals: Names that the key may sign as.
        namespaces: What the key may sign.
        valid_after_s: First second of validity, seconds since 1970; None without a limit.
        valid_before_s: Last second of validity; None without a limit.
        key_type: "ssh-ed25519" and the like, not yet judged.
        key: Base64 of the public key, not yet decoded.
        comment: What stands behind the key.
        number: Line number, from 1.
    """

    principals: tuple[str, ...]
    namespaces: tuple[str, ...]
    valid_after_s: int | None
    valid_before_s: int | None
    key_type: str
    key: str
    comment: str
    number: int


def name_fault(name: str) -> str:
    """Say why a text cannot stand as a principal in an allowed_signers line.

    Args:
        name: The principal.

    Returns:
        The reason, "" for a usable name.
    """
    if not name or len(name) > _MAX_NAME_CHARS:
        return f"a principal has 1 to {_MAX_NAME_CHARS} characters"
    if _PATTERN & set(name):
        return "a principal is one name, without the pattern characters * ? !"
    if _BREAKING & set(name):
        return "a principal has no blank, comma, # or quotation mark"
    if not name.isprintable() or unicodedata.normalize("NFC", name) != name:
        return "a principal has no invisible, control or non-normalised (NFC) characters"
    return ""


def read_allowed_signers(data: bytes, origin: str) -> tuple[SignerLine, ...]:
    """Read the lines of a trust file.

    Args:
        data: The file. Empty lines and lines that begin with # are passed over.
        origin: What was read, for the message.

    Returns:
        The lines in the order of the file. Whether a key is of a supported kind is not judged here.

    Raises:
        Refused: E_TRUST, with the line and what to write instead.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Refused(
            Refusal.TRUST, f"{origin}: larger than {MAX_FILE_BYTES // 2**20} MiB; split it"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            Refusal.TRUST, f"{origin}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from None
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise Refused(Refusal.TRUST, f"{origin}: more than {MAX_LINES} lines; split it")
    return tuple(
        _read_line(line, number, f"{origin}: line {number}")
        for number, line in enumerate((line.removesuffix("\r") for line in lines), 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def write_line(
    *,
    principals: tuple[str, ...],
    namespaces: tuple[str, ...],
    public_key: str,
    valid_after_s: int | None = None,
    valid_before_s: int | None = None,
) -> str:
    """Write one line, without its line end.

    Args:
        principals: Names that the key may sign as.
        namespaces: What the key may sign.
        public_key: OpenSSH public key with its comment: "ssh-ed25519 AAAA… comment".
        valid_after_s: First second of validity, seconds since 1970.
        valid_before_s: Last second of validity.

    Returns:
        A line that `read_allowed_signers` and ssh-keygen read.
    """
    options = [f'namespaces="{",".join(namespaces)}"']
    if valid_after_s is not None:
        options.append(f'valid-after="{compact_text(valid_after_s)}"')
    if valid_before_s is not None:
        options.append(f'valid-before="{compact_text(valid_before_s)}"')
    return f"{','.join(principals)} {','.join(options)} {public_key}".rstrip()


def _refuse(where: str, reason: str) -> Refused:
    """Build the refusal of a line."""
    return Refused(Refusal.TRUST, f"{where}: {reason}")


def _read_line(line: str, number: int, where: str) -> SignerLine:
    """Read one line that is neither empty nor a comment."""
    if not all(character == "\t" or character.isprintable() for character in line):
        raise _refuse(where, "a control or invisible character; write the line anew")
    head, options, rest = _split(line.strip(), where)
    principals = tuple(head.split(","))
    for name in principals:
        if fault := name_fault(name):
            raise _refuse(where, f"principal {printable(name, 60)!r}: {fault}")
    words = rest.split(None, 2)
    if len(words) < 2 or not _BASE64.fullmatch(words[1]):
        raise _refuse(where, "no public key; write PRINCIPAL OPTIONS TYPE BASE64 [COMMENT]")
    namespaces = _namespaces(options, where)
    after = _moment(options, "valid-after", where)
    before = _moment(options, "valid-before", where)
    if after is not None and before is not None and after >= before:
        raise _refuse(where, "valid-after is not earlier than valid-before")
    return SignerLine(
        principals=principals,
        namespaces=namespaces,
        valid_after_s=after,
        valid_before_s=before,
        key_type=words[0],
        key=words[1],
        comment=words[2].strip() if len(words) > 2 else "",
        number=number,
    )


def _split(line: str, where: str) -> tuple[str, dict[str, str], str]:
    """Part a line into principals, options and the key with its comment."""
    words = line.split(None, 1)
    head, rest = words[0], words[1] if len(words) > 1 else ""
    if head.startswith('"'):
        raise _refuse(where, "quoted principals are not supported; use a name without blanks")
    options: dict[str, str] = {}
    position = 0
    while (found := _OPTION.match(rest, position)) and found.end() < len(rest):
        name, value = found.group(1).lower(), found.group(2)
        following = rest[found.end()]
        if value is None and name not in ("cert-authority", "namespaces"):
            break  # the type of the key, or something that is none
        if name == "cert-authority":
            raise _refuse(where, "cert-authority is not supported; list the signing key itself")
        if name not in ("namespaces", "valid-after", "valid-before"):
            raise _refuse(where, f"unknown option {printable(name, 40)!r}; remove it")
        if value is None or following not in ", \t":
            raise _refuse(where, f'option {name} has to be {name}="…", in straight quotes')
        if name in options:
            raise _refuse(where, f"option {name} stands twice")
        options[name] = value
        position = found.end() + 1
        if following != ",":
            break
    return head, options, rest[position:].strip() if options else rest


def _namespaces(options: dict[str, str], where: str) -> tuple[str, ...]:
    """Return the namespaces of a line; there has to be one, and none may be a pattern."""
    if "namespaces" not in options:
        raise _refuse(
            where,
            'no namespaces: the key would be vouched for everything; write namespaces="'
            'gpuverify-report,gpuverify-role-seller" before the key',
        )
    names = tuple(options["namespaces"].split(","))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise _refuse(
                where, f"namespace {printable(name, 60)!r} is empty, a pattern or misspelt"
            )
    if len(set(names)) != len(names):
        raise _refuse(where, "a namespace stands twice")
    return names


def _moment(options: dict[str, str], name: str, where: str) -> int | None:
    """Return the moment of an option; None where the line has none."""
    if name not in options:
        return None
    seconds = compact_seconds(options[name])
    if seconds is None or seconds > LAST_S:
        raise _refuse(
            where,
            f"{name}={printable(options[name], 40)!r} has to be YYYYMMDDhhmmssZ with the Z (UTC);"
            " without it every machine reads another moment",
        )
    return seconds
