"""Private keys in files: formats, permissions, passphrases, and that nothing leaks."""

from __future__ import annotations

import base64
import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gpuverify.errors import (
    FormatError,
    GpuverifyError,
    MissingInputError,
    OutputError,
    PermissionRefusedError,
    UsageError,
)
from gpuverify.signing import home, key_files
from gpuverify.signing.key_files import (
    PBKDF2_ROUNDS,
    key_path,
    list_keys,
    new_key,
    open_file_signer,
    public_half,
)
from gpuverify.signing.keys import KINDS, open_signer

PASSPHRASE = "correct horse, Batterie, 电池"


def never(prompt: str) -> str:
    raise AssertionError(f"asked: {prompt}")


def answer(text: str) -> Callable[[str], str]:
    return lambda prompt: text


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("GPUVERIFY_HOME", str(folder))
    return folder


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_is_encrypted_pkcs8_that_others_can_open(kind: str, own_home: Path) -> None:
    public = new_key("lab-1", kind, PASSPHRASE, "lab 1")
    path = key_path("lab-1")
    assert path.stat().st_mode & 0o7777 == 0o600
    assert own_home.stat().st_mode & 0o777 == 0o700
    text = path.read_text()
    assert text.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert max(map(len, text.splitlines())) == 64
    loaded = serialization.load_pem_private_key(path.read_bytes(), PASSPHRASE.encode())
    assert isinstance(loaded, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey))
    opened = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-passin", f"pass:{PASSPHRASE}", "-pubout"],
        capture_output=True,
        check=True,
    )
    assert opened.stdout.decode() == public.pem()
    layout = subprocess.run(
        ["openssl", "asn1parse", "-in", str(path)], capture_output=True, check=True
    ).stdout.decode()
    assert f"INTEGER           :{PBKDF2_ROUNDS:06X}" in layout
    assert "hmacWithSHA256" in layout
    assert "aes-256-cbc" in layout
    signer = open_signer("lab-1", answer(PASSPHRASE))
    assert signer.public == public == public_half("lab-1")
    assert public.verify(signer.sign(b"report"), b"report")
    assert [(key.name, key.public, key.problem) for key in list_keys()] == [("lab-1", public, "")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_without_passphrase_is_opened_without_asking(kind: str) -> None:
    public = new_key("plain", kind, None, "")
    signer = open_signer(str(key_path("plain")), never)
    assert public.verify(signer.sign(b"report"), b"report")
    assert key_path("plain").stat().st_mode & 0o7777 == 0o600


def test_the_umask_makes_no_difference(own_home: Path) -> None:
    before = os.umask(0)
    try:
        new_key("open", "ed25519", None, "")
    finally:
        os.umask(before)
    assert key_path("open").stat().st_mode & 0o7777 == 0o600
    assert own_home.stat().st_mode & 0o022 == 0


def test_nothing_is_overwritten_and_nothing_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    new_key("one", "ed25519", None, "")
    before = key_path("one").read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        new_key("one", "ed25519", None, "")
    assert key_path("one").read_bytes() == before
    key_path("two").with_suffix(".pub").write_text("somebody's")
    with pytest.raises(OutputError):
        new_key("two", "ed25519", None, "")
    assert not key_path("two").exists()

    # Somebody takes the name between the look and the writing.
    monkeypatch.setattr(key_files, "require_free", lambda name: None)
    with pytest.raises(OutputError, match="never overwritten"):
        new_key("one", "ed25519", None, "")
    with pytest.raises(OutputError, match="never overwritten"):
        new_key("two", "ed25519", None, "")
    assert key_path("one").read_bytes() == before
    assert sorted(path.name for path in key_path("one").parent.iterdir()) == [
        "one.key",
        "one.pub",
        "two.pub",
    ]


def test_a_name_is_taken_whole_where_links_are_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", no_links)
    home.write_new(tmp_path / "a", b"first")
    with pytest.raises(OutputError):
        home.write_new(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    home.write_over(tmp_path / "a", b"third", mode=0o644)
    assert (tmp_path / "a").read_bytes() == b"third"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.required
def test_a_full_disk_leaves_no_half_key() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    script = (
        "import os, resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from gpuverify.signing.key_files import new_key\n"
        "import cryptography.hazmat.primitives.asymmetric.ed25519\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))\n"
        "from gpuverify.errors import OutputError\n"
        "try:\n    new_key('one', 'ed25519', None, '')\n"
        "except OutputError as error:\n    print(error); sys.exit(73)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 73, done.stderr.decode()
    assert b"cannot write" in done.stdout
    assert list(key_path("one").parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644, 0o666, 0o601])
def test_a_private_key_that_others_may_use_is_refused(mode: int) -> None:
    new_key("loose", "ed25519", None, "")
    key_path("loose").chmod(mode)
    with pytest.raises(FormatError, match=f"mode {mode:04o}.*chmod 600"):
        open_signer("loose", never)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
@pytest.mark.required
def test_keys_of_ssh_keygen_are_opened(kind: str, passphrase: str, tmp_path: Path) -> None:
    path = tmp_path / "id"
    name = ["ed25519"] if kind == "ed25519" else ["ecdsa", "-b", "256"]
    subprocess.run(["ssh-keygen", "-q", "-t", *name, "-N", passphrase, "-f", str(path)], check=True)
    signer = open_signer(str(path), answer(passphrase) if passphrase else never)
    assert (
        signer.public.openssh_line().split()[1] == path.with_suffix(".pub").read_text().split()[1]
    )
    assert signer.public.verify(signer.sign(b"report"), b"report")
    assert str(path) in signer.describe
    if passphrase:
        with pytest.raises(PermissionRefusedError, match="wrong passphrase"):
            open_signer(str(path), answer("guess"))


def test_traditional_pem_of_openssl_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ec.pem"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)],
        check=True,
        capture_output=True,
    )
    path.chmod(0o600)
    assert open_signer(str(path), never).public.kind == "ecdsa-p256"


def test_an_encrypted_openssh_key_without_bcrypt_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(b"x"),
    )
    path = write(tmp_path / "id", data)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"gpuverify\[ssh\]"):
        open_file_signer(str(path), never)


