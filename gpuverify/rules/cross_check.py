"""Do two interfaces tell one story? PCI configuration space, kernel driver and library."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from gpuverify.model.claims import Basis, Claim, Source, Value
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import kept_if_short
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_VALUE,
    SPEAKERS,
    absent,
    agreed_basis,
    cite,
    finding,
    name_of,
    says,
)
from gpuverify.rules.constants import (
    FROM_CUDA,
    FROM_NVIDIA_SMI,
    FROM_NVML,
    FROM_PCI_CONFIG,
    FROM_PROCFS,
    NOT_ASKED,
)
from gpuverify.rules.kept import citations
from gpuverify.rules.on_file import some, uses_device
from gpuverify.rules.product import exclusion_text, identity_text, number, word

_ALIAS = re.compile(
    r"pci:v([0-9A-F]{8})d([0-9A-F]{8})sv([0-9A-F]{8})sd([0-9A-F]{8}).*", re.IGNORECASE
)
_ID_FIELDS = ("pci.device_id", "pci.subsystem_vendor_id", "pci.subsystem_device_id")
_COMPARED = ("pci.vendor_id", *_ID_FIELDS)
_LIBRARIES = (FROM_NVML, FROM_NVIDIA_SMI, FROM_PROCFS, FROM_CUDA)
_ATTRIBUTES = tuple(name.replace("pci.", "pci.attribute.") for name in _COMPARED)


def _alias_ids(claim: Claim) -> Mapping[str, int]:
    """Return the ids inside a modalias, empty where it has another shape."""
    return _ids_in_alias(claim.value) if isinstance(claim.value, str) else {}


@kept_if_short(256)
def _ids_in_alias(text: str) -> Mapping[str, int]:
    """Return the ids inside the text of a modalias, empty where it has another shape."""
    match = _ALIAS.fullmatch(text)
    if match is None:
        return MappingProxyType({})
    ids = [int(group, 16) for group in match.groups()]
    return MappingProxyType(dict(zip(_COMPARED, ids, strict=True)))


def _spoken(claims: ClaimSet) -> dict[Source, dict[str, int]]:
    """Return the PCI ids by who named them."""
    spoken: dict[Source, dict[str, int]] = {}
    for name in _COMPARED:
        for claim in claims.all(name):
            if (value := number(claim)) is not None:
                spoken.setdefault(claim.source, {})[name] = value
    return spoken


def _speakers(
    claims: ClaimSet,
    spoken: Mapping[Source, Mapping[str, int]],
    attributes: tuple[Claim, ...],
    alias: Claim,
) -> list[tuple[str, Claim, Mapping[str, int]]]:
    """Return every speaker of PCI ids beside the configuration space, with what it says."""
    found = [
        (SPEAKERS[source], claims.get("pci.device_id", source), spoken[source])
        for source in _LIBRARIES
        if source in spoken
    ]
    ids = {n: v for n, c in zip(_COMPARED, attributes, strict=True) if (v := number(c)) is not None}
    if ids:
        found.append(("the kernel's attribute file", attributes[1], ids))
    if told := _alias_ids(alias):
        found.append(("the kernel's modalias", alias, told))
    return found


@functools.lru_cache(maxsize=256)
def _cited(speakers: tuple[tuple[Source, str], ...]) -> tuple[str, ...]:
    """Cite the configuration space and whoever speaks beside it."""
    return citations([*((FROM_PCI_CONFIG, name) for name in _COMPARED), *speakers])


def _check_cross(subject: Subject) -> Iterator[Finding]:
    """Compare the ids in configuration space with everybody else's."""
    rule, said = PCI_CROSS_CHECK, subject.device.claims
    spoken = _spoken(said)
    hard = spoken.get(FROM_PCI_CONFIG, {})
    if "pci.device_id" not in hard:
        config = said.get("pci.device_id", FROM_PCI_CONFIG)
        yield absent(rule, config, code_id="one-speaker")
        return
    attributes = tuple([subject.read(name) for name in _ATTRIBUTES])
    alias = subject.read("pci.attribute.modalias")
    speakers = _speakers(said, spoken, attributes, alias)
    claims = _cited(tuple([(claim.source, claim.id) for _, claim, _ in speakers]))
    device, vendor, subsystem = [hard.get(n) for n in _ID_FIELDS]
    shown = identity_text(hard["pci.device_id"], vendor, subsystem)
    differing = [
        f"{speaker} reports {word(ids[n])} as {n.partition('.')[2].replace('_', ' ')}"
        for speaker, _, ids in speakers
        for n, value in hard.items()
        if n in ids and ids[n] != value
    ]
    if differing:
        yield finding(
            rule,
            "differs",
            observed="; ".join(differing),
            expected=shown,
            basis=Basis.CROSS_CHECKED,
            claims=claims,
        )
        return
    # Whoever reads the configuration space asks NVML and the kernel's attribute files too, and has
    # a reason where there is no value: their silence is no agreement.
    asked = (*[said.get(name, FROM_NVML) for name in _ID_FIELDS], *attributes[1:], alias)
    unasked = [claim for claim in asked if claim.status is NOT_ASKED]
    if unasked:
        yield absent(rule, *unasked, code_id="one-speaker")
        return
    drivers = [
        speaker
        for speaker, claim, ids in speakers
        if claim.source in (FROM_NVML, FROM_NVIDIA_SMI) and "pci.device_id" in ids
    ]
    if not drivers:
        yield absent(rule, subject.read("pci.device_id", FROM_NVML), code_id="one-speaker")
        return
    yield _agreed(subject, shown, (device, vendor, subsystem), drivers, claims)


