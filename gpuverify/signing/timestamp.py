"""RFC 3161 time stamps: an authority's word that a signature existed at a time.

What is stamped are the raw signature bytes, as Sigstore bundles expect. Needs the extra
`gpuverify[timestamp]`; without it `available` says no, and the rest says how to install it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.errors import SourceError, UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.home import config_dir
from gpuverify.signing.trust_store_file import read_private

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

MAX_TOKEN_BYTES = 64 * 1024
"""Largest answer of an authority; they have 1 to 7 kB, with certificates."""

MAX_ROOTS_BYTES = 2**20
"""Largest file of roots; one certificate has some 2 kB."""

TIMEOUT_S = 30.0
"""How long an authority is waited for in all; they answer in a second or two."""

ROOTS_NAME = "tsa-roots.pem"

_VERIFY_ERROR = re.compile(r'"Verify error:\s*([^"]+)"')
_REASON = re.compile(r'reason: "([^"]+)"')
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"  # RFC 3161, 3.4


def available() -> bool:
    """Say whether the extra is installed."""
    return importlib.util.find_spec("rfc3161_client") is not None


def require_available() -> None:
    """Say how the extra is installed where it is not.

    Raises:
        UsageError: It is not.
    """
    if not available():
        raise UsageError(
            "time stamps need rfc3161-client, which is not installed; install it with: pip install"
            " 'gpuverify[timestamp]'"
        )


def verify_timestamp(token: bytes, message: bytes, roots: tuple[bytes, ...]) -> int:
    """Check a time stamp and return the latest moment that it vouches for.

    The certificates have to have been valid when the stamp was made, not today: a stamp outlives
    the certificate of its authority. Withdrawn certificates are not asked for; nothing here goes to
    the network.

    Args:
        token: TimeStampResp (DER), as an authority answered.
        message: What was stamped: the raw signature bytes.
        roots: Certificates (PEM) of the authorities that are trusted.

    Returns:
        Time of the stamp with its stated inaccuracy added, rounded up; seconds since 1970.

    Raises:
        Refused: E_TIMESTAMP: truncated, of other bytes, by another authority, by a certificate
            that was not valid then or is none for time stamps.
        UsageError: The extra is not installed.
    """
    require_available()
    from rfc3161_client import VerificationError, VerifierBuilder

    if not roots:
        raise _refuse("no time-stamping authority is trusted here; give its root certificate")
    response = _decode(token)
    certificates = [certificate for root in roots for certificate in _certificates(root, "roots")]
    try:
        VerifierBuilder(roots=certificates).build().verify_message(response, message)
    except (VerificationError, ValueError) as error:
        raise _refuse(
            f"the time stamp does not hold: {_words(error)}; ask the signer for"
            " another one, or give the root certificate of the authority that made it"
        ) from None
    return _latest_s(response)


def request_timestamp(message: bytes, url: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Ask an authority to stamp a message. The message itself is not sent, only its digest.

    Args:
        message: What is stamped: the raw signature bytes.
        url: http or https address of the authority. Redirects are not followed.
        timeout_s: How long the whole exchange may take, in seconds.

    Returns:
        The answer (TimeStampResp, DER). It fits the question; whether its authority is trusted is
        for whoever verifies it.

    Raises:
        UsageError: Another kind of address, or the extra is not installed.
        SourceError: No answer, or one that is no time stamp of this message.
    """
    require_available()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    shown = checked_url(url)
    query = (
        TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    token = _exchange(url, query.as_bytes(), shown, timeout_s)
    try:
        response = _decode(token)
        information = response.tst_info
        digest = information.message_imprint.message
    except (Refused, ValueError) as error:
        reason = error.reason if isinstance(error, Refused) else str(error)
        raise SourceError(f"{shown}: {printable(reason, 200)}; ask another authority") from None
    if information.nonce != query.nonce or digest != hashlib.sha256(message).digest():
        raise SourceError(f"{shown}: the answer is to another question; ask another authority")
    return token


def load_tsa_roots(path: str | None = None) -> tuple[bytes, ...]:
    """Read the roots of the time-stamping authorities that are trusted.

    Args:
        path: PEM file of one or more certificates; the user's own, `tsa-roots.pem`, where None,
            and then it may be missing: no authority is trusted.

    Returns:
        One PEM text a certificate.

    Raises:
        Refused: E_TRUST: writable for others, no certificate, or not one of an authority.
        MissingInputError: The named file is not there.
    """
    file = config_dir() / ROOTS_NAME if path is None else Path(path)
    data = read_private(file, MAX_ROOTS_BYTES, missing_ok=path is None)
    if data is None:
        return ()
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    shown = printable(str(file), 200)
    roots: dict[bytes, None] = {}
    for certificate in _certificates(data, shown):
        try:
            basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            basic = None
        if basic is None or not basic.ca:
            name = printable(certificate.subject.rfc4514_string(), 100)
            raise Refused(
                Refusal.TRUST,
                f"{shown}: {name} is no certificate of an authority (CA); give the root above it",
            )
        roots[certificate.public_bytes(Encoding.PEM)] = None
    return tuple(roots)


def _refuse(reason: str) -> Refused:
    """Build the refusal of a time stamp."""
    return Refused(Refusal.TIMESTAMP, reason)


def _certificates(data: bytes, origin: str) -> list[Certificate]:
    """Read the certificates of a PEM text."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(data[: MAX_ROOTS_BYTES + 1])
    except ValueError:
        raise Refused(
            Refusal.TRUST, f"{origin}: no certificates in PEM (BEGIN CERTIFICATE); export them so"
        ) from None


def _decode(token: bytes) -> TimeStampResponse:
    """Decode an answer that grants a time stamp."""
    from rfc3161_client import PKIStatus, decode_timestamp_response

    if len(token) > MAX_TOKEN_BYTES:
        raise _refuse(f"a time stamp has at most {MAX_TOKEN_BYTES // 1024} KiB")
    try:
        response = decode_timestamp_response(token)
        status = response.status
    except ValueError as error:
        raise _refuse(f"not a readable time stamp (TimeStampResp, DER): {_words(error)}") from None
    if status != PKIStatus.GRANTED:
        words = printable(" ".join(response.status_string), 200)
        raise _refuse(f"the authority did not grant it (status {status}) {words}".rstrip())
    return response


def _words(error: Exception) -> str:
    """Return what the libraries below say, without their own bookkeeping around it."""
    text = str(error)
    if found := _VERIFY_ERROR.search(text):
        return printable(found.group(1), 100)
    if "InvalidSetOrdering" in text:
        return (
            "its certificates stand in an order that DER forbids (OpenSSL's option certs does so)"
        )
    reasons = _REASON.findall(text)
    return printable(reasons[-1] if reasons else text, 200)


def _latest_s(response: TimeStampResponse) -> int:
    """Return the time of a stamp, its stated inaccuracy added: the later end is what is proven."""
    information = response.tst_info
    seconds = information.gen_time.timestamp()
    if (accuracy := information.accuracy) is not None:
        seconds += accuracy.seconds or 0
        seconds += (accuracy.millis or 0) / 1e3 + (accuracy.micros or 0) / 1e6
    return math.ceil(seconds)


def checked_url(url: str) -> str:
    """Return an address fit to print; refuse what is none of a time-stamping authority.

    Args:
        url: The address; nothing is asked there.

    Raises:
        UsageError: Not an http or https address, or one with a user name in it.
    """
    from urllib.parse import urlsplit

    shown = printable(url, 200)
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise UsageError(f"{shown}: not an address; give http://… or https://…") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UsageError(
            f"{shown}: time stamps are asked for by http or https only; give an address like"
            " https://tsa.example/"
        )
    if "@" in parts.netloc:
        raise UsageError("the address of an authority holds no user name and no password")
    return shown


def _exchange(url: str, query: bytes, shown: str, timeout_s: float) -> bytes:
    """Ask in a thread, so that an answer that only drips in cannot hold the command up."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    answer: list[bytes] = []
    failure: list[OSError | HTTPException | ValueError] = []

    def ask() -> None:
        try:
            answer.append(_post(url, query, timeout_s))
        except (OSError, HTTPException, ValueError) as error:
            failure.append(error)

    thread = threading.Thread(target=ask, name="gpuverify-timestamp", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if answer:
        if len(answer[0]) > MAX_TOKEN_BYTES:
            raise SourceError(
                f"{shown}: answered with more than {MAX_TOKEN_BYTES // 1024} KiB, which is no time"
                " stamp; ask another authority"
            )
        return answer[0]
    if not failure:
        raise SourceError(f"{shown}: no answer within {timeout_s:g} s; try again later")
    error = failure[0]
    if isinstance(error, HTTPError):
        error.close()
        reason = "a redirect, which is not followed" if 300 <= error.code < 400 else "no time stamp"
        raise SourceError(f"{shown}: HTTP status {error.code}, {reason}; check the address")
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        raise SourceError(f"{shown}: no answer within {timeout_s:g} s; try again later")
    detail = printable(str(getattr(error, "reason", error)) or type(error).__name__, 200)
    raise SourceError(f"{shown}: cannot be asked: {detail}; check the address and the network")


def _post(url: str, query: bytes, timeout_s: float) -> bytes:
    """Send a question with the handlers for HTTP alone: no redirects, no file:, no ftp:."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    asked = request.Request(  # noqa: S310 - only http and https come here, and have a handler
        url, data=query, headers={"Content-Type": _QUERY, "Accept": _REPLY}, method="POST"
    )
    with opener.open(asked, timeout=timeout_s) as response:
        content: bytes = response.read(MAX_TOKEN_BYTES + 1)
    return content
