"""Joining what the sources say about one card, by its PCI bus id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuverify.errors import UsageError
from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet, DeviceEvidence
from gpuverify.sources.host_tree import HostTree
from gpuverify.sources.procfs import device_node_claim
from gpuverify.sources.reading import SourceReading

ORDER = ("nvml", "nvidia-smi", "procfs", "pci-config", "host", "cuda", "measured")
"""Sources in the order in which their claims stand."""

_NVML_CALL = "nvmlDeviceGetHandleByIndex"
# What a source that ended well would have said about a card it knows.
_EXPECTED = {
    "pci-config": (("pci.device_id", Source.PCI_CONFIG, "/sys/bus/pci/devices"),),
    "procfs": (("gpu.uuid", Source.PROCFS, "/proc/driver/nvidia/gpus"),),
}


def join_devices(
    readings: Mapping[str, SourceReading], ended: Mapping[str, bool], tree: HostTree
) -> tuple[DeviceEvidence, ...]:
    """Join the device claims of all sources.

    Args:
        readings: What each source gave.
        ended: Whether each source ended well; one that did not says nothing by its silence.
        tree: Where a device node is looked for that only NVML names.

    Returns:
        One entry a card or NVIDIA PCI function, in bus order; those without a readable bus id
        come last.
    """
    keys = _keys(readings)
    devices: list[DeviceEvidence] = []
    for key in sorted({place for places in keys.values() for place in places.values()}, key=_rank):
        claims: list[Claim] = []
        speakers: set[str] = set()
        for name in ORDER:
            for own, place in keys.get(name, {}).items():
                if place == key:
                    claims += readings[name].devices[own]
                    speakers.add(name)
        claims += _listed(claims, speakers, ended)
        claims += _silences(key, claims, speakers, ended, tree)
        devices.append(DeviceEvidence(index=len(devices), claims=ClaimSet(tuple(claims))))
    return tuple(devices)


def _rank(key: str) -> tuple[bool, str]:
    """Sort cards without a bus id behind the others."""
    return key.startswith("?"), key


def _keys(readings: Mapping[str, SourceReading]) -> dict[str, dict[str, str]]:
    """Map each source's key of a card to the key under which the card is joined.

    A card without a readable bus id joins the one with the same UUID, if exactly one other entry
    has it and its source does not already speak about that card.
    """
    by_uuid: dict[str, set[str]] = {}
    for reading in readings.values():
        for key, claims in reading.devices.items():
            uuid = _uuid(claims)
            if uuid is not None and not key.startswith("?"):
                by_uuid.setdefault(uuid, set()).add(key)
    keys: dict[str, dict[str, str]] = {}
    for name, reading in readings.items():
        places = keys.setdefault(name, {})
        for key, claims in reading.devices.items():
            places[key] = key
            found = by_uuid.get(_uuid(claims) or "", set())
            if key.startswith("?"):
                # Two sources number their nameless cards on their own: keep them apart.
                places[key] = f"?{name}:{key[1:]}"
                if len(found) == 1 and not found & {*reading.devices, *places.values()}:
                    (places[key],) = found
    return keys


def _uuid(claims: Sequence[Claim]) -> str | None:
    """Return the UUID among a card's claims."""
    for claim in claims:
        if claim.id == "gpu.uuid" and isinstance(claim.value, str):
            return claim.value
    return None


def _listed(claims: list[Claim], speakers: set[str], ended: Mapping[str, bool]) -> list[Claim]:
    """Return whether NVML lists the card, unless NVML's source has said it itself."""
    claim_id = "gpu.listed_by_nvml"
    if any(claim.id == claim_id for claim in claims):
        return []
    if not ended.get("nvml", False):
        return [
            Claim(
                id=claim_id,
                status=ClaimStatus.NOT_ASKED,
                source=Source.NVML,
                call=_NVML_CALL,
                raw_text="NVML could not be asked",
            )
        ]
    return [
        Claim(
            id=claim_id,
            status=ClaimStatus.OK,
            value="nvml" in speakers,
            source=Source.NVML,
            call=_NVML_CALL,
        )
    ]


def _silences(
    key: str,
    claims: list[Claim],
    speakers: set[str],
    ended: Mapping[str, bool],
    tree: HostTree,
) -> list[Claim]:
    """Return claims for what stands behind a card according to no kernel interface.

    NVML can be forged by one file; that nothing stands behind it must be a claim of its own,
    because the mere absence of a claim proves nothing.
    """
    found: list[Claim] = []
    if key.startswith("?"):
        return found
    for name, expected in _EXPECTED.items():
        if name in speakers or not ended.get(name, False):
            continue
        found += [
            Claim(
                id=claim_id,
                status=ClaimStatus.NOT_FOUND,
                source=source,
                call=call,
                raw_text="nothing there at this bus id",
            )
            for claim_id, source, call in expected
        ]
    if not any(claim.id == "device_node.present" for claim in claims):
        for claim in claims:
            if claim.id == "gpu.minor_number" and isinstance(claim.value, int):
                found.append(device_node_claim(tree, claim.value))
                break
    return found


def select_devices(
    devices: Sequence[DeviceEvidence], gpus: Sequence[str], origin: str = "this machine"
) -> tuple[int, ...]:
    """Return the indices of the cards that a user named.

    Args:
        devices: All cards; those not named belong to the batch all the same.
        gpus: Each an index, a UUID or a PCI bus id, as any of the sources prints it.
        origin: Where the cards are, for people.

    Returns:
        Indices in ascending order; none where no card is named.

    Raises:
        UsageError: A name fits no card, or more than one.
    """
    from gpuverify.codec.text import printable

    chosen: set[int] = set()
    for name in gpus:
        wanted = name.strip()
        bus_id = normal_bus_id(wanted)
        fitting = [
            device.index
            for device in devices
            if (wanted.isascii() and wanted.isdigit() and int(wanted[:9]) == device.index)
            or (bus_id is not None and bus_id in _values(device, "pci.bus_id"))
            or wanted.lower() in {value.lower() for value in _values(device, "gpu.uuid")}
        ]
        if len(fitting) != 1:
            there = ", ".join(str(device.index) for device in devices[:16]) or "none"
            what = "several GPUs have" if fitting else "no GPU has"
            raise UsageError(
                f"--gpu {printable(name, 60)}: {what} this index, UUID or bus id in"
                f" {printable(origin, 80)}; indexes there: {there} (counted from 0 in the order of"
                " bus ids)"
            )
        chosen.update(fitting)
    return tuple(sorted(chosen))


def _values(device: DeviceEvidence, claim_id: str) -> set[str]:
    """Return all texts that a card's claims give under one id."""
    return {claim.value for claim in device.claims.all(claim_id) if isinstance(claim.value, str)}
