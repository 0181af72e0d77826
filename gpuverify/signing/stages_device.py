"""The stage about what the chip itself signed, where the report carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.model.attestation import AttestationError
from gpuverify.model.claims import Source
from gpuverify.model.refusal import Refusal, Refused
from gpuverify.model.verification import Stage
from gpuverify.signing.stages_signer import statement_of

if TYPE_CHECKING:
    from gpuverify.signing.demands import World
    from gpuverify.signing.stage_book import Book


def check_device_evidence(book: Book, world: World) -> None:
    """Verify the attestation evidence that a report carries.

    Args:
        book: The book, with its evidence.
        world: For now, and the roots that count.

    Raises:
        Refused: E_HWATT: it does not stand, or does not answer the challenge that the report names.
    """
    evidence = book.evidence
    if evidence is None or not any(
        device.claims.get("attestation.report", Source.DEVICE_CERTIFICATE).ok
        for device in evidence.devices
    ):
        book.passed_over(Stage.DEVICE_EVIDENCE, "the card signed nothing itself")
        return
    from gpuverify.appraise.device_signed import check_carried

    challenge = statement_of(book).challenge
    try:
        check_carried(
            evidence,
            None if challenge is None else challenge.nonce,
            world.now_s * 1000,
            roots=world.device_roots,
        )
    except AttestationError as error:
        raise Refused(Refusal.HWATT, f"{error.detail} ({error.refusal.value})") from None
    bound = "over the challenge" if challenge is not None else "over a nonce that is not yours"
    book.done(Stage.DEVICE_EVIDENCE, f"chain and signature verified, {bound}")
