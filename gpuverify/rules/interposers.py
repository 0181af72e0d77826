"""Who stands between the library and us: modules, preloads, mounts, hooks, programs."""

from __future__ import annotations

from gpuverify.model.finding import Code, Finding, Outcome, Rule
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import absent
from gpuverify.rules.constants import NOT_FOUND, NOT_SUPPORTED
from gpuverify.rules.environment import empty, environment_rule, said
from gpuverify.rules.on_file import show

_TAINTED = "https://docs.kernel.org/admin-guide/tainted-kernels.html"
_UNLOCK = "amoghmunikote/cmpunlocker (module path and kernel log marker of a memory unlock)"


def _check_signature(subject: Subject) -> Finding:
    """Judge the module's signer; what an unsigned one means is the policy's choice."""
    claim = subject.host.read("host.module_signer")
    if not claim.ok:
        return absent(MODULE_SIGNATURE, claim)
    code = "signed"
    if empty(claim):
        code = "unsigned-refused" if subject.thresholds.require_signed_module else "unsigned"
    return said(MODULE_SIGNATURE, code, claim)


MODULE_SIGNATURE = environment_rule(
    rule_id="environment.module-signature",
    title="The kernel module is signed",
    codes=(
        Code(id="signed", outcome=Outcome.PASS, text="The kernel module is signed: {observed}."),
        Code(
            id="unsigned",
            outcome=Outcome.NOTE,
            text="The kernel module bears no signature ({observed}).",
        ),
        Code(
            id="unsigned-refused",
            outcome=Outcome.NOTE,
            caps=True,
            text="The kernel module bears no signature ({observed}), and the policy wants one.",
        ),
    ),
    check=_check_signature,
    shows="Somebody with a key signed the module file.",
    limit="DKMS signs with a key of the machine: the signer is a name, not a verdict.",
    near_miss="A local signer, and a module without a signature where the policy allows it.",
    references=("https://docs.kernel.org/admin-guide/module-signing.html",),
)

_TAINTS = {0: "P", 1: "F", 12: "O", 13: "E", 15: "K"}


def _check_taint(subject: Subject) -> Finding:
    """Remark on the kernel's taint flags; NVIDIA's module always sets some."""
    claim = subject.host.read("host.taint")
    if not isinstance(claim.value, int):
        return absent(TAINT, claim)
    letters = "".join(letter for bit, letter in _TAINTS.items() if claim.value >> bit & 1)
    return said(
        TAINT,
        "tainted" if claim.value else "clean",
        claim,
        observed=f"taint flags {show(claim.value)} {letters}".strip(),
    )


TAINT = environment_rule(
    rule_id="environment.taint",
    title="Kernel taint flags",
    codes=(
        Code(id="clean", outcome=Outcome.PASS, text="The kernel is not tainted."),
        Code(
            id="tainted",
            outcome=Outcome.NOTE,
            text="The kernel shows {observed}. NVIDIA's module always sets some.",
        ),
    ),
    check=_check_taint,
    shows="No module from outside the kernel was loaded.",
    limit="The flags stay until the next start and can be patched away.",
    near_miss="Out-of-tree and proprietary modules, NVIDIA's among them.",
    references=(_TAINTED,),
)


def _check_secure_boot(subject: Subject) -> Finding:
    """Remark on Secure Boot."""
    claim = subject.host.read("host.secure_boot")
    if claim.ok:
        return said(SECURE_BOOT, "on" if claim.value else "off", claim)
    if claim.status is NOT_SUPPORTED:
        return said(SECURE_BOOT, "off", claim, observed="the machine was not started by UEFI")
    return absent(SECURE_BOOT, claim)


SECURE_BOOT = environment_rule(
    rule_id="environment.secure-boot",
    title="Secure Boot",
    codes=(
        Code(id="on", outcome=Outcome.PASS, text="Secure Boot is on."),
        Code(
            id="off",
            outcome=Outcome.NOTE,
            text="Secure Boot is off ({observed}): any module can be loaded.",
        ),
    ),
    check=_check_secure_boot,
    shows="Only signed modules were loaded.",
    limit="A firmware variable, read through the kernel.",
    near_miss="Many honest servers run without it.",
    references=("UEFI Specification 2.10, section 32 (Secure Boot)",),
)


