"""Resources as XML and back."""

from __future__ import annotations

import re
import zipfile
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.definitions.tables import load
from fhirhub.errors import BadRequest, FhirError
from fhirhub.resource import json
from fhirhub.resource.xml import from_xml, to_xml

DEFINITIONS = load()
EXAMPLES = Path(__file__).parents[2] / "data" / "r4-examples.zip"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


def read(text: str) -> dict[str, Any]:
    return from_xml(text.encode(), DEFINITIONS)


def written(document: dict[str, Any], pretty: bool = False) -> str:
    return to_xml(document, DEFINITIONS, pretty=pretty).decode().removeprefix(HEAD)


def test_every_example_comes_back() -> None:
    count = 0
    with zipfile.ZipFile(EXAMPLES) as archive:
        for name in archive.namelist():
            if not name.endswith(".ndjson"):
                continue
            for line in archive.read(name).splitlines():
                document = json.parse(line)
                again = from_xml(to_xml(document, DEFINITIONS), DEFINITIONS)
                # XML has only five named entities; the others that a narrative may use become the characters.
                assert json.equal(_without_entities(again), _without_entities(document)), document["id"]
                count += 1
    assert count > 1000


def _without_entities(value: Any) -> Any:
    if type(value) is dict:
        return {name: _without_entities(item) for name, item in value.items()}
    if type(value) is list:
        return [_without_entities(item) for item in value]
    if type(value) is str and value.lstrip().startswith("<div"):
        return re.sub("&(?!amp;|lt;|gt;|quot;|apos;)[A-Za-z0-9]+;", lambda match: unescape(match[0]), value)
    return value


@pytest.mark.parametrize(
    ("document", "inside"),
    [
        ({"birthDate": "1930", "active": True}, '<active value="true"/><birthDate value="1930"/>'),
        ({"multipleBirthInteger": 2}, '<multipleBirthInteger value="2"/>'),
        ({"id": "p", "language": "en"}, '<id value="p"/><language value="en"/>'),
        (
            {"name": [{"id": "n", "given": ["a", None], "_given": [None, {"id": "g"}]}]},
            '<name id="n"><given value="a"/><given id="g"/></name>',
        ),
        (
            {"_birthDate": {"extension": [{"url": "http://x", "valueCode": "c"}]}},
            '<birthDate><extension url="http://x"><valueCode value="c"/></extension></birthDate>',
        ),
        (
            {"extension": [{"url": "http://x", "valueDecimal": json.number("1.00")}]},
            '<extension url="http://x"><valueDecimal value="1.00"/></extension>',
        ),
        (
            {"contained": [{"resourceType": "Basic", "id": "b"}, {"resourceType": "Basic", "id": "c"}]},
            '<contained><Basic><id value="b"/></Basic></contained>'
            '<contained><Basic><id value="c"/></Basic></contained>',
        ),
        (
            {"name": [{"text": 'a"<>&\n\t'}]},
            '<name><text value="a&quot;&lt;&gt;&amp;&#10;&#9;"/></name>',
        ),
        (
            {
                "text": {
                    "status": "empty",
                    "div": '<div xmlns="http://www.w3.org/1999/xhtml">a<br />&lt;ü</div>',
                }
            },
            '<text><status value="empty"/><div xmlns="http://www.w3.org/1999/xhtml">a<br />&lt;ü</div></text>',
        ),
    ],
)
def test_both_ways(document: dict[str, Any], inside: str) -> None:
    patient = {"resourceType": "Patient", **document}
    text = f'<Patient xmlns="http://hl7.org/fhir">{inside}</Patient>'
    assert written(patient) == text
    assert json.equal(read(text), patient)
    assert json.equal(read(HEAD + written(patient, pretty=True)), patient)


def test_an_element_called_resource_type_is_an_element() -> None:
    scenario = {
        "resourceType": "ExampleScenario",
        "instance": [{"resourceId": "1", "resourceType": "Patient"}],
    }
    assert json.equal(read(written(scenario)), scenario)


def test_entries_and_parameters_hold_resources() -> None:
    for document in (
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Basic", "id": "1"}}]},
        {"resourceType": "Parameters", "parameter": [{"name": "r", "resource": {"resourceType": "Basic"}}]},
    ):
        assert json.equal(read(written(document)), document)


