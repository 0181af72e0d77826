"""Is it the same card, and in the same state? Two read-outs held against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpuverify.codec.text import printable
from gpuverify.model.claims import Claim, Source, Value
from gpuverify.model.evidence import NVML_FIRST, ClaimSet, DeviceEvidence
from gpuverify.model.verification import Change, Comparison, Difference, Sameness
from gpuverify.model.vocabulary import VOCABULARY
from gpuverify.signing.comparison_table import CLOCK_SLACK_S, FACTS, Fact, Relation

SAME, CHANGED, NOT_THE_CARD, NOT_COMPARABLE = 0, 1, 2, 3
"""Exit codes of a comparison, by the table of the command line."""

ORDER = (*NVML_FIRST, Source.CUDA, Source.MEASURED)
"""Interfaces in the order in which both read-outs are compared by; never one's with another's."""

_STRONGEST_FIRST = (Change.OTHER_CARD, Change.ALARM, Change.WARN, Change.NOTE)
_FAMILY_GROUPS = {"gpu.vbios_version": 1, "inforom.image_version": 2}
"""Leading groups of a version that name the chip or the board, not the revision."""

_PLACEHOLDERS = frozenset({"", "0", "N/A", "[N/A]", "UNKNOWN", "UNKNOWN ERROR"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One side of a comparison.

    Attributes:
        origin: What it was read from, for people.
        device: Its claims.
        host: The claims of its host.
        start_s: When reading began, seconds since the Unix epoch; None if not known.
        end_s: When it ended.
        digest: Digest of what was read, "" if not known: a read-out is not compared with itself.
        doubts: Why the answer is held at "not comparable" at best: an unsigned file, a replay.
    """

    origin: str
    device: DeviceEvidence
    host: ClaimSet
    start_s: int | None = None
    end_s: int | None = None
    digest: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Serial number or UUID, for people."""
        return next((v for c in ("gpu.serial", "gpu.uuid") if (v := _key(self, c))), "no identity")


def _key(card: Card, claim_id: str) -> str | None:
    """Return a value that names the card, None where it is a placeholder or absent."""
    value = card.device.claims.value(claim_id)
    if not isinstance(value, str) or value.strip().upper() in _PLACEHOLDERS:
        return None
    return value.strip().lower() if claim_id == "gpu.uuid" else value.strip()


def _spoken(claim_id: str, value: Value | None) -> str:
    """Write a value with its unit, for people."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if claim_id.endswith("_s") and "time_run" in claim_id:
            return f"{value // 3600} h"
        unit = VOCABULARY[claim_id].unit
        return f"{value} {unit}".rstrip()
    return printable(value, 80)


def _difference(fact: Fact, change: Change, words: str, old: Claim, new: Claim) -> Difference:
    """Build a difference with its sentence filled in."""
    grown = 0
    if isinstance(old.value, int) and isinstance(new.value, int):
        grown = new.value - old.value
    text = words.format(
        what=VOCABULARY[fact.claim_id].text,
        earlier=_spoken(fact.claim_id, old.value),
        later=_spoken(fact.claim_id, new.value),
        grown=_spoken(fact.claim_id, grown),
    )
    return Difference(claim_id=fact.claim_id, change=change, words=text, earlier=old, later=new)


def _normal(claim_id: str, value: Value) -> Value:
    """Bring a value to the form in which two drivers agree."""
    if claim_id == "gpu.name" and isinstance(value, str):
        return value.removeprefix("NVIDIA ").strip()
    return value.strip().upper() if isinstance(value, str) else value


def _version_judgement(claim_id: str, old: str, new: str) -> bool | None:
    """Compare two versions group by group.

    Returns:
        Whether the later is newer; None where they are equal.
    """
    if old == new:
        return None
    groups = old.split("."), new.split(".")
    family = _FAMILY_GROUPS.get(claim_id, 0)
    if len(groups[0]) != len(groups[1]) or groups[0][:family] != groups[1][:family]:
        return False
    width = max(len(group) for side in groups for group in side)
    padded = [[group.rjust(width, "0") for group in side] for side in groups]
    return padded[1] > padded[0]


def _elapsed(earlier: Card, later: Card) -> int | None:
    """Return the longest time that may have passed between both, in seconds."""
    if earlier.start_s is None or later.end_s is None:
        return None
    return later.end_s - earlier.start_s


def _judge_clock(fact: Fact, old: Claim, new: Claim, elapsed: int | None) -> Difference | None:
    """Hold the growth of an hour meter against the time that passed."""
    before, after = old.value, new.value
    if not isinstance(before, int) or not isinstance(after, int) or before == after:
        return None
    if after < before:
        return _difference(fact, fact.otherwise, fact.words, old, new)
    if elapsed is not None and after - before > elapsed + CLOCK_SLACK_S:
        words = "{what} grew by {grown}, more than the " + f"{max(elapsed, 0) // 3600} h"
        words += " between both read-outs: impossible for one card"
        return _difference(fact, fact.otherwise, words, old, new)
    return _difference(fact, fact.moved or Change.NOTE, fact.moved_words, old, new)


