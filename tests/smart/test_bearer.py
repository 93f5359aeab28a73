"""The gate: which tokens open it, what they stand for, and that nothing which is over is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.auth.access import Access
from fhirhub.auth.grant import Grant
from fhirhub.errors import Unauthorized
from fhirhub.exchange import Caller
from fhirhub.keys import Keys
from fhirhub.search.sight import Sight
from fhirhub.settings import Settings
from fhirhub.smart.bearer import BATCH, FLIGHTS, Bearer
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.people import now
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.authorizations import digest
from support.smart import SECOND, issue


class Authority:
    """Notes what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[Grant] = []

    async def access(self, grant: Grant) -> Access:
        self.asked.append(grant)
        return Access(
            Sight(), Caller(user=grant.user or "", grant=grant.id, reason=grant.reason), grant.scopes
        )

    def kept(self, grant: Grant) -> Access | None:
        return None


class Counting:
    """A lane that counts statements."""

    def __init__(self, lane: Any) -> None:
        self.lane = lane
        self.sent: list[str] = []

    async def fetch(self, sql: str, *args: Any) -> Sequence[Any]:
        self.sent.append(sql)
        return list(await self.lane.fetch(sql, *args))


class Gate:
    """A gate with what is behind it."""

    def __init__(self, smart: Smart) -> None:
        self.smart = smart
        self.ahead = 0
        self.lane = Counting(smart.lane)
        self.authority = Authority()
        lane: Any = self.lane
        self.bearer = Bearer(
            lane, self.authority, lambda: now() + self.ahead, idle=900, issuer="https://us.example"
        )

    async def enter(self, token: str) -> Grant:
        """What the gate understood of a token."""
        await self.bearer.access({b"authorization": f"Bearer {token}".encode()})
        return self.authority.asked[-1]

    async def opens(self, token: str) -> bool:
        try:
            await self.enter(token)
        except Unauthorized:
            return False
        return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smart(dsn: str) -> AsyncIterator[Smart]:
    made = await open_smart(Settings(database_url=dsn), keys=Keys(bytes(32)))
    yield made
    await made.close()


@pytest.fixture
def gate(smart: Smart) -> Gate:
    return Gate(smart)


async def _grant_of(smart: Smart, token: str) -> str:
    rows = await smart.lane.fetch("select grant_ from grant_token where handle = $1", digest(token))
    return str(rows[0]["grant_"])


async def test_a_persons_token(gate: Gate, dsn: str) -> None:
    token = await issue(
        dsn, "patient/*.rs user/Observation.read", patient="p1", encounter="e1", username="u1", client="App"
    )
    grant = await gate.enter(token)
    assert (grant.kind, grant.user, grant.fhir_user, grant.role) == (
        "user",
        "u1",
        "Practitioner/1",
        "practitioner",
    )
    assert (grant.patient, grant.encounter, grant.client_name) == ("p1", "e1", "App")
    assert (grant.issuer, grant.reason, grant.client_policy) == ("https://us.example", "", None)
    assert [scope.text for scope in grant.scopes] == ["patient/*.rs", "user/Observation.read"]


async def test_a_systems_token(gate: Gate, dsn: str) -> None:
    token = await issue(dsn, "system/Patient.rs", client="Lab", policy={"types": {"Patient": "rs"}})
    grant = await gate.enter(token)
    assert (grant.kind, grant.user, grant.role, grant.issuer) == ("system", None, None, "")
    assert grant.client_policy == {"types": {"Patient": "rs"}}


