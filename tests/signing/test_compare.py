"""The comparison table: what two read-outs of one card may and may not say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from gpuverify.model.claims import Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence
from gpuverify.model.verification import Change, Comparison, Sameness
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.signing.compare import Card, compare_cards, compare_sets
from gpuverify.signing.comparison_table import FACTS, IGNORED, Relation

DAY = 86_400
HOUR = 3600
START = 1_790_000_000
MEASURED = ("fingerprint.", "capacity.", "measure.")

BASE: dict[str, Value] = {
    "gpu.uuid": "GPU-67275d30-83aa-4965-8d1f-a0fe9a2dcfef",
    "gpu.pdi": "0x1122334455667788",
    "gpu.serial": "1650922633008",
    "gpu.name": "NVIDIA A100-SXM4-80GB",
    "gpu.vbios_version": "92.00.45.00.05",
    "inforom.image_version": "G506.0210.00.03",
    "inforom.bbx_time_run_s": 900 * HOUR,
    "inforom.valid": True,
    "pci.device_id": 0x20B2,
    "pci.subsystem_device_id": 0x1463,
    "memory.total_bytes": 85_899_345_920,
    "remap.correctable_count": 2,
    "remap.uncorrectable_count": 1,
    "remap.histogram_max": 638,
    "remap.failure": False,
    "retired.double_bit_count": 3,
    "ecc.aggregate.dram_correctable": 40,
    "ecc.aggregate.dram_uncorrectable": 5,
    "ecc.volatile.dram_correctable": 9,
    "pci.replay_count": 17,
    "nvlink.link_count": 12,
    "ecc.mode_current": True,
    "fingerprint.sm_count": 108,
    "fingerprint.fp64_fma_milliops": 32_000,
    "fingerprint.memory_read_kb_s": 1_700_000_000,
    "capacity.class": "ok",
}


def claims(values: dict[str, Value]) -> ClaimSet:
    return ClaimSet(
        tuple(
            Claim(
                id=name,
                status=ClaimStatus.OK,
                value=value,
                source=Source.MEASURED if name.startswith(MEASURED) else Source.NVML,
            )
            for name, value in values.items()
        )
    )


def card(start_s: int | None = START, *, driver: str = "550.54.14", **changes: Any) -> Card:
    values = dict(BASE)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            values.pop(key)
        else:
            values[key] = value
    return Card(
        origin=f"{start_s}.json",
        device=DeviceEvidence(index=0, claims=claims(values)),
        host=claims({"driver.version": driver}),
        start_s=start_s,
        end_s=None if start_s is None else start_s + 60,
        digest=str(start_s),
    )


def later(**changes: Any) -> Card:
    return card(START + 3 * DAY, **changes)


def changes_of(found: Comparison) -> dict[str, Change]:
    return {one.claim_id: one.change for one in found.differences}


def test_the_same_card_in_the_same_state() -> None:
    found = compare_cards(card(), later())
    assert (found.sameness, found.exit_code, found.differences) == (Sameness.SAME, 0, ())
    assert "gpu.vbios_version" in found.compared
    assert "fingerprint.sm_count" in found.compared
    assert "power.limit_max_mw" in found.not_compared


EXPECTED: tuple[tuple[dict[str, Any], Sameness, str, Change], ...] = (
    ({"gpu__uuid": "GPU-00000000-83aa-4965-8d1f-a0fe9a2dcfef", "gpu__pdi": "0x99", "gpu__serial": "1650900000001"}, Sameness.NOT_THE_CARD, "gpu.uuid", Change.OTHER_CARD),
    ({"gpu__uuid": "GPU-00000000-83aa-4965-8d1f-a0fe9a2dcfef", "gpu__pdi": None}, Sameness.NOT_THE_CARD, "gpu.uuid", Change.OTHER_CARD),
    ({"gpu__pdi": "0x99"}, Sameness.NOT_THE_CARD, "gpu.pdi", Change.OTHER_CARD),
    ({"gpu__uuid": "GPU-00000000-83aa-4965-8d1f-a0fe9a2dcfef"}, Sameness.CHANGED, "gpu.uuid", Change.ALARM),
    ({"gpu__serial": "1650900000001"}, Sameness.CHANGED, "gpu.serial", Change.ALARM),
    ({"gpu__name": "NVIDIA A100-SXM4-40GB"}, Sameness.CHANGED, "gpu.name", Change.ALARM),
    ({"pci__device_id": 0x20B0}, Sameness.CHANGED, "pci.device_id", Change.ALARM),
    ({"pci__subsystem_device_id": 0x1533}, Sameness.CHANGED, "pci.subsystem_device_id", Change.ALARM),
    ({"gpu__vbios_version": "92.00.AF.00.05"}, Sameness.CHANGED, "gpu.vbios_version", Change.WARN),
    ({"gpu__vbios_version": "92.00.36.00.05"}, Sameness.CHANGED, "gpu.vbios_version", Change.ALARM),
    ({"gpu__vbios_version": "96.00.45.00.05"}, Sameness.CHANGED, "gpu.vbios_version", Change.ALARM),
    ({"inforom__image_version": "G506.0210.00.04"}, Sameness.CHANGED, "inforom.image_version", Change.WARN),
    ({"inforom__image_version": "G506.0212.00.04"}, Sameness.CHANGED, "inforom.image_version", Change.ALARM),
    ({"inforom__bbx_time_run_s": 900 * HOUR - 1}, Sameness.CHANGED, "inforom.bbx_time_run_s", Change.ALARM),
    ({"inforom__bbx_time_run_s": 974 * HOUR}, Sameness.CHANGED, "inforom.bbx_time_run_s", Change.ALARM),
    ({"inforom__bbx_time_run_s": 905 * HOUR}, Sameness.SAME, "inforom.bbx_time_run_s", Change.NOTE),
    ({"remap__correctable_count": 1}, Sameness.CHANGED, "remap.correctable_count", Change.ALARM),
    ({"remap__uncorrectable_count": 0}, Sameness.CHANGED, "remap.uncorrectable_count", Change.ALARM),
    ({"remap__uncorrectable_count": 2}, Sameness.CHANGED, "remap.uncorrectable_count", Change.WARN),
    ({"remap__histogram_max": 640}, Sameness.CHANGED, "remap.histogram_max", Change.ALARM),
    ({"remap__failure": True}, Sameness.CHANGED, "remap.failure", Change.WARN),
    ({"retired__double_bit_count": 2}, Sameness.CHANGED, "retired.double_bit_count", Change.ALARM),
    ({"ecc__aggregate__dram_correctable": 0}, Sameness.CHANGED, "ecc.aggregate.dram_correctable", Change.WARN),
    ({"ecc__aggregate__dram_correctable": 41}, Sameness.SAME, "ecc.aggregate.dram_correctable", Change.NOTE),
    ({"ecc__aggregate__dram_uncorrectable": 6}, Sameness.CHANGED, "ecc.aggregate.dram_uncorrectable", Change.WARN),
    ({"memory__total_bytes": 42_949_672_960}, Sameness.CHANGED, "memory.total_bytes", Change.ALARM),
    ({"nvlink__link_count": 11}, Sameness.CHANGED, "nvlink.link_count", Change.WARN),
    ({"inforom__valid": False}, Sameness.CHANGED, "inforom.valid", Change.WARN),
    ({"fingerprint__sm_count": 98}, Sameness.CHANGED, "fingerprint.sm_count", Change.ALARM),
    ({"fingerprint__fp64_fma_milliops": 16_000}, Sameness.CHANGED, "fingerprint.fp64_fma_milliops", Change.WARN),
    ({"fingerprint__memory_read_kb_s": 1_200_000_000}, Sameness.SAME, "fingerprint.memory_read_kb_s", Change.NOTE),
    ({"capacity__class": "folded"}, Sameness.CHANGED, "capacity.class", Change.ALARM),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "sameness", "claim_id", "change"), EXPECTED, ids=[str(row[0]) for row in EXPECTED]
)
def test_a_row_of_the_table(
    changed: dict[str, Any], sameness: Sameness, claim_id: str, change: Change
) -> None:
    found = compare_cards(card(), later(**changed))
    assert found.sameness is sameness, found.differences
    assert changes_of(found)[claim_id] is change
    codes = {Sameness.SAME: 0, Sameness.CHANGED: 1, Sameness.NOT_THE_CARD: 2}
    assert found.exit_code == codes[sameness]
    assert all(one.words and "{" not in one.words for one in found.differences)


@pytest.mark.parametrize(
    "changed",
    [
        {"gpu__name": "A100-SXM4-80GB"},  # drivers print it with and without the maker
        {"ecc__volatile__dram_correctable": 0},
        {"pci__replay_count": 0},
        {"fingerprint__memory_read_kb_s": 1_600_000_000},
        {"fingerprint__fp64_fma_milliops": 31_000},
        {"gpu__uuid": "GPU-67275D30-83AA-4965-8D1F-A0FE9A2DCFEF"},
        {"gpu__pdi": None},  # an older driver
        {"memory__total_bytes": 85_000_000_000, "driver": "580.105.08"},  # counts otherwise
    ],
    ids=str,
)
def test_what_is_no_news(changed: dict[str, Any]) -> None:
    found = compare_cards(card(), later(**changed))
    assert (found.exit_code, found.differences) == (0, ())


def test_a_cloned_serial_number_is_called_so() -> None:
    found = compare_cards(
        card(), later(gpu__uuid="GPU-00000000-83aa-4965-8d1f-a0fe9a2dcfef", gpu__pdi="0x99")
    )
    assert found.exit_code == 2
    assert "cloned serial number" in found.differences[0].words


def test_what_another_card_differs_in_is_not_listed() -> None:
    other = later(gpu__uuid="GPU-0", gpu__pdi="0x9", gpu__serial="1650900000001", gpu__name="X")
    assert set(changes_of(compare_cards(card(), other))) == {"gpu.uuid", "gpu.serial"}


def test_without_an_identity_nothing_is_said() -> None:
    found = compare_cards(
        card(gpu__uuid=None, gpu__pdi=None), later(gpu__serial="0", gpu__pdi=None)
    )
    assert (found.sameness, found.exit_code) == (Sameness.NOT_COMPARABLE, 3)


def test_the_wrong_order_is_not_comparable() -> None:
    found = compare_cards(later(), card())
    assert (found.sameness, found.exit_code) == (Sameness.NOT_COMPARABLE, 3)
    assert "give the earlier first" in found.reasons[0]


def test_a_read_out_says_nothing_beside_itself() -> None:
    found = compare_cards(card(), card())
    assert (found.sameness, found.exit_code) == (Sameness.NOT_COMPARABLE, 3)


def test_doubt_never_ends_in_0_and_never_hides() -> None:
    doubtful = later()
    from dataclasses import replace

    held = replace(doubtful, doubts=("unsigned",))
    assert compare_cards(card(), held).exit_code == 3
    swapped = replace(later(gpu__serial="1650900000001"), doubts=("unsigned",))
    assert compare_cards(card(), swapped).exit_code == 1


def test_unknown_times_leave_the_clock_alone() -> None:
    found = compare_cards(card(None), card(START, inforom__bbx_time_run_s=9000 * HOUR))
    assert changes_of(found) == {"inforom.bbx_time_run_s": Change.NOTE}


def test_sets_are_paired_by_identity() -> None:
    first = [
        card(gpu__uuid=f"GPU-{n}", gpu__serial=f"16509{n}", gpu__pdi=f"0x{n}") for n in range(8)
    ]
    second = [
        later(gpu__uuid=f"GPU-{n}", gpu__serial=f"16509{n}", gpu__pdi=f"0x{n}") for n in range(8)
    ]
    assert [one.exit_code for one in compare_sets(first, second[::-1])] == [0] * 8
    lost = compare_sets(first, second[:7])
    assert [one.exit_code for one in lost] == [0] * 7 + [2]
    added = compare_sets(first[:7], second)
    assert [one.exit_code for one in added] == [0] * 7 + [2]


def test_every_counter_stands_in_the_table_or_says_why_not() -> None:
    listed = {fact.claim_id for fact in FACTS}
    assert len(listed) == len(FACTS)
    assert listed <= set(VOCABULARY)
    for name in VOCABULARY:
        counter = name.endswith(("_count", "_total")) or name.startswith(
            ("ecc.aggregate", "ecc.vol")
        )
        counter &= not name.startswith(("host.", "measure."))
        if counter and name not in listed:
            volatile = "ecc.volatile.*" if name.startswith("ecc.volatile.") else name
            assert volatile in IGNORED, name
    assert not {name for name in IGNORED if name in listed}


def test_relations_fit_the_type_of_their_claim() -> None:
    numbers = {Relation.NOT_LOWER, Relation.NOT_HIGHER, Relation.CLOCK, Relation.WITHIN}
    for fact in FACTS:
        kind = VOCABULARY[fact.claim_id].type
        if fact.relation in numbers:
            assert kind is int, fact.claim_id
        if fact.relation is Relation.STAYS_TRUE:
            assert kind is bool, fact.claim_id
        if fact.relation is Relation.NOT_OLDER:
            assert kind is str, fact.claim_id


@given(st.data())
def test_any_values_give_an_answer(data: st.DataObject) -> None:
    def drawn() -> dict[str, Value]:
        values: dict[str, Value] = {}
        for fact in FACTS:
            kind = VOCABULARY[fact.claim_id].type
            if data.draw(st.booleans()):
                continue
            if kind is int:
                values[fact.claim_id] = data.draw(st.integers(-5, 2**62))
            elif kind is bool:
                values[fact.claim_id] = data.draw(st.booleans())
            else:
                values[fact.claim_id] = data.draw(st.text(max_size=12))
        values["gpu.uuid"] = data.draw(st.sampled_from(["GPU-1", "GPU-2"]))
        return values

    one, two = (
        Card(
            origin=name,
            device=DeviceEvidence(index=0, claims=claims(drawn())),
            host=ClaimSet(),
            start_s=start,
            end_s=start,
        )
        for name, start in (("a", 5), ("b", 500))
    )
    found = compare_cards(one, two)
    assert found.exit_code in (0, 1, 2)
    assert (found.exit_code == 0) == (found.sameness is Sameness.SAME)
    if found.exit_code == 0:
        assert all(one.change is Change.NOTE for one in found.differences)