def _judge_order(fact: Fact, before: int, after: int) -> bool | None:
    """Compare two numbers. Returns whether a change is allowed; None where nothing changed."""
    if before == after:
        return None
    if fact.relation is Relation.WITHIN:
        low, high = sorted((before, after))
        return (high - low) * 100 <= high * fact.percent
    return after > before if fact.relation is Relation.NOT_LOWER else after < before


def _judge(fact: Fact, old: Claim, new: Claim, elapsed: int | None) -> Difference | None:
    """Hold one fact of both read-outs against the table."""
    if old.value is None or new.value is None:
        return None
    before, after = _normal(fact.claim_id, old.value), _normal(fact.claim_id, new.value)
    allowed: bool | None
    if fact.relation is Relation.CLOCK:
        return _judge_clock(fact, old, new, elapsed)
    if fact.relation is Relation.EQUAL:
        allowed = None if before == after else False
    elif fact.relation is Relation.NOT_OLDER:
        allowed = _version_judgement(fact.claim_id, str(before), str(after))
    elif fact.relation is Relation.STAYS_TRUE:
        allowed = None if before == after else after is True
    elif isinstance(before, int) and isinstance(after, int):
        allowed = _judge_order(fact, before, after)
    else:
        return None
    if allowed is None:
        return None
    if not allowed:
        return _difference(fact, fact.otherwise, fact.words, old, new)
    if fact.moved is None:
        return None
    return _difference(fact, fact.moved, fact.moved_words, old, new)


def _pair(fact: Fact, earlier: Card, later: Card) -> tuple[Claim, Claim] | None:
    """Return what one interface says in both read-outs; None where none speaks in both."""
    for source in fact.sources or ORDER:
        old = earlier.device.claims.get(fact.claim_id, source)
        new = later.device.claims.get(fact.claim_id, source)
        if old.ok and new.ok:
            return old, new
    return None


def _one_driver(earlier: Card, later: Card) -> bool:
    """Whether both were read by one driver version in one ECC mode, and both say so."""
    pairs = (
        (earlier.host.value("driver.version"), later.host.value("driver.version")),
        (
            earlier.device.claims.value("ecc.mode_current"),
            later.device.claims.value("ecc.mode_current"),
        ),
    )
    return all(old == new for old, new in pairs) and pairs[0][0] is not None


def _identity(earlier: Card, later: Card) -> Iterator[Difference]:
    """Judge what names the card: UUID and PDI the chip, the serial number the board."""
    old = {name: _key(earlier, name) for name in ("gpu.uuid", "gpu.pdi", "gpu.serial")}
    new = {name: _key(later, name) for name in old}

    def differ(name: str) -> bool:
        return old[name] is not None and new[name] is not None and old[name] != new[name]

    def agree(name: str) -> bool:
        return old[name] is not None and old[name] == new[name]

    def found(name: str, change: Change, words: str) -> Difference:
        return Difference(
            claim_id=name,
            change=change,
            words=words,
            earlier=earlier.device.claims.read(name),
            later=later.device.claims.read(name),
        )

    # Where UUID and serial number both differ, a PDI that agrees vouches for nothing any more.
    vouched = agree("gpu.pdi") and not differ("gpu.serial")
    other_chip = differ("gpu.pdi") or (differ("gpu.uuid") and not vouched)
    chip = "gpu.uuid" if differ("gpu.uuid") else "gpu.pdi"
    if other_chip and agree("gpu.serial"):
        yield found(
            chip,
            Change.OTHER_CARD,
            f"another GPU under the same serial number {printable(old['gpu.serial'] or '', 40)}:"
            " a cloned serial number, or a board that was repaired with another GPU",
        )
    elif other_chip:
        yield found(
            chip,
            Change.OTHER_CARD,
            f"another GPU: {printable(old[chip] or '', 60)} before,"
            f" {printable(new[chip] or '', 60)} now",
        )
    elif differ("gpu.uuid"):
        yield found(
            "gpu.uuid",
            Change.ALARM,
            "the UUID differs although the chip's own number (PDI) is the same: MIG, or a driver"
            " that was tampered with",
        )
    if differ("gpu.serial"):
        known = not other_chip and (agree("gpu.uuid") or agree("gpu.pdi"))
        yield found(
            "gpu.serial",
            Change.ALARM if known else Change.OTHER_CARD,
            f"serial number {printable(old['gpu.serial'] or '', 40)} before,"
            f" {printable(new['gpu.serial'] or '', 40)} now"
            + (
                ", with the same GPU: it sits on another board, or the InfoROM was rewritten"
                if known
                else ""
            ),
        )


def shared_identity(earlier: Card, later: Card) -> str:
    """Return the strongest id by which both are called the same, "" if there is none."""
    for name in ("gpu.uuid", "gpu.pdi", "gpu.serial"):
        key = _key(earlier, name)
        if key is not None and key == _key(later, name):
            return name
    return ""