def _agreed(
    subject: Subject,
    shown: str,
    ids: tuple[int | None, int | None, int | None],
    drivers: list[str],
    claims: tuple[str, ...],
) -> Finding:
    """Build the finding for ids on which all speakers agree."""
    device, vendor, subsystem = ids
    observed = f"{SPEAKERS[FROM_PCI_CONFIG]} and {some(drivers)} report {shown}"
    product, board = subject.product, subject.recognition.product
    holder = product
    if product and board and product.id in board.sold_as:
        holder = board
    if device is None or holder is None or not uses_device(holder, device):
        return finding(
            PCI_CROSS_CHECK,
            "agree-not-on-file",
            observed=observed,
            expected=name_of(subject),
            basis=Basis.CROSS_CHECKED,
            claims=claims,
        )
    return finding(
        PCI_CROSS_CHECK,
        "agree",
        observed=observed,
        expected=name_of(subject),
        basis=Basis.CROSS_CHECKED,
        claims=claims,
        field="pci.identity",
        value=exclusion_text(holder, device, vendor, subsystem),
    )


PCI_CROSS_CHECK = Rule(
    id="identity.pci-cross-check",
    title="PCI ids in configuration space against driver and kernel",
    axis=Axis.IDENTITY,
    group=Group.PRODUCT,
    codes=(
        Code(id="agree", outcome=Outcome.PASS, text="{observed}, ids of {expected}."),
        Code(
            id="agree-not-on-file",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; these ids are not on file for {expected}.",
        ),
        Code(
            id="differs",
            outcome=Outcome.FAIL,
            text="The PCI configuration space holds {expected}, but {observed}.",
        ),
        Code(
            id="one-speaker",
            outcome=Outcome.INCONCLUSIVE,
            text="Only one interface names the PCI ids. {observed}.",
        ),
    ),
    shows="The driver's library and the card's own configuration space tell the same story.",
    limit="A hypervisor, or straps soldered on the board, change the configuration space itself.",
    near_miss="A log holds one speaker only: that is not enough, but no contradiction.",
    references=(
        "PCI Local Bus Specification 3.0, section 6.2 (offsets 0x00 and 0x2C)",
        "Linux kernel, Documentation/ABI/testing/sysfs-bus-pci",
    ),
    check=_check_cross,
)

_SAME_FIELDS = ("gpu.uuid", "gpu.vbios_version", "gpu.name", "gpu.serial", "gpu.minor_number",
                "pci.bus_id")  # fmt: skip


@kept_if_short(1024)
def _plain(value: Value | None) -> str | None:
    """Return a value as text without NVIDIA's prefix; None where it holds question marks only."""
    if isinstance(value, str):
        return None if "?" in value else value.strip().removeprefix("NVIDIA ").upper()
    return None if value is None or isinstance(value, bool) else str(value)


def _check_kernel(subject: Subject) -> Iterator[Finding]:
    """Compare what the kernel driver says of the card with what the library says."""
    rule = KERNEL_CROSS_CHECK
    pairs: list[tuple[Claim, Claim]] = []
    differing: list[tuple[Claim, Claim]] = []
    for name in _SAME_FIELDS:
        kernel = subject.device.claims.get(name, FROM_PROCFS)
        if (told := _plain(kernel.value)) is None:
            continue
        library = subject.read(name, FROM_NVML, FROM_NVIDIA_SMI)
        if (heard := _plain(library.value)) is None:
            continue
        pairs.append((kernel, library))
        if told != heard:
            differing.append((kernel, library))
    if not pairs:
        yield absent(rule, subject.read("gpu.uuid", FROM_PROCFS))
        return
    claims = cite(*[claim for pair in pairs for claim in pair])
    yield finding(
        rule,
        "differs" if differing else "agree",
        observed="; ".join([f"{says(k)}, {says(lib)}" for k, lib in differing or pairs]),
        basis=Basis.CROSS_CHECKED if not differing else agreed_basis(subject, differing[0][0]),
        claims=claims,
    )


KERNEL_CROSS_CHECK = Rule(
    id="identity.kernel-cross-check",
    title="Name, UUID and VBIOS by the kernel driver and by NVML",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="agree",
            outcome=Outcome.PASS,
            text="Kernel driver and library agree: {observed}.",
        ),
        Code(
            id="differs",
            outcome=Outcome.FAIL,
            text="Kernel driver and library contradict each other: {observed}.",
        ),
        NO_VALUE,
    ),
    shows="What the library says of the card is what the kernel driver says of it.",
    limit="A patched kernel module speaks through both.",
    near_miss='Names with and without the prefix "NVIDIA" are equal; question marks that the '
    "kernel prints for what it does not know are not compared.",
    references=(
        "NVIDIA Linux driver README, chapter on the /proc interface (gpus/*/information)",
        "nvml.h, nvmlDeviceGetUUID, nvmlDeviceGetVbiosVersion, nvmlDeviceGetName",
    ),
    check=_check_kernel,
)

RULES = (PCI_CROSS_CHECK, KERNEL_CROSS_CHECK)
