"""Public keys, and whoever holds the private half: file, ssh-agent, token, TPM.

Ed25519 (RFC 8032) and ECDSA over P-256 with SHA-256 (FIPS 186-5), nothing else: one algorithm for
those who choose, one for the hardware that has no other.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

from gpuverify.codec.ssh_wire import ED25519, P256, WireError, public_wire, read_public_wire
from gpuverify.codec.text import printable
from gpuverify.errors import UsageError
from gpuverify.model.refusal import Refusal, Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KIND_ED25519 = "ed25519"
KIND_P256 = "ecdsa-p256"
KINDS = (KIND_ED25519, KIND_P256)
"""The kinds of key, by the names that the command line takes."""

MAX_KEY_BYTES = 64 * 1024
"""Largest key file that is looked at; ours have some 400 bytes."""

_ALGORITHMS = {KIND_ED25519: ED25519, KIND_P256: P256}
_ONLY = "only Ed25519 and ECDSA P-256 keys sign reports"

# RFC 8032 section 5.1: the field, the curve constant, the order of the base point.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_L = 2**252 + 27742317777372353535851937790883648493


def _double(x: int, y: int) -> tuple[int, int]:
    """Add a point of edwards25519 to itself."""
    xx, yy = x * x % _P, y * y % _P
    product = _D * xx * yy % _P
    twice_x = 2 * x * y * pow(1 + product, -1, _P) % _P
    twice_y = (yy + xx) * pow(1 - product, -1, _P) % _P
    return twice_x, twice_y


def _weak_ed25519(point: bytes) -> str:
    """Say why 32 bytes are no sound Ed25519 key, "" where they are one.

    OpenSSL takes keys that RFC 8032 section 5.1.3 does not decode, and points of order 1, 2, 4
    and 8, under which one signature fits many messages.
    """
    number = int.from_bytes(point, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return "the point is not in its one encoding"
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x * x % _P != square or (x == 0 and sign):
        return "the point is not on the curve"
    for _ in range(3):
        x, y = _double(x, y)
    return "a point of low order, under which anybody can sign" if (x, y) == (0, 1) else ""


@functools.lru_cache(maxsize=1024)
def _loaded(kind: str, point: bytes) -> Ed25519PublicKey | EllipticCurvePublicKey | str:
    """Return the library's key object, or why there is none."""
    if kind == KIND_ED25519:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if weak := _weak_ed25519(point):
            return weak
        return Ed25519PublicKey.from_public_bytes(point)
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return "the point is not on the curve"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key. Plain data, so that it can go to other processes.

    Attributes:
        kind: "ed25519" or "ecdsa-p256".
        point: 32 bytes of Ed25519, or the 65 bytes of an uncompressed P-256 point.
        keyid: OpenSSH fingerprint, "SHA256:" and base64 without padding.
    """

    kind: str
    point: bytes
    keyid: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute the fingerprint."""
        digest = hashlib.sha256(self.wire()).digest()
        text = binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")
        object.__setattr__(self, "keyid", f"SHA256:{text}")

    def wire(self) -> bytes:
        """Return the key in SSH's binary encoding."""
        return public_wire(_ALGORITHMS[self.kind], self.point)

    def openssh_line(self, comment: str = "") -> str:
        """Return the line of a `.pub` file, without a line feed.

        Args:
            comment: What stands behind the key.
        """
        middle = binascii.b2a_base64(self.wire(), newline=False).decode("ascii")
        return f"{_ALGORITHMS[self.kind].decode('ascii')} {middle} {comment}".rstrip()

    def pem(self) -> str:
        """Return the SubjectPublicKeyInfo in PEM, with a line feed.

        Raises:
            Refused: E_TRUST, no sound key.
        """
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = _loaded(self.kind, self.point)
        if isinstance(key, str):
            raise Refused(Refusal.TRUST, f"key {self.keyid}: {key}")
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Say whether the private half signed this message.

        Args:
            signature: 64 bytes of Ed25519 (S below the group order, RFC 8032 section 5.1.7), or
                the DER of ECDSA with SHA-256.
            message: The signed bytes.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.hashes import SHA256

        key = _loaded(self.kind, self.point)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= _L:
                    return False
                key.verify(signature, message)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(SHA256()))
            else:
                return False
        except InvalidSignature:
            return False
        return True


def _distrust(origin: str, reason: str) -> NoReturn:
    """Refuse a key."""
    raise Refused(Refusal.TRUST, f"{printable(origin)}: {reason}")