def compare_cards(earlier: Card, later: Card) -> Comparison:
    """Hold two read-outs against each other.

    Args:
        earlier: The first, as a seller's report.
        later: The second, as the buyer's own.

    Returns:
        The answer with every difference, strongest first.
    """
    elapsed = _elapsed(earlier, later)
    reasons = [*earlier.doubts, *later.doubts]
    differences = list(_identity(earlier, later))
    other = any(one.change is Change.OTHER_CARD for one in differences)
    nameless = not differences and not shared_identity(earlier, later)
    same = earlier.digest == later.digest != ""
    backwards = (
        not same
        and earlier.end_s is not None
        and later.start_s is not None
        and later.start_s < earlier.end_s
    )
    if nameless:
        reasons.insert(0, "nothing that names a card stands in both: no UUID, PDI or serial number")
    if same:
        reasons.insert(0, "both are one and the same read-out, which says nothing of a later state")
    if backwards:
        reasons.insert(0, "the second was measured before the first ended: give the earlier first")
    compared, lacking = [], []
    one_driver = _one_driver(earlier, later)
    for fact in FACTS:
        if fact.same_driver and not one_driver:
            lacking.append(fact.claim_id)
            continue
        pair = _pair(fact, earlier, later)
        if pair is None:
            lacking.append(fact.claim_id)
            continue
        old, new = pair
        compared.append(fact.claim_id)
        # What two cards differ in is no news; what one card differs in is.
        if not other and not backwards and (found := _judge(fact, old, new, elapsed)) is not None:
            differences.append(found)
    differences.sort(key=lambda one: _STRONGEST_FIRST.index(one.change))
    sameness, code = _answer(differences, doubtful=nameless or backwards or same)
    if code == SAME and reasons:
        code = NOT_COMPARABLE
    return Comparison(
        earlier=earlier.origin,
        later=later.origin,
        sameness=sameness,
        differences=tuple(differences),
        compared=tuple(compared),
        not_compared=tuple(lacking),
        reasons=tuple(dict.fromkeys(reasons)),
        exit_code=code,
    )


def _answer(differences: Sequence[Difference], *, doubtful: bool) -> tuple[Sameness, int]:
    """Return the answer that the differences give, and its exit code."""
    changes = {one.change for one in differences}
    if Change.OTHER_CARD in changes:
        return Sameness.NOT_THE_CARD, NOT_THE_CARD
    if doubtful:
        return Sameness.NOT_COMPARABLE, NOT_COMPARABLE
    if changes & {Change.ALARM, Change.WARN}:
        return Sameness.CHANGED, CHANGED
    return Sameness.SAME, SAME


def compare_sets(earlier: Sequence[Card], later: Sequence[Card]) -> tuple[Comparison, ...]:
    """Compare the cards of two documents, each with the one that carries its identity.

    Args:
        earlier: Cards of the first.
        later: Cards of the second.

    Returns:
        One comparison a card: of the first in their order, then those that only the second has.
    """
    if len(earlier) == 1 and len(later) == 1:
        return (compare_cards(earlier[0], later[0]),)
    left = list(later)
    partners: list[Card | None] = [None] * len(earlier)
    for name in ("gpu.uuid", "gpu.pdi", "gpu.serial"):
        by_key: dict[str, Card] = {}
        for card in left:
            if (key := _key(card, name)) is not None:
                by_key.setdefault(key, card)
        for number, card in enumerate(earlier):
            key = _key(card, name) if partners[number] is None else None
            partner = by_key.pop(key, None) if key is not None else None
            if partner is not None:
                partners[number] = partner
                left = [other for other in left if other is not partner]
    missing = "{} of {} stands in no read-out of {}"
    result = [
        compare_cards(card, partner)
        if partner is not None
        else _alone(card, later, missing, first=True)
        for card, partner in zip(earlier, partners, strict=True)
    ]
    return (*result, *(_alone(card, earlier, missing, first=False) for card in left))


def _alone(card: Card, others: Sequence[Card], words: str, *, first: bool) -> Comparison:
    """Say that a card stands in one of both documents only."""
    elsewhere = others[0].origin if others else "the other"
    text = words.format(card.name, card.origin, elsewhere)
    gone = Difference(
        claim_id="gpu.uuid",
        change=Change.OTHER_CARD,
        words=text,
        earlier=card.device.claims.read("gpu.uuid") if first else None,
        later=None if first else card.device.claims.read("gpu.uuid"),
    )
    return Comparison(
        earlier=card.origin if first else elsewhere,
        later=elsewhere if first else card.origin,
        sameness=Sameness.NOT_THE_CARD,
        differences=(gone,),
        compared=(),
        not_compared=tuple(fact.claim_id for fact in FACTS),
        reasons=card.doubts,
        exit_code=NOT_THE_CARD,
    )
