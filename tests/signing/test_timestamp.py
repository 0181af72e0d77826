"""RFC 3161 against a real authority: `openssl ts`, two of them, behind a web server."""

from __future__ import annotations

import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

pytest.importorskip("rfc3161_client")
sys.path.insert(0, str(Path(__file__).parent))
from tsa_support import CODE, OPENSSL, Answer, Authority, drip, reply, served

from gpuverify.errors import MissingInputError, SourceError, UsageError
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.signing.timestamp import (
    MAX_TOKEN_BYTES,
    load_tsa_roots,
    request_timestamp,
    verify_timestamp,
)

pytestmark = [
    pytest.mark.required,
    pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed"),
]

SIGNATURE = bytes(range(64))
OTHER = bytes(range(1, 65))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "a", "First")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "b", "Second")


@pytest.fixture(scope="module")
def token(first: Authority) -> bytes:
    return first.stamp(SIGNATURE)


def refused(token: bytes, message: bytes, *roots: bytes) -> str:
    with pytest.raises(Refused) as caught:
        verify_timestamp(token, message, roots)
    assert caught.value.refusal is Refusal.TIMESTAMP
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_a_stamp_says_the_time_with_its_inaccuracy(first: Authority) -> None:
    before = time.time()
    stamped = verify_timestamp(first.stamp(SIGNATURE), SIGNATURE, (first.root,))
    # openssl cuts the fraction of a second off; the authority states an accuracy of 1 s.
    assert int(before) + 1 <= stamped <= time.time() + 2


def test_openssl_agrees_on_the_stamp(first: Authority, token: bytes, tmp_path: Path) -> None:
    for name, content in (("r", first.root), ("t", token), ("d", SIGNATURE)):
        (tmp_path / name).write_bytes(content)
    words = ["openssl", "ts", "-verify", "-data", "d", "-in", "t", "-CAfile", "r"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_other_bytes(first: Authority, token: bytes) -> None:
    assert "Mismatch between messages" in refused(token, OTHER, first.root)


def test_a_stamp_of_one_authority_is_none_of_the_other(
    first: Authority, second: Authority, token: bytes
) -> None:
    assert "unable to get local issuer" in refused(token, SIGNATURE, second.root)
    both = (first.root, second.root)
    assert verify_timestamp(token, SIGNATURE, both)
    assert verify_timestamp(second.stamp(SIGNATURE), SIGNATURE, both)


def test_a_stamp_that_carries_the_leaf_of_a_trusted_authority_is_not_by_it(
    first: Authority, second: Authority
) -> None:
    """What rfc3161-client before 1.0.6 let through: the leaf was chosen by its looks."""
    # Its name is longer, so that it stands behind the other in the order that DER asks for.
    (first.folder / "friends.pem").write_bytes((second.folder / "leaf.pem").read_bytes())
    mixed = first.stamp(SIGNATURE, "-chain", "friends.pem")
    assert verify_timestamp(mixed, SIGNATURE, (first.root,))
    assert "unable to get local issuer certificate" in refused(mixed, SIGNATURE, second.root)


def test_certificates_out_of_order_are_said_to_be(first: Authority, second: Authority) -> None:
    """What OpenSSL's own option for more certificates makes, so that real authorities send it."""
    (first.folder / "root.pem").write_bytes(first.root)
    told = refused(first.stamp(SIGNATURE, "-chain", "root.pem"), SIGNATURE, first.root)
    assert "an order that DER forbids" in told


def test_no_root_is_no_trust(token: bytes) -> None:
    assert "no time-stamping authority is trusted" in refused(token, SIGNATURE)


def test_roots_that_are_none(token: bytes) -> None:
    with pytest.raises(Refused) as caught:
        verify_timestamp(token, SIGNATURE, (b"-----BEGIN NONSENSE-----",))
    assert caught.value.refusal is Refusal.TRUST


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 500, -1])
def test_truncated(first: Authority, token: bytes, keep: int) -> None:
    refused(token[:keep], SIGNATURE, first.root)