def public_key_of(key: object) -> PublicKey | None:
    """Return our view of a public key object of `cryptography`, None for other kinds."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(kind=KIND_ED25519, point=raw)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        raw = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return PublicKey(kind=KIND_P256, point=raw)
    return None


def checked(key: PublicKey, origin: str) -> PublicKey:
    """Return a key that is sound.

    Args:
        key: A key whose point nobody looked at yet.
        origin: Where it comes from, for people.

    Raises:
        Refused: E_TRUST, the point is off the curve, of low order, or in another encoding.
    """
    loaded = _loaded(key.kind, key.point)
    if isinstance(loaded, str):
        _distrust(origin, f"no sound {key.kind} key: {loaded}")
    return key


def public_key_from_wire(wire: bytes, origin: str) -> PublicKey:
    """Read a public key in SSH's binary encoding.

    Args:
        wire: The decoded middle word of an OpenSSH line.
        origin: Where it comes from, for people.

    Raises:
        Refused: E_TRUST.
    """
    try:
        algorithm, point = read_public_wire(wire)
    except WireError as error:
        _distrust(origin, f"malformed OpenSSH public key ({error})")
    if not point:
        name = printable(algorithm.decode("ascii", "replace"), 60)
        if name.startswith("sk-"):
            _distrust(origin, f"{name}: a FIDO key signs other bytes than a report; {_ONLY}")
        _distrust(origin, f"{name}: {_ONLY}")
    kind = KIND_ED25519 if algorithm == ED25519 else KIND_P256
    return checked(PublicKey(kind=kind, point=point), origin)


def load_public_key(data: bytes, origin: str) -> PublicKey:
    """Read one public key: an OpenSSH line, or a PEM SubjectPublicKeyInfo.

    Args:
        data: The content of the file.
        origin: What it was read from, for people.

    Returns:
        The key.

    Raises:
        Refused: E_TRUST for everything else: private keys, other kinds and curves, several keys,
            weak points.
    """
    if len(data) > MAX_KEY_BYTES:
        _distrust(origin, f"larger than {MAX_KEY_BYTES // 1024} KiB; give one public key")
    if b"PRIVATE KEY-----" in data:
        _distrust(origin, "this is a private key; never hand it out, give its public half")
    if data.lstrip().startswith(b"-----BEGIN"):
        return _from_pem(data.strip(), origin)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        _distrust(origin, "no public key; give an OpenSSH line or a PEM file")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1:
        _distrust(origin, f"{len(lines)} keys; give exactly one")
    words = lines[0].split(None, 2)
    try:
        middle = words[1].encode("ascii")
        wire = binascii.a2b_base64(middle)
        if binascii.b2a_base64(wire, newline=False) != middle:
            raise binascii.Error("not the one encoding")
    except (IndexError, UnicodeEncodeError, binascii.Error):
        _distrust(origin, "no public key; give an OpenSSH line or a PEM file")
    key = public_key_from_wire(wire, origin)
    if words[0].encode("utf-8") != _ALGORITHMS[key.kind]:
        _distrust(origin, "the line names another algorithm than the key in it")
    return key


def _from_pem(data: bytes, origin: str) -> PublicKey:
    """Read a PEM SubjectPublicKeyInfo."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if data.count(b"-----BEGIN") != 1 or not data.startswith(b"-----BEGIN PUBLIC KEY-----"):
        _distrust(origin, "not exactly one PEM block of type PUBLIC KEY")
    try:
        loaded = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        _distrust(origin, f"malformed or unsupported PEM public key; {_ONLY}")
    key = public_key_of(loaded)
    if key is None:
        _distrust(origin, f"a key of another kind ({type(loaded).__name__}); {_ONLY}")
    return checked(key, origin)


class Signer(Protocol):
    """Whoever holds a private key and signs with it.

    Attributes:
        public: The public half.
        describe: Where the key lives, for people; never anything secret.
    """

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    @property
    def describe(self) -> str:
        """Where the key lives, for people."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Args:
            message: The bytes, not a digest of them.

        Returns:
            64 bytes of Ed25519, or the DER of ECDSA with SHA-256.

        Raises:
            GpuverifyError: The holder of the key refuses, is gone, or signed something else.
        """
        ...


Ask = Callable[[str], str]
"""Asks a person for a passphrase or PIN: takes the prompt, returns what was typed."""


def open_signer(key: str, ask: Ask) -> Signer:
    """Find the private key that a user named.

    Args:
        key: A file path, a name in the key folder, "agent:" with a fingerprint or comment, a
            "pkcs11:" URI (RFC 7512), or "tpm:" with a handle or context file.
        ask: Called where a passphrase or PIN is needed.

    Returns:
        The signer, ready to use.

    Raises:
        UsageError: The text names no key, or more than one.
        MissingInputError: No such key file.
        FormatError: The file is no usable private key, or others may read it.
        PermissionRefusedError: Wrong passphrase or PIN, or the holder of the key refuses.
        SourceError: Agent, token or TPM cannot be reached.
    """
    if not key:
        raise UsageError("no key named; gpuverify key list shows what there is")
    if key.startswith("agent:"):
        from gpuverify.signing.agent import open_agent_signer

        return open_agent_signer(key.removeprefix("agent:"))
    if key.startswith("pkcs11:"):
        from gpuverify.signing.pkcs11 import open_pkcs11_signer

        return open_pkcs11_signer(key, ask)
    if key.startswith("tpm:"):
        from gpuverify.signing.tpm import open_tpm_signer

        return open_tpm_signer(key.removeprefix("tpm:"), ask)
    from gpuverify.signing.key_files import open_file_signer

    return open_file_signer(key, ask)


def own_signature(public: PublicKey, signature: bytes, message: bytes, holder: str) -> bytes:
    """Return a signature that verifies, so that no unusable report is ever written.

    Args:
        public: The key that should have signed.
        signature: What came back.
        message: What was to be signed.
        holder: Who signed, for people.

    Raises:
        PermissionRefusedError: The signature is not one of this key over this message.
    """
    if not public.verify(signature, message):
        from gpuverify.errors import PermissionRefusedError

        raise PermissionRefusedError(
            f"{printable(holder)} returned a signature that does not verify; nothing was written"
        )
    return signature
