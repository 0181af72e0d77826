"""The certificate of a set: which reports make a server complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuverify.render import words
from gpuverify.render.certificate import Cell, Field, Part, Table, signer_speaks, time_text

if TYPE_CHECKING:
    from gpuverify.model.report import ReportSet
    from gpuverify.model.verification import Verification


_NOT_DONE = Cell(text="not performed", role="unknown")


def set_parts(report_set: ReportSet, verification: Verification) -> tuple[Part, ...]:
    """Return what a set says.

    Args:
        report_set: The set.
        verification: What came of it.
    """
    signer = report_set.signer
    fields = [
        Field(label="Set id", value=Cell(text=report_set.set_id, mono=True)),
        Field(label="Cards", value=Cell(text=str(report_set.count))),
        Field(label="Chassis serial", value=Cell(text=report_set.chassis_serial or "not stated")),
        Field(label="Signer", value=Cell(text=f"{signer.name} ({report_set.role.value})")),
        Field(label="Issued", value=Cell(text=time_text(report_set.issued_s))),
        *(Field(label="Links", value=Cell(text=line)) for line in report_set.topology),
    ]
    fields += _together(verification)
    own = _verdicts(verification)
    rows = tuple(
        (
            Cell(text=member.slot),
            own.get(member.gpu_uuid.lower(), _NOT_DONE),
            Cell(text=member.gpu_uuid, mono=True),
            Cell(text=member.payload_sha256[:12], mono=True),
        )
        for member in report_set.members
    )
    table = Table(
        caption="Members: every one of them belongs to the lot that was tested",
        header=("Slot", "Own appraisal", "GPU", "Digest begins"),
        rows=rows,
    )
    return (
        Part(
            id="set",
            title="The set",
            speaker=signer_speaks(verification),
            fields=tuple(fields),
            tables=(table,),
        ),
    )


def _together(verification: Verification) -> list[Field]:
    """Return what holds of all cards together and of none alone, such as their number."""
    if verification.result is None:
        return []
    batch = verification.result.batch
    role = words.VERDICT_ROLE[batch.would_be or batch.verdict]
    return [Field(label="Together", value=Cell(text=reason, role=role)) for reason in batch.reasons]


def _verdicts(verification: Verification) -> dict[str, Cell]:
    """Return own verdicts by UUID in lower case."""
    if verification.result is None:
        return {}
    return {
        str(one.device.claims.value("gpu.uuid") or "").lower(): Cell(
            text=words.verdict_cell(one.verdict, one.would_be),
            role=words.VERDICT_ROLE[one.would_be or one.verdict],
        )
        for one in verification.result.devices
    }
