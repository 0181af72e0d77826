"""The files of a machine in which described cards are installed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuverify.sources.recording import CommandEntry, FileEntry
from gpuverify.testing.cards import MIB, SyntheticCard

DEVICES = "/sys/bus/pci/devices"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_BAR0_BYTES = 16 * MIB
_REBAR_FIRST_MIB_BIT = 6
_EXPRESS, _REBAR, _ERRORS = 0x78, 0x420, 0x100


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticHost:
    """The machine around the cards: bare metal, Debian-like, driver from packages.

    Attributes:
        kernel: Kernel release.
        vendor: Firmware's system vendor.
        product: Firmware's product name.
        hypervisor: Whether CPUID shows a hypervisor.
        secure_boot: Whether the firmware's SecureBoot variable is 1.
        signer: Signer of the kernel module, "" for an unsigned one.
        open_module: Whether the kernel module is the open one.
        environ: Environment of our own process.
        mounts: Further lines of mountinfo.
        kernel_log: Lines of the kernel log.
        files: Files that replace or join the others.
    """

    kernel: str = "6.8.0-71-generic"
    vendor: str = "Supermicro"
    product: str = "SYS-420GP-TNAR"
    hypervisor: bool = False
    secure_boot: bool = True
    signer: str = "Canonical Ltd. Kernel Module Signing"
    open_module: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    kernel_log: tuple[str, ...] = ()
    files: Mapping[str, FileEntry] = field(default_factory=dict)


def _little(value: int, size: int) -> bytes:
    """Return a little-endian number."""
    return value.to_bytes(size, "little")


def pci_config(card: SyntheticCard) -> bytes:
    """Return the 4096 bytes of a card's PCI configuration.

    Args:
        card: Its description.

    Layout: PCI Local Bus Specification 3.0 chapter 6, PCI Express Base Specification 4.0
    sections 7.5.3 and 7.8.6.
    """
    space = bytearray(4096)

    def put(offset: int, value: int, size: int) -> None:
        space[offset : offset + size] = _little(value, size)

    put(0x00, 0x10DE, 2)
    put(0x02, card.device_id, 2)
    put(0x04, 0x0406, 2)
    put(0x06, 0x0010, 2)
    put(0x08, card.revision_id, 1)
    put(0x09, card.class_code, 3)
    register = 0x10
    put(register, 0xC0000000 | (0x0C if card.wide_bar0 else 0), 4)
    register += 8 if card.wide_bar0 else 4
    put(register, 0x0000000C, 4)
    put(register + 4, 0x00000010 + card.minor, 4)
    put(0x2C, card.subsystem_vendor_id, 2)
    put(0x2E, card.subsystem_device_id, 2)
    put(0x34, 0x60, 1)
    put(0x60, 0x00036801, 4)
    put(0x68, 0x00817805, 4)
    link = card.pcie_generation | card.pcie_width << 4
    put(_EXPRESS, 0x00020010, 4)
    put(_EXPRESS + 0x0C, link, 4)
    put(_EXPRESS + 0x12, link, 2)
    if card.bar1_max_mib is None:
        put(_ERRORS, 0x00020001, 4)
        return bytes(space)
    put(_ERRORS, _REBAR << 20 | 0x00020001, 4)
    highest, now = card.bar1_max_mib.bit_length() - 1, card.bar1_mib.bit_length() - 1
    mask = sum(1 << bit for bit in range(_REBAR_FIRST_MIB_BIT, highest + 1))
    put(_REBAR, 0x00010015, 4)
    put(_REBAR + 4, mask << 4 & 0xFFFFFFFF, 4)
    index = 2 if card.wide_bar0 else 1
    put(_REBAR + 8, (mask >> 28) << 16 | now << 8 | 1 << 5 | index, 4)
    return bytes(space)


def _bridge_config(card: SyntheticCard) -> bytes:
    """Return the configuration of the bridge above a card."""
    space = bytearray(256)
    space[0x00:0x04] = _little(0x20308086, 4)
    space[0x06:0x08] = _little(0x0010, 2)
    space[0x09:0x0C] = _little(0x060400, 3)
    space[0x0E] = 1
    space[0x34] = 0x40
    space[0x40:0x44] = _little(0x00420010, 4)
    space[0x4C:0x50] = _little(card.pcie_generation | card.pcie_width << 4, 4)
    space[0x52:0x54] = _little(card.pcie_generation | card.pcie_width << 4, 2)
    return bytes(space)


def packed(data: bytes) -> FileEntry:
    """Return a file entry without the zeros at the content's end."""
    return FileEntry(data=data.rstrip(b"\0"), size=len(data))


