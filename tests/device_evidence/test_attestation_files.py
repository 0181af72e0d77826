"""The files of NVIDIA's tools; the public samples; mutations never crash and never pass."""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import attestation_support as made

from gpuverify.device_evidence.describe import describe
from gpuverify.device_evidence.files import (
    certificates_of_pem,
    read_attestation_json,
    read_attestation_pair,
)
from gpuverify.device_evidence.verify import verify_attestation
from gpuverify.errors import FormatError
from gpuverify.model.attestation import AttestationError, AttestationEvidence

SAMPLE_TIME_S = 1_780_000_000


def pem(chain: tuple[bytes, ...]) -> bytes:
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(one) + b"-----END CERTIFICATE-----\n"
        for one in chain
    )


def entry(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "arch": "TESTED",
        "certificate": base64.b64encode(pem(made.good_chain())).decode(),
        "evidence": base64.b64encode(made.report_of(made.Report())).decode(),
        "nonce": made.NONCE.hex(),
    }
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not None}


def read(tree: object) -> tuple[AttestationEvidence, ...]:
    return read_attestation_json(json.dumps(tree).encode(), "evidence.json")


@pytest.mark.parametrize(
    "tree",
    [
        [entry()],
        entry(),
        {"nonce": made.NONCE.hex(), "arch": "TESTED", "evidence_list": [entry(nonce=None)]},
        {"evidences": [entry(arch=None)], "arch": "TESTED"},
        [entry(), entry()],
    ],
)
def test_each_layout_of_the_json_is_read(tree: object) -> None:
    for one in read(tree):
        assert one.stated_nonce == made.NONCE
        assert one.stated_architecture == "TESTED"
        device = verify_attestation(one, now_s=made.NOW_S, nonce=one.stated_nonce, roots=made.ROOTS)
        assert device.identity.sku == "G520_0200_885"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([], "not the evidence"),
        ("text", "not the evidence"),
        ([entry()] * 257, "not the evidence"),
        ([7], "has to be an object"),
        ([entry(certificate=None)], "certificate is missing"),
        ([entry(evidence=None)], "evidence is missing"),
        ([entry(evidence="*")], "not base64"),
        ([entry(evidence=5)], "has to be a string"),
        ([entry(nonce="zz")], "64 hex digits"),
        ([entry(nonce="00")], "64 hex digits"),
        ([entry(certificate=base64.b64encode(b"no pem").decode())], "0 certificates"),
        ([entry(certificate=base64.b64encode(bytes(70_000)).decode())], "larger than"),
        (
            [entry(certificate=base64.b64encode(pem(made.good_chain() * 4)).decode())],
            "20 certificates",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tree: object, said: str) -> None:
    with pytest.raises(FormatError, match=said) as caught:
        read(tree)
    assert "\n" not in str(caught.value)


def test_a_report_in_hex_beside_a_chain_in_pem() -> None:
    report, chain = made.report_of(made.Report()), pem(made.good_chain())
    for written in (report.hex().encode(), b"0x" + report.hex().upper().encode() + b"\n", report):
        one = read_attestation_pair(written, "report.txt", chain, "chain.txt")
        assert one.report == report
        assert one.chain == made.good_chain()
    with pytest.raises(FormatError, match="not a report"):
        read_attestation_pair(b"", "report.txt", chain, "chain.txt")
    with pytest.raises(FormatError, match="not a report in hex"):
        read_attestation_pair(b"xyz", "report.txt", chain, "chain.txt")
    with pytest.raises(FormatError, match="0 certificates"):
        certificates_of_pem(b"", "chain.txt")


