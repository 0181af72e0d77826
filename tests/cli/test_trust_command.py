"""`gpuverify trust` in processes of its own, with a terminal where it asks a person."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpuverify.signing.keys import load_public_key

Run = Callable[..., "subprocess.CompletedProcess[str]"]
INTERRUPT = "Ctrl-C"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, not there yet."""
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A seller's public key."""
    path = tmp_path / "seller.pub"
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    path.write_bytes(
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" seller desk\n"
    )
    return path


def fingerprint(file: Path) -> str:
    return load_public_key(file.read_bytes(), "test").keyid


def at_terminal(typed: str, *words: str) -> tuple[int, str]:
    """Run the command with a person before it, who types when asked."""
    person, machine = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuverify", *words],
        stdin=machine, stdout=machine, stderr=machine, close_fds=True,
    )  # fmt: skip
    os.close(machine)
    shown, asked, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([person], [], [], 0.1)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            shown += os.read(person, 4096)
        except OSError:  # the other end is closed
            break
        if b"Type yes" in shown and not asked:
            asked = True
            if typed == INTERRUPT:
                process.send_signal(signal.SIGINT)
            else:
                os.write(person, typed.encode())
    process.wait(10)
    os.close(person)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def test_a_person_compares_the_fingerprint(home: Path, file: Path) -> None:
    code, shown = at_terminal("yes\n", "trust", "add", str(file), "--principal", "sales@a.example")
    assert code == 0, shown
    before = shown.index("Compare the fingerprint")
    assert fingerprint(file) in shown[:before]
    assert "sales@a.example" in shown[:before]
    assert "in the role  seller" in shown[:before]
    assert "by telephone" in shown
    assert (
        (home / "allowed_signers")
        .read_text()
        .startswith('sales@a.example namespaces="gpuverify-report,')
    )


@pytest.mark.parametrize("typed", ["no\n", "\n", "y\n", "yes please\n", "\x04", INTERRUPT])
def test_without_a_clear_yes_nothing_is_trusted(home: Path, file: Path, typed: str) -> None:
    code, shown = at_terminal(typed, "trust", "add", str(file), "--principal", "sales@a.example")
    assert code == (130 if typed == INTERRUPT else 64), shown
    assert not (home / "allowed_signers").exists()


def test_without_a_terminal_a_fingerprint_is_needed(run: Run, home: Path, file: Path) -> None:
    done = run("trust", "add", str(file), "--principal", "sales@a.example", stdin=b"yes\n")
    assert done.returncode == 64
    assert "there is no terminal to ask at; give --fingerprint SHA256:" in done.stderr
    assert done.stdout == ""
    assert not (home / "allowed_signers").exists()


