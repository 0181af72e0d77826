"""The certificate chain: the GPU's leaf up to NVIDIA's device root, every link and constraint.

The root is pinned by the SHA-256 of its public key, so that a re-issued certificate for the same
key is accepted and nothing else. The key is the one in NVIDIA/nvtrust, verifier_device_root.pem
(common name "NVIDIA Device Identity CA").
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from gpuverify.device_evidence.der import firmware_id_of
from gpuverify.model.attestation import AttestationError, AttestationRefusal

NVIDIA_DEVICE_ROOTS = frozenset(
    {"a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4"}
)
"""SHA-256 of the root's SubjectPublicKeyInfo: NVIDIA/nvtrust, verifier_device_root.pem."""

CHAIN_LENGTH = 5
MAX_CERTIFICATE_BYTES = 0x1000
"""Largest single certificate; the driver's buffer for the whole chain is 0x1400 bytes (nvml.h)."""

Kind = TypeVar("Kind", bound=x509.ExtensionType)

_DEVICE_NAME = "1.3.6.1.4.1.412.274.1"  # DMTF's OID for SPDM device names (DSP0274)
_FIRMWARE = "2.23.133.5.4.1"  # TCG DICE, composite device id
_KNOWN_CRITICAL = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid})
PLACES = ("leaf", "device certificate", "provisioner", "model certificate", "root")
"""What stands where in a chain, leaf first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain that stands.

    Attributes:
        leaf_key: Key that signs reports.
        leaf_serial: Hex, upper case.
        device_serial: Serial of the device certificate, hex, upper case.
        device_key_sha256: SHA-256 of its public key, hex.
        model_name: Its common name.
        device_identifier: `0x` and 16 hex digits from the leaf's alternative name, or "".
        firmware_id: Firmware digest in the leaf, hex; "" if it has none.
    """

    leaf_key: EllipticCurvePublicKey
    leaf_serial: str
    device_serial: str
    device_key_sha256: str
    model_name: str
    device_identifier: str
    firmware_id: str


def verify_chain(
    chain: tuple[bytes, ...], *, now_s: int, roots: frozenset[str] = NVIDIA_DEVICE_ROOTS
) -> Chain:
    """Verify a chain of five, leaf first.

    Args:
        chain: Certificates in DER.
        now_s: Time at which they have to be valid, seconds since the Unix epoch.
        roots: SHA-256 of the public keys that count as roots, hex.

    Returns:
        What the chain vouches for.

    Raises:
        AttestationError: A link, a constraint, a curve or the root is not what it has to be.
    """
    if len(chain) != CHAIN_LENGTH:
        raise AttestationError(
            AttestationRefusal.CHAIN_LENGTH, f"{len(chain)} certificates, not {CHAIN_LENGTH}"
        )
    above = _authorities(chain[2:], roots)
    leaf, device = (
        load_certificate(data, place) for data, place in zip(chain[:2], PLACES[:2], strict=True)
    )
    _check_authority(device, PLACES[1], below=1)
    _check_leaf(leaf)
    _check_link(leaf, device, PLACES[0])
    _check_link(device, above[0], PLACES[1])
    now = datetime.fromtimestamp(now_s, timezone.utc)
    for certificate, place in zip((leaf, device, *above), PLACES, strict=True):
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise AttestationError(
                AttestationRefusal.CHAIN_TIME, f"the {place} is not valid at {now:%Y-%m-%d}"
            )
    device_key = _key(device, PLACES[1])
    names = device.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Chain(
        leaf_key=_key(leaf, PLACES[0]),
        leaf_serial=f"{leaf.serial_number:X}",
        device_serial=f"{device.serial_number:X}",
        device_key_sha256=_key_sha256(device_key),
        model_name=str(names[0].value) if names else "",
        device_identifier=_device_identifier(leaf),
        firmware_id=_firmware_id(leaf, device_key),
    )


def identifier_of(leaf: bytes) -> str:
    """Return the identifier that a leaf certificate names, unverified; "" where it names none.

    Args:
        leaf: The leaf in DER.
    """
    try:
        return _device_identifier(load_certificate(leaf, PLACES[0]))
    except AttestationError:
        return ""


@functools.lru_cache(maxsize=64)
def _authorities(chain: tuple[bytes, ...], roots: frozenset[str]) -> tuple[x509.Certificate, ...]:
    """Verify provisioner, model certificate and root, which many cards share.

    Kept by their very bytes, so that nothing but the same three is taken for verified; their
    validity in time is looked at anew for each card.
    """
    places = PLACES[2:]
    loaded = tuple(load_certificate(data, place) for data, place in zip(chain, places, strict=True))
    for number, (certificate, place) in enumerate(zip(loaded, places, strict=True)):
        _check_authority(certificate, place, below=number + 2)
        issuer = loaded[min(number + 1, len(loaded) - 1)]
        _check_link(certificate, issuer, place)
    if _key_sha256(_key(loaded[-1], places[-1])) not in roots:
        raise AttestationError(
            AttestationRefusal.CHAIN_ROOT, "the chain ends in a root that is not NVIDIA's"
        )
    return loaded


