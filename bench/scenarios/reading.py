"""Read by id against its limits, and how the depth of a history weighs on it (workloads read, history-depth)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random

from bench import records
from bench.lab import Lab, Server
from bench.load import Answer, User, WrongAnswer, drive, expect, get, send
from bench.scenarios import Figures, Rounds, Scale

SEEDED = 10_000
"""Observations ``b1`` to ``b10000`` that are read."""
CLIENTS = 64
DEEP, SHALLOW, VERSIONS = "b1", "b2", 500
_PGBENCH = (
    "\\set n random(1, {count})\n"
    "select meta::text, content::text from resource where rt = {rt} and id = 'b' || :n;\n"
)


def seed(port: int) -> int:
    """Put the patients and Observations of the read workload; the size of an answer in bytes."""
    random = Random(1)
    patients = [("Patient", f"p{n}", records.patient(random, n)) for n in range(1, 101)]
    observations = [
        (
            "Observation",
            f"b{n}",
            records.observation(random, f"Patient/p{n % 100 + 1}", None, "2021-03-04T05:06:07Z"),
        )
        for n in range(1, SEEDED + 1)
    ]
    drive(port, [put_all([*patients, *observations])])
    sizes: list[int] = []
    drive(port, [_size(sizes)])
    return sizes[0]


def put_all(documents: list[tuple[str, str, records.Document]], batch: int = 500) -> User:
    """Puts (type, id, document) in transactions of ``batch``."""
    for at in range(0, len(documents), batch):
        entries = [
            {
                "resource": {**document, "id": id_},
                "request": {"method": "PUT", "url": f"{type_}/{id_}"},
            }
            for type_, id_, document in documents[at : at + batch]
        ]
        body = records.dump({"resourceType": "Bundle", "type": "transaction", "entry": entries})
        expect((yield "seed", send("POST", "", body)), 200)


def _size(sizes: list[int]) -> User:
    answer = yield "size", get("Observation/b3")
    sizes.append(len(expect(answer, 200).body))


def reader(number: int, *, check: bool) -> User:
    """Reads random Observations; ``check``: the answer must be the one asked for."""
    random = Random(number)
    while True:
        id_ = f"b{random.randint(1, SEEDED)}"
        answer = yield "read", get(f"Observation/{id_}")
        if answer.status != 200 or (check and b'"id":"' + id_.encode() + b'"' not in answer.body[:80]):
            raise WrongAnswer(f"Observation/{id_}: {answer.status} {answer.body[:200]!r}")


def one(id_: str) -> User:
    """Reads the same resource for ever."""
    request = get(f"Observation/{id_}")
    while True:
        answer: Answer = yield id_, request
        expect(answer, 200)


def measure(server: Server, users: Callable[[], Iterator[User]], scale: Scale, rounds: Rounds) -> None:
    """One round of a load on ``server``."""
    before, database = server.cpu(), server.database_cpu()
    tally = drive(server.port, users(), warm=scale.warm, seconds=scale.seconds)
    rounds.add(tally, server.cpu() - before, server.database_cpu() - database)


def read(lab: Lab, scale: Scale, http_servers: tuple[str, ...] = ()) -> Figures:
    """Reads at one and at 64 clients, in turn with L0 and L2 on the same HTTP server; L1 beside them."""
    dsn = lab.database("fhb_read")
    with lab.fhirhub(dsn) as server:
        size = seed(server.port)
    lab.settle(dsn)
    figures: Figures = {"answer_bytes": size}
    script = _PGBENCH.format(count=SEEDED, rt=96)
    figures["L1"] = {
        f"tps_{clients}": round(lab.pgbench(dsn, script, clients=clients, seconds=scale.seconds))
        for clients in (1, 8)
    }
    for http_server in http_servers or (lab.http_server,):
        for workers in sorted({1, lab.workers}):
            figures[f"{http_server} x{workers}"] = _against_limits(
                lab, scale, dsn, size, http_server, workers
            )
    return figures


def _against_limits(lab: Lab, scale: Scale, dsn: str, size: int, http_server: str, workers: int) -> Figures:
    with ExitStack() as stack:
        servers = {
            "L0": stack.enter_context(lab.bare("bytes", str(size), workers=workers, http_server=http_server)),
            "L2": stack.enter_context(lab.bare("read", dsn, workers=workers, http_server=http_server)),
            "ours": stack.enter_context(lab.fhirhub(dsn, workers=workers, http_server=http_server)),
        }
        found = {(name, clients): Rounds() for name in servers for clients in (1, CLIENTS)}
        for _ in range(scale.rounds):
            for name, server in servers.items():
                for clients in (1, CLIENTS):
                    if name == "L0" and clients == 1:
                        continue
                    check = name == "ours"
                    measure(
                        server,
                        lambda clients=clients, check=check: (reader(n, check=check) for n in range(clients)),
                        scale,
                        found[name, clients],
                    )
    many = found["ours", CLIENTS].rate
    return {
        **{
            f"{name} c{clients}": rounds.summary()
            for (name, clients), rounds in found.items()
            if rounds.tallies
        },
        "of_L2": round(many / found["L2", CLIENTS].rate, 3),
        "cpu_of_L2": round(found["L2", CLIENTS].all_cpu() / found["ours", CLIENTS].all_cpu(), 3),
        "of_L0": round(many / found["L0", CLIENTS].rate, 3),
        "p50_over_L2_ms": round(found["ours", 1].p50() - found["L2", 1].p50(), 3),
    }


def history_depth(lab: Lab, scale: Scale) -> Figures:
    """Reads of a resource with 500 versions and of one with a single version, in turn."""
    dsn = lab.dsn("fhb_read")
    figures: Figures = {"versions": VERSIONS}
    with lab.fhirhub(dsn) as server:
        drive(server.port, [_deepen()])
        lab.settle(dsn)
        found = {id_: Rounds() for id_ in (DEEP, SHALLOW)}
        for _ in range(scale.rounds):
            for id_, rounds in found.items():
                measure(server, lambda id_=id_: (one(id_) for _ in range(16)), scale, rounds)
    figures["deep"] = found[DEEP].summary()
    figures["single"] = found[SHALLOW].summary()
    figures["deep_of_single"] = round(found[DEEP].rate / found[SHALLOW].rate, 3)
    return figures


def _deepen() -> User:
    random = Random(2)
    for version in range(VERSIONS - 1):
        document = records.observation(random, "Patient/p1", None, "2021-03-04T05:06:07Z")
        document |= {"id": DEEP, "note": [{"text": f"version {version}"}]}
        expect((yield "put", send("PUT", f"Observation/{DEEP}", records.dump(document))), 200)
