"""Accounts on a real Postgres: the command line, what may be a password, lockout, the second factor, deactivation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pyotp
import pytest
import pytest_asyncio

from fhirhub.errors import BadRequest, Conflict
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart import lockout, totp
from fhirhub.smart.passwords import Passwords, check, one_time
from fhirhub.smart.people import People, people
from fhirhub.smart.storage import accounts as storage
from fhirhub.store.engine import Lane

SECOND = 1_000_000
GOOD = "ladder umbrella quartz"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.micro = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.micro

    def pass_(self, seconds: float) -> None:
        self.micro += int(seconds * SECOND)


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(dsn: str, clock: Clock) -> AsyncIterator[People]:
    lane = Lane(dsn, 4)
    made = people(Settings(), lane, Keys(bytes(32)), clock)
    cheap = Passwords(time_cost=1, memory_cost=64)
    yield People(made.accounts, made.sessions, cheap, made.totp, clock)
    await lane.close()


async def _account(found: People, name: str, role: str = "biller") -> storage.Account:
    return await found.accounts.add(name, role, None, await found.passwords.hash(GOOD))


async def _try(found: People, name: str, password: str, address: str = "192.0.2.1") -> lockout.Verdict:
    return await lockout.by_password(found.accounts, found.sessions, found.passwords, name, password, address)


async def test_a_username_is_one_in_any_spelling(found: People) -> None:
    made = await _account(found, "Erika.M")
    assert made.username == "erika.m"
    same = await found.accounts.by_name(" ＥＲＩＫＡ.m ")
    assert same is not None and same.id == made.id
    with pytest.raises(Conflict, match="erika.m already"):
        await _account(found, "ERIKA.M")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a", "a" * 65, "ä", "a\nb", "a\x00", "'; drop", "a" * 5000, "а"]
)
async def test_what_cannot_be_a_username_is_refused(found: People, name: str) -> None:
    with pytest.raises(BadRequest, match="username"):
        await _account(found, name)
    assert await found.accounts.by_name(name) is None


@pytest.mark.parametrize(
    ("role", "fhir_user", "remedy"),
    [
        ("owner", None, "is none of admin"),
        ("practitioner", None, "Practitioner/ID"),
        ("patient", "Practitioner/1", "Patient/ID"),
        ("patient", None, "Patient/ID"),
        ("biller", "Patient/1", "only the role patient"),
        ("patient", "Patient/1/x", "Patient/ID"),
        ("patient", "Patient/" + "1" * 65, "Patient/ID"),
        ("admin", "http://elsewhere.example/Practitioner/1", "Practitioner/ID"),
    ],
)
def test_a_role_and_who_stands_for_it_fit(role: str, fhir_user: str | None, remedy: str) -> None:
    with pytest.raises(BadRequest, match=remedy):
        storage.checked("somebody", role, fhir_user)


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "elevenchars", "password1234", "Password12345!", "P@ssw0rd1234", "aaaaaaaaaaaaaaaa", "abababababab",
        "123456789012", "qwertyuiop123", "welcome2024!!", "letmeinletmein", "fhirhub-fhirhub", "administrator1",
        "abcdefghijklm", "erikamustermann1", "x" * 257, "long enough\x07 really",
    ],
)  # fmt: skip
def test_what_is_guessed_first_is_no_password(password: str) -> None:
    with pytest.raises(BadRequest, match="password"):
        check(password, "erikamustermann")


@pytest.mark.parametrize(
    "password", [GOOD, "Früher Vogel 7 Wurm", "kT9#vq2LmZ!x", "雨の日は本を読んで過ごす人", one_time()]
)
def test_what_is_not_guessed_is_one(password: str) -> None:
    check(password, "erika")


async def test_hashes_are_argon2id_and_a_stale_one_is_renewed(found: People) -> None:
    old = Passwords(time_cost=2, memory_cost=64)
    made = await found.accounts.add("stale", "biller", None, await old.hash(GOOD))
    assert made.password.startswith("$argon2id$")
    assert (await _try(found, "stale", GOOD)).account is not None
    after = await found.accounts.by_name("stale")
    assert after is not None and "t=1" in after.password
    assert (await _try(found, "stale", GOOD)).account is not None


async def test_an_unknown_user_costs_the_same_work(found: People, monkeypatch: pytest.MonkeyPatch) -> None:
    await _account(found, "known")
    verified: list[str] = []
    original = Passwords._matches

    def counted(self: Passwords, stored: str, password: str) -> bool:
        verified.append(stored)
        return original(self, stored, password)

    monkeypatch.setattr(Passwords, "_matches", counted)
    for name in ("known", "nobody-here", "not a name", "known"):
        assert (await _try(found, name, "wrong " + GOOD, "192.0.2.77")).account is None
    assert len(verified) == 4
    assert len({stored.split("$")[3] for stored in verified}) == 1


async def test_wrong_passwords_lock_a_name_longer_and_longer(found: People, clock: Clock) -> None:
    await _account(found, "locked")
    free, first, longest, _ = lockout.PER_NAME
    for number in range(free):
        assert await _try(found, "locked", "wrong", f"198.51.100.{number}") == lockout.Verdict(
            None, tried=await found.accounts.by_name("locked")
        )
    waits = []
    for number in range(8):
        right = await _try(found, "locked", GOOD, f"198.51.100.{100 + number}")
        assert right.account is None and right.wait > 0
        waits.append(right.wait)
        clock.pass_(right.wait)
        assert (await _try(found, "locked", "wrong", f"198.51.100.{200 + number}")).wait == 0
    assert waits == [min(first * 2**step, longest) for step in range(8)]
    clock.pass_(longest)
    assert (await _try(found, "locked", GOOD)).account is not None
    assert (await _try(found, "locked", "wrong")).wait == 0


async def test_a_name_nobody_has_is_locked_like_any_other(found: People) -> None:
    await _account(found, "real")
    answers = {}
    for base, name in ((10, "real"), (20, "unreal")):
        tried = [await _try(found, name, "wrong", f"203.0.{base}.{number}") for number in range(8)]
        answers[name] = [(one.account, one.wait) for one in tried]
    assert answers["real"] == answers["unreal"]
    assert answers["real"][-1][1] > 0


async def test_parallel_attempts_get_no_further(found: People, monkeypatch: pytest.MonkeyPatch) -> None:
    await _account(found, "raced")
    tried: list[str] = []
    monkeypatch.setattr(Passwords, "_matches", lambda self, stored, password: bool(tried.append(password)))
    verdicts = await asyncio.gather(
        *(_try(found, "raced", f"guess {number}", f"192.0.3.{number}") for number in range(30))
    )
    assert len(tried) == lockout.PER_NAME[0]
    assert sum(verdict.wait > 0 for verdict in verdicts) == 30 - lockout.PER_NAME[0]


async def test_an_address_that_tries_many_names_is_locked(found: People) -> None:
    free = lockout.PER_ADDRESS[0]
    waits = [(await _try(found, f"name-{number}", "wrong", "2001:db8::1")).wait for number in range(free)]
    assert not any(waits)
    assert (await _try(found, "another", "wrong", "2001:db8::ffff:2")).wait > 0, "the /64 counts as one"
    assert (await _try(found, "another", "wrong", "2001:db8:0:1::1")).wait == 0


async def test_slips_of_many_people_at_one_address_do_not_add_up(found: People, clock: Clock) -> None:
    free, _, _, drain = lockout.PER_ADDRESS
    for number in range(3 * free):
        assert (await _try(found, f"slip-{number}", "wrong", "192.0.7.7")).wait == 0, number
        clock.pass_(drain)
    for number in range(free - 1):
        assert (await _try(found, f"more-{number}", "wrong", "192.0.7.7")).wait == 0, number
    await _account(found, "right")
    assert (await _try(found, "right", GOOD, "192.0.7.7")).account is not None
    await _try(found, "last", "wrong", "192.0.7.7")
    assert (await _try(found, "over", "wrong", "192.0.7.7")).wait > 0


async def test_a_code_is_good_once_and_near_its_time(found: People, clock: Clock) -> None:
    made = await _account(found, "coded")
    secret = totp.new_secret()
    await found.accounts.set_totp(made.id, found.totp.seal(made.id, secret), 0)
    account = await found.accounts.by_id(made.id)
    assert account is not None and account.totp is not None and secret.encode() not in account.totp
    generator = pyotp.TOTP(secret)

    def code(seconds: int = 0) -> str:
        return generator.at(clock.micro // SECOND + seconds)

    async def spent(text: str) -> bool:
        return await found.totp.spend(found.accounts, account, text, clock.micro)

    assert not await spent(code(-90)) and not await spent(code(90))
    assert not await spent("") and not await spent("٠" * 6) and not await spent(code()[:5])
    assert sum(await asyncio.gather(*(spent(code()) for _ in range(20)))) == 1, "a replay was accepted"
    assert not await spent(code(-30)), "an older code after a newer one"
    clock.pass_(30)
    assert await spent(f" {code()[:3]} {code()[3:]} ")
    other = await _account(found, "other")
    assert found.totp.unseal(other.id, account.totp) is None, "a secret moved to another row"


async def test_recovery_codes_work_once(found: People, clock: Clock) -> None:
    made = await _account(found, "recovering")
    shown, stored = totp.recovery_codes()
    await found.accounts.set_totp(made.id, found.totp.seal(made.id, totp.new_secret()), 0, stored)
    account = await found.accounts.by_id(made.id)
    assert account is not None
    assert await found.totp.spend(found.accounts, account, shown[3].upper(), clock.micro)
    assert not await found.totp.spend(found.accounts, account, shown[3], clock.micro)
    assert await found.accounts.codes_left(made.id) == totp.CODES - 1


async def test_guessed_codes_are_locked(found: People, clock: Clock) -> None:
    made = await _account(found, "guessed")
    await found.accounts.set_totp(made.id, found.totp.seal(made.id, totp.new_secret()), 0)
    account = await found.accounts.by_id(made.id)
    assert account is not None
    verdicts = [
        await lockout.by_code(
            found.accounts, found.sessions, found.totp, account, "000000", f"192.0.9.{number}", clock.micro
        )
        for number in range(lockout.PER_CODE[0] + 1)
    ]
    assert [verdict.wait > 0 for verdict in verdicts] == [False] * lockout.PER_CODE[0] + [True]


async def test_deactivation_cuts_all_in_one_transaction(found: People) -> None:
    made = await _account(found, "leaver")
    _, cookie = await found.sessions.start(made.id, "complete")
    await found.sessions.start(made.id, "totp")

    async def broken(connection: object, id: str, now: int) -> dict[str, int]:
        raise RuntimeError("no")

    async def cut(connection: object, id: str, now: int) -> dict[str, int]:
        assert id == made.id
        return {"tokens": 3}

    with pytest.raises(RuntimeError):
        await found.accounts.deactivate(made.id, [broken])
    assert await found.sessions.current(cookie) is not None, "half a deactivation"
    assert await found.accounts.deactivate(made.id, [cut]) == {"sessions": 2, "tokens": 3}
    assert await found.sessions.current(cookie) is None
    assert (await _try(found, "leaver", GOOD, "192.0.5.5")).account is None
    assert await found.accounts.deactivate(made.id, [cut]) is None


def test_nothing_secret_is_shown_of_an_account() -> None:
    row = storage.Account("i", "u", "biller", None, False, True, False, 0, 1, "$argon2id$x", b"sealed")
    assert "argon2id" not in repr(row) + json.dumps(row.as_json()) and "sealed" not in repr(row)
