"""Challenge files: the nonce that a buyer asks a fresh report to carry."""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata

from gpuverify.codec import strict_json
from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_seconds, utc_text
from gpuverify.errors import FormatError
from gpuverify.model.report import CHALLENGE_SCHEMA, NONCE_BYTES, Challenge

MAX_FILE_BYTES = 16 * 1024
"""Largest challenge file; one has some 250 bytes."""

MAX_NAME_CHARS = 200
"""Longest issuer or order."""

_MEMBERS = ("schema", "nonce", "issuer", "order", "issuedAt", "expiresAt")
_NONCE_CHARS = 43  # base64url of 32 bytes without padding


def name_fault(text: str) -> str:
    """Say why a text cannot be an issuer or an order; "" if it can.

    Args:
        text: The text.
    """
    if len(text) > MAX_NAME_CHARS:
        return f"longer than {MAX_NAME_CHARS} characters"
    if not text.isprintable() or unicodedata.normalize("NFC", text) != text:
        return "holds invisible, control or non-normalised (NFC) characters"
    return ""


def nonce_text(nonce: bytes) -> str:
    """Write a nonce as base64url without padding.

    Args:
        nonce: 32 bytes.
    """
    return base64.urlsafe_b64encode(nonce).decode("ascii").rstrip("=")


def nonce_bytes(text: str) -> bytes | None:
    """Read a nonce in its one spelling; None for any other text.

    Args:
        text: 43 characters of base64url, without padding or spare bits.
    """
    if len(text) != _NONCE_CHARS or not text.isascii():
        return None
    try:
        nonce = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return nonce if len(nonce) == NONCE_BYTES and nonce_text(nonce) == text else None


def dump_challenge(challenge: Challenge) -> bytes:
    """Write a challenge file: indented, for people look into it.

    Args:
        challenge: The challenge.
    """
    tree = {
        "schema": CHALLENGE_SCHEMA,
        "nonce": nonce_text(challenge.nonce),
        "issuer": challenge.issuer,
        "order": challenge.order,
        "issuedAt": utc_text(challenge.issued_s),
        "expiresAt": utc_text(challenge.expires_s),
    }
    return (json.dumps(tree, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def load_challenge(data: bytes, origin: str) -> Challenge:
    """Read a challenge file strictly.

    Args:
        data: The file.
        origin: What was read, for the message.

    Raises:
        FormatError: Another schema or form, a member too many or too few.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(origin, f"larger than {MAX_FILE_BYTES} bytes; this is no challenge")
    tree = strict_json.loads(data, origin)
    if not isinstance(tree, dict) or tree.get("schema") != CHALLENGE_SCHEMA:
        raise FormatError(
            origin, f"no challenge ({CHALLENGE_SCHEMA}); make one: gpuverify challenge new -o FILE"
        )
    if set(tree) != set(_MEMBERS) or not all(isinstance(tree[name], str) for name in _MEMBERS):
        odd = sorted(set(tree) ^ set(_MEMBERS))
        what = f"missing or unknown: {printable(', '.join(odd), 100)}" if odd else "not all texts"
        raise FormatError(origin, f"a challenge has the members {', '.join(_MEMBERS)}; {what}")
    nonce = nonce_bytes(tree["nonce"])
    if nonce is None:
        raise FormatError(
            origin, "the nonce has to be 32 bytes in base64url without padding", "nonce"
        )
    for name in ("issuer", "order"):
        if fault := name_fault(tree[name]):
            raise FormatError(origin, fault, name)
    issued, expires = utc_seconds(tree["issuedAt"]), utc_seconds(tree["expiresAt"])
    if issued is None or expires is None or issued >= expires:
        raise FormatError(
            origin,
            "issuedAt and expiresAt have to be YYYY-MM-DDThh:mm:ssZ, the first before the second",
        )
    return Challenge(
        nonce=nonce,
        issuer=tree["issuer"],
        order=tree["order"],
        issued_s=issued,
        expires_s=expires,
    )
