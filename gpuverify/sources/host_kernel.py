"""The kernel and its NVIDIA module: release, taint, signature, Secure Boot, unlock modules."""

from __future__ import annotations

import errno
import re

from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.sources.commands import CommandRunner, find_program
from gpuverify.sources.host_claims import ClaimMaker, names_in, read_text, text_of
from gpuverify.sources.host_tree import HostTree

RELEASE = "/proc/sys/kernel/osrelease"
MODULE = "/sys/module/nvidia"
EFI = "/sys/firmware/efi"
SECURE_BOOT = f"{EFI}/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOCKDOWN = "/sys/kernel/security/lockdown"

_MAKE = ClaimMaker(Source.HOST)
_COMMAND_S = 3.0
_SAFE_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}")
_MODULE_FILES = tuple(f"nvidia.ko{end}" for end in ("", ".zst", ".xz", ".gz"))
# Where distributions, DKMS and NVIDIA's installer put the module below /lib/modules/<release>.
_MODULE_FOLDERS = (
    "updates/dkms",
    "updates",
    "extra",
    "extra/nvidia",
    "extra/drivers/video/nvidia",
    "kernel/drivers/video",
    "kernel/drivers/video/nvidia",
    "kernel/drivers/char/drm",
    "kernel/nvidia-*",
    "weak-updates/nvidia",
    "video",
    "misc",
)
# Folder that https://github.com/amoghmunikote/cmpunlocker installs its patched modules to.
_UNLOCK = re.compile(r"cmp[-_]?unlock", re.IGNORECASE)


def kernel_claims(tree: HostTree, commands: CommandRunner) -> list[Claim]:
    """Return what the kernel says of itself and of its NVIDIA module.

    Args:
        tree: Where the files are read.
        commands: Runs modinfo.
    """
    release = read_text(tree, RELEASE, 4096) or ""
    if not _SAFE_RELEASE.fullmatch(release):
        release = ""
    claims = [
        _MAKE.from_file(
            tree, "host.operating_system", "/proc/sys/kernel/ostype", lambda text: text.lower()
        ),
        _MAKE.from_file(tree, "host.kernel_release", RELEASE, lambda text: text or None),
        _MAKE.from_file(tree, "host.taint", "/proc/sys/kernel/tainted", int),
        _MAKE.from_file(tree, "driver.kernel_version", f"{MODULE}/version", _text),
        _MAKE.from_file(tree, "host.module_srcversion", f"{MODULE}/srcversion", _text),
        # An untainted module shows an empty line, which is a value.
        _MAKE.from_file(tree, "host.module_taint", f"{MODULE}/taint", lambda text: text),
        _secure_boot(tree),
        _lockdown(tree),
    ]
    path = _module_path(tree, release)
    claims.append(path)
    claims.append(_signer(tree, commands, path))
    claims.append(_unlock_module(tree, release))
    return claims


def _text(text: str) -> str | None:
    """Return a text, None if it is empty."""
    return text or None


def _secure_boot(tree: HostTree) -> Claim:
    """Return the firmware's SecureBoot variable: four bytes of attributes, then 0 or 1."""
    try:
        data = tree.read(SECURE_BOOT, 16)
    except OSError as error:
        if error.errno == errno.ENOENT and tree.kind(EFI) != "directory":
            reason = "not started by UEFI, or the firmware is hidden"
            return _MAKE.missing("host.secure_boot", ClaimStatus.NOT_SUPPORTED, EFI, reason)
        return _MAKE.refused("host.secure_boot", error, SECURE_BOOT)
    if len(data) != 5 or data[4] not in (0, 1):
        return _MAKE.missing("host.secure_boot", ClaimStatus.MALFORMED, SECURE_BOOT, data.hex())
    return _MAKE.ok("host.secure_boot", data[4] == 1, SECURE_BOOT)


def _lockdown(tree: HostTree) -> Claim:
    """Return the lockdown mode: the word in brackets."""

    def chosen(text: str) -> str | None:
        found = re.search(r"\[([a-z]+)\]", text)
        return found[1] if found else None

    return _MAKE.from_file(tree, "host.lockdown", LOCKDOWN, chosen)


def _module_path(tree: HostTree, release: str) -> Claim:
    """Return the NVIDIA module's file for the running kernel."""
    base = f"/lib/modules/{release}"
    if not release:
        return _MAKE.missing("host.module_path", ClaimStatus.NOT_FOUND, base, "release unknown")
    for folder in _MODULE_FOLDERS:
        stem = folder.removesuffix("*")
        if stem == folder:
            folders = [f"{base}/{folder}"]
        else:
            above, _, prefix = stem.rpartition("/")
            names = names_in(tree, f"{base}/{above}")
            folders = [f"{base}/{above}/{name}" for name in names if name.startswith(prefix)]
        for at in folders:
            for name in _MODULE_FILES:
                if tree.kind(f"{at}/{name}") == "file":
                    return _MAKE.ok("host.module_path", f"{at}/{name}", base)
    return _MAKE.missing("host.module_path", ClaimStatus.NOT_FOUND, base, "no nvidia.ko there")


def _signer(tree: HostTree, commands: CommandRunner, path: Claim) -> Claim:
    """Return the signer that modinfo names; DKMS signs locally, so it is text and no verdict."""
    program = find_program(tree, "modinfo")
    if program is None:
        return _MAKE.missing("host.module_signer", ClaimStatus.NOT_FOUND, "modinfo", "no modinfo")
    wanted = path.value if isinstance(path.value, str) else "nvidia"
    argv = (program, "-F", "signer", wanted)
    call = " ".join(argv)
    output = commands.run(argv, _COMMAND_S, 1 << 14)
    if output.exit_code != 0:
        return _MAKE.from_command("host.module_signer", output, call)
    # modinfo prints nothing at all for a module that bears no signature.
    return _MAKE.ok("host.module_signer", text_of(output.stdout) or "none", call)


def _unlock_module(tree: HostTree, release: str) -> Claim:
    """Return whether modules of a known memory-unlock project are installed or loaded."""
    loaded = read_text(tree, "/proc/modules")
    if loaded is not None and _UNLOCK.search(loaded):
        return _MAKE.ok("host.unlock_module", True, "/proc/modules")
    base = f"/lib/modules/{release}"
    try:
        tops = tree.names(base) if release else ()
    except OSError as error:
        return _MAKE.refused("host.unlock_module", error, base)
    if not release:
        return _MAKE.missing("host.unlock_module", ClaimStatus.NOT_FOUND, base, "release unknown")
    for folder in ("", "/updates", "/updates/dkms", "/extra"):
        names = tops if not folder else names_in(tree, base + folder)
        for name in names:
            if _UNLOCK.search(name):
                return _MAKE.ok("host.unlock_module", True, f"{base}{folder}/{name}")
    return _MAKE.ok("host.unlock_module", False, base)
