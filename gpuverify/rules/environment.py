"""Can the host be believed? What stands behind NVML, and who speaks between it and us.

Three grades: a note (usual on honest machines), a cap (the verdict is held at unverified), and a
warning (nothing honest looks like it). A log says nothing about its host, so none of this applies
to imported text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.part_numbers import driver_branch
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import NO_VALUE, absent, basis_of, cite, finding, says
from gpuverify.rules.constants import (
    FROM_HOST,
    FROM_NVIDIA_SMI,
    FROM_NVML,
    FROM_PCI_CONFIG,
    FROM_PROCFS,
    NOT_ASKED,
    NOT_FOUND,
    NOT_SUPPORTED,
    TIMED_OUT,
)

NOT_FOR_LOG = Code(
    id="imported",
    outcome=Outcome.NOT_APPLICABLE,
    text="The evidence is somebody's log, which says nothing about its host.",
)

Check = Callable[[Subject], Finding]


def environment_rule(
    *,
    rule_id: str,
    title: str,
    codes: tuple[Code, ...],
    check: Check,
    shows: str,
    limit: str,
    near_miss: str,
    references: tuple[str, ...],
) -> Rule:
    """Build a rule of the environment axis; on imported text it does not apply.

    Args:
        rule_id: Rule id.
        title: One line.
        codes: Its codes, beside those that every such rule has.
        check: Judges evidence that is no log.
        shows: What a pass shows.
        limit: What it does not show.
        near_miss: The honest situation that must not trigger it.
        references: Where the idea comes from.

    Returns:
        The rule.
    """

    def guarded(subject: Subject) -> Iterable[Finding]:
        """Leave logs alone."""
        return left_alone if subject.imported else (check(subject),)

    rule = Rule(
        id=rule_id,
        title=title,
        axis=Axis.ENVIRONMENT,
        group=Group.ENVIRONMENT,
        codes=(*codes, NO_VALUE, NOT_FOR_LOG),
        shows=shows,
        limit=limit,
        near_miss=near_miss,
        references=references,
        check=guarded,
    )
    left_alone = (finding(rule, "imported"),)
    return rule


def said(rule: Rule, code: str, *claims: Claim, observed: str = "", expected: str = "") -> Finding:
    """Build a finding from claims that hold values."""
    if not observed:
        observed = "; ".join([says(claim) for claim in claims])
    return finding(
        rule,
        code,
        observed=observed,
        expected=expected,
        basis=basis_of(*claims),
        claims=cite(*claims),
    )


def empty(claim: Claim) -> bool:
    """Whether a list that the host reports is empty."""
    value = claim.value
    if value is None:
        return False
    return value == "none" or str(value).strip().lower() in ("", "none")


def _nvml_answer(subject: Subject) -> Claim | None:
    """Return the first of NVML's plainest answers that holds a value."""
    for name in ("gpu.uuid", "gpu.name", "memory.total_bytes"):
        claim = subject.read(name, FROM_NVML)
        if claim.value is not None:
            return claim
    return None


def _lacking(
    subject: Subject, rule: Rule, answer: Claim, counted: Claim, lacking: list[tuple[Claim, str]]
) -> Finding:
    """Build the finding for what does not stand behind NVML's answer."""
    container = subject.host.read("host.container")
    observed = ", ".join(text for _, text in lacking)
    cited = [claim for claim, _ in lacking]
    if container.ok and not empty(container) and not counted.ok:
        # A sandbox with a kernel of its own shows neither sysfs nor procfs of the machine.
        return finding(rule, "sandbox", observed=observed, claims=cite(container, counted, *cited))
    return finding(
        rule,
        "nothing-behind",
        observed=observed,
        basis=Basis.CROSS_CHECKED,
        claims=cite(answer, *cited),
    )


def _check_behind(subject: Subject) -> Finding:
    """Look for the kernel driver, the PCI function and the device node behind NVML."""
    rule = KERNEL_BEHIND_NVML
    answer = _nvml_answer(subject)
    if answer is None:
        return absent(rule, subject.read("gpu.uuid", FROM_NVML), code_id="nvml-silent")
    wsl = subject.host.read("host.wsl")
    if wsl.value is True:
        return said(rule, "wsl", wsl)
    driver = subject.host.read("driver.kernel_version", FROM_PROCFS, FROM_HOST)
    device = subject.read("pci.device_id", FROM_PCI_CONFIG)
    function = device if device.value is not None else subject.read("pci.bus_id", FROM_PCI_CONFIG)
    bound, node = subject.read("pci.driver"), subject.read("device_node.present")
    counted = subject.host.read("host.pci_gpu_count")
    lacking = []
    if driver.status is NOT_FOUND:
        lacking.append((driver, "no kernel driver is loaded"))
    if function.value is None and (counted.ok or counted.status is NOT_FOUND):
        lacking.append((counted, "no PCI function stands at its bus id"))
    if bound.value not in (None, "nvidia", "nvidia-drm"):
        lacking.append((bound, f"the PCI function is bound to {bound.value}"))
    if node.value is False:
        lacking.append((node, "it has no device node"))
    if lacking:
        return _lacking(subject, rule, answer, counted, lacking)
    missing = [claim for claim in (driver, function, bound, node) if claim.value is None]
    if missing:
        return absent(rule, *missing)
    return said(rule, "stands", driver, function, node, observed="all three are there")


