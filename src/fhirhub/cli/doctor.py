"""``fhirhub doctor``: look at everything around the server that can be wrong, and say what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import typer
from rich.console import Console

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.serve import check
from fhirhub.settings import Loaded, Settings, SettingsError
from fhirhub.store import migrate
from fhirhub.store.postgres import database
from fhirhub.store.programs import PostgresError, prepare

app = typer.Typer()

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[red]failed[/] "}
_LITTLE_SPACE = 2 << 30
_CERTIFICATE_DAYS = 14
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, 'ok', 'warning' or 'failed', and what is to be done."""

    about: str
    state: str
    text: str


@app.command()
def doctor(as_json: bool = JSON) -> None:
    """Check database, settings, TLS, disk, clock and permissions. Exit code 1 when something would not work."""
    loaded = settings()
    findings = [
        *_configuration(loaded),
        *_disk(loaded.settings),
        *_tls(loaded.settings),
        *_store(loaded.settings),
    ]
    failed = any(finding.state == "failed" for finding in findings)
    if as_json:
        answer({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, "", True)
    else:
        console = Console(soft_wrap=True)
        for finding in findings:
            console.print(
                f"{_MARKS[finding.state]}  {finding.about}: ", finding.text, sep="", highlight=False
            )
    raise typer.Exit(1 if failed else 0)


def _configuration(loaded: Loaded) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", "ok", version)
    for text in loaded.warnings:
        yield Finding("settings", "warning", text)
    try:
        check(loaded.settings)
    except SettingsError as error:
        yield Finding("network", "failed", str(error))


def _disk(settings: Settings) -> Iterator[Finding]:
    if settings.database_url:
        return
    home = settings.data_dir.resolve()
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Finding(
            "data directory", "failed", f"{existing} cannot be written to; choose FHIRHUB_DATA_DIR."
        )
        return
    free = shutil.disk_usage(existing).free
    if free < _LITTLE_SPACE:
        yield Finding(
            "disk", "warning", f"{free >> 20} MiB are free at {existing}; the log alone may take 4 GiB."
        )
    else:
        yield Finding("disk", "ok", f"{free >> 30} GiB are free at {existing}.")
    if home.exists() and stat.S_IMODE(home.stat().st_mode) & 0o066:
        yield Finding("permissions", "failed", f"Others can read {home}: chmod 700 {home}")
    try:
        programs = prepare(settings.postgres_bin, home)
    except PostgresError as error:
        yield Finding("PostgreSQL", "failed", str(error))
    else:
        how = (
            "in a user namespace"
            if programs.prefix
            else f"as uid {programs.uid}"
            if programs.uid
            else "directly"
        )
        yield Finding("PostgreSQL", "ok", f"version {programs.major}, run {how}, from {programs.bin}")


def _tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None or settings.tls_key is None:
        yield Finding("TLS", "ok", "not configured; plain http is for this machine only.")
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        yield Finding("TLS", "failed", f"{settings.tls_cert} and {settings.tls_key} do not work: {error}")
        return
    yield _validity(settings.tls_cert)
    if stat.S_IMODE(Path(settings.tls_key).stat().st_mode) & 0o077:
        yield Finding("TLS", "warning", f"Others can read the private key: chmod 600 {settings.tls_key}")


def _validity(certificate: Path) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certificate)
    ends = [ssl.cert_time_to_seconds(str(entry["notAfter"])) for entry in context.get_ca_certs()]
    if not ends:
        return Finding("TLS", "ok", f"{certificate} and its key go together.")
    days = (min(ends) - time.time()) / 86400
    when = datetime.fromtimestamp(min(ends), UTC).date().isoformat()
    state = "failed" if days < 0 else "warning" if days < _CERTIFICATE_DAYS else "ok"
    return Finding(
        "TLS", state, f"The certificate is valid until {when}." + (" Renew it." if state != "ok" else "")
    )


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        with database(settings) as dsn:
            yield from asyncio.run(_database(dsn))
    except (PostgresError, OSError, asyncpg.PostgresError) as error:
        yield Finding("database", "failed", str(error) or type(error).__name__)


async def _database(dsn: str) -> list[Finding]:
    connection = await migrate.connect(dsn)
    try:
        version = await connection.fetchval("select current_setting('server_version')")
        findings = [Finding("database", "ok", f"PostgreSQL {version} answers.")]
        findings += [Finding("database", "failed", text) for text in await migrate.shortcomings(connection)]
        state = await migrate.state(connection)
        if state.due:
            text = f"revision {state.current or 'none'}, expected {state.expected}: serve and 'db migrate' do that."
            findings.append(Finding("schema", "warning", text))
        else:
            findings.append(Finding("schema", "ok", f"revision {state.current}"))
        findings += [Finding("index", "failed", text) for text in await migrate.invalid_indexes(connection)]
        theirs = (await connection.fetchval("select clock_timestamp()")).timestamp()
        apart = abs(theirs - time.time())
        level = "ok" if apart < _CLOCK_SECONDS else "warning"
        findings.append(Finding("clock", level, f"{apart:.1f} s apart from the database's; use NTP on both."
                                if level != "ok" else "agrees with the database's."))  # fmt: skip
    finally:
        await connection.close()
    return findings
