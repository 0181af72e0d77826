"""Reads that fill a structure, take several calls, or stand on a return code alone."""

from __future__ import annotations

from typing import Any

from gpuverify.model.claims import ClaimStatus
from gpuverify.sources import nvml_values as v
from gpuverify.sources.nvml_answers import CORRUPTED_INFOROM, Answer
from gpuverify.sources.nvml_claims import Collector, named

_MEMORY_V2 = 0x02000028
"""NVML's version word of nvmlMemory_v2_t: the version and the size of the structure."""


_UNREPAIRABLE_V1 = 0x1000008
"""The binding's version word of c_nvmlUnrepairableMemory_v1_t, for a binding without it."""


def read_memory(out: Collector) -> None:
    """Read total, reserved and used memory by the newer call, the older one's total beside it.

    From driver 510 on both give the nominal total; before, only the older one exists, and its
    total leaves the reserve out.
    """
    new = out.ask(
        "nvmlDeviceGetMemoryInfo", version=out.binding.constant("nvmlMemory_v2", _MEMORY_V2)
    )
    old = out.ask("nvmlDeviceGetMemoryInfo")
    if new.ok:
        call = Answer(call="nvmlDeviceGetMemoryInfo_v2", status=ClaimStatus.OK, code=0)
        out.put("memory.total_bytes", v.number(new.value.total), call)
        out.put("memory.reserved_bytes", v.number(new.value.reserved), call)
        out.put("memory.used_bytes", v.number(new.value.used), call)
    else:
        out.refuse("memory.reserved_bytes", new)
    if not old.ok:
        for claim in ("memory.total_bytes", "memory.used_bytes"):
            out.refuse(claim, new if not new.ok else old)
        out.refuse("memory.usable_bytes", old)
        return
    total = v.number(old.value.total)
    if out.value("memory.total_bytes") != total:
        out.put("memory.usable_bytes", total, old)
    out.put("memory.total_bytes", total, old)
    out.put("memory.used_bytes", v.number(old.value.used), old)


def read_pci(out: Collector) -> str | None:
    """Read the PCI identity and return the bus id in its one shape, None if it is not readable."""
    from gpuverify.model.bus_id import normal_bus_id

    ids = (
        "pci.vendor_id",
        "pci.device_id",
        "pci.subsystem_vendor_id",
        "pci.subsystem_device_id",
    )
    plain = out.note(
        out.binding.ask_first(
            ("nvmlDeviceGetPciInfo", "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2"),
            out.handle,
        )
    )
    extended = out.note(
        out.binding.fill("nvmlDeviceGetPciInfoExt", ("nvmlPciInfoExt_v1_t",), out.handle)
    )
    bus_id: str | None = None
    for answer in (plain, extended):
        if not answer.ok:
            for claim in ("pci.bus_id", *ids):
                out.refuse(claim, answer)
            continue
        for claim, item in zip(ids, v.pci_ids(answer.value), strict=True):
            out.put(claim, item, answer)
        shown = _bus_text(answer.value)
        normal = normal_bus_id(shown)
        out.put("pci.bus_id", normal if normal else v.malformed(shown), answer)
        bus_id = bus_id or normal
    if extended.ok:
        base, sub = int(extended.value.baseClass), int(extended.value.subClass)
        item = base << 16 | sub << 8 if max(base, sub) <= 0xFF else v.malformed(f"{base}:{sub}")
        out.put("pci.class_code", item, extended)
    else:
        out.refuse("pci.class_code", extended)
    return bus_id


def _bus_text(info: Any) -> str:
    """Take the bus id's text out of a PCI structure; a damaged one yields what can be shown."""
    from gpuverify.codec.text import printable

    try:
        return printable(str(info.busId))
    except UnicodeDecodeError as error:
        return printable(bytes(error.object).decode("latin-1"))


def read_inforom(out: Collector) -> None:
    """Ask NVML to verify the InfoROM's checksums; "corrupted" is an answer, not a failure."""
    answer = out.ask("nvmlDeviceValidateInforom")
    if answer.ok:
        out.put("inforom.valid", True, answer)
    elif answer.code == CORRUPTED_INFOROM:
        out.override("inforom.valid", False, answer)
    else:
        out.refuse("inforom.valid", answer)