def test_a_fingerprint_confirms_and_another_one_refuses(run: Run, home: Path, file: Path) -> None:
    words = ("trust", "add", str(file), "--principal", "sales@a.example", "--fingerprint")
    for other in ("SHA256:" + "A" * 43, fingerprint(file).lower(), fingerprint(file)[:-1], ""):
        done = run(*words, other)
        assert done.returncode == 65, done.stderr
        assert "E_TRUST" in done.stderr
        assert not (home / "allowed_signers").exists()
    done = run(*words, fingerprint(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{fingerprint(file)}  sales@a.example  seller\n"
    done = run(*words, fingerprint(file))
    assert done.returncode == 64
    assert "is there already" in done.stderr


def add(run: Run, file: Path, *words: str) -> None:
    done = run("trust", "add", str(file), "--fingerprint", fingerprint(file), *words)
    assert done.returncode == 0, done.stderr


def test_roles_names_and_dates(run: Run, home: Path, file: Path) -> None:
    add(
        run, file, "--principal", "a@b", "--principal", "c@d", "--role", "lab", "--role", "intake",
        "--valid-after", "2020-01-02", "--valid-before", "2991-03-04T05:06:07Z",
    )  # fmt: skip
    assert (
        'a@b,c@d namespaces="gpuverify-report,gpuverify-role-lab,gpuverify-role-intake",'
        'valid-after="20200102000000Z",valid-before="29910304050607Z" ssh-ed25519 '
    ) in (home / "allowed_signers").read_text()
    done = run("trust", "list")
    assert done.returncode == 0
    assert f"{fingerprint(file)}  a@b, c@d\n  ed25519, lab, intake\n" in done.stdout
    assert "valid until 2991-03-04T05:06:07Z" in done.stdout
    document = json.loads(run("trust", "list", "--json").stdout)
    assert document["schema"] == "gpuverify/trust/v1"
    assert document["keys"] == [
        {
            "keyid": fingerprint(file),
            "kind": "ed25519",
            "principals": ["a@b", "c@d"],
            "roles": ["lab", "intake"],
            "test": False,
            "valid_after": "2020-01-02T00:00:00Z",
            "valid_before": "2991-03-04T05:06:07Z",
            "comment": "",
            "line": 1,
        }
    ]
    store = home / "allowed_signers"
    store.write_text(store.read_text().replace("2991", "2021"))
    assert "expired 2021-03-04T05:06:07Z" in run("trust", "list").stdout


def test_a_last_day_counts_to_its_end_and_what_is_said_of_it_is_so(
    run: Run, home: Path, file: Path
) -> None:
    words = ("trust", "add", str(file), "--fingerprint", fingerprint(file), "--principal", "a@b")
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 60))
    done = run(*words, "--valid-before", today)
    assert done.returncode == 0, done.stderr
    assert f"trusted from now on until {today}T23:59:59Z" in done.stderr
    assert f"valid until {today}T23:59:59Z" in run("trust", "list").stdout
    assert run("trust", "remove", fingerprint(file)).returncode == 0
    done = run(*words, "--valid-after", "2990-01-01", "--valid-before", "2991-01-01")
    assert "from now on" not in done.stderr
    assert "not trusted before 2990-01-01T00:00:00Z, then until 2991-01-01T23:59:59Z" in done.stderr
    assert run("trust", "remove", fingerprint(file)).returncode == 0
    assert run("trust", "revoke", fingerprint(file), "--reason", "compromised").returncode == 0
    done = run(*words)
    assert (done.returncode, "from now on" in done.stderr) == (0, False)
    assert "this key is revoked" in done.stderr


def test_a_closed_standard_input_is_named(run: Run, home: Path) -> None:
    done = run("trust", "add", "-", "--principal", "a", patch="import sys; sys.stdin = None")
    assert done.returncode == 66
    assert done.stderr == "gpuverify: standard input is closed; name a FILE\n"


def test_test_keys_are_marked(run: Run, home: Path, file: Path) -> None:
    add(run, file, "--principal", "a@b", "--test")
    assert (
        'namespaces="gpuverify-test,gpuverify-role-seller"'
        in (home / "allowed_signers").read_text()
    )
    assert "TEST KEY" in run("trust", "list").stdout


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        ((), 64, "--principal"),
        (("--principal", "a b"), 64, "no blank"),
        (("--principal", "*"), 64, "pattern"),
        (("--principal", "a", "--role", "king"), 64, "king"),
        (("--principal", "a", "--valid-after", "2026-02-30"), 64, "--valid-after '2026-02-30'"),
        (("--principal", "a", "--valid-before", "tomorrow"), 64, "2027-01-31T12:00:00Z"),
        (
            ("--principal", "a", "--valid-after", "2997-01-01", "--valid-before", "2996-01-01"),
            64,
            "never be valid",
        ),
        (("--principal", "a", "--valid-before", "2021-01-01"), 64, "2021-01-01T23:59:59Z is over"),
    ],
)
def test_wrong_words(
    run: Run, home: Path, file: Path, words: tuple[str, ...], code: int, word: str
) -> None:
    done = run("trust", "add", str(file), "--fingerprint", fingerprint(file), *words)
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr
    assert not (home / "allowed_signers").exists()


