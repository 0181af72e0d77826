"""Signing by a token or HSM through PKCS#11; the key is named by a URI (RFC 7512)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuverify.codec.text import printable
from gpuverify.errors import (
    GpuverifyError,
    PermissionRefusedError,
    SourceError,
    UsageError,
)
from gpuverify.signing.home import read_secret
from gpuverify.signing.keys import (
    KIND_ED25519,
    KIND_P256,
    Ask,
    PublicKey,
    checked,
    own_signature,
)

if TYPE_CHECKING:
    from pkcs11 import Session, Token

_PAIR = re.compile(r"([a-z-]+)=((?:[^%;&?=]|%[0-9a-fA-F]{2})*)\Z")
_PATH_NAMES = {"token", "serial", "object", "id", "type", "manufacturer", "model"}
_QUERY_NAMES = {"module-path", "pin-source"}

# DER of the EC parameters: P-256 by its name, Ed25519 by name or by PKCS#11 2.40's string.
_P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")
_ED25519_PARAMETERS = (
    bytes.fromhex("06032b6570"),
    b"\x13\x0cedwards25519",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """What a URI asks for.

    Attributes:
        module: Path of the PKCS#11 library.
        token: Label of the token, None for any.
        serial: Serial number of the token, None for any.
        label: Label of the key, None for any.
        key_id: CKA_ID of the key, None for any.
        pin_source: File whose first line is the PIN, None to ask for it.
    """

    module: str
    token: str | None
    serial: str | None
    label: str | None
    key_id: bytes | None
    pin_source: str | None


def parse_uri(uri: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI.

    Args:
        uri: "pkcs11:token=…;object=…?module-path=/…".

    Raises:
        UsageError: Malformed, an attribute twice or unknown, no module-path, or a PIN in it.
    """
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    if "pin-value=" in query:
        raise UsageError(
            "a PIN on the command line is seen by everybody on the machine; leave pin-value out "
            "and type it, or name a file by pin-source=file:/…"
        )
    values = _attributes(path, ";", _PATH_NAMES) | _attributes(query, "&", _QUERY_NAMES)
    module = values.get("module-path", b"").decode("utf-8", "replace")
    if not module:
        raise UsageError(
            "the PKCS#11 URI names no library; add ?module-path=/usr/lib/…/your-token.so"
        )
    if values.get("type", b"private") != b"private":
        raise UsageError("the PKCS#11 URI asks for something else than a private key")
    source = _text(values, "pin-source")
    return Pkcs11Uri(
        module=module,
        token=_text(values, "token"),
        serial=_text(values, "serial"),
        label=_text(values, "object"),
        key_id=values.get("id"),
        pin_source=source.removeprefix("file:") if source else None,
    )


def _attributes(text: str, separator: str, known: set[str]) -> dict[str, bytes]:
    """Split and decode the attributes of one half of a URI."""
    from urllib.parse import unquote_to_bytes

    found: dict[str, bytes] = {}
    for part in filter(None, text.split(separator)):
        match = _PAIR.match(part)
        if match is None or match[1] not in known or match[1] in found:
            raise UsageError(
                f"PKCS#11 URI: {printable(part.partition('=')[0], 60)!r} is malformed, unknown or "
                "stands twice (RFC 7512)"
            )
        found[match[1]] = unquote_to_bytes(match[2])
    return found


def _text(values: dict[str, bytes], name: str) -> str | None:
    """Return an attribute as text."""
    return values[name].decode("utf-8", "replace") if name in values else None


class Pkcs11Signer:
    """A key that a token holds; the session stays open as long as the signer lives."""

    __slots__ = ("_key", "_label", "_public", "_session")

    def __init__(self, session: Session, key: Any, public: PublicKey, label: str) -> None:
        """Keep an open session and its key.

        Args:
            session: Logged in.
            key: The private key object, which is only a handle.
            public: Its public half.
            label: Token and key, for people.
        """
        self._session = session
        self._key = key
        self._public = public
        self._label = label

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    @property
    def describe(self) -> str:
        """Token and key, for people."""
        return f"PKCS#11 key {printable(self._label, 100)}"

    def close(self) -> None:
        """End the session; the token asks for the PIN again."""
        self._session.close()

    def sign(self, message: bytes) -> bytes:
        """Sign a message; see `Signer`."""
        from pkcs11 import Mechanism
        from pkcs11.exceptions import PKCS11Error

        try:
            if self._public.kind == KIND_ED25519:
                raw = bytes(self._key.sign(message, mechanism=Mechanism.EDDSA))
            else:  # CKM_ECDSA takes the digest; tokens that hash by themselves are fewer
                digest = hashlib.sha256(message).digest()
                raw = bytes(self._key.sign(digest, mechanism=Mechanism.ECDSA))
        except PKCS11Error as error:
            raise PermissionRefusedError(
                f"{self.describe} declined to sign ({type(error).__name__})"
            ) from None
        signature = raw if self._public.kind == KIND_ED25519 else _der_signature(raw)
        return own_signature(self._public, signature, message, self.describe)


