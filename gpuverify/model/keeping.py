"""Keeping answers about what cards say, bounded in number and in size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_KEPT = 400
"""Characters of the longest text that is kept: few honest cards say more, and a signed report may
hold texts of 20,000."""


def kept_if_short(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the answers of a pure function, save those about long texts.

    Args:
        maxsize: How many answers are kept. 1 and True are asked about apart.

    Returns:
        A decorator. All arguments of the function are hashable, and what it returns is immutable
        and follows from them alone.
    """

    def keep(function: Callable[P, R]) -> Callable[P, R]:
        kept = functools.lru_cache(maxsize=maxsize, typed=True)(function)

        @functools.wraps(function)
        def answer(*args: P.args, **kwargs: P.kwargs) -> R:
            for one in args:
                if one.__class__ is str and len(one) > LONGEST_KEPT:
                    return function(*args, **kwargs)
            return kept(*args, **kwargs)  # type: ignore[arg-type]

        return answer

    return keep
