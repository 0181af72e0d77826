"""As many boards as were sold: whole ones, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpuverify.model.evidence import EvidenceClass
from gpuverify.model.finding import Axis, Code, Finding, Group, Outcome, Rule
from gpuverify.model.sale import SaleItem
from gpuverify.model.subject import BatchSubject, Subject
from gpuverify.rules.batch import NO_DEVICE
from gpuverify.rules.board import good_serial
from gpuverify.rules.compare import basis_of, cite, finding
from gpuverify.rules.condition import count


def _incomplete(batch: BatchSubject) -> bool:
    """Whether the read-out shows fewer devices than the driver counts."""
    attached = count(batch.host.read("host.attached_gpu_count"))
    return attached is not None and attached > len(batch.cards)


def _boards(item: SaleItem, cards: Sequence[Subject]) -> tuple[int, int]:
    """Return the whole boards among an item's cards, and the GPUs that are left over.

    GPUs of one board share a serial number where the product does that: two halves of two boards
    are no board.
    """
    size = max(1, item.product.gpus_per_board)
    lots: dict[str | None, int] = {}
    for card in cards:
        shared = size > 1 and item.product.has("shared-serial")
        serial = good_serial(card.read("gpu.serial")) if shared else None
        lots[serial] = lots.get(serial, 0) + 1
    return sum(n // size for n in lots.values()), sum(n % size for n in lots.values())


def _count_code(batch: BatchSubject, item: SaleItem, whole: int, rest: int) -> str | None:
    """Return the code for the boards seen of an item; None where there is nothing to say."""
    wanted = 1 if item.count is None else item.count
    size = max(1, item.product.gpus_per_board)
    if whole + -(-rest // size) < wanted:
        if batch.selected is not None or _incomplete(batch):
            return "fewer-in-selection"
        if item.count is None:
            return "none-seen"
        return "fewer-in-log" if batch.evidence_class is EvidenceClass.IMPORTED else "fewer"
    if rest:
        return "part-of-a-board"
    if item.count is None:
        return None
    return "all-there" if whole == wanted else "more"


def _check_count(batch: BatchSubject) -> Iterator[Finding]:
    """Compare the boards seen with the boards sold."""
    rule, cards = COUNT, batch.cards
    if not batch.items:
        yield finding(rule, "not-claimed")
        return
    if not batch.subjects:
        yield finding(rule, "no-device")
        return
    found = []
    for item in batch.items:
        mine = [card for card in cards if card.sale is item]
        whole, rest = _boards(item, mine)
        code = _count_code(batch, item, whole, rest)
        if code is None:
            continue
        left = f" and {rest} GPUs of boards that are not whole" if rest else ""
        claims = [card.read("pci.bus_id") for card in mine]
        found.append(
            finding(
                rule,
                code,
                observed=f"{whole} boards of {item.product.name}{left}",
                expected=str(item.count) if item.count is not None else "at least one",
                basis=basis_of(*claims),
                claims=cite(*claims),
            )
        )
    yield from found or [finding(rule, "not-claimed")]


COUNT = Rule(
    id="batch.count",
    title="As many boards as were sold",
    axis=Axis.IDENTITY,
    group=Group.BATCH,
    codes=(
        Code(id="all-there", outcome=Outcome.PASS, text="{observed}; sold: {expected}."),
        Code(
            id="more",
            outcome=Outcome.NOTE,
            text="{observed}; sold: {expected}. The others are not part of the sale.",
        ),
        Code(id="fewer", outcome=Outcome.FAIL, text="{observed}; sold: {expected}."),
        Code(
            id="fewer-in-log",
            outcome=Outcome.WARN,
            text="The file shows {observed}; sold: {expected}.",
        ),
        Code(
            id="fewer-in-selection",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed} in this part of the machine; sold: {expected}. Read all of it.",
        ),
        Code(
            id="none-seen",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}; sold: {expected}.",
        ),
        Code(
            id="part-of-a-board",
            outcome=Outcome.INCONCLUSIVE,
            caps=True,
            text="{observed}; sold: {expected}. All GPUs of a board have to be seen.",
        ),
        Code(
            id="not-claimed",
            outcome=Outcome.NOT_APPLICABLE,
            text="No count was claimed.",
        ),
        NO_DEVICE,
    ),
    shows="The number of boards is the number sold.",
    limit="A board that is dead on the bus is not counted.",
    near_miss="A K80 or an A16 is one board; cards beyond the count are not part of the sale.",
    references=("nvml.h, nvmlDeviceGetCount_v2",),
    batch_check=_check_count,
)

RULES = (COUNT,)
