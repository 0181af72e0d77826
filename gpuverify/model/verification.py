"""What came of verifying one signed document: each stage apart, no single boolean."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuverify.model.claims import Claim
from gpuverify.model.evidence import Evidence
from gpuverify.model.refusal import Refusal
from gpuverify.model.report import Report, ReportSet
from gpuverify.model.verdict import Result


class Stage(enum.Enum):
    """The stages of a verification, in their order; the first refusal ends it."""

    FORM = "form"
    ENVELOPE = "envelope"
    KEY = "key"
    SIGNATURE = "signature"
    PAYLOAD = "payload"
    SCHEMA = "schema"
    SUBJECT = "subject"
    SIGNER = "signer"
    TIMES = "times"
    TIMESTAMP = "timestamp"
    KEY_VALIDITY = "key-validity"
    AGE = "age"
    ROLE = "role"
    CHALLENGE = "challenge"
    CARD = "card"
    EVIDENCE_CLASS = "evidence-class"
    DEVICE_EVIDENCE = "device-evidence"
    REFERENCE_DATA = "reference-data"
    CHECKS = "checks"
    OPINION = "opinion"
    REPLAY = "replay"
    SET = "set"
    PREVIOUS = "previous"
    ATTACHMENTS = "attachments"
    LABEL = "label"
    APPRAISAL = "appraisal"
    COMPARISON = "comparison"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__

    @property
    def meaning(self) -> str:
        """What the stage looks at, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    Stage.FORM: "size, not compressed, a file of the kind that is verified",
    Stage.ENVELOPE: "strict JSON, media type, payload type, exactly one signature, base64",
    Stage.KEY: "the key is in the trust store",
    Stage.SIGNATURE: "the signature over the signed bytes",
    Stage.PAYLOAD: "strict JSON and text rules of those same bytes",
    Stage.SCHEMA: "type, version and form of the statement",
    Stage.SUBJECT: "the subject is the card that the report describes",
    Stage.SIGNER: "the signer named inside is one that the key was given",
    Stage.TIMES: "the times do not contradict each other",
    Stage.TIMESTAMP: "the time stamp of an authority",
    Stage.KEY_VALIDITY: "the key was valid and not revoked at the trusted time",
    Stage.AGE: "the measurement is not older than was asked for",
    Stage.ROLE: "the report was made in the role that was asked for",
    Stage.CHALLENGE: "the report answers the challenge that was set",
    Stage.CARD: "the report is about the card that was expected",
    Stage.EVIDENCE_CLASS: "the signer states that the evidence was collected live",
    Stage.DEVICE_EVIDENCE: "what the chip itself signed holds",
    Stage.REFERENCE_DATA: "the reference data is not older than was asked for",
    Stage.CHECKS: "the checks are all there, each once",
    Stage.OPINION: "the signer's verdict does not contradict the signer's checks",
    Stage.REPLAY: "neither report nor challenge was used before for something else",
    Stage.SET: "the reports are the members of their set, all of them",
    Stage.PREVIOUS: "the earlier reports that are named",
    Stage.ATTACHMENTS: "the attachments are the files that were named",
    Stage.LABEL: "the label says what was signed",
    Stage.APPRAISAL: "own appraisal of the evidence",
    Stage.COMPARISON: "the card beside earlier reports about it",
}


class StageState(enum.Enum):
    """How a stage ended."""

    DONE = "done"
    REFUSED = "refused"
    WARNING = "warning"
    # Nothing asked for it, or an earlier stage ended the verification.
    NOT_PERFORMED = "not-performed"

    # As for `claims.ClaimStatus`: members are singletons.
    __hash__ = object.__hash__


class TimeSource(enum.Enum):
    """Where the trusted time comes from, hardest to forge first."""

    RFC3161 = "rfc3161"
    JOURNAL = "journal"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The outcome of one stage.

    Attributes:
        stage: Which.
        state: How it ended.
        note: One line for people; why, where it was refused, warned of or not performed.
    """

    stage: Stage
    state: StageState
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of one signed document.

    Attributes:
        origin: What was read, for people: a file name, a file name and line, "-".
        stages: One entry a stage, in the order of `Stage`.
        refusal: Why it was refused; None if it was not.
        message: The refusal in one line, "" if there is none.
        report: The report; None unless the signature of a trusted key verified.
        report_set: The set statement, where the document is one; None as for `report`.
        evidence: The evidence with the class that this verification gives it; None as for
            `report`.
        payload_sha256: SHA-256 of the signed bytes, "" where none could be decoded.
        keyid: OpenSSH fingerprint of the key that verified, "" if none did.
        principal: The name given to the key in the trust store that the signer goes by, "" if
            it is not verified.
        namespace: "gpuverify-report" or "gpuverify-test", "" if no key verified.
        trusted_time_s: The time at which the key had to be valid, seconds since the Unix epoch;
            None if it was not reached.
        trusted_time_source: Where that time comes from.
        warnings: What is odd and no refusal, one line each.
        ignored: Names of members that this version does not know.
        result: Own appraisal of the evidence; None if it was refused before.
        differences: Where the signer's opinion and own appraisal differ, in words.
        comparisons: The card beside the earlier reports that it names and that were shown.
        challenge_answered: Whether a challenge was set and answered.
        exit_code: By the table of exit codes.
    """

    origin: str
    stages: tuple[StageResult, ...]
    refusal: Refusal | None = None
    message: str = ""
    report: Report | None = None
    report_set: ReportSet | None = None
    evidence: Evidence | None = None
    payload_sha256: str = ""
    keyid: str = ""
    principal: str = ""
    namespace: str = ""
    trusted_time_s: int | None = None
    trusted_time_source: TimeSource | None = None
    warnings: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    result: Result | None = None
    differences: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    challenge_answered: bool = False
    exit_code: int = 70

    def stage(self, stage: Stage) -> StageResult:
        """Return the outcome of one stage; not performed where it was not reached."""
        for entry in self.stages:
            if entry.stage is stage:
                return entry
        return StageResult(stage=stage, state=StageState.NOT_PERFORMED)


class Change(enum.Enum):
    """What a difference between two reports of a card amounts to."""

    NOTE = "note"
    WARN = "warn"
    ALARM = "alarm"
    OTHER_CARD = "other-card"


class Sameness(enum.Enum):
    """The answer of a comparison."""

    SAME = "same card, same state"
    CHANGED = "same card, changed"
    NOT_THE_CARD = "not the card"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact of which two reports say different things, or that could not be compared.

    Attributes:
        claim_id: Id from the vocabulary, or "time" for the interval between both.
        change: What it amounts to.
        words: One line for people.
        earlier: What the earlier report says, None where it says nothing.
        later: What the later one says.
    """

    claim_id: str
    change: Change
    words: str
    earlier: Claim | None = None
    later: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Whether two reports are about one card, and what changed between them.

    Attributes:
        earlier: Origin of the first.
        later: Origin of the second.
        sameness: The answer.
        differences: What differs, strongest first.
        compared: Ids of the facts that both give.
        not_compared: Ids of the facts that the table names and one of them lacks.
        reasons: Why it is not comparable, or why the answer is held down.
        exit_code: By the table of exit codes.
    """

    earlier: str
    later: str
    sameness: Sameness
    differences: tuple[Difference, ...]
    compared: tuple[str, ...]
    not_compared: tuple[str, ...]
    reasons: tuple[str, ...]
    exit_code: int