def card_files(card: SyntheticCard, driver: str) -> dict[str, FileEntry]:
    """Return a card's files: its PCI function, the driver's information and the device node.

    Args:
        card: Its description.
        driver: Driver version.
    """
    folder = f"{DEVICES}/{card.bus_id}"
    bridge = f"0000:00:{card.minor + 1:02x}.0"
    target = f"../../../devices/pci0000:00/{bridge}/{card.bus_id}"
    base = 0x1000000000 + card.minor * 0x4000000000
    bar1 = f"0x{base:016x} 0x{base + card.bar1_mib * MIB - 1:016x} 0x000000000014220c"
    bar0 = f"0x{0xC0000000:016x} 0x{0xC0000000 + _BAR0_BYTES - 1:016x} 0x0000000000040200"
    empty = f"0x{0:016x} 0x{0:016x} 0x{0:016x}"
    lines = [bar0, empty, bar1] if card.wide_bar0 else [bar0, bar1, empty]
    ids = (card.device_id, card.subsystem_vendor_id, card.subsystem_device_id)
    device, sub_vendor, sub_device = ids
    code = card.class_code
    modalias = (
        f"pci:v000010DEd{device:08X}sv{sub_vendor:08X}sd{sub_device:08X}"
        f"bc{code >> 16:02X}sc{code >> 8 & 0xFF:02X}i{code & 0xFF:02X}"
    )
    firmware = f"GPU Firmware: \t {driver}\n" if card.splits_sram else ""
    information = (
        f"Model: \t\t {card.name}\n"
        f"IRQ:   \t\t {130 + card.minor}\n"
        f"GPU UUID: \t {card.uuid}\n"
        f"Video BIOS: \t {card.vbios.lower()}\n"
        "Bus Type: \t PCIe\n"
        "DMA Size: \t 47 bits\n"
        "DMA Mask: \t 0x7fffffffffff\n"
        f"Bus Location: \t {card.bus_id}\n"
        f"Device Minor: \t {card.minor}\n"
        f"{firmware}GPU Excluded:\t No\n"
    )
    return {
        folder: FileEntry(kind="directory", target=target),
        f"{folder}/config": packed(pci_config(card)),
        f"{folder}/resource": FileEntry.text("\n".join([*lines, *[empty] * 4]) + "\n"),
        f"{folder}/vendor": FileEntry.text("0x10de\n"),
        f"{folder}/device": FileEntry.text(f"0x{device:04x}\n"),
        f"{folder}/subsystem_vendor": FileEntry.text(f"0x{sub_vendor:04x}\n"),
        f"{folder}/subsystem_device": FileEntry.text(f"0x{sub_device:04x}\n"),
        f"{folder}/class": FileEntry.text(f"0x{code:06x}\n"),
        f"{folder}/revision": FileEntry.text(f"0x{card.revision_id:02x}\n"),
        f"{folder}/modalias": FileEntry.text(modalias + "\n"),
        f"{folder}/driver": FileEntry(kind="link", target="../../../../bus/pci/drivers/nvidia"),
        f"{DEVICES}/{bridge}": FileEntry(
            kind="directory", target=f"../../../devices/pci0000:00/{bridge}"
        ),
        f"{DEVICES}/{bridge}/config": packed(_bridge_config(card)),
        f"/proc/driver/nvidia/gpus/{card.bus_id}/information": FileEntry.text(information),
        f"/dev/nvidia{card.minor}": FileEntry(kind="character-device"),
    }


def _digest(text: str) -> str:
    """Return an invented digest: the SHA-256 of a label."""
    return hashlib.sha256(text.encode()).hexdigest()


def _binary(label: str) -> FileEntry:
    """Return a program or library: an ELF file by its first bytes, known by its digest."""
    return FileEntry(data=b"\x7fELF\x02\x01\x01", size=64, sha256=_digest(label))