_SRAM_FIELDS = (
    ("ecc.aggregate.sram_uncorrectable_parity", "aggregateUncParity"),
    ("ecc.aggregate.sram_uncorrectable_secded", "aggregateUncSecDed"),
    ("ecc.aggregate.sram_correctable", "aggregateCor"),
    ("ecc.volatile.sram_uncorrectable_parity", "volatileUncParity"),
    ("ecc.volatile.sram_uncorrectable_secded", "volatileUncSecDed"),
    ("ecc.volatile.sram_correctable", "volatileCor"),
)


def read_sram(out: Collector) -> None:
    """Read the SRAM error detail and NVIDIA's own threshold flag (Ampere and newer)."""
    answer = out.note(
        out.binding.fill(
            "nvmlDeviceGetSramEccErrorStatus", ("c_nvmlEccSramErrorStatus_v1_t",), out.handle
        )
    )
    if not answer.ok:
        for claim, _ in _SRAM_FIELDS:
            out.refuse(claim, answer)
        out.refuse("ecc.sram_threshold_exceeded", answer)
        return
    for claim, field in _SRAM_FIELDS:
        out.put(claim, v.number(getattr(answer.value, field)), answer)
    out.put("ecc.sram_threshold_exceeded", v.flag(answer.value.bThresholdExceeded), answer)


def read_unrepairable(out: Collector) -> None:
    """Read the unrepairable-memory flag from both words of its structure.

    The binding's structure is a version and a flag (8 bytes), NVIDIA's nvml.h (CUDA 13.5) has the
    flag alone (4 bytes). A library that follows the header writes the flag where the binding's
    version stands, and the binding's own wrapper then returns 0: a false "no".
    """
    import ctypes

    structure = out.binding.structure("c_nvmlUnrepairableMemory_v1_t")
    if structure is None:
        structure = (ctypes.c_uint * 2)(_UNREPAIRABLE_V1, 0)
    size = ctypes.sizeof(structure)
    before = int.from_bytes(bytes(structure)[:4], "little") if size >= 8 else 0
    answer = out.note(
        out.binding.raw(
            "nvmlDeviceGetUnrepairableMemoryFlag_v1", out.handle, ctypes.byref(structure)
        )
    )
    if not answer.ok:
        out.refuse("repair.unrepairable_memory", answer)
        return
    data = bytes(structure)
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, size, 4)]
    shown = " ".join(f"0x{word:x}" for word in words)
    known = words[0] in (0, 1, before) and all(word in (0, 1) for word in words[1:])
    raised = words[0] == 1 or 1 in words[1:]
    out.put("repair.unrepairable_memory", raised if known else v.malformed(shown), answer, shown)


def read_platform(out: Collector) -> None:
    """Read rack position and fabric GUID by bytes (Blackwell and newer).

    The binding types 16-byte GUIDs and single numbers as characters, so that reading its fields
    decodes them or stops at a zero byte.
    """
    claims = ("chassis_serial", "slot_number", "tray_index", "host_id", "peer_type")
    answer = out.note(
        out.binding.fill(
            "nvmlDeviceGetPlatformInfo",
            ("c_nvmlPlatformInfo_v2_t", "c_nvmlPlatformInfo_v1_t"),
            out.handle,
        )
    )
    if not answer.ok:
        for claim in (*claims, "gpu_fabric_guid"):
            out.refuse(f"platform.{claim}", answer)
        return
    data = bytes(answer.value)
    guid, chassis, numbers = data[4:20], data[20:36], data[36:41]
    out.put("platform.gpu_fabric_guid", _guid(guid), answer)
    if data[3] == 1:  # the version's own byte: version 1 has the rack's GUID in this place
        rack = v.Odd(status=ClaimStatus.NOT_SUPPORTED, text="structure version 1")
        out.put("platform.chassis_serial", rack, answer)
    else:
        out.put("platform.chassis_serial", _padded_text(chassis), answer)
    for claim, value in zip(claims[1:4], numbers, strict=False):
        out.put(f"platform.{claim}", v.byte(value), answer)
    # The header gives no names to these numbers.
    peer = v.byte(numbers[3])
    out.put("platform.peer_type", peer if isinstance(peer, v.Odd) else str(peer), answer)
    out.put("gpu.module_id", v.byte(numbers[4]), answer)