def load_certificate(data: bytes, place: str) -> x509.Certificate:
    """Read one certificate; nothing about it is verified.

    Args:
        data: The certificate in DER.
        place: Its place in the chain, for people.

    Raises:
        AttestationError: It cannot be read, or has a critical extension that is not known here.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise AttestationError(
            AttestationRefusal.CHAIN_CERTIFICATE, f"the {place} has {len(data)} bytes"
        )
    try:
        certificate, extensions = _read_strictly(data)
    except (
        ValueError,
        UnsupportedAlgorithm,
        CryptographyDeprecationWarning,
        x509.DuplicateExtension,
        x509.InvalidVersion,
    ) as error:
        raise AttestationError(
            AttestationRefusal.CHAIN_CERTIFICATE,
            f"the {place} is no readable certificate ({type(error).__name__})",
        ) from None
    unknown = [one for one in extensions if one.critical and one.oid not in _KNOWN_CRITICAL]
    if unknown:
        raise AttestationError(
            AttestationRefusal.CHAIN_CONSTRAINT,
            f"the {place} has a critical extension that is not known here"
            f" ({unknown[0].oid.dotted_string})",
        )
    return certificate


def _read_strictly(data: bytes) -> tuple[x509.Certificate, x509.Extensions]:
    """Read a certificate; what the library merely warns of (a negative serial) is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        certificate = x509.load_der_x509_certificate(data)
        # These are read lazily; what is wrong with them has to show here.
        _ = (certificate.subject, certificate.issuer, certificate.signature_hash_algorithm)
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        return certificate, certificate.extensions


def _key(certificate: x509.Certificate, place: str) -> EllipticCurvePublicKey:
    """Return the public key, which has to be on P-384."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise AttestationError(
            AttestationRefusal.CHAIN_KEY, f"the key of the {place} is not on P-384"
        )
    return key


def _key_sha256(key: EllipticCurvePublicKey) -> str:
    """Return the digest of a public key as it stands in a certificate."""
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(data).hexdigest()


def _check_authority(certificate: x509.Certificate, place: str, *, below: int) -> None:
    """Check that a certificate may sign certificates.

    Args:
        certificate: The certificate.
        place: Its place, for people.
        below: Certificates that stand below it in the chain.
    """
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if basic is None or not basic.ca or usage is None or not usage.key_cert_sign:
        raise AttestationError(
            AttestationRefusal.CHAIN_CONSTRAINT, f"the {place} may not sign certificates"
        )
    # A path length counts the authorities below, the leaf left out (RFC 5280, 4.2.1.9).
    if basic.path_length is not None and basic.path_length < below - 1:
        raise AttestationError(
            AttestationRefusal.CHAIN_CONSTRAINT, f"the chain below the {place} is too long for it"
        )


def _check_leaf(certificate: x509.Certificate) -> None:
    """Check that the leaf may sign reports and nothing else."""
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if (basic is not None and basic.ca) or usage is None or not usage.digital_signature:
        raise AttestationError(
            AttestationRefusal.CHAIN_CONSTRAINT, "the leaf may sign certificates, or no reports"
        )


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    """Return an extension's value, None where the certificate has none of its kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate, place: str) -> None:
    """Check that one certificate was issued by the other."""
    key = _key(issuer, f"issuer of the {place}")
    if certificate.issuer != issuer.subject or not _identifiers_fit(certificate, issuer):
        raise AttestationError(
            AttestationRefusal.CHAIN_ORDER, f"the {place} was not issued by the one above it"
        )
    if not isinstance(certificate.signature_hash_algorithm, SHA384):
        raise AttestationError(
            AttestationRefusal.CHAIN_KEY, f"the {place} is not signed with SHA-384"
        )
    try:
        _verify(key, certificate)
    except InvalidSignature:
        raise AttestationError(
            AttestationRefusal.CHAIN_SIGNATURE, f"the signature of the {place} does not verify"
        ) from None


def _verify(key: EllipticCurvePublicKey, certificate: x509.Certificate) -> None:
    """Verify a certificate's signature."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    key.verify(certificate.signature, certificate.tbs_certificate_bytes, ECDSA(SHA384()))


def _identifiers_fit(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the key identifiers do not contradict each other."""
    wanted = _extension(certificate, x509.AuthorityKeyIdentifier)
    has = _extension(issuer, x509.SubjectKeyIdentifier)
    if wanted is None or wanted.key_identifier is None or has is None:
        return True
    return wanted.key_identifier == has.digest


def _device_identifier(leaf: x509.Certificate) -> str:
    """Return the 16 hex digits at the end of the leaf's alternative name.

    They look like NVML's PDI (48B02D is a prefix of NVIDIA's); no public document says so.
    """
    names = _extension(leaf, x509.SubjectAlternativeName)
    if names is None:
        return ""
    for name in names:
        if isinstance(name, x509.OtherName) and name.type_id.dotted_string == _DEVICE_NAME:
            tail = name.value[2:].decode("ascii", "replace").rpartition(":")[2]
            if len(tail) == 16 and all(digit in "0123456789ABCDEFabcdef" for digit in tail):
                return f"0x{tail.lower()}"
    return ""


def _firmware_id(leaf: x509.Certificate, device_key: EllipticCurvePublicKey) -> str:
    """Return the firmware digest in the leaf, whose device key has to be the device's."""
    for extension in leaf.extensions:
        if extension.oid.dotted_string == _FIRMWARE and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            key = device_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return firmware_id_of(extension.value.value, key).hex()
    return ""
