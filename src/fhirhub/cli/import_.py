"""``fhirhub import``: files into the store, with progress on stderr and counts at the end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.record import note
from fhirhub.jobs.demo.practice import practice
from fhirhub.jobs.load.coordinator import Import, Progress, Summary, cores
from fhirhub.jobs.load.items import Order
from fhirhub.jobs.load.sources import Source, discover
from fhirhub.keys import load as load_keys
from fhirhub.resource.json import dumps
from fhirhub.settings import Settings, SettingsError
from fhirhub.smart import demo as demo_
from fhirhub.smart.people import now, people
from fhirhub.smart.storage.clients import Clients
from fhirhub.store import journal, migrate
from fhirhub.store.engine import Lane
from fhirhub.store.postgres import database

app = typer.Typer()
SUFFIXES = (".json", ".ndjson", ".jsonl", ".gz", ".zip")
"""Of the names of files, what the audit trail is told."""
EVERY = 2.0
"""Seconds between two lines of progress where there is no terminal."""


@app.command("import")
def import_(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, archives and folders.", show_default=False)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.  [default: one per core]", min=1, max=64)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and report; write nothing.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Load the demo practice, if the store is empty.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Take in files that were taken in before, too.")] = False,
    errors: Annotated[Path, typer.Option(help="Where refused resources are listed, as NDJSON.")] = Path("fhirhub-import-errors.ndjson"),
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Load transaction, batch and collection Bundles, NDJSON, gz, zip and folders into the store.

    Order does not matter: what refers to something in another file waits for it. An interrupted import can be
    started again; what was taken in is not taken twice.
    """
    chosen = settings().settings
    if bool(paths) == demo:
        raise SettingsError("Name what to import: files, archives or folders; or --demo.")
    options: dict[str, Any] = {
        "workers": workers or cores(),
        "dry_run": dry_run,
        "again": again,
        "errors": errors,
    }
    summary = welcome(chosen, **options) if demo else take_in(chosen, discover(paths or ()), **options)
    if summary is None:
        answer({"resources": 0}, "The store is not empty: the demo practice was not loaded.", as_json)
        return
    result = {
        "dryRun": dry_run,
        "files": summary.files,
        "resources": summary.resources,
        "before": summary.known,
        "errors": summary.problems,
        "errorFile": str(errors) if summary.problems else None,
        "seconds": round(summary.seconds, 3),
        "counts": dict(sorted(summary.counts.items(), key=lambda pair: (-pair[1], pair[0]))),
    }
    answer(result, described(result), as_json)
    raise typer.Exit(1 if summary.problems else 0)


def take_in(
    chosen: Settings, sources: list[Source], *, workers: int, dry_run: bool, again: bool, errors: Path
) -> Summary:
    """Run one import on the store that ``chosen`` names."""
    with shown() as notice:
        if dry_run:
            order = Order(None, chosen.referential_integrity, "")
            return Import(sources, order, workers=workers, again=again, errors=errors, notice=notice).run()
        with database(chosen) as dsn:
            asyncio.run(migrate.verify(dsn))
            asyncio.run(migrate.ensure(dsn))
            base = f"{chosen.base_url}/fhir" if chosen.base_url else ""
            order = Order(dsn, chosen.referential_integrity, base)
            work = Import(sources, order, workers=workers, again=again, errors=errors, notice=notice)
            finished = False
            try:
                summary = work.run()
                finished = True
            finally:
                told = _told(work.summary, finished)
                asyncio.run(note(chosen, dsn, "import", "import", 0 if finished else 8, told))
            asyncio.run(journal.settle(dsn))
    return summary


def _told(summary: Summary, finished: bool) -> dict[str, Any]:
    """What the audit trail is told of an import.

    Files are told by how their names end and by what is in them: the names may be those of patients.
    """
    read = [
        f"{''.join(each for each in path.suffixes if each.lower() in SUFFIXES)} sha256:{digest}"
        for path, digest in summary.read
    ]
    return {
        "finished": finished,
        "resources": summary.resources,
        "before": summary.known,
        "refused": summary.problems,
        "counts": [f"{type_}: {count}" for type_, count in sorted(summary.counts.items())],
        "files": summary.files,
        "read": read,
    }


def welcome(chosen: Settings, **options: Any) -> Summary | None:
    """Load the demo practice, and make its logins and apps; None when the store has something already."""
    with database(chosen) as dsn:
        summary = load_demo(chosen, **options)
        if summary is not None and not options["dry_run"]:
            asyncio.run(_furnish(chosen, dsn))
    return summary


async def _furnish(chosen: Settings, dsn: str) -> None:
    keys = load_keys(chosen)
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        await demo_.ensure_people(people(chosen, lane, keys), keys)
        await demo_.ensure_clients(Clients(lane, now), keys)
    finally:
        await lane.close()


def load_demo(chosen: Settings, **options: Any) -> Summary | None:
    """Load the demo practice; None when the store has something already."""
    with database(chosen) as dsn, tempfile.TemporaryDirectory(prefix="fhirhub-demo-") as folder:
        asyncio.run(migrate.ensure(dsn))
        if not asyncio.run(journal.untouched(dsn)):
            return None
        path = Path(folder) / "demo.ndjson"
        with open(path, "wb") as file:
            for resource in practice():
                file.write(dumps(resource) + b"\n")
        return take_in(chosen, discover([path]), **options)


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """A function that shows how far an import is: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    bar = Bar(
        TextColumn("{task.fields[resources]:>9,} resources"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]:>7,.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        yield _Bar(bar, bar.add_task("import", total=1, resources=0, rate=0.0))


class _Bar:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._began = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        rate = progress.resources / max(time.monotonic() - self._began, 1e-3)
        self._bar.update(
            self._task,
            total=max(progress.total, 1),
            completed=progress.done,
            resources=progress.resources,
            rate=rate,
        )


class _Lines:
    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < EVERY:
            return
        self._last = now
        spent = now - self._began
        share = progress.done / max(progress.total, 1)
        left = f", {spent / share - spent:.0f} s to go" if share > 0.01 else ""
        waiting = f", {progress.waiting} waiting for others" if progress.waiting else ""
        sys.stderr.write(
            f"{progress.resources:,} resources, {share:.0%}, {progress.resources / spent:,.0f}/s{left}{waiting}\n"
        )
        sys.stderr.flush()


def described(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{count:>10,}  {type_}" for type_, count in result["counts"].items()]
    rate = result["resources"] / max(result["seconds"], 1e-3)
    done = "are sound" if result["dryRun"] else "are in the store"
    text = f"{result['resources']:,} resources of {result['files']:,} files {done}"
    if result["before"]:
        text += f" ({result['before']:,} from an earlier import)"
    lines.append(f"{text}; {result['seconds']:.1f} s, {rate:,.0f}/s.")
    if result["errors"]:
        lines.append(f"{result['errors']:,} were refused; see {result['errorFile']}.")
    return "\n".join(lines)
