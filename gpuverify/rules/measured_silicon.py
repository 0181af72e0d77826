"""What the chip does: processors that did work, work a clock, the L2 cache; and what CUDA says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Outcome, Rule
from gpuverify.model.product import ReferenceValue
from gpuverify.model.rates import L2_STEP, OPERATIONS, operation_field
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    MIB,
    NO_PRODUCT,
    NO_REFERENCE,
    cite,
    finding,
    name_of,
    other_holders,
    says,
)
from gpuverify.rules.constants import FROM_CUDA, FROM_NVIDIA_SMI, FROM_NVML, FROM_PROCFS
from gpuverify.rules.measured import (
    HIDDEN,
    REMEDY,
    amount,
    doubt_text,
    measured,
    measured_rule,
    number,
    partial_card,
    size,
    timing_doubt,
    tried,
    void_or_absent,
)
from gpuverify.rules.on_file import cite_reference, own_values, some, values_text

BAND_PERCENT = 15
"""How far off a count a clock may be where no band is on file: two clocks that agree within 2 %, 1
to 3 % from run to run for tensor rates, and what the end of a kernel costs, with room for more."""

_GUIDE = "https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (arithmetic instructions)"


def _check_census(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare the multiprocessors that did work with the product's and with CUDA's word."""
    product = subject.product
    claim = measured(subject, "fingerprint.sm_count")
    seen = number(claim)
    if seen is None:
        yield void_or_absent(rule, claim)
        return
    said = f"{seen} multiprocessors did work"
    word = subject.read("gpu.sm_count", FROM_CUDA)
    told = number(word)
    if told is not None and told != seen:
        # Blocks are dealt out over all of them: one that never appears does not exist, unless
        # the program was given a share of the card.
        code = "hidden" if partial_card(subject) else "cuda-differs"
        yield finding(
            rule,
            code,
            observed=said,
            expected=f"{told}, as CUDA says",
            basis=Basis.MEASURED,
            claims=cite(claim, word),
        )
    if product is None:
        yield finding(rule, "no-product")
        return
    own = own_values(subject, "gpu.sm_count")
    if not own:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, claims=cite(claim)
        )
        yield from _lanes(subject, rule, claim, seen)
        return
    counts = [value.value for value in own if isinstance(value.value, int)]
    holders = other_holders(subject, "gpu.sm_count", seen)
    if seen in counts:
        code = "own-value"
    elif partial_card(subject):
        code = "hidden"
    elif seen < min(counts):
        code = "fewer"
    else:
        code = "other-product" if holders else "never-seen"
    if code != "own-value" and holders:
        said += f", as {some(holders)} has"
    yield finding(
        rule,
        code,
        observed=said,
        expected=values_text(own),
        basis=Basis.MEASURED,
        claims=cite(claim),
        reference=cite_reference(own),
        field="gpu.sm_count" if code == "own-value" else "",
        value=seen if code == "own-value" else None,
    )
    if code == "own-value":
        yield from _lanes(subject, rule, claim, seen)


def _lanes(subject: Subject, rule: Rule, claim: Claim, seen: int) -> Iterator[Finding]:
    """Pass the lanes that follow from the multiprocessors, where the product has as many."""
    capability = subject.read("gpu.compute_capability", FROM_CUDA, FROM_NVML)
    chips = own_values(subject, "rate.compute_capability")
    each = own_values(subject, "rate.fp32_lanes_per_sm")
    own = own_values(subject, "gpu.core_count")
    if not any(value.value == capability.value for value in chips):
        return
    lanes = next(
        (
            value.value
            for value in each
            if isinstance(value.value, int)
            and any(held.value == seen * value.value for held in own)
        ),
        None,
    )
    if lanes is None:
        return
    yield finding(
        rule,
        "own-lanes",
        observed=f"{seen} multiprocessors of {lanes} lanes",
        expected=values_text(own),
        basis=Basis.MEASURED,
        claims=cite(claim, capability),
        reference=cite_reference((*own, *each)),
        field="gpu.core_count",
        value=seen * lanes,
    )


CENSUS = measured_rule(
    rule_id="identity.measured-sm-count",
    title="Multiprocessors that did work against the product's",
    axis=Axis.IDENTITY,
    codes=(
        Code(id="own-value", outcome=Outcome.PASS, text="{observed}; the product has {expected}."),
        Code(
            id="own-lanes",
            outcome=Outcome.PASS,
            text="{observed}, the FP32 lanes of the product: {expected}.",
        ),
        Code(id="fewer", outcome=Outcome.FAIL, text="{observed}; the product has {expected}."),
        Code(
            id="other-product",
            outcome=Outcome.FAIL,
            text="{observed}; the product has {expected}.",
        ),
        Code(
            id="cuda-differs",
            outcome=Outcome.FAIL,
            text="{observed}; expected {expected}: the driver names processors that are not there.",
        ),
        Code(
            id="never-seen",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; on file: {expected}.",
        ),
        HIDDEN,
        NO_REFERENCE,
        NO_PRODUCT,
    ),
    check=_check_census,
    shows="So many multiprocessors ran a part of the work, counted by the number that each gives "
    "of itself, with exact results. A product has a fixed number.",
    limit="Products with equal numbers are not told apart: A800 from A100, H800 from H100.",
    near_miss="A MIG slice or an MPS share runs on fewer.",
    references=(
        "PTX ISA, special registers (%smid, %nsmid)",
        "https://github.com/te42kyfo/gpu-benches (multiprocessors of data-centre cards)",
    ),
)


