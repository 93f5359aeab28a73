"""Building blocks of SQL text: numbered arguments, and the partition of a resource type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FINANCIAL = frozenset((1, 17, 19, 20, 30, 31, 32, 33, 46, 47, 53, 67, 104, 105))
CLINICAL = frozenset(
    (
        4,
        14,
        15,
        21,
        23,
        24,
        28,
        34,
        38,
        39,
        40,
        42,
        44,
        48,
        54,
        55,
        56,
        61,
        62,
        63,
        64,
        74,
        75,
        76,
        77,
        79,
        80,
    )
    + (95, 110, 111, 113, 120, 124, 126, 138, 139, 140, 146)
)
MEASUREMENT = frozenset((96,))
"""Type numbers by partition, as in migrations/schema.sql; every other type is ``general``."""


WHOLE = ("resource", "history")
"""Tables that are not partitioned."""


def partition(rt: int) -> str:
    """The partition that holds resources of type number ``rt``: statements of one type name it directly."""
    if rt in MEASUREMENT:
        return "measurement"
    if rt in CLINICAL:
        return "clinical"
    return "financial" if rt in FINANCIAL else "general"


def table(name: str, rt: int) -> str:
    """The part of the table ``name`` that holds rows of type number ``rt``; the whole of it for 0, and of what has no
    parts.
    """
    return f"{name}_{partition(rt)}" if rt and name not in WHOLE else name


class Arguments:
    """The arguments of one statement. Values never enter the text; equal shapes give equal texts."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any, cast: str) -> str:
        """``$n::cast`` for ``value``."""
        self.values.append(value)
        return f"${len(self.values)}::{cast}"

    def big(self, value: int) -> str:
        """A bigint argument."""
        return self.add(value, "bigint")

    def bigs(self, values: list[int]) -> str:
        """A bigint[] argument."""
        return self.add(values, "bigint[]")


def document_values(paths: Sequence[tuple[str, str]], row: str, arguments: Arguments) -> str:
    """A select of the values (jsonb ``j``) at ``paths`` (column, SQL/JSON path) of the resource row ``row``."""
    return " union all ".join(
        f"select jsonb_path_query({row}.{column}, {arguments.add(path, 'text')}::jsonpath) as j"
        for column, path in paths
    )
