"""Keys in a TPM 2.0, with the software TPM swtpm and the real tpm2-tools."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from gpuverify.errors import MissingInputError, PermissionRefusedError, SourceError, UsageError
from gpuverify.signing import tpm
from gpuverify.signing.keys import open_signer

AUTH = "geheim-42"


def never(prompt: str) -> str:
    raise AssertionError(prompt)


def answer(text: str) -> Callable[[str], str]:
    return lambda prompt: text


def free_ports() -> int:
    """Return a port that is free together with the one above it."""
    for _ in range(50):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise AssertionError("no two free ports in a row")


def tool(folder: Path, *words: str) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, (words, done.stderr.decode())


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path, None, None]:
    """A TPM with a P-256 key at 0x81010001, one with an authorisation value, and an RSA key."""
    if not shutil.which("swtpm") or not shutil.which("tpm2_sign"):
        pytest.skip("swtpm or tpm2-tools are not installed")
    folder = tmp_path_factory.mktemp("tpm")
    port = free_ports()
    process = subprocess.Popen(
        [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}"),
            *("--server", f"type=tcp,port={port},disconnect"),
            *("--ctrl", f"type=tcp,port={port + 1}", "--flags", "not-need-init,startup-clear"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = os.environ.get("TPM2TOOLS_TCTI")
    os.environ["TPM2TOOLS_TCTI"] = f"swtpm:host=127.0.0.1,port={port}"
    try:
        for _ in range(100):
            ready = subprocess.run(
                ["tpm2_getcap", "properties-fixed"], capture_output=True, check=False
            )
            if ready.returncode == 0:
                break
            time.sleep(0.05)
        make_keys(folder)
        yield folder
    finally:
        if before is None:
            del os.environ["TPM2TOOLS_TCTI"]
        else:
            os.environ["TPM2TOOLS_TCTI"] = before
        process.terminate()
        process.wait(10)


def make_keys(folder: Path) -> None:
    tool(folder, "tpm2_createprimary", "-Q", "-C", "o", "-c", "p.ctx")
    for name, algorithm, handle, auth in (
        ("key", "ecc256:ecdsa-sha256", "0x81010001", []),
        ("locked", "ecc256:ecdsa-sha256", "0x81010002", ["-p", AUTH]),
        ("rsa", "rsa2048:rsassa-sha256", "0x81010003", []),
    ):
        tool(
            folder,
            *("tpm2_create", "-Q", "-C", "p.ctx", "-G", algorithm, *auth),
            *("-u", f"{name}.pub", "-r", f"{name}.priv"),
            *("-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"),
        )
        tool(folder, "tpm2_flushcontext", "-t")
        tool(
            folder,
            *("tpm2_load", "-Q", "-C", "p.ctx", "-u", f"{name}.pub", "-r", f"{name}.priv"),
            *("-c", f"{name}.ctx"),
        )
        tool(folder, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", f"{name}.ctx", handle)
        tool(folder, "tpm2_flushcontext", "-t")


@pytest.mark.required
def test_a_tpm_signs_and_the_key_stays_there(chip: Path) -> None:
    signer = open_signer("tpm:0x81010001", never)
    assert signer.public.kind == "ecdsa-p256"
    for message in (b"report", b"x" * 50_000):
        assert signer.public.verify(signer.sign(message), message)
    assert "0x81010001" in signer.describe
    by_context = open_signer(f"tpm:{chip}/key.ctx", never)
    assert by_context.public == signer.public
    assert signer.public.verify(by_context.sign(b"report"), b"report")


@pytest.mark.required
def test_an_authorisation_value_is_asked_for_and_never_shown(chip: Path) -> None:
    signer = open_signer("tpm:0x81010002?auth", answer(AUTH))
    assert signer.public.verify(signer.sign(b"report"), b"report")
    assert AUTH not in repr(signer) + signer.describe
    for key, ask in (("tpm:0x81010002", never), ("tpm:0x81010002?auth", answer("guess"))):
        with pytest.raises(PermissionRefusedError, match="declined to sign") as caught:
            open_signer(key, ask).sign(b"report")
        assert "guess" not in str(caught.value)


@pytest.mark.required
def test_what_is_no_key_there_is_said(chip: Path) -> None:
    with pytest.raises(SourceError, match="0x81010009"):
        open_signer("tpm:0x81010009", never)
    with pytest.raises(UsageError, match="only"):
        open_signer("tpm:0x81010003", never)
    with pytest.raises(MissingInputError, match="no such TPM context"):
        open_signer(f"tpm:{chip}/absent.ctx", never)
    (chip / "garbage.ctx").write_bytes(b"garbage")
    with pytest.raises(SourceError):
        open_signer(f"tpm:{chip}/garbage.ctx", never)


@pytest.mark.parametrize("name", ["", "key", "-T/x", "--help", "0x80000001", "81010001"])
def test_other_names_are_refused_before_a_tool_runs(name: str) -> None:
    with pytest.raises(UsageError, match="no TPM key"):
        open_signer(f"tpm:{name}", never)


def test_missing_and_hanging_tools_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="install tpm2-tools"):
        open_signer("tpm:0x81010001", never)
    slow = tmp_path / "tpm2_readpublic"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(tpm, "TIMEOUT_S", 0.2)
    with pytest.raises(SourceError, match="did not answer"):
        open_signer("tpm:0x81010001", never)
    slow.write_bytes(b"\x7fELF not a program")
    with pytest.raises(SourceError):
        open_signer("tpm:0x81010001", never)