def _check_preload(subject: Subject) -> Finding:
    """Judge what the loader was told to load first."""
    rule = PRELOAD
    driver_api = subject.host.read("host.preload_provides_driver_api")
    files = subject.host.read("host.preload_intercepts_files")
    preload, audit = subject.host.read("host.preload"), subject.host.read("host.audit")
    if driver_api.value is True:
        return said(rule, "driver-api", driver_api, *([preload] if preload.ok else []))
    if audit.ok and not empty(audit):
        return said(rule, "audit", audit)
    if files.value is True:
        return said(rule, "file-functions", *([preload] if preload.ok else [files]))
    missing = [claim for claim in (preload, driver_api, files) if claim.value is None]
    if not audit.ok and audit.status is not NOT_FOUND:
        missing.append(audit)
    if missing:
        return absent(rule, *missing)
    return said(rule, "none" if empty(preload) else "other", preload)


PRELOAD = environment_rule(
    rule_id="environment.preload",
    title="Nothing is preloaded in front of the driver's libraries",
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="Nothing is preloaded."),
        Code(
            id="other",
            outcome=Outcome.NOTE,
            text="{observed} as preloaded; it offers none of the driver's functions.",
        ),
        Code(
            id="file-functions",
            outcome=Outcome.NOTE,
            caps=True,
            text="{observed} as preloaded; it stands before the functions that read files, and can "
            "show others than there are. Unset it and read again.",
        ),
        Code(
            id="audit",
            outcome=Outcome.NOTE,
            caps=True,
            text="LD_AUDIT is set ({observed}): it can replace any function.",
        ),
        Code(
            id="driver-api",
            outcome=Outcome.WARN,
            text="A preloaded object offers the driver's own functions ({observed}).",
        ),
    ),
    check=_check_preload,
    shows="The loader put nothing in front of NVML and CUDA.",
    limit="A replaced library needs no preload.",
    near_miss="A preloaded memory allocator.",
    references=("ld.so(8), LD_PRELOAD and LD_AUDIT",),
)


def _check_mounts(subject: Subject) -> Finding:
    """Judge mounts over the card's node, and over the driver's files."""
    rule = FOREIGN_MOUNTS
    node, mounts = (
        subject.read("device_node.foreign_mount"),
        subject.host.read("host.foreign_mounts"),
    )
    if node.value is True:
        return said(rule, "over-the-node", node, *([mounts] if mounts.ok else []))
    if mounts.ok and not empty(mounts):
        container = subject.host.read("host.container")
        inside = container.ok and not empty(container)
        return said(rule, "container" if inside else "over-files", mounts)
    if mounts.ok and node.ok:
        return said(rule, "none", mounts, node)
    return absent(rule, *(claim for claim in (mounts, node) if not claim.ok))


FOREIGN_MOUNTS = environment_rule(
    rule_id="environment.foreign-mounts",
    title="Nothing is mounted over the driver's files or the card's node",
    codes=(
        Code(
            id="none",
            outcome=Outcome.PASS,
            text="Nothing is mounted over the driver's files or the card's node.",
        ),
        Code(
            id="container",
            outcome=Outcome.NOTE,
            text="{observed} as mounts, as a container runtime makes them.",
        ),
        Code(
            id="over-files",
            outcome=Outcome.NOTE,
            caps=True,
            text="{observed} as mounts over the driver's files, outside any container.",
        ),
        Code(
            id="over-the-node",
            outcome=Outcome.WARN,
            text="Something stands over the card's own device node ({observed}).",
        ),
    ),
    check=_check_mounts,
    shows="Files and nodes are those of the driver.",
    limit="A kernel can lie about its mounts.",
    near_miss="The mounts of NVIDIA's container toolkit.",
    references=("https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/",),
)


