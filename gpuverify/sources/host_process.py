"""What was slipped into our own process: preloads, audit libraries, Python hooks, a tracer."""

from __future__ import annotations

import re
import sys

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.host_claims import (
    ClaimMaker,
    joined,
    names_in,
    read_text,
    text_of,
)
from gpuverify.sources.host_elf import intercepts_files, provides_driver_api
from gpuverify.sources.host_maps import mapped_files
from gpuverify.sources.host_tree import HostTree

ENVIRON = "/proc/self/environ"
STATUS = "/proc/self/status"
PRELOAD_FILE = "/etc/ld.so.preload"

_MAKE = ClaimMaker(Source.HOST)
_MAX_OBJECT_BYTES = 32 << 20
_MAX_PRELOADS = 16
_MAX_HOOK_FILES = 200
_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT")
_SEARCHED = ("/lib64", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
             "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib",
             "/usr/local/lib")  # fmt: skip


def process_claims(tree: HostTree, python_path: tuple[str, ...]) -> list[Claim]:
    """Return what could bend the answers inside our own process.

    Args:
        tree: Where the files are read.
        python_path: Folders that Python imports from; none for a machine that is not ours.
    """
    variables, refusal = _variables(tree)
    claims: list[Claim] = []
    for claim_id, name in (("host.audit", "LD_AUDIT"), ("host.library_path", "LD_LIBRARY_PATH")):
        if refusal is None:
            claims.append(_MAKE.ok(claim_id, variables.get(name, ""), ENVIRON))
        else:
            claims.append(_MAKE.refused(claim_id, refusal, ENVIRON))
    claims += _preload_claims(tree, variables, refusal)
    claims.append(_hooks_claim(tree, variables, refusal, python_path))
    claims.append(_MAKE.from_file(tree, "host.tracer_pid", STATUS, _tracer))
    return claims


def _variables(tree: HostTree) -> tuple[dict[str, str], OSError | None]:
    """Return our environment as it was when the process started, or why it is not known."""
    try:
        data = tree.read(ENVIRON)
    except OSError as error:
        return {}, error
    variables: dict[str, str] = {}
    for part in data.split(b"\0"):
        name, equals, value = part.decode("utf-8", "replace").partition("=")
        # The loader takes the first of two variables with one name.
        if equals:
            variables.setdefault(name, value)
    return variables, None


def _tracer(text: str) -> int | None:
    """Return the tracer's process id from a status file."""
    found = re.search(r"^TracerPid:\s*(\d{1,10})$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _preload_claims(
    tree: HostTree, variables: dict[str, str], refusal: OSError | None
) -> list[Claim]:
    """Return what is preloaded, and whether such an object offers the driver's functions."""
    entries = re.split(r"[ :]+", variables.get("LD_PRELOAD", ""))
    call = f"{ENVIRON}, {PRELOAD_FILE}"
    unknown: OSError | None = refusal
    try:
        entries += re.split(r"[\s:]+", text_of(tree.read(PRELOAD_FILE, 1 << 16)))
    except FileNotFoundError:
        pass
    except OSError as error:
        unknown = unknown or error
    entries = [entry for entry in entries if entry]
    offers = {
        "host.preload_provides_driver_api": provides_driver_api,
        "host.preload_intercepts_files": intercepts_files,
    }
    if not entries and unknown is not None:
        return [_MAKE.refused(which, unknown, call) for which in ("host.preload", *offers)]
    claims = [_MAKE.ok("host.preload", joined(entries), call)]
    found = [_preloaded(tree, entry) for entry in entries[:_MAX_PRELOADS]]
    for which, offer in offers.items():
        answers = [data if data is None else offer(data) for data in found]
        if True in answers:
            claims.append(_MAKE.ok(which, True, entries[answers.index(True)]))
        elif None in answers or len(entries) > _MAX_PRELOADS:
            reason = "a preloaded object could not be read"
            claims.append(_MAKE.missing(which, ClaimStatus.FAILED, call, reason))
        else:
            claims.append(_MAKE.ok(which, False, call))
    return claims


def _preloaded(tree: HostTree, entry: str) -> bytes | None:
    """Return a preloaded object, empty where the loader passes it over; None if unreadable."""
    if "/" in entry:
        places = [entry]
    else:
        ours = [path for path in mapped_files(tree) if path.rsplit("/", 1)[-1] == entry]
        places = ours or [f"{folder}/{entry}" for folder in _SEARCHED]
    found = [path for path in places if path.startswith("/") and tree.kind(path) == "file"]
    if not found:
        # An object can be removed once it is mapped: it runs all the same.
        tail = f"/{entry.rsplit('/', 1)[-1]} (deleted)"
        if any(path.endswith(tail) for path in mapped_files(tree)):
            return None
        # The loader ignores an entry that does not exist; a relative one depends on a folder
        # that nobody knows any more.
        return None if not entry.startswith("/") and "/" in entry else b""
    try:
        return tree.read(found[0], _MAX_OBJECT_BYTES)
    except OSError:
        return None


def _hooks_claim(
    tree: HostTree,
    variables: dict[str, str],
    refusal: OSError | None,
    python_path: tuple[str, ...],
) -> Claim:
    """Return what Python runs or imports before us: listed, for most of it is ordinary."""
    hooks: list[str] = []
    # -I and -E make Python deaf to its variables.
    deaf = bool(python_path) and bool(sys.flags.ignore_environment)
    if not deaf:
        hooks += [f"{name}={variables[name]}" for name in _PYTHON_VARIABLES if variables.get(name)]
    for folder in dict.fromkeys(python_path):
        names = names_in(tree, folder)
        hooks += [
            f"{folder}/{module}"
            for module in ("sitecustomize", "usercustomize")
            if f"{module}.py" in names or module in names
        ]
        if folder.endswith(("site-packages", "dist-packages")):
            files = [name for name in names if name.endswith(".pth")][:_MAX_HOOK_FILES]
            for name in files:
                text = read_text(tree, f"{folder}/{name}", 1 << 16) or ""
                if re.search(r"^import[ \t]", text, re.MULTILINE):
                    hooks.append(f"{folder}/{name}")
    if refusal is not None and not hooks:
        return _MAKE.refused("host.python_hooks", refusal, ENVIRON)
    return _MAKE.ok("host.python_hooks", joined(hooks), f"{ENVIRON}, Python's folders")
