"""What the measured rules share: is there a measurement, does it count, whose is it.

What a timing is compared with says how far it was tried on real cards. Where none was, or too few,
the judgement is capped at a note: an emulator has no timing of its own. Where enough were, the band
is what they showed, and a card outside of it is odd in its condition. A timing never accuses a
card's identity: field runs show what good cards of a product do, not what other cards cannot.
Counts and exact results are no timing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gpuverify.model.claims import Basis, Claim
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.product import EMULATED_ONLY, ReferenceValue, Validation
from gpuverify.model.rates import CLOCK_SPREAD_PPM
from gpuverify.model.subject import Subject
from gpuverify.rules.compare import NO_VALUE, absent, cite, finding
from gpuverify.rules.constants import FAILED, FROM_MEASURED

GIB = 1 << 30
REMEDY = "run gpuverify check --measure quick on the machine that holds the card"

VOID = Code(
    id="void",
    outcome=Outcome.INCONCLUSIVE,
    text="The measurement is void here: {observed}.",
)
HIDDEN = Code(
    id="hidden",
    outcome=Outcome.INCONCLUSIVE,
    text="{observed}; expected {expected}. MIG, a virtual GPU or a share of the card set by MPS "
    "hides the rest; turn it off and measure again.",
)


def measured(subject: Subject, claim_id: str) -> Claim:
    """Return the measurement's claim."""
    return subject.device.claims.get(claim_id, FROM_MEASURED)


def number(claim: Claim) -> int | None:
    """Return a count above zero, None where there is none."""
    value = claim.value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    return None


def amount(claim: Claim) -> int | None:
    """Return a count from zero on, None where there is none."""
    value = claim.value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def tried(values: Iterable[ReferenceValue]) -> Validation:
    """Return how far reference values were tried on real cards: by the most of them."""
    found = [value.validation for value in values if value.validation is not None]
    return max(found, key=lambda one: (one.band is not None, one.cards), default=EMULATED_ONLY)


def size(count: int) -> str:
    """Return bytes for people: GiB with three digits where they are not whole."""
    whole, rest = divmod(count, GIB)
    if rest == 0:
        return f"{whole} GiB"
    return f"{count / GIB:.3f} GiB" if whole else f"{count / (1 << 20):.3f} MiB"


def rate(kb_s: int) -> str:
    """Return a rate for people."""
    return f"{kb_s / 1_000_000:.1f} GB/s"


def partial_card(subject: Subject) -> bool:
    """Whether a setting gives a program less than the whole card."""
    return (
        subject.value("mig.mode_current") is True
        or subject.value("mig.is_slice") is True
        or subject.value("gpu.virtualization_mode") == "vgpu"
    )


def timing_doubt(subject: Subject) -> Claim | None:
    """Return the claim that voids timings, None where the clocks agree.

    A clock that was not compared is a doubt too.
    """
    valid = measured(subject, "fingerprint.valid")
    if valid.value is not True:
        return valid
    spread = measured(subject, "fingerprint.clock_agreement_ppm")
    found = amount(spread)
    return None if found is not None and found <= CLOCK_SPREAD_PPM else spread


def doubt_text(claim: Claim) -> str:
    """Return why a timing does not count."""
    if claim.id == "fingerprint.valid" and claim.ok:
        return "results that were recomputed exactly came out wrong"
    if claim.ok:
        return f"clocks that timed one kernel differ by {claim.value} ppm"
    return "the clocks under the load were not compared"


def void_or_absent(rule: Rule, claim: Claim, remedy: str = REMEDY) -> Finding:
    """Return the finding for a measurement that gave no value."""
    if claim.status is FAILED:
        return finding(
            rule,
            "void",
            observed=claim.raw_text or "its exact results came out wrong",
            basis=Basis.MEASURED,
            claims=cite(claim),
        )
    return absent(rule, claim, remedy=remedy)


def measured_rule(
    *,
    rule_id: str,
    title: str,
    axis: Axis,
    codes: tuple[Code, ...],
    check: Callable[[Subject, Rule], Iterator[Finding]],
    shows: str,
    limit: str,
    near_miss: str,
    references: tuple[str, ...],
    group: Group = Group.DETAIL,
) -> Rule:
    """Build a rule on measured claims.

    Args:
        rule_id: Rule id.
        title: One line.
        axis: The question it speaks to.
        codes: Its codes, beside those that every such rule has.
        check: Judges; it is handed the rule.
        shows: What a pass shows.
        limit: What it does not show.
        near_miss: The honest situation that must not trigger it.
        references: Where the idea comes from.
        group: What a policy can require it under.

    Returns:
        The rule.
    """

    def bound(subject: Subject) -> Iterator[Finding]:
        """Hand the rule to its own check."""
        return check(subject, rule)

    rule = Rule(
        id=rule_id,
        title=title,
        axis=axis,
        group=group,
        codes=(*codes, VOID, NO_VALUE),
        shows=shows,
        limit=limit,
        near_miss=near_miss,
        references=references,
        check=bound,
    )
    return rule
