"""Reading batches and transactions."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.definitions.tables import load
from fhirhub.errors import BadRequest, FhirError, TooLarge
from fhirhub.resource.bundle import Entry, overlaps, plan

TYPES = frozenset(load().resource_types)
BASE = "http://localhost:8080/fhir"


def bundle(*entries: Any, type: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "entry": list(entries)}


def entry(method: str, url: str, resource: Any = None, **more: Any) -> dict[str, Any]:
    full_url = more.pop("full_url", None)
    made: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if full_url is not None:
        made["fullUrl"] = full_url
    if resource is not None:
        made["resource"] = resource
    return made


PATIENT = {"resourceType": "Patient"}


@pytest.mark.parametrize(
    ("listed", "interaction", "type", "id", "conditional"),
    [
        (entry("POST", "Patient", PATIENT), "create", "Patient", None, None),
        (entry("POST", "/Patient", PATIENT), "create", "Patient", None, None),
        (entry("POST", BASE + "/Patient", PATIENT), "create", "Patient", None, None),
        (entry("POST", "Patient", PATIENT, ifNoneExist="a=b?c"), "create", "Patient", None, "a=b?c"),
        (entry("POST", "Patient", PATIENT, ifNoneExist="Patient?a=b"), "create", "Patient", None, "a=b"),
        (entry("PUT", "Patient/1", {**PATIENT, "id": "1"}), "update", "Patient", "1", None),
        (entry("PUT", "Patient?a=b%20c", PATIENT), "update", "Patient", None, "a=b%20c"),
        (entry("PATCH", "Patient/1", {"resourceType": "Parameters"}), "patch", "Patient", "1", None),
        (entry("PATCH", "Patient?a=b", {"resourceType": "Binary"}), "patch", "Patient", None, "a=b"),
        (entry("DELETE", "Patient/1"), "delete", "Patient", "1", None),
        (entry("DELETE", "Patient?a=b"), "delete", "Patient", None, "a=b"),
        (entry("GET", "Patient/1"), "read", "Patient", "1", None),
        (entry("HEAD", "Patient/1"), "read", "Patient", "1", None),
        (entry("GET", "Patient/1/_history"), "history-instance", "Patient", "1", None),
        (entry("GET", "Patient/1/_history/3"), "vread", "Patient", "1", None),
        (entry("GET", "Patient/_history"), "history-type", "Patient", None, None),
        (entry("GET", "_history?_count=3"), "history-system", None, None, None),
        (entry("GET", "Patient"), "search-type", "Patient", None, None),
        (entry("GET", "Patient?a=b"), "search-type", "Patient", None, None),
        (entry("GET", "?_type=Patient"), "search-system", None, None, None),
        (entry("GET", "metadata"), "capabilities", None, None, None),
        (entry("GET", "Patient/1/$everything"), "operation", "Patient", "1", None),
        (entry("POST", "ValueSet/$x", {"resourceType": "Parameters"}), "operation", "ValueSet", None, None),
        (entry("POST", "$x", {"resourceType": "Parameters"}), "operation", None, None, None),
    ],
)  # fmt: skip
def test_interactions(
    listed: Any, interaction: str, type: str | None, id: str | None, conditional: str | None
) -> None:
    (read,) = plan(bundle(listed), TYPES, (BASE,)).entries
    assert (read.interaction, read.type, read.id, read.conditional) == (interaction, type, id, conditional)


def test_request_details_are_read() -> None:
    listed = entry(
        "GET", "Patient?name=a+b%26c&name=", ifMatch='W/"1"', ifNoneMatch='W/"2"', ifModifiedSince="x"
    )
    (read,) = plan(bundle(listed), TYPES).entries
    assert read.parameters == (("name", "a b&c"), ("name", ""))
    assert (read.if_match, read.if_none_match, read.if_modified_since) == ('W/"1"', 'W/"2"', "x")


@pytest.mark.parametrize(
    ("listed", "expression", "words"),
    [
        ("x", "", "must be an object, not a string"),
        ({}, ".request", "no request"),
        (entry("POST", "Patient"), ".resource", "needs a resource"),
        (entry("FETCH", "Patient"), ".request.method", "one of DELETE"),
        ({"request": {"method": "GET"}}, ".request.url", "missing"),
        (entry("GET", "Patiend/1"), ".request.url", "Patiend is not a resource type"),
        (entry("GET", "http://elsewhere.org/fhir/Patient/1"), ".request.url", "not below this server's base"),
        (entry("GET", "Patient/a_b"), ".request.url", "a_b is not an id"),
        (entry("GET", "Patient/" + "x" * 65), ".request.url", "is not an id"),
        (entry("GET", "Patient/1/x"), ".request.url", "is not an interaction"),
        (entry("GET", ""), ".request.url", "is not an interaction"),
        (entry("POST", "Patient/1", PATIENT), ".request.url", "is not an interaction"),
        (entry("POST", "Patient/_search"), ".request.url", "is not an interaction"),
        (entry("DELETE", "Patient"), ".request.url", "needs an id"),
        (entry("DELETE", "Patient?"), ".request.url", "needs an id"),
        (entry("PUT", "Patient", PATIENT), ".request.url", "needs an id"),
        (entry("PUT", "Patient/1", PATIENT), ".resource.id", "has no id"),
        (entry("PUT", "Patient/1", {**PATIENT, "id": "2"}), ".resource.id", "has id 2"),
        (entry("POST", "Observation", PATIENT), ".resource", "is a Patient"),
        (entry("PATCH", "Patient/1", PATIENT), ".resource", "a Parameters"),
        (entry("POST", "Patient", [1]), ".resource", "an object with a resourceType"),
        (entry("POST", "Patient", PATIENT, full_url=7), ".fullUrl", "non-empty string"),
        (entry("POST", "Patient", PATIENT, full_url="x"), ".fullUrl", "absolute URL"),
        (entry("POST", "Patient", PATIENT, full_url="http://x/Patient/1/_history/2"), ".fullUrl", "bdl-8"),
        (
            entry("PUT", "Patient/1", {**PATIENT, "id": "1"}, full_url="http://x.org/Patient/2"),
            ".fullUrl",
            "do not agree",
        ),
        (entry("GET", "Patient", ifMatch=3), ".request.ifMatch", "not a number"),
    ],
)  # fmt: skip
def test_problems_name_the_place(listed: Any, expression: str, words: str) -> None:
    sound = entry("GET", "Patient/0")
    with pytest.raises(BadRequest) as caught:
        plan(bundle(sound, listed), TYPES, (BASE,))
    assert caught.value.issues[0].expression == "Bundle.entry[1]" + expression
    assert words in caught.value.issues[0].text
    batch = plan(bundle(sound, listed, type="batch"), TYPES, (BASE,))
    assert list(batch.problems) == [1]
    assert [one.index for one in batch.in_order()] == [0]


def test_all_problems_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        plan(bundle(entry("GET", "X"), 3, entry("POST", "Patient")), TYPES)
    assert len(caught.value.issues) == 3


def test_only_batches_and_transactions_of_bearable_size() -> None:
    for wrong in ({}, {"resourceType": "Bundle", "type": "document"}, {**bundle(), "entry": {}}):
        with pytest.raises(BadRequest):
            plan(wrong, TYPES)
    with pytest.raises(TooLarge):
        plan(bundle(*[entry("GET", "Patient")] * 3), TYPES, max_entries=2)
    assert plan({"resourceType": "Bundle", "type": "batch"}, TYPES).entries == []


def test_order_of_processing() -> None:
    made = plan(
        bundle(
            entry("GET", "Patient/1"),
            entry("PUT", "Patient/1", {**PATIENT, "id": "1"}),
            entry("POST", "Patient", PATIENT),
            entry("DELETE", "Patient/2"),
            entry("PATCH", "Patient/3", {"resourceType": "Parameters"}),
            entry("POST", "Observation", {"resourceType": "Observation"}),
        ),
        TYPES,
    )
    assert [one.index for one in made.in_order()] == [3, 2, 5, 1, 4, 0]


def test_a_resource_is_written_once() -> None:
    twice = (entry("DELETE", "Patient/1"), entry("PUT", "Patient/1", {**PATIENT, "id": "1"}))
    with pytest.raises(BadRequest) as caught:
        plan(bundle(*twice), TYPES)
    assert caught.value.issues[0].code == "duplicate"
    assert not plan(bundle(*twice, type="batch"), TYPES).problems
    conditional = plan(bundle(entry("DELETE", "Patient/1"), entry("PUT", "Patient?a=b", PATIENT)), TYPES)
    conditional.entries[1].id = "1"
    assert [index for index, _ in overlaps(conditional.entries)] == [1]
    found = plan(bundle(*[entry("POST", "Patient", PATIENT, ifNoneExist="a=b")] * 2), TYPES)
    for one in found.entries:
        one.id = "there-already"
    assert overlaps(found.entries) == []


def test_full_urls_are_unique() -> None:
    posts = [entry("POST", "Patient", PATIENT, full_url="urn:uuid:1")] * 2
    with pytest.raises(BadRequest) as caught:
        plan(bundle(*posts), TYPES)
    assert caught.value.issues[0].expression == "Bundle.entry[1].fullUrl"


def test_urls_lead_to_entries() -> None:
    made = plan(
        bundle(
            entry("POST", "Patient", PATIENT, full_url="urn:uuid:1"),
            entry("POST", "Patient", {**PATIENT, "id": "p"}),
            entry("POST", "Patient", {**PATIENT, "id": "q"}),
            entry("PUT", "Patient/q", {**PATIENT, "id": "q"}, full_url="http://x.org/fhir/Patient/q"),
            entry("DELETE", "Patient/z", full_url="http://x.org/fhir/Patient/z"),
        ),
        TYPES,
    )
    assert {url: one.index for url, one in made.urls.items()} == {
        "urn:uuid:1": 0,
        "Patient/p": 1,
        "http://x.org/fhir/Patient/q": 3,
    }
    made.entries[0].id = "new"
    assert made.targets() == {"urn:uuid:1": "Patient/new", "http://x.org/fhir/Patient/q": "Patient/q"}


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["GET", "PUT", "Patient/1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["request", "method", "url", "fullUrl", "resource", "resourceType", "id", "ifMatch"]
            ),
            inner,
        )
    ),
)


@given(st.sampled_from(["batch", "transaction"]), _json)
def test_any_entry_is_read_or_refused(type: str, entries: Any) -> None:
    try:
        for one in plan({"resourceType": "Bundle", "type": type, "entry": entries}, TYPES).in_order():
            assert isinstance(one, Entry)
    except FhirError as error:
        assert error.status == 400


def test_thousands_of_entries_take_linear_work() -> None:
    def calls(count: int) -> int:
        """Lines of Python that planning takes: unlike time, the same on every machine."""
        entries = [entry("POST", "Patient", PATIENT, full_url=f"urn:uuid:{n}") for n in range(count)]
        whole = bundle(*entries)
        lines = 0

        def count_line(frame: object, event: str, argument: object) -> object:
            nonlocal lines
            lines += 1
            return count_line

        before = sys.gettrace()
        sys.settrace(count_line)
        try:
            plan(whole, TYPES)
        finally:
            sys.settrace(before)
        return lines

    assert calls(1000) < 12 * calls(100)
