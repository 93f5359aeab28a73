"""Creates and updates of single resources against pgbench committing the same rows one by one (single-create)."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import records
from bench.lab import Lab
from bench.load import User, drive, expect, send
from bench.scenarios import Figures, Rounds, Scale
from bench.scenarios.reading import measure, put_all
from fhirhub.definitions.tables import load
from fhirhub.resource import json
from fhirhub.resource.meta import detach
from fhirhub.search.extract import Extractor
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.ranges import date_key, number_key

PATIENTS = 1000
CLIENTS = 64

_SETUP = "create sequence bench_rid start 1099511627776"
"""2^40: far from the rids that the server hands out."""

INSERT = """
\\set subject random(1, 1000)
\\set day random(1, 4000)
with c as (
    select nextval('bench_rid') as rid, 1262304000000000 + :day * 86400000000::bigint as date,
        (extract(epoch from clock_timestamp()) * 1000000)::bigint as updated,
        :keys::bigint[] || (select array_agg(key + :subject::bigint) from unnest(:refs::bigint[]) as key) as keys
),
r as (
    insert into resource (rid, updated, date, version, rt, method, deleted, digest, id, params, keys, content)
    select rid, updated, date, 1, :rt::smallint, 0, false, rid, 'l' || rid, :params::smallint[], keys, :body::jsonb from c
),
t as (insert into token (key, date, rid, rt) select k, date, rid, :rt::smallint from c, unnest(keys) as k),
s as (
    insert into string (key, rid, rt, text) select k, rid, :rt::smallint, x
    from c, unnest(:string_key::bigint[], :string_text::text[]) as u (k, x)
),
d as (
    insert into date (key, lo, hi, rid, rt) select k, date, date, rid, :rt::smallint
    from c, unnest(:date_key::bigint[]) as u (k)
)
insert into number (key, lo, hi, rid, unit, label, rt) select k, lo, hi, rid, unit, label, :rt::smallint
from c, unnest(:number_key::bigint[], :number_lo::float8[], :number_hi::float8[], :number_unit::integer[],
    :number_label::integer[]) as u (k, lo, hi, unit, label);
"""
"""Limit L5: body and index rows of one Observation in one statement and one commit."""


def writer(number: int, made: list[str] | None = None) -> User:
    """Creates Observations of random patients."""
    random = Random(number)
    while True:
        subject = f"Patient/w{random.randint(1, PATIENTS)}"
        body = records.dump(records.observation(random, subject, None, records.instant(random)))
        answer = expect((yield "create", send("POST", "Observation", body)), 201)
        if made is not None:
            at = answer.body.index(b'"id":"') + 6
            made.append(answer.body[at : answer.body.index(b'"', at)].decode())


def updater(number: int, ids: list[str]) -> User:
    """Updates its own share of the Observations ``ids``, one after the other."""
    random = Random(number)
    own = ids[number::CLIENTS] or ids
    while True:
        for id_ in own:
            subject = f"Patient/w{random.randint(1, PATIENTS)}"
            document = records.observation(random, subject, None, records.instant(random))
            body = records.dump({**document, "id": id_})
            expect((yield "update", send("PUT", f"Observation/{id_}", body)), 200)


def limit_variables() -> dict[str, Any]:
    """The rows of one Observation, as our own extractor makes them, as variables for pgbench."""
    definitions = load()
    raw = records.dump(records.observation(Random(3), "Patient/w1", None, "2021-03-04T05:06:07Z"))
    document = json.parse(raw)
    rows = Extractor(definitions, b"limit").rows(document)
    numbers = [(number_key(key, lo, hi), lo, hi, *units) for key, lo, hi, *units in rows.numbers]
    _, content = detach(document)
    return {
        "rt": definitions.type_number["Observation"],
        "keys": _array(rows.tokens),
        "refs": _array([pid << VALUE_BITS for pid, _, _ in rows.references]),
        "params": _array(rows.params),
        "body": json.dumps(content).decode(),
        "string_key": _array([key for key, _ in rows.strings]),
        "string_text": "{" + ",".join(f'"{text}"' for _, text in rows.strings) + "}",
        "date_key": _array([date_key(key, lo, hi) for key, lo, hi in rows.dates]),
        **{
            f"number_{name}": _array([row[at] for row in numbers])
            for at, name in enumerate(("key", "lo", "hi", "unit", "label"))
        },
    }


def _array(values: Any) -> str:
    return "{" + ",".join(str(value) for value in values) + "}"


def single_write(lab: Lab, scale: Scale) -> Figures:
    """Creates at one and 64 clients, updates at 64, in turn with L5 in the same tables."""
    dsn = lab.database("fhb_write")
    lab.sql(dsn, _SETUP)
    define = [f"{name}={value}" for name, value in limit_variables().items()]
    names = ("create c1", "create c64", "update c64")
    found = {name: Rounds() for name in names}
    limits: dict[int, list[float]] = {1: [], CLIENTS: []}
    spent: list[float] = []
    ids: list[str] = []
    with lab.fhirhub(dsn) as server:
        random = Random(4)
        drive(
            server.port,
            [put_all([("Patient", f"w{n}", records.patient(random, n)) for n in range(1, PATIENTS + 1)])],
        )
        drive(server.port, [writer(1000 + n, ids) for n in range(CLIENTS)], seconds=scale.seconds)
        lab.settle(dsn)
        for turn in range(scale.rounds):
            for clients, rates in limits.items():
                before = lab.database_cpu()
                rate = lab.pgbench(dsn, INSERT, clients=clients, seconds=scale.seconds, define=define)
                spent.append((lab.database_cpu() - before) / (rate * scale.seconds))
                rates.append(rate)
            first = turn * CLIENTS
            measure(server, lambda: iter([writer(500)]), scale, found["create c1"])
            measure(
                server,
                lambda first=first: (writer(first + n) for n in range(CLIENTS)),
                scale,
                found["create c64"],
            )
            measure(server, lambda: (updater(n, ids) for n in range(CLIENTS)), scale, found["update c64"])
    middle = {clients: sorted(rates)[len(rates) // 2] for clients, rates in limits.items()}
    lab.drop("fhb_write")
    return {
        **{name: rounds.summary() for name, rounds in found.items()},
        "L5": {
            **{f"tps_{clients}": round(rate) for clients, rate in middle.items()},
            "database_cpu_us": round(spent[-1] * 1e6),
        },
        "create_of_L5": round(found["create c64"].rate / middle[CLIENTS], 3),
        "update_of_L5": round(found["update c64"].rate / middle[CLIENTS], 3),
        "create_one_of_L5": round(found["create c1"].rate / middle[1], 3),
    }
