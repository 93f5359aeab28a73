"""Parameters resources by their names, for tests."""

from __future__ import annotations

from typing import Any

Told = dict[str, Any]


def told(document: dict[str, Any]) -> Told:
    """A Parameters resource by its names: each a value, a resource or a part, as a list where there are several."""
    found: dict[str, list[Any]] = {}
    for one in document["parameter"] if "parameter" in document else document["part"]:
        value = next((one[key] for key in one if key.startswith("value")), one.get("resource"))
        found.setdefault(one["name"], []).append(told(one) if "part" in one else value)
    return found
