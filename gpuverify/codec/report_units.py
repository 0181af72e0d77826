"""Which signed documents of a stream belong together: a set statement and its reports.

Nothing is believed here. A document is only looked at to see what has to be verified together;
verification then holds each report against the signed list of its set.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator

Document = tuple[str, bytes]
"""Origin for people, and the bytes."""

MAX_UNIT = 258
"""Most documents in one unit: a set statement, 256 reports, and one too many to be noticed."""

_PAYLOAD = re.compile(rb'"payload"\s*:\s*"([A-Za-z0-9+/_=-]+)"')
_ENVELOPE = re.compile(rb'"(?:dsseEnvelope|payloadType|signatures)"\s*:')
_SET_TYPE = b'"urn:gpuverify:report-set:v1"'
_DIGEST = re.compile(rb'"payloadSha256"\s*:\s*"([0-9a-f]{64})"')


def _payload(data: bytes) -> bytes:
    """Return the payload of what looks like an envelope, empty where there is none."""
    found = _PAYLOAD.search(data)
    if found is None:
        return b""
    try:
        return binascii.a2b_base64(found.group(1).replace(b"-", b"+").replace(b"_", b"/"))
    except binascii.Error:
        return b""


def looks_signed(data: bytes) -> bool:
    """Whether a document looks like an envelope, and not like evidence that nobody signed.

    Args:
        data: Its bytes.
    """
    return data.lstrip()[:1] == b"{" and _ENVELOPE.search(data) is not None


def iter_units(documents: Iterable[tuple[str, Document]]) -> Iterator[tuple[Document, ...]]:
    """Put each set statement together with the reports that come with it.

    What follows a set statement in one file belongs to it, up to the next set statement; of the
    files after it, those that it lists.

    Args:
        documents: The file of each document, and the document, in their order.

    Yields:
        One document that stands alone, or a set statement with what came with it; in order.
    """
    unit: list[Document] = []
    home, listed = "", frozenset[str]()
    for file, document in documents:
        payload = _payload(document[1])
        if _SET_TYPE in payload:
            if unit:
                yield tuple(unit)
            unit, home = [document], file
            listed = frozenset(found.decode() for found in _DIGEST.findall(payload))
            continue
        if 0 < len(unit) < MAX_UNIT and (
            file == home or hashlib.sha256(payload).hexdigest() in listed
        ):
            unit.append(document)
            continue
        if unit:
            yield tuple(unit)
            unit = []
        yield (document,)
    if unit:
        yield tuple(unit)
