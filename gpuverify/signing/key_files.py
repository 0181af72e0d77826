"""Private keys in files: encrypted PKCS8 by default, OpenSSH's own format too."""

from __future__ import annotations

import binascii
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gpuverify.codec.ssh_wire import WireError, WireReader
from gpuverify.codec.text import printable
from gpuverify.errors import (
    FormatError,
    MissingInputError,
    OutputError,
    PermissionRefusedError,
    UsageError,
)
from gpuverify.model.refusal import Refused
from gpuverify.signing.home import config_dir, ensure_private_dir, write_new
from gpuverify.signing.keys import (
    KIND_ED25519,
    KINDS,
    MAX_KEY_BYTES,
    Ask,
    PublicKey,
    load_public_key,
    own_signature,
    public_key_of,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PBKDF2_ROUNDS = 600_000
"""Rounds of PBKDF2-HMAC-SHA256 (OWASP Password Storage Cheat Sheet, 2023 on); the default of the
library, 2048, lets a graphics card guess a million passphrases a second."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_OPENSSH_END = b"-----END OPENSSH PRIVATE KEY-----"
_BEGIN_PRIVATE = b"PRIVATE KEY-----"
_PUBLIC = re.compile(
    rb"(ssh|ecdsa-sha2|sk-ssh|sk-ecdsa-sha2)-\S+ |-{4,5} ?BEGIN [A-Z0-9 ]*PUBLIC KEY"
)
_OPENSSH_MAGIC = b"openssh-key-v1\x00"
_ONLY = "only Ed25519 and ECDSA P-256 keys sign reports"


class FileSigner:
    """A private key in our own memory. It shows itself nowhere and cannot be copied out."""

    __slots__ = ("_key", "_origin", "_public")

    def __init__(
        self, key: Ed25519PrivateKey | EllipticCurvePrivateKey, public: PublicKey, origin: str
    ) -> None:
        """Keep a loaded key.

        Args:
            key: The private key.
            public: Its public half.
            origin: The file it came from, for people.
        """
        self._key = key
        self._public = public
        self._origin = origin

    def __repr__(self) -> str:
        return f"FileSigner({self._public.keyid})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not copied or sent to other processes")

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    @property
    def describe(self) -> str:
        """The file, for people."""
        return f"key file {self._origin}"

    def sign(self, message: bytes) -> bytes:
        """Sign a message; see `Signer`."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            signature = self._key.sign(message)
        else:
            signature = self._key.sign(message, ec.ECDSA(SHA256()))
        return own_signature(self._public, signature, message, self.describe)


def keys_dir() -> Path:
    """Return the key folder; it need not exist."""
    return config_dir() / "keys"


def key_path(name: str) -> Path:
    """Return where the private key of a name stands.

    Args:
        name: Letters, digits, ".", "_" and "-", as in `key new NAME`.

    Raises:
        UsageError: Not such a name.
    """
    if not _NAME.match(name):
        raise UsageError(
            f"'{printable(name, 80)}' is no key name: 1 to 64 letters, digits, '.', '_', '-', "
            "beginning with a letter or digit"
        )
    return keys_dir() / f"{name}.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """One key of the key folder.

    Attributes:
        name: Its name.
        public: Its public half, None where the `.pub` file is missing or damaged.
        problem: Why there is none, "" otherwise.
    """

    name: str
    public: PublicKey | None
    problem: str = ""


def list_keys() -> tuple[ListedKey, ...]:
    """Return the keys of the key folder, by name. No private half is opened."""
    try:
        names = sorted(path.stem for path in keys_dir().glob("*.key"))
    except OSError as error:
        raise MissingInputError(f"{keys_dir()}: {error.strerror}") from None
    return tuple(_listed(name) for name in names)


def _listed(name: str) -> ListedKey:
    """Look at one key; a damaged one is listed with what is wrong."""
    try:
        return ListedKey(name=name, public=public_half(name))
    except (Refused, MissingInputError, UsageError) as error:
        return ListedKey(name=name, public=None, problem=str(error))


def public_half(name: str) -> PublicKey:
    """Return the public half of a key in the key folder.

    Args:
        name: Its name.

    Raises:
        UsageError: Not a name.
        MissingInputError: There is no such key.
        Refused: E_TRUST, the `.pub` file is damaged.
    """
    path = key_path(name).with_suffix(".pub")
    try:
        return load_public_key(path.read_bytes(), str(path))
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror}{_known()}") from None


def _known() -> str:
    """Name the keys that there are."""
    names = [path.stem for path in sorted(keys_dir().glob("*.key"))][:10]
    return f"; keys on file: {', '.join(names)}" if names else "; gpuverify key new NAME makes one"


def new_key(name: str, kind: str, passphrase: str | None, comment: str) -> PublicKey:
    """Make a key pair in the key folder.

    Args:
        name: What it is called from now on.
        kind: "ed25519" or "ecdsa-p256".
        passphrase: Encrypts the file; None writes it in the clear, 0600 as ever.
        comment: What stands behind the public key.

    Returns:
        The public half.

    Raises:
        UsageError: Not a name or kind, or the passphrase is empty.
        OutputError: The name is taken, or the folder cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    path = key_path(name)
    if kind not in KINDS:
        raise UsageError(f"no kind of key {printable(kind, 40)!r}; there are {', '.join(KINDS)}")
    if passphrase is not None and not passphrase:
        raise UsageError("an empty passphrase; type one, or say --no-passphrase")
    require_free(name)
    ensure_private_dir(keys_dir())
    private: Ed25519PrivateKey | EllipticCurvePrivateKey = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == KIND_ED25519
        else ec.generate_private_key(ec.SECP256R1())
    )
    public = public_key_of(private.public_key())
    if public is None:
        msg = f"a new {kind} key is not of a kind we use"
        raise TypeError(msg)
    write_new(path, _private_pem(private, passphrase), mode=0o600)
    line = public.openssh_line(comment) + "\n"
    try:
        write_new(path.with_suffix(".pub"), line.encode("utf-8"), mode=0o644)
    except OutputError:
        path.unlink(missing_ok=True)  # ours, from a moment ago: half a pair is no use to anybody
        raise
    return public


