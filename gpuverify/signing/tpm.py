"""Signing by a TPM 2.0 through tpm2-tools, which every distribution packages.

The key is made there and cannot leave: `tpm2_createprimary -c p.ctx`, `tpm2_create -C p.ctx -G
ecc256:ecdsa-sha256 -u k.pub -r k.priv`, `tpm2_load … -c k.ctx`, `tpm2_evictcontrol -c k.ctx
0x81010001`; then `--key tpm:0x81010001`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gpuverify.codec.text import printable
from gpuverify.errors import MissingInputError, PermissionRefusedError, SourceError, UsageError
from gpuverify.model.refusal import Refused
from gpuverify.signing.keys import (
    KIND_P256,
    Ask,
    PublicKey,
    load_public_key,
    own_signature,
)

TIMEOUT_S = 60.0
"""How long one tool may take; a slow discrete TPM signs in well under a second."""

_HANDLE = re.compile(r"0x81[0-9a-fA-F]{6}\Z")
_AUTHORISE = "?auth"


def _run(tool: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run one tool of tpm2-tools."""
    found = shutil.which(tool)
    if found is None:
        raise SourceError(f"{tool} is not installed; install tpm2-tools to use keys in a TPM")
    try:
        return subprocess.run(
            [found, *words],
            input=stdin.encode("utf-8"),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"{tool} did not answer in {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise SourceError(f"{tool}: {error.strerror}") from None


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line that a tool complained with."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return printable(errors[0], 200) if errors else f"exit code {done.returncode}"


class TpmSigner:
    """A P-256 key that a TPM holds."""

    __slots__ = ("_auth", "_object", "_public")

    def __init__(self, name: str, public: PublicKey, auth: str | None) -> None:
        """Remember which key.

        Args:
            name: Persistent handle or context file.
            public: Its public half.
            auth: Its authorisation value; None where it has none.
        """
        self._object = name
        self._public = public
        self._auth = auth

    def __repr__(self) -> str:
        return f"TpmSigner({self._public.keyid})"

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    @property
    def describe(self) -> str:
        """Which key, for people."""
        return f"TPM key {printable(self._object, 100)}"

    def sign(self, message: bytes) -> bytes:
        """Sign a message; see `Signer`."""
        with tempfile.TemporaryDirectory(prefix="gpuverify-") as folder:
            to_sign, signed = Path(folder, "message"), Path(folder, "signature")
            to_sign.write_bytes(message)
            words = ["-c", self._object, "-g", "sha256", "-s", "ecdsa", "-f", "plain"]
            if self._auth is not None:
                words += ["-p", "file:-"]
            done = _run(
                "tpm2_sign", *words, "-o", str(signed), str(to_sign), stdin=self._auth or ""
            )
            if done.returncode != 0 or not signed.exists():
                raise PermissionRefusedError(
                    f"{self.describe} declined to sign: {_complaint(done)}; a key with an "
                    f"authorisation value is named tpm:…{_AUTHORISE}"
                )
            signature = signed.read_bytes()
        return own_signature(self._public, signature, message, self.describe)


def context_file(wanted: str) -> str:
    """Return the handle or context file of a key's name.

    Args:
        wanted: What stands behind "tpm:".
    """
    return wanted.removesuffix(_AUTHORISE)


def open_tpm_signer(wanted: str, ask: Ask) -> TpmSigner:
    """Find a key in the TPM.

    Args:
        wanted: A persistent handle ("0x81010001") or the path of a context file, with "?auth"
            behind it where the key asks for an authorisation value.
        ask: Called for that value.

    Raises:
        UsageError: Neither, or not a P-256 key.
        MissingInputError: No such context file.
        SourceError: tpm2-tools or the TPM cannot be reached, or it holds no such key.
    """
    name = context_file(wanted)
    if not _HANDLE.match(name):
        if name.startswith("-") or "/" not in name:
            raise UsageError(
                f"{printable(name, 80)!r} is no TPM key; give tpm:0x81…… (a persistent handle) or "
                "tpm:/path/of/context"
            )
        if not Path(name).is_file():
            raise MissingInputError(f"{printable(name)}: no such TPM context file")
    with tempfile.TemporaryDirectory(prefix="gpuverify-") as folder:
        pem = Path(folder, "public.pem")
        done = _run("tpm2_readpublic", "-c", name, "-f", "pem", "-o", str(pem))
        if done.returncode != 0 or not pem.exists():
            raise SourceError(f"TPM key {printable(name)}: {_complaint(done)}")
        try:
            public = load_public_key(pem.read_bytes(), f"TPM key {name}")
        except Refused as refused:
            raise UsageError(refused.reason) from None
    if public.kind != KIND_P256:
        raise UsageError(f"TPM key {printable(name)}: only ECDSA P-256 keys sign by TPM")
    auth = ask(f"Authorisation value of TPM key {printable(name, 60)}") if wanted != name else None
    return TpmSigner(name, public, auth)