def _der_signature(raw: bytes) -> bytes:
    """Turn r and s side by side into DER."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(raw) // 2
    return encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )


def open_pkcs11_signer(uri: str, ask: Ask) -> Pkcs11Signer:
    """Open a session with a token and find the key.

    Args:
        uri: A PKCS#11 URI.
        ask: Called for the PIN.

    Raises:
        UsageError: The URI is malformed, fits no key or several, or the extra is not installed.
        SourceError: The library or token cannot be reached.
        PermissionRefusedError: Wrong PIN.
    """
    wanted = parse_uri(uri)
    try:
        import pkcs11
        from pkcs11.exceptions import PKCS11Error
    except ImportError:
        raise UsageError("PKCS#11 keys need the extra: pip install 'gpuverify[pkcs11]'") from None
    try:
        library = pkcs11.lib(wanted.module)
        token = _one_token(list(library.get_tokens()), wanted)
    except (PKCS11Error, RuntimeError, OSError) as error:
        raise SourceError(
            f"PKCS#11 library {printable(wanted.module)} cannot be used ({type(error).__name__})"
        ) from None
    pin = _pin(wanted, token, ask)
    try:
        session = _session(token, pin)
    except PKCS11Error as error:
        raise PermissionRefusedError(
            f"token {printable(token.label, 60)!r} refused the PIN ({type(error).__name__})"
        ) from None
    try:
        return _signer(session, token, wanted)
    except PKCS11Error as error:
        session.close()
        raise SourceError(
            f"token {printable(token.label, 60)!r} failed ({type(error).__name__})"
        ) from None
    except GpuverifyError:
        session.close()
        raise


def _session(token: Token, pin: str) -> Session:
    """Log in; a second signer of one process shares the login of the first."""
    from pkcs11.exceptions import UserAlreadyLoggedIn

    try:
        return token.open(user_pin=pin)
    except UserAlreadyLoggedIn:
        return token.open()


def _one_token(tokens: list[Token], wanted: Pkcs11Uri) -> Token:
    """Return the token that the URI names."""
    fitting = [
        token
        for token in tokens
        if wanted.token in (None, token.label.rstrip()) and wanted.serial in (None, _serial(token))
    ]
    if len(fitting) != 1:
        there = ", ".join(repr(printable(token.label.rstrip(), 60)) for token in tokens[:10])
        raise UsageError(f"{len(fitting)} tokens fit the PKCS#11 URI; there are: {there or 'none'}")
    return fitting[0]


def _serial(token: Token) -> str:
    """Return the serial number of a token as text."""
    serial: Any = token.serial
    return serial.decode("ascii", "replace").rstrip() if isinstance(serial, bytes) else str(serial)


def _pin(wanted: Pkcs11Uri, token: Token, ask: Ask) -> str:
    """Return the PIN from its file or from a person."""
    if wanted.pin_source is None:
        return ask(f"PIN of token {printable(token.label.rstrip(), 60)!r}")
    return read_secret(wanted.pin_source)


def _signer(session: Session, token: Token, wanted: Pkcs11Uri) -> Pkcs11Signer:
    """Find the one key pair in an open session."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    search: dict[Any, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if wanted.label is not None:
        search[Attribute.LABEL] = wanted.label
    if wanted.key_id is not None:
        search[Attribute.ID] = wanted.key_id
    found = list(session.get_objects(search))
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} private keys of token {printable(token.label.rstrip(), 60)!r} fit the "
            "PKCS#11 URI; name one by object= or id="
        )
    private: Any = found[0]
    label = f"{token.label.rstrip()}/{private[Attribute.LABEL]}"
    only = f"{printable(label)}: only Ed25519 and ECDSA P-256 keys sign reports"
    if private[Attribute.KEY_TYPE] not in (KeyType.EC, KeyType.EC_EDWARDS):
        raise UsageError(only)
    half = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: private[Attribute.ID]}
    publics: list[Any] = list(session.get_objects(half))
    if len(publics) != 1:
        raise UsageError(
            f"the token holds {len(publics)} public keys for that private key; write one beside "
            "it with the same id"
        )
    parameters = bytes(publics[0][Attribute.EC_PARAMS])
    point = _unwrapped(bytes(publics[0][Attribute.EC_POINT]))
    if parameters == _P256_PARAMETERS and len(point) == 65:
        public = PublicKey(kind=KIND_P256, point=point)
    elif parameters in _ED25519_PARAMETERS and len(point) == 32:
        public = PublicKey(kind=KIND_ED25519, point=point)
    else:
        raise UsageError(only)
    return Pkcs11Signer(session, private, checked(public, label), label)


def _unwrapped(point: bytes) -> bytes:
    """Take the DER OCTET STRING off a CKA_EC_POINT; some tokens leave it out."""
    if len(point) in (34, 67) and point[0] == 4 and point[1] == len(point) - 2:
        return point[2:]
    return point
