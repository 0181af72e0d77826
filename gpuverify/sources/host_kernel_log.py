"""The kernel log: Xid errors, and the marker that a debug unlock leaves."""

from __future__ import annotations

import re
from collections import Counter

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.commands import CommandRunner, find_program
from gpuverify.sources.host_claims import ClaimMaker
from gpuverify.sources.host_tree import HostTree

KMSG = "/dev/kmsg"

_MAKE = ClaimMaker(Source.HOST)
_LIMIT = 8 << 20
_COMMAND_S = 2.0
# "NVRM: Xid (PCI:0000:3b:00): 63, pid=…": https://docs.nvidia.com/deploy/xid-errors/
_XID = re.compile(rb"NVRM: Xid \([0-9A-Za-z:. -]{1,40}\): (\d{1,4})\b")
# Printed by the patched modules of https://github.com/amoghmunikote/cmpunlocker.
_UNLOCK = b"SEC2_DEBUG"
_PROGRAMS = (
    ("dmesg", ()),
    ("journalctl", ("--dmesg", "--boot", "--no-pager", "--quiet", "--output=cat")),
)


def kernel_log_claims(tree: HostTree, commands: CommandRunner) -> list[Claim]:
    """Return what the kernel log says of the cards since the machine was started.

    Args:
        tree: Where /dev/kmsg is read.
        commands: Runs dmesg or journalctl where it cannot be.
    """
    log, call, refusals = _read(tree, commands)
    if log is None:
        claims = [_MAKE.ok("host.kernel_log_readable", False, call, "; ".join(refusals))]
        status = ClaimStatus.NO_PERMISSION if refusals else ClaimStatus.NOT_FOUND
        reason = "the kernel log could not be read"
        return claims + [
            _MAKE.missing(claim_id, status, call, reason)
            for claim_id in ("host.kernel_log_unlock", "host.kernel_log_xids")
        ]
    counts = Counter(int(match[1]) for match in _XID.finditer(log))
    shown = ",".join(f"{number}:{counts[number]}" for number in sorted(counts))
    return [
        _MAKE.ok("host.kernel_log_readable", True, call),
        _MAKE.ok("host.kernel_log_unlock", _UNLOCK in log, call),
        _MAKE.ok("host.kernel_log_xids", shown, call),
    ]


def _read(tree: HostTree, commands: CommandRunner) -> tuple[bytes | None, str, list[str]]:
    """Return the log, where it came from, and who refused."""
    refusals: list[str] = []
    try:
        log = tree.read(KMSG, _LIMIT)
    except OSError as error:
        refusals.append(f"{KMSG}: {error.strerror}")
    else:
        if log:
            return log, KMSG, refusals
    for name, arguments in _PROGRAMS:
        program = find_program(tree, name)
        if program is None:
            continue
        argv = (program, *arguments)
        output = commands.run(argv, _COMMAND_S, _LIMIT)
        # Without permission journalctl ends with 0 and an empty log.
        if output.exit_code == 0 and output.stdout.strip():
            return output.stdout, " ".join(argv), refusals
        refusals.append(f"{name}: {'timed out' if output.timed_out else output.exit_code}")
    return None, KMSG, refusals
