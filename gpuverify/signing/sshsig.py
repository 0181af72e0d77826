"""SSHSIG, the signature of `ssh-keygen -Y`: a second signature that every Linux host can check.

Format: https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.sshsig
"""

from __future__ import annotations

import binascii
import hashlib

from gpuverify.codec.ssh_wire import ED25519, P256, pack_mpint, pack_string, pack_uint32
from gpuverify.signing.keys import KIND_ED25519, Signer

NAMESPACE = "gpuverify-report"
"""Keeps a signature over a report apart from one over a commit or a mail."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASH = b"sha512"


def ssh_signature(signer: Signer, data: bytes, namespace: str = NAMESPACE) -> bytes:
    """Sign the bytes of a file as `ssh-keygen -Y sign` does.

    Args:
        signer: Who signs.
        data: The whole file.
        namespace: What the signature is for.

    Returns:
        The content of the `.sig` file.

    Raises:
        GpuverifyError: As `Signer.sign`.
    """
    purpose = pack_string(namespace.encode("ascii")) + pack_string(b"") + pack_string(_HASH)
    signature = signer.sign(_MAGIC + purpose + pack_string(hashlib.sha512(data).digest()))
    if signer.public.kind == KIND_ED25519:
        blob = pack_string(ED25519) + pack_string(signature)
    else:
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(signature)
        blob = pack_string(P256) + pack_string(pack_mpint(r) + pack_mpint(s))
    whole = (
        _MAGIC
        + pack_uint32(_VERSION)
        + pack_string(signer.public.wire())
        + purpose
        + pack_string(blob)
    )
    text = binascii.b2a_base64(whole, newline=False)
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return b"\n".join(
        (b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b"")
    )