def test_prefixes_and_inherited_namespaces() -> None:
    document = read(
        '<f:Patient xmlns:f="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"><!-- c --><?pi?>'
        '<f:text><f:status value="empty"/><h:div><h:p title="&lt;&quot;">a &amp; b</h:p></h:div></f:text></f:Patient>'
    )
    assert document["text"]["div"] == (
        '<div xmlns="http://www.w3.org/1999/xhtml"><p title="&lt;&quot;">a &amp; b</p></div>'
    )


@pytest.mark.parametrize(
    "div",
    [
        '<div xmlns="http://www.w3.org/1999/xhtml"/>',
        '<div title=">" xmlns="http://www.w3.org/1999/xhtml"/>',
        "<div xmlns='http://www.w3.org/1999/xhtml' ><div>a</div ><![CDATA[<]]><!-- > --></div >",
        '<div\nxmlns="http://www.w3.org/1999/xhtml">ünïcode \U0001f600</div>',
    ],
)
def test_narrative_is_kept_to_the_character(div: str) -> None:
    text = f'<Patient xmlns="http://hl7.org/fhir"><text>{div}</text><active value="true"/></Patient>'
    assert read(text) == {"resourceType": "Patient", "text": {"div": div}, "active": True}


@pytest.mark.parametrize(
    ("div", "shown"),
    [
        ("<div>a</div>", '<div xmlns="http://www.w3.org/1999/xhtml">a</div>'),
        ("<div>a&nbsp;b&copy;</div>", '<div xmlns="http://www.w3.org/1999/xhtml">a\u00a0b\u00a9</div>'),
        (
            "<div><p></div>",
            '<div xmlns="http://www.w3.org/1999/xhtml">&lt;div&gt;&lt;p&gt;&lt;/div&gt;</div>',
        ),
        ("</text><evil/>", '<div xmlns="http://www.w3.org/1999/xhtml">&lt;/text&gt;&lt;evil/&gt;</div>'),
        (
            "<!DOCTYPE x><div/>",
            '<div xmlns="http://www.w3.org/1999/xhtml">&lt;!DOCTYPE x&gt;&lt;div/&gt;</div>',
        ),
        ("<div/><div/>", '<div xmlns="http://www.w3.org/1999/xhtml">&lt;div/&gt;&lt;div/&gt;</div>'),
    ],
)
def test_narrative_cannot_break_out(div: str, shown: str) -> None:
    document = {"resourceType": "Patient", "text": {"div": div}}
    assert written(document) == f'<Patient xmlns="http://hl7.org/fhir"><text>{shown}</text></Patient>'


