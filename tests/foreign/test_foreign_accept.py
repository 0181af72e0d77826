"""Other people's verifiers accept our reports, and refuse them once a bit is changed."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

sys.path.insert(0, str(Path(__file__).parent))

from foreign_support import Node, Signed

from gpuverify.codec.envelope_json import bundle_bytes
from gpuverify.model.report import PREDICATE_REPORT, STATEMENT_TYPE
from gpuverify.signing.sshsig import NAMESPACE

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "examples" / "verify-with-openssl.sh"

pytestmark = pytest.mark.required


# securesystemslib and in-toto


def other_key(signed: Signed) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if signed.kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate().public_key()
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def sslib_key(signed: Signed, key: Any = None) -> Any:
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    if key is None:
        key = load_pem_public_key(Path(signed.path("key.pem")).read_bytes())
    return SSlibKey.from_crypto(key, keyid=signed.public.keyid)


def test_securesystemslib(signed: Signed) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    def envelope(path: str) -> Any:
        return Envelope.from_dict(json.loads(Path(path).read_text()))

    key = sslib_key(signed)
    assert envelope(signed.path("dsse.json")).verify([key], 1) == {signed.public.keyid: key}
    assert envelope(signed.path("dsse.json")).payload == signed.payload
    inner = json.loads(Path(signed.path("bundle.json")).read_text())["dsseEnvelope"]
    assert Envelope.from_dict(inner).verify([key], 1)
    with pytest.raises(VerificationError):
        envelope(signed.flipped("dsse.json")).verify([key], 1)
    with pytest.raises(VerificationError):
        envelope(signed.path("dsse.json")).verify([sslib_key(signed, other_key(signed))], 1)


def test_in_toto(signed: Signed) -> None:
    from in_toto.exceptions import SignatureVerificationError  # type: ignore[import-untyped]
    from in_toto.models.metadata import Metadata  # type: ignore[import-untyped]

    key = sslib_key(signed)
    as_dict = {**key.to_dict(), "keyid": signed.public.keyid}
    loaded: Any = Metadata.load(signed.path("dsse.json"))
    assert loaded.payload == signed.payload
    loaded.verify_signature(copy.deepcopy(as_dict))
    with pytest.raises(SignatureVerificationError):
        Metadata.load(signed.flipped("dsse.json")).verify_signature(copy.deepcopy(as_dict))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_toto_attestation_finds_a_statement(signed: Signed) -> None:
    from google.protobuf.json_format import Parse  # type: ignore[import-untyped]
    from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]
    from in_toto_attestation.v1.statement import Statement  # type: ignore[import-untyped]

    parsed = statement_pb2.Statement()
    Parse(signed.payload, parsed)
    statement = Statement.copy_from_pb(parsed)
    statement.validate()
    assert parsed.type == STATEMENT_TYPE
    assert parsed.predicate_type == PREDICATE_REPORT
    assert len(parsed.subject) == 1


def test_sigstore_python_knows_p256(signed_p256: Signed) -> None:
    from sigstore.dsse import Envelope, Statement, _verify
    from sigstore.errors import VerificationError

    key: Any = load_pem_public_key(Path(signed_p256.path("key.pem")).read_bytes())
    for name in ("dsse.json", "no-keyid.json"):
        envelope = Envelope._from_json(Path(signed_p256.path(name)).read_bytes())
        assert _verify(key, envelope) == signed_p256.payload
    Statement(signed_p256.payload)  # pydantic: a well-formed Statement with digests
    flipped = Envelope._from_json(Path(signed_p256.flipped("dsse.json")).read_bytes())
    with pytest.raises(VerificationError):
        _verify(key, flipped)


# openssl, jq, coreutils


def openssl(*words: str) -> subprocess.CompletedProcess[str]:
    for tool in ("jq", "openssl"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    return subprocess.run(
        ["sh", str(SCRIPT), *words], capture_output=True, text=True, check=False, timeout=60
    )


def test_openssl(signed: Signed, tmp_path: Path) -> None:
    key = signed.path("key.pem")
    for name in ("bundle.json", "dsse.json", "no-keyid.json"):
        out = tmp_path / "payload"
        done = openssl(signed.path(name), key, str(out))
        assert (done.returncode, done.stdout) == (
            0,
            f"VALID: signed by the holder of {key}\n",
        ), done.stderr
        assert out.read_bytes() == signed.payload
        out.unlink()
    for name in ("bundle.json", "dsse.json"):
        done = openssl(signed.flipped(name), key, str(tmp_path / "payload"))
        assert (done.returncode, done.stdout) == (1, "INVALID: the signature does not hold\n")
        assert not (tmp_path / "payload").exists()


def test_openssl_refuses_other_types_keys_and_shapes(
    signed: Signed, signed_p256: Signed, tmp_path: Path
) -> None:
    key = signed.path("key.pem")
    other = tmp_path / "other.pem"
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other.write_bytes(
        other_key(signed).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert openssl(signed.path("bundle.json"), str(other)).returncode == 1
    relabelled = signed.changed("dsse.json", "in-toto+json", "in-toto+text")
    assert openssl(relabelled, key).stdout == "INVALID: another payload type\n"
    one = json.loads(Path(signed.path("dsse.json")).read_text())
    shapes = {
        "two signatures": {**one, "signatures": one["signatures"] * 2},
        "none": {**one, "signatures": []},
        "no base64": {**one, "payload": "!"},
        "no report": {"a": 1},
    }
    for shape in shapes.values():
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(shape))
        assert openssl(str(path), key).returncode == 1
    (tmp_path / "lines.json").write_text(json.dumps(one) + "\n" + json.dumps(one))
    assert openssl(str(tmp_path / "lines.json"), key).returncode == 1
    assert openssl(signed.path("dsse.json"), signed.path("dsse.json")).returncode == 2
    assert openssl(signed.path("dsse.json"), str(tmp_path / "absent")).returncode == 2
    assert openssl(key).returncode == 2


# ssh-keygen


def test_ssh_keygen_checks_the_second_signature(signed: Signed, tmp_path: Path) -> None:
    """With the line that `gpuverify key export --allowed-signers` prints."""
    line = subprocess.run(
        [
            *(sys.executable, "-m", "gpuverify", "key", "export", signed.path("key.pub")),
            *("--allowed-signers", "sales@shop.example"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    allowed = tmp_path / "allowed"
    allowed.write_text(line)

    def check(data: bytes) -> int:
        words = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "sales@shop.example"]
        words += ["-n", NAMESPACE, "-s", signed.path("bundle.json.sig")]
        return subprocess.run(words, input=data, capture_output=True, check=False).returncode

    data = Path(signed.path("bundle.json")).read_bytes()
    assert check(data) == 0
    assert check(data.replace(b"dsse", b"Dsse", 1)) != 0


# npm @sigstore/verify


def test_sigstore_of_npm(signed: Signed, node: Node, tmp_path: Path) -> None:
    key = signed.path("key.pem")
    done = node("verify.mjs", signed.path("bundle.json"), key)
    assert (done.stdout, done.returncode) == ("VALID\n", 0), done.stderr
    done = node("verify.mjs", signed.flipped("bundle.json"), key)
    assert done.stdout.startswith("INVALID SIGNATURE_ERROR"), done.stdout
    other = tmp_path / "other.pem"
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other.write_bytes(
        other_key(signed).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    done = node("verify.mjs", signed.path("bundle.json"), str(other))
    assert done.stdout.startswith("INVALID SIGNATURE_ERROR"), done.stdout
    twice = json.loads(Path(signed.path("bundle.json")).read_text())
    twice["dsseEnvelope"]["signatures"] *= 2
    (tmp_path / "twice.json").write_text(json.dumps(twice))
    assert node("verify.mjs", str(tmp_path / "twice.json"), key).returncode == 1


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A local time-stamping authority of `openssl ts`."""
    sys.path.insert(0, str(ROOT / "tests" / "signing"))
    from tsa_support import OPENSSL, Authority

    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("tsa") / "a", "stamps")


def test_sigstore_of_npm_with_a_time_stamp(
    signed: Signed, node: Node, authority: Any, tmp_path: Path
) -> None:
    (tmp_path / "root.pem").write_bytes(authority.root)
    trust = (str(authority.folder / "leaf.pem"), str(tmp_path / "root.pem"))
    key = signed.path("key.pem")
    good = tmp_path / "stamped.json"
    token = authority.stamp(signed.signature)
    good.write_bytes(bundle_bytes(signed.payload, signed.signature, signed.public.keyid, (token,)))
    done = node("verify.mjs", str(good), key, *trust)
    assert done.stdout.startswith("VALID 20"), done.stdout + done.stderr
    # A stamp over other bytes, and none where one is demanded.
    foreign = authority.stamp(signed.signature + b"x")
    bad = tmp_path / "foreign.json"
    bad.write_bytes(bundle_bytes(signed.payload, signed.signature, signed.public.keyid, (foreign,)))
    for path in (str(bad), signed.path("bundle.json")):
        done = node("verify.mjs", path, key, *trust)
        assert done.stdout.startswith("INVALID TIMESTAMP_ERROR"), done.stdout
