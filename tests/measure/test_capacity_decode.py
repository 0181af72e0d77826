"""What a wrong cell holds, where bits of it are bad too."""

from __future__ import annotations

import pytest

from gpuverify.measure.capacity_decode import Kind, decode_cell
from gpuverify.measure.capacity_evidence import BadCell
from gpuverify.measure.reference import cell

K0, K1 = 0x1234_5678_9ABC_DEF1, 0xFEDC_BA98_7654_3217
TOTAL = 1 << 25
OTHER = TOTAL // 2 + 9


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 0, Kind.ALIAS),
        (3, 0, Kind.ALIAS),
        (0, 5 << 40, Kind.ALIAS),
        (1, 1, Kind.GARBAGE),  # with a bad bit in both halves neither tells the cell
        (0x1F, 0, Kind.GARBAGE),  # more than a few bad bits
    ],
)
def test_a_bad_bit_hides_no_alias(low: int, high: int, kind: Kind) -> None:
    right = cell(OTHER, K0, K1)
    found = decode_cell(BadCell(cell=9, low=right[0] ^ low, high=right[1] ^ high), K0, K1, TOTAL)
    assert found.kind is kind
    assert found.written_for == (OTHER if kind is Kind.ALIAS else 0)


def test_a_number_that_was_never_written_is_no_alias() -> None:
    low, high = cell(TOTAL + 5, K0, K1)
    assert decode_cell(BadCell(cell=9, low=low, high=high), K0, K1, TOTAL).kind is Kind.GARBAGE
