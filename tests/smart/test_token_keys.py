"""Clients whose keys are at an address (SMART App Launch 2.2, rows 26 and 27): found, renewed, and never brought along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from jose import jwt

from fhirhub.smart.storage.clients import Client
from support.smart import Signer
from support.token_rig import SECOND, TOKEN, TokenRig, credentials, token_rig


class Site:
    """A client's key set on loopback."""

    def __init__(self) -> None:
        self.keys = [Signer(kid="first")]
        self.url = ""
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps({"keys": [one.public for one in self.keys]}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[TokenRig]:
    async with token_rig(dsn) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    yield made
    server.close()


async def client_at(rig: TokenRig, url: str) -> Client:
    made, _ = await rig.smart.clients.add(
        name="By address", kind="backend", jwks_url=url, scopes="system/*.rs"
    )
    return made


def signed(rig: TokenRig, client: Client, signer: Signer, **headers: Any) -> dict[str, Any]:
    """A request with an assertion whose header has more in it, as the library makes it."""
    now = rig.clock() // SECOND
    jti = f"{client.id}-{id(headers)}-{signer.kid}-{rig.clock()}"
    claims = {"iss": client.id, "sub": client.id, "aud": TOKEN, "exp": now + 200, "jti": jti}
    token = jwt.encode(claims, signer.pem, signer.algorithm, headers={"kid": signer.kid} | headers)
    rig.clock.pass_(0.001)
    return credentials(token)


async def test_keys_by_address_are_fetched_once_and_anew_for_a_new_key(rig: TokenRig, site: Site) -> None:
    client = await client_at(rig, site.url)
    for _ in range(3):
        assert (await rig.token(credentials(rig.assertion(client, site.keys[0])))).status_code == 200
    assert site.asked == 1
    old, site.keys = site.keys[0], [Signer(kid="second")]
    rig.clock.pass_(11)
    assert (await rig.token(credentials(rig.assertion(client, site.keys[0])))).status_code == 200
    answer = await rig.token(credentials(rig.assertion(client, old)))
    assert answer.status_code == 401, "a key that was withdrawn"


async def test_an_address_that_is_down_is_no_way_in(rig: TokenRig) -> None:
    client = await client_at(rig, "http://127.0.0.1:9/jwks.json")
    answer = await rig.token(credentials(rig.assertion(client, Signer(kid="first"))))
    assert answer.status_code == 401 and answer.json()["error"] == "invalid_client"
    inside = await client_at(rig, "https://10.0.0.1/jwks.json")
    answer = await rig.token(credentials(rig.assertion(inside, Signer(kid="first"))))
    assert answer.status_code == 401 and "10.0.0.1" not in answer.text


async def test_jku_counts_only_as_the_registered_address(rig: TokenRig, site: Site) -> None:
    client = await client_at(rig, site.url)
    good = site.keys[0]
    assert (await rig.token(signed(rig, client, good, jku=site.url))).status_code == 200
    evil = Site()
    server = await asyncio.start_server(evil.answer, "127.0.0.1", 0)
    there = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    for jku in (
        there,
        site.url + "/",
        site.url + "?",
        site.url.upper(),
        site.url + "#" + there,
        "",
        there + "@",
    ):
        for signer in (good, evil.keys[0]):
            answer = await rig.token(signed(rig, client, signer, jku=jku))
            assert answer.status_code == 401 and answer.json()["error"] == "invalid_client", jku
    assert evil.asked == 0, "the address of a header was asked"
    server.close()
    inline = await rig.token(signed(rig, rig.backend, rig.es, jku=site.url))
    assert inline.status_code == 401, "a client with inline keys has no address"


@pytest.mark.parametrize(
    "header",
    [
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"jwk": Signer().public},
        {"crit": ["exp"]},
        {"typ": "dpop+jwt"},
        {"typ": "at+jwt"},
        {"kid": "other"},
        {"kid": "../first"},
    ],
    ids=str,
)
async def test_a_header_that_is_refused(rig: TokenRig, header: dict[str, Any]) -> None:
    answer = await rig.token(signed(rig, rig.backend, rig.es, **header))
    assert answer.status_code == 401 and answer.json()["error"] == "invalid_client"
    assert (await rig.token(signed(rig, rig.backend, rig.es))).status_code == 200


async def test_a_client_that_is_remembered_counts_as_it_is_now(rig: TokenRig) -> None:
    """What a process knows of a client is good until its next change, which another process may have made."""
    old, new = Signer("RS384", "old"), Signer("ES384", "new")
    made, _ = await rig.smart.clients.add(name="Busy", kind="backend", scopes="system/*.rs", jwks=old.jwks)

    async def asked(signer: Signer, scope: str = "system/*.rs") -> tuple[int, str]:
        answer = await rig.token(credentials(rig.assertion(made, signer), scope))
        told = answer.json()
        return answer.status_code, told.get("scope") or told["error"]

    assert [await asked(old) for _ in range(3)] == [(200, "system/*.rs")] * 3
    assert (await asked(new))[0] == 401
    assert await asked(old) == (200, "system/*.rs")
    # Not through this process: straight in the store.
    await rig.smart.lane.fetch(
        "update client set jwks = $2::text::jsonb, scopes = 'system/Patient.rs', version = version + 1 where id = $1",
        made.id, json.dumps(new.jwks),
    )  # fmt: skip
    assert await asked(old) == (401, "invalid_client")
    assert await asked(new) == (200, "system/Patient.rs")
    spent = rig.assertion(made, new)
    await rig.smart.lane.fetch(
        "update client set scopes = 'system/Observation.rs', version = version + 1 where id = $1", made.id
    )
    for status in (200, 401):
        answer = await rig.token(credentials(spent, "system/*.rs"))
        assert answer.status_code == status, answer.text
    await rig.smart.lane.fetch(
        "update client set active = false, version = version + 1 where id = $1", made.id
    )
    assert await asked(new) == (401, "invalid_client")
