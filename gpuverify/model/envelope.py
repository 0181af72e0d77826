"""What stands around signed bytes: DSSE, alone or in a Sigstore bundle."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EnvelopeForm(enum.Enum):
    """How an envelope came."""

    BUNDLE = "bundle"
    DSSE = "dsse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One payload with one signature. Nothing here but the payload and its type is signed.

    Attributes:
        payload_type: Media type of the payload; it is signed together with it.
        payload: The signed bytes.
        signature: 64 bytes of Ed25519, or the DER of an ECDSA signature.
        keyid: What the envelope says about the key, "" where it says nothing. A hint.
        form: Sigstore bundle or bare DSSE.
        timestamps: RFC 3161 TimeStampResp (DER), each over the signature bytes, unverified.
    """

    payload_type: str
    payload: bytes
    signature: bytes
    keyid: str = ""
    form: EnvelopeForm = EnvelopeForm.DSSE
    timestamps: tuple[bytes, ...] = ()
