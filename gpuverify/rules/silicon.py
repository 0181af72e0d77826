"""Which chip speaks: VBIOS family, architecture name, BAR1, ECC and InfoROM objects."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from gpuverify.model.claims import Claim, Value
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import kept_if_short
from gpuverify.model.product import Product, ProductKey
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    LIST_CODES,
    MIB,
    NO_PRODUCT,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    agreed_basis,
    basis_of,
    cite,
    compare_value,
    finding,
    says,
)
from gpuverify.rules.constants import FROM_PCI_CONFIG, NOT_SUPPORTED
from gpuverify.rules.on_file import OnFile, cite_reference, on_file, values_text

VBIOS_FAMILIES: dict[str, tuple[str, str]] = {
    "70": ("Fermi", "GF"),
    "75": ("Fermi", "GF"),
    "80": ("Kepler", "GK"),
    "82": ("Maxwell", "GM"),
    "84": ("Maxwell", "GM"),
    "86": ("Pascal", "GP"),
    "88": ("Volta", "GV"),
    "90": ("Turing", "TU"),
    "92": ("Ampere", "GA100"),
    "94": ("Ampere", "GA10"),
    "95": ("Ada", "AD"),
    "96": ("Hopper", "GH"),
    "97": ("Blackwell", "GB"),
    "98": ("Blackwell", "GB"),
}
"""First group of a VBIOS version: architecture and start of the chip's name, as public read-outs
show them (open-gpu-kernel-modules lists the chips)."""

_HBM_CHIP = re.compile(r"G[PVAH][12]00|GB[12]00|GB1\d\d")


def hbm(product: Product) -> bool:
    """Whether the product carries one of the large data-centre chips with HBM."""
    return product.has("datacenter") and _large(product.chip)


@functools.lru_cache(maxsize=256)
def _large(chip: str) -> bool:
    """Whether a chip is one of the large ones with HBM."""
    return _HBM_CHIP.match(chip.upper()) is not None


@kept_if_short(256)
def _first_word(text: str) -> str:
    """Return the first word in lower case: "Ada Lovelace" and "Ada" are one architecture."""
    return text.strip().lower().partition(" ")[0]


_ARCHITECTURES = frozenset(_first_word(name) for name, _ in VBIOS_FAMILIES.values())


def _check_family(subject: Subject) -> Iterator[Finding]:
    """Compare the VBIOS family with the product's chip."""
    rule, product = VBIOS_FAMILY, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim = subject.read("gpu.vbios_version")
    if not isinstance(claim.value, str):
        yield absent(rule, claim)
        return
    family = VBIOS_FAMILIES.get(claim.value.strip()[:2])
    expected = f"{product.chip} ({product.architecture})".strip()
    if family is None:
        yield finding(
            rule, "unknown-family", observed=says(claim), expected=expected, claims=cite(claim)
        )
        return
    architecture, chip = family
    # GA100 itself starts with "GA10": the longer name decides.
    same = _first_word(architecture) == _first_word(product.architecture)
    if same and product.chip:
        actual = product.chip.upper()
        same = actual.startswith(chip) and (chip != "GA10" or actual != "GA100")
    code = "fits" if same else "other-chip-in-log" if subject.imported else "other-chip"
    yield finding(
        rule,
        code,
        observed=f"{says(claim)}, a VBIOS family of {architecture} ({chip}…)",
        expected=expected,
        basis=agreed_basis(subject, claim),
        claims=cite(claim),
    )


_CHIP_CODES = (
    Code(id="fits", outcome=Outcome.PASS, text="{observed}; the product has {expected}."),
    Code(id="other-chip", outcome=Outcome.FAIL, text="{observed}; expected {expected}."),
    Code(
        id="other-chip-in-log",
        outcome=Outcome.WARN,
        text="The file contradicts the claim here: {observed}; expected {expected}.",
    ),
    Code(
        id="unknown-family",
        outcome=Outcome.INCONCLUSIVE,
        text="{observed}, which is not in the table of families; expected {expected}.",
    ),
    NO_VALUE,
    NO_PRODUCT,
)

