"""Which package owns a file, and whether the file still is what the package brought."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.commands import CommandOutput, CommandRunner, find_program
from gpuverify.sources.host_claims import ClaimMaker, text_of
from gpuverify.sources.host_tree import HostTree

DPKG_INFO = "/var/lib/dpkg/info"

_MAKE = ClaimMaker(Source.HOST)
_ASK_S = 2.0
_VERIFY_S = 5.0
_LIMIT = 1 << 20
_MAX_RECORD_BYTES = 16 << 20
_DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*(?::[a-z0-9-]+)?")
_RPM_NAME = re.compile(r"[A-Za-z0-9][\w.+~^-]*")
# dpkg and rpm print one character a test, "5" in the third place for a digest that differs.
_VERIFY_LINE = re.compile(r"(missing|\S{8,9})\s+(?:[a-z]\s+)?(/.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The package that owns a file.

    Attributes:
        manager: "dpkg" or "rpm".
        package: Its name as the manager prints it.
        path: The file by the name under which the manager knows it.
    """

    manager: str
    package: str
    path: str


def owner_claim(
    tree: HostTree, commands: CommandRunner, claim_id: str, path: str
) -> tuple[Claim, Owner | None]:
    """Return the owner of a file as a claim, and for further questions.

    Args:
        tree: Where to look for the package managers.
        commands: Runs them.
        claim_id: Id of the claim.
        path: Absolute path of the file, links resolved.
    """
    claim = _MAKE.missing(
        claim_id, ClaimStatus.NOT_FOUND, path, "no package manager that we know is here"
    )
    for manager, program_name in (("dpkg", "dpkg-query"), ("rpm", "rpm")):
        program = find_program(tree, program_name)
        if program is None:
            continue
        for name in _names_of(path):
            output = commands.run(_ask(manager, program, name), _ASK_S, _LIMIT)
            package = _package(manager, output)
            if package is not None:
                call = f"{program} {name}"
                owner = Owner(manager=manager, package=package, path=name)
                return _MAKE.ok(claim_id, package, call), owner
            if output.exit_code is None:
                claim = _MAKE.from_command(claim_id, output, program)
                break
            claim = _MAKE.missing(
                claim_id, ClaimStatus.NOT_FOUND, program, "no package owns it", output.exit_code
            )
    return claim, None


def _names_of(path: str) -> tuple[str, ...]:
    """Return the names that one file has where /lib is a link to /usr/lib."""
    if path.startswith("/usr/"):
        return path, path.removeprefix("/usr")
    return path, f"/usr{path}"


def _ask(manager: str, program: str, path: str) -> tuple[str, ...]:
    """Return the command that names a file's owner."""
    if manager == "dpkg":
        return program, "--search", path
    return program, "-qf", "--queryformat", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n", path


def _package(manager: str, output: CommandOutput) -> str | None:
    """Return the package that a manager's answer names."""
    if output.exit_code != 0:
        return None
    for line in text_of(output.stdout).splitlines():
        if manager == "rpm":
            return line if _RPM_NAME.fullmatch(line) else None
        # "libnvidia-compute-550:amd64: /usr/…"; a diversion is told in a sentence before it.
        name = line.split(": ", 1)[0].split(",")[0].strip()
        if ": /" in line and _DEBIAN_NAME.fullmatch(name):
            return name
    return None


def match_claim(
    tree: HostTree, commands: CommandRunner, claim_id: str, owner: Owner | None
) -> Claim:
    """Return whether a file fits the digest that its package recorded.

    Args:
        tree: Where the package manager's records are read.
        commands: Runs the package manager.
        claim_id: Id of the claim.
        owner: The owner that `owner_claim` found.
    """
    if owner is None:
        return _MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, "", "no package owns the file")
    program = find_program(tree, owner.manager)
    if program is None:
        return _MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, owner.manager, "not installed")
    if owner.manager == "dpkg":
        # A file without a recorded digest would verify in silence.
        refusal = _no_record(tree, claim_id, owner)
        if refusal is not None:
            return refusal
        argv: tuple[str, ...] = (program, "--verify", owner.package)
    else:
        argv = (program, "-V", "--nodeps", "--noscripts", owner.package)
    call = " ".join(argv)
    output = commands.run(argv, _VERIFY_S, _LIMIT)
    if output.exit_code is None or output.exit_code not in (0, 1):
        return _MAKE.from_command(claim_id, output, call)
    complaints = 0
    for line in text_of(output.stdout).splitlines():
        match = _VERIFY_LINE.fullmatch(line.strip())
        complaints += 1 if match else 0
        if match and match[2] == owner.path and (match[1] == "missing" or match[1][2] == "5"):
            return _MAKE.ok(claim_id, False, call, line)
    if output.exit_code != 0 and not complaints:
        # It failed for a reason of its own (no such package, a locked database).
        return _MAKE.from_command(claim_id, output, call)
    return _MAKE.ok(claim_id, True, call)


def _no_record(tree: HostTree, claim_id: str, owner: Owner) -> Claim | None:
    """Return a claim that says why dpkg has no digest of the file; None if it has one."""
    wanted = owner.path.lstrip("/").encode()
    refusal: OSError | None = None
    path = ""
    for name in (owner.package, owner.package.split(":")[0]):
        path = f"{DPKG_INFO}/{name}.md5sums"
        try:
            data = tree.read(path, _MAX_RECORD_BYTES)
        except OSError as error:
            refusal = refusal or error
            continue
        if any(line.partition(b"  ")[2] == wanted for line in data.splitlines()):
            return None
        reason = "the package records no digest of this file"
        return _MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, path, reason)
    return _MAKE.refused(claim_id, refusal or FileNotFoundError(), path)
