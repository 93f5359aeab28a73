"""Taking a resource apart and putting it together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fhirhub.resource import json
from fhirhub.resource.meta import detach, instant, microseconds, splice


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))
def test_instants_are_exact(moment: datetime) -> None:
    text = instant(microseconds(moment))
    assert len(text) == 27
    assert datetime.fromisoformat(text) == moment
    assert microseconds(moment) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_splice_puts_identity_first() -> None:
    body = splice("Patient", "1", 3, 1_000_001, '{"source":"x"}', '{"active":true}')
    assert body == (
        b'{"resourceType":"Patient","id":"1",'
        b'"meta":{"versionId":"3","lastUpdated":"1970-01-01T00:00:01.000001Z","source":"x"},"active":true}'
    )


def test_splice_without_content() -> None:
    for meta in (None, "{}"):
        assert json.parse(splice("Basic", "b", 1, 0, meta, "{}")) == {
            "resourceType": "Basic",
            "id": "b",
            "meta": {"versionId": "1", "lastUpdated": "1970-01-01T00:00:00.000000Z"},
        }


def test_detach_is_the_reverse() -> None:
    document = json.parse(
        '{"name":[{"family":"Größe"}],"meta":{"tag":[{"code":"t"}],"lastUpdated":"2020-01-01T00:00:00Z",'
        '"versionId":"7"},"id":"1","resourceType":"Patient","_id":{"extension":[]}}'.encode()
    )
    meta, content = detach(document)
    assert meta == {"tag": [{"code": "t"}]}
    assert content == {"name": [{"family": "Größe"}], "_id": {"extension": []}}
    assert "versionId" in document["meta"]
    again = json.parse(
        splice(
            "Patient", "1", 7, 1_577_836_800_000_000, json.dumps(meta).decode(), json.dumps(content).decode()
        )
    )
    assert again == {**document, "meta": again["meta"]}
    assert again["meta"]["lastUpdated"] == "2020-01-01T00:00:00.000000Z"
    assert detach({"resourceType": "Patient", "meta": {"versionId": "1"}}) == (None, {})
    assert detach({"resourceType": "Patient"}) == (None, {})