def _guid(data: bytes) -> v.Item:
    """Write a GUID of 8 (Blackwell, the rest zero) or 16 bytes in hex; all zero identifies none."""
    if not any(data) or set(data) == {0xFF}:
        return v.Odd(status=ClaimStatus.SENTINEL, text=f"0x{data.hex()}")
    return "0x" + (data if any(data[8:]) else data[:8]).hex()


def _padded_text(data: bytes) -> v.Item:
    """Decode text that fills its field without a terminating zero."""
    from gpuverify.sources.nvml_answers import escaped_bytes

    plain = data.rstrip(b"\0")
    try:
        return v.text(plain.decode("utf-8"))
    except UnicodeDecodeError:
        return v.malformed(escaped_bytes(plain))


_FABRIC_STATES = {1: "Not Started", 2: "In Progress", 3: "Completed"}


def read_fabric(out: Collector) -> None:
    """Read the registration with the NVLink fabric manager (Hopper and newer)."""
    claims = ("fabric.state", "fabric.status", "fabric.cluster_uuid")
    answer = out.note(
        out.binding.fill(
            "nvmlDeviceGetGpuFabricInfoV",
            (
                "c_nvmlGpuFabricInfo_v3_t",
                "c_nvmlGpuFabricInfo_v2_t",
                "c_nvmlGpuFabricInfoV_t",  # version 2 in the bindings of drivers 550 to 570
            ),
            out.handle,
        )
    )
    if answer.missing:
        older = out.binding.fill(
            "nvmlDeviceGetGpuFabricInfo", ("c_nvmlGpuFabricInfo_t",), out.handle
        )
        answer = out.note(older) if not older.missing else answer
    if not answer.ok:
        for claim in claims:
            out.refuse(claim, answer)
        return
    info = answer.value
    if int(info.state) == 0:
        reason = v.Odd(status=ClaimStatus.NOT_SUPPORTED, text="fabric state 0: not supported")
        for claim in claims:
            out.put(claim, reason, answer)
        return
    out.put("fabric.state", v.choice(_FABRIC_STATES)(info.state), answer)
    out.put("fabric.status", named(int(info.status)), answer)
    # By bytes: some bindings type the UUID as characters, and reading it would decode it.
    at = type(info).clusterUuid.offset
    digits = bytes(info)[at : at + 16].hex()
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    zero = not digits.strip("0")
    out.put(
        "fabric.cluster_uuid",
        v.Odd(status=ClaimStatus.SENTINEL, text=uuid) if zero else uuid,
        answer,
    )


def read_retired(out: Collector) -> None:
    """Count retired pages by cause, with the earliest and latest time (up to Turing)."""
    times: list[int] = []
    answers: list[Answer] = []
    for claim, cause in (("retired.single_bit_count", 0), ("retired.double_bit_count", 1)):
        answer = out.note(
            out.binding.ask_first(
                ("nvmlDeviceGetRetiredPages_v2", "nvmlDeviceGetRetiredPages"), out.handle, cause
            )
        )
        answers.append(answer)
        if not answer.ok:
            out.refuse(claim, answer)
            continue
        out.put(claim, len(answer.value), answer)
        stamps = [int(page["timestamp"]) for page in answer.value if isinstance(page, dict)]
        times += [v.unix_seconds(stamp) for stamp in stamps if 0 < stamp <= v.MAX_INTEGER]
    good = [answer for answer in answers if answer.ok]
    for claim, pick in (("retired.first_time_s", min), ("retired.last_time_s", max)):
        if times:
            out.put(claim, pick(times), good[0])
        elif good:
            out.put(claim, v.Odd(status=ClaimStatus.NOT_FOUND, text="no dated page"), good[0])
        else:
            out.refuse(claim, answers[0])


def read_bank_remap(out: Collector) -> None:
    """Read the bank remapper's pending flag (Rubin and newer)."""
    answer = out.note(
        out.binding.fill(
            "nvmlDeviceGetBankRemapperStatus_v1",
            ("c_nvmlEccBankRemapperStatus_v1_t",),
            out.handle,
        )
    )
    if answer.ok:
        out.put("repair.bank_remap_pending", v.flag(answer.value.bPending), answer)
    else:
        out.refuse("repair.bank_remap_pending", answer)
