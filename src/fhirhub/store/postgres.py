"""The embedded Postgres: one instance per data directory, run for as long as somebody uses it.

Whoever needs the store calls :meth:`Postgres.start`: the first starts the instance, later ones (other processes too)
attach to it, and the last to leave shuts it down. It listens on a Unix socket in a folder that only its owner may
enter, never on TCP. If its users are killed it lives on, and the next one adopts it; if it is killed, the next
``start`` or ``ensure`` starts it again and Postgres recovers from its log.

Two lock files make that safe: ``start.lock`` is held while somebody starts or stops the instance, ``users.lock`` is
held (shared) by each user; both are released by the kernel when a process dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from fhirhub.settings import Settings
from fhirhub.store.programs import PostgresError, Programs, prepare

NAME = "fhirhub"
"""The database, and the role that owns it."""

_PORT = 5432
_SOCKET_LIMIT = 107 - len(f"/.s.PGSQL.{_PORT}")
_POLL = 0.005
_LOG_LIMIT = 16 * 1024 * 1024
_BUSY = ("pre-existing shared memory block", "is still in use", 'lock file "postmaster.pid" already exists')

_CONFIGURATION = """\
# Written by fhirhub at every start. To change something use ALTER SYSTEM, which wins over this file.
max_connections = 100
shared_buffers = {shared_buffers}kB
effective_cache_size = {cache}kB
work_mem = 16MB
maintenance_work_mem = {maintenance}kB
jit = off
random_page_cost = 1.1
effective_io_concurrency = 64
# A record: what was acknowledged is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = 4GB
min_wal_size = 256MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
wal_buffers = 16MB
autovacuum_naptime = 20s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 2000
timezone = 'UTC'
log_timezone = 'UTC'
# Nothing of the record's content may reach the log: no statements, no DETAIL with key values.
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
log_connections = off
"""
_WITH_LZ4 = "wal_compression = lz4\ndefault_toast_compression = lz4\n"


class Postgres:
    """The embedded instance of the data directory ``home``.

    ``programs`` is a bin folder to use instead of the packaged one, ``shared_buffers`` bytes (0: by the machine's
    memory), ``as_root`` as for :func:`fhirhub.store.programs.prepare`. Not for use by several threads at once.
    """

    def __init__(
        self, home: Path, *, programs: Path | None = None, shared_buffers: int = 0, as_root: str = "auto"
    ) -> None:
        self.home = Path(home).resolve()
        self.data = self.home / "postgres"
        self.log = self.home / "postgres.log"
        self._chosen = programs
        self._as_root = as_root
        self._buffers = shared_buffers or _default_buffers()
        self._programs: Programs | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._use: IO[bytes] | None = None
        self._pid = 0
        self._sockets = _socket_folder(self.home)

    @property
    def dsn(self) -> str:
        """How to connect: a libpq URL with the socket's folder."""
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(self._sockets), safe='/')}&port={_PORT}"

    @property
    def pid(self) -> int:
        """Process id of the postmaster; 0 before the start."""
        return self._pid

    def start(self, timeout: float = 120.0) -> str:
        """Attach to the running instance or start one (the first time: create it), and return its dsn.

        Raises PostgresError when it does not come up within ``timeout`` seconds; crash recovery is part of that.
        """
        _make_folder(self.home)
        with self._gate():
            self._hold()
            self._bring_up(time.monotonic() + timeout)
        return self.dsn

    def ensure(self, timeout: float = 120.0) -> str:
        """Start the instance again if it died; for somebody who has called :meth:`start`."""
        with self._gate():
            self._bring_up(time.monotonic() + timeout)
        return self.dsn

    def alive(self) -> bool:
        """Whether the postmaster is there. Cheap."""
        if self._process is not None:
            return self._process.poll() is None
        return bool(self._pid) and self._is_ours(self._pid)

    def stop(self, timeout: float = 60.0) -> bool:
        """Stop using the instance; whoever is the last shuts it down. True when that was us."""
        if self._use is None:
            return False
        with self._gate():
            last = self._let_go()
            if last:
                self._shut_down(time.monotonic() + timeout)
        return last

    # --- locks

    @contextmanager
    def _gate(self) -> Iterator[None]:
        with open(self.home / "start.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _hold(self) -> None:
        if self._use is None:
            self._use = open(self.home / "users.lock", "wb")
            fcntl.flock(self._use, fcntl.LOCK_SH)

    def _let_go(self) -> bool:
        assert self._use is not None
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            # Closing releases it; the gate keeps newcomers out until the instance is down.
            self._use.close()
            self._use = None
        return True

    # --- start

    def _bring_up(self, deadline: float) -> None:
        while (state := self._state()) not in ("ready", "gone"):
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"Postgres in {self.data} is {state} and does not come up.\n{self._tail()}"
                )
            time.sleep(_POLL)
        if state == "ready":
            return
        if self._programs is None:
            self._programs = prepare(self._chosen, self.home, self._as_root)
        if not (self.data / "PG_VERSION").exists():
            self._create(self._programs)
        self._check_version(self._programs)
        self._write_configuration(self._programs)
        while not self._launch(self._programs, deadline):
            time.sleep(0.05)

    def _state(self) -> str:
        """'ready', 'starting', 'stopping' (…) as Postgres says in its pid file, or 'gone'."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            pid = abs(int(lines[0]))
        except (OSError, ValueError, IndexError):
            return "gone"
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if not self._is_ours(pid):
            # Postgres trusts a pid file whose number is in use by anybody, as happens after a container's restart.
            if _exists(pid):
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            return "gone"
        self._pid = pid
        if len(lines) > 4 and lines[4]:
            self._sockets = Path(lines[4])
        return lines[7].strip() if len(lines) > 7 else "starting"

    def _is_ours(self, pid: int) -> bool:
        """Whether process ``pid`` is a postmaster on our data, which is its working directory."""
        if os.path.isdir("/proc/self"):
            try:
                return os.path.samefile(f"/proc/{pid}/cwd", self.data)
            except OSError:
                return False
        done = subprocess.run(
            ["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
        )
        return "postgres" in done.stdout and str(self.data) in done.stdout

    def _create(self, programs: Programs) -> None:
        """Make a new cluster with our database; made aside and renamed, so that a half-made one is never used."""
        new = self.home / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        programs.give(new)
        if programs.uid is not None:
            # The account may pass through on the way to its own folders, not look around.
            self.home.chmod(0o711)
        locale = ["--locale=C.UTF-8"]
        if programs.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["-D", str(new), "-U", NAME, "-E", "UTF8", "--auth=trust", "--data-checksums", *locale]
        self._run(programs, "initdb", *options)
        self._run(
            programs, "postgres", "--single", "-D", str(new), "postgres", feed=f"create database {NAME}\n"
        )
        lz4 = self._run(
            programs, "postgres", "-D", str(new), "-C", "port", "-c", "wal_compression=lz4", check=False
        )
        with open(new / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("\ninclude = 'fhirhub.conf'\n" + (_WITH_LZ4 if lz4 else ""))
        new.rename(self.data)

    def _run(self, programs: Programs, name: str, *args: str, feed: str = "", check: bool = True) -> bool:
        done = subprocess.run(
            programs.command(name, *args),
            input=feed.encode(),
            capture_output=True,
            check=False,
            cwd="/",
            **programs.identity(),
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise PostgresError(f"PostgreSQL's {name} failed in {self.home}: {said}")
        return done.returncode == 0

    def _check_version(self, programs: Programs) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(programs.major):
            raise PostgresError(
                f"The data in {self.data} was made by PostgreSQL {made_by}, the programs in {programs.bin} are "
                f"version {programs.major}. Run them with FHIRHUB_POSTGRES_BIN set to the bin folder of a "
                f"PostgreSQL {made_by}, and move the data with pg_dump and pg_restore."
            )

    def _write_configuration(self, programs: Programs) -> None:
        kilobytes = self._buffers // 1024
        text = _CONFIGURATION.format(
            shared_buffers=kilobytes,
            cache=max(kilobytes * 3, 262_144),
            maintenance=min(max(kilobytes // 2, 65_536), 524_288),
        )
        path = self.data / "fhirhub.conf"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            programs.give(path)

    def _launch(self, programs: Programs, deadline: float) -> bool:
        """Start the postmaster and wait until it takes connections.

        False when the backends of a killed predecessor are still on their way out: try again. Raises
        PostgresError for every other failure, with the end of the log.
        """
        _make_socket_folder(self._sockets, programs)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        options = ["-D", str(self.data), "-k", str(self._sockets), "-p", str(_PORT)]
        options += ["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]
        with open(self.log, "ab") as log:
            written = log.tell()
            self._process = subprocess.Popen(
                programs.command("postgres", *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Signals meant for the terminal's programs are for its user to act on, not for Postgres.
                start_new_session=True,
                **programs.identity(),
            )
        while self._process.poll() is None:
            if self._state() == "ready":
                return True
            if time.monotonic() > deadline:
                raise PostgresError(f"Postgres does not come up.\n{self._tail(written)}")
            time.sleep(_POLL)
        said = self._tail(written)
        if any(words in said for words in _BUSY) and time.monotonic() < deadline:
            return False
        raise PostgresError(f"Postgres does not start in {self.data}:\n{said}")

    def _tail(self, since: int = 0) -> str:
        """The last lines of the log, written after position ``since``."""
        try:
            with open(self.log, "rb") as log:
                log.seek(max(since, log.seek(0, os.SEEK_END) - 4000))
                return log.read().decode(errors="replace").strip()
        except OSError:
            return ""

    # --- stop

    def _shut_down(self, deadline: float) -> None:
        """Ask for a fast shutdown (sessions are cut, everything is written out) and wait for it."""
        if not self.alive():
            return
        os.kill(self._pid, signal.SIGINT)
        while self.alive():
            if time.monotonic() > deadline:
                raise PostgresError(f"Postgres (process {self._pid}) does not shut down.\n{self._tail()}")
            time.sleep(_POLL)
        self._process, self._pid = None, 0
        if self._sockets.parent != self.home:
            with suppress(OSError):
                self._sockets.rmdir()


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The dsn of the store that ``settings`` name, for the time of a ``with``; the embedded one is run meanwhile."""
    if settings.database_url:
        yield settings.database_url
        return
    postgres = embedded(settings)
    dsn = postgres.start()
    try:
        yield dsn
    finally:
        postgres.stop()


