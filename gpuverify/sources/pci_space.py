"""Reading PCI configuration bytes: pure, total, and safe against malformed capability lists.

Layout and field positions: PCI Local Bus Specification 3.0 chapter 6, PCI Express Base
Specification 4.0 sections 7.5.3 (PCI Express capability) and 7.8.6 (Resizable BAR), as named in
Linux' include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER_BYTES = 64
"""What Linux gives of a function's configuration to somebody without CAP_SYS_ADMIN."""
LEGACY_BYTES = 256
SPACE_BYTES = 4096

_CAPABILITY_EXPRESS = 0x10
_CAPABILITY_RESIZABLE_BAR = 0x0015
_MAX_LEGACY_CAPABILITIES = 48
_MAX_EXTENDED_CAPABILITIES = (SPACE_BYTES - LEGACY_BYTES) // 8
_MIB_SHIFT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """PCI Express link of a function.

    Attributes:
        generation_max: Highest speed by the Link Capabilities register.
        width_max: Lanes by the Link Capabilities register.
        generation_current: Speed now.
        width_current: Lanes now.
    """

    generation_max: int
    width_max: int
    generation_current: int
    width_current: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizableBar:
    """One entry of a Resizable BAR capability.

    Attributes:
        index: Number of the BAR register that it resizes.
        supported_mask: Bit n set: 2**n MiB is supported.
        current_bytes: Size now.
    """

    index: int
    supported_mask: int
    current_bytes: int

    @property
    def max_bytes(self) -> int:
        """Largest supported size, 0 if the mask is empty."""
        if not self.supported_mask:
            return 0
        return 1 << (self.supported_mask.bit_length() - 1 + _MIB_SHIFT)


class ConfigSpace:
    """The configuration bytes of one function, as many as there are."""

    def __init__(self, data: bytes) -> None:
        """Stand over `data`; anything beyond its end reads as not there."""
        self._data = data[:SPACE_BYTES]

    @property
    def complete_header(self) -> bool:
        """Whether the whole standard header is there."""
        return len(self._data) >= HEADER_BYTES

    @property
    def header_only(self) -> bool:
        """Whether capabilities are out of reach: not more than the header was given."""
        return len(self._data) <= HEADER_BYTES

    @property
    def has_extended_space(self) -> bool:
        """Whether PCI Express' extended space is there."""
        return len(self._data) > LEGACY_BYTES

    @property
    def gone(self) -> bool:
        """Whether all header bytes are ones: the function no longer answers on the bus."""
        return self.complete_header and self._data[:HEADER_BYTES] == b"\xff" * HEADER_BYTES

    def _number(self, offset: int, size: int) -> int | None:
        """Return a little-endian number, None where the bytes are not there."""
        part = self._data[offset : offset + size]
        return int.from_bytes(part, "little") if len(part) == size else None

    @property
    def vendor_id(self) -> int | None:
        """Vendor id."""
        return self._number(0x00, 2)

    @property
    def device_id(self) -> int | None:
        """Device id."""
        return self._number(0x02, 2)

    @property
    def revision_id(self) -> int | None:
        """Revision id."""
        return self._number(0x08, 1)

    @property
    def class_code(self) -> int | None:
        """Class, subclass and programming interface, 24 bits."""
        return self._number(0x09, 3)

    @property
    def subsystem_vendor_id(self) -> int | None:
        """Subsystem vendor id (of a type 0 header)."""
        return self._number(0x2C, 2)

    @property
    def subsystem_device_id(self) -> int | None:
        """Subsystem device id (of a type 0 header)."""
        return self._number(0x2E, 2)

    @property
    def bar1_register(self) -> int:
        """Number of the register at which the second memory BAR starts.

        NVIDIA calls the frame buffer aperture BAR1. Where BAR0 is a 64-bit BAR (Hopper and
        later) it fills two registers and the aperture starts at register 2.
        """
        first = self._number(0x10, 4) or 0
        is_memory, is_wide = not first & 1, (first >> 1) & 3 == 2
        return 2 if is_memory and is_wide else 1

    def _legacy_capability(self, wanted: int) -> int | None:
        """Return the offset of a capability in the first 256 bytes."""
        status = self._number(0x06, 2)
        pointer = self._number(0x34, 1)
        if status is None or pointer is None or not status & 0x10:
            return None
        seen: set[int] = set()
        for _ in range(_MAX_LEGACY_CAPABILITIES):
            offset = pointer & 0xFC
            if offset < HEADER_BYTES or offset in seen:
                return None
            seen.add(offset)
            found, following = self._number(offset, 1), self._number(offset + 1, 1)
            if found is None or following is None or found == 0xFF:
                return None
            if found == wanted:
                return offset
            pointer = following
        return None

    def _extended_capability(self, wanted: int) -> int | None:
        """Return the offset of a capability in the extended space."""
        offset = LEGACY_BYTES
        seen: set[int] = set()
        for _ in range(_MAX_EXTENDED_CAPABILITIES):
            if offset < LEGACY_BYTES or offset in seen:
                return None
            seen.add(offset)
            header = self._number(offset, 4)
            if header is None or header in (0, 0xFFFFFFFF):
                return None
            if header & 0xFFFF == wanted:
                return offset
            offset = (header >> 20) & 0xFFC
        return None

    def link(self) -> Link | None:
        """Return the link by the PCI Express capability, None where there is none."""
        offset = self._legacy_capability(_CAPABILITY_EXPRESS)
        if offset is None:
            return None
        able, now = self._number(offset + 0x0C, 4), self._number(offset + 0x12, 2)
        if able is None or now is None:
            return None
        return Link(
            generation_max=able & 0xF,
            width_max=(able >> 4) & 0x3F,
            generation_current=now & 0xF,
            width_current=(now >> 4) & 0x3F,
        )

    def resizable_bars(self) -> tuple[ResizableBar, ...] | None:
        """Return the entries of the Resizable BAR capability, None where there is none."""
        offset = self._extended_capability(_CAPABILITY_RESIZABLE_BAR)
        if offset is None:
            return None
        first_control = self._number(offset + 8, 4)
        if first_control is None:
            return ()
        entries: list[ResizableBar] = []
        for number in range(min((first_control >> 5) & 7, 6)):
            able = self._number(offset + 4 + 8 * number, 4)
            control = self._number(offset + 8 + 8 * number, 4)
            if able is None or control is None:
                break
            entries.append(
                ResizableBar(
                    index=control & 7,
                    # Bits 31:4 say 1 MiB to 128 TiB, the control's upper half the sizes above.
                    supported_mask=(able >> 4) | (control >> 16) << 28,
                    current_bytes=1 << (((control >> 8) & 0x3F) + _MIB_SHIFT),
                )
            )
        return tuple(entries)
