"""Public keys: which are taken, which are refused, and what their signatures are worth."""

from __future__ import annotations

import base64
import copy
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from gpuverify.codec.ssh_wire import ED25519, P256, pack_string, public_wire
from gpuverify.errors import UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.keys import (
    KIND_ED25519,
    KIND_P256,
    PublicKey,
    load_public_key,
    open_signer,
    public_key_of,
)

# RFC 8032 section 5.1: field and group order.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493


def ssh_line(key: PublicKey) -> bytes:
    return key.openssh_line("seller").encode() + b"\n"


def pem_of(key: object) -> bytes:
    public: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


def ed_line(point: bytes) -> bytes:
    wire = public_wire(ED25519, point)
    return b"ssh-ed25519 " + base64.b64encode(wire) + b"\n"


def make(kind: str) -> tuple[PublicKey, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey]:
    private = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == KIND_ED25519
        else ec.generate_private_key(ec.SECP256R1())
    )
    public = public_key_of(private.public_key())
    assert public is not None
    return public, private


def sign(private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(message)
    return private.sign(message, ec.ECDSA(hashes.SHA256()))


@pytest.mark.required
@pytest.mark.parametrize("kind", [KIND_ED25519, KIND_P256])
def test_both_forms_give_the_key_that_ssh_keygen_names(kind: str, tmp_path: Path) -> None:
    public, private = make(kind)
    from_line = load_public_key(b"# the seller's\n\n" + ssh_line(public), "k.pub")
    from_pem = load_public_key(public.pem().encode(), "k.pem")
    assert from_line == from_pem == public
    assert load_public_key(pem_of(private.public_key()), "k.pem") == public
    path = tmp_path / "k.pub"
    path.write_bytes(ssh_line(public))
    told = subprocess.run(
        ["ssh-keygen", "-l", "-E", "sha256", "-f", str(path)], capture_output=True, check=True
    )
    assert told.stdout.decode().split()[1] == public.keyid
    assert public.openssh_line() == ssh_line(public).decode().removesuffix(" seller\n")


@pytest.mark.parametrize("kind", [KIND_ED25519, KIND_P256])
def test_a_signature_holds_for_its_key_and_message_alone(kind: str) -> None:
    public, private = make(kind)
    other, _ = make(kind)
    foreign, _ = make(KIND_P256 if kind == KIND_ED25519 else KIND_ED25519)
    signature = sign(private, b"report")
    assert public.verify(signature, b"report")
    assert not public.verify(signature, b"Report")
    assert not other.verify(signature, b"report")
    assert not foreign.verify(signature, b"report")
    for broken in (b"", signature[:-1], signature + b"\0", bytes(64), bytes(72), b"\x30\x00"):
        assert not public.verify(broken, b"report")
    flipped = bytearray(signature)
    flipped[-1] ^= 1
    assert not public.verify(bytes(flipped), b"report")
    assert copy.deepcopy(public).verify(signature, b"report")  # as for another process


def test_a_signature_with_s_beyond_the_group_order_is_refused() -> None:
    """RFC 8032 section 5.1.7: S + L satisfies the equation too, and must not pass."""
    public, private = make(KIND_ED25519)
    signature = sign(private, b"report")
    scalar = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 15):
        raised = scalar + multiple * L
        if raised < 2**256:
            forged = signature[:32] + raised.to_bytes(32, "little")
            assert not public.verify(forged, b"report")
    assert not public.verify(signature[:32] + L.to_bytes(32, "little"), b"report")


def test_p256_signatures_out_of_range_or_in_loose_der_are_refused() -> None:
    public, private = make(KIND_P256)
    signature = sign(private, b"report")
    r, s = decode_dss_signature(signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5
    for bad in ((0, s), (r, 0), (0, 0), (r + order, s), (r, s + order), (order, order)):
        assert not public.verify(encode_dss_signature(*bad), b"report")
    assert not public.verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), b"report")
    inner = signature[2:]
    loose = b"\x30\x81" + bytes((len(inner),)) + inner  # BER: the long form of a short length
    assert not public.verify(loose, b"report")


# The points of order 8, in their encoding.
ORDER_8 = [
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    )
]
LOW_ORDER = {
    "order 1": 1,
    "order 2": P - 1,
    "order 4": 0,
    "order 4, other sign": 1 << 255,
    **{f"order 8, {number % 10**6}": number for number in ORDER_8},
}
NON_CANONICAL = {
    "y = p": P,
    "y = p + 1": P + 1,
    "y = 2^255 - 1": 2**255 - 1,
    "x = 0 with a sign": 1 | 1 << 255,
    "x = 0 with a sign, order 2": (P - 1) | 1 << 255,
    "y = p with a sign": P | 1 << 255,
}
OFF_CURVE = {"y = 2": 2, "y = 7": 7}


