"""`gpuverify compare`: is it the same card, in the same state?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gpuverify.cli.verifying import Asked, Bench, trust_options
from gpuverify.errors import UsageError

if TYPE_CHECKING:
    from gpuverify.model.verification import Comparison
    from gpuverify.signing.compare import Card


@click.command("compare", short_help="Is it the same card, in the same state?")
@click.argument("earlier", metavar="EARLIER")
@click.argument("later", metavar="LATER")
@trust_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option("-v", "--verbose", is_flag=True, help="Also list what was compared.")
def command(
    earlier: str,
    later: str,
    trust: str | None,
    journal: str | None,
    no_journal: bool,  # noqa: FBT001 - click passes by name
    tsa_roots: tuple[str, ...],
    accept_replayed: bool,  # noqa: FBT001 - click passes by name
    as_json: bool,  # noqa: FBT001 - click passes by name
    verbose: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Is it the same card, in the same state?

    EARLIER and LATER are signed reports (or sets of them), such as the seller's and the one of your
    own intake; evidence files and nvidia-smi logs are taken too, but anyone can edit those: with
    one of them the answer is never better than 3. Exit 0: same card, same state; 1: same card,
    changed; 2: not the card; 3: not comparable.
    """
    from gpuverify.cli.exit_codes import combine
    from gpuverify.cli.output import write_stdout
    from gpuverify.cli.verifying import open_bench
    from gpuverify.signing.compare import compare_sets

    if earlier == later == "-":
        raise UsageError("standard input (-) can be read once")
    asked = Asked(
        trust=trust,
        journal=journal,
        use_journal=not no_journal,
        tsa_roots=tsa_roots,
        accept_replayed=accept_replayed,
        max_age="none",
    )
    bench = open_bench(asked)
    found = compare_sets(_cards(earlier, bench), _cards(later, bench))
    code = combine(one.exit_code for one in found)
    write_stdout(_document(found, code) if as_json else _text(found, code, verbose=verbose))
    return code


def _document(found: Sequence[Comparison], code: int) -> str:
    """Lay the comparisons out as JSON."""
    from gpuverify.render.result_json import document_text
    from gpuverify.render.verification_json import comparison_document, comparisons_document

    if len(found) == 1:
        return document_text(comparison_document(found[0]))
    return document_text(comparisons_document(found, code))


def _text(found: Sequence[Comparison], code: int, *, verbose: bool) -> str:
    """Lay the comparisons out for a terminal."""
    import sys

    from gpuverify.render.comparison_text import comparison_text
    from gpuverify.render.style import standard_style

    return comparison_text(found, code, standard_style(sys.stdout), verbose=verbose)


def _cards(path: str, bench: Bench) -> list[Card]:
    """Read one side: signed reports, or evidence that nobody signed.

    Raises:
        Refused: A report is refused.
        GpuverifyError: The file is missing or not what it has to be.
    """
    from gpuverify.cli.verifying import documents
    from gpuverify.codec.envelope_json import handed_over_instead
    from gpuverify.codec.read import load_bytes
    from gpuverify.codec.report_lines import cut_envelopes
    from gpuverify.codec.report_units import looks_signed

    if path == "-":  # it can be read once
        data = load_bytes(path)
        read = list(cut_envelopes(data, "standard input"))
    else:
        data, read = b"", [document for _, document in documents((path,))]
    if not read or not (looks_signed(read[0][1]) or handed_over_instead(read[0][1])):
        return _unsigned(path, data)
    return [card for card in (_signed(d, bench) for d in read) if card is not None]


def _signed(document: tuple[str, bytes], bench: Bench) -> Card | None:
    """Verify one report; None for the statement of a set, whose reports stand beside it."""
    from gpuverify.model.evidence import EvidenceClass
    from gpuverify.model.refusal import Refused
    from gpuverify.model.report import Report
    from gpuverify.signing.reappraise import card_of
    from gpuverify.signing.verify import verify_signature_only

    origin, data = document
    found = verify_signature_only(data, origin, bench.demands, bench.world)
    if found.refusal is not None:
        raise Refused(found.refusal, f"{found.origin}: {found.message.partition(': ')[2]}")
    if not isinstance(found.report, Report):
        return None
    doubts = []
    stated = found.report.evidence_class
    if stated is not EvidenceClass.LIVE:
        doubts.append(f"{found.origin}: the signer states that the evidence is {stated.value}")
    if found.namespace != "gpuverify-report":
        doubts.append(f"{found.origin}: signed by a key that is trusted for tests only")
    return card_of(found.report, found.report.evidence, found.origin, tuple(doubts))


def _unsigned(path: str, data: bytes) -> list[Card]:
    """Read evidence that nobody signed."""
    from gpuverify.codec.evidence_json import evidence_sha256
    from gpuverify.codec.read import load_path, read_evidence
    from gpuverify.signing.compare import Card

    evidence = read_evidence(data, "standard input") if path == "-" else load_path(path)
    when = None if evidence.collected_ms is None else evidence.collected_ms // 1000
    digest = evidence_sha256(evidence)
    doubt = f"{evidence.origin}: unsigned, so anyone can have edited it"
    return [
        Card(
            origin=path,
            device=device,
            host=evidence.host,
            start_s=when,
            end_s=when,
            digest=f"{digest}:{device.claims.value('gpu.uuid')}",
            doubts=(doubt,),
        )
        for device in evidence.devices
    ]