KERNEL_BEHIND_NVML = environment_rule(
    rule_id="environment.kernel-behind-nvml",
    title="Kernel driver, PCI function and device node behind NVML",
    codes=(
        Code(
            id="stands",
            outcome=Outcome.PASS,
            text="Behind NVML stand a kernel driver, a PCI function and a device node.",
        ),
        Code(
            id="nothing-behind",
            outcome=Outcome.WARN,
            text="NVML answers for this GPU, but {observed}.",
        ),
        Code(
            id="sandbox",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="A container in which no PCI function is shown: {observed}. Read on the machine "
            "itself.",
        ),
        Code(
            id="wsl",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Windows Subsystem for Linux shows no PCI function. {observed}.",
        ),
        Code(
            id="nvml-silent",
            outcome=Outcome.INCONCLUSIVE,
            text="NVML did not answer for this function. {observed}.",
        ),
    ),
    check=_check_behind,
    shows="The library speaks for a device that the kernel knows.",
    limit="Whoever rules the kernel can show all three.",
    near_miss="A container that sees the card's node, and a source that was not read.",
    references=(
        "NVIDIA Linux driver README, chapters on /proc and device nodes",
        "NVIDIA/k8s-test-infra, pkg/gpu/mocknvml (a library without a card)",
    ),
)


def _no_flag(cpuid: Claim) -> bool:
    """Whether the processor has no flag for a hypervisor (Arm): the firmware's tables decide."""
    return cpuid.status is NOT_SUPPORTED


def _check_machine(subject: Subject) -> Finding:
    """Judge whether we run in a virtual machine."""
    rule = VIRTUAL_MACHINE
    vendor = subject.host.read("host.virtual_machine")
    cpuid = subject.host.read("host.hypervisor_cpuid")
    mode = subject.read("gpu.virtualization_mode")
    named = vendor.value is not None
    signs = []
    if named and vendor.value != "none":
        signs.append(vendor)
    if cpuid.value is True:
        signs.append(cpuid)
    if mode.value in ("pass-through", "vgpu"):
        signs.append(mode)
    if signs:
        return said(rule, "virtual", *signs)
    if named and (cpuid.value is not None or _no_flag(cpuid)) and mode.status is not NOT_ASKED:
        return said(rule, "none-seen", vendor, cpuid)
    return absent(rule, *[claim for claim in (vendor, cpuid, mode) if claim.value is None])


VIRTUAL_MACHINE = environment_rule(
    rule_id="environment.virtual-machine",
    title="Virtual machine",
    codes=(
        Code(id="none-seen", outcome=Outcome.PASS, text="No sign of a virtual machine."),
        Code(
            id="virtual",
            outcome=Outcome.NOTE,
            caps=True,
            text="A virtual machine: {observed}. A hypervisor can answer for the card; read on "
            "the machine itself.",
        ),
    ),
    check=_check_machine,
    shows="Neither firmware tables nor CPUID nor the driver name a hypervisor.",
    limit="A hypervisor that hides is not found this way.",
    near_miss="Pass-through machines of honest clouds: held at unverified, never accused.",
    references=("systemd-detect-virt(1)", "nvml.h, nvmlDeviceGetVirtualizationMode"),
)


def _check_story(subject: Subject) -> Finding:
    """Hold the driver's story about pass-through against CPUID's."""
    rule = HYPERVISOR_STORY
    cpuid = subject.host.read("host.hypervisor_cpuid")
    mode = subject.read("gpu.virtualization_mode", FROM_NVML, FROM_NVIDIA_SMI)
    if _no_flag(cpuid):
        return finding(rule, "no-flag", basis=basis_of(cpuid), claims=cite(cpuid))
    if cpuid.value is None or mode.value is None:
        return absent(rule, *[claim for claim in (cpuid, mode) if claim.value is None])
    guest = mode.value in ("pass-through", "vgpu")
    return said(rule, "contradiction" if guest and cpuid.value is False else "fits", cpuid, mode)


HYPERVISOR_STORY = environment_rule(
    rule_id="environment.hypervisor-story",
    title="One story about the hypervisor",
    codes=(
        Code(id="fits", outcome=Outcome.PASS, text="One story: {observed}."),
        Code(
            id="contradiction",
            outcome=Outcome.WARN,
            text="Two stories: {observed}. The driver sees pass-through where the processor "
            "shows no hypervisor.",
        ),
        Code(
            id="no-flag",
            outcome=Outcome.NOT_APPLICABLE,
            text="The processor has no flag for a hypervisor, so there is no second story.",
        ),
    ),
    check=_check_story,
    shows="Processor and driver agree on whether a hypervisor is there.",
    limit="A hypervisor can arrange both.",
    near_miss="A hypervisor without pass-through (a desktop with virtualization based security).",
    references=("Intel SDM vol. 2A, CPUID leaf 1, ECX bit 31 (hypervisor present)",),
)


