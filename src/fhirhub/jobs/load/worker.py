"""One worker process of an import: ``python -m fhirhub.jobs.load.worker FD``, started by the coordinator.

It is told where the store is, then gets tasks and sends results. When the coordinator is gone the line ends, and so
does the worker.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

import asyncpg
import uvloop

from fhirhub.auth.access import OPEN
from fhirhub.capability import load as load_capability
from fhirhub.definitions.tables import Definitions
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.errors import FhirError, Issue, Overloaded
from fhirhub.hub import Hub, Limits, clock, new_id
from fhirhub.interactions.entries import problems as bundle_problems
from fhirhub.interactions.perform import admit
from fhirhub.jobs.load.commit import Committer, counted
from fhirhub.jobs.load.cut import Cutter, problem
from fhirhub.jobs.load.items import Item, Order, Problem, Result, Task
from fhirhub.packaged import folder
from fhirhub.resource import json
from fhirhub.search.custom import make
from fhirhub.store import journal
from fhirhub.store.store import Store
from fhirhub.validation.validator import Validator
from fhirhub.view.view import View

AT_ONCE = 2
"""Tasks in hand, so that one can be read and checked while the database writes another."""
SLICE = 400
"""Resources that share a database transaction."""
PATIENCE = 60
"""Seconds to wait for a database that went away."""
_CONNECTIONS = 6
_ATTEMPTS = 4
_NO_LIMIT = 1 << 40


def make_hub(definitions: Definitions, store: Store | None) -> Hub:
    """What the interactions need, without the server around it. A dry run has no store and no secret."""
    indexing = store.indexing if store else make(definitions, b"dry run")
    return Hub(
        definitions=indexing.definitions,
        capability=load_capability(folder("capability")),
        store=View(store, OPEN, indexing.extractor) if store else cast(View, None),
        validator=Validator(definitions),
        extractor=indexing.extractor,
        parser=indexing.parser,
        limits=Limits(_NO_LIMIT, _NO_LIMIT, _NO_LIMIT, _NO_LIMIT),
        clock=clock,
        new_id=new_id,
        dispatch={},
        operations={},
    )


class Worker:
    """Does tasks."""

    def __init__(self, definitions: Definitions, store: Store | None, order: Order) -> None:
        self._store = store
        self._hub = make_hub(definitions, store)
        self._cutter = Cutter(definitions, new_id)
        self._committer = Committer(self._hub, cast(Store, store), order.base)

    async def do(self, task: Task) -> Result:
        """Take in one task; what is wrong with its items is in the result."""
        result = Result(task.number)
        wanted = None if self._store is None or task.items else await self._still_open(task, result)
        if wanted is not None and not wanted:
            return result
        broken: list[tuple[int, Problem]] = []
        numbers: dict[str, set[int]] = {}
        items: list[Item] = []
        for item in self._cutter.cut(task, broken):
            numbers.setdefault(item.unit, set()).add(item.number)
            if wanted is None or item.number in wanted:
                self._check(item, items, broken)
        for number, about in broken:
            numbers.setdefault(task.unit, set()).add(number)
            result.problems.append(about)
        if self._store is None:
            await self._rehearse(items, result)
            return result
        for part in slices(items):
            result.add(await self._commit(part, numbers))
        return result

    async def _still_open(self, task: Task, result: Result) -> set[int] | None:
        """Numbers of the items that the journal says are missing; None when it does not know the unit."""
        assert self._store is not None
        state = (await journal.read(self._store, [task.unit])).get(task.unit)
        if state is None:
            return None
        result.counts.update(state.counts)
        result.known += sum(state.counts.values())
        return state.open

    def _check(self, item: Item, sound: list[Item], broken: list[tuple[int, Problem]]) -> None:
        """Validate a plain resource; a transaction is validated with its links."""
        if item.form == "resource":
            assert item.document is not None
            issues = _unwritable(item.document, item.method) or self._hub.validator.validate(item.document)
            if issues:
                broken.append((item.number, problem(item, item.document, issues)))
                return
        sound.append(item)

    async def _rehearse(self, items: Sequence[Item], result: Result) -> None:
        """A dry run: everything that needs no store."""
        for item in items:
            if item.form == "resource":
                assert item.document is not None
                result.counts[item.document["resourceType"]] += 1
                continue
            document = item.document or json.parse(item.body)
            whole, by_entry = await bundle_problems(self._hub, document)
            issues = [*whole, *(issue for number in sorted(by_entry) for issue in by_entry[number])]
            issues = issues or _unwritable_in(document)
            if issues:
                result.problems.append(problem(item, None, issues))
            else:
                result.counts.update(counted(document))

    async def _commit(self, items: Sequence[Item], numbers: dict[str, set[int]]) -> Result:
        """All of ``items``; those that make the database transaction fail are found by trying each alone."""
        failure: Exception | None = None
        waited = 0.0
        attempt = 0
        while attempt < _ATTEMPTS:
            try:
                return await self._committer.commit(items, numbers)
            except Overloaded as error:
                failure, waited = error, waited + 0.5
                if waited > PATIENCE:
                    raise
                await asyncio.sleep(0.5)
            except (FhirError, asyncpg.PostgresError) as error:
                failure, attempt = error, attempt + 1
                await asyncio.sleep(0.02 * attempt)
        result = Result(0)
        if len(items) == 1:
            result.problems.append(problem(items[0], items[0].document, _issues(failure)))
            return result
        for item in items:
            result.add(await self._commit([item], numbers))
        return result


def _unwritable(document: Mapping[str, Any], method: str) -> Sequence[Issue]:
    """Why nobody may write such a resource, as through every other way in; nothing when they may."""
    try:
        admit(OPEN, "create" if method == "POST" else "update", document.get("resourceType"), None)
    except FhirError as error:
        return error.issues
    return ()


def _unwritable_in(bundle: Mapping[str, Any]) -> list[Issue]:
    """The same of the entries of a transaction without problems, which are looked at when it is carried out."""
    entries = [entry for entry in bundle.get("entry", ()) if "resource" in entry]
    return [
        issue for entry in entries for issue in _unwritable(entry["resource"], entry["request"]["method"])
    ]


def _issues(error: Exception | None) -> Sequence[Issue]:
    if isinstance(error, FhirError):
        return error.issues
    return [Issue("exception", f"The store does not take it: {type(error).__name__}: {error}")]


def slices(items: Sequence[Item]) -> Iterator[list[Item]]:
    """``items`` in parts that share a database transaction; a large Bundle has one for itself."""
    part: list[Item] = []
    weight = 0
    for item in items:
        part.append(item)
        weight += 1 if item.form == "resource" else 2 + len(item.body) // 4096
        if weight >= SLICE:
            yield part
            part, weight = [], 0
    if part:
        yield part


async def serve(line: Connection) -> None:
    """Do tasks as they come until there are no more."""
    loop = asyncio.get_running_loop()
    definitions = load_definitions()
    order: Order = await loop.run_in_executor(None, line.recv)
    store = None
    if order.dsn is not None:
        store = await Store.open(
            order.dsn, definitions, integrity=order.integrity, connections=_CONNECTIONS
        )  # fmt: skip
    worker = Worker(definitions, store, order)
    gate = asyncio.Semaphore(AT_ONCE)
    running: set[asyncio.Task[None]] = set()
    gc.collect()
    gc.freeze()
    # Documents are trees without cycles: counting references is enough for them.
    gc.set_threshold(200_000, 20, 20)

    async def one(task: Task) -> None:
        try:
            result = await worker.do(task)
        except Exception as error:
            result = Result(task.number, failure=f"{task.file}: {type(error).__name__}: {error}")
        line.send(result)
        gate.release()

    tasks: asyncio.Queue[Task | None] = asyncio.Queue()
    # Tasks are fetched as they come: a coordinator that is kept from sending takes no results either.
    fetching = loop.run_in_executor(None, _fetch, line, loop, tasks)
    try:
        while (task := await tasks.get()) is not None:
            await gate.acquire()
            doing = loop.create_task(one(task))
            running.add(doing)
            doing.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await fetching
    finally:
        if store is not None:
            await store.close()


def _fetch(line: Connection, loop: asyncio.AbstractEventLoop, tasks: asyncio.Queue[Task | None]) -> None:
    """Put what the coordinator sends into the queue, until it says that nothing more comes."""
    while True:
        try:
            task: Task | None = line.recv()
        except (EOFError, OSError):
            # The coordinator is gone: nobody wants results any more. What is in hand is rolled back.
            os._exit(1)
        loop.call_soon_threadsafe(tasks.put_nowait, task)
        if task is None:
            return


def main() -> None:
    """Serve the coordinator at the other end of the inherited socket."""
    # Ctrl-C reaches the whole group; the coordinator says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = Connection(int(sys.argv[1]))
    try:
        uvloop.run(serve(line))
    except (EOFError, ConnectionError, BrokenPipeError):
        # The coordinator is gone; the fetching thread must not hold us.
        os._exit(1)


if __name__ == "__main__":
    main()