def test_only_the_key_is_taken_from_a_published_line(run: Run, home: Path, file: Path) -> None:
    """A seller's own line cannot give itself names, roles or a longer life."""
    key = file.read_text()
    keyid = fingerprint(file)
    file.write_text(
        f'owner@b namespaces="gpuverify-report,gpuverify-role-intake",valid-before="29990101Z" {key}'
    )
    words = ("--fingerprint", keyid, "--principal", "sales@a.example")
    assert run("trust", "add", str(file), *words).returncode == 0
    text = (home / "allowed_signers").read_text()
    assert "owner@b" not in text
    assert "intake" not in text
    assert "2999" not in text


def test_other_forms_of_keys(run: Run, home: Path, file: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    add(run, file, "--principal", "a@b")
    assert "ecdsa-p256" in run("trust", "list").stdout
    done = run(
        "trust", "add", "-", "--principal", "c", "--fingerprint", fingerprint(file), stdin=pem
    )
    assert "is there already" in done.stderr
    for content, code, word in (
        (b"", 65, "E_TRUST"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", 65, "private key"),
        (b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAwEAAQ== x\n", 65, "E_TRUST"),
    ):
        file.write_bytes(content)
        done = run("trust", "add", str(file), "--principal", "d", "--fingerprint", "SHA256:x")
        assert (done.returncode, word in done.stderr) == (code, True), done.stderr
    assert run("trust", "add", "absent.pub", "--principal", "d").returncode == 66


def test_removing_and_revoking(run: Run, home: Path, file: Path) -> None:
    add(run, file, "--principal", "a@b")
    keyid = fingerprint(file)
    done = run("trust", "revoke", keyid, "--reason", "superseded", "--at", "2026-11-21")
    assert done.returncode == 0, done.stderr
    assert (
        "superseded since 2026-11-21T00:00:00Z: earlier reports stay valid"
        in run("trust", "list").stdout
    )
    done = run("trust", "revoke", keyid, "--reason", "compromised", "--at", "2026-11-20T01:02:03Z")
    assert "only what is proven to be earlier stays valid" in done.stderr
    assert run("trust", "revoke", keyid, "--reason", "superseded").returncode == 64
    assert run("trust", "revoke", keyid).returncode == 64
    assert run("trust", "revoke", "a@b", "--reason", "superseded").returncode == 64
    done = run("trust", "remove", keyid)
    assert done.returncode == 0
    assert "is trusted no longer" in done.stderr
    listed = run("trust", "list")
    assert "REVOKED, compromised since 2026-11-20T01:02:03Z" in listed.stdout
    assert "no key is trusted" in listed.stderr
    assert run("trust", "remove", keyid).returncode == 64
    done = run("trust", "add", str(file), "--principal", "a@b", "--fingerprint", keyid)
    assert done.returncode == 0  # what it signed before can be checked again
    done = run("trust", "remove", keyid)
    add(run, file, "--principal", "a@b")
    document = json.loads(run("trust", "list", "--json").stdout)
    assert document["revocations"] == [
        {"keyid": keyid, "at": "2026-11-20T01:02:03Z", "reason": "compromised"}
    ]


def test_another_file_than_the_own_one(run: Run, home: Path, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "team"
    add(run, file, "--principal", "a@b", "--trust", str(other))
    assert not home.exists()
    assert "a@b" in run("trust", "list", "--trust", str(other)).stdout
    other.chmod(0o666)
    done = run("trust", "list", "--trust", str(other))
    assert done.returncode == 65
    assert "E_TRUST" in done.stderr
    assert "chmod go-w" in done.stderr
    assert run("trust", "list", "--trust", "absent").returncode == 66


def test_hostile_names_are_shown_harmlessly(run: Run, home: Path, file: Path) -> None:
    done = run(
        "trust", "add", str(file), "--principal", "a\x1b[2Jb", "--fingerprint", fingerprint(file)
    )
    assert done.returncode == 64
    assert "\x1b" not in done.stderr


def test_the_words_are_those_of_the_model() -> None:
    from gpuverify.cli.trust import REASONS, ROLES
    from gpuverify.model.report import Role
    from gpuverify.signing import trust

    assert tuple(role.value for role in Role) == ROLES
    assert trust.REASONS == REASONS
