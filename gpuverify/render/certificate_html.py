"""A certificate as one page: no script, no request, nothing that was not verified.

The page is a courtesy copy, and says so on top: whoever hands it over can edit it. It is a pure
function of the verifications (same input, same bytes), and every text goes through one escape.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from gpuverify.codec.text import printable
from gpuverify.errors import UsageError
from gpuverify.render.certificate import certificate_of, shown
from gpuverify.render.certificate_chart import gauge_svg, map_svg
from gpuverify.render.qr import label_text, qr_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuverify.model.verification import Verification
    from gpuverify.render.certificate import (
        Banner,
        Cell,
        Certificate,
        CheckLine,
        Part,
        Table,
    )
    from gpuverify.render.measured_values import Fingerprint, MemoryMap

_LONGEST = 20_000
"""Longest text that a report may hold."""

_PLAIN_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

_COURTESY = (
    "This page is a courtesy copy, not evidence: anyone can edit it. Verify the signed report "
    "itself with gpuverify verify, or with a verify.html that you did not get from the seller. "
    '"Own" and "you" mean whoever wrote this page with gpuverify show.'
)

_ON_PAPER = "The annex with all readings is left out on paper; it stands in the signed report."


def certificate_page(verifications: Sequence[Verification]) -> str:
    """Lay out what came of signed documents as one HTML page.

    Args:
        verifications: What came of each; all have to be documents that may be shown.

    Returns:
        The page, in UTF-8 when it is encoded, the same for the same input.

    Raises:
        UsageError: There is none, or one whose content may not be shown.
    """
    if not verifications or not all(shown(one) for one in verifications):
        raise UsageError("a page is written of verified reports only")
    certificates = [certificate_of(one, page=True) for one in verifications]
    style = _style(certificates)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    first = certificates[0]
    title = f"{first.title} {first.identifier}"
    if len(certificates) > 1:
        title += f" and {len(certificates) - 1} more"
    articles = "".join(
        _article(certificate, number) for number, certificate in enumerate(certificates, 1)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"{articles}</main>\n</body>\n</html>\n"
    )


def _style(certificates: Sequence[Certificate]) -> str:
    """Return the style sheet, with the report and the page number at the foot of printed pages."""
    sheet = resources.files("gpuverify.render").joinpath("data/certificate.css").read_text("utf-8")
    identifier = certificates[0].identifier
    if len(certificates) == 1 and _PLAIN_ID.fullmatch(identifier):
        sheet += (
            f'@page {{ @bottom-left {{ content: "Courtesy copy of report {identifier}"; '
            'font: 8pt sans-serif; } @bottom-right { content: counter(page) " of " '
            "counter(pages); font: 8pt sans-serif; } }\n"
        )
    return sheet


def _text(text: str) -> str:
    """Escape a text: controls made visible, markup made inert."""
    return escape(printable(text, _LONGEST))


def _said(cell: Cell) -> str:
    """Return a cell's text, isolated so that its writing direction stays its own."""
    names = " ".join(name for name in (cell.role, "mono" if cell.mono else "") if name)
    attribute = f' class="{names}"' if names else ""
    return f"<bdi{attribute}>{_text(cell.text)}</bdi>"


def _article(certificate: Certificate, number: int) -> str:
    """Lay out one certificate."""
    heading = f'{_text(certificate.title)} <bdi class="mono">{_text(certificate.identifier)}</bdi>'
    parts = [_part(part, f"c{number}-{part.id}") for part in certificate.parts if not part.annex]
    annex = [_part(part, f"c{number}-{part.id}") for part in certificate.parts if part.annex]
    if annex:
        annex.insert(0, f'<p class="paper">{_ON_PAPER}</p>\n')
    return (
        f'<article aria-labelledby="c{number}">\n'
        f'<p class="courtesy" role="note">{_text(_COURTESY)}</p>\n'
        f'<h1 id="c{number}">{heading}</h1>\n{_banner(certificate.banner)}'
        f"{''.join(parts)}{_label(certificate)}{''.join(annex)}"
        f'<p class="end">{_text(certificate.end)}</p>\n</article>\n'
    )


