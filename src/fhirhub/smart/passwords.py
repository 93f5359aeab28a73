"""Passwords: argon2id, off the event loop and a few at a time; what may be one (NIST SP 800-63B §3.1.1).

The parameters are above OWASP's floor for argon2id; a hash made with others is replaced at the next sign-in.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fhirhub.errors import BadRequest, Issue, Overloaded

T = TypeVar("T")
SHORTEST = 12
LONGEST = 256
AT_ONCE = 2
"""Hashes one worker computes at a time: each takes 46 MiB."""
WAITING = 32
"""Hashes that may wait for their turn; who comes then is asked to come again."""
_COMMON = (
    "password", "passwort", "passwrd", "welcome", "letmein", "qwertyuiop", "qwerty", "qwertz", "azerty", "asdfghjkl",
    "asdfgh", "asdf", "zxcvbnm", "zxcvbn", "iloveyou", "monkey", "dragon", "sunshine", "princess", "football", "baseball",
    "superman", "batman", "master", "shadow", "trustno1", "trustno", "whatever", "freedom", "starwars", "computer",
    "internet", "administrator", "admin", "root", "user", "guest", "test", "testing", "demo", "default", "changeme",
    "change", "secret", "login", "access", "hello", "abc", "abcdef", "abcdefgh", "google", "fhirhub", "fhir", "hospital",
    "clinic", "doctor", "nurse", "patient", "health", "medical", "practice", "spring", "summer", "autumn", "winter",
    "january", "february", "correcthorsebatterystaple", "this", "is", "my", "the", "and", "me", "in", "please", "pass", "word",
)  # fmt: skip
_WORDS = re.compile("|".join(sorted(_COMMON, key=len, reverse=True)))
_LEET = str.maketrans("013457@$!", "oieastasi")
_RUNS = "01234567890 abcdefghijklmnopqrstuvwxyz qwertyuiopasdfghjklzxcvbnm"
_REAL = 4
"""Characters that must be left of a password when common words, digits and runs are taken out."""


class Passwords:
    """Hashes and verifies; one for a worker."""

    def __init__(self, *, time_cost: int = 2, memory_cost: int = 47_104) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_cost, parallelism=1)
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._inside = 0
        # Verified in place of the hash of a user that does not exist: the same work, never the same password.
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """The argon2id hash of ``password``, with salt and parameters."""
        return await self._work(self._hasher.hash, prepared(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one of ``stored``; with None the same work for nothing, and False."""
        if stored is None:
            if not self._nobody:
                self._nobody = await self.hash(secrets.token_urlsafe(24))
            stored, known = self._nobody, False
        else:
            known = True
        return await self._work(self._matches, stored, prepared(password)) and known

    def outdated(self, stored: str) -> bool:
        """Whether ``stored`` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _work(self, call: Callable[..., T], *args: str) -> T:
        """``call`` in a thread when it is its turn. Cancelling the caller does not free the turn before the thread is
        done: the bound holds whatever callers do."""
        if self._inside >= WAITING:
            raise Overloaded(
                Issue("throttled", "Too many people sign in at the moment; try again in a few seconds."),
                headers={"Retry-After": "3"},
            )
        self._inside += 1
        return await asyncio.shield(asyncio.ensure_future(self._turned(call, args)))

    async def _turned(self, call: Callable[..., T], args: tuple[str, ...]) -> T:
        try:
            async with self._turn:
                return await asyncio.to_thread(call, *args)
        finally:
            self._inside -= 1


def prepared(password: str) -> str:
    """The characters that are hashed: NFKC, so that two keyboards make the same; cut to a harmless length."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])[: LONGEST + 1]


def check(password: str, username: str = "") -> None:
    """Refuse what is too short, too long, or among the first that are guessed; BadRequest says which."""
    problem = _problem(unicodedata.normalize("NFKC", password[: LONGEST + 1]), username)
    if problem:
        raise BadRequest(Issue("value", problem, "password"))


def one_time() -> str:
    """A password for one sign-in, easy to read out: 100 bits in five groups."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(5))


def _problem(password: str, username: str) -> str:
    if len(password) < SHORTEST:
        return f"The password is too short: use {SHORTEST} characters or more; three or four words do well."
    if len(password) > LONGEST:
        return f"The password is too long: use at most {LONGEST} characters."
    if any(unicodedata.category(char) == "Cc" for char in password):
        return "The password has a control character in it; leave it out."
    plain = password.casefold()
    if username and len(username) >= 4 and username in plain:
        plain = plain.replace(username, "")
    if len(set(plain)) < 5 or _substance(plain) < _REAL:
        return (
            "The password is among the first that are guessed: it is made of common words, runs or repetitions, or of "
            "the username. Use words that have nothing to do with each other."
        )
    return ""


def _substance(plain: str) -> int:
    """How many different characters are left of ``plain`` without common words, runs and digits, at best for a guesser."""
    return min(len(set(_rest(plain))), len(set(_rest(plain.translate(_LEET)))))


def _rest(text: str) -> str:
    text = _WORDS.sub("", text)
    letters = [char for char in text if char.isalpha()]
    kept = [
        char
        for place, char in enumerate(letters)
        if place == 0 or (letters[place - 1] + char not in _RUNS and letters[place - 1] != char)
    ]
    return "".join(kept)
