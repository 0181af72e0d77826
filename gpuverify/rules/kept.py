"""What is said over and over, said once and kept.

The cards of a server, and the servers of a pallet, are mostly equal, and so are the findings about
them. Everything kept here is immutable, follows from its arguments alone, and is bounded in number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from gpuverify.model.claims import Basis, ClaimStatus, Source, Value
from gpuverify.model.finding import Finding, Rule
from gpuverify.model.vocabulary import VOCABULARY

SOURCE_BASIS = {
    Source.NVML: Basis.REPORTED,
    Source.NVIDIA_SMI: Basis.REPORTED,
    Source.PCI_CONFIG: Basis.CROSS_CHECKED,
    Source.PROCFS: Basis.CROSS_CHECKED,
    Source.HOST: Basis.CROSS_CHECKED,
    Source.CUDA: Basis.CROSS_CHECKED,
    Source.MEASURED: Basis.MEASURED,
    Source.DEVICE_CERTIFICATE: Basis.DEVICE_SIGNED,
}

_REASONS = {
    ClaimStatus.OK: ("a value that is of no use here", "it is in the evidence"),
    ClaimStatus.NOT_SUPPORTED: (
        "not supported",
        "the card or this driver does not offer it; a newer driver may",
    ),
    ClaimStatus.NOT_FOUND: ("not found", "there is nothing to read on this machine"),
    ClaimStatus.NO_PERMISSION: ("no permission", "run as root"),
    ClaimStatus.DEVICE_LOST: ("device lost", "power the machine off and on, then read again"),
    ClaimStatus.TIMED_OUT: ("timed out", "read again on an idle machine"),
    ClaimStatus.FAILED: ("the read failed", "read again; the call is in the evidence"),
    ClaimStatus.MALFORMED: ("masked or unreadable", "ask for an unedited read-out"),
    ClaimStatus.SENTINEL: ("a placeholder", "the card holds no value there"),
    ClaimStatus.NOT_ASKED: (
        "not in this read-out",
        "run gpuverify as root on the machine that holds the card",
    ),
}


@functools.lru_cache(maxsize=2048)
def citation(source: Source, claim_id: str) -> tuple[str]:
    """Return `source:claim-id`."""
    return (f"{source.value}:{claim_id}",)


def citations(claims: Iterable[tuple[Source, str]]) -> tuple[str, ...]:
    """Return the citation of each source and claim id, without repetition."""
    return tuple(dict.fromkeys([citation(source, claim_id)[0] for source, claim_id in claims]))


def reason_text(claim_id: str, status: ClaimStatus, remedy: str) -> str:
    """Return why a value of this id is missing, from its status."""
    spec = VOCABULARY.get(claim_id)
    reason, usual = _REASONS[status]
    return f"{spec.text if spec else claim_id}: {reason} ({remedy or usual})"


def weakest_basis(sources: Iterable[Source]) -> Basis:
    """Return the weakest basis of some speakers, REPORTED where there is none."""
    bases = [SOURCE_BASIS[source] for source in sources]
    if len(bases) == 1:
        return bases[0]
    return min(bases, key=lambda basis: basis.rank, default=Basis.REPORTED)


def build_finding(
    rule: Rule,
    code_id: str,
    observed: str,
    expected: str,
    basis: Basis,
    claims: tuple[str, ...],
    reference: tuple[str, ...],
    field: str,
    value: Value | None,
) -> Finding:
    """Build a finding of what stands in it."""
    code = rule.code(code_id)
    message = code.text.format(observed=observed, expected=expected)
    if not message.startswith("nvidia-smi"):
        message = message[:1].upper() + message[1:]
    return Finding(
        rule=rule.id,
        code=code.id,
        axis=rule.axis,
        outcome=code.outcome,
        basis=basis,
        message=message,
        expected=expected,
        observed=observed,
        claims=claims,
        reference=reference,
        field=field,
        observed_value=value,
        caps=code.caps,
        defective=code.defective,
        used=code.used,
    )


kept_finding = functools.lru_cache(maxsize=4096, typed=True)(build_finding)
"""Builds a finding, or returns the equal one of before. (1 and True are equal, not the same.)"""


@functools.lru_cache(maxsize=2048)
def kept_absent(
    rule: Rule, code_id: str, remedy: str, missing: tuple[tuple[Source, str, ClaimStatus], ...]
) -> Finding:
    """Build the finding from what of the claims stands in it."""
    return kept_finding(
        rule,
        code_id,
        "; ".join(reason_text(name, status, remedy) for _, name, status in missing),
        "",
        weakest_basis({source for source, _, _ in missing}),
        citations((source, name) for source, name, _ in missing),
        (),
        "",
        None,
    )
