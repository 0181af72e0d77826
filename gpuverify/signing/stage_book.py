"""The book of one verification: which stage ended how, in order, and what is known so far."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import (
    Comparison,
    Stage,
    StageResult,
    StageState,
    TimeSource,
    Verification,
)

if TYPE_CHECKING:
    from gpuverify.model.envelope import Envelope
    from gpuverify.model.evidence import Evidence
    from gpuverify.model.report import Report, ReportSet
    from gpuverify.model.verdict import Result
    from gpuverify.signing.trust import TrustedKey

NOT_REACHED = "not reached"
_STAGES = tuple(Stage)


@functools.lru_cache(maxsize=1024)
def _kept(stage: Stage, state: StageState, note: str) -> StageResult:
    """Return how a stage ended; most of them end in the same words for each report of a lot."""
    return StageResult(stage=stage, state=state, note=note)


@dataclass(slots=True, kw_only=True)
class Book:
    """What is known of one document while it is verified.

    Nothing of the document's content is handed out unless `key` is set, which the signature stage
    alone does.

    Attributes:
        origin: What was read.
        results: Stages that ended, by stage.
        warnings: What is odd and no refusal.
        refusal: The first refusal.
        message: Its sentence.
        envelope: The envelope, once it was read.
        payload_sha256: Digest of the signed bytes.
        key: The trusted key that verified the signature.
        report: The report, once it was read from signed bytes.
        report_set: The set statement, as above.
        principal: The verified name of the signer.
        trusted_time_s: The time at which the key had to be valid.
        trusted_time_source: Where it comes from.
        challenge_answered: Whether a challenge was set and answered.
        evidence: The evidence with the class that this verification gives it.
        result: Own appraisal.
        differences: Signer's opinion against own appraisal.
        comparisons: The card against earlier reports about it.
        exit_code: Of the appraisal; a refusal goes before.
    """

    origin: str
    results: dict[Stage, StageResult] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refusal: Refusal | None = None
    message: str = ""
    envelope: Envelope | None = None
    payload_sha256: str = ""
    key: TrustedKey | None = None
    report: Report | None = None
    report_set: ReportSet | None = None
    principal: str = ""
    trusted_time_s: int | None = None
    trusted_time_source: TimeSource | None = None
    challenge_answered: bool = False
    evidence: Evidence | None = None
    result: Result | None = None
    differences: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    exit_code: int = 3

    def done(self, stage: Stage, note: str = "") -> None:
        """Note that a stage ended well.

        Args:
            stage: Which.
            note: What was seen, one line.
        """
        self.results[stage] = _kept(stage, StageState.DONE, note)

    def passed_over(self, stage: Stage, note: str) -> None:
        """Note that a stage had nothing to do.

        Args:
            stage: Which.
            note: Why.
        """
        self.results[stage] = _kept(stage, StageState.NOT_PERFORMED, note)

    def warn(self, stage: Stage, note: str) -> None:
        """Note something odd that is no refusal.

        Args:
            stage: Which.
            note: What.
        """
        self.results[stage] = _kept(stage, StageState.WARNING, note)
        self.warnings.append(note)

    def refuse(self, stage: Stage, refused: Refused) -> None:
        """Note the refusal that ends the verification.

        Args:
            stage: Which stage refused.
            refused: Why.
        """
        self.results[stage] = _kept(stage, StageState.REFUSED, refused.reason)
        self.refusal = refused.refusal
        self.message = str(refused)

    def run(self, stage: Stage, check: Callable[[], None]) -> bool:
        """Run one stage; where it says nothing, it is done.

        Args:
            stage: Which.
            check: Raises `Refused`, or notes what it saw.

        Returns:
            Whether the verification goes on.
        """
        try:
            check()
        except Refused as refused:
            self.refuse(stage, refused)
            return False
        if stage not in self.results:
            self.done(stage)
        return True

    def verification(self) -> Verification:
        """Return what came of it."""
        known = self.key is not None
        return Verification(
            origin=self.origin,
            stages=tuple([self.results.get(stage) or _NOT_REACHED[stage] for stage in _STAGES]),
            refusal=self.refusal,
            message=self.message,
            report=self.report if known else None,
            report_set=self.report_set if known else None,
            evidence=self.evidence if known else None,
            payload_sha256=self.payload_sha256,
            keyid=self.key.public.keyid if self.key is not None else "",
            principal=self.principal,
            namespace=_namespace(self.key),
            trusted_time_s=self.trusted_time_s,
            trusted_time_source=self.trusted_time_source,
            warnings=tuple(self.warnings),
            ignored=self._ignored() if known else (),
            result=self.result,
            differences=self.differences,
            comparisons=self.comparisons,
            challenge_answered=self.challenge_answered,
            exit_code=self.exit_code if self.refusal is None else self.refusal.exit_code,
        )

    def _ignored(self) -> tuple[str, ...]:
        """Return the members that this version does not know."""
        document = self.report or self.report_set
        return () if document is None else document.ignored


def _namespace(key: TrustedKey | None) -> str:
    """Return the namespace under which a key counts."""
    if key is None:
        return ""
    from gpuverify.signing.trust import NAMESPACE_REPORT, NAMESPACE_TEST

    return NAMESPACE_TEST if key.is_test else NAMESPACE_REPORT


_NOT_REACHED = {
    stage: StageResult(stage=stage, state=StageState.NOT_PERFORMED, note=NOT_REACHED)
    for stage in _STAGES
}
