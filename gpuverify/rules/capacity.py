"""How much memory: totals by driver era and ECC mode, reserved memory, labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.product import Product, ProductKey
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    MIB,
    NO_PRODUCT,
    NO_REFERENCE,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    agreed_basis,
    basis_of,
    cite,
    finding,
    name_of,
    other_holders,
    says,
)
from gpuverify.rules.constants import NOT_SUPPORTED
from gpuverify.rules.on_file import OnFile, cite_reference, on_file, some, values_text

EXACT_FROM_DRIVER = 510
"""From this branch on NVML's total is the nominal one and the reserve stands beside it; before, it
is what a program can use, and differs between drivers."""

_CLASS_LOW, _CLASS_LOW_ECC = 90, 84
"""Per cent of the nominal size below which a total is of another class. GDDR boards with ECC on
give 1/16 away before the driver's reserve."""


def _nominal(product: Product) -> tuple[int, ...]:
    """Return a product's nominal sizes in MiB."""
    return _nominal_sizes(product.key)


@functools.lru_cache(maxsize=1024)
def _nominal_sizes(product: ProductKey) -> tuple[int, ...]:
    """Return a product's nominal sizes in MiB."""
    return tuple(
        value.value
        for value in product.product.get("memory.nominal_mib")
        if isinstance(value.value, int) and value.value > 0
    )


def _in_class(product: Product, total: int, *, ecc: bool | None) -> bool:
    """Whether a total belongs to one of the product's nominal sizes."""
    inline = any(value.ecc is not None for value in product.get("memory.total_mib"))
    low = _CLASS_LOW_ECC if inline and ecc is not False else _CLASS_LOW
    return any(size * low <= total * 100 <= size * 100 for size in _nominal(product))


_IN_DOUBT = Code(
    id="setting-in-doubt",
    outcome=Outcome.INCONCLUSIVE,
    text="{observed}; expected {expected}. A MIG, virtual-GPU or sharing setting may explain it; "
    "turn it off and read again.",
)


def _setting_in_doubt(subject: Subject, product: Product) -> Claim | None:
    """Return the claim of a setting under which the total is not the card's own, if any."""
    mode = subject.read("gpu.virtualization_mode")
    if mode.value == "vgpu" or subject.value("mig.is_slice") is True:
        return mode
    if subject.host_value("host.vgpu_guest") is True:
        return subject.host.read("host.vgpu_guest")
    if subject.host_value("host.sharing_layer") is not None:
        return subject.host.read("host.sharing_layer")
    mig = subject.read("mig.mode_current")
    if mig.value is True and subject.imported:
        return mig
    if product.has("mig") and not mig.ok and mig.status is not NOT_SUPPORTED:
        return mig if subject.imported else None
    return None


def _check_total(subject: Subject) -> Iterator[Finding]:
    """Compare the total with the exact set of its era, or with the capacity class."""
    rule, product = TOTAL, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim = subject.read("memory.total_bytes")
    if not isinstance(claim.value, int) or claim.value <= 0:
        yield absent(rule, claim)
        return
    total, driver = claim.value // MIB, subject.driver_branch
    said = says(claim, f"{total} MiB")
    if driver is None:
        version = subject.host.read("driver.version")
        yield finding(
            rule, "era-unknown", observed=said, expected=product.name, claims=cite(claim, version)
        )
    elif (
        driver >= EXACT_FROM_DRIVER and (own := on_file(subject, "memory.total_mib", "MiB")).values
    ):
        yield _exact(subject, product, claim, own, said)
    else:
        yield _by_class(subject, product, claim, total, said)


def _exact(subject: Subject, product: Product, claim: Claim, own: OnFile, said: str) -> Finding:
    """Compare with the totals on file for this driver and ECC mode."""
    rule, total = TOTAL, int(claim.value or 0) // MIB
    expected, cited = own.shown, cite(claim)
    matched = [value for value in own.values if value.value == total]
    if matched:
        return finding(
            rule,
            "exact",
            observed=said,
            expected=expected,
            basis=agreed_basis(subject, claim),
            claims=cited,
            reference=cite_reference(matched),
            field="memory.total_mib",
            value=total,
        )
    slack = subject.thresholds.capacity_slack_percent
    near = any(
        isinstance(value.value, int) and abs(total - value.value) * 100 <= value.value * slack
        for value in subject.accepted("memory.total_mib")
    )
    holders = other_holders(subject, "memory.total_mib", total)
    if near:
        code = "near"
    elif _nominal(product) and not _in_class(product, total, ecc=subject.ecc):
        code = _accusation(subject, product, "wrong-class")
    elif holders and not _same_size(subject, product, holders):
        said += f", on file for {some(holders)}"
        code = "other-product-in-log" if subject.imported else "other-product"
    else:
        code = "never-seen"
    return finding(
        rule,
        code,
        observed=said,
        expected=expected,
        basis=basis_of(claim),
        claims=cited,
        reference=own.cited,
    )


