"""Challenges: the one defence against an honest old report that is handed over again."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from gpuverify.codec.challenge_json import (
    MAX_FILE_BYTES,
    dump_challenge,
    load_challenge,
    name_fault,
)
from gpuverify.codec.files import read_bounded
from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import LAST_S
from gpuverify.errors import MissingInputError, UsageError
from gpuverify.model.report import NONCE_BYTES, Challenge

if TYPE_CHECKING:
    import os

__all__ = [
    "Challenge",
    "answers",
    "dump_challenge",
    "load_challenge",
    "measurement_nonce",
    "new_challenge",
    "read_challenge",
]

DEFAULT_LIFETIME_S = 72 * 3600
"""How long a challenge may be answered if nothing else is said: a working day in every time zone,
and a week-end."""

MAX_LIFETIME_S = 366 * 24 * 3600
"""Longest life of a challenge; one that never ends would show no freshness."""

_MEASURE = b"gpuverify-measure-v1\0"


def new_challenge(*, issuer: str, order: str, expires_s: int, now_s: int) -> Challenge:
    """Make a challenge with a nonce from the system's generator.

    Args:
        issuer: Who asks, "" if that is not to be said.
        order: The purchase it belongs to, "" for none.
        expires_s: Until when it may be answered, seconds since 1970.
        now_s: The time, seconds since 1970.

    Raises:
        UsageError: A text that cannot stand in a challenge, or an end in the past or too far off.
    """
    for what, text in (("issuer", issuer), ("order", order)):
        if fault := name_fault(text):
            raise UsageError(f"the {what} of a challenge: {fault}")
    if not now_s < expires_s <= min(now_s + MAX_LIFETIME_S, LAST_S):
        raise UsageError(
            f"a challenge ends after now and within {MAX_LIFETIME_S // 86400} days; give --expires"
            " 72h, for instance"
        )
    return Challenge(
        nonce=secrets.token_bytes(NONCE_BYTES),
        issuer=issuer,
        order=order,
        issued_s=now_s,
        expires_s=expires_s,
    )


def read_challenge(path: str | os.PathLike[str]) -> Challenge:
    """Read a challenge file.

    Args:
        path: The file.

    Raises:
        MissingInputError: It is not there, or cannot be read.
        FormatError: It is no challenge.
    """
    shown = printable(str(path), 200)
    try:
        data = read_bounded(str(Path(path)), MAX_FILE_BYTES)
    except OSError as error:
        raise MissingInputError(f"{shown}: {error.strerror or type(error).__name__}") from error
    return load_challenge(data, shown)


def answers(challenge: Challenge, nonce: bytes) -> bool:
    """Say whether a nonce is that of a challenge, in constant time.

    Args:
        challenge: What was asked.
        nonce: What a report carries.
    """
    return hmac.compare_digest(challenge.nonce, nonce)


def measurement_nonce(challenge: Challenge) -> str:
    """Return the nonce of the measurements that belong to a challenge, in hexadecimal.

    The measured patterns depend on it, so that no result can be computed before the challenge is
    known; a report carries both, and a verifier derives the one from the other.

    Args:
        challenge: What was asked.
    """
    return hashlib.sha256(_MEASURE + challenge.nonce).hexdigest()
