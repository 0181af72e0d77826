"""No output takes the place of a key or of what the same command reads, --force or not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ONE = "ga100/a100-sxm4-80gb"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    """`run` beside mykey, mykey.pub and e.json, and with the key "shop" on file."""
    env = {"GPUVERIFY_HOME": str(tmp_path / "home")}

    def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(*words, env=env, **more)

    assert call("key", "new", "shop", "--no-passphrase", "--comment", "a@b").returncode == 0
    private = (tmp_path / "home/keys/shop.key").read_bytes()
    (tmp_path / "mykey").write_bytes(private)
    (tmp_path / "mykey").chmod(0o600)
    (tmp_path / "mykey.pub").write_bytes((tmp_path / "home/keys/shop.pub").read_bytes())
    assert call("collect", "--replay", ONE, "-o", "e.json").returncode == 0
    (tmp_path / "policy.toml").write_text("x")
    (tmp_path / "link").symlink_to("mykey")
    os.link(tmp_path / "e.json", tmp_path / "hard")
    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check", "--replay", ONE, "--key", "./mykey", "--report-out", "mykey"), "--key"),
        (("check", "--replay", ONE, "--key", "mykey", "--report-out", "link"), "--key"),
        (("check", "--replay", ONE, "--key", "mykey", "--report-out", "mykey.pub"), "--key"),
        (("check", "--replay", ONE, "--key", "shop", "--report-out", "home/keys/shop.key"), "--key"),
        (("check", "--replay", ONE, "--key", "shop", "--report-out", "home/keys/shop.pub"), "--key"),
        (
            (
                "check", "--replay", ONE, "--key", "mykey", "--report-out", "r",
                "--evidence-out", "mykey",
            ),
            "--evidence-out mykey would overwrite what --key reads",
        ),
        (
            (
                "check", "--replay", ONE, "--key", "shop", "--report-out", "r", "--attach",
                "e.json", "--evidence-out", "hard",
            ),
            "--attach",
        ),
        (
            ("check", "--replay", ONE, "--key", "shop", "--report-out", "./r", "--evidence-out", "r"),
            "name two",
        ),
        (
            (
                "check", "--replay", ONE, "--key", "shop", "--report-out", "r", "--evidence-out",
                "r.sig", "--sshsig",
            ),
            "name two",
        ),
        (("sign", "e.json", "-o", "e.json", "--key", "shop"), "EVIDENCE"),
        (("sign", "e.json", "-o", "hard", "--key", "shop"), "EVIDENCE"),
        (
            ("sign", "e.json", "-o", "policy.toml", "--key", "shop", "--policy", "policy.toml"),
            "--policy",
        ),
        (("show", "e.json", "--html", "e.json"), "FILE"),
        (("collect", "--replay", ONE, "--device-evidence", "e.json", "-o", "hard"), "evidence"),
    ],
)  # fmt: skip
def test_an_output_that_is_an_input(
    shop: Run, tmp_path: Path, words: tuple[str, ...], says: str, force: tuple[str, ...]
) -> None:
    before = contents(tmp_path)
    done = shop(*words, *force)
    assert done.returncode == 64, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(tmp_path) == before


def test_a_private_key_is_never_replaced(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "openssh").write_text("\n-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    before = contents(tmp_path)
    for words in (
        ("check", "--replay", ONE, "--key", "shop", "--report-out", "link", "--force"),
        ("check", "--replay", ONE, "--evidence-out", "openssh"),
        ("sign", "e.json", "-o", "openssh", "--key", "shop", "--force"),
        ("collect", "--replay", ONE, "-o", "mykey", "--force"),
        ("challenge", "new", "-o", "mykey", "--force"),
        ("show", "--verify-page", "mykey", "--force"),
    ):
        done = shop(*words)
        assert done.returncode == 73, (words, done.stderr)
        assert "holds a private key, which is never overwritten" in done.stderr
        assert contents(tmp_path) == before


def test_a_recording_is_not_written_into(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "case.json").write_text("{}")
    done = shop("collect", "--replay", "case", "-o", "case/case.json", "--force")
    assert done.returncode == 64
    assert "--replay" in done.stderr


def test_what_is_no_input_is_replaced_with_force(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "standard").write_text("an old report")
    done = shop("sign", "e.json", "-o", "standard", "--key", "mykey", "--force")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("url", ["ftp://x", "nope", "http://", "http://me:secret@tsa.example/"])
def test_a_wrong_address_of_time_stamps_is_said_before_the_run(
    shop: Run, tmp_path: Path, url: str
) -> None:
    pytest.importorskip("rfc3161_client")
    words = ("--key", "shop", "--timestamp-url", url)
    done = shop(
        "check", "--replay", ONE, "--report-out", "r.json", "--evidence-out", "f.json", *words
    )
    assert (done.returncode, done.stdout) == (64, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "f.json").exists()
    assert shop("sign", "absent.json", "-o", "r.json", *words).returncode == 64


def test_a_stamp_that_fails_says_how_to_go_on(shop: Run) -> None:
    pytest.importorskip("rfc3161_client")
    words = ("--key", "shop", "--timestamp-url", "http://127.0.0.1:9/")
    done = shop("sign", "e.json", "-o", "r.json", *words)
    assert done.returncode == 69
    assert "no report was written: http://127.0.0.1:9/" in done.stderr
    assert "or sign without --timestamp-url" in done.stderr


def test_a_public_key_is_no_private_key_that_others_may_use(shop: Run, tmp_path: Path) -> None:
    for name in ("mykey.pub", "e.json"):
        (tmp_path / name).chmod(0o644)
    done = shop("sign", "e.json", "-o", "r.json", "--key", "mykey.pub")
    assert done.returncode == 65
    assert "this is a public key; name the private one beside it: mykey\n" in done.stderr
    pem = shop("key", "export", "shop", "--pem").stdout
    (tmp_path / "public.pem").write_text(pem)
    done = shop("sign", "e.json", "-o", "r.json", "--key", "public.pem")
    assert (done.returncode, "this is a public key" in done.stderr) == (65, True)
    done = shop("sign", "e.json", "-o", "r.json", "--key", "e.json")
    assert (done.returncode, "no private key" in done.stderr) == (65, True)
    (tmp_path / "mykey").chmod(0o644)
    done = shop("sign", "e.json", "-o", "r.json", "--key", "mykey")
    assert (done.returncode, "mode 0644" in done.stderr) == (65, True)


@pytest.mark.parametrize("name", ["nope", "", "no/such.toml"])
def test_an_unknown_policy_names_those_that_there_are(shop: Run, name: str) -> None:
    done = shop("appraise", "e.json", "--policy", name)
    assert done.returncode == 66
    assert "no policy of that name (screen, standard, intake) and no such file" in done.stderr
