"""Rules and products in words."""

from __future__ import annotations

from dataclasses import replace

from gpuverify.model.finding import Axis, Code, Group, Outcome, Rule
from gpuverify.model.product import (
    Grade,
    PciIdentity,
    Product,
    ProductStatus,
    ReferenceValue,
)
from gpuverify.render.catalogue import (
    difference_text,
    matrix_text,
    product_text,
    products_text,
    rule_text,
    rules_text,
)
from gpuverify.render.style import Style

RULE = Rule(
    id="capacity.total",
    title="Memory total against the product's",
    axis=Axis.IDENTITY,
    group=Group.CAPACITY,
    codes=(
        Code(id="equal", outcome=Outcome.PASS, text="total is {observed}"),
        Code(
            id="other-class", outcome=Outcome.FAIL, text="another class", caps=True, defective=True
        ),
    ),
    shows="that the driver reports this much",
    limit="a patched driver reports what it likes",
    near_miss="an old driver hides the reserve",
    references=("one", "two"),
)


def made(product_id: str, total: int, clock: int, *, bus: int | None = None) -> Product:
    values = [("memory.total_mib", total), ("clock.memory_max_mhz", clock)]
    if bus is not None:
        values.append(("memory.bus_width_bits", bus))
    return Product(
        id=product_id,
        name=product_id.upper(),
        aliases=("alias",),
        family="f",
        architecture="Ampere",
        chip="GA100",
        form="sxm",
        status=ProductStatus.RETAIL,
        memory_labels=("40GB",),
        pci=(
            PciIdentity(device_id=0x20B0, subsystem_vendor_id=0x10DE, subsystem_device_id=0x134F),
        ),
        values=tuple(
            ReferenceValue(
                field=field,
                value=value,
                grade=Grade.RECORDING,
                source="log",
                locator="line 4",
                driver_min=510,
                driver_max=610,
                ecc=True,
            )
            for field, value in values
        ),
    )


def test_rules_are_listed_under_their_question() -> None:
    text = rules_text((RULE,), Style())
    assert text.startswith("identity\n  capacity.total  Memory total")
    assert "1 rules" not in text
    assert "[capacity]" in text
    assert "1 rule" in text


def test_one_rule_tells_its_limit_and_codes() -> None:
    text = " ".join(rule_text(RULE, "", Style()).split())
    for part in ("Shows", "Limit", "Near miss", "one", "two", "equal: agrees", "other-class:"):
        assert part in text
    assert "holds the verdict at unverified, a defect by the maker's own criterion" in text


def test_one_code_alone() -> None:
    text = rule_text(RULE, "equal", Style())
    assert "equal: agrees" in text
    assert "other-class" not in text


def test_products_are_listed() -> None:
    text = products_text([made("a-40gb", 40960, 1215), made("b-40gb", 40961, 1216)], Style())
    assert text.splitlines()[0].startswith("a-40gb  A-40GB, 40GB, sxm, retail, PCI 20B0")
    assert text.endswith("2 products\n")


def test_a_product_shows_values_with_conditions_and_source() -> None:
    text = " ".join(product_text(made("a-40gb", 40960, 1215), Style()).split())
    assert "20B0 (10DE:134F)" in text
    assert (
        "memory.total_mib = 40960 (driver 510 and newer, driver up to 610, ECC on)"
        " [recording: log line 4]" in text
    )


def test_a_difference_names_what_tells_apart_and_what_does_not() -> None:
    text = difference_text(made("a", 40960, 1215, bus=5120), made("b", 81920, 2619), Style())
    assert "clock.memory_max_mhz: 1215 against 2619" in text
    assert "on file for a only: memory.bus_width_bits" in text
    assert "no value on file tells them apart" in difference_text(
        made("a", 1, 2), made("b", 1, 2), Style()
    )


def test_the_matrix_has_a_row_for_each_pair() -> None:
    one, other = made("a", 40960, 1215), made("b", 81920, 2619)
    rows = matrix_text([replace(one, neighbours=("b",)), replace(other, neighbours=("a",))])
    assert [row.split()[:2] for row in rows.splitlines()] == [["a", "b"], ["b", "a"]]
    assert "clock.memory_max_mhz (" in rows
    assert matrix_text([one, other]) == ""


def test_values_of_several_sources_are_told_once() -> None:
    product = made("a", 40960, 1215)
    more = replace(product.values[0], source="card", locator="page 9")
    text = " ".join(product_text(replace(product, values=(*product.values, more)), Style()).split())
    assert text.count("memory.total_mib") == 1
    assert "[recording: log line 4; recording: card page 9]" in text
