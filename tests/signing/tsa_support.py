"""A real time-stamping authority: certificates of our own, `openssl ts`, a web server before it."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPENSSL = shutil.which("openssl")
STAMPS = ExtendedKeyUsageOID.TIME_STAMPING
CODE = ExtendedKeyUsageOID.CODE_SIGNING  # of the same length, so that bytes can be exchanged

CONFIG = """[tsa]
default_tsa = t
[t]
serial = serial
signer_cert = leaf.pem
signer_key = leaf.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """One authority in a folder of its own: root, leaf, `openssl ts`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        leaf_from_s: float = -86400,
        leaf_until_s: float = 86400,
        digests: str = "sha256, sha384, sha512",
    ) -> None:
        assert OPENSSL is not None
        folder.mkdir()
        self.folder, self.name = folder, name
        self._root_key, self._leaf_key = _key(), _key()
        now = dt.datetime.now(dt.timezone.utc)
        self._from = now + dt.timedelta(seconds=leaf_from_s)
        self._until = now + dt.timedelta(seconds=leaf_until_s)
        self._serial = x509.random_serial_number()
        root = (
            x509.CertificateBuilder()
            .subject_name(_name(f"{name} root"))
            .issuer_name(_name(f"{name} root"))
            .public_key(self._root_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=400))
            .not_valid_after(now + dt.timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._root_key.public_key()),
                critical=False,
            )
            .sign(self._root_key, hashes.SHA256())
        )
        self.root = root.public_bytes(serialization.Encoding.PEM)
        self.leaf = self.leaf_with(STAMPS)
        (folder / "leaf.pem").write_bytes(self.leaf.public_bytes(serialization.Encoding.PEM))
        (folder / "leaf.key").write_bytes(
            self._leaf_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIG.format(digests=digests))
        self._lock = threading.Lock()

    def leaf_with(self, usage: x509.ObjectIdentifier) -> x509.Certificate:
        """The certificate of the leaf key, for this usage: same serial, same length."""
        return (
            x509.CertificateBuilder()
            .subject_name(_name(f"{self.name} leaf"))
            .issuer_name(_name(f"{self.name} root"))
            .public_key(self._leaf_key.public_key())
            .serial_number(self._serial)
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root_key.public_key()),
                critical=False,
            )
            .sign(self._root_key, hashes.SHA256())
        )

    def answer(self, query: bytes, *options: str) -> bytes:
        """Let `openssl ts` answer a question."""
        with self._lock:  # it counts its serial number in a file
            (self.folder / "query.tsq").write_bytes(query)
            self._run(
                "-reply",
                "-config",
                "tsa.cnf",
                "-queryfile",
                "query.tsq",
                "-out",
                "out.tsr",
                *options,
            )
            return (self.folder / "out.tsr").read_bytes()

    def stamp(self, message: bytes, *options: str) -> bytes:
        """Ask and answer without a network."""
        with self._lock:
            (self.folder / "data").write_bytes(message)
            self._run("-query", "-data", "data", "-sha256", "-cert", "-out", "asked.tsq")
            query = (self.folder / "asked.tsq").read_bytes()
        return self.answer(query, *options)

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(OPENSSL), "ts", *words], cwd=self.folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Send a whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", "application/timestamp-reply")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler, _query: bytes) -> None:
    """Send a byte now and then, without ever coming to an end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b"0")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        return


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve an authority on this machine; yields its address and the (method, type) of what came."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.command, self.headers.get("Content-Type", "")))
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            asked.append((self.command, ""))
            reply(self, b"")

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsr", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
