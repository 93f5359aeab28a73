"""Pages of histories are as full as if there were nothing but what the caller may see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fhirhub.view.versions as versions_module
from support.access import observation
from support.door import V3, Door
from support.recorded import recorded
from support.smart import issue

VERY = {"security": [{"system": V3, "code": "V"}]}
SHOWN, HIDDEN = 6, 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doc(door: Door) -> AsyncIterator[Door]:
    """A doctor; between what she may see there is always something labelled."""
    for number in range(SHOWN):
        assert (await door.put(observation("ana", id=f"shown{number}"))).status_code == 201
        for other in range(HIDDEN):
            name = f"hidden{number}-{other}"
            assert (await door.put(observation("ana", id=name, meta=VERY))).status_code == 201
    for number in range(8):
        # Every other version of this one is labelled.
        meta = {"meta": VERY} if number % 2 else {}
        note = [{"text": str(number)}]
        answer = await door.put(observation("ana", id="changing", note=note, **meta))
        assert answer.status_code in (200, 201)
    # What is not said about labels leaves them as they are.
    bare = {"meta": {"security": [{"system": "urn:other", "code": "none"}]}}
    await door.put(observation("ana", id="changing", note=[{"text": "last"}], **bare))
    yield door.by(await issue(door.dsn, "user/*.cruds", fhir_user="Practitioner/doc"))


def _links(bundle: dict[str, Any]) -> dict[str, str]:
    return {link["relation"]: link["url"] for link in bundle["link"]}


async def _pages(door: Door, path: str) -> list[list[str]]:
    """The pages of a history: ``id/version`` of each entry."""
    pages = []
    following: str | None = path
    while following is not None:
        bundle = (await door.call("GET", following)).json()
        found = [each["resource"] for each in bundle.get("entry", ())]
        pages.append([f"{each['id']}/{each['meta']['versionId']}" for each in found])
        following = _links(bundle).get("next")
        assert len(pages) < 200
    return pages


@pytest.mark.parametrize("count", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize("path", ["/Observation/_history", "/_history", "/Observation/changing/_history"])
async def test_pages_are_full_and_lead_to_something(doc: Door, path: str, count: int) -> None:
    whole = (await _pages(doc, f"{path}?_count=1000"))[0]
    assert not any(name.startswith("hidden") for name in whole)
    pages = await _pages(doc, f"{path}?_count={count}")
    assert [name for page in pages for name in page] == whole
    assert all(len(page) == count for page in pages[:-1])
    assert pages[-1]


async def test_what_is_left_out_is_left_out_before_any_limit(
    doc: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(monkeypatch) as record:
        bundle = (await doc.call("GET", "/Observation/_history?_count=8")).json()
    assert len(bundle["entry"]) == 8
    walks = [
        rows
        for (sql, _), rows in zip(record.statements, record.rows, strict=True)
        if "unnest($1::smallint[]) as k (rt)" in sql
    ]
    assert walks[0] == 10, (
        "two more than are shown: whether there is a next page, of this and of the one asked for"
    )
    # Among the newest are the versions of one resource that had a label at that time; that is told by themselves.
    assert len(walks) <= 2


async def test_a_page_ends_somewhere(doc: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions_module, "ROUNDS", 1)
    pages = await _pages(doc, "/Observation/changing/_history?_count=2")
    monkeypatch.undo()
    whole = await _pages(doc, "/Observation/changing/_history?_count=1000")
    assert [name for page in pages for name in page] == whole[0]
