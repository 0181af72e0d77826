"""The driver's own files: the library in use, its version, and nvidia-smi as the second reader."""

from __future__ import annotations

import functools

from gpuverify.model.claims import Claim
from gpuverify.model.evidence import NVML_FIRST, ClaimSet
from gpuverify.model.finding import Code, Finding, Outcome
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import MIB, absent, finding
from gpuverify.rules.constants import FROM_NVIDIA_SMI, FROM_NVML, NOT_ASKED
from gpuverify.rules.environment import environment_rule, said
from gpuverify.rules.kept import citations


def library_on_file(subject: Subject) -> bool:
    """Whether the NVML library in use is on file for the driver's version."""
    digest, version = subject.host.read("library.sha256"), subject.host.read("driver.version")
    listed = subject.reference.library_version(str(digest.value)) if digest.ok else None
    return listed is not None and listed == version.value


def _check_library(subject: Subject) -> Finding:
    """Judge whether the reference list or the package manager vouches for the NVML library."""
    rule = LIBRARY
    digest, match = subject.host.read("library.sha256"), subject.host.read("library.package_match")
    version = subject.host.read("driver.version")
    listed = subject.reference.library_version(str(digest.value)) if digest.ok else None
    if listed is not None and version.ok:
        return said(
            rule, "on-file" if listed == version.value else "other-version", digest, version
        )
    if match.value is True:
        return said(rule, "vouched", match)
    if match.value is False:
        path = subject.host.read("library.path")
        return said(rule, "altered", match, *([path] if path.ok else []))
    return absent(rule, match, code_id="unknown")


LIBRARY = environment_rule(
    rule_id="environment.library",
    title="The NVML library is one that NVIDIA shipped or its package installed",
    codes=(
        Code(
            id="on-file",
            outcome=Outcome.PASS,
            text="The NVML library in use is on file for this driver version.",
        ),
        Code(
            id="other-version",
            outcome=Outcome.NOTE,
            caps=True,
            text="The NVML library in use is on file for another driver version ({observed}).",
        ),
        Code(
            id="vouched",
            outcome=Outcome.PASS,
            text="The package manager's digest fits the NVML library in use.",
        ),
        Code(
            id="altered",
            outcome=Outcome.NOTE,
            caps=True,
            text="The NVML library in use is not the file that its package installed ({observed}).",
        ),
        Code(
            id="unknown",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Nothing vouches for the NVML library in use. {observed}.",
        ),
    ),
    check=_check_library,
    shows="The library was not replaced after it was installed.",
    limit=(
        "The package manager's records are on the same host, and a patched kernel module lies to"
        " an unaltered library."
    ),
    near_miss=(
        "A driver that NVIDIA's own installer put there, without a package: its digest is on file"
        " for many versions."
    ),
    references=(
        "dpkg-query(1), rpm(8) verify",
        "Datura-ai/lium-io, neurons/validators/src/services/const.py, digests by driver version",
    ),
)


def _check_skew(subject: Subject) -> Finding:
    """Compare the versions that library, nvidia-smi and kernel module give."""
    rule = VERSION_SKEW
    names = ("driver.version", "driver.kernel_version")
    firsts = [subject.host.read(name) for name in names]
    if missing := [claim for claim in firsts if claim.value is None]:
        return absent(rule, *missing)
    version = firsts[0].value
    for name in names:
        for claim in subject.host.all(name):
            if claim.value not in (None, version) and claim.source in NVML_FIRST:
                return said(rule, "apart", *_versions(subject.host, names))
    return said(rule, "same", *firsts)


def _versions(host: ClaimSet, names: tuple[str, ...]) -> list[Claim]:
    """Return every version that was told, in the order in which sources are preferred."""
    told = [host.get(name, source) for name in names for source in NVML_FIRST]
    return [claim for claim in told if claim.ok]


VERSION_SKEW = environment_rule(
    rule_id="environment.version-skew",
    title="Library and kernel module are of one version",
    codes=(
        Code(id="same", outcome=Outcome.PASS, text="Library and kernel module: {observed}."),
        Code(
            id="apart",
            outcome=Outcome.NOTE,
            caps=True,
            text="Library and kernel module are apart: {observed}. Reload the driver.",
        ),
    ),
    check=_check_skew,
    shows="Library and kernel module belong together.",
    limit="A version is a string.",
    near_miss="A driver update without a restart.",
    references=("NVML error NVML_ERROR_LIB_RM_VERSION_MISMATCH",),
)


def _check_program(subject: Subject) -> Finding:
    """Judge whether nvidia-smi is a program, and the one that the driver's packages brought."""
    rule, claim = SMI_PROGRAM, subject.host.read("nvidia_smi.is_elf")
    match = subject.host.read("nvidia_smi.package_match")
    if not claim.ok:
        return absent(rule, claim)
    if not claim.value:
        return said(rule, "script", claim)
    if match.value is False:
        return said(rule, "altered", match)
    if match.value is True:
        package = subject.host.read("nvidia_smi.package")
        return said(rule, "program", package, match) if package.ok else said(rule, "program", match)
    if library_on_file(subject):
        # NVIDIA's own installer leaves no package; the library beside it is vouched for otherwise.
        return said(rule, "unpackaged", claim)
    return absent(rule, match, code_id="unknown")


