"""PCI functions by their configuration bytes, under roots made of real files."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuverify.model.claims import ClaimStatus, Source
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.sources.host_tree import MachineTree
from gpuverify.sources.pci_config import read_pci_config
from gpuverify.sources.pci_space import ConfigSpace
from gpuverify.sources.reading import SourceReading

BUS = "0000:3b:00.0"
KEY = "00000000:3B:00.0"
FOLDER = "sys/bus/pci/devices"


def config_bytes(
    *,
    device: int = 0x20B2,
    vendor: int = 0x10DE,
    subsystem: tuple[int, int] = (0x10DE, 0x147F),
    revision: int = 0xA1,
    class_code: int = 0x030200,
    bar0: int = 0x93000000,
    link_max: tuple[int, int] = (4, 16),
    link_now: tuple[int, int] = (3, 8),
    rebar: tuple[tuple[int, int, int], ...] = ((0, 0x100, 4), (1, 0x7FE00, 17)),
    size: int = 4096,
) -> bytes:
    """Build a function's space; `rebar` is (BAR index, capability bits, size code)."""
    data = bytearray(4096)
    struct.pack_into("<HH", data, 0x00, vendor, device)
    struct.pack_into("<H", data, 0x06, 0x0010)
    data[0x08] = revision
    data[0x09:0x0C] = class_code.to_bytes(3, "little")
    struct.pack_into("<II", data, 0x10, bar0, 0x0000000C)
    struct.pack_into("<HH", data, 0x2C, *subsystem)
    data[0x34] = 0x60
    data[0x60:0x62] = bytes((0x01, 0x78))  # power management, then PCI Express
    data[0x78:0x7A] = bytes((0x10, 0x00))
    struct.pack_into("<I", data, 0x78 + 0x0C, link_max[0] | link_max[1] << 4)
    struct.pack_into("<H", data, 0x78 + 0x12, link_now[0] | link_now[1] << 4)
    struct.pack_into("<I", data, 0x100, 0x0002 | 1 << 16 | 0xBB0 << 20)  # virtual channel first
    struct.pack_into("<I", data, 0xBB0, 0x0015 | 1 << 16)
    for number, (index, bits, code) in enumerate(rebar):
        struct.pack_into("<I", data, 0xBB0 + 4 + 8 * number, bits << 4)
        control = index | (len(rebar) << 5 if number == 0 else 0) | code << 8
        struct.pack_into("<I", data, 0xBB0 + 8 + 8 * number, control)
    return bytes(data[:size])


def resource_text(*bars: tuple[int, int]) -> str:
    """Write a `resource` file from (start, size) pairs; (0, 0) is an empty line."""
    lines = [
        f"0x{start:016x} 0x{start + size - 1:016x} 0x{0x14220C:016x}" if size else "0x0 0x0 0x0"
        for start, size in bars
    ]
    return "\n".join(lines) + "\n"


A100_BARS = ((0x93000000, 16 << 20), (0x28000000000, 128 << 30), (0, 0), (0x2A000000000, 32 << 20))


def put(
    root: Path,
    name: str = BUS,
    config: bytes | None = None,
    *,
    resource: str | None = None,
    driver: str | None = "nvidia",
    attributes: dict[str, str] | None = None,
) -> Path:
    """Make one function's folder below a root."""
    folder = root / FOLDER / name
    folder.mkdir(parents=True)
    data = config_bytes() if config is None else config
    (folder / "config").write_bytes(data)
    (folder / "resource").write_text(resource or resource_text(*A100_BARS))
    shown = {
        "vendor": "0x10de",
        "device": "0x20b2",
        "subsystem_vendor": "0x10de",
        "subsystem_device": "0x147f",
        "class": "0x030200",
        "modalias": "pci:v000010DEd000020B2sv000010DEsd0000147Fbc03sc02i00",
    }
    for name_, text in {**shown, **(attributes or {})}.items():
        (folder / name_).write_text(text + "\n")
    if driver is not None:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(f"../../drivers/{driver}")
    return folder


