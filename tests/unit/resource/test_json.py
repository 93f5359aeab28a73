"""Reading and writing JSON documents."""

from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.errors import BadRequest, FhirError
from fhirhub.resource import json

NUMBERS = [
    "0", "-1", "1.00", "1.0", "0.10", "1e5", "1E+5", "-2.50e-10", "10000000000000000000000000001", "0.000",
    "3.14159265358979323846264338327950288", "18446744073709551616", "-9223372036854775809", "1e400",
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_number_comes_back_digit_for_digit(text: str) -> None:
    body = f'{{"a":{text},"b":[{text}]}}'.encode()
    assert json.dumps(json.parse(body)) == body


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z"))
def test_any_number_comes_back(text: str) -> None:
    written = json.dumps(json.parse(b'{"a":' + text.encode() + b"}"))
    # A negative zero without a fraction is the one spelling that is not kept; its value is.
    assert written == b'{"a":' + (b"0" if text == "-0" else text.encode()) + b"}"


_strings = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_strings, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_strings, _values, max_size=5))
def test_any_document_comes_back(document: dict[str, Any]) -> None:
    body = standard.dumps(document).encode()
    parsed = json.parse(body)
    assert parsed == document
    assert json.parse(json.dumps(parsed)) == document
    assert json.equal(parsed, json.copy(parsed))
    assert json.parse(json.prettify(json.dumps(parsed))) == document


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_bad_request(body: bytes) -> None:
    try:
        assert isinstance(json.parse(body), dict)
    except FhirError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  \n ", "empty"),
        (b"[]", "must be a JSON object, not an array"),
        (b"null", "must be a JSON object, not null"),
        (b'{"a":1,"a":2}', '"a"'),
        (b'{\n"a": 1,\n"b" 2}', "line 3 column 5"),
        (b'{"a":NaN}', "line 1 column 6"),
        (b'{"a":Infinity}', "line 1"),
        (b'{"a":01}', "invalid number"),
        (b'{"a":1}x', "after the end"),
        (b'{"a":1,}', "comma"),
        (b'{"a":"\xff"}', "not UTF-8: invalid byte 0xff at line 1, byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\udc00x"}', "surrogate"),
        (b'{"a":"\x00"}', "ontrol character"),
        (b'{"a":"b', "ends too early"),
        (b'{"a":' + b"9" * 6000 + b"}", "too many digits"),
        (b'{"a":' * 3000, "levels of nesting"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper than 100"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100"),
        (b'{"b":"[[","a":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100"),
    ],
)
def test_refused_with_a_reason(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        json.parse(body)
    assert words in caught.value.issues[0].text


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a":{"b":["x","\\u0000"]}}', "a.b[1]"),
        (b'{"a":{"b\\u0000":1}}', "a"),
    ],
)
def test_nul_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        json.parse(body)
    assert caught.value.issues[0].expression == path


def test_escaped_backslash_before_u0000_is_not_a_nul() -> None:
    assert json.parse(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


def test_byte_order_mark_is_passed_over() -> None:
    assert json.parse(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"b":"[[[","a":[' + b",".join([b"[]"] * 200) + b"]}",
        b'{"b":"]]]","a":[' + b",".join([b"[]"] * 200) + b"]}",
    ],
)
def test_depth_counts_levels_not_brackets(body: bytes) -> None:
    assert json.dumps(json.parse(body)) == body


def test_equality_knows_precision() -> None:
    def value(text: str) -> Any:
        return json.parse_value(text.encode())

    assert json.equal(value("1.0"), value("1.0"))
    assert not json.equal(value("1.0"), value("1.00"))
    assert json.equal(value("1.0"), value("1.00"), digits=False)
    assert json.equal(value("1e2"), value("100"), digits=False)
    assert not json.equal(value("1e99999999999999999999"), value("2e99999999999999999999"), digits=False)
    assert not json.equal(True, 1)
    assert not json.equal(1, True)
    assert not json.equal("1", 1)
    assert json.equal(value('{"a":[1.50],"b":null}'), value('{"b":null,"a":[1.50]}'))
    assert not json.equal(value('{"a":[1.50]}'), value('{"a":[1.50,2]}'))


def test_copy_shares_nothing() -> None:
    document = json.parse(b'{"a":{"b":[1.10,{"c":2}]}}')
    twin = json.copy(document)
    twin["a"]["b"][1]["c"] = 3
    assert document["a"]["b"][1]["c"] == 2
