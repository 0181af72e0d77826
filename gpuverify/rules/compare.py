"""How rules cite claims, say why one is absent, and compare a value with lists of values.

Every list of values has three outcomes: the product's own value passes; a value on file for other
products alone contradicts; a value never seen leaves the question open. An absent claim leaves it
open too, with the claim's own reason and what to do about it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpuverify.model.claims import Basis, Claim, Source, Value
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.keeping import LONGEST_KEPT, kept_if_short
from gpuverify.model.product import Product, ReferenceValue
from gpuverify.model.subject import ReferenceKey, Subject
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.rules.kept import (
    SOURCE_BASIS,
    build_finding,
    citation,
    citations,
    kept_absent,
    kept_finding,
    weakest_basis,
)
from gpuverify.rules.on_file import OnFile, cite_reference, kept_on_file, show, some

MIB = 1024 * 1024

SPEAKERS = {
    Source.NVML: "NVML",
    Source.PCI_CONFIG: "the PCI configuration space",
    Source.PROCFS: "the kernel driver",
    Source.HOST: "the host",
    Source.CUDA: "CUDA",
    Source.MEASURED: "the measurement",
    Source.NVIDIA_SMI: "nvidia-smi",
    Source.DEVICE_CERTIFICATE: "the device certificate",
}

NO_PRODUCT = Code(
    id="no-product",
    outcome=Outcome.INCONCLUSIVE,
    text="No single product was named or recognised, so there is nothing to compare with.",
)
NOT_FOR_PRODUCT = Code(
    id="not-for-product",
    outcome=Outcome.NOT_APPLICABLE,
    text="This check does not apply to {expected}.",
)
NO_VALUE = Code(id="no-value", outcome=Outcome.INCONCLUSIVE, text="Not known: {observed}.")
NO_REFERENCE = Code(
    id="no-reference",
    outcome=Outcome.INCONCLUSIVE,
    text="{observed}; nothing is on file for {expected} to compare it with.",
)


def cite(*claims: Claim) -> tuple[str, ...]:
    """Return `source:claim-id` of each claim, without repetition."""
    if len(claims) == 1:
        return citation(claims[0].source, claims[0].id)
    return citations([(claim.source, claim.id) for claim in claims])


def says(claim: Claim, shown: str | None = None) -> str:
    """Return what a claim says, with its speaker.

    Args:
        claim: A claim with a value.
        shown: The value as it is to be printed, where that differs from the raw value.

    Returns:
        For example "NVML reports 1215 MHz".
    """
    if shown is None:
        value = claim.value
        long = isinstance(value, str) and len(value) > LONGEST_KEPT
        return (_say if long else _kept_said)(claim.source, claim.id, value)
    return f"{SPEAKERS[claim.source]} reports {shown}"


def _say(source: Source, claim_id: str, value: Value | None) -> str:
    """Return a value with its speaker and the unit of its vocabulary entry."""
    spec = VOCABULARY.get(claim_id)
    return f"{SPEAKERS[source]} reports {show(value, spec.unit if spec else '')}"


# 1 and True are equal, and are not the same.
_kept_said = functools.lru_cache(maxsize=4096, typed=True)(_say)


@kept_if_short(1024)
def _said_in(source: Source, value: Value, unit: str) -> str:
    """Return a value in a unit with its speaker."""
    return f"{SPEAKERS[source]} reports {show(value, unit)}"


def basis_of(*claims: Claim) -> Basis:
    """Return the weakest basis of the speakers, REPORTED where there is none."""
    if len(claims) == 1:
        return SOURCE_BASIS[claims[0].source]
    return weakest_basis({claim.source for claim in claims})


def agreed_basis(subject: Subject, claim: Claim) -> Basis:
    """Return the strongest basis among the sources that say the same as `claim`."""
    spoken = subject.device.claims.all(claim.id)
    if len(spoken) == 1 and spoken[0] is claim:
        return SOURCE_BASIS[claim.source]
    same = [c for c in spoken if c.ok and c.value == claim.value]
    bases = [SOURCE_BASIS[c.source] for c in same] or [SOURCE_BASIS[claim.source]]
    return max(bases, key=lambda basis: basis.rank)


def finding(
    rule: Rule,
    code_id: str,
    *,
    observed: str = "",
    expected: str = "",
    basis: Basis = Basis.REPORTED,
    claims: tuple[str, ...] = (),
    reference: tuple[str, ...] = (),
    field: str = "",
    value: Value | None = None,
) -> Finding:
    """Build a finding from one of a rule's declared codes.

    Args:
        rule: The rule that speaks.
        code_id: One of its codes.
        observed: What was seen, with its speaker.
        expected: What was expected.
        basis: How hard the observation is to forge.
        claims: Citations of claims.
        reference: Citations of reference values.
        field: Reference field by which a neighbour can be excluded.
        value: The value in that field.

    Returns:
        The finding, its message filled in.
    """
    build = kept_finding if len(observed) <= LONGEST_KEPT else build_finding
    return build(rule, code_id, observed, expected, basis, claims, reference, field, value)


def absent(rule: Rule, *claims: Claim, remedy: str = "", code_id: str = "no-value") -> Finding:
    """Build the inconclusive finding for absent claims, each with its own reason."""
    if len(claims) == 1:
        (claim,) = claims
        return kept_absent(rule, code_id, remedy, ((claim.source, claim.id, claim.status),))
    missing = tuple([(claim.source, claim.id, claim.status) for claim in claims])
    return kept_absent(rule, code_id, remedy, missing)


def other_holders(subject: Subject, field: str, value: Value) -> tuple[str, ...]:
    """Return ids of other products that have `value` on file (the sold one's board aside)."""
    mine = {subject.product.id} if subject.product else set()
    board = subject.recognition.product
    if board is not None and mine & set(board.sold_as):
        mine.add(board.id)
    return tuple(p for p in subject.reference.holders(field, value) if p not in mine)


def name_of(subject: Subject) -> str:
    """Return the product's name for people."""
    return subject.product.name if subject.product else "this product"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRule:
    """A rule that compares one claim with the list of values on file.

    Attributes:
        id: Rule id.
        title: One line.
        field: Reference field.
        claim: Claim id.
        unit: Unit of the reference field.
        convert: Turns the claim's value into the field's terms, or into None where it has no such
            value; None where the claim is in the field's terms.
        applies: Whether it applies to the product; None where it applies to each.
        accuse: Whether a value on file for other products alone contradicts this product; None
            where it never does.
        tolerance_percent: How far off the own value may be.
        excludes: Whether a pass can exclude a neighbour.
        group: What a policy can require it under.
        shows: What a pass shows.
        limit: What it does not show.
        near_miss: The honest situation that must not trigger it.
        references: Where the idea comes from.
        remedy: What to do where the claim is absent.
        needed_from: Driver branch from which every card answers: an absent claim then holds the
            verdict, where a neighbour with the same chip has other values. None where it never
            does.
    """

    id: str
    title: str
    field: str
    claim: str
    unit: str = ""
    convert: Callable[[Value], Value | None] | None = None
    applies: Callable[[Product], bool] | None = None
    accuse: Callable[[Product], bool] | None = lambda _product: True
    tolerance_percent: int = 0
    excludes: bool = True
    group: Group = Group.DETAIL
    shows: str
    limit: str
    near_miss: str
    references: tuple[str, ...] = ()
    remedy: str = ""
    needed_from: int | None = None


NEEDED = Code(
    id="needed",
    outcome=Outcome.INCONCLUSIVE,
    caps=True,
    text="A product with the same chip passes for this one and differs here. {observed}.",
)
LIST_CODES = (
    Code(
        id="own-value",
        outcome=Outcome.PASS,
        text="{observed}, a value on file for the product.",
    ),
    Code(
        id="other-product",
        outcome=Outcome.FAIL,
        text="{observed}; expected {expected}.",
    ),
    Code(
        id="other-product-in-log",
        outcome=Outcome.WARN,
        text="The file contradicts the claim here: {observed}; expected {expected}. A log by "
        "itself proves no more.",
    ),
    Code(
        id="other-undecided",
        outcome=Outcome.INCONCLUSIVE,
        text="{observed}; expected {expected}. This value alone decides nothing.",
    ),
    Code(
        id="never-seen",
        outcome=Outcome.INCONCLUSIVE,
        text="{observed}, a value on file for no product; expected {expected}.",
    ),
    NO_VALUE,
    NO_REFERENCE,
    NO_PRODUCT,
    NOT_FOR_PRODUCT,
)
"""Codes of every rule that compares with a list."""
OPEN_LIST_CODES = tuple(
    code for code in LIST_CODES if code.outcome not in (Outcome.FAIL, Outcome.WARN)
)
"""Codes of a list that confirms and never accuses."""


def _matches(value: Value, own: ReferenceValue, tolerance_percent: int) -> bool:
    """Whether a value equals a reference value, within a tolerance for integers."""
    if value == own.value:
        return True
    if isinstance(value, int) and isinstance(own.value, int) and tolerance_percent:
        return abs(value - own.value) * 100 <= own.value * tolerance_percent
    return False


def _needed(subject: Subject, product: Product, spec: ListRule) -> bool:
    """Whether an absent value is one that a neighbour with the same chip is told by.

    Such a neighbour with the sold product's ids differs in little else that a driver reports.
    """
    driver = subject.driver_branch
    if spec.needed_from is None or driver is None or driver < spec.needed_from:
        return False
    own = {value.value for value in product.get(spec.field)}
    return bool(own) and any(
        values and not values & own
        for n in subject.neighbours
        if n.chip == product.chip and product.id not in n.sold_as
        for values in ({value.value for value in n.get(spec.field)},)
    )


def list_rule(spec: ListRule) -> Rule:
    """Build the rule for one list of values, with its three outcomes."""

    def check(subject: Subject) -> Iterator[Finding]:
        """Compare the claim with the product's values, then with everybody's."""
        product = subject.product
        if product is None:
            yield finding(rule, "no-product")
            return
        if spec.applies is not None and not spec.applies(product):
            yield finding(rule, "not-for-product", expected=product.name)
            return
        claim = subject.read(spec.claim)
        value = claim.value
        if value is not None and spec.convert is not None:
            value = spec.convert(value)
        if value is None:
            code = "needed" if _needed(subject, product, spec) else "no-value"
            yield absent(rule, claim, remedy=spec.remedy, code_id=code)
            return
        yield compare_value(
            rule,
            subject,
            (claim,),
            value,
            field=spec.field,
            said=_said_in(claim.source, value, spec.unit),
            unit=spec.unit,
            tolerance_percent=spec.tolerance_percent,
            accuse=spec.accuse is not None and spec.accuse(product),
            excludes=spec.excludes,
        )

    rule = Rule(
        id=spec.id,
        title=spec.title,
        axis=Axis.IDENTITY,
        group=spec.group,
        codes=(LIST_CODES if spec.accuse is not None else OPEN_LIST_CODES)
        + ((NEEDED,) if spec.needed_from is not None else ()),
        shows=spec.shows,
        limit=spec.limit,
        near_miss=spec.near_miss,
        references=spec.references,
        check=check,
    )
    return rule


def compare_value(
    rule: Rule,
    subject: Subject,
    claims: tuple[Claim, ...],
    value: Value,
    *,
    field: str,
    said: str,
    unit: str = "",
    tolerance_percent: int = 0,
    accuse: bool = True,
    excludes: bool = True,
) -> Finding:
    """Compare a value with the product's own, then with everybody's.

    Args:
        rule: A rule that declares `LIST_CODES`.
        subject: The device; its product is known.
        claims: What the value was read from.
        value: The value in the field's terms.
        field: Reference field.
        said: The value with its speaker.
        unit: Unit of the field.
        tolerance_percent: How far off an own value may be.
        accuse: Whether a value on file for other products alone contradicts.
        excludes: Whether a pass can exclude a neighbour.

    Returns:
        The finding.
    """
    cited = cite(*claims)
    own, matched, reference = _against_own(
        subject.reference_key, field, value, unit, tolerance_percent
    )
    if not own.values:
        return finding(rule, "no-reference", observed=said, expected=name_of(subject), claims=cited)
    if matched:
        return finding(
            rule,
            "own-value",
            observed=said,
            expected=own.shown,
            basis=agreed_basis(subject, claims[0]) if len(claims) == 1 else basis_of(*claims),
            claims=cited,
            reference=reference,
            field=field if excludes else "",
            value=matched[0].value if excludes else None,
        )
    # A value of its own that holds for another driver or ECC mode is no other product's.
    elsewhere = any(_matches(value, v, tolerance_percent) for v in subject.accepted(field))
    holders = () if elsewhere else other_holders(subject, field, value)
    code = "other-undecided" if elsewhere else "never-seen"
    if holders:
        said += f", on file for {some(holders)}"
        code = "other-product-in-log" if subject.imported else "other-product"
        code = code if accuse else "other-undecided"
    return finding(
        rule,
        code,
        observed=said,
        expected=own.shown,
        basis=basis_of(*claims),
        claims=cited,
        reference=reference,
    )


_Against = tuple[OnFile, tuple[ReferenceValue, ...], tuple[str, ...]]


@kept_if_short(4096)
def _against_own(
    key: ReferenceKey, field: str, value: Value, unit: str, tolerance_percent: int
) -> _Against:
    """Return what is on file, the values of it that match, and what is to be cited."""
    own = kept_on_file(key, field, unit)
    matched = tuple(one for one in own.values if _matches(value, one, tolerance_percent))
    return own, matched, cite_reference(matched) if matched else own.cited
