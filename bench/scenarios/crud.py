"""Create, read, update, delete: the two published mixes (crud-hs and crud-mh)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from random import Random

from bench import records
from bench.lab import Lab, Server
from bench.load import Answer, Request, Tally, User, drive, expect, get, id_of, send
from bench.scenarios import Figures, Rounds, Scale
from bench.scenarios.importing import poster

HS_CLIENTS = 32
"""300 on eight cores and more, by the specification; this is for two."""
MH_CLIENTS = 64
MH_PATIENTS = 200
MIX = (("create", 10), ("read", 60), ("update", 25), ("delete", 5))
TYPES = (("Observation", 50), ("Patient", 20), ("Condition", 15), ("Encounter", 10), ("MedicationRequest", 5))


Made = tuple[str, str, records.Document]
"""(type, id, document) of what a user has created."""


def _create(made: list[Made], document: records.Document) -> Generator[Request, Answer, str]:
    """Create ``document``; the reference to it."""
    type_ = document["resourceType"]
    answer = yield f"create {type_}", send("POST", type_, records.dump(document))
    id_ = id_of(expect(answer, 201))
    made.append((type_, id_, document))
    return f"{type_}/{id_}"


def hs_user(number: int) -> User:
    """Nine types created in order of dependency, read, updated, deleted in reverse: 36 requests a round."""
    random = Random(number)
    while True:
        made: list[Made] = []
        when = records.instant(random)
        subject = yield from _create(made, records.patient(random, random.randrange(10**6)))
        place = yield from _create(made, records.location(random, number))
        provider = yield from _create(made, records.organization(random, number))
        clinician = yield from _create(made, records.practitioner(random, number))
        visit = yield from _create(made, records.encounter(random, subject, clinician, place, provider, when))
        yield from _create(made, records.observation(random, subject, visit, when))
        yield from _create(made, records.medication_request(random, subject, visit, clinician, when))
        bill = yield from _create(made, records.claim(random, subject, visit, provider, when))
        yield from _create(made, records.explanation(random, subject, provider, bill, when))
        for type_, id_, _ in made:
            expect((yield f"read {type_}", get(f"{type_}/{id_}")), 200)
        for type_, id_, document in made:
            body = records.dump({**document, "id": id_, "language": "en"})
            expect((yield f"update {type_}", send("PUT", f"{type_}/{id_}", body)), 200)
        for type_, id_, _ in reversed(made):
            expect((yield f"delete {type_}", send("DELETE", f"{type_}/{id_}")), 200, 204)


def crud_hs(lab: Lab, scale: Scale) -> Figures:
    """The mix with a quarter of each verb, on an empty store."""
    return _run(lab, scale, "fhb_hs", [], lambda _: (hs_user(n) for n in range(HS_CLIENTS)))


class Pool:
    """What is there to read and update: ids by type, with what a new document of each type refers to."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = {type_: [] for type_, _ in TYPES}
        self.practitioners: list[str] = []
        self.others: dict[str, str] = {}

    def harvest(self) -> User:
        """Find ids through the public API."""
        for type_ in self.ids:
            self.ids[type_] = yield from _ids(type_)
        for type_ in ("Practitioner", "Location", "Organization"):
            self.others[type_] = (yield from _ids(type_))[0]

    def document(self, random: Random, type_: str) -> records.Document:
        """A new document of ``type_`` about a patient and an encounter that are there."""
        if type_ == "Patient":
            return records.patient(random, random.randrange(10**6))
        subject = f"Patient/{random.choice(self.ids['Patient'])}"
        visit = f"Encounter/{random.choice(self.ids['Encounter'])}"
        clinician = f"Practitioner/{self.others['Practitioner']}"
        when = records.instant(random)
        if type_ == "Observation":
            return records.observation(random, subject, visit, when)
        if type_ == "Condition":
            return records.condition(random, subject, visit, when)
        if type_ == "Encounter":
            place, provider = (
                f"Location/{self.others['Location']}",
                f"Organization/{self.others['Organization']}",
            )
            return records.encounter(random, subject, clinician, place, provider, when)
        return records.medication_request(random, subject, visit, clinician, when)


def _ids(type_: str) -> Generator[Request, Answer, list[str]]:
    """Up to a thousand ids of ``type_``."""
    answer = expect((yield "harvest", get(f"{type_}?_count=1000&_elements=id")), 200)
    mark = f'"resourceType":"{type_}","id":"'.encode()
    return [part[: part.index(b'"')].decode() for part in answer.body.split(mark)[1:]]


def mh_user(number: int, pool: Pool) -> User:
    """C10 R60 U25 D5 over five types; deletes what it has created itself, since nothing refers to that."""
    random = Random(number)
    verbs, verb_weights = zip(*MIX, strict=True)
    types, type_weights = zip(*TYPES, strict=True)
    own: list[tuple[str, str]] = []
    while True:
        verb = random.choices(verbs, verb_weights)[0]
        type_ = random.choices(types, type_weights)[0]
        if verb == "read":
            expect((yield f"read {type_}", get(f"{type_}/{random.choice(pool.ids[type_])}")), 200)
        elif verb == "update":
            id_ = random.choice(pool.ids[type_])
            body = records.dump({**pool.document(random, type_), "id": id_})
            expect((yield f"update {type_}", send("PUT", f"{type_}/{id_}", body)), 200)
        elif verb == "delete" and own:
            type_, id_ = own.pop()
            expect((yield f"delete {type_}", send("DELETE", f"{type_}/{id_}")), 200, 204)
        else:
            body = records.dump(pool.document(random, type_))
            answer = expect((yield f"create {type_}", send("POST", type_, body)), 201)
            own.append((type_, id_of(answer)))


def mh_users(server: Server) -> Iterator[User]:
    """The 64 users of crud-mh, on a store that has patients."""
    pool = Pool()
    drive(server.port, [pool.harvest()])
    return (mh_user(n, pool) for n in range(MH_CLIENTS))


def crud_mh(lab: Lab, scale: Scale) -> Figures:
    """The mix of mostly reads on a small practice."""
    return _run(lab, scale, "fhb_mh", list(records.bundles(1, MH_PATIENTS)), mh_users)


def _run(
    lab: Lab, scale: Scale, name: str, seed: list[bytes], users: Callable[[Server], Iterable[User]]
) -> Figures:
    dsn = lab.database(name)
    with lab.fhirhub(dsn) as server:
        if seed:
            drive(server.port, [poster(iter(seed))])
            lab.settle(dsn)
        before, database = server.cpu(), server.database_cpu()
        tally = drive(server.port, users(server), warm=scale.warm, seconds=scale.crud_seconds)
        rounds = Rounds()
        rounds.add(tally, server.cpu() - before, server.database_cpu() - database)
    lab.drop(name)
    verbs = sorted({label.split()[0] for label in tally.latencies})
    by_verb = {
        verb: {
            "p50_ms": round(tally.percentile(0.50, *_labels(tally, verb)), 2),
            "p99_ms": round(tally.percentile(0.99, *_labels(tally, verb)), 2),
        }
        for verb in verbs
    }
    return {**rounds.summary(), "verbs": by_verb}


def _labels(tally: Tally, verb: str) -> list[str]:
    return [label for label in tally.latencies if label.startswith(verb + " ")]
