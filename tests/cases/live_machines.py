"""Honest machines made from the reference data, marked live inside tests only."""

from __future__ import annotations

import dataclasses
import functools

from case_support import NOW_MS, as_live, database, policy

from gpuverify.appraise import appraise
from gpuverify.collect.replay import replay_recording
from gpuverify.model.evidence import Evidence
from gpuverify.model.part_numbers import (
    parse_board_part_number,
    parse_gpu_part_number,
    parse_inforom_image,
)
from gpuverify.model.product import PciIdentity, Product, ReferenceValue
from gpuverify.model.sale import Condition, SaleClaim, SaleItem
from gpuverify.model.verdict import Result
from gpuverify.sources.recording import Recording
from gpuverify.testing import MigProfile, SyntheticCard, SyntheticHost, synthetic_recording

NEW_DRIVER, OLD_DRIVER = "580.105.08", "470.256.02"
_CAPABILITY = {
    "Kepler": (3, 7), "Maxwell": (5, 2), "Pascal": (6, 0), "Volta": (7, 0), "Turing": (7, 5),
    "Ampere": (8, 6), "Ada Lovelace": (8, 9), "Hopper": (9, 0), "Blackwell": (10, 0),
}  # fmt: skip
_VBIOS = {
    "GF": "70.24", "GK": "80.04", "GM": "84.00", "GP": "86.00", "GV": "88.00", "TU": "90.04",
    "GA100": "92.00", "GA10": "94.02", "AD": "95.02", "GH": "96.00", "GB1": "97.00",
    "GB2": "98.02",
}  # fmt: skip


def driver_for(product: Product) -> str:
    """A recent driver; for Kepler the last branch that knows it."""
    return OLD_DRIVER if product.architecture == "Kepler" else NEW_DRIVER


def _fitting(product: Product, field: str, driver: str) -> list[ReferenceValue]:
    branch = int(driver.partition(".")[0])
    return [
        value
        for value in product.get(field)
        if (value.driver_min or 0) <= branch <= (value.driver_max or 999)
    ]


def _number(product: Product, field: str, default: int, driver: str = NEW_DRIVER) -> int:
    """The largest whole number on file, or an invented one that stands for nobody."""
    values = [v.value for v in _fitting(product, field, driver) if isinstance(v.value, int)]
    return max(values, default=default)


def _text(product: Product, field: str, default: str) -> str:
    values = product.get(field)
    return str(values[0].value) if values else default


def _chip_value(product: Product) -> str:
    """A VBIOS version of the chip's family that nobody has published."""
    chip = product.chip.upper()
    if chip.startswith("GB"):
        front = _VBIOS["GB1"] if product.has("datacenter") and chip[2] == "1" else _VBIOS["GB2"]
    elif chip == "GA100":
        front = _VBIOS["GA100"]
    else:
        front = next((v for k, v in _VBIOS.items() if chip.startswith(k)), "00.00")
    return f"{front}.7E.00.7E"


def _identity(product: Product, gpu_part_number: str) -> PciIdentity:
    """The match entry to show: exact rather than open, and the one that the part number names."""
    part = parse_gpu_part_number(gpu_part_number)
    return max(
        product.pci,
        key=lambda entry: (
            part is not None and entry.device_id == part.device_id,
            entry.subsystem_device_id is not None,
            entry.subsystem_vendor_id == 0x10DE,
        ),
    )


def _boards(product: Product) -> tuple[str, str]:
    """A board part number and an InfoROM image that fit each other."""
    boards = [str(v.value) for v in product.get("gpu.board_part_number")]
    images = [str(v.value) for v in product.get("inforom.image_version")]
    images += [f"{v.value}.00.7E" for v in product.get("inforom.sku")]
    for board in boards:
        for image in images:
            left, right = parse_board_part_number(board), parse_inforom_image(image)
            if left and right and (left.project, left.sku) == (right.project, right.sku):
                return board, image
    if boards and images:
        return boards[0], images[0]
    if product.form in ("consumer", "mobile"):
        return (boards or [""])[0], (images or ["G001.0000.7E.7E"])[0]
    segment = (
        "5" if product.form == "workstation" else "1" if not product.has("datacenter") else "2"
    )
    if boards:
        left = parse_board_part_number(boards[0])
        return boards[0], f"{left.project}.{left.sku}.00.7E" if left else "G7E7.0700.00.7E"
    right = parse_inforom_image(images[0]) if images else None
    project = right.project if right else "G7E7"
    return f"900-{segment}{project}-0700-000", images[0] if images else f"{project}.0700.00.7E"


