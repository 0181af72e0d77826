"""The parts of a certificate about one card: appraisal, item, checks, results, the test itself.

The fields are those that ISO/IEC 17025:2017 asks of a test report (7.8.2.1), with the coverage
statement of SAE AS6171/1. Neither is claimed to be fulfilled: a laboratory is more than a form.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpuverify.model.finding import Outcome
from gpuverify.model.fraud import FRAUDS
from gpuverify.model.refusal import WRONG_PURPOSE
from gpuverify.render import words
from gpuverify.render.certificate import (
    ONLY_THIS_ITEM,
    Cell,
    Field,
    Part,
    Table,
    own_device,
    signer_speaks,
    time_text,
)
from gpuverify.render.certificate_checks import checks_part, comparison_parts
from gpuverify.render.certificate_results import counters_part, measured_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpuverify.model.product import Product
    from gpuverify.model.report import Coverage, Report, StatedItem, Tool
    from gpuverify.model.verdict import DeviceResult
    from gpuverify.model.verification import Verification

_KINDS = {fraud.id: fraud.text for fraud in FRAUDS}
_NO_CLAIM = (
    "Nothing was claimed by you, so nothing can be confirmed: add --claim PRODUCT. What the signer "
    "says is sold was not used."
)
_UNSEEN = (
    "Past owners, theft, warranty, hours at load and clean repairs cannot be seen. Counters can be "
    "cleared, serial and part numbers rewritten, and a host that the seller controls can say "
    "anything."
)
_NOT_EXAMINED = "Not examined: what lies under the lid, the soldering, the label on the card."

_NONE = Cell(text="not stated", role="faint")
_NOT_DONE = Cell(text="not performed", role="unknown")


def report_parts(verification: Verification, report: Report) -> tuple[Part, ...]:
    """Return what stands between what the signature proves and how it was verified.

    Args:
        verification: What came of the report.
        report: The report; its evidence is about one card.
    """
    speaker = signer_speaks(verification)
    own = own_device(verification)
    claims = report.evidence.devices[0].claims
    return (
        _item_part(report, speaker),
        _appraisal_part(verification, report, own),
        *comparison_parts(verification.comparisons),
        checks_part(report, own),
        measured_part(claims, _reference(own), speaker),
        counters_part(claims, speaker),
        _coverage_part(report.coverage, speaker),
        _limits_part(),
        _test_part(report, speaker),
        _words_part(report, speaker),
    )


def _reference(own: DeviceResult | None) -> Product | None:
    """Return the product whose bands are shown: the one sold, else the one that it reads as."""
    if own is None:
        return None
    return own.sale.product if own.sale is not None else own.recognition.product


def _field(label: str, text: str | None, *, mono: bool = False, long: bool = False) -> Field:
    """Return a value behind its label; what is not there is said to be missing."""
    return Field(label=label, value=Cell(text=text, mono=mono) if text else _NONE, long=long)


def _item_part(report: Report, speaker: str) -> Part:
    """Name the card (7.8.2.1 g)."""
    identity = report.identity
    return Part(
        id="item",
        title="Item tested",
        speaker=speaker,
        fields=(
            _field("Vendor", identity.vendor),
            _field("Board serial", identity.board_serial, mono=True),
            _field("GPU UUID", identity.gpu_uuid, mono=True),
            _field("Board part", identity.board_part_number, mono=True),
            _field("PCI device", identity.pci_device_id, mono=True),
            _field("PCI subsystem", identity.pci_subsystem_id, mono=True),
            *(_field("Sold as", text) for text in _sale_words(report.sale)),
        ),
    )


def _sale_words(items: Iterable[StatedItem]) -> list[str]:
    """Return what the signer says is sold, a sentence an item."""
    sentences = []
    for item in items:
        parts = [item.product]
        if item.memory_mib is not None:
            parts.append(f"{item.memory_mib} MiB")
        parts.append(item.condition or "condition not stated")
        if item.count is not None:
            parts.append(words.plural(item.count, "board"))
        if item.max_hours is not None:
            parts.append(f"at most {item.max_hours} h")
        if item.as_given and item.as_given != item.product:
            parts.append(f'in the words "{item.as_given}"')
        sentences.append(", ".join(parts))
    return sentences


def _appraisal_part(verification: Verification, report: Report, own: DeviceResult | None) -> Part:
    """Put own appraisal beside the signer's opinion."""
    rows = _own_rows(verification, report, own)
    refusal = verification.refusal
    sentences = [f"Difference: {text}" for text in verification.differences]
    if own is None:
        why = "the card is not among those that were appraised"
        if refusal is not None and refusal.exit_code == WRONG_PURPOSE:
            why = f"the report was refused before ({refusal.value})"
        elif verification.result is None:
            why = "it was not asked for"
        sentences.append(
            f"There is no own appraisal: {why}. The signer's opinion is no substitute."
        )
    elif verification.result is not None and not verification.result.claimed:
        sentences.append(_NO_CLAIM)
    return Part(
        id="appraisal",
        title="Appraisal",
        speaker="By this tool; the signer's opinion stands beside it and was not used",
        sentences=tuple(sentences),
        tables=(
            Table(
                caption="Own appraisal and the signer's opinion",
                header=("Question", "Own appraisal", "Signer's opinion"),
                rows=tuple(rows),
            ),
            *_reasons(report, own),
        ),
    )


