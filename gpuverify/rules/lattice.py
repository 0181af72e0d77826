"""The numbers written on one board must agree: part numbers, InfoROM image, PCI device id."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpuverify.model.claims import Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.part_numbers import (
    BoardPartNumber,
    InforomImage,
    parse_board_part_number,
    parse_gpu_part_number,
    parse_inforom_image,
)
from gpuverify.model.product import ProductKey, ProductStatus
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import (
    LIST_CODES,
    NO_PRODUCT,
    NO_VALUE,
    NOT_FOR_PRODUCT,
    OPEN_LIST_CODES,
    absent,
    basis_of,
    cite,
    compare_value,
    finding,
    says,
)
from gpuverify.rules.constants import FROM_NVIDIA_SMI, FROM_NVML, FROM_PCI_CONFIG
from gpuverify.rules.on_file import own_values, some

_NO_MATCHING_SHAPE = Code(
    id="unreadable",
    outcome=Outcome.INCONCLUSIVE,
    text="{observed}: masked, or in a shape that is not known.",
)
_AGREES = Code(id="agrees", outcome=Outcome.PASS, text="{observed}.")
_DIFFERS = Code(
    id="differs",
    outcome=Outcome.WARN,
    text="The story does not fit itself: {observed}; expected {expected}.",
)
_PART_NUMBERS = (
    "nvidia-smi manual page, sections on part numbers and InfoROM versions",
    "NVIDIA/open-gpu-kernel-modules, ctrl2080gpu.h (GPU part number, project and SKU)",
)


_UNNUMBERED = frozenset({"consumer", "mobile"})
"""Forms whose boards show no part number."""


def _board(subject: Subject) -> tuple[Claim, BoardPartNumber | None]:
    """Return the board part number, as claimed and taken apart."""
    claim = subject.read("gpu.board_part_number")
    return claim, parse_board_part_number(claim.value) if isinstance(claim.value, str) else None


def _image(subject: Subject) -> tuple[Claim, InforomImage | None]:
    """Return the InfoROM image version, as claimed and taken apart."""
    claim = subject.read("inforom.image_version")
    return claim, parse_inforom_image(claim.value) if isinstance(claim.value, str) else None


def _unusable(rule: Rule, *pairs: tuple[Claim, object]) -> Finding:
    """Say which claim is absent, or has a shape that is not known."""
    missing = [claim for claim, _ in pairs if claim.value is None]
    if missing:
        return absent(rule, *missing)
    odd = [claim for claim, parsed in pairs if parsed is None]
    return finding(
        rule,
        "unreadable",
        observed="; ".join(says(claim) for claim in odd),
        basis=basis_of(*odd),
        claims=cite(*odd),
    )


def _check_device(subject: Subject) -> Iterator[Finding]:
    """L1: the GPU part number starts with the PCI device id."""
    rule, product = GPU_PART_NUMBER_DEVICE, subject.product
    part = subject.read("gpu.gpu_part_number")
    parsed = parse_gpu_part_number(part.value) if isinstance(part.value, str) else None
    device = subject.read("pci.device_id", FROM_PCI_CONFIG, FROM_NVML, FROM_NVIDIA_SMI)
    if not part.ok and product is not None and not product.has("gpu-part-number"):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    if parsed is None or not isinstance(device.value, int):
        yield _unusable(rule, (part, parsed), (device, device.value))
        return
    yield finding(
        rule,
        "agrees" if parsed.device_id == device.value else "differs",
        observed=f"{says(part)}, {says(device, f'device id {device.value:04X}')}",
        expected=f"a part number that starts with {device.value:04X}",
        basis=basis_of(part, device),
        claims=cite(part, device),
    )


GPU_PART_NUMBER_DEVICE = Rule(
    id="lattice.gpu-part-number-device",
    title="GPU part number against PCI device id",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(_AGREES, _DIFFERS, _NO_MATCHING_SHAPE, NO_VALUE, NOT_FOR_PRODUCT),
    shows="The device id in the part number, which the driver builds from VBIOS and chip, is the "
    "device id on the bus.",
    limit="Both pass through the driver.",
    near_miss="Old drivers print the board part number in this field: it has another shape.",
    references=_PART_NUMBERS,
    check=_check_device,
)


def _check_project(subject: Subject) -> Iterator[Finding]:
    """L2: the project in the board part number is the one in the InfoROM image."""
    rule = BOARD_PROJECT
    board_claim, board = _board(subject)
    image_claim, image = _image(subject)
    if image is not None and image.generic and (named := _named_images(subject)):
        yield finding(
            rule,
            "generic-instead",
            observed=says(image_claim),
            expected=some(named),
            claims=cite(image_claim),
        )
        return
    if image is not None and image.generic:
        yield finding(rule, "generic-image", observed=says(image_claim), claims=cite(image_claim))
        return
    if board is None or image is None:
        yield _unusable(rule, (board_claim, board), (image_claim, image))
        return
    yield finding(
        rule,
        "agrees" if board.project == image.project else "differs",
        observed=f"{says(board_claim)} as board, {says(image_claim)} as InfoROM image",
        expected=f"an InfoROM image of project {board.project}",
        basis=basis_of(board_claim, image_claim),
        claims=cite(board_claim, image_claim),
    )


def _named_images(subject: Subject) -> list[str]:
    """Return the images on file for the product, where each names a project; else none."""
    seen = [str(value.value) for value in own_values(subject, "inforom.sku")]
    return [] if any(sku.startswith("G00") for sku in seen) else list(dict.fromkeys(seen))


_GENERIC = Code(
    id="generic-image",
    outcome=Outcome.NOT_APPLICABLE,
    text="{observed}, a generic InfoROM image that names no board project.",
)

BOARD_PROJECT = Rule(
    id="lattice.board-project",
    title="Board project in part number and InfoROM image",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(
        _AGREES,
        _DIFFERS,
        _GENERIC,
        Code(
            id="generic-instead",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, a generic InfoROM image that names no board project; on file: "
            "{expected}.",
        ),
        _NO_MATCHING_SHAPE,
        NO_VALUE,
    ),
    shows="Board part number and InfoROM image name one board project.",
    limit="Both stand in the InfoROM, which can be written.",
    near_miss="Consumer boards carry generic images (G001, G002).",
    references=_PART_NUMBERS,
    check=_check_project,
)


def _check_sku(subject: Subject) -> Iterator[Finding]:
    """L3: equal SKUs on SXM modules; elsewhere a pair seen on the product."""
    rule, product = BOARD_SKU, subject.product
    board_claim, board = _board(subject)
    image_claim, image = _image(subject)
    if image is not None and image.generic:
        yield finding(rule, "generic-image", observed=says(image_claim), claims=cite(image_claim))
        return
    if board is None or image is None:
        yield _unusable(rule, (board_claim, board), (image_claim, image))
        return
    observed = f"{says(board_claim)} as board, {says(image_claim)} as InfoROM image"
    claims, basis = cite(board_claim, image_claim), basis_of(board_claim, image_claim)
    if board.form in ("692", "695"):
        yield finding(
            rule,
            "agrees" if board.sku == image.sku else "differs",
            observed=observed,
            expected=f"SKU {board.sku} in the InfoROM image",
            basis=basis,
            claims=claims,
        )
        return
    boards = {v.value for v in own_values(subject, "board.sku")}
    images = {v.value for v in own_values(subject, "inforom.sku")}
    known = board.without_revision in boards and image.project_and_sku in images
    yield finding(
        rule,
        "pair-on-file" if known else "pair-unseen",
        observed=observed,
        expected=product.name if product else "the product",
        basis=basis,
        claims=claims,
    )


BOARD_SKU = Rule(
    id="lattice.board-sku",
    title="Board SKU against InfoROM SKU",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(
        _AGREES,
        _DIFFERS,
        Code(
            id="pair-on-file", outcome=Outcome.PASS, text="{observed}: both on file for {expected}."
        ),
        Code(
            id="pair-unseen",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}, a pair not seen on {expected} yet. On boards of this form the two "
            "numbers differ honestly.",
        ),
        _GENERIC,
        _NO_MATCHING_SHAPE,
        NO_VALUE,
    ),
    shows="Board part number and InfoROM image name one SKU.",
    limit="Both stand in the InfoROM, which can be written.",
    near_miss="Any 900- or 965- board: there the two numbers are not equal by design.",
    references=_PART_NUMBERS,
    check=_check_sku,
)


def _check_inforom(subject: Subject) -> Iterator[Finding]:
    """L4: the InfoROM's SKU is not one of another product."""
    rule, product = INFOROM_SKU, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim, image = _image(subject)
    if image is None:
        yield _unusable(rule, (claim, image))
    elif image.generic:
        yield finding(rule, "generic-image", observed=says(claim), claims=cite(claim))
    else:
        yield compare_value(
            rule, subject, (claim,), image.project_and_sku, field="inforom.sku", said=says(claim)
        )


