"""Result parameters, unknown parameters, aliases, hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirhub.errors import BadRequest, FhirError, NotFound
from fhirhub.search.predicate import Keys
from fhirhub.search.request import Include, Sort
from searching import BASES, definitions, parser, registry, search

PID = {code: each.pid for code, each in definitions.search_parameters("Observation").items()}


def test_result_parameters() -> None:
    request = search(
        "Observation?_count=5&_total=accurate&_summary=true&_sort=date,-_id&_cursor=abc&_format=json"
    )
    assert (request.count, request.total, request.summary, request.cursor) == (5, "accurate", "true", "abc")
    assert request.sort == (
        Sort("date", PID["date"], "date", False),
        Sort("_id", PID["_id"], "token", True),
    )
    assert request.applied == (
        ("_count", "5"), ("_total", "accurate"), ("_summary", "true"), ("_sort", "date,-_id")
    )  # fmt: skip


def test_count_is_capped_and_none_is_a_count_summary() -> None:
    assert search("Patient?_count=1000000").count == 1000
    assert search("Patient?_count=1000000").applied == (("_count", "1000"),)
    none = search("Patient?_count=0")
    assert (none.count, none.summary, none.total) == (0, "count", "accurate")
    assert search("Patient?_summary=count").total == "accurate"


def test_elements() -> None:
    assert search("Patient?_elements=name,Patient.birthDate,deceased,deceasedBoolean").elements == (
        "name", "birthDate", "deceased", "deceasedBoolean"
    )  # fmt: skip


def test_includes() -> None:
    subject = PID["subject"]
    assert search("Observation?_include=Observation:patient").includes == (
        Include("Observation", (subject,), "Patient", False, False),
    )
    assert search("Observation?_include=Observation:subject:Group").includes == (
        Include("Observation", (subject,), "Group", False, False),
    )
    assert search("Patient?_revinclude=Observation:patient").includes == (
        Include("Observation", (subject,), "Patient", False, True),
    )
    (iterated,) = search("Observation?_include:iterate=Patient:link").includes
    assert iterated.iterate and iterated.source == "Patient"
    (every,) = search("Observation?_include=*").includes
    assert every == search("Observation?_include=Observation:*").includes[0]
    assert subject in every.pids and PID["patient"] not in every.pids
    assert {each.source for each in search("Patient?_revinclude=*").includes} >= {
        "Observation",
        "Claim",
        "Coverage",
    }
    assert search("AuditEvent?_include=AuditEvent:patient").includes[0].pids == tuple(
        definitions.search_parameters("AuditEvent")[code].pid for code in ("agent", "entity")
    )


@pytest.mark.parametrize(
    ("query", "expression", "text"),
    [
        ("Patient?nmae=x", "Patient?nmae", "'name'"),
        ("Patient?Gender=x", "Patient?Gender", "'gender'"),
        ("Patient?_lastupdated=2020", "Patient?_lastupdated", "'_lastUpdated'"),
        ("Patient?_counts=1", "Patient?_counts", "'_count'"),
        ("Patient?name:exakt=x", "Patient?name", "'exact'"),
        ("Patient?birthdate:exact=2020", "Patient?birthdate", "has no modifier"),
        ("Patient?name:=x", "Patient?name", "empty modifier"),
        ("Patient?=x", "Patient?", "no search parameter"),
        ("Patient?_count=x", "Patient?_count", "whole number"),
        ("Patient?_count=-1", "Patient?_count", "whole number"),
        ("Patient?_count=1.5", "Patient?_count", "whole number"),
        ("Patient?_count=99999999999999999999", "Patient?_count", "whole number"),
        ("Patient?_count=1&_count=1", "Patient?_count", "only once"),
        ("Patient?_count:exact=1", "Patient?_count", "no modifier"),
        ("Patient?_summary=yes", "Patient?_summary", "true, text, data, count, false"),
        ("Patient?_summary=true&_summary=text", "Patient?_summary", "only once"),
        ("Patient?_total=exact", "Patient?_total", "none, estimate, accurate"),
        ("Patient?_sort=nmae", "Patient?nmae", "'name'"),
        ("Patient?_sort=", "Patient?_sort", "list of parameters"),
        ("Patient?_sort=name,-name", "Patient?_sort", "different"),
        ("Observation?_sort=code-value-quantity", "Observation?_sort", "no order"),
        ("Patient?_elements=nmae", "Patient?_elements", "'name'"),
        ("Patient?_include=Patient", "Patient?_include", "Type:parameter"),
        ("Patient?_include=Patient:name", "Patient?_include", "does not hold references"),
        ("Patient?_include=Patient:nonsense", "Patient?nonsense", "no search parameter"),
        ("Patient?_include=Nonsense:link", "Patient?_include", "not a resource type"),
        ("Patient?_include:up=Patient:link", "Patient?_include", ":iterate"),
        ("Patient?_revinclude=Patient:organization", "Patient?_revinclude", "does not refer to Patient"),
        ("Patient?_cursor=", "Patient?_cursor", "page link"),
        ("Patient?_text=(x", "Patient?_text", "brackets"),
        ("Patient?_text=x OR", "Patient?_text", "brackets"),
        ("Patient?_content:exact=x", "Patient?_content", "no modifier"),
        ("Binary?_text=x", "Binary?_text", "no search parameter"),
        ("Patient?_list=$current-problems", "Patient?_list", "functional lists"),
        ("Patient?_list=a/b", "Patient?_list", "id of a List"),
        ("Patient?_query=x", "Patient?_query", "named queries"),
        ("Patient?_filter=x", "Patient?_filter", "no filter"),
        ("Patient?_filter=name xx y", "Patient?_filter", "is none of"),
        ('Patient?_filter=name co "y', "Patient?_filter", "quotation mark"),
        ("Patient?_filter=(name co y", "Patient?_filter", "expected"),
        ("Patient?_filter=name co y z", "Patient?_filter", "not expected"),
        ("Patient?_filter=not name co y", "Patient?_filter", "expected"),
        ("Patient?_filter=nmae co y", "Patient?nmae", "'name'"),
        ("Patient?_filter=gender co y", "Patient?gender", "has no co"),
        ("Patient?_filter=name gt y", "Patient?name", "has eq, ne, co"),
        ("Patient?_filter=birthdate eq x", "Patient?birthdate", "not a date"),
        ("Patient?near=1|1", "Patient?near", "no search parameter"),
        ("Location?near=1", "Location?near", "latitude|longitude"),
        ("Location?near=1|x", "Location?near", "latitude|longitude"),
        ("Location?near=91|1", "Location?near", "no such place"),
        ("Location?near=1|1|5|kg", "Location?near", "unit of length"),
        ("Patient?near=1|1", "Patient?near", "no search parameter"),
        ("Patient?gender:text=x", "Patient?gender", "without texts"),
        ("Patient?_id:in=x", "Patient?_id", "no modifier"),
        ("Patient?identifier:below=a|b", "Patient?identifier", "for codes"),
        ("Condition?code:below=x", "Condition?code", "system|code"),
        ("Observation?subject:below=Patient/1", "Observation?subject", "part of others"),
        ("Patient?_contained=true", "Patient?_contained", "of one type only"),
        ("Patient?_id=a b", "Patient?_id", "not an id"),
    ],
)
def test_refusals_say_where_and_what_instead(query: str, expression: str, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        search(query)
    assert caught.value.issues[0].expression == expression
    assert text in caught.value.issues[0].text


def test_lenient_leaves_out_what_is_unknown_and_says_so() -> None:
    request = search("Patient?nmae=x&gender=male&name:up=y&_sort=gendr", lenient=True)
    assert request.applied == (("gender", "male"),)
    assert request.where == search("Patient?gender=male").where
    assert [note.severity for note in request.notes] == ["warning"] * 3
    assert "ignored" in request.notes[0].text
    with pytest.raises(BadRequest):
        search("Patient?birthdate=x", lenient=True)


def test_unknown_types() -> None:
    with pytest.raises(NotFound, match="Patient"):
        search("Patinet?name=x")


def test_limits() -> None:
    for query in ("_id=" + ",".join(map(str, range(501))), "&".join(["name=x"] * 201), "a" * 501 + "=x"):
        with pytest.raises(BadRequest):
            search(f"Patient?{query}")


def test_aliases_come_from_the_data() -> None:
    found = registry.aliases()
    by_pid = definitions.by_pid

    def named(type: str, code: str) -> list[tuple[str, str | None]]:
        return [(by_pid[alias.pid].code, alias.only) for alias in found[type, code]]

    assert named("Observation", "patient") == [("subject", "Patient")]
    assert named("Observation", "combo-code") == [("code", None), ("component-code", None)]
    assert named("AuditEvent", "patient") == [("agent", "Patient"), ("entity", "Patient")]
    assert named("Patient", "phonetic") == [("name", None)]
    assert ("Patient", "family") not in found
    (keys,) = (search("Observation?combo-code=a").where,)
    assert isinstance(keys, Keys) and len(keys.keys) == 2
    assert ("AllergyIntolerance", "patient") not in found
    assert all(not registry.facet(alias.pid).aliases for aliases in found.values() for alias in aliases)


def test_every_parameter_with_an_expression_is_served() -> None:
    unserved = {
        code
        for type in definitions.resource_types
        for code in set(definitions.search_parameters(type)) - set(registry.facets(type))
    }
    assert unserved == {
        "_content", "_text", "_filter", "_list", "_query", "_type", "_has", "near", "age", "birthOrderBoolean"
    }  # fmt: skip


_NAMES = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [
                "name",
                "code",
                "date",
                "subject",
                "patient",
                "value-quantity",
                "_has",
                "Patient",
                "missing",
                "not",
                "exact",
                "identifier",
                "_id",
                "_sort",
                "_include",
                "_count",
                "code-value-quantity",
                "Observation",
                ":",
                ".",
                "_lastUpdated",
                "url",
                "derived-from",
            ]
        ),
        max_size=9,
    ).map("".join),
)
_VALUES = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789-+.eETZ:,|$\\ gltnqsabp/#?%'\";\0", max_size=40),
    st.sampled_from(
        ["true", "Patient/1", "urn:uuid:1", "http://here.test/fhir/Patient/1", "*", "Patient:link"]
    ),
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["Patient", "Observation", "ValueSet", "MolecularSequence", "Task", "Bundle"]),
    st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=3),
    st.booleans(),
)
def test_nothing_but_a_fhir_error_comes_of_any_query(
    type: str, parameters: list[tuple[str, str]], lenient: bool
) -> None:
    try:
        parser.parse(type, parameters, lenient=lenient, bases=BASES)
    except FhirError as error:
        assert 400 <= error.status < 500


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(PID)), _VALUES)
def test_nothing_but_a_bad_request_comes_of_any_value(code: str, value: str) -> None:
    try:
        parser.parse("Observation", [(code, value)], bases=BASES)
    except BadRequest:
        pass