def _own_rows(
    verification: Verification, report: Report, own: DeviceResult | None
) -> list[tuple[Cell, Cell, Cell]]:
    """Return question, own answer and the signer's."""
    opinion, result = report.opinion, verification.result
    sold = "; ".join(_sale_words(report.sale))
    stated = words.verdict_cell(opinion.verdict, opinion.would_be)
    rows: list[tuple[str, Cell | None, Cell]] = [
        ("Verdict", None, Cell(text=stated)),
        ("Compared with", None, Cell(text=sold) if sold else _NONE),
        ("Policy", None, Cell(text=f"{opinion.policy_name} ({opinion.policy_sha256[:8]})")),
        ("Reference data", None, Cell(text=report.reference_data.version)),
        ("Assurance", None, Cell(text=opinion.assurance.value)),
        (
            "Memory shown at",
            None,
            Cell(
                text="not shown" if opinion.capacity_basis is None else opinion.capacity_basis.value
            ),
        ),
        ("Condition", None, Cell(text=words.CONDITION_WORDS[opinion.condition])),
        ("History", None, Cell(text=words.HISTORY_WORDS[opinion.history])),
        ("Checks", None, Cell(text=_counted(check.outcome for check in report.checks))),
    ]
    if own is None or result is None:
        return [(Cell(text=question), _NOT_DONE, signer) for question, _, signer in rows]
    judged = own.verdict if own.would_be is None else own.would_be
    capacity = "not shown" if own.capacity_basis is None else own.capacity_basis.value
    claimed = words.sale_words([own.sale]) if own.sale is not None else []
    answers = (
        Cell(text=words.verdict_cell(own.verdict, own.would_be), role=words.VERDICT_ROLE[judged]),
        Cell(text="; ".join(claimed) or "nothing was claimed"),
        Cell(text=f"{result.policy_name} ({result.policy_sha256[:8]})"),
        Cell(text=result.refdb_version),
        Cell(text=own.assurance.value),
        Cell(text=capacity),
        Cell(
            text=f"{words.CONDITION_WORDS[own.condition]} ({own.condition_checks_done} of "
            f"{own.condition_checks_known} checks could be done)"
        ),
        Cell(text=words.HISTORY_WORDS[own.history]),
        Cell(text=_counted(finding.outcome for finding in own.findings)),
    )
    return [
        (Cell(text=question), answer, signer)
        for (question, _, signer), answer in zip(rows, answers, strict=True)
    ]


def _counted(outcomes: Iterable[Outcome]) -> str:
    """Count checks by what came of them."""
    counts = Counter(outcomes)
    against = counts[Outcome.FAIL] + counts[Outcome.WARN]
    return (
        f"{counts[Outcome.PASS]} agree, {against} do not, {counts[Outcome.INCONCLUSIVE]} undecided"
    )


def _reasons(report: Report, own: DeviceResult | None) -> tuple[Table, ...]:
    """List the reasons of both sides, where there are any."""
    rows = [(Cell(text="own"), Cell(text=text)) for text in (own.reasons if own else ())]
    rows += [(Cell(text="signer"), Cell(text=text)) for text in report.opinion.reasons]
    if not rows:
        return ()
    return (
        Table(caption="Reasons, strongest first", header=("Whose", "Reason"), rows=tuple(rows)),
    )


def _coverage_part(coverage: Coverage, speaker: str) -> Part:
    """Say which kinds of fraud were looked for, and which were not."""
    rows = tuple(
        (state, Cell(text="; ".join(_KINDS.get(name, name) for name in names) or "none"))
        for names, state in (
            (coverage.covered, Cell(text="covered", role="good")),
            (coverage.under_covered, Cell(text="covered in part", role="doubt")),
            (coverage.not_covered, Cell(text="not covered", role="unknown")),
        )
    )
    counted = (
        f"{len(coverage.covered)} kinds of fraud covered, {len(coverage.under_covered)} in part, "
        f"{len(coverage.not_covered)} not."
    )
    return Part(
        id="coverage",
        title="Coverage",
        speaker=speaker,
        sentences=(
            "Covered means that a check spoke to it, not that it is excluded for good.",
            counted,
        ),
        tables=(
            Table(
                caption="Kinds of fraud that the run spoke to",
                header=("State", "Kinds"),
                rows=rows,
            ),
        ),
    )


