"""What consents keep from whom. In doubt, more is kept back."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.auth import consent
from fhirhub.auth.grant import Grant
from searching import definitions, examples
from support.access import decided, grant, letters, observation, patient, reaches

LOINC = "http://loinc.org"
DOC = grant("user/*.cruds", role="practitioner", user="doc", fhir_user="Practitioner/doc")
NURSE = grant("user/*.cruds", role="practitioner", user="nurse", fhir_user="Practitioner/nurse")
LAB = grant("system/*.cruds", kind="system", client="lab")
KNOWN_LAB = grant(
    "system/*.cruds", kind="system", client="lab", client_policy={"organization": "Organization/lab"}
)
ANA = grant("patient/*.rs", role="patient", fhir_user="Patient/ana", patient="ana")
BOB = grant("patient/*.rs", role="patient", fhir_user="Patient/bob", patient="bob")

CONDITION = {"resourceType": "Condition", "id": "c", "subject": patient("ana")}
SUBSTANCE = {"coding": [{"system": "http://snomed.info/sct", "code": "66590003"}]}
RECORD: dict[str, dict[str, Any]] = {
    "patient": {"resourceType": "Patient", "id": "ana"},
    "plain": observation("ana", effectiveDateTime="2023-05-01"),
    "old": observation("ana", id="old", effectiveDateTime="2010-05-01"),
    "undated": observation("ana", id="undated"),
    "condition": CONDITION,
    "drinks": {**CONDITION, "code": SUBSTANCE},
    "claim": {"resourceType": "Claim", "id": "claim", "patient": patient("ana")},
    "medicine": {"resourceType": "MedicationRequest", "id": "m", "subject": patient("ana"),
                 "medicationReference": {"reference": "Medication/1"}},
    "labelled": observation("ana", id="labelled", meta={"security": [{"system": "urn:x", "code": "SECRET"}]}),
    "written": {"resourceType": "Communication", "id": "w", "recipient": [patient("ana")]},
}  # fmt: skip
EVERYTHING = frozenset(RECORD)


def provision(**body: Any) -> dict[str, Any]:
    """A consent of ana with this root."""
    return {"status": "active", "patient": patient("ana"), "provision": {"type": "deny", **body}}


def actor(reference: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": {"text": "x"}, "reference": {**({"reference": reference} if reference else {}), **more}}


def hidden(given: Grant, document: dict[str, Any], affiliations: list[str] | None = None) -> frozenset[str]:
    """Names of what of ana's record is not seen any more."""
    before, after = decided(given), decided(given, [document], affiliations)
    gone = set()
    for name, each in RECORD.items():
        lost = [
            letter for letter in "rs" if reaches(before, letter, each) and not reaches(after, letter, each)
        ]
        assert len(lost) in (0, 2), name
        assert not set(letters(after, each)) - set(letters(before, each)), name
        if lost:
            gone.add(name)
    # Others are never concerned.
    assert letters(after, observation("bob")) == letters(before, observation("bob"))
    return frozenset(gone)


ALL_OF_HERS = EVERYTHING


@pytest.mark.parametrize(
    ("actors", "doc", "nurse", "lab"),
    [
        ([], True, True, True),
        ([actor("Practitioner/doc")], True, False, False),
        ([actor("Practitioner/doc/_history/2")], True, False, False),
        ([actor("Practitioner/doc"), actor("Practitioner/nurse")], True, True, False),
        ([actor("Device/lab")], False, False, True),
        ([actor("Patient/bob")], False, False, False),
        ([actor("RelatedPerson/1")], False, False, False),
        # It is not known whose organization or team that is.
        ([actor("Organization/lab")], True, True, True),
        ([actor("CareTeam/1")], True, True, True),
        ([actor("http://elsewhere.test/fhir/Practitioner/1")], True, True, True),
        ([actor(identifier={"value": "lab"})], True, True, True),
        ([actor(display="the nurse")], True, True, True),
        ([{}], True, True, True),
        (["no actor"], True, True, True),
    ],
)
def test_actors(actors: list[Any], doc: bool, nurse: bool, lab: bool) -> None:
    document = provision(actor=actors) if actors else provision()
    for given, kept in ((DOC, doc), (NURSE, nurse), (LAB, lab)):
        assert hidden(given, document) == (ALL_OF_HERS if kept else frozenset()), given
    assert hidden(ANA, document) == frozenset()
    assert hidden(BOB, document) == frozenset()