def _check_unlock(subject: Subject) -> Finding:
    """Look for traces of a known memory unlock."""
    rule = UNLOCK_TRACES
    claims = [subject.host.read(name) for name in ("host.unlock_module", "host.kernel_log_unlock")]
    raised = [claim for claim in claims if claim.value is True]
    missing = [claim for claim in claims if claim.value is None]
    if raised:
        return said(rule, "traces", *raised)
    if missing:
        return absent(rule, *missing)
    return said(rule, "none", *claims)


UNLOCK_TRACES = environment_rule(
    rule_id="environment.unlock-traces",
    title="No trace of a memory or rate unlock",
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No trace of an unlock was found."),
        Code(
            id="traces",
            outcome=Outcome.WARN,
            text="Traces of an unlocked driver: {observed}. What it reports is not what a stock "
            "driver would.",
        ),
    ),
    check=_check_unlock,
    shows="The modules and the kernel log show none of the known projects.",
    limit="An unknown project, or a cleaned log, is not found.",
    near_miss="DKMS modules under updates/dkms.",
    references=(_UNLOCK,),
)


def _check_hooks(subject: Subject) -> Finding:
    """Judge code that Python runs before ours."""
    claim = subject.host.read("host.python_hooks")
    if claim.ok:
        return said(PYTHON_HOOKS, "none" if empty(claim) else "hooks", claim)
    return absent(PYTHON_HOOKS, claim)


PYTHON_HOOKS = environment_rule(
    rule_id="environment.python-hooks",
    title="No code runs in Python before this tool",
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No hook runs before this tool."),
        Code(
            id="hooks",
            outcome=Outcome.NOTE,
            caps=True,
            text="Hooks run in Python before this tool ({observed}). Use an environment of its "
            "own.",
        ),
    ),
    check=_check_hooks,
    shows="Nothing had the chance to replace functions of this tool.",
    limit="Whoever can write the tool's files needs no hook.",
    near_miss="Development tools install such hooks: held at unverified, never accused.",
    references=("https://docs.python.org/3/library/site.html",),
)


def _check_tracer(subject: Subject) -> Finding:
    """Judge whether another process traces us."""
    claim = subject.host.read("host.tracer_pid")
    if isinstance(claim.value, int):
        return said(TRACER, "traced" if claim.value else "none", claim)
    return absent(TRACER, claim)


TRACER = environment_rule(
    rule_id="environment.tracer",
    title="No process traces this tool",
    codes=(
        Code(id="none", outcome=Outcome.PASS, text="No process traces this tool."),
        Code(
            id="traced",
            outcome=Outcome.NOTE,
            caps=True,
            text="A process traces this tool ({observed}) and can change what it sees.",
        ),
    ),
    check=_check_tracer,
    shows="No debugger holds the process.",
    limit="A kernel can hide one.",
    near_miss="A developer's debugger: held at unverified, never accused.",
    references=("proc(5), TracerPid",),
)


def _check_binding(subject: Subject) -> Finding:
    """Judge which Python distribution provides the binding."""
    claim = subject.host.read("binding.shadowed")
    if claim.ok:
        return said(BINDING, "shadowed" if claim.value else "of-nvidia", claim)
    return absent(BINDING, claim)


BINDING = environment_rule(
    rule_id="environment.binding",
    title="The NVML binding is NVIDIA's",
    codes=(
        Code(
            id="of-nvidia",
            outcome=Outcome.PASS,
            text="The pynvml module is the one of nvidia-ml-py.",
        ),
        Code(
            id="shadowed",
            outcome=Outcome.NOTE,
            caps=True,
            text="Another distribution provides the pynvml module. Run: pip uninstall pynvml.",
        ),
    ),
    check=_check_binding,
    shows="NVML is asked through NVIDIA's own binding.",
    limit="Its file can be changed; its digest is in the evidence.",
    near_miss="Old projects install a distribution named pynvml.",
    references=("https://pypi.org/project/nvidia-ml-py/",),
)


RULES: tuple[Rule, ...] = (
    MODULE_SIGNATURE,
    TAINT,
    SECURE_BOOT,
    PRELOAD,
    FOREIGN_MOUNTS,
    UNLOCK_TRACES,
    PYTHON_HOOKS,
    TRACER,
    BINDING,
)