def _word(name: str) -> str:
    """Return the name of an operation for people."""
    return name.replace("_", " ")


def bands(values: Iterable[ReferenceValue]) -> list[tuple[int, int]]:
    """Return what good cards show of an operation, in thousandths a clock and multiprocessor."""
    found = []
    for value in values:
        if isinstance(value.value, int):
            room = value.value * 10 * BAND_PERCENT
            wide = (value.value * 1000 - room, value.value * 1000 + room)
            found.append((value.validation and value.validation.band) or wide)
    return found


def _expected(name: str, values: tuple[ReferenceValue, ...]) -> str:
    """Say what is expected of an operation, and how far that was tried."""
    validation = tried(values)
    if validation.band is not None:
        low, high = validation.band
        return f"{_word(name)} {low / 1000:.1f} to {high / 1000:.1f} ({validation})"
    return f"{_word(name)} {values_text(values)} ({validation})"


_WORK = {name: f"fingerprint.{name}_milliops" for name in OPERATIONS}
"""The claim that holds the work of each operation."""


def _check_ops(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare work a clock with what the product's chip does."""
    claims: list[Claim] = []
    found: dict[str, int] = {}
    for name, claim_id in _WORK.items():
        claim = measured(subject, claim_id)
        if (value := number(claim)) is not None:
            claims.append(claim)
            found[name] = value
    if not found:
        yield void_or_absent(rule, measured(subject, _WORK["fp32_fma"]))
        return
    doubt = timing_doubt(subject)
    if doubt is not None:
        yield finding(rule, "void", observed=doubt_text(doubt), claims=cite(doubt))
        return
    said = ", ".join(f"{_word(name)} {value / 1000:.1f}" for name, value in found.items())
    cited = cite(*claims)
    own = {name: own_values(subject, operation_field(name)) for name in found}
    known = {name: values for name, values in own.items() if values}
    if not known:
        yield finding(rule, "no-reference", observed=said, expected=name_of(subject), claims=cited)
        return
    odd = [
        name
        for name, values in known.items()
        if not any(low <= found[name] <= high for low, high in bands(values))
    ]
    yield finding(
        rule,
        "unusual" if odd else "usual",
        observed=f"{said} a clock and multiprocessor",
        expected=", ".join(_expected(name, values) for name, values in known.items()),
        basis=Basis.MEASURED,
        claims=cited,
        reference=cite_reference([value for values in known.values() for value in values]),
    )


OPS = measured_rule(
    rule_id="identity.measured-operations",
    title="Work a clock and multiprocessor against the chip's generation",
    axis=Axis.IDENTITY,
    codes=(
        Code(id="usual", outcome=Outcome.PASS, text="{observed}; expected {expected}."),
        Code(
            id="unusual",
            outcome=Outcome.NOTE,
            text="{observed}; expected {expected}. Mining chips throttle multiply-adds, export "
            "versions FP64. A timing accuses nobody.",
        ),
        NO_REFERENCE,
    ),
    check=_check_ops,
    shows="The chip does as much a clock as its generation does, or as cards of the product did "
    "that were measured in the field.",
    limit="A timing accuses nobody and excludes no neighbour: a rate is odd, not fraud.",
    near_miss="A card whose clock falls under load: work is counted by the clock. Chips that are "
    "known to be throttled or cut have no value on file, or one of their own.",
    references=(
        _GUIDE,
        "https://github.com/GypsumLabs/cmp170hx-zh (throttled multiply-adds)",
    ),
)


def _check_l2(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare the size at which reads leave the L2 cache with its size."""
    claim = measured(subject, "fingerprint.l2_step_bytes")
    seen = number(claim)
    if seen is None:
        yield void_or_absent(rule, claim, remedy=REMEDY.replace("quick", "full"))
        return
    doubt = timing_doubt(subject)
    if doubt is not None:
        yield finding(rule, "void", observed=doubt_text(doubt), claims=cite(doubt))
        return
    said = f"reads leave the L2 cache at {size(seen)}"
    own = own_values(subject, "l2.size_bytes")
    sizes = [value.value for value in own if isinstance(value.value, int)]
    steps = own_values(subject, L2_STEP)
    validation = tried(steps)
    if not sizes and validation.band is None:
        yield finding(
            rule, "no-reference", observed=said, expected=name_of(subject), claims=cite(claim)
        )
        return
    # Half of it is near on chips with two partitions; steps double between the sizes tried.
    bands = [(-(-value * 4 // 10), value * 2) for value in sizes]
    expected = ", ".join(f"{value // MIB} MiB" for value in sizes)
    if validation.band is not None:
        bands = [validation.band]
        expected = f"{size(bands[0][0])} to {size(bands[0][1])}"
    yield finding(
        rule,
        "usual" if any(low <= seen <= high for low, high in bands) else "unusual",
        observed=said,
        expected=f"{expected} ({validation})",
        basis=Basis.MEASURED,
        claims=cite(claim),
        reference=cite_reference((*own, *steps)),
    )


L2 = measured_rule(
    rule_id="identity.measured-l2",
    title="L2 cache by its step in latency",
    axis=Axis.IDENTITY,
    codes=(
        Code(id="usual", outcome=Outcome.PASS, text="{observed}; on file: {expected}."),
        Code(
            id="unusual",
            outcome=Outcome.NOTE,
            text="{observed}; on file: {expected}. A timing accuses nobody.",
        ),
        NO_REFERENCE,
    ),
    check=_check_l2,
    shows="A random walk through memory becomes slower where the product's L2 cache ends.",
    limit="Timing, and steps are coarse: it accuses nobody.",
    near_miss="Chips with two partitions show a first step at half of the size.",
    references=("https://github.com/te42kyfo/gpu-benches (gpu-latency, gpu-l2-cache)",),
)


def _text(claim: Claim) -> str:
    """Return a text claim without NVIDIA's prefix."""
    return str(claim.value).strip().removeprefix("NVIDIA ").upper()


def _contradictions(subject: Subject) -> tuple[list[str], list[Claim]]:
    """Return what CUDA says differently, and every claim that was compared."""
    differing: list[str] = []
    compared: list[Claim] = []
    product, claims = subject.product, subject.device.claims
    for claim_id, ppm in (
        ("gpu.uuid", None), ("gpu.name", None), ("pci.bus_id", None),
        ("gpu.compute_capability", None), ("memory.bus_width_bits", 0),
        ("clock.memory_max_khz", 10_000), ("clock.sm_max_khz", 10_000),
    ):  # fmt: skip
        cuda = claims.get(claim_id, FROM_CUDA)
        if cuda.value is None:
            continue
        if claim_id == "clock.sm_max_khz" and (product is None or not product.has("datacenter")):
            continue
        other = subject.read(claim_id, FROM_NVML, FROM_NVIDIA_SMI, FROM_PROCFS)
        if other.value is None:
            continue
        compared += [cuda, other]
        if ppm is None:
            same = _text(cuda) == _text(other)
        else:
            left, right = amount(cuda) or 0, amount(other) or 0
            same = abs(left - right) * 1_000_000 <= max(left, right) * ppm
        if not same:
            differing.append(f"{says(cuda)}, {says(other)}")
    differing += _total_contradiction(subject, compared)
    return differing, compared


def _total_contradiction(subject: Subject, compared: list[Claim]) -> list[str]:
    """Compare CUDA's total, which is NVML's without the reserve."""
    cuda = subject.device.claims.get("memory.total_bytes", FROM_CUDA)
    held = number(cuda)
    if held is None:
        return []
    total = subject.read("memory.total_bytes", FROM_NVML, FROM_NVIDIA_SMI)
    whole = number(total)
    if whole is None or partial_card(subject):
        return []
    compared += [cuda, total]
    reserve = amount(subject.read("memory.reserved_bytes"))
    low = whole - (reserve if reserve is not None else whole // 10) - 64 * MIB
    return [] if low <= held <= whole else [f"{says(cuda)}, {says(total)}"]


def _check_cuda(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Compare what CUDA says of the card with what NVML and the kernel say."""
    differing, compared = _contradictions(subject)
    if not compared:
        yield void_or_absent(rule, subject.read("gpu.uuid", FROM_CUDA))
        return
    yield finding(
        rule,
        "differs" if differing else "agree",
        observed="; ".join(differing) or f"{len(compared) // 2} values",
        basis=Basis.CROSS_CHECKED,
        claims=cite(*compared),
    )


CUDA = measured_rule(
    rule_id="identity.cuda-cross-check",
    title="What CUDA says of the card against NVML, kernel and PCI",
    axis=Axis.IDENTITY,
    codes=(
        Code(id="agree", outcome=Outcome.PASS, text="CUDA agrees in {observed}."),
        Code(
            id="differs",
            outcome=Outcome.FAIL,
            text="CUDA and NVML contradict each other: {observed}.",
        ),
    ),
    check=_check_cuda,
    shows="Two interfaces of the driver tell one story.",
    limit="One driver stands behind both.",
    near_miss="SM clocks are compared on data-centre products alone, within 1 %: CUDA and NVML "
    "count boost differently elsewhere. CUDA's total leaves the reserve out.",
    references=(
        "cuda.h, CUdevice_attribute",
        "https://docs.nvidia.com/cuda/cuda-driver-api/ (cuDeviceGetAttribute, cuDeviceTotalMem)",
    ),
)

RULES = (CUDA, CENSUS, OPS, L2)
