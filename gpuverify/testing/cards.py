"""Descriptions of cards from which whole synthetic machines are made."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
ARCHITECTURES = {
    "Kepler": 2, "Maxwell": 3, "Pascal": 4, "Volta": 5, "Turing": 6, "Ampere": 7,
    "Ada Lovelace": 8, "Hopper": 9, "Blackwell": 10,
}  # fmt: skip
VIRTUALIZATION = {"none": 0, "pass-through": 1, "vgpu": 2, "host-vgpu": 3, "host-vsga": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigProfile:
    """One GPU instance profile.

    Attributes:
        index: NVML's profile number (0 for one slice, 4 for seven, …).
        id: Number that nvidia-smi lists.
        name: E.g. "1g.5gb".
        slices: Compute slices.
        instances: How many fit on the GPU.
        multiprocessors: SMs of one.
        memory_mib: Memory of one.
    """

    index: int
    id: int
    name: str
    slices: int
    instances: int
    multiprocessors: int
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticCard:
    """What one GPU shows. Nothing here was read off a card unless its maker says so.

    Attributes:
        name: Product name as NVML prints it.
        device_id: PCI device id.
        subsystem_device_id: PCI subsystem device id.
        subsystem_vendor_id: PCI subsystem vendor id.
        class_code: PCI class: 0x030200 without display outputs, 0x030000 with.
        revision_id: PCI revision.
        architecture: A key of `ARCHITECTURES`.
        compute_capability: Major and minor.
        brand: nvmlBrandType_t: 2 Tesla, 5 GeForce, 14 NVIDIA, 15 GeForce RTX, ...
        memory_mib: Frame buffer total.
        reserved_mib: Reserved by driver and firmware.
        bus_width_bits: Memory bus width.
        core_count: FP32 lanes.
        graphics_mhz: Highest graphics and SM clock.
        memory_mhz: Highest memory clock.
        video_mhz: Highest video clock.
        bar1_mib: BAR1 now.
        bar1_max_mib: Largest BAR1 of the Resizable BAR capability; None for no capability.
        wide_bar0: Whether BAR0 fills two registers (Hopper and later).
        pcie_generation: Highest PCIe generation of the card.
        pcie_width: Highest number of lanes.
        power_default_w: Default power limit; 0 where the card has none.
        power_min_w: Lowest limit.
        power_max_w: Highest limit.
        vbios: VBIOS version.
        board_part_number: "" for N/A.
        gpu_part_number: "" for N/A.
        inforom_image: InfoROM image version, "" for none.
        inforom_oem: OEM object version, "" for N/A.
        inforom_ecc: ECC object version, "" for N/A.
        inforom_valid: Whether its checksums hold.
        ecc: ECC mode, None where the card has none.
        remap_banks: Banks of the row remapper, 0 where there is none.
        remapped: Rows remapped after correctable and uncorrectable errors.
        page_retirement: Whether the card retires pages (up to Turing).
        nvlinks: NVLinks that exist.
        nvlinks_active: NVLinks that are up; None for all.
        nvlink_version: As NVML numbers it.
        nvlink_mbps: Speed of one link and direction in MB/s.
        mig_profiles: GPU instance profiles, none where MIG is not supported.
        uuid: GPU UUID.
        serial: Board serial number, "" where the board has none.
        pdi: Per-device identifier.
        bus_id: Linux name of the PCI function.
        minor: N of /dev/nvidiaN.
        module_id: Slot on the baseboard, 0 for none.
        multi_gpu_board: Whether several GPUs share the board.
        bbx_hours: Hour meter; None where it cannot be read.
        virtualization: A key of `VIRTUALIZATION`.
    """

    name: str
    device_id: int
    subsystem_device_id: int
    subsystem_vendor_id: int = 0x10DE
    class_code: int = 0x030200
    revision_id: int = 0xA1
    architecture: str = "Ampere"
    compute_capability: tuple[int, int] = (8, 0)
    brand: int = 14
    memory_mib: int
    reserved_mib: int = 571
    bus_width_bits: int
    core_count: int
    graphics_mhz: int
    memory_mhz: int
    video_mhz: int = 1290
    bar1_mib: int
    bar1_max_mib: int | None = None
    wide_bar0: bool = False
    pcie_generation: int = 4
    pcie_width: int = 16
    power_default_w: int
    power_min_w: int = 100
    power_max_w: int
    vbios: str
    board_part_number: str = ""
    gpu_part_number: str = ""
    inforom_image: str = ""
    inforom_oem: str = ""
    inforom_ecc: str = ""
    inforom_valid: bool = True
    ecc: bool | None = None
    remap_banks: int = 0
    remapped: tuple[int, int] = (0, 0)
    page_retirement: bool = False
    nvlinks: int = 0
    nvlinks_active: int | None = None
    nvlink_version: int = 5
    nvlink_mbps: int = 25000
    mig_profiles: tuple[MigProfile, ...] = ()
    uuid: str = "GPU-5a11ed00-0001-4e7a-8c3d-7e57ca5e0001"
    serial: str = "1560222000101"
    pdi: int = 0x5A11ED0000010001
    bus_id: str = "0000:07:00.0"
    minor: int = 0
    module_id: int = 0
    multi_gpu_board: bool = False
    bbx_hours: int | None = None
    virtualization: str = "none"

    @property
    def normal_bus_id(self) -> str:
        """The bus id as NVML prints it, `DDDDDDDD:BB:DD.F`."""
        domain, _, rest = self.bus_id.partition(":")
        return f"{int(domain, 16):08X}:{rest.upper()}"

    @property
    def generation(self) -> int:
        """NVML's number of the architecture."""
        return ARCHITECTURES[self.architecture]

    @property
    def active_links(self) -> int:
        """NVLinks that are up."""
        return self.nvlinks if self.nvlinks_active is None else self.nvlinks_active

    @property
    def splits_sram(self) -> bool:
        """Whether ECC counters are kept by SRAM and DRAM (Turing and later)."""
        return self.generation >= ARCHITECTURES["Turing"]