VBIOS_FAMILY = Rule(
    id="identity.vbios-family",
    title="VBIOS family against the chip",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=_CHIP_CODES,
    shows="The VBIOS is one for chips of the product's family.",
    limit="It tells the chip's family, not the product: A100, A800, A30 and CMP 170HX share one.",
    near_miss="A family that is not in the table yet.",
    references=(
        "https://www.heise.de/ct/ (2018, renamed GTS 450 found by the VBIOS family)",
        "NVIDIA/nvtrust, VBIOS versions in reference integrity manifests",
    ),
    check=_check_family,
)


def _check_architecture(subject: Subject) -> Iterator[Finding]:
    """Compare the architecture's name with the product's."""
    rule, product = ARCHITECTURE, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim = subject.read("gpu.architecture")
    if not isinstance(claim.value, str):
        yield absent(rule, claim)
        return
    name = _first_word(claim.value)
    code = "unknown-family"
    if name == _first_word(product.architecture):
        code = "fits"
    elif name in _ARCHITECTURES:
        code = "other-chip-in-log" if subject.imported else "other-chip"
    yield finding(
        rule,
        code,
        observed=says(claim),
        expected=product.architecture,
        basis=agreed_basis(subject, claim),
        claims=cite(claim),
    )


ARCHITECTURE = Rule(
    id="identity.architecture",
    title="Architecture against the product's",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=_CHIP_CODES,
    shows="The driver names the product's architecture.",
    limit="Every product of the architecture shows the same.",
    near_miss="A name that this version does not know.",
    references=("nvml.h, nvmlDeviceGetArchitecture",),
    check=_check_architecture,
)


def _mib(claim: Claim) -> int | None:
    """Return a byte count in MiB."""
    value = claim.value
    return value // MIB if isinstance(value, int) and value > 0 else None


def _check_bar1(subject: Subject) -> Iterator[Finding]:
    """Compare the largest BAR1 that the device offers; the size now only by being too large."""
    rule, product = BAR1, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    if not hbm(product) or product.has("coherent"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    largest = subject.read("pci.bar1_max_bytes", FROM_PCI_CONFIG)
    size = _mib(largest)
    offered = on_file(subject, "pci.bar1_max_mib", "MiB")
    if size is not None and offered.values:
        yield compare_value(
            rule,
            subject,
            (largest,),
            size,
            field="pci.bar1_max_mib",
            said=says(largest, f"{size} MiB as the largest BAR1"),
            unit="MiB",
        )
        return
    shown = on_file(subject, "pci.bar1_mib", "MiB")
    if size is not None and size < max(shown.numbers, default=0):
        # No host makes this smaller: what the device cannot offer, the product was seen to show.
        yield compare_value(
            rule,
            subject,
            (largest,),
            size,
            field="pci.bar1_mib",
            said=says(largest, f"{size} MiB as the largest BAR1"),
            unit="MiB",
            excludes=False,
        )
        return
    yield _current_bar1(subject, product, shown, offered)


def _current_bar1(subject: Subject, product: Product, shown: OnFile, offered: OnFile) -> Finding:
    """Compare the BAR1 of now with the most that the product can show."""
    rule = BAR1
    now = subject.read("pci.bar1_bytes")
    if (size := _mib(now)) is None:
        return absent(rule, now)
    sizes = (*shown.numbers, *offered.numbers)
    said = says(now, f"{size} MiB of BAR1")
    if not sizes:
        return finding(rule, "no-reference", observed=said, expected=product.name, claims=cite(now))
    most = max(sizes)
    code = "host-setting" if size < most else "own-value"
    if size > most:
        code = "other-product-in-log" if subject.imported else "other-product"
    # A larger sister in a small host shows this size too: only the largest of all tells.
    tells = code == "own-value" and _none_larger(tuple([n.key for n in subject.neighbours]), size)
    listed, cited = shown.shown, shown.cited
    if offered.values:
        both = shown.values + offered.values
        listed, cited = values_text(both, "MiB"), cite_reference(both)
    return finding(
        rule,
        code,
        observed=said,
        expected=f"at most {most} MiB" if size > most else listed,
        basis=agreed_basis(subject, now) if code == "own-value" else basis_of(now),
        claims=cite(now),
        reference=cited,
        field="pci.bar1_mib" if tells else "",
        value=size if tells else None,
    )


@functools.lru_cache(maxsize=1024)
def _none_larger(products: tuple[ProductKey, ...], size: int) -> bool:
    """Whether none of some products was seen with a larger BAR1."""
    return all(
        isinstance(value.value, int) and value.value <= size
        for key in products
        for value in key.product.get("pci.bar1_mib")
    )


BAR1 = Rule(
    id="identity.bar1",
    title="BAR1 against the most that the product can show",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        *LIST_CODES,
        Code(
            id="host-setting",
            outcome=Outcome.NOTE,
            text="{observed}, less than the product can show ({expected}). The host sets it.",
        ),
    ),
    shows="The window into the memory is as large as the product's.",
    limit="A host with little address space shows less; a smaller size says nothing.",
    near_miss="An H100 in a host with a small memory-mapped window. No rule for consumer, "
    "workstation and graphics-capable boards, where the size is a setting.",
    references=(
        "PCI Express Base Specification 5.0, section 7.8.6 (Resizable BAR)",
        "nvml.h, nvmlDeviceGetBAR1MemoryInfo",
    ),
    check=_check_bar1,
)