def _banner(banner: Banner) -> str:
    """Lay out what has to be seen first."""
    sentences = "".join(f"<p>{_text(sentence)}</p>" for sentence in banner.sentences)
    return (
        f'<div class="banner {banner.role}"><p class="headline">{_text(banner.headline)}</p>'
        f"{sentences}</div>\n"
    )


def _label(certificate: Certificate) -> str:
    """Lay out the QR code of the digest with its text; the text alone where segno is missing."""
    text = label_text(certificate.payload_sha256)
    return (
        f"<h2>Label</h2>\n<p>The digest of the signed report, for the card's packing. It says "
        "which report belongs to the card; it proves nothing by itself.</p>\n"
        f'{qr_svg(text)}<p class="mono">{text}</p>\n'
    )


def _part(part: Part, name: str) -> str:
    """Lay out one part."""
    kind = ' class="annex"' if part.annex else ""
    pieces = [f'<section{kind}>\n<h2 id="{name}">{_text(part.title)}</h2>\n']
    if part.speaker:
        pieces.append(f'<p class="speaker"><bdi>{_text(part.speaker)}</bdi></p>\n')
    pieces += [f"<p>{_text(sentence)}</p>\n" for sentence in part.sentences]
    if part.fields:
        rows = "".join(
            f"<dt>{_text(field.label)}</dt><dd>{_said(field.value)}</dd>\n" for field in part.fields
        )
        pieces.append(f"<dl>\n{rows}</dl>\n")
    if part.checks:
        pieces.append(_checks(part.checks))
    if part.fingerprint is not None:
        pieces.append(_fingerprint(part.fingerprint))
    if part.memory is not None:
        pieces.append(_memory(part.memory))
    pieces += [_table(table) for table in part.tables]
    return "".join(pieces) + "</section>\n"


def _rows(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table of cells that are HTML already; the first of a row is its header."""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f"<table>\n<caption>{_text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n"
    )


def _table(table: Table) -> str:
    """Lay out a table."""
    return _rows(table.caption, table.header, [[_said(cell) for cell in row] for row in table.rows])


def _checks(checks: Sequence[CheckLine]) -> str:
    """Lay out the checks."""
    judged = any(check.own for check in checks)
    rows = []
    for check in checks:
        name = f'<bdi class="mono">{_text(check.name)}</bdi>'
        row = [f"{name} ({_text(check.basis)}): <bdi>{_text(check.message)}</bdi>"]
        if judged:
            row.append(_word(check.own, check.own_role))
        row.append(_word(check.signer or "not stated", check.signer_role or "unknown"))
        rows.append(row)
    own = ("Own outcome",) if judged else ()
    return _rows("Checks, each with its basis", ("Check", *own, "Signer's"), rows)


def _word(word: str, role: str) -> str:
    """Return an outcome in its colour."""
    return f'<span class="word {role}">{_text(word)}</span>'


def _fingerprint(found: Fingerprint) -> str:
    """Lay out what was measured, each value drawn against its band."""
    rows = []
    for gauge in found.gauges:
        place = "" if found.doubt else gauge.place
        role = "good" if place == "in band" else "doubt"
        drawn = "" if found.doubt else gauge_svg(gauge)
        band = _text(gauge.band or "no band on file")
        if place:
            band += f' <span class="word {role}">({place})</span>'
        rows.append([f"{_text(gauge.label)}{drawn}", f"<bdi>{_text(gauge.text)}</bdi>", band])
    return _rows("Performance fingerprint", ("Quantity", "Measured", "Reference band"), rows)


def _memory(memory: MemoryMap) -> str:
    """Lay out the memory map with its legend."""
    words = "; ".join(memory.clauses())
    keys = [("tested", "tested, each byte its own"), ("untested", "not tested")]
    if memory.fold:
        keys.insert(1, ("again", "the same memory again"))
    if memory.slow is not None:
        keys.append(("slow", "far slower"))
    if memory.lost is not None:
        keys.append(("lost", "the card went away"))
    legend = "".join(
        f'<li><span class="key {name}" aria-hidden="true"></span> {text}</li>'
        for name, text in keys
    )
    return (
        f"<p>Memory, <bdi>{_text(words)}</bdi></p>\n{map_svg(memory, words)}\n"
        f'<ul class="legend">{legend}</ul>\n'
    )
