"""Results made by hand, for the screens. No card produced them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gpuverify.model.claims import Basis, Claim, ClaimStatus, Source, Value
from gpuverify.model.evidence import ClaimSet, DeviceEvidence, Evidence, EvidenceClass
from gpuverify.model.finding import Axis, Finding, Outcome
from gpuverify.model.product import (
    MatchState,
    PciIdentity,
    Product,
    ProductStatus,
    Recognition,
)
from gpuverify.model.sale import Condition, SaleClaim, SaleItem
from gpuverify.model.verdict import (
    BatchResult,
    ConditionState,
    DeviceResult,
    HistoryState,
    Neighbour,
    Result,
    Verdict,
)
from gpuverify.render.style import Style
from gpuverify.render.text import Screen


def product(product_id: str, name: str, label: str, device_id: int) -> Product:
    return Product(
        id=product_id,
        name=name,
        aliases=(),
        family="ga100",
        architecture="Ampere",
        chip="GA100",
        form="sxm",
        status=ProductStatus.RETAIL,
        memory_labels=(label,),
        pci=(PciIdentity(device_id=device_id),),
    )


A100_40 = product("a100-sxm4-40gb", "A100 SXM4 40 GB", "40GB", 0x20B0)
A100_80 = product("a100-sxm4-80gb", "A100 SXM4 80 GB", "80GB", 0x20B2)


def claim(claim_id: str, value: Value) -> Claim:
    return Claim(id=claim_id, status=ClaimStatus.OK, value=value, source=Source.NVML)


def finding(
    rule: str,
    code: str,
    outcome: Outcome,
    message: str,
    *,
    axis: Axis = Axis.IDENTITY,
    basis: Basis = Basis.CROSS_CHECKED,
) -> Finding:
    return Finding(
        rule=rule,
        code=code,
        axis=axis,
        outcome=outcome,
        basis=basis,
        message=message,
        expected=f"expected of {rule}",
        observed=f"observed of {rule}",
        claims=(f"nvml:{rule}",),
        reference=(f"vendor {rule}",),
    )


FAILED = (
    finding(
        "product.match",
        "other-product",
        Outcome.FAIL,
        "PCI ids 20B0:10DE:134F are on file for a100-sxm4-40gb, not for a100-sxm4-80gb",
    ),
    finding(
        "capacity.total",
        "other-class",
        Outcome.FAIL,
        "NVML reports 40960 MiB where a100-sxm4-80gb has 81920 MiB",
        basis=Basis.REPORTED,
    ),
)
COMMON = (
    *(
        finding(f"lattice.l{number}", "fits", Outcome.PASS, f"lattice {number} fits")
        for number in range(1, 6)
    ),
    finding("link.exists", "unknown", Outcome.INCONCLUSIVE, "the NVLinks could not be counted"),
    finding(
        "ecc.mode",
        "off",
        Outcome.NOTE,
        "ECC is off: some totals read higher",
        axis=Axis.CONFIGURATION,
    ),
)


def device(index: int, **changes: object) -> DeviceResult:
    evidence = DeviceEvidence(
        index=index,
        claims=ClaimSet(
            (
                claim("gpu.name", "NVIDIA A100-SXM4-40GB"),
                claim("gpu.serial", f"13242210{70000 + index * 111}"),
                claim("gpu.uuid", f"GPU-5d2d1a4c-0000-4000-8000-00000000{index + 4096:04x}"),
                claim("pci.bus_id", f"00000000:{index * 16 + 7:02X}:00.0"),
            )
        ),
    )
    made = DeviceResult(
        device=evidence,
        recognition=Recognition(state=MatchState.EXACT, products=(A100_40,), by="pci-pair"),
        sale=SaleItem(product=A100_80, condition=Condition.USED, count=8, as_given="A100 80GB"),
        in_sale=True,
        verdict=Verdict.MISMATCH,
        would_be=None,
        reasons=tuple(one.message for one in FAILED),
        assurance=Basis.REPORTED,
        capacity_basis=None,
        condition=ConditionState.NO_FAULT_SEEN,
        condition_checks_done=9,
        condition_checks_known=12,
        history=HistoryState.NO_RECORD,
        neighbours=(
            Neighbour(product="a100-sxm4-40gb", needs="the GPU part number"),
            Neighbour(
                product="a800-sxm4-80gb", excluded_by="link.exists", basis=Basis.CROSS_CHECKED
            ),
        ),
        findings=(*FAILED, *COMMON),
        not_examined=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def result(devices: tuple[DeviceResult, ...], **changes: object) -> Result:
    verdict = devices[0].verdict if devices else Verdict.UNVERIFIED
    made = Result(
        origin="this machine",
        evidence_class=EvidenceClass.LIVE,
        evidence=Evidence(
            evidence_class=EvidenceClass.LIVE, origin="this machine", tool="gpuverify 0.1.0"
        ),
        policy_name="standard",
        policy_sha256="a7" * 32,
        refdb_version="2026.11",
        refdb_sha256="d4" * 32,
        claimed=True,
        verdict=verdict,
        would_be=None,
        exit_code={
            Verdict.MISMATCH: 2,
            Verdict.SUSPECT: 1,
            Verdict.CONSISTENT: 0,
            Verdict.UNVERIFIED: 3,
        }[verdict],
        devices=devices,
        batch=BatchResult(verdict=verdict, would_be=None, reasons=(), findings=()),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def screen(made: Result, *, verbose: bool = False, **changes: object) -> Screen:
    items = {id(one.sale): one.sale for one in made.devices if one.sale is not None}
    sale = SaleClaim(items=tuple(items.values())[:1])
    style = changes.pop("style", Style())
    evidence = Evidence(
        evidence_class=made.evidence_class,
        origin=made.origin,
        tool="nvidia-smi 550.54.14",
        devices=tuple(one.device for one in made.devices),
    )
    evidence = replace(evidence, **changes)  # type: ignore[arg-type]
    assert isinstance(style, Style)
    return Screen(result=made, evidence=evidence, sale=sale, style=style, verbose=verbose)


def eight_mismatches() -> Screen:
    return screen(result(tuple(device(index) for index in range(8))))


def replayed_mismatch() -> Screen:
    one = device(0, verdict=Verdict.UNVERIFIED, would_be=Verdict.MISMATCH)
    return screen(
        result(
            (one,),
            origin="ga100/a100-40gb-sold-as-80gb",
            evidence_class=EvidenceClass.REPLAYED,
            would_be=Verdict.MISMATCH,
            exit_code=2,
        )
    )


def consistent() -> Screen:
    return screen(
        result(
            tuple(
                device(
                    index,
                    verdict=Verdict.CONSISTENT,
                    reasons=(),
                    findings=COMMON,
                    recognition=Recognition(state=MatchState.EXACT, products=(A100_80,)),
                    assurance=Basis.CROSS_CHECKED,
                    capacity_basis=Basis.REPORTED,
                    neighbours=device(0).neighbours[1:],
                    not_examined=("link.exists",),
                )
                for index in range(2)
            )
        )
    )


def nothing_claimed() -> Screen:
    one = device(
        3,
        sale=None,
        verdict=Verdict.UNVERIFIED,
        reasons=("nothing was claimed: say what was sold with --claim",),
        findings=COMMON,
    )
    return screen(
        result(
            (one,),
            claimed=False,
            origin="seller.txt",
            evidence_class=EvidenceClass.IMPORTED,
        ),
        stated=(("verdict", "PASS \u202e!"), ("sale_claim", "H200")),
    )


def mixed_defective() -> Screen:
    lame = finding(
        "remap.flags",
        "failure",
        Outcome.FAIL,
        "a row remap failed: the maker's criterion for a replacement",
        axis=Axis.CONDITION,
        basis=Basis.REPORTED,
    )
    cannot = (
        "cannot tell a100-sxm4-80gb from a100-sxm4-40gb by what was seen;"
        " needs PCI config space on a live machine or a measured capacity"
    )
    unsure = {
        "verdict": Verdict.UNVERIFIED,
        "reasons": (cannot,),
        "findings": COMMON,
        "recognition": Recognition(state=MatchState.CANDIDATES, products=(A100_40, A100_80)),
    }
    return screen(
        result(
            (
                device(0, **unsure),
                device(
                    1,
                    **{**unsure, "findings": (*COMMON, lame)},
                    condition=ConditionState.DEFECTIVE,
                    history=HistoryState.USED,
                ),
                device(2, **unsure),
            ),
            exit_code=1,
        )
    )


SAMPLES: dict[str, Callable[[], Screen]] = {
    "eight-mismatches": eight_mismatches,
    "replayed-mismatch": replayed_mismatch,
    "consistent": consistent,
    "nothing-claimed": nothing_claimed,
    "mixed-defective": mixed_defective,
}


@pytest.fixture(params=sorted(SAMPLES))
def sample(request: pytest.FixtureRequest) -> tuple[str, Screen]:
    """One of the samples, with its name."""
    return request.param, SAMPLES[request.param]()


@pytest.fixture
def samples() -> dict[str, Screen]:
    """All samples."""
    return {name: make() for name, make in SAMPLES.items()}


@pytest.fixture
def make_screen() -> Callable[..., Screen]:
    """Makes a screen from device changes: `make_screen(count, device_changes, result_changes)`."""

    def make(count: int, device_changes: dict[str, object], **changes: object) -> Screen:
        verbose = bool(changes.pop("verbose", False))
        made = result(tuple(device(index, **device_changes) for index in range(count)), **changes)
        return screen(made, verbose=verbose)

    return make
