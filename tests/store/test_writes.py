"""Writes: what is refused and why, what shares a commit with whom, and what must never be half done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.errors import FhirError
from fhirhub.resource.json import dumps, parse
from fhirhub.search.extract import Extractor
from fhirhub.store.records import Change, Dangling, Referenced, StaleBase, Stored, Written
from fhirhub.store.resolve import RidSource
from fhirhub.store.store import Store
from fhirhub.store.verify import verify
from searching import definitions, registry

Document = dict[str, Any]


class Client:
    """A store with short words for what tests do to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.extractor = Extractor(definitions, store.secret, registry)

    def change(self, document: Document, base: Stored | None, method: str = "PUT") -> Change:
        document = parse(dumps(document))
        type, id = document["resourceType"], document["id"]
        return Change(method, type, id, base, document, self.extractor.rows(document))

    async def put(self, document: Document) -> Written:
        base = await self.store.read(document["resourceType"], document["id"])
        (written,) = await self.store.write([self.change(document, base)])
        return written

    async def delete(self, type: str, id: str) -> Written:
        (written,) = await self.store.write([removal(await self.present(type, id))])
        return written

    async def present(self, type: str, id: str) -> Stored:
        found = await self.store.read(type, id)
        assert found is not None
        return found


def removal(base: Stored) -> Change:
    return Change("DELETE", base.type, base.id, base, None, None)


def patient(id: str, **more: Any) -> Document:
    return {"resourceType": "Patient", "id": id, **more}


