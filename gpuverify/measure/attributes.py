"""What CUDA says of a card, as claims of the source `cuda`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpuverify.measure.driver_api import DeviceAttribute, DriverError, OpenDevice
from gpuverify.measure.driver_status import DriverStatus
from gpuverify.measure.reference import Keys
from gpuverify.measure.results import claim, missing
from gpuverify.measure.worker import Talk
from gpuverify.model.bus_id import normal_bus_id
from gpuverify.model.claims import Claim, ClaimStatus, Source

_CLAIMS = {
    "gpu.sm_count": DeviceAttribute.MULTIPROCESSOR_COUNT,
    "l2.size_bytes": DeviceAttribute.L2_CACHE_BYTES,
    "memory.bus_width_bits": DeviceAttribute.MEMORY_BUS_WIDTH_BITS,
    "clock.sm_max_khz": DeviceAttribute.CLOCK_RATE_KHZ,
    "clock.memory_max_khz": DeviceAttribute.MEMORY_CLOCK_RATE_KHZ,
}

_STATUS = {
    DriverStatus.SYMBOL_MISSING: ClaimStatus.NOT_SUPPORTED,
    DriverStatus.NOT_SUPPORTED: ClaimStatus.NOT_SUPPORTED,
    DriverStatus.BAD_CALL: ClaimStatus.NOT_SUPPORTED,
    DriverStatus.NO_PERMISSION: ClaimStatus.NO_PERMISSION,
    DriverStatus.NO_LIBRARY: ClaimStatus.NOT_FOUND,
    DriverStatus.NO_DEVICE: ClaimStatus.NOT_FOUND,
    DriverStatus.CONTEXT_LOST: ClaimStatus.DEVICE_LOST,
    DriverStatus.DEVICE_FAULT: ClaimStatus.DEVICE_LOST,
}


def claim_status(status: DriverStatus) -> ClaimStatus:
    """Return how a claim says a driver's status.

    Args:
        status: The driver's.
    """
    return _STATUS.get(status, ClaimStatus.FAILED)


def attribute_claims(device: OpenDevice) -> list[Claim]:
    """Return what CUDA says of an open device.

    Args:
        device: The device.
    """
    ask = "cuDeviceGetAttribute"
    found = [
        _said("cuda.status", "ok", "cuInit"),
        _said("gpu.name", device.name, "cuDeviceGetName"),
        _said("gpu.uuid", device.uuid, "cuDeviceGetUuid"),
        _said("memory.total_bytes", device.total_bytes, "cuDeviceTotalMem"),
    ]
    bus_id = normal_bus_id(device.pci_bus_id)
    if bus_id is not None:
        found.append(_said("pci.bus_id", bus_id, "cuDeviceGetPCIBusId"))
    try:
        found.append(
            _said("cuda.driver_version", device.driver.driver_get_version(), "cuDriverGetVersion")
        )
    except DriverError as error:
        found.append(refusal("cuda.driver_version", error))
    for claim_id, attribute in _CLAIMS.items():
        value = device.attributes.get(attribute)
        if value is not None:
            found.append(_said(claim_id, value, f"{ask}({int(attribute)})"))
        else:
            status = device.refusals.get(attribute, DriverStatus.UNKNOWN)
            found.append(missing(claim_id, claim_status(status), status.value, ask, Source.CUDA))
    major = device.attributes.get(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR)
    minor = device.attributes.get(DeviceAttribute.COMPUTE_CAPABILITY_MINOR)
    if major is not None and minor is not None:
        found.append(_said("gpu.compute_capability", f"{major}.{minor}", f"{ask}(75, 76)"))
    return found


def _said(claim_id: str, value: int | str, call: str) -> Claim:
    """Return a claim of CUDA."""
    return claim(claim_id, value, call, source=Source.CUDA)


def refusal(claim_id: str, error: DriverError) -> Claim:
    """Return the claim for a value that the driver refused.

    Args:
        claim_id: Which.
        error: How.
    """
    return missing(
        claim_id, claim_status(error.status), str(error), error.call, Source.CUDA, error.code
    )


def run(device: OpenDevice, keys: Keys, plan: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
    """Read the attributes as a task of the worker.

    Args:
        device: The device.
        keys: Not used.
        plan: Not used.
        talk: Not used.
    """
    del keys, plan, talk
    return {
        "claims": [_row(found) for found in attribute_claims(device)],
        "emulated": device.driver.emulated,
    }


def _row(found: Claim) -> list[Any]:
    """Return a claim of CUDA for a line of JSON."""
    status = found.status.value
    return [found.id, status, found.value, found.call, found.raw_code, found.raw_text]


def read_claim(row: Sequence[Any]) -> Claim:
    """Build a claim of CUDA from its line.

    Args:
        row: What the task wrote.
    """
    claim_id, status, value, call, raw_code, raw_text = row
    return Claim(
        id=claim_id,
        status=ClaimStatus(status),
        value=value,
        source=Source.CUDA,
        call=call,
        raw_code=raw_code,
        raw_text=raw_text,
    )
