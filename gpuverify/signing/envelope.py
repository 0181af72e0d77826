"""What is signed: the pre-authentication encoding of DSSE; the envelopes themselves are codec's.

DSSE v1.0.2, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

from gpuverify.codec.envelope_json import bundle_bytes, dsse_bytes, read_envelope
from gpuverify.model.envelope import Envelope, EnvelopeForm

__all__ = ["Envelope", "EnvelopeForm", "bundle_bytes", "dsse_bytes", "pae", "read_envelope"]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers.

    Type and length stand in front, so that no payload can be read as one of another type.

    Args:
        payload_type: Media type.
        payload: The signed bytes.
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
