"""The embedded Postgres: one instance per data directory, however its users come and go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from fhirhub.store.postgres import Postgres
from fhirhub.store.programs import PostgresError

SMALL = 32 << 20


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path for a data directory that other accounts may reach."""
    folder = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def instance(home: Path, request: pytest.FixtureRequest, as_root: str = "auto") -> Postgres:
    chosen = request.config.getoption("--postgres-bin")
    return Postgres(home, programs=Path(chosen) if chosen else None, shared_buffers=SMALL, as_root=as_root)


async def answer(dsn: str, sql: str = "select 1") -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def wait_until_dead(postgres: Postgres) -> None:
    deadline = time.monotonic() + 10
    while postgres.alive() and time.monotonic() < deadline:
        time.sleep(0.005)


async def test_the_last_to_leave_turns_off_the_light(home: Path, request: pytest.FixtureRequest) -> None:
    first, second = instance(home, request), instance(home, request)
    first.start()
    second.start()
    assert first.pid == second.pid
    assert not first.stop()
    assert await answer(second.dsn) == 1
    assert second.stop()
    assert not (home / "postgres" / "postmaster.pid").exists()


async def test_it_is_private_and_careful(home: Path, request: pytest.FixtureRequest) -> None:
    postgres = instance(home, request)
    postgres.start()
    try:
        assert home.stat().st_mode & 0o066 == 0
        assert await answer(postgres.dsn, "show listen_addresses") == ""
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert await answer(postgres.dsn, f"show {setting}") == "on"
        assert (
            await answer(postgres.dsn, "select show_trgm('Жук')::text") != "{}"
            if await _trgm(postgres)
            else True
        )
    finally:
        postgres.stop()


async def _trgm(postgres: Postgres) -> bool:
    """pg_trgm, which must know letters beyond ASCII; Debian's server may lack its contrib modules."""
    try:
        await answer(postgres.dsn, "create extension pg_trgm")
    except asyncpg.PostgresError:
        return False
    return True


async def test_killed_it_comes_back_with_its_data(home: Path, request: pytest.FixtureRequest) -> None:
    postgres = instance(home, request)
    postgres.start()
    try:
        await answer(postgres.dsn, "create table t as select 7 as x")
        os.kill(postgres.pid, signal.SIGKILL)
        wait_until_dead(postgres)
        postgres.ensure()
        assert await answer(postgres.dsn, "select x from t") == 7
    finally:
        postgres.stop()


async def test_a_reused_process_number_does_not_block_the_start(
    home: Path, request: pytest.FixtureRequest
) -> None:
    postgres = instance(home, request)
    postgres.start()
    os.kill(postgres.pid, signal.SIGKILL)
    wait_until_dead(postgres)
    time.sleep(0.3)
    pid_file = home / "postgres" / "postmaster.pid"
    pid_file.write_text("\n".join([str(os.getppid()), *pid_file.read_text().splitlines()[1:]]) + "\n")
    postgres.ensure()
    assert await answer(postgres.dsn) == 1
    postgres.stop()


async def test_it_outlives_a_killed_user_and_is_adopted(home: Path, request: pytest.FixtureRequest) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fhirhub.store.postgres import Postgres\n"
        "bin = sys.argv[2] or None\n"
        f"p = Postgres(Path(sys.argv[1]), programs=bin and Path(bin), shared_buffers={SMALL})\n"
        "p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    chosen = request.config.getoption("--postgres-bin") or ""
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(home), chosen], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    pid = int(user.stdout.readline())
    user.kill()
    user.wait()
    postgres = instance(home, request)
    postgres.start()
    assert postgres.pid == pid
    assert await answer(postgres.dsn) == 1
    assert postgres.stop()
    assert not postgres.alive()


async def test_a_long_path_still_gets_a_socket(home: Path, request: pytest.FixtureRequest) -> None:
    postgres = instance(home / ("x" * 100), request)
    postgres.start()
    try:
        assert await answer(postgres.dsn) == 1
    finally:
        postgres.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
async def test_root_without_user_namespaces_uses_an_account(
    home: Path, request: pytest.FixtureRequest
) -> None:
    postgres = instance(home, request, as_root="account")
    postgres.start()
    try:
        assert await answer(postgres.dsn) == 1
        assert (home / "postgres").stat().st_uid != 0
    finally:
        postgres.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be locked out this way")
def test_an_unreachable_folder_is_refused_with_advice(home: Path, request: pytest.FixtureRequest) -> None:
    home.parent.chmod(0o700)
    with pytest.raises(PostgresError, match="FHIRHUB_DATA_DIR"):
        instance(home, request, as_root="account").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can prepare a folder of somebody else")
def test_a_prepared_socket_folder_is_refused(home: Path, request: pytest.FixtureRequest) -> None:
    (home / "run").mkdir(parents=True)
    os.chown(home / "run", 65534, 65534)
    with pytest.raises(PostgresError, match="somebody else"):
        instance(home, request).start()


def test_data_of_another_version_is_refused(home: Path, request: pytest.FixtureRequest) -> None:
    postgres = instance(home, request)
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("14\n")
    home.chmod(0o700)
    with pytest.raises(PostgresError, match="PostgreSQL 14"):
        postgres.start()