def test_every_flipped_byte_is_refused_or_changes_nothing(first: Authority, token: bytes) -> None:
    good = verify_timestamp(token, SIGNATURE, (first.root,))
    accepted, codes = 0, set()
    for position in range(0, len(token), 7):
        bent = bytearray(token)
        bent[position] ^= 0x04
        try:
            moment = verify_timestamp(bytes(bent), SIGNATURE, (first.root,))
        except Refused as error:
            codes.add(error.refusal)
        else:
            assert moment == good  # a byte that no signature covers, and that says nothing
            accepted += 1
    assert codes == {Refusal.TIMESTAMP}
    assert accepted < len(token) // 7 // 4


def test_a_leaf_that_expired_before_the_stamp(tmp_path: Path) -> None:
    old = Authority(tmp_path / "old", "Old", leaf_from_s=-9000, leaf_until_s=-60)
    assert "certificate has expired" in refused(old.stamp(SIGNATURE), SIGNATURE, old.root)


def test_a_leaf_that_is_not_valid_yet(tmp_path: Path) -> None:
    early = Authority(tmp_path / "early", "Early", leaf_from_s=9000, leaf_until_s=99000)
    assert "not yet valid" in refused(early.stamp(SIGNATURE), SIGNATURE, early.root)


def test_a_leaf_that_expired_since_the_stamp_is_all_right(tmp_path: Path) -> None:
    short = Authority(tmp_path / "short", "Short", leaf_until_s=4)
    made = short.stamp(SIGNATURE)
    while time.time() < short.leaf.not_valid_after_utc.timestamp() + 1:
        time.sleep(0.1)
    assert verify_timestamp(made, SIGNATURE, (short.root,))


def test_a_leaf_for_something_else(first: Authority, token: bytes) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    right = first.leaf.public_bytes(Encoding.DER)
    wrong = first.leaf_with(CODE).public_bytes(Encoding.DER)
    assert len(right) == len(wrong)
    assert token.count(right) == 1
    told = refused(token.replace(right, wrong), SIGNATURE, first.root)
    assert "unsuitable certificate purpose" in told


def test_a_stamp_without_a_certificate(first: Authority) -> None:
    (first.folder / "bare").write_bytes(SIGNATURE)
    first._run("-query", "-data", "bare", "-sha256", "-out", "bare.tsq")
    answer = first.answer((first.folder / "bare.tsq").read_bytes())
    assert "signer certificate not found" in refused(answer, SIGNATURE, first.root)


def test_a_refusal_of_the_authority_is_no_stamp(tmp_path: Path) -> None:
    picky = Authority(tmp_path / "picky", "Picky", digests="sha512")
    assert "did not grant" in refused(picky.stamp(SIGNATURE), SIGNATURE, picky.root)


def test_an_oversized_token(first: Authority) -> None:
    assert "64 KiB" in refused(bytes(MAX_TOKEN_BYTES + 1), SIGNATURE, first.root)


def test_asking_an_authority(first: Authority) -> None:
    def answer(handler: BaseHTTPRequestHandler, query: bytes) -> None:
        reply(handler, first.answer(query))

    with served(answer) as (url, asked):
        made = request_timestamp(SIGNATURE, url)
    assert asked == [("POST", "application/timestamp-query")]
    assert verify_timestamp(made, SIGNATURE, (first.root,))


def asking_fails(answer: Answer, timeout_s: float = 30) -> tuple[str, list[tuple[str, str]]]:
    with served(answer) as (url, asked), pytest.raises(SourceError) as caught:
        request_timestamp(SIGNATURE, url, timeout_s=timeout_s)
    assert caught.value.exit_code == 69
    assert str(caught.value).startswith("http://127.0.0.1:")
    return str(caught.value), asked


def test_an_answer_to_another_question(first: Authority, token: bytes) -> None:
    told, _ = asking_fails(lambda handler, query: reply(handler, token))
    assert "another question" in told


def test_an_answer_over_other_bytes(first: Authority) -> None:
    told, _ = asking_fails(lambda handler, query: reply(handler, first.stamp(OTHER)))
    assert "another question" in told