def _same_size(subject: Subject, product: Product, holders: tuple[str, ...]) -> bool:
    """Whether one of the products that show a total is of the same nominal size.

    Sisters of one size differ by a few MiB that nobody has listed in full, so such a total is no
    other capacity.
    """
    return any(
        set(holders) & set(subject.reference.holders("memory.nominal_mib", size))
        for size in _nominal(product)
    )


def _recent_class(subject: Subject, product: Product, total: int) -> str:
    """Return the code for a total of the right class whose exact value is not on file.

    What other products or another ECC mode are known to show is not waved through: only where
    nothing more is on file does the class decide.
    """
    known = subject.accepted("memory.total_mib")
    holders = other_holders(subject, "memory.total_mib", total)
    if holders and not _same_size(subject, product, holders):
        if not known:
            return "class-only"
        return "other-product-in-log" if subject.imported else "other-product"
    unknown_mode = subject.ecc is None and any(value.ecc is not None for value in known)
    return "class-only" if unknown_mode else "class-fits"


def _by_class(subject: Subject, product: Product, claim: Claim, total: int, said: str) -> Finding:
    """Compare with the nominal size: the total is what an old driver leaves of it."""
    rule, sizes = TOTAL, _nominal(product)
    values = tuple(v for v in product.get("memory.nominal_mib") if v.value in sizes)
    if not sizes:
        return finding(
            rule, "no-reference", observed=said, expected=name_of(subject), claims=cite(claim)
        )
    ecc = subject.ecc
    fits = _in_class(product, total, ecc=ecc)
    # A neighbour whose own class holds this total too (94 and 96 GB) is not told apart by it.
    tells = len(sizes) == 1 and not any(
        _in_class(n, total, ecc=ecc) for n in subject.neighbours if _nominal(n) != sizes
    )
    code = "class-fits" if fits else _accusation(subject, product, "wrong-class")
    if fits and (subject.driver_branch or 0) >= EXACT_FROM_DRIVER:
        code, tells = _recent_class(subject, product, total), False
    return finding(
        rule,
        code,
        observed=said,
        expected=values_text(values, "MiB nominal"),
        basis=agreed_basis(subject, claim) if code == "class-fits" else basis_of(claim),
        claims=cite(claim),
        reference=cite_reference(values),
        field="memory.nominal_mib" if fits and tells else "",
        value=sizes[0] if fits and tells else None,
    )


def _accusation(subject: Subject, product: Product, code: str) -> str:
    """Return the accusing code, or the open one where a setting may explain the total."""
    return "setting-in-doubt" if _setting_in_doubt(subject, product) is not None else code


