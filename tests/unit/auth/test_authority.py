"""Scopes AND role AND client AND labels: what a grant comes to, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fhirhub.auth.authority import Authority
from fhirhub.errors import Forbidden
from fhirhub.search.sight import ALL, NAME, NONE
from searching import NOW, definitions, parser, registry
from support.access import authority, decided, grant, letters, observation, patient, policies, reaches

ANA: dict[str, Any] = {"role": "patient", "user": "ana", "fhir_user": "Patient/ana", "patient": "ana"}
DOC: dict[str, Any] = {"role": "practitioner", "user": "doc", "fhir_user": "Practitioner/doc"}
V3 = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
OF_ANA, OF_BOB = ({"reference": f"Observation/o-{name}/_history/1"} for name in ("ana", "bob"))
SHARED = {"reference": "Practitioner/doc"}
VITAL = {"category": [{"coding": [{"system": "http://x", "code": "vital-signs"}]}]}


def labelled(system: str, code: str, **more: Any) -> dict[str, Any]:
    return observation("ana", meta={"security": [{"system": system, "code": code}]}, **more)


# -- scopes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "document", "expected"),
    [
        ("patient/*.cruds", observation("ana"), "crus"),
        ("patient/*.cruds", observation("bob"), ""),
        ("patient/*.rs", observation("ana"), "rs"),
        ("patient/Observation.s", observation("ana"), "s"),
        ("patient/Condition.rs", observation("ana"), ""),
        ("patient/Observation.read", observation("ana"), "rs"),
        ("patient/Observation.rs?category=http://x|vital-signs", observation("ana", **VITAL), "rs"),
        ("patient/Observation.rs?category=http://x|vital-signs", observation("ana"), ""),
        ("patient/Observation.rs?category=http://x|vital-signs", observation("bob", **VITAL), ""),
        ("patient/Observation.cruds?category=http://x|vital-signs", observation("ana", **VITAL), "crus"),
        (
            "patient/Observation.cruds?category=http://x|vital-signs&status=amended",
            observation("ana", **VITAL),
            "",
        ),
        ("patient/*.rs?category=http://x|vital-signs", {"resourceType": "Patient", "id": "ana"}, ""),
        ("patient/Observation.r?status=final patient/Observation.s?status=amended", observation("ana"), "r"),
        ("openid launch/patient offline_access", observation("ana"), ""),
        ("system/*.cruds", observation("ana"), ""),
        ("user/*.cruds", observation("ana"), "crus"),
        ("user/*.cruds", observation("bob"), "crus"),
    ],
)
def test_scopes_of_a_clinician_with_ana_in_context(
    scopes: str, document: dict[str, Any], expected: str
) -> None:
    assert letters(decided(grant(scopes, **DOC, patient="ana")), document) == expected


def test_patient_scopes_without_a_patient_allow_nothing() -> None:
    assert letters(decided(grant("patient/*.cruds", **DOC)), observation("ana")) == ""


def test_a_service_has_system_scopes_only() -> None:
    given = grant("system/Observation.rs user/*.cruds patient/*.cruds", kind="system", patient="ana")
    assert letters(decided(given), observation("ana")) == "rs"
    assert letters(decided(given), {"resourceType": "Patient", "id": "ana"}) == ""


def test_nobody_without_a_role() -> None:
    for role in (None, "", "wizard"):
        assert letters(decided(grant("user/*.cruds", role=role)), observation("ana")) == ""


# -- the compartment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "mine"),
    [
        ({"resourceType": "Patient", "id": "ana"}, True),
        ({"resourceType": "Patient", "id": "bob", "link": [{"other": patient("ana"), "type": "seealso"}]}, False),
        ({"resourceType": "Person", "id": "p", "link": [{"target": patient("ana")}]}, False),
        ({"resourceType": "Group", "id": "g", "member": [{"entity": patient("ana")}]}, False),
        ({"resourceType": "RelatedPerson", "id": "r", "patient": patient("ana")}, True),
        (observation("bob", performer=[patient("ana")]), False),
        (observation(None, performer=[patient("ana")]), True),
        (observation(None), False),
        ({"resourceType": "Observation", "id": "o", "focus": [patient("ana")]}, False),
        ({"resourceType": "List", "id": "l", "subject": patient("bob"), "source": patient("ana")}, False),
        ({"resourceType": "List", "id": "l", "source": patient("ana")}, True),
        ({"resourceType": "Communication", "id": "c", "subject": patient("bob"), "recipient": [patient("ana")]}, False),
        ({"resourceType": "Communication", "id": "c", "recipient": [patient("ana")]}, True),
        ({"resourceType": "Coverage", "id": "c", "beneficiary": patient("bob"), "subscriber": patient("ana")}, False),
        ({"resourceType": "Coverage", "id": "c", "beneficiary": patient("ana")}, True),
        ({"resourceType": "Device", "id": "d", "patient": patient("ana")}, True),
        ({"resourceType": "Device", "id": "d"}, False),
        ({"resourceType": "Task", "id": "t", "for": patient("ana")}, True),
        ({"resourceType": "Task", "id": "t", "owner": patient("ana")}, False),
        ({"resourceType": "Provenance", "id": "p", "target": [patient("ana")]}, True),
        ({"resourceType": "Provenance", "id": "p", "target": [OF_ANA]}, True),
        ({"resourceType": "Provenance", "id": "p", "target": [OF_ANA, patient("ana"), SHARED]}, True),
        ({"resourceType": "Provenance", "id": "p", "target": [OF_ANA, OF_BOB]}, False),
        ({"resourceType": "Provenance", "id": "p", "target": [patient("ana"), patient("bob")]}, False),
        ({"resourceType": "Provenance", "id": "p", "target": [OF_ANA, {"reference": "Group/g"}]}, False),
        ({"resourceType": "Provenance", "id": "p", "target": [OF_ANA, {"reference": "Observation/gone"}]}, False),
        ({"resourceType": "Provenance", "id": "p", "target": [SHARED]}, False),
        ({"resourceType": "Practitioner", "id": "p"}, True),
        ({"resourceType": "ValueSet", "id": "v"}, True),
        ({"resourceType": "Binary", "id": "b", "contentType": "text/plain"}, False),
        ({"resourceType": "Substance", "id": "s"}, False),
    ],
)  # fmt: skip
def test_what_belongs_to_ana(document: dict[str, Any], mine: bool) -> None:
    for given in (grant("patient/*.rs", **DOC, patient="ana"), grant("user/*.rs", **ANA)):
        assert reaches(decided(given), "r", document) is mine
        assert reaches(decided(given), "s", document) is mine


def test_a_patient_never_gets_beyond_the_own_record() -> None:
    both = decided(grant("patient/*.cruds user/*.cruds", **{**ANA, "patient": "bob"}))
    assert letters(both, observation("bob")) == ""
    # ana's record by her user/ scopes.
    assert "r" in letters(both, observation("ana"))
    nobody = decided(grant("user/*.cruds", role="patient", fhir_user="RelatedPerson/1"))
    assert letters(nobody, observation("ana")) == ""
    assert letters(nobody, {"resourceType": "Practitioner", "id": "p"}) == "rs"


def test_shared_types_are_read_and_not_written() -> None:
    practitioner = {"resourceType": "Practitioner", "id": "p"}
    assert letters(decided(grant("patient/*.cruds", **ANA)), practitioner) == "rs"
    assert letters(decided(grant("patient/Observation.cruds", **ANA)), practitioner) == ""


def test_what_may_be_referred_to() -> None:
    sight = decided(grant("patient/Observation.c", **ANA)).sight
    assert sight.knows("Patient") not in (ALL, NONE)
    assert reaches(
        decided(grant("patient/Observation.c", **ANA)), "x", {"resourceType": "Patient", "id": "ana"}
    )
    assert not reaches(
        decided(grant("patient/Observation.c", **ANA)), "x", {"resourceType": "Patient", "id": "bob"}
    )
    assert decided(grant("patient/Observation.rs", **ANA)).sight.knows("Encounter") == NONE
    # Nothing needs to be looked up for those who may know of everything.
    assert decided(grant("user/Observation.c", **DOC)).sight.knows("Patient") == ALL
    assert decided(grant("system/Observation.c", kind="system")).sight.knows("Patient") == ALL
    biller = {"role": "biller", "fhir_user": "Practitioner/b"}
    assert decided(grant("user/Claim.c", **biller)).sight.knows("Observation") == NONE


def test_who_may_choose_ids() -> None:
    def chosen(scopes: str, type: str = "Observation", **who: Any) -> bool:
        return decided(grant(scopes, **who)).sight.of(NAME, type) == ALL

    assert chosen("user/*.cruds", **DOC)
    assert chosen("system/Observation.cu", kind="system")
    assert not chosen("user/*.rs", **DOC)
    assert not chosen("user/*.cruds", type="Claim", **DOC)
    assert not chosen("user/Observation.cruds?status=final", **DOC)
    assert not chosen("patient/*.cruds", **DOC, patient="ana")
    assert not chosen("user/*.cruds", **ANA)
    assert not chosen("system/*.cruds", kind="system", client_policy=LAB)


# -- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "code", "seen"),
    [
        (V3, "N", "practitioner patient system"),
        (V3, "R", "practitioner patient"),
        (ACT, "HIV", "practitioner patient"),
        (V3, "V", "patient glass"),
        ("http://hl7.org/fhir/v3/Confidentiality", "V", "patient glass"),
        ("", "V", "patient glass"),
        (ACT, "42CFRPart2", "patient glass"),
        (ACT, "PSYTHPN", "glass"),
        ("http://other", "V", "practitioner patient system"),
    ],
)
def test_labels(system: str, code: str, seen: str) -> None:
    label = {"system": system, "code": code} if system else {"code": code}
    document = observation("ana", meta={"security": [label]})
    callers = {
        "practitioner": grant("user/*.cruds", **DOC),
        "patient": grant("patient/*.cruds", **ANA),
        "system": grant("system/*.cruds", kind="system"),
        "glass": grant("user/*.cruds", **DOC, reason="unconscious in the emergency room"),
    }
    expected = set(seen.split()) | ({"glass"} if "practitioner" in seen else set())
    for name, given in callers.items():
        access = decided(given)
        assert reaches(access, "r", document) is (name in expected), name
        assert reaches(access, "s", document) is (name in expected), name
        # That it is there may be known.
        assert reaches(access, "x", document), name
    # Whoever may write at all may label.
    assert reaches(decided(callers["practitioner"]), "c", document)


def test_breaking_the_glass_is_for_those_the_policy_names() -> None:
    document = labelled(V3, "V")
    biller = {"role": "biller", "fhir_user": "Practitioner/b", "reason": "curious about it"}
    assert letters(decided(grant("user/*.cruds", **biller)), document) == ""
    given = grant("user/*.cruds", **DOC, reason="unconscious in the emergency room")
    assert decided(given).caller.reason == "unconscious in the emergency room"
    assert decided(given).sight.holder != decided(replace(given, reason="")).sight.holder


def test_the_trail_is_open_to_those_who_review_it() -> None:
    deny = {"status": "active", "patient": patient("ana"), "provision": {"type": "deny"}}
    for given in (grant("user/*.rs", role="admin"), grant("system/AuditEvent.rs", kind="system")):
        assert decided(given, [deny]).sight.is_open("s", "AuditEvent")
        assert decided(given, [deny]).sight.is_open("r", "AuditEvent")
    assert not decided(grant("user/*.rs", **ANA)).sight.is_open("s", "AuditEvent")
    assert decided(grant("user/*.rs", **DOC)).sight.of("s", "AuditEvent") == NONE


# -- clients -------------------------------------------------------------------------------------------------------

LAB = {"rules": [{"types": ["Observation"], "may": "cs", "where": "status=final"}], "labels": ["restricted"]}


def test_a_client_policy_narrows() -> None:
    given = grant("system/*.cruds", kind="system", client_policy=LAB)
    assert letters(decided(given), observation("ana")) == "cs"
    assert letters(decided(given), observation("ana") | {"status": "amended"}) == ""
    assert letters(decided(given), {"resourceType": "Patient", "id": "ana"}) == ""
    assert letters(decided(given), labelled(V3, "R")) == "cs"
    assert letters(decided(given), labelled(V3, "V")) == "c"
    # Of a person's app, too; and it waives nothing there.
    app = grant("user/*.cruds", role="biller", client_policy={**LAB, "labels": ["*"]})
    assert letters(decided(app), observation("ana")) == ""


@pytest.mark.parametrize(
    "policy",
    [
        {"rules": [{"types": ["Nothing"], "may": "r"}]},
        {"rules": [{"types": ["Observation"], "may": "sr"}]},
        {"rules": [{"types": ["Observation"], "may": "r", "where": "nothing=1"}]},
        {"rules": [{"types": ["Observation"], "may": "r", "where": "subject:Patient.name=x"}]},
        {"rules": [{"types": ["Observation"], "may": "r", "where": "performer={fhirUser}"}]},
        {"rules": "all"},
        {"rule": []},
        {"labels": ["unheard of"]},
        {"organization": "Organization/../1"},
    ],
)
def test_a_client_policy_that_cannot_be_applied_opens_nothing(policy: dict[str, Any]) -> None:
    given = grant("system/*.cruds", kind="system", client_policy=policy)
    assert letters(decided(given), observation("ana")) == ""


def test_a_client_policy_may_only_waive_labels_or_hide() -> None:
    given = grant(
        "system/*.rs", kind="system", client_policy={"labels": ["*"], "hidden": {"Patient": ["photo"]}}
    )
    assert letters(decided(given), labelled(V3, "V")) == "rs"
    assert decided(given).sight.hidden == {"Patient": frozenset({"photo"})}


# -- what it comes to ------------------------------------------------------------------------------------------------


def test_refusals_name_what_is_missing() -> None:
    access = decided(grant("user/Claim.cruds patient/Observation.r", role="biller", patient="ana"))
    with pytest.raises(Forbidden, match=r"needs the scope patient/Observation\.s or user/Observation\.s"):
        access.require("s", "Observation")
    with pytest.raises(Forbidden, match="the role biller may not read Observation"):
        access.require("r", "Observation")
    with pytest.raises(Forbidden, match=r"system/Patient\.r"):
        decided(grant("system/Observation.rs", kind="system")).require("r", "Patient")
    with pytest.raises(Forbidden, match=r"user/\*\.s"):
        decided(grant("user/Observation.r", **DOC)).require("s", None)
    with pytest.raises(Forbidden, match="not open"):
        access.require("operation", "Patient")
    access.require("s", "Claim")
    access.require("s", None)


def test_hidden_and_writable_elements() -> None:
    biller = decided(grant("user/*.rs", role="biller")).sight
    assert biller.hidden["Condition"] == {"note", "evidence"}
    ana = decided(
        grant("patient/*.cruds", **ANA, client_policy={"writable": {"Patient": ["telecom", "name"]}})
    ).sight
    assert ana.writable == {"Patient": frozenset({"telecom"})}
    assert decided(grant("user/*.cruds", **DOC)).sight.writable == {}


def test_about_whom() -> None:
    assert decided(grant("user/*.rs", **ANA)).sight.about == {"Patient/ana"}
    assert decided(grant("patient/*.rs", **DOC, patient="bob")).sight.about == {"Patient/bob"}
    assert decided(grant("patient/*.rs user/*.rs", **DOC, patient="bob")).sight.about == frozenset()


def test_page_links_are_bound_to_who_asks() -> None:
    given = grant("patient/*.rs", **DOC, patient="ana")
    same = decided(replace(given, id="another", stamp=(5, 5))).sight.holder
    assert decided(given).sight.holder == same
    others = [
        replace(given, client="other"), replace(given, user="other"), replace(given, patient="bob"),
        replace(given, role="biller"), grant("patient/*.r", **DOC, patient="ana"), replace(given, issuer="other"),
        replace(given, kind="system"), replace(given, encounter="e"),
    ]  # fmt: skip
    assert len({decided(each).sight.holder for each in others} | {same}) == len(others) + 1


async def test_equal_stamps_share_an_access() -> None:
    given = grant("user/*.rs", **DOC)
    first = await authority.access(given)
    assert await authority.access(replace(given, client_name="x")) is first
    assert await authority.access(replace(given, stamp=(1, 0))) is not first


async def test_consents_are_read_again_when_their_version_moves() -> None:
    deny = {"status": "active", "patient": patient("ana"), "provision": {"type": "deny"}}
    documents: list[dict[str, Any]] = []
    reads = []

    async def load() -> list[dict[str, Any]]:
        reads.append(len(documents))
        return list(documents)

    made = Authority(definitions, registry, parser, policies, load, clock=lambda: NOW)
    given = grant("user/*.rs", **DOC)
    assert reaches(await made.access(given), "r", observation("ana"))
    documents.append(deny)
    assert reaches(await made.access(replace(given, id="other")), "r", observation("ana"))
    assert not reaches(await made.access(replace(given, stamp=(0, 1))), "r", observation("ana"))
    # A grant that was looked up before the change sees the later consents, too.
    assert not reaches(await made.access(replace(given, id="late")), "r", observation("ana"))
    assert reads == [0, 1]


async def test_what_is_kept_ends_when_a_consent_begins() -> None:
    now = [NOW]
    period = {"start": "2023-11-14T22:13:30Z", "end": "2023-11-14T22:13:40Z"}

    async def load() -> list[dict[str, Any]]:
        return [
            {"status": "active", "patient": patient("ana"), "provision": {"type": "deny", "period": period}}
        ]

    made = Authority(definitions, registry, parser, policies, load, clock=lambda: now[0])
    given = grant("user/*.rs", **DOC)
    for moment, seen in ((0, True), (9, True), (10, False), (20, False), (21, True)):
        now[0] = NOW + moment
        assert reaches(await made.access(given), "r", observation("ana")) is seen, moment
