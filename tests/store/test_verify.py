"""The deep check finds what does not agree, and finds nothing in a sound store."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from fhirhub.cli.import_ import load_demo
from fhirhub.definitions.tables import load
from fhirhub.settings import Settings
from fhirhub.store.verify import Verified, verify

DAMAGE = {
    "delete from token_measurement where ctid = (select min(ctid) from token_measurement)": "token lacks 1 rows",
    "insert into date (key, lo, hi, rid, rt) select key, lo, hi + 7, rid, rt from date where rt = 96 limit 1": (
        "date lacks 0 rows and has 1 too many"
    ),
    "update string_general set text = 'other' where ctid = (select min(ctid) from string_general where rt = 103)": "string lacks 1",
    "update number_measurement set lo = lo + 1 where ctid = (select min(ctid) from number_measurement)": "number lacks 1",
    "delete from words_general where ctid = (select min(ctid) from words_general)": "words lacks 1 rows",
    "delete from phrase where id = (select p.id from phrase p join token t on t.key = p.key"
    " group by p.id having count(*) <= 5 order by p.id limit 1)": "not in the dictionary",
    "update resource set date = date + 1 where rt = 96 and id = 'demo-patient-01-observation-1'": "resource.date",
    "update resource set params = params[2:] where rt = 96 and id = 'demo-patient-01-observation-2'": "resource.params",
    "update resource set keys = keys[2:] where rt = 96 and id = 'demo-patient-01-observation-3'": "resource.keys",
    "update resource set version = 3 where rt = 96 and id = 'demo-patient-01-observation-4'": "is version 3",
    "delete from resource where rt = 96 and id = 'demo-patient-01-observation-5'": "belong to no resource",
    "update resource set deleted = true where id = 'demo-patient-30-coverage-1'": (
        "refers to Coverage/demo-patient-30-coverage-1"
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def practice(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    errors: Path = tmp_path_factory.mktemp("import") / "errors.ndjson"
    load_demo(Settings(database_url=dsn, no_auth=True), workers=1, dry_run=False, again=False, errors=errors)


async def _verified(dsn: str) -> Verified:
    return await verify(dsn, load())


async def test_a_sound_store(dsn: str) -> None:
    found = await _verified(dsn)
    assert (found.wrong, found.disagreements) == (0, [])
    assert found.resources == 4796


async def test_each_damage_is_found(dsn: str) -> None:
    number = load().type_number
    assert (number["Observation"], number["Patient"]) == (96, 103)
    connection = await asyncpg.connect(dsn)
    for damage in DAMAGE:
        assert (await connection.execute(damage)).endswith(" 1"), damage
    await connection.close()
    told = (await _verified(dsn)).disagreements
    for damage, sign in DAMAGE.items():
        assert any(sign in text for text in told), (damage, told)
