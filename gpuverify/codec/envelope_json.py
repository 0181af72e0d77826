"""Envelopes: DSSE v1 and Sigstore bundle v0.3 around it, read strictly and written in one way.

Whatever differs from the one shape that is written here is refused with a stable code, because a
reader that forgives (a second signature, a member that stands twice, loose base64) can be shown
another document than the next reader. Unknown members are ignored: they are not signed, and
nothing is read from them.
"""

from __future__ import annotations

import binascii
import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

from gpuverify.codec.portable_json import DECODER, OddError
from gpuverify.codec.text import printable
from gpuverify.model.envelope import Envelope, EnvelopeForm
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.report import BUNDLE_TYPE, PAYLOAD_TYPE

MAX_FILE_BYTES = 2 * 2**20
"""Largest envelope; a report has some 40 kB."""

MAX_PAYLOAD_BYTES = 2**20
"""Largest payload."""

MAX_DEPTH = 16
"""Deepest nesting of an envelope; a bundle has 5 levels."""

MAX_SIGNATURE_BYTES = 1024
"""Longest signature; an ECDSA signature over P-256 has at most 72 bytes."""

MAX_KEYID_CHARS = 512
"""Longest key id; ours have 50 characters, a hex digest 64."""

MAX_TIMESTAMPS = 8
"""Most time stamps in one bundle; each costs more to check than everything else together."""

_GIVE = "give the report file itself (a Sigstore bundle or a DSSE envelope)"

