"""The validator as a whole: it never fails, says little about much, and takes what FHIR allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirhub.definitions import tables
from fhirhub.resource import json
from fhirhub.validation import Validator
from mistakes import BASES

VALIDATOR = Validator(tables.load())
PATIENT: dict[str, Any] = {"resourceType": "Patient"}


def expressions(document: dict[str, Any]) -> list[str | None]:
    return [issue.expression for issue in VALIDATOR.validate(document)]


@pytest.mark.parametrize(
    "extra",
    [
        b'{"birthDate":"2024-02-29"}',
        b'{"birthDate":"0001"}',
        b'{"_birthDate":{"extension":[{"url":"http://x.org","valueCode":"unknown"}]}}',
        b'{"name":[{"given":["A",null],"_given":[null,{"id":"x"}]}]}',
        b'{"name":[{"_given":[{"id":"x"},{"id":"y"}]}]}',
        b'{"name":[{"family":"line\\nline\\ttab \xc2\xa0 \xf0\x9f\x98\x80"}]}',
        b'{"language":"a b"}',
        b'{"extension":[{"url":"http://x.org","valueDecimal":1.00e-3}]}',
        b'{"extension":[{"url":"http://x.org","valueDecimal":123456789012345678901234567890}]}',
        b'{"extension":[{"url":"http://x.org","valueDecimal":-0.000000000000000000000000000000001}]}',
        b'{"extension":[{"url":"http://x.org","valueInstant":"2016-12-31T23:59:60Z"}]}',
        b'{"extension":[{"url":"http://x.org","valueDateTime":"2024-01-01T00:00:00.123456789-13:59"}]}',
        b'{"extension":[{"url":"http://x.org","valueTime":"23:59:59.5"}]}',
        b'{"extension":[{"url":"http://x.org","valueBase64Binary":"aGVs\\nbG8="}]}',
        b'{"extension":[{"url":"http://x.org","_valueString":{"extension":[{"url":"y","valueId":"a"}]}}]}',
        b'{"managingOrganization":{"reference":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}}',
        b'{"managingOrganization":{"reference":"https://example.org/fhir/Organization/1/_history/2"}}',
        b'{"managingOrganization":{"reference":"Organization?identifier=a|b"}}',
        b'{"managingOrganization":{"reference":"#o","type":"Organization"}}',
        b'{"managingOrganization":{"type":"http://example.org/Model","display":"x"}}',
        b'{"managingOrganization":{"identifier":{"value":"1"}}}',
        b'{"text":{"status":"empty","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">a&nbsp;&lt;</div>"}}',
    ],
)
def test_unusual_but_good(extra: bytes) -> None:
    assert VALIDATOR.validate(PATIENT | json.parse(extra)) == []


def test_every_problem_is_told_up_to_a_limit() -> None:
    document = PATIENT | {f"x{number}": 1 for number in range(5000)}
    issues = VALIDATOR.validate(document)
    assert len(issues) == 201
    assert issues[0].expression == "Patient.x0"
    assert issues[-1].severity == "information"


def test_long_values_are_shortened() -> None:
    (issue,) = VALIDATOR.validate(PATIENT | {"gender": "x" * 1_000_000})
    assert len(issue.text) < 300
    (issue,) = VALIDATOR.validate(PATIENT | {"y" * 1_000_000: 1})
    assert len(issue.text) < 300 and len(issue.expression or "") < 300


def test_strings_have_a_limit_and_base64_has_none() -> None:
    long = "x" * (1024 * 1024 + 1)
    assert expressions(PATIENT | {"name": [{"family": long}]}) == ["Patient.name[0].family"]
    assert expressions(PATIENT | {"photo": [{"data": "QUJD" * 1_000_000}]}) == []


def test_deep_documents_do_not_exhaust_the_stack() -> None:
    extension: dict[str, Any] = {"url": "http://x.org", "valueString": ""}
    for _ in range(45):
        extension = {"url": "http://x.org", "extension": [extension]}
    (expression,) = expressions(PATIENT | {"extension": [extension]})
    assert expression == "Patient" + ".extension[0]" * 46 + ".value"


def test_the_document_is_not_changed() -> None:
    for document in BASES.values():
        before = json.dumps(document)
        VALIDATOR.validate(document)
        assert json.dumps(document) == before


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Patient", "1.50"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_anything_anywhere_is_answered_with_issues(data: st.DataObject) -> None:
    document = json.copy(BASES[data.draw(st.sampled_from(sorted(BASES)))])
    holder: Any = document
    while True:
        keys = list(holder) if type(holder) is dict else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        if type(holder[key]) in (dict, list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            continue
        holder[key] = data.draw(_anything)
        break
    for issue in VALIDATOR.validate(document):
        assert issue.text and issue.code
        assert (issue.expression or "").startswith((str(document["resourceType"]), "Resource"))
