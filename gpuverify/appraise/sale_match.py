"""Which device stands for which item of the sale."""

from __future__ import annotations

from collections.abc import Sequence

from gpuverify.model.evidence import DeviceEvidence
from gpuverify.model.product import Recognition
from gpuverify.model.sale import SaleClaim, SaleItem

_FITS, _UNCLEAR, _RIVAL, _UNRELATED = range(4)


def _fit(recognition: Recognition, item: SaleItem) -> int:
    """How well a device's ids go with an item, best first.

    A rival is a product that could be passed off as the one sold; an unrelated product (a display
    card beside eight A100s) could not, so nobody would put it into the set to deceive.
    """
    sold = item.product
    ids = {product.id for product in recognition.products}
    if any(sold.id == product.id or sold.id in product.sold_as for product in recognition.products):
        return _FITS
    if not ids:
        return _UNCLEAR
    if ids & set(sold.neighbours):
        return _RIVAL
    product = recognition.product
    if product is None:
        return _UNCLEAR
    return _RIVAL if product.chip == sold.chip or product.has("datacenter") else _UNRELATED


def assign(
    devices: Sequence[DeviceEvidence],
    recognitions: Sequence[Recognition],
    sale: SaleClaim,
    selected: tuple[int, ...] | None,
) -> tuple[SaleItem | None, ...]:
    """Give each device the item it is judged against, None where it is not part of the sale.

    Items with a count take the best fitting devices up to the count (a board with several GPUs
    counts once); what is left over is not part of the sale. Without a count an item takes every
    device that is left, except products that could not be taken for it while others fit.

    Args:
        devices: The devices of the read-out.
        recognitions: What their ids name, in the same order.
        sale: The caller's claim.
        selected: Indexes named with --gpu; other devices get no item.

    Returns:
        One entry a device, in order.
    """
    result: list[SaleItem | None] = [None] * len(devices)
    free = [
        place
        for place, device in enumerate(devices)
        if selected is None or device.index in selected
    ]
    # Exact fits of every item go first, so that a mixed sale does not depend on the items' order.
    for worst in (_FITS, _UNRELATED):
        for item in sale.items:
            room = _room(item, result)
            anything_fits = any(given is item for given in result)
            ranked = sorted(free, key=lambda place, item=item: _fit(recognitions[place], item))  # type: ignore[misc]
            for place in ranked:
                fit = _fit(recognitions[place], item)
                if fit > worst or room == 0:
                    break
                if fit == _UNRELATED and item.count is None and anything_fits:
                    continue
                result[place] = item
                free.remove(place)
                anything_fits = True
                room -= 1
    return tuple(result)


def _room(item: SaleItem, given: Sequence[SaleItem | None]) -> int:
    """GPUs that an item still takes; negative for no bound."""
    if item.count is None:
        return -1
    taken = sum(1 for other in given if other is item)
    return max(0, item.count * item.product.gpus_per_board - taken)
