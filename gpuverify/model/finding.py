"""Rules, their closed outcome codes, and findings."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuverify.model.claims import Basis, Value

if TYPE_CHECKING:
    from gpuverify.model.subject import BatchSubject, Subject


class Outcome(enum.Enum):
    """What a rule found. Only pass, note, warn and fail are conclusive."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"

    conclusive: bool
    """Whether the rule could be decided."""

    def __init__(self, word: str) -> None:
        """Note what is asked of every finding several times; a property would cost a call."""
        self.conclusive = word not in ("inconclusive", "not-applicable")

    # Members are singletons; the inherited hash is Python code and shows in every look-up.
    __hash__ = object.__hash__


class Axis(enum.Enum):
    """Questions that are kept apart: damaged is not counterfeit."""

    IDENTITY = "identity"
    CONDITION = "condition"
    HISTORY = "history"
    CONFIGURATION = "configuration"
    ENVIRONMENT = "environment"

    # As for Outcome.
    __hash__ = object.__hash__


class Group(enum.Enum):
    """What a policy can require."""

    PRODUCT = "product"
    CAPACITY = "capacity"
    LATTICE = "lattice"
    LINK = "link"
    ENVIRONMENT = "environment"
    HISTORY = "history"
    BATCH = "batch"
    CONDITION = "condition"
    CONFIGURATION = "configuration"
    DETAIL = "detail"

    # As for Outcome.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One of the closed results of a rule.

    Attributes:
        id: Lower case with hyphens, unique in its rule.
        outcome: What it means.
        text: One sentence; `{observed}` and `{expected}` may stand in it.
        caps: Whether the code, although no accusation, holds the verdict at unverified
            (an environment cap).
        defective: Whether a condition finding means a defect by the maker's own criterion.
        used: Whether a finding shows that the card was in use.
    """

    id: str
    outcome: Outcome
    text: str
    caps: bool = False
    defective: bool = False
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule concluded about one device (or the batch).

    Attributes:
        rule: Rule id.
        code: Code id.
        axis: The question it speaks to.
        outcome: Copied from the code.
        basis: How hard the observation is to forge.
        message: The code's sentence, filled in.
        expected: What was expected, for people; "" if nothing was.
        observed: What was seen, with its speaker.
        claims: `source:claim-id` of the claims it stands on.
        reference: `source-key locator` of the reference values it stands on.
        field: Reference field that `observed_value` belongs to, where the finding can exclude a
            confusable neighbour; "" otherwise.
        observed_value: The value seen, in the reference field's terms.
        caps: Copied from the code, like `defective` and `used`.
    """

    rule: str
    code: str
    axis: Axis
    outcome: Outcome
    basis: Basis
    message: str
    expected: str = ""
    observed: str = ""
    claims: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    field: str = ""
    observed_value: Value | None = None
    caps: bool = False
    defective: bool = False
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A pure comparison with closed outcome codes. Each stands once and is itself alone.

    Attributes:
        id: Dotted, lower case, stable.
        title: One line.
        axis: The question that its findings speak to.
        group: What a policy requires it under.
        codes: Every code that `check` can yield.
        shows: What a pass shows.
        limit: What a pass does not show.
        near_miss: The honest situation that must not trigger it.
        references: Where the threshold or the idea comes from.
        check: Yields findings for one device. It must yield at least one finding.
        batch_check: Yields findings over all devices, for batch rules.
    """

    id: str
    title: str
    axis: Axis
    group: Group
    codes: tuple[Code, ...]
    shows: str
    limit: str
    near_miss: str
    references: tuple[str, ...] = ()
    check: Callable[[Subject], Iterable[Finding]] | None = None
    batch_check: Callable[[BatchSubject], Iterable[Finding]] | None = None

    def code(self, code_id: str) -> Code:
        """Return a code by id.

        Raises:
            KeyError: The rule has no such code (a programming error).
        """
        for code in self.codes:
            if code.id == code_id:
                return code
        raise KeyError(f"{self.id}/{code_id}")
