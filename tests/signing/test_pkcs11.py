"""Keys in a PKCS#11 token, with SoftHSM2."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpuverify.errors import (
    GpuverifyError,
    MissingInputError,
    PermissionRefusedError,
    UsageError,
)
from gpuverify.signing.keys import open_signer
from gpuverify.signing.pkcs11 import Pkcs11Signer, parse_uri

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
PIN = "73519"
SO_PIN = ("--so-pin", "28462846")


def answer(text: str) -> Callable[[str], str]:
    return lambda prompt: text


def never(prompt: str) -> str:
    raise AssertionError(prompt)


@dataclass(frozen=True)
class Hsm:
    module: str
    folder: Path

    def uri(self, path: str, query: str = "") -> str:
        return f"pkcs11:{path}?module-path={self.module}{query}"


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Hsm:
    """Two tokens; the first with a P-256, an Ed25519, an RSA and a lone private key."""
    module = next((path for path in MODULES if Path(path).exists()), "")
    if not module or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM2 is not installed")
    pkcs11 = pytest.importorskip("pkcs11")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        for label in ("lab one", "lab two"):
            subprocess.run(
                [
                    "softhsm2-util",
                    "--init-token",
                    "--free",
                    "--label",
                    label,
                    "--pin",
                    PIN,
                    *SO_PIN,
                ],
                check=True,
                capture_output=True,
            )
        library = pkcs11.lib(module)
        library.reinitialize()
        token = next(t for t in library.get_tokens() if t.label.rstrip() == "lab one")
        with token.open(rw=True, user_pin=PIN) as session:
            make_keys(session)
    # The library keeps what it read at the start; the variable is needed for nothing else.
    return Hsm(module=module, folder=folder)


def make_keys(session: object) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    create = session.create_domain_parameters  # type: ignore[attr-defined]
    for label, identifier, kind, curve in (
        ("p256", b"\x01\xfe", KeyType.EC, "secp256r1"),
        ("p384", b"\x03", KeyType.EC, "secp384r1"),
        ("ed25519", b"\x02", KeyType.EC_EDWARDS, "1.3.101.112"),
    ):
        domain = create(
            kind, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
        )
        domain.generate_keypair(store=True, label=label, id=identifier)
    session.generate_keypair(  # type: ignore[attr-defined]
        KeyType.RSA, 2048, store=True, label="rsa", id=b"\x04"
    )
    domain = create(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    public, _ = domain.generate_keypair(store=True, label="lone", id=b"\x05")
    public.destroy()


@pytest.mark.required
@pytest.mark.parametrize("name", ["object=p256", "id=%01%fe", "token=lab%20one;object=ed25519"])
def test_a_token_signs(hsm: Hsm, name: str) -> None:
    path = name if name.startswith("token") else f"token=lab%20one;{name}"
    signer = open_signer(hsm.uri(path), answer(PIN))
    assert signer.public.kind == ("ed25519" if "ed25519" in name else "ecdsa-p256")
    for message in (b"", b"report", b"x" * 100_000):
        assert signer.public.verify(signer.sign(message), message)
    assert "lab one/" in signer.describe
    again = open_signer(hsm.uri(path), answer(PIN))  # beside the first, as in a batch
    assert again.public.verify(again.sign(b"report"), b"report")
    for one in (signer, again):
        assert isinstance(one, Pkcs11Signer)
        one.close()


@pytest.mark.required
def test_the_pin_comes_from_a_person_or_a_file_never_from_the_uri(hsm: Hsm, tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text(PIN + "\n")
    path.chmod(0o600)
    uri = hsm.uri("token=lab%20one;object=p256")
    signer = open_signer(uri + f"&pin-source=file:{path}", never)
    assert signer.public.verify(signer.sign(b"x"), b"x")
    assert isinstance(signer, Pkcs11Signer)
    signer.close()
    with pytest.raises(UsageError, match="pin-value") as caught:
        open_signer(uri + f"&pin-value={PIN}", never)
    assert PIN not in str(caught.value)
    with pytest.raises(PermissionRefusedError, match="refused the PIN") as wrong:
        open_signer(uri, answer("00000"))
    assert "00000" not in str(wrong.value)
    with pytest.raises(MissingInputError):
        open_signer(uri + f"&pin-source={tmp_path}/absent", never)
    path.chmod(0o644)
    with pytest.raises(GpuverifyError, match="chmod 600"):
        open_signer(uri + f"&pin-source=file:{path}", never)


@pytest.mark.required
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("token=lab%20one", "5 private keys"),
        ("token=lab%20one;object=absent", "0 private keys"),
        ("token=lab%20one;object=lone", "0 public keys"),
        ("token=lab%20one;object=p384", "only Ed25519 and ECDSA P-256"),
        ("token=lab%20one;object=rsa", "only Ed25519 and ECDSA P-256"),
        ("token=lab%20three;object=p256", "0 tokens fit"),
        ("object=p256", "tokens fit the PKCS#11 URI; there are"),
        ("serial=absent", "0 tokens fit"),
    ],
)
def test_what_the_uri_does_not_find_is_said(hsm: Hsm, path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_signer(hsm.uri(path), answer(PIN))


def test_a_library_that_is_none_is_said(tmp_path: Path) -> None:
    script = (
        "from gpuverify.signing.keys import open_signer\n"
        "from gpuverify.errors import SourceError\n"
        "try:\n    open_signer('pkcs11:token=a?module-path=/absent.so', input)\n"
        "except SourceError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert b"/absent.so cannot be used" in done.stdout


def test_without_the_extra_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(UsageError, match=r"gpuverify\[pkcs11\]"):
        open_signer("pkcs11:token=a?module-path=/x.so", never)


def test_a_uri_is_decoded() -> None:
    uri = parse_uri(
        "pkcs11:token=lab%20one;id=%00%ff;object=my-key;type=private;serial=0042"
        "?module-path=/usr/lib/a.so&pin-source=file:/run/pin"
    )
    assert (uri.token, uri.key_id, uri.label, uri.serial) == (
        "lab one",
        b"\x00\xff",
        "my-key",
        "0042",
    )
    assert (uri.module, uri.pin_source) == ("/usr/lib/a.so", "/run/pin")
    assert parse_uri("pkcs11:?module-path=/a.so").token is None


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=a",
        "pkcs11:token=a;token=b?module-path=/a.so",
        "pkcs11:colour=red?module-path=/a.so",
        "pkcs11:token?module-path=/a.so",
        "pkcs11:token=%zz?module-path=/a.so",
        "pkcs11:type=public?module-path=/a.so",
        "pkcs11:token=a?module-path=/a.so&module-name=b",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        parse_uri(uri)