def test_known_affiliations() -> None:
    document = provision(actor=[actor("Organization/lab")])
    assert hidden(KNOWN_LAB, document) == ALL_OF_HERS
    assert hidden(KNOWN_LAB, provision(actor=[actor("Organization/other")])) == frozenset()
    assert hidden(DOC, document, ["Organization/here", "PractitionerRole/1"]) == frozenset()
    assert hidden(DOC, document, ["Organization/lab"]) == ALL_OF_HERS
    assert hidden(DOC, provision(actor=[actor("PractitionerRole/1")]), ["PractitionerRole/1"]) == ALL_OF_HERS
    assert hidden(DOC, provision(actor=[actor("CareTeam/1")]), ["Organization/here"]) == ALL_OF_HERS


def test_the_patient_is_kept_from_the_own_record_only_when_named() -> None:
    assert hidden(ANA, provision(actor=[actor("Patient/ana")])) == EVERYTHING
    app = grant("patient/*.rs", role="patient", fhir_user="Patient/ana", patient="ana", client="gossip")
    assert "plain" in hidden(app, provision(actor=[actor(identifier={"value": "gossip"})]))
    assert "plain" not in hidden(ANA, provision(actor=[actor(identifier={"value": "gossip"})]))


TYPES = "http://hl7.org/fhir/resource-types"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"class": [{"system": TYPES, "code": "Condition"}]}, {"condition", "drinks"}),
        (
            {"class": [{"code": "Condition"}, {"system": TYPES, "code": "Patient"}]},
            {"condition", "drinks", "patient"},
        ),
        ({"class": [{"system": "urn:ietf:bcp:13", "code": "application/hl7-cda+xml"}]}, EVERYTHING),
        ({"class": [{"system": TYPES, "code": "Condition"}, {"code": "x"}]}, EVERYTHING),
        ({"securityLabel": [{"system": "urn:x", "code": "SECRET"}]}, {"labelled"}),
        ({"securityLabel": [{"system": "urn:x", "code": "OTHER"}, {"code": "SECRET"}]}, {"labelled"}),
        ({"securityLabel": [{"system": "urn:x"}]}, EVERYTHING),
        ({"code": [SUBSTANCE]}, {"drinks", "claim", "medicine"}),
        ({"code": [{"text": "drinking"}]}, EVERYTHING),
        ({"code": [SUBSTANCE, {"text": "drinking"}]}, EVERYTHING),
        ({"code": [{"coding": [{"system": "a|b", "code": "x"}]}]}, EVERYTHING),
        ({"code": [SUBSTANCE], "class": [{"code": "Condition"}]}, {"drinks"}),
        ({"dataPeriod": {"start": "2020"}}, EVERYTHING - {"old"}),
        ({"dataPeriod": {"end": "2020"}}, EVERYTHING - {"plain"}),
        ({"dataPeriod": {"start": "2005", "end": "2011"}}, EVERYTHING - {"plain"}),
        ({"dataPeriod": {"start": "some time"}}, EVERYTHING),
        ({"data": [{"meaning": "instance", "reference": {"reference": "Observation/old"}}]}, {"old"}),
        ({"data": [{"meaning": "related", "reference": {"reference": "Observation/old"}}]}, EVERYTHING),
        ({"data": [{"meaning": "instance", "reference": {"display": "that"}}]}, EVERYTHING),
        ({"purpose": [{"code": "HMARKT"}]}, EVERYTHING),
        ({"action": [{"coding": [{"code": "correct"}]}]}, EVERYTHING),
        ({"period": {"start": "2020", "end": "2024"}}, EVERYTHING),
        ({"period": {"start": "2024"}}, set()),
        ({"period": {"end": "2023-11-13"}}, set()),
        ({"period": {"end": "2023-11"}}, EVERYTHING),
        ({"period": {"start": "never", "end": 5}}, EVERYTHING),
        ({"period": "always"}, EVERYTHING),
        ({"type": "permit"}, set()),
        ({"type": "perhaps"}, EVERYTHING),
    ],
)
def test_conditions(body: dict[str, Any], kept: set[str]) -> None:
    assert hidden(DOC, provision(**body)) == kept


