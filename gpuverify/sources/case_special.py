"""Claims whose edit is more than one value at one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gpuverify.model.claims import Value
from gpuverify.sources.case_draft import FIELD_VALUES, Draft, EditError
from gpuverify.sources.case_gpus import drop_part
from gpuverify.sources.recording import NvmlCall
from gpuverify.sources.recording_ctypes import Json, integer_of

Special = Callable[[Draft, int, Value], None]

_MAX_LINKS = 18
_MAX_PROFILES = 32
_CORRUPTED_INFOROM, _LOST = 14, 15
_VIRTUALIZATION = {
    "none": (0, "None"), "pass-through": (1, "Pass-Through"), "vgpu": (2, "VGPU"),
    "host-vgpu": (3, "Host VGPU"), "host-vsga": (4, "Host VSGA"),
}  # fmt: skip
_RECOVERY = ("None", "Reset", "Reboot", "Drain P2P", "Drain and Reset")
_RETIREMENT = ("multiple_single_bit_retirement", "double_bit_retirement")
_DATED_S = 1_700_000_000


def _whole(value: Value) -> int:
    """Return an integer, or complain."""
    if isinstance(value, str):
        raise EditError(f"{value!r} has to be an integer")
    return int(value)


def _pci(field: str, high: bool) -> Special:  # noqa: FBT001 - two halves of one word
    """Return the edit of one half of NVML's device or subsystem word."""

    def edit(draft: Draft, gpu: int, value: Value) -> None:
        wanted = _whole(value)
        shown = 0
        for index, call in enumerate(draft.calls):
            if call.arguments != (f"gpu[{gpu}]",) or "GetPciInfo" not in call.symbol:
                continue
            out = call.out[0] if call.out else None
            if not isinstance(out, dict):
                continue
            word = integer_of(out.get(field, 0))
            word = word & 0xFFFF | wanted << 16 if high else word & ~0xFFFF | wanted
            shown = word
            draft.calls[index] = replace(call, out=({**out, field: word},), raw=())
        leaf = "pci_device_id" if field == "pciDeviceId" else "pci_sub_system_id"
        draft.set_leaf(f"gpu[{gpu}]/pci/{leaf}", f"{shown:08X}")

    return edit


def _virtualization(draft: Draft, gpu: int, value: Value) -> None:
    """Set the virtualization mode."""
    if value not in _VIRTUALIZATION:
        raise EditError(f"{value!r} is no virtualization mode")
    code, text = _VIRTUALIZATION[str(value)]
    draft.set_value("nvmlDeviceGetVirtualizationMode", (f"gpu[{gpu}]",), "", code)
    draft.set_leaf(f"gpu[{gpu}]/gpu_virtualization_mode/virtualization_mode", text)


def _recovery(draft: Draft, gpu: int, value: Value) -> None:
    """Set the recovery action."""
    if value not in _RECOVERY:
        raise EditError(f"{value!r} is no recovery action; known are {', '.join(_RECOVERY)}")
    code = _RECOVERY.index(str(value))
    draft.set_value(FIELD_VALUES, (f"gpu[{gpu}]", 230, 0), "value", code)
    draft.set_leaf(f"gpu[{gpu}]/gpu_recovery_action", str(value))


def _inforom_valid(draft: Draft, gpu: int, value: Value) -> None:
    """Let the InfoROM verify, or not."""
    symbol, handle = "nvmlDeviceValidateInforom", (f"gpu[{gpu}]",)
    draft.fail_call(symbol, handle, 0 if value else _CORRUPTED_INFOROM)


def _responding(draft: Draft, gpu: int, value: Value) -> None:
    """Let the card be lost: every call about it says so but those for its place on the bus."""
    if value:
        raise EditError("gpu.responding can only be edited to false")
    kept = [call for call in draft.calls if "GetPciInfo" in call.symbol]
    draft.fail_symbol("*", gpu, _LOST)
    others = [call for call in draft.calls if "GetPciInfo" not in call.symbol]
    draft.calls = others + kept
    draft.drop_leaf(f"gpu[{gpu}]")


def _listed(draft: Draft, gpu: int, value: Value) -> None:
    """Let NVML not list the card."""
    if value:
        raise EditError("gpu.listed_by_nvml can only be edited to false")
    drop_part(draft, gpu, "nvml")


def _link_state(draft: Draft, gpu: int, link: int) -> NvmlCall | None:
    """Return the call for one link's state."""
    for call in draft.calls:
        if call.symbol == "nvmlDeviceGetNvLinkState" and call.arguments == (f"gpu[{gpu}]", link):
            return call
    return None


def _link_value(draft: Draft, gpu: int, field: int, default: int) -> int:
    """Return a link field's value on the first link that has one above 0."""
    for call in draft.calls:
        if call.symbol == FIELD_VALUES and call.arguments[:2] == (f"gpu[{gpu}]", field):
            out = call.out[0] if call.out else None
            found = integer_of(out.get("value", 0)) if isinstance(out, dict) else 0
            if found:
                return found
    return default


def _link_count(draft: Draft, gpu: int, value: Value) -> None:
    """Let so many links exist, all of them up."""
    _set_links(draft, gpu, _whole(value), _whole(value))


