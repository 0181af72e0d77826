"""Values that tell a product from its neighbours: name, lanes, clocks, bus, VBIOS, profiles."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from gpuverify.model.claims import Value
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import kept_if_short
from gpuverify.model.product import Product, ProductKey
from gpuverify.model.subject import Subject, accepted
from gpuverify.rules.compare import (
    LIST_CODES,
    NO_PRODUCT,
    NO_VALUE,
    ListRule,
    absent,
    agreed_basis,
    basis_of,
    cite,
    compare_value,
    finding,
    list_rule,
    says,
)
from gpuverify.rules.on_file import cite_reference, own_values, show, some


def _strip(name: str) -> str:
    """Return a product name as it is compared."""
    return name.strip().removeprefix("NVIDIA ").strip()


@functools.lru_cache(maxsize=1024)
def _names(sold: ProductKey, board: ProductKey | None) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the names on file, each with where it stands, and all of them for people."""
    own = accepted(sold.product, board.product if board else None, "gpu.name")
    names = tuple((_strip(str(v.value)), f"{v.source} {v.locator}") for v in own)
    return names, some(dict.fromkeys(name for name, _ in names))


def _check_name(subject: Subject) -> Iterator[Finding]:
    """Compare NVML's product name with the product's names, then with everybody's."""
    rule, product = NAME, subject.product
    claim = subject.read("gpu.name")
    if not isinstance(claim.value, str):
        yield absent(rule, claim)
        return
    if product is None:
        yield finding(rule, "no-product")
        return
    name, cited = _strip(claim.value), cite(claim)
    board = subject.recognition.product
    own, listed = _names(product.key, board.key if board else None)
    expected = listed or product.name
    matched = tuple([locator for spelling, locator in own if spelling == name])
    if matched:
        yield finding(
            rule,
            "own-name",
            observed=says(claim),
            expected=expected,
            basis=agreed_basis(subject, claim),
            claims=cited,
            reference=matched,
            field="gpu.name",
            value=name,
        )
        return
    if name == "Graphics Device":
        yield finding(
            rule, "graphics-device", observed=says(claim), expected=expected, claims=cited
        )
        return
    holders = {
        holder
        for spelling in (name, f"NVIDIA {name}")
        for holder in subject.reference.holders("gpu.name", spelling)
    } - {product.id}
    code = "never-seen"
    if holders and own:
        other = board is not None and board.id != product.id and board.id in holders
        code = "other-product" if other and not subject.imported else "other-name"
    seen = says(claim) + (f", a name of {some(sorted(holders))}" if holders else "")
    yield finding(rule, code, observed=seen, expected=expected, basis=basis_of(claim), claims=cited)


NAME = Rule(
    id="identity.name",
    title="Product name against the product's names",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="own-name", outcome=Outcome.PASS, text="{observed}."),
        Code(
            id="graphics-device",
            outcome=Outcome.NOTE,
            text="{observed}: the driver does not know this device id by name. A newer driver may.",
        ),
        Code(id="other-product", outcome=Outcome.FAIL, text="{observed}; expected {expected}."),
        Code(
            id="other-name",
            outcome=Outcome.WARN,
            text="The story does not fit itself: {observed}, while the ids or the claim say "
            "{expected}.",
        ),
        Code(
            id="never-seen",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; expected {expected}. Odd names are often legitimate.",
        ),
        NO_VALUE,
        NO_PRODUCT,
    ),
    shows="The driver calls the card by a name that is on file for the product.",
    limit="The name is a string in the driver: the easiest thing to forge.",
    near_miss='"Graphics Device" on an old driver, board names such as PG509-210.',
    references=(
        "nvml.h, nvmlDeviceGetName",
        "NVIDIA/open-gpu-kernel-modules, src/nvidia/generated/g_nv_name_released.h",
    ),
    check=_check_name,
)


def _datacenter(product: Product) -> bool:
    """Whether the product is a data-centre part."""
    return product.has("datacenter")


def _from_khz(value: Value) -> Value | None:
    """Return a clock in MHz."""
    return value // 1000 if isinstance(value, int) and value > 0 else None


