"""The libraries that answer for the driver: which file, its digest, its package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.commands import CommandRunner
from gpuverify.sources.host_claims import ClaimMaker
from gpuverify.sources.host_maps import MAPS, mapped_files, read_maps
from gpuverify.sources.host_packages import match_claim, owner_claim
from gpuverify.sources.host_tree import HostTree, MachineTree

_MAKE = ClaimMaker(Source.HOST)
_NVML = "libnvidia-ml.so"
_MAX_LINKS = 8
_MAX_MAPPED = 1000
# Where the loader's cache has the library on the distributions that NVIDIA packages for.
_PLACES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/wsl/lib",
    "/usr/lib",
)


def library_claims(tree: HostTree, commands: CommandRunner) -> list[Claim]:
    """Return which NVML library is in use, and what vouches for it.

    Args:
        tree: Where the files are read.
        commands: Runs the package manager.
    """
    path_claim = _library_path(tree)
    claims = [path_claim]
    path = path_claim.value
    ids = ("library.sha256", "library.package", "library.package_match")
    if not isinstance(path, str):
        claims += [
            _MAKE.missing(claim_id, path_claim.status, path_claim.call, "no library is known")
            for claim_id in ids
        ]
        return claims
    if path.endswith(" (deleted)"):
        reason = "the file was replaced after it was mapped"
        claims += [_MAKE.missing(claim_id, ClaimStatus.NOT_FOUND, path, reason) for claim_id in ids]
        return claims
    try:
        claims.append(_MAKE.ok(ids[0], tree.sha256(path), path))
    except OSError as error:
        claims.append(_MAKE.refused(ids[0], error, path))
    package, owner = owner_claim(tree, commands, ids[1], path)
    claims += [package, match_claim(tree, commands, ids[2], owner)]
    return claims


def _library_path(tree: HostTree) -> Claim:
    """Return the mapped NVML library, or the file that the loader would find."""
    for path in mapped_files(tree):
        if path.rsplit("/", 1)[-1].startswith(_NVML):
            return _MAKE.ok("library.path", path, MAPS)
    for folder in _PLACES:
        path = f"{folder}/{_NVML}.1"
        if tree.kind(path) == "file":
            call = "not mapped; where the loader would find it"
            return _MAKE.ok("library.path", resolved(tree, path), call)
    return _MAKE.missing(
        "library.path", ClaimStatus.NOT_FOUND, MAPS, f"no {_NVML} is mapped or installed"
    )


def resolved(tree: HostTree, path: str) -> str:
    """Follow the links of a file's last part.

    Args:
        tree: Where the links are read.
        path: Absolute path.

    Returns:
        The path that is no link any more (or the last one before a loop was assumed).
    """
    for _ in range(_MAX_LINKS):
        try:
            target = tree.link(path)
        except OSError:
            return path
        if target.startswith("/"):
            path = target
            continue
        parts = path.rsplit("/", 1)[0].split("/")
        for part in target.split("/"):
            if part == "..":
                parts = parts[:-1] or [""]
            elif part not in ("", "."):
                parts.append(part)
        path = "/".join(parts)
    return path


def mapped_digest_claim(tree: HostTree) -> Claim:
    """Return one digest over path and digest of every file that is mapped executable.

    Args:
        tree: Where the files are read.
    """
    claim_id = "library.mapped_sha256"
    try:
        paths = read_maps(tree)
    except OSError as error:
        return _MAKE.refused(claim_id, error, MAPS)
    total = hashlib.sha256()
    unread = 0
    for path in sorted(paths)[:_MAX_MAPPED]:
        try:
            digest = tree.sha256(path)
        except OSError as error:
            unread += 1
            digest = f"errno {error.errno}"
        total.update(f"{path}\0{digest}\n".encode("utf-8", "surrogateescape"))
    note = f"{len(paths)} files" + (f", {unread} of them not readable" if unread else "")
    return _MAKE.ok(claim_id, total.hexdigest(), MAPS, note)


def tool_claim(tree: HostTree) -> Claim:
    """Return one digest over gpuverify's own files.

    They are this process's files wherever the evidence comes from: under a root that is not the
    machine's own they say nothing about it, and are not asked.

    Args:
        tree: The tree of the run.
    """
    claim_id = "tool.sha256"
    if not tree.is_machine:
        return _MAKE.missing(claim_id, ClaimStatus.NOT_ASKED, "", "not this machine's root")
    folder = Path(__file__).resolve().parent.parent
    own = MachineTree()
    total = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".py", ".toml", ".json") or not path.is_file():
                continue
            name = path.relative_to(folder).as_posix()
            total.update(f"{name}\0{own.sha256(str(path))}\n".encode())
    except OSError as error:
        return _MAKE.refused(claim_id, error, str(folder))
    return _MAKE.ok(claim_id, total.hexdigest(), str(folder))
