"""A GPU's attestation evidence made by the tests: own P-384 keys, the shapes of the public samples.

Nothing here was made by a GPU; the chain ends in a root that no verifier knows but the tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpuverify.model.attestation import AttestationEvidence

NOW_S = 1_780_000_000
NONCE = bytes(range(1, 33))
FIRMWARE = hashlib.sha384(b"firmware of the tests").digest()
Key = ec.EllipticCurvePrivateKey


@lru_cache(maxsize=32)
def key(name: str, curve: type[ec.EllipticCurve] = ec.SECP384R1) -> Key:
    """One key a name, made once a run."""
    return ec.generate_private_key(curve())


def key_info(private: Key) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_digest(private: Key) -> str:
    return hashlib.sha256(key_info(private)).hexdigest()


def der(tag: int, body: bytes) -> bytes:
    head = bytes([tag, len(body)]) if len(body) < 0x80 else bytes([tag, 0x81, len(body)])
    return head + body


def composite_device_id(device: bytes, firmware: bytes) -> bytes:
    sha384 = der(0x06, bytes.fromhex("608648016503040202"))
    return der(0x30, der(0x02, b"\x01") + device + der(0x30, sha384 + der(0x04, firmware)))


@dataclass
class Link:
    """How one certificate is made; the tests change one thing at a time."""

    name: str
    key: Key
    ca: bool = True
    cert_sign: bool = True
    digital_signature: bool = False
    path_length: int | None = None
    begin: datetime = datetime(2020, 10, 17, tzinfo=timezone.utc)
    end: datetime = datetime(9999, 12, 31, tzinfo=timezone.utc)
    digest: SHA256 | SHA384 = field(default_factory=SHA384)
    extra: tuple[tuple[str, bytes, bool], ...] = ()
    issuer_name: str = ""
    issuer_key: Key | None = None


@lru_cache(maxsize=256)
def _identifier(private: Key) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(private.public_key())


def certificate(link: Link, issuer: Link) -> bytes:
    signer = link.issuer_key or issuer.key

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(link.name))
        .issuer_name(named(link.issuer_name or issuer.name))
        .public_key(link.key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(link.name.encode()).digest()[:9], "big") | 1)
        .not_valid_before(link.begin)
        .not_valid_after(link.end)
        .add_extension(_identifier(link.key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier(_identifier(signer).digest, None, None), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=link.digital_signature,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=link.cert_sign,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if link.ca:
        builder = builder.add_extension(
            x509.BasicConstraints(True, link.path_length), critical=True
        )
    for oid, value, critical in link.extra:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=critical
        )
    return builder.sign(signer, link.digest).public_bytes(Encoding.DER)


DEVICE_NAME_OID = "1.3.6.1.4.1.412.274.1"
FIRMWARE_OID = "2.23.133.5.4.1"


def alternative_name(text: str) -> bytes:
    """SubjectAltName with one otherName, as DMTF's device name stands in NVIDIA's leaves."""
    name = der(0x0C, text.encode())
    oid = bytes.fromhex("060a2b0601040183 1c821201".replace(" ", ""))
    return der(0x30, der(0xA0, oid + der(0xA0, name)))


def links(device_identifier: str = "48B02D0011223344", firmware: bytes = FIRMWARE) -> list[Link]:
    device = key("device")
    return [
        Link(
            "T100 A01 GSP FMC LF", key("leaf"), ca=False, cert_sign=False, digital_signature=True,
            extra=(
                (FIRMWARE_OID, composite_device_id(key_info(device), firmware), False),
                ("2.5.29.17", alternative_name(f"NVIDIA:T100:{device_identifier}"), False),
            ),
        ),
        Link("T100 A01 GSP BROM", device),
        Link("Test T100 Provisioner ICA 1", key("provisioner")),
        Link("Test T100 Identity", key("model")),
        Link("Test Device Identity CA", key("root")),
    ]  # fmt: skip


def chain_of(made: list[Link]) -> tuple[bytes, ...]:
    return tuple(
        certificate(link, made[min(number + 1, len(made) - 1)]) for number, link in enumerate(made)
    )


ROOTS = frozenset({key_digest(key("root"))})


def fields() -> list[tuple[int, bytes]]:
    """The fields of an H100 SXM5, in the order of the public sample, with values of our own."""
    return [
        (6, bytes.fromhex("00a5009601000000")),
        (14, bytes.fromhex("37040000")),
        (15, b"885" + bytes(6)),
        (16, b"0" + bytes(4)),
        (17, b"G520\0"),
        (18, b"0200\0"),
        (19, b"\0\0"),
        (3, b"590.12\0"),
        (12, bytes(256)),
        (11, b"\x55"),
        (20, FIRMWARE),
        (21, b"\x55"),
    ]


def opaque_of(made: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for number, value in made
    )


def with_field(number: int, value: bytes | None) -> list[tuple[int, bytes]]:
    """The fields with one replaced, or taken out."""
    return [
        (one, value if one == number and value is not None else old)
        for one, old in fields()
        if not (one == number and value is None)
    ]


@dataclass
class Report:
    """How a report is made."""

    nonce: bytes = NONCE
    opaque: bytes = field(default_factory=lambda: opaque_of(fields()))
    request: bytes = b"\x11\xe0\x01\xff"
    response: bytes = b"\x11\x60\x00\x00"
    blocks: int = 3
    record: bytes | None = None
    record_length: int | None = None
    opaque_length: int | None = None
    signer: Key | None = None
    digest: SHA256 | SHA384 = field(default_factory=SHA384)
    tail: bytes = b""


def block(index: int, value: bytes = b"", *, specification: int = 1) -> bytes:
    value = value or hashlib.sha384(bytes([index])).digest()
    body = b"\x01" + len(value).to_bytes(2, "little") + value
    return bytes([index, specification]) + len(body).to_bytes(2, "little") + body


def report_of(made: Report) -> bytes:
    record = b"".join(block(n) for n in (1, 2, 3)) if made.record is None else made.record
    length = len(record) if made.record_length is None else made.record_length
    opaque_length = len(made.opaque) if made.opaque_length is None else made.opaque_length
    signed = (
        made.request + made.nonce + b"\0" + made.response + bytes([made.blocks])
        + length.to_bytes(3, "little") + record + hashlib.sha256(b"answer").digest()
        + opaque_length.to_bytes(2, "little") + made.opaque
    )  # fmt: skip
    r, s = decode_dss_signature((made.signer or key("leaf")).sign(signed, ec.ECDSA(made.digest)))
    return signed + r.to_bytes(48, "big") + s.to_bytes(48, "big") + made.tail


@lru_cache(maxsize=1)
def good_chain() -> tuple[bytes, ...]:
    return chain_of(links())


def evidence(
    chain: tuple[bytes, ...] | None = None, report: bytes | None = None
) -> AttestationEvidence:
    return AttestationEvidence(
        origin="a chain of the tests",
        chain=good_chain() if chain is None else chain,
        report=report_of(Report()) if report is None else report,
    )