def _positive(value: Value) -> Value | None:
    """Return a count above zero."""
    return value if isinstance(value, int) and value > 0 else None


CORE_COUNT = list_rule(
    ListRule(
        id="identity.core-count",
        title="FP32 lanes against the product's",
        field="gpu.core_count",
        claim="gpu.core_count",
        convert=_positive,
        shows="The driver counts as many lanes as the product has.",
        limit="The driver says it; an unlocked or patched driver can say more. Measuring settles "
        "it.",
        near_miss="A read-out without the count: nvidia-smi does not print it.",
        references=("nvml.h, nvmlDeviceGetNumGpuCores",),
        remedy="drivers from 510 on count them; run gpuverify on the machine itself",
        needed_from=510,
    )
)
BUS_WIDTH = list_rule(
    ListRule(
        id="identity.bus-width",
        title="Memory bus width against the product's",
        field="memory.bus_width_bits",
        claim="memory.bus_width_bits",
        unit="bit",
        convert=_positive,
        shows="The memory bus is as wide as the product's.",
        limit="The driver says it.",
        near_miss="Sisters of one chip with different memory share a width.",
        references=("nvml.h, nvmlDeviceGetMemoryBusWidth",),
    )
)
MEMORY_CLOCK = list_rule(
    ListRule(
        id="identity.memory-clock",
        title="Highest memory clock against the product's",
        field="clock.memory_max_mhz",
        claim="clock.memory_max_khz",
        unit="MHz",
        convert=_from_khz,
        accuse=_datacenter,
        shows="The memory runs at the product's rate: HBM2 and HBM2e differ here.",
        limit="The driver says it; the VBIOS sets it.",
        near_miss="Factory-overclocked consumer boards: outside data-centre parts another "
        "product's clock decides nothing.",
        references=("nvml.h, nvmlDeviceGetMaxClockInfo",),
    )
)
SM_CLOCK = list_rule(
    ListRule(
        id="identity.sm-clock",
        title="Highest SM clock against the product's, within 1 %",
        field="clock.sm_max_mhz",
        claim="clock.sm_max_khz",
        unit="MHz",
        convert=_from_khz,
        applies=_datacenter,
        tolerance_percent=1,
        shows="The highest SM clock is the product's.",
        limit="Many products share a clock; the driver says it.",
        near_miss="A clock that is off by one step (1328 against 1329 MHz).",
        references=("nvml.h, nvmlDeviceGetMaxClockInfo",),
    )
)
COMPUTE_CAPABILITY = list_rule(
    ListRule(
        id="identity.compute-capability",
        title="CUDA compute capability against the product's",
        field="gpu.compute_capability",
        claim="gpu.compute_capability",
        shows="The instruction set is the product's.",
        limit="All products of one chip share it.",
        near_miss="A read-out without it: nvidia-smi -q does not print it.",
        references=("https://developer.nvidia.com/cuda-gpus",),
    )
)


def _check_vbios_list(subject: Subject) -> Iterator[Finding]:
    """Confirm a VBIOS version that is on file; never accuse one that is not."""
    rule, product = VBIOS_LIST, subject.product
    claim = subject.read("gpu.vbios_version")
    if not isinstance(claim.value, str):
        yield absent(rule, claim)
        return
    if product is None:
        yield finding(rule, "no-product")
        return
    version, own = claim.value.upper(), own_values(subject, "gpu.vbios_version")
    matched = [v for v in own if v.value == version]
    yield finding(
        rule,
        "on-file" if matched else "not-on-file",
        observed=says(claim, version),
        expected=product.name,
        basis=agreed_basis(subject, claim) if matched else basis_of(claim),
        claims=cite(claim),
        reference=cite_reference(matched),
    )


