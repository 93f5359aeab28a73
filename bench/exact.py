"""Limit L4: the exact SQL that the server runs for a search, with its arguments, carried out by pgbench alone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from bench.lab import Lab
from fhirhub.definitions.tables import load
from fhirhub.store.reads import ONE
from fhirhub.store.store import Store

BASE = "http://127.0.0.1/fhir"
CLIENTS = 8
_ARGUMENT = re.compile(r"\$(\d+)")
_BLANK = re.compile(r"\s+")


@dataclass(slots=True)
class Script:
    """The statements of one search in their order, each with its arguments."""

    statements: list[tuple[str, Sequence[Any]]] = field(default_factory=list)

    def text(self, number: int) -> tuple[str, dict[str, str]]:
        """(pgbench script, its variables), the variables named apart by ``number``."""
        lines: list[str] = []
        variables: dict[str, str] = {}
        for at, (sql, values) in enumerate(self.statements):
            names = [f"v{number}_{at}_{n}" for n in range(1, len(values) + 1)]
            variables |= {name: literal(value) for name, value in zip(names, values, strict=True)}
            one_line = _BLANK.sub(" ", sql).strip()
            lines.append(_ARGUMENT.sub(rf":v{number}_{at}_\1", one_line) + ";")
        return "\n".join(lines) + "\n", variables


def literal(value: Any) -> str:
    """An argument in the text format of PostgreSQL."""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list | tuple):
        return "{" + ",".join(_item(each) for each in value) + "}"
    return str(value)


def _item(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "null" if value is None else literal(value)


async def _recorded(dsn: str, paths: Sequence[str]) -> list[Script]:
    """What the server runs for each path once it is warm."""
    store = await Store.open(dsn, load(), connections=2)
    try:
        return [await _script(store, path) for path in paths]
    finally:
        await store.close()


async def _script(store: Store, path: str) -> Script:
    type_, _, query = path.partition("?")
    if "/" in type_:
        kind, _, id_ = type_.partition("/")
        return Script([(ONE, (store.definitions.type_number[kind], id_))])
    request = store.indexing.parser.parse(type_, parse_qsl(query, keep_blank_values=True), bases=(BASE,))
    script = Script()

    async def recording(sql: str, *values: Any) -> Sequence[Any]:
        script.statements.append((sql, values))
        return await store.fetch(sql, *values)

    await store.search(request)  # what a server remembers, it remembers from here on
    await store.searcher.search(request, recording)
    return script


def limit(lab: Lab, dsn: str, paths: Sequence[str], seconds: float) -> dict[str, float]:
    """What pgbench makes of ``paths``: ``tps`` of eight clients, ``ms`` that a single one waits, ``cpu`` seconds of
    Postgres for a search, ``statements`` of one. Empty for paths without SQL.
    """
    scripts = [each for each in asyncio.run(_recorded(dsn, paths)) if each.statements]
    if not scripts:
        return {}
    texts: list[str] = []
    define: list[str] = []
    for number, script in enumerate(scripts):
        text, variables = script.text(number)
        texts.append(text)
        define += [f"{name}={value}" for name, value in variables.items()]
    alone = lab.pgbench(dsn, texts, clients=1, seconds=seconds, define=define)
    before, began = lab.database_cpu(), time.perf_counter()
    many = lab.pgbench(dsn, texts, clients=CLIENTS, seconds=seconds, define=define)
    searches = many * (time.perf_counter() - began)
    return {
        "tps": many,
        "ms": 1000 / alone,
        "cpu": (lab.database_cpu() - before) / searches,
        "statements": sum(len(script.statements) for script in scripts) / len(scripts),
    }
