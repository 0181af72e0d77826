"""The files that NVIDIA's tools write: their JSON, or a report in hex beside a chain in PEM."""

from __future__ import annotations

import base64
import binascii
import re

from gpuverify.codec import strict_json
from gpuverify.codec.limits import MAX_DEVICES
from gpuverify.codec.text import printable
from gpuverify.device_evidence.spdm import MAX_REPORT_BYTES
from gpuverify.errors import FormatError
from gpuverify.model.attestation import AttestationEvidence

MAX_CHAIN_BYTES = 64 * 1024
MAX_CERTIFICATES = 16

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----", re.ASCII
)


def certificates_of_pem(data: bytes, origin: str) -> tuple[bytes, ...]:
    """Return the certificates of a PEM text in their order, as DER.

    Args:
        data: The text.
        origin: What it was read from, for the error.

    Raises:
        FormatError: There is none, or one is not base64.
    """
    if len(data) > MAX_CHAIN_BYTES:
        raise FormatError(origin, f"a certificate chain larger than {MAX_CHAIN_BYTES} bytes")
    found = _PEM.findall(data)
    if not found or len(found) > MAX_CERTIFICATES:
        raise FormatError(
            origin, f"{len(found)} certificates found; give the chain in PEM, leaf first"
        )
    try:
        return tuple(base64.b64decode(b"".join(body.split()), validate=True) for body in found)
    except binascii.Error:
        raise FormatError(origin, "a certificate is not base64; export the chain again") from None


def report_of_hex(text: str, origin: str) -> bytes:
    """Return the report of a file in hex.

    Args:
        text: Hex digits, blanks and line ends allowed.
        origin: What it was read from, for the error.

    Raises:
        FormatError: It is not hex, or longer than a report can be.
    """
    digits = "".join(text.split()).removeprefix("0x")
    if not digits or len(digits) > 2 * MAX_REPORT_BYTES:
        raise FormatError(origin, f"not a report: {len(digits)} hex digits")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise FormatError(
            origin, "not a report in hex; give the file that the tool wrote"
        ) from None


def read_attestation_json(data: bytes, origin: str) -> tuple[AttestationEvidence, ...]:
    """Read the JSON of NVIDIA's attestation SDK: one object a GPU, in a list or under a key.

    Args:
        data: The file.
        origin: What it was read from.

    Returns:
        One entry a GPU, in the file's order.

    Raises:
        FormatError: It is not such a file.
    """
    tree = strict_json.loads(data, origin)
    shared: dict[str, object] = {}
    if isinstance(tree, dict):
        listed = next((tree[key] for key in ("evidence_list", "evidences") if key in tree), None)
        if listed is not None:
            shared, tree = tree, listed
        else:
            tree = [tree]
    if not isinstance(tree, list) or not 1 <= len(tree) <= MAX_DEVICES:
        raise FormatError(
            origin, "not the evidence that NVIDIA's attestation tools write (a list of objects)"
        )
    return tuple(_entry(item, shared, origin, f"[{number}]") for number, item in enumerate(tree))


def _entry(item: object, shared: dict[str, object], origin: str, where: str) -> AttestationEvidence:
    """Read one GPU's entry."""
    if not isinstance(item, dict):
        raise FormatError(origin, "has to be an object", where)
    nonce = _text(item, "nonce", origin, where) or _text(shared, "nonce", origin, where)
    architecture = _text(item, "arch", origin, where) or _text(shared, "arch", origin, where)
    chain = _decoded(item, "certificate", origin, where)
    return AttestationEvidence(
        origin=f"{origin}{where}",
        chain=certificates_of_pem(chain, f"{origin}{where}.certificate"),
        report=_decoded(item, "evidence", origin, where),
        stated_nonce=_nonce(nonce, origin, where),
        stated_architecture=printable(architecture, 40),
    )


def _text(item: dict[str, object], key: str, origin: str, where: str) -> str:
    """Return a string member, "" where there is none."""
    value = item.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError(origin, f"{key} has to be a string", where)
    return value


def _decoded(item: dict[str, object], key: str, origin: str, where: str) -> bytes:
    """Return a member in base64, decoded."""
    text = _text(item, key, origin, where)
    if not text:
        raise FormatError(origin, f"{key} is missing", where)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(origin, f"{key} is not base64", where) from None


def _nonce(text: str, origin: str, where: str) -> bytes | None:
    """Return the nonce that the file states."""
    if not text:
        return None
    try:
        nonce = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        raise FormatError(origin, "nonce has to be 64 hex digits", where)
    return nonce


def read_attestation_pair(
    report: bytes, report_origin: str, chain: bytes, chain_origin: str
) -> AttestationEvidence:
    """Read a report in hex (or raw) and its chain in PEM.

    Args:
        report: The report file.
        report_origin: Its name.
        chain: The chain file.
        chain_origin: Its name.

    Raises:
        FormatError: One of the two is not what it has to be.
    """
    raw = report
    if not report.startswith(b"\x11\xe0"):
        raw = report_of_hex(
            report[: 4 * MAX_REPORT_BYTES].decode("ascii", "replace"), report_origin
        )
    return AttestationEvidence(
        origin=report_origin,
        chain=certificates_of_pem(chain, chain_origin),
        report=raw,
    )


def is_attestation_json(data: bytes) -> bool:
    """Whether a file is the JSON of NVIDIA's tools, rather than a report by itself.

    Args:
        data: The file.
    """
    return data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