def claims_of(root: Path, key: str = KEY) -> ClaimSet:
    """Read the root and return one function's claims."""
    return ClaimSet(tuple(read_pci_config(MachineTree(root)).devices[key]))


def host_value(reading: SourceReading, claim_id: str) -> object:
    """Return the value of one host claim."""
    return ClaimSet(tuple(reading.host)).value(claim_id)


def test_every_field_of_a_card(tmp_path: Path) -> None:
    put(tmp_path)
    claims = claims_of(tmp_path)
    expected = {
        "pci.bus_id": KEY,
        "pci.vendor_id": 0x10DE,
        "pci.device_id": 0x20B2,
        "pci.subsystem_vendor_id": 0x10DE,
        "pci.subsystem_device_id": 0x147F,
        "pci.revision_id": 0xA1,
        "pci.class_code": 0x030200,
        "pci.link_generation_device_max": 4,
        "pci.link_generation_current": 3,
        "pci.link_width_max": 16,
        "pci.link_width_current": 8,
        "pci.bar0_bytes": 16 << 20,
        "pci.bar1_bytes": 128 << 30,
        "pci.bar1_max_bytes": 1 << (18 + 20),
        "pci.driver": "nvidia",
        "pci.attribute.vendor_id": 0x10DE,
        "pci.attribute.device_id": 0x20B2,
        "pci.attribute.subsystem_vendor_id": 0x10DE,
        "pci.attribute.subsystem_device_id": 0x147F,
        "pci.attribute.modalias": "pci:v000010DEd000020B2sv000010DEsd0000147Fbc03sc02i00",
    }
    assert {claim.id: claim.value for claim in claims if claim.ok} == expected
    assert {claim.source for claim in claims} == {Source.PCI_CONFIG}
    assert claims.read("pci.link_generation_max").status is ClaimStatus.NOT_FOUND
    assert {claim.id for claim in claims} <= VOCABULARY.keys()


def test_slot_limits_the_generation(tmp_path: Path) -> None:
    target = tmp_path / "sys/devices/pci0000:3a/0000:3a:00.0"
    real = put(tmp_path).rename(tmp_path / "moved")
    target.mkdir(parents=True)
    real.rename(target / BUS)
    (tmp_path / FOLDER / BUS).symlink_to(f"../../../devices/pci0000:3a/0000:3a:00.0/{BUS}")
    (tmp_path / FOLDER / "0000:3a:00.0").symlink_to("../../../devices/pci0000:3a/0000:3a:00.0")
    bridge = config_bytes(vendor=0x8086, class_code=0x060400, link_max=(3, 16))
    (target / "config").write_bytes(bridge)
    (target / "vendor").write_text("0x8086\n")
    claims = claims_of(tmp_path)
    assert claims.value("pci.link_generation_max") == 3
    assert claims.value("pci.link_generation_device_max") == 4


def test_without_root_links_and_bars_say_why(tmp_path: Path) -> None:
    put(tmp_path, config=config_bytes(size=64))
    claims = claims_of(tmp_path)
    assert claims.value("pci.device_id") == 0x20B2
    for claim_id in ("pci.link_width_max", "pci.link_generation_max", "pci.bar1_max_bytes"):
        assert claims.read(claim_id).status is ClaimStatus.NO_PERMISSION
    assert claims.value("pci.bar1_bytes") == 128 << 30


def test_no_extended_space(tmp_path: Path) -> None:
    put(tmp_path, config=config_bytes(size=256))
    claims = claims_of(tmp_path)
    assert claims.value("pci.link_width_max") == 16
    assert claims.read("pci.bar1_max_bytes").status is ClaimStatus.NOT_SUPPORTED


def test_wide_bar0_moves_bar1(tmp_path: Path) -> None:
    bars = (
        (0x1000000, 16 << 20),
        (0, 0),
        (0x38000000000, 128 << 30),
        (0, 0),
        (0x5000000, 32 << 20),
    )
    config = config_bytes(bar0=0x0100000C, rebar=((0, 0x100, 4), (2, 0x1FC00, 17)))
    put(tmp_path, config=config, resource=resource_text(*bars))
    claims = claims_of(tmp_path)
    assert claims.value("pci.bar0_bytes") == 16 << 20
    assert claims.value("pci.bar1_bytes") == 128 << 30
    assert claims.value("pci.bar1_max_bytes") == 1 << (16 + 20)


