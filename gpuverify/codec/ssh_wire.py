"""The binary encoding of SSH (RFC 4251 section 5): public keys, agent messages, signatures."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes that are not what they have to be; the caller knows the file and the next step."""


class WireReader:
    """Reads one after the other, and never beyond the end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        """Start at the first byte.

        Args:
            data: The whole message.
        """
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            WireError: There are fewer.
        """
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise WireError("truncated")
        part = self._data[self._at : end]
        self._at = end
        return part

    def byte(self) -> int:
        """Return one byte."""
        return self.take(1)[0]

    def uint32(self) -> int:
        """Return a 32-bit number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Return a string: a length and that many bytes."""
        return self.take(self.uint32())

    def mpint(self) -> int:
        """Return a non-negative number of any length, in its one encoding.

        Raises:
            WireError: Negative, or with a leading zero too many.
        """
        raw = self.string()
        if not raw:
            return 0
        if raw[0] & 0x80:
            raise WireError("negative number")
        if raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80):
            raise WireError("number with needless zeros")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            WireError: Bytes follow.
        """
        if self._at != len(self._data):
            raise WireError("trailing bytes")


def pack_uint32(number: int) -> bytes:
    """Write a 32-bit number."""
    return number.to_bytes(4, "big")


def pack_string(data: bytes) -> bytes:
    """Write a string: its length and its bytes."""
    return pack_uint32(len(data)) + data


def pack_mpint(number: int) -> bytes:
    """Write a non-negative number of any length."""
    return pack_string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


ED25519 = b"ssh-ed25519"
P256 = b"ecdsa-sha2-nistp256"
P256_CURVE = b"nistp256"


def public_wire(kind: bytes, point: bytes) -> bytes:
    """Write a public key.

    Args:
        kind: `ED25519` or `P256`.
        point: 32 bytes of Ed25519, or the 65 bytes of an uncompressed P-256 point.
    """
    curve = pack_string(P256_CURVE) if kind == P256 else b""
    return pack_string(kind) + curve + pack_string(point)


def read_public_wire(wire: bytes) -> tuple[bytes, bytes]:
    """Read a public key.

    Args:
        wire: The decoded middle word of an OpenSSH public key line.

    Returns:
        Algorithm name and point; the point is b"" where the algorithm is none of the two.

    Raises:
        WireError: Malformed.
    """
    reader = WireReader(wire)
    kind = reader.string()
    if kind not in (ED25519, P256):
        return kind, b""
    if kind == P256 and reader.string() != P256_CURVE:
        raise WireError("the curve is not the one of the algorithm")
    point = reader.string()
    reader.end()
    if len(point) != (65 if kind == P256 else 32) or (kind == P256 and point[0] != 4):
        raise WireError("the point has the wrong form")
    return kind, point