def _limits_part() -> Part:
    """Say what no report of this kind can show."""
    return Part(
        id="limits",
        title="Limits",
        sentences=(ONLY_THIS_ITEM, _UNSEEN, _NOT_EXAMINED),
    )


def _test_part(report: Report, speaker: str) -> Part:
    """Say who tested when, where and how (7.8.2.1 b to k, n, o)."""
    collector, method, tool = report.collector, report.method, report.tool
    deviations = method.deviations or ("none stated",)
    fields = [
        _field("Report id", report.report_id, mono=True),
        _field("Tested by", report.signer.name),
        _field("Authorised by", f"{report.signer.principal}, as {report.role.value}"),
        _field("Contact", report.signer.contact),
        _field("Place", report.location),
        _field("Customer, order", report.order),
        Field(label="Received on", value=Cell(text="not recorded by this tool", role="faint")),
        _field("Tested from", time_text(report.measured_start_s)),
        _field("Tested until", time_text(report.measured_end_s)),
        _field("Issued", f"{time_text(report.issued_s)}, clock: {report.clock.value}"),
        _field("Method", f"measurement {method.profile}, rules {method.version}"),
        _field("Method SHA-256", method.sha256, mono=True, long=True),
        *(_field("Deviations", text) for text in deviations),
        Field(
            label="Sampling",
            value=Cell(text="this card; a set statement names the cards of a lot"),
        ),
        _field("Tool", " ".join(part for part in (tool.name, tool.version) if part)),
        _field("Ran on", _ran_on(tool)),
        _field("Tool's SHA-256", tool.files_sha256, mono=True, long=True),
        _field(
            "Reference data",
            f"{report.reference_data.name} {report.reference_data.version}"
            f" ({report.reference_data.sha256[:8]})",
        ),
        _field("Driver", collector.driver),
        _field("NVML library", collector.nvml_library),
        _field("its package", collector.nvml_package, long=True),
        _field("its SHA-256", collector.nvml_sha256, mono=True, long=True),
        _field("Kernel", collector.kernel),
        _field("Virtual machine", collector.virtualised),
        _field("Container", collector.container),
        _field("Privileges", collector.privileges),
        _field("Sources", ", ".join(collector.sources)),
        _field("Evidence", f"{report.evidence_class.value}, by the signer's word"),
        _field("Evidence SHA-256", report.document_sha256, mono=True, long=True),
        *_challenge(report),
    ]
    return Part(id="test", title="The test", speaker=speaker, fields=tuple(fields))


def _ran_on(tool: Tool) -> str:
    """Say what the tool ran on."""
    parts = (f"Python {tool.python}" if tool.python else "", tool.platform or "")
    return ", ".join(part for part in parts if part)


def _challenge(report: Report) -> list[Field]:
    """Show the challenge that the report carries."""
    challenge = report.challenge
    if challenge is None:
        return [Field(label="Challenge", value=Cell(text="none", role="faint"))]
    order = f", order {challenge.order}" if challenge.order else ""
    return [
        _field("Challenge of", f"{challenge.issuer or 'an unnamed issuer'}{order}"),
        _field("its time", f"{time_text(challenge.issued_s)} to {time_text(challenge.expires_s)}"),
        _field("its nonce", challenge.nonce.hex(), mono=True, long=True),
    ]


def _words_part(report: Report, speaker: str) -> Part:
    """Show remarks, files and earlier reports: the signer's words alone."""
    tables = []
    if report.attachments:
        tables.append(
            Table(
                caption="Files that travel beside the report",
                header=("Name", "Type", "Bytes", "SHA-256"),
                rows=tuple(
                    (
                        Cell(text=one.name),
                        Cell(text=one.media_type),
                        Cell(text=str(one.size_bytes)),
                        Cell(text=one.sha256, mono=True),
                    )
                    for one in report.attachments
                ),
            )
        )
    if report.previous:
        tables.append(
            Table(
                caption="Earlier reports",
                header=("Report", "Role", "Relation", "Digest"),
                rows=tuple(
                    (
                        Cell(text=one.report_id, mono=True),
                        Cell(text=one.role.value),
                        Cell(text=one.relation.value),
                        Cell(text=one.payload_sha256, mono=True),
                    )
                    for one in report.previous
                ),
            )
        )
    remarks = tuple(_field("Remark", text) for text in report.remarks)
    return Part(
        id="words",
        title="Remarks, files and earlier reports",
        speaker=speaker,
        sentences=() if remarks or tables else ("The signer added nothing.",),
        fields=remarks,
        tables=tuple(tables),
    )
