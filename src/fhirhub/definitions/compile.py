"""Make the package data of :mod:`fhirhub.definitions.tables` from HL7's definition resources. Run by hand.

    python -m fhirhub.definitions.compile <folder of r4 *.ndjson.gz> <required-bindings.json.gz> [<output>]

The folder holds StructureDefinition, SearchParameter and CompartmentDefinition of hl7.fhir.r4.core 4.0.1, one
resource a line; the bindings file holds the expansion of every value set that a required binding names
(``valueSets[url].systems[system] = [[code, display], …]``).

Numbers that stores keep (of types and search parameters) are taken over from the present output file, so
compiling again never renumbers anything: new ones are counted on from the highest.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fhirhub.definitions import parameters
from fhirhub.definitions.tables import CHOICE, DATA, MODIFIER, SUMMARY

PROFILE = "http://hl7.org/fhir/StructureDefinition/"
KINDS = {"resource": "resource", "complex-type": "complex", "primitive-type": "primitive"}
Json = dict[str, Any]


def compiled(folder: Path, bindings: Path, previous: Json) -> Json:
    """The whole content of the package data; ``previous`` is the data as it was, or empty."""
    types: Json = {}
    for definition in _base_types(_lines(folder / "StructureDefinition.ndjson.gz")):
        types.update(_type_rows(definition))
    concrete = sorted(
        name for name, row in types.items() if row["kind"] == "resource" and not row.pop("abstract")
    )
    numbers = _numbered(concrete, previous.get("numbers", {}))
    searches = parameters.by_type(_lines(folder / "SearchParameter.ndjson.gz"), concrete, types)
    return {
        "version": "4.0.1",
        "resources": concrete,
        "numbers": numbers,
        "types": types,
        "parameters": parameters.numbered(searches, previous.get("parameters", {})),
        "sortDates": parameters.sort_dates(searches),
        "compartments": _compartments(_lines(folder / "CompartmentDefinition.ndjson.gz")),
        "valueSets": _value_sets(json.loads(gzip.decompress(bindings.read_bytes()))),
    }


def _lines(path: Path) -> Iterator[Json]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _numbered(names: Iterable[str], known: dict[str, int]) -> dict[str, int]:
    numbers = dict(known)
    for name in names:
        numbers.setdefault(name, max(numbers.values(), default=0) + 1)
    return numbers


def _base_types(definitions: Iterable[Json]) -> Iterator[Json]:
    """The types FHIR itself consists of: no profiles, no logical models."""
    for definition in definitions:
        if definition["kind"] in KINDS and definition.get("derivation") != "constraint":
            yield definition


def _type_rows(definition: Json) -> Json:
    """The type itself and every type that is declared inside it (``Patient``, ``Patient.contact`` …)."""
    name = definition["type"]
    base = definition.get("baseDefinition")
    kind = KINDS[definition["kind"]]
    root: Json = {"kind": kind, "base": base and base.removeprefix(PROFILE), "elements": []}
    if kind == "resource":
        root["abstract"] = definition["abstract"]
    rows: Json = {name: root}
    elements = definition["snapshot"]["element"]
    parents = {element["path"].rpartition(".")[0] for element in elements}
    declared = {element["path"]: element for element in elements}
    for element in elements[1:]:
        parent, _, last = element["path"].rpartition(".")
        if kind == "primitive" and last == "value":
            continue  # the value of a primitive is the JSON value itself, not a property
        if element["path"] in parents:
            base = element["type"][0]["code"]
            rows[element["path"]] = {"kind": "backbone", "base": base, "elements": []}
        rows[parent]["elements"].append(_element_row(element, declared, parents, kind))
    return rows


def _element_row(element: Json, declared: Json, parents: set[str], kind: str) -> list[Any]:
    """``[name, min, max, types, flags, binding, type declared in place]``, trailing empty fields left out."""
    name = element["path"].rpartition(".")[2]
    inner = element.get("contentReference", "").removeprefix("#")
    source = declared[inner] if inner else element
    if not inner and element["path"] in parents:
        inner = element["path"]
    flags = (
        CHOICE * name.endswith("[x]")
        + SUMMARY * bool(element.get("isSummary"))
        + MODIFIER * bool(element.get("isModifier"))
    )
    most = -1 if element["max"] == "*" else int(element["max"])
    references = [_type_reference(code, element, kind) for code in source["type"]]
    row = [name.removesuffix("[x]"), element["min"], most, references, flags, _required(element), inner]
    while len(row) > 4 and not row[-1]:
        row.pop()
    return row


def _type_reference(type_: Json, element: Json, kind: str) -> str:
    """``Quantity``, or ``Reference(Patient|Group)`` where targets are limited."""
    code = type_["code"]
    if code.startswith("http://hl7.org/fhirpath/System."):
        # Ids and Extension.url are typed by FHIRPath; what they hold is a string, an id or a uri.
        path = element["path"]
        if path.endswith(".url"):
            return "uri"
        return "id" if kind == "resource" and path.count(".") == 1 else "string"
    targets = sorted(profile.removeprefix(PROFILE) for profile in type_.get("targetProfile", ()))
    return f"{code}({'|'.join(targets)})" if targets and targets != ["Resource"] else code


def _required(element: Json) -> str | None:
    binding = element.get("binding")
    if not binding or binding["strength"] != "required":
        return None
    return binding["valueSet"].partition("|")[0]


def _compartments(definitions: Iterable[Json]) -> Json:
    return {
        definition["code"]: {
            entry["code"]: entry["param"] for entry in definition["resource"] if entry.get("param")
        }
        for definition in definitions
        if definition["id"] != "example"
    }


def _value_sets(bindings: Json) -> Json:
    return {
        url: {system: [code for code, _ in codes] for system, codes in value_set["systems"].items()}
        for url, value_set in bindings["valueSets"].items()
    }


def main(arguments: list[str]) -> int:
    """Compile from the two paths in ``arguments`` into the package data, or into a third path."""
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    output = Path(arguments[2]) if len(arguments) == 3 else DATA
    previous = json.loads(gzip.decompress(output.read_bytes())) if output.exists() else {}
    content = compiled(Path(arguments[0]), Path(arguments[1]), previous)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    # No time stamp, so that the same definitions always make the same bytes.
    output.write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{output.name}: {len(content['types'])} types, {output.stat().st_size} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