HEADERS: list[bytes | None] = [
    None, b"", b"Bearer", b"Bearer ", b"bearer", b"Basic dXNlcjpwYXNz", b"Token abcdefghijklmnopqrstuvwxyz",
    b"Bearer short", b"Bearer " + b"x" * 43, b"Bearer  " + b"x" * 43, b"Bearer\t" + b"x" * 43,
    b"Bearer " + b"x" * 20_000, b"Bearer " + b"x" * 43 + b" y", b"Bearer " + b"x" * 43 + b",", b"Bearer \xff" * 9,
    b"Bearer " + "ü".encode() * 20, b"Bearer " + b"x" * 43 + b"\x00", b"Bearer ../../../../etc/passwd-and-more",
    b"Bearer ' or true -- and some more text", b'Bearer "' + b"x" * 43 + b'"', b"Bearer =" + b"x" * 43,
    b"Bearer null", b"Bearer undefined", b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    b"Bearer " + b"=" * 43, b"BearerBearer " + b"x" * 43, b"x" * 43,
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=[str(n) for n in range(len(HEADERS))])
async def test_a_header_that_opens_nothing(gate: Gate, header: bytes | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        await gate.bearer.access({} if header is None else {b"authorization": header})
    error = caught.value
    challenge = error.headers["WWW-Authenticate"]
    assert error.status == 401 and challenge.startswith('Bearer realm="fhirhub"') and challenge.isascii()
    assert not gate.authority.asked
    is_bearer = header is not None and header.lower().partition(b" ")[0] == b"bearer"
    assert ('error="invalid_token"' in challenge) == is_bearer
    assert "xxx" not in str(error) + challenge and "passwd" not in str(error) + challenge


async def test_the_scheme_is_read_in_any_case(gate: Gate, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="cased")
    await gate.bearer.access({b"authorization": b"bEaReR " + token.encode()})


async def test_only_access_tokens_open(gate: Gate, smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="kinds")
    grant, at = await _grant_of(smart, token), smart.clock()
    refresh = await grants.issue(smart.lane, grant, "refresh", at, at + 10 * SECOND)
    assert await gate.opens(token) and not await gate.opens(refresh.handle)
    for near in (token[:-1], token + "A", token.swapcase(), token[::-1]):
        assert not await gate.opens(near)


ENDS = {
    "grant revoked": "update grant_ set revoked = 1, version = version + 1 where id = $1",
    "grant over": "update grant_ set expires = 1 where id = $1",
    "token over": "update grant_token set expires = 1 where grant_ = $1",
    "token gone": "delete from grant_token where grant_ = $1",
    "account inactive": "update account set active = false where id = (select account from grant_ where id = $1)",
    "client inactive": "update client set active = false where id = (select client from grant_ where id = $1)",
    "session of another": "update grant_ set access = 'online', session = 'nobody' where id = $1",
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_is_over_is_over_at_once(gate: Gate, smart: Smart, dsn: str, how: str) -> None:
    token = await issue(dsn, "user/*.rs", username=f"ends-{how.replace(' ', '-')}")
    other = Gate(smart)
    assert await gate.opens(token) and await other.opens(token)
    await smart.lane.fetch(ENDS[how], await _grant_of(smart, token))
    assert not await gate.opens(token) and not await other.opens(token)


async def test_a_deactivated_person_is_refused_by_the_next_request(
    gate: Gate, smart: Smart, dsn: str
) -> None:
    for number in range(25):
        token = await issue(dsn, "user/*.rs", username=f"leaves-{number}")
        account = await smart.people.accounts.named(f"leaves-{number}")
        assert await gate.opens(token)
        waiting = [asyncio.ensure_future(gate.opens(token)) for _ in range(5)]
        await smart.people.accounts.deactivate(account.id, CUTS if number % 2 else ())
        assert not await gate.opens(token), number
        await asyncio.gather(*waiting)


async def test_what_changes_is_understood_anew(gate: Gate, smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="changes")
    before = await gate.enter(token)
    again = await gate.enter(token)
    assert again is before, "an unchanged grant is not read twice"
    account = await smart.people.accounts.named("changes")
    await smart.lane.fetch(
        "update account set role = 'biller', version = version + 1 where id = $1", account.id
    )
    after = await gate.enter(token)
    assert after.role == "biller" and after.stamp != before.stamp
    await smart.lane.fetch("update access_stamp set version = version + 1")
    assert (await gate.enter(token)).stamp[1] == before.stamp[1] + 1


async def test_a_narrower_token_has_a_stamp_of_its_own(gate: Gate, smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="narrow")
    grant, at = await _grant_of(smart, token), smart.clock()
    fewer = await grants.issue(smart.lane, grant, "access", at, at + 60 * SECOND, "user/Patient.r")
    wide, narrow = await gate.enter(token), await gate.enter(fewer.handle)
    assert wide.id == narrow.id and wide.stamp != narrow.stamp
    assert [scope.text for scope in narrow.scopes] == ["user/Patient.r"]
    assert [scope.text for scope in (await gate.enter(token)).scopes] == ["user/*.rs"]


async def test_broken_glass_mends_by_the_clock(gate: Gate, smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="glass", reason="unconscious")
    await smart.lane.fetch(
        "update grant_ set reason_until = $2 where id = $1",
        await _grant_of(smart, token),
        now() + 60 * SECOND,
    )
    broken = await gate.enter(token)
    assert broken.reason == "unconscious"
    gate.ahead = 61 * SECOND
    mended = await gate.enter(token)
    assert mended.reason == "" and mended.stamp != broken.stamp


async def test_an_apps_requests_keep_the_session_of_an_online_grant_alive(
    gate: Gate, smart: Smart, dsn: str
) -> None:
    token = await issue(dsn, "user/*.rs", username="online", seconds=36_000)
    account = await smart.people.accounts.named("online")
    session, _ = await smart.people.sessions.start(account.id, "complete")
    grant = await _grant_of(smart, token)
    await smart.lane.fetch("update grant_ set access = 'online', session = $2 where id = $1", grant, session)
    for _ in range(4):
        gate.ahead += 800 * SECOND
        assert await gate.opens(token)
    gate.ahead += 901 * SECOND
    assert not await gate.opens(token), "nobody used it for longer than a session idles"
    gate.ahead = 0
    assert await gate.opens(token)
    await smart.people.sessions.end(session)
    assert not await gate.opens(token)


async def test_requests_that_arrive_together_share_statements(gate: Gate, dsn: str) -> None:
    tokens = [await issue(dsn, "user/*.rs", username=f"crowd-{number}") for number in range(5)]
    wrong = "x" * 43
    mixed = [*tokens, wrong] * 20
    found = await asyncio.gather(*(gate.opens(token) for token in mixed))
    assert found == [token != wrong for token in mixed]
    assert len(gate.lane.sent) <= FLIGHTS + -(-len(mixed) // BATCH)
    gate.lane.sent.clear()
    await gate.enter(tokens[0])
    assert len(gate.lane.sent) == 1


async def test_each_of_a_crowd_is_who_it_is(gate: Gate, dsn: str) -> None:
    tokens = {
        f"self-{number}": await issue(dsn, "user/*.rs", username=f"self-{number}") for number in range(12)
    }

    async def name(token: str) -> str:
        header = {b"authorization": f"Bearer {token}".encode()}
        return (await gate.bearer.access(header)).caller.user

    names = await asyncio.gather(*(name(token) for token in tokens.values()))
    assert names == list(tokens)


async def test_one_who_hangs_up_does_not_keep_the_others(gate: Gate, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="patient-one")
    gone = asyncio.ensure_future(gate.opens(token))
    stays = asyncio.ensure_future(gate.opens(token))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays
