"""A real ``fhirhub serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType

import httpx


class Server:
    """``fhirhub serve`` on a free port and the data directory ``home``.

    ``variables`` are added to its environment; ``options`` to its command line. Everything is open unless they say
    otherwise. Use it in a ``with``.
    """

    def __init__(self, home: Path, *options: str, variables: dict[str, str] | None = None) -> None:
        self.home = home
        self.options = options
        self.variables = {"FHIRHUB_DATA_DIR": str(home), "FHIRHUB_NO_AUTH": "on"} | (variables or {})
        self.base = ""
        self.log: deque[str] = deque(maxlen=400)
        self.process: subprocess.Popen[str] | None = None

    def start(self, timeout: float = 60.0) -> Server:
        """Start it and wait until it says where it listens."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fhirhub", "serve", "--port", "0", "--json", *self.options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean | self.variables,
        )
        threading.Thread(target=self._collect, args=(self.process,), daemon=True).start()
        assert self.process.stdout is not None
        watchdog = threading.Timer(timeout, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        message = json.loads(line or "{}")
        if "base" not in message:
            self.process.wait(timeout)
            raise RuntimeError("the server did not start:\n" + message.get("error", "") + "".join(self.log))
        self.base = message["base"]
        return self

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.log.extend(process.stderr)

    def client(self) -> httpx.Client:
        """A client whose paths are below the FHIR base."""
        return httpx.Client(base_url=self.base, timeout=30.0, trust_env=False)

    def workers(self) -> list[int]:
        """Process ids of the workers, from the system."""
        assert self.process is not None
        done = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [line.split(None, 1) for line in done.stdout.splitlines()]
        return [int(row[0]) for row in rows if "fhirhub.cli.worker" in row[1]]

    def postmaster(self) -> int:
        """Process id of its embedded Postgres."""
        return int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until /readyz answers 200."""
        deadline = time.monotonic() + timeout
        address = self.base.removesuffix("/fhir") + "/readyz"
        while time.monotonic() < deadline:
            try:
                if httpx.get(address, timeout=5.0, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the server is not ready:\n" + "".join(self.log))

    def stop(self, how: int = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send a signal, wait for the end, return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
