"""Getting evidence: from this machine or a recorded case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.errors import PermissionRefusedError, SourceError
from gpuverify.model.claims import Claim, ClaimStatus

if TYPE_CHECKING:
    from gpuverify.cli.measuring import Wanted
    from gpuverify.model.evidence import Evidence

_ASKED = ("nvml.session", "source.nvml", "source.pci-config", "source.nvidia-smi")


def gather(
    replay: str | None, wanted: Wanted | None = None, *, challenge: bytes | None = None
) -> Evidence:
    """Collect evidence, with progress on standard error.

    Args:
        replay: A case to replay, None for this machine.
        wanted: What is to be measured, None for nothing. A replay plays back what its recording
            holds of a measurement.
        challenge: The buyer's challenge, from which the nonce is derived that each card is asked
            to sign; None for random ones.
    """
    from gpuverify.cli.progress import Progress

    with Progress() as progress:
        if replay is not None:
            from gpuverify.collect.replay import replay_case

            return replay_case(replay, progress, measured=wanted is not None)
        from gpuverify.collect.run import CollectOptions, collect

        measure = None if wanted is None else wanted.measurer(progress)
        return collect(CollectOptions(progress=progress, measure=measure, challenge=challenge))


def require_devices(evidence: Evidence) -> None:
    """End the command where no source yields a device.

    Args:
        evidence: What was collected.

    Raises:
        PermissionRefusedError: NVML refused us.
        SourceError: There is no NVIDIA device, or no driver for it.
    """
    if evidence.devices:
        return
    answers = [claim for name in _ASKED for claim in evidence.host.all(name)]
    refused = [claim for claim in answers if _refused(claim)]
    told = "; ".join(dict.fromkeys(_answer(claim) for claim in answers if not _plain_ok(claim)))
    if refused:
        raise PermissionRefusedError(
            f"no GPU could be asked, access was refused ({told}); run it as root, or in a container"
            " with the NVIDIA devices passed through"
        )
    raise SourceError(
        f"no NVIDIA GPU was found ({told or 'every source answered with nothing'}); run it on the"
        " machine with the cards and a loaded driver, or try --replay CASE"
    )


def _refused(claim: Claim) -> bool:
    """Whether NVML or a device refused us."""
    return claim.status is ClaimStatus.NO_PERMISSION or claim.value == "no-permission"


def _plain_ok(claim: Claim) -> bool:
    """Whether a source ended without anything to tell."""
    return claim.value == "ok"


def _answer(claim: Claim) -> str:
    """Tell how one source ended."""
    from gpuverify.codec.text import printable

    name = claim.id.removeprefix("source.").removesuffix(".session")
    said = claim.value if claim.ok else (claim.raw_text or claim.status.value)
    return f"{name}: {printable(str(said), 120)}"
