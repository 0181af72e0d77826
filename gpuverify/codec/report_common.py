"""What a report and a set of reports have in common."""

from __future__ import annotations

from gpuverify.codec.challenge_json import nonce_bytes
from gpuverify.codec.report_members import KEYID, SHA256, VERSION, Node
from gpuverify.model.refusal import Refusal
from gpuverify.model.report import Challenge, Role, SignerInfo

MAJOR = 1
"""The major version of the predicate that is read."""

ROLES = {role.value: role for role in Role}
"""The roles by their words."""

_SIGNER = frozenset({"name", "principal", "keyid", "contact"})
_CHALLENGE = frozenset({"nonce", "issuer", "order", "issuedAt", "expiresAt"})
_SUBJECT = frozenset({"name", "digest"})
_DIGEST = frozenset({"sha256"})


def read_version(node: Node) -> str:
    """Read the version.

    Args:
        node: The predicate.

    Raises:
        Refused: E_VERSION, another major version; E_SCHEMA, none at all.
    """
    version = node.text("schemaVersion", VERSION)
    if int(version.partition(".")[0]) != MAJOR:
        raise node.fail(
            "schemaVersion", f"{version} is not read, only {MAJOR}.x.y", Refusal.VERSION
        )
    return version


def read_signer(node: Node) -> SignerInfo:
    """Read who signs.

    Args:
        node: The predicate.

    Raises:
        Refused: E_SCHEMA.
    """
    signer = node.node("signer", _SIGNER)
    return SignerInfo(
        name=signer.text("name"),
        principal=signer.text("principal"),
        keyid=signer.text("keyid", KEYID),
        contact=signer.text_or_none("contact"),
    )


def read_challenge(node: Node) -> Challenge | None:
    """Read the challenge that is answered, None for none.

    Args:
        node: The predicate.

    Raises:
        Refused: E_SCHEMA.
    """
    if node.raw("challenge") is None:
        return None
    inner = node.node("challenge", _CHALLENGE)
    nonce = nonce_bytes(inner.text("nonce"))
    if nonce is None:
        raise inner.fail("nonce", "has to be 32 bytes in base64url without padding")
    return Challenge(
        nonce=nonce,
        issuer=inner.text("issuer", empty=True),
        order=inner.text("order", empty=True),
        issued_s=inner.time("issuedAt"),
        expires_s=inner.time("expiresAt"),
    )


def read_subjects(statement: Node) -> list[tuple[str, str]]:
    """Read name and digest of each subject.

    Args:
        statement: The statement.

    Raises:
        Refused: E_SCHEMA.
    """
    return [
        (item.text("name"), item.node("digest", _DIGEST).text("sha256", SHA256))
        for item in statement.nodes("subject", _SUBJECT)
    ]
