"""The host that answers: whether what it says about its cards can be believed."""

from __future__ import annotations

import sys

from gpuverify.model.claims import Source
from gpuverify.sources.commands import CommandRunner
from gpuverify.sources.host_claims import ClaimMaker
from gpuverify.sources.host_environment import environment_claims
from gpuverify.sources.host_kernel import kernel_claims
from gpuverify.sources.host_kernel_log import kernel_log_claims
from gpuverify.sources.host_libraries import library_claims, mapped_digest_claim, tool_claim
from gpuverify.sources.host_mounts import mount_claims, node_claims
from gpuverify.sources.host_process import process_claims
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.reading import SourceReading

_MAKE = ClaimMaker(Source.HOST)


def read_host(
    tree: HostTree, commands: CommandRunner, reading: SourceReading | None = None
) -> SourceReading:
    """Read the state of the host. Run it after NVML was opened: its library is mapped then.

    Args:
        tree: Where files are read.
        commands: Runs the few programs that know more than files do.
        reading: Filled as claims come, so that a caller who gives up waiting has the first of
            them; a new one where it is not given.

    Returns:
        `reading`.
    """
    reading = SourceReading() if reading is None else reading
    host = reading.host
    environment = environment_claims(tree)
    host += environment
    host += process_claims(tree, tuple(sys.path) if tree.is_machine else ())
    mounted, mounts = mount_claims(tree)
    host.append(mounted)
    in_container = any(
        claim.id == "host.container" and claim.value not in (None, "none") for claim in environment
    )
    for bus_id, claim in node_claims(tree, mounts, in_container=in_container).items():
        reading.add(bus_id, claim)
    # What starts programs or reads whole libraries comes last: it may hang or take its time.
    host += kernel_claims(tree, commands)
    host.append(mapped_digest_claim(tree))
    host.append(tool_claim(tree))
    host += library_claims(tree, commands)
    host += kernel_log_claims(tree, commands)
    host.append(_MAKE.ended("host"))
    return reading
