"""Small random worlds of resources: HL7's examples changed at random, and plain ones whose values collide."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from fhirhub.resource.json import parse_value
from searching import document as document_of
from searching import examples

Document = dict[str, Any]

DATES = (
    "2019", "2020", "2020-02", "2020-02-29", "2020-02-29T10:00:00Z", "2020-02-29T10:00:00.5+02:00",
    "2020-03-01",
    "2020-12-31T23:59:59-05:00", "2021-01-01T00:00:00Z", "1999-12-31", "2020-02-29T08:00:00Z",
)  # fmt: skip
INSTANTS = tuple(date for date in DATES if "T" in date)
DAYS = tuple(date for date in DATES if "T" not in date)
NUMBERS = ("5", "5.0", "5.00", "5.4", "5.45", "-3", "0", "100", "99.5", "1e2", "0.001", "1234567890.5")
UNITS = (
    {"unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
    {"unit": "milligram", "system": "http://unitsofmeasure.org", "code": "mg"},
    {"unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"},
    {"unit": "mg"},
    {},
)
SYSTEMS = ("http://loinc.org", "http://snomed.info/sct", "urn:x")
CODES = ("a", "b", "A", "8480-6", "x|y", "c,d", "$")
GIVEN = ("William", "Bill", "Will James", "Élizabeth", "Beth", "Ann-Marie")
"""Names of which several belong together."""
WORDS = (
    "Müller",
    "MULLER",
    "muller-lüdenscheidt",
    "O'Brien",
    "o brien",
    "Åse",
    "van der Berg",
    "Zoë",
    "李",
    "a",
)


def number(text: str) -> Any:
    """A number as documents hold it, with these digits."""
    return parse_value(text.encode())


def _coding(rng: Random) -> Document:
    coding: Document = {"code": rng.choice(CODES)}
    if rng.random() < 0.8:
        coding["system"] = rng.choice(SYSTEMS)
    if rng.random() < 0.1:
        del coding["code"]
    return coding


def _concept(rng: Random) -> Document:
    concept: Document = {"coding": [_coding(rng) for _ in range(rng.choice((1, 1, 2)))]}
    if rng.random() < 0.3:
        concept["text"] = rng.choice(WORDS)
    return concept


def _quantity(rng: Random) -> Document:
    quantity: Document = {"value": number(rng.choice(NUMBERS)), **rng.choice(UNITS)}
    if rng.random() < 0.15:
        quantity["comparator"] = rng.choice(("<", "<=", ">", ">="))
    return quantity


def _period(rng: Random) -> Document:
    period = {"start": rng.choice(DATES), "end": rng.choice(DATES)}
    if rng.random() < 0.4:
        del period[rng.choice(("start", "end"))]
    return period


def _identifier(rng: Random) -> Document:
    identifier = {"system": rng.choice(SYSTEMS), "value": rng.choice(CODES)}
    if rng.random() < 0.2:
        del identifier["system"]
    return identifier


class World:
    """Random documents that refer to each other; the same for the same seed."""

    def __init__(self, seed: int, size: int = 40) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self._names = [
            (kind, f"{kind[:3].lower()}{n}") for kind in MAKERS for n in range(size // len(MAKERS))
        ]
        self.documents: list[Document] = [
            MAKERS[kind](self, self._base(kind, id)) for kind, id in self._names
        ]
        self.documents += self._changed_examples(size // 2)

    def _base(self, kind: str, id: str) -> Document:
        document: Document = {"resourceType": kind, "id": id}
        if self.rng.random() < 0.3:
            document["meta"] = {"tag": [_coding(self.rng)], "profile": [self.rng.choice(SYSTEMS)]}
        if self.rng.random() < 0.5:
            document["identifier"] = [_identifier(self.rng)]
        return document

    def maybe(self, document: Document, name: str, make: Callable[[], Any], chance: float = 0.7) -> None:
        """Give ``document`` the element, or not."""
        if self.rng.random() < chance:
            document[name] = make()

    def reference(self, *types: str) -> Document:
        """A reference to something of ``types``, now and then to what is not there."""
        kind, id = self.rng.choice([name for name in self._names if name[0] in types])
        if self.rng.random() < 0.05:
            id = "nobody"
        text = f"{kind}/{id}"
        if self.rng.random() < 0.1:
            text = f"http://here.test/fhir/{text}"
        elif self.rng.random() < 0.1:
            text = f"http://elsewhere.test/{text}"
        return {"reference": text}

    def _changed_examples(self, count: int) -> list[Document]:
        pool = [each for each in examples() if "id" in each and len(str(each)) < 20_000]
        chosen = {(each["resourceType"], each["id"]): each for each in self.rng.sample(pool, count)}
        return [self._mutated(document_of(each), pool) for each in chosen.values()]

    def _mutated(self, document: Document, pool: list[Document]) -> Document:
        kin = [each for each in pool if each["resourceType"] == document["resourceType"]]
        for _ in range(self.rng.randrange(3)):
            names = [name for name in document if name not in ("resourceType", "id")]
            if not names:
                break
            name = self.rng.choice(names)
            other = self.rng.choice(kin)
            if name in other:
                document[name] = document_of(other)[name]
            else:
                del document[name]
        return document


def _patient(world: World, document: Document) -> Document:
    rng = world.rng
    world.maybe(
        document, "name", lambda: [{"family": rng.choice(WORDS), "given": [rng.choice((*WORDS, *GIVEN))]}]
    )
    world.maybe(document, "birthDate", lambda: rng.choice(DAYS))
    world.maybe(document, "gender", lambda: rng.choice(("male", "female", "unknown")))
    world.maybe(document, "active", lambda: rng.random() < 0.5)
    world.maybe(document, "address", lambda: [{"city": rng.choice(WORDS), "line": [rng.choice(WORDS)]}])
    world.maybe(
        document, "telecom", lambda: [{"system": rng.choice(("phone", "email")), "value": rng.choice(CODES)}]
    )
    world.maybe(document, "managingOrganization", lambda: world.reference("Organization"))
    world.maybe(
        document, "generalPractitioner", lambda: [world.reference("Organization", "Practitioner")], 0.4
    )
    document.update(
        rng.choice(({}, {"deceasedBoolean": rng.random() < 0.5}, {"deceasedDateTime": rng.choice(DATES)}))
    )
    return document


def _observation(world: World, document: Document) -> Document:
    rng = world.rng
    document.update(status=rng.choice(("final", "amended")), code=_concept(rng))
    world.maybe(document, "category", lambda: [_concept(rng)])
    world.maybe(document, "subject", lambda: world.reference("Patient", "Patient", "Patient", "Group"))
    world.maybe(document, "encounter", lambda: world.reference("Encounter"), 0.4)
    world.maybe(
        document, "performer", lambda: [world.reference("Practitioner", "Organization", "Patient")], 0.3
    )
    effective = rng.choice(
        ("effectiveDateTime", "effectiveDateTime", "effectivePeriod", "effectiveTiming", "")
    )
    if effective == "effectiveTiming":
        document[effective] = {"event": [rng.choice(DATES), rng.choice(DATES)]}
    elif effective:
        document[effective] = rng.choice(DATES) if effective == "effectiveDateTime" else _period(rng)
    value = rng.choice(
        ("valueQuantity", "valueQuantity", "valueCodeableConcept", "valueString", "valueRange", "")
    )
    makers: dict[str, Callable[[], Any]] = {
        "valueQuantity": lambda: _quantity(rng),
        "valueCodeableConcept": lambda: _concept(rng),
        "valueString": lambda: rng.choice(WORDS),
        "valueRange": lambda: {"low": {"value": number("5")}, "high": {"value": number("100")}},
    }
    if value:
        document[value] = makers[value]()
    if rng.random() < 0.3:
        document["component"] = [{"code": _concept(rng), "valueQuantity": _quantity(rng)} for _ in range(2)]
    if rng.random() < 0.2:
        document["hasMember"] = [world.reference("Observation")]
    return document


def _encounter(world: World, document: Document) -> Document:
    rng = world.rng
    document.update(status=rng.choice(("finished", "planned")), **{"class": _coding(rng)})
    world.maybe(document, "type", lambda: [_concept(rng)])
    world.maybe(document, "subject", lambda: world.reference("Patient", "Patient", "Group"))
    world.maybe(document, "period", lambda: _period(rng))
    world.maybe(document, "length", lambda: _quantity(rng), 0.4)
    world.maybe(document, "serviceProvider", lambda: world.reference("Organization"), 0.4)
    stays = rng.choice((1, 2, 3))
    places = [{"location": world.reference("Location"), "period": _period(rng)} for _ in range(stays)]
    world.maybe(document, "location", lambda: places, 0.5)
    return document


def _condition(world: World, document: Document) -> Document:
    rng = world.rng
    document["subject"] = world.reference("Patient", "Patient", "Group")
    world.maybe(document, "code", lambda: _concept(rng))
    world.maybe(document, "recordedDate", lambda: rng.choice(DATES))
    onset = rng.choice(("onsetDateTime", "onsetAge", "onsetPeriod", "onsetString", ""))
    makers: dict[str, Callable[[], Any]] = {
        "onsetDateTime": lambda: rng.choice(DATES),
        "onsetAge": lambda: _quantity(rng),
        "onsetPeriod": lambda: _period(rng),
        "onsetString": lambda: rng.choice(WORDS),
    }
    if onset:
        document[onset] = makers[onset]()
    world.maybe(document, "encounter", lambda: world.reference("Encounter"), 0.4)
    return document


def _named(world: World, document: Document) -> Document:
    document["name"] = world.rng.choice(WORDS)
    if document["resourceType"] == "Location":
        world.maybe(document, "position", lambda: {"longitude": number("5"), "latitude": number("5.4")})
    world.maybe(document, "partOf", lambda: world.reference(document["resourceType"]), 0.3)
    return document


def _group(world: World, document: Document) -> Document:
    document.update(type="person", actual=True)
    world.maybe(document, "member", lambda: [{"entity": world.reference("Patient", "Group")}])
    return document


def _practitioner(world: World, document: Document) -> Document:
    document["name"] = [{"family": world.rng.choice(WORDS)}]
    return document


def _risk(world: World, document: Document) -> Document:
    rng = world.rng
    document.update(status="final", subject=world.reference("Patient", "Group"))
    predictions = [
        {"probabilityDecimal": number(rng.choice(NUMBERS))},
        {"probabilityRange": {"low": {"value": number("5")}, "high": {"value": number("99.5")}}},
    ]
    world.maybe(document, "prediction", lambda: predictions[: rng.choice((1, 2))])
    world.maybe(document, "occurrenceDateTime", lambda: rng.choice(DATES))
    return document


MAKERS: dict[str, Callable[[World, Document], Document]] = {
    "Patient": _patient,
    "Observation": _observation,
    "Encounter": _encounter,
    "Condition": _condition,
    "Organization": _named,
    "Location": _named,
    "Group": _group,
    "Practitioner": _practitioner,
    "RiskAssessment": _risk,
}
