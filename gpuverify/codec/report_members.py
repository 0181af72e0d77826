"""Members of a signed statement, read strictly; those that this version does not know are noted."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from gpuverify.codec.text import printable
from gpuverify.codec.utc_time import utc_seconds
from gpuverify.model.keeping import LONGEST_KEPT
from gpuverify.model.refusal import Refusal, Refused

T = TypeVar("T")

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")
KEYID = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
REFDB_VERSION = re.compile(r"[0-9]{4}\.[0-9]{2}\.[0-9]{2}(?:\.[0-9]{1,4})?")
WORD = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

_ONLY_STRINGS: frozenset[type] = frozenset({str})

MAX_IGNORED = 100
"""Most unknown members that are listed."""


@functools.lru_cache(maxsize=4096)
def _is_word(text: str) -> bool:
    """Whether a text is an id; the same ones stand in every report."""
    return WORD.fullmatch(text) is not None


def are_words(texts: Iterable[str]) -> bool:
    """Whether all texts are ids, of a rule, its code or a kind of fraud.

    Args:
        texts: The texts.
    """
    words = tuple(texts)
    if max(map(len, words), default=0) > LONGEST_KEPT:  # not kept, see there
        return all(map(WORD.fullmatch, words))
    return all(map(_is_word, words))


class Book:
    """What is being read, and what was passed over in it.

    Attributes:
        origin: What the document was read from, for people.
    """

    def __init__(self, origin: str) -> None:
        """Begin with nothing passed over.

        Args:
            origin: What the document was read from, for people.
        """
        self.origin = origin
        self._ignored: dict[str, None] = {}

    def fail(self, where: str, reason: str, refusal: Refusal = Refusal.SCHEMA) -> Refused:
        """Build a refusal.

        Args:
            where: Path of the member.
            reason: What is wrong with it.
            refusal: The code.
        """
        place = f"{printable(where, 120)}: " if where else ""
        return Refused(
            refusal,
            f"{printable(self.origin)}: {place}{reason}; ask the signer for a report of this"
            " format, or update gpuverify",
        )

    def ignore(self, where: str, name: str) -> None:
        """Take note of something that this version does not know."""
        if len(self._ignored) < MAX_IGNORED:
            self._ignored[f"{where}.{printable(name, 60)}" if where else printable(name, 60)] = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Paths of what was passed over, each once."""
        return tuple(self._ignored)