def _check_ecc_capability(subject: Subject) -> Iterator[Finding]:
    """Find a large data-centre chip that claims to know no ECC."""
    rule, product = ECC_CAPABILITY, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    if not hbm(product) or not product.has("ecc"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    mode, stored = subject.read("ecc.mode_current"), subject.read("inforom.ecc_object")
    virtual = subject.value("gpu.virtualization_mode") == "vgpu"
    whole = not virtual and subject.value("mig.is_slice") is not True
    lacking = [claim for claim in (mode, stored) if claim.status is NOT_SUPPORTED]
    if lacking and whole:
        yield finding(
            rule,
            "lacking",
            observed=" and ".join(f"no {claim.id.replace('.', ' ')}" for claim in lacking),
            expected=product.name,
            basis=basis_of(*lacking),
            claims=cite(*lacking),
        )
    elif mode.ok:
        yield finding(
            rule,
            "present",
            observed=says(mode),
            expected=product.name,
            basis=basis_of(mode),
            claims=cite(mode),
        )
    else:
        yield absent(rule, mode)


ECC_CAPABILITY = Rule(
    id="ecc.capability",
    title="ECC exists where the product always has it",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(
            id="present",
            outcome=Outcome.PASS,
            text="The card has an ECC mode: {observed}.",
        ),
        Code(
            id="lacking",
            outcome=Outcome.WARN,
            text="The card has {observed}; every {expected} has one.",
        ),
        NO_VALUE,
        NO_PRODUCT,
        NOT_FOR_PRODUCT,
    ),
    shows="The card knows ECC, as every board with this chip and memory does.",
    limit="The mode is a report of the driver.",
    near_miss="ECC switched off is a setting, see ecc.mode; a virtual GPU may hide it.",
    references=(
        "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (NVIDIA, memory error management)",
        "nvml.h, nvmlDeviceGetEccMode",
    ),
    check=_check_ecc_capability,
)


