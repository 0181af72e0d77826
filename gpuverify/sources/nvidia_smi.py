"""The machine's own nvidia-smi: the GPU part number has no public NVML call.

It is started by its absolute path and only if it is an ELF file, so that a script of that name
somewhere in the user's path is never asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gpuverify.errors import FormatError
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import Evidence
from gpuverify.sources.commands import CommandOutput, CommandRunner, find_program
from gpuverify.sources.host_claims import ClaimMaker, text_of
from gpuverify.sources.host_libraries import resolved
from gpuverify.sources.host_packages import match_claim, owner_claim
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.reading import SourceReading

_HOST = ClaimMaker(Source.HOST)
_SMI = ClaimMaker(Source.NVIDIA_SMI)
_ELF = b"\x7fELF"
_WSL_FOLDER = "/usr/lib/wsl/lib"
_MAX_BYTES = 32 << 20
_TABLE_LEAST_S = 5.0
_TABLE_BYTES = 1 << 20


def run_nvidia_smi(
    tree: HostTree,
    commands: CommandRunner,
    timeout_s: float = 30.0,
    progress: Callable[[str], None] | None = None,
) -> SourceReading:
    """Ask nvidia-smi for its document and, if time is left, for its plain table.

    Args:
        tree: Where the program is looked for.
        commands: Runs it.
        timeout_s: Time for both runs together.
        progress: Called with one line before the wait.

    Returns:
        Claims a GPU by bus id, and about the program.
    """
    reading = SourceReading()
    path = find_program(tree, "nvidia-smi", _WSL_FOLDER)
    if path is None:
        reason = "no nvidia-smi in the system's folders"
        claim_id = "source.nvidia-smi"
        reading.host += [
            _SMI.missing(claim_id, ClaimStatus.NOT_FOUND, "nvidia-smi", reason),
            _HOST.missing("nvidia_smi.path", ClaimStatus.NOT_FOUND, "nvidia-smi", reason),
        ]
        return reading
    deadline = time.monotonic() + timeout_s
    reading.host += _program_claims(tree, commands, path)
    if any(claim.id == "nvidia_smi.is_elf" and claim.value is not True for claim in reading.host):
        reason = "it is not an ELF file and was not run"
        reading.host.append(_SMI.missing("source.nvidia-smi", ClaimStatus.FAILED, path, reason))
        return reading
    if progress is not None:
        progress(f"asking nvidia-smi; up to {timeout_s:.0f} s without persistence mode")
    argv = (path, "-q", "-x")
    output = commands.run(argv, max(0.1, deadline - time.monotonic()), _MAX_BYTES)
    reading.host += _document(reading, output, " ".join(argv))
    left = deadline - time.monotonic()
    # A hanging driver would only hang once more, and without a document there is no table.
    if reading.devices and left >= _TABLE_LEAST_S:
        reading.host += _table(commands, path, left)
    return reading


def _program_claims(tree: HostTree, commands: CommandRunner, path: str) -> list[Claim]:
    """Return which program it is and who brought it."""
    real = resolved(tree, path)
    claims = [_HOST.ok("nvidia_smi.path", path, path, real if real != path else None)]
    try:
        claims.append(_HOST.ok("nvidia_smi.is_elf", tree.read(path, 4) == _ELF, path))
    except OSError as error:
        claims.append(_HOST.refused("nvidia_smi.is_elf", error, path))
    try:
        claims.append(_HOST.ok("nvidia_smi.sha256", tree.sha256(path), path))
    except OSError as error:
        claims.append(_HOST.refused("nvidia_smi.sha256", error, path))
    package, owner = owner_claim(tree, commands, "nvidia_smi.package", real)
    claims += [package, match_claim(tree, commands, "nvidia_smi.package_match", owner)]
    return claims


def _document(reading: SourceReading, output: CommandOutput, call: str) -> list[Claim]:
    """Take the document apart into `reading` and return the claims about the run."""
    claim_id = "source.nvidia-smi"
    if output.exit_code is None:
        return [_SMI.from_command(claim_id, output, call)]
    claims = [_HOST.ok("nvidia_smi.exit_code", output.exit_code, call)]
    # It ends with 14 where an InfoROM is corrupted and prints its document all the same.
    if b"<nvidia_smi_log" not in output.stdout[:4096]:
        # "couldn't communicate with the NVIDIA driver" and its like go to standard output.
        reason = text_of(output.stdout or output.stderr).split("\n")[0] or "it printed nothing"
        claims.append(_SMI.missing(claim_id, ClaimStatus.FAILED, call, reason, output.exit_code))
        return claims
    from gpuverify.codec.nvidia_smi_xml import read_nvidia_smi_xml

    try:
        evidence = read_nvidia_smi_xml(output.stdout, "nvidia-smi")
    except FormatError as error:
        claims.append(_SMI.missing(claim_id, ClaimStatus.MALFORMED, call, str(error)))
        return claims
    _put_devices(reading, evidence)
    claims += [claim for claim in evidence.host if not claim.id.startswith("source.")]
    claims.append(_SMI.ended("nvidia-smi", call=call))
    return claims


def _put_devices(reading: SourceReading, evidence: Evidence) -> None:
    """Add the document's GPUs by bus id."""
    for device in evidence.devices:
        bus_id = device.claims.value("pci.bus_id", Source.NVIDIA_SMI)
        key = bus_id if isinstance(bus_id, str) else f"?nvidia-smi:{device.index}"
        if key in reading.devices:
            key = f"?nvidia-smi:{device.index}"
        reading.devices[key] = list(device.claims)


def _table(commands: CommandRunner, path: str, left_s: float) -> list[Claim]:
    """Return the InfoROM warnings, which only the plain table prints."""
    from gpuverify.codec.read import read_evidence

    output = commands.run((path,), left_s, _TABLE_BYTES)
    wanted = "host.inforom_warnings"
    if output.exit_code is None or not output.stdout:
        return [_SMI.from_command(wanted, output, path)]
    try:
        evidence = read_evidence(output.stdout, "nvidia-smi")
    except FormatError as error:
        return [_SMI.missing(wanted, ClaimStatus.MALFORMED, path, str(error))]
    return [claim for claim in evidence.host if claim.id == wanted]