CONDITIONS = {"class": [{"system": TYPES, "code": "Condition"}]}


@pytest.mark.parametrize(
    ("body", "doc", "nurse"),
    [
        # All but one clinician.
        ({"provision": [{"type": "permit", "actor": [actor("Practitioner/doc")]}]}, set(), EVERYTHING),
        ({"provision": [{"type": "permit", **CONDITIONS}]}, EVERYTHING - {"condition", "drinks"}, None),
        ({"provision": [{"type": "permit", "actor": [actor("Organization/here")]}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "actor": [actor(display="doc")]}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "purpose": [{"code": "TREAT"}]}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "action": [{"coding": [{"code": "access"}]}]}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "class": [{"code": "x"}]}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "code": [SUBSTANCE]}]}, EVERYTHING - {"drinks"}, None),
        ({"provision": [{"type": "permit", "period": {"end": "2000"}}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "period": {"end": "then"}}]}, EVERYTHING, None),
        ({"provision": [{"type": "permit", "dataPeriod": {"start": "2020"}}]}, EVERYTHING - {"plain"}, None),
        # What a permission takes back.
        (
            {"provision": [{"type": "permit", "provision": [{"type": "deny", **CONDITIONS}]}]},
            {"condition", "drinks"},
            None,
        ),
        # A denial inside of what is permitted.
        ({"type": "permit", "provision": [{"type": "deny", **CONDITIONS}]}, {"condition", "drinks"}, None),
        ({"type": "permit", "provision": [{**CONDITIONS}]}, {"condition", "drinks"}, None),
        (
            {"type": "permit", "provision": [{"type": "deny", "actor": [actor("Practitioner/nurse")]}]},
            set(),
            EVERYTHING,
        ),
    ],
)
def test_exceptions(body: dict[str, Any], doc: set[str], nurse: set[str] | None) -> None:
    assert hidden(DOC, provision(**body)) == doc
    assert hidden(NURSE, provision(**body)) == (doc if nurse is None else nurse)


def test_an_exception_deeper_than_is_followed_permits_nothing() -> None:
    body: dict[str, Any] = {"type": "permit"}
    for depth in range(30):
        body = {"type": "permit" if depth % 2 else "deny", "provision": [body]}
    assert hidden(DOC, provision(provision=[body])) == EVERYTHING


def test_consents_themselves_are_withheld_only_when_named() -> None:
    own = {"resourceType": "Consent", "id": "c", "patient": patient("ana")}
    assert letters(decided(DOC, [provision()]), own) == "crus"
    assert letters(decided(DOC, [provision(**{"class": [{"code": "Consent"}]})]), own) == "c"
    one = {"meaning": "instance", "reference": {"reference": "Consent/c"}}
    assert letters(decided(DOC, [provision(data=[one])]), own) == "c"


OPT_OUT = {"policyRule": {"coding": [{"code": "OPTOUT"}]}}