VBIOS_LIST = Rule(
    id="identity.vbios-list",
    title="VBIOS version among those on file",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=(
        Code(id="on-file", outcome=Outcome.PASS, text="{observed}, on file for {expected}."),
        Code(
            id="not-on-file",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, not on file for {expected}. Many honest cards carry such a one.",
        ),
        NO_VALUE,
        NO_PRODUCT,
    ),
    shows="This VBIOS version was seen on the product, or NVIDIA published its measurements.",
    limit="It confirms and never accuses: lists of VBIOS versions are never complete.",
    near_miss="An unseen VBIOS version on an honest card.",
    references=("NVIDIA/nvtrust, reference integrity manifests (RIM) of VBIOS versions",),
    check=_check_vbios_list,
)

_PROFILE = re.compile(r"(\d+)g\.(\d+)gb")


@kept_if_short(256)
def _whole_profile(text: str) -> str | None:
    """Return the profile with the most slices (and memory) of a claim's list."""
    found = [
        match for part in text.split(",") if (match := _PROFILE.match(part.strip())) is not None
    ]
    best = max(found, key=lambda m: (int(m.group(1)), int(m.group(2))), default=None)
    return best.group(0) if best else None


def _check_profiles(subject: Subject) -> Iterator[Finding]:
    """Compare the profile that takes the whole card: smaller ones are shared by neighbours."""
    rule, product = MIG_PROFILES, subject.product
    claim = subject.read("mig.profiles")
    if product is None:
        yield finding(rule, "no-product")
        return
    if not product.has("mig"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    profile = _whole_profile(claim.value) if isinstance(claim.value, str) else None
    if profile is None:
        yield absent(rule, claim, remedy="newer drivers list the profiles, some with MIG on only")
        return
    yield compare_value(
        rule,
        subject,
        (claim,),
        profile,
        field="mig.profile",
        said=says(claim, f"{profile} as the largest profile"),
    )


MIG_PROFILES = Rule(
    id="identity.mig-profiles",
    title="Largest MIG profile against the product's",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=LIST_CODES,
    shows="The driver would cut the card into the slices that the product has.",
    limit="The driver says it.",
    near_miss="A 40 GB card has profiles that an 80 GB card has too; only the largest decides.",
    references=(
        "NVIDIA Multi-Instance GPU User Guide, table of supported profiles",
        "NVIDIA/mig-parted, profiles by device id",
    ),
    check=_check_profiles,
)

_BANKS = tuple(f"remap.histogram_{part}" for part in ("max", "high", "partial", "low", "none"))


def _check_banks(subject: Subject) -> Iterator[Finding]:
    """Compare the number of memory banks that the remap histogram covers."""
    rule, product = BANK_HISTOGRAM, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    if not product.has("row-remap") and not own_values(subject, "remap.bank_count"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    parts = [subject.read(name) for name in _BANKS]
    missing = [claim for claim in parts if claim.value is None]
    if missing:
        yield absent(rule, missing[0], remedy="with MIG on the driver does not tell; turn it off")
        return
    total = sum([int(claim.value or 0) for claim in parts])
    said = says(parts[0], f"{show(total)} memory banks")
    if not total:
        yield finding(
            rule, "no-reference", observed=said, expected=product.name, claims=cite(*parts)
        )
        return
    yield compare_value(rule, subject, tuple(parts), total, field="remap.bank_count", said=said)


BANK_HISTOGRAM = Rule(
    id="identity.bank-histogram",
    title="Memory banks in the row-remap histogram against the product's",
    axis=Axis.IDENTITY,
    group=Group.DETAIL,
    codes=LIST_CODES,
    shows="The memory is laid out in as many banks as the product's.",
    limit="It tells stacks and bus width, not capacity: 40 GB and 80 GB cards have the same sum.",
    near_miss="Banks that moved from one class to another: only the sum is compared.",
    references=(
        "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (NVIDIA, memory error management)",
        "nvml.h, nvmlDeviceGetRowRemapperHistogram",
    ),
    check=_check_banks,
)

RULES = (
    NAME,
    CORE_COUNT,
    BUS_WIDTH,
    MEMORY_CLOCK,
    SM_CLOCK,
    COMPUTE_CAPABILITY,
    VBIOS_LIST,
    MIG_PROFILES,
    BANK_HISTOGRAM,
)
