"""What waits for service: repairs, resets, links that are down, fans, replays."""

from __future__ import annotations

from collections.abc import Iterator

from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    NO_VALUE,
    NOT_FOR_PRODUCT,
    absent,
    basis_of,
    cite,
    finding,
    says,
)
from gpuverify.rules.condition import count, counts

_REPAIRS = {
    "repair.unrepairable_memory": "unrepairable",
    "repair.bank_remap_failure": "bank-remap-failure",
    "repair.channel_pending": "pending",
    "repair.tpc_pending": "pending",
    "repair.bank_remap_pending": "pending",
}


def _check_repairs(subject: Subject) -> Iterator[Finding]:
    """Judge the repair flags; the card that has none of them says so for each."""
    rule, product = REPAIRS, subject.product
    claims = [subject.read(name) for name in _REPAIRS]
    raised = [claim for claim in claims if claim.value is True]
    for claim in raised:
        yield finding(
            rule, _REPAIRS[claim.id], observed=says(claim, claim.id), basis=basis_of(claim),
            claims=cite(claim),
        )  # fmt: skip
    if raised:
        return
    missing = [claim for claim in claims if claim.value is None]
    nothing = len(missing) == len(claims)
    if nothing and product is not None and not product.has("row-remap"):
        yield finding(rule, "not-for-product", expected=product.name)
    elif missing:
        yield absent(rule, *missing)
    else:
        yield finding(rule, "none", basis=basis_of(*claims), claims=cite(*claims))


REPAIRS = Rule(
    id="condition.repairs",
    title="Memory and TPC repairs",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No repair is pending and none failed."),
        Code(
            id="pending",
            outcome=Outcome.WARN,
            text="A repair waits for a reset ({observed}). Reset and read again.",
        ),
        Code(
            id="unrepairable",
            outcome=Outcome.FAIL,
            defective=True,
            used=True,
            text="Memory that can no longer be repaired ({observed}).",
        ),
        Code(
            id="bank-remap-failure",
            outcome=Outcome.FAIL,
            defective=True,
            used=True,
            text="A bank remap failed ({observed}).",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The card waits for no repair, and no repair failed.",
    limit="Older drivers and cards do not report repairs.",
    near_miss="A repair that a reset completes.",
    references=(
        "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/ (NVIDIA, memory error management)",
        "nvml.h, nvmlDeviceGetRepairStatus",
    ),
    check=_check_repairs,
)


def _check_reset(subject: Subject) -> Iterator[Finding]:
    """Judge what the driver asks for."""
    rule = RECOVERY
    action, reset = subject.read("gpu.recovery_action"), subject.read("gpu.reset_required")
    asked = isinstance(action.value, str) and action.value.strip().lower() not in ("none", "")
    if asked or reset.value is True:
        stand = action if asked else reset
        yield finding(
            rule, "asked", observed=says(stand), basis=basis_of(stand), claims=cite(stand)
        )
    elif action.ok:
        yield finding(rule, "none", basis=basis_of(action), claims=cite(action))
    else:
        yield absent(rule, action)


RECOVERY = Rule(
    id="condition.recovery",
    title="Recovery action that the driver asks for",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="The driver asks for no recovery action."),
        Code(
            id="asked",
            outcome=Outcome.WARN,
            text="The driver asks for a recovery action: {observed}. Do it and read again.",
        ),
        NO_VALUE,
    ),
    shows="The driver sees nothing to recover from.",
    limit="A moment; older drivers do not say.",
    near_miss="A reset that was asked for and done.",
    references=("nvml.h, NVML_FI_DEV_GET_GPU_RECOVERY_ACTION",),
    check=_check_reset,
)