def _driver_files(driver: str, host: SyntheticHost) -> dict[str, FileEntry]:
    """Return what the driver's packages bring."""
    branch = driver.partition(".")[0]
    flavour = "Open Kernel Module for x86_64" if host.open_module else "x86_64 Kernel Module"
    version = (
        f"NVRM version: NVIDIA UNIX {flavour}  {driver}  Wed Oct 29 23:15:11 UTC 2025\n"
        "GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)\n"
    )
    library = f"{LIBRARIES}/libnvidia-ml.so.{driver}"
    module = f"/lib/modules/{host.kernel}/kernel/nvidia-{branch}/nvidia.ko"
    owned = {
        f"libnvidia-compute-{branch}:amd64": (library, f"{LIBRARIES}/libcuda.so.{driver}"),
        f"nvidia-utils-{branch}": ("/usr/bin/nvidia-smi",),
    }
    files = {
        "/proc/driver/nvidia/version": FileEntry.text(version),
        "/dev/nvidiactl": FileEntry(kind="character-device"),
        "/dev/nvidia-uvm": FileEntry(kind="character-device"),
        "/sys/module/nvidia/version": FileEntry.text(driver + "\n"),
        "/sys/module/nvidia/srcversion": FileEntry.text("5A11ED5A11ED5A11ED5A11E\n"),
        "/sys/module/nvidia/taint": FileEntry.text("O\n" if host.open_module else "PO\n"),
        f"{LIBRARIES}/libnvidia-ml.so.1": FileEntry(
            kind="link", target=f"libnvidia-ml.so.{driver}"
        ),
        library: _binary(f"libnvidia-ml {driver}"),
        f"{LIBRARIES}/libcuda.so.{driver}": _binary(f"libcuda {driver}"),
        "/usr/bin/nvidia-smi": _binary(f"nvidia-smi {driver}"),
        module: _binary(f"nvidia.ko {driver}"),
        f"/lib/modules/{host.kernel}/modules.dep": FileEntry.text(""),
        "/proc/modules": FileEntry.text(
            "nvidia_uvm 4911104 0 - Live 0x0000000000000000 (PO)\n"
            "nvidia 104062976 2 nvidia_uvm, Live 0x0000000000000000 (PO)\n"
        ),
    }
    for package, paths in owned.items():
        sums = "".join(f"{_digest(path)[:32]}  {path.lstrip('/')}\n" for path in paths)
        files[f"/var/lib/dpkg/info/{package}.md5sums"] = FileEntry.text(sums)
    return files


def _process_files(driver: str, host: SyntheticHost) -> dict[str, FileEntry]:
    """Return what procfs says of our own process."""
    library = f"{LIBRARIES}/libnvidia-ml.so.{driver}"
    lines = []
    for number, path in enumerate(("/usr/bin/python3.12", f"{LIBRARIES}/libc.so.6", library)):
        start = 0x7F5A00000000 + number * 0x10000000
        lines.append(
            f"{start:012x}-{start + 0x200000:012x} r-xp 00000000 08:02 {4711 + number} {path}"
        )
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **host.environ}
    mounts = (
        "24 31 0:22 / /proc rw,nosuid - proc proc rw",
        "25 31 0:23 / /sys rw,nosuid - sysfs sysfs rw",
        "26 31 0:5 / /dev rw,nosuid - devtmpfs udev rw",
        "31 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw",
        *host.mounts,
    )
    return {
        "/usr/bin/python3.12": _binary("python3.12"),
        f"{LIBRARIES}/libc.so.6": _binary("libc"),
        "/proc/self/maps": FileEntry.text("\n".join(lines) + "\n"),
        "/proc/self/mountinfo": FileEntry.text("\n".join(mounts) + "\n"),
        "/proc/self/status": FileEntry.text("Name:\tpython3\nTracerPid:\t0\n"),
        "/proc/self/cgroup": FileEntry.text("0::/user.slice/user-0.slice/session-3.scope\n"),
        "/proc/1/cgroup": FileEntry.text("0::/init.scope\n"),
        "/proc/1/environ": FileEntry.bytes(b"HOME=/\0TERM=linux\0"),
        "/proc/self/environ": FileEntry.bytes(
            b"".join(f"{name}={value}".encode() + b"\0" for name, value in environ.items())
        ),
    }