def test_bar_without_an_address(tmp_path: Path) -> None:
    put(tmp_path, resource=resource_text((0x93000000, 16 << 20), (0, 0), (0, 0), (4096, 32 << 20)))
    claim = claims_of(tmp_path).read("pci.bar1_bytes")
    assert claim.status is ClaimStatus.NOT_FOUND
    assert "no address" in str(claim.raw_text)


def test_resource_that_is_no_resource(tmp_path: Path) -> None:
    put(tmp_path, resource="0x1 rubbish\n")
    assert claims_of(tmp_path).read("pci.bar0_bytes").status is ClaimStatus.MALFORMED
    assert claims_of(tmp_path).read("pci.bar1_bytes").status is ClaimStatus.MALFORMED


@pytest.mark.parametrize("driver", ["vfio-pci", "nouveau", None])
def test_driver_bound(tmp_path: Path, driver: str | None) -> None:
    put(tmp_path, driver=driver)
    assert claims_of(tmp_path).value("pci.driver") == (driver or "none")


def test_only_nvidias_display_functions_count(tmp_path: Path) -> None:
    put(tmp_path, "0000:3b:00.0")
    put(tmp_path, "10000:af:00.0", config_bytes(class_code=0x030000, device=0x2206))
    put(
        tmp_path,
        "0000:3b:00.1",
        config_bytes(class_code=0x040300),
        attributes={"class": "0x040300"},
    )
    put(tmp_path, "0000:00:02.0", config_bytes(vendor=0x8086), attributes={"vendor": "0x8086"})
    put(tmp_path, "0000:c1:00.0", config_bytes(vendor=0x1002), attributes={"vendor": "0x1002"})
    virtual = put(tmp_path, "0000:3b:00.4", b"\xff" * 4096)
    (virtual / "physfn").symlink_to("../0000:3b:00.0")
    reading = read_pci_config(MachineTree(tmp_path))
    assert sorted(reading.devices) == ["00000000:3B:00.0", "00010000:AF:00.0"]
    assert host_value(reading, "host.pci_gpu_count") == 2
    assert host_value(reading, "source.pci-config") == "ok"


def test_attribute_files_are_only_compared(tmp_path: Path) -> None:
    put(
        tmp_path,
        attributes={"device": "0x2330", "subsystem_device": "rubbish", "modalias": "usb:x"},
    )
    claims = claims_of(tmp_path)
    assert claims.value("pci.device_id") == 0x20B2
    assert claims.value("pci.attribute.device_id") == 0x2330
    assert claims.read("pci.attribute.subsystem_device_id").status is ClaimStatus.MALFORMED
    assert claims.read("pci.attribute.modalias").status is ClaimStatus.MALFORMED


def test_a_function_that_only_the_kernel_calls_nvidias(tmp_path: Path) -> None:
    put(tmp_path, config=config_bytes(vendor=0x1002, device=0x73BF))
    claims = claims_of(tmp_path)
    assert claims.value("pci.vendor_id") == 0x1002
    assert claims.value("pci.attribute.vendor_id") == 0x10DE


def test_fallen_off_the_bus(tmp_path: Path) -> None:
    put(tmp_path, config=b"\xff" * 4096)
    claims = claims_of(tmp_path)
    for claim_id in ("pci.device_id", "pci.link_width_max", "pci.bar1_max_bytes"):
        assert claims.read(claim_id).status is ClaimStatus.DEVICE_LOST
    assert claims.value("pci.attribute.device_id") == 0x20B2


@pytest.mark.parametrize("size", [0, 5, 63])
def test_truncated_header(tmp_path: Path, size: int) -> None:
    put(tmp_path, config=config_bytes(size=size))
    assert claims_of(tmp_path).read("pci.subsystem_device_id").status is ClaimStatus.MALFORMED


