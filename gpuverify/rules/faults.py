"""Does it answer? InfoROM checksums, lost devices, Xid events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.rules.compare import NO_VALUE, absent, basis_of, cite, finding, says
from gpuverify.rules.constants import FROM_NVIDIA_SMI, FROM_NVML


def listed(text: object, bus_id: object) -> bool:
    """Whether a bus id stands in a comma-separated list of bus ids."""
    if not isinstance(text, str) or not isinstance(bus_id, str):
        return False
    mine = normal_bus_id(bus_id)
    return mine is not None and mine in {normal_bus_id(part) for part in text.split(",")}


def _check_inforom(subject: Subject) -> Iterator[Finding]:
    """Judge the InfoROM's checksums, and the warning that nvidia-smi's table prints."""
    rule = INFOROM
    valid, warned = subject.read("inforom.valid"), subject.host.read("host.inforom_warnings")
    if warned.value is not None and listed(warned.value, subject.value("pci.bus_id")):
        yield finding(
            rule,
            "corrupted",
            observed=says(warned),
            basis=basis_of(warned),
            claims=cite(warned, subject.read("pci.bus_id")),
        )
    elif valid.value is False:
        yield finding(
            rule,
            "corrupted",
            observed=says(valid, "wrong checksums"),
            basis=basis_of(valid),
            claims=cite(valid),
        )
    elif valid.value is True:
        yield finding(rule, "valid", basis=basis_of(valid), claims=cite(valid))
    else:
        yield absent(rule, valid)


INFOROM = Rule(
    id="condition.inforom",
    title="InfoROM checksums",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="valid", outcome=Outcome.PASS, text="The InfoROM's checksums hold."),
        Code(
            id="corrupted",
            outcome=Outcome.WARN,
            text="The InfoROM is corrupted ({observed}). Power the machine off and on and read "
            "again; if it stays, serial number and error records cannot be relied on.",
        ),
        NO_VALUE,
    ),
    shows="The InfoROM is intact.",
    limit="A checksum is no signature: a rewritten InfoROM has good ones.",
    near_miss="A transient read error that a power cycle clears.",
    references=(
        "nvml.h, nvmlDeviceValidateInforom (NVML_ERROR_CORRUPTED_INFOROM)",
        "microsoft/pai issue 3756; Azure/azhpc-diagnostics pull request 43",
    ),
    check=_check_inforom,
)


def _check_lost(subject: Subject) -> Iterator[Finding]:
    """Find a device that stopped answering."""
    rule, claims, gone = DEVICE_LOST, subject.device.claims.claims, ClaimStatus.DEVICE_LOST
    lost = [claim for claim in claims if claim.status is gone]
    silent = subject.read("gpu.responding")
    named = subject.host.read("host.lost_devices")
    if (
        lost
        or silent.value is False
        or (named.value is not None and listed(named.value, subject.value("pci.bus_id")))
    ):
        stand = lost[:3] or [silent if silent.value is False else named]
        yield finding(
            rule,
            "lost",
            observed="; ".join(f"{c.id} from {c.source.value}" for c in stand),
            basis=basis_of(*stand),
            claims=cite(*stand),
        )
        return
    answer = silent if silent.ok else _answered(claims)
    if answer is not None:
        yield finding(rule, "answers", basis=basis_of(answer), claims=cite(answer))
    else:
        yield absent(rule, silent)


def _answered(claims: Iterable[Claim]) -> Claim | None:
    """Return the first claim in which the driver gave a value."""
    for claim in claims:
        if claim.value is not None and claim.source in (FROM_NVML, FROM_NVIDIA_SMI):
            return claim
    return None


DEVICE_LOST = Rule(
    id="condition.device-lost",
    title="The device answers",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(id="answers", outcome=Outcome.PASS, text="The device answers."),
        Code(
            id="lost",
            outcome=Outcome.FAIL,
            defective=True,
            text="The device fell off the bus or stopped answering ({observed}).",
        ),
        NO_VALUE,
    ),
    shows="The device was reachable when it was read.",
    limit="A moment, without load.",
    near_miss="A value that the card does not support is no lost device.",
    references=(
        "https://docs.nvidia.com/deploy/xid-errors/ (NVIDIA, Xid 79)",
        "nvml.h, NVML_ERROR_GPU_IS_LOST",
    ),
    check=_check_lost,
)

SERIOUS_XIDS = frozenset({48, 64, 74, 79, 95, 119, 120, 140, 143, 156, 157, 168})
"""Xids that NVIDIA's catalogue ties to hardware (memory, links, bus, GSP), not to a program."""
WORTH_A_NOTE_XIDS = frozenset({63, 92, 93, 94, 122, 123, 124, 125, 171, 172})
"""Xids that record a contained or corrected event."""


def _xids(text: str) -> dict[int, int]:
    """Return the counts in a list such as `63:1,79:2`."""
    found: dict[int, int] = {}
    for part in text.split(","):
        number, _, times = part.strip().partition(":")
        if number.isdigit():
            found[int(number)] = int(times) if times.isdigit() else 1
    return found


def _check_log(batch: BatchSubject) -> Iterator[Finding]:
    """Judge the Xid events in this host's kernel log."""
    rule = KERNEL_LOG
    readable, claim = (
        batch.host.read("host.kernel_log_readable"),
        batch.host.read("host.kernel_log_xids"),
    )
    if not isinstance(claim.value, str):
        yield absent(rule, claim, remedy="run as root so that the kernel log can be read")
        return
    seen = _xids(claim.value)
    code = "none"
    if SERIOUS_XIDS & seen.keys():
        code = "serious"
    elif WORTH_A_NOTE_XIDS & seen.keys():
        code = "recorded"
    elif readable.value is not True:
        yield absent(rule, readable, remedy="run as root so that the kernel log can be read")
        return
    yield finding(
        rule,
        code,
        observed=says(claim, f"Xid {claim.value}"),
        basis=basis_of(claim),
        claims=cite(claim),
    )


KERNEL_LOG = Rule(
    id="condition.kernel-log",
    title="Xid events in the kernel log",
    axis=Axis.CONDITION,
    group=Group.CONDITION,
    codes=(
        Code(
            id="none",
            outcome=Outcome.PASS,
            text="The kernel log holds no hardware event of a GPU since it begins.",
        ),
        Code(
            id="recorded",
            outcome=Outcome.NOTE,
            text="{observed}: contained or corrected events of some GPU of this host.",
        ),
        Code(
            id="serious",
            outcome=Outcome.WARN,
            text="{observed}: hardware events of some GPU of this host.",
        ),
        NO_VALUE,
    ),
    shows="No GPU of the host reported a hardware event since the log begins.",
    limit="The log starts at boot, rolls over, and is the host's.",
    near_miss="Xids 13, 31, 43 and 45 come from programs.",
    references=("https://docs.nvidia.com/deploy/xid-errors/ (NVIDIA, Xid catalogue)",),
    batch_check=_check_log,
)

RULES = (INFOROM, DEVICE_LOST, KERNEL_LOG)
