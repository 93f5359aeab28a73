"""``fhirhub keys``: the keys that id_tokens are signed with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer

from fhirhub import keys as keyring
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.record import done, looked
from fhirhub.smart.people import now
from fhirhub.smart.signing import Signing
from fhirhub.smart.storage.signing import SigningKey
from fhirhub.store.engine import Lane

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """List and renew the keys that sign who signed in (id_tokens)."""


@app.command(name="list")
def list_(as_json: bool = JSON) -> None:
    """The keys that are published, the current one first."""
    found = looked(lambda lane: _signing(lane).all())
    text = "\n".join(
        f"{key.kid}  {key.alg}  since {_day(key.created)}"
        + (f", retired {_day(key.retired)}" if key.retired else ", current")
        for key in found
    )
    answer([_shown(key) for key in found], text or "No key has been needed yet.", as_json)


@app.command()
def rotate(as_json: bool = JSON) -> None:
    """Sign with a new key from now on; the old one stays published for 30 days."""
    made = done("key-rotate", lambda lane: _signing(lane).rotate(), lambda key: {"kid": key.kid})
    answer(_shown(made), f"New key: {made.kid}. The old one stays published for 30 days.", as_json)


def _shown(key: SigningKey) -> dict[str, Any]:
    retired = _day(key.retired) if key.retired else None
    return {"kid": key.kid, "alg": key.alg, "created": _day(key.created), "retired": retired}


def _day(micro: int) -> str:
    return datetime.fromtimestamp(micro / 1_000_000, UTC).isoformat(timespec="seconds")


def _signing(lane: Lane) -> Signing:
    return Signing(lane, keyring.load(settings().settings), now)