def test_config_that_cannot_be_read(tmp_path: Path) -> None:
    folder = put(tmp_path)
    (folder / "config").unlink()
    (folder / "config").mkdir()
    claims = claims_of(tmp_path)
    assert claims.read("pci.device_id").status is ClaimStatus.FAILED
    assert claims.read("pci.device_id").raw_code == errno.EISDIR
    assert claims.value("pci.attribute.device_id") == 0x20B2
    assert claims.value("pci.driver") == "nvidia"


def test_no_pci_at_all(tmp_path: Path) -> None:
    reading = read_pci_config(MachineTree(tmp_path))
    host = ClaimSet(tuple(reading.host))
    assert not reading.devices
    for claim_id in ("source.pci-config", "host.pci_gpu_count"):
        assert host.read(claim_id).status is ClaimStatus.NOT_FOUND
        assert host.read(claim_id).raw_code == errno.ENOENT


def test_loops_in_both_lists_end() -> None:
    data = bytearray(config_bytes())
    data[0x61] = 0x60
    struct.pack_into("<I", data, 0x100, 0x0002 | 0x100 << 20)
    space = ConfigSpace(bytes(data))
    assert space.link() is None
    assert space.resizable_bars() is None


def test_long_chains_end() -> None:
    data = bytearray(config_bytes())
    for offset in range(0x100, 0xFF8, 4):
        struct.pack_into("<I", data, offset, 0x7777 | (offset + 4) << 20)
    assert ConfigSpace(bytes(data)).resizable_bars() is None


def test_capability_at_the_very_end() -> None:
    data = bytearray(config_bytes())
    struct.pack_into("<I", data, 0x100, 0x0015 | 1 << 16)
    struct.pack_into("<I", data, 0x108, 7 << 5)
    assert len(ConfigSpace(bytes(data)).resizable_bars() or ()) <= 6
    struct.pack_into("<I", data, 0x100, 0x0002 | 0xFFC << 20)
    struct.pack_into("<I", data, 0xFFC, 0x0015)
    assert ConfigSpace(bytes(data)).resizable_bars() == ()


def test_sizes_above_128_tib_come_from_the_control_register() -> None:
    data = bytearray(config_bytes(rebar=((1, 0, 8),)))
    struct.pack_into("<I", data, 0xBB0 + 8, 1 | 1 << 5 | 8 << 8 | 1 << 16)
    bars = ConfigSpace(bytes(data)).resizable_bars()
    assert bars is not None
    assert (bars[0].max_bytes, bars[0].current_bytes) == (1 << 48, 1 << 28)


def test_status_bit_decides_about_the_list() -> None:
    data = bytearray(config_bytes())
    data[0x06] = 0
    assert ConfigSpace(bytes(data)).link() is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=512), st.integers(0, 4096), st.integers(0, 4096))
def test_any_bytes_are_read_without_a_fault(noise: bytes, at: int, size: int) -> None:
    data = bytearray(config_bytes())
    data[at : at + len(noise)] = noise
    space = ConfigSpace(bytes(data[:size]))
    link = space.link()
    assert link is None or 0 <= link.generation_max <= 15
    for bar in space.resizable_bars() or ():
        assert 0 <= bar.index <= 7
        assert bar.max_bytes < 1 << 64
    assert space.bar1_register in (1, 2)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=4096), st.text(max_size=80))
def test_any_files_give_claims(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, text: str
) -> None:
    root = tmp_path_factory.mktemp("pci")
    folder = put(root, config=data)
    (folder / "resource").write_bytes(text.encode("utf-8", "replace"))
    (folder / "modalias").write_bytes(text.encode("utf-8", "replace"))
    reading = read_pci_config(MachineTree(root))
    for claims in reading.devices.values():
        assert {claim.id for claim in claims} <= VOCABULARY.keys()
        assert all(isinstance(c.value, VOCABULARY[c.id].type) for c in claims if c.ok)