def _link_active(draft: Draft, gpu: int, value: Value) -> None:
    """Let so many of the links that exist be up."""
    exist = 0
    for link in range(_MAX_LINKS):
        state = _link_state(draft, gpu, link)
        exist += 1 if state is not None and state.returns == 0 else 0
    _set_links(draft, gpu, exist, _whole(value))


def _set_links(draft: Draft, gpu: int, exist: int, active: int) -> None:
    """Set which links exist and are up."""
    if not 0 <= active <= exist <= _MAX_LINKS:
        raise EditError(f"{active} of {exist} links; {_MAX_LINKS} is the most")
    handle = f"gpu[{gpu}]"
    speed = _link_value(draft, gpu, 164, 25000)
    for link in range(_MAX_LINKS):
        if link >= exist:
            draft.fail_call("nvmlDeviceGetNvLinkState", (handle, link), 3)
            draft.fail_call(FIELD_VALUES, (handle, 164, link), 3)
            continue
        up = link < active
        draft.set_value("nvmlDeviceGetNvLinkState", (handle, link), "", int(up))
        draft.set_value(FIELD_VALUES, (handle, 164, link), "value", speed if up else 0)
    draft.set_value(FIELD_VALUES, (handle, 91, 0), "value", exist)


def _link_speed(draft: Draft, gpu: int, value: Value) -> None:
    """Set the speed of every link that is up."""
    for link in range(_MAX_LINKS):
        state = _link_state(draft, gpu, link)
        if state is not None and state.returns == 0 and state.out[:1] == (1,):
            arguments = (f"gpu[{gpu}]", 164, link)
            draft.set_value(FIELD_VALUES, arguments, "value", _whole(value) // 1000)


def _link_version(draft: Draft, gpu: int, value: Value) -> None:
    """Set the version of every link."""
    for link in range(_MAX_LINKS):
        arguments = (f"gpu[{gpu}]", link)
        draft.set_value("nvmlDeviceGetNvLinkVersion", arguments, "", _whole(value))


def _mig_profiles(draft: Draft, gpu: int, value: Value) -> None:
    """Set the GPU instance profiles, written name:MiB:SMs:instances with commas between."""
    handle = f"gpu[{gpu}]"
    profiles = str(value).split(",") if value else []
    for symbol in ("nvmlDeviceGetGpuInstanceProfileInfoV", "nvmlDeviceGetGpuInstanceProfileInfo"):
        for index in range(_MAX_PROFILES):
            draft.calls = [
                call
                for call in draft.calls
                if call.symbol != symbol or call.arguments != (handle, index)
            ]
        for index, text in enumerate(profiles):
            parts = text.split(":")
            if len(parts) != 4 or not parts[0].partition("g.")[0].isdigit():
                raise EditError(f"{text!r} is no name:MiB:SMs:instances")
            fields: dict[str, Json] = {
                "id": index, "sliceCount": int(parts[0].partition("g.")[0]),
                "memorySizeMB": int(parts[1]), "multiprocessorCount": int(parts[2]),
                "instanceCount": int(parts[3]),
            }  # fmt: skip
            if symbol.endswith("V"):
                fields["name"] = f"MIG {parts[0]}"
            for name, number_ in fields.items():
                draft.set_value(symbol, (handle, index), name, number_)
        if not profiles:
            draft.fail_call(symbol, (handle, 0), 3)


def _retired(cause: int) -> Special:
    """Return the edit of the number of pages retired for a cause."""

    def edit(draft: Draft, gpu: int, value: Value) -> None:
        handle, count = f"gpu[{gpu}]", _whole(value)
        pages: list[Json] = [0x44E000 + 0x1000 * index for index in range(count)]
        times: list[Json] = [_DATED_S + 86400 * index for index in range(count)]
        draft.set_lists("nvmlDeviceGetRetiredPages", (handle, cause), (pages,))
        draft.set_lists("nvmlDeviceGetRetiredPages_v2", (handle, cause), (pages, times))
        draft.set_value(FIELD_VALUES, (handle, 29 + cause, 0), "value", count)
        draft.set_leaf(f"gpu[{gpu}]/retired_pages/{_RETIREMENT[cause]}/retired_count", str(count))

    return edit


SPECIAL: dict[str, Special] = {
    "gpu.virtualization_mode": _virtualization,
    "gpu.recovery_action": _recovery,
    "gpu.responding": _responding,
    "gpu.listed_by_nvml": _listed,
    "inforom.valid": _inforom_valid,
    "pci.device_id": _pci("pciDeviceId", high=True),
    "pci.vendor_id": _pci("pciDeviceId", high=False),
    "pci.subsystem_device_id": _pci("pciSubSystemId", high=True),
    "pci.subsystem_vendor_id": _pci("pciSubSystemId", high=False),
    "nvlink.link_count": _link_count,
    "nvlink.active_count": _link_active,
    "nvlink.link_speed_kb_s": _link_speed,
    "nvlink.version": _link_version,
    "mig.profiles": _mig_profiles,
    "retired.single_bit_count": _retired(0),
    "retired.double_bit_count": _retired(1),
}
