"""JSON Patch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.errors import BadRequest, FhirError, Unprocessable
from fhirhub.resource import json
from fhirhub.resource.patch import json_patch


def doc(text: str) -> Any:
    return json.parse_value(text.encode())


# After the examples of RFC 6902, appendix A, and RFC 6901, section 5.
@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"baz":"qux","foo":"bar"}'),
        (
            '{"foo":["bar","baz"]}',
            '[{"op":"add","path":"/foo/1","value":"qux"}]',
            '{"foo":["bar","qux","baz"]}',
        ),
        ('{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc"]}]', '{"foo":["bar",["abc"]]}'),
        ('{"foo":["bar"]}', '[{"op":"add","path":"/foo/1","value":1.50}]', '{"foo":["bar",1.50]}'),
        ('{"foo":"bar"}', '[{"op":"add","path":"/foo","value":null}]', '{"foo":null}'),
        ('{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
        ('{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'),
        (
            '{"baz":"qux","foo":"bar"}',
            '[{"op":"replace","path":"/baz","value":"boo"}]',
            '{"baz":"boo","foo":"bar"}',
        ),
        ('{"foo":[1,2,3]}', '[{"op":"replace","path":"/foo/1","value":9}]', '{"foo":[1,9,3]}'),
        (
            '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
            '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
            '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
        ),
        (
            '{"foo":["all","grass","cows","eat"]}',
            '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
            '{"foo":["all","cows","eat","grass"]}',
        ),
        ('{"foo":1}', '[{"op":"move","from":"/foo","path":"/foo"}]', '{"foo":1}'),
        ('{"a":{"b":1}}', '[{"op":"copy","from":"/a","path":"/c"}]', '{"a":{"b":1},"c":{"b":1}}'),
        ('{"a":{"b":1}}', '[{"op":"replace","path":"","value":{"c":2}}]', '{"c":2}'),
        ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
        ('{"/":9,"":10}', '[{"op":"remove","path":"/~1"},{"op":"test","path":"/","value":10}]', '{"":10}'),
        ('{"a":1.50}', '[{"op":"test","path":"/a","value":1.5}]', '{"a":1.50}'),
        ('{"a":100}', '[{"op":"test","path":"/a","value":1e2}]', '{"a":100}'),
        (
            '{"a":{"x":1,"y":[null]}}',
            '[{"op":"test","path":"/a","value":{"y":[null],"x":1}}]',
            '{"a":{"x":1,"y":[null]}}',
        ),
        ('{"a":[{"b":[1]}],"c":1}', '[{"op":"remove","path":"/a/0/b/0"}]', '{"c":1}'),
        ('{"a":[1]}', '[{"op":"remove","path":"/a/0"},{"op":"add","path":"/a/-","value":2}]', '{"a":[2]}'),
        ('{"a":1}', "[]", '{"a":1}'),
    ],
)
def test_applies(before: str, patch: str, after: str) -> None:
    document = doc(before)
    assert json.equal(json_patch(document, doc(patch)), doc(after))
    assert json.equal(document, doc(before))


@pytest.mark.parametrize(
    ("patch", "status", "words"),
    [
        ("{}", 400, "an array of operations, not an object"),
        ("[1]", 400, "Operation 0: must be an object"),
        ('[{"path":"/a"}]', 400, "op must be one of"),
        ('[{"op":["add"],"path":"/a"}]', 400, "op must be one of"),
        ('[{"op":"merge","path":"/a"}]', 400, "op must be one of"),
        ('[{"op":"add","value":1}]', 400, "has no path"),
        ('[{"op":"add","path":"/x"}]', 400, "has no value"),
        ('[{"op":"move","path":"/x"}]', 400, "has no from"),
        ('[{"op":"remove","path":"a"}]', 400, "must be empty or begin with"),
        ('[{"op":"remove","path":3}]', 400, "not a number"),
        ('[{"op":"remove","path":"/a~2"}]', 400, "must be written ~0"),
        ('[{"op":"remove","path":"/nothing"}]', 422, "there is no 'nothing'"),
        ('[{"op":"replace","path":"/nothing","value":1}]', 422, "there is no 'nothing'"),
        ('[{"op":"add","path":"/no/where","value":1}]', 422, "there is no 'no'"),
        ('[{"op":"add","path":"/list/3","value":1}]', 422, "no index 3 in an array of 2"),
        ('[{"op":"remove","path":"/list/2"}]', 422, "no index 2"),
        ('[{"op":"remove","path":"/list/-"}]', 422, "not an array index"),
        ('[{"op":"remove","path":"/list/01"}]', 422, "not an array index"),
        ('[{"op":"remove","path":"/list/99999999999999999999"}]', 422, "not an array index"),
        ('[{"op":"add","path":"/text/0","value":1}]', 422, "added to a string"),
        ('[{"op":"remove","path":""}]', 422, "whole resource"),
        ('[{"op":"move","from":"/list","path":"/list/0"}]', 422, "into itself"),
        ('[{"op":"test","path":"/text","value":"y"}]', 422, 'the value is "x", not "y"'),
        ('[{"op":"test","path":"/one","value":true}]', 422, "not true"),
        ('[{"op":"replace","path":"/id","value":"2"}]', 422, "must not change id"),
        ('[{"op":"remove","path":"/resourceType"}]', 422, "must not change resourceType"),
        ('[{"op":"replace","path":"","value":[]}]', 422, "leaves an array"),
    ],
)
def test_refused(patch: str, status: int, words: str) -> None:
    document = doc('{"resourceType":"Basic","id":"1","list":[1,2],"text":"x","one":1}')
    with pytest.raises(FhirError) as caught:
        json_patch(document, doc(patch))
    assert caught.value.status == status
    assert words in caught.value.issues[0].text


def test_growth_is_bounded() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 60
    with pytest.raises(Unprocessable):
        json_patch({"a": [1] * 100}, doubling)
    deeper = [{"op": "add", "path": "/a" * n, "value": {"a": {}}} for n in range(1, 200)]
    with pytest.raises(Unprocessable):
        json_patch({"a": {}}, deeper)
    with pytest.raises(BadRequest):
        json_patch({}, [{"op": "test", "path": "", "value": {}}] * 1001)


_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_pointer = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~", "~0"]), max_size=4).map(
    lambda tokens: "".join("/" + token for token in tokens)
)
_operation = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": _pointer},
    optional={"from": _pointer, "value": _value},
)


@given(st.dictionaries(st.sampled_from("abc"), _value), st.lists(_operation, max_size=6) | _value)
def test_any_patch_applies_or_is_refused(document: dict[str, Any], patch: Any) -> None:
    before = json.copy(document)
    try:
        after = json_patch(document, patch)
        json.dumps(after)
    except FhirError as error:
        assert error.status in (400, 422)
    assert json.equal(document, before)
