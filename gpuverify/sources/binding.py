"""Which distribution provides the `pynvml` module, by the files beside it.

The name `pynvml` is shared: nvidia-ml-py installs a module `pynvml.py`; old distributions named
pynvml (up to 11) install a package `pynvml/`, which Python prefers to the module and which lacks a
third of the functions. `pip check` says nothing about it. importlib.metadata would answer the same
questions at several times the cost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value

_INFO = re.compile(
    r"(?P<name>nvidia[-_.]ml[-_.]py3?|pynvml)-(?P<version>[^-]+)"
    r"(?:-py\d[\d.]*)?\.(?:dist|egg)-info",
    re.IGNORECASE,
)
_RECORD_LIMIT = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where the module comes from.

    Attributes:
        path: File of the module, "" if there is none.
        distribution: "nvidia-ml-py", "pynvml" or another; "" if no metadata claims the file.
        version: Its version, "" if not known.
        shadowed: Whether a distribution named pynvml stands in front of nvidia-ml-py's module.
    """

    path: str
    distribution: str
    version: str
    shadowed: bool


def find_binding(origin: str | None) -> Binding:
    """Find out who installed a module file.

    Args:
        origin: The module's `__file__`; None if there is no module.
    """
    if not origin:
        return Binding(path="", distribution="", version="", shadowed=False)
    file = Path(origin)
    is_package = file.name.startswith("__init__.")
    folder = file.parent.parent if is_package else file.parent
    inside = "pynvml/__init__.py" if is_package else "pynvml.py"
    installed: dict[str, tuple[str, Path]] = {}
    for entry in _entries(folder):
        match = _INFO.fullmatch(entry.name)
        if match:
            name = re.sub(r"[-_.]+", "-", match["name"].lower())
            installed[name] = (match["version"], entry)
    owners = [name for name, (_, entry) in installed.items() if _records(entry, inside)]
    if not owners and is_package and "pynvml" in installed:
        owners = ["pynvml"]
    if not owners and not is_package and "nvidia-ml-py" in installed:
        owners = ["nvidia-ml-py"]
    owner = owners[0] if owners else ""
    return Binding(
        path=str(file),
        distribution=owner,
        version=installed[owner][0] if owner else "",
        shadowed=is_package and ((folder / "pynvml.py").is_file() or owner == "pynvml"),
    )


def _entries(folder: Path) -> list[Path]:
    """List a folder in a fixed order; none where it cannot be read (a zip file)."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _records(info: Path, inside: str) -> bool:
    """Say whether a distribution's metadata lists a file.

    Args:
        info: Its dist-info or egg-info folder.
        inside: The file's path below site-packages.
    """
    for name in ("RECORD", "SOURCES.txt"):
        try:
            with (info / name).open("rb") as file:
                lines = file.read(_RECORD_LIMIT).decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        if any(line.split(",")[0].strip('"') == inside for line in lines):
            return True
    return False


def binding_claims(binding: Binding, time_ms: int) -> list[Claim]:
    """Write what is known about the binding as host claims.

    Args:
        binding: What `find_binding` found.
        time_ms: Time that the claims carry.
    """
    if not binding.path:
        return [
            _claim(f"binding.{part}", None, "no module named pynvml", time_ms)
            for part in ("distribution", "version", "shadowed", "sha256")
        ]
    unknown = "no distribution beside the module lists it"
    return [
        _claim("binding.distribution", binding.distribution or None, unknown, time_ms),
        _claim("binding.version", binding.version or None, unknown, time_ms),
        _claim("binding.shadowed", binding.shadowed, "", time_ms),
        _claim("binding.sha256", _sha256(binding.path), "the module has no readable file", time_ms),
    ]


def _claim(claim_id: str, value: Value | None, reason: str, time_ms: int) -> Claim:
    """Build one claim, with a reason where there is no value.

    Args:
        claim_id: Id from the vocabulary.
        value: The value or None.
        reason: Why there is none.
        time_ms: Time that the claim carries.
    """
    found = value is not None
    return Claim(
        id=claim_id,
        status=ClaimStatus.OK if found else ClaimStatus.NOT_FOUND,
        value=value,
        source=Source.HOST,
        call="pynvml.__file__",
        raw_text=None if found else reason,
        time_ms=time_ms,
    )


def _sha256(path: str) -> str | None:
    """Return the SHA-256 of a file in hex, None where it cannot be read."""
    import hashlib

    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
