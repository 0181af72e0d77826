"""All devices of one read-out together: one identity a card, none left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gpuverify.model.claims import Claim
from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.rules.board import good_key, good_serial
from gpuverify.rules.compare import NO_VALUE, basis_of, cite, finding, says
from gpuverify.rules.condition import count
from gpuverify.rules.on_file import some

NO_DEVICE = Code(id="no-device", outcome=Outcome.INCONCLUSIVE, text="The read-out holds no device.")


def _all_distinct(rule: Rule, claims: list[Claim], masked: list[Claim], what: str) -> Finding:
    """Say that no two cards share a key, or how many keys could not be read."""
    return finding(
        rule,
        "unreadable" if masked else "distinct",
        observed=f"{len(masked)} of {len(claims)} {what} masked or absent"
        if masked
        else f"{len(claims)} cards",
        basis=basis_of(*claims),
        claims=cite(*claims),
    )


def _place(subject: Subject) -> str:
    """Return where a card sits, for people."""
    return str(subject.value("pci.bus_id") or f"device {subject.device.index}")


def _groups(
    cards: Sequence[Subject], claim_id: str, good: Callable[[Claim], str | None]
) -> dict[str, list[Subject]]:
    """Return the cards by the good value of a claim."""
    groups: dict[str, list[Subject]] = {}
    for card in cards:
        value = good(card.read(claim_id))
        if value is not None:
            groups.setdefault(value, []).append(card)
    return groups


def _check_unique(batch: BatchSubject) -> Iterator[Finding]:
    """Find a UUID or PDI that stands on two bus ids."""
    rule, cards = UNIQUE, batch.cards
    if not cards:
        yield finding(rule, "no-device")
        return
    cloned = False
    for claim_id in ("gpu.uuid", "gpu.pdi"):
        for sharers in _groups(cards, claim_id, good_key).values():
            placed = [s for s in sharers if s.read("pci.bus_id").ok]
            if len(sharers) < 2:
                continue
            cloned = True
            claims = [s.read(claim_id) for s in sharers]
            yield finding(
                rule,
                "cloned" if len(placed) > 1 else "place-unknown",
                observed=f"{claim_id} of {some(_place(s) for s in sharers)}",
                basis=basis_of(*claims),
                claims=cite(*claims),
            )
    if cloned:
        return
    claims = [card.read("gpu.uuid") for card in cards]
    yield _all_distinct(rule, claims, [c for c in claims if good_key(c) is None], "UUIDs")


UNIQUE = Rule(
    id="batch.unique-identity",
    title="Each card has a UUID and a PDI of its own",
    axis=Axis.IDENTITY,
    group=Group.BATCH,
    codes=(
        Code(id="distinct", outcome=Outcome.PASS, text="Each card has its own identity."),
        Code(
            id="cloned",
            outcome=Outcome.FAIL,
            text="One identity on several cards: {observed} are equal.",
        ),
        Code(
            id="place-unknown",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed} are equal, but without bus ids they may be one card read twice.",
        ),
        Code(
            id="unreadable",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: whether two cards share one cannot be said.",
        ),
        NO_DEVICE,
    ),
    shows="No identity was copied from one card onto another of the same read-out.",
    limit="A copy onto a card in another machine is not seen.",
    near_miss="The same card read twice, and masked files that share a blanked UUID.",
    references=("nvml.h, nvmlDeviceGetUUID, nvmlDeviceGetPdi",),
    batch_check=_check_unique,
)


def _serial_code(sharers: Sequence[Subject], *, imported: bool) -> str:
    """Return the code for cards with one serial number."""
    parts = {s.value("gpu.board_part_number") for s in sharers} - {None}
    images = {s.value("inforom.image_version") for s in sharers} - {None}
    products = [s.product for s in sharers]
    room = max((p.gpus_per_board for p in products if p is not None), default=0)
    # A superchip's GPUs share one over a whole tray; where a board's size is known, it counts.
    shared = room < 2 and any(p is not None and p.has("shared-serial") for p in products)
    if len(parts) > 1 or len(images) > 1:
        return "cloned-in-log" if imported else "cloned"
    if len(sharers) <= room or shared:
        return "one-board"
    if any(product is None for product in products):
        return "board-unknown"
    return "cloned-in-log" if imported else "cloned"


def _numbered(batch: BatchSubject, card: Subject) -> bool:
    """Whether a card's serial number counts: it is sold, and not a board that shows none.

    What is sold decides, not what was read: a number that is missing is no excuse.
    """
    consumer = card.product is not None and card.product.form in ("consumer", "mobile")
    return not consumer and (card.sale is not None or not batch.items)


def _check_serials(batch: BatchSubject) -> Iterator[Finding]:
    """Find a serial number on more GPUs than a board holds."""
    rule, cards = SERIALS, batch.cards
    if not cards:
        yield finding(rule, "no-device")
        return
    # A display card beside those sold, or a consumer board, carries no number to compare.
    cards = tuple([card for card in cards if _numbered(batch, card)])
    if not cards:
        yield finding(rule, "no-serials")
        return
    imported = batch.evidence_class is EvidenceClass.IMPORTED
    shared = False
    for serial, sharers in _groups(cards, "gpu.serial", good_serial).items():
        if len(sharers) < 2:
            continue
        shared = True
        claims = [s.read("gpu.serial") for s in sharers]
        yield finding(
            rule,
            _serial_code(sharers, imported=imported),
            observed=f"serial number {serial} on {some(_place(s) for s in sharers)}",
            basis=basis_of(*claims),
            claims=cite(*claims),
        )
    if shared:
        return
    claims = [card.read("gpu.serial") for card in cards]
    masked = [claim for claim in claims if good_serial(claim) is None]
    yield _all_distinct(rule, claims, masked, "serial numbers")


SERIALS = Rule(
    id="batch.serials",
    title="No serial number on more GPUs than a board holds",
    axis=Axis.IDENTITY,
    group=Group.BATCH,
    codes=(
        Code(id="distinct", outcome=Outcome.PASS, text="No serial number stands on two cards."),
        Code(
            id="one-board",
            outcome=Outcome.NOTE,
            text="{observed}: GPUs of one board, which share it.",
        ),
        Code(
            id="cloned",
            outcome=Outcome.FAIL,
            text="{observed}: more GPUs, or others, than one board holds.",
        ),
        Code(
            id="cloned-in-log",
            outcome=Outcome.WARN,
            text="The file contradicts itself: {observed}, more GPUs, or others, than one board "
            "holds.",
        ),
        Code(
            id="board-unknown",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}; how many GPUs their board holds is not known.",
        ),
        Code(
            id="unreadable",
            outcome=Outcome.INCONCLUSIVE,
            text="{observed}: whether two cards share one cannot be said.",
        ),
        Code(
            id="no-serials",
            outcome=Outcome.NOT_APPLICABLE,
            text="Consumer boards show no serial number, and no other card is sold.",
        ),
        NO_DEVICE,
    ),
    shows="No serial number was copied onto a second board of the same read-out.",
    limit="The serial number stands in writable memory.",
    near_miss="K80, A16, GB200 and GB300 boards, whose GPUs share one; placeholders such as 0.",
    references=("nvml.h, nvmlDeviceGetSerial",),
    batch_check=_check_serials,
)


def _check_complete(batch: BatchSubject) -> Iterator[Finding]:
    """Find GPUs of the host that were not appraised."""
    rule, attached = COMPLETE, batch.host.read("host.attached_gpu_count")
    on_bus, cards = batch.host.read("host.pci_gpu_count"), batch.cards
    if not batch.subjects:
        yield finding(rule, "no-device")
        return
    unlisted = [s for s in batch.subjects if s.value("gpu.listed_by_nvml") is False]
    left_out = [
        s
        for s in batch.subjects
        if batch.selected is not None and s.device.index not in batch.selected
    ]
    total, functions = count(attached), count(on_bus)
    counts = [claim for claim in batch.host.all("host.attached_gpu_count") if claim.ok]
    code, observed = "complete", f"{len(cards)} GPUs"
    if unlisted:
        code, observed = "unlisted", some(_place(s) for s in unlisted)
    elif functions is not None and functions > len(cards):
        code, observed = "unlisted", f"{functions - len(cards)} functions"
    elif left_out:
        code, observed = "left-out", some(_place(s) for s in left_out)
    elif total is None:
        code, observed = "no-value", "how many GPUs the driver counts"
    elif functions is None and batch.evidence_class is not EvidenceClass.IMPORTED:
        code, observed = "no-value", "how many NVIDIA functions stand on the PCI bus"
    elif len({claim.value for claim in counts}) > 1:
        code, observed = "counts-differ", "; ".join(says(claim) for claim in counts)
    elif total > len(cards):
        code, observed = "fewer-blocks", f"{len(cards)} of {total} GPUs"
    elif total < len(cards):
        code, observed = "more-blocks", f"{len(cards)} GPUs where the driver counts {total}"
    claims = [claim for claim in (attached, on_bus) if claim.ok]
    yield finding(
        rule,
        code,
        observed=observed,
        basis=basis_of(*claims),
        claims=cite(*claims),
    )


COMPLETE = Rule(
    id="batch.complete",
    title="No GPU of the host was left out",
    axis=Axis.IDENTITY,
    group=Group.BATCH,
    codes=(
        Code(
            id="complete", outcome=Outcome.PASS, text="Every GPU of the host was read: {observed}."
        ),
        Code(
            id="fewer-blocks",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="An incomplete read-out: {observed}.",
        ),
        Code(
            id="more-blocks",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="More than one read-out: {observed}.",
        ),
        Code(
            id="counts-differ",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Two counts of this machine's GPUs: {observed}.",
        ),
        Code(
            id="unlisted",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="NVIDIA PCI functions that NVML did not list, and that were not appraised: "
            "{observed}.",
        ),
        Code(
            id="left-out",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="Left out by selection, and not appraised: {observed}.",
        ),
        NO_VALUE,
        NO_DEVICE,
    ),
    shows="No card was hidden from the appraisal.",
    limit="A card in another machine is not seen.",
    near_miss="A display card beside eight A100s is read like the others, and is not sold.",
    references=("Linux kernel, Documentation/ABI/testing/sysfs-bus-pci",),
    batch_check=_check_complete,
)

_SISTER_FIELDS = ("gpu.board_part_number", "gpu.vbios_version", "inforom.image_version",
                  "power.limit_default_mw", "memory.total_bytes")  # fmt: skip


def _check_sisters(batch: BatchSubject) -> Iterator[Finding]:
    """Remark on differences between cards of one product."""
    rule, groups = SISTERS, {}  # type: Rule, dict[str, list[Subject]]
    for card in batch.cards:
        if card.product is not None:
            groups.setdefault(card.product.id, []).append(card)
    mixed = [
        f"{field} of {cards[0].product.name if cards[0].product else ''}"
        for cards in groups.values()
        if len(cards) > 1
        for field in _SISTER_FIELDS
        if len({card.value(field) for card in cards} - {None}) > 1
    ]
    if not groups:
        yield finding(rule, "no-product")
        return
    claims = [card.read(f) for cards in groups.values() for card in cards for f in _SISTER_FIELDS]
    held = [claim for claim in claims if claim.ok]
    yield finding(
        rule,
        "mixed" if mixed else "alike",
        observed=some(mixed),
        basis=basis_of(*held),
        claims=cite(*held),
    )


SISTERS = Rule(
    id="batch.sisters",
    title="Cards of one product are alike",
    axis=Axis.CONFIGURATION,
    group=Group.CONFIGURATION,
    codes=(
        Code(id="alike", outcome=Outcome.PASS, text="Cards of one product are alike."),
        Code(
            id="mixed",
            outcome=Outcome.NOTE,
            text="Cards of one product differ in {observed}. Repairs and mixed lots look like "
            "this.",
        ),
        Code(
            id="no-product",
            outcome=Outcome.INCONCLUSIVE,
            text="No product was recognised, so no cards can be held against each other.",
        ),
    ),
    shows="The cards look like one lot.",
    limit="A lot can be put together.",
    near_miss="Two VBIOS versions in one server, which is normal.",
    references=("Public nvidia-smi outputs of eight-GPU servers",),
    batch_check=_check_sisters,
)

RULES = (UNIQUE, SERIALS, COMPLETE, SISTERS)