def basic(id: str, subject: str | None = None, **more: Any) -> Document:
    document = {"resourceType": "Basic", "id": id, "code": {"text": "x"}, **more}
    return document | ({"subject": {"reference": subject}} if subject else {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(dsn: str) -> AsyncIterator[Client]:
    store = await Store.open(dsn, definitions, connections=4)
    yield Client(store)
    await store.close()


@pytest_asyncio.fixture
async def lenient(fresh_dsn: str) -> AsyncIterator[Client]:
    store = await Store.open(fresh_dsn, definitions, integrity=False, connections=4)
    yield Client(store)
    await store.close()
    dangling = (await verify(fresh_dsn, definitions)).disagreements
    assert [each for each in dangling if not each.endswith("which is not there.")] == []


async def test_a_version_is_written_over_the_one_it_was_made_from(client: Client) -> None:
    await client.put(patient("v"))
    base = await client.present("Patient", "v")
    (second,) = await client.store.write([client.change(patient("v", active=True), base)])
    assert (second.version, second.changed, second.created) == (2, True, False)
    with pytest.raises(StaleBase):
        await client.store.write([client.change(patient("v", active=False), base)])
    with pytest.raises(StaleBase):
        await client.store.write([client.change(patient("v"), None)])
    with pytest.raises(StaleBase):
        await client.store.write([removal(base)])


async def test_what_changes_nothing_makes_no_version(client: Client) -> None:
    risk = {
        "resourceType": "RiskAssessment",
        "id": "n",
        "status": "final",
        "prediction": [{"probabilityDecimal": 1}],
    }
    subject = {"subject": {"reference": "Patient/n"}}
    await client.put(patient("n"))
    await client.put(risk | subject)
    again = await client.put(subject | risk)
    assert (again.version, again.changed) == (1, False)
    assert (await client.put(risk | subject | {"prediction": [{"probabilityDecimal": 0}]})).version == 2
    text = b'{"resourceType":"RiskAssessment","id":"n","status":"final","subject":{"reference":"Patient/n"},"prediction":[{"probabilityDecimal":%s}]}'
    assert (await client.put(parse(text % b"0.0"))).version == 3
    assert (await client.put(parse(text % b"0.00"))).version == 4
    assert (await client.put(parse(text % b"0.00"))).changed is False
    assert (await client.put(parse(text % b"0.00") | {"meta": {"tag": [{"code": "x"}]}})).version == 5


async def test_a_grave_is_a_version_and_what_comes_after_it_too(client: Client) -> None:
    await client.put(patient("g", gender="male"))
    grave = await client.delete("Patient", "g")
    assert (grave.version, grave.changed) == (2, True)
    found = await client.present("Patient", "g")
    assert found.deleted and found.method == "DELETE" and found.content is None
    reborn = await client.put(patient("g", gender="male"))
    assert (reborn.version, reborn.created) == (3, True)
    old = await client.store.vread("Patient", "g", 1)
    assert old is not None and old.content == '{"gender": "male"}'
    assert [
        each.version for each in (await client.store.history(["Patient"], "g", None, None, 9, None)).versions
    ] == [3, 2, 1]


async def test_a_reference_needs_somebody_at_its_other_end(client: Client) -> None:
    with pytest.raises(Dangling, match="Patient/nobody"):
        await client.put(basic("d", "Patient/nobody"))
    await client.put(patient("d"))
    await client.put(basic("d", "Patient/d"))
    with pytest.raises(Referenced, match="Basic/d"):
        await client.delete("Patient", "d")
    gone = [removal(await client.present(type, "d")) for type in ("Patient", "Basic")]
    await client.store.write(gone)
    with pytest.raises(Dangling, match="Patient/d"):
        await client.put(basic("d2", "Patient/d"))


async def test_references_that_no_parameter_covers_count_as_well(client: Client) -> None:
    await client.put(patient("e"))
    extension = [{"url": "http://x", "valueReference": {"reference": "Patient/e"}}]
    await client.put(basic("e", extension=extension))
    with pytest.raises(Referenced, match="Basic/e"):
        await client.delete("Patient", "e")
    await client.put(basic("e"))
    await client.delete("Patient", "e")


async def test_a_unit_may_not_delete_what_it_refers_to(client: Client) -> None:
    await client.put(patient("u"))
    base = await client.present("Patient", "u")
    with pytest.raises(Dangling):
        await client.store.write([removal(base), client.change(basic("u", "Patient/u"), None)])
    await client.put(basic("u", "Patient/u"))
    stays = client.change(basic("u", "Patient/u", created="2020"), await client.present("Basic", "u"))
    with pytest.raises(Dangling):
        await client.store.write([removal(base), stays])
    goes = client.change(basic("u"), await client.present("Basic", "u"))
    await client.store.write([removal(base), goes])


async def test_a_unit_may_refer_to_itself_in_a_circle(client: Client) -> None:
    link = (
        [{"other": {"reference": "Patient/c2"}, "type": "seealso"}],
        [{"other": {"reference": "Patient/c1"}, "type": "seealso"}],
    )
    circle = [client.change(patient(f"c{n + 1}", link=link[n]), None) for n in range(2)]
    await client.store.write(circle)
    with pytest.raises(Referenced):
        await client.delete("Patient", "c1")
    await client.store.write([removal(await client.present("Patient", f"c{n}")) for n in (1, 2)])


async def test_all_of_a_unit_or_nothing(client: Client) -> None:
    await client.put(patient("a1"))
    stale = await client.present("Patient", "a1")
    await client.put(patient("a1", active=True))
    for bad in (client.change(patient("a1"), stale), client.change(basic("a3", "Patient/nobody"), None)):
        with pytest.raises(FhirError):
            await client.store.write([client.change(patient("a2"), None), bad])
        assert await client.store.read("Patient", "a2") is None


async def test_the_answer_is_in_the_order_of_the_changes(client: Client) -> None:
    names = [("Basic", "z1"), ("Patient", "z9"), ("Basic", "a1"), ("Patient", "a9"), ("Account", "m")]
    documents = [
        {**basic(id), "resourceType": type} if type == "Basic" else {"resourceType": type, "id": id}
        for type, id in names
    ]
    written = await client.store.write([client.change(document, None) for document in documents])
    assert [(each.type, each.id) for each in written] == names


async def test_a_resource_with_very_many_values_is_changed_quickly(client: Client) -> None:
    """Old and new values are not compared one by one: that would take 20 seconds here, for everybody, not half a one."""
    identifiers = [{"system": "urn:x", "value": str(number)} for number in range(20_000)]
    await client.put(patient("many", identifier=identifiers))
    began = time.monotonic()
    await client.put(patient("many", identifier=[*identifiers[::2], {"system": "urn:x", "value": "new"}]))
    assert time.monotonic() - began < 12


async def test_who_shares_a_commit_with_a_culprit_does_not_suffer(client: Client) -> None:
    await client.put(patient("s1"))
    stale = await client.present("Patient", "s1")
    await client.put(patient("s1", active=True))
    await client.put(patient("s2"))
    await client.put(basic("s2", "Patient/s2"))
    used = await client.present("Patient", "s2")
    bad: list[tuple[type[Exception], Change]] = [
        (StaleBase, client.change(patient("s1"), stale)),
        (StaleBase, client.change(patient("s1"), None)),
        (Dangling, client.change(basic("s9", "Patient/nobody"), None)),
        (Referenced, removal(used)),
    ]
    text = b'{"resourceType":"RiskAssessment","id":"s9","status":"final","subject":{"reference":"Patient/s1"},"prediction":[{"probabilityDecimal":1e200000}]}'
    bad.append((FhirError, client.change(parse(text), None)))
    for kind, culprit in bad:
        good = [
            client.change(patient(f"s-{culprit.type}-{kind.__name__}-{id(culprit)}-{n}"), None)
            for n in range(20)
        ]
        orders = [client.store.write([change]) for change in (*good[:10], culprit, *good[10:])]
        answers = await asyncio.gather(*orders, return_exceptions=True)
        assert isinstance(answers.pop(10), kind)
        assert all(isinstance(answer, list) and answer[0].version == 1 for answer in answers)


@pytest.mark.parametrize("culprit", ["dangling", "stale", "refused by the database"])
async def test_who_goes_away_takes_nobody_along(client: Client, culprit: str) -> None:
    """A request that is given up leaves an order that nobody waits for; its failure is nobody's."""
    bad = {
        "dangling": lambda: client.change(basic("w9", "Patient/nobody"), None),
        "stale": lambda: client.change(patient("w"), None),
        "refused by the database": lambda: client.change(
            parse(b'{"resourceType":"Basic","id":"w9","code":{"extension":[{"url":"x","valueDecimal":1e200000}]}}'), None
        ),
    }[culprit]()  # fmt: skip
    await client.put(patient("w"))
    quitter = asyncio.ensure_future(client.store.write([bad]))
    goods = [
        asyncio.ensure_future(client.store.write([client.change(patient(f"w-{culprit[:5]}-{n}"), None)]))
        for n in range(5)
    ]
    await asyncio.sleep(0)
    quitter.cancel()
    for good in goods:
        assert (await good)[0].version == 1


async def test_a_session_that_fails_leaves_nothing_behind(dsn: str, client: Client) -> None:
    with pytest.raises(RuntimeError):
        async with client.store.exclusively(["Patient"]) as session:
            await session.write([client.change(patient("r"), None)])
            await session.write([client.change(basic("r", "Patient/r"), None)])
            raise RuntimeError
    assert await client.store.read("Patient", "r") is None
    with pytest.raises(Dangling):
        await client.put(basic("r", "Patient/r"))
    other = await Store.open(dsn, definitions, connections=4)
    await other.write([client.change(patient("r"), None)])
    await client.put(basic("r", "Patient/r"))  # under its new key, not under the one that came to nothing
    with pytest.raises(Referenced):
        await client.delete("Patient", "r")
    await other.close()


async def test_without_integrity_places_are_kept_and_taken(lenient: Client) -> None:
    many = [lenient.store.write([lenient.change(basic(f"l{n}", "Patient/l"), None)]) for n in range(30)]
    await asyncio.gather(*many)
    assert await lenient.store.read("Patient", "l") is None
    written = await lenient.put(patient("l"))
    assert (written.version, written.created) == (1, True)
    assert (await lenient.delete("Patient", "l")).version == 2
    rows = await lenient.store.fetch("select count(*) from resource where id = 'l'")
    assert rows[0][0] == 1


async def test_places_are_kept_by_several_processes_at_once(fresh_dsn: str, lenient: Client) -> None:
    other = await Store.open(fresh_dsn, definitions, integrity=False, connections=4)
    for turn in range(10):
        orders = [
            store.write([lenient.change(basic(f"m{turn}-{n}", f"Patient/m{turn}"), None)])
            for n, store in enumerate((lenient.store, other) * 4)
        ]
        assert all(len(each) == 1 for each in await asyncio.gather(*orders))
    await other.close()


async def test_internal_keys_are_given_once(dsn: str, client: Client) -> None:
    other = await Store.open(dsn, definitions, connections=4)
    sources = [(RidSource(), store) for store in (client.store, other) for _ in range(3)]
    takes = [source.take(700, store.fetch) for _ in range(5) for source, store in sources]
    taken = [rid for rids in await asyncio.gather(*takes) for rid in rids]
    assert len(set(taken)) == len(taken) == 5 * 6 * 700
    await other.close()


async def test_after_all_this_the_index_says_what_the_documents_say(dsn: str, client: Client) -> None:
    found = await verify(dsn, definitions)
    assert found.resources and found.disagreements == []
