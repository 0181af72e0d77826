"""Why a signed document is refused: stable codes, one sentence each, one table of exit codes."""

from __future__ import annotations

import enum

from gpuverify.errors import VerificationError

UNRELIABLE = 65
"""The input cannot be relied on: malformed, tampered, unsigned, or nobody vouches for the key."""

WRONG_PURPOSE = 4
"""The signature holds, but the document is not one for this purpose."""


class Refusal(enum.Enum):
    """A stable code for each way in which a signed document is refused."""

    JSON = "E_JSON"
    DUPKEY = "E_DUPKEY"
    TEXT = "E_TEXT"
    LIMIT = "E_LIMIT"
    FORMAT = "E_FORMAT"
    TYPE = "E_TYPE"
    ENVELOPE = "E_ENVELOPE"
    UNSIGNED = "E_UNSIGNED"
    SIGNATURE = "E_SIGNATURE"
    UNKNOWN_KEY = "E_UNKNOWN_KEY"
    SIGNER = "E_SIGNER"
    VERSION = "E_VERSION"
    SCHEMA = "E_SCHEMA"
    SUBJECT = "E_SUBJECT"
    TIME = "E_TIME"
    TIMESTAMP = "E_TIMESTAMP"
    KEY_EXPIRED = "E_KEY_EXPIRED"
    KEY_REVOKED = "E_KEY_REVOKED"
    VERDICT = "E_VERDICT"
    CHECKS = "E_CHECKS"
    ATTACHMENT = "E_ATTACHMENT"
    TRUST = "E_TRUST"
    RENDERING = "E_RENDERING"
    HWATT = "E_HWATT"
    WRONG_CARD = "E_WRONG_CARD"
    NONCE = "E_NONCE"
    STALE = "E_STALE"
    ROLE = "E_ROLE"
    SIMULATED = "E_SIMULATED"
    REFDB = "E_REFDB"
    REPLAY = "E_REPLAY"
    SET = "E_SET"
    CHAIN = "E_CHAIN"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__

    @property
    def exit_code(self) -> int:
        """The documented exit code: 65, or 4 where only the purpose does not fit."""
        return _TABLE[self][0]

    @property
    def meaning(self) -> str:
        """What the code says, in one sentence."""
        return _TABLE[self][1]


_TABLE: dict[Refusal, tuple[int, str]] = {
    Refusal.JSON: (UNRELIABLE, "The bytes are not the strict JSON that is signed here."),
    Refusal.DUPKEY: (UNRELIABLE, "A member stands twice, so that two readers read two things."),
    Refusal.TEXT: (UNRELIABLE, "A text holds invisible, control or non-normalised characters."),
    Refusal.LIMIT: (UNRELIABLE, "The input is larger or deeper than any report may be."),
    Refusal.FORMAT: (UNRELIABLE, "This is not a file of the kind that is verified."),
    Refusal.TYPE: (UNRELIABLE, "What is signed is not a statement of a known type."),
    Refusal.ENVELOPE: (UNRELIABLE, "The envelope has not exactly one signature, or bad base64."),
    Refusal.UNSIGNED: (UNRELIABLE, "There is no signature."),
    Refusal.SIGNATURE: (UNRELIABLE, "The signature does not belong to these bytes and this key."),
    Refusal.UNKNOWN_KEY: (UNRELIABLE, "The signing key is not in the trust store."),
    Refusal.SIGNER: (UNRELIABLE, "The key was not given this name or role in the trust store."),
    Refusal.VERSION: (UNRELIABLE, "The report follows another major version of the format."),
    Refusal.SCHEMA: (UNRELIABLE, "A member is missing or not of the form that the format asks."),
    Refusal.SUBJECT: (UNRELIABLE, "The subject is not the card that the report describes."),
    Refusal.TIME: (UNRELIABLE, "The times contradict each other or lie in the future."),
    Refusal.TIMESTAMP: (UNRELIABLE, "The time stamp is missing, foreign or of other bytes."),
    Refusal.KEY_EXPIRED: (UNRELIABLE, "The key was not valid at the trusted time."),
    Refusal.KEY_REVOKED: (UNRELIABLE, "The key was revoked before the trusted time."),
    Refusal.VERDICT: (UNRELIABLE, "The signer's verdict contradicts the signer's own checks."),
    Refusal.CHECKS: (UNRELIABLE, "A check is left out, or stands twice with two outcomes."),
    Refusal.ATTACHMENT: (UNRELIABLE, "An attachment is missing or is not the one that was named."),
    Refusal.TRUST: (
        UNRELIABLE,
        "Your own trust store or journal cannot be relied on as it stands.",
    ),
    Refusal.RENDERING: (UNRELIABLE, "A label or page says other things than what was signed."),
    Refusal.HWATT: (UNRELIABLE, "The evidence that the device itself signed does not hold."),
    Refusal.WRONG_CARD: (WRONG_PURPOSE, "The report is about another card."),
    Refusal.NONCE: (WRONG_PURPOSE, "The report does not answer this challenge, or not in time."),
    Refusal.STALE: (WRONG_PURPOSE, "The report is older than was asked for."),
    Refusal.ROLE: (WRONG_PURPOSE, "The report was made in another role."),
    Refusal.SIMULATED: (WRONG_PURPOSE, "The evidence was not collected live on a card."),
    Refusal.REFDB: (WRONG_PURPOSE, "The report was made with reference data that is too old."),
    Refusal.REPLAY: (WRONG_PURPOSE, "The report or its challenge was used before."),
    Refusal.SET: (WRONG_PURPOSE, "The set of reports is not the one that was signed for."),
    Refusal.CHAIN: (WRONG_PURPOSE, "The chain of earlier reports does not hold."),
}


class Refused(VerificationError):  # noqa: N818 - what was refused, with its code; not a fault
    """A signed document that is refused, with its stable code.

    Attributes:
        refusal: The code.
        reason: What is wrong and what to do next, without the code.
        exit_code: By the table of `Refusal`.
    """

    def __init__(self, refusal: Refusal, reason: str) -> None:
        """Keep the code and the reason.

        Args:
            refusal: The code.
            reason: One line: what, where, what next.
        """
        self.refusal = refusal
        self.reason = reason
        self.exit_code = refusal.exit_code
        super().__init__(f"{refusal.value}: {reason}")

    def __reduce__(self) -> tuple[type[Refused], tuple[Refusal, str]]:
        """Cross a process boundary whole."""
        return (type(self), (self.refusal, self.reason))
