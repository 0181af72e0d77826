"""Which checks a report of format 1 has to list, each with an outcome.

A rule answers "not applicable" or "inconclusive" where it cannot be decided, so a check that is
missing was taken out. The list belongs to the format, not to the version of the tool: a rule that
is added later does not make older reports incomplete, and one that is dropped stays listed here
only as long as major version 1 is read.
"""

from __future__ import annotations

MANDATORY_CHECKS: frozenset[str] = frozenset(
    {
        "identity.product", "identity.whole-card", "identity.pci-cross-check",
        "identity.kernel-cross-check", "identity.name", "identity.core-count",
        "identity.bus-width", "identity.memory-clock", "identity.sm-clock",
        "identity.compute-capability", "identity.vbios-list", "identity.mig-profiles",
        "identity.bank-histogram", "identity.vbios-family", "identity.architecture",
        "identity.bar1", "ecc.capability", "ecc.mode", "identity.inforom-objects",
        "identity.key", "identity.power", "capacity.total", "capacity.reserved",
        "capacity.label", "lattice.gpu-part-number-device", "lattice.board-project",
        "lattice.board-sku", "lattice.inforom-sku", "lattice.chip-sku",
        "lattice.board-part-number", "lattice.segment", "link.count", "link.speed",
        "link.pcie-capability", "link.pcie-width", "condition.row-remap",
        "condition.spare-rows", "condition.retired-pages", "condition.sram-threshold",
        "condition.ecc-errors", "condition.inforom", "condition.device-lost",
        "condition.repairs", "condition.recovery", "condition.nvlink", "condition.fan",
        "condition.link-errors", "history.hour-meter", "history.remaps",
        "history.retired-pages", "history.serial-date", "history.counters",
        "environment.kernel-behind-nvml", "environment.virtual-machine",
        "environment.hypervisor-story", "environment.wsl", "environment.container",
        "environment.driver-age", "environment.sources", "environment.library",
        "environment.version-skew", "environment.nvidia-smi-program",
        "environment.nvidia-smi", "environment.module-signature", "environment.taint",
        "environment.secure-boot", "environment.preload", "environment.foreign-mounts",
        "environment.unlock-traces", "environment.python-hooks", "environment.tracer",
        "environment.binding", "identity.cuda-cross-check", "identity.measured-sm-count",
        "identity.measured-operations", "identity.measured-l2", "capacity.measured",
        "condition.memory-cells", "identity.measured-bandwidth",
        "condition.measured-bandwidth", "link.measured-peer", "link.measured-pcie",
        "environment.measured-window", "environment.measured-clock",
        "environment.measured-driver", "condition.measured-load",
    }
)  # fmt: skip
"""Rule ids."""