def _check_ecc_mode(subject: Subject) -> Iterator[Finding]:
    """Say whether ECC is on."""
    rule, product = ECC_MODE, subject.product
    mode = subject.read("ecc.mode_current")
    if mode.ok:
        yield finding(
            rule,
            "on" if mode.value else "off",
            observed=says(mode, "ECC on" if mode.value else "ECC off"),
            basis=basis_of(mode),
            claims=cite(mode),
        )
    elif product is not None and not product.has("ecc"):
        yield finding(rule, "not-for-product", expected=product.name)
    else:
        yield absent(rule, mode)


ECC_MODE = Rule(
    id="ecc.mode",
    title="ECC mode",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(id="on", outcome=Outcome.PASS, text="{observed}."),
        Code(
            id="off",
            outcome=Outcome.NOTE,
            text="{observed}: a setting. Error counters do not count while it is off.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="Memory errors are corrected and counted.",
    limit="A setting of today says nothing of yesterday.",
    near_miss="Honest cards run with ECC off.",
    references=("nvml.h, nvmlDeviceGetEccMode",),
    check=_check_ecc_mode,
)

_OBJECTS: dict[str, set[tuple[Value | None, Value | None]]] = {
    "kepler": {("1.1", "3.0"), ("1.1", None)},
    "maxwell": {("1.1", "4.1"), ("1.1", None)},
    "pascal": {("1.1", "4.1"), ("1.1", None)},
    "volta": {("1.1", "5.0"), ("1.1", None)},
    "turing": {("1.1", "5.0"), ("1.1", None)},
    "ampere": {("2.0", "6.16"), ("2.0", None)},
    "ada": {("2.0", "6.16"), ("2.1", "6.16")},
    "hopper": {("2.1", "7.16")},
    "blackwell": {("2.1", "7.16")},
}
"""OEM and ECC object versions by architecture, as public read-outs show them."""


@functools.lru_cache(maxsize=1024)
def _objects_of(product: ProductKey) -> frozenset[tuple[Value | None, Value | None]]:
    """Return the pairs seen on a product's architecture, and those on file for itself."""
    found = product.product
    return frozenset(_OBJECTS.get(_first_word(found.architecture), ())) | {
        (v.value, w.value)
        for v in found.get("inforom.oem_object")
        for w in found.get("inforom.ecc_object")
    }


def _check_objects(subject: Subject) -> Iterator[Finding]:
    """Compare the InfoROM object versions with those seen on the architecture."""
    rule, product = INFOROM_OBJECTS, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    oem, ecc = subject.read("inforom.oem_object"), subject.read("inforom.ecc_object")
    if oem.value is None or (ecc.value is None and ecc.status is not NOT_SUPPORTED):
        yield absent(rule, oem if oem.value is None else ecc)
        return
    known = _objects_of(product.key)
    seen = (oem.value, ecc.value)
    yield finding(
        rule,
        "seen" if seen in known else "unseen",
        observed=f"{says(oem)} as OEM object and {ecc.value or 'no'} ECC object",
        expected=product.architecture,
        basis=basis_of(oem),
        claims=cite(oem, ecc),
    )


INFOROM_OBJECTS = Rule(
    id="identity.inforom-objects",
    title="InfoROM object versions against the architecture's",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="seen", outcome=Outcome.PASS, text="{observed}, as seen on {expected} boards."),
        Code(
            id="unseen",
            outcome=Outcome.NOTE,
            text="{observed}, a pair not seen on {expected} boards yet.",
        ),
        NO_VALUE,
        NO_PRODUCT,
    ),
    shows="The InfoROM has the layout of the product's generation.",
    limit="The InfoROM can be written; its checksums are no signature.",
    near_miss="A pair that nobody has published yet.",
    references=("NVIDIA/open-gpu-kernel-modules, ctrl2080gpu.h (InfoROM object versions)",),
    check=_check_objects,
)

RULES = (VBIOS_FAMILY, ARCHITECTURE, BAR1, ECC_CAPABILITY, ECC_MODE, INFOROM_OBJECTS)
