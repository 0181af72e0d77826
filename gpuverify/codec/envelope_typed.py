"""Bundles as this program writes them, read with msgspec: one step from file to payload.

As in `report_typed`, nothing is refused here, and a document is recognised where writing again what
was read gives equal bytes: then each member stands once, and the base64 is the one that encodes its
bytes. Any other envelope is left to `envelope_json`.
"""

from __future__ import annotations

import msgspec

from gpuverify.codec.envelope_json import MAX_KEYID_CHARS, MAX_PAYLOAD_BYTES, MAX_SIGNATURE_BYTES
from gpuverify.model.envelope import Envelope, EnvelopeForm
from gpuverify.model.report import BUNDLE_TYPE, PAYLOAD_TYPE


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one signature."""

    keyid: str
    sig: bytes


class _Dsse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The envelope inside."""

    payload: bytes
    payload_type: str
    signatures: tuple[_Signature]


class _PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hint, from which nothing is read."""

    hint: str


class _Material(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Neither time stamps, which cost more than all of this, nor an entry of a log."""

    public_key: _PublicKey
    tlog_entries: tuple[()]


class _Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A bundle, its members in the order in which they are written."""

    dsse_envelope: _Dsse
    media_type: str
    verification_material: _Material


_decode = msgspec.json.Decoder(_Bundle).decode
_encode_into = msgspec.json.Encoder().encode_into


def read_bundle(data: bytes) -> Envelope | None:
    """Read a bundle that is in our own form.

    Args:
        data: A whole file, or one line of JSON Lines, not over the limit.

    Returns:
        The envelope, as `envelope_json.read_envelope` would; None for any other document.
    """
    try:
        bundle = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    again = bytearray(len(data))
    _encode_into(bundle, again)
    if data.endswith(b"\n"):
        again += b"\n"
    if again != data:
        return None
    inner = bundle.dsse_envelope
    (signature,) = inner.signatures
    if (
        bundle.media_type != BUNDLE_TYPE
        or inner.payload_type != PAYLOAD_TYPE
        or len(inner.payload) > MAX_PAYLOAD_BYTES
        or not 0 < len(signature.sig) <= MAX_SIGNATURE_BYTES
        or len(signature.keyid) > MAX_KEYID_CHARS
        or not signature.keyid.isprintable()
    ):
        return None
    return Envelope(
        payload_type=inner.payload_type,
        payload=inner.payload,
        signature=signature.sig,
        keyid=signature.keyid,
        form=EnvelopeForm.BUNDLE,
    )
