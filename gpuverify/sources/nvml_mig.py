"""MIG: the profiles that the card offers, and the MIG devices that exist."""

from __future__ import annotations

from typing import Any

from gpuverify.model.claims import ClaimStatus
from gpuverify.sources import nvml_values as v
from gpuverify.sources.nvml_answers import INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, Answer
from gpuverify.sources.nvml_claims import Collector

_MAX_PROFILES = 32
"""Profile numbers tried; the newest binding seen names 18, the first invalid one ends the loop."""

_MAX_DEVICES = 64
"""MIG devices looked for, whatever the driver says is possible (7 or 8 on every card so far)."""


def _profile_name(info: Any, total_bytes: int) -> str:
    """Return a profile's name as NVIDIA writes it, `1g.5gb`.

    NVML names profiles from driver 510 on; before, the name follows from slices and memory the
    way NVIDIA's go-nvlib forms it (memory in eighths of the card's, times its size in whole GB).

    Args:
        info: Profile structure.
        total_bytes: Memory of the whole card, 0 if not known.
    """
    name = str(getattr(info, "name", "")).strip()
    if name:
        return name.removeprefix("MIG ")
    size = int(info.memorySizeMB)
    whole_gb = -(-total_bytes >> 30)
    if total_bytes:
        eighths = ((size << 20) * 16 // total_bytes + 1) // 2
        size_gb = eighths * whole_gb // 8
    else:
        size_gb = -(-size >> 10)
    return f"{int(info.sliceCount)}g.{size_gb}gb"


def read_mig_profiles(out: Collector) -> None:
    """List the GPU instance profiles; they follow from what the chip's fuses left."""
    total = out.value("memory.total_bytes")
    name = "nvmlDeviceGetGpuInstanceProfileInfo"
    version = 2
    shown: list[str] = []
    refusal: Answer | None = None
    for profile in range(_MAX_PROFILES):
        answer = out.ask(name, profile, version=version)
        if version == 2 and answer.missing and not shown:
            version = 1
            answer = out.ask(name, profile, version=version)
        if answer.ok:
            item = _shown(answer.value, total if isinstance(total, int) else 0)
            if isinstance(item, v.Odd):
                out.put("mig.profiles", item, answer)
                return
            shown.append(item)
            continue
        if answer.code == INVALID_ARGUMENT:
            break
        refusal = refusal or answer
        if answer.code != NOT_SUPPORTED:
            break
    if shown and (refusal is None or refusal.code == NOT_SUPPORTED):
        found = Answer(call=name, status=ClaimStatus.OK, code=0)
        out.put("mig.profiles", ",".join(shown), found)
    else:
        none = Answer(
            call=name,
            status=ClaimStatus.NOT_SUPPORTED,
            code=INVALID_ARGUMENT,
            text="profile 0 is no valid argument",
        )
        out.refuse("mig.profiles", refusal or none)


def _shown(info: Any, total_bytes: int) -> v.OneText:
    """Write one profile as name:MiB:SMs:instances.

    Args:
        info: Profile structure.
        total_bytes: Memory of the whole card, 0 if not known.
    """
    from gpuverify.sources.nvml_answers import escaped_bytes

    try:
        item = v.text(_profile_name(info, total_bytes))
    except UnicodeDecodeError as error:
        return v.malformed(escaped_bytes(bytes(error.object)))
    if isinstance(item, v.Odd):
        return item
    if ":" in str(item) or "," in str(item):
        return v.malformed(str(item))
    return (
        f"{item}:{int(info.memorySizeMB)}:{int(info.multiprocessorCount)}:{int(info.instanceCount)}"
    )


def read_mig_devices(out: Collector) -> None:
    """Count the MIG devices that exist, where MIG is on."""
    if out.value("mig.mode_current") is not True:
        return
    most = out.ask("nvmlDeviceGetMaxMigDeviceCount")
    if not most.ok:
        out.refuse("mig.device_count", most)
        return
    count = 0
    for index in range(min(int(most.value), _MAX_DEVICES)):
        answer = out.ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
        if answer.ok:
            count += 1
        elif answer.code not in (NOT_FOUND, INVALID_ARGUMENT):
            out.refuse("mig.device_count", answer)
            return
    out.put("mig.device_count", count, most)
