"""The words of a sale claim to one product, or the candidates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuverify.errors import UsageError

_SHOWN = 12
_LABEL = re.compile(r"(\d+)(?:G|GB|GIB)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the index holds of a product.

    Attributes:
        id: Product id.
        labels: Memory labels per GPU.
        board_labels: Memory labels per board.
        modified: Whether it is a declared modification.
        name_key: Name as the driver prints it, as `words` gives it.
    """

    id: str
    labels: tuple[str, ...]
    board_labels: tuple[str, ...]
    modified: bool
    name_key: str


def words(text: str) -> str:
    """Return a name as it is looked up: lower case, one hyphen for every gap, no "nvidia-".

    Args:
        text: A product id, alias or NVML name.

    Returns:
        The look-up key.
    """
    return re.sub(r"[\s_/-]+", "-", text.strip().lower()).strip("-").removeprefix("nvidia-")


def label(text: str) -> str:
    """Return a memory label as it is compared: "80 gb" and "80" are "80GB".

    Args:
        text: A label.

    Returns:
        The label without spaces, in upper case, with GB at its end.
    """
    plain = re.sub(r"[\s-]+", "", text).upper()
    match = _LABEL.fullmatch(plain)
    return f"{match.group(1)}GB" if match else plain


def resolve(
    text: str,
    memory: str | None,
    entries: Mapping[str, Entry],
    names: Mapping[str, tuple[str, ...]],
) -> tuple[str, bool]:
    """Resolve the words of a claim.

    Args:
        text: A product id, an alias, or a name as NVML prints it.
        memory: A memory label, None if none was given.
        entries: All products by id.
        names: Product ids by look-up key of id, name and aliases.

    Returns:
        The product's id, and whether the label is one of a whole board.

    Raises:
        UsageError: The words fit none or several; the candidates are listed.
    """
    wanted = words(text)
    found = _named(text, wanted, entries, names)
    if memory is not None:
        found, per_board = _with_label(text, wanted, memory, found, entries)
    else:
        per_board = False
    if len(found) == 1:
        return found[0], per_board
    raise UsageError(f"{text!r} fits {len(found)} products; name one of them: {_listed(found)}")


def _named(
    text: str, wanted: str, entries: Mapping[str, Entry], names: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the ids that the words fit, before memory is looked at."""
    if wanted in entries:
        return (wanted,)
    family = tuple(product for product in entries if product.startswith(f"{wanted}-"))
    direct = names.get(wanted, ())
    # "H200" is the whole family although the SXM card prints just that; "NVIDIA H200" is the name.
    as_printed = text.strip().lower().startswith("nvidia")
    if direct and (as_printed or len(family) < 2 or len(direct) > 1):
        return direct
    if family:
        return _plain(wanted, family, entries) or family
    parts = {part for part in wanted.split("-") if part}
    loose = tuple(product for product in entries if parts and parts <= set(product.split("-")))
    if loose:
        return loose
    near = tuple(product for product in entries if parts & set(product.split("-")))
    hint = f"; near: {_listed(near)}" if near else ""
    raise UsageError(f"no product is called {text!r}; see `gpuverify products`{hint}")


def _plain(wanted: str, family: tuple[str, ...], entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return the one stock product that adds nothing but its memory to the words, if there is."""
    plain = tuple(
        product
        for product in family
        if re.fullmatch(r"\d+gb", product.removeprefix(f"{wanted}-"))
        and not entries[product].modified
    )
    return plain if len(plain) == 1 else ()


def _with_label(
    text: str,
    wanted: str,
    memory: str,
    found: tuple[str, ...],
    entries: Mapping[str, Entry],
) -> tuple[tuple[str, ...], bool]:
    """Narrow by a memory label, per GPU first, then per board."""
    asked = label(memory)
    for per_board in (False, True):
        fitting = tuple(
            product
            for product in found
            if asked in map(label, _labels(entries[product], per_board=per_board))
        )
        if fitting:
            plain = tuple(product for product in fitting if product == f"{wanted}-{asked.lower()}")
            return plain or fitting, per_board
    declared = tuple(
        entry.id
        for entry in entries.values()
        if entry.modified and entry.name_key == wanted and asked in map(label, entry.labels)
    )
    hint = f"; a modified card is claimed by its id: {_listed(declared)}" if declared else ""
    sold = sorted({one for product in found for one in _sold_with(entries[product])})
    raise UsageError(
        f"no {text!r} is sold with {memory}: {_listed(found)}"
        f" (labels: {', '.join(sold) or 'none on file'}){hint}"
    )


def _labels(entry: Entry, *, per_board: bool) -> tuple[str, ...]:
    """Return the labels per GPU, or per board."""
    return entry.board_labels if per_board else entry.labels


def _sold_with(entry: Entry) -> tuple[str, ...]:
    """Return all labels, those of a board marked."""
    return entry.labels + tuple(f"{one} a board" for one in entry.board_labels)


def _listed(products: Iterable[str]) -> str:
    """List ids, at most a dozen."""
    ids = list(products)
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