INFOROM_SKU = Rule(
    id="lattice.inforom-sku",
    title="InfoROM SKU against the products that carry it",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(*LIST_CODES, _GENERIC, _NO_MATCHING_SHAPE),
    shows="The InfoROM image is one of the product's.",
    limit="The InfoROM can be written; its checksums are no signature.",
    near_miss="A SKU that is on file for nobody.",
    references=_PART_NUMBERS,
    check=_check_inforom,
)


def _check_chip(subject: Subject) -> Iterator[Finding]:
    """L4: the chip SKU is not one of another product."""
    rule, product = CHIP_SKU, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim = subject.read("gpu.gpu_part_number")
    parsed = parse_gpu_part_number(claim.value) if isinstance(claim.value, str) else None
    if not claim.ok and not product.has("gpu-part-number"):
        yield finding(rule, "not-for-product", expected=product.name)
    elif parsed is None:
        yield _unusable(rule, (claim, parsed))
    else:
        yield compare_value(
            rule,
            subject,
            (claim,),
            parsed.without_stepping,
            field="gpu.chip_sku",
            said=says(claim),
        )


CHIP_SKU = Rule(
    id="lattice.chip-sku",
    title="Chip SKU against the products that carry it",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(*LIST_CODES, _NO_MATCHING_SHAPE),
    shows="The GPU part number is one of the product's: 885 and 865 tell H100 from H800.",
    limit="The driver builds it; nvidia-smi alone prints it.",
    near_miss="A chip SKU that is on file for nobody.",
    references=(*_PART_NUMBERS, "NVIDIA/nvtrust, names of reference integrity manifests"),
    check=_check_chip,
)