@pytest.mark.parametrize(
    ("inside", "document"),
    [
        ('<nonsense value="x"/>', {"nonsense": "x"}),
        ('<nonsense><a value="x"/></nonsense>', {"nonsense": {"a": "x"}}),
        ('<active value="yes"/>', {"active": "yes"}),
        ('<multipleBirthInteger value="1.5"/>', {"multipleBirthInteger": "1.5"}),
        ('<multipleBirthInteger value="01"/>', {"multipleBirthInteger": "01"}),
        ('<active value="true"/><active value="false"/>', {"active": [True, False]}),
        ("<active/>", {"active": None}),
        ("<name/>", {"name": [{}]}),
        ('<maritalStatus value="M"/>', {"maritalStatus": {"value": "M"}}),
        ("<contained/>", {"contained": [{}]}),
    ],
)
def test_mistakes_are_left_to_the_validation(inside: str, document: dict[str, Any]) -> None:
    text = f'<Patient xmlns="http://hl7.org/fhir">{inside}</Patient>'
    assert read(text) == {"resourceType": "Patient", **document}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("{}", "not well-formed XML"),
        ('<Patient xmlns="http://hl7.org/fhir">', "line 1"),
        ("<Patient/>", "namespace"),
        ('<Patient xmlns="http://hl7.org/fhir/r5"/>', "namespace 'http://hl7.org/fhir/r5'"),
        (
            '<Patiend xmlns="http://hl7.org/fhir"/>',
            "Patiend at line 1 (in the document) is not a resource type",
        ),
        ('<Patient xmlns="http://hl7.org/fhir">x</Patient>', "There is text"),
        ('<Patient xmlns="http://hl7.org/fhir" a="b"/>', "must not have the attribute a"),
        ('<Patient xmlns="http://hl7.org/fhir"><active valu="x"/></Patient>', "no attribute valu at line 1"),
        (
            '<Patient xmlns="http://hl7.org/fhir"><contained><Basic/><Basic/></contained></Patient>',
            "more than one resource",
        ),
        ('<Patient xmlns="http://hl7.org/fhir"><contained><X/></contained></Patient>', "X at line 1"),
        ('<!DOCTYPE Patient><Patient xmlns="http://hl7.org/fhir"/>', "DOCTYPE"),
        (
            '<!DOCTYPE p [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><Patient xmlns="http://hl7.org/fhir">&b;</Patient>',
            "DOCTYPE",
        ),
        ('<!DOCTYPE p SYSTEM "file:///etc/passwd"><Patient xmlns="http://hl7.org/fhir"/>', "DOCTYPE"),
        ('<Patient xmlns="http://hl7.org/fhir"><active value="&nbsp;"/></Patient>', "undefined entity"),
        ('<?xml version="1.0" encoding="UTF-16"?><Patient/>', "must be UTF-8, not UTF-16"),
        ('<Patient xmlns="http://hl7.org/fhir">' + "<extension>" * 60, "nested deeper"),
        ('<Patient xmlns="http://hl7.org/fhir"><active value="\0"/></Patient>', "not well-formed"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert words in caught.value.issues[0].text


def test_other_encodings_are_refused() -> None:
    text = '<Patient xmlns="http://hl7.org/fhir"/>'
    for body in (text.encode("utf-16"), text.encode("utf-16-le"), b"<Patient>\xff</Patient>"):
        with pytest.raises(BadRequest):
            from_xml(body, DEFINITIONS)


_text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
    min_size=1,
)
_number = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})\.[0-9]{1,20}\Z").map(json.number)
_extension = st.deferred(
    lambda: (
        st.fixed_dictionaries({"url": _text, "valueString": _text | st.just("a\r\n\t b ")})
        | st.fixed_dictionaries({"url": _text, "valueDecimal": _number})
        | st.fixed_dictionaries({"url": _text, "valueInteger": st.integers(-(2**31), 2**31)})
        | st.fixed_dictionaries({"url": _text, "extension": st.lists(_extension, min_size=1, max_size=2)})
    )
)
_companion = st.fixed_dictionaries(
    {"extension": st.lists(_extension, min_size=1, max_size=2)}, optional={"id": _text}
)


@given(
    st.fixed_dictionaries(
        {"resourceType": st.just("Patient")},
        optional={
            "active": st.booleans(),
            "_birthDate": _companion,
            "extension": st.lists(_extension, min_size=1, max_size=3),
            "name": st.lists(
                st.fixed_dictionaries(
                    {"given": st.lists(_text, min_size=1)}, optional={"family": _text, "id": _text}
                ),
                min_size=1,
                max_size=2,
            ),
            "communication": st.lists(
                st.fixed_dictionaries({"language": st.fixed_dictionaries({"text": _text})}),
                min_size=1,
                max_size=2,
            ),
        },
    )
)
def test_any_patient_comes_back(document: dict[str, Any]) -> None:
    assert json.equal(read(written(document)), document)
    assert json.equal(read(written(document, pretty=True)), document)


@given(
    st.binary(max_size=100)
    | st.lists(
        st.sampled_from(
            [
                "<Patient xmlns='http://hl7.org/fhir'>",
                "</Patient>",
                "<text>",
                "</text>",
                "<active value='",
                "'/>",
            ]
            + [
                "<div xmlns='http://www.w3.org/1999/xhtml'>",
                "</div>",
                "<contained>",
                "</contained>",
                "<a/>",
                "x",
                ">",
            ]
            + ["<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&#x0;", "<?x ?>", "<name>", "</name>", "id='1'"]
        )
    ).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes_are_a_document_or_a_bad_request(body: bytes) -> None:
    try:
        assert json.dumps(from_xml(body, DEFINITIONS))
    except FhirError as error:
        assert error.status == 400
