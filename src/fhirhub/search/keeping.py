"""What functions of texts have come to, kept; but not of long texts, which anybody may send: a few thousand of them would
take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

LONG = 1000
"""Characters of a text whose result is not kept."""
P = ParamSpec("P")
R = TypeVar("R")


def keeping(most: int, text: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keeps the results of the last ``most`` arguments, of which the one at the place ``text``, and the next if that is a
    text, are short."""

    def kept(function: Callable[P, R]) -> Callable[P, R]:
        found = cast(Callable[P, R], lru_cache(maxsize=most)(function))
        last = text + 1

        @wraps(function)
        def asked(*args: P.args, **more: P.kwargs) -> R:
            value = args[text]
            if type(value) is str and len(value) > LONG:
                return function(*args, **more)
            if last < len(args):
                value = args[last]
                if type(value) is str and len(value) > LONG:
                    return function(*args, **more)
            return found(*args, **more)

        return asked

    return kept