def _profiles(product: Product) -> tuple[MigProfile, ...]:
    """The product's MIG profiles."""
    found = []
    for index, name in enumerate(sorted({str(v.value) for v in product.get("mig.profile")})):
        slices = int(name.partition("g.")[0])
        gigabytes = int(name.partition(".")[2].partition("gb")[0])
        found.append(
            MigProfile(
                index=index, id=index, name=name, slices=slices, instances=max(1, 7 // slices),
                multiprocessors=14 * slices, memory_mib=1000 * gigabytes,
            )
        )  # fmt: skip
    return tuple(found)


def card_of(product: Product) -> SyntheticCard:
    """A card that shows the product's reference values; what is not on file is invented."""
    driver = driver_for(product)
    identity = _identity(product, _text(product, "gpu.gpu_part_number", ""))
    totals = _fitting(product, "memory.total_mib", driver)
    nominal = _number(product, "memory.nominal_mib", 0)
    total = max((int(v.value) for v in totals), default=nominal or 7777)
    with_ecc = {value.ecc for value in totals if value.value == total}
    ecc = None
    if product.has("ecc"):
        ecc = with_ecc != {False}
    board, image = _boards(product)
    links = _number(product, "nvlink.link_count", 0)
    bridge = product.has("nvlink-bridge")
    default_part = f"{identity.device_id:04X}-7E7-A1" if product.has("gpu-part-number") else ""
    capability = _text(product, "gpu.compute_capability", "")
    major, _, minor = capability.partition(".")
    bar1 = _number(product, "pci.bar1_mib", 256)
    return SyntheticCard(
        name=_text(product, "gpu.name", product.name),
        device_id=identity.device_id,
        subsystem_device_id=(
            0x7E7E if identity.subsystem_device_id is None else identity.subsystem_device_id
        ),
        subsystem_vendor_id=identity.subsystem_vendor_id or 0x10DE,
        class_code=0x030200 if product.has("datacenter") else 0x030000,
        architecture=product.architecture,
        compute_capability=(
            (int(major), int(minor)) if capability else _CAPABILITY[product.architecture]
        ),
        memory_mib=total,
        reserved_mib=_number(product, "memory.reserved_mib", 277),
        bus_width_bits=_number(product, "memory.bus_width_bits", 17),
        core_count=_number(product, "gpu.core_count", 19),
        graphics_mhz=_number(product, "clock.sm_max_mhz", 1117),
        memory_mhz=_number(product, "clock.memory_max_mhz", 1123),
        bar1_mib=bar1,
        bar1_max_mib=_number(product, "pci.bar1_max_mib", 0) or (bar1 if bar1 > 256 else None),
        wide_bar0=product.architecture in ("Hopper", "Blackwell"),
        pcie_generation=_number(product, "pci.link_generation_max", 4),
        pcie_width=_number(product, "pci.link_width_max", 16),
        power_default_w=_number(product, "power.limit_default_w", 213),
        power_max_w=_number(product, "power.limit_max_w", 213),
        vbios=_text(product, "gpu.vbios_version", _chip_value(product)),
        board_part_number=board,
        gpu_part_number=_text(product, "gpu.gpu_part_number", default_part),
        inforom_image=image,
        inforom_oem=_text(product, "inforom.oem_object", "2.0"),
        inforom_ecc=_text(product, "inforom.ecc_object", "6.16") if product.has("ecc") else "",
        ecc=ecc,
        remap_banks=_number(product, "remap.bank_count", 7) if product.has("row-remap") else 0,
        page_retirement=product.has("page-retirement"),
        nvlinks=links,
        nvlinks_active=0 if bridge else None,
        nvlink_mbps=_number(product, "nvlink.link_speed_kb_s", 25_000_000) // 1000,
        mig_profiles=_profiles(product),
        serial="" if product.form in ("consumer", "mobile") else "1650922317401",
        multi_gpu_board=product.gpus_per_board > 1,
    )


def board_of(product: Product) -> tuple[SyntheticCard, ...]:
    """All GPUs of one board of the product."""
    first = card_of(product)
    others = (
        dataclasses.replace(
            first,
            bus_id=f"0000:{7 + number:02x}:00.0",
            minor=number,
            uuid=f"GPU-5a11ed00-000{number}-4e7a-8c3d-7e57ca5e1{number}01",
            pdi=first.pdi + 0x1_0000_0000 * number + number,
        )
        for number in range(1, product.gpus_per_board)
    )
    return (first, *others)


def machine_of(product: Product, host: SyntheticHost | None = None) -> Recording:
    """An honest machine with one board of the product."""
    return synthetic_recording(board_of(product), driver=driver_for(product), host=host)


def live_evidence(recording: Recording) -> Evidence:
    """Collect by the real path, and mark it live: only a test can."""
    return as_live(replay_recording(recording, origin="a machine inside a test"))


def appraise_live(
    evidence: Evidence,
    product: Product,
    policy_name: str = "standard",
    condition: Condition | None = None,
) -> Result:
    """Appraise against the sale of the product."""
    item = SaleItem(product=product, condition=condition)
    return appraise(
        evidence, SaleClaim(items=(item,)), policy(policy_name), database(), now_ms=NOW_MS
    )


@functools.cache
def honest_result(product_id: str) -> Result:
    """The result of an honest live machine with the product, appraised as what it is."""
    product = database().product(product_id)
    return appraise_live(live_evidence(machine_of(product)), product)
