"""Rules over all devices of one read-out."""

from __future__ import annotations

from typing import Any

import pytest
from signed_cases import signed

from gpuverify.model.finding import Outcome


def card(number: int, **changes: Any) -> dict[str, Any]:
    """Return a card with an identity of its own."""
    base = {
        "nvml:pci.bus_id": f"00000000:{number:02X}:00.0",
        "nvml:pci.device_id": 0x20B2,
        "nvml:pci.subsystem_device_id": 0x147F,
        "nvml:gpu.uuid": f"GPU-5c2f1b0a-1d7e-4b6a-9c31-0a4d8e7f6b{number:02x}",
        "nvml:gpu.serial": f"16528230557{number:02d}",
        "nvml:gpu.pdi": f"0x1A2B3C4D5E6F70{number:02X}",
        "nvml:gpu.board_part_number": "692-2G506-0210-002",
        "nvml:inforom.image_version": "G506.0210.00.03",
        "nvml:gpu.listed_by_nvml": True,
    }
    return base | {key.replace("__", ":").replace("_DOT_", "."): v for key, v in changes.items()}


def cards(count: int) -> list[dict[str, Any]]:
    return [card(number) for number in range(1, count + 1)]


def attached(count: int) -> dict[str, Any]:
    # Fewer functions than cards is the business of environment.kernel-behind-nvml.
    return {"nvml:host.attached_gpu_count": count, "pci:host.pci_gpu_count": 1}


def paired(count: int) -> list[dict[str, Any]]:
    """Return GPUs of which two share a serial number, as the GPUs of one board do."""
    return [card(n) | {"nvml:gpu.serial": f"16528230558{(n + 1) // 2:02d}"}
            for n in range(1, count + 1)]  # fmt: skip


@pytest.mark.parametrize("claim", ["nvml:gpu.uuid", "nvml:gpu.pdi"])
@pytest.mark.parametrize("imported", [False, True])
def test_one_identity_on_two_bus_ids_is_a_clone(bench: Any, claim: str, imported: bool) -> None:
    pair = cards(2)
    pair[1][claim] = pair[0][claim]
    findings = bench.run_batch("batch.unique-identity", pair, imported=imported)
    assert [f.code for f in findings] == ["cloned"]
    assert findings[0].outcome is Outcome.FAIL


def test_the_same_card_read_twice_is_one_card(bench: Any) -> None:
    twice = [card(1), card(1)]
    assert bench.batch_codes("batch.unique-identity", twice) == ["distinct"]
    assert bench.batch_codes("batch.serials", twice) == ["distinct"]


