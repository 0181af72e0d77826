"""Keys in a real ssh-agent, and agents that lie."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from gpuverify.codec.ssh_wire import WireError, WireReader, pack_mpint, pack_string, pack_uint32
from gpuverify.errors import PermissionRefusedError, SourceError, UsageError
from gpuverify.signing import agent
from gpuverify.signing.agent import agent_keys
from gpuverify.signing.keys import KINDS, open_signer

MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"


def never(prompt: str) -> str:
    raise AssertionError(prompt)


@pytest.fixture
def running_agent(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Generator[Path, None, None]:
    """A real ssh-agent with an Ed25519, a P-256 and an RSA key."""
    folder = tmp_path_factory.mktemp("agent")
    sock = folder / "sock"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            if sock.exists():
                break
            threading.Event().wait(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        for words in (["ed25519"], ["ecdsa", "-b", "256"], ["rsa", "-b", "2048"]):
            key = folder / words[0]
            subprocess.run(
                ["ssh-keygen", "-q", "-t", *words, "-N", "", "-C", f"my {words[0]}", "-f", key],
                check=True,
            )
            subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        yield folder
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.mark.required
def test_a_real_agent_signs_with_both_kinds(running_agent: Path) -> None:
    keys = agent_keys()
    assert [key.public.kind for key in keys] == list(KINDS)  # the RSA key is passed over
    for key in keys:
        for named in (key.public.keyid, key.comment):
            signer = open_signer(f"agent:{named}", never)
            for size in (0, 40_000, 200_000):
                message = MESSAGE + b"x" * size
                signature = signer.sign(message)
                assert signer.public.verify(signature, message)
                assert not signer.public.verify(signature, message + b"x")
            assert key.comment in signer.describe


@pytest.mark.required
def test_the_agent_has_a_longest_message(running_agent: Path) -> None:
    signer = open_signer("agent:my ed25519", never)
    with pytest.raises(UsageError, match="at most 256 KiB"):
        signer.sign(b"x" * 300_000)


@pytest.mark.required
def test_a_key_has_to_be_named_where_there_are_two(running_agent: Path) -> None:
    with pytest.raises(UsageError, match=r"2 keys .* it offers SHA256:.* my ed25519; SHA256:"):
        open_signer("agent:", never)
    with pytest.raises(UsageError, match="0 keys"):
        open_signer("agent:nobody", never)
    subprocess.run(["ssh-add", "-q", "-d", str(running_agent / "ecdsa")], check=True)
    assert open_signer("agent:", never).public.kind == "ed25519"
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(UsageError, match="ssh-add one"):
        open_signer("agent:", never)


@pytest.mark.required
def test_a_key_that_left_the_agent_is_a_refusal(running_agent: Path) -> None:
    signer = open_signer("agent:my ecdsa", never)
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(PermissionRefusedError, match="declined to sign"):
        signer.sign(MESSAGE)


def test_without_an_agent_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SourceError, match="SSH_AUTH_SOCK is not set"):
        agent_keys()
    for path in (tmp_path / "absent", Path("/" + "x" * 200)):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        with pytest.raises(SourceError, match="cannot be reached"):
            agent_keys()


@pytest.fixture
def liar(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[[bytes], None], None, None]:
    """A socket that answers each connection with the bytes it was given."""
    path = tmp_path_factory.mktemp("liar") / "sock"
    answers: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(4)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answers[0] if answers else b"")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

    def answer(data: bytes) -> None:
        answers[:] = [data]

    yield answer
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


LISTS = {
    "closed": b"",
    "cut in the size": b"\0\0",
    "size zero": pack_uint32(0),
    "impossible size": pack_uint32(2**31),
    "cut": pack_uint32(100) + b"\x0c",
    "failure": pack_string(b"\x05"),
    "other message": pack_string(b"\x0e" + pack_uint32(0)),
    "count without keys": pack_string(b"\x0c" + pack_uint32(2**32 - 1)),
    "string beyond the end": pack_string(b"\x0c" + pack_uint32(1) + pack_uint32(999)),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_agent_that_answers_nonsense_is_an_error_of_its_own(
    name: str, liar: Callable[[bytes], None]
) -> None:
    liar(LISTS[name])
    with pytest.raises(SourceError, match="ssh-agent"):
        agent_keys()


def test_a_foreign_signature_is_never_passed_on(liar: Callable[[bytes], None]) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    from gpuverify.signing.keys import public_key_of

    key = ed25519.Ed25519PrivateKey.generate()
    public = public_key_of(key.public_key())
    assert public is not None
    signer = agent.AgentSigner(agent.AgentKey(public=public, comment="\x1b[31mred"))
    assert "\x1b" not in signer.describe

    def signed(algorithm: bytes, body: bytes) -> bytes:
        return pack_string(b"\x0e" + pack_string(pack_string(algorithm) + pack_string(body)))

    liar(signed(b"ssh-ed25519", key.sign(MESSAGE)))
    assert public.verify(signer.sign(MESSAGE), MESSAGE)
    liar(signed(b"ssh-ed25519", key.sign(b"other")))
    with pytest.raises(PermissionRefusedError, match="does not verify"):
        signer.sign(MESSAGE)
    for broken in (
        signed(b"rsa-sha2-512", key.sign(MESSAGE)),
        pack_string(b"\x0e" + pack_string(b"\0\0\0\x05ab")),
        pack_string(b"\x0e"),
    ):
        liar(broken)
        with pytest.raises(SourceError, match="malformed signature"):
            signer.sign(MESSAGE)
    liar(pack_string(b"\x05"))
    with pytest.raises(PermissionRefusedError, match="declined"):
        signer.sign(MESSAGE)


def test_an_agent_that_hangs_is_left(
    liar: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "LIST_TIMEOUT_S", 0.2)
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = Path(os.environ["SSH_AUTH_SOCK"]).with_name("silent")
    silent.bind(str(path))
    silent.listen(1)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    try:
        with pytest.raises(SourceError, match="in time"):
            agent_keys()
    finally:
        silent.close()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 2**255, 2**256 - 1])
def test_numbers_have_one_encoding(number: int) -> None:
    reader = WireReader(pack_mpint(number))
    assert reader.mpint() == number
    reader.end()


@pytest.mark.parametrize("body", [b"\0", b"\0\x01", b"\x80", b"\xff\xff"])
def test_numbers_in_another_encoding_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        WireReader(pack_string(body)).mpint()
