"""What authorization and the audit trail cost (guarded): the same reads and searches with a token and without.

The token is that of a backend service, got as any other gets it: registered by command, a signed assertion sent to the
token endpoint. https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

from bench.backend import registered, token
from bench.lab import Lab, Server
from bench.load import User, drive, expect, get
from bench.scenarios import Figures, Rounds, Scale
from bench.scenarios.searching import DRAWN, practice
from bench.shapes import CLIENTS, MH, Draw


def guarded(lab: Lab, scale: Scale) -> Figures:
    """Reads and the mix of search-mh, 64 clients each, in turn open, with authorization, and with the audit trail, too."""
    place = practice(lab, scale.patients[0])
    draw = Draw(Random("guarded"), place.clinic)
    reads = [f"{type_}/{draw.id(type_)}" for type_ in ("Patient", "Observation") for _ in range(500)]
    searches = [shape(draw) for name, shape in MH.items() if name != "metadata" for _ in range(DRAWN)]
    loads = {"read": reads, "search-mh": searches}
    figures: Figures = {}
    (client,) = registered(lab, place.dsn)
    with ExitStack() as stack:
        servers = {
            "open": stack.enter_context(lab.fhirhub(place.dsn)),
            "without audit": stack.enter_context(lab.fhirhub(place.dsn, auth=True, audit=False)),
            "guarded": stack.enter_context(lab.fhirhub(place.dsn, auth=True)),
        }
        # A token is good at every server on the store.
        header = f"Authorization: Bearer {token(servers['guarded'].port, client)}"
        headers = {name: "" if name == "open" else header for name in servers}
        for load, paths in loads.items():
            found = {name: Rounds() for name in servers}
            for _ in range(scale.rounds):
                for name, server in servers.items():
                    _round(server, paths, headers[name], scale, found[name])
            figures[load] = {
                **{name: rounds.summary() for name, rounds in found.items()},
                "kept": round(found["guarded"].rate / found["open"].rate, 3),
                "cpu_ratio": round(found["guarded"].all_cpu() / found["open"].all_cpu(), 3),
            }
    return figures


def _round(server: Server, paths: list[str], header: str, scale: Scale, rounds: Rounds) -> None:
    before, database = server.cpu(), server.database_cpu()
    users = (_user(number, paths, header) for number in range(CLIENTS["search-mh"]))
    tally = drive(server.port, users, warm=scale.warm, seconds=scale.seconds)
    rounds.add(tally, server.cpu() - before, server.database_cpu() - database)


def _user(number: int, paths: list[str], header: str) -> User:
    random = Random(number)
    requests = [get(path, *([header] if header else [])) for path in paths]
    while True:
        expect((yield "request", random.choice(requests)), 200)
