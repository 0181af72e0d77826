"""Neighbour exclusion: to say "consistent with X" is to have ruled out what passes for X."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from gpuverify.model.claims import Basis, Value
from gpuverify.model.finding import Finding, Outcome
from gpuverify.model.peaks import (
    MARGIN_PERCENT,
    REACHED_PERCENT,
    product_link_peak_kb_s,
    product_memory_peak_kb_s,
)
from gpuverify.model.policy import Policy
from gpuverify.model.product import Product, ProductKey
from gpuverify.model.verdict import Neighbour

_PASS = Outcome.PASS
"""A plain name, as in `verdict`: it is looked up for each finding."""

# Fields that the measurement observes by doing; a pair that differs in one of them has a measured
# discriminator. The size of the L2 cache is none: its step is timing that was never field-run.
MEASURABLE_FIELDS = ("memory.nominal_mib", "gpu.sm_count", "gpu.core_count")

# Rates rule out only what cannot reach them: a card is excluded by being too slow for what was
# seen, never by being faster.
_PEAKS: dict[str, Callable[[Product], int | None]] = {
    "memory.peak_kb_s": lambda product: product_memory_peak_kb_s(product) or None,
    "nvlink.peak_kb_s": product_link_peak_kb_s,
}

# Differences smaller than this, in percent, do not tell two products apart: totals move with the
# driver's era and ECC mode, clocks are compared within 1 % (rule for SM and memory clocks).
_TOLERANCE_PERCENT = {
    "memory.total_mib": 8,
    "memory.nominal_mib": 8,
    "clock.memory_max_mhz": 1,
    "clock.sm_max_mhz": 1,
    "nvlink.link_speed_kb_s": 1,
}

_HOW = {
    "pci.identity": "PCI config space on a live machine",
    "gpu.gpu_part_number": "the GPU part number (nvidia-smi -q)",
    "gpu.chip_sku": "the GPU part number (nvidia-smi -q)",
    "inforom.sku": "the InfoROM image version",
    "board.sku": "the board part number",
    "memory.total_mib": "the memory total, measured",
    "memory.nominal_mib": "a measured capacity",
    "gpu.sm_count": "a measured SM count",
    "memory.peak_kb_s": "a measured memory bandwidth",
    "nvlink.peak_kb_s": "a measured rate to a second card",
    "nvlink.link_count": "the NVLinks that exist",
    "gpu.core_count": "a measured SM count",
}


def _near(field: str, left: Value, right: Value) -> bool:
    """Whether two values of a field are not told apart."""
    if field == "gpu.name":
        # The same card prints its name with and without the word, by driver.
        return str(left).removeprefix("NVIDIA ") == str(right).removeprefix("NVIDIA ")
    percent = _TOLERANCE_PERCENT.get(field)
    if percent is None or isinstance(left, (bool, str)) or isinstance(right, (bool, str)):
        return left == right
    return abs(left - right) * 100 <= percent * max(abs(left), abs(right))


def _pci_fits(neighbour: Product, observed: str) -> bool:
    """Whether a neighbour can show the PCI ids seen, `DEVICE:SUBVENDOR:SUBDEVICE` in hex.

    The subsystem vendor is not compared: an OEM keeps NVIDIA's subsystem device id under its own
    vendor id, so a different vendor alone does not rule the neighbour out.
    """
    device, _, subsystem = observed.partition(":")
    sub_device = subsystem.partition(":")[2]
    return any(
        f"{identity.device_id:04X}" == device
        and (
            identity.subsystem_device_id is None
            or sub_device in ("", "-", f"{identity.subsystem_device_id:04X}")
        )
        for identity in neighbour.pci
    )


def excludes(finding: Finding, neighbour: Product) -> bool:
    """Whether a passed finding rules a neighbour out.

    Args:
        finding: A finding about the device.
        neighbour: A product that could be passed off as the one sold.

    Returns:
        True only where the neighbour has reference values for the finding's field and none of
        them can be told to be the one observed.
    """
    if finding.outcome is not _PASS or not finding.field or finding.observed_value is None:
        return False
    return _ruled_out(neighbour.key, finding.field, finding.observed_value)


@functools.lru_cache(maxsize=4096, typed=True)  # 1 and True are equal, and are not the same
def _ruled_out(key: ProductKey, field: str, observed: Value) -> bool:
    """Whether a neighbour has values for a field and cannot show the one observed."""
    neighbour = key.product
    if field == "pci.identity":
        return bool(neighbour.pci) and not _pci_fits(neighbour, str(observed))
    if field in _PEAKS:
        peak = _PEAKS[field](neighbour)
        if peak is None or not isinstance(observed, int):
            return False
        return observed * 100 > peak * (100 + MARGIN_PERCENT)
    values = [reference.value for reference in neighbour.get(field)]
    if field == "memory.total_mib":
        values += [reference.value for reference in neighbour.get("memory.nominal_mib")]
    return bool(values) and not any(_near(field, value, observed) for value in values)


def measured_discriminator(sold: Product, neighbour: Product) -> str:
    """Return a field by which a measurement can tell two products apart, "" if none is on file."""
    return _measured_discriminator(sold.key, neighbour.key)


@functools.lru_cache(maxsize=1024)
def _measured_discriminator(sold_key: ProductKey, neighbour_key: ProductKey) -> str:
    """Return the first field that can be measured and tells two products apart."""
    sold, neighbour = sold_key.product, neighbour_key.product
    for field in MEASURABLE_FIELDS:
        ours = [reference.value for reference in sold.get(field)]
        theirs = [reference.value for reference in neighbour.get(field)]
        if ours and theirs and not any(_near(field, a, b) for a in ours for b in theirs):
            return field
    for field, peak_of in _PEAKS.items():
        own, other = peak_of(sold), peak_of(neighbour)
        if (
            own is not None
            and other is not None
            and own * REACHED_PERCENT > other * (100 + MARGIN_PERCENT)
        ):
            return field
    return ""


@functools.lru_cache(maxsize=1024)
def _needs(sold_key: ProductKey, neighbour_key: ProductKey, basis: Basis) -> str:
    """Say what would rule a neighbour out at a basis."""
    sold, neighbour = sold_key.product, neighbour_key.product
    field = measured_discriminator(sold, neighbour)
    if basis.at_least(Basis.MEASURED):
        return _HOW[field] if field else "the card's own signature"
    ways = []
    for name in ("gpu.chip_sku", "inforom.sku", "nvlink.link_count"):
        ours = {reference.value for reference in sold.get(name)}
        theirs = {reference.value for reference in neighbour.get(name)}
        if ours and theirs and not ours & theirs and basis is Basis.REPORTED:
            ways.append(_HOW[name])
    if not {(i.device_id, i.subsystem_device_id) for i in sold.pci} & {
        (i.device_id, i.subsystem_device_id) for i in neighbour.pci
    }:
        ways.insert(0, _HOW["pci.identity"])
    if field:
        ways.append(_HOW[field])
    return " or ".join(dict.fromkeys(ways)) or "nothing on file tells the two apart"


def required_basis(sold: Product, neighbour: Product, policy: Policy) -> Basis:
    """Return the basis at which a policy wants this neighbour ruled out."""
    floor = policy.neighbours or Basis.REPORTED
    if policy.measured_neighbours and measured_discriminator(sold, neighbour):
        return Basis.MEASURED
    return floor


def exclusions(
    sold: Product, neighbours: Sequence[Product], findings: Sequence[Finding], policy: Policy
) -> tuple[Neighbour, ...]:
    """Say for each confusable neighbour what ruled it out, at the strongest basis.

    Args:
        sold: The product sold, or recognised.
        neighbours: Its confusable neighbours. One that NVIDIA ships as the product sold is none.
        findings: All findings of the device.
        policy: For the basis that is wanted.

    Returns:
        One entry a neighbour, in their order.
    """
    passed = [f for f in findings if f.field and f.outcome is _PASS]
    passed.sort(key=lambda finding: -finding.basis.rank)
    result = []
    for neighbour in neighbours:
        if sold.id in neighbour.sold_as:
            continue
        best = _strongest(passed, neighbour)
        wanted = required_basis(sold, neighbour, policy)
        enough = best is not None and best.basis.at_least(wanted)
        result.append(
            Neighbour(
                product=neighbour.id,
                excluded_by=best.rule if best is not None else "",
                basis=best.basis if best is not None else None,
                needs="" if enough else _needs(sold.key, neighbour.key, wanted),
            )
        )
    return tuple(result)


def _strongest(passed: Sequence[Finding], neighbour: Product) -> Finding | None:
    """Return the first finding that rules a neighbour out."""
    for finding in passed:
        if excludes(finding, neighbour):
            return finding
    return None


def assurance(neighbours: Sequence[Neighbour], findings: Sequence[Finding]) -> Basis:
    """Return the weakest, over the neighbours, of the strongest basis that excluded each.

    A product without neighbours is as sure as the strongest passed finding about its PCI ids.
    """
    if neighbours:
        bases = [neighbour.basis or Basis.REPORTED for neighbour in neighbours]
        return min(bases, key=lambda basis: basis.rank)
    passed = [
        finding.basis
        for finding in findings
        if finding.field == "pci.identity" and finding.outcome is _PASS
    ]
    return max(passed, key=lambda basis: basis.rank, default=Basis.REPORTED)