SMI_PROGRAM = environment_rule(
    rule_id="environment.nvidia-smi-program",
    title="nvidia-smi is a program of the driver's packages",
    codes=(
        Code(
            id="program",
            outcome=Outcome.PASS,
            text="nvidia-smi is the program that its package installed ({observed}).",
        ),
        Code(
            id="unpackaged",
            outcome=Outcome.NOTE,
            text="nvidia-smi is an ELF program without a package; the NVML library in use is on "
            "file for this driver version.",
        ),
        Code(
            id="altered",
            outcome=Outcome.NOTE,
            caps=True,
            text="nvidia-smi is not the file that its package installed ({observed}).",
        ),
        Code(
            id="unknown",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Nothing vouches for nvidia-smi. {observed}.",
        ),
        Code(
            id="script",
            outcome=Outcome.NOTE,
            caps=True,
            text="nvidia-smi is no ELF program, and was not relied on.",
        ),
    ),
    check=_check_program,
    shows="The second reader is a program, not a script that prints a story.",
    limit="The package manager's records are on the same host.",
    near_miss="Wrappers that some systems put in its place, and containers: held at unverified, "
    "never accused.",
    references=("elf(5)", "dpkg(1) and rpm(8), verify"),
)

_IMMUTABLE = ("gpu.uuid", "gpu.serial", "gpu.pdi", "gpu.name", "gpu.vbios_version",
              "gpu.board_part_number", "inforom.image_version", "pci.device_id",
              "pci.subsystem_vendor_id", "pci.subsystem_device_id", "memory.total_bytes",
              "clock.memory_max_khz")  # fmt: skip
# Every version prints these, if only as N/A; old ones print neither board part number nor PDI.
_ALWAYS_PRINTED = tuple(
    name for name in _IMMUTABLE if name not in ("gpu.board_part_number", "gpu.pdi")
)


def _same(left: Claim, right: Claim) -> bool:
    """Whether two claims say the same: letter case, prefixes and rounding to MiB aside."""
    if left.id.endswith("_bytes") and isinstance(left.value, int) and isinstance(right.value, int):
        return abs(left.value - right.value) <= MIB
    if isinstance(left.value, int) or isinstance(right.value, int):
        return left.value == right.value
    one, other = (str(claim.value).strip().removeprefix("NVIDIA ") for claim in (left, right))
    return one.upper().removeprefix("0X") == other.upper().removeprefix("0X")


def _both(claims: ClaimSet, name: str) -> tuple[Claim, Claim] | None:
    """Return NVML's claim and nvidia-smi's, None where one of them holds no value."""
    spoken = claims.all(name)
    if len(spoken) < 2:
        return None
    left = right = None
    for claim in spoken:
        if claim.source is FROM_NVML:
            left = claim
        elif claim.source is FROM_NVIDIA_SMI:
            right = claim
    if left is None or right is None or left.value is None or right.value is None:
        return None
    return left, right


def _unasked(claims: ClaimSet, compared: list[str]) -> list[Claim]:
    """Return what every version prints and one of the two was not even asked."""
    return [
        claim
        for name in _ALWAYS_PRINTED
        if name not in compared
        for claim in (claims.get(name, FROM_NVML), claims.get(name, FROM_NVIDIA_SMI))
        if claim.status is NOT_ASKED
    ]


@functools.lru_cache(maxsize=256)
def _agreed(names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return what both readers agree on, for people and as citations."""
    spoken = [(source, name) for name in names for source in (FROM_NVML, FROM_NVIDIA_SMI)]
    return ", ".join(names), citations(spoken)


def _check_readers(subject: Subject) -> Finding:
    """Compare NVML and nvidia-smi in what cannot change between two reads."""
    rule, claims = NVIDIA_SMI, subject.device.claims
    names: list[str] = []
    differing: list[Claim] = []
    for name in _IMMUTABLE:
        pair = _both(claims, name)
        if pair is None:
            continue
        names.append(name)
        left, right = pair
        if left.value != right.value and not _same(left, right):
            differing += pair
    if differing:
        return said(rule, "differ", *differing)
    if not names:
        return absent(rule, claims.get("gpu.uuid", FROM_NVIDIA_SMI))
    if len(names) < len(_IMMUTABLE) and (unasked := _unasked(claims, names)):
        return absent(rule, *unasked)
    observed, cited = _agreed(tuple(names))
    return finding(rule, "agree", observed=observed, claims=cited)


NVIDIA_SMI = environment_rule(
    rule_id="environment.nvidia-smi",
    title="NVML and nvidia-smi tell one story",
    codes=(
        Code(id="agree", outcome=Outcome.PASS, text="NVML and nvidia-smi agree on {observed}."),
        Code(
            id="differ",
            outcome=Outcome.WARN,
            text="NVML and nvidia-smi differ in what cannot change: {observed}.",
        ),
    ),
    check=_check_readers,
    shows="Two programs over the driver's library say the same.",
    limit="One forged library deceives both.",
    near_miss="Clocks, temperatures and counters change between two reads and are not compared.",
    references=("nvidia-smi manual page",),
)

RULES = (LIBRARY, VERSION_SKEW, SMI_PROGRAM, NVIDIA_SMI)
