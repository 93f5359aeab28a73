"""Backend services that sign in (token): a signed assertion for an access token, each committed and on the trail.

The assertions (RS384, 2048 bits) are signed before the clock starts: that is the clients' work.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.backend import registered
from bench.lab import Lab, Server
from bench.load import User, drive, expect, send
from bench.scenarios import Figures, Rounds, Scale

CLIENTS = 16
SERVICES = 4
"""Clients that the connections share."""
MOST = 800.0
"""Tokens a second that there are assertions for; a faster server is through with them before the time is up."""


def token(lab: Lab, scale: Scale) -> Figures:
    """Tokens a second on 16 connections, in turn with L0: a bare app that answers with as many bytes."""
    dsn = lab.database("fhb_token")
    with lab.fhirhub(dsn) as server:
        pass
    services = registered(lab, dsn, SERVICES)
    found = {"tokens": Rounds(), "L0": Rounds()}
    with ExitStack() as stack:
        server = stack.enter_context(lab.fhirhub(dsn, auth=True))
        size: list[int] = []
        drive(server.port, [_user([services[0].request(server.port)], size)])
        bare = stack.enter_context(lab.bare("bytes", str(size[0])))
        for _ in range(scale.rounds):
            count = int(MOST * (scale.warm + scale.seconds))
            requests = [services[n % SERVICES].request(server.port) for n in range(count)]
            _round(
                server, [_user(requests[n::CLIENTS], size) for n in range(CLIENTS)], scale, found["tokens"]
            )
            # As much comes in; nothing is read of it.
            like = send("POST", "token", requests[0].partition(b"\r\n\r\n")[2])
            _round(bare, [_bare(like) for _ in range(CLIENTS)], scale, found["L0"])
    return {
        **{name: rounds.summary() for name, rounds in found.items()},
        "cpu_ms": round(found["tokens"].all_cpu() * 1000, 2),
        "of_L0": round(found["tokens"].rate / found["L0"].rate, 3),
        "clients": CLIENTS,
    }


def _round(server: Server, users: list[User], scale: Scale, rounds: Rounds) -> None:
    before, database = server.cpu(), server.database_cpu()
    tally = drive(server.port, users, warm=scale.warm, seconds=scale.seconds)
    rounds.add(tally, server.cpu() - before, server.database_cpu() - database)


def _user(requests: list[bytes], size: list[int]) -> User:
    for request in requests:
        answer = expect((yield "token", request), 200)
        if b'"access_token"' not in answer.body:
            expect(answer, 0)
        size[:] = [len(answer.body)]


def _bare(request: bytes) -> User:
    while True:
        yield "bare", request
