"""The searches that are measured: three sets of shapes, each a function that draws one search path.

``HS`` are the 24 parameters of the vendor's benchmark, ``MH`` the 30 shapes of the independent one (both restated from
their published descriptions), ``X`` are ours. A published set is never edited: it gets a new name.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from urllib.parse import quote

from bench.clinic import DIASTOLIC, PAIN, PRESSURE, PROCEDURES, SYSTOLIC, Clinic
from bench.records import CONDITIONS, LOINC, PERSONS, SNOMED, TERMINOLOGY, UCUM, VITALS, Document


class Draw:
    """Values from what is stored, at random."""

    def __init__(self, random: Random, clinic: Clinic) -> None:
        self.random = random
        self._clinic = clinic
        # A few hundred patients stand for all of them: making documents is what drawing costs.
        pool = min(clinic.count, 300)
        self._numbers = random.sample(sorted(clinic.names), pool)
        self._held: dict[int, list[Document]] = {}

    def family(self) -> list[Document]:
        """All documents of some patient."""
        number = self.random.choice(self._numbers)
        if number not in self._held:
            self._held[number] = self._clinic.documents(number)
        return self._held[number]

    def document(self, type_: str) -> Document:
        """Some resource of a type."""
        return self.random.choice([each for each in self.family() if each["resourceType"] == type_])

    def id(self, type_: str) -> str:
        """The id of some resource of a type."""
        return str(self.document(type_)["id"])

    def pick(self, *values: str) -> str:
        """One of ``values``."""
        return self.random.choice(values)

    def vital(self) -> tuple[str, str, str, int, int]:
        """(code, name, unit, lowest, highest) of a kind of vital sign."""
        return self.random.choice(VITALS)

    def name(self, type_: str = "Patient") -> Document:
        """Some name."""
        found: Document = self.document(type_)["name"][0]
        return found

    def letters(self, text: str) -> str:
        """The beginning of ``text``, or sometimes what matches nothing."""
        return "zzqx" if self.random.random() < 0.05 else text[: self.random.randint(3, 6)]


Shape = Callable[[Draw], str]
PREFIXES = ("", "eq", "lt", "gt", "ge", "le", "sa", "eb")


def path(type_: str, *criteria: tuple[str, str]) -> str:
    """The path of a search."""
    return f"{type_}?" + "&".join(f"{name}={quote(value, safe=',')}" for name, value in criteria)


# -- search-hs -----------------------------------------------------------------------------------------------


def _string(type_: str, code: str, of: Callable[[Draw], str]) -> Shape:
    return lambda draw: path(type_, (code + draw.pick("", ":contains"), draw.letters(of(draw))), _TWENTY)


def _date(type_: str, code: str, of: Callable[[Draw], str]) -> Shape:
    return lambda draw: path(type_, (code, draw.pick(*PREFIXES) + of(draw)), _TWENTY)


def _token(type_: str, code: str, *values: str) -> Shape:
    return lambda draw: path(type_, (code, draw.pick(*values)), _TWENTY)


def _amount(draw: Draw) -> str:
    code, _, unit, low, high = draw.vital()
    return f"{draw.pick(*PREFIXES[:6])}{draw.random.randint(low, high + 20)}|{UCUM}|{unit}"


def _pressure(draw: Draw) -> str:
    return f"{draw.pick(*PREFIXES[:6])}{draw.random.randint(50, 200)}|{UCUM}|mm[Hg]"


def _coded_amount(draw: Draw) -> str:
    code, _, unit, low, high = draw.vital()
    return f"{code}${draw.pick('', 'gt', 'lt')}{draw.random.randint(low, high)}"


def _coded_pressure(draw: Draw) -> str:
    return f"{draw.pick(SYSTOLIC, DIASTOLIC)}${draw.pick('gt', 'lt')}{draw.random.randint(60, 190)}"


def _reference(type_: str, code: str, target: str, prefix: bool = False) -> Shape:
    return lambda draw: path(type_, (code, (f"{target}/" if prefix else "") + draw.id(target)), _TWENTY)


_TWENTY = ("_count", "20")
_CATEGORY = f"{TERMINOLOGY}/observation-category"
_CODES = [vital[0] for vital in VITALS]
HS: dict[str, Shape] = {
    "Patient.name": _string("Patient", "name", lambda draw: draw.name()["family"]),
    "Patient.address": _string("Patient", "address", lambda draw: draw.document("Patient")["address"][0]["city"]),
    "Organization.name": _string("Organization", "name", lambda draw: draw.document("Organization")["name"]),
    "Patient.birthdate": _date("Patient", "birthdate", lambda draw: draw.document("Patient")["birthDate"]),
    "Observation.date": _date("Observation", "date", lambda draw: draw.document("Observation")["effectiveDateTime"]),
    "Encounter.date": _date("Encounter", "date", lambda draw: draw.document("Encounter")["period"]["start"][:10]),
    "Observation.category": _token("Observation", "category", "vital-signs", f"{_CATEGORY}|vital-signs",
                                   "vital-signs,laboratory", "social-history"),
    "Observation.code": _token("Observation", "code", *_CODES, f"{LOINC}|{_CODES[0]}", f"{LOINC}|{PRESSURE}",
                               ",".join(_CODES[:3]), f"{LOINC}|{_CODES[4]},{LOINC}|{_CODES[5]}", "0000-0"),
    "Encounter.status": _token("Encounter", "status", "finished", "planned", "finished,planned", "cancelled"),
    "Encounter.class": _token("Encounter", "class", "AMB", f"{TERMINOLOGY}/v3-ActCode|AMB", "AMB,IMP", "IMP"),
    "Observation.value-quantity": lambda draw: path("Observation", ("value-quantity", _amount(draw)), _TWENTY),
    "Observation.component-value-quantity":
        lambda draw: path("Observation", ("component-value-quantity", _pressure(draw)), _TWENTY),
    "Observation.combo-value-quantity":
        lambda draw: path("Observation", ("combo-value-quantity", draw.pick(_amount(draw), _pressure(draw))), _TWENTY),
    "Observation.code-value-quantity":
        lambda draw: path("Observation", ("code-value-quantity", _coded_amount(draw)), _TWENTY),
    "Observation.component-code-value-quantity":
        lambda draw: path("Observation", ("component-code-value-quantity", _coded_pressure(draw)), _TWENTY),
    "Observation.combo-code-value-quantity":
        lambda draw: path("Observation", ("combo-code-value-quantity", draw.pick(_coded_amount(draw), _coded_pressure(draw))),
                          _TWENTY),
    "Observation.subject": _reference("Observation", "subject", "Patient", True),
    "Observation.encounter": _reference("Observation", "encounter", "Encounter", True),
    "Observation.performer": _reference("Observation", "performer", "Practitioner", True),
    "Encounter.subject": _reference("Encounter", "subject", "Patient", True),
    "Encounter.participant": _reference("Encounter", "participant", "Practitioner", True),
    "MedicationRequest.subject": _reference("MedicationRequest", "subject", "Patient", True),
    "MedicationRequest.encounter": _reference("MedicationRequest", "encounter", "Encounter", True),
    "MedicationRequest.requester": _reference("MedicationRequest", "requester", "Practitioner", True),
}  # fmt: skip


# -- search-mh -----------------------------------------------------------------------------------------------

_TOTAL = ("_total", "accurate")


def _static(text: str) -> Shape:
    return lambda draw: text


def _one_code(code: str) -> Shape:
    return _static(path("Observation", ("code", code), ("_count", "5"), _TOTAL))


def _condition(draw: Draw) -> str:
    return f"{SNOMED}|{draw.random.choice(CONDITIONS)[0]}"


MH: dict[str, Shape] = {
    "metadata": _static("metadata"),
    "Observation, ten": _static("Observation?_count=10"),
    "Observation, total": _static("Observation?_count=1&_total=accurate"),
    "code, total": _static(path("Observation", ("code", SYSTOLIC), _TOTAL)),
    "combo-code, total": _static(path("Observation", ("combo-code", SYSTOLIC), _TOTAL)),
    "gender, total": _static("Patient?gender=male&_total=accurate"),
    "family begins": _static("Patient?family=S"),
    "given begins": _static("Patient?given=A"),
    "gender and family": _static("Patient?gender=female&family=B"),
    "code 8302-2, total": _one_code("8302-2"),
    "code 29463-7, total": _one_code("29463-7"),
    "code 72514-3, total": _one_code(PAIN),
    "date since": _static("Observation?date=ge2020-01-01"),
    "read a patient": lambda draw: f"Patient/{draw.id('Patient')}",
    "family, exact": lambda draw: path("Patient", ("family:exact", draw.name()["family"])),
    "Observation of a patient": lambda draw: path("Observation", ("patient", draw.id("Patient")), _TWENTY),
    "Condition of a patient": lambda draw: path("Condition", ("patient", draw.id("Patient"))),
    "Condition by code": lambda draw: path("Condition", ("code", _condition(draw))),
    "Procedure by code": lambda draw: path("Procedure", ("code", f"{SNOMED}|{draw.random.choice(PROCEDURES)[0]}")),
    "Encounter of a patient": lambda draw: path("Encounter", ("patient", draw.id("Patient"))),
    "MedicationRequest of a patient": lambda draw: path("MedicationRequest", ("patient", draw.id("Patient"))),
    "Encounter of a practitioner":
        lambda draw: path("Encounter", ("participant", f"Practitioner/{draw.id('Practitioner')}")),
    "Encounter at a location": lambda draw: path("Encounter", ("location", f"Location/{draw.id('Location')}")),
    "_content, Patient": lambda draw: path("Patient", ("_content", draw.name()["family"])),
    "_content, Observation": lambda draw: path("Observation", ("_content", draw.vital()[1].split()[-1])),
    "_content, Condition": lambda draw: path("Condition", ("_content", draw.random.choice(CONDITIONS)[1].split()[0])),
    "name:text": lambda draw: path("Patient", ("name:text", draw.name()["family"])),
    "address:text": lambda draw: path("Patient", ("address:text", draw.document("Patient")["address"][0]["city"])),
    "_text, Patient": lambda draw: path("Patient", ("_text", draw.name()["family"])),
    "code:text, Condition": lambda draw: path("Condition", ("code:text", draw.random.choice(CONDITIONS)[1][:8])),
}  # fmt: skip


# -- search-x ------------------------------------------------------------------------------------------------


def _mr(draw: Draw) -> str:
    return f"{PERSONS}.0|{draw.document('Patient')['identifier'][0]['value']}"


def _year(draw: Draw) -> str:
    return str(draw.random.randint(2010, 2021))


def _many(draw: Draw) -> str:
    """A hundred ids of patients."""
    return ",".join(f"Patient/{draw.id('Patient')}" for _ in range(100))


_NEWEST = ("_sort", "-date")
_FIVE = ("_count", "5")
_GIRTH = f"{LOINC}|{_CODES[1]}"
X: dict[str, Shape] = {
    "identifier": lambda draw: path("Patient", ("identifier", _mr(draw))),
    "identifier, none": lambda draw: path("Patient", ("identifier", f"{PERSONS}.0|MR-0")),
    "family & given": lambda draw: path("Patient", *((k, v) for n in [draw.name()]
                                                     for k, v in (("family", n["family"]), ("given", n["given"][0])))),
    "patient & code": lambda draw: path("Observation", ("patient", draw.id("Patient")), ("code", draw.vital()[0]), _NEWEST),
    "patient & code & year": lambda draw: path(
        "Observation", ("patient", draw.id("Patient")), ("code", draw.vital()[0]), ("date", _year(draw))),
    "code & year": lambda draw: path("Observation", ("code", draw.vital()[0]), ("date", _year(draw)), _NEWEST, _TWENTY),
    "patient, -_lastUpdated": lambda draw: path(
        "Observation", ("patient", draw.id("Patient")), ("_sort", "-_lastUpdated"), _TWENTY),
    "patient, -date": lambda draw: path("Observation", ("patient", draw.id("Patient")), _NEWEST, _TWENTY),
    "code, -date": lambda draw: path("Observation", ("code", draw.vital()[0]), _NEWEST, _FIVE),
    "chain": lambda draw: path("Observation", ("patient.identifier", _mr(draw)), _TWENTY),
    "chain, two hops": lambda draw: path(
        "Observation", ("encounter.participant:Practitioner.family", draw.name("Practitioner")["family"]), _TWENTY),
    "_has": lambda draw: path("Patient", ("family", draw.name()["family"]), ("_has:Condition:patient:code", _condition(draw))),
    "_has, two hops": lambda draw: path(
        "Practitioner", ("_has:Encounter:participant:_has:Observation:encounter:patient", draw.id("Patient"))),
    "_include": lambda draw: path("Encounter", ("patient", draw.id("Patient")), ("_include", "Encounter:participant")),
    "_revinclude": lambda draw: path("Patient", ("_id", draw.id("Patient")), ("_revinclude", "Condition:patient")),
    "_elements": lambda draw: path("Patient", ("family", draw.name()["family"]), ("_elements", "name,birthDate")),
    "a hundred patients": lambda draw: path("Condition", ("patient", _many(draw)), _TWENTY),
    "code:not": lambda draw: path("Condition", ("patient", draw.id("Patient")), ("code:not", _condition(draw))),
    "encounter:missing": lambda draw: path("Observation", ("patient", draw.id("Patient")), ("encounter:missing", "true")),
    "count of a code": lambda draw: path("Observation", ("code", draw.vital()[0]), ("_summary", "count")),
    "count of a patient": lambda draw: path("Observation", ("patient", draw.id("Patient")), ("_summary", "count")),
    "no patient": lambda draw: path("Observation", ("patient", f"none-{draw.random.randrange(10**6)}")),
}  # fmt: skip
SETS = {"search-hs": HS, "search-mh": MH, "search-x": X}
CLIENTS = {"search-hs": 30, "search-mh": 64, "search-x": 64}