def host_files(
    cards: Sequence[SyntheticCard], driver: str, host: SyntheticHost
) -> dict[str, FileEntry]:
    """Return all files of the machine.

    Args:
        cards: Its cards.
        driver: Driver version.
        host: The machine around them.
    """
    flags = "fpu vme msr sse2 avx2" + (" hypervisor" if host.hypervisor else "")
    boot = b"\x06\x00\x00\x00" + bytes([int(host.secure_boot)])
    # 12288 = out-of-tree (bit 12) and unsigned (bit 13), 4097 = proprietary (bit 0) and bit 12.
    taint = 4097 if host.signer else 12289
    log = "\n".join(("6,1,0,-;Linux version " + host.kernel, *host.kernel_log)) + "\n"
    files = {
        "/proc/sys/kernel/osrelease": FileEntry.text(host.kernel + "\n"),
        "/proc/sys/kernel/ostype": FileEntry.text("Linux\n"),
        "/proc/sys/kernel/tainted": FileEntry.text(f"{taint}\n"),
        "/proc/version": FileEntry.text(f"Linux version {host.kernel} (build@host) #1 SMP\n"),
        "/proc/cpuinfo": FileEntry.text(f"processor\t: 0\nflags\t\t: {flags}\n\n"),
        "/sys/class/dmi/id/sys_vendor": FileEntry.text(host.vendor + "\n"),
        "/sys/class/dmi/id/product_name": FileEntry.text(host.product + "\n"),
        "/sys/kernel/security/lockdown": FileEntry.text(
            "none [integrity] confidentiality\n"
            if host.secure_boot
            else "[none] integrity confidentiality\n"
        ),
        _SECURE_BOOT: FileEntry.bytes(boot),
        "/dev/kmsg": FileEntry.text(log),
    }
    for program in ("modinfo", "dpkg", "dpkg-query"):
        files[f"/usr/bin/{program}"] = _binary(program)
    files.update(_driver_files(driver, host))
    files.update(_process_files(driver, host))
    for card in cards:
        files.update(card_files(card, driver))
    files.update(host.files)
    return files


def host_commands(
    cards: Sequence[SyntheticCard], driver: str, host: SyntheticHost
) -> tuple[CommandEntry, ...]:
    """Return the commands that the machine answers, without nvidia-smi's document.

    Args:
        cards: Its cards.
        driver: Driver version.
        host: The machine around them.
    """
    branch = driver.partition(".")[0]
    module = f"/lib/modules/{host.kernel}/kernel/nvidia-{branch}/nvidia.ko"
    packages = {
        f"libnvidia-compute-{branch}:amd64": f"{LIBRARIES}/libnvidia-ml.so.{driver}",
        f"nvidia-utils-{branch}": "/usr/bin/nvidia-smi",
    }
    signer = f"{host.signer}\n".encode() if host.signer else b""
    entries = [CommandEntry(argv=("/usr/bin/modinfo", "-F", "signer", module), stdout=signer)]
    for package, path in packages.items():
        entries.append(
            CommandEntry(
                argv=("/usr/bin/dpkg-query", "--search", path),
                stdout=f"{package}: {path}\n".encode(),
            )
        )
        entries.append(CommandEntry(argv=("/usr/bin/dpkg", "--verify", package)))
    entries.append(
        CommandEntry(argv=("/usr/bin/nvidia-smi",), stdout=plain_table(cards, driver).encode())
    )
    return tuple(entries)


def plain_table(cards: Sequence[SyntheticCard], driver: str) -> str:
    """Return nvidia-smi's plain table, with its warning where an InfoROM is corrupted.

    Args:
        cards: The machine's cards.
        driver: Driver version.
    """
    rule = "+" + "-" * 89 + "+"
    rows = [
        "Sat Nov 21 12:00:00 2026       ",
        rule,
        f"| NVIDIA-SMI {driver:<23}Driver Version: {driver:<15}CUDA Version: 13.0     |",
        rule,
    ]
    for index, card in enumerate(cards):
        rows.append(
            f"| {index:>3}  {card.name[:24]:<26}   On  |   {card.normal_bus_id} Off "
            f"|                    0 |"
        )
        rows.append(
            f"| N/A   33C    P0             50W / {card.power_default_w:>4}W |"
            f"       0MiB / {card.memory_mib:>6}MiB |      0%      Default |"
        )
        rows.append(rule)
    rows += [
        f"WARNING: infoROM is corrupted at gpu {card.normal_bus_id[4:]}"
        for card in cards
        if not card.inforom_valid
    ]
    return "\n".join(rows) + "\n"
