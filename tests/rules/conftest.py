"""A bench for rules: a handful of products, and subjects made from dictionaries."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rule_products import HONEST, HONEST_HOST, PRODUCTS

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, EvidenceClass
from gpuverify.model.finding import Finding, Rule
from gpuverify.model.policy import Thresholds
from gpuverify.model.product import (
    MatchState,
    Product,
    Recognition,
)
from gpuverify.model.sale import Condition, SaleItem
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.model.vocabulary import VOCABULARY, Scope
from gpuverify.rules import RULES

MIB = 1024 * 1024
NOW_MS = 1_790_000_000_000  # September 2026
DATACENTER = frozenset({"datacenter", "ecc", "inforom", "gpu-part-number", "row-remap", "mig"})

_SOURCES = {
    "nvml": Source.NVML,
    "smi": Source.NVIDIA_SMI,
    "pci": Source.PCI_CONFIG,
    "procfs": Source.PROCFS,
    "host": Source.HOST,
    "cuda": Source.CUDA,
    "measured": Source.MEASURED,
    "chip": Source.DEVICE_CERTIFICATE,
}


def claim_set(content: dict[str, Any], scope: Scope) -> ClaimSet:
    """Make claims; None stands for not supported, a status for itself."""
    claims = []
    for key, entry in content.items():
        speaker, _, name = key.partition(":")
        assert VOCABULARY[name].scope is scope, name
        status = ClaimStatus.NOT_SUPPORTED if entry is None else ClaimStatus.OK
        held = entry
        if isinstance(entry, ClaimStatus):
            status, held = entry, None
        claims.append(Claim(id=name, status=status, value=held, source=_SOURCES[speaker]))
    return ClaimSet(tuple(claims))


class Index:
    """Reverse look-up over the bench's products."""

    def holders(self, field: str, content: Value) -> tuple[str, ...]:
        return tuple(p.id for p in PRODUCTS.values() if content in [v.value for v in p.get(field)])

    def device_holders(self, device_id: int) -> tuple[str, ...]:
        return tuple(
            p.id for p in PRODUCTS.values() if any(e.device_id == device_id for e in p.pci)
        )

    def library_version(self, sha256: str) -> str | None:
        return {"a" * 64: "580.105.08"}.get(sha256)


def recognise(claims: ClaimSet) -> Recognition:
    """Recognise by exact pair, then by a device id that one product uses."""
    device = claims.value("pci.device_id", Source.PCI_CONFIG, Source.NVML, Source.NVIDIA_SMI)
    sub = claims.value("pci.subsystem_device_id", Source.PCI_CONFIG, Source.NVML, Source.NVIDIA_SMI)
    if device is None:
        return Recognition(state=MatchState.UNREADABLE)
    using = tuple(p for p in PRODUCTS.values() if any(entry.device_id == device for entry in p.pci))
    exact = tuple(
        p
        for p in using
        if any(e.device_id == device and e.subsystem_device_id == sub for e in p.pci)
    )
    if len(exact) == 1:
        return Recognition(state=MatchState.EXACT, products=exact, by="pci-pair")
    if not using:
        return Recognition(state=MatchState.UNKNOWN)
    state = MatchState.SUBSYSTEM_UNKNOWN if len(using) == 1 else MatchState.CANDIDATES
    return Recognition(state=state, products=using, by="pci-device")


@dataclass(frozen=True)
class Bench:
    """Runs one rule, or all, over evidence made from dictionaries."""

    honest = HONEST
    honest_host = HONEST_HOST
    products = PRODUCTS
    now_ms = NOW_MS
    mib = MIB

    def rule(self, rule_id: str) -> Rule:
        return next(rule for rule in RULES if rule.id == rule_id)

    def subject(
        self,
        device: dict[str, Any] | None = None,
        host: dict[str, Any] | None = None,
        *,
        sold: str | Product | None = "a100-80",
        imported: bool = False,
        condition: Condition | None = None,
        max_hours: int | None = None,
        per_board: bool = False,
        count: int | None = None,
        thresholds: Thresholds | None = None,
        neighbours: tuple[str, ...] = (),
        index: int = 0,
        item: SaleItem | None = None,
        recognition: Recognition | None = None,
    ) -> Subject:
        """Make a subject; only what is given is claimed."""
        claims = claim_set(device or {}, Scope.DEVICE)
        if item is None and sold is not None:
            item = SaleItem(
                product=PRODUCTS[sold] if isinstance(sold, str) else sold,
                condition=condition,
                max_hours=max_hours,
                per_board_label=per_board,
                count=count,
            )
        return Subject(
            device=DeviceEvidence(index=index, claims=claims),
            host=claim_set(host or {}, Scope.HOST),
            evidence_class=EvidenceClass.IMPORTED if imported else EvidenceClass.LIVE,
            recognition=recognition or recognise(claims),
            sale=item,
            neighbours=tuple(PRODUCTS[name] for name in neighbours),
            reference=Index(),
            thresholds=thresholds or Thresholds(),
            now_ms=NOW_MS,
        )

    def run(self, rule_id: str, *args: Any, **options: Any) -> list[Finding]:
        """Return what one device rule finds."""
        rule = self.rule(rule_id)
        assert rule.check is not None
        return list(rule.check(self.subject(*args, **options)))

    def codes(self, rule_id: str, *args: Any, **options: Any) -> list[str]:
        """Return the codes that one device rule finds."""
        return [finding.code for finding in self.run(rule_id, *args, **options)]

    def batch(
        self,
        devices: list[dict[str, Any]],
        host: dict[str, Any] | None = None,
        *,
        sold: str | None = "a100-80",
        count: int | None = None,
        imported: bool = False,
        selected: tuple[int, ...] | None = None,
    ) -> BatchSubject:
        """Make a batch of devices sold together."""
        item = SaleItem(product=PRODUCTS[sold], count=count) if sold is not None else None
        subjects = tuple(
            self.subject(device, host, sold=sold, item=item, imported=imported, index=number)
            for number, device in enumerate(devices)
        )
        return BatchSubject(
            subjects=subjects,
            host=claim_set(host or {}, Scope.HOST),
            evidence_class=EvidenceClass.IMPORTED if imported else EvidenceClass.LIVE,
            items=(item,) if item is not None else (),
            selected=selected,
            thresholds=Thresholds(),
        )

    def run_batch(self, rule_id: str, *args: Any, **options: Any) -> list[Finding]:
        """Return what one batch rule finds."""
        rule = self.rule(rule_id)
        assert rule.batch_check is not None
        return list(rule.batch_check(self.batch(*args, **options)))

    def batch_codes(self, rule_id: str, *args: Any, **options: Any) -> list[str]:
        """Return the codes that one batch rule finds."""
        return [finding.code for finding in self.run_batch(rule_id, *args, **options)]

    def all_findings(self, subject: Subject) -> list[Finding]:
        """Return what every device rule finds."""
        return [f for rule in RULES if rule.check is not None for f in rule.check(subject)]

    def with_product(self, name: str, **changes: Any) -> Product:
        """Return a product of the bench, changed."""
        return replace(PRODUCTS[name], **changes)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
