"""The files of an import: which ones, in which order, and how they are cut into tasks."""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from fhirhub.errors import BadRequest, Issue, outcome
from fhirhub.jobs.load.items import Problem, Task

UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
)
"""What reading a damaged, encrypted or forbidden file raises."""
PART = 512 * 1024
"""Bytes of NDJSON that one task carries, at least one line."""
LONGEST_LINE = 64 * 1024 * 1024
_NAME = re.compile(r"\.(json|ndjson|jsonl)(\.gz)?$", re.IGNORECASE)
# A hint that saves second attempts, no more: what others refer to most comes first.
_FIRST = (
    ("hospitalinformation", "organization", "location"),
    ("practitionerinformation", "practitioner", "healthcareservice", "device", "medication."),
    ("patient", "relatedperson"),
    ("practitionerrole", "coverage", "encounter", "condition"),
)
_HEAD = 128 * 1024
_CONDITIONAL = re.compile(rb'"reference"\s*:\s*"[A-Z][A-Za-z]+\?')
_LAST = ("provenance", "auditevent", "list.", "composition")


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a member of a zip archive; ``size`` in bytes as stored."""

    path: Path
    member: str
    lines: bool
    """NDJSON; otherwise one JSON document."""
    size: int

    @property
    def shown(self) -> str:
        """How to name it to people."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)


def wave(source: Source) -> int:
    """Sources of a lower wave are taken in before those of a higher, by their names and first words."""
    name = (source.member or source.path.name).rpartition("/")[2].lower().lstrip("0123456789-_")
    if name.startswith(_LAST):
        return len(_FIRST) + 2
    for number, starts in enumerate(_FIRST):
        # practitionerrole is no practitioner: the longest fitting name counts.
        if name.startswith(starts) and not (number == 1 and name.startswith("practitionerrole")):
            return number
    return len(_FIRST) + (not _asks(source))


def _asks(source: Source) -> bool:
    """Whether a file begins with conditional references.

    It comes before those that do not: what it asks for must be there once, and others may bring it once more.
    """
    try:
        with opened(str(source.path), source.member) as (stream, _):
            return not source.lines and _CONDITIONAL.search(stream.read(_HEAD)) is not None
    except UNREADABLE:
        # Read again when its turn comes, and then reported.
        return False


def discover(paths: Iterable[Path]) -> list[Source]:
    """Everything to be read below ``paths``. Raises FileNotFoundError, BadRequest."""
    found: list[Source] = []
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    found += _sources(file)
        elif path.is_file():
            some = _sources(path)
            if not some:
                text = f"{path}: only .json, .ndjson and .jsonl are read, each also as .gz or inside a .zip."
                raise BadRequest(Issue("not-supported", text))
            found += some
        else:
            raise FileNotFoundError(f"{path} does not exist.")
    unique = {(source.path.resolve(), source.member): source for source in found}
    return sorted(unique.values(), key=lambda source: source.shown)


def _sources(path: Path) -> list[Source]:
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except zipfile.BadZipFile as error:
            raise BadRequest(Issue("structure", f"{path} is no zip archive: {error}")) from None
        return [
            Source(path, info.filename, _is_lines(info.filename), info.compress_size)
            for info in members
            if _NAME.search(info.filename)
        ]
    if not _NAME.search(path.name):
        return []
    return [Source(path, "", _is_lines(path.name), path.stat().st_size)]


def _is_lines(name: str) -> bool:
    match = _NAME.search(name)
    return match is not None and match[1].lower() != "json"


def tasks(source: Source, digest: str, number: int) -> Iterator[Task]:
    """The tasks that ``source`` is cut into.

    Their units name the content, not the place: the same file elsewhere is known, and so is the size of the parts,
    since other parts would be other units. ``digest`` is that of its file, ``number`` that of the first task.
    """
    unit = f"{digest}:{source.member}:"
    if not source.lines:
        yield Task(
            number, unit + "0", source.shown, str(source.path), source.member, size=source.size
        )  # fmt: skip
        return
    done = 0
    part = 0
    with opened(str(source.path), source.member) as (stream, raw):
        for first, data in _parts(stream):
            at = min(raw.tell(), source.size) if not source.member else done
            yield Task(
                number + part,
                f"{unit}{part}*{PART}",
                source.shown,
                first_line=first,
                data=data,
                size=at - done,
            )
            done, part = at, part + 1
    if done < source.size:
        yield Task(number + part, f"{unit}{part}*{PART}", source.shown, first_line=0, size=source.size - done)


def _parts(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines) of about PART bytes."""
    line_number, first, gathered, size = 0, 1, [], 0
    while line := stream.readline(LONGEST_LINE):
        line_number += 1
        gathered.append(line)
        size += len(line)
        if size >= PART:
            yield first, b"".join(gathered)
            first, gathered, size = line_number + 1, [], 0
    if gathered:
        yield first, b"".join(gathered)


def unreadable(shown: str, error: BaseException) -> Problem:
    """The line of the error file for a source that cannot be read (to its end)."""
    text = f"{shown} cannot be read: {error or type(error).__name__}."
    return Problem(shown, "", None, None, outcome([Issue("structure", text)]))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def opened(path: str, member: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The unpacked content of a source, and the stream below it, whose position tells how far one is."""
    with open(path, "rb") as raw:
        if member:
            with zipfile.ZipFile(raw) as archive, archive.open(member) as inner:
                with _unzipped(inner, member) as stream:
                    yield stream, raw
        else:
            with _unzipped(raw, path) as stream:
                yield stream, raw


@contextmanager
def _unzipped(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if not name.lower().endswith(".gz"):
        yield stream
        return
    with gzip.open(stream, "rb") as unpacked:
        yield cast(IO[bytes], unpacked)
