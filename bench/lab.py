"""The laboratory of one run: an embedded Postgres of its own, databases, servers and pgbench."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from bench import machine
from fhirhub.store import migrate
from fhirhub.store.postgres import Postgres
from fhirhub.store.programs import Programs, prepare

ROOT = Path(__file__).resolve().parents[1]
_START = 60.0


@dataclass(slots=True)
class Server:
    """A running server: its port, the processes that were started, and Postgres."""

    port: int
    processes: list[subprocess.Popen[str]]
    postmaster: int

    def workers(self) -> list[int]:
        """Ids of the processes that answer requests."""
        return [pid for process in self.processes for pid in machine.family(process.pid) if _answers(pid)]

    def cpu(self) -> float:
        """Processor seconds of the server so far, its database not counted."""
        return machine.cpu_seconds(self.workers())

    def database_cpu(self) -> float:
        """Processor seconds of all processes of Postgres so far."""
        return machine.cpu_seconds(machine.family(self.postmaster))


class Lab:
    """Owns the Postgres of a run; :meth:`close` ends everything and removes the files."""

    def __init__(self, workers: int, http_server: str, folder: Path | None = None) -> None:
        self.workers = workers
        self.http_server = http_server
        # Short, since the socket's path may have 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="fhb-", dir=folder))
        self.postgres = Postgres(self.home)
        self.programs: Programs = prepare(None, self.home)
        self.kept: dict[str, Any] = {}
        """What workloads leave for those after them."""
        self.postgres.start()

    def close(self) -> None:
        """End Postgres and remove everything."""
        self.postgres.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def dsn(self, name: str) -> str:
        """The address of database ``name``."""
        before, after = self.postgres.dsn.split("?", 1)
        return f"{before.rsplit('/', 1)[0]}/{name}?{after}"

    def database(self, name: str) -> str:
        """A new database with the present schema; its dsn."""
        self.sql(self.postgres.dsn, f"drop database if exists {name} with (force)")
        self.sql(self.postgres.dsn, f"create database {name}")
        asyncio.run(migrate.ensure(self.dsn(name)))
        return self.dsn(name)

    def copied(self, dsn: str, name: str) -> str:
        """A new database ``name`` that holds what the one at ``dsn`` does, which nobody may be using; its dsn."""
        source = urlsplit(dsn).path.lstrip("/")
        self.drop(name)
        self.sql(self.postgres.dsn, f"create database {name} template {source}")
        return self.dsn(name)

    def drop(self, name: str) -> None:
        """Remove a database and give its space back."""
        self.sql(self.postgres.dsn, f"drop database if exists {name} with (force)")

    def sql(self, dsn: str, statement: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of one statement on a connection of its own."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(dsn)
            try:
                return await connection.fetch(statement, *values)
            finally:
                await connection.close()

        return asyncio.run(run())

    def settle(self, dsn: str) -> None:
        """Bring the database to rest: statistics, visibility, and no dirty pages left to write."""
        self.sql(dsn, "vacuum (analyze)")
        self.sql(dsn, "checkpoint")

    @contextmanager
    def fhirhub(
        self,
        dsn: str | None,
        *,
        workers: int = 0,
        http_server: str = "",
        home: Path | None = None,
        auth: bool = False,
        audit: bool = True,
    ) -> Iterator[Server]:
        """``fhirhub serve`` on the database ``dsn`` (None: the embedded store in ``home``).

        Open, unless ``auth``; then with an audit trail unless ``audit`` is False.
        """
        process, port = self.spawn(
            dsn, workers=workers, http_server=http_server, home=home, auth=auth, audit=audit
        )
        try:
            server = Server(port, [process], self.postgres.pid)
            # It is ready when its first worker is: the others must have their share of the connections, too.
            _wait_for_workers(server, workers or self.workers)
            yield server
        finally:
            end(process)

    def spawn(
        self,
        dsn: str | None,
        *,
        workers: int = 0,
        http_server: str = "",
        home: Path | None = None,
        port: int = 0,
        auth: bool = False,
        audit: bool = True,
    ) -> tuple[subprocess.Popen[str], int]:
        """Start ``fhirhub serve`` and wait until it says that it is ready; the process and its port."""
        environment = self.environment(dsn, home) | {"FHIRHUB_HTTP_SERVER": http_server or self.http_server}
        command = [sys.executable, "-m", "fhirhub", "serve", "--json", "--port", str(port)]
        command += [] if auth else ["--no-auth"]
        environment |= {} if audit else {"FHIRHUB_AUDIT": "off"}
        process = subprocess.Popen(
            [*command, "--workers", str(workers or self.workers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            return process, urlsplit(json.loads(line)["base"]).port or 0
        except (ValueError, KeyError):
            end(process)
            raise RuntimeError(f"fhirhub serve did not start: {line}") from None

    def environment(self, dsn: str | None, home: Path | None = None) -> dict[str, str]:
        """The variables of a command on the database ``dsn`` (None: the embedded store in ``home``)."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
        clean |= {"FHIRHUB_LOG_LEVEL": "warning", "FHIRHUB_DATA_DIR": str(home or self.home / "server")}
        return clean | ({} if dsn is None else {"FHIRHUB_DATABASE_URL": dsn})

    @contextmanager
    def bare(self, kind: str, argument: str, *, workers: int = 0, http_server: str = "") -> Iterator[Server]:
        """A bare ASGI app (:mod:`bench.bare`) on the same HTTP server, with as many workers."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(2048)
            listener.set_inheritable(True)
            server = http_server or self.http_server
            command = [sys.executable, "-m", "bench.bare", str(listener.fileno()), server, kind, argument]
            processes = [
                subprocess.Popen(
                    command, pass_fds=[listener.fileno()], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
                for _ in range(workers or self.workers)
            ]
            try:
                for process in processes:
                    assert process.stdout is not None
                    if process.stdout.readline() != "ready\n":
                        raise RuntimeError(f"the bare app {kind} did not start")
                yield Server(listener.getsockname()[1], processes, self.postgres.pid)
            finally:
                for process in processes:
                    end(process)

    def database_cpu(self) -> float:
        """Processor seconds of all processes of Postgres so far."""
        return machine.cpu_seconds(machine.family(self.postgres.pid))

    def pgbench(
        self,
        dsn: str,
        script: str | Sequence[str],
        *,
        clients: int,
        seconds: float,
        define: Sequence[str] = (),
    ) -> float:
        """Transactions a second of a pgbench script, or of several at random, prepared, without reconnecting."""
        scripts = [script] if isinstance(script, str) else script
        paths = [self.home / f"script{number}.sql" for number in range(len(scripts))]
        for path, text in zip(paths, scripts, strict=True):
            path.write_text(text, encoding="utf-8")
        options = ["-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(max(round(seconds), 1))]
        for each in define:
            options += ["-D", each]
        done = subprocess.run(
            [str(self.programs.bin / "pgbench"), *options, *(f"-f{path}" for path in paths), dsn],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        if done.returncode or not found:
            raise RuntimeError(f"pgbench failed: {done.stdout} {done.stderr}")
        return float(found.group(1))


def _answers(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"fhirhub.cli.worker" in command or b"bench.bare" in command


def _wait_for_workers(server: Server, count: int) -> None:
    deadline = time.monotonic() + _START
    used = -1.0
    while time.monotonic() < deadline:
        time.sleep(0.3)
        before, used = used, server.cpu()
        if len(server.workers()) >= count and used - before < 0.02:
            return
    raise RuntimeError(f"fhirhub serve has no {count} workers")


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process of ours to end, and see to it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def first_answer(port: int, path: str, deadline: float) -> float:
    """When (``perf_counter``) a GET of ``path`` was first answered 200; asked again every few milliseconds."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    while time.perf_counter() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(request)
                if connection.recv(64).split(b" ")[1:2] == [b"200"]:
                    return time.perf_counter()
        except OSError:
            pass
        time.sleep(0.003)
    raise RuntimeError(f"no answer to {path}")
