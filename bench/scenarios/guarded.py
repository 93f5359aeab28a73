"""What authorization and the audit trail cost (guarded): the same reads and searches with a token and without.

The token is that of a backend service, got as any other gets it: registered by command, a signed assertion sent to the
token endpoint. https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from random import Random
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jose import jwk, jwt

from bench.lab import Lab, Server
from bench.load import User, drive, expect, get
from bench.scenarios import Figures, Rounds, Scale
from bench.scenarios.searching import DRAWN, practice
from bench.shapes import CLIENTS, MH, Draw

_SCOPE = "system/*.rs"
_KEY = "bench"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def guarded(lab: Lab, scale: Scale) -> Figures:
    """Reads and the mix of search-mh, 64 clients each, in turn open, with authorization, and with the audit trail, too."""
    place = practice(lab, scale.patients[0])
    draw = Draw(Random("guarded"), place.clinic)
    reads = [f"{type_}/{draw.id(type_)}" for type_ in ("Patient", "Observation") for _ in range(500)]
    searches = [shape(draw) for name, shape in MH.items() if name != "metadata" for _ in range(DRAWN)]
    loads = {"read": reads, "search-mh": searches}
    figures: Figures = {}
    pem, client = _registered(lab, place.dsn)
    with ExitStack() as stack:
        servers = {
            "open": stack.enter_context(lab.fhirhub(place.dsn)),
            "without audit": stack.enter_context(lab.fhirhub(place.dsn, auth=True, audit=False)),
            "guarded": stack.enter_context(lab.fhirhub(place.dsn, auth=True)),
        }
        # A token is good at every server on the store.
        token = f"Authorization: Bearer {_token(servers['guarded'], pem, client)}"
        headers = {name: "" if name == "open" else token for name in servers}
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


def _registered(lab: Lab, dsn: str) -> tuple[str, str]:
    """(private key, client_id) of a backend service."""
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = jwk.construct(pem, "ES384").public_key().to_dict()
    own = {name: value.decode() if isinstance(value, bytes) else value for name, value in public.items()}
    path = lab.home / "jwks.json"
    path.write_text(
        json.dumps({"keys": [{**own, "kid": _KEY, "alg": "ES384", "use": "sig"}]}), encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "fhirhub",
        "clients",
        "add",
        "Bench",
        "--kind",
        "backend",
        "--scope",
        _SCOPE,
    ]
    done = subprocess.run(
        [*command, "--jwks", str(path), "--json"],
        capture_output=True,
        text=True,
        env=lab.environment(dsn),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"no client: {done.stdout[-300:]} {done.stderr[-300:]}")
    told = json.loads(done.stdout)
    return pem, str(told.get("client_id") or told["id"])


def _token(server: Server, pem: str, client: str) -> str:
    """An access token."""
    url = f"http://127.0.0.1:{server.port}/auth/token"
    claims = {
        "iss": client,
        "sub": client,
        "aud": url,
        "exp": int(time.time()) + 240,
        "jti": secrets.token_hex(8),
    }
    assertion = jwt.encode(claims, pem, algorithm="ES384", headers={"kid": _KEY})
    fields = {
        "grant_type": "client_credentials",
        "scope": _SCOPE,
        "client_assertion_type": _ASSERTION,
        "client_assertion": assertion,
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/auth/token", urlencode(fields), kind)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"no token: {answer.status} {body[:300]!r}")
    return str(json.loads(body)["access_token"])
