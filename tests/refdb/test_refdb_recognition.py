"""Recognition by PCI ids, part numbers and memory, with near misses."""

from __future__ import annotations

import pytest

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.product import MatchState, Recognition
from gpuverify.refdb import Database
from gpuverify.refdb.recognition import fits_memory

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture(scope="module")
def database() -> Database:
    return Database.open()


def claims(
    device: int | None = None,
    vendor: int | None = None,
    subsystem: int | None = None,
    source: Source = Source.PCI_CONFIG,
    **more: Value,
) -> ClaimSet:
    values: dict[str, Value | None] = {
        "pci.device_id": device,
        "pci.subsystem_vendor_id": vendor,
        "pci.subsystem_device_id": subsystem,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return ClaimSet(
        tuple(
            Claim(
                id=name,
                status=ClaimStatus.OK,
                value=value,
                source=source if name.startswith("pci.") else Source.NVML,
            )
            for name, value in values.items()
            if value is not None
        )
    )


def seen(recognition: Recognition) -> tuple[str, tuple[str, ...], str]:
    return (
        recognition.state.value,
        tuple(product.id for product in recognition.products),
        recognition.by,
    )


def test_exact_pairs(database: Database) -> None:
    for device, subsystem, expected in (
        (0x20B2, 0x1463, "a100-sxm4-80gb"),
        (0x20B2, 0x1625, "pg509-210"),
        (0x20B0, 0x134F, "a100-sxm4-40gb"),
        (0x20B0, 0x1450, "a100-pg509-200"),
        (0x25B6, 0x14A9, "a16-pcie-16gb"),
        (0x25B6, 0x157E, "a2-pcie-16gb"),
        (0x2342, 0x1809, "gh200-480gb"),
        (0x2342, 0x1805, "gh200-120gb"),
        (0x1DB8, 0x131D, "v100-sxm3-32gb-h"),
        (0x1DB8, 0x12AB, "v100-sxm3-32gb"),
    ):
        found = database.recognise(claims(device, 0x10DE, subsystem))
        assert seen(found) == ("exact", (expected,), "pci-pair")
        assert found.product is not None


@pytest.mark.parametrize("vendor", [0x1028, 0x103C, 0x17AA])
def test_three_makers_keep_the_subsystem_device(database: Database, vendor: int) -> None:
    found = database.recognise(claims(0x2235, vendor, 0x145A))
    assert seen(found) == ("exact", ("a40-pcie-48gb",), "pci-pair")


def test_another_vendor_with_that_subsystem_device_is_not_exact(database: Database) -> None:
    found = database.recognise(claims(0x2235, 0x15D9, 0x145A))
    assert seen(found) == ("subsystem-unknown", ("a40-pcie-48gb",), "pci-device")


def test_unknown_subsystem_of_a_device_of_one_product(database: Database) -> None:
    found = database.recognise(claims(0x20F5, 0x10DE, 0x7FFF))
    assert seen(found) == ("subsystem-unknown", ("a800-pcie-80gb",), "pci-device")


def test_missing_subsystem_of_a_device_of_one_product(database: Database) -> None:
    assert seen(database.recognise(claims(0x2324))) == (
        "subsystem-unknown",
        ("h800-sxm5-80gb",),
        "pci-device",
    )


def test_shared_device_without_more_stays_open(database: Database) -> None:
    found = database.recognise(claims(0x20B2, 0x10DE, 0x7FFF))
    assert seen(found) == ("candidates", ("a100-sxm4-80gb", "pg509-210"), "")
    assert found.product is None


def test_shared_device_is_decided_by_the_chip_sku(database: Database) -> None:
    found = database.recognise(claims(0x20B2, 0x10DE, 0x7FFF, gpu__gpu_part_number="20B2-895-A1"))
    assert seen(found) == ("subsystem-unknown", ("a100-sxm4-80gb",), "lattice")


def test_shared_device_is_decided_by_the_board(database: Database) -> None:
    found = database.recognise(
        claims(0x20B0, 0x10DE, 0x7FFF, gpu__board_part_number="692-2G506-0200-009")
    )
    assert seen(found) == ("subsystem-unknown", ("a100-sxm4-40gb",), "lattice")


def test_shared_device_is_decided_by_the_inforom(database: Database) -> None:
    found = database.recognise(
        claims(0x2342, 0x10DE, 0x7FFF, inforom__image_version="G530.0206.00.09")
    )
    assert seen(found) == ("subsystem-unknown", ("gh200-480gb",), "lattice")


def test_a_part_number_that_is_not_on_file_decides_nothing(database: Database) -> None:
    found = database.recognise(claims(0x20B2, 0x10DE, 0x7FFF, gpu__gpu_part_number="20B2-999-A1"))
    assert found.state is MatchState.CANDIDATES


@pytest.mark.parametrize(
    ("device", "total", "expected"),
    [
        (0x17FD, 11448 * MIB, "m40-pcie-12gb"),
        (0x17FD, 22939 * MIB, "m40-pcie-24gb"),
        (0x2803, 16380 * MIB, "rtx-4060-ti-16gb"),
        (0x2803, 8188 * MIB, "rtx-4060-ti-8gb"),
        (0x2206, 20 * GIB, "rtx-3080-20gb"),
        (0x2206, 10 * GIB, "rtx-3080-10gb"),
        (0x2684, 49140 * MIB, "rtx-4090-48gb"),
        (0x2684, 24564 * MIB, "rtx-4090-24gb"),
        (0x1E07, 22528 * MIB, "rtx-2080-ti-22gb"),
        (0x1E07, 11264 * MIB, "rtx-2080-ti-11gb"),
    ],
)
def test_memory_decides_where_sizes_share_an_id(
    database: Database, device: int, total: int, expected: str
) -> None:
    found = database.recognise(claims(device, 0x1043, 0x4321, memory__total_bytes=total))
    assert seen(found) == ("subsystem-unknown", (expected,), "memory")


def test_a_size_of_no_candidate_decides_nothing(database: Database) -> None:
    found = database.recognise(claims(0x17FD, memory__total_bytes=6 * GIB))
    assert seen(found) == ("candidates", ("m40-pcie-12gb", "m40-pcie-24gb"), "")


def test_a_modified_card_keeps_the_stock_ids(database: Database) -> None:
    stock = claims(0x2684, 0x10DE, 0x16F3, memory__total_bytes=24564 * MIB)
    assert seen(database.recognise(stock)) == ("exact", ("rtx-4090-24gb",), "pci-pair")
    modified = claims(0x2684, 0x10DE, 0x16F3, memory__total_bytes=49140 * MIB)
    assert seen(database.recognise(modified)) == (
        "subsystem-unknown",
        ("rtx-4090-48gb",),
        "memory",
    )


def test_a_patched_total_does_not_rename_a_mining_card(database: Database) -> None:
    unlocked = claims(0x20C2, 0x10DE, 0x1585, memory__total_bytes=64 * GIB)
    assert seen(database.recognise(unlocked)) == ("exact", ("cmp-170hx-8gb",), "pci-pair")


def test_unknown_device(database: Database) -> None:
    assert seen(database.recognise(claims(0x20FF, 0x10DE, 1))) == ("unknown", (), "")


def test_device_of_another_vendor(database: Database) -> None:
    other = claims(0x20B2, 0x10DE, 0x1463, pci__vendor_id=0x1002)
    assert database.recognise(other).state is MatchState.UNKNOWN


@pytest.mark.parametrize("device", [None, 0, 0xFFFF])
def test_masked_ids_are_unreadable(database: Database, device: int | None) -> None:
    assert seen(database.recognise(claims(device, 0x10DE, 0x1463))) == ("unreadable", (), "")


def test_malformed_claim_is_unreadable(database: Database) -> None:
    masked = ClaimSet(
        (
            Claim(
                id="pci.device_id",
                status=ClaimStatus.MALFORMED,
                source=Source.NVIDIA_SMI,
                raw_text="000000DE",
            ),
        )
    )
    assert database.recognise(masked).state is MatchState.UNREADABLE


def test_config_space_goes_before_nvml_and_nvidia_smi(database: Database) -> None:
    config = claims(0x20B0, 0x10DE, 0x134F, Source.PCI_CONFIG)
    nvml = claims(0x20B2, 0x10DE, 0x1463, Source.NVML)
    logged = claims(0x2330, 0x10DE, 0x16C1, Source.NVIDIA_SMI)
    both = ClaimSet((*logged, *nvml, *config))
    assert seen(database.recognise(both))[1] == ("a100-sxm4-40gb",)
    assert seen(database.recognise(ClaimSet((*logged, *nvml))))[1] == ("a100-sxm4-80gb",)
    assert seen(database.recognise(logged))[1] == ("h100-sxm5-80gb",)


def test_order_of_claims_is_irrelevant(database: Database) -> None:
    given = claims(
        0x20B2,
        0x10DE,
        0x7FFF,
        gpu__gpu_part_number="20B2-895-A1",
        inforom__image_version="G506.0212.00.01",
        memory__total_bytes=80 * GIB,
    )
    turned = ClaimSet(tuple(reversed(tuple(given))))
    assert database.recognise(given) == database.recognise(turned)


def test_memory_class_limits(database: Database) -> None:
    t4 = database.product("t4-pcie-16gb")
    assert fits_memory(t4, 15360)
    assert fits_memory(t4, 16384)
    assert not fits_memory(t4, 16384 + 1)
    assert not fits_memory(t4, 13000)
    assert not fits_memory(database.product("a100-sxm4-80gb"), 40960)


def test_recognition_survives_the_loss_of_a_source(database: Database) -> None:
    given = claims(0x2803, 0x1462, 0x5174, memory__total_bytes=16380 * MIB)
    assert seen(database.recognise(given))[1] == ("rtx-4060-ti-16gb",)
    smaller = database.without_source("gls", "RTX4060Ti")
    assert seen(smaller.recognise(given))[1] == ("rtx-4060-ti-16gb",)
