"""Fixtures for everything that needs Postgres, the app or a server.

``postgres``  one embedded Postgres for the session (``--postgres-bin DIR``: that PostgreSQL instead)
``dsn``       an empty, migrated database for a module; ``fresh_dsn`` the same for one test
``settings``  Settings on ``dsn``
``app``       the ASGI app, started; ``client`` an httpx.AsyncClient on it whose paths are below ``/fhir``
``door``      a guarded app for a module, ``token`` callers of it (tests/support/door.py)
``server``    a real ``fhirhub serve`` on its own data directory, for a module
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from fhirhub.settings import Settings
from fhirhub.store import migrate
from fhirhub.store.postgres import Postgres
from support.door import door, token  # noqa: F401  fixtures
from support.lifespan import running
from support.process import Server

BASE = "http://testserver/fhir"
_TEMPLATE = "fhirhub_template"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres-bin", default=None, help="run the tests on the PostgreSQL in this bin folder"
    )


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """An embedded Postgres in a temporary folder."""
    chosen = request.config.getoption("--postgres-bin")
    # Not pytest's tmp_path: its length would push the socket out of the data directory.
    home = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    instance = Postgres(home, programs=Path(chosen) if chosen else None, shared_buffers=256 << 20)
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def _template(postgres: Postgres) -> str:
    """The name of a migrated database to copy; a copy takes a third of a migration's time."""
    _statement(postgres.dsn, f"create database {_TEMPLATE}")
    asyncio.run(migrate.ensure(_named(postgres.dsn, _TEMPLATE)))
    return _TEMPLATE


@pytest.fixture(scope="module")
def dsn(postgres: Postgres, _template: str) -> Iterator[str]:
    """The address of an empty database that this module has for itself."""
    yield from _database(postgres, _template)


@pytest.fixture
def fresh_dsn(postgres: Postgres, _template: str) -> Iterator[str]:
    """The address of an empty database that this test has for itself."""
    yield from _database(postgres, _template)


@pytest.fixture(scope="module")
def settings(dsn: str) -> Settings:
    """Settings on the module's database."""
    return Settings(database_url=dsn, no_auth=True, log_level="error")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(settings: Settings) -> AsyncIterator[Any]:
    """The app on the module's database, started."""
    module = pytest.importorskip("fhirhub.app")
    async with running(module.create_app(settings)) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the app: ``await client.get("Patient/1")``. Server errors come as answers, not as exceptions."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30.0) as made:
        yield made


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running ``fhirhub serve`` with two workers."""
    home = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    chosen = request.config.getoption("--postgres-bin")
    variables = {"FHIRHUB_SHARED_BUFFERS": "128MiB"} | ({"FHIRHUB_POSTGRES_BIN": chosen} if chosen else {})
    try:
        with Server(home, "--workers", "2", variables=variables) as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _named(dsn: str, name: str) -> str:
    """``dsn`` with another database."""
    before, after = dsn.split("?", 1)
    return f"{before.rsplit('/', 1)[0]}/{name}?{after}"


def _statement(dsn: str, sql: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def _database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _statement(postgres.dsn, f"create database {name} template {template}")
    yield _named(postgres.dsn, name)
    _statement(postgres.dsn, f"drop database {name} with (force)")