# What people hand over instead, by its first bytes.
_OTHER_FILES = (
    (b"\x1f\x8b", "gzip data", "unpack it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"PK\x05\x06", "an empty zip archive", _GIVE),
    (b"BZh", "bzip2 data", "unpack it first"),
    (b"\xfd7zXZ\x00", "xz data", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it first"),
    (b"%PDF", "a PDF", f"a page is a courtesy copy and proves nothing; {_GIVE}"),
    (b"<", "a page or XML", f"a page is a courtesy copy and proves nothing; {_GIVE}"),
    (b"-----BEGIN", "a PEM file", _GIVE),
)


def handed_over_instead(data: bytes) -> bool:
    """Whether bytes are a page or packed data, which hold neither a report nor a log.

    Args:
        data: The bytes of a file, or its beginning.
    """
    head = data[:512].lstrip().lower()
    packed = any(data.startswith(mark) for mark, *_ in _OTHER_FILES[:7])
    return packed or head.startswith((b"<!doctype html", b"<html"))


def _refuse(refusal: Refusal, origin: str, reason: str) -> NoReturn:
    """Refuse with a code, naming the input."""
    raise Refused(refusal, f"{printable(origin)}: {reason}")


def read_envelope(data: bytes, origin: str) -> Envelope:
    """Read one envelope.

    Args:
        data: A whole file, or one line of JSON Lines.
        origin: What it was read from, for people.

    Returns:
        The envelope, its signature not yet verified.

    Raises:
        Refused: E_LIMIT, E_FORMAT, E_JSON, E_DUPKEY, E_TEXT, E_TYPE, E_UNSIGNED or E_ENVELOPE.
    """
    if len(data) > MAX_FILE_BYTES:
        _refuse(Refusal.LIMIT, origin, f"larger than {MAX_FILE_BYTES // 2**20} MiB; {_GIVE}")
    reader = _typed_reader()
    envelope = None if reader is None else reader(data)
    if envelope is not None:
        return envelope
    tree = _tree(data, origin)
    if "mediaType" in tree or "verificationMaterial" in tree or "dsseEnvelope" in tree:
        return _bundle(tree, origin)
    return _dsse(tree, origin, EnvelopeForm.DSSE, ())


@functools.lru_cache(maxsize=1)
def _typed_reader() -> Callable[[bytes], Envelope | None] | None:
    """Return what reads a bundle in our own form fast; None without the extra."""
    try:
        from gpuverify.codec.envelope_typed import read_bundle
    except ImportError:
        return None
    return read_bundle


def _tree(data: bytes, origin: str) -> dict[str, Any]:
    """Decode the JSON object of an envelope."""
    start = data[:64].lstrip()
    for magic, what, next_step in _OTHER_FILES:
        if start.startswith(magic):
            _refuse(Refusal.FORMAT, origin, f"this is {what}, not a report; {next_step}")
    if not data.strip():
        _refuse(Refusal.JSON, origin, f"empty; {_GIVE}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(Refusal.JSON, origin, f"not UTF-8 at byte {error.start}; {_GIVE}")
    if text.startswith("\ufeff"):
        _refuse(Refusal.JSON, origin, "starts with a byte order mark; save it without")
    try:
        tree = DECODER.decode(text)
    except json.JSONDecodeError as error:
        _refuse(
            Refusal.JSON, origin, f"malformed or truncated JSON ({error.msg}, line {error.lineno})"
        )
    except OddError as error:
        _refuse(error.refusal, origin, str(error))
    except RecursionError:
        _refuse(Refusal.LIMIT, origin, f"nested deeper than {MAX_DEPTH}")
    if not isinstance(tree, dict):
        _refuse(Refusal.JSON, origin, f"not a JSON object; {_GIVE}")
    _check_depth(tree, origin)
    return tree


def _check_depth(tree: dict[str, Any], origin: str) -> None:
    """Refuse nesting over the limit, without recursion."""
    level: list[object] = [tree]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, (dict, list))]
        if not level:
            return
    _refuse(Refusal.LIMIT, origin, f"nested deeper than {MAX_DEPTH}")


def _bundle(tree: dict[str, Any], origin: str) -> Envelope:
    """Read a Sigstore bundle."""
    media_type = tree.get("mediaType")
    if media_type != BUNDLE_TYPE:
        shown = printable(media_type, 80) if isinstance(media_type, str) else "missing"
        _refuse(Refusal.FORMAT, origin, f"mediaType is {shown!r}; only {BUNDLE_TYPE!r} is read")
    inner = tree.get("dsseEnvelope")
    if not isinstance(inner, dict):
        _refuse(Refusal.FORMAT, origin, f"the bundle holds no DSSE envelope; {_GIVE}")
    material = tree.get("verificationMaterial", {})
    if not isinstance(material, dict):
        _refuse(Refusal.ENVELOPE, origin, "verificationMaterial is not an object")
    # The hint of the bundle and any certificate in it are ignored: a key comes from the reader's
    # own trust store, and the key id beside the signature is enough to find it there.
    return _dsse(inner, origin, EnvelopeForm.BUNDLE, _timestamps(material, origin))


def _timestamps(material: dict[str, Any], origin: str) -> tuple[bytes, ...]:
    """Return the RFC 3161 time stamps of a bundle."""
    data = material.get("timestampVerificationData")
    if data is None:
        return ()
    listed = data.get("rfc3161Timestamps", []) if isinstance(data, dict) else None
    if not isinstance(listed, list):
        _refuse(Refusal.ENVELOPE, origin, "rfc3161Timestamps is not an array")
    if len(listed) > MAX_TIMESTAMPS:
        _refuse(Refusal.LIMIT, origin, f"more than {MAX_TIMESTAMPS} time stamps")
    found = []
    for item in listed:
        text = item.get("signedTimestamp") if isinstance(item, dict) else None
        if not isinstance(text, str) or not text:
            _refuse(Refusal.ENVELOPE, origin, "a time stamp without signedTimestamp")
        found.append(_base64(text, "signedTimestamp", origin))
    return tuple(found)


def _dsse(
    tree: dict[str, Any], origin: str, form: EnvelopeForm, timestamps: tuple[bytes, ...]
) -> Envelope:
    """Read a DSSE envelope."""
    if not {"payload", "payloadType", "signatures"} & tree.keys():
        _refuse(Refusal.TYPE, origin, f"unsigned: JSON without an envelope proves nothing; {_GIVE}")
    payload_type, payload = tree.get("payloadType"), tree.get("payload")
    if not isinstance(payload_type, str) or not isinstance(payload, str):
        _refuse(Refusal.ENVELOPE, origin, "payload and payloadType have to be strings")
    signature, keyid = _signature(tree.get("signatures"), origin)
    if payload_type != PAYLOAD_TYPE:
        _refuse(
            Refusal.TYPE,
            origin,
            f"payloadType is {printable(payload_type, 80)!r}; only {PAYLOAD_TYPE!r} is read",
        )
    if len(payload) > _base64_length(MAX_PAYLOAD_BYTES):
        _refuse(Refusal.LIMIT, origin, f"payload larger than {MAX_PAYLOAD_BYTES // 2**20} MiB")
    return Envelope(
        payload_type=payload_type,
        payload=_base64(payload, "payload", origin),
        signature=_base64(signature, "sig", origin),
        keyid=keyid,
        form=form,
        timestamps=timestamps,
    )


def _signature(signatures: object, origin: str) -> tuple[str, str]:
    """Return base64 and key id of the one signature."""
    if signatures is None or signatures == []:
        _refuse(Refusal.UNSIGNED, origin, "there is no signature")
    if not isinstance(signatures, list):
        _refuse(Refusal.ENVELOPE, origin, "signatures is not an array")
    if len(signatures) != 1:
        _refuse(
            Refusal.ENVELOPE,
            origin,
            f"{len(signatures)} signatures; a report has exactly one, and one signer",
        )
    entry = signatures[0]
    if not isinstance(entry, dict):
        _refuse(Refusal.ENVELOPE, origin, "the signature is not an object")
    signature, keyid = entry.get("sig"), entry.get("keyid")
    if signature is None or signature == "":
        _refuse(Refusal.UNSIGNED, origin, "the signature is empty")
    if not isinstance(signature, str) or not (keyid is None or isinstance(keyid, str)):
        _refuse(Refusal.ENVELOPE, origin, "sig and keyid have to be strings")
    if len(signature) > _base64_length(MAX_SIGNATURE_BYTES):
        _refuse(Refusal.LIMIT, origin, f"signature longer than {MAX_SIGNATURE_BYTES} bytes")
    keyid = keyid or ""
    if len(keyid) > MAX_KEYID_CHARS:
        _refuse(Refusal.LIMIT, origin, f"keyid longer than {MAX_KEYID_CHARS} characters")
    if not keyid.isprintable():
        _refuse(Refusal.TEXT, origin, "keyid holds invisible or control characters")
    return signature, keyid


def _base64_length(size: int) -> int:
    """Return how many characters `size` bytes take."""
    return (size + 2) // 3 * 4


def _base64(text: str, name: str, origin: str) -> bytes:
    """Decode base64, standard or URL-safe alphabet, in the one form that encodes the bytes.

    Writing the bytes again has to give the same text: that leaves out line breaks, foreign
    characters, missing padding and bits that no byte uses.
    """
    try:
        raw = text.encode("ascii")
        standard = raw
        if b"-" in raw or b"_" in raw:
            if b"+" in raw or b"/" in raw:
                raise binascii.Error("two alphabets")
            standard = raw.replace(b"-", b"+").replace(b"_", b"/")
        data = _base64_decoder()(standard)
        if binascii.b2a_base64(data, newline=False) != standard:
            raise binascii.Error("not the one encoding")
    except (binascii.Error, UnicodeEncodeError):
        _refuse(Refusal.ENVELOPE, origin, f"{name} is not proper base64")
    return data


@functools.lru_cache(maxsize=1)
def _base64_decoder() -> Callable[[bytes], bytes]:
    """Return what decodes standard base64: msgspec takes a third of the time, where it is there.

    Neither is relied on to refuse: the caller writes the bytes again and compares.
    """
    try:
        import msgspec
    except ImportError:
        return binascii.a2b_base64

    def decode(text: bytes) -> bytes:
        """Decode, or raise what `binascii` does."""
        try:
            return msgspec.convert(text.decode("ascii"), bytes)
        except msgspec.ValidationError:
            raise binascii.Error("not base64") from None

    return decode


def _encoded(data: bytes) -> str:
    """Return standard base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _envelope_tree(payload: bytes, signature: bytes, keyid: str) -> dict[str, object]:
    """Return the DSSE envelope as a tree."""
    return {
        "payload": _encoded(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": _encoded(signature)}],
    }


def _line(tree: dict[str, object]) -> bytes:
    """Write a tree as one line."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def dsse_bytes(payload: bytes, signature: bytes, keyid: str) -> bytes:
    """Write a bare DSSE envelope.

    Args:
        payload: The signed bytes.
        signature: Signature over their pre-authentication encoding.
        keyid: OpenSSH fingerprint of the key.

    Returns:
        One line of JSON with a line feed.
    """
    return _line(_envelope_tree(payload, signature, keyid))


def bundle_bytes(
    payload: bytes, signature: bytes, keyid: str, timestamps: tuple[bytes, ...] = ()
) -> bytes:
    """Write a Sigstore bundle v0.3 that names a public key.

    Args:
        payload: The signed bytes.
        signature: Signature over their pre-authentication encoding.
        keyid: OpenSSH fingerprint of the key; it is the hint of the bundle too.
        timestamps: RFC 3161 TimeStampResp (DER), each over the raw signature bytes.

    Returns:
        One line of JSON with a line feed.
    """
    material: dict[str, object] = {"publicKey": {"hint": keyid}, "tlogEntries": []}
    if timestamps:
        material["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": _encoded(token)} for token in timestamps]
        }
    return _line(
        {
            "dsseEnvelope": _envelope_tree(payload, signature, keyid),
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": material,
        }
    )
