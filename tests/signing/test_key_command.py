"""`gpuverify key` as its users call it, in processes of its own; and that no secret comes out."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from gpuverify.cli.key import TYPES
from gpuverify.signing.keys import KINDS, load_public_key

PASSPHRASE = "a secret that is long: 73519 Schlüssel"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("SSH_AUTH_SOCK", "GPUVERIFY_DEBUG", "XDG_CONFIG_HOME")
    }
    return {**kept, "GPUVERIFY_HOME": str(tmp_path / "home"), "PYTHONUTF8": "1"}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    def call(*words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gpuverify", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, **extra},
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def passphrase_file(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\nsecond line\n")
    path.chmod(0o600)
    return str(path)


def test_the_types_are_those_of_the_keys() -> None:
    assert TYPES == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_made_listed_and_exported(kind: str, run: Run, passphrase_file: str) -> None:
    made = run("key", "new", "shop", "--type", kind, "--passphrase-file", passphrase_file)
    assert made.returncode == 0, made.stderr
    public = load_public_key(made.stdout.encode(), "stdout")
    assert public.kind == kind
    assert made.stdout == public.openssh_line("shop") + "\n"
    assert public.keyid in made.stderr
    assert PASSPHRASE not in made.stderr
    listed = run("key", "list")
    assert listed.stdout.split() == [public.keyid, kind, "shop"]
    document = json.loads(run("key", "list", "--json").stdout)
    assert document["schema"] == "gpuverify/keys/v1"
    assert document["keys"] == [
        {"name": "shop", "kind": kind, "keyid": public.keyid, "problem": ""}
    ]
    assert run("key", "export", "shop").stdout == made.stdout
    assert run("key", "export", "shop", "--ssh").stdout == made.stdout
    assert run("key", "export", "shop", "--pem").stdout == public.pem()
    lab = run("key", "export", "shop", "--allowed-signers", "a@b", "--role", "lab").stdout
    assert 'namespaces="gpuverify-report,gpuverify-role-lab"' in lab
    assert run("key", "export", "shop", "--role", "lab").returncode == 64
    line = run("key", "export", "shop", "--allowed-signers", "sales@shop.example").stdout
    assert line == (
        f'sales@shop.example namespaces="gpuverify-report,gpuverify-role-seller" {public.openssh_line()}\n'
    )


def test_nothing_is_overwritten(run: Run) -> None:
    assert run("key", "new", "shop", "--no-passphrase").returncode == 0
    again = run("key", "new", "shop", "--no-passphrase")
    assert again.returncode == 73
    assert "never overwritten" in again.stderr


def test_a_key_in_the_clear_is_said_to_be_one(run: Run) -> None:
    made = run("key", "new", "shop", "--no-passphrase", "--comment", "the shop, 店")
    assert "not encrypted" in made.stderr
    assert made.stdout.endswith(" the shop, 店\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["new", "a/b", "--no-passphrase"], 64, "no key name"),
        (["new", "a", "--type", "rsa", "--no-passphrase"], 64, "rsa"),
        (["new", "a"], 64, "no terminal"),
        (["new", "a", "--no-passphrase", "--passphrase-file", "x"], 64, "contradict"),
        (["new", "a", "--passphrase-file", "absent"], 66, "absent"),
        (["new", "a", "--no-passphrase", "--comment", "a\nb"], 64, "comment"),
        (["export", "absent"], 66, "gpuverify key new NAME"),
        (["export", "./absent.pub"], 66, "absent.pub"),
        (["export", "agent:x"], 69, "SSH_AUTH_SOCK"),
        (["list", "--agent"], 69, "SSH_AUTH_SOCK"),
    ],
)
def test_wrong_calls_say_what_and_what_next(
    words: list[str], code: int, told: str, run: Run, tmp_path: Path
) -> None:
    done = run("key", *words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "home" / "keys").exists()


@pytest.mark.parametrize("principal", ["", "*", "a b", 'a"b', "a,b", "!a", "#a"])
def test_a_principal_that_would_be_read_otherwise_is_refused(principal: str, run: Run) -> None:
    run("key", "new", "shop", "--no-passphrase")
    done = run("key", "export", "shop", "--allowed-signers", principal)
    assert done.returncode == 64
    assert "no principal" in done.stderr


def test_a_line_for_a_trust_store_takes_the_names_that_signing_takes(run: Run) -> None:
    run("key", "new", "shop", "--no-passphrase")
    for principal in ("商店", "ä@b"):
        done = run("key", "export", "shop", "--allowed-signers", principal)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{principal} namespaces=")
    done = run("key", "export", "shop", "--pem", "--allowed-signers", "a@b")
    assert (done.returncode, done.stdout) == (64, "")
    assert "--pem and --allowed-signers exclude each other" in done.stderr


def test_a_name_is_escaped_once(run: Run) -> None:
    done = run("key", "new", "a\nb", "--no-passphrase")
    assert done.returncode == 64
    assert r"'a\x0ab' is no key name" in done.stderr


def test_an_empty_list_says_how_to_begin(run: Run) -> None:
    done = run("key", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "gpuverify key new NAME" in done.stderr


@pytest.mark.parametrize(
    ("content", "mode", "code", "told"),
    [
        (b"\n", 0o600, 65, "first line is empty"),
        (b"\xff\xfe", 0o600, 65, "UTF-8"),
        (b"x" * 5000, 0o600, 65, "at most"),
        (b"fine\n", 0o644, 65, "chmod 600"),
    ],
)
def test_passphrase_files_are_looked_at(
    content: bytes, mode: int, code: int, told: str, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    done = run("key", "new", "a", "--passphrase-file", str(path))
    assert done.returncode == code
    assert told in done.stderr


def test_a_public_half_is_exported_from_a_file(run: Run, tmp_path: Path) -> None:
    made = run("key", "new", "shop", "--no-passphrase")
    (tmp_path / "given.pub").write_text(made.stdout)
    assert (
        run("key", "export", "given.pub", "--pem").stdout
        == run("key", "export", "shop", "--pem").stdout
    )
    private = run("key", "export", str(tmp_path / "home/keys/shop.key"))
    assert private.returncode == 65
    assert "E_TRUST" in private.stderr
    assert private.stdout == ""


def type_at_terminal(
    words: list[str], answers: list[str], environment: dict[str, str]
) -> tuple[int, str]:
    """Run a command with a terminal of its own; answer each prompt."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(  # noqa: S606 - a terminal of its own is the point
            sys.executable, [sys.executable, "-m", "gpuverify", *words], environment
        )
    shown = b""
    deadline = time.monotonic() + 30
    waiting = list(answers)
    while time.monotonic() < deadline:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
        if waiting and shown.rstrip().endswith(b":"):
            time.sleep(0.2)  # getpass turns the echo off after it has shown the prompt
            os.write(terminal, waiting.pop(0).encode() + b"\n")
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.mark.required
def test_a_passphrase_is_typed_twice_without_echo(environment: dict[str, str]) -> None:
    words = ["key", "new", "shop"]
    code, shown = type_at_terminal(words, [PASSPHRASE, "other"], environment)
    assert (code, "passphrases differ" in shown) == (64, True), shown
    assert not Path(environment["GPUVERIFY_HOME"]).exists()
    code, shown = type_at_terminal(words, ["", ""], environment)
    assert (code, "empty passphrase" in shown) == (64, True), shown
    code, shown = type_at_terminal(words, [PASSPHRASE, PASSPHRASE], environment)
    assert code == 0, shown
    assert PASSPHRASE not in shown
    assert "secret" not in shown
    path = Path(environment["GPUVERIFY_HOME"]) / "keys" / "shop.key"
    loaded = serialization.load_pem_private_key(path.read_bytes(), PASSPHRASE.encode())
    assert isinstance(loaded, ed25519.Ed25519PrivateKey)