def test_an_answer_that_grants_nothing(tmp_path: Path) -> None:
    picky = Authority(tmp_path / "picky", "Picky", digests="sha512")
    told, _ = asking_fails(lambda handler, query: reply(handler, picky.answer(query)))
    assert "did not grant" in told


def test_an_answer_that_is_none() -> None:
    told, _ = asking_fails(lambda handler, query: reply(handler, b"<html>hello</html>"))
    assert "not a readable time stamp" in told


def test_an_oversized_answer() -> None:
    told, _ = asking_fails(lambda handler, query: reply(handler, bytes(5_000_000)))
    assert "more than 64 KiB" in told


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["/elsewhere", "file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirects_are_not_followed(status: int, target: str) -> None:
    told, asked = asking_fails(lambda handler, query: reply(handler, b"", status, Location=target))
    assert "redirect, which is not followed" in told
    assert len(asked) == 1


def test_an_error_of_the_server() -> None:
    told, _ = asking_fails(lambda handler, query: reply(handler, b"busy", 503))
    assert "HTTP status 503" in told


def test_a_server_that_never_answers() -> None:
    start = time.monotonic()
    told, _ = asking_fails(lambda handler, query: time.sleep(2), timeout_s=0.4)
    assert "no answer within 0.4 s" in told
    assert time.monotonic() - start < 8  # the server's own thread ends first


def test_a_server_that_answers_drop_by_drop() -> None:
    start = time.monotonic()
    with served(drip) as (url, _), pytest.raises(SourceError, match=r"no answer within 0.5 s"):
        request_timestamp(SIGNATURE, url, timeout_s=0.5)
    assert time.monotonic() - start < 8


def test_a_server_that_is_not_there() -> None:
    with served(lambda handler, query: None) as (url, _):
        pass
    with pytest.raises(SourceError, match="cannot be asked"):
        request_timestamp(SIGNATURE, url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/tsr",
        "file:///etc/hostname",
        "/etc/hostname",
        "data:text/plain,hello",
        "gopher://127.0.0.1/",
        "http://",
        "http:///tsr",
        "http://127.0.0.1:port/tsr",
        "http://127.0.0.1:99999/",
        "http://user:secret@127.0.0.1/tsr",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/a b",
        "",
    ],
)
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_timestamp(SIGNATURE, url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_roots_are_read_from_a_file(
    first: Authority,
    second: Authority,
    token: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPUVERIFY_HOME", str(tmp_path))
    assert load_tsa_roots() == ()
    own = tmp_path / "tsa-roots.pem"
    own.write_bytes(b"# two of them\n" + first.root + second.root + first.root)
    assert load_tsa_roots() == (first.root, second.root)
    assert verify_timestamp(token, SIGNATURE, load_tsa_roots(str(own)))


def test_roots_that_vouch_for_nothing(first: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    path = tmp_path / "roots.pem"
    with pytest.raises(MissingInputError):
        load_tsa_roots(str(path))
    for content, word in (
        (first.leaf.public_bytes(Encoding.PEM), "no certificate of an authority"),
        (b"nothing", "no certificates in PEM"),
        (first.root[:-60], "no certificates in PEM"),
    ):
        path.write_bytes(content)
        with pytest.raises(Refused, match=word) as caught:
            load_tsa_roots(str(path))
        assert caught.value.refusal is Refusal.TRUST
    path.write_bytes(first.root)
    path.chmod(0o646)
    with pytest.raises(Refused, match="others on this machine may write it"):
        load_tsa_roots(str(path))


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod("
        "lambda name, path=None, target=None: None)}))\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *w: None if name == 'rfc3161_client' else found(name, *w)\n"
        "from gpuverify.signing import timestamp\n"
        "from gpuverify.errors import UsageError\n"
        "assert not timestamp.available()\n"
        "for call in (lambda: timestamp.verify_timestamp(b'', b'', (b'',)),\n"
        "             lambda: timestamp.request_timestamp(b'x', 'http://127.0.0.1/')):\n"
        "    try: call()\n"
        "    except UsageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("pip install 'gpuverify[timestamp]'" in line for line in lines)
