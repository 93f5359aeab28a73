"""Where a problem is and how it is told.

While a document is walked, a place is only a linked tuple; it becomes a FHIRPath expression when there is
something to say about it. The text of every issue names the value and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from fhirhub.errors import Issue
from fhirhub.resource import json

Place = tuple[Any, str, int]
"""(place of the parent or None, element name, index or -1)"""

Issues = list[Issue]
Check = Callable[[Any, dict[str, Any], Place, Issues], None]
"""Checks a property: its value, the object that holds it, the place of that object, and where problems go."""
ObjectCheck = Callable[[dict[str, Any], Place, Issues], None]
"""Checks an object that is known to be one: the object, its place, and where problems go."""

LIMIT = 200
"""More issues than this help nobody, and a hostile document could make millions."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN = 60


class TooMany(Exception):
    """There are :data:`LIMIT` issues; the rest of the document is not looked at."""


def add(issues: Issues, code: str, place: Place, text: str) -> None:
    """Append an issue about ``place``; raises TooMany at the limit."""
    issues.append(Issue(code, text, expression(place)))
    if len(issues) >= LIMIT:
        raise TooMany


def expression(place: Place | None) -> str:
    """The FHIRPath of ``place``: ``Patient.name[0].family``."""
    parts: list[str] = []
    while place is not None:
        parent, name, index = place
        if len(name) > _SHOWN or not _NAME.fullmatch(name):
            name = "`" + shortened(name.replace("`", "")) + "`"
        parts.append(name if index < 0 else f"{name}[{index}]")
        place = parent
    return ".".join(reversed(parts))


def shown(value: Any) -> str:
    """``value`` as JSON, shortened."""
    if type(value) is str:
        # Only the beginning is written out: the whole may be megabytes.
        return json.dumps(shortened(value)).decode()
    if type(value) is dict or type(value) is list:
        return json.kind(value)
    return shortened(json.dumps(value).decode())


def shortened(text: str) -> str:
    """``text``, or its beginning and an ellipsis."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be."""
    if len(name) > _SHOWN:
        return None
    names = list(known)
    folded = {one.lower(): one for one in names}
    if name.lower() in folded:
        return folded[name.lower()]
    found = get_close_matches(name, names, 1, 0.6)
    return found[0] if found else None


def listed(names: Iterable[str], most: int = 12) -> str:
    """``a, b, c …`` with at most ``most`` names."""
    found = list(names)
    return ", ".join(found[:most]) + (" …" if len(found) > most else "")


def wrong_kind(value: Any, place: Place, issues: Issues, label: str, wanted: str) -> None:
    """Report that ``value`` is not the kind of JSON value that ``label`` takes."""
    if value is None:
        text = f"{label} must not be null; leave it out when there is no value."
        if place[2] >= 0:
            text = f"{label} must not contain null here; remove it from the array."
    else:
        text = f"{label} must be {wanted}, not {json.kind(value)} ({shown(value)})."
        if type(value) is dict or type(value) is list:
            text = f"{label} must be {wanted}, not {json.kind(value)}."
    add(issues, "structure", place, text)


def not_repeated(place: Place, issues: Issues, label: str, wanted: str) -> None:
    """Report an array where one value belongs."""
    text = f"{label} takes one value, not an array; write {wanted} without the brackets."
    add(issues, "structure", place, text)


def not_an_array(value: Any, place: Place, issues: Issues, label: str) -> None:
    """Report what stands where an array belongs."""
    if value is None:
        text = f"{label} must not be null; leave it out when there is no value."
    elif value == []:
        text = f"{label} is an empty array; leave it out when there is no value."
    else:
        text = f"{label} can repeat: put its value in an array, [ … ], even when there is only one."
    add(issues, "structure", place, text)


def empty_object(place: Place, issues: Issues, label: str) -> None:
    """Report an object without properties."""
    add(issues, "structure", place, f"{label} is an empty object; leave it out when there is no value.")