def secrets_of(path: Path, passphrase: str | None) -> list[str]:
    """Return the private key in every form in which it might come out."""
    data = path.read_bytes()
    loaded = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        raw = loaded.private_bytes_raw()
    else:
        raw = loaded.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    body = [line for line in data.decode().splitlines() if line and not line.startswith("---")]
    der = loaded.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return [
        raw.hex(),
        raw.hex().upper(),
        str(int.from_bytes(raw, "big")),
        base64.b64encode(raw).decode()[:40],
        base64.urlsafe_b64encode(raw).decode()[:40],
        repr(raw)[2:40],
        base64.b64encode(der).decode()[:60],
        *body,
        "PRIVATE KEY",
        *([passphrase, "73519"] if passphrase else []),
    ]


@pytest.mark.required
@pytest.mark.parametrize("kind", KINDS)
def test_no_command_shows_anything_of_a_private_key(
    kind: str,
    run: Run,
    environment: dict[str, str],
    passphrase_file: str,
    tmp_path: Path,
) -> None:
    """Commands that work and commands that fail with a traceback, over plain and encrypted keys."""
    home = tmp_path / "home" / "keys"
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    wrong.chmod(0o600)
    outputs = [
        run("key", "new", "enc", "--type", kind, "--passphrase-file", passphrase_file),
        run("key", "new", "plain", "--type", kind, "--no-passphrase"),
    ]
    secrets = secrets_of(home / "enc.key", PASSPHRASE) + secrets_of(home / "plain.key", None)
    calls: list[list[str]] = [["list"], ["list", "--json"]]
    for name in ("enc", "plain"):
        calls += [["export", name], ["export", name, "--pem"], ["new", name, "--no-passphrase"]]
        calls += [["export", name, "--allowed-signers", "a@b"]]
        calls += [["export", str(home / f"{name}.key")], ["export", str(home)]]
    outputs += [run("key", *call, GPUVERIFY_DEBUG="1") for call in calls]
    # Signing itself, and failures with the private key in hand: wrong passphrase, damaged file,
    # loose file, an answer that does not verify, an accident in the middle of signing.
    text = (home / "plain.key").read_text()
    for name, content, mode in (
        ("damaged.key", text[:32] + "AAAA" + text[36:], 0o600),
        ("loose.key", text, 0o644),
    ):
        (home / name).write_text(content)
        (home / name).chmod(mode)
    for key, secret_file in (
        ("enc", passphrase_file),
        ("enc", str(wrong)),
        ("plain", passphrase_file),
        ("damaged", passphrase_file),
        ("loose", passphrase_file),
    ):
        fine = key in ("enc", "plain") and secret_file == passphrase_file
        for accident, code in (("", 0), ("wrong", 77), ("crash", 70)) if fine else (("", -1),):
            done = sign_with(key, secret_file, accident, environment)
            outputs.append(done)
            assert done.returncode == code if fine else done.returncode in (65, 77), done.stderr
            assert ("Traceback" in done.stderr) == (bool(accident) or not fine)
    for done in outputs:
        for secret in secrets:
            if secret == "PRIVATE KEY" and "this is a private key" in done.stderr:
                continue  # the refusal says so, in lower case
            assert secret not in done.stdout + done.stderr, done.args
    for path in (tmp_path / "home").rglob("*"):
        if path.suffix != ".key" and path.is_file():
            assert not any(secret in path.read_text() for secret in secrets), path


SIGN = """
import sys
from gpuverify.cli import entry
from gpuverify.cli.passphrase import passphrase_from
from gpuverify.signing import key_files, keys
from gpuverify.signing.envelope import pae
key, secret_file, accident = sys.argv[1:]
if accident == "wrong":
    keys.PublicKey.verify = lambda self, signature, message: False
if accident == "crash":
    def crash(public, signature, message, holder):
        raise RuntimeError("an accident")
    key_files.own_signature = crash
def work(words):
    signer = keys.open_signer(key, passphrase_from(secret_file))
    sys.stdout.write(signer.sign(pae("a/b", b"report")).hex() + repr(signer))
    return 0
entry._run = work
sys.argv[1:] = ["key"]
sys.exit(entry.main())
"""


def sign_with(
    key: str, secret_file: str, accident: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Sign inside the real entry wrapper, with tracebacks on."""
    return subprocess.run(
        [sys.executable, "-c", SIGN, key, secret_file, accident],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**environment, "GPUVERIFY_DEBUG": "1"},
        timeout=60,
        check=False,
    )