@pytest.mark.parametrize("name", [*LOW_ORDER, *NON_CANONICAL, *OFF_CURVE])
def test_weak_ed25519_keys_are_refused_and_verify_nothing(name: str) -> None:
    number = {**LOW_ORDER, **NON_CANONICAL, **OFF_CURVE}[name]
    point = number.to_bytes(32, "little")
    with pytest.raises(Refused) as caught:
        load_public_key(ed_line(point), "weak.pub")
    assert caught.value.refusal is Refusal.TRUST
    if name in LOW_ORDER:
        assert "low order" in str(caught.value)
    der = bytes.fromhex("302a300506032b6570032100") + point
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    with pytest.raises(Refused):
        load_public_key(pem, "weak.pem")
    key = PublicKey(kind=KIND_ED25519, point=point)
    # S = 0 and R of low order: under a key of low order OpenSSL takes this for many messages.
    for r in ((1).to_bytes(32, "little"), point):
        for message in (b"", b"report", b"another"):
            assert not key.verify(r + bytes(32), message)


def test_openssl_alone_would_take_a_key_of_order_one() -> None:
    """Why we look ourselves: the library accepts one signature for every message."""
    weak = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    weak.verify((1).to_bytes(32, "little") + bytes(32), b"anything")


def other_kinds() -> dict[str, bytes]:
    openssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    p521 = ec.generate_private_key(ec.SECP521R1()).public_key()
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    return {
        "rsa line": rsa_key.public_bytes(*openssh),
        "rsa pem": pem_of(rsa_key),
        "dsa pem": pem_of(dsa.generate_private_key(2048).public_key()),
        "p384 line": p384.public_bytes(*openssh),
        "p384 pem": pem_of(p384),
        "p521 line": p521.public_bytes(*openssh),
        "p521 pem": pem_of(p521),
        "secp256k1 pem": pem_of(ec.generate_private_key(ec.SECP256K1()).public_key()),
        "ed448 pem": pem_of(ed448.Ed448PrivateKey.generate().public_key()),
    }


def test_other_kinds_of_keys_are_refused() -> None:
    for name, data in other_kinds().items():
        with pytest.raises(Refused) as caught:
            load_public_key(data, name)
        assert caught.value.refusal is Refusal.TRUST
        assert "Ed25519 and ECDSA P-256" in str(caught.value), name


def test_malformed_keys_are_refused() -> None:
    public, private = make(KIND_ED25519)
    p256, _ = make(KIND_P256)
    wire = public.wire()
    line = ssh_line(public)
    private_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    broken_point = bytearray(p256.point)
    broken_point[40] ^= 1

    def as_line(name: bytes, body: bytes) -> bytes:
        return name + b" " + base64.b64encode(body)

    cases = {
        "empty": b"",
        "comment only": b"# nothing\n",
        "two keys": line + ssh_line(p256),
        "one word": b"ssh-ed25519\n",
        "bad base64": b"ssh-ed25519 !!!!\n",
        "spare bits": line.replace(line.split()[1], line.split()[1][:-1] + b"B=="),
        "binary": b"\xff\xfe\x00",
        "trailing wire": as_line(b"ssh-ed25519", wire + b"\0"),
        "truncated wire": as_line(b"ssh-ed25519", wire[:-1]),
        "short point": as_line(b"ssh-ed25519", pack_string(ED25519) + pack_string(b"x" * 31)),
        "named otherwise": as_line(b"ecdsa-sha2-nistp256", wire),
        "other curve inside": as_line(
            b"ecdsa-sha2-nistp256",
            pack_string(P256) + pack_string(b"nistp384") + pack_string(p256.point),
        ),
        "off the curve": as_line(b"ecdsa-sha2-nistp256", public_wire(P256, bytes(broken_point))),
        "infinity": as_line(b"ecdsa-sha2-nistp256", public_wire(P256, b"\0")),
        "compressed": as_line(b"ecdsa-sha2-nistp256", public_wire(P256, b"\2" + p256.point[1:33])),
        "certificate": as_line(
            b"ssh-ed25519-cert-v01@openssh.com", pack_string(b"ssh-ed25519-cert-v01@openssh.com")
        ),
        "fido": as_line(b"sk-ssh-ed25519@openssh.com", pack_string(b"sk-ssh-ed25519@openssh.com")),
        "two pem blocks": (public.pem() + public.pem()).encode(),
        "broken pem": public.pem().replace("MCow", "MCoX").encode(),
        "x509": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "private": private_pem,
        "large": b"#" * 70_000,
    }
    for name, data in cases.items():
        with pytest.raises(Refused) as caught:
            load_public_key(data, "given.pub")
        assert caught.value.refusal is Refusal.TRUST, name
        assert caught.value.exit_code == 65
        assert str(caught.value).startswith("E_TRUST: given.pub: "), name
        assert base64.b64encode(private_pem).decode()[:20] not in str(caught.value)
    with pytest.raises(Refused, match="private key"):
        load_public_key(private_pem, "given.pub")


def test_no_name_is_no_key() -> None:
    with pytest.raises(UsageError, match="no key named"):
        open_signer("", lambda prompt: "")
