"""``fhirhub serve``: the options, checked, and over to the supervisor."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.supervisor import Supervisor
from fhirhub.settings import Settings, SettingsError, override

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.  [default: 8080]", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.  [default: one per core, at most 4]", min=1, max=64)] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM), to serve https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM) of the certificate.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The address callers know this server by.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Open everything, for tests; loopback only.")] = False,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Migrate the store if needed, and serve it until SIGTERM or Ctrl-C."""
    chosen = override(
        settings().settings,
        host=host,
        port=port,
        workers=workers,
        tls_cert=tls_cert,
        tls_key=tls_key,
        base_url=base_url.rstrip("/") if base_url else None,
        no_auth=no_auth or None,
    )
    check(chosen)

    def ready(base: str, dsn: str) -> None:
        store = (
            "the database of FHIRHUB_DATABASE_URL" if chosen.database_url else f"embedded, {chosen.data_dir}"
        )
        lines = [
            f"fhirhub serves {base}  (store: {store})",
            f"  the API as a page:  {base.removesuffix('/fhir')}/docs",
            *_first_steps(chosen, dsn, base),
            "  Ctrl-C stops it.",
        ]
        answer({"event": "ready", "base": base, "store": store}, "\n".join(lines), as_json)

    def say(text: str) -> None:
        sys.stderr.write(f"fhirhub: {text}\n")

    code = Supervisor(chosen, ready, say).run()
    raise typer.Exit(code)


def _first_steps(settings: Settings, dsn: str, base: str) -> list[str]:
    """Lines on how to begin."""
    if settings.no_auth:
        return [
            "  everything is open (--no-auth), and nothing is on record",
            f"  a line to paste:    curl -s '{base}/Patient?_count=3&_pretty=true'",
        ]
    origin = base.removesuffix("/fhir")
    shown = [
        f"  people sign in at:  {origin}/account/apps",
        f"  apps begin at:      {base}/.well-known/smart-configuration",
    ]
    if not settings.is_local:
        return shown
    # Loaded when the server answers already: it takes as long as everything before it.
    found: list[str] = importlib.import_module("fhirhub.cli.welcome").lines(settings, dsn, base)
    return [*shown, *found]


def check(settings: Settings) -> None:
    """Refuse what would not be safe, or cannot work; SettingsError with the reason."""
    if not settings.is_local:
        _check_public(settings)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key go together; give both or none.")
    for path in (settings.tls_cert, settings.tls_key):
        if path is not None and not path.is_file():
            raise SettingsError(f"{path} is not a file.")
    if settings.http_server == "granian" and importlib.util.find_spec("granian") is None:
        raise SettingsError(
            "FHIRHUB_HTTP_SERVER=granian needs the extra 'fast': pip install 'fhirhub[fast]'."
        )


def _check_public(settings: Settings) -> None:
    """What a server that others can reach must fulfil."""
    name = f"--base-url {settings.base_url}" if settings.bind_is_loopback else f"--host {settings.host}"
    if settings.no_auth:
        raise SettingsError(f"{name}: --no-auth opens everything to everyone; it is for 127.0.0.1 only.")
    if settings.base_url is None or not settings.base_url.startswith("https://"):
        raise SettingsError(
            f"{name}: others can reach this, so it needs the https address they know it by: --base-url"
            " https://… (with --tls-cert and --tls-key, or behind a proxy that does TLS)."
        )
    if settings.audit == "off":
        raise SettingsError(f"{name}: FHIRHUB_AUDIT=off is for 127.0.0.1 only; leave it out.")