def test_what_is_no_usable_private_key_is_refused(tmp_path: Path) -> None:
    def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    good = pkcs8(ec.generate_private_key(ec.SECP256R1()))
    cases = {
        "empty": b"",
        "text": b"hello",
        "public": new_key("some", "ed25519", None, "").pem().encode(),
        "rsa": pkcs8(rsa.generate_private_key(65537, 2048)),
        "p384": pkcs8(ec.generate_private_key(ec.SECP384R1())),
        "damaged": good[:60] + b"AAAA" + good[64:],
        "cut": good[:90],
        "openssh damaged": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
        "openssh not base64": b"-----BEGIN OPENSSH PRIVATE KEY-----\n!\n",
        "large": good + b"#" * 70_000,
    }
    for name, data in cases.items():
        path = write(tmp_path / "key", data)
        with pytest.raises(FormatError) as caught:
            open_file_signer(str(path), never)
        assert str(path) in str(caught.value), name
        assert "AAAA" not in str(caught.value)
    for missing in (str(tmp_path / "absent"), "absent", "nul\0byte", "../x"):
        with pytest.raises(MissingInputError, match="keys on file: some"):
            open_file_signer(missing, never)
    with pytest.raises(FormatError, match="not a regular file"):
        open_file_signer("/dev/null", never)
    with pytest.raises(MissingInputError):
        open_file_signer(str(tmp_path), never)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".hidden", "ä", "a b", "x" * 65])
def test_names_of_keys_are_plain(name: str) -> None:
    with pytest.raises(UsageError, match="no key name"):
        new_key(name, "ed25519", None, "")


def test_wrong_kinds_and_empty_passphrases_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no kind of key"):
        new_key("a", "rsa", None, "")
    with pytest.raises(UsageError, match="empty passphrase"):
        new_key("a", "ed25519", "", "")
    assert list_keys() == ()


def test_a_damaged_public_half_is_listed_with_what_is_wrong() -> None:
    new_key("one", "ed25519", None, "")
    key_path("one").with_suffix(".pub").write_text("garbage")
    new_key("two", "ed25519", None, "")
    key_path("two").with_suffix(".pub").unlink()
    one, two = list_keys()
    assert one.public is None
    assert "E_TRUST" in one.problem
    assert two.public is None
    assert "two.pub" in two.problem


def test_a_folder_that_others_may_write_is_refused(own_home: Path) -> None:
    folder = own_home / "keys"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(OutputError, match="others may write"):
        new_key("one", "ed25519", None, "")
    assert list(folder.iterdir()) == []


def test_the_home_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GPUVERIFY_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert home.config_dir() == tmp_path / "xdg" / "gpuverify"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home.config_dir() == tmp_path / ".config" / "gpuverify"


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    for call in (
        lambda: home.ensure_private_dir(tmp_path / "file"),
        lambda: home.ensure_private_dir(tmp_path / "file" / "below"),
        lambda: home.write_new(tmp_path / "absent" / "a", b""),
        lambda: home.write_over(tmp_path / "absent" / "a", b""),
        lambda: home.write_over(tmp_path, b""),
    ):
        with pytest.raises(OutputError):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("GPUVERIFY_HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(MissingInputError, match="set GPUVERIFY_HOME"):
        home.config_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_a_signer_shows_and_gives_away_nothing(kind: str) -> None:
    new_key("quiet", kind, None, "")
    loaded = serialization.load_pem_private_key(key_path("quiet").read_bytes(), None)
    assert isinstance(loaded, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey))
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        secret = loaded.private_bytes_raw()
    else:
        secret = loaded.private_numbers().private_value.to_bytes(32, "big")
    signer = open_signer("quiet", never)
    shown = repr(signer) + str(signer) + signer.describe
    for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)):
        assert form not in shown
    for give in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied"):
            give(signer)
    assert not hasattr(signer, "__dict__")


def test_a_signature_that_does_not_verify_is_never_returned() -> None:
    """A public half that belongs to another key would make reports that nobody can verify."""
    new_key("one", "ed25519", None, "")
    other = new_key("two", "ed25519", None, "")
    signer = open_file_signer("one", never)
    broken = key_files.FileSigner(signer._key, other, "file")
    with pytest.raises(PermissionRefusedError, match="does not verify"):
        broken.sign(b"report")


def test_every_error_is_one_of_ours() -> None:
    for key in ("agent:x", "pkcs11:x", "tpm:x", "nobody"):
        with pytest.raises(GpuverifyError):
            open_signer(key, never)
