"""A closed-loop HTTP/1.1 load on one server: many users, a keep-alive connection each, little time of our own.

A user is a generator: it yields requests and is sent the answers. No task, future or parsed header stands between
an answer and the next request, since the loader shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_PATIENCE = 120.0
"""Seconds that the last answers may take after the time is up."""


@dataclass(slots=True)
class Answer:
    """One HTTP response; ``head`` is everything before the body, in lower case."""

    status: int
    head: bytes
    body: bytes


Request = tuple[str, bytes]
"""(name under which its latency is counted, the bytes to send)."""
User = Generator[Request, Answer, None]


class WrongAnswer(RuntimeError):
    """An answer is not what it must be: the run measures nothing and is given up."""


@dataclass(slots=True)
class Tally:
    """Latencies in seconds by name, and what failed, between :meth:`begin` and the end."""

    latencies: dict[str, array[float]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    began: float = 0.0
    ended: float = 0.0
    counting: bool = False
    over: bool = False

    def begin(self) -> None:
        """From now on answers count."""
        self.began = time.perf_counter()
        self.counting = True

    def end(self) -> None:
        """Answers count no more, and no user sends another request."""
        if not self.over:
            self.ended = time.perf_counter()
            self.over = True
            self.counting = False

    def add(self, name: str, status: int, seconds: float) -> None:
        """Count one answer."""
        if status >= 400:
            self.failures[f"{name} {status}"] += 1
            return
        found = self.latencies.get(name)
        if found is None:
            found = self.latencies[name] = array("d")
        found.append(seconds)

    @property
    def count(self) -> int:
        """Answers that were no failures."""
        return sum(map(len, self.latencies.values()))

    @property
    def seconds(self) -> float:
        """The measured time."""
        return self.ended - self.began

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.count / self.seconds if self.seconds else 0.0

    def percentile(self, share: float, *names: str) -> float:
        """The latency in milliseconds that ``share`` (0..1) of the answers (of ``names``, or all) do not exceed."""
        chosen = [self.latencies[name] for name in names if name in self.latencies] if names else None
        return percentile([x for each in (chosen or self.latencies.values()) for x in each], share) * 1000

    def summary(self) -> dict[str, float | int | dict[str, int]]:
        """rate, p50, p95, p99 (ms), requests, failures."""
        return {
            "rps": round(self.rate, 1),
            "p50_ms": round(self.percentile(0.50), 3),
            "p95_ms": round(self.percentile(0.95), 3),
            "p99_ms": round(self.percentile(0.99), 3),
            "requests": self.count,
            "failures": dict(self.failures),
        }


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest of ``values`` that ``share`` of them do not exceed; 0 for none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


class _Connection(asyncio.Protocol):
    """The connection of one user."""

    def __init__(self, user: User, tally: Tally, done: Callable[[BaseException | None], None]) -> None:
        self._user = user
        self._tally = tally
        self._done = done
        self._transport: asyncio.Transport
        self._buffer = b""
        self._name = ""
        self._sent = 0.0
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by type, only by what they do.
        self._transport = cast(asyncio.Transport, transport)
        self._advance(None)

    def _advance(self, answer: Answer | None) -> None:
        try:
            if self._tally.over:
                raise StopIteration
            self._name, data = next(self._user) if answer is None else self._user.send(answer)
        except StopIteration:
            return self._finish(None)
        except Exception as error:
            return self._finish(error)
        self._sent = time.perf_counter()
        return self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(_HEAD_END)
        if end < 0:
            return
        head = data[: end + 2].lower()
        status = int(head[9:12])
        start = end + 4
        if status in (204, 304) or status < 200:
            body = b""
        elif (at := head.find(_LENGTH)) >= 0:
            at += len(_LENGTH)
            stop = start + int(head[at : head.find(b"\r", at)])
            if len(data) < stop:
                return
            body = data[start:stop]
        elif _CHUNKED in head:
            if not data.endswith(b"0\r\n\r\n"):
                return
            body = unchunked(data[start:])
        else:
            return self._finish(WrongAnswer(f"an answer of unknown length: {head[:200]!r}"))
        now = time.perf_counter()
        self._buffer = b""
        if self._tally.counting:
            self._tally.add(self._name, status, now - self._sent)
        return self._advance(Answer(status, head, body))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._finished:
            self._finish(error or WrongAnswer(f"the server hung up during {self._name}"))

    def _finish(self, error: BaseException | None) -> None:
        self._finished = True
        self._transport.close()
        self._done(error)


def unchunked(data: bytes) -> bytes:
    """The body in a complete chunked encoding."""
    parts = []
    at = 0
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line].split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[line + 2 : line + 2 + size])
        at = line + 4 + size


async def _drive(port: int, users: list[User], warm: float, seconds: float | None) -> Tally:
    loop = asyncio.get_running_loop()
    tally = Tally()
    left = len(users)
    finished = loop.create_future()

    def done(error: BaseException | None) -> None:
        nonlocal left
        left -= 1
        if error is not None and not finished.done():
            tally.end()
            finished.set_exception(error)
        elif not left and not finished.done():
            tally.end()
            finished.set_result(None)

    def broken(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not finished.done():
            tally.end()
            finished.set_exception(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(broken)
    if not warm:
        tally.begin()
    else:
        loop.call_later(warm, tally.begin)
    if seconds is not None:
        loop.call_later(warm + seconds, tally.end)
    for user in users:
        await loop.create_connection(lambda user=user: _Connection(user, tally, done), "127.0.0.1", port)
    await asyncio.wait_for(finished, None if seconds is None else warm + seconds + _PATIENCE)
    return tally


def drive(port: int, users: Iterable[User], *, warm: float = 0.0, seconds: float | None = None) -> Tally:
    """Let ``users`` work against the server on ``port`` of this machine.

    The first ``warm`` seconds do not count; after ``seconds`` more nobody sends anything new. Without ``seconds``
    it ends when all users have. What a user raises ends the run.
    """
    return uvloop.run(_drive(port, list(users), warm, seconds))


def get(path: str, *headers: str) -> bytes:
    """The request for ``path`` below the FHIR base."""
    extra = "".join(f"{header}\r\n" for header in headers)
    accept = f"Accept: application/fhir+json\r\n{extra}"
    return f"GET /fhir/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{accept}\r\n".encode()


def send(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request with a JSON body on ``path`` below the FHIR base."""
    extra = "".join(f"{header}\r\n" for header in headers)
    target = f"/fhir/{path}" if path else "/fhir"
    return (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/fhir+json\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def expect(answer: Answer, *statuses: int) -> Answer:
    """``answer``, which must have one of ``statuses``."""
    if answer.status not in statuses:
        raise WrongAnswer(f"{answer.status} instead of {statuses}: {answer.body[:600]!r}")
    return answer


def id_of(answer: Answer) -> str:
    """The id of the resource in ``answer``; fhirhub writes it right after resourceType, others may not."""
    at = answer.body.index(b'"id":"') + 6
    return answer.body[at : answer.body.index(b'"', at)].decode()