def require_free(name: str) -> None:
    """Check that a name is still to be had.

    Args:
        name: A name as in `key_path`.

    Raises:
        UsageError: Not a name.
        OutputError: The name is taken.
    """
    path = key_path(name)
    for taken in (path, path.with_suffix(".pub")):
        if taken.exists():
            raise OutputError(f"{taken} exists and is never overwritten; choose another name")


def _private_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    """Return PKCS8, encrypted where there is a passphrase."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    plain = NoEncryption()
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, plain)
    body = binascii.b2a_base64(_encrypted_pkcs8(der, passphrase), newline=False).decode("ascii")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    label = "ENCRYPTED PRIVATE KEY"
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()


def _der(tag: int, *parts: bytes) -> bytes:
    """Write one DER element."""
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _encrypted_pkcs8(der: bytes, passphrase: str) -> bytes:
    """Encrypt a PKCS8 key by PBES2 (RFC 8018): PBKDF2-HMAC-SHA256 and AES-256-CBC.

    Written here because the library has no way to ask for more than 2048 rounds.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    salt, vector = os.urandom(16), os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode("utf-8"), salt, PBKDF2_ROUNDS, 32)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    secret = encryptor.update(padder.update(der) + padder.finalize()) + encryptor.finalize()
    rounds = PBKDF2_ROUNDS.to_bytes(PBKDF2_ROUNDS.bit_length() // 8 + 1, "big")
    hmac_sha256 = _der(0x30, bytes.fromhex("06082a864886f70d0209"), b"\x05\x00")
    derivation = _der(
        0x30,
        bytes.fromhex("06092a864886f70d01050c"),  # id-PBKDF2
        _der(0x30, _der(0x04, salt), _der(0x02, rounds), hmac_sha256),
    )
    cipher = _der(0x30, bytes.fromhex("060960864801650304012a"), _der(0x04, vector))  # AES-256-CBC
    pbes2 = _der(0x30, bytes.fromhex("06092a864886f70d01050d"), _der(0x30, derivation, cipher))
    return _der(0x30, pbes2, _der(0x04, secret))


def open_file_signer(key: str, ask: Ask) -> FileSigner:
    """Open a private key by name or file path.

    Args:
        key: A name in the key folder, else a path.
        ask: Called where the file is encrypted.

    Returns:
        The signer.

    Raises:
        MissingInputError: Neither a name nor a file.
        FormatError: Malformed, of another kind, or open to others.
        PermissionRefusedError: Wrong passphrase.
        UsageError: The format needs a part that is not installed.
    """
    path = key_file(key)
    data = _read_private(path, key)
    return _load(data, str(path), ask)


def key_file(key: str) -> Path:
    """Return the file that a private key is read from: of the key folder, else the path itself.

    Args:
        key: A name in the key folder, else a path.
    """
    if _NAME.match(key) and (named := key_path(key)).exists():
        return named
    return Path(key)


def _read_private(path: Path, key: str) -> bytes:
    """Read a private key file that nobody else may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise FormatError(str(path), "not a regular file; give a private key file")
            data = file.read(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such name"
        raise MissingInputError(f"key {printable(key, 200)}: {reason}{_known()}") from None
    if len(data) > MAX_KEY_BYTES:
        raise FormatError(str(path), f"larger than {MAX_KEY_BYTES // 1024} KiB; not a private key")
    _require_private(data, path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FormatError(
            str(path),
            f"others may use this private key (mode {stat.S_IMODE(mode):04o}); "
            "chmod 600 it, and consider whether it is still secret",
        )
    return data


def _require_private(data: bytes, path: Path) -> None:
    """Look whether it is a private key at all, before its mode is judged as one."""
    if _BEGIN_PRIVATE in data:
        return
    if _PUBLIC.match(data.lstrip()):
        beside = f": {path.with_suffix('')}" if path.suffix == ".pub" else ""
        raise FormatError(
            str(path), f"this is a public key; name the private one beside it{beside}"
        )
    raise FormatError(str(path), "no private key; give a PKCS8 PEM or OpenSSH private key file")


def _load(data: bytes, origin: str, ask: Ask) -> FileSigner:
    """Decode a private key. No error of the library is passed on: it may quote the key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    openssh = data.lstrip().startswith(_OPENSSH)
    encrypted = _openssh_encrypted(data, origin) if openssh else b"ENCRYPTED" in data
    if openssh and encrypted:
        _require_bcrypt()
    passphrase = ask(f"Passphrase of {printable(origin, 200)}").encode() if encrypted else None
    try:
        loaded = (load_ssh_private_key if openssh else load_pem_private_key)(data, passphrase)
    except (ValueError, TypeError):
        if encrypted:
            raise PermissionRefusedError(f"{origin}: wrong passphrase, or a damaged file") from None
        raise FormatError(origin, "malformed private key") from None
    except UnsupportedAlgorithm:
        raise FormatError(origin, f"a key or cipher of another kind; {_ONLY}") from None
    if not isinstance(loaded, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey)):
        raise FormatError(origin, f"a key of another kind ({type(loaded).__name__}); {_ONLY}")
    public = public_key_of(loaded.public_key())
    if public is None:
        raise FormatError(origin, f"a key on another curve; {_ONLY}")
    return FileSigner(loaded, public, origin)


def _require_bcrypt() -> None:
    """Say what is missing before a passphrase is asked for in vain."""
    from importlib.util import find_spec

    if find_spec("bcrypt") is None:
        raise UsageError(
            "encrypted OpenSSH keys need the extra: pip install 'gpuverify[ssh]'; or add the key "
            "to ssh-agent and say --key agent:"
        )


def _openssh_encrypted(data: bytes, origin: str) -> bool:
    """Say whether an OpenSSH private key file asks for a passphrase (PROTOCOL.key)."""
    body = data.strip().removeprefix(_OPENSSH).removesuffix(_OPENSSH_END)
    try:
        raw = binascii.a2b_base64(b"".join(body.split()))
        reader = WireReader(raw)
        if reader.take(len(_OPENSSH_MAGIC)) != _OPENSSH_MAGIC:
            raise WireError("no OpenSSH key")
        return reader.string() != b"none"
    except (binascii.Error, WireError):
        raise FormatError(origin, "malformed OpenSSH private key") from None
