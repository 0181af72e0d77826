"""Signing by ssh-agent: the private key never enters our process.

Protocol: https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent (messages 11 to 14).
What is signed begins with "DSSEv1 " or "SSHSIG"; a login that an agent signs begins with a length,
so that neither can be passed off as the other.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from types import TracebackType

from gpuverify.codec.ssh_wire import (
    ED25519,
    P256,
    WireError,
    WireReader,
    pack_string,
    pack_uint32,
)
from gpuverify.codec.text import printable
from gpuverify.errors import PermissionRefusedError, SourceError, UsageError
from gpuverify.model.refusal import Refused
from gpuverify.signing.keys import KIND_ED25519, PublicKey, own_signature, public_key_from_wire

LIST_TIMEOUT_S = 10.0
"""How long the agent may take to list its keys."""

SIGN_TIMEOUT_S = 120.0
"""How long it may take to sign: a person may have to touch a token or confirm."""

MAX_MESSAGE = 256 * 1024
"""Longest agent message; OpenSSH's own limit (AGENT_MAX_LEN)."""

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKey:
    """One key that the agent offers and that can sign a report.

    Attributes:
        public: The key.
        comment: What the agent calls it.
    """

    public: PublicKey
    comment: str


class _Connection:
    """One connection to the agent."""

    def __init__(self, timeout_s: float) -> None:
        path = os.environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise SourceError("no ssh-agent: SSH_AUTH_SOCK is not set; start one and ssh-add a key")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            reason = error.strerror or str(error)
            raise SourceError(
                f"ssh-agent at {printable(path)} cannot be reached: {reason}"
            ) from None

    def __enter__(self) -> _Connection:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def call(self, kind: int, body: bytes, expected: int) -> WireReader | None:
        """Send a request; return the body of the answer, None where the agent declines."""
        if len(body) >= MAX_MESSAGE:
            raise UsageError(
                f"ssh-agent signs at most {MAX_MESSAGE // 1024} KiB; use a key file for this report"
            )
        try:
            self._socket.sendall(pack_string(bytes((kind,)) + body))
            size = int.from_bytes(self._receive(4), "big")
            if not 1 <= size <= MAX_MESSAGE:
                raise SourceError("ssh-agent answered with a message of an impossible size")
            answer = self._receive(size)
        except TimeoutError:
            raise SourceError("ssh-agent did not answer in time") from None
        except OSError as error:
            raise SourceError(f"ssh-agent: {error.strerror or error}") from None
        return WireReader(answer[1:]) if answer[0] == expected else None

    def _receive(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(min(size - len(parts), 65536))
            if not part:
                raise SourceError("ssh-agent closed the connection")
            parts += part
        return bytes(parts)


def agent_keys() -> tuple[AgentKey, ...]:
    """Return the keys of the agent that can sign reports; others are passed over.

    Raises:
        SourceError: There is no agent, or it does not answer as one.
    """
    with _Connection(LIST_TIMEOUT_S) as connection:
        reader = connection.call(_REQUEST_IDENTITIES, b"", _IDENTITIES_ANSWER)
    if reader is None:
        raise SourceError("ssh-agent does not list its keys; is it locked? (ssh-add -X)")
    found = []
    try:
        for _ in range(reader.uint32()):
            wire, comment = reader.string(), reader.string()
            try:
                public = public_key_from_wire(wire, "ssh-agent")
            except Refused:
                continue
            found.append(AgentKey(public=public, comment=comment.decode("utf-8", "replace")))
    except WireError as error:
        raise SourceError(f"ssh-agent answered with a malformed list of keys ({error})") from None
    return tuple(found)


class AgentSigner:
    """A key that the agent holds."""

    __slots__ = ("_key",)

    def __init__(self, key: AgentKey) -> None:
        """Remember which key.

        Args:
            key: One of `agent_keys`.
        """
        self._key = key

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._key.public

    @property
    def describe(self) -> str:
        """The key's comment, for people."""
        return f"ssh-agent key {printable(self._key.comment or self.public.keyid, 100)}"

    def sign(self, message: bytes) -> bytes:
        """Sign a message; see `Signer`."""
        body = pack_string(self.public.wire()) + pack_string(message) + pack_uint32(0)
        with _Connection(SIGN_TIMEOUT_S) as connection:
            reader = connection.call(_SIGN_REQUEST, body, _SIGN_RESPONSE)
        if reader is None:
            raise PermissionRefusedError(
                f"{self.describe}: the agent declined to sign (locked, not confirmed, or gone)"
            )
        try:
            blob = reader.string()
            reader.end()
            signature = _raw_signature(blob, self.public.kind)
        except (WireError, OverflowError) as error:
            raise SourceError(f"ssh-agent answered with a malformed signature ({error})") from None
        return own_signature(self.public, signature, message, self.describe)


def _raw_signature(blob: bytes, kind: str) -> bytes:
    """Turn SSH's form of a signature into the one of DSSE."""
    reader = WireReader(blob)
    algorithm, body = reader.string(), reader.string()
    reader.end()
    if algorithm != (ED25519 if kind == KIND_ED25519 else P256):
        raise WireError("another algorithm than asked for")
    if kind == KIND_ED25519:
        return body
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    inner = WireReader(body)
    r, s = inner.mpint(), inner.mpint()
    inner.end()
    return encode_dss_signature(r, s)


def open_agent_signer(wanted: str) -> AgentSigner:
    """Find one key in the agent.

    Args:
        wanted: Fingerprint or comment; "" where the agent has only one key that can sign.

    Raises:
        UsageError: None or several keys answer to that.
        SourceError: There is no agent.
    """
    keys = agent_keys()
    matching = [key for key in keys if wanted in ("", key.public.keyid, key.comment)]
    if len(matching) == 1:
        return AgentSigner(matching[0])
    offered = "; ".join(f"{key.public.keyid} {printable(key.comment, 60)}" for key in keys[:10])
    raise UsageError(
        f"{len(matching)} keys of ssh-agent answer to {printable(wanted or 'agent:', 80)!r}; "
        + (f"it offers {offered}" if keys else "it holds no Ed25519 or P-256 key; ssh-add one")
    )
