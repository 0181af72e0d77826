"""What the tests with other people's verifiers share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes
from gpuverify.signing.keys import PublicKey, Signer

Node = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Signed:
    """One report, signed.

    Attributes:
        kind: Kind of the key.
        folder: Where the files are: bundle.json, dsse.json, no-keyid.json, key.pem, key.pub,
            private.pem, bundle.json.sig.
        payload: The signed bytes.
        signature: Their signature.
        signer: Who signed.
    """

    kind: str
    folder: Path
    payload: bytes
    signature: bytes
    signer: Signer

    @property
    def public(self) -> PublicKey:
        return self.signer.public

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def changed(self, name: str, old: str, new: str) -> str:
        """Write a copy of a file in which one text is another; return its path."""
        text = (self.folder / name).read_text()
        assert text.count(old) >= 1, old
        path = self.folder / f"changed-{name}"
        path.write_text(text.replace(old, new))
        return str(path)

    def flipped(self, name: str) -> str:
        """Write a copy of a file with one bit of the payload flipped; return its path."""
        data = bytearray(self.payload)
        data[len(data) // 2] ^= 1
        make = bundle_bytes if name == "bundle.json" else dsse_bytes
        path = self.folder / f"flipped-{name}"
        path.write_bytes(make(bytes(data), self.signature, self.public.keyid))
        return str(path)
