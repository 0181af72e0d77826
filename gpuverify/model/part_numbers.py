"""The identifying groups inside NVIDIA part numbers and InfoROM image versions.

Shapes as seen in public read-outs: board `692-2G506-0210-002` (form, project, SKU, revision), GPU
`20B2-895-A1` (PCI device id, chip SKU, stepping), InfoROM image `G506.0210.00.03` (project, SKU,
two revisions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuverify.model.keeping import kept_if_short

_BOARD = re.compile(r"(\d{3})-([0-9A-Z])([0-9A-Z]{4})-([0-9A-Z]{4})-([0-9A-Z]{3})")
_GPU = re.compile(r"([0-9A-F]{4})-([0-9A-Z]{3})-([0-9A-Z]{2})")
_INFOROM = re.compile(r"([0-9A-Z]{4})\.([0-9A-Z]{4})\.([0-9A-Z]{2})\.([0-9A-Z]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPartNumber:
    """A board part number taken apart.

    Attributes:
        form: First group: 900 retail assembly, 692/695 SXM module, 699 bare board, 965 other.
        segment: First character of group 2: "2" data centre, "5" workstation, "1" consumer.
        project: The four characters after it, e.g. "G506".
        sku: Third group, e.g. "0210".
        revision: Fourth group.
    """

    form: str
    segment: str
    project: str
    sku: str
    revision: str

    @property
    def without_revision(self) -> str:
        """The part number up to the SKU, e.g. `692-2G506-0210`."""
        return f"{self.form}-{self.segment}{self.project}-{self.sku}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPartNumber:
    """A GPU part number taken apart.

    Attributes:
        device_id: PCI device id that stands in it.
        chip_sku: Second group, e.g. "895".
        stepping: Third group.
    """

    device_id: int
    chip_sku: str
    stepping: str

    @property
    def without_stepping(self) -> str:
        """Device id and chip SKU, e.g. `20B2-895`."""
        return f"{self.device_id:04X}-{self.chip_sku}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InforomImage:
    """An InfoROM image version taken apart.

    Attributes:
        project: First group; "G001" and other G00x are generic images without a project.
        sku: Second group.
    """

    project: str
    sku: str

    @property
    def generic(self) -> bool:
        """Whether the image names no board project (GeForce boards print G001 or G002)."""
        return self.project.startswith("G00")

    @property
    def project_and_sku(self) -> str:
        """Project and SKU, e.g. `G506.0210`."""
        return f"{self.project}.{self.sku}"


@kept_if_short(512)
def parse_board_part_number(text: str) -> BoardPartNumber | None:
    """Take a board part number apart; None where the text has another shape."""
    match = _BOARD.fullmatch(text.strip().upper())
    if match is None:
        return None
    form, segment, project, sku, revision = match.groups()
    return BoardPartNumber(form=form, segment=segment, project=project, sku=sku, revision=revision)


@kept_if_short(512)
def parse_gpu_part_number(text: str) -> GpuPartNumber | None:
    """Take a GPU part number apart; None where the text has another shape."""
    match = _GPU.fullmatch(text.strip().upper())
    if match is None:
        return None
    return GpuPartNumber(
        device_id=int(match.group(1), 16), chip_sku=match.group(2), stepping=match.group(3)
    )


@kept_if_short(512)
def parse_inforom_image(text: str) -> InforomImage | None:
    """Take an InfoROM image version apart; None where the text has another shape."""
    match = _INFOROM.fullmatch(text.strip().upper())
    if match is None:
        return None
    return InforomImage(project=match.group(1), sku=match.group(2))


@kept_if_short(256)
def driver_branch(version: str) -> int | None:
    """Return the branch of a driver version (`550` of `550.54.14`), None if it has none.

    Branches have two or three digits; a longer number is no version that NVIDIA gave.
    """
    match = re.match(r"\s*(\d{2,3})\.\d", version)
    return int(match.group(1)) if match else None
