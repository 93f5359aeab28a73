"""Renders the CapabilityStatement from what really executes: ``python -m fhirhub.interactions.statement`` rewrites
``capability/statement.json``, which is reviewed as a difference and proved equal by a test.
"""

from __future__ import annotations

import tomllib
from typing import Any

import orjson

from fhirhub import __version__
from fhirhub.capability import render
from fhirhub.definitions.tables import SearchParameter, load
from fhirhub.packaged import folder
from fhirhub.search.parameters.special import SPECIAL
from fhirhub.search.registry import Registry


def rendered() -> bytes:
    """The statement as the text of the file: one line for each resource type and search parameter."""
    definitions = load()
    registry = Registry(definitions)
    served: dict[str, list[SearchParameter]] = {}
    includable: dict[str, list[str]] = {}
    claims = tomllib.loads((folder("capability") / "server.toml").read_text(encoding="utf-8"))
    for type in definitions.resource_types:
        known = definitions.search_parameters(type)
        special = [code for code in known if code in SPECIAL]
        served[type] = [known[code] for code in (*registry.facets(type), *special)]
        includable[type] = [
            code
            for code, facet in registry.facets(type).items()
            if facet.canonical or registry.references(type, code)
        ]
        own = claims["types"].get(type, {}).get("searchParameters")
        if own is not None:
            # Not searched as a resource is.
            served[type] = [one for one in served[type] if one.code in own]
            includable[type] = []
    statement = render(claims, definitions, served, includable, __version__)
    resources = statement["rest"][0]["resource"]
    statement["rest"][0]["resource"] = ["@"]
    frame = orjson.dumps(statement, option=orjson.OPT_INDENT_2).decode()
    lines = ",\n".join(_lines(resource) for resource in resources)
    return frame.replace('"@"', lines).encode() + b"\n"


def _lines(resource: dict[str, Any]) -> str:
    """A resource with each of its search parameters on a line of its own, so that a difference shows one of them."""
    parameters = resource.pop("searchParam", [])
    head = orjson.dumps(resource).decode()
    if not parameters:
        return head
    listed = ",\n  ".join(orjson.dumps(one).decode() for one in parameters)
    return f'{head[:-1]},"searchParam":[\n  {listed}]}}'


def main() -> None:
    """Rewrite the file."""
    (folder("capability") / "statement.json").write_bytes(rendered())


if __name__ == "__main__":
    main()
