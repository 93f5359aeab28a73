"""The process that owns a running server: its socket, its Postgres, its workers.

It loads next to nothing, so that the first worker starts loading the program after a few hundredths of a second,
beside Postgres. The first worker prepares the store; when it is ready the others start. A worker or a Postgres that
dies is started again. SIGTERM and SIGINT drain: no new connections, requests in hand finish, then Postgres stops;
a second one ends at once.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fhirhub.settings import PREFIX, Settings, as_environment
from fhirhub.store.postgres import Postgres, embedded
from fhirhub.store.programs import PostgresError

FATAL = 78
"""Exit code of a worker for which a new start would not help."""

_BACKLOG = 2048
_STATE = "fhirhub-state-"
_TICK = 0.5
_SHORT_LIFE = 2.0
_LONGEST_PAUSE = 5.0
_FIRST_TRIES = 5
_GRACE = 5.0
_BIND_PATIENCE = 3.0


@dataclass(slots=True)
class Worker:
    """One slot for a worker process; ``process`` is None between the death of one and the start of the next."""

    slot: int
    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None
    heard: bytes = b""
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    ordered: bool = False


@dataclass(slots=True)
class _Database:
    """What is known of Postgres; a thread starts it, since that may take as long as a recovery."""

    instance: Postgres | None
    dsn: str | None = None
    error: str | None = None
    busy: bool = field(default=False)


class Supervisor:
    """Runs a server by ``settings``; ``ready`` is called once with the FHIR base and the address of the
    database, ``say`` with news for people."""

    def __init__(
        self, settings: Settings, ready: Callable[[str, str], None], say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._announce = ready
        self._say = say
        instance = None if settings.database_url else embedded(settings)
        self._database = _Database(instance, settings.database_url)
        self._workers = [Worker(slot) for slot in range(settings.workers or min(os.cpu_count() or 1, 4))]
        self._state = _state_folder()
        self._selector = selectors.DefaultSelector()
        self._alarm, self._wakeup = socket.socketpair()
        self._signals: list[int] = []
        self._listener: socket.socket | None = None
        self._prepared = False
        self._stop_by: float | None = None
        self._code = 0

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        try:
            self._listener = self._bind()
            self._watch_signals()
            self._spawn(self._workers[0])
            self._start_database(first=True)
            while not self._finished():
                self._step()
        finally:
            self._clean_up()
        return self._code

    def _clean_up(self) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        if self._listener is not None:
            self._listener.close()
        shutil.rmtree(self._state, ignore_errors=True)
        while self._database.busy:
            time.sleep(0.01)
        if self._database.instance is not None:
            self._database.instance.stop()

    # --- surroundings

    def _bind(self) -> socket.socket:
        host, port = self._settings.host.strip("[]"), self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        give_up = time.monotonic() + _BIND_PATIENCE
        while True:
            try:
                listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
            except OSError as error:
                # Workers whose supervisor was killed need a moment to notice it and let go of the port.
                if error.errno == errno.EADDRINUSE and time.monotonic() < give_up:
                    time.sleep(0.1)
                    continue
                raise OSError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
            listener.setblocking(False)
            return listener

    def _watch_signals(self) -> None:
        """Signals wake the selector; what they mean is decided in the loop."""
        for end in (self._alarm, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._alarm, selectors.EVENT_READ, None)

    def _base(self) -> str:
        if self._settings.base_url:
            return self._settings.base_url + "/fhir"
        assert self._listener is not None
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if self._settings.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/fhir"

    # --- the loop

    def _finished(self) -> bool:
        return self._stop_by is not None and not any(worker.process for worker in self._workers)

    def _step(self) -> None:
        pauses = [worker.due - time.monotonic() for worker in self._workers if worker.due]
        for key, _ in self._selector.select(max(0.0, min([_TICK, *pauses]))):
            if key.data is None:
                self._alarm.recv(4096)
            else:
                self._listen_to(key.data)
        for _ in range(len(self._signals)):
            self._signals.pop()
            self._stop(0)
        self._check_workers()
        self._check_database()
        if self._stop_by is not None and time.monotonic() > self._stop_by:
            self._kill_workers()

    def _stop(self, code: int) -> None:
        """Begin to drain; asked again, end at once."""
        if self._stop_by is not None:
            self._stop_by = 0.0
            return
        self._code = code
        self._stop_by = time.monotonic() + self._settings.drain_timeout + _GRACE
        if self._listener is not None:
            # The workers close theirs too; then the system refuses connections instead of queueing them.
            self._listener.close()
        for worker in self._workers:
            worker.due = 0.0
            if worker.process is not None:
                worker.process.terminate()

    def _kill_workers(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()

    # --- workers

    def _spawn(self, worker: Worker) -> None:
        assert self._listener is not None
        ours, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        fds = (self._listener.fileno(), theirs.fileno())
        worker.process = subprocess.Popen(
            [sys.executable, "-m", "fhirhub.cli.worker", str(fds[0]), str(fds[1])],
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            env=environment | as_environment(self._settings),
            # Ctrl-C is for the supervisor, which tells its workers.
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        worker.control, worker.heard, worker.ordered = ours, b"", False
        worker.started, worker.due = time.monotonic(), 0.0
        self._selector.register(ours, selectors.EVENT_READ, worker)
        self._give_order(worker)

    def _give_order(self, worker: Worker) -> None:
        """Tell a worker to serve, once it is known where the store is."""
        if worker.control is None or worker.ordered or self._database.dsn is None:
            return
        order = {
            "dsn": self._database.dsn,
            "state": str(self._state),
            "slot": worker.slot,
            "prepare": not self._prepared,
        }
        try:
            worker.control.sendall(json.dumps(order).encode() + b"\n")
            worker.ordered = True
        except OSError:
            pass  # it is dead, and its end will be noticed

    def _listen_to(self, worker: Worker) -> None:
        assert worker.control is not None
        try:
            data = worker.control.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(worker.control)
            worker.control.close()
            worker.control = None
            return
        *lines, worker.heard = (worker.heard + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "fatal" in message:
                self._say(message["fatal"])
                self._stop(1)
            elif message.get("ready") and not self._prepared:
                self._first_ready()

    def _first_ready(self) -> None:
        self._prepared = True
        assert self._database.dsn is not None
        self._announce(self._base(), self._database.dsn)
        for worker in self._workers:
            if worker.process is None and not worker.due and self._stop_by is None:
                self._spawn(worker)

    def _check_workers(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is not None:
                self._bury(worker, worker.process.returncode, now)
            if worker.due and worker.due <= now and self._stop_by is None:
                self._spawn(worker)

    def _bury(self, worker: Worker, code: int, now: float) -> None:
        """Note the end of a worker's process, and when its successor is due."""
        worker.process = None
        if worker.control is not None:
            self._listen_to(worker)
        if self._stop_by is not None or code == FATAL:
            return
        short = now - worker.started < _SHORT_LIFE
        worker.failures = worker.failures + 1 if short else 0
        if not self._prepared and worker.failures >= _FIRST_TRIES:
            self._say("The server does not start; see the messages above.")
            self._stop(1)
            return
        worker.due = now + min(0.1 * (2**worker.failures - 1), _LONGEST_PAUSE)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._say(f"Worker {worker.slot} ended {how}; it is started again.")

    # --- Postgres

    def _start_database(self, first: bool = False) -> None:
        database = self._database
        if database.instance is None or database.busy:
            return
        start = database.instance.start if first else database.instance.ensure
        database.busy = True

        def work() -> None:
            try:
                database.dsn = start()
            except (PostgresError, OSError) as error:
                database.error = str(error)
            finally:
                database.busy = False
                self._wakeup.send(b"\0")

        threading.Thread(target=work, name="postgres", daemon=True).start()

    def _check_database(self) -> None:
        database = self._database
        if database.busy or database.instance is None or self._stop_by is not None:
            return
        if database.error is not None:
            self._say(database.error)
            self._stop(1)
        elif database.dsn is not None:
            for worker in self._workers:
                self._give_order(worker)
            if not database.instance.alive():
                self._say("Postgres ended unexpectedly; it is started again.")
                self._start_database()


def _state_folder() -> Path:
    """A folder for what the workers share; those that killed supervisors left behind go."""
    for old in Path(tempfile.gettempdir()).glob(f"{_STATE}*"):
        pid = old.name.removeprefix(_STATE).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, ValueError):
            pass  # somebody else's
    return Path(tempfile.mkdtemp(prefix=f"{_STATE}{os.getpid()}-"))
