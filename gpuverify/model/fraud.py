"""Kinds of fraud, and what a run has to have done to have spoken to each.

The idea is that of SAE AS6171/1: a test report states which kinds of counterfeit its tests cover,
which they cover in part, and which not at all. Nothing is covered by default.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuverify.model.claims import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraud:
    """One kind of fraud.

    Attributes:
        id: Stable, lower case with hyphens.
        text: One line for people.
        rules: Rules that speak to it; none where nothing that a card shows does.
        basis: The basis at which one of them has to be conclusive for the kind to be covered. What
            the liar controls is no cover: a forged driver takes a measurement, and what can be
            rewritten without a trace is never more than covered in part.
    """

    id: str
    text: str
    rules: tuple[str, ...]
    basis: Basis


_LATTICE = (
    "lattice.gpu-part-number-device",
    "lattice.board-project",
    "lattice.board-sku",
    "lattice.inforom-sku",
    "lattice.chip-sku",
    "lattice.board-part-number",
)

FRAUDS: tuple[Fraud, ...] = (
    Fraud(
        id="other-product",
        text="another product under this one's name or label",
        rules=("identity.product", "identity.pci-cross-check"),
        basis=Basis.CROSS_CHECKED,
    ),
    Fraud(
        id="patched-ids",
        text="another product whose ids, name or firmware were changed",
        rules=("identity.measured-sm-count", "identity.measured-operations"),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="smaller-memory",
        text="less memory than the label says",
        rules=("capacity.total", "identity.bus-width"),
        basis=Basis.REPORTED,
    ),
    Fraud(
        id="aliased-memory",
        text="memory that is reported but not there",
        rules=("capacity.measured",),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="slower-memory",
        text="memory of a slower kind",
        rules=("identity.memory-clock", "identity.measured-bandwidth"),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="unlocked-mining-card",
        text="a mining card with its limits patched away",
        rules=(
            "environment.unlock-traces",
            "identity.measured-sm-count",
            "capacity.measured",
        ),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="reduced-links",
        text="an export variant or a board with fewer or slower links",
        rules=("link.count", "link.speed", "link.measured-peer"),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="part-of-a-card",
        text="a MIG slice or a virtual GPU as a whole card",
        rules=(
            "identity.whole-card",
            "environment.virtual-machine",
            "environment.hypervisor-story",
        ),
        basis=Basis.CROSS_CHECKED,
    ),
    Fraud(
        id="forged-library",
        text="a forged NVML library or nvidia-smi",
        rules=(
            "environment.library",
            "environment.preload",
            "environment.foreign-mounts",
            "environment.kernel-behind-nvml",
            "environment.nvidia-smi",
            "environment.python-hooks",
        ),
        basis=Basis.CROSS_CHECKED,
    ),
    Fraud(
        id="forged-driver",
        text="a patched kernel driver",
        rules=(
            "environment.module-signature",
            "environment.secure-boot",
            "environment.measured-driver",
        ),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="cloned-identity",
        text="the identity of another card",
        rules=("identity.key", "identity.kernel-cross-check", "batch.unique-identity"),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="rewritten-inforom",
        text="serial and part numbers written anew",
        rules=_LATTICE,
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="used-as-new",
        text="a used card as new",
        rules=(
            "history.hour-meter",
            "history.remaps",
            "history.retired-pages",
            "history.counters",
        ),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="worn-memory",
        text="worn or failing memory",
        rules=(
            "condition.row-remap",
            "condition.spare-rows",
            "condition.retired-pages",
            "condition.ecc-errors",
            "condition.memory-cells",
        ),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="defective-card",
        text="a card that fails or slows down under load",
        rules=(
            "condition.device-lost",
            "condition.measured-load",
            "condition.measured-bandwidth",
            "link.measured-pcie",
        ),
        basis=Basis.MEASURED,
    ),
    Fraud(
        id="missing-cards",
        text="fewer cards than were sold, or one that was left out",
        rules=("batch.complete", "batch.count"),
        basis=Basis.REPORTED,
    ),
    Fraud(
        id="wiped-history",
        text="counters that were cleared",
        rules=(),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="repaired-board",
        text="repaired or reworked boards, replaced dies or memory",
        rules=(),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="forged-label",
        text="labels, seals and packages",
        rules=(),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="stolen-card",
        text="cards that are stolen or pledged",
        rules=(),
        basis=Basis.DEVICE_SIGNED,
    ),
    Fraud(
        id="swapped-afterwards",
        text="another card in the parcel than the one that was checked",
        rules=(),
        basis=Basis.DEVICE_SIGNED,
    ),
)
"""Every kind, in the order in which reports list them."""
