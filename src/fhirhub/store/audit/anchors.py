"""Anchors: where every chain ended at some moment, kept outside the database, one line of JSON for each moment.

Chains cannot tell that rows at their very end are gone. Somebody who owns the database can remove them, but not from a
file on another machine, nor make up a line, which takes the key: mac = HMAC-SHA-256(key, purpose + JSON of the rest).
"""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fhirhub.errors import FhirError
from fhirhub.resource.meta import instant
from fhirhub.store.audit.chain import HEADS, Fetch, Head

FILE = "audit.anchors"
"""File in the data directory, beside the master key; ``.1`` to ``.9`` are earlier ones."""
LARGEST = 1 << 20
"""Bytes after which another file is begun."""
EARLIER = 9
_PURPOSE = b"fhirhub audit anchors"
_BEGINNING = b'{"at": '
log = logging.getLogger("fhirhub.audit")

Ends = Mapping[int, Head]
"""Chain -> where it ended."""
Known = Mapping[int, Mapping[int, frozenset[str]]]
"""Chain -> row -> what anchors say that its mac was (in hexadecimal digits); more than one for a row that was replaced."""


async def ends(fetch: Fetch) -> dict[int, Head]:
    """Where each chain ends now."""
    return {row["chain"]: (row["seq"], bytes(row["mac"])) for row in await fetch(HEADS)}


def known(found: Ends) -> Known:
    """What an anchor of ``found`` says."""
    return {chain: {seq: frozenset({mac.hex()})} for chain, (seq, mac) in found.items()}


def line(key: bytes, ends: Ends, at: int) -> str:
    """One anchor, without the end of the line; ``at`` is microseconds since 1970 UTC."""
    told = {
        "at": instant(at),
        "chains": {str(chain): [seq, mac.hex()] for chain, (seq, mac) in sorted(ends.items())},
    }
    return json.dumps(told | {"mac": _sealed(key, told)})


def append(path: Path, text: str, unless_within: float = 0.0) -> bool:
    """Add the anchor ``text`` to the file at ``path``, on disk when this returns; several processes may at once.

    ``unless_within`` seconds somebody else added one: then nothing is, and the answer is False. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        size = path.stat().st_size if path.exists() else 0
        if size and unless_within and time.time() - path.stat().st_mtime < unless_within:
            return False
        if size > LARGEST:
            _rotate(path)
        with open(path, "a+b") as file:
            _mend(file.fileno())
            file.write(text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return True


def read(path: Path, key: bytes) -> dict[int, dict[int, frozenset[str]]]:
    """What the anchors in the file at ``path`` and in those before it say.

    Raises ValueError for a line that was not made with ``key``; one that has no end (a machine stopped while it was
    written) does not count.
    """
    found: defaultdict[int, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in (path, *(_earlier(path, n) for n in range(1, EARLIER + 1))):
        if each.exists():
            *texts, last = each.read_bytes().split(b"\n")
            for text in texts if _is_torn(last) else (*texts, last):
                for chain, (seq, mac) in _opened(text, key, each).items():
                    found[chain][seq].add(mac)
    return {chain: {seq: frozenset(macs) for seq, macs in rows.items()} for chain, rows in found.items()}


def _opened(text: bytes, key: bytes, path: Path) -> dict[int, tuple[int, str]]:
    try:
        held = json.loads(text)
        mac = held.pop("mac")
        # Those of before have no time, and the mac is that of the chains alone.
        sealed = _sealed(key, held if "at" in held else held["chains"])
        if not hmac.compare_digest(sealed, mac):
            raise ValueError
        return {int(chain): (int(seq), str(end)) for chain, (seq, end) in held["chains"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} holds no anchors made with this installation's master key.") from None


def _is_torn(text: bytes) -> bool:
    """Whether ``text`` is nothing, or the beginning of a line."""
    if text.startswith(_BEGINNING):
        with suppress(ValueError):
            json.loads(text)
            return False
    return text.startswith(_BEGINNING) or _BEGINNING.startswith(text)


def _sealed(key: bytes, told: Mapping[str, object]) -> str:
    return hmac.digest(key, _PURPOSE + json.dumps(told).encode(), "sha256").hex()


def _mend(descriptor: int) -> None:
    """Take away a line that has no end, so that the next one begins at the left."""
    size = os.fstat(descriptor).st_size
    if size:
        held = os.pread(descriptor, size, 0)
        os.ftruncate(descriptor, held.rfind(b"\n") + 1)


def _rotate(path: Path) -> None:
    for n in range(EARLIER, 1, -1):
        if (before := _earlier(path, n - 1)).exists():
            before.replace(_earlier(path, n))
    path.replace(_earlier(path, 1))


def _earlier(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


@asynccontextmanager
async def anchored(fetch: Fetch, key: bytes | None, path: Path, every: float) -> AsyncIterator[None]:
    """While it lasts, every ``every`` seconds there is an anchor, in the file and in the log, and one at its end.

    ``fetch`` asks the database. Nothing of the kind without ``key`` (there is no trail) or with 0 seconds. Of the
    workers that share ``path`` one writes each time.
    """
    if key is None or not every:
        yield
        return
    anchoring = _Anchoring(fetch, key, path)
    task = asyncio.get_running_loop().create_task(anchoring.go_on(every))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await anchoring.write()


class _Anchoring:
    def __init__(self, fetch: Fetch, key: bytes, path: Path) -> None:
        self._fetch = fetch
        self._key = key
        self._path = path
        self._seen: Ends = {}

    async def go_on(self, every: float) -> None:
        """Write them regularly."""
        while True:
            await self.write(unless_within=every / 2)
            await asyncio.sleep(every)

    async def write(self, unless_within: float = 0.0) -> None:
        """One anchor; what goes wrong is told, and tried again the next time."""
        try:
            found = await ends(self._fetch)
            self._compare(found)
            text = line(self._key, found, time.time_ns() // 1000)
            if not found:
                return
            if await asyncio.to_thread(append, self._path, text, unless_within):
                log.info("audit anchor %s", text)
        except (FhirError, OSError) as error:
            log.error("the audit trail could not be anchored: %s", error)

    def _compare(self, found: Ends) -> None:
        """Say so when a chain is shorter than it was: 'fhirhub audit verify' tells more."""
        for chain, (seq, _) in self._seen.items():
            if found.get(chain, (0, b""))[0] < seq:
                log.error("chain %d of the audit trail had row %d, and is shorter now", chain, seq)
        self._seen = found
