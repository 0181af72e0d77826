"""Each way in which attestation evidence can be wrong has its own word; near misses stand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

sys.path.insert(0, str(Path(__file__).parent))

import attestation_support as made
from attestation_support import Report, block, evidence, fields, links, opaque_of, with_field

from gpuverify.device_evidence.verify import verify_attestation
from gpuverify.errors import VerificationError
from gpuverify.model.attestation import (
    AttestationError,
    AttestationEvidence,
    AttestedDevice,
    attestation_nonce,
)

Make = Callable[[], AttestationEvidence]


def judge(given: AttestationEvidence, nonce: bytes | None = made.NONCE) -> AttestedDevice:
    return verify_attestation(given, now_s=made.NOW_S, nonce=nonce, roots=made.ROOTS)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def chain_with(place: int, **changes: object) -> AttestationEvidence:
    chain = links()
    for name, value in changes.items():
        setattr(chain[place], name, value)
    return evidence(made.chain_of(chain))


def report_with(**changes: object) -> AttestationEvidence:
    return evidence(report=made.report_of(replace(Report(), **changes)))  # type: ignore[arg-type]


def bit(at: int) -> Make:
    return lambda: evidence(report=flipped(made.report_of(Report()), at))


def chain_bit(place: int, at: int) -> Make:
    def make() -> AttestationEvidence:
        chain = list(made.good_chain())
        chain[place] = flipped(chain[place], at)
        return evidence(tuple(chain))

    return make


def reordered(*order: int) -> Make:
    return lambda: evidence(tuple(made.good_chain()[place] for place in order))


def other_card() -> AttestationEvidence:
    """The report of one card beside the chain of another."""
    chain = links()
    chain[0] = replace(chain[0], key=made.key("another leaf"))
    return evidence(made.chain_of(chain))


def other_device_key() -> AttestationEvidence:
    chain = links()
    other = made.composite_device_id(made.key_info(made.key("another device")), made.FIRMWARE)
    chain[0] = replace(chain[0], extra=((made.FIRMWARE_OID, other, False),))
    return evidence(made.chain_of(chain))


def firmware_extension(value: bytes) -> Make:
    return lambda: chain_with(0, extra=((made.FIRMWARE_OID, value, False),))


OPAQUE = opaque_of(fields())
LAST_SIGNED = len(made.report_of(Report())) - 97
PAST = {"begin": datetime(2020, 1, 1, tzinfo=timezone.utc),
        "end": datetime(2021, 1, 1, tzinfo=timezone.utc)}  # fmt: skip
FUTURE = {"begin": datetime(2090, 1, 1, tzinfo=timezone.utc)}
COMPOSITE = made.composite_device_id(made.key_info(made.key("device")), made.FIRMWARE)

TAMPERED: dict[str, tuple[str, Make]] = {
    # bits, one region each
    "bit in the version of the request": ("report-request", bit(0)),
    "bit in the code of the request": ("report-request", bit(1)),
    "bit in the operation": ("report-request", bit(3)),
    "bit in the nonce of the request": ("report-signature", bit(4)),
    "bit in the slot": ("report-signature", bit(36)),
    "bit in the version of the response": ("report-response", bit(37)),
    "bit in the code of the response": ("report-response", bit(38)),
    "bit in a reserved byte": ("report-signature", bit(39)),
    "bit in the number of blocks": ("report-measurement", bit(41)),
    "bit in the length of the record": ("report-length", bit(42)),
    "bit in a measurement": ("report-signature", bit(60)),
    "bit in the nonce of the response": ("report-signature", bit(215)),
    "bit in a signed field": ("report-signature", bit(LAST_SIGNED)),
    "bit in r": ("report-signature", bit(LAST_SIGNED + 3)),
    "bit in s": ("report-signature", bit(LAST_SIGNED + 60)),
    "bit in the leaf's signature": ("chain-signature", chain_bit(0, -3)),
    "bit in the device certificate's signature": ("chain-signature", chain_bit(1, -3)),
    "bit in the provisioner's signature": ("chain-signature", chain_bit(2, -3)),
    "bit in the model certificate's signature": ("chain-signature", chain_bit(3, -3)),
    "bit in the root's signature": ("chain-signature", chain_bit(4, -3)),
    # the chain
    "no certificate": ("chain-length", reordered()),
    "the leaf alone": ("chain-length", reordered(0)),
    "root cut off": ("chain-length", reordered(0, 1, 2, 3)),
    "device certificate cut out": ("chain-length", reordered(0, 2, 3, 4)),
    "root twice": ("chain-length", reordered(0, 1, 2, 3, 4, 4)),
    "leaf and device swapped": ("chain-constraint", reordered(1, 0, 2, 3, 4)),
    "two authorities swapped": ("chain-order", reordered(0, 1, 3, 2, 4)),
    "root first": ("chain-order", reordered(4, 3, 2, 1, 0)),
    "leaf in place of the root": ("chain-order", reordered(0, 1, 2, 3, 0)),
    "model in place of the root": ("chain-order", reordered(0, 1, 2, 3, 3)),
    "another root of the same name": (
        "chain-root", lambda: chain_with(4, key=made.key("another root")),
    ),
    "a link signed by another key": (
        "chain-order", lambda: chain_with(1, issuer_key=made.key("another provisioner")),
    ),
    "a link that names another issuer": (
        "chain-order", lambda: chain_with(1, issuer_name="Test T100 Provisioner ICA 2"),
    ),
    "leaf on P-256": ("chain-key", lambda: chain_with(0, key=made.key("p256", ec.SECP256R1))),
    "device on P-521": ("chain-key", lambda: chain_with(1, key=made.key("p521", ec.SECP521R1))),
    "leaf signed with SHA-256": ("chain-key", lambda: chain_with(0, digest=SHA256())),
    "device may not sign certificates": (
        "chain-constraint", lambda: chain_with(1, cert_sign=False),
    ),
    "device is no authority": ("chain-constraint", lambda: chain_with(1, ca=False)),
    "leaf is an authority": ("chain-constraint", lambda: chain_with(0, ca=True)),
    "leaf may not sign": ("chain-constraint", lambda: chain_with(0, digital_signature=False)),
    "path too long for the provisioner": (
        "chain-constraint", lambda: chain_with(2, path_length=0),
    ),
    "unknown critical extension": (
        "chain-constraint", lambda: chain_with(1, extra=(("1.2.3.4", b"\x05\x00", True),)),
    ),
    "leaf expired": ("chain-time", lambda: chain_with(0, **PAST)),
    "provisioner expired": ("chain-time", lambda: chain_with(2, **PAST)),
    "device not yet valid": ("chain-time", lambda: chain_with(1, **FUTURE)),
    "certificate cut": (
        "chain-certificate",
        lambda: evidence((made.good_chain()[0][:-5], *made.good_chain()[1:])),
    ),
    "certificate with a tail": (
        "chain-certificate",
        lambda: evidence((made.good_chain()[0] + b"\0", *made.good_chain()[1:])),
    ),
    "oversized certificate": (
        "chain-certificate",
        lambda: evidence((made.good_chain()[0], bytes(0x1001), *made.good_chain()[2:])),
    ),
    # the report
    "empty report": ("report-length", lambda: evidence(report=b"")),
    "request alone": ("report-length", lambda: evidence(report=made.report_of(Report())[:37])),
    "signature cut": ("report-length", lambda: evidence(report=made.report_of(Report())[:-1])),
    "a byte after the signature": ("report-length", lambda: report_with(tail=b"\0")),
    "longer than the driver's buffer": ("report-length", lambda: report_with(tail=bytes(0x2000))),
    "no signature asked for": ("report-request", lambda: report_with(request=b"\x11\xe0\x00\xff")),
    "one measurement asked for": (
        "report-request", lambda: report_with(request=b"\x11\xe0\x01\x01"),
    ),
    "SPDM 1.2": ("report-request", lambda: report_with(request=b"\x12\xe0\x01\xff")),
    "an SPDM error": ("report-response", lambda: report_with(response=b"\x11\x7f\x01\x00")),
    "no measurement": ("report-response", lambda: report_with(blocks=0, record=b"")),
    "a block that is not there": ("report-length", lambda: report_with(blocks=4)),
    "a block too many": ("report-measurement", lambda: report_with(blocks=2)),
    "one index twice": (
        "report-measurement", lambda: report_with(blocks=2, record=block(1) + block(1)),
    ),
    "index 0": ("report-measurement", lambda: report_with(blocks=1, record=block(0))),
    "another specification": (
        "report-measurement",
        lambda: report_with(blocks=1, record=block(1, specification=2)),
    ),
    "a measurement that ends early": (
        "report-measurement",
        lambda: report_with(blocks=1, record=b"\x01\x01\x05\x00\x01\x01\x00\xaa\xbb"),
    ),
    "a measurement value past its end": (
        "report-length",
        lambda: report_with(blocks=1, record=b"\x01\x01\x04\x00\x01\xff\xff\xaa"),
    ),
    "a record past the end": ("report-length", lambda: report_with(record_length=0xFFFFFF)),
    "opaque data past the end": ("report-length", lambda: report_with(opaque_length=0xFFFF)),
    "opaque data too short": (
        "report-length", lambda: report_with(opaque_length=len(OPAQUE) - 4),
    ),
    "a field past the end": (
        "report-opaque", lambda: report_with(opaque=OPAQUE + b"\x20\x00\xff\x00\x01"),
    ),
    "half a field": ("report-opaque", lambda: report_with(opaque=OPAQUE + b"\x20\x00\x01")),
    "a field twice": (
        "report-opaque", lambda: report_with(opaque=OPAQUE + opaque_of([(17, b"G506\0")])),
    ),
    "an unknown field twice": (
        "report-opaque", lambda: report_with(opaque=OPAQUE + 2 * opaque_of([(77, b"x")])),
    ),
    "no project": ("report-field", lambda: report_with(opaque=opaque_of(with_field(17, None)))),
    "no chip SKU": ("report-field", lambda: report_with(opaque=opaque_of(with_field(15, None)))),
    "empty project": (
        "report-field", lambda: report_with(opaque=opaque_of(with_field(17, bytes(5)))),
    ),
    "VBIOS version of 5 bytes": (
        "report-field", lambda: report_with(opaque=opaque_of(with_field(6, bytes(5)))),
    ),
    "board id of 8 bytes": (
        "report-field", lambda: report_with(opaque=opaque_of(with_field(14, bytes(8)))),
    ),
    "text after the end of a text": (
        "report-text", lambda: report_with(opaque=opaque_of(with_field(17, b"G520\0G506"))),
    ),
    "escape sequence in a text": (
        "report-text", lambda: report_with(opaque=opaque_of(with_field(17, b"G5\x1b[2J\0"))),
    ),
    "text that is not ASCII": (
        "report-text", lambda: report_with(opaque=opaque_of(with_field(3, b"\xef\xbc\x95" + b"90.1\0"))),
    ),
    "signed with SHA-256": ("report-signature", lambda: report_with(digest=SHA256())),
    "signed by the device's own key": (
        "report-signature", lambda: report_with(signer=made.key("device")),
    ),
    "report of another card": ("report-signature", other_card),
    "r and s are zero": (
        "report-signature",
        lambda: evidence(report=made.report_of(Report())[:-96] + bytes(96)),
    ),
    "another nonce": ("report-nonce", lambda: report_with(nonce=bytes(32))),
    "nonce of another card": (
        "report-nonce",
        lambda: report_with(nonce=attestation_nonce(made.NONCE, "GPU-1")),
    ),
    # the firmware id
    "another firmware id": (
        "firmware-id", lambda: report_with(opaque=opaque_of(with_field(20, bytes(48)))),
    ),
    "firmware id of 32 bytes": (
        "report-field", lambda: report_with(opaque=opaque_of(with_field(20, bytes(32)))),
    ),
    "firmware id of another device": ("firmware-id", other_device_key),
    "no firmware id in the leaf": ("firmware-id", lambda: chain_with(0, extra=())),
    "firmware extension cut": ("firmware-id", firmware_extension(COMPOSITE[:-1])),
    "firmware extension with a tail": ("firmware-id", firmware_extension(COMPOSITE + b"\0")),
    "firmware extension in a long form": (
        "firmware-id", firmware_extension(b"\x30\x82\x00\xba" + COMPOSITE[3:]),
    ),
    "empty firmware extension": ("firmware-id", firmware_extension(b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_evidence_is_refused_with_its_own_word(name: str) -> None:
    word, make = TAMPERED[name]
    with pytest.raises(AttestationError) as caught:
        judge(make())
    assert caught.value.refusal.value == word, str(caught.value)
    assert isinstance(caught.value, VerificationError)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


def test_the_table_is_as_long_as_promised() -> None:
    assert len(TAMPERED) >= 40


ACCEPTED: dict[str, Make] = {
    "as it is": evidence,
    "an unknown field": lambda: report_with(opaque=OPAQUE + opaque_of([(77, b"\xff\x00")])),
    "fields in another order": lambda: report_with(opaque=opaque_of(fields()[::-1])),
    "project in lower case": lambda: report_with(opaque=opaque_of(with_field(17, b"g520\0"))),
    "no firmware id signed": lambda: report_with(opaque=opaque_of(with_field(20, None))),
    "no modifiers": lambda: report_with(opaque=opaque_of(with_field(19, None))),
    "measurements of other sizes": lambda: report_with(
        blocks=2, record=block(7, b"x") + block(250, bytes(300))
    ),
    "path just long enough": lambda: chain_with(2, path_length=1),
    "unknown extension that is not critical": lambda: chain_with(
        1, extra=(("1.2.3.4", b"\x05\x00", False),)
    ),
    "leaf without an alternative name": lambda: chain_with(
        0, extra=((made.FIRMWARE_OID, COMPOSITE, False),)
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_honest_variants_stand(name: str) -> None:
    device = judge(ACCEPTED[name]())
    assert device.identity.sku == "G520_0200_885"
    assert device.nonce_bound


def test_every_field_is_read_from_its_own_place() -> None:
    device = judge(evidence())
    identity = device.identity
    assert identity.vbios_version == "96.00.A5.00.01"
    assert identity.manifest == "G520_0200_885_9600A50001"
    assert identity.inforom_sku == "G520.0200"
    assert identity.board_id == "0x00000437"
    assert identity.driver_version == "590.12"
    assert identity.chip_sku_modifier == "0"
    assert identity.project_sku_modifier == ""
    assert identity.firmware_id == made.FIRMWARE.hex()
    assert device.device_identifier == "0x48b02d0011223344"
    assert device.device_key_sha256 == made.key_digest(made.key("device"))
    assert device.model_name == "T100 A01 GSP BROM"
    assert device.nonce == made.NONCE
    assert device.measurement_count == 3
    assert device.protected_pcie is False
    assert len(device.not_checked) == 2


def test_without_a_nonce_of_ones_own_nothing_is_bound() -> None:
    device = judge(evidence(), nonce=None)
    assert not device.nonce_bound


def test_the_authorities_of_one_card_do_not_vouch_for_another_root() -> None:
    """The cache of authorities is asked with the roots of this very call."""
    judge(evidence())
    with pytest.raises(AttestationError, match="chain-root"):
        verify_attestation(evidence(), now_s=made.NOW_S, nonce=made.NONCE)


def test_authorities_that_were_seen_valid_still_expire() -> None:
    chain = links()
    chain[3] = replace(chain[3], end=datetime(2027, 1, 1, tzinfo=timezone.utc))
    given = evidence(made.chain_of(chain))
    judge(given)
    with pytest.raises(AttestationError, match="chain-time"):
        verify_attestation(given, now_s=1_893_456_000, nonce=made.NONCE, roots=made.ROOTS)


def test_the_nonce_depends_on_challenge_and_card() -> None:
    nonces = {attestation_nonce(c, u) for c in (b"a" * 32, b"b" * 32) for u in ("GPU-1", "GPU-2")}
    assert len(nonces) == 4
    assert all(len(nonce) == 32 for nonce in nonces)