@pytest.mark.parametrize(
    "masked",
    [
        "GPU-00000000-1111-2222-3333-444455556666",
        "GPU-xxxxxxxx",
        "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_masked_identities_are_no_clones(bench: Any, masked: str) -> None:
    pair = [card(1) | {"nvml:gpu.uuid": masked}, card(2) | {"nvml:gpu.uuid": masked}]
    assert bench.batch_codes("batch.unique-identity", pair, imported=True) == ["unreadable"]


def test_equal_identities_without_places_are_left_open(bench: Any) -> None:
    pair = cards(2)
    for one in pair:
        del one["nvml:pci.bus_id"]
        one["nvml:gpu.uuid"] = card(1)["nvml:gpu.uuid"]
        one["nvml:gpu.pdi"] = None
    assert bench.batch_codes("batch.unique-identity", pair) == ["place-unknown"]


@pytest.mark.parametrize(("imported", "code"), [(False, "cloned"), (True, "cloned-in-log")])
def test_one_serial_on_two_boards(bench: Any, imported: bool, code: str) -> None:
    pair = cards(2)
    pair[1]["nvml:gpu.serial"] = pair[0]["nvml:gpu.serial"]
    assert bench.batch_codes("batch.serials", pair, imported=imported) == [code]


def test_gpus_of_one_board_share_a_serial(bench: Any) -> None:
    pair = cards(2)
    pair[1]["nvml:gpu.serial"] = pair[0]["nvml:gpu.serial"]
    assert bench.batch_codes("batch.serials", pair, sold="k80") == ["one-board"]
    pair[1]["nvml:gpu.board_part_number"] = "900-22080-0000-000"
    assert bench.batch_codes("batch.serials", pair, sold="k80") == ["cloned"]


def test_a_serial_on_an_unknown_board_is_left_open(bench: Any) -> None:
    pair = cards(2)
    for one in pair:
        one["nvml:pci.device_id"] = 0x2FFF
        one["nvml:gpu.serial"] = "1652823055647"
    assert bench.batch_codes("batch.serials", pair, sold=None) == ["board-unknown"]


@pytest.mark.parametrize(
    "placeholder", ["0", "1650000000001", "0123456789", "XXXXXXXXXXXXX", "1111111111111"]
)
def test_placeholder_serials_are_absent(bench: Any, placeholder: str) -> None:
    pair = [card(1) | {"nvml:gpu.serial": placeholder}, card(2) | {"nvml:gpu.serial": placeholder}]
    assert bench.batch_codes("batch.serials", pair) == ["unreadable"]


def test_consumer_boards_have_no_serial(bench: Any) -> None:
    pair = [card(1) | {"nvml:gpu.serial": None}, card(2) | {"nvml:gpu.serial": None}]
    assert bench.batch_codes("batch.serials", pair, sold="rtx") == ["no-serials"]


def test_seven_of_eight(bench: Any) -> None:
    assert bench.batch_codes("batch.count", cards(7), attached(7), count=8) == ["fewer"]
    assert bench.batch_codes("batch.count", cards(7), attached(7), count=8, imported=True) == [
        "fewer-in-log"
    ]
    assert bench.batch_codes("batch.count", cards(8), attached(8), count=8) == ["all-there"]
    assert bench.batch_codes("batch.count", cards(9), attached(9), count=8) == ["more"]


def test_a_part_of_the_machine_does_not_accuse(bench: Any) -> None:
    assert bench.batch_codes("batch.count", cards(7), attached(8), count=8) == [
        "fewer-in-selection"
    ]
    assert bench.batch_codes("batch.count", cards(2), attached(2), count=8, selected=(0, 1)) == [
        "fewer-in-selection"
    ]


def test_boards_are_counted_not_gpus(bench: Any) -> None:
    assert bench.batch_codes("batch.count", paired(4), attached(4), count=2, sold="k80") == [
        "all-there"
    ]
    assert bench.batch_codes("batch.count", paired(2), attached(2), count=2, sold="k80") == [
        "fewer"
    ]


@pytest.mark.parametrize("count", [2, None])
def test_halves_of_boards_are_no_boards(bench: Any, count: int | None) -> None:
    for halves in (paired(3), cards(4)):
        findings = bench.run_batch(
            "batch.count", halves, attached(len(halves)), count=count, sold="k80"
        )
        assert [(f.code, f.outcome, f.caps) for f in findings] == [
            ("part-of-a-board", Outcome.INCONCLUSIVE, True)
        ]


def test_no_count_is_no_question(bench: Any) -> None:
    assert bench.batch_codes("batch.count", cards(3)) == ["not-claimed"]


def test_complete_read_outs(bench: Any) -> None:
    assert bench.batch_codes("batch.complete", cards(5), attached(5)) == ["complete"]
    assert bench.batch_codes("batch.complete", cards(5), attached(8)) == ["fewer-blocks"]
    assert bench.batch_codes("batch.complete", cards(5), attached(4)) == ["more-blocks"]
    assert bench.batch_codes("batch.complete", cards(5)) == ["no-value"]
    unknown = {"nvml:host.attached_gpu_count": 3}
    assert bench.batch_codes("batch.complete", cards(3), unknown) == ["no-value"]
    assert bench.batch_codes("batch.complete", cards(3), unknown, imported=True) == ["complete"]
    other = attached(3) | {"smi:host.attached_gpu_count": 4}
    assert bench.batch_codes("batch.complete", cards(3), other) == ["counts-differ"]
    hidden = attached(3) | {"pci:host.pci_gpu_count": 4}
    assert bench.batch_codes("batch.complete", cards(3), hidden) == ["unlisted"]
    unbound = [card(1), card(2) | {"nvml:gpu.listed_by_nvml": False}]
    assert bench.batch_codes("batch.complete", unbound, attached(1)) == ["unlisted"]
    assert bench.batch_codes("batch.complete", cards(3), attached(3), selected=(0,)) == ["left-out"]


def test_incomplete_read_outs_hold_the_verdict(bench: Any) -> None:
    finding = bench.run_batch("batch.complete", cards(5), attached(8))[0]
    assert finding.caps
    assert finding.outcome is Outcome.INCONCLUSIVE


def test_sisters(bench: Any) -> None:
    assert bench.batch_codes("batch.sisters", cards(4)) == ["alike"]
    mixed = cards(3)
    mixed[2]["nvml:gpu.vbios_version"] = "92.00.45.00.06"
    mixed[0]["nvml:gpu.vbios_version"] = "92.00.45.00.05"
    findings = bench.run_batch("batch.sisters", mixed)
    assert [f.code for f in findings] == ["mixed"]
    assert findings[0].outcome is Outcome.NOTE


@pytest.mark.parametrize(
    ("xids", "code"),
    [("", "none"), ("13:4,43:2", "none"), ("63:1", "recorded"), ("63:1,79:2", "serious")],
)
def test_kernel_log(bench: Any, xids: str, code: str) -> None:
    host = {"host:host.kernel_log_xids": xids, "host:host.kernel_log_readable": True}
    assert bench.batch_codes("condition.kernel-log", cards(1), host) == [code]


def test_an_unreadable_kernel_log_is_no_clean_one(bench: Any) -> None:
    host = {"host:host.kernel_log_xids": "", "host:host.kernel_log_readable": False}
    assert bench.batch_codes("condition.kernel-log", cards(1), host) == ["no-value"]
    assert bench.batch_codes("condition.kernel-log", cards(1)) == ["no-value"]


@pytest.mark.parametrize("rule", ["batch.unique-identity", "batch.serials", "batch.complete"])
def test_no_device_decides_nothing(bench: Any, rule: str) -> None:
    assert bench.batch_codes(rule, []) == ["no-device"]


def test_nothing_to_count_accuses_nobody(bench: Any) -> None:
    assert bench.batch_codes("batch.count", [], count=8) == ["no-device"]


def test_one_chip_under_two_uuids_is_a_clone(bench: Any) -> None:
    lot = [one | signed(device_key_sha256=f"{number:064x}") for number, one in enumerate(cards(3))]
    assert bench.batch_codes("batch.device-certificate", lot) == ["distinct"]
    assert bench.batch_codes("batch.device-certificate", cards(3)) == ["none-signed"]
    assert bench.batch_codes("batch.device-certificate", [lot[0], lot[0]]) == ["distinct"]
    lot[2]["chip:signed.device_key_sha256"] = lot[0]["chip:signed.device_key_sha256"]
    (found,) = bench.run_batch("batch.device-certificate", lot)
    assert (found.code, found.outcome) == ("cloned", Outcome.FAIL)
    lot[2]["chip:signed.state"] = "report-signature"
    assert bench.batch_codes("batch.device-certificate", lot) == ["distinct"]