@pytest.mark.parametrize(
    ("document", "kept"),
    [
        ({**provision(), "status": "draft"}, set()),
        ({**provision(), "status": "inactive"}, set()),
        ({**provision(), "patient": {"reference": "Group/1"}}, set()),
        ({**provision(), "scope": {"coding": [{"code": "adr"}]}}, set()),
        ({**provision(), "scope": {"coding": [{"code": "treatment"}]}}, set()),
        ({**provision(), "scope": {"coding": [{"code": "research"}]}}, set()),
        ({**provision(), "scope": {"coding": [{"code": "adr"}, {"code": "x"}]}}, EVERYTHING),
        ({**provision(), "scope": {"coding": [{"code": "patient-privacy"}]}}, EVERYTHING),
        ({"status": "active", "patient": patient("ana")}, set()),
        ({"status": "active", "patient": patient("ana"), "provision": {"actor": [actor("Practitioner/doc")]}}, set()),
        ({"status": "active", "patient": patient("ana"), **OPT_OUT}, EVERYTHING),
        (
            {"status": "active", "patient": patient("ana"), **OPT_OUT,
             "provision": {"type": "permit", "actor": [actor("Practitioner/doc")]}},
            set(),
        ),
        (
            {"status": "active", "patient": patient("ana"), **OPT_OUT,
             "provision": {"type": "permit", "actor": [actor("Practitioner/other")]}},
            EVERYTHING,
        ),
    ],
)  # fmt: skip
def test_which_consents_count(document: dict[str, Any], kept: set[str]) -> None:
    assert hidden(DOC, document) == kept


def test_research_is_what_services_do() -> None:
    document = {**provision(), "scope": {"coding": [{"code": "research"}]}}
    assert hidden(LAB, document) == ALL_OF_HERS


def test_new_data_may_be_recorded_unless_collecting_is_denied() -> None:
    assert letters(decided(DOC, [provision()]), observation("ana")) == "c"
    collect = provision(action=[{"coding": [{"code": "collect"}]}])
    assert letters(decided(DOC, [collect]), observation("ana")) == ""
    access = provision(action=[{"coding": [{"code": "access"}]}])
    assert letters(decided(DOC, [access]), observation("ana")) == "c"


def test_consents_of_many_patients_come_together() -> None:
    several = [provision() | {"patient": patient(f"p{n}")} for n in range(50)]
    access = decided(DOC, several)
    assert letters(access, observation("p7")) == "c"
    assert letters(access, observation("ana")) == "crus"
    assert len(repr(access.sight.of("r", "Condition"))) < 4000


def test_every_published_example_can_be_read() -> None:
    documents = [each for each in examples() if each["resourceType"] == "Consent"]
    assert len(documents) > 8
    found = {each["id"]: consent.read(each, definitions.type_number) is not None for each in documents}
    assert found["consent-example-notOrg"]
    assert found["consent-example-Out"]
    assert not found["consent-example-basic"]


@pytest.mark.parametrize(
    "value", [None, 5, "x", [], {}, [None], [5], [[]], [{"type": 5}], {"provision": {"a": 1}}]
)
@pytest.mark.parametrize(
    "name",
    [
        "actor",
        "class",
        "code",
        "securityLabel",
        "data",
        "dataPeriod",
        "period",
        "action",
        "purpose",
        "provision",
    ],
)
def test_what_is_malformed_denies(name: str, value: Any) -> None:
    assert hidden(DOC, provision(**{name: value})) == EVERYTHING
    if value in (5, "x"):
        # Nor does it permit anything.
        permit = {"type": "permit", name: value}
        assert hidden(DOC, provision(provision=[permit])) == EVERYTHING


@pytest.mark.parametrize("more", [{"modifierExtension": [{"url": "urn:x"}]}, {"unheardOf": 1}])
def test_an_exception_with_something_unknown_permits_nothing(more: dict[str, Any]) -> None:
    assert hidden(DOC, provision(provision=[{"type": "permit"}])) == set()
    assert hidden(DOC, provision(provision=[{"type": "permit", **more}])) == EVERYTHING