def _check_links(subject: Subject) -> Iterator[Finding]:
    """Say which existing links are down."""
    rule, product = NVLINKS, subject.product
    exist, active = subject.read("nvlink.link_count"), subject.read("nvlink.active_count")
    links, up = count(exist), count(active)
    if links is None or up is None:
        if product is not None and not (product.has("nvlink") or product.has("nvlink-bridge")):
            yield finding(rule, "not-for-product", expected=product.name)
        else:
            yield absent(rule, exist if links is None else active)
        return
    bridge = product is not None and product.has("nvlink-bridge")
    code = "up" if up >= links else "down"
    if code == "down" and up == 0 and bridge:
        code = "unbridged"
    yield finding(
        rule,
        code,
        observed=f"{says(active, f'{up} links up')} of {links}",
        basis=basis_of(exist, active),
        claims=cite(exist, active),
    )


NVLINKS = Rule(
    id="condition.nvlink",
    title="NVLinks that exist but are down",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="up", outcome=Outcome.PASS, text="{observed}."),
        Code(
            id="unbridged",
            outcome=Outcome.NOTE,
            text="{observed}: no bridge is fitted.",
        ),
        Code(
            id="down",
            outcome=Outcome.NOTE,
            text="{observed}: a baseboard, a bridge, the fabric manager or a fault. Test the "
            "links in a machine that uses them.",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="Every link that exists is up.",
    limit="Up says nothing of the error rate under load.",
    near_miss="A PCI Express card without a bridge; MIG on.",
    references=("nvml.h, nvmlDeviceGetNvLinkState",),
    check=_check_links,
)


def _check_fan(subject: Subject) -> Iterator[Finding]:
    """Judge the fan field."""
    rule, product, claim = FAN, subject.product, subject.read("gpu.fan_error")
    if claim.value is True:
        yield finding(
            rule, "error", observed=says(claim), basis=basis_of(claim), claims=cite(claim)
        )
    elif claim.ok:
        yield finding(rule, "no-error", basis=basis_of(claim), claims=cite(claim))
    elif product is not None and product.cooling in ("passive", "liquid"):
        yield finding(rule, "not-for-product", expected=product.name)
    else:
        yield absent(rule, claim)


FAN = Rule(
    id="condition.fan",
    title="Fan error",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="no-error", outcome=Outcome.PASS, text="The fan field shows no error."),
        Code(
            id="error",
            outcome=Outcome.WARN,
            text="The fan field reads as an error ({observed}).",
        ),
        NO_VALUE,
        NOT_FOR_PRODUCT,
    ),
    shows="The fan controller answers.",
    limit="Not the airflow.",
    near_miss="A passive card has no fan to read.",
    references=("nvidia-smi manual page, Fan Speed",),
    check=_check_fan,
)


_LINK_COUNTERS = ("pci.replay_count", "nvlink.replay_error_count", "nvlink.recovery_error_count",
                  "nvlink.crc_error_count")  # fmt: skip


def _check_counters(subject: Subject) -> Iterator[Finding]:
    """Remark on replay and link error counters."""
    rule = LINK_ERRORS
    claims = [subject.read(name) for name in _LINK_COUNTERS]
    _, raised = counts(claims)
    if raised:
        yield finding(
            rule,
            "counted",
            observed="; ".join(f"{says(c)} {c.id}" for c in raised),
            basis=basis_of(*raised),
            claims=cite(*raised),
        )
    elif count(claims[0]) is not None:
        yield finding(rule, "none", basis=basis_of(claims[0]), claims=cite(claims[0]))
    else:
        yield absent(rule, claims[0])


LINK_ERRORS = Rule(
    id="condition.link-errors",
    title="PCI Express and NVLink error counters",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No link error was counted."),
        Code(
            id="counted",
            outcome=Outcome.NOTE,
            text="{observed}. Totals say little; a rate under load would.",
        ),
        NO_VALUE,
    ),
    shows="No replay was counted since the counter began.",
    limit="When the counters begin is not documented for every card.",
    near_miss="A healthy H100 with 120 replays.",
    references=("NVIDIA/DCGM, modules/health (rates, not totals)",),
    check=_check_counters,
)

RULES = (REPAIRS, RECOVERY, NVLINKS, FAN, LINK_ERRORS)
