"""Products and the reference values that claims are compared with."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gpuverify.model.claims import Value


class Grade(enum.Enum):
    """How good the source of a reference value is, best first."""

    VENDOR_DOCUMENT = "vendor-document"
    VENDOR_SOFTWARE = "vendor-software"
    RECORDING = "recording"
    COMMUNITY = "community"


class ProductStatus(enum.Enum):
    """How a product reached the market."""

    RETAIL = "retail"
    OEM = "oem"
    HYPERSCALER = "hyperscaler"
    ENGINEERING = "engineering"
    MINING = "mining"
    AUTOMOTIVE = "automotive"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How far a value that is compared with a timing was tried on real cards.

    Attributes:
        cards: Real cards that were measured, 0 for none.
        drivers: Driver versions they were measured with, in order.
        low: Lowest value that good cards show, in the unit of the measured claim; None until
            enough cards were measured.
        high: The same for the highest.
    """

    cards: int = 0
    drivers: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None

    @property
    def band(self) -> tuple[int, int] | None:
        """What good cards show, None until enough of them were measured."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        """Say it in the words of docs/measuring.md."""
        if not self.cards:
            return "emulated-only"
        cards = "1 card" if self.cards == 1 else f"{self.cards} cards"
        if not self.drivers:
            return f"field-run ({cards})"
        if len(self.drivers) == 1:
            return f"field-run ({cards}, driver {self.drivers[0]})"
        return f"field-run ({cards}, drivers {self.drivers[0]} to {self.drivers[-1]})"


EMULATED_ONLY = Validation()
"""No real card was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValue:
    """One value that a product is known to show, with where that is known from.

    Attributes:
        field: Name of the reference field, see docs/reference-fields.md.
        value: The one atomic value.
        grade: How good the source is.
        source: Key of the source in `refdb/data/sources.toml`.
        locator: Where in that source.
        driver_min: Lowest driver branch it holds for, None for no bound.
        driver_max: Highest driver branch it holds for, None for no bound.
        ecc: Whether it holds with ECC on (True), off (False) or both (None).
        validation: How far it was tried on real cards, where it is compared with a timing; None
            for every other value.
    """

    field: str
    value: Value
    grade: Grade
    source: str
    locator: str
    driver_min: int | None = None
    driver_max: int | None = None
    ecc: bool | None = None
    validation: Validation | None = None

    def __hash__(self) -> int:
        """Hash by what differs most; equality still looks at everything."""
        return hash(self.locator)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PciIdentity:
    """A PCI device id with, where it is needed to tell products apart, the subsystem ids.

    Attributes:
        device_id: PCI device id (the vendor is always 0x10DE).
        subsystem_vendor_id: PCI subsystem vendor id, None for any.
        subsystem_device_id: PCI subsystem device id, None for any.
    """

    device_id: int
    subsystem_vendor_id: int | None = None
    subsystem_device_id: int | None = None


class ProductKey:
    """Stands for one product object where answers about it are kept.

    Products are equal where all of their values are, and there are hundreds: too dear to compare at
    each look-up. A key is itself alone, so another database's product never finds the answers.
    """

    __slots__ = ("product",)

    def __init__(self, product: Product) -> None:
        """Stand for `product`."""
        self.product = product


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A sellable thing.

    Attributes:
        id: Stable lower-case id, `family-form-memory`.
        name: Name for people.
        aliases: Other ids, and the names that NVML prints.
        family: Key of the data file that holds it and its neighbours.
        architecture: NVIDIA's architecture name, e.g. "Ampere".
        chip: Die, e.g. "GA100".
        form: sxm, pcie, superchip, mezzanine, workstation, consumer, mobile, or automotive.
        status: How it reached the market.
        gpus_per_board: GPUs that share one board, serial and price tag.
        memory_labels: Labels it is sold under, per GPU, e.g. "80GB"; matched without spaces and
            case.
        board_memory_labels: Labels per board where a board holds several GPUs, e.g. "24GB".
        cooling: passive, active, liquid or "".
        sold_as: Ids of products that NVIDIA ships this board as (sourced in `values`).
        neighbours: Ids that a seller could pass off as this product.
        pci: Match entries.
        values: Reference values in file order.
        traits: Closed set of words that decide which rules apply: "datacenter", "ecc", "inforom",
            "gpu-part-number", "row-remap", "page-retirement", "mig", "nvlink", "nvlink-bridge",
            "shared-serial", "coherent", "device-certificate".
        key: Stands for this very object where answers about it are kept.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    family: str
    architecture: str
    chip: str
    form: str
    status: ProductStatus
    gpus_per_board: int = 1
    memory_labels: tuple[str, ...] = ()
    board_memory_labels: tuple[str, ...] = ()
    cooling: str = ""
    sold_as: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    pci: tuple[PciIdentity, ...] = ()
    values: tuple[ReferenceValue, ...] = ()
    traits: frozenset[str] = frozenset()
    key: ProductKey = dataclasses.field(init=False, repr=False, compare=False)
    _fields: Mapping[str, tuple[ReferenceValue, ...]] = dataclasses.field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Sort the values by field."""
        fields: dict[str, list[ReferenceValue]] = {}
        for value in self.values:
            fields.setdefault(value.field, []).append(value)
        object.__setattr__(self, "_fields", {key: tuple(found) for key, found in fields.items()})
        object.__setattr__(self, "key", ProductKey(self))

    def get(self, field: str) -> tuple[ReferenceValue, ...]:
        """Return the reference values of one field, in file order."""
        return self._fields.get(field, ())

    def has(self, trait: str) -> bool:
        """Whether the product has a trait."""
        return trait in self.traits


class MatchState(enum.Enum):
    """How well the device's ids told which product it is."""

    EXACT = "exact"
    SUBSYSTEM_UNKNOWN = "subsystem-unknown"
    CANDIDATES = "candidates"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """Which product a device's PCI ids (and, among candidates, its part numbers) name.

    Attributes:
        state: EXACT: device and subsystem pair (or an OEM's subsystem vendor with NVIDIA's
            subsystem device) on file for one product. SUBSYSTEM_UNKNOWN: device id used by one
            product only, subsystem not on file. CANDIDATES: several products fit. UNKNOWN: the
            device id is not on file. UNREADABLE: no readable device id.
        products: The product (EXACT, SUBSYSTEM_UNKNOWN) or the candidates, in id order.
        by: What decided: "pci-pair", "pci-device", "lattice", "memory" or "".
    """

    state: MatchState
    products: tuple[Product, ...] = ()
    by: str = ""

    @property
    def product(self) -> Product | None:
        """The single product, if there is one."""
        return self.products[0] if len(self.products) == 1 else None


class ReferenceIndex(Protocol):
    """What rules may ask of the reference data beside the products they were handed."""

    def holders(self, field: str, value: Value) -> tuple[str, ...]:
        """Return ids of all products for which `value` is on file in `field`, in id order."""
        ...

    def device_holders(self, device_id: int) -> tuple[str, ...]:
        """Return ids of all products that use this PCI device id, in id order."""
        ...

    def library_version(self, sha256: str) -> str | None:
        """Return the driver version whose NVML library has this digest, None if not on file."""
        ...


Products = Mapping[str, Product]
