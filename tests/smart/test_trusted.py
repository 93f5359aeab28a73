"""Tokens of a provider that is trusted: verified with its keys, for accounts of ours, and of nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.errors import Unauthorized
from fhirhub.keys import Keys
from fhirhub.settings import Settings, SettingsError, load
from fhirhub.smart import jose
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.egress import Egress
from fhirhub.smart.jwks import KeySets
from fhirhub.smart.trusted import Trusted
from fhirhub.smart.trusted import trusted as trusted_by
from support.smart import Signer, a_client, account

AUD = "https://us.example/fhir"
NOW = 1_800_000_000


class Provider:
    """A provider on loopback."""

    def __init__(self) -> None:
        self.signer = Signer("RS256")
        self.keys = [self.signer.public]
        self.issuer = ""
        self.claims_to_be = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        document: Any = {"keys": self.keys}
        if b"openid-configuration" in request:
            document = {"issuer": self.claims_to_be or self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
        body = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    def token(self, signer: Signer | None = None, typ: str = "at+jwt", **changed: Any) -> str:
        good = {
            "iss": self.issuer, "sub": "Dr.Hale", "aud": [AUD, "other"], "exp": NOW + 300, "iat": NOW,
            "client_id": "their-app", "scope": "openid user/*.rs system/*.cruds junk", "patient": "p1",
        }  # fmt: skip
        claims = {name: value for name, value in (good | changed).items() if value is not None}
        by = signer or self.signer
        return jose.sign(claims, by.pem, algorithm=by.algorithm, kid=by.kid, typ=typ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smart(dsn: str) -> AsyncIterator[Smart]:
    made = await open_smart(Settings(database_url=dsn), keys=Keys(bytes(32)))
    await account(made.lane, "practitioner", "Practitioner/h", "dr.hale")
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
def trusted(smart: Smart, provider: Provider) -> Trusted:
    egress = Egress(loopback=True)

    def clock() -> int:
        return NOW * 1_000_000

    return Trusted(smart.lane, egress, KeySets(egress, clock), clock, issuer=provider.issuer, audience=AUD)


async def test_a_token_is_that_of_an_account_here(trusted: Trusted, provider: Provider) -> None:
    token = provider.token()
    assert trusted.is_foreign(token) and not trusted.is_foreign("x" * 43)
    grant = await trusted.grant(token)
    assert (grant.kind, grant.user, grant.role, grant.fhir_user) == (
        "user",
        "dr.hale",
        "practitioner",
        "Practitioner/h",
    )
    assert (grant.client, grant.issuer, grant.patient) == ("their-app", provider.issuer, "p1")
    assert [scope.text for scope in grant.scopes] == ["openid", "user/*.rs"]
    assert (await trusted.grant(token)).stamp == grant.stamp


REFUSED: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://us.example"},
    "no audience": {"aud": None},
    "an id_token": {"aud": "their-app"},
    "expired": {"exp": NOW},
    "no end": {"exp": None},
    "an end that is no time": {"exp": "tomorrow"},
    "not begun": {"nbf": NOW + 60},
    "made tomorrow": {"iat": NOW + 86_400},
    "nobody": {"sub": None},
    "nobody of ours": {"sub": "stranger"},
    "no name": {"sub": "'; drop table account"},
    "a name in letters of full width": {"sub": "\uff44\uff52.hale"},
    "a name with a ligature": {"sub": "dr.ha\u2113e"},
    "a name in blanks": {"sub": " dr.hale "},
    "a list of names": {"sub": ["dr.hale"]},
    "no client": {"client_id": None},
    "scope a number": {"scope": 7},
    "scope too long": {"scope": "user/*.rs " * 3000},
    "patient an object": {"patient": {}},
    "another kind of token": {"typ": "logout+jwt"},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_token_that_is_refused(trusted: Trusted, provider: Provider, name: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        await trusted.grant(provider.token(**REFUSED[name]))
    assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]
    await trusted.grant(provider.token())


async def test_only_the_providers_keys_count(trusted: Trusted, provider: Provider) -> None:
    for signer in (Signer("RS256"), Signer("RS256", provider.signer.kid), Signer("ES384")):
        with pytest.raises(Unauthorized):
            await trusted.grant(provider.token(signer))


async def test_who_is_deactivated_here_is_out_though_the_token_is_good(
    trusted: Trusted, provider: Provider, smart: Smart
) -> None:
    made = await account(smart.lane, "biller", None, "leaver")
    client = await a_client(smart.lane, "Theirs")
    token = provider.token(sub="leaver", client_id=client.id)
    assert (await trusted.grant(token)).client_name == "Theirs"
    await smart.clients.deactivate(client.id)
    with pytest.raises(Unauthorized):
        await trusted.grant(token)
    other = provider.token(sub="leaver")
    await trusted.grant(other)
    await smart.people.accounts.deactivate(made.id)
    with pytest.raises(Unauthorized):
        await trusted.grant(other)


def test_the_settings_of_a_trusted_provider_go_together(smart: Smart) -> None:
    def with_(**changed: Any) -> Smart:
        return replace(smart, settings=Settings(**changed))

    assert trusted_by(with_()) is None
    issuer = "https://id.example/"
    with pytest.raises(SettingsError, match="TRUSTED_AUDIENCE"):
        trusted_by(with_(trusted_issuer=issuer))
    assert trusted_by(with_(trusted_issuer=issuer, trusted_audience="us")) is not None
    assert trusted_by(with_(trusted_issuer=issuer, base_url="https://us.example")) is not None
    assert load({"FHIRHUB_TRUSTED_ISSUER": issuer}).settings.trusted_issuer == issuer
    with pytest.raises(SettingsError):
        load({"FHIRHUB_TRUSTED_ISSUER": "id.example"})


async def test_a_configuration_of_somebody_else_is_not_taken(trusted: Trusted, provider: Provider) -> None:
    provider.claims_to_be = "https://evil.example"
    try:
        with pytest.raises(Unauthorized, match="another one's"):
            await trusted.grant(provider.token())
    finally:
        provider.claims_to_be = ""


async def test_an_address_of_e_mail_counts_when_the_provider_has_verified_it(
    smart: Smart, provider: Provider
) -> None:
    egress = Egress(loopback=True)

    def clock() -> int:
        return NOW * 1_000_000

    by_mail = Trusted(
        smart.lane, egress, KeySets(egress, clock), clock, issuer=provider.issuer, audience=AUD, claim="email"
    )
    for verified in (None, False, "true"):
        with pytest.raises(Unauthorized):
            await by_mail.grant(provider.token(email="dr.hale", email_verified=verified))
    grant = await by_mail.grant(provider.token(email="dr.hale", email_verified=True))
    assert grant.user == "dr.hale"
