"""Evidence: all claims of one run, unjudged."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value

NVML_FIRST = (Source.NVML, Source.NVIDIA_SMI, Source.PROCFS, Source.PCI_CONFIG, Source.HOST)
"""Order in which `ClaimSet.read` prefers sources where a caller names none."""


class EvidenceClass(enum.Enum):
    """How the evidence reached the reader. Only the reader sets it; nothing can raise it."""

    LIVE = "live"
    # Carried by a signed report: the signature, the signer and the purpose were verified, and the
    # signer says that it was collected live. Set by `gpuverify.signing` alone.
    SIGNED = "signed"
    CARRIED = "carried"
    IMPORTED = "imported"
    REPLAYED = "replayed"


@functools.lru_cache(maxsize=2048)
def _not_asked(claim_id: str, source: Source) -> Claim:
    """Return the claim that stands for one that nobody made."""
    return Claim(id=claim_id, status=ClaimStatus.NOT_ASKED, source=source)


@dataclass(frozen=True, slots=True)
class ClaimSet:
    """An ordered, immutable set of claims with at most one claim an id and source.

    Where two claims have one id and source, the first is kept (documents repeat fields of MIG
    slices after those of the card).
    """

    claims: tuple[Claim, ...] = ()
    _first: Mapping[str, Claim] = field(init=False, repr=False, compare=False)
    _several: Mapping[str, tuple[Claim, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the index and drop repetitions."""
        first = {claim.id: claim for claim in reversed(self.claims)}
        object.__setattr__(self, "_first", first)
        # In every log but our own one source speaks, and no id stands more than once.
        several = {} if len(first) == len(self.claims) else self._index_several(first)
        object.__setattr__(self, "_several", several)

    def _index_several(self, first: Mapping[str, Claim]) -> dict[str, tuple[Claim, ...]]:
        """Return all claims of each id that has more than one; drop repetitions."""
        several: dict[str, tuple[Claim, ...]] = {}
        later = [claim for claim in self.claims if first[claim.id] is not claim]
        repeated = len(first) + len(later) < len(self.claims)  # one object stands twice
        for claim in later:
            others = several.get(claim.id) or (first[claim.id],)
            for other in others:
                if other.source is claim.source:
                    repeated = True
                    break
            else:
                several[claim.id] = (*others, claim)
        if repeated:
            seen: dict[tuple[str, Source], Claim] = {}
            for claim in self.claims:
                seen.setdefault((claim.id, claim.source), claim)
            object.__setattr__(self, "claims", tuple(seen.values()))
        return several

    def __iter__(self) -> Iterator[Claim]:
        """Iterate over the claims in their order."""
        return iter(self.claims)

    def __len__(self) -> int:
        """Count the claims."""
        return len(self.claims)

    def get(self, claim_id: str, source: Source) -> Claim:
        """Return the claim of one source, or one with status NOT_ASKED."""
        claim = self._first.get(claim_id)
        if claim is not None:
            if claim.source is source:
                return claim
            for claim in self._several.get(claim_id, ()):
                if claim.source is source:
                    return claim
        return _not_asked(claim_id, source)

    def read(self, claim_id: str, *sources: Source) -> Claim:
        """Return the first claim with a value among `sources`, in their order.

        Args:
            claim_id: Id from the vocabulary.
            *sources: Sources to look at; all, NVML first, where none is named.

        Returns:
            The first claim with status OK; else the first that says why it has none; else one
            with status NOT_ASKED.
        """
        order = sources or NVML_FIRST
        first = self._first.get(claim_id)
        if first is None:
            return _not_asked(claim_id, order[0])
        claims = self._several.get(claim_id)
        if claims is None:  # the value or the reason, whichever it is
            return first if first.source in order else _not_asked(claim_id, order[0])
        reason: Claim | None = None
        for source in order:
            for claim in claims:
                if claim.source is source:
                    if claim.value is not None:
                        return claim
                    reason = reason or claim
                    break
        return reason or _not_asked(claim_id, order[0])

    def all(self, claim_id: str) -> tuple[Claim, ...]:
        """Return every source's claim with this id, in their order."""
        first = self._first.get(claim_id)
        return () if first is None else self._several.get(claim_id) or (first,)

    def value(self, claim_id: str, *sources: Source) -> Value | None:
        """Return the value that `read` finds, or None."""
        return self.read(claim_id, *sources).value


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvidence:
    """What was said about one GPU (or one PCI function that NVML did not list).

    Attributes:
        index: Position in the read-out, from 0.
        claims: Device claims of all sources, joined on the PCI bus id.
    """

    index: int
    claims: ClaimSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All claims of one run, with who collected them; unjudged.

    Attributes:
        evidence_class: Set by the reader, see `EvidenceClass`.
        origin: What it was read from, for people: "this machine", a file name, a case name.
        tool: Name and version of the tool that collected it, e.g. "gpuverify 0.1.0",
            "nvidia-smi 550.54.14".
        collected_ms: When, in milliseconds since the Unix epoch (UTC); None if not known.
        devices: One entry a GPU or NVIDIA PCI function, in bus order or document order.
        host: Claims about the host and driver.
        stated: A sale claim, policy or verdict found inside the file: shown as the file's words,
            never used for judging.
    """

    evidence_class: EvidenceClass
    origin: str
    tool: str
    collected_ms: int | None = None
    devices: tuple[DeviceEvidence, ...] = ()
    host: ClaimSet = ClaimSet()
    stated: tuple[tuple[str, str], ...] = ()