def _check_board_part(subject: Subject) -> Iterator[Finding]:
    """Compare the board part number with the product's; no other's accuses by itself."""
    rule, product = BOARD_PART_NUMBER, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    claim, board = _board(subject)
    if not claim.ok and product.form in _UNNUMBERED:
        yield finding(rule, "not-for-product", expected=product.name)
        return
    if board is None:
        yield _unusable(rule, (claim, board))
        return
    yield compare_value(
        rule,
        subject,
        (claim,),
        board.without_revision,
        field="board.sku",
        said=says(claim),
        accuse=False,
    )


BOARD_PART_NUMBER = Rule(
    id="lattice.board-part-number",
    title="Board part number among the product's",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(*OPEN_LIST_CODES, _NO_MATCHING_SHAPE),
    shows="The board part number is one of the product's.",
    limit="It stands in the InfoROM, which can be written; lists of part numbers are incomplete.",
    near_miss='"A800" inside a part number is a large buyer\'s build, not the export card.',
    references=_PART_NUMBERS,
    check=_check_board_part,
)

_SEGMENTS = {"2": "data centre", "5": "workstation", "1": "consumer or mining"}


@functools.lru_cache(maxsize=1024)
def _expected_segments(key: ProductKey) -> frozenset[str]:
    """Return the segments that a product's boards can carry, empty where that is not known."""
    product = key.product
    own = frozenset(
        board.segment
        for value in product.get("gpu.board_part_number")
        if (board := parse_board_part_number(str(value.value))) is not None
    )
    if own or product.status in (ProductStatus.AUTOMOTIVE, ProductStatus.ENGINEERING):
        return own
    if product.form == "workstation":
        return frozenset("5")
    if product.form == "consumer" or product.status is ProductStatus.MINING:
        return frozenset("1")
    return frozenset("2") if product.has("datacenter") else frozenset()


@functools.lru_cache(maxsize=64)
def _segments_text(segments: frozenset[str]) -> str:
    """Return segments for people."""
    return " or ".join(_SEGMENTS.get(segment, segment) for segment in sorted(segments))


def _check_segment(subject: Subject) -> Iterator[Finding]:
    """L5: the first character of the second group names the market."""
    rule, product = SEGMENT, subject.product
    if product is None:
        yield finding(rule, "no-product")
        return
    expected = _expected_segments(product.key)
    claim, board = _board(subject)
    if not expected or (not claim.ok and product.form in _UNNUMBERED):
        yield finding(rule, "not-for-product", expected=product.name)
        return
    if board is None:
        yield _unusable(rule, (claim, board))
        return
    code = "agrees" if board.segment in expected else "differs"
    if code == "differs" and board.segment not in _SEGMENTS:
        code = "unreadable"
    yield finding(
        rule,
        code,
        observed=f"{says(claim)}, a {_SEGMENTS.get(board.segment, 'new')} board",
        expected=f"a {_segments_text(expected)} board",
        basis=basis_of(claim),
        claims=cite(claim),
    )


SEGMENT = Rule(
    id="lattice.segment",
    title="Market segment in the board part number",
    axis=Axis.IDENTITY,
    group=Group.LATTICE,
    codes=(_AGREES, _DIFFERS, _NO_MATCHING_SHAPE, NO_VALUE, NO_PRODUCT, NOT_FOR_PRODUCT),
    shows="The board is of the product's market: data centre, workstation, consumer or mining.",
    limit="It stands in the InfoROM, which can be written.",
    near_miss="A mining board named as such; pre-series boards.",
    references=_PART_NUMBERS,
    check=_check_segment,
)

RULES = (
    GPU_PART_NUMBER_DEVICE,
    BOARD_PROJECT,
    BOARD_SKU,
    INFOROM_SKU,
    CHIP_SKU,
    BOARD_PART_NUMBER,
    SEGMENT,
)
