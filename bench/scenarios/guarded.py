"""What authorization and the audit trail cost (guarded): the same reads, searches and creates with a token and without.

The token is that of a backend service, got as any other gets it: registered by command, a signed assertion sent to the
token endpoint. https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from random import Random

from bench import records
from bench.backend import registered, token
from bench.lab import Lab, Server
from bench.load import User, drive, expect, get, send
from bench.scenarios import Figures, Rounds, Scale
from bench.scenarios.reading import put_all
from bench.scenarios.searching import DRAWN, practice
from bench.scenarios.writing import PATIENTS
from bench.shapes import CLIENTS, MH, Draw

Load = Callable[[int, tuple[str, ...]], User]
"""(number, headers of every request) -> a user."""


def guarded(lab: Lab, scale: Scale) -> Figures:
    """Reads, the mix of search-mh and creates, 64 clients each, in turn open, with authorization, and with the audit
    trail, too. Where a client acts without a user, every create brings a Provenance along."""
    place = practice(lab, scale.patients[0])
    draw = Draw(Random("guarded"), place.clinic)
    reads = [f"{type_}/{draw.id(type_)}" for type_ in ("Patient", "Observation") for _ in range(500)]
    searches = [shape(draw) for name, shape in MH.items() if name != "metadata" for _ in range(DRAWN)]
    figures = _measured(lab, place.dsn, {"read": _getter(reads), "search-mh": _getter(searches)}, scale)
    dsn = lab.database("fhb_guarded")
    random = Random("guarded")
    people = [("Patient", f"w{n}", records.patient(random, n)) for n in range(1, PATIENTS + 1)]
    with lab.fhirhub(dsn) as server:
        drive(server.port, [put_all(people)])
    lab.settle(dsn)
    figures |= _measured(lab, dsn, {"create": _creator}, scale)
    lab.drop("fhb_guarded")
    return figures


def _measured(lab: Lab, dsn: str, loads: dict[str, Load], scale: Scale) -> Figures:
    figures: Figures = {}
    (client,) = registered(lab, dsn)
    with ExitStack() as stack:
        servers = {
            "open": stack.enter_context(lab.fhirhub(dsn)),
            "without audit": stack.enter_context(lab.fhirhub(dsn, auth=True, audit=False)),
            "guarded": stack.enter_context(lab.fhirhub(dsn, auth=True)),
        }
        # A token is good at every server on the store.
        bearer = (f"Authorization: Bearer {token(servers['guarded'].port, client)}",)
        headers = {name: () if name == "open" else bearer for name in servers}
        for load, user in loads.items():
            found = {name: Rounds() for name in servers}
            for turn in range(scale.rounds):
                for name, server in servers.items():
                    _round(server, user, headers[name], turn, scale, found[name])
            figures[load] = {
                **{name: rounds.summary() for name, rounds in found.items()},
                "kept": round(found["guarded"].rate / found["open"].rate, 3),
                "cpu_ratio": round(found["guarded"].all_cpu() / found["open"].all_cpu(), 3),
            }
    return figures


def _round(
    server: Server, user: Load, headers: tuple[str, ...], turn: int, scale: Scale, rounds: Rounds
) -> None:
    before, database = server.cpu(), server.database_cpu()
    clients = CLIENTS["search-mh"]
    users = (user(turn * clients + number, headers) for number in range(clients))
    tally = drive(server.port, users, warm=scale.warm, seconds=scale.seconds)
    rounds.add(tally, server.cpu() - before, server.database_cpu() - database)


def _getter(paths: list[str]) -> Load:
    def user(number: int, headers: tuple[str, ...]) -> User:
        random = Random(number)
        requests = [get(path, *headers) for path in paths]
        while True:
            expect((yield "request", random.choice(requests)), 200)

    return user


def _creator(number: int, headers: tuple[str, ...]) -> User:
    random = Random(number)
    while True:
        subject = f"Patient/w{random.randint(1, PATIENTS)}"
        body = records.dump(records.observation(random, subject, None, records.instant(random)))
        expect((yield "create", send("POST", "Observation", body, *headers)), 201)