TOTAL = Rule(
    id="capacity.total",
    title="Memory total against the product's, by driver era and ECC mode",
    axis=Axis.IDENTITY,
    group=Group.CAPACITY,
    codes=(
        Code(id="exact", outcome=Outcome.PASS, text="{observed}, as on file for the product."),
        Code(
            id="class-fits",
            outcome=Outcome.PASS,
            text="{observed}, of the class of {expected}; no exact total for it is on file.",
        ),
        Code(
            id="class-only",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, of the class of {expected}; what is on file for other ECC modes or "
            "products does not settle it.",
        ),
        Code(
            id="near",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, close to {expected} but not the value on file.",
        ),
        Code(
            id="wrong-class",
            outcome=Outcome.FAIL,
            text="{observed}; expected {expected}: another capacity.",
        ),
        Code(id="other-product", outcome=Outcome.FAIL, text="{observed}; expected {expected}."),
        Code(
            id="other-product-in-log",
            outcome=Outcome.WARN,
            text="The file contradicts the claim here: {observed}; expected {expected}.",
        ),
        _IN_DOUBT,
        Code(
            id="never-seen",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, of the right class but not among the totals on file; expected "
            "{expected}.",
        ),
        Code(
            id="era-unknown",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; without the driver version the total of {expected} is not known.",
        ),
        NO_VALUE,
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    shows="The driver reports as much memory as the product has.",
    limit="The driver says it: a patched one reports memory that is not there. Only writing and "
    "reading all of it proves it.",
    near_miss="An old driver, or ECC on GDDR memory, shows less; sisters differ by a few MiB; a "
    "slice of a MIG card is not the card.",
    references=(
        "nvml.h, nvmlDeviceGetMemoryInfo and nvmlDeviceGetMemoryInfo_v2 (reserved memory)",
        "NVIDIA/k8s-test-infra, real nvidia-smi outputs of several drivers",
    ),
    check=_check_total,
)


def _check_reserved(subject: Subject) -> Iterator[Finding]:
    """Find a reserve that is far above any on file: it would hide missing memory."""
    rule, product = RESERVED, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim = subject.read("memory.reserved_bytes")
    if not isinstance(claim.value, int) or isinstance(claim.value, bool):
        yield absent(rule, claim, remedy="drivers from 510 on report it")
        return
    own = product.get("memory.reserved_mib")
    sizes = [value.value for value in own if isinstance(value.value, int)]
    said = says(claim, f"{claim.value // MIB} MiB reserved")
    cited, basis = cite(claim), basis_of(claim)
    if not sizes:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, basis=basis, claims=cited
        )
        return
    bound = max(2 * max(sizes) * MIB, subject.thresholds.reserved_suspect_bytes)
    code = "inflated" if claim.value > bound else "usual"
    if code == "inflated":
        # A guest's virtual GPU of 24 GiB reserves 2134 MiB for its scheduler and its firmware.
        code = _accusation(subject, product, code)
    yield finding(
        rule,
        code,
        observed=said,
        expected=f"at most {bound // MIB} MiB",
        basis=basis,
        claims=cited,
        reference=cite_reference(own),
    )


RESERVED = Rule(
    id="capacity.reserved",
    title="Reserved memory within what drivers reserve",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="usual", outcome=Outcome.PASS, text="{observed}; {expected} is usual."),
        Code(
            id="inflated",
            outcome=Outcome.WARN,
            text="{observed}; expected {expected}. A reserve can hide memory that is not there.",
        ),
        _IN_DOUBT,
        NO_VALUE,
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    shows="The part of the memory that no program can test is of the usual size.",
    limit="It varies with driver, ECC and MIG: only a large excess says something.",
    near_miss="Twice the largest reserve on file, or 1.5 GiB, whichever is more; a virtual GPU or "
    "a MIG slice reserves by its own measure.",
    references=("nvml.h, nvmlMemory_v2_t (reserved)",),
    check=_check_reserved,
)


def _check_label(subject: Subject) -> Iterator[Finding]:
    """Say what a label per board means per GPU."""
    rule, product, sale = LABEL, subject.product, subject.sale
    if product is None:
        yield finding(rule, "no-product")
    elif product.gpus_per_board < 2:
        yield finding(rule, "not-for-product", expected=product.name)
    elif sale is None:
        yield finding(rule, "not-claimed", expected=product.name)
    else:
        yield finding(
            rule,
            "per-board" if sale.per_board_label else "per-gpu",
            observed=f"{product.gpus_per_board} GPUs share a board"
            + (f", {some(product.memory_labels)} each" if product.memory_labels else ""),
            expected=sale.as_given or product.name,
        )


LABEL = Rule(
    id="capacity.label",
    title="What a memory label per board means per GPU",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(
            id="per-board",
            outcome=Outcome.NOTE,
            text="The memory of {expected} is a label per board: {observed}. No program sees it "
            "as one.",
        ),
        Code(id="per-gpu", outcome=Outcome.NOTE, text="{expected}: {observed}."),
        Code(
            id="not-claimed",
            outcome=Outcome.INCONCLUSIVE,
            text="No sale was named, so no label of {expected} is judged.",
        ),
        NO_PRODUCT,
        NOT_FOR_PRODUCT,
    ),
    shows="What the label of a board with several GPUs stands for.",
    limit="It explains the label and measures nothing.",
    near_miss='"K80 24 GB" is an honest label for 2 x 12 GB on one board.',
    references=("NVIDIA Tesla K80 GPU Accelerator Board Specification, BD-07317-001",),
    check=_check_label,
)

RULES = (TOTAL, RESERVED, LABEL)