def _check_wsl(subject: Subject) -> Finding:
    """Judge whether this is the Windows Subsystem for Linux."""
    claim = subject.host.read("host.wsl")
    if claim.ok:
        return said(WSL, "wsl" if claim.value else "not-wsl", claim)
    return absent(WSL, claim)


WSL = environment_rule(
    rule_id="environment.wsl",
    title="Windows Subsystem for Linux",
    codes=(
        Code(id="not-wsl", outcome=Outcome.PASS, text="Not the Windows Subsystem for Linux."),
        Code(
            id="wsl",
            outcome=Outcome.NOTE,
            caps=True,
            text="Windows Subsystem for Linux: the card is behind another system's driver.",
        ),
    ),
    check=_check_wsl,
    shows="The kernel we ask is the one that drives the card.",
    limit="The kernel says it of itself.",
    near_miss="An honest Windows machine: held at unverified, never accused.",
    references=("https://docs.nvidia.com/cuda/wsl-user-guide/",),
)


def _check_container(subject: Subject) -> Finding:
    """Remark on containers."""
    claim = subject.host.read("host.container")
    if claim.ok:
        return said(CONTAINER, "none" if empty(claim) else "container", claim)
    return absent(CONTAINER, claim)


CONTAINER = environment_rule(
    rule_id="environment.container",
    title="Container",
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="Not in a container."),
        Code(
            id="container",
            outcome=Outcome.NOTE,
            text="In a container ({observed}): libraries come from outside it.",
        ),
    ),
    check=_check_container,
    shows="Files are the machine's own.",
    limit="A container that hides its marks is not found this way.",
    near_miss="Containers are how many honest machines run GPUs.",
    references=("https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/",),
)


def _check_age(subject: Subject) -> Finding:
    """Hold the driver's branch against the lowest that the policy accepts."""
    rule, lowest = DRIVER_AGE, subject.thresholds.driver_min
    version = subject.host.read("driver.version")
    branch = driver_branch(version.value) if isinstance(version.value, str) else None
    if branch is None:
        return absent(rule, version)
    return said(
        rule,
        "accepted" if branch >= lowest else "too-old",
        version,
        expected=f"branch {lowest} or newer" if lowest else "any branch",
    )


DRIVER_AGE = environment_rule(
    rule_id="environment.driver-age",
    title="Driver new enough for the policy",
    codes=(
        Code(id="accepted", outcome=Outcome.PASS, text="{observed}; the policy wants {expected}."),
        Code(
            id="too-old",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}; the policy wants {expected}. Old drivers hide evidence.",
        ),
    ),
    check=_check_age,
    shows="The driver can report what the policy needs.",
    limit="A version is a string.",
    near_miss="An old driver under a policy that sets no bound.",
    references=("docs/policies.md",),
)


_ANSWERS = ("source.nvml", "source.pci-config", "source.procfs", "source.host",
            "source.nvidia-smi")  # fmt: skip


def _check_sources(subject: Subject) -> Finding:
    """Say which sources did not answer."""
    rule = SOURCES
    claims = [subject.host.read(name) for name in _ANSWERS]
    unwell = [c for c in claims if c.value != "ok"]
    if not unwell:
        return said(rule, "all-answered", *claims, observed="all answered")
    dead = [c for c in unwell if c.ok]
    dead += [c for c in unwell if c.status is TIMED_OUT]
    if dead:
        text = "; ".join(says(c, f"{c.id.partition('.')[2]}: {c.value or c.status.value}")
                         for c in dead)  # fmt: skip
        alone = all(c.id == "source.nvidia-smi" for c in dead)
        return said(rule, "second-reader-ended" if alone else "ended", *dead, observed=text)
    return absent(rule, *unwell)


SOURCES = environment_rule(
    rule_id="environment.sources",
    title="Every source answered",
    codes=(
        Code(id="all-answered", outcome=Outcome.PASS, text="Every source answered."),
        Code(
            id="ended",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="A source did not answer: {observed}.",
        ),
        Code(
            id="second-reader-ended",
            outcome=Outcome.INCONCLUSIVE,
            text="nvidia-smi did not answer: {observed}. The GPU part number is not known "
            "without it.",
        ),
    ),
    check=_check_sources,
    shows="Nothing was left out because a source hung or refused.",
    limit="What a source says is judged elsewhere.",
    near_miss="nvidia-smi needs up to 30 s without persistence mode.",
    references=("docs/policies.md",),
)

RULES = (
    KERNEL_BEHIND_NVML,
    VIRTUAL_MACHINE,
    HYPERVISOR_STORY,
    WSL,
    CONTAINER,
    DRIVER_AGE,
    SOURCES,
)