def embedded(settings: Settings) -> Postgres:
    """The embedded instance of ``settings``, not started."""
    return Postgres(settings.data_dir, programs=settings.postgres_bin, shared_buffers=settings.shared_buffers)


def _default_buffers() -> int:
    """An eighth of the machine's memory, 64 MiB to 2 GiB: the operating system caches the rest."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(total // 8, 64 << 20), 2 << 30)


def _socket_folder(home: Path) -> Path:
    """Where the socket goes: beside the data, or in a short folder when that path is too long for a socket."""
    beside = home / "run"
    if len(os.fsencode(beside)) <= _SOCKET_LIMIT:
        return beside
    mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"fhirhub-{os.geteuid()}-{mark}"


def _make_folder(path: Path) -> None:
    """A folder for its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PostgresError(f"The folder {path} cannot be written to; set FHIRHUB_DATA_DIR to one that can.")


def _make_socket_folder(path: Path, programs: Programs) -> None:
    """The folder of the socket: whoever may enter it is trusted. Refuses one that somebody else prepared."""
    path.mkdir(mode=0o700, exist_ok=True)
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid not in (os.geteuid(), programs.uid):
        raise PostgresError(
            f"{path} belongs to somebody else, and nobody else may hold our socket; remove it."
        )
    path.chmod(0o700)
    programs.give(path)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
