"""The reverse: envelopes that other people's tools make are read, with and without a keyid."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, str(Path(__file__).parent))

from foreign_support import Node, Signed

from gpuverify.codec.envelope_json import read_envelope
from gpuverify.model.envelope import EnvelopeForm
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.envelope import pae
from gpuverify.signing.keys import load_public_key

OURS = "application/vnd.in-toto+json"

pytestmark = pytest.mark.required


def holds(data: bytes, signed: Signed) -> bool:
    """Read a foreign envelope, and check it with the key as we would."""
    read = read_envelope(data, "foreign.json")
    key = load_public_key(Path(signed.path("key.pub")).read_bytes(), "key.pub")
    assert read.payload == signed.payload
    return key.verify(read.signature, pae(read.payload_type, read.payload))


def test_our_own_forms(signed: Signed) -> None:
    for name in ("bundle.json", "dsse.json", "no-keyid.json"):
        assert holds(Path(signed.path(name)).read_bytes(), signed)


def test_an_envelope_of_securesystemslib(signed: Signed) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    private: Any = load_pem_private_key(Path(signed.path("private.pem")).read_bytes(), None)
    envelope = Envelope(signed.payload, OURS, {})
    envelope.sign(CryptoSigner(private))
    data = json.dumps(envelope.to_dict()).encode()
    assert holds(data, signed)
    read = read_envelope(data, "foreign.json")
    assert len(read.keyid) == 64  # a hex digest, not one of ours
    assert read.form is EnvelopeForm.DSSE


def test_an_envelope_of_in_toto(signed: Signed) -> None:
    """A link, not a report: the envelope is read and verifies; the payload is refused later."""
    from in_toto.models.link import Link  # type: ignore[import-untyped]
    from in_toto.models.metadata import Envelope  # type: ignore[import-untyped]
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    private: Any = load_pem_private_key(Path(signed.path("private.pem")).read_bytes(), None)
    envelope: Any = Envelope.from_signable(Link(name="build"))
    envelope.create_signature(CryptoSigner(private))
    read = read_envelope(json.dumps(envelope.to_dict()).encode(), "foreign.json")
    assert signed.public.verify(read.signature, pae(read.payload_type, read.payload))
    from gpuverify.codec.report_json import load_statement

    with pytest.raises(Refused) as caught:
        load_statement(read.payload, "foreign.json")
    assert caught.value.refusal is Refusal.TYPE


def test_an_envelope_of_sigstore_python_has_no_keyid(signed_p256: Signed) -> None:
    from sigstore.dsse import Statement, _sign

    private: Any = load_pem_private_key(Path(signed_p256.path("private.pem")).read_bytes(), None)
    envelope = _sign(private, Statement(signed_p256.payload))
    data = envelope.to_json().encode()
    assert holds(data, signed_p256)
    assert read_envelope(data, "foreign.json").keyid == ""


@pytest.mark.parametrize("hint", ["", "SHA256:somebody"])
def test_a_bundle_of_npm(signed: Signed, node: Node, tmp_path: Path, hint: str) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(signed.payload)
    done = node("make.mjs", str(payload), signed.path("private.pem"), *([hint] if hint else []))
    assert done.returncode == 0, done.stderr
    data = done.stdout.encode()
    assert holds(data, signed)
    read = read_envelope(data, "foreign.json")
    assert read.form is EnvelopeForm.BUNDLE
    assert read.keyid == hint
