"""Links: NVLinks that exist, their speed, and what PCI Express can do."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpuverify.model.claims import Claim, Value
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.product import Product, ProductKey
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_PRODUCT,
    NO_REFERENCE,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    ListRule,
    absent,
    agreed_basis,
    basis_of,
    cite,
    finding,
    list_rule,
    says,
)
from gpuverify.rules.constants import FROM_PCI_CONFIG
from gpuverify.rules.on_file import on_file


def _has_nvlink(product: Product) -> bool:
    """Whether the product has NVLinks."""
    return product.has("nvlink") or product.has("nvlink-bridge")


def _count(claim: Claim) -> int | None:
    """Return a count, None where there is none."""
    value = claim.value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _check_count(subject: Subject) -> Iterator[Finding]:
    """Compare the number of links that exist, whether up or down."""
    rule, product = COUNT, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    own = on_file(subject, "nvlink.link_count")
    if not own.values and not _has_nvlink(product):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    claim = subject.read("nvlink.link_count")
    seen, counts = _count(claim), own.numbers
    if seen is None and _telling(subject, counts):
        yield absent(
            rule, claim, remedy="read on the machine itself, with MIG off", code_id="needed"
        )
        return
    if seen is None:
        yield absent(rule, claim, remedy="nvidia-smi -q does not list links; run gpuverify there")
        return
    said = says(claim, f"{seen} NVLinks that exist")
    if not counts:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, claims=cite(claim)
        )
        return
    code = "own-value" if seen in counts else "more"
    if seen < min(counts):
        code = _fewer(subject)
    elif seen not in counts and seen < max(counts):
        code = "never-seen"
    passed = code == "own-value"
    yield finding(
        rule,
        code,
        observed=said,
        expected=own.shown,
        basis=agreed_basis(subject, claim) if passed else basis_of(claim),
        claims=cite(claim),
        reference=own.cited,
        field="nvlink.link_count" if passed else "",
        value=seen if passed else None,
    )


def _telling(subject: Subject, counts: tuple[int, ...]) -> bool:
    """Whether the links tell the product from a neighbour, by what is on file.

    An A800 with an A100's ids is told by them, and by little else that a driver reports.
    """
    fewest = min(counts, default=0)
    return fewest > 0 and _fewer_links(tuple([n.key for n in subject.neighbours]), fewest)


@functools.lru_cache(maxsize=1024)
def _fewer_links(products: tuple[ProductKey, ...], fewest: int) -> bool:
    """Whether one of some products has fewer links, by all that is on file for it."""
    return any(
        values and all(isinstance(v.value, int) and 0 < v.value < fewest for v in values)
        for values in (key.product.get("nvlink.link_count") for key in products)
    )


def _fewer(subject: Subject) -> str:
    """Return the code for too few links, open where a setting can hide links."""
    mode = subject.value("gpu.virtualization_mode")
    if mode in ("pass-through", "vgpu") or subject.value("mig.mode_current") is True:
        return "fewer-but-hidden"
    return "fewer-in-log" if subject.imported else "fewer"


COUNT = Rule(
    id="link.count",
    title="NVLinks that exist against the product's",
    axis=Axis.IDENTITY,
    group=Group.LINK,
    codes=(
        Code(id="own-value", outcome=Outcome.PASS, text="{observed}, as the product has."),
        Code(id="fewer", outcome=Outcome.FAIL, text="{observed}; the product has {expected}."),
        Code(
            id="fewer-in-log",
            outcome=Outcome.WARN,
            text="The file contradicts the claim here: {observed}; the product has {expected}.",
        ),
        Code(
            id="fewer-but-hidden",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}; the product has {expected}. A virtual machine or MIG hides links; "
            "read on the machine itself with MIG off.",
        ),
        Code(
            id="needed",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="A product that passes for this one has fewer NVLinks, and how many exist is not "
            "known. {observed}.",
        ),
        Code(
            id="more",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, more than the {expected} on file.",
        ),
        Code(
            id="never-seen",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; on file: {expected}.",
        ),
        NO_VALUE,
        NO_REFERENCE,
        NO_PRODUCT,
        NOT_FOR_PRODUCT,
    ),
    shows="As many links exist as the product has: A800 and H800 have fewer than A100 and H100.",
    limit="The driver says it. Measuring a rate above what fewer links can carry settles it.",
    near_miss="Links that exist but are down, disabled or unbridged count as existing.",
    references=(
        "nvml.h, nvmlDeviceGetNvLinkState",
        "NVIDIA, fabric manager user guide (links that the baseboard leaves unused)",
    ),
    check=_check_count,
)


def _positive(value: Value) -> Value | None:
    """Return a rate above zero."""
    return value if isinstance(value, int) and value > 0 else None


SPEED = list_rule(
    ListRule(
        id="link.speed",
        title="Speed of one NVLink against the product's, within 1 %",
        field="nvlink.link_speed_kb_s",
        claim="nvlink.link_speed_kb_s",
        unit="kB/s",
        convert=_positive,
        applies=_has_nvlink,
        accuse=None,
        tolerance_percent=1,
        shows="The links run at the product's speed.",
        limit="The driver says it; generations share speeds.",
        near_miss="A link that is down has no speed.",
        references=("nvml.h, NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON",),
    )
)


def _check_pcie(subject: Subject) -> Iterator[Finding]:
    """Compare the PCI Express generation and width that the device itself offers."""
    rule, product = PCIE, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    judged, generation = False, _device_generation(subject)
    for what, field, claim in (
        ("generation", "pci.link_generation_max", generation),
        ("lanes", "pci.link_width_max", subject.read("pci.link_width_max", FROM_PCI_CONFIG)),
    ):
        seen = _count(claim)
        if not seen or not (own := on_file(subject, field)).numbers:
            continue
        judged = True
        yield finding(
            rule,
            "below" if seen < max(own.numbers) else "reaches",
            observed=says(claim, f"{seen} as the device's own PCI Express {what}"),
            expected=own.shown,
            basis=basis_of(claim),
            claims=cite(claim),
            reference=own.cited,
        )
    if not judged and generation.ok:
        yield finding(
            rule,
            "no-reference",
            observed=says(generation),
            expected=product.name,
            claims=cite(generation),
        )
    elif not judged:
        yield absent(rule, generation)


def _device_generation(subject: Subject) -> Claim:
    """Return the generation that the device offers, whatever the slot allows."""
    name = "pci.link_generation_device_max"
    config = subject.read(name, FROM_PCI_CONFIG)
    return config if config.ok else subject.read(name)


PCIE = Rule(
    id="link.pcie-capability",
    title="PCI Express generation and lanes that the device offers",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(id="reaches", outcome=Outcome.PASS, text="{observed}; on file: {expected}."),
        Code(
            id="below",
            outcome=Outcome.NOTE,
            text="{observed}; on file: {expected}. Mining boards look like this, and so do "
            "virtual machines and boards set to less.",
        ),
        NO_VALUE,
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    shows="The device offers the product's PCI Express link.",
    limit="Firmware, straps and hypervisors can lower it: no accusation stands on it.",
    near_miss="A superchip whose PCI Express link is one lane by design.",
    references=("PCI Express Base Specification 5.0, section 7.5.3.6 (Link Capabilities)",),
    check=_check_pcie,
)


def _check_width(subject: Subject) -> Iterator[Finding]:
    """Say whether the link is as wide now as it can be."""
    rule = WIDTH
    now, most = subject.read("pci.link_width_current"), subject.read("pci.link_width_max")
    width, widest = _count(now), _count(most)
    if not width or not widest:
        yield absent(rule, now if not width else most)
        return
    yield finding(
        rule,
        "narrow" if width < widest else "full",
        observed=says(now, f"x{width}"),
        expected=f"x{widest}",
        basis=basis_of(now, most),
        claims=cite(now, most),
    )


WIDTH = Rule(
    id="link.pcie-width",
    title="PCI Express lanes in use",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(id="full", outcome=Outcome.PASS, text="{observed} of {expected}."),
        Code(
            id="narrow",
            outcome=Outcome.NOTE,
            text="{observed} of {expected}: slot, riser or virtual machine.",
        ),
        NO_VALUE,
    ),
    shows="All lanes are in use.",
    limit="Width now, in this slot.",
    near_miss="Healthy cards in eight-lane slots.",
    references=("nvml.h, nvmlDeviceGetCurrPcieLinkWidth",),
    check=_check_width,
)

RULES = (COUNT, SPEED, PCIE, WIDTH)
