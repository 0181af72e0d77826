"""The one door for files: what is it, and is it small enough to look at?"""

from __future__ import annotations

import codecs
import errno
import sys

from gpuverify.codec.files import read_bounded
from gpuverify.codec.limits import MAX_INPUT_BYTES, MAX_XML_TAGS
from gpuverify.codec.text import decode_text
from gpuverify.errors import FormatError, MissingInputError
from gpuverify.model.evidence import Evidence

_HEAD = 4096
_WHOLE_LOG = ("NVSMI LOG", "\n    Product Name ")


def read_evidence(data: bytes, origin: str) -> Evidence:
    """Read our evidence, `nvidia-smi -q -x`, `nvidia-smi -q` or the plain table.

    Args:
        data: The whole input.
        origin: What it was read from, for people.

    Returns:
        Evidence of class CARRIED (ours) or IMPORTED (nvidia-smi's).

    Raises:
        FormatError: None of these, malformed, truncated, or over a limit.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise FormatError(
            origin, f"larger than {MAX_INPUT_BYTES // 2**20} MiB; give one machine's read-out"
        )
    if not data.strip():
        raise FormatError(origin, "empty; give the output of `nvidia-smi -q -x`")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = decode_text(data, origin).encode("utf-8")
    head = data[:_HEAD].removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(b"{"):
        from gpuverify.codec.evidence_json import load_evidence

        return load_evidence(data, origin)
    if any(mark in head for mark in (b"<?xml", b"<!DOCTYPE", b"<nvidia_smi_log")):
        if data.count(b"<") > MAX_XML_TAGS:
            raise FormatError(origin, f"more than {MAX_XML_TAGS} tags; give one machine's read-out")
        from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml

        return read_nvidia_smi_xml(data, origin)
    from gpuverify.codec.nvidia_smi_table import is_table, read_nvidia_smi_table

    text = decode_text(data, origin)
    if is_table(text) and not any(mark in text for mark in _WHOLE_LOG):
        return read_nvidia_smi_table(text, origin)
    from gpuverify.codec.nvidia_smi_text import read_nvidia_smi_text

    return read_nvidia_smi_text(text, origin)


def _standard_input(limit: int) -> bytes:
    """Read standard input, at most one byte more than the limit."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := sys.stdin.buffer.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def load_bytes(path: str) -> bytes:
    """Read a file, or standard input for "-", up to the limit.

    Args:
        path: File name or "-".

    Returns:
        Its bytes.

    Raises:
        MissingInputError: No such file, or it cannot be read.
        FormatError: Larger than the limit.
    """
    try:
        if path == "-":
            data = _standard_input(MAX_INPUT_BYTES)
        else:
            data = read_bounded(path, MAX_INPUT_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MissingInputError(f"{path}: {reason}") from None
    if len(data) > MAX_INPUT_BYTES:
        raise FormatError(
            path, f"larger than {MAX_INPUT_BYTES // 2**20} MiB; give one machine's read-out"
        )
    return data


def load_path(path: str) -> Evidence:
    """Read evidence from a file, or from standard input for "-".

    Args:
        path: File name or "-".

    Returns:
        As `read_evidence`.

    Raises:
        MissingInputError: No such file, or it cannot be read.
        FormatError: As `read_evidence`.
    """
    return read_evidence(load_bytes(path), "standard input" if path == "-" else path)