def test_the_public_samples_verify_with_their_products(samples: Path) -> None:
    data = (samples / "hopper_evidence.json").read_bytes()
    (one,) = read_attestation_json(data, "hopper_evidence.json")
    first = verify_attestation(one, now_s=SAMPLE_TIME_S, nonce=one.stated_nonce)
    assert first.identity.manifest == "G520_0200_885_9600A50001"
    assert first.nonce_bound
    assert first.measurement_count == 64
    assert first.device_identifier == "0x48b02df44660da06"
    two = read_attestation_pair(
        (samples / "hopperAttestationReport.txt").read_bytes(),
        "report",
        (samples / "hopperCertChain.txt").read_bytes(),
        "chain",
    )
    second = verify_attestation(two, now_s=SAMPLE_TIME_S)
    assert second.identity.manifest == "1010_0200_882_96009F0001"
    assert second.identity.driver_version == "550.90.07"
    assert second.device_key_sha256 != first.device_key_sha256
    crossed = AttestationEvidence(origin="crossed", chain=one.chain, report=two.report)
    with pytest.raises(AttestationError, match="report-signature"):
        verify_attestation(crossed, now_s=SAMPLE_TIME_S)


def mutated(data: bytes, how: random.Random) -> bytes:
    at = how.randrange(len(data))
    kind = how.randrange(4)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << how.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[at + how.randrange(1, 40) :]
    if kind == 2:
        return data[:at] + how.randbytes(how.randrange(1, 40)) + data[at:]
    return data[:at] + data[how.randrange(len(data)) :]


def one_mutant(how: random.Random) -> None:
    """A mutant of chain or report never passes and never ends in anything but our own error."""
    chain, report = made.good_chain(), made.report_of(made.Report())
    if how.randrange(3):
        report = mutated(report, how)
    else:
        place = how.randrange(len(chain))
        chain = (*chain[:place], mutated(chain[place], how), *chain[place + 1 :])
    if (chain, report) == (made.good_chain(), made.report_of(made.Report())):
        return
    try:
        device = verify_attestation(
            made.evidence(chain, report), now_s=made.NOW_S, nonce=made.NONCE, roots=made.ROOTS
        )
    except AttestationError:
        return
    # An ECDSA signature made anew says the same; nothing else may pass.
    assert device.identity.manifest == "G520_0200_885_9600A50001"
    assert report[:-96] == made.report_of(made.Report())[:-96]


def test_mutants_never_pass() -> None:
    how = random.Random(20261122)
    for _ in range(1500):
        one_mutant(how)


def test_fuzz_of_the_attestation_parser() -> None:
    seconds = float(os.environ.get("GPUVERIFY_FUZZ_SECONDS", "2"))
    how = random.Random()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        one_mutant(how)


@given(st.binary(max_size=400))
def test_any_bytes_as_a_report_end_in_our_own_error(data: bytes) -> None:
    for report in (data, b"\x11\xe0\x01\xff" + data, made.report_of(made.Report())[:60] + data):
        with pytest.raises(AttestationError):
            verify_attestation(
                made.evidence(report=report), now_s=made.NOW_S, nonce=None, roots=made.ROOTS
            )


@given(st.binary(max_size=200))
def test_any_bytes_as_a_certificate_end_in_our_own_error(data: bytes) -> None:
    for place in range(5):
        chain = list(made.good_chain())
        chain[place] = data
        with pytest.raises(AttestationError):
            verify_attestation(
                made.evidence(tuple(chain)), now_s=made.NOW_S, nonce=None, roots=made.ROOTS
            )


def test_mutants_are_described_or_refused() -> None:
    """Showing looks at what nobody verified."""
    how = random.Random(20261123)
    chain, report = made.good_chain(), made.report_of(made.Report())
    shown = 0
    for _ in range(300):
        place = how.randrange(len(chain))
        bent = (*chain[:place], mutated(chain[place], how), *chain[place + 1 :])
        assert len(describe(made.evidence(bent, report)).certificates) == len(chain)
        try:
            described = describe(made.evidence(chain, mutated(report, how)))
        except AttestationError:
            continue
        shown += 1
        assert described.identity.project.isascii()
    assert shown
    assert describe(made.evidence((), report)).identifier == ""


def test_mutants_of_a_file_are_read_or_refused() -> None:
    how = random.Random(20261124)
    whole = json.dumps([entry(), entry()]).encode()
    for _ in range(300):
        try:
            found = read_attestation_json(mutated(whole, how), "evidence.json")
        except FormatError:
            continue
        assert found
