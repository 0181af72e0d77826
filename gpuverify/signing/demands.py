"""What a reader asks of a signed document, and what he has to judge it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpuverify.model.policy import Policy
from gpuverify.model.sale import SaleClaim

if TYPE_CHECKING:
    from gpuverify.model.report import Challenge, Report
    from gpuverify.refdb import Database
    from gpuverify.signing.trust import TrustStore

DAY_S = 86_400

DEFAULT_MAX_AGE_S = 30 * DAY_S
"""How old a measurement may be where nothing else is asked for: a card changes hands and state."""

SKEW_S = 300
"""How far two honest clocks may be apart (five minutes, as Kerberos allows, RFC 4120)."""


NOTHING_CLAIMED = SaleClaim()


class Memory(Protocol):
    """What was seen before: the intake journal, or what this run has seen so far."""

    def first_seen_s(self, payload_sha256: str, signature_sha256: str = "") -> int | None:
        """Return when these bytes were seen first, Unix seconds; None for never."""

    def report_payload(self, report_id: str) -> str | None:
        """Return the payload digest that was seen under this report id; None for none."""

    def challenge_use(self, nonce: bytes) -> str | None:
        """Return the payload digest that answered this challenge; None for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier report that the reader has at hand, signature verified.

    Attributes:
        report: The report.
        payload_sha256: Digest of its signed bytes.
        origin: What it was read from.
    """

    report: Report
    payload_sha256: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is asked of each document. None and empty ask for nothing.

    Attributes:
        policy: What a verdict requires, in own appraisal.
        sale: The reader's own claim of what was sold.
        challenge: The challenge that was set.
        serial: Board serial number of the card that is expected.
        uuid: UUID of the card that is expected.
        max_age_s: How long ago the measurement may have ended, in seconds; None for no limit.
        role: Role in which the report has to be made.
        accept_replayed: Whether a key of the test namespace may show a replay; never exit 0.
        minimum_reference_version: Lowest version of reference data, "YYYY.MM.DD".
        label_text: What was read from a label, usually a QR code.
        require_timestamp: Whether an RFC 3161 time stamp has to be there.
        attachments: Folder with the attachments; None where they are not looked at.
        earlier: Earlier reports, by the digest of their signed bytes.
        appraise: Whether the evidence is judged anew.
    """

    policy: Policy
    sale: SaleClaim = NOTHING_CLAIMED
    challenge: Challenge | None = None
    serial: str | None = None
    uuid: str | None = None
    max_age_s: int | None = DEFAULT_MAX_AGE_S
    role: str | None = None
    accept_replayed: bool = False
    minimum_reference_version: str | None = None
    label_text: str | None = None
    require_timestamp: bool = False
    attachments: Path | None = None
    earlier: Mapping[str, Earlier] = field(default_factory=dict)
    appraise: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the reader trusts and knows.

    Attributes:
        trust: The keys.
        database: Reference data.
        now_s: Now, seconds since the Unix epoch (UTC).
        memories: The intake journal, and what this run has seen; asked in this order.
        tsa_roots: PEM certificates of time-stamping authorities that count.
        device_roots: SHA-256 of the public keys that attestation chains may end in; None for
            NVIDIA's.
    """

    trust: TrustStore
    database: Database
    now_s: int
    memories: tuple[Memory, ...] = ()
    tsa_roots: tuple[bytes, ...] = ()
    device_roots: frozenset[str] | None = None