class Node:
    """One JSON object whose members are taken by name."""

    __slots__ = ("_book", "_tree", "path")

    def __init__(self, tree: object, path: str, book: Book, known: frozenset[str]) -> None:
        """Take an object.

        Args:
            tree: What should be one.
            path: Where it stands.
            book: What is being read.
            known: Members that this version knows; others are noted and never looked at.

        Raises:
            Refused: E_SCHEMA, it is none.
        """
        if type(tree) is not dict:
            raise book.fail(path, "has to be an object")
        if not tree.keys() <= known:
            for name in sorted(tree.keys() - known):
                book.ignore(path, name)
        self._tree: dict[str, Any] = tree
        self._book = book
        self.path = path

    def fail(self, name: str, reason: str, refusal: Refusal = Refusal.SCHEMA) -> Refused:
        """Build the refusal of a member.

        Args:
            name: The member.
            reason: What is wrong with it.
            refusal: The code.
        """
        return self._book.fail(self.where(name), reason, refusal)

    def where(self, name: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether a member is there and not null."""
        return self._tree.get(name) is not None

    def raw(self, name: str) -> Any:
        """Return a member as it is, None where it is missing."""
        return self._tree.get(name)

    def text(self, name: str, form: re.Pattern[str] | None = None, *, empty: bool = False) -> str:
        """Return a string.

        Args:
            name: The member.
            form: What it has to match as a whole.
            empty: Whether it may be empty.

        Raises:
            Refused: E_SCHEMA.
        """
        value = self._tree.get(name)
        if type(value) is not str:
            raise self.fail(name, "is missing" if value is None else "has to be a string")
        if form is not None and form.fullmatch(value) is None:
            raise self.fail(name, f"{printable(value, 80)!r} is not of the form that it has to be")
        if not value and not empty:
            raise self.fail(name, "must not be empty")
        return value

    def text_or_none(self, name: str, form: re.Pattern[str] | None = None) -> str | None:
        """Return a string that may be missing or null; see `text`."""
        return None if self._tree.get(name) is None else self.text(name, form)

    def texts(self, name: str, *, needed: bool = True) -> tuple[str, ...]:
        """Return an array of strings; see `items`.

        Raises:
            Refused: E_SCHEMA.
        """
        items = self.items(name, needed=needed)
        if not _ONLY_STRINGS.issuperset(map(type, items)):
            raise self.fail(name, "has to be an array of strings")
        return tuple(items)

    def items(self, name: str, *, needed: bool = True) -> list[Any]:
        """Return an array.

        Args:
            name: The member.
            needed: Whether it has to be there; else a missing one is empty.

        Raises:
            Refused: E_SCHEMA.
        """
        value = self._tree.get(name)
        if type(value) is not list:
            if value is None and not needed and name not in self._tree:
                return []
            raise self.fail(name, "is missing" if value is None else "has to be an array")
        return value

    def integer(self, name: str, low: int = 0) -> int:
        """Return an integer.

        Args:
            name: The member.
            low: Its smallest value.

        Raises:
            Refused: E_SCHEMA.
        """
        value = self._tree.get(name)
        if type(value) is not int or value < low:
            reason = "is missing" if value is None else f"has to be an integer from {low}"
            raise self.fail(name, reason)
        return value

    def integer_or_none(self, name: str, low: int = 0) -> int | None:
        """Return an integer that may be missing or null; see `integer`."""
        return None if self._tree.get(name) is None else self.integer(name, low)

    def choice(self, name: str, table: Mapping[str, T]) -> T:
        """Return what a word stands for.

        Args:
            name: The member.
            table: The words that it may be.

        Raises:
            Refused: E_SCHEMA.
        """
        value = self._tree.get(name)
        found = table.get(value) if type(value) is str else None
        if found is None:
            reason = "is missing" if value is None else f"has to be one of {', '.join(table)}"
            raise self.fail(name, reason)
        return found

    def choice_or_none(self, name: str, table: Mapping[str, T]) -> T | None:
        """Return what a word stands for that may be missing or null; see `choice`."""
        return None if self._tree.get(name) is None else self.choice(name, table)

    def time(self, name: str) -> int:
        """Return a time in Unix seconds.

        Raises:
            Refused: E_SCHEMA: not `YYYY-MM-DDThh:mm:ssZ`, or no such moment.
        """
        text = self.text(name)
        seconds = utc_seconds(text)
        if seconds is None:
            raise self.fail(name, f"{printable(text, 40)!r} is no time YYYY-MM-DDThh:mm:ssZ")
        return seconds

    def time_or_none(self, name: str) -> int | None:
        """Return a time that may be missing or null; see `time`."""
        return None if self._tree.get(name) is None else self.time(name)

    def node(self, name: str, known: frozenset[str]) -> Node:
        """Return an object.

        Args:
            name: The member.
            known: Members that this version knows.

        Raises:
            Refused: E_SCHEMA.
        """
        value = self._tree.get(name)
        if value is None:
            raise self.fail(name, "is missing")
        return Node(value, self.where(name), self._book, known)

    def nodes(self, name: str, known: frozenset[str], *, needed: bool = True) -> list[Node]:
        """Return an array of objects; see `node` and `items`."""
        path = self.where(name)
        return [
            Node(item, f"{path}[{number}]", self._book, known)
            for number, item in enumerate(self.items(name, needed=needed))
        ]
