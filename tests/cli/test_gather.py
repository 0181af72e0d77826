"""No device: one line that says why and what to do; --gpu finds devices by three names."""

from __future__ import annotations

import pytest

from gpuverify.cli.gather import require_devices
from gpuverify.collect.join import select_devices
from gpuverify.errors import PermissionRefusedError, SourceError, UsageError
from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass


def claim(claim_id: str, value: Value | None = None, status: ClaimStatus = ClaimStatus.OK) -> Claim:
    return Claim(id=claim_id, value=value, status=status, source=Source.NVML)


def evidence(*host: Claim, devices: tuple[DeviceEvidence, ...] = ()) -> Evidence:
    return Evidence(
        evidence_class=EvidenceClass.LIVE,
        origin="this machine",
        tool="gpuverify",
        devices=devices,
        host=ClaimSet(host),
    )


CARDS = tuple(
    DeviceEvidence(
        index=index,
        claims=ClaimSet(
            (
                claim("gpu.uuid", f"GPU-0000000{index}-aaaa-bbbb-cccc-00000000000{index}"),
                claim("pci.bus_id", f"00000000:0{index + 1}:00.0"),
            )
        ),
    )
    for index in range(3)
)


def test_a_machine_without_a_card_is_69() -> None:
    with pytest.raises(SourceError) as caught:
        require_devices(
            evidence(
                claim("nvml.session", status=ClaimStatus.NOT_FOUND),
                claim("source.nvml", "not-found"),
                claim("source.pci-config", "ok"),
            )
        )
    message = str(caught.value)
    assert "nvml: not-found" in message
    assert "pci-config" not in message
    assert "--replay" in message
    assert "\n" not in message


def test_silence_is_69_too() -> None:
    with pytest.raises(SourceError, match="every source answered with nothing"):
        require_devices(evidence())


def test_a_refusal_is_77() -> None:
    for refused in (
        claim("nvml.session", status=ClaimStatus.NO_PERMISSION),
        claim("source.nvml", "no-permission"),
    ):
        with pytest.raises(PermissionRefusedError, match="root"):
            require_devices(evidence(refused))


def test_with_a_device_there_is_nothing_to_say() -> None:
    require_devices(evidence(devices=CARDS))


def test_gpus_by_index_uuid_and_bus_id() -> None:
    read = evidence(devices=CARDS)
    assert select_devices(read.devices, ()) == ()
    assert select_devices(read.devices, ("2", "0", "2")) == (0, 2)
    assert select_devices(read.devices, ("gpu-00000001-AAAA-bbbb-cccc-000000000001",)) == (1,)
    assert select_devices(read.devices, ("0000:03:00.0", "01:00.0")) == (0, 2)


@pytest.mark.parametrize("name", ["3", "-1", "²", "GPU-", "", "00000000:09:00.0", "1" * 5000])
def test_a_gpu_that_is_not_there_is_64(name: str) -> None:
    with pytest.raises(UsageError, match="indexes there: 0, 1, 2"):
        select_devices(CARDS, (name,))


def test_a_uuid_that_two_cards_show_is_64() -> None:
    twins = tuple(
        DeviceEvidence(index=index, claims=ClaimSet((claim("gpu.uuid", "GPU-same-same"),)))
        for index in range(2)
    )
    with pytest.raises(UsageError, match="several"):
        select_devices(twins, ("GPU-same-same",))
